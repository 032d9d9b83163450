"""Super-resolve a test set and measure it: the one loop behind sampling, validation and tables."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from dataset import bicubic, images
from dataset.errors import InputError
from dataset.streams import Bands
from dataset.test_set import Item, TestSet

from .. import background
from .ifc import BYTES
from .metrics import PAIRS, psnr_ssim
from .more import Measure


@dataclass(frozen=True)
class Row:
    """One picture's figures; PSNR in dB, None where there is no HR or too little of it.

    ``height`` and ``width`` are the result's; ``seconds`` is what the network took (of a result written in bands, and
    of a video, reading and writing included); ``frames`` is how many were made in them. ``more`` has the figures that
    were asked for beside PSNR and SSIM, as "ifc" and "bicubic_ifc".
    """

    name: str
    height: int
    width: int
    seconds: float
    psnr: float | None = None
    ssim: float | None = None
    bicubic_psnr: float | None = None
    bicubic_ssim: float | None = None
    more: dict[str, float | None] = field(default_factory=dict)
    frames: int = 1


@dataclass
class Scores:
    """A set's figures: rows, their means (over the pictures that have them), what was skipped, and remarks."""

    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mean(self, figure: str) -> float | None:
        """Mean of one of :class:`Row`'s figures, or of those in its ``more``, or None if no picture has it."""
        values = [v for v in ((vars(row) | row.more).get(figure) for row in self.rows) if v is not None]
        return float(np.mean(values)) if values else None

    @property
    def psnr(self) -> float | None:
        return self.mean("psnr")

    @property
    def ssim(self) -> float | None:
        return self.mean("ssim")


def evaluate(
    sampler,
    test_set: TestSet,
    protocol: str = "published",
    channel: str = "luma",
    *,
    compare_bicubic: bool = False,
    more: dict[str, Measure] | None = None,
    skip_bad: bool = False,
    on_picture: Callable[[Item, images.Picture | Bands], None] | None = None,
    suffix: str = ".png",
    on_row: Callable[[Row], None] | None = None,
    progress: Callable[[list[Item]], Iterable[Item]] = iter,
) -> Scores:
    """Super-resolve every picture of a set and compare those that have an HR with it.

    Pictures are read before the network asks for them, and measured and written behind it (see
    :mod:`solver.background`), as far as the memory lets several be worked on at once.

    Args:
        sampler: what enlarges, as :class:`solver.sampling.sampler.Sampler` does.
        test_set: what :func:`dataset.test_set.find` found.
        protocol, channel: see :mod:`solver.measuring.metrics`; the protocol decides the rounding too.
        compare_bicubic: measure bicubic interpolation beside it.
        more: measure these too; see :func:`solver.measuring.more.measures`.
        skip_bad: note pictures that cannot be used, or whose result cannot be written, in ``skipped`` and go on,
            instead of raising.
        on_picture: is given each result, to write it, maybe in another thread; a result without HR that is
            too large for memory as :class:`dataset.streams.Bands`.
        suffix: of the files that it writes.
        on_row: is given each row, when its result is written.
        progress: wraps the list of items, for example in a progress bar.

    Raises:
        InputError: for a picture that cannot be used, or not in the memory, unless ``skip_bad``.
    """
    if test_set.problems and not skip_bad:
        raise InputError(test_set.problems[0])
    with background.executor() as workers:
        run = _Run(
            sampler, test_set, protocol, channel, compare_bicubic, more, skip_bad, on_picture, suffix, on_row, workers
        )
        for item in progress(test_set.items):
            run.enlarge(item)
        while run.finishing:
            run.finish_one()
    return run.scores


class _Run:
    """An evaluation under way: what is being read, what is being measured and written, and the scores so far."""

    def __init__(
        self, sampler, test_set, protocol, channel, compare_bicubic, more, skip_bad, on_picture, suffix, on_row, workers
    ) -> None:
        self.sampler, self.scale, self.measure = sampler, test_set.scale, (test_set.scale, protocol, channel)
        self.more, self.protocol = more or {}, protocol
        self.rounding = "truncate" if protocol == "published" else "round"
        self.compare_bicubic, self.skip_bad, self.pair = compare_bicubic, skip_bad, PAIRS.get(protocol)
        self.on_picture, self.suffix, self.on_row, self.workers = on_picture, suffix, on_row, workers
        self.scores = Scores(skipped=list(test_set.problems))
        self.unread = deque(test_set.items)
        self.reading, self.finishing = deque(), deque()  # futures, and the bytes that each takes

    def enlarge(self, item: Item) -> None:
        """Super-resolve the next picture, and begin what comes after it."""
        self._read_on()
        while not self.reading:
            self.finish_one()
            self._read_on()
        read, needed = self.reading.popleft()
        with self._noting_problems():
            lr, hr = read.result()
            self.scores.notes += [f"{item.lr}: {note}" for note in lr.notes]
            start = time.perf_counter()
            if hr is None and self.on_picture is not None and self.sampler.too_large(lr.rgb.nbytes):
                sr = self.sampler.enlarge_in_bands(lr, self.rounding)
                self.on_picture(item, sr)
                row = self.workers.submit(Row, item.name, sr.height, sr.width, time.perf_counter() - start)
            else:
                sr = self.sampler.enlarge(lr, self.rounding)
                row = self.workers.submit(self._finish, item, lr, hr, sr, time.perf_counter() - start)
            self.finishing.append((row, needed))
        lr = hr = sr = None  # or they would be held while others are waited for
        while len(self.finishing) > background.threads() or _bytes(self.finishing) > self.sampler.budget.waiting:
            self.finish_one()

    def finish_one(self) -> None:
        """Wait for the oldest row."""
        with self._noting_problems():
            row = self.finishing.popleft()[0].result()
            self.scores.rows.append(row)
            if self.on_row is not None:
                self.on_row(row)

    def _read_on(self) -> None:
        """Begin to read as far ahead as threads and memory go: one picture, if nothing else is worked on."""
        while self.unread and len(self.reading) <= background.threads():
            needed = memory_needed(self.unread[0], self.scale, self.sampler, self.suffix, bool(self.more))
            most = max(needed)
            busy = _bytes(self.reading) + _bytes(self.finishing)
            if busy and busy + most > self.sampler.budget.waiting:
                break
            self.reading.append((self.workers.submit(self._read, self.unread.popleft(), needed), most))

    def _read(self, item: Item, needed: tuple[int, int]) -> tuple[images.Picture, np.ndarray | None]:
        """The LR picture and the HR pixels; of a pair, the LR is taken as RGB, as was published."""
        self.sampler.budget.check_picture(item.lr, *needed)
        lr = images.read(item.lr, item.page)
        if item.hr is None:
            return lr, None
        if self.pair is not None or item.made:
            hr = images.read(item.hr)
            height, width = hr.rgb.shape[:2]
            if min(height, width) < self.scale:
                raise InputError(
                    f"{item.hr}: is {width}x{height}, less than a pixel of LR at x{self.scale}; leave it out"
                )
            hr = replace(hr, rgb=bicubic.modcrop(images.to_uint8(hr.rgb), self.scale))
            make = self.pair or _bicubic_pair
            lr_rgb, hr_rgb = make(hr, self.scale)
            return images.Picture(lr_rgb, notes=lr.notes), hr_rgb
        hr = images.read_rgb(item.hr)
        expected = tuple(self.scale * n for n in lr.rgb.shape[:2])
        if hr.shape[:2] != expected and all(0 <= a - b < self.scale for a, b in zip(hr.shape, expected)):
            cut = (
                f"{item.hr.name} is {hr.shape[1]}x{hr.shape[0]}, cut to {expected[1]}x{expected[0]}, which its LR shows"
            )
            lr, hr = replace(lr, notes=(*lr.notes, cut)), hr[: expected[0], : expected[1]]
        if hr.shape[:2] != expected:
            sizes = f"is {hr.shape[1]}x{hr.shape[0]}, but {self.scale} times its LR is {expected[1]}x{expected[0]}"
            raise InputError(f"{item.hr}: {sizes}")
        return images.Picture(images.to_uint8(lr.rgb), notes=lr.notes), hr

    def _finish(self, item: Item, lr: images.Picture, hr: np.ndarray | None, sr: images.Picture, seconds: float) -> Row:
        """Measure and write a result."""
        figures, more = {}, {}
        if hr is not None:
            made = {"": sr.rgb}
            if self.compare_bicubic:
                made["bicubic_"] = bicubic.enlarge(lr.rgb, self.scale)
            for name, rgb in made.items():
                rgb = self._quantised(rgb)
                figures[f"{name}psnr"], figures[f"{name}ssim"] = psnr_ssim(rgb, hr, *self.measure)
                for figure, measure in self.more.items():
                    more[f"{name}{figure}"] = measure(rgb, hr, self.scale, self.protocol)
        if self.on_picture is not None:
            self.on_picture(item, replace(sr, rgb=_integers(sr.rgb)) if self.pair and hr is not None else sr)
        return Row(item.name, *sr.rgb.shape[:2], seconds, **figures, more=more)

    def _quantised(self, rgb: np.ndarray) -> np.ndarray:
        """A result as it is measured."""
        return rgb if self.protocol == "luma" else _integers(rgb)

    @contextmanager
    def _noting_problems(self) -> Iterator[None]:
        """A picture that cannot be used, or written, is noted, if they may be skipped."""
        try:
            yield
        except InputError as error:
            if not self.skip_bad:
                raise
            self.scores.skipped.append(str(error))


def _bicubic_pair(hr: images.Picture, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """LR as benchmark sets have it, of an HR picture of 8 bits whose sides are multiples of the scale, and HR."""
    return bicubic.imresize(hr.rgb, 1 / scale), hr.rgb


def memory_needed(item: Item, scale: int, sampler, suffix: str = "", more: bool = False) -> tuple[int, int]:
    """About the most bytes that a picture takes while it is decoded, and after that, as the files' headers tell.

    Args:
        suffix: of the file that its result is written to; none if it is not.
        more: whether more than PSNR and SSIM is measured, all of a picture at once.
    """
    try:
        height, width = images.size(item.lr)
        held, decoding = images.held_bytes(item.lr), images.decoding_bytes(item.lr)
        result = held * scale**2
        if item.hr is not None:
            decoding = max(decoding, held + images.decoding_bytes(item.hr))
            held += images.held_bytes(item.hr) + result  # bicubic's
            held += BYTES * scale**2 * height * width * more
        elif suffix and sampler.too_large(held):
            result = 0  # there is never a whole one
        if suffix:
            per_pixel = images.held_bytes(item.lr) // (height * width)
            kind = (per_pixel, np.uint8) if per_pixel <= 4 else (per_pixel // 2, np.uint16)
            result += images.encoding_bytes(scale * height, scale * width, *kind, suffix)
        return decoding, held + result
    except InputError:  # told of when it is read
        return 0, 0


def _integers(rgb: np.ndarray) -> np.ndarray:
    """A result in 8 bits, rounded."""
    return images.from_float(rgb) if np.issubdtype(rgb.dtype, np.floating) else images.to_uint8(rgb)


def _bytes(work: Iterable[tuple[Future, int]]) -> int:
    return sum(size for _, size in work)
