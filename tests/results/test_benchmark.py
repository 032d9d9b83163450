"""The benchmarks, at sizes that only show that they work."""

import csv
import json
import shlex

import pytest
import torch

from dataset.errors import InputError
from dataset.files import locked
from results import benchmark, sampling_speed, turns, video_speed
from results.papers import CFSRCNN
from results.tables import runtime


@pytest.fixture
def measure(monkeypatch):
    """Run ``benchmark.py`` with these flags on the CPU."""

    def run(line):
        monkeypatch.setattr("sys.argv", ["benchmark.py", *shlex.split(line), "--device", "cpu"])
        return benchmark.main()

    monkeypatch.setattr(sampling_speed, "matrix_product", small_product)
    return run


def small_product(precision, device):
    a = torch.zeros(64, 64)
    return lambda: torch.mm(a, a), 2.0 * 64**3


def test_contenders_take_turns_and_the_first_turn_does_not_count(monkeypatch):
    order, clock = [], iter([0, 9, 9, 18, 0, 2, 2, 6, 0, 4, 4, 6])  # each turn's start and end
    monkeypatch.setattr(turns.time, "perf_counter", lambda: next(clock))
    steps = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = turns.take_turns(steps, 2, torch.device("cpu"), steps=2)
    assert order == list("aabb" * 3) and seconds == {"a": [1, 2], "b": [2, 1]}
    assert turns.ratio([2, 4, 8], [1, 4, 2]) == 2  # of the turns' ratios 2, 1, 4


def test_every_form_is_measured_beside_the_published_one(measure, tmp_path, capsys):
    measure(f"sampling --scale 2 --sizes 32x24 256x4 --rounds 2 --output {tmp_path}/benchmark")
    rows = list(csv.DictReader((tmp_path / "benchmark.csv").open()))
    ours = [(f"ours{pieces}", precision) for precision in ("fp32", "bf16") for pieces in ("", ", in pieces")]
    assert [(row["form"], row["precision"]) for row in rows] == 2 * [("published", "fp32"), *ours]
    for row in rows:
        assert min(float(row[figure]) for figure in ("seconds", "times_published", "share_of_mm")) > 0
        assert int(row["width"]) * int(row["height"]) / 1e6 / float(row["seconds"]) == pytest.approx(
            float(row["megapixels_per_second"]), rel=1e-3
        )
        assert row["device"] == turns.machine(torch.device("cpu"))
    assert float(rows[0]["times_published"]) == 1
    # Two up-sampler passes are counted for the published form, one for ours: 12 % of all multiply-adds.
    flops = [float(row["gflops"]) * float(row["seconds"]) for row in rows[:2]]
    assert flops[1] / flops[0] == pytest.approx(0.88, abs=0.01)
    assert (tmp_path / "benchmark.png").stat().st_size > 1000 and "times published" in capsys.readouterr().out
    assert any("LESRCNN, ours, fp32" in row.cells for row in runtime(8, tmp_path).rows)


def test_what_is_too_large_for_the_memory_is_not_run(measure, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling_speed.memory, "free", lambda device: 10_000)
    measure(f"sampling --scale 4 --sizes 32x24 --precision fp32 --rounds 1 --output {tmp_path}/benchmark")
    published, whole, pieces = csv.DictReader((tmp_path / "benchmark.csv").open())
    assert published["note"].startswith("not run: needs about") and whole["seconds"] == published["seconds"] == ""
    assert float(pieces["seconds"]) > 0 and pieces["times_published"] == ""


def test_networks_of_table_2(measure, tmp_path):
    measure(f"sampling --networks SN HN --sizes 32x32 256 --precision fp32 --rounds 1 --output {tmp_path}/runtime")
    rows = runtime(2, tmp_path).rows
    assert [row.cells[0] for row in rows] == ["SN", "HN", "SN, fp32", "HN, fp32"] and rows[3].kind == "ours"
    assert rows[2].cells[2] > 0 and rows[2].cells[3] is None and "threads" in rows[2].cells[1]


def test_each_paper_s_running_times_have_a_file_of_their_own(measure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    measure("sampling --networks cfsrcnn --scale 2 --sizes 256 --precision fp32 --rounds 1")
    rows = [row.cells[0] for row in runtime(9, tmp_path / "results", CFSRCNN).rows if row.kind == "ours"]
    assert rows == ["CFSRCNN, fp32"]
    names = [benchmark.usual_name("sampling", networks) for networks in ([], ["SN", "HN"], ["lesrcnn"])]
    assert names == ["benchmark", "runtime", "runtime"]


def test_sizes(measure, tmp_path):
    assert sampling_speed.parse_size("1080p") == (1920, 1080) and sampling_speed.parse_size("640x360") == (640, 360)
    for wrong in ("640", "0x5", "axb", "3x3", "1000000x1000000", "99999x99999", "9" * 5000 + "x9"):
        with pytest.raises(InputError, match="--sizes"):
            measure(f"sampling --sizes {wrong} --output {tmp_path}/benchmark")


@pytest.mark.parametrize(
    "flags, told",
    [
        ("sampling --sizes 32x32 --scale 8", "--scale 8: LESRCNN: this network enlarges by 2, 3 or 4, not by 8"),
        ("sampling --sizes 32x32 --scale 3 --networks lapsrn", "--scale 3: lapsrn: this network enlarges by 2, 4 or 8"),
        ("sampling --sizes 4x4 --scale 8 --networks lapsrn", "--sizes 4x4: has not one LR pixel at x8"),
        ("training --scale 8", "--scale 8: training is measured at 2, 3 and 4"),
        ("networks --scale 8", "--scale 8: networks is measured at 2, 3 and 4"),
        ("networks --scale 3 --networks lapsrn", "--scale 3: none of --networks lapsrn has it"),
    ],
)
def test_a_scale_that_is_not_there_is_one_line(measure, tmp_path, flags, told):
    with pytest.raises(InputError, match=told):
        measure(f"{flags} --rounds 1 --output {tmp_path}/a")


@pytest.mark.parametrize(
    "flags",
    [
        "--patch_size 10000",
        "--patch_size 99999999999",
        "--batch_size 1000000000000",
        "--steps 1000000000000",
        "--rounds 1000000000000",
        "--output /",
        "--output {}/file/a",
    ],
)
def test_what_is_too_large_is_one_line(measure, tmp_path, capsys, flags):
    (tmp_path / "file").touch()
    flags = flags.format(tmp_path) if "--output" in flags else f"{flags} --output {tmp_path}/a"
    with pytest.raises((InputError, SystemExit)) as end:
        measure(f"training --batch_size 4 --patch_size 4 --rounds 1 --steps 1 {flags}")
    told = capsys.readouterr().err or f"{end.value}\n"
    assert told.count("\n") == 1 and flags.split()[0] in told or "file: cannot be written" in told


def test_two_at_once(measure, tmp_path):
    with locked(tmp_path, "a test"), pytest.raises(InputError, match="another command of results/ is writing there"):
        measure(f"sampling --sizes 32x32 --output {tmp_path}/benchmark")


def test_figures_that_cannot_be_written_have_been_shown(measure, tmp_path, capsys):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match="a.json: cannot be written"):
        measure(f"training --patch_size 4 --batch_size 2 --rounds 1 --steps 1 --output {tmp_path}/a")
    assert "x published" in capsys.readouterr().out


def test_training_is_measured_beside_the_published_loop(measure, tmp_path, capsys):
    measure(f"training --patch_size 4 --batch_size 2 --rounds 2 --steps 1 --output {tmp_path}/report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["contenders"]) == ["published", "ours, fp32", "ours, bf16"]
    assert report["contenders"]["published"]["times_published"] == 1
    assert all(row["steps_per_second"] > 0 for row in report["contenders"].values())
    assert report["device"] == turns.machine(torch.device("cpu")) and report["device"] in capsys.readouterr().out


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.chosen_device(None) == torch.device("cpu")
    with pytest.raises(InputError, match="--device cuda"):
        benchmark.chosen_device("cuda")


def test_a_film_is_measured_beside_ffmpegs_scaler(measure, tmp_path, capsys, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(video_speed, "FILMS", {"espcn": (3, 48, 32)})
    measure(f"video --frames 3 --rounds 1 --output {tmp_path}/video")
    report = json.loads((tmp_path / "video.json").read_text())
    assert [*report["contenders"]] == ["FFmpeg, bicubic x3", "espcn x3, fp32", "espcn x3, int8"]
    assert report["frames"] == 3 and all(row["frames_per_second"] > 0 for row in report["contenders"].values())
    assert report["contenders"]["FFmpeg, bicubic x3"]["times_scaler"] == 1
    assert "x FFmpeg's scaler" in capsys.readouterr().out
