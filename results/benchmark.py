"""How fast this machine samples and trains: ``python results/benchmark.py sampling`` or ``training``.

Each lets its contenders take turns within one run, the published form first; see ``results/turns.py``. ``networks``
compares all networks, each beside LESRCNN; killed, it goes on. ``video`` enlarges films. Where a GPU is, it is the
GPU that is measured.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import model
from dataset.errors import InputError, Parser, run
from dataset.files import locked
from results.measure import NETWORKS, SCALES
from solver.arguments import positive


def parser() -> Parser:
    parser = Parser(
        "Measure how fast pictures are enlarged or training steps are made, beside the published form; or what every "
        "network reaches and takes, beside LESRCNN; or how fast films are enlarged, beside FFmpeg's scaler."
    )
    add = parser.add_argument
    add("what", choices=("sampling", "training", "networks", "video"), help="what is measured")
    add("--device", choices=("cpu", "cuda"), help="by default a GPU where there is one")
    add("--rounds", type=at_most(1000), default=5, help="turns of each contender, after one more")
    add("--scale", type=int, choices=SCALES, help="by default 2 and 4, of --networks 4, of training 2, of networks all")
    add("--compile", action="store_true", help="measure the compiled network too")
    add(
        "--output",
        type=Path,
        help="by default results/benchmark (.csv and .png), runtime, networks, benchmark_training or _video (.json)",
    )
    add("--frames", type=at_most(100_000), default=200, help="of the films of video")
    add = parser.add_argument_group("sampling, networks").add_argument
    what = "of the result, as 1080p or 640x360; by default up to 8K, on a CPU to 1080p; of networks 1280x720 alone"
    add("--sizes", nargs="+", help=what)
    add("--precision", choices=("fp32", "bf16", "fp16"), nargs="+", help="by default all, on a CPU fp32 and bf16")
    every = [*NETWORKS, *model.names(), "bicubic"]
    add("--networks", nargs="+", choices=every, default=[], help="instead of LESRCNN's forms; SN HN for Table 2")
    add = parser.add_argument_group("networks").add_argument
    add("--weights", type=Path, help="folder of released weights, for networks of which none ship")
    add("--data", type=Path, nargs="+", default=[], help="folders of Set5, beside dataset/")
    add = parser.add_argument_group("training").add_argument
    add("--patch_size", type=at_most(10_000), help="by default 64, on a CPU 32")
    add("--batch_size", type=at_most(100_000), help="by default 64, on a CPU 16")
    add("--steps", type=at_most(100_000), help="steps in a turn; by default 50, on a CPU 3")
    return parser


def at_most(most: int) -> Callable[[str], int]:
    """The type of a flag that is a whole number from 1 to ``most``."""

    def number(text: str) -> int:
        value = positive(text)
        if value > most:
            raise argparse.ArgumentTypeError(f"{value} is more than {most}")
        return value

    return number


def main() -> None:
    args = parser().parse_args()
    from results import networks, sampling_speed, training_speed, video_speed

    args.device = chosen_device(args.device)
    args.output = args.output or Path("results") / usual_name(args.what, args.networks)
    if args.scale == 8 and args.what != "sampling":
        raise InputError(f"--scale 8: {args.what} is measured at 2, 3 and 4")
    if not args.output.name:
        raise InputError(f"--output {args.output}: is no name of a file")
    with locked(args.output.parent, "another command of results/"):
        measured = {"sampling": sampling_speed, "training": training_speed, "networks": networks, "video": video_speed}
        measured[args.what].main(args)


def usual_name(what: str, networks: list[str]) -> str:
    """What the files are called in ``results/``, where :mod:`results.papers` says that tables look for them."""
    runtime = "cfsrcnn/runtime" if "cfsrcnn" in networks else "runtime"
    sampling = runtime if networks else "benchmark"
    return {"sampling": sampling, "networks": "networks"}.get(what, f"benchmark_{what}")


def chosen_device(name: str | None):
    """The device of ``--device``, by default a GPU where there is one; raises InputError where there is none."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA GPU is available; leave the flag out to compute on the CPU")
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


if __name__ == "__main__":
    run(main)
