"""CFSRCNN, a coarse-to-fine super-resolution CNN.

Tian, Xu, Zuo, Zhang, Fei, Lin: "Coarse-to-Fine CNN for Image Super-Resolution", IEEE Transactions on Multimedia 23
(2021), arXiv 2003.13064. Four blocks in a row, of which the first two are at LR size:

    LR --> FEB --> EB --> CB --> FRB --> SR
    feature        enhancement   feature
    extraction           construction  refinement

Where the paper's figures and its own code disagree, this file follows the code.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .lesrcnn import CHANNELS, conv1x1, conv3x3
from .ops import NONE, Margins, MeanShift, Network, SubPixelUpsampler, centre, plus_minus, trim

PAIRS = 16  # of a 1x1 and a 3x3 layer in the FEB
ENHANCEMENTS = 5
REFINEMENTS = 5


class FEB(nn.Module):
    """Feature extraction block: 33 layers, each pair of which hears the two 3x3 layers before it.

    Input (N, 3, H, W), mean-shifted. Returns the outputs of its 17 3x3 layers, (N, 64, H, W) each, of which the first
    is rectified.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = conv3x3(3, CHANNELS)
        self.conv1 = nn.ModuleList(conv1x1(CHANNELS * (1 if i == 0 else 2), CHANNELS) for i in range(PAIRS))
        self.conv3 = nn.ModuleList(conv3x3(CHANNELS, CHANNELS) for _ in range(PAIRS))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = [F.relu(self.first(x))]
        for conv1, conv3 in zip(self.conv1, self.conv3):
            features.append(conv3(F.relu(conv1(both(features)))))
        return features


class EB(nn.Module):
    """Enhancement block: the sum of all that the FEB has found, of a layer that hears its last two, and five more.

    The FEB's outputs in, the first and the enhanced features out, (N, 64, H, W) each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fuse = conv3x3(2 * CHANNELS, CHANNELS)
        self.enhance = nn.ModuleList(conv3x3(CHANNELS, CHANNELS) for _ in range(ENHANCEMENTS))

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        deep = F.relu(sum(features) + self.fuse(both(features)))
        for conv in self.enhance:
            deep = F.relu(conv(deep))
        return deep


class FRB(nn.Module):
    """Feature refinement block: six layers at HR size. (N, 64, H, W) -> (N, 3, H, W), the picture less its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.refine = nn.ModuleList(conv3x3(CHANNELS, CHANNELS) for _ in range(REFINEMENTS))
        self.last = conv3x3(CHANNELS, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.refine:
            x = F.relu(conv(x))
        return self.last(x)


class Net(Network):
    """CFSRCNN, or a blind one: the same with an up-sampler for each scale.

    Input: RGB (N, 3, H, W) in [0, 1]. Output: RGB (N, 3, scale * H, scale * W), about [0, 1], not clamped. Trainable
    parameters: 1,310,336 (x2), 1,494,976 (x3), 1,458,048 (x4), 1,938,112 (blind).

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: one network with the up-samplers of all three scales.

    Raises:
        ValueError: for another scale.
    """

    blind = True
    picture_facing = ("feb.first", "frb.last")
    # Section IV-B: Adam on the mean squared error
    published = {"patch_size": 77, "batch_size": 64, "max_steps": 600_000, "lr": 1e-4, "decay": 400_000, "clip": 10.0}

    def __init__(self, scale: int = 2, multi_scale: bool = False) -> None:
        super().__init__(scale, multi_scale)
        self.sub_mean = MeanShift(-1)
        self.feb = FEB()
        self.eb = EB()
        self.cb = nn.ModuleDict({f"x{s}": SubPixelUpsampler(s, CHANNELS) for s in self.scales})
        self.frb = FRB()
        self.add_mean = MeanShift(+1)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`."""
        scale = self.chosen(scale)
        features = self.feb(self.sub_mean(x))
        # The construction block is affine: one pass on the sum gives the sum of both, see SubPixelUpsampler.
        coarse = F.relu(self.cb[f"x{scale}"](features[0] + self.eb(features), inputs=2))
        return trim(self.add_mean(self.frb(coarse)), margins, scale)

    def reach(self, scale: int) -> float:
        return 1 + PAIRS + 1 + ENHANCEMENTS + SubPixelUpsampler.reach(scale) + (REFINEMENTS + 1) / scale

    @torch.no_grad()
    def init_identity(self) -> None:
        """Start as a bilinear enlarger, as LESRCNN's ``init_identity`` does, and for its reason."""
        self.feb.first.weight[:6] = centre(plus_minus())
        for conv in (*self.feb.conv3, self.eb.fuse):
            conv.weight *= 0.1  # the first layer's features carry, the others add little
        for conv in (*self.eb.enhance, *self.frb.refine):
            conv.weight[:6] = centre(torch.eye(6, CHANNELS))
        for up in self.cb.values():
            up.init_bilinear(carried=6, gain=0.5)  # shallow and deep features both arrive: together they weigh 1
        self.frb.last.weight *= 0.1
        self.frb.last.weight[:, :6] = centre(plus_minus().T)

    def hidden(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        refining = [*self.frb.refine, self.frb.last]
        return [
            *zip(self.feb.conv1, self.feb.conv3),
            *zip(self.eb.enhance, self.eb.enhance[1:]),
            *zip(refining, refining[1:]),
        ]

    def released_names(self) -> dict[str, str]:
        """This file's parameter names -> those of the paper's own code.

        =======================  ===================================================================
        here                     there
        =======================  ===================================================================
        ``feb.first``            ``conv1.0``
        ``feb.conv1.{i}``        ``conv{2 i + 2}.0``, i = 0 ... 15
        ``feb.conv3.{i}``        ``conv{2 i + 3}.0``
        ``eb.fuse``              ``conv34.0``
        ``eb.enhance.{i}``       ``conv{i + 35}.0``, i = 0 ... 4
        ``cb.x{s}.stages.{j}``   ``upsample.up.body.{2 j}``; blind: ``upsample.up{s}.body.{2 j}``
        ``frb.refine.{i}``       ``conv34_{i + 1}.0``
        ``frb.last``             ``conv41.0``
        =======================  ===================================================================
        """
        table = {"feb.first": "conv1.0", "eb.fuse": "conv34.0", "frb.last": "conv41.0"}
        for i in range(PAIRS):
            table |= {f"feb.conv1.{i}": f"conv{2 * i + 2}.0", f"feb.conv3.{i}": f"conv{2 * i + 3}.0"}
        table |= {f"eb.enhance.{i}": f"conv{i + 35}.0" for i in range(ENHANCEMENTS)}
        table |= {f"frb.refine.{i}": f"conv34_{i + 1}.0" for i in range(REFINEMENTS)}
        for scale in self.scales:
            body = f"upsample.up{scale if self.multi_scale else ''}.body"
            for j in range(len(self.cb[f"x{scale}"].stages)):
                table[f"cb.x{scale}.stages.{j}"] = f"{body}.{2 * j}"
        return self.by_layer(table)

    def released_constants(self) -> dict[str, torch.Tensor]:
        """The released files' extra entries: both mean shifts as frozen 1x1 convolutions."""
        return self.sub_mean.as_layer("sub_mean.shifter") | self.add_mean.as_layer("add_mean.shifter")


def both(features: list[torch.Tensor]) -> torch.Tensor:
    """The last two of some features as one, rectified; a single one as it is."""
    return F.relu(torch.cat(features[-2:], dim=1)) if len(features) > 1 else features[0]
