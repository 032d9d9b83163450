"""What all figures have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

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
