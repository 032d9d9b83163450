"""Shrunk copies of a source's pictures, and LR pictures that it lacks: made as far as a patch needs them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

import numpy as np

from ..bicubic import resized_part
from .base import Read, Source

BOUNDARY = "symmetric"  # as DIV2K's, see dataset.bicubic


class Copies(Source):
    """The pictures of another source shrunk by each factor, one factor after the other.

    They are those that ``div2h5.py --downscale`` makes, to the bit: the copies by MATLAB's bicubic, and of a copy's
    LR picture too. The LR of a picture itself is the source's, if it has one.

    Args:
        source: whole pictures.
        factors: above 0, at most 1, which is the pictures themselves.
    """

    def __init__(self, source: Source, factors: Sequence[float]) -> None:
        self.source, self.factors = source, tuple(factors)
        self.path, self.scales, self.channels = source.path, source.scales, source.channels
        hr = source.sizes["HR"]
        copies = [np.ceil(hr * factor).astype(np.int64) for factor in self.factors]
        self.sizes = {"HR": np.concatenate(copies)}
        for scale in self.scales:
            lr = [
                source.sizes.get(f"X{scale}", copy // scale) if factor == 1 else copy // scale
                for factor, copy in zip(self.factors, copies)
            ]
            self.sizes[f"X{scale}"] = np.concatenate(lr)

    def reader(self) -> Read:
        given, sides = self.source.reader(), self.source.sizes["HR"]

        def read(group: str, index: int, *part: int) -> np.ndarray:
            copy, picture = divmod(index, len(sides))
            factor = self.factors[copy]
            if factor == 1 and group in self.source.sizes:
                return given(group, picture, *part)
            if group == "HR":
                return resized_part(partial(given, group, picture), tuple(sides[picture]), factor, part, BOUNDARY)
            scale = int(group[1:])
            cropped = tuple(side - side % scale for side in self.sizes["HR"][index])
            return resized_part(partial(read, "HR", index), cropped, 1 / scale, part, BOUNDARY)

        return read

    def readable(self) -> AbstractContextManager:
        return self.source.readable()

    def names(self, numbers: Sequence[int]) -> list[str]:
        copies, pictures = np.divmod(np.asarray(numbers), len(self.source.sizes["HR"]))
        shrunk = [f" x{self.factors[copy]:g}" if self.factors[copy] != 1 else "" for copy in copies]
        return [name + factor for name, factor in zip(self.source.names(pictures), shrunk)]
