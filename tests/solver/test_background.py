"""Work beside the network's: in order, not too much of it ahead, and the same results as in turn."""

import os
import threading

import numpy as np
import pytest
import torch

import model
from dataset import images, test_set
from dataset.errors import InputError
from solver import background
from solver.evaluate import evaluate
from solver.sampler import Sampler


@pytest.fixture(params=["in turn", "threads"])
def cores(request, monkeypatch):
    """Few cores or many, as far as the process can tell."""
    count = 2 if request.param == "in turn" else 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(count)), raising=False)
    return count


def test_threads_where_there_are_cores_for_them(cores):
    with background.executor("cpu") as workers:
        here = workers.submit(threading.get_ident).result() == threading.get_ident()
    assert here == (cores == 2)
    with background.executor("cuda") as workers:  # leaves the processor free
        assert workers.submit(threading.get_ident).result() != threading.get_ident()


def test_work_is_begun_in_order_and_not_too_far_ahead(cores):
    begun = []

    def work():
        for i in range(10):
            begun.append(i)
            yield workers.submit(lambda i=i: i * i)

    with background.executor("cpu") as workers:
        for i, future in enumerate(background.ahead(work(), workers)):
            assert future.result() == i * i
            assert len(begun) == min(10, i + 1 + background.depth(workers))
    assert len(begun) == 10


def test_an_error_comes_with_its_own_piece_of_work(cores):
    def work(i):
        if i == 1:
            raise InputError("one")
        return i

    with background.executor("cpu") as workers:
        first, second, third = background.ahead((workers.submit(work, i) for i in range(3)), workers)
        assert (first.result(), third.result()) == (0, 2)
        with pytest.raises(InputError, match="one"):
            second.result()


def test_threads_change_no_figure_and_no_band(monkeypatch, picture, tmp_path):
    for i in range(5):
        images.write_rgb(tmp_path / f"x2/{i}_HR.png", picture(48, 40, seed=i))
        images.write_rgb(tmp_path / f"x2/{i}_LR.png", picture(24, 20, seed=i))
    (tmp_path / "x2/2_LR.png").write_bytes(b"no picture")
    torch.manual_seed(0)
    found = test_set.find(tmp_path, 2)
    results = []
    for count in (2, 16):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, n=count: set(range(n)), raising=False)
        sampler = Sampler(model.build("lesrcnn", 2).eval(), 2, tile=16) if not results else sampler
        written = {}
        scores = evaluate(sampler, found, compare_bicubic=True, skip_bad=True,
                          on_picture=lambda item, sr: written.update({item.name: sr.rgb.sum()}))
        bands = np.concatenate(list(sampler.bands(picture(60, 30))))
        results.append(([(r.name, r.psnr, r.ssim, r.bicubic_psnr) for r in scores.rows], scores.skipped, written,
                        bands.tobytes()))
    assert results[0] == results[1] and len(results[0][0]) == 4 and len(results[0][1]) == 1
