"""Validation: what a network makes of pictures that it is not trained on, by what samples and measures elsewhere."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dataset import files, images, test_set
from dataset.errors import InputError
from dataset.signals import Stopped
from dataset.test_set import Item, TestSet
from model.ops import Network

from ..measuring.evaluate import evaluate
from ..sampling.sampler import Sampler


class Validation:
    """Measures a network on benchmark folders, at all its scales, with the published protocol.

    Args:
        folders: see :func:`dataset.test_set.find`.
        scales: which scales.
        device: where to compute.
        sample_dir: where the results are written, over the last one's; None: nowhere.
        stop: a request that ends it early, or None.

    Raises:
        InputError: if a set is missing or has pictures without HR, or if nothing can be written in ``sample_dir``.
    """

    def __init__(self, folders: Sequence[Path], scales: Sequence[int], device, sample_dir=None, stop=None) -> None:
        self.device, self.sample_dir, self.stop = device, sample_dir, stop
        self.sets = [test_set.find(folder, scale) for folder in folders for scale in scales]
        for pictures in self.sets:
            if pictures.problems:
                raise InputError(pictures.problems[0])
            if any(item.hr is None for item in pictures.items):
                raise InputError(f"--val_data_dir: the pictures of {pictures.name} have no HR to compare with")
        if self.sets and sample_dir is not None:
            files.check_writable(sample_dir)

    def __call__(self, net: Network) -> dict[str, float]:
        """PSNR and SSIM of each set: ``{"Set5_x2_psnr": 37.6, ...}``.

        Args:
            net: in evaluation mode, on the device.

        Raises:
            Stopped: if a stop was asked for.
        """
        figures = {}
        for pictures in self.sets:
            sampler = Sampler(net, pictures.scale, self.device)
            scores = evaluate(sampler, pictures, on_picture=self._writer(pictures), progress=self._until_stopped)
            name = f"{pictures.name}_x{pictures.scale}"
            figures |= {f"{name}_psnr": scores.psnr, f"{name}_ssim": scores.ssim}
        # Pictures of a few pixels have no SSIM, or no PSNR either.
        return {name: value for name, value in figures.items() if value is not None}

    def _until_stopped(self, items: list[Item]) -> Iterator[Item]:
        for item in items:
            if self.stop is not None and self.stop.signal is not None:
                raise Stopped
            yield item

    def _writer(self, pictures: TestSet):
        if self.sample_dir is None:
            return None
        folder = self.sample_dir / pictures.name / f"x{pictures.scale}"
        return lambda item, sr: images.write(folder / f"{item.name}.png", sr)
