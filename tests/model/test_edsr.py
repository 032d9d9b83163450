import pytest
import torch
from torch.nn import functional as F

import model


def net_of(scale=2, multi_scale=False):
    torch.manual_seed(0)
    return model.build("edsr", scale, multi_scale)


@pytest.mark.parametrize("scale, count", [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_parameters(scale, count):
    """The counts that are known of EDSR-baseline, less the two constant mean shifts of 12 each."""
    assert sum(p.numel() for p in net_of(scale).parameters()) == count


def test_skips_lead_around_the_blocks_and_around_all_of_them():
    net, x = net_of(), torch.rand(1, 64, 5, 5)
    with torch.no_grad():
        for block in net.blocks:
            block.second.weight.zero_()
            block.second.bias.zero_()
        assert torch.equal(net.blocks(x), x)
        net.tail.weight.zero_()
        net.tail.bias.zero_()
        picture = torch.rand(1, 3, 5, 5)
        head = net.head(net.sub_mean(picture))
        assert torch.equal(net(picture), net.add_mean(net.last(net.up["x2"](head))))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_identity_start_enlarges(scale):
    net = net_of(scale, multi_scale=True)
    x = F.interpolate(torch.rand(1, 3, 4, 4), scale_factor=4, mode="bilinear")
    net.init_identity()
    with torch.no_grad():
        error = net(x, scale) - F.interpolate(x, scale_factor=scale, mode="bilinear")
    inside = error[..., 2 * scale : -2 * scale, 2 * scale : -2 * scale]
    assert inside.abs().mean() < 0.02 and inside.any()
