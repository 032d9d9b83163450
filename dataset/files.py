"""Files: only regular ones are read, written ones appear whole, and one command at a time writes to a folder."""

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import InputError, describe
from .signals import StopRequest, noting

_LONG_NAME = 60  # bytes; a longer name of a file is not part of its temporary one, which may have 255
_NAME = 255  # bytes of a file's name, at most
_ROOT = Path(__file__).resolve().parents[1]
_MOST_TEXT = 2**28  # bytes of a text file
_FORMULA = "=+-@\t\r"  # with which a spreadsheet's formulas begin


# -- reading -----------------------------------------------------------------------------------------


def opened(path: Path | str) -> BinaryIO:
    """Open a regular file to read its bytes: a pipe or a device would be waited for, or never end.

    Raises:
        InputError: if it is missing, no regular file, or cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise InputError(f"{path}: {'no such file' if missing else f'cannot be read: {describe(error)}'}") from None
    kind = os.fstat(file).st_mode
    if not stat.S_ISREG(kind):
        os.close(file)
        raise InputError(f"{path}: is a {'folder' if stat.S_ISDIR(kind) else 'pipe or a device'}, expected a file")
    return os.fdopen(file, "rb")


def read_text(path: Path) -> str:
    """A text file's content, UTF-8, with or without a byte order mark.

    Raises:
        InputError: as :func:`opened`.
        ValueError: if it is no UTF-8.
    """
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size > _MOST_TEXT:
            raise InputError(f"{path}: has more than {_MOST_TEXT:,} bytes, which no such file has")
        return file.read().decode("utf-8-sig")


@contextmanager
def readable(path: Path, advice: str) -> Iterator[None]:
    """Whatever goes wrong while a file is read and taken apart becomes an InputError, which ends in the advice."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {advice}") from None
    except OSError as error:
        raise InputError(f"{path}: {describe(error)}; {advice}") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, csv.Error):
        raise InputError(f"{path}: is damaged; {advice}") from None


def read_json(path: Path, advice: str):
    """What a JSON file holds.

    Raises:
        InputError: if it is missing or damaged; the message ends in ``advice``.
    """
    with readable(path, advice):
        return json.loads(read_text(path))


def read_csv(path: Path, advice: str = "make it again") -> list[dict[str, str]]:
    """The rows of a CSV file by their columns; raises as :func:`read_json`.

    Lines before the columns' names that begin with ``#`` are remarks.
    """
    with readable(path, advice):
        text = re.sub(r"\A(#[^\n]*\n)+", "", read_text(path))
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's content, hexadecimal; raises as :func:`opened`."""
    with opened(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {describe(error)}") from None


def stem(path: Path) -> str:
    """A file's name without its suffix, to call others after it: never one such as ``..``, which leads elsewhere."""
    return path.stem if path.stem.strip(". ") else path.name.strip(". ") or "unnamed"


def ours_otherwise(path: Path) -> Path:
    """A path, or where nothing is there, this project's own file or folder of that name, if there is one."""
    ours = _ROOT / path
    return ours if not path.exists() and ours.exists() else path


# -- writing -----------------------------------------------------------------------------------------


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``path``, renamed to it on success and removed otherwise.

    So a file of that name is always complete. Missing folders are made.

    Raises:
        InputError: if anything cannot be written there.
    """
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))  # the file it leads to is written, and the link stays
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot be written: there is something that is no file; choose another name")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {describe(error)}") from None
    finally:
        with suppress(OSError):  # it is gone already, or there was none
            temporary.unlink()


@contextmanager
def folder_written_whole(path: Path, holds: str) -> Iterator[Path]:
    """Give a temporary path for a folder beside ``path``, renamed to it on success and removed otherwise.

    A folder of that name is replaced if it has a file ``holds``, which tells that it is one of the same kind.

    Raises:
        InputError: if anything cannot be written there, or if something else is there.
    """
    temporary, before = (temporary_path(path.with_name(path.name + end)) for end in ("", ".before"))
    stop = StopRequest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.exists() and not (path / holds).is_file():
            raise InputError(f"{path}: cannot be written: there is something else; choose another name")
        yield temporary
        with noting(stop):
            _exchange(temporary, path, before)
        stop.obey()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {describe(error)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, path: Path, before: Path) -> None:
    """Put a new folder in the place of the one before, if there is one, which is removed only then."""
    if path.exists():
        os.replace(path, before)
    try:
        os.replace(new, path)
    except OSError:
        if before.exists():
            os.replace(before, path)
        raise
    shutil.rmtree(before, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Make a folder, and try whether files can be written in it: better told before the work than after.

    Raises:
        InputError: if they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {describe(error)}") from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all; what is no text, as a byte in a file's name, becomes an escape."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: Path, rows: Iterable[dict], columns: Sequence[str] | None = None) -> None:
    """A row for each dictionary; by default all have the keys of the first.

    Text that a spreadsheet would compute, as a picture's name ``=1+1``, gets an apostrophe before it.
    """
    rows = [{key: _cell(value) for key, value in row.items()} for row in rows]
    with written_whole(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            table = csv.DictWriter(file, columns or list(rows[0]), lineterminator="\n", extrasaction="ignore")
            table.writeheader()
            table.writerows(rows)


def _cell(value):
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple(_FORMULA)) else value


def fitting_path(folder: Path, name: str, suffix: str) -> Path:
    """The path of a file in a folder, or of one below it; a name longer than file systems take ends in its hash."""
    path = folder / f"{name}{suffix}"
    last = os.fsencode(path.name)
    if len(last) <= _NAME:
        return path
    end = f"-{hashlib.sha256(last).hexdigest()[:8]}{suffix}"
    return path.with_name(last[: _NAME - len(end)].decode(errors="ignore") + end)


def temporary_path(path: Path, process: int | None = None) -> Path:
    """The name under which a process of this machine, by default this one, makes ``path``, in the same folder.

    It tells the machine and the process, and is short enough however long the file's own name is.
    """
    name = os.fsencode(path.name)
    start = path.name if len(name) <= _LONG_NAME else hashlib.sha256(name).hexdigest()[:32]
    return path.with_name(f".{start}.{platform.node()}.{process or os.getpid()}.part")


def remove_leftovers(folder: Path, recursive: bool = False) -> None:
    """Remove the temporary files in a folder, and those below it, whose process was killed.

    Those of a process that is running stay, and those of other machines: of them nobody here can tell.
    """
    ours = re.compile(rf"\..*\.{re.escape(platform.node())}\.(\d+)\.part", re.DOTALL)
    for file in Path(folder).glob("**/.*.part" if recursive else ".*.part"):
        name = ours.fullmatch(file.name)
        if name and not _is_running(int(name[1])):
            with suppress(OSError):  # another run may have removed it, and what cannot be removed does no harm
                file.unlink()


def _is_running(process: int) -> bool:
    try:
        with suppress(PermissionError):  # it is another user's
            os.kill(process, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    return True


# -- locks -------------------------------------------------------------------------------------------

_held: set[int] = set()  # open folders


def lock(folder: Path) -> int | None:
    """Make a folder and let no other process of this machine lock it, until :func:`unlock` or the end of this process.

    Nothing is written for it. Where the file system knows no locks, there are none.

    Returns:
        What :func:`unlock` takes, or None if another process has the folder.

    Raises:
        InputError: if the folder cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {describe(error)}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(file)
            return None
    _held.add(file)
    return file


def unlock(file: int) -> None:
    _held.discard(file)
    os.close(file)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """:func:`lock` a folder.

    Raises:
        InputError: if another process has it; the message tells ``what`` that does: "another training".
    """
    file = lock(folder)
    if file is None:
        raise InputError(f"{folder}: {what} is writing there; wait for its end, or choose another folder")
    try:
        yield
    finally:
        unlock(file)


def _let_go() -> None:
    """In a new child process: a lock shall end with the process that took it, whatever becomes of its children."""
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
