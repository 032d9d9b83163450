"""The sampling command: a folder in, super-resolved pictures and a table of figures out."""

import argparse
import csv
import json
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from dataset import images, test_set
from dataset.errors import InputError
from dataset.test_set import Item, TestSet

from .checkpoint import WeightsInfo, load_network
from .evaluate import Scores, evaluate
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
    net, weights = load_network(args.ckpt_path, args.model, args.scale)
    pictures = test_set.find(args.test_data_dir, args.scale)
    folder = args.sample_dir / weights.path.stem / pictures.name / f"x{args.scale}"
    prepare(folder)
    sampler = Sampler(net, args.scale, device(args.cuda))
    print(f"{weights.network} x{args.scale} ({weights.path}) on {device_name(sampler.device)}, "
          f"{len(pictures.items)} pictures of {args.test_data_dir}")

    def write(item: Item, sr: images.Picture) -> None:
        images.write(folder / "SR" / f"{item.name}.{args.format}", sr)
        if item.hr is not None:
            hr = folder / "HR" / item.hr.name
            with images.written_whole(hr) as temporary:
                shutil.copyfile(item.hr, temporary)

    scores = evaluate(sampler, pictures, args.protocol, args.channel, compare_bicubic=True, skip_bad=True,
                      on_picture=write, progress=lambda items: tqdm(items, unit="picture", disable=None))
    report = describe(scores, pictures, weights, args, sampler.device)
    write_report(report, folder)
    print(table(scores, args))
    print(f"{len(scores.rows)} pictures in {folder / 'SR'}, figures in {folder / 'results.csv'} and results.json")
    for problem in scores.skipped:
        print(f"skipped: {problem}")
    if scores.skipped:
        print(f"{len(scores.skipped)} skipped, {len(scores.rows)} done")
    return 2 if scores.skipped else 0


def prepare(folder: Path) -> None:
    """Make the output folder, and clear what an interrupted run may have left half-written.

    Raises:
        InputError: if it cannot be made or written.
    """
    with images.written_whole(folder / "writable") as temporary:
        temporary.touch()
    (folder / "writable").unlink()
    for leftover in folder.rglob(".*.part"):
        leftover.unlink()


def device(cuda: bool) -> torch.device:
    """The device that ``--cuda`` asks for.

    Raises:
        InputError: if there is no GPU.
    """
    if cuda and not torch.cuda.is_available():
        raise InputError("--cuda: no CUDA GPU is available; leave the flag out to compute on the CPU")
    return torch.device("cuda" if cuda else "cpu")


def device_name(device: torch.device) -> str:
    """A device as a person would name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.get_num_threads()} threads)"


def describe(scores: Scores, pictures: TestSet, weights: WeightsInfo, args: argparse.Namespace,
             device: torch.device) -> dict:
    """Everything a later reader needs to place the figures, as JSON can hold it."""
    return {
        "data_set": pictures.name,
        "scale": args.scale,
        "protocol": args.protocol,
        "channel": args.channel,
        "network": weights.network,
        "weights": {"file": weights.path.name, "sha256": weights.sha256, "blind": weights.multi_scale},
        "device": device_name(device),
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
    with images.written_whole(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    columns = ["name", "height", "width", *_FIGURES, "seconds"]
    with images.written_whole(folder / "results.csv") as temporary:
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
