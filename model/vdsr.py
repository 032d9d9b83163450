"""VDSR, a very deep network: twenty layers learn what bicubic enlargement lacks, for all scales in one network.

Kim, Lee, Lee: "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016, arXiv 1511.04587.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .ops import OnLuma

LAYERS, CHANNELS = 20, 64


class Net(OnLuma):
    """VDSR (Section 3.1); its weights do not depend on the scale.

    Input: RGB (N, 3, H, W) in [0, 1], of which it enlarges luma. Output: RGB (N, 3, scale * H, scale * W), about
    [0, 1], not clamped. Trainable parameters: 665,921.

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: train one network on all three scales, as the paper does.

    Raises:
        ValueError: for another scale.
    """

    blind = True
    picture_facing = ("conv1", f"conv{LAYERS}")
    enlarged_before = True
    # Section 4.2: 80 epochs are 9,960 steps, and the rate falls every 20. Patches of 41x41 at HR size are here of whole
    # LR pixels. The bound of clipping is not told: here a gradient moves no weight by more.
    published = {"patch_size": {0: 14, 2: 20, 3: 14, 4: 10}, "batch_size": 64, "max_steps": 9960, "init": "published"}
    published |= {"optimizer": "SGD", "momentum": 0.9, "weight_decay": 1e-4, "loss_fn": "Euclidean", "clip_by": "rate"}
    published |= {"scales": [1.0, 0.7, 0.5], "lr": 0.1, "decay": 2490, "decay_by": 0.1, "clip": 1e-4}

    def __init__(self, scale: int = 2, multi_scale: bool = False) -> None:
        super().__init__(scale, multi_scale)
        sizes = [1, *[CHANNELS] * (LAYERS - 1), 1]
        for number, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]), start=1):
            self.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, kernel_size=3, padding=1))

    @property
    def layers(self) -> list[nn.Conv2d]:
        """From the first to the last."""
        return [self.get_submodule(f"conv{number}") for number in range(1, LAYERS + 1)]

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        *hidden, last = self.layers
        x = y
        for conv in hidden:
            x = F.relu(conv(x))
        return y + last(x)

    def hidden(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        return list(zip(self.layers, self.layers[1:]))

    def init_published(self) -> None:
        """He et al.'s start for layers that are rectified (ICCV 2015), no biases."""
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)

    def init_identity(self) -> None:
        """Start as bicubic interpolation, with layers that let a picture through: torch's own start fades it away."""
        self.init_published()
        nn.init.zeros_(self.layers[-1].weight)

    def reach(self, scale: int) -> float:
        return self.bicubic[f"x{scale}"].reach + LAYERS / scale
