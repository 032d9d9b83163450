"""Every setting of a training run: its default, what it is worth, and whether a resumed run must keep it.

The command line (:mod:`solver.training.command`) is made from this list. Order of precedence, lowest first: the defaults
here, the network's own ``published`` training, a recipe, the flags that are given.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import model

from ..arguments import natural, not_negative, positive, positive_number

# What a setting does to a run, and so what becomes of it when the run is resumed:
WEIGHTS = "weights"  # another value makes another run: it must stay
COURSE = "course"  # it may change on the way, and is told
START = "start"  # it has done its part when the run has started
NOTHING = "nothing"  # the weights do not depend on it

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


@dataclass(frozen=True)
class Setting:
    """One flag; ``more`` is what else argparse is told of it (its type, its choices)."""

    name: str
    default: Any
    concerns: str
    help: str
    more: dict[str, Any] = field(default_factory=dict)


def _setting(name: str, default: Any, concerns: str, help: str, **more) -> Setting:
    return Setting(name, default, concerns, help, more)


PUBLISHED = (
    _setting("model", "lesrcnn", WEIGHTS, "network, a file in model/", choices=model.names()),
    _setting(
        "scale",
        2,
        WEIGHTS,
        "enlargement factor; 0 is blind: one network, and one of its scales drawn for each step",
        type=natural,
    ),
    _setting(
        "train_data_path", Path("dataset/DIV2K_train.h5"), COURSE, "HDF5 file made by dataset/div2h5.py", type=Path
    ),
    _setting(
        "ckpt_dir",
        None,
        NOTHING,
        "folder of this run's files: checkpoints, weights, log.csv, run.json, TensorBoard (by default "
        "checkpoint/CKPT_NAME)",
        type=Path,
    ),
    _setting("ckpt_name", None, NOTHING, "what they are called (by default as lesrcnn_x2, blind: lesrcnn)"),
    _setting(
        "sample_dir",
        None,
        NOTHING,
        "if given, each validation writes its pictures there, over the last one's",
        type=Path,
    ),
    _setting(
        "num_gpu",
        1,
        NOTHING,
        "GPUs of this machine to use; 0 is the CPU. For more machines, or several processes on CPUs, start this script "
        "with torchrun",
        type=natural,
    ),
    _setting("patch_size", 64, WEIGHTS, "side of a training patch in LR pixels", type=positive),
    _setting("batch_size", 64, WEIGHTS, "patches in a step, all processes together", type=positive),
    _setting("max_steps", 600_000, COURSE, "steps in all", type=positive),
    _setting("decay", 400_000, COURSE, "schedule step: the learning rate is halved every so many steps", type=positive),
    _setting("lr", 1e-4, COURSE, "learning rate; modern: 1e-3", type=positive_number),
    _setting(
        "clip", 10.0, COURSE, "largest gradient, larger ones are cut, see --clip_by; 0 leaves them", type=not_negative
    ),
    _setting(
        "loss_fn",
        "MSE",
        WEIGHTS,
        "on pixels in [0, 1]; Charbonnier is sqrt(d^2 + 1e-6), a smooth L1; PSNR the mean of the patches' PSNR in dB, "
        "negative; modern: L1",
        choices=("MSE", "L1", "SmoothL1", "Charbonnier", "PSNR"),
    ),
    _setting("print_interval", 1000, NOTHING, "steps between validations, each a row in log.csv", type=positive),
    _setting(
        "shave",
        20,
        NOTHING,
        "accepted as published; a validation's result is that of whole pictures, so nothing is shaved",
        type=int,
    ),
    _setting(
        "group", 1, NOTHING, "accepted as published; the released LESRCNN does not use it, and neither do we", type=int
    ),
    _setting("verbose", False, NOTHING, "print every setting and the network at the start", action="store_true"),
)

BETTER = (
    _setting(
        "recipe",
        "paper",
        NOTHING,
        "modern sets other defaults: L1, whitened Muon, learning rate 1e-3 with warm-up and cosine decay, averaged "
        "weights, silent units revived, pictures drawn by their area's root, start as an enlarger; flags given with it "
        "win",
        choices=RECIPES,
    ),
    _setting("variant", None, WEIGHTS, "of a network that comes in several, which; ablation: SN, HN, IEEB or IEEB+RB"),
    _setting(
        "optimizer",
        "Adam",
        WEIGHTS,
        "Muon makes each layer's step orthogonal, WhitenedMuon its effect on the layer's output, whatever the "
        "directions that the inputs lie in; it wants a third of Muon's rate (results/training.md); modern: WhitenedMuon",
        choices=("Adam", "Muon", "WhitenedMuon"),
    ),
    _setting(
        "schedule",
        "step",
        COURSE,
        "step halves the learning rate every DECAY steps; cosine lets it fall to 0 at MAX_STEPS; trapezoid keeps it, "
        "and lets it fall to 0 over the end of the run; modern: cosine",
        choices=("step", "cosine", "trapezoid"),
    ),
    _setting("cooldown", 0.25, COURSE, "schedule trapezoid: that end, as a share of MAX_STEPS", type=positive_number),
    _setting("warmup", 0, COURSE, "steps over which the learning rate rises from 0; modern: 200", type=natural),
    _setting(
        "clip_by",
        "norm",
        COURSE,
        "what CLIP bounds: the norm of the whole gradient, each value of it, or each value times the learning rate "
        "(VDSR's adjustable clipping)",
        choices=("norm", "value", "rate"),
    ),
    _setting(
        "ema",
        0.0,
        WEIGHTS,
        "decay of an exponential moving average of the weights, which then is what is validated and kept; 0 is none; "
        "modern: 0.999",
        type=not_negative,
    ),
    _setting(
        "revive",
        0,
        WEIGHTS,
        "every so many steps of the first half, draw the weights of units anew that nothing excites any more, and that "
        "would stay silent for good; 0 leaves them; modern: 100",
        type=natural,
        metavar="STEPS",
    ),
    _setting(
        "weighting",
        "uniform",
        WEIGHTS,
        "how a patch's picture is drawn: each alike, or by its area, so that every pixel is as likely as any other, or "
        "halfway between, by the area's root; modern: root",
        choices=("uniform", "root", "area"),
    ),
    _setting(
        "scale_shares",
        None,
        WEIGHTS,
        "blind: how many of the steps are of each scale, in any unit; 3 2 1 spends about as much time on each of 2, 3 "
        "and 4, and most steps on x2, where they teach the shared layers for the least time; by default as many of each",
        type=positive_number,
        nargs="+",
        metavar="SHARE",
    ),
    _setting(
        "init",
        "default",
        START,
        "identity starts as a bilinear enlarger instead of at random: 31.84 dB on Set5 x2 before the first step (a "
        "default start: 12.66), and 37.03 after 3,000 steps of batch 16 and patch 32, where a default start has 36.01, "
        "and 36.73 after 9,000; modern: identity",
        choices=("default", "identity"),
    ),
    _setting(
        "init_from",
        None,
        START,
        "start from these weights, of the same network at any scale: all layers of the same name and shape are copied; "
        "of several files (of one training, or they fit ill) the mean is taken",
        type=Path,
        nargs="+",
    ),
    _setting(
        "teacher",
        None,
        START,
        "weights that are trained already, of this network or another, as edsr: the targets become the mean of the "
        "picture and of what they make of the patch flipped or turned, which has less noise; of several, the first that "
        "knows a scale teaches it",
        type=Path,
        nargs="+",
    ),
    _setting(
        "teacher_share",
        0.4,
        WEIGHTS,
        "of the target, from 0 to 1; the rest is the picture; 0.8 where its mean is far better than the student, as "
        "after a long run without a teacher",
        type=not_negative,
    ),
    _setting("seed", 0, WEIGHTS, "of the start and of the patches", type=natural),
    _setting(
        "val_data_dir",
        [],
        NOTHING,
        "benchmark folders to validate on, for example dataset/Set5; the weights with the best mean PSNR are kept as "
        "CKPT_NAME_best.pth",
        type=Path,
        nargs="+",
    ),
)

SURVIVING = (
    _setting(
        "resume",
        False,
        NOTHING,
        "continue the run in CKPT_DIR as if it had never stopped; without one, start it",
        action="store_true",
    ),
    _setting("overwrite", False, NOTHING, "start anew over the run in CKPT_DIR", action="store_true"),
    _setting("save_interval", 1000, NOTHING, "steps between checkpoints, and ...", type=positive),
    _setting("save_minutes", 10.0, NOTHING, "... minutes between them, whichever is over first", type=positive_number),
)

SPEED = (
    _setting(
        "precision",
        "fp32",
        COURSE,
        "of the network's arithmetic, the weights stay in fp32; on a CPU that has bf16 it makes steps about twice as "
        "fast; auto takes it where it is",
        choices=("fp32", "bf16", "fp16", "auto"),
    ),
    _setting(
        "compile",
        False,
        COURSE,
        "torch.compile the network: a minute or more at the start, faster steps after it",
        action="store_true",
    ),
    _setting(
        "cache",
        "none",
        NOTHING,
        "where the training pictures are: in the file, in memory, or on the device, where patches are cut without a copy "
        "from the CPU",
        choices=("none", "ram", "device"),
    ),
    _setting(
        "num_workers",
        None,
        NOTHING,
        "background processes that read patches (by default 4 beside a GPU, 0 on a CPU; none are needed with --cache "
        "device)",
        type=natural,
    ),
)

GROUPS = {"published flags": PUBLISHED, "what is better than published": BETTER, "surviving": SURVIVING, "speed": SPEED}
_ALL = [setting for group in GROUPS.values() for setting in group]
DEFAULTS = {setting.name: setting.default for setting in _ALL}


def plain(args: argparse.Namespace) -> dict[str, Any]:
    """All settings as JSON and a checkpoint can hold them."""

    def told(value):
        if isinstance(value, list):
            return [told(v) for v in value]
        return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

    return {name: told(value) for name, value in vars(args).items()}


def differing(then: dict[str, Any], args: argparse.Namespace, concerns: tuple[str, ...] = ()) -> list[str]:
    """What another run's settings have otherwise, as ``--lr 0.0001, not 0.001``.

    Args:
        then: the settings of that run as its ``run.json`` or checkpoint has them. A run that is older than a setting
            had its default.
        args: those of this one.
        concerns: which settings are compared; by default all that the weights depend on. (The training file is compared
            by its hash and not by its name, which is the caller's to do.)
    """
    then, now = plain(argparse.Namespace(**DEFAULTS)) | then, plain(args)
    names = [s.name for s in _ALL if s.concerns in (concerns or (WEIGHTS, COURSE, START)) and s.name in now]
    if not concerns:
        names.remove("train_data_path")
    return [f"--{name} {then[name]}, not {now[name]}" for name in names if then[name] != now[name]]
