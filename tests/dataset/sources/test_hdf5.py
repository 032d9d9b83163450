"""Patches in HDF5 files, pair by pair."""

import itertools
import os
import tracemalloc

import h5py
import numpy as np
import pytest
import torch

from dataset.errors import InputError
from dataset.train_set import TrainSet


def numbered(count, *shape, dtype=np.uint8):
    """Patches, (count, *shape), that differ in all values."""
    rng = np.random.default_rng(sum(shape))
    patches = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return patches if dtype == np.uint8 else (patches / 255).astype(dtype)


def batches(path, scale=2, count=20, size=8, **options):
    train_set = TrainSet(path, scale, 64, size, **options)
    return [train_set.batch(step) for step in range(count)]


def same(one, two):
    return all(torch.equal(a.lr, b.lr) and torch.equal(a.hr, b.hr) for a, b in zip(one, two, strict=True))


def drawn(made, lr, hr):
    """The numbers of the pairs that batches have; an error if one is none of the file's."""
    numbers = []
    for batch in made:
        for a, b in zip(batch.lr.numpy(), batch.hr.numpy()):
            number = int(np.flatnonzero((lr == a).all((1, 2, 3)))[0])
            np.testing.assert_array_equal(b, hr[number])
            numbers.append(number)
    return numbers


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cache", ["none", "ram"])
def test_pairs_come_as_they_are_and_each_as_often(pairs, channels, cache):
    lr, hr = numbered(10, channels, 5, 5), numbered(10, channels, 15, 15)
    made = batches(pairs(lr, hr), 3, count=50, size=20, cache=cache)
    assert made[0].scale == 3 and made[0].lr.dtype == torch.uint8
    counts = np.bincount(drawn(made, lr, hr), minlength=10)
    assert counts.min() > 60 and counts.max() < 145  # of 100 on average


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (3, 1, 4, 4)},
        {"chunks": (3, 1, 4, 4), "compression": "gzip"},
        {"chunks": True, "fletcher32": True},
    ],
)
def test_every_layout_cache_and_worker_gives_the_same(pairs, options):
    lr, hr = numbered(11, 3, 6, 6), numbered(11, 3, 12, 12)
    wanted = batches(pairs(lr, hr), size=7, seed=2)
    path = pairs(lr, hr, "other.h5", **options)
    assert same(wanted, batches(path, size=7, seed=2)) and same(wanted, batches(path, size=7, seed=2, cache="ram"))
    assert same(wanted, list(TrainSet(path, 2, 64, 7, seed=2).loader(0, 20, workers=2)))
    parts = [TrainSet(path, 2, 64, 7, seed=2).batch(3, rank, 2) for rank in (0, 1)]
    assert torch.equal(torch.cat([part.hr for part in parts]), wanted[3].hr)


@pytest.mark.parametrize("dtype, white", [("f4", 1), ("f4", 255), ("f8", 1), ("f8", 255), (">f4", 1)])
def test_float_values_are_from_0_to_1_whatever_they_are_in_the_file(pairs, dtype, white):
    lr, hr = numbered(9, 4, 4), numbered(9, 8, 8)  # without a dimension of channels
    path = pairs(*((patches / 255 * white).astype(dtype) for patches in (lr, hr)))
    made, plain = batches(path), batches(pairs(lr, hr, "bytes.h5"))
    assert made[0].lr.dtype == torch.float32 and made[0].lr.shape == (8, 1, 4, 4)
    for a, b in zip(made, plain):
        assert torch.allclose(a.lr, b.lr / 255, atol=1e-6) and torch.allclose(a.hr, b.hr / 255, atol=1e-6)
    assert same(made, batches(path, cache="ram"))
    assert same(made, list(TrainSet(path, 2, 64, 8).loader(0, 20, workers=1)))


@pytest.mark.parametrize("side", [33, 21, 17])
def test_lr_that_is_enlarged_already_serves_for_any_scale(pairs, side):
    lr, hr = numbered(4, 1, 33, 33), numbered(4, 1, side, side)
    train_set = TrainSet(pairs(lr, hr), 0, 64, 6)
    assert train_set.scales == (2, 3, 4) and train_set.source.enlarged
    assert {train_set.batch(step).scale for step in range(40)} == {2, 3, 4}
    assert set(drawn([train_set.batch(0)], lr, hr)) <= set(range(4))


def test_an_attribute_tells_what_lr_was_enlarged_by(pairs):
    path = pairs(numbered(4, 1, 9, 9), numbered(4, 1, 9, 9))
    with h5py.File(path, "a") as file:
        file.attrs["scale"] = 3
    assert TrainSet(path, 0, 64, 2).scales == (3,)
    with pytest.raises(InputError, match="its patches are for x3, not for x2"):
        TrainSet(path, 2, 64, 2)


def test_a_blind_network_gets_the_one_scale_of_the_file(pairs):
    path = pairs(numbered(4, 3, 5, 5), numbered(4, 3, 15, 15))
    assert {batch.scale for batch in batches(path, 0, scale_shares=(1, 2, 3))} == {3}


def test_patches_are_turned_and_flipped_if_that_is_asked_for(pairs):
    lr, hr = numbered(1, 3, 4, 4), numbered(1, 3, 8, 8)
    path = pairs(lr, hr)
    made = batches(path, rotations=[90], flips=[0, 1], count=4)
    for batch, number in itertools.product(made, range(8)):
        turned = [torch.rot90(torch.from_numpy(data[0]), 1, (1, 2)) for data in (lr, hr)]
        found = [batch.lr[number], batch.hr[number]]
        assert any(all(map(torch.equal, found, way)) for way in (turned, [data.flip(2) for data in turned]))


def test_patches_that_are_no_squares(pairs):
    lr, hr = numbered(5, 3, 4, 6), numbered(5, 3, 8, 12)
    path = pairs(lr, hr)
    drawn(batches(path), lr, hr)
    assert batches(path, rotations=[180], count=1)[0].hr.shape == (8, 3, 8, 12)
    with pytest.raises(InputError, match="6x4 pixels, which are not turned by 90 degrees"):
        TrainSet(path, 2, 64, 2, rotations=[0, 90])


def test_there_are_no_copies_of_patches(pairs):
    path = pairs(numbered(2, 3, 4, 4), numbered(2, 3, 8, 8))
    usual, copied = (TrainSet(path, 2, 64, 2, factors=factors).batch(0) for factors in ((1.0,), (1.0, 0.9)))
    assert torch.equal(usual.hr, copied.hr)


def test_a_million_pairs_take_no_memory(tmp_path):
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as file:
        for key, side in (("lr", 1), ("hr", 2)):
            file.create_dataset(key, data=np.zeros((10**6, 1, side, side), np.uint8))
    tracemalloc.start()
    try:
        TrainSet(path, 2, 64, 16).batch(0)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cache", ["none", "ram"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 200, -1])
def test_values_that_are_no_numbers_are_named(pairs, cache, bad):
    lr, hr = numbered(2000, 1, 2, 2, dtype="f4"), numbered(2000, 1, 4, 4, dtype="f4")
    hr[1234, 0, 1, 1] = bad
    path = pairs(lr, hr)
    with pytest.raises(InputError, match=r"pairs.h5: hr\[1234\] has values that are no numbers"):
        batches(path, count=2000, cache=cache)


def broken(change):
    def apply(path):
        with h5py.File(path, "a") as file:
            change(file)

    return apply


def put(key, data, **options):
    """Another data set in the place of one."""

    def change(file):
        del file[key]
        file.create_dataset(key, data=data, **options)

    return broken(change)


def virtual(file):
    layout = h5py.VirtualLayout((6, 3, 8, 8), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "a", (6, 3, 8, 8))
    del file["hr"]
    file.create_virtual_dataset("hr", layout)


def never_written(file):
    del file["hr"]
    file.create_dataset("hr", (6, 3, 8, 8), "u1", chunks=(1, 3, 8, 8))[:2] = 1


def linked(file):
    file["other"] = file["hr"][:]
    del file["hr"]
    file["hr"] = h5py.SoftLink("/other")


def grouped(file):
    del file["hr"]
    file["hr/0"] = numbered(3, 8, 8)


def linked_to(target):
    """hr becomes a link out of the file."""

    def change(path):
        os.mkfifo(path.with_name("pipe"))
        with h5py.File(path, "a") as file:
            del file["hr"]
            file["hr"] = h5py.ExternalLink(path.with_name(target), "hr")

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (broken(lambda file: file.__delitem__("lr")), "no data set lr, only hr"),
        (broken(lambda file: file.__delitem__("hr")), "no data set hr, only lr"),
        (put("hr", numbered(5, 3, 8, 8)), "6 patches in lr and 5 in hr"),
        (put("hr", numbered(6, 1, 8, 8)), "3 channels in lr and 1 in hr"),
        (put("hr", numbered(6, 3, 9, 9)), "HR's are a multiple of LR's or"),
        (put("hr", numbered(6, 3, 8, 12)), "HR's are a multiple of LR's or"),
        (put("hr", numbered(6, 3, 3, 3)), "HR's are a multiple of LR's or"),
        (put("hr", numbered(6, 3, 12, 12)), "its patches are for x3, not for x2"),
        (put("hr", numbered(6, 2, 8, 8)), "has the shape .6, 2, 8, 8."),
        (put("hr", numbered(6, 64)), "has the shape .6, 64."),
        (put("hr", np.empty((0, 3, 8, 8), "u1")), "has the shape .0, 3, 8, 8."),
        (put("hr", numbered(6, 3, 8, 8, dtype="f2")), "is float16"),
        (put("hr", numbered(6, 3, 8, 8).astype("i4")), "is int32"),
        (put("hr", np.full((6, 3, 8, 8), 65535.0)), "values from 0 to 65535"),
        (put("hr", np.full((6, 3, 8, 8), -1.0)), "values from -1 to 0"),
        (put("hr", np.full((6, 3, 8, 8), np.nan)), r"hr\[0\] has values that are no numbers"),
        (broken(virtual), "hr has its pixels in another file"),
        (broken(linked), "hr is only a link"),
        (linked_to("none.h5"), "hr is only a link"),
        (linked_to("pipe"), "hr is only a link"),
        (broken(grouped), "hr is a group"),
        (broken(never_written), "hr has pixels that were never written .2 of its 6 parts are there"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), "not a readable HDF5 file"),
    ],
)
def test_bad_files_are_one_clear_line(pairs, change, message):
    path = pairs(numbered(6, 3, 4, 4), numbered(6, 3, 8, 8))
    change(path)
    with pytest.raises(InputError, match=message) as error:
        TrainSet(path, 2, 64, 4)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("white", [(1, 255), (255, 1)])
def test_lr_and_hr_have_one_white(pairs, white):
    lr, hr = (numbered(9, side, side, dtype="f4") * peak for side, peak in zip((4, 8), white))
    with pytest.raises(InputError, match=f"lr has values from 0 to {white[0]} and hr has values from 0 to {white[1]}"):
        TrainSet(pairs(lr, hr), 2, 64, 4)


def test_a_file_cut_short_under_way_is_one_clear_line(pairs):
    path = pairs(numbered(600, 3, 4, 4), numbered(600, 3, 8, 8))
    train_set = TrainSet(path, 2, 64, 4)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="pairs.h5: not a readable HDF5 file"):
        for step in range(100):
            train_set.batch(step)
