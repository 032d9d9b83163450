"""PyTorch as what computes a network: fused, and in strips, where every operation is known; else the plain way."""

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial

import torch
from torch import fx, nn

from model.ops import NONE, Margins, Network, trim

from ..memory import bytes_per_pixel
from .fuse import fuse, is_plain
from .rolling import can_roll, kept_bytes, roll

Function = Callable[[torch.Tensor], torch.Tensor]  # (1, 3, H, W) in [0, 1] -> the output


class Torch:
    """A network at one scale and precision, ready to compute.

    Args:
        net: in evaluation mode. In float32 it is used as it is, and may be trained further between calls; otherwise it
            is copied.
        scale: one that the network has.
        device: where to compute.
        dtype: of the layers that do not face the picture.
        compile: ``torch.compile`` the network.
    """

    def __init__(
        self, net: Network, scale: int, device: torch.device, dtype: torch.dtype = torch.float32, compile: bool = False
    ) -> None:
        self.scale, self.device, self.dtype = scale, device, dtype
        # The order of pixels on disk; on the CPU 1.3 times as fast as the default one.
        self._net = net.to(device, memory_format=torch.channels_last)
        self._compile = compile

    def network(self, margins: Margins = NONE) -> Function:
        """The network as a function whose result lacks ``scale`` times these margins."""
        if self._compile:  # one for all tiles, so it is compiled once
            return lambda x: trim(self._compiled(x), margins, self.scale)
        return self._way(margins)

    @cached_property
    def flows(self) -> bool:
        """Whether a picture can be given strip by strip, see :meth:`flow`: on the CPU, where pieces may be small."""
        return self.device.type == "cpu" and not self._compile and self._fused is not None and can_roll(self._fused)

    def flow(self, strips: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The output for strips (1, 3, h, W) of a picture from top to bottom, as it can be made after each of them."""
        return roll(self._fused, strips)

    @cached_property
    def bytes_per_pixel(self) -> float:
        """What features take at most, by the LR pixel."""
        with torch.inference_mode():
            return bytes_per_pixel(self._way(NONE), self.device)

    @cached_property
    def kept_bytes(self) -> float:
        """What layers keep between two strips, by the LR column."""
        with torch.inference_mode():
            return kept_bytes(self._fused, self.device)

    def _way(self, margins: Margins) -> Function:
        if self._fused is None:
            return partial(self._plainly, margins=margins)
        return fuse(self._converted, self.scale, margins) if any(margins) else self._fused

    @cached_property
    def _fused(self) -> fx.GraphModule | None:
        return fuse(self._converted, self.scale)

    @cached_property
    def _compiled(self) -> Function:
        return torch.compile(self._way(NONE))

    @cached_property
    def _converted(self) -> Network:
        """The network with the weights of its convolutions in ``dtype``, for :func:`convolve`."""
        if self.dtype == torch.float32:
            return self._net
        net = _copied(self._net)
        facing = {net.get_submodule(name) for name in net.picture_facing}
        for module in net.modules():
            if is_plain(module) and module not in facing:
                module.to(self.dtype)
        return net

    def _plainly(self, x: torch.Tensor, margins: Margins) -> torch.Tensor:
        if self.dtype == torch.float32:
            return self._net(x, self.scale, margins)
        with torch.autocast(self.device.type, self.dtype):
            return self._partly_exact(x, self.scale, margins)

    @cached_property
    def _partly_exact(self) -> Network:
        """The network for autocast, whose layers that face the picture stay out of it."""
        net = _copied(self._net)
        for name in net.picture_facing:
            net.set_submodule(name, _Exact(net.get_submodule(name)))
        return net


def _copied(net: Network) -> Network:
    # What is computed from weights, as by old-style weight norm, torch does not copy along with its gradient.
    attributes = (value for module in net.modules() for value in vars(module).values())
    computed = {id(a): a.detach() for a in attributes if isinstance(a, torch.Tensor) and not a.is_leaf}
    return copy.deepcopy(net, computed)


class _Exact(nn.Module):
    """A layer in float32 within autocast."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.layer(x.float())
