"""PyTorch as what computes a network: fused, and in strips, where every operation is known; else the plain way."""

import copy
import operator
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial

import torch
from torch import fx

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
        self._ways: dict[Margins, Function] = {}
        self._made_of = _parts(self._net)

    def network(self, margins: Margins = NONE) -> Function:
        """The network as a function whose result lacks ``scale`` times these margins."""
        if self._compile:  # one for all tiles, so it is compiled once
            return lambda x: trim(self._compiled(x), margins, self.scale)
        if margins not in self._ways:
            self._ways[margins] = self._way(margins)
        return self._ways[margins]

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
        fused = self._fused
        if fused is not None and any(margins):
            fused = fuse(self._converted, self.scale, margins)
        return partial(self.plainly, margins=margins) if fused is None else fused

    def refresh(self) -> None:
        """Before a picture: forget what was made of the network, if its parts are no longer those that it was made of.

        Weights that change in place are the same parts.
        """
        if self.dtype != torch.float32:  # a copy, which nobody changes
            return
        parts, before = _parts(self._net), self._made_of
        if len(parts) != len(before) or not all(map(operator.is_, parts, before)):
            for name, made in vars(type(self)).items():
                if isinstance(made, cached_property):
                    vars(self).pop(name, None)
            self._ways.clear()
            self._made_of = parts

    @cached_property
    def _fused(self) -> fx.GraphModule | None:
        fused = fuse(self._converted, self.scale)
        return fused if fused is not None and self._agrees(fused) else None

    @torch.inference_mode()
    def _agrees(self, fused: fx.GraphModule) -> bool:
        """Whether the fused network makes of two small pictures what the network itself does."""
        tolerance = 1e-4 if self.dtype == torch.float32 else 0.1
        random = torch.Generator().manual_seed(0)
        for side in (9, 16):
            x = torch.rand(1, 3, side, 25 - side, generator=random).to(self.device)
            expected = self._net(x, self.scale, NONE)
            try:
                difference = (fused(x).float() - expected).abs().max()
            except (RuntimeError, TypeError, ValueError):
                return False
            if not difference <= tolerance * expected.abs().max():
                return False
        return True

    @cached_property
    def _compiled(self) -> Function:
        return torch.compile(self._way(NONE))

    @cached_property
    def _converted(self) -> Network:
        """The network with the weights of its convolutions in ``dtype``, for :func:`convolve`."""
        if self.dtype == torch.float32:
            return self._net
        net = _copied(self._net)
        facing = {module for name in net.picture_facing for module in net.get_submodule(name).modules()}
        for module in net.modules():
            if is_plain(module) and module not in facing:
                module.to(self.dtype)
        return net

    def plainly(self, x: torch.Tensor, margins: Margins = NONE) -> torch.Tensor:
        """The output as the network's own code makes it."""
        if self.dtype == torch.float32:
            return self.module(x, self.scale, margins)
        with torch.autocast(self.device.type, self.dtype):
            return self.module(x, self.scale, margins)

    @property
    def module(self) -> Network:
        """The network whose code :meth:`plainly` runs."""
        return self._net if self.dtype == torch.float32 else self._partly_exact

    @cached_property
    def _partly_exact(self) -> Network:
        """The network for autocast, whose layers that face the picture stay out of it."""
        net = _copied(self._net)
        for name in net.picture_facing:
            for module in net.get_submodule(name).modules():
                module.forward = partial(_exactly, module.forward, self.device.type)
        return net


def _exactly(forward: Callable, device: str, *inputs):
    """What a layer makes of its inputs in float32, within autocast."""
    with torch.autocast(device, enabled=False):
        return forward(*(x.float() if isinstance(x, torch.Tensor) else x for x in inputs))


def _parts(net: Network) -> list:
    """What a network is made of: its modules, their weights, hooks and plain attributes."""
    parts = []
    for module in net.modules():
        hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
        plain = (value for value in vars(module).values() if isinstance(value, (bool, int, float, str, torch.Tensor)))
        parts += [module, *module._parameters.values(), *module._buffers.values(), *hooks, *plain]
    return parts


def _copied(net: Network) -> Network:
    # What is computed from weights, as by old-style weight norm, torch does not copy along with its gradient.
    attributes = (value for module in net.modules() for value in vars(module).values())
    computed = {id(a): a.detach() for a in attributes if isinstance(a, torch.Tensor) and not a.is_leaf}
    return copy.deepcopy(net, computed)
