"""What a file of figures must hold, checked where it is read, so that nothing wrong comes into a table.

A shape is what JSON holds with something else in place of the values:

- a type: ``str``, ``int``, ``bool``, or ``float``, which is any finite number;
- a pattern: a text that it matches whole;
- a test, as :data:`COUNT` or :data:`PSNR`, or a value, which must be that one;
- a tuple of shapes, of which one must fit;
- ``[shape]``: a list of such;
- ``{"a": shape}``: a dictionary that has these keys, and maybe others; ``{str: shape}``: one of any keys.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataset import files
from dataset.files import read_text, readable


def between(least: float, most: float, kind: type = float) -> Callable[[Any], bool]:
    """A test for numbers of a kind; those that are not finite fail."""
    return lambda value: fits(value, kind) and least <= value <= most


def some(shape) -> Callable[[Any], bool]:
    """A test for what has this shape and is not empty."""
    return lambda value: fits(value, shape) and bool(value)


COUNT = between(0, 2**63, int)
AMOUNT = between(0, 1e15)  # of seconds, hours, bytes
PSNR = between(0, 200)  # dB; of 8 bits, if one of a hundred million pixels is one level off, it is 128
SSIM = between(-1, 1)


def fits(value, shape) -> bool:
    """Whether a value has a shape."""
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(part, shape[0]) for part in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        if str in shape:
            return all(isinstance(key, str) and fits(part, shape[str]) for key, part in value.items())
        return all(key in value and fits(value[key], part) for key, part in shape.items())
    if shape is float:
        return type(value) in (int, float) and -math.inf < value < math.inf
    if isinstance(shape, type):
        return type(value) is shape
    return bool(shape(value)) if callable(shape) else type(value) is type(shape) and value == shape


def checked(value, shape):
    """The value, if it has this shape.

    Raises:
        ValueError: if not; :func:`dataset.files.readable` makes a line of it.
    """
    if not fits(value, shape):
        raise ValueError
    return value


def read_json(path: Path, shape, advice: str):
    """What a JSON file holds.

    Raises:
        InputError: if it is missing, damaged or of another shape; the message ends in ``advice``.
    """
    with readable(path, advice):
        return checked(json.loads(read_text(path), object_pairs_hook=_each_once), shape)


def read_csv(path: Path, advice: str) -> list[dict[str, str]]:
    """The rows of a CSV file by their columns, one at least and all complete; raises as :func:`read_json`."""
    rows = files.read_csv(path, advice)
    with readable(path, advice):
        return checked(rows, some([{str: str}]))


def write_figures(path: Path, rows: list[dict], columns: dict[str, Any]) -> None:
    """Write rows of these columns as a CSV file, figures to six digits; None is an empty cell."""
    told = [{name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()} for row in rows]
    files.write_csv(path, told, list(columns))


def read_figures(path: Path, columns: dict[str, Any], advice: str) -> list[dict[str, Any]]:
    """The rows of such a file, one at least.

    Args:
        columns: their names -> shapes: ``str``, :data:`COUNT` or a test of numbers, or one of these or None.

    Raises:
        InputError: as :func:`read_json`.
    """

    def value(name: str, text: str) -> str | int | float | None:
        shape = columns.get(name, str)
        kinds = shape if isinstance(shape, tuple) else (shape,)
        return (text if str in kinds else int(text) if COUNT in kinds else float(text)) if text else None

    lines = read_csv(path, advice)
    with readable(path, advice):
        return checked([{name: value(name, text) for name, text in line.items()} for line in lines], [columns])


class Remembered:
    """What a command has measured, in a JSON file, so that a killed one goes on.

    Args:
        path: the file; it need not be there yet.
        kinds: the names of what is remembered -> their shapes.

    Attributes:
        known: of each kind what is known, by keys that say all it depends on.

    Raises:
        InputError: if the file is there and is not such a file.
    """

    def __init__(self, path: Path, kinds: dict[str, Any]) -> None:
        self.path = path
        self.known: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
        if path.exists():
            shape = {kind: {str: shape} for kind, shape in kinds.items()}
            self.known = read_json(path, shape, "delete it to measure everything again")

    def keep(self, kind: str, key: str, value) -> None:
        """Remember it, in the file too."""
        self.known[kind][key] = value
        files.write_json(self.path, self.known)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)
