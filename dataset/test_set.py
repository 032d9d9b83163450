"""Pictures to super-resolve: HR/LR pairs of a benchmark or DIV2K folder, or LR pictures alone."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from . import images
from .errors import InputError
from .files import stem

_TAG = re.compile(r"(?<![A-Za-z])(HR|LR)(?![A-Za-z])")  # as in img_001_SRF_2_HR.png


@dataclass(frozen=True)
class Item:
    """One picture: its LR file, its HR file if there is one, and the name its result is given."""

    name: str
    lr: Path
    hr: Path | None = None


@dataclass(frozen=True)
class TestSet:
    """What :func:`find` found.

    Attributes:
        name: the data set's name, for example ``Set5``.
        scale: the scale its LR pictures are to be enlarged by.
        items: the pictures, in natural order of their names.
        problems: a line for each picture that cannot be used, for example an HR without LR.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    name: str
    scale: int
    items: list[Item]
    problems: list[str] = field(default_factory=list)


def find(path: Path | str, scale: int) -> TestSet:
    """Find the pictures of a data set. The layout is recognised:

    - benchmark: ``Set5/x2/img_001_SRF_2_{HR,LR}.png`` (``Set5`` or ``Set5/x2`` is given), with one pair at least;
    - DIV2K: ``DIV2K_valid_HR/0801.png`` with ``DIV2K_valid_LR_bicubic/X2/0801x2.png``
      (``DIV2K_valid``, ``DIV2K_valid_HR`` or the folder around both is given);
    - a folder of LR pictures of any names, or one picture: there is no HR.

    Raises:
        InputError: if nothing is there.
    """
    path = Path(path)
    name = path.resolve().name
    if path.is_file():
        return TestSet(stem(path), scale, _named([(path, None)]))
    for prefix in _div2k_prefixes(path):
        if Path(f"{prefix}_LR_bicubic/X{scale}").is_dir():
            return _div2k(prefix, scale)
    folder = path / f"x{scale}"
    if folder.is_dir():
        return _folder(name, folder, scale)
    others = sorted(f.name for f in path.glob("x[0-9]"))
    if others:
        raise InputError(f"{path}: has {', '.join(others)} but no x{scale}; make it with dataset/make_benchmark.py")
    if re.fullmatch(r"x[0-9]", name):
        if name != f"x{scale}":
            raise InputError(f"{path}: holds pictures for {name}, but --scale {scale} was asked for")
        name = path.resolve().parent.name
    return _folder(name, path, scale)


def _folder(name: str, folder: Path, scale: int) -> TestSet:
    """Pairs by the HR and LR in their names; if the folder has no such pair, LR pictures of any names."""
    files = images.list_images(folder, needed=True)
    found = {"HR": {}, "LR": {}}  # the name without the tag -> the file
    problems = []
    for file in files:
        tags, key = _TAG.findall(file.stem), _TAG.sub("*", file.stem)
        if not tags:
            problems.append(f"{file}: neither HR nor LR in its name, among pictures that have it")
        elif (first := found[tags[-1]].setdefault(key, file)) != file:
            problems.append(f"{file}: has the name of {first.name} but for the suffix")
    pairs = [(lr, found["HR"][key]) for key, lr in found["LR"].items() if key in found["HR"]]
    if not pairs:
        return TestSet(name, scale, _named([(file, None) for file in files]))
    for kind, other in (("HR", "LR"), ("LR", "HR")):
        alone = [file for key, file in found[kind].items() if key not in found[other]]
        problems += [f"{file}: {kind} without its {other} beside it" for file in alone]
    return TestSet(name, scale, _named(pairs), problems)


def _div2k_prefixes(path: Path) -> list[str]:
    """``.../DIV2K_valid``, if that is what ``path`` means: itself, its HR, or the folder around."""
    if path.name.endswith("_HR"):
        return [str(path).removesuffix("_HR")]
    # Of what is in the folder around, validation pictures are what one samples.
    return [str(path), *(str(hr).removesuffix("_HR") for hr in sorted(path.glob("*_valid_HR")))]


def _div2k(prefix: str, scale: int) -> TestSet:
    lr_folder, hr_folder = Path(f"{prefix}_LR_bicubic/X{scale}"), Path(f"{prefix}_HR")
    lr = {f.stem.removesuffix(f"x{scale}"): f for f in images.list_images(lr_folder, needed=True)}
    hr = {f.stem: f for f in images.list_images(hr_folder)} if hr_folder.is_dir() else {}
    problems = [f"{lr[k]}: LR without its HR in {hr_folder}" for k in lr if hr and k not in hr]
    problems += [f"{hr[k]}: HR without its LR in {lr_folder}" for k in hr if k not in lr]
    pairs = [(lr[k], hr.get(k)) for k in lr if k in hr or not hr]
    return TestSet(Path(prefix).name, scale, _named(pairs), problems)


def _named(pairs: list[tuple[Path, Path | None]]) -> list[Item]:
    """Name each result after its picture, with SR for HR or LR; where that is no name of its own, after the file.

    Names are told apart as file systems do that know no capitals, and one way only to write an accent.
    """
    names = [_TAG.sub("SR", stem(hr or lr)) for lr, hr in pairs]
    counts = Counter(map(_folded, names))
    items = []
    for name, (lr, hr) in zip(names, pairs):
        if counts[_folded(name)] > 1:
            name = f"{stem(hr or lr)}_{lr.suffix[1:]}"
            while _folded(name) in counts:
                name += "_"
            counts[_folded(name)] = 1
        items.append(Item(name, lr, hr))
    return items


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
