"""What ``results/benchmark.py networks`` has measured, for people: CSV, Markdown, a plot, and a part of the README."""

from pathlib import Path

from dataset.files import write_text

from .canvas import ACCENT, INK, canvas, label, name_points
from .shape import AMOUNT, COUNT, PSNR, read_figures, write_figures
from .table import Column, Row, Table, in_markdown, plain

# Of each column of the CSV file what it must hold (see results/shape.py); None where a cell may be empty.
COLUMNS = {
    "network": str,
    "scale": COUNT,
    "parameters": COUNT,
    "macs": COUNT,
    "psnr": (PSNR, None),
    "psnr_luma": (PSNR, None),
    "weights": (str, None),
    "ships": (str, None),
    "peak_memory_mb": (AMOUNT, None),
    "ms_fp32": AMOUNT,
    "times_fp32": AMOUNT,
    "precision": str,
    "ms": AMOUNT,
    "times": AMOUNT,
    "turns": COUNT,
    "part": AMOUNT,
    "result": str,
    "device": str,
    "torch": str,
}


def write(rows: list[dict], path: Path) -> None:
    """Write rows of :data:`COLUMNS`, one at least, as ``path`` with .csv, .md and .png."""
    write_figures(path.with_suffix(".csv"), rows, COLUMNS)
    rows = read(path.with_suffix(".csv"))
    write_text(path.with_suffix(".md"), table(rows).markdown())
    plot(rows, path.with_suffix(".png"))


def read(path: Path) -> list[dict]:
    """The rows of such a CSV file; empty cells are None.

    Raises:
        InputError: if it is missing or damaged.
    """
    return read_figures(path, COLUMNS, "make it again with results/benchmark.py networks")


def own_psnr(row: dict) -> float | None:
    """PSNR by the protocol of the network's own paper."""
    return row["psnr"] if row["psnr_luma"] is None else row["psnr_luma"]


def table(rows: list[dict]) -> Table:
    """All of it."""
    columns = [
        Column("network", "Network"),
        Column("scale", "Scale"),
        Column("psnr", "Set5 PSNR (published)", ".2f"),
        Column("psnr_luma", "Set5 PSNR (luma)", ".2f"),
        Column("weights", "Weights"),
        Column("parameters", "Parameters", ",d"),
        Column("macs", "Multiply-adds", "s"),
        Column("peak_memory_mb", "Peak memory, MB", ".0f"),
        Column("ms_fp32", "fp32, ms", ".4g"),
        Column("times_fp32", "times LESRCNN's", ".3g"),
        Column("ms", "fastest, ms", ".4g"),
        Column("precision", "in"),
        Column("times", "times LESRCNN's", ".3g"),
        Column("turns", "Turns"),
    ]
    lines = []
    for row in rows:
        weights = row["weights"] and row["weights"] + (" (ships)" if row["ships"] == "yes" else " (others')")
        turns = str(row["turns"]) + f", of {row['part']:.0%} of it" * (row["part"] < 1)
        texts = {"scale": f"x{row['scale']}", "macs": _giga(row["macs"]), "weights": weights, "turns": turns}
        lines.append(Row(tuple((row | texts)[column.key] for column in columns)))
    [*_, last] = rows
    notes = [
        f"For a result of {plain(last['result'])}, on {plain(last['device'])}, torch {plain(last['torch'])}; pictures "
        "are cut as `--memory 1G` cuts them, and the memory is the whole process's. A time is the median of the turns, "
        "a ratio the median of their ratios to LESRCNN's, which ran beside, each in its fastest precision. Slow "
        "networks have fewer turns, and of the picture the upper part alone: its time is multiplied accordingly.",
        "PSNR, by the protocols `published` and, of networks that enlarge luma, `luma`, is that of the weights named: "
        "trained here, where they ship, or else released by others. Times do not depend on weights.",
    ]
    return Table("networks", "Which network?", columns, lines, notes)


def section(rows: list[dict]) -> str:
    """What the README shows: a line for each network, x2 and x4."""
    titles = ["Network", "Set5 x2", "Set5 x4", "parameters x2", "multiply-adds x2"]
    titles += ["time x2", "time x4"]
    lines = [f"| {' | '.join(titles)} |", f"| --- |{' --: |' * (len(titles) - 1)}"]
    by_name = {}
    for row in rows:
        by_name.setdefault(row["network"], {})[row["scale"]] = row
    for name, scales in by_name.items():
        two, four = scales.get(2), scales.get(4)
        size = [f"{two['parameters']:,}", _giga(two["macs"])] if two else ["-", "-"]
        cells = [in_markdown(name), _psnr(two), _psnr(four), *size, _time(two), _time(four)]
        lines.append(f"| {' | '.join(cells)} |")
    [*_, last] = rows
    lines += [
        "",
        f"Set5: PSNR in dB, bold of weights that ship, else of weights that others released; by the protocol "
        f"`published`, of networks for luma `luma`. Multiply-adds and times are for a result of {last['result']}, "
        f"in the fastest precision on {in_markdown(last['device'])}; in brackets how many times LESRCNN's time, "
        "measured beside it.",
    ]
    return "\n".join(lines)


def _psnr(row: dict | None) -> str:
    if row is None or own_psnr(row) is None:
        return "-"
    return f"**{own_psnr(row):.2f}**" if row["ships"] == "yes" else f"{own_psnr(row):.2f}"


def _time(row: dict | None) -> str:
    return f"{row['ms']:,.0f} ms ({row['times']:.2g})" if row else "-"


def _giga(macs: int) -> str:
    return f"{macs / 1e9:.1f}G"


def plot(rows: list[dict], path: Path) -> None:
    """PSNR over time, a panel for each scale; networks without PSNR are not on it."""
    rows = [row for row in rows if own_psnr(row) is not None]
    scales = sorted({row["scale"] for row in rows}) or [2]
    with canvas(path, 5.5 * len(scales), 4.5, layout="constrained") as figure:
        panels = figure.subplots(1, len(scales), squeeze=False)[0]
        for axes, scale in zip(panels, scales):
            own = [row for row in rows if row["scale"] == scale]
            colours = [ACCENT if row["ships"] == "yes" else INK for row in own]
            axes.scatter([row["ms"] for row in own], [own_psnr(row) for row in own], s=16, c=colours)
            axes.set(title=f"x{scale}", xlabel="milliseconds", xscale="log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
            axes.margins(0.15)
            axes.grid(True, which="both", alpha=0.3)
        panels[0].set_ylabel("PSNR on Set5, dB")
        if rows:
            figure.suptitle(f"{rows[-1]['result']} on {label(rows[-1]['device'], 80)}; orange: weights that ship")
        for axes, scale in zip(panels, scales):
            own = [row for row in rows if row["scale"] == scale]
            name_points(axes, [(row["network"], row["ms"], own_psnr(row)) for row in own])
