"""Set the brightness of averaged weights right at the end of a training.

Where an optimizer stands still, its last steps leave a network a tenth of a grey level too dark or too bright, and L1
looks for the median instead of the mean. The published protocol's PSNR of a picture at 32 dB loses 0.01 dB by it. As
averaged weights need statistics of their own in batch normalisation (Izmailov et al., UAI 2018), they need a mean of
their own here.
"""

from collections.abc import Iterable

import torch
from torch import nn

from model.ops import Network

Patches = tuple[torch.Tensor, torch.Tensor, int]  # LR and HR in [0, 1], as Network.loss takes them, and the scale


def set_right(net: Network, batches: Iterable[Patches]) -> torch.Tensor:
    """Take the mean error over some batches out of a network, in each channel where it is more than chance.

    What a network makes is linear in its last convolution's weights and bias. Of all changes of these that move a
    channel's mean so far, this is the smallest: it goes along the mean's gradient. An error within two standard errors
    of the batches' is left. Of a blind network, the scales that share the convolution have one mean.

    Returns:
        The mean error that was there, (channels,), in the unit of the patches.
    """
    had = [parameter.requires_grad for parameter in net.parameters()]
    last: dict[int, list[nn.Parameter]] = {}  # by scale: a blind network may have a last convolution for each
    found: dict[int, tuple[list[nn.Parameter], list]] = {}  # by the first of them: of each batch, errors and slopes
    try:
        for lr, hr, scale in batches:
            if scale not in last:
                net.requires_grad_(True)
                last[scale] = _last_convolution(_mean_error(net, (lr[:1], hr[:1], scale)))
                net.requires_grad_(False)
            for parameter in last[scale]:
                parameter.requires_grad_(True)
            errors = _mean_error(net, (lr, hr, scale))
            slopes = [torch.autograd.grad(e, last[scale], retain_graph=True) for e in errors] if last[scale] else []
            found.setdefault(id(next(iter(last[scale]), None)), (last[scale], []))[1].append((errors.detach(), slopes))
            net.requires_grad_(False)
    finally:
        for parameter, needed in zip(net.parameters(), had, strict=True):
            parameter.requires_grad_(needed)
    for parameters, each in found.values():
        _correct(parameters, torch.stack([errors for errors, _ in each]), [slopes for _, slopes in each])
    return torch.stack([errors for _, each in found.values() for errors, _ in each]).mean(0)


@torch.no_grad()
def _correct(parameters: list[nn.Parameter], errors: torch.Tensor, slopes: list) -> None:
    """Move parameters so that the mean of these errors, (batches, channels), is gone; ``slopes`` are the errors'."""
    chance = 2 * errors.std(0) / len(errors) ** 0.5 if len(errors) > 1 else torch.zeros_like(errors[0])
    for channel, error in enumerate(errors.mean(0)):
        slope = [torch.stack(parts).mean(0) for parts in zip(*(each[channel] for each in slopes), strict=True)]
        length = sum(part.square().sum() for part in slope)
        if error.abs() > chance[channel] and length > 0:
            for parameter, part in zip(parameters, slope, strict=True):
                parameter -= error / length * part


def _last_convolution(result: torch.Tensor) -> list[nn.Parameter]:
    """Weights of a convolution, and its bias, that the fewest operations lie between and a result; none without any."""
    row = [result.grad_fn] if result.grad_fn else []
    seen = set(row)
    while row:
        for node in row:
            leaves = [child.variable for child, _ in node.next_functions if hasattr(child, "variable")]
            if any(leaf.ndim == 4 for leaf in leaves):
                return leaves
        row = [child for node in row for child, _ in node.next_functions if child is not None and child not in seen]
        row = list(dict.fromkeys(row))
        seen.update(row)
    return []


def _mean_error(net: Network, batch: Patches) -> torch.Tensor:
    """The mean of result less HR in each channel, (channels,); none of a loss that asks for no criterion."""
    errors = []

    def keep(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        errors.append((sr - hr).mean((0, 2, 3)))
        return errors[-1].sum()

    net.loss(keep, *batch)
    return errors[-1] if errors else torch.zeros(0)  # of several pictures the last is the result
