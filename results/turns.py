"""What the benchmarks share: contenders take turns within one run, so that they meet the same machine.

A figure is the median of its turns, a ratio the median of the turns' ratios. Seconds of two machines cannot be
compared, so every report names the machine, and a ratio is always to something that ran beside.
"""

import statistics
import time

import torch

from solver.machine import device_name, processor


def take_turns(contenders: dict, rounds: int, device: torch.device, steps: int = 1) -> dict:
    """Seconds of a step of each contender in each of its turns; a turn before the first does not count.

    Args:
        contenders: a name -> a step; what it starts on a GPU is waited for.
        steps: of each turn.
    """
    seconds = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, step in contenders.items():
            start = _now(device)
            for _ in range(steps):
                step()
            seconds[name].append((_now(device) - start) / steps)
    return {name: turns[1:] for name, turns in seconds.items()}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the turns' ratios."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def machine(device: torch.device) -> str:
    """The processor that all contenders share, and the GPU if they compute on one."""
    return device_name(device) + (f" beside {processor()}" if device.type == "cuda" else "")
