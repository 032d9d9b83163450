"""The networks through torch.hub."""

import shutil
import sys

import pytest
import torch

import model
from solver.checkpoint import load_network

# A program in whose folder are packages of our packages' names, imported before.
BESIDE_OTHERS = """
import copy, pickle, sys
import torch
import dataset, model.ops, results, solver
theirs = dict(sys.modules)
net = torch.hub.load(sys.argv[1], "lesrcnn", scale=3, source="local")
blind = torch.hub.load(sys.argv[1], "vdsr", scale=3, source="local")
x = torch.linspace(0, 1, 216).view(1, 3, 8, 9)
with torch.no_grad():
    for network in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(network(x), net(x)) and not network.training
    assert blind(x).shape == (1, 3, 24, 27) and blind(x, scale=2).shape == (1, 3, 16, 18)
    torch.save(net(x), "enlarged.pt")
assert net.reach(3) and net.parameter_groups()
for name in ("dataset", "model", "model.ops", "results", "solver"):
    assert sys.modules[name] is theirs[name] and theirs[name].theirs
import model.late
assert model.late.theirs
assert not {"model.lesrcnn", "solver.checkpoint", "dataset.errors", "hubconf"} & sys.modules.keys()
assert sys.argv[1] not in sys.path
"""


def load(root, name, **arguments):
    return torch.hub.load(str(root), name, source="local", **arguments)


def test_each_network_is_an_entry_point_that_says_what_it_takes(root, monkeypatch):
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *_, **__: str(root))
    assert torch.hub.list("us/here") == model.names()
    for name in model.names():
        told = torch.hub.help("us/here", name)
        assert "pretrained" in told and model.network_class(name).__doc__.splitlines()[0] in told


def test_it_stands_beside_packages_of_the_same_names(root, tmp_path, command):
    for name in ("dataset", "model", "results", "solver"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("theirs = True\n")
    for name in ("ops", "late"):
        (tmp_path / f"model/{name}.py").write_text("theirs = True\n")
    (tmp_path / "program.py").write_text(BESIDE_OTHERS)
    done = command("program.py", root, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = load_network(root / "x3/lesrcnn_x3.pth")[0](torch.linspace(0, 1, 216).view(1, 3, 8, 9))
    assert torch.allclose(torch.load(tmp_path / "enlarged.pt"), expected, atol=1e-6)


@pytest.mark.parametrize(
    "name, arguments, file",
    [
        ("lesrcnn", {}, "x2/lesrcnn_x2.pth"),
        ("lesrcnn", {"scale": 4, "multi_scale": True}, "lesrcnn_b/lesrcnn.pth"),
        ("srcnn", {"scale": 3}, "checkpoint/x3/srcnn_x3.pth"),  # of a form that is not the default
        ("vdsr", {"scale": 4}, "checkpoint/blind/vdsr.pth"),
    ],
)
def test_weights_are_those_that_ship(root, name, arguments, file):
    net, expected = load(root, name, **arguments), load_network(root / file)[0]
    assert net.configuration == expected.configuration | {"scale": arguments.get("scale", 2)}
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in net.state_dict().items())


def test_without_weights_it_is_a_fresh_network(root):
    net = load(root, "carn", scale=4, pretrained=False, variant="M")
    assert net.configuration == {"scale": 4, "multi_scale": False, "variant": "M"} and not net.training


@pytest.mark.parametrize(
    "name, arguments, words",
    [
        ("edsr", {}, "no x2 weights of edsr ship; give pretrained=False"),
        ("lesrcnn", {"scale": 8}, "2, 3 or 4, not by 8"),
        ("espcn", {"multi_scale": True}, "no blind network"),
        ("srcnn", {"variant": "9-1-5"}, "other options"),
        ("srcnn", {"variants": "9-1-5"}, "no option 'variants'"),
    ],
)
def test_what_there_is_not_is_one_clear_line(root, name, arguments, words):
    with pytest.raises(ValueError, match=words) as told:
        load(root, name, **arguments)
    assert "\n" not in str(told.value)


def test_damaged_weights_and_a_second_checkout_are_one_clear_line(root, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "lesrcnn_networks", raising=False)
    (tmp_path / "model").symlink_to(root / "model")
    shutil.copy(root / "hubconf.py", tmp_path)
    (tmp_path / "x2").mkdir()
    (tmp_path / "x2/lesrcnn_x2.pth").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="lesrcnn_x2.pth: not a readable weights file") as told:
        load(tmp_path, "lesrcnn")
    assert "\n" not in str(told.value)
    with pytest.raises(ImportError, match="start another process"):
        load(root, "lesrcnn")
    del sys.modules["lesrcnn_networks"]
