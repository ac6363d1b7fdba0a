"""A piece runs once and before its call ends, whatever fails: threads that don't start, interrupts, errors."""

import gc
import os
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

import fastcell as fc
from fastcell import _threads
from tests.helpers import problems, processes

PIECES = [(k, k + 1) for k in range(6)]
ON_UNIX = pytest.mark.skipif(os.name == "nt", reason="interrupts and limits as on Unix")


@pytest.fixture
def new_pool(monkeypatch):
    """A pool without threads, as in a process that has just begun."""
    monkeypatch.setattr(_threads, "_pool", _threads._Pool())


@contextmanager
def no_more_than(number):
    """The start of a thread fails after so many, as where the system has no more."""
    start, started = threading.Thread.start, []

    def failing(thread):
        started.append(thread)
        if len(started) > number:
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", failing)
        yield


@pytest.mark.usefixtures("new_pool")
@pytest.mark.parametrize("number", range(4))
def test_each_piece_runs_once_when_a_thread_does_not_start(number):
    ran = []
    with no_more_than(number):
        for _ in range(3):
            assert _threads.run(lambda first, last: ran.append(first) or last, PIECES) == [1, 2, 3, 4, 5, 6]
    assert _threads.run(lambda first, last: -last, PIECES) == [-1, -2, -3, -4, -5, -6]
    time.sleep(0.05)
    assert sorted(ran) == sorted([*range(6)] * 3)  # and none of them later


@pytest.mark.usefixtures("new_pool")
def test_a_scan_is_not_run_again_on_what_it_returned():
    ones, rules = np.ones(20_000), np.ones(20_000, np.int8)
    with no_more_than(0):
        first = fc.toy_scan(ones, rules, rules, threads=2)
    second = fc.toy_scan(ones, rules, rules, threads=2)
    time.sleep(0.05)
    for y, state in (first, second):
        assert (y.dtype, y.shape, float(y[-1]), float(state)) == (np.float64, (20_000,), 20_000.0, 20_000.0)
        np.testing.assert_array_equal(y, np.arange(1, 20_001))


CALLS = """
import threading, numpy as np, numpy.testing, fastcell as fc
from fastcell import _threads
x, r = np.ones(20_000), np.ones(20_000, np.int8)
net, rows = fc.LSTM(3, 5, seed=0), np.ones((4, 8, 3), "f")
def calls(threads):
    y, (h, c) = net(rows, threads=threads)
    return [*fc.toy_scan(x, r, r, threads=threads), y, h, c]
def check():
    before, got = threading.active_count(), [calls(4) for _ in range(3)]
    for answer in got:
        for one, other in zip(answer, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    return threading.active_count() - before
wanted = calls(1)
assert wanted[0][-1] == wanted[1] == 20_000
"""
LIMITED = """
import os, resource
calls(4)  # compiles
for size in (0, 1 << 46, 0):  # no room for a stack of the second
    threading.stack_size(size)
    _threads._pool = type(_threads._pool)()
    print(check())
if os.getuid() == 0:
    os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
_threads._pool = type(_threads._pool)()
print(check())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux keeps them")
def test_a_system_that_starts_no_thread():
    run = processes.python("-c", CALLS + LIMITED, timeout=250)
    assert run.returncode == 0, run.stderr
    assert [number != "0" for number in run.stdout.split()] == [True, False, True, False]


def test_calls_while_the_interpreter_ends():
    """At exit, where Python 3.12 starts no thread any more; the pool has none, or has its threads."""
    for before in ("", "check()\n"):
        run = processes.python(
            "-c", f"{CALLS}\n{before}import atexit\natexit.register(check)\nprint('begun')", timeout=250
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, "begun\n", "")


@pytest.mark.usefixtures("new_pool")
def test_a_call_that_ends_with_an_error_leaves_nothing_to_run():
    ran, at_work = [], threading.Barrier(3, timeout=30)

    def task(first, last):
        ran.append(first)
        if first < 3:
            at_work.wait()
        if first == 0:
            raise KeyError("the caller's own")
        time.sleep(0.05)
        return ran.append(-first)

    with pytest.raises(KeyError, match="the caller's own"):
        _threads.run(task, PIECES)
    done = list(ran)
    assert all(-first in done for first in done if first), "a thread is at work after the call"
    time.sleep(0.2)
    assert ran == done


STUBBORN = """
import signal, threading, time
from fastcell import _threads
class Interrupt(Exception): pass
def handler(number, frame):
    global interrupts
    if inside:
        interrupts += 1
        raise Interrupt
signal.signal(signal.SIGALRM, handler)
for interval, seconds in ((0.1, 0.55), (0.001, 0.05), (0.00003, 0.01)):
    bad, most_at_once = 0, 0
    stop = time.monotonic() + 0.6
    while time.monotonic() < stop:
        running, waiting = [], threading.Barrier(2)
        def task(first, last):
            if first:
                running.append(first)
                waiting.wait()
                time.sleep(seconds)
                running.pop()
            else:
                waiting.wait()
                signal.setitimer(signal.ITIMER_REAL, interval, interval)
        interrupts, inside = 0, True
        try:
            _threads.run(task, [(0, 1), (1, 2)])
        except Interrupt:
            pass
        inside = False
        at_work = [*running]
        signal.setitimer(signal.ITIMER_REAL, 0)
        bad += len(at_work)
        most_at_once = max(most_at_once, interrupts)
    print(bad, most_at_once > 0)
"""


@ON_UNIX
def test_no_interrupt_lets_a_call_out_before_its_threads():
    run = processes.python("-c", STUBBORN)
    assert (run.returncode, run.stdout) == (0, "0 True\n" * 3), run.stderr


def test_nobody_holds_arrays_after_a_call():
    class Array(list):
        pass

    for _ in range(200):
        array = Array()
        gone = weakref.ref(array)
        _threads.run(lambda first, last, array=array: len(array), PIECES)
        del array
        assert gone() is None


@pytest.mark.parametrize("at", [0, 3])
def test_an_error_holds_nothing_once_it_is_handled(at):
    class Array(list):
        pass

    gc.disable()
    try:
        for _ in range(100):
            array = Array()
            gone = weakref.ref(array)

            def task(first, last, array=array):
                if first == at:
                    raise ArithmeticError(array)

            with pytest.raises(ArithmeticError):
                _threads.run(task, PIECES)
            del array, task
            deadline = time.monotonic() + 10
            while gone() is not None and time.monotonic() < deadline:  # a thread lets go of its error
                time.sleep(0.001)
            assert gone() is None
    finally:
        gc.enable()


def test_calls_inside_pieces():
    def inner(first, last):
        return sum(_threads.run(lambda a, b: a + first, PIECES))

    def outer(first, last):
        return sum(_threads.run(inner, PIECES)) + first

    assert _threads.run(outer, PIECES) == [sum(15 + 6 * k for k in range(6)) + n for n in range(6)]


@pytest.mark.usefixtures("new_pool")
def test_the_first_calls_of_many_threads_share_one_pool():
    before = threading.active_count()
    together = threading.Barrier(32, timeout=60)
    x1, x2, x3 = problems.toy((200, 64), "float32")
    expected = fc.toy_scan(x1, x2, x3, threads=1).y

    def call(_):
        together.wait()
        pieces = [(k, k + 1) for k in range(64)]
        assert _threads.run(lambda first, last: time.sleep(0.005) or first, pieces) == [*range(64)]
        return [fc.toy_scan(x1, x2, x3, threads=64).y for _ in range(3)]

    with ThreadPoolExecutor(32) as pool:
        for answers in pool.map(call, range(32)):
            for y in answers:
                np.testing.assert_array_equal(y, expected)
    assert threading.active_count() - before <= max(64, os.cpu_count())


def test_threads_are_used_again():
    def started():
        return sum(thread.name == "fastcell" for thread in threading.enumerate())

    before = started()  # those of other tests' pools, too
    with ThreadPoolExecutor(1) as other:
        for _ in range(20):
            other.submit(_threads.run, lambda first, last: time.sleep(0.001), PIECES).result()
    assert 1 <= started() < before + 40  # of 100 that helped, were each a new one; some may be late
    assert len({id(helper) for helper in _threads._pool.idle}) == len(_threads._pool.idle)
