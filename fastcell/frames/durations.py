"""Values that are durations: integers inside, and outputs and memories of the same type."""

import datetime as dt
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from fastcell._checks import Array
from fastcell.frames import arrow_types, times
from fastcell.frames.keys import type_of


def kind_of(column: nw.Series[Any]) -> pa.DataType | None:
    """Arrow's type of a column of durations; none of others."""
    return column.head(0).to_arrow().type if column.dtype == nw.Duration else None


def read(column: nw.Series[Any]) -> pa.Array:
    """A column of durations; a null is 0."""
    array = column.to_arrow()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.cast(pa.int64()).fill_null(0).cast(array.type)


def memories(column: nw.Series[Any], kind: pa.DataType) -> Array:
    """The state's memories as integers, to go on from in durations of type `kind`."""
    if column.dtype != nw.Duration:
        raise TypeError(f"state's column {column.name!r} must hold {kind}, as df's values are, got {type_of(column)}")
    if column.null_count():
        raise ValueError(f"state's column {column.name!r} must hold no nulls, got {column.null_count()}")
    try:
        return numbers(arrow_types.cast(read(column), kind))
    except pa.ArrowInvalid as error:
        raise ValueError(f"state's column {column.name!r} must hold {kind}, as df's values are: {error}") from None


def numbers(array: pa.Array) -> Array:
    integers: Array = array.cast(pa.int64()).to_numpy()
    return integers


def options(given: dict[str, Any], kind: pa.DataType) -> dict[str, Any]:
    """Options of a scan in integers of `kind`; those that are amounts must be timedeltas, or 0."""
    return given | {name: _amount(name, given[name], kind) for name in ("fill", "low", "high")}


def _amount(name: str, given: Any, kind: pa.DataType) -> int | None:
    if given is None or (isinstance(given, int | float) and given == 0):
        return None if given is None else 0
    if not isinstance(given, dt.timedelta):
        raise TypeError(f"{name} must be a datetime.timedelta or 0 where values are durations, got {given!r}")
    whole = (given.days * 86_400 + given.seconds) * 10**9 + given.microseconds * 1000
    units, rest = divmod(whole + getattr(given, "nanoseconds", 0), times.nanoseconds(kind) or 1)  # pandas has those
    if rest:
        raise ValueError(f"{name} must be a whole number of {kind.unit}, as the values are, got {given!r}")
    return units


def check(results: list[Array], kind: pa.DataType) -> None:
    """Raise for the integer that stands for no time in NumPy and pandas."""
    if any((result == np.iinfo(np.int64).min).any() for result in results):
        raise OverflowError(f"a memory leaves {kind}")
