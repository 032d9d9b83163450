"""Training: one step after the other, until ``max_steps``.

The published training (Tian et al. 2020, Section 4.2) is Adam on the mean squared error, the learning rate
halved every ``decay`` steps, gradients clipped. What differs from it is a setting, see
:mod:`solver.training.settings`.

A step depends on the weights, the optimizer's state and its own number alone: its patches, its learning
rate and whatever else is drawn at random follow from the seed and the number. So a run can be stopped
after any step and resumed to the same weights.
"""

import argparse
import contextlib
import math
import signal
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from dataset.errors import InputError, describe
from dataset.signals import Stopped, StopRequest, noting
from dataset.train_set import Batch, TrainSet

from .. import machine, processes
from ..processes import Group
from ..sampling.sampler import PRECISIONS
from . import settings, state
from .objective import LOSSES, Average, Objective, build_optimizers, clip, learning_rate, set_rate, zero_unused
from .run_folder import RunFolder
from .start import build, check_patches, copy_weights, find_run
from .teacher import Teacher
from .upkeep import Upkeep
from .validation import Validation


class Diverged(InputError):
    """A loss, a gradient or weights are no numbers any more: nothing of it is saved."""


def launch(args: argparse.Namespace) -> int:
    """Train as ``args`` (see :mod:`solver.training.command`) ask for; returns the exit status.

    Raises:
        InputError: for bad input, of which one process of each machine speaks.
    """

    def train(group: Group) -> int:
        torch.backends.cudnn.benchmark = True  # patches have one size, or three if blind
        folder = RunFolder(args.ckpt_dir, args.ckpt_name)
        with folder.locked() if group.leads else contextlib.nullcontext():
            return Trainer(args, group).run()

    return processes.together(train, args.num_gpu, args.device)


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
        states = find_run(self.folder, args)
        resumed, notes = group.share(next(states) if group.leads else None)
        if args.batch_size % group.size:
            raise InputError(f"--batch_size {args.batch_size}: does not divide among {group.size} processes")
        self.precision, note = machine.precision_for(args.precision, group.device)
        notes += [note] if note else []
        if self.precision == "fp32" and group.device.type == "cuda":
            machine.exact_fp32()
        torch.manual_seed(args.seed)
        torch.set_flush_denormal(True)  # a silent unit's gradient fades to numbers that take a CPU 100 times as long
        self.net = build(args)
        self.start: list[tuple[str, str]] = []  # weights files that it started from, and their SHA-256
        if args.init_from is not None and resumed is None:
            hashes, note = copy_weights(args.init_from, self.net, args.model)
            self.start = list(zip(map(str, args.init_from), hashes, strict=True))
            notes.append(note)
        self.net.to(group.device, memory_format=torch.channels_last)
        names = ("seed", "weighting", "cache", "scale_shares", "rotations", "flips")
        patches = {name: getattr(args, name) for name in names} | {"factors": args.scales}
        where = {"device": group.device, "scales": self.net.scales}
        self.data = TrainSet(args.train_data_path, args.scale, args.patch_size, args.batch_size, **patches, **where)
        check_patches(self.data.source, self.net, args)
        self.stop, self.stopped = StopRequest(), False
        folders = args.val_data_dir if group.leads else []
        alone = self.stop if group.size == 1 else None  # others would wait for us
        self.validation = Validation(folders, self.data.scales, group.device, args.sample_dir, alone)
        self.teacher = args.teacher and Teacher(args.teacher, self.net.scales, args.teacher_share, group.device)
        try:
            groups = self.net.parameter_groups(args.rates)
        except ValueError as error:
            raise InputError(f"--rates: {error}") from None
        self.optimizers = build_optimizers(args.optimizer, groups, args.lr, args.momentum, args.weight_decay)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=self.precision == "fp16")
        self.average = Average(self.net, args.ema) if args.ema else None
        nets = self.net, self.average.net if self.average else None
        self.upkeep = Upkeep(*nets, self.optimizers[0], self.data, args, group, self._to_device)
        self.step = 0  # steps done
        self.seconds = 0.0  # of training, over all resumed parts
        self.best = -math.inf  # mean PSNR
        self.loss_sum, self.loss_count, self.logged = 0.0, 0, 0  # since the last row of the log
        self.clock = time.monotonic()
        while resumed is not None:
            try:
                state.restore(self, resumed)
                break
            except state.MALFORMED:
                resumed, notes = group.share(next(states) if group.leads else None)
        self.kept = (self.step, self.logged) if resumed else None  # the steps of the last checkpoint and its last row
        self.patches = None  # the last step's, and its loss
        self.objective = self._objective()
        self._announce(resumed is not None, notes)

    def run(self) -> int:
        """Train up to ``max_steps``, or until SIGTERM or Ctrl-C.

        Returns:
            The exit status: 0, or 128 and the signal's number.

        Raises:
            InputError: if a loss is not finite or a file cannot be written.
        """
        if self.group.leads:
            device = machine.device_name(self.group.device)
            self.folder.open(self.step, settings.plain(self.args), self.taken(), device, self.group.size)
        self.saved = time.monotonic()
        with noting(self.stop), self._bar() as self.bar:
            try:
                self._loop()
            except Diverged:
                raise
            except InputError:  # raised between two steps, or before a step has changed the weights
                self.save()
                raise
            except RuntimeError as error:
                if processes.is_lost(error):  # so is this one
                    self.save()
                raise
            except torch.OutOfMemoryError:
                less = "a smaller --batch_size or --patch_size, or --precision bf16, takes less"
                raise InputError(f"step {self.step + 1}: the GPU's memory is full; {less}") from None
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = describe(error).split(" Set TORCH")[0]  # what follows is advice to developers
                raise InputError(f"--compile: {reason}; train without it") from None
            finally:
                self.folder.close()
        if not self._finished():
            self._say(f"stopped after step {self.step} and saved; --resume continues")
            return 128 + (self.stop.signal or signal.SIGTERM)
        self._say(f"done: {self.step} steps, weights in {self.folder.weights}")
        return 0

    def _loop(self) -> None:
        """Steps, and what is due between them, until the last one or until a stop is asked for."""
        self._row_if_due()  # the run was stopped between a step and its row
        workers = self.args.num_workers
        if workers is None:  # beside a GPU there is time for them, a CPU they have to share
            workers = 0 if self.group.device.type == "cpu" else 4
        batches = self.data.loader(self.step, self.args.max_steps, workers, self.group.rank, self.group.size)
        with contextlib.closing(batches):
            for batch in batches:
                self.train_step(batch)
                rate = learning_rate(self.step - 1, self.args)
                self.bar.set_postfix(loss=f"{self.loss_sum / self.loss_count:.5f}", lr=f"{rate:.2e}", refresh=False)
                self.bar.update()
                self._row_if_due()
                if self.stopped:
                    break
                if self._save_is_due():
                    self.save()
            self.save()

    def _finished(self) -> bool:
        return self.step >= self.args.max_steps and not self._row_is_due()

    def _save_is_due(self) -> bool:
        minutes = (time.monotonic() - self.saved) / 60
        return self.step % self.args.save_interval == 0 or minutes >= self.args.save_minutes

    # -- one step ------------------------------------------------------------------------------------

    def train_step(self, batch: Batch) -> None:
        """One step of the optimizer on one batch, which must be that of step ``self.step``.

        Raises:
            InputError: before the weights change, if loss or gradient is not finite.
        """
        if self.upkeep.is_due(self.step):
            with self._autocast():
                revived = self.upkeep.do(self.step, self._seed(self.step))
            if revived:
                self._say(f"step {self.step}: {revived} silent units revived")
        torch.manual_seed(self._seed(self.step, self.group.rank))
        lr, hr = self._to_device(batch.lr), self._to_device(batch.hr)
        set_rate(self.optimizers, learning_rate(self.step, self.args))
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with self._autocast():
            if self.teacher:
                hr = self.teacher.target(lr, hr, batch.scale, self.step)
            loss = self.objective(lr, hr, batch.scale)
        self.scaler.scale(loss).backward()
        if self.net.multi_scale and self.args.optimizer == "Adam":
            zero_unused(self.optimizers[0])
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = clip(self.optimizers, self.args.clip_by, self.args.clip)
        value = self._agree(loss.detach(), norm)
        self.patches = lr, hr, batch.scale, value
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.step)
        self.step += 1
        self.loss_sum += value
        self.loss_count += 1

    def _seed(self, *numbers: int) -> int:
        """A seed that depends on the run's and on these numbers, and on nothing else."""
        return int(np.random.SeedSequence([self.args.seed, *numbers]).generate_state(1, np.uint64)[0] >> np.uint64(1))

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
            self._diverged(what)
        return value

    def _diverged(self, what: str) -> None:
        saved = self.kept and self.kept[0]
        kept = "nothing was saved" if saved is None else f"step {saved} is saved in {self.folder.last}"
        if saved == self.step and self.folder.previous.exists():
            kept += f"; if it is no good, remove it, and --resume takes {self.folder.previous.name}"
        raise Diverged(f"step {self.step + 1}: the {what}; {kept}. A lower --lr or --clip may help, with --resume")

    def _to_device(self, patches: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) uint8, or float32 in [0, 1], anywhere -> float32 in [0, 1] on the device, channels_last."""
        white = 255 if patches.dtype == torch.uint8 else 1
        # Elsewhere what is copied is not pinned, and its slot may be filled anew before it has arrived.
        patches = patches.to(self.group.device, non_blocking=self.group.device.type == "cuda")
        return patches.to(torch.float32, memory_format=torch.channels_last).div(white)

    def _autocast(self):
        enabled = self.precision != "fp32"
        return torch.autocast(self.group.device.type, PRECISIONS[self.precision] if enabled else None, enabled=enabled)

    # -- validation ----------------------------------------------------------------------------------

    def _row_if_due(self) -> None:
        """Validate and log at every ``print_interval`` and at the end, unless a stop comes between."""
        if not self._row_is_due():
            return
        try:
            self._row()
        except Stopped:
            self.stopped = True  # the row is written when the run is resumed

    def _row_is_due(self) -> bool:
        due = self.step % self.args.print_interval == 0 or self.step == self.args.max_steps
        return due and self.step != self.logged

    def _row(self) -> None:
        if self.group.leads:
            self._check_good()
            figures = self.validation(self._result().eval())
            self.net.train()
            psnr = [value for name, value in figures.items() if name.endswith("_psnr")]
            mean = sum(psnr) / len(psnr) if psnr else -math.inf
            self.folder.save_weights(self._result(), best=mean > self.best)
            self.best = max(self.best, mean)
            row = {
                "step": self.step,
                "seconds": round(self.elapsed(), 1),
                "lr": learning_rate(self.step - 1, self.args),
                "loss": self.loss_sum / self.loss_count,
            }
            self.folder.add_row(row | figures)
            told = [f"loss {row['loss']:.6f}", f"lr {row['lr']:.2e}"]
            for name, value in figures.items():
                told.append(f"{name.replace('_', ' ')} {value:.{2 if name.endswith('psnr') else 4}f}")
            self._say(f"step {self.step}: {', '.join(told)}")
        self.logged, self.loss_sum, self.loss_count = self.step, 0.0, 0

    def _result(self) -> nn.Module:
        """The network whose weights count: the averaged one, if there is one, at the end with its brightness right."""
        if self.average and self.step == self.args.max_steps:
            return self.upkeep.finished(self.step, self.stop if self.group.size == 1 else None)
        return self.average.net if self.average else self.net

    # -- state ---------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write ``run.json`` and, unless no step was done and no row written since the last one, a checkpoint.

        Raises:
            InputError: if they cannot be written, or the weights are no numbers; the last two good checkpoints stay.
        """
        if self.group.leads:
            if (self.step, self.logged) != self.kept:
                self._check_good()
                self.folder.save(state.collect(self))
                self.kept = self.step, self.logged
            best = self.best if math.isfinite(self.best) else None
            steps = self.step - self._row_is_due()  # a step is done when its row is
            figures = {"steps": steps, "seconds": round(self.elapsed(), 1), "best_psnr": best}
            self.folder.note(figures, self._finished())
            self.saved = time.monotonic()

    @torch.no_grad()
    def _check_good(self) -> None:
        """Raise Diverged rather than let weights that make nonsense of the last patches take the place of good ones."""
        if not state.is_finite(self):
            self._diverged("weights are not finite")
        if self.patches is not None:
            *patches, before = self.patches
            self.net.eval()
            with self._autocast():
                loss = self.net.loss(LOSSES[self.args.loss_fn], *patches).item()
            self.net.train()
            if not loss <= 1000 * (abs(before) + 0.01):
                self._diverged(f"loss of the last patches has gone from {before:.3g} to {loss:.3g}")

    def taken(self) -> dict:
        """The weights files that the run has taken, by their SHA-256: what is there now may be something else."""
        return {"start": self.start, "teacher": self.teacher.sha256 if self.teacher else []}

    def elapsed(self) -> float:
        """Seconds of training, over all resumed parts."""
        return self.seconds + time.monotonic() - self.clock

    # -- start ---------------------------------------------------------------------------------------

    def _objective(self) -> nn.Module:
        """What a step calls: compiled and for many processes, if asked for."""
        objective = Objective(self.net, LOSSES[self.args.loss_fn])
        if self.args.compile:
            objective = torch.compile(objective)
        if self.group.size > 1:
            unused = self.net.multi_scale  # a blind step uses one up-sampler
            objective = DistributedDataParallel(objective, find_unused_parameters=unused)
        return objective

    def _announce(self, resumed: bool, notes: list[str]) -> None:
        args, skipped = self.args, self.data.skipped
        kind = "blind" if args.scale == 0 else f"x{args.scale}"
        count = sum(p.numel() for p in self.net.parameters())
        where = machine.device_name(self.group.device)
        where += f", {self.group.size} processes" if self.group.size > 1 else ""
        self._say(f"{args.model} {kind}, {count:,} parameters, {self.precision} on {where}")
        if args.num_gpu and not args.device and self.group.device.type == "cpu":
            self._say("no CUDA GPU here: training on the CPU")
        if skipped:
            names = f"{', '.join(skipped[:5])}{', ...' if len(skipped) > 5 else ''}"
            self._say(f"left out, smaller than a patch: {len(skipped)} of the training pictures ({names})")
        if self.data.source.made and args.scales != [1.0]:
            self._say("the training patches are made already: --scales makes no copies of them")
        if not self.validation.sets:
            self._say("no --val_data_dir: training without validation")
        if args.verbose:
            self._say(f"{self.net}")
            self._say(", ".join(f"{name} {value}" for name, value in settings.plain(args).items()))
        for note in notes:
            self._say(note)
        if resumed:
            self._say(f"resuming after step {self.step} of {args.max_steps}")

    def _bar(self) -> tqdm:
        # disable=None: no bar where nobody watches (a file, a pipe); the rows are printed all the same.
        silent = None if self.group.leads else True
        return tqdm(total=self.args.max_steps, initial=self.step, unit="step", dynamic_ncols=True, disable=silent)

    def _say(self, line: str) -> None:
        if self.group.leads:
            tqdm.write(line)
            sys.stdout.flush()  # into a file, too, line by line
