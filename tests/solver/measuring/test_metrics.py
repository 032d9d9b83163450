import itertools
import json
import math

import numpy as np
import pytest

from dataset import images
from solver.measuring import metrics
from solver.measuring.metrics import luma, psnr_ssim


def test_luma_of_known_colours():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    # MATLAB's rgb2ycbcr of the same colours
    assert luma(colours).tolist() == [[16, 235, 81, 145, 41]]
    assert luma(colours).dtype == np.uint8
    assert luma(colours, "modern")[0, 2] == pytest.approx(16 + 65.481)


def test_psnr_by_hand(picture):
    hr = picture(40, 40)
    hr = np.repeat(np.clip(hr[:, :, :1], 10, 200), 3, axis=2)
    sr = hr + np.uint8(5)
    for_rgb, _ = psnr_ssim(sr, hr, 2, channel="rgb")
    assert for_rgb == pytest.approx(10 * math.log10(255**2 / 25))
    # five grey levels are 5 * 219 / 255 of luma
    in_luma, _ = psnr_ssim(sr, hr, 2, "modern")
    assert in_luma == pytest.approx(10 * math.log10(255**2 / (5 * 218.999 / 255) ** 2), abs=1e-3)


def test_the_border_does_not_count(picture):
    hr = picture(40, 40)
    sr = hr.copy()
    sr[:3], sr[-3:], sr[:, :3], sr[:, -3:] = 0, 0, 0, 0
    assert psnr_ssim(sr, hr, 3) == (math.inf, 1.0)
    assert psnr_ssim(sr, hr, 2)[0] < 40


def test_ssim_is_that_of_wang_et_al(picture):
    """Against the formula written out: 11x11 Gaussian, valid region, population covariance."""
    hr, sr = picture(30, 26, seed=1), picture(30, 26, seed=2)
    x, y = luma(hr).astype(float), luma(sr).astype(float)
    g = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(g, g) / g.sum() ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2
            cov = (window * a * b).sum() - ma * mb
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    assert psnr_ssim(sr, hr, 0)[1] == pytest.approx(np.mean(values), abs=1e-6)


def test_too_small_to_measure():
    tiny = np.zeros((2, 2, 3), np.uint8)
    assert psnr_ssim(tiny, tiny, 2) == (None, None)
    small = np.zeros((12, 12, 3), np.uint8)
    assert psnr_ssim(small, small, 2) == (math.inf, None)


def test_what_cannot_be_compared_is_refused(picture):
    with pytest.raises(ValueError):
        psnr_ssim(picture(20, 20), picture(20, 21), 2)
    with pytest.raises(ValueError):
        psnr_ssim(picture(20, 20), picture(20, 20), 2, protocol="another")
    with pytest.raises(ValueError):
        psnr_ssim(picture(20, 20) / 255, picture(20, 20) / 255, 2, "luma", "rgb")


def test_protocols_differ_as_documented(picture):
    hr = picture(40, 40)
    sr = np.clip(hr.astype(int) + np.random.default_rng(0).integers(-3, 4, hr.shape), 0, 255).astype(np.uint8)
    published, modern = (psnr_ssim(sr, hr, 2, p)[0] for p in ("published", "modern"))
    assert 0.005 < modern - published < 0.5


def test_expected_figures_belong_to_the_sets(reference):
    """The per-image figures to match name exactly the pictures of the reference folder."""
    expected = json.loads((reference / "expected_lesrcnn.json").read_text())
    for key, entry in expected.items():
        names = {f.name for f in images.list_images(reference / key) if "HR" in f.name}
        assert names == entry["images"].keys()


KINDS = [kind for kind in itertools.product(metrics.PROTOCOLS, metrics.CHANNELS) if kind != ("luma", "rgb")]


@pytest.mark.parametrize("protocol, channel", KINDS)
def test_bands_of_a_large_picture_give_the_figures_of_the_whole(monkeypatch, protocol, channel):
    random = np.random.default_rng(0)
    for height, width in ((11, 40), (64, 35), (131, 200)):
        hr = random.integers(0, 256, (height + 4, width + 4, 3), dtype=np.uint8)
        sr = (hr + random.normal(0, 9, hr.shape)).clip(0, 255).astype(np.uint8)
        whole = metrics.psnr_ssim(sr, hr, 2, protocol, channel)
        with monkeypatch.context() as small:
            small.setattr(metrics, "_PIXELS", 900)
            assert len(list(metrics._bands(131, 200))) == 5
            assert metrics.psnr_ssim(sr, hr, 2, protocol, channel) == pytest.approx(whole, rel=1e-13)
