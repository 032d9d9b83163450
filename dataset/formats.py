"""What a format can hold, and what becomes of a picture that has more."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms

from .metadata import Metadata, to_srgb
from .picture import Bands, Picture, in_rows, to_uint8

PNG, TIFF, BMP, JPEG, WEBP = (".png",), (".tif", ".tiff"), (".bmp",), (".jpg", ".jpeg"), (".webp",)

_SEGMENT = 65000  # bytes of a JPEG's metadata
_PIXELS = 2**14  # that are laid on white at a time
_NAMES = {"the colour profile": "icc", "EXIF": "exif", "XMP": "xmp", "dpi": "dpi", "text": "text"}


def fitted(picture: Bands, suffix: str) -> Bands:
    """A picture as a format can hold it: 16 bits as 8, transparency laid on white, colours of a profile as sRGB's."""
    kept = _kept(picture.metadata, suffix)
    icc = picture.metadata.icc
    if suffix not in PNG + TIFF:
        picture = replace(picture, dtype=np.dtype(np.uint8))
    if suffix in JPEG + BMP and picture.alpha:
        picture = replace(picture, alpha=False, bands=_on_white(picture.bands))
    if icc and suffix in BMP or picture.metadata.space == b"GRAY" and suffix in WEBP:  # has no grey
        grey = picture.metadata.space == b"GRAY"
        if convert := to_srgb(icc, "L" if grey else "RGB"):
            picture = replace(picture, grey=picture.grey and not grey, bands=_converted(picture.bands, convert, grey))
        kept = replace(kept, icc=None)
    return replace(picture, metadata=kept)


def losses(picture: Bands, suffix: str) -> list[str]:
    """What of a picture and its metadata a format cannot keep, as one tells a person; see :func:`fitted`."""
    kept = _kept(picture.metadata, suffix)
    lost = [name for name, field in _NAMES.items() if getattr(picture.metadata, field) and not getattr(kept, field)]
    told = ["transparency is laid on white"] * (picture.alpha and suffix in JPEG + BMP)
    told += ["gamma or primaries are taken for sRGB's"] * (picture.metadata.other_colours and suffix not in PNG)
    told += ["16 bits become 8"] * (picture.dtype == np.uint16 and suffix not in PNG + TIFF)
    if "the colour profile" in lost:
        told.append("colours of a profile become sRGB's")
        lost.remove("the colour profile")
    return told + [f"without {' and '.join(lost)}"] * bool(lost)


def _kept(metadata: Metadata, suffix: str) -> Metadata:
    """What of metadata a format can hold."""
    if suffix in BMP:
        return Metadata(dpi=metadata.dpi)
    if suffix in WEBP:
        metadata = replace(metadata, dpi=None)
    if suffix in JPEG:  # whose segments have a length of 16 bits
        exif, xmp = (data if len(data or b"") < _SEGMENT else None for data in (metadata.exif, metadata.xmp))
        metadata = replace(metadata, exif=exif, xmp=xmp)
    return metadata if suffix in PNG else replace(metadata, text=(), colours=())


def _on_white(bands: Iterator[Picture]) -> Iterator[Picture]:
    for band in bands:
        dtype = band.rgb.dtype
        peak, wide = int(np.iinfo(dtype).max), np.uint16 if dtype == np.uint8 else np.uint32
        rows = max(1, _PIXELS // band.rgb.shape[1])
        for top in range(0, len(band.rgb), rows):
            hidden = peak - band.alpha[top : top + rows, :, None].astype(wide)
            lifted = ((peak - band.rgb[top : top + rows]) * hidden + peak // 2) // peak  # by what white shines through
            yield Picture((band.rgb[top : top + rows] + lifted).astype(dtype), grey=band.grey)


def _converted(bands: Iterator[Picture], convert, grey: bool) -> Iterator[Picture]:
    """Bands of 8 bits whose colours a transform has converted."""
    for band in bands:
        for rows in in_rows(*band.rgb.shape[:2]):
            pixels = to_uint8(band.rgb[rows, :, 0] if grey else band.rgb[rows])
            rgb = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels)), convert)
            yield Picture(np.asarray(rgb), None if band.alpha is None else to_uint8(band.alpha[rows]))
