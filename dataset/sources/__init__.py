"""What training patches are cut from; of which kind a source is, is told by what is in it.

==========================================  ==========================================================
HDF5 file with groups HR, X2, X3, …         whole pictures, as ``div2h5.py`` packs them
HDF5 file with data sets hr and lr          patches, pair by pair
folder with the folders hr and lr in it     pictures or patches whose names pair
folder of pictures, or NAME.lmdb            HR pictures alone; their LR is made by MATLAB's bicubic
two of these: HR, then LR                   pictures or patches whose names pair
==========================================  ==========================================================
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from .. import images
from ..errors import InputError
from ..files import sha256_of
from ..hyperslabs import open_file, readable
from .base import Read as Read
from .base import Source as Source
from .copies import Copies
from .encoded import EncodedPictures, Folder
from .hdf5 import Hdf5Pictures, PatchPairs
from .lmdb import Lmdb


def find(paths: Sequence[Path], scales: Sequence[int], factors: Sequence[float] = (1.0,)) -> Source:
    """The source that one path leads to, or two: HR's, then LR's.

    Args:
        paths: one or two.
        scales: that batches may have; the source can be of one of them alone.
        factors: what pictures are shrunk by, from 0 to 1; each gives a copy of all of them, 1 the pictures themselves.
            Of patches that are made already there are no copies.

    Raises:
        InputError: if there is nothing, or something else, or it does not fit the scales.
    """
    scales, factors = tuple(scales), tuple(factors)
    if len(paths) > 2:
        raise InputError(f"{paths[2]}: is one too many; give one source, or two: HR, then LR")
    paths = _pair(paths)
    if len(paths) == 1 and not paths[0].is_dir():
        if is_of_pairs(paths[0]):
            source = PatchPairs(paths[0], scales)
        else:
            source = Hdf5Pictures(paths[0], scales)
    else:
        source = EncodedPictures([Lmdb(path) if _is_lmdb(path) else Folder(path) for path in paths], scales)
    all_there = set(source.sizes) >= {group for scale in source.scales for group in source.groups(scale)}
    return source if source.made or factors == (1.0,) and all_there else Copies(source, factors)


def is_of_pairs(path: Path) -> bool:
    """Whether an HDF5 file has patches, pair by pair, and not whole pictures; raises as :func:`find`."""
    with readable(path), open_file(path) as file:
        return "HR" not in file and any(key in file for key in ("lr", "hr"))


def name_of(paths: Sequence[Path]) -> str:
    """What a source is called, without the folders that it lies in."""
    return " and ".join(path.name for path in _pair(paths))


def size_of(paths: Sequence[Path]) -> int:
    """Bytes of all files of a source; raises InputError if one is missing."""
    try:
        return sum(file.stat().st_size for file in _files(paths))
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file") from None


def hash_of(paths: Sequence[Path]) -> str:
    """What a source is recognised by: SHA-256, hexadecimal, of an HDF5 file.

    Of several files it is that of a list of them, each with its folder's name and its size, and of those of an LMDB
    with their own SHA-256.

    Raises:
        InputError: if a file is missing or cannot be read.
    """
    files = _files(paths)
    if len(files) == 1 and not paths[0].is_dir():
        return sha256_of(files[0])
    total = hashlib.sha256()
    for file in files:
        content = sha256_of(file) if _is_lmdb(file.parent) else ""
        total.update(f"{file.parent.name}/{file.name} {size_of([file])} {content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in _pair(paths):
        if _is_lmdb(path):
            files += [path / "data.mdb", path / "meta_info.txt"]
        else:
            files += images.list_images(path) if path.is_dir() else [path]
    return files


def _pair(paths: Sequence[Path]) -> list[Path]:
    """A folder with the folders hr and lr in it stands for these."""
    pair = [Path(paths[0]) / "hr", Path(paths[0]) / "lr"]
    return pair if len(paths) == 1 and all(path.is_dir() for path in pair) else list(map(Path, paths))


def _is_lmdb(path: Path) -> bool:
    return (path / "data.mdb").exists()
