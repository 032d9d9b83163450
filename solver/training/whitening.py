"""What a network's layers are given, by which an optimizer can tell directions that matter from those that are small.

The inputs of a convolution are far from white: neighbouring pixels and channels vary together. In LESRCNN, trained, the
largest of a 3x3 layer's 576 principal components holds a third of the inputs' power, the median one 1/20,000 of it.
"""

from collections.abc import Callable, Iterable

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_WINDOWS = 8  # about so many along each side of a patch are looked at


def input_covariances(weights: Iterable[torch.Tensor], run: Callable[[], None]) -> dict[torch.Tensor, torch.Tensor]:
    """Mean outer products of the inputs of convolutions.

    Args:
        weights: of the convolutions, (out, in, k, k) with odd k, padding k // 2.
        run: calls the networks, once or several times.

    Returns:
        For each of the weights that were used, the (in * k * k, in * k * k) matrix E[x x'], x being what one output
        pixel is made of, in the order of ``weight[0].flatten()``. The mean is not taken out of x.
    """
    with torch.no_grad(), _Inputs(weights) as inputs:
        run()
    return {weight: total / count for weight, (total, count) in inputs.sums.items()}


class _Inputs(TorchFunctionMode):
    """Sums up the inputs of some convolutions while it is entered."""

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.weights = set(weights)
        self.sums: dict[torch.Tensor, tuple[torch.Tensor, int]] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.conv2d and args[1] in self.weights:
            self._add(*args[:2])
        return function(*args, **kwargs or {})

    def _add(self, x: torch.Tensor, weight: torch.Tensor) -> None:
        size = weight.shape[2]
        stride = max(1, round(min(x.shape[2:]) / _WINDOWS))
        windows = F.unfold(x.float(), size, padding=size // 2, stride=stride).transpose(1, 2).flatten(0, 1)
        total, count = self.sums.get(weight, (0, 0))
        with torch.autocast(x.device.type, enabled=False):  # small eigenvalues need the digits
            self.sums[weight] = total + windows.T @ windows, count + len(windows)


def inverse_root(covariance: torch.Tensor, damping: float) -> torch.Tensor:
    """(d, d) -> the symmetric (C / c + damping)^(-1/2), c being the mean of C's eigenvalues."""
    mean = covariance.diagonal().mean().clamp_min(1e-20)  # an input may be silent altogether
    where = "cpu" if covariance.device.type == "mps" else covariance.device  # which has no float64
    damped = (covariance / mean).to(where).double()  # in float32 the solver does not always converge
    damped.diagonal().add_(damping)
    values, vectors = torch.linalg.eigh(damped)
    return ((vectors * values.clamp_min(damping).rsqrt()) @ vectors.T).to(covariance)
