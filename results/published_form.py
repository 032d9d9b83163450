"""LESRCNN computed as it was published: what our own form is measured against.

float32 in torch's default memory order, the up-sampler run twice, ``relu(up(deep) + up(shallow))``, each layer a
pass of its own, the picture in one piece. The weights and the result (but for rounding) are those of
:class:`model.lesrcnn.Net`.
"""

import torch
from torch import nn
from torch.nn import functional as F

from model.lesrcnn import Net


class PublishedForm(nn.Module):
    """The published forward pass around a network's own layers, which are shared, not copied.

    RGB (N, 3, H, W) in [0, 1] -> RGB (N, 3, scale * H, scale * W).
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, scale: int | None = None) -> torch.Tensor:
        net = self.net
        up = net.rb.up[f"x{scale or net.scale}"]
        deep, shallow = net.ieeb(net.sub_mean(x))
        return net.add_mean(net.irb(F.relu(up(deep) + up(shallow))))
