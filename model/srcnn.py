"""SRCNN, the first convolutional network for super-resolution: it sharpens what bicubic interpolation has enlarged.

Dong, Loy, He, Tang: "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016, arXiv 1501.00092.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .ops import OnLuma

VARIANTS = ("9-1-5", "9-3-5", "9-5-5")  # sizes of the kernels (Section 4.3.2)


class Net(OnLuma):
    """SRCNN (n1 = 64, n2 = 32): patch extraction, non-linear mapping, reconstruction (Section 3.1).

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 8,129 (9-1-5), 24,513 (9-3-5), 57,281 (9-5-5), at every scale.

    Every layer repeats the edge of its input, as the paper's own code does; with zeros instead, its released weights
    lose 3 to 8 dB.

    Args:
        scale: 2, 3 or 4.
        variant: one of :data:`VARIANTS`.

    Raises:
        ValueError: for another scale or variant.
    """

    options = tuple({"variant": variant} for variant in VARIANTS)
    picture_facing = ("conv1", "conv3")
    enlarged_before = True
    # Sections 3.3 and 4.1: sub-images of 33x33, 8 * 10^8 of them passed back; the batch is its code's.
    published = {"patch_size": {2: 17, 3: 11, 4: 8}, "batch_size": 128, "max_steps": 6_250_000, "init": "published"}
    published |= {
        "optimizer": "SGD",
        "loss_fn": "Euclidean",
        "lr": 1e-4,
        "rates": [("conv3", 0.1)],
        "decay_by": 1.0,
        "clip": 0.0,
    }

    def __init__(self, scale: int = 2, multi_scale: bool = False, variant: str = "9-1-5") -> None:
        super().__init__(scale, multi_scale, variant=variant)
        if variant not in VARIANTS:
            raise ValueError(f"there is no SRCNN {variant!r}; there are {', '.join(VARIANTS)}")
        first, second, third = (
            {"kernel_size": size, "padding": size // 2, "padding_mode": "replicate"}
            for size in map(int, variant.split("-"))
        )
        self.conv1 = nn.Conv2d(1, 64, **first)
        self.conv2 = nn.Conv2d(64, 32, **second)
        self.conv3 = nn.Conv2d(32, 1, **third)

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        y = F.relu(self.conv1(y))
        y = F.relu(self.conv2(y))
        return self.conv3(y)

    def hidden(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        return [(self.conv1, self.conv2), (self.conv2, self.conv3)]

    def init_published(self) -> None:
        """Weights from a Gaussian of deviation 0.001, no biases (Section 3.3)."""
        for layer in (self.conv1, self.conv2, self.conv3):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def reach(self, scale: int) -> float:
        return (
            self.bicubic[f"x{scale}"].reach
            + sum(conv.padding[0] for conv in (self.conv1, self.conv2, self.conv3)) / scale
        )
