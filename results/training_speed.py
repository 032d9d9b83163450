"""Steps per second of this trainer beside the published loop: ``python results/benchmark.py training``.

The published loop is written out here as it was: float32, NCHW, the up-sampler run twice, patches turned into tensors
one by one in the main process, the default Adam.
"""

import argparse
import contextlib
import io
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from results.files import write_json
from results.measure import SCALES
from results.turns import chosen_device, machine, random_file, ratio, take_turns, timed
from solver.arguments import positive

WHAT = "Measure training steps per second beside the published loop's."


def add_flags(parser) -> None:
    add = parser.add_argument
    add("--scale", type=int, choices=SCALES, default=2)
    add("--patch_size", type=positive, help="by default 32 on a CPU, 64 on a GPU")
    add("--batch_size", type=positive, help="by default 16 on a CPU, 64 on a GPU")
    add("--steps", type=positive, help="steps in a turn; by default 3 on a CPU, 50 on a GPU")
    add("--train_data_path", type=Path, help="HDF5 file; by default one of random pictures is made")
    add("--compile", action="store_true", help="measure the compiled network too")
    add("--output", type=Path, default="results/benchmark_training.json", help="the figures")


def main(args: argparse.Namespace) -> None:
    import torch

    device = chosen_device(args.device)
    gpu = device.type == "cuda"
    args.patch_size = args.patch_size or (64 if gpu else 32)
    args.batch_size = args.batch_size or (64 if gpu else 16)
    args.steps = args.steps or (50 if gpu else 3)
    with tempfile.TemporaryDirectory() as folder:
        side = args.scale * max(2 * args.patch_size, 128)
        data = args.train_data_path or random_file(Path(folder) / "random.h5", side, side, 8)
        steps = {"published": published_loop(data, args.scale, args.patch_size, args.batch_size, device)}
        for precision in ("fp32", "bf16"):
            for compiled in ("", ", compiled") if args.compile else ("",):
                name = f"ours, {precision}{compiled}"
                steps[name] = our_loop(args, data, Path(folder) / name, precision, bool(compiled), device)
        contenders = {name: partial(timed, step, device, args.steps) for name, step in steps.items()}
        seconds = take_turns(contenders, args.rounds)
    rows = {
        name: {
            "seconds_per_step": round(statistics.median(own), 5),
            "steps_per_second": round(1 / statistics.median(own), 3),
            "times_published": round(ratio(seconds["published"], own), 2),
        }
        for name, own in seconds.items()
    }
    about = {"scale": args.scale, "patch_size": args.patch_size, "batch_size": args.batch_size}
    about |= {"device": machine(device), "torch": torch.__version__}
    report = about | {"turns": args.rounds, "steps_per_turn": args.steps, "contenders": rows}
    write_json(args.output, report)
    print(f"x{args.scale}, batch {args.batch_size}, LR patch {args.patch_size}, {report['device']}")
    for name, row in rows.items():
        print(f"{name:24} {row['steps_per_second']:9.3f} steps/s  {row['times_published']:5.2f} x published")


def our_loop(
    args: argparse.Namespace, data: Path, folder: Path, precision: str, compiled: bool, device
) -> Callable[[], None]:
    """A step of this project's trainer; what no flag here says is as in the published recipe."""
    from solver.processes import Group
    from solver.training.command import parse
    from solver.training.trainer import Trainer

    flags = shlex.split(
        f"--cache device --precision {precision} --num_gpu {int(device.type == 'cuda')} --scale {args.scale} "
        f"--patch_size {args.patch_size} --batch_size {args.batch_size}{' --compile' * compiled}"
    )
    with contextlib.redirect_stdout(io.StringIO()):  # what it says at the start is of no interest here
        settings = parse(args.scale, [*flags, "--train_data_path", str(data), "--ckpt_dir", str(folder)])
        trainer = Trainer(settings, Group(0, 1, device))
    batches = trainer.data.loader(0, sys.maxsize)
    return lambda: trainer.train_step(next(batches))


def published_loop(path: Path, scale: int, patch: int, batch: int, device) -> Callable[[], None]:
    """The published training step, as the paper's own code had it."""
    import torch
    from torch.nn import functional as F

    import model
    from results.published_form import PublishedForm, published_batches

    net = model.build("lesrcnn", scale).to(device)
    forward = PublishedForm(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    batches = published_batches(path, scale, patch, batch)

    def step() -> None:
        lr, hr = (patches.to(device) for patches in next(batches))
        loss = F.mse_loss(forward(lr), hr)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10)
        optimizer.step()
        loss.item()

    return step
