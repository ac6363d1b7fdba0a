"""Splitting a batch over a pool of threads: kernels are serial and hold no lock, rows are independent."""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from threading import Lock, Thread
from typing import Any, TypeVar

from fastcell import _checks
from fastcell._cores import CAP, cores

_MOST = 64  # pieces that work is cut into, whatever is asked for
_T = TypeVar("_T")

_allocate = ctypes.CFUNCTYPE(ctypes.c_void_p)(("PyThread_allocate_lock", ctypes.pythonapi))
_acquire = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(("PyThread_acquire_lock", ctypes.pythonapi))
_release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(("PyThread_release_lock", ctypes.pythonapi))
_gates: list[int] = []  # locks at these addresses, free to use again


def _gate() -> int:
    """The address of a lock of CPython's own: no signal ends a wait for it, as it does for a lock of `threading`."""
    try:
        return _gates.pop()
    except IndexError:
        at: int | None = _allocate()
    if at is None:
        raise MemoryError("no lock is left for another call with threads")
    return at


class _Call:
    """One call's pieces. The caller and the threads that help it take them one at a time, each once.

    The gate is held while any thread helps. It is 0 once the call is over.
    """

    def __init__(self, task: Callable[[int, int], Any], pieces: list[tuple[int, int]]) -> None:
        self.task, self.pieces = task, pieces
        self.left = [*reversed(range(len(pieces)))]  # which nobody has taken
        self.results: list[Any] = [None] * len(pieces)
        self.errors: list[BaseException] = []
        self.lock, self.gate = Lock(), _gate()
        self.helping = 0  # threads that do

    def lead(self) -> None:
        """Run pieces until nobody has to, on this thread the first one; others are run by such threads as come."""
        first = self.left.pop()
        helpers = min(len(self.pieces), CAP or len(self.pieces)) - 1
        for _ in range(helpers):
            if not _pool.help(self):
                break
        self._run(first)
        self._run_what_is_left()

    def help(self) -> None:
        """Run pieces that nobody has taken, on a thread of the pool, unless the call is over."""
        with self.lock:
            if not self.gate or not (self.helping or _acquire(self.gate, 0)):
                return
            self.helping += 1
        try:
            self._run_what_is_left()
        except BaseException as error:  # the caller's to raise
            self.errors.append(error)
            self.left = []
        finally:
            with self.lock:
                self.helping -= 1
                if not self.helping:
                    _release(self.gate)

    def close(self) -> None:
        """Let go of the gate, which the caller holds, and of the arrays: a thread may come too late."""
        with self.lock:
            gate, self.gate = self.gate, 0
        _release(gate)
        _gates.append(gate)
        del self.task

    def _run_what_is_left(self) -> None:
        while True:
            try:
                k = self.left.pop()
            except IndexError:
                return
            self._run(k)

    def _run(self, k: int) -> None:
        self.results[k] = self.task(*self.pieces[k])


class _Guest:
    """Work in which a thread of the pool may help, for which nobody waits."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work

    def help(self) -> None:
        with suppress(MemoryError):  # whoever invites does all that guests do not do
            self.work()


class _Helper:
    """A thread that waits for calls to help in. It ends with the process, which does not wait for it."""

    def __init__(self, pool: "_Pool", call: _Call | _Guest) -> None:
        self.pool, self.wake = pool, Lock()
        self.call: _Call | _Guest | None = call
        self.wake.acquire()

    def run(self) -> None:
        while self.call is not None:
            self.call.help()
            self.call = None  # one that waits keeps no arrays
            self.pool.idle.append(self)
            self.wake.acquire()


class _Pool:
    """Threads, started when a call finds none idle, and kept. Lists that are popped and appended to need no lock."""

    def __init__(self) -> None:
        self.idle: list[_Helper] = []
        self.room = [True] * max(64, os.cpu_count() or 1)  # for so many more threads

    def help(self, call: _Call | _Guest) -> bool:
        """Have a thread help in a call; whether there is one."""
        try:
            helper = self.idle.pop()
        except IndexError:
            return self._start(call)
        helper.call = call
        helper.wake.release()
        return True

    def _start(self, call: _Call | _Guest) -> bool:
        try:
            self.room.pop()
        except IndexError:
            return False
        try:
            Thread(target=_Helper(self, call).run, name="fastcell", daemon=True).start()
        except RuntimeError:  # the system has no more, or the interpreter is about to end: the caller runs all pieces
            self.room.append(True)
            return False
        return True


_pool = _Pool()


def _forget() -> None:
    """A forked child has none of its parent's threads: it gets a pool of its own."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def choose(threads: int | None, work: int, enough: int) -> int:
    """How many threads to use: as asked, or all cores once there is `enough` work."""
    if threads is None:
        return cores() if work >= enough else 1
    count = _checks.whole("threads", threads, "an integer or None")
    if count < 1:
        raise ValueError(f"threads must be at least 1, got {count}")
    return min(count, _MOST)


def split(total: int, step: int, parts: int) -> list[tuple[int, int]]:
    """Cut range(total) into at most `parts` pieces, each beginning at a multiple of `step` and at least as long."""
    if parts == 1:
        return [(0, total)]
    steps = total // step
    parts = max(1, min(parts, steps))
    edges = [*(steps * k // parts * step for k in range(parts)), total]
    return list(pairwise(edges))


def run(task: Callable[[int, int], _T], pieces: list[tuple[int, int]]) -> list[_T]:
    """Run `task(first, last)` on every piece, the first on this thread; returns all results, raises what one raised.

    No thread is at a piece when this ends, however it ends: arrays belong to the call. CPython lets interrupts in where
    a function begins, where a loop goes back and after a call, so from `except` on there is none of these before the
    wait, and the wait itself, one call, is not over before the threads are.
    """
    if len(pieces) == 1:
        return [task(*pieces[0])]
    call = _Call(task, pieces)
    raised = None
    try:
        call.lead()
    except BaseException as error:  # one that was raised by a piece, or an interrupt
        raised = error
    call.left = []
    _acquire(call.gate, 1)
    call.close()
    errors = call.errors if raised is None else [raised]
    call.errors = []  # they hold the call by their frames
    if not errors:
        return call.results
    try:
        raise errors[0]
    finally:
        del errors, raised


def invite(work: Callable[[], Any], count: int) -> None:
    """Have so many threads of the pool run `work` as well, if there are any; nobody waits for them."""
    for _ in range(min(count, (CAP or _MOST) - 1)):
        if not _pool.help(_Guest(work)):
            break
