"""Work on many pictures at once: in order, bounded, and stopped by an error."""

import threading
import time

import pytest

from dataset.errors import InputError
from dataset.parallel import do_all, good_ones, in_order


def test_results_come_in_order_whatever_takes_longest():
    def work(number):
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(in_order(work, range(50), 4)) == [number * number for number in range(50)]


def test_several_threads_work_at_once():
    both = threading.Barrier(2, timeout=20)  # passes only if two are waiting
    list(in_order(lambda _: both.wait(), range(4), 2))


def test_only_few_results_are_ahead_of_the_reader():
    begun = []
    results = in_order(begun.append, range(1000), 3)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 2 * 3 + 1
    results.close()
    assert len(begun) <= 2 * 3 + 1


def test_an_error_is_raised_in_its_turn_and_ends_the_work():
    begun = []

    def work(number):
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    seen = []
    with pytest.raises(ValueError, match="five"):
        for result in in_order(work, range(1000), 2):
            seen.append(result)
    assert seen == [0, 1, 2, 3, 4] and len(begun) < 20


def test_all_is_done_or_the_error_raised():
    done = []
    do_all(done.append, range(50), 3, unit="number")
    assert sorted(done) == list(range(50))
    with pytest.raises(ZeroDivisionError):
        do_all(lambda number: 1 / number, [1, 0, 2], 1)


def test_bad_ones_are_told_all_together(capsys):
    def half(number):
        if number % 2:
            raise InputError(f"{number} is odd")
        return number // 2

    assert list(good_ones(half, [0, 2, 4])) == [(0, 0), (2, 1), (4, 2)]
    found = []
    with pytest.raises(InputError, match="2 of 4 cannot be used, see above; --skip_bad leaves them out"):
        found.extend(good_ones(half, [0, 1, 2, 3]))
    assert found == [(0, 0), (2, 1)] and capsys.readouterr().err == "bad: 1 is odd\nbad: 3 is odd\n"
    assert list(good_ones(half, [1, 2], skip_bad=True)) == [(2, 1)]
    assert "skipped: 1 is odd" in capsys.readouterr().err
    for bad, match in (([1, 2], "1 is odd"), ([1, 1], "1 is odd")):
        with pytest.raises(InputError, match=match):
            list(good_ones(half, bad))
    with pytest.raises(InputError, match="none of 2 can be used"):
        list(good_ones(half, [1, 3], skip_bad=True))
