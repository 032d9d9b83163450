"""The training command line: the published flags and defaults, and everything better as further flags.

Nothing heavy is imported before the arguments have been read, so ``--help`` answers at once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dataset.errors import InputError, Parser, run

from ..arguments import SCALES, add_group, add_model, natural, not_negative, positive, positive_number

# A recipe sets other defaults and nothing else: each of its flags can still be given explicitly.
RECIPES = {
    "paper": {},
    "modern": {
        "loss_fn": "L1",
        "optimizer": "WhitenedMuon",
        "lr": 1e-3,
        "schedule": "cosine",
        "warmup": 200,
        "ema": 0.999,
        "revive": 100,
        "weighting": "root",
        "init": "identity",
    },
}


def train_main(scale: int) -> None:
    """Run ``train.py``: train a network, see :mod:`solver.training.trainer`.

    Args:
        scale: default of ``--scale``: 2, 3 or 4, or 0 for the blind network.
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
    recipe = parser.parse_known_args(arguments)[0].recipe
    parser.set_defaults(**RECIPES[recipe])
    args = parser.parse_args(arguments)
    if args.ckpt_name is None:
        args.ckpt_name = args.model if args.scale == 0 else f"{args.model}_x{args.scale}"
    if args.ckpt_dir is None:
        args.ckpt_dir = Path("checkpoint") / args.ckpt_name
    if args.resume and args.overwrite:
        raise InputError("--resume and --overwrite: give one of them")
    if args.ema >= 1:
        raise InputError(f"--ema {args.ema}: must be at least 0 and less than 1")
    if args.teacher_share > 1:
        raise InputError(f"--teacher_share {args.teacher_share}: must be from 0 to 1")
    if args.cooldown > 1:
        raise InputError(f"--cooldown {args.cooldown}: must be at most 1, the whole run")
    if args.init_rest and not args.init_from:
        raise InputError("--init_rest: goes with --init_from, which has most of the layers")
    if args.scale_shares and args.scale:
        raise InputError(f"--scale_shares: for a blind network, --scale 0, not for --scale {args.scale}")
    return args


def train_parser(scale: int) -> Parser:
    parser = Parser(
        "Train a super-resolution network. The defaults are the paper's training to the letter; "
        "--recipe modern gathers what is better."
    )
    _add_published(parser.add_argument_group("published flags"), scale)
    _add_better(parser.add_argument_group("what is better than published"))
    _add_surviving(parser.add_argument_group("surviving"))
    _add_speed(parser.add_argument_group("speed"))
    return parser


def _add_published(group, scale: int) -> None:
    add = group.add_argument
    add_model(group)
    add(
        "--scale",
        type=int,
        choices=(0, *SCALES),
        default=scale,
        help="enlargement factor; 0 is blind: one network, and one of the scales 2, 3, 4 drawn for each step",
    )
    add("--train_data_path", type=Path, default="dataset/DIV2K_train.h5", help="HDF5 file made by dataset/div2h5.py")
    add(
        "--ckpt_dir",
        type=Path,
        help="folder of this run's files: checkpoints, weights, log.csv, run.json, TensorBoard "
        "(by default checkpoint/CKPT_NAME)",
    )
    add("--ckpt_name", help="what they are called (by default as lesrcnn_x2, blind: lesrcnn)")
    add("--sample_dir", type=Path, help="if given, each validation writes its pictures there, over the last one's")
    add(
        "--num_gpu",
        type=natural,
        default=1,
        help="GPUs of this machine to use; 0 is the CPU. For more machines, or several processes on CPUs, "
        "start this script with torchrun",
    )
    add("--patch_size", type=positive, default=64, help="side of a training patch in LR pixels")
    add("--batch_size", type=positive, default=64, help="patches in a step, all processes together")
    add("--max_steps", type=positive, default=600_000, help="steps in all")
    add(
        "--decay", type=positive, default=400_000, help="schedule step: the learning rate is halved every so many steps"
    )
    add("--lr", type=positive_number, default=1e-4, help="learning rate; modern: 1e-3")
    add(
        "--clip",
        type=not_negative,
        default=10.0,
        help="largest norm of the gradient, longer ones are shortened; 0 leaves them",
    )
    add(
        "--loss_fn",
        choices=("MSE", "L1", "SmoothL1", "Charbonnier", "PSNR"),
        default="MSE",
        help="on pixels in [0, 1]; Charbonnier is sqrt(d^2 + 1e-6), a smooth L1; PSNR the mean of the patches' PSNR "
        "in dB, negative; modern: L1",
    )
    add("--print_interval", type=positive, default=1000, help="steps between validations, each a row in log.csv")
    add(
        "--shave",
        type=int,
        default=20,
        help="accepted as published; a validation's result is that of whole pictures, so nothing is shaved",
    )
    add_group(group)
    add("--verbose", action="store_true", help="print every setting and the network at the start")


def _add_better(group) -> None:
    add = group.add_argument
    add(
        "--recipe",
        choices=RECIPES,
        default="paper",
        help="modern sets other defaults: L1, whitened Muon, learning rate 1e-3 with warm-up and cosine decay, "
        "averaged weights, silent units revived, pictures drawn by their area's root, start as an enlarger; "
        "flags given with it win",
    )
    add("--variant", help="of a network that comes in several, which; ablation: SN, HN, IEEB or IEEB+RB")
    add(
        "--optimizer",
        choices=("Adam", "Muon", "WhitenedMuon"),
        default="Adam",
        help="Muon makes each layer's step orthogonal, WhitenedMuon its effect on the layer's output, whatever "
        "the directions that the inputs lie in; it wants a third of Muon's rate (results/training.md); "
        "modern: WhitenedMuon",
    )
    add(
        "--schedule",
        choices=("step", "cosine", "trapezoid"),
        default="step",
        help="step halves the learning rate every DECAY steps; cosine lets it fall to 0 at MAX_STEPS; trapezoid "
        "keeps it, and lets it fall to 0 over the end of the run; modern: cosine",
    )
    add("--cooldown", type=positive_number, default=0.25, help="schedule trapezoid: that end, as a share of MAX_STEPS")
    add("--warmup", type=natural, default=0, help="steps over which the learning rate rises from 0; modern: 200")
    add(
        "--ema",
        type=not_negative,
        default=0.0,
        help="decay of an exponential moving average of the weights, which then is what is validated and "
        "kept; 0 is none; modern: 0.999",
    )
    add(
        "--revive",
        type=natural,
        default=0,
        metavar="STEPS",
        help="every so many steps of the first half, draw the weights of units anew that nothing excites any "
        "more, and that would stay silent for good; 0 leaves them; modern: 100",
    )
    add(
        "--weighting",
        choices=("uniform", "root", "area"),
        default="uniform",
        help="how a patch's picture is drawn: each alike, or by its area, so that every pixel is as likely "
        "as any other, or halfway between, by the area's root; modern: root",
    )
    add(
        "--scale_shares",
        type=positive_number,
        nargs=len(SCALES),
        metavar=tuple(f"X{s}" for s in SCALES),
        help="blind: how many of the steps are of each scale, in any unit; 3 2 1 spends about as much time on each, "
        "and most steps on x2, where they teach the shared layers for the least time; by default as many of each",
    )
    add("--channel_shuffle", action="store_true", help="give each patch its red, green and blue in a random order")
    add(
        "--init",
        choices=("default", "identity"),
        default="default",
        help="identity starts as a bilinear enlarger instead of at random: 31.84 dB on Set5 x2 before the "
        "first step (a default start: 12.66), and 37.03 after 3,000 steps of batch 16 and patch 32, "
        "where a default start has 36.01, and 36.73 after 9,000; modern: identity",
    )
    add(
        "--init_from",
        type=Path,
        nargs="+",
        help="start from these weights, of the same network at any scale: all layers of the same name and "
        "shape are copied; of several files (of one training, or they fit ill) the mean is taken",
    )
    add(
        "--init_rest",
        type=Path,
        help="take the layers that --init_from does not have from these weights: a blind network's other up-samplers "
        "when it starts from x2's weights",
    )
    add(
        "--teacher",
        type=Path,
        nargs="+",
        help="weights that are trained already, of this network or another, as edsr: the targets become the mean of "
        "the picture and of what they make of the patch flipped or turned, which has less noise; of several, the "
        "first that knows a scale teaches it",
    )
    add(
        "--teacher_share",
        type=not_negative,
        default=0.4,
        help="of the target, from 0 to 1; the rest is the picture; 0.8 where its mean is far better than the "
        "student, as after a long run without a teacher",
    )
    add("--seed", type=natural, default=0, help="of the start and of the patches")
    add(
        "--val_data_dir",
        type=Path,
        nargs="+",
        default=[],
        help="benchmark folders to validate on, for example dataset/Set5; the weights with the best mean "
        "PSNR are kept as CKPT_NAME_best.pth",
    )


def _add_surviving(group) -> None:
    add = group.add_argument
    add(
        "--resume",
        action="store_true",
        help="continue the run in CKPT_DIR as if it had never stopped; without one, start it",
    )
    add("--overwrite", action="store_true", help="start anew over the run in CKPT_DIR")
    add("--save_interval", type=positive, default=1000, help="steps between checkpoints, and ...")
    add("--save_minutes", type=positive_number, default=10.0, help="... minutes between them, whichever is over first")


def _add_speed(group) -> None:
    add = group.add_argument
    add(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="of the network's arithmetic, the weights stay in fp32; on a CPU that has bf16 it makes steps "
        "about twice as fast",
    )
    add(
        "--compile",
        action="store_true",
        help="torch.compile the network: a minute or more at the start, faster steps after it",
    )
    add(
        "--cache",
        choices=("none", "ram", "device"),
        default="none",
        help="where the training pictures are: in the file, in memory, or on the device, where patches are "
        "cut without a copy from the CPU",
    )
    add(
        "--num_workers",
        type=natural,
        help="background processes that read patches (by default 4 beside a GPU, 0 on a CPU; none are needed "
        "with --cache device)",
    )


def listed(value: str | list[str] | None) -> list[str]:
    """The weights files of a flag, or their hashes, as a run has noted them; older runs took one only."""
    return [value] if isinstance(value, str) else value or []
