import numpy as np
import pytest

from dataset import images, transparency
from dataset import picture as pictures
from dataset.images import Picture


def test_what_is_hidden_near_by_takes_the_nearest_colour_and_what_is_far_stays(picture):
    rgb, alpha = picture(30, 40), np.full((30, 40), 3, np.uint8)
    alpha[:, 20:] = 0
    result = transparency.covered(Picture(rgb, alpha))
    edge = 20 + transparency.REACH
    assert np.array_equal(result[:, :20], rgb[:, :20]) and np.array_equal(result[:, edge:], rgb[:, edge:])
    assert (result[:, 20:edge] == rgb[:, 19:20]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_in_bands_it_is_the_same(dtype, monkeypatch):
    random = np.random.default_rng(0)
    rgb, alpha = random.integers(0, 255, (50, 40, 3)).astype(dtype), (random.random((50, 40)) < 0.02).astype(dtype)
    whole = transparency.covered(Picture(rgb, alpha))
    monkeypatch.setattr(pictures, "_BAND", 7 * 40)
    # Of two that are as near, either may be taken: the colours are of pixels that are seen, and as many are changed.
    bands = transparency.covered(Picture(rgb, alpha))
    assert np.array_equal((bands != rgb).any(axis=2), (whole != rgb).any(axis=2))
    seen = {*map(tuple, rgb[alpha > 0].tolist())}
    assert {*map(tuple, bands[(bands != rgb).any(axis=2)].tolist())} <= seen


@pytest.mark.parametrize("value", [0, 1, 255])
def test_all_or_nothing_hidden_changes_nothing(value):
    rgb = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    assert transparency.covered(Picture(rgb, np.full((9, 9), value, np.uint8))) is rgb
    assert transparency.covered(Picture(rgb)) is rgb


def test_a_picture_of_which_nothing_is_seen_is_no_training_picture(tmp_path):
    images.write(tmp_path / "a.png", Picture(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)))
    with pytest.raises(images.InputError, match="a.png: is transparent all over"):
        transparency.read_seen(tmp_path / "a.png")
