"""A PackedSequence of PyTorch's as padded rows and their lengths. PyTorch is not imported."""

from typing import Any

import numpy as np

from fastcell import _checks
from fastcell._checks import Array


def is_packed(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "data") and hasattr(x, "batch_sizes")


def padded(x: Any, lengths: Any, first: bool) -> tuple[Array, Array]:
    """(T, B, I), or (B, T, I) if `first`, in the order in which the rows were packed, 0 past their ends; lengths (B,).

    ``x.data`` (N, I) holds the rows' first steps, longest row first, then their second steps, ...;
    ``x.batch_sizes`` (T,) how many each time.
    """
    if lengths is not None:
        raise ValueError("lengths must be None where x is a PackedSequence, which has its own")
    data = _checks.array("x's data", x.data, _checks.NUMBERS)
    counts = _checks.array("x's batch_sizes", x.batch_sizes, "integers").astype(np.int64)
    falling = counts.ndim == 1 and len(counts) > 0 and counts[-1] > 0 and (np.diff(counts) <= 0).all()
    if data.ndim != 2 or not falling or counts.sum() != len(data):
        raise ValueError(
            f"x's batch_sizes must be falling counts of the rows of x's data (N, I), got {counts.tolist()[:20]} and "
            f"shape {data.shape}"
        )
    T, B = len(counts), int(counts[0])
    order = getattr(x, "unsorted_indices", None)
    back = np.arange(B) if order is None else _checks.array("x's unsorted_indices", order, "integers")
    if not np.array_equal(np.sort(back), np.arange(B)):
        raise ValueError(f"x's unsorted_indices must be an order of its {B} rows, got {back.tolist()[:20]}")
    rows = np.zeros((B, T, data.shape[1]), data.dtype)
    there = np.arange(B) < counts[:, None]
    rows.transpose(1, 0, 2)[there] = data
    rows = rows[back]
    return rows if first else rows.transpose(1, 0, 2), there.sum(0)[back]
