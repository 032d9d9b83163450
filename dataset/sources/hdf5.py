"""Sources that are HDF5 files: of whole pictures, or of patches pair by pair."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import numpy as np

from ..errors import InputError
from ..hyperslabs import LARGEST_CHUNK, ONLY_A_LINK, Hyperslabs, lacking, open_file, picture_sizes, readable
from ..images import MAX_PIXELS
from .base import Read, Source

_LOOKED_AT = 256  # patches of float values, spread over the file
_PIECE = 2**24  # pixels that are read at a time
_BEYOND = 0.5  # of the range that values may lie outside of it: bicubic overshoots


class Hdf5Pictures(Source):
    """Whole pictures, in groups HR, X2, X3, … of uint8 (H, W, 3) data sets "0", "1", ….

    Args:
        path: the file.
        scales: that it must have.

    Raises:
        InputError: if it is missing, truncated or foreign, or lacks a scale.
    """

    def __init__(self, path: Path, scales: tuple[int, ...]) -> None:
        self.path, self.scales = path, scales
        with readable(path), open_file(path) as file:
            self.sizes = picture_sizes(file, path, scales)

    def reader(self) -> Read:
        return Hyperslabs(self.path)

    def readable(self) -> AbstractContextManager:
        return readable(self.path)

    def names(self, numbers: Sequence[int]) -> list[str]:
        with readable(self.path), open_file(self.path) as file:
            return [str(file["HR"][str(number)].attrs.get("name", number)) for number in numbers]

    def pieces(self, group: str) -> Iterator[np.ndarray]:
        with open_file(self.path) as file:
            for index in range(len(self.sizes[group])):
                yield file[group][str(index)][:]


class PatchPairs(Source):
    """Patches in two data sets, ``lr`` and ``hr``: (N, C, h, w), C being 1 or 3, or (N, h, w).

    They are uint8, or float32 or float64 from 0 to 1 or from 0 to 255, which is told by their values. HR's sides are a
    multiple of LR's, which is the scale; or LR is enlarged already, and HR has its size or is the centre of it, what
    valid convolutions leave (Dong et al. 2016, SRCNN, Section 4.1: 33 and 21).

    Args:
        path: the file.
        scales: of which it must have one. If LR is enlarged, nothing but an attribute ``scale`` can tell which.

    Raises:
        InputError: if it is missing, truncated or foreign, or its sizes or values do not fit.
    """

    whole = True

    def __init__(self, path: Path, scales: tuple[int, ...]) -> None:
        self.path = path
        with readable(path), open_file(path) as file:
            shapes = {key: self._shape(file, key) for key in ("lr", "hr")}
            self._types = {key: np.dtype(np.uint8 if file[key].dtype == np.uint8 else np.float32) for key in shapes}
            (count, channels, *lr), (others, same, *hr) = shapes.values()
            if count != others:
                raise InputError(f"{path}: has {count} patches in lr and {others} in hr; give both as many")
            if channels != same:
                raise InputError(f"{path}: has {channels} channels in lr and {same} in hr")
            self.count, self.channels, self._sides = count, channels, {"lr": tuple(lr), "hr": tuple(hr)}
            # Millions of patches have one size, which is kept once.
            self.sizes = {key: np.broadcast_to(sides, (count, 2)) for key, sides in self._sides.items()}
            self.enlarged, made_for = self._relation(file)
            self.scales = tuple(scale for scale in scales if scale in made_for or not made_for)
            if not self.scales:
                told = f"x{', x'.join(map(str, made_for))}, not for x{', x'.join(map(str, scales))}"
                raise InputError(f"{path}: its patches are for {told}; give another --scale, or another file")
            self._peak = self._range(file)

    def groups(self, scale: int) -> tuple[str, str]:
        return "lr", "hr"

    def dtype(self, group: str) -> np.dtype:
        return self._types[group]

    def patches(self, scale: int, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return self._sides["lr"], self._sides["hr"]

    def reader(self) -> Read:
        file = open_file(self.path, rdcc_nbytes=LARGEST_CHUNK)

        sets = {group: file[group].id for group in self._sides}

        def read(group: str, index: int, *_: int) -> np.ndarray:
            data = sets[group]
            patch, place = np.empty((1, *data.shape[1:]), self._types[group]), data.get_space()
            place.select_hyperslab((index, *[0] * (data.rank - 1)), patch.shape)
            data.read(h5py.h5s.create_simple(patch.shape), place, patch)
            return self._taken(group, index, patch)[0]

        return read

    def readable(self) -> AbstractContextManager:
        return readable(self.path)

    def pieces(self, group: str) -> Iterator[np.ndarray]:
        with open_file(self.path, rdcc_nbytes=LARGEST_CHUNK) as file:
            data = file[group]
            step = max(1, _PIECE // int(np.prod(data.shape[1:])))
            if data.chunks:
                step = max(1, step // data.chunks[0]) * data.chunks[0]
            for first in range(0, self.count, step):
                patches = data.astype(self._types[group])[first : first + step]
                yield self._taken(group, first, patches)

    def _taken(self, group: str, first: int, patches: np.ndarray) -> np.ndarray:
        """Patches as the file has them, from number ``first`` on -> (N, h, w, C), float ones from 0 to 1.

        Raises:
            InputError: if a value is no number, or lies far beyond black and white.
        """
        if patches.dtype != np.uint8:
            patches = patches / self._peak
            good = ((patches >= -_BEYOND) & (patches <= 1 + _BEYOND)).reshape(len(patches), -1).all(axis=1)
            if not good.all():
                number = first + int(np.argmin(good))
                what = "has values that are no numbers, or far beyond those of the other patches"
                raise InputError(f"{self.path}: {group}[{number}] {what}; leave it out")
        sides = self._sides[group]
        if self.channels == 1:
            return patches.reshape(-1, *sides, 1)
        return np.ascontiguousarray(patches.transpose(0, 2, 3, 1))

    def _shape(self, file: h5py.File, key: str) -> tuple[int, int, int, int]:
        """Count, channels, height and width of the patches in a data set that is looked at."""
        if key not in file:
            there = ", ".join(sorted(file)) or "nothing"
            raise InputError(f"{self.path}: has no data set {key}, only {there}; pairs of patches are called lr and hr")
        if not isinstance(file.get(key, getlink=True), h5py.HardLink):  # which is not followed: it may lead to a pipe
            raise InputError(f"{self.path}: {key} {ONLY_A_LINK}")
        data, problem = file[key], None
        if not isinstance(data, h5py.Dataset):
            raise InputError(f"{self.path}: {key} is a group; pairs of patches are two data sets, lr and hr")
        if data.dtype.newbyteorder("=") not in (np.uint8, np.float32, np.float64):
            problem = f"is {data.dtype}; patches are uint8, float32 or float64: save them as one of these"
        if data.ndim not in (3, 4) or data.ndim == 4 and data.shape[1] not in (1, 3) or 0 in data.shape:
            problem = problem or f"has the shape {data.shape}; patches are (N, C, h, w), C being 1 or 3, or (N, h, w)"
        if data.shape and np.prod(data.shape[-2:], dtype=float) > MAX_PIXELS:
            problem = problem or f"has patches of more than the {MAX_PIXELS:,} pixels that are accepted"
        if problem := problem or lacking(data.id):
            raise InputError(f"{self.path}: {key} {problem}")
        return data.shape[0], 1 if data.ndim == 3 else data.shape[1], *data.shape[-2:]

    def _relation(self, file: h5py.File) -> tuple[bool, list[int]]:
        """Whether LR is enlarged already, and the scales that the patches are for; none if that is not known."""
        lr, hr = np.array(self._sides["lr"]), np.array(self._sides["hr"])
        if (hr > lr).any() and (hr % lr == 0).all() and len(set(hr // lr)) == 1:
            return False, [int(hr[0] // lr[0])]
        if (hr <= lr).all() and ((lr - hr) % 2 == 0).all():
            told = np.atleast_1d(file.attrs.get("scale", ()))
            return True, told.tolist() if told.dtype.kind in "iu" else []
        both = f"hr has patches of {hr[1]}x{hr[0]} pixels and lr of {lr[1]}x{lr[0]}"
        wanted = "HR's are a multiple of LR's or, LR being enlarged, as large or smaller by an even number"
        raise InputError(f"{self.path}: {both}; {wanted}")

    def _range(self, file: h5py.File) -> float:
        """What float values are to be divided by, so that white is 1."""
        peaks = {key: self._range_of(file, key) for key, dtype in self._types.items() if dtype != np.uint8}
        if len(set(peaks.values())) > 1:
            told = " and ".join(f"{key} has values from 0 to {peak:g}" for key, peak in peaks.items())
            raise InputError(f"{self.path}: {told}; give both the same range")
        return next(iter(peaks.values()), 1.0)

    def _range_of(self, file: h5py.File, key: str) -> float:
        """White in a data set of float values, as some of its patches tell: 1 or 255."""
        least, most = 0.0, 0.0
        for index in np.unique(np.linspace(0, self.count - 1, _LOOKED_AT).astype(int)):
            patch = file[key][index]
            if not np.isfinite(patch).all():
                raise InputError(
                    f"{self.path}: {key}[{index}] has values that are no numbers; leave this patch out of lr and hr"
                )
            least, most = min(least, patch.min()), max(most, patch.max())
        peak = 1.0 if most <= 1 + _BEYOND else 255.0
        if most > (1 + _BEYOND) * peak or least < -_BEYOND * peak:
            values = f"has values from {least:g} to {most:g}"
            raise InputError(f"{self.path}: {key} {values}; those of patches are from 0 to 1, or from 0 to 255")
        return peak
