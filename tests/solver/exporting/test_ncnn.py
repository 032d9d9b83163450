"""Networks as ncnn's files, computed by ncnn."""

import pytest
import torch
from networks import SOME, label, lively

import model
from dataset.errors import InputError
from solver import graph
from solver.exporting import ncnn, phones
from solver.sampling.backends.torch import Torch

pytest.importorskip("ncnn"), pytest.importorskip("pnnx")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seeded():
    """The same weights in each run."""
    torch.manual_seed(0)


@pytest.fixture
def write(tmp_path):
    """Write a network as ``net.ncnn.param``; returns how far it is from PyTorch."""

    def write(net, scale, precision="fp32"):
        said = graph.Said("lesrcnn", scale, 20.0, 1000.0, precision, "published", "")
        return ncnn.write(tmp_path / "net.ncnn.param", Torch(net.eval(), scale, CPU), said)

    return write


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name, configuration", SOME, ids=label)
def test_every_network_is_the_same(name, configuration, write, tmp_path):
    """The writer compares; this looks that it compared with what is in the files."""
    net = lively(model.build(name, **configuration))
    scale = net.scales[-1]
    assert write(net, scale) < 1e-5
    assert files(tmp_path) == ["net.ncnn.bin", "net.ncnn.param"]
    x = torch.rand(1, 3, 7, 10)
    made = ncnn._by_ncnn(None, tmp_path / "net.ncnn.param", tmp_path / "net.ncnn.bin")(x)
    with torch.no_grad():
        assert torch.allclose(made, net(x, scale), atol=1e-5)


def test_its_ends_are_called_as_its_users_expect(write, tmp_path):
    write(model.build("lesrcnn", 2), 2)
    lines = [line.split() for line in (tmp_path / "net.ncnn.param").read_text().splitlines()[2:]]
    assert lines[0] == ["Input", "data", "0", "1", "data"] and "output" in lines[-1]
    kinds = {line[0] for line in lines}
    assert kinds == {"Input", "MemoryData", "BinaryOp", "Convolution", "Split", "ReLU", "PixelShuffle"}


def test_fp16_is_half_the_file(write, tmp_path):
    net, sizes = lively(model.build("lesrcnn", 2)), []
    for precision in ("fp32", "fp16"):
        far = write(net, 2, precision)
        sizes.append((tmp_path / "net.ncnn.bin").stat().st_size)
    assert sizes[1] < 0.55 * sizes[0] and 1e-5 < far < 8e-3


def test_both_files_or_none(write, tmp_path, monkeypatch):
    (tmp_path / "net.ncnn.param").mkdir()
    with pytest.raises(InputError, match="net.ncnn.param: cannot be written"):
        write(model.build("espcn", 2), 2)
    assert files(tmp_path) == ["net.ncnn.param"]
    (tmp_path / "net.ncnn.param").rmdir()
    monkeypatch.setitem(ncnn._CLOSE, "fp32", -1)
    with pytest.raises(InputError, match="net.ncnn.param: ncnn makes results that are .* away from PyTorch's"):
        write(model.build("espcn", 2), 2)
    assert files(tmp_path) == []


class Strange(torch.nn.Module):
    """A network of one operation that is in no network here."""

    def __init__(self, operation):
        super().__init__()
        self.forward = operation


STRANGE = {"eigvals": torch.linalg.eigvals, "index": lambda x: x.index_select(2, torch.arange(x.shape[2]))}


@pytest.mark.parametrize("operation", STRANGE)
def test_what_ncnn_cannot_compute_is_one_line(write, tmp_path, monkeypatch, operation):
    monkeypatch.setattr(phones, "EXAMPLE", (1, 3, 12, 12))
    monkeypatch.setattr(ncnn, "plain", lambda net: Strange(STRANGE[operation]))
    with pytest.raises(InputError, match="net.ncnn.param: .*(does not know|cannot convert)"):
        write(model.build("espcn", 2), 2)
    assert files(tmp_path) == []
