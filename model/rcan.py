"""RCAN, a residual channel attention network: channels are weighed by what the whole picture has in them.

Zhang, Li, Li, Wang, Zhong, Fu: "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018,
arXiv 1807.02758.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .ops import NONE, Margins, MeanShift, Network, SubPixelUpsampler, centre, conv3x3, trim

LEVELS = 255.0  # the picture is 0 to 255 inside, as in the release: what the attention makes of it depends on that
_MOST = 1024  # groups, blocks, channels


class ChannelAttention(nn.Module):
    """(N, C, H, W) -> the same, each channel times a number from 0 to 1 that its mean and the others' decide
    (Section 3.3)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, kernel_size=1)
        self.up = nn.Conv2d(channels // reduction, channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.up(F.relu(self.down(means))))


class RCAB(nn.Module):
    """Residual channel attention block (Section 3.4). (N, C, H, W) -> the same."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.first = conv3x3(channels, channels)
        self.second = conv3x3(channels, channels)
        self.attention = ChannelAttention(channels, reduction)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.attention(self.second(F.relu(self.first(x))))


class ResidualGroup(nn.Module):
    """Blocks, a layer, and a short skip around them (Section 3.2). (N, C, H, W) -> the same."""

    def __init__(self, blocks: int, channels: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(RCAB(channels, reduction) for _ in range(blocks)))
        self.tail = conv3x3(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.tail(self.blocks(x))


class Net(Network):
    """RCAN (Section 3.1): groups of blocks in a long skip. It sees the whole picture, so it is never cut.

    Input: RGB (N, 3, H, W) in [0, 1]. Output: RGB (N, 3, scale * H, scale * W), about [0, 1], not clamped. Trainable
    parameters: 15,444,643 (x2), 15,629,283 (x3), 15,592,355 (x4), 15,740,067 (x8).

    Args:
        scale: 2, 3, 4 or 8.
        groups: how many.
        blocks: in each group.
        channels: of the features.
        reduction: of the channels in the attention.

    Raises:
        ValueError: for another scale or such options.
    """

    scales = (2, 3, 4, 8)
    picture_facing = ("head", "last")
    # Section 4.1
    published = {"patch_size": 48, "batch_size": 16, "loss_fn": "L1", "lr": 1e-4, "decay": 200_000, "clip": 0.0}

    def __init__(
        self,
        scale: int = 2,
        multi_scale: bool = False,
        groups: int = 10,
        blocks: int = 20,
        channels: int = 64,
        reduction: int = 16,
    ) -> None:
        options = {"groups": groups, "blocks": blocks, "channels": channels, "reduction": reduction}
        super().__init__(scale, multi_scale, **options)
        if not _possible(**options):
            told = f"these are from 1 to {_MOST}, channels from 3 and no less than reduction"
            raise ValueError(f"{told}; not {options}")
        self.sub_mean = MeanShift(-1)
        self.head = conv3x3(3, channels)
        self.groups = nn.Sequential(*(ResidualGroup(blocks, channels, reduction) for _ in range(groups)))
        self.tail = conv3x3(channels, channels)
        self.up = SubPixelUpsampler(scale, channels)
        self.last = conv3x3(channels, 3)
        self.add_mean = MeanShift(+1)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`."""
        scale = self.chosen(scale)
        shallow = self.head(LEVELS * self.sub_mean(x))
        deep = shallow + self.tail(self.groups(shallow))
        return trim(self.add_mean(self.last(self.up(deep)) * (1 / LEVELS)), margins, scale)

    @torch.no_grad()
    def init_identity(self) -> None:
        """Start as a bilinear enlarger, as LESRCNN's ``init_identity`` does, and for its reason."""
        self.head.weight[:3] = centre(torch.eye(3))
        for layer in (self.tail, *(group.tail for group in self.groups)):
            layer.weight *= 0.1
        self.up.init_bilinear(carried=3)
        self.last.weight *= 0.1
        self.last.weight[:, :3] = centre(torch.eye(3))
        for layer in (self.head, self.tail, self.last):
            nn.init.zeros_(layer.bias)

    def released_names(self) -> dict[str, str]:
        """BasicSR's (``conv_first``, ``body.0.residual_group.0.rcab.0``, ``upsample.0``, ...)."""
        table = {"head": "conv_first", "tail": "conv_after_body", "last": "conv_last"}
        for i, group in enumerate(self.groups):
            for j in range(len(group.blocks)):
                own, theirs = f"groups.{i}.blocks.{j}", f"body.{i}.residual_group.{j}.rcab"
                table |= {f"{own}.first": f"{theirs}.0", f"{own}.second": f"{theirs}.2"}
                table |= {f"{own}.attention.down": f"{theirs}.3.attention.1"}
                table |= {f"{own}.attention.up": f"{theirs}.3.attention.3"}
            table[f"groups.{i}.tail"] = f"body.{i}.conv"
        table |= {f"up.stages.{j}": f"upsample.{2 * j}" for j in range(len(self.up.stages))}
        return self.by_layer(table)

    @classmethod
    def options_of(cls, shapes: list[torch.Size]) -> Iterator[dict[str, Any]]:
        ones = [s for s in shapes if s[2:] == (1, 1)]  # two in each block
        for channels in {s[0] for s in shapes if s[1:] == (3, 3, 3)} if ones else ():
            groups = shapes.count((channels, channels, 3, 3)) - len(ones) - 1  # their last layers, less the network's
            blocks, rest = divmod(len(ones) // 2, max(groups, 1))
            reduction = channels // max(min(ones[0][:2]), 1)
            if _possible(groups, blocks, channels, reduction) and not rest:
                yield {"groups": groups, "blocks": blocks, "channels": channels, "reduction": reduction}


def _possible(groups: int, blocks: int, channels: int, reduction: int) -> bool:
    known = all(0 < number <= _MOST for number in (groups, blocks, channels, reduction))
    return known and channels >= max(3, reduction)
