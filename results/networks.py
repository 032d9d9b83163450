"""Which network? What each reaches and takes, measured in one run: ``python results/benchmark.py networks``.

For every network and scale: PSNR on Set5, parameters, multiply-adds, peak memory, and milliseconds for a result of
1280x720. Each network takes turns with LESRCNN, so the ratio of their times is of the same minutes. What has been
measured is remembered, network by network; a run that was killed goes on, and one with fewer ``--networks`` adds to the
table.
"""

import argparse
import hashlib
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model
from dataset.errors import InputError, shown
from dataset.test_set import TestSet
from results import complexity, measure, network_table, readme
from results.measure import PAPER_SCALES, label_of
from results.sampling_speed import ROOM, build, ours, parse_size, peak_memory
from results.shape import AMOUNT, COUNT, PSNR, Remembered
from results.turns import machine, ratio, take_turns
from solver.checkpoint import WeightsInfo, load_network
from solver.machine import has_bf16
from solver.memory import resident

ROOT = Path(__file__).resolve().parents[1]
THREADS = 2  # on the CPU
SECONDS = 20  # that the turns of a network may take, about: a slow one has fewer, one at least
_PROBE = 16  # part of the picture by which it is seen whether a network is slow
SIZE = "1280x720"

# A name -> name and options in model/. LESRCNN's Table 1 has networks of its own, which nobody would choose.
FORMS = {label_of(name, blind=False): (name, {}) for name in model.names() if name != "ablation"}
FORMS |= {"SRCNN 9-5-5": ("srcnn", {"variant": "9-5-5"}), "FSRCNN-s": ("fsrcnn", {"d": 32, "s": 5, "m": 1})}
FORMS |= {"CARN-M": ("carn", {"variant": "M"}), "WDSR-B": ("wdsr", {"variant": "B"})}

_SPEED = {"peak_memory_mb": (AMOUNT, None), "ms_fp32": AMOUNT, "times_fp32": AMOUNT, "precision": str, "ms": AMOUNT}
_SPEED |= {"times": AMOUNT, "turns": COUNT, "part": AMOUNT}
_KINDS = {"speeds": _SPEED, "psnr": (PSNR, None)}


@dataclass(frozen=True)
class Form:
    """A network at a scale: ``label`` is one of :data:`FORMS`."""

    label: str
    scale: int

    @property
    def network(self) -> str:
        return FORMS[self.label][0]

    @property
    def options(self) -> dict[str, Any]:
        return FORMS[self.label][1]

    @cached_property
    def count(self) -> complexity.Count:
        """For 64x64 LR pixels."""
        return complexity.count(self.network, self.scale, 64, **self.options)


@dataclass(frozen=True)
class Weights:
    """A file whose PSNR is shown: of which of :data:`FORMS`, and whether it ships with this project."""

    label: str
    info: WeightsInfo
    luma: bool
    ships: bool

    @property
    def protocols(self) -> tuple[str, ...]:
        return ("published", "luma") if self.luma else ("published",)


def main(args: argparse.Namespace) -> None:
    size, forms = chosen(args)
    if args.device.type == "cpu":
        torch.set_num_threads(THREADS)
    about = {"result": "x".join(map(str, size)), "device": machine(args.device), "torch": torch.__version__}
    memory = Remembered(args.output.with_suffix(".json"), _KINDS)
    print(shown("{device}, torch {torch}, results of {result}".format(**about)), flush=True)
    weights, sets = find_weights(args.weights), find_set5(args.data)
    for form in forms:
        speed = memory.known["speeds"].get(key := speed_key(form, about))
        if speed is None:
            speed = measure_speed(form, size, args)
            memory.keep("speeds", key, speed)
        if form in weights and form.scale in sets:
            for protocol in weights[form].protocols:
                remember_psnr(weights[form], sets[form.scale], protocol, memory)
        told = "{ms:.4g} ms in {precision}, {times:.3g} times LESRCNN's, {turns} turns".format(**speed)
        print(f"{form.label} x{form.scale}: {told}", flush=True)
    rows = [row_of(form, size, about, memory, weights.get(form), sets.get(form.scale)) for form in all_forms()]
    publish(sorted(filter(None, rows), key=lambda row: (row["scale"], row["macs"])), args.output)


def publish(rows: list[dict], path: Path) -> None:
    """Write the table, and what the README shows of it if it is the one in ``results/``."""
    network_table.write(rows, path)
    if path.resolve() == ROOT / "results/networks":
        section = network_table.section(network_table.read(path.with_suffix(".csv")))
        readme.replace(ROOT / "README.md", "networks", section)


def row_of(
    form: Form,
    size: tuple[int, int],
    about: dict,
    memory: Remembered,
    weights: Weights | None,
    pictures: TestSet | None,
) -> dict | None:
    """A row of the table, of the columns of :mod:`results.network_table`; None if the form was not measured."""
    speed = memory.known["speeds"].get(speed_key(form, about))
    if speed is None:
        return None
    pixels = (size[0] // form.scale) * (size[1] // form.scale)
    row = {"network": form.label, "scale": form.scale, "parameters": form.count.parameters}
    row |= {"macs": round(form.count.macs * pixels / 64**2)} | dict.fromkeys(("psnr", "psnr_luma", "weights", "ships"))
    if weights and pictures:
        psnr = {p: memory.known["psnr"].get(psnr_key(weights, pictures, p)) for p in ("published", "luma")}
        row |= {"psnr": psnr["published"], "psnr_luma": psnr["luma"]}
        if psnr["published"] is not None:
            row |= {"weights": weights.info.path.name, "ships": "yes" if weights.ships else "no"}
    return row | speed | about


def chosen(args: argparse.Namespace) -> tuple[tuple[int, int], list[Form]]:
    """Width and height of the results, and what is to be measured, the least work first.

    Raises:
        InputError: for several sizes, or a network that is none of :data:`FORMS`.
    """
    sizes = args.sizes or [SIZE]
    if len(sizes) > 1:
        raise InputError(f"--sizes {' '.join(sizes)}: networks are compared at one size")
    known = {network for network, _ in FORMS.values()}
    for name in args.networks:
        if name not in known:
            raise InputError(f"--networks {name}: is not compared; there are {', '.join(sorted(known))}")
    forms = [form for form in all_forms() if not args.networks or form.network in args.networks]
    forms = [form for form in forms if args.scale in (None, form.scale)]
    if not forms:
        raise InputError(f"--scale {args.scale}: none of --networks {' '.join(args.networks)} has it")
    return parse_size(sizes[0]), sorted(forms, key=lambda form: form.count.macs / form.scale**2)


def all_forms() -> Iterator[Form]:
    """Every form at every scale of the tables that it has."""
    for scale in PAPER_SCALES:
        yield from (
            Form(label, scale) for label, (name, _) in FORMS.items() if scale in model.network_class(name).scales
        )


# -- what a network reaches ------------------------------------------------------------------------


def find_weights(folder: Path | None) -> dict[Form, Weights]:
    """The weights of each form: what ships, or else what is in a folder, in the order of the files' names.

    Of a form's files, one for its scale alone comes before a blind one.

    Raises:
        InputError: if the folder is none.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"--weights {folder}: is no folder")
    shipped, found = [], {}
    with suppress(InputError):  # none ship
        shipped = [method.path for method in measure.find_methods(None)[0]]
    released = sorted(folder.glob("*.pth")) if folder else []
    for weights in (*known(shipped, ships=True), *known(released, ships=False)):
        for scale in weights.info.scales:
            found.setdefault(Form(weights.label, scale), weights)
    return found


def known(files: list[Path], ships: bool) -> list[Weights]:
    """Those of the files that are weights of one of :data:`FORMS`, blind ones last; of the others a line tells.

    A file's scale is what its name ends in, as ``_x2``, or else what it tells.
    """
    found = []
    for path in files:
        scale = re.search(r"_x([2-9])$", path.stem)  # which SRCNN's weights, for one, do not tell
        try:
            net, info = load_network(path, scale=scale and int(scale[1]))
            label = label_of_form(info.network, net.configuration)
            if label is None:
                raise InputError(f"{path}: weights of another {info.network} than the table has")
            found.append(Weights(label, info, net.protocol == "luma", ships))
        except InputError as error:
            print(shown(f"left out: {error}"))
    return sorted(found, key=lambda weights: weights.info.multi_scale)


def label_of_form(network: str, configuration: dict[str, Any]) -> str | None:
    """What of :data:`FORMS` a network is, None if it is another."""
    defaults = model.network_class(network).defaults()
    for label, (name, options) in FORMS.items():
        wanted = defaults | options
        if name == network and all(configuration.get(option) == value for option, value in wanted.items()):
            return label
    return None


def find_set5(folders: list[Path]) -> dict[int, TestSet]:
    """Set5 at each scale that is there."""
    sets, notes = measure.find_sets([*folders, ROOT / "dataset"], ["Set5"])
    for note in notes:
        if note.startswith("Set5"):
            print(shown(f"{note}; its cells stay empty"))
    return {found.scale: found for found in sets if found.name == "Set5"}


def remember_psnr(weights: Weights, pictures: TestSet, protocol: str, memory: Remembered) -> None:
    """Measure Set5's mean PSNR, unless that is known."""
    if (key := psnr_key(weights, pictures, protocol)) not in memory.known["psnr"]:
        psnr = measure.rounded(measure.scores(weights.info.path, pictures, protocol))["psnr"]
        memory.keep("psnr", key, psnr)


def psnr_key(weights: Weights, pictures: TestSet, protocol: str) -> str:
    contents = hashlib.sha256("".join(map(measure.fingerprint, pictures.items)).encode()).hexdigest()[:16]
    return f"{weights.info.sha256[:16]} on {contents} x{pictures.scale}, {protocol}"


# -- what it takes ---------------------------------------------------------------------------------


def speed_key(form: Form, about: dict[str, str]) -> str:
    return f"{form.label} x{form.scale} to {about['result']} on {about['device']}, torch {about['torch']}"


def measure_speed(form: Form, size: tuple[int, int], args: argparse.Namespace) -> dict:
    """Peak memory, and seconds beside LESRCNN's, of pictures cut as ``--memory 1G`` cuts them.

    A slow network computes the upper part of the picture alone, and its time is that of as many parts as there are; not
    so one that needs the whole picture at once. The first result in float32 tells the memory, and how many turns there
    is time for.
    """
    width, height = (side // form.scale for side in size)
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    usual = [*["bf16"] * has_bf16(args.device), *["fp16"] * (args.device.type == "cuda")]
    precisions = list(dict.fromkeys(("fp32", *(args.precision or usual))))
    room = ROOM + (resident() if args.device.type == "cpu" else 0)
    nets = {label: build(FORMS[label][0], form.scale, **FORMS[label][1]) for label in (form.label, "LESRCNN")}

    def turn(label: str, precision: str, rows: int) -> Callable[[], object]:
        lr = picture[:rows]
        return ours(label, nets[label], lr, form.scale, args.device, precision=precision, memory=room).turn

    rows = height
    if nets[form.label].reach(form.scale) is not None:
        few = -(-height // _PROBE)
        whole = seconds_of(turn(form.label, "fp32", few)) * height / few
        rows = min(height, max(few, int(height * SECONDS / (2 * len(precisions) * whole))))
    turns = {(label, precision): turn(label, precision, rows) for label in nets for precision in precisions}
    peaks = []
    first = seconds_of(lambda: peaks.append(peak_memory(turns[form.label, "fp32"], args.device)))
    rounds = max(1, min(args.rounds, int(SECONDS / (first * len(precisions)))))
    seconds = take_turns(turns, rounds, args.device)
    ms = {p: 1000 * statistics.median(seconds[form.label, p]) * height / rows for p in precisions}
    fastest, its = (
        min(precisions, key=lambda precision: statistics.median(seconds[label, precision]))
        for label in (form.label, "LESRCNN")
    )
    figures = {"peak_memory_mb": peaks[0], "turns": rounds, "part": rows / height, "precision": fastest}
    figures |= {"ms_fp32": ms["fp32"], "times_fp32": ratio(seconds[form.label, "fp32"], seconds["LESRCNN", "fp32"])}
    return figures | {"ms": ms[fastest], "times": ratio(seconds[form.label, fastest], seconds["LESRCNN", its])}


def seconds_of(turn: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = time.perf_counter()
    turn()
    return time.perf_counter() - start
