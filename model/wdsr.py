"""WDSR, wide activation: few channels on the skips, many before each rectifier, and weight normalization.

Yu, Fan, Yang, Xu, Wang, Wang, Huang: "Wide Activation for Efficient and Accurate Image Super-Resolution", 2018, arXiv
1808.08718.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from .ops import DIV2K_MEAN, NONE, Bicubic, Margins, MeanShift, Network, trim

VARIANTS = ("A", "B")
RANGE = 2.0  # of the picture inside, -1 to 1 but for the mean
_MOST = 1024  # channels, and blocks


def conv(inputs: int, outputs: int, size: int = 3, norm: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    return weight_norm(layer) if norm else layer


class Block(nn.Module):
    """(N, n, H, W) -> the same. A (Section 3.1): 3x3 to 4 n, rectifier, 3x3 to n. B (Section 3.2): 1x1 to 6 n,
    rectifier, 1x1 to 0.8 n, 3x3 to n."""

    def __init__(self, channels: int, variant: str, norm: bool) -> None:
        super().__init__()
        if variant == "A":
            wide = 4 * channels
            self.wide = conv(channels, wide, norm=norm)
            self.narrow = nn.Sequential(conv(wide, channels, norm=norm))
        else:
            wide, few = 6 * channels, int(0.8 * channels)
            self.wide = conv(channels, wide, 1, norm)
            self.narrow = nn.Sequential(conv(wide, few, 1, norm), conv(few, channels, norm=norm))

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
        norm: whether weights are normalized; krasserm's have their norms in them.

    Raises:
        ValueError: for another scale or such options.
    """

    options = ({"variant": "A"}, {"variant": "B"}, {"variant": "A", "blocks": 8, "norm": False})
    picture_facing = ("head", "tail", "skip")
    # Section 4.1
    published = {"patch_size": 48, "batch_size": 16, "loss_fn": "L1", "lr": 1e-3, "decay": 200_000, "clip": 0.0}

    def __init__(
        self,
        scale: int = 2,
        multi_scale: bool = False,
        variant: str = "A",
        channels: int = 32,
        blocks: int = 16,
        norm: bool = True,
    ) -> None:
        super().__init__(scale, multi_scale, variant=variant, channels=channels, blocks=blocks, norm=norm)
        if not _possible(variant, channels, blocks):
            told = f"variants are {' and '.join(VARIANTS)}, channels from 2 and blocks from 1 to {_MOST}"
            raise ValueError(f"{told}, not {variant}, {channels} and {blocks}")
        self.sub_mean = MeanShift(-1)
        self.head = conv(3, channels, norm=norm)
        self.blocks = nn.Sequential(*(Block(channels, variant, norm) for _ in range(blocks)))
        self.tail = conv(channels, 3 * scale**2, norm=norm)
        self.skip = conv(3, 3 * scale**2, 5, norm)
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

    @torch.no_grad()
    def init_identity(self) -> None:
        """Start as bicubic interpolation, but for the edges and a little of the blocks' own."""
        skip = torch.zeros_like(self.skip.weight)
        taps = Bicubic(self.scale).kernels
        kernels = torch.einsum("iy,jx->ijyx", taps, taps).flatten(0, 1)
        for channel, part in enumerate(skip.split(self.scale**2)):
            part[:, channel] = kernels
        _assign(self.skip, skip)
        _assign(self.tail, 0.1 * self.tail.weight)
        for layer in (self.skip, self.tail):
            nn.init.zeros_(layer.bias)

    def released_names(self) -> dict[str, str]:
        """Those of the authors' code (``head.0.weight_v``, ``body.0.body.2.weight_g``, ...); without norms, those of
        krasserm's weights (``head.weight``, ``body.0.conv2.weight``, ...)."""
        norm = self.configuration["norm"]
        table = {name: f"{name}.0" if norm else name for name in ("head", "tail", "skip")}
        for i, block in enumerate(self.blocks):
            for j, own in enumerate(("wide", *(f"narrow.{j}" for j in range(len(block.narrow))))):
                table[f"blocks.{i}.{own}"] = f"body.{i}.body.{j + (j > 0)}" if norm else f"body.{i}.conv{j + 1}"
        if not norm:
            return self.by_layer(table)
        kinds = {"bias": "bias", "parametrizations.weight.original0": "weight_g"}
        kinds["parametrizations.weight.original1"] = "weight_v"
        return {f"{own}.{a}": f"{theirs}.{b}" for own, theirs in table.items() for a, b in kinds.items()}

    def released_constants(self) -> dict[str, torch.Tensor]:
        return {} if self.configuration["norm"] else {"mean": torch.tensor(DIV2K_MEAN)}

    @classmethod
    def options_of(cls, shapes: list[torch.Size]) -> Iterator[dict[str, Any]]:
        norm = any(s[1:] == (1, 1, 1) for s in shapes)
        for channels in {s[0] for s in shapes if s[1:] == (3, 3, 3)}:
            of_block = {"A": (4 * channels, channels, 3, 3), "B": (6 * channels, channels, 1, 1)}
            for variant, wide in of_block.items():
                options = {"variant": variant, "channels": channels, "blocks": shapes.count(wide)}
                if _possible(**options):
                    yield options | {"norm": norm}


def _assign(layer: nn.Conv2d, weight: torch.Tensor) -> None:
    """Give a layer a weight, which may be normalized there."""
    if is_parametrized(layer):
        layer.weight = weight
    else:
        layer.weight.copy_(weight)


def _possible(variant: str, channels: int, blocks: int) -> bool:
    return variant in VARIANTS and 1 < channels <= _MOST and 0 < blocks <= _MOST
