"""Measure how many training patches per second each way of reading the HDF5 file delivers, and its memory.

Beside the plain way, in turns with it in the same process: the whole file in memory, and every patch cut,
flipped and turned into a tensor by itself with torchvision's ToTensor, in the main process. All ways end
with float batches in [0, 1] on the device. Without a file, one of random pictures of DIV2K's size is
written to a temporary folder first.

Beside workers the main process uses fewer threads by as many, at least one: threads that wait for each other
do so in a busy loop, which takes the workers' cores.
"""

import argparse
import multiprocessing
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset import errors  # noqa: E402
from dataset.errors import InputError, Parser  # noqa: E402

if TYPE_CHECKING:
    import torch

    from dataset.train_set import TrainSet

WAYS = ("plain", "none", "ram", "device")
Batches = Iterator[tuple["torch.Tensor", "torch.Tensor"]]  # LR and HR patches, (N, 3, side, side) float


def main() -> None:
    args = _arguments()
    if args.file and not args.file.is_file():
        raise InputError(f"{args.file}: no such file; make it with dataset/div2h5.py")
    import torch

    args.threads = args.threads or torch.get_num_threads()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.file is None:
            args.file = Path(folder) / "random.h5"
            write_random(args.file, args.gigabytes)
        print(
            f"{args.file}: {args.file.stat().st_size / 1e9:.2f} GB, x{args.scale}, LR patches of "
            f"{args.patch_size}x{args.patch_size}, batches of {args.batch_size}, on {args.device}"
        )
        _open(args, "none")  # finds out what is wrong with the file
        ways = [("plain", 0)]
        for way in args.ways:
            ways += [(way, 0)] if way != "plain" else []
            ways += [(way, args.workers)] if way in ("none", "ram") and args.workers else []
        memory = {way: resident(args, *way) for way in ways}  # first, while this process is small itself
        rates = measure(args, ways)
        print(f"{'way':7}{'workers':>8}{'patches/s':>11}{'/ plain':>9}   resident MB (main, largest worker)")
        for (way, workers), rate in rates.items():
            ratio = statistics.median(ours / plain for ours, plain in zip(rate, rates["plain", 0]))
            print(f"{way:7}{workers:8}{statistics.median(rate):11.0f}{ratio:9.2f}   {memory[way, workers]}")


def measure(args: argparse.Namespace, ways: list[tuple[str, int]]) -> dict[tuple[str, int], list[float]]:
    """(way, workers) -> patches per second in each round."""
    import torch

    rates, sets = {way: [] for way in ways}, {}
    for _ in range(args.rounds):
        for way, workers in rates:
            if way not in sets:
                sets[way] = _open(args, way)
            batches = _batches(args, sets[way], workers)
            torch.set_num_threads(max(1, args.threads - workers))
            next(batches)  # starting is not what is measured
            rates[way, workers].append(_rate(batches, args.seconds))
            batches.close()
    return rates


def _open(args: argparse.Namespace, way: str) -> "TrainSet | PlainSet":
    from dataset.train_set import TrainSet

    if way == "plain":
        return PlainSet(args)
    return TrainSet(args.file, args.scale, args.patch_size, args.batch_size, cache=way, device=args.device)


def _batches(args: argparse.Namespace, patches: "TrainSet | PlainSet", workers: int) -> Batches:
    if isinstance(patches, PlainSet):
        for lr, hr in patches.batches():
            yield lr.to(args.device), hr.to(args.device)
        return
    import torch

    floats = None  # made once: fresh memory for every batch would cost more than filling it
    for _, *both in patches.loader(0, sys.maxsize, workers=workers):
        floats = floats or [torch.empty_like(part, dtype=torch.float32, device=args.device) for part in both]
        yield tuple(kept.copy_(part).div_(255) for kept, part in zip(floats, both))


def _rate(batches: Batches, seconds: float) -> float:
    """Patches per second of an iterator, over about so many seconds."""
    import torch

    count, start = 0, time.perf_counter()
    for lr, _ in batches:
        count += len(lr)
        if (spent := time.perf_counter() - start) > seconds:
            break
    if lr.is_cuda:
        torch.cuda.synchronize()
        spent = time.perf_counter() - start
    return count / spent


class PlainSet:
    """The plain way that the others are compared with."""

    def __init__(self, args: argparse.Namespace):
        import h5py

        self.args = args
        with h5py.File(args.file) as file:
            indices = [index for index, lr in file[f"X{args.scale}"].items() if min(lr.shape[:2]) >= args.patch_size]
            self.lr = [file[f"X{args.scale}/{index}"][:] for index in indices]
            self.hr = [file[f"HR/{index}"][:] for index in indices]

    def batches(self) -> Batches:
        import random

        import numpy as np
        import torch
        from torchvision.transforms import ToTensor

        to_tensor = ToTensor()
        side, scale = self.args.patch_size, self.args.scale
        while True:
            patches = []
            for _ in range(self.args.batch_size):
                index = random.randrange(len(self.lr))
                lr, hr = self.lr[index], self.hr[index]
                top, left = random.randint(0, lr.shape[0] - side), random.randint(0, lr.shape[1] - side)
                lr = lr[top : top + side, left : left + side]
                hr = hr[scale * top : scale * (top + side), scale * left : scale * (left + side)]
                if random.random() > 0.5:
                    lr, hr = np.fliplr(lr), np.fliplr(hr)
                turns = random.randrange(4)
                patches.append([to_tensor(np.rot90(patch, turns).copy()) for patch in (lr, hr)])
            yield tuple(torch.stack(column) for column in zip(*patches))


def write_random(path: Path, gigabytes: float) -> None:
    """An HDF5 file of about so many bytes, of random pictures of DIV2K's size, as div2h5.py makes it."""
    import h5py
    import numpy as np
    from tqdm import tqdm

    from dataset.div2h5 import chunk

    hr = np.random.default_rng(0).integers(0, 256, (1356, 2040, 3), dtype=np.uint8)
    pictures = {"HR": hr, **{f"X{scale}": hr[: 1356 // scale, : 2040 // scale] for scale in (2, 3, 4)}}
    count = max(1, round(gigabytes * 1e9 / sum(pixels.nbytes for pixels in pictures.values())))
    try:
        with h5py.File(path, "w") as file:
            for index in tqdm(range(count), desc="random pictures", disable=None):
                for group, pixels in pictures.items():
                    file.create_dataset(f"{group}/{index}", data=pixels, chunks=chunk(pixels))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {errors.describe(error)}; choose another --folder or fewer --gigabytes"
        ) from None


def resident(args: argparse.Namespace, way: str, workers: int) -> str:
    """Peak resident size, in a process of its own, of that and of its largest worker: "610, 480" (in MB)."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        batches = _batches(args, _open(args, way), workers)
        _rate(batches, args.seconds)
        batches.close()
        sender.send(
            (
                int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]),
                resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
            )
        )

    process = context.Process(target=run)
    process.start()
    sender.close()
    try:
        sizes = receiver.recv()[: 2 if workers else 1]
    except EOFError:
        raise InputError(f"{way}: the process that measures its memory has failed") from None
    process.join()
    return ", ".join(f"{kilobytes / 1024:.0f}" for kilobytes in sizes)


def _arguments() -> argparse.Namespace:
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="HDF5 file made by div2h5.py (default: random pictures)")
    parser.add_argument("--gigabytes", type=float, default=2, help="size of the file of random pictures (default: 2)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to put it (default: the temporary folder)")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=WAYS,
        metavar="WAY",
        help=f"of {', '.join(WAYS)}; plain is always measured (default: all)",
    )
    parser.add_argument("--workers", type=int, default=2, help="loader processes, measured beside none (default: 2)")
    parser.add_argument("--scale", type=int, default=2, choices=(2, 3, 4), help="(default: 2)")
    parser.add_argument("--patch_size", type=int, default=64, help="side of the LR patch (default: 64)")
    parser.add_argument("--batch_size", type=int, default=64, help="patches per batch (default: 64)")
    parser.add_argument("--device", default="cpu", help="where the batches are wanted (default: cpu)")
    parser.add_argument(
        "--threads", type=int, help="of torch in the main process and its workers (default: torch's own choice)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of all ways (default: 5)")
    parser.add_argument("--seconds", type=float, default=2, help="of each way in each round (default: 2)")
    return parser.parse_args()


if __name__ == "__main__":
    errors.run(main)
