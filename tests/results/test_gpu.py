"""Half an hour on a GPU, in seconds on a CPU."""

import json
import subprocess

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
