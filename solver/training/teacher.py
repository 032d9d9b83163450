"""Targets from trained networks, which are less noisy than pictures.

What a picture holds and its LR version does not tell is noise to training: it makes most of the gradient, and the
weights wander in it. A network's mean over the eight flips and turns of its input (Timofte et al. 2016, "Seven ways
to improve example-based single image super resolution") has little of this noise and is nearer to the picture than
the network itself, so it can be taught to be like that (distillation, Hinton et al. 2015; over transformed inputs,
Radosavovic et al. 2018, "Data distillation").
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from dataset.errors import InputError

from ..checkpoint import load_network
from ..sampling.sampler import VIEWS


class Teacher:
    """Trained networks, of which a student learns what their mean over the flips and turns would be.

    Each step shows one of them the patches flipped and turned in another of the eight ways: over eight steps this is
    the mean, at an eighth of the work.

    Args:
        paths: their weights, of the student's network or another. Of several, the first that knows a scale teaches it:
            a blind student can have a teacher for each scale.
        scales: those that are taught.
        share: of the target, between 0 and 1; the rest is the picture.
        device: where the patches are.

    Raises:
        InputError: if a file cannot be read or teaches nothing here, or a scale has no teacher.
    """

    def __init__(self, paths: Sequence[Path], scales: Sequence[int], share: float, device: torch.device) -> None:
        self.share = share
        self.sha256: list[str] = []
        self.nets: dict[int, nn.Module] = {}
        scales = set(scales)
        for path in paths:
            net, info = load_network(path, scale=min(scales) if len(scales) == 1 else None)
            knows = scales & set(info.scales)
            if knows <= self.nets.keys():
                raise InputError(f"--teacher {path}: what it could teach is taught by those before it already")
            net.requires_grad_(False).to(device, memory_format=torch.channels_last)
            self.nets = dict.fromkeys(knows, net) | self.nets
            self.sha256.append(info.sha256)
        if missing := scales - self.nets.keys():
            untaught = ", ".join(f"x{s}" for s in sorted(missing))
            raise InputError(f"--teacher: has nobody for {untaught}, and a blind network learns all scales")

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
        sr = self.nets[scale](view.mT if turned else view, scale).float().clamp(0, 1)
        return torch.lerp(hr, (sr.mT if turned else sr).flip(flips), self.share)
