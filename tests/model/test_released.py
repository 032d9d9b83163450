"""The released weights of other networks: found, recognised, and their figures reached (``expected.json``)."""

import json
import os
from dataclasses import replace
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
PROTOCOLS = {"A": "luma", "P": "published", "M": "modern", "L": "double"}  # by the conventions of expected.json
SLOW = {"drrn"}  # networks of which the smallest picture of Set5 is looked at alone, by their paper's protocol
NOT_THE_PAPERS = {"drcn_variant_jiny2001_x2"}  # see model/drcn.py


def files() -> dict[str, dict]:
    """Those of networks that are here."""
    if not (ZOO / "expected.json").exists():
        return {}
    told = json.loads((ZOO / "expected.json").read_text())["files"]
    names = {name for name in told if name.split("_")[0] in model.names()} - NOT_THE_PAPERS
    return {name: told[name] for name in sorted(names)}


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
    slow = name.split("_")[0] in SLOW
    some = [2] if slow else range(5)
    pictures = replace(pictures, items=[pictures.items[i] for i in some])
    for convention, protocol in PROTOCOLS.items():
        expected = told["scales"][str(scale)].get(convention)
        if expected is None or slow and convention != "A":
            continue
        rows = evaluate(Sampler(net, scale), pictures, protocol).rows
        psnr, ssim = ([expected[f"per_picture_{figure}"][i] for i in some] for figure in ("psnr", "ssim"))
        assert [row.psnr for row in rows] == pytest.approx(psnr, abs=1e-3)
        assert [row.ssim for row in rows] == pytest.approx(ssim, abs=1e-4)
