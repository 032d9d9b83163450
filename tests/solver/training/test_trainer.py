"""The training loop, in this process."""

import csv
import errno
import itertools
import json
import math
import os
import signal

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

import model
from dataset import files
from dataset.errors import InputError
from solver import checkpoint, processes
from solver.processes import Group
from solver.training import objective, run_folder, upkeep
from solver.training.command import parse
from solver.training.objective import Average, build_optimizers, learning_rate, set_rate
from solver.training.settings import differing, plain
from solver.training.start import build
from solver.training.state import collect
from solver.training.trainer import Trainer

ALONE = Group(0, 1, torch.device("cpu"))


def train(args):
    result = Trainer(args, ALONE)
    return result, result.run()


def log_of(args):
    with open(args.ckpt_dir / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def same(a, b):
    """Whether two states, nested as they may be, are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_the_published_defaults(settings):
    args = settings()
    assert (args.lr, args.clip, args.loss_fn, args.decay) == (1e-4, 10, "MSE", 400_000)
    assert (args.schedule, args.warmup, args.ema, args.precision) == ("step", 0, 0, "fp32")
    assert (args.weighting, args.init, args.optimizer) == ("uniform", "default", "Adam")


def test_a_recipe_sets_defaults_and_flags_win(settings):
    args = settings("--recipe", "modern", "--lr", "3e-4", "--ema", "0")
    assert (args.loss_fn, args.optimizer, args.schedule, args.init) == ("L1", "WhitenedMuon", "cosine", "identity")
    assert (args.lr, args.ema) == (3e-4, 0)


def test_the_published_schedule_halves_every_decay_steps(settings):
    args = settings("--decay", 10, "--max_steps", 30, "--lr", 1)
    assert [learning_rate(step, args) for step in (0, 9, 10, 19, 20)] == [1, 1, 0.5, 0.5, 0.25]
    args.decay_by = 0.1
    assert [learning_rate(step, args) for step in (9, 10, 20)] == pytest.approx([1, 0.1, 0.01])


def test_the_cosine_schedule_rises_then_falls_to_zero(settings):
    args = settings("--schedule", "cosine", "--warmup", 100, "--max_steps", 1000, "--lr", 1)
    rates = [learning_rate(step, args) for step in range(1000)]
    assert 0 < rates[0] < 0.011
    assert rates[500] == pytest.approx(0.5)
    assert 0 < rates[-1] < 1e-5
    assert max(rates) == pytest.approx(rates[100], rel=0.01)


def test_the_trapezoid_schedule_rises_stays_and_falls_to_zero(settings):
    args = settings("--schedule", "trapezoid", "--cooldown", 0.2, "--warmup", 100, "--max_steps", 1000, "--lr", 1)
    rates = [learning_rate(step, args) for step in range(1000)]
    assert 0 < rates[0] < 0.011
    assert rates[100] == pytest.approx(1, rel=0.01) and rates[101] == rates[799] == 1
    assert rates[900] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.006
    with pytest.raises(InputError, match="--cooldown 1.5: must be at most 1"):
        settings("--cooldown", 1.5)


def test_charbonnier_is_l1_far_from_zero_and_has_a_gradient_at_zero():
    zero = torch.zeros(3, requires_grad=True)
    assert objective.charbonnier(torch.tensor([1.0, -2.0]), torch.zeros(2)).item() == pytest.approx(1.5, abs=1e-5)
    objective.charbonnier(zero, torch.zeros(3)).backward()
    assert torch.equal(zero.grad, torch.zeros(3))


def test_the_psnr_loss_is_the_mean_of_the_patches_psnr_and_bounded():
    hr = torch.rand(3, 3, 8, 8) * 0.5
    sr = hr + torch.tensor([0.5, 0.2, 0.1])[:, None, None, None]
    expected = [peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1) for a, b in zip(hr, sr)]
    assert objective.negative_psnr(sr, hr).item() == pytest.approx(-sum(expected) / 3, abs=0.01)
    assert objective.negative_psnr(hr, hr).item() == pytest.approx(-50)


def test_the_euclidean_loss_is_half_a_patch_s_sum_of_squares():
    sr, hr = torch.tensor([[[[3.0, 0.0]]], [[[0.0, 1.0]]]]), torch.zeros(2, 1, 1, 2)
    assert objective.euclidean(sr, hr).item() == (9 / 2 + 1 / 2) / 2


def test_a_step_of_sgd_has_momentum_and_weight_decay():
    net = model.build("srcnn", 2)
    (sgd,) = build_optimizers("SGD", net.parameter_groups([("conv3", 0.1)]), lr=0.5, momentum=0.9, weight_decay=0.1)
    set_rate([sgd], 0.5)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    for _ in range(2):
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        sgd.step()
    for name, parameter in net.named_parameters():
        rate = 0.05 if name.startswith("conv3") else 0.5  # the paper's, for the last layer
        gradient = 1 + 0.1 * before[name]
        once = before[name] - rate * gradient
        twice = once - rate * (0.9 * gradient + 1 + 0.1 * once)
        assert torch.allclose(parameter, twice, atol=1e-6)


def test_the_average_follows_its_definition():
    net = torch.nn.Linear(2, 2)
    average = Average(net, decay=0.5)
    expected = net.weight.detach().clone()
    for step in range(8):
        torch.nn.init.normal_(net.weight)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0  # the first is taken as it is
        expected = decay * expected + (1 - decay) * net.weight.detach()
    assert torch.allclose(average.net.weight, expected, atol=1e-6)


def test_a_step_is_adam_on_the_clipped_gradient(settings):
    """One step against torch's plain Adam on the same patches, in the default memory format."""
    args = settings("--clip", 0.001, "--loss_fn", "L1")
    torch.manual_seed(args.seed)
    net = model.build("lesrcnn", 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, foreach=False)
    ours = Trainer(args, ALONE)
    for step in range(2):
        batch = ours.data.batch(step)
        ours.train_step(batch)
        lr, hr = batch.lr.contiguous() / 255, batch.hr.contiguous() / 255
        optimizer.zero_grad()
        (net(lr) - hr).abs().mean().backward()
        assert torch.nn.utils.clip_grad_norm_(net.parameters(), 0.001) > 0.001
        clipped = torch.nn.utils.get_total_norm([p.grad for p in ours.net.parameters()])
        assert clipped.item() == pytest.approx(0.001, rel=1e-2)
        optimizer.step()
    for name, value in net.state_dict().items():
        # Adam's first steps are of size lr whatever the gradient's size: compare to a fraction of it.
        assert torch.allclose(ours.net.state_dict()[name], value, atol=2e-5), name


def test_200_steps_lower_the_loss_on_fixed_patches(settings):
    run = Trainer(settings("--lr", 1e-3, "--patch_size", 6), ALONE)
    fixed = run.data.batch(0)
    losses = []
    for _ in range(200):
        before = run.loss_sum
        run.train_step(fixed)
        losses.append(run.loss_sum - before)
    assert sum(losses[-10:]) / 10 < losses[0] / 40


def test_a_blind_run_trains_all_three_upsamplers(settings):
    run = Trainer(settings("--scale", 0, "--max_steps", 12), ALONE)
    start = {k: v.clone() for k, v in run.net.state_dict().items()}
    scales = set()
    for step in range(12):
        batch = run.data.batch(step)
        scales.add(batch.scale)
        run.train_step(batch)
    assert scales == {2, 3, 4}
    assert not any(torch.equal(v, start[k]) for k, v in run.net.state_dict().items())


def test_a_run_stops_at_max_steps_and_leaves_its_files(settings, tmp_path, validation_folder):
    args = settings("--max_steps", 5, "--val_data_dir", validation_folder, "--sample_dir", tmp_path / "sr")
    run, status = train(args)
    assert status == 0 and run.step == 5
    rows, name = log_of(args), validation_folder.name
    assert [row["step"] for row in rows] == ["2", "4", "5"]
    assert all(float(row[f"{name}_x2_psnr"]) > 5 and -1 < float(row[f"{name}_x2_ssim"]) < 1 for row in rows)
    names = sorted(f.name for f in args.ckpt_dir.iterdir())
    assert names == [
        "lesrcnn_x2.pth",
        "lesrcnn_x2_best.pth",
        "lesrcnn_x2_last.pth",
        "log.csv",
        "run.json",
        "tensorboard",
    ]
    net, info = checkpoint.load_network(args.ckpt_dir / "lesrcnn_x2.pth")
    assert all(torch.equal(v, run.net.state_dict()[k]) for k, v in net.state_dict().items())
    assert "conv1.0.weight" in torch.load(info.path, weights_only=True)
    assert list((tmp_path / "sr" / name / "x2").glob("*.png"))
    record = json.loads((args.ckpt_dir / "run.json").read_text())
    assert record["steps"] == 5 and record["settings"]["batch_size"] == 4


def test_pictures_that_cannot_be_written_are_told_before_the_first_step(settings, tmp_path, validation_folder):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "sr"):
        with pytest.raises(InputError, match="file.*: cannot be written: "):
            Trainer(settings("--val_data_dir", validation_folder, "--sample_dir", folder), ALONE)


def test_the_averaged_weights_are_what_is_kept(settings):
    args = settings("--ema", 0.9, "--lr", 1e-2)
    run, _ = train(args)
    kept = checkpoint.load_network(args.ckpt_dir / "lesrcnn_x2.pth")[0].state_dict()
    assert all(torch.equal(v, run.upkeep.final.state_dict()[k]) for k, v in kept.items())
    from_checkpoint = checkpoint.load_network(args.ckpt_dir / "lesrcnn_x2_last.pth")[0].state_dict()
    assert same(dict(from_checkpoint), dict(run.average.net.state_dict()))  # to go on with
    changed = [name for name, value in kept.items() if not torch.equal(value, from_checkpoint[name])]
    assert changed == ["irb.last.weight"]
    assert not torch.equal(from_checkpoint["irb.last.weight"], run.net.state_dict()["irb.last.weight"])


def test_the_kept_weights_have_no_more_of_a_mean_error_than_the_average(settings):
    run, _ = train(settings("--ema", 0.9, "--lr", 1e-2))
    batches = [run.data.batch_of(2, run.step + i) for i in range(upkeep._BATCHES)]

    def mean_error(net):
        errors = [net(batch.lr / 255, 2) - batch.hr / 255 for batch in batches]
        return torch.stack([error.mean((0, 2, 3)) for error in errors]).mean(0).abs()

    with torch.no_grad():
        kept, average = mean_error(run.upkeep.final), mean_error(run.average.net)
    assert (kept < 1e-4).any() and (kept <= average + 1e-6).all()


def test_a_finished_run_that_goes_on_is_the_run_that_never_finished(settings, tmp_path):
    flags = ("--ema", 0.9, "--lr", 1e-3)
    whole, _ = train(settings("--max_steps", 6, "--ckpt_dir", tmp_path / "whole", *flags))
    train(settings("--max_steps", 3, *flags))
    rest, _ = train(settings("--max_steps", 6, "--resume", *flags))
    assert same(dict(rest.upkeep.final.state_dict()), dict(whole.upkeep.final.state_dict()))


def test_whitened_muon_is_told_what_every_layer_is_given(settings):
    args = settings("--recipe", "modern", "--scale", 0, "--max_steps", 1)
    run = Trainer(args, ALONE)
    run.train_step(run.data.batch(0))
    optimizer = run.optimizers[0]
    assert len(optimizer.state) == 24  # eight and eight in the IEEB, four for the up-samplers, four in the IRB
    for weight, state in optimizer.state.items():
        assert state["inputs"].shape == (weight[0].numel(),) * 2 and state["inputs"].trace() > 0


def test_silent_units_are_revived_in_the_first_half_of_a_run(settings, capsys):
    run = Trainer(settings("--revive", 2, "--max_steps", 8, "--ema", 0.9), ALONE)
    nets, silent = (run.net, run.average.net), []
    for step in range(8):
        if step in (1, 5):
            for net in nets:
                net.irb.refine[0].weight.data[3] = -1
        run.train_step(run.data.batch(step))
        silent.append([bool((net.irb.refine[0].weight[3] < -0.9).all()) for net in nets])
    assert silent[1:4] == [[True, True], [False, False], [False, False]]
    assert silent[5:] == [[True, True]] * 3  # the second half
    assert "step 2: " in (said := capsys.readouterr().out) and "silent units revived" in said


def test_a_network_of_unknown_units_is_not_revived(settings, monkeypatch):
    monkeypatch.delattr(model.network_class("lesrcnn"), "hidden")
    with pytest.raises(InputError, match="--revive: does not know the hidden units of lesrcnn"):
        Trainer(settings("--revive", 2), ALONE)


def test_muon_leaves_the_up_samplers_of_other_scales_alone(settings):
    args = settings("--recipe", "modern", "--scale", 0, "--max_steps", 2)
    run = Trainer(args, ALONE)
    batches = run.data.loader(0, 2, 0, 0, 1)
    before = {name: p.clone() for name, p in run.net.named_parameters()}
    batch = next(batches)
    run.train_step(batch)
    for name, parameter in run.net.named_parameters():
        unused = name.startswith("rb.up.") and not name.startswith(f"rb.up.x{batch.scale}.")
        assert torch.equal(parameter, before[name]) == unused, name


@pytest.mark.parametrize(
    "number, flags",
    [
        (signal.SIGTERM, ("--scale", 0, "--recipe", "modern", "--revive", 2)),
        (signal.SIGINT, ("--precision", "bf16", "--cache", "device", "--decay", 2)),
        (signal.SIGTERM, ("--precision", "fp16", "--patch_size", 4, "--batch_size", 1)),
        (signal.SIGINT, ("--num_workers", 1)),
        (signal.SIGTERM, ("--model", "vdsr", "--scale", 0, "--patch_size", 6, "--batch_size", 2)),
        (signal.SIGINT, ("--model", "drcn", "--patch_size", 6, "--options", "channels=8", "recursions=3")),
        (signal.SIGTERM, ("--model", "lapsrn", "--scale", 4, "--patch_size", 4, "--batch_size", 2)),
    ],
    ids=["blind", "bf16", "fp16", "workers", "SGD", "recursions", "pyramid"],
)
def test_a_stopped_and_resumed_run_is_the_run_that_never_stopped(settings, tmp_path, monkeypatch, number, flags):
    monkeypatch.setattr(upkeep, "_LOOK", 4)
    monkeypatch.setattr(upkeep, "_BATCHES", 2)
    whole, _ = train(settings("--max_steps", 9, "--ckpt_dir", tmp_path / "whole", *flags))
    part = Trainer(settings("--max_steps", 9, *flags), ALONE)
    step = part.train_step

    def step_then_signal(batch):
        step(batch)
        if part.step == 5:
            os.kill(os.getpid(), number)

    part.train_step = step_then_signal
    # The signal comes after step 5 and is seen at step 6: a multiple of print_interval, without its row.
    assert part.run() == 128 + number
    assert part.step == 6
    torch.rand(7)  # a resumed run starts with other random numbers drawn
    rest, status = train(settings("--max_steps", 9, "--resume", *flags))
    assert status == 0
    states = [collect(run) | {"seconds": 0, "settings": 0} for run in (whole, rest)]
    assert same(*states)
    rows = [[{**row, "seconds": 0} for row in log_of(run.args)] for run in (whole, rest)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("flags", [("--ema", 0.9), ()], ids=["brightness", "validation"])
def test_a_stop_between_the_last_step_and_its_row_is_not_the_end(settings, validation_folder, tmp_path, flags):
    flags = ("--max_steps", 4, "--save_interval", 4, "--val_data_dir", validation_folder, *flags)
    whole, _ = train(settings(*flags, "--ckpt_dir", tmp_path / "whole"))
    part = Trainer(settings(*flags), ALONE)
    result = part._result

    def signal_then_result():
        if part.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return result()

    part._result = signal_then_result
    folder = part.args.ckpt_dir
    assert part.run() == 128 + signal.SIGINT and [row["step"] for row in log_of(part.args)] == ["2"]
    assert json.loads((folder / "run.json").read_text())["steps"] == 3
    for _ in range(2):  # the second time, nothing is left to do
        rest, status = train(settings(*flags, "--resume"))
        assert status == 0 and [row["step"] for row in log_of(rest.args)] == ["2", "4"]
    assert json.loads((folder / "run.json").read_text())["steps"] == 4
    weights = [checkpoint.load_network(run.folder.weights)[0].state_dict() for run in (whole, rest)]
    assert same(*map(dict, weights))


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(settings, capsys):
    args = settings("--save_interval", 2, "--max_steps", 5)
    train(args)
    last = args.ckpt_dir / "lesrcnn_x2_last.pth"
    last.write_bytes(last.read_bytes()[:1000])
    run = Trainer(settings("--max_steps", 5, "--resume"), ALONE)
    assert run.step == 4
    assert "lesrcnn_x2_last.pth" in (said := capsys.readouterr().out) and "previous" in said


def test_with_both_checkpoints_damaged_the_error_says_so(settings):
    args = settings("--save_interval", 2)
    train(args)
    for name in ("last", "previous"):
        (args.ckpt_dir / f"lesrcnn_x2_{name}.pth").write_bytes(b"x")
    with pytest.raises(InputError, match="last.pth.*previous.pth.*--overwrite"):
        Trainer(settings("--resume"), ALONE)


def test_weights_without_a_checkpoint_are_not_overwritten_either(settings, tmp_path):
    shipped = tmp_path / "run" / "lesrcnn_x2.pth"
    checkpoint.save_weights(model.build("lesrcnn", 2), shipped)
    before = shipped.read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        Trainer(settings(), ALONE)
    assert shipped.read_bytes() == before


def test_an_existing_run_is_not_overwritten_unless_asked(settings):
    args = settings()
    train(args)
    with pytest.raises(InputError, match="--resume.*--overwrite"):
        Trainer(settings(), ALONE)
    mine = args.ckpt_dir / "notes.txt"
    mine.write_text("mine")
    run, _ = train(settings("--overwrite", "--max_steps", 2))
    assert run.step == 2 and mine.exists() and len(log_of(args)) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ("--batch_size", 2),
        ("--patch_size", 6),
        ("--seed", 1),
        ("--scale", 3),
        ("--loss_fn", "L1"),
        ("--weighting", "area"),
        ("--teacher_share", 0.5),
        ("--scale", 0, "--scale_shares", 3, 2, 1),
    ],
)
def test_a_resumed_run_must_be_the_same_run(settings, flags):
    train(settings("--ckpt_name", "a"))
    with pytest.raises(InputError, match=flags[0]):
        Trainer(settings("--ckpt_name", "a", "--resume", *flags), ALONE)


def test_a_run_older_than_a_flag_is_resumed_as_what_it_was(settings):
    last = train(settings())[0].folder.last
    state = torch.load(last, weights_only=True)
    del state["settings"]["weighting"], state["settings"]["optimizer"]
    torch.save(state, last)
    assert Trainer(settings("--resume"), ALONE).step == 6
    with pytest.raises(InputError, match="its run has --weighting uniform, not root"):
        Trainer(settings("--resume", "--weighting", "root"), ALONE)


def test_scale_shares_reach_the_training_of_a_blind_network_alone(settings):
    data = Trainer(settings("--scale", 0, "--scale_shares", 1000, 1e-9, 1e-9), ALONE).data
    assert {data.batch(step).scale for step in range(20)} == {2}
    with pytest.raises(InputError, match="--scale_shares.*--scale 2"):
        settings("--scale_shares", 3, 2, 1)


def test_resume_may_go_on_for_longer_and_says_what_changed(settings, capsys):
    train(settings())
    run, _ = train(settings("--resume", "--max_steps", 8, "--lr", 5e-5))
    assert run.step == 8
    said = capsys.readouterr().out
    assert "the run had --max_steps 6, not 8; --lr 0.0001, not 5e-05" in said


def test_resume_without_a_run_starts_one_and_says_so(settings, capsys):
    run, status = train(settings("--resume"))
    assert status == 0 and run.step == 6
    assert "no run in" in capsys.readouterr().out


def test_the_log_is_cut_back_to_the_resumed_step(settings):
    args = settings("--print_interval", 1, "--save_interval", 4)
    train(args)
    (args.ckpt_dir / "lesrcnn_x2_last.pth").unlink()  # as if killed after step 6
    with open(args.ckpt_dir / "log.csv", "a") as file:
        file.write("7,1.0,0.0")  # and in the middle of a row
    train(settings("--print_interval", 1, "--resume"))
    assert [row["step"] for row in log_of(args)] == list("123456")


def diverging(args, steps=2, value=math.nan):
    """Train until a loss is not finite, after so many steps."""
    run = Trainer(args, ALONE)
    losses = itertools.chain([1.0] * steps, itertools.repeat(value))
    run.objective.criterion = lambda sr, hr: (sr - hr).square().mean() * next(losses)
    with pytest.raises(InputError) as error:
        run.run()
    return str(error.value)


def steps_kept(args):
    names = ("lesrcnn_x2_last.pth", "lesrcnn_x2_previous.pth")
    return [checkpoint.read_state(args.ckpt_dir / name)["step"] for name in names]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_its_step(settings, value):
    args = settings("--save_interval", 1)
    told = diverging(args, 2, value)
    assert f"step 3: the loss is {value}; step 2 is saved in {args.ckpt_dir}" in told and "--lr" in told
    state = checkpoint.read_state(args.ckpt_dir / "lesrcnn_x2_last.pth")
    assert state["step"] == 2
    assert all(torch.isfinite(v).all() for v in state["model"].values())
    assert Trainer(settings("--resume"), ALONE).run() == 0


def test_the_last_two_good_states_survive_a_diverged_run_whatever_is_tried(settings):
    args = settings("--save_interval", 2, "--max_steps", 20)
    diverging(args, 5)
    assert steps_kept(args) == [4, 2]
    again = ("--save_interval", 2, "--max_steps", 20, "--resume")
    for flags, steps in ((("--lr", 1e-5), 0), (("--clip", 1), 1), ((), 0), (("--precision", "bf16"), 0)):
        assert "step 4 is saved" in diverging(settings(*again, *flags), steps)
        assert steps_kept(args) == [4, 2]
    assert "nothing was saved" in diverging(settings("--overwrite"), 1)


def test_a_state_that_makes_nonsense_of_the_last_patches_is_not_saved(settings):
    """Its weights are numbers still: without a look at what they make, it would push out the last good state."""
    args = settings("--save_interval", 2)
    train(args)
    assert steps_kept(args) == [6, 4]
    for flags in (("--lr", 1e3), ("--lr", 1e30, "--recipe", "paper")):
        run = Trainer(settings("--resume", "--max_steps", 9, "--save_interval", 1, "--clip", 0, *flags), ALONE)
        with pytest.raises(InputError, match="has gone from|not finite|is nan|is inf") as error:
            run.run()
        assert "step 6 is saved" in str(error.value) and steps_kept(args) == [6, 4]


def test_a_run_that_has_lost_its_checkpoints_is_not_begun_anew(settings):
    args = settings()
    train(args)
    before = (args.ckpt_dir / "lesrcnn_x2.pth").read_bytes()
    (args.ckpt_dir / "lesrcnn_x2_last.pth").unlink()
    with pytest.raises(InputError, match="has lost its checkpoints"):
        Trainer(settings("--resume", "--max_steps", 2), ALONE)
    assert (args.ckpt_dir / "lesrcnn_x2.pth").read_bytes() == before
    with pytest.raises(InputError, match="--ckpt_name a/b"):
        settings("--ckpt_name", "a/b")


def test_weights_that_are_not_finite_are_not_saved(settings):
    args = settings("--save_interval", 1)
    run = Trainer(args, ALONE)
    step = run.train_step

    def broken(batch):
        step(batch)
        if run.step == 3:
            next(run.net.parameters()).data.fill_(math.inf)

    run.train_step = broken
    with pytest.raises(InputError, match="the weights are not finite; step 2 is saved"):
        run.run()
    assert steps_kept(args) == [2, 1]
    checkpoint.load_network(args.ckpt_dir / "lesrcnn_x2.pth")  # of step 2


def test_an_error_before_the_first_step_of_a_resumed_run_saves_nothing(settings, training_file, monkeypatch):
    args = settings("--save_interval", 2)
    train(args)
    assert steps_kept(args) == [6, 4]
    for _ in range(3):
        run = Trainer(settings("--resume", "--max_steps", 9), ALONE)
        monkeypatch.setattr(run.data, "batch", lambda *_: (_ for _ in ()).throw(InputError("train.h5: is gone")))
        with pytest.raises(InputError, match="is gone"):
            run.run()
        assert steps_kept(args) == [6, 4]


def spoiled(change):
    def spoil(path):
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return spoil


def put(state, value, *keys):
    for key in keys[:-1]:
        state = state[key]
    state[keys[-1]] = value


MALFORMED = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "a flipped bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "another kind": spoiled(lambda state: put(state, "weights", "kind")),
    "no settings": spoiled(lambda state: state.pop("settings")),
    "settings in a list": spoiled(lambda state: put(state, [1], "settings")),
    "no model": spoiled(lambda state: state.pop("model")),
    "a model of numbers": spoiled(lambda state: put(state, {"a": 1}, "model")),
    "weights of another shape": spoiled(lambda state: put(state, torch.zeros(3), "model", next(iter(state["model"])))),
    "weights that are no numbers": spoiled(lambda state: next(iter(state["model"].values())).fill_(math.nan)),
    "no optimizer": spoiled(lambda state: put(state, [], "optimizers")),
    "an optimizer of other settings": spoiled(lambda s: put(s, "x", "optimizers", 0, "param_groups", 0, "betas")),
    "moments of another shape": spoiled(lambda s: put(s, torch.zeros(2), "optimizers", 0, "state", 0, "exp_avg")),
    "moments that are no numbers": spoiled(lambda s: s["optimizers"][0]["state"][0]["exp_avg_sq"].fill_(math.inf)),
    "a step in words": spoiled(lambda state: put(state, "six", "step")),
    "a negative step": spoiled(lambda state: put(state, -1, "step")),
    "a loss that is not finite": spoiled(lambda state: put(state, math.nan, "loss_sum")),
}


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_bad_last_checkpoint_falls_back_to_the_one_before_which_stays(settings, capsys, kind):
    args = settings("--save_interval", 2)
    train(args)
    MALFORMED[kind](args.ckpt_dir / "lesrcnn_x2_last.pth")
    run = Trainer(settings("--save_interval", 2, "--resume"), ALONE)
    assert run.step == 4 and "_previous.pth instead" in capsys.readouterr().out
    run.run()
    assert steps_kept(args) == [6, 4]  # the bad one has not taken the good one's place


@pytest.mark.parametrize("text", ["", "\0", "step\n\udcff", "\u00b2", "a,b\n1,2", "step\n" + "9" * 5000, 'step\n"1'])
def test_a_damaged_log_is_kept_aside(settings, text):
    args = settings()
    train(args)
    for file in ("log.csv", "run.json"):
        (args.ckpt_dir / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert Trainer(settings("--resume", "--max_steps", 8), ALONE).run() == 0
    assert [row["step"] for row in log_of(args)] == ["8"]


def test_a_full_disk_leaves_the_last_good_checkpoint(settings, monkeypatch):
    args = settings("--save_interval", 2)

    def serialised(content):
        if content.get("step", 0) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(content)

    whole = run_folder.serialised
    monkeypatch.setattr(run_folder, "serialised", serialised)
    with pytest.raises(InputError, match="no space left"):
        Trainer(args, ALONE).run()
    assert checkpoint.read_state(args.ckpt_dir / "lesrcnn_x2_last.pth")["step"] == 2


def test_init_from_another_scale_copies_what_they_share(settings, tmp_path):
    source = model.build("lesrcnn", 3)
    checkpoint.save_weights(source, tmp_path / "x3.pth")
    net = Trainer(settings("--init_from", tmp_path / "x3.pth"), ALONE).net
    assert torch.equal(net.irb.last.weight, source.irb.last.weight)
    assert torch.equal(net.ieeb.shallow.weight, source.ieeb.shallow.weight)


def test_init_from_several_files_is_their_mean(settings, tmp_path):
    sources = [model.build("lesrcnn", 2) for _ in range(3)]
    files = [tmp_path / f"{i}.pth" for i in range(3)]
    for source, file in zip(sources, files):
        checkpoint.save_weights(source, file)
    net = Trainer(settings("--init_from", *files), ALONE).net
    mean = torch.stack([source.irb.last.weight for source in sources]).mean(0)
    torch.testing.assert_close(net.irb.last.weight, mean)
    assert not torch.equal(net.irb.last.weight, sources[0].irb.last.weight)
    checkpoint.save_weights(model.build("lesrcnn", 4), files[2])
    with pytest.raises(InputError, match="2.pth: shares other layers"):
        Trainer(settings("--init_from", *files), ALONE)


def test_the_record_names_the_weights_that_a_run_took_as_they_were(settings, tmp_path):
    start, teacher = (tmp_path / f"{name}.pth" for name in ("start", "teacher"))
    for file in (start, teacher):
        checkpoint.save_weights(model.build("lesrcnn", 2, multi_scale=file != start), file)
    hashes = [files.sha256_of(file) for file in (start, teacher)]
    taken = {"start": [[str(start), hashes[0]]], "teacher": [hashes[1]]}
    flags = ("--scale", 0, "--init_from", start, "--teacher", teacher)
    args = settings("--max_steps", 2, *flags)
    train(args)
    checkpoint.save_weights(model.build("lesrcnn", 2), start)  # a resumed run does not look at it again
    train(settings("--max_steps", 4, "--resume", *flags))
    record = json.loads((args.ckpt_dir / "run.json").read_text())
    assert record["taken"] == taken and record["steps"] == 4


@pytest.mark.parametrize("by", ["value", "rate"])
def test_a_gradient_is_cut_number_by_number(settings, by):
    """VDSR's adjustable clipping: the bound is over the learning rate."""
    run = Trainer(settings("--clip", 1e-7, "--clip_by", by, "--lr", 1e-3), ALONE)
    run.train_step(run.data.batch(0))
    largest = max(p.grad.abs().max() for p in run.net.parameters()).item()
    assert largest == pytest.approx(1e-7 if by == "value" else 1e-4)


def test_the_norm_can_be_bounded_over_the_rate(settings):
    run = Trainer(settings("--clip", 1e-7, "--clip_by", "norm_rate", "--lr", 1e-3), ALONE)
    run.train_step(run.data.batch(0))
    assert sum(p.grad.square().sum() for p in run.net.parameters()).sqrt().item() == pytest.approx(1e-4, rel=1e-3)


def test_a_layer_can_have_a_rate_of_its_own(settings):
    """As SRCNN's last layer, which learns at a tenth of the rate."""
    run = Trainer(settings("--rates", "irb.last=0.1"), ALONE)
    before = run.net.irb.last.weight.detach().clone(), run.net.irb.refine[0].weight.detach().clone()
    run.train_step(run.data.batch(0))
    moved = [
        (a - b).abs().max().item() for a, b in zip(before, (run.net.irb.last.weight, run.net.irb.refine[0].weight))
    ]
    assert moved == pytest.approx([1e-5, 1e-4], rel=0.02)  # Adam's first step is as long as its rate
    with pytest.raises(InputError, match="--rates: it has no layer tail; its parts are .*irb"):
        Trainer(settings("--rates", "tail=0.1", "--overwrite"), ALONE)
    with pytest.raises(SystemExit):
        settings("--rates", "irb.last=0")


def test_differing_names_what_makes_another_run(settings):
    then = plain(settings())
    assert (
        differing(then, settings("--num_workers", 3, "--print_interval", 5, "--train_data_path", "elsewhere.h5")) == []
    )
    assert differing(then, settings("--clip", 1, "--lr", 1e-3, "--teacher", "a.pth")) == [
        "--lr 0.0001, not 0.001",
        "--clip 10.0, not 1.0",
        "--teacher None, not ['a.pth']",
    ]


def test_the_networks_own_training_is_the_default_and_flags_win(settings, monkeypatch):
    monkeypatch.setattr(model.network_class("lesrcnn"), "published", {"decay": 7, "clip_by": "rate", "lr": 0.5})
    args = settings("--lr", 0.25)
    assert (args.decay, args.clip_by, args.lr) == (7, "rate", 0.25)


@pytest.mark.parametrize("scale", [2, 0])
def test_init_identity_is_an_enlarger_before_the_first_step(settings, scale):
    run = Trainer(settings("--init", "identity", "--scale", scale), ALONE)
    grey = torch.full((1, 3, 12, 12), 0.6)
    for s in run.net.scales:
        middle = run.net(grey, s)[:, :, 4 * s : -4 * s, 4 * s : -4 * s]
        assert torch.allclose(middle, torch.full_like(middle, 0.6), atol=0.05)


def test_a_missing_validation_set_is_said_at_the_start(settings, tmp_path):
    with pytest.raises(InputError, match="Set99"):
        Trainer(settings("--val_data_dir", tmp_path / "Set99"), ALONE)


def test_pictures_smaller_than_a_patch_are_named(settings, capsys):
    Trainer(settings(), ALONE)
    assert "smaller than a patch: 1 of the" in capsys.readouterr().out


def test_bad_files_and_flags_are_one_error(settings, tmp_path):
    (tmp_path / "foreign.h5").write_bytes(b"no HDF5")
    for flags, text in [
        (("--train_data_path", tmp_path / "none.h5"), "none.h5"),
        (("--train_data_path", tmp_path / "foreign.h5"), "foreign.h5"),
        (("--patch_size", 100), "larger"),
        (("--init_from", tmp_path / "none.pth"), "none.pth"),
    ]:
        with pytest.raises(InputError, match=text):
            Trainer(settings(*flags), ALONE)
        assert not (tmp_path / "run").exists()


def test_more_gpus_than_there_are_is_an_error():
    with pytest.raises(InputError, match="--num_gpu 99: this machine has"):
        processes.check_gpus(99)
    processes.check_gpus(1)  # without a GPU, one falls back to the CPU


def test_a_recipe_leaves_out_what_a_network_has_not(monkeypatch):
    """A start as an enlarger, and hidden units: a new network need not have them."""
    network = model.network_class("edsr")
    monkeypatch.delattr(network, "hidden")
    monkeypatch.delattr(network, "init_identity")
    args = parse(2, ["--model", "edsr", "--recipe", "modern"])
    assert (args.revive, args.init, args.optimizer) == (0, "default", "WhitenedMuon")


def test_a_variant_is_one_of_the_network(settings):
    with pytest.raises(InputError, match="--variant SN: lesrcnn has no such variant"):
        settings("--variant", "SN")
    assert settings("--model", "ablation", "--variant", "SN").variant == "SN"


def test_options_are_those_of_the_network(settings):
    net = build(settings("--model", "fsrcnn", "--options", "d=6", "s=3", "m=1", "--batch_size", 1, "--patch_size", 4))
    assert net.configuration["d"] == 6 and len(net.layers) == 4
    for options, problem in (
        (["k=3"], "fsrcnn has no option 'k'; it has d, s, m"),
        (["d=wide"], "option d is a whole number, not 'wide'"),
        (["d=0"], "d and s are from 1"),
    ):
        with pytest.raises(InputError, match=f"--model fsrcnn --scale 2: .*{problem}"):
            build(settings("--model", "fsrcnn", "--options", *options))
    with pytest.raises(SystemExit):
        settings("--model", "fsrcnn", "--options", "d")
    for flags, problem in (
        (["fsrcnn", "--options", "d=4", "d=5"], "--options d: is given twice"),
        (["fsrcnn", "--options", "scale=3"], "--options scale: is what --scale tells"),
        (["srcnn", "--variant", "9-1-5", "--options", "variant=9-5-5"], "--options variant: is given twice"),
    ):
        with pytest.raises(InputError, match=problem):
            build(settings("--model", *flags))


@pytest.mark.parametrize("name", ["srcnn", "fsrcnn", "espcn", "vdsr"])
def test_the_papers_training_of_the_classics_lowers_their_loss(settings, name):
    run = Trainer(settings("--model", name), ALONE)
    batch, losses = run.data.batch(0), []
    for _ in range(12):
        before = run.loss_sum
        run.train_step(batch)
        losses.append(run.loss_sum - before)
    assert losses[-1] < 0.99 * losses[0]


def test_with_other_validation_sets_the_best_weights_are_found_anew(settings, validation_folder, capsys):
    train(settings("--val_data_dir", validation_folder))
    run = Trainer(settings("--resume", "--max_steps", 8), ALONE)
    assert run.best == -math.inf and "its best weights are found anew" in capsys.readouterr().out
    assert Trainer(settings("--resume", "--val_data_dir", validation_folder), ALONE).best > -math.inf
