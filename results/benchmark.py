"""Seconds and megapixels per second of super-resolving: python results/benchmark.py --help

The published form (see results/published_form.py), ours in each precision, and ours cut into pieces take turns
within one run, so that they meet the same machine, and a large matrix product takes its turn beside them: it
shows what the machine can do. A figure is the median of its turns, a ratio the median of the turns' ratios.
"""

import csv
import ctypes
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset.errors import (  # noqa: E402
    InputError,
    Parser,  # noqa: E402
    run,
)
from solver.arguments import SCALES  # noqa: E402
from solver.sampling import command as options  # noqa: E402

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
    """One contender at one size; what could not be measured is None."""

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


def parser() -> Parser:
    p = Parser("Measure how fast pictures are super-resolved, beside the published form, in one run.")
    p.add_argument("--scale", type=int, choices=SCALES, nargs="+", default=[2, 4])
    p.add_argument(
        "--sizes",
        nargs="+",
        help=f"of the result: {', '.join(SIZES)} or as 640x360; by default all on a GPU, up to 1080p on a CPU",
    )
    p.add_argument("--rounds", type=int, default=5, help="turns of each contender, after one that does not count")
    p.add_argument(
        "--memory",
        type=options.memory,
        default="512M",
        help="for the features of the pieces; 512M is what `--memory 1G` leaves them when sampling",
    )
    p.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), nargs="+", help="by default fp32 and bf16, on a GPU fp16 too"
    )
    p.add_argument("--cpu", action="store_true", help="the CPU, even where there is a GPU")
    p.add_argument("--compile", action="store_true", help="measure the compiled network too")
    p.add_argument("--output", type=Path, default="results/benchmark", help="OUTPUT.csv and OUTPUT.png are written")
    return p


def main() -> int:
    args = parser().parse_args()
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() and not args.cpu else "cpu")
    gpu = device.type == "cuda"
    if args.rounds < 1:
        raise InputError(f"--rounds {args.rounds}: must be 1 or more")
    sizes = {name: parse_size(name) for name in args.sizes or (SIZES if gpu else list(SIZES)[:5])}
    precisions = args.precision or ["fp32", "bf16"] + ["fp16"] * gpu
    if gpu:  # as torch's default is for the network's convolutions in fp32
        torch.backends.cuda.matmul.allow_tf32 = True
    print(f"{device_name(device)}, torch {torch.__version__}, median of {args.rounds} turns")
    rows = []
    for scale in args.scale:
        for name, (width, height) in sizes.items():
            benchmark = Benchmark(scale, name, width, height, device, args.memory)
            rows += benchmark.measure(precisions, args.rounds, args.compile)
            print(table(rows[-len(benchmark.rows) :]), flush=True)
            write_csv(rows, device, args.output.with_suffix(".csv"))
    plot(rows, device, args.output.with_suffix(".png"))
    return 0


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


class Benchmark:
    """All contenders at one scale and size.

    Args:
        scale: 2, 3 or 4.
        name, width, height: of the result; sides are rounded down to multiples of the scale.
        device: where to compute.
        memory: bytes for the features of the pieces.
    """

    def __init__(self, scale: int, name: str, width: int, height: int, device, memory: int) -> None:
        import numpy as np
        import torch

        import model

        torch.manual_seed(0)
        self.net = model.build("lesrcnn", scale).eval()
        self.scale, self.name, self.device, self.memory = scale, name, device, memory
        shape = height // scale, width // scale, 3
        self.lr = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        self.rows: list[Row] = []
        self._turns: list[Callable[[], object]] = []

    def measure(self, precisions: list[str], rounds: int, compiled: bool) -> list[Row]:
        """Let all contenders take turns; returns a row for each."""
        import torch

        self._add_published()
        for precision in precisions:
            self._add_ours("ours", precision, tile="none")
            if compiled:
                self._add_ours("ours, compiled", precision, tile="none", compile=True)
            self._add_ours("ours, in pieces", precision, tile="auto")
        products = {precision: matrix_product(precision, self.device) for precision in precisions}
        for row, turn in zip(self.rows, self._turns):
            row.peak_memory_mb = peak_memory(turn, self.device) if turn else None
        times = [[] for _ in self.rows]
        product_times = {precision: [] for precision in precisions}
        for _ in range(rounds):
            for seconds, turn in zip(times, self._turns):
                if turn:
                    seconds.append(timed(turn, self.device))
            for precision, (turn, _) in products.items():
                product_times[precision].append(timed(turn, self.device))
        flops = {form: self._flops(form) for form in ("published", "ours")}
        for row, seconds in zip(self.rows, times):
            if not seconds:
                continue
            row.seconds = statistics.median(seconds)
            row.megapixels_per_second = row.width * row.height / row.seconds / 1e6
            row.gflops = flops[row.form.split(",")[0]] / row.seconds / 1e9
            if times[0]:
                row.times_published = statistics.median(p / s for p, s in zip(times[0], seconds))
            if row.precision in products:
                product_flops = products[row.precision][1]
                row.mm_gflops = product_flops / statistics.median(product_times[row.precision]) / 1e9
                rates = [
                    flops[row.form.split(",")[0]] / s / (product_flops / p)
                    for s, p in zip(seconds, product_times[row.precision])
                ]
                row.share_of_mm = statistics.median(rates)
        torch.cuda.empty_cache()
        return self.rows

    def _add(self, form: str, precision: str, pieces: int, turn: Callable[[], object] | None, note: str = "") -> None:
        height, width = (self.scale * n for n in self.lr.shape[:2])
        self.rows.append(Row(self.scale, self.name, width, height, form, precision, pieces, note=note))
        self._turns.append(turn)

    def _add_published(self) -> None:
        import copy

        from dataset import images
        from results.published_form import PublishedForm
        from solver.sampling import memory

        pixels = self.lr.shape[0] * self.lr.shape[1] * self.scale**2
        needed = _PUBLISHED_FEATURES * pixels * 64 * 4
        if needed > 0.9 * memory.free(self.device):
            self._add("published", "fp32", 1, None, f"not run: needs about {needed / 1e9:.0f} GB")
            return
        net = PublishedForm(copy.deepcopy(self.net)).to(self.device)
        x = images.to_tensor(self.lr).contiguous().to(self.device)
        self._add("published", "fp32", 1, lambda: no_gradients(net, x))

    def _add_ours(self, form: str, precision: str, **settings) -> None:
        from solver.sampling.memory import resident
        from solver.sampling.sampler import Sampler

        if settings["tile"] == "auto":
            settings["memory"] = self.memory + (resident() if self.device.type == "cpu" else 0)
        sampler = Sampler(self.net, self.scale, self.device, precision=precision, **settings)
        if settings["tile"] == "none" and not fits(sampler, self.lr):
            self._add(form, precision, 1, None, "not run: too large for the memory")
        else:
            height, width = self.lr.shape[:2]
            cut = sampler.strips(height, width) or sampler.grid(height, width)
            self._add(form, precision, cut.count, lambda: compute(sampler, self.lr))

    def _flops(self, form: str) -> float:
        """Of one forward pass, counted by torch: two for each multiply-add."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        import model
        from results.published_form import PublishedForm

        side = 16
        with torch.device("meta"):
            net = model.build("lesrcnn", self.scale)
            x = torch.empty(1, 3, side, side)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            (PublishedForm(net) if form == "published" else net)(x)
        return counter.get_total_flops() * self.lr.shape[0] * self.lr.shape[1] / side**2


def no_gradients(net, x):
    import torch

    with torch.no_grad():
        return net(x)


def compute(sampler, lr) -> None:
    """The result in all its pieces, as float32 tensors on the device."""
    for _ in sampler.outputs(lr):
        pass


def fits(sampler, lr) -> bool:
    """Whether the memory that is free is enough for a picture in one piece."""
    from solver.sampling import memory

    return lr.shape[0] * lr.shape[1] * sampler.bytes_per_pixel < 0.9 * memory.free(sampler.device)


def matrix_product(precision: str, device) -> tuple[Callable[[], object], float]:
    """A large ``mm`` in this precision, and its FLOPs."""
    import torch

    from solver.sampling.sampler import PRECISIONS

    side = 8192 if device.type == "cuda" else 4096
    a, b = (torch.randn(side, side, device=device).to(PRECISIONS[precision]) for _ in range(2))
    result = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=result), 2.0 * side**3


def timed(turn: Callable[[], object], device) -> float:
    """Seconds of one turn: by CUDA events on a GPU, else by the clock."""
    import torch

    if device.type != "cuda":
        start = time.perf_counter()
        turn()
        return time.perf_counter() - start
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    turn()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


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


def device_name(device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def table(rows: list[Row]) -> str:
    """Rows of one size for a person."""
    first = rows[0]
    lines = [
        f"x{first.scale}, {first.size} ({first.width}x{first.height})",
        f"  {'form':16} {'precision':9} {'pieces':>6} {'seconds':>9} {'MP/s':>8} {'x published':>11} "
        f"{'of mm rate':>10} {'peak MB':>8}",
    ]
    for row in rows:
        line = f"  {row.form:16} {row.precision:9} {row.pieces:6}"
        if row.seconds is None:
            lines.append(f"{line} {row.note}")
            continue
        times = "-" if row.times_published is None else f"{row.times_published:.2f}"
        share = "-" if row.share_of_mm is None else f"{row.share_of_mm:.0%}"
        peak = "-" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}"
        speed = f"{row.seconds:9.4f} {row.megapixels_per_second:8.3f}"
        lines.append(f"{line} {speed} {times:>11} {share:>10} {peak:>8}")
    return "\n".join(lines)


def write_csv(rows: list[Row], device, path: Path) -> None:
    import torch

    from dataset.images import written_whole

    with written_whole(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            machine = {"device": device_name(device), "torch": torch.__version__}
            writer = csv.DictWriter(file, [*asdict(rows[0]), *machine])
            writer.writeheader()
            for row in rows:
                cells = (asdict(row) | machine).items()
                writer.writerow({name: f"{v:.5g}" if isinstance(v, float) else v for name, v in cells})


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
    figure.suptitle(device_name(device))
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    run(main)
