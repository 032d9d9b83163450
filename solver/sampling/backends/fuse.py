"""A network rewritten to touch memory less often; its figures stay the same but for rounding.

The networks in ``model/`` are written to be read: a convolution, an addition and a rectification are three
passes over the features. In the rewritten one they are a single pass where the CPU's library (oneDNN) has
one for it, and the last two happen in place elsewhere. The weights are shared with the original network, not
copied. For inference only: nothing here has a gradient.
"""

import torch
from torch import fx, nn
from torch.nn import functional as F

_RELU = (F.relu, torch.relu)
_ADD = ("add", "iadd")
_VECTOR = 16  # float32 in an AVX-512 register, which is what oneDNN fills up output channels to
# Neighbours computed as one where channels are few. Every result's width is a multiple of them, so tiles of
# any width sum in the same order. (Of four neighbours oneDNN sums narrow tiles in another order than wide.)
_PIXELS = {2: 2, 3: 3, 4: 2}
_ROWS = 64  # of such a convolution's result that are computed at a time


def fuse(net: nn.Module, scale: int, **options) -> fx.GraphModule:
    """``net`` with everything but its input decided, as a module of one argument.

    The network's Python code is followed once and the operations are recorded (``torch.fx``), so it must not
    branch on the values or the size of its input.

    Args:
        net: a network made of convolutions, in the ``channels_last`` memory format; shared, not changed.
        scale: the enlargement it is called with.
        options: what else it is called with.
    """
    graph_module = fx.symbolic_trace(_Call(net, scale, options))
    for node in graph_module.graph.nodes:
        if _is_convolution(graph_module, node):
            _as_convolve(graph_module, node, scale)
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and node.target in _RELU:
            _join(node)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride,
    padding,
    dilation,
    groups: int,
    relu: bool = False,
    add: torch.Tensor | None = None,
    pixels: int = 1,
) -> torch.Tensor:
    """``relu(conv2d(x) + add)``, either or both left out, in the weight's precision.

    A CPU may compute so many ``pixels`` side by side at once, see :func:`_convolve_to_few`.
    """
    on_cpu = weight.device.type == "cpu"
    if on_cpu and pixels > 1 and x.shape[3] % pixels == 0:
        return _convolve_to_few(x, weight, padding, pixels)
    x = x.to(weight.dtype)
    add = None if add is None else add.to(weight.dtype)
    if not on_cpu or not _has_onednn():
        y = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        y = y if add is None else y.add_(add)
        return y.relu_() if relu else y
    # For a small x, conv2d would not take oneDNN, and sum in another order than for a large one.
    where = ([*padding], [*stride], [*dilation], groups)
    after = "relu" if relu else None
    if add is None:
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *where, after or "none", [], "")
    return torch.ops.mkldnn._convolution_pointwise(x, add, weight, bias, *where, "add", 1.0, after, [], "")


def _convolve_to_few(x: torch.Tensor, weight: torch.Tensor, padding, pixels: int) -> torch.Tensor:
    """A convolution to a few channels, several pixels side by side computed as channels of one.

    The CPU computes output channels in vectors of 16, so the three of a picture waste most of each. The
    kernels of ``n`` neighbours are the same one, shifted, and all fit into one that is ``n - 1`` taps wider,
    moved ``n`` pixels at a time. In channels_last order its output is the picture already.
    """
    outputs, inputs, height, width = weight.shape
    wide = weight.new_zeros(pixels, outputs, inputs, height, width + pixels - 1)
    for i in range(pixels):
        wide[i, :, :, :, i : i + width] = weight
    wide = wide.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    above = padding[0]
    rows = x.shape[2] + 2 * above - height + 1
    y = x.new_empty(len(x), rows, x.shape[3], outputs, dtype=weight.dtype)
    # In strips, so that a copy of all features in another precision is never in memory.
    for top in range(0, rows, _ROWS):
        first = max(0, top - above)
        strip = x[:, :, first : top - above + _ROWS + height - 1].to(weight.dtype)
        strip = convolve(strip, wide, None, (1, pixels), padding, (1, 1), 1)[:, :, top - first : top - first + _ROWS]
        y[:, top : top + _ROWS] = strip.permute(0, 2, 3, 1).reshape(len(y), -1, y.shape[2], outputs)
    return y.permute(0, 3, 1, 2)


class _Call(nn.Module):
    def __init__(self, net: nn.Module, scale: int, options: dict) -> None:
        super().__init__()
        self.net = net
        self.scale = scale
        self.options = options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x, self.scale, **self.options)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _is_convolution(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = graph_module.get_submodule(node.target)
        zeros = type(module) is nn.Conv2d and module.padding_mode == "zeros"
        return zeros and isinstance(module.padding, tuple)
    return node.op == "call_function" and node.target is F.conv2d


def _as_convolve(graph_module: fx.GraphModule, node: fx.Node, scale: int) -> None:
    """Replace a convolution, module or function, by :func:`convolve`."""
    pixels = 1
    with graph_module.graph.inserting_before(node):
        if node.op == "call_module":
            conv = graph_module.get_submodule(node.target)
            weight = graph_module.graph.get_attr(f"{node.target}.weight")
            bias = None if conv.bias is None else graph_module.graph.get_attr(f"{node.target}.bias")
            arguments = (node.args[0], weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
            same_size = conv.kernel_size == tuple(2 * padding + 1 for padding in conv.padding)
            dense = (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
            if bias is None and same_size and dense and conv.out_channels * _PIXELS[scale] <= _VECTOR:
                pixels = _PIXELS[scale]
        else:
            arguments = _conv2d_arguments(*node.args, **node.kwargs)
        new = graph_module.graph.call_function(convolve, arguments, {"pixels": pixels} if pixels > 1 else {})
    node.replace_all_uses_with(new)
    graph_module.graph.erase_node(node)


def _conv2d_arguments(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> tuple:
    """A call of ``F.conv2d`` as arguments of :func:`convolve`."""
    pairs = (value if isinstance(value, (tuple, list)) else (value, value) for value in (stride, padding, dilation))
    return (input, weight, bias, *pairs, groups)


def _join(relu: fx.Node) -> None:
    """Let the convolution before a rectification do it, and an addition between them, in the same pass."""
    before = relu.args[0]
    if len(before.users) > 1:
        return
    if before.target is F.pixel_shuffle or before.target is torch.pixel_shuffle:
        conv = before.args[0]  # moves pixels only: they may as well be rectified before
        if _only_feeds(conv, before):
            conv.kwargs = {**conv.kwargs, "relu": True}
            relu.replace_all_uses_with(before)
    elif _only_feeds(before, relu):
        before.kwargs = {**before.kwargs, "relu": True}
        relu.replace_all_uses_with(before)
    elif before.op == "call_function" and getattr(before.target, "__name__", "") in _ADD:
        for conv, other in (before.args, before.args[::-1]):
            if isinstance(other, fx.Node) and isinstance(conv, fx.Node) and _only_feeds(conv, before):
                with relu.graph.inserting_before(before):
                    new = relu.graph.call_function(convolve, conv.args, {"relu": True, "add": other})
                relu.replace_all_uses_with(new)
                return


def _only_feeds(conv: fx.Node, user: fx.Node) -> bool:
    plain = conv.op == "call_function" and conv.target is convolve and not conv.kwargs
    return plain and set(conv.users) == {user}
