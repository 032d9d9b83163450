"""What networks share: how they are given a scale, the mean shift and the sub-pixel up-sampler."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

# Mean of the DIV2K training pictures, RGB in [0, 1], as the released LESRCNN weights carry it.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)

SCALES = (2, 3, 4)

Margins = tuple[int, int, int, int]  # pixels at the top, bottom, left and right


def trim(x: torch.Tensor, margins: Margins) -> torch.Tensor:
    """(N, C, H, W) without so many pixels at its top, bottom, left and right: a view."""
    if not any(margins):
        return x
    top, bottom, left, right = margins
    return x[:, :, top : -bottom or None, left : -right or None]


class ScaledNet(nn.Module):
    """A network that enlarges by one scale, or a blind one that enlarges by all of :data:`SCALES`.

    Args:
        scale: 2, 3 or 4; of a blind network, the scale used when a call names none.
        multi_scale: one network for all three scales.

    Raises:
        ValueError: for another scale.
    """

    # The constructor's arguments for each network of the class that has weights of another shape.
    configurations: ClassVar[tuple[dict[str, Any], ...]] = (
        {"scale": 2, "multi_scale": True},
        *({"scale": scale, "multi_scale": False} for scale in SCALES),
    )

    def __init__(self, scale: int, multi_scale: bool) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"this network enlarges by 2, 3 or 4, not by {scale}")
        self.scale = scale
        self.multi_scale = multi_scale
        self.scales = SCALES if multi_scale else (scale,)

    def chosen(self, scale: int | None) -> int:
        """The scale of a call that asks for ``scale``, or for none.

        Raises:
            ValueError: if the network does not have it.
        """
        scale = self.scale if scale is None else scale
        if scale not in self.scales:
            raise ValueError(f"this network enlarges by {', '.join(map(str, self.scales))}, not by {scale}")
        return scale

    @classmethod
    def recognise(cls, shapes: Mapping[str, torch.Size]) -> dict[str, Any] | None:
        """Constructor arguments of the network that a state dict of this shape belongs to.

        Args:
            shapes: parameter name -> shape, in any names that the network knows.

        Returns:
            ``{"scale": ..., "multi_scale": ..., ...}`` or None if it is no network of this class.
        """
        for configuration in cls.configurations:
            with torch.device("meta"):
                net = cls(**configuration)
            if net.fits(shapes):
                return dict(configuration)
        return None

    def fits(self, shapes: Mapping[str, torch.Size]) -> bool:
        """Whether a state dict of this shape is one of this network."""
        return shapes == {name: p.shape for name, p in self.state_dict().items()}


class MeanShift(nn.Module):
    """Add ``sign`` times the DIV2K mean to an RGB batch (N, 3, H, W) in [0, 1].

    The shift is a constant, not a parameter: it is neither trained nor stored with the weights.

    Args:
        sign: -1 to subtract the mean (first layer), +1 to add it back (last layer).
    """

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.sign = sign
        # Multiplied in Python: on torch's meta device a product of tensors would import its compiler (seconds, 160 MB).
        shift = torch.tensor([sign * mean for mean in DIV2K_MEAN])
        self.register_buffer("shift", shift.view(1, 3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.shift

    def extra_repr(self) -> str:
        return f"sign={self.sign:+d}, mean={DIV2K_MEAN}"


class SubPixelUpsampler(nn.Module):
    """Enlarge features by ``scale``: 3x3 convolution and pixel shuffle (Shi et al., CVPR 2016).

    (N, channels, H, W) -> (N, channels, scale * H, scale * W). x2 and x3 are one stage, x4 is the
    x2 stage twice. There is no activation inside, so the whole up-sampler is an affine map.

    Args:
        scale: 2, 3 or 4.
        channels: feature channels, the same before and after.

    Raises:
        ValueError: for another scale.
    """

    def __init__(self, scale: int, channels: int = 64) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"the sub-pixel up-sampler enlarges by 2, 3 or 4, not by {scale}")
        factors = (2, 2) if scale == 4 else (scale,)
        self.factors = factors
        self.stages = nn.ModuleList(nn.Conv2d(channels, channels * r * r, kernel_size=3, padding=1) for r in factors)

    def forward(self, x: torch.Tensor, inputs: int = 1) -> torch.Tensor:
        """Return ``up(x)``, or, of a sum of several inputs, the sum of their up-sampled versions.

        The map is affine, so ``up(a) + up(b)`` is ``up`` of ``a + b`` with each bias counted
        twice: ``up(a) + up(b) == forward(a + b, inputs=2)``, in one pass instead of two.

        Args:
            x: (N, C, H, W), the sum of ``inputs`` feature maps.
            inputs: how many feature maps were summed.
        """
        for conv, r in zip(self.stages, self.factors):
            bias = conv.bias if inputs == 1 else inputs * conv.bias
            x = F.pixel_shuffle(F.conv2d(x, conv.weight, bias, padding=1), r)
        return x
