"""What the tasks of api.py do with their chunks: NumPy arrays in and out, one thread each."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastcell import _checks, _nulls
from fastcell import scan as scans
from fastcell._checks import Array
from fastcell._model import LSTM
from fastcell.scan import Scan

_HUGE = 1e300  # beside memories this large a sum may overflow where steps in turn do not, or the other way round
_GAIN = 1e290  # a product of forget gates up to this one leaves room for the sums beside it
_CUBE_VANISHES = 2.0**-700  # any finite number times this three times is 0

Steps = tuple[Array, ...]
"""Some steps as a scan's arrays but the last, which only says what is shown: (x1, x2) or (x, f, i)."""


class Place(NamedTuple):
    """Where a chunk is in the whole array; a start is nan where the chunks before are of unknown length."""

    block: tuple[int, ...]
    start: tuple[float, ...]


@dataclass(frozen=True)
class Toy:
    """The toy cell. A chunk's steps are as one: add a total, or restart from it."""

    fill: float
    strict: bool
    nulls: str = "raise"

    names = "x1", "x2", "x3"

    def scan(self, arrays: Steps, state: Any, keys: Array | None = None) -> Scan:
        return scans.toy_scan(*arrays, state=state, keys=keys, fill=self.fill, strict=self.strict, threads=1)

    def last(self, steps: Steps, state: Any) -> Any:
        """The memory after the steps."""
        x1, x2, *x3 = steps
        return self.scan((x1, x2, *(x3 or [np.zeros(x1.shape, np.int8)])), state).state

    def few(self, x1: Array, x2: Array, *x3: Array) -> Steps:
        """As few steps as lead to the same memory from any start; a chunk's x3 is there to be checked."""
        x1 = _checks.values("x1", x1)
        try:
            total = self.last((x1, x2, *x3), None)
        except OverflowError:  # from the true memory they may fit
            return x1, x2
        if x1.dtype == np.float64 and _is_near_overflow(x1, x2):
            return x1, x2
        forgot = ((x2 == -1) | (x2 == 2)).any(axis=0)
        return np.asarray(total)[None], np.where(forgot, 2, 1).astype(np.int8)[None]

    def fewer(self, *steps: Array) -> Steps:
        """The same for the few steps of several chunks."""
        return self.few(*steps)

    def check(self, arrays: Steps, place: Place) -> None:
        """Refuse a rule that a strict scan refuses, and name its index in the whole."""
        for name, rules, low in zip(("x2", "x3"), arrays[1:], (-1, 0), strict=False):
            bad = _checks.other_rules(rules, low)
            if bad.any():
                index = _checks.first_index(bad)
                raise ValueError(f"{name} must be {_checks.ALLOWED[low]}, got {rules[index]} at {_named(index, place)}")


@dataclass(frozen=True)
class Gated:
    """The gated recurrence. A chunk's steps are as one affine map of the memory: a gain, and what they leave of 0."""

    accumulator: np.dtype[Any]
    nulls: str = "raise"

    names = "x", "f", "i", "o"

    def scan(self, arrays: Steps, state: Any, keys: Array | None = None) -> Scan:
        return scans.gated_scan(*arrays, state=state, keys=keys, threads=1)

    def run(self, x: Any, f: Any, i: Any, state: Any, o: int) -> Scan:
        """A scan in the accumulator's dtype, whatever those of x, f and i."""
        return scans.gated_scan(x, f, i, self.accumulator.type(o), state=state, threads=1)

    def last(self, steps: Steps, state: Any) -> Any:
        """The memory after the steps."""
        x, f, i = steps
        return self.run(x, f, i, state, 0).state

    def few(self, x: Array, f: Array, i: Array, *_o: Array) -> Steps:
        """As few steps as lead to the same memory from any start."""
        f = np.broadcast_to(f, (*x.shape[: x.ndim - f.ndim], *f.shape) if f.ndim < x.ndim else (len(x), *f.shape[1:]))
        found = self._few_floats(x, f, i) if self.accumulator.kind == "f" else self._few_integers(x, f, i)
        return found or tuple(np.broadcast_to(array, x.shape) for array in (x, f, i))

    def fewer(self, *steps: Array) -> Steps:
        """The same for the few steps of several chunks."""
        return self.few(*steps)

    def check(self, arrays: Steps, place: Place) -> None:
        """Nothing depends on values."""

    def _few_integers(self, x: Array, f: Array, i: Array) -> Steps | None:
        try:
            left = self.last((x, f, i), None)
            gain = self.run(np.zeros(x.shape, np.int8), f, 0, np.ones_like(left), 0).state
        except OverflowError:  # from the true memory they may fit
            return None
        # the product of the gain and the memory alone may overflow where the memories do not
        return (left[None], gain[None], np.ones_like(gain)[None]) if (abs(gain) <= 1).all() else None

    def _few_floats(self, x: Array, f: Array, i: Array) -> Steps | None:
        """Products that leave float64 are given as several steps: up to the largest on the way, and then down."""
        y, left = self.run(x, f, i, None, 1)
        gates: list[Any] = []
        with np.errstate(all="ignore"):
            if f.max(initial=0) <= 1 and f.min(initial=0) >= -1:
                gain = np.multiply.reduce(f, axis=0, dtype=np.float64)
            else:
                gains, gain = self.run(np.zeros(x.shape, np.int8), f, 0, np.ones_like(left), 1)
                gain = np.where(
                    np.signbit(f).sum(axis=0) % 2, -abs(gain), abs(gain)
                )  # the scan's zeros lose their sign
                gates = [np.fmax.reduce(abs(gains), axis=0, initial=1.0)]
                if np.isinf(f).any() or (gates[0] > _GAIN).any():
                    return None
                gain = gain / gates[0]
            if _largest(y) > _HUGE or self._overflows(left, x, f, i):
                return None
        vanished = gain == 0
        if vanished.any() and (vanished := vanished & (f != 0).all(axis=0)).any():  # infinity times it is no nan
            gates += [np.where(vanished, _CUBE_VANISHES, 1.0)] * 2
            gain = np.where(vanished, np.copysign(_CUBE_VANISHES, gain), gain)
        gates = [np.broadcast_to(gate, left.shape) for gate in (*gates, gain)]
        return (
            np.stack([*[np.zeros_like(left)] * (len(gates) - 1), left]),
            np.stack(gates),
            np.ones((len(gates), *left.shape)),
        )

    def _overflows(self, left: Array, x: Array, f: Array, i: Array) -> bool:
        """Whether finite steps led to infinity or nan, which from another start they may not."""
        lost = ~np.isfinite(left)
        if not lost.any():
            return False
        return bool(
            (lost & np.isfinite(np.multiply(x, i, dtype=np.float64)).all(axis=0) & ~np.isnan(f).any(axis=0)).any()
        )


def plain(names: tuple[str, ...], nulls: str, place: Place, arrays: Steps) -> Steps:
    """Chunks without masks."""

    def where(name: str, index: tuple[int, ...]) -> str:
        shape = arrays[names.index(name)].shape
        return f"at {_named(index, place if shape == arrays[0].shape else Place(place.block, (np.nan,)))}"

    return tuple(_nulls.filled(dict(zip(names, arrays, strict=True)), nulls, where))


def summary(cell: Toy | Gated, place: Place, *arrays: Array) -> Steps:
    """A chunk's few steps."""
    arrays = plain(cell.names, cell.nulls, place, arrays)
    try:
        return cell.few(*arrays)
    except ValueError:
        cell.check(arrays, place)
        raise


def merge(cell: Toy | Gated, *summaries: Steps) -> Steps:
    """The few steps of several chunks in turn."""
    return cell.fewer(*_joined(summaries))


def carry(cell: Toy | Gated, state: Any, *summaries: Steps) -> Any:
    """The memory after the summaries."""
    return np.asarray(cell.last(_joined(summaries), state)) if summaries else state


def scan(cell: Toy | Gated, place: Place, count: int, *arguments: Any) -> tuple[Array, Array]:
    """Scan a chunk of `count` arrays from where a memory and summaries after it lead."""
    arrays, (state, *summaries) = arguments[:count], arguments[count:]
    arrays = plain(cell.names, cell.nulls, place, arrays)
    try:
        y, last = cell.scan(arrays, carry(cell, state, *summaries))
    except ValueError:
        cell.check(arrays, place)
        raise
    return y, np.asarray(last)


def scan_keys(
    cell: Toy | Gated, place: Place, K: int, dtype: np.dtype[Any], keys: Array, state: Any, *arrays: Array
) -> tuple[Array, Array]:
    """Scan a chunk with a memory for each of K keys, from those of the chunk before or from zeros of `dtype`."""
    check_keys(keys, K, place)
    arrays = plain(cell.names, cell.nulls, place, arrays)
    try:
        y, last = cell.scan(arrays, np.zeros((K, *arrays[0].shape[1:]), dtype) if state is None else state, keys)
    except ValueError:
        cell.check(arrays, place)
        raise
    return y, np.asarray(last)


def check_keys(keys: Array, K: int, place: Place) -> None:
    keys = _checks.once(keys)
    bad = (keys < 0) | (keys >= K)
    if bad.any():
        index = _checks.first_index(bad)
        at = _named(index, Place(place.block[:1], place.start[:1]))
        raise ValueError(f"keys must be from 0 to K - 1 = {K - 1}, got {keys[index]} at {at}")


def run_lstm_keys(
    lstm: LSTM, nulls: str, K: int, place: Place, x: Array, keys: Array, h: Any, c: Any
) -> tuple[Array, Array, Array]:
    """A chunk of events of K interleaved streams."""
    check_keys(keys, K, place)
    (x,) = plain(("x",), nulls, Place((*place.block, 0), (*place.start, 0)), (x,))
    if h is None:
        first = lstm.initial_state or tuple(
            np.zeros((lstm.num_layers, n)) for n in (lstm.output_size, lstm.hidden_size)
        )
        h, c = (np.repeat(part.astype(lstm.dtype)[:, None], K, axis=1) for part in first)
    y, (h, c) = lstm(x, (h, c), keys=keys, threads=1)
    return y, h, c


def run_lstm(
    lstm: LSTM, nulls: str, total: float, place: Place, x: Array, lengths: Array | None, h: Any, c: Any
) -> tuple[Array, Array, Array]:
    """A chunk of x, (T, B, I), of `total` steps."""
    (x,) = plain(("x",), nulls, place, (x,))
    if lengths is not None:
        first_step, first_row, _ = place.start
        check_lengths(lengths, total, first_row)
        lengths = np.clip(lengths.astype(np.int64) - int(first_step), 0, len(x))
    state = None if h is None else (h, c)
    y, (h, c) = lstm(x, state, lengths=lengths, batch_first=False, threads=1)
    return y, h, c


def check_lengths(lengths: Array, total: float, first_row: float) -> None:
    lengths = _checks.once(lengths)
    bad = (lengths < 0) | (lengths > total)
    if bad.any():
        (row,) = _checks.first_index(bad)
        raise ValueError(f"lengths must be from 0 to T = {total}, got {lengths[row]} in row {int(first_row) + row}")


def _joined(summaries: tuple[Steps, ...] | list[Steps]) -> Steps:
    return tuple(np.concatenate(parts) for parts in zip(*summaries, strict=True))


def _largest(x: Array) -> float:
    """The largest magnitude of a finite element."""
    high, low = x.max(initial=0), x.min(initial=0)
    if not np.isfinite(high - low):
        return float(np.abs(x).max(where=np.isfinite(x), initial=0))
    return float(max(high, -low))


def _is_near_overflow(x1: Array, x2: Array) -> bool:
    """Whether a sum of some of the finite values that are added could overflow."""
    with np.errstate(all="ignore"):
        if _largest(x1) * len(x1) <= _HUGE:
            return False
        return _largest(np.where((x2 == 1) | (x2 == 2), x1, 0)) * len(x1) > _HUGE


def _named(index: tuple[int, ...], place: Place) -> str:
    """An index in a chunk as one in the whole, or with its chunk where that is unknown."""
    if any(start != start for start in place.start):
        block = place.block[0] if len(index) == 1 else place.block
        return f"index {index[0] if len(index) == 1 else index} of chunk {block}"
    at = tuple(int(start) + k for start, k in zip(place.start, index, strict=True))
    return f"index {at[0] if len(at) == 1 else at}"
