"""Running time of the paper's networks at its sizes, for Tables 2 (x4) and 8 (x2): ``python results/runtime.py``.

Random pictures through randomly started networks, in the way that every command here runs them, all in one process:
the seconds are of this machine, their ratios can be compared.
"""

import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset.errors import InputError, run  # noqa: E402
from solver.options import Parser  # noqa: E402

SIZES = (256, 512, 1024)  # side of the result
# (scale, the paper's name, network, its options)
TIMED = ((4, "SN", "ablation", {"variant": "SN"}), (4, "HN", "ablation", {"variant": "HN"}), (2, "LESRCNN", "lesrcnn", {}))


def parser() -> Parser:
    parser = Parser("Measure the running times of Tables 2 and 8 on this machine.")
    parser.add_argument("--cuda", action="store_true", help="compute on the GPU")
    parser.add_argument("--repeats", type=int, default=5, help="of which the median is taken")
    parser.add_argument("--out", type=Path, default=ROOT / "results/runtime.csv", help="the CSV file to write")
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


def measure(path: Path, device, repeats: int = 5, sizes: tuple[int, ...] = SIZES,
            on_step: Callable[[], None] = lambda: None) -> None:
    """Write a row for each network and size: median seconds for a picture, and where.

    Raises:
        InputError: if the file cannot be written.
    """
    import torch

    from dataset.images import written_whole
    from solver.run_folder import processor
    where = {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
             "threads": torch.get_num_threads(), "torch": torch.__version__}
    rows = []
    for size in sizes:
        for (scale, name), seconds in medians(size, device, repeats).items():
            rows.append({"scale": scale, "sr_size": f"{size}x{size}", "network": name, "seconds": f"{seconds:.5f}"} | where)
        on_step()
    with written_whole(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def medians(size: int, device, repeats: int) -> dict[tuple[int, str], float]:
    """Median seconds of each network for a result of ``size`` x ``size``, taking turns after one warm-up each."""
    import numpy as np

    import model
    from solver.sampler import Sampler
    pixels = np.random.default_rng(0)
    runs = {}
    for scale, name, network, options in TIMED:
        sampler = Sampler(model.build(network, scale, **options).eval(), scale, device)
        lr = pixels.integers(0, 256, (size // scale, size // scale, 3), dtype=np.uint8)
        sampler(lr)
        runs[scale, name] = sampler, lr, []
    for _ in range(repeats):
        for sampler, lr, seconds in runs.values():
            start = time.perf_counter()
            sampler(lr)  # returns pixels in memory, so a GPU has finished
            seconds.append(time.perf_counter() - start)
    return {key: statistics.median(seconds) for key, (_, _, seconds) in runs.items()}


if __name__ == "__main__":
    run(main)
