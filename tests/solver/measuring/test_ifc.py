"""IFC: against its formula written out, against the field's tables, and that it tells less of what is worse."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate2d

from dataset import images
from dataset.bicubic import imresize
from solver.measuring import ifc as module
from solver.measuring.ifc import ifc, information, subbands
from solver.measuring.metrics import luma, luma_planes


@pytest.fixture
def plane(picture):
    return luma(picture(80, 72, seed=4)).astype(float)


def test_information_is_the_formula_written_out():
    """Block by block, with windows cut out of the subbands."""
    random = np.random.default_rng(0)
    original = random.normal(0, 9, (31, 28))
    distorted = 0.8 * original + random.normal(0, 2, original.shape)
    used = original[:30, :27]
    blocks = np.array([used[i : i + 3, j : j + 3].ravel() for i in range(28) for j in range(25)])
    covariance = np.cov(blocks.T, bias=True)
    bits = 0.0
    for i in range(3, 27, 3):  # the first and last blocks are at the border
        for j in range(3, 24, 3):
            x, y = (z[i - 1 : i + 4, j - 1 : j + 4] for z in (original, distorted))
            gain = np.mean((x - x.mean()) * (y - y.mean())) / x.var()
            noise = y.var() - gain**2 * x.var()
            block = used[i : i + 3, j : j + 3].ravel()
            energy = block @ np.linalg.inv(covariance) @ block / 9
            for variance in np.linalg.eigvalsh(covariance):
                bits += np.log2(1 + gain**2 * energy * variance / (noise + 1e-10))
    assert information(original, distorted, 5) == pytest.approx(bits, rel=1e-9)


def test_subbands_are_plain_correlations_of_the_mirrored_picture(plane):
    def filtered(picture, taps):
        return correlate2d(np.pad(picture, len(taps) // 2, mode="reflect"), taps, "valid")

    low = filtered(plane, module._symmetric(module._FIRST_LOWPASS))
    levels = list(subbands(plane))
    assert [bands[0].shape for bands in levels] == [(80, 72), (40, 36), (20, 18), (10, 9)]
    for vertical, horizontal in levels:
        taps = np.array(module._BAND)
        taps = np.vstack([taps, taps[2::-1]])
        taps = np.hstack([taps, np.zeros((7, 1)), -taps[:, ::-1]])
        np.testing.assert_allclose(vertical, filtered(low, taps), atol=1e-9)
        np.testing.assert_allclose(horizontal, filtered(low, taps.T), atol=1e-9)
        low = filtered(low, module._symmetric(module._LOWPASS))[::2, ::2]


def test_the_more_is_lost_the_less_is_told(plane):
    blurred = [ifc(gaussian_filter(plane, sigma), plane) for sigma in (0.4, 0.7, 1.2, 2.5)]
    noisy = [ifc(plane + np.random.default_rng(0).normal(0, sigma, plane.shape), plane) for sigma in (1, 4, 16)]
    assert blurred == sorted(blurred, reverse=True) and noisy == sorted(noisy, reverse=True)
    assert min(blurred + noisy) > 0


def test_of_equal_flat_and_small_pictures(plane):
    assert ifc(plane, plane.copy()) == math.inf
    assert ifc(np.full_like(plane, 100.0), plane) == ifc(plane, np.full_like(plane, 100.0)) == 0
    assert ifc(255 - plane, plane) == 0  # a gain is not negative
    assert ifc(plane[:64], plane[:64] + 1) is None and ifc(plane[:65, :65] / 2, plane[:65, :65]) is not None
    with pytest.raises(ValueError, match="SR is"):
        ifc(plane, plane[1:])


@pytest.mark.parametrize("scale, published", [(3, 3.45), (4, 2.28)])
def test_the_fields_bicubic_on_set5(reference, scale, published):
    values = []
    for file in sorted((reference / "Set5" / f"x{scale}").glob("*HR.png")):
        hr = images.read_rgb(file)
        sr = imresize(imresize(hr, 1 / scale, boundary="symmetric"), scale, boundary="symmetric")
        values.append(ifc(*luma_planes(sr, hr, scale, "published")))
    assert round(np.mean(values), 2) == published
