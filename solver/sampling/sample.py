"""The sampling command: a folder in, super-resolved pictures and a table of figures out."""

import argparse
import itertools
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from dataset import encoding, errors, files, images, test_set
from dataset.errors import InputError, shown
from dataset.test_set import Item, TestSet
from model.ops import Network

from .. import processes
from ..arguments import check_scale
from ..checkpoint import WeightsInfo
from ..graph import Graph, load
from ..machine import device_name
from ..measuring.evaluate import Scores, evaluate
from ..measuring.more import measures
from ..processes import Group
from . import memory
from .eight_bits import in_int8
from .films import Films, enlarge_all
from .output import Output
from .progress import Progress, forget, made_of
from .sampler import Sampler
from .sizing import Sized
from .wrapping import Wrapping

_PACKAGES = ("torch", "numpy", "scikit-image", "Pillow", "opencv-python", "scipy")
_FIGURES = ("bicubic_psnr", "bicubic_ssim", "psnr", "ssim")
_DECIMALS = 3  # of the figures beside them


def run(args: argparse.Namespace) -> int:
    """Enlarge ``args.test_data_dir`` with the weights ``args.ckpt_path``; see options.sample_parser.

    Returns:
        The exit status: 0, or 2 if any picture was skipped.

    Raises:
        InputError: if nothing can be done at all.
    """
    if args.cuda and args.device not in (None, "auto", "cuda"):
        raise InputError(f"--cuda and --device {args.device}: contradict each other; leave one of them out")
    if args.cuda and not torch.cuda.is_available():
        raise InputError("--cuda: no CUDA GPU is available; leave the flag out to compute on the CPU")
    device = "cuda" if args.cuda else args.device
    memory.one_heap()
    try:
        return processes.together(partial(sample, args), args.num_gpu if device or args.num_gpu > 1 else 0, device)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("with --resume, the same command goes on from here") from None


def sample(args: argparse.Namespace, group: Group) -> int:
    """This process's part of :func:`run`."""
    more = measures(_more(args))
    if args.model:
        check_scale(args.model, args.scale)
    net, weights = load(args.ckpt_path, args.model, args.scale)
    args.model = weights.network
    pictures = test_set.find(args.test_data_dir, args.scale, recursive=args.recursive, make_lr=args.make_lr)
    if args.pages == "all":
        pictures = test_set.with_pages(pictures)
    if any(item.hr for item in (*pictures.items, *pictures.videos)):
        import skimage.metrics  # noqa: F401  before the sampler looks how much memory the program takes
    if pictures.videos and args.pix_fmt:
        encoding.named(args.codec, args.pix_fmt)  # before pictures are enlarged
    sampler = _sampler(args, net, weights, group.device)
    if args.size:
        if any(item.hr for item in (*pictures.items, *pictures.videos)):
            raise InputError(
                f"{args.test_data_dir}: has originals to measure with, which are of a whole scale: give --scale"
            )
        pictures = replace(sampler.possible(pictures), scale=sampler.scale)
    if (line := sampler.budget.take_the_least()) and group.leads:
        print(line, file=sys.stderr)
    folder = group.share(prepare(args, weights, pictures) if group.leads else None)
    output = Output(folder, f".{args.format}", args.metadata == "strip")
    source = os.path.abspath(args.test_data_dir)
    progress = Progress(folder, source, settings(args, weights, sampler), output.found)
    mine = share(pictures, group)
    done = output.kept(progress.done(mine.items), mine.items) if args.resume else {}
    by_name = {item.name: item for item in (*pictures.items, *pictures.videos)}
    if group.leads:
        place = f"{group.size} x " * (group.size > 1) + device_name(sampler.device)
        by = f" by {sampler.exported['backend']}" if sampler.exported else ""
        print(
            f"{weights.network} {_place(args)} ({shown(weights.path)}) in {sampler.precision}{by} on {place}, "
            f"{counted(pictures)} of {shown(args.test_data_dir)}"
        )

    start = time.perf_counter()
    scores = evaluate(
        sampler,
        replace(mine, items=[item for item in mine.items if item not in done]),
        args.protocol,
        args.channel,
        compare_bicubic=True,
        more=more,
        skip_bad=True,
        on_picture=output.write,
        suffix=output.suffix,
        on_row=lambda row: progress.add(by_name[row.name], row),
        progress=partial(tqdm, unit="picture", disable=None if group.leads else True),
    )
    scores.rows += done.values()
    scores.notes += output.notes
    if mine.videos:
        coding = args.codec, args.crf, args.pix_fmt, args.metadata == "strip"
        films = Films(sampler, folder, *coding, args.protocol, args.channel, more, bar=group.leads)
        told = settings(args, weights, sampler) | films.settings
        enlarge_all(films, mine.videos, Progress(folder, source, told, films.path), args.resume, scores)
    scores = merged(group.gather(scores), pictures)
    if group.leads:
        together, notes = output.join(pictures.items)
        for row in scores.rows:
            if (item := by_name[row.name]) in together:
                progress.add(item, row)
        scores.notes += notes
        scores.notes += pictures.notes
        report = describe(scores, pictures, weights, args, sampler)
        report |= {"processes": group.size, "seconds_in_all": time.perf_counter() - start}
        write_report(report, folder)
        print(table(scores, args))
        what = "results" if pictures.videos else "pictures"
        print(
            f"{len(scores.rows)} {what} in {shown(folder / 'SR')} after {report['seconds_in_all']:.1f} s, "
            f"figures in {shown(folder / 'results.csv')} and results.json"
        )
        for note in scores.notes:
            print(f"note: {shown(note)}")
        for problem in scores.skipped:
            print(f"skipped: {problem}")
        if scores.skipped:
            print(f"{len(scores.skipped)} skipped, {len(scores.rows)} done")
    return 2 if scores.skipped else 0


def _sampler(args: argparse.Namespace, net: Network | Graph, weights: WeightsInfo, device: torch.device):
    """What enlarges, as :class:`Sampler` does."""

    def make(scale: int) -> Sampler:
        where = {"device": device, "backend": args.backend, "compile": args.compile}
        return Sampler(
            in_int8(net, weights, scale, args.precision, **where),
            scale,
            device,
            tile=args.tile,
            memory=args.memory,
            precision=args.precision,
            compile=args.compile,
            self_ensemble=args.self_ensemble,
            shave=args.shave,
            backend=args.backend,
        )

    if args.size:
        return Sized(make, weights.scales, args.size)
    return Wrapping(make(args.scale)) if args.wrap else make(args.scale)


def _place(args: argparse.Namespace) -> str:
    """How large results are, as their folder is called."""
    return str(args.size or f"x{args.scale}")


def counted(pictures: TestSet) -> str:
    """How many pictures and videos there are, in words."""
    pictures, videos = len(pictures.items), len(pictures.videos)
    many = [f"{pictures} pictures"] * (pictures > 0 or not videos) + [f"{videos} videos"] * (videos > 0)
    return " and ".join(many)


def settings(args: argparse.Namespace, weights: WeightsInfo, sampler: Sampler) -> dict:
    """What a result and its figures depend on beside the picture."""
    flags = ("scale", "protocol", "channel", "self_ensemble", "format", "metadata", "wrap")
    told = {flag: getattr(args, flag) for flag in flags} | {"precision": sampler.precision, "more": _more(args)}
    told |= {"size": str(args.size)} if args.size else {}
    told |= {"exported": sampler.exported} if sampler.exported else {}
    return told | {"network": weights.network, "weights": weights.sha256}


def share(pictures: TestSet, group: Group) -> TestSet:
    """One process's part of a set: about as many pixels as each other's."""

    def pixels(item: Item) -> int:
        try:
            height, width = images.size(item.lr)
        except InputError:  # told of when it is its turn
            return 0
        return height * width

    if group.size == 1:
        return pictures
    loads = [0] * group.size
    mine = set()
    for item in sorted(pictures.items, key=pixels, reverse=True):
        rank = loads.index(min(loads))
        loads[rank] += pixels(item) + 1
        if rank == group.rank:
            mine.add(item)
    return replace(
        pictures,
        items=[item for item in pictures.items if item in mine],
        videos=pictures.videos[group.rank :: group.size],
        problems=pictures.problems if group.leads else [],
    )


def merged(parts: list[Scores], pictures: TestSet) -> Scores:
    """The scores of all processes in the set's order, as one process would have had them."""
    items = [*pictures.items, *pictures.videos]
    names = [item.name for item in items]
    rows = [row for part in parts for row in part.rows]
    told = [shown(path) for item in items for path in (item.lr, item.hr)]

    def place(problem: str) -> int:
        return next((i for i, path in enumerate(told) if problem.startswith(f"{path}: ")), -1)

    return Scores(
        sorted(rows, key=lambda row: names.index(row.name)),
        sorted((problem for part in parts for problem in part.skipped), key=place),
        sorted((note for part in parts for note in part.notes), key=place),
    )


def prepare(args: argparse.Namespace, weights: WeightsInfo, pictures: TestSet) -> Path:
    """The output folder, made, locked, and cleared of what an interrupted run may have left half-written.

    Raises:
        InputError: if it cannot be made or written, or is where the pictures are.
    """
    for count in itertools.count(1):
        name = pictures.name + f"-{count}" * (count > 1)
        folder = args.sample_dir / files.stem(weights.path) / name / _place(args)
        if files.lock(folder) is not None:  # until the process ends
            break
        print(f"{shown(folder)}: another command is writing there, so the results go elsewhere")
    sources = {path.parent for item in (*pictures.items, *pictures.videos) for path in (item.lr, item.hr) if path}
    try:
        for place in filter(Path.exists, (folder / "SR", folder / "HR")):
            if any(place.samefile(source) for source in sources):
                raise InputError(
                    f"--sample_dir {args.sample_dir}: results would be written over the pictures themselves"
                )
        files.check_writable(folder)
        files.remove_leftovers(folder, recursive=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {errors.describe(error)}") from None
    of, by = made_of(folder) or _reported(folder) or (None, None)
    if of and (by != weights.sha256 or of != os.path.abspath(args.test_data_dir)):
        print(f"{shown(folder)}: results of other weights, or of {shown(of)}, are replaced")
    if not args.resume:
        forget(folder)
    return folder


def _reported(folder: Path) -> tuple[str, str] | None:
    """As :func:`.progress.made_of`, by a report."""
    with suppress(InputError, KeyError, TypeError):
        before = files.read_json(folder / "results.json", "")
        return str(before.get("pictures_of")), before["weights"]["sha256"]
    return None


def describe(
    scores: Scores, pictures: TestSet, weights: WeightsInfo, args: argparse.Namespace, sampler: Sampler
) -> dict:
    """Everything a later reader needs to place the figures, as JSON can hold it."""
    figures = [*_FIGURES, *(f"{whose}{figure}" for figure in _more(args) for whose in ("bicubic_", ""))]
    return {
        "data_set": pictures.name,
        "pictures_of": os.path.abspath(args.test_data_dir),
        "scale": args.scale,
        "size": str(args.size) if args.size else None,
        "protocol": args.protocol,
        "channel": args.channel,
        "network": weights.network,
        "weights": {"file": weights.path.name, "sha256": weights.sha256, "blind": weights.multi_scale},
        "device": device_name(sampler.device),
        "precision": sampler.precision,
        "exported": sampler.exported,
        "self_ensemble": args.self_ensemble,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
        "mean": {figure: _json(scores.mean(figure)) for figure in figures},
        "megapixels_per_second": megapixels_per_second(scores),
        "pictures": [_flat(asdict(row)) for row in scores.rows],
        "skipped": scores.skipped,
    }


def megapixels_per_second(scores: Scores) -> float | None:
    """Output megapixels by seconds of super-resolving, all pictures together."""
    seconds = sum(row.seconds for row in scores.rows)
    return sum(row.height * row.width * row.frames for row in scores.rows) / seconds / 1e6 if seconds else None


def write_report(report: dict, folder: Path) -> None:
    """Write ``results.json`` and ``results.csv`` (a line a picture, and one of the means)."""
    files.write_json(folder / "results.json", report)
    columns = ["name", "height", "width", *report["mean"], "seconds"]
    files.write_csv(folder / "results.csv", [*report["pictures"], {"name": "mean"} | report["mean"]], columns)


def table(scores: Scores, args: argparse.Namespace) -> str:
    """The figures as a table for a person."""
    measured, more = scores.psnr is not None, _more(args)
    names = [shown(row.name) for row in scores.rows]
    width = min(max(map(len, [*names, "mean"])), 40)
    head = f"{'picture':{width}}  {'size':>11}"
    if measured:
        head += f"  {'bicubic':>14}  {args.model:>14}  {'gain':>6}"
        head += "".join(f"  {figure.upper() + ' bicubic':>13}  {args.model:>8}" for figure in more)
    lines = [head + f"  {'seconds':>7}"]
    for name, row in zip(names, scores.rows):
        size = f"{row.width}x{row.height}"
        line = f"{name[-width:]:{width}}  {size:>11}"
        if measured:
            line += _figures(row.bicubic_psnr, row.bicubic_ssim, row.psnr, row.ssim)
            line += _more_figures(row.more.get, more)
        lines.append(line + f"  {row.seconds:7.2f}")
    speed = megapixels_per_second(scores)
    if measured:
        means = _figures(*(scores.mean(f) for f in _FIGURES)) + _more_figures(scores.mean, more)
        lines.append(f"{'mean':{width}}  {'':>11}" + means)
        lines.append(f"PSNR (dB) / SSIM on {args.channel}, {args.protocol} protocol")
    if speed:
        lines.append(f"{speed:.2f} megapixels per second")
    return "\n".join(lines)


def _figures(bicubic_psnr, bicubic_ssim, psnr, ssim) -> str:
    gain = "" if psnr is None or bicubic_psnr is None else f"{psnr - bicubic_psnr:+.2f}"
    return f"  {_pair(bicubic_psnr, bicubic_ssim):>14}  {_pair(psnr, ssim):>14}  {gain:>6}"


def _more(args: argparse.Namespace) -> list[str]:
    """The figures that are asked for beside PSNR and SSIM."""
    return [*["ifc"] * args.ifc, *dict.fromkeys(args.metrics)]


def _more_figures(of: Callable[[str], float | None], more: list[str]) -> str:
    values = ((of(f"bicubic_{figure}"), of(figure)) for figure in more)
    return "".join(f"  {_number(bicubic):>13}  {_number(ours):>8}" for bicubic, ours in values)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.{_DECIMALS}f}"


def _flat(row: dict) -> dict:
    """A row's figures as JSON can hold them, those of its ``more`` among the others."""
    return {key: _json(value) for key, value in (row | row.pop("more")).items()}


def _pair(psnr: float | None, ssim: float | None) -> str:
    return f"{'-' if psnr is None else f'{psnr:.2f}'} / {'-' if ssim is None else f'{ssim:.4f}'}"


def _json(value):
    return str(value) if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
