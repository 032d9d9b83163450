import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

import model
from dataset.errors import InputError
from dataset.files import sha256_of
from model.ops import Network
from solver.checkpoint import load_network, save_weights


@pytest.fixture(params=[(2, False), (3, False), (4, False), (2, True)], ids=["x2", "x3", "x4", "blind"])
def net(request):
    torch.manual_seed(1)
    return model.build("lesrcnn", scale=request.param[0], multi_scale=request.param[1])


def same(a, b) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("names", ["own", "release"])
def test_weights_round_trip_and_are_recognised(net, names, tmp_path):
    save_weights(net, tmp_path / "w.pth", names)
    loaded, info = load_network(tmp_path / "w.pth")
    assert same(net, loaded) and not loaded.training
    assert (info.network, info.multi_scale, info.scales) == ("lesrcnn", net.multi_scale, net.scales)
    assert info.sha256 == sha256_of(tmp_path / "w.pth")


def test_release_names_are_the_release_s(net, tmp_path):
    save_weights(net, tmp_path / "w.pth", "release")
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    expected = {f"conv{i}.0.weight" for i in range(1, 19)} | {f"conv17_{i}.0.weight" for i in range(1, 5)}
    expected |= {f"{m}.shifter.{k}" for m in ("sub_mean", "add_mean") for k in ("weight", "bias")}
    if net.multi_scale:
        stages = ["up2.body.0", "up3.body.0", "up4.body.0", "up4.body.2"]
    else:
        stages = ["up.body.0", "up.body.2"][: 2 if net.scale == 4 else 1]
    expected |= {f"upsample.{s}.{k}" for s in stages for k in ("weight", "bias")}
    assert state.keys() == expected
    assert state["sub_mean.shifter.bias"].tolist() == pytest.approx([-0.4488, -0.4371, -0.4040])


def test_released_weights_load_strictly_and_round_trip(reference, tmp_path):
    for scale in (2, 3, 4):
        path = reference / "weights" / f"lesrcnn_x{scale}.pth"
        net, info = load_network(path, "lesrcnn", scale)
        assert info.scales == (scale,) and not info.multi_scale
        save_weights(net, tmp_path / "again.pth", "release")
        original = torch.load(path, map_location="cpu", weights_only=True)
        again = torch.load(tmp_path / "again.pth", weights_only=True)
        assert original.keys() == again.keys()
        # the constants of the released file are float32 roundings of ours
        assert all(
            torch.equal(original[k], again[k])
            if "shifter" not in k
            else torch.allclose(original[k], again[k], atol=1e-6)
            for k in original
        )


def test_a_module_prefix_is_dropped(net, tmp_path):
    torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, tmp_path / "w.pth")
    assert same(net, load_network(tmp_path / "w.pth")[0])


@pytest.mark.parametrize("with_ema", [False, True])
def test_a_training_checkpoint_gives_its_averaged_weights(net, with_ema, tmp_path):
    averaged = {k: v + 1 for k, v in net.state_dict().items()}
    content = {"step": 7, "network": {"name": "lesrcnn"}, "model": net.state_dict()}
    torch.save(content | ({"ema": averaged} if with_ema else {}), tmp_path / "w.pth")
    loaded = load_network(tmp_path / "w.pth")[0].state_dict()
    expected = averaged if with_ema else net.state_dict()
    assert all(torch.equal(loaded[k], expected[k]) for k in expected)


def refused(match, *args):
    with pytest.raises(InputError, match=match) as caught:
        load_network(*args)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_told_in_one_line(tmp_path):
    path = tmp_path / "w.pth"
    save_weights(model.build("lesrcnn", 4), path)
    refused("x4 weights given for --scale 2", path, "lesrcnn", 2)
    refused("no such weights file", tmp_path / "none.pth")
    refused("is a folder", tmp_path)
    torch.save({"conv1.weight": torch.zeros(3, 3)}, path)
    refused("fit none of the networks", path)
    torch.save([1, 2], path)
    refused("holds a list", path)
    torch.save({}, path)
    refused("no dictionary of weights", path)
    path.write_bytes(b"")
    refused("not a readable weights file", path)
    path.write_text("not weights")
    refused("not a readable weights file", path)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    save_weights(model.build("lesrcnn", 2), path)
    path.write_bytes(path.read_bytes()[:-5000])
    refused("not a readable weights file", path)


def test_other_constants_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    save_weights(model.build("lesrcnn", 2), path)
    state = torch.load(path, weights_only=True)
    state["sub_mean.shifter.bias"] += 0.1
    torch.save(state, path)
    refused("not the constant", path)


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("old_format", [False, True])
def test_a_hostile_pickle_runs_nothing(old_format, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "w.pth"
    torch.save({"conv1.0.weight": Hostile(marker)}, path, _use_new_zipfile_serialization=not old_format)
    refused("refused: it holds more than weights", path)
    path.write_bytes(pickle.dumps(Hostile(marker)))
    refused("w.pth", path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # and it would have run
    assert marker.exists()


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    net = model.build("lesrcnn", 2)
    save_weights(net, path)
    before = path.read_bytes()
    with pytest.raises(KeyError), monkeypatch.context() as broken:
        broken.setattr(net, "released_names", lambda: {"one": "alone"})
        save_weights(net, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["w.pth"]
    with pytest.raises(InputError, match="cannot be written"):
        save_weights(net, path / "inside_a_file.pth")


def test_own_names_may_come_with_the_published_constants(net, tmp_path):
    state = net.state_dict() | net.released_constants()
    torch.save(state, tmp_path / "w.pth")
    assert same(net, load_network(tmp_path / "w.pth")[0])
    state["add_mean.shifter.bias"] = state["add_mean.shifter.bias"] + 0.1
    torch.save(state, tmp_path / "w.pth")
    refused("not the constant", tmp_path / "w.pth")


@pytest.mark.parametrize("names", ["own", "release"])
def test_a_stranger_s_safetensors_are_recognised(net, names, tmp_path):
    save_weights(net, tmp_path / "w.safetensors", names)
    state = load_file(tmp_path / "w.safetensors")
    save_file(state, tmp_path / "stranger.safetensors")
    loaded, info = load_network(tmp_path / "stranger.safetensors")
    assert same(net, loaded) and (info.scales, info.multi_scale) == (net.scales, net.multi_scale)


def test_damaged_safetensors_are_one_line(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(model.build("lesrcnn", 2), path)
    whole = path.read_bytes()
    for content in (b"", b"no weights", whole[:5000], whole[:-5000], b"\xff" * 8 + whole[8:], whole[:8] + b"[" * 9000):
        path.write_bytes(content)
        refused("w.safetensors: not a readable safetensors file", path)


@pytest.mark.parametrize(
    "says, match",
    [
        ("{", "not a readable safetensors file"),
        ("[" * 100_000, "not a readable safetensors file"),
        ('{"name": "nonesuch", "scale": 2, "multi_scale": false}', "says that it is of 'nonesuch'"),
        ('{"name": "lesrcnn", "scale": 3, "multi_scale": false}', "x3 weights of lesrcnn do not load"),
        ('{"name": "lesrcnn", "scale": [2], "multi_scale": false}', "which there is not"),
        ('{"name": "lesrcnn", "scale": 2, "multi_scale": false, "depth": 9}', "which there is not"),
    ],
    ids=["half", "deep", "unknown", "other", "listed", "more"],
)
def test_what_a_file_says_of_itself_is_not_believed_blindly(says, match, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(model.build("lesrcnn", 2).state_dict(), path, {"says": says})
    refused(match, path)


class Deconvolution(Network):
    """Its weights have one shape at every scale, as an up-sampling 9x9 deconvolution's."""

    scales = (2, 3)
    blind = False

    def __init__(self, scale=2, multi_scale=False):
        super().__init__(scale, multi_scale)
        self.last = torch.nn.ConvTranspose2d(3, 3, 9, stride=scale, padding=4, output_padding=scale - 1)


class Twin(Deconvolution):
    scales = (2,)


@pytest.fixture
def ambiguous(monkeypatch, tmp_path):
    """Have these networks beside the others, by name; returns a file that says nothing, of the first at x2."""

    def make(**networks):
        there = {name: model.network_class(name) for name in model.names()} | networks
        monkeypatch.setattr(model, "names", lambda: sorted(there))
        monkeypatch.setattr(model, "network_class", there.__getitem__)
        torch.save(dict(next(iter(networks.values()))(2).state_dict()), tmp_path / "w.pth")
        return tmp_path / "w.pth"

    return make


def test_where_weights_fit_several_scales_the_flag_that_decides_is_named(ambiguous):
    path = ambiguous(deconvolution=Deconvolution)
    refused("fit 2 and 3: say which with --scale", path)
    refused("fit 2 and 3: say which with --scale", path, "deconvolution")
    for scale in (2, 3):
        loaded, info = load_network(path, scale=scale)
        assert (info.network, info.scales, loaded.last.stride) == ("deconvolution", (scale,), (scale, scale))
    refused("weights given for --scale 4", path, None, 4)


def test_where_weights_fit_several_networks_the_flag_that_decides_is_named(ambiguous):
    path = ambiguous(deconvolution=Deconvolution, twin=Twin)
    refused("fit deconvolution and twin: say which with --model", path)
    assert isinstance(load_network(path, "twin")[0], Twin)
    assert load_network(path, "deconvolution", 3)[1].scales == (3,)
    refused("was asked for", path, "lesrcnn")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value, tmp_path):
    net = model.build("lesrcnn", 2)
    with torch.no_grad():
        net.irb.last.weight[0, 0, 0, 0] = value
    save_weights(net, tmp_path / "w.pth")
    refused("w.pth: conv18.0.weight holds numbers that are not finite", tmp_path / "w.pth")


def test_what_are_no_weights_is_named(tmp_path):
    state = model.build("lesrcnn", 2).state_dict()
    torch.save({name: value.to(torch.int8) for name, value in state.items()}, tmp_path / "w.pth")
    refused("w.pth: ieeb.shallow.weight holds torch.int8, no weights", tmp_path / "w.pth")
