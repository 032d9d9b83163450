"""RDN, a residual dense network: every layer hears all layers before it in its block, and the end hears all blocks.

Zhang, Tian, Kong, Zhong, Fu: "Residual Dense Network for Image Super-Resolution", CVPR 2018, arXiv 1802.08797.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .ops import NONE, Margins, Network, SubPixelUpsampler, centre, conv3x3, trim

_MOST = 1024  # blocks, layers, channels


class RDB(nn.Module):
    """Residual dense block (Section 3.2): C layers of growth G, local feature fusion, local residual learning.

    (N, G0, H, W) -> the same.
    """

    def __init__(self, g0: int, c: int, g: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv3x3(g0 + i * g, g) for i in range(c))
        self.lff = nn.Conv2d(g0 + c * g, g0, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x
        for conv in self.convs:
            features = torch.cat([features, F.relu(conv(features))], dim=1)
        return x + self.lff(features)


class Net(Network):
    """RDN (Section 3.1); its picture is not shifted by a mean.

    Input: RGB (N, 3, H, W) in [0, 1]. Output: RGB (N, 3, scale * H, scale * W), about [0, 1], not clamped. Trainable
    parameters: 22,123,395 (x2), 22,308,035 (x3), 22,271,107 (x4), 22,418,819 (x8).

    Args:
        scale: 2, 3, 4 or 8.
        d: how many blocks.
        c: layers in each.
        g: channels that each layer adds.
        g0: channels from block to block.

    Raises:
        ValueError: for another scale or such options.
    """

    scales = (2, 3, 4, 8)
    picture_facing = ("sfe1", "last")
    # Section 4.1, for one scale: an epoch is 1,000 steps, and the rate is halved every 200.
    published = {"patch_size": 32, "batch_size": 16, "loss_fn": "L1", "lr": 1e-4, "decay": 200_000, "clip": 0.0}

    def __init__(
        self, scale: int = 2, multi_scale: bool = False, d: int = 16, c: int = 8, g: int = 64, g0: int = 64
    ) -> None:
        super().__init__(scale, multi_scale, d=d, c=c, g=g, g0=g0)
        if not _possible(d, c, g, g0):
            raise ValueError(f"d, c and g are from 1, g0 from 3, all to {_MOST}; not {d}, {c}, {g} and {g0}")
        self.sfe1 = conv3x3(3, g0)  # shallow feature extraction
        self.sfe2 = conv3x3(g0, g0)
        self.rdbs = nn.ModuleList(RDB(g0, c, g) for _ in range(d))
        self.gff1 = nn.Conv2d(d * g0, g0, kernel_size=1)  # global feature fusion
        self.gff3 = conv3x3(g0, g0)
        self.up = SubPixelUpsampler(scale, g0)
        self.last = conv3x3(g0, 3)

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`model.ops.Network`."""
        scale = self.chosen(scale)
        shallow = self.sfe1(x)
        outputs, features = [], self.sfe2(shallow)
        for rdb in self.rdbs:
            features = rdb(features)
            outputs.append(features)
        features = shallow + self.gff3(self.gff1(torch.cat(outputs, dim=1)))  # global residual learning
        return trim(self.last(self.up(features)), margins, scale)

    def reach(self, scale: int) -> float:
        layers = sum(len(rdb.convs) for rdb in self.rdbs)
        return 2 + layers + 1 + SubPixelUpsampler.reach(scale) + 1 / scale

    @torch.no_grad()
    def init_identity(self) -> None:
        """Start as a bilinear enlarger, as LESRCNN's ``init_identity`` does, and for its reason."""
        self.sfe1.weight[:3] = centre(torch.eye(3))
        nn.init.zeros_(self.sfe1.bias)
        self.gff3.weight *= 0.1
        self.up.init_bilinear(carried=3)
        self.last.weight *= 0.1
        self.last.weight[:, :3] = centre(torch.eye(3))
        for layer in (self.gff3, self.last):
            nn.init.zeros_(layer.bias)

    def released_names(self) -> dict[str, str]:
        """The names of the common ports (``SFENet1``, ``RDBs.0.convs.0.conv.0``, ``UPNet.0``, ...)."""
        table = {"sfe1": "SFENet1", "sfe2": "SFENet2", "gff1": "GFF.0", "gff3": "GFF.1"}
        for i, rdb in enumerate(self.rdbs):
            table |= {f"rdbs.{i}.convs.{j}": f"RDBs.{i}.convs.{j}.conv.0" for j in range(len(rdb.convs))}
            table[f"rdbs.{i}.lff"] = f"RDBs.{i}.LFF"
        stages = len(self.up.stages)
        table |= {f"up.stages.{j}": f"UPNet.{2 * j}" for j in range(stages)}
        return self.by_layer(table | {"last": f"UPNet.{2 * stages}"})

    @classmethod
    def options_of(cls, shapes: list[torch.Size]) -> Iterator[dict[str, Any]]:
        ones = [s for s in shapes if s[2:] == (1, 1)]  # each block's fusion, and the global one
        d = len(ones) - 1
        if d < 1:
            return
        g0 = ones[0][0]
        later = [s for s in shapes if s[2:] == (3, 3) and s[1] > g0]  # layers of blocks, but for their first
        for g in {s[0] for s in later} or {s[1] - g0 for s in ones}:
            c = 1 + len(later) // d
            if _possible(d, c, g, g0) and ones.count((g0, g0 + c * g, 1, 1)) >= d:
                yield {"d": d, "c": c, "g": g, "g0": g0}


def _possible(d: int, c: int, g: int, g0: int) -> bool:
    return all(0 < number <= _MOST for number in (d, c, g)) and 3 <= g0 <= _MOST
