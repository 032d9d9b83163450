"""The networks of the paper's ablation (Table 1), each LESRCNN less one more of its ideas.

=========  =======================================================================================
SN         stacked network: seventeen 3x3 layers at LR size, up-sampler, last layer
HN         heterogeneous network: every other layer of the SN becomes a 1x1 one
IEEB       the HN with its skips, which makes it LESRCNN's first block
IEEB+RB    the features of the first layer joined in before the up-sampler
=========  =======================================================================================

LESRCNN itself, with the refinement block on top, is ``model/lesrcnn.py``. All have the up-sampler,
its activation, the last layer and the mean shifts of LESRCNN.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .lesrcnn import CHANNELS, IEEB, PAIRS, RB, conv1x1, conv3x3
from .ops import NONE, Margins, MeanShift, Network, SubPixelUpsampler, centre, plus_minus, trim

VARIANTS = ("SN", "HN", "IEEB", "IEEB+RB")


class Stack(nn.Module):
    """Seventeen layers one after the other, without skips. Input and outputs are those of the IEEB.

    Args:
        heterogeneous: whether every other layer after the first is 1x1, as in the HN, or all are
            3x3, as in the SN.
    """

    def __init__(self, heterogeneous: bool) -> None:
        super().__init__()
        second = conv1x1 if heterogeneous else conv3x3
        self.layers = nn.ModuleList([conv3x3(3, CHANNELS)])
        for _ in range(PAIRS):
            self.layers += [conv3x3(CHANNELS, CHANNELS), second(CHANNELS, CHANNELS)]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, *others = self.layers
        deep = shallow = F.relu(first(x))
        for conv in others:
            deep = F.relu(conv(deep))
        return deep, shallow


class Net(Network):
    """One network of the ablation.

    Input: RGB (N, 3, H, W) in [0, 1]. Output: RGB (N, 3, scale * H, scale * W), about [0, 1], not
    clamped. In the paper's way of counting (Table 3: the up-sampler as one 3x3 convolution from 64
    to 64) the SN has 630,144 parameters and the others 368,000.

    Args:
        scale: 2, 3 or 4.
        multi_scale: must be False: there is no blind one.
        variant: one of :data:`VARIANTS`.

    Raises:
        ValueError: for another scale or variant.
    """

    options = tuple({"variant": variant} for variant in VARIANTS)

    def __init__(self, scale: int = 2, multi_scale: bool = False, variant: str = "IEEB") -> None:
        super().__init__(scale, multi_scale, variant=variant)
        if variant not in VARIANTS:
            raise ValueError(f"the ablation has no network {variant!r}; it has {', '.join(VARIANTS)}")
        self.variant = variant
        self.picture_facing = ("features.shallow" if "IEEB" in variant else "features.layers.0"), "last"
        self.sub_mean = MeanShift(-1)
        self.features = IEEB() if "IEEB" in variant else Stack(heterogeneous=variant == "HN")
        if variant == "IEEB+RB":
            self.rb = RB(self.scales)
        else:
            self.up = SubPixelUpsampler(scale, CHANNELS)
        self.last = conv3x3(CHANNELS, 3)
        self.add_mean = MeanShift(+1)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`."""
        scale = self.chosen(scale)
        deep, shallow = self.features(self.sub_mean(x))
        if self.variant == "IEEB+RB":
            fine = self.rb(deep, shallow, scale)
        else:
            fine = F.relu(self.up(deep))
        return trim(self.add_mean(self.last(fine)), margins, scale)

    def reach(self, scale: int) -> float:
        layers = 2 * PAIRS if self.variant == "SN" else PAIRS
        return 1 + layers + SubPixelUpsampler.reach(scale) + 1 / scale

    @torch.no_grad()
    def init_identity(self) -> None:
        """Start as a bilinear enlarger, as LESRCNN's ``init_identity`` does, and for its reason."""
        if isinstance(self.features, IEEB):
            self.features.shallow.weight[:6] = centre(plus_minus())
            for conv1 in self.features.conv1:
                conv1.weight *= 0.1
        else:
            first, *others = self.features.layers
            first.weight[:6] = centre(plus_minus())
            for conv in others:
                conv.weight[:6] = centre(torch.eye(6, CHANNELS), conv.kernel_size[0])
        up, gain = (self.rb.up[f"x{self.scale}"], 0.5) if self.variant == "IEEB+RB" else (self.up, 1.0)
        up.init_bilinear(carried=6, gain=gain)
        self.last.weight *= 0.1
        self.last.weight[:, :6] = centre(plus_minus().T)

    def hidden(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        if isinstance(self.features, IEEB):
            return [*zip(self.features.conv3, self.features.conv1)]
        return [*zip(self.features.layers[1:-1], self.features.layers[2:])]
