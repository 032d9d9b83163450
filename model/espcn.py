"""ESPCN, an efficient sub-pixel convolutional network: all layers at LR size, the last one's channels are sub-pixels.

Shi, Caballero, Huszar, Totz, Aitken, Bishop, Rueckert, Wang: "Real-Time Single Image and Video Super-Resolution Using
an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016, arXiv 1609.05158.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .ops import OnLuma


class Net(OnLuma):
    """ESPCN (Section 3.1: three layers, f1 = 5, f2 = f3 = 3, n1 = 64, n2 = 32), tanh between them, zero padding.

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 21,284 (x2), 22,729 (x3), 24,752 (x4).

    Args:
        scale: 2, 3 or 4.

    Raises:
        ValueError: for another scale.
    """

    picture_facing = ("conv1", "conv3")
    # Section 3.2. The rate falls to a hundredth where the cost no longer does; when, and the batch, is not told.
    published = {"patch_size": 17, "optimizer": "SGD", "lr": 1e-2, "decay": 200_000, "decay_by": 0.1, "clip": 0.0}

    def __init__(self, scale: int = 2, multi_scale: bool = False) -> None:
        super().__init__(scale, multi_scale)
        self.conv1 = nn.Conv2d(1, 64, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(64, 32, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(32, scale**2, kernel_size=3, padding=1)

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        y = torch.tanh(self.conv1(y))
        y = torch.tanh(self.conv2(y))
        return F.pixel_shuffle(self.conv3(y), scale)

    def reach(self, scale: int) -> float:
        return 2 + 1 + 1

    def released_names(self) -> dict[str, str]:
        """The names in a released re-training of others (anujdutt9's Keras-like layers)."""
        layers = {"conv1": "feature_map_layer.0", "conv2": "feature_map_layer.2", "conv3": "sub_pixel_layer.0"}
        return {f"{own}.{kind}": f"{theirs}.{kind}" for own, theirs in layers.items() for kind in ("weight", "bias")}
