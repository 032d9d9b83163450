"""Pairs of patches: the grid, what LR is made of, the numbers that are known, and runs that are killed."""

import os
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from dataset import images
from dataset.bicubic import enlarge, imresize
from dataset.data_aug import Recipe, plan, slabs, view_of

SCRIPT = "dataset/data_aug.py"


@pytest.fixture
def pictures(tmp_path, picture):
    """A folder of two pictures, 41x30 and 24x33 pixels, and one of 9x50, which is smaller than most patches."""
    for name, height, width in (("a.png", 30, 41), ("b.png", 33, 24), ("c.png", 50, 9)):
        images.write_rgb(tmp_path / "in" / name, picture(height, width, seed=height))
    return tmp_path / "in"


def recipe(**given) -> Recipe:
    usual = {"factors": [2], "width": 12, "height": 8, "stride": 4, "scales": [1.0], "rotations": [0], "flips": [0]}
    return Recipe(**{**usual, "upsampling": [], "target": 0, "single_y": False, **given})


def pairs_of(whole: np.ndarray, made_as: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a picture, one view after the other."""
    views = plan({"it": whole.shape[:2]}, made_as)
    parts = [slab[1:] for view in views for slab in slabs(view, *view_of(whole, view), made_as)]
    return tuple(np.concatenate(kind) for kind in zip(*parts))


def read(path) -> tuple[np.ndarray, np.ndarray, dict]:
    with h5py.File(path) as file:
        assert sorted(file) == ["hr", "lr"] and file["hr"].maxshape[0] is None and file["lr"].maxshape[0] is None
        return file["lr"][:], file["hr"][:], dict(file.attrs)


def test_patches_are_cut_from_the_whole_lr_picture(picture):
    whole = picture(31, 41)
    lr, hr = pairs_of(whole, recipe())
    whole_lr = imresize(whole[:30, :40], 1 / 2, boundary="symmetric")
    places = [(top, left) for top in range(0, 30 - 8 + 1, 4) for left in range(0, 40 - 12 + 1, 4)]
    assert len(lr) == len(hr) == len(places) == 6 * 8
    for number, (top, left) in enumerate(places):
        np.testing.assert_array_equal(hr[number], whole[top : top + 8, left : left + 12].transpose(2, 0, 1))
        small = whole_lr[top // 2 : top // 2 + 4, left // 2 : left // 2 + 6]
        np.testing.assert_array_equal(lr[number], small.transpose(2, 0, 1))


def test_turns_and_flips(picture):
    whole = picture(12, 18)
    turned = recipe(width=18, height=12, rotations=[0, 180], flips=[0, 1, 2, 3])
    _, hr = pairs_of(whole, turned)
    upright = [whole, whole[:, ::-1], whole[::-1], whole[::-1, ::-1]]
    expected = [*upright, *(image[::-1, ::-1] for image in upright)]
    np.testing.assert_array_equal(hr, [image.transpose(2, 0, 1) for image in expected])
    _, hr = pairs_of(whole, recipe(width=12, height=18, rotations=[90, 270]))  # anticlockwise
    np.testing.assert_array_equal(hr[0], whole.transpose(1, 0, 2)[::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(hr[1], hr[0][:, ::-1, ::-1])


def test_same_size_and_target(picture):
    whole = picture(20, 20)
    srcnn = recipe(factors=[3], width=17, height=17, stride=1, upsampling=["nearest", "bicubic"], target=5)
    lr, hr = pairs_of(whole, srcnn)
    small = imresize(whole[:18, :18], 1 / 3, boundary="symmetric")
    assert lr.shape == (8, 3, 17, 17) and hr.shape == (8, 3, 5, 5)
    np.testing.assert_array_equal(lr[0], small.repeat(3, 0).repeat(3, 1)[:17, :17].transpose(2, 0, 1))
    np.testing.assert_array_equal(lr[7], enlarge(small, 3)[1:, 1:].transpose(2, 0, 1))
    np.testing.assert_array_equal(hr[7], whole[7:12, 7:12].transpose(2, 0, 1))
    np.testing.assert_array_equal(hr[:4], hr[4:])


def test_hdf5_and_png_hold_the_same(pictures, tmp_path, command):
    flags = ["--input", pictures, "--width", 12, "--stride", 6, "--scales", 1, 0.7, "--flips", 0, 1, "--single_y"]
    done = command(SCRIPT, *flags, "-uf", 3, "--use_h5py", "--output", tmp_path / "x.h5")
    assert done.returncode == 0, done.stderr
    # a: (4 x 5) + (2 x 3) places, b: (4 x 3) + (2 x 1), each of them twice
    assert "x.h5: 80 pairs at x3 (lr 4x4, hr 12x12), 80 of them made now" in done.stdout
    assert "left out there: 1 of 3 pictures, the first of them" in done.stdout and "c.png" in done.stdout
    lr, hr, said = read(tmp_path / "x.h5")
    assert lr.shape == (80, 1, 4, 4) and hr.shape == (80, 1, 12, 12) and said["folders"].tolist() == ["in"]
    assert (said["scale"], said["stride"], said["scales"].tolist(), said["single_y"]) == (3, 6, [1.0, 0.7], True)
    rgb = images.read_rgb(pictures / "a.png")[:12, :12].astype(float)
    luma = np.round(16 + rgb @ [65.481 / 255, 128.553 / 255, 24.966 / 255])
    np.testing.assert_array_equal(hr[0, 0], luma)
    assert command(SCRIPT, *flags, "-uf", 3, "--output", tmp_path / "folder").returncode == 0
    for number in (0, 79):
        for kind, patches in (("lr", lr), ("hr", hr)):
            patch = images.read(tmp_path / "folder" / kind / f"{number:08}.png")
            assert patch.grey
            np.testing.assert_array_equal(patch.rgb[:, :, 0], patches[number, 0])
    assert len(list((tmp_path / "folder" / "lr").iterdir())) == 80


def test_pairs_of_one_size_of_several_factors_are_in_one_file(pictures, tmp_path, command):
    flags = ["--input", pictures, "--width", 9, "--stride", 7, "--same_size", "--use_h5py"]
    for name, factors in (("two", [2, 3]), ("x2", [2]), ("x3", [3])):
        done = command("dataset/data_aug.py", *flags, "--output", tmp_path / f"{name}.h5", "-uf", *factors)
        assert done.returncode == 0, done.stderr
    both, *apart = (read(tmp_path / f"{name}.h5")[:2] for name in ("two", "x2", "x3"))

    def pairs(lr, hr):
        return sorted(a.tobytes() + b.tobytes() for a, b in zip(lr, hr))

    assert pairs(*both) == sorted(pairs(*apart[0]) + pairs(*apart[1]))
    assert "scale" not in read(tmp_path / "two.h5")[2] and read(tmp_path / "x3.h5")[2]["scale"] == 3


def test_several_factors_and_a_number(pictures, tmp_path, command):
    flags = ["--input", pictures, "--width", 12, "--number", 1, "-uf", 3, 2, "--stride", 6]
    done = command(SCRIPT, *flags, "--use_h5py", "--output", tmp_path / "x.h5")
    assert done.returncode == 0, done.stderr
    for factor in (2, 3):
        lr, hr, _ = read(tmp_path / f"x_x{factor}.h5")
        assert lr.shape == (20, 3, 12 // factor, 12 // factor) and hr.shape == (20, 3, 12, 12)  # of a alone
    assert command(SCRIPT, *flags, "--output", tmp_path / "o").returncode == 0
    assert len(list((tmp_path / "o" / "x3" / "hr").iterdir())) == 20


def test_a_grey_file_is_luma_as_it_is(tmp_path, picture, command):
    grey = picture(16, 16)[:, :, :1].repeat(3, axis=2)
    images.write(tmp_path / "in" / "grey.png", images.Picture(grey, grey=True))
    done = command(
        SCRIPT, "--input", tmp_path / "in", "--width", 16, "--single_y", "--use_h5py", "--output", tmp_path / "x.h5"
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(read(tmp_path / "x.h5")[1][0, 0], grey[:, :, 0])


KILL = """if True:
    import os, sys
    from dataset import data_aug, errors

    number, when, calls = int(sys.argv.pop(1)), int(sys.argv.pop(1)), 0
    data_aug.SLAB, data_aug.CHUNK = 5000, 1000

    class Disk(data_aug.Disk):
        def write(self, data):
            global calls
            calls += 1
            if calls == when:
                if number == 9:
                    super().write(bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), number)
            return super().write(data)

    data_aug.Disk = Disk
    try:
        errors.run(data_aug.main)
    finally:
        print("calls", calls)
"""


def test_killed_at_any_write_it_goes_on_and_ends_with_the_same_file(pictures, tmp_path, root):
    flags = ["--input", pictures, "--width", 12, "--stride", 2, "--rotations", 0, 90, "--flips", 0, 1, "--use_h5py"]

    def run(out, number=0, when=0):
        command = [sys.executable, "-c", KILL, number, when, *flags, "--output", out]
        done = subprocess.run(list(map(str, command)), cwd=root, text=True, capture_output=True)
        return done.returncode, done.stdout + done.stderr

    status, told = run(tmp_path / "whole.h5")
    assert status == 0, told
    calls = int(told.split()[-1])
    assert calls > 100
    for number, expected in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)):
        out = tmp_path / f"{number:d}.h5"
        for when in (2, calls // 5, calls // 4, calls // 5):
            assert run(out, number, when)[0] == expected
            assert not out.exists() and (tmp_path / f"{out.name}.unfinished" / "made_from.json").exists()
        status, told = run(out)
        made = int(told.replace(",", "").split(" of them made now")[0].split()[-1])
        assert status == 0 and 0 < made < len(read(out)[0]) - 100, "it began anew"
        assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
        assert not (tmp_path / f"{out.name}.unfinished").exists()


def test_a_folder_goes_on_where_it_was(pictures, tmp_path, command):
    flags = [SCRIPT, "--input", pictures, "--width", 12, "--output", tmp_path / "o"]
    assert "10 pairs" in (done := command(*flags)).stdout, done.stderr
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "o").rglob("*.png")}
    gone = [tmp_path / "o" / "lr" / "00000003.png", tmp_path / "o" / "hr" / "00000008.png"]
    before = [file.read_bytes() for file in gone]
    [file.unlink() for file in gone]
    assert ", 2 of them made now" in command(*flags).stdout
    assert [file.read_bytes() for file in gone] == before
    others = [file for file in kept if file.name not in ("00000003.png", "00000008.png")]
    assert len(others) == 16 and all(file.stat().st_mtime_ns == kept[file] for file in others)


def test_a_folder_or_a_pipe_in_the_place_of_the_file_is_one_clear_line(pictures, tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    for output, kind in ((pictures, "folder"), (tmp_path / "pipe", "pipe")):
        done = command(SCRIPT, "--input", pictures, "--width", 12, "--use_h5py", "--output", output)
        assert done.returncode == 2 and f"{output}: is a {kind}" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("use_h5py", [["--use_h5py"], []])
def test_other_settings_or_pictures_do_not_mix(pictures, tmp_path, command, picture, use_h5py):
    flags = [SCRIPT, "--input", pictures, "--width", 12, *use_h5py, "--output", tmp_path / "o"]
    assert command(*flags).returncode == 0
    done = command(*flags)
    assert done.returncode == 0 and ", 0 of them made now" in done.stdout
    done = command(*flags, "--stride", 6)
    assert done.returncode == 2 and "made from other pictures or in another way" in done.stderr.splitlines()[-1]
    images.write_rgb(pictures / "b.png", picture(33, 24, seed=1))
    done = command(*flags)
    assert done.returncode == 2 and "made from other pictures or in another way" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--width", 33], "--width 33: is no multiple of the factor 2; take 32 or 34, or --same_size"),
        (["--width", 12, "--stride", 3, "-uf", 2, 3], "--stride 3: is no multiple of the factor 2 and 3; take 6"),
        (["--width", 12, "--height", 1], "--height 1: is no multiple of the factor 2; take 2,"),
        (["--width", 33, "--same_size", "--target", 20], "--width 33 has no such centre; take 19 or 21"),
        (["--width", 12, "--upsampling", "nearest"], "--upsampling: is how --same_size enlarges"),
        (["--width", 64], "every picture is smaller than a patch of 64x64 pixels; choose a smaller"),
        (["--scales", 1.5], "--scales: is a number from 0.01 to 1, not '1.5'"),
        (["--rotations", 45], "--rotations: invalid choice: 45"),
        (["--input", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_wrong_flags_are_one_clear_line(pictures, tmp_path, command, flags, message):
    done = command(SCRIPT, "--input", pictures, "--use_h5py", "--output", tmp_path / "x.h5", *flags)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda folder: shutil.rmtree(folder) or folder.mkdir(), "has no pictures"),
        (lambda folder: (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200]), "b.png: not a readable"),
        (lambda folder: (folder.parent / "x.h5").write_bytes(b"mine"), "x.h5: not a readable HDF5 file"),
        (lambda folder: (folder.parent / "x.h5").mkdir(), "x.h5: is a folder, expected a file"),
        (lambda folder: (folder.parent / "x.h5.unfinished").write_bytes(b""), "cannot be written"),
    ],
)
def test_bad_files_are_one_clear_line(pictures, tmp_path, command, spoil, message):
    spoil(pictures)
    done = command(SCRIPT, "--input", pictures, "--width", 12, "--use_h5py", "--output", tmp_path / "x.h5")
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_fsrcnns_numbers(reference):
    """The pairs that are told of FSRCNN's training on the field's 91 pictures, at x2, x3 and x4."""
    folder = reference.parent / "train" / "T91"
    if not folder.is_dir():
        pytest.skip("the 91 pictures are not at hand")
    sizes = {source: images.size(source) for source in images.list_images(folder)}
    counts = {}
    for factor, patch in ((2, 20), (3, 21), (4, 24)):
        grid = {"factors": [factor], "width": patch, "height": patch, "stride": factor}
        views = plan(sizes, recipe(**grid, scales=[1.0, 0.9, 0.8, 0.7, 0.6], rotations=[0, 90, 180, 270]))
        counts[factor] = sum(view.count for view in views)
    assert counts == {2: 14_632_248, 3: 6_473_984, 4: 3_546_584}
