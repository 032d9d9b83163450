"""What the benchmarks share: contenders take turns within one run, so that they meet the same machine.

A figure is the median of its turns, a ratio the median of the turns' ratios. Seconds of two machines cannot be
compared, so every report names the machine, and a ratio is always to something that ran beside.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from dataset.errors import InputError, describe


def take_turns(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each contender returns in each of its turns; a turn before the first does not count."""
    measured = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contend in contenders.items():
            value = contend()
            if turn:
                measured[name].append(value)
    return measured


def timed(step: Callable[[], object], device, steps: int = 1) -> float:
    """Seconds of a step, the mean of several; what it starts on a GPU is waited for."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / steps


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the turns' ratios."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def chosen_device(name: str | None):
    """The ``torch.device`` of ``--device``: what is asked for, by default a GPU where there is one.

    Raises:
        InputError: if it is asked for and is not there.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA GPU is available; leave the flag out to compute on the CPU")
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def machine(device) -> str:
    """The processor that all contenders share, and the GPU if they compute on one."""
    from solver.machine import device_name, processor

    return device_name(device) + (f" beside {processor()}" if device.type == "cuda" else "")


def random_file(path: Path, height: int, width: int, count: int) -> Path:
    """An HDF5 file of random pictures whose HR has these sides, as ``dataset/div2h5.py`` makes it.

    Raises:
        InputError: if it cannot be written.
    """
    import h5py
    import numpy as np
    from tqdm import tqdm

    from dataset.div2h5 import chunk

    hr = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pictures = {"HR": hr} | {f"X{scale}": hr[: height // scale, : width // scale] for scale in (2, 3, 4)}
    try:
        with h5py.File(path, "w") as file:
            for index in tqdm(range(count), desc="random pictures", disable=None):
                for group, pixels in pictures.items():
                    file.create_dataset(f"{group}/{index}", data=pixels, chunks=chunk(pixels))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {describe(error)}") from None
    return path
