"""Pictures written from top to bottom: the plain writer's pixels, in little memory, whole or not at all."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from dataset import images, streams
from dataset.errors import InputError
from dataset.images import Picture
from dataset.streams import Bands


def in_bands(whole: Picture, heights=(1, 2, 100, 7, 290)) -> Bands:
    """A picture cut into bands of these heights, the last again and again."""
    height, width = whole.rgb.shape[:2]

    def bands():
        top, left = 0, list(heights)
        while top < height:
            rows = slice(top, top + left[0])
            yield Picture(whole.rgb[rows], None if whole.alpha is None else whole.alpha[rows], whole.grey)
            top = rows.stop
            left = left[1:] or left

    return Bands(height, width, whole.rgb.dtype, whole.grey, whole.alpha is not None, bands())


@pytest.fixture
def example(picture):
    """A picture larger than a TIFF tile either way, smooth at the top, of noise and flat at the bottom."""

    def make(dtype=np.uint8, grey=False, alpha=False, height=530, width=301) -> Picture:
        rgb = picture(height, width)
        rgb[height // 2 :] = np.random.default_rng(1).integers(0, 256, rgb[height // 2 :].shape)
        rgb[-height // 4 :] = 200
        if dtype == np.uint16:
            rgb = rgb.astype(np.uint16) * 257 + np.arange(width, dtype=np.uint16)[:, None] % 100
        if grey:
            rgb = np.repeat(rgb[:, :, :1], 3, axis=2)
        return Picture(rgb, rgb[::-1, :, 1].copy() if alpha else None, grey)

    return make


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_bands_make_the_file_of_the_plain_writer(suffix, dtype, grey, alpha, example, tmp_path):
    whole = example(dtype, grey, alpha)
    images.write(tmp_path / f"plain{suffix}", whole)
    streams.write(tmp_path / f"bands{suffix}", in_bands(whole))
    plain, bands = (images.read(tmp_path / f"{name}{suffix}") for name in ("plain", "bands"))
    assert np.array_equal(bands.rgb, whole.rgb) and bands.rgb.dtype == dtype
    assert (bands.alpha is None) == (not alpha) and (not alpha or np.array_equal(bands.alpha, whole.alpha))
    assert bands.grey == plain.grey
    if suffix == ".tif":  # by another library than the one that decodes for this project
        expected = np.concatenate(list(in_bands(whole).pixels()))
        assert np.array_equal(tifffile.imread(tmp_path / "bands.tif"), expected.squeeze())


def test_png_is_about_as_small_as_the_plain_one(example, tmp_path):
    whole = example()
    images.write(tmp_path / "plain.png", whole)
    streams.write(tmp_path / "bands.png", in_bands(whole))
    assert (tmp_path / "bands.png").stat().st_size < 1.1 * (tmp_path / "plain.png").stat().st_size


def test_every_filter_is_used(example):
    lines = example().rgb.reshape(530, -1)
    assert set(streams.filtered(lines, step=3)[:, 0]) == {1, 2, 4}  # Sub, Up, Paeth


def test_tiff_is_tiled(example, tmp_path):
    streams.write(tmp_path / "a.tif", in_bands(example()))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].is_tiled and file.pages[0].tile == (256, 256)


def test_other_formats_get_the_whole_picture(example, tmp_path):
    whole = example()
    streams.write(tmp_path / "a.bmp", in_bands(whole))
    assert np.array_equal(images.read_rgb(tmp_path / "a.bmp"), whole.rgb)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_at_most_three_bands_are_in_memory(suffix, tmp_path):
    """The one being made, the one being written and what is left of the one before."""

    class Pixels(np.ndarray):  # arrays of numpy's own cannot be referred to weakly
        pass

    references, most = [], 0

    def bands():
        nonlocal most
        for _ in range(10):
            band = np.zeros((300, 50, 3), np.uint8).view(Pixels)
            references.append(weakref.ref(band))
            most = max(most, sum(reference() is not None for reference in references))
            yield Picture(band)

    streams.write(tmp_path / f"a{suffix}", Bands(3000, 50, np.dtype(np.uint8), False, False, bands()))
    assert images.size(tmp_path / f"a{suffix}") == (3000, 50) and 1 <= most <= 3


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_a_failure_on_the_way_leaves_nothing(suffix, example, tmp_path):
    whole = in_bands(example())

    def broken():
        yield next(whole.bands)
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        streams.write(tmp_path / f"a{suffix}", replace(whole, bands=broken()))
    assert not list(tmp_path.iterdir())


def test_a_side_too_long_for_png_is_one_line(tmp_path):
    with pytest.raises(InputError, match="does not fit into .png"):
        streams.write(tmp_path / "a.png", Bands(1, 2**31, np.dtype(np.uint8), False, False, iter(())))
    assert not list(tmp_path.iterdir())
