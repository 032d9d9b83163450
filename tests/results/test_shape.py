"""Files of figures that are damaged inside are refused where they are read: each kind of damage at each place."""

import csv
import io
import json
import math
import re
import types

import pytest

from dataset.errors import InputError
from results import experiments, measure, page, papers, readme, ship_weights, tables
from results.measure import NETWORKS
from results.shape import COUNT, PSNR, between, fits, some


@pytest.mark.parametrize(
    "shape, good, bad",
    [
        (float, (1, -2.5, 10**400), (True, "1", None, math.nan, math.inf)),
        (int, (1, 10**400), (True, 1.0, "1")),
        (COUNT, (0, 7), (-1, 2**70, 1.0, True)),
        (PSNR, (0, 37.5), (-1, 1e9, math.nan, "37.5", None)),
        (2, (2,), (2.0, 3, "2")),
        (("a", None), ("a", None), ("b", 0)),
        (re.compile("a+"), ("aa",), ("ab", 1)),
        ([int], ([], [1, 2]), ([1, "2"], {}, "12", None)),
        ({"a": int}, ({"a": 1}, {"a": 1, "b": 2}), ({}, {"a": "1"}, [], None)),
        ({str: int}, ({}, {"a": 1}), ({"a": "1"}, {None: 1}, [])),
        (some([int]), ([1],), ([], ["1"])),
        (between(0, 1), (0, 0.5), (2, "0")),
    ],
)
def test_shapes(shape, good, bad):
    assert all(fits(value, shape) for value in good) and not any(fits(value, shape) for value in bad)


# -- JSON --------------------------------------------------------------------------------------------

SCORE = {"psnr": 37.5, "ssim": 0.9, "paper": [37.0, 0.9]}
PICTURE = {"files": "ab", "height": 9, "width": 9, "psnr": 37.5, "ssim": 0.9, "bicubic_psnr": 3.0, "bicubic_ssim": 0.8}
ENTRY = {"set": "Set5", "scale": 2, "protocol": "published", "label": "LESRCNN", "file": "lesrcnn_x2.pth"}
ENTRY |= {"weights": "ab", "count": 1, "pictures": {"a": PICTURE}}
TRAINED = [{"network": name, "psnr": 30.0, "ssim": 0.8, "hours": 0.5} for name in NETWORKS]
BUDGET = {"max_steps": 5, "batch_size": 8, "patch_size": 24, "loss_fn": "L1"}
RUN = {
    "settings": {"ckpt_name": "net", "max_steps": 6, "scale": 2, "model": "lesrcnn", "teacher": ["a.pth"]},
    "taken": {"start": [["b.pth", "ab"]], "teacher": ["ab"]},
    "steps": 6,
    "seconds": 9.5,
    "data": {"sha256": "ab", "bytes": 1},
    "commands": ["x2/train.py"],
    "hardware": {"device": "CPU"},
    "versions": {"torch": "2"},
    "commit": "abc",
}


def compared(path):
    args = types.SimpleNamespace(out=path.parent, ckpt_dir=path.parent, only=["modern"])
    return experiments.compare_settings(args, ["--no"])


# Of each file: its name, content, how it is read, and what may be another way in it: keys that may lack or be null.
FILES = {
    "measured": ("measured.json", {"measured": [ENTRY]}, measure.Memory, "a psnr ssim bicubic_psnr bicubic_ssim"),
    "ablation": (
        "ablation.json",
        {"set": "Set5", "scale": 4, "budget": BUDGET, "hardware": {"device": "CPU"}, "networks": TRAINED},
        tables.ablation,
        "ssim",
    ),
    "card": (
        "x2.json",
        {
            "weights": "x2.pth",
            "scales": [2],
            "protocol": "luma",
            "training": {"steps_in_all": 5, "hours_in_all": 0.5, "hardware": {"device": "CPU"}},
            "test": {"Set5": {"x2": SCORE}, "Set14": {"x2": SCORE}},
        },
        lambda path: readme.weights_section([path], path.parent),
        "paper",
    ),
    "comparisons": (
        "comparisons.json",
        {"modern": {"flags": "--lr 1e-3", "psnr": {"250": 35.0}, "data": {"sha256": "ab"}}},
        compared,
        "modern sha256",
    ),
    "run, shipped": ("run.json", RUN, lambda path: ship_weights.read_run(path.parent), "commit sha256 start teacher"),
    "run, compared": (
        "run.json",
        {"settings": {}, "data": {"file": "train.h5", "sha256": "ab", "bytes": 1}}
        | {key: RUN[key] for key in ("steps", "seconds", "hardware", "commit")},
        lambda path: experiments.record_of(types.SimpleNamespace(ckpt_dir=path.parent)),
        "sha256 commit",
    ),
}


def spoilt(value, may_lack, key=""):
    """Copies of JSON content, each wrong at one place."""
    yield from (bad for bad in ([], {}, True, math.nan) if type(bad) is not type(value))
    if key not in may_lack:
        yield None
    if isinstance(value, (int, float)):
        yield from (-9, "9", 1e300)
    elif isinstance(value, str):
        yield 9
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from ([*value[:index], bad, *value[index + 1 :]] for bad in spoilt(part, may_lack))
    else:
        for name, part in value.items():
            if name not in may_lack:
                yield {other: value[other] for other in value if other != name}
            yield from (value | {name: bad} for bad in spoilt(part, may_lack, name))


@pytest.mark.parametrize("name", FILES)
def test_whatever_is_wrong_in_a_file_it_is_one_line(name, tmp_path):
    file, content, read, may_lack = FILES[name]
    path, count = tmp_path / file, 0
    for bad in spoilt(content, may_lack.split()):
        path.write_text(json.dumps(bad))
        with pytest.raises(InputError, match=f"{file}: is damaged; |is a run of an older version"):
            print(bad, read(path))
        count += 1
    for text in ("", "{", "no", "[" * 100_000, '{"a": 1, "a": 1}', json.dumps(content)[:-2]):
        path.write_text(text)
        with pytest.raises(InputError, match=f"{file}: is damaged; "):
            read(path)
    assert count > 30


def test_the_same_files_undamaged_are_read(tmp_path):
    for file, content, read, _ in FILES.values():
        (tmp_path / file).write_text(json.dumps(content))
        if file != "comparisons.json":
            assert read(tmp_path / file)
    (tmp_path / "comparisons.json").write_text(json.dumps(FILES["comparisons"][1]))
    with pytest.raises(SystemExit):  # it goes on to the flags, of which one is wrong
        FILES["comparisons"][2](tmp_path / "comparisons.json")


def test_nothing_is_there_twice(tmp_path):
    (tmp_path / "measured.json").write_text(json.dumps({"measured": [ENTRY, ENTRY | {"count": 2}]}))
    with pytest.raises(InputError, match="measured.json: is damaged"):
        measure.Memory(tmp_path / "measured.json")
    twice = json.dumps({"measured": [ENTRY]}).replace('"psnr": 37.5', '"psnr": 37.5, "psnr": 38')
    (tmp_path / "measured.json").write_text(twice)
    with pytest.raises(InputError, match="measured.json: is damaged"):
        measure.Memory(tmp_path / "measured.json")


def test_the_figures_of_equal_pictures_are_read(tmp_path):
    equal = ENTRY | {"pictures": {"a": PICTURE | {"psnr": math.inf, "ssim": 1.0}}}
    (tmp_path / "measured.json").write_text(json.dumps({"measured": [equal]}))
    memory = measure.Memory(tmp_path / "measured.json")
    memory.write()
    assert json.loads((tmp_path / "measured.json").read_text()) == {"measured": [equal]}


# -- CSV ---------------------------------------------------------------------------------------------

TIMES = "scale,width,height,form,precision,seconds,device,torch\n2,256,256,ours,fp32,0.25,A CPU,2.1\n"
LOG = "step,seconds,lr,loss,Sample_x2_psnr\n100,1,1e-4,0.1,28.5\n"
TABLES = {
    "benchmark": (TIMES, lambda path: tables.runtime(8, path.parent), "form precision device torch"),
    "log": (LOG, page.curve_data, "seconds lr loss"),
    "log, summed up": (
        LOG,
        lambda path: experiments.summary("modern", types.SimpleNamespace(ckpt_dir=path.parent)),
        "step seconds lr loss",
    ),
    "paper": (
        "method,x2_psnr,x2_ssim,x3_psnr,x3_ssim,x4_psnr,x4_ssim\nVDSR,37.53,0.9587,33.66,0.9213,31.35,0.8838\n",
        lambda path: tables.benchmark("Set5", [], "published"),
        "method",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_whatever_is_wrong_in_a_table_it_is_one_line(name, tmp_path, monkeypatch):
    text, read, any_text = TABLES[name]
    file = {"paper": "table4_set5.csv", "benchmark": "benchmark.csv"}.get(name, "log.csv")
    if name == "paper":
        monkeypatch.setattr(papers, "FOLDER", tmp_path)
    [row] = csv.DictReader(io.StringIO(text))
    bad = [
        "",
        text.splitlines()[0] + "\n",
        text + "1\n",
        text + f"{text.splitlines()[1]},9\n",
        '"' + text,
        "\x00" + text,
    ]
    for column in set(row) - set(any_text.split()):
        for cell in ("nan", "-9", "-inf", "no", "1e300", "9;5"):
            bad.append(",".join(row) + "\n" + ",".join((row | {column: cell}).values()) + "\n")
        rest = {other: row[other] for other in row if other != column}
        bad += [",".join(rest) + "\n" + ",".join(rest.values()) + "\n"] * (name != "log")
    for damaged in bad:
        (tmp_path / file).write_text(damaged)
        with pytest.raises(InputError, match=f"{file}: is damaged; "):
            print(repr(damaged), read(tmp_path / file))
    if "summed" not in name:
        (tmp_path / file).write_text(text)
        assert read(tmp_path / file)
