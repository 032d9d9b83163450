"""A network in operations that the programs of phones know: what Core ML's and ncnn's files are made of."""

import copy
import warnings

import torch
from torch import nn
from torch.nn import functional as F

from model.ops import Bicubic, OnLuma

from ..sampling.backends.torch import Torch
from .common import CPU, Call

REQUIREMENTS = "requirements-mobile.txt"
EXAMPLE = (1, 3, 12, 14)  # the shape of the picture that a network is traced with


def plain(net: Torch) -> nn.Module:
    """The network as a module of one argument, whose bicubic interpolation is a convolution and a pixel shuffle."""
    module = net.module
    if isinstance(module, OnLuma):
        module = copy.deepcopy(module)
        module.bicubic = nn.ModuleDict({name: _Convolved(each.scale) for name, each in module.bicubic.items()})
    return Call(Torch(module, net.scale, CPU))


def traced(module: nn.Module) -> torch.jit.ScriptModule:
    """TorchScript of a module of one argument, for pictures of any size."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch tells of shapes that it takes for constants, which they are
        return torch.jit.trace(module.eval(), torch.rand(EXAMPLE), check_trace=False)


class _Convolved(Bicubic):
    """The same interpolation without index arithmetic: for each channel, a 5x5 kernel for each sub-pixel."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        both = torch.einsum("iy,jx->ijyx", self.kernels, self.kernels).flatten(0, 1)
        self.register_buffer("both", both[:, None], persistent=False)  # (scale * scale, 1, 5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels = int(x.shape[1])
        return F.pixel_shuffle(F.conv2d(_mirrored(x), self.both.repeat(channels, 1, 1, 1), groups=channels), self.scale)


def _mirrored(x: torch.Tensor) -> torch.Tensor:
    """``x`` with two pixels more at every side, mirrored; the edge's own pixel is repeated. A single one is, too."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = torch.cat([x[:, :, 2:3], x, x[:, :, -3:-2]], dim=2)
    return torch.cat([x[..., 2:3], x, x[..., -3:-2]], dim=3)
