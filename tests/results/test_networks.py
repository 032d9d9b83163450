"""The table "which network?", at a size that only shows that it works."""

import shlex
import shutil

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

import model
from dataset.errors import InputError
from dataset.files import write_csv
from results import benchmark, canvas, measure, network_table, networks, turns
from solver.checkpoint import save_weights


@pytest.fixture
def compare(monkeypatch, tmp_path, data):
    """Run ``benchmark.py networks`` with these flags on the CPU, on the small Set5; the rows that it wrote."""
    measured, real = [], networks.measure_speed

    def measure_speed(form, *given):
        measured.append((form.label, form.scale))
        return real(form, *given)

    def run(flags=""):
        flags = f"networks --device cpu --sizes 48x36 --rounds 1 --precision fp32 --output {tmp_path}/networks {flags}"
        monkeypatch.setattr("sys.argv", ["benchmark.py", *shlex.split(flags), "--data", str(data)])
        benchmark.main()
        return network_table.read(tmp_path / "networks.csv")

    methods = [method for method in measure.find_methods(None)[0] if method.label.startswith("LESRCNN")]
    monkeypatch.setattr(measure, "find_methods", lambda folder: (methods, []))  # whatever else ships
    monkeypatch.setattr(networks, "measure_speed", measure_speed)
    monkeypatch.setattr(networks, "THREADS", 1)
    run.measured = measured
    return run


@pytest.fixture
def released(tmp_path, weights):
    """A folder of others' weights: ESPCN's x2, and LESRCNN's, which ship."""
    folder = tmp_path / "released"
    folder.mkdir()
    save_weights(model.build("espcn", 2), folder / "espcn_x2.pth")
    shutil.copy(weights / "lesrcnn_x2.pth", folder)
    return folder


def test_each_network_stands_beside_lesrcnn(compare, released, tmp_path, capsys):
    rows = {row["network"]: row for row in compare(f"--networks espcn lesrcnn --scale 2 --weights {released}")}
    assert list(rows) == ["ESPCN", "LESRCNN"] and compare.measured == [("ESPCN", 2), ("LESRCNN", 2)]
    espcn, lesrcnn = rows.values()
    assert lesrcnn["times"] == lesrcnn["times_fp32"] == 1 and espcn["turns"] == 1
    assert (espcn["parameters"], lesrcnn["parameters"]) == (21_284, 626_304)
    # Multiply-adds of the network itself for 24x18 LR pixels, and some of bicubic interpolation's.
    assert espcn["macs"] == pytest.approx(24 * 18 * (5 * 5 * 64 + 9 * 64 * 32 + 9 * 32 * 4), rel=0.02)
    assert (espcn["weights"], espcn["ships"]) == ("espcn_x2.pth", "no") and lesrcnn["ships"] == "yes"
    assert 0 < espcn["psnr"] != espcn["psnr_luma"] and lesrcnn["psnr_luma"] is None
    assert "ESPCN x2: " in capsys.readouterr().out
    text = (tmp_path / "networks.md").read_text()
    assert "| ESPCN | x2 |" in text and "espcn_x2.pth (others')" in text
    assert (tmp_path / "networks.png").stat().st_size > 1000


def test_what_is_known_is_not_measured_again(compare, monkeypatch):
    compare("--networks espcn --scale 2")
    rows = compare("--networks espcn --scale 4")
    assert compare.measured == [("ESPCN", 2), ("ESPCN", 4)]
    assert [(row["network"], row["scale"]) for row in rows] == [("ESPCN", 2), ("ESPCN", 4)]  # both are in the table
    compare("--networks espcn")
    assert compare.measured[2:] == [("ESPCN", 3)]
    monkeypatch.setattr(networks, "machine", lambda device: "another machine")
    assert {row["device"] for row in compare("--networks espcn --scale 2")} == {"another machine"}
    assert compare.measured[3:] == [("ESPCN", 2)]


def test_killed_between_two_networks_it_goes_on(compare, monkeypatch):
    counting = networks.measure_speed

    def killed(form, *given):
        if form.label == "LESRCNN":
            raise KeyboardInterrupt
        return counting(form, *given)

    monkeypatch.setattr(networks, "measure_speed", killed)
    with pytest.raises(KeyboardInterrupt):
        compare("--networks espcn lesrcnn --scale 2")
    monkeypatch.setattr(networks, "measure_speed", counting)
    compare("--networks espcn lesrcnn --scale 2")
    assert compare.measured == [("ESPCN", 2), ("LESRCNN", 2)]


@pytest.fixture
def slowly(monkeypatch):
    """Let what is timed once take these seconds, and each turn of the comparison one."""

    def take(*seconds):
        left = iter(seconds)
        monkeypatch.setattr(networks, "seconds_of", lambda turn: (turn(), next(left))[1])
        monkeypatch.setattr(turns, "_now", lambda device, clock=iter(range(10_000)): next(clock))

    return take


def test_a_slow_network_takes_fewer_turns(compare, slowly):
    slowly(1e-9, 9, 1e-9, 200, 1e-9, 1e-9)  # by scale: some rows, then the whole picture
    rows = [compare(f"--networks espcn --scale {scale} --rounds 7")[-1] for scale in (2, 3, 4)]
    assert [(row["turns"], row["part"], row["ms_fp32"]) for row in rows] == [(2, 1, 1000), (1, 1, 1000), (7, 1, 1000)]


def test_a_slower_one_computes_a_part_of_the_picture(compare, slowly, tmp_path):
    slowly(10, 1e-9)  # two rows of 18, of which there is then time for no more
    [row] = compare("--networks espcn --scale 2")
    assert row["part"] == pytest.approx(2 / 18, rel=1e-5) and row["ms_fp32"] == pytest.approx(9 * 1000)
    assert "1, of 11% of it" in (tmp_path / "networks.md").read_text()


def test_one_that_needs_the_whole_picture_gets_it(compare, slowly, monkeypatch):
    monkeypatch.setattr(model.network_class("espcn"), "reach", lambda net, scale: None)
    slowly(1e-9)  # nothing but the first result is timed
    assert compare("--networks espcn --scale 2")[0]["part"] == 1


@pytest.mark.parametrize(
    "flags, message",
    [("--networks SN", "--networks SN: is not compared"), ("--sizes 48x36 64x64", "at one size")]
    + [("--networks espcn --weights nowhere", "nowhere: is no folder")],
)
def test_wrong_flags_are_one_line(compare, flags, message):
    with pytest.raises(InputError, match=message):
        compare(flags)


def test_every_network_that_one_would_choose_is_compared():
    assert {name for name, _ in networks.FORMS.values()} == set(model.names()) - {"ablation"}
    forms = set(networks.all_forms())
    assert networks.Form("RCAN", 3) in forms and networks.Form("LapSRN", 3) not in forms
    assert len({form.count.parameters for form in forms if form.scale == 2}) == len(networks.FORMS)


@pytest.mark.parametrize("label", networks.FORMS)
def test_weights_are_known_by_their_form(label):
    network, options = networks.FORMS[label]
    with torch.device("meta"):
        net = model.build(network, 2, **options)
    assert networks.label_of_form(network, net.configuration) == label


def test_weights_of_another_form_are_told(tmp_path, capsys):
    save_weights(model.build("srcnn", 2, variant="9-3-5"), tmp_path / "other_x2.pth")
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    assert networks.Form("SRCNN", 2) not in networks.find_weights(tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and "damaged.pth" in told[0] and "other_x2.pth: weights of another srcnn" in told[1]


def row(network, scale, ms, psnr=None, luma=None, ships="yes"):
    figures = {"network": network, "scale": scale, "psnr": psnr, "psnr_luma": luma, "ms": ms, "ms_fp32": 2 * ms}
    figures |= {"parameters": 12_345, "macs": 6 * 10**9, "weights": psnr and "a.pth", "ships": psnr and ships}
    figures |= {"peak_memory_mb": None, "times_fp32": 1.5, "precision": "bf16", "times": 0.5, "turns": 3, "part": 1.0}
    return figures | {"result": "1280x720", "device": "A CPU, 2 threads", "torch": "2.15"}


def test_the_readme_s_section():
    rows = [row("A", 2, 100.0, 37.5), row("A", 3, 1.0, 1.0), row("B", 2, 1234.5, 36, 36.25, "no"), row("B", 4, 9.0)]
    lines = network_table.section(rows).splitlines()
    assert lines[2] == "| A | **37.50** | - | 12,345 | 6.0G | 100 ms (0.5) | - |"
    assert lines[3] == "| B | 36.25 | - | 12,345 | 6.0G | 1,234 ms (0.5) | 9 ms (0.5) |"
    assert len(lines) == 6 and "1280x720" in lines[-1] and "A CPU, 2 threads" in lines[-1]


def test_the_readme_is_written_for_the_usual_place_alone(monkeypatch, tmp_path, compare):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- networks:begin -->\n(none)\n<!-- networks:end -->\n")
    monkeypatch.setattr(networks, "ROOT", tmp_path)
    compare("--networks espcn --scale 2")
    assert "(none)" in readme.read_text()
    compare(f"--networks espcn --scale 2 --output {tmp_path}/results/networks")
    assert "| ESPCN |" in readme.read_text() and "(none)" not in readme.read_text()


def test_the_readme_shows_what_was_measured(root):
    if not (root / "results/networks.csv").exists():
        pytest.skip("nothing has been measured yet")
    section = network_table.section(network_table.read(root / "results/networks.csv"))
    assert f"<!-- networks:begin -->\n{section}\n<!-- networks:end -->" in (root / "README.md").read_text("utf-8")


@pytest.mark.parametrize("spoilt", ["scale", "ms", "psnr", "parameters"])
def test_a_damaged_table_is_one_line(tmp_path, spoilt):
    write_csv(tmp_path / "a.csv", [row("A", 2, 100.0, 37.5) | {spoilt: "no"}])
    with pytest.raises(InputError, match="a.csv: is damaged; make it again"):
        network_table.read(tmp_path / "a.csv")


def test_a_damaged_memory_is_one_line(compare, tmp_path):
    (tmp_path / "networks.json").write_text('{"speeds": {"a": {}}, "psnr": {}}')
    with pytest.raises(InputError, match="networks.json: is damaged; delete it"):
        compare("--networks espcn --scale 2")


def test_names_of_points_cover_neither_points_nor_each_other(tmp_path):
    """Twelve points, half of them in one place."""
    points = [(f"network {n}", 10.0 ** (n / 6), 30 + n / 9) for n in range(6)]
    points += [(f"another {n}", 10.0, 30.5 + n / 1000) for n in range(6)]
    with canvas.canvas(tmp_path / "a.png", 6, 4, layout="constrained") as figure:
        axes = figure.subplots()
        axes.scatter(*zip(*(point[1:] for point in points)))
        axes.set_xscale("log")
        texts = canvas.name_points(axes, points)
        boxes = [Text.get_window_extent(text) for text in texts]
        frame, dots = axes.get_window_extent(), axes.transData.transform([point[1:] for point in points])
    assert isinstance(figure, Figure) and [text.get_text() for text in texts] == [point[0] for point in points]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert not any(box.contains(*dot) for dot in dots)
        assert frame.contains(*box.min) and frame.contains(*box.max)
