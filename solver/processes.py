"""One process or many: who computes where, and how they start, agree and stop.

A run is one process, or one for each GPU of this machine (``--num_gpu``), or whatever ``torchrun``
starts on any number of machines. What ``torchrun`` tells its processes in the environment (``RANK``,
``WORLD_SIZE``, ...) is told to the processes started here too, so there is one way to join.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from dataset.errors import InputError, describe

from . import machine

_PATIENCE = timedelta(minutes=5)  # until the leading process answers
_GRACE = 30  # seconds that the others are given to end when one process has failed


@dataclass(frozen=True)
class Group:
    """The processes of a run, seen from one of them."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process is the one that validates, writes and prints."""
        return self.rank == 0

    def share(self, thing):
        """What the leading process has, given to all."""
        if self.size > 1:
            box = [thing]
            dist.broadcast_object_list(box, device=self.device if self.device.type == "cuda" else None)
            thing = box[0]
        return thing

    def gather(self, thing) -> list:
        """What every process has, in their order, given to all. All wait for each other here."""
        things = [thing]
        if self.size > 1:
            things = [None] * self.size
            dist.all_gather_object(things, thing)
        return things

    def same(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give all processes the leading one's tensors, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean of a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values


def together(work: Callable[[Group], int], num_gpu: int, device: str | None = None) -> int:
    """Do a command's ``work`` in one process or in all of its group; returns the exit status.

    Args:
        work: is told its group and returns the exit status.
        num_gpu: GPUs of this machine to use, each by a process of its own; 0 is the CPU.
        device: what ``--device`` asks for; None is a CUDA GPU, or the CPU where there is none.

    Raises:
        InputError: for bad input, in the leading process of each machine; the others tell theirs with their number.
    """
    inside = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    kind = device_kind(num_gpu, device)
    if not inside:
        check_gpus(num_gpu)
        if num_gpu > 1:
            return spawn(num_gpu, sys.orig_argv)
    group = join(kind)
    try:
        return work(group)
    except InputError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        print(f"process {group.rank} of {group.size}: error: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if not is_lost(error):
            raise
        if group.size == 1:
            told = "a process that reads patches was killed; --resume goes on, maybe with less --num_workers"
            raise InputError(told) from None
        print(f"process {group.rank} of {group.size}: another process has ended, and tells why", file=sys.stderr)
        return 2
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process of the run has ended."""
    return bool(re.search(r"gloo|NCCL|[Cc]onnection (closed|reset)|DataLoader worker", str(error)))


def check_gpus(wanted: int) -> None:
    """Raise InputError if more GPUs are wanted than there are (one and none: the CPU is taken)."""
    there = torch.cuda.device_count()
    if wanted > max(there, 1):
        raise InputError(f"--num_gpu {wanted}: this machine has {there} CUDA GPU{'s' if there != 1 else ''}")


def device_kind(num_gpu: int, device: str | None = None) -> str:
    """The kind of device that the flags of a command ask for, see :func:`together`.

    Raises:
        InputError: if it is not there, or they contradict each other.
    """
    if device is None:
        return "cuda" if num_gpu and torch.cuda.is_available() else "cpu"
    if num_gpu == 0 and device not in ("auto", "cpu"):
        raise InputError(f"--num_gpu 0 is the CPU, and --device {device} is not; leave one of them out")
    kind = machine.chosen(device) if num_gpu else "cpu"
    if num_gpu > 1 and kind != "cuda":
        raise InputError(
            f"--num_gpu {num_gpu}: several GPUs are CUDA's, and --device {device} is {kind}; leave one out"
        )
    return kind


def join(kind: str) -> Group:
    """Join the run's other processes, if the environment speaks of any, and choose the device, of this kind."""
    size = _told("WORLD_SIZE", 1, range(1, 2**20))
    rank, local = _told("RANK", 0, range(size)), _told("LOCAL_RANK", 0, range(size))
    if size > 1 and kind not in ("cuda", "cpu"):
        raise InputError(f"--device {kind}: one process alone computes there; start it without torchrun")
    device = torch.device(kind)
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            have = f"process {local} of this machine has no GPU, it has {torch.cuda.device_count()}"
            raise InputError(f"{have}: start fewer, or compute on the CPU with --num_gpu 0")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if size > 1:
        try:
            store = next(rendezvous("env://", timeout=_PATIENCE))[0]
            # The others wait while one validates, or enlarges a film: longer than the usual ten minutes. When one ends,
            # torchrun and :func:`spawn` end the others.
            backend, timeout = "nccl" if device.type == "cuda" else "gloo", timedelta(days=30)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        except (OverflowError, RuntimeError, TypeError, ValueError) as error:
            where = ":".join(os.environ.get(name, f"(no {name})") for name in ("MASTER_ADDR", "MASTER_PORT"))
            raise InputError(
                f"process {rank} of {size}: cannot join the others at {where}: {describe(error)}"
            ) from None
    return Group(rank, size, device)


def _told(name: str, default: int, possible: range) -> int:
    """A number of the environment; raises InputError for one that is not possible."""
    text = os.environ.get(name, str(default))
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) not in possible:
        wanted = f"a number from {possible.start} to {possible.stop - 1}"
        raise InputError(f"{name}={text}: is not {wanted}; torchrun sets it, or unset RANK and WORLD_SIZE")
    return int(text)


def spawn(count: int, command: list[str]) -> int:
    """Run a command ``count`` times beside each other as ``torchrun`` would on this machine.

    SIGTERM and SIGINT are passed on. When one fails, the others are ended.

    Returns:
        The exit status of the first that failed, or 0.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children: list[subprocess.Popen] = []
    asked: list[int] = []

    def pass_on(signum, frame):
        asked.append(signum)
        for child in children:
            child.send_signal(signum)

    # Before the first child is there, so that none can be left behind.
    before = {s: signal.signal(s, pass_on) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        for i in range(count):
            if asked:
                break
            environment |= {"RANK": str(i), "LOCAL_RANK": str(i)}
            # A session of their own each: a Ctrl-C of the terminal reaches them once, through us.
            command = [sys.executable, *command[1:]]
            children.append(subprocess.Popen(command, start_new_session=True, env=os.environ | environment))
        if asked:  # between a child's start and its place in the list
            for child in children:
                child.send_signal(asked[0])
        status = _wait(children)
        return status or (128 + asked[0] if len(children) < count else 0)
    finally:
        for child in children:
            child.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: list[subprocess.Popen]) -> int:
    deadline = None
    failed = 0
    while None in [child.poll() for child in children]:
        failed = failed or next((c.returncode for c in children if c.returncode), 0)
        if failed and deadline is None:
            deadline = time.monotonic() + _GRACE
            for child in children:
                child.terminate()
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(0.1)
    failed = failed or next((c.returncode for c in children if c.returncode), 0)
    if failed == -signal.SIGKILL:
        print("a process of this run was killed, maybe because memory was full", file=sys.stderr)
    return failed if failed >= 0 else 128 - failed
