"""LESRCNN, a lightweight enhanced super-resolution CNN.

Tian, Zhuge, Wu, Xu, Zuo, Chen, Lin: "Lightweight Image Super-Resolution with Enhanced CNN",
Knowledge-Based Systems 205 (2020), arXiv 2007.04344. Three blocks in a row:

    LR --> IEEB --> RB --> IRB --> SR
    information     reconstruction     information
    extraction and  (sub-pixel         refinement
    enhancement     up-sampling)

Where the paper's Figure 1 and its released weights disagree, this file follows the weights: they
reproduce the paper's tables.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .ops import NONE, Margins, MeanShift, Network, SubPixelUpsampler, centre, plus_minus, trim

CHANNELS = 64  # width of every layer, Section 3.2
PAIRS = 8  # IEEB: 17 layers = one 3x3, then eight pairs of 3x3 and 1x1, Section 3.3
REFINEMENTS = 4  # IRB: four 64-to-64 layers before the last one, Section 3.5


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)


def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)


class IEEB(nn.Module):
    """Information extraction and enhancement block (Section 3.3): 17 layers at LR size.

    Input (N, 3, H, W), mean-shifted. Returns two (N, 64, H, W) maps, both non-negative: the deep
    (global) features after all layers and the shallow (local) ones after the first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shallow = conv3x3(3, CHANNELS)
        self.conv3 = nn.ModuleList(conv3x3(CHANNELS, CHANNELS) for _ in range(PAIRS))
        self.conv1 = nn.ModuleList(conv1x1(CHANNELS, CHANNELS) for _ in range(PAIRS))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shallow = F.relu(self.shallow(x))
        deep = shallow
        for conv3, conv1 in zip(self.conv3, self.conv1):
            # The skip carries the rectified features, as in the release: with the ones before
            # rectification its x2 weights fall from 37.65 to 30.28 dB on Set5.
            deep = F.relu(deep + conv1(F.relu(conv3(deep))))
        return deep, shallow


class RB(nn.Module):
    """Reconstruction block (Section 3.4): ``relu(up(deep) + up(shallow))``, with one shared ``up``.

    Two (N, 64, H, W) maps in, one (N, 64, scale * H, scale * W) map out. A blind network has one
    up-sampler for each scale and uses the one it is asked for.

    Args:
        scales: the scales it has an up-sampler for, a subset of 2, 3, 4.
    """

    def __init__(self, scales: tuple[int, ...]) -> None:
        super().__init__()
        self.up = nn.ModuleDict({f"x{s}": SubPixelUpsampler(s, CHANNELS) for s in scales})

    def forward(self, deep: torch.Tensor, shallow: torch.Tensor, scale: int) -> torch.Tensor:
        # up is affine: one pass on the sum gives up(deep) + up(shallow), see SubPixelUpsampler.
        return F.relu(self.up[f"x{scale}"](deep + shallow, inputs=2))


class IRB(nn.Module):
    """Information refinement block (Section 3.5): five layers at HR size.

    (N, 64, H, W) -> (N, 3, H, W), the picture less its mean.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refine = nn.ModuleList(conv3x3(CHANNELS, CHANNELS) for _ in range(REFINEMENTS))
        self.last = conv3x3(CHANNELS, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.refine:
            x = F.relu(conv(x))
        return self.last(x)


class Net(Network):
    """LESRCNN (single scale) or LESRCNN-S (blind: ``multi_scale=True``, scale chosen per call).

    Input: RGB (N, 3, H, W) in [0, 1], any H and W from 1 up. Output: RGB (N, 3, scale * H,
    scale * W), about [0, 1], not clamped. Trainable parameters: 626,304 (x2), 810,944 (x3),
    774,016 (x4), 1,254,080 (blind).

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: one network with the up-samplers of all three scales.

    Raises:
        ValueError: for another scale.
    """

    blind = True
    picture_facing = ("ieeb.shallow", "irb.last")
    # Section 4.2: Adam on the mean squared error
    published = {"patch_size": 64, "batch_size": 64, "max_steps": 600_000, "lr": 1e-4, "decay": 400_000, "clip": 10.0}

    def __init__(self, scale: int = 2, multi_scale: bool = False) -> None:
        super().__init__(scale, multi_scale)
        self.sub_mean = MeanShift(-1)
        self.ieeb = IEEB()
        self.rb = RB(self.scales)
        self.irb = IRB()
        self.add_mean = MeanShift(+1)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`; much of the work on margins is spared."""
        scale = self.chosen(scale)
        deep, shallow = self.ieeb(self.sub_mean(x))
        # What lies beyond the reach of the layers to come has done its part.
        near = tuple(min(m, math.ceil(self._reach_after_ieeb(scale))) for m in margins)
        far = tuple(m - n for m, n in zip(margins, near, strict=True))
        sr = self.irb(self.rb(trim(deep, far), trim(shallow, far), scale))
        return self.add_mean(trim(sr, near, scale))

    def reach(self, scale: int) -> float:
        """12.5 at x2, 11.67 at x3, 11.75 at x4: each 3x3 layer adds one pixel of its own grid."""
        return 1 + PAIRS + self._reach_after_ieeb(scale)

    @staticmethod
    def _reach_after_ieeb(scale: int) -> float:
        return SubPixelUpsampler.reach(scale) + (REFINEMENTS + 1) / scale

    @torch.no_grad()
    def init_identity(self) -> None:
        """Start as a bilinear enlarger instead of at random (this project's own, not the paper's).

        The network has no bicubic skip, so a default start spends most of a short run on learning
        the identity, through rectifiers. Here channels 0-2 carry +x and 3-5 carry -x through all
        layers, which survives rectification; every other weight keeps its default start. Reads
        31.84 dB on Set5 x2 before the first step, where the default start reads 12.66.
        """
        self.ieeb.shallow.weight[:6] = centre(plus_minus())
        for conv1 in self.ieeb.conv1:
            conv1.weight *= 0.1  # the skips carry, the pairs add little
        for up in self.rb.up.values():
            up.init_bilinear(carried=6, gain=0.5)  # deep and shallow both arrive: together they weigh 1
        for conv in self.irb.refine:
            conv.weight[:6] = centre(torch.eye(6, CHANNELS))
        self.irb.last.weight *= 0.1
        self.irb.last.weight[:, :6] = centre(plus_minus().T)

    def hidden(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        return [*zip(self.ieeb.conv3, self.ieeb.conv1), *zip(self.irb.refine, [*self.irb.refine[1:], self.irb.last])]

    def released_names(self) -> dict[str, str]:
        """This file's parameter names -> the names in the paper's released checkpoints.

        ==========================  =============================================
        here                        released
        ==========================  =============================================
        ``ieeb.shallow``            ``conv1.0``
        ``ieeb.conv3.{i}``          ``conv{2 i + 2}.0``, i = 0 ... 7
        ``ieeb.conv1.{i}``          ``conv{2 i + 3}.0``, i = 0 ... 7
        ``rb.up.x{s}.stages.{j}``   ``upsample.up.body.{2 j}``; blind: ``upsample.up{s}.body.{2 j}``
        ``irb.refine.{i}``          ``conv17_{i + 1}.0``, i = 0 ... 3
        ``irb.last``                ``conv18.0``
        ==========================  =============================================
        """
        table = {"ieeb.shallow": "conv1.0", "irb.last": "conv18.0"}
        for i in range(PAIRS):
            table[f"ieeb.conv3.{i}"] = f"conv{2 * i + 2}.0"
            table[f"ieeb.conv1.{i}"] = f"conv{2 * i + 3}.0"
        for i in range(REFINEMENTS):
            table[f"irb.refine.{i}"] = f"conv17_{i + 1}.0"
        for scale in self.scales:
            body = f"upsample.up{scale if self.multi_scale else ''}.body"
            for j in range(len(self.rb.up[f"x{scale}"].stages)):
                table[f"rb.up.x{scale}.stages.{j}"] = f"{body}.{2 * j}"
        return self.by_layer(table)

    def released_constants(self) -> dict[str, torch.Tensor]:
        """The released files' extra entries: both mean shifts as frozen 1x1 convolutions."""
        return self.sub_mean.as_layer("sub_mean.shifter") | self.add_mean.as_layer("add_mean.shifter")
