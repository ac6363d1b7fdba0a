"""Splitting, and the pool."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastcell as fc
from fastcell import _threads
from tests.helpers import problems


@given(st.integers(0, 10_000), st.integers(1, 100), st.integers(1, 70))
def test_split_covers_the_range_in_whole_steps(total, step, parts):
    pieces = _threads.split(total, step, parts)
    assert [k for first, last in pieces for k in range(first, last)] == list(range(total))
    assert 1 <= len(pieces) <= parts
    assert all(first % step == 0 for first, _ in pieces)
    assert len(pieces) == 1 or all(last - first >= step for first, last in pieces)


def test_small_work_stays_on_the_callers_thread():
    assert _threads.choose(None, 10, 1000) == 1
    assert _threads.choose(None, 1000, 1000) == _threads.cores()
    assert _threads.choose(np.int64(3), 10, 1000) == 3


def test_run_raises_what_a_piece_raised():
    def task(first, last):
        if first == 2:
            raise KeyError(first)
        return threading.current_thread().name

    with pytest.raises(KeyError):
        _threads.run(task, [(0, 1), (1, 2), (2, 3)])
    names = _threads.run(task, [(0, 1), (1, 2), (3, 4)])
    assert names[0] == threading.current_thread().name
    assert set(names[1:]) <= {names[0], "fastcell"}


def _answer(_=None):
    x1, x2, x3 = problems.toy((200, 64), "float32")
    return fc.toy_scan(x1, x2, x3, threads=4).y.tobytes()


@pytest.mark.forks
def test_works_after_fork():
    expected = _answer()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_answer).get(timeout=60) == expected


def test_works_from_many_threads_at_once():
    expected = _answer()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(_answer, range(40))) == {expected}


@given(st.integers(0, 10**9), st.integers(1, 4096), st.integers(1, 100))
def test_split_is_even(total, step, parts):
    lengths = [last - first for first, last in _threads.split(total, step, parts)]
    assert max(lengths) - min(lengths) < 2 * step
    assert len(lengths) == max(1, min(parts, total // step))


@pytest.mark.parametrize(
    ("threads", "error", "message"),
    [
        (0, ValueError, "threads must be at least 1, got 0"),
        (-1, ValueError, "threads must be at least 1, got -1"),
        (1.5, TypeError, "threads must be an integer or None, got float"),
        (True, TypeError, "threads must be an integer or None, got bool"),
        ("2", TypeError, "threads must be an integer or None, got str"),
    ],
)
def test_choose_refuses(threads, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        _threads.choose(threads, 1, 1)


PIECES = [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_run_takes_all_pieces_at_once_and_returns_results_in_order():
    barrier = threading.Barrier(len(PIECES), timeout=30)

    def task(first, last):
        barrier.wait()
        return first, last

    assert _threads.run(task, PIECES) == PIECES


@pytest.mark.parametrize("at", range(len(PIECES)))
def test_run_raises_whichever_piece_raised(at):
    def task(first, last):
        if first == at:
            raise ArithmeticError(f"piece {first}")
        return first

    with pytest.raises(ArithmeticError, match=f"^piece {at}$"):
        _threads.run(task, PIECES)
    assert _threads.run(lambda first, last: last, PIECES) == [1, 2, 3, 4]
