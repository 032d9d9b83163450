"""What each runtime and precision makes of weights, measured: ``python results/deploy.py``.

For every scale of the weights: parameters, FLOPs, the file's size, PSNR and SSIM, what is lost to float32, memory, and
speed beside LESRCNN in its published form, which takes turns with them. What has been measured is remembered, weights
by weights; a run that was killed goes on, and one with fewer ``--networks`` adds to the table.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from dataset import images
from dataset.errors import InputError, shown
from dataset.files import write_text
from dataset.test_set import TestSet
from model.ops import Network
from solver import graph
from solver.checkpoint import WeightsInfo, load_network
from solver.exporting import export
from solver.machine import has_bf16
from solver.measuring.evaluate import evaluate
from solver.memory import resident
from solver.sampling.backends.torch import Torch
from solver.sampling.sampler import Sampler

from . import complexity, measure
from .measure import PAPER_SCALES, Method
from .published_form import PublishedForm
from .sampling_speed import build, compute, peak_memory
from .shape import AMOUNT, COUNT, PSNR, SSIM, Remembered, read_figures, write_figures
from .table import Column, Row, Table, plain
from .turns import machine, ratio, take_turns

ROOT = Path(__file__).resolve().parents[1]
SETS = ("Set5", "Set14", measure.SAMPLE)
RESULT = 640, 360  # width and height of the result whose speed is measured
SIDE = 128  # of the LR picture whose FLOPs are told, as vendors' model zoos do
RUNTIMES = {"OpenVINO": "openvino", "ONNX Runtime": "onnxruntime"}
_CPU = torch.device("cpu")

_FIGURES = {f"{name} {figure}": shape for name in SETS for figure, shape in (("psnr", PSNR), ("ssim", SSIM))}
_ROW = {"runtime": str, "precision": str, "bytes": COUNT, "seconds": AMOUNT, "times": AMOUNT, "peak_memory_mb": AMOUNT}
_ROW |= {name: (shape, None) for name, shape in _FIGURES.items()}
# Of each column of the CSV file what it must hold (see results/shape.py); None where a cell may be empty.
COLUMNS = {"network": str, "scale": COUNT, "weights": str, "parameters": COUNT, "flops": COUNT} | _ROW
COLUMNS |= {"device": str, "versions": str}


@dataclass(frozen=True, eq=False)
class Job:
    """Weights at a scale: what they are called, and the network with them."""

    method: Method
    scale: int
    net: Network
    weights: WeightsInfo

    def __str__(self) -> str:
        return f"{self.method.label} x{self.scale}"

    @cached_property
    def columns(self) -> dict[str, str | int]:
        """What all its rows share. FLOPs are two for each multiply-add."""
        options = {name: self.net.configuration[name] for name in self.net.defaults()}
        count = complexity.count(self.weights.network, self.scale, SIDE, **options)
        columns = {"network": self.method.label, "scale": self.scale, "weights": self.method.path.name}
        return columns | {"parameters": count.parameters, "flops": round(2 * count.macs)}


@dataclass(frozen=True)
class Form:
    """One way to compute a network: ``runtime`` is PyTorch or one of :data:`RUNTIMES`, ``path`` its file."""

    runtime: str
    precision: str
    path: Path

    def sampler(self, scale: int) -> Sampler:
        """It, computing a picture in one piece."""
        net, _ = graph.load(self.path, scale=scale)
        how = {"backend": RUNTIMES[self.runtime]} if self.runtime in RUNTIMES else {"precision": self.precision}
        return Sampler(net, scale, tile="none", **how)


def main(args: argparse.Namespace) -> None:
    """Measure what is not known yet, and write all that is known."""
    about = {"device": machine(_CPU)}
    for name in ("onnx", *RUNTIMES.values()):
        graph.package(name)  # or a line says how to install it
    about["versions"] = ", ".join(f"{name} {version(name)}" for name in ("torch", *RUNTIMES.values()))
    memory = Remembered(args.output.with_suffix(".json"), {"rows": [_ROW]})
    sets, notes = measure.find_sets([*args.data, ROOT / "dataset"], SETS[:2])
    for note in notes:
        print(shown(f"{note}; its cells stay empty"))
    every = list(jobs(args.weights))
    wanted = [job for job in every if args.scale in (None, job.scale)]
    wanted = [job for job in wanted if not args.networks or job.weights.network in args.networks]
    if not wanted:
        raise InputError(f"--networks {' '.join(args.networks)}: there are no weights of it, or none for that --scale")
    rows = []
    for job in every:
        own = [pictures for pictures in sets if pictures.scale == job.scale]
        names = ", ".join(pictures.name for pictures in own)
        key = f"{job}, {job.weights.sha256[:16]}, on {names}, by {', '.join(about.values())}"
        if job in wanted and key not in memory.known["rows"]:
            memory.keep("rows", key, list(measured(job, own, args)))
        rows += [job.columns | row | about for row in memory.known["rows"].get(key, ())]
    write_figures(args.output.with_suffix(".csv"), rows, COLUMNS)
    write_text(args.output.with_suffix(".md"), table(rows).markdown())


def jobs(folder: Path | None) -> Iterator[Job]:
    """All weights in a folder, or that ship, at each of the tables' scales that they have."""
    for method in measure.find_methods(folder)[0]:
        for scale in sorted({*method.scales} & {*PAPER_SCALES}):
            yield Job(method, scale, *load_network(method.path, scale=None if method.blind else scale))


def measured(job: Job, sets: list[TestSet], args: argparse.Namespace) -> Iterator[dict]:
    """Rows of :data:`_ROW`, one for each form."""
    width, height = (side // job.scale for side in RESULT)
    lr = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    published = PublishedForm(build("LESRCNN", job.scale))
    turns = {None: torch.no_grad()(partial(published, images.to_tensor(lr, _CPU).contiguous()))}
    samplers, peaks = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for form in forms(job, Path(folder), args.calibrate):
            samplers[form] = form.sampler(job.scale)
            turns[form] = partial(compute, samplers[form], lr)
            with ProcessPoolExecutor(1, get_context("spawn")) as own:  # in which nothing has been allocated before
                peaks[form] = own.submit(memory_taken, form, job.scale, lr).result()
        seconds = take_turns(turns, args.rounds, _CPU)
        for form, sampler in samplers.items():
            row = {"runtime": form.runtime, "precision": form.precision, "bytes": form.path.stat().st_size}
            row |= {"seconds": statistics.median(seconds[form]), "times": ratio(seconds[None], seconds[form])}
            row |= {"peak_memory_mb": peaks[form]} | dict.fromkeys(_FIGURES)
            for pictures in sets:
                means = measure.rounded(evaluate(sampler, pictures, job.net.protocol))
                row |= {f"{pictures.name} {figure}": mean for figure, mean in means.items()}
            told = ", ".join(f"{pictures.name} {row[f'{pictures.name} psnr']:.3f}" for pictures in sets)
            print(f"{job}, {form.runtime}, {form.precision}: {row['times']:.2f} times as fast; {told}", flush=True)
            yield row


def memory_taken(form: Form, scale: int, lr: np.ndarray) -> float:
    """Megabytes that loading a runtime and weights and computing one result take, in a process that did neither yet."""
    before = resident() / 1e6
    peak = peak_memory(lambda: compute(form.sampler(scale), lr), _CPU)
    return max((peak or before) - before, 0.0)


def forms(job: Job, folder: Path, calibrate: Path | None) -> Iterator[Form]:
    """What there is to measure, float32 first; exported files that do not ship are made in a folder."""
    yield Form("PyTorch", "fp32", job.method.path)
    if has_bf16(_CPU):
        yield Form("PyTorch", "bf16", job.method.path)
    own = Torch(job.net, job.scale, _CPU)
    files = {"fp32": folder / "net.onnx", "int8": graph.beside(job.weights, job.scale, ".onnx", "int8")}
    said = {precision: export.say(job.net, job.weights, job.scale, precision) for precision in files}
    export.write_onnx(files["fp32"], own, said["fp32"])
    if calibrate and not files["int8"].exists():
        files["int8"] = folder / "net_int8.onnx"
        try:
            export.write_int8(files["int8"], own, said["int8"], export.lr_patches(calibrate, job.scale))
        except InputError as error:
            print(shown(f"left out: {error}"))
    yield from (Form(runtime, name, path) for name, path in files.items() if path.exists() for runtime in RUNTIMES)


# -- the table ---------------------------------------------------------------------------------------


def read(path: Path) -> list[dict]:
    """The rows of such a CSV file; empty cells are None.

    Raises:
        InputError: if it is missing or damaged.
    """
    return read_figures(path, COLUMNS, "make it again with results/deploy.py")


def table(rows: list[dict]) -> Table:
    """All of it, for people."""
    columns = [Column("network", "Network"), Column("scale", "Scale"), Column("parameters", "Parameters", ",d")]
    columns += [Column("flops", "GFLOPs", ".3f"), Column("runtime", "Runtime"), Column("precision", "Precision")]
    columns += [Column("bytes", "MB", ".2f")]
    for name in SETS:
        columns += [Column(f"{name} psnr", f"{name} PSNR", ".3f"), Column(f"{name} loss", "less than fp32", ".3f")]
        columns += [Column(f"{name} ssim", "SSIM", ".4f")]
    columns += [Column("times", "Speed, times published", ".2f"), Column("peak_memory_mb", "Peak memory, MB", ".0f")]
    lines, exact = [], {}
    for row in rows:
        first = exact.setdefault((row["network"], row["weights"], row["scale"]), row)  # float32 by PyTorch
        told = row | {"scale": f"x{row['scale']}", "flops": row["flops"] / 1e9, "bytes": row["bytes"] / 1e6}
        for name in SETS:
            psnr = row[f"{name} psnr"]
            told[f"{name} loss"] = psnr and round(first[f"{name} psnr"] - psnr, 3) + 0.0  # not -0
        lines.append(Row(tuple(told[column.key] for column in columns)))
    [*_, last] = rows
    width, height = RESULT
    notes = [
        f"On {plain(last['device'])}; {plain(last['versions'])}. GFLOPs are those of an LR picture of {SIDE}x{SIDE} "
        f"pixels, two FLOPs for each multiply-add. Speed is for a result of {width}x{height} pixels, beside LESRCNN's "
        "published form at this scale, which took turns with all others: the median of the turns' ratios. Memory is "
        "what loading the runtime and the weights and one such result take, beside the program and in its own process.",
        "PSNR in dB and SSIM by the protocol `published`, of networks for luma `luma`. Of LESRCNN a vendor's model zoo "
        "tells 44.459 GFLOPs at x2 and 152.592 at x4: 10/9 of those of its published form (40.012 and 137.328), which "
        "runs the up-sampler twice.",
    ]
    return Table("deploy", "Out of PyTorch", columns, lines, notes)
