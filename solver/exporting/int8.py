"""A network in int8: an exported ONNX graph whose convolutions compute with 8-bit weights and features.

What comes out is such a graph again, with QuantizeLinear and DequantizeLinear around them (QDQ), which OpenVINO and
ONNX Runtime read. The layers that face the picture stay in float32. All else is chosen by calibration pictures:

- the factors of its input's channels: quiet ones are made louder, and their weights smaller, or they would be lost in
  the step that all channels share (cross-layer equalisation: Nagel et al., arXiv 1906.04721). Of several degrees the
  one is taken whose errors change the result least, by the network's gradients;
- their ranges: the geometric mean of a channel's largest value, in strong colours too, and of the range with the least
  squared error;
- those that come in twice, each with half the weight, a quarter of a step brighter and darker: the two together are
  rounded half as coarsely (outlier channel splitting: Zhao et al., arXiv 1901.09504). They are the largest channels of
  the few layers that add most to the error;
- its weights, one scale for each output channel, rounded so that the rounding of one is made good by those to come
  (GPTQ: Frantar et al., arXiv 2210.17323);
- its bias, so that the mean of each output channel stays what it was.

Each layer is given the features of the exact network. If it were given those of the rounded layers before it, it would
learn to mend their errors for these pictures, and make them worse for others. Only the last layers, in float32, are
fitted to what comes of rounded features, by least squares, and the result as a whole is made as bright as it was.
"""

import math
from collections.abc import Container

import torch
from torch.nn import functional as F

from dataset.errors import InputError

from ..graph import OUTPUT, package
from . import rewriting
from .nodes import Values, computed, is_convolution, options, walk
from .rewriting import Layer, Range

_POSITIONS = 24_000  # of features that a layer's weights are rounded or fitted by
_DAMPING = 0.005  # of the mean of the inputs' squares, added to each
_RIDGE = 0.01  # the same, where a layer is fitted
_SHRUNK = (1.0, 0.95, 0.9, 0.85, 0.8)  # of a channel's largest weight: ranges of weights that are tried
_CLIPS = 0.98 ** torch.arange(80)  # of a channel's largest value: ranges of features that are tried
_EVENNESS = (0.0, 0.25, 0.5, 0.75, 1.0)  # 1: all channels are as loud as the loudest; the best is taken
_LOUDER = 256.0  # times, at most
_FEW_PATCHES = 32  # are enough to tell what an error does
_VIVIDNESS = 2.0  # times as far from grey: the colours that ranges hold too
_PLACES = 4  # by 4, in which a patch's errors are summed up
_LARGEST = 2.0**60  # of what is rounded; float32 holds its square
_SEEN = 0.24  # grey levels; of layers that alone change results by more, the largest channels come in twice
_TOO_LARGE = "its features or weights are too large for int8; give others"
_FEW = 3  # channels of a picture


def quantised(content: bytes, pictures: torch.Tensor) -> tuple[bytes, float]:
    """An exported network in int8, and how far its results are from float32's: the root mean square in grey levels.

    Args:
        content: the ONNX file, in float32.
        pictures: (N, 3, H, W) in [0, 1], to calibrate by: LR patches such as the network will see.

    Raises:
        InputError: if the network has operations that are not known here, or weights that cannot be rounded.
    """
    onnx = package("onnx")
    model = onnx.load_model_from_string(content)
    rewriting.rectify_before_shuffling(model.graph)
    weights = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer
    }
    rewriting.share_nothing(model.graph, weights)
    inside = _inside(model.graph, weights)

    def calibrated(pairs: Values, known: dict[str, Layer]):
        gradients = _gradients(model.graph, weights, pictures[:_FEW_PATCHES], inside)
        return _calibrated(model.graph, weights, pictures, inside, gradients, pairs, known)

    layers, fitted, brighter, error = calibrated({}, {})
    coarse = {name: _largest(layer) for name, layer in layers.items() if layer.error > _SEEN}
    if pairs := rewriting.pair(model.graph, weights, inside, coarse):
        layers, fitted, brighter, error = calibrated(pairs, layers)
    weights |= fitted
    rewriting.rewrite(model.graph, layers, weights)
    rewriting.add(model.graph, -brighter)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), error


def _gradients(graph, weights: Values, pictures: torch.Tensor, names: Container[str]) -> dict[str, torch.Tensor]:
    """What these features (N, O, H, W) tell on the result: gradients of its sum with random signs.

    What is changed times these, summed over a sixteenth of a picture, has the mean square of what changes in the result
    there. Missing is what passes through an operation that has no gradient here.
    """
    found = {}
    for node, values in walk(graph, weights, pictures):
        [name] = node.output
        if name in names:
            if not values[name].requires_grad:
                values[name].requires_grad_()
            values[name].retain_grad()
            found[name] = values[name]
    result = values[OUTPUT]
    signs = (torch.randint(2, result.shape, generator=_random()) * 2.0 - 1) * _PLACES / result[0].numel() ** 0.5
    if result.requires_grad:  # or none of them has a way to the result
        (result * signs).sum().backward()
    return {name: x.grad for name, x in found.items() if x.grad is not None}


@torch.inference_mode()
def _calibrated(
    graph,
    weights: Values,
    pictures: torch.Tensor,
    inside: dict[str, str],
    gradients: Values,
    pairs: Values,
    known: dict[str, Layer],
) -> tuple[dict[str, Layer], Values, torch.Tensor, float]:
    """The layers by their outputs' names, and the weights of the last ones.

    Then by how much results are too bright with them, (1, 3, 1, 1), and the root mean square of what else they are off,
    in grey levels.

    Args:
        pairs: see :func:`.rewriting.pair`.
        known: layers that were calibrated before; those with as many channels stay.
    """
    layers: dict[str, Layer] = {}
    fitted: Values = {}
    last: dict[str, torch.Tensor] = {}  # what the last layers make where they are looked at, without their bias
    count = len(pictures)
    for node, values in walk(graph, weights, torch.cat([pictures, _vivid(pictures)])):
        [name] = node.output
        if name in inside:
            if not all(values[one].abs().max() < _LARGEST for one in (*node.input, name)):
                raise InputError(_TOO_LARGE)
            if name in known and known[name].weight.shape == values[node.input[1]].shape:
                layers[name] = known[name]
                continue
            same = [layer for other, layer in layers.items() if inside[other] == node.input[0]]
            layers[name] = _layer(node, values, count, same, gradients.get(name), pairs.get(name))
        elif layers and is_convolution(node, weights):
            x, weight = (values[one] for one in node.input[:2])
            last[name] = _windows(x[:count], node, weight.shape[2:]) @ weight.flatten(1).T
    exact = values[OUTPUT][:count]

    def coarsely(node, values: Values) -> torch.Tensor:
        [name] = node.output
        if name in layers:
            return layers[name](node, values[node.input[0]])
        if name in last:
            x, weight = (values[one] for one in node.input[:2])
            fitted[node.input[1]] = values[node.input[1]] = _fitted(node, x, weight, last[name])
        return computed(node, values)

    for _, values in walk(graph, weights, pictures, coarsely):
        pass
    change = values[OUTPUT] - exact
    mean = change.mean((0, 2, 3), keepdim=True)
    return layers, fitted, mean, float(255 * (change - mean).double().square().mean().sqrt())


def _vivid(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures (N, 3, H, W) in [0, 1] in strong colours: each in another channel's, so that all are there."""
    turned = torch.stack([picture.roll(number, 0) for number, picture in enumerate(pictures)])
    grey = turned.mean(1, keepdim=True)
    return (grey + _VIVIDNESS * (turned - grey)).clamp(0, 1)


def _layer(
    node, values: Values, count: int, same: list[Layer], gradient: torch.Tensor | None, halves: torch.Tensor | None
) -> Layer:
    """A convolution in 8 bits.

    Args:
        count: of the pictures; those behind them are vivid, and only tell of ranges.
        same: those with the same input, whose factors and range it takes.
        gradient: see :func:`_gradients`.
        halves: see :func:`.rewriting.pair`.
    """
    every, weight, *bias = (values[name] for name in node.input)
    x, few = every[:count], every[: min(count, _FEW_PATCHES)]
    windows = _windows(x, node, weight.shape[2:])
    results = windows @ weight.flatten(1).T
    signed = bool(every.min() < 0)
    loudest = _loudest(x, every, signed)
    best, least = None, math.inf
    for factors in [same[0].factors] if same else (_factors(loudest, evenness) for evenness in _EVENNESS):
        range = same[0].input if same else Range.of(float((loudest * factors).max()), signed)
        inverse = torch.where(factors > 0, 1 / factors, 0)
        offsets = torch.zeros_like(factors) if halves is None else halves * range.step / 4
        alike = weight[0, 0].numel()
        rounded = range.rounded(windows * factors.repeat_interleave(alike) + offsets.repeat_interleave(alike))
        whole, steps = _gptq(weight * inverse.view(1, -1, 1, 1), rounded)
        missed = results - rounded @ (whole.flatten(1) * steps[:, None]).T
        layer = Layer(factors, offsets, range, whole, steps, missed.mean(0) + sum(bias))
        change = layer(node, few) - values[node.output[0]][: len(few)]
        if gradient is not None:
            told = (change * gradient).sum(1)
            change = F.adaptive_avg_pool2d(told, _PLACES) * (told[0].numel() / _PLACES**2)
        if (error := float(change.double().square().mean())) < least:
            best, least = layer, error
    if best is None:
        raise InputError(_TOO_LARGE)
    best.error = 255 * least**0.5 if gradient is not None else 0.0
    return best


def _largest(layer: Layer) -> torch.Tensor:
    """A quarter of a layer's input channels: those with the largest weights."""
    largest = (layer.weight * layer.steps.view(-1, 1, 1, 1)).abs().amax((0, 2, 3))
    return largest.topk(max(len(largest) // 4, 1)).indices


def _loudest(x: torch.Tensor, every: torch.Tensor, signed: bool) -> torch.Tensor:
    """The value (C,) of each channel above which it is cut off: the geometric mean of the largest one in ``every``
    (N, C, H, W), and of the one that rounds ``x`` with the least squared error.
    """
    largest = every.abs().amax((0, 2, 3))
    channels = x.transpose(0, 1).flatten(1)
    places = torch.randint(channels.shape[1], (_POSITIONS,), generator=_random())
    sample = channels[:, places] / largest.clamp_min(torch.finfo().tiny)[:, None]
    errors = [(Range.of(float(clip), signed).rounded(sample) - sample).square().mean(1) for clip in _CLIPS]
    return largest * _CLIPS[torch.stack(errors).argmin(0)].sqrt()


def _factors(loudest: torch.Tensor, evenness: float) -> torch.Tensor:
    """What channels, so loud at most, are multiplied by; those that no picture makes sound are silenced."""
    return torch.where(loudest > 0, (loudest.max() / loudest).clamp_max(_LOUDER) ** evenness, 0)


def _inside(graph, weights: Values) -> dict[str, str]:
    """Outputs and inputs of the convolutions that neither read the picture nor have none behind them."""
    heard, found = set(), {}
    for node in reversed(graph.node):
        if heard.isdisjoint(node.output):
            if node.op_type in ("Conv", "ConvTranspose"):
                heard.update(node.input)
            continue
        heard.update(node.input)
        if is_convolution(node, weights) and weights[node.input[1]].shape[1] > _FEW:
            found[node.output[0]] = node.input[0]
    return found


def _gptq(weight: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole-numbered weights from -127 to 127 and the step of each output channel.

    Args:
        weight: (O, I, h, w).
        inputs: what it sees at some places, rounded: (places, I * h * w).
    """
    outputs = len(weight)
    columns = weight.flatten(1).double()
    windows = inputs.double() - inputs.double().mean(0)  # the mean is the bias's to correct
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


def _fitted(node, x: torch.Tensor, weight: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The weights (O, I, h, w) that make what is wanted (places, O) of features, up to a bias; near to those given."""
    windows = _windows(x, node, weight.shape[2:]).double()
    windows -= windows.mean(0)
    missed = wanted.double() - wanted.double().mean(0) - windows @ weight.flatten(1).double().T
    squares = windows.T @ windows
    squares += torch.eye(len(squares)) * (_RIDGE * squares.diagonal().mean() + 1e-12)
    return weight + torch.linalg.solve(squares, windows.T @ missed).T.reshape(weight.shape).float()


def _windows(x: torch.Tensor, node, kernel: torch.Size) -> torch.Tensor:
    """What a convolution sees at random places: (places, I * h * w)."""
    top, left, *_ = options(node).get("pads", (0, 0, 0, 0))
    padded = F.pad(x, (left, left, top, top))
    sizes = len(x), *(size - length + 1 for size, length in zip(padded.shape[2:], kernel))
    places = [torch.randint(size, (_POSITIONS,), generator=_random(i)) for i, size in enumerate(sizes)]
    rows, columns = (place[:, None] + torch.arange(size) for place, size in zip(places[1:], kernel))
    seen = padded[places[0][:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (places, h, w, I)
    return seen.permute(0, 3, 1, 2).flatten(1)


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
