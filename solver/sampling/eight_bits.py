"""``--precision int8``: weights computed by the file of 8 bits that lies beside them."""

import json
from importlib.util import find_spec
from pathlib import Path

import torch

from dataset.errors import InputError
from dataset.files import read_text, readable, sha256_of
from model.ops import Network

from .. import graph, machine
from ..checkpoint import WeightsInfo
from ..graph import Graph

LOSS = 0.05  # dB to float32, on any set of its card, up to which ``auto`` takes such a file


def in_int8(
    net: Network | Graph,
    weights: WeightsInfo,
    scale: int,
    precision: str,
    *,
    device: torch.device,
    backend: str = "auto",
    compile: bool = False,
) -> Network | Graph:
    """What is to compute instead of a network in this precision: its file of 8 bits, or the network itself.

    ``int8`` takes the file in any case. ``auto`` takes it where it is the fastest: on a CPU with instructions for it,
    by OpenVINO, if its card tells of no set that it loses more than :data:`LOSS`.

    Raises:
        InputError: if it is wanted and missing, is of other weights, or is damaged.
    """
    if not isinstance(net, Network) or precision not in ("int8", "auto"):
        return net
    path = graph.beside(weights, scale, ".onnx", "int8")
    if precision == "auto":
        fast = device.type == "cpu" and machine.has_int8() and backend in ("auto", "openvino") and not compile
        if not (fast and find_spec("onnx") and find_spec("openvino") and path.exists() and abs(_loss(path)) <= LOSS):
            return net
    if not path.exists():
        raise InputError(f"--precision int8: {path} is not there; make it with solver/export.py --to int8")
    made = graph.read(path)
    if (made.said.weights, made.said.precision) != (weights.sha256, "int8"):
        raise InputError(f"{path}: is not of {weights.path} as it is; make it anew with solver/export.py --to int8")
    return made


def _loss(path: Path) -> float:
    """What a file's card tells that it loses at most, in dB; infinite without one, or if it is another file's."""
    card = path.with_suffix(".json")
    if not card.exists():
        return float("inf")
    with readable(card, "it tells what 8 bits cost; without it, int8 is not taken by --precision auto"):
        told = json.loads(read_text(card))
        return float(told["loss"]) if told["sha256"] == sha256_of(path) else float("inf")
