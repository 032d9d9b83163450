"""Read, write and list images. Every bad file becomes one clear :class:`InputError`."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageSequence, PngImagePlugin, UnidentifiedImageError

from . import containers, metadata, rarer, streams, tiff
from .containers import Container
from .errors import InputError, describe
from .files import opened
from .metadata import Metadata
from .picture import Picture as Picture
from .picture import blank, by_opencv, in_rows, upright
from .picture import to_uint8 as to_uint8
from .streams import Bands
from .streams import encoding_bytes as encoding_bytes
from .tiff import Tiff

WRITTEN = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
SUFFIXES = (*WRITTEN, ".apng", ".jpe", ".jfif", *rarer.SUFFIXES)  # of what is read
_KINDS = ", ".join(suffix[1:] for suffix in SUFFIXES)
_OTHERS = ".heic .heif .hif .jxl .avif .jp2 .j2k .psd .xcf .ico .cur .dds .pcx .pam .pfm .exr .hdr"
_OTHERS += " .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf"  # of cameras

# A file may declare any size in a few bytes; more pixels than this are refused before decoding.
MAX_PIXELS = 2**29

_MOST_METADATA = 2**22  # bytes, also of what they are inflated to
_ORIENTATION = 0x0112  # EXIF's tag
_ANIMATED = ("PNG", "WEBP", "GIF", "AVIF", "JXL")  # others' further pictures are previews, depths, the other eye's
_ALL = "tcw_sample.py --pages all takes all"
_LEFT_OUT = "its metadata is damaged or too large, and left out"

Image.MAX_IMAGE_PIXELS = None  # ours is the limit: Pillow's own would only warn
PngImagePlugin.MAX_TEXT_MEMORY = _MOST_METADATA
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata is no reason to worry the user


def natural_key(path: Path) -> tuple:
    """Sort key that puts ``img_2`` before ``img_10``."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdecimal() else part.lower() for part in parts], path.name


def list_images(folder: Path, needed: bool = False) -> list[Path]:
    """All pictures directly in ``folder`` by their suffix, in natural order.

    Raises:
        InputError: if the folder is missing or cannot be read, or has no pictures although they are ``needed``.
    """
    try:
        files = [f for f in Path(folder).iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")]
    except NotADirectoryError:
        raise InputError(f"{folder}: is a file, expected a folder") from None
    except FileNotFoundError:
        raise InputError(f"{folder}: no such folder") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {describe(error)}") from None
    if needed and not files:
        raise InputError(f"{folder}: has no pictures in it ({_KINDS})")
    return sorted(files, key=natural_key)


def is_of_another_kind(path: Path) -> bool:
    """Whether a file is a picture, by its suffix, of a kind that is not read, here or anywhere."""
    suffix = path.suffix.lower()
    return suffix in _OTHERS.split() and suffix not in SUFFIXES


def read(path: Path, page: int | None = None) -> Picture:
    """Decode a picture's file, in one of the formats of :data:`SUFFIXES`, whatever its name says (but of TGA).

    Grey, palette, alpha and CMYK are understood, 16 bits per channel are kept, EXIF orientation is honoured. CMYK that
    has a colour profile is converted through it to sRGB. Metadata that are damaged, or too large, are left out with a
    note.

    Args:
        page: which of several pictures in it, see :func:`pages`; by default the first, and a note tells their number.

    Raises:
        InputError: if the file is missing, empty, truncated, larger than ``MAX_PIXELS`` or than its picture can be, no
            picture, or of a kind whose pixels would come out wrong: signed, floating point, of 12, 32 or 64 bits.
    """
    with _looked_at(path, page=page) as (file, source):
        return _from_tiff(file, source, page) if isinstance(source, Tiff) else _from_container(file, source, page)


def decode(data: bytes, name: str) -> Picture:
    """As :func:`read`, of a file's content in memory, which error messages call ``name``."""
    with _looked_at(name, io.BytesIO(data)) as (file, source):
        return _from_tiff(file, source) if isinstance(source, Tiff) else _from_container(file, source)


def pages(path: Path) -> int:
    """How many pictures a file holds: pages of a TIFF, frames of an animation. Raises as :func:`read`."""
    with _looked_at(path) as (file, source):
        if isinstance(source, Tiff):
            return source.pages
        if source.format not in _ANIMATED:
            return 1
        with Image.open(file, formats=(source.format,)) as image:
            return getattr(image, "n_frames", 1)


def film(path: Path) -> tuple[list[int], int] | None:
    """Of an animation, how many milliseconds each frame is seen, and how often all are, 0 for ever; None of any other
    file. The first picture of a PNG may be none of the frames, but for programs that know no animations: there is one
    time less then. Raises as :func:`read`."""
    with _looked_at(path) as (file, source):
        if isinstance(source, Tiff) or source.format not in _ANIMATED:
            return None
        times = []
        with Image.open(file, formats=(source.format,)) as image:
            for frame in ImageSequence.Iterator(image):
                frame.load()
                times.append(round(frame.info.get("duration", 100)))
            if getattr(image, "default_image", False):
                times.pop(0)
            return times, image.info.get("loop", 1 if source.format == "GIF" else 0)


def read_rgb(path: Path) -> np.ndarray:
    """Decode a file to (H, W, 3) uint8 RGB: grey is repeated, alpha dropped, 16 bits rounded to 8.

    Raises:
        InputError: as :func:`read`.
    """
    return to_uint8(read(path).rgb)


def size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, see :func:`shape`."""
    return shape(path)[:2]


def shape(path: Path) -> tuple[int, int, int]:
    """(height, width, channels) of a picture, upright, by its header alone: 1 channel if it is a grey PNG, else 3.

    Raises:
        InputError: if the file is missing or no picture.
    """
    with _looked_at(path) as (file, source):
        if isinstance(source, Tiff):
            return *upright(source.height, source.width, source.orientation), 3
        exif, orientation = Image.Exif(), 1
        with suppress(Exception):  # it raises anything; the picture is read without it then
            if source.format in rarer.FORMATS:
                with Image.open(file, formats=(source.format,)) as image:
                    orientation, _ = _orientation(image)
            else:
                exif.load(source.exif)
                orientation = exif.get(_ORIENTATION, 1)
        height, width = upright(source.height, source.width, orientation)
        return height, width, 1 if source.channels == 1 else 3


def held_bytes(path: Path) -> int:
    """What the picture that :func:`read` makes of a file takes, at most, by the file's header alone; raises as it."""
    with _looked_at(path) as (_, source):
        return source.held_bytes


def decoding_bytes(path: Path) -> int:
    """What :func:`read` takes at its peak, the picture included, at most, by the file's header alone; raises as it."""
    with _looked_at(path) as (_, source):
        return source.decoding_bytes


def to_tensor(pixels: np.ndarray, device="cpu"):
    """(H, W, 3) pixels of 8 or 16 bits, or float in [0, 1] -> float32 tensor (1, 3, H, W) in [0, 1] on a device.

    Integers are divided by 255 or 65535. In channels_last order, which is the order of the pixels on disk.
    """
    import torch

    peak = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    if pixels.dtype == np.uint16:
        pixels = pixels.astype(np.int32)  # torch computes little in uint16
    tensor = torch.from_numpy(np.require(pixels, requirements="CW"))
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device).permute(2, 0, 1)[None].float().div_(peak)


def quantise(tensor, dtype=np.uint8, rounding: str = "truncate"):
    """Float tensor (1, 3, H, W), about [0, 1] -> integer tensor (H, W, 3), clipped to the type's range.

    On the tensor's device; uint8 for uint8 and, because torch computes little in uint16, int32 for it. Of a floating
    type it stays as it is.

    Args:
        tensor: the network's output.
        dtype: uint8, uint16 or floating.
        rounding: ``truncate`` as the published protocol, or ``round`` to the nearest.
    """
    import torch

    if np.dtype(dtype).kind == "f":
        return tensor[0].permute(1, 2, 0).float().contiguous()
    peak = np.iinfo(dtype).max
    scaled = tensor[0].permute(1, 2, 0).float().mul(float(peak))
    if rounding == "round":
        scaled = scaled.round_()
    return scaled.clamp_(0, peak).to(torch.uint8 if dtype == np.uint8 else torch.int32).contiguous()


def from_float(pixels: np.ndarray) -> np.ndarray:
    """Float pixels in [0, 1], which may lie beyond, as uint8, rounded."""
    return (pixels * 255 + 0.5).clip(0, 255).astype(np.uint8)


def encode(picture: Picture, suffix: str) -> bytes:
    """A picture in the format of one of :data:`SUFFIXES`; see :func:`dataset.streams.encode`."""
    file = io.BytesIO()
    streams.encode(file, Bands.of(picture), Path(f"picture{suffix}"))
    return file.getvalue()


def write(path: Path, picture: Picture) -> None:
    """Write a picture in the format of the path's suffix, whole or not at all; see :func:`dataset.streams.write`."""
    streams.write(path, Bands.of(picture))


def write_rgb(path: Path, rgb: np.ndarray) -> None:
    """Write (H, W, 3) uint8 or uint16 RGB pixels, whole or not at all; raises as :func:`write`."""
    write(path, Picture(rgb))


@contextmanager
def _looked_at(
    path: Path | str, data: BinaryIO | None = None, page: int | None = None
) -> Iterator[tuple[BinaryIO, Container | Tiff]]:
    """A picture's file, or its content, and what its header says. What is raised becomes one :class:`InputError`."""
    try:
        with data or opened(path) as file:
            if not containers.read_at(file, 0, 1):
                raise ValueError("it is empty (0 bytes)")
            source = containers.look(file) or tiff.look(file, page or 0) or rarer.look(file, Path(path).suffix.lower())
            if source is None:
                raise ValueError(f"it is none of {_KINDS}; save it as one of them")
            if source.height * source.width > MAX_PIXELS:
                declared = f"it declares {source.width}x{source.height} pixels"
                raise ValueError(f"{declared}, more than the {MAX_PIXELS:,} that are accepted")
            yield file, source
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: there is too little memory to read it") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a readable picture: it is damaged, or of a rare kind; save it again") from None
    except EOFError:  # where Pillow looks for a further one
        raise InputError(f"{path}: not a readable picture: it ends before the last of its pictures") from None
    except Exception as error:  # decoders raise anything
        if isinstance(error, OSError) and error.strerror:  # not the decoder's, but the system's
            raise InputError(f"{path}: cannot be read: {describe(error)}") from None
        raise InputError(f"{path}: not a readable picture: {describe(error)}") from None


def _from_container(file: BinaryIO, source: Container, page: int | None = None) -> Picture:
    """The picture of any file but a TIFF; without its metadata where a decoder cannot get over them."""
    if source.format == "PNG" and source.bits <= 8 and not containers.has_all_lines(file):
        raise OSError("image file is truncated")
    if source.beside <= _MOST_METADATA:
        try:
            return _decoded(file, source, page)
        except MemoryError:
            raise
        except Exception:
            if not source.beside:
                raise
    picture = _decoded(source.pixels(file), source, page, source.exif)
    return replace(picture, notes=tuple(dict.fromkeys((_LEFT_OUT, *picture.notes))))


def _decoded(file: BinaryIO, source: Container, page: int | None, exif: bytes | None = None) -> Picture:
    """The picture of a file that has its metadata, or of one without them, and EXIF, if there is any, beside it."""
    with Image.open(file, formats=(source.format,)) as image:
        if image.size != (source.width, source.height):
            raise ValueError("it tells two sizes")
        if page:
            image.seek(page)
        image.load()  # also finds a truncated file, which OpenCV would pass over
        if exif:
            image.info["exif"] = exif
        orientation, notes = _orientation(image)
        beside = Metadata()
        try:
            beside = metadata.of_image(image)
        except Exception:  # it raises anything
            notes = (_LEFT_OUT,)
        beside = replace(beside, colours=source.colours)
        if image.info.get("icc_profile") and not beside.icc:
            notes = (_LEFT_OUT,)
        frames = getattr(image, "n_frames", 1) if source.format in _ANIMATED else 1
        if frames > 1 and page is None:
            notes += (f"it holds {frames} pictures, of which this is the first; {_ALL}",)
        if source.bits <= 8:
            if source.key and image.mode == "L":  # Pillow compares it with what it has stretched to 8 bits
                image.info["transparency"] = int.from_bytes(source.key[:2]) * (255 // (2**source.bits - 1))
            return replace(_from_pillow(image, orientation, beside), notes=notes)
    del image
    data = file if isinstance(file, io.BytesIO) else source.pixels(file)
    return replace(_from_opencv(data, source, orientation, beside), notes=notes)


def _orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """EXIF's orientation, upright if EXIF cannot be read; and a note if it or the colour profile cannot."""
    notes = (_LEFT_OUT,) if image.info.get("icc_profile", b"") is None else ()
    if image.format == "JXL" and not image.jpeg:  # its decoder has turned it, but for a JPEG within
        return 1, notes
    try:
        exif = image.getexif()
        if image.info.get("exif") and not len(exif):
            raise ValueError
        return exif.get(_ORIENTATION, 1), notes
    except Exception:  # it raises anything
        return 1, (_LEFT_OUT,)


def _from_pillow(image: Image.Image, orientation: int, beside: Metadata) -> Picture:
    grey, transparent = image.mode in ("1", "L", "LA", "La"), image.has_transparency_data
    width, height = image.size
    convert = beside.icc and image.mode == "CMYK" and metadata.to_srgb(beside.icc, "CMYK")
    if image.mode in ("CMYK", "LAB"):
        beside = replace(beside, icc=None)  # the picture is RGB now
    grey, beside = _profiled(grey, beside)
    picture, rgb, alpha = blank(height, width, np.uint8, transparent, grey, orientation, beside)
    for rows in in_rows(height, width):  # because Pillow makes several copies
        band = image.crop((0, rows.start, width, rows.stop))
        band = ImageCms.applyTransform(band, convert) if convert else band.convert("RGBA" if transparent else "RGB")
        pixels = np.asarray(band)
        rgb[rows] = pixels[:, :, :3]
        if alpha is not None:
            alpha[rows] = pixels[:, :, 3]
    return picture


def _from_opencv(data: io.BytesIO, source: Container, orientation: int, beside: Metadata) -> Picture:
    """The picture of a PNG, PPM or JPEG 2000 of 16 bits."""
    picture = None
    for top, pixels in by_opencv(data):
        channels = pixels.shape[2]
        if source.peak < 65535:
            pixels = ((pixels.astype(np.uint32) * 65535 + source.peak // 2) // source.peak).astype(np.uint16)
        if picture is None:
            transparent = source.alpha and (channels == 4 or source.key is not None)
            grey, beside = _profiled(channels == 1, beside)
            picture, rgb, alpha = blank(source.height, source.width, np.uint16, transparent, grey, orientation, beside)
        rows = slice(top, top + len(pixels))
        rgb[rows] = pixels[:, :, :3]
        if source.key:
            opaque = (pixels[:, :, :3] != np.frombuffer(source.key, ">u2", min(channels, 3))).any(axis=2)
            alpha[rows] = 65535 * opaque
        elif alpha is not None:
            alpha[rows] = pixels[:, :, 3]
    return picture


def _from_tiff(file: BinaryIO, source: Tiff, page: int | None = None) -> Picture:
    notes = (_LEFT_OUT,) * source.damaged
    beside = Metadata()
    try:
        beside = metadata.of_tiff(file, source.head, source.place)
    except Exception:  # it raises anything
        notes = (_LEFT_OUT,)
    if source.sampled:
        dtype = np.uint16 if source.bits == 16 else np.uint8
        alpha = source.alpha is not None
        grey, beside = _profiled(source.grey, beside)
        picture, *stored = blank(source.height, source.width, dtype, alpha, grey, source.orientation, beside)
        source.fill(*stored)
    else:
        try:
            with source.rebuilt() as data, Image.open(data, formats=("TIFF",)) as image:
                image.load()
        except (UnidentifiedImageError, ValueError):
            raise ValueError(source.refusal) from None
        picture = _from_pillow(image, source.orientation, beside)
    if source.pages > 1 and page is None:
        notes += (f"it holds {source.pages} pictures, of which this is the first; {_ALL}",)
    return replace(picture, notes=notes)


def _profiled(grey: bool, beside: Metadata) -> tuple[bool, Metadata]:
    """Whether a picture is grey, and its metadata, where the profile fits: grey with a profile of RGB is of RGB's
    three channels, and a profile of other colours is of no use any more."""
    if beside.space == b"RGB ":
        return False, beside
    fits = beside.space == b"GRAY" and grey
    return grey, beside if fits else replace(beside, icc=None)
