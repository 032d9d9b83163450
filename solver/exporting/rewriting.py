"""Graphs of ONNX with layers in 8 bits: QuantizeLinear and DequantizeLinear around what is rounded."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..graph import OUTPUT, package
from .nodes import Values, convolve, is_convolution, options

_LEVELS = (0, 255), (-127, 127)  # of features that are never negative, and of signed ones


@dataclass(frozen=True)
class Range:
    """How features are rounded: to ``step`` times whole numbers, from 0 to 255 or, ``signed``, from -127 to 127."""

    step: float
    signed: bool

    @classmethod
    def of(cls, largest: float, signed: bool) -> "Range":
        """The one that ends at this value."""
        return cls(max(largest, 1e-9) / _LEVELS[signed][1], signed)

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        return (x / self.step).round().clamp_(*_LEVELS[self.signed]).mul_(self.step)


@dataclass
class Layer:
    """A quantised convolution: its input's factors, offsets and range, whole weights, their steps and its bias.

    Shapes: ``factors`` and ``offsets`` (I,), ``weight`` (O, I, h, w), ``steps`` and ``bias`` (O,). ``error`` is
    what its rounding alone changes in the result, in grey levels (root mean square).
    """

    factors: torch.Tensor
    offsets: torch.Tensor
    input: Range
    weight: torch.Tensor
    steps: torch.Tensor
    bias: torch.Tensor
    error: float = 0.0

    def __call__(self, node, x: torch.Tensor) -> torch.Tensor:
        x = self.input.rounded(x * self.factors.view(-1, 1, 1) + self.offsets.view(-1, 1, 1))
        return convolve(node, x, self.weight * self.steps.view(-1, 1, 1, 1), self.bias)


def rectify_before_shuffling(graph) -> None:
    """Let a rectification come before the pixel shuffle before it: they move pixels only, and it is the same."""
    users = _users(graph)
    for shuffle in graph.node:
        if shuffle.op_type == "DepthToSpace" and [user.op_type for user in users[shuffle.output[0]]] == ["Relu"]:
            [relu] = users[shuffle.output[0]]
            inside, between, outside = shuffle.input[0], shuffle.output[0], relu.output[0]
            shuffle.op_type, relu.op_type = "Relu", "DepthToSpace"
            relu.attribute.extend(shuffle.attribute)
            del shuffle.attribute[:]
            assert (shuffle.input[0], relu.input[0], relu.output[0]) == (inside, between, outside)


def share_nothing(graph, weights: Values) -> None:
    """Give each convolution weights of its own, where a network has them in common."""
    taken = set()
    for node in graph.node:
        if node.op_type == "Conv":
            for index, name in enumerate(node.input[1:], 1):
                if name in taken and name in weights:
                    node.input[index] = f"{node.output[0]}.own.{index}"
                    weights[node.input[index]] = weights[name]
                taken.add(name)


def pair(graph, weights: Values, inside: Container[str], channels: Values) -> Values:
    """Give convolutions, by their outputs' names, these of their input's channels twice, with half the weights.

    The network makes the same of a picture then; ``weights`` are changed.

    Args:
        inside: names of all that will be quantised, and have a bias then.

    Returns:
        Of each 1 and -1 for the channels of a pair, and 0 for all others (I,). Left out are those whose input is not
        made for them alone, by a convolution with a bias.
    """
    made_by, users, halves = {node.output[0]: node for node in graph.node}, _users(graph), {}
    for node in graph.node:
        if node.output[0] not in channels or not (found := _maker(node.input[0], made_by, users, weights)):
            continue
        maker, places = found
        if not is_convolution(maker, weights) or (len(maker.input) < 3 and maker.output[0] not in inside):
            continue
        twice, weight = channels[node.output[0]], weights[node.input[1]].clone()
        for name in maker.input[1:]:
            whole = weights[name].unflatten(0, (-1, places))
            weights[name] = torch.cat([whole, whole[twice]]).flatten(0, 1)
        signs = torch.zeros(weight.shape[1])
        signs[twice] = 1
        weight[:, twice] /= 2
        weights[node.input[1]] = torch.cat([weight, weight[:, twice]], 1)
        halves[node.output[0]] = torch.cat([signs, -torch.ones(len(twice))])
    return halves


def _maker(source: str, made_by: dict, users: dict[str, list], weights: Values) -> tuple | None:
    """The convolution that makes a tensor for one node alone, and how many of its channels make one of the tensor's."""
    maker, places = made_by[source], 1
    while maker.op_type in ("Relu", "DepthToSpace") and len(users[source]) == 1:
        if maker.op_type == "DepthToSpace":
            places *= options(maker)["blocksize"] ** 2
        source = maker.input[0]
        maker = made_by[source]
    alone = len(users[source]) == 1 and maker.op_type == "Conv" and weights.keys() >= {*maker.input[1:]}
    return (maker, places) if alone else None


def _users(graph) -> dict[str, list]:
    users = {name: [] for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def add(graph, amount: torch.Tensor) -> None:
    """Add so much, (1, 3, 1, 1), to the result."""
    onnx = package("onnx")
    [last] = [node for node in graph.node if OUTPUT in node.output]
    last.output[:] = [f"{OUTPUT}.before"]
    graph.initializer.append(onnx.numpy_helper.from_array(amount.numpy(), f"{OUTPUT}.amount"))
    graph.node.append(onnx.helper.make_node("Add", [f"{OUTPUT}.before", f"{OUTPUT}.amount"], [OUTPUT]))


def rewrite(graph, layers: dict[str, Layer], weights: Values) -> None:
    """Put quantised layers, by their outputs' names, into the graph; ``weights`` are changed."""
    onnx = package("onnx")
    make, constant = onnx.helper.make_node, onnx.numpy_helper.from_array
    made_by, users = {node.output[0]: node for node in graph.node}, _users(graph)
    inputs = {node.input[0]: layers[node.output[0]] for node in graph.node if node.output[0] in layers}
    added, rounded = {}, {}  # initialisers by name; a tensor -> it in 8 bits and back

    def kept(name: str, array: np.ndarray) -> str:
        added[name] = constant(array, name)
        return name

    def loudened(layer: Layer, source: str) -> bool:
        """Multiply a layer's input, and add to it, where it is made: by a convolution, and for this layer alone."""
        found = _maker(source, made_by, users, weights)
        if not found:
            return False
        maker, places = found
        factors, offsets = (each.repeat_interleave(places) for each in (layer.factors, layer.offsets))
        if before := layers.get(maker.output[0]):
            before.steps, before.bias = before.steps * factors, before.bias * factors + offsets
            return True
        for name in maker.input[1:]:
            weights[name] = weights[name] * factors.view(-1, *[1] * (weights[name].ndim - 1))
        for name in maker.input[2:]:
            weights[name] = weights[name] + offsets
        return True

    def round_trip(name: str, layer: Layer) -> Iterator:
        """The nodes that round a tensor."""
        kind = np.int8 if layer.input.signed else np.uint8
        grid = [kept(f"{name}.step", np.float32(layer.input.step)), kept(f"{name}.zero", kind(0))]
        source = name
        if name not in folded and not (layer.factors == 1).all():
            source = f"{name}.even"
            yield make("Mul", [name, kept(f"{name}.factors", layer.factors.view(1, -1, 1, 1).numpy())], [source])
        yield make("QuantizeLinear", [source, *grid], [f"{name}.whole"])
        yield make("DequantizeLinear", [f"{name}.whole", *grid], [f"{name}.rounded"])
        rounded[name] = f"{name}.rounded"

    folded = {name for name, layer in inputs.items() if loudened(layer, name)}
    shuffled = {made_by[name].input[0]: inputs[name] for name in folded if made_by[name].op_type == "DepthToSpace"}
    folded |= shuffled.keys()
    nodes = []
    for node in graph.node:
        layer = layers.get(node.output[0])
        if layer:
            name, sources = node.output[0], list(node.input)
            sounds = layer.steps > 0
            steps = torch.where(sounds, layer.steps, 1)
            grid = [kept(f"{name}.steps", steps.numpy()), kept(f"{name}.zeros", np.zeros(len(steps), np.int8))]
            weight = layer.weight * sounds.view(-1, 1, 1, 1)
            weight = kept(f"{name}.weight", weight.to(torch.int8).numpy())
            nodes.append(make("DequantizeLinear", [weight, *grid], [f"{name}.weights"], axis=0))
            node.input[:] = [rounded[sources[0]], f"{name}.weights", kept(f"{name}.bias", layer.bias.numpy())]
        elif node.op_type == "DepthToSpace" and node.input[0] in rounded:
            node.input[0] = rounded[node.input[0]]
        nodes.append(node)
        for name in node.output:
            if name in inputs or name in shuffled:
                nodes += round_trip(name, inputs.get(name) or shuffled[name])
    used = {name for node in nodes for name in node.input}
    own = [constant(tensor.numpy(), name) for name, tensor in weights.items() if name in used]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*own, *added.values()])
