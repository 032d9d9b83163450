"""A network as Core ML's package, for apps of iOS and macOS: a picture goes in, and a picture comes out.

Both are RGB of 8 bits, for networks that enlarge luma too: they take the colours along, so an app need not know.
"""

import io
import platform
import shutil
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from dataset import images
from dataset.errors import InputError, describe
from dataset.files import folder_written_whole

from ..archive import brief
from ..graph import INPUT, OUTPUT, Said, package
from ..sampling.backends.torch import Torch
from .common import CPU, SIZES
from .phones import REQUIREMENTS, plain, traced

SUFFIX = ".mlpackage"
MANIFEST = "Manifest.json"  # in every such package
_LARGEST = 16_384  # pixels a side of a result, which is Metal's largest texture
_USUAL = 256  # LR pixels a side, to plan for
_FAR = {"fp32": 1, "fp16": 8}  # grey levels; of noise, FSRCNN in fp16 is as far as 4
_DESCRIPTION = "A picture, RGB of 8 bits, becomes a larger one; the network itself is given values in [0, 1]"


def write(path: Path, net: Torch, said: Said) -> float | None:
    """Write a network as a package, whole or not at all.

    Input ``input``, output ``output``: pictures, RGB of 8 bits, of any size up to a result of 16,384 pixels a side.
    It computes in float32 or, if ``said`` so, in fp16 from end to end, which alone the Neural Engine can.

    Returns:
        How far its results are from PyTorch's, at most; None where Core ML does not compute, which it does on macOS.

    Raises:
        InputError: if that is too far, if coremltools cannot convert the network, or if it cannot be written.
    """
    with redirect_stderr(io.StringIO()):  # coremltools tells of its progress, and of what Linux lacks
        tools = package("coremltools", REQUIREMENTS)
        try:
            made = _converted(tools, net, said)
        except Exception as error:  # of a library that is not ours
            raise InputError(f"{path}: coremltools cannot convert the network: {brief(describe(error))}") from None
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / f"net{SUFFIX}"
        made.save(str(saved))
        far = _distance(tools, saved, net, said, path) if platform.system() == "Darwin" else None
        with folder_written_whole(path, MANIFEST) as temporary:
            _copy(saved, temporary)
    return far


def _copy(folder: Path, to: Path) -> None:
    """Copy a folder's files, but not who may read them: coremltools lets nobody else."""
    for file in filter(Path.is_file, folder.rglob("*")):
        copy = to / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


class _Picture(nn.Module):
    """A network whose result is a picture's values: whole numbers from 0 to 255."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (255 * self.net(x)).clamp(0, 255).round()


def _converted(tools, net: Torch, said: Said):
    """The network as coremltools holds it, with what it says of itself."""
    height, width = (tools.RangeDim(1, _LARGEST // said.scale, default=_USUAL) for _ in range(2))  # one would be square
    rgb = {"color_layout": tools.colorlayout.RGB}
    made = tools.convert(
        traced(_Picture(plain(net))),
        inputs=[tools.ImageType(INPUT, (1, 3, height, width), scale=1 / 255, **rgb)],
        outputs=[tools.ImageType(OUTPUT, **rgb)],
        convert_to="mlprogram",
        compute_precision=tools.precision.FLOAT16 if said.precision == "fp16" else tools.precision.FLOAT32,
        minimum_deployment_target=tools.target.iOS15,
        skip_model_load=True,
    )
    made.user_defined_metadata.update(said.texts())
    made.short_description = _DESCRIPTION
    return made


@torch.inference_mode()
def _distance(tools, saved: Path, net: Torch, said: Said, path: Path) -> float:
    """How far the package's pictures are from PyTorch's, at most, of values up to 1; see :func:`.common.distance`."""
    model = tools.models.MLModel(str(saved), compute_units=tools.ComputeUnit.CPU_ONLY)
    random = np.random.default_rng(0)
    far = 0
    for size in SIZES:
        rgb = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        expected = images.quantise(net.plainly(images.to_tensor(rgb, CPU)), rounding="round").numpy()
        made = np.asarray(model.predict({INPUT: Image.fromarray(rgb)})[OUTPUT].convert("RGB"))
        far = max(far, int(np.abs(made.astype(int) - expected.astype(int)).max()))
    if far > _FAR[said.precision]:
        raise InputError(f"{path}: Core ML makes results that are {far} grey levels away from PyTorch's; not written")
    return far / 255
