"""The networks for spandrel, the library by which ComfyUI, chaiNNer and others open weights.

``register()`` lets spandrel open files of all networks of this folder: those that ship, those trained here, and
those that their papers released. Files of spandrel's own networks stay with these.
"""

import copy
import importlib.util
from pathlib import Path

import torch
from spandrel import (
    MAIN_REGISTRY,
    Architecture,
    ArchRegistry,
    ArchSupport,
    ImageModelDescriptor,
    ModelTiling,
    UnsupportedModelError,
)

_SPEC = importlib.util.spec_from_file_location("lesrcnn_hubconf", Path(__file__).resolve().with_name("hubconf.py"))
_HUB = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_HUB)
networks = _HUB.networks()  # the package model/, by a name that is in nobody's way

_SAYS = "says"  # of a state dict, beside torch's version numbers: what it is, see solver/checkpoint.py
_NEAR = 1 / 255  # how far from float32 another type may come: a grey level


def register(registry: ArchRegistry = MAIN_REGISTRY, scale: int | None = None) -> None:
    """Let a registry of spandrel know the networks of this folder, behind all that it knows. To be called once.

    Args:
        registry: that of all programs, by default.
        scale: by which weights enlarge that serve several scales, or do not tell theirs, as others' of SRCNN and
            FSRCNN; None is the default scale of the former, and refuses the latter.

    Raises:
        spandrel.DuplicateArchitectureError: if they are registered already.
    """
    registry.add(*(ArchSupport.from_architecture(OurArchitecture(name, scale)) for name in networks.names()))


class OurArchitecture(Architecture):
    """One of the networks. Its files are known by all of their names and shapes, so no others are taken for them.

    Args:
        name: the network's.
        scale: as of :func:`register`.
    """

    def __init__(self, name: str, scale: int | None) -> None:
        super().__init__(id=f"lesrcnn.{name}", name=name.upper(), detect=lambda state: bool(self._fitting(state)))
        self._network, self._scale = name, scale

    def load(self, state_dict: dict[str, torch.Tensor]) -> ImageModelDescriptor:
        """The network with these weights, in float32 on the CPU: RGB in, RGB out.

        Raises:
            UnsupportedModelError: if weights do not tell their scale, and none was given.
        """
        configuration = self._chosen(state_dict)
        net = networks.build(self._network, **configuration).eval()
        state = net.translated(state_dict)
        net.load_state_dict(state)
        options = [
            f"{name}={value}"
            for name, value in configuration.items()
            if name not in ("scale", "multi_scale") and value != ""
        ]
        return ImageModelDescriptor(
            net,
            state,
            architecture=self,
            purpose="SR",
            tags=["blind"] * net.multi_scale + options,
            supports_half=_bears(net, torch.float16),
            supports_bfloat16=_bears(net, torch.bfloat16),
            scale=net.scale,
            input_channels=3,
            output_channels=3,
            tiling=ModelTiling.DISCOURAGED if net.reach(net.scale) is None else ModelTiling.SUPPORTED,
        )

    def _fitting(self, state: dict) -> list[dict]:
        """The constructor's arguments of all networks of this name that a state dict fits."""
        if not all(isinstance(value, torch.Tensor) for value in state.values()):
            return []
        candidates = networks.candidates(state, [self._network])
        return [configuration for _, configuration, net in candidates if net.translated(state) is not None]

    def _chosen(self, state: dict[str, torch.Tensor]) -> dict:
        """Of the networks that fit, the one that the file says it is of, else a blind one, else that of the scale."""
        says = _said(state)
        fitting = [network for network in self._fitting(state) if _agree(says, network)]
        if not fitting:
            raise UnsupportedModelError(
                f"these weights say that they are of a form of {self.name} that is unknown here"
            )
        blind = [network for network in fitting if network["multi_scale"]]
        if blind:
            scales = networks.network_class(self._network).scales
            wanted = (self._scale, says.get("scale"), *scales)
            return blind[0] | {"scale": next(scale for scale in wanted if scale in scales)}
        told = fitting[0]["scale"] if len({network["scale"] for network in fitting}) == 1 else self._scale
        of_scale = [network for network in fitting if network["scale"] == says.get("scale", told)]
        if not of_scale:
            raise UnsupportedModelError(f"these weights of {self.name} do not tell their scale: register(scale=3), say")
        return of_scale[0]


def _said(state: dict) -> dict:
    """What a state dict says of its network; what no network says is passed over."""
    told = getattr(state, "_metadata", None)
    for name in ("", _SAYS):
        told = told.get(name) if isinstance(told, dict) else None
    told = told if isinstance(told, dict) else {}
    return {name: value for name, value in told.items() if not isinstance(value, torch.Tensor)}


def _agree(says: dict, network: dict) -> bool:
    """Whether what a file says of its network, if anything, is so of this one; but for the scale."""
    return all(says.get(name, value) == value for name, value in network.items() if name != "scale")


@torch.inference_mode()
def _bears(net: torch.nn.Module, dtype: torch.dtype) -> bool:
    """Whether a network in this type makes of noise what it makes in float32, to a grey level."""
    x = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    try:
        made = copy.deepcopy(net).to(dtype)(x.to(dtype)).float()
    except RuntimeError:  # torch has no such layer on the CPU
        return False
    return bool(((made - net(x.to(dtype).float())).abs().max() <= _NEAR).item())
