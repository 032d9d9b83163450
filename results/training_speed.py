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
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.nn import functional as F

import model
from dataset.errors import InputError, shown
from dataset.files import write_json
from results.published_form import PublishedForm, published_batches
from results.turns import machine, ratio, take_turns
from solver.processes import Group
from solver.sampling import memory
from solver.training.command import parse
from solver.training.trainer import Trainer

_PIXEL = 10_000  # bytes that a step keeps of an LR pixel at least: 35 results of 64 channels in float32


def main(args: argparse.Namespace) -> None:
    gpu = args.device.type == "cuda"
    about = {
        "scale": args.scale or 2,
        "patch_size": args.patch_size or (64 if gpu else 32),
        "batch_size": args.batch_size or (64 if gpu else 16),
    }
    count = args.steps or (50 if gpu else 3)
    needed = _PIXEL * about["batch_size"] * about["patch_size"] ** 2
    if needed > memory.free(args.device):
        flags = "--patch_size {patch_size}, --batch_size {batch_size}".format(**about)
        raise InputError(f"{flags}: a step takes {needed / 1e9:.0f} GB and more, which are not free")
    with tempfile.TemporaryDirectory() as folder:
        data = random_file(Path(folder) / "random.h5", about["scale"], max(2 * about["patch_size"], 128))
        steps = {"published": published_loop(data, *about.values(), args.device)}
        for precision in ("fp32", "bf16"):
            for compiled in ("", ", compiled")[: 1 + args.compile]:
                name = f"ours, {precision}{compiled}"
                flags = f"--precision {precision} --num_gpu {int(gpu)}{' --compile' * bool(compiled)}"
                steps[name] = our_loop(data, Path(folder) / name, flags, about, args.device)
        seconds = take_turns(steps, args.rounds, args.device, count)
    rows = {
        name: {
            "seconds_per_step": round(statistics.median(own), 5),
            "steps_per_second": round(1 / statistics.median(own), 3),
            "times_published": round(ratio(seconds["published"], own), 2),
        }
        for name, own in seconds.items()
    }
    about |= {"device": machine(args.device), "torch": torch.__version__, "turns": args.rounds, "steps_per_turn": count}
    print(shown("x{scale}, {batch_size} LR patches of {patch_size}x{patch_size}, {device}".format(**about)))
    for name, row in rows.items():
        print(f"{name:24} {row['steps_per_second']:9.3f} steps/s  {row['times_published']:5.2f} x published")
    write_json(args.output.with_suffix(".json"), about | {"contenders": rows})


def our_loop(data: Path, folder: Path, flags: str, about: dict, device: torch.device) -> Callable[[], None]:
    """A step of this project's trainer; what no flag here says is as in the published recipe."""
    flags = shlex.split(f"--cache device {flags}") + [f"--{name}={value}" for name, value in about.items()]
    with contextlib.redirect_stdout(io.StringIO()):  # what it says at the start is of no interest here
        settings = parse(about["scale"], [*flags, f"--train_data_path={data}", f"--ckpt_dir={folder}"])
        trainer = Trainer(settings, Group(0, 1, device))
    batches = trainer.data.loader(0, sys.maxsize)
    return lambda: trainer.train_step(next(batches))


def published_loop(path: Path, scale: int, patch: int, batch: int, device: torch.device) -> Callable[[], None]:
    """The published training step, as the paper's own code had it."""
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


def random_file(path: Path, scale: int, side: int) -> Path:
    """A training file of eight random pictures, whose LR has this side."""
    hr = np.random.default_rng(0).integers(0, 256, (scale * side, scale * side, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        for index in range(8):
            file[f"HR/{index}"], file[f"X{scale}/{index}"] = hr, hr[:side, :side]
    return path
