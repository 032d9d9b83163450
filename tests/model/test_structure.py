"""Networks whose released weights are out of reach: weights by a formula, and what the authors' code makes of them.

``structure_tests.json`` tells the formula, and the sums of the outputs.
"""

import json
import math
import os
import re
import zlib
from pathlib import Path

import pytest
import torch
from networks import formula_picture, weighted_sum

import model

FILE = Path(os.environ.get("LESRCNN_REFERENCE") or "") / "zoo" / "structure_tests.json"
TESTS = json.loads(FILE.read_text())["tests"] if FILE.exists() else {}
pytestmark = pytest.mark.skipif(not TESTS, reason="LESRCNN_REFERENCE is not set")

OPTIONS = {
    "edsr_small": {"channels": 8, "blocks": 2},
    "rcan_small": {"groups": 2, "blocks": 3, "channels": 16, "reduction": 4},
    "rdn_small": {"d": 3, "c": 4, "g": 8, "g0": 8},
    "wdsr_a_small": {"variant": "A", "channels": 20, "blocks": 3},
    "wdsr_a_n32_b16": {"variant": "A"},
    "wdsr_b_small": {"variant": "B", "channels": 20, "blocks": 3},
    "wdsr_b_n32_b16": {"variant": "B"},
}


def by_formula(name: str, shape: torch.Size, gain: float) -> torch.Tensor:
    """The weights that the tensor of this name has."""
    k = torch.arange(shape.numel())
    phase = zlib.crc32(name.encode()) % 1000
    values = ((k * k * 31 + k * 7919 + phase * 104729) % 2003).double() / 1001 - 1
    amplitude = gain * math.sqrt(6 / shape[1:].numel()) if len(shape) > 1 else 0.05
    return (amplitude * values).view(shape)


@pytest.mark.parametrize("test", TESTS)
def test_weights_by_a_formula_make_what_the_authors_code_makes_of_them(test):
    expected = TESTS[test]
    size, scale = re.fullmatch(r"(.+)_x(\d)", test).groups()
    net = model.build(test.split("_")[0], int(scale), "multi" in test, **OPTIONS.get(size, {}))
    assert sum(p.numel() for p in net.parameters()) == expected["parameters"]
    names = net.released_names() or next(iter(net.other_names()))
    own = net.state_dict()
    state = {theirs: by_formula(theirs, own[name].shape, expected["gain"]) for name, theirs in names.items()}
    net.double().load_state_dict(net.translated(state))
    with torch.no_grad():
        output = net(formula_picture(), int(scale))
    assert list(output[0].shape) == expected["output_shape"]
    assert output.sum().item() == pytest.approx(expected["sum"], rel=1e-9)
    assert weighted_sum(output) == pytest.approx(expected["weighted_sum"], rel=1e-9)
