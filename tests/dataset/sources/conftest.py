"""Fixtures of the tests of sources."""

import h5py
import pytest

from dataset import images
from dataset.bicubic import imresize

SIZES = [(48, 60), (61, 40), (75, 82)]  # HR heights and widths


@pytest.fixture
def pictures(picture):
    """Three HR pictures."""
    return [picture(*size, seed=seed) for seed, size in enumerate(SIZES)]


@pytest.fixture
def folder(pictures, tmp_path):
    """A folder of HR pictures, and one of their LR pictures at x2, named as DIV2K's; returns the folder of both."""
    for number, hr in enumerate(pictures):
        height, width = hr.shape[:2]
        images.write_rgb(tmp_path / "both" / "hr" / f"{number:04}.png", hr)
        lr = imresize(hr[: height // 2 * 2, : width // 2 * 2], 1 / 2, boundary="symmetric")
        images.write_rgb(tmp_path / "both" / "lr" / f"{number:04}x2.png", lr)
    return tmp_path / "both"


@pytest.fixture
def pairs(tmp_path):
    """Make an HDF5 file of patch pairs whose every value tells its number: lr and hr are (N, ...) arrays."""

    def make(lr, hr, name="pairs.h5", **options):
        with h5py.File(tmp_path / name, "w") as file:
            for key, data in (("lr", lr), ("hr", hr)):
                file.create_dataset(key, data=data, **options)
        return tmp_path / name

    return make
