"""LESRCNN computed and fed as it was published: what our own forms are measured against."""

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from model.lesrcnn import Net


class PublishedForm(nn.Module):
    """The published forward pass around a network's own layers, which are shared, not copied.

    float32 in torch's default memory order, the up-sampler run twice, ``relu(up(deep) + up(shallow))``, each layer a
    pass of its own, the picture in one piece. The result (but for rounding) is that of :class:`model.lesrcnn.Net`.

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


def published_batches(path: Path, scale: int, patch: int, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """LR and HR batches as the published loop reads them, float (N, 3, side, side) in [0, 1], without end.

    The whole file is in memory as arrays, and every patch is cut, flipped and turned into a tensor by itself with
    torchvision's ``ToTensor``, in the main process.
    """
    import h5py
    import numpy as np
    from torchvision.transforms import ToTensor

    with h5py.File(path) as file:
        pairs = [(file[f"X{scale}"][name][:], file["HR"][name][:]) for name in file["HR"]]
    pairs = [(lr, hr) for lr, hr in pairs if min(lr.shape[:2]) >= patch]
    to_tensor = ToTensor()

    def cut() -> list[torch.Tensor]:
        lr, hr = random.choice(pairs)
        y, x = (random.randrange(n - patch + 1) for n in lr.shape[:2])
        lr = lr[y : y + patch, x : x + patch]
        hr = hr[scale * y : scale * (y + patch), scale * x : scale * (x + patch)]
        turns, flip = random.randrange(4), random.random() < 0.5
        return [to_tensor(np.rot90(p[:, ::-1] if flip else p, turns).copy()) for p in (lr, hr)]

    while True:
        lr, hr = (torch.stack(patches) for patches in zip(*(cut() for _ in range(batch))))
        yield lr, hr
