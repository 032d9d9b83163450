import csv
import html
import io
import re

from dataset.errors import shown
from results.table import Column, Row, Table, plain, write

SMALL = Table(
    "4",
    "A & B",
    [Column("method", "Method"), Column("x2_psnr", "x2 PSNR", ".2f")],
    [Row(("A_1", 30.005678)), Row(("B", 31.0), "ours"), Row(("- difference", -0.5), "difference"), Row(("C", None))],
    ["100 % `code_here`"],
)


def test_markdown():
    assert SMALL.markdown().splitlines() == [
        "**Table 4: A & B**",
        "",
        "| Method | x2 PSNR |",
        "| --- | --: |",
        "| A_1 | 30.01 |",
        "| **B** | **31.00** |",
        "| - difference | -0.50 |",
        "| C | - |",
        "",
        "100 % `code_here`",
    ]


def test_csv():
    rows = list(csv.DictReader(io.StringIO(SMALL.csv())))
    assert rows[0] == {"method": "A_1", "x2_psnr": "30.005678", "kind": "paper"}
    assert rows[3]["x2_psnr"] == "" and rows[1]["kind"] == "ours"


def test_latex():
    text = SMALL.latex()
    assert r"\caption{A \& B. 100 \% \texttt{code\_here}}" in text and r"A\_1 & 30.01 \\" in text
    assert r"\textbf{B} & \textbf{31.00} \\" in text and text.count(r"\begin") == text.count(r"\end") == 2


def test_files(tmp_path):
    write([SMALL], tmp_path)
    assert (tmp_path / "table4.md").read_text() == SMALL.markdown()
    assert (tmp_path / "table4.csv").read_text() == SMALL.csv()
    assert (tmp_path / "table4.tex").read_text() == SMALL.latex()
    assert SMALL.markdown() in (tmp_path / "README.md").read_text()


# -- names from anywhere -----------------------------------------------------------------------------


def named(name):
    """A table that has a name in a cell, in one that was measured here, in its title and in a note."""
    rows = [Row((name, 1.0)), Row((name, 2.0), "ours")]
    columns = [Column("a", "A"), Column("b", "B", ".2f")]
    return Table("t", f"of {plain(name)} at x2", columns, rows, [f"See `the_code` of {plain(name)}."])


def test_a_name_in_markdown_means_nothing(name):
    title, _, _, _, first, second, _, note, _ = named(name).markdown().split("\n")
    cells = [
        first.removeprefix("| ").removesuffix(" | 1.00 |"),
        second.removeprefix("| **").removesuffix("** | **2.00** |"),
    ]
    texts = [
        title.removeprefix("**of ").removesuffix(" at x2**"),
        note.removeprefix("See `the_code` of ").removesuffix("."),
    ]
    for text, expected in zip(cells + texts, [shown(name)] * 2 + [plain(name)] * 2):
        escape = r"\\([^\w\s]|_)"
        assert html.unescape(re.sub(escape, r"\1", text)) == expected
        assert not re.search(r"[\\|`*~$\[\]](?!x|u|n)|<[a-z!/]|\b_|_\b", re.sub(escape, "", text))


def test_a_name_in_latex_means_nothing(name):
    lines = named(name).latex().split("\n")
    commands = {"backslash": "\\", "asciitilde": "~", "asciicircum": "^", "asciigrave": "`"}
    escape = r"\\text(?P<command>(?!tt)[a-z]+)\{\}|\\(?P<special>[&%$#_{}])|\{(?P<alone>[*\[<>,'-])\}"

    def meant(match):
        return commands.get(match["command"]) or match["special"] or match["alone"]

    cells = [
        lines[-6].removesuffix(r" & 1.00 \\"),
        lines[-5].removeprefix(r"\textbf{").removesuffix(r"} & \textbf{2.00} \\"),
    ]
    for text in cells:
        assert re.sub(escape, meant, text) == shown(name)
        assert not re.search(r"[\\&%$#_{}~^`*\[]|--", re.sub(escape, ".", text))
    caption = rf"\caption{{of {plain(name)} at x2. See \texttt{{the_code}} of {plain(name)}.}}"
    assert re.sub(escape, meant, lines[2]) == caption


def test_no_cell_is_a_formula(name):
    rows = list(csv.DictReader(io.StringIO(named(name).csv(), newline="")))
    guard = "'" if name[0] in "=+-@" else ""
    assert [row["a"] for row in rows] == [guard + shown(name)] * 2 and rows[1]["b"] == "2.0"
    assert "\n- difference" in SMALL.csv()  # our own text is no formula


def test_files_with_any_names_are_written(name, tmp_path):
    write([named(name)], tmp_path)
    assert len((tmp_path / "t.md").read_text(encoding="utf-8").splitlines()) == 8
