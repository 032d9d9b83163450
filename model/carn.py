"""CARN, a cascading residual network, and CARN-M, its mobile form: what each block makes is heard by all later ones.

Ahn, Kang, Sohn: "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", ECCV 2018, arXiv
1803.08664.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from .ops import NONE, Margins, MeanShift, Network, SubPixelUpsampler, centre, plus_minus, trim

VARIANTS = ("", "M")
CHANNELS = 64
BLOCKS = 3  # cascading blocks, and residual blocks in each
GROUPS = 4  # of the convolutions of CARN-M


def conv(inputs: int, outputs: int, size: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups)


class ResidualBlock(nn.Module):
    """Two layers and the skip (Figure 4a). (N, 64, H, W) -> the same, rectified."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(CHANNELS, CHANNELS), conv(CHANNELS, CHANNELS)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, last = self.layers
        return F.relu(last(F.relu(first(x))) + x)


class EfficientResidualBlock(nn.Module):
    """Two layers in groups, one of 1x1 and the skip (Section 3.2, Figure 4b). (N, 64, H, W) -> the same, rectified."""

    def __init__(self) -> None:
        super().__init__()
        grouped = [conv(CHANNELS, CHANNELS, groups=GROUPS) for _ in range(2)]
        self.layers = nn.ModuleList([*grouped, conv(CHANNELS, CHANNELS, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, last = self.layers
        return F.relu(last(F.relu(second(F.relu(first(x))))) + x)


class Cascade(nn.Module):
    """Blocks, after each of which a 1x1 layer hears all that have been made so far (Section 3.1).

    (N, 64, H, W) -> the same.

    Args:
        blocks: three, or one that is used three times.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.fusions = nn.ModuleList(conv((i + 2) * CHANNELS, CHANNELS, 1) for i in range(BLOCKS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heard = x
        for i, fusion in enumerate(self.fusions):
            heard = torch.cat([heard, self.blocks[i % len(self.blocks)](x)], dim=1)
            x = F.relu(fusion(heard))
        return x


class Upsampler(SubPixelUpsampler):
    """As its base, but rectified in each stage, and its layers are maybe in groups."""

    def __init__(self, scale: int, groups: int) -> None:
        super().__init__(scale, CHANNELS)
        self.stages = nn.ModuleList(conv(CHANNELS, CHANNELS * r * r, groups=groups) for r in self.factors)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage, r in zip(self.stages, self.factors, strict=True):
            x = F.pixel_shuffle(F.relu(stage(x)), r)
        return x


class Net(Network):
    """CARN, or CARN-M; a blind one has an up-sampler for each scale, as those released.

    Input: RGB (N, 3, H, W) in [0, 1]. Output: RGB (N, 3, scale * H, scale * W), about [0, 1], not clamped. Trainable
    parameters of x2, x3, x4, blind: 964,163, 1,148,803, 1,111,875, 1,591,939; of CARN-M 257,027, 303,427, 294,147,
    414,787.

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: one network with the up-samplers of all three scales.
        variant: "M", or "" for the large one.

    Raises:
        ValueError: for another scale or variant.
    """

    blind = True
    options = tuple({"variant": variant} for variant in VARIANTS)
    picture_facing = ("entry", "exit")
    # Section 4.2, from memory
    published = {"patch_size": 64, "batch_size": 64, "max_steps": 600_000, "loss_fn": "L1"}
    published |= {"lr": 1e-4, "decay": 400_000, "clip": 10.0}

    def __init__(self, scale: int = 2, multi_scale: bool = False, variant: str = "") -> None:
        super().__init__(scale, multi_scale, variant=variant)
        if variant not in VARIANTS:
            raise ValueError(f"there is no CARN-{variant}, only CARN and CARN-M")
        mobile = variant == "M"
        self.sub_mean = MeanShift(-1)
        self.entry = conv(3, CHANNELS)
        self.cascade = Cascade(
            Cascade([EfficientResidualBlock()] if mobile else (ResidualBlock() for _ in range(BLOCKS)))
            for _ in range(BLOCKS)
        )
        self.up = nn.ModuleDict({f"x{s}": Upsampler(s, GROUPS if mobile else 1) for s in self.scales})
        self.exit = conv(CHANNELS, 3)
        self.add_mean = MeanShift(+1)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`."""
        scale = self.chosen(scale)
        features = self.up[f"x{scale}"](self.cascade(self.entry(self.sub_mean(x))))
        return trim(self.add_mean(self.exit(features)), margins, scale)

    def reach(self, scale: int) -> float:
        return 1 + 2 * BLOCKS * BLOCKS + SubPixelUpsampler.reach(scale) + 1 / scale

    @torch.no_grad()
    def init_identity(self) -> None:
        """Start as a bilinear enlarger, as LESRCNN's ``init_identity`` does, and for its reason."""
        self.entry.weight[:6] = centre(plus_minus())
        self.entry.bias[:6].zero_()
        for cascade in (self.cascade, *self.cascade.blocks):
            for fusion in cascade.fusions:
                fusion.weight[:6] = centre(torch.eye(6, fusion.in_channels), size=1)
                fusion.bias[:6].zero_()
        for up in self.up.values():
            up.init_bilinear(carried=6)
        self.exit.weight *= 0.1
        self.exit.weight[:, :6] = centre(plus_minus().T)
        self.exit.bias.zero_()

    def released_names(self) -> dict[str, str]:
        """Those of the authors' code (``b1.b2.body.0``, ``b1.c1.body.0``, ``upsample.up2.body.0``, ...)."""
        table = {"entry": "entry", "exit": "exit"}
        for i, cascade in enumerate(self.cascade.blocks):
            for j, block in enumerate(cascade.blocks):
                own, theirs = f"cascade.blocks.{i}.blocks.{j}.layers", f"b{i + 1}.b{j + 1}.body"
                table |= {f"{own}.{k}": f"{theirs}.{2 * k}" for k in range(len(block.layers))}
            table |= {f"cascade.blocks.{i}.fusions.{j}": f"b{i + 1}.c{j + 1}.body.0" for j in range(BLOCKS)}
        table |= {f"cascade.fusions.{j}": f"c{j + 1}.body.0" for j in range(BLOCKS)}
        for scale in self.scales:
            body = f"upsample.up{scale if self.multi_scale else ''}.body"
            table |= {f"up.x{scale}.stages.{j}": f"{body}.{3 * j}" for j in range(len(self.up[f"x{scale}"].stages))}
        return self.by_layer(table)

    def other_names(self) -> Iterator[dict[str, str]]:
        """A blind file cut down to one scale."""
        if not self.multi_scale:
            yield {k: v.replace(".up.", f".up{self.scale}.") for k, v in self.released_names().items()}

    def released_constants(self) -> dict[str, torch.Tensor]:
        """The released files' extra entries: both mean shifts as frozen 1x1 convolutions."""
        return self.sub_mean.as_layer("sub_mean.shifter") | self.add_mean.as_layer("add_mean.shifter")
