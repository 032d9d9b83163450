"""The networks for :mod:`torch.hub`, one entry point each: ``torch.hub.load(<this folder>, "lesrcnn", scale=2,
source="local")``.

Other projects have packages that are called ``model``, too. So ours is imported by a name of its own here, and neither
is taken for the other.
"""

import importlib.util
import inspect
import pathlib
import sys

import torch

dependencies = ["torch"]

_ROOT = pathlib.Path(__file__).resolve().parent
_NAME = "lesrcnn_networks"  # of the package model/ here, and of its networks in a pickle

_ARGUMENTS = """

It enlarges RGB (N, 3, H, W) in [0, 1] to RGB (N, 3, scale * H, scale * W), about [0, 1], not clamped. It comes in
evaluation mode, on the CPU.

Args:
    scale: enlargement factor. A blind network has it for its default, and takes another in each call: net(x, scale=3).
    pretrained: with the weights that ship with this checkout. Nothing is downloaded.
    multi_scale: blind: one network for all its scales. Where only blind weights ship, they are taken in any case.
    options: of the network's constructor, as variant="9-5-5"; by default what the weights have.

Raises:
    ValueError: if the network is not made for this scale or option, or if no such weights ship.
"""


def networks():
    """The package ``model`` of this folder, whatever else is imported or found by that name."""
    folder = _ROOT / "model"
    package = sys.modules.get(_NAME)
    if package is None:
        init, places = folder / "__init__.py", [str(folder)]
        spec = importlib.util.spec_from_file_location(_NAME, init, submodule_search_locations=places)
        package = sys.modules[_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    elif list(package.__path__) != [str(folder)]:
        raise ImportError(
            f"the networks of {package.__path__[0]} are loaded here already; start another process for these"
        )
    return package


def _entry(name):
    """The entry point of a network."""

    def entry(scale: int = 2, pretrained: bool = True, multi_scale: bool = False, **options):
        net = _model.build(name, scale, multi_scale, **options)
        return (_trained(name, scale, multi_scale, options) if pretrained else net).eval()

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = inspect.cleandoc(_model.network_class(name).__doc__) + _ARGUMENTS
    return entry


def _trained(name, scale, multi_scale, options):
    """A network with the weights that ship for it."""
    own = [] if multi_scale else [_ROOT / _model.shipped(name, scale)]
    path = next((file for file in (*own, _ROOT / _model.shipped(name, 0)) if file.exists()), None)
    kind = "blind" if multi_scale else f"x{scale}"
    if path is None:
        raise ValueError(f"no {kind} weights of {name} ship; give pretrained=False, and train it or load your own")
    try:
        state = torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # of torch's
        raise ValueError(f"{path}: not a readable weights file: {str(error).partition('. ')[0]}") from None
    its_own = {"multi_scale": False, "scale": scale} if path in own else {"multi_scale": True}
    for _, found, empty in _model.candidates(state, [name]):
        if (options | its_own).items() <= found.items() and empty.translated(state) is not None:
            net = _model.build(name, **found | {"scale": scale})
            net.load_state_dict(net.translated(state))
            return net
    raise ValueError(f"the {kind} weights of {name} that ship have other options; give pretrained=False for these")


_model = networks()
globals().update({name: _entry(name) for name in _model.names()})


def __dir__() -> list[str]:
    """What torch.hub finds here: of what can be called, the entry points alone."""
    return ["dependencies", *_model.names()]
