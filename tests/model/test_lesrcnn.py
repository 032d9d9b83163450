import pytest
import torch
from torch.nn import functional as F

import model
from model.lesrcnn import RB
from model.ops import DIV2K_MEAN, MeanShift


def trainable(net) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "scale, multi_scale, count", [(2, False, 626_304), (3, False, 810_944), (4, False, 774_016), (2, True, 1_254_080)]
)
def test_trainable_parameters_are_the_published_ones(scale, multi_scale, count):
    assert trainable(model.build("lesrcnn", scale=scale, multi_scale=multi_scale)) == count


def test_mean_shifts_cancel_and_are_not_trained():
    x = torch.rand(1, 3, 4, 4)
    shifted = MeanShift(-1)(x)
    assert torch.allclose(x - shifted, torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1).expand_as(x))
    assert torch.allclose(MeanShift(+1)(shifted), x)
    assert not list(MeanShift(-1).parameters())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_one_upsampler_pass_equals_two(scale):
    torch.manual_seed(0)
    block = RB((scale,))
    deep, shallow = torch.rand(2, 1, 64, 6, 5)
    up = block.up[f"x{scale}"]
    with torch.no_grad():
        two_passes = F.relu(up(deep) + up(shallow))
        assert (block(deep, shallow, scale) - two_passes).abs().max() < 1e-5
        assert two_passes.max() > 0.05  # the comparison is about something


@pytest.mark.parametrize("scale, reach", [(2, 12.5), (3, 11 + 2 / 3), (4, 11.75)])
def test_reach_is_as_the_docstring_has_it(scale, reach):
    assert model.build("lesrcnn", scale).reach(scale) == pytest.approx(reach)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_identity_start_is_bilinear(scale):
    torch.manual_seed(0)
    x = F.interpolate(torch.rand(1, 3, 5, 5), size=24, mode="bicubic", align_corners=False).clamp(0, 1)
    inner = (..., slice(3 * scale, -3 * scale), slice(3 * scale, -3 * scale))
    bilinear = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)[inner]
    for net in (model.build("lesrcnn", scale), model.build("lesrcnn", scale, multi_scale=True)):
        with torch.no_grad():
            default = (net(x, scale)[inner] - bilinear).abs().mean()
            net.init_identity()
            started = (net(x, scale)[inner] - bilinear).abs().mean()
        assert started < 0.05 < 2 * started + default and started < default / 3
