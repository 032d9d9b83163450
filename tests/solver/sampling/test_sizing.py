"""Results of any size."""

import json

import numpy as np
import pytest
from PIL import Image

from dataset import bicubic, images
from dataset.errors import InputError
from dataset.metadata import Metadata
from solver.checkpoint import load_network
from solver.sampling.sampler import Sampler
from solver.sampling.sizing import Size, Sized


@pytest.fixture(scope="module")
def net(root):
    return load_network(root / "lesrcnn_b/lesrcnn.pth")[0]


@pytest.fixture
def sized(net):
    """Make what enlarges by blind weights to a size; ``made`` are the scales that were needed."""

    def make(size, scales=(2, 3, 4), **arguments):
        return Sized(lambda scale: Sampler(net, scale, **arguments), scales, size)

    return make


@pytest.mark.parametrize(
    "size, expected",
    [
        (Size(factor=2.5), (50, 75)),
        (Size(factor=0.01), (1, 1)),
        (Size(width=40), (27, 40)),  # of 26.67
        (Size(height=33), (33, 50)),  # of 49.5, half up
        (Size(width=1920, height=1080), (1080, 1920)),
        (Size(width=1920, height=1080, within=True), (1080, 1620)),
        (Size(width=60, height=1080, within=True), (40, 60)),
    ],
)
def test_a_size_is_of_a_picture(size, expected):
    assert size.of(20, 30) == expected


@pytest.mark.parametrize("size, scale", [(Size(2.0), 2), (Size(1.3), 2), (Size(width=76), 4), (Size(height=60), 3)])
def test_it_is_the_next_scale_shrunk(net, sized, picture, size, scale):
    rgb = picture(20, 25)
    made = sized(size).enlarge(images.Picture(rgb)).rgb
    expected = Sampler(net, scale)(rgb)
    shape = {"size": size.of(20, 25), "boundary": "symmetric", "intermediate": "float"}
    assert np.array_equal(made, bicubic.imresize(expected, **shape) if size != Size(2.0) else expected)


def test_a_picture_that_is_large_enough_is_shrunk_alone(sized, picture):
    rgb = picture(20, 25)
    made = sized(Size(width=10)).enlarge(images.Picture(rgb)).rgb
    assert np.array_equal(made, bicubic.imresize(rgb, size=(8, 10), boundary="symmetric", intermediate="float"))
    assert np.array_equal(sized(Size(1.0)).enlarge(images.Picture(rgb)).rgb, rgb)


def test_bands_are_the_same_with_alpha_grey_and_16_bits(sized, picture):
    rgb = picture(40, 30)
    deep = rgb.astype(np.uint16) * 257
    grey = np.repeat(rgb[:, :, :1], 3, axis=2)
    for whole in (images.Picture(deep, deep[:, :, 0].copy()), images.Picture(grey, None, True)):
        sampler = sized(Size(2.6), tile=16)
        made, bands = sampler.enlarge(whole), sampler.enlarge_in_bands(whole)
        assert (bands.height, bands.width, bands.alpha, bands.grey) == (104, 78, whole.alpha is not None, whole.grey)
        joined = bands.joined()
        assert np.array_equal(joined.rgb, made.rgb) and made.rgb.dtype == whole.rgb.dtype
        assert whole.alpha is None or np.array_equal(joined.alpha, made.alpha)
        assert not whole.grey or (made.rgb == made.rgb[:, :, :1]).all()


def test_metadata_tell_the_size(sized, picture):
    made = sized(Size(width=75)).enlarge(images.Picture(picture(20, 30), metadata=Metadata(dpi=(100.0, 100.0))))
    assert made.metadata.dpi == (250, 250)


def test_a_size_beyond_the_largest_scale_is_refused(sized, picture):
    with pytest.raises(
        InputError, match="is 25x20, and would be 101x81, but these weights enlarge by 4 at most; take others, or"
    ):
        sized(Size(width=101)).enlarge(images.Picture(picture(20, 25)))


def test_the_command_makes_folders_of_a_size(root, command, picture, tmp_path):
    images.write_rgb(tmp_path / "mine/a.png", picture(20, 30))
    images.write_rgb(tmp_path / "mine/b.png", picture(30, 20))
    images.write_rgb(tmp_path / "mine/tiny.png", picture(4, 4))
    frames = [Image.fromarray(picture(20, 30, seed=seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "mine/film.webp", save_all=True, append_images=frames[1:], lossless=True)

    def sample(*flags, data=tmp_path / "mine"):
        where = ["--test_data_dir", data, "--sample_dir", tmp_path / "out"]
        return command("lesrcnn_b/tcw_sample_b.py", *where, *flags)

    done = sample("--size", "75x75", "--pages", "all")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "tiny.png: is 4x4, and would be 75x75, but" in done.stdout and "1 skipped, 4 done" in done.stdout
    out = tmp_path / "out/lesrcnn/mine/in_75x75"
    assert images.size(out / "SR/a.png") == (50, 75) and images.size(out / "SR/b.png") == (75, 50)
    with Image.open(out / "SR/film.png") as film:
        assert (film.size, film.n_frames) == ((75, 50), 2)
    assert json.loads((out / "results.json").read_text())["size"] == "in_75x75"
    for flags, words in (
        (("--size", "75"), "no width and height such as 1920x1080"),
        (("--size", "75x75", "--factor", "2"), "--size and --factor: do not go together"),
        (("--width", "75", "--wrap"), "--width or --height and --wrap: do not go together"),
    ):
        failed = sample(*flags)
        assert failed.returncode == 2 and words in failed.stderr and failed.stderr.count("error:") == 1
    failed = sample("--factor", "1.5", data=root / "dataset/Sample")
    assert failed.returncode == 2 and "has originals to measure with" in failed.stderr
