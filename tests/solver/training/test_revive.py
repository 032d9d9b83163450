"""Silent units, and how they come back."""

import copy

import pytest
import torch

import model
from model.ops import DIV2K_MEAN
from solver.training.revive import SILENT, Hidden


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = model.build("lesrcnn", 2)
    net.init_identity()
    return net.requires_grad_(False)


PATCHES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def silence(net):
    """All units of one layer and three of another, by weights that rectified inputs cannot excite."""
    net.ieeb.conv3[4].weight.abs_().neg_()
    net.irb.refine[3].weight[20:23].abs_().neg_()


def watched(net):
    hidden = Hidden(net.hidden())
    hidden.watch(lambda: net(PATCHES))
    return hidden


def excited(net):
    """Of each layer's units, the share of the places where they are above 0."""
    return [found[0] for found in watched(net)._excited]


def test_revived_units_leave_the_result_as_it_is_and_are_excited(net):
    silence(net)
    before, weights = net(PATCHES), copy.deepcopy(net.state_dict())
    silent = [share < SILENT for share in excited(net)]
    count = watched(net).revive()
    assert count == sum(int(units.sum()) for units in silent) >= 67
    assert torch.allclose(net(PATCHES), before, atol=1e-3)  # a unit that is excited here and there falls silent first
    share = excited(net)
    assert share[4].min() > 0.05 and share[11][20:23].min() > 0.05 and watched(net).revive() == 0
    for i, units in enumerate(silent[:8]):
        changed = net.ieeb.conv3[i].weight != weights[f"ieeb.conv3.{i}.weight"]
        assert torch.equal(changed.flatten(1).any(1), units)


def test_the_new_units_are_as_loud_as_the_living(net):
    net.irb.refine[3].weight[20:23].abs_().neg_()
    outputs = []
    watched(net).revive()
    with torch.no_grad():
        net.irb.refine[3].register_forward_hook(lambda *a: outputs.append(a[2].relu().square().mean((0, 2, 3)).sqrt()))
        net(PATCHES)
    loudness = outputs[0]
    living = torch.cat([loudness[:20], loudness[23:]])
    assert torch.allclose(loudness[20:23], living[living > 0].median().expand(3), rtol=0.2)


def test_revived_units_learn(net):
    silence(net)
    watched(net).revive()
    net.requires_grad_(True)
    for _ in range(2):  # the next layer has to listen first
        net.zero_grad()
        net(PATCHES).square().mean().backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= 1e-2 * p.grad
    assert net.ieeb.conv3[4].weight.grad.flatten(1).norm(dim=1).min() > 0
    assert net.irb.refine[3].weight.grad[20:23].flatten(1).norm(dim=1).min() > 0


def test_a_copy_has_the_same_new_weights(net):
    silence(net)
    other = copy.deepcopy(net)
    other.irb.last.weight *= 0.5
    watched(net).revive(other.hidden())
    assert torch.equal(other.ieeb.conv3[4].weight, net.ieeb.conv3[4].weight)
    assert not other.ieeb.conv1[4].weight.any() and not other.irb.last.weight[:, 20:23].any()
    assert not torch.equal(other.irb.last.weight, net.irb.last.weight)


def test_watching_leaves_no_hooks(net):
    with pytest.raises(RuntimeError):
        Hidden(net.hidden()).watch(lambda: net(torch.rand(1, 5, 4, 4)))
    assert not any(module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("variant, count", [("SN", 15), ("HN", 15), ("IEEB", 8), ("IEEB+RB", 8)])
def test_the_ablations_networks_know_their_hidden_units(variant, count):
    torch.manual_seed(0)
    net = model.build("ablation", 2, variant=variant).requires_grad_(False)
    assert len(net.hidden()) == count
    net.hidden()[2][0].weight.abs_().neg_()
    before = net(PATCHES)
    assert watched(net).revive() >= 64
    assert torch.allclose(net(PATCHES), before, atol=1e-3)


def test_patches_of_one_grey_make_no_unit_loud(net):
    net.irb.refine[3].weight[20:23].abs_().neg_()
    largest = net.irb.refine[3].weight.abs().max()
    grey = torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1).expand(1, 3, 1, 1)  # less the mean, nothing at all
    hidden = Hidden(net.hidden())
    hidden.watch(lambda: net(grey))
    assert hidden.revive() > 0 and net.irb.refine[3].weight.abs().max() < 100 * largest
