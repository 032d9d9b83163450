"""More pictures from few: made from their number and the given pictures alone, and what training wants of them."""

import shutil

import numpy as np
import pytest

from dataset import images, more_pictures
from dataset.bicubic import imresize


@pytest.fixture
def real(tmp_path, picture):
    folder = tmp_path / "real"
    for index in range(3):
        images.write_rgb(folder / f"{index}.png", picture(50, 70 + index, seed=index))
    return folder


def test_the_command_goes_on_where_it_was(real, tmp_path, command):
    out = tmp_path / "leaves"
    arguments = ["dataset/more_pictures.py", "leaves", "--pictures", real, "--side", 48, "--out", out]
    done = command(*arguments, "--count", 3, "--workers", 1)
    assert done.returncode == 0 and "3 pictures made, 0 were there already" in done.stdout, done.stderr
    (out / "00001.png").unlink()
    kept = (out / "00002.png").stat().st_mtime_ns
    done = command(*arguments, "--count", 5, "--workers", 2)
    assert "3 pictures made, 2 were there already" in done.stdout, done.stderr
    assert (out / "00002.png").stat().st_mtime_ns == kept
    done = command(*arguments, "--side", 64, "--count", 6)
    assert done.returncode == 2 and "leaves: holds a set made from other pictures or in another way" in done.stderr
    pictures = images.list_images(out)
    assert [file.name for file in pictures] == [f"0000{number}.png" for number in range(5)]
    for number, file in enumerate(pictures):
        np.testing.assert_array_equal(images.read_rgb(file), more_pictures.leaves(sorted(real.iterdir()), number, 48))


def test_pictures_differ_and_have_sharp_edges_and_colours_of_the_real_ones(tmp_path):
    for index, colour in enumerate([(0, 0, 0), (255, 255, 255)]):
        images.write_rgb(tmp_path / f"{index}.png", np.full((20, 20, 3), colour, np.uint8))
    drawn = np.stack([more_pictures.leaves(sorted(tmp_path.iterdir()), number, 64) for number in range(12)])
    assert drawn.shape == (12, 64, 64, 3) and drawn.dtype == np.uint8
    assert (drawn == drawn[..., :1]).all(), "black and white make greys only"
    assert len({picture.tobytes() for picture in drawn}) > 6
    assert np.abs(np.diff(drawn[..., 0].astype(int), axis=2)).max() > 200


def test_leaves_are_of_all_sizes_and_shapes():
    random = np.random.default_rng(0)
    outlines = [more_pictures._outline(10.0, random) for _ in range(200)]
    assert {len(outline) for outline in outlines} >= {48, 4, 64}
    assert all(np.isfinite(outline).all() and np.abs(outline).max() < 60 for outline in outlines)


@pytest.mark.parametrize("height, width", [(120, 180), (180, 120), (100, 100), (60, 400)])
@pytest.mark.parametrize("angle", [-45, -44.9, -20, 0, 0.5, 30, 45])
def test_turned_by_an_angle(height, width, angle):
    """A wave whose turned version is known: the rectangle lies within the picture, and could hardly be larger."""

    def wave(y, x):
        return 127.5 + 60 * np.sin(0.11 * x + 0.05 * y) + 60 * np.cos(0.04 * x - 0.13 * y)

    def where(height_now, width_now):  # the pixels' places in the picture before
        y, x = np.mgrid[:height_now, :width_now].astype(float)
        y, x = y - (height_now - 1) / 2, x - (width_now - 1) / 2
        sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
        return cos * y + sin * x + (height - 1) / 2, cos * x - sin * y + (width - 1) / 2

    before = wave(*np.mgrid[:height, :width]).round().astype(np.uint8)
    after = more_pictures.turn(np.dstack([before] * 3), angle)
    y, x = where(*after.shape[:2])
    assert min(y.min(), x.min()) > -0.01 and y.max() < height - 0.99 and x.max() < width - 0.99
    np.testing.assert_allclose(after[..., 1], wave(y, x), atol=2)
    y, x = where(after.shape[0] + 4, after.shape[1] + 4)
    assert min(y.min(), x.min()) < -0.5 or y.max() > height - 0.5 or x.max() > width - 0.5


def test_turned_copies(real, tmp_path, command):
    """The given pictures take turns; whoever makes them, and in however many threads, they are the same."""
    for workers in (1, 2):
        out = tmp_path / f"turned{workers}"
        arguments = ["--pictures", real, "--out", out, "--count", 3 + 4 * (workers - 1), "--workers", workers]
        done = command("dataset/more_pictures.py", "turned", *arguments)
        assert done.returncode == 0, done.stderr
    one, two = (images.list_images(tmp_path / f"turned{workers}") for workers in (1, 2))
    assert len(one) == 3 and len(two) == 7
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two))
    sides = np.array([images.size(file) for file in two])
    assert len({tuple(size) for size in sides.tolist()}) == 7 and (sides < 0.75 * 72 * 1.12).all() and (sides > 4).all()


def test_a_turned_copy_is_the_picture_turned_stretched_and_shrunk(tmp_path, picture, monkeypatch):
    images.write_rgb(tmp_path / "a.png", picture(80, 120))
    for name, value in (("TURN", (30, 30)), ("SHRINK", (0.5, 0.5)), ("STRETCH", (1.21, 1.21))):
        monkeypatch.setattr(more_pictures, name, value)
    whole = more_pictures.turn(picture(80, 120), 30)
    size = tuple(int(np.ceil(side * by)) for side, by in zip(whole.shape, (0.55, 0.5 / 1.1)))
    made = more_pictures.turned([tmp_path / "a.png"], 5)
    np.testing.assert_array_equal(made, imresize(whole, size=size, boundary="symmetric"))


def test_a_folder_that_another_has_filled_is_left_alone(real, tmp_path, command):
    arguments = ["--pictures", real, "--count", 1, "--side", 16]
    shutil.copytree(real, tmp_path / "copy")
    for folder, told in (
        ("copy", "0.png, 1.png, 2.png, which this command has not made"),
        ("real", "the given pictures"),
    ):
        done = command("dataset/more_pictures.py", "leaves", *arguments, "--out", tmp_path / folder)
        assert done.returncode == 2 and f"{folder}: holds {told}" in done.stderr
    for kind, status in (("leaves", 0), ("turned", 2)):
        done = command("dataset/more_pictures.py", kind, *arguments, "--out", tmp_path / "out")
        assert done.returncode == status, done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--pictures", "{}/nowhere"], "no such folder"),
        (["--pictures", "{}"], "no pictures"),
        (["--pictures", "{}/real", "--count", "0"], "--count"),
        (["--pictures", "{}/real", "--side", "8"], "--side"),
        (["--pictures", "{}/real", "--workers", "-1"], "--workers"),
        (["--pictures", "{}/real/0.png"], "is a file, expected a folder"),
        (["--pictures", "{}/real", "--side", "16"], "3.png: not a readable picture"),
    ],
)
def test_bad_input(real, tmp_path, command, arguments, message):
    (tmp_path / "real" / "3.png").write_bytes(b"this is a text")
    done = command(
        "dataset/more_pictures.py",
        "leaves",
        *(argument.format(tmp_path) for argument in arguments),
        "--out",
        tmp_path / "out",
    )
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
