"""Targets from a trained network, which are less noisy than pictures.

What a picture holds and its LR version does not tell is noise to training: it makes most of the gradient, and the
weights wander in it. A network's mean over the eight flips and turns of its input (Timofte et al. 2016, "Seven ways
to improve example-based single image super resolution") has little of this noise and is nearer to the picture than
the network itself, so it can be taught to be like that (distillation, Hinton et al. 2015; over transformed inputs,
Radosavovic et al. 2018, "Data distillation").
"""

from pathlib import Path

import torch

from dataset.errors import InputError

from .checkpoint import load_network
from .sampler import VIEWS


class Teacher:
    """A trained network, of which a student learns what its mean over the flips and turns would be.

    Each step shows it the patches flipped and turned in another of the eight ways: over eight steps this is the mean,
    at an eighth of the work.

    Args:
        path: its weights.
        name: the network that it must be.
        scale: the scale that is taught, or 0 for those of a blind network.
        share: of the target, between 0 and 1; the rest is the picture.
        device: where the patches are.

    Raises:
        InputError: if the file cannot be read, or is of another network or for another scale.
    """

    def __init__(self, path: Path, name: str, scale: int, share: float, device: torch.device) -> None:
        net, info = load_network(path, name, scale or None)
        if scale == 0 and not info.multi_scale:
            raise InputError(f"--teacher {path}: teaches x{net.scale} only, and a blind network learns all scales")
        self.net = net.requires_grad_(False).to(device, memory_format=torch.channels_last)
        self.share = share
        self.sha256 = info.sha256

    @torch.no_grad()
    def target(self, lr: torch.Tensor, hr: torch.Tensor, scale: int, step: int) -> torch.Tensor:
        """What the student is to make of patches.

        Args:
            lr: (N, 3, p, p) in [0, 1].
            hr: (N, 3, scale * p, scale * p) in [0, 1].
            scale: the factor between the two.
            step: the training's, which tells the way.

        Returns:
            (N, 3, scale * p, scale * p) in [0, 1].
        """
        turned, flips = VIEWS[step % len(VIEWS)]
        view = lr.flip(flips)
        sr = self.net(view.mT if turned else view, scale).float().clamp(0, 1)
        return torch.lerp(hr, (sr.mT if turned else sr).flip(flips), self.share)
