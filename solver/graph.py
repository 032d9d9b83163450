"""A network outside of PyTorch: an ONNX file, or OpenVINO's XML with its BIN, and what it says of itself.

``solver/export.py`` writes them. A file from a stranger is hostile until proven otherwise: only operations that our own
exports have are let in, and no weights that lie elsewhere or are larger than the file.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import model
from dataset.errors import InputError, describe
from dataset.files import opened, stem
from model.ops import Network

from .archive import brief
from .checkpoint import WeightsInfo, load_network

SUFFIXES = (".onnx", ".xml")
_ELSEWHERE = {".mlpackage": "Core ML", ".param": "ncnn"}  # what we write for others, and who computes it
INPUT, OUTPUT = "input", "output"
SAYS = "lesrcnn"  # in OpenVINO's XML, what the entries of :class:`Said` stand under
PRECISIONS = ("fp32", "fp16", "int8")
_MOST = 2**31  # bytes of a file
REMAKE = "make it with solver/export.py"

# What our networks become: in ONNX, and in OpenVINO, which has other names for some.
_OPERATIONS = set(
    "Add Cast Concat Constant ConstantOfShape Conv ConvTranspose DepthToSpace DequantizeLinear Gather Identity "
    "LeakyRelu Min Mod Mul PRelu Pad QuantizeLinear Range ReduceMean Relu Reshape Shape Sigmoid Slice Sub Tanh "
    "Transpose Unsqueeze".split()
) | set(
    "Broadcast Convert Convolution ConvolutionBackpropData Divide FakeQuantize FloorMod GroupConvolution Minimum "
    "Multiply Parameter Result ShapeOf Split Subtract VariadicSplit".split()
)


@dataclass(frozen=True)
class Said:
    """What a file says of the network in it.

    Attributes:
        network: its name in ``model/``.
        scale: the enlargement factor.
        reach: in LR pixels, see :meth:`model.ops.Network.reach`; None: the picture must not be cut.
        bytes_per_pixel: what PyTorch's features take at most, by the LR pixel.
        precision: one of :data:`PRECISIONS`, of the layers that do not face the picture.
        protocol: of ``--protocol``, by which the network's paper measures.
        weights: SHA-256 of the weights file.
    """

    network: str
    scale: int
    reach: float | None
    bytes_per_pixel: float
    precision: str
    protocol: str
    weights: str

    def texts(self) -> dict[str, str]:
        """As a file holds it."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def of_texts(cls, texts: dict[str, str]) -> "Said":
        """What a file holds, which may be anything.

        Raises:
            LookupError, ValueError: if it is not what we write.
        """
        told = {field.name: texts[field.name] for field in fields(cls)}
        scale, reach, size = int(told["scale"]), told["reach"], float(told["bytes_per_pixel"])
        reach = None if reach == "None" else float(reach)
        network = model.network_class(told["network"])
        fits = scale in network.scales and 0 < size < 2**30 and (reach is None or 0 <= reach < 2**16)
        if not (fits and told["precision"] in PRECISIONS and told["protocol"] in ("published", "luma")):
            raise ValueError
        return cls(**told | {"scale": scale, "reach": reach, "bytes_per_pixel": size})


@dataclass(frozen=True)
class Graph:
    """An exported network, read and checked.

    Attributes:
        path: its file.
        said: what it says of itself.
        content: the file's bytes.
        beside: those of OpenVINO's BIN.
    """

    path: Path
    said: Said
    content: bytes
    beside: bytes = b""

    @property
    def scales(self) -> tuple[int, ...]:
        return (self.said.scale,)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content + self.beside).hexdigest()

    @property
    def protocol(self) -> str:
        return self.said.protocol

    def reach(self, scale: int) -> float | None:
        return self.said.reach


def load(path: Path | str, network: str | None = None, scale: int | None = None) -> tuple[Network | Graph, WeightsInfo]:
    """What enlarges pictures: a network with its weights, or an exported one.

    Arguments and errors are those of :func:`solver.checkpoint.load_network`.
    """
    path = Path(path)
    if elsewhere := _ELSEWHERE.get(path.suffix.lower()):
        raise InputError(f"{path}: is computed by {elsewhere}, not here; give the weights, or an ONNX file of them")
    if path.suffix.lower() not in SUFFIXES:
        return load_network(path, network, scale)
    graph = read(path)
    said = graph.said
    if network not in (None, said.network):
        raise InputError(f"{path}: is of {said.network}, expected {network}; give --model {said.network}")
    if scale not in (None, said.scale):
        raise InputError(f"{path}: enlarges by {said.scale}, but --scale {scale} was asked for")
    return graph, WeightsInfo(path, said.network, graph.scales, False, graph.sha256)


def read(path: Path) -> Graph:
    """Read and check an exported network.

    Raises:
        InputError: if it is missing or damaged, was not made by ``solver/export.py``, or if the package is not
            installed that reads it.
    """
    if path.suffix.lower() == ".onnx":
        content = _bytes(path)
        package("onnx")
        return Graph(path, _said(path, _check_onnx, content), content)
    content, beside = _bytes(path), _bytes(path.with_suffix(".bin"))
    package("openvino")
    return Graph(path, _said(path, _check_openvino, content, beside), content, beside)


def beside(weights: WeightsInfo, scale: int, suffix: str, precision: str) -> Path:
    """Where weights are exported to, beside them: ``lesrcnn_x2.onnx``, ``lesrcnn_x2_fp16.xml``."""
    name = stem(weights.path) + f"_x{scale}" * weights.multi_scale + f"_{precision}" * (precision != "fp32")
    return weights.path.with_name(name + suffix)


def package(name: str, requirements: str = "requirements-export.txt"):
    """A package that only exported networks need, and that is among these requirements.

    Raises:
        InputError: if it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed: pip install -r {requirements}") from None


@cache
def openvino_core():
    """OpenVINO's core: one, kept to the end.

    A core replaces the stack that signals are handled on, and what is there after the last of several has been released
    (OpenVINO 2026.4) is no memory: the next signal would end the process without a word.
    """
    return package("openvino").Core()


def _bytes(path: Path) -> bytes:
    with opened(path) as file:
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise InputError(f"{path}: is larger than any exported network")
    return content


def _said(path: Path, check: Callable[..., dict[str, str]], *contents: bytes) -> Said:
    try:
        return Said.of_texts(check(*contents))
    except InputError as error:
        raise InputError(f"{path}: {error}; {REMAKE}") from None
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        raise InputError(f"{path}: does not say what network it is; {REMAKE}") from None


def _check_onnx(content: bytes) -> dict[str, str]:
    """What an ONNX file says of itself; raises InputError if it may not be computed."""
    onnx = package("onnx")
    try:
        told = onnx.load_model_from_string(content)
    except Exception as error:  # of the library that decodes it
        raise InputError(f"is damaged: {brief(describe(error))}") from None
    graph = told.graph
    tensors = [*graph.initializer, *(each.t for node in graph.node for each in node.attribute if each.HasField("t"))]
    strange = {node.op_type for node in graph.node if node.domain not in ("", "ai.onnx")}
    strange |= {node.op_type for node in graph.node for each in node.attribute if each.HasField("g") or each.graphs}
    _check_operations({node.op_type for node in graph.node}, strange)
    if told.functions or graph.sparse_initializer or told.training_info:
        raise InputError("has functions or sparse weights, which no network here has")
    if any(tensor.external_data or tensor.data_location for tensor in tensors):
        raise InputError("has weights in another file")
    if any(len(tensor.raw_data) != _bytes_of(tensor) for tensor in tensors):
        raise InputError("is damaged: its weights are of another size than they say")
    own = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in own]
    _check_ends(inputs, [value.name for value in graph.output])
    _check_order(graph, [*inputs, *(tensor.name for tensor in graph.initializer)])
    return {entry.key: entry.value for entry in told.metadata_props}


def _check_order(graph, names: list[str]) -> None:
    """Each name is made once, and before it is read: OpenVINO would look without end for the start of a circle."""
    known = set(names)
    for node in graph.node:
        if not known >= {*filter(None, node.input)}:
            raise InputError("is damaged: its operations are not in order")
        made = [name for name in node.output if name]
        names += made
        known.update(made)
    if len(known) < len(names):
        raise InputError("is damaged: it has two of one name")


def _bytes_of(tensor) -> int:
    from onnx.helper import tensor_dtype_to_np_dtype

    return math.prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _check_openvino(content: bytes, beside: bytes) -> dict[str, str]:
    """The same of OpenVINO's XML and BIN."""
    try:
        told = openvino_core().read_model(content, beside)
    except Exception as error:  # of the library that decodes it
        raise InputError(f"is damaged, or not of the BIN beside it: {brief(describe(error))}") from None
    _check_operations({node.get_type_name() for node in told.get_ops()})
    _check_ends(*([name for end in ends for name in end.get_names()] for ends in (told.inputs, told.outputs)))
    said = told.get_rt_info()
    said = said[SAYS] if SAYS in said else {}
    return {name: str(value.value) for name, value in said.items()}


def _check_ends(inputs: list[str], outputs: list[str]) -> None:
    if (inputs, outputs) != ([INPUT], [OUTPUT]):
        raise InputError(f"has other inputs and outputs than one {INPUT} and one {OUTPUT}")


def _check_operations(own: set[str], strange: set[str] = frozenset()) -> None:
    if other := sorted(strange | own - _OPERATIONS):
        raise InputError(f"has operations that no network here has: {brief(', '.join(other))}")
