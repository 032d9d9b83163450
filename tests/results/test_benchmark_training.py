"""The training benchmark, at a size that only shows that it works."""

import json
import runpy
import sys

import pytest


def test_it_measures_all_contenders_in_one_run(root, tmp_path, monkeypatch, capsys):
    report = tmp_path / "report.json"
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "benchmark_training.py",
            "--patch_size",
            "4",
            "--batch_size",
            "2",
            "--rounds",
            "2",
            "--steps",
            "1",
            "--num_gpu",
            "0",
            "--output",
            str(report),
        ],
    )
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "results/benchmark_training.py"), run_name="__main__")
    assert end.value.code == 0
    contenders = json.loads(report.read_text())["contenders"]
    assert list(contenders) == ["published", "ours, fp32", "ours, bf16"]
    assert contenders["published"]["times_published"] == 1
    assert all(row["steps_per_second"] > 0 for row in contenders.values())
    assert "ours, bf16" in capsys.readouterr().out
