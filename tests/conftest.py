"""Fixtures that all tests share."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
        return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, text=True, timeout=timeout,
                              capture_output=True, env={**os.environ, **environment})
    return run


@pytest.fixture
def picture():
    """Make a smooth random RGB picture, (H, W, 3) uint8: something a bicubic can follow."""
    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width].astype(float)
        waves = [np.sin(x * rng.uniform(.02, .4) + y * rng.uniform(.02, .4) + rng.uniform(0, 6))
                 for _ in range(9)]
        rgb = np.stack([sum(waves[c::3]) for c in range(3)], axis=2)
        return np.clip(127.5 + 40 * rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)
    return make
