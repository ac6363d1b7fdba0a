"""Many threads at once: the same bits as one, and no lock held."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import njit, prange

import fastcell as fc
from tests.helpers import problems, processes

TOY = problems.toy((150, 40), "float32")
LONG = problems.toy((9000,), "float32")
GATES = [gate[:, :24] for gate in problems.gates((60, 40), "float32")]
LSTM = fc.LSTM(5, 17, seed=0)
CELL = LSTM.cell()
X = np.random.default_rng(0).standard_normal((12, 9, 5)).astype(np.float32)


def bytes_of(*arrays):
    return b"".join(np.asarray(array).tobytes() for array in arrays)


def toy(threads=2):
    return bytes_of(*fc.toy_scan(*TOY, threads=threads))


def sequence(threads=2):
    return bytes_of(*fc.toy_scan(*LONG, threads=threads))


def gated(threads=2):
    return bytes_of(*fc.gated_scan(*GATES, threads=threads))


def lstm(threads=2):
    y, (h, c) = LSTM(X, threads=threads)
    return bytes_of(y, h, c)


def steps(step):
    h, c = np.zeros((9, 17), np.float32), np.zeros((9, 17), np.float32)
    for x in X:
        step(x, h, c)
    return bytes_of(h, c)


def cell(threads=None):
    return steps(CELL.step)


def compiled(threads=None):
    return steps(lambda x, h, c: fc.lstm_step(CELL.params, x, h, c))


CALLS = [toy, sequence, gated, lstm, cell, compiled]


@pytest.fixture(scope="module")
def serial():
    return {call: call(1) for call in CALLS}


def all_at_once(serial, seconds):
    """32 threads that take turns at everything, until time is up; each must have got round."""
    start, stop = threading.Barrier(32), time.monotonic() + seconds

    def work(k):
        start.wait(timeout=60)
        done = 0
        while done < len(CALLS) or time.monotonic() < stop:
            call = CALLS[(k + done) % len(CALLS)]
            assert call() == serial[call], f"{call.__name__} in thread {k}, call {done}"
            done += 1
        return done

    with ThreadPoolExecutor(32) as pool:
        assert min(pool.map(work, range(32))) >= len(CALLS)


def test_32_threads_at_once(serial):
    all_at_once(serial, 2)


@pytest.mark.slow
def test_32_threads_for_a_minute(serial):
    all_at_once(serial, 60)


@pytest.mark.parametrize("call", CALLS[:4], ids=lambda call: call.__name__)
def test_any_number_of_threads_gives_the_same_bits(call, serial):
    for threads in range(1, 65):
        assert call(threads) == serial[call], f"{threads} threads"


def test_another_thread_runs_during_a_call():
    """A call that takes a while keeps no lock: a thread that only counts goes on counting."""
    net = fc.LSTM(64, 64, seed=0)
    x = np.zeros((400, 64, 64), np.float32)
    net(x[:2], threads=1)
    counted, running = 0, True

    def count():
        nonlocal counted
        while running:
            counted += 1
            time.sleep(0)

    other = threading.Thread(target=count)
    other.start()
    try:
        before = counted
        net(x, threads=1)
        during = counted - before
    finally:
        running = False
        other.join()
    assert during > 100  # while one that waits for the lock gets none of it during a kernel, and a few around it


@njit(parallel=True)
def agents(params, x, h, c):
    for k in prange(len(x)):
        for _ in range(10):
            fc.lstm_step(params, x[k], h[k], c[k])


def test_inside_a_users_parallel_loop():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 5)).astype(np.float32)
    h, c = np.zeros((50, 17), np.float32), np.zeros((50, 17), np.float32)
    agents(CELL.params, x, h, c)
    _, (last_h, last_c) = LSTM(np.repeat(x[None], 10, axis=0))
    np.testing.assert_array_equal(h, last_h[0])
    np.testing.assert_array_equal(c, last_c[0])


INTERRUPTED = """
import _thread, threading
import numpy as np, fastcell as fc
ones = np.ones(1 << 25, np.int8)
# compiled before: LLVM's lock knows no interrupt
fc.toy_scan(ones[:1 << 22].astype("f"), ones[:1 << 22], ones[:1 << 22], threads=4)
for attempt in range(8):
    timer = threading.Timer(0.002 * (1 + attempt), _thread.interrupt_main)
    try:
        timer.start()
        fc.toy_scan(np.ones(1 << 22, "f"), ones[:1 << 22], ones[:1 << 22], threads=4)
        timer.join()
        [None for _ in range(1000)]
    except KeyboardInterrupt:
        pass
timer.join()
print(fc.toy_scan(np.ones(9, "f"), ones[:9], ones[:9], threads=4).y.sum())
"""


@pytest.mark.skipif(os.name == "nt", reason="interrupts as on Unix")
def test_an_interrupt_during_threads_is_survived():
    run = processes.python("-c", INTERRUPTED, timeout=120)
    assert (run.returncode, run.stdout) == (0, "45.0\n"), run.stderr


def test_no_threads_are_left_over():
    def threads():
        return {thread for thread in threading.enumerate() if thread.name.startswith("fastcell")}

    before = threads()  # of other tests' pools, too
    for _ in range(50):
        toy(64)
    assert len(threads() - before) <= 64
