"""A network as ncnn's files, a PARAM and a BIN, which phones and the programs around Real-ESRGAN compute.

pnnx makes them of TorchScript. Their input ``data`` and output ``output`` are called as those programs expect: RGB in
[0, 1], of any height and width; the output is not clamped. They have no place to say what network it is.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dataset.errors import InputError
from dataset.files import written_whole

from ..archive import brief
from ..graph import Said, package
from ..sampling.backends.torch import Torch
from .common import CLOSE, distance
from .phones import EXAMPLE, REQUIREMENTS, plain, traced

SUFFIX = ".ncnn.param"
_ENDS = {"in0": "data", "out0": "output"}  # pnnx's names of a network's ends, and those that its users expect
_CLOSE = CLOSE | {"fp16": 8e-3}  # where the weights that face the picture are in fp16 too; weights that ship: 5e-3
_OTHER = (1, 3, 17, 33)  # a second shape, from which pnnx sees that height and width may be any


def write(path: Path, net: Torch, said: Said) -> float:
    """Write a network as ``path`` and the BIN beside it, both or none.

    In fp16 the weights take half the space. Whatever they are in, ncnn computes in fp16 where the processor has it,
    unless it is told not to.

    Returns:
        How far its results are from PyTorch's, at most, computed in float32.

    Raises:
        InputError: if that is too far, if ncnn cannot compute the network, or if a file cannot be written.
    """
    package("ncnn", REQUIREMENTS)
    with tempfile.TemporaryDirectory() as folder:
        made = _converted(path, Path(folder), net, half=said.precision == "fp16")
        beside = made.with_suffix(".bin")
        far = distance(_by_ncnn(path, made, beside), net, _CLOSE[said.precision], f"{path}: ncnn")
        with written_whole(path.with_suffix(".bin")) as weights, written_whole(path) as layers:
            weights.write_bytes(beside.read_bytes())
            layers.write_bytes(made.read_bytes())
    return far


def _converted(path: Path, folder: Path, net: Torch, half: bool) -> Path:
    """The PARAM that pnnx makes in a folder, with a BIN beside it."""
    script, made = folder / "net.pt", folder / "net.ncnn.param"
    converter = package("pnnx", REQUIREMENTS).EXEC_PATH
    traced(plain(net)).save(script)
    shapes = (
        f"{name}=[{','.join(map(str, shape))}]" for name, shape in (("inputshape", EXAMPLE), ("inputshape2", _OTHER))
    )
    done = subprocess.run(
        [converter, script, *shapes, f"fp16={int(half)}"], cwd=folder, text=True, capture_output=True, errors="replace"
    )
    if done.returncode or not made.exists():
        *_, last = ["it says nothing", *done.stderr.split("\n")[-2:-1]]
        raise InputError(f"{path}: pnnx cannot convert the network: {brief(last)}")
    text = made.read_text(encoding="utf-8")
    made.write_text(re.sub(r"\b(in0|out0)\b", lambda name: _ENDS[name[0]], text), encoding="utf-8")
    return made


def _by_ncnn(path: Path, layers: Path, weights: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """What ncnn makes of a picture, in float32."""
    ncnn = package("ncnn", REQUIREMENTS)
    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "winograd_convolution"):
        setattr(net.opt, f"use_{option}", False)
    if net.load_param(str(layers)) or net.load_model(str(weights)):
        raise InputError(f"{path}: the network has operations that ncnn does not know; not written")

    def compute(x: torch.Tensor) -> torch.Tensor:
        picture, run = np.ascontiguousarray(x[0].numpy()), net.create_extractor()
        run.input(_ENDS["in0"], ncnn.Mat(picture).clone())
        _, output = run.extract(_ENDS["out0"])
        return torch.from_numpy(np.array(output))[None]

    return compute
