"""Videos are written in segments, so that a run can go on where it was; in the end they are joined.

A segment is a file of so many frames that needs nothing of those before it. Which frames are in which segment depends
on the video alone, so the result is the same however often a run was interrupted.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np

from . import video, yuv
from .errors import InputError
from .files import fitting_path, written_whole
from .video import Video
from .yuv import Colours, Layout

LENGTH = 120  # frames of a segment
CODECS = ("h264", "hevc", "av1", "vp9", "ffv1")
_ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "ffv1": "ffv1"}
_HELD = {".mp4": CODECS[:4], ".m4v": CODECS[:2], ".mov": CODECS[:2], ".webm": CODECS[2:4], ".mkv": CODECS}
# The most pixels of a frame, and of a side, at the highest level (H.264 and H.265, tables A-1 and A.8: 6.2), and those
# that SVT-AV1 takes.
_LARGEST = {"h264": (139_264 * 256, 16_880), "hevc": (35_651_584, 16_888), "av1": (16_384 * 8_704, 16_384)}
_SMALLEST = {"hevc": 64, "av1": 4}  # pixels of a side: x265 writes beyond the memory of smaller frames
_OTHER = {
    "h264": {"threads": "4"},  # however many cores there are: of other threads come other bytes
    "hevc": {"x265-params": "log-level=none"},
    "vp9": {"b": "0"},
    "ffv1": {"level": "3", "slicecrc": "1", "g": "1"},  # each slice has a checksum
}
_AVX512 = 256  # OpenCV's number of it (CV_CPU_AVX512_SKX)
_LEAD = 60  # seconds that all times in a segment are later by: its format has none below 0, as of decoding may be


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
    layout = _given(codec, pix_fmt) if pix_fmt else _chosen(of.layout, codec)
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


def _given(codec: str, name: str) -> Layout:
    """The layout of a name of FFmpeg's."""
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
    formats = {f.name for f in video.library().Codec(_ENCODERS[codec], "w").video_formats}
    sides = ((2, 2), (2, 1), (1, 1))
    all_ = [Layout(bits, *side) for bits in (8, 9, 10, 12, 16) for side in sides]
    all_ += [Layout(bits, rgb=True) for bits in (8, 9, 10, 12, 16)]
    return {layout.name: layout for layout in all_ if layout.name in formats}


def folder_of(path: Path) -> Path:
    """The hidden folder in which the segments of a result are, until they are joined."""
    return fitting_path(path.parent, f".{path.name}", ".segments")


# -- segments ----------------------------------------------------------------------------------------


class Segments:
    """The segments of a video in a folder.

    Args:
        folder: where they are; what is there of an earlier run is gone on with.
        of: the video that is enlarged.
        coding: how it is written.
    """

    def __init__(self, folder: Path, of: Video, coding: Coding) -> None:
        self._folder, self._of, self._coding = folder, of, coding
        self.files = []
        while (path := self._path(len(self.files))).exists():
            self.files.append(path)

    @property
    def frames(self) -> int:
        """How many frames are done; only the last segment of a video may have fewer."""
        return LENGTH * len(self.files)

    def write(self, frames: Iterator[tuple[int, list[np.ndarray]]]) -> int:
        """Write the frames behind those that are done, segment by segment, each whole or not at all.

        Args:
            frames: of each its time in ticks, and its planes, see :meth:`Coding.samples`.

        Returns:
            How many they were.

        Raises:
            InputError: if they cannot be written, or the codec cannot hold them.
        """
        written = 0
        for first in frames:
            path = self._path(len(self.files))
            with written_whole(path) as temporary, open(temporary, "w+b") as file, refusing(self._of.path):
                written += self._encode(file, chain([first], islice(frames, LENGTH - 1)))
            self.files.append(path)
        return written

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.nut"

    def _encode(self, file, frames: Iterable[tuple[int, list[np.ndarray]]]) -> int:
        """Write one segment, and tell of how many frames it is."""
        os.environ.setdefault("SVT_LOG", "1")  # or AV1's encoder would tell all its settings
        coding, of, av = self._coding, self._of, video.library()
        with av.open(file, "w", format="nut") as container:
            stream = container.add_stream(_ENCODERS[coding.codec], rate=of.rate, options=_options(coding))
            context = stream.codec_context
            context.width, context.height, context.pix_fmt = coding.width, coding.height, coding.layout.name
            context.time_base = of.tick
            context.sample_aspect_ratio = of.aspect
            context.flags |= av.codec.context.Flags.closed_gop
            tell_colours(context, coding.colours)
            for count, (time, planes) in enumerate(frames, start=1):
                container.mux(stream.encode(_frame(planes, time + lead(of), of.tick, coding)))
            container.mux(stream.encode())
        return count


def lead(of: Video) -> int:
    """Ticks by which the times in a segment are later than the video's."""
    return round(_LEAD / of.tick)


def _options(coding: Coding) -> dict[str, str]:
    """The encoder's, with which the same frames are the same bytes each time."""
    import cv2

    options = _OTHER.get(coding.codec, {}) | ({} if coding.codec == "ffv1" else {"crf": str(coding.crf)})
    if coding.codec == "h264" and cv2.checkHardwareSupport(_AVX512):
        # With AVX-512, x264 (165) lets its choice of quality depend on what memory held before.
        options["x264-params"] = "asm=AVX2,FMA3,BMI2"
    return options


def tell_colours(told, colours: Colours) -> None:
    """Say to an encoder, or of a frame, what its colours mean."""
    told.colorspace, told.color_range = colours.matrix, 2 if colours.full else 1
    told.color_primaries, told.color_trc = colours.primaries, colours.transfer


def _frame(planes: list[np.ndarray], time: int, tick: Fraction, coding: Coding):
    """A frame, as an encoder takes it."""
    frame = video.library().VideoFrame(coding.width, coding.height, coding.layout.name)
    for view, samples in zip(video.planes(frame, coding.layout), planes):
        view[:] = samples
    tell_colours(frame, coding.colours)
    frame.pts, frame.time_base = time, tick
    return frame


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """What FFmpeg refuses while a video is written becomes an InputError, and what the system does an OSError."""
    try:
        yield
    except video.library().FFmpegError as error:
        for told in (error, error.__context__):  # what comes of an end that cannot be written follows what refused it
            if isinstance(told, OSError):
                raise OSError(told.errno, told.strerror) from None
        why = str(error.strerror or type(error).__name__).lower()
        raise InputError(f"{path}: cannot be written: {why}; try another --codec or --pix_fmt") from None
