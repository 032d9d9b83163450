"""The files of a training run: checkpoints, weights, ``log.csv``, ``run.json``, TensorBoard.

=========================  ==========================================================================
``<name>_last.pth``        training checkpoint: all that a resumed run needs
``<name>_previous.pth``    the one before, should the last one be damaged
``<name>.pth``             the weights at the last validation, in the released names
``<name>_best.pth``        the weights with the best mean PSNR on the validation sets
``log.csv``                a row for each validation: step, seconds, lr, loss, PSNR and SSIM
``run.json``               how this run was made: commands, settings, versions, hardware, data
``tensorboard/``           the same figures as ``log.csv``
=========================  ==========================================================================
"""

import os
import platform
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from dataset import files, sources
from dataset.errors import InputError

from ..checkpoint import read_state, save_weights, serialised
from ..machine import commit, processor

_PACKAGES = ("torch", "numpy", "h5py")


class RunFolder:
    """The files of one run, which has its folder for itself.

    Args:
        folder: where they are.
        name: what checkpoints and weights are called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = Path(folder), name
        self.last = self.folder / f"{name}_last.pth"
        self.previous = self.folder / f"{name}_previous.pth"
        self.weights = self.folder / f"{name}.pth"
        self.best = self.folder / f"{name}_best.pth"
        self.log = self.folder / "log.csv"
        self.record = self.folder / "run.json"
        self.tensorboard = self.folder / "tensorboard"
        self._board = self._record = None
        self._last_is_good = True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other training write here; a folder in which nothing is written goes again.

        Raises:
            InputError: if one does, or the folder holds a run of another name.
        """
        with files.locked(self.folder, "another training"):
            try:
                if other := self._other_run():
                    raise InputError(f"{self.folder}: holds the run {other}; give another --ckpt_dir")
                yield
            finally:
                with suppress(OSError):
                    self.folder.rmdir()

    def open(self, step: int, settings: dict, taken: dict, device: str, processes: int) -> None:
        """Begin to write, or go on after ``step``: half-written files and later rows of the log go.

        Args:
            step: steps done.
            settings: every setting of the command line; with ``overwrite``, an earlier run's files go.
            taken, device, processes: see :class:`Record`.
        """
        from torch.utils.tensorboard import SummaryWriter

        if settings["overwrite"]:
            self.clear()
        files.remove_leftovers(self.folder)
        self.cut_log(step)
        self._board = SummaryWriter(str(self.tensorboard), purge_step=step + 1)
        self._record = Record(self.record, settings, taken, device, processes)

    def note(self, figures: dict, finished: bool) -> None:
        """Write ``run.json`` with the figures reached so far."""
        if finished:
            self._record.finish()
        self._record.write(**figures)

    def close(self) -> None:
        """Nothing more is written, if anything was."""
        if self._board is not None:
            self._board.close()

    def has_checkpoint(self) -> bool:
        """Whether a run has left a checkpoint here."""
        return self.last.exists() or self.previous.exists()

    def in_use(self) -> bool:
        """Whether a run has left something here that another would write over."""
        return self.has_checkpoint() or self.weights.exists() or self.best.exists()

    def clear(self) -> None:
        """Remove the files of a run, and nothing else that may be here."""
        for file in (self.last, self.previous, self.weights, self.best, self.log, self.record):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.tensorboard, ignore_errors=True)

    def save(self, state: dict) -> None:
        """Write a checkpoint; the last one, if it is good, becomes the previous one.

        Raises:
            InputError: if it cannot be written; the last good one is still there.
        """
        with files.written_whole(self.last) as temporary:
            temporary.write_bytes(serialised(state))
            if self.last.exists() and self._last_is_good:
                os.replace(self.last, self.previous)
        self._last_is_good = True

    def states(self) -> Iterator[tuple[dict, list[str]]]:
        """The checkpoints that can be read, the last one first, each with a line about what was passed over.

        Who asks for the next says that the one before was no good.

        Raises:
            InputError: if there is no further one.
        """
        problems = []
        for path in (self.last, self.previous):
            try:
                if not path.exists():
                    raise InputError(f"{path}: is missing")
                state = read_state(path)
                if state.get("kind") != "training checkpoint":
                    raise InputError(f"{path}: is no training checkpoint")
                yield state, [f"{'; '.join(problems)}; taking {path} instead"] if problems else []
                problems.append(f"{path}: is damaged")
            except InputError as error:
                problems.append(str(error))
            self._last_is_good = False
        raise InputError(f"{'; '.join(problems)}; start anew with --overwrite")

    def save_weights(self, net: nn.Module, best: bool) -> None:
        """Write the weights (in the released names, if the network has such), and again if the best."""
        for path in (self.weights, self.best) if best else (self.weights,):
            save_weights(net, path)

    def cut_log(self, step: int) -> None:
        """Drop the rows of ``log.csv`` after ``step``, which a resumed run will write again."""
        rows = self._read_log()
        if rows:
            files.write_csv(self.log, [row for row in rows if int(row["step"]) <= step], list(rows[0]))

    def add_row(self, row: dict) -> None:
        """Append a row to ``log.csv``, and its figures to TensorBoard.

        Columns that the log has not had before are added to all rows.
        """
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(name, value, row["step"])
        rows = [*self._read_log(), row]
        files.write_csv(self.log, rows, list(dict.fromkeys(name for row in rows for name in row)))

    def _read_log(self) -> list[dict]:
        """The log's whole rows. A log that cannot be read is kept under another name."""
        if not self.log.exists():
            return []
        try:
            rows = files.read_csv(self.log)
        except InputError as error:
            os.replace(self.log, kept := self.log.with_name("log_damaged.csv"))
            print(f"{error}: it is kept as {kept.name}", file=sys.stderr)
            return []
        return [row for row in rows if re.fullmatch("[0-9]{1,18}", row.get("step") or "") and None not in row.values()]

    def _other_run(self) -> str | None:
        """The name of a run that is not ours, of which something is here."""
        with suppress(InputError, KeyError, TypeError):
            name = files.read_json(self.record, "")["settings"]["ckpt_name"]
            return None if name == self.name else str(name)
        names = [path.name.removesuffix("_last.pth") for path in self.folder.glob("*_last.pth")]
        return next((name for name in names if name != self.name), None)


class Record:
    """``run.json``: how a run was made, kept up to date while it runs.

    The hash of the training data, see :func:`dataset.sources.hash_of`, takes a while for large ones, so it is computed
    beside the training and is null until it is there.

    Args:
        path: the file.
        settings: every setting of the command line.
        taken: the weights files that it has taken, ``{"start": [(path, SHA-256), ...], "teacher": [SHA-256, ...]}``.
        device: where the run computes, as a person would name it.
        processes: how many processes it has.
    """

    def __init__(self, path: Path, settings: dict, taken: dict, device: str, processes: int) -> None:
        self.path = path
        data, threads = list(map(Path, settings["train_data_path"])), torch.get_num_threads()
        self.content = {
            "commands": [*self._commands(), shlex.join(sys.argv)],
            "settings": settings,
            "taken": taken,
            "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
            "commit": commit(),
            "hardware": {"device": device, "processor": processor(), "threads": threads, "processes": processes},
            "data": {"file": sources.name_of(data), "bytes": sources.size_of(data), "sha256": None},
        }
        self._hashing = threading.Thread(target=self._hash, args=(data,), daemon=True)
        self._hashing.start()

    def write(self, **figures) -> None:
        """Write the file with the figures reached so far."""
        files.write_json(self.path, self.content | figures)

    def finish(self) -> None:
        """Wait for the hash."""
        self._hashing.join()

    def _commands(self) -> list[str]:
        """The commands of the run that is resumed."""
        with suppress(InputError, KeyError, TypeError):
            return list(map(str, files.read_json(self.path, "")["commands"]))
        return []

    def _hash(self, paths: list[Path]) -> None:
        with suppress(InputError):  # it is gone
            self.content["data"]["sha256"] = sources.hash_of(paths)
