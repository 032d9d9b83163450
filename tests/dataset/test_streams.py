"""Pictures written from top to bottom: the plain writer's pixels, in little memory, whole or not at all."""

import os
import resource
import weakref
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

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
    assert set(streams.filtered(lines, step=3, paeth=False)[:, 0]) == {1, 2}


def test_tiff_is_tiled(example, tmp_path):
    streams.write(tmp_path / "a.tif", in_bands(example()))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].is_tiled and file.pages[0].tile == (256, 256)


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".webp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_other_formats_are_as_pillow_writes_them(suffix, dtype, grey, alpha, example, tmp_path):
    whole = example(dtype, grey, alpha, height=130, width=71)
    streams.write(tmp_path / f"bands{suffix}", in_bands(whole))
    images.write(tmp_path / f"plain{suffix}", whole)
    pixels = images.to_uint8(whole.rgb[:, :, :1] if grey else whole.rgb)
    if alpha and suffix == ".webp":
        pixels = np.dstack([pixels, images.to_uint8(whole.alpha)])
    if alpha and suffix != ".webp":  # which have none: it is laid on white
        seen = whole.alpha[..., None] / np.iinfo(dtype).max
        seen = whole.rgb * seen + np.iinfo(dtype).max * (1 - seen)
        pixels = images.to_uint8(np.round(seen).astype(dtype))[:, :, : pixels.shape[2]]
    options = {".jpg": {"quality": 95, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(np.ascontiguousarray(pixels).squeeze()).save(tmp_path / f"pillow{suffix}", **options)
    assert (tmp_path / f"plain{suffix}").read_bytes() == images.encode(whole, suffix)
    opened = [Image.open(tmp_path / f"{name}{suffix}") for name in ("plain", "bands", "pillow")]
    for image in opened:
        image.load()
    assert opened[0] == opened[1] == opened[2]  # pixels, mode and metadata


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".webp"])
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


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".webp"])
def test_a_failure_on_the_way_leaves_nothing(suffix, example, tmp_path):
    whole = in_bands(example())

    def broken():
        yield next(whole.bands)
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        streams.write(tmp_path / f"a{suffix}", replace(whole, bands=broken()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "height", "width"),
    [(".png", 1, 2**31), (".jpg", 65501, 1), (".webp", 1, 16384), (".bmp", 1, 2**31), (".bmp", 40000, 40000)],
)
def test_a_picture_too_large_for_its_format_is_one_line(suffix, height, width, tmp_path):
    with pytest.raises(InputError, match=f"a{suffix}: a picture of {width}x{height} pixels does not fit into {suffix}"):
        streams.write(tmp_path / f"a{suffix}", Bands(height, width, np.dtype(np.uint8), False, False, iter(())))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".webp"])
def test_what_the_file_system_refuses_is_told_by_its_name(suffix, example, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(InputError, match=f"a{suffix}: cannot be written: file too large"):
            images.write(tmp_path / f"a{suffix}", example(height=130, width=71))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_encoding_takes_what_it_is_said_to(tmp_path, command):
    script = """if True:
        import ctypes, sys
        from pathlib import Path
        import numpy as np, tifffile
        from dataset import images
        ctypes.CDLL(None).mallopt(-3, 2**16)  # what is freed, is given back
        def now(line):
            return int(Path("/proc/self/status").read_text().split(line)[1].split()[0]) * 1024
        noise = np.random.default_rng(0).integers(0, 256, (1000, 2000, 4), np.uint8)
        for suffix in (".png", ".tif", ".bmp", ".jpg", ".webp"):
            images.encode(images.Picture(noise[:9, :9, :3]), suffix)
            for alpha in (None, noise[:, :, 3]):
                for by in (1, np.uint16(257)) if suffix != ".webp" else (1,):
                    picture = images.Picture(noise[:, :, :3] * by, None if alpha is None else alpha * by)
                    channels, dtype = 3 + (alpha is not None), picture.rgb.dtype
                    before = now("VmRSS:")
                    Path("/proc/self/clear_refs").write_text("5")
                    images.write(Path(sys.argv[1]) / f"a{suffix}", picture)
                    said = images.encoding_bytes(1000, 2000, channels, dtype, suffix)
                    print(suffix, channels, dtype, now("VmHWM:") - before, said)
    """
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the peak of memory cannot be measured here")
    done = command("-c", script, tmp_path)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        peak, said = map(int, line.split()[-2:])
        assert peak <= said <= 1.15 * peak + 3 * 2**24, line
    assert len(done.stdout.splitlines()) == 18
