"""`python -m fastcell verify`: every kernel against the oracle on random input, on this machine."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcell import oracle
from fastcell._checks import Array
from fastcell.scan.api import Scan, gated_scan, toy_scan

Case = tuple[Callable[..., Scan], Callable[..., Any], tuple[Array, ...], dict[str, Any]]


def _toy(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, order: Any = "C") -> tuple[Array, ...]:
    values = rng.integers(-100, 100, shape) if dtype[0] == "i" else rng.standard_normal(shape)
    rules = rng.integers(-1, 2, shape).astype(np.int8), rng.integers(0, 2, shape).astype(np.int8)
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
    cases["gated_scan float64 keys"] = gated_scan, oracle.gated_scan, _gated(rng, (20_000,), "float64"), {"keys": keys}
    return cases


def _bound(fast: Callable[..., Scan], arrays: tuple[Array, ...], name: str) -> float:
    """0 where the bits are promised; one float column may differ by the rounding of float64 sums."""
    values = arrays[0]
    if "sequence" in name and values.dtype.kind == "f":
        rounded = float(np.finfo(values.dtype).eps) * float(np.abs(values).max()) * 20 if values.itemsize == 4 else 0.0
        return 2 * len(values) * float(np.finfo(np.float64).eps) * float(np.abs(values).sum()) + rounded
    return 0.0


def verify() -> int:
    """Print a line a kernel; returns 1 on a mismatch."""
    failed = 0
    print(f"{'kernel':32s} {'largest error':>14s} {'allowed':>10s} {'M steps/s':>10s}")
    for name, (fast, slow, arrays, options) in _cases().items():
        expected_y, expected_state = slow(*(array.tolist() for array in arrays), **options)
        y, state = fast(*arrays, **options)
        seconds = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            fast(*arrays, **options)
            seconds = min(seconds, time.perf_counter() - start)
        expected = np.asarray(expected_y).astype(y.dtype)
        error = max(
            float(np.max(np.abs(y.astype(np.float64) - expected))),
            float(np.max(np.abs(np.asarray(state, np.float64) - np.asarray(expected_state, np.float64)))),
        )
        allowed = _bound(fast, arrays, name)
        verdict = "" if error <= allowed else "  MISMATCH"
        failed += bool(verdict)
        print(f"{name:32s} {error:14.2e} {allowed:10.1e} {y.size / seconds / 1e6:10.0f}{verdict}")
    print("all kernels agree with the oracle" if not failed else f"{failed} kernels disagree with the oracle")
    return 1 if failed else 0
