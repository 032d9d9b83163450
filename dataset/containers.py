"""What a PNG, JPEG, BMP or WebP file is, by a look at its header: its size, and which of its bytes make the pixels.

A decoder is only let at a file that is no larger than its picture can be, because some read all of it, whatever it is.
And a picture is no worse for damaged metadata: the decoder that gives up on them is given the file without them.
"""

import io
import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

_SPARE = 2**26  # bytes that a file may have beyond what its pixels take uncompressed: metadata, a film, more pictures
_PIXEL = 8  # bytes that a pixel takes uncompressed, at most: four channels of 16 bits
BAND_BYTES = 2**24  # that are converted at a time, at most, in all their forms
_STEPS = 2**20  # chunks, segments and pieces of junk that are looked at

_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
# What tells which colours the numbers are, and how many bytes each has (PNG specification, 11.3.2).
_PNG_COLOURS = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_BLOCK = 2**18  # bytes that are inflated at a time
_MOST_OF_A_BYTE = 512  # pixels that a byte of a packed BMP may stand for: they are decoded one by one
_WEBP_PIXELS = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF")
_WEBP_METADATA = 0x20 | 0x08 | 0x04  # VP8X's flags of a colour profile, EXIF and XMP
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


@dataclass
class Container:
    """A picture's file.

    Attributes:
        format: Pillow's name of it.
        height, width: as stored; 0 if the header does not tell.
        bits: of a channel.
        channels: of the file, or as many as its palette or its transparency makes of them.
        alpha: whether some of it may be transparent.
        pieces: (offset, length) of the parts that make the pixels.
        beside: how many bytes of metadata there are.
        exif: EXIF as the file has it, or None.
        key: the content of a PNG's tRNS, or None.
        colours: the whole ones of a PNG's chunks that tell which colours its numbers are, as (kind, content).
        size: of the file.
        stored: bytes a pixel that Pillow's picture takes.
        working: bytes a pixel that its decoder takes meanwhile.
        peak: the number that is white, of 16 bits.
    """

    format: str
    height: int = 0
    width: int = 0
    bits: int = 8
    channels: int = 3
    alpha: bool = False
    pieces: list[tuple[int, int]] = field(default_factory=list)
    beside: int = 0
    exif: bytes | None = None
    key: bytes | None = None
    colours: tuple[tuple[bytes, bytes], ...] = ()
    size: int = 0
    stored: float = 4
    working: float = 0
    peak: int = 65535

    @property
    def held_bytes(self) -> int:
        """What the decoded picture takes, at most."""
        return self.height * self.width * (3 + self.alpha) * (self.bits // 16 + 1)

    @property
    def decoding_bytes(self) -> int:
        """What decoding takes at its peak, the picture included."""
        pixels, copies = self.height * self.width, (self.beside > 0) + 2 * (self.format == "WEBP")
        if self.bits == 16:  # Pillow has the file first, then OpenCV
            return self.size + int(pixels * max(self.stored, 2 * self.channels)) + self.held_bytes + BAND_BYTES
        decoded = max(int(pixels * self.working), self.held_bytes)
        return copies * self.size + int(pixels * self.stored) + decoded + BAND_BYTES

    def pixels(self, file: BinaryIO) -> io.BytesIO:
        """The file without its metadata."""
        data = io.BytesIO()
        for offset, length in self.pieces:
            if data.write(read_at(file, offset, length)) < length and self.format == "PNG":
                raise OSError("image file is truncated")  # what is written next would be taken for the rest
        if self.format == "PNG":
            data.write(_PNG_END)
        if self.format == "WEBP":
            view = data.getbuffer()
            view[4:8] = struct.pack("<I", len(view) - 8)
            if view[12:16] == b"VP8X":
                view[20] &= ~_WEBP_METADATA
        data.seek(0)
        return data


def has_all_lines(file: BinaryIO) -> bool:
    """Whether the data of a PNG file are inflated to all of its lines: Pillow makes up those that lack."""
    width, height, bits, colours, *_, passes = struct.unpack(">IIBBBBB", read_at(file, 16, 13))
    bits *= _PNG_CHANNELS[colours]
    lines = [(width, height)]
    if passes:  # Adam7 (PNG specification, 8.2)
        steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        lines = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in steps]
    missing = sum((1 + -(-w * bits // 8)) * h for w, h in lines if w > 0 and h > 0)
    inflate, place = zlib.decompressobj(), 8
    while missing > 0 and len(head := read_at(file, place, 8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        for offset in range(place + 8, place + 8 + length if kind == b"IDAT" else 0, _BLOCK):
            data = read_at(file, offset, min(_BLOCK, place + 8 + length - offset))
            while missing > 0 and data and not inflate.eof:
                missing -= len(inflate.decompress(data, _BLOCK))
                data = inflate.unconsumed_tail
        place += 12 + length
    return missing <= 0


def look(file: BinaryIO) -> Container | None:
    """What a file is; None if it is none of the four.

    Raises:
        ValueError: if its header is cut off, or the file larger than its picture can be.
    """
    start = read_at(file, 0, 64)
    kinds = {b"\x89PNG\r\n\x1a\n": _png, b"\xff\xd8\xff": _jpeg, b"BM": _bmp, b"RIFF": _webp}
    for signature, kind in kinds.items():
        if start.startswith(signature):
            try:
                container = kind(file, start)
            except (struct.error, IndexError):
                raise ValueError("its header is cut off") from None
            container.size = file_size(file)
            if not container.height * container.width:
                raise ValueError("its header tells no size")
            check_size(container.size, container.height, container.width)
            return container
    return None


def check_size(size: int, height: int, width: int) -> None:
    """ValueError if a picture of this height and width cannot take so many bytes, however it is stored."""
    if size > _SPARE + _PIXEL * height * width:
        raise ValueError(f"it has {size:,} bytes, more than a picture of {width}x{height} pixels can be")


def file_size(file: BinaryIO) -> int:
    return len(file.getbuffer()) if isinstance(file, io.BytesIO) else os.fstat(file.fileno()).st_size


def read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    """Some bytes of a file, whose position stays where it is; fewer where it ends."""
    if length > 2**20:  # for which memory would be asked for, whatever there is
        length = max(0, min(length, file_size(file) - offset))
    if isinstance(file, io.BytesIO):
        return bytes(file.getbuffer()[offset : offset + length])
    return os.pread(file.fileno(), length, offset)


def _png(file: BinaryIO, start: bytes) -> Container:
    width, height, bits, colour = struct.unpack_from(">IIBB", start, 16)
    found = Container("PNG", height, width, bits, alpha=colour in (4, 6), pieces=[(0, 8)])
    found.stored = {0: 2 if bits == 16 else 1, 3: 1}.get(colour, 4)
    offset = 8
    for _ in range(_STEPS):
        head = read_at(file, offset, 8)
        if len(head) < 8 or not head[4:].isalpha():
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind in _PNG_PIXELS:
            found.pieces.append((offset, length + 12))
        else:
            found.beside += length + 12
        if kind == b"tRNS" and not found.alpha:
            found.key, found.alpha = read_at(file, offset + 8, min(length, 256)), True
        elif kind == b"eXIf":
            found.exif = read_at(file, offset + 8, min(length, 2**16))
        elif _PNG_COLOURS.get(kind) == length:
            content, checksum = read_at(file, offset + 8, length), read_at(file, offset + 8 + length, 4)
            if zlib.crc32(kind + content) == int.from_bytes(checksum):
                found.colours += ((kind, content),)
        offset += length + 12
    found.channels = 1 if colour == 0 and not found.alpha else 3 + found.alpha
    return found


def _jpeg(file: BinaryIO, start: bytes) -> Container:
    found = Container("JPEG", pieces=[(0, 2)])
    offset, frame, channels, coefficients = 2, 0, 0, 0
    for _ in range(_STEPS):
        head = read_at(file, offset, 4)
        if len(head) < 4 or found.beside > _SPARE:
            break
        if head[0] != 0xFF or head[1] in (0, 0xFF):  # junk, or bytes that fill up
            junk = read_at(file, offset + 1, 2**16)
            filling = len(junk) - len(junk.lstrip(b"\xff"))
            skipped = filling or 1 + (junk.index(0xFF) if 0xFF in junk else len(junk))
            found.beside += skipped
            offset += skipped
            continue
        marker, length = head[1], 2 + int.from_bytes(head[2:])
        if marker in _JPEG_ALONE:
            offset += 2
            continue
        data = read_at(file, offset + 4, 64)
        if marker in _JPEG_FRAMES:
            frame, found.height, found.width, channels = marker, *struct.unpack_from(">xHHB", data)
            sides = [divmod(side, 16) for side in data[7 : 6 + 3 * channels : 3]]
            largest = max(h for h, _ in sides) * max(v for _, v in sides)
            coefficients = 2 * sum(h * v for h, v in sides) / max(1, largest)
            found.stored = 1 if channels == 1 else 4
        if marker == 0xDA:
            # Where a scan is not all of a channel's bits, or not all channels, all coefficients wait for the others.
            found.working = coefficients * (frame % 4 == 2 or data[0] != channels)
            found.pieces.append((offset, file_size(file) - offset))
            break
        if 0xE0 <= marker <= 0xEF and not _tells_colours(marker, length, data) or marker == 0xFE:
            found.beside += length
            if marker == 0xE1 and data.startswith(b"Exif\0\0"):
                found.exif = found.exif or read_at(file, offset + 10, length - 10)
        else:
            found.pieces.append((offset, length))
        offset += length
    return found


def _tells_colours(marker: int, length: int, data: bytes) -> bool:
    """Whether an application's segment is JFIF's or Adobe's, which say what a JPEG's channels are."""
    return (marker == 0xE0 and length >= 16 and data.startswith(b"JFIF\0")) or (
        marker == 0xEE and length >= 14 and data.startswith(b"Adobe")
    )


def _bmp(file: BinaryIO, start: bytes) -> Container:
    if start[14] == 12:  # the header of OS/2
        width, height, _, bits = struct.unpack_from("<4H", start, 18)
        packed = 0
    else:
        width, height, _, bits, packed = struct.unpack_from("<iiHHI", start, 18)
    if packed in (1, 2) and abs(width * height) > _MOST_OF_A_BYTE * file_size(file):
        raise ValueError("it declares more pixels than it can hold")
    found = Container("BMP", abs(height), abs(width), alpha=bits == 32)
    found.stored, found.working = (4, 0) if bits > 8 else (1, 2 if packed else 0)
    return found


def _webp(file: BinaryIO, start: bytes) -> Container:
    found = Container("WEBP", alpha=True, pieces=[(0, 12)], stored=12, working=4)
    offset, end = 12, 8 + int.from_bytes(start[4:8], "little")
    for _ in range(_STEPS):
        head = read_at(file, offset, 18)
        if len(head) < 8 or offset >= end:
            break
        kind, length = struct.unpack_from("<4sI", head)
        if offset == 12:
            found.height, found.width = _webp_size(kind, head[8:])
        if kind in _WEBP_PIXELS:
            found.pieces.append((offset, 8 + length + length % 2))
        else:
            found.beside += 8 + length
            if kind == b"EXIF":
                found.exif = read_at(file, offset + 8, min(length, 2**16))
        offset += 8 + length + length % 2
    return found


def _webp_size(kind: bytes, data: bytes) -> tuple[int, int]:
    """Height and width by the first chunk of a WebP (its container's specification, and RFC 6386, 9.1)."""
    if kind == b"VP8X":
        return int.from_bytes(data[7:10], "little") + 1, int.from_bytes(data[4:7], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return (bits >> 14) % 2**14 + 1, bits % 2**14 + 1
    width, height = struct.unpack_from("<HH", data, 6)
    return height % 2**14, width % 2**14
