"""Pictures to super-resolve: HR/LR pairs of a benchmark in any of its usual layouts, or LR pictures alone."""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import images, video
from .errors import InputError
from .files import stem

_TAG = re.compile(r"(?<![A-Za-z])(HR|LR|LRBI)(?![A-Za-z])")  # as in img_001_SRF_2_HR.png

_EITHER = re.compile(_TAG.pattern, re.IGNORECASE)  # of a pair, whose two names tell that it is no other word

# Folders of HR and of LR, as sets are downloaded; {n} is the scale. In them may be a folder x{n}.
_HR_FOLDERS = r"(HR|GT)([_-]?mod(crop)?)?\d*(?P<scale>[_-]?x{n})?"
_LR_FOLDERS = r"(LR|LQ)([_-]?(bicubic|bic|BI))?(?P<scale>[_-]?x{n})?"
_BENCHMARKS = ("x{n}", "image_SRF_{n}")  # folders with HR and LR side by side
PROGRESS = "progress.jsonl"  # is in folders of results, which are no pictures to be enlarged
_NAMED = 5  # pictures or files in a line, at most


@dataclass(frozen=True)
class Item:
    """One picture.

    Attributes:
        name: that its result is given; below a folder's folders, with theirs: ``trip/beach``.
        lr: its LR file.
        hr: its HR file, if there is one.
        page: which of several pictures in the LR file, from 0; None is the first.
        whole: of a page, the name of the result that all of its file can be put together in.
        made: whether the LR is to be made from the HR file, by MATLAB's bicubic; ``lr`` is that file then.
    """

    name: str
    lr: Path
    hr: Path | None = None
    page: int | None = None
    whole: str = ""
    made: bool = False


@dataclass(frozen=True)
class TestSet:
    """What :func:`find` found.

    Attributes:
        name: the data set's name, for example ``Set5``.
        scale: the scale its LR pictures are to be enlarged by.
        items: the pictures, in natural order of their names.
        problems: a line for each picture that cannot be used, for example an HR without LR.
        notes: a line for what is there and was not asked for, for example folders in the folder.
        videos: as items, whose results are called after them: ``clip_SR``; clip_HR and clip_LR are a pair.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    name: str
    scale: int
    items: list[Item]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    videos: list[Item] = field(default_factory=list)


def find(path: Path | str, scale: int, *, recursive: bool = False, make_lr: bool = False) -> TestSet:
    """Find the pictures of a data set. The layout is recognised, where there is one pair at least:

    - HR and LR side by side: ``Set5/x2/img_001_SRF_2_{HR,LR}.png`` or ``Set5/image_SRF_2`` (``Set5`` or the folder in
      it is given);
    - a folder for each: ``HR`` or ``GTmod12`` with ``LR_bicubic/X2``, ``LR/x2``, ``LRbicx2``, ``LR`` and the like (the
      folder around them is given, or either); a picture's names are the same, but for ``x2`` at the end;
    - of several sets: ``HR/Set5/x2`` with ``LR/LRBI/Set5/x2`` (one of them is given, or ``HR/Set5``, ``LR/LRBI/Set5``);
    - DIV2K: ``DIV2K_valid_HR/0801.png`` with ``DIV2K_valid_LR_bicubic/X2/0801x2.png``
      (``DIV2K_valid``, ``DIV2K_valid_HR`` or the folder around both is given);
    - a folder of LR pictures and videos of any names, or one of them: there is no HR.

    Args:
        recursive: take the pictures of a folder's folders too, where there are no pairs.
        make_lr: take HR pictures alone, whose LR is to be made; of a layout above, all of its HR pictures.

    Raises:
        InputError: if nothing is there.
    """
    path = Path(path)
    name = path.resolve().name
    if is_video(path):
        if make_lr:
            raise InputError(f"{path}: --make_lr takes pictures; leave it out to enlarge the video")
        return TestSet(stem(path), scale, [], videos=_as_videos([path], [], None))
    if line := video.unread(path):
        raise InputError(line)
    if path.is_file():
        return TestSet(stem(path), scale, _named([(path, path if make_lr else None)], make_lr))
    if make_lr:
        return _to_be_made(name, path, scale, recursive)
    if found := _two_folders(path, scale):
        return found
    files = images.list_images(path)
    alone = not files  # what is in its folders is not beside pictures
    for folder, numbered in _numbered(path, scale):
        if alone and not recursive or _pairs(numbered):
            return _folder(name, folder, scale, numbered)
    if alone and not recursive and (others := [n for n in range(1, 10) if _has(path, n)]):
        there = ", ".join(f"x{n}" for n in others)
        raise InputError(f"{path}: has {there} but no x{scale}; make it with dataset/make_benchmark.py")
    if match := re.fullmatch(r"(?:x|image_SRF_)([0-9])", name):
        if int(match[1]) == scale:
            name = path.resolve().parent.name
        elif _pairs(files):
            raise InputError(f"{path}: holds pictures for x{match[1]}, but --scale {scale} was asked for")
    return _folder(name, path, scale, files, recursive)


def _has(path: Path, scale: int) -> bool:
    """Whether a folder is a benchmark of this scale."""
    files = [file for _, files in _numbered(path, scale) for file in files]
    return bool(_pairs(files) or _two_folders(path, scale))


def _numbered(path: Path, scale: int) -> Iterator[tuple[Path, list[Path]]]:
    """Folders that are called after a scale and have pictures in them, and these."""
    for pattern in _BENCHMARKS:
        folder = path / pattern.format(n=scale)
        if folder.is_dir() and (files := images.list_images(folder)):
            yield folder, files


def _folder(name: str, folder: Path, scale: int, files: list[Path], recursive: bool = False) -> TestSet:
    """Pairs by the HR and LR in the names of a folder's pictures; if there is none, LR pictures of any names."""
    if pairs := _pairs(files):
        return TestSet(name, scale, _named(pairs), _unpaired(files, pairs))
    listed, left_out = _listed(folder, recursive)
    videos = [file for file in left_out if is_video(file)]
    left_out = [file for file in left_out if file not in videos]
    there = listed or videos
    if not there and any((entry / PROGRESS).exists() for entry in left_out):
        raise InputError(f"{folder}: has no pictures in it but results; to enlarge these again, give their folder SR")
    if not there and any(entry.is_dir() and _listed(entry, True)[0] for entry in left_out):
        raise InputError(f"{folder}: has no pictures in it, but its folders have; --recursive takes them")
    problems, notes = _told(folder, left_out, recursive)
    if not there and problems:
        raise InputError(problems[0])
    if not there:
        images.list_images(folder, needed=True)  # raises
    items = _named([(file, None) for file in listed], below=folder)
    return TestSet(name, scale, items, problems, notes, _as_videos(videos, items, folder))


def _listed(folder: Path, recursive: bool) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder, those of its folders behind them, and all else that is there and not hidden."""
    pictures = images.list_images(folder)
    rest = sorted({f for f in folder.iterdir() if not f.name.startswith(".")} - {*pictures}, key=images.natural_key)
    left_out = []
    for entry in rest:
        if recursive and entry.is_dir() and not entry.is_symlink() and not (entry / PROGRESS).exists():
            below = _listed(entry, True)
            pictures += below[0]
            left_out += below[1]
        else:
            left_out.append(entry)
    return pictures, left_out


def _told(folder: Path, left_out: list[Path], recursive: bool) -> tuple[list[str], list[str]]:
    """Of files and folders that are left out: a line for each picture and video, and one for all others together."""
    unread = {file: line for file in left_out if (line := _unread(file))}
    problems = [*unread.values()]
    left_out = [file for file in left_out if file not in unread]
    if not left_out:
        return problems, []
    names = [f"{file.relative_to(folder)}{'/' * file.is_dir()}" for file in left_out[:_NAMED]]
    more = ", ..." * (len(left_out) > _NAMED)
    advice = " (--recursive takes the pictures of folders)" * (
        not recursive and any(file.is_dir() for file in left_out)
    )
    return problems, [f"{folder}: {len(left_out)} left out, no pictures: {', '.join(names)}{more}{advice}"]


def _unread(file: Path) -> str | None:
    """A line for a picture or a video of a kind that is not read."""
    if images.is_of_another_kind(file):
        return f"{file}: {file.suffix[1:].upper()} is not read here; save it as PNG"
    return video.unread(file)


def _pairs(files: list[Path]) -> list[tuple[Path, Path]]:
    """(LR, HR) by the HR and LR in names that are the same otherwise; of several of a name, the first."""
    found = {"HR": {}, "LR": {}}  # the name without the tag -> the file
    for file in files:
        if tags := _EITHER.findall(file.stem):
            found[tags[-1][:2].upper()].setdefault(_EITHER.sub("*", file.stem), file)
    return [(lr, found["HR"][key]) for key, lr in found["LR"].items() if key in found["HR"]]


def _unpaired(files: list[Path], pairs: list[tuple[Path, Path]]) -> list[str]:
    """A line for each file that is in no pair."""
    paired = {file for pair in pairs for file in pair}
    first = {(_EITHER.sub("*", file.stem), _EITHER.findall(file.stem)[-1]): file.name for file in paired}
    kinds = {"*": [], "HR": [], "LR": []}
    for file in files:
        tags = _EITHER.findall(file.stem)
        if not tags:
            kinds["*"].append(f"{file}: neither HR nor LR in its name, among pictures that have it")
        elif file not in paired:
            kind = tags[-1][:2].upper()
            if twin := first.get((_EITHER.sub("*", file.stem), tags[-1])):
                kinds["*"].append(f"{file}: has the name of {twin} but for the suffix")
            else:
                kinds[kind].append(f"{file}: {kind} without its {'LR' if kind == 'HR' else 'HR'} beside it")
    return [line for lines in kinds.values() for line in lines]


def _two_folders(path: Path, scale: int) -> TestSet | None:
    """The set whose HR folder or LR folder a path is, or the folder around them."""
    # Of what is in the folder around, validation pictures are what one samples.
    valid = [str(hr).removesuffix("_HR") for hr in sorted(path.glob("*_valid_HR"))]
    for prefix in [str(path).removesuffix("_HR"), *valid]:
        if (lr := Path(f"{prefix}_LR_bicubic/X{scale}")).is_dir():
            return _in_two_folders(Path(prefix).name, Path(f"{prefix}_HR"), lr, scale)
    given = path.resolve()
    for around in (given, given.parent, given.parent.parent):
        lrs = list(_existing(around, _LR_FOLDERS, scale))
        for hr, lr in itertools.product(_existing(around, _HR_FOLDERS, scale) if lrs else (), lrs):
            if given in (around, hr, hr.parent, lr, lr.parent) and (found := _pairs_in(around.name, hr, lr, scale)):
                return found
    for around in given.parents[1:4]:
        for name in given.relative_to(around).parts[1:]:
            hr, lr = around / "HR" / name / f"x{scale}", around / "LR" / "LRBI" / name / f"x{scale}"
            if given in (hr, hr.parent, lr, lr.parent) and lr.is_dir() and (found := _pairs_in(name, hr, lr, scale)):
                return found
    return None


def _existing(around: Path, pattern: str, scale: int) -> Iterator[Path]:
    """Folders of pictures whose names fit a pattern, those first that tell the scale."""
    fits, fitting = re.compile(pattern.format(n=scale), re.IGNORECASE).fullmatch, []
    with suppress(OSError):  # what lies around is not all ours to read
        fitting = sorted((not told["scale"], folder) for folder in around.iterdir() if (told := fits(folder.name)))
    below = [folder / f"{x}{scale}" for _, folder in fitting for x in "xX"]
    for folder in (*below, *(folder for _, folder in fitting)):
        with suppress(InputError):
            if folder.is_dir() and images.list_images(folder):
                yield folder


def _pairs_in(name: str, hr: Path, lr: Path, scale: int) -> TestSet | None:
    found = _in_two_folders(name, hr, lr, scale)
    return found if any(item.hr for item in found.items) else None


def _in_two_folders(name: str, hr_folder: Path, lr_folder: Path, scale: int) -> TestSet:
    """Pairs by their names: LR's is HR's, or has ``x2`` at its end, or both have HR or LR in them."""
    hrs = images.list_images(hr_folder) if hr_folder.is_dir() else []
    lrs = images.list_images(lr_folder, needed=True)
    plain = {_plain(file, scale): file for file in lrs} | {file.stem: file for file in lrs}
    plain |= {file.stem.removesuffix(f"x{scale}"): file for file in lrs if file.stem.endswith(f"x{scale}")}
    pairs = {hr: lr for hr in hrs if (lr := plain.get(hr.stem) or plain.get(_plain(hr, scale)))}
    paired = {*pairs.values()}
    if not hrs:
        return TestSet(name, scale, _named([(lr, None) for lr in lrs]))
    problems = [f"{lr}: LR without its HR in {hr_folder}" for lr in lrs if lr not in paired]
    problems += [f"{hr}: HR without its LR in {lr_folder}" for hr in hrs if hr not in pairs]
    return TestSet(name, scale, _named([(lr, hr) for hr, lr in pairs.items()]), problems)


def _plain(file: Path, scale: int) -> str:
    """A file's name without the scale and what it is."""
    return re.sub(r"[_-]+$", "", _EITHER.sub("", re.sub(rf"_?x{scale}$", "", file.stem)))


def _to_be_made(name: str, path: Path, scale: int, recursive: bool) -> TestSet:
    """HR pictures alone: those of a layout, or all of a folder."""
    for folder in (*_existing(path, _HR_FOLDERS, scale), *(folder for folder, _ in _numbered(path, scale))):
        files = images.list_images(folder)
        if _pairs(files):
            files = [file for file in files if [tag.upper() for tag in _EITHER.findall(file.stem)[-1:]] == ["HR"]]
        return TestSet(name, scale, _named([(file, file) for file in files], made=True))
    files, left_out = _listed(path, recursive)
    if pairs := _pairs(files):
        files, left_out = [hr for _, hr in pairs], []
    if not files:
        images.list_images(path, needed=True)  # raises
    items = _named([(file, file) for file in files], made=True, below=path)
    return TestSet(name, scale, items, *_told(path, left_out, recursive))


def with_pages(found: TestSet) -> TestSet:
    """The set with an item for each of several pictures in a file, ``scan_1``, ``scan_2``, where there is no HR."""
    taken, items = {_folded(item.name) for item in found.items}, []
    for item in found.items:
        try:
            count = images.pages(item.lr) if item.hr is None else 1
        except InputError:  # told of when it is read
            count = 1
        for page in range(count if count > 1 else 0):
            name = f"{item.name}_{page + 1}"
            while _folded(name) in taken:
                name += "_"
            taken.add(_folded(name))
            items.append(replace(item, name=name, page=page, whole=item.name))
        items += [item] * (count == 1)
    return replace(found, items=items)


def _named(pairs: list[tuple[Path, Path | None]], made: bool = False, below: Path | None = None) -> list[Item]:
    """Name each result after its picture, with SR for HR or LR; where that is no name of its own, after the file.

    Names are told apart as file systems do that know no capitals, and one way only to write an accent. The folders
    that lie ``below`` one are in it.
    """

    def folders(file: Path) -> str:
        return f"{file.parent.relative_to(below)}/".removeprefix("./") if below else ""

    names = [folders(lr) + _TAG.sub("SR", stem(hr or lr)) for lr, hr in pairs]
    counts = Counter(map(_folded, names))
    items = []
    for name, (lr, hr) in zip(names, pairs):
        if counts[_folded(name)] > 1:
            name = f"{folders(lr)}{stem(hr or lr)}_{lr.suffix[1:]}"
            while _folded(name) in counts:
                name += "_"
            counts[_folded(name)] = 1
        items.append(Item(name, lr, hr, made=made))
    return items


def is_video(path: Path) -> bool:
    """Whether a path is a file that is called as a video is."""
    return path.suffix.lower() in video.SUFFIXES and path.is_file()


def _as_videos(files: list[Path], beside: list[Item], below: Path | None) -> list[Item]:
    """Items of videos, those with HR and LR in names that are the same otherwise as pairs; no name is one beside."""
    pairs = _pairs(files)
    paired = {file for pair in pairs for file in pair}
    taken, items = {_folded(item.name) for item in beside}, []
    for item in _named(pairs + [(file, None) for file in files if file not in paired], below=below):
        told = _TAG.search(stem(item.lr)) and not _TAG.search(item.name)  # clip_LR's is clip_SR already
        name = item.name if item.hr or told else f"{item.name}_SR"
        while _folded(name) in taken:
            name += "_"
        items.append(replace(item, name=name))
    return items


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
