"""Super-resolve a test set and measure it: the one loop behind sampling, validation and tables."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from dataset import bicubic, images
from dataset.errors import InputError
from dataset.streams import Bands
from dataset.test_set import Item, TestSet

from .. import background
from .metrics import psnr_ssim

_ENCODED = 3  # times its own bytes that a picture takes while it is encoded: the encoder's copy, and the file


@dataclass(frozen=True)
class Row:
    """One picture's figures; PSNR in dB, None where there is no HR or too little of it.

    ``height`` and ``width`` are the result's; ``seconds`` is what the network took (of a result written in
    bands, writing included).
    """

    name: str
    height: int
    width: int
    seconds: float
    psnr: float | None = None
    ssim: float | None = None
    bicubic_psnr: float | None = None
    bicubic_ssim: float | None = None


@dataclass
class Scores:
    """A set's figures: rows, their means (over the pictures that have them), and what was skipped."""

    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def mean(self, figure: str) -> float | None:
        """Mean of one of :class:`Row`'s figures, or None if no picture has it."""
        values = [v for v in (getattr(row, figure) for row in self.rows) if v is not None]
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
    skip_bad: bool = False,
    on_picture: Callable[[Item, images.Picture | Bands], None] | None = None,
    progress: Callable[[list[Item]], Iterable[Item]] = iter,
) -> Scores:
    """Super-resolve every picture of a set and compare those that have an HR with it.

    Pictures are read before the network asks for them, and measured and written behind it (see
    :mod:`solver.background`).

    Args:
        sampler: what enlarges, as :class:`solver.sampling.sampler.Sampler` does.
        test_set: what :func:`dataset.test_set.find` found.
        protocol, channel: see :mod:`solver.measuring.metrics`; the protocol decides the rounding too.
        compare_bicubic: measure bicubic interpolation beside it.
        skip_bad: note pictures that cannot be used in ``skipped`` and go on, instead of raising.
        on_picture: is given each result, to write it, maybe in another thread; a result without HR that is
            too large for memory as :class:`dataset.streams.Bands`.
        progress: wraps the list of items, for example in a progress bar.

    Raises:
        InputError: for a picture that cannot be used, unless ``skip_bad``.
    """
    if test_set.problems and not skip_bad:
        raise InputError(test_set.problems[0])
    rounding = "truncate" if protocol == "published" else "round"
    scores = Scores(skipped=list(test_set.problems))

    def finish(item: Item, lr: images.Picture, hr: np.ndarray | None, sr: images.Picture, seconds: float) -> Row:
        figures = {}
        if hr is not None:
            measure = (hr, test_set.scale, protocol, channel)
            figures["psnr"], figures["ssim"] = psnr_ssim(images.to_uint8(sr.rgb), *measure)
            if compare_bicubic:
                enlarged = bicubic.enlarge(images.to_uint8(lr.rgb), test_set.scale)
                figures["bicubic_psnr"], figures["bicubic_ssim"] = psnr_ssim(enlarged, *measure)
        if on_picture is not None:
            on_picture(item, sr)
        return Row(item.name, *sr.rgb.shape[:2], seconds, **figures)

    depth = background.threads()
    with background.executor() as workers:
        reads = (workers.submit(_read, item, test_set.scale) for item in test_set.items)
        reading = background.ahead(reads, depth)
        finishing = deque()  # futures, and the bytes that each holds
        for item, read in zip(progress(test_set.items), reading):
            try:
                lr, hr = read.result()
            except InputError as error:
                if not skip_bad:
                    raise
                scores.skipped.append(str(error))
                continue
            start = time.perf_counter()
            if hr is None and on_picture is not None and sampler.too_large(lr.rgb):
                sr = sampler.enlarge_in_bands(lr, rounding)
                on_picture(item, sr)
                row = Row(item.name, sr.height, sr.width, time.perf_counter() - start)
                finishing.append((workers.submit(lambda row=row: row), 0))
            else:
                sr = sampler.enlarge(lr, rounding)
                row = workers.submit(finish, item, lr, hr, sr, time.perf_counter() - start)
                finishing.append((row, _ENCODED * sr.rgb.nbytes))
            while len(finishing) > depth or sum(size for _, size in finishing) > sampler.waiting_room:
                scores.rows.append(finishing.popleft()[0].result())
        scores.rows.extend(row.result() for row, _ in finishing)
    return scores


def _read(item: Item, scale: int) -> tuple[images.Picture, np.ndarray | None]:
    """The LR picture and the HR pixels; of a pair, the LR is taken as RGB, as was published."""
    lr = images.read(item.lr)
    if item.hr is None:
        return lr, None
    hr = images.read_rgb(item.hr)
    expected = tuple(scale * n for n in lr.rgb.shape[:2])
    if hr.shape[:2] != expected:
        sizes = f"is {hr.shape[1]}x{hr.shape[0]}, but {scale} times its LR is {expected[1]}x{expected[0]}"
        raise InputError(f"{item.hr}: {sizes}")
    return images.Picture(images.to_uint8(lr.rgb)), hr
