"""What each runtime makes of weights, at a size that only shows that it works."""

import shlex

import pytest
import torch

import model
from dataset.errors import InputError
from results import deploy, runtimes
from solver import export
from solver.checkpoint import save_weights

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


@pytest.fixture
def measure(monkeypatch, tmp_path, data):
    """Run ``deploy.py`` with these flags on weights of ESPCN and CARN-M at x2; the rows that it wrote."""
    folder, measured, real = tmp_path / "weights", [], runtimes.measured
    folder.mkdir()
    torch.manual_seed(0)
    save_weights(model.build("espcn", 2), folder / "espcn_x2.pth")
    save_weights(model.build("carn", 2, variant="M"), folder / "carn_x2.pth")

    def counted(job, *given):
        measured.append(str(job))
        return real(job, *given)

    def run(flags=""):
        flags = f"deploy.py --weights {folder} --data {data} --rounds 1 --output {tmp_path}/deploy {flags}"
        monkeypatch.setattr("sys.argv", shlex.split(flags))
        deploy.main()
        return runtimes.read(tmp_path / "deploy.csv")

    monkeypatch.setattr(runtimes, "measured", counted)
    monkeypatch.setattr(runtimes, "RESULT", (64, 48))
    run.measured, run.folder = measured, folder
    return run


def test_every_form_is_there_and_float32_is_the_same(measure, tmp_path, capsys):
    rows = measure("--networks espcn")
    forms = [(row["runtime"], row["precision"]) for row in rows if row["precision"] == "fp32"]
    assert forms == [("PyTorch", "fp32"), ("OpenVINO", "fp32"), ("ONNX Runtime", "fp32")]
    exact, *others = (row for row in rows if row["precision"] == "fp32")
    for row in others:
        assert row["Set5 psnr"] == pytest.approx(exact["Set5 psnr"], abs=1e-3)
    assert exact["parameters"] == 21_284 and exact["bytes"] == (measure.folder / "espcn_x2.pth").stat().st_size
    assert all(row["times"] > 0 and row["Set14 psnr"] is None for row in rows)
    assert all(1 < row["peak_memory_mb"] < 1000 for row in rows)
    text = (tmp_path / "deploy.md").read_text()
    assert "| ESPCN | x2 | 21,284 |" in text and "Set14: not in" in capsys.readouterr().out


def test_what_is_known_is_not_measured_again(measure):
    measure("--networks espcn")
    rows = measure("--networks carn")
    assert measure.measured == ["ESPCN x2", "CARN x2"] and {row["network"] for row in rows} == {"ESPCN", "CARN"}
    assert measure("--networks espcn") == rows and len(measure.measured) == 2


def test_int8_that_ships_is_taken(measure, monkeypatch):
    """Any exported file of that name: what it holds is not looked at."""
    to = measure.folder / "espcn_x2_int8.onnx"
    monkeypatch.setattr("sys.argv", ["export.py", "--ckpt_path", f"{measure.folder}/espcn_x2.pth", "--out", str(to)])
    export.main()
    rows = measure("--networks espcn")
    assert [row["runtime"] for row in rows if row["precision"] == "int8"] == ["OpenVINO", "ONNX Runtime"]


def test_int8_that_cannot_be_made_is_told(measure, data, capsys):
    rows = measure(f"--networks espcn --calibrate {data}/Set5/x2")
    assert "left out: --calibrate" in capsys.readouterr().out and "int8" not in {row["precision"] for row in rows}


@pytest.mark.parametrize(
    "flags, message", [("--networks vdsr", "there are no weights of it"), ("--scale 3", "there are no weights")]
)
def test_nothing_to_measure_is_one_line(measure, flags, message):
    with pytest.raises(InputError, match=message):
        measure(flags)


def test_a_damaged_memory_is_one_line(measure, tmp_path):
    (tmp_path / "deploy.json").write_text('{"rows": {"a": [{"runtime": 1}]}}')
    with pytest.raises(InputError, match="deploy.json: is damaged; delete it"):
        measure("--networks espcn")


def test_losses_are_to_float32():
    row = {"network": "A", "scale": 2, "weights": "a.pth", "parameters": 1234, "flops": 10**9, "runtime": "PyTorch"}
    row |= {"precision": "fp32", "bytes": 10**6, "seconds": 1.0, "times": 1.0, "peak_memory_mb": 9.0, "device": "A CPU"}
    row |= {"versions": "torch 2"} | {f"{n} {f}": v for n in runtimes.SETS for f, v in (("psnr", 37.5), ("ssim", 0.9))}
    other = row | {"precision": "int8", "Set5 psnr": 37.46, "Set14 psnr": 37.5000001, "Sample psnr": None}
    lines = runtimes.table([row, other]).markdown().splitlines()
    assert "| 37.500 | 0.000 | 0.9000 |" in lines[4]
    assert "| 37.460 | 0.040 | 0.9000 | 37.500 | 0.000 | 0.9000 | - | - |" in lines[5]
