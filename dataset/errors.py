"""What happens when the user's input is bad: one clear line, exit status 2, no traceback."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path


class InputError(Exception):
    """Bad input. The message is one line: which file or flag, what is wrong, what to do."""


class Parser(argparse.ArgumentParser):
    """A command line on which a wrong flag is one line and exit status 2, without the usage."""

    def __init__(self, description: str, formatter_class=argparse.ArgumentDefaultsHelpFormatter) -> None:
        super().__init__(description=description, formatter_class=formatter_class)

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def run(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and leave the process with its exit status.

    0 or what ``main`` returns; 2 and one line on standard error for an :class:`InputError`, and where the file system
    or the memory refuses; 130 after Ctrl-C and 143 after SIGTERM, both of which unwind the stack, so nothing half-made
    stays.
    """

    def terminate(signum, frame):
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, terminate)
    program = Path(sys.argv[0]).name
    try:
        status = main() or 0
    except BrokenPipeError:  # the reader of our output has gone: `... | head`
        sys.stderr.close()
        status = 141
    except (InputError, OSError, MemoryError) as error:
        where = getattr(error, "filename", None)
        print(f"{program}: error: {f'{where}: ' if where else ''}{describe(error)}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


def describe(error: BaseException) -> str:
    """An exception as the end of an error line: its text without newlines, or its type."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
