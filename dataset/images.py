"""Read, write and list images. Every bad file becomes one clear :class:`InputError`."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from .errors import InputError, describe
from .files import written_whole

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_KINDS = ", ".join(suffix[1:] for suffix in SUFFIXES)

# A file may declare any size in a few bytes; more pixels than this are refused before decoding.
MAX_PIXELS = 2**29

Image.MAX_IMAGE_PIXELS = None  # ours is the limit: Pillow's own would only warn

# What each EXIF orientation asks for, as (quarter turns anticlockwise, then flip left-right).
_ORIENTATIONS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright.

    Attributes:
        rgb: (H, W, 3) uint8 or uint16, the full range of its type; three equal channels if grey.
        alpha: (H, W) of the same type, or None.
        grey: whether the file held one channel of brightness.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False


def natural_key(path: Path) -> list:
    """Sort key that puts ``img_2`` before ``img_10``."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", path.name)]


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


def read(path: Path) -> Picture:
    """Decode a PNG, JPEG, BMP, TIFF or WebP file.

    Grey, palette, alpha and CMYK are understood, 16 bits per channel are kept, EXIF orientation is
    honoured.

    Raises:
        InputError: if the file is missing, empty, truncated, larger than ``MAX_PIXELS``, no picture, or of a
            kind whose pixels would come out wrong: signed, floating point, of 12, 32 or 64 bits.
    """
    path = Path(path)
    with _decoding(path), open(path, "rb") as file:
        if not file.read(1):
            raise InputError(f"{path}: is empty (0 bytes)")
        file.seek(0)
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                declared = f"{path}: declares {image.width}x{image.height} pixels"
                raise InputError(f"{declared}, more than the {MAX_PIXELS:,} that are accepted")
            image.load()  # also finds a truncated file, which OpenCV would pass over
            turns, flip = _ORIENTATIONS.get(image.getexif().get(0x0112), (0, False))
            picture = _from_opencv(image, file) if _is_deep(image, file) else _from_pillow(image)

    def upright(pixels: np.ndarray | None) -> np.ndarray | None:
        if pixels is None:
            return None
        pixels = np.rot90(pixels, turns)
        return np.ascontiguousarray(pixels[:, ::-1] if flip else pixels)

    return Picture(upright(picture.rgb), upright(picture.alpha), picture.grey)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turns whatever is raised on a bad file into one :class:`InputError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to worry the user
            yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # decoders raise anything
        reason = describe(error)
        if isinstance(error, OSError) and error.strerror:  # not the decoder's, but the system's
            raise InputError(f"{path}: cannot be read: {reason}") from None
        if "cannot identify image file" in reason:
            reason = f"it is none of {_KINDS} of 8 or 16 bits unsigned"
        raise InputError(f"{path}: not a readable picture: {reason}") from None


def read_rgb(path: Path) -> np.ndarray:
    """Decode a file to (H, W, 3) uint8 RGB: grey is repeated, alpha dropped, 16 bits rounded to 8.

    Raises:
        InputError: as :func:`read`.
    """
    return to_uint8(read(path).rgb)


def size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as stored, read from its header alone.

    Raises:
        InputError: if the file is missing or no picture.
    """
    with _decoding(path), Image.open(path) as image:
        return image.height, image.width


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 8 or 16 bits per channel as 8, rounded (65535 becomes 255)."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_tensor(pixels: np.ndarray, device="cpu"):
    """(H, W, 3) pixels of 8 or 16 bits -> float32 tensor (1, 3, H, W) in [0, 1] on a device.

    Divided by 255 or 65535. In channels_last order, which is the order of the pixels on disk.
    """
    import torch

    peak = np.iinfo(pixels.dtype).max
    if pixels.dtype == np.uint16:
        pixels = pixels.astype(np.int32)  # torch computes little in uint16
    tensor = torch.from_numpy(np.require(pixels, requirements="CW"))
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor.permute(2, 0, 1)[None].float().div_(peak)


def quantise(tensor, dtype=np.uint8, rounding: str = "truncate"):
    """Float tensor (1, 3, H, W), about [0, 1] -> integer tensor (H, W, 3), clipped to the type's range.

    On the tensor's device; uint8 for uint8 and, because torch computes little in uint16, int32 for it.

    Args:
        tensor: the network's output.
        dtype: uint8 or uint16.
        rounding: ``truncate`` as the published protocol, or ``round`` to the nearest.
    """
    import torch

    peak = np.iinfo(dtype).max
    scaled = tensor[0].permute(1, 2, 0).float().mul(float(peak))
    if rounding == "round":
        scaled = scaled.round_()
    return scaled.clamp_(0, peak).to(torch.uint8 if dtype == np.uint8 else torch.int32).contiguous()


def encode(picture: Picture, suffix: str) -> bytes:
    """Encode a picture; PNG and TIFF keep 16 bits, all but JPEG and BMP keep alpha.

    Args:
        picture: what to encode; grey pictures become one-channel files.
        suffix: one of :data:`SUFFIXES`.

    Raises:
        InputError: if the format cannot hold a picture of this size.
    """
    kind = Image.registered_extensions()[suffix.lower()]
    deep = picture.rgb.dtype == np.uint16 and kind in ("PNG", "TIFF")
    alpha = None if kind in ("JPEG", "BMP") else picture.alpha
    # Grey with alpha at 16 bits is a kind of file that many programs do not read.
    grey = picture.grey and not (deep and alpha is not None)
    pixels = picture.rgb[:, :, 0] if grey else picture.rgb
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])
    if deep:
        return _encode_opencv(pixels if grey else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]], suffix)
    image = Image.fromarray(np.ascontiguousarray(to_uint8(pixels)))
    options = {
        "PNG": {"compress_level": 3},  # level 6 takes three times as long for 5 % less
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"lossless": True},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }.get(kind, {})
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (ValueError, OSError) as error:
        raise InputError(f"{image.width}x{image.height} pixels do not fit into {suffix}: {describe(error)}") from None
    return buffer.getvalue()


def write(path: Path, picture: Picture) -> None:
    """Write a picture in the format of the path's suffix, whole or not at all.

    Raises:
        InputError: if the folder cannot be written or the format cannot hold the picture.
    """
    data = encode(picture, Path(path).suffix)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)


def write_rgb(path: Path, rgb: np.ndarray) -> None:
    """Write (H, W, 3) uint8 or uint16 RGB pixels, whole or not at all; raises as :func:`write`."""
    write(path, Picture(rgb))


def _is_deep(image: Image.Image, file: BinaryIO) -> bool:
    """Whether a file has 16 bits per channel; ValueError for what decoders would read, but not as it is meant."""
    if image.format == "PNG":
        file.seek(24)  # IHDR: width, height, then the bit depth
        return file.read(1)[0] == 16
    if image.format != "TIFF":
        if image.mode[0] in "IF":  # 16 or 32 bits, of which Pillow says no more
            raise ValueError(f"16 or 32 bits in {image.format} are not supported; save it as PNG or TIFF")
        return False
    tags = image.tag_v2
    bits, kind = max(tags.get(258, (1,))), max(tags.get(339, (1,)))  # BitsPerSample, SampleFormat
    if bits not in (1, 2, 4, 8, 16) or kind != 1:
        numbers = {1: "unsigned", 2: "signed", 3: "floating point"}.get(kind, "other")
        raise ValueError(f"{bits} bits {numbers} are not supported; save it with 8 or 16 bits unsigned")
    apart = len(tags.get(258, ())) > 1 and tags.get(284) == 2  # PlanarConfiguration
    if bits == 16 and (apart or tags.get(262) not in (0, 1, 2)):  # PhotometricInterpretation: grey or RGB
        raise ValueError("16 bits are supported for grey and interleaved RGB alone; save it as one of these")
    return bits == 16


def _from_pillow(image: Image.Image) -> Picture:
    grey, transparent = image.mode in ("1", "L", "LA", "La"), image.has_transparency_data
    mode = ("L" if grey else "RGB") + "A" * transparent
    pixels = np.empty((image.height, image.width, len(mode)), np.uint8)
    rows = max(1, 2**22 // image.width)  # in bands, because Pillow makes several copies
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height))).convert(mode)
        pixels[top : top + rows] = np.asarray(band).reshape(-1, image.width, len(mode))
    rgb = np.repeat(pixels[:, :, :1], 3, axis=2) if grey else pixels[:, :, :3]
    return Picture(rgb, pixels[:, :, -1] if transparent else None, grey)


def _from_opencv(image: Image.Image, file: BinaryIO) -> Picture:
    import cv2

    file.seek(0)
    pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("this kind of 16-bit file is not supported")
    if image.format == "TIFF" and image.tag_v2[262] == 0:  # white is zero
        pixels = 65535 - pixels
    if pixels.ndim == 2:
        return Picture(np.repeat(pixels[:, :, None], 3, axis=2), None, True)
    return Picture(pixels[:, :, 2::-1], pixels[:, :, 3] if pixels.shape[2] == 4 else None)


def _encode_opencv(bgr: np.ndarray, suffix: str) -> bytes:
    import cv2

    ok, data = cv2.imencode(suffix, np.ascontiguousarray(bgr))
    if not ok:
        raise InputError(f"{bgr.shape[1]}x{bgr.shape[0]} pixels do not fit into {suffix}")
    return data.tobytes()
