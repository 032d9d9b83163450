"""Random patches for training, cut from the HDF5 file that ``div2h5.py`` makes.

Which patches a step sees depends on the seed and the step alone: a resumed run sees exactly those
that it would have seen, whatever the number of workers and processes.
"""

import math
import mmap
import os
import signal
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .errors import InputError
from .hyperslabs import Hyperslabs, open_file, picture_sizes, readable

CACHES = ("none", "ram", "device")
WEIGHTINGS = {"uniform": 0, "root": 0.5, "area": 1}  # power of a picture's area that it is drawn by


class Batch(NamedTuple):
    """Aligned patches, RGB in 0..255, in the channels-last memory format (as the file has them).

    Attributes:
        scale: the factor between the two.
        lr: (N, 3, p, p) uint8.
        hr: (N, 3, scale * p, scale * p) uint8.
    """

    scale: int
    lr: torch.Tensor
    hr: torch.Tensor


class TrainSet:
    """The patches of one scale, or of several for a blind network.

    Args:
        path: an HDF5 file with groups HR, X2, X3, … of uint8 (H, W, 3) data sets "0", "1", ….
        scale: that of all batches, or 0: every step then draws one of ``scales``.
        patch_size: side of the LR patch in pixels; the HR patch is ``scale`` times as wide.
        batch_size: patches per step, of all processes together.
        seed: any non-negative number.
        weighting: draw each picture equally often ("uniform"), or in proportion to its "area" or the "root" of it.
        cache: read patches from the file ("none"), from the whole file kept in memory ("ram", shared by
            all workers), or cut them on ``device`` from the whole file kept there ("device", which on the CPU
            is "ram").
        device: where batches are on their way to. Only ``cache="device"`` puts them there already.
        scales: what scale 0 stands for.
        scale_shares: how many of a blind network's steps are of each scale, in any unit; None: as many of each.

    Attributes:
        scales: the scales that batches come in.
        skipped: names of the pictures smaller than the patch at one of the scales, left out there.

    Raises:
        InputError: for a missing, truncated or foreign file, a scale that it does not have, or a patch larger
            than every picture.
    """

    def __init__(
        self,
        path: str | Path,
        scale: int,
        patch_size: int,
        batch_size: int,
        *,
        seed: int = 0,
        weighting: str = "uniform",
        cache: str = "none",
        device: str | torch.device = "cpu",
        scales: tuple[int, ...] = (2, 3, 4),
        scale_shares: Sequence[float] | None = None,
    ):
        if cache not in CACHES or weighting not in WEIGHTINGS:
            known = f"cache is one of {CACHES} and weighting one of {tuple(WEIGHTINGS)}"
            raise ValueError(f"{known}, not {cache!r} and {weighting!r}")
        if patch_size < 1 or batch_size < 1:
            raise ValueError(f"patch_size and batch_size are at least 1, not {patch_size} and {batch_size}")
        if scale_shares is not None and (scale or len(scale_shares) != len(scales) or min(scale_shares) <= 0):
            raise ValueError(f"scale_shares are {len(scales)} numbers above 0, for scale 0 alone, not {scale_shares}")
        self.path = Path(path)
        self.scales = (scale,) if scale else tuple(scales)
        self._shares = None if scale_shares is None else np.array(scale_shares) / sum(scale_shares)
        self.patch_size, self.batch_size = patch_size, batch_size
        self.seed, self.weighting, self.device = seed, weighting, torch.device(device)
        self.cache = "ram" if cache == "device" and self.device.type == "cpu" else cache
        self.skipped: list[str] = []
        self._process, self._read = 0, None  # an open HDF5 file must not be shared by two processes
        with readable(self.path), open_file(self.path) as file:
            self._sizes = picture_sizes(file, self.path, self.scales)
            self._choices = {s: self._choice(file, s) for s in self.scales}
            self._pixels = {}
            if cache != "none":
                place = self.device if self.cache == "device" else torch.device("cpu")
                self._pixels = {group: _load(file[group], sizes, place) for group, sizes in self._sizes.items()}
        # Pixel number, within its group's flat tensor, at which each picture begins.
        self._starts = {group: np.append(0, np.cumsum(sizes.prod(axis=1))) for group, sizes in self._sizes.items()}

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """The batch of a step (from 0), which depends on the seed and the step alone.

        Of ``world_size`` processes, ``rank`` gets its contiguous part of the one global batch.

        Raises:
            InputError: if the file can no longer be read.
        """
        return self.batch_of(None, step, rank, world_size)

    def batch_of(self, scale: int | None, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """As :meth:`batch`, but of this scale, whichever the step draws; if it draws this one, the batch is the same.

        Raises:
            InputError: if the file can no longer be read.
            KeyError: for a scale that is none of ``scales``.
        """
        drawn = self._draw(step, rank, world_size, scale)
        if self.cache == "device":
            return _batch(drawn.scale, *self._gather(drawn))
        lr, hr = (np.empty(shape, np.uint8) for shape in self._shapes(drawn.scale, len(drawn.picture)))
        self._cut(drawn, lr, hr)
        return _batch(drawn.scale, torch.from_numpy(lr), torch.from_numpy(hr))

    def loader(
        self, first_step: int, last_step: int, workers: int = 0, rank: int = 0, world_size: int = 1, prefetch: int = 4
    ) -> Iterator[Batch]:
        """The batches of steps ``first_step`` … ``last_step - 1`` in order.

        With ``workers``, that many background processes make them, each up to ``prefetch`` batches ahead, in
        pinned memory if ``device`` is a GPU. With ``cache="device"``, and on systems that cannot fork, this
        process makes them all the same.

        Raises:
            InputError: if the file can no longer be read.
        """
        if workers == 0 or self.cache == "device" or not hasattr(os, "fork"):
            for step in range(first_step, last_step):
                yield self.batch(step, rank, world_size)
            return
        slots = _Slots(self, rank, world_size, workers * prefetch)
        made = DataLoader(
            slots,
            sampler=slots.tasks(first_step, last_step),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=prefetch,
            multiprocessing_context="fork",
            worker_init_fn=_leave_signals_to_the_main_process,
        )
        for outcome in made:
            if isinstance(outcome, InputError):
                raise outcome
            yield slots.take(*outcome)

    def _choice(self, file: h5py.File, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """The pictures that hold a patch, and their cumulated probabilities; notes those that do not."""
        sizes = self._sizes[f"X{scale}"]
        fits = (sizes >= self.patch_size).all(axis=1)
        pictures = np.flatnonzero(fits)
        if not len(pictures):
            height, width = sizes[sizes.min(axis=1).argmax()]
            patch = f"a patch of {self.patch_size}x{self.patch_size} pixels"
            largest = f"every picture in X{scale} (the largest has {width}x{height})"
            raise InputError(f"{self.path}: {patch} is larger than {largest}: choose a smaller one")
        for index in np.flatnonzero(~fits):
            name = str(file["HR"][str(index)].attrs.get("name", index))
            if name not in self.skipped:
                self.skipped.append(name)
        weights = sizes[pictures].prod(axis=1) ** WEIGHTINGS[self.weighting]
        return pictures, np.cumsum(weights) / weights.sum()

    def _draw(self, step: int, rank: int, world_size: int, scale: int | None = None) -> "_Drawn":
        random = np.random.default_rng([self.seed, step])
        drawn = int(random.choice(self.scales, p=self._shares)) if len(self.scales) > 1 else self.scales[0]
        scale = scale or drawn
        numbers = random.random((self.batch_size, 4))  # row i: patch i of the global batch
        numbers = numbers[rank * self.batch_size // world_size : (rank + 1) * self.batch_size // world_size]
        pictures, cumulated = self._choices[scale]
        chosen = np.searchsorted(cumulated, numbers[:, 0], side="right")
        picture = pictures[np.minimum(chosen, len(pictures) - 1)]
        places = self._sizes[f"X{scale}"][picture] - self.patch_size + 1
        return _Drawn(scale, picture, (numbers[:, 1:3] * places).astype(np.int64), (numbers[:, 3] * 8).astype(np.int64))

    def _shapes(self, scale: int, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of LR and HR patches in memory, as in the file: (N, side, side, 3)."""
        return tuple((count, side, side, 3) for side in (self.patch_size, self.patch_size * scale))

    def _cut(self, drawn: "_Drawn", lr: np.ndarray, hr: np.ndarray) -> None:
        """Read the patches one by one into ``lr`` and ``hr``, flipped and turned."""
        with readable(self.path):
            for group, factor, patches in ((f"X{drawn.scale}", 1, lr), ("HR", drawn.scale, hr)):
                side, corners = patches.shape[1], (drawn.corner * factor).tolist()
                places = zip(patches, drawn.picture.tolist(), corners, drawn.turn.tolist())
                for target, picture, (top, left), turn in places:
                    _turn(self._reader()(group, picture, top, left, side), turn, target)

    def _gather(self, drawn: "_Drawn") -> Iterator[torch.Tensor]:
        """The same LR and HR patches, each gathered at once on the device: (N, side, side, 3)."""
        up_down, left_right, transposed = drawn.turn & 1, drawn.turn & 2, drawn.turn & 4
        for group, factor in ((f"X{drawn.scale}", 1), ("HR", drawn.scale)):
            side, (top, left) = self.patch_size * factor, (drawn.corner * factor).T
            width = self._sizes[group][drawn.picture, 1]
            # A flip or turn is another first pixel and another step down and to the right.
            down, right = np.where(up_down, -1, 1), np.where(left_right, -1, 1)
            down, right = np.where(transposed, down, down * width), np.where(transposed, right * width, right)
            first = self._starts[group][drawn.picture] + top * width + left
            first -= (side - 1) * (np.minimum(down, 0) + np.minimum(right, 0))
            numbers = torch.from_numpy(np.stack([first, down, right])).to(self.device)
            first, down, right = 3 * numbers[:, :, None]  # (N, 1), counted in bytes now
            there = torch.arange(side, device=self.device)
            rows = first + there * down  # (N, side)
            columns = (there * right)[:, :, None] + torch.arange(3, device=self.device)  # (N, side, 3)
            index = rows[:, :, None] + columns.flatten(1)[:, None]
            yield self._pixels[group].index_select(0, index.flatten()).view(-1, side, side, 3)

    def _reader(self) -> Callable[[str, int, int, int, int], np.ndarray]:
        """This process's way to a square of a picture: group, picture, top, left, side -> (side, side, 3)."""
        if self._process != os.getpid():
            self._read = _in_memory(self._pixels, self._sizes) if self._pixels else Hyperslabs(self.path)
            self._process = os.getpid()
        return self._read


class _Drawn(NamedTuple):
    """Which patches a batch has: of which pictures, from where in LR, and flipped and turned how.

    Attributes:
        scale: the batch's scale.
        picture: (N,) numbers of pictures.
        corner: (N, 2) top and left in LR pixels.
        turn: (N,) three bits: 4 transpose rows and columns, then 1 flip up-down, 2 flip left-right.
    """

    scale: int
    picture: np.ndarray
    corner: np.ndarray
    turn: np.ndarray


class _Slots(Dataset):
    """What the loader's workers work on: (step, slot) -> a batch, cut into memory that all processes share.

    Sending batches from process to process, or copying them, would take as long as cutting them. So a batch
    lies in its slot until the last tensor on it is gone; then the slot is free for another. Beside a plain
    DataLoader of whole batches, two workers deliver 1.6 times as many patches from the file (x2, 64 of 64x64,
    and 16 of 24x24) and 1.8 and 2.4 times as many from memory (2 cores of a Xeon with AMX, family 6 model 207).

    There are three slots more than batches on their way (``ahead``): for the one that has come, the one before it,
    which its user may still hold, and the next.
    """

    def __init__(self, train_set: TrainSet, rank: int, world_size: int, ahead: int):
        self.train_set, self.rank, self.world_size = train_set, rank, world_size
        shapes = train_set._shapes(max(train_set.scales), train_set.batch_size)
        self.slots = [mmap.mmap(-1, sum(math.prod(shape) for shape in shapes)) for _ in range(ahead + 3)]
        self.free = list(range(len(self.slots)))

    def tasks(self, first_step: int, last_step: int) -> Iterator[tuple[int, int]]:
        """In the main process: steps, each with a free slot; the last freed is the likeliest in the cache."""
        for step in range(first_step, last_step):
            yield step, self.free.pop()

    def __getitem__(self, task: tuple[int, int]) -> tuple[int, int, int] | InputError:
        """In a worker: make the batch; returns its slot, scale and size, or the error to raise elsewhere."""
        step, slot = task
        drawn = self.train_set._draw(step, self.rank, self.world_size)
        memory = np.frombuffer(self.slots[slot], np.uint8)
        try:
            self.train_set._cut(drawn, *self._patches(memory, drawn.scale, len(drawn.picture)))
        except InputError as error:
            return error
        return slot, drawn.scale, len(drawn.picture)

    def take(self, slot: int, scale: int, count: int) -> Batch:
        """In the main process: the batch in a slot, or a copy if it is the last slot that was free."""
        memory = np.frombuffer(self.slots[slot], np.uint8)
        weakref.finalize(memory, self.free.append, slot).atexit = False
        patches = [torch.from_numpy(patches) for patches in self._patches(memory, scale, count)]
        if self.train_set.device.type == "cuda":
            patches = [tensor.pin_memory() for tensor in patches]
        elif not self.free:
            patches = [tensor.clone() for tensor in patches]
        return _batch(scale, *patches)

    def _patches(self, memory: np.ndarray, scale: int, count: int) -> Iterator[np.ndarray]:
        start = 0
        for shape in self.train_set._shapes(scale, count):
            yield memory[start : start + math.prod(shape)].reshape(shape)
            start += math.prod(shape)


def _in_memory(pixels: dict[str, torch.Tensor], sizes: dict[str, np.ndarray]) -> Callable:
    """The way to squares of pictures that are kept in memory, as :class:`Hyperslabs` is to those in a file."""
    pictures = {group: [one.numpy() for one in _pictures(flat, sizes[group])] for group, flat in pixels.items()}
    return lambda group, index, top, left, side: pictures[group][index][top : top + side, left : left + side]


def _turn(patch: np.ndarray, turn: int, target: np.ndarray) -> None:
    """Write a patch to ``target`` flipped and turned, see :class:`_Drawn`."""
    flips = turn & 3
    if turn & 4:  # flipped first, row by row: to transpose what is not in the cache takes twice as long
        patch = cv2.flip(patch, (1, 0, -1)[flips - 1]) if flips else patch.copy()
        cv2.transpose(patch, target)
    elif flips:
        cv2.flip(patch, (0, 1, -1)[flips - 1], target)
    else:
        target[...] = patch


def _batch(scale: int, lr: torch.Tensor, hr: torch.Tensor) -> Batch:
    """Patches as they lie in memory, (N, side, side, 3), as a batch."""
    return Batch(scale, lr.permute(0, 3, 1, 2), hr.permute(0, 3, 1, 2))


def _leave_signals_to_the_main_process(worker: int) -> None:
    """A signal to all (Ctrl-C, the end of a batch job) would end a worker first, and that the main process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _load(group: h5py.Group, sizes: np.ndarray, device: torch.device) -> torch.Tensor:
    """All pixels of a group, picture after picture, as one flat uint8 tensor."""
    count = 3 * int(sizes.prod(axis=1).sum())
    try:
        pixels = torch.empty(count, dtype=torch.uint8, device=device)
    except RuntimeError:  # also torch.OutOfMemoryError
        much = f"the {count / 1e9:.1f} GB of its {group.name[1:]} pictures"
        raise InputError(f"{group.file.filename}: {much} do not fit into {device} memory: use another cache") from None
    for index, picture in enumerate(_pictures(pixels, sizes)):
        picture.copy_(torch.from_numpy(group[str(index)][:]))
    return pixels


def _pictures(flat: torch.Tensor, sizes: np.ndarray) -> list[torch.Tensor]:
    """The pictures of a group, (H, W, 3), as views of its flat tensor."""
    parts = flat.split((3 * sizes.prod(axis=1)).tolist())
    return [part.view(*size, 3) for part, size in zip(parts, sizes.tolist())]
