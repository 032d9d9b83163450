"""Training patches: aligned, the same for the same seed and step, whatever cuts them."""

import itertools
import os

import h5py
import numpy as np
import pytest
import torch

from dataset.errors import InputError
from dataset.train_set import TrainSet, _Drawn

SIZES = [(48, 60), (61, 40), (13, 80), (96, 97)]  # HR heights and widths; the third is small


def coordinates(height: int, width: int, index: int) -> np.ndarray:
    """A picture whose pixels say where they are: row, column, number of the picture."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.full((height, width), index)], axis=2).astype(np.uint8)


@pytest.fixture
def file(tmp_path):
    """An HDF5 file as the published script writes it: contiguous, no attributes."""
    path = tmp_path / "train.h5"
    with h5py.File(path, "w") as h5:
        for name, scale in (("HR", 1), ("X2", 2), ("X3", 3), ("X4", 4)):
            for index, (height, width) in enumerate(SIZES):
                h5.create_dataset(f"{name}/{index}", data=coordinates(height // scale, width // scale, index))
    return path


def steps(train_set, count=40):
    return [train_set.batch(step) for step in range(count)]


def same(one, two):
    return one.scale == two.scale and torch.equal(one.lr, two.lr) and torch.equal(one.hr, two.hr)


def test_shapes_and_types(file):
    batch = TrainSet(file, 3, 8, 5).batch(0)
    assert batch.scale == 3
    assert batch.lr.shape == (5, 3, 8, 8) and batch.hr.shape == (5, 3, 24, 24)
    assert batch.lr.dtype == batch.hr.dtype == torch.uint8


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("cache", ["none", "ram", "device"])
def test_lr_and_hr_show_the_same_place_under_every_flip_and_turn(file, scale, cache):
    seen = set()
    for batch in steps(TrainSet(file, scale, 5, 8, cache=cache)):
        for lr, hr in zip(batch.lr.int(), batch.hr.int()):
            assert (hr[2] == lr[2, 0, 0]).all() and (lr[2] == lr[2, 0, 0]).all()  # one picture
            np.testing.assert_array_equal(
                hr[:2].unfold(1, scale, scale).unfold(2, scale, scale).amin((3, 4)), lr[:2] * scale
            )
            seen.add((*(lr[:, 0, 1] - lr[:, 0, 0]).tolist(), *(lr[:, 1, 0] - lr[:, 0, 0]).tolist()))
    assert len(seen) == 8


@pytest.mark.parametrize("scale", [2, 0])
def test_every_cache_gives_the_same_patches(file, scale):
    none, ram, device = (steps(TrainSet(file, scale, 9, 6, cache=cache, seed=3)) for cache in ("none", "ram", "device"))
    assert all(same(a, b) and same(a, c) for a, b, c in zip(none, ram, device))


def test_patches_depend_on_seed_and_step_alone(file):
    first = TrainSet(file, 2, 8, 4, seed=1)
    forward = steps(first, 6)
    backward = [TrainSet(file, 2, 8, 4, seed=1).batch(step) for step in reversed(range(6))]
    assert all(same(a, b) for a, b in zip(forward, reversed(backward)))
    assert not same(forward[0], forward[1])
    assert not same(forward[0], TrainSet(file, 2, 8, 4, seed=2).batch(0))
    larger = TrainSet(file, 2, 8, 7, seed=1).batch(0)
    assert torch.equal(larger.lr[:4], forward[0].lr)  # patch i does not depend on the batch's size


@pytest.mark.parametrize("cache", ["none", "ram"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_loader_gives_the_steps_in_order(file, cache, workers):
    train_set = TrainSet(file, 0, 8, 4, cache=cache)
    train_set.batch(0)  # the file is open here already when the workers start
    batches = list(train_set.loader(5, 17, workers=workers))
    assert len(batches) == 12
    assert all(same(batch, train_set.batch(step)) for step, batch in enumerate(batches, start=5))


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_global_batch(file, world_size):
    train_set = TrainSet(file, 0, 8, 7)
    for step in range(5):
        whole = train_set.batch(step)
        parts = [train_set.batch(step, rank, world_size) for rank in range(world_size)]
        assert {part.scale for part in parts} == {whole.scale}
        assert torch.equal(torch.cat([part.lr for part in parts]), whole.lr)
        assert torch.equal(torch.cat([part.hr for part in parts]), whole.hr)


def test_blind_draws_every_scale(file):
    train_set = TrainSet(file, 0, 3, 1)
    assert train_set.scales == (2, 3, 4)
    assert {batch.scale for batch in steps(train_set)} == {2, 3, 4}
    assert {batch.scale for batch in steps(TrainSet(file, 0, 3, 1, scales=(2, 4)))} == {2, 4}


def test_scale_shares_say_how_often_each_scale_is_drawn(file):
    train_set = TrainSet(file, 0, 3, 1, scale_shares=(3, 2, 1))
    drawn = [batch.scale for batch in steps(train_set, 600)]
    assert [drawn.count(scale) for scale in (2, 3, 4)] == pytest.approx([300, 200, 100], abs=40)


def test_a_share_however_small_makes_no_step_wait(file):
    train_set = TrainSet(file, 0, 3, 4, scale_shares=(1, 1, 1e-5))
    assert {batch.scale for batch in steps(train_set, 100)} == {2, 3}
    assert train_set.batch_of(4, 7).hr.shape == (4, 3, 12, 12)
    TrainSet(file, 0, 3, 4, scale_shares=(0.1,) * 3).batch(0)  # whose sum is not quite 0.3


@pytest.mark.parametrize("cache", ["none", "device"])
def test_a_batch_of_a_scale(file, cache):
    train_set, again = (TrainSet(file, 0, 8, 6, seed=5, cache=cache) for _ in range(2))
    for step in range(8):
        batches = {scale: train_set.batch_of(scale, step) for scale in (2, 3, 4)}
        for scale, batch in batches.items():
            assert batch.scale == scale and batch.hr.shape == (6, 3, 8 * scale, 8 * scale)
            assert same(batch, again.batch_of(scale, step))
            halves = [train_set.batch_of(scale, step, rank, 2) for rank in (0, 1)]
            assert torch.equal(torch.cat([half.lr for half in halves]), batch.lr)
        drawn = train_set.batch(step)
        assert same(drawn, batches[drawn.scale])
    assert not same(train_set.batch_of(2, 0), train_set.batch_of(2, 1))
    with pytest.raises(KeyError):
        train_set.batch_of(5, 0)


def test_scale_8(file):
    with h5py.File(file, "a") as h5:
        for index, (height, width) in enumerate(SIZES):
            h5[f"X8/{index}"] = coordinates(height // 8, width // 8, index)
    for train_set in (TrainSet(file, 8, 4, 6), TrainSet(file, 0, 4, 6, scales=(2, 8))):
        batch = train_set.batch_of(8, 0)
        assert batch.scale == 8 and batch.hr.shape == (6, 3, 32, 32)
        assert torch.equal(batch.hr[:, :2].unfold(2, 8, 8).unfold(3, 8, 8).amin((4, 5)), 8 * batch.lr[:, :2])


def test_small_pictures_are_named_and_never_drawn(file):
    assert TrainSet(file, 0, 5, 16).skipped == ["2"]
    with h5py.File(file, "a") as h5:
        h5["HR/2"].attrs["name"] = "flat.png"
    train_set = TrainSet(file, 4, 5, 16)
    assert train_set.skipped == ["flat.png"]  # its 13 rows are 3 at x4
    assert 2 not in {int(n) for batch in steps(train_set) for n in batch.lr[:, 2].unique()}
    assert TrainSet(file, 0, 5, 16).skipped == ["flat.png"]
    assert TrainSet(file, 2, 5, 16).skipped == []


@pytest.mark.parametrize(
    "weighting, shares",
    [("uniform", [1, 1, 1, 1]), ("area", [2880, 2440, 1040, 9312]), ("root", [53.67, 49.40, 32.25, 96.50])],
)
def test_pictures_are_drawn_uniformly_or_by_area(file, weighting, shares):
    with h5py.File(file, "a") as h5:  # sizes that are exact at x2, so that areas are as written above
        del h5["HR/3"], h5["X2/3"], h5["HR/1"], h5["X2/1"]
        for index, (height, width) in {1: (61, 40), 3: (96, 97)}.items():
            h5[f"HR/{index}"] = coordinates(height, width, index)
            h5[f"X2/{index}"] = coordinates(height // 2, width // 2, index)
    train_set = TrainSet(file, 2, 4, 500, weighting=weighting)
    numbers = torch.cat([batch.lr[:, 2, 0, 0] for batch in steps(train_set, 10)])
    drawn = np.bincount(numbers.numpy(), minlength=4) / len(numbers)
    np.testing.assert_allclose(drawn, np.array(shares) / sum(shares), atol=0.02)


def test_patches_reach_every_corner(file):
    lr = torch.cat([batch.lr for batch in steps(TrainSet(file, 2, 18, 50), 30)])  # 18 of 20 columns, 30 rows
    lr = lr[lr[:, 2, 0, 0] == 1]
    assert lr[:, 0].min() == 0 and lr[:, 0].max() == 29 and lr[:, 1].min() == 0 and lr[:, 1].max() == 19


def test_a_patch_as_large_as_the_picture(file):
    train_set = TrainSet(file, 2, 48, 2)  # picture 3 has 48x48 LR pixels
    assert (train_set.batch(0).lr[:, 2] == 3).all() and train_set.skipped == ["0", "1", "2"]


def test_chunked_and_compressed_files_are_read(file, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(file) as h5, h5py.File(other, "w") as copy:
        for name, index in itertools.product(h5, range(len(SIZES))):
            copy.create_dataset(f"{name}/{index}", data=h5[f"{name}/{index}"][:], chunks=True, compression="gzip")
    assert all(same(a, b) for a, b in zip(steps(TrainSet(file, 0, 7, 3)), steps(TrainSet(other, 0, 7, 3))))


def broken(change):
    """A file fixture's content changed inside HDF5."""

    def apply(path):
        with h5py.File(path, "a") as h5:
            change(h5)

    return apply


def replace(h5, name, data):
    del h5[name]
    h5[name] = data


def made(h5, shape, **options):
    del h5["X2/1"]
    h5.create_dataset("X2/1", shape, "u1", **options)


def external(h5):
    made(h5, (30, 20, 3), external=[("/etc/passwd", 0, 1800)])


def virtual(h5):
    layout = h5py.VirtualLayout((30, 20, 3), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "a", (30, 20, 3))
    del h5["X2/1"]
    h5.create_virtual_dataset("X2/1", layout)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-5000]), "not a readable HDF5 file"),
        (lambda path: path.write_bytes(b"PK not HDF5" * 100), "not a readable HDF5 file"),
        (lambda path: path.write_bytes(b""), "not a readable HDF5 file"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "has no pictures in it"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is a pipe"),
        (lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "is a pipe or a device"),
        (broken(lambda h5: replace(h5, "X2/1", h5py.ExternalLink("/else.h5", "X2/1"))), "X2/1 is only a link"),
        (broken(lambda h5: replace(h5, "X2/1", h5py.SoftLink("/X2/0"))), "X2/1 is only a link"),
        (broken(lambda h5: replace(h5, "X2", h5py.ExternalLink("/else.h5", "X2"))), "no group X2"),
        (broken(external), "X2/1 has its pixels in another file"),
        (broken(virtual), "X2/1 has its pixels in another file"),
        (broken(lambda h5: made(h5, (30, 20, 3))), "X2/1 has pixels that were never written"),
        (broken(lambda h5: made(h5, (30, 20, 3), chunks=(16, 16, 3))), "never written .0 of its 4 parts are there"),
        (broken(lambda h5: made(h5, (10**6, 10**6, 3), chunks=(128, 128, 3))), "declares 1000000x1000000 pixels"),
        (broken(lambda h5: made(h5, (5000, 5000, 3), chunks=(5000, 5000, 3), compression="gzip")), "has chunks of"),
        (broken(lambda h5: h5.__delitem__("X2")), "no group X2, only HR, X3, X4"),
        (broken(lambda h5: h5.__delitem__("HR")), "no group HR"),
        (broken(lambda h5: replace(h5, "HR", np.zeros(3))), "no group HR"),
        (broken(lambda h5: h5.__delitem__("X2/1")), "none named 1"),
        (broken(lambda h5: h5.__delitem__("X2/3")), "4 pictures in HR and 3 in X2"),
        (broken(lambda h5: replace(h5, "X2/1", np.zeros((30, 21, 3), np.uint8))), "do not match"),
        (broken(lambda h5: replace(h5, "X2/1", np.zeros((30, 20, 3), np.float32))), "no RGB picture of 8 bits"),
        (broken(lambda h5: replace(h5, "X2/1", np.zeros((30, 20), np.uint8))), "no RGB picture of 8 bits"),
        (broken(lambda h5: h5.create_group("X2/4")), "not a readable"),
        (broken(lambda h5: [h5["X2"].__delitem__(i) for i in "0123"]), "no pictures in X2"),
    ],
)
def test_bad_files_are_one_clear_line(file, change, message):
    change(file)
    with pytest.raises(InputError, match=message) as error:
        TrainSet(file, 2, 8, 4)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_a_scale_that_the_file_lacks(file):
    with h5py.File(file, "a") as h5:
        del h5["X3"]
    TrainSet(file, 2, 8, 4)
    for scale in (3, 0, 8):
        with pytest.raises(InputError, match="has no group X"):
            TrainSet(file, scale, 8, 4)


def test_a_patch_larger_than_every_picture(file):
    with pytest.raises(InputError, match=r"larger than every picture in X2 \(the largest has 48x48\)"):
        TrainSet(file, 2, 49, 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_breaks_under_way_is_one_clear_line(file, workers):
    train_set = TrainSet(file, 2, 8, 4)
    batches = train_set.loader(0, 10_000, workers=workers)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InputError, match="not a readable HDF5 file") as error:
        for _ in batches:
            pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"cache": "disk"},
        {"weighting": "colour"},
        {"patch_size": 0},
        {"batch_size": 0},
        {"scale_shares": (1, 1, 1)},
        {"scale": 0, "scale_shares": (1, 1)},
        {"scale": 0, "scale_shares": (1, 0, 1)},
    ],
)
def test_wrong_options_are_refused(file, options):
    with pytest.raises(ValueError):
        TrainSet(file, **{"scale": 2, "patch_size": 8, "batch_size": 4, **options})


def test_batches_that_are_kept_stay_as_they_were(file):
    """More of them than there is shared memory for; and they are gone when nobody has them any more."""
    train_set = TrainSet(file, 0, 8, 4)
    loader = train_set.loader(0, 60, workers=1, prefetch=2)
    kept = list(itertools.islice(loader, 40))
    assert all(same(batch, train_set.batch(step)) for step, batch in enumerate(kept))
    parts = [batch.hr[1] for batch in loader]  # a part keeps its whole batch
    assert all(torch.equal(part, train_set.batch(step).hr[1]) for step, part in enumerate(parts, start=40))


def test_passing_batches_are_not_copied(file, monkeypatch):
    def no_copy(tensor):
        raise AssertionError("copied")

    monkeypatch.setattr(torch.Tensor, "clone", no_copy)
    train_set = TrainSet(file, 0, 8, 4)
    for step, batch in enumerate(train_set.loader(0, 60, workers=2, prefetch=2)):  # as the trainer has them
        assert same(batch, train_set.batch(step))


@pytest.mark.parametrize("scale", [2, 0])
def test_patches_gathered_on_a_device_are_those_cut_one_by_one(file, scale):
    train_set = TrainSet(file, scale, 9, 6, cache="ram", seed=3)
    for step in range(20):
        batch = train_set.batch(step)
        for gathered, cut in zip(train_set._gather(train_set._draw(step, 0, 1)), (batch.lr, batch.hr)):
            assert torch.equal(gathered.permute(0, 3, 1, 2), cut)


def test_one_gather_index_serves_all_eight_turns(file):
    """The device's index arithmetic against flips and turns written out."""
    train_set = TrainSet(file, 2, 6, 8, cache="device")
    picture, corner = np.full(8, 3), np.tile([5, 7], (8, 1))
    made = next(train_set._gather(_Drawn(2, picture, corner, np.arange(8)))).numpy()
    plain = coordinates(48, 48, 3)[5:11, 7:13]
    for turn, (transpose, left_right, up_down) in enumerate(itertools.product([0, 1], repeat=3)):
        expected = plain.swapaxes(0, 1) if transpose else plain
        expected = expected[::-1] if up_down else expected
        np.testing.assert_array_equal(made[turn], expected[:, ::-1] if left_right else expected)
