"""Networks in operations that phones' programs know are the same networks."""

import pytest
import torch

import model
from model.ops import Bicubic
from solver.exporting import phones
from solver.sampling.backends.torch import Torch


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (5, 7)])
@pytest.mark.parametrize("scale", [2, 3, 8])
def test_bicubic_is_the_same(scale, size):
    x = torch.rand(2, 3, *size)
    made, expected = phones._Convolved(scale)(x), Bicubic(scale)(x)
    assert made.shape == expected.shape and torch.allclose(made, expected, atol=1e-6)


def test_the_network_that_is_exported_stays_as_it_is():
    net = model.build("espcn", 2)
    phones.plain(Torch(net, 2, phones.CPU))
    assert type(net.bicubic["x2"]) is Bicubic
