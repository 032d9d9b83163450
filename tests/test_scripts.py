"""The two commands in the root, which are those of x2/, x3/, x4/ and lesrcnn_b/ for any --scale, run as published."""

import shlex

import h5py
import numpy as np
import pytest

import model
from dataset import bicubic, images
from solver.checkpoint import load_network, save_weights


@pytest.mark.parametrize("script, scale", [("train.py", 3), ("x2/train.py", 2), ("x2/train.py", 0)])
def test_cfsrcnn_s_training_as_published_but_for_its_length(command, tmp_path, picture, script, scale):
    with h5py.File(tmp_path / "train.h5", "w") as file:
        hr = picture(60, 60)
        file["HR/0"] = hr
        for factor in (2, 3, 4):
            file[f"X{factor}/0"] = np.ascontiguousarray(bicubic.imresize(hr, 1 / factor))
    flags = "--decay 400000 --model cfsrcnn --ckpt_name cfsrcnn --num_gpu 0 --patch_size 8 --batch_size 1 --max_steps 1"
    done = command(
        script,
        *shlex.split(flags),
        *("--scale", scale, "--ckpt_dir", tmp_path / "run", "--train_data_path", tmp_path / "train.h5"),
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    _, info = load_network(tmp_path / "run/cfsrcnn.pth", "cfsrcnn", scale or 2)
    assert info.multi_scale == (scale == 0) and info.scales == ((2, 3, 4) if scale == 0 else (scale,))


@pytest.mark.parametrize("script, scale", [("tcw_sample.py", 4), ("x2/tcw_sample.py", 2)])
def test_cfsrcnn_s_sampling_as_published(command, tmp_path, picture, script, scale):
    save_weights(model.build("cfsrcnn", scale), tmp_path / "cfsrcnn.pth")
    images.write_rgb(tmp_path / "data/a.png", picture(9, 8))
    flags = {"--test_data_dir": tmp_path / "data", "--ckpt_path": tmp_path / "cfsrcnn.pth", "--scale": scale}
    flags |= {"--model": "cfsrcnn", "--sample_dir": tmp_path / "samples"}
    done = command(script, *(word for flag in flags.items() for word in flag), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    [result] = tmp_path.glob(f"samples/cfsrcnn/data/x{scale}/SR/*.png")
    assert images.read_rgb(result).shape == (9 * scale, 8 * scale, 3)


def test_sampling_from_the_root_takes_the_weights_of_its_scale(command, tmp_path, picture):
    images.write_rgb(tmp_path / "a.png", picture(9, 8))
    flags = ("--test_data_dir", tmp_path / "a.png", "--sample_dir", tmp_path / "samples", "--scale", 3)
    done = command("tcw_sample.py", *flags, OMP_NUM_THREADS="1")
    assert done.returncode == 0 and "x3/lesrcnn_x3.pth" in done.stdout, done.stderr


@pytest.mark.parametrize("script", ["train.py", "tcw_sample.py"])
def test_a_wrong_flag_is_one_line(command, script):
    done = command(script, "--scale", "two")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "--scale" in done.stderr
