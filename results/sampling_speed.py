"""Seconds and megapixels per second of super-resolving: ``python results/benchmark.py sampling``.

LESRCNN in its published form, ours in each precision, and ours cut into pieces take turns, or the networks that
``--networks`` names (SN and HN for Table 2; ``bicubic`` is OpenCV's), and a large matrix product takes its turn beside
them: it shows what the machine can do.
"""

import argparse
import ctypes
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.ticker import LogLocator

import model
from dataset import images
from dataset.errors import InputError, shown
from dataset.files import write_csv
from results.canvas import canvas, label
from results.complexity import flops
from results.measure import NETWORKS
from results.published_form import PublishedForm
from results.table import Column, Row, Table
from results.turns import machine, ratio, take_turns
from solver.memory import resident
from solver.sampling import memory
from solver.sampling.sampler import PRECISIONS, Sampler

# Width and height of the result. 256, 512 and 1024 are those of the paper's Tables 2 and 8.
SIZES = {
    "256": (256, 256),
    "360p": (640, 360),
    "512": (512, 512),
    "1024": (1024, 1024),
    "1080p": (1920, 1080),
    "4K": (3840, 2160),
    "8K": (7680, 4320),
}
ROOM = 2**29  # bytes for the features of the pieces: what `--memory 1G` leaves them when sampling
FIGURES = "form precision pieces seconds megapixels_per_second times_published".split()
FIGURES += "gflops mm_gflops share_of_mm peak_memory_mb note".split()
_PUBLISHED_FEATURES = 4.5  # tensors of 64 channels at the result's size that the published form holds at once


@dataclass(frozen=True, eq=False)
class Contender:
    """One way of making a picture: ``turn`` makes it, of so many ``flops``; ``needed``: bytes of memory at once."""

    form: str
    precision: str
    flops: float
    turn: Callable[[], object]
    needed: float = 0
    pieces: int = 1


def main(args: argparse.Namespace) -> None:
    device, gpu = args.device, args.device.type == "cuda"
    sizes = {name: parse_size(name) for name in args.sizes or (SIZES if gpu else list(SIZES)[:5])}
    args.precision = args.precision or ["fp32", "bf16"] + ["fp16"] * gpu
    for name, (width, height) in sizes.items():
        if 12 * width * height > memory.free(device):
            raise InputError(f"--sizes {name}: {12 * width * height / 1e9:.0f} GB for the result alone are not free")
    about = {"device": machine(device), "torch": torch.__version__}
    print(shown(f"{about['device']}, torch {about['torch']}, median of {args.rounds} turns"))
    rows = []
    for scale in [args.scale] if args.scale else [4] if args.networks else [2, 4]:
        for name, size in sizes.items():
            width, height = (side // scale for side in size)
            if not width * height:
                raise InputError(f"--sizes {name}: has not one LR pixel at x{scale}; take a larger one")
            lr = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
            what = {"scale": scale, "size": name, "width": scale * width, "height": scale * height}
            measured = measure(list(contenders(lr, scale, device, args)), scale, lr, device, args.rounds)
            lines = [Row(tuple(row[figure] for figure in FIGURES)) for row in measured]
            columns = [Column(figure, figure.replace("_", " "), ".4g") for figure in FIGURES]
            print(Table(name, "x{scale}, {width}x{height}".format(**what), columns, lines).markdown(), flush=True)
            rows += [what | row | about for row in measured]
            told = [{key: f"{v:.5g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows]
            write_csv(args.output.with_suffix(".csv"), told)
    plot(rows, args.output.with_suffix(".png"))


def parse_size(name: str) -> tuple[int, int]:
    """Width and height of a result, of a name in :data:`SIZES` or as ``640x360``; raises InputError for others."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", name)
    size = SIZES.get(name) or (match and (int(match[1]), int(match[2])))
    if not size or min(size) < 4:
        raise InputError(f"--sizes {name}: give {', '.join(SIZES)}, or width and height from 4 to 999999 as 640x360")
    return size


def contenders(lr: np.ndarray, scale: int, device: torch.device, args: argparse.Namespace) -> Iterator[Contender]:
    """LESRCNN's forms, the published one first, or the networks that are named, each in one piece."""
    if not args.networks:
        published = PublishedForm(build("LESRCNN", scale).to(device))
        x = images.to_tensor(lr, device).contiguous()
        needed = _PUBLISHED_FEATURES * lr.shape[0] * lr.shape[1] * scale**2 * 64 * 4
        yield Contender("published", "fp32", work(published, lr), torch.no_grad()(partial(published, x)), needed)
    room = ROOM + (resident() if device.type == "cpu" else 0)
    for name in args.networks or ["LESRCNN"]:
        if name == "bicubic":
            yield Contender(name, "uint8", 0, partial(cv2.resize, lr, None, None, scale, scale, cv2.INTER_CUBIC))
            continue
        form, net = name if args.networks else "ours", build(name, scale)
        for precision in args.precision:
            yield ours(form, net, lr, scale, device, precision=precision, tile="none")
            if args.compile:
                yield ours(f"{form}, compiled", net, lr, scale, device, precision=precision, tile="none", compile=True)
            if not args.networks:
                yield ours("ours, in pieces", net, lr, scale, device, precision=precision, memory=room)


def ours(form: str, net, lr: np.ndarray, scale: int, device, precision: str, **settings) -> Contender:
    """A network as this project runs it; ``settings`` are the sampler's."""
    sampler = Sampler(net, scale, device, precision=precision, **settings)
    cut = sampler.strips(*lr.shape[:2]) or sampler.grid(*lr.shape[:2])
    needed = lr.shape[0] * lr.shape[1] * sampler.bytes_per_pixel if sampler.tile == "none" else 0
    return Contender(form, precision, work(net, lr), partial(compute, sampler, lr), needed, cut.count)


def build(name: str, scale: int, **options):
    """A network, started at random; raises InputError for a scale that it does not have."""
    torch.manual_seed(0)
    network, own = NETWORKS.get(name, (name, {}))
    try:
        return model.build(network, scale, **own, **options).eval()
    except ValueError as error:
        raise InputError(f"--scale {scale}: {name}: {error}") from None


def work(net, lr: np.ndarray) -> float:
    """FLOPs of one picture."""
    return flops(net, 16) * lr.shape[0] * lr.shape[1] / 16**2


def compute(sampler: Sampler, lr: np.ndarray) -> None:
    """The result in all its pieces, as float32 tensors on the device."""
    for _ in sampler.outputs(lr):
        pass


def matrix_product(precision: str, device: torch.device) -> tuple[Callable[[], object], float]:
    """A large ``mm`` in this precision, and its FLOPs."""
    side = 8192 if device.type == "cuda" else 4096
    a, b = (torch.randn(side, side, device=device).to(PRECISIONS[precision]) for _ in range(2))
    return partial(torch.mm, a, b, out=torch.empty_like(a)), 2.0 * side**3


def measure(contenders: list[Contender], scale: int, lr: np.ndarray, device: torch.device, rounds: int) -> list[dict]:
    """Let all contenders take turns; a row of :data:`FIGURES` for each, None for what is not known."""
    precisions = PRECISIONS.keys() & {one.precision for one in contenders}
    products = {precision: matrix_product(precision, device) for precision in precisions}
    free = 0.9 * memory.free(device)
    turns = {one: one.turn for one in contenders if one.needed <= free}
    peaks = {one: peak_memory(turn, device) for one, turn in turns.items()}
    seconds = take_turns(turns | {precision: mm for precision, (mm, _) in products.items()}, rounds, device)
    published = next((seconds.get(one) for one in contenders if one.form == "published"), None)
    rows = []
    for one in contenders:
        row = dict.fromkeys(FIGURES) | {"form": one.form, "precision": one.precision, "pieces": one.pieces}
        if own := seconds.get(one):
            median = statistics.median(own)
            row["seconds"], row["peak_memory_mb"] = median, peaks[one]
            row["megapixels_per_second"] = lr.shape[0] * lr.shape[1] * scale**2 / median / 1e6
            row["times_published"] = published and ratio(published, own)
            if one.precision in products:
                mm, mm_flops = seconds[one.precision], products[one.precision][1]
                row["gflops"], row["mm_gflops"] = one.flops / median / 1e9, mm_flops / statistics.median(mm) / 1e9
                row["share_of_mm"] = one.flops / mm_flops * ratio(mm, own)
        else:
            row["note"] = f"not run: needs about {one.needed / 1e9:.0f} GB"
        rows.append(row)
    torch.cuda.empty_cache()
    return rows


def peak_memory(turn: Callable[[], object], device: torch.device) -> float | None:
    """Megabytes at most during a turn: allocated on a GPU, else of the whole process; None where unknown."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        turn()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest resident size so far
    turn()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6


def plot(rows: list[dict], path: Path) -> None:
    """Megapixels per second over the result's size, a panel for each scale."""
    scales = sorted({row["scale"] for row in rows})
    with canvas(path, 5.5 * len(scales), 4.3, layout="constrained") as figure:
        panels = figure.subplots(1, len(scales), squeeze=False, sharey=True)[0]
        for axes, scale in zip(panels, scales):
            for form, precision in dict.fromkeys((row["form"], row["precision"]) for row in rows):
                own = [row for row in rows if (row["scale"], row["form"], row["precision"]) == (scale, form, precision)]
                sizes = [row["width"] * row["height"] / 1e6 for row in own]
                rates = [row["megapixels_per_second"] for row in own]
                axes.plot(sizes, rates, "o--" if "pieces" in form else "o-", label=f"{form}, {precision}")
            axes.set(title=f"x{scale}", xlabel="result, megapixels", xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
            axes.grid(True, which="both", alpha=0.3)
        panels[0].set_ylabel("megapixels per second")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
        figure.suptitle(label(rows[0]["device"], 90))
