"""Flags that several commands of this folder have."""

import argparse
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


def add_workers(parser: argparse.ArgumentParser) -> None:
    """``--workers``: how many threads, 0 for one per core."""
    parser.add_argument("--workers", type=whole_number(0), default=0, metavar="N", help="threads (default: all cores)")


def whole_number(least: int) -> Callable[[str], int]:
    """The type of a flag that is a whole number, ``least`` or more."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"is a whole number of at least {least}, not {text!r}")
        return int(text)

    return number
