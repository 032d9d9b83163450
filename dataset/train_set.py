"""Random patches for training, cut from what ``--train_data_path`` leads to, see :mod:`dataset.sources`.

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
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from . import sources
from .errors import InputError
from .sources import Source

CACHES = ("none", "ram", "device")
WEIGHTINGS = {"uniform": 0, "root": 0.5, "area": 1}  # power of a picture's area that it is drawn by
ROTATIONS = {0: 0b000, 90: 0b101, 180: 0b011, 270: 0b110}  # degrees anticlockwise -> turn, see _Drawn
FLIPS = {0: 0b00, 1: 0b10, 2: 0b01, 3: 0b11}  # none, left-right, up-down, both -> turn


class Batch(NamedTuple):
    """Aligned patches in the channels-last memory format: RGB, or luma as BT.601 has it (16 black, 235 white).

    Attributes:
        scale: the factor between the two; of LR that is enlarged already, the one that it was enlarged by, if known.
        lr: (N, C, h, w), C 3 or 1: uint8 in 0..255, or float32 of about 0..1, as the source has it.
        hr: (N, C, scale * h, scale * w), uint8 or float32; if LR is enlarged already, of its size or the centre of it.
    """

    scale: int
    lr: torch.Tensor
    hr: torch.Tensor


class TrainSet:
    """The patches of one scale, or of several for a blind network.

    Args:
        path: where they come from, or two such, HR's and LR's, see :mod:`dataset.sources`.
        scale: that of all batches, or 0: every step then draws one of ``scales``.
        patch_size: side of the LR patch in pixels; the HR patch is ``scale`` times as wide. Patches that the source has
            as such are taken whole.
        batch_size: patches per step, of all processes together.
        seed: any non-negative number.
        weighting: draw each picture equally often ("uniform"), or in proportion to its "area" or the "root" of it.
        cache: read patches from the file ("none"), from all pictures kept in memory ("ram", shared by
            all workers), or cut them on ``device`` from all pictures kept there ("device", which on the CPU
            is "ram").
        device: where batches are on their way to. Only ``cache="device"`` puts them there already.
        scales: what scale 0 stands for; of a source that has one of them alone, batches are of this one.
        scale_shares: how many of a blind network's steps are of each scale, in any unit; None: as many of each.
        factors: that pictures are shrunk by, each of which makes a copy of every picture: 1 is the picture itself.
        rotations: some of :data:`ROTATIONS`, each as likely as any other; None: all, but none of whole patches.
        flips: some of :data:`FLIPS` likewise, done after the rotation.

    Attributes:
        scales: the scales that batches come in.
        source: where they come from.
        skipped: names of the pictures smaller than the patch at one of the scales, left out there.

    Raises:
        InputError: for a missing, truncated or foreign file, a scale that it does not have, a patch larger
            than every picture, or one that cannot be turned so.
    """

    def __init__(
        self,
        path: str | Path | Sequence[Path],
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
        factors: Sequence[float] = (1.0,),
        rotations: Sequence[int] | None = None,
        flips: Sequence[int] | None = None,
    ):
        if cache not in CACHES or weighting not in WEIGHTINGS:
            known = f"cache is one of {CACHES} and weighting one of {tuple(WEIGHTINGS)}"
            raise ValueError(f"{known}, not {cache!r} and {weighting!r}")
        if patch_size < 1 or batch_size < 1:
            raise ValueError(f"patch_size and batch_size are at least 1, not {patch_size} and {batch_size}")
        if scale_shares is not None and (scale or len(scale_shares) != len(scales) or min(scale_shares) <= 0):
            raise ValueError(f"scale_shares are {len(scales)} numbers above 0, for scale 0 alone, not {scale_shares}")
        asked = (scale,) if scale else tuple(scales)
        self.source = sources.find([Path(path)] if isinstance(path, str | Path) else path, asked, factors)
        self.scales, self.path = self.source.scales, self.source.path
        shares = dict(zip(asked, scale_shares or [1] * len(asked)))
        total = sum(shares[scale] for scale in self.scales)
        self._shares = None if scale_shares is None else [shares[scale] / total for scale in self.scales]
        self.patch_size, self.batch_size = patch_size, batch_size
        self.seed, self.weighting, self.device = seed, weighting, torch.device(device)
        self.cache = "ram" if cache == "device" and self.device.type == "cpu" else cache
        self.skipped: list[str] = []
        self._process, self._read = 0, None  # what is open must not be shared by two processes
        self._turns = self._allowed_turns(rotations, flips)
        self._choices = {s: self._choice(s) for s in self.scales}
        groups = dict.fromkeys(group for s in self.scales for group in self.source.groups(s))
        self._pixels = {}
        if cache != "none":
            place = self.device if self.cache == "device" else torch.device("cpu")
            self._pixels = {group: _load(self.source, group, place) for group in groups}
            # Pixel number, within its group's flat tensor, at which each picture begins.
            areas = {group: self.source.sizes[group].prod(axis=1) for group in groups}
            self._starts = {group: np.append(0, np.cumsum(area)) for group, area in areas.items()}

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
        lr, hr = (np.empty(*patches) for patches in self._patches(drawn.scale, len(drawn.picture)))
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

    def _allowed_turns(self, rotations: Sequence[int] | None, flips: Sequence[int] | None) -> np.ndarray:
        """Turns, see :class:`_Drawn`, each as often as rotations and flips together make it."""
        whole = self.source.whole
        rotations = rotations if rotations is not None else [0] if whole else [*ROTATIONS]
        flips = flips if flips is not None else [0] if whole else [*FLIPS]
        turns = np.array(sorted(ROTATIONS[rotation] ^ FLIPS[flip] for rotation in rotations for flip in flips))
        for sides in self.source.patches(self.scales[0], self.patch_size):
            if sides[0] != sides[1] and (turns & 4).any():
                patches = f"has patches of {sides[1]}x{sides[0]} pixels"
                raise InputError(f"{self.path}: {patches}, which are not turned by 90 degrees: give --rotations 0 180")
        return turns

    def _choice(self, scale: int) -> Callable[[np.ndarray], np.ndarray]:
        """A way from random numbers in [0, 1) to pictures that hold a patch; notes those that do not."""
        group = self.source.groups(scale)[0]
        sizes = self.source.sizes[group]
        if self.source.whole:
            return lambda numbers: (numbers * len(sizes)).astype(np.int64)
        fits = (sizes >= self.patch_size).all(axis=1)
        pictures = np.flatnonzero(fits)
        if not len(pictures):
            height, width = sizes[sizes.min(axis=1).argmax()]
            patch = f"a patch of {self.patch_size}x{self.patch_size} pixels"
            largest = f"every picture in {group} (the largest has {width}x{height})"
            raise InputError(f"{self.path}: {patch} is larger than {largest}: choose a smaller one")
        skipped = self.source.names(np.flatnonzero(~fits))
        self.skipped += [name for name in dict.fromkeys(skipped) if name not in self.skipped]
        weights = sizes[pictures].prod(axis=1) ** WEIGHTINGS[self.weighting]
        cumulated = np.cumsum(weights) / weights.sum()

        def choose(numbers: np.ndarray) -> np.ndarray:
            chosen = np.searchsorted(cumulated, numbers, side="right")
            return pictures[np.minimum(chosen, len(pictures) - 1)]

        return choose

    def _draw(self, step: int, rank: int, world_size: int, scale: int | None = None) -> "_Drawn":
        random = np.random.default_rng([self.seed, step])
        drawn = int(random.choice(self.scales, p=self._shares)) if len(self.scales) > 1 else self.scales[0]
        scale = scale or drawn
        numbers = random.random((self.batch_size, 4))  # row i: patch i of the global batch
        numbers = numbers[rank * self.batch_size // world_size : (rank + 1) * self.batch_size // world_size]
        picture = self._choices[scale](numbers[:, 0])
        sides, _ = self.source.patches(scale, self.patch_size)
        places = self.source.sizes[self.source.groups(scale)[0]][picture] - sides + 1
        turn = self._turns[(numbers[:, 3] * len(self._turns)).astype(np.int64)]
        return _Drawn(scale, picture, (numbers[:, 1:3] * places).astype(np.int64), turn)

    def _patches(self, scale: int, count: int) -> Iterator[tuple[tuple[int, ...], np.dtype]]:
        """Shapes and types of LR and HR patches in memory, (N, height, width, C)."""
        for group, sides in zip(self.source.groups(scale), self.source.patches(scale, self.patch_size)):
            yield (count, *sides, self.source.channels), self.source.dtype(group)

    def _cut(self, drawn: "_Drawn", lr: np.ndarray, hr: np.ndarray) -> None:
        """Read the patches one by one into ``lr`` and ``hr``, flipped and turned, in the order of the file."""
        order = np.argsort(drawn.picture)
        corner = drawn.corner[order]
        places = (order, drawn.picture[order], corner, corner * self.source.factor(drawn.scale), drawn.turn[order])
        lr_group, hr_group = self.source.groups(drawn.scale)
        lr_sides, hr_sides = lr.shape[1:3], hr.shape[1:3]
        with self.source.readable():
            read = self._reader()
            for number, picture, lr_corner, hr_corner, turn in zip(*map(np.ndarray.tolist, places)):
                _turn(read(lr_group, picture, *lr_corner, *lr_sides), turn, lr[number])
                _turn(read(hr_group, picture, *hr_corner, *hr_sides), turn, hr[number])

    def _gather(self, drawn: "_Drawn") -> Iterator[torch.Tensor]:
        """The same LR and HR patches, each gathered at once on the device: (N, height, width, C)."""
        up_down, left_right, transposed = drawn.turn & 1, drawn.turn & 2, drawn.turn & 4
        groups, sides = self.source.groups(drawn.scale), self.source.patches(drawn.scale, self.patch_size)
        for group, (height, across), factor in zip(groups, sides, (1, self.source.factor(drawn.scale))):
            top, left = (drawn.corner * factor).T
            width = self.source.sizes[group][drawn.picture, 1]
            # A flip or turn is another first pixel and another step down and to the right.
            down, right = np.where(up_down, -1, 1), np.where(left_right, -1, 1)
            down, right = np.where(transposed, down, down * width), np.where(transposed, right * width, right)
            first = self._starts[group][drawn.picture] + top * width + left
            first -= (height - 1) * np.minimum(down, 0) + (across - 1) * np.minimum(right, 0)
            numbers = torch.from_numpy(np.stack([first, down, right])).to(self.device)
            channels = self.source.channels
            first, down, right = channels * numbers[:, :, None]  # (N, 1), counted in values now
            rows = first + torch.arange(height, device=self.device) * down  # (N, height)
            columns = (torch.arange(across, device=self.device) * right)[:, :, None]
            columns = columns + torch.arange(channels, device=self.device)  # (N, width, C)
            index = rows[:, :, None] + columns.flatten(1)[:, None]
            yield self._pixels[group].index_select(0, index.flatten()).view(-1, height, across, channels)

    def _reader(self) -> sources.Read:
        """This process's way to a part of a picture."""
        if self._process != os.getpid():
            self._read = _in_memory(self.source, self._pixels) if self._pixels else self.source.reader()
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
        largest = sum(_bytes(*patches) for patches in train_set._patches(max(train_set.scales), train_set.batch_size))
        self.slots = [mmap.mmap(-1, largest) for _ in range(ahead + 3)]
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
        for shape, dtype in self.train_set._patches(scale, count):
            yield memory[start : start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
            start += _bytes(shape, dtype)


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """What patches take in a slot, so that what follows begins at a multiple of 64."""
    return -(-math.prod(shape) * dtype.itemsize // 64) * 64


def _in_memory(source: Source, pixels: dict[str, torch.Tensor]) -> sources.Read:
    """The way to parts of pictures that are kept in memory, as a source's reader is to those in a file."""
    pictures = {group: _pictures(source, group, flat.numpy()) for group, flat in pixels.items()}
    return lambda group, number, top, left, height, width: pictures[group][number][
        top : top + height, left : left + width
    ]


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
    """Patches as they lie in memory, (N, height, width, C), as a batch."""
    return Batch(scale, lr.permute(0, 3, 1, 2), hr.permute(0, 3, 1, 2))


def _leave_signals_to_the_main_process(worker: int) -> None:
    """A signal to all (Ctrl-C, the end of a batch job) would end a worker first, and that the main process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _load(source: Source, group: str, device: torch.device) -> torch.Tensor:
    """All pixels of a group, picture after picture, as one flat tensor."""
    dtype = source.dtype(group)
    count = source.channels * int(source.sizes[group].prod(axis=1).sum())
    try:
        pixels = torch.empty(count, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device=device)
    except RuntimeError:  # also torch.OutOfMemoryError
        much = f"the {count * dtype.itemsize / 1e9:.1f} GB of its {group} pictures"
        raise InputError(f"{source.path}: {much} do not fit into {device} memory: use another cache") from None
    start = 0
    with source.readable():
        for piece in source.pieces(group):
            pixels[start : start + piece.size] = torch.from_numpy(piece).flatten()
            start += piece.size
    return pixels


def _pictures(source: Source, group: str, flat: np.ndarray) -> Sequence[np.ndarray]:
    """The pictures of a group, (H, W, C), as views of its flat array."""
    sizes = source.sizes[group]
    if source.whole:
        return flat.reshape(-1, *sizes[0], source.channels)
    ends = np.cumsum(source.channels * sizes.prod(axis=1)).tolist()
    parts = zip([0, *ends], ends, sizes.tolist())
    return [flat[start:end].reshape(*size, source.channels) for start, end, size in parts]
