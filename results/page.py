"""The report page: one self-contained HTML file that asks nothing of any network.

``page.html`` is the page; this puts the data into it: tables, training curves, pictures.
"""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dataset import test_set
from dataset.files import read_csv, write_text

from . import crops
from .measure import SCALES, Method
from .table import Table
from .tables import PROTOCOLS

TEMPLATE = Path(__file__).with_name("page.html")
MOST_PICTURES = 12  # about 0.3 MB each
_WEBP_QUALITY = 90


def write(
    path: Path,
    tables: Sequence[Table],
    methods: Sequence[Method],
    pictures: Path,
    protocol: str,
    figures: Mapping[str, Path],
    logs: Mapping[str, Sequence[Path]],
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

    Raises:
        InputError: for pictures or weights that cannot be used, or if the page cannot be written.
    """
    shown, left_out = compared(pictures, methods, protocol)
    data = {
        "protocol": PROTOCOLS[protocol],
        "weights": [{"label": m.label, "file": m.path.name, "sha256": m.sha256} for m in methods],
        "tables": [table_data(table) for table in tables],
        "pictures": shown,
        "leftOut": left_out,
        "plots": [{"title": title, "curves": list(map(curve_data, files))} for title, files in logs.items() if files],
        "figures": [{"caption": text, "uri": uri(file.read_bytes(), "png")} for text, file in figures.items()],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    page = TEMPLATE.read_text(encoding="utf-8").replace("{{data}}", text, 1)
    write_text(path, page)


def compared(folder: Path, methods: Sequence[Method], protocol: str) -> tuple[list[dict], int]:
    """The pictures of a set as the page compares them, and how many more there are.

    ``[{"name", "width", "height", "hr": uri, "scales": {"2": [{"label", "uri", "psnr", "ssim"}]}}]``
    """
    scales = [scale for scale in SCALES if any(scale in method.scales for method in methods)]
    sets = {scale: test_set.find(folder, scale).items for scale in scales}
    count = min(MOST_PICTURES, *(len(items) for items in sets.values()))
    shown = []
    for index in range(count):
        picture = {"scales": {}}
        for scale, items in sets.items():
            hr, *others = crops.versions(items[index], scale, tuple(m for m in methods if scale in m.scales), protocol)
            if not picture["scales"]:
                height, width = hr.rgb.shape[:2]
                name = crops.short_name(items[index])
                picture |= {"name": name, "width": width, "height": height, "hr": webp(hr.rgb)}
            picture["scales"][scale] = [
                {"label": v.label, "uri": webp(v.rgb), "psnr": _finite(v.psnr), "ssim": v.ssim} for v in others
            ]
        shown.append(picture)
    return shown, max(len(items) for items in sets.values()) - count


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
    """A training run's ``log.csv`` as curves: ``{"name", "steps": [...], "psnr": {set: [...]}}``."""
    rows = read_csv(log)
    psnr = {
        name.removesuffix("_psnr").replace("_", " "): [_finite(float(row[name] or "nan")) for row in rows]
        for name in (rows[0] if rows else ())
        if name.endswith("_psnr")
    }
    return {"name": log.stem, "steps": [int(row["step"]) for row in rows], "psnr": psnr}


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
    if isinstance(cell, str) and cell[:1].isdigit() and cell[-1] in "KMG":
        return float(cell[:-1]) * {"K": 1e3, "M": 1e6, "G": 1e9}[cell[-1]]
    return _finite(cell) if isinstance(cell, float) else cell


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
