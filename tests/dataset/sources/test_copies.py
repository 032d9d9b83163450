"""Shrunk copies, and LR pictures that are made: as if they had been made whole."""

import h5py
import numpy as np
import pytest
import torch

from dataset import div2h5, images
from dataset.div2h5 import Source
from dataset.sources.copies import Copies
from dataset.sources.hdf5 import Hdf5Pictures
from dataset.train_set import TrainSet

FACTORS = (1.0, 0.9, 0.7)


def packed(folder, path, downscale):
    sources = [Source(hr, downscale=factor) for factor in (1.0, *downscale) for hr in sorted((folder / "hr").iterdir())]
    div2h5.write(path, sources, [2, 3, 4], workers=1)
    return path


@pytest.fixture
def file(folder, tmp_path):
    """The pictures as div2h5.py packs them."""
    return packed(folder, tmp_path / "plain.h5", ())


@pytest.fixture
def more(folder, tmp_path):
    """The pictures and their shrunk copies."""
    return packed(folder, tmp_path / "more.h5", FACTORS[1:])


@pytest.mark.parametrize("scale", [2, 3, 0])
@pytest.mark.parametrize("cache", ["none", "ram"])
def test_copies_are_those_that_div2h5_makes(file, more, scale, cache):
    ours = TrainSet(file, scale, 7, 12, factors=FACTORS, cache=cache, weighting="area")
    theirs = TrainSet(more, scale, 7, 12, weighting="area")
    for step in range(12):
        one, two = ours.batch(step), theirs.batch(step)
        assert one.scale == two.scale and torch.equal(one.lr, two.lr) and torch.equal(one.hr, two.hr)


def test_copies_too_small_are_named(file):
    train_set = TrainSet(file, 2, 20, 12, factors=(1.0, 0.6))
    assert train_set.skipped == ["hr/0000.png x0.6", "hr/0001.png x0.6", "hr/0002.png x0.6"][: len(train_set.skipped)]
    assert train_set.skipped


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_a_picture_without_a_pixel_of_lr_is_left_out(folder, picture, cache):
    images.write_rgb(folder / "hr" / "tiny.png", picture(1, 60))
    train_set = TrainSet(folder / "hr", 2, 8, 12, cache=cache)
    assert train_set.skipped == ["tiny"] and train_set.batch(0).lr.shape == (12, 3, 8, 8)


def test_no_more_is_read_than_a_patch_needs(file):
    """Of the pictures there is a window a little larger than the patch."""
    source = Hdf5Pictures(file, (2,))
    asked = []

    class Watched(Hdf5Pictures):
        def reader(self):
            read = super().reader()
            return lambda *part: asked.append(part[4:]) or read(*part)

    source.__class__ = Watched
    copies = Copies(source, (0.5,))
    copies.reader()("X2", 2, 3, 4, 2, 3)
    assert len(asked) == 1 and max(asked[0]) < 40
    whole = Copies(Hdf5Pictures(file, (2,)), (0.5,)).reader()("X2", 2, 0, 0, *copies.sizes["X2"][2])
    np.testing.assert_array_equal(copies.reader()("X2", 2, 3, 4, 2, 3), whole[3:5, 4:7])


def test_turns_are_those_that_are_asked_for(file):
    with h5py.File(file) as h5:
        pictures = [h5[f"HR/{number}"][:] for number in range(3)]

    def is_of(patch, turned):
        height, width = patch.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(turned, (height, width), (0, 1))
        return (windows == np.moveaxis(patch, 2, 0)).all((2, 3, 4)).any()

    for rotation, flip in ((0, 1), (90, 0), (180, 2), (270, 0), (90, 1), (0, 3)):
        batch = TrainSet(file, 2, 6, 3, rotations=[rotation], flips=[flip]).batch(0)
        for patch in batch.hr.permute(0, 2, 3, 1).numpy():
            turned = [np.rot90(picture, rotation // 90) for picture in pictures]
            turned = [picture[:: -1 if flip & 2 else 1, :: -1 if flip & 1 else 1] for picture in turned]
            assert any(is_of(patch, picture) for picture in turned)


def test_turns_are_as_likely_as_rotations_and_flips_make_them(file):
    train_set = TrainSet(file, 2, 6, 2000, rotations=[0, 90, 180], flips=[0, 3])
    counts = np.bincount(train_set._draw(0, 0, 1).turn, minlength=8) / 2000
    np.testing.assert_allclose(counts, np.array([2, 0, 0, 2, 0, 1, 1, 0]) / 6, atol=0.04)


def test_all_rotations_and_flips_are_todays_draws(file):
    plain, same = TrainSet(file, 2, 6, 8), TrainSet(file, 2, 6, 8, rotations=[270, 0, 180, 90], flips=[3, 2, 1, 0])
    assert all(torch.equal(plain.batch(step).hr, same.batch(step).hr) for step in range(10))
