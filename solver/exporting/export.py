"""Weights as files that other programs compute: ONNX, OpenVINO's XML and BIN, or safetensors.

Core ML's packages and ncnn's files are made beside, in :mod:`.coreml` and :mod:`.ncnn`.
"""

import argparse
import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from dataset import bicubic, images
from dataset.errors import InputError, shown
from dataset.files import written_whole
from model.ops import Network

from ..checkpoint import WeightsInfo, load_network, save_weights
from ..graph import INPUT, OUTPUT, SAYS, Graph, Said, beside, openvino_core, package, read
from ..sampling.backends.exported import Exported
from ..sampling.backends.torch import Torch
from ..sampling.sampler import PRECISIONS
from . import coreml, int8, ncnn
from .common import CLOSE, CPU, Call, distance

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "int8": ".onnx", "safetensors": ".safetensors"}
SUFFIXES |= {"coreml": coreml.SUFFIX, "ncnn": ncnn.SUFFIX}
_OPSET = 17
_DIMENSIONS = {INPUT: {0: "batch", 2: "height", 3: "width"}, OUTPUT: {0: "batch", 2: "sr_height", 3: "sr_width"}}
PATCHES, SIDE = 128, 32  # to calibrate by: how many, of so many LR pixels a side
_FAR = 2.0  # grey levels
_FLAT = 0.5 / 255  # the standard deviation of a patch that shows nothing


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
    if args.out and args.out.suffix != Path("net" + SUFFIXES[args.to]).suffix:
        raise InputError(f"--out {args.out}: expected a name that ends in {SUFFIXES[args.to]}")
    for scale in scales:
        path = args.out or beside(weights, scale, SUFFIXES[args.to], args.precision)
        # What only stores its weights in fp16, or converts them itself, is made of the network in float32.
        dtype = PRECISIONS[args.precision] if args.to in ("onnx", "openvino") else torch.float32
        own = Torch(net, scale, CPU, dtype)
        said = say(net, weights, scale, args.precision)
        if args.to == "int8":
            far = write_int8(path, own, said, lr_patches(args.calibrate, scale))
            print(f"{shown(path)}: {far:.2f} grey levels from float32 (root mean square)")
        else:
            far = _WRITERS[args.to](path, own, said)
            print(f"{shown(path)}: {_near(far)}")


def _near(far: float | None) -> str:
    if far is None:
        return "not compared with PyTorch: Core ML computes on macOS alone"
    return f"within {far:.1e} of PyTorch"


def say(net: Network, weights: WeightsInfo, scale: int, precision: str) -> Said:
    """What the file will say of itself."""
    return Said(
        network=weights.network,
        scale=scale,
        reach=net.reach(scale),
        bytes_per_pixel=Torch(net, scale, CPU).bytes_per_pixel,
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
    far = _distance(Graph(path, said, content), net, "onnxruntime")
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
    return far


def write_openvino(path: Path, net: Torch, said: Said) -> float:
    """Write a network as OpenVINO's XML, with its weights in a BIN beside it, both or none; see :func:`write_onnx`."""
    openvino = package("openvino")
    graph = openvino_core().read_model(onnx_of(net, said))
    graph.set_rt_info(said.texts(), [SAYS])
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "net.xml"
        openvino.save_model(graph, made, compress_to_fp16=said.precision == "fp16")
        far = _distance(read(made), net, "openvino")
        with written_whole(path.with_suffix(".bin")) as weights, written_whole(path) as layers:
            weights.write_bytes(made.with_suffix(".bin").read_bytes())
            layers.write_bytes(made.read_bytes())
    return far


def write_int8(path: Path, net: Torch, said: Said, patches: torch.Tensor) -> float:
    """Write a network in int8 as ONNX, calibrated by LR patches; see :func:`write_onnx` and :mod:`.int8`.

    Returns:
        How far its results for these patches are from float32's: the root mean square in grey levels.

    Raises:
        InputError: if that is too far for any use.
    """
    with written_whole(path) as temporary:
        temporary.touch()  # what cannot be written is told before the work
        try:
            content, error = int8.quantised(onnx_of(net, said), patches)
        except InputError as refused:
            raise InputError(f"{path}: not written: {refused}") from None
        if not error <= _FAR:
            raise InputError(
                f"{path}: int8 makes results that are {error:.1f} grey levels away from float32's; not written"
            )
        temporary.write_bytes(content)
    return error


def lr_patches(folder: Path, scale: int) -> torch.Tensor:
    """LR patches (N, 3, side, side) in [0, 1] of a folder's pictures, as many of each, by MATLAB's bicubic.

    Raises:
        InputError: if no picture is as large as a patch, or all are of one colour.
    """
    random, side, patches = np.random.default_rng(0), SIDE * scale, []
    files = list(random.permutation(images.list_images(folder, needed=True)))
    for file in files:
        if len(patches) >= PATCHES:
            break
        rgb = images.read(file).rgb
        if min(rgb.shape[:2]) < side:
            continue
        for _ in range(-(-PATCHES // len(files))):
            top, left = (int(random.integers(length - side + 1)) for length in rgb.shape[:2])
            hr = np.ascontiguousarray(rgb[top : top + side, left : left + side])
            patches.append(images.to_tensor(bicubic.imresize(hr, 1 / scale), CPU))
    if not patches:
        raise InputError(f"--calibrate {folder}: no picture of {side}x{side} pixels or more")
    if all(float(patch.std((2, 3)).max()) < _FLAT for patch in patches):
        raise InputError(f"--calibrate {folder}: its pictures show nothing but one colour; give photographs")
    return torch.cat(patches)


def onnx_of(net: Torch, said: Said) -> bytes:
    """An ONNX file's bytes, checked by that library."""
    onnx, file = package("onnx"), io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter tells of shapes that it takes for constants, which they are
        torch.onnx.export(
            Call(net),
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


def _distance(graph: Graph, net: Torch, runtime: str) -> float:
    """How far what a runtime makes of pictures is from PyTorch's results; see :func:`.common.distance`."""
    compute = Exported(graph, runtime, CPU, "fp32", compile=False).network()
    return distance(compute, net, CLOSE[graph.said.precision], f"{graph.path}: {runtime}")


_WRITERS = {"onnx": write_onnx, "openvino": write_openvino, "coreml": coreml.write, "ncnn": ncnn.write}
