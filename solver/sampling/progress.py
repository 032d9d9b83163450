"""What a sampling run has done, noted picture by picture, so that the next one need not do it again.

A line is added to ``progress.jsonl`` when a result is written. It tells what the result depends on, as one hash: the
picture's content, the weights' and the settings. So the same picture by another name, or another by the same name, is
not taken for done.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from dataset.errors import InputError, describe
from dataset.files import read_text, sha256_of, written_whole
from dataset.test_set import PROGRESS, Item

from ..measuring.evaluate import Row


class Progress:
    """The notes of a folder of results.

    Args:
        folder: where they are.
        source: the folder of the pictures.
        settings: all but the picture that a result and its figures depend on, as JSON can hold it: "weights" and more.
        result: the path of an item's result.
    """

    def __init__(self, folder: Path, source: str, settings: dict, result: Callable[[Item], Path]) -> None:
        self._path, self._source, self._settings, self._result = folder / PROGRESS, source, settings, result

    def done(self, items: list[Item]) -> dict[Item, Row]:
        """The rows of those items whose results are there, whole, and would be made again as they are."""
        noted = {}
        with suppress(InputError):
            for note in _notes(self._path):
                with suppress(KeyError, TypeError):
                    noted[note["row"]["name"]] = note["key"], note["bytes"], Row(**note["row"])
        found = {}
        for item in items:
            with suppress(InputError, OSError):
                key, size, row = noted.get(item.name, ("", 0, None))
                if row and self._result(item).stat().st_size == size and self.key(item) == key:
                    found[item] = row
        return found

    def add(self, item: Item, row: Row) -> None:
        """Note that an item's result is written. Several processes may do so at once."""
        try:
            note = {"of": self._source, "by": self._settings["weights"], "key": self.key(item)}
            note |= {"bytes": self._result(item).stat().st_size, "row": asdict(row)}
            with open(self._path, "ab") as file:
                file.write(json.dumps(note).encode() + b"\n")
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {describe(error)}") from None

    def key(self, item: Item) -> str:
        """A hash of all that the result of an item depends on. Raises InputError if its file cannot be read."""
        pictures = [sha256_of(path) for path in (item.lr, item.hr) if path]
        told = json.dumps(
            [self._settings, pictures, item.page, item.made, os.fsencode(item.name).hex()], sort_keys=True
        )
        return hashlib.sha256(told.encode()).hexdigest()


def forget(folder: Path) -> None:
    """Begin the notes of a folder anew. Raises InputError if that cannot be written."""
    with written_whole(folder / PROGRESS) as temporary:
        temporary.touch()


def made_of(folder: Path) -> tuple[str, str] | None:
    """Of which folder the results in a folder are, and the hash of the weights they are by, the last of them; None if
    it is not known."""
    with suppress(InputError, KeyError, TypeError, IndexError):
        last = _notes(folder / PROGRESS)[-1]
        return str(last["of"]), str(last["by"])
    return None


def _notes(path: Path) -> list:
    notes = []
    try:
        lines = read_text(path).splitlines()
    except ValueError:
        lines = []
    for line in lines:
        with suppress(ValueError):  # it was being written when the power went
            notes.append(json.loads(line))
    return notes
