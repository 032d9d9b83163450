"""Whatever is refused is one line and exit status 2."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dataset import errors


@pytest.mark.parametrize(
    "error, line",
    [
        (errors.InputError("a.png: is empty"), "a.png: is empty"),
        (FileExistsError(17, "File exists", "out"), "out: file exists"),
        (OSError(28, "No space left on device"), "no space left on device"),
        (errors.InputError("a\x1b[31m\n.png: is empty"), "a\\x1b[31m\\n.png: is empty"),
        (RuntimeError("Symlink loop from 'a'"), "Symlink loop from 'a'"),
        (RuntimeError("[enforce fail] can't allocate memory"), "[enforce fail] can't allocate memory"),
        (RecursionError("maximum recursion depth exceeded"), "maximum recursion depth exceeded"),
        (MemoryError("Unable to allocate 2.84 PiB"), "Unable to allocate 2.84 PiB"),
    ],
)
def test_one_line_and_status_2(error, line, capsys, monkeypatch):
    def main():
        raise error

    monkeypatch.setattr("sys.argv", ["folder/command.py"])
    monkeypatch.setattr(errors.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        errors.run(main)
    assert end.value.code == 2 and capsys.readouterr().err == f"command.py: error: {line}\n"


def test_a_full_output_is_one_line_and_status_2(command, root):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    script = "from dataset import errors; errors.run(lambda: print('x' * 100000))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", script], cwd=root, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr == "-c: error: no space left on device\n"


def test_a_stream_that_is_closed_does_not_become_a_file(root, tmp_path):
    program = """if True:
        import os, sys
        from dataset.errors import run

        def main():
            with open(sys.argv[1], "w") as file:
                os.write(2, b"a warning, as a library writes it")
                print("a line", file=sys.stderr)

        run(main)
    """
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run([*closed, tmp_path / "file"], cwd=root).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_a_fault_of_ours_is_not_called_bad_input(monkeypatch):
    monkeypatch.setattr(errors.signal, "signal", lambda *_: None)
    with pytest.raises(RuntimeError, match="a fault"):
        errors.run(lambda: (_ for _ in ()).throw(RuntimeError("a fault")))


def test_sigterm_at_the_very_end_is_no_traceback(root):
    late = "import atexit, os; from dataset import errors; atexit.register(lambda: os.kill(os.getpid(), 15));"
    done = subprocess.run(
        [sys.executable, "-c", f"{late} errors.run(lambda: print('done'))"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGTERM and done.stdout == "done\n" and not done.stderr


def test_a_tilde_is_ones_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    parser = errors.Parser("")
    parser.add_argument("--one", type=Path)
    parser.add_argument("--more", type=Path, nargs="+")
    parser.add_argument("--text")
    args = parser.parse_args(["--one", "~/a", "--more", "~/b", "c~", "--text", "~/d"])
    assert (args.one, args.more, args.text) == (tmp_path / "a", [tmp_path / "b", Path("c~")], "~/d")
