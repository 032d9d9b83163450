"""A table: data first (:class:`Table`), which is then written as Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .files import write_text


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

    def marked(self, row: Row, mark: Callable[[str], str]) -> list[str]:
        """:meth:`texts`, with a mark on what was measured here: rows or, in some tables, columns."""
        return [
            mark(text) if text != "-" and (column.ours or row.kind == "ours") else text
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
        rows = [_line(self.marked(row, lambda text: f"**{text}**")) for row in self.rows]
        return "\n".join([*head, *rows, "", *_paragraphs(self.notes)])

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
        rows = [" & ".join(self.marked(_escaped(row), r"\textbf{{{}}}".format)) + r" \\" for row in self.rows]
        text = "\n".join([*head, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])
        return re.sub(r"`([^`]*)`", r"\\texttt{\1}", text)


def write(tables: Sequence[Table], folder: Path) -> None:
    """Write each table as ``<name>.md``, ``.csv`` and ``.tex``, and all together as ``README.md``."""
    files = {}
    for table in tables:
        files |= {
            f"{table.name}.md": table.markdown(),
            f"{table.name}.csv": table.csv(),
            f"{table.name}.tex": table.latex(),
        }
    files["README.md"] = "\n".join(
        ["# Tables", "", "Made by `python results/reproduce.py`.", "", *(table.markdown() for table in tables)]
    )
    for name, text in files.items():
        write_text(folder / name, text)


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


def _paragraphs(notes: Sequence[str]) -> list[str]:
    return [line for note in notes for line in (note, "")]


def _escaped(row: Row) -> Row:
    return Row(tuple(_escape(cell) if isinstance(cell, str) else cell for cell in row.cells), row.kind)


def _escape(text: str) -> str:
    for character in "\\&%$#_{}":
        text = text.replace(character, {"\\": r"\textbackslash "}.get(character, "\\" + character))
    return text
