"""A table: data first (:class:`Table`), which is then written as Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataset.files import write_text


@dataclass(frozen=True)
class Column:
    """``key`` names it in the CSV file, ``title`` for people; ``form`` formats its numbers (``.2f``);
    ``ours`` says that it holds what was measured here (set in bold)."""

    key: str
    title: str
    form: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Row:
    """``kind`` is ``paper``, ``ours`` (measured here, set in bold) or ``difference`` (of ours and the
    paper's, with a sign); None is an empty cell."""

    cells: tuple
    kind: str = "paper"


@dataclass(frozen=True)
class Table:
    """``number`` is the paper's, or a name of our own for what is not in the paper."""

    number: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"table{self.number}" if self.number.isdigit() else self.number

    @property
    def heading(self) -> str:
        return f"Table {self.number}: {self.title}" if self.number.isdigit() else self.title

    def texts(self, row: Row) -> list[str]:
        """A row's cells as people read them; an empty cell is a dash."""
        return [_text(cell, column.form, row.kind) for cell, column in zip(row.cells, self.columns, strict=True)]

    def marked(self, row: Row, mark: Callable[[str], str], escape: Callable[[str], str] = str) -> list[str]:
        """:meth:`texts`, with a mark on what was measured here: rows or, in some tables, columns."""
        return [
            mark(escape(text)) if text != "-" and (column.ours or row.kind == "ours") else escape(text)
            for text, column in zip(self.texts(row), self.columns)
        ]

    def markdown(self) -> str:
        """As Markdown: heading, table, notes."""
        head = [
            f"**{self.heading}**",
            "",
            _line(column.title for column in self.columns),
            _line("--:" if column.form else "---" for column in self.columns),
        ]
        rows = [_line(self.marked(row, "**{}**".format)) for row in self.rows]
        notes = [line for note in self.notes for line in (note, "")]
        return "\n".join([*head, *rows, "", *notes])

    def csv(self) -> str:
        """As CSV, every digit that is known; ``kind`` tells the paper's figures from ours."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([*(column.key for column in self.columns), "kind"])
        writer.writerows([*map(_exact, row.cells), row.kind] for row in self.rows)
        return buffer.getvalue()

    def latex(self) -> str:
        """As a LaTeX ``table`` (packages: booktabs)."""
        head = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(self.title)}. {_escape(' '.join(self.notes))}}}",
            rf"\begin{{tabular}}{{{''.join('r' if c.form else 'l' for c in self.columns)}}}",
            r"\toprule",
            " & ".join(_escape(column.title) for column in self.columns) + r" \\",
            r"\midrule",
        ]
        rows = [" & ".join(self.marked(row, r"\textbf{{{}}}".format, _escape)) + r" \\" for row in self.rows]
        text = "\n".join([*head, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])
        return re.sub(r"`([^`]*)`", r"\\texttt{\1}", text)


def write(tables: Sequence[Table], folder: Path) -> None:
    """Write each table as ``<name>.md``, ``.csv`` and ``.tex``, and all together as ``README.md``."""
    for table in tables:
        for suffix, text in ((".md", table.markdown()), (".csv", table.csv()), (".tex", table.latex())):
            write_text(folder / f"{table.name}{suffix}", text)
    head = ["# Tables", "", "Made by `python results/reproduce.py`.", ""]
    write_text(folder / "README.md", "\n".join([*head, *(table.markdown() for table in tables)]))


def _text(cell, form: str, kind: str) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:{'+' if kind == 'difference' else ''}{form}}"


def _exact(cell):
    return "" if cell is None else round(cell, 6) if isinstance(cell, float) else cell


def _line(cells) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    for character in "\\&%$#_{}":
        text = text.replace(character, {"\\": r"\textbackslash "}.get(character, "\\" + character))
    return text
