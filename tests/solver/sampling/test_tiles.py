"""Tiles together are the picture: their geometry, and that every network's result is the same to rounding."""

import random

import numpy as np
import pytest
import torch
from networks import lively, stitched

import model
from dataset import images
from solver.checkpoint import load_network
from solver.sampling import tiles
from solver.sampling.sampler import Sampler


def test_spans_cover_once_with_their_halo():
    draw = random.Random(0)
    for _ in range(2000):
        length, halo = draw.randint(1, 300), draw.randint(0, 20)
        spans = tiles.spans(length, draw.randint(1, tiles.most(length, halo)), halo)
        assert [s.core_start for s in spans] == [0] + [s.core_stop for s in spans[:-1]]
        assert spans[-1].core_stop == length and len({s.window_length for s in spans}) == 1
        for span in spans:
            before, behind = span.margins
            assert span.core_start < span.core_stop and 0 <= span.start and span.stop <= length
            assert span.start == 0 or before >= halo
            assert span.stop == length or behind >= halo


def test_windows_fit_and_cost_little():
    draw = random.Random(1)
    for _ in range(300):
        height, width, halo = draw.randint(1, 2000), draw.randint(1, 2000), draw.randint(0, 20)
        pixels = draw.randint((2 * halo + 20) ** 2, 10**6)
        grid = tiles.by_pixels(height, width, halo, pixels)
        assert grid.window_pixels <= pixels or min(height, width) < 2 * halo
        assert (len(grid.rows), len(grid.columns)) == (1, 1) or height * width > pixels
    # A long strip is cut across only; a square into squares, and not into strips.
    assert len(tiles.by_pixels(100, 5000, 13, 50_000).rows) == 1
    square = tiles.by_pixels(3000, 3000, 13, 60_000)
    strips = tiles.Grid(tiles.spans(3000, 3000, 0), tiles.spans(3000, 1, 0))
    assert square.work < 1.3 * 3000**2 < strips.work * 27
    assert 0.5 < square.rows[0].window_length / square.columns[0].window_length < 2


def test_sides_are_as_asked():
    for side in (1, 17, 64, 1000):
        for row in tiles.by_side(200, 90, 12, side).rows[1:-1]:
            assert row.core_stop - row.core_start <= side
    assert len(tiles.by_side(200, 90, 12, 200).rows) == 1


def test_halves_of_a_tile_cover_it():
    grid = tiles.by_side(100, 80, 12, 40)
    for row in grid.rows:
        for column in grid.columns:
            parts = tiles.halves(row, column, 12, 100, 80)
            covered = np.zeros((100, 80), int)
            for r, c in parts:
                covered[r.core(1), c.core(1)] += 1
                assert r.start == max(0, r.core_start - 12) or r == row
            wanted = np.zeros_like(covered)
            wanted[row.core(1), column.core(1)] = 1
            assert np.array_equal(covered, wanted)
    pixel = tiles.Span(0, 25, 12, 13)
    assert tiles.halves(pixel, pixel, 12, 100, 80) == []


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_halo_too_small_would_show(scale, picture):
    torch.manual_seed(scale)
    net = lively(model.build("lesrcnn", scale))
    rgb = picture(1, 120)
    whole = stitched(Sampler(net, scale, tile="none"), rgb)
    sampler = Sampler(net, scale, tile=17)
    sampler.halo //= 2
    assert (stitched(sampler, rgb) - whole).abs().max() > 1e-5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiled_equals_whole_with_trained_weights(reference, scale, picture):
    net, _ = load_network(reference / f"weights/lesrcnn_x{scale}.pth")
    rgb = picture(95, 127, seed=3)
    whole = stitched(Sampler(net, scale, tile="none"), rgb)
    whole_pixels = images.quantise(whole, rgb.dtype, "truncate").numpy()
    off_by_one = []
    for tile in (17, 30, 64):
        tiled = stitched(Sampler(net, scale, tile=tile), rgb)
        assert (tiled - whole).abs().max() < 1e-5
        difference = np.abs(images.quantise(tiled, rgb.dtype, "truncate").numpy().astype(int) - whole_pixels)
        assert difference.max() <= 1
        off_by_one.append((difference.max(axis=2) > 0).mean())
    assert np.mean(off_by_one) <= 1e-5


def test_bands_shave_and_small_memory_change_nothing(picture):
    torch.manual_seed(0)
    net = lively(model.build("lesrcnn", 2))
    rgb = picture(70, 33)
    whole = Sampler(net, 2, tile="none")(rgb)
    for settings in ({"tile": 20}, {"tile": 20, "shave": 20}, {"memory": 1}):
        sampler = Sampler(net, 2, **settings)
        bands = list(sampler.bands(rgb))
        assert len(bands) > 1 and all(band.shape[1:] == whole.shape[1:] for band in bands)
        for result in (np.concatenate(bands), sampler(rgb)):
            assert np.abs(result.astype(int) - whole).max() <= 1
    assert Sampler(net, 2, shave=20).halo == 20 and Sampler(net, 2, shave=5).halo == 13
