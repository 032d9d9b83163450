"""Flags that several commands share, and the types of their values.

Nothing heavy is imported here, so ``--help`` answers at once.
"""

import argparse
import math
import re
import sys
from contextlib import suppress
from pathlib import Path

import model
from dataset.errors import InputError
from dataset.files import ours_otherwise

BACKENDS = ("auto", "torch", "openvino", "onnxruntime")
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
PYIQA = ("vif", "lpips", "niqe")  # figures of that library
SHIPPED = {scale: model.shipped("lesrcnn", scale) for scale in (2, 3, 4, 0)}


def weights_meant(path: Path | None, network: str, scale: int) -> Path:
    """The weights at a path, or None for those that ship for a network and a scale; 0 is the blind ones.

    Where blind weights alone ship, they are taken for the path that published commands name, and a line tells so.
    """
    own, blind = Path(model.shipped(network, scale)), ours_otherwise(Path(model.shipped(network, 0)))
    found = ours_otherwise(path or own)
    if found.exists() or (path or own) != own or not blind.exists():
        return found
    if path:
        print(f"{path}: is not there; the blind weights {blind} enlarge by {scale} too", file=sys.stderr)
    return blind


def add_model(group) -> None:
    what = "network, a file in model/; by default what the weights are of, and lesrcnn where none are named"
    group.add_argument("--model", choices=model.names(), help=what)


def add_device(group) -> None:
    """``--device``, of a command whose default is the CPU."""
    what = "where to compute, instead of --cuda: auto is a GPU where there is one; mps is Apple's, xpu Intel's"
    group.add_argument("--device", choices=DEVICES, help=what)


def check_scale(network: str, scale: int) -> None:
    """Raise InputError for a scale that no network of this name has."""
    if scale not in (scales := model.network_class(network).scales):
        raise InputError(f"--scale {scale}: {network} enlarges by one of {', '.join(map(str, scales))}")


def add_group(group) -> None:
    what = "accepted as published; the released LESRCNN does not use it, and neither do we"
    group.add_argument("--group", type=int, default=1, help=what)


def add_protocol(group, double: bool = False) -> None:
    """``--protocol``; ``double`` is LapSRN's own, which the tables do not know."""
    what = (
        "published: truncate the output, luma as uint8; modern: round, luma as float; luma: what papers of networks "
        "for luma report, from HR's luma"
    )
    what += "; double: modern, from HR in double precision, as LapSRN's paper reports" * double
    choices = ("published", "modern", "luma", *["double"] * double)
    group.add_argument("--protocol", choices=choices, default="published", help=what)


def add_figures(group) -> None:
    """``--ifc`` and ``--metrics``: what is measured beside PSNR and SSIM."""
    what = "measure IFC too, the information fidelity criterion, on luma: half a second for 512x512 pixels"
    group.add_argument("--ifc", action="store_true", help=what)
    what = "measure these too; they need the library pyiqa"
    group.add_argument("--metrics", nargs="+", choices=PYIQA, default=[], help=what)


def tile(text: str) -> str | int:
    """``--tile``: ``auto``, ``none`` or a number."""
    if text in ("auto", "none"):
        return text
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto, none nor a number of pixels")
    return int(text)


def memory(text: str) -> int:
    """``--memory``: ``2G``, ``1.5G``, ``800M`` or a number of bytes, as bytes; a G is 1024^3."""
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([KMGT]?)B?", text.strip().upper())
    size = int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " ")) if match else 0
    if size == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 2G or 800M")
    return size


def box(text: str) -> tuple[int, int]:
    """``--size``: ``1920x1080``, as width and height."""
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text.strip().lower())
    if not match or 0 in (sides := tuple(map(int, match.groups()))):
        raise argparse.ArgumentTypeError(f"{text!r} is no width and height such as 1920x1080")
    return sides


def option(text: str) -> tuple[str, int | float | bool | str]:
    """``NAME=VALUE``: a network's option, see :func:`model.build`."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    for kind in (int, float):
        with suppress(ValueError):
            return name, kind(value)
    return name, {"true": True, "false": False}.get(value.lower(), value)


def layer_rate(text: str) -> tuple[str, float]:
    """``LAYER=FACTOR``: what a layer's learning rate is multiplied by."""
    name, _, value = text.partition("=")
    return name, positive_number(value)


def positive(text: str) -> int:
    return _number(text, int, lambda value: 0 < value < 2**63, "a whole number above 0, below 2^63")


def natural(text: str) -> int:
    return _number(text, int, lambda value: 0 <= value < 2**63, "a whole number from 0 to 2^63")


def positive_number(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < math.inf, "a number above 0")


def not_negative(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < math.inf, "a number, 0 or more")


def share(text: str) -> float:
    return _number(text, float, lambda value: 0.01 <= value <= 1, "a number from 0.01 to 1")


def rotation(text: str) -> int:
    return _number(text, int, (0, 90, 180, 270).__contains__, "0, 90, 180 or 270")


def flip(text: str) -> int:
    return _number(text, int, (0, 1, 2, 3).__contains__, "0, 1, 2 or 3")


def _number(text, kind, accepts, wanted):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not accepts(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value
