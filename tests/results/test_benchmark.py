"""The benchmark of sampling, at a size that only shows that it works."""

import csv
import sys

import pytest

from dataset.errors import InputError
from results import benchmark
from results.tables import runtime


def test_every_contender_is_measured_beside_the_published_form(root, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "matrix_product", small_product)
    flags = ["--scale", "2", "--sizes", "32x24", "256x4", "--rounds", "2", "--cpu"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *flags, "--output", str(tmp_path / "benchmark")])
    assert benchmark.main() == 0
    rows = list(csv.DictReader((tmp_path / "benchmark.csv").open()))
    forms = [
        ("published", "fp32"),
        ("ours", "fp32"),
        ("ours, in pieces", "fp32"),
        ("ours", "bf16"),
        ("ours, in pieces", "bf16"),
    ]
    assert [(row["form"], row["precision"]) for row in rows] == 2 * forms
    for row in rows:
        assert min(float(row[figure]) for figure in ("seconds", "times_published", "share_of_mm")) > 0
        assert int(row["width"]) * int(row["height"]) / 1e6 / float(row["seconds"]) == pytest.approx(
            float(row["megapixels_per_second"]), rel=1e-3
        )
    assert float(rows[0]["times_published"]) == 1
    # Two up-sampler passes are counted for the published form, one for ours: 12 % of all multiply-adds.
    flops = [float(row["gflops"]) * float(row["seconds"]) for row in rows[:2]]
    assert flops[1] / flops[0] == pytest.approx(0.88, abs=0.01)
    assert (tmp_path / "benchmark.png").stat().st_size > 1000 and "of mm rate" in capsys.readouterr().out
    assert any("LESRCNN, ours, fp32" in row.cells for row in runtime("8", tmp_path).rows)


def small_product(precision, device):
    import torch

    a = torch.zeros(64, 64)
    return lambda: torch.mm(a, a), 2.0 * 64**3


def test_sizes():
    assert benchmark.parse_size("1080p") == (1920, 1080) and benchmark.parse_size("640x360") == (640, 360)
    for wrong in ("640", "0x5", "axb"):
        with pytest.raises(InputError, match="--sizes"):
            benchmark.parse_size(wrong)
