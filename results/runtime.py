"""Running time of SN and HN at the paper's sizes, for its Table 2: ``python results/runtime.py``.

Random pictures through randomly started networks, in the way that every command here runs them, taking turns
in one process: the seconds are of this machine, their ratio can be compared. LESRCNN's are measured by
``benchmark.py``.
"""

import csv
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset.errors import (  # noqa: E402
    InputError,
    Parser,  # noqa: E402
    run,
)

SIZES = (256, 512, 1024)  # side of the result
SCALE = 4
NETWORKS = ("SN", "HN")


def parser() -> Parser:
    parser = Parser("Measure the running times of Table 2 on this machine.")
    parser.add_argument("--cuda", action="store_true", help="compute on the GPU")
    parser.add_argument("--repeats", type=int, default=5, help="of which the median is taken")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "results/runtime.csv",
        help="the CSV file to write; the table shows all runtime*.csv, one for each machine",
    )
    return parser


def main() -> None:
    args = parser().parse_args()
    import torch

    if args.cuda and not torch.cuda.is_available():
        raise InputError("--cuda: no CUDA GPU is available; leave the flag out to compute on the CPU")
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: must be 1 or more")
    measure(args.out, torch.device("cuda" if args.cuda else "cpu"), args.repeats)
    print(args.out)


def measure(path: Path, device, repeats: int = 5, sizes: tuple[int, ...] = SIZES) -> None:
    """Write a row for each network and size: median seconds for a picture, and where.

    Raises:
        InputError: if the file cannot be written.
    """
    import torch

    from dataset.images import written_whole
    from solver.machine import processor

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{processor()}, {torch.get_num_threads()} threads"
    rows = []
    for size in sizes:
        for network, seconds in medians(size, device, repeats).items():
            rows.append(
                {
                    "scale": SCALE,
                    "width": size,
                    "height": size,
                    "network": network,
                    "precision": "fp32",
                    "seconds": f"{seconds:.5f}",
                    "device": name,
                    "torch": torch.__version__,
                }
            )
    with written_whole(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def medians(size: int, device, repeats: int) -> dict[str, float]:
    """Median seconds of each network for a result of ``size`` x ``size``, taking turns after a warm-up."""
    import numpy as np

    import model
    from solver.sampling.sampler import Sampler

    lr = np.random.default_rng(0).integers(0, 256, (size // SCALE, size // SCALE, 3), dtype=np.uint8)
    samplers = {name: Sampler(model.build("ablation", SCALE, variant=name).eval(), SCALE, device) for name in NETWORKS}
    times = {name: [] for name in NETWORKS}
    for turn in range(repeats + 1):
        for name, sampler in samplers.items():
            start = time.perf_counter()
            sampler(lr)  # returns pixels in memory, so a GPU has finished
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    run(main)
