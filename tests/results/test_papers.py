"""CFSRCNN's paper: its tables, made by what makes LESRCNN's."""

import shutil

import pytest

from results import measure, papers, reproduce, tables
from results.papers import CFSRCNN, LESRCNN, PAPERS
from results.table import roman


def entry(label, psnr, test_set="Set5", scale=2):
    picture = {"psnr": psnr, "ssim": 0.9591, "bicubic_psnr": 33.66, "bicubic_ssim": 0.9299}
    names = {"set": test_set, "scale": scale, "label": label, "protocol": "published", "weights": label}
    return names | {"pictures": {"a": picture}}


def texts(table):
    return {row.cells[0]: table.texts(row)[1:] for row in table.rows}


# -- its own figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS)
def test_every_table_has_its_figures(paper):
    for table in paper.tables:
        assert len(papers.rows(table)) > 1, table.file
    assert [table.number for table in paper.tables] == sorted({table.number for table in paper.tables})


def test_its_figures_are_read_past_their_source():
    first, *_, last = papers.rows(CFSRCNN.table(4))
    assert (first["method"], first["x2_psnr"], last["method"], last["x4_ssim"]) == ("Bicubic", 33.66, "CFSRCNN", 0.892)
    assert len(papers.rows(CFSRCNN.table(4))) == 29


@pytest.mark.parametrize("table, slip", [(4, ("CARN-M", "x3_ssim", "CARN")), (5, ("LapSRN", "x3_psnr", "RCN"))])
def test_its_slips_are_as_the_notes_tell(table, slip):
    rows = {row["method"]: row for row in papers.rows(CFSRCNN.table(table))}
    method, column, other = slip
    assert rows[method][column] == rows[other][column]
    [note] = CFSRCNN.table(table).notes
    assert method in note and other in note and "slip" in note
    assert note in tables.benchmark(CFSRCNN.table(table).set, [], "published", CFSRCNN).notes


@pytest.mark.parametrize(
    "label, told",
    [("CFSRCNN", [37.79, 0.9591]), ("CFSRCNN-S", None), ("LESRCNN-S", [37.57, 0.9582]), ("VDSR", [37.53, 0.9587])]
    + [("EDSR-baseline", None)],
)
def test_a_network_has_the_figures_of_its_own_paper(label, told):
    assert papers.figures(label, "Set5", 2) == told


def test_figures_that_lack_one_are_none():
    assert papers.figures("LapSRN", "Set5", 3) is None


# -- Tables IV to VIII -----------------------------------------------------------------------------


def test_ours_stand_beside_the_paper_s_and_the_blind_ones_in_a_row_of_their_own():
    entries = [entry("CFSRCNN", 37.8), entry("CFSRCNN-S", 37.7), entry("LESRCNN", 37.6)]
    table = tables.benchmark("Set5", entries, "published", CFSRCNN)
    rows = texts(table)
    assert rows["CFSRCNN (ours)"][:2] == ["37.80", "0.9591"] and rows["CFSRCNN-S (ours)"][0] == "37.70"
    assert rows["- difference to the paper's CFSRCNN"][:2] == ["+0.01", "+0.0000"]
    assert [*rows][-4:] == ["LESRCNN (ours)", "CFSRCNN (ours)"] + [
        "- difference to the paper's CFSRCNN",
        "CFSRCNN-S (ours)",
    ]
    assert table.heading == "Table IV: PSNR and SSIM on Set5" and table.name == "table4"
    assert any(note.startswith("CFSRCNN-S: blind weights") for note in table.notes)
    assert not any("No weights" in note for note in table.notes)


def test_where_the_paper_has_no_bicubic_nothing_is_said_of_it():
    notes = tables.benchmark("720p", [entry("CFSRCNN", 44.7, "720p")], "published", CFSRCNN).notes
    assert not any("Bicubic" in note for note in notes) and "make_benchmark.py" in notes[-1]
    assert any("Bicubic" in note for note in tables.benchmark("Set5", [entry("CFSRCNN", 37)], "published").notes)


def test_without_its_weights_the_note_says_so():
    table = tables.benchmark("Set5", [entry("LESRCNN", 37.6)], "published", CFSRCNN)
    assert "No weights of CFSRCNN were there, so it was not measured." in table.notes
    assert "CFSRCNN (ours)" not in texts(table) and texts(table)["CFSRCNN"][0] == "37.79"


def test_the_headline_has_no_column_for_what_its_paper_has_not():
    table = tables.headline([entry("CFSRCNN", 37.8), entry("CFSRCNN-S", 37.7)], CFSRCNN)
    titles = [column.title for column in table.columns[3:]]
    assert titles == ["CFSRCNN (ours)", "CFSRCNN (paper)", "CFSRCNN-S, blind (ours)"]
    assert table.rows[0].cells[3:] == ("37.80/0.9591", "37.79/0.9591", "37.70/0.9591")


def test_the_720p_set_comes_of_a_command_that_is_there(root):
    [note] = CFSRCNN.table(8).notes
    script, _, out = note.split("`")[1].split()[1:4], None, note.split("`")[1].split()[-1]
    assert (root / script[0]).exists() and out == "dataset/720p" and CFSRCNN.table(8).set == "720p"


def test_the_720p_set_is_measured_for_its_paper_alone(data):
    shutil.copytree(data / "Sample", data / "720p")
    for paper, there in ((CFSRCNN, True), (LESRCNN, False)):
        sets, notes = measure.find_sets([data], paper.sets)
        assert ("720p" in {found.name for found in sets}) == there
        assert not any(note.startswith("720p") for note in notes)


# -- Tables IX and X -------------------------------------------------------------------------------


def test_running_times_come_from_a_file_of_their_own(tmp_path):
    lines = ["scale,size,width,height,form,precision,seconds,device,torch"]
    lines += [f"2,{side},{side},{side},cfsrcnn,fp32,{side / 1000},A CPU,2.15" for side in (256, 512, 1024)]
    (tmp_path / "runtime.csv").write_text("\n".join(lines))
    assert "Not measured here yet" in tables.runtime(9, tmp_path, CFSRCNN).notes[-1]
    (tmp_path / "cfsrcnn").mkdir()
    (tmp_path / "runtime.csv").rename(tmp_path / "cfsrcnn/runtime_a.csv")
    table = tables.runtime(9, tmp_path, CFSRCNN)
    assert table.heading.startswith("Table IX: ") and [c.title for c in table.columns[2:]][-1] == "1024x1024"
    assert texts(table)["CFSRCNN"] == ["the paper's machine", "0.0153", "0.0184", "0.0298"]
    assert texts(table)["CFSRCNN, fp32"] == ["A CPU, torch 2.15", "0.256", "0.512", "1.02"]
    assert not any(row.kind == "ours" for row in tables.runtime(8, tmp_path).rows)


def test_its_count_is_reproduced():
    table = tables.complexity(10, CFSRCNN)
    rows = texts(table)
    assert rows["CFSRCNN"] == ["1,200K", "11.08G", "1,199,488", "10.20G", "1,310,336", "11.08G"]
    assert rows["VDSR"][:3] == ["665K", "15.82G", "-"] and table.heading == "Table X: Complexity, x2"
    # As its own code has it, with two passes of the up-sampler.
    up = 64 * 256 * 9 * 77**2
    assert f"{(1_868_224 * 77**2 + up) / 1e9:.2f}G" in table.notes[1]


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def with_cfsrcnn(weights, tmp_path):
    """LESRCNN's weights, and CFSRCNN's for x2."""
    from model import build
    from solver.checkpoint import save_weights

    folder = shutil.copytree(weights, tmp_path / "both")
    net = build("cfsrcnn", 2)
    net.init_identity()
    save_weights(net, folder / "cfsrcnn_x2.pth")
    return folder


def test_its_products_have_a_folder_of_their_own(settings, house, with_cfsrcnn, counted):
    chosen = {"model": "cfsrcnn", "weights": with_cfsrcnn, "tables": [4, 8], "figures": [3, 4], "page": True}
    assert reproduce.reproduce(settings(**chosen)) == 0
    made = {str(path.relative_to(house / "results")) for path in (house / "results").rglob("*") if path.is_file()}
    tables_made = {
        f"cfsrcnn/tables/{n}.{kind}" for n in ("table4", "table8", "sample") for kind in ("md", "csv", "tex")
    }
    assert made == tables_made | {
        "measured.json",
        "cfsrcnn/tables/README.md",
        "cfsrcnn/figures/figure3.png",
        "cfsrcnn/report/index.html",
    }
    page = (house / "results/cfsrcnn/report/index.html").read_text(encoding="utf-8")
    assert "<title>CFSRCNN, reproduced</title>" in page and papers.CFSRCNN.title in page and "{{" not in page
    assert "\nold\n" in (house / "README.md").read_text()
    assert "reproduce.py --model cfsrcnn`" in (house / "results/cfsrcnn/tables/README.md").read_text()
    counted.clear()
    reproduce.reproduce(settings(weights=with_cfsrcnn))
    assert not counted  # what one paper's tables have measured, the other's know


def test_without_its_weights_its_tables_are_made_all_the_same(settings, house, capsys):
    assert reproduce.reproduce(settings(model="cfsrcnn", tables=[4], figures=[3], page=True)) == 0
    assert "cfsrcnn_x2.pth: not there, so its cells stay empty" in capsys.readouterr().out
    assert sorted(path.name for path in (house / "results/cfsrcnn").iterdir()) == ["tables"]


def test_its_tables_are_counted_as_its_paper_does(monkeypatch, settings, command):
    seen = []
    monkeypatch.setattr(reproduce, "reproduce", seen.append)
    for flags in (["--tables", "IV-X"], ["--tables", "4-10"], []):
        monkeypatch.setattr("sys.argv", ["reproduce.py", "--model", "cfsrcnn", *flags])
        reproduce.main()
    assert [args.tables for args in seen] == [[*range(4, 11)]] * 3 and seen[0].figures == [3, 4, 5]
    done = command("results/reproduce.py", "--model", "cfsrcnn", "--tables", "1")
    assert done.returncode == 2 and "there are 4 to 10" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number, text", [(1, "I"), (4, "IV"), (9, "IX"), (10, "X"), (14, "XIV"), (39, "XXXIX")])
def test_roman(number, text):
    assert roman(number) == text
