"""Pictures of leaves: drawn from their number and the given pictures alone, and what training wants of them."""

import numpy as np
import pytest

from dataset import dead_leaves, images


@pytest.fixture
def real(tmp_path, picture):
    folder = tmp_path / "real"
    for index in range(3):
        images.write_rgb(folder / f"{index}.png", picture(50, 70 + index, seed=index))
    return folder


def test_the_command_goes_on_where_it_was(real, tmp_path, command):
    out = tmp_path / "leaves"
    arguments = ["dataset/dead_leaves.py", "--pictures", real, "--side", 48, "--out", out]
    done = command(*arguments, "--count", 3, "--workers", 1)
    assert done.returncode == 0 and "3 pictures drawn, 0 were there already" in done.stdout, done.stderr
    (out / "00001.png").unlink()
    kept = (out / "00002.png").stat().st_mtime_ns
    done = command(*arguments, "--count", 5, "--workers", 2)
    assert "3 pictures drawn, 2 were there already" in done.stdout, done.stderr
    assert (out / "00002.png").stat().st_mtime_ns == kept
    done = command(*arguments, "--side", 64, "--count", 6)
    assert done.returncode == 2 and "00000.png: is not of 64x64 pixels" in done.stderr
    pictures = images.list_images(out)
    assert [file.name for file in pictures] == [f"0000{number}.png" for number in range(5)]
    for number, file in enumerate(pictures):
        np.testing.assert_array_equal(images.read_rgb(file), dead_leaves.draw(sorted(real.iterdir()), number, 48))


def test_pictures_differ_and_have_sharp_edges_and_colours_of_the_real_ones(tmp_path):
    for index, colour in enumerate([(0, 0, 0), (255, 255, 255)]):
        images.write_rgb(tmp_path / f"{index}.png", np.full((20, 20, 3), colour, np.uint8))
    drawn = np.stack([dead_leaves.draw(sorted(tmp_path.iterdir()), number, 64) for number in range(12)])
    assert drawn.shape == (12, 64, 64, 3) and drawn.dtype == np.uint8
    assert (drawn == drawn[..., :1]).all(), "black and white make greys only"
    assert len({picture.tobytes() for picture in drawn}) > 6
    assert np.abs(np.diff(drawn[..., 0].astype(int), axis=2)).max() > 200


def test_leaves_are_of_all_sizes_and_shapes():
    random = np.random.default_rng(0)
    outlines = [dead_leaves._outline(10.0, random) for _ in range(200)]
    assert {len(outline) for outline in outlines} >= {48, 4, 64}
    assert all(np.isfinite(outline).all() and np.abs(outline).max() < 60 for outline in outlines)


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
        "dataset/dead_leaves.py", *(argument.format(tmp_path) for argument in arguments), "--out", tmp_path / "out"
    )
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
