import json
import math
import os
import pickle
import sys
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

import model
from dataset.errors import InputError
from dataset.files import sha256_of
from model.ops import Network
from solver.checkpoint import load_network, read_state, save_weights


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


@pytest.mark.parametrize("prefix", ["module.", "module.module.", "_orig_mod.", "model.net.", "anything."])
def test_a_prefix_that_all_names_have_is_dropped(prefix, tmp_path):
    net, path = model.build("lesrcnn", 2), tmp_path / "w.pth"
    state = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
    torch.save(state, path)
    assert same(net, load_network(path)[0])
    state["other.weight"] = state.popitem()[1]
    torch.save(state, path)
    refused(f"fit none of the networks .*; their names are: {prefix}", path)
    torch.save({"a." * 100_000: torch.zeros(1)}, path)
    refused("fit none of the networks", path)


WRAPPED = {
    "params": lambda state, zeros: {"params": state},
    "params_ema": lambda state, zeros: {"params": zeros, "params_ema": state},
    "state_dict": lambda state, zeros: {"epoch": 3, "state_dict": state, "best": 37.5},
    "model": lambda state, zeros: {"model": state, "optimizer": {"state": {0: {"step": zeros["a"]}}}, "step": 7},
    "model_state_dict": lambda state, zeros: {"model_state_dict": state, "optimizer_state_dict": zeros, "loss": 0.1},
    "generator": lambda state, zeros: {"discriminator": zeros, "generator": state},
    "net": lambda state, zeros: {"net": state, "acc": 1.0},
    "any name": lambda state, zeros: {"my best one": state, "config": {"lr": 0.1}, "names": ["a"]},
    "nested": lambda state, zeros: {"checkpoint": {"weights of epoch 7": {"params": state}}, "version": 2},
    "no weights": lambda state, zeros: {"model": {"name": "lesrcnn"}, "ema": None, "weights": state},
    "twice": lambda state, zeros: {"a": state, "b": state},
    "profiled": lambda state, zeros: {**state, "total_ops": zeros["a"], "irb.last.total_params": zeros["a"]},
    "a critic's beside it": lambda state, zeros: {"G": state, "D": zeros},
    "numbers beside it": lambda state, zeros: {**state, "epoch": 3, "best": numpy.float64(37.5), "now": numpy.int64(3)},
    "lightning": lambda state, zeros: {"state_dict": prefixed("model.", state) | {"loss.net.a": zeros["a"]}},
    "averaged": lambda state, zeros: {"n_averaged": zeros["a"], **prefixed("module.", state)},
    "compiled in part": lambda state, zeros: prefixed("net.", prefixed("_orig_mod.", state)),
    "compiled layers": lambda state, zeros: {name.replace(".", "._orig_mod.", 1): v for name, v in state.items()},
    "settings": lambda state, zeros: {"state_dict": state, "args": Namespace(lr=0.1, out=Path("out"), scales=[2])},
    "itself": lambda state, zeros: holding_itself({"here": state}),
}


def prefixed(prefix: str, state: dict) -> dict:
    return {f"{prefix}{name}": value for name, value in state.items()}


def holding_itself(content: dict) -> dict:
    content["self"] = content
    return content


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED)
def test_what_others_wrap_around_weights_is_taken_off(wrapped, tmp_path):
    net = model.build("lesrcnn", 2)
    torch.save(wrapped(dict(net.state_dict()), {"a": torch.zeros(1)}), tmp_path / "w.pth")
    assert same(net, load_network(tmp_path / "w.pth")[0])


def test_wrapped_weights_say_what_they_are_too(tmp_path):
    net = model.build("lesrcnn", 2, multi_scale=True)
    save_weights(net, tmp_path / "w.pth")
    torch.save({"params": read_state(tmp_path / "w.pth")}, tmp_path / "wrapped.pth")
    assert same(net, load_network(tmp_path / "wrapped.pth")[0])


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
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500 + len(str(args[0]))


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
    refused("no dictionary of weights; its keys are: none", path)
    state = {"a": torch.zeros(1)}
    torch.save({"epoch": 1, "one": state, "another": dict(state), 4: 4, "five": 5}, path)
    refused("no dictionary of weights; its keys are: epoch, one, another, 4, ...$", path)
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


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named(value, tmp_path):
    net = model.build("lesrcnn", 2)
    with torch.no_grad():
        net.irb.last.weight[0, 0, 0, 0] = value
    save_weights(net, tmp_path / "w.pth")
    refused("w.pth: conv18.0.weight holds numbers that are not finite", tmp_path / "w.pth")


def save_as(kind: str, state: dict, path) -> None:
    (save_file if kind == ".safetensors" else torch.save)(state, path)


kinds = pytest.mark.parametrize("kind", [".pth", ".safetensors"])


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_another_floating_type_load(kind, dtype, tmp_path):
    net, path = model.build("lesrcnn", 2), tmp_path / f"w{kind}"
    own = net.state_dict()
    published = {net.released_names()[name]: value for name, value in own.items()} | net.released_constants()
    for state in (own, published):
        save_as(kind, {name: value.to(dtype) for name, value in state.items()}, path)
        loaded = load_network(path)[0].state_dict()
        assert all(torch.equal(loaded[name], own[name].to(dtype).float()) for name in own)
    published["add_mean.shifter.bias"] = published["add_mean.shifter.bias"] + 0.01
    save_as(kind, {name: value.to(dtype) for name, value in published.items()}, path)
    refused("not the constant", path)


@kinds
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "complex64", "float8_e4m3fn", "float8_e5m2"])
def test_what_are_no_weights_is_named(kind, dtype, tmp_path):
    net, path = model.build("lesrcnn", 2), tmp_path / f"w{kind}"
    state = net.state_dict() | net.released_constants()
    save_as(kind, {name: value.to(getattr(torch, dtype)) for name, value in state.items()}, path)
    refused(rf"w.{kind[1:]}: \S+ holds torch.{dtype}, no weights", path)
    state["ieeb.shallow.weight"] = state["ieeb.shallow.weight"].to(getattr(torch, dtype))
    save_as(kind, state, path)
    refused(f"w.{kind[1:]}: ieeb.shallow.weight holds torch.{dtype}, no weights", path)


def test_numbers_that_the_network_cannot_hold_are_named(tmp_path):
    state = {name: value.double() for name, value in model.build("lesrcnn", 2).state_dict().items()}
    state["ieeb.shallow.weight"][0] = 1e300
    torch.save(state, tmp_path / "w.pth")
    refused("ieeb.shallow.weight holds numbers that are not finite", tmp_path / "w.pth")


class Normed(Network):
    """Has statistics beside its weights, and counts."""

    scales = (2,)

    def __init__(self, scale=2, multi_scale=False):
        super().__init__(scale, multi_scale)
        self.norm, self.last = torch.nn.BatchNorm2d(3), torch.nn.ConvTranspose2d(3, 3, 2, stride=2)


Normed.__module__ = "model.normed"  # by which its files call it


@kinds
def test_a_count_among_the_weights_round_trips(kind, ambiguous, tmp_path):
    ambiguous(normed=Normed)
    net, path = Normed(), tmp_path / f"w{kind}"
    net.norm.num_batches_tracked += 2**40 + 1
    net.norm.running_var *= 3
    save_weights(net, path)
    assert same(net, load_network(path)[0])
    state = {name: value.clamp(max=9).half() for name, value in net.state_dict().items()}
    save_as(kind, state, path)
    assert load_network(path)[0].norm.num_batches_tracked == 9
    save_as(kind, state | {"norm.running_var": torch.ones(3, dtype=torch.int64)}, path)
    refused("norm.running_var holds torch.int64, no weights", path)


# -- damaged and hostile files -----------------------------------------------------------------------

CHECKPOINT = {
    "kind": "training checkpoint",
    "optimizers": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]}],
    "random": torch.get_rng_state(),
    **{"best": -math.inf, "done": False, "scaler": {}, "seconds": 1.5, "ema": None, "order": [2**100, -1]},
}


def test_a_checkpoint_is_read_and_a_damaged_one_is_not(tmp_path):
    path = tmp_path / "last.pth"
    torch.save(CHECKPOINT, path)
    state = read_state(path)
    assert repr(state) == repr(CHECKPOINT)
    data = bytearray(path.read_bytes())
    data[data.index(CHECKPOINT["random"].numpy().tobytes()) + 2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="last.pth: its checksum does not fit: it is damaged"):
        read_state(path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_is_no_file_is_refused_at_once(suffix, tmp_path):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        refused(f"{name}.{suffix}: is a pipe or a device, expected a file", tmp_path / f"{name}.{suffix}")


@pytest.mark.parametrize("size", [0, 10**11])
def test_safetensors_of_other_sizes_than_said_are_refused_at_once(size, tmp_path):
    path = tmp_path / "w.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**11 // 4], "data_offsets": [0, 10**11]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + size)  # a hole
    refused("more than weights have" if size else "not a readable safetensors file", path)


def test_safetensors_of_very_many_tensors_are_refused(tmp_path):
    header = json.dumps(
        {str(i): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(50_000)}
    ).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    refused("its header is larger than that of weights", tmp_path / "w.safetensors")


def test_safetensors_under_another_name_load(tmp_path):
    net = model.build("lesrcnn", 2)
    save_file(net.state_dict(), tmp_path / "w.pth")
    assert same(net, load_network(tmp_path / "w.pth")[0])


def deep(make, content):
    for _ in range(10_000):
        content = make(content)
    return content


DEEP = deep(lambda inner: [inner], 1)


def save_deep(content, path) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        torch.save(content, path)
    finally:
        sys.setrecursionlimit(limit)


WRONG = {
    "numbers": lambda: {str(i): i for i in range(1000)},
    "number keys": lambda: {i: torch.zeros(1) for i in range(1000)},
    "lists": lambda: {"model": [[1], [2]], "ema": [torch.zeros(1)]},
    "deep lists": lambda: {"model": DEEP},
    "deep dictionaries": lambda: deep(lambda inner: {"model": inner}, {}),
    "itself": lambda: holding_itself({"a": 1}),
    "long name": lambda: {"x" * 10**6: torch.zeros(1)},
    "long names": lambda: {"\x1b[2J\r\n" * 10**5 + str(i): 1 for i in range(9)},
    "no characters": lambda: {"\U0010ffff" * 100 + str(i): torch.zeros(1) for i in range(100)},
    "another": lambda: {f"layer{i}.weight": torch.zeros(1) for i in range(1000)},
    "many networks": lambda: {str(i): {"a": torch.zeros(1)} for i in range(1000)},
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_wrong_contents_are_one_short_line(content, tmp_path):
    save_deep(content(), tmp_path / "w.pth")
    refused("w.pth: .*(holds no dictionary of weights|fit none of the networks)", tmp_path / "w.pth")


@pytest.mark.parametrize(
    "says",
    [
        {"name": torch.zeros(2), "scale": 2, "multi_scale": False},
        {"name": DEEP, "scale": 2, "multi_scale": False},
        {"name": "lesrcnn", "scale": DEEP, "multi_scale": False},
        {"name": "x" * 10**6, "scale": 2, "multi_scale": False},
        {"name": "lesrcnn", "scale": torch.zeros(2), "multi_scale": torch.zeros(2)},
        {"name": "lesrcnn", "scale": 2, "multi_scale": False, "variant": torch.zeros(2)},
        {"name": "lesrcnn", "scale": 2, "multi_scale": False, "\r" * 10**6: 1},
        {"name": "lesrcnn", "scale": 10**300, "multi_scale": True},
    ],
)
def test_false_sayings_of_any_kind_are_one_short_line(says, tmp_path):
    state = OrderedDict(model.build("lesrcnn", 2).state_dict())
    state._metadata = OrderedDict({"": {"says": says}})
    save_deep(state, tmp_path / "w.pth")
    refused("says that it is of", tmp_path / "w.pth")
    save_deep({"network": says, "model": dict(state)}, tmp_path / "w.pth")
    refused("says that it is of", tmp_path / "w.pth")


def test_a_network_that_a_file_only_tells_of_takes_no_memory(tmp_path, monkeypatch):
    """What it says of itself would be half a gigabyte; of that nothing is made but on torch's meta device."""
    path, net = tmp_path / "w.pth", model.build("fsrcnn", 2)
    net.configuration |= {"d": 1024, "s": 1024, "m": 12}
    save_weights(net, path, names="own")
    monkeypatch.setattr(model, "build", lambda *args, build=model.build, **options: on_meta(build(*args, **options)))
    refused("x2 weights of fsrcnn do not load", path)


def on_meta(net):
    assert all(parameter.is_meta for parameter in net.parameters())
    return net


@pytest.mark.parametrize(
    "shapes",
    [
        [(0, 1, 5, 5), (5, 5, 1, 1)],
        [(56, 1, 5, 5), (0, 56, 1, 1)],
        [(2000, 1, 5, 5), (12, 2000, 1, 1)],
        [(1, 1, 5, 5), (1, 1, 1, 1), *[(1, 1, 3, 3)] * 1025],
    ],
)
def test_shapes_that_no_network_can_have_are_one_line(shapes, tmp_path):
    torch.save({f"a{i}": torch.zeros(shape) for i, shape in enumerate(shapes)}, tmp_path / "w.pth")
    refused("fit none of the networks", tmp_path / "w.pth")


@pytest.mark.parametrize(
    "says",
    [{"name": "rcan", "groups": 1024, "blocks": 1024, "channels": 16, "reduction": 4}, {"name": "rdn", "d": 999}],
)
def test_a_small_file_that_says_it_is_a_huge_network_is_told_at_once(tmp_path, says):
    """A million layers would take hours, with no memory for their weights even."""
    state = OrderedDict({"a.weight": torch.zeros(1)})
    state._metadata = OrderedDict({"": {"says": {"scale": 2, "multi_scale": False} | says}})
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match="w.pth: says that it is of a network of more layers than it has weights for"):
        load_network(tmp_path / "w.pth")


def test_weights_of_no_length_are_refused(tmp_path):
    net = model.build("wdsr", 2)
    state = {name: torch.zeros_like(v) if name.endswith("original1") else v for name, v in net.state_dict().items()}
    net.load_state_dict(state)
    save_weights(net, tmp_path / "w.pth")
    with pytest.raises(InputError, match="w.pth: has weights of no length"):
        load_network(tmp_path / "w.pth")
