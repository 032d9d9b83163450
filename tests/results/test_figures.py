import re
from xml.etree import ElementTree

import numpy as np
import pytest

import model
from dataset import images, test_set
from dataset.errors import InputError
from results import architecture, canvas, crops, figure
from results.crops import Box, Version
from solver.measuring.metrics import psnr_ssim


def test_box_is_where_the_methods_differ(picture):
    hr = picture(80, 100)
    other = hr.copy()
    other[50:62, 30:42] = 255 - other[50:62, 30:42]
    results = [Version("HR", hr), Version("A", hr), Version("B", other)]
    box, score = crops.find_box(results, side=12)
    assert box == Box(50, 30, 12, 12) and score > 1
    assert crops.find_box(results, side=13)[0].height == 13
    assert crops.find_box([Version("HR", 255 - hr), Version("A", hr), Version("B", hr)])[1] == 0  # HR is no method


@pytest.mark.parametrize("height, width", [(30, 90), (24, 24), (10, 12)])
def test_box_is_inside(picture, height, width):
    rgb = picture(height, width)
    results = [Version("HR", rgb), Version("A", rgb), Version("B", np.roll(rgb, 3, axis=1))]
    box, _ = crops.find_box(results)
    crops.check_box(box, rgb, "it")
    assert rgb[box.slices].shape == (box.height, box.width, 3)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 95, 5, 6), (76, 0, 5, 5)])
def test_wrong_boxes(picture, box):
    with pytest.raises(InputError, match="TOP LEFT HEIGHT WIDTH"):
        crops.check_box(Box(*box), picture(80, 100), "it")


def test_versions_are_measured_as_in_the_tables(data, methods):
    item = test_set.find(data / "Set5", 3).items[0]
    chosen = tuple(m for m in methods if 3 in m.scales)
    hr, *others = crops.versions(item, 3, chosen)
    assert [v.label for v in others] == ["Bicubic", "LESRCNN", "LESRCNN-S"] and hr.psnr is None
    for version in others:
        assert (version.psnr, version.ssim) == psnr_ssim(version.rgb, hr.rgb, 3)
    assert crops.versions(item, 3, chosen)[0] is hr  # figures and page share one computation


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_draw(data, methods, tmp_path, suffix):
    items = test_set.find(data / "Set5", 2).items
    rows = crops.rows(items, 2, methods, box=Box(4, 4, 12, 12))
    assert [name for name, _, _ in rows] == ["img_001, x2", "img_002, x2"]
    crops.draw(rows, tmp_path / f"a{suffix}")
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert data.startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix])
    assert len(crops.rows(items, 2, methods, most=1)) == 1


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_labels_of_any_names_are_drawn(picture, tmp_path, names, suffix, recwarn):
    hr = picture(48, 48)
    results = [Version("HR", hr), *(Version(name, hr, 30.0, 0.9) for name in names)]
    crops.draw([(names[0], results, Box(0, 0, 24, 24))], tmp_path / f"a{suffix}")
    assert not recwarn.list  # of characters that the font does not have
    if suffix == ".svg":
        ElementTree.parse(tmp_path / "a.svg")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("img_001, x2", "img_001, x2"),
        ("a$b$", "a$b$"),
        ("絵\udce9\n", r"\u7d75\udce9\n"),
        ("x" * 250 + ", x2", "x" * 24 + "..." + "xxxxx, x2"),
    ],
)
def test_label(name, expected):
    assert canvas.label(name) == expected


def test_a_figure_that_no_format_holds(tmp_path):
    with pytest.raises(InputError, match="a.png: would have 1x500 inches"):
        with canvas.canvas(tmp_path / "a.png", 1, 500):
            pass


def test_a_picture_too_small_to_measure_is_drawn(picture, tmp_path):
    hr = picture(4, 4)
    rows = [("tiny", [Version("HR", hr), Version("Bicubic", hr)], Box(0, 0, 4, 4))]
    crops.draw(rows, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().count("<!-- PSNR (dB) / SSIM -->") == 1


def test_figure_command(command, data, weights, tmp_path):
    arguments = (
        "results/figure.py",
        "--test_data_dir",
        data / "Set5",
        "--scale",
        2,
        "--weights",
        weights / "lesrcnn_x2.pth",
        weights / "lesrcnn.pth",
        "--out",
    )
    done = command(
        *arguments, tmp_path / "a.png", "--pictures", "img_002", "--labels", "single", "blind", OMP_NUM_THREADS="1"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"img_002, x2: box \d+ \d+ \d+ \d+", done.stdout) and images.size(tmp_path / "a.png")


@pytest.mark.parametrize(
    "wrong, said",
    [
        ("--pictures img_003", "no such pictures"),
        ("--pictures img", "several such pictures"),
        ("--labels one", "each needs one of its own"),
        ("--labels one Bicubic", "Bicubic is what is compared with"),
        ("--labels HR two", "HR is what is compared with"),
        (f"--box {10**30} 0 9 9", "not inside"),
        (f"--box 0 0 {10**30} {10**30}", "not inside"),
        ("--box 0 0 99 99", "not inside"),
        ("--scale 3", "x2 weights given"),
        ("--out a.gif", "ends in none of"),
    ],
)
def test_figure_command_tells(monkeypatch, data, weights, tmp_path, wrong, said):
    arguments = [
        "figure.py",
        "--test_data_dir",
        data / "Set5",
        "--scale",
        2,
        "--out",
        tmp_path / "b.png",
        "--weights",
        weights / "lesrcnn_x2.pth",
        weights / "lesrcnn.pth",
        *wrong.split(),
    ]
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    with pytest.raises(InputError, match=said):
        figure.main()
    assert not (tmp_path / "b.png").exists()


# -- the architecture --------------------------------------------------------------------------------


def kinds(operations, block=None):
    return [op.kind for op in operations if block in (None, op.block)]


@pytest.mark.parametrize("scale, stages", [(2, 1), (3, 1), (4, 2)])
def test_graph_of_lesrcnn(scale, stages):
    graph = architecture.operations(model.build("lesrcnn", scale), scale)
    ieeb, rb, irb = (kinds(graph, block) for block in ("ieeb", "rb", "irb"))
    assert (ieeb.count("conv3"), ieeb.count("conv1"), ieeb.count("relu"), ieeb.count("add")) == (9, 8, 17, 8)
    assert rb == ["add", *["conv3", "shuffle"] * stages, "relu"]
    assert irb == ["conv3", "relu"] * 4 + ["conv3"]
    assert kinds(graph)[0] == kinds(graph)[-1] == "mean"
    joined = next(op for op in graph if op.block == "rb")
    assert {graph[i].block for i in joined.inputs} == {"ieeb"} and min(joined.inputs) == 2  # the first layer's features


def test_graph_follows_the_network():
    stacked = architecture.operations(model.build("ablation", 2, variant="SN"), 2)
    assert kinds(stacked).count("conv3") == 17 + 1 + 1 and "add" not in kinds(stacked)


def test_architecture_figures(tmp_path):
    architecture.figure1(tmp_path / "1.png")
    architecture.figure2(tmp_path / "2.svg")
    height, width = images.size(tmp_path / "1.png")
    assert width > 4 * height > 800
    text = (tmp_path / "2.svg").read_text()
    assert text.count("<svg") == 1


def test_a_scale_of_no_weights_that_ship(monkeypatch, data):
    monkeypatch.setattr("sys.argv", ["figure.py", "--test_data_dir", str(data / "Set5"), "--scale", "8"])
    monkeypatch.setattr("results.measure.find_methods", lambda folder: ([], []))
    with pytest.raises(InputError, match="--scale 8: no weights that ship enlarge by it; name some with --weights"):
        figure.main()
