"""The training command line: :mod:`solver.training.settings` as flags, and what no flag alone can tell.

Nothing heavy is imported before the flags have been read, so ``--help`` answers at once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import model
from dataset.errors import InputError, Parser, run

from ..arguments import check_scale
from .settings import GROUPS, HELP, RECIPES, SEVERAL


def train_main(scale: int) -> None:
    """Run ``train.py``: train a network, see :mod:`solver.training.trainer`.

    Args:
        scale: default of ``--scale``, or 0 for the blind network.
    """

    def main() -> int:
        args = parse(scale)
        from .trainer import launch

        return launch(args)

    run(main)


def parse(scale: int, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the command line (of this process, if ``arguments`` is None).

    Raises:
        InputError: for flags that do not fit together.
    """
    parser = train_parser(scale)
    first = parser.parse_known_args(arguments)[0]
    network = model.network_class(first.model)
    parser.set_defaults(**recipe(first.recipe, network, first.scale))
    args = parser.parse_args(arguments)
    if args.ckpt_name is None:
        args.ckpt_name = args.model if args.scale == 0 else f"{args.model}_x{args.scale}"
    if args.ckpt_dir is None:
        args.ckpt_dir = Path("checkpoint") / args.ckpt_name
    if Path(args.ckpt_name).name != args.ckpt_name:
        raise InputError(f"--ckpt_name {args.ckpt_name}: is a name, without folders; those are --ckpt_dir's")
    if args.resume and args.overwrite:
        raise InputError("--resume and --overwrite: give one of them")
    for name in ("ema", "teacher_share", "cooldown"):
        if getattr(args, name) > 1:
            raise InputError(f"--{name} {getattr(args, name)}: must be at most 1")
    if args.ema == 1:
        raise InputError("--ema 1: must be less than 1, or the first weights would stay")
    if args.variant is not None and {"variant": args.variant} not in network.options:
        names = dict.fromkeys(options["variant"] for options in network.options if options.get("variant"))
        known = ", ".join(names)
        there = f"it has {known}" if known else "leave the flag out"
        raise InputError(f"--variant {args.variant}: {args.model} has no such variant; {there}")
    if args.momentum >= 1:
        raise InputError(f"--momentum {args.momentum}: must be less than 1")
    if args.scale == 0 and not network.blind:
        raise InputError(f"--scale 0: there is no blind {args.model}")
    if args.scale:
        check_scale(args.model, args.scale)
    if args.scale_shares and args.scale:
        raise InputError(f"--scale_shares: for a blind network, --scale 0, not for --scale {args.scale}")
    if args.scale_shares and len(args.scale_shares) != len(network.scales):
        raise InputError(f"--scale_shares: wants {len(network.scales)} numbers, one for each scale of {args.model}")
    return args


def recipe(name: str, network, scale: int) -> dict:
    """What a recipe sets, as far as a network knows it: not all have a start as an enlarger, or tell hidden units."""
    if name == "paper":
        return {k: v.get(scale) if isinstance(v, dict) else v for k, v in network.published.items()}
    modern = RECIPES[name] | network.modern
    unknown = {"revive": "hidden", "init": "init_identity"}
    own = {setting for setting, method in unknown.items() if method in vars(network)}
    return {setting: value for setting, value in modern.items() if setting not in unknown or setting in own}


def train_parser(scale: int) -> Parser:
    parser = Parser(
        "Train a super-resolution network. The defaults are the paper's training to the letter; "
        "--recipe modern gathers what is better."
    )
    for title, settings in GROUPS.items():
        group = parser.add_argument_group(title)
        for name, (default, kind, _) in settings.items():
            if default is False:
                group.add_argument(f"--{name}", action="store_true", help=HELP[name])
                continue
            accepts = {"choices": kind} if isinstance(kind, (tuple, list)) else {"type": kind}
            several = {"nargs": "+"} if name in SEVERAL else {}
            group.add_argument(f"--{name}", default=default, help=HELP[name], **accepts, **several)
    parser.set_defaults(scale=scale)
    return parser
