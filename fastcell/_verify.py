"""`fc.verify()` and `python -m fastcell verify`: every kernel against the oracle on random input, on this machine."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numba.core import config

from fastcell import oracle
from fastcell._checks import Array
from fastcell._jit import DISABLED
from fastcell._model import LSTM
from fastcell.scan.api import Scan, gated_scan, toy_scan

Case = tuple[Callable[..., Scan], Callable[..., Any], tuple[Array, ...], dict[str, Any]]


def _toy(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, order: Any = "C") -> tuple[Array, ...]:
    values = rng.integers(-100, 100, shape) if dtype[0] == "i" else rng.standard_normal(shape)
    rules = rng.integers(-1, 3, shape).astype(np.int8), rng.integers(0, 2, shape).astype(np.int8)
    return tuple(np.asarray(x, order=order) for x in (values.astype(dtype), *rules))


def _gated(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, order: Any = "C") -> tuple[Array, ...]:
    arrays = (rng.standard_normal(shape), *(rng.random(shape) for _ in range(3)))
    return tuple(np.asarray(x.astype(dtype), order=order) for x in arrays)


def _cases() -> dict[str, Case]:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 50, 20_000)
    cases: dict[str, Case] = {}
    for dtype in ("float32", "float64", "int64"):
        for name, shape, order in (
            ("columns", (500, 37), "C"),
            ("rows", (500, 37), "F"),
            ("sequence", (20_000,), "C"),
        ):
            cases[f"toy_scan {dtype} {name}"] = toy_scan, oracle.toy_scan, _toy(rng, shape, dtype, order), {}
            if dtype[0] == "f":
                gated = _gated(rng, shape, dtype, order)
                cases[f"gated_scan {dtype} {name}"] = gated_scan, oracle.gated_scan, gated, {}
        cases[f"toy_scan {dtype} keys"] = toy_scan, oracle.toy_scan, _toy(rng, (20_000,), dtype), {"keys": keys}
        bounds = {"low": -1, "high": 1}  # where steps of every dtype get to
        cases[f"toy_scan {dtype} sequence, bounds"] = toy_scan, oracle.toy_scan, _toy(rng, (20_000,), dtype), bounds
    cases["gated_scan float64 keys"] = gated_scan, oracle.gated_scan, _gated(rng, (20_000,), "float64"), {"keys": keys}
    return cases


def _bound(fast: Callable[..., Scan], arrays: tuple[Array, ...], name: str) -> float:
    """0 where the bits are promised; one float column may differ by the rounding of float64 sums."""
    values = arrays[0]
    if "sequence" in name and values.dtype.kind == "f":
        rounded = float(np.finfo(values.dtype).eps) * float(np.abs(values).max()) * 20 if values.itemsize == 4 else 0.0
        return 2 * len(values) * float(np.finfo(np.float64).eps) * float(np.abs(values).sum()) + rounded
    return 0.0


_STEP = {"float64": 1e-13, "float32": 3e-6, "bfloat16": 3e-6, "int8": 3e-6}
"""How far an LSTM's step may be from the oracle's: the rounding of some hundred sums."""


def _lstms() -> Iterator[tuple[str, float, float, float]]:
    """Steps from one random state, of every precision and row count of a tile: name, error, allowed, steps a second."""
    rng = np.random.default_rng(0)
    for precision, allowed in _STEP.items():
        dtype = "float64" if precision == "float64" else "float32"
        for special in ({}, {"peepholes": True, "clip": 1.0, "proj_size": 9}):
            options: dict[str, Any] = {"dtype": dtype, "precision": precision, "seed": 0, **special}
            lstm = LSTM(150, 37, **options)
            x = rng.standard_normal((1, 13, 150)).astype(dtype)
            state = tuple(rng.uniform(-1, 1, (1, 13, size)).astype(dtype) for size in (lstm.output_size, 37))
            weights = {name: w.tolist() for name, w in lstm.state_dict().items()}
            lists = [part.tolist() for part in state]
            run: Any = oracle.lstm
            wanted = run(x.tolist(), weights, lists, clip=lstm.clip, precision=precision)[1]
            seconds, (_, found) = _best(lambda lstm=lstm, x=x, state=state: lstm(x, state))  # type: ignore[misc]
            error = max(float(np.abs(a - np.array(b)).max()) for a, b in zip(found, wanted, strict=True))
            yield f"LSTM {precision}{', special' if special else ''}", error, allowed, x.shape[1] / seconds


def _best(call: Callable[[], Any]) -> tuple[float, Any]:
    """The shortest of three runs, after one, and the answer."""
    answer, seconds = call(), float("inf")
    for _ in range(3):
        start = time.perf_counter()
        call()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, answer


def _scans() -> Iterator[tuple[str, float, float, float]]:
    """The same of scans."""
    for name, (fast, slow, arrays, options) in _cases().items():
        expected_y, expected_state = slow(*(array.tolist() for array in arrays), **options)
        seconds, (y, state) = _best(partial(fast, *arrays, **options))
        expected = np.asarray(expected_y).astype(y.dtype)
        error = max(
            float(np.max(np.abs(y.astype(np.float64) - expected))),
            float(np.max(np.abs(np.asarray(state, np.float64) - np.asarray(expected_state, np.float64)))),
        )
        yield name, error, _bound(fast, arrays, name), y.size / seconds


def verify() -> int:
    """Run every kernel against the oracle on random input, on this machine, and print a line for each.

    Returns
    -------
    int
        How many kernels disagree with the oracle by more than rounding: 0 is as it should be.

    Examples
    --------
    >>> import fastcell as fc
    >>> fc.verify()  # doctest: +SKIP
    """
    if config.DISABLE_JIT:
        raise RuntimeError(DISABLED)
    failed = 0
    print(f"{'kernel':32s} {'largest error':>14s} {'allowed':>10s} {'M steps/s':>10s}")
    for name, error, allowed, speed in chain(_scans(), _lstms()):
        verdict = "" if error <= allowed else "  MISMATCH"  # of NaN, too
        failed += bool(verdict)
        print(f"{name:32s} {error:14.2e} {allowed:10.1e} {speed / 1e6:10.3g}{verdict}")
    print("all kernels agree with the oracle" if not failed else f"{failed} kernels disagree with the oracle")
    return failed
