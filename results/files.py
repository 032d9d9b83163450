"""The files that the commands here write, whole or not at all, and read."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataset.errors import InputError, describe
from dataset.images import written_whole


def write_text(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: Path, rows: list[dict]) -> None:
    """A row for each dictionary; all have the keys of the first."""
    with written_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


@contextmanager
def readable(path: Path, advice: str) -> Iterator[None]:
    """Whatever goes wrong while a file is read and taken apart becomes an InputError, which ends in the advice."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {describe(error)}; {advice}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; {advice}") from None


def read_json(path: Path, advice: str):
    """What a JSON file holds.

    Raises:
        InputError: if it is missing or damaged; the message ends in ``advice``.
    """
    with readable(path, advice):
        return json.loads(path.read_text(encoding="utf-8"))


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
