"""Folders and LMDBs of pictures: the same patches as from the HDF5 file that holds them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset import div2h5, images, sources
from dataset.bicubic import imresize
from dataset.errors import InputError
from dataset.images import Picture
from dataset.train_set import TrainSet


@pytest.fixture
def packed(folder, tmp_path):
    """The pictures as div2h5.py packs them."""
    sources = [div2h5.Source(hr) for hr in sorted((folder / "hr").iterdir())]
    div2h5.write(tmp_path / "train.h5", sources, [2, 3, 4], workers=1)
    return tmp_path / "train.h5"


def as_lmdb(folder):
    """The LMDB of a folder's pictures, beside it, as the toolboxes pack it."""
    lmdb = pytest.importorskip("lmdb")
    path = folder.with_suffix(".lmdb")
    environment = lmdb.open(str(path), map_size=2**24)
    lines = []
    with environment.begin(write=True) as transaction:
        for file in sorted(folder.iterdir()):
            transaction.put(file.stem.encode(), file.read_bytes())
            lines.append("{} ({},{},{}) 1\n".format(file.name, *images.shape(file)))
    environment.close()
    (path / "meta_info.txt").write_text("".join(lines))
    return path


def kinds(folder):
    """The ways in which the same pairs can be given."""
    hr, lr = folder / "hr", folder / "lr"
    yield from ([folder], [hr, lr], [hr])
    if pytest.importorskip("lmdb"):
        yield from ([as_lmdb(hr), as_lmdb(lr)], [hr.with_suffix(".lmdb")], [hr.with_suffix(".lmdb"), lr])


def same(one, two):
    return one.scale == two.scale and torch.equal(one.lr, two.lr) and torch.equal(one.hr, two.hr)


@pytest.mark.parametrize("options", [{}, {"cache": "ram"}, {"factors": (1.0, 0.8)}, {"weighting": "area", "seed": 3}])
def test_every_kind_of_source_gives_the_same_patches(folder, packed, options):
    wanted = TrainSet(packed, 2, 9, 6, **options)
    for paths in kinds(folder):
        train_set = TrainSet(paths, 2, 9, 6, **options)
        assert all(same(train_set.batch(step), wanted.batch(step)) for step in range(6)), paths
        assert all(map(same, train_set.loader(0, 6, workers=2), wanted.loader(0, 6))), paths


def test_hr_alone_serves_for_every_scale(folder, packed):
    for paths in ([folder / "hr"], [as_lmdb(folder / "hr")]):
        train_set, wanted = TrainSet(paths, 0, 7, 4), TrainSet(packed, 0, 7, 4)
        assert train_set.scales == (2, 3, 4)
        assert all(same(train_set.batch(step), wanted.batch(step)) for step in range(8))


def test_lr_tells_its_scale(folder):
    assert TrainSet(folder, 0, 7, 4).scales == (2,)
    with pytest.raises(InputError, match="its pictures are of x2, not of x3"):
        TrainSet(folder, 3, 7, 4)


@pytest.mark.parametrize("lmdb", [False, True])
def test_grey_pictures_are_luma(tmp_path, picture, lmdb):
    hr = picture(24, 24)
    images.write(tmp_path / "hr" / "a.png", Picture(np.repeat(hr[:, :, :1], 3, 2), grey=True))
    paths = [as_lmdb(tmp_path / "hr") if lmdb else tmp_path / "hr"]
    batch = TrainSet(paths, 2, 12, 2, rotations=[0], flips=[0]).batch(0)
    assert batch.lr.shape == (2, 1, 12, 12) and torch.equal(batch.hr[0, 0], torch.from_numpy(hr[:, :, 0]))
    assert np.array_equal(batch.lr[1, 0], imresize(hr[:, :, 0], 1 / 2, boundary="symmetric"))
    images.write_rgb(tmp_path / "hr" / "b.png", hr)
    assert TrainSet(tmp_path / "hr", 2, 12, 2).batch(0).lr.shape == (2, 3, 12, 12)


def test_lr_as_large_as_hr_is_enlarged_already(folder):
    shutil.rmtree(folder / "lr")
    shutil.copytree(folder / "hr", folder / "lr")
    train_set = TrainSet(folder, 0, 9, 4)
    assert train_set.source.enlarged and train_set.scales == (2, 3, 4)
    batch = train_set.batch_of(3, 0)
    assert batch.scale == 3 and torch.equal(batch.lr, batch.hr)
    assert len(TrainSet(folder, 2, 9, 4, factors=(0.9,)).source.sizes["HR"]) == len(train_set.source.sizes["HR"])


def rename(name, other):
    return lambda folder: (folder / name).rename(folder / other)


def resized(folder):
    images.write_rgb(folder / "lr" / "0001x2.png", images.read_rgb(folder / "lr" / "0001x2.png")[:, 1:])


def too_large(folder):
    images.write_rgb(folder / "lr" / "0000x2.png", np.zeros((99, 99, 3), np.uint8))


@pytest.mark.parametrize(
    "change, message",
    [
        (rename("lr/0001x2.png", "lr/other.png"), "no LR picture for 1 of 3 HR pictures, the first of them .*0001.png"),
        (rename("hr/0002.png", "2.png"), "has 3 pictures for 2 HR pictures, as .*0002x2.png"),
        (lambda folder: shutil.copy(folder / "hr/0001.png", folder / "hr/0001.bmp"), "has the same name as"),
        (resized, "0001x2.png: has 19x30 pixels, .*0001.png 40x61, which do not match at scale 2"),
        (too_large, "lr: its pictures are larger than those of .*hr; give HR first, then LR"),
        (lambda folder: (folder / "hr/0001.png").write_bytes(b"text"), "0001.png: not a readable picture"),
        (lambda folder: shutil.rmtree(folder / "hr"), "both: has no pictures in it"),
        (lambda folder: [file.unlink() for file in (folder / "lr").iterdir()], "lr: has no pictures in it"),
    ],
)
def test_bad_folders_are_one_clear_line(folder, change, message):
    change(folder)
    with pytest.raises(InputError, match=message) as error:
        TrainSet(folder, 2, 8, 4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda file: file.unlink(), "no such file"),
        (lambda file: file.write_bytes(file.read_bytes()[:300]), "truncated"),
        (lambda file: images.write_rgb(file, np.zeros((9, 9, 3), np.uint8)), "has 9x9 pixels, and was to have"),
    ],
)
def test_a_picture_that_changes_under_way_is_one_clear_line(folder, change, message, workers):
    batches = TrainSet(folder, 2, 8, 4).loader(0, 1000, workers=workers)
    change(folder / "hr" / "0001.png")
    with pytest.raises(InputError, match=f"0001.png: .*{message}"):
        for _ in batches:
            pass


def cut(path):
    os.truncate(path / "data.mdb", 16384)


def edited(old, new):
    return lambda path: (path / "meta_info.txt").write_text((path / "meta_info.txt").read_text().replace(old, new))


@pytest.mark.parametrize(
    "change, message",
    [
        (cut, "data.mdb is truncated: has 16,384 of"),
        (lambda path: (path / "data.mdb").write_bytes(b"no database" * 999), "no readable LMDB"),
        (lambda path: (path / "data.mdb").write_bytes(b""), "no readable LMDB"),
        (lambda path: (path / "meta_info.txt").unlink(), "meta_info.txt: no such file"),
        (lambda path: (path / "meta_info.txt").write_bytes(b"\xff\xfe"), "meta_info.txt: is damaged"),
        (edited("0001.png", "other.png"), "has no picture other, which meta_info.txt names"),
        (edited("0001.png (61,40,3) 1\n", ""), "has 3 pictures, and meta_info.txt 2"),
        (edited("(61,40,3)", "61 40"), "meta_info.txt: line 2 is none such as"),
        (edited("(61,40,3)", "(61,0,3)"), "has a picture of no pixels"),
        (edited("(61,40,3)", "(999999999,999999999,3)"), "or of more than"),
    ],
)
def test_bad_lmdbs_are_one_clear_line(folder, change, message):
    path = as_lmdb(folder / "hr")
    change(path)
    with pytest.raises(InputError, match=message) as error:
        TrainSet(path, 2, 8, 4)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_lmdb_that_is_cut_short_or_lies_is_one_clear_line(folder, workers):
    path = as_lmdb(folder / "hr")
    batches = TrainSet(path, 2, 8, 4).loader(0, 1000, workers=workers)
    cut(path)
    with pytest.raises(InputError, match="data.mdb is truncated"):
        list(batches)
    del batches
    shutil.rmtree(path)
    edited("(61,40,3)", "(40,61,3)")(as_lmdb(folder / "hr"))
    with pytest.raises(InputError, match="hr.lmdb: 0001: has 40x61 pixels, and was to have 61x40"):
        list(TrainSet(path, 2, 8, 4).loader(0, 1000, workers=workers))


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_colours_are_not_taken_for_luma(folder, cache):
    """An LMDB that says of RGB pictures that they are grey."""
    path = as_lmdb(folder / "hr")
    edited(",3)", ",1)")(path)
    with pytest.raises(InputError, match="hr.lmdb: 000[012]: has colours, and was to be grey"):
        TrainSet(path, 2, 8, 4, cache=cache).batch(0)


def test_two_paths_are_the_most(folder):
    with pytest.raises(InputError, match="third: is one too many"):
        TrainSet([folder / "hr", folder / "lr", Path("third")], 2, 8, 4)


def test_a_source_is_recognised_by_its_hash(folder, packed):
    hr, lr = folder / "hr", folder / "lr"
    before = sources.hash_of([folder]), sources.hash_of([hr]), sources.hash_of([as_lmdb(hr)])
    assert len(set(before)) == 3 and sources.hash_of([hr, lr]) == before[0]
    assert sources.size_of([folder]) == sum(file.stat().st_size for file in folder.rglob("*.png"))
    assert sources.name_of([hr, lr]) == "hr and lr"
    (lr / "0001x2.png").rename(lr / "0001.png")
    with open(hr.with_suffix(".lmdb") / "data.mdb", "r+b") as file:
        file.seek(9000)
        file.write(b"other")
    after = sources.hash_of([folder]), sources.hash_of([hr]), sources.hash_of([hr.with_suffix(".lmdb")])
    assert [one == other for one, other in zip(before, after)] == [False, True, False]
    with pytest.raises(InputError, match="none.h5: no such file"):
        sources.size_of([Path("none.h5")])
