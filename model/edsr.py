"""EDSR, an enhanced deep residual network, in its small size (EDSR-baseline): not LESRCNN's rival but its teacher.

Lim, Son, Kim, Nah, Lee: "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops 2017,
arXiv 1707.02921. Nearly all of its layers are at LR size, and skips lead around all of them.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .ops import NONE, Margins, MeanShift, Network, SubPixelUpsampler, centre, trim

CHANNELS = 64  # EDSR-baseline, Table 1
BLOCKS = 16


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


class ResidualBlock(nn.Module):
    """(N, 64, H, W) -> the same: a layer, its rectifier, another layer, and the skip (Section 3.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv3x3(CHANNELS, CHANNELS)
        self.second = conv3x3(CHANNELS, CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(x)))


class Net(Network):
    """EDSR-baseline, or a blind one: the same with an up-sampler for each scale.

    Input: RGB (N, 3, H, W) in [0, 1]. Output: RGB (N, 3, scale * H, scale * W), about [0, 1], not clamped.

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: one network with the up-samplers of all three scales.

    Raises:
        ValueError: for another scale.
    """

    blind = True
    picture_facing = ("head", "last")

    def __init__(self, scale: int = 2, multi_scale: bool = False) -> None:
        super().__init__(scale, multi_scale)
        self.sub_mean = MeanShift(-1)
        self.head = conv3x3(3, CHANNELS)
        self.blocks = nn.Sequential(*(ResidualBlock() for _ in range(BLOCKS)))
        self.tail = conv3x3(CHANNELS, CHANNELS)
        self.up = nn.ModuleDict({f"x{s}": SubPixelUpsampler(s, CHANNELS) for s in self.scales})
        self.last = conv3x3(CHANNELS, 3)
        self.add_mean = MeanShift(+1)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`."""
        scale = self.chosen(scale)
        shallow = self.head(self.sub_mean(x))
        deep = shallow + self.tail(self.blocks(shallow))
        return trim(self.add_mean(self.last(self.up[f"x{scale}"](deep))), margins, scale)

    def reach(self, scale: int) -> float:
        return 2 + 2 * BLOCKS + SubPixelUpsampler.reach(scale) + 1 / scale

    @torch.no_grad()
    def init_identity(self) -> None:
        """Start as a bilinear enlarger, as LESRCNN's ``init_identity`` does, and for its reason."""
        self.head.weight[:3] = centre(torch.eye(3))
        self.head.bias[:3].zero_()
        for block in self.blocks:
            block.second.weight *= 0.1
            block.second.bias.zero_()
        self.tail.weight *= 0.1
        self.tail.bias.zero_()
        for up in self.up.values():
            up.init_bilinear(carried=3)
        self.last.weight *= 0.1
        self.last.weight[:, :3] = centre(torch.eye(3))
        self.last.bias.zero_()

    def hidden(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        return [(block.first, block.second) for block in self.blocks]
