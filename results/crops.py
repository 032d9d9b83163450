"""Figures 3 to 5: a picture with a box, and that box as each method sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.patches import Rectangle

from dataset import bicubic, images
from dataset.errors import InputError, shown
from dataset.test_set import Item

from .canvas import ACCENT, INK, canvas, label
from .measure import Method


class Box(NamedTuple):
    """A rectangle in HR pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Version:
    """A picture as one method made it: (H, W, 3) uint8, and its PSNR in dB and SSIM (None for HR)."""

    label: str
    rgb: np.ndarray
    psnr: float | None = None
    ssim: float | None = None


@lru_cache(maxsize=32)
def versions(item: Item, scale: int, methods: tuple[Method, ...], protocol: str = "published") -> list[Version]:
    """HR, bicubic and each method's result for one picture, measured as in the tables.

    Raises:
        InputError: for pictures or weights that cannot be used.
    """
    from solver.measuring.metrics import psnr_ssim

    if item.hr is None:
        raise InputError(f"{item.lr}: has no HR beside it to compare with")
    hr, lr = images.read_rgb(item.hr), images.read_rgb(item.lr)
    if hr.shape[:2] != tuple(scale * n for n in lr.shape[:2]):
        raise InputError(f"{item.hr}: is {hr.shape[1]}x{hr.shape[0]}, not {scale} times its LR")
    rounding = "truncate" if protocol == "published" else "round"
    made = {"Bicubic": bicubic.enlarge(lr, scale)} | {m.label: m.samplers[scale](lr, rounding) for m in methods}
    scores = {label: psnr_ssim(rgb, hr, scale, protocol) for label, rgb in made.items()}
    return [Version("HR", hr), *(Version(label, rgb, *scores[label]) for label, rgb in made.items())]


def find_box(results: Sequence[Version], side: int | None = None) -> tuple[Box, float]:
    """The box where the methods differ most, whichever of them is nearer to HR, and by how much.

    Args:
        results: as :func:`versions` returns them; HR is not a method.
        side: of the box in pixels; by default a quarter of the picture's shorter side.

    Returns:
        The box and its score: mean over its pixels of the spread (largest less smallest) of luma.
    """
    from scipy.ndimage import uniform_filter

    from solver.measuring.metrics import luma

    lumas = np.stack([luma(version.rgb, "modern") for version in results if version.label != "HR"])
    spread = lumas.max(axis=0) - lumas.min(axis=0)
    height, width = spread.shape
    side = min(side or max(min(height, width) // 4, 24), height, width)
    means = uniform_filter(spread, side, mode="nearest")
    # Centres whose box lies inside the picture; a filter of even size leans to the top left.
    half = side // 2
    inside = means[half : height - side + half + 1, half : width - side + half + 1]
    top, left = np.unravel_index(np.argmax(inside), inside.shape)
    return Box(int(top), int(left), side, side), float(inside[top, left])


def check_box(box: Box, hr: np.ndarray, where: str) -> None:
    """Raise InputError if a box does not lie inside a picture."""
    height, width = hr.shape[:2]
    if min(box.top, box.left, box.height - 1, box.width - 1) < 0 or hr[box.slices].shape[:2] != box[2:]:
        given = " ".join(map(str, box))
        raise InputError(f"--box {given}: not inside {where}, {width}x{height}; a box is TOP LEFT HEIGHT WIDTH")


def short_name(item: Item) -> str:
    """A picture's name, for people, without what tells its scale: ``img_001_SRF_2_SR`` is ``img_001``."""
    return shown(item.name.partition("_SRF_")[0] or item.name)


def rows(
    items: Sequence[Item],
    scale: int,
    methods: Sequence[Method],
    protocol: str = "published",
    box: Box | None = None,
    most: int | None = None,
) -> list[tuple[str, list[Version], Box]]:
    """Name, versions and box of each picture.

    Args:
        box: for all pictures; by default each its own, where the methods differ most.
        most: if given, only so many pictures, those in which the methods differ most.

    Raises:
        InputError: for pictures or weights that cannot be used, or a box that is not inside a picture.
    """
    found, scores = [], []
    for item in items:
        results = versions(item, scale, tuple(m for m in methods if scale in m.scales), protocol)
        own, score = find_box(results)
        if box is not None:
            check_box(box, results[0].rgb, str(item.hr))
        found.append((f"{short_name(item)}, x{scale}", results, box or own))
        scores.append(score)
    order = range(len(found)) if most is None else np.argsort(scores, kind="stable")[::-1][:most]
    return [found[index] for index in order]


def draw(rows: Sequence[tuple[str, list[Version], Box]], path: Path) -> None:
    """Draw a row for each picture: HR with its name and box, then the crops; write it in the path's format.

    Raises:
        InputError: if the file cannot be written.
    """
    columns = 1 + max(len(results) for _, results, _ in rows)
    shapes = [results[0].rgb.shape for _, results, _ in rows]
    first = max(min(max(width / height, 0.6), 1.6) for height, width, _ in shapes)  # of the crops' width, which is 1
    side, caption = 1.75, 0.42
    height = len(rows) * (side + caption)
    with canvas(path, first * side + (columns - 1) * (side + 0.06), height) as figure:
        places = {"left": 0.005, "right": 0.995, "top": 0.995, "bottom": caption / height}
        places |= {"wspace": 0.04, "hspace": caption / side, "width_ratios": [first, *[1] * (columns - 1)]}
        panels = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw=places)
        for (name, results, box), (whole, *crops) in zip(rows, panels):
            _draw_whole(whole, name, results[0].rgb, box)
            best = max((v.psnr for v in results if v.psnr is not None), default=None)
            for axes, version in zip(crops, results):
                _draw_crop(axes, version, box, best)


def _draw_whole(axes, name: str, hr: np.ndarray, box: Box) -> None:
    corner = (box.left - 0.5, box.top - 0.5)
    axes.imshow(hr, interpolation="antialiased")
    axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, edgecolor=ACCENT, linewidth=1.4))
    axes.set_anchor("E")
    axes.text(0.5, -0.03, label(name), transform=axes.transAxes, ha="center", va="top")
    axes.axis("off")


def _draw_crop(axes, version: Version, box: Box, best: float | None) -> None:
    is_hr = version.label == "HR"
    axes.imshow(version.rgb[box.slices], interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=ACCENT if is_hr else INK, linewidth=1.2 if is_hr else 0.5)
    psnr = "-" if version.psnr is None else f"{version.psnr:.2f}"
    ssim = "-" if version.ssim is None else f"{version.ssim:.4f}"
    figures = "PSNR (dB) / SSIM" if is_hr else f"{psnr} / {ssim}"
    place = {"transform": axes.transAxes, "ha": "center", "va": "top"}
    place["weight"] = "bold" if best is not None and version.psnr == best else "normal"
    axes.text(0.5, -0.03, label(version.label), **place)
    axes.text(0.5, -0.125, figures, size=7, **place)
