"""PSNR and SSIM under named protocols.

Two conventions are in use in super-resolution and differ by 0.02 to 0.15 dB, so every figure names
its own. Both crop ``scale`` pixels off every side, use a peak of 255 and take SSIM as Wang et al.
(2004): 11x11 Gaussian window of sigma 1.5, valid region only, K1 = 0.01, K2 = 0.03, population
covariance. PSNR and SSIM themselves are scikit-image's.

============  ==================================  =====================================
protocol      network output to 8 bits            luma
============  ==================================  =====================================
published     truncated, as LESRCNN's release     rounded to uint8, as MATLAB's rgb2ycbcr
modern        rounded                             kept as float
============  ==================================  =====================================
"""

import numpy as np

PROTOCOLS = ("published", "modern")
CHANNELS = ("luma", "rgb")

_LUMA = np.array([65.481, 128.553, 24.966]) / 255  # ITU-R BT.601, as MATLAB's rgb2ycbcr
_WINDOW = 11


def luma(rgb: np.ndarray, protocol: str = "published") -> np.ndarray:
    """Luma of an (H, W, 3) uint8 RGB picture, 16 to 235.

    Returns:
        (H, W), uint8 rounded for ``published``, float64 for ``modern``.
    """
    y = rgb @ _LUMA + 16
    return np.round(y).astype(np.uint8) if protocol == "published" else y


def psnr_ssim(
    sr: np.ndarray, hr: np.ndarray, scale: int, protocol: str = "published", channel: str = "luma"
) -> tuple[float | None, float | None]:
    """PSNR in dB and SSIM of a super-resolved picture.

    Args:
        sr: (H, W, 3) uint8 RGB, the network's output as ``protocol`` quantises it.
        hr: (H, W, 3) uint8 RGB, the original.
        scale: pixels cut off every side before measuring.
        protocol: ``published`` or ``modern``.
        channel: ``luma``, or ``rgb`` for the mean over the three colour channels.

    Returns:
        PSNR (infinite for equal pictures) and SSIM (at most 1); None for what cannot be measured
        because too little is left after the cut: PSNR needs 1 pixel, SSIM 11x11.

    Raises:
        ValueError: if the shapes differ, or for an unknown protocol or channel.
    """
    from skimage.metrics import structural_similarity

    if protocol not in PROTOCOLS or channel not in CHANNELS:
        raise ValueError(f"no protocol {protocol!r} with channel {channel!r}")
    if sr.shape != hr.shape:
        raise ValueError(f"SR is {sr.shape}, HR is {hr.shape}")
    cut = (slice(scale, -scale),) * 2 if scale else (slice(None),) * 2
    sr, hr = sr[cut], hr[cut]
    if channel == "luma":
        sr, hr = luma(sr, protocol), luma(hr, protocol)
    ssim = None
    if min(sr.shape[:2]) >= _WINDOW:
        ssim = float(
            structural_similarity(
                hr,
                sr,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                channel_axis=2 if channel == "rgb" else None,
            )
        )
    return _psnr(hr, sr), ssim


def _psnr(hr: np.ndarray, sr: np.ndarray) -> float | None:
    from skimage.metrics import peak_signal_noise_ratio

    if hr.size == 0:
        return None
    with np.errstate(divide="ignore"):  # equal pictures: infinite, and that is the answer
        return float(peak_signal_noise_ratio(hr, sr, data_range=255))
