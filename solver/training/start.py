"""What a run starts from: fresh weights, those of other runs, or its own state."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

import model
from dataset.errors import InputError
from dataset.sources import Source
from model.ops import Network

from ..checkpoint import load_network
from . import settings
from .run_folder import RunFolder


def build(args: argparse.Namespace) -> Network:
    """The network that a run trains, on the CPU, with the start that ``--init`` names.

    Raises:
        InputError: for a network, scale, variant or start that there is not.
    """
    options = _options(args)
    try:
        scale = args.scale or model.network_class(args.model).scales[0]
        net = model.build(args.model, scale, multi_scale=args.scale == 0, **options)
    except (TypeError, ValueError) as error:
        raise InputError(f"--model {args.model} --scale {args.scale}: {error}") from None
    if args.revive and not net.hidden():
        raise InputError(f"--revive: does not know the hidden units of {args.model}")
    try:
        {"default": lambda: None, "published": net.init_published, "identity": net.init_identity}[args.init]()
    except ValueError as error:
        raise InputError(f"--init {args.init}: {error}") from None
    return net


def _options(args: argparse.Namespace) -> dict:
    """What ``--options`` and ``--variant`` tell."""
    options = {"variant": args.variant} if args.variant else {}
    for name, value in args.options:
        if name in ("scale", "multi_scale"):
            raise InputError(f"--options {name}: is what --scale tells, 0 being blind; give that")
        if name in options:
            raise InputError(f"--options {name}: is given twice; give it once")
        options[name] = value
    return options


def check_patches(source: Source, net: Network, args: argparse.Namespace) -> None:
    """Raise InputError if a network, or what teaches it, knows nothing to do with the patches of a source."""
    if source.channels not in net.channels:
        kinds = " or ".join({1: "luma", 3: "RGB"}[channels] for channels in net.channels)
        raise InputError(f"{source.path}: has luma alone; {args.model} is trained on {kinds}: give such patches")
    if source.enlarged and not net.enlarged_before:
        what = f"has LR as large as HR, or larger; {args.model} takes LR that is not enlarged"
        raise InputError(f"{source.path}: {what}: give such, and look that lr and hr are not swapped")
    if args.teacher and (source.channels == 1 or source.enlarged):
        raise InputError(f"--teacher: is shown RGB as LR has it, not what {source.path} has; leave it out")


def copy_weights(paths: Sequence[Path], net: Network, name: str) -> tuple[list[str], str]:
    """Copy all weights of the same name and shape from files, of any scale, into ``net``.

    Of several files the mean is taken (Wortsman et al. 2022, "Model soups"): of weights that one training has
    passed through, which lie in one valley.

    Args:
        paths: the files.
        net: where to.
        name: the network's.

    Returns:
        SHA-256 of each file, and a line that tells what was copied.

    Raises:
        InputError: if a file cannot be read, is of another network, or has none of the wanted weights or not the
            same ones as the first.
    """
    wanted = net.state_dict()
    shared: dict[str, torch.Tensor] = {}
    hashes = []
    for path in paths:
        source, info = load_network(path, name)
        hashes.append(info.sha256)
        state = {k: v for k, v in source.state_dict().items() if k in wanted and wanted[k].shape == v.shape}
        if not state:
            raise InputError(f"{path}: has no layer that this network has too")
        if shared and state.keys() != shared.keys():
            raise InputError(f"--init_from {path}: shares other layers than {paths[0]} does: there is no mean of them")
        shared = {k: shared.get(k, 0) + v / len(paths) for k, v in state.items()}
    net.load_state_dict(shared, strict=False)
    files = " and ".join(map(str, paths))
    return hashes, f"{len(shared)} of {len(wanted)} weights copied from {'the mean of ' * (len(paths) > 1)}{files}"


def find_run(folder: RunFolder, args: argparse.Namespace) -> Iterator[tuple[dict | None, list[str]]]:
    """The state of the run to resume, or None for a new one, and lines about it.

    If that state turns out to be no good, the next is the one before.

    Raises:
        InputError: if there is a run and neither ``--resume`` nor ``--overwrite``, or it cannot be resumed so.
    """
    if not (args.resume or args.overwrite) and folder.in_use():
        raise InputError(f"{folder.folder}: has a run already; go on with --resume, or start anew with --overwrite")
    if args.resume and not folder.has_checkpoint() and folder.record.exists():
        gone = f"its run has lost its checkpoints, {folder.last.name} and {folder.previous.name}"
        raise InputError(f"{folder.folder}: {gone}; put one back, or start anew with --overwrite")
    if not args.resume or not folder.has_checkpoint():
        yield None, [f"no run in {folder.folder} to resume: starting one"] if args.resume else []
        return
    for state, notes in folder.states():
        then = state.get("settings")
        if not isinstance(then, dict):
            continue
        if others := settings.differing(then, args, (settings.WEIGHTS,)):
            raise InputError(f"{folder.folder}: its run has {'; '.join(others)}: give the same, or another --ckpt_dir")
        if changed := settings.differing(then, args, (settings.COURSE,)):
            notes.append(f"the run had {'; '.join(changed)}")
        if then.get("val_data_dir") != settings.plain(args)["val_data_dir"]:
            state["best"] = -math.inf
            notes.append("the run had another --val_data_dir: its best weights are found anew")
        yield state, notes
