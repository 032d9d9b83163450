"""What networks share: the layers, and how networks are found."""

import numpy as np
import pytest
import torch
from networks import measured_reach

import model
from dataset.bicubic import imresize
from model.ops import BLACK, LUMA, Bicubic, OnLuma, SubPixelUpsampler, trim

SCALES = (2, 3, 4, 8)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 4)])
def test_bicubic_is_matlab_s(scale, size):
    rgb = np.random.default_rng(0).random((*size, 3))
    expected = imresize(rgb, scale, boundary="symmetric", intermediate="float")
    x = torch.tensor(rgb, dtype=torch.float32).permute(2, 0, 1).expand(2, -1, -1, -1)
    with torch.no_grad():
        enlarged = Bicubic(scale)(x)
    assert enlarged.shape == (2, 3, scale * size[0], scale * size[1])
    assert np.abs(enlarged[1].permute(1, 2, 0).numpy() - expected).max() < 1e-5


def test_bicubic_has_no_weights():
    bicubic = Bicubic(2)
    assert not list(bicubic.parameters()) and not bicubic.state_dict()


class Nearest(OnLuma):
    """Luma by repeating pixels, to be told from bicubic luma."""

    scales = SCALES

    def enlarge(self, y, scale):
        return repeated(y, scale)


def repeated(x, scale):
    return x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


@pytest.mark.parametrize("scale", SCALES)
def test_on_luma_has_the_body_s_luma_and_bicubic_colours(scale):
    torch.manual_seed(0)
    net, x = Nearest(scale), torch.rand(2, 3, 5, 6)
    sr, bicubic = net(x), Bicubic(scale)(x)
    assert (net.luma(sr) - repeated(net.luma(x), scale)).abs().max() < 1e-6
    assert (sr - bicubic).abs().max() > 0.1  # two kinds of luma
    colours = [picture[:, :2] - picture[:, 1:] for picture in (sr, bicubic)]  # equal where luma alone differs
    assert torch.allclose(*colours, atol=1e-5)


def test_on_luma_leaves_grey_pictures_grey():
    grey = torch.rand(1, 1, 5, 6).expand(-1, 3, -1, -1)
    sr = Nearest(2)(grey)
    assert (sr - sr.mean(1, keepdim=True)).abs().max() < 1e-6
    assert (sr - repeated(grey, 2)).abs().max() < 1e-6


def test_luma_reaches_from_16_to_235():
    black, white = (Nearest(2).luma(torch.full((1, 3, 1, 1), value)) for value in (0.0, 1.0))
    assert black.item() == pytest.approx(16 / 255) == BLACK
    assert white.item() == pytest.approx(235 / 255) and sum(LUMA) == pytest.approx(219 / 255)


class Sharper(Nearest):
    """What bicubic interpolation has enlarged, louder."""

    enlarged_before = True

    def enlarge(self, y, scale):
        return 2 * y


def squares(a, b):
    assert a.shape == b.shape
    return (a - b).square().mean()


@pytest.mark.parametrize("network", [Nearest, Sharper])
def test_patches_of_luma_are_taken_as_the_luma_of_rgb(network):
    torch.manual_seed(1)
    net, lr, hr = network(2), torch.rand(2, 3, 9, 9), torch.rand(2, 3, 18, 18)
    of_rgb, of_luma = net.loss(squares, lr, hr, 2), net.loss(squares, net.luma(lr), net.luma(hr), 2)
    assert of_rgb.item() == pytest.approx(of_luma.item()) and of_rgb > 0.01
    assert set(Nearest.channels) == {1, 3} and not Nearest.enlarged_before


@pytest.mark.parametrize("side", [17, 21, 33])
def test_a_patch_that_is_enlarged_already_is_compared_with_hr_or_the_centre_of_it(side):
    torch.manual_seed(2)
    lr, hr, net = torch.rand(2, 1, 33, 33), torch.rand(2, 1, side, side), Sharper(3)
    edge = (33 - side) // 2
    expected = (2 * lr[:, :, edge : 33 - edge, edge : 33 - edge] - hr).square().mean()
    assert net.loss(squares, lr, hr, 3).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("scale, reach, stages", [(2, 1, 1), (3, 1, 1), (4, 1.5, 2), (8, 1.75, 3)])
def test_the_up_sampler_s_reach_counts_its_stages(scale, reach, stages):
    up = SubPixelUpsampler(scale, channels=2)
    assert SubPixelUpsampler.reach(scale) == reach and len(up.stages) == stages
    assert up(torch.rand(1, 2, 5, 3)).shape == (1, 2, 5 * scale, 3 * scale)
    assert -0.5 < measured_reach(up, scale, reach, channels=2) - reach <= 0.5


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_s_reach_is_two(scale):
    assert -0.5 < measured_reach(Bicubic(scale), scale, Bicubic.reach) - Bicubic.reach <= 0.5


def test_trim_takes_scale_times_the_margins():
    x = torch.arange(48.0).view(1, 1, 6, 8)
    assert torch.equal(trim(x, (1, 0, 0, 2), 2), x[:, :, 2:, :4])
    assert trim(x, (0, 0, 0, 0), 2) is x


def test_a_network_is_a_file_with_a_class_net(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "__file__", str(tmp_path / "__init__.py"))
    files = {
        "__init__": '"""Each has a class Net."""\n',
        "ops": "class Network:\n    pass\n",
        "parts": '"""Blocks, not a class Net(Network)."""\n\n\nclass Nets:\n    pass\n',
        "espcn": "import torch\n\n\nclass Net(Network):\n    pass\n",
        "a_net": '"""Docstring."""\n\nclass Net(Network):\n    pass\n',
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert model.names() == ["a_net", "espcn"]


def test_vdsr_starts_as_bicubic_interpolation():
    torch.manual_seed(0)
    net, x = model.build("vdsr", 3), torch.rand(1, 3, 8, 9)
    with torch.no_grad():
        expected = Bicubic(3)(x)
        assert (net(x) - expected).abs().max() > 1e-3
        net.init_identity()
        assert (net(x) - expected).abs().max() < 1e-5


def test_all_biases_can_have_a_rate_of_their_own():
    net = model.build("lapsrn", 2)
    (of_biases,) = (group for group in net.parameter_groups([("bias", 0.1)]) if group["rate"] == 0.1)
    assert set(of_biases["params"]) == {p for name, p in net.named_parameters() if p.ndim == 1}


def test_a_picture_stays_exact_within_autocast():
    net, x = model.build("espcn", 2), torch.rand(1, 3, 8, 8)
    luma, enlarged = net.luma(x), net.bicubic["x2"](x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.luma(x), luma) and torch.equal(net.bicubic["x2"](x), enlarged)
