"""How much memory there is, and how much a network wants."""

import ctypes
import os
import re
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

KEPT = 3.5  # times the memory that features need, at most: when :func:`freed` keeps it, found by measuring

# Settings of glibc (malloc.h): from which size on freed memory is returned, from which size on a piece is had
# from the system instead of the heap, how many such pieces there may be, and how many heaps.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_RETURN = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**23, _TRIM_THRESHOLD: 2**24}
# What glibc itself arrives at.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}
_LIBRARY = ctypes.CDLL(None)
_GLIBC = hasattr(_LIBRARY, "mallopt") and hasattr(_LIBRARY, "malloc_trim")
_PROBE = 16  # side of the picture on which a network's appetite is measured


def free(device: torch.device) -> int:
    """Bytes that can still be allocated on a device: what the system calls available, or the GPU free."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        return min(int(available[1]) * 1024, _left_to_container())
    except (OSError, TypeError):  # not Linux: half of what is built in
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def resident() -> int:
    """Bytes of memory that this process takes now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the most it has taken so far
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def freed(keep: bool) -> Iterator[None]:
    """Let this process keep the memory that it frees meanwhile for the tensors to come, or return it at once.

    Returned, the system blanks it before it hands it out again: a tenth to a fifth of a network's time on the
    CPU. Kept, a piece does not always fit what is asked for next, so up to :data:`KEPT` times as much is
    taken. Without glibc, whose settings these are, nothing changes.
    """
    _choose(_KEEP if keep else _RETURN)
    try:
        yield
    finally:
        _choose(_USUAL)
        if _GLIBC:
            _LIBRARY.malloc_trim(0)


def one_heap() -> None:
    """Let the threads to come share one heap, the only one that keeps large pieces; for a command's start."""
    _choose({_ARENA_MAX: 1})


def _choose(settings: dict[int, int]) -> None:
    if _GLIBC:
        for setting, value in settings.items():
            _LIBRARY.mallopt(setting, value)


def bytes_per_pixel(network: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> float:
    """The most bytes that a network's features take at any one time, by the LR pixel.

    Found by running it on a small black picture.

    Args:
        network: (1, 3, H, W) in and its output out.
        device: where it computes.
    """
    with _Peak() as watched:
        network(torch.zeros(1, 3, _PROBE, _PROBE, device=device))
    return watched.most / _PROBE**2


class _Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that are made, and alive at the same time, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.now = 0
        self._known = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for value in tree_leaves((args, kwargs)):  # what was there before is not the network's
            if isinstance(value, torch.Tensor):
                self._known.add(value.untyped_storage())
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and (storage := value.untyped_storage()) not in self._known:
                self._known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.most = max(self.most, self.now)
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch would import its compiler (seconds, 160 MB)

    def _free(self, size: int) -> None:
        self.now -= size


def _left_to_container() -> float:
    """What a control group leaves of the memory it allows (Docker and the like), or infinity.

    Of the files that it keeps in memory, those not in use make room when something else wants it.
    """
    group = Path("/sys/fs/cgroup")
    try:
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.M)
        used = int((group / "memory.current").read_text()) - int(cached[1] if cached else 0)
        return int((group / "memory.max").read_text()) - used
    except (OSError, ValueError):
        return float("inf")
