"""Trainable parameters and multiply-adds, as the papers or their authors' code have them, to the last digit."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import model

COUNTS = [
    ("cfsrcnn", {}, {2: 1_310_336, 3: 1_494_976, 4: 1_458_048, 0: 1_938_112}),
    ("srcnn", {"variant": "9-1-5"}, {2: 8_129}),
    ("srcnn", {"variant": "9-3-5"}, {2: 24_513}),
    ("srcnn", {"variant": "9-5-5"}, {2: 57_281}),
    ("fsrcnn", {}, {2: 12_644, 3: 12_644, 4: 12_644}),
    ("fsrcnn", {"slopes": "channel", "edge": "zeros"}, {2: 12_809}),
    ("espcn", {}, {2: 21_284, 3: 22_729, 4: 24_752}),
    ("vdsr", {}, {2: 665_921, 0: 665_921}),
    ("drcn", {}, {2: 1_775_105 + 16, 0: 1_775_105 + 16}),
    ("drrn", {"u": 9}, {2: 297_216}),
    ("drrn", {"u": 25}, {3: 297_216, 0: 297_216}),
    ("lapsrn", {}, {2: 407_441, 4: 814_242, 8: 667_123}),
    ("rdn", {}, {2: 22_123_395, 3: 22_308_035, 4: 22_271_107, 8: 22_418_819}),
    ("rcan", {}, {2: 15_444_643, 3: 15_629_283, 4: 15_592_355, 8: 15_740_067}),
    ("wdsr", {"variant": "A"}, {2: 1_190_100, 3: 1_195_605, 4: 1_203_312}),
    ("wdsr", {"variant": "B"}, {2: 303_604, 3: 309_109, 4: 316_816}),
    ("carn", {}, {2: 964_163, 3: 1_148_803, 4: 1_111_875, 0: 1_591_939}),
    ("carn", {"variant": "M"}, {2: 257_027, 3: 303_427, 4: 294_147, 0: 414_787}),
    ("edsr", {}, {2: 1_369_859, 3: 1_554_499, 4: 1_517_571}),
]


@pytest.mark.parametrize("name, options, counts", COUNTS, ids=lambda value: value if isinstance(value, str) else None)
def test_trainable_parameters(name, options, counts):
    for scale, count in counts.items():
        with torch.device("meta"):
            net = model.build(name, scale or 2, multi_scale=scale == 0, **options)
        assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("scale, count", [(2, 1_868_224), (3, 2_982_784), (4, 4_690_624)])
def test_cfsrcnns_multiply_adds_for_a_pixel_of_lr(scale, count):
    with torch.device("meta"):
        net, x = model.build("cfsrcnn", scale), torch.empty(1, 3, 7, 5)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    assert counter.get_total_flops() == 2 * count * 7 * 5
