"""`fc.warmup()` and `python -m fastcell warmup`: compile and cache what is usual, for images and services."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from fastcell.cell import lstm_step
from fastcell.lstm import LSTM
from fastcell.recurrence import gated_scan, toy_scan

Job = tuple[str, Callable[[], Any]]


def _scans() -> Iterator[Job]:
    rules = np.ones((40, 64), np.int8)
    keys = np.zeros(40, np.int64)
    for dtype in (np.float32, np.float64, np.int64):
        x = np.ones((40, 64), dtype)
        name = np.dtype(dtype).name
        for layout, order in (("columns", "C"), ("rows", "F")):
            a, r = np.asarray(x, order=order), np.asarray(rules, order=order)  # type: ignore[call-overload]
            yield f"toy_scan {name} {layout}", partial(toy_scan, a, r, r)
            yield f"gated_scan {name} {layout}", partial(gated_scan, a, a, a, a * 0)
        both: list[tuple[str, dict[str, Any]]] = [("sequence", {}), ("keys", {"keys": keys})]
        for layout, options in both:
            column, r = x[:, 0].copy(), rules[:, 0].copy()
            yield f"toy_scan {name} {layout}", partial(toy_scan, column, r, r, **options)
            yield f"gated_scan {name} {layout}", partial(gated_scan, column, column, column, column * 0, **options)
    long = np.ones(1 << 15, np.float32)
    many = np.ones(1 << 15, np.int8)
    yield "toy_scan float32 sequence, threads", partial(toy_scan, long, many, many, threads=2)


def _lstms() -> Iterator[Job]:
    for dtype in (np.float32, np.float64):
        lstm = LSTM(3, 5, dtype=dtype, seed=0)
        x, state = np.ones((2, 2, 3), dtype), np.zeros((2, 5), dtype)
        name, cell = np.dtype(dtype).name, lstm.cell()
        yield f"LSTM {name}", partial(lstm, x)
        for row, what in ((0, "one row"), (slice(None), "rows")):
            arrays = x[0][row].copy(), state[row].copy(), state[row].copy()
            yield f"LSTMCell.step {name}, {what}", partial(cell.step, *arrays)
            yield f"lstm_step {name}, {what}", partial(lstm_step, cell.params, *arrays)


def warmup(verbose: bool = False) -> float:
    """Compile and cache the usual kernels, so that later processes start with them.

    Both scans in float32, float64 and int64 with int8 rules or gates of one dtype, in each layout and with keys; the
    LSTM, `LSTMCell.step` and `lstm_step` in float32 and float64 with the standard activations. Other dtypes and
    options compile at their first call.

    Parameters
    ----------
    verbose : bool
        Print a line for each and the seconds it took.

    Returns
    -------
    float
        The seconds in all: minutes where nothing was cached, seconds where everything was.

    Notes
    -----
    Kernels are cached in `NUMBA_CACHE_DIR` if it is set, else beside the package, else in the user's cache folder, for
    this kind of CPU and this state of fastcell's sources. A cache that can't be written afterwards is still read.

    Examples
    --------
    >>> seconds = warmup()  # doctest: +SKIP
    """
    begin = time.perf_counter()
    for jobs in (_scans(), _lstms()):
        for name, run in jobs:
            start = time.perf_counter()
            run()
            if verbose:
                print(f"{name:36s} {time.perf_counter() - start:7.2f} s", flush=True)
    return time.perf_counter() - begin
