"""Work beside the network's: decoding, measuring and encoding pictures in threads.

A network on a GPU leaves the processor free, one on a CPU with many cores leaves some. On a CPU with few, threads
would only take turns with the network, so there everything is done in its own turn.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

_FEW_CORES = 4


class InTurn(Executor):
    """An executor without threads: what it is given is done at once, by the caller."""

    def submit(self, function: Callable, /, *args, **kwargs) -> Future:
        future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def executor(device: str, most: int = 8) -> Executor:
    """At most so many threads to work beside a network on ``cpu`` or ``cuda``, or none if they would be in its way."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device == "cpu" and cores <= _FEW_CORES:
        return InTurn()
    return ThreadPoolExecutor(min(most, max(1, cores // 2)))


def depth(workers: Executor) -> int:
    """How many pieces of work may wait in an executor: enough to keep it busy, few enough for memory."""
    return 0 if isinstance(workers, InTurn) else 2


def ahead(work: Iterable[Future], workers: Executor) -> Iterator[Future]:
    """Futures in their order, the next ones begun before they are asked for.

    Args:
        work: begins a piece of work in ``workers`` whenever it is asked for one.
    """
    begun = deque()
    for future in work:
        begun.append(future)
        if len(begun) > depth(workers):
            yield begun.popleft()
    yield from begun
