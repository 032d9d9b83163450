"""An exported network, computed by OpenVINO or ONNX Runtime."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch

from dataset.errors import InputError, describe
from model.ops import NONE, Margins, trim

from ...archive import brief
from ...arguments import BACKENDS
from ...graph import INPUT, REMAKE, Graph, openvino_core, package

_RUNTIMES = BACKENDS[2:]  # the faster one first
_SLACK = {"openvino": 1.2, "onnxruntime": 1.5}  # times what PyTorch's features take, found by measuring resident size

Function = Callable[[torch.Tensor], torch.Tensor]  # (1, 3, H, W) in [0, 1] -> the output


class Exported:
    """An exported network, ready to compute.

    Args:
        graph: the network.
        runtime: what computes it, one of :data:`solver.arguments.BACKENDS`; ``auto`` is the fastest that is installed.
        device, precision, compile: as the sampler was asked for; an exported network is computed on the CPU, as it is.

    Raises:
        InputError: if that is not installed, cannot compute this file, or if another device or precision is wanted.
    """

    flows = False  # pictures are given in tiles
    kept_bytes = 0.0

    def __init__(self, graph: Graph, runtime: str, device: torch.device, precision: str, compile: bool) -> None:
        flags = {
            "--backend torch": runtime == "torch",
            f"--device {device.type}": device.type != "cpu",
            "--compile": compile,
        }
        flags[f"--precision {precision}"] = precision not in ("fp32", "auto", graph.said.precision)
        for flag in (flag for flag, given in flags.items() if given):
            raise InputError(f"{flag}: {graph.path} is computed as it is, on the CPU; leave the flag out")
        if runtime == "auto":
            runtime = next((name for name in _RUNTIMES if find_spec(name)), _RUNTIMES[0])
        self.scale = graph.said.scale
        self.bytes_per_pixel = _SLACK[runtime] * graph.said.bytes_per_pixel
        self._path = graph.path
        self._runtime = runtime
        self.told = {"backend": runtime, "file": graph.path.name, "sha256": graph.sha256}
        with self._told():
            self._compute = {"openvino": _by_openvino, "onnxruntime": _by_onnxruntime}[runtime](graph)

    def refresh(self) -> None:
        """Nothing of it can change."""

    def network(self, margins: Margins = NONE) -> Function:
        """The network as a function whose result lacks ``scale`` times these margins."""
        return partial(self._trimmed, margins=margins)

    def _trimmed(self, x: torch.Tensor, margins: Margins) -> torch.Tensor:
        with self._told():
            output = self._compute(np.ascontiguousarray(x.numpy()))
        wanted = (1, 3, self.scale * x.shape[2], self.scale * x.shape[3])
        if (output.shape, output.dtype) != (wanted, np.float32):
            made = f"{output.shape} in {output.dtype}"
            raise InputError(f"{self._path}: makes {made} of a picture, expected {wanted} in float32; {REMAKE}")
        if not np.isfinite(output).all():
            raise InputError(f"{self._path}: makes values that are not finite; {REMAKE}")
        return trim(torch.from_numpy(output), margins, self.scale)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever goes wrong in a library that is not ours becomes an InputError."""
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:
            reason = brief(describe(error))
            raise InputError(f"{self._path}: {self._runtime} cannot compute it: {reason}; {REMAKE}") from None


def _by_openvino(graph: Graph) -> Callable[[np.ndarray], np.ndarray]:
    core = openvino_core()
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"  # or all layers would compute in bf16 where a CPU has it
    network = core.compile_model(core.read_model(graph.content, graph.beside), "CPU", settings)
    return lambda x: network(x)[0].copy()


def _by_onnxruntime(graph: Graph) -> Callable[[np.ndarray], np.ndarray]:
    runtime = package("onnxruntime")
    if graph.beside:
        raise InputError(f"{graph.path}: is OpenVINO's; give --backend openvino")
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or idle threads keep others from work
    settings.log_severity_level = 4  # what goes wrong comes as an exception, too
    session = runtime.InferenceSession(graph.content, settings, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {INPUT: x})[0]
