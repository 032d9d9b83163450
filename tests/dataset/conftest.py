"""A server for the tests of downloads."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dataset import fetching


class Server(ThreadingHTTPServer):
    """Serves ``files``. ``cuts[path]`` answers end in the middle, ``errors[path]`` answers are a 503, or what
    ``busy[path]`` has: a status and its Retry-After. ``answers[path]`` is called with the handler, to answer itself."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.errors, self.busy, self.answers = {}, Counter(), Counter(), {}, {}
        self.sent, self.asked = Counter(), Counter()  # bytes of, and requests for each path
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, path = self.server, self.path
        server.asked[path] += 1
        if path in server.answers:
            server.answers[path](self)
            return
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
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
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
    """A server on the loopback address; between two tries there is no pause."""
    monkeypatch.setattr(fetching, "PAUSE", 0.01)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
