"""A network rewritten to touch memory less often; its figures stay the same but for rounding.

The networks in ``model/`` are written to be read: a convolution, an addition and a rectification are three
passes over the features. In the rewritten one they are a single pass where the CPU's library (oneDNN) has
one for it, and the last two happen in place elsewhere. The weights are shared with the original network, not
copied. For inference only: nothing here has a gradient.

Only networks made of the operations in ``_KNOWN`` are rewritten. All others are left as they are.
"""

import operator

import torch
from torch import fx, nn
from torch.nn import functional as F

from model.ops import NONE, Bicubic, Margins, Network, interpolate

SUMS = (operator.add, operator.iadd, torch.add)
# Functions of single values, by the names that oneDNN has for them.
VALUEWISE = {F.relu: "relu", torch.relu: "relu", torch.tanh: "tanh", F.tanh: "tanh"}
SHUFFLE = (F.pixel_shuffle, torch.pixel_shuffle)
_VECTOR = 16  # float32 in an AVX-512 register, which is what oneDNN fills up output channels to
# Neighbours computed as one where channels are few. Every result's width is a multiple of them, so tiles of
# any width sum in the same order. (Of four neighbours oneDNN sums narrow tiles in another order than wide.)
_PIXELS = {2: 2, 3: 3, 4: 2}
_ROWS = 64  # of such a convolution's result that are computed at a time


def fuse(net: Network, scale: int, margins: Margins = NONE) -> fx.GraphModule | None:
    """``net`` with everything but its input decided, as a module of one argument; None if it has unknown operations.

    The network's Python code is followed once and the operations are recorded (``torch.fx``). A network whose code
    depends on the values or the size of its input cannot be recorded so, and is not.

    Args:
        net: a network in the ``channels_last`` memory format; shared, not changed.
        scale: the enlargement it is called with.
        margins: that it is called with.
    """
    try:
        call = _Call(net, scale, margins)
        module = fx.GraphModule(call, _Tracer().trace(call))
    except Exception:  # what Python raises where a tensor's value or size was wanted can be anything
        return None
    for node in module.graph.nodes:
        if _is_convolution(module, node):
            _as_convolve(module, node, scale)
        elif node.op == "call_module" and type(module.get_submodule(node.target)) is Bicubic:
            _as_interpolate(module, node)
        elif node.target is torch.cat and len(node.args) == 1 and node.kwargs == {"dim": 1}:
            _as_concatenate(module, node)
    if not all(_is_known(node) for node in module.graph.nodes):
        return None
    rows = row_nodes(module)
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in VALUEWISE:
            _join(node, rows)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a 2-D convolution whose weights are what it computes with, of a kind that is known."""
    hooked = module._forward_hooks or module._forward_pre_hooks  # as old-style weight norm has
    return (
        type(module) is nn.Conv2d
        and module.padding_mode in ("zeros", "replicate")
        and isinstance(module.padding, tuple)
        and isinstance(module._parameters.get("weight"), nn.Parameter)
        and not hooked
    )


def row_nodes(network: fx.GraphModule) -> dict[fx.Node, None]:
    """The operations on pixels; the others are on weights and constants alone."""
    rows = {}
    for node in network.graph.nodes:
        if node.op == "placeholder" or any(source in rows for source in node.all_input_nodes):
            rows[node] = None
    return rows


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride,
    padding,
    dilation,
    groups: int,
    then: str | None = None,
    add: torch.Tensor | None = None,
    pixels: int = 1,
    edge: str = "zeros",
) -> torch.Tensor:
    """``then(conv2d(x) + add)``, either or both left out, in the weight's precision.

    A CPU may compute so many ``pixels`` side by side at once, see :func:`_convolve_to_few`. Beyond its edge, ``x`` has
    "zeros", or its edge again ("replicate").
    """
    if edge == "replicate":
        x, padding = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), mode=edge), (0, 0)
    grouped = groups > 1 and weight.dtype != torch.float32  # which oneDNN does not add to
    if add is not None and (grouped or add.shape[1:2] != (len(weight),) or add.shape[2:] != x.shape[2:]):
        y = convolve(x, weight, bias, stride, padding, dilation, groups) + add
        return getattr(y, f"{then}_")() if then else y
    on_cpu = weight.device.type == "cpu"
    if on_cpu and pixels > 1 and x.shape[3] % pixels == 0:
        return _convolve_to_few(x, weight, padding, pixels)
    x, bias, add = (value if value is None else value.to(weight.dtype) for value in (x, bias, add))
    if not on_cpu or not _has_onednn():
        y = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        y = y if add is None else y.add_(add)
        return getattr(y, f"{then}_")() if then else y
    # For a small x, conv2d would not take oneDNN, and sum in another order than for a large one.
    where = ([*padding], [*stride], [*dilation], groups)
    if add is None:
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *where, then or "none", [], "")
    return torch.ops.mkldnn._convolution_pointwise(x, add, weight, bias, *where, "add", 1.0, then, [], "")


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


def concatenate(*features: torch.Tensor) -> torch.Tensor:
    """Features (N, C, H, W) of any C as channels of one."""
    return torch.cat(features, dim=1)


_KNOWN = (*SUMS, *VALUEWISE, *SHUFFLE, convolve, interpolate, concatenate, operator.sub, operator.mul, operator.getitem)


def _recorded(change):
    def method(self: fx.Proxy, other) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", change, (self, other), {})

    return method


class _Proxy(fx.Proxy):
    """Tells ``y += x``, which changes what other names stand for, from ``y = y + x``, as torch's own does not."""

    __iadd__, __isub__, __imul__, __itruediv__, __ipow__ = map(
        _recorded, (operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow)
    )


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True  # what is computed from a buffer is recorded, and not its result

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return type(module) is Bicubic or super().is_leaf_module(module, name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


class _Call(nn.Module):
    def __init__(self, net: Network, scale: int, margins: Margins) -> None:
        super().__init__()
        self.net = net
        self.scale = scale
        self.margins = margins

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x, self.scale, self.margins)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _is_known(node: fx.Node) -> bool:
    if node.op != "call_function":  # a constant that was computed while recording would stay as it was
        return node.op in ("placeholder", "output") or node.op == "get_attr" and "_tensor_constant" not in node.target
    if node.target in (*SUMS, operator.sub, operator.mul) and len(node.args) != 2:
        return False
    if _works_in_place(node) and not _is_all_that_sees(node, node.args[0]):
        return False
    # What is not given by its place may be anything, as the alpha of a sum.
    options = {"inplace"} if node.target is F.relu else {"pixels", "edge"} if node.target is convolve else set()
    return node.target in _KNOWN and node.kwargs.keys() <= options


def _works_in_place(node: fx.Node) -> bool:
    return node.target is operator.iadd or node.target is F.relu and any((*node.args[1:], *node.kwargs.values()))


def _is_all_that_sees(node: fx.Node, value) -> bool:
    """Whether a value may change under a node's hands: nobody else reads it, and it is no part of another's."""
    return node.users and set(value.users) == {node} and value.target is not operator.getitem


def _is_convolution(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return is_plain(module.get_submodule(node.target)) and len(node.args) == 1
    words = any(isinstance(argument, str) for argument in (*node.args, *node.kwargs.values()))  # as padding="same"
    return node.op == "call_function" and node.target is F.conv2d and not words


def _as_convolve(module: fx.GraphModule, node: fx.Node, scale: int) -> None:
    """Replace a convolution, module or function, by :func:`convolve`."""
    options = {}
    with module.graph.inserting_before(node):
        if node.op == "call_module":
            conv = module.get_submodule(node.target)
            weight = module.graph.get_attr(f"{node.target}.weight")
            bias = None if conv.bias is None else module.graph.get_attr(f"{node.target}.bias")
            arguments = (node.args[0], weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
            same_size = conv.kernel_size == tuple(2 * padding + 1 for padding in conv.padding)
            dense = (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
            few = _PIXELS.get(scale, 1)
            if conv.padding_mode != "zeros":
                options["edge"] = conv.padding_mode
            elif bias is None and same_size and dense and conv.out_channels * few <= _VECTOR and few > 1:
                options["pixels"] = few
        else:
            arguments = _conv2d_arguments(*node.args, **node.kwargs)
        new = module.graph.call_function(convolve, arguments, options)
    node.replace_all_uses_with(new)
    module.graph.erase_node(node)


def _as_interpolate(module: fx.GraphModule, node: fx.Node) -> None:
    """Replace a layer that is bicubic interpolation by the function."""
    with module.graph.inserting_before(node):
        kernels = module.graph.get_attr(f"{node.target}.kernels")
        new = module.graph.call_function(interpolate, (*node.args, kernels))
    node.replace_all_uses_with(new)
    module.graph.erase_node(node)


def _as_concatenate(module: fx.GraphModule, node: fx.Node) -> None:
    """Replace ``torch.cat`` of channels by :func:`concatenate`, whose arguments are the features themselves."""
    with module.graph.inserting_before(node):
        new = module.graph.call_function(concatenate, tuple(node.args[0]))
    node.replace_all_uses_with(new)
    module.graph.erase_node(node)


def _conv2d_arguments(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> tuple:
    """A call of ``F.conv2d`` as arguments of :func:`convolve`."""
    values = (value if isinstance(value, (tuple, list)) else (value,) for value in (stride, padding, dilation))
    pairs = (tuple(value) * 2 if len(value) == 1 else value for value in values)
    return (input, weight, bias, *pairs, groups)


def _join(node: fx.Node, rows: dict[fx.Node, None]) -> None:
    """Let the convolution before a rectification, or another function of values, do it in the same pass.

    And before a rectification an addition between them.
    """
    before, then = node.args[0], VALUEWISE[node.target]
    if len(before.users) > 1:
        return
    if before.target in SHUFFLE:
        conv = before.args[0]  # moves pixels only: they may as well be rectified before
        if _only_feeds(conv, before):
            conv.kwargs = {**conv.kwargs, "then": then}
            node.replace_all_uses_with(before)
    elif _only_feeds(before, node):
        before.kwargs = {**before.kwargs, "then": then}
        node.replace_all_uses_with(before)
    elif before.target in SUMS and then == "relu":
        for conv, other in (before.args, before.args[::-1]):
            # What is added must be as large as the features: a constant may not be.
            if other in rows and _only_feeds(conv, before):
                with node.graph.inserting_before(before):
                    new = node.graph.call_function(convolve, conv.args, {**conv.kwargs, "then": then, "add": other})
                node.replace_all_uses_with(new)
                rows[new] = None
                return


def _only_feeds(conv, user: fx.Node) -> bool:
    """Whether something is a bare convolution whose result goes nowhere else."""
    plain = isinstance(conv, fx.Node) and conv.op == "call_function" and conv.target is convolve
    plain = plain and conv.kwargs.keys() <= {"edge"}
    return plain and set(conv.users) == {user}
