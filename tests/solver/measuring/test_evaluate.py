import math

import numpy as np
import pytest

from dataset import images, test_set
from dataset.bicubic import imresize
from dataset.errors import InputError
from model.ops import NONE, Network, trim
from solver.measuring.evaluate import evaluate
from solver.measuring.metrics import psnr_ssim
from solver.sampling.sampler import Sampler


class Nearest(Network):
    """Enlarges by repeating pixels, plus a constant: an output that is known beforehand."""

    def __init__(self, plus=0.0, scale=2):
        super().__init__(scale)
        self.plus = plus

    def forward(self, x, scale=None, margins=NONE):
        return trim(x.repeat_interleave(scale, 2).repeat_interleave(scale, 3) + self.plus, margins, scale)

    def reach(self, scale):
        return 1


@pytest.fixture
def benchmark(picture, tmp_path):
    for i in (1, 2):
        hr = picture(40, 36, seed=i)
        images.write_rgb(tmp_path / f"Set/x2/img_{i:03}_SRF_2_HR.png", hr)
        images.write_rgb(tmp_path / f"Set/x2/img_{i:03}_SRF_2_LR.png", imresize(hr, 1 / 2))
    return tmp_path / "Set"


def test_rounding_follows_the_protocol(picture):
    sampler = Sampler(Nearest(plus=0.7 / 255), 2)
    pixels = np.full((3, 4, 3), 100, np.uint8)
    assert np.unique(sampler(pixels)).tolist() == [100]
    assert np.unique(sampler(pixels, "round")).tolist() == [101]
    assert sampler(pixels).shape == (6, 8, 3)


def test_sixteen_bits_stay(picture):
    deep = picture(4, 5).astype(np.uint16) * 257 + 3
    sr = Sampler(Nearest(), 2)(deep, "round")
    assert sr.dtype == np.uint16 and np.array_equal(sr[::2, ::2], deep)


def test_alpha_and_grey_are_kept(picture):
    grey = np.repeat(picture(4, 5)[:, :, :1], 3, axis=2)
    alpha = np.full((4, 5), 255, np.uint8)
    alpha[:, 3:] = 0
    sr = Sampler(Nearest(), 2).enlarge(images.Picture(grey, alpha, True))
    grey[:, 3:] = grey[:, 2:3]  # what is hidden takes the colour beside it
    assert sr.grey and np.array_equal(sr.rgb[::2, ::2], grey)
    assert sr.alpha.shape == (8, 10) and sr.alpha[:, :3].min() == 255 and sr.alpha[:, 9].max() == 0


def test_figures_are_those_of_the_metrics(benchmark):
    from solver.measuring.metrics import psnr_ssim

    found = test_set.find(benchmark, 2)
    seen = []
    scores = evaluate(
        Sampler(Nearest(), 2), found, compare_bicubic=True, on_picture=lambda item, sr: seen.append((item, sr))
    )
    assert [row.name for row in scores.rows] == ["img_001_SRF_2_SR", "img_002_SRF_2_SR"]
    for (item, sr), row in zip(seen, scores.rows):
        assert (row.psnr, row.ssim) == psnr_ssim(sr.rgb, images.read_rgb(item.hr), 2)
        assert row.bicubic_psnr > row.psnr > 15 and (row.height, row.width) == (40, 36)
    assert scores.psnr == pytest.approx(np.mean([row.psnr for row in scores.rows]))


def test_without_hr_there_are_no_figures(picture, tmp_path):
    images.write_rgb(tmp_path / "a.png", picture(1, 1))
    scores = evaluate(Sampler(Nearest(), 2), test_set.find(tmp_path, 2), compare_bicubic=True)
    assert scores.psnr is None and scores.rows[0].psnr is None and scores.rows[0].width == 2


def test_a_perfect_result_is_infinite(tmp_path):
    flat = np.full((20, 20, 3), 77, np.uint8)
    images.write_rgb(tmp_path / "x2/a_HR.png", flat)
    images.write_rgb(tmp_path / "x2/a_LR.png", flat[::2, ::2])
    assert evaluate(Sampler(Nearest(), 2), test_set.find(tmp_path, 2)).psnr == math.inf


def test_bad_pictures_stop_or_are_skipped(benchmark, picture):
    images.write_rgb(benchmark / "x2/img_001_SRF_2_LR.png", picture(7, 7))  # of another size
    (benchmark / "x2/img_003_SRF_2_LR.png").write_bytes(b"")  # without HR
    found = test_set.find(benchmark, 2)
    with pytest.raises(InputError):
        evaluate(Sampler(Nearest(), 2), found)
    scores = evaluate(Sampler(Nearest(), 2), found, skip_bad=True)
    assert len(scores.rows) == 1 and len(scores.skipped) == 2
    assert "is 36x40, but 2 times its LR is 14x14" in scores.skipped[1]


def test_released_weights_give_the_published_figures(reference):
    """Set5 and Set14, every picture and every mean, at all scales."""
    import json

    from solver.checkpoint import load_network

    expected = json.loads((reference / "expected_lesrcnn.json").read_text())
    for key, entry in expected.items():
        name, scale = key.split("/x")
        net, _ = load_network(reference / "weights" / f"lesrcnn_x{scale}.pth", "lesrcnn", int(scale))
        scores = evaluate(Sampler(net, int(scale)), test_set.find(reference / name, int(scale)))
        assert len(scores.rows) == len(entry["images"])
        for row in scores.rows:
            figures = entry["images"][row.name.removesuffix("SR") + "HR.png"]
            assert row.psnr == pytest.approx(figures["psnr_y"], abs=1e-3)
            assert row.ssim == pytest.approx(figures["ssim_y"], abs=1e-4)
        assert scores.psnr == pytest.approx(entry["mean"]["psnr_y"], abs=5e-4)
        assert scores.ssim == pytest.approx(entry["mean"]["ssim_y"], abs=5e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bf16_is_within_a_fiftieth_of_a_decibel(reference, scale):
    """Set5 with the released weights, beside what they give in fp32 (see the test above)."""
    import json

    import torch

    from solver.checkpoint import load_network

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU computes bf16 without hardware for it")
    expected = json.loads((reference / "expected_lesrcnn.json").read_text())[f"Set5/x{scale}"]["mean"]
    net, _ = load_network(reference / "weights" / f"lesrcnn_x{scale}.pth", "lesrcnn", scale)
    scores = evaluate(Sampler(net, scale, precision="bf16"), test_set.find(reference / "Set5", scale))
    assert scores.psnr == pytest.approx(expected["psnr_y"], abs=0.02)
    assert scores.psnr != pytest.approx(expected["psnr_y"], abs=1e-6)  # it was not fp32


@pytest.mark.parametrize("protocol", ["luma", "double"])
def test_an_original_of_less_than_an_lr_pixel_is_skipped_where_lr_is_made_from_it(protocol, benchmark, picture):
    images.write_rgb(benchmark / "x2/img_001_SRF_2_HR.png", picture(1, 9))
    scores = evaluate(Sampler(Nearest(), 2), test_set.find(benchmark, 2), protocol, skip_bad=True)
    (problem,) = scores.skipped
    assert "img_001_SRF_2_HR.png: is 9x1, less than a pixel of LR at x2" in problem and len(scores.rows) == 1


def test_lr_of_the_protocol_double_is_not_rounded_and_its_result_is(benchmark, picture):
    hr = picture(40, 36, seed=1)
    lr = imresize(hr / 255, 1 / 2, boundary="symmetric", intermediate="float")
    results = []
    scores = evaluate(
        Sampler(Nearest(), 2), test_set.find(benchmark, 2), "double", on_picture=lambda item, sr: results.append(sr.rgb)
    )
    nearest = np.round(255 * lr).clip(0, 255).repeat(2, 0).repeat(2, 1)
    assert results[0].dtype == np.uint8 and np.abs(results[0] - nearest).max() <= 1  # float32 may round another way
    assert (results[0] == nearest).mean() > 0.999
    assert scores.rows[0].psnr == pytest.approx(psnr_ssim(results[0], hr, 2, "modern")[0])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_of_the_protocol_double_is_what_lapsrns_code_reads(reference, scale):
    import json

    expected = json.loads((reference / "zoo/expected.json").read_text())["bicubic_baseline"][f"x{scale}"]["L"]
    pictures = test_set.find(reference / "Set5", scale)
    rows = evaluate(Sampler(Nearest(scale=scale), scale), pictures, "double", compare_bicubic=True).rows
    assert [row.bicubic_psnr for row in rows] == pytest.approx(expected["per_picture_psnr"], abs=1e-3)
