"""One file, fetched whole or not at all, from a server that may be slow, wrong, or not what it seems."""

import contextlib
import fcntl
import hashlib
import http.client
import io
import os
import re
import socket
import ssl
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from tqdm import tqdm

from .errors import InputError, describe
from .files import opened

TRIES, PAUSE, TIMEOUT = 4, 1.0, 30.0  # per file; seconds before the second try, then doubled; seconds
LONGEST_PAUSE = 120.0  # seconds, if a server asks for one
LEAST_SPEED, WINDOW = 1000, 30.0  # bytes a second, seconds over which they are counted
LARGEST = 64 << 20  # bytes of a file, unless a caller knows of larger ones
HEADERS = 1 << 20  # bytes that may come beside those of the file
LONGEST_REASON = 200  # characters, of those that a server gives

REMOVE = "remove it, or keep it elsewhere, and run again"


def fetch(
    url: str, path: Path, digest: tuple[str, str] | None = None, progress: bool = False, largest: int = LARGEST
) -> bool:
    """Fetch one file, unless it is there. It gets its name when it is whole and as published.

    What has arrived is kept in ``<name>.part`` and continued, now or at the next run.

    Args:
        url: the address.
        path: the file to make.
        digest: an algorithm of hashlib and the hexadecimal digest that the file must have, if known.
        progress: show a bar.
        largest: the bytes that it may have at most.

    Returns:
        Whether it was fetched.

    Raises:
        InputError: if the file cannot be had from there, the connection fails too often, another command is fetching
            it, it cannot be written, or its digest is another, be it fetched or there already.
    """
    try:
        if is_there(path):
            with opened(path) as file:
                if wrong := _wrong(file, digest):
                    raise InputError(f"{path}: {wrong}; {REMOVE}")
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with _part_of(path) as file:
            _receive(address(url), file, largest, progress)
            if wrong := _wrong(file, digest):
                _empty(file)
                raise InputError(f"{url}: {wrong}; run again, or get it elsewhere and save it as {path}")
            file.flush()
            os.replace(file.name, path)
        return True
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {describe(error)}") from None


def address(url: str) -> str:
    """An address, if it is one that can be asked.

    Raises:
        InputError: if it is not.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # of brackets, of the port
        good = False
    if not good or not re.fullmatch("[!-~]+", url):
        like = "one is like https://host:8000/path, without spaces, accents, user name and password"
        raise InputError(f"{re.sub('//.*@', '//…@', url)}: is no address to fetch from; {like}")
    return url


def is_there(path: Path) -> bool:
    """Whether anything has this name.

    Raises:
        InputError: if it is a link to nowhere.
    """
    if path.exists():
        return True
    if path.is_symlink():
        raise InputError(f"{path}: is a link to nowhere; {REMOVE}")
    return False


def alone(file: BinaryIO, path: Path) -> None:
    """Lock an open file against other commands and threads, until it is closed or this process ends.

    Raises:
        InputError: if another has it, or has just finished with it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, PermissionError, FileNotFoundError):
        free = False
    except OSError:  # the file system knows no locks
        free = True
    if not free:
        raise InputError(f"{path}: another command is fetching it; wait for its end")


@contextmanager
def _part_of(path: Path) -> Iterator[BinaryIO]:
    """What has arrived of a file, open for this command alone; it goes away if it is left empty."""
    part = path.with_name(f"{path.name}.part")
    with contextlib.suppress(FileNotFoundError):
        there = part.lstat()
        if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:  # another file would be written through a link
            raise InputError(f"{part}: is not the beginning of a download; {REMOVE}")
    with open(part, "a+b", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666)) as file:
        alone(file, part)
        try:
            yield file
        finally:
            if not os.fstat(file.fileno()).st_size:
                part.unlink(missing_ok=True)


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _wrong(file: BinaryIO, digest: tuple[str, str] | None) -> str:
    """What is wrong with a file that should have this digest; nothing if it has it, or none is known."""
    if digest is None:
        return ""
    algorithm, wanted = digest
    file.seek(0)
    found = hashlib.file_digest(file, algorithm).hexdigest()
    return f"is not the published file: its {algorithm.upper()} is {found}, not {wanted}" if found != wanted else ""


# -- asking ------------------------------------------------------------------------------------------


def _receive(url: str, file: BinaryIO, largest: int, progress: bool) -> None:
    """Receive a file, or the rest of it, to the end, in several tries where another one can help."""
    for attempt in range(1, TRIES + 1):
        try:
            return _ask(url, file, largest, progress)
        except _NETWORK as error:
            reason = describe(getattr(error, "reason", None) or error)[:LONGEST_REASON]
            if not _may_pass(error):
                code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
                raise InputError(f"{url}: {code}{reason}; {_by_hand(file)}") from None
            if attempt == TRIES:
                raise InputError(f"{url}: cannot be fetched: {reason}; run again to go on") from None
            time.sleep(max(PAUSE * 2 ** (attempt - 1), min(_pause_asked_for(error), LONGEST_PAUSE)))


_NETWORK = (ConnectionError, http.client.HTTPException, urllib.error.URLError, ValueError, OverflowError)


def _ask(url: str, file: BinaryIO, largest: int, progress: bool) -> None:
    """Ask once for a file, or the rest of it; raises ConnectionError if the answer is not all of that."""
    there = file.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    handlers = _Http(largest + HEADERS), _Https(largest + HEADERS), _Redirects()
    try:
        answer = urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not there:
            raise
        if error.headers["Content-Range"] == f"bytes */{there}":
            return  # it is whole already
        _empty(file)
        raise ConnectionError("what was there already was longer") from None
    with answer:
        begin, total = _extent(answer)
        if unfit := _unfit(answer, total, largest):
            raise InputError(f"{url}: {unfit[:LONGEST_REASON]}; {_by_hand(file)}")
        if begin != there:
            there = 0
            _empty(file)
            if begin != 0:
                raise ConnectionError("another part was sent than was asked for")
        hidden = None if progress else True
        bar = tqdm(total=total, initial=there, unit="B", unit_scale=True, desc=Path(file.name).stem, disable=hidden)
        with bar:
            while there <= largest and (block := answer.read1(1 << 20)):
                there += file.write(block)
                bar.update(len(block))
    if there > largest:
        _empty(file)
        raise InputError(f"{url}: sends more than the {largest:,} bytes that it can have; {_by_hand(file)}")
    if total not in (None, there):
        raise ConnectionError(f"cut off after {there:,} of {total:,} bytes")


def _extent(answer: http.client.HTTPResponse) -> tuple[int | None, int | None]:
    """Where in the file what is sent begins, and how many bytes the whole file has, as far as that is told."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0, answer.length
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if not told:
        return None, None
    begin, total = int(told[1]), told[2]
    return begin, int(total) if total != "*" else answer.length and begin + answer.length


def _unfit(answer: http.client.HTTPResponse, total: int | None, largest: int) -> str:
    """What is wrong with an answer before its content comes, or nothing."""
    coding = answer.headers.get("Content-Encoding", "identity")
    if answer.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
        return f"{answer.status} {answer.reason}"
    if answer.headers.get_content_type() == "text/html":
        return "is a web page, no file"
    if coding.lower() != "identity":
        return f"comes compressed ({coding}), which was not asked for"
    if total and total > largest:
        return f"has {total:,} bytes, more than the {largest:,} that it can have"
    return ""


def _by_hand(file: BinaryIO) -> str:
    return f"if it has moved, get it by hand and save it as {Path(file.name).with_suffix('')}"


def _may_pass(error: Exception) -> bool:
    """Whether asking again can help; not if the address, the name or the certificate is at fault."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLError):
        return isinstance(cause, ssl.SSLEOFError)
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN
    return isinstance(cause, OSError | http.client.HTTPException) and not isinstance(cause, http.client.InvalidURL)


def _pause_asked_for(error: Exception) -> float:
    """The seconds that a busy server's Retry-After asks for (RFC 9110, 10.2.3: a number or a date), or 0."""
    asked = getattr(error, "headers", {}).get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    with contextlib.suppress(ValueError, OverflowError):
        return parsedate_to_datetime(asked).timestamp() - time.time()
    return 0.0


# -- watching what comes -----------------------------------------------------------------------------


class _Watched(io.RawIOBase):
    """All that a server sends, from its first byte: it may not be too slow, and ends after so many bytes."""

    def __init__(self, raw: io.RawIOBase, most: int) -> None:
        self._raw, self._left = raw, most
        self._since, self._came = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if self._left <= 0:
            return 0
        try:
            count = self._raw.readinto(buffer)
        except OSError as error:
            raise ConnectionError(describe(error)) from None
        self._left -= count
        self._came += count
        passed = time.monotonic() - self._since
        if passed > WINDOW:
            if self._came < LEAST_SPEED * passed:
                raise ConnectionError(f"slower than {LEAST_SPEED:,} bytes a second")
            self._since, self._came = time.monotonic(), 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, most: int, *args, **options) -> None:
        super().__init__(*args, **options)
        self.fp = io.BufferedReader(_Watched(self.fp.detach(), most))


class _Watching:
    """Gives urllib's handlers answers that are watched."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.answer = partial(_Answer, most)

    def do_open(self, connection: Callable, request: urllib.request.Request, **options):
        def watched(*args, **settings) -> http.client.HTTPConnection:
            made = connection(*args, **settings)
            made.response_class = self.answer
            return made

        return super().do_open(watched, request, **options)


class _Http(_Watching, urllib.request.HTTPHandler):
    pass


class _Https(_Watching, urllib.request.HTTPSHandler):
    pass


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, answer, code, message, headers, url):
        """Only to addresses that we would ask ourselves, and without reading the page that comes with it."""
        answer.close()
        return super().redirect_request(request, answer, code, message, headers, address(url))
