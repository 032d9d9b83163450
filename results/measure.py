"""Measure weights on data sets, and remember it: what is known is not measured again.

The memory is one JSON file. A picture's figures count as known if the weights' hash, the protocol and
the contents of its LR and HR files are the ones they were measured with. It is written after every
picture, so an interrupted run goes on where it was.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import model
from dataset import images, test_set
from dataset.errors import InputError, describe
from dataset.files import opened, sha256_of, write_json
from dataset.test_set import Item, TestSet
from solver.measuring.metrics import PROTOCOLS

from .shape import COUNT, PSNR, SSIM, fits, read_json

PAPER_SCALES = (2, 3, 4)  # of the papers' tables
SCALES = (*PAPER_SCALES, 8)  # that pictures are measured at
NETWORKS = {name: ("ablation", {"variant": name}) for name in ("SN", "HN", "IEEB", "IEEB+RB")}  # Table 1's
NETWORKS |= {"LESRCNN": ("lesrcnn", {})}
BENCHMARKS = ("Set5", "Set14", "B100", "Urban100")  # that most papers measure on
SAMPLE = "Sample"
SETS = (*BENCHMARKS, "720p", SAMPLE)
FIGURES = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")
DIGITS = 6  # of a remembered figure: more than any table prints

_PICTURE = {"files": str, "height": COUNT, "width": COUNT}
_PICTURE |= {figure: ((PSNR, math.inf) if "psnr" in figure else (SSIM,)) + (None,) for figure in FIGURES}
_ENTRY = {"set": SETS, "scale": SCALES, "protocol": PROTOCOLS, "label": str, "file": str}
_ENTRY |= {"weights": str, "count": COUNT, "pictures": {str: _PICTURE}}


@dataclass(frozen=True)
class Method:
    """One weights file and the scales it is to be measured at.

    Attributes:
        label: what the papers call it, see :func:`label_of`.
        path: the file.
        scales: some of :data:`SCALES`.
        blind: whether one network serves all scales.
    """

    label: str
    path: Path
    scales: tuple[int, ...]
    blind: bool

    @property
    def own_protocol(self) -> str:
        """The protocol of its own paper: ``luma`` if it enlarges luma alone, else ``published``."""
        return self.network.protocol

    @cached_property
    def sha256(self) -> str:
        return sha256_of(self.path)

    @cached_property
    def network(self):
        """The network, loaded when first needed; raises InputError if it is not what the file's name promises."""
        from solver.graph import load

        net, info = load(self.path, None, None if self.blind else self.scales[0])
        if info.multi_scale != self.blind:
            kinds = {True: "blind weights (all scales in one network)", False: "weights of one scale"}
            raise InputError(f"{self.path}: holds {kinds[info.multi_scale]}, expected {kinds[self.blind]}")
        return net

    @cached_property
    def samplers(self) -> dict:
        """A :class:`solver.sampling.sampler.Sampler` with these weights for each scale."""
        from solver.sampling.sampler import Sampler

        return {scale: Sampler(self.network, scale) for scale in self.scales}


def label_of(network: str, blind: bool) -> str:
    """What the papers call a network: ``LESRCNN``, or ``LESRCNN-S`` for the blind one; ``SRCNN``, ``LapSRN``.

    CFSRCNN's blind one has no name in its paper: it is called as LESRCNN's, which is by the same authors.
    """
    name = {"lapsrn": "LapSRN", "edsr": "EDSR-baseline"}.get(network, network.upper())
    return f"{name}-S" if blind and network in ("lesrcnn", "cfsrcnn") else name


def find_methods(folder: Path | None, first: str = "lesrcnn") -> tuple[list[Method], list[str]]:
    """The weights to measure, and a line for each of one network's that is not there.

    Args:
        folder: where files of the usual names are (``lesrcnn_x2.pth``, ..., ``lesrcnn.pth`` for the blind one,
            ``espcn_x2.pth``, ...); None for the weights that ship with this project.
        first: that network, whose weights come first.

    Raises:
        InputError: if there are none.
    """
    from solver.arguments import SHIPPED

    root = Path(__file__).resolve().parents[1]
    methods, missing = [], []
    for network in sorted(model.names(), key=lambda name: name != first):
        for scale in (*SCALES, 0):
            file = model.shipped(network, scale)
            path = root / file if folder is None else Path(folder) / Path(file).name
            if path.is_file():
                label, scales = label_of(network, not scale), (scale,) if scale else model.network_class(network).scales
                if not scale and any(method.label == label for method in methods):
                    label += ", blind"
                methods.append(Method(label, path, scales, not scale))
            elif network == first and scale != 8:
                missing.append(f"{file if folder is None else path}: not there, so its cells stay empty")
    if not methods:
        names = ", ".join(Path(path).name for path in SHIPPED.values())
        raise InputError(f"{folder or root}: no weights: none of {names}; give their folder with --weights")
    return methods, missing


def find_sets(
    folders: list[Path], names: Sequence[str] = BENCHMARKS, scales: Collection[int] = PAPER_SCALES
) -> tuple[list[TestSet], list[str]]:
    """The sets of these names, and ``Sample``, that are there at any of these scales, and a line for what is not.

    Args:
        folders: that hold sets, as ``Set5/x2/...``; the first that has one counts.
    """
    found, notes = [], []
    for name in (*names, SAMPLE):
        places = [Path(folder) / name for folder in folders if (Path(folder) / name).is_dir()]
        if not places:
            notes.append(f"{name}: not in {', '.join(map(str, folders))}")
        for scale in sorted(scales) if places else ():
            try:
                pictures = test_set.find(places[0], scale)
                if any(item.hr is None for item in pictures.items) or not pictures.items:
                    raise InputError(f"{places[0]}: has pictures without HR at x{scale}")
                found.append(replace(pictures, name=name))
            except InputError as error:
                notes.append(f"{name} x{scale} is left out: {error}")
    return found, notes + _of_another_size(found)


def _of_another_size(sets: list[TestSet]) -> list[str]:
    """A line for each set that is smaller at one scale, as Urban100's x2 pictures often are: by half."""
    heights = []
    for pictures in sets:
        with suppress(InputError):  # it is told when it is measured
            heights.append((pictures.name, pictures.scale, images.size(pictures.items[0].hr)[0]))
    cropped = max(SCALES)  # by less they differ where they are cropped to a multiple of their scale
    return [
        f"{name} x{scale}: its HR pictures are smaller than at another scale, so its figures are not the paper's; "
        "remake it with dataset/make_benchmark.py"
        for name, scale, height in heights
        if any(name == other and height + cropped < taller for other, _, taller in heights)
    ]


class Memory:
    """What has been measured, in a JSON file.

    Args:
        path: the file; it need not be there yet.

    Raises:
        InputError: if it is there and is not such a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = {}
        if path.exists():
            measured = read_json(path, {"measured": _entries}, "delete it to measure everything again")["measured"]
            self._entries = {_key(entry): entry for entry in measured}

    def entry(self, method: Method, pictures: TestSet, protocol: str) -> dict:
        """The entry of one set, made empty if there is none.

        ``{"set", "scale", "protocol", "label", "file", "weights", "count", "pictures"}``, the last
        a dictionary of picture name -> figures.
        """
        empty = {"set": pictures.name, "scale": pictures.scale, "protocol": protocol, "label": method.label}
        empty |= {"file": method.path.name, "weights": method.sha256, "count": 0, "pictures": {}}
        return self._entries.setdefault(_key(empty), empty)

    def complete(self, methods: list[Method], protocol: str) -> list[dict]:
        """The entries of these weights whose sets have been measured whole."""
        hashes = {method.sha256 for method in methods}
        own = [e for e in self._entries.values() if e["weights"] in hashes and e["protocol"] == protocol]
        return [entry for entry in own if entry["count"] == len(entry["pictures"]) > 0]

    def for_tables(self, methods: list[Method], protocol: str) -> list[dict]:
        """The same, and what networks have measured by their own protocol, if that is another."""
        others = [method for method in methods if method.own_protocol != protocol]
        own = [entry for method in others for entry in self.complete([method], method.own_protocol)]
        return self.complete(methods, protocol) + own

    def forget_others(self, methods: list[Method]) -> list[str]:
        """Drop what weights have measured whose files hold others by now; returns the names of these files.

        What weights have measured whose file is not there now, is kept.
        """
        files, hashes = {method.path.name for method in methods}, {method.sha256 for method in methods}
        others = [k for k, entry in self._entries.items() if entry["file"] in files and entry["weights"] not in hashes]
        return sorted({self._entries.pop(key)["file"] for key in others})

    def write(self) -> None:
        """Write the file, whole or not at all."""
        names = ("scale", "label", "protocol", "weights")
        entries = sorted(self._entries.values(), key=lambda e: [SETS.index(e["set"]), *map(e.get, names)])
        write_json(self.path, {"measured": entries})


def plan(methods: list[Method], sets: list[TestSet], protocol: str) -> list[tuple[Method, TestSet, str]]:
    """Which weights are measured on which set, and how: all that have its scale, by a protocol and by their own."""
    return [
        (method, pictures, each)
        for pictures in sets
        for method in methods
        if pictures.scale in method.scales
        for each in dict.fromkeys((protocol, method.own_protocol))
    ]


def measure(
    method: Method,
    pictures: TestSet,
    memory: Memory,
    protocol: str,
    progress: Callable[[list[Item]], Iterable[Item]] = iter,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Measure weights on a set, picture by picture, unless that is known.

    Args:
        progress: wraps the list of pictures, for example in a progress bar.
        say: told in a line about pictures whose files have changed.

    Returns:
        A line for each picture that cannot be used; the set's figures stay unknown then.

    Raises:
        InputError: for weights that cannot be used, or if the memory cannot be written.
    """
    from solver.measuring.evaluate import evaluate

    sampler, problems = method.samplers[pictures.scale], list(pictures.problems)
    entry = memory.entry(method, pictures, protocol)
    names = {item.name for item in pictures.items}
    entry["count"] = len(names) + len(problems)
    entry["pictures"] = {name: figures for name, figures in entry["pictures"].items() if name in names}
    for item in progress(pictures.items):
        known = entry["pictures"].get(item.name)
        try:
            files = fingerprint(item)
            if known and known["files"] == files:
                continue
            if known:
                say(f"{pictures.name} x{pictures.scale}, {item.name}: its files have changed; measured again")
                del entry["pictures"][item.name]
            found = evaluate(sampler, replace(pictures, items=[item], problems=[]), protocol, compare_bicubic=True)
        except (InputError, OSError, MemoryError) as error:
            problems.append(f"{pictures.name} x{pictures.scale}, {item.name}: {describe(error)}")
            continue
        size = {"files": files, "height": found.rows[0].height, "width": found.rows[0].width}
        entry["pictures"][item.name] = size | rounded(found, FIGURES)
        memory.write()
    return problems


def scores(weights: Path, pictures: TestSet, protocol: str = "published"):
    """:class:`solver.measuring.evaluate.Scores` of a weights file on a set, beside bicubic's; nothing is remembered."""
    from solver.graph import load
    from solver.measuring.evaluate import evaluate
    from solver.sampling.sampler import Sampler

    net, _ = load(weights, scale=pictures.scale)
    return evaluate(Sampler(net, pictures.scale), pictures, protocol, compare_bicubic=True)


def rounded(scores, figures: Sequence[str] = ("psnr", "ssim")) -> dict:
    """These means of :class:`solver.measuring.evaluate.Scores`, to the digits that are kept."""
    means = {figure: scores.mean(figure) for figure in figures}
    return {figure: mean if mean is None else round(mean, DIGITS) for figure, mean in means.items()}


def fingerprint(item: Item) -> str:
    """A hash of the contents of a picture's LR and HR files; raises InputError if one cannot be read."""
    digest = hashlib.sha256()
    for path in (item.lr, item.hr):
        with opened(path) as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()[:16]


def mean(entry: dict, figure: str) -> float | None:
    """The mean of one of :data:`FIGURES` over an entry's pictures, None if one lacks it."""
    values = [picture[figure] for picture in entry["pictures"].values()]
    return None if None in values else sum(values) / len(values)


def _entries(content) -> bool:
    """A shape: entries, of each set, scale, protocol and weights one at most."""
    return fits(content, [_ENTRY]) and len({_key(entry) for entry in content}) == len(content)


def _key(entry: dict) -> tuple:
    return tuple(entry[name] for name in ("set", "scale", "protocol", "weights"))
