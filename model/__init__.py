"""The networks. Each is one file here with a class ``Net``; its file's name is its name.

What a network has to say of itself is in :class:`model.ops.Network`.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a network's file imports torch when it is built, so that --help need not
    from torch import Tensor

    from .ops import Network


def names() -> list[str]:
    """Names of all networks in this folder, sorted: what ``--model`` and :func:`build` take."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(f.stem for f in files if "\nclass Net(" in f.read_text(encoding="utf-8"))


def network_class(name: str) -> "type[Network]":
    """The class ``Net`` of ``model/<name>.py``.

    Raises:
        ValueError: if there is no such network.
    """
    if name not in names():
        raise ValueError(f"no network is called {name!r}; there are: {', '.join(names())}")
    return import_module(f"{__name__}.{name}").Net


def build(name: str, scale: int = 2, multi_scale: bool = False, **options) -> "Network":
    """Make a network with fresh random weights, on the CPU, in training mode.

    Args:
        name: the network's file name without ``.py``, for example ``"lesrcnn"``.
        scale: enlargement factor, one of the network's ``scales``.
        multi_scale: blind: one network for all its scales, ``scale`` then only its default.
        options: what else that network's ``Net`` takes.

    Raises:
        ValueError: for an unknown network, or a scale or option that it does not have.
    """
    network = network_class(name)
    known = network.defaults()
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; it has {', '.join(known) or 'none'}")
        if type(value) is not type(known[option]):
            kind = {int: "a whole number", bool: "True or False"}.get(type(known[option]), "text")
            raise ValueError(f"{name}'s option {option} is {kind}, not {value!r}")
    return network(scale=scale, multi_scale=multi_scale, **options)


def candidates(
    state: "dict[str, Tensor]", among: Iterable[str] | None = None
) -> "Iterator[tuple[str, dict[str, Any], Network]]":
    """All networks that a state dict may belong to; ``Network.translated`` tells whether it does.

    Args:
        state: weights, of which the shapes are looked at.
        among: names of networks; None is all.

    Yields:
        A network's name, its constructor's arguments, and it itself on torch's meta device, without numbers.
    """
    from torch import device

    shapes = [value.shape for value in state.values()]
    for name in names() if among is None else among:
        for configuration in network_class(name).configurations(shapes):
            with device("meta"):
                net = build(name, **configuration)
            yield name, configuration, net


def shipped(network: str, scale: int) -> str:
    """Where a network's weights are that come with this project, from its root; scale 0 is the blind ones."""
    if network == "lesrcnn":
        return f"x{scale}/lesrcnn_x{scale}.pth" if scale else "lesrcnn_b/lesrcnn.pth"
    return f"checkpoint/x{scale}/{network}_x{scale}.pth" if scale else f"checkpoint/blind/{network}.pth"
