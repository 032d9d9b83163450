"""Flags that several commands of this folder have."""

import argparse
import re
from collections.abc import Callable

from .bicubic import BOUNDARIES

SCALES = range(2, 10)


def add_scales(parser: argparse.ArgumentParser) -> None:
    """``--scales``: some of :data:`SCALES`."""
    text = "which scales, from 2 to 9 (default: 2 3 4)"
    parser.add_argument("--scales", type=int, nargs="+", choices=SCALES, default=[2, 3, 4], metavar="N", help=text)


def add_boundary(parser: argparse.ArgumentParser, default: str) -> None:
    """``--boundary``: one of :data:`dataset.bicubic.BOUNDARIES`."""
    text = "what lies outside a picture: replicate as for benchmark sets, symmetric as for DIV2K (default: %(default)s)"
    parser.add_argument("--boundary", choices=BOUNDARIES, default=default, help=text)


def add_skip_bad(parser: argparse.ArgumentParser) -> None:
    """``--skip_bad``: leave out pictures that cannot be used."""
    text = "leave out pictures that cannot be used, and tell which (by default nothing is made then)"
    parser.add_argument("--skip_bad", action="store_true", help=text)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """``--workers``: how many threads, 0 for one per core."""
    kind = whole_number(0, 1024)
    parser.add_argument("--workers", type=kind, default=0, metavar="N", help="threads (default: all cores)")


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """The type of a flag that is a whole number from ``least`` to ``most``."""

    def number(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"is a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return number


def shrinking(text: str) -> float:
    """The type of a flag that is a factor to shrink pictures by: 0.01 to less than 1."""
    if not 0.01 <= _number(text) < 1:
        raise argparse.ArgumentTypeError(f"is a number from 0.01 to less than 1, not {text!r}")
    return float(text)


def at_most_1(text: str) -> float:
    """The type of a flag that is a factor to shrink pictures by, or 1, which leaves them as they are."""
    if not 0.01 <= _number(text) <= 1:
        raise argparse.ArgumentTypeError(f"is a number from 0.01 to 1, not {text!r}")
    return float(text)


def _number(text: str) -> float:
    """A number of digits and a point; 0 for any other text."""
    return float(text) if re.fullmatch(r"[0-9]+\.?[0-9]*|\.[0-9]+", text) else 0.0
