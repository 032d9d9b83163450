"""The report page: one self-contained HTML file that asks nothing of any network.

``page.html`` is the page; this puts the data into it: tables, training curves, pictures.
"""

import base64
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dataset import test_set
from dataset.errors import shown
from dataset.files import opened, readable, write_text

from . import crops
from .measure import PAPER_SCALES, Method
from .papers import LESRCNN, Paper
from .shape import COUNT, PSNR, checked, read_csv
from .table import Table
from .tables import PROTOCOLS

TEMPLATE = Path(__file__).with_name("page.html")
MOST_PICTURES = 12  # about 0.3 MB each
MOST_POINTS = 2000  # of a curve
_WEBP_QUALITY = 90


def write(
    path: Path,
    tables: Sequence[Table],
    methods: Sequence[Method],
    pictures: Path,
    protocol: str,
    figures: Mapping[str, Path],
    logs: Mapping[str, Sequence[Path]],
    paper: Paper = LESRCNN,
) -> None:
    """Write the page.

    Args:
        path: the file.
        tables: to show, in order.
        methods: the weights whose results can be compared.
        pictures: the data set to compare them on, at every scale it has.
        protocol: of the figures below the pictures.
        figures: a caption -> the PNG file to show with it.
        logs: a title -> the ``log.csv`` files of the training runs to draw as curves in one plot.
        paper: whose page it is.

    Raises:
        InputError: for pictures or weights that cannot be used, or if the page cannot be written.
    """
    chosen, left_out = compared(pictures, methods, protocol)
    data = {
        "protocol": PROTOCOLS[protocol],
        "weights": [{"label": m.label, "file": m.path.name, "sha256": m.sha256} for m in methods],
        "tables": [table_data(table) for table in tables],
        "pictures": chosen,
        "leftOut": left_out,
        "plots": [{"title": title, "curves": list(map(curve_data, files))} for title, files in logs.items() if files],
        "figures": [{"caption": text, "uri": png(file)} for text, file in figures.items()],
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name in ("name", "title", "authors"):
        text = text.replace(f"{{{{{name}}}}}", getattr(paper, name))
    write_text(path, text.replace("{{data}}", embedded(data), 1))


def embedded(data) -> str:
    """JSON that can stand in a ``<script>`` element: no name in it ends the element, or hides its end."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<\u2028\u2029"})


def compared(folder: Path, methods: Sequence[Method], protocol: str) -> tuple[list[dict], int]:
    """The pictures of a set as the page compares them, and how many more there are.

    ``[{"name", "width", "height", "hr": uri, "scales": {"2": [{"label", "uri", "psnr", "ssim"}]}}]``
    """
    scales = [scale for scale in PAPER_SCALES if any(scale in method.scales for method in methods)]
    sets = {s: {crops.short_name(item): item for item in test_set.find(folder, s).items} for s in scales}
    names = [name for name in sets[scales[0]] if all(name in items for items in sets.values())][:MOST_PICTURES]
    found = []
    for name in names:
        picture = {"scales": {}}
        for scale, items in sets.items():
            hr, *others = crops.versions(items[name], scale, tuple(m for m in methods if scale in m.scales), protocol)
            if not picture["scales"]:
                height, width = hr.rgb.shape[:2]
                picture |= {"name": name, "width": width, "height": height, "hr": webp(hr.rgb)}
            picture["scales"][scale] = [
                {"label": v.label, "uri": webp(v.rgb), "psnr": _finite(v.psnr), "ssim": v.ssim} for v in others
            ]
        found.append(picture)
    return found, max(len(items) for items in sets.values()) - len(names)


def table_data(table: Table) -> dict:
    """A table as the page sorts it: texts to read, values to sort by."""
    return {
        "name": table.name,
        "heading": table.heading,
        "notes": list(table.notes),
        "rows": [
            {"kind": row.kind, "texts": table.texts(row), "values": list(map(_sortable, row.cells))}
            for row in table.rows
        ],
        "columns": [{"title": c.title, "numeric": bool(c.form), "ours": c.ours} for c in table.columns],
    }


def curve_data(log: Path) -> dict:
    """A training run's ``log.csv`` as curves: ``{"name", "steps": [...], "psnr": {set: [...]}}``.

    Raises:
        InputError: if it is missing or damaged.
    """
    advice = "put the run's log.csv back, or delete it"
    rows = read_csv(log, advice)
    rows = rows[:: -math.ceil(len(rows) / MOST_POINTS)][::-1]  # the last one is among them
    with readable(log, advice):
        psnr = {
            shown(name.removesuffix("_psnr").replace("_", " ")): [_psnr(row[name]) for row in rows]
            for name in rows[0]
            if name.endswith("_psnr")
        }
        return {"name": shown(log.stem), "steps": [checked(int(row["step"]), COUNT) for row in rows], "psnr": psnr}


def _psnr(cell: str) -> float | None:
    """What a log says of a picture set; empty where it did not know the set yet."""
    return _finite(checked(float(cell), (PSNR, math.inf))) if cell else None


def png(file: Path) -> str:
    """A PNG file as a data URI."""
    with opened(file) as content:
        return uri(content.read(), "png")


def webp(rgb: np.ndarray) -> str:
    """(H, W, 3) uint8 as a data URI, slightly lossy: for the eye, not for measuring."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "WEBP", quality=_WEBP_QUALITY, method=6)
    return uri(buffer.getvalue(), "webp")


def uri(data: bytes, kind: str) -> str:
    """A picture file's content as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _sortable(cell):
    """A cell's value to sort by: of ``3.06G`` or ``630K`` the number."""
    if isinstance(cell, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?[KMG]", cell):
        return float(cell[:-1]) * {"K": 1e3, "M": 1e6, "G": 1e9}[cell[-1]]
    return _finite(cell) if isinstance(cell, float) else cell


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
