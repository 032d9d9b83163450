"""What all exports share: a network as a module of one argument, and how far its file may be from PyTorch."""

from collections.abc import Callable

import torch
from torch import nn

from dataset.errors import InputError

from ..sampling.backends.torch import Torch

SIZES = ((1, 1), (17, 33), (64, 48))  # of pictures on which a file is compared with PyTorch
CLOSE = {"fp32": 1e-5, "fp16": 4e-3}  # how near it has to come, of values up to 1; weights that ship: 2e-6
CPU = torch.device("cpu")


class Call(nn.Module):
    """A network as a module of one argument: RGB (N, 3, H, W) in [0, 1] -> RGB (N, 3, scale * H, scale * W)."""

    def __init__(self, net: Torch) -> None:
        super().__init__()
        self.module = net.module  # whose weights are the file's
        self._call = net.plainly

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._call(x)


@torch.inference_mode()
def distance(compute: Callable[[torch.Tensor], torch.Tensor], net: Torch, close: float, told: str) -> float:
    """How far an exported network's results are from the network's own, on random pictures, at most.

    Args:
        compute: the exported network, (1, 3, H, W) in [0, 1] -> the output.
        net: the network.
        close: how near it has to come, of values up to 1.
        told: which file, and what computes it.

    Raises:
        InputError: if it is too far.
    """
    random = torch.Generator().manual_seed(0)
    far = 0.0
    for height, width in SIZES:
        x = torch.rand(1, 3, height, width, generator=random)
        expected = net.plainly(x)
        far = max(far, float((compute(x) - expected).abs().max() / expected.abs().max().clamp_min(1)))
    if not far <= close:
        raise InputError(f"{told} makes results that are {far:.1e} away from PyTorch's; not written")
    return far
