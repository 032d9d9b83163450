"""How much memory there is, and how much a network wants."""

import ctypes
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dataset.errors import InputError
from solver.memory import available, resident

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


_SHARE = 0.5  # of the free memory that is taken where none is named
_LEAST = 2**27  # bytes for features that are taken where less seems free: with less, too much is computed twice
_USED = 0.6  # of what the limit leaves once a picture is there: libraries keep some of what they took meanwhile
_LEAST_ROOM = 160 * 2**20  # bytes beside the program with which pictures flow through a network


def free(device: torch.device) -> float:
    """Bytes that can still be allocated on a device: what the system calls available, or the GPU free."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "xpu":
        return torch.xpu.get_device_properties(device).total_memory - torch.xpu.memory_allocated(device)
    if device.type == "mps":  # which shares the machine's memory
        return min(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory(), available())
    return available()


class Budget:
    """What may be taken of the memory for pictures and, beside them, for a network's features.

    A quarter is for pictures that wait. One that needs more is worked on alone, and may take three quarters.

    Args:
        limit: bytes that the whole process may take or, on a GPU, the network there; None for half of what is free.
        device: where the network computes.
    """

    def __init__(self, limit: int | None, device: torch.device) -> None:
        self.limit, self.on_cpu, self.device = limit, device.type == "cpu", device
        self.program = resident()  # bytes without any picture
        self.least = self.program + _LEAST_ROOM

    @property
    def room(self) -> float:
        """Bytes of this machine's memory that pictures and, on the CPU, features may take."""
        if self.limit is None:
            return _SHARE * available()
        return max(self.limit - self.program, self.limit / 8)

    @property
    def waiting(self) -> float:
        """Bytes that pictures may take which wait for the network, or to be written."""
        return self.room / 4

    def features(self, held: int) -> float:
        """Bytes that features may take while pictures take so many."""
        if self.on_cpu:
            room = self.room
            unused = math.inf if self.limit is None else _USED * (self.limit - resident())
            room = max(min(room - held - room / 4, unused), room / 4)
        else:
            room = _SHARE * free(self.device) if self.limit is None else self.limit
        return max(room, _LEAST) if self.limit is None else room

    def take_the_least(self) -> str:
        """Raise a limit that is too low for the program and any picture; returns a line about it, or nothing."""
        if self.limit is None or not self.on_cpu or self.limit >= self.least:
            return ""
        self.limit = self.least
        program = f"the program alone takes {self.program / 2**20:.0f}M"
        return f"--memory: is less than it takes to work at all; {program}, so {self.least / 2**20:.0f}M are taken"

    def check_picture(self, path: Path, decoding: int, beside: int) -> None:
        """Raise InputError if the memory is too little for a picture that is worked on alone.

        Args:
            path: the picture.
            decoding: bytes that it takes while it is decoded, when it may have all the room.
            beside: bytes that it takes beside features.
        """
        needed = max(decoding, int(beside * 4 / 3))
        room = available() if self.limit is None else self.room
        if needed > room:
            there = f"and there are {max(room, 0) / 2**20:.0f}M for it"
            enough = max(self.least, self.program + needed) / 2**20 + 1
            more = "" if self.limit is None else f"; give --memory {enough:.0f}M"
            raise InputError(f"{path}: needs about {needed / 2**20:.0f}M of memory at once, {there}{more}")


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
