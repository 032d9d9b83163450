"""Weights as files that other programs compute: ONNX, OpenVINO's XML and BIN, or safetensors."""

import argparse
import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dataset import bicubic, images
from dataset.errors import InputError, shown
from dataset.files import stem, written_whole
from model.ops import Network

from ..checkpoint import WeightsInfo, load_network, save_weights
from ..graph import INPUT, OUTPUT, SAYS, Graph, Said, package, read
from ..sampling.backends.exported import Exported
from ..sampling.backends.torch import Torch
from ..sampling.sampler import PRECISIONS
from . import int8

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "int8": ".onnx", "safetensors": ".safetensors"}
_OPSET = 17
_SIZES = ((1, 1), (17, 33), (64, 48))  # of pictures on which a file is compared with PyTorch
_CLOSE = {"fp32": 1e-5, "fp16": 4e-3}  # how near it has to come, of values up to 1; weights that ship: 2e-6
_DIMENSIONS = {INPUT: {0: "batch", 2: "height", 3: "width"}, OUTPUT: {0: "batch", 2: "sr_height", 3: "sr_width"}}
_CPU = torch.device("cpu")
_PATCHES, _SIDE = 64, 48  # to calibrate by: how many, of so many LR pixels a side
_FAR = 2.0  # grey levels


def main(args: argparse.Namespace) -> None:
    """Write the files that ``solver/export.py`` is asked for, and tell of each."""
    net, weights = load_network(args.ckpt_path, args.model, args.scale)
    if args.to == "safetensors":
        path = args.out or args.ckpt_path.with_suffix(SUFFIXES[args.to])
        save_weights(net, path)
        print(shown(path))
        return
    if args.to == "int8":
        args.precision = "int8"
        if not args.calibrate:
            raise InputError("--to int8: needs --calibrate, a folder of training pictures; none to measure on")
    scales = (args.scale,) if args.scale else net.scales
    if args.out and len(scales) > 1:
        raise InputError(f"--out {args.out}: these weights make a file for each scale; say which with --scale")
    for scale in scales:
        path = args.out or default_path(weights, scale, args.to, args.precision)
        own = Torch(net, scale, _CPU, PRECISIONS.get(args.precision, torch.float32))
        said = say(net, weights, scale, args.precision)
        if args.to == "int8":
            far = write_int8(path, own, said, lr_patches(args.calibrate, scale))
            print(f"{shown(path)}: {far:.2f} grey levels from float32 (root mean square)")
        else:
            far = {"onnx": write_onnx, "openvino": write_openvino}[args.to](path, own, said)
            print(f"{shown(path)}: within {far:.1e} of PyTorch")


def default_path(weights: WeightsInfo, scale: int, to: str, precision: str) -> Path:
    """Beside the weights: ``lesrcnn_x2.onnx``, ``lesrcnn_x2_fp16.xml``."""
    name = stem(weights.path) + f"_x{scale}" * weights.multi_scale + f"_{precision}" * (precision != "fp32")
    return weights.path.with_name(name + SUFFIXES[to])


def say(net: Network, weights: WeightsInfo, scale: int, precision: str) -> Said:
    """What the file will say of itself."""
    return Said(
        network=weights.network,
        scale=scale,
        reach=net.reach(scale),
        bytes_per_pixel=Torch(net, scale, _CPU).bytes_per_pixel,
        precision=precision,
        protocol=net.protocol,
        weights=weights.sha256,
    )


def write_onnx(path: Path, net: Torch, said: Said) -> float:
    """Write a network as ONNX, whole or not at all.

    Input ``input``, output ``output``: RGB (N, 3, H, W) float32 in [0, 1], of any N, H and W.

    Returns:
        How far its results are from PyTorch's, at most.

    Raises:
        InputError: if that is too far, or if the file cannot be written.
    """
    content = onnx_of(net, said)
    far = distance(Graph(path, said, content), net, "onnxruntime")
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
    return far


def write_openvino(path: Path, net: Torch, said: Said) -> float:
    """Write a network as OpenVINO's XML, with its weights in a BIN beside it; see :func:`write_onnx`."""
    openvino = package("openvino")
    graph = openvino.Core().read_model(onnx_of(net, said))
    graph.set_rt_info(said.texts(), [SAYS])
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "net.xml"
        openvino.save_model(graph, made, compress_to_fp16=said.precision == "fp16")
        far = distance(read(made), net, "openvino")
        for suffix in (".bin", path.suffix):
            with written_whole(path.with_suffix(suffix)) as temporary:
                temporary.write_bytes(made.with_suffix(".bin" if suffix == ".bin" else ".xml").read_bytes())
    return far


def write_int8(path: Path, net: Torch, said: Said, patches: torch.Tensor) -> float:
    """Write a network in int8 as ONNX, calibrated by LR patches; see :func:`write_onnx` and :mod:`.int8`.

    Returns:
        How far its results for these patches are from float32's: the root mean square in grey levels.

    Raises:
        InputError: if that is too far for any use.
    """
    content, error = int8.quantised(onnx_of(net, said), patches)
    if error > _FAR:
        raise InputError(
            f"{path}: int8 makes results that are {error:.1f} grey levels away from float32's; not written"
        )
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
    return error


def lr_patches(folder: Path, scale: int) -> torch.Tensor:
    """LR patches (N, 3, side, side) in [0, 1] of a folder's pictures, one of each, by MATLAB's bicubic.

    Raises:
        InputError: if no picture is as large as a patch.
    """
    random, side, patches = np.random.default_rng(0), _SIDE * scale, []
    for file in random.permutation(images.list_images(folder, needed=True)):
        rgb = images.read(file).rgb
        top, left = (int(random.integers(max(length - side, 0) + 1)) for length in rgb.shape[:2])
        hr = rgb[top : top + side, left : left + side]
        if hr.shape == (side, side, 3) and len(patches) < _PATCHES:
            patches.append(images.to_tensor(bicubic.imresize(np.ascontiguousarray(hr), 1 / scale), _CPU))
    if not patches:
        raise InputError(f"--calibrate {folder}: no picture of {side}x{side} pixels or more")
    return torch.cat(patches)


def onnx_of(net: Torch, said: Said) -> bytes:
    """An ONNX file's bytes, checked by that library."""
    onnx, file = package("onnx"), io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter tells of shapes that it takes for constants, which they are
        torch.onnx.export(
            _Call(net),
            torch.rand(1, 3, 12, 14),
            file,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=_DIMENSIONS,
            opset_version=_OPSET,
            dynamo=False,
        )
    graph = onnx.load_model_from_string(file.getvalue())
    for key, value in said.texts().items():
        graph.metadata_props.add(key=key, value=value)
    graph.producer_name, graph.doc_string = "solver/export.py", "RGB, NCHW, float32 in [0, 1], in and out; not clamped"
    onnx.checker.check_model(graph, full_check=True)
    return graph.SerializeToString()


class _Call(nn.Module):
    """A network as a module of one argument."""

    def __init__(self, net: Torch) -> None:
        super().__init__()
        self.module = net.module  # whose weights are the file's
        self._call = net.plainly

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._call(x)


@torch.inference_mode()
def distance(graph: Graph, net: Torch, runtime: str) -> float:
    """How far an exported network's results are from the network's own, on random pictures, at most.

    Raises:
        InputError: if it is too far.
    """
    compute = Exported(graph, runtime, _CPU, "fp32", compile=False).network()
    random = torch.Generator().manual_seed(0)
    far = 0.0
    for height, width in _SIZES:
        x = torch.rand(1, 3, height, width, generator=random)
        expected = net.plainly(x)
        far = max(far, float((compute(x) - expected).abs().max() / expected.abs().max().clamp_min(1)))
    if not far <= _CLOSE[graph.said.precision]:
        raise InputError(f"{graph.path}: {runtime} makes results that are {far:.1e} away from PyTorch's; not written")
    return far
