"""The HDF5 file of the training pictures: what is in it, and that it is whole or not there."""

import hashlib
import itertools
import resource
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from dataset import div2h5, images
from dataset.bicubic import imresize, modcrop
from dataset.train_set import TrainSet

NAMES = ("0001", "0002", "0010")


def hr_file(folder, name):
    return folder / "DIV2K" / "DIV2K_train_HR" / f"{name}.png"


def lr_file(folder, name, scale):
    return folder / "DIV2K" / "DIV2K_train_LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png"


@pytest.fixture
def div2k(tmp_path, picture):
    """A folder with a small DIV2K in it, LR pictures for x2 and x3."""
    for index, name in enumerate(NAMES):
        hr = picture(48 + 12 * index, 60, seed=index)
        images.write_rgb(hr_file(tmp_path, name), hr)
        for scale in (2, 3):
            images.write_rgb(lr_file(tmp_path, name, scale), imresize(hr, 1 / scale, boundary="symmetric"))
    return tmp_path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def left_over(folder):
    return [file.name for file in folder.iterdir() if file.name.startswith(".")]


def test_published_command_makes_the_published_file(div2k, command, root):
    done = command(root / "dataset" / "div2h5.py", "--scales", 2, 3, cwd=div2k)
    assert done.returncode == 0, done.stderr
    assert "3 pictures in HR and X2, X3" in done.stdout
    with h5py.File(div2k / "DIV2K_train.h5") as file:
        assert set(file) == {"HR", "X2", "X3"}
        for index, name in enumerate(NAMES):
            hr = images.read_rgb(hr_file(div2k, name))
            np.testing.assert_array_equal(file[f"HR/{index}"], hr)
            assert file[f"HR/{index}"].dtype == np.uint8
            for scale in (2, 3):
                np.testing.assert_array_equal(file[f"X{scale}/{index}"], images.read_rgb(lr_file(div2k, name, scale)))
        assert file["X2"].attrs["degradation"] == "as given"
    assert TrainSet(div2k / "DIV2K_train.h5", 3, 8, 4).batch(0).hr.shape == (4, 3, 24, 24)


def test_lr_that_is_not_at_hand_is_made(div2k, command, root):
    done = command(root / "dataset" / "div2h5.py", cwd=div2k)  # x4 has no folder
    assert done.returncode == 0 and "made by bicubic: X4" in done.stdout
    with h5py.File(div2k / "DIV2K_train.h5") as file:
        for index in range(3):
            np.testing.assert_array_equal(
                file[f"X4/{index}"], imresize(file[f"HR/{index}"][:], 1 / 4, boundary="symmetric")
            )


def test_scale_8(div2k, command, root):
    for name in NAMES:
        hr = images.read_rgb(hr_file(div2k, name))
        images.write_rgb(lr_file(div2k, name, 8), imresize(modcrop(hr, 8), 1 / 8, boundary="symmetric") // 2)
    done = command(root / "dataset" / "div2h5.py", "--scales", 8, 2, 8, cwd=div2k)
    assert done.returncode == 0 and "3 pictures in HR and X2, X8" in done.stdout, done.stderr
    with h5py.File(div2k / "DIV2K_train.h5") as file:
        assert set(file) == {"HR", "X2", "X8"}
        np.testing.assert_array_equal(file["X8/1"], images.read_rgb(lr_file(div2k, NAMES[1], 8)))
    batch = TrainSet(div2k / "DIV2K_train.h5", 0, 4, 3, scales=(2, 8)).batch_of(8, 0)
    assert batch.lr.shape == (3, 3, 4, 4) and batch.hr.shape == (3, 3, 32, 32)


def test_several_folders_of_any_pictures(tmp_path, command, picture):
    sizes = [("a/b.png", 33, 47), ("a/c.jpg", 20, 25), ("d/e.bmp", 31, 29)]
    for name, height, width in sizes:
        images.write_rgb(tmp_path / name, picture(height, width))
    done = command(
        "dataset/div2h5.py",
        "--hr",
        tmp_path / "a",
        tmp_path / "d",
        "--scales",
        2,
        4,
        "--out",
        tmp_path / "o" / "x.h5",
        "--boundary",
        "replicate",
        "--workers",
        2,
    )
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "o" / "x.h5") as file:
        assert set(file) == {"HR", "X2", "X4"} and list(file.attrs["scales"]) == [2, 4]
        for index, (name, height, width) in enumerate(sizes):
            hr = file[f"HR/{index}"]
            assert hr.shape == (height, width, 3) and hr.attrs["name"] == name
            for scale in (2, 4):
                np.testing.assert_array_equal(file[f"X{scale}/{index}"], imresize(modcrop(hr[:], scale), 1 / scale))
        made = dict(file["X4"].attrs)
        assert made == {
            "degradation": "MATLAB bicubic with antialiasing",
            "boundary": "replicate",
            "intermediate": "uint8",
        }
        assert list(file["HR"].attrs["folders"]) == ["a", "d"]
        assert file.attrs["version"] == 1 and file.attrs["pictures"] == 3
    for scale in (2, 4):
        TrainSet(tmp_path / "o" / "x.h5", scale, 5, 2).batch(0)


def test_the_same_pictures_make_the_same_file_wherever_they_lie(tmp_path, div2k, command, root):
    published = div2k / "DIV2K_train.h5"
    assert command(root / "dataset" / "div2h5.py", cwd=div2k).returncode == 0
    moved = tmp_path / "elsewhere" / "DIV2K"
    shutil.copytree(div2k / "DIV2K", moved)
    hr_folder = moved / "DIV2K_train_HR"
    for hr, cwd in ((hr_folder, root), (".", hr_folder), ("../DIV2K_train_HR", hr_folder)):
        done = command(
            root / "dataset" / "div2h5.py",
            "--hr",
            hr,
            "--lr",
            moved / "DIV2K_train_LR_bicubic",
            "--out",
            tmp_path / "x.h5",
            cwd=cwd,
        )
        assert done.returncode == 0, done.stderr
        assert published.read_bytes() == (tmp_path / "x.h5").read_bytes()


def test_folders_of_one_name_are_told_one_by_one(tmp_path, command, picture):
    folders = [tmp_path / parent / "HR" for parent in "ab"]
    for folder in folders:
        images.write_rgb(folder / "p.png", picture(20, 20))
    done = command("dataset/div2h5.py", "--hr", *folders, "--out", tmp_path / "x.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "x.h5") as file:
        assert list(file["HR"].attrs["folders"]) == ["HR", "HR"]


def test_a_name_that_is_no_text(tmp_path, command, picture):
    images.write_rgb(tmp_path / "hr" / "caf\udce9.png", picture(20, 20))  # as from an old Windows archive
    done = command("dataset/div2h5.py", "--hr", tmp_path / "hr", "--out", tmp_path / "x.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["HR/0"].attrs["name"] == "hr/caf\ufffd.png"


def test_down_scaled_copies(tmp_path, div2k, command, root):
    plain, more = tmp_path / "plain.h5", tmp_path / "more.h5"
    for out, flags in ((plain, ()), (more, ("--downscale", 0.9, 0.6))):
        done = command(root / "dataset" / "div2h5.py", "--out", out, *flags, cwd=div2k)
        assert done.returncode == 0, done.stderr
    assert "9 pictures (6 of them down-scaled) in HR and X2, X3, X4" in done.stdout
    with h5py.File(plain) as file, h5py.File(more) as added:
        assert "downscale" not in file.attrs and list(added.attrs["downscale"]) == [0.9, 0.6]
        for group, index in itertools.product(file, range(3)):  # first come the pictures themselves
            np.testing.assert_array_equal(file[group][str(index)], added[group][str(index)])
        for index, (factor, original) in enumerate(itertools.product((0.9, 0.6), range(3)), start=3):
            hr = added[f"HR/{index}"]
            assert dict(hr.attrs) == {"name": f"DIV2K_train_HR/{NAMES[original]}.png x{factor}", "downscale": factor}
            np.testing.assert_array_equal(hr, imresize(file[f"HR/{original}"][:], factor, boundary="symmetric"))
            for scale in (2, 3, 4):
                np.testing.assert_array_equal(
                    added[f"X{scale}/{index}"], imresize(modcrop(hr[:], scale), 1 / scale, boundary="symmetric")
                )
        assert added["X2"].attrs["degradation"].startswith("MATLAB") and "as given" in added["X2"].attrs
    TrainSet(more, 0, 6, 4).batch(0)


def test_killed_and_run_again_ends_with_the_same_file(tmp_path, root, command, picture):
    for index in range(40):
        images.write_rgb(tmp_path / "hr" / f"{index}.png", picture(160, 200, seed=index))
    arguments = [
        root / "dataset" / "div2h5.py",
        "--hr",
        tmp_path / "hr",
        "--out",
        tmp_path / "o" / "x.h5",
        "--workers",
        "1",
    ]
    run = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    while not (parts := list(tmp_path.glob("o/.x.h5.*.part"))) or parts[0].stat().st_size < 300_000:
        assert run.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "o" / "x.h5").exists() and left_over(tmp_path / "o")
    assert command(*arguments).returncode == 0
    assert left_over(tmp_path / "o") == []
    first = digest(tmp_path / "o" / "x.h5")
    assert command(*arguments[:-1], "2").returncode == 0  # other workers, same file
    assert digest(tmp_path / "o" / "x.h5") == first


KILLS = """if True:
    import io, os, signal, sys
    from pathlib import Path
    from dataset import div2h5, errors

    folder, calls = Path(sys.argv[1]), 0

    class Counted(io.FileIO):
        def counted(method):
            def call(*arguments):
                global calls
                calls += 1
                if calls == when:
                    what()
                return method(*arguments)
            return call

        for name in ("write", "seek", "truncate", "flush", "readinto", "tell"):
            locals()[name] = counted(getattr(io.FileIO, name))

    def made(out, call=0, then=None):
        global when, what
        when, what = call, then
        div2h5.open = lambda path, mode, buffering: Counted(path, mode)
        sys.argv = ["div2h5.py", "--hr", str(folder / "hr"), "--out", str(out), "--workers", "1"]
        errors.run(div2h5.main)

    def ends(*arguments):
        child = os.fork()
        if child == 0:
            try:
                made(*arguments)
            except SystemExit as end:
                os._exit(calls if end.code == 0 and len(arguments) == 1 and calls < 256 else end.code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def lost():
        raise OSError(28, "No space left on device")

    kills = {130: lambda: os.kill(os.getpid(), 2), 143: lambda: os.kill(os.getpid(), 15), 2: lost}
    count = ends(folder / "whole.h5")
    print(count)
    whole = (folder / "whole.h5").read_bytes()
    for n in range(60):
        status, what = list(kills.items())[n % 3]
        out = folder / f"{n}.h5"
        found = ends(out, 1 + n * count // 60, what)
        # A signal in the last moments finds the work done.
        assert found == status or found == 0 and status != 2, (n, status, found)
        assert not out.exists() if found else out.read_bytes() == whole, n
"""


def test_stopped_at_any_call_of_hdf5_there_is_a_whole_file_or_none(tmp_path, root, picture):
    for index in range(4):
        images.write_rgb(tmp_path / "hr" / f"{index}.png", picture(40, 36 + index, seed=index))
    command = [sys.executable, "-c", KILLS, tmp_path]
    done = subprocess.run(command, cwd=root, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 60  # calls


@pytest.mark.parametrize("limit", [100, 3_000, 60_000])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(div2k, root, limit):
    done = subprocess.run(
        [sys.executable, root / "dataset" / "div2h5.py"],
        cwd=div2k,
        text=True,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert (
        done.returncode == 2
        and done.stderr.splitlines()[-1] == "div2h5.py: error: DIV2K_train.h5: cannot be written: file too large"
    )
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in div2k.iterdir()) == ["DIV2K"]


def test_a_failed_run_keeps_the_file_that_was_there(div2k, root, command):
    (div2k / "DIV2K_train.h5").write_bytes(b"older")
    hr_file(div2k, "0002").write_bytes(b"no picture")
    done = command(root / "dataset" / "div2h5.py", cwd=div2k)
    assert done.returncode == 2 and "0002.png: not a readable picture" in done.stderr
    assert (div2k / "DIV2K_train.h5").read_bytes() == b"older" and left_over(div2k) == []


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda div2k: shutil.rmtree(div2k / "DIV2K"), "no such folder; get it with dataset/download.py DIV2K"),
        (lambda div2k: [hr_file(div2k, name).unlink() for name in NAMES], "has no pictures"),
        (
            lambda div2k: lr_file(div2k, "0010", 2).unlink(),
            "X2: has no LR picture for 1 of 3 HR pictures, the first of them",
        ),
        (
            lambda div2k: images.write_rgb(lr_file(div2k, "0002", 3), np.zeros((20, 21, 3), np.uint8)),
            "21x20 pixels, which does not match the 60x60",
        ),
        (lambda div2k: shutil.copy(hr_file(div2k, "0002"), hr_file(div2k, "0003")), "has no LR picture for 1 of 4"),
        (lambda div2k: hr_file(div2k, "0001").write_bytes(b""), "is empty"),
    ],
)
def test_bad_input_is_one_clear_line(div2k, command, root, spoil, message):
    spoil(div2k)
    done = command(root / "dataset" / "div2h5.py", cwd=div2k)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (div2k / "DIV2K_train.h5").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--hr", "{}/DIV2K/DIV2K_train_HR", "--lr", "{}/DIV2K"], "has no folder X2 or X3 or X4"),
        (["--hr", "{}/a", "{}/b", "--lr", "{}/c"], "--lr names 1 folders for the 2 of --hr"),
        (["--hr", "{}/nowhere"], "no such folder"),
        (["--scales", "1"], "--scales: invalid choice: 1"),
        (["--scales", "10"], "--scales: invalid choice: 10"),
        (["--workers", "two"], "--workers: is a whole number from 0 to 1024, not 'two'"),
        (["--downscale", "0.9", "1"], "--downscale: is a number from 0.01 to less than 1, not '1'"),
        (["--downscale", "1e-9"], "--downscale: is a number from"),
        (["--downscale", "0.5", "0.5"], "--downscale are"),
        (["--hr", "{}/DIV2K/DIV2K_train_HR", "--downscale", "0.01"], "shrunk by 0.01, has 1x1 pixels"),
        (["--workers", "-1"], "--workers"),
    ],
)
def test_wrong_arguments(div2k, command, arguments, message):
    arguments = [argument.format(div2k) for argument in arguments]
    done = command("dataset/div2h5.py", *arguments, "--out", div2k / "x.h5")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_no_picture_is_written_over(div2k, command, root):
    picture = hr_file(div2k, NAMES[0])
    before = picture.read_bytes()
    done = command(root / "dataset" / "div2h5.py", "--out", picture, cwd=div2k)
    assert done.returncode == 2 and "is one of the pictures" in done.stderr and picture.read_bytes() == before


def test_reference_training_pictures(reference, tmp_path, command):
    """Twenty real pictures at every scale make a file that every scale is trained from."""
    for file in sorted((reference / ".." / "train" / "T91").iterdir())[:20]:
        shutil.copy(file, tmp_path)
    done = command("dataset/div2h5.py", "--hr", tmp_path, "--out", tmp_path / "x.h5")
    assert done.returncode == 0, done.stderr
    assert len(TrainSet(tmp_path / "x.h5", 0, 16, 4).batch(0).lr) == 4


def test_all_bad_pictures_are_told_and_the_rest_is_packed(tmp_path, command, picture):
    for n in range(4):
        images.write_rgb(tmp_path / "hr" / f"{n}.png", picture(20, 20, seed=n))
    (tmp_path / "hr" / "1.png").write_bytes(b"")
    (tmp_path / "hr" / "2.png").write_bytes(b"no picture")
    flags = ["dataset/div2h5.py", "--hr", tmp_path / "hr", "--scales", 2, "--out", tmp_path / "o.h5"]
    done = command(*flags)
    assert done.returncode == 2 and not (tmp_path / "o.h5").exists()
    assert all(f"bad: {tmp_path}/hr/{n}.png: " in done.stderr for n in (1, 2)) and "2 of 4 cannot" in done.stderr
    done = command(*flags, "--skip_bad")
    assert done.returncode == 0 and done.stderr.count("skipped: ") == 2 and "2 pictures in HR" in done.stdout
    with h5py.File(tmp_path / "o.h5") as file:
        assert file.attrs["pictures"] == len(file["HR"]) == len(file["X2"]) == 2
        assert np.array_equal(file["HR/1"], images.read_rgb(tmp_path / "hr" / "3.png"))


def test_hidden_colours_are_not_packed(tmp_path, picture):
    alpha = np.full((20, 20), 255, np.uint8)
    alpha[:, 9:] = 0
    images.write(tmp_path / "a.png", images.Picture(picture(20, 20), alpha))
    hr = div2h5.load(div2h5.Source(tmp_path / "a.png"), [2], "symmetric")["HR"]
    assert np.array_equal(hr[:, :9], picture(20, 20)[:, :9]) and (hr[:, 9:] == hr[:, 8:9]).all()
