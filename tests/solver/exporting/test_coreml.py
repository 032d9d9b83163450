"""Networks as Core ML's packages: what they say, and what they compute, found without Core ML, which needs macOS."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mil import predict, program
from networks import SOME, label, lively
from PIL import Image

import model
from dataset import images
from dataset.errors import InputError
from solver import graph
from solver.exporting import coreml
from solver.sampling.backends.torch import Torch

tools = pytest.importorskip("coremltools")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seeded():
    """The same weights in each run."""
    torch.manual_seed(0)


@pytest.fixture
def written(tmp_path):
    """Write a network as a package; returns its path."""

    def write(net, scale, precision="fp32"):
        said = graph.Said("lesrcnn", scale, 20.5, 1000.0, precision, "published", "abc")
        path = tmp_path / f"net_{precision}.mlpackage"
        assert coreml.write(path, Torch(net.eval(), scale, CPU), said) is None
        return path

    return write


def expected(net, scale, rgb):
    with torch.inference_mode():
        return images.quantise(net(images.to_tensor(rgb), scale), rounding="round").numpy().astype(int)


@pytest.fixture
def linux(monkeypatch):
    """Where Core ML does not compute."""
    monkeypatch.setattr("platform.system", lambda: "Linux")


@pytest.mark.parametrize("name, configuration", SOME, ids=label)
def test_every_network_makes_the_same_pictures(name, configuration, written, picture, linux):
    net = lively(model.build(name, **configuration))
    path = written(net, net.scales[-1])
    for size in ((1, 1), (17, 9)):
        rgb = picture(*size)
        made = predict(path, rgb)
        assert np.array_equal(made, made.round())
        apart = np.abs(made - expected(net, net.scales[-1], rgb))
        assert apart.max() <= 1 and apart.mean() < 0.01  # a half may be rounded either way
    assert made.std() > 2


def test_pictures_go_in_and_come_out(written, linux):
    spec = tools.utils.load_spec(str(written(model.build("lesrcnn", 4), 4)))
    [given], [made] = spec.description.input, spec.description.output
    assert (given.name, made.name) == ("input", "output")
    for end in (given.type.imageType, made.type.imageType):
        assert end.ColorSpace.Name(end.colorSpace) == "RGB"
    sizes = given.type.imageType.imageSizeRange
    ends = [(side.lowerBound, side.upperBound) for side in (sizes.heightRange, sizes.widthRange)]
    assert ends == [(1, 4096)] * 2 and made.type.imageType.imageSizeRange.widthRange.upperBound == -1  # any
    told = graph.Said.of_texts(spec.description.metadata.userDefined)
    assert told == graph.Said("lesrcnn", 4, 20.5, 1000.0, "fp32", "published", "abc")


def test_it_has_the_weights_and_lesrcnn_s_operations(written, linux):
    net = model.build("lesrcnn", 3)
    operations = program(written(net, 3)).operations
    kinds = {each.op_type for each in operations}
    assert kinds == {"const", "conv", "relu", "add", "mul", "pixel_shuffle", "clip", "round"}
    made = [each.inputs["weight"].val.sum(dtype=float) for each in operations if each.op_type == "conv"]
    sums = [weight.double().sum().item() for weight in net.parameters() if weight.ndim == 4]
    sums[-1] *= 255  # grey levels come out
    assert sorted(made) == pytest.approx(sorted(sums), rel=1e-4, abs=1e-4)


def test_fp16_is_half_the_package_and_as_good(written, picture, linux):
    net, rgb = model.build("lesrcnn", 2), picture(20, 24)
    net.init_identity()
    paths = [written(net, 2, precision) for precision in ("fp32", "fp16")]
    sizes = [sum(file.stat().st_size for file in path.rglob("*.bin")) for path in paths]
    assert sizes[1] < 0.55 * sizes[0]
    assert np.abs(predict(paths[1], rgb) - expected(net, 2, rgb)).max() <= 1


def test_where_core_ml_computes_it_is_compared(tmp_path, monkeypatch):
    """On macOS; here by a stand-in for Core ML."""
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    net = model.build("espcn", 2).eval()
    said = graph.Said("espcn", 2, 4.0, 1000.0, "fp32", "luma", "")
    wrong = 0

    def computed(self, given):
        made = predict(Path(self.package_path), np.array(given["input"]))
        return {"output": Image.fromarray(np.uint8(np.clip(made + wrong, 0, 255)))}

    monkeypatch.setattr(tools.models.MLModel, "predict", computed)
    assert coreml.write(tmp_path / "a.mlpackage", Torch(net, 2, CPU), said) <= 1 / 255
    wrong = 3
    with pytest.raises(InputError, match="b.mlpackage: Core ML makes results that are [34] grey levels away"):
        coreml.write(tmp_path / "b.mlpackage", Torch(net, 2, CPU), said)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mlpackage"]


class Strange(torch.nn.Module):
    """A network of one operation that Core ML does not know."""

    def forward(self, x):
        return torch.linalg.eigvals(x[..., :12]).real


def test_what_coremltools_cannot_convert_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(coreml, "plain", lambda net: Strange())
    said = graph.Said("espcn", 2, 4.0, 1000.0, "fp32", "luma", "")
    with pytest.raises(InputError, match="a.mlpackage: coremltools cannot convert the network: ") as caught:
        coreml.write(tmp_path / "a.mlpackage", Torch(model.build("espcn", 2), 2, CPU), said)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
