"""Values that are durations or decimals: integers inside, and outputs and memories of the same type."""

import datetime as dt
import sys
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as of

from fastcell._checks import Array
from fastcell.frames import arrow_types, times
from fastcell.frames.base import column_of_arrow
from fastcell.frames.keys import type_of

_DIGITS = 38  # of Arrow's decimals of 128 bits


def kind_of(column: nw.Series[Any]) -> pa.DataType | None:
    """Arrow's type of a column of durations or decimals; none of others."""
    unknown = column.dtype == nw.Unknown and column.implementation.is_pyarrow()  # narwhals knows decimals of one width
    if column.dtype not in (nw.Duration, nw.Decimal) and not unknown:
        return None
    kind = column.head(0).to_arrow().type
    return kind if of.is_duration(kind) or of.is_decimal(kind) else None


def read(column: nw.Series[Any]) -> pa.Array:
    """A column of such; a null is 0."""
    array = column.to_arrow()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return pc.fill_null(array, pa.scalar(0, array.type)).cast(array.type)  # Arrow widens small decimals


def memories(column: nw.Series[Any], kind: pa.DataType) -> Array:
    """The state's memories as integers, to go on from in `kind`."""
    given = kind_of(column)
    if given is None or of.is_decimal(given) != of.is_decimal(kind):
        raise TypeError(f"state's column {column.name!r} must hold {kind}, as df's values are, got {type_of(column)}")
    if column.null_count():
        raise ValueError(f"state's column {column.name!r} must hold no nulls, got {column.null_count()}")
    try:
        return numbers(arrow_types.cast(read(column), kind))
    except pa.ArrowInvalid as error:
        raise ValueError(f"state's column {column.name!r} must hold {kind}, as df's values are: {error}") from None


def numbers(array: pa.Array) -> Array:
    """The integers inside, without nulls. Raises pa.ArrowInvalid where one takes more than 64 bits."""
    if not of.is_decimal(array.type):
        integers: Array = array.cast(pa.int64()).to_numpy()
        return integers
    wide = array.cast(pa.decimal128(_DIGITS, array.type.scale))
    words = np.frombuffer(wide.buffers()[1] or b"", np.int64).reshape(-1, 2)[wide.offset : wide.offset + len(wide)]
    low, high = words.T if sys.byteorder == "little" else words.T[::-1]
    if (high != low >> 63).any():
        row = int(np.argmax(high != low >> 63))
        raise pa.ArrowInvalid(f"{array[row]} is {array[row].as_py().scaleb(array.type.scale):f} units, beyond int64")
    return np.ascontiguousarray(low)


def column(name: str, integers: Array, kind: pa.DataType, like: nw.DataFrame[Any], value: str) -> nw.Series[Any]:
    """Integers as a column of `kind`, which is that of like's column `value`."""
    if not of.is_decimal(kind):
        return times.column(name, integers, kind, like, like[value])
    words = np.stack([integers, integers >> 63][:: 1 if sys.byteorder == "little" else -1], 1)
    wide = pa.Array.from_buffers(pa.decimal128(_DIGITS, kind.scale), len(words), [None, pa.py_buffer(words)])
    return column_of_arrow(name, wide.cast(kind), like, like[value])


def options(given: dict[str, Any], kind: pa.DataType) -> dict[str, Any]:
    """Options of a scan in integers of `kind`; those that are amounts must be such, or 0."""
    amount = _decimal if of.is_decimal(kind) else _duration
    amounts = {name: given[name] for name in ("fill", "low", "high")}
    return given | {name: None if one is None else amount(name, one, kind) for name, one in amounts.items()}


def _duration(name: str, given: Any, kind: pa.DataType) -> int:
    if isinstance(given, int | float) and given == 0:
        return 0
    if not isinstance(given, dt.timedelta):
        raise TypeError(f"{name} must be a datetime.timedelta or 0 where values are durations, got {given!r}")
    whole = (given.days * 86_400 + given.seconds) * 10**9 + given.microseconds * 1000
    units, rest = divmod(whole + getattr(given, "nanoseconds", 0), times.nanoseconds(kind) or 1)  # pandas has those
    if rest:
        raise ValueError(f"{name} must be a whole number of {kind.unit}, as the values are, got {given!r}")
    return units


def _decimal(name: str, given: Any, kind: pa.DataType) -> int:
    """A float is the decimal that it is written as."""
    if not isinstance(given, Decimal | int | float):
        raise TypeError(f"{name} must be a number where values are decimals, got {given!r}")
    try:
        return int(numbers(pa.array([Decimal(str(given))], kind))[0])
    except pa.ArrowInvalid:
        raise ValueError(f"{name} must be {kind}, as the values are, got {given!r}") from None


def check(results: list[Array], kind: pa.DataType) -> None:
    """Raise for integers that `kind` has no place for: too many digits, or what stands for no time in NumPy."""
    least = np.iinfo(np.int64).min + 1 if of.is_duration(kind) else 1 - 10 ** min(kind.precision, 18)
    if of.is_decimal(kind) and kind.precision > 18:  # which holds all integers of 64 bits
        return
    if any(((result < least) | (result > -least)).any() for result in results):
        raise OverflowError(f"a memory leaves {kind}")
