"""Words that several threads change at once."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba import njit

from fastcell import _machine
from fastcell.simd.atomics import (
    atomic_add,
    atomic_or,
    atomic_swap_if,
    load_atomic,
    relax,
    store_atomic,
)


@njit(nogil=True)
def add(at, count):
    total = 0
    for _ in range(count):
        total += atomic_add(at, 1)
    return total


@njit(nogil=True)
def others(at, other):
    return atomic_or(at, 6), atomic_or(at, 8), atomic_swap_if(at, 15, 3), atomic_swap_if(at, 15, other), load_atomic(at)


@njit(nogil=True)
def wait(at, to, number):
    """Wait for the number, then say so."""
    turn = 0
    while load_atomic(at) != number:
        relax(turn, 100)
        turn += 1
    store_atomic(to, number)


def test_nothing_that_is_added_at_once_is_lost():
    words, count = np.zeros(1, np.int64), 200_000
    add(words.ctypes.data, 0)
    with ThreadPoolExecutor(4) as pool:
        totals = [*pool.map(lambda _: add(words.ctypes.data, count), range(4))]
    assert words[0] == 4 * count
    assert sum(totals) == 4 * count * (4 * count - 1) // 2  # each saw numbers that no other did


def test_bits_are_set_and_words_replaced():
    words = np.array([1], np.int64)
    assert others(words.ctypes.data, 5) == (1, 7, True, False, 3)
    assert words.tolist() == [3]


def test_threads_see_what_another_wrote():
    words = np.zeros(2, np.int64)
    at, to = words.ctypes.data, words.ctypes.data + 8
    thread = threading.Thread(target=wait, args=(at, to, 7), daemon=True)
    thread.start()
    words[0] = 7
    thread.join(timeout=30)
    assert words.tolist() == [7, 7]


PAUSES = {
    "x86_64-unknown-linux-gnu": ("llvm.x86.sse2.pause", ()),
    "aarch64-unknown-linux-gnu": ("llvm.aarch64.isb", (15,)),
    "arm64-apple-darwin23": ("llvm.aarch64.isb", (15,)),
    "ppc64le-unknown-linux-gnu": None,
}


@pytest.mark.parametrize("triple", PAUSES)
def test_a_cpu_is_told_in_its_own_words(triple, monkeypatch):
    monkeypatch.setattr(llvm, "get_process_triple", lambda: triple)
    assert _machine.pause_intrinsic() == PAUSES[triple]


def test_a_thread_may_give_its_core_away():
    assert hasattr(os, "sched_yield") == (os.name != "nt")
