"""Work beside the network's: in order, not too much of it ahead, and the same results as in turn."""

import os
import threading
import time
from dataclasses import replace

import pytest
import torch

import model
from dataset import images, test_set
from dataset.errors import InputError
from solver import background
from solver.measuring.evaluate import evaluate, memory_needed
from solver.sampling.sampler import Sampler


@pytest.fixture
def cores(monkeypatch):
    """Choose how many cores there are, as far as the process can tell."""

    def choose(count: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(count)), raising=False)

    return choose


def test_half_the_cores_work_beside_a_network(cores):
    for count, expected in ((1, 1), (2, 1), (6, 3), (64, 8)):
        cores(count)
        assert background.threads() == expected
    with background.executor() as workers:
        assert workers.submit(threading.get_ident).result() != threading.get_ident()


def test_work_is_begun_in_order_and_not_too_far_ahead():
    begun = []

    def work():
        for i in range(10):
            begun.append(i)
            yield workers.submit(lambda i=i: i * i)

    with background.executor() as workers:
        for i, future in enumerate(background.ahead(work(), depth=2)):
            assert future.result() == i * i
            assert len(begun) == min(10, i + 3)
    assert len(begun) == 10


def test_an_error_comes_with_its_own_piece_of_work():
    def work(i):
        if i == 1:
            raise InputError("one")
        return i

    with background.executor() as workers:
        first, second, third = background.ahead((workers.submit(work, i) for i in range(3)), depth=1)
        assert (first.result(), third.result()) == (0, 2)
        with pytest.raises(InputError, match="one"):
            second.result()


def test_many_threads_change_no_figure(cores, picture, tmp_path):
    for i in range(5):
        images.write_rgb(tmp_path / f"x2/{i}_HR.png", picture(48, 40, seed=i))
        images.write_rgb(tmp_path / f"x2/{i}_LR.png", picture(24, 20, seed=i))
    (tmp_path / "x2/2_LR.png").write_bytes(b"no picture")
    torch.manual_seed(0)
    sampler = Sampler(model.build("lesrcnn", 2).eval(), 2, tile=16)
    results = []
    for count in (1, 16):
        cores(count)
        written = {}
        scores = evaluate(
            sampler,
            test_set.find(tmp_path, 2),
            compare_bicubic=True,
            skip_bad=True,
            on_picture=lambda item, sr: written.update({item.name: sr.rgb.tobytes()}),
        )
        results.append(([replace(row, seconds=0) for row in scores.rows], scores.skipped, written))
    assert results[0] == results[1] and len(results[0][0]) == 4 and len(results[0][1]) == 1


def test_results_that_wait_to_be_written_fit_their_memory(cores, picture, tmp_path):
    """However many threads there are: no further picture is computed while too many wait."""
    for i in range(6):
        images.write_rgb(tmp_path / f"{i}.png", picture(30, 40, seed=i))
    cores(16)
    waiting, most = [], []
    sampler = Sampler(model.build("lesrcnn", 2).eval(), 2)
    enlarge, budget = sampler.enlarge, sampler.budget
    needed = max(memory_needed(test_set.find(tmp_path, 2).items[0], 2, sampler, ".png"))
    budget.limit = budget.program + 4 * (2 * needed + 1)  # a quarter: room for two
    sampler.too_large = lambda size: False
    sampler.enlarge = lambda *args: most.append(len(waiting)) or waiting.append(1) or enlarge(*args)

    def write(item, sr):
        time.sleep(0.02)
        waiting.pop()

    evaluate(sampler, test_set.find(tmp_path, 2), on_picture=write)
    assert len(most) == 6 and max(most) <= 2
