"""SIGTERM and Ctrl-C, noted and obeyed where nothing is half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(Exception):
    """A stop was asked for."""


class StopRequest:
    """``signal``: the number of the signal that asked this process to stop, or None."""

    signal: int | None = None

    def obey(self) -> None:
        """End the process as the signal would have, if there was one."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(128 + self.signal)


@contextmanager
def noting(request: StopRequest) -> Iterator[None]:
    """Note SIGTERM and Ctrl-C in ``request`` instead of stopping in the middle of something."""

    def note(signum, frame):
        request.signal = signum

    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
