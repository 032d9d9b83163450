"""Exported networks: what is read, and what is refused."""

import sys

import numpy as np
import pytest

import model
from dataset.errors import InputError
from solver import graph
from solver.arguments import BACKENDS
from solver.checkpoint import save_weights
from solver.exporting import export
from solver.sampling.backends.torch import Torch
from solver.sampling.sampler import Sampler

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """ESPCN x3 as ONNX, and as OpenVINO's XML and BIN."""
    folder = tmp_path_factory.mktemp("exported")
    net = model.build("espcn", 3).eval()
    save_weights(net, folder / "espcn_x3.pth")
    net, weights = export.load_network(folder / "espcn_x3.pth")
    said = export.say(net, weights, 3, "fp32")
    export.write_onnx(folder / "espcn_x3.onnx", Torch(net, 3, export.CPU), said)
    export.write_openvino(folder / "espcn_x3.xml", Torch(net, 3, export.CPU), said)
    return folder


@pytest.mark.parametrize("suffix", graph.SUFFIXES)
def test_it_says_what_it_is(exported, suffix):
    net, weights = graph.load(exported / f"espcn_x3{suffix}", "espcn", 3)
    assert (net.scales, net.protocol, net.reach(3)) == ((3,), "luma", model.build("espcn", 3).reach(3))
    assert (weights.network, weights.scales, weights.multi_scale) == ("espcn", (3,), False)
    assert net.said.weights == graph.load(exported / "espcn_x3.pth")[1].sha256
    for wrong in (("vdsr", 3), ("espcn", 2)):
        with pytest.raises(InputError, match="--model espcn|--scale 2"):
            graph.load(exported / f"espcn_x3{suffix}", *wrong)


RELEASED = """
import faulthandler, os, signal, sys, torch
from pathlib import Path
from solver import graph
from solver.sampling.backends.exported import Exported

faulthandler.enable()
asked = ("openvino", torch.device("cpu"), "fp32", False)
made = [Exported(graph.read(Path(sys.argv[1])), *asked) for _ in range(2)]
del made[0], made[0]
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_when_openvino_s_networks_are_gone(exported, command):
    done = command("-c", RELEASED, exported / "espcn_x3.xml")
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def spoilt(exported, tmp_path, change):
    """The ONNX file with something changed."""
    content = onnx.load(exported / "espcn_x3.onnx")
    change(content)
    (tmp_path / "a.onnx").write_bytes(content.SerializeToString())
    return tmp_path / "a.onnx"


def elsewhere(content):
    weight = content.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")


def program(content):
    body = onnx.helper.make_graph([], "body", [], [])
    content.graph.node.append(onnx.helper.make_node("If", ["input"], ["a"], then_branch=body, else_branch=body))


def circle(content):
    """A result that is made of itself."""
    first = next(node for node in content.graph.node if node.op_type == "Conv")
    content.graph.node.append(onnx.helper.make_node("Identity", [first.output[0]], ["again"]))
    first.input[0] = "again"


def set_text(key, value):
    def change(content):
        next(entry for entry in content.metadata_props if entry.key == key).value = value

    return change


CHANGES = {
    "has weights in another file": elsewhere,
    "is damaged: its weights are of another size": lambda c: c.graph.initializer[0].dims.__setitem__(0, 10**9),
    "has operations that no network here has: If": program,
    "has operations that no network here has: Custom": lambda c: c.graph.node.append(
        onnx.helper.make_node("Custom", ["input"], ["a"], domain="stranger")
    ),
    "is damaged: its operations are not in order": circle,
    "is damaged: it has two of one name": lambda c: c.graph.initializer.append(c.graph.initializer[0]),
    "has functions or sparse weights": lambda c: c.graph.sparse_initializer.add(),
    "has other inputs and outputs": lambda c: c.graph.input.append(c.graph.output[0]),
    "does not say what network it is": lambda c: c.ClearField("metadata_props"),
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_is_strange_is_one_line(exported, tmp_path, said):
    path = spoilt(exported, tmp_path, CHANGES[said])
    with pytest.raises(InputError, match=f"a.onnx: {said}.*; make it with solver/export.py") as caught:
        graph.read(path)
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    "key, value",
    [("network", "../espcn"), ("network", ""), ("scale", "7"), ("scale", "x"), ("reach", "-1"), ("reach", "nan")]
    + [("bytes_per_pixel", "0"), ("bytes_per_pixel", "inf"), ("precision", "int1"), ("protocol", "mine")],
)
def test_false_sayings_are_one_line(exported, tmp_path, key, value):
    with pytest.raises(InputError, match="a.onnx: does not say what network it is"):
        graph.read(spoilt(exported, tmp_path, set_text(key, value)))


@pytest.mark.parametrize("scale", ["<scale/>", '<scale><a value="3"/></scale>'])
def test_false_sayings_of_openvino_s_are_one_line(exported, tmp_path, scale):
    text = (exported / "espcn_x3.xml").read_text()
    before, says, after = text.rpartition("<lesrcnn>")
    says += after.replace('<scale value="3" />', scale)
    (tmp_path / "a.xml").write_text(before + says)
    (tmp_path / "a.bin").write_bytes((exported / "espcn_x3.bin").read_bytes())
    with pytest.raises(InputError, match="a.xml: does not say what network it is"):
        graph.read(tmp_path / "a.xml")


def test_what_openvino_s_says_may_be_no_list(exported, tmp_path):
    text = (exported / "espcn_x3.xml").read_text()
    before, _, after = text.rpartition("<lesrcnn>")
    (tmp_path / "a.xml").write_text(f'{before}<lesrcnn value="5" />{after.partition("</lesrcnn>")[2]}')
    (tmp_path / "a.bin").write_bytes((exported / "espcn_x3.bin").read_bytes())
    with pytest.raises(InputError, match="a.xml: does not say what network it is"):
        graph.read(tmp_path / "a.xml")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".bin"])
def test_a_damaged_file_is_one_line(exported, tmp_path, suffix):
    for end in graph.SUFFIXES + (".bin",):
        (tmp_path / f"a{end}").write_bytes((exported / f"espcn_x3{end}").read_bytes())
    cut = tmp_path / f"a{suffix}"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    read = cut if suffix != ".bin" else tmp_path / "a.xml"
    with pytest.raises(InputError, match=f"{read.name}: is damaged|{read.name}: does not say"):
        graph.read(read)
    cut.unlink()
    with pytest.raises(InputError, match="no such file"):
        graph.read(read)


def test_a_graph_that_makes_something_else(exported, tmp_path, picture):
    """It says x2, and enlarges by 3."""
    net = graph.read(spoilt(exported, tmp_path, set_text("scale", "2")))
    with pytest.raises(InputError, match=r"a.onnx: makes \(1, 3, 24, 27\) .*, expected \(1, 3, 16, 18\)"):
        Sampler(net, 2)(picture(8, 9))


def set_weight(value):
    def change(content):
        weight = content.graph.initializer[0]
        array = onnx.numpy_helper.to_array(weight)
        weight.raw_data = np.full_like(array, value).tobytes()

    return change


def other_channels(content):
    weight = next(each for each in content.graph.initializer if len(each.dims) == 4)
    weight.dims[1], weight.dims[2] = weight.dims[1] * weight.dims[2], 1


def doubles(content):
    [last] = [node for node in content.graph.node if graph.OUTPUT in node.output]
    last.output[:] = ["single"]
    double = onnx.TensorProto.DOUBLE
    content.graph.node.append(onnx.helper.make_node("Cast", ["single"], [graph.OUTPUT], to=double))
    content.graph.output[0].type.tensor_type.elem_type = double


@pytest.mark.parametrize("runtime", BACKENDS[2:])
@pytest.mark.parametrize(
    "change, told",
    [
        (set_weight(np.nan), "makes values that are not finite"),
        (other_channels, "cannot compute it"),
        (doubles, r"makes \(1, 3, 24, 27\) in float64"),
    ],
)
def test_a_graph_that_makes_nothing_is_one_line(exported, tmp_path, picture, runtime, change, told, capfd):
    path = spoilt(exported, tmp_path, change)
    with pytest.raises(InputError, match=f"a.onnx: .*{told}.*; make it with solver/export.py"):
        Sampler(graph.read(path), 3, backend=runtime)(picture(8, 9))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "settings", [{"backend": "torch"}, {"precision": "bf16"}, {"compile": True}, {"device": "cuda"}], ids=str
)
def test_a_graph_is_computed_as_it_is(exported, settings):
    with pytest.raises(InputError, match="is computed as it is, on the CPU; leave the flag out"):
        Sampler(graph.read(exported / "espcn_x3.onnx"), 3, **settings)


def test_a_network_is_no_graph(exported):
    net, _ = graph.load(exported / "espcn_x3.pth")
    with pytest.raises(InputError, match="--backend openvino: computes exported networks"):
        Sampler(net, 3, backend="openvino")
    with pytest.raises(InputError, match="give --backend openvino"):
        Sampler(graph.read(exported / "espcn_x3.xml"), 3, backend="onnxruntime")


@pytest.mark.parametrize("name, program", [("a.mlpackage", "Core ML"), ("a.ncnn.param", "ncnn")])
def test_what_phones_compute_is_not_computed_here(tmp_path, name, program):
    with pytest.raises(InputError, match=f"{name}: is computed by {program}, not here; give the weights"):
        graph.load(tmp_path / name)


@pytest.mark.parametrize("suffix, name", [(".onnx", "onnx"), (".xml", "openvino")])
def test_what_is_not_installed_is_no_fault_of_the_file(exported, monkeypatch, suffix, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"^{name} is not installed: pip install -r requirements-export.txt$"):
        graph.read(exported / f"espcn_x3{suffix}")


def test_what_is_not_installed_is_one_line():
    with pytest.raises(InputError, match="nowhere is not installed: pip install -r requirements-export.txt"):
        graph.package("nowhere")
