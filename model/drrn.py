"""DRRN, a deep recursive residual network: the same two layers again and again, each time from the first features.

Tai, Yang, Liu: "Image Super-Resolution via Deep Recursive Residual Network", CVPR 2017.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .lesrcnn import conv3x3
from .ops import OnLuma

CHANNELS = 128
_MOST = 1024  # recursions


class Net(OnLuma):
    """DRRN with one recursive block (B1) of U residual units (Section 3.2); its weights do not depend on the scale.

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 297,216, however often they are used.

    Each layer is activated before it convolves. The skip carries the first features rectified, as in the port whose
    weights are around; without biases and normalization.

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: train one network on all three scales, as the paper does.
        u: residual units; 9 in DRRN_B1U9, 25 in DRRN_B1U25.

    Raises:
        ValueError: for another scale or number.
    """

    blind = True
    options = ({"u": 25},)
    picture_facing = ("input", "output")
    enlarged_before = True
    # Section 4.2, from memory, and the authors' Caffe solver, of whose clipping their page tells; patches of 31x31 at
    # HR size are here of whole LR pixels.
    published = {"patch_size": {0: 10, 2: 16, 3: 10, 4: 8}, "batch_size": 128, "init": "published", "optimizer": "SGD"}
    published |= {"momentum": 0.9, "weight_decay": 1e-4, "loss_fn": "Euclidean", "clip_by": "norm_rate"}
    published |= {"clip": 0.01, "lr": 0.1, "decay_by": 0.5, "decay": 65_360, "max_steps": 2_000_000}
    # A shared layer's step counts as often as it is used: at 3e-3 the first steps quadruple the loss.
    modern = OnLuma.modern | {"lr": 1e-3}

    def __init__(self, scale: int = 2, multi_scale: bool = False, u: int = 25) -> None:
        super().__init__(scale, multi_scale, u=u)
        if not 0 < u <= _MOST:
            raise ValueError(f"u is from 1 to {_MOST}, not {u}")
        self.u = u
        self.input = conv3x3(1, CHANNELS)
        self.conv1 = conv3x3(CHANNELS, CHANNELS)
        self.conv2 = conv3x3(CHANNELS, CHANNELS)
        self.output = conv3x3(CHANNELS, 1)

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        first = F.relu(self.input(F.relu(y)))
        x = first
        for _ in range(self.u):
            x = first + self.conv2(F.relu(self.conv1(F.relu(x))))
        return y + self.output(F.relu(x))

    def init_identity(self) -> None:
        """Start as bicubic interpolation, with layers that let a picture through, as VDSR's does."""
        self.init_published()
        nn.init.zeros_(self.output.weight)

    def init_published(self) -> None:
        """He et al.'s start for layers that are rectified (ICCV 2015)."""
        for parameter in self.parameters():
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")

    def reach(self, scale: int) -> float:
        return self.bicubic[f"x{scale}"].reach + (2 * self.u + 2) / scale
