import itertools

import pytest
import torch

import model
from model.ablation import VARIANTS
from model.lesrcnn import PAIRS


def net_of(variant, scale=2, seed=0):
    torch.manual_seed(seed)
    return model.build("ablation", scale, variant=variant)


@pytest.mark.parametrize("variant, count", [("SN", 740_992), ("HN", 478_848), ("IEEB", 478_848), ("IEEB+RB", 478_848)])
def test_parameters(variant, count):
    assert sum(p.numel() for p in net_of(variant).parameters()) == count


def test_hn_and_ieeb_differ_by_the_skips():
    hn, ieeb = net_of("HN"), net_of("IEEB")
    layers = itertools.chain([ieeb.features.shallow], *zip(ieeb.features.conv3, ieeb.features.conv1))
    for own, other in zip(hn.features.layers, layers, strict=True):
        own.weight.data = other.weight.data
    x = torch.rand(1, 3, 6, 6)
    with torch.no_grad():
        assert not torch.allclose(hn.features(x)[0], ieeb.features(x)[0])
        for conv1 in ieeb.features.conv1:  # silenced pairs leave the skips alone: the first layer comes through
            conv1.weight.zero_()
        deep, shallow = ieeb.features(x)
        assert torch.equal(deep, shallow)
        assert torch.equal(shallow, hn.features(x)[1])


def test_the_rb_joins_the_shallow_features_in():
    net = net_of("IEEB+RB")
    x = torch.rand(1, 3, 6, 6)
    with torch.no_grad():
        before = net(x)
        for conv3 in net.features.conv3:  # the deep features become the shallow ones
            conv3.weight.zero_()
        deep, shallow = net.features(net.sub_mean(x))
        assert torch.equal(deep, shallow) and not torch.allclose(net(x), before)
        up = net.rb.up["x2"]
        twice = torch.relu(up(deep) + up(shallow))
        assert torch.allclose(net(x), net.add_mean(net.last(twice)), atol=1e-5)


def test_sn_is_all_3x3_and_hn_is_not():
    assert {conv.kernel_size for conv in net_of("SN").features.layers} == {(3, 3)}
    sizes = [conv.kernel_size[0] for conv in net_of("HN").features.layers]
    assert sizes == [3] + [3, 1] * PAIRS


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", [4])
def test_identity_start_enlarges(variant, scale):
    net = net_of(variant, scale)
    net.init_identity()
    y, x = torch.meshgrid(torch.linspace(0, 3, 16), torch.linspace(0, 2, 16), indexing="ij")
    lr = (0.5 + 0.3 * torch.sin(x + y)).expand(1, 3, 16, 16)
    with torch.no_grad():
        sr = net(lr)
    bilinear = torch.nn.functional.interpolate(lr, scale_factor=scale, mode="bilinear")
    inner = (..., slice(4 * scale, -4 * scale), slice(4 * scale, -4 * scale))
    assert (sr[inner] - bilinear[inner]).abs().mean() < 0.05


def test_what_it_does_not_have():
    with pytest.raises(ValueError, match="SN, HN, IEEB, IEEB.RB"):
        model.build("ablation", 2, variant="XN")
