"""Benchmark sets made from HR pictures: the published pairs again, restartable, never mixed."""

import hashlib
import shutil

import clips
import numpy as np
import pytest

from dataset import files, images, test_set, video
from dataset.bicubic import imresize
from dataset.yuv import Layout


@pytest.fixture
def hr(tmp_path, picture):
    folder = tmp_path / "hr"
    for index, name in enumerate(["baby.png", "bird.jpg", "10.bmp", "9.png"]):
        images.write_rgb(folder / name, picture(40 + index, 53, seed=index))
    return folder


def contents(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_pairs_have_the_published_form(hr, tmp_path, command):
    done = command("dataset/make_benchmark.py", "--hr", hr, "--out", tmp_path / "Set4", "--scales", 2, 3)
    assert done.returncode == 0 and "8 pairs made" in done.stdout, done.stderr
    for scale in (2, 3):
        found = test_set.find(tmp_path / "Set4", scale)
        assert not found.problems and len(found.items) == 4
        names = [f"img_00{number}_SRF_{scale}_LR.png" for number in (1, 2, 3, 4)]
        assert [item.lr.name for item in found.items] == names
        for item, source in zip(found.items, ["9.png", "10.bmp", "baby.png", "bird.jpg"]):  # natural order
            whole, cropped = images.read_rgb(hr / source), images.read_rgb(item.hr)
            height, width = (side // scale * scale for side in whole.shape[:2])
            np.testing.assert_array_equal(cropped, whole[:height, :width])
            np.testing.assert_array_equal(images.read_rgb(item.lr), imresize(cropped, 1 / scale))


def test_scale_8(hr, tmp_path, command):
    done = command("dataset/make_benchmark.py", "--hr", hr, "--out", tmp_path / "Set4", "--scales", 8)
    assert done.returncode == 0 and "4 pairs made" in done.stdout, done.stderr
    item = test_set.find(tmp_path / "Set4", 8).items[2]
    assert item.hr.name == "img_003_SRF_8_HR.png"
    cropped = images.read_rgb(hr / "baby.png")[:40, :48]
    np.testing.assert_array_equal(images.read_rgb(item.hr), cropped)
    np.testing.assert_array_equal(images.read_rgb(item.lr), imresize(cropped, 1 / 8))


def test_names_and_greyness_are_kept(tmp_path, picture, command):
    images.write(tmp_path / "hr" / "bridge.png", images.Picture(picture(24, 24), grey=True))
    done = command(
        "dataset/make_benchmark.py",
        "--hr",
        tmp_path / "hr",
        "--out",
        tmp_path / "o",
        "--keep_names",
        "--scales",
        4,
        "--boundary",
        "symmetric",
    )
    assert done.returncode == 0, done.stderr
    lr = images.read(tmp_path / "o" / "x4" / "bridge_SRF_4_LR.png")
    hr = images.read(tmp_path / "o" / "x4" / "bridge_SRF_4_HR.png")
    assert lr.grey and hr.grey
    np.testing.assert_array_equal(lr.rgb, imresize(hr.rgb, 1 / 4, boundary="symmetric"))


def test_shrunk_first(hr, tmp_path, command):
    arguments = ["dataset/make_benchmark.py", "--hr", hr, "--out", tmp_path / "Half", "--scales", 3]
    assert command(*arguments, "--downscale", 0.5).returncode == 0
    item = test_set.find(tmp_path / "Half", 3).items[2]
    shrunk = imresize(images.read_rgb(hr / "baby.png"), 0.5)
    assert shrunk.shape == (20, 27, 3)
    np.testing.assert_array_equal(images.read_rgb(item.hr), shrunk[:18])
    np.testing.assert_array_equal(images.read_rgb(item.lr), imresize(shrunk[:18], 1 / 3))
    assert command(*arguments, "--downscale", 0.5).returncode == 0
    done = command(*arguments)
    assert done.returncode == 2 and "made from other pictures or in another way" in done.stderr


def test_goes_on_where_it_was(hr, tmp_path, command):
    arguments = ["dataset/make_benchmark.py", "--hr", hr, "--out", tmp_path / "Set4"]
    assert command(*arguments).returncode == 0
    whole = contents(tmp_path / "Set4")
    assert len(whole) == 25
    kept = tmp_path / "Set4" / "x2" / "img_001_SRF_2_LR.png"
    made = kept.stat().st_mtime_ns
    (tmp_path / "Set4" / "x2" / "img_002_SRF_2_LR.png").unlink()  # as if killed between HR and LR
    files.temporary_path(tmp_path / "Set4" / "x2" / "img_002_SRF_2_LR.png", 4194305).touch()  # no such process
    shutil.rmtree(tmp_path / "Set4" / "x4")
    done = command(*arguments)
    assert done.returncode == 0 and "5 pairs made, 7 were there already" in done.stdout
    assert contents(tmp_path / "Set4") == whole and kept.stat().st_mtime_ns == made


def test_refuses_to_mix(hr, tmp_path, picture, command):
    arguments = ["dataset/make_benchmark.py", "--hr", hr, "--out", tmp_path / "Set4", "--scales", 2]
    assert command(*arguments).returncode == 0
    before = contents(tmp_path / "Set4")
    done = command(*arguments, "--boundary", "symmetric")
    assert done.returncode == 2 and "made from other pictures or in another way" in done.stderr
    images.write_rgb(hr / "another.png", picture(20, 20))
    done = command(*arguments)
    assert done.returncode == 2 and "made from other pictures or in another way" in done.stderr
    assert contents(tmp_path / "Set4") == before
    (tmp_path / "Set4" / "made_from.json").unlink()
    done = command(*arguments)
    assert done.returncode == 2 and "holds x2, which this command has not made" in done.stderr


@pytest.mark.parametrize(
    "spoil, arguments, message",
    [
        (lambda hr: (hr / "9.png").write_bytes((hr / "9.png").read_bytes()[:99]), [], "9.png: not a readable"),
        (lambda hr: images.write_rgb(hr / "9.png", np.zeros((2, 9, 3), np.uint8)), [], "too few for scale 3"),
        (lambda hr: images.write_rgb(hr / "9.bmp", np.zeros((9, 9, 3), np.uint8)), ["--keep_names"], "leave out"),
        (lambda hr: [file.unlink() for file in hr.iterdir()], [], "has no pictures"),
        (shutil.rmtree, [], "no such folder"),
        (lambda hr: (hr.parent / "o").write_bytes(b""), [], "cannot be written"),
        (lambda hr: None, ["--downscale", "0.05"], "shrunk by 0.05, has 3x2 pixels, too few for scale 3"),
        (lambda hr: None, ["--downscale", "2"], "--downscale: is a number"),
        (lambda hr: None, ["--scales", "1"], "--scales: invalid choice: 1"),
    ],
)
def test_bad_input_is_one_clear_line(hr, tmp_path, command, spoil, arguments, message):
    spoil(hr)
    done = command("dataset/make_benchmark.py", "--hr", hr, "--out", tmp_path / "o", *arguments)
    lines = done.stderr.splitlines()
    assert (
        done.returncode == 2 and "Traceback" not in done.stderr and lines[-1].startswith("make_benchmark.py: error: ")
    )
    # Of several bad pictures, each has a line of its own before the last.
    assert message in lines[-1] or any(line.startswith("bad: ") and message in line for line in lines)


def test_set5_again(reference, tmp_path, command):
    for file in (reference / "Set5" / "x4").glob("*_HR.png"):
        (tmp_path / "hr").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "hr")
    made = tmp_path / "Set5"
    done = command("dataset/make_benchmark.py", "--hr", tmp_path / "hr", "--out", made, "--scales", 4)
    assert done.returncode == 0, done.stderr
    for file in (reference / "Set5" / "x4").iterdir():
        np.testing.assert_array_equal(images.read_rgb(made / "x4" / file.name), images.read_rgb(file))


def test_videos_that_are_not_taken_are_told_of(hr, tmp_path, command):
    for name in ("a.mp4", "b.mov", "c.wmv"):
        (hr / name).touch()
    done = command("dataset/make_benchmark.py", "--hr", hr, "--out", tmp_path / "o", "--scales", 2)
    assert done.returncode == 0 and "2 videos are left out, as a.mp4; give --hr one of them" in done.stdout
    done = command("dataset/make_benchmark.py", "--hr", hr / "c.wmv", "--out", tmp_path / "p")
    assert done.returncode == 2 and "c.wmv: WMV is not read here" in done.stderr and done.stderr.count("\n") == 1


def test_a_video_becomes_a_pair_with_its_times(tmp_path, command):
    pytest.importorskip("av")
    times = [0, 40, 200]
    source = clips.write(tmp_path / "clip.mkv", times, (33, 48), layout=Layout(8), codec="ffv1", tick=clips.MILLISECOND)
    done = command("dataset/make_benchmark.py", "--hr", source, "--out", tmp_path / "Clip", "--scales", 2)
    assert done.returncode == 0 and "1 pairs made" in done.stdout, done.stderr
    (pair,) = test_set.find(tmp_path / "Clip" / "x2", 2).videos
    assert (pair.lr.name, pair.hr.name) == ("clip_SRF_2_LR.mkv", "clip_SRF_2_HR.mkv")
    assert [*pair.lr.parent.glob(".*")] == [] and clips.seconds(pair.lr) == clips.seconds(source)
    read = [video.frames(video.look(path)) for path in (source, pair.hr, pair.lr)]
    for frames in zip(*read, strict=True):
        whole, hr, lr = (images.from_float(frame.rgb) for frame in frames)
        np.testing.assert_array_equal(hr, whole[:32])
        np.testing.assert_array_equal(lr, imresize(hr, 1 / 2))
