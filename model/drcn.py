"""DRCN, a deeply-recursive convolutional network: one layer is used sixteen times, and each time makes a picture.

Kim, Lee, Lee: "Deeply-Recursive Convolutional Network for Image Super-Resolution", CVPR 2016, arXiv 1511.04491.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .ops import Criterion, OnLuma

CHANNELS = 256
RECURSIONS = 16
ALPHA = 0.5  # of the loss at first: what the sixteen pictures count; the rest is their mean's


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


class Net(OnLuma):
    """DRCN, the advanced model with recursive supervision and a skip (Section 3.2); its weights do not depend on the
    scale.

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 1,775,121, of which 1,025 are biases and 16 the weights of the mean.

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: train one network on all three scales.

    Raises:
        ValueError: for another scale.
    """

    blind = True
    picture_facing = ("embed1", "reconstruct2")
    enlarged_before = True
    # Section 4.2; patches of 41x41 at HR size are here of whole LR pixels. Ends when the rate is below 1e-6.
    published = {"patch_size": {0: 14, 2: 20, 3: 14, 4: 10}, "batch_size": 64, "init": "published", "optimizer": "SGD"}
    published |= {"momentum": 0.9, "weight_decay": 1e-4, "loss_fn": "MSE", "lr": 1e-2, "decay_by": 0.1}

    def __init__(self, scale: int = 2, multi_scale: bool = False) -> None:
        super().__init__(scale, multi_scale)
        self.embed1, self.embed2 = conv3x3(1, CHANNELS), conv3x3(CHANNELS, CHANNELS)
        self.shared = conv3x3(CHANNELS, CHANNELS)
        self.reconstruct1, self.reconstruct2 = conv3x3(CHANNELS, CHANNELS), conv3x3(CHANNELS, 1)
        self.ensemble = nn.Parameter(torch.full((RECURSIONS,), 1 / RECURSIONS))

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        return self.mean(self.pictures(y))

    def pictures(self, y: torch.Tensor) -> list[torch.Tensor]:
        """Luma that bicubic interpolation has enlarged -> what each recursion makes of it."""
        features = F.relu(self.embed2(F.relu(self.embed1(y))))
        made = []
        for _ in range(RECURSIONS):
            features = F.relu(self.shared(features))
            made.append(y + self.reconstruct2(F.relu(self.reconstruct1(features))))
        return made

    def mean(self, pictures: list[torch.Tensor]) -> torch.Tensor:
        """Their weighted mean (Equation 9)."""
        return sum(weight * picture for weight, picture in zip(self.ensemble, pictures)) / self.ensemble.sum()
