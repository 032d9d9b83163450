"""Steps per second of this trainer beside the published loop: python results/benchmark_training.py --help

The published loop is written out here as it was: float32, NCHW, the up-sampler run twice, the whole HDF5 file
in memory as arrays, patches cut and turned into tensors one by one by torchvision's ``ToTensor`` in the main
process, the default Adam. All contenders take turns within one run, so that they meet the same machine; a
figure is the median of its turns.
"""

import argparse
import contextlib
import io
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset.errors import (
    Parser,  # noqa: E402
    run,  # noqa: E402
)
from solver.arguments import (
    SCALES,  # noqa: E402
    positive,  # noqa: E402
)
from solver.training.command import parse  # noqa: E402


def parser() -> Parser:
    p = Parser("Measure training steps per second beside the published loop's, in one run.")
    p.add_argument("--scale", type=int, choices=SCALES, default=2)
    p.add_argument("--patch_size", type=positive, help="by default 32 on a CPU, 64 on a GPU")
    p.add_argument("--batch_size", type=positive, help="by default 16 on a CPU, 64 on a GPU")
    p.add_argument("--rounds", type=positive, default=7, help="turns of each contender")
    p.add_argument("--steps", type=positive, help="steps in a turn; by default 3 on a CPU, 50 on a GPU")
    p.add_argument("--train_data_path", type=Path, help="HDF5 file; by default one of random pixels is made")
    p.add_argument("--num_gpu", type=int, choices=(0, 1), default=1, help="0 is the CPU")
    p.add_argument("--compile", action="store_true", help="measure the compiled network too")
    p.add_argument("--output", type=Path, default="results/benchmark_training.json", help="the figures")
    return p


def main() -> int:
    args = parser().parse_args()
    import torch

    from solver.machine import device_name

    gpu = bool(args.num_gpu) and torch.cuda.is_available()
    args.patch_size = args.patch_size or (64 if gpu else 32)
    args.batch_size = args.batch_size or (64 if gpu else 16)
    args.steps = args.steps or (50 if gpu else 3)
    device = torch.device("cuda" if gpu else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        data = args.train_data_path or make_data(Path(folder) / "random.h5", args.scale, args.patch_size)
        contenders = make_contenders(args, data, Path(folder), device)
        seconds = measure(contenders, args.rounds, args.steps)
    rows = {
        name: {
            "seconds_per_step": round(s, 5),
            "steps_per_second": round(1 / s, 3),
            "times_published": round(seconds["published"] / s, 2),
        }
        for name, s in seconds.items()
    }
    report = {
        "scale": args.scale,
        "patch_size": args.patch_size,
        "batch_size": args.batch_size,
        "device": device_name(device),
        "torch": torch.__version__,
        "turns": args.rounds,
        "steps_per_turn": args.steps,
        "contenders": rows,
    }
    write(report, args.output)
    print(
        f"x{args.scale}, batch {args.batch_size}, LR patch {args.patch_size}, {report['device']}, "
        f"median of {args.rounds} turns"
    )
    for name, row in rows.items():
        print(f"{name:24} {row['steps_per_second']:9.3f} steps/s  {row['times_published']:5.2f} x")
    return 0


def measure(contenders: dict[str, Callable[[], None]], rounds: int, steps: int) -> dict[str, float]:
    """Median seconds per step of each contender, all taking turns; a first turn does not count."""
    import torch

    times = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, step in contenders.items():
            start = time.perf_counter()
            for _ in range(steps):
                step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times[name].append((time.perf_counter() - start) / steps)
    return {name: statistics.median(values) for name, values in times.items()}


def make_contenders(args: argparse.Namespace, data: Path, folder: Path, device) -> dict[str, Callable[[], None]]:
    """Name -> a function that does the next training step."""
    contenders = {"published": published_loop(data, args.scale, args.patch_size, args.batch_size, device)}
    for precision in ("fp32", "bf16"):
        for compiled in (False, True) if args.compile else (False,):
            name = f"ours, {precision}{', compiled' if compiled else ''}"
            flags = [
                "--precision",
                precision,
                "--cache",
                "device",
                "--num_gpu",
                str(args.num_gpu),
                "--scale",
                str(args.scale),
                "--patch_size",
                str(args.patch_size),
                "--batch_size",
                str(args.batch_size),
                "--train_data_path",
                str(data),
                "--ckpt_dir",
                str(folder / name),
            ] + ["--compile"] * compiled
            contenders[name] = our_loop(flags, device)
    return contenders


def our_loop(flags: list[str], device) -> Callable[[], None]:
    """This project's trainer with these flags; the rest is the published recipe."""
    from solver.processes import Group
    from solver.training.trainer import Trainer

    with contextlib.redirect_stdout(io.StringIO()):  # what it says at the start is of no interest here
        trainer = Trainer(parse(2, flags), Group(0, 1, device))
    batches = trainer.data.loader(0, sys.maxsize)
    return lambda: trainer.train_step(next(batches))


def published_loop(path: Path, scale: int, patch: int, batch: int, device) -> Callable[[], None]:
    """The published training step by step, as the paper's own code had it."""
    import h5py
    import numpy as np
    import torch
    from torch.nn import functional as F
    from torchvision.transforms import ToTensor

    import model
    from results.published_form import PublishedForm

    with h5py.File(path) as file:
        pairs = [(file["HR"][name][:], file[f"X{scale}"][name][:]) for name in file["HR"]]
    pairs = [(hr, lr) for hr, lr in pairs if min(lr.shape[:2]) >= patch]
    net = model.build("lesrcnn", scale).to(device)
    forward = PublishedForm(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    to_tensor = ToTensor()

    def cut() -> tuple[torch.Tensor, torch.Tensor]:
        hr, lr = random.choice(pairs)
        y, x = (random.randrange(n - patch + 1) for n in lr.shape[:2])
        lr = lr[y : y + patch, x : x + patch]
        hr = hr[scale * y : scale * (y + patch), scale * x : scale * (x + patch)]
        turns, flip = random.randrange(4), random.random() < 0.5
        lr, hr = (np.rot90(p[:, ::-1] if flip else p, turns).copy() for p in (lr, hr))
        return to_tensor(hr), to_tensor(lr)

    def step() -> None:
        hr, lr = (torch.stack(patches).to(device) for patches in zip(*(cut() for _ in range(batch))))
        loss = F.mse_loss(forward(lr), hr)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10)
        optimizer.step()
        loss.item()

    return step


def make_data(path: Path, scale: int, patch: int, pictures: int = 8) -> Path:
    """An HDF5 file of random pixels, in the layout of dataset/div2h5.py, for patches of this size."""
    import h5py
    import numpy as np

    random_pixels = np.random.default_rng(0)
    side = max(2 * patch, 128)
    with h5py.File(path, "w") as file:
        for group, size in (("HR", side * scale), (f"X{scale}", side)):
            for i in range(pictures):
                file[f"{group}/{i}"] = random_pixels.integers(0, 256, (size, size, 3), dtype=np.uint8)
    return path


def write(report: dict, path: Path) -> None:
    from dataset.images import written_whole

    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
