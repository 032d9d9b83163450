"""What all figures have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from dataset.files import written_whole

INK, ACCENT = "#1b1f24", "#e4572e"


@contextmanager
def canvas(path: Path, width: float, height: float, **options) -> Iterator[Figure]:
    """A figure of so many inches, written to ``path`` in the path's format at the end.

    Raises:
        InputError: if it cannot be written.
    """
    style = {"font.family": "sans-serif", "font.size": 8, "text.color": INK, "pdf.fonttype": 42}
    with matplotlib.rc_context(style):
        figure = Figure((width, height), dpi=160, **options)
        yield figure
        with written_whole(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower(), facecolor="white")
