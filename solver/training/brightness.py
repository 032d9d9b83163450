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
    """Take the mean error over some batches out of a network, in each channel.

    What a network makes is linear in its last layer's weights and bias. Of all changes of these that move the means so
    far, this is the smallest: it goes along the means' gradients.

    Returns:
        The mean error that was there, (channels,), in the unit of the patches.
    """
    had = [parameter.requires_grad for parameter in net.parameters()]
    net.requires_grad_(False)
    layers: dict[int, nn.Module] = {}  # by scale: a blind network may have a last layer for each
    found: dict[nn.Module, list] = {}  # of each layer and batch, the mean errors and how they hang on the layer
    try:
        for batch in batches:
            scale = batch[2]
            if scale not in layers:
                layers[scale] = _last_layer(net, batch)
            layer = layers[scale].requires_grad_()
            errors = _mean_error(net, batch)
            slopes = [torch.autograd.grad(e, layer.parameters(), retain_graph=True) for e in errors]
            found.setdefault(layer, []).append((errors.detach(), slopes))
            layer.requires_grad_(False)
    finally:
        for parameter, needed in zip(net.parameters(), had, strict=True):
            parameter.requires_grad_(needed)
    for layer, each in found.items():
        _correct(layer, torch.stack([errors for errors, _ in each]).mean(0), [slopes for _, slopes in each])
    return torch.stack([errors for each in found.values() for errors, _ in each]).mean(0)


@torch.no_grad()
def _correct(layer: nn.Module, errors: torch.Tensor, slopes: list) -> None:
    """Move a layer's parameters so that these errors, (channels,), are gone; ``slopes`` are those of each batch."""
    for channel, error in enumerate(errors):
        slope = [torch.stack(parts).mean(0) for parts in zip(*(each[channel] for each in slopes), strict=True)]
        length = sum(part.square().sum() for part in slope).clamp_min(1e-20)
        for parameter, part in zip(layer.parameters(), slope, strict=True):
            parameter -= error / length * part


def _last_layer(net: Network, batch: Patches) -> nn.Module:
    """Of the modules with parameters of their own, the one that the network calls last; itself if there is none."""
    called: list[nn.Module] = []
    layers = [module for module in net.modules() if next(module.parameters(recurse=False), None) is not None]
    hooks = [layer.register_forward_hook(lambda module, *_: called.append(module)) for layer in layers]
    try:
        with torch.no_grad():
            _mean_error(net, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return next((module for module in reversed(called) if module is not net), net)


def _mean_error(net: Network, batch: Patches) -> torch.Tensor:
    """The mean of result less HR in each channel, (channels,); none of a loss that asks for no criterion."""
    errors = []

    def keep(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        errors.append((sr - hr).mean((0, 2, 3)))
        return errors[-1].sum()

    net.loss(keep, *batch)
    return errors[-1] if errors else torch.zeros(0)  # of several pictures the last is the result
