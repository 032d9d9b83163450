"""Work on many pictures at once, in order, and with few of them in memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm


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
