"""Image in, super-resolved image out: any size, exact, in as much memory as is given."""

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from dataset import bicubic, images
from dataset.errors import InputError
from dataset.images import Picture
from dataset.streams import Bands
from dataset.transparency import covered
from model.ops import Margins, Network, trim

from .. import background, machine
from ..graph import Graph
from . import tiles
from .backends.exported import Exported
from .backends.torch import Torch
from .memory import KEPT, Budget, freed
from .tiles import Grid, Span, Strips

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Rows and columns of the result, and the output there: float32 (1, 3, h, w), about [0, 1].
Part = tuple[slice, slice, torch.Tensor]

VIEWS = [(turned, flips) for turned in (False, True) for flips in ((), (2,), (3,), (2, 3))]  # of a picture: rows
# as columns or not, then mirrored along these axes

_HOST = torch.device("cpu")
# LR pixels, or bytes of their features, up to which the CPU is as fast with a picture in one piece as with strips; of
# a strip, half of that is enough.
_WHOLE, _WHOLE_BYTES = 2**16, 200_000_000
_OUT_OF_MEMORY = re.compile("can't allocate memory|MPS backend out of memory")  # of RuntimeErrors of no other type
_HALO = 16  # LR pixels around tiles of a network whose reach is the whole picture
_SLACK = 1.3  # what libraries need beside the features, found by measuring resident size


class Sampler:
    """Super-resolve pictures with a network.

    Args:
        net: a network of this project, in evaluation mode, or an exported one. In ``fp32`` it is used as it is, and
            may be trained further between calls; otherwise it is copied.
        scale: one that the network has.
        device: where to compute.
        tile: how pictures are cut: ``auto``, into the tiles that are computed fastest in the memory;
            ``none``, not at all; a number, tiles of at most so many LR pixels a side. The result is the same. A network
            whose reach is the whole picture is cut only where a number insists, and then differs.
        memory: bytes that the whole process may take, or, on a GPU, the network there; None for half of
            what is free.
        precision: of the layers that do not face the picture, a name in :data:`PRECISIONS` or ``auto``, see
            :func:`solver.machine.precision_for`. The picture itself, less and plus its mean, stays in fp32.
        compile: ``torch.compile`` the network: a minute at the start.
        self_ensemble: take the mean over the eight flips and turns of a picture: eight times the work
            for some 0.15 dB (Timofte et al., CVPR 2016).
        shave: LR pixels of surroundings that a tile gets at least; exactness needs no more than the
            network's own reach, which it gets in any case.
        backend: what computes, one of :data:`solver.arguments.BACKENDS`; ``auto`` is torch for a network, and
            for an exported one OpenVINO, or ONNX Runtime where that alone is installed.

    Raises:
        InputError: if the device cannot compute in this precision, or the backend not this network.
    """

    def __init__(
        self,
        net: Network | Graph,
        scale: int,
        device: str | torch.device = "cpu",
        *,
        tile: str | int = "auto",
        memory: int | None = None,
        precision: str = "fp32",
        compile: bool = False,
        self_ensemble: bool = False,
        shave: int = 0,
        backend: str = "auto",
    ) -> None:
        self.scale = scale
        self.device = torch.device(device)
        self.tile = tile
        self.self_ensemble = self_ensemble
        self._most_pixels = math.inf  # of a window, once the device has run out of memory
        self.precision, note = precision, ""
        self.exported: dict[str, str] | None = None  # of an exported network: what computes which file
        if isinstance(net, Network):
            self.precision, note = machine.precision_for(precision, self.device)
        if note:
            print(note, file=sys.stderr)
        if self.precision == "fp16" and self.device.type == "cpu" and not _cpu_has_fp16():
            raise InputError("--precision fp16: this CPU does not compute in fp16; take bf16")
        if self.precision == "int8" and isinstance(net, Network):
            raise InputError("--precision int8: is of exported networks; make one with solver/export.py --to int8")
        if self.device.type == "cuda":
            machine.exact_fp32()
        reach = net.reach(scale)
        if reach is None and tile not in ("auto", "none"):
            print("this network sees the whole picture at once: in tiles its result is another", file=sys.stderr)
            reach = _HALO
        self._undivided = reach is None
        if self._undivided:
            self.tile = "none"
        self.halo = max(math.ceil(reach or 0), shave)
        if isinstance(net, Graph):
            self._backend = Exported(net, backend, self.device, self.precision, compile)
            self.precision, self.exported = net.said.precision, self._backend.told
        elif backend in ("auto", "torch"):
            self._backend = Torch(net, scale, self.device, PRECISIONS[self.precision], compile)
        else:
            raise InputError(f"--backend {backend}: computes exported networks; make one with solver/export.py")
        self.budget = Budget(memory, self.device)

    def __call__(self, rgb: np.ndarray, rounding: str = "truncate") -> np.ndarray:
        """(H, W, 3) RGB of 8 or 16 bits, or float in [0, 1] -> (scale * H, scale * W, 3) of the same type.

        ``rounding`` is how the output becomes integers: ``truncate``, as the published protocol
        does, or ``round`` to the nearest.
        """
        height, width = rgb.shape[:2]
        result = np.empty((self.scale * height, self.scale * width, 3), rgb.dtype)
        for rows, parts in self._bands(rgb, result.nbytes):
            _fill(result[rows], rows.start, parts, rounding)
        return result

    def bands(self, rgb: np.ndarray, rounding: str = "truncate") -> Iterator[np.ndarray]:
        """The same result from top to bottom, in bands of full width, as they are made.

        For results that memory cannot hold: only a band or two are in it, and the features of one tile or strip.
        """

        def make() -> Iterator[np.ndarray]:
            for rows, parts in self._bands(rgb):
                band = np.empty((rows.stop - rows.start, self.scale * rgb.shape[1], 3), rgb.dtype)
                _fill(band, rows.start, parts, rounding)
                yield band

        yield from background.beside(make())

    def outputs(self, rgb: np.ndarray) -> Iterator[Part]:
        """The network's output part by part, before it becomes integers.

        Yields:
            Rows and columns of the result, and the output there, float32 (1, 3, h, w), about [0, 1].
        """
        for _, parts in self._bands(rgb):
            yield from parts

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result of a picture of so many pixels."""
        return self.scale * height, self.scale * width

    def enlarge(self, picture: Picture, rounding: str = "truncate") -> Picture:
        """Super-resolve a picture; alpha is enlarged by bicubic interpolation beside it.

        (Bicubic keeps what is opaque or transparent exactly so, which a network would not.) Colours that are hidden
        do not shine into what is seen (:mod:`dataset.transparency`). Of a grey picture the three channels of the
        result are averaged.
        """
        rgb = self(covered(picture), rounding)
        alpha = None if picture.alpha is None else bicubic.enlarge(picture.alpha, self.scale)
        metadata = picture.metadata.enlarged(*rgb.shape[:2], self.scale)
        return Picture(_averaged(rgb) if picture.grey else rgb, alpha, picture.grey, metadata=metadata)

    def enlarge_in_bands(self, picture: Picture, rounding: str = "truncate") -> Bands:
        """The same, made while it is written: see :mod:`dataset.streams`."""
        height, width = picture.rgb.shape[:2]

        def bands() -> Iterator[Picture]:
            top = 0
            for rgb in self.bands(covered(picture), rounding):
                bottom = top + len(rgb)
                alpha = picture.alpha
                if alpha is not None:
                    alpha = _enlarged_rows(alpha, self.scale, top, bottom)
                yield Picture(_averaged(rgb) if picture.grey else rgb, alpha, picture.grey)
                top = bottom

        size, kind = (self.scale * height, self.scale * width), (picture.grey, picture.alpha is not None)
        return Bands(*size, picture.rgb.dtype, *kind, bands(), picture.metadata.enlarged(*size, self.scale))

    def grid(self, height: int, width: int, held: int = 0) -> Grid:
        """How a picture of this size is cut.

        Args:
            height, width: in LR pixels.
            held: bytes of the memory that pictures take meanwhile.
        """
        if self.tile == "none":
            return tiles.by_pixels(height, width, self.halo, height * width)
        if self.tile != "auto":
            return tiles.by_side(height, width, self.halo, self.tile)
        pixels = min(self.budget.features(held) / self.bytes_per_pixel, self._most_pixels)
        return tiles.by_pixels(height, width, self.halo, pixels)

    def strips(self, height: int, width: int, held: int = 0) -> Strips | None:
        """How a picture of this size flows through the network, or None if it is cut into tiles, maybe one.

        Args:
            height, width: in LR pixels.
            held: bytes of the memory that pictures take meanwhile.
        """
        if not self._rolls:
            return None
        room = self.budget.features(held)
        whole = max(_WHOLE, _WHOLE_BYTES / self.bytes_per_pixel)
        if height * width <= min(room / self.bytes_per_pixel, self._most_pixels, whole):
            return None
        pixels = (room - self._backend.kept_bytes * width) / self.bytes_per_pixel / KEPT
        return tiles.strips(height, width, self.halo, min(pixels, self._most_pixels, whole / 2))

    def too_large(self, size: int) -> bool:
        """Whether a picture of so many bytes becomes one that is better written in bands."""
        return size * self.scale**2 > self.budget.waiting / 2

    @property
    def _rolls(self) -> bool:
        """Whether pictures flow through the network in strips."""
        return self.tile == "auto" and not self.self_ensemble and self._backend.flows

    @property
    def bytes_per_pixel(self) -> float:
        """What the network takes, by the LR pixel."""
        return _SLACK * self._backend.bytes_per_pixel

    def _bands(self, rgb: np.ndarray, held: int = 0) -> Iterator[tuple[slice, Iterable[Part]]]:
        """Rows of the result from top to bottom, and the output for them in parts side by side.

        Args:
            held: bytes that the result takes meanwhile.
        """
        self._backend.refresh()
        height, width = rgb.shape[:2]
        strips = self.strips(height, width, rgb.nbytes + held)
        if strips:
            yield from self._strips(rgb, strips, held)
            return
        grid = self.grid(height, width, rgb.nbytes + held)
        for row in grid.rows:
            yield row.core(self.scale), self._row_of_tiles(rgb, row, grid.columns)

    def _strips(self, rgb: np.ndarray, strips: Strips, held: int) -> Iterator[tuple[slice, list[Part]]]:
        """The output strip by strip; where there is too little memory, thinner ones make what is still to make."""
        height, width = rgb.shape[:2]
        done = 0  # rows of the result
        while done < self.scale * height:
            first = max(0, done // self.scale - self.halo)
            top = self.scale * first
            flows = [self._flow(rgb, first, column.window, strips.rows) for column in strips.columns]
            try:
                with freed(keep=True):
                    while done < self.scale * height:
                        outputs = _next_of_each(flows)
                        known = max(0, done - top)  # rows that an earlier try has made
                        rows = slice(top + known, top + outputs[0].shape[2])
                        top = rows.stop
                        if rows.start < rows.stop:
                            done = rows.stop
                            yield (
                                rows,
                                [
                                    (rows, column.core(self.scale), self._core(output, known, column))
                                    for column, output in zip(strips.columns, outputs)
                                ],
                            )
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._do_with_less("strip", strips.columns[0].window_length, strips.rows)
                thinner = self.strips(height, width, rgb.nbytes + held)
                if thinner is None or thinner.pixels >= strips.pixels:
                    raise InputError(f"{self.device}: too little memory for a strip of one row") from None
                strips = thinner

    def _core(self, output: torch.Tensor, above: int, column: Span) -> torch.Tensor:
        left, right = (self.scale * margin for margin in column.margins)
        return trim(output, (above, 0, left, right)).float()

    def _flow(self, rgb: np.ndarray, first: int, columns: slice, rows: int) -> Iterator[torch.Tensor]:
        """The output for columns of a picture from row ``first`` on, so many rows at a time."""
        return self._backend.flow(
            (images.to_tensor(rgb[top : top + rows, columns], self.device) for top in range(first, len(rgb), rows))
        )

    def _row_of_tiles(self, rgb: np.ndarray, row: Span, columns: list[Span]) -> Iterator[Part]:
        for column in columns:
            for part_row, part_column, output in self._tile(rgb, row, column):
                yield part_row.core(self.scale), part_column.core(self.scale), output

    def _tile(self, rgb: np.ndarray, row: Span, column: Span) -> Iterator[tuple[Span, Span, torch.Tensor]]:
        """One tile, or the parts of it that the device has memory for."""
        if row.window_length * column.window_length <= self._most_pixels:
            output = self._try(rgb, row, column)
            if output is not None:
                yield row, column, output
                return
        height, width = rgb.shape[:2]
        halves = [] if self._undivided else tiles.halves(row, column, self.halo, height, width)
        if not halves:
            what = "one piece, which this network needs" if self._undivided else "tiles of one pixel"
            raise InputError(f"{self.device}: too little memory for a picture of {width}x{height} pixels in {what}")
        for half in halves:
            yield from self._tile(rgb, *half)

    def _try(self, rgb: np.ndarray, row: Span, column: Span) -> torch.Tensor | None:
        """The output for a tile's core, or None if there is too little memory for it."""
        try:
            with self._freed(row.window_length * column.window_length):
                return self._compute(rgb[row.window, column.window], (*row.margins, *column.margins))
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        self._do_with_less("tile", column.window_length, row.window_length)
        if self.device.type != "cpu":
            getattr(torch, self.device.type).empty_cache()
        return None

    def _do_with_less(self, piece: str, width: int, height: int) -> None:
        """From now on, have pieces at most half as large as one for which the memory was too little."""
        if self._most_pixels == math.inf:
            what = f"{self.device}: out of memory for a {piece} of {width}x{height} LR pixels"
            print(f"{what}; going on with smaller ones", file=sys.stderr)
        self._most_pixels = width * height / 2

    def _freed(self, pixels: int) -> AbstractContextManager:
        """What becomes of freed memory while so many LR pixels are computed, see memory.freed."""
        if self.device != _HOST:
            return nullcontext()
        return freed(keep=KEPT * pixels * self.bytes_per_pixel < self.budget.room)

    @torch.inference_mode()
    def _compute(self, window: np.ndarray, margins: Margins) -> torch.Tensor:
        """(H, W, 3) pixels -> float32 (1, 3, h, w), without the margins."""
        x = images.to_tensor(window, self.device)
        if not self.self_ensemble:
            return self._backend.network(margins)(x).float()
        return sum(self._compute_view(x, margins, *view) for view in VIEWS) / len(VIEWS)

    def _compute_view(self, x: torch.Tensor, margins: Margins, turned: bool, flips: tuple[int, ...]) -> torch.Tensor:
        """The output for a mirrored picture (``flips``: along which axes; ``turned``: rows as columns),
        mirrored back."""
        top, bottom, left, right = margins
        if 2 in flips:
            top, bottom = bottom, top
        if 3 in flips:
            left, right = right, left
        margins = (left, right, top, bottom) if turned else (top, bottom, left, right)
        x = x.flip(flips)
        output = self._backend.network(margins)(x.mT if turned else x).float()
        return (output.mT if turned else output).flip(flips)


def _cpu_has_fp16() -> bool:
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_fp16_supported()


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def _to_host(pixels: torch.Tensor) -> Callable[[], np.ndarray]:
    """Start copying a tensor to the host; the function returned waits for it."""
    if pixels.device.type != "cuda":
        return pixels.cpu().numpy
    host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
    host.copy_(pixels, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(pixels.device))

    def wait() -> np.ndarray:
        copied.synchronize()
        return host.numpy()

    return wait


def _fill(band: np.ndarray, top: int, parts: Iterable[Part], rounding: str) -> None:
    """Put the output for a band, (h, W, 3) pixels from row ``top`` of the result on, into it as integers."""
    begun = (
        (slice(rows.start - top, rows.stop - top), columns, _to_host(images.quantise(output, band.dtype, rounding)))
        for rows, columns, output in parts
    )
    # A GPU is given its next tile before the last one's arrival is waited for.
    for rows, columns, arrival in background.ahead(begun, depth=1):
        band[rows, columns] = arrival()


@torch.inference_mode()
def _next_of_each(flows: list[Iterator[torch.Tensor]]) -> list[torch.Tensor]:
    return [next(flow) for flow in flows]


def _enlarged_rows(alpha: np.ndarray, scale: int, top: int, bottom: int) -> np.ndarray:
    """Rows of the bicubic enlargement; a cubic reaches two LR rows to either side."""
    first, last = max(0, top // scale - 3), min(len(alpha), -(-bottom // scale) + 3)
    return bicubic.enlarge(alpha[first:last], scale)[top - scale * first : bottom - scale * first]


def _averaged(rgb: np.ndarray) -> np.ndarray:
    """The same array with its three channels averaged."""
    for row in rgb:
        row[:] = np.round(row.mean(axis=1, dtype=np.float32))[:, None]
    return rgb
