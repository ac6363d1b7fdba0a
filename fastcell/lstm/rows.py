"""Which steps each row has: all, those up to its length, those where a mask is true, or the events of its key."""

from typing import Any, NamedTuple

import numpy as np

from fastcell import _checks
from fastcell._checks import Array


class Rows(NamedTuple):
    """Rows as the kernels are told of them; None where every row has all steps."""

    order: Array | None = None
    """Rows by falling number of steps."""
    counts: Array | None = None
    """(B,): how many steps each has."""
    times: Array | None = None
    """Of all rows' steps, row after row, where they are in x and y; None where a row's k-th step is the k-th."""
    starts: Array | None = None
    """(B,): where each row's begin among these."""


ALL = Rows()
"""Every row has every step."""


def of_lengths(lengths: Any, T: int, B: int) -> Rows:
    """Rows that end early."""
    ends = _checks.array("lengths", lengths, "integers")
    if ends.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = ({B},), got {ends.shape}")
    bad = (ends < 0) | (ends > T)
    if bad.any():
        (row,) = _checks.first_index(bad)
        raise ValueError(f"lengths must be from 0 to T = {T}, got {ends[row]} in row {row}")
    counts = ends.astype(np.int64)
    return Rows(_falling(counts), counts)


def of_mask(mask: Array) -> Rows:
    """(T, B) of bool: rows without the steps where it is false."""
    counts = np.count_nonzero(mask, axis=0).astype(np.int64)
    return Rows(_falling(counts), counts, np.nonzero(mask.T)[1].astype(np.int64), _starts(counts))


def of_keys(codes: Array, K: int) -> Rows:
    """(T,) of 0 to K - 1: a row for each key, of the steps that are its own."""
    counts = np.bincount(codes, minlength=K).astype(np.int64)
    return Rows(_falling(counts), counts, np.argsort(codes, kind="stable").astype(np.int64), _starts(counts))


def _falling(counts: Array) -> Array:
    return np.argsort(-counts, kind="stable")


def _starts(counts: Array) -> Array:
    return np.cumsum(counts) - counts
