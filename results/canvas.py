"""What all figures have in common."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dataset.errors import InputError, shown
from dataset.files import written_whole

INK, ACCENT = "#1b1f24", "#e4572e"
_DPI = 160


def label(name: object, longest: int = 36) -> str:
    """A name as a figure can show it: what the font does not have as an escape, and of a long one both ends."""
    font = get_font(findfont(FontProperties()))
    text = "".join(c if font.get_char_index(ord(c)) else c.encode("unicode_escape").decode() for c in shown(name))
    return text if len(text) <= longest else f"{text[: longest - 12]}...{text[-9:]}"


@contextmanager
def canvas(path: Path, width: float, height: float, **options) -> Iterator[Figure]:
    """A figure of so many inches, written to ``path`` in the path's format at the end.

    Raises:
        InputError: if it is too large, or cannot be written.
    """
    if max(width, height) * _DPI >= 2**16:
        raise InputError(f"{path}: would have {width:.0f}x{height:.0f} inches; show fewer pictures or weights")
    style = {"font.family": "sans-serif", "font.size": 8, "text.color": INK, "pdf.fonttype": 42}
    style["text.parse_math"] = False  # a dollar in a name is one
    with matplotlib.rc_context(style):
        figure = Figure((width, height), dpi=_DPI, **options)
        yield figure
        with written_whole(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower(), facecolor="white")


def name_points(axes, points: list[tuple[str, float, float]]) -> list[Text]:
    """Write names beside points, (name, x, y) each: near, inside the axes, over no point and no other name.

    Everything else must have been drawn: this looks where it is. A name for which there is no room is left out.
    """
    axes.figure.draw_without_rendering()
    frame, texts = axes.get_window_extent(), []
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform([p[1:] for p in points])]
    for name, *point in points:
        for away, angle in itertools.product(range(8, 120, 4), range(0, 360, 30)):
            across, up = away * math.cos(math.radians(angle)), away * math.sin(math.radians(angle))
            place = {"ha": "left" if across > 1 else "right" if across < -1 else "center", "va": "center"}
            arrow = {"arrowstyle": "-", "linewidth": 0.4, "color": INK, "shrinkA": 0, "shrinkB": 2}
            text = axes.annotate(
                label(name), point, (across, up), textcoords="offset points", size=7, arrowprops=arrow, **place
            )
            text.set_in_layout(False)
            text.get_window_extent()  # which puts it in its place, and counts the line to its point
            box = Text.get_window_extent(text)
            inside = frame.contains(*box.min) and frame.contains(*box.max)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                texts.append(text)
                break
            text.remove()
    return texts
