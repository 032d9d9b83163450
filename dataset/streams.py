"""Pictures that are made and written from top to bottom, so that memory never holds a whole one."""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import InputError
from .files import written_whole
from .images import Picture, encode

_TILE = 256  # side of a TIFF tile
_CHUNK = 2**20  # bytes that are filtered at a time: their intermediate results stay in cache
_PNG_LIMIT = 2**31 - 1
_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type (PNG specification, 11.2.2)


@dataclass(frozen=True)
class Bands:
    """A picture as a sequence of bands.

    Attributes:
        height, width: of the whole picture.
        dtype: uint8 or uint16.
        grey: whether it is written as one channel of brightness.
        alpha: whether the bands have alpha.
        bands: its parts from top to bottom, each of full width; to be gone through once.
    """

    height: int
    width: int
    dtype: np.dtype
    grey: bool
    alpha: bool
    bands: Iterator[Picture]

    @property
    def colours(self) -> int:
        # As in images.encode.
        return 1 if self.grey and not (self.alpha and self.dtype == np.uint16) else 3

    @property
    def channels(self) -> int:
        return self.colours + self.alpha

    def pixels(self) -> Iterator[np.ndarray]:
        """The bands as (h, width, channels) arrays."""
        for band in self.bands:
            colour = band.rgb[:, :, : self.colours]
            yield colour if band.alpha is None else np.dstack([colour, band.alpha])

    def joined(self) -> Picture:
        """The whole picture, in memory."""
        bands = list(self.bands)
        alpha = np.concatenate([band.alpha for band in bands]) if self.alpha else None
        return Picture(np.concatenate([band.rgb for band in bands]), alpha, self.grey)


def write(path: Path, picture: Bands) -> None:
    """Write a picture as its bands are made, whole or not at all.

    PNG and TIFF hold one band at a time in memory, other formats the whole picture.

    Raises:
        InputError: if the folder cannot be written or the format cannot hold the picture.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".png" and max(picture.height, picture.width) > _PNG_LIMIT:
        raise InputError(f"{path}: a picture of {picture.width}x{picture.height} pixels does not fit into .png")
    with written_whole(path) as temporary:
        if writer := {".png": _write_png, ".tif": _write_tiff, ".tiff": _write_tiff}.get(suffix):
            writer(temporary, picture)
        else:
            temporary.write_bytes(encode(picture.joined(), suffix))


def _write_tiff(temporary: Path, picture: Bands) -> None:
    import tifffile

    shape = (picture.height, picture.width, picture.channels)
    tifffile.imwrite(
        temporary,
        _tiff_tiles(picture),
        shape=shape if picture.channels > 1 else shape[:2],
        dtype=picture.dtype,
        tile=(_TILE, _TILE),
        photometric="minisblack" if picture.colours == 1 else "rgb",
        planarconfig="contig",
        extrasamples=["unassalpha"] if picture.alpha else None,
        compression="adobe_deflate",
        predictor=True,
        metadata=None,
        bigtiff=math.prod(shape) * picture.dtype.itemsize > 2**31,
    )


def _tiff_tiles(picture: Bands) -> Iterator[np.ndarray]:
    """The picture in tiles, row by row; those at the edge are filled up with zeros."""
    for rows in _in_rows(picture.pixels(), _TILE):
        for left in range(0, picture.width, _TILE):
            part = rows[:, left : left + _TILE]
            tile = np.zeros((_TILE, _TILE, picture.channels), picture.dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile if picture.channels > 1 else tile[:, :, 0]


def _in_rows(bands: Iterator[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """Bands of any height as bands of ``count`` rows, but for the last."""
    waiting, height = [], 0
    for band in bands:
        while height + len(band) >= count:
            part, band = band[: count - height], band[count - height :]
            yield np.concatenate([*waiting, part])
            waiting, height = [], 0
        waiting.append(band)
        height += len(band)
    if height:
        yield np.concatenate(waiting)


def _write_png(temporary: Path, picture: Bands) -> None:
    kind = 8 * picture.dtype.itemsize, _PNG_COLOUR[picture.channels]
    header = struct.pack(">IIBBBBB", picture.width, picture.height, *kind, 0, 0, 0)
    with open(temporary, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        _png_chunk(file, b"IHDR", header)
        # Of filtered photographs it leaves less than level 3 does, in less than half the time.
        compressor = zlib.compressobj(strategy=zlib.Z_RLE)
        for lines in _png_lines(picture):
            _png_chunk(file, b"IDAT", compressor.compress(lines))
        _png_chunk(file, b"IDAT", compressor.flush())
        _png_chunk(file, b"IEND", b"")


def _png_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _png_lines(picture: Bands) -> Iterator[bytes]:
    """The picture's lines, filtered, some at a time, each with its filter's number before it."""
    step = picture.channels * picture.dtype.itemsize
    above = np.zeros((1, picture.width * step), np.uint8)
    count = max(1, _CHUNK // above.size)
    for band in picture.pixels():
        big_endian = band.astype(picture.dtype.newbyteorder(">"))
        lines = np.concatenate([above, big_endian.reshape(len(band), -1).view(np.uint8)])
        for top in range(1, len(lines), count):
            yield filtered(lines[top - 1 : top + count], step).tobytes()
        above = lines[-1:]


def filtered(lines: np.ndarray, step: int) -> np.ndarray:
    """Filter the lines of a PNG (its specification, 9.2): each by Sub, Up or Paeth, whichever leaves least.

    Args:
        lines: (n + 1, length) uint8; the first is only the one above.
        step: bytes of a pixel.

    Returns:
        (n, 1 + length) uint8: the filter's number and the filtered bytes.
    """
    current = lines[1:].astype(np.int16)
    up = lines[:-1].astype(np.int16)
    left, up_left = (np.pad(side, ((0, 0), (step, 0)))[:, :-step] for side in (current, up))
    by_left, by_up, by_both = abs(up - up_left), abs(left - up_left), abs(left + up - 2 * up_left)
    paeth = np.where((by_left <= by_up) & (by_left <= by_both), left, np.where(by_up <= by_both, up, up_left))
    candidates = np.stack([(current - guess).astype(np.uint8) for guess in (left, up, paeth)])
    cost = abs(candidates.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
    best = cost.argmin(axis=0)
    numbers = np.array([1, 2, 4], np.uint8)[best]
    return np.hstack([numbers[:, None], candidates[best, np.arange(len(best))]])
