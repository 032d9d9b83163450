"""Read and write weights safely, in this project's names and in the paper's.

A checkpoint from a stranger is hostile until proven otherwise: it is opened with ``weights_only``,
so no code of it runs, and network, scale and kind are read off the names and shapes inside. Three
kinds of file are read:

- a state dict in this project's names (``ieeb.shallow.weight``, ...),
- a state dict in the release's names (``conv1.0.weight``, ...); the translation is each network's
  own, see ``Net.released_names``,
- a training checkpoint of this project, of which the averaged weights (``"ema"``) are taken where
  there are any, else the last (``"model"``).

A ``module.`` prefix, as left by ``DataParallel``, is dropped.
"""

import hashlib
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import model
from dataset.errors import InputError, describe
from dataset.images import written_whole


@dataclass(frozen=True)
class WeightsInfo:
    """What was loaded: ``scales`` are those the network can enlarge by; sha256 is the file's."""

    path: Path
    network: str
    scales: tuple[int, ...]
    multi_scale: bool
    sha256: str


def load_network(
    path: Path | str, network: str | None = None, scale: int | None = None
) -> tuple[nn.Module, WeightsInfo]:
    """Build the network that a weights file belongs to and load it strictly, on the CPU.

    Args:
        path: the weights.
        network: the network that is expected (``lesrcnn``); None takes whatever it is.
        scale: the scale that is wanted; None takes the file's own. Of a blind network it becomes
            the default scale.

    Returns:
        The network in evaluation mode, and what it is.

    Raises:
        InputError: if the file is missing, damaged or unsafe, or is not what is expected.
    """
    path = Path(path)
    state = weights_of(read_state(path), path)
    name, configuration = recognise(state, path)
    kind = "blind" if configuration["multi_scale"] else f"x{configuration['scale']}"
    if network is not None and name != network:
        raise InputError(f"{path}: holds weights of {name}, but --model {network} was asked for")
    if scale is not None:
        if configuration["multi_scale"]:
            configuration["scale"] = scale
        elif configuration["scale"] != scale:
            raise InputError(f"{path}: {kind} weights given for --scale {scale}")
    try:
        net = model.build(name, **configuration)
        net.load_state_dict(_own_names(state, net))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: {kind} weights of {name} do not load: {describe(error)}") from None
    info = WeightsInfo(path, name, tuple(net.scales), configuration["multi_scale"], file_hash(path))
    return net.eval(), info


def save_weights(net: nn.Module, path: Path | str, names: str = "release") -> None:
    """Write a network's weights as a plain state dict on the CPU, whole or not at all.

    Args:
        net: a network of this project.
        path: the file to write.
        names: ``release`` for the paper's names (opens in the paper's own code), ``own`` for ours.

    Raises:
        InputError: if the file cannot be written, or the network has no released names.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    if names == "release":
        if not hasattr(net, "released_names"):
            raise InputError(f"{path}: this network has no released names; write it with names='own'")
        table = net.released_names()
        state = {table[k]: v for k, v in state.items()} | net.released_constants()
    write_atomically(state, path)


def write_atomically(content, path: Path | str) -> None:
    """``torch.save`` under another name, renamed when whole: the file is the old or the new one.

    Raises:
        InputError: if it cannot be written (disk full, no permission, ...).
    """
    with written_whole(path) as temporary:
        temporary.write_bytes(serialised(content))


def serialised(content) -> bytes:
    """What ``torch.save`` makes of ``content``. (In memory: of a full disk, torch itself says little.)"""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def read_state(path: Path | str) -> dict:
    """Open a file written by ``torch.save`` on the CPU, without running any code it may hold.

    Raises:
        InputError: if it is missing, empty, damaged, unsafe or no dictionary.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: no such weights file; `python dataset/download.py released-weights` "
            "fetches the paper's into checkpoint/released/"
        )
    if not path.is_file():
        raise InputError(f"{path}: is a folder, expected a weights file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd file ends in one clear line or in none
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises anything on a damaged file
        if re.search(r"Unsupported (global|class)|GLOBAL|call reduce", str(error)):
            raise InputError(
                f"{path}: refused: it holds more than weights and could run code (nothing of it was run)"
            ) from None
        raise InputError(f"{path}: not a readable weights file (truncated or of another kind?)") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a dictionary of weights")
    return content


def weights_of(content: dict, path: Path | str) -> dict[str, torch.Tensor]:
    """The state dict inside a file's content, ``module.`` prefixes dropped.

    Raises:
        InputError: if there is none.
    """
    for key in ("ema", "model", "state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    if not content or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()):
        raise InputError(f"{path}: holds no dictionary of weights")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): value for name, value in content.items()}
    return content


def recognise(state: dict[str, torch.Tensor], path: Path | str) -> tuple[str, dict]:
    """Name and constructor arguments of the network that a state dict belongs to.

    Raises:
        InputError: if it is none of this project's networks.
    """
    shapes = {name: value.shape for name, value in state.items()}
    for name in model.names():
        configuration = model.network_class(name).recognise(shapes)
        if configuration is not None:
            return name, configuration
    raise InputError(f"{path}: these weights fit none of the networks {', '.join(model.names())}")


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_names(state: dict[str, torch.Tensor], net: nn.Module) -> dict[str, torch.Tensor]:
    """Translate from the release's names if the state dict is in them.

    Raises:
        ValueError: if the file's constants are not the network's.
    """
    own = net.state_dict().keys()
    if own == state.keys():
        return state
    for name, value in net.released_constants().items():
        if name in state and not torch.allclose(state[name].float(), value, atol=1e-5):
            raise ValueError(f"{name} is not the constant that the network was published with")
    return {name: state[released] for name, released in net.released_names().items()}
