"""Pictures that are written as they are made, from top to bottom, so that memory need not hold a whole one."""

import io
import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
from PIL import Image

from .errors import InputError, describe
from .files import written_whole
from .formats import BMP, JPEG, PNG, TIFF, WEBP, fitted
from .metadata import Metadata, as_tiff_tags
from .picture import Bands, Picture

# The longest side that a format can tell; of TIFF it is beyond what anyone has.
_LONGEST = {**dict.fromkeys(PNG + BMP, 2**31 - 1), **dict.fromkeys(JPEG, 65500), **dict.fromkeys(WEBP, 2**14 - 1)}

_TILE = 256  # side of a TIFF tile
_CHUNK = 2**17  # bytes of a PNG that are filtered at a time: their intermediate results stay in cache
_BAND = 2**18  # pixels of other formats that are converted at a time
_SPARE = 2**23  # bytes that any format may take
_XMP = 700  # a TIFF's tag
_LISTS = {34665: "ExifTag", 34853: "GPSTag"}
_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type (PNG specification, 11.2.2)
_DPI = 96, 96  # that a BMP tells if nothing else is known
_INCH = 0.0254  # metres


def write(path: Path, picture: Bands) -> None:
    """Write a picture as its bands are made, in the format of the path's suffix, whole or not at all.

    PNG, TIFF and BMP hold one band at a time in memory, JPEG and WebP the whole picture.

    Raises:
        InputError: if the folder cannot be written or the format cannot hold the picture.
    """
    with written_whole(path) as temporary, open(temporary, "w+b") as file:
        encode(file, picture, Path(path))


def encode(file: BinaryIO, picture: Bands, path: Path) -> None:
    """Write a picture to an open file in the format of a path's suffix.

    PNG and TIFF keep 16 bits, all but JPEG and BMP keep alpha; grey pictures become one-channel files. What else a
    format cannot keep, :func:`dataset.formats.losses` tells.

    Raises:
        InputError: if the format cannot hold the picture; it names the path.
    """
    suffix = path.suffix.lower()
    deep, alpha = picture.dtype == np.uint16, picture.alpha
    picture = fitted(picture, suffix)
    too_long = max(picture.height, picture.width) > _LONGEST.get(suffix, math.inf)
    if too_long or suffix in BMP and _bmp_sizes(picture)[-1] >= 2**32:
        raise InputError(f"{path}: a picture of {picture.width}x{picture.height} pixels does not fit into {suffix}")
    if suffix in PNG:
        _write_png(file, picture)
    elif suffix in TIFF:
        size = picture.height * picture.width * picture.channels * picture.dtype.itemsize
        _write_tiff(file, [picture], size)
    elif suffix in BMP:
        _write_bmp(file, picture)
    else:
        _write_by_pillow(file, picture, path, _rows(picture) if deep or alpha else picture.height)


def encoding_bytes(height: int, width: int, channels: int, dtype: np.dtype, suffix: str) -> int:
    """What :func:`write` takes at its peak, at most, beside the bands that it is given.

    Args:
        channels: 1 or 3, and one more for alpha.
    """
    pixels, suffix, row = height * width, suffix.lower(), width * channels * np.dtype(dtype).itemsize
    if suffix in WEBP:
        return (43 if channels % 2 else 50) * pixels + 5 * _SPARE  # as noise takes; a photograph takes 33
    if suffix in JPEG:
        return (1 if channels < 3 else 4) * pixels + _SPARE
    if suffix in TIFF:
        return (4 if channels % 2 == 0 else 2) * _TILE * row + _SPARE
    return 30 * max(_CHUNK, row) + _SPARE


def _rows(picture: Bands) -> int:
    return max(1, _BAND // picture.width)


def write_pages(path: Path, pictures: Iterable[Picture], size: int) -> None:
    """Write several pictures as the pages of a TIFF, one by one, whole or not at all.

    Args:
        size: about how many bytes they take.

    Raises:
        InputError: if the folder cannot be written.
    """
    with written_whole(path) as temporary, open(temporary, "w+b") as file:
        _write_tiff(file, map(Bands.of, pictures), size)


def _write_tiff(file: BinaryIO, pictures: Iterable[Bands], size: int) -> None:
    import tifffile

    big, first = size > 2**31, {}
    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<") as writer:
        for picture in pictures:
            metadata, shape = picture.metadata, (picture.height, picture.width, picture.channels)
            tags, lists = as_tiff_tags(metadata.exif, big) if metadata.exif and not first else ([], {})
            tags += [(_XMP, 1, len(metadata.xmp), metadata.xmp, True)] if metadata.xmp else []
            # By tifffile's names of them: it writes no number that leads elsewhere. Where to, is set at the end.
            tags += [(_LISTS[tag], 4, 1, 8, True) for tag in lists]
            first = first or lists
            writer.write(
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
                iccprofile=metadata.icc,
                resolution=metadata.dpi,
                resolutionunit="inch" if metadata.dpi else None,
                extratags=tags,
                software=False,
            )
    if first:
        _append_lists(file, first)


def _append_lists(file: BinaryIO, lists: dict) -> None:
    """Write EXIF's lists of tags behind a TIFF's pixels, and lead to them."""
    import tifffile

    file.seek(0)
    tags = tifffile.TiffFile(file).pages[0].tags
    for tag, entries in lists.items():
        place = file.seek(0, io.SEEK_END)
        place += file.write(bytes(place % 2))
        file.write(entries.tobytes(place))
        tags[tag].overwrite(place)


def _tiff_tiles(picture: Bands) -> Iterator[bytes]:
    """The picture in compressed tiles, row by row; those at the edge are filled up with zeros."""
    for rows in _in_rows(picture.pixels(_TILE), _TILE):
        for left in range(0, picture.width, _TILE):
            part = rows[:, left : left + _TILE]
            tile = np.zeros((_TILE, _TILE, picture.channels), picture.dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            tile[:, 1:] -= tile[:, :-1].copy()
            yield _compressed(tile)


def _compressed(tile: np.ndarray) -> bytes:
    compressor = _compressor()
    return compressor.compress(tile) + compressor.flush()


def _compressor():
    """Of differences of photographs, runs alone leave less than zlib's level 3 does, in less than half the time."""
    return zlib.compressobj(strategy=zlib.Z_RLE)


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


def _write_png(file: BinaryIO, picture: Bands) -> None:
    kind = 8 * picture.dtype.itemsize, _PNG_COLOUR[picture.channels]
    header = struct.pack(">IIBBBBB", picture.width, picture.height, *kind, 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    _png_chunk(file, b"IHDR", header)
    for kind, data in png_metadata(picture.metadata):
        _png_chunk(file, kind, data)
    compressor = _compressor()
    for lines in _png_lines(picture):
        _png_chunk(file, b"IDAT", compressor.compress(lines))
    _png_chunk(file, b"IDAT", compressor.flush())
    _png_chunk(file, b"IEND", b"")


def _png_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def png_metadata(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    """Metadata as the chunks before a PNG's pixels, kind and content (its specification, 11.3)."""
    yield from metadata.colours
    if metadata.icc:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)
    if metadata.dpi:
        yield b"pHYs", struct.pack(">IIB", *(round(number / _INCH) for number in metadata.dpi), 1)
    if metadata.exif:
        yield b"eXIf", metadata.exif[6:]
    if metadata.xmp:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp
    for keyword, text in metadata.text:
        if text.isascii():
            yield b"tEXt", f"{keyword}\0{text}".encode()
        else:
            yield b"iTXt", f"{keyword}\0\0\0\0\0{text}".encode(errors="replace")


def _png_lines(picture: Bands) -> Iterator[np.ndarray]:
    """The picture's lines, filtered, some at a time, each with its filter's number before it."""
    step = picture.channels * picture.dtype.itemsize
    above = np.zeros((1, picture.width * step), np.uint8)
    for band in picture.pixels(max(1, _CHUNK // above.size)):
        big_endian = band.astype(picture.dtype.newbyteorder(">"))
        lines = np.concatenate([above, big_endian.reshape(len(band), -1).view(np.uint8)])
        # Of 16 bits, Paeth's filter would save 2 %, and take ten times as long as the others.
        yield filtered(lines, step, paeth=picture.dtype == np.uint8)
        above = lines[-1:]


def filtered(lines: np.ndarray, step: int, paeth: bool = True) -> np.ndarray:
    """Filter the lines of a PNG (its specification, 9.2): each by Sub, Up or Paeth, whichever leaves least.

    Args:
        lines: (n + 1, length) uint8; the first is only the one above.
        step: bytes of a pixel.
        paeth: whether Paeth is tried.

    Returns:
        (n, 1 + length) uint8: the filter's number and the filtered bytes.
    """
    current, up = lines[1:], lines[:-1]
    left, up_left = (np.pad(side, ((0, 0), (step, 0)))[:, :-step] for side in (current, up))
    guesses = [left, up, _paeth(left, up, up_left)] if paeth else [left, up]
    candidates = np.stack([current - guess for guess in guesses])
    cost = abs(candidates.view(np.int8)).view(np.uint8).sum(axis=2, dtype=np.int64)
    best = cost.argmin(axis=0)
    numbers = np.array([1, 2, 4], np.uint8)[best]
    return np.hstack([numbers[:, None], candidates[best, np.arange(len(best))]])


def _paeth(left: np.ndarray, up: np.ndarray, up_left: np.ndarray) -> np.ndarray:
    """Of the three neighbours of each byte the one that is nearest to left + up - up_left."""
    a, b, c = (side.astype(np.int16) for side in (left, up, up_left))
    by_left, by_up, by_both = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    return np.where((by_left <= by_up) & (by_left <= by_both), left, np.where(by_up <= by_both, up, up_left))


def _bmp_sizes(picture: Bands) -> tuple[int, int, int]:
    """Bytes of a BMP: a row's, those before the pixels, and all."""
    row = 4 * math.ceil(picture.channels * picture.width / 4)
    start = 54 + 1024 * (picture.channels == 1)
    return row, start, start + row * picture.height


def _write_bmp(file: BinaryIO, picture: Bands) -> None:
    """The rows of a BMP lie from bottom to top, each filled up to four bytes."""
    channels = picture.channels
    row, start, size = _bmp_sizes(picture)
    shades = 256 * (channels == 1)
    header = (
        40,
        picture.width,
        picture.height,
        1,
        8 * channels,
        0,
        size - start,
        *(round(number / _INCH) for number in picture.metadata.dpi or _DPI),
        *2 * [shades],
    )
    file.write(struct.pack("<2sIIIIiiHHIIiiII", b"BM", size, 0, start, *header))
    file.write(b"".join(bytes([shade, shade, shade, 0]) for shade in range(shades)))
    for band in picture.pixels(_rows(picture)):
        lines = np.zeros((len(band), row), np.uint8)
        for channel in range(channels):  # blue, green, red
            lines[:, channel : channels * picture.width : channels] = band[::-1, :, channels - 1 - channel]
        size -= lines.nbytes
        file.seek(size)
        file.write(lines)


def _write_by_pillow(file: BinaryIO, picture: Bands, path: Path, rows: int) -> None:
    image = _whole(picture, rows)
    kept = {"icc_profile": picture.metadata.icc, "exif": picture.metadata.exif, "xmp": picture.metadata.xmp}
    kept |= {"dpi": picture.metadata.dpi}
    kept = {name: value for name, value in kept.items() if value}
    sink = SimpleNamespace(write=file.write)  # and no more, so that what the system refuses is told by the system
    try:
        if path.suffix.lower() in JPEG:
            image.save(sink, "JPEG", quality=95, subsampling=0, **kept)
        else:
            image.save(sink, "WEBP", lossless=True, **kept)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise InputError(f"{path}: {picture.width}x{picture.height} pixels: {describe(error)}") from None


def _whole(picture: Bands, rows: int) -> Image.Image:
    """The whole picture, as Pillow has it, made of so many rows at a time."""
    image, top = None, 0
    for band in picture.pixels(rows):
        part = Image.fromarray(np.ascontiguousarray(band if band.shape[2] > 1 else band[:, :, 0]))
        if len(band) == picture.height:
            return part
        image = image or Image.new(part.mode, (picture.width, picture.height))
        image.paste(part, (0, top))
        top += len(band)
    return image
