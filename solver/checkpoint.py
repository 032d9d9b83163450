"""Read and write weights safely, in this project's names and in the published ones.

A checkpoint from a stranger is hostile until proven otherwise: no code of it runs, and it takes no more memory than it
has bytes, a few times (see :mod:`solver.archive`). Read are:

- a state dict in this project's names or in the published ones (see ``Network.released_names``), written by
  ``torch.save`` or as safetensors, in any floating type;
- a training checkpoint of this project, of which the averaged weights (``"ema"``) are taken where there are any, else
  the last (``"model"``);
- what other people's trainings wrap around a state dict: dictionaries, prefixes (of a loss's or a critic's names
  beside the network's too), the counters of a profiler.

What we write says what it is: the network, its scale, its options. A foreign file is recognised by names and shapes;
where these fit several networks, the flag that decides is named.
"""

import io
import itertools
import json
import re
import reprlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn.utils import parametrize

import model
from dataset.errors import InputError, describe
from dataset.files import opened, sha256_of, written_whole
from model.ops import Network

from . import archive
from .archive import brief

_SAYS = "says"  # of a state dict, beside torch's version numbers: what it is
_HEADER = 2**21  # bytes that a safetensors file says of itself at most: 20,000 tensors

# Under which trainings keep the weights, those first that are better where a file has several.
_WRAPPERS = (
    *("ema", "model_ema", "params_ema", "ema_state_dict", "g_ema", "model", "params", "state_dict"),
    *("model_state_dict", "net", "network", "generator", "netG", "net_g", "weights"),
)
_PARTS = 8  # times that a weight is registered while a network is built, at most
# Parts within names that say only what was wrapped around a layer: by torch.compile, FSDP, checkpointing.
_LAYERS = re.compile(r"(?<=\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_DEPTH = 5  # of wrappers, and of prefixes
_UNKNOWN = 5  # wrappers, at most, among which the one is looked for that has a network
_COUNTED = ("total_ops", "total_params")  # what a profiler (thop) leaves in a network

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    content, says = _opened(path, network)
    state = weights_of(content, path)
    sayings = (says, content.get("network"), _says_itself(state))
    name, configuration = _said(sayings, state, path) or recognise(state, path, network, scale)
    kind = _kind(configuration)
    _check_name([name], network, path)
    if scale is not None:
        if configuration["multi_scale"]:
            configuration["scale"] = scale
        elif configuration["scale"] != scale:
            raise InputError(f"{path}: {kind} weights given for --scale {scale}")
    try:
        with _on_paper(state, path):
            told = model.build(name, **configuration)
        state = _without_prefix(state, told)
        if state is None:
            raise ValueError("their names or shapes are not the network's")
        net = model.build(name, **configuration)
        _check_numbers(net, state, path)
        _check_constants(net, state)
        net.load_state_dict(net.translated(state))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: {kind} weights of {name} do not load: {describe(error)}") from None
    normed = [module for module in net.modules() if parametrize.is_parametrized(module)]
    if not all(getattr(module, name).isfinite().all() for module in normed for name in module.parametrizations):
        raise InputError(f"{path}: has weights of no length, which weight normalisation cannot give one")
    return net.eval(), WeightsInfo(path, name, tuple(net.scales), net.multi_scale, sha256_of(path))


def save_weights(net: Network, path: Path | str, names: str = "release", dtype: torch.dtype | None = None) -> None:
    """Write a network's weights as a plain state dict on the CPU, whole or not at all.

    A path that ends in ``.safetensors`` makes a file of that kind.

    Args:
        net: a network of this project.
        path: the file to write.
        names: ``release`` for the published names (opens in the paper's own code), ``own`` for ours; a network
            without published names is written in its own.
        dtype: what the numbers are written as, by default as they are. Any network reads float16 as its own float32.

    Raises:
        InputError: if the file cannot be written.
    """
    state = {name: value.detach().to("cpu", dtype).contiguous() for name, value in net.state_dict().items()}
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


def _opened(path: Path, network: str | None = None) -> tuple[dict, dict | None]:
    """The content of a weights file, and what a safetensors file says of itself."""
    try:
        path.stat()
    except FileNotFoundError:
        advice = "train them, or give a file's path"
        if network in (None, "lesrcnn"):
            advice += "; the published ones come by python dataset/download.py released-weights"
        raise InputError(f"{path}: no such weights file; {advice}") from None
    except OSError:
        pass  # the next line tells
    with opened(path) as file:
        try:
            head = file.read(9)
            if path.suffix == ".safetensors" or head[8:] == b"{":
                archive.size_of(file)
                return _read_safetensors(path, int.from_bytes(head[:8], "little"))
            content = archive.load(file)
        except archive.Unreadable as error:
            raise InputError(f"{path}: {error}") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {describe(error)}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a dictionary of weights")
    return content, None


def _read_safetensors(path: Path, header: int) -> tuple[dict, dict | None]:
    try:
        if header > _HEADER:
            raise ValueError("its header is larger than that of weights")
        with safe_open(path, "pt") as file:
            says = json.loads((file.metadata() or {}).get(_SAYS, "null"))
            return {name: file.get_tensor(name) for name in file.keys()}, says
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {brief(describe(error))}") from None


def weights_of(content: dict, path: Path | str) -> dict[str, torch.Tensor]:
    """The state dict inside a file's content, without what a profiler or a wrapper of layers left in its names.

    Raises:
        InputError: if there is none, or several, none of them under a known name, or fitting a network alone.
    """
    state = _state_in(content, _DEPTH, set())
    if state is None:
        raise InputError(f"{path}: holds no dictionary of weights; its keys are: {_listed(content)}")
    if any(name.endswith(_COUNTED) or _LAYERS.search(name) for name in state):
        state = {_LAYERS.sub("", name): value for name, value in state.items() if not name.endswith(_COUNTED)}
    return state


def _state_in(content: dict, depth: int, seen: set[int]) -> dict | None:
    """The state dict in a dictionary of dictionaries that may hold themselves; ``seen`` are those looked at before."""
    if id(content) in seen:
        return None
    seen.add(id(content))
    if content and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()):
        return content
    found = {}
    for key, value in content.items() if depth else ():  # keys that are numbers are an optimizer's
        if isinstance(key, str) and isinstance(value, dict) and (state := _state_in(value, depth - 1, seen)):
            found[key] = state
    known = [found[key] for key in _WRAPPERS if key in found]
    if known or len(found) == 1:
        return next(iter(known or found.values()))
    if len(found) > _UNKNOWN:
        return None
    beside = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    fitting = [state for state in (*found.values(), beside) if state and _fitting(state)]
    return fitting[0] if len(fitting) == 1 else None


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
    fitting = _fitting(state)
    if not fitting:
        none = f"these weights fit none of the networks {', '.join(model.names())}"
        raise InputError(f"{path}: {none}; their names are: {_listed(state)}")
    _check_name(sorted({name for name, _ in fitting}), network, path)
    fitting = _decided(fitting, lambda name, _: name, network, "--model", path)
    blind = [both for both in fitting if both[1]["multi_scale"]]  # serves every scale
    return _decided(blind or fitting, lambda _, configuration: configuration["scale"], scale, "--scale", path)[0]


def _fitting(state: dict[str, torch.Tensor]) -> list[tuple[str, dict]]:
    """The names and constructor arguments of all networks that a state dict fits."""
    return [
        (name, configuration)
        for name, configuration, net in model.candidates(state)
        if _without_prefix(state, net) is not None
    ]


def _says_itself(state: dict) -> Any:
    metadata = getattr(state, "_metadata", None)
    root = metadata.get("") if isinstance(metadata, dict) else None
    return root.get(_SAYS) if isinstance(root, dict) else None


def _said(sayings: Iterable, state: dict, path: Path) -> tuple[str, dict] | None:
    """What a file says of itself, as :func:`recognise` gives it; None if it does not say all."""
    says = next((says for says in sayings if isinstance(says, dict)), {})
    if not {"name", "scale", "multi_scale"} <= says.keys():
        return None
    configuration = dict(says)
    name = configuration.pop("name")
    if not isinstance(name, str) or name not in model.names():
        raise InputError(f"{path}: says that it is of {reprlib.repr(name)}, a network that is not known here")
    if (type(configuration["scale"]), type(configuration["multi_scale"])) == (int, bool):
        with suppress(TypeError, ValueError), _on_paper(state, path):
            return name, model.build(name, **configuration).configuration
    raise InputError(f"{path}: says that it is of {name} with {reprlib.repr(configuration)}, which there is not")


@contextmanager
def _on_paper(state: dict, path: Path) -> Iterator[None]:
    """Build networks without memory for their numbers, and of no more layers than a file has, a few times.

    What a file says of itself can be a network of a million layers: that is an InputError soon.
    """
    room = itertools.count(_PARTS * (len(state) + 1), -1)

    def registered(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        if not next(room):
            raise InputError(f"{path}: says that it is of a network of more layers than it has weights for")

    hook = nn.modules.module.register_module_parameter_registration_hook(registered)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


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


def _without_prefix(state: dict, net: Network, depth: int = _DEPTH) -> dict[str, torch.Tensor] | None:
    """What of a state dict fits the network, without the prefixes (``module.``) of its names; None if nothing does."""
    if net.translated(state) is not None:
        return state
    parts: dict[str, dict] = {}
    for name, value in state.items() if depth else ():
        first, _, rest = name.partition(".")
        parts.setdefault(first, {})[rest] = value
    least = len(net.state_dict()) if parts else 0
    parts = [part for part in parts.values() if len(part) >= least]
    return next((fits for part in parts if (fits := _without_prefix(part, net, depth - 1)) is not None), None)


def _check_numbers(net: Network, state: dict[str, torch.Tensor], path: Path | str) -> None:
    """Raise InputError if what is in a file is no number, or none as the network has it."""
    own = net.state_dict()
    dtypes = {id(value): own[name].dtype for name, value in net.translated(state).items()}
    for name, value in state.items():
        dtype = dtypes.get(id(value), torch.float32)  # of a constant
        if value.dtype not in (*_FLOATS, dtype):
            raise InputError(f"{path}: {brief(name)} holds {value.dtype}, no weights")
        if not all(numbers.isfinite().all() for numbers in {value, value.to(dtype)}):  # mostly one and the same
            raise InputError(f"{path}: {brief(name)} holds numbers that are not finite")


def _check_constants(net: Network, state: dict[str, torch.Tensor]) -> None:
    """Raise ValueError if the file's constants are not the network's, as exactly as the file's type can tell."""
    for name, value in net.released_constants().items():
        found = state.get(name, value)
        exactness = torch.finfo(found.dtype).eps
        if found.shape != value.shape or not torch.allclose(found.float(), value, rtol=exactness, atol=1e-5):
            raise ValueError(f"{name} is not the constant that the network was published with")


def _listed(names: Iterable) -> str:
    """The first names of many."""
    first = [brief(name) for name in itertools.islice(names, 5)]
    return ", ".join([*first[:4], *(["..."] if len(first) > 4 else [])]) or "none"
