"""A picture that flows through a network from top to bottom, a strip of rows at a time.

A 3x3 convolution needs a row above and a row below those that it makes. So between two strips every layer keeps
the last two rows that it read, and a sum keeps what has come from one side but not yet from the other. No halo
is computed twice, as with tiles, and only the features of one strip are in memory, however high the picture is.
The result is that of the whole picture, but for rounding.
"""

import itertools
import math
import operator
from collections.abc import Iterable, Iterator

import torch
from torch import fx
from torch.nn import functional as F

from model.ops import interpolate

from .fuse import SHUFFLE, SUMS, VALUEWISE, concatenate, convolve, row_nodes

_PROBE = 16  # width of the strip on which is measured what layers keep
_PIXELWISE = (*SUMS, operator.sub, operator.mul, *VALUEWISE, *SHUFFLE)
_BEYOND = 2  # rows that bicubic interpolation needs above and below


def can_roll(network: fx.GraphModule) -> bool:
    """Whether a network, as :func:`.fuse.fuse` makes it, has only layers that keep the size or enlarge
    pixel by pixel."""
    rows = row_nodes(network)
    return all(
        node.op in ("placeholder", "output") or node.op == "call_function" and _is_known(network, node, rows)
        for node in rows
    )


def roll(network: fx.GraphModule, strips: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The network's result for a picture, both in strips from top to bottom.

    Args:
        network: as :func:`.fuse.fuse` makes it, and one that :func:`can_roll`.
        strips: (1, C, h, W) each, of any heights.

    Yields:
        (1, C', h', W'): after each strip the rows that can be made by then, if there are any.
    """
    rolling = _Rolling(network)
    rows = 1
    for strip in strips:
        rows = max(rows, strip.shape[2])
        yield from rolling.advance(strip)
    # Every layer that reaches the bottom adds a row to what the next ones have to do: no more than half a strip's.
    count = math.ceil(rows / 2)
    for first in range(0, len(rolling.padded), count):
        rolling.ending = rolling.padded[first : first + count]
        yield from rolling.advance(None)


def kept_bytes(network: fx.GraphModule, device: torch.device) -> float:
    """Bytes that layers keep between two strips, by the LR column. Found by running the network on a small black
    strip."""
    rolling = _Rolling(network)
    rolling.run(torch.zeros(1, 3, 2 * _PROBE, _PROBE, device=device))
    return sum(rows.nbytes for kept in rolling._kept.values() for rows in kept if rows is not None) / _PROBE


class _Rolling(fx.Interpreter):
    """Runs a network on one strip after another; in place of a strip without rows stands None."""

    ending: list[fx.Node] = []  # layers that reach the bottom of the picture

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self._rows = row_nodes(network)
        self._kept: dict[fx.Node, list[torch.Tensor | None]] = {}  # rows of each input that wait
        self._begun: set[fx.Node] = set()  # layers that have been given what is above the picture
        self.padded = [
            node for node in self._rows if node.target is interpolate or node.target is convolve and any(node.args[4])
        ]

    def advance(self, strip: torch.Tensor | None) -> list[torch.Tensor]:
        """The rows that can be made with this strip, in a list, or an empty one."""
        result = self.run(strip)
        return [] if result is None else [result]

    def run_node(self, node: fx.Node):
        if node not in self._rows or node.op != "call_function":
            return super().run_node(node)
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if node.target is convolve:
            return self._convolve(node, *args, **kwargs)
        if node.target is interpolate:
            return self._interpolate(node, *args)
        if len(args) > 1 and all(arg in self._rows for arg in node.args):  # a sum, product or more of features
            operands = self._with_kept(node, *args)
            count = min(map(_height, operands))
            self._keep(node, *((rows, count) for rows in operands))
            return node.target(*(rows[:, :, :count] for rows in operands)) if count else None
        waits = any(value is None and arg in self._rows for arg, value in zip(node.args, args, strict=True))
        return None if waits else node.target(*args, **kwargs)

    def _convolve(self, node: fx.Node, x, weight, bias, stride, padding, *others, add=None, edge="zeros", **options):
        def compute(x: torch.Tensor, above: int, add: torch.Tensor | None = None) -> torch.Tensor:
            more = options if add is None else options | {"add": add}
            beside = padding[1]
            if edge == "replicate":
                x, beside = F.pad(x, (beside, beside, 0, 0), mode=edge), 0
            return convolve(x, weight, bias, stride, (above, beside), *others, **more)

        beyond = padding[0]  # rows of zeros above and below the picture
        overlap = 2 * beyond
        if x is not None and node not in self._begun:
            self._begun.add(node)
            x = _joined(_beyond(x[:, :, :1], beyond, edge), x)
        kept = self._kept.get(node, (None, None))
        plain = node not in self.ending and "add" not in node.kwargs
        if overlap and plain and _height(kept[0]) == overlap <= _height(x):
            # As below, but what is kept is not copied in front of all the other rows: on zeros in its place the
            # first rows of the result come out wrong, and are made again.
            result = compute(x, overlap)[:, :, : _height(x)]
            result[:, :, :overlap] = compute(_joined(kept[0], x[:, :, :overlap]), 0)
            self._keep(node, (x, _height(x) - overlap))
            return result
        x, add = self._with_kept(node, x, add)
        if node in self.ending:
            x = _joined(x, _beyond(x[:, :, -1:], beyond, edge))
        count = _height(x) - overlap
        if "add" in node.kwargs:
            count = min(count, _height(add))
        self._keep(node, (x, max(count, 0)), (add, max(count, 0)))
        if count <= 0:
            return None
        return compute(x[:, :, : count + overlap], 0, None if add is None else add[:, :, :count])

    def _interpolate(self, node: fx.Node, x, kernels):
        (x,) = self._with_kept(node, x)
        last = node in self.ending
        if node not in self._begun and _height(x) >= (1 if last else _BEYOND):
            self._begun.add(node)
            x = _joined(_rows(x, range(_BEYOND)[::-1]), x)
        if last and _height(x):
            x = _joined(x, _rows(x, range(-1, -1 - _BEYOND, -1)))
        count = _height(x) - 2 * _BEYOND if node in self._begun else 0
        self._keep(node, (x, max(count, 0)))
        return interpolate(x, kernels, rows=0) if count > 0 else None

    def _with_kept(self, node: fx.Node, *inputs: torch.Tensor | None) -> list[torch.Tensor | None]:
        """A layer's inputs behind the rows that it has kept of each."""
        kept = self._kept.pop(node, [])
        return [_joined(*pair) for pair in itertools.zip_longest(kept, inputs)]

    def _keep(self, node: fx.Node, *inputs: tuple[torch.Tensor | None, int]) -> None:
        """Of each input, keep the rows from a number on (in a copy, as the others are to be freed)."""
        self._kept[node] = [None if _height(rows) <= first else rows[:, :, first:].clone() for rows, first in inputs]


def _is_known(network: fx.GraphModule, node: fx.Node, rows: dict[fx.Node, None]) -> bool:
    if node.target is interpolate:
        return True
    if node.target is concatenate:
        return all(arg in rows for arg in node.args)
    if node.target is not convolve:
        constants = [arg for arg in node.args if isinstance(arg, fx.Node) and arg not in rows]
        return node.target in _PIXELWISE and all(_is_same_everywhere(network, constant) for constant in constants)
    weight, stride, padding, dilation = node.args[1], *node.args[3:6]
    if weight.op != "get_attr":
        return False
    owner, _, name = weight.target.rpartition(".")
    shape = getattr(network.get_submodule(owner), name).shape[2:]
    return tuple(stride) == tuple(dilation) == (1, 1) and all(
        side == 2 * beyond + 1 for side, beyond in zip(shape, padding, strict=True)
    )


def _is_same_everywhere(network: fx.GraphModule, constant: fx.Node) -> bool:
    """Whether a constant has one value for all pixels of a channel."""
    if constant.op != "get_attr":
        return False
    owner, _, name = constant.target.rpartition(".")
    shape = getattr(network.get_submodule(owner), name).shape
    return all(side == 1 for side in shape[-2:])


def _rows(x: torch.Tensor, numbers: Iterable[int]) -> torch.Tensor:
    """Rows of these numbers, or the one nearest to them."""
    there = [min(max(number, -x.shape[2]), x.shape[2] - 1) % x.shape[2] for number in numbers]
    return x[:, :, there]


def _height(rows: torch.Tensor | None) -> int:
    return 0 if rows is None else rows.shape[2]


def _beyond(row: torch.Tensor, count: int, edge: str) -> torch.Tensor:
    """So many rows beyond the edge of a picture, whose last one is given."""
    if edge == "replicate":
        return row.expand(-1, -1, count, -1)
    return row.new_zeros(1, count, row.shape[3], row.shape[1]).permute(0, 3, 1, 2)


def _joined(above: torch.Tensor | None, below: torch.Tensor | None) -> torch.Tensor | None:
    """Rows below rows, both (1, C, h, W) in the channels-last memory format."""
    if not _height(above) or not _height(below):
        return above if _height(above) else below
    return torch.cat([above.permute(0, 2, 3, 1), below.permute(0, 2, 3, 1)], 1).permute(0, 3, 1, 2)
