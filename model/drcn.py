"""DRCN, a deeply-recursive convolutional network: one layer is used sixteen times, and each time makes a picture.

Kim, Lee, Lee: "Deeply-Recursive Convolutional Network for Image Super-Resolution", CVPR 2016, arXiv 1511.04491.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .ops import Criterion, OnLuma, centre, conv3x3

ALPHA = 0.5  # what the single pictures count in the loss; the rest is the ensemble's
_MOST = 1024  # channels, and recursions


class Net(OnLuma):
    """DRCN with recursive supervision and a skip (Section 3.2); its weights do not depend on the scale.

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 1,775,121, of which 1,025 are biases and 16 the ensemble's weights.

    jiny2001's weights, the only ones that are around, are of another network: its reconstruction hears the input
    instead of adding it, and is rectified. They do not load.

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: train one network on all three scales.
        channels: of the features.
        recursions: how often the shared layer is used.

    Raises:
        ValueError: for another scale or such options.
    """

    blind = True
    picture_facing = ("embed1", "reconstruct2")
    enlarged_before = True
    # Section 4.2, from memory. Patches of 41x41 at HR size are here of whole LR pixels. The rate falls when five epochs
    # have not made validation better, and below 1e-6 the training ends; how many steps that takes is not told. Without
    # clipping, this start and this rate diverge at the second step; so it is VDSR's, of the same authors.
    published = {"patch_size": {0: 14, 2: 20, 3: 14, 4: 10}, "batch_size": 64, "init": "published", "optimizer": "SGD"}
    published |= {"momentum": 0.9, "weight_decay": 1e-4, "loss_fn": "Euclidean", "clip_by": "rate", "clip": 1e-4}
    published |= {"lr": 1e-2, "decay_by": 0.1}

    def __init__(self, scale: int = 2, multi_scale: bool = False, channels: int = 256, recursions: int = 16) -> None:
        super().__init__(scale, multi_scale, channels=channels, recursions=recursions)
        if not (0 < channels <= _MOST and 0 < recursions <= _MOST):
            raise ValueError(f"channels and recursions are from 1 to {_MOST}, not {channels} and {recursions}")
        self.embed1, self.embed2 = conv3x3(1, channels), conv3x3(channels, channels)
        self.shared = conv3x3(channels, channels)
        self.reconstruct1, self.reconstruct2 = conv3x3(channels, channels), conv3x3(channels, 1)
        self.ensemble = nn.Parameter(torch.full((recursions,), 1 / recursions))

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        return self.together(self.pictures(y))

    def pictures(self, y: torch.Tensor) -> list[torch.Tensor]:
        """Luma that bicubic interpolation has enlarged -> what each recursion makes of it."""
        features = F.relu(self.embed2(F.relu(self.embed1(y))))
        made = []
        for _ in range(self.configuration["recursions"]):
            features = F.relu(self.shared(features))
            made.append(y + self.reconstruct2(F.relu(self.reconstruct1(features))))
        return made

    def together(self, pictures: list[torch.Tensor]) -> torch.Tensor:
        """The ensemble: the sum of all pictures, each times its weight, which is learned."""
        return sum(self.ensemble[i] * picture for i, picture in enumerate(pictures))

    def loss(self, criterion: Criterion, lr: torch.Tensor, hr: torch.Tensor, scale: int) -> torch.Tensor:
        """The criterion's mean over the pictures and that of the ensemble, weighed by :data:`ALPHA`.

        The paper begins with a large share of the former and lets it fall, it does not tell how. Here it stays.
        """
        y, target = self.luma_pair(lr, hr, scale)
        pictures = self.pictures(y)
        single = sum(self.beside(criterion, picture, target) for picture in pictures) / len(pictures)
        return ALPHA * single + (1 - ALPHA) * self.beside(criterion, self.together(pictures), target)

    def init_identity(self) -> None:
        """Start as bicubic interpolation, with layers that let a picture through, as VDSR's does."""
        self.init_published()
        nn.init.zeros_(self.reconstruct2.weight)

    @torch.no_grad()
    def init_published(self) -> None:
        """He et al.'s start (ICCV 2015), no biases; the shared layer at first changes nothing (Section 4.2)."""
        for layer in (self.embed1, self.embed2, self.shared, self.reconstruct1, self.reconstruct2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.shared.weight.copy_(centre(torch.eye(len(self.shared.weight))))

    def reach(self, scale: int) -> float:
        layers = 2 + self.configuration["recursions"] + 2
        return self.bicubic[f"x{scale}"].reach + layers / scale

    @classmethod
    def options_of(cls, shapes: list[torch.Size]) -> Iterator[dict[str, Any]]:
        first = [s[0] for s in shapes if s[1:] == (1, 3, 3)]
        for recursions in {s[0] for s in shapes if len(s) == 1} if len(first) == 1 else ():
            if 0 < first[0] <= _MOST and 0 < recursions <= _MOST:
                yield {"channels": first[0], "recursions": recursions}
