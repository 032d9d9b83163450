"""Muon, an optimizer for the weights of convolutions (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

Adam scales each number of a gradient by itself. Muon takes a layer's gradient as a matrix, outputs by inputs times
taps, and replaces it by the nearest matrix whose singular values are all one: a step changes what the layer does
to every direction of its input by as much, also to those that rarely see a large gradient.

torch's own ``torch.optim.Muon`` (from 2.9) takes matrices only, not convolutions, and one after the other.
"""

from collections.abc import Iterable

import torch

_STEPS = 5                                  # of Newton and Schulz's iteration, and its coefficients:
_A, _B, _C = 3.4445, -4.7750, 2.0315        # steepest at 0, at the price of singular values from 0.7 to 1.2
_RMS = 0.2                                  # of a step over its learning rate, as Adam's is in practice


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal layer by layer.

    Steps have the size that Adam's have at the same learning rate (Liu et al. 2025, arXiv 2502.16982, Section 2.2).

    Args:
        parameters: weights of convolutions, (out, in, height, width), or matrices.
        lr: learning rate.
        momentum: decay of the average over gradients.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    direction = self._direction(parameter, group["momentum"]).flatten(1)
                    alike.setdefault(direction.shape, []).append((parameter, direction))
            for shape, pairs in alike.items():  # one product for all layers of one shape
                steps = orthogonalise(torch.stack([direction for _, direction in pairs]))
                size = group["lr"] * _RMS * max(shape) ** 0.5
                for (parameter, _), step in zip(pairs, steps):
                    parameter.sub_(step.view(parameter.shape), alpha=size)

    def _direction(self, parameter: torch.Tensor, momentum: float) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        average = state["average"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(average, momentum)


def suits(parameter: torch.Tensor) -> bool:
    """Whether a parameter is for Muon: biases, and layers from or to a picture's three channels, are not."""
    return parameter.ndim > 1 and min(parameter.shape[:2]) > 3


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """(N, rows, columns) -> the same with all singular values near one, by Newton and Schulz's iteration."""
    x = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    for _ in range(_STEPS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x if matrices.shape[1] <= matrices.shape[2] else x.mT
