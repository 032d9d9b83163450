"""The operations of an exported network, computed by PyTorch one after the other."""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from dataset.errors import InputError

from ..graph import INPUT

Values = dict[str, torch.Tensor]


def walk(graph, weights: Values, pictures: torch.Tensor, compute: Callable | None = None) -> Iterator[tuple]:
    """Each node in order, and with it what is known once it has computed; what no later node needs is forgotten.

    Args:
        pictures: (N, 3, H, W) in [0, 1].
        compute: what makes a node's output of the node and of what is known; by default :func:`computed`.
    """
    values = weights | {INPUT: pictures}
    last_use = {name: index for index, node in enumerate(graph.node) for name in node.input}
    for index, node in enumerate(graph.node):
        values[node.output[0]] = (compute or computed)(node, values)
        yield node, values
        for name in {name for name in node.input if last_use[name] == index} - weights.keys():
            del values[name]


def computed(node, values: Values) -> torch.Tensor:
    """What a node makes of the values that are known.

    Raises:
        InputError: if its operation is not known here.
    """
    inputs, given = [values[name] for name in node.input], options(node)
    match node.op_type:
        case "Conv":
            return convolve(node, *inputs)
        case "DepthToSpace" if given.get("mode") == b"CRD":
            return F.pixel_shuffle(inputs[0], given["blocksize"])
        case "Constant":
            from onnx.numpy_helper import to_array

            return torch.from_numpy(to_array(given["value"]).copy())
        case "Concat" if given["axis"] == 1:
            return torch.cat(inputs, dim=1)
    simple = {"Relu": F.relu, "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Identity": torch.clone}
    if node.op_type not in simple:
        raise InputError(f"--to int8: {node.op_type} is not known there; such a network stays in float32")
    return simple[node.op_type](*inputs)


def convolve(node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What a convolution makes of ``x`` (N, C, H, W), with this weight and bias."""
    given = options(node)
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise InputError("--to int8: a convolution with other padding above than below is not known there")
    return F.conv2d(x, weight, bias, given["strides"], (top, left), given["dilations"], given.get("group", 1))


def is_convolution(node, weights: Values) -> bool:
    """Whether a node is a convolution of all channels, by weights."""
    return node.op_type == "Conv" and options(node).get("group", 1) == 1 and node.input[1] in weights


def options(node) -> dict:
    """A node's attributes."""
    from onnx.helper import get_attribute_value

    return {each.name: get_attribute_value(each) for each in node.attribute}
