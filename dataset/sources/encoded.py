"""Sources whose pictures are files, or are as those: read as a whole for each patch, unless they are cached."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from .. import images
from ..errors import InputError
from ..hyperslabs import unmatched
from ..picture import Picture
from .base import Read, Source

_SUFFIXES = ("", *(f"x{scale}" for scale in range(2, 10)))  # of an LR picture's name, as DIV2K has them


class Store(Protocol):
    """Pictures by name.

    Attributes:
        path: what holds them.
        names: of the pictures, without a suffix as .png.
        shapes: (count, 3) heights, widths and channels: 1 if grey, else 3.
    """

    path: Path
    names: list[str]
    shapes: np.ndarray

    def place(self, index: int) -> str:
        """What error messages call a picture."""

    def read(self, index: int) -> Picture:
        """Decode a picture; raises InputError if it cannot be read."""


class Folder:
    """Pictures in a folder, see :class:`Store`.

    Raises:
        InputError: if it is missing or empty, or has two pictures of one name or one that is none.
    """

    def __init__(self, path: Path) -> None:
        files = images.list_images(path, needed=True)
        self.path, self._files = path, [file.name for file in files]
        self.names = [file.stem for file in files]
        self.shapes = np.array([images.shape(file) for file in files])

    def place(self, index: int) -> Path:
        return self.path / self._files[index]

    def read(self, index: int) -> Picture:
        return images.read(self.place(index))


class EncodedPictures(Source):
    """Pictures of one store, or of two whose names pair: HR's, and LR's of the same name or with the scale ("0001x2").

    They are luma if all of them are grey, else RGB. Without LR, there are no groups of it.

    Args:
        stores: HR's, and LR's if there is one.
        scales: of which LR must be one, as its sizes tell. LR of HR's size is enlarged already.

    Raises:
        InputError: if names or sizes do not pair, or are of another scale.
    """

    def __init__(self, stores: Sequence[Store], scales: tuple[int, ...]) -> None:
        hr = stores[0]
        self.path, self.scales = hr.path, scales
        self._stores = {"HR": hr}
        self._numbers = {"HR": _numbers(hr)}
        self.sizes = {"HR": hr.shapes[:, :2]}
        self.channels = max(int(store.shapes[:, 2].max()) for store in stores)
        if len(stores) == 2:
            lr = stores[1]
            numbers = _paired(hr, lr)
            self._take_scale(hr, lr, numbers)
            group = f"X{self.scales[0]}"
            self._stores[group], self.sizes[group] = lr, lr.shapes[numbers, :2]
            self._numbers[group] = numbers

    def groups(self, scale: int) -> tuple[str, str]:
        return f"X{self.scales[0]}" if self.enlarged else f"X{scale}", "HR"

    def reader(self) -> Read:
        @lru_cache(maxsize=2)  # LR's patch and HR's may be of one picture
        def pixels(group: str, index: int) -> np.ndarray:
            store, number = self._stores[group], int(self._numbers[group][index])
            picture = store.read(number)
            rgb = images.to_uint8(picture.rgb)
            height, width = self.sizes[group][index]
            if rgb.shape[:2] != (height, width):
                found = f"has {rgb.shape[1]}x{rgb.shape[0]} pixels, and was to have {width}x{height}"
                raise InputError(f"{store.place(number)}: {found}: it was changed, or is stored turned; save it again")
            if self.channels == 1 and not picture.grey:
                raise InputError(
                    f"{store.place(number)}: has colours, and was to be grey: it was changed; save it again"
                )
            return rgb[:, :, : self.channels]

        return lambda group, index, top, left, height, width: np.ascontiguousarray(
            pixels(group, index)[top : top + height, left : left + width]
        )

    def names(self, numbers: Sequence[int]) -> list[str]:
        return [self._stores["HR"].names[number] for number in numbers]

    def _take_scale(self, hr: Store, lr: Store, numbers: np.ndarray) -> None:
        """Find the scale, or that LR is enlarged, by the first pair; all others must be alike."""
        large, small = hr.shapes[:, :2], lr.shapes[numbers, :2]
        scale = int(large[0, 0] // small[0, 0])
        self.enlarged = scale == 1
        if scale == 0:
            raise InputError(f"{lr.path}: its pictures are larger than those of {hr.path}; give HR first, then LR")
        if scale not in (1, *self.scales):
            scales = ", ".join(f"x{one}" for one in self.scales)
            raise InputError(f"{lr.path}: its pictures are of x{scale}, not of {scales}: give another --scale")
        wrong = unmatched(large, small, scale)
        if len(wrong):
            (height, width), (lr_height, lr_width) = large[wrong[0]], small[wrong[0]]
            both = f"has {lr_width}x{lr_height} pixels, {hr.place(wrong[0])} {width}x{height}"
            raise InputError(f"{lr.place(numbers[wrong[0]])}: {both}, which do not match at scale {scale}")
        if scale > 1:
            self.scales = (scale,)


def _numbers(store: Store) -> np.ndarray:
    """Of each picture of a store; raises InputError if two have one name."""
    first = {}
    for number, name in enumerate(store.names):
        if first.setdefault(name, number) != number:
            raise InputError(f"{store.place(number)}: has the same name as {store.place(first[name])}; rename one")
    return np.arange(len(store.names))


def _paired(hr: Store, lr: Store) -> np.ndarray:
    """For each of HR's pictures the number of LR's.

    Raises:
        InputError: if one has none.
    """
    by_name = dict(zip(lr.names, _numbers(lr)))
    found = [next((by_name[name + end] for end in _SUFFIXES if name + end in by_name), None) for name in hr.names]
    if None in found:
        missing = f"{found.count(None)} of {len(found)} HR pictures, the first of them {hr.place(found.index(None))}"
        raise InputError(f"{lr.path}: has no LR picture for {missing}; names must pair")
    if len(found) < len(lr.names):
        more = lr.place(min(set(range(len(lr.names))) - set(found)))
        raise InputError(
            f"{lr.path}: has {len(lr.names)} pictures for {len(found)} HR pictures, as {more}: names must pair"
        )
    return np.array(found)
