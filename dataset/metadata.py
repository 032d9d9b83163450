"""What a file says beside its pixels, carried over to the enlarged picture: colour profile, EXIF, XMP, dpi, text."""

import io
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

_MOST_READ = 2**24  # bytes of a TIFF
_SIDES = {Base.ImageWidth: 1, Base.ImageLength: 0, Base.ExifImageWidth: 1, Base.ExifImageHeight: 0}
_RESOLUTION = (Base.XResolution, Base.YResolution)
# Tags that tell of the picture, of those that a TIFF has: the others tell how it is stored, or where its pixels lie.
_TOLD = {
    *(Base.DocumentName, Base.ImageDescription, Base.Make, Base.Model, Base.PageName, Base.Software, Base.DateTime),
    *(Base.Artist, Base.HostComputer, Base.Rating, Base.RatingPercent, Base.Copyright, Base.XPTitle, Base.XPComment),
    *(Base.XPAuthor, Base.XPKeywords, Base.XPSubject),
}
_OF_PIXELS = ('{"shape"', "ImageJ=", "<?xml")  # descriptions that tifffile, ImageJ and OME read the pixels by
_KEYWORD = re.compile(r"(?!Raw profile)[\x20-\x7e]{1,79}")  # PNG's texts; older programs hide EXIF in a raw profile
_XMP_VALUE = rb"""(?:\s*=\s*["']|>)"""  # an attribute's or an element's begins after it
_TURNED = re.compile(rb"(tiff:Orientation" + _XMP_VALUE + rb")[2-8]")
_XMP_SIDES = {rb"((?:tiff:ImageWidth|exif:PixelXDimension)" + _XMP_VALUE + rb")\d+": 1}
_XMP_SIDES |= {rb"((?:tiff:ImageLength|exif:PixelYDimension)" + _XMP_VALUE + rb")\d+": 0}
# sRGB's gamma and chromaticities, as a PNG has them (its specification, 11.3.2.5).
_OF_SRGB = {b"gAMA": struct.pack(">I", 45455)}
_OF_SRGB |= {b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)}
_CICP_OF_SRGB = bytes((1, 13, 0, 1))
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}  # of a profile's header, by Pillow's mode


@dataclass(frozen=True)
class Metadata:
    """What is kept of a file beside its pixels.

    Attributes:
        icc: its colour profile (ICC.1); without one, colours are sRGB's.
        exif: EXIF as JPEG has it: "Exif", two zeros and a TIFF file of tags; its orientation is 1.
        xmp: an XMP packet.
        dpi: pixels per inch, across and down.
        text: keywords and texts of a PNG.
        colours: chunks of a PNG that tell which colours its numbers are, as (kind, content): gamma and the like.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    colours: tuple[tuple[bytes, bytes], ...] = ()

    def enlarged(self, height: int, width: int, scale: float) -> "Metadata":
        """That of the picture that is ``scale`` times as large, of (height, width) pixels: as large in print."""
        dpi = self.dpi and tuple(scale * number for number in self.dpi)
        xmp = self.xmp
        for pattern, side in _XMP_SIDES.items():
            xmp = xmp and re.sub(pattern, rb"\g<1>%d" % (height, width)[side], xmp)
        if self.exif is None:
            return replace(self, dpi=dpi, xmp=xmp)
        exif = Image.Exif()
        exif.load(self.exif)
        for tags in (exif, exif.get_ifd(IFD.Exif)) if IFD.Exif in exif else (exif,):  # or there would be an empty one
            for tag, side in _SIDES.items():
                if tag in tags:
                    tags[tag] = (height, width)[side]
        for tag in _RESOLUTION:
            if tag in exif:
                exif[tag] = IFDRational(scale * exif[tag])
        return replace(self, dpi=dpi, xmp=xmp, exif=_packed(exif))

    @property
    def space(self) -> bytes | None:
        """The colours that the profile is of, as its header has them: ``b"RGB "``, ``b"GRAY"``; None without one."""
        return self.icc and self.icc[16:20]

    @property
    def other_colours(self) -> bool:
        """Whether a PNG's chunks tell of other colours than sRGB's, and no profile does."""
        told = dict(self.colours)
        if b"cICP" in told:  # before all others (PNG specification, 4.3)
            return told[b"cICP"] != _CICP_OF_SRGB
        if self.icc or b"sRGB" in told:
            return False
        return any(told.get(kind, numbers) != numbers for kind, numbers in _OF_SRGB.items())

    def colours_alone(self) -> "Metadata":
        """Nothing but what tells which colours the numbers are."""
        return Metadata(icc=self.icc, colours=self.colours)


def of_image(image: Image.Image) -> Metadata:
    """Of an open picture of Pillow's; what of it cannot be read raises anything."""
    info, exif = image.info, image.getexif()
    text = getattr(image, "text", {}) if image.format == "PNG" else {}
    dpi = info.get("dpi") if image.format != "JPEG" or info.get("jfif_unit") else None  # which Pillow makes up else
    xmp = info.get("xmp")
    texts = tuple((str(k), str(v)) for k, v in text.items() if _KEYWORD.fullmatch(k) and not k.startswith("XML:"))
    return Metadata(
        sound(info.get("icc_profile")),
        _upright(exif),
        _upright_xmp(xmp.encode() if isinstance(xmp, str) else xmp),
        _sound_dpi(dpi) or _resolution(exif),
        texts,
    )


def of_tiff(file: BinaryIO, head: bytes, offset: int) -> Metadata:
    """Of the tags of a TIFF file that are listed at a place; what of them cannot be read raises anything.

    Args:
        head: with which the file begins, 8 bytes, or 16 of a BigTIFF.
    """
    reader = _Sparing(file)

    def listed(place: int, group: int | None = None) -> ImageFileDirectory_v2:
        tags = ImageFileDirectory_v2({b"II": b"II*\0", b"MM": b"MM\0*"}[head[:2]] + bytes(4), group=group)
        tags._bigtiff = len(head) == 16  # Pillow itself does not see it where the higher bytes come first
        reader.seek(place)
        tags.load(reader)
        return tags

    tags, exif = listed(offset), Image.Exif()
    for tag in _TOLD & set(tags):
        value = tags[tag]
        if tag == Base.ImageDescription and str(value).startswith(_OF_PIXELS):
            continue
        exif[tag] = value[0] if isinstance(value, tuple) and len(value) == 1 else value
    for tag in (IFD.Exif, IFD.GPSInfo):
        if tag in tags:
            exif.get_ifd(tag).update(listed(tags[tag], tag))
    icc, xmp = (value if isinstance(value, bytes) else None for value in (tags.get(34675), tags.get(700)))
    return Metadata(sound(icc), _upright(exif), _upright_xmp(xmp), _resolution(tags))


class _Sparing:
    """A file of which no more is read than metadata and lists of places take."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read, self._left = file.seek, file.tell, file.read, _MOST_READ

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise ValueError("its metadata are too large")
        return self._read(size)


def as_tiff_tags(exif: bytes, big: bool) -> tuple[list[tuple], dict[int, ImageFileDirectory_v2]]:
    """EXIF as tifffile writes it: tags as (code, type, count, value, once), and the lists of further ones, by the tags
    that are to lead to them: for a file with the lower bytes first, a BigTIFF if ``big``."""
    head = b"II+\0\x08\0\0\0" + bytes(8) if big else b"II*\0" + bytes(4)
    tags = ImageFileDirectory_v2(exif[6:14])
    file = io.BytesIO(exif[6:])
    file.seek(tags.next)
    tags.load(file)
    written, lists = [], {}
    for tag in sorted(tags):
        kind, value = tags.tagtype[tag], tags[tag]
        if tag in (IFD.Exif, IFD.GPSInfo):
            found, lists[tag] = ImageFileDirectory_v2(exif[6:14], group=tag), ImageFileDirectory_v2(head, group=tag)
            file.seek(value)
            found.load(file)
            lists[tag].tagtype.update(found.tagtype)
            lists[tag].update(_as_read(found))
        elif tag in _TOLD:
            if isinstance(value, str):
                value = value.encode("latin-1", "replace") + b"\0"
            elif not isinstance(value, bytes):
                value = value if isinstance(value, tuple) else (value,)
            count = len(value)
            if kind in (5, 10):
                value = tuple(n for one in value for n in (one.numerator, one.denominator))
            written.append((tag, kind, count, value, True))
    return written, lists


def sound(icc: bytes | None) -> bytes | None:
    """A colour profile, if it is whole: its header tells its size, and that it is one (ICC.1:2010, 7.2)."""
    whole = icc and len(icc) > 128 and icc[36:40] == b"acsp" and int.from_bytes(icc[:4], "big") <= len(icc)
    return bytes(icc) if whole else None


def to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What turns colours of a profile, in a picture of Pillow's mode, into sRGB; None where it cannot.

    Applied by ``ImageCms.applyTransform``.
    """
    if icc[16:20] != _SPACES.get(mode):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _upright(exif: Image.Exif) -> bytes | None:
    """EXIF of a picture that has been turned as it asks for; None if there are no tags."""
    if not len(exif):
        return None
    if Base.Orientation in exif:
        exif[Base.Orientation] = 1
    for tag in _RESOLUTION:
        if tag in exif and not _sound_dpi((exif[tag], exif[tag])):
            del exif[tag]
    return _packed(exif)


def _packed(exif: Image.Exif) -> bytes:
    for tags in (exif, *(exif.get_ifd(tag) for tag in (IFD.Exif, IFD.GPSInfo) if tag in exif)):
        tags.update(_as_read(tags))
    return exif.tobytes()


class _Text(str):
    """A text of EXIF's that is written as the bytes that it was read from: but for ASCII, Pillow writes "?"."""

    def encode(self, *_) -> bytes:
        return super().encode("latin-1", "replace")


def _as_read(tags: Mapping) -> dict:
    return {tag: _Text(value) if isinstance(value, str) else value for tag, value in tags.items()}


def _upright_xmp(xmp: bytes | None) -> bytes | None:
    return _TURNED.sub(rb"\g<1>1", xmp) if xmp else None


def _resolution(tags: Image.Exif | ImageFileDirectory_v2) -> tuple[float, float] | None:
    """Pixels per inch, as tags tell them, by the inch or the centimetre."""
    unit = {2: 1.0, 3: 2.54}.get(tags.get(Base.ResolutionUnit, 2))
    numbers = _sound_dpi(tuple(tags.get(tag) for tag in _RESOLUTION))
    return tuple(unit * number for number in numbers) if unit and numbers else None


def _sound_dpi(dpi: tuple | None) -> tuple[float, float] | None:
    try:
        numbers = tuple(float(number) for number in dpi or ())
    except (ArithmeticError, TypeError, ValueError):
        return None
    return numbers if len(numbers) == 2 and all(1 <= number < 2**20 for number in numbers) else None
