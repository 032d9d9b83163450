"""LapSRN, a Laplacian pyramid network: each level doubles the features and the picture, and adds what it finds to it.

Lai, Huang, Ahuja, Yang: "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution", CVPR 2017, arXiv
1704.03915.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .ops import Criterion, OnLuma

CHANNELS = 64
SLOPE = 0.2  # of the leaky rectifiers


def leaky(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, SLOPE)


class Level(nn.Module):
    """One level of the pyramid (Section 3.1): features (N, 64, H, W), picture (N, 1, H, W) -> both twice as large.

    Args:
        depth: layers before the features are enlarged.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(depth))
        self.upconv = nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, stride=2)
        self.residual = nn.Conv2d(CHANNELS, 1, 3, padding=1)
        self.image_up = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1, bias=False)

    def forward(self, features: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = y.shape[2:]
        for conv in self.convs:
            features = leaky(conv(features))
        features = leaky(self.upconv(features)[:, :, : 2 * height, : 2 * width])
        return features, self.image_up(y) + self.residual(features)


class Net(OnLuma):
    """LapSRN (Section 3.1).

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 407,441 (x2), 814,242 (x4), 667,123 (x8, of half the depth).

    Features are enlarged by 3x3 deconvolutions without the last row and column, as in the authors' release.

    Args:
        scale: 2, 4 or 8.

    Raises:
        ValueError: for another scale.
    """

    scales = (2, 4, 8)
    picture_facing = ("input", "levels.0.image_up", "levels.0.residual")
    # Sections 3.3 and 4.1, from memory, and the authors' code: patches of 128x128 at HR size, each level's loss summed
    # over pixels, the rate halved every 50 epochs of 1,000 steps. Where biases learn as fast as weights, it diverges.
    published = {"patch_size": {2: 64, 4: 32, 8: 16}, "batch_size": 64, "init": "published", "optimizer": "SGD"}
    published |= {"momentum": 0.9, "weight_decay": 1e-4, "loss_fn": "CharbonnierSum", "lr": 1e-5, "decay": 50_000}
    published |= {"rates": [("bias", 0.1)], "clip": 0.0}

    def __init__(self, scale: int = 2, multi_scale: bool = False) -> None:
        super().__init__(scale, multi_scale)
        count = int(math.log2(scale))
        self.input = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.levels = nn.ModuleList(Level(5 if scale == 8 else 10) for _ in range(count))
        self.picture_facing = (
            "input",
            *(f"levels.{i}.{part}" for i in range(count) for part in ("image_up", "residual")),
        )

    @torch.no_grad()
    def init_published(self) -> None:
        """He et al.'s start (ICCV 2015), no biases, and pictures enlarged bilinearly (Section 4.1).

        The first layer is from a Gaussian of deviation 0.001, as in their code: with He's, training diverges within
        five steps.
        """
        taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
        for name, parameter in self.named_parameters():
            if name.endswith("image_up.weight"):
                parameter[0, 0] = torch.outer(taps, taps)
            elif name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)
        nn.init.normal_(self.input.weight, std=1e-3)

    def init_identity(self) -> None:
        """Start as a bilinear enlarger, with layers that let a picture through."""
        self.init_published()
        nn.init.kaiming_normal_(self.input.weight, nonlinearity="relu")
        for level in self.levels:
            nn.init.zeros_(level.residual.weight)

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        return self.pyramid(y)[-1]

    def pyramid(self, y: torch.Tensor) -> list[torch.Tensor]:
        """Luma (N, 1, H, W) -> luma twice as large, four times, ...: what each level has made."""
        features, pictures = leaky(self.input(y)), []
        for level in self.levels:
            features, y = level(features, y)
            pictures.append(y)
        return pictures

    def loss(self, criterion: Criterion, lr: torch.Tensor, hr: torch.Tensor, scale: int) -> torch.Tensor:
        """The sum of the criterion over the levels (Equation 2), each beside HR shrunk to its size by bicubic."""
        y, target = self.luma_pair(lr, hr, scale)
        made = self.pyramid(y)
        targets = [F.interpolate(target, y.shape[2:], mode="bicubic", antialias=True) for y in made[:-1]]
        return sum(self.beside(criterion, y, t) for y, t in zip(made, [*targets, target], strict=True))

    def reach(self, scale: int) -> float:
        reach, grid = 1.0, 1
        for level in self.levels:
            reach, grid = reach + (len(level.convs) + 0.75) / grid, 2 * grid
        return reach + 1 / grid

    def released_names(self) -> dict[str, str]:
        """Those of the authors' code, whose last level has the number 1 (``level1_conv1``, ``level1_upconv``)."""
        table = {"input": "input_conv"}
        for i, level in enumerate(self.levels):
            own, theirs = f"levels.{i}", f"level{len(self.levels) - i}"
            table |= {f"{own}.convs.{j}": f"{theirs}_conv{j + 1}" for j in range(len(level.convs))}
            table |= {f"{own}.upconv": f"{theirs}_upconv", f"{own}.residual": f"{theirs}_residual_conv"}
            table[f"{own}.image_up"] = f"{theirs}_img_up"
        return self.by_layer(table)
