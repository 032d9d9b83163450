"""What a training makes smaller, and how: losses, learning rate, optimizers, clipping, the average of the weights."""

import argparse
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from model.ops import Criterion, Network

from .muon import Muon, WhitenedMuon


class Objective(nn.Module):
    """A network and the criterion that it is trained by: what a step calls, and what is spread over processes."""

    def __init__(self, net: Network, criterion: Criterion) -> None:
        super().__init__()
        self.net = net
        self.criterion = criterion

    def forward(self, lr: torch.Tensor, hr: torch.Tensor, scale: int) -> torch.Tensor:
        """RGB (N, 3, h, w) and (N, 3, scale * h, scale * w) in [0, 1] -> the loss, a scalar."""
        return self.net.loss(self.criterion, lr, hr, scale)


def charbonnier(sr: torch.Tensor, hr: torch.Tensor, epsilon: float = 1e-3) -> torch.Tensor:
    """Mean of ``sqrt(d^2 + epsilon^2)``: L1, but smooth at 0 (Charbonnier et al. 1994)."""
    return (sr - hr).square().add(epsilon**2).sqrt().mean()


def charbonnier_sum(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """The sum of :func:`charbonnier`'s terms over a patch, the mean over the patches (Lai et al. 2017, LapSRN)."""
    return charbonnier(sr, hr) * sr[0].numel()


def euclidean(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """Half the sum of a patch's squared differences, the mean over the patches: Caffe's Euclidean loss."""
    return (sr - hr).square().flatten(1).sum(1).mean() / 2


def negative_psnr(sr: torch.Tensor, hr: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    """Minus the mean over the patches of their PSNR in dB, for a peak of 1 (as in Chen et al. 2022, NAFNet).

    A patch with little to tell counts as much as one with much, as the pictures of a test set do. ``epsilon``
    is added to the MSE: beyond 50 dB there is nothing more to gain.
    """
    return 10 * (sr - hr).square().flatten(1).mean(1).add(epsilon).log10().mean()


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "MSE": F.mse_loss,
    "L1": F.l1_loss,
    "SmoothL1": F.smooth_l1_loss,
    "Charbonnier": charbonnier,
    "CharbonnierSum": charbonnier_sum,
    "PSNR": negative_psnr,
    "Euclidean": euclidean,
}


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Learning rate of a step, 0 to ``max_steps - 1``.

    ``step``: ``lr`` times ``decay_by`` every ``decay`` steps, as published. ``cosine``: half a cosine from ``lr`` down
    to 0 at ``max_steps`` (Loshchilov and Hutter 2017, without restarts). ``trapezoid``: ``lr``, and over the
    last ``cooldown`` of the steps straight down to 0 (Hägele et al. 2024). All rise linearly over the first
    ``warmup`` steps.
    """
    if args.schedule == "cosine":
        rate = args.lr * 0.5 * (1 + math.cos(math.pi * step / args.max_steps))
    elif args.schedule == "trapezoid":
        rate = args.lr * min(1.0, (1 - step / args.max_steps) / args.cooldown)
    else:
        rate = args.lr * args.decay_by ** (step // args.decay)
    return rate * min(1.0, (step + 1) / (args.warmup + 1))


def build_optimizers(
    name: str, groups: list[dict], lr: float, momentum: float = 0.9, weight_decay: float = 0.0
) -> list[torch.optim.Optimizer]:
    """``Adam`` or ``SGD`` for all parameters, or ``Muon`` or ``WhitenedMuon`` and, for what those do not suit, Adam.

    Biases, and the layers that a network says, are not for Muon.

    Args:
        name: one of the four.
        groups: of parameters, see :meth:`model.ops.Network.parameter_groups`.
        lr: learning rate of those whose ``rate`` is 1.
        momentum: of SGD.
        weight_decay: of SGD and Adam: the share of a weight that is added to its gradient.
    """

    kind = {"Muon": Muon, "WhitenedMuon": WhitenedMuon}.get(name)

    def split(of_muon: bool) -> list[dict]:
        def suits(group: dict, parameter: nn.Parameter) -> bool:
            return kind is not None and parameter.ndim > 1 and group["muon"]

        chosen = [g | {"params": [p for p in g["params"] if suits(g, p) == of_muon]} for g in groups]
        return [group for group in chosen if group["params"]]

    optimizers = [kind(split(of_muon=True), lr=lr)] if split(of_muon=True) else []
    if rest := split(of_muon=False):
        common = {"lr": lr, "weight_decay": weight_decay, "fused": True}
        sgd = partial(torch.optim.SGD, momentum=momentum)
        optimizers.append((sgd if name == "SGD" else torch.optim.Adam)(rest, **common))
    return optimizers


def set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Let every group learn at ``rate`` times its own factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"]


def zero_unused(optimizer: torch.optim.Optimizer) -> None:
    """Let the up-samplers that a blind step does not use coast on their momentum.

    As published: there, gradients were set to zero between steps, where today's default is None and
    Adam would pass them over.
    """
    for parameter in optimizer.state:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def clip(optimizers: list[torch.optim.Optimizer], by: str, limit: float) -> torch.Tensor:
    """Cut gradients that are too large; returns the norm of all of them before.

    Args:
        optimizers: whose parameters' gradients, with the rates that they will be stepped with.
        by: ``norm``: of all of them together; ``value``: each number; ``rate``: each number to ``limit`` over the
            group's learning rate, so that a plain gradient step is at most ``limit`` (Kim et al. 2016, VDSR, Section
            3.2); ``norm_rate``: the norm to that, over the first group's rate (Tai et al. 2017, DRRN's code).
        limit: the bound; 0 leaves them.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [parameter for group in groups for parameter in group["params"]]
    by_norm = {"norm": limit, "norm_rate": limit / groups[0]["lr"] if groups[0]["lr"] else 0}
    norm = nn.utils.clip_grad_norm_(parameters, by_norm.get(by) or math.inf)
    if limit and by not in by_norm:
        for group in groups:
            nn.utils.clip_grad_value_(group["params"], limit / group["lr"] if by == "rate" else limit)
    return norm


class Average:
    """Exponential moving average of a network's weights and buffers.

    The decay grows with the steps, ``min(decay, (1 + step) / (10 + step))``, so that the random start is
    soon forgotten.

    Args:
        net: the network; its copy ``self.net`` carries the average.
        decay: what a step leaves of the average before it, at most.
    """

    def __init__(self, net: Network, decay: float) -> None:
        self.decay = decay
        self._current = net
        self._step = 0
        self._model = AveragedModel(net, multi_avg_fn=self._mean, use_buffers=True).requires_grad_(False)
        self.net: Network = self._model.module.eval()

    def update(self, step: int) -> None:
        """Take in the weights after ``step``; the first is 0."""
        self._step = step
        self._model.n_averaged.fill_(step)
        self._model.update_parameters(self._current)

    def _mean(self, average: list[torch.Tensor], current: list[torch.Tensor], _: torch.Tensor) -> None:
        kept = min(self.decay, (1 + self._step) / (10 + self._step))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - kept)
        else:  # a count has no mean
            torch._foreach_copy_(average, current)
