"""FSRCNN, a faster SRCNN: it works at LR size, in few channels, and a deconvolution enlarges at the end.

Dong, Loy, Tang: "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016, arXiv 1608.00367.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .ops import OnLuma

DECONVOLUTION = 9  # side of its kernel


class Layer(nn.Module):
    """A convolution that repeats the edge of its input, and a PReLU with one slope."""

    def __init__(self, inputs: int, outputs: int, size: int, slopes: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="replicate")
        self.prelu = nn.PReLU(slopes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.prelu(self.conv(x))


class Net(OnLuma):
    """FSRCNN(d, s, m) (Section 3.2): feature extraction, shrinking, m mappings, expanding, deconvolution.

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 12,644; FSRCNN-s, which is d = 32, s = 5, m = 1, has 4,016.

    Args:
        scale: 2, 3 or 4.
        d: channels of the features.
        s: channels of the mappings.
        m: how many mappings.

    Raises:
        ValueError: for another scale.
    """

    options = ({"d": 56, "s": 12, "m": 4}, {"d": 32, "s": 5, "m": 1})
    picture_facing = ("layers.0", "deconv")

    def __init__(self, scale: int = 2, multi_scale: bool = False, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__(scale, multi_scale, d=d, s=s, m=m)
        self.layers = nn.Sequential(Layer(1, d, 5), Layer(d, s, 1), *(Layer(s, s, 3) for _ in range(m)), Layer(s, d, 1))
        self.deconv = nn.ConvTranspose2d(d, 1, DECONVOLUTION, stride=scale)

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        features = F.pad(self.layers(y), (1, 1, 1, 1), mode="replicate")
        # Where an LR pixel's kernel begins. The authors' code has it a pixel earlier at x3: the kernel's centre is
        # then the pixel's own.
        begin = scale + DECONVOLUTION // 2 - (scale == 3)
        height, width = (scale * side for side in y.shape[2:])
        fine = F.conv_transpose2d(features, self.deconv.weight, self.deconv.bias, stride=scale)
        return fine[:, :, begin : begin + height, begin : begin + width]

    def reach(self, scale: int) -> float:
        mappings = len(self.layers) - 3
        return 2 + mappings + DECONVOLUTION / 2 / scale

    def released_names(self) -> dict[str, str]:
        """Those of the paper's own weights: ``layers.0.conv`` is ``conv1`` there, ``layers.0.prelu`` ``prelu1``."""
        table = {"deconv.weight": "deconv.weight", "deconv.bias": "deconv.bias"}
        for i in range(len(self.layers)):
            table |= {f"layers.{i}.conv.{kind}": f"conv{i + 1}.{kind}" for kind in ("weight", "bias")}
            table[f"layers.{i}.prelu.weight"] = f"prelu{i + 1}.weight"
        return table
