"""One file fetched from a server on the loopback address: good, cut off, wrong, missing, continued, malicious."""

import contextlib
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from email.utils import formatdate

import numpy as np
import pytest

from dataset import fetching
from dataset.errors import InputError


def sha256(data):
    return "sha256", hashlib.sha256(data).hexdigest()


def test_a_good_file(server, tmp_path):
    server.files["/a"] = b"content" * 1000
    assert fetching.fetch(f"{server.url}/a", tmp_path / "o" / "a", sha256(server.files["/a"]))
    assert (tmp_path / "o" / "a").read_bytes() == server.files["/a"]
    assert not fetching.fetch(f"{server.url}/a", tmp_path / "o" / "a")  # it is there
    assert server.asked["/a"] == 1 and len(list((tmp_path / "o").iterdir())) == 1


def test_cut_off_is_continued_where_it_was(server, tmp_path):
    data = server.files["/a"] = np.random.default_rng(0).bytes(3_000_000)
    server.cuts["/a"] = 2
    fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert (tmp_path / "a").read_bytes() == data
    assert server.asked["/a"] == 3 and server.sent["/a"] == len(data)  # no byte was sent twice


def test_cut_off_for_good_is_continued_by_the_next_run(server, tmp_path):
    data = server.files["/a"] = np.random.default_rng(1).bytes(1_000_000)
    server.cuts["/a"] = 10**9
    with pytest.raises(InputError, match=r"cut off after [\d,]+ of 1,000,000 bytes; run again to go on"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert not (tmp_path / "a").exists() and server.asked["/a"] == fetching.TRIES
    server.cuts["/a"] = 0
    fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert (tmp_path / "a").read_bytes() == data and server.sent["/a"] == len(data)


def test_a_whole_part_is_not_fetched_again(server, tmp_path):
    data = server.files["/a"] = b"content" * 1000
    (tmp_path / "a.part").write_bytes(data)  # as if killed before it was given its name
    fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert (tmp_path / "a").read_bytes() == data and server.sent["/a"] == 0


def test_a_part_of_something_longer_is_dropped(server, tmp_path):
    data = server.files["/a"] = b"content"
    (tmp_path / "a.part").write_bytes(b"another and longer file")
    fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    assert (tmp_path / "a").read_bytes() == data


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.files["/a"] = b"content"
    server.errors["/a"] = 2
    assert fetching.fetch(f"{server.url}/a", tmp_path / "a")
    server.errors["/b"], server.files["/b"] = 10**9, b""
    with pytest.raises(InputError, match="Service Unavailable; run again"):
        fetching.fetch(f"{server.url}/b", tmp_path / "b")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "retry_after, pause",
    [("7", 7), ("3600", fetching.LONGEST_PAUSE), ("soon", 0.01), ("0", 0.01), ("-5", 0.01), (None, 0.01), ("date", 30)],
)
def test_a_busy_server_says_when_to_ask_again(server, tmp_path, monkeypatch, status, retry_after, pause):
    pauses = []
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    if retry_after == "date":
        retry_after = formatdate(time.time() + 30, usegmt=True)
    server.files["/a"], server.errors["/a"], server.busy["/a"] = b"content", 1, (status, retry_after)
    assert fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert pauses == [pytest.approx(pause, abs=2 if pause == 30 else 0)]


def test_a_server_that_stays_busy_is_one_line(server, tmp_path):
    server.files["/a"], server.errors["/a"], server.busy["/a"] = b"content", 10**9, (429, None)
    with pytest.raises(InputError, match="/a: cannot be fetched: Too Many Requests; run again to go on"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert server.asked["/a"] == fetching.TRIES


def test_a_wrong_file_is_refused(server, tmp_path):
    server.files["/a"] = b"an error page"
    with pytest.raises(InputError, match="is not the published file: its SHA256 is .*, not "):
        fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(b"content"))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_dead_server(server, tmp_path):
    with pytest.raises(InputError, match="/nowhere: 404 Not Found; if it has moved"):
        fetching.fetch(f"{server.url}/nowhere", tmp_path / "a")
    assert server.asked["/nowhere"] == 1  # asking again would not help
    with pytest.raises(InputError, match="cannot be fetched: connection refused"):
        fetching.fetch("http://127.0.0.1:9/a", tmp_path / "a")


def test_a_folder_that_cannot_be_written(server, tmp_path):
    server.files["/a"] = b"content"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        fetching.fetch(f"{server.url}/a", tmp_path / "file" / "a")


# -- what is there already ---------------------------------------------------------------------------


def test_what_is_there_is_checked_and_not_touched(server, tmp_path):
    (tmp_path / "a").write_bytes(b"the user's own")
    with pytest.raises(InputError, match="a: is not the published file: its SHA256 is .*; remove it, or keep it els"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(b"content"))
    assert (tmp_path / "a").read_bytes() == b"the user's own" and not server.asked
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert not fetching.fetch(f"{server.url}/a", tmp_path / "b", sha256(b"the user's own"))


@pytest.mark.parametrize("name", ["a", "a.part"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_what_is_no_file_is_refused_and_stays(server, tmp_path, name, make):
    server.files["/a"] = b"content"
    make(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: is (?!.*cannot be written)"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_nothing_is_written_through_a_link(server, tmp_path, link):
    server.files["/a"] = b"content and more"
    (tmp_path / "foreign").write_bytes(b"content")
    link(tmp_path / "foreign", tmp_path / "a.part")
    with pytest.raises(InputError, match="a.part: is not the beginning of a download; remove it"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "foreign").read_bytes() == b"content"


def test_a_link_that_appears_late_is_not_followed(server, tmp_path, monkeypatch):
    (tmp_path / "foreign").write_bytes(b"content")
    (tmp_path / "a.part").symlink_to(tmp_path / "foreign")
    monkeypatch.setattr(fetching.Path, "lstat", lambda path: os.stat(path))  # it was a file when it was looked at
    server.files["/a"] = b"content and more"
    with pytest.raises(InputError, match="symbolic links"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "foreign").read_bytes() == b"content"


# -- two at once -------------------------------------------------------------------------------------

FETCH = """if True:
    import sys
    from pathlib import Path
    from dataset import errors, fetching
    errors.run(lambda: print(fetching.fetch(sys.argv[1], Path(sys.argv[2]))))
"""


@contextlib.contextmanager
def half_sent(server, path, data):
    """Send half of a file, and the rest when the block ends."""
    sent, go_on = threading.Event(), threading.Event()

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        sent.set()
        go_on.wait(20)
        handler.wfile.write(data[len(data) // 2 :])

    server.answers[path] = answer
    try:
        yield sent
    finally:
        go_on.set()


def test_of_two_threads_one_goes_on(server, tmp_path):
    data = np.random.default_rng(2).bytes(100_000)
    with half_sent(server, "/a", data) as sent:
        one = threading.Thread(target=fetching.fetch, args=(f"{server.url}/a", tmp_path / "a", sha256(data)))
        one.start()
        assert sent.wait(20)
        with pytest.raises(InputError, match="a.part: another command is fetching it; wait for its end"):
            fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(data))
    one.join()
    assert (tmp_path / "a").read_bytes() == data and os.listdir(tmp_path) == ["a"]


def test_of_two_commands_one_goes_on_and_a_kill_lets_go(server, tmp_path, root):
    data = server.files["/a"] = np.random.default_rng(3).bytes(100_000)
    arguments = [sys.executable, "-c", FETCH, f"{server.url}/a", str(tmp_path / "a")]
    with half_sent(server, "/a", data) as sent:
        one = subprocess.Popen(arguments, cwd=root)
        assert sent.wait(20)
        other = subprocess.run(arguments, cwd=root, text=True, capture_output=True)
        assert other.returncode == 2 and "another command is fetching it" in other.stderr.splitlines()[0]
        while not (tmp_path / "a.part").stat().st_size:
            time.sleep(0.01)
        one.send_signal(signal.SIGKILL)
        one.wait()
    del server.answers["/a"]
    assert fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data and server.sent["/a"] < len(data)


def test_a_part_that_another_has_just_finished_is_let_alone(server, tmp_path, monkeypatch):
    (tmp_path / "a.part").write_bytes(b"con")
    with open(tmp_path / "a.part", "a+b") as file:
        os.replace(tmp_path / "a.part", tmp_path / "a")
        with pytest.raises(InputError, match="another command"):
            fetching.alone(file, tmp_path / "a.part")


# -- servers that are slow, endless or not what they seem --------------------------------------------


def raw(*blocks, forever=b"", pause=0.0):
    """An answer of these bytes, and then, for ever, of those."""

    def answer(handler):
        with contextlib.suppress(OSError):
            for block in blocks:
                handler.wfile.write(block)
            while forever:
                handler.wfile.write(forever)
                time.sleep(pause)

    return answer


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "begin",
    [
        OK + b"Content-Length: 1000000\r\n\r\n",
        OK + b"\r\n",
        OK + b"X: ",
        b"HTTP/1.1 ",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1;",
        b"HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n",
    ],
)
def test_a_server_that_drips_is_given_up(server, tmp_path, monkeypatch, begin):
    monkeypatch.setattr(fetching, "WINDOW", 0.1)
    server.answers["/a"] = raw(begin, forever=b"1", pause=0.01)
    begun = time.monotonic()
    with pytest.raises(InputError, match="/a: cannot be fetched: slower than 1,000 bytes a second|infinite loop"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert time.monotonic() - begun < 5


def test_a_server_that_is_slow_enough_is_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "WINDOW", 0.05)
    server.answers["/a"] = lambda handler: (
        handler.wfile.write(OK + b"Content-Length: 2000\r\n\r\n"),
        [(handler.wfile.write(b"a" * 100), time.sleep(0.02)) for _ in range(20)],
    )
    assert fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(b"a" * 2000))


@pytest.mark.parametrize(
    "begin, block",
    [(OK + b"\r\n", b"a" * 65536), (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"a" * 65536 + b"\r\n")],
)
def test_a_server_that_never_ends_is_refused(server, tmp_path, begin, block):
    server.answers["/a"] = raw(begin, forever=block)
    with pytest.raises(InputError, match="/a: sends more than the 100,000 bytes that it can have"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a", largest=100_000)
    assert server.asked["/a"] == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("block", [b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, b"a" * 65536])
def test_an_answer_that_never_begins_is_one_line(server, tmp_path, monkeypatch, block):
    monkeypatch.setattr(fetching, "HEADERS", 100_000)
    server.answers["/a"] = raw(forever=block)
    with pytest.raises(InputError, match="/a: cannot be fetched: "):
        fetching.fetch(f"{server.url}/a", tmp_path / "a", largest=100_000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "answer, told",
    [
        (OK + b"Content-Length: 100001\r\n\r\n", "has 100,001 bytes, more than the 100,000 that it can have"),
        (OK + b"Content-Type: text/html; charset=utf-8\r\n\r\n<html>log in", "is a web page"),
        (OK + b"Content-Encoding: gzip\r\n\r\nabc", r"comes compressed \(gzip\)"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204 No Content"),
        (b"HTTP/1.1 404 \r\n\r\n", "404"),
        (b"HTTP/1.1 404 " + b"a" * 60_000 + b"\r\n\r\n", "404 a{200}(?!a)"),
        (OK + b"Content-Encoding: " + b"a" * 60_000 + b"\r\n\r\n", "comes compressed .a{180}(?!a{20})"),
    ],
)
def test_what_is_not_the_file_is_refused_and_what_has_come_is_kept(server, tmp_path, answer, told):
    (tmp_path / "a.part").write_bytes(b"content")
    server.answers["/a"] = raw(answer)
    with pytest.raises(InputError, match=rf"/a: {told}.*; if it has moved, get it by hand and save it as .*/a$"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a", largest=100_000)
    assert server.asked["/a"] == 1 and (tmp_path / "a.part").read_bytes() == b"content"


def test_a_length_that_lies(server, tmp_path):
    server.answers["/a"] = raw(OK + b"Content-Length: 7\r\n\r\ncontent and more")
    assert fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(b"content"))
    for length in (b"-5", b"seven", b"9" * 5000, b"\xb2"):
        server.answers["/b"] = raw(OK + b"Content-Length: " + length + b"\r\n\r\ncontent")
        with contextlib.suppress(InputError):  # one or the other, and no traceback
            fetching.fetch(f"{server.url}/b", tmp_path / "b", sha256(b"content"))
        assert not (tmp_path / "b").exists() or (tmp_path / "b").read_bytes() == b"content"
        (tmp_path / "b").unlink(missing_ok=True)


@pytest.mark.parametrize("said", [None, "bytes 0-9/10", "bytes 3-9/10", "bytes x", f"bytes {'9' * 5000}-1/1"])
def test_another_part_than_asked_for_is_not_added(server, tmp_path, said):
    data = server.files["/a"] = b"0123456789"
    (tmp_path / "a.part").write_bytes(data[:5])
    header = f"Content-Range: {said}\r\n".encode() if said else b""

    def answer(handler):
        del server.answers["/a"]  # it is asked again, and does better
        begin = {"bytes 0-9/10": 0, "bytes 3-9/10": 3}.get(said, 4)
        raw(b"HTTP/1.1 206 Partial Content\r\n" + header + b"\r\n" + data[begin:])(handler)

    server.answers["/a"] = answer
    with contextlib.suppress(InputError) if said and "9" * 5000 in said else contextlib.nullcontext():
        fetching.fetch(f"{server.url}/a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == data


@pytest.mark.parametrize("headers", [b"bytes 0-4/10\r\nContent-Length: 5", b"bytes 0-9/*\r\nContent-Length: 10"])
def test_a_part_of_the_whole_is_not_the_whole(server, tmp_path, headers):
    def answer(handler):
        del server.answers["/a"]
        raw(b"HTTP/1.1 206 Partial Content\r\nContent-Range: " + headers + b"\r\n\r\n01234")(handler)

    server.files["/a"], server.answers["/a"] = b"0123456789", answer
    fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == server.files["/a"]


# -- redirects, addresses, certificates --------------------------------------------------------------


def found(location, body=b""):
    return raw(b"HTTP/1.1 302 Found\r\nLocation: " + location.encode("latin-1") + b"\r\n\r\n", forever=body)


def test_a_redirect_is_followed(server, tmp_path):
    server.files["/b"] = b"content"
    server.answers["/a"] = found("/b", body=b"a" * 65536)  # which is not waited for
    assert fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(b"content"))


@pytest.mark.parametrize(
    "location, told",
    [
        ("/a", "302 .*infinite loop"),
        ("", "302 .*infinite loop"),
        ("file:///etc/passwd", "302 .*not allowed"),
        ("ftp://127.0.0.1/a", "is no address to fetch from"),
        ("data:,content", "302 .*not allowed"),
        ("http://[::1", "Invalid IPv6"),
        ("http://127.0.0.1:99999/a", "is no address"),
        ("http://127.0.0.1:a/a", "is no address"),
        ("http://name:secret@127.0.0.1/a", "://…@127.0.0.1/a: is no address"),
        ("http://" + "a" * 70 + "..b/", "label"),
    ],
)
def test_a_redirect_to_nowhere_is_one_line_at_once(server, tmp_path, location, told):
    server.answers["/a"] = found(location)
    with pytest.raises(InputError, match=told) as error:
        fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert server.asked["/a"] <= 6 and "\n" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://", "https://", "http:///a", "http://a b/", "http://h\u00fclle/", "http://a:99999/", "", "a"]
    + ["http://a:b/", "http://a:-1/", "http://a:0/", "http://u:secret@a/", "file:///etc/passwd", "http://a/\u00e9"]
    + ["http://a\n/", " http://a", "ftp://a/", "http://u@a", "http://a/\udce9", "HTTP", "//a", "http://[a]b/"],
)
def test_what_is_no_address_is_refused_before_anything_is_asked(tmp_path, url):
    with pytest.raises(InputError, match="is no address to fetch from") as error:
        fetching.fetch(url, tmp_path / "a")
    assert "\n" not in str(error.value) and "secret" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://a", "HTTP://a:80/b%20c/", "https://[::1]:1/", "http://127.0.0.1:8000/a?b=c"])
def test_what_is_an_address_is_taken(url):
    assert fetching.address(url) == url


@pytest.mark.parametrize(
    "error, tries",
    [
        (socket.gaierror(socket.EAI_NONAME, "name not known"), 1),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), fetching.TRIES),
        (OSError(113, "No route to host"), fetching.TRIES),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), 1),
        (ssl.SSLEOFError(8, "cut off"), fetching.TRIES),
        (UnicodeError("label too long"), 1),
        (OverflowError("port"), 1),
    ],
)
def test_only_what_can_pass_is_tried_again(tmp_path, monkeypatch, error, tries):
    asked = []

    def fail(*arguments, **options):
        asked.append(arguments)
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    with pytest.raises(InputError, match="http://a/: "):
        fetching.fetch("http://a/", tmp_path / "a")
    assert len(asked) == tries and not list(tmp_path.iterdir())


def test_a_server_without_tls_or_without_http_is_one_line(server, tmp_path):
    with pytest.raises(InputError, match="https://.*ssl"):
        fetching.fetch(f"{server.url}/a".replace("http", "https"), tmp_path / "a")
    server.answers["/a"] = raw(b"SSH-2.0\r\n\x00\xff")
    with pytest.raises(InputError, match="cannot be fetched"):
        fetching.fetch(f"{server.url}/a", tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_keeps_what_came(server, tmp_path, root):
    data = server.files["/a"] = np.random.default_rng(4).bytes(100_000)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n" + FETCH
    done = subprocess.run(
        [sys.executable, "-c", limited, f"{server.url}/a", str(tmp_path / "a")],
        cwd=root, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 2 and "a: cannot be written: file too large" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert fetching.fetch(f"{server.url}/a", tmp_path / "a", sha256(data)) and server.sent["/a"] < 2 * len(data)
