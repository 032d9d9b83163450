"""What happens when the user's input is bad: one clear line, exit status 2, no traceback."""

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class InputError(Exception):
    """Bad input. Its message is one line, whatever names it holds: which file or flag, what is wrong, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class Parser(argparse.ArgumentParser):
    """A command line on which a wrong flag is one line and exit status 2, without the usage; ``~`` is one's home."""

    def __init__(self, description: str, formatter_class=argparse.ArgumentDefaultsHelpFormatter) -> None:
        super().__init__(description=description, formatter_class=formatter_class)

    def parse_known_args(self, args=None, namespace=None):
        found, rest = super().parse_known_args(args, namespace)
        for name, value in vars(found).items():
            setattr(found, name, [*map(_at_home, value)] if isinstance(value, list) else _at_home(value))
        return found, rest

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {shown(message)} (see --help)\n")


def _at_home(value):
    """A path that begins with ``~`` in one's home, where the shell has not put it there; anything else as it is."""
    with suppress(RuntimeError):  # of somebody who is not known
        return value.expanduser() if isinstance(value, Path) else value
    return value


def run(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and leave the process with its exit status.

    0 or what ``main`` returns; 2 and one line on standard error for an :class:`InputError`, and where the file system
    or the memory refuses; 130 after Ctrl-C, with what its KeyboardInterrupt says, and 143 after SIGTERM, both of which
    unwind the stack, so nothing half-made stays.
    """

    def terminate(signum, frame):
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, terminate)
    # What is closed must not become a file of ours, into which a library would tell its warnings.
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(spare)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where few characters are known, the others become escapes
            stream.reconfigure(errors="backslashreplace")
    program = Path(sys.argv[0]).name
    try:
        status = main() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone: `... | head`
        _say_no_more(sys.stdout)
        status = 141
    except (InputError, OSError, MemoryError, RuntimeError) as error:
        known = "Symlink loop|can't allocate memory|recursion depth"  # a link to itself, a path of a thousand folders
        if isinstance(error, RuntimeError) and not re.search(known, str(error)):
            raise
        where = getattr(error, "filename", None)
        line = f"{f'{where}: ' if where is not None else ''}{describe(error)}"
        with suppress(OSError):
            print(f"{program}: error: {shown(line)}", file=sys.stderr)
        if isinstance(error, OSError):
            _say_no_more(sys.stdout)
        status = 2
    except KeyboardInterrupt as stop:
        print(f"\n{program}: interrupted{f'; {stop}' * bool(str(stop))}", file=sys.stderr)
        status = 130
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing of ours is left to unwind
    sys.exit(status)


def _say_no_more(stream) -> None:
    """What a stream could not take is not tried again at the end, if it was the stream that refused."""
    with suppress(OSError, ValueError, AttributeError):
        stream.flush()
        return
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def shown(text: object) -> str:
    """Text, as a path, as one line of a terminal: what would move the cursor, or is no character, as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def describe(error: BaseException) -> str:
    """An exception as the end of an error line: its text without newlines, or its type."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return shown(" ".join(str(error).split())) or type(error).__name__
