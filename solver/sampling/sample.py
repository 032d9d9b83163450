"""The sampling command: a folder in, super-resolved pictures and a table of figures out."""

import argparse
import csv
import json
import platform
import shutil
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from dataset import errors, images, streams, test_set
from dataset.errors import InputError
from dataset.files import remove_leftovers, written_whole
from dataset.streams import Bands
from dataset.test_set import Item, TestSet

from .. import processes
from ..checkpoint import WeightsInfo, load_network
from ..machine import device_name
from ..measuring.evaluate import Scores, evaluate
from ..processes import Group
from . import memory
from .sampler import Sampler

_PACKAGES = ("torch", "numpy", "scikit-image", "Pillow", "opencv-python", "scipy")
_FIGURES = ("bicubic_psnr", "bicubic_ssim", "psnr", "ssim")


def run(args: argparse.Namespace) -> int:
    """Enlarge ``args.test_data_dir`` with the weights ``args.ckpt_path``; see options.sample_parser.

    Returns:
        The exit status: 0, or 2 if any picture was skipped.

    Raises:
        InputError: if nothing can be done at all.
    """
    if args.cuda and not torch.cuda.is_available():
        raise InputError("--cuda: no CUDA GPU is available; leave the flag out to compute on the CPU")
    memory.one_heap()
    return processes.together(partial(sample, args), args.num_gpu if args.cuda or args.num_gpu > 1 else 0)


def sample(args: argparse.Namespace, group: Group) -> int:
    """This process's part of :func:`run`."""
    net, weights = load_network(args.ckpt_path, args.model, args.scale)
    pictures = test_set.find(args.test_data_dir, args.scale)
    folder = args.sample_dir / weights.path.stem / pictures.name / f"x{args.scale}"
    if group.leads:
        prepare(folder)
    group.gather("ready")
    sampler = Sampler(
        net,
        args.scale,
        group.device,
        tile=args.tile,
        memory=args.memory,
        precision=args.precision,
        compile=args.compile,
        self_ensemble=args.self_ensemble,
        shave=args.shave,
    )
    if group.leads:
        times = f"{group.size} x " if group.size > 1 else ""
        print(
            f"{weights.network} x{args.scale} ({weights.path}) on {times}{device_name(sampler.device)}, "
            f"{len(pictures.items)} pictures of {args.test_data_dir}"
        )

    def write(item: Item, sr: images.Picture | Bands) -> None:
        path = folder / "SR" / f"{item.name}.{args.format}"
        (streams if isinstance(sr, Bands) else images).write(path, sr)
        if item.hr is not None:
            hr = folder / "HR" / item.hr.name
            with written_whole(hr) as temporary:
                shutil.copyfile(item.hr, temporary)

    start = time.perf_counter()
    scores = evaluate(
        sampler,
        share(pictures, group),
        args.protocol,
        args.channel,
        compare_bicubic=True,
        skip_bad=True,
        on_picture=write,
        progress=partial(tqdm, unit="picture", disable=None if group.leads else True),
    )
    scores = merged(group.gather(scores), pictures)
    if group.leads:
        report = describe(scores, pictures, weights, args, sampler)
        report |= {"processes": group.size, "seconds_in_all": time.perf_counter() - start}
        write_report(report, folder)
        print(table(scores, args))
        print(
            f"{len(scores.rows)} pictures in {folder / 'SR'} after {report['seconds_in_all']:.1f} s, "
            f"figures in {folder / 'results.csv'} and results.json"
        )
        for problem in scores.skipped:
            print(f"skipped: {problem}")
        if scores.skipped:
            print(f"{len(scores.skipped)} skipped, {len(scores.rows)} done")
    return 2 if scores.skipped else 0


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
        problems=pictures.problems if group.leads else [],
    )


def merged(parts: list[Scores], pictures: TestSet) -> Scores:
    """The scores of all processes in the set's order, as one process would have had them."""
    names = [item.name for item in pictures.items]
    rows = [row for part in parts for row in part.rows]
    told = [str(path) for item in pictures.items for path in (item.lr, item.hr)]

    def place(problem: str) -> int:
        return next((i for i, path in enumerate(told) if problem.startswith(f"{path}: ")), -1)

    return Scores(
        sorted(rows, key=lambda row: names.index(row.name)),
        sorted((problem for part in parts for problem in part.skipped), key=place),
    )


def prepare(folder: Path) -> None:
    """Make the output folder, and clear what an interrupted run may have left half-written.

    Raises:
        InputError: if it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            remove_leftovers(folder, recursive=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {errors.describe(error)}") from None


def describe(
    scores: Scores, pictures: TestSet, weights: WeightsInfo, args: argparse.Namespace, sampler: Sampler
) -> dict:
    """Everything a later reader needs to place the figures, as JSON can hold it."""
    return {
        "data_set": pictures.name,
        "scale": args.scale,
        "protocol": args.protocol,
        "channel": args.channel,
        "network": weights.network,
        "weights": {"file": weights.path.name, "sha256": weights.sha256, "blind": weights.multi_scale},
        "device": device_name(sampler.device),
        "precision": sampler.precision,
        "self_ensemble": args.self_ensemble,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
        "mean": {figure: _json(scores.mean(figure)) for figure in _FIGURES},
        "megapixels_per_second": megapixels_per_second(scores),
        "pictures": [{k: _json(v) for k, v in asdict(row).items()} for row in scores.rows],
        "skipped": scores.skipped,
    }


def megapixels_per_second(scores: Scores) -> float | None:
    """Output megapixels by seconds of super-resolving, all pictures together."""
    seconds = sum(row.seconds for row in scores.rows)
    return sum(row.height * row.width for row in scores.rows) / seconds / 1e6 if seconds else None


def write_report(report: dict, folder: Path) -> None:
    """Write ``results.json`` and ``results.csv`` (a line a picture, and one of the means)."""
    with written_whole(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    columns = ["name", "height", "width", *_FIGURES, "seconds"]
    with written_whole(folder / "results.csv") as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            rows = csv.DictWriter(file, columns, extrasaction="ignore")
            rows.writeheader()
            rows.writerows(report["pictures"])
            rows.writerow({"name": "mean"} | report["mean"])


def table(scores: Scores, args: argparse.Namespace) -> str:
    """The figures as a table for a person."""
    measured = scores.psnr is not None
    names = [row.name for row in scores.rows] + ["mean"]
    width = min(max(map(len, names)), 40)
    head = f"{'picture':{width}}  {'size':>11}"
    if measured:
        head += f"  {'bicubic':>14}  {args.model:>14}  {'gain':>6}"
    lines = [head + f"  {'seconds':>7}"]
    for row in scores.rows:
        size = f"{row.width}x{row.height}"
        line = f"{row.name[-width:]:{width}}  {size:>11}"
        if measured:
            line += _figures(row.bicubic_psnr, row.bicubic_ssim, row.psnr, row.ssim)
        lines.append(line + f"  {row.seconds:7.2f}")
    speed = megapixels_per_second(scores)
    if measured:
        lines.append(f"{'mean':{width}}  {'':>11}" + _figures(*(scores.mean(f) for f in _FIGURES)))
        lines.append(f"PSNR (dB) / SSIM on {args.channel}, {args.protocol} protocol")
    if speed:
        lines.append(f"{speed:.2f} megapixels per second")
    return "\n".join(lines)


def _figures(bicubic_psnr, bicubic_ssim, psnr, ssim) -> str:
    gain = "" if psnr is None or bicubic_psnr is None else f"{psnr - bicubic_psnr:+.2f}"
    return f"  {_pair(bicubic_psnr, bicubic_ssim):>14}  {_pair(psnr, ssim):>14}  {gain:>6}"


def _pair(psnr: float | None, ssim: float | None) -> str:
    return f"{'-' if psnr is None else f'{psnr:.2f}'} / {'-' if ssim is None else f'{ssim:.4f}'}"


def _json(value):
    return str(value) if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
