"""Core ML's programs, computed by PyTorch: Core ML itself computes on macOS alone."""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F


def predict(package: Path, rgb: np.ndarray) -> np.ndarray:
    """What the program in a package makes of a picture (H, W, 3) uint8: (H', W', 3), as floats.

    Whatever it computes in, this does in float32; a cast to fp16 rounds, and weights are as the package has them.
    """
    values = {"input": torch.from_numpy(rgb).permute(2, 0, 1)[None].float()}
    for operation in program(package).operations:
        given = {name: _value(var, values) for name, var in operation.inputs.items() if var is not None}
        [output] = operation.outputs
        if operation.op_type != "const":
            values[output.name] = OPERATIONS[operation.op_type](**given)
    return values["output"][0].permute(1, 2, 0).numpy()


def program(package: Path):
    """The function of a package, with its weights."""
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = coremltools.utils.load_spec(str(package))
    weights = package / "Data/com.apple.CoreML/weights"
    return load(spec, spec.specificationVersion, str(weights)).functions["main"]


def _value(var, values: dict):
    if isinstance(var, (list, tuple)):
        return [_value(each, values) for each in var]
    if var.name in values:
        return values[var.name]
    if isinstance(var.val, (np.ndarray, np.generic)) and var.val.dtype == np.float16:
        return torch.from_numpy(np.asarray(var.val, np.float32))
    return torch.from_numpy(np.asarray(var.val)) if np.asarray(var.val).dtype.kind in "fiub" else str(var.val)


def _conv(x, weight, strides, pad_type, pad, dilations, groups, bias=None):
    top, bottom, left, right = (0, 0, 0, 0) if pad_type == "valid" else pad.tolist()
    assert pad_type in ("valid", "custom")
    x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, strides.tolist(), 0, dilations.tolist(), int(groups))


def _conv_transpose(x, weight, strides, pad_type, pad, dilations, groups, bias=None):
    top, bottom, left, right = (0, 0, 0, 0) if pad_type == "valid" else pad.tolist()
    assert pad_type in ("valid", "custom") and int(groups) == 1
    made = F.conv_transpose2d(x, weight, bias, strides.tolist(), dilation=dilations.tolist())
    return made[:, :, top : made.shape[2] - bottom, left : made.shape[3] - right]


def _pad(x, pad, mode, constant_val):
    *none, top, bottom, left, right = pad.tolist()
    assert not any(none) and constant_val == 0
    return F.pad(x, (left, right, top, bottom), mode=mode)


def _slice(x, begin, end, begin_mask=None, end_mask=None, stride=None, squeeze_mask=None):
    assert stride is None or (stride == 1).all()
    assert squeeze_mask is None or not squeeze_mask.any()
    parts = []
    for i in range(x.ndim):
        first = None if begin_mask is not None and begin_mask[i] else int(begin[i])
        last = None if end_mask is not None and end_mask[i] else int(end[i])
        parts.append(slice(first, last))
    return x[tuple(parts)]


def _concat(values, axis, interleave=False):
    return torch.cat([torch.atleast_1d(torch.as_tensor(each)) for each in values], int(axis))


def _cast(x, dtype):
    kinds = {"fp16": torch.float16, "fp32": torch.float32, "int32": torch.int32, "int16": torch.int16}
    made = x.to(kinds[dtype])
    return made.float() if dtype == "fp16" else made


OPERATIONS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "relu": lambda x: F.relu(x),
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, float(alpha)),
    "prelu": lambda x, alpha: F.prelu(x, alpha),
    "sigmoid": lambda x: x.sigmoid(),
    "tanh": lambda x: x.tanh(),
    "clip": lambda x, alpha, beta: x.clamp(float(alpha), float(beta)),
    "round": lambda x: x.round(),
    "reduce_mean": lambda x, axes, keep_dims: x.mean(axes.tolist(), keepdim=bool(keep_dims)),
    "pixel_shuffle": lambda x, upscale_factor: F.pixel_shuffle(x, int(upscale_factor)),
    "shape": lambda x: torch.tensor(x.shape),
    "gather": lambda x, indices, axis, **_: x[indices.long()],
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "pad": _pad,
    "slice_by_index": _slice,
    "concat": _concat,
    "cast": _cast,
}
