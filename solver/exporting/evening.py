"""Channels of more equal loudness: what is rounded by one step for all of them.

Where one channel of a tensor is loud, the step is large, and a quiet channel is lost in it. So what makes a quiet one
is multiplied and what hears it divided, and the network computes what it did: cross-layer equalisation (Nagel et al.,
arXiv 1906.04721), over all layers whose channels belong together.
"""

import torch

from ..graph import INPUT, OUTPUT
from .nodes import Values, is_convolution, walk

_LOUDER = 256.0  # times, at most
_EVENNESS = 0.7  # 1 would be even: then each channel has no room for another picture in which it is louder
_TOGETHER = ("Add", "Relu", "DepthToSpace")  # they keep a channel's factor


@torch.inference_mode()
def evened(graph, weights: Values, pictures: torch.Tensor) -> Values:
    """Weights that compute the same by channels that are about equally loud for these pictures, (N, 3, H, W) in [0, 1].

    Channels that no picture makes sound are silenced: rounded, they would sound where they should not.
    """
    loudest = {}
    for node, values in walk(graph, weights, pictures):
        if node.op_type == "Conv":
            loudest[node.input[0]] = values[node.input[0]].abs().amax((0, 2, 3))
    weights = dict(weights)
    convolutions = [node for node in graph.node if is_convolution(node, weights)]
    for names in _groups(graph, weights):
        make = [node for node in convolutions if node.output[0] in names]
        hear = [node for node in convolutions if node.input[0] in names]
        if not make or not hear:
            continue
        # Where pixels are shuffled, several channels become one.
        sizes = [len(weights[node.input[1]]) for node in make] + [weights[node.input[1]].shape[1] for node in hear]
        channels = min(sizes)
        loud = torch.stack([loudest[node.input[0]].view(channels, -1).amax(1) for node in hear]).amax(0)
        factor = torch.where(loud > 0, (loud.max() / loud).clamp_max(_LOUDER) ** _EVENNESS, 0)
        for node in make:
            for name in node.input[1:]:
                own = factor.repeat_interleave(len(weights[name]) // channels)
                weights[name] = weights[name] * own.view(-1, *[1] * (weights[name].ndim - 1))
        inverse = torch.where(loud > 0, 1 / factor, 0)
        for node in hear:
            name = node.input[1]
            own = inverse.repeat_interleave(weights[name].shape[1] // channels)
            weights[name] = weights[name] * own.view(1, -1, 1, 1)
    return weights


def _groups(graph, weights: Values) -> list[set[str]]:
    """Names of features whose channels belong together; left out are those that anything unknown here computes with."""
    group: dict[str, set[str]] = {}

    def join(*names: str) -> None:
        together = set().union(*(group.get(name, {name}) for name in names))
        group.update(dict.fromkeys(together, together))

    join(INPUT, OUTPUT)
    for node in graph.node:
        features = [name for name in (*node.input, *node.output) if name not in weights]
        if is_convolution(node, weights):
            for name in features:
                join(name)
        else:
            join(*features, *([] if node.op_type in _TOGETHER else [INPUT]))
    return list({id(names): names for names in group.values() if INPUT not in names}.values())
