"""Read and write weights safely, in this project's names and in the published ones.

A checkpoint from a stranger is hostile until proven otherwise: it is opened with ``weights_only``, so no code of it
runs. Read are:

- a state dict in this project's names or in the published ones (see ``Network.released_names``), written by
  ``torch.save`` or as safetensors;
- a training checkpoint of this project, of which the averaged weights (``"ema"``) are taken where there are any, else
  the last (``"model"``).

What we write says what it is: the network, its scale, its options. A foreign file is recognised by names and shapes;
where these fit several networks, the flag that decides is named. A ``module.`` prefix, as ``DataParallel`` leaves it,
is dropped.
"""

import io
import json
import re
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

import model
from dataset.errors import InputError, describe
from dataset.files import sha256_of, written_whole
from model.ops import Network

_SAYS = "says"  # of a state dict, beside torch's version numbers: what it is


@dataclass(frozen=True)
class WeightsInfo:
    """What was loaded: ``scales`` are those the network can enlarge by; sha256 is the file's."""

    path: Path
    network: str
    scales: tuple[int, ...]
    multi_scale: bool
    sha256: str


def load_network(path: Path | str, network: str | None = None, scale: int | None = None) -> tuple[Network, WeightsInfo]:
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
    content, says = _opened(path)
    state = weights_of(content, path)
    says = says or (_says_itself(state) if state is content else content.get("network"))
    name, configuration = _said(says, path) or recognise(state, path, network, scale)
    kind = _kind(configuration)
    _check_name([name], network, path)
    if scale is not None:
        if configuration["multi_scale"]:
            configuration["scale"] = scale
        elif configuration["scale"] != scale:
            raise InputError(f"{path}: {kind} weights given for --scale {scale}")
    try:
        net = model.build(name, **configuration)
        own = net.translated(state)
        if own is None:
            raise ValueError("their names or shapes are not the network's")
        _check_constants(net, state)
        net.load_state_dict(own)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: {kind} weights of {name} do not load: {describe(error)}") from None
    info = WeightsInfo(path, name, tuple(net.scales), net.multi_scale, sha256_of(path))
    return net.eval(), info


def save_weights(net: Network, path: Path | str, names: str = "release") -> None:
    """Write a network's weights as a plain state dict on the CPU, whole or not at all.

    A path that ends in ``.safetensors`` makes a file of that kind.

    Args:
        net: a network of this project.
        path: the file to write.
        names: ``release`` for the published names (opens in the paper's own code), ``own`` for ours; a network
            without published names is written in its own.

    Raises:
        InputError: if the file cannot be written.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    table = net.released_names()
    if names == "release" and table:
        state = {table[name]: value for name, value in state.items()} | net.released_constants()
    says = description(net)
    if Path(path).suffix == ".safetensors":
        data = save(state, {_SAYS: json.dumps(says), "format": "pt"})
    else:
        state = OrderedDict(state)
        state._metadata = OrderedDict({"": {"version": 1, _SAYS: says}})  # torch keeps it, and others pass it over
        data = serialised(state)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)


def description(net: Network) -> dict[str, Any]:
    """What a file says of the network whose weights it holds: its name and its constructor's arguments."""
    return {"name": type(net).__module__.rpartition(".")[2], **net.configuration}


def serialised(content) -> bytes:
    """What ``torch.save`` makes of ``content``. (In memory: of a full disk, torch itself says little.)"""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def read_state(path: Path | str) -> dict:
    """Open a weights file on the CPU, without running any code that it may hold.

    Raises:
        InputError: if it is missing, empty, damaged, unsafe or no dictionary.
    """
    return _opened(Path(path))[0]


def _opened(path: Path) -> tuple[dict, dict | None]:
    """The content of a weights file, and what a safetensors file says of itself."""
    if not path.exists():
        advice = "train them, or fetch LESRCNN's published ones: python dataset/download.py released-weights"
        raise InputError(f"{path}: no such weights file; {advice}")
    if not path.is_file():
        raise InputError(f"{path}: is a folder, expected a weights file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd file ends in one clear line or in none
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises anything on a damaged file
        if re.search(r"Unsupported (global|class)|GLOBAL|call reduce", str(error)):
            why = "it holds more than weights and could run code (nothing of it was run)"
            raise InputError(f"{path}: refused: {why}") from None
        raise InputError(f"{path}: not a readable weights file (truncated or of another kind?)") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a dictionary of weights")
    return content, None


def _read_safetensors(path: Path) -> tuple[dict, dict | None]:
    try:
        with safe_open(path, "pt") as file:
            says = json.loads((file.metadata() or {}).get(_SAYS, "null"))
            return {name: file.get_tensor(name) for name in file.keys()}, says
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {describe(error)}") from None


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
    for name, value in content.items():
        if not value.is_floating_point() or not value.isfinite().all():
            what = "numbers that are not finite" if value.is_floating_point() else f"{value.dtype}, no weights"
            raise InputError(f"{path}: {name} holds {what}")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): value for name, value in content.items()}
    return content


def recognise(
    state: dict[str, torch.Tensor], path: Path | str, network: str | None = None, scale: int | None = None
) -> tuple[str, dict]:
    """Name and constructor arguments of the network that a state dict belongs to, by its names and shapes.

    Args:
        state: the weights.
        path: their file, for messages.
        network, scale: what is asked for; where several networks fit, they decide.

    Raises:
        InputError: if it is none of this project's networks, or could be several.
    """
    fitting = []
    for name in model.names():
        for configuration in model.network_class(name).configurations():
            with torch.device("meta"):
                net = model.build(name, **configuration)
            if net.translated(state) is not None:
                fitting.append((name, configuration))
    if not fitting:
        raise InputError(f"{path}: these weights fit none of the networks {', '.join(model.names())}")
    _check_name(sorted({name for name, _ in fitting}), network, path)
    fitting = _decided(fitting, lambda name, _: name, network, "--model", path)
    blind = [both for both in fitting if both[1]["multi_scale"]]  # serves every scale
    return _decided(blind or fitting, lambda _, configuration: configuration["scale"], scale, "--scale", path)[0]


def _says_itself(state: dict) -> Any:
    metadata = getattr(state, "_metadata", None)
    root = metadata.get("") if isinstance(metadata, dict) else None
    return root.get(_SAYS) if isinstance(root, dict) else None


def _said(says: Any, path: Path) -> tuple[str, dict] | None:
    """What a file says of itself, as :func:`recognise` gives it; None if it does not say all."""
    if not isinstance(says, dict) or not {"name", "scale", "multi_scale"} <= says.keys():
        return None
    configuration = dict(says)
    name = configuration.pop("name")
    if name not in model.names():
        raise InputError(f"{path}: says that it is of {name!r}, a network that is not known here")
    network, types = model.network_class(name), (type(configuration["scale"]), type(configuration["multi_scale"]))
    blind = configuration["multi_scale"] and configuration["scale"] in network.scales  # only its default
    known = configuration | {"scale": network.scales[0]} if blind else configuration
    if types != (int, bool) or known not in network.configurations():
        raise InputError(f"{path}: says that it is of {name} with {configuration}, which there is not")
    return name, configuration


def _check_name(names: list[str], wanted: str | None, path: Path | str) -> None:
    if wanted is not None and wanted not in names:
        raise InputError(f"{path}: holds weights of {' or '.join(names)}, but --model {wanted} was asked for")


def _decided(fitting: list, kind, wanted, flag: str, path: Path | str) -> list:
    """Of the networks that weights fit, those of the kind that a flag asks for, where they are of several."""
    kinds = sorted({kind(*both) for both in fitting})
    if len(kinds) == 1:
        return fitting
    if wanted is None:
        raise InputError(f"{path}: these weights fit {' and '.join(map(str, kinds))}: say which with {flag}")
    return [both for both in fitting if kind(*both) == wanted] or fitting


def _kind(configuration: dict) -> str:
    return "blind" if configuration["multi_scale"] else f"x{configuration['scale']}"


def _check_constants(net: Network, state: dict[str, torch.Tensor]) -> None:
    """Raise ValueError if the file's constants are not the network's."""
    for name, value in net.released_constants().items():
        found = state.get(name, value).float()
        if found.shape != value.shape or not torch.allclose(found, value, atol=1e-5):
            raise ValueError(f"{name} is not the constant that the network was published with")
