"""What every network of model/ promises, see :class:`model.ops.Network`: a new one is tested by being there."""

import math

import pytest
import torch
from networks import ALL, SOME, UNTOLD, in_strips, label, lively, measured_reach, stitched
from safetensors.torch import save_file
from torch.nn import functional as F

import model
from dataset import images
from dataset.bicubic import imresize
from dataset.errors import InputError
from model.ops import trim
from solver.checkpoint import load_network, save_weights
from solver.sampling.sampler import Sampler
from solver.training.command import parse, recipe
from solver.training.objective import LOSSES, Objective, build_optimizers
from solver.training.settings import DEFAULTS

every = pytest.mark.parametrize("name, configuration", ALL, ids=label)
some = pytest.mark.parametrize("name, configuration", SOME, ids=label)


@pytest.fixture
def net(name, configuration):
    torch.manual_seed(0)
    return model.build(name, **configuration)


def tensor(rgb) -> torch.Tensor:
    return images.to_tensor(rgb, torch.device("cpu"))


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@every
def test_it_enlarges_any_picture_by_each_of_its_scales(net, configuration):
    assert net.configuration == configuration
    assert net.scales == (type(net).scales if configuration["multi_scale"] else (configuration["scale"],))
    with torch.no_grad():
        for scale in net.scales:
            for size in ((1, 1), (1, 5), (7, 3)):
                sr = net(torch.rand(2, 3, *size), scale)
                assert sr.shape == (2, 3, scale * size[0], scale * size[1])
                assert sr.dtype == torch.float32 and sr.isfinite().all()
        x = torch.rand(1, 3, 5, 4)
        assert torch.equal(net(x), net(x, configuration["scale"]))


@some
def test_margins_are_what_the_result_lacks(net, picture):
    x, margins = tensor(picture(9, 8)), (2, 0, 1, 3)
    with torch.no_grad():
        for scale in net.scales:
            if net.reach(scale) is None:
                assert torch.allclose(net(x, scale, margins), trim(net(x, scale), margins, scale), atol=1e-5)
            assert net(x, scale, margins).shape == (1, 3, scale * 7, scale * 4)


@some
def test_other_scales_are_refused(net, name, configuration):
    with pytest.raises(ValueError, match="not by 99"):
        net(torch.rand(1, 3, 4, 4), 99)
    with pytest.raises(ValueError, match="not by 99"):
        model.build(name, **configuration | {"scale": 99})
    if not net.blind:
        with pytest.raises(ValueError, match="no blind"):
            model.build(name, **configuration | {"multi_scale": True})


@every
def test_its_files_say_what_they_are(net, name, configuration, tmp_path):
    for file, names in (("own.pth", "own"), ("released.pth", "release"), ("own.safetensors", "own")):
        save_weights(net, tmp_path / file, names)
        loaded, info = load_network(tmp_path / file)
        assert same(net, loaded) and not loaded.training
        assert (info.network, loaded.configuration) == (name, configuration)


def told(name: str, configuration: dict) -> dict:
    """What weights tell of a configuration."""
    return {key: value for key, value in configuration.items() if key != UNTOLD.get(name)}


@some
def test_its_weights_are_recognised_by_names_and_shapes(net, name, configuration, tmp_path):
    for names, write in (("own", torch.save), ("release", save_file)):
        save_weights(net, tmp_path / "says.pth", names)
        state = dict(torch.load(tmp_path / "says.pth", weights_only=True))
        strange = tmp_path / ("strange.safetensors" if write is save_file else "strange.pth")
        write(state, strange)
        loaded, _ = load_network(strange, name, configuration["scale"])
        assert same(net, loaded) and told(name, loaded.configuration) == told(name, configuration)
    try:
        assert told(name, load_network(strange)[0].configuration) == told(name, configuration)
    except InputError as error:  # shapes do not always tell
        assert "say which with --" in str(error)


def test_no_network_s_weights_are_taken_for_another_s():
    with torch.device("meta"):
        nets = [model.build(name, **configuration) for name, configuration in ALL]
    for net in nets:
        fitting = {type(other).__module__ for other in nets if other.translated(net.state_dict()) is not None}
        assert fitting == {type(net).__module__}


@some
def test_its_reach_is_the_one_that_gradients_have(net):
    for scale in net.scales:
        if net.reach(scale) is not None:
            assert -0.5 < measured_reach(net, scale, net.reach(scale)) - net.reach(scale) <= 0.5


@some
def test_tiles_and_strips_equal_the_whole(net, picture):
    lively(net)
    for scale in net.scales:
        if net.reach(scale) is None:
            assert Sampler(net, scale, memory=1).grid(900, 900).count == 1
            continue
        long = 40 + 2 * math.ceil(net.reach(scale))  # more than a tile and what it sees
        for height, width in ((long, 3), (2, long + 1)):
            rgb = picture(height, width, seed=height)
            whole = stitched(Sampler(net, scale, tile="none"), rgb)
            tiled = Sampler(net, scale, tile=17)
            assert tiled.grid(height, width).work > height * width
            assert_same_picture(stitched(tiled, rgb), whole)
            flowing = Sampler(net, scale)
            if flowing._backend.flows:
                rows, columns = (16, 1) if height == long else (1, 2)
                assert_same_picture(stitched(in_strips(flowing, width, rows, columns), rgb), whole)


def assert_same_picture(a: torch.Tensor, b: torch.Tensor) -> None:
    assert b.std() > 0.01  # or a difference could not show
    assert (a - b).abs().max() < 1e-5 * b.abs().max().clamp(min=1)


@some
def test_bf16_is_near_fp32(net, picture, monkeypatch):
    monkeypatch.setattr("solver.machine.has_bf16", lambda device: True)
    lively(net)
    for scale in net.scales:
        rgb = picture(13, 18)
        exact, coarse = (stitched(Sampler(net, scale, precision=p), rgb) for p in ("fp32", "bf16"))
        assert 0 < (coarse - exact).std() < 0.03 * exact.std()
    assert {p.dtype for p in net.parameters()} == {torch.float32}  # a copy was converted


@some
def test_a_loss_in_bf16_is_near_the_one_in_fp32(net, picture):
    for scale in net.scales:
        hr = picture(8 * scale, 6 * scale)
        lr, hr = tensor(imresize(hr, 1 / scale)), tensor(hr)
        with torch.no_grad():
            expected = net.loss(F.mse_loss, lr, hr, scale).item()
            with torch.autocast("cpu", torch.bfloat16):
                assert net.loss(F.mse_loss, lr, hr, scale).item() == pytest.approx(expected, rel=0.05)


@some
def test_the_start_as_an_enlarger_is_one(net):
    if "init_identity" not in vars(type(net)):
        pytest.skip("it has no such start")
    x = F.interpolate(torch.rand(1, 3, 6, 6), scale_factor=4, mode="bilinear")
    net.init_identity()
    for scale in net.scales:
        with torch.no_grad():
            error = net(x, scale) - F.interpolate(x, scale_factor=scale, mode="bilinear")
        inside = slice(2 * scale, -2 * scale)
        assert 0 < error[..., inside, inside].abs().mean() < 0.02


@some
def test_two_hundred_steps_fit_a_patch(net, configuration, picture):
    """To less than a thirtieth of the first loss, where one that finds no more than the mean colour stays at half."""
    scale = net.scales[0]
    side = max(4, 16 // scale)
    hr = picture(side * scale, side * scale)
    lr, hr = tensor(imresize(hr, 1 / scale)), tensor(hr)
    objective = Objective(net, LOSSES["MSE"])
    optimizers = build_optimizers("Adam", net.parameter_groups(), lr=1e-3)
    losses = []
    for _ in range(200):
        loss = objective(lr, hr, scale)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    slow = configuration.get("variant") in ("SN", "HN")  # LESRCNN's ablation is of what they lack
    assert losses[-1] < (0.95 if slow else 0.03) * losses[0]


@every
def test_each_parameter_is_in_one_group(net):
    groups = net.parameter_groups([("conv1", 0.1)] if hasattr(net, "conv1") else ())
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) and set(grouped) == set(net.parameters())
    assert all(group["rate"] > 0 and isinstance(group["muon"], bool) for group in groups)


@every
def test_the_layers_that_face_a_picture_are_there(net):
    facing = [parameter for name in net.picture_facing for parameter in net.get_submodule(name).parameters()]
    assert all(list(net.get_submodule(name).parameters()) for name in net.picture_facing)
    if net.by_adam is None:
        assert set(facing) <= {p for group in net.parameter_groups() if not group["muon"] for p in group["params"]}


@pytest.mark.parametrize("name", model.names())
def test_the_published_training_is_what_flags_can_say(name):
    network = model.network_class(name)
    assert network.published.keys() <= DEFAULTS.keys()
    for scale in (*network.scales, *([0] if network.blind else [])):
        published = recipe("paper", network, scale)
        flags = []
        for setting, value in published.items():
            values = value if isinstance(value, (list, tuple)) else [] if value is True else [value]
            values = ["=".join(map(str, one)) if isinstance(one, tuple) else one for one in values]
            flags += [f"--{setting}", *map(str, values)]
        for given in ([], flags):
            said = vars(parse(scale, ["--model", name, *given]))
            assert {setting: said[setting] for setting in published} == published


@pytest.mark.parametrize("name", model.names())
def test_its_docstring_tells_what_goes_in_and_comes_out(name):
    network = model.network_class(name)
    assert all(word in network.__doc__ for word in ("Input: RGB (N, 3, H, W)", "Output: RGB", "Args:", "scale:"))


def test_names_are_the_files_with_a_network():
    assert {"ablation", "edsr", "lesrcnn"} <= set(model.names()) and "ops" not in model.names()
    with pytest.raises(ValueError, match="no network is called 'nonesuch'; there are: .*lesrcnn"):
        model.build("nonesuch")
