"""Pack pictures into the one HDF5 file that training reads.

As published, ``cd dataset && python div2h5.py`` reads DIV2K/DIV2K_train_HR and
DIV2K/DIV2K_train_LR_bicubic/X2, X3, X4 and writes DIV2K_train.h5. Any other folders of pictures can be given
too; low-resolution pictures that are not at hand are then made as DIV2K's were, by MATLAB's bicubic.

The file has the groups HR, X2, X3, … of uint8 (H, W, 3) RGB data sets "0", "1", …. An HR picture whose
sides are no multiples of the scale is kept whole; its LR picture is made from it without the last rows
and columns. Attributes say what the file was made from.

``--downscale 0.9 0.8 0.7 0.6`` adds copies shrunk by bicubic, as FSRCNN's training did (Dong et al. 2016), after
all pictures themselves; their LR pictures are made from the copies. Other ways to have more pictures are in
``more_pictures.py``.
"""

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset import arguments, errors, images
from dataset.bicubic import imresize, modcrop
from dataset.errors import InputError, Parser, shown
from dataset.files import remove_leftovers, written_whole
from dataset.make_benchmark import shrunk
from dataset.parallel import good_ones
from dataset.signals import StopRequest, noting
from dataset.transparency import read_seen

VERSION = 1  # of what the attributes say

# Largest side of a chunk in pixels (48 KiB). Speed of TrainSet (x2, no cache) on pictures of DIV2K's size,
# relative to data sets without chunks: processor time with the file in the page cache / elapsed time without.
#   48: 0.9 / 1.3   64: 1.0 / 1.3   96: 1.1 / 1.5   128: 1.2 / 1.5   192: 1.1 / 1.5
#   h5py's own choice: 0.6 / 1.0 (this one in elapsed time both)
CHUNK = 128


@dataclass(frozen=True)
class Source:
    """One HR picture and its LR pictures by scale, as far as they are at hand; with ``downscale``, below 1, a copy of
    it shrunk by this factor."""

    hr: Path
    lr: dict[int, Path] = field(default_factory=dict)
    downscale: float = 1.0


def main() -> None:
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    lr = "for each of them a folder with X2, X3, … of LR pictures, which are made where it has none"
    parser.add_argument("--hr", type=Path, nargs="+", metavar="DIR", help="folders of HR pictures (default: DIV2K's)")
    parser.add_argument("--lr", type=Path, nargs="+", metavar="DIR", help=lr)
    arguments.add_scales(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="what to write (default: DIV2K_train.h5)")
    arguments.add_boundary(parser, "symmetric")
    copies = "add copies of all pictures, shrunk by these factors below 1 (default: none)"
    parser.add_argument("--downscale", type=arguments.shrinking, nargs="+", default=[], metavar="F", help=copies)
    arguments.add_skip_bad(parser)
    arguments.add_workers(parser)
    args = parser.parse_args()
    args.scales, here = sorted(set(args.scales)), Path()
    if len(set(args.downscale)) < len(args.downscale):
        parser.error("--downscale are different numbers")
    if args.hr is None:
        here = next((folder for folder in (here, Path(__file__).parent) if (folder / "DIV2K").is_dir()), here)
        hr, lr = here / "DIV2K" / "DIV2K_train_HR", here / "DIV2K" / "DIV2K_train_LR_bicubic"
        if not hr.is_dir():
            raise InputError(f"{hr}: no such folder; get it with dataset/download.py DIV2K, or give another by --hr")
        args.hr, args.lr = [hr], args.lr or ([lr] if lr.is_dir() else None)
    args.out = args.out or here / "DIV2K_train.h5"
    if args.lr and len(args.lr) != len(args.hr):
        parser.error(f"--lr names {len(args.lr)} folders for the {len(args.hr)} of --hr")

    sources = find(args.hr, args.lr, args.scales, args.skip_bad)
    for file in (file for source in sources for file in (source.hr, *source.lr.values())):
        if args.out.exists() and args.out.samefile(file):
            raise InputError(f"--out {args.out}: is one of the pictures; choose another name")
    copies = [Source(source.hr, downscale=factor) for factor in args.downscale for source in sources]
    sources += copies
    packed = write(args.out, sources, args.scales, args.boundary, args.workers, args.skip_bad)
    less = f" ({len(copies)} of them down-scaled)" * bool(copies)
    groups = ", ".join(f"X{scale}" for scale in args.scales)
    made = ", ".join(f"X{scale}" for scale in args.scales if any(scale not in source.lr for source in sources))
    packed = f"{packed} pictures{less} in HR and {groups}, {args.out.stat().st_size / 1e6:.1f} MB"
    print(f"{args.out}: {packed}; made by bicubic: {made or 'none'}")


def find(
    hr_folders: list[Path], lr_folders: list[Path] | None, scales: list[int], skip_bad: bool = False
) -> list[Source]:
    """The pictures of all HR folders, in natural order, with those of the LR folders.

    An LR folder holds X2, X3, …, with pictures named as the HR picture ("0001.png") or with the scale
    ("0001x2.png"). A scale without a folder there is left out of the sources, to be generated.

    Raises:
        InputError: if a folder is missing or empty, or has LR for only some of the HR pictures, unless ``skip_bad``,
            which tells and leaves out the others.
    """
    sources = []
    for folder, lr_folder in zip(hr_folders, lr_folders or [None] * len(hr_folders)):
        pictures = images.list_images(folder, needed=True)
        given = [scale for scale in scales if lr_folder and (lr_folder / f"X{scale}").is_dir()]
        if lr_folder and not given:
            raise InputError(f"{lr_folder}: has no folder {' or '.join(f'X{scale}' for scale in scales)}")
        found = {scale: _lr_pictures(pictures, lr_folder / f"X{scale}", scale, skip_bad) for scale in given}
        complete = [hr for hr in pictures if all(hr in lr for lr in found.values())]
        sources += [Source(hr, {scale: lr[hr] for scale, lr in found.items()}) for hr in complete]
    return sources


def write(
    path: Path,
    sources: list[Source],
    scales: list[int],
    boundary: str = "symmetric",
    workers: int = 0,
    skip_bad: bool = False,
) -> int:
    """Write the HDF5 file, whole or not at all, with a progress bar. Returns how many pictures it has.

    Memory holds a few pictures per worker. The same sources give the same file, byte for byte. A signal to stop is
    obeyed between two pictures.

    Raises:
        InputError: for pictures that cannot be read or do not match, which are all told, unless ``skip_bad``; or if the
            file cannot be written.
    """
    remove_leftovers(path.parent)
    make = partial(load, scales=scales, boundary=boundary)
    loaded = good_ones(make, sources, workers, skip_bad, unit="picture")
    count = 0
    stop = StopRequest()
    with noting(stop), written_whole(path) as temporary:
        with Disk(temporary) as disk, h5py.File(disk, "w") as file, closing(loaded):
            _describe(file, sources, scales, boundary)
            for index, (source, pictures) in enumerate(loaded):
                count = index + 1
                for group, pixels in pictures.items():
                    file[group].create_dataset(str(index), data=pixels, chunks=chunk(pixels))
                of_copy = {"downscale": source.downscale} if source.downscale < 1 else {}
                name = _ending(source.hr, 2) + f" x{source.downscale:g}" * bool(of_copy)
                file[f"HR/{index}"].attrs.update(name=name, **of_copy)
                if disk.error or stop.signal:
                    break
            file.attrs["pictures"] = count
        stop.obey()
    return count


def _describe(file: h5py.File, sources: list[Source], scales: list[int], boundary: str) -> None:
    """Make the groups and say what the file is made from."""
    file.attrs.update(version=VERSION, made_by="dataset/div2h5.py of LESRCNN", scales=scales, pictures=len(sources))
    factors = sorted({source.downscale for source in sources} - {1.0}, reverse=True)
    if factors:
        file.attrs["downscale"] = factors
    file.create_group("HR").attrs["folders"] = folder_names((source.hr for source in sources), 1)
    for scale in scales:
        file.create_group(f"X{scale}").attrs.update(_degradation(sources, scale, boundary))


def load(source: Source, scales: list[int], boundary: str) -> dict:
    """Read one picture and its LR pictures, or make those: group -> (H, W, 3) uint8.

    Raises:
        InputError: if a file cannot be read or the sizes do not match.
    """
    hr = shrunk(read_seen(source.hr).rgb, source.downscale, boundary, source.hr, max(scales))
    height, width = hr.shape[:2]
    pictures = {"HR": hr}
    for scale in scales:
        if scale not in source.lr:
            pictures[f"X{scale}"] = imresize(modcrop(hr, scale), 1 / scale, boundary=boundary)
            continue
        lr = pictures[f"X{scale}"] = read_seen(source.lr[scale]).rgb
        if lr.shape[:2] != (height // scale, width // scale):
            match = f"which does not match the {width}x{height} of {source.hr} at scale {scale}"
            raise InputError(f"{source.lr[scale]}: has {lr.shape[1]}x{lr.shape[0]} pixels, {match}")
    return pictures


def _lr_pictures(pictures: list[Path], folder: Path, scale: int, skip_bad: bool) -> dict[Path, Path]:
    """HR file -> LR file for all ``pictures``, or those that have one."""
    by_stem = {file.stem: file for file in images.list_images(folder)}
    found = {hr: by_stem.get(f"{hr.stem}x{scale}", by_stem.get(hr.stem)) for hr in pictures}
    missing = [hr for hr, lr in found.items() if lr is None]
    for hr in missing if skip_bad else []:
        print(f"skipped: {shown(hr)}: has no LR picture in {shown(folder)}", file=sys.stderr)
    if missing and not skip_bad:
        some = f"{len(missing)} of {len(pictures)} HR pictures, the first of them {missing[0]}"
        raise InputError(f"{folder}: has no LR picture for {some}; remove the folder to have all made by bicubic")
    return {hr: lr for hr, lr in found.items() if lr}


def _degradation(sources: list[Source], scale: int, boundary: str) -> dict[str, str | list[str]]:
    """The attributes of an LR group: where its pictures come from."""
    given = [source.lr[scale] for source in sources if scale in source.lr]
    if len(given) == len(sources):
        return {"degradation": "as given", "folders": folder_names(given, 2)}
    made = {"degradation": "MATLAB bicubic with antialiasing", "boundary": boundary, "intermediate": "uint8"}
    return {**made, "as given": folder_names(given, 2)} if given else made


def folder_names(files: Iterable[Path], parts: int) -> list[str]:
    """The names of some files' folders, a name for each folder."""
    return [_ending(folder, parts) for folder in dict.fromkeys(file.parent for file in files)]


def _ending(path: Path, parts: int) -> str:
    """The last parts of a path: what it is called, however it was given and wherever it lies, as HDF5 can hold it."""
    return os.fsencode("/".join(Path(os.path.abspath(path)).parts[-parts:])).decode(errors="replace")


def chunk(pixels: np.ndarray) -> tuple[int, int, int]:
    """The picture cut evenly into chunks of at most ``CHUNK`` a side: little is padded at its edge."""
    height, width = (math.ceil(side / math.ceil(side / CHUNK)) for side in pixels.shape[:2])
    return height, width, 3


class Disk(io.RawIOBase):
    """The file that HDF5 writes to.

    HDF5 does not survive a write that fails: it goes on, and crashes when it closes the file. And what is raised in
    the middle of its calls, it swallows. So nothing is: the first error is kept, to be raised at the end, and what HDF5
    writes after it goes nowhere.
    """

    def __init__(self, path: Path, mode: str = "w+b") -> None:
        self.error: BaseException | None = None
        self._file = open(path, mode, buffering=0)

    def _try(self, method: Callable, *arguments, otherwise: int = 0) -> int:
        if self.error is None:
            try:
                return method(*arguments)
            except BaseException as error:
                self.error = error
        return otherwise

    def write(self, data) -> int:
        def write_all() -> None:
            rest = memoryview(data).cast("B")
            while len(rest):
                rest = rest[self._file.write(rest) :]

        self._try(write_all)
        return len(data)

    def readinto(self, buffer) -> int:
        return self._try(self._file.readinto, buffer, otherwise=len(buffer))

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._try(self._file.seek, place, whence, otherwise=place)

    def tell(self) -> int:
        return self._try(self._file.tell)

    def truncate(self, size: int | None = None) -> int:
        return self._try(self._file.truncate, size)

    def flush(self) -> None:
        self._try(self._file.flush)

    def __exit__(self, kind, *exception) -> None:
        self._try(self._file.close)
        if self.error:
            raise self.error from None


if __name__ == "__main__":
    errors.run(main)
