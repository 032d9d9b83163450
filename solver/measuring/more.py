"""Figures beside PSNR and SSIM, for those who ask for them.

``ifc`` is our own (see :mod:`solver.measuring.ifc`). ``vif``, ``lpips`` and ``niqe`` are those of the library pyiqa, as
it sets them up, on RGB in [0, 1]; it fetches what weights they need. ``scale`` pixels are cut off every side for all.
"""

from collections.abc import Callable, Iterable

import numpy as np

from dataset import images
from dataset.errors import InputError

from ..arguments import PYIQA
from .ifc import ifc
from .metrics import luma_planes

# SR and HR, (H, W, 3) as psnr_ssim takes them, scale and protocol -> the figure, or None if there is too little of it.
Measure = Callable[[np.ndarray, np.ndarray, int, str], float | None]


def measures(names: Iterable[str]) -> dict[str, Measure]:
    """What measures the figures of these names.

    Raises:
        InputError: if pyiqa is needed and missing, or cannot get its weights.
    """
    return {name: _by_pyiqa(name) if name in PYIQA else _ifc for name in names}


def _ifc(sr: np.ndarray, hr: np.ndarray, scale: int, protocol: str) -> float | None:
    return ifc(*luma_planes(sr, hr, scale, protocol))


def _by_pyiqa(name: str) -> Measure:
    import torch

    try:
        import pyiqa

        metric = pyiqa.create_metric(name, device=torch.device("cpu"))
    except ImportError:
        raise InputError(f"--metrics {name}: needs the library pyiqa; install it with pip install pyiqa") from None
    except Exception as error:  # it raises anything where its weights do not come
        raise InputError(f"--metrics {name}: pyiqa cannot set it up: {error}") from None

    def measure(sr: np.ndarray, hr: np.ndarray, scale: int, protocol: str) -> float:
        cut = (slice(scale, -scale),) * 2
        sr, hr = (images.to_tensor(rgb[cut]).clamp(0, 1) for rgb in (sr, hr))
        return float(metric(sr) if name == "niqe" else metric(sr, hr))

    return measure
