"""Times of events, numbers as well as datetimes, and how much a memory has decayed since the last one of its key."""

import datetime as dt
import math
import re
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as of

from fastcell._checks import Array
from fastcell.frames import arrow_types, keys_kernels
from fastcell.frames.bad_row import BadRowError
from fastcell.frames.base import Streams, column_of_arrow
from fastcell.frames.keys import type_of
from fastcell.simd.vector import address

_NEVER = np.int64(np.iinfo(np.int64).min)  # NumPy's NaT, too
_UNITS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9
}  # fmt: skip
_DURATION = re.compile(rf"\s*(\d+\.?\d*|\.\d+)\s*({'|'.join(_UNITS)})\s*")
_EXPECTED = "a number, a duration such as '5min' or a timedelta, above 0 and finite"


class HalfLife:
    """A half-life in nanoseconds, or in the unit of times that are numbers."""

    def __init__(self, given: Any) -> None:
        number = isinstance(given, int | float | np.integer | np.floating) and not isinstance(
            given, bool | np.timedelta64
        )
        self.given, self.duration = given, not number
        if isinstance(given, str) and (found := _DURATION.fullmatch(given)):
            length: float = float(found[1]) * _UNITS[found[2]]
        elif isinstance(given, dt.timedelta):  # pandas' as well
            length = given / dt.timedelta(microseconds=1) * 1000
        elif isinstance(given, np.timedelta64) and not np.isnat(given):
            length = float(given / np.timedelta64(1, "ns"))
        elif number:
            length = float(given)
        else:
            raise (ValueError if isinstance(given, str) else TypeError)(f"half_life must be {_EXPECTED}, got {given!r}")
        if not 0 < length < math.inf:
            raise ValueError(f"half_life must be {_EXPECTED}, got {given!r}")
        self.length = length

    def decays(self, name: str, given: pa.Array, streams: Streams, last: Array | None) -> tuple[Array, Array]:
        """For each row 2**(-gap / half-life), gap being the time since the row of its key before; and keys' last times.

        Nothing is before a key's first row, and no time goes by in a row without a time: there the answer is 1.
        """
        unit = nanoseconds(given.type)
        if (unit is None) == self.duration:
            expected = "a number where time holds numbers" if unit is None else (
                "a duration such as '5min' or a timedelta where time holds datetimes or durations"
            )  # fmt: skip
            raise TypeError(f"half_life must be {expected}, {given.type}, got {self.given!r}")
        at = numbers(given)
        _check(name, given, at)
        none = none_of(at.dtype)
        last = np.full(streams.keys, none) if last is None else last.copy()
        gaps = np.empty(streams.rows)
        codes = np.zeros(1, np.int32) if streams.codes is None else streams.codes
        step = 0 if streams.codes is None else codes.itemsize
        row = keys_kernels.since_last(address(at), at.itemsize, address(codes), step, streams.rows, last, gaps, none)
        if row < streams.rows:
            before = last[0 if streams.codes is None else codes[row]]
            expected = f"a time no earlier than {_shown(before, given.type)}, its key's last"
            raise BadRowError(name, row, expected, _shown(at[row], given.type))
        with np.errstate(over="ignore", under="ignore"):  # so long ago that nothing is left
            gaps /= -self.length / (unit or 1)
            return np.exp2(gaps, out=gaps), last


def read(column: nw.Series[Any]) -> pa.Array:
    """A column of times: int64, float64, or a type of Arrow's for dates, datetimes or durations."""
    array = column.to_arrow()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    kind = array.type
    if of.is_integer(kind) or of.is_floating(kind):
        try:
            return array.cast(pa.int64() if of.is_integer(kind) else pa.float64())
        except pa.ArrowInvalid as error:
            raise ValueError(f"column {column.name!r} must hold times below 2**63: {error}") from None
    if not (of.is_null(kind) or nanoseconds(kind)):
        expected = "numbers, dates, datetimes or durations"
        raise TypeError(f"column {column.name!r} must hold {expected}, got {type_of(column)}")
    return array


def alike(times: pa.Array, last: pa.Array) -> tuple[pa.Array, pa.Array]:
    """A frame's and its state's times as one type, in the finer unit of both."""
    kind = times.type if last.null_count == len(last) else arrow_types.joined(times.type, last.type)
    if kind is None:
        raise TypeError(f"state's column 'time' must hold {times.type}, as df's does, got {last.type}")
    if last.null_count == len(last):
        return times, pa.nulls(len(last), kind)
    try:
        return arrow_types.cast(times, kind), arrow_types.cast(last, kind)
    except pa.ArrowInvalid as error:
        raise ValueError(f"time must be in {kind}, as df's and the state's are together: {error}") from None


def numbers(times: pa.Array) -> Array:
    """Times as float64 or int64 in their own unit, nulls as `none_of` it."""
    if of.is_floating(times.type):
        return np.ascontiguousarray(pc.fill_null(times, math.nan).to_numpy(zero_copy_only=False))
    if of.is_date32(times.type):
        times = times.cast(pa.int32())
    return np.ascontiguousarray(pc.fill_null(times.cast(pa.int64()), _NEVER).to_numpy(zero_copy_only=False))


def none_of(kind: np.dtype[Any]) -> Any:
    """What stands for no time."""
    return np.float64(math.nan) if kind.kind == "f" else _NEVER


def column(
    name: str, numbers: Array, kind: pa.DataType, like: nw.DataFrame[Any], beside: nw.Series[Any]
) -> nw.Series[Any]:
    """Times of Arrow's type `kind` as a column of like's kind, `beside` as in `column_of_arrow`."""
    absent = np.isnan(numbers) if numbers.dtype.kind == "f" else numbers == _NEVER
    array = pa.array(numbers, mask=absent)
    array = array.cast(pa.int32()) if of.is_date32(kind) else array
    return column_of_arrow(name, array.cast(kind), like, beside)


def nanoseconds(kind: pa.DataType) -> int | None:
    """Of one in a type of times; none of numbers and other types."""
    if of.is_timestamp(kind) or of.is_duration(kind):
        return _UNITS[kind.unit]
    return _UNITS["d"] if of.is_date32(kind) else _UNITS["ms"] if of.is_date64(kind) else None


def _check(name: str, given: pa.Array, at: Array) -> None:
    """Raise for numbers that are no times."""
    bad = ~np.isfinite(at) if at.dtype.kind == "f" else at == _NEVER
    if bad.any():
        bad &= given.is_valid().to_numpy(zero_copy_only=False)
    if bad.any():
        row = int(np.argmax(bad))
        raise BadRowError(name, row, "a finite time", f"{at[row]}")


def _shown(number: Any, kind: pa.DataType) -> str:
    plain = pa.array([number])
    return str((plain.cast(pa.int32()) if of.is_date32(kind) else plain).cast(kind).cast(pa.string())[0])
