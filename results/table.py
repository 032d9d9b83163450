"""A table: data first (:class:`Table`), which is then written as Markdown, CSV and LaTeX.

Cells may hold anything, as a file's name does. In titles and notes `code` is set as code, so a name from elsewhere goes
into them by :func:`plain`.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dataset.errors import shown
from dataset.files import write_text

_TEX = {c: f"\\{c}" for c in "&%$#_{}"} | {c: f"{{{c}}}" for c in "*["}  # these two a row's end would take for options
_TEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}"}
_LIGATURE = re.compile(r"(?<=([-<>,']))\1")  # of which TeX would make one character
_MARKDOWN = re.compile(r"[\\`*~$|\[\]]|(?<![^\W_])_|_(?![^\W_])|:(?=[\w+-]+:)")  # inside a word _ means nothing
_FORMULA = tuple("=+-@")  # with which a spreadsheet's formulas begin


def roman(number: int) -> str:
    """A number from 1 to 39 as Roman numerals."""
    tens, ones = divmod(number, 10)
    return "X" * tens + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[ones]


def plain(name: object) -> str:
    """A name from elsewhere for a title or a note: on one line, and without marks of code."""
    return shown(name).replace("`", r"\x60")


def in_markdown(text: str) -> str:
    """Text for Markdown in which nothing of it means anything."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return _MARKDOWN.sub(r"\\\g<0>", re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text))


def in_tex(text: str) -> str:
    """Text for LaTeX, alike."""
    return _LIGATURE.sub(r"{\1}", text.translate(str.maketrans(_TEX)))


def _with_code(text: str, escape: Callable[[str], str], code: Callable[[str], str]) -> str:
    """A title or a note, with what it marks as `code` set as such."""
    return "".join(code(part) if i % 2 else escape(part) for i, part in enumerate(text.split("`")))


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
    """``number`` is the paper's, or a name of our own for what is not in the paper; ``roman``: how the paper counts."""

    number: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=tuple)
    roman: bool = False

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"table{self.number}" if self.number.isdigit() else self.number

    @property
    def heading(self) -> str:
        if not self.number.isdigit():
            return self.title
        return f"Table {roman(int(self.number)) if self.roman else self.number}: {self.title}"

    def texts(self, row: Row) -> list[str]:
        """A row's cells as people read them; an empty cell is a dash."""
        return [_text(cell, column.form, row.kind) for cell, column in zip(row.cells, self.columns, strict=True)]

    def marked(self, row: Row, mark: Callable[[str], str], escape: Callable[[str], str]) -> list[str]:
        """:meth:`texts`, with a mark on what was measured here: rows or, in some tables, columns."""
        return [
            mark(escape(text)) if text != "-" and (column.ours or row.kind == "ours") else escape(text)
            for text, column in zip(self.texts(row), self.columns)
        ]

    def markdown(self) -> str:
        """As Markdown: heading, table, notes."""
        text = partial(_with_code, escape=in_markdown, code="`{}`".format)
        head = [
            f"**{text(self.heading)}**",
            "",
            _line(in_markdown(column.title) for column in self.columns),
            _line("--:" if column.form else "---" for column in self.columns),
        ]
        rows = [_line(self.marked(row, "**{}**".format, in_markdown)) for row in self.rows]
        notes = [line for note in self.notes for line in (text(note), "")]
        return "\n".join([*head, *rows, "", *notes])

    def csv(self) -> str:
        """As CSV, every digit that is known; ``kind`` tells the paper's figures from ours."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([*(column.key for column in self.columns), "kind"])
        writer.writerows([*(_exact(cell, row.kind) for cell in row.cells), row.kind] for row in self.rows)
        return buffer.getvalue()

    def latex(self) -> str:
        """As a LaTeX ``table`` (packages: booktabs, and fontenc with T1)."""
        text = partial(_with_code, escape=in_tex, code=lambda code: rf"\texttt{{{in_tex(code)}}}")
        head = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{text(self.title)}. {' '.join(map(text, self.notes))}}}",
            rf"\begin{{tabular}}{{{''.join('r' if c.form else 'l' for c in self.columns)}}}",
            r"\toprule",
            " & ".join(in_tex(column.title) for column in self.columns) + r" \\",
            r"\midrule",
        ]
        rows = [" & ".join(self.marked(row, r"\textbf{{{}}}".format, in_tex)) + r" \\" for row in self.rows]
        return "\n".join([*head, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def write(tables: Sequence[Table], folder: Path, command: str = "python results/reproduce.py") -> None:
    """Write each table as ``<name>.md``, ``.csv`` and ``.tex``, and all as ``README.md``, which names the command."""
    for table in tables:
        for suffix, text in ((".md", table.markdown()), (".csv", table.csv()), (".tex", table.latex())):
            write_text(folder / f"{table.name}{suffix}", text)
    head = ["# Tables", "", f"Made by `{command}`.", ""]
    write_text(folder / "README.md", "\n".join([*head, *(table.markdown() for table in tables)]))


def _text(cell, form: str, kind: str) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return shown(cell)
    return f"{cell:{'+' if kind == 'difference' else ''}{form}}"


def _exact(cell, kind: str):
    if isinstance(cell, str):
        guard = "'" if cell.startswith(_FORMULA) and kind != "difference" else ""  # "- difference" is ours
        return f"{guard}{shown(cell)}"
    return "" if cell is None else round(cell, 6) if isinstance(cell, float) else cell


def _line(cells) -> str:
    return f"| {' | '.join(cells)} |"
