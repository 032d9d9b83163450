import os
import pickle

import pytest
import torch

import model
from dataset.errors import InputError
from solver.checkpoint import file_hash, load_network, save_weights


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
    assert info.sha256 == file_hash(tmp_path / "w.pth")


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
