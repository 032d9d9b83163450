"""Muon, as it is and in whitened coordinates."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import model
from solver.training.muon import Muon, WhitenedMuon, orthogonalise
from solver.training.whitening import input_covariances, inverse_root


@pytest.mark.parametrize("rows, columns", [(6, 40), (40, 6)])
def test_orthogonalised_matrices_keep_their_directions(rows, columns):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(3, rows, columns), full_matrices=False)
    matrices = u @ torch.diag_embed(torch.logspace(1, -1, 6).expand(3, 6)) @ v
    straight = u.mT @ orthogonalise(matrices) @ v.mT  # diagonal, if the singular vectors are the same
    values = straight.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6 and values.max() < 1.3
    assert (straight - torch.diag_embed(values)).abs().max() < 1e-4


def test_a_muon_step_has_the_size_it_says_whatever_the_gradient():
    torch.manual_seed(0)
    for scale in (1e-6, 1e6):
        weight = torch.zeros(64, 32, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
        weight.grad = scale * torch.randn_like(weight)
        Muon([weight], lr=0.1).step()
        assert 0.015 < weight.square().mean().sqrt() < 0.025  # 0.2 lr
        assert (weight * weight.grad).sum() < 0


@pytest.mark.parametrize("size", [1, 3])
def test_input_covariances_are_those_of_all_windows(size):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 8, size, padding=size // 2)
    pictures = [torch.randn(2, 4, 5, 6), torch.randn(1, 4, 7, 5)]  # too small for windows to be left out
    found = input_covariances([conv.weight], lambda: [conv(x) for x in pictures])
    windows = []
    for picture in pictures:
        padded = F.pad(picture, (size // 2,) * 4).numpy()
        seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
        windows.append(seen.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 4 * size * size))
    windows = np.concatenate(windows)
    assert np.allclose(found[conv.weight].numpy(), windows.T @ windows / len(windows), atol=1e-5)


def test_of_large_patches_windows_are_looked_at_here_and_there():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 48, 48)
    conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    found = input_covariances([conv.weight], lambda: conv(x))[conv.weight]
    assert (found - torch.eye(27)).abs().max() < 0.5  # the mean of 256 windows of noise; some reach over the edge


def test_input_covariances_keep_their_digits_under_autocast():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 8, 1)
    x = torch.randn(1, 4, 8, 8)

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            conv(x)

    covariance = input_covariances([conv.weight], run)[conv.weight]
    flat = x.flatten(2)[0]
    assert covariance.dtype == torch.float32
    assert torch.allclose(covariance, flat @ flat.T / 64, rtol=1e-5, atol=1e-6)


def test_layers_without_a_call_have_no_covariance():
    used, unused = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(3, 8, 3, padding=1)
    assert list(input_covariances([used.weight, unused.weight], lambda: used(torch.rand(1, 3, 4, 4)))) == [used.weight]


def test_an_inverse_root_is_one_and_bears_silence():
    torch.manual_seed(0)
    half = torch.randn(6, 6)
    covariance = 7 * half @ half.T
    root = inverse_root(covariance, damping=0.1)
    damped = covariance / covariance.diagonal().mean() + 0.1 * torch.eye(6)
    assert torch.allclose(root @ damped @ root, torch.eye(6), atol=1e-4)
    assert torch.allclose(inverse_root(torch.zeros(3, 3), damping=0.25), 2 * torch.eye(3))


def test_many_silent_inputs_do_not_stop_it():
    torch.manual_seed(0)
    x = torch.randn(2000, 576).relu()
    x[:, :126] = 0
    root = inverse_root(x.T @ x / 2000, damping=1e-2)
    assert torch.allclose(root[:126, :126], 10 * torch.eye(126), atol=1e-3)
    assert root[:126, 126:].abs().max() <= 1e-3 and root.isfinite().all()


def step_of(optimizer, weight, gradient):
    before = weight.detach().clone()
    weight.grad = gradient
    optimizer.step()
    return (weight - before).detach().flatten(1)


def test_without_a_look_it_is_muon():
    torch.manual_seed(0)
    gradient = torch.randn(8, 4, 3, 3)
    steps = [
        step_of(kind([w], lr=0.1), w, gradient)
        for kind in (Muon, WhitenedMuon)
        for w in [torch.zeros_like(gradient, requires_grad=True)]
    ]
    assert torch.allclose(*steps, atol=1e-6)


def test_a_whitened_step_changes_the_output_alike_in_every_direction():
    """Of inputs that differ a thousandfold in size from one direction to the other, where Muon's steps do not."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(16, 16)).Q
    mixed = turn @ torch.diag(torch.logspace(-1.5, 1.5, 16)) @ turn.T
    x = torch.einsum("ij,njhw->nihw", mixed, torch.randn(16, 16, 8, 8))
    flat = x.transpose(0, 1).flatten(1)
    spread = {}
    for kind in (Muon, WhitenedMuon):
        conv = torch.nn.Conv2d(16, 16, 1, bias=False)
        optimizer = kind([conv.weight], 0.1, **({"damping": 1e-9} if kind is WhitenedMuon else {}))
        if kind is WhitenedMuon:
            optimizer.look(lambda: conv(x))
        errors = torch.randn_like(flat)
        change = step_of(optimizer, conv.weight, (errors @ flat.T)[:, :, None, None]) @ flat
        values = torch.linalg.svdvals(change)
        spread[kind] = (values[0] / values[-1]).item()
    assert spread[WhitenedMuon] < 2 and spread[Muon] > 100


def test_whitened_steps_do_not_depend_on_the_coordinates_of_the_inputs():
    """A layer on T x whose weights are W T^-1 learns the outputs that the layer W learns on x."""
    torch.manual_seed(0)
    x, transform = torch.randn(4, 6, 9, 9), torch.randn(6, 6) + 2 * torch.eye(6)
    start, errors = torch.randn(5, 6), torch.randn(5, 4 * 81)
    outputs = []
    for t in (torch.eye(6), transform):
        seen = torch.einsum("ij,njhw->nihw", t, x)
        flat = seen.transpose(0, 1).flatten(1)
        weight = (start @ torch.linalg.inv(t))[:, :, None, None].requires_grad_()
        optimizer = WhitenedMuon([weight], 0.1, damping=1e-9)
        optimizer.look(lambda: F.conv2d(seen, weight))
        # The mean eigenvalue sets the size of a step, so only its direction is compared.
        step = step_of(optimizer, weight, (errors @ flat.T)[:, :, None, None]) @ flat
        outputs.append(step / step.norm())
    assert torch.allclose(*outputs, atol=1e-3)


def test_the_covariances_are_averaged_and_travel_with_the_state():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 4, 1, bias=False)
    optimizer = WhitenedMuon([conv.weight], 0.1)
    for value in (1.0, 3.0):
        optimizer.look(lambda: conv(torch.full((1, 4, 2, 2), value)))
    assert torch.equal(optimizer.state[conv.weight]["inputs"], torch.full((4, 4), 5.0))  # the mean of 1 and 9
    gradient = torch.randn(4, 4, 1, 1)
    copy = torch.nn.Parameter(conv.weight.detach().clone())
    resumed = WhitenedMuon([copy], 0.1)
    resumed.load_state_dict(optimizer.state_dict())
    assert torch.equal(step_of(resumed, copy, gradient), step_of(optimizer, conv.weight, gradient))


def test_every_layer_of_the_network_is_seen():
    net = model.build("lesrcnn", 4)
    weights = [p for p in net.parameters() if p.ndim == 4]
    assert len(input_covariances(weights, lambda: net(torch.rand(1, 3, 12, 12)))) == len(weights) == 24
