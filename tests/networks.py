"""Every network of model/, and what tests do with one: give it lively weights, see what it makes of a picture."""

import math

import numpy as np
import torch

import model
from model.ops import Network
from solver.sampling import tiles
from solver.sampling.sampler import Sampler

# Options of networks whose papers' sizes take long.
SMALL = {
    "drcn": {"channels": 16, "recursions": 3},
    "drrn": {"u": 3},
    "edsr": {"channels": 16, "blocks": 3},
    "rcan": {"groups": 2, "blocks": 2, "channels": 16, "reduction": 4},
    "rdn": {"d": 2, "c": 3, "g": 8, "g0": 16},
    "wdsr": {"blocks": 2},
}

# Options that weights do not depend on, so that their shapes do not tell them.
UNTOLD = {"drrn": "u"}

# (name, constructor's arguments) of all that have weights of another shape.
ALL = [
    (name, configuration | SMALL.get(name, {}))
    for name in model.names()
    for configuration in model.network_class(name).configurations()
]


def _some() -> list[tuple[str, dict]]:
    some = []
    for name in model.names():
        network = model.network_class(name)
        for options in network.options:
            scale = network.scales[0 if network.blind else len(some) % len(network.scales)]
            told = {"scale": scale, "multi_scale": network.blind}
            some.append((name, told | network.defaults() | options | SMALL.get(name, {})))
    return some


# One of each name and options, for what takes long: the blind one, which has every scale, or by turns one of each.
SOME = _some()


def label(value) -> str:
    """A name or a configuration as a test's name has it."""
    return value if isinstance(value, str) else "-".join(map(str, value.values())).replace("True", "blind")


def lively(net: Network) -> Network:
    """Random weights whose features neither die out nor grow, so that every layer shows in the result."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_uniform_(parameter, nonlinearity="relu")
    with torch.no_grad():
        last = [p for p in net.parameters() if p.ndim == 4][-1]
        last *= 0.05
    return net.eval()


def formula_picture() -> torch.Tensor:
    """RGB (1, 3, 16, 20) in [0, 1], float64: the picture that reference figures of networks were computed with."""
    channel, row, column = torch.meshgrid(*(torch.arange(n) for n in (3, 16, 20)), indexing="ij")
    return ((7 * row + 13 * column + 3 * row * column + 31 * channel) % 256).double()[None] / 255


def weighted_sum(output: torch.Tensor) -> float:
    """Of all numbers, each times another weight than its neighbours: tells two outputs of the same sum apart."""
    flat = output.flatten()
    return (flat * (torch.arange(len(flat)) % 97 + 1)).sum().item()


def measured_reach(net: torch.nn.Module, scale: int, expected: float, channels: int = 3) -> float:
    """How far away, at most, an LR pixel is whose value changes an output pixel, found by gradients.

    Pixels have centres, and the edge of what is reached can be half a pixel off: the reach is the result to +-0.5. The
    weights are lost.
    """
    net.double()
    with torch.no_grad():  # all positive: no path is switched off
        for parameter in net.parameters():
            parameter.copy_(torch.rand_like(parameter) / parameter[0].numel())
    middle = math.ceil(expected) + 2
    x = torch.ones(1, channels, 2 * middle + 1, 1, dtype=torch.double, requires_grad=True)
    output = net(x, scale) if isinstance(net, Network) else net(x)
    reached = []
    for row in range(scale * middle, scale * (middle + 1)):
        (gradient,) = torch.autograd.grad(output[:, :, row].sum(), x, retain_graph=True)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        reached += ((row + 0.5) / scale - 0.5 - rows).abs().tolist()
    return max(reached)


def stitched(sampler: Sampler, rgb: np.ndarray) -> torch.Tensor:
    """The float output for a whole picture, put together from its parts; NaN where no part was."""
    height, width = rgb.shape[:2]
    scale = sampler.scale
    result = torch.full((1, 3, scale * height, scale * width), torch.nan)
    for rows, columns, output in sampler.outputs(rgb):
        result[:, :, rows, columns] = output
    return result


def in_strips(sampler: Sampler, width: int, rows: int, columns: int = 1) -> Sampler:
    """Let a sampler have strips of so many rows, where pictures so small are computed in one piece."""
    sampler.strips = lambda height, *_: tiles.Strips(height, tiles.spans(width, columns, sampler.halo), rows)
    return sampler
