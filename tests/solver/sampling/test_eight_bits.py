"""``--precision int8`` and ``auto``: when the file of 8 bits beside weights computes, and which one."""

import json
import shlex

import pytest
import torch

import model
from dataset import images
from dataset.errors import InputError
from dataset.files import sha256_of
from solver import graph, machine
from solver.checkpoint import load_network, save_weights
from solver.exporting import export
from solver.sampling.backends.torch import Torch
from solver.sampling.eight_bits import in_int8
from solver.sampling.sampler import Sampler

pytest.importorskip("openvino")
onnx = pytest.importorskip("onnx")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Weights of ESPCN, and a file of 8 bits beside them."""
    path = tmp_path_factory.mktemp("weights") / "espcn_x2.pth"
    torch.manual_seed(0)
    save_weights(model.build("espcn", 2), path)
    net, weights = load_network(path)
    patches = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    export.write_int8(
        path.with_name("espcn_x2_int8.onnx"), Torch(net, 2, CPU), export.say(net, weights, 2, "int8"), patches
    )
    return path


@pytest.fixture
def loses(made, monkeypatch):
    """Let its card tell of so many dB, and the processor know bytes."""
    monkeypatch.setattr(machine, "has_int8", lambda: True)
    file = made.with_name("espcn_x2_int8.onnx")

    def card(loss, **other):
        told = {"sha256": sha256_of(file), "loss": loss} | other
        file.with_suffix(".json").write_text(json.dumps(told))

    yield card
    file.with_suffix(".json").unlink(missing_ok=True)


def chosen(path, precision, **how):
    return in_int8(*load_network(path), 2, precision, **{"device": CPU} | how)


def is_int8(found):
    return isinstance(found, graph.Graph) and found.said.precision == "int8"


def test_int8_takes_the_file(made):
    assert is_int8(chosen(made, "int8"))
    assert not is_int8(chosen(made, "fp32")) and not is_int8(chosen(made, "bf16"))


def test_auto_takes_it_where_it_loses_little(made, loses):
    assert not is_int8(chosen(made, "auto"))
    loses(0.05)
    assert is_int8(chosen(made, "auto"))
    for loss in (0.051, float("-inf"), float("nan")):
        loses(loss)
        assert not is_int8(chosen(made, "auto")), loss
    loses(0.01, sha256="of another file")
    assert not is_int8(chosen(made, "auto"))


def test_auto_takes_it_where_it_is_fast(made, loses, monkeypatch):
    loses(0.01)
    for how in ({"backend": "torch"}, {"backend": "onnxruntime"}, {"compile": True}, {"device": torch.device("cuda")}):
        assert not is_int8(chosen(made, "auto", **how)), how
    monkeypatch.setattr(machine, "has_int8", lambda: False)
    assert not is_int8(chosen(made, "auto")) and is_int8(chosen(made, "int8"))


def test_a_damaged_card_is_one_line(made, loses):
    loses("little")
    with pytest.raises(InputError, match="espcn_x2_int8.json: .*tells what 8 bits cost"):
        chosen(made, "auto")


def test_a_file_of_other_weights_is_refused(made, tmp_path):
    torch.manual_seed(1)
    save_weights(model.build("espcn", 2), tmp_path / "espcn_x2.pth")
    with pytest.raises(InputError, match="espcn_x2_int8.onnx is not there; make it with solver/export.py --to int8"):
        chosen(tmp_path / "espcn_x2.pth", "int8")
    (tmp_path / "espcn_x2_int8.onnx").write_bytes(made.with_name("espcn_x2_int8.onnx").read_bytes())
    with pytest.raises(InputError, match="is not of .*espcn_x2.pth as it is; make it anew"):
        chosen(tmp_path / "espcn_x2.pth", "int8")


def test_a_sampler_of_weights_alone_does_not_know_it(made):
    with pytest.raises(InputError, match="--precision int8: is of exported networks"):
        Sampler(load_network(made)[0], 2, precision="int8")


@pytest.mark.parametrize("flags, status", [("", 0), ("--factor 1.5", 0), ("--backend torch", 2), ("--compile", 2)])
def test_the_command(made, command, picture, tmp_path, flags, status):
    images.write_rgb(tmp_path / "in/a.png", picture(20, 24))
    flags = f"--precision int8 --ckpt_path {made} --test_data_dir {tmp_path}/in --sample_dir {tmp_path}/out {flags}"
    done = command("x2/tcw_sample.py", *shlex.split(flags))
    assert done.returncode == status, done.stderr
    if status:
        assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
    else:
        [report] = tmp_path.glob("out/**/results.json")
        told, file = json.loads(report.read_text()), made.with_name("espcn_x2_int8.onnx")
        assert told["precision"] == "int8" and "in int8 by openvino on" in done.stdout
        assert told["exported"] == {"backend": "openvino", "file": file.name, "sha256": sha256_of(file)}


def test_what_another_file_of_8_bits_made_is_made_anew(made, command, picture, tmp_path):
    """``--resume`` keeps what this file has made, and nothing that another of the same weights has."""
    images.write_rgb(tmp_path / "in/a.png", picture(20, 24))
    weights, file = tmp_path / "espcn_x2.pth", tmp_path / "espcn_x2_int8.onnx"
    for path in (weights, file):
        path.write_bytes(made.with_name(path.name).read_bytes())
    flags = f"--precision int8 --ckpt_path {weights} --test_data_dir {tmp_path}/in --sample_dir {tmp_path}/out --resume"

    def made_at():
        done = command("x2/tcw_sample.py", *shlex.split(flags))
        assert done.returncode == 0, done.stderr
        [result] = tmp_path.glob("out/**/SR/*.png")
        return result.stat().st_mtime_ns

    first = made_at()
    assert made_at() == first
    changed = onnx.load(file)
    changed.doc_string = "another"
    file.write_bytes(changed.SerializeToString())
    assert made_at() > first
