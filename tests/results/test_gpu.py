"""Half an hour on a GPU, in seconds on a CPU."""

import json
import subprocess
import time

import pytest

from dataset.errors import InputError
from results import gpu


def test_all_runs_in_pieces(training_file, tmp_path, monkeypatch):
    """The first call is over in the middle of the second run; the next one goes on with it."""
    flags = ["gpu.py", "--train_data_path", training_file, "--ckpt_dir", tmp_path, "--minutes", 0.01]
    flags += ["--batch_size", 2, "--patch_size", 8]
    monkeypatch.setattr("sys.argv", list(map(str, flags)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(gpu, "VALIDATION", [])
    monkeypatch.setattr(gpu, "RUNS", {name: gpu.RUNS[name] for name in ("lesrcnn", "lesrcnn_x3")})
    begun = []

    class Popen(subprocess.Popen):
        def wait(self, timeout=None):
            begun.append(self)
            if len(begun) == 2:
                raise subprocess.TimeoutExpired(self.args, timeout)
            return super().wait()

    monkeypatch.setattr(subprocess, "Popen", Popen)
    assert gpu.main() == 0 and len(begun) == 3  # the third wait is for the run that was stopped
    assert gpu.main() == 0
    for name, (steps, _) in gpu.RUNS.items():
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert record["steps"] == record["settings"]["max_steps"] == max(1, round(steps * 0.01 / gpu.MINUTES))
        assert (tmp_path / name / f"{name}.pth").is_file()


@pytest.mark.parametrize("flag", ["--minutes", "--piece"])
def test_minutes_without_end(monkeypatch, flag):
    monkeypatch.setattr("sys.argv", ["gpu.py", "--train_data_path", "a.h5", flag, "1e308"])
    with pytest.raises(InputError, match=f"{flag} 1e\\+308: more than a million"):
        gpu.main()


def test_a_run_that_is_killed_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu.py", "--train_data_path", "a.h5"])
    monkeypatch.setattr(gpu, "command", lambda name, args: ["sh", "-c", "kill -9 $$"])
    with pytest.raises(InputError, match="lesrcnn: its training was killed by signal 9"):
        gpu.main()


def test_a_run_ends_with_the_command(monkeypatch, tmp_path):
    """Stopped, the command stops its run and waits until that has saved."""
    run = [
        "sh",
        "-c",
        f"trap 'sleep 0.2; echo saved > {tmp_path}/saved; exit' TERM; echo > {tmp_path}/begun; sleep 60 & wait",
    ]

    def stopped(self, timeout=None):
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", stopped)
    with pytest.raises(KeyboardInterrupt):
        gpu.work(run, 60)
    assert (tmp_path / "saved").exists()
