"""Targets from a trained network."""

import numpy as np
import pytest
import torch

import model
from dataset import files
from dataset.errors import InputError
from dataset.images import quantise, to_tensor
from solver import checkpoint
from solver.processes import Group
from solver.sampling.sampler import Sampler
from solver.training.teacher import Teacher
from solver.training.trainer import Trainer

ALONE = Group(0, 1, torch.device("cpu"))


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    net = model.build("lesrcnn", 2)
    net.init_identity()
    with torch.no_grad():
        net.irb.last.weight += 0.005 * torch.randn_like(net.irb.last.weight)
    checkpoint.save_weights(net, tmp_path / "teacher.pth")
    return tmp_path / "teacher.pth"


@pytest.fixture
def blind(tmp_path):
    checkpoint.save_weights(model.build("lesrcnn", 2, multi_scale=True), tmp_path / "blind.pth")
    return tmp_path / "blind.pth"


def trained(args):
    run = Trainer(args, ALONE)
    assert run.run() == 0
    return run.net.state_dict()


def test_targets_of_eight_steps_are_the_self_ensemble(weights, picture):
    rgb = 60 + picture(9, 12) // 2
    teacher = Teacher([weights], (2,), share=1, device=ALONE.device)
    lr, hr = to_tensor(rgb), torch.rand(1, 3, 18, 24)
    targets = [teacher.target(lr, hr, 2, step) for step in range(5, 13)]
    ensemble = Sampler(teacher.nets[2], 2, self_ensemble=True)(rgb, rounding="round")
    np.testing.assert_array_equal(quantise(sum(targets) / 8, rounding="round").numpy(), ensemble)
    assert (targets[0] - targets[1]).abs().max() > 1 / 255


def test_the_share_is_of_the_target(weights):
    lr, hr = torch.rand(2, 3, 6, 6), torch.rand(2, 3, 12, 12)
    whole, part, none = (
        Teacher([weights], (2,), share, ALONE.device).target(lr, hr, 2, step=3) for share in (1, 0.25, 0)
    )
    assert torch.equal(none, hr) and not torch.allclose(whole, hr, atol=1e-2)
    torch.testing.assert_close(part, 0.25 * whole + 0.75 * hr)


@pytest.mark.parametrize("scale", [2, 0])
def test_it_teaches(settings, blind, scale):
    """Without a share it changes nothing; alone, it has nothing to say to a student that is like it."""
    start = ("--scale", scale, "--init_from", blind)
    plain = trained(settings(*start))
    assert all(
        map(
            torch.equal,
            plain.values(),
            trained(settings(*start, "--overwrite", "--teacher", blind, "--teacher_share", 0)).values(),
        )
    )
    taught = trained(settings(*start, "--overwrite", "--teacher", blind))
    assert any(not torch.equal(taught[name], plain[name]) for name in plain)
    run = Trainer(settings(*start, "--overwrite", "--teacher", blind, "--teacher_share", 1), ALONE)
    run.train_step(next(run.data.loader(0, 1)))  # the first view is the patch as it is
    assert run.loss_sum < 1e-12


def test_each_scale_is_taught_by_the_first_that_knows_it(weights, blind):
    teacher = Teacher([weights, blind], (2, 3, 4), 1, ALONE.device)
    assert teacher.nets[2].scales == (2,) and teacher.nets[3] is teacher.nets[4] and teacher.nets[3].multi_scale
    assert teacher.sha256 == [files.sha256_of(file) for file in (weights, blind)]
    for scale in (2, 3, 4):
        lr, hr = torch.rand(1, 3, 5, 5), torch.zeros(1, 3, 5 * scale, 5 * scale)
        expected = blind if scale > 2 else weights
        net = checkpoint.load_network(expected, scale=scale)[0]
        torch.testing.assert_close(teacher.target(lr, hr, scale, step=0), net(lr).clamp(0, 1))


def test_bad_teachers_are_one_error(settings, weights, tmp_path):
    for flags, text in [
        (("--teacher", tmp_path / "none.pth"), "none.pth"),
        (("--teacher", weights, "--scale", 3), "x2 weights given for --scale 3"),
        (("--teacher", weights, "--scale", 0), "has nobody for x3, x4"),
        (("--teacher", weights, weights), "taught by those before it"),
    ]:
        with pytest.raises(InputError, match=text):
            Trainer(settings(*flags), ALONE)
    with pytest.raises(InputError, match="--teacher_share 2"):
        settings("--teacher_share", 2)


def test_a_resumed_run_must_have_the_same_teacher(settings, weights, tmp_path):
    """The same weights, wherever they are; a file of the same name may have become another."""
    taught = ("--teacher", weights, "--ckpt_name", "taught")
    args = settings(*taught, "--max_steps", 2)
    trained(args)
    last = args.ckpt_dir / "taught_last.pth"
    state = torch.load(last, weights_only=True)
    assert state["teacher"] == [files.sha256_of(weights)]
    moved = weights.rename(tmp_path / "moved.pth")
    assert Trainer(settings("--ckpt_name", "taught", "--teacher", moved, "--resume"), ALONE).step == 2
    torch.manual_seed(1)
    checkpoint.save_weights(model.build("lesrcnn", 2), weights)
    for flags in (taught, ("--ckpt_name", "taught")):
        with pytest.raises(InputError, match="its run has another --teacher"):
            Trainer(settings(*flags, "--resume"), ALONE)
    trained(settings("--ckpt_name", "alone"))
    with pytest.raises(InputError, match="its run has no --teacher"):
        Trainer(settings("--ckpt_name", "alone", "--teacher", weights, "--resume"), ALONE)
