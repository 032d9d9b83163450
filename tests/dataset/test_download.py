"""Downloads against a server on the loopback address: good, cut off, wrong, missing, continued."""

import dataclasses
import hashlib
import io
import shutil
import threading
import time
import zipfile
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from dataset import download, images
from dataset.bicubic import imresize
from dataset.errors import InputError

SELFEXSR = "/jbhuang0604/SelfExSR/HEAD/data"


class Server(ThreadingHTTPServer):
    """Serves ``files``. ``cuts[path]`` answers end in the middle, ``errors[path]`` answers are a 503, or
    what ``busy[path]`` has: a status and its Retry-After."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.errors, self.busy = {}, Counter(), Counter(), {}
        self.sent, self.asked = Counter(), Counter()  # bytes of, and requests for each path
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, path = self.server, self.path
        server.asked[path] += 1
        if path not in server.files:
            self.send_error(404)
            return
        if server.errors[path] > 0:
            server.errors[path] -= 1
            status, retry_after = server.busy.get(path, (503, None))
            self.send_response(status)
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            return
        data = server.files[path]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if server.cuts[path] > 0:
            server.cuts[path] -= 1
            end = start + (end - start) // 2
        server.sent[path] += end - start
        self.wfile.write(data[start:end])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


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


def test_a_good_file(server, tmp_path):
    server.files["/a"] = b"content" * 1000
    assert download.fetch(f"{server.url}/a", tmp_path / "o" / "a", sha256(server.files["/a"]))
    assert (tmp_path / "o" / "a").read_bytes() == server.files["/a"]
    assert not download.fetch(f"{server.url}/a", tmp_path / "o" / "a")  # it is there
    assert server.asked["/a"] == 1 and len(list((tmp_path / "o").iterdir())) == 1


def test_cut_off_is_continued_where_it_was(server, tmp_path):
    data = server.files["/a"] = np.random.default_rng(0).bytes(3_000_000)
    server.cuts["/a"] = 2
    download.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert (tmp_path / "a").read_bytes() == data
    assert server.asked["/a"] == 3 and server.sent["/a"] == len(data)  # no byte was sent twice


def test_cut_off_for_good_is_continued_by_the_next_run(server, tmp_path):
    data = server.files["/a"] = np.random.default_rng(1).bytes(1_000_000)
    server.cuts["/a"] = 10**9
    with pytest.raises(InputError, match=r"cut off after [\d,]+ of 1,000,000 bytes; run again to go on"):
        download.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert not (tmp_path / "a").exists() and server.asked["/a"] == download.TRIES
    server.cuts["/a"] = 0
    download.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert (tmp_path / "a").read_bytes() == data and server.sent["/a"] == len(data)


def test_a_whole_part_is_not_fetched_again(server, tmp_path):
    data = server.files["/a"] = b"content" * 1000
    (tmp_path / "a.part").write_bytes(data)  # as if killed before it was given its name
    download.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert (tmp_path / "a").read_bytes() == data and server.sent["/a"] == 0


def test_a_part_of_something_longer_is_dropped(server, tmp_path):
    data = server.files["/a"] = b"content"
    (tmp_path / "a.part").write_bytes(b"another and longer file")
    download.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert (tmp_path / "a").read_bytes() == data


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.files["/a"] = b"content"
    server.errors["/a"] = 2
    assert download.fetch(f"{server.url}/a", tmp_path / "a")
    server.errors["/b"], server.files["/b"] = 10**9, b""
    with pytest.raises(InputError, match="Service Unavailable; run again"):
        download.fetch(f"{server.url}/b", tmp_path / "b")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "retry_after, pause",
    [("7", 7), ("3600", download.LONGEST_PAUSE), ("soon", 0.01), ("0", 0.01), ("-5", 0.01), (None, 0.01), ("date", 30)],
)
def test_a_busy_server_says_when_to_ask_again(server, tmp_path, monkeypatch, status, retry_after, pause):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    if retry_after == "date":
        retry_after = formatdate(time.time() + 30, usegmt=True)
    server.files["/a"], server.errors["/a"], server.busy["/a"] = b"content", 1, (status, retry_after)
    assert download.fetch(f"{server.url}/a", tmp_path / "a")
    assert pauses == [pytest.approx(pause, abs=2 if pause == 30 else 0)]


def test_a_server_that_stays_busy_is_one_line(server, tmp_path):
    server.files["/a"], server.errors["/a"], server.busy["/a"] = b"content", 10**9, (429, None)
    with pytest.raises(InputError, match="/a: cannot be fetched: Too Many Requests; run again to go on"):
        download.fetch(f"{server.url}/a", tmp_path / "a")
    assert server.asked["/a"] == download.TRIES


def test_a_wrong_file_is_refused(server, tmp_path):
    server.files["/a"] = b"an error page"
    with pytest.raises(InputError, match="is not the published file: its SHA256 is .*, not "):
        download.fetch(f"{server.url}/a", tmp_path / "a", sha256(b"content"))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_dead_server(server, tmp_path):
    with pytest.raises(InputError, match="/nowhere: 404 Not Found; if it has moved"):
        download.fetch(f"{server.url}/nowhere", tmp_path / "a")
    assert server.asked["/nowhere"] == 1  # asking again would not help
    with pytest.raises(InputError, match="cannot be fetched: connection refused"):
        download.fetch("http://127.0.0.1:9/a", tmp_path / "a")


def test_a_folder_that_cannot_be_written(server, tmp_path):
    server.files["/a"] = b"content"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        download.fetch(f"{server.url}/a", tmp_path / "file" / "a")


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
        ([], "required"),
    ],
)
def test_command_line_errors_are_one_clear_line(server, tmp_path, command, what, message):
    done = command("dataset/download.py", *what, "--mirror", server.url, "--root", tmp_path)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
