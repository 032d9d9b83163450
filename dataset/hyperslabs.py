"""Parts of the pictures in an HDF5 file, read as fast as the file allows.

HDF5 takes longer to find a patch's pixels than to read them. Pictures that are neither compressed nor
recoded otherwise lie in the file as they are, whole or cut into chunks: of those, HDF5 only tells where,
once, and the rows that a patch needs come by plain reads. Beside slices of h5py data sets that are kept open,
training gets 1.3 times as many patches so (x2, batches of 64 of 64x64, in chunks as div2h5.py writes them), and
1.6 times as many of 24x24 in batches of 16 (2 cores of a Xeon with AMX, family 6 model 207).

The file is read and not mapped into memory: mapped pages would count as the process's own, and a file that is
cut short under way would kill the process.
"""

import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from .errors import InputError, describe
from .files import opened
from .images import MAX_PIXELS

# Of each picture that HDF5 has to read, it keeps the last chunks (one of ours has 48 KiB), and so many
# pictures are kept open. Together they bound the memory of a process (64 MiB), whatever the file's size.
CHUNK_CACHE = 128 * 1024
OPEN_PICTURES = 512

LARGEST_CHUNK = 2**26  # bytes; a compressed one is made anew for each patch
ONLY_A_LINK = "is only a link; pictures of other files are not read"


class Tiles(NamedTuple):
    """Where a picture's pixels are in the file: cut into tiles of one size, those at the edge padded to it.

    Attributes:
        height, width: of a tile in pixels.
        offsets: first byte of each tile in the file, by its row and column.
    """

    height: int
    width: int
    offsets: list[list[int]]


class Hyperslabs:
    """Reads rectangles of pictures, for one process: an open HDF5 file must not be shared by two.

    Args:
        path: an HDF5 file with groups of uint8 (H, W, 3) data sets "0", "1", ….

    Raises:
        OSError: if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_file(path, rdcc_nbytes=CHUNK_CACHE)
        self._bytes = opened(path)
        self._tiles = lru_cache(maxsize=None)(self._find)
        self._picture = lru_cache(OPEN_PICTURES)(self._open)

    def __call__(self, group: str, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A rectangle of a picture, (height, width, 3) uint8.

        Raises:
            OSError, RuntimeError: if the file can no longer be read.
        """
        part = np.empty((height, width, 3), np.uint8)
        tiles = self._tiles(group, index)
        if tiles is None:
            data = self._picture(group, index)
            place = data.get_space()  # one for each call, which may be in a thread
            place.select_hyperslab((top, left, 0), part.shape)
            data.read(h5py.h5s.create_simple(part.shape), place, part)
            return part
        for row, rows, down in _parts(top, height, tiles.height):
            for column, columns, right in _parts(left, width, tiles.width):
                part[down, right] = self._read_rows(tiles, row, column, rows)[:, columns]
        return part

    def _read_rows(self, tiles: Tiles, row: int, column: int, rows: slice) -> np.ndarray:
        """Some rows of a tile, (rows, tile's width, 3)."""
        shape = rows.stop - rows.start, tiles.width, 3
        start = tiles.offsets[row][column] + 3 * tiles.width * rows.start
        pixels = os.pread(self._bytes.fileno(), math.prod(shape), start)
        if len(pixels) < math.prod(shape):
            raise OSError("it has become shorter")
        return np.frombuffer(pixels, np.uint8).reshape(shape)

    def _open(self, group: str, index: int) -> h5py.h5d.DatasetID:
        return h5py.h5d.open(self._file[group].id, str(index).encode())

    def _find(self, group: str, index: int) -> Tiles | None:
        """The tiles of a picture, or None if only HDF5 can read it."""
        data = self._open(group, index)
        made = data.get_create_plist()
        # HDF5 does not count the bytes of a user block.
        if self._file.userblock_size or made.get_nfilters() or made.get_external_count():
            return None
        height, width, _ = data.shape
        if made.get_layout() == h5py.h5d.CONTIGUOUS:
            down, right, offsets = height, width, [[data.get_offset()]]
        elif made.get_layout() == h5py.h5d.CHUNKED and made.get_chunk()[2] == 3:
            down, right, _ = made.get_chunk()
            corners = [[(top, left, 0) for left in range(0, width, right)] for top in range(0, height, down)]
            offsets = [[data.get_chunk_info_by_coord(corner).byte_offset for corner in row] for row in corners]
        else:
            return None
        # What was never written is not in the file.
        return None if None in itertools.chain(*offsets) else Tiles(down, right, offsets)


def _parts(start: int, length: int, tile: int) -> Iterator[tuple[int, slice, slice]]:
    """Cut some pixels of a row into those of each tile: its number, where they are in it, and which of them."""
    for number in range(start // tile, (start + length - 1) // tile + 1):
        first, last = max(start, number * tile), min(start + length, (number + 1) * tile)
        yield (number, slice(first - number * tile, last - number * tile), slice(first - start, last - start))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns whatever h5py raises on a bad file into one :class:`InputError`."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = f"not a readable HDF5 file (truncated, or of another kind): {describe(error)}"
        raise InputError(f"{path}: {reason}") from None


def open_file(path: Path, **options) -> h5py.File:
    """Open an HDF5 file to read.

    Raises:
        InputError: if there is no such file, or it is no regular one: HDF5 would wait for a pipe.
        OSError: if it is of another kind.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such file; make it with dataset/div2h5.py")
    opened(path).close()
    return h5py.File(path, "r", **options)


def picture_sizes(file: h5py.File, path: Path, scales: tuple[int, ...]) -> dict[str, np.ndarray]:
    """(count, 2) heights and widths of the pictures in HR and in each scale's group, checked.

    Raises:
        InputError: if a group is missing, has something else in it, or does not match HR.
    """
    groups = ["HR", *(f"X{scale}" for scale in scales)]
    for group in groups:
        link = file.get(group, getlink=True)
        if not isinstance(link, h5py.HardLink) or not isinstance(file.get(group), h5py.Group):
            there = ", ".join(sorted(file)) or "nothing"
            raise InputError(f"{path}: has no group {group}, only {there}; make the file with dataset/div2h5.py")
    sizes = {group: _group_sizes(file[group], path) for group in groups}
    hr = sizes["HR"]
    for scale in scales:
        lr = sizes[f"X{scale}"]
        if len(lr) != len(hr):
            raise InputError(f"{path}: has {len(hr)} pictures in HR and {len(lr)} in X{scale}")
        wrong = unmatched(hr, lr, scale)
        if len(wrong):
            (height, width), (lr_height, lr_width) = hr[wrong[0]], lr[wrong[0]]
            both = f"{width}x{height} pixels in HR and {lr_width}x{lr_height} in X{scale}"
            raise InputError(f"{path}: picture {wrong[0]} has {both}, which do not match")
    return sizes


def unmatched(hr: np.ndarray, lr: np.ndarray, scale: int) -> np.ndarray:
    """Numbers of the pairs whose sizes, (count, 2) each, are not of this scale: less than an LR pixel may be left."""
    rest = hr - scale * lr
    return np.flatnonzero(((rest < 0) | (rest >= scale)).any(axis=1))


def _group_sizes(group: h5py.Group, path: Path) -> np.ndarray:
    sizes, name = np.empty((len(group), 2), np.int64), group.name[1:]
    for index in range(len(group)):
        if str(index) not in group:
            raise InputError(f"{path}: {name} has {len(group)} entries, but none named {index}")
        if problem := _problem(group, str(index).encode()):
            raise InputError(f"{path}: {name}/{index} {problem}")
        sizes[index] = h5py.h5d.open(group.id, str(index).encode()).shape[:2]
    if not len(sizes):
        raise InputError(f"{path}: has no pictures in {name}")
    return sizes


def _problem(group: h5py.Group, name: bytes) -> str | None:
    """Why an entry of a group is no picture whose pixels are all in this file, and soon read; None if it is one."""
    if group.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        return ONLY_A_LINK
    data = h5py.h5d.open(group.id, name)
    if data.rank != 3 or data.shape[2] != 3 or data.dtype != np.uint8:
        return f"is no RGB picture of 8 bits, but {data.dtype} of shape {data.shape}"
    if math.prod(data.shape[:2]) > MAX_PIXELS:
        return f"declares {data.shape[1]}x{data.shape[0]} pixels, more than the {MAX_PIXELS:,} that are accepted"
    return lacking(data)


def lacking(data: h5py.h5d.DatasetID) -> str | None:
    """Why a data set's values are not all in its file, and soon read; None if they are."""
    made = data.get_create_plist()
    layout = made.get_layout()
    if made.get_external_count() or layout == h5py.h5d.VIRTUAL:
        return "has its pixels in another file; copy them into this one"
    chunks = 1
    if layout == h5py.h5d.CHUNKED:
        size = math.prod(made.get_chunk()) * data.dtype.itemsize
        if size > LARGEST_CHUNK:
            return f"has chunks of {size:,} bytes, of which each patch would read one"
        chunks = math.prod(-(-side // chunk) for side, chunk in zip(data.shape, made.get_chunk()))
    stored = data.get_num_chunks() if layout == h5py.h5d.CHUNKED else int(data.get_storage_size() > 0)
    return f"has pixels that were never written ({stored} of its {chunks} parts are there)" if stored < chunks else None
