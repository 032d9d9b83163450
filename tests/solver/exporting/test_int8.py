"""Networks of 8 bits: what is rounded, how, and what comes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import lively

import model
from dataset import images, test_set
from dataset.errors import InputError
from solver import graph
from solver.checkpoint import load_network, save_weights
from solver.exporting import export, int8, nodes, rewriting
from solver.measuring.evaluate import evaluate
from solver.sampling.backends.torch import Torch
from solver.sampling.sampler import Sampler

onnx = pytest.importorskip("onnx")
CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch):
    """Less care, which takes less time."""
    monkeypatch.setattr(int8, "_SHRUNK", (1.0,))
    monkeypatch.setattr(int8, "_POSITIONS", 1000)


@pytest.fixture
def patches(picture):
    return torch.cat([images.to_tensor(picture(24, 24, seed), CPU) for seed in range(6)])


def onnx_of(net, scale=2):
    said = graph.Said("lesrcnn", scale, 20.0, 1000.0, "fp32", "published", "")
    return export.onnx_of(Torch(net.eval(), scale, CPU), said)


def start(scale, name="lesrcnn"):
    torch.manual_seed(0)
    net = model.build(name, scale)
    net.init_identity()
    return net


@pytest.mark.parametrize("name, scale", [("lesrcnn", 4), ("carn", 3)])
def test_it_is_as_near_as_it_says_and_a_quarter_as_large(name, scale, patches, quick):
    net = start(scale) if name != "carn" else model.build("carn", scale)
    content = onnx_of(net, scale)
    small, error = int8.quantised(content, patches)
    assert len(small) < 0.4 * len(content) and 0 < error < 1.5
    rgb = patches[:1]
    expected = net(rgb, scale).detach()
    for runtime in ("openvino", "onnxruntime"):
        said = graph.Said(name, scale, 20.0, 1000.0, "int8", "published", "")
        made = Sampler(graph.Graph(Path("net.onnx"), said, small), scale, backend=runtime)._backend.network()(rgb)
        assert 255 * (made - expected).square().mean().sqrt() < 2 * error + 0.3, runtime


def test_the_layers_that_face_the_picture_stay(patches, quick):
    told = onnx.load_model_from_string(int8.quantised(onnx_of(start(2)), patches)[0])
    convolutions = [node for node in told.graph.node if node.op_type == "Conv"]
    rounded = {node.output[0] for node in told.graph.node if node.op_type == "DequantizeLinear"}
    inside = [node.input[1] in rounded and node.input[0] in rounded for node in convolutions]
    assert inside == [False, *[True] * (len(inside) - 2), False]


def test_rounding_makes_good_what_rounding_spoils(patches):
    """GPTQ is nearer to what the layer makes of its inputs than rounding each weight on its own."""
    content = onnx.load_model_from_string(onnx_of(start(2)))
    node = next(node for node in content.graph.node if node.op_type == "Conv" and "conv3.1" in node.input[1])
    x = torch.rand(4, 64, 12, 12, generator=torch.Generator().manual_seed(0)) @ torch.rand(12, 12)
    weight = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(1))
    whole, steps = int8._gptq(weight, int8._windows(x, node, weight.shape[2:]))
    assert torch.equal(whole, whole.round()) and whole.abs().max() == 127
    own = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    exact, ours, plain = (
        nodes.convolve(node, x, w) for w in (weight, whole * steps.view(-1, 1, 1, 1), (weight / own).round() * own)
    )
    errors = [(made - exact).var((0, 2, 3)).mean() for made in (ours, plain)]
    assert errors[0] < 0.7 * errors[1]


def uneven(net):
    """Make every other channel of the up-sampler's result a hundredth, and what hears it a hundred times as large."""
    up, hears = net.rb.up["x2"].stages[0], net.irb.refine[0]
    with torch.no_grad():
        up.weight.view(64, 4, 64, 3, 3)[::2] *= 0.01
        up.bias.view(64, 4)[::2] *= 0.01
        hears.weight[:, ::2] *= 100
    return net


@pytest.mark.parametrize("evenness, most", [((0.0, 0.5, 1.0), 1.2), ((0.0,), None)])
def test_quiet_channels_are_not_lost(patches, quick, monkeypatch, evenness, most):
    monkeypatch.setattr(int8, "_EVENNESS", evenness)
    _, plain = int8.quantised(onnx_of(start(2)), patches)
    _, error = int8.quantised(onnx_of(uneven(start(2))), patches)
    assert error < most * plain if most else error > 2 * plain


def test_channels_that_no_picture_makes_sound_are_silenced(patches, quick):
    net = start(2)
    with torch.no_grad():
        net.ieeb.conv3[2].weight[5] = -net.ieeb.conv3[2].weight[5].abs()  # of what is never below 0
    assert int8.quantised(onnx_of(net), patches)[1] < 1.5


@pytest.mark.parametrize("name", ["espcn", "fsrcnn", "srcnn", "drrn"])
def test_other_networks(name, patches, quick):
    """Of luma, with tanh between layers, with a result that no gradient comes from, with layers that hear themselves
    again.
    """
    torch.manual_seed(0)
    net = lively(model.build(name, 2, **{"u": 2} if name == "drrn" else {}))
    small, error = int8.quantised(onnx_of(net), patches)
    convolutions = [node for node in onnx.load_model_from_string(small).graph.node if node.op_type == "Conv"]
    assert sum("rounded" in node.input[0] for node in convolutions) >= 1
    with torch.inference_mode():
        far = 255 * (run(small, patches) - net(patches)).square().mean().sqrt()
    assert 0 < error < 2 and far == pytest.approx(error, rel=0.5, abs=0.05)


def test_fewer_pictures_than_channels_of_the_last_layer(patches, quick):
    torch.manual_seed(0)
    content = onnx_of(lively(model.build("espcn", 4)), 4)  # 16 of them
    small, error = int8.quantised(content, patches[:2])
    far = 255 * float((run(small, patches) - run(content, patches)).square().mean().sqrt())
    assert error < 2 and far < 2 * error


def run(content, x):
    """What the literal reading of a graph makes of pictures."""
    runtime = pytest.importorskip("onnxruntime")
    settings = runtime.SessionOptions()
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return torch.from_numpy(runtime.InferenceSession(content, settings).run(None, {"input": x.numpy()})[0])


def test_opencv_computes_it(patches, quick):
    cv2 = pytest.importorskip("cv2", "5")
    small, error = int8.quantised(onnx_of(start(2)), patches)
    network = cv2.dnn.readNetFromONNX(np.frombuffer(small, np.uint8))
    network.setInput(patches[:1].numpy())
    far = 255 * (torch.from_numpy(network.forward()) - run(small, patches[:1])).square().mean().sqrt()
    assert far < error


def test_results_are_as_bright_as_before(patches, quick):
    net = start(2)
    small, error = int8.quantised(onnx_of(net), patches)
    with torch.inference_mode():
        change = 255 * (run(small, patches) - net(patches))
    assert change.mean((0, 2, 3)).abs().max() < 0.02 < error


@pytest.mark.parametrize("signed", [False, True])
def test_a_channel_is_cut_off_between_the_best_and_the_largest_value(signed):
    x = torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    x = x if signed else x.abs()
    x[0, 2] = 0
    every = x.clone()
    every[0, 0, 0, 0] = 20  # one far from all others
    far, near, silent = int8._loudest(x, every, signed).tolist()
    assert 6 < far < 13 and 3 < near < 5 and silent == 0


def coloured(patches, strength):
    grey = patches.mean(1, keepdim=True)
    return grey + strength * (patches - grey)


def test_ranges_hold_stronger_colours(patches, quick, monkeypatch):
    content, strong = onnx_of(start(2)), coloured(patches, 0.8)

    def far():
        small, _ = int8.quantised(content, coloured(patches, 0.4))
        return (run(small, strong) - run(content, strong)).square().mean().sqrt()

    held = far()
    monkeypatch.setattr(int8, "_VIVIDNESS", 1.0)  # as strong as they are
    assert held < 0.6 * far()


def test_the_last_layer_is_fitted_to_rounded_features():
    """To what it made of exact ones, without leaving its weights where nothing tells of others."""
    content = onnx.load_model_from_string(onnx_of(start(2)))
    node = [node for node in content.graph.node if node.op_type == "Conv"][-1]
    x = torch.rand(4, 64, 12, 12, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(3, 64, 3, 3, generator=torch.Generator().manual_seed(1))
    wanted = int8._windows(x, node, weight.shape[2:]) @ weight.flatten(1).T
    weaker = 0.9 * x
    weaker[:, 7] = 0
    found = int8._fitted(node, weaker, weight, wanted + 5)
    errors = [(nodes.convolve(node, weaker, one) - nodes.convolve(node, x, weight)).var() for one in (found, weight)]
    assert errors[0] < 0.3 * errors[1] and torch.allclose(found[:, 7], weight[:, 7])


def parts(net):
    """A network's graph, its weights, and the convolutions inside by their outputs' names."""
    content = onnx.load_model_from_string(onnx_of(net))
    rewriting.rectify_before_shuffling(content.graph)
    weights = {each.name: torch.tensor(onnx.numpy_helper.to_array(each)) for each in content.graph.initializer}
    return content.graph, weights, int8._inside(content.graph, weights)


def result(graph, weights, pictures):
    *_, (_, values) = nodes.walk(graph, weights, pictures)
    return values["output"]


def test_channels_that_come_in_twice_change_nothing(patches):
    net = lively(start(2))
    net_graph, weights, inside = parts(net)
    before = result(net_graph, weights, patches)
    chosen = {name: torch.tensor([3, 0, 7]) for name in inside}
    halves = rewriting.pair(net_graph, weights, inside, chosen)
    assert torch.allclose(result(net_graph, weights, patches), before, atol=1e-5)
    assert len(halves) == len(inside) - 9  # which read sums, or what others read too
    for name, signs in halves.items():
        assert signs.sum() == 0 and signs[:64].nonzero().flatten().tolist() == [0, 3, 7] and len(signs) == 67, name


def test_they_make_errors_smaller(patches, quick, monkeypatch):
    content = onnx_of(lively(start(2)))
    _, before = int8.quantised(content, patches)
    monkeypatch.setattr(int8, "_SEEN", before / 10)
    small, after = int8.quantised(content, patches)
    assert after < 0.9 * before
    far = 255 * float((run(small, patches) - run(content, patches)).square().mean().sqrt())
    assert far == pytest.approx(after, rel=0.1)


def test_layers_tell_what_they_change_alone(patches, quick):
    """By their gradients, what each one does to the result when all others compute exactly."""
    net_graph, weights, inside = parts(lively(start(2)))
    gradients = int8._gradients(net_graph, weights, patches, inside)
    layers, *_ = int8._calibrated(net_graph, weights, patches, inside, gradients, {}, {})
    exact = result(net_graph, weights, patches)
    for name in ["/module/ieeb/conv3.2/Conv_output_0", "/module/irb/refine.1/Conv_output_0"]:

        def compute(node, values):
            alone = node.output[0] == name
            return layers[name](node, values[node.input[0]]) if alone else nodes.computed(node, values)

        *_, (_, values) = nodes.walk(net_graph, weights, patches, compute)
        far = 255 * float((values["output"] - exact).square().mean().sqrt())
        assert layers[name].error == pytest.approx(far, rel=0.3), name


def test_what_is_too_far_from_float32_is_not_written(tmp_path, monkeypatch, picture, quick):
    monkeypatch.setattr(export, "PATCHES", 4)
    images.write_rgb(tmp_path / "train/a.png", picture(100, 110))
    save_weights(start(2), tmp_path / "lesrcnn_x2.pth")
    net, weights = load_network(tmp_path / "lesrcnn_x2.pth")
    given = Torch(net, 2, CPU), export.say(net, weights, 2, "int8"), export.lr_patches(tmp_path / "train", 2)
    assert given[2].shape == (4, 3, 32, 32)
    export.write_int8(tmp_path / "a.onnx", *given)
    assert np.abs(Sampler(graph.read(tmp_path / "a.onnx"), 2, precision="int8")(picture(9, 8)).astype(int)).max() > 0
    monkeypatch.setattr(export, "_FAR", 0.0)
    with pytest.raises(InputError, match="b.onnx: int8 makes results that are .* grey levels away from float32's"):
        export.write_int8(tmp_path / "b.onnx", *given)
    assert not (tmp_path / "b.onnx").exists()
    with pytest.raises(InputError, match="no picture of 64x64 pixels or more"):
        images.write_rgb(tmp_path / "small/a.png", picture(60, 110))
        export.lr_patches(tmp_path / "small", 2)
    images.write_rgb(tmp_path / "flat/a.png", np.full((100, 110, 3), 255, np.uint8))
    with pytest.raises(InputError, match="flat: its pictures show nothing but one colour; give photographs"):
        export.lr_patches(tmp_path / "flat", 2)
    images.write_rgb(tmp_path / "flat/b.png", picture(100, 110))
    assert len(export.lr_patches(tmp_path / "flat", 2)) == 4


@pytest.mark.parametrize("name, times", [("lesrcnn", 1e3), ("lesrcnn", 1e10), ("espcn", 1e3), ("espcn", 1e37)])
def test_weights_that_are_too_large_are_one_line(name, times, patches, quick, tmp_path):
    net = start(2) if name == "lesrcnn" else model.build(name, 2).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(times).clamp_(-3e38, 3e38)
    said = graph.Said(name, 2, 20.0, 1000.0, "int8", "published", "")
    with pytest.raises(InputError, match=f"{tmp_path}/a.onnx: .*(too large for int8|grey levels away).*") as caught:
        export.write_int8(tmp_path / "a.onnx", Torch(net, 2, CPU), said, patches)
    assert "not written" in str(caught.value) and not any(tmp_path.iterdir())


def test_where_nothing_can_be_written_nothing_is_computed(patches, monkeypatch, tmp_path):
    monkeypatch.setattr(export.int8, "quantised", lambda *_: pytest.fail("computed"))
    (tmp_path / "file").touch()
    said = graph.Said("lesrcnn", 2, 20.0, 1000.0, "int8", "published", "")
    with pytest.raises(InputError, match="file/a.onnx: cannot be written"):
        export.write_int8(tmp_path / "file/a.onnx", Torch(start(2), 2, CPU), said, patches)


@pytest.mark.parametrize("scale", [2, 3])
def test_the_released_weights_lose_at_most_a_twentieth_of_a_decibel(reference, scale):
    training = reference.parent / "train" / "T91"
    if not training.is_dir():
        pytest.skip("the training pictures are not at hand")
    net, weights = load_network(reference / f"weights/lesrcnn_x{scale}.pth")
    said = export.say(net, weights, scale, "int8")
    small, _ = int8.quantised(export.onnx_of(Torch(net, scale, CPU), said), export.lr_patches(training, scale))
    pictures = test_set.find(reference / "Set5", scale)
    exact, coarse = (
        evaluate(Sampler(one, scale), pictures) for one in (net, graph.Graph(Path("net.onnx"), said, small))
    )
    assert exact.psnr - 0.05 <= coarse.psnr < exact.psnr and exact.ssim - 0.001 <= coarse.ssim
