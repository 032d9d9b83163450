"""Parts of pictures, whatever way the HDF5 file keeps them."""

import h5py
import numpy as np
import pytest

from dataset.div2h5 import chunk
from dataset.hyperslabs import Hyperslabs

PIXELS = np.random.default_rng(0).integers(0, 256, (150, 271, 3), dtype=np.uint8)

# What is asked of h5py for a picture -> whether its bytes lie in the file as they are.
KINDS = {
    "contiguous": ({}, True),
    "our chunks": ({"chunks": chunk(PIXELS)}, True),
    "chunks of any size": ({"chunks": (40, 64, 3)}, True),
    "chunks larger than the picture": ({"chunks": (200, 300, 3), "maxshape": (None, None, 3)}, True),
    "chunks of one channel": ({"chunks": (150, 271, 1)}, False),
    "compressed": ({"chunks": (40, 64, 3), "compression": "gzip"}, False),
    "checksums": ({"chunks": (40, 64, 3), "fletcher32": True}, False),
}


def corners(height, width):
    """Top left corners: at the four corners of the picture, and between."""
    return [(top, left) for top in (0, 33, 150 - height) for left in (0, 60, 271 - width)]


def same(read, height, width):
    return all(
        np.array_equal(read("HR", 0, top, left, height, width), PIXELS[top : top + height, left : left + width])
        for top, left in corners(height, width)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_pixels(tmp_path, kind):
    options, as_they_are = KINDS[kind]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("HR/0", data=PIXELS, **options)
    read = Hyperslabs(tmp_path / "x.h5")
    assert all(same(read, *sides) for sides in ((1, 1), (48, 48), (117, 117), (9, 200)))
    assert (read._tiles("HR", 0) is not None) == as_they_are


def test_pixels_that_are_elsewhere_or_nowhere(tmp_path):
    external, sparse = tmp_path / "external.h5", tmp_path / "sparse.h5"
    with h5py.File(external, "w") as file:
        file.create_dataset("HR/0", data=PIXELS, external=[(tmp_path / "pixels", 0, h5py.h5f.UNLIMITED)])
    assert same(Hyperslabs(external), 48, 48)
    with h5py.File(sparse, "w") as file:
        part = file.create_dataset("HR/0", PIXELS.shape, "u1", chunks=(40, 64, 3), fillvalue=7)
        part[:40, :64] = PIXELS[:40, :64]
        file.create_dataset("HR/1", PIXELS.shape, "u1")
    read = Hyperslabs(sparse)
    np.testing.assert_array_equal(read("HR", 0, 0, 0, 40, 40), PIXELS[:40, :40])
    assert (read("HR", 0, 100, 100, 40, 40) == 7).all() and (read("HR", 1, 0, 0, 40, 40) == 0).all()


def test_a_file_within_a_file(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=512) as file:
        file["HR/0"] = PIXELS
    assert same(Hyperslabs(tmp_path / "x.h5"), 48, 48)


def test_a_file_cut_short_under_way_is_an_error(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["HR/0"] = PIXELS
    read = Hyperslabs(path)
    read("HR", 0, 0, 0, 48, 48)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 5000)
    read("HR", 0, 0, 0, 48, 48)
    with pytest.raises(OSError, match="shorter"):
        read("HR", 0, 102, 0, 48, 48)


def test_few_pictures_are_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset.hyperslabs.OPEN_PICTURES", 2)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for index in range(5):
            file.create_dataset(f"HR/{index}", data=PIXELS + np.uint8(index), chunks=True, compression="gzip")
    read = Hyperslabs(tmp_path / "x.h5")
    for index in [0, 1, 2, 3, 4, 0]:
        np.testing.assert_array_equal(read("HR", index, 0, 0, 9, 9), PIXELS[:9, :9] + np.uint8(index))
    assert read._picture.cache_info().currsize == 2
