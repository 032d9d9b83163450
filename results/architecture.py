"""Figures 1 and 2: the architecture, drawn from the network's own graph of operations."""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.patches import Circle, FancyBboxPatch, Patch
from torch import fx, nn
from torch.nn import functional as F

import model

from .canvas import ACCENT, INK, canvas

_BLOCKS = {"ieeb": "IEEB", "rb": "RB", "irb": "IRB"}
_LOOKS = {  # of an operation: its colour, its width, the gap before it, what the legend calls it
    "conv3": ("#4c78a8", 0.62, 0.34, "3x3 convolution"),
    "conv1": ("#72b7b2", 0.62, 0.34, "1x1 convolution"),
    "relu": ("#eeca3b", 0.2, 0.0, "ReLU"),
    "shuffle": ("#b279a2", 0.5, 0.34, "pixel shuffle"),
    "mean": ("#9ca3af", 0.44, 0.34, "mean shift"),
    "add": ("white", 0.44, 0.34, ""),
}
CAPTIONS = {
    1: "Figure 1: LESRCNN at x2. Numbers are channels, heights the size of the features. The up-sampler is "
    "affine, so it runs once, on the sum of the deep and the shallow features.",
    2: "Figure 2: the up-samplers of LESRCNN-S, one for each scale. Everything else is shared by the scales.",
}
_LR, _HR = 1.0, 1.5  # half the height of an operation at LR and HR size
_ROW = 3.5  # from one row to the next
_INCHES = 0.38  # of one of these units


@dataclass(frozen=True)
class Operation:
    """One operation of a network.

    Attributes:
        kind: ``conv3``, ``conv1``, ``relu``, ``add``, ``shuffle`` or ``mean``.
        label: what there is to say about it, for example ``64 to 256``.
        block: name of the network's part that it belongs to, for example ``ieeb``.
        inputs: the operations whose results it takes, by index; -1 is the network's input.
    """

    kind: str
    label: str
    block: str
    inputs: tuple[int, ...]


class _AtScale(nn.Module):
    """A network that is called with a picture alone."""

    def __init__(self, net: nn.Module, scale: int) -> None:
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x, self.scale)


def operations(net: nn.Module, scale: int) -> list[Operation]:
    """A network's operations in order, read off its own graph (``torch.fx``)."""
    whole = _AtScale(net, scale)
    index: dict[fx.Node, int] = {}
    found: list[Operation] = []
    for node in fx.Tracer().trace(whole).nodes:
        if node.op == "placeholder":
            index[node] = -1
            continue
        inputs = tuple(index[n] for n in node.all_input_nodes if n in index)
        if node.op == "output" or not inputs:  # weights and their arithmetic are no operations on pictures
            continue
        index[node] = len(found)
        found.append(Operation(*_describe(node, whole), _block_of(node), inputs))
    return found


def figure1(path: Path, scale: int = 2) -> None:
    """Draw LESRCNN whole. Raises InputError if the file cannot be written."""
    row = operations(model.build("lesrcnn", scale), scale)
    with _rows(path, row, count=1) as axes:
        _draw_row(axes, row, 0.0)


def figure2(path: Path) -> None:
    """Draw the three up-samplers of the blind network. Raises InputError if the file cannot be written."""
    net = model.build("lesrcnn", multi_scale=True)
    with _rows(path, _up_sampler(net, 4), count=len(net.scales)) as axes:
        for position, scale in enumerate(net.scales):
            source, target = f"x{scale}:  deep + shallow features\n64 x H x W", f"to the IRB\n64 x {scale}H x {scale}W"
            _draw_row(axes, _up_sampler(net, scale), -_ROW * position, source, target)


def _up_sampler(net: nn.Module, scale: int) -> list[Operation]:
    """The reconstruction block after its addition, as a row of its own."""
    block = [op for op in operations(net, scale) if op.block == "rb" and op.kind != "add"]
    return [Operation(op.kind, op.label, "", (position - 1,)) for position, op in enumerate(block)]


def _describe(node: fx.Node, whole: nn.Module) -> tuple[str, str]:
    """Kind and label of an operation."""
    if node.target in (F.relu, torch.relu):
        return "relu", ""
    if node.target in (F.pixel_shuffle, torch.pixel_shuffle):
        return "shuffle", f"x{node.args[1]}"
    if node.target in (operator.add, torch.add):
        shift = [n.target for n in node.all_input_nodes if n.op == "get_attr"]
        return ("mean", "-" if "sub" in shift[0] else "+") if shift else ("add", "+")
    if node.op == "call_module":
        weight = whole.get_submodule(node.target).weight
    elif node.target in (F.conv2d, torch.conv2d):
        weight = whole.get_parameter(node.args[1].target)
    else:
        raise ValueError(f"no way to draw {node.target}")
    return f"conv{weight.shape[2]}", f"{weight.shape[1]} to {weight.shape[0]}"


def _block_of(node: fx.Node) -> str:
    """The part of the network that a node was called in: ``net.ieeb.shallow`` is in ``ieeb``."""
    deepest = list(node.meta.get("nn_module_stack") or {"": None})[-1]
    return next(iter(deepest.split(".")[1:]), "")


@contextmanager
def _rows(path: Path, row: list[Operation], count: int) -> Iterator:
    """Axes for ``count`` rows like ``row``, with a legend below, written to ``path`` at the end."""
    left, right, top, bottom = (-1.6, 2.0, 2.9, -2.8) if count == 1 else (-6.0, 4.2, 1.8, -1.8)
    right += _places(row)[-1][1]
    bottom -= _ROW * (count - 1) + 0.9
    with canvas(path, (right - left) * _INCHES, (top - bottom) * _INCHES) as figure:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(left, right), ylim=(bottom, top))
        axes.axis("off")
        yield axes
        kinds = {op.kind for op in row}
        handles = [Patch(color=c, label=text) for kind, (c, *_, text) in _LOOKS.items() if kind in kinds and text]
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0), "ncols": len(handles), "frameon": False}
        axes.legend(handles=handles, handlelength=1, handleheight=1, **place)


def _places(row: list[Operation]) -> list[tuple[float, float]]:
    """Left and right end of each operation, one after the other."""
    places, x = [], 0.0
    for op in row:
        _, width, gap, _ = _LOOKS[op.kind]
        places.append((x + gap, x + gap + width))
        x += gap + width
    return places


def _draw_row(axes, row: list[Operation], y: float, source: str = "LR", target: str = "SR") -> None:
    """A row of operations around height ``y``, its blocks behind it and its skips above."""
    places, half = _places(row), _LR
    for name, title in _BLOCKS.items():
        own = [place for op, place in zip(row, places) if op.block == name]
        if own:
            left, right = own[0][0] - 0.14, own[-1][1] + 0.14
            _box(axes, left, right, y - 2.0, 4.75, 0.2, zorder=0, facecolor="#f3f4f6")
            axes.text((left + right) / 2, y - 2.4, title, ha="center", va="center", weight="bold", size=8)
    end = places[-1][1]
    axes.text(-0.5, y, source, ha="right", va="center", weight="bold")
    axes.text(end + 0.9, y, target, ha="left", va="center", weight="bold")
    _arrow(axes, (-0.4, y), (places[0][0], y))
    _arrow(axes, (end, y), (end + 0.8, y))
    for index, (op, (left, right)) in enumerate(zip(row, places)):
        half = _HR if op.kind == "shuffle" else half
        _draw_operation(axes, op, left, right, y, half)
        for origin in op.inputs:
            start = places[origin][1] if origin >= 0 else -0.4
            if origin != index - 1:
                _skip(axes, start + 0.1, (left + right) / 2, y, long=op.block != row[origin].block)
            elif index and op.kind != "relu":
                _arrow(axes, (start, y), (left, y))


def _draw_operation(axes, op: Operation, left: float, right: float, y: float, half: float) -> None:
    colour, middle = _LOOKS[op.kind][0], (left + right) / 2
    text = {"s": op.label, "ha": "center", "va": "center", "zorder": 4}
    if op.kind in ("add", "mean"):
        radius = (right - left) / 2
        axes.add_patch(Circle((middle, y), radius, zorder=3, linewidth=0.8, edgecolor=INK, facecolor=colour))
        axes.text(middle, y, size=8, **text)
        return
    _box(axes, left, right, y - half, 2 * half, 0.06, zorder=3, facecolor=colour)
    if op.label:
        axes.text(middle, y, rotation=90, color="white", size=6, **text)


def _box(axes, left: float, right: float, bottom: float, height: float, rounding: float, **style) -> None:
    corners = f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(FancyBboxPatch((left, bottom), right - left, height, boxstyle=corners, linewidth=0, **style))


def _arrow(axes, start: tuple, end: tuple, colour: str = INK, linewidth: float = 0.7) -> None:
    head = {"arrowstyle": "-|>,head_length=0.22,head_width=0.11", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, zorder=2, arrowprops=head | {"linewidth": linewidth, "color": colour})


def _skip(axes, start: float, end: float, y: float, long: bool) -> None:
    """A path around everything in between: up, across, and down into the addition."""
    top, colour = (y + 2.45, ACCENT) if long else (y + 1.3, "#6b7280")
    axes.plot([start, start, end], [y, top, top], linewidth=0.9, color=colour, zorder=2, solid_joinstyle="round")
    _arrow(axes, (end, top), (end, y + 0.22), colour, 0.9)
