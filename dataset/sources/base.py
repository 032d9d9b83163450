"""What every source of training patches has, see :mod:`dataset.sources`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from ..parallel import in_order

# A part of a picture: group, number, top, left, height, width -> (height, width, C).
Read = Callable[[str, int, int, int, int, int], np.ndarray]


class Source:
    """Pairs of pictures to cut patches from, or of patches: in a group of HR and one of LR for each scale.

    Attributes:
        path: what holds them, as messages name it.
        scales: that it has; an enlarged one may serve for any.
        sizes: of each group, (count, 2) heights and widths.
        channels: 3 for RGB, 1 for luma as BT.601 has it, 16 for black to 235 for white.
        enlarged: whether LR has been enlarged to HR's size already. HR may then be the centre of it alone.
        whole: whether these are patches of one size, which are taken as they are.
    """

    path: Path
    scales: tuple[int, ...]
    sizes: dict[str, np.ndarray]
    channels = 3
    enlarged = False
    whole = False

    @property
    def made(self) -> bool:
        """Whether these are patches made already, of which no shrunk copies are taken."""
        return self.whole or self.enlarged

    def groups(self, scale: int) -> tuple[str, str]:
        """LR's group at a scale, and HR's."""
        return f"X{scale}", "HR"

    def dtype(self, group: str) -> np.dtype:
        """uint8, 0 to 255, or float32, about 0 to 1."""
        return np.dtype(np.uint8)

    def factor(self, scale: int) -> int:
        """HR pixels along the side of an LR pixel."""
        return 1 if self.enlarged else scale

    def patches(self, scale: int, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Height and width of LR patches whose side is to be ``side``, if they can be cut, and of HR patches."""
        hr = side * self.factor(scale)
        return (side, side), (hr, hr)

    def reader(self) -> Read:
        """A way to parts of the pictures, for one process: what is open must not be shared by two.

        Raises:
            InputError: if there is nothing to read any more.
        """
        raise TypeError(f"{type(self).__name__} has no reader")

    def readable(self) -> AbstractContextManager:
        """Turns whatever a :meth:`reader` raises into one InputError."""
        return nullcontext()

    def names(self, numbers: Sequence[int]) -> list[str]:
        """What the pictures of these numbers are called."""
        return list(map(str, numbers))

    def pieces(self, group: str) -> Iterator[np.ndarray]:
        """All pixels of a group in order, a picture or some patches at a time."""
        read, sizes = self.reader(), self.sizes[group]
        yield from in_order(partial(_all_of, read, group, sizes), range(len(sizes)))


def _all_of(read: Read, group: str, sizes: np.ndarray, index: int) -> np.ndarray:
    return read(group, index, 0, 0, *sizes[index].tolist())
