"""No test picture among the training pictures; and one that is planted there is found."""

import itertools

import cv2
import h5py
import numpy as np
import pytest

from dataset import images
from dataset.check_leak import Finder, benchmark_sources, fingerprint, training_sources


def symmetry(rgb, number):
    """One of the eight turns and flips."""
    return np.ascontiguousarray(np.rot90(rgb[:, ::-1] if number & 4 else rgb, number & 3))


def rescaled(rgb, factor):
    return cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def jpeg(rgb, quality):
    return cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def found(finder, rgb):
    return {leak.test for leak in finder.find(fingerprint("planted", lambda: rgb))}


@pytest.fixture(scope="module")
def sample(root):
    """Fingerprints of the pictures that ship, to be found."""
    return Finder([fingerprint(*source) for source in benchmark_sources(root / "dataset" / "Sample")])


@pytest.mark.parametrize("number", range(8))
def test_a_turned_flipped_rescaled_compressed_copy_is_found(sample, root, number):
    rgb = images.read_rgb(root / "dataset/Sample/x2/img_002_SRF_2_HR.png")
    copy = jpeg(symmetry(rescaled(rgb, 0.6), number), 50)
    assert found(sample, copy) == {"Sample/img_002_SRF_2_HR.png"}


@pytest.mark.parametrize("number", [1, 6])
def test_a_picture_that_is_part_of_the_other_is_found(sample, root, picture, number):
    rgb = images.read_rgb(root / "dataset/Sample/x2/img_001_SRF_2_HR.png")
    height, width = rgb.shape[:2]
    part = rgb[height // 4 :, : 2 * width // 3]
    scene = picture(height + 90, width + 120)
    scene[50 : 50 + height, 70 : 70 + width] = rgb
    for planted in (part, scene):
        planted = jpeg(symmetry(rescaled(planted, 0.8), number), 70)
        assert found(sample, planted) == {"Sample/img_001_SRF_2_HR.png"}


def test_a_smooth_picture_has_its_thumbnail_only():
    ramp = np.repeat(np.linspace(0, 255, 90)[:, None], 60, axis=1)
    smooth = np.repeat((ramp * np.linspace(1, 0.5, 60)).astype(np.uint8)[:, :, None], 3, axis=2)
    finder = Finder([fingerprint("smooth", lambda: smooth)])
    assert found(finder, symmetry(smooth, 5)) == {"smooth"}
    assert found(finder, np.zeros((50, 50, 3), np.uint8)) == set()


@pytest.mark.parametrize("packed", [False, True])
def test_command(tmp_path, command, root, picture, packed):
    images.write_rgb(tmp_path / "hr" / "other.png", picture(150, 200))
    arguments = ["--test", root / "dataset" / "Sample", "--train"]

    def check():
        if not packed:
            return command("dataset/check_leak.py", *arguments, tmp_path / "hr")
        made = command("dataset/div2h5.py", "--hr", tmp_path / "hr", "--out", tmp_path / "x.h5")
        assert made.returncode == 0
        return command("dataset/check_leak.py", *arguments, tmp_path / "x.h5")

    done = check()
    assert done.returncode == 0 and done.stdout == "1 training pictures, 5 test pictures: no leaks\n"
    rgb = images.read_rgb(root / "dataset/Sample/x2/img_003_SRF_2_HR.png")
    images.write_rgb(tmp_path / "hr" / "stolen.jpg", symmetry(rescaled(rgb, 0.7), 3))
    done = check()
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and lines[1:] == ["2 training pictures, 5 test pictures: 1 leak"]
    assert lines[0].startswith("leak: hr/stolen.jpg shows 100% of Sample/img_003_SRF_2_HR.png (correlation ")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("none", None, "none: no such file"),
        ("x.h5", b"no HDF5", "not a readable HDF5 file"),
        ("x", {}, "has no pictures"),
        ("x", {"a.png": b"no picture"}, "not a readable picture"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, command, root, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        (tmp_path / name).mkdir()
        for file, data in content.items():
            (tmp_path / name / file).write_bytes(data)
    done = command("dataset/check_leak.py", "--train", tmp_path / name, "--test", root / "dataset" / "Sample")
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_down_scaled_copies_are_not_compared_again(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for index in range(3):
            file[f"HR/{index}"] = np.zeros((20, 20, 3), np.uint8)
        file["HR/1"].attrs["downscale"] = 0.9
    assert [name for name, _ in training_sources(tmp_path / "x.h5")] == ["picture /HR/0", "picture /HR/2"]


def test_a_set_of_scale_8_alone(tmp_path, picture):
    for kind, side in (("HR", 64), ("LR", 8)):
        images.write_rgb(tmp_path / "Set" / "x8" / f"img_001_SRF_8_{kind}.png", picture(side, side))
    assert [name for name, _ in benchmark_sources(tmp_path / "Set")] == ["Set/img_001_SRF_8_HR.png"]


# -- with the reference data: Set5, Set14 and the training pictures -----------------------------------


@pytest.fixture(scope="module")
def benchmarks(reference):
    sources = itertools.chain(*(benchmark_sources(reference / name) for name in ("Set5", "Set14")))
    return Finder(list(itertools.starmap(fingerprint, sources)))


def test_the_woman_of_set5_is_found_in_its_larger_scene(benchmarks, reference):
    """As in BSDS500's picture 302003, of which she is a part."""
    rgb = images.read_rgb(reference / "Set5/x2/img_005_SRF_2_HR.png")
    scene = images.read_rgb(reference / "../train/BSDS400/100007.jpg")
    scene = rescaled(scene, 1.2 * max(rgb.shape[0] / scene.shape[0], rgb.shape[1] / scene.shape[1]))
    scene[30 : 30 + rgb.shape[0], 20 : 20 + rgb.shape[1]] = rgb
    assert found(benchmarks, jpeg(symmetry(scene, 6), 75)) == {"Set5/img_005_SRF_2_HR.png"}


@pytest.mark.timeout(900)  # some 1,300 pictures
def test_no_training_picture_is_in_set5_or_set14(benchmarks, reference):
    folders = sorted(folder for folder in (reference / ".." / "train").iterdir() if folder.is_dir())
    sources = list(itertools.chain(*map(training_sources, folders)))
    assert len(sources) > 100
    assert [str(leak) for source in sources for leak in benchmarks.find(fingerprint(*source))] == []
