"""The toy cell with bounds in chunks: what a chunk's steps do to the memory before them, as one map.

Of any memory a it is min(max(a + total, least), most), as for the segments of `scan/sequence_kernels.py`; where total
is a nan it is `least`, which steps that forget lead to from any memory. The few steps are such maps: (total, least,
most).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastcell import _checks
from fastcell import scan as scans
from fastcell._checks import Array
from fastcell.dask.chunks import _HUGE, Steps, Toy, _joined
from fastcell.scan import Scan


@dataclass(frozen=True)
class Bounded(Toy):
    """The toy cell, whose memory is held between `low` and `high`."""

    low: Any = None
    high: Any = None

    def scan(self, arrays: Steps, state: Any, keys: Array | None = None) -> Scan:
        bounds = {"low": self.low, "high": self.high}
        return scans.toy_scan(*arrays, state=state, keys=keys, fill=self.fill, strict=self.strict, **bounds, threads=1)

    def last(self, steps: Steps, state: Any) -> Any:
        """The memory after the maps."""
        total, least, most = steps
        memory = np.zeros(total.shape[1:], total.dtype) if state is None else np.asarray(state).astype(total.dtype)
        for step in zip(total, least, most, strict=True):
            if (_wraps(memory, step[0]) & self._is_open(step)).any():
                raise OverflowError("an integer memory leaves int64: x1 is too large; convert it to float64")
            memory = _moved(memory, *step)
        return memory

    def few(self, x1: Array, x2: Array, *x3: Array) -> Steps:
        """One map, but for steps of infinite or huge values, which have their own; x3 is there to be checked."""
        x1 = _checks.values("x1", x1)
        parts = x1, x2, x3[0] if x3 else np.zeros(x1.shape, np.int8)
        maps, start = [self._each(x1[:0], x2[:0])], 0
        for huge in (*self._huge(x1), len(x1)):
            if start < huge:
                maps.append(self._one(*(part[start:huge] for part in parts)))
            x1, x2, shown = (part[huge : huge + 1] for part in parts)
            self.scan((x1, x2, shown), None)  # its rules are checked
            maps.append(self._each(x1, x2))
            start = huge + 1
        return _joined(maps)

    def fewer(self, *steps: Array) -> Steps:
        """One map for several, where their totals are neither huge nor leave int64."""
        if len(steps[0]) < 2 or (steps[0].dtype.kind == "f" and (np.abs(steps[0]) > _HUGE).any()):
            return steps
        (total, *rest), (least, *_), (most, *_) = steps
        for step in zip(rest, steps[1][1:], steps[2][1:], strict=True):
            if _wraps(total, step[0]).any():
                return steps
            total = total + step[0]
            least, most = _moved(least, *step), _moved(most, *step)
        return total[None], least[None], most[None]

    def _one(self, x1: Array, x2: Array, x3: Array) -> Steps:
        """One map for some steps. Where they forget, or meet a nan, `total` is a nan and both ends are what is left."""
        try:
            total = np.asarray(scans.toy_scan(x1, x2, x3, strict=self.strict, threads=1).state)
            ends = [
                None if bound is None else np.asarray(self.scan((x1[1:], x2[1:], x3[1:]), first[0]).state)
                for bound, first in zip((self.low, self.high), self._each(x1[:1], x2[:1])[1:], strict=True)
            ]
        except OverflowError:  # from the true memory they may fit
            return self._each(x1, x2)
        forgot = _forgets(x2).any(axis=0)
        least, most = (
            np.asarray(np.where(forgot | np.isnan(total), other, none) if end is None else end, total.dtype)
            for end, other, none in zip(ends, ends[::-1], _none(total.dtype), strict=True)
        )
        total = np.where(forgot, np.nan if total.dtype.kind == "f" else 0, total).astype(total.dtype)
        return total[None], least[None], most[None]

    def _huge(self, x1: Array) -> Array:
        """Steps of values with which sums could overflow."""
        if x1.dtype.kind != "f":
            return np.empty(0, np.int64)
        with np.errstate(all="ignore"):
            sizes = np.fmax.reduce(np.abs(x1), axis=tuple(range(1, x1.ndim)), initial=0)
            return np.flatnonzero(sizes * np.float64(len(x1)) > _HUGE)

    def _each(self, x1: Array, x2: Array) -> Steps:
        """A map for each step."""
        accumulator = np.dtype(np.float64 if x1.dtype.kind == "f" else np.int64)
        total = np.where((x2 == 1) | (x2 == 2), x1, 0).astype(accumulator)
        bounds = (self.low, self.high)
        ends = [none if end is None else end for end, none in zip(bounds, _none(accumulator), strict=True)]
        low, high = np.array(ends, accumulator)
        value, fixed = np.clip(total, low, high), _forgets(x2) | np.isnan(total)
        if accumulator.kind == "f":
            total = np.where(fixed, np.nan, total)
        return total, np.where(fixed, value, low), np.where(fixed, value, high)

    def _is_open(self, step: Steps) -> Array:
        """Where a sum that leaves int64 is held to no bound."""
        total, least, most = step
        low, high = _none(total.dtype)
        is_open: Array = np.where(total < 0, least == low, most == high)
        return is_open


def _none(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """What stands for bounds that aren't there."""
    return (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind == "i" else (-np.inf, np.inf)


def _forgets(x2: Array) -> Array:
    forgets: Array = (x2 == -1) | (x2 == 2)
    return forgets


def _wraps(a: Array, total: Array) -> Array:
    """Where an integer sum leaves int64."""
    with np.errstate(all="ignore"):
        moved = a + total
    wraps: Array = np.where(total < 0, moved > a, (total > 0) & (moved < a))
    return wraps


def _moved(a: Array, total: Array, least: Array, most: Array) -> Array:
    """The memory that a map leads to."""
    with np.errstate(all="ignore"):
        moved = a + total
    moved = np.where(_wraps(a, total), np.where(total < 0, least, most), moved)
    moved = np.where(moved < least, least, moved)
    moved = np.where(moved > most, most, moved)
    constant: Array = np.where(np.isnan(total), least, moved)
    return constant
