"""The training commands as processes: as published, killed, stopped, and several at once."""

import csv
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from dataset import files
from solver import checkpoint, processes

KILLS = 4
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
SMALL = ["--patch_size", 8, "--batch_size", 4]


def losses(folder):
    with open(folder / "log.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture
def script(root, monkeypatch, capsys, one_thread):
    """Run a script in this process (torch's import takes seconds): its exit status, output and errors."""

    def run(*arguments):
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, "argv", [str(a) for a in arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(sys.argv[0], run_name="__main__")
        return end.value.code, *capsys.readouterr()

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "folder, name, scale",
    [("x2", "lesrcnn_x2", 2), ("x3", "lesrcnn_x3", 3), ("x4", "lesrcnn_x4", 4), ("lesrcnn_b", "lesrcnn", 0)],
)
def test_the_published_commands_run(script, training_file, tmp_path, folder, name, scale):
    status, _, err = script(
        f"{folder}/train.py",
        "--patch_size",
        8,
        "--batch_size",
        2,
        "--max_steps",
        2,
        "--decay",
        400000,
        "--model",
        "lesrcnn",
        "--ckpt_name",
        name,
        "--ckpt_dir",
        tmp_path / name,
        "--scale",
        scale,
        "--num_gpu",
        1,
        "--train_data_path",
        training_file,
    )
    assert status == 0, err
    info = checkpoint.load_network(tmp_path / name / f"{name}.pth")[1]
    assert info.multi_scale == (scale == 0) and scale in (0, *info.scales)


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--scale", 5], "--scale"),
        (["--train_data_path", "no.h5"], "no.h5"),
        (["--num_gpu", 99], "--num_gpu 99"),
        (["--max_steps", 0], "--max_steps"),
        (["--ema", 1.5], "--ema"),
    ],
)
def test_bad_input_is_one_line_and_status_2(script, tmp_path, flags, named):
    status, out, err = script("x2/train.py", "--ckpt_dir", tmp_path / "run", *flags)
    assert status == 2 and not out
    assert len(err.splitlines()) == 1 and named in err
    assert not (tmp_path / "run").exists()


def test_killed_five_times_and_resumed_it_ends_with_the_same_weights(root, training_file, tmp_path):
    """SIGKILL at random steps. The runs are forked from one process, which saves them torch's import."""
    flags = [
        *SMALL,
        "--scale",
        0,
        "--recipe",
        "modern",
        "--max_steps",
        40,
        "--print_interval",
        1,
        "--save_interval",
        3,
        "--train_data_path",
        training_file,
        "--num_gpu",
        0,
    ]
    kills = sorted([random.randrange(1, 7), *random.sample(range(7, 38), KILLS)])  # one, at most, before the first save
    script = textwrap.dedent("""
        import json, os, signal, sys, time
        sys.path.insert(0, os.getcwd())
        from pathlib import Path
        import torch._dynamo, torch.utils.tensorboard
        from solver.training import trainer
        from solver.training import command as train_options

        def steps(log):
            return log.read_bytes().count(b"\\n") - 1 if log.exists() else 0

        def start(folder, *more):
            child = os.fork()
            if child == 0:
                sys.argv = ["train.py", *flags, "--ckpt_dir", folder, *more]
                train_options.train_main(0)
            return child

        flags, folder, kills = json.loads(sys.argv[1])
        assert os.waitpid(start(folder + "/whole"), 0)[1] == 0
        for kill in kills:
            log = Path(folder, "killed/log.csv")
            before = log.exists() and log.stat().st_mtime_ns  # of a run killed late, the log may be longer already
            child = start(folder + "/killed", "--resume")
            while steps(log) < kill or log.stat().st_mtime_ns == before:
                time.sleep(0.001)
            while kill % 2 and not list(log.parent.glob(".*_last.pth.*.part")):  # in the middle of a save
                time.sleep(0.0001)
            os.kill(child, signal.SIGKILL)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL
        assert os.waitpid(start(folder + "/killed", "--resume"), 0)[1] == 0
    """)
    arguments = json.dumps([[str(flag) for flag in flags], str(tmp_path), kills])
    done = subprocess.run(
        [sys.executable, "-c", script, arguments],
        cwd=root,
        env=os.environ | ONE_THREAD,
        text=True,
        capture_output=True,
        timeout=280,
    )
    assert done.returncode == 0, (kills, done.stdout, done.stderr)
    whole, killed = (checkpoint.read_state(tmp_path / run / "lesrcnn_last.pth") for run in ("whole", "killed"))
    for part in ("model", "ema"):
        assert all(torch.equal(value, killed[part][name]) for name, value in whole[part].items()), kills
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed"), kills
    assert done.stdout.count("resuming after step") >= 4, kills


def test_a_second_training_does_not_touch_the_first_ones_folder(script, training_file, tmp_path):
    flags = [*SMALL, "--max_steps", 2, "--train_data_path", training_file, "--ckpt_dir", tmp_path / "run"]
    assert script("x2/train.py", *flags)[0] == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()}
    for other in ([], ["--resume"], ["--overwrite"]):
        status, out, err = script("x3/train.py", *flags, *other)
        assert status == 2 and not out and len(err.splitlines()) == 1
        assert "run: holds the run lesrcnn_x2; give another --ckpt_dir" in err
    with files.locked(tmp_path / "run", "a test"):
        status, out, err = script("x2/train.py", *flags, "--resume")
        assert status == 2 and not out and err.count("\n") == 1 and "another training is writing there" in err
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()}


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "x", "WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "-1"},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "1" * 400},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "²"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "port"},
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "99999"},
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    ],
)
def test_garbage_in_the_environment_is_one_line(script, training_file, tmp_path, monkeypatch, environment):
    monkeypatch.setattr(processes, "_PATIENCE", timedelta(seconds=1))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status, out, err = script("x2/train.py", *SMALL, "--train_data_path", training_file, "--ckpt_dir", tmp_path / "run")
    assert status == 2 and not out, err
    last = err.splitlines()[-1]
    assert last.startswith("train.py: error: ") and any(f"{name}=" in last or "join" in last for name in environment)


# What --num_gpu 2 does, on a CPU.
SPAWN = "import sys; from solver.processes import spawn; sys.exit(spawn(2, sys.argv))"


@pytest.mark.parametrize("launcher, more", [([], ["--num_workers", 1]), (["-c", SPAWN], [])], ids=["one", "two"])
def test_sigterm_to_the_process_group_saves_and_ends_cleanly(root, training_file, tmp_path, launcher, more):
    flags = [
        *SMALL,
        "--print_interval",
        1,
        "--num_gpu",
        0,
        "--ckpt_dir",
        tmp_path / "run",
        "--train_data_path",
        training_file,
        *more,
    ]
    run = subprocess.Popen(
        [sys.executable, *launcher, "x2/train.py", *map(str, flags)],
        cwd=root,
        text=True,
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    for line in run.stdout:
        if line.startswith("step 3:"):
            break
    os.killpg(run.pid, signal.SIGTERM)
    out, err = run.communicate(timeout=100)
    assert run.returncode == 143 and "Traceback" not in err, err
    assert out.count("--resume continues") == 1
    state = checkpoint.read_state(tmp_path / "run" / "lesrcnn_x2_last.pth")
    assert state["step"] >= 3 and state["logged"] == state["step"]


@pytest.mark.parametrize("launcher, more", [([], ["--num_workers", 1]), (["-c", SPAWN], [])], ids=["worker", "peer"])
def test_when_a_process_is_killed_the_run_saves_and_says_so(root, training_file, tmp_path, launcher, more):
    flags = [*SMALL, "--print_interval", 1, "--save_interval", 10**6, "--num_gpu", 0, "--ckpt_dir", tmp_path / "run"]
    run = subprocess.Popen(
        [sys.executable, *launcher, "x2/train.py", *map(str, [*flags, "--train_data_path", training_file, *more])],
        cwd=root,
        text=True,
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for line in run.stdout:
        if line.startswith("step 3:"):
            break
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, err = run.communicate(timeout=100)
    assert run.returncode == (2 if more else 137) and "Traceback" not in err, err
    assert "was killed" in err
    assert checkpoint.read_state(tmp_path / "run" / "lesrcnn_x2_last.pth")["step"] >= 3


@pytest.mark.parametrize("optimizer, rel", [("Muon", 1e-5), ("WhitenedMuon", 2e-3)])
def test_two_processes_give_the_losses_of_one(script, command, training_file, tmp_path, optimizer, rel):
    # Adam divides gradients by their size, and whitened Muon by that of the inputs, however close to zero they are, and
    # so both blow rounding up. From the paper's start, with Adam, already one process that adds its patches in another
    # order strays by 1e-4 within 50 steps.
    flags = [
        "x2/train.py",
        *SMALL,
        "--scale",
        0,
        "--recipe",
        "modern",
        "--optimizer",
        optimizer,
        "--max_steps",
        50,
        "--print_interval",
        1,
        "--num_gpu",
        0,
        "--train_data_path",
        training_file,
    ]
    assert script(*flags, "--ckpt_dir", tmp_path / "one")[0] == 0
    two = command(
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        2,
        *flags,
        "--ckpt_dir",
        tmp_path / "two",
        **ONE_THREAD,
    )
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("done: 50 steps") == 1  # one of them speaks
    assert len(losses(tmp_path / "one")) == 50
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=rel)


def test_processes_for_several_gpus_know_each_other_and_stop_together(tmp_path):
    program = tmp_path / "child.py"
    program.write_text(
        "import os, sys\nprint(os.environ['RANK'], os.environ['WORLD_SIZE'])\n"
        "open(sys.argv[1] + os.environ['RANK'], 'w').close()\n"
        "import time\n"
        "while os.environ['RANK'] == '1' and not os.path.exists(sys.argv[1] + '0'): time.sleep(0.01)\n"
        "if os.environ['RANK'] == '1': sys.exit(7)\n"
        "time.sleep(200)\n"
    )
    start = time.monotonic()
    assert processes.spawn(2, ["python", str(program), str(tmp_path / "rank")]) == 7
    assert (tmp_path / "rank0").exists() and (tmp_path / "rank1").exists()
    assert time.monotonic() - start < 100


def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_stays(root, script, training_file, tmp_path):
    """A limit on the size of files stands for the full disk: a checkpoint has some 7 MB, 1 MB is allowed."""
    flags = [
        *map(str, SMALL),
        "--print_interval",
        "100",
        "--save_interval",
        "1",
        "--train_data_path",
        training_file,
        "--ckpt_dir",
        tmp_path / "run",
    ]
    small = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); sys.argv = sys.argv[2:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    assert script("x2/train.py", *flags, "--max_steps", 2)[0] == 0
    done = subprocess.run(
        [sys.executable, "-c", small, "1000000", "x2/train.py", *flags, "--max_steps", "5", "--resume"],
        cwd=root,
        env=os.environ | ONE_THREAD,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    assert "last.pth: cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert checkpoint.read_state(tmp_path / "run" / "lesrcnn_x2_last.pth")["step"] == 2
    assert not list((tmp_path / "run").glob(".*.part"))
