"""Textures that tile: what lies beyond an edge is what lies at the opposite one, and the results tile too."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dataset.picture import Bands, Picture

from .sampler import Sampler

_CUBIC = 3  # LR pixels that the bicubic enlargement of alpha reaches
_HIDDEN = 5  # that a colour is taken from for one that is hidden, see dataset.transparency


class Wrapping:
    """A sampler for textures, in whose place it stands: the middle of three by three copies side by side, enlarged."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __getattr__(self, name: str):
        return getattr(self._sampler, name)

    def enlarge(self, picture: Picture, rounding: str = "truncate") -> Picture:
        """See :meth:`Sampler.enlarge`."""
        wider, (top, left) = self._wider(picture)
        large = self._sampler.enlarge(wider, rounding)
        height, width = (self.scale * side for side in picture.rgb.shape[:2])
        rows, columns = slice(top, top + height), slice(left, left + width)
        alpha = None if large.alpha is None else large.alpha[rows, columns]
        metadata = picture.metadata.enlarged(height, width, self.scale)
        return replace(large, rgb=large.rgb[rows, columns], alpha=alpha, metadata=metadata)

    def enlarge_in_bands(self, picture: Picture, rounding: str = "truncate") -> Bands:
        """See :meth:`Sampler.enlarge_in_bands`."""
        wider, (top, left) = self._wider(picture)
        large = self._sampler.enlarge_in_bands(wider, rounding)
        height, width = (self.scale * side for side in picture.rgb.shape[:2])

        def middle() -> Iterator[Picture]:
            done = -top  # rows
            for band in large.bands:
                rows = slice(max(0, -done), max(0, height - done))
                done += len(band.rgb)
                alpha = None if band.alpha is None else band.alpha[rows, left : left + width]
                if len(rgb := band.rgb[rows, left : left + width]):
                    yield replace(band, rgb=rgb, alpha=alpha)

        metadata = picture.metadata.enlarged(height, width, self.scale)
        return replace(large, height=height, width=width, bands=middle(), metadata=metadata)

    def _wider(self, picture: Picture) -> tuple[Picture, tuple[int, int]]:
        """The picture with its opposite sides around it, as far as the result can depend on them, and how many rows
        and columns of the result lie before its own."""
        height, width = picture.rgb.shape[:2]
        reach = self._sampler.halo + _CUBIC + _HIDDEN
        rows, columns = (height, width) if self._sampler.tile == "none" and not self._sampler.halo else (reach, reach)
        around = ((rows, rows), (columns, columns))
        alpha = None if picture.alpha is None else np.pad(picture.alpha, around, "wrap")
        wider = replace(picture, rgb=np.pad(picture.rgb, (*around, (0, 0)), "wrap"), alpha=alpha)
        return wider, (self.scale * rows, self.scale * columns)
