"""Training: one step after the other, until ``max_steps``.

The published training (Tian et al. 2020, Section 4.2) is Adam on the mean squared error, the learning rate
halved every ``decay`` steps, gradients clipped. What differs from it is a setting, see
:mod:`solver.training.command`.

A step depends on the weights, the optimizer's state and its own number alone: its patches, its learning
rate and whatever else is drawn at random follow from the seed and the number. So a run can be stopped
after any step and resumed to the same weights.
"""

import argparse
import contextlib
import copy
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

import model
from dataset import images, test_set
from dataset.errors import InputError, describe
from dataset.train_set import Batch, TrainSet

from .. import processes
from ..checkpoint import load_network
from ..machine import device_name
from ..measuring.evaluate import evaluate
from ..processes import Group
from ..sampling.sampler import Sampler
from .command import listed, train_parser
from .muon import Muon, WhitenedMuon, suits
from .revive import Hidden
from .run_folder import Record, RunFolder
from .teacher import Teacher

# A resumed run must have these as before, or it would be another run.
_FIXED = (
    "model",
    "variant",
    "scale",
    "patch_size",
    "batch_size",
    "seed",
    "weighting",
    "loss_fn",
    "ema",
    "optimizer",
    "channel_shuffle",
    "revive",
    "teacher_share",
    "scale_shares",
)
# These do not change the weights.
_FREE = (
    "resume",
    "overwrite",
    "ckpt_dir",
    "ckpt_name",
    "sample_dir",
    "print_interval",
    "save_interval",
    "save_minutes",
    "val_data_dir",
    "num_workers",
    "cache",
    "shave",
    "group",
    "verbose",
    "recipe",
    "num_gpu",
    "init",
    "init_from",
    "init_rest",
    "teacher",
)  # its weights must be the same, wherever they are

_LOOK = 100  # steps from one look at what the network's layers are given to the next; after ten, five times as many

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Learning rate of a step, 0 to ``max_steps - 1``.

    ``step``: ``lr`` halved every ``decay`` steps, as published. ``cosine``: half a cosine from ``lr`` down
    to 0 at ``max_steps`` (Loshchilov and Hutter 2017, without restarts). ``trapezoid``: ``lr``, and over the
    last ``cooldown`` of the steps straight down to 0 (Hägele et al. 2024). All rise linearly over the first
    ``warmup`` steps.
    """
    if args.schedule == "cosine":
        rate = args.lr * 0.5 * (1 + math.cos(math.pi * step / args.max_steps))
    elif args.schedule == "trapezoid":
        rate = args.lr * min(1.0, (1 - step / args.max_steps) / args.cooldown)
    else:
        rate = args.lr * 0.5 ** (step // args.decay)
    return rate * min(1.0, (step + 1) / (args.warmup + 1))


def charbonnier(sr: torch.Tensor, hr: torch.Tensor, epsilon: float = 1e-3) -> torch.Tensor:
    """Mean of ``sqrt(d^2 + epsilon^2)``: L1, but smooth at 0 (Charbonnier et al. 1994)."""
    return (sr - hr).square().add(epsilon**2).sqrt().mean()


def negative_psnr(sr: torch.Tensor, hr: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    """Minus the mean over the patches of their PSNR in dB, for a peak of 1 (as in Chen et al. 2022, NAFNet).

    A patch with little to tell counts as much as one with much, as the pictures of a test set do. ``epsilon``
    is added to the MSE: beyond 50 dB there is nothing more to gain.
    """
    return 10 * (sr - hr).square().flatten(1).mean(1).add(epsilon).log10().mean()


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "MSE": F.mse_loss,
    "L1": F.l1_loss,
    "SmoothL1": F.smooth_l1_loss,
    "Charbonnier": charbonnier,
    "PSNR": negative_psnr,
}


def build_optimizers(name: str, net: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """``Adam`` for all of a network, or ``Muon`` or ``WhitenedMuon`` and, for what they do not suit, Adam beside."""
    parameters = list(net.parameters())
    if name == "Adam":
        return [torch.optim.Adam(parameters, lr=lr, fused=True)]
    kind = {"Muon": Muon, "WhitenedMuon": WhitenedMuon}[name]
    return [
        kind([p for p in parameters if suits(p)], lr=lr),
        torch.optim.Adam([p for p in parameters if not suits(p)], lr=lr, fused=True),
    ]


class Average:
    """Exponential moving average of a network's weights.

    The decay grows with the steps, ``min(decay, (1 + step) / (10 + step))``, so that the random start is
    soon forgotten.

    Args:
        net: the network; its copy ``self.net`` carries the average.
        decay: what a step leaves of the average before it, at most.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        self._average = list(self.net.parameters())
        self._current = list(net.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, self._current, 1 - decay)


def launch(args: argparse.Namespace) -> int:
    """Train as ``args`` (see :mod:`solver.training.command`) ask for; returns the exit status.

    Raises:
        InputError: for bad input, of which one process of each machine speaks.
    """

    def train(group: Group) -> int:
        torch.backends.cudnn.benchmark = True  # patches have one size, or three if blind
        return Trainer(args, group).run()

    return processes.together(train, args.num_gpu)


class Trainer:
    """A training run.

    Args:
        args: the settings, see :mod:`solver.training.command`.
        group: the run's processes and this one's device.

    Raises:
        InputError: for settings, data or files that do not let a run start.
    """

    def __init__(self, args: argparse.Namespace, group: Group) -> None:
        self.args, self.group = args, group
        self.folder = RunFolder(args.ckpt_dir, args.ckpt_name)
        resumed, note = group.share(self._find_run() if group.leads else None)
        if args.batch_size % group.size:
            raise InputError(f"--batch_size {args.batch_size}: does not divide among {group.size} processes")
        self.data = TrainSet(
            args.train_data_path,
            args.scale,
            args.patch_size,
            args.batch_size,
            seed=args.seed,
            weighting=args.weighting,
            cache=args.cache,
            device=group.device,
            scale_shares=args.scale_shares,
            channel_shuffle=args.channel_shuffle,
        )
        self.val_sets = self._find_val_sets()
        self.start: list[tuple[str, str]] = []  # weights files that it started from, and their SHA-256
        self.rest: tuple[str, str] | None = None  # the file, and its SHA-256, of the layers that those lack
        torch.manual_seed(args.seed)
        self.net = self._build(fresh=resumed is None).to(group.device, memory_format=torch.channels_last)
        self.teacher = args.teacher and Teacher(args.teacher, args.scale, args.teacher_share, group.device)
        self.loss = LOSSES[args.loss_fn]
        self.optimizers = build_optimizers(args.optimizer, self.net, args.lr)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=args.precision == "fp16")
        self.average = Average(self.net, args.ema) if args.ema else None
        self.step = 0  # steps done
        self.seconds = 0.0  # of training, over all resumed parts
        self.best = -math.inf  # mean PSNR
        self.loss_sum, self.loss_count, self.logged = 0.0, 0, 0  # since the last row of the log
        self.stop, self.stopped = _StopRequest(), False
        self.record = self.tensorboard = None
        self.clock = time.monotonic()
        if resumed is not None:
            self._restore(resumed)
        self.forward = self._forward_module()
        self._announce(resumed is not None, note)

    def run(self) -> int:
        """Train up to ``max_steps``, or until SIGTERM or Ctrl-C.

        Returns:
            The exit status: 0, or 128 and the signal's number.

        Raises:
            InputError: if a loss is not finite or a file cannot be written.
        """
        self._start_files()
        self.saved = time.monotonic()
        with _noting(self.stop), self._bar() as self.bar:
            try:
                self._loop()
            except InputError:  # raised between two steps, or before a step has changed the weights
                self.save()
                raise
            except torch.OutOfMemoryError:
                raise InputError(
                    f"step {self.step + 1}: the GPU's memory is full; a smaller --batch_size or "
                    "--patch_size, or --precision bf16, takes less"
                ) from None
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = describe(error).split(" Set TORCH")[0]  # what follows is advice to developers
                raise InputError(f"--compile: {reason}; train without it") from None
            finally:
                if self.tensorboard is not None:
                    self.tensorboard.close()
        if self.step < self.args.max_steps:
            self._say(f"stopped after step {self.step} and saved; --resume continues")
            return 128 + (self.stop.signal or signal.SIGTERM)
        self._say(f"done: {self.step} steps, weights in {self.folder.weights}")
        return 0

    def _loop(self) -> None:
        """Steps, and what is due between them, until the last one or until a stop is asked for."""
        self._row_if_due()  # the run was stopped between a step and its row
        batches = self.data.loader(self.step, self.args.max_steps, self._workers(), self.group.rank, self.group.size)
        with contextlib.closing(batches):
            for batch in batches:
                self.train_step(batch)
                self._progress()
                self._row_if_due()
                if self.stopped:
                    break
                if self._save_is_due():
                    self.save()
            if self.step == self.args.max_steps and self.record is not None:
                self.record.finish()
            self.save()

    def _workers(self) -> int:
        """How many processes read patches: beside a GPU there is time for them, a CPU they have to share."""
        if self.args.num_workers is None:
            return 4 if self.group.device.type == "cuda" else 0
        return self.args.num_workers

    def _save_is_due(self) -> bool:
        minutes = (time.monotonic() - self.saved) / 60
        return self.step % self.args.save_interval == 0 or minutes >= self.args.save_minutes

    # -- one step ------------------------------------------------------------------------------------

    def train_step(self, batch: Batch) -> None:
        """One step of the optimizer on one batch, which must be that of step ``self.step``.

        Raises:
            InputError: before the weights change, if loss or gradient is not finite.
        """
        self._look_if_due()
        torch.manual_seed(hash((self.args.seed, self.step, self.group.rank)))
        lr, hr = self._to_device(batch.lr), self._to_device(batch.hr)
        rate = learning_rate(self.step, self.args)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
        with self._autocast():
            if self.teacher:
                hr = self.teacher.target(lr, hr, batch.scale, self.step)
            sr = self.forward(lr, batch.scale)
        loss = self.loss(sr.float(), hr)
        self.scaler.scale(loss).backward()
        if self.net.multi_scale and self.args.optimizer == "Adam":
            self._zero_unused()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.args.clip or math.inf)
        value = self._agree(loss.detach(), norm)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.step)
        self.step += 1
        self.loss_sum += value
        self.loss_count += 1

    def _look_if_due(self) -> None:
        """Revive silent units, and tell an optimizer that asks for it what the layers are given.

        Every process looks at the same whole batches, so all come to the same.
        """
        revive = self.args.revive and self.step % self.args.revive == 0 and self.step <= self.args.max_steps // 2
        every = _LOOK if self.step <= 10 * _LOOK else 5 * _LOOK
        look = isinstance(self.optimizers[0], WhitenedMuon) and self.step % every == 0
        if not (revive or look):
            return
        torch.manual_seed(hash((self.args.seed, self.step)))
        patches: dict[int, torch.Tensor] = {}
        step = self.step
        while len(patches) < len(self.data.scales):  # the next batch of each scale
            batch = self.data.batch(step)
            patches.setdefault(batch.scale, self._to_device(batch.lr))
            step += 1

        def run() -> None:
            with self._autocast():
                for scale, lr in patches.items():
                    self.net(lr, scale)

        if revive:
            hidden = Hidden(self.net.hidden())
            hidden.watch(run)
            count = hidden.revive(self.average.net.hidden() if self.average else ())
            if count:
                self._say(f"step {self.step}: {count} silent units revived")
        if look:
            self.optimizers[0].look(run)

    def _agree(self, loss: torch.Tensor, norm: torch.Tensor) -> float:
        """The loss over all processes, which also learn from each other whether one was asked to stop.

        Raises:
            InputError: before the optimizer's step, if loss or gradient is not finite.
        """
        asked = torch.tensor(float(self.stop.signal is not None), device=loss.device)
        value, asked = self.group.mean(torch.stack([loss, asked])).tolist()
        self.stopped = asked > 0
        # Under fp16 a gradient may overflow: the scaler then leaves the step out.
        if not math.isfinite(value) or not (self.scaler.is_enabled() or math.isfinite(norm.item())):
            what = f"loss is {value}" if not math.isfinite(value) else f"gradient's norm is {norm.item()}"
            raise InputError(
                f"step {self.step + 1}: the {what}; stopped, {self.folder.last} has the state "
                "before it. A lower --lr or --clip may help, given with --resume"
            )
        return value

    def _zero_unused(self) -> None:
        """Let the up-samplers that a blind step does not use coast on their momentum.

        As published: there, gradients were set to zero between steps, where today's default is None and
        Adam would pass them over.
        """
        for parameter in self.net.parameters():
            if parameter.grad is None and parameter in self.optimizers[0].state:
                parameter.grad = torch.zeros_like(parameter)

    def _to_device(self, patches: torch.Tensor) -> torch.Tensor:
        """(N, 3, h, w) uint8 anywhere -> float32 in [0, 1] on the device, channels_last."""
        patches = patches.to(self.group.device, non_blocking=True)
        return patches.to(torch.float32, memory_format=torch.channels_last).div_(255)

    def _autocast(self):
        return torch.autocast(
            self.group.device.type, _AUTOCAST.get(self.args.precision), enabled=self.args.precision in _AUTOCAST
        )

    # -- validation ----------------------------------------------------------------------------------

    def _row_if_due(self) -> None:
        """Validate and log at every ``print_interval`` and at the end, unless a stop comes between."""
        due = self.step % self.args.print_interval == 0 or self.step == self.args.max_steps
        if not due or self.step == self.logged:
            return
        try:
            self._row()
        except _Stopped:
            self.stopped = True  # the row is written when the run is resumed

    def _row(self) -> None:
        if self.group.leads:
            figures = self._validate()
            psnr = [value for name, value in figures.items() if name.endswith("_psnr")]
            mean = sum(psnr) / len(psnr) if psnr else -math.inf
            self.folder.save_weights(self._result(), best=mean > self.best)
            self.best = max(self.best, mean)
            row = {
                "step": self.step,
                "seconds": round(self._elapsed(), 1),
                "lr": learning_rate(self.step - 1, self.args),
                "loss": self.loss_sum / self.loss_count,
            }
            self.folder.add_row(row | figures)
            for name, value in (row | figures).items():
                if name != "step":
                    self.tensorboard.add_scalar(name, value, self.step)
            self._say(
                f"step {self.step}: loss {row['loss']:.6f}, lr {row['lr']:.2e}"
                + "".join(
                    f", {name.replace('_', ' ')} {value:.{2 if name.endswith('psnr') else 4}f}"
                    for name, value in figures.items()
                )
            )
        self.logged, self.loss_sum, self.loss_count = self.step, 0.0, 0

    def _validate(self) -> dict[str, float]:
        """PSNR and SSIM of each validation set, published protocol: ``{"Set5_x2_psnr": 37.6, ...}``."""
        net = self._result().eval()
        figures = {}
        for pictures in self.val_sets:
            sampler = Sampler(net, pictures.scale, self.group.device)
            scores = evaluate(sampler, pictures, on_picture=self._writer(pictures), progress=self._until_stopped)
            name = f"{pictures.name}_x{pictures.scale}"
            figures |= {f"{name}_psnr": scores.psnr, f"{name}_ssim": scores.ssim}
        self.net.train()
        # Pictures of a few pixels have no SSIM, or no PSNR either.
        return {name: value for name, value in figures.items() if value is not None}

    def _until_stopped(self, items: list) -> Iterator:
        """Give the pictures one by one, unless a stop was asked for (alone: others would wait for us)."""
        for item in items:
            if self.stop.signal is not None and self.group.size == 1:
                raise _Stopped
            yield item

    def _writer(self, pictures: test_set.TestSet):
        if self.args.sample_dir is None:
            return None
        folder = self.args.sample_dir / pictures.name / f"x{pictures.scale}"
        return lambda item, sr: images.write(folder / f"{item.name}.png", sr)

    def _result(self) -> nn.Module:
        """The network whose weights count: the averaged one, if there is one."""
        return self.average.net if self.average else self.net

    # -- state ---------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint and ``run.json``.

        Raises:
            InputError: if they cannot be written; the last good checkpoint stays.
        """
        if not self.group.leads:
            return
        self.folder.save(self._state())
        self.record.write(
            steps=self.step,
            seconds=round(self._elapsed(), 1),
            best_psnr=self.best if math.isfinite(self.best) else None,
        )
        self.saved = time.monotonic()

    def _state(self) -> dict:
        state = {
            "kind": "training checkpoint",
            "network": {"name": self.args.model, "scale": self.net.scale, "multi_scale": self.net.multi_scale},
            "model": self.net.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "seconds": self._elapsed(),
            "best": self.best,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
            "logged": self.logged,
            "settings": self._settings(),
            **self._taken(),
        }
        return state | ({"ema": self.average.net.state_dict()} if self.average else {})

    def _taken(self) -> dict:
        """The weights files that the run has taken, by their SHA-256: what is there now may be something else."""
        return {"start": self.start, "rest": self.rest, "teacher": self.teacher.sha256 if self.teacher else []}

    def _restore(self, state: dict) -> None:
        self.start, self.rest = state.get("start", []), state.get("rest")
        teacher = listed(state.get("teacher"))
        if teacher != self._taken()["teacher"]:
            had = "another" if teacher else "no"
            raise InputError(
                f"{self.folder.folder}: its run has {had} --teacher: give the same weights, or another --ckpt_dir"
            )
        self.net.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.net.load_state_dict(state["ema"])
        for name in ("step", "seconds", "best", "loss_sum", "loss_count", "logged"):
            setattr(self, name, state[name])

    def _settings(self) -> dict:
        """All settings as JSON and a checkpoint can hold them."""

        def plain(value):
            if isinstance(value, list):
                return [plain(v) for v in value]
            return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

        return {name: plain(value) for name, value in vars(self.args).items()}

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.clock

    # -- start ---------------------------------------------------------------------------------------

    def _find_run(self) -> tuple[dict | None, str]:
        """The state to resume, or None for a new run, and a line about it."""
        if not (self.args.resume or self.args.overwrite) and self.folder.in_use():
            raise InputError(
                f"{self.folder.folder}: has a run already; continue it with --resume, or start "
                "anew over it with --overwrite"
            )
        if not self.args.resume:
            return None, ""
        if not self.folder.has_checkpoint():
            return None, f"no run in {self.folder.folder} to resume: starting one"
        state, note = self.folder.load()
        # A run that is older than a flag had its default.
        then, now = vars(train_parser(0).parse_args([])) | state["settings"], self._settings()
        differing = [f"--{name} {then[name]}, not {now[name]}" for name in _FIXED if then[name] != now[name]]
        if differing:
            raise InputError(
                f"{self.folder.folder}: its run has {'; '.join(differing)}: give the same, or another --ckpt_dir"
            )
        changed = [
            f"--{name} {then[name]} -> {now[name]}"
            for name in now
            if name not in _FIXED + _FREE and name in then and then[name] != now[name]
        ]
        if changed:
            note = "; ".join(filter(None, [note, f"resuming with {', '.join(changed)}"]))
        return state, note

    def _find_val_sets(self) -> list[test_set.TestSet]:
        """The validation sets, checked before the first step.

        Raises:
            InputError: if one is missing or has pictures without HR.
        """
        found = []
        for folder in self.args.val_data_dir if self.group.leads else ():
            for scale in self.data.scales:
                pictures = test_set.find(folder, scale)
                if pictures.problems:
                    raise InputError(pictures.problems[0])
                if any(item.hr is None for item in pictures.items):
                    raise InputError(f"--val_data_dir {folder}: its pictures have no HR to compare with")
                found.append(pictures)
        return found

    def _build(self, fresh: bool) -> nn.Module:
        """The network on the CPU, with the weights that a fresh run starts from."""
        args = self.args
        try:
            variant = {"variant": args.variant} if args.variant else {}
            net = model.build(args.model, args.scale or 2, multi_scale=args.scale == 0, **variant)
        except (TypeError, ValueError) as error:
            raise InputError(f"--model {args.model} --scale {args.scale}: {error}") from None
        if args.revive and not hasattr(net, "hidden"):
            raise InputError(f"--revive: does not know the hidden units of {args.model}")
        if args.init == "identity":
            if not hasattr(net, "init_identity"):
                raise InputError(f"--init identity: {args.model} has no such start")
            net.init_identity()
        if args.init_from is not None and fresh:
            hashes, copied = copy_weights(args.init_from, net, args.model)
            self.start = list(zip(map(str, args.init_from), hashes))
            if args.init_rest is not None:
                hashes, _ = copy_weights([args.init_rest], net, args.model, left=copied)
                self.rest = str(args.init_rest), *hashes
        return net

    def _forward_module(self) -> nn.Module:
        """The network as it is called: compiled and for many processes, if asked for."""
        module = self.net
        if self.args.compile:
            module = torch.compile(module)
        if self.group.size > 1:
            module = nn.parallel.DistributedDataParallel(
                module,
                broadcast_buffers=False,  # the buffers are constants
                find_unused_parameters=self.net.multi_scale,
            )
        return module

    def _start_files(self) -> None:
        """Open what the leading process writes."""
        if not self.group.leads:
            return
        from torch.utils.tensorboard import SummaryWriter

        if self.args.overwrite:
            self.folder.clear()
        self.folder.tidy()
        self.folder.cut_log(self.step)
        self.tensorboard = SummaryWriter(str(self.folder.tensorboard), purge_step=self.step + 1)
        self.record = Record(
            self.folder.record, self._settings(), self._taken(), device_name(self.group.device), self.group.size
        )

    def _announce(self, resumed: bool, note: str) -> None:
        args = self.args
        count = sum(p.numel() for p in self.net.parameters())
        kind = "blind" if args.scale == 0 else f"x{args.scale}"
        self._say(
            f"{args.model} {kind}, {count:,} parameters, {args.precision} on "
            f"{device_name(self.group.device)}" + (f", {self.group.size} processes" if self.group.size > 1 else "")
        )
        if args.num_gpu and self.group.device.type == "cpu":
            self._say("no CUDA GPU here: training on the CPU")
        if self.data.skipped:
            self._say(
                f"left out, smaller than a patch: {len(self.data.skipped)} of the training pictures "
                f"({', '.join(self.data.skipped[:5])}{', ...' if len(self.data.skipped) > 5 else ''})"
            )
        if not self.val_sets:
            self._say("no --val_data_dir: training without validation")
        if args.verbose:
            self._say(f"{self.net}")
            self._say(", ".join(f"{name} {value}" for name, value in self._settings().items()))
        if note:
            self._say(note)
        if resumed:
            self._say(f"resuming after step {self.step} of {args.max_steps}")

    def _progress(self) -> None:
        rate = self.optimizers[0].param_groups[0]["lr"]
        self.bar.set_postfix(loss=f"{self.loss_sum / self.loss_count:.5f}", lr=f"{rate:.2e}", refresh=False)
        self.bar.update()

    def _bar(self) -> tqdm:
        # disable=None: no bar where nobody watches (a file, a pipe); the rows are printed all the same.
        return tqdm(
            total=self.args.max_steps,
            initial=self.step,
            unit="step",
            dynamic_ncols=True,
            disable=None if self.group.leads else True,
        )

    def _say(self, line: str) -> None:
        if self.group.leads:
            tqdm.write(line)
            sys.stdout.flush()  # into a file, too, line by line


def copy_weights(
    paths: Sequence[Path], net: nn.Module, name: str, left: Set[str] = frozenset()
) -> tuple[list[str], set[str]]:
    """Copy all weights of the same name and shape from files, of any scale, into ``net``, but for those ``left`` alone.

    Of several files the mean is taken (Wortsman et al. 2022, "Model soups"): of weights that one training has
    passed through, which lie in one valley.

    Returns:
        SHA-256 of each file, and the names of the weights that were copied.

    Raises:
        InputError: if a file cannot be read, is of another network, or has none of the wanted weights or not the
            same ones as the first.
    """
    wanted = {k: v for k, v in net.state_dict().items() if k not in left}
    shared: dict[str, torch.Tensor] = {}
    hashes = []
    for path in paths:
        source, info = load_network(path, name)
        hashes.append(info.sha256)
        state = {k: v for k, v in source.state_dict().items() if k in wanted and wanted[k].shape == v.shape}
        if not state:
            raise InputError(f"{path}: has no layer that this network {'still lacks' if left else 'has too'}")
        if shared and state.keys() != shared.keys():
            raise InputError(
                f"--init_from {path}: shares other layers with this network than {paths[0]} does: "
                "there is no mean of them"
            )
        shared = {k: shared.get(k, 0) + v / len(paths) for k, v in state.items()}
    net.load_state_dict(shared, strict=False)
    files = " and ".join(map(str, paths))
    tqdm.write(f"{len(shared)} of {len(wanted)} weights copied from {'the mean of ' * (len(paths) > 1)}{files}")
    return hashes, set(shared)


class _Stopped(Exception):
    """A signal came during validation."""


class _StopRequest:
    """``signal``: the number of the signal that asked this process to stop, or None."""

    signal: int | None = None


@contextlib.contextmanager
def _noting(request: _StopRequest) -> Iterator[None]:
    """Note SIGTERM and Ctrl-C in ``request`` instead of stopping in the middle of a step."""

    def note(signum, frame):
        request.signal = signum

    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
