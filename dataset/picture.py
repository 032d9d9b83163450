"""A picture in memory, and how decoders fill it."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .metadata import Metadata

_BAND = 2**18  # pixels that are converted at a time, about

_LUMA = np.array([65.481, 128.553, 24.966]) / 255  # ITU-R BT.601, as MATLAB's rgb2ycbcr

# What each EXIF orientation asks for, as (quarter turns anticlockwise, then flip left-right).
_ORIENTATIONS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright.

    Attributes:
        rgb: (H, W, 3) uint8 or uint16, the full range of its type, or computed ones, float in [0, 1]; three equal
            channels if grey.
        alpha: (H, W) of the same type, or None.
        grey: whether the file held one channel of brightness.
        notes: a line for each thing that the file held and the picture lacks.
        metadata: what the file says beside its pixels.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    notes: tuple[str, ...] = ()
    metadata: Metadata = Metadata()


@dataclass(frozen=True)
class Bands:
    """A picture as a sequence of bands.

    Attributes:
        height, width: of the whole picture.
        dtype: uint8 or uint16.
        grey: whether it is written as one channel of brightness.
        alpha: whether the bands have alpha.
        bands: its parts from top to bottom, each of full width; to be gone through once.
        metadata: what its file is to say beside the pixels.
    """

    height: int
    width: int
    dtype: np.dtype
    grey: bool
    alpha: bool
    bands: Iterator[Picture]
    metadata: Metadata = Metadata()

    @classmethod
    def of(cls, picture: Picture) -> "Bands":
        """A whole picture, as one band."""
        height, width = picture.rgb.shape[:2]
        kind = picture.rgb.dtype, picture.grey, picture.alpha is not None
        return cls(height, width, *kind, iter([picture]), picture.metadata)

    @property
    def colours(self) -> int:
        # Grey with alpha at 16 bits is a kind of file that many programs do not read, but a profile of grey wants it.
        rare = self.alpha and self.dtype == np.uint16 and self.metadata.space != b"GRAY"
        return 1 if self.grey and not rare else 3

    @property
    def channels(self) -> int:
        return self.colours + self.alpha

    def pixels(self, rows: int = 2**31) -> Iterator[np.ndarray]:
        """The bands as (h, width, channels) arrays, each of at most so many rows."""
        for band in self.bands:
            for top in range(0, len(band.rgb), rows):
                parts = [band.rgb[top : top + rows, :, : self.colours]]
                if self.alpha:
                    parts.append(band.alpha[top : top + rows, :, None])
                if self.dtype == np.uint8:
                    parts = [to_uint8(part) for part in parts]
                yield np.concatenate(parts, axis=2) if self.alpha else parts[0]

    def joined(self) -> Picture:
        """The whole picture, in memory."""
        rgb = np.empty((self.height, self.width, 3), self.dtype)
        alpha = np.empty((self.height, self.width), self.dtype) if self.alpha else None
        top = 0
        for band in self.bands:
            rows = slice(top, top := top + len(band.rgb))
            rgb[rows] = band.rgb
            if alpha is not None:
                alpha[rows] = band.alpha
        return Picture(rgb, alpha, self.grey, metadata=self.metadata)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 8 or 16 bits per channel as 8, rounded (65535 becomes 255)."""
    if pixels.dtype == np.uint8:
        return pixels
    result = np.empty(pixels.shape, np.uint8)
    for rows in in_rows(len(pixels), pixels.size // max(1, len(pixels))):
        result[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return result


def luma(rgb: np.ndarray) -> np.ndarray:
    """Luma of an (H, W, 3) RGB picture, uint8, or float in [0, 1], which may lie beyond: (H, W) float64, 16 to 235."""
    return (rgb if rgb.dtype == np.uint8 else 255.0 * rgb) @ _LUMA + 16


def in_rows(height: int, width: int) -> Iterator[slice]:
    """Rows from top to bottom, as many at a time as have few pixels together."""
    count = max(1, _BAND // max(1, width))
    return (slice(top, min(top + count, height)) for top in range(0, height, count))


def upright(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Height and width of a picture whose file has these rows and columns, and EXIF's orientation."""
    turns, _ = _ORIENTATIONS.get(orientation, (0, False))
    return (width, height) if turns % 2 else (height, width)


def blank(
    height: int,
    width: int,
    dtype: np.dtype,
    alpha: bool = False,
    grey: bool = False,
    orientation: int = 1,
    metadata: Metadata = Metadata(),
):
    """A picture to be filled, and views of its colours and alpha, to fill it through, as a file's rows lie.

    Args:
        height, width: of the file's rows.
        orientation: EXIF's; what is none of its numbers is upright.
    """
    turns, flip = _ORIENTATIONS.get(orientation, (0, False))
    height, width = upright(height, width, orientation)
    alpha = np.empty((height, width), dtype) if alpha else None
    picture = Picture(np.empty((height, width, 3), dtype), alpha, grey, metadata=metadata)

    def stored(pixels: np.ndarray | None) -> np.ndarray | None:
        return None if pixels is None else np.rot90(pixels[:, ::-1] if flip else pixels, -turns)

    return picture, stored(picture.rgb), stored(picture.alpha)


def by_opencv(data: io.BytesIO) -> Iterator[tuple[int, np.ndarray]]:
    """The samples of a PNG or TIFF of 16 bits: bands of (rows, columns, channels), each with its top.

    Raises:
        ValueError: if OpenCV cannot decode it.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # what it has to say becomes an exception here
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data.getbuffer(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("this kind of 16-bit file is not supported")
    pixels = np.atleast_3d(pixels)
    swap = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(pixels.shape[2])
    for rows in in_rows(*pixels.shape[:2]):
        yield rows.start, pixels[rows] if swap is None else cv2.cvtColor(pixels[rows], swap)
