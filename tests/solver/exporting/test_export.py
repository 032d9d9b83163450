"""Networks out of PyTorch: every one of them, in each form, computed by other programs."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from networks import SOME, label, lively

import model
from dataset import images, test_set
from dataset.errors import InputError
from solver import export as door
from solver import graph
from solver.checkpoint import load_network, save_weights
from solver.exporting import common, export
from solver.measuring.evaluate import evaluate
from solver.sampling.backends.torch import Torch
from solver.sampling.sampler import Sampler

onnx = pytest.importorskip("onnx")
RUNTIMES = ("openvino", "onnxruntime")


@pytest.fixture
def written(tmp_path):
    """Write a network's weights and export them; returns the file."""

    def write(net, to="onnx", precision="fp32", scale=None):
        scale = scale or net.scale
        save_weights(net, tmp_path / "net.pth")
        net, weights = load_network(tmp_path / "net.pth")
        path = graph.beside(weights, scale, export.SUFFIXES[to], precision)
        how = {"onnx": export.write_onnx, "openvino": export.write_openvino}[to]
        dtype = {"fp32": torch.float32, "fp16": torch.float16}[precision]
        how(path, Torch(net, scale, torch.device("cpu"), dtype), export.say(net, weights, scale, precision))
        return path

    return write


@pytest.mark.parametrize("name, configuration", SOME, ids=label)
def test_every_network_is_the_same_in_each_runtime_whole_and_in_tiles(name, configuration, written, picture):
    net = lively(model.build(name, **configuration))
    scale = net.scales[-1]
    exported = graph.read(written(net, scale=scale))
    rgb = picture(2 * int(net.reach(scale) or 0) + 9, 13)
    expected = Sampler(net, scale, tile="none")(rgb).astype(int)
    for runtime in RUNTIMES:
        for tile in ["none", *[4] * (net.reach(scale) is not None)]:
            made = Sampler(exported, scale, backend=runtime, tile=tile)(rgb)
            assert np.abs(made - expected).max() <= 1, (runtime, tile)
    operations = {node.op_type for node in onnx.load_model_from_string(exported.content).graph.node}
    assert name != "lesrcnn" or operations <= {"Conv", "Relu", "Add", "DepthToSpace", "Constant"}


def test_a_batch_of_any_size_goes_in(written):
    import onnxruntime

    net = model.build("lesrcnn", 2).eval()
    session = onnxruntime.InferenceSession(written(net))
    x = torch.rand(3, 3, 5, 8)
    made = session.run(["output"], {"input": x.numpy()})[0]
    with torch.no_grad():
        assert np.allclose(made, net(x), atol=1e-5)
    said = session.get_modelmeta().custom_metadata_map
    assert (said["network"], said["scale"], said["precision"]) == ("lesrcnn", "2", "fp32")


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_half_precision_is_half_the_file(written, to, picture):
    net, rgb = model.build("lesrcnn", 2), picture(20, 24)
    net.init_identity()
    whole, half = written(net, to), written(net, to, "fp16")
    assert half.stem == "net_fp16"
    sizes = [path.with_suffix(".bin" if to == "openvino" else ".onnx").stat().st_size for path in (whole, half)]
    assert sizes[1] < 0.55 * sizes[0]
    made = [Sampler(graph.read(path), 2)(rgb).astype(int) for path in (whole, half)]
    assert np.abs(made[0] - made[1]).max() <= 1


def test_what_is_far_from_pytorch_gets_no_name(written, monkeypatch, tmp_path):
    monkeypatch.setitem(common.CLOSE, "fp32", -1)
    with pytest.raises(InputError, match="net.onnx: onnxruntime makes results that are .* away from PyTorch's"):
        written(model.build("espcn", 2))
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("taken", [".xml", ".bin"])
def test_openvino_s_files_are_both_there_or_none(written, tmp_path, taken):
    (tmp_path / f"net{taken}").mkdir()
    with pytest.raises(InputError, match=f"net{taken}: cannot be written"):
        written(model.build("espcn", 2), "openvino")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["net.pth", f"net{taken}"])


@pytest.fixture
def run(monkeypatch):
    """Run ``solver/export.py`` with these flags, here."""

    def run(*flags):
        monkeypatch.setattr("sys.argv", ["export.py", *map(str, flags)])
        door.main()

    return run


def test_blind_weights_make_a_file_for_each_scale(run, command, tmp_path, capsys):
    weights = tmp_path / "espcn.pth"
    net = model.build("carn", 2, multi_scale=True, variant="M")
    save_weights(net, weights)
    run("--ckpt_path", weights)
    made = [tmp_path / f"espcn_x{scale}.onnx" for scale in (2, 3, 4)]
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == list(map(str, made))
    with pytest.raises(InputError, match="--out a.onnx: these weights make a file for each scale; say which"):
        run("--ckpt_path", weights, "--out", "a.onnx")
    run("--ckpt_path", weights, "--to", "safetensors")
    assert graph.load(tmp_path / "espcn.safetensors")[1].multi_scale
    done = command("x3/tcw_sample.py", "--ckpt_path", made[1], "--model", "carn", "--sample_dir", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s/espcn_x3/Sample/x3/results.json").exists()


@pytest.mark.parametrize(
    "to, suffix, package", [("coreml", ".mlpackage", "coremltools"), ("ncnn", ".ncnn.param", "ncnn")]
)
def test_for_phones_too_blind_weights_make_a_file_for_each_scale(
    run, tmp_path, capsys, monkeypatch, to, suffix, package
):
    save_weights(model.build("lesrcnn", 2, multi_scale=True), tmp_path / "net.pth")
    with pytest.raises(InputError, match=f"--out {tmp_path}/a.onnx: expected a name that ends in {suffix}"):
        run("--ckpt_path", tmp_path / "net.pth", "--to", to, "--scale", 2, "--out", tmp_path / "a.onnx")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=f"{package} is not installed: pip install -r requirements-mobile.txt"):
            run("--ckpt_path", tmp_path / "net.pth", "--to", to)
    pytest.importorskip(package)
    run("--ckpt_path", tmp_path / "net.pth", "--to", to, "--precision", "fp16")
    made = [tmp_path / f"net_x{scale}_fp16{suffix}" for scale in (2, 3, 4)]
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == list(map(str, made))
    assert all(path.exists() for path in made)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_released_weights_give_their_figures(reference, runtime, tmp_path):
    """Set5 x4 by the published protocol, in tiles: to the digits that the tables have."""
    net, weights = load_network(reference / "weights/lesrcnn_x4.pth")
    path = tmp_path / "lesrcnn_x4.onnx"
    far = export.write_onnx(path, Torch(net, 4, torch.device("cpu")), export.say(net, weights, 4, "fp32"))
    assert far < 2e-6
    pictures = test_set.find(reference / "Set5", 4)
    found = evaluate(Sampler(graph.read(path), 4, backend=runtime, tile=40), pictures)
    assert (round(found.psnr, 2), round(found.mean("ssim"), 4)) == (31.88, 0.8903)


@pytest.mark.parametrize("height, width", [(1, 1), (17, 33)])
def test_opencv_computes_it(written, picture, height, width):
    import cv2

    torch.manual_seed(0)
    net = lively(model.build("lesrcnn", 2))
    network = cv2.dnn.readNetFromONNX(str(written(net)))
    x = images.to_tensor(picture(height, width), "cpu")
    network.setInput(x.numpy())
    with torch.inference_mode():
        assert np.abs(network.forward() - net(x).numpy()).max() < 1e-5


def test_chainner_finds_its_scale(written):
    """It opens a file's bytes, and infers the shape of the result of 16x16 pixels."""
    for scale in (2, 4):
        told = onnx.load_model_from_string(written(lively(model.build("lesrcnn", scale))).read_bytes())
        for name, dimension in enumerate((1, 3, 16, 16)):
            told.graph.input[0].type.tensor_type.shape.dim[name].dim_value = dimension
        inferred = onnx.shape_inference.infer_shapes(told, strict_mode=True).graph.output[0].type.tensor_type.shape.dim
        assert [side.dim_value for side in inferred] == [1, 3, 16 * scale, 16 * scale]


def test_the_readme_s_lines_need_two_packages(root, written, picture, tmp_path):
    """In a new environment: ONNX Runtime and Pillow, and what they bring."""
    python = tmp_path / "environment/bin/python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "onnxruntime", "Pillow"]
    if (got := subprocess.run(install, capture_output=True, text=True)).returncode:
        pytest.skip(f"these packages cannot be had: {got.stderr.strip().splitlines()[-1]}")
    [lines] = re.findall(r"<!-- without-pytorch -->\n```python\n(.*?)```", (root / "README.md").read_text(), re.S)
    net, rgb = model.build("lesrcnn", 2), picture(20, 24)
    net.init_identity()
    written(net).rename(tmp_path / "lesrcnn_x2.onnx")
    images.write_rgb(tmp_path / "picture.png", rgb)
    done = subprocess.run([python, "-c", lines], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = images.read(tmp_path / "enlarged.png").rgb.astype(int)
    assert np.abs(made - Sampler(net.eval(), 2)(rgb, rounding="round")).max() <= 1
