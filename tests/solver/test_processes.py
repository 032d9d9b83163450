"""Several processes agree, fail in one line each, and leave none behind."""

import os
import signal
import subprocess
import time

import pytest

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
    group = processes.join(num_gpu=0)
    assert (group.rank, group.size, group.leads) == (0, 1, True)
    assert group.gather("a") == ["a"] and group.share("a") == "a"
