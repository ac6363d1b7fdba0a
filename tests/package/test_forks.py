"""A fork while another thread compiles: the child has locks that are free, and a compiler that is whole."""

import os
import threading

import numpy as np
import pytest
from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

import fastcell as fc
from fastcell import _forks, _threads
from tests.helpers import processes

pytestmark = pytest.mark.forks

FORKS = """
import faulthandler, os, threading, time
import numpy as np, fastcell as fc
from numba import njit

x, r = np.ones(20, "f"), np.ones(20, np.int8)
wanted = fc.toy_scan(x, r, r).y.tobytes()
compiling = True

def compile_one(number):
    @njit
    def function(a):
        total = 0.0
        for value in a:
            total += value ** number + np.sin(value)
        return np.sort(a)[0] + total
    return function(np.ones(3))

def compile_many():
    number = 0
    while compiling:
        number += 1
        compile_one(number)

other = threading.Thread(target=compile_many)
other.start()
failed = []
for attempt in range(5):
    time.sleep(0.11)
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(40, exit=True)
        y, _ = fc.toy_scan(x.astype("d"), r, r)  # another kernel than the parent's, from the cache
        assert y.astype("f").tobytes() == wanted
        compile_one(1)  # the compiler is whole, too
        os._exit(0)
    failed.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
compiling = False
other.join()
print(failed)
"""


def test_a_fork_while_another_thread_compiles():
    rules = np.ones(20, np.int8)
    fc.toy_scan(np.ones(20), rules, rules)  # the child's kernel is in the cache
    run = processes.python("-c", FORKS, timeout=280)
    assert (run.returncode, run.stdout) == (0, f"{[0] * 5}\n"), run.stderr


def child(check):
    """The exit status of a fork that looks at its locks, or whatever else there is to look at."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def free(lock):
    """Whether another thread than this may have the lock."""
    got = []
    other = threading.Thread(target=lambda: got.append(lock.acquire(timeout=5) and lock.release() is None))
    other.start()
    other.join()
    return got == [True]


def test_the_locks_of_numba_and_llvm_are_known():
    assert list(map(id, _forks.LOCKS)) == [id(global_compiler_lock._lock), id(ffi.lib._lock._lock)]


@pytest.mark.parametrize("number", range(2))
def test_a_lock_that_another_thread_holds_is_free_in_the_child(number):
    lock, held, forks = _forks.LOCKS[number], threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            forks.wait(timeout=0.3)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(timeout=30)
    assert child(lambda: all(map(free, _forks.LOCKS))) == 0
    forks.set()
    other.join()
    assert all(map(free, _forks.LOCKS))


def test_a_thread_that_forks_keeps_the_lock_it_holds():
    with global_compiler_lock:
        assert child(lambda: not global_compiler_lock._lock.acquire(blocking=False) or True) == 0
        assert child(lambda: global_compiler_lock.release() is None and free(_forks.LOCKS[0])) == 0
        assert global_compiler_lock.is_locked()
    assert free(_forks.LOCKS[0])


def test_a_fork_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(_forks, "_PATIENCE", 0.05)
    held, forked = threading.Event(), threading.Event()

    def hold():
        with global_compiler_lock:
            held.set()
            forked.wait(timeout=30)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(timeout=30)
    assert child(lambda: free(_forks.LOCKS[1])) == 0
    assert other.is_alive()
    forked.set()
    other.join()
    assert all(map(free, _forks.LOCKS))


def test_the_child_has_a_pool_of_its_own():
    pieces = [(k, k + 1) for k in range(4)]
    assert _threads.run(lambda first, last: last, pieces) == [1, 2, 3, 4]
    parents = _threads._pool

    def check():
        fresh = _threads._pool is not parents and not _threads._pool.idle
        met = threading.Barrier(4, timeout=30)
        return fresh and _threads.run(lambda first, last: met.wait() >= 0, pieces) == [True] * 4

    assert child(check) == 0
    assert _threads._pool is parents
