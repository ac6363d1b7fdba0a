"""Data, yardsticks and timing that the benchmarks share. Everything here is seeded and made once a process."""

import gc
import os
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numba import njit

import fastcell as fc

# name: steps, columns, order. The large ones take 320 MB, several times a last-level cache; 20 MB may fit it.
PROBLEMS = {
    "columns 4000 x 8000": (4000, 8000, "C"),
    "rows 4000 x 8000": (4000, 8000, "F"),
    "rows 40 x 800000": (40, 800_000, "F"),
    "sequence 32000000": (32_000_000, 1, "C"),
    "columns in cache 2000 x 1000": (2000, 1000, "C"),
    "rows in cache 2000 x 1000": (2000, 1000, "F"),
    "sequence in cache 2000000": (2_000_000, 1, "C"),
}

# name: steps, rows, inputs, units. Weights of 8 KiB to 32 MiB: the first cache to beyond the last.
LSTMS = {
    "one row, 16 units": (100, 1, 16, 16),
    "one row, 64 units": (100, 1, 64, 64),
    "one row, 256 units": (100, 1, 256, 256),
    "one row, 512 units": (50, 1, 512, 512),
    "one row, 1024 units": (10, 1, 1024, 1024),
    "16 rows, 64 units": (100, 16, 64, 64),
    "64 rows, 128 units": (100, 64, 128, 128),
    "64 rows, 256 units": (20, 64, 256, 256),
    "64 rows, 512 units": (10, 64, 512, 512),
    "1024 rows, 16 units": (20, 1024, 16, 16),
    "multiples of nothing": (200, 7, 13, 37),
}


def needs(*names: str) -> None:
    """Skip a benchmark, in its setup, on commits that lack what it measures."""
    for name in names:
        if name not in dir(fc):  # which imports nothing
            raise NotImplementedError(f"this commit has no {name}")


class Peer(NamedTuple):
    """Another library: what it takes to install it, and a function that makes the call which is timed.

    `prepare` gets fastcell's arguments and a number of threads, makes the library's own kind of arrays of them, and
    returns a function without arguments that returns an answer of fastcell's shape.
    """

    needs: tuple[str, ...]
    prepare: Callable[..., Callable[[], object]]

    def missing(self) -> list[str]:
        return [name for name in self.needs if find_spec(name) is None]


class UnsupportedError(Exception):
    """Raised by a peer's `prepare` where this CPU makes the library run in another precision than it is asked for."""


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Of those distributions that are installed."""
    return {name: version(name).partition("-")[0] for name in names if find_spec(name) is not None}


def cores() -> set[int]:
    """The cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def keep_to(chosen: set[int]) -> None:
    """Run on these cores alone, with every thread that is started from now on: nothing else holds JAX to one."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, chosen)


def chosen(threads: int) -> int | None:
    """fastcell's `threads` beside peers that take so many at most: left to itself unless it is one."""
    return 1 if threads == 1 else None


class Toy(NamedTuple):
    """A toy cell's input and output: (T, B), or (T,) for one sequence."""

    x1: np.ndarray
    x2: np.ndarray
    x3: np.ndarray
    y: np.ndarray


def toy_data(T: int, B: int, order: str) -> Toy:
    """float32 values, int8 rules: a quarter resets, a quarter adds, half keeps; every other step emits."""
    shape = (T,) if B == 1 else (T, B)
    rng = np.random.default_rng(1)
    x1 = rng.standard_normal(shape, dtype=np.float32)
    x2 = rng.choice(np.array([-1, 0, 0, 1], np.int8), shape)
    x3 = rng.integers(0, 2, shape, dtype=np.int8)
    x1, x2, x3 = (np.asarray(x, order=order) for x in (x1, x2, x3))
    return Toy(x1, x2, x3, np.zeros_like(x1))


@cache
def toy(name: str) -> Toy:
    return toy_data(*PROBLEMS[name])


def _in_memory_order(problem: Toy) -> tuple[np.ndarray, ...]:
    """The arrays as (slow, fast) matrices, so that a plain loop walks through memory."""
    views = [array.reshape(1, -1) if array.ndim == 1 else array for array in problem]
    return tuple(view.T if not view.flags.c_contiguous else view for view in views)


@njit(nogil=True)
def _copy(x1, x2, x3, y):
    for row in range(x1.shape[0]):
        for k in range(x1.shape[1]):
            y[row, k] = x1[row, k] + np.float32(x2[row, k] ^ x3[row, k])


def copy(problem: Toy) -> None:
    """The yardstick: a loop that only reads and writes the bytes of a toy scan, in the order of memory."""
    _copy(*_in_memory_order(problem))


@njit(nogil=True)
def plain_loop(x1, x2, x3, a, y):
    """The toy cell as one writes it with Numba: time in the outer loop. x1: (T, B)  a: (B,)"""
    for t in range(x1.shape[0]):
        for b in range(x1.shape[1]):
            if x2[t, b] == 1:
                a[b] += x1[t, b]
            elif x2[t, b] == -1:
                a[b] = 0
            y[t, b] = a[b] if x3[t, b] == 1 else 0


@njit(nogil=True)
def plain_rows(x1, x2, x3, a, y):
    """The same with columns in the outer loop, which suits F order. x1: (T, B)  a: (B,)"""
    for b in range(x1.shape[1]):
        memory = a[b]
        for t in range(x1.shape[0]):
            if x2[t, b] == 1:
                memory += x1[t, b]
            elif x2[t, b] == -1:
                memory = 0.0
            y[t, b] = memory if x3[t, b] == 1 else 0
        a[b] = memory


def plain(problem: Toy) -> None:
    """The plain loop that suits the layout."""
    views = [array.reshape(-1, 1) if array.ndim == 1 else array for array in problem]
    loop = plain_loop if views[0].flags.c_contiguous and views[0].shape[1] > 1 else plain_rows
    loop(*views[:3], np.zeros(views[0].shape[1]), views[3])


def summed(*given: object) -> list[float]:
    """The yardstick of small calls: a sum of each argument, which NumPy makes an array of first."""
    return [np.add.reduce(part, axis=None) for part in given]


def normal(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@cache
def lstm(name: str, dtype: str = "float32") -> tuple[object, np.ndarray]:
    """An LSTM and its input."""
    T, B, I, H = LSTMS[name]
    return fc.LSTM(I, H, dtype=dtype, seed=0), normal(T, B, I, dtype=dtype)


def for_numpy(weights: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """A layer's weights as the LSTM in NumPy takes them."""
    named = {name.removesuffix("_l0"): array for name, array in weights.items()}
    return named["weight_ih"], named["weight_hh"], named["bias_ih"] + named["bias_hh"]


@cache
def lstm_by_hand(name: str) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Input and weights for the LSTM in NumPy, of the same size; on commits without an LSTM too."""
    T, B, I, H = LSTMS[name]
    return normal(T, B, I), (normal(4 * H, I) / 8, normal(4 * H, H) / 8, normal(4 * H) / 8)


def in_turn(
    functions: dict[str, Callable[[], object]],
    rounds: int = 5,
    least: float = 0.02,
    most: float = float("inf"),
    settle: float = 0.0,
) -> dict[str, float]:
    """Best seconds of each function, timed by turns (A B A B); short ones are looped to last `least` seconds.

    One whose rounds would last more than `most` seconds in all has fewer of them, two at least. Before a turn the
    function runs for some `settle` seconds untimed: until the threads of the one before it stop spinning, and the
    system has moved its own to cores of their own, two threads are as slow as one.
    """
    loops, turns, first = {}, {}, {}
    for name, function in functions.items():
        function()  # compiles
        start = time.perf_counter()
        function()
        once = max(time.perf_counter() - start, 1e-7)
        loops[name] = max(1, round(least / once))
        turns[name] = max(2, min(rounds, most / (once * loops[name])))
        first[name] = round(settle / once)
    best = dict.fromkeys(functions, float("inf"))
    gc.disable()
    try:
        for turn in range(rounds):
            for name, function in functions.items():
                if turn >= turns[name]:
                    continue
                for _ in range(first[name]):
                    function()
                start = time.perf_counter()
                for _ in range(loops[name]):
                    function()
                best[name] = min(best[name], (time.perf_counter() - start) / loops[name])
    finally:
        gc.enable()
    return best


def ratio(other: Callable[[], object], own: Callable[[], object], rounds: int = 5) -> float:
    """How many times faster `own` is than `other`, in turn."""
    best = in_turn({"other": other, "own": own}, rounds)
    return best["other"] / best["own"]


@cache
def events(rows: int = 300_000, keys: int = 4_000) -> dict[str, np.ndarray]:
    """An interleaved event stream, sorted by time and not by key."""
    rng = np.random.default_rng(2)
    return {
        "key": rng.integers(0, keys, rows),
        "value": rng.standard_normal(rows, dtype=np.float32).astype(np.float64),
        "control": rng.choice(np.array([-1, 0, 0, 1], np.int8), rows),
        "emit": rng.integers(0, 2, rows, dtype=np.int8),
    }
