"""What networks share: the contract that each fulfils, and layers that several have."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

# Mean of the DIV2K training pictures, RGB in [0, 1], as the released LESRCNN weights carry it.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)

# ITU-R BT.601 as MATLAB's rgb2ycbcr has it, for RGB and luma in [0, 1].
LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
BLACK = 16 / 255
GAIN = 1 / sum(LUMA)

Margins = tuple[int, int, int, int]  # pixels at the top, bottom, left and right
NONE: Margins = (0, 0, 0, 0)
Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def trim(x: torch.Tensor, margins: Margins, scale: int = 1) -> torch.Tensor:
    """(N, C, H, W) without ``scale`` times so many pixels at its top, bottom, left and right: a view."""
    if not any(margins):
        return x
    top, bottom, left, right = (scale * margin for margin in margins)
    return x[:, :, top : -bottom or None, left : -right or None]


class Network(nn.Module):
    """What all that is outside of ``model/`` knows of a network.

    RGB (N, 3, H, W) in [0, 1] goes in, RGB (N, 3, scale * H, scale * W) comes out, about [0, 1], not clamped. A
    network is one file with a class ``Net(Network)``. It has ``forward``; everything else here can be left as it is.

    Attributes:
        scales: of the class, the scales that it can be built for; of a network, those that it enlarges by.
        blind: whether one network can serve all of them.
        options: what else the constructor takes, for each network of the class that a paper or a release has.
        picture_facing: names of the layers that read or write a picture's channels. They stay in float32, because
            grey levels need more than the 8 bits of bf16, and Muon is not for them.
        by_adam: names of the layers whose weights Muon is not for; None: those that face a picture.
        published: the paper's training, as defaults of train.py's flags; what depends on the scale as a dictionary,
            in which 0 is the blind network.
        modern: what ``--recipe modern`` has otherwise for it.
        channels: of the patches that it can be trained on: 3 for RGB, 1 for luma, 16/255 for black, 235/255 for white.
        protocol: by which its paper measures, one of :data:`solver.measuring.metrics.PROTOCOLS`.
        enlarged_before: whether bicubic interpolation comes before all else. Training patches may then be enlarged so
            already.

    Args:
        scale: one of ``scales``; of a blind network, the scale used when a call names none.
        multi_scale: one network for all its scales.
        options: as the class says.

    Raises:
        ValueError: for a scale or options that the class does not have.
    """

    scales: tuple[int, ...] = (2, 3, 4)
    blind: ClassVar[bool] = False
    options: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    picture_facing: ClassVar[tuple[str, ...]] = ()
    by_adam: ClassVar[tuple[str, ...] | None] = None
    published: ClassVar[dict[str, Any]] = {}
    modern: ClassVar[dict[str, Any]] = {}
    channels: ClassVar[tuple[int, ...]] = (3,)
    protocol: ClassVar[str] = "published"
    enlarged_before: ClassVar[bool] = False

    def __init__(self, scale: int, multi_scale: bool = False, **options) -> None:
        super().__init__()
        if scale not in self.scales:
            raise ValueError(f"this network enlarges by {_listed(self.scales)}, not by {scale}")
        if multi_scale and not self.blind:
            raise ValueError("there is no blind network of this kind")
        self.scale = scale
        self.multi_scale = multi_scale
        self.scales = self.scales if multi_scale else (scale,)
        self.configuration = {"scale": scale, "multi_scale": multi_scale, **options}

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch.

        Args:
            x: RGB (N, 3, H, W) in [0, 1], any H and W from 1 up.
            scale: of a blind network, one of its scales; of a single-scale one, its own or None.
            margins: LR pixels at the top, bottom, left and right of ``x`` that are surroundings only: the result
                lacks them.

        Raises:
            ValueError: if the network does not have this scale.
        """
        raise TypeError(f"{type(self).__name__} has no forward")

    def reach(self, scale: int) -> float | None:
        """How far away, in LR pixels, an LR pixel can be and still change an output pixel.

        None: as far as the picture goes, or it is not known. Such a network is never given a part of a picture.
        """
        return None

    def loss(self, criterion: Criterion, lr: torch.Tensor, hr: torch.Tensor, scale: int) -> torch.Tensor:
        """What a training step makes smaller, a scalar.

        Args:
            criterion: two batches of pictures -> scalar, see :data:`solver.training.objective.LOSSES`. Where it is
                called for several pictures, the result comes last.
            lr: RGB (N, 3, h, w) in [0, 1], or what else ``channels`` says.
            hr: RGB (N, 3, scale * h, scale * w) in [0, 1]; of an LR that is enlarged already, which ``enlarged_before``
                allows, it has the size or is the centre.
            scale: the factor between the two.
        """
        return criterion(self(lr, scale).float(), hr)

    def parameter_groups(self, rates: Iterable[tuple[str, float]] = ()) -> list[dict[str, Any]]:
        """The parameters, in groups as an optimizer takes them.

        Each has ``params``, ``rate``, which its learning rate is multiplied by, and ``muon``, whether Muon is for them.

        Args:
            rates: names of layers, or "bias" for all biases, and what their learning rate is multiplied by.

        Raises:
            ValueError: for a name that is no layer's.
        """
        by_adam = self._parameters_of(self.picture_facing if self.by_adam is None else self.by_adam)
        rate_of = {p: rate for name, rate in rates for p in self._parameters_of([name])}
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for parameter in self.parameters():
            groups.setdefault((rate_of.get(parameter, 1.0), parameter not in by_adam), []).append(parameter)
        return [{"params": params, "rate": rate, "muon": muon} for (rate, muon), params in groups.items()]

    def _parameters_of(self, layers: Iterable[str]) -> set[nn.Parameter]:
        try:
            return {p for name in layers for p in self._named(name)}
        except AttributeError:
            told = ", ".join(name for name, _ in self.named_children() if name)
            raise ValueError(f"it has no layer {' or '.join(layers)}; its parts are {told}") from None

    def _named(self, layer: str) -> Iterator[nn.Parameter]:
        if layer == "bias":
            return (parameter for name, parameter in self.named_parameters() if name.rpartition(".")[2] == layer)
        return self.get_submodule(layer).parameters()

    def hidden(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        """Layers whose rectified outputs only one other layer hears, and that layer: see ``--revive``."""
        return []

    def init_published(self) -> None:
        """Start with random weights as the paper draws them.

        Raises:
            ValueError: if it tells no other way than torch's.
        """
        raise ValueError("its paper tells of no other start than the default")

    def init_identity(self) -> None:
        """Start as an enlarger, which a network without a skip from its input learns slowly otherwise.

        Raises:
            ValueError: if it has no such start.
        """
        raise ValueError("this network has no such start")

    def released_names(self) -> dict[str, str]:
        """This file's names of the weights -> those in the published files; empty if there are none."""
        return {}

    def by_layer(self, table: dict[str, str]) -> dict[str, str]:
        """Names of this file's layers -> published ones, as those of their weights and biases."""
        layers = (name.rsplit(".", 1) for name in self.state_dict())
        return {f"{layer}.{kind}": f"{table[layer]}.{kind}" for layer, kind in layers}

    def other_names(self) -> Iterable[dict[str, str]]:
        """Further tables as :meth:`released_names` gives one: files that are around are read by these too."""
        return ()

    def released_constants(self) -> dict[str, torch.Tensor]:
        """What the published files hold beside the weights, and must hold."""
        return {}

    def chosen(self, scale: int | None) -> int:
        """The scale of a call that asks for ``scale``, or for none.

        Raises:
            ValueError: if the network does not have it.
        """
        scale = self.scale if scale is None else scale
        if scale not in self.scales:
            raise ValueError(f"this network enlarges by {_listed(self.scales)}, not by {scale}")
        return scale

    def translated(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        """A state dict, in this file's names or in the published ones, in this file's; None if it does not fit.

        Only names and shapes are looked at. The published constants may be there or not.
        """
        constants = self.released_constants()
        state = {name: value for name, value in state.items() if name not in constants}
        own = self.state_dict()
        for table in ({name: name for name in own}, self.released_names(), *self.other_names()):
            if set(table.values()) == state.keys():
                found = {name: state[other] for name, other in table.items()}
                return found if all(own[name].shape == value.shape for name, value in found.items()) else None
        return None

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The options that the constructor takes beside the scale, with their defaults."""
        parameters = list(inspect.signature(cls).parameters.values())
        return {p.name: p.default for p in parameters if p.name not in ("scale", "multi_scale")}

    @classmethod
    def options_of(cls, shapes: list[torch.Size]) -> Iterable[dict[str, Any]]:
        """The options that weights of these shapes, in any order, may have been made with."""
        return cls.options

    @classmethod
    def configurations(cls, shapes: list[torch.Size] | None = None) -> Iterator[dict[str, Any]]:
        """The constructor's arguments for each network of the class, or for those that weights may belong to."""
        for options in cls.options if shapes is None else cls.options_of(shapes):
            options = cls.defaults() | options
            if cls.blind:
                yield {"scale": cls.scales[0], "multi_scale": True, **options}
            for scale in cls.scales:
                yield {"scale": scale, "multi_scale": False, **options}


def _listed(scales: tuple[int, ...]) -> str:
    *most, last = map(str, scales)
    return f"{', '.join(most)} or {last}" if most else last


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

    def as_layer(self, name: str) -> dict[str, torch.Tensor]:
        """The weights of a 1x1 convolution of this name that does the same, as published files have it."""
        return {f"{name}.weight": torch.eye(3).view(3, 3, 1, 1), f"{name}.bias": self.sign * torch.tensor(DIV2K_MEAN)}

    def extra_repr(self) -> str:
        return f"sign={self.sign:+d}, mean={DIV2K_MEAN}"


class SubPixelUpsampler(nn.Module):
    """Enlarge features by ``scale``: 3x3 convolution and pixel shuffle (Shi et al., CVPR 2016).

    (N, channels, H, W) -> (N, channels, scale * H, scale * W). 2, 3 and other primes are one stage, 4 is the x2 stage
    twice, 8 three times. There is no activation inside, so the whole up-sampler is an affine map.

    Args:
        scale: from 2 on.
        channels: feature channels, the same before and after.
    """

    def __init__(self, scale: int, channels: int = 64) -> None:
        super().__init__()
        self.factors = self._stages(scale)
        self.stages = nn.ModuleList(
            nn.Conv2d(channels, channels * r * r, kernel_size=3, padding=1) for r in self.factors
        )

    def forward(self, x: torch.Tensor, inputs: int = 1) -> torch.Tensor:
        """Return ``up(x)``, or, of a sum of several inputs, the sum of their up-sampled versions.

        The map is affine, so ``up(a) + up(b)`` is ``up`` of ``a + b`` with each bias counted
        twice: ``up(a) + up(b) == forward(a + b, inputs=2)``, in one pass instead of two.

        Args:
            x: (N, C, H, W), the sum of ``inputs`` feature maps.
            inputs: how many feature maps were summed.
        """
        for conv, r in zip(self.stages, self.factors, strict=True):
            bias = conv.bias if inputs == 1 else inputs * conv.bias
            x = F.pixel_shuffle(F.conv2d(x, conv.weight, bias, padding=1), r)
        return x

    @classmethod
    def reach(cls, scale: int) -> float:
        """LR pixels that an output depends on: each stage adds a pixel of its own grid."""
        reach, grid = 0.0, 1
        for r in cls._stages(scale):
            reach, grid = reach + 1 / grid, grid * r
        return reach

    @torch.no_grad()
    def init_bilinear(self, carried: int, gain: float = 1.0) -> None:
        """Let the first ``carried`` channels be enlarged bilinearly, times ``gain``."""
        for stage, (conv, r) in enumerate(zip(self.stages, self.factors, strict=True)):
            # Sub-pixel i of r sits (i + 0.5) / r - 0.5 LR pixels from the centre of its LR pixel.
            offsets = (torch.arange(r)[:, None] + 0.5) / r - 0.5
            taps = (1 - (torch.arange(-1, 2) - offsets).abs()).clamp(min=0)
            kernels = torch.einsum("iy,jx->ijyx", taps, taps).reshape(r * r, 3, 3)
            conv.weight[: carried * r * r] = 0
            conv.bias[: carried * r * r] = 0
            for c in range(carried):
                conv.weight[c * r * r : (c + 1) * r * r, c] = kernels * (gain if stage == 0 else 1)

    @staticmethod
    def _stages(scale: int) -> tuple[int, ...]:
        factors = ()
        while scale > 3 and scale % 2 == 0:
            factors, scale = (*factors, 2), scale // 2
        return (*factors, scale)


class Bicubic(nn.Module):
    """Enlarge by ``scale`` as MATLAB's ``imresize`` does (bicubic, a = -0.5, mirrored at the edge).

    (N, C, H, W) -> (N, C, scale * H, scale * W), not rounded. It is two convolutions with constant weights, down and
    across, each with one kernel for each of ``scale`` sub-pixels (Keys 1981). Its reach is 2.

    Args:
        scale: from 2 on.
    """

    reach = 2.0

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        offsets = [(i + 0.5) / scale - 0.5 for i in range(scale)]
        kernels = [[_cubic(abs(tap - offset)) for tap in range(-2, 3)] for offset in offsets]
        self.register_buffer("kernels", torch.tensor(kernels), persistent=False)  # (scale, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with exact():
            return interpolate(x, self.kernels)


def interpolate(x: torch.Tensor, kernels: torch.Tensor, rows: int = 2) -> torch.Tensor:
    """Enlarge (N, C, H, W) by kernels (scale, 5), one for each sub-pixel of a row or column.

    Args:
        rows: beyond the edges that are mirrored above and below, 0 where the two are among those of ``x``.
    """
    channels = int(x.shape[1])  # a number, and no part of an exported graph
    x = _mirrored(_mirrored(x, 2, rows) if rows else x, 3, beyond=2)
    # For each sub-pixel, every channel from itself alone.
    weight = torch.einsum("sk,oc->sock", kernels, torch.eye(channels).to(kernels)).flatten(0, 1)
    down = F.conv2d(x, weight[:, :, :, None]).permute(0, 2, 3, 1)  # (N, H, W, scale * C)
    down = down.unflatten(3, (-1, channels)).transpose(2, 3).flatten(1, 2)  # (N, scale * H, W, C)
    across = F.conv2d(down.permute(0, 3, 1, 2), weight[:, :, None]).permute(0, 2, 3, 1)
    return across.unflatten(3, (-1, channels)).flatten(2, 3).permute(0, 3, 1, 2)


def _cubic(distance: float) -> float:
    """Keys' kernel with a = -0.5."""
    if distance < 1:
        return 1.5 * distance**3 - 2.5 * distance**2 + 1
    return -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2 if distance < 2 else 0.0


def _mirrored(x: torch.Tensor, dim: int, beyond: int) -> torch.Tensor:
    """``x`` with so many pixels more at both ends of a dimension, mirrored; the edge's own pixel is repeated."""
    length = x.shape[dim]
    there = torch.arange(-beyond, length + beyond, device=x.device) % (2 * length)
    return x.index_select(dim, torch.minimum(there, 2 * length - 1 - there))


class OnLuma(Network):
    """A network that enlarges luma alone; colours are enlarged by bicubic interpolation.

    Its file has :meth:`enlarge`. The luma of what comes out is that method's, exactly, and it alone is trained.

    If it says ``enlarged_before``, that method is given luma that bicubic interpolation has enlarged already.
    """

    channels = (1, 3)
    protocol = "luma"
    by_adam = ()
    modern = {"loss_fn": "MSE", "lr": 3e-3}

    def __init__(self, scale: int, multi_scale: bool = False, **options) -> None:
        super().__init__(scale, multi_scale, **options)
        self.bicubic = nn.ModuleDict({f"x{s}": Bicubic(s) for s in self.scales})
        self.register_buffer("weights", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("black", torch.tensor([BLACK]), persistent=False)

    def enlarge(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        """Luma (N, 1, H, W), 16/255 for black to 235/255 for white -> luma (N, 1, scale * H, scale * W).

        If the class says ``enlarged_before``, it comes in that size already.
        """
        raise TypeError(f"{type(self).__name__} has no enlarge")

    def forward(self, x: torch.Tensor, scale: int | None = None, margins: Margins = NONE) -> torch.Tensor:
        """Super-resolve a batch, see :class:`Network`."""
        scale = self.chosen(scale)
        bicubic = self.bicubic[f"x{scale}"]
        y = self.luma(x)
        # One more of luma is GAIN more of red, green and blue alike: what is enlarged here is colour without luma.
        colour = bicubic(x - y * GAIN)
        fine = self.enlarge(bicubic(y) if self.enlarged_before else y, scale)
        return trim(colour + fine * GAIN, margins, scale)

    def loss(self, criterion: Criterion, lr: torch.Tensor, hr: torch.Tensor, scale: int) -> torch.Tensor:
        """The criterion of luma, see :class:`Network`."""
        y, target = self.luma_pair(lr, hr, scale)
        return self.beside(criterion, self.enlarge(y, scale), target)

    def luma_pair(self, lr: torch.Tensor, hr: torch.Tensor, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a batch that :meth:`loss` is given, the luma that goes in, and that which is to come out."""
        y, target = (x if x.shape[1] == 1 else self.luma(x) for x in (lr, hr))
        if self.enlarged_before and lr.shape[2] < hr.shape[2]:
            # At its edge, a patch is enlarged otherwise than the picture that it is from.
            bicubic = self.bicubic[f"x{scale}"]
            edge = (min(math.ceil(bicubic.reach), (min(y.shape[2:]) - 1) // 2),) * 4
            y, target = trim(bicubic(y), edge, scale), trim(target, edge, scale)
        return y, target

    @staticmethod
    def beside(criterion: Criterion, fine: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The criterion of luma that came out and what it was to be, which has its size or is its centre."""
        top, left = ((fine.shape[dim] - target.shape[dim]) // 2 for dim in (2, 3))
        return criterion(trim(fine.float(), (top, top, left, left)), target)

    def luma(self, rgb: torch.Tensor) -> torch.Tensor:
        """RGB (N, 3, H, W) in [0, 1] -> luma (N, 1, H, W), 16/255 to 235/255."""
        with exact():
            return F.conv2d(rgb, self.weights, self.black)


@contextmanager
def exact() -> Iterator[None]:
    """Within autocast too, compute in float32: bf16 has 8 bits, and a picture's grey levels need more."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """(N, inputs, H, W) -> (N, outputs, H, W): with biases, and zeros beyond the edge."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def plus_minus() -> torch.Tensor:
    """(6, 3): x -> +x, -x, which survives rectification. For :meth:`Network.init_identity`."""
    return torch.cat([torch.eye(3), -torch.eye(3)])


def centre(matrix: torch.Tensor, size: int = 3) -> torch.Tensor:
    """(out, in) -> the convolution weight (out, in, size, size) that applies it at the centre tap."""
    weight = torch.zeros(*matrix.shape, size, size)
    weight[:, :, size // 2, size // 2] = matrix
    return weight
