"""How large a network is: the true count, and the one that LESRCNN's and CFSRCNN's papers follow."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import model
from model.ops import SubPixelUpsampler

_PAPER_UP = 64 * 64 * 3 * 3  # the up-sampler as the papers count it: one layer of the others' size


@dataclass(frozen=True)
class Count:
    """Parameters and multiply-adds of one forward pass.

    Attributes:
        parameters: trainable ones.
        macs: half the FLOPs that ``torch.utils.flop_counter`` counts.
        paper_parameters: the paper's way, the up-sampler as one 3x3 convolution from 64 to 64.
        macs_without_up: ``macs`` less the up-sampler's, as the paper counts its HN.
    """

    parameters: int
    macs: float
    paper_parameters: int
    macs_without_up: int


def count(network: str, scale: int, side: int, **options) -> Count:
    """Count a network for an RGB input of ``side`` x ``side`` LR pixels. No arithmetic is done.

    Args:
        network: its file name in ``model/``; ``options`` are what else it takes.
        scale: 2, 3 or 4.
    """
    with torch.device("meta"):
        net = model.build(network, scale, **options)
    inside_up = {conv for up in net.modules() if isinstance(up, SubPixelUpsampler) for conv in up.modules()}
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m not in inside_up]
    macs = {}

    def record(conv: nn.Conv2d, _, output: torch.Tensor) -> None:
        macs[conv] = conv.weight.numel() * output.shape[2] * output.shape[3]

    for layer in layers:
        layer.register_forward_hook(record)
    total = flops(net, side) / 2
    weights = sum(layer.weight.numel() for layer in layers)
    return Count(
        parameters=sum(p.numel() for p in net.parameters() if p.requires_grad),
        macs=total,
        paper_parameters=weights + _PAPER_UP,
        macs_without_up=sum(macs.values()),
    )


def flops(net: nn.Module, side: int) -> int:
    """FLOPs of one picture of ``side`` x ``side`` LR pixels as torch counts them: two for each multiply-add."""
    x = torch.empty(1, 3, side, side, device=next(net.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    return counter.get_total_flops()
