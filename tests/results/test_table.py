import csv
import io

from results.table import Column, Row, Table, write

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
