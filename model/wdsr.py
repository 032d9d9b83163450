"""WDSR, wide activation: few channels on the skips, many before each rectifier, and weight normalization.

Yu, Fan, Yang, Xu, Wang, Wang, Huang: "Wide Activation for Efficient and Accurate Image Super-Resolution", 2018, arXiv
1808.08718.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from .ops import NONE, Margins, MeanShift, Network, trim

VARIANTS = ("A", "B")
RANGE = 2.0  # of the picture inside, -1 to 1 but for the mean
_MOST = 1024  # channels, and blocks


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    return weight_norm(nn.Conv2d(inputs, outputs, size, padding=size // 2))


class Block(nn.Module):
    """(N, n, H, W) -> the same. A (Section 3.1): 3x3 to 4 n, rectifier, 3x3 to n. B (Section 3.2): 1x1 to 6 n,
    rectifier, 1x1 to 0.8 n, 3x3 to n."""

    def __init__(self, channels: int, variant: str) -> None:
        super().__init__()
        self.wide = conv(channels, 4 * channels) if variant == "A" else conv(channels, 6 * channels, 1)
        few = int(0.8 * channels)
        narrow = [conv(4 * channels, channels)] if variant == "A" else [conv(6 * channels, few, 1), conv(few, channels)]
        self.narrow = nn.Sequential(*narrow)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(F.relu(self.wide(x)))


class Net(Network):
    """WDSR (Section 3.3): all layers at LR size, the last one's channels are sub-pixels, and so are those of a skip.

    Input: RGB (N, 3, H, W) in [0, 1]. Output: RGB (N, 3, scale * H, scale * W), about [0, 1], not clamped. Trainable
    parameters of x2, x3, x4, norms included: 1,190,100, 1,195,605, 1,203,312 (A), 303,604, 309,109, 316,816 (B).

    Args:
        scale: 2, 3 or 4.
        variant: one of :data:`VARIANTS`.
        channels: on the skips, n.
        blocks: how many.

    Raises:
        ValueError: for another scale or such options.
    """

    options = ({"variant": "A"}, {"variant": "B"})
    picture_facing = ("head", "tail", "skip")
    # Section 4.1
    published = {"patch_size": 48, "batch_size": 16, "loss_fn": "L1", "lr": 1e-3, "decay": 200_000, "clip": 0.0}

    def __init__(
        self, scale: int = 2, multi_scale: bool = False, variant: str = "A", channels: int = 32, blocks: int = 16
    ) -> None:
        super().__init__(scale, multi_scale, variant=variant, channels=channels, blocks=blocks)
        if variant not in VARIANTS or not (1 < channels <= _MOST and 0 < blocks <= _MOST):
            told = f"variants are {' and '.join(VARIANTS)}, channels from 2 and blocks from 1 to {_MOST}"
            raise ValueError(f"{told}, not {variant}, {channels} and {blocks}")
        self.sub_mean = MeanShift(-1)
        self.head = conv(3, channels)
        self.blocks = nn.Sequential(*(Block(channels, variant) for _ in range(blocks)))
        self.tail = conv(channels, 3 * scale**2)
        self.skip = conv(3, 3 * scale**2, 5)
        self.add_mean = MeanShift(+1)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`."""
        scale = self.chosen(scale)
        x = RANGE * self.sub_mean(x)
        fine = self.tail(self.blocks(self.head(x))) + self.skip(x)
        return trim(self.add_mean(F.pixel_shuffle(fine, scale) * (1 / RANGE)), margins, scale)

    def reach(self, scale: int) -> float:
        layers = 2 if self.configuration["variant"] == "A" else 1
        return 2 + layers * len(self.blocks)

    def released_names(self) -> dict[str, str]:
        """Those of the authors' code (``head.0.weight_v``, ``body.0.body.2.weight_g``, ...)."""
        table = {name: f"{name}.0" for name in ("head", "tail", "skip")}
        for i, block in enumerate(self.blocks):
            table[f"blocks.{i}.wide"] = f"body.{i}.body.0"
            table |= {f"blocks.{i}.narrow.{j}": f"body.{i}.body.{j + 2}" for j in range(len(block.narrow))}
        kinds = {"bias": "bias", "parametrizations.weight.original0": "weight_g"}
        kinds["parametrizations.weight.original1"] = "weight_v"
        return {f"{own}.{a}": f"{theirs}.{b}" for own, theirs in table.items() for a, b in kinds.items()}
