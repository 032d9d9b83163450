"""TIFF files: which of their many kinds are understood, and the samples of those that Pillow does not read as meant.

Only the tags that make the pixels are looked at, so damaged metadata do no harm; and no more is read or inflated than
a picture of this size can be. What a library is to unpack, it gets as a file of these tags alone.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import BinaryIO

import numpy as np
from PIL import Image

from .containers import BAND_BYTES, check_size, file_size, read_at
from .picture import by_opencv, in_rows

_TRUNCATED = "image file is truncated"


class Tag(IntEnum):
    """The tags that make the pixels (TIFF 6.0 and its supplements)."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    PACKING = 259
    COLOURS = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    STRIP_ROWS = 278
    STRIP_BYTES = 279
    PLANES = 284
    FAX_3 = 292
    FAX_4 = 293
    PREDICTOR = 317
    PALETTE = 320
    TILE_COLUMNS = 322
    TILE_ROWS = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    INKS = 332
    EXTRA = 338
    FORMAT = 339
    JPEG_TABLES = 347
    YCC_WEIGHTS = 529
    YCC_SUBSAMPLING = 530
    YCC_POSITION = 531
    YCC_RANGE = 532


_TAGS = frozenset(Tag)
_STRIPS, _TILES = (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES), (Tag.TILE_OFFSETS, Tag.TILE_BYTES)
_MOST_TAGS, _MOST_BYTES = 4096, 2**24  # of a list, and of one tag's values
_MOST_PAGES = 2**16
_SUBFILE = 254  # the tag that tells smaller copies of a picture
# The types of tags, as NumPy's; a fraction as one number.
_TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u8", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i8", 11: "f4", 12: "f8"}
_TYPES |= {13: "u4", 16: "u8", 17: "i8", 18: "u8"}

_WHITE_IS_0, _BLACK_IS_0, _RGB, _PALETTE, _CMYK, _YCC, _LAB = 0, 1, 2, 3, 5, 6, 8
_CHANNELS = {_WHITE_IS_0: 1, _BLACK_IS_0: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCC: 3, _LAB: 3}
_PLAIN, _LZW, _JPEG, _DEFLATE, _PACK_BITS = 1, 5, 7, (8, 32946), 32773
_DIFFERENCES = 2  # a predictor
# What Pillow unpacks, and what of it may be of differences.
_PACKINGS = {_PLAIN: "uncompressed", 2: "CCITT", 3: "fax 3", 4: "fax 4", _LZW: "LZW", _JPEG: "JPEG", 8: "deflate"}
_PACKINGS |= {_PACK_BITS: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "Zstandard"}
_OF_DIFFERENCES = (_LZW, *_DEFLATE, 34925, 50000)
_PREMULTIPLIED, _UNASSOCIATED, _CORELDRAW = 1, 2, 999  # kinds of alpha

_COLOUR_NAMES = {0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 4: "a mask", 5: "inks", 6: "YCbCr", 8: "CIELab"}
_NUMBER_NAMES = {1: "unsigned", 2: "signed", 3: "floating point", 5: "complex", 6: "complex"}


def look(file: BinaryIO, page: int = 0) -> "Tiff | None":
    """A picture of a file, counted from 0; None if it is no TIFF. Raises as :class:`Tiff`."""
    start = read_at(file, 0, 4)
    return Tiff(file, page) if start[:2] in (b"II", b"MM") and sorted(start[2:]) in ([0, 42], [0, 43]) else None


class Tiff:
    """A picture of a TIFF file, counted from 0.

    Attributes:
        height, width: as stored.
        bits: of a sample.
        orientation: as EXIF's.
        grey: whether it is one channel of brightness.
        alpha: which sample is alpha, or None.
        sampled: whether :meth:`fill` decodes it; if not, Pillow does, given :meth:`rebuilt`.
        damaged: whether there are tags that cannot be read.
        pages: how many pictures the file has, without thumbnails and the like.
        head, place: the file's beginning, and where the picture's tags are listed.

    Raises:
        ValueError: if it is of a kind that is not understood, or what makes its pixels is damaged.
    """

    def __init__(self, file: BinaryIO, page: int = 0) -> None:
        self._file, self._page = file, page
        self._tags: dict[int, tuple[int, int, bytes]] = {}  # type, count, values
        try:
            self._read_tags()
            self._interpret()
            understood = self._is_understood()
            self._find_segments()
        except (ArithmeticError, LookupError, TypeError, ValueError, struct.error):
            raise ValueError("what it says of its pixels is missing or damaged") from None
        if not understood:
            raise ValueError(self.refusal)
        check_size(self._rows * self._columns, self.height, self.width)
        check_size(self._stored, self.height, self.width)

    @property
    def refusal(self) -> str:
        """Of what kind it is, and that it is not understood."""
        bits = "/".join(map(str, sorted(self._depths)))
        numbers = "/".join(_NUMBER_NAMES.get(kind, "unknown") for kind in sorted(self._formats))
        colours = _COLOUR_NAMES.get(self._colours, f"colours of kind {self._colours}")
        apart = " apart" if self._apart else ""
        packing = _PACKINGS.get(self._packing, f"compression {self._packing}")
        kind = f"{bits} bits {numbers}, {colours}, {self._samples} channels{apart}, {packing}"
        return f"TIFF of this kind is not supported ({kind}); save it as grey or RGB of 8 or 16 bits unsigned"

    @property
    def held_bytes(self) -> int:
        """What the decoded picture takes."""
        return self.height * self.width * (3 + (self.alpha is not None)) * (self.bits // 16 + 1)

    @property
    def decoding_bytes(self) -> int:
        """What decoding takes at its peak, the picture included."""
        pixels, samples = self.height * self.width, 1 if self._apart else self._samples
        segment = math.ceil(self._rows * self._columns * samples * self.bits / 8)
        if self.sampled and self._inflates:
            copies = 0 if self._packing == _PLAIN else 3 if self._predictor == _DIFFERENCES else 2
            return self.held_bytes + copies * segment + BAND_BYTES
        unpacked = pixels * (2 * samples if self.sampled else 1 if self._samples == 1 else 4)
        if self.sampled:
            return self._stored + segment + unpacked + self.held_bytes + BAND_BYTES
        return unpacked + max(self._stored + segment, self.held_bytes) + BAND_BYTES

    def fill(self, rgb: np.ndarray, alpha: np.ndarray | None) -> None:
        """Decode into a picture's arrays, of which these are views as the rows lie in the file."""
        for sample, top, left, block in self._blocks():
            block = block[: self.height - top, : self.width - left]
            rows, columns = slice(top, top + len(block)), slice(left, left + block.shape[1])
            if sample < self._channels:
                colours = block[:, :, : self._channels - sample]
                channels = slice(None) if self.grey else slice(sample, sample + colours.shape[2])
                rgb[rows, columns, channels] = ~colours if self._colours == _WHITE_IS_0 else colours
            if alpha is not None and 0 <= self.alpha - sample < block.shape[2]:
                alpha[rows, columns] = block[:, :, self.alpha - sample]
        if alpha is not None and self._extra[self.alpha - self._channels] == _PREMULTIPLIED:
            for rows in in_rows(self.height, self.width):
                rgb[rows] = _divided(rgb[rows], alpha[rows, :, None])

    def rebuilt(self, plane: int | None = None) -> io.BytesIO:
        """The picture as a file with nothing else in it.

        Args:
            plane: of channels that lie apart, this one alone.
        """
        data, places, lengths = io.BytesIO(), [], []
        data.seek(8)
        for sample, *_, offset, length in self._segments():
            if plane in (None, sample):
                places.append(data.tell())
                lengths.append(data.write(self._segment(offset, length)))
        changed = {self._offsets: places, self._lengths: lengths}
        if self.sampled:  # what the samples mean, `fill` sees to
            samples = self._samples if plane is None else 1
            changed |= {Tag.COLOURS: [_BLACK_IS_0 if samples == 1 else _RGB], Tag.BITS: [self.bits] * samples}
            changed |= {Tag.SAMPLES: [samples], Tag.PLANES: [1], Tag.EXTRA: [_UNASSOCIATED] * (samples == 4)}
        tags = dict(self._tags)
        for tag, numbers in changed.items():
            tags[tag] = (4, len(numbers), struct.pack(f"{self._order}{len(numbers)}I", *numbers))
        if self._colours == _PALETTE and (palette := self._numbers(Tag.PALETTE)).max() < 256:  # of 8 bits, not of 16
            tags[Tag.PALETTE] = (3, len(palette), (257 * palette.astype(f"{self._order}u2")).tobytes())
        entries = b""
        for tag, (kind, count, values) in sorted(tags.items()):
            if len(values) > 4:
                place = data.tell()
                data.write(values)
                values = struct.pack(f"{self._order}I", place)
            if values and tag not in (Tag.ORIENTATION, Tag.FORMAT):
                entries += struct.pack(f"{self._order}HHI4s", tag, kind, count, values)
        place = data.tell()
        data.write(struct.pack(f"{self._order}H", len(entries) // 12) + entries + bytes(4))
        data.seek(0)
        head = {"<": b"II", ">": b"MM"}[self._order]
        data.write(head + struct.pack(f"{self._order}HI", 42, place))
        data.seek(0)
        return data

    def _read_tags(self) -> None:
        head = read_at(self._file, 0, 16)
        self.head = head if 43 in head[2:4] else head[:8]
        self._order, self._endian = ("<", "little") if head.startswith(b"II") else (">", "big")
        self._forms = ("Q", "HHQ8s", "Q") if len(self.head) == 16 else ("H", "HHI4s", "I")
        link = self._forms[2]
        (offset,) = struct.unpack_from(self._order + link, head, len(self.head) // 2)
        places = self._places(offset)
        self.pages, self.place = len(places), places[self._page]
        number, entries, _ = self._directory(self.place)
        self.damaged = len(entries) < number
        for tag, kind, number, values in entries:
            length = number * np.dtype(_TYPES.get(kind, "V")).itemsize
            if length > len(values):
                (place,) = struct.unpack(self._order + link, values)
                self.damaged |= place + length > file_size(self._file)
                values = read_at(self._file, place, length) if tag in _TAGS and length <= _MOST_BYTES else b""
                if tag in _TAGS - {Tag.ORIENTATION} and len(values) < length:
                    raise ValueError
            if tag in _TAGS:
                self._tags.setdefault(tag, (kind, number, values[:length]))
            self.damaged |= kind not in _TYPES

    def _directory(self, offset: int) -> tuple[int, list[tuple], int]:
        """How many tags are listed at a place, those that can be read, and where the next list is, or 0."""
        count, entry, link = self._forms
        (number,) = self._unpack(count, offset)
        start, size = offset + struct.calcsize(f"={count}"), struct.calcsize(f"={entry}")
        following = read_at(self._file, start + size * number, struct.calcsize(f"={link}"))
        listed = read_at(self._file, start, size * min(number, _MOST_TAGS))
        entries = struct.iter_unpack(self._order + entry, listed[: len(listed) // size * size])
        return number, list(entries), int.from_bytes(following, self._endian)

    def _places(self, offset: int) -> list[int]:
        """Where the lists of tags of all pictures are, without those of smaller copies (TIFF 6.0, NewSubfileType)."""
        places, seen = [], {0}
        while offset not in seen and len(seen) < _MOST_PAGES:
            seen.add(offset)
            try:
                _, entries, following = self._directory(offset)
            except struct.error:  # it is cut off
                break
            smaller = any(
                tag == _SUBFILE and int.from_bytes(values[:4], self._endian) & 1 for tag, *_, values in entries
            )
            if not (places and smaller):
                places.append(offset)
            offset = following
        return places

    def _unpack(self, form: str, offset: int) -> tuple:
        return struct.unpack(self._order + form, read_at(self._file, offset, struct.calcsize(f"={form}")))

    def _numbers(self, tag: Tag, *default: int) -> np.ndarray:
        if tag not in self._tags and default:
            return np.array(default)
        kind, count, values = self._tags[tag]
        return np.frombuffer(values, self._order + _TYPES[kind], count)

    def _number(self, tag: Tag, *default: int) -> int:
        return int(self._numbers(tag, *default)[0])

    def _interpret(self) -> None:
        self.height, self.width = self._number(Tag.HEIGHT), self._number(Tag.WIDTH)
        self._colours = self._number(Tag.COLOURS)
        self._packing = self._number(Tag.PACKING, _PLAIN)
        self._samples = self._number(Tag.SAMPLES, 1)
        self._apart = self._samples > 1 and self._number(Tag.PLANES, 1) == 2
        self._formats = set(self._numbers(Tag.FORMAT, 1)[: self._samples].tolist())
        self._depths = set(self._numbers(Tag.BITS, 1)[: self._samples].tolist())
        self.bits = max(self._depths)
        self.grey = self._colours in (_WHITE_IS_0, _BLACK_IS_0)
        self.orientation = 1
        try:
            self.orientation = self._number(Tag.ORIENTATION, 1)
        except (LookupError, ValueError):
            self.damaged = True

        self._channels = _CHANNELS.get(self._colours, self._samples)
        beside = max(0, self._samples - self._channels)
        told = self._numbers(Tag.EXTRA, _UNASSOCIATED).tolist()  # which many programs forget
        self._extra = told[:beside]
        kinds = (_PREMULTIPLIED, _UNASSOCIATED, _CORELDRAW)
        self.alpha = next((n for n, kind in enumerate(self._extra, self._channels) if kind in kinds), None)

        self._predictor = self._number(Tag.PREDICTOR, 1)
        simple = self._number(Tag.FILL_ORDER, 1) == 1 and self._predictor <= _DIFFERENCES
        self._inflates = self._packing in (_PLAIN, *_DEFLATE) and simple
        whole = self.bits == 16 or self.bits == 8 and (self._inflates or self._apart)
        self.sampled = self._colours <= _RGB and whole

    def _find_segments(self) -> None:
        self._tiled = Tag.TILE_OFFSETS in self._tags
        self._offsets, self._lengths = _TILES if self._tiled else _STRIPS
        self._rows, self._columns = min(self._number(Tag.STRIP_ROWS, self.height), self.height), self.width
        if self._tiled:
            self._rows, self._columns = self._number(Tag.TILE_ROWS), self._number(Tag.TILE_COLUMNS)
        number = math.ceil(self.height / self._rows) * math.ceil(self.width / self._columns)
        number *= self._samples if self._apart else 1
        offsets = self._numbers(self._offsets)[:number]
        if not number or len(offsets) < number or offsets.min() < 8:
            raise ValueError
        self._stored = sum(length for *_, length in self._segments())

    def _is_understood(self) -> bool:
        """Whether it comes out as it is meant; where Pillow decodes it, Pillow has the last word."""
        if len(self._depths) > 1 or self._formats != {1} or self._samples != self._channels + len(self._extra):
            return False
        if self.grey and self._extra and Tag.EXTRA not in self._tags:
            return False
        if self._packing not in _PACKINGS or self._predictor not in (1, _DIFFERENCES):
            return False
        if self._predictor == _DIFFERENCES and self._packing not in _OF_DIFFERENCES:
            return False
        if self.sampled:
            unpacked = self._inflates or self.bits == 8 or self._packing in (_PLAIN, _LZW, _PACK_BITS)
            together = self._inflates or self._apart or self._samples in (1, 3, 4)
            odd = self._colours == _WHITE_IS_0 and _PREMULTIPLIED in self._extra
            return unpacked and together and not odd and (self._samples <= 2 or not self.grey)
        if self.bits > 8:
            return False
        if self._colours == _CMYK:
            return self._number(Tag.INKS, 1) == 1
        if self._colours == _YCC and self._packing != _JPEG:
            return self._packing != _PLAIN and Tag.YCC_SUBSAMPLING in self._tags  # which programs forget
        return self._colours in _CHANNELS

    def _segments(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        """Strips or tiles: the sample each begins with, top, left, rows, and where its bytes are and how many."""
        offsets, lengths = self._numbers(self._offsets), self._tags.get(self._lengths) and self._numbers(self._lengths)
        channels = 1 if self._apart else self._samples
        row = math.ceil(self._columns * self.bits * channels / 8)
        index = 0
        for sample in range(self._samples if self._apart else 1):
            for top in range(0, self.height, self._rows):
                rows = self._rows if self._tiled else min(self._rows, self.height - top)
                for left in range(0, self.width, self._columns):
                    length = row * rows if self._packing == _PLAIN else int(lengths[index])
                    yield sample, top, left, rows, int(offsets[index]), length
                    index += 1

    def _segment(self, offset: int, length: int) -> bytes:
        data = read_at(self._file, offset, length)
        if len(data) < length:
            raise OSError(_TRUNCATED)
        return data

    def _blocks(self) -> Iterator[tuple[int, int, int, np.ndarray]]:
        """Samples, (rows, columns, channels) of a native type: which is the first, top and left."""
        channels = 1 if self._apart else self._samples
        if not self._inflates:
            for sample in range(self._samples if self._apart else 1):
                for top, block in self._unpacked(sample if self._apart else None):
                    yield sample, top, 0, block
            return
        dtype = np.dtype(f"{self._order}u{self.bits // 8}")
        for sample, top, left, rows, offset, length in self._segments():
            row = self._columns * channels * dtype.itemsize
            if self._packing == _PLAIN:
                for part in in_rows(rows, self._columns):
                    data = self._segment(offset + row * part.start, row * (part.stop - part.start))
                    yield (
                        sample,
                        top + part.start,
                        left,
                        np.frombuffer(data, dtype).reshape(-1, self._columns, channels),
                    )
                continue
            # One byte more than there are makes zlib go on to their checksum.
            data = zlib.decompressobj().decompress(self._segment(offset, length), row * rows + 1)
            if len(data) < row * rows:
                raise OSError(_TRUNCATED)
            block = np.frombuffer(data, dtype, row * rows // dtype.itemsize).reshape(rows, self._columns, channels)
            if self._predictor == _DIFFERENCES:
                block = np.cumsum(block, axis=1, dtype=dtype.newbyteorder("="))
            yield sample, top, left, block

    def _unpacked(self, plane: int | None) -> Iterator[tuple[int, np.ndarray]]:
        """Samples that a library unpacks, and where they begin."""
        data = self.rebuilt(plane)
        if self.bits == 16:
            yield from by_opencv(data)
        else:
            with Image.open(data, formats=("TIFF",)) as image:
                yield 0, np.asarray(image)[:, :, None]


def _divided(premultiplied: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours without the alpha that they were multiplied by, rounded as Pillow does."""
    peak = np.iinfo(alpha.dtype).max
    divided = np.minimum(premultiplied.astype(np.uint32) * peak // np.maximum(alpha, 1), peak)
    return np.where(alpha == 0, premultiplied, divided)
