"""imresize against the benchmark's own pictures, MATLAB's own numbers and the definition in loops."""

import itertools
import math

import numpy as np
import pytest

from dataset import bicubic, images
from dataset.bicubic import enlarge, imresize
from solver.measuring import metrics


def resize_line(line, length, scale, symmetric):
    """One row of float pixels resized, straight from the definition."""

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    stretch = max(1, 1 / scale)
    count = len(line)
    result = []
    for target in range(length):
        centre = (target + 0.5) / scale - 0.5
        total = weight = 0.0
        for source in range(math.floor(centre - 2 * stretch), math.ceil(centre + 2 * stretch) + 1):
            w = kernel((centre - source) / stretch)
            where = min(max(source, 0), count - 1)
            if symmetric:
                where = source % (2 * count)
                where = where if where < count else 2 * count - 1 - where
            total += w * line[where]
            weight += w
        result.append(total / weight)
    return np.array(result)


def by_definition(image, size, factors, symmetric, rounded):
    """The whole of imresize for one channel, with loops; ``rounded`` = the largest integer, or 0."""

    def to_type(pixels):
        return np.clip(np.floor(pixels + 0.5), 0, rounded) if rounded else pixels

    rows = [resize_line(column, size[0], factors[0], symmetric) for column in image.astype(float).T]
    pixels = to_type(np.array(rows).T)
    return to_type(np.array([resize_line(row, size[1], factors[1], symmetric) for row in pixels]))


@pytest.mark.parametrize("name", ["Set5", "Set14"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_benchmark_pictures_have_no_differing_pixel(reference, name, scale):
    files = sorted((reference / name / f"x{scale}").glob("*_HR.png"))
    assert len(files) == int(name[3:])
    for file in files:
        lr = images.read_rgb(file.with_name(file.name.replace("_HR", "_LR")))
        made = imresize(images.read_rgb(file), 1 / scale)
        assert made.shape == lr.shape and np.count_nonzero(made != lr) == 0, file.name


@pytest.mark.parametrize("scale", [2, 3])
def test_matlabs_own_numbers(reference, scale):
    matlab = np.load(reference / "matlab" / f"butterfly_x{scale}.npz")
    options = {"boundary": "symmetric", "intermediate": "float"}
    for source, factor, target in (("hr_y", 1 / scale, "lr_y"), ("lr_y", scale, "bicubic_y")):
        made = imresize(matlab[source], factor, **options)
        np.testing.assert_allclose(made, matlab[target], rtol=0, atol=1e-9)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "shape, scale",
    [
        ((1, 9), 0.5),
        ((7, 1), 3),
        ((13, 8), 0.37),
        ((5, 6), 1.7),
        ((1, 1), 4),
        ((3, 2), 0.1),
        ((9, 11), 1),
        ((17, 24), 1 / 8),
        ((3, 2), 8),
    ],
)
def test_float_pictures_follow_the_definition(shape, scale, symmetric):
    image = np.random.default_rng(0).normal(size=shape)
    size = tuple(math.ceil(side * scale) for side in shape)
    made = imresize(image, scale, boundary="symmetric" if symmetric else "replicate")
    assert made.dtype == np.float64
    np.testing.assert_allclose(made, by_definition(image, size, (scale, scale), symmetric, 0), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(6, 4), (20, 31), (5, 40)])
def test_integers_are_rounded_between_the_passes_rows_first(dtype, size):
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (11, 13), endpoint=True).astype(dtype)
    made = imresize(image, size=size)
    factors = (size[0] / 11, size[1] / 13)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, by_definition(image, size, factors, False, np.iinfo(dtype).max))
    unrounded = by_definition(image, size, factors, False, 0)
    once = imresize(image, size=size, intermediate="float")
    np.testing.assert_array_equal(once, np.floor(unrounded + 0.5).clip(0, np.iinfo(dtype).max))
    assert (made != once).any()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_lr_is_exact_at_every_scale(scale, symmetric):
    image = np.random.default_rng(scale).integers(0, 256, (48, 72), dtype=np.uint8)
    made = imresize(image, 1 / scale, boundary="symmetric" if symmetric else "replicate")
    expected = by_definition(image, (48 // scale, 72 // scale), (1 / scale, 1 / scale), symmetric, 255)
    np.testing.assert_array_equal(made, expected)


def test_channels_are_resized_alike_and_apart():
    image = np.random.default_rng(2).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    made = imresize(image, 0.5)
    assert made.shape == (5, 6, 3)
    for channel in range(3):
        np.testing.assert_array_equal(made[:, :, channel], imresize(image[:, :, channel], 0.5))
    assert imresize(image[:, :, :1], 2).shape == (20, 24, 1)


def test_float32_stays_float32_and_is_not_clipped():
    image = np.array([[0, 0, 1, 1]], np.float32)
    made = imresize(image, 2)
    assert made.dtype == np.float32 and made.shape == (2, 8) and made.min() < 0 and made.max() > 1


def test_half_a_grey_level_is_rounded_up():
    assert imresize(np.array([[4, 5], [4, 5]], np.uint8), size=(1, 1)).item() == 5


def test_a_flat_picture_stays_flat():
    assert (imresize(np.full((17, 9, 3), 255, np.uint8), 0.3) == 255).all()


def test_views_that_are_not_contiguous_are_read_rightly():
    image = np.random.default_rng(3).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    view = image[::-1, ::2, ::-1]
    np.testing.assert_array_equal(imresize(view, 0.5), imresize(view.copy(), 0.5))


def test_enlarge_rounds_once():
    lr = np.random.default_rng(4).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    exact = imresize(lr.astype(float), 3, boundary="symmetric")
    np.testing.assert_array_equal(enlarge(lr, 3), np.floor(exact + 0.5).clip(0, 255))


@pytest.mark.parametrize("scale, paper", [(2, 33.66), (3, 30.39), (4, 28.42)])
def test_bicubic_row_of_the_papers_table(reference, scale, paper):
    figures = []
    for file in sorted((reference / "Set5" / f"x{scale}").glob("*_HR.png")):
        lr = images.read_rgb(file.with_name(file.name.replace("_HR", "_LR")))
        figures.append(metrics.psnr_ssim(enlarge(lr, scale), images.read_rgb(file), scale)[0])
    assert np.mean(figures) == pytest.approx(paper, abs=0.02)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"scale": 2, "size": (4, 4)},
        {"scale": 0},
        {"scale": -1},
        {"scale": float("nan")},
        {"size": (0, 4)},
        {"size": (1.5, 4)},
        {"scale": 2, "boundary": "mirror"},
        {"scale": 2, "intermediate": "int"},
    ],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        imresize(np.zeros((4, 4), np.uint8), **arguments)


@pytest.mark.parametrize(
    "image", [np.zeros((0, 4), np.uint8), np.zeros((4, 4), np.int64), np.zeros(4), np.zeros((1, 2, 3, 4))]
)
def test_wrong_pictures_are_refused(image):
    with pytest.raises(ValueError):
        imresize(image, 2)


@pytest.mark.parametrize("boundary, intermediate", itertools.product(bicubic.BOUNDARIES, bicubic.INTERMEDIATES))
def test_a_large_picture_is_resized_in_bands_to_the_same_pixels(monkeypatch, boundary, intermediate):
    random = np.random.default_rng(0)
    for shape, scale in (((97, 60, 3), 3), ((120, 33), 1 / 4), ((50, 41, 1), 0.7)):
        image = random.integers(0, 256, shape, dtype=np.uint8)
        whole = bicubic.imresize(image, scale, boundary=boundary, intermediate=intermediate)
        with monkeypatch.context() as small:
            small.setattr(bicubic, "_NUMBERS", 700)
            bands = bicubic.imresize(image, scale, boundary=boundary, intermediate=intermediate)
        np.testing.assert_array_equal(bands, whole)


@pytest.mark.parametrize("boundary", bicubic.BOUNDARIES)
@pytest.mark.parametrize("scale", [0.9, 0.6, 1 / 3, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_part_is_the_part_of_the_whole_and_asks_for_little(boundary, scale, channels):
    image = np.random.default_rng(3).integers(0, 256, (61, 90, channels), dtype=np.uint8)
    whole = imresize(image, scale, boundary=boundary)
    asked = []

    def part(top, left, height, width):
        asked.append((height, width))
        return image[top : top + height, left : left + width]

    height, width = whole.shape[:2]
    for top, left in itertools.product((0, 5, height - 7), (0, 8, width - 4)):
        made = bicubic.resized_part(part, image.shape[:2], scale, (top, left, 7, 4), boundary)
        np.testing.assert_array_equal(made, whole[top : top + 7, left : left + 4])
    reach = math.ceil(4 * max(1, 1 / scale)) + 1
    assert (np.max(asked, axis=0) <= [7 / scale + reach, 4 / scale + reach]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(31, 40), (60, 17), (1, 1), (61, 47), (44, 47), (90, 99)])
@pytest.mark.parametrize("rows", [1, 7, 61])
def test_in_bands_it_is_the_same_to_the_bit(picture, dtype, size, rows):
    whole = picture(61, 47).astype(dtype) * (257 if dtype == np.uint16 else 1)
    bands = (whole[top : top + rows] for top in range(0, 61, rows))
    expected = bicubic.imresize(whole, size=size, boundary="symmetric", intermediate="float")
    assert np.array_equal(np.concatenate(list(bicubic.resized_bands(bands, (61, 47), size))), expected)


def test_in_bands_little_is_held(picture):
    """The first rows come long before the last ones are asked for."""
    asked = []
    bands = (asked.append(top) or picture(10, 30) for top in range(100))
    next(bicubic.resized_bands(bands, (1000, 30), (600, 20)))
    assert len(asked) <= 2
