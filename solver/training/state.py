"""What a checkpoint holds of a training run: all that a resumed run needs to go on as if it had never stopped."""

import math

import torch

from dataset.errors import InputError

from ..checkpoint import description
from . import settings

# What is counted in a run, and kept.
_COUNTED = {"step": int, "seconds": float, "best": float, "loss_sum": float, "loss_count": int, "logged": int}
_LIKE_WEIGHTS = (
    "momentum_buffer",
    "exp_avg",
    "exp_avg_sq",
    "average",
)  # of an optimizer's state: a number for each weight

# What taking up a state that is none may raise.
MALFORMED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def collect(run) -> dict:
    """The state of a :class:`solver.training.trainer.Trainer`, as ``torch.save`` takes it."""
    state = {
        "kind": "training checkpoint",
        "network": description(run.net),
        "model": run.net.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "scaler": run.scaler.state_dict(),
        **{name: getattr(run, name) for name in _COUNTED},
        "seconds": run.elapsed(),
        "settings": settings.plain(run.args),
        **run.taken(),
    }
    return state | ({"ema": run.average.net.state_dict()} if run.average else {})


def restore(run, state: dict) -> None:
    """Give a new Trainer the state that one like it had.

    Raises:
        InputError: if that had other teachers.
        one of MALFORMED: if it is no state of such a run.
    """
    run.start = state.get("start", [])
    teacher = state.get("teacher", [])
    if teacher != run.taken()["teacher"]:
        had = "another" if teacher else "no"
        advice = "give the same weights, or another --ckpt_dir"
        raise InputError(f"{run.folder.folder}: its run has {had} --teacher: {advice}")
    run.net.load_state_dict(state["model"])
    for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
        _restore_optimizer(optimizer, saved)
    run.scaler.load_state_dict(state["scaler"])
    if run.average:
        run.average.net.load_state_dict(state["ema"])
    for name, kind in _COUNTED.items():
        setattr(run, name, kind(state[name]))
    if not 0 <= run.logged <= run.step < 2**63 or not math.isfinite(run.seconds + run.loss_sum) or not is_finite(run):
        raise ValueError("some of its numbers are none that a run has")


def is_finite(run) -> bool:
    """Whether all weights are numbers."""
    nets = [run.net, run.average.net] if run.average else [run.net]
    return all(value.isfinite().all() for net in nets for value in net.state_dict().values())


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    def settings_of(groups: list[dict]) -> list[dict]:
        return [{name: value for name, value in group.items() if name not in ("params", "lr")} for group in groups]

    if settings_of(state["param_groups"]) != settings_of(optimizer.param_groups):
        raise ValueError("the optimizer has other settings")
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value is None:  # SGD without momentum keeps none
                continue
            if name in _LIKE_WEIGHTS and value.shape != parameter.shape or not torch.as_tensor(value).isfinite().all():
                raise ValueError(f"{name} of the optimizer does not fit")
