"""Fixtures that all tests share."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: a second thread each would only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def reference() -> Path:
    """Released weights, Set5 and Set14 and the figures to match; skips where they are not at hand."""
    folder = os.environ.get("LESRCNN_REFERENCE")
    if not folder:
        pytest.skip("LESRCNN_REFERENCE is not set")
    return Path(folder)


@pytest.fixture
def command():
    """Run ``python <arguments>`` from the root as a user would; returns the finished process."""

    def run(*arguments, cwd=ROOT, timeout=240, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            text=True,
            timeout=timeout,
            capture_output=True,
            env={**os.environ, **environment},
        )

    return run


@pytest.fixture
def picture():
    """Make a smooth random RGB picture, (H, W, 3) uint8: something a bicubic can follow."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width].astype(float)
        waves = [np.sin(x * rng.uniform(0.02, 0.4) + y * rng.uniform(0.02, 0.4) + rng.uniform(0, 6)) for _ in range(9)]
        rgb = np.stack([sum(waves[c::3]) for c in range(3)], axis=2)
        return np.clip(127.5 + 40 * rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)

    return make


@pytest.fixture
def bad_files(picture):
    """Fill a folder with every kind of bad picture; returns name -> words of the message it deserves."""

    def make(folder: Path) -> dict[str, str]:
        from dataset import images

        rgb = picture(40, 40)
        data = images.encode(images.Picture(rgb), ".png")
        deep = images.encode(images.Picture(rgb.astype(np.uint16) * 257), ".png")
        contents = {
            "truncated.png": data[: len(data) // 2],
            "deep.png": deep[: len(deep) // 2],
            "empty.png": b"",
            "text.png": b"this is a text",
            "bomb.png": _png_bomb(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return {
            "truncated.png": "truncated",
            "deep.png": "truncated",
            "empty.png": "empty",
            "text.png": "not a readable picture",
            "bomb.png": "60000x60000",
        }

    return make


def _png_bomb() -> bytes:
    """A PNG of 60000x60000 declared pixels in a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
