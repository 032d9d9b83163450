"""EDSR, an enhanced deep residual network, in its small size (EDSR-baseline): not LESRCNN's rival but its teacher.

Lim, Son, Kim, Nah, Lee: "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops 2017,
arXiv 1707.02921. Nearly all of its layers are at LR size, and skips lead around all of them.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .ops import NONE, Margins, MeanShift, Network, SubPixelUpsampler, centre, conv3x3, trim

LEVELS = 255.0  # the range of pictures inside BasicSR's network
_MOST = 1024  # channels, and blocks


class ResidualBlock(nn.Module):
    """(N, C, H, W) -> the same: a layer, its rectifier, another layer, and the skip (Section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv3x3(channels, channels)
        self.second = conv3x3(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(x)))


class Net(Network):
    """EDSR-baseline, or a blind one: the same with an up-sampler for each scale.

    Input: RGB (N, 3, H, W) in [0, 1]. Output: RGB (N, 3, scale * H, scale * W), about [0, 1], not clamped. Trainable
    parameters: 1,369,859 (x2), 1,554,499 (x3), 1,517,571 (x4).

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: one network with the up-samplers of all three scales.
        channels: of the features; 64 in Table 1.
        blocks: how many; 16 in Table 1.

    Raises:
        ValueError: for another scale or such options.
    """

    blind = True
    picture_facing = ("head", "last")

    def __init__(self, scale: int = 2, multi_scale: bool = False, channels: int = 64, blocks: int = 16) -> None:
        super().__init__(scale, multi_scale, channels=channels, blocks=blocks)
        if not _possible(channels, blocks):
            raise ValueError(f"channels are from 3, blocks from 1, both to {_MOST}; not {channels} and {blocks}")
        self.sub_mean = MeanShift(-1)
        self.head = conv3x3(3, channels)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.tail = conv3x3(channels, channels)
        self.up = nn.ModuleDict({f"x{s}": SubPixelUpsampler(s, channels) for s in self.scales})
        self.last = conv3x3(channels, 3)
        self.add_mean = MeanShift(+1)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`."""
        scale = self.chosen(scale)
        shallow = self.head(self.sub_mean(x))
        deep = shallow + self.tail(self.blocks(shallow))
        return trim(self.add_mean(self.last(self.up[f"x{scale}"](deep))), margins, scale)

    def reach(self, scale: int) -> float:
        return 2 + 2 * len(self.blocks) + SubPixelUpsampler.reach(scale) + 1 / scale

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

    def other_names(self) -> Iterator[dict[str, str]]:
        """BasicSR's (``conv_first``, ``body.0.conv1``, ``upsample.0``, ...)."""
        if self.multi_scale:
            return
        table = {"head": "conv_first", "tail": "conv_after_body", "last": "conv_last"}
        for i in range(len(self.blocks)):
            table |= {f"blocks.{i}.first": f"body.{i}.conv1", f"blocks.{i}.second": f"body.{i}.conv2"}
        up = f"up.x{self.scale}.stages"
        table |= {f"{up}.{j}": f"upsample.{2 * j}" for j in range(len(self.up[f"x{self.scale}"].stages))}
        yield self.by_layer(table)

    def translated(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        """See :class:`model.ops.Network`. Pictures are 0 to 255 inside BasicSR's network, and so its biases are."""
        found = super().translated(state)
        if found is None or "conv_first.bias" not in state:
            return found
        return {name: value.double() / LEVELS if name.endswith("bias") else value for name, value in found.items()}

    @classmethod
    def options_of(cls, shapes: list[torch.Size]) -> Iterator[dict[str, Any]]:
        for channels in {s[0] for s in shapes if s[1:] == (3, 3, 3)}:
            blocks = (shapes.count((channels, channels, 3, 3)) - 1) // 2
            if _possible(channels, blocks):
                yield {"channels": channels, "blocks": blocks}


def _possible(channels: int, blocks: int) -> bool:
    return 3 <= channels <= _MOST and 0 < blocks <= _MOST
