"""Bring silent units of a network back to life.

A unit behind a rectifier whose weights have come to be such that no input excites it has no gradient either: it stays
silent for good, and the network is smaller than it seems.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

_LOUDER = 100  # times at most that new weights are made by what they are drawn as
SILENT = 1e-3  # of the places: a unit excited at fewer of them is taken for silent
_PATCHES = 8  # of a batch are kept, to scale new weights by


class Hidden:
    """The hidden units of a network's layer pairs, watched while it runs.

    Args:
        pairs: (convolution, the next one): the units are the first's outputs, rectified, and go nowhere else.
    """

    def __init__(self, pairs: list[tuple[nn.Conv2d, nn.Conv2d]]) -> None:
        self.pairs = pairs
        self._inputs: list[list[torch.Tensor]] = [[] for _ in pairs]  # of the first layers
        self._excited: list[list[torch.Tensor]] = [[] for _ in pairs]  # (units,): share of the places

    @torch.no_grad()
    def watch(self, run: Callable[[], None]) -> None:
        """Note what the units do while ``run`` calls the network, once or several times."""
        hooks = []
        for (first, second), inputs, excited in zip(self.pairs, self._inputs, self._excited):
            hooks += [
                first.register_forward_pre_hook(lambda _, x, to=inputs: to.append(x[0][:_PATCHES].float())),
                second.register_forward_pre_hook(
                    lambda _, x, to=excited: to.append((x[0] > 0).float().mean((0, 2, 3)))
                ),
            ]
        try:
            run()
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def revive(self, others: list[tuple[nn.Conv2d, nn.Conv2d]] = ()) -> int:
        """Draw the weights of silent units anew; the next layer hears them from nought up.

        The network's result stays as it is, as far as the units were silent. New weights are torch's default
        start, less their part along the mean input, which would excite a unit everywhere or nowhere, and scaled
        to make the unit as loud as the layer's living ones.

        Args:
            others: the same pairs of a copy (the averaged weights), which gets the same new weights.

        Returns:
            How many units were silent.
        """
        count = 0
        for i, ((first, second), inputs, excited) in enumerate(zip(self.pairs, self._inputs, self._excited)):
            silent = torch.stack(excited).amax(0) < SILENT
            if silent.any():
                count += int(silent.sum())
                weights = _fresh(first, silent, inputs)
                for a, b in [(first, second), *others[i : i + 1]]:
                    a.weight[silent] = weights
                    if a.bias is not None:
                        a.bias[silent] = 0
                    b.weight[:, silent] = 0
        return count


def _fresh(conv: nn.Conv2d, silent: torch.Tensor, inputs: list[torch.Tensor]) -> torch.Tensor:
    """New weights for the silent units of a layer that has such inputs."""
    weights = torch.empty_like(conv.weight[silent])
    nn.init.kaiming_uniform_(weights, a=5**0.5)
    mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)[:, None, None].expand(weights.shape[1:])
    weights -= (weights * mean).sum((1, 2, 3), keepdim=True) * mean / mean.square().sum().clamp_min(1e-20)
    if silent.all():
        wanted = torch.stack([x.square().mean() for x in inputs]).mean().sqrt()
    else:
        wanted = _loudness(conv, conv.weight[~silent], inputs).median()
    factor = wanted / _loudness(conv, weights, inputs)
    factor[~(factor < _LOUDER)] = 1  # these patches, as of one grey, excite the new unit nowhere either
    return weights * factor[:, None, None, None]


def _loudness(conv: nn.Conv2d, weights: torch.Tensor, inputs: list[torch.Tensor]) -> torch.Tensor:
    """Root mean square of what these weights make of the inputs, rectified: (units,)."""
    power = [F.conv2d(x, weights, padding=conv.padding).relu().square().mean((0, 2, 3)) for x in inputs]
    return torch.stack(power).mean(0).sqrt()
