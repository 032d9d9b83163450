import pytest
import torch
from networks import SOME, label, lively

import model
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
    with torch.no_grad():
        batches = [(lr, net(lr, scale) + 0.01 * torch.rand(1, 3, 1, 1), scale) for lr, scale in lrs]
    before = {name: p.clone() for name, p in net.named_parameters()}
    error = mean_error(net, batches)
    told = set_right(net, iter(batches))
    torch.testing.assert_close(told, error)
    assert mean_error(net, batches).abs().max() < 0.02 * error.abs().max()
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    layers = {name.rpartition(".")[0].partition(".parametrizations")[0] for name in changed}
    assert len(layers) == 1
    assert all(p.requires_grad for p in net.parameters())
