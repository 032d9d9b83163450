"""A network in int8: an exported ONNX graph whose convolutions compute with 8-bit weights and features.

What comes out is such a graph again, with QuantizeLinear and DequantizeLinear around them (QDQ), which OpenVINO and
ONNX Runtime read. The layers that face the picture stay in float32. All else is chosen by calibration pictures:

- channels are made about equally loud (:mod:`.evening`);
- the range of a layer's input: the geometric mean of the largest value and of the range with the least squared error;
- its weights, one scale for each output channel, rounded so that the rounding of one is made good by those to come
  (GPTQ: Frantar et al., arXiv 2210.17323);
- its bias, so that the mean of each output channel stays what it was.

Each layer is given the features of the exact network. If it were given those of the rounded layers before it, it would
learn to mend their errors for these pictures, and make them worse for others.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..graph import OUTPUT, package
from .evening import evened
from .nodes import Values, computed, convolve, is_convolution, options, walk

_POSITIONS = 12_000  # of features that a layer's weights are rounded by
_DAMPING = 0.1  # of the mean of the inputs' squares, added to each
_SHRUNK = (1.0, 0.95, 0.9, 0.85, 0.8)  # of a channel's largest weight: ranges of weights that are tried
_CLIPS = 0.98 ** np.arange(80)  # of a tensor's largest value: ranges of features that are tried
_FEW = 3  # channels of a picture


@dataclass(frozen=True)
class Range:
    """How features are rounded: to ``step`` times whole numbers, from 0 to 255 or, ``signed``, from -127 to 127."""

    step: float
    signed: bool

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        lowest, highest = (-127, 127) if self.signed else (0, 255)
        return (x / self.step).round().clamp_(lowest, highest).mul_(self.step)


def quantised(content: bytes, pictures: torch.Tensor) -> tuple[bytes, float]:
    """An exported network in int8, and how far its results are from float32's: the root mean square in grey levels.

    Args:
        content: the ONNX file, in float32.
        pictures: (N, 3, H, W) in [0, 1], to calibrate by: LR patches such as the network will see.

    Raises:
        InputError: if the network has operations that are not known here.
    """
    onnx = package("onnx")
    model = onnx.load_model_from_string(content)
    _rectify_before_shuffling(model.graph)
    weights = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer
    }
    weights = evened(model.graph, weights, pictures)
    layers, error = _calibrated(model.graph, weights, pictures)
    _rewrite(model.graph, layers, weights, onnx)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), error


@dataclass
class Layer:
    """A quantised convolution: its input's range, whole-numbered weights, their steps and its bias."""

    input: Range
    weight: torch.Tensor
    steps: torch.Tensor
    bias: torch.Tensor

    def __call__(self, node, x: torch.Tensor) -> torch.Tensor:
        return convolve(node, self.input.rounded(x), self.weight * self.steps.view(-1, 1, 1, 1), self.bias)


@torch.inference_mode()
def _calibrated(graph, weights: Values, pictures: torch.Tensor) -> tuple[dict[str, Layer], float]:
    """The layers by their outputs' names, and the root mean square of the error, in grey levels."""
    ranges: dict[str, Range] = {}
    layers: dict[str, Layer] = {}
    for node, values in walk(graph, weights, pictures):
        if not is_convolution(node, weights) or min(weights[node.input[1]].shape[:2]) <= _FEW:
            continue
        source, [name] = node.input[0], node.output
        x, weight = values[source], weights[node.input[1]]
        if source not in ranges:
            ranges[source] = _range_of(x)
        rounded = _gptq(weight, ranges[source].rounded(x), node)
        layer = layers[name] = Layer(ranges[source], *rounded, torch.zeros(len(weight)))
        layer.bias = (values[name] - layer(node, x)).mean((0, 2, 3))
    exact = values[OUTPUT]

    def coarsely(node, values: Values) -> torch.Tensor:
        layer = layers.get(node.output[0])
        return layer(node, values[node.input[0]]) if layer else computed(node, values)

    for _, values in walk(graph, weights, pictures, coarsely):
        pass
    return layers, float(255 * (values[OUTPUT] - exact).square().mean().sqrt())


def _range_of(x: torch.Tensor) -> Range:
    """The range that features are rounded in: between the one with the least squared error and the largest value."""
    signed = bool(x.min() < 0)
    whole = float(x.abs().max())
    sample = x.flatten()[torch.randint(x.numel(), (200_000,), generator=_random())]
    steps = [Range(max(whole * clip, 1e-9) / (127 if signed else 255), signed) for clip in _CLIPS]
    best = min(steps, key=lambda one: float((one.rounded(sample) - sample).square().mean()))
    return Range((best.step * steps[0].step) ** 0.5, signed)


def _gptq(weight: torch.Tensor, x: torch.Tensor, node) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole-numbered weights from -127 to 127 and the step of each output channel.

    Args:
        weight: (O, I, h, w).
        x: its inputs (N, I, H, W), rounded.
    """
    outputs = len(weight)
    columns = weight.flatten(1).double()
    windows = _windows(x, node, weight.shape[2:]).double()
    windows -= windows.mean(0)  # the mean is the bias's to correct
    hessian = windows.T @ windows / len(windows)
    hessian += torch.eye(len(hessian)) * (_DAMPING * hessian.diagonal().mean() + 1e-12)
    order = hessian.diagonal().argsort(descending=True)
    ordered = hessian[order][:, order]
    upper = torch.linalg.cholesky(torch.linalg.inv(ordered), upper=True)
    steps = torch.cat([columns.abs().amax(1) * shrunk for shrunk in _SHRUNK]).clamp_min(1e-12) / 127
    left = columns[:, order].repeat(len(_SHRUNK), 1)
    whole = torch.empty_like(left)
    for i in range(left.shape[1]):
        whole[:, i] = (left[:, i] / steps).round().clamp(-127, 127)
        error = (left[:, i] - whole[:, i] * steps) / upper[i, i]
        left[:, i + 1 :] -= error[:, None] * upper[i, i + 1 :]
    missed = columns[:, order].repeat(len(_SHRUNK), 1) - whole * steps[:, None]
    cost = ((missed @ ordered) * missed).sum(1).view(len(_SHRUNK), outputs)
    chosen = cost.argmin(0) * outputs + torch.arange(outputs)
    found = torch.empty_like(columns)
    found[:, order] = whole[chosen]
    return found.view(weight.shape).float(), steps[chosen].float()


def _windows(x: torch.Tensor, node, kernel: torch.Size) -> torch.Tensor:
    """What a convolution sees at random places: (places, I * h * w)."""
    top, left, *_ = options(node).get("pads", (0, 0, 0, 0))
    padded = F.pad(x, (left, left, top, top))
    places = [torch.randint(size, (_POSITIONS,), generator=_random(i)) for i, size in enumerate((len(x), *x.shape[2:]))]
    rows, columns = (place[:, None] + torch.arange(size) for place, size in zip(places[1:], kernel))
    seen = padded[places[0][:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (places, h, w, I)
    return seen.permute(0, 3, 1, 2).flatten(1)


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _rectify_before_shuffling(graph) -> None:
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


def _users(graph) -> dict[str, list]:
    users = {name: [] for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _rewrite(graph, layers: dict[str, Layer], weights: Values, onnx) -> None:
    """Put the quantised layers into the graph, and these weights where they are not."""
    make, constant = onnx.helper.make_node, onnx.numpy_helper.from_array
    made_by = {node.output[0]: node for node in graph.node}
    rounded: dict[str, str] = {}  # a tensor -> it in 8 bits and back

    def kept(name: str, array: np.ndarray) -> str:
        graph.initializer.append(constant(array, name))
        return name

    def round_trip(name: str, range: Range) -> Iterator:
        """The nodes that round a tensor."""
        kind = np.int8 if range.signed else np.uint8
        grid = [kept(f"{name}.step", np.float32(range.step)), kept(f"{name}.zero", kind(0))]
        yield make("QuantizeLinear", [name, *grid], [f"{name}.whole"])
        yield make("DequantizeLinear", [f"{name}.whole", *grid], [f"{name}.rounded"])
        rounded[name] = f"{name}.rounded"

    nodes = []
    inputs = {node.input[0]: layers[node.output[0]].input for node in graph.node if node.output[0] in layers}
    shuffled = {
        made_by[name].input[0]: range for name, range in inputs.items() if made_by[name].op_type == "DepthToSpace"
    }
    for node in graph.node:
        layer = layers.get(node.output[0])
        if layer:
            name, sources = node.output[0], list(node.input)
            grid = [
                kept(f"{name}.steps", layer.steps.numpy()),
                kept(f"{name}.zeros", np.zeros(len(layer.steps), np.int8)),
            ]
            weight = kept(f"{name}.weight", layer.weight.to(torch.int8).numpy())
            nodes.append(make("DequantizeLinear", [weight, *grid], [f"{name}.weights"], axis=0))
            node.input[:] = [rounded[sources[0]], f"{name}.weights", kept(f"{name}.bias", layer.bias.numpy())]
        elif node.op_type == "DepthToSpace" and node.input[0] in rounded:
            node.input[0] = rounded[node.input[0]]
        nodes.append(node)
        for name in node.output:
            if name in inputs or name in shuffled:
                nodes += round_trip(name, inputs.get(name) or shuffled[name])
    used = {name for node in nodes for name in node.input}
    own = [tensor for tensor in graph.initializer if tensor.name in used]
    for tensor in own:
        if tensor.name in weights:
            tensor.CopyFrom(constant(weights[tensor.name].numpy(), tensor.name))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(own)
