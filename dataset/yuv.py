"""Pixels as videos have them, one brightness and two colour differences, and as RGB.

ITU-R BT.601, BT.709 and BT.2020 say how they are computed. All is done in floating point: FFmpeg's own conversion is
wrong by up to four levels of ten bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InputError

# The part of red and of blue in brightness, by the number of the matrix (ITU-T H.273, table 4).
_PARTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
_PARTS |= {9: (0.2627, 0.0593)}
RGB, BT709, UNKNOWN, BT601 = 0, 1, 2, 6  # matrices
_ROWS = 32  # that are computed at once, which is twice as fast as all; samples of colour are of 1, 2 or 4 whole rows
_LARGE = 1280, 576  # pixels across and down from which on a picture that does not tell its matrix has BT.709's


@dataclass(frozen=True)
class Colours:
    """What the numbers of a pixel mean, by H.273's numbers; 2 is unknown.

    Attributes:
        matrix: how brightness and colour differences are made of RGB; 0 is RGB itself.
        primaries, transfer: kept, but not looked at.
        full: whether the numbers take their whole range, or 16 to 235 and 240 of 255.
    """

    matrix: int
    primaries: int
    transfer: int
    full: bool


@dataclass(frozen=True)
class Layout:
    """How samples are stored.

    Attributes:
        bits: of a sample, 8 to 16.
        across, down: pixels to a sample of colour.
        rgb: whether the planes are green, blue and red.
    """

    bits: int
    across: int = 1
    down: int = 1
    rgb: bool = False

    @property
    def name(self) -> str:
        """FFmpeg's name of the planar form."""
        kinds = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}
        deep = f"{self.bits}le" if self.bits > 8 else ""
        return f"{'gbrp' if self.rgb else f'yuv{kinds[self.across, self.down]}p'}{deep}"

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.bits == 8 else "<u2")

    @property
    def peak(self) -> int:
        return 2**self.bits - 1


def guessed(matrix: int, height: int, width: int) -> int:
    """The matrix of a video that may not tell it: BT.709's of large pictures, BT.601's of small ones, as players do.

    Raises:
        InputError: if it is none that is known here.
    """
    if matrix == UNKNOWN:
        return BT709 if width >= _LARGE[0] or height > _LARGE[1] else BT601
    if matrix not in _PARTS and matrix != RGB:
        raise InputError(f"its colours have the matrix {matrix} of H.273, which is not known here; convert it first")
    return matrix


def to_rgb(planes: Sequence[np.ndarray], layout: Layout, colours: Colours) -> np.ndarray:
    """(H, W, 3) float32 RGB in [0, 1] of three planes of samples.

    Colour samples of fewer pixels lie at the left of those, and between their rows (H.264, figure E-1, type 0).
    """
    if layout.rgb:
        green, blue, red = planes
        return np.stack([red, green, blue], axis=2) / np.float32(layout.peak)
    height, width = planes[0].shape
    samples = np.empty((height, width, 3), np.float32)
    samples[..., 0] = planes[0]
    for channel, plane in enumerate(planes[1:], start=1):
        samples[..., channel] = _spread(plane, layout, height, width)
    forth, offset = _conversion(layout, colours)
    back = np.linalg.inv(forth)
    return _transformed(samples, back, -back @ offset).clip(0, 1)


def from_rgb(rgb: np.ndarray, layout: Layout, colours: Colours) -> list[np.ndarray]:
    """Three planes of samples, rounded, of (H, W, 3) float RGB, about [0, 1]."""
    bands = (_band(rgb[top : top + _ROWS], layout, colours) for top in range(0, len(rgb), _ROWS))
    return [np.concatenate(parts) for parts in zip(*bands)]


def _band(rgb: np.ndarray, layout: Layout, colours: Colours) -> list[np.ndarray]:
    rgb = rgb.clip(0, 1)
    if layout.rgb:
        return [_rounded(rgb[..., channel] * layout.peak, layout) for channel in (1, 2, 0)]
    samples = _transformed(rgb, *_conversion(layout, colours))
    colour = (_gathered(samples[..., channel], layout) for channel in (1, 2))
    return [_rounded(plane, layout) for plane in (samples[..., 0], *colour)]


def _conversion(layout: Layout, colours: Colours) -> tuple[np.ndarray, np.ndarray]:
    """The matrix (3, 3) and the offset (3,) that make samples of RGB in [0, 1] (H.273, 8.3)."""
    red, blue = _PARTS[colours.matrix]
    brightness = np.array([red, 1 - red - blue, blue])
    differences = [(np.eye(3)[of] - brightness) / (2 - 2 * part) for of, part in ((2, blue), (0, red))]
    unit = 2 ** (layout.bits - 8)
    ranges = np.array([layout.peak] * 3 if colours.full else [219 * unit, 224 * unit, 224 * unit])
    offset = np.array([0 if colours.full else 16, 128, 128]) * unit
    return ranges[:, None] * np.stack([brightness, *differences]), offset


def _transformed(pixels: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.transform(np.ascontiguousarray(pixels, np.float32), np.column_stack([matrix, offset]))


def _spread(plane: np.ndarray, layout: Layout, height: int, width: int) -> np.ndarray:
    """Samples of colour for every pixel, by cubic interpolation."""
    if (layout.across, layout.down) == (1, 1):
        return plane
    import cv2

    places = np.array([[1 / layout.across, 0, 0], [0, 1 / layout.down, 0.5 / layout.down - 0.5]])
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane.astype(np.float32), places, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)


def _gathered(plane: np.ndarray, layout: Layout) -> np.ndarray:
    """A sample of colour of so many pixels each: their mean, and across that of the neighbours at the left as well."""
    if (layout.across, layout.down) == (1, 1):
        return plane
    import cv2

    across = np.ones(1) if layout.across == 1 else np.array([0.5, *[1] * (layout.across - 1), 0.5]) / layout.across
    down = np.full(layout.down, 1 / layout.down)
    anchor = len(across) // 2, 0
    means = cv2.sepFilter2D(plane, cv2.CV_32F, across, down, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
    return means[:: layout.down, :: layout.across]


def _rounded(samples: np.ndarray, layout: Layout) -> np.ndarray:
    return (samples + 0.5).clip(0, layout.peak).astype(layout.dtype)
