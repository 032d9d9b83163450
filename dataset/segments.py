"""Videos are written in segments, so that a run can go on where it was; in the end they are joined.

A segment is a file of so many frames that needs nothing of those before it. Which frames are in which segment depends
on the video alone, so the result is the same however often a run was interrupted.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np

from . import video
from .containers import file_size, read_at
from .encoding import ENCODERS, Coding
from .errors import InputError
from .files import fitting_path, opened, written_whole
from .video import Video
from .yuv import Colours

LENGTH = 120  # frames of a segment
_OTHER = {
    "h264": {"threads": "4"},  # however many cores there are: of other threads come other bytes
    "hevc": {"x265-params": "log-level=none"},
    "vp9": {"b": "0"},
    "ffv1": {"level": "3", "slicecrc": "1", "g": "1"},  # each slice has a checksum
}
_INDEX = b"NX\xdd\x67\x2f\x23\xe6\x4e"  # with which a segment's begins
_AVX512 = 256  # OpenCV's number of it (CV_CPU_AVX512_SKX)
# Seconds that all times in a segment are later by: its format has none below 0, as of decoding may be, by as long as
# some frames are seen.
LEAD = 10**8


def folder_of(path: Path) -> Path:
    """The hidden folder in which the segments of a result are, until they are joined."""
    return fitting_path(path.parent, f".{path.name}", ".segments")


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
        while _is_whole(path := self._path(len(self.files))):
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
            stream = container.add_stream(ENCODERS[coding.codec], rate=of.rate, options=_options(coding))
            context = stream.codec_context
            context.width, context.height, context.pix_fmt = coding.width, coding.height, coding.layout.name
            context.time_base = of.tick
            context.sample_aspect_ratio = of.aspect
            context.flags |= av.codec.context.Flags.closed_gop
            tell_colours(context, coding.colours)
            with scheduling_kept():
                container.start_encoding()
            for count, (time, planes) in enumerate(frames, start=1):
                container.mux(stream.encode(_frame(planes, time + lead(of), of.tick, coding)))
            container.mux(stream.encode())
        return count


def _is_whole(path: Path) -> bool:
    """Whether a segment is there to its end, which is an index: after a power failure, the end may be missing."""
    with suppress(InputError, OSError), opened(path) as file:
        size = file_size(file)
        length = int.from_bytes(read_at(file, max(0, size - 12), 8))
        return 12 < length <= size and read_at(file, size - length, 8) == _INDEX
    return False


def lead(of: Video) -> int:
    """Ticks by which the times in a segment are later than the video's."""
    return round(LEAD / of.tick)


def _options(coding: Coding) -> dict[str, str]:
    """The encoder's, with which the same frames are the same bytes each time."""
    import cv2

    options = _OTHER.get(coding.codec, {}) | ({} if coding.codec == "ffv1" else {"crf": str(coding.crf)})
    if coding.codec == "h264" and cv2.checkHardwareSupport(_AVX512):
        # With AVX-512, x264 (165) lets its choice of quality depend on what memory held before.
        options["x264-params"] = "asm=AVX2,FMA3,BMI2"
    return options


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Take real-time scheduling away again from threads that are given it meanwhile, on Linux.

    Where root runs it, SVT-AV1 gives it (SCHED_FIFO, 99) to its own threads and to the one that calls it. No other
    thread may interrupt these, and processes that they start have it too: such a browser can stand still for ever.
    """
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        yield
        return
    usual = os.sched_getscheduler(0), os.sched_getparam(0)
    others = {task.name for task in tasks.iterdir()} - {str(threading.get_native_id())}
    try:
        yield
    finally:
        for task in {task.name for task in tasks.iterdir()} - others:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(int(task), *usual)


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
