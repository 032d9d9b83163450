"""Training patches per second of each way of reading: ``python results/benchmark.py loader``.

The plain way is the published one, see :func:`results.published_form.published_batches`. All ways end with float
batches in [0, 1] on the device. Without a file, one of random pictures of DIV2K's size is written to a temporary folder
first. Beside workers the main process uses fewer threads by as many, at least one: threads that wait for each other do
so in a busy loop, which takes the workers' cores.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dataset.errors import InputError
from results.measure import SCALES
from results.turns import chosen_device, machine, random_file, ratio, take_turns
from solver.arguments import natural, positive, positive_number

WHAT = "Measure how many training patches per second each way of reading delivers beside the plain one."
WAYS = ("plain", "none", "ram", "device")
_PICTURE = 1356, 2040  # DIV2K's size


def add_flags(parser) -> None:
    add = parser.add_argument
    add("--train_data_path", type=Path, help="HDF5 file; by default one of random pictures is made")
    add("--gigabytes", type=positive_number, default=2.0, help="size of that file")
    add("--folder", type=Path, metavar="DIR", help="where to put it (by default the temporary folder)")
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="of --cache; plain is always measured")
    add("--workers", type=natural, default=2, help="loader processes, measured beside none")
    add("--scale", type=int, default=2, choices=SCALES)
    add("--patch_size", type=positive, default=64, help="side of the LR patch")
    add("--batch_size", type=positive, default=64, help="patches per batch")
    add("--threads", type=positive, help="of torch in the main process and its workers (by default torch's choice)")
    add("--seconds", type=positive_number, default=2.0, help="of each turn")


def main(args: argparse.Namespace) -> None:
    if args.train_data_path and not args.train_data_path.is_file():
        raise InputError(f"{args.train_data_path}: no such file; make it with dataset/div2h5.py")
    import torch

    args.device = chosen_device(args.device)
    args.threads = args.threads or torch.get_num_threads()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.train_data_path is None:
            size = sum(_PICTURE[0] * _PICTURE[1] * 3 / scale**2 for scale in (1, *SCALES))
            count = max(1, round(args.gigabytes * 1e9 / size))
            args.train_data_path = random_file(Path(folder) / "random.h5", *_PICTURE, count)
        print(
            f"{args.train_data_path}: {args.train_data_path.stat().st_size / 1e9:.2f} GB, x{args.scale}, LR patches of "
            f"{args.patch_size}x{args.patch_size}, batches of {args.batch_size}, on {machine(args.device)}"
        )
        opened(args, "none")  # finds out what is wrong with the file
        ways = [("plain", 0)]
        for way in args.ways:
            ways += [(way, 0)] if way != "plain" else []
            ways += [(way, args.workers)] if way in ("none", "ram") and args.workers else []
        sets = {way: opened(args, way) for way, _ in ways}
        rates = take_turns({way: partial(turn, args, sets[way[0]], way[1]) for way in ways}, args.rounds)
    print(f"{'way':7}{'workers':>8}{'patches/s':>11}{'/ plain':>9}")
    for (way, workers), rate in rates.items():
        times = ratio(rate, rates["plain", 0])
        print(f"{way:7}{workers:8}{statistics.median(rate):11.0f}{times:9.2f}")


def opened(args: argparse.Namespace, way: str):
    """What a way reads from: an iterator of the plain batches, or a :class:`dataset.train_set.TrainSet`."""
    file, scale, patch, batch = args.train_data_path, args.scale, args.patch_size, args.batch_size
    if way == "plain":
        from results.published_form import published_batches

        return published_batches(file, scale, patch, batch)
    from dataset.train_set import TrainSet

    return TrainSet(file, scale, patch, batch, cache=way, device=args.device)


def batches(args: argparse.Namespace, source, workers: int) -> Iterator:
    """LR and HR batches, float, on the device."""
    import torch

    if isinstance(source, Iterator):
        for lr, hr in source:
            yield lr.to(args.device), hr.to(args.device)
        return
    floats = None  # made once: fresh memory for every batch would cost more than filling it
    for _, *both in source.loader(0, sys.maxsize, workers=workers):
        floats = floats or [torch.empty_like(part, dtype=torch.float32, device=args.device) for part in both]
        yield tuple(kept.copy_(part).div_(255) for kept, part in zip(floats, both))


def turn(args: argparse.Namespace, source, workers: int) -> float:
    """Patches per second, over about ``args.seconds`` after the first batch: starting is not what is measured."""
    import torch

    torch.set_num_threads(max(1, args.threads - workers))
    own = batches(args, source, workers)
    next(own)
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < args.seconds or not count:
        count += len(next(own)[0])
        if args.device.type == "cuda":
            torch.cuda.synchronize()
    own.close()
    return count / spent
