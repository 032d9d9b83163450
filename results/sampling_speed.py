"""Seconds and megapixels per second of super-resolving: ``python results/benchmark.py sampling``.

LESRCNN in its published form, ours in each precision, and ours cut into pieces take turns, or the networks that
``--networks`` names (SN and HN for Table 2), and a large matrix product takes its turn beside them: it shows what the
machine can do.
"""

import argparse
import ctypes
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from dataset.errors import InputError
from results.files import write_csv
from results.measure import NETWORKS, SCALES
from results.turns import chosen_device, machine, ratio, take_turns, timed
from solver.arguments import memory

WHAT = "Measure how fast pictures are super-resolved, beside the published form and a large matrix product."
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
_PUBLISHED_FEATURES = 4.5  # tensors of 64 channels at the result's size that the published form holds at once


@dataclass
class Row:
    """One contender at one size: ``turn`` makes one picture, of ``flops``; what could not be measured is None."""

    turn: Callable[[], object] | None
    flops: float
    scale: int
    size: str
    width: int
    height: int
    form: str
    precision: str
    pieces: int
    seconds: float | None = None
    megapixels_per_second: float | None = None
    times_published: float | None = None
    gflops: float | None = None
    mm_gflops: float | None = None
    share_of_mm: float | None = None
    peak_memory_mb: float | None = None
    note: str = ""

    def cells(self) -> dict:
        """What the CSV file tells of it."""
        told = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        return {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in told.items()}


def add_flags(parser) -> None:
    add = parser.add_argument
    add("--scale", type=int, choices=SCALES, nargs="+", help="by default 2 and 4, of networks 4")
    sizes = f"of the result: {', '.join(SIZES)} or as 640x360; by default all on a GPU, up to 1080p on a CPU"
    add("--sizes", nargs="+", help=sizes)
    precisions = ("fp32", "bf16", "fp16")
    add("--precision", choices=precisions, nargs="+", help="by default fp32 and bf16, on a GPU fp16 too")
    names = "measure these of Table 1's networks instead of LESRCNN's forms; SN HN is for Table 2"
    add("--networks", nargs="+", choices=NETWORKS, default=[], help=names)
    room = "for the features of the pieces; 512M is what `--memory 1G` leaves them when sampling"
    add("--memory", type=memory, default="512M", help=room)
    add("--compile", action="store_true", help="measure the compiled network too")
    output = "OUTPUT.csv and OUTPUT.png are written; by default results/benchmark, of networks results/runtime"
    add("--output", type=Path, help=output)


def main(args: argparse.Namespace) -> None:
    import torch

    device = chosen_device(args.device)
    gpu = device.type == "cuda"
    sizes = {name: parse_size(name) for name in args.sizes or (SIZES if gpu else list(SIZES)[:5])}
    precisions = args.precision or ["fp32", "bf16"] + ["fp16"] * gpu
    print(f"{machine(device)}, torch {torch.__version__}, median of {args.rounds} turns")
    output = args.output or Path("results/runtime" if args.networks else "results/benchmark")
    rows = []
    for scale in args.scale or ([4] if args.networks else [2, 4]):
        for name, (width, height) in sizes.items():
            contest = Contest(scale, name, width, height, device)
            if args.networks:
                contest.add_networks(args.networks, precisions)
            else:
                contest.add_forms(precisions, args.memory, args.compile)
            rows += contest.measure(precisions, args.rounds)
            print(table(contest.rows), flush=True)
            about = {"device": machine(device), "torch": torch.__version__}
            write_csv(output.with_suffix(".csv"), [row.cells() | about for row in rows])
    plot(rows, device, output.with_suffix(".png"))


def parse_size(name: str) -> tuple[int, int]:
    """Width and height of a result, of a name in :data:`SIZES` or as ``640x360``.

    Raises:
        InputError: for anything else.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", name)
    size = SIZES.get(name) or (match and (int(match[1]), int(match[2])))
    if not size or min(size) == 0:
        raise InputError(f"--sizes {name}: give {', '.join(SIZES)} or a width and height as 640x360")
    return size


class Contest:
    """All contenders at one scale and size.

    Args:
        scale: 2, 3 or 4.
        name, width, height: of the result; sides are rounded down to multiples of the scale.
        device: where to compute.
    """

    def __init__(self, scale: int, name: str, width: int, height: int, device) -> None:
        import numpy as np

        self.scale, self.name, self.device = scale, name, device
        self.lr = np.random.default_rng(0).integers(0, 256, (height // scale, width // scale, 3), dtype=np.uint8)
        self.rows: list[Row] = []

    def add_networks(self, networks: list[str], precisions: list[str]) -> None:
        """Networks of Table 1, each in one piece."""
        for name in networks:
            net, flops = self._build(name), self._count(name)
            for precision in precisions:
                self._add_ours(name, net, flops, precision, tile="none")

    def add_forms(self, precisions: list[str], memory: int, compiled: bool) -> None:
        """LESRCNN's forms; ``memory``: bytes for the features of the pieces."""
        from solver.sampling.memory import resident

        net, flops = self._build("LESRCNN"), self._count("LESRCNN")
        self._add_published(net)
        given = memory + (resident() if self.device.type == "cpu" else 0)
        for precision in precisions:
            self._add_ours("ours", net, flops, precision, tile="none")
            if compiled:
                self._add_ours("ours, compiled", net, flops, precision, tile="none", compile=True)
            self._add_ours("ours, in pieces", net, flops, precision, tile="auto", memory=given)

    def measure(self, precisions: list[str], rounds: int) -> list[Row]:
        """Let all contenders take turns; returns a row for each."""
        import torch

        products = {precision: matrix_product(precision, self.device) for precision in precisions}
        measured = {i: row for i, row in enumerate(self.rows) if row.turn}
        for row in measured.values():
            row.peak_memory_mb = peak_memory(row.turn, self.device)
        turns = {i: row.turn for i, row in measured.items()} | {name: turn for name, (turn, _) in products.items()}
        seconds = take_turns({name: partial(timed, turn, self.device) for name, turn in turns.items()}, rounds)
        for i, row in measured.items():
            row.seconds = statistics.median(seconds[i])
            row.megapixels_per_second = row.width * row.height / row.seconds / 1e6
            row.gflops = row.flops / row.seconds / 1e9
            if self.rows[0].form == "published" and 0 in measured:
                row.times_published = ratio(seconds[0], seconds[i])
            if row.precision in products:
                product, flops = seconds[row.precision], products[row.precision][1]
                row.mm_gflops = flops / statistics.median(product) / 1e9
                row.share_of_mm = row.flops / flops * ratio(product, seconds[i])
        torch.cuda.empty_cache()
        return self.rows

    def _add(self, form: str, precision: str, flops: float, turn, pieces: int = 1, note: str = "") -> None:
        height, width = (self.scale * n for n in self.lr.shape[:2])
        self.rows.append(Row(turn, flops, self.scale, self.name, width, height, form, precision, pieces, note=note))

    def _add_published(self, net) -> None:
        import copy

        import torch

        from dataset import images
        from results.published_form import PublishedForm
        from solver.sampling import memory

        flops = self._count("LESRCNN", PublishedForm)
        needed = _PUBLISHED_FEATURES * self.lr.shape[0] * self.lr.shape[1] * self.scale**2 * 64 * 4
        if needed > 0.9 * memory.free(self.device):
            self._add("published", "fp32", flops, None, note=f"not run: needs about {needed / 1e9:.0f} GB")
            return
        published = PublishedForm(copy.deepcopy(net)).to(self.device)
        x = images.to_tensor(self.lr).contiguous().to(self.device)
        self._add("published", "fp32", flops, torch.no_grad()(lambda: published(x)))

    def _add_ours(self, form: str, net, flops: float, precision: str, **settings) -> None:
        from solver.sampling import memory
        from solver.sampling.sampler import Sampler

        height, width = self.lr.shape[:2]
        sampler = Sampler(net, self.scale, self.device, precision=precision, **settings)
        if settings["tile"] == "none" and height * width * sampler.bytes_per_pixel > 0.9 * memory.free(self.device):
            self._add(form, precision, flops, None, note="not run: too large for the memory")
        else:
            cut = sampler.strips(height, width) or sampler.grid(height, width)
            self._add(form, precision, flops, partial(compute, sampler, self.lr), cut.count)

    def _build(self, name: str):
        """One of Table 1's networks, started at random."""
        import torch

        import model

        torch.manual_seed(0)
        network, options = NETWORKS[name]
        return model.build(network, self.scale, **options).eval()

    def _count(self, name: str, form: Callable = lambda net: net) -> float:
        """FLOPs of one picture, counted by torch: two for each multiply-add."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        side = 16
        with torch.device("meta"):
            net, x = self._build(name), torch.empty(1, 3, side, side)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            form(net)(x)
        return counter.get_total_flops() * self.lr.shape[0] * self.lr.shape[1] / side**2


def compute(sampler, lr) -> None:
    """The result in all its pieces, as float32 tensors on the device."""
    for _ in sampler.outputs(lr):
        pass


def matrix_product(precision: str, device) -> tuple[Callable[[], object], float]:
    """A large ``mm`` in this precision, and its FLOPs."""
    import torch

    from solver.sampling.sampler import PRECISIONS

    side = 8192 if device.type == "cuda" else 4096
    a, b = (torch.randn(side, side, device=device).to(PRECISIONS[precision]) for _ in range(2))
    result = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=result), 2.0 * side**3


def peak_memory(turn: Callable[[], object], device) -> float | None:
    """Megabytes at most during a turn: allocated on a GPU, else of the whole process; None where unknown."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        turn()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    if not status.exists():
        turn()
        return None
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest resident size so far
    turn()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6


def table(rows: list[Row]) -> str:
    """Rows of one size for a person."""
    lines = [f"x{rows[0].scale}, {rows[0].size} ({rows[0].width}x{rows[0].height})"]
    lines.append("  form             precision pieces   seconds     MP/s x published of mm rate  peak MB")
    for row in rows:
        figures = [
            "-" if value is None else form.format(value)
            for value, form in (
                (row.seconds, "{:.4f}"),
                (row.megapixels_per_second, "{:.3f}"),
                (row.times_published, "{:.2f}"),
                (row.share_of_mm, "{:.0%}"),
                (row.peak_memory_mb, "{:.0f}"),
            )
        ]
        line = "{:>9} {:>8} {:>11} {:>10} {:>8}".format(*figures) if row.turn else row.note
        lines.append(f"  {row.form:16} {row.precision:9} {row.pieces:6} {line}")
    return "\n".join(lines)


def plot(rows: list[Row], device, path: Path) -> None:
    """Megapixels per second over the result's size, a panel for each scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    from dataset.images import written_whole

    scales = sorted({row.scale for row in rows})
    figure, axes = pyplot.subplots(
        1, len(scales), figsize=(5.5 * len(scales), 4.3), squeeze=False, sharey=True, layout="constrained"
    )
    for axis, scale in zip(axes[0], scales):
        for form, precision in dict.fromkeys((row.form, row.precision) for row in rows):
            points = [
                (row.width * row.height / 1e6, row.megapixels_per_second)
                for row in rows
                if (row.scale, row.form, row.precision) == (scale, form, precision) and row.seconds
            ]
            axis.plot(*zip(*points), "o--" if "pieces" in form else "o-", label=f"{form}, {precision}")
        axis.set(title=f"x{scale}", xlabel="result, megapixels", xscale="log", yscale="log")
        for one in (axis.xaxis, axis.yaxis):
            one.set_major_locator(LogLocator(subs=(1, 2, 5)))
            one.set_major_formatter(StrMethodFormatter("{x:g}"))
            one.set_minor_formatter(NullFormatter())
        axis.grid(True, which="both", alpha=0.3)
    axes[0][0].set_ylabel("megapixels per second")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(machine(device))
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)
