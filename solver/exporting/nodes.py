"""The operations of an exported network, computed one after the other: the heavy ones by PyTorch, all else by ONNX."""

from collections.abc import Callable, Iterator

import numpy as np
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
        for name in {name for name in node.input if name and last_use[name] == index} - weights.keys():
            del values[name]


def computed(node, values: Values) -> torch.Tensor:
    """What a node makes of the values that are known."""
    inputs, given = [values.get(name) for name in node.input], options(node)
    match node.op_type:
        case "Conv":
            return convolve(node, *inputs)
        case "DepthToSpace" if given.get("mode") == b"CRD":
            return F.pixel_shuffle(inputs[0], given["blocksize"])
        case "Pad" if given.get("mode") == b"edge" and len(inputs[1]) == 8:
            _, _, top, left, _, _, bottom, right = inputs[1].tolist()
            return F.pad(inputs[0], (left, right, top, bottom), "replicate")
        case "PRelu":
            return torch.where(inputs[0] > 0, inputs[0], inputs[0] * inputs[1])
    simple = {"Relu": F.relu, "Tanh": torch.tanh, "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}
    if node.op_type in simple:
        return simple[node.op_type](*inputs)
    from onnx.reference import ReferenceEvaluator

    given = {name: x.detach().numpy() for name, x in zip(node.input, inputs) if name}
    [output] = ReferenceEvaluator(node).run(None, given)
    return torch.from_numpy(np.array(output, order="C"))


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
