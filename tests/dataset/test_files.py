"""Files are read if they are files, appear whole, and folders are written by one command at a time."""

import csv
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dataset import files
from dataset.errors import InputError


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, told in (("pipe.png", "pipe"), (".", "folder"), ("none", "no such file"), ("/dev/zero", "device")):
        with pytest.raises(InputError, match=told):
            files.opened(tmp_path / path)
    (tmp_path / "a").write_bytes(b"abc")
    with files.opened(tmp_path / "a") as file:
        assert file.read() == b"abc"
    assert files.sha256_of(tmp_path / "a").startswith("ba7816bf")


@pytest.mark.parametrize("text", ["{", '{"a": ', "[" * 100_000, "\udce9"])
def test_a_damaged_file_is_one_line_with_advice(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="a.json: is damaged; delete it"):
        files.read_json(path, "delete it")


def test_names_from_anywhere_are_written(tmp_path):
    rows = [{"name": "=1+1", "psnr": -3.5}, {"name": "caf\udce9", "psnr": 1}, {"name": "絵", "psnr": None}]
    files.write_csv(tmp_path / "a.csv", rows)
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        assert [list(row.values()) for row in csv.DictReader(file)] == [
            ["'=1+1", "-3.5"],
            ["caf\\udce9", "1"],
            ["絵", ""],
        ]
    files.write_json(tmp_path / "a.json", rows)
    assert files.read_json(tmp_path / "a.json", "") == rows


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nowhere", "link to itself"])
def test_only_a_file_is_written_over(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    else:
        path.symlink_to(tmp_path / "none" / "a")
    if kind == "link to nowhere":  # it leads to a place where a file can be made
        files.write_text(path, "new")
        assert path.is_symlink() and (tmp_path / "none" / "a").read_text() == "new"
        return
    before = path.lstat()
    with pytest.raises(InputError, match="a: "):
        files.write_text(path, "new")
    assert path.lstat().st_mode == before.st_mode and [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far/a").write_text("old")
    (tmp_path / "a").symlink_to("far/a")
    files.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "far/a").read_text() == "new"
    assert len(list(tmp_path.rglob("*"))) == 3


LOCKS = """if True:
    import os, sys, time
    from pathlib import Path
    from dataset import files
    with files.locked(Path(sys.argv[1]), "another test"):
        if os.fork() == 0:  # a child that outlives its parent
            print("locked", flush=True)
        time.sleep(60)
"""


def test_a_lock_ends_with_its_process_and_not_with_its_children(tmp_path, root):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", LOCKS, folder]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout.readline() == "locked\n"
            with pytest.raises(InputError, match="run: another test is writing there; wait for its end"):
                with files.locked(folder, "another test"):
                    pass
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            with files.locked(folder, "another test"):
                assert files.lock(folder) is None
            with files.locked(folder, "another test"):
                pass
            assert list(folder.iterdir()) == []
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be written"):
        files.lock(tmp_path / "file")


def test_nothing_half_written_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with files.written_whole(tmp_path / "a.png") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        files.write_text(tmp_path / "file" / "a.txt", "")


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def made_folder(path, content):
    """Write a folder of one file, whose name tells its kind."""
    with files.folder_written_whole(path, "kind") as temporary:
        temporary.mkdir()
        (temporary / "kind").write_text(content)


def test_a_folder_is_whole_and_takes_the_place_of_one_of_its_kind_only(tmp_path, monkeypatch):
    path = tmp_path / "below/a"
    made_folder(path, "old")
    with pytest.raises(KeyboardInterrupt):
        with files.folder_written_whole(path, "kind") as temporary:
            temporary.mkdir()
            raise KeyboardInterrupt
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda old, new: full() if new == path and "before" not in old.name else replace(old, new)
    )
    with pytest.raises(InputError, match="a: cannot be written: no space"):
        made_folder(path, "new")
    monkeypatch.undo()
    assert [file.name for file in path.parent.iterdir()] == ["a"] and (path / "kind").read_text() == "old"
    made_folder(path, "new")
    assert [file.name for file in path.parent.iterdir()] == ["a"] and (path / "kind").read_text() == "new"
    (path / "kind").rename(path / "mine")
    with pytest.raises(InputError, match="a: cannot be written: there is something else"):
        made_folder(path, "new")
    assert (path / "mine").exists()


@pytest.fixture
def killed():
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_are_removed_when_their_process_is_gone(tmp_path, killed, monkeypatch):
    (tmp_path / "below").mkdir()
    gone = [files.temporary_path(tmp_path / name, killed) for name in ("a.png", "x" * 251 + ".png", "below/b.png")]
    live = [files.temporary_path(tmp_path / name, os.getppid()) for name in ("a.png", "below/b.png")]
    monkeypatch.setattr("platform.node", lambda: "another.machine")
    live += [files.temporary_path(tmp_path / "a.png", killed), tmp_path / ".mine.part", tmp_path / "a.zip.part"]
    monkeypatch.undo()
    for file in gone + live:
        file.touch()
    files.remove_leftovers(tmp_path)
    assert [file.exists() for file in gone] == [False, False, True]
    files.remove_leftovers(tmp_path, recursive=True)
    assert not any(file.exists() for file in gone) and all(file.exists() for file in live)
    files.remove_leftovers(tmp_path / "nowhere")


def test_another_command_may_write_into_the_same_folder(tmp_path, root):
    with files.written_whole(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"half")
        other = f"from dataset import files; files.remove_leftovers({str(tmp_path)!r})"
        subprocess.run([sys.executable, "-c", other], check=True, cwd=root)
    assert (tmp_path / "a.png").read_bytes() == b"half"


@pytest.mark.parametrize("stem", ["a" * 251, "絵" * 83, "b" * 244])
def test_names_as_long_as_the_file_system_takes(tmp_path, stem):
    for end in ("1", "2"):  # two files at once whose long names begin alike
        (tmp_path / f"{stem[:-1]}{end}.png").touch()
    with (
        files.written_whole(tmp_path / f"{stem[:-1]}1.png") as one,
        files.written_whole(tmp_path / f"{stem[:-1]}2.png") as two,
    ):
        one.write_bytes(b"one")
        two.write_bytes(b"two")
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == [b"one", b"two"]


@pytest.mark.parametrize("name", ["a" * 251, "a" * 252, "\u7d75" * 90, "folder/" + "b" * 300])
def test_a_name_is_as_long_as_file_systems_take(name, tmp_path):
    path = files.fitting_path(tmp_path, name, ".png")
    files.write_text(path, "x")
    assert path.suffix == ".png" and path.parent == (tmp_path / name).parent
    assert (path == tmp_path / f"{name}.png") == (len(f"{name}.png".encode()) <= 255)
    assert files.fitting_path(tmp_path, f"{name}2", ".png") != path


def test_what_is_not_there_may_be_ours(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    assert files.ours_otherwise(Path("dataset/Sample")) == root / "dataset" / "Sample"
    assert files.ours_otherwise(Path("dataset/none")) == Path("dataset/none")
    (tmp_path / "dataset" / "Sample").mkdir(parents=True)
    assert files.ours_otherwise(Path("dataset/Sample")) == Path("dataset/Sample")
