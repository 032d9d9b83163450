"""How the result of a video is written: which codec, which samples, which format of file."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import video, yuv
from .errors import InputError
from .video import Video
from .yuv import Colours, Layout

CODECS = ("h264", "hevc", "av1", "vp9", "ffv1")
ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "ffv1": "ffv1"}
_HELD = {".mp4": CODECS[:4], ".m4v": CODECS[:2], ".mov": CODECS[:2], ".webm": CODECS[2:4], ".mkv": CODECS}
# The most pixels of a frame, and of a side, at the highest level (H.264 and H.265, tables A-1 and A.8: 6.2), and those
# that SVT-AV1 takes.
_LARGEST = {"h264": (139_264 * 256, 16_880), "hevc": (35_651_584, 16_888), "av1": (16_384 * 8_704, 16_384)}
_SMALLEST = {"hevc": 64, "av1": 4}  # pixels of a side: x265 writes beyond the memory of smaller frames


@dataclass(frozen=True)
class Coding:
    """How a result is written.

    Attributes:
        height, width: of its frames.
        codec: one of :data:`CODECS`.
        crf: the quality that is kept, 0 to 51, less is better; FFV1 knows none.
        layout, colours: of its samples.
        suffix: of its file.
        notes: a line for each thing of the video that is not kept.
    """

    height: int
    width: int
    codec: str
    crf: int
    layout: Layout
    colours: Colours
    suffix: str
    notes: tuple[str, ...] = ()

    def samples(self, rgb: np.ndarray) -> list[np.ndarray]:
        """The planes that (H, W, 3) float RGB, about [0, 1], is written as."""
        return yuv.from_rgb(rgb, self.layout, self.colours)


def coding(
    of: Video,
    size: tuple[int, int],
    codec: str = "h264",
    crf: int = 17,
    pix_fmt: str | None = None,
    *,
    to_the_pixel: bool = True,
) -> Coding:
    """How a video's result is written: with as many bits as the video has, or as the codec can.

    Args:
        of: the video.
        size: height and width of the result.
        codec, crf: see :class:`Coding`.
        pix_fmt: FFmpeg's name of the layout; by default one of a sample of colour for four pixels, with FFV1 for each.
        to_the_pixel: whether the size has to be kept. Otherwise an odd side has a pixel less, where the layout has
            even sides only, and a note tells.

    Raises:
        InputError: if the codec cannot hold it; the message tells which can.
    """
    layout = named(codec, pix_fmt) if pix_fmt else _chosen(of.layout, codec)
    height, width = size if to_the_pixel else _even(size, layout)
    _check_size(of.path, height, width, codec, layout)
    notes = [f"{of.layout.bits} bits become {layout.bits}"] * (layout.bits < of.layout.bits)
    fewer = f"{size[1]}x{size[0]} pixels become {width}x{height}, as {layout.name} has even sides only"
    notes += [fewer] * ((height, width) != size)
    matrix = of.colours.matrix
    if layout.rgb != (matrix == yuv.RGB):
        matrix = yuv.RGB if layout.rgb else yuv.guessed(yuv.UNKNOWN, height, width)
    colours = replace(of.colours, matrix=matrix, full=layout.rgb or of.colours.full and not of.layout.rgb)
    return Coding(height, width, codec, crf, layout, colours, suffix_of(of.path, codec), tuple(notes))


def _even(size: tuple[int, int], layout: Layout) -> tuple[int, int]:
    """The next smaller height and width that a layout has, or the smallest."""
    return tuple(max(unit, side - side % unit) for side, unit in zip(size, (layout.down, layout.across)))


def _check_size(path: Path, height: int, width: int, codec: str, layout: Layout) -> None:
    """InputError if a codec cannot hold frames of so many pixels; the message tells which can."""
    told = f"{path}: the result has {width}x{height} pixels"
    if (height, width) != _even((height, width), layout):
        whole = replace(layout, across=1, down=1).name
        raise InputError(f"{told}, but {layout.name} has even sides only; give --pix_fmt {whole}, or --factor")
    if not _holds(codec, height, width):
        others = ", ".join(other for other in CODECS if _holds(other, height, width))
        raise InputError(f"{told}, which {codec} cannot hold; give --codec one of {others}")


def _holds(codec: str, height: int, width: int) -> bool:
    """Whether a codec can hold frames of so many pixels."""
    pixels, side = _LARGEST.get(codec, (np.inf, np.inf))
    few = -(-height // 16) * -(-width // 16) * 256 <= pixels and max(height, width) <= side
    return few and min(height, width) >= _SMALLEST.get(codec, 0)


def suffix_of(path: Path, codec: str) -> str:
    """Of a video's result: the video's own, where that format holds the codec, or else ``.mkv``, which holds all."""
    suffix = path.suffix.lower()
    return suffix if codec in _HELD.get(suffix, ()) else ".mkv"


def named(codec: str, name: str) -> Layout:
    """The layout of a name of FFmpeg's. Raises InputError if the codec does not know it."""
    known = _layouts(codec)
    if name not in known:
        raise InputError(f"--pix_fmt {name}: {codec} knows {', '.join(known)}")
    return known[name]


def _chosen(source: Layout, codec: str) -> Layout:
    """Of what a codec knows, the layout of the fewest bits that suffice, or of the most."""
    lossless = codec == "ffv1"
    side = 1 if lossless else 2
    same = [
        la for la in _layouts(codec).values() if (la.across, la.down, la.rgb) == (side, side, lossless and source.rgb)
    ]
    return min(same, key=lambda layout: (layout.bits < source.bits, abs(layout.bits - source.bits)))


def _layouts(codec: str) -> dict[str, Layout]:
    """The layouts that a codec knows, by FFmpeg's names."""
    formats = {f.name for f in video.library().Codec(ENCODERS[codec], "w").video_formats}
    sides = ((2, 2), (2, 1), (1, 1))
    all_ = [Layout(bits, *side) for bits in (8, 9, 10, 12, 16) for side in sides]
    all_ += [Layout(bits, rgb=True) for bits in (8, 9, 10, 12, 16)]
    return {layout.name: layout for layout in all_ if layout.name in formats}
