"""The loader's benchmark: it measures every way, and says so."""

import pytest

QUICK = ["--rounds", 1, "--seconds", 0.05, "--patch_size", 24, "--batch_size", 4, "--threads", 1]


def test_ways_are_measured_beside_the_plain_one(command, tmp_path):
    done = command(
        "dataset/benchmark_loader.py",
        "--gigabytes",
        0.02,
        "--folder",
        tmp_path,
        "--workers",
        1,
        "--ways",
        "none",
        "device",
        *QUICK,
    )
    assert done.returncode == 0, done.stderr
    table = [line.split() for line in done.stdout.splitlines() if line.endswith(tuple("0123456789"))]
    assert [(way, workers) for way, workers, *_ in table] == [
        ("plain", "0"),
        ("none", "0"),
        ("none", "1"),
        ("device", "0"),
    ]
    assert all(float(rate) > 0 for _, _, rate, *_ in table) and float(table[0][3]) == 1
    assert list(tmp_path.iterdir()) == []  # the random pictures have been removed


@pytest.mark.parametrize("content, message", [(None, "no such file"), (b"no HDF5", "not a readable HDF5")])
def test_bad_files(command, tmp_path, content, message):
    if content:
        (tmp_path / "x.h5").write_bytes(content)
    done = command("dataset/benchmark_loader.py", tmp_path / "x.h5", "--ways", "none", *QUICK)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
