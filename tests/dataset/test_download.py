"""Downloads against a server on the loopback address: good, cut off, wrong, missing, continued."""

import dataclasses
import hashlib
import io
import shutil
import signal
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from dataset import download, files, images
from dataset.bicubic import imresize
from dataset.errors import InputError

SELFEXSR = "/jbhuang0604/SelfExSR/HEAD/data"


def sha256(data):
    return "sha256", hashlib.sha256(data).hexdigest()


def serve_pairs(server, picture, name, count, scales):
    """A benchmark set as the SelfExSR repository has it."""
    for scale in scales:
        for number in range(1, count + 1):
            hr = picture(scale * 8, scale * 9, seed=number)
            for kind, pixels in (("HR", hr), ("LR", imresize(hr, 1 / scale))):
                path = f"{SELFEXSR}/{name}/image_SRF_{scale}/img_{number:03}_SRF_{scale}_{kind}.png"
                server.files[path] = images.encode(images.Picture(pixels), ".png")


@pytest.fixture
def archive(server):
    """A small DIV2K archive, on the server."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number in (1, 2, 3):
            file.writestr(f"DIV2K_train_LR_bicubic/X2/{number:04}x2.png", b"picture %d" % number)
    server.files["/cvl/DIV2K/LR_X2.zip"] = buffer.getvalue()
    return download.Archive("LR_X2.zip", hashlib.md5(buffer.getvalue()).hexdigest(), "DIV2K_train_LR_bicubic/X2", 3)


def test_an_archive_is_unpacked_whole(server, archive, tmp_path):
    download.fetch_archive(archive, tmp_path, server.url)
    folder = tmp_path / "DIV2K_train_LR_bicubic" / "X2"
    assert [file.name for file in images.list_images(folder)] == ["0001x2.png", "0002x2.png", "0003x2.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["DIV2K_train_LR_bicubic"]
    download.fetch_archive(archive, tmp_path, server.url)
    assert server.asked["/cvl/DIV2K/LR_X2.zip"] == 1


def test_an_archive_with_too_few_pictures(server, archive, tmp_path):
    with pytest.raises(InputError, match="has 3 pictures, expected 800"):
        download.fetch_archive(dataclasses.replace(archive, count=800), tmp_path, server.url)
    assert not (tmp_path / "DIV2K_train_LR_bicubic").exists()


def damaged(archive, data):
    """Archives that are damaged or malicious, each with a word of the message."""
    folder = archive.folder

    def made(names, **options):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", **options) as file:
            for name in names:
                file.writestr(name, b"a" * 100)
        return buffer.getvalue()

    names = [f"{folder}/{number}.png" for number in range(archive.count)]
    central = data.index(b"PK\1\2")

    def changed(offset, value):
        return data[: central + offset] + value + data[central + offset + len(value) :]

    yield "cannot be unpacked", b""
    yield "cannot be unpacked", b"<html>log in"
    yield "cannot be unpacked", data[: len(data) // 2]
    yield "cannot be unpacked", data.replace(b"picture 2", b"pictured2")  # CRC-32
    yield "encrypted", changed(8, b"\1")
    yield "compression", changed(10, b"\x63").replace(b"PK\3\4\x14\0\0\0\0\0", b"PK\3\4\x14\0\0\0\x63\0", 1)
    yield "more than", changed(20, b"\xfe\xff\xff\xff" * 2).replace(b"PK\1\2", b"PK\1\2", 1)
    yield "has 0 pictures", made([f"/{name}" for name in names])
    yield "has 0 pictures", made([f"../{name}" for name in names])
    yield "has 0 pictures", made([f"elsewhere/{name}" for name in names])
    yield "has 2 pictures", made([*names[:2], f"{folder}/../../../outside.png", f"{folder}/..", f"{folder}/a/b.png"])
    yield "has 2 pictures", made([*names[:2], f"{folder}/3.png/"])  # a folder
    yield "has 1 pictures", made(names[:1] * 3)
    yield "Corrupt input", made(names, compression=zipfile.ZIP_LZMA).replace(b"]\0\0\x80\0\0", b"]\0\0\x80\0\xff")
    yield "cannot be unpacked", data.replace(b"DIV2K", b"\0IV2K")  # no name at all


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_damaged_archive_is_one_line_and_leaves_nothing(server, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST_ARCHIVE", 1 << 30)
    for number, (told, data) in enumerate(damaged(archive, server.files["/cvl/DIV2K/LR_X2.zip"])):
        file = tmp_path / str(number) / "in" / "in" / "LR_X2.zip"
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
        with pytest.raises(InputError, match=told):
            download.unpack(file, archive, file.parent / archive.folder)
        assert [path for path in (tmp_path / str(number)).rglob("*") if path.is_file()] == [file]
        assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
def test_unpacking_that_is_broken_off_leaves_nothing_half_made(server, archive, tmp_path, monkeypatch, error):
    def broken(source, target):
        target.write(b"half of it")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", broken)
        with pytest.raises(InputError if isinstance(error, OSError) else type(error)) as told:
            download.fetch_archive(archive, tmp_path, server.url)
    assert not isinstance(error, OSError) or "X2: cannot be unpacked: no space left on device" in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["LR_X2.zip"]
    (tmp_path / "LR_X2.zip.unpacking").mkdir()
    (tmp_path / "LR_X2.zip.unpacking" / "0001x2.png").write_bytes(b"half of it")  # as if killed for good
    download.fetch_archive(archive, tmp_path, server.url)
    assert server.asked["/cvl/DIV2K/LR_X2.zip"] == 1
    assert (tmp_path / archive.folder / "0001x2.png").read_bytes() == b"picture 1"
    assert [path.name for path in tmp_path.iterdir()] == ["DIV2K_train_LR_bicubic"]


def test_an_archive_is_unpacked_by_one_command(server, archive, tmp_path):
    file = tmp_path / "LR_X2.zip"
    file.write_bytes(server.files["/cvl/DIV2K/LR_X2.zip"])
    (tmp_path / "LR_X2.zip.unpacking").mkdir()
    with open(file, "rb") as data:
        download.alone(data, file)
        with pytest.raises(InputError, match="another command is fetching it"):
            download.fetch_archive(archive, tmp_path)
    assert file.exists() and (tmp_path / "LR_X2.zip.unpacking").exists()  # the other's


def test_what_is_there_of_div2k_is_checked(archive, tmp_path):
    folder = tmp_path / archive.folder
    folder.mkdir(parents=True)
    for name in ("0001x2.png", "0002x2.png"):
        (folder / name).write_bytes(b"the user's own")
    with pytest.raises(InputError, match="X2: has 2 pictures, expected 3; remove it, or keep it elsewhere, and run ag"):
        download.fetch_archive(archive, tmp_path)
    assert len(list(folder.iterdir())) == 2
    shutil.rmtree(folder)
    folder.write_bytes(b"a file")
    with pytest.raises(InputError, match="X2: is a file, expected a folder"):
        download.fetch_archive(archive, tmp_path)
    folder.unlink()
    folder.symlink_to("nowhere")
    with pytest.raises(InputError, match="X2: is a link to nowhere"):
        download.fetch_archive(archive, tmp_path)
    (tmp_path / "LR_X2.zip").write_bytes(b"the user's own")
    folder.unlink()
    with pytest.raises(InputError, match="LR_X2.zip: is not the published file: its MD5"):
        download.fetch_archive(archive, tmp_path)
    assert (tmp_path / "LR_X2.zip").read_bytes() == b"the user's own"


def test_a_benchmark_set(server, picture, tmp_path, monkeypatch):
    monkeypatch.setitem(download.BENCHMARKS, "B100", ("BSD100", 3, (2, 3, 4)))
    serve_pairs(server, picture, "BSD100", 3, (2, 3, 4))
    download.fetch_benchmark("B100", tmp_path / "B100", server.url)
    made = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.png")}
    assert made == {
        f"B100/x{scale}/img_00{number}_SRF_{scale}_{kind}.png"
        for scale in (2, 3, 4)
        for number in (1, 2, 3)
        for kind in ("HR", "LR")
    }
    asked = server.asked.total()
    download.fetch_benchmark("B100", tmp_path / "B100", server.url)
    assert server.asked.total() == asked
    (tmp_path / "B100" / "x3" / "img_004_SRF_3_HR.png").write_bytes(b"the user's own")
    with pytest.raises(InputError, match="x3: has 7 pictures, expected 6; remove it, or keep it elsewhere"):
        download.fetch_benchmark("B100", tmp_path / "B100", server.url)


def test_urban100_is_repaired(server, picture, tmp_path, monkeypatch):
    monkeypatch.setitem(download.BENCHMARKS, "Urban100", ("Urban100", 2, (4,)))
    serve_pairs(server, picture, "Urban100", 2, (4,))
    download.fetch_benchmark("Urban100", tmp_path, server.url)
    for number in (1, 2):
        whole = images.read_rgb(tmp_path / "x4" / f"img_00{number}_SRF_4_HR.png")  # 32 rows, 36 columns
        for scale, height in ((2, 32), (3, 30)):
            hr = images.read_rgb(tmp_path / f"x{scale}" / f"img_00{number}_SRF_{scale}_HR.png")
            np.testing.assert_array_equal(hr, whole[:height])
            lr = images.read_rgb(tmp_path / f"x{scale}" / f"img_00{number}_SRF_{scale}_LR.png")
            np.testing.assert_array_equal(lr, imresize(hr, 1 / scale))
    own = tmp_path / "x3" / "img_002_SRF_3_HR.png"
    half = images.encode(images.Picture(images.read_rgb(own)[::2, ::2]), ".png")  # as it is passed around for x2
    own.write_bytes(half)
    for lr in (tmp_path / "x3" / "img_002_SRF_3_LR.png", tmp_path / "x2" / "img_001_SRF_2_LR.png"):
        lr.unlink()  # with and without the other of the pair
        with pytest.raises(InputError, match="img_002_SRF_3_HR.png: is not made from img_002_SRF_4_HR.png"):
            download.fetch_benchmark("Urban100", tmp_path, server.url)
    assert own.read_bytes() == half and (tmp_path / "x2" / "img_001_SRF_2_LR.png").exists()


@pytest.mark.parametrize(
    "spoil", [lambda data: images.encode(images.Picture(np.zeros((8, 9, 3), np.uint8)), ".png"), lambda data: data[:99]]
)
def test_a_pair_that_does_not_fit_is_refused_and_fetched_again(server, picture, tmp_path, monkeypatch, spoil):
    monkeypatch.setitem(download.BENCHMARKS, "B100", ("BSD100", 2, (2,)))
    serve_pairs(server, picture, "BSD100", 2, (2,))
    path = f"{SELFEXSR}/BSD100/image_SRF_2/img_002_SRF_2_LR.png"
    good, server.files[path] = server.files[path], spoil(server.files[path])
    with pytest.raises(InputError, match="img_002_SRF_2_LR.png: is not the bicubic of img_002_SRF_2_HR.png"):
        download.fetch_benchmark("B100", tmp_path, server.url)
    server.files[path] = good
    download.fetch_benchmark("B100", tmp_path, server.url)
    (tmp_path / "x2" / "img_001_SRF_2_LR.png").write_bytes(b"the user's own")
    with pytest.raises(InputError, match="remove both and run again"):
        download.fetch_benchmark("B100", tmp_path, server.url)
    assert (tmp_path / "x2" / "img_001_SRF_2_LR.png").exists()


def test_one_of_a_pair_that_was_there_is_not_fetched_again_for_ever(server, picture, tmp_path, monkeypatch):
    monkeypatch.setitem(download.BENCHMARKS, "B100", ("BSD100", 1, (2,)))
    serve_pairs(server, picture, "BSD100", 1, (2,))
    own = tmp_path / "x2" / "img_001_SRF_2_HR.png"
    images.write(own, images.Picture(picture(16, 18, seed=9)))
    with pytest.raises(InputError, match="remove both and run again"):
        download.fetch_benchmark("B100", tmp_path, server.url)
    assert list(own.parent.iterdir()) == [own]
    images.write(own, images.Picture(np.full((16, 18, 3), 7, np.uint8)))  # one pixel is no bicubic of them
    images.write(tmp_path / "x2" / "img_001_SRF_2_LR.png", images.Picture(np.full((1, 1, 3), 7, np.uint8)))
    with pytest.raises(InputError, match="remove both and run again"):
        download.fetch_benchmark("B100", tmp_path, server.url)


def test_other_pictures_under_the_name_of_set5_are_refused(server, picture, tmp_path):
    serve_pairs(server, picture, "Set5", 5, (2, 3, 4))
    with pytest.raises(InputError, match="x2: its HR pictures are not those of the published tables"):
        download.fetch_benchmark("Set5", tmp_path, server.url)


def test_published_files_by_the_command(server, reference, tmp_path, command):
    for scale in (2, 3, 4):
        for file in (reference / "Set5" / f"x{scale}").iterdir():
            server.files[f"{SELFEXSR}/Set5/image_SRF_{scale}/{file.name}"] = file.read_bytes()
        weights = reference / "weights" / f"lesrcnn_x{scale}.pth"
        server.files[f"/hellloxiaotian/LESRCNN/HEAD/x{scale}/{weights.name}"] = weights.read_bytes()
    arguments = ["Set5", "released-weights", "--mirror", server.url, "--root", tmp_path]
    done = command("dataset/download.py", *arguments)
    assert done.returncode == 0, done.stderr
    for scale in (2, 3, 4):
        weights = tmp_path / "checkpoint" / "released" / f"lesrcnn_x{scale}.pth"
        assert weights.read_bytes() == (reference / "weights" / weights.name).read_bytes()
        assert len(images.list_images(tmp_path / "dataset" / "Set5" / f"x{scale}")) == 10
    shutil.rmtree(tmp_path / "checkpoint")
    server.files["/hellloxiaotian/LESRCNN/HEAD/x3/lesrcnn_x3.pth"] = b"another network"
    done = command("dataset/download.py", *arguments)
    assert done.returncode == 2 and "x3/lesrcnn_x3.pth: is not the published file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "what, message",
    [
        (["DIV2K"], "DIV2K_train_HR.zip: 404"),
        (["benchmarks"], "404"),
        (["released-weights"], "lesrcnn_x2.pth: 404"),
        (["Set6"], "invalid choice"),
        (["Set5", "--mirror", "http://[::1"], "http://[::1: is no address to fetch from"),
        ([], "required"),
    ],
)
def test_command_line_errors_are_one_clear_line(server, tmp_path, command, what, message):
    done = command("dataset/download.py", "--mirror", server.url, "--root", tmp_path, *what)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_two_commands_for_one_set(server, tmp_path, command):
    with files.locked(tmp_path / "checkpoint" / "released", "a download"):
        done = command("dataset/download.py", "released-weights", "--mirror", server.url, "--root", tmp_path)
    assert done.returncode == 2 and not server.asked
    assert "released: another download is writing there; wait for its end" in done.stderr


def test_weights_that_are_there_but_others_are_not_called_published(server, tmp_path, command):
    own = tmp_path / "checkpoint" / "released" / "lesrcnn_x2.pth"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"trained at home")
    done = command("dataset/download.py", "released-weights", "--mirror", server.url, "--root", tmp_path)
    assert done.returncode == 2 and "as published" not in done.stdout and own.read_bytes() == b"trained at home"
    assert done.stderr.count("\n") == 1 and "lesrcnn_x2.pth: is not the published file" in done.stderr


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_server_that_is_silent_does_not_keep_the_command_from_ending(server, tmp_path, root, number, status):
    def answer(handler):
        asked.set()
        ended.wait(60)

    asked, ended = threading.Event(), threading.Event()
    for kind in ("HR", "LR"):
        server.answers[f"{SELFEXSR}/Set5/image_SRF_2/img_001_SRF_2_{kind}.png"] = answer
    arguments = ["dataset/download.py", "Set5", "--mirror", server.url, "--root", str(tmp_path)]

    def heard():  # what starts the tests may ignore Ctrl-C, which its children would inherit
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen([sys.executable, *arguments], cwd=root, stderr=subprocess.DEVNULL, preexec_fn=heard)
    assert asked.wait(30)
    process.send_signal(number)
    assert process.wait(30) == status
    ended.set()
