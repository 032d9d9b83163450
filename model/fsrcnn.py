"""FSRCNN, a faster SRCNN: it works at LR size, in few channels, and a deconvolution enlarges at the end.

Dong, Loy, Tang: "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016, arXiv 1608.00367.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .ops import OnLuma

DECONVOLUTION = 9  # side of its kernel
EDGES = ("replicate", "zeros")
_MOST = 1024  # channels, and mappings


class Layer(nn.Sequential):
    """A convolution of which the result has the input's size, and a PReLU.

    Args:
        inputs, outputs: channels.
        size: side of the kernel.
        slopes: of the PReLU: 1, or one for each channel.
        edge: what lies outside the picture: its edge repeated ("replicate"), or "zeros".
    """

    def __init__(self, inputs: int, outputs: int, size: int, slopes: int, edge: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode=edge)
        self.prelu = nn.PReLU(slopes)


class Net(OnLuma):
    """FSRCNN(d, s, m) (Section 3.2): feature extraction, shrinking, m mappings, expanding, deconvolution.

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 12,644; FSRCNN-s, which is d = 32, s = 5, m = 1, has 4,016. With a slope
    for each channel it has 12,809.

    The released weights are of one slope a layer and of code that repeats the edge of the picture; ports of others
    have a slope for each channel and pad with zeros.

    Args:
        scale: 2, 3 or 4.
        d: channels of the features.
        s: channels of the mappings.
        m: how many mappings.
        slopes: of a PReLU, "one" or one for each "channel".
        edge: see :class:`Layer`.

    Raises:
        ValueError: for another scale or such options.
    """

    options = ({}, {"d": 32, "s": 5, "m": 1}, {"slopes": "channel", "edge": "zeros"})
    picture_facing = ("layers.0", "deconv")
    # Sections 3.3 and 4.1. The batch, and when the training on 91 pictures ends, is not told. The loss is the mean over
    # the pixels: with their sum, as SRCNN's Caffe has it, this start and these rates diverge within ten steps.
    published = {"patch_size": {2: 10, 3: 7, 4: 6}, "batch_size": 128, "init": "published"}
    published |= {"scales": [1.0, 0.9, 0.8, 0.7, 0.6], "flips": [0], "optimizer": "SGD", "loss_fn": "MSE", "lr": 1e-3}
    published |= {"rates": [("deconv", 0.1)], "decay_by": 1.0, "clip": 0.0}

    def __init__(
        self,
        scale: int = 2,
        multi_scale: bool = False,
        d: int = 56,
        s: int = 12,
        m: int = 4,
        slopes: str = "one",
        edge: str = "replicate",
    ) -> None:
        super().__init__(scale, multi_scale, d=d, s=s, m=m, slopes=slopes, edge=edge)
        if not _possible(d, s, m):
            raise ValueError(f"d and s are from 1 to {_MOST} and m from 0, not {d}, {s} and {m}")
        if slopes not in ("one", "channel") or edge not in EDGES:
            raise ValueError(f"slopes are one or channel, and edge is replicate or zeros, not {slopes} and {edge}")
        sizes = [(1, d, 5), (d, s, 1), *[(s, s, 3)] * m, (s, d, 1)]
        self.layers = nn.Sequential(*(Layer(i, o, size, o if slopes == "channel" else 1, edge) for i, o, size in sizes))
        self.deconv = nn.ConvTranspose2d(d, 1, DECONVOLUTION, stride=scale)
        self.edge = edge

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        features = F.pad(self.layers(y), (1, 1, 1, 1), mode="replicate" if self.edge == "replicate" else "constant")
        # Where an LR pixel's kernel begins. The authors' code has it a pixel earlier at x3: the kernel's centre is
        # then the pixel's own.
        begin = scale + DECONVOLUTION // 2 - (scale == 3 and self.edge == "replicate")
        height, width = (scale * side for side in y.shape[2:])
        fine = F.conv_transpose2d(features, self.deconv.weight, self.deconv.bias, stride=scale)
        return fine[:, :, begin : begin + height, begin : begin + width]

    def reach(self, scale: int) -> float:
        mappings = len(self.layers) - 3
        return 2 + mappings + DECONVOLUTION / 2 / scale

    def init_published(self) -> None:
        """He et al.'s start for PReLU (ICCV 2015), the deconvolution's from a Gaussian of deviation 0.001."""
        for conv, prelu in self.layers:
            nn.init.kaiming_normal_(conv.weight, a=prelu.weight[0].item())
            nn.init.zeros_(conv.bias)
        nn.init.normal_(self.deconv.weight, std=1e-3)
        nn.init.zeros_(self.deconv.bias)

    def released_names(self) -> dict[str, str]:
        """Those of the paper's own weights (``conv1``, ``prelu1``, ...), or of the best known port's."""
        last, theirs = ("deconv", self._papers()) if self.edge == "replicate" else ("last_part", self._ports())
        table = {f"deconv.{kind}": f"{last}.{kind}" for kind in ("weight", "bias")}
        for i, (conv, prelu) in enumerate(theirs):
            table |= {f"layers.{i}.conv.{kind}": f"{conv}.{kind}" for kind in ("weight", "bias")}
            table[f"layers.{i}.prelu.weight"] = f"{prelu}.weight"
        return table

    def _papers(self) -> Iterator[tuple[str, str]]:
        return ((f"conv{i}", f"prelu{i}") for i in range(1, len(self.layers) + 1))

    def _ports(self) -> Iterator[tuple[str, str]]:
        """yjn870's: the first layer, and all others but the deconvolution as one sequence."""
        yield "first_part.0", "first_part.1"
        yield from ((f"mid_part.{2 * i}", f"mid_part.{2 * i + 1}") for i in range(len(self.layers) - 1))

    @classmethod
    def options_of(cls, shapes: list[torch.Size]) -> Iterator[dict[str, Any]]:
        first, ones, mappings = ([s for s in shapes if s[2:] == (size, size)] for size in (5, 1, 3))
        if first and first[0][1] == 1 and ones:
            d = first[0][0]
            sizes = {"d": d, "s": ones[0].numel() // max(d, 1), "m": len(mappings)}
            if _possible(**sizes):
                yield from (sizes | options for options in ({}, {"slopes": "channel", "edge": "zeros"}))


def _possible(d: int, s: int, m: int) -> bool:
    return 0 < d <= _MOST and 0 < s <= _MOST and 0 <= m <= _MOST
