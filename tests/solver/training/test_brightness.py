import pytest
import torch
from networks import SOME, label, lively

import model
from model.ops import NONE, Network
from solver.training.brightness import set_right


def mean_error(net, batches):
    """Of the network's result, whichever its loss looks at last: (channels,), the mean over the batches."""
    found = []

    def keep(sr, hr):
        found.append((sr - hr).mean((0, 2, 3)))
        return found[-1].sum()

    errors = []
    with torch.no_grad():
        for batch in batches:
            net.loss(keep, *batch)
            errors.append(found[-1])
    return torch.stack(errors).mean(0)


@pytest.mark.parametrize("name, configuration", SOME, ids=label)
def test_the_mean_error_is_gone_and_only_the_last_layer_has_changed(name, configuration):
    net = lively(model.build(name, **configuration))
    lrs = [(torch.rand(2, 3, 8, 8), scale) for scale in net.scales for _ in range(2)]
    shift = 0.005 + 0.005 * torch.rand(1, 3, 1, 1)
    with torch.no_grad():
        batches = [(lr, net(lr, scale) + shift, scale) for lr, scale in lrs]
    before = {name: p.clone() for name, p in net.named_parameters()}
    error = mean_error(net, batches)
    told = set_right(net, iter(batches))
    torch.testing.assert_close(told, error)
    assert mean_error(net, batches).abs().max() < 0.02 * error.abs().max()
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    layers = {name.rpartition(".")[0].partition(".parametrizations")[0] for name in changed}
    assert len(layers) == 1
    assert "prelu" not in str(layers) and any(p.ndim == 4 for name, p in net.named_parameters() if name in changed)
    assert all(p.requires_grad for p in net.parameters())


def test_a_blind_network_with_a_last_layer_for_each_scale_has_all_of_them_set_right():
    class Tails(Network):
        scales, blind = (2, 3), True

        def __init__(self, scale, multi_scale=False):
            super().__init__(scale, multi_scale)
            self.tails = torch.nn.ModuleDict({str(s): torch.nn.Conv2d(3, 3 * s * s, 3, padding=1) for s in self.scales})

        def forward(self, x, scale=None, margins=NONE):
            scale = self.chosen(scale)
            return torch.nn.functional.pixel_shuffle(self.tails[str(scale)](x), scale)

    net = Tails(2, multi_scale=True)
    batches = [(lr := torch.rand(2, 3, 8, 8), net(lr, s).detach() + 0.1 * s, s) for s in (2, 3, 2, 3)]
    set_right(net, iter(batches))
    for s in (2, 3):
        assert mean_error(net, [batch for batch in batches if batch[2] == s]).abs().max() < 1e-5


@pytest.mark.parametrize("criterion_asked", (True, False))
def test_a_network_of_bare_parameters_is_set_right_too_unless_its_loss_is_all_its_own(criterion_asked):
    class Bare(Network):
        def __init__(self, scale):
            super().__init__(scale)
            self.shift = torch.nn.Parameter(torch.full((1, 3, 1, 1), 0.25))

        def forward(self, x, scale=None, margins=NONE):
            return torch.nn.functional.interpolate(x, scale_factor=2) + self.shift

        def loss(self, criterion, lr, hr, scale):
            return super().loss(criterion if criterion_asked else torch.nn.functional.l1_loss, lr, hr, scale)

    net, lr = Bare(2), torch.rand(1, 3, 4, 4)
    set_right(net, [(lr, torch.nn.functional.interpolate(lr, scale_factor=2), 2)])
    torch.testing.assert_close(net.shift.detach(), torch.full((1, 3, 1, 1), 0.0 if criterion_asked else 0.25))


def test_an_error_within_chance_is_left():
    net = model.build("espcn", 2)
    batches = [(lr := torch.rand(2, 3, 8, 8), net(lr).detach() + 0.1 * (-1) ** i, 2) for i in range(4)]
    before = [p.clone() for p in net.parameters()]
    set_right(net, [(lr, hr + 0.001, 2) for lr, hr, _ in batches])
    assert all(map(torch.equal, net.parameters(), before))
    set_right(net, [(lr, hr + 0.2, 2) for lr, hr, _ in batches])
    assert not all(map(torch.equal, net.parameters(), before))
