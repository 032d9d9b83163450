"""How a picture is cut into tiles whose results together are exactly the result of the whole.

A pixel of the result depends on LR pixels up to a network's receptive radius away, and the network pads
with zeros at the picture's edge. So a tile is computed on a larger window, its core and a halo of that
radius, and a window never reaches over the picture's edge: there the halo ends and the same zeros
follow. What the core then gets is what it gets from the whole picture, but for rounding.

Where a network can be given a picture strip by strip (:mod:`.backends.rolling`), only its columns have halos.

All windows of a picture have one size, which a compiled network wants. They lie evenly, the first and the
last at the picture's edges, and neighbours share at least two halos.
"""

import math
from dataclasses import dataclass

_TWICE = 1  # rows' worth of work that is done twice, or lost, from one strip to the next


@dataclass(frozen=True)
class Span:
    """One direction of a tile, in LR pixels: its window and the core inside it, ends excluded."""

    start: int
    stop: int
    core_start: int
    core_stop: int

    @property
    def window(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def window_length(self) -> int:
        return self.stop - self.start

    @property
    def margins(self) -> tuple[int, int]:
        """How many pixels of the window lie before and behind its core."""
        return self.core_start - self.start, self.stop - self.core_stop

    def core(self, scale: int) -> slice:
        """Where the core lies in the result."""
        return slice(scale * self.core_start, scale * self.core_stop)


@dataclass(frozen=True)
class Grid:
    """The tiles of a picture: every row with every column."""

    rows: list[Span]
    columns: list[Span]

    @property
    def window_pixels(self) -> int:
        """LR pixels of one window, halo included."""
        return self.rows[0].window_length * self.columns[0].window_length

    @property
    def count(self) -> int:
        """How many tiles the picture has."""
        return len(self.rows) * len(self.columns)

    @property
    def work(self) -> int:
        """LR pixels of all windows together: what the network has to compute."""
        return self.count * self.window_pixels


def window_length(length: int, count: int, halo: int) -> int:
    """The shortest windows that cut ``length`` pixels into ``count`` spans."""
    return math.ceil((length + 2 * halo * (count - 1)) / count)


def most(length: int, halo: int) -> int:
    """The largest number of spans that ``length`` can be cut into with a core of a pixel or more each."""
    return max(1, length - 2 * halo)


def spans(length: int, count: int, halo: int) -> list[Span]:
    """Cut ``length`` pixels into ``count`` spans, 1 to :func:`most`, with windows of one length."""
    window = window_length(length, count, halo)
    starts = [round(i * (length - window) / (count - 1)) for i in range(count)] if count > 1 else [0]
    # Neighbours meet in the middle of what they share, which is at least two halos wide.
    meetings = [(left + window + right) // 2 for left, right in zip(starts, starts[1:])]
    edges = [0, *meetings, length]
    return [Span(start, start + window, *core) for start, core in zip(starts, zip(edges, edges[1:]))]


def by_side(height: int, width: int, halo: int, side: int) -> Grid:
    """Tiles whose cores are at most ``side`` pixels high and wide (at the picture's edge, where a halo
    is saved, that much more)."""
    rows, columns = (
        min(most(length, halo), max(1, math.ceil((length - 2 * halo) / side))) for length in (height, width)
    )
    return Grid(spans(height, rows, halo), spans(width, columns, halo))


def by_pixels(height: int, width: int, halo: int, pixels: float) -> Grid:
    """The tiles with the least work among those whose windows have at most so many pixels.

    Strips or squares, whichever the picture's shape makes cheaper. Where halos alone fill so many pixels,
    the windows are as small as they sensibly get.
    """

    def rows_for(columns: int) -> int:
        room = pixels // window_length(width, columns, halo)  # for a window's height
        if room >= height:
            return 1
        if room <= 2 * halo:
            return most(height, halo)
        return min(math.ceil((height - 2 * halo) / (room - 2 * halo)), most(height, halo))

    def cost(counts: tuple[int, int]) -> tuple[float, int]:
        rows, columns = counts
        window = window_length(height, rows, halo) * window_length(width, columns, halo)
        return max(window, pixels), rows * columns * window

    # Cores narrower than half a halo waste too much to be worth a try.
    columns = range(1, min(most(width, halo), 2 * width // max(halo, 1) + 1) + 1)
    rows, columns = min(((rows_for(n), n) for n in columns), key=cost)
    return Grid(spans(height, rows, halo), spans(width, columns, halo))


@dataclass(frozen=True)
class Strips:
    """How a picture flows through a network (:mod:`.backends.rolling`): in columns side by side, so many rows at a
    time. Rows of neighbouring columns come together."""

    height: int  # of the picture, in LR pixels
    columns: list[Span]
    rows: int

    @property
    def pixels(self) -> int:
        """LR pixels of a column's strip."""
        return self.rows * self.columns[0].window_length

    @property
    def count(self) -> int:
        """How many strips the picture has."""
        return len(self.columns) * math.ceil(self.height / self.rows)


def strips(height: int, width: int, halo: int, pixels: float) -> Strips:
    """The strips with the least work among those that have at most so many pixels, a row at least."""

    def rows_for(columns: int) -> int:
        return max(1, min(height, int(pixels // window_length(width, columns, halo))))

    def cost(columns: int) -> tuple[float, float]:
        rows, window = rows_for(columns), window_length(width, columns, halo)
        return max(rows * window, pixels), columns * window * (1 + _TWICE / rows)

    count = min(range(1, min(most(width, halo), 2 * width // max(halo, 1) + 1) + 1), key=cost)
    return Strips(height, spans(width, count, halo), rows_for(count))


def halves(row: Span, column: Span, halo: int, height: int, width: int) -> list[tuple[Span, Span]]:
    """The two halves of a tile of a (height, width) picture, cut across its longer side.

    None at all if its core is a single pixel.
    """

    def cut(span: Span, length: int) -> list[Span]:
        middle = (span.core_start + span.core_stop) // 2
        cores = ((span.core_start, middle), (middle, span.core_stop))
        return [Span(max(0, start - halo), min(length, stop + halo), start, stop) for start, stop in cores]

    rows, columns = (span.core_stop - span.core_start for span in (row, column))
    if rows == columns == 1:
        return []
    if rows >= columns:
        return [(half, column) for half in cut(row, height)]
    return [(row, half) for half in cut(column, width)]
