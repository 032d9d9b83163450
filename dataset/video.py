"""Videos: what they are, and their frames as pictures, upright, one after the other.

FFmpeg decodes them, by PyAV, which is imported only where a video is met.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from . import yuv
from .containers import file_size, read_at
from .errors import InputError, describe
from .files import opened
from .yuv import Colours, Layout

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
_OTHERS = ".mts .m2ts .mpg .mpeg .vob .wmv .asf .flv .f4v .3gp .3g2 .ogv .rm .rmvb .dv .mxf .ts".split()
_KINDS = ", ".join(suffix[1:] for suffix in SUFFIXES)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # with which a MOV or MP4 begins
_SEGMENT = b"\x18\x53\x80\x67"  # Matroska's id of all that a file holds
_SCREEN = {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"}  # kinds of data beside a frame
_STEPS = 10_000  # boxes of a file that are looked at, at most
_MOST_PIXELS = 2**26  # of a frame
_ENCRYPTED = "it is encrypted; save it without a password first"


def unread(path: Path) -> str | None:
    """A line for a file that is a video of a kind that is not read, by its suffix; TypeScript's is ``.ts``, too."""
    kind = path.suffix.lower()
    if kind not in _OTHERS or not path.is_file():
        return None
    if kind == ".ts":
        with suppress(InputError), opened(path) as file:
            if read_at(file, 0, 189)[::188] != b"GG":  # with which each packet of MPEG-TS begins
                return None
    return f"{path}: {kind[1:].upper()} is not read here; make an MKV of it first, as by ffmpeg -c copy"


@dataclass(frozen=True)
class Video:
    """What a file says of its pictures.

    Attributes:
        path: the file.
        height, width: of a frame, upright.
        turns: quarter turns anticlockwise that make a stored frame upright.
        mirrored: whether left and right are changed before that.
        tick: the unit of its times, in seconds.
        rate: frames per second, on average.
        frames: about how many it has; 0 if it is not known.
        aspect: a pixel's width by its height, upright.
        layout: how samples are stored.
        colours: what they mean.
        notes: a line for each thing that is not kept.
    """

    path: Path
    height: int
    width: int
    turns: int
    mirrored: bool
    tick: Fraction
    rate: Fraction
    frames: int
    aspect: Fraction
    layout: Layout
    colours: Colours
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Frame:
    """A frame: when it is seen first, in ticks, and its pixels, (H, W, 3) float32 RGB in [0, 1]."""

    time: int
    rgb: np.ndarray


def library():
    """PyAV. Raises InputError if it is not installed."""
    try:
        import av
    except ImportError:
        raise InputError("videos need PyAV: pip install -r requirements-video.txt") from None
    return av


def look(path: Path) -> Video:
    """What a video's file says, and its first frame.

    Raises:
        InputError: if the file is missing, empty, cut off, encrypted, no video, or of colours that are not known.
    """
    with opened_video(path) as container, _readable(path):
        stream = pictures(container)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ValueError("it has no frame")
        kind = frame.format
        turns, mirrored = _upright(frame)
        sides = (frame.height, frame.width)[:: -1 if turns % 2 else 1]
        if frame.height * frame.width > _MOST_PIXELS:
            raise ValueError(f"its frames have {frame.width}x{frame.height} pixels, more than {_MOST_PIXELS:,}")
        bits = min(16, max(8, *(component.bits for component in kind.components)))
        matrix = yuv.RGB if kind.is_rgb else yuv.guessed(frame.colorspace or yuv.UNKNOWN, *sides)
        full = kind.is_rgb or frame.color_range == 2 or kind.name.startswith("yuvj")
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        alpha = any(component.is_alpha for component in kind.components)
        # WebM's, which the decoder leaves out; Matroska may write the name in capitals.
        alpha |= ("alpha_mode", "1") in {(name.lower(), text) for name, text in stream.metadata.items()}
        notes = ["its transparency is left out"] * alpha
        notes += ["it is interlaced, and each two fields are enlarged as one picture"] * frame.interlaced_frame
        told = {beside.type.name for beside in frame.side_data} & _SCREEN
        notes += ["what it tells of the screen that it was made on is left out"] * bool(told)
        return Video(
            path,
            *sides,
            turns=turns,
            mirrored=mirrored,
            tick=stream.time_base,
            rate=Fraction(rate),
            frames=stream.frames or int((container.duration or 0) / 1e6 * rate),
            aspect=1 / aspect if turns % 2 else aspect,
            layout=_layout(kind, bits),
            colours=Colours(matrix, frame.color_primaries or 2, frame.color_trc or 2, full),
            notes=tuple(notes),
        )


def frames(video: Video, skip: int = 0) -> Iterator[Frame]:
    """The frames of a video in the order in which they are seen, without the first ``skip``.

    Times grow: a frame without one follows the frame before it at the video's rate.

    Raises:
        InputError: if the file is cut off or damaged, or the frames are not all of one size.
    """
    av = library()
    step = max(1, round(1 / video.rate / video.tick))
    sides = (video.height, video.width)[:: -1 if video.turns % 2 else 1]
    time, number = -step, 0
    with opened_video(video.path) as container:
        stream = pictures(container)
        stream.thread_type = "AUTO"
        decoded = container.decode(stream)
        while True:
            try:
                frame = next(decoded, None)
            except av.FFmpegError as error:
                raise InputError(f"{video.path}: is damaged behind frame {number}: {_told(error)}") from None
            if frame is None:
                break
            time = time + step if frame.pts is None else max(frame.pts, time + 1) if number else frame.pts
            number += 1
            if (frame.height, frame.width) != sides:
                raise InputError(f"{video.path}: frame {number} has another size than those before it; cut it there")
            if frame.is_corrupt:  # the decoder has filled it by others
                raise InputError(f"{video.path}: is damaged at frame {number}; copy it again, or cut it there")
            if number > skip:
                yield Frame(time, _pixels(frame, video))
    if not number:
        raise InputError(f"{video.path}: not a readable video: it has no frame")


@contextmanager
def opened_video(path: Path) -> Iterator:
    """A video's file, by PyAV; nothing but the file itself is read, whatever it says.

    Raises:
        InputError: as :func:`look`.
    """
    av = library()
    with opened(path) as file:
        with _readable(path):
            kind = _kind(file)
            container = av.open(file, "r", format=kind, metadata_errors="replace")
        with container:
            yield container


def pictures(container):
    """The stream of a file that is its video; ValueError if it has none, or one that nobody can read."""
    found = [stream for stream in container.streams.video if not is_cover(stream)]
    if not found:
        raise ValueError("it has no pictures, only " + (", ".join({s.type for s in container.streams}) or "a header"))
    stream = found[0]
    if stream.codec_context is None:
        raise ValueError("its pictures are in a format that is not known")
    return stream


def is_cover(stream) -> bool:
    """Whether a stream is a picture that stands for the whole, as on a disc's cover."""
    return bool(stream.disposition & library().stream.Disposition.attached_pic)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a file is opened becomes an InputError."""
    av = library()
    try:
        yield
    except InputError as error:
        raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from None
    except (av.FFmpegError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a readable video: {_told(error)}") from None


def _told(error: Exception) -> str:
    av = library()
    if isinstance(error, av.FFmpegError) and not isinstance(error, OSError):
        return str(error.strerror or type(error).__name__).lower()
    return describe(error)


def _kind(file: BinaryIO) -> str:
    """FFmpeg's name of a file's format. ValueError if it is cut off, or of no format that is known."""
    start, size = read_at(file, 0, 12), file_size(file)
    if not size:
        raise ValueError("it is empty (0 bytes)")
    if start[4:8] in _BOXES:
        kind, end = "mov", _end_of_boxes(file)
    elif start.startswith(b"\x1a\x45\xdf\xa3"):
        kind, end = "matroska", _end_of_matroska(file)
    elif start.startswith(b"RIFF") and start[8:] == b"AVI ":
        kind, end = "avi", 8 + int.from_bytes(start[4:8], "little")
    else:
        raise ValueError(f"it is none of {_KINDS}")
    if end > size:
        raise ValueError(f"it is cut off: {size:,} bytes are there of {end:,}; copy it again")
    return kind


def _end_of_boxes(file: BinaryIO) -> int:
    """Where the last box of a MOV or MP4 ends (ISO/IEC 14496-12, 4.2); also notices what is encrypted."""
    place = 0
    for _ in range(_STEPS):
        if place >= file_size(file):
            break
        head = read_at(file, place, 16)
        if len(head) < 8:
            break
        size = int.from_bytes(head[:4])
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:])
        if head[4:8] == b"moov" and b"encv" in read_at(file, place, min(size, 2**28)):
            raise ValueError(_ENCRYPTED)
        if size < 8:  # 0: to the end of the file
            break
        place += size
    return place


def _end_of_matroska(file: BinaryIO) -> int:
    """Where Matroska's segment ends (RFC 8794, 4); the file's end if it does not tell."""
    place = 4
    size, length = _number(read_at(file, place, 8))
    place += length + size
    if read_at(file, place, 4) != _SEGMENT:
        return file_size(file)
    size, length = _number(read_at(file, place + 4, 8))
    return file_size(file) if size == 2 ** (7 * length) - 1 else place + 4 + length + size


def _number(data: bytes) -> tuple[int, int]:
    """One of EBML's numbers, and how many bytes it takes."""
    length = 9 - data[0].bit_length() if data and data[0] else 8
    try:
        (number,) = struct.unpack(">Q", bytes(8 - length) + data[:length])
    except struct.error:
        raise ValueError("its header is cut off") from None
    return number & (2 ** (7 * length) - 1), length


def _upright(frame) -> tuple[int, bool]:
    """What makes a frame upright: quarter turns anticlockwise, and whether left and right are changed before."""
    matrix = next((bytes(told) for told in frame.side_data if told.type.name == "DISPLAYMATRIX"), bytes(36))
    a, b, _, c, d = struct.unpack_from("=5i", matrix)  # a player shows (x, y) at (a * x + c * y, b * x + d * y)
    mirrored = a * d < b * c
    angle = math.atan2(-b, -a) if mirrored else math.atan2(b, a)
    return -round(angle / (math.pi / 2)) % 4, mirrored


def _layout(kind, bits: int) -> Layout:
    """The planar layout that samples of a format are brought to."""
    if kind.is_rgb or kind.has_palette:
        return Layout(bits, rgb=True)
    if len(kind.components) < 3:  # grey
        return Layout(bits)
    return Layout(bits, -(-64 // kind.chroma_width(64)), -(-64 // kind.chroma_height(64)))


def _pixels(frame, video: Video) -> np.ndarray:
    """A frame's pixels, upright."""
    layout, range_ = video.layout, 2 if video.colours.full else 1
    if frame.format.name != layout.name:
        frame = frame.reformat(format=layout.name, src_color_range=range_, dst_color_range=range_)
    rgb = yuv.to_rgb(planes(frame, layout), layout, video.colours)
    return np.ascontiguousarray(np.rot90(rgb[:, ::-1] if video.mirrored else rgb, video.turns))


def planes(frame, layout: Layout) -> list[np.ndarray]:
    """Views of a planar frame's samples."""
    rows = [np.frombuffer(plane, layout.dtype).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
    return rows[:3]
