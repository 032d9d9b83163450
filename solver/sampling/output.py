"""A folder of results: where each lies, what is written, and what of the pictures its format could not keep."""

import shutil
from dataclasses import replace
from pathlib import Path

from dataset import files, streams
from dataset.formats import losses
from dataset.picture import Bands, Picture
from dataset.test_set import Item

from ..measuring.evaluate import Row
from . import pages


class Output:
    """Results in one format.

    Args:
        folder: has ``SR``, and copies of the originals in ``HR``.
        suffix: of the format, ``.png``.
        strip: whether metadata are left out.
    """

    def __init__(self, folder: Path, suffix: str, strip: bool = False) -> None:
        self.folder, self.suffix, self._strip = folder, suffix, strip
        self._lost: dict[str, list[str]] = {}  # the pictures' names by what of them is lost

    def path(self, item: Item) -> Path:
        """The result of an item."""
        return files.fitting_path(self.folder / "SR", item.name, self.suffix)

    def whole(self, item: Item) -> Path:
        """The result that an item's is a part of, when it is put together with those of other pages of its file."""
        return files.fitting_path(self.folder / "SR", item.whole or item.name, self.suffix)

    def found(self, item: Item) -> Path:
        """Where an item's result is now."""
        own, whole = self.path(item), self.whole(item)
        return whole if not own.exists() and whole.exists() else own

    def kept(self, done: dict[Item, Row], items: list[Item]) -> dict[Item, Row]:
        """Those of an earlier run's results that stay: of pages in one file all, or none."""
        apart = {item.lr for item in items if item.page is not None and item not in done}
        return {item: row for item, row in done.items() if item.lr not in apart or self.path(item).exists()}

    def write(self, item: Item, sr: Picture | Bands) -> None:
        """Write a result, and a copy of its original. Raises InputError if that cannot be done."""
        bands = sr if isinstance(sr, Bands) else Bands.of(sr)
        if self._strip:
            bands = replace(bands, metadata=bands.metadata.colours_alone())
        for loss in losses(bands, self.suffix):
            self._lost.setdefault(loss, []).append(item.lr.name)
        streams.write(self.path(item), bands)
        if item.hr is not None:
            with files.opened(item.hr) as hr, files.written_whole(self.folder / "HR" / item.hr.name) as temporary:
                with open(temporary, "wb") as copy:
                    shutil.copyfileobj(hr, copy)

    def join(self, items: list[Item]) -> tuple[set[Item], list[str]]:
        """Put pages of a file together where all are there, see :func:`.pages.join`."""
        return pages.join(items, {item: self.path(item) for item in items}, {item: self.whole(item) for item in items})

    @property
    def notes(self) -> list[str]:
        """A line for each thing that was lost."""
        more = {loss: f" and {len(names) - 1} more" * (len(names) > 1) for loss, names in self._lost.items()}
        return [f"{loss} in {self.suffix}: {names[0]}{more[loss]}" for loss, names in self._lost.items()]
