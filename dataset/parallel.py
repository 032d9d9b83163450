"""Work on many pictures at once, in order, and with few of them in memory."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from .errors import InputError


def in_order(function: Callable, items: Iterable, workers: int = 0) -> Iterator:
    """``map(function, items)`` in ``workers`` threads (0: one per core).

    Threads are enough, because decoding, encoding and resizing run outside Python's lock. At most two
    results per thread are ahead of the reader. After an error no further item is begun.
    """
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque()
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def with_progress(function: Callable, items: Sequence, workers: int = 0, **bar) -> Iterator:
    """As :func:`in_order`, with a progress bar: ``bar`` is what tqdm is given."""
    yield from tqdm(in_order(function, items, workers), total=len(items), disable=None, **bar)


def do_all(function: Callable, items: Sequence, workers: int = 0, **bar) -> None:
    """Call a function for every item, as :func:`with_progress` does."""
    for _ in with_progress(function, items, workers, **bar):
        pass


def good_ones(
    function: Callable, items: Sequence, workers: int = 0, skip_bad: bool = False, **bar
) -> Iterator[tuple[Any, Any]]:
    """Every item with what the function makes of it, as :func:`with_progress` does; bad ones are told and left out.

    Raises:
        InputError: at the end, if some were bad and they were not to be skipped, or all were.
    """

    def tried(item):
        try:
            return function(item)
        except InputError as error:
            return error

    bad = []
    for item, made in zip(items, with_progress(tried, items, workers, **bar)):
        if not isinstance(made, InputError):
            yield item, made
            continue
        bad.append(made)
        if skip_bad:
            tqdm.write(f"skipped: {made}", file=sys.stderr)
    told = [*dict.fromkeys(map(str, bad))]
    if len(told) == 1 and (len(bad) == len(items) or not skip_bad):
        raise bad[0]
    for line in [] if skip_bad else told:
        print(f"bad: {line}", file=sys.stderr)
    if bad and not skip_bad:
        raise InputError(f"{len(bad)} of {len(items)} cannot be used, see above; --skip_bad leaves them out")
    if bad and len(bad) == len(items):
        raise InputError(f"none of {len(items)} can be used, see above")
