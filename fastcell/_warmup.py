"""`fc.warmup()` and `python -m fastcell warmup`: compile and cache what is usual, for images and services."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from fastcell._checks import Array
from fastcell._model import LSTM
from fastcell.lstm.cell import lstm_step
from fastcell.scan.api import gated_scan, toy_scan

_MANY = 6000  # steps, of which three columns are more than a small call has
Job = tuple[str, Callable[[], Any]]


def _scans() -> Iterator[Job]:
    keys = np.zeros(_MANY, np.int64)
    for dtype in (np.float32, np.float64, np.int64):
        x, rules = np.ones((_MANY, 64), dtype), np.ones((_MANY, 64), np.int8)
        name = np.dtype(dtype).name
        for layout, order in (("columns", "C"), ("rows", "F")):
            a, r = np.asarray(x, order=order), np.asarray(rules, order=order)  # type: ignore[call-overload]
            yield f"toy_scan {name} {layout}", partial(toy_scan, a, r, r)
            yield f"toy_scan {name} {layout}, few", partial(toy_scan, a[:, :3], r[:, :3], r[:, :3])
            yield f"toy_scan {name} {layout}, small", partial(toy_scan, *(_few(array, order) for array in (a, r, r)))
            yield f"gated_scan {name} {layout}", partial(gated_scan, a, a, a, a * 0)
        column, r = x.ravel(), rules.ravel()
        yield f"toy_scan {name} sequence", partial(toy_scan, column, r, r, threads=1)
        yield f"toy_scan {name} sequence, small", partial(toy_scan, column[:40], r[:40], r[:40])
        yield f"toy_scan {name} sequence, threads", partial(toy_scan, column, r, r, threads=2)
        yield f"toy_scan {name} keys", partial(toy_scan, x[:, 0].copy(), r[:_MANY], r[:_MANY], keys=keys)
        gates = column, column, column * 0
        yield f"gated_scan {name} sequence", partial(gated_scan, column, *gates, threads=1)
        yield f"gated_scan {name} sequence, small", partial(gated_scan, *(array[:40] for array in (column, *gates)))
        if name != "int64":
            yield f"gated_scan {name} sequence, threads", partial(gated_scan, column, *gates, threads=2)
            one_gate = partial(gated_scan, column, 0.5, 0.5, 1.0)
            yield f"gated_scan {name} sequence, one gate", partial(one_gate, threads=1)
            yield f"gated_scan {name} sequence, one gate, threads", partial(one_gate, threads=2)
        yield f"gated_scan {name} keys", partial(gated_scan, *(x[:, 0].copy() for _ in range(4)), keys=keys)


def _few(array: Array, order: Any) -> Array:
    """Few steps of an array, of its layout."""
    return np.array(array[:40], order=order)


def _lstms() -> Iterator[Job]:
    for dtype in (np.float32, np.float64):
        lstm = LSTM(3, 5, dtype=dtype, seed=0)
        x, state = np.ones((2, 2, 3), dtype), np.zeros((2, 5), dtype)
        name, cell = np.dtype(dtype).name, lstm.cell()
        yield f"LSTM {name}", partial(lstm, x, threads=2)
        yield f"LSTM {name}, small", partial(lstm, x)
        for row, what in ((0, "one row"), (slice(None), "rows")):
            arrays = x[0][row].copy(), state[row].copy(), state[row].copy()
            yield f"LSTMCell.step {name}, {what}", partial(cell.step, *arrays)
            yield f"lstm_step {name}, {what}", partial(lstm_step, cell.params, *arrays)


def warmup(verbose: bool = False) -> float:
    """Compile and cache the usual kernels, so that later processes start with them.

    Both scans in float32, float64 and int64 with int8 rules or gates of one dtype, small and large, in each layout and
    with keys; the LSTM, `LSTMCell.step` and `lstm_step` in float32 and float64 with the standard activations. Other
    dtypes and options compile at their first call.

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
    Kernels are cached in `NUMBA_CACHE_DIR` if it is set, else in the user's cache folder, for this kind of CPU and this
    state of fastcell's code. A cache that can't be written afterwards is still read: an image whose programs run as
    another user than the one who builds it sets NUMBA_CACHE_DIR to a folder of its own.

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
