"""Strips that flow through a network make the picture that it makes in one piece."""

import numpy as np
import pytest
import torch
from networks import in_strips, lively, stitched
from torch import nn

import model
from dataset import images
from dataset.errors import InputError
from model.ops import NONE, Network
from solver.checkpoint import load_network
from solver.sampling import tiles
from solver.sampling.backends import rolling
from solver.sampling.backends.fuse import fuse
from solver.sampling.sampler import Sampler


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_strips_equal_whole_with_trained_weights(reference, scale, picture):
    net, _ = load_network(reference / f"weights/lesrcnn_x{scale}.pth")
    rgb = picture(195, 127, seed=3)
    whole = stitched(Sampler(net, scale, tile="none"), rgb)
    rolled = stitched(in_strips(Sampler(net, scale), 127, 9, 2), rgb)
    assert (rolled - whole).abs().max() < 1e-5
    pixels = [images.quantise(output, rgb.dtype, "truncate").numpy().astype(int) for output in (rolled, whole)]
    difference = np.abs(pixels[0] - pixels[1]).max(axis=2)
    assert difference.max() <= 1 and (difference > 0).mean() <= 1e-5


def test_what_no_layer_keeps_would_show(picture):
    torch.manual_seed(0)
    network = fuse(lively(model.build("lesrcnn", 2)), 2)
    x = images.to_tensor(picture(40, 30), torch.device("cpu"))
    with torch.inference_mode():
        whole = network(x)
        rolled = torch.cat(list(rolling.roll(network, x.split(9, 2))), 2)
        apart = torch.cat([network(strip) for strip in x.split(9, 2)], 2)
    assert (rolled - whole).abs().max() < 1e-5 < (apart - whole).abs().max()


@pytest.mark.parametrize("name", ["espcn", "srcnn", "vdsr"])
@pytest.mark.parametrize("height", [1, 2, 3, 9])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_edges_that_are_mirrored_or_repeated(name, height, rows, picture):
    torch.manual_seed(0)
    net = lively(model.build(name, 3))
    network, x = fuse(net, 3), images.to_tensor(picture(height, 7), torch.device("cpu"))
    assert rolling.can_roll(network)
    with torch.inference_mode():
        rolled = torch.cat(list(rolling.roll(network, x.split(rows, 2))), 2)
        assert (rolled - net(x)).abs().max() < 1e-5 * rolled.abs().max()


def test_only_the_strips_features_are_in_memory():
    network = fuse(model.build("lesrcnn", 2).eval(), 2)
    kept = rolling.kept_bytes(network, torch.device("cpu"))
    # Two rows of 64 channels for nine layers at LR size and the up-sampler, for four at HR size, twice as wide,
    # and the last; of both inputs of the sums those that wait; of the picture and after the first layer less.
    assert 4 * 64 * 2 * (9 + 4 * 2 + 2) < kept < 2 * 4 * 64 * 2 * (9 + 4 * 2 + 2)


class Unknown(Network):
    def __init__(self, **settings):
        super().__init__(scale=2)
        self.conv = nn.Conv2d(3, 12, 3, **settings)

    def forward(self, x, scale=None, margins=NONE):
        return nn.functional.pixel_shuffle(self.conv(x), 2)


@pytest.mark.parametrize("settings", [{"padding": 0}, {"padding": 2, "dilation": 2}, {"padding": 1, "stride": 2}])
def test_layers_that_do_not_keep_the_size_are_refused(settings):
    assert rolling.can_roll(fuse(Unknown(padding=1), 2))
    assert not rolling.can_roll(fuse(Unknown(**settings), 2))


def test_strips_have_the_pixels_that_they_may_and_cost_little():
    for height, width, pixels in ((1080, 1920, 10_000), (1080, 1920, 40_000), (5000, 10_000, 9000), (30, 4000, 50_000)):
        strips = tiles.strips(height, width, 12, pixels)
        assert strips.pixels <= pixels
        work = len(strips.columns) * strips.columns[0].window_length / width * (1 + 1 / strips.rows)
        assert work < 1.3 and strips.columns[-1].stop == width
        assert strips.count == len(strips.columns) * -(-height // strips.rows)
    assert tiles.strips(100, 50, 12, 1).pixels < 100  # too few for anything: as few as can be


def test_out_of_memory_makes_thinner_strips_and_says_so_once(picture, monkeypatch, capsys):
    torch.manual_seed(0)
    rgb = picture(300, 250)
    sampler = Sampler(lively(model.build("lesrcnn", 2)), 2)
    expected = sampler(rgb)
    fails = {"above": 8000, "after": 3}
    sizes = []

    def limited(network, strips):
        def watched():
            for strip in strips:
                sizes.append(strip.shape[2] * strip.shape[3])
                if len(sizes) > fails["after"] and sizes[-1] > fails["above"]:
                    raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")
                yield strip

        return rolling.roll(network, watched())

    monkeypatch.setattr("solver.sampling.backends.torch.roll", limited)
    monkeypatch.setattr("solver.sampling.sampler._WHOLE", 40_000)
    monkeypatch.setattr("solver.sampling.sampler._WHOLE_BYTES", 0)
    result = sampler(rgb)
    assert np.abs(result.astype(int) - expected).max() <= 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "out of memory for a strip of" in told
    assert max(sizes[:4]) > fails["above"] >= sizes[-1]
    fails.update(above=0, after=0)
    with pytest.raises(InputError, match="too little memory"):
        sampler(rgb)
