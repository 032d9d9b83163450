"""Train all of LESRCNN's weights in one go, in pieces: ``python results/gpu.py --help``; results/gpu.md tells more.

The blind network comes first, then each scale from it. Each call works for so many minutes and stops its run, saved;
the next call goes on.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset.errors import InputError, Parser, run, shown
from solver.arguments import positive, positive_number

MINUTES = 24  # that these steps take on one H100: 20.4, 18.0, 25.0 and 26.1 ms each, measured
# At x4 and blind patches are 48x48, or T91's pictures would be too small for one.
RUNS = {
    "lesrcnn": (33_800, "lesrcnn_b/train.py --patch_size 48 --scale_shares 2 1 1"),
    "lesrcnn_x2": (13_200, "x2/train.py --patch_size 64 --revive 0"),
    "lesrcnn_x4": (9_000, "x4/train.py --patch_size 48 --revive 0"),
    "lesrcnn_x3": (9_600, "x3/train.py --patch_size 64 --revive 0"),
}
ALIKE = (
    "--recipe modern --init default --batch_size 64 --lr 5e-4 --schedule trapezoid --cooldown 0.8 "
    "--precision auto --cache device"
)
VALIDATION = ["--val_data_dir", "dataset/Sample"]


def main() -> int:
    parser = Parser("Train the blind network and then each scale from it, in pieces.")
    add = parser.add_argument
    add("--train_data_path", type=Path, required=True, help="HDF5 file made by dataset/div2h5.py")
    add("--minutes", type=positive_number, default=MINUTES, help="for all runs, on one H100; the steps follow from it")
    add("--piece", type=positive_number, default=9, help="minutes after which a call stops its run, saved, and ends")
    add("--ckpt_dir", type=Path, default=ROOT / "checkpoint/gpu", help="the runs go into folders here")
    add("--init_from", type=Path, default=ROOT / "lesrcnn_b/lesrcnn.pth", help="what the blind network starts from")
    add("--batch_size", type=positive, default=64, help="patches in a step")
    add("--patch_size", type=positive, help="side of a patch (by default 48 or 64)")
    args = parser.parse_args()
    for flag in ("minutes", "piece"):
        if getattr(args, flag) > 1e6:
            raise InputError(f"--{flag} {getattr(args, flag)}: more than a million minutes, which is two years")
    end = time.monotonic() + 60 * args.piece
    for name in RUNS:
        status = work(command(name, args), max(1, end - time.monotonic()))
        if status is None:
            print(f"{args.piece:g} minutes are over: {name} is saved; the same command goes on with it")
        if status is None or status > 0:
            return status or 0
        if status < 0:
            raise InputError(f"{name}: its training was killed by signal {-status}; the same command goes on with it")
    print(shown(f"all runs are done: {args.ckpt_dir}"))
    return 0


def work(words: list[str], seconds: float) -> int | None:
    """Run a command for so long; returns its exit status, or None if it was stopped.

    Stopped it is at the end of the time, and when this command is: it saves, and is waited for.
    """
    process = subprocess.Popen(words, cwd=ROOT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()


def command(name: str, args: argparse.Namespace) -> list[str]:
    """The training command of a run."""
    steps, flags = RUNS[name]
    words = [sys.executable, *f"{flags} {ALIKE} --print_interval 4000 --save_minutes 1.5 --resume".split()]
    start = args.init_from if name == "lesrcnn" else args.ckpt_dir / "lesrcnn/lesrcnn.pth"
    given = {
        "max_steps": max(1, round(steps * args.minutes / MINUTES)),
        "init_from": start.resolve(),
        "train_data_path": args.train_data_path.resolve(),
        "ckpt_dir": args.ckpt_dir.resolve() / name,
        "ckpt_name": name,
        "batch_size": args.batch_size,
    } | ({"patch_size": args.patch_size} if args.patch_size else {})
    return [*words, *VALIDATION, *(word for flag, value in given.items() for word in (f"--{flag}", str(value)))]


if __name__ == "__main__":
    run(main)
