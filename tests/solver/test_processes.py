"""Several processes agree, fail in one line each, and leave none behind."""

import os
import re
import signal
import subprocess
import time
from datetime import timedelta

import pytest
import torch

from dataset.errors import InputError
from dataset.signals import StopRequest, noting
from solver import processes
from solver.processes import spawn

WORK = """
import os, sys
import torch
from dataset.errors import InputError, run
from solver.processes import together

def work(group):
    assert group.size == 2 and group.leads == (group.rank == 0)
    tensors = [torch.full((3,), float(group.rank + 5)), torch.nn.Parameter(torch.tensor([group.rank]).float())]
    group.same(tensors)
    assert tensors[0].tolist() == [5, 5, 5] and tensors[1].tolist() == [0]
    assert group.gather(group.rank) == [0, 1] and group.share({"rank": group.rank}) == {"rank": 0}
    assert group.mean(torch.tensor([group.rank, 4.0])).tolist() == [0.5, 4]
    print("agreed")
    if group.rank == 1:
        raise InputError("a.png: is no picture")
    group.gather(None)  # waits for the other

run(lambda: together(work, num_gpu=0))
"""


def test_bad_input_of_one_process_ends_all_in_a_line_each(root, tmp_path, monkeypatch, capfd):
    (tmp_path / "work.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert spawn(2, ["python", str(tmp_path / "work.py")]) == 2
    out, err = capfd.readouterr()
    assert out.count("agreed") == 2
    assert "process 1 of 2: error: a.png: is no picture\n" in err and "Traceback" not in err, err


@pytest.mark.parametrize("child", [0, 1], ids=["first", "last"])
def test_sigterm_while_processes_start_leaves_none(child, monkeypatch):
    """It comes when a child is there, and before it is known to be."""
    started = []

    def start(*arguments, _start=subprocess.Popen, **settings):
        started.append(_start(*arguments, **settings))
        if len(started) == child + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    before = signal.getsignal(signal.SIGTERM)
    begin = time.monotonic()
    assert spawn(2, ["python", "-c", "import time; time.sleep(100)"]) == 128 + signal.SIGTERM
    assert time.monotonic() - begin < 20
    assert len(started) == child + 1 and all(process.wait(5) for process in started)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_first_that_fails_gives_the_status():
    program = "import os, sys, time; time.sleep(0 if os.environ['RANK'] == '1' else 100); sys.exit(3)"
    assert spawn(3, ["python", "-c", program]) == 3


def test_a_stop_is_noted_and_the_handlers_come_back():
    before, request = signal.getsignal(signal.SIGTERM), StopRequest()
    with noting(request):
        assert request.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_one_process_is_a_group_too():
    group = processes.join("cpu")
    assert (group.rank, group.size, group.leads) == (0, 1, True)
    assert group.gather("a") == ["a"] and group.share("a") == "a"


def test_one_may_wait_for_another_s_film_for_days(monkeypatch):
    asked = {}
    for name, value in {"WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "rendezvous", lambda *_, **__: iter([("a store",)]))
    monkeypatch.setattr(processes.dist, "init_process_group", lambda *_, **flags: asked.update(flags))
    processes.join("cpu")
    assert asked["timeout"] >= timedelta(days=7)


@pytest.mark.parametrize(
    "there, num_gpu, device, kind",
    [
        ([], 1, None, "cpu"),  # as published
        (["cuda", "mps"], 1, None, "cuda"),
        (["mps"], 1, None, "cpu"),
        (["mps"], 1, "auto", "mps"),
        (["mps"], 0, "auto", "cpu"),
        (["cuda"], 1, "cpu", "cpu"),
        (["cuda"], 2, "auto", "cuda"),
        (["cuda"], 2, "cpu", "--num_gpu 2: several GPUs are CUDA's, and --device cpu is cpu"),
        (["xpu"], 2, "auto", "--num_gpu 2: several GPUs are CUDA's, and --device auto is xpu"),
        (["cuda"], 0, "cuda", "--num_gpu 0 is the CPU, and --device cuda is not"),
        (["mps"], 1, "cuda", "there is none that torch can use; give one of auto, mps, cpu"),
    ],
)
def test_flags_choose_a_device_or_contradict_each_other_in_one_line(monkeypatch, there, num_gpu, device, kind):
    monkeypatch.setattr(processes.machine, "devices", lambda: [*there, "cpu"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    if " " not in kind:
        assert processes.device_kind(num_gpu, device) == kind
        return
    with pytest.raises(InputError, match=re.escape(kind)):
        processes.device_kind(num_gpu, device)


def test_one_process_has_a_gpu_that_is_not_cuda_s_and_several_have_none(monkeypatch):
    assert processes.join("mps").device == torch.device("mps")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match="--device mps: one process alone"):
        processes.join("mps")
