"""PSNR, SSIM and others of a video whose original is there too: of each frame, and their means."""

from collections.abc import Iterator

import numpy as np

from dataset import bicubic, images, video
from dataset.errors import InputError
from dataset.video import Video

from .metrics import psnr_ssim
from .more import Measure

PROTOCOLS = ("published", "modern")  # the others make the LR themselves


class Figures:
    """What is measured of a video against its original, frame by frame.

    Attributes:
        rows: of each frame so far, its figures by their names.

    Args:
        of: the video that is enlarged.
        hr: its original.
        scale, protocol, channel: see :mod:`solver.measuring.metrics`.
        more: measure these too; see :func:`solver.measuring.more.measures`.

    Raises:
        InputError: if the original is of another size, or the protocol makes the LR itself.
    """

    def __init__(self, of: Video, hr: Video, scale: int, protocol: str, channel: str, more: dict[str, Measure]) -> None:
        expected = scale * of.width, scale * of.height
        if (hr.width, hr.height) != expected:
            sizes = f"is {hr.width}x{hr.height}, but {scale} times its LR is {expected[0]}x{expected[1]}"
            raise InputError(f"{hr.path}: {sizes}")
        if protocol not in PROTOCOLS:
            raise InputError(f"{hr.path}: videos are measured by --protocol {' or '.join(PROTOCOLS)}, not {protocol}")
        self._of, self._hr, self._more = of, hr, more
        self._how = scale, protocol, channel
        self.rows: list[dict[str, float | None]] = []

    def passing(self, frames: Iterator[tuple[int, np.ndarray, np.ndarray]]) -> Iterator[tuple]:
        """The frames as they come, measured: of each its time, the result and the LR, float RGB.

        Raises:
            InputError: if the original has more frames, or fewer.
        """
        originals = video.frames(self._hr)
        for time, sr, lr in frames:
            hr = next(originals, None)
            if hr is None:
                raise InputError(f"{self._hr.path}: has {len(self.rows)} frames, fewer than {self._of.path}")
            self.rows.append(self._figures(sr, lr, images.from_float(hr.rgb)))
            yield time, sr, lr
        if next(originals, None) is not None:
            raise InputError(f"{self._hr.path}: has more than the {len(self.rows)} frames of {self._of.path}")

    def means(self) -> dict:
        """What a row of :class:`solver.measuring.evaluate.Row` has of them."""
        means = {}
        for name in self.rows[0]:
            known = [row[name] for row in self.rows if row[name] is not None]
            means[name] = float(np.mean(known)) if known else None
        more = {name: means.pop(name) for name in [*means] if name.removeprefix("bicubic_") in self._more}
        return means | {"more": more}

    def _figures(self, sr: np.ndarray, lr: np.ndarray, hr: np.ndarray) -> dict[str, float | None]:
        scale, protocol, channel = self._how
        enlarged = bicubic.enlarge(images.from_float(lr), scale)
        found = {}
        for whose, rgb in (("", self._integers(sr)), ("bicubic_", enlarged)):
            found[f"{whose}psnr"], found[f"{whose}ssim"] = psnr_ssim(rgb, hr, scale, protocol, channel)
            for name, measure in self._more.items():
                found[f"{whose}{name}"] = measure(rgb, hr, scale, protocol)
        return found

    def _integers(self, rgb: np.ndarray) -> np.ndarray:
        """A result in 8 bits, as the protocol has it."""
        return images.from_float(rgb) if self._how[1] == "modern" else (255 * rgb).clip(0, 255).astype(np.uint8)
