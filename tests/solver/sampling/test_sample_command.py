"""The published commands, run as a user runs them."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import model
from dataset import files, images
from dataset.bicubic import imresize
from solver.arguments import weights_meant
from solver.checkpoint import save_weights

SCRIPTS = {2: "x2/tcw_sample.py", 3: "x3/tcw_sample.py", 4: "x4/tcw_sample.py", 0: "lesrcnn_b/tcw_sample_b.py"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of fresh weights that start as an enlarger, by scale; 0 is blind."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    files = {}
    for scale in SCRIPTS:
        net = model.build("lesrcnn", scale or 2, multi_scale=scale == 0)
        net.init_identity()
        files[scale] = folder / (f"lesrcnn_x{scale}.pth" if scale else "lesrcnn.pth")
        save_weights(net, files[scale])
    return files


@pytest.fixture
def sample(command, weights, tmp_path):
    def run(data, scale=2, blind=False, ckpt=None, out=tmp_path / "samples", extra=(), **environment):
        ckpt = ckpt or weights[0 if blind else scale]
        return command(
            SCRIPTS[0 if blind else scale],
            "--model",
            "lesrcnn",
            "--test_data_dir",
            data,
            "--scale",
            scale,
            "--ckpt_path",
            ckpt,
            "--sample_dir",
            out,
            *extra,
            **environment,
        )

    return run


def pairs(folder, picture, scale=2, count=2):
    for i in range(1, count + 1):
        hr = picture(12 * scale, 13 * scale, seed=i)
        images.write_rgb(folder / f"x{scale}/img_{i:03}_SRF_{scale}_HR.png", hr)
        images.write_rgb(folder / f"x{scale}/img_{i:03}_SRF_{scale}_LR.png", imresize(hr, 1 / scale))


@pytest.mark.parametrize("scale, blind", [(2, False), (3, False), (4, False), (3, True)])
def test_published_command(scale, blind, sample, picture, tmp_path, weights):
    pairs(tmp_path / "Urban100", picture, scale)
    done = sample(tmp_path / "Urban100", scale, blind, extra=("--group", "1", "--shave", "20"))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "samples" / weights[0 if blind else scale].stem / "Urban100" / f"x{scale}"
    assert {f.name for f in (folder / "SR").iterdir()} == {f"img_{i:03}_SRF_{scale}_SR.png" for i in (1, 2)}
    assert {f.name for f in (folder / "HR").iterdir()} == {f"img_{i:03}_SRF_{scale}_HR.png" for i in (1, 2)}
    report = json.loads((folder / "results.json").read_text())
    assert report["protocol"] == "published" and len(report["weights"]["sha256"]) == 64
    assert report["versions"]["torch"] and report["mean"]["psnr"] > 15 and report["mean"]["bicubic_ssim"] > 0.2
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["name"] for row in rows] == [p["name"] for p in report["pictures"]] + ["mean"]
    assert f"{report['mean']['psnr']:.2f} / {report['mean']['ssim']:.4f}" in done.stdout
    assert "published protocol" in done.stdout and "megapixels per second" in done.stdout


def test_ifc_is_measured_for_who_asks(sample, picture, tmp_path):
    for height, name in ((80, "large"), (20, "small")):
        hr = picture(height, 80)
        images.write_rgb(tmp_path / "Set" / "x2" / f"{name}_HR.png", hr)
        images.write_rgb(tmp_path / "Set" / "x2" / f"{name}_LR.png", imresize(hr, 1 / 2))
    done = sample(tmp_path / "Set", extra=("--ifc",))
    assert done.returncode == 0 and "IFC bicubic" in done.stdout, done.stderr
    folder = tmp_path / "samples" / "lesrcnn_x2" / "Set" / "x2"
    large, small, mean = csv.DictReader((folder / "results.csv").open())
    assert float(large["bicubic_ifc"]) > 1 and small["ifc"] == "" and mean["ifc"] == large["ifc"]
    assert f"{float(mean['ifc']):.3f}" in done.stdout.splitlines()[4]
    done = sample(tmp_path / "Set")
    assert "IFC" not in done.stdout and "ifc" not in (folder / "results.csv").read_text()


def test_the_protocol_luma_has_no_colours_to_compare(sample, tmp_path):
    done = sample(tmp_path, extra=("--protocol", "luma", "--channel", "rgb"))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "leave one of them out" in done.stderr


def test_without_pyiqa_its_figures_are_one_clear_line(sample, picture, tmp_path):
    (tmp_path / "pyiqa.py").write_text("raise ImportError")
    pairs(tmp_path / "Set", picture)
    done = sample(tmp_path / "Set", extra=("--metrics", "vif"), PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("needs the library pyiqa; install it with pip install pyiqa")
    stub = "def create_metric(name, device): return lambda sr, hr: (sr - hr).abs().max() * 0 + 7"
    (tmp_path / "pyiqa.py").write_text(stub)
    done = sample(tmp_path / "Set", extra=("--metrics", "vif"), PYTHONPATH=str(tmp_path))
    assert done.returncode == 0 and "VIF bicubic" in done.stdout and "7.000" in done.stdout, done.stderr


def test_plain_folder_of_any_pictures(sample, picture, tmp_path):
    data = tmp_path / "mine"
    rgb = picture(9, 7)
    images.write_rgb(data / "größe 图.jpg", rgb)
    images.write(data / "alpha.png", images.Picture(rgb, rgb[:, :, 0].copy()))
    images.write(data / "deep.tif", images.Picture(rgb.astype(np.uint16) * 257))
    images.write(data / "grey.bmp", images.Picture(np.repeat(rgb[:, :, :1], 3, axis=2), grey=True))
    images.write_rgb(data / "dot.webp", picture(1, 1))
    done = sample(data)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "samples/lesrcnn_x2/mine/x2"
    results = {f.stem: images.read(f) for f in (out / "SR").iterdir()}
    assert {k: v.rgb.shape[:2] for k, v in results.items()} == {
        "größe 图": (18, 14),
        "alpha": (18, 14),
        "deep": (18, 14),
        "grey": (18, 14),
        "dot": (2, 2),
    }
    assert results["alpha"].alpha is not None and results["grey"].grey
    assert results["deep"].rgb.dtype == np.uint16
    assert not (out / "HR").exists()
    assert json.loads((out / "results.json").read_text())["mean"]["psnr"] is None
    one = sample(data / "dot.webp", extra=("--format", "tif"))
    assert one.returncode == 0 and (tmp_path / "samples/lesrcnn_x2/dot/x2/SR/dot.tif").exists()


def test_bad_pictures_are_skipped_and_told(sample, bad_files, picture, tmp_path):
    data = tmp_path / "mine"
    messages = bad_files(data)
    images.write_rgb(data / "good.png", picture(5, 5))
    done = sample(data)
    assert done.returncode == 2 and "Traceback" not in done.stderr + done.stdout
    assert [f.name for f in (tmp_path / "samples/lesrcnn_x2/mine/x2/SR").iterdir()] == ["good.png"]
    skipped = [line for line in done.stdout.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == len(messages)
    for name, message in messages.items():
        assert any(name in line and message in line for line in skipped)
    assert f"{len(messages)} skipped, 1 done" in done.stdout


def test_unpaired_and_unequal_pairs_are_skipped(sample, picture, tmp_path):
    pairs(tmp_path / "S", picture, count=4)
    (tmp_path / "S/x2/img_001_SRF_2_LR.png").unlink()
    (tmp_path / "S/x2/img_002_SRF_2_HR.png").unlink()
    images.write_rgb(tmp_path / "S/x2/img_003_SRF_2_HR.png", picture(20, 20))
    done = sample(tmp_path / "S")
    assert done.returncode == 2 and "3 skipped, 1 done" in done.stdout
    for told in ("HR without its LR", "LR without its HR", "is 20x20, but 2 times its LR is 26x24"):
        assert told in done.stdout


def fails(done, *told):
    """One clear line on standard error, exit status 2."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
    for words in told:
        assert words in done.stderr


def test_bad_arguments_are_one_line(sample, weights, picture, tmp_path):
    data = tmp_path / "mine"
    images.write_rgb(data / "a.png", picture(4, 4))
    (tmp_path / "empty").mkdir()
    fails(sample(tmp_path / "empty"), "no pictures in it")
    fails(sample(tmp_path / "none"), "no such folder")
    fails(sample(data, ckpt=tmp_path / "none.pth"), "none.pth: no such weights file", "download.py released-weights")
    fails(sample(data, ckpt=weights[4]), "x4 weights given for --scale 2")
    fails(sample(data, extra=("--scale", "5")), "--scale", "5")
    fails(sample(data, out=data / "a.png"), "cannot be written")
    done = sample(data, extra=("--memory", "1K"))
    assert done.returncode == 0 and re.search(r"less than .*program alone takes \d+M, so \d+M are taken", done.stderr)
    fails(sample(data, extra=("--memory", "9" * 320)), "is no size such as 2G")
    os.mkfifo(data / "pipe.png")
    done = sample(data)
    assert done.returncode == 2 and "pipe.png: is a pipe or a device" in done.stdout and "1 done" in done.stdout
    fails(sample(data / "pipe.png"), "is a file, expected a folder")
    if not torch.cuda.is_available():
        fails(sample(data, extra=("--cuda",)), "no CUDA GPU")
        fails(sample(data, extra=("--device", "cuda")), "--device cuda", "give one of auto")
    fails(sample(data, extra=("--cuda", "--device", "cpu")), "contradict each other")


def test_a_result_that_cannot_be_written_is_skipped_and_the_report_is_there(sample, picture, tmp_path):
    for i in range(3):
        images.write_rgb(tmp_path / f"mine/{i}.png", picture(5, 6, seed=i))
    images.write_rgb(tmp_path / "mine/1_strip.png", np.zeros((8200, 1, 3), np.uint8))  # WebP ends at 16,383
    done = sample(tmp_path / "mine", extra=("--format", "webp"))
    out = tmp_path / "samples/lesrcnn_x2/mine/x2"
    assert done.returncode == 2 and "Traceback" not in done.stderr and "1 skipped, 3 done" in done.stdout
    assert "1_strip.webp: a picture of 2x16400 pixels does not fit into .webp" in done.stdout
    assert sorted(os.listdir(out / "SR")) == ["0.webp", "1.webp", "2.webp"]
    assert len(json.loads((out / "results.json").read_text())["pictures"]) == 3


def test_nothing_of_another_run_is_lost_without_a_word(sample, picture, tmp_path):
    for i in (1, 2):
        images.write_rgb(tmp_path / f"{i}/frames/a.png", picture(5, 6, seed=i))
    out = tmp_path / "samples/lesrcnn_x2"
    assert "replaced" not in sample(tmp_path / "1/frames").stdout
    assert "replaced" not in sample(tmp_path / "1/frames").stdout  # the same again
    done = sample(tmp_path / "2/frames")
    assert f"results of other weights, or of {tmp_path / '1/frames'}, are replaced" in done.stdout
    with files.locked(out / "frames/x2", "a test"):  # it runs at the same time
        done = sample(tmp_path / "1/frames")
    assert done.returncode == 0 and "frames/x2: another command is writing there" in done.stdout
    assert {name.name for name in out.iterdir()} == {"frames", "frames-2"} and (out / "frames-2/x2/SR/a.png").exists()
    before = (out / "frames/x2/SR/a.png").read_bytes()
    for data in (out / "frames/x2/SR/a.png", out / "SR/x2/SR"):
        if data.suffix == ".png":
            data = data.rename(tmp_path / "b.png")
            target = out / "b/x2/SR/b.png"
        else:
            target = data / "a.png"
        target.parent.mkdir(parents=True)
        target.write_bytes(before)
        fails(sample(target if data.suffix else data), "results would be written over the pictures themselves")
        assert target.read_bytes() == before


def test_names_of_all_kinds_in_report_and_terminal(sample, picture, tmp_path):
    names = ["=1+1", "a\x1b[31mred", "b\nskipped: c", "caf\udce9", "1\u00b22", "|$&<!--<script>"]
    folder = tmp_path / "dir\x1b]0;title\x07"
    for name in names:
        images.write_rgb(folder / f"{name}.png", picture(3, 3))
    (folder / "bad\x1b[2J.png").write_bytes(b"")
    done = sample(folder)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "1 skipped, 6 done" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr and "\nskipped: c" not in done.stdout
    assert "caf\\udce9" in done.stdout and "bad\\x1b[2J.png: not a readable" in done.stdout
    (out,) = (tmp_path / "samples/lesrcnn_x2").iterdir()
    assert {file.stem for file in (out / "x2/SR").iterdir()} == set(names)
    report = json.loads((out / "x2/results.json").read_text())
    assert {row["name"] for row in report["pictures"]} == set(names)
    with open(out / "x2/results.csv", newline="") as file:
        assert "'=1+1" in [row["name"] for row in csv.DictReader(file)]


def test_interrupted_and_run_again(root, weights, picture, tmp_path):
    """Killed in the middle by Ctrl-C: only whole pictures are there, and a second run completes them."""
    sides = [40, 300, 300, 300, 300]  # seconds of work are left once the first is there
    for i, side in enumerate(sides):
        images.write_rgb(tmp_path / f"mine/{i}.png", picture(side, side, seed=i))
    out = tmp_path / "samples/lesrcnn_x2/mine/x2/SR"
    arguments = [
        sys.executable,
        root / SCRIPTS[2],
        "--ckpt_path",
        weights[2],
        "--test_data_dir",
        tmp_path / "mine",
        "--sample_dir",
        tmp_path / "samples",
    ]
    # Tests that a shell has put into the background pass on that Ctrl-C is ignored.
    process = subprocess.Popen(
        arguments,
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.time() + 60
    while process.poll() is None and time.time() < deadline and not (out.exists() and any(out.glob("*.png"))):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "interrupted; with --resume" in error and "Traceback" not in error
    done = sorted(out.iterdir())
    assert 1 <= len(done) < len(sides)
    assert all(images.read(f).rgb.shape == (2 * side, 2 * side, 3) for f, side in zip(done, sides))
    files.temporary_path(out / "0.png", process.pid).write_bytes(b"left behind by a SIGKILL")
    assert subprocess.run(arguments, cwd=root, capture_output=True).returncode == 0
    assert sorted(os.listdir(out)) == [f"{i}.png" for i in range(len(sides))]


def test_released_weights_through_the_command(reference, sample, tmp_path):
    done = sample(reference / "Set5", ckpt=reference / "weights/lesrcnn_x2.pth")
    assert done.returncode == 0 and "37.65 / 0.9586" in done.stdout
    done = sample(reference / "Set5", ckpt=reference / "weights/lesrcnn_x2.pth", extra=("--protocol", "modern"))
    assert "37.65 /" not in done.stdout and "modern protocol" in done.stdout


def test_weights_say_which_network_they_are_of(command, picture, tmp_path):
    images.write_rgb(tmp_path / "mine/a.png", picture(8, 9))
    save_weights(model.build("espcn", 2), tmp_path / "espcn_x2.pth")
    flags = ["--test_data_dir", tmp_path / "mine", "--sample_dir", tmp_path / "s"]
    done = command("x2/tcw_sample.py", "--ckpt_path", tmp_path / "espcn_x2.pth", *flags)
    assert done.returncode == 0 and done.stdout.startswith("espcn x2 ("), done.stderr
    done = command("tcw_sample.py", "--model", "lapsrn", "--scale", "3", *flags)
    assert done.returncode == 2 and "--scale 3: lapsrn enlarges by one of 2, 4, 8" in done.stderr


@pytest.mark.parametrize("named", [None, Path("checkpoint/x2/vdsr_x2.pth")])
def test_blind_weights_serve_where_they_alone_ship(named, root, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert weights_meant(named, "vdsr", 2) == root / "checkpoint/blind/vdsr.pth"
    assert ("checkpoint/x2/vdsr_x2.pth: is not there" in capsys.readouterr().err) == bool(named)
    for other in (Path("mine/vdsr_x2.pth"), Path("checkpoint/x3/vdsr_x3.pth")):
        assert weights_meant(other, "vdsr", 2) == other
    own = tmp_path / "checkpoint/x2/vdsr_x2.pth"
    own.parent.mkdir(parents=True)
    own.touch()
    assert weights_meant(named, "vdsr", 2) == Path("checkpoint/x2/vdsr_x2.pth")
    assert not capsys.readouterr().err
