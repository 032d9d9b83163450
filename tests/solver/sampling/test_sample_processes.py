"""The sampling command in several processes, and killed in the middle of a large result."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import model
from dataset import files, images
from dataset.bicubic import imresize
from solver.checkpoint import save_weights

ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    net = model.build("lesrcnn", 2)
    net.init_identity()
    path = tmp_path_factory.mktemp("weights") / "lesrcnn_x2.pth"
    save_weights(net, path)
    return path


def figures(folder):
    """The tables without what depends on the clock."""
    report = json.loads((folder / "results.json").read_text())
    for key in ("seconds_in_all", "megapixels_per_second", "processes"):
        del report[key]
    for row in report["pictures"]:
        del row["seconds"]
    rows = list(csv.DictReader((folder / "results.csv").open()))
    for row in rows:
        del row["seconds"]
    return report, rows


def test_two_processes_make_the_tables_of_one(command, weights, picture, tmp_path):
    for i in range(1, 6):
        hr = picture(24 + 8 * i, 30, seed=i)
        images.write_rgb(tmp_path / f"S/x2/img_{i:03}_SRF_2_HR.png", hr)
        images.write_rgb(tmp_path / f"S/x2/img_{i:03}_SRF_2_LR.png", imresize(hr, 1 / 2))
    (tmp_path / "S/x2/img_002_SRF_2_LR.png").write_bytes(b"no picture")
    (tmp_path / "S/x2/img_004_SRF_2_HR.png").unlink()
    flags = ["x2/tcw_sample.py", "--ckpt_path", weights, "--test_data_dir", tmp_path / "S", "--sample_dir"]
    one = command(*flags, tmp_path / "one", **ONE_THREAD)
    two = command(
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, *flags, tmp_path / "two", **ONE_THREAD
    )
    assert one.returncode == 2 and two.stdout.count("2 skipped, 3 done") == 1, two.stdout + two.stderr
    folders = [tmp_path / name / "lesrcnn_x2/S/x2" for name in ("one", "two")]
    assert figures(folders[0]) == figures(folders[1])
    for result in folders[0].glob("*R/*"):
        assert result.read_bytes() == (folders[1] / result.parent.name / result.name).read_bytes()
    assert len(list(folders[1].glob("*R/*"))) == 6


# Such a picture is small, and so is the memory then: less than the program takes.
LITTLE_MEMORY = """if True:
    import runpy, sys
    from solver.sampling.memory import Budget
    Budget.take_the_least = Budget.check_picture = lambda *_: None
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_killed_in_the_middle_of_a_large_result(root, weights, picture, tmp_path):
    """SIGKILL while it is written in bands: nothing has the final name; the next run cleans up."""
    images.write_rgb(tmp_path / "large.png", picture(700, 160))
    out = tmp_path / "samples/lesrcnn_x2/large/x2/SR"
    arguments = [
        sys.executable,
        "-c",
        LITTLE_MEMORY,
        "x2/tcw_sample.py",
        "--ckpt_path",
        weights,
        "--test_data_dir",
        tmp_path / "large.png",
        "--sample_dir",
        tmp_path / "samples",
        "--tile",
        "64",
        "--memory",
        "60M",
    ]
    process = subprocess.Popen(arguments, cwd=root, env=os.environ | ONE_THREAD, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not any(p.stat().st_size > 20_000 for p in out.glob(".*.part")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [p.name for p in out.iterdir()] == [files.temporary_path(out / "large.png", process.pid).name]
    done = subprocess.run(arguments, cwd=root, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.listdir(out) == ["large.png"] and images.size(out / "large.png") == (1400, 320)
