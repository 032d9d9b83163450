"""Every setting of a training run: its default, what it is worth, and whether a resumed run must keep it.

The command line (:mod:`solver.training.command`) is made from this list. Precedence, lowest first: the defaults
here, the recipe (``paper`` is the network's own ``published`` training), the flags that are given.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import model

from ..arguments import (
    DEVICES,
    flip,
    layer_rate,
    natural,
    not_negative,
    option,
    positive,
    positive_number,
    rotation,
    share,
)

# What a setting does to a run, and so what becomes of it when the run is resumed:
WEIGHTS = "weights"  # another value makes another run: it must stay
COURSE = "course"  # it may change on the way, and is told
START = "start"  # it has done its part when the run has started
NOTHING = "nothing"  # the weights do not depend on it

# A recipe sets other defaults and nothing else: each of its flags can still be given explicitly.
RECIPES = {
    "paper": {},  # and what the network's file says
    "modern": {"loss_fn": "L1", "optimizer": "WhitenedMuon", "lr": 1e-3, "schedule": "cosine", "warmup": 200}
    | {"ema": 0.999, "revive": 100, "weighting": "root", "init": "identity"},
}

# Name: default, type or choices (a default of False is a flag without a value), what it does to a run.
GROUPS: dict[str, dict[str, tuple[Any, Any, str]]] = {
    "published flags": {
        "model": ("lesrcnn", model.names(), WEIGHTS),
        "scale": (2, natural, WEIGHTS),
        "train_data_path": ([Path("dataset/DIV2K_train.h5")], Path, COURSE),
        "ckpt_dir": (None, Path, NOTHING),
        "ckpt_name": (None, str, NOTHING),
        "sample_dir": (None, Path, NOTHING),
        "num_gpu": (1, natural, NOTHING),
        "patch_size": (64, positive, WEIGHTS),
        "batch_size": (64, positive, WEIGHTS),
        "max_steps": (600_000, positive, COURSE),
        "decay": (400_000, positive, COURSE),
        "decay_by": (0.5, positive_number, COURSE),
        "lr": (1e-4, positive_number, COURSE),
        "clip": (10.0, not_negative, COURSE),
        "loss_fn": ("MSE", ("MSE", "L1", "SmoothL1", "Charbonnier", "CharbonnierSum", "PSNR", "Euclidean"), WEIGHTS),
        "print_interval": (1000, positive, NOTHING),
        "shave": (20, int, NOTHING),
        "group": (1, int, NOTHING),
        "verbose": (False, None, NOTHING),
    },
    "what is better than published": {
        "recipe": ("paper", tuple(RECIPES), NOTHING),
        "variant": (None, str, WEIGHTS),
        "options": ([], option, WEIGHTS),
        "optimizer": ("Adam", ("Adam", "SGD", "Muon", "WhitenedMuon"), WEIGHTS),
        "rates": ([], layer_rate, WEIGHTS),
        "momentum": (0.9, not_negative, WEIGHTS),
        "weight_decay": (0.0, not_negative, WEIGHTS),
        "schedule": ("step", ("step", "cosine", "trapezoid"), COURSE),
        "cooldown": (0.25, positive_number, COURSE),
        "warmup": (0, natural, COURSE),
        "clip_by": ("norm", ("norm", "value", "rate", "norm_rate"), COURSE),
        "ema": (0.0, not_negative, WEIGHTS),
        "revive": (0, natural, WEIGHTS),
        "weighting": ("uniform", ("uniform", "root", "area"), WEIGHTS),
        "scale_shares": (None, positive_number, WEIGHTS),
        "scales": ([1.0], share, WEIGHTS),
        "rotations": (None, rotation, WEIGHTS),
        "flips": (None, flip, WEIGHTS),
        "init": ("default", ("default", "published", "identity"), START),
        "init_from": (None, Path, START),
        "teacher": (None, Path, START),
        "teacher_share": (0.4, not_negative, WEIGHTS),
        "seed": (0, natural, WEIGHTS),
        "val_data_dir": ([], Path, NOTHING),
    },
    "surviving": {
        "resume": (False, None, NOTHING),
        "overwrite": (False, None, NOTHING),
        "save_interval": (1000, positive, NOTHING),
        "save_minutes": (10.0, positive_number, NOTHING),
    },
    "speed": {
        "device": (None, DEVICES, NOTHING),
        "precision": ("fp32", ("fp32", "bf16", "fp16", "auto"), COURSE),
        "compile": (False, None, COURSE),
        "cache": ("none", ("none", "ram", "device"), NOTHING),
        "num_workers": (None, natural, NOTHING),
    },
}
SEVERAL = {"train_data_path", "scale_shares", "scales", "rotations", "flips", "init_from", "teacher"}
SEVERAL |= {"options", "rates", "val_data_dir"}  # take more than one value
ALL = {name: setting for group in GROUPS.values() for name, setting in group.items()}
DEFAULTS = {name: default for name, (default, _, _) in ALL.items()}

_HELP = """
model            network, a file in model/
scale            enlargement factor; 0 is blind: one network, and one of its scales drawn for each step
train_data_path  HDF5 file made by dataset/div2h5.py; or an HDF5 file with data sets lr and hr of patches; a folder with
                 the folders hr and lr in it; a folder of HR pictures, or their NAME.lmdb, whose LR is made then; or two
                 folders or LMDBs, HR's and LR's
ckpt_dir         folder of this run's files: checkpoints, weights, log.csv, run.json, TensorBoard (by default
                 checkpoint/CKPT_NAME)
ckpt_name        what they are called (by default as lesrcnn_x2, blind: lesrcnn)
sample_dir       if given, each validation writes its pictures there, over the last one's
num_gpu          GPUs of this machine to use; 0 is the CPU. For more machines, or several processes on CPUs, start this
                 script with torchrun
patch_size       side of a training patch in LR pixels
batch_size       patches in a step, all processes together
max_steps        steps in all
decay            schedule step: the learning rate is cut every so many steps, ...
decay_by         ... and multiplied by this
lr               learning rate; modern: 1e-3
clip             largest gradient, larger ones are cut, see --clip_by; 0 leaves them
loss_fn          on pixels in [0, 1]; Charbonnier is sqrt(d^2 + 1e-6), a smooth L1; PSNR the mean of the patches' PSNR
                 in dB, negative; Euclidean half the sum of a patch's squares, as Caffe has it, and CharbonnierSum the
                 sum of its Charbonnier: learning rates are that much smaller; modern: L1
print_interval   steps between validations, each a row in log.csv
shave            accepted as published; a validation's result is that of whole pictures, so nothing is shaved
group            accepted as published; the released LESRCNN does not use it, and neither do we
verbose          print every setting and the network at the start
recipe           modern sets other defaults: L1, whitened Muon, a cosine schedule, averaged weights, silent units
                 revived, start as an enlarger; flags given with it win
variant          of a network that comes in several, which; ablation: SN, HN, IEEB or IEEB+RB; carn: M; srcnn: 9-1-5,
                 9-3-5 or 9-5-5; wdsr: A or B
options          what else a network takes, as NAME=VALUE; fsrcnn: d=56 s=12 m=4; rdn: d=16 c=8 g=64 g0=64
optimizer        SGD is that with momentum; Muon makes each layer's step orthogonal, WhitenedMuon its effect on the
                 layer's output; it wants a third of Muon's rate (results/training.md); modern: WhitenedMuon
rates            layers whose learning rate is another, as NAME=FACTOR: conv3=0.1; bias is all biases
momentum         of SGD
weight_decay     of SGD and Adam: so much of each weight is added to its gradient
schedule         step cuts the learning rate every DECAY steps; cosine lets it fall to 0 at MAX_STEPS; trapezoid keeps
                 it, and lets it fall to 0 over the end of the run; modern: cosine
cooldown         schedule trapezoid: that end, as a share of MAX_STEPS
warmup           steps over which the learning rate rises from 0; modern: 200
clip_by          what CLIP bounds: the norm of the whole gradient, each value of it, each value times the learning rate
                 (VDSR's adjustable clipping), or the norm times it (DRRN's)
ema              decay of an exponential moving average of the weights, which then is what is validated and kept, and
                 whose brightness is set right after the last step; 0 is none; modern: 0.999
revive           every so many steps of the first half, draw the weights of units anew that nothing excites any more; 0
                 leaves them; modern: 100
weighting        how a patch's picture is drawn: each alike, or by its area, so that every pixel is as likely as any
                 other, or halfway between, by the area's root; modern: root
scale_shares     blind: how many of the steps are of each scale, in any unit; 3 2 1 spends about as much time on each of
                 2, 3 and 4; by default as many of each
scales           draw from the pictures shrunk by each of these factors, up to 1, which is the picture itself; for
                 example 1.0 0.9 0.8 0.7 0.6, as FSRCNN does
rotations        degrees that patches are turned by: some of 0 90 180 270; by default all, but patches that come from a
                 file of patches stay as they are
flips            and how they are flipped then: some of 0 (not), 1 (left-right), 2 (up-down) and 3 (both); by default as
                 for rotations
init             default is torch's, published draws weights as the network's paper does, where it tells how;
                 identity starts as an enlarger, bilinear or bicubic, instead of at random: LESRCNN x2 has 37.03 dB on
                 Set5 after 3,000 steps of batch 16 and patch 32, a default start 36.01; modern: identity
init_from        start from these weights, of the same network at any scale: all layers of the same name and shape are
                 copied; of several files (of one training, or they fit ill) the mean is taken
teacher          weights that are trained already, of this network or another: the targets become the mean of the
                 picture and of what they make of the patch, flipped or turned; the first that knows a scale teaches it
teacher_share    of the target, from 0 to 1; the rest is the picture; 0.8 where its mean is far better than the student,
                 as after a long run without a teacher
seed             of the start and of the patches
val_data_dir     benchmark folders to validate on, for example dataset/Set5; the weights with the best mean PSNR are
                 kept as CKPT_NAME_best.pth
resume           continue the run in CKPT_DIR as if it had never stopped; without one, start it
overwrite        start anew over the run in CKPT_DIR
save_interval    steps between checkpoints, and ...
save_minutes     ... minutes between them, whichever is over first
device           where to train: auto is a GPU where there is one, mps is Apple's and xpu Intel's; by default a CUDA
                 GPU, or the CPU where there is none
precision        of the network's arithmetic, the weights stay in fp32; on a CPU that has bf16 it makes steps about
                 twice as fast; auto takes it where it is
compile          torch.compile the network: a minute or more at the start, faster steps after it
cache            where the training pictures are: in the file, in memory, or on the device, where patches are cut
                 without a copy from the CPU
num_workers      background processes that read patches (by default 4 beside a GPU, 0 on a CPU; none are needed with
                 --cache device)
"""
HELP = {text.split()[0]: " ".join(text.split()[1:]) for text in re.split(r"\n(?! )", _HELP.strip())}


def plain(args: argparse.Namespace) -> dict[str, Any]:
    """All settings as JSON and a checkpoint can hold them."""

    def told(value):
        if isinstance(value, (list, tuple)):
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
    if isinstance(then["train_data_path"], str):  # an older run has one path
        then["train_data_path"] = [then["train_data_path"]]
    concerned = concerns or (WEIGHTS, COURSE, START)
    names = [name for name, (_, _, concern) in ALL.items() if concern in concerned and name in now]
    if not concerns:
        names.remove("train_data_path")
    return [f"--{name} {then[name]}, not {now[name]}" for name in names if then[name] != now[name]]
