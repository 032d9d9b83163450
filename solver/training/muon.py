"""Muon, an optimizer for the weights of convolutions (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

Adam scales each number of a gradient by itself. Muon takes a layer's gradient as a matrix, outputs by inputs times
taps, and replaces it by the nearest matrix whose singular values are all one: a step changes what the layer does
to every direction of its input by as much, also to those that rarely see a large gradient.

Muon takes the directions of the input for equally large, and in a network for pictures they are not: the detail
that is to be learnt lies in the small ones. :class:`WhitenedMuon` does the same in coordinates in which the inputs
are white: a step then changes a layer's *output* by as much whatever the direction (the whitening of Natural Neural
Networks, Desjardins et al. 2015, and of K-FAC's input factor, Grosse and Martens 2016).

torch's own ``torch.optim.Muon`` (from 2.9) takes matrices only, not convolutions, and one after the other.
"""

from collections.abc import Callable, Iterable

import torch

from .whitening import input_covariances, inverse_root

_STEPS = 5  # of Newton and Schulz's iteration, and its coefficients:
_A, _B, _C = 3.4445, -4.7750, 2.0315  # steepest at 0, at the price of singular values from 0.7 to 1.2
_RMS = 0.2  # of a step over its learning rate, as Adam's is in practice


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal layer by layer.

    Steps have the size that Adam's have at the same learning rate (Liu et al. 2025, arXiv 2502.16982, Section 2.2).

    Args:
        parameters: weights of convolutions, (out, in, height, width), or matrices; or groups of them.
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
                steps = self._steps(*zip(*pairs))
                size = group["lr"] * _RMS * max(shape) ** 0.5
                for (parameter, _), step in zip(pairs, steps):
                    parameter.sub_(step.view(parameter.shape), alpha=size)

    def _steps(self, parameters: tuple[torch.Tensor, ...], directions: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Directions of parameters of one shape, each (rows, columns) -> their steps, (N, rows, columns)."""
        return orthogonalise(torch.stack(directions))

    def _direction(self, parameter: torch.Tensor, momentum: float) -> torch.Tensor:
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(parameter)
        average = state["average"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(average, momentum)


class WhitenedMuon(Muon):
    """Muon in coordinates in which the inputs of each layer are white.

    It must be told the inputs by :meth:`look`, now and then; a layer that it was never told of is stepped as by Muon.

    Args:
        parameters: weights of convolutions, (out, in, k, k), with padding k // 2.
        lr: learning rate; a third of Muon's.
        momentum: decay of the average over gradients.
        damping: added to the covariances' eigenvalues, of which the mean is 1: what is smaller counts as noise.
    """

    def __init__(
        self, parameters: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, damping: float = 1e-2
    ) -> None:
        super().__init__(parameters, lr, momentum)
        self.damping = damping
        self._roots: dict[torch.Tensor, torch.Tensor] = {}  # made of the state's covariances where it is missing

    def look(self, run: Callable[[], None]) -> None:
        """Take in the inputs that the layers have while ``run`` calls the network: half these, half those before."""
        weights = [parameter for group in self.param_groups for parameter in group["params"]]
        for weight, covariance in input_covariances(weights, run).items():
            state = self.state[weight]
            state["inputs"] = (state.get("inputs", covariance) + covariance) / 2
            self._roots.pop(weight, None)

    def whitening(self) -> list[torch.Tensor]:
        """What has been found of the inputs, which all processes of a run must have alike."""
        weights = [parameter for group in self.param_groups for parameter in group["params"]]
        seen = [weight for weight in weights if "inputs" in self.state[weight]]
        return [t for weight in seen for t in (self.state[weight]["inputs"], self._root(weight))]

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._roots.clear()

    def _steps(self, parameters, directions):
        roots = torch.stack([self._root(parameter) for parameter in parameters])
        return orthogonalise(torch.stack(directions) @ roots) @ roots

    def _root(self, parameter: torch.Tensor) -> torch.Tensor:
        if parameter not in self._roots:
            inputs = self.state[parameter].get("inputs")
            self._roots[parameter] = (
                inverse_root(inputs, self.damping)
                if inputs is not None
                else torch.eye(parameter[0].numel(), device=parameter.device)
            )
        return self._roots[parameter]


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """(N, rows, columns) -> the same with all singular values near one, by Newton and Schulz's iteration."""
    x = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    for _ in range(_STEPS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x if matrices.shape[1] <= matrices.shape[2] else x.mT
