"""What a file of the rarer formats is, by a look at its header: GIF, TGA, PPM and PGM, JPEG 2000, AVIF, JPEG XL.

Pillow decodes them, where it can: three of them need libraries that not every Pillow has.
"""

import re
import struct
from collections.abc import Callable
from importlib.util import find_spec
from typing import BinaryIO

from PIL import Image, features

from .containers import Container, check_size, file_size, read_at

_HEADER = 2**16  # bytes in which the sizes are
_MOST_JXL = 2**28  # bytes of a JPEG XL, whose header is no text for a glance
_NUMBER = rb"(?:\s+|#[^\n]*\n)*(\d{1,9})"
_PNM = re.compile(rb"P(?:([14])|[2356])" + 2 * _NUMBER + rb"(?(1)|" + _NUMBER + rb")")

_SUFFIXES = {
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pnm", ".pbm"),
    "TGA": (".tga",),
    "JPEG2000": (".jp2", ".j2k"),
    "AVIF": (".avif",),
    "JXL": (".jxl",),
}
_JXL = "pillow_jxl"  # the module that teaches Pillow JPEG XL
_JXL_MODES = ("L", "LA", "RGB", "RGBA")  # others it has of 16 bits and of floating point


def _read_here() -> dict[str, tuple[str, ...]]:
    missing = {"JPEG2000": not features.check("jpg_2000"), "AVIF": not features.check("avif")}
    missing["JXL"] = find_spec(_JXL) is None
    return {kind: suffixes for kind, suffixes in _SUFFIXES.items() if not missing.get(kind)}


FORMATS = _read_here()
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)


def look(file: BinaryIO, suffix: str) -> Container | None:
    """What a file is, as :func:`dataset.containers.look` tells; None if it is none of these formats.

    A TGA has no mark at its beginning, so its name has to end in ``.tga``.

    Raises:
        ValueError: if its header is cut off, the file larger than its picture can be, or of a format that is not read
            here.
    """
    start = read_at(file, 0, _HEADER)
    found = next((kind for kind, begins in _BEGINNINGS.items() if begins(start)), None)
    found = found or ("TGA" if suffix == ".tga" else None)
    if found is None:
        return None
    if found not in FORMATS:
        raise ValueError(f"the Pillow that is installed does not read {found}; save it as PNG")
    try:
        size, bits, peak = _SIZES[found](start)
    except (struct.error, IndexError, TypeError, ValueError):
        raise ValueError("its header is cut off") from None
    if found == "JXL":
        if file_size(file) > _MOST_JXL:
            raise ValueError(f"it has {file_size(file):,} bytes, more than the {_MOST_JXL:,} that are accepted")
        __import__(_JXL)
        try:
            with Image.open(file, formats=("JXL",)) as image:
                size, mode = image.size, image.mode
        except Exception:  # what its decoder raises tells nothing
            raise ValueError("it is damaged or cut off") from None
        if mode not in _JXL_MODES:
            raise ValueError(f"JPEG XL of this kind is not supported ({mode}); save it as PNG")
        file.seek(0)
    width, height = size
    if not width * height:
        raise ValueError("its header tells no size")
    check_size(file_size(file), height, width)
    container = Container(found, height, width, bits, alpha=found not in ("PPM",), stored=8, working=8)
    container.size, container.peak = file_size(file), peak
    container.pieces = [(0, container.size)]
    return container


def _gif(start: bytes) -> tuple:
    return struct.unpack_from("<HH", start, 6), 8, 255


def _tga(start: bytes) -> tuple:
    return struct.unpack_from("<HH", start, 12), 8, 255


def _pnm(start: bytes) -> tuple:
    _, width, height, peak = _PNM.match(start).groups()
    peak = int(peak or 1)
    return (int(width), int(height)), 16 if peak > 255 else 8, peak


def _jpeg2000(start: bytes) -> tuple:
    """Of a JP2 by its image header box (ISO 15444-1, I.5.3.1), of a bare code stream by its SIZ (A.5.1)."""
    if (place := start.find(b"ihdr")) > 0:
        height, width, _, depth = struct.unpack_from(">IIHB", start, place + 4)
    else:
        right, bottom, left, top = struct.unpack_from(">4I", start, 8)
        width, height, depth = right - left, bottom - top, start[42]
    bits = (depth & 127) + 1
    return (width, height), 16 if bits > 8 else 8, 2**bits - 1


def _avif(start: bytes) -> tuple:
    """The largest of the sizes that it tells (``ispe``, ISO 23008-12, 6.5.3): others are of previews and tiles."""
    places = [found.end() for found in re.finditer(b"ispe\0\0\0\0", start)]
    return max(struct.unpack_from(">II", start, place) for place in places), 8, 255


_SIZES: dict[str, Callable[[bytes], tuple]] = {
    **{"GIF": _gif, "TGA": _tga, "PPM": _pnm, "JPEG2000": _jpeg2000, "AVIF": _avif},
    "JXL": lambda start: ((0, 0), 8, 255),
}
_BEGINNINGS: dict[str, Callable[[bytes], bool]] = {
    "GIF": lambda start: start.startswith((b"GIF87a", b"GIF89a")),
    "PPM": lambda start: _PNM.match(start) is not None,
    "JPEG2000": lambda start: start.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    "AVIF": lambda start: start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis", b"mif1", b"msf1", b"miaf"),
    "JXL": lambda start: start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")),
}
