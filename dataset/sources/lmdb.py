"""Pictures in an LMDB, as the toolboxes of the field pack them."""

import os
import re
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np

from .. import images
from ..errors import InputError, describe
from ..files import opened, read_text, readable
from ..picture import Picture

_LINE = re.compile(r"(.+)\.\w+ \(([0-9]{1,9}), ?([0-9]{1,9}), ?([134])\) [0-9]+")
_ADVICE = "make it again, data.mdb and meta_info.txt"

_open = WeakValueDictionary()  # by file: a process may open each but once, and its forks share what is only read


class Lmdb:
    """Encoded pictures by key, see :class:`dataset.sources.encoded.Store`.

    ``meta_info.txt`` has a line for each, ``baboon.png (480,500,3) 1``: key and suffix, height, width, channels and how
    far it was compressed.

    Args:
        path: the folder, NAME.lmdb.

    Raises:
        InputError: if the package lmdb or a file is missing, or the two files do not match.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names, self.shapes = _listed(path / "meta_info.txt")
        self._data = opened(path / "data.mdb")
        self._environment = self._opened()
        self._bytes = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        count, missing = self._environment.stat()["entries"], self._missing()
        if missing is not None:
            raise InputError(f"{path}: has no picture {missing}, which meta_info.txt names; {_ADVICE}")
        if count != len(self.names):
            raise InputError(f"{path}: has {count} pictures, and meta_info.txt {len(self.names)}; {_ADVICE}")

    def place(self, index: int) -> str:
        return f"{self.path}: {self.names[index]}"

    def read(self, index: int) -> Picture:
        return images.decode(self._value(self.names[index]) or b"", self.place(index))

    def _missing(self) -> str | None:
        """The first name that no picture has."""
        return next((name for name in self.names if self._value(name) is None), None)

    def _value(self, name: str) -> bytes | None:
        """What there is of a name.

        Raises:
            InputError: if the file ends too early: it is mapped into memory, where a look beyond its end kills.
        """
        import lmdb

        there = os.fstat(self._data.fileno()).st_size
        if there < self._bytes:
            raise InputError(f"{self.path}: data.mdb is truncated: has {there:,} of {self._bytes:,} bytes; {_ADVICE}")
        try:
            with self._environment.begin() as transaction:
                return transaction.get(name.encode())
        except lmdb.Error as error:
            raise InputError(f"{self.path}: {name} cannot be read: {describe(error)}; {_ADVICE}") from None

    def _opened(self):
        """The database, opened to read without locks: nothing is written into its folder."""
        try:
            import lmdb
        except ModuleNotFoundError:
            raise InputError(f"{self.path}: is an LMDB, which the package lmdb reads: pip install lmdb") from None
        there = os.fstat(self._data.fileno())
        key = there.st_dev, there.st_ino
        if (environment := _open.get(key)) is None:
            try:
                options = {"readonly": True, "lock": False, "readahead": False}
                environment = _open[key] = lmdb.open(os.path.realpath(self.path), **options)
            except lmdb.Error as error:
                raise InputError(f"{self.path}: is no readable LMDB: {describe(error)}; {_ADVICE}") from None
        return environment


def _listed(meta: Path) -> tuple[list[str], np.ndarray]:
    """The names in ``meta_info.txt``, and their shapes."""
    with readable(meta, _ADVICE):
        lines = read_text(meta).splitlines()
        found = [_LINE.fullmatch(line) for line in lines]
        if not lines or None in found:
            raise InputError(f"{meta}: line {found.index(None) + 1 if lines else 1} is none such as a.png (32,32,3) 1")
    shapes = np.array([[int(number) for number in line.groups()[1:]] for line in found])
    shapes[:, 2] = np.where(shapes[:, 2] == 1, 1, 3)
    if (shapes[:, :2] == 0).any() or (shapes[:, :2].prod(axis=1) > images.MAX_PIXELS).any():
        raise InputError(f"{meta}: has a picture of no pixels, or of more than the {images.MAX_PIXELS:,} accepted")
    return [line[1] for line in found], shapes
