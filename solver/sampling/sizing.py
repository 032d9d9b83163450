"""Results of any size: enlarged by the network's next scale, and shrunk from there by bicubic interpolation."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dataset import bicubic, images
from dataset.errors import InputError
from dataset.picture import Bands, Picture
from dataset.test_set import TestSet
from dataset.transparency import covered

_LARGEST = 4  # of the scales that weights ship for


@dataclass(frozen=True)
class Size:
    """The size that results are to have: of a factor, within a box, or of one or two sides.

    Attributes:
        factor: of both sides.
        width, height: in pixels; of one alone, the other keeps the picture's shape.
        within: whether width and height are a box, which the result fits into in the picture's shape.
    """

    factor: float | None = None
    width: int | None = None
    height: int | None = None
    within: bool = False

    def __str__(self) -> str:
        """As a folder of such results is called."""
        if self.factor is not None:
            return f"x{self.factor}"
        if self.width and self.height:
            return f"{'in_' * self.within}{self.width}x{self.height}"
        return f"width_{self.width}" if self.width else f"height_{self.height}"

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result of a picture of (height, width) pixels, 1 at least, rounded half up."""
        factors = [wanted / side for wanted, side in ((self.height, height), (self.width, width)) if wanted]
        if len(factors) == 2 and not self.within:
            return self.height, self.width
        factor = self.factor or min(factors)
        return max(1, math.floor(factor * height + 0.5)), max(1, math.floor(factor * width + 0.5))


class Sized:
    """A sampler whose results have a wanted size.

    A picture is enlarged by the smallest scale that is enough, and then shrunk (:func:`dataset.bicubic.resized_bands`).
    One that is to become smaller is shrunk alone, without the network.

    Args:
        make: scale -> the sampler.
        scales: that the weights have.
        size: wanted.
    """

    def __init__(self, make: Callable[[int], object], scales: tuple[int, ...], size: Size) -> None:
        self.scale = max(scales)
        self._make, self._scales, self._size = make, sorted(scales), size
        self._samplers = {self.scale: make(self.scale)}

    def __getattr__(self, name: str):
        return getattr(self._samplers[self.scale], name)

    def possible(self, pictures: TestSet) -> TestSet:
        """The pictures that can have the size; of each other one there is a problem more."""
        items, problems = [], []
        for item in pictures.items:
            try:
                self._scale_for(*images.size(item.lr))
            except _TooFar as error:
                problems.append(str(InputError(f"{item.lr}: {error}")))
                continue
            except InputError:  # told of when it is read
                pass
            items.append(item)
        return replace(pictures, items=items, problems=[*pictures.problems, *problems])

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """See :meth:`solver.sampling.sampler.Sampler.result_size`. Raises InputError if no scale reaches it."""
        self._scale_for(height, width)
        return self._size.of(height, width)

    def to(self, height: int, width: int) -> "Sized":
        """The same with another size, in pixels, for all pictures."""
        return Sized(self._sampler, self._scales, Size(width=width, height=height))

    def enlarge(self, picture: Picture, rounding: str = "truncate") -> Picture:
        """See :meth:`solver.sampling.sampler.Sampler.enlarge`."""
        return self.enlarge_in_bands(picture, rounding).joined()

    def enlarge_in_bands(self, picture: Picture, rounding: str = "truncate") -> Bands:
        """See :meth:`solver.sampling.sampler.Sampler.enlarge_in_bands`."""
        sides = picture.rgb.shape[:2]
        size, scale = self._size.of(*sides), self._scale_for(*sides)
        if scale == 1:
            large = Bands.of(replace(picture, rgb=covered(picture)))
        else:
            large = self._sampler(scale).enlarge_in_bands(picture, rounding)
        bands = large.bands if size == (large.height, large.width) else _shrunk(large, size)
        metadata = picture.metadata.enlarged(*size, size[1] / sides[1])
        return replace(large, height=size[0], width=size[1], bands=bands, metadata=metadata)

    def _scale_for(self, height: int, width: int) -> int:
        """The smallest scale by which a picture becomes large enough, 1 if it is already."""
        wanted = self._size.of(height, width)
        for scale in (1, *self._scales):
            if scale * height >= wanted[0] and scale * width >= wanted[1]:
                return scale
        needed = max(-(-large // small) for large, small in zip(wanted, (height, width)))
        others = f"others, as x{needed}/tcw_sample.py does" if needed <= _LARGEST else "others"
        sizes = f"is {width}x{height}, and would be {wanted[1]}x{wanted[0]}"
        raise _TooFar(f"{sizes}, but these weights enlarge by {self.scale} at most; take {others}, or a smaller size")

    def _sampler(self, scale: int):
        if scale not in self._samplers:
            self._samplers[scale] = self._make(scale)
            self._samplers[scale].budget = self.budget  # one for all
        return self._samplers[scale]


class _TooFar(InputError):
    """A size that no scale reaches."""


def _shrunk(large: Bands, size: tuple[int, int]) -> Iterator[Picture]:
    """A picture in bands, of (height, width) pixels then."""
    stacked = (np.dstack([band.rgb, band.alpha]) if large.alpha else band.rgb for band in large.bands)
    for pixels in bicubic.resized_bands(stacked, (large.height, large.width), size):
        yield Picture(pixels[:, :, :3], pixels[:, :, 3] if large.alpha else None, large.grey)
