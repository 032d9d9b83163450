"""PSNR and SSIM under named protocols.

Four conventions are in use in super-resolution and differ by 0.02 to 0.15 dB, so every figure names
its own. All crop ``scale`` pixels off every side, use a peak of 255 and take SSIM as Wang et al.
(2004): 11x11 Gaussian window of sigma 1.5, valid region only, K1 = 0.01, K2 = 0.03, population
covariance. SSIM and the mean squared error are scikit-image's, taken band by band of a large picture.

============  ==================================  =====================================
protocol      network output to 8 bits            luma
============  ==================================  =====================================
published     truncated, as LESRCNN's release     rounded to uint8, as MATLAB's rgb2ycbcr
modern        rounded                             kept as float
luma          none: its luma is measured          rounded to uint8
double        rounded                             kept as float
============  ==================================  =====================================

``luma`` is what the papers of networks for luma report (SRCNN, FSRCNN, VDSR, as their MATLAB code measures): the
original is HR's luma, rounded to uint8, and the network is given what ``imresize`` makes of that luma in double
precision, not rounded, as a grey picture. Of a file that has grey alone, that is taken as luma as it is. ``double`` is
LapSRN's, as its MATLAB code measures: the network is given what ``imresize`` makes of HR in double precision, not
rounded.
"""

import math
from collections.abc import Iterator

import numpy as np

from dataset import bicubic, picture
from dataset.picture import Picture

PROTOCOLS = ("published", "modern", "luma", "double")
CHANNELS = ("luma", "rgb")

_WINDOW = 11
_PIXELS = 2**19  # of a band, about


def luma(rgb: np.ndarray, protocol: str = "published") -> np.ndarray:
    """Luma of an (H, W, 3) RGB picture, uint8, or float in [0, 1], which may lie beyond: 16 to 235.

    Returns:
        (H, W), float64 for ``modern`` and ``double``, else uint8 rounded.
    """
    y = picture.luma(rgb)
    return y if protocol in ("modern", "double") else np.round(y).clip(0, 255).astype(np.uint8)


def luma_pair(hr: Picture, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """LR and HR of the protocol ``luma``: grey float pictures, (H / scale, W / scale, 3) and (H, W, 3).

    Args:
        hr: the original, 8 bits, both sides multiples of ``scale``.
        scale: the factor.
    """
    y = (hr.rgb[:, :, 0] if hr.grey else luma(hr.rgb)).astype(np.float64)
    return tuple(np.repeat(((y - 16) / 219)[:, :, None], 3, axis=2) for y in (_shrunk(y, scale), y))


def double_pair(hr: Picture, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """LR and HR of the protocol ``double``: float RGB, (H / scale, W / scale, 3), and HR's own, as of ``luma_pair``."""
    return _shrunk(hr.rgb / 255, scale), hr.rgb


# Protocols that make the LR from HR.
PAIRS = {"luma": luma_pair, "double": double_pair}


def _shrunk(pixels: np.ndarray, scale: int) -> np.ndarray:
    """As MATLAB's imresize shrinks a picture of double precision."""
    return bicubic.imresize(pixels, 1 / scale, boundary="symmetric", intermediate="float")


def psnr_ssim(
    sr: np.ndarray, hr: np.ndarray, scale: int, protocol: str = "published", channel: str = "luma"
) -> tuple[float | None, float | None]:
    """PSNR in dB and SSIM of a super-resolved picture.

    Args:
        sr: (H, W, 3) RGB, the network's output as ``protocol`` quantises it: uint8, or for ``luma`` float in [0, 1].
        hr: (H, W, 3) RGB, the original: uint8, or for ``luma`` what :func:`luma_pair` makes of it.
        scale: pixels cut off every side before measuring.
        protocol: one of :data:`PROTOCOLS`.
        channel: ``luma``, or ``rgb`` for the mean over the three colour channels, which the protocol ``luma`` has not.

    Returns:
        PSNR (infinite for equal pictures) and SSIM (at most 1); None for what cannot be measured
        because too little is left after the cut: PSNR needs 1 pixel, SSIM 11x11.

    Raises:
        ValueError: if the shapes differ, or for a protocol or channel that there is not.
    """
    if protocol not in PROTOCOLS or channel not in CHANNELS or (protocol, channel) == ("luma", "rgb"):
        raise ValueError(f"no protocol {protocol!r} with channel {channel!r}")
    if sr.shape != hr.shape:
        raise ValueError(f"SR is {sr.shape}, HR is {hr.shape}")
    cut = (slice(scale, -scale),) * 2 if scale else (slice(None),) * 2
    sr, hr = sr[cut], hr[cut]
    height, width = hr.shape[:2]
    if hr.size == 0:
        return None, None
    squares, similarities = [], []  # sums over bands
    for rows, window in _bands(height, width):
        two = [luma(rgb[window], protocol) if channel == "luma" else rgb[window] for rgb in (hr, sr)]
        inner = slice(rows.start - window.start, rows.stop - window.start)
        squares.append(_squares(*(pixels[inner] for pixels in two)))
        if min(height, width) >= _WINDOW:
            similarities.append(_similarities(*two))
    mse = math.fsum(squares) / (height * width * (3 if channel == "rgb" else 1))
    psnr = 10 * math.log10(255**2 / mse) if mse else math.inf
    places = (height - _WINDOW + 1) * (width - _WINDOW + 1) * (3 if channel == "rgb" else 1)
    return psnr, math.fsum(similarities) / places if similarities else None


def luma_planes(sr: np.ndarray, hr: np.ndarray, scale: int, protocol: str) -> tuple[np.ndarray, np.ndarray]:
    """Luma of two pictures as :func:`psnr_ssim` compares it: (H - 2 scale, W - 2 scale) float64 each, in 0..255."""
    cut = (slice(scale, -scale),) * 2 if scale else (slice(None),) * 2
    return tuple(luma(rgb[cut], protocol).astype(np.float64) for rgb in (sr, hr))


def _bands(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows of a picture, and those with what SSIM's window needs around them; of a small picture all at once.

    The measures need memory for some ten numbers of double precision per pixel.
    """
    count = max(1, min(height // (2 * _WINDOW), height * width // _PIXELS))
    edges = [height * i // count for i in range(count + 1)]
    for top, bottom in zip(edges, edges[1:]):
        # A window belongs to the band that its middle row lies in.
        yield slice(top, bottom), slice(max(0, top - _WINDOW // 2), min(height, bottom + _WINDOW // 2))


def _squares(hr: np.ndarray, sr: np.ndarray) -> float:
    """The sum of the squared differences."""
    from skimage.metrics import mean_squared_error

    return float(mean_squared_error(hr, sr)) * hr.size


def _similarities(hr: np.ndarray, sr: np.ndarray) -> float:
    """The sum of SSIM over all places where its window fits."""
    from skimage.metrics import structural_similarity

    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, places = structural_similarity(hr, sr, full=True, channel_axis=2 if hr.ndim == 3 else None, **options)
    around = _WINDOW // 2
    return float(places[around:-around, around:-around].sum(dtype=np.float64))
