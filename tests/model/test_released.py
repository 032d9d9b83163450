"""The released weights of other networks: found, recognised, and their figures reached (``expected.json``)."""

import json
import os
from pathlib import Path

import pytest
import torch
from networks import formula_picture, weighted_sum

import model
from dataset import test_set
from model.ops import OnLuma
from solver.checkpoint import load_network
from solver.measuring.evaluate import evaluate
from solver.sampling.sampler import Sampler

REFERENCE = os.environ.get("LESRCNN_REFERENCE")
ZOO = Path(REFERENCE or "") / "zoo"
PROTOCOLS = {"A": "luma", "P": "published"}  # by the conventions of expected.json


def files() -> dict[str, dict]:
    """Those of networks that are here."""
    if not (ZOO / "expected.json").exists():
        return {}
    told = json.loads((ZOO / "expected.json").read_text())["files"]
    return {name: one for name, one in told.items() if name.split("_")[0] in model.names()}


CASES = [(name, scale) for name, told in files().items() for scale in map(int, told["scales"])]
pytestmark = pytest.mark.skipif(not CASES, reason="LESRCNN_REFERENCE is not set")
every = pytest.mark.parametrize("name, scale", CASES or [("none", 2)])


def loaded(name, scale):
    told = files()[name]
    return load_network(ZOO / told["file"], name.split("_")[0], scale)[0], told


@every
def test_its_parameters_and_its_output_for_a_formula(name, scale):
    net, told = loaded(name, scale)
    assert sum(p.numel() for p in net.parameters()) == told["parameters"]
    x = formula_picture()
    with torch.no_grad():
        net = net.double()
        output = net.enlarge(x[:, :1], scale) if isinstance(net, OnLuma) else net(x, scale)
    expected = told["scales"][str(scale)]["tensor_test_float64"]
    assert list(output[0].shape) == expected["output_shape"]
    assert output.sum().item() == pytest.approx(expected["sum"], rel=1e-9)
    assert weighted_sum(output) == pytest.approx(expected["weighted_sum"], rel=1e-9)


@every
def test_its_figures_on_set5_picture_by_picture(name, scale):
    net, told = loaded(name, scale)
    pictures = test_set.find(Path(REFERENCE) / "Set5", scale)
    for convention, protocol in PROTOCOLS.items():
        expected = told["scales"][str(scale)].get(convention)
        if expected is None:
            continue
        rows = evaluate(Sampler(net, scale), pictures, protocol).rows
        assert [row.psnr for row in rows] == pytest.approx(expected["per_picture_psnr"], abs=1e-3)
        assert [row.ssim for row in rows] == pytest.approx(expected["per_picture_ssim"], abs=1e-4)
