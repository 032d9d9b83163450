"""Fixtures of the training tests."""

import h5py
import numpy as np
import pytest
import torch

from dataset import bicubic, images
from solver.training import command as train_options


@pytest.fixture(scope="session")
def training_file(tmp_path_factory):
    """A small HDF5 file in the layout of dataset/div2h5.py: six smooth pictures and one tiny one."""
    path = tmp_path_factory.mktemp("data") / "train.h5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for i, side in enumerate((72, 60, 72, 60, 84, 72, 12)):
            coarse = random.integers(0, 256, (side // 6, side // 6, 3), dtype=np.uint8)
            hr = bicubic.imresize(coarse, 6)
            file[f"HR/{i}"] = hr
            for scale in (2, 3, 4):
                file[f"X{scale}/{i}"] = bicubic.imresize(hr, 1 / scale)
    return path


@pytest.fixture(scope="session")
def validation_folder(tmp_path_factory):
    """A benchmark folder with one small picture, for all scales."""
    folder = tmp_path_factory.mktemp("Tiny")
    hr = bicubic.imresize(np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8), 6)
    for scale in (2, 3, 4):
        images.write_rgb(folder / f"x{scale}" / f"a_SRF_{scale}_HR.png", hr)
        images.write_rgb(folder / f"x{scale}" / f"a_SRF_{scale}_LR.png", bicubic.imresize(hr, 1 / scale))
    return folder


@pytest.fixture
def one_thread():
    """Let torch compute in one thread: runs as small as the tests' only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def settings(training_file, tmp_path, one_thread):
    """Read a training command line of a tiny run: the flags given here come on top, and win."""

    def read(*flags, scale=2):
        small = [
            "--train_data_path",
            training_file,
            "--ckpt_dir",
            tmp_path / "run",
            "--patch_size",
            8,
            "--batch_size",
            4,
            "--max_steps",
            6,
            "--print_interval",
            2,
        ]
        return train_options.parse(scale, [str(flag) for flag in (*small, *flags)])

    return read
