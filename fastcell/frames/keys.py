"""Keys of any type, in one column or several, as numbers: 0, 1, ... in the order in which they are first met."""

from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastcell._checks import Array
from fastcell.frames import arrow_types, keys_kernels
from fastcell.simd.vector import address

_FIRST_TABLE = 1 << 16  # entries of the first table of texts


class Keys(NamedTuple):
    """Numbered rows."""

    codes: Array
    """(T,) each row's key, int32."""
    firsts: Array
    """(K,) the row in which each key is first met."""


def number(columns: nw.DataFrame[Any]) -> Keys:
    """Number the rows' keys. A null is a key, and so is nan; 0.0 and -0.0 are one."""
    first, *others = columns.iter_columns()
    keys = _column(first)
    for column in others:
        keys = _pairs(keys, _column(column))
    return keys


def _column(column: nw.Series[Any]) -> Keys:
    try:
        return _numbered(_plain(column))
    except (pa.ArrowException, TypeError):
        raise TypeError(f"column {column.name!r} must hold keys, got {type_of(column)}") from None


def type_of(column: nw.Series[Any]) -> Any:
    """A column's type as one knows it; its own where narwhals has no name for it."""
    if column.dtype != nw.Unknown:
        return column.dtype
    native = column.to_native()
    return native.type if column.implementation.is_pyarrow() else native.dtype


def _pairs(one: Keys, other: Keys) -> Keys:
    return _integers(one.codes.astype(np.int64) * len(other.firsts) + other.codes)


def _numbered(column: Array | pa.ChunkedArray) -> Keys:
    if isinstance(column, np.ndarray):
        return _integers(column)
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _numbered(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if pa.types.is_struct(kind):
        keys = _numbered(column.is_valid())
        for field in column.flatten():
            keys = _pairs(keys, _numbered(field))
        return keys
    if pa.types.is_dictionary(kind):
        if column.num_chunks > 1 or kind.value_type != arrow_types.handled(kind.value_type):
            column, kind = column.cast(arrow_types.handled(kind)), arrow_types.handled(kind)
        column = column.unify_dictionaries()
        values = column.chunk(0).dictionary if column.num_chunks else pa.array([], kind.value_type)
        if values.null_count or len(values.unique()) != len(values):
            return _numbered(column.cast(kind.value_type))
        column = pa.chunked_array([chunk.indices for chunk in column.chunks], kind.index_type)
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    elif pa.types.is_floating(kind):
        wide = column.cast(pa.float32()) if pa.types.is_float16(kind) else column
        column = pc.add(wide, pa.scalar(0.0, wide.type))  # -0.0 + 0.0 is 0.0
    elif kind != arrow_types.handled(kind):
        column = column.cast(arrow_types.handled(kind))
    return _arrow(column)


def _arrow(column: pa.ChunkedArray) -> Keys:
    """Numbers or bytes by their own kernels, whatever else by Arrow's hash table."""
    kind = column.type
    if not column.null_count:
        if pa.types.is_integer(kind):
            return _integers(column.to_numpy())
        if any(is_text(kind) for is_text in (pa.types.is_string, pa.types.is_binary)):
            return _texts(column, np.dtype(np.int32))
        if any(is_text(kind) for is_text in (pa.types.is_large_string, pa.types.is_large_binary)):
            return _texts(column, np.dtype(np.int64))
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    chunks = encoded.unify_dictionaries().chunks if isinstance(encoded, pa.ChunkedArray) else [encoded]
    return _integers(pa.chunked_array([chunk.indices for chunk in chunks], pa.int32()).to_numpy())


def _integers(keys: Array) -> Keys:
    """Near each other: by a table of all that there could be. Others: by Arrow's hash table first."""
    T = len(keys)
    low, high = (int(keys.min()), int(keys.max())) if T else (0, -1)
    if high - low >= max(1024, 4 * T) or high > np.iinfo(np.int64).max:
        keys = pa.array(keys).dictionary_encode().indices.to_numpy()
        low, high = 0, int(keys.max())
    table, codes = np.full(high - low + 1, -1, np.int32), np.empty(T, np.int32)
    firsts = np.empty(min(len(table), T), np.int64)
    like = keys.dtype.type(0)
    count = keys_kernels.number_integers(address(keys), *keys.strides, T, low, table, codes, firsts, like)
    return Keys(codes, firsts[:count])


def _texts(column: pa.ChunkedArray, offset: np.dtype[Any]) -> Keys:
    codes, table = np.empty(len(column), np.int32), np.full(_FIRST_TABLE, -1, np.int32)
    firsts, met = np.empty(len(table) // 4, np.int64), np.empty((len(table) // 4, 4), np.uint64)
    count = row = 0
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        first = offsets.address + chunk.offset * offset.itemsize if len(chunk) else 0
        place, start = np.uintp(data.address if data else 0), 0
        while start < len(chunk):
            start, count = keys_kernels.number_text(
                np.uintp(first), place, start, len(chunk), row, table, codes, firsts, met, count, offset.type(0)
            )
            if start < len(chunk):
                table = np.full(4 * len(table), -1, np.int32)
                firsts, met = np.resize(firsts, len(table) // 4), np.resize(met, (len(table) // 4, 4))
                keys_kernels.enter(met, count, table)
        row += len(chunk)
    return Keys(codes, firsts[:count].copy())


def _plain(column: nw.Series[Any]) -> Array | pa.ChunkedArray:
    """A column as integers that stand for its values, or as Arrow's, without a copy where there is a way."""
    native = column.to_native()
    if column.implementation.is_pandas():
        return _pandas(native)
    if column.implementation.is_polars():
        if column.dtype == nw.Object:
            raise TypeError
        coded = isinstance(column.dtype, nw.Categorical | nw.Enum)
        return pa.chunked_array([(native.to_physical() if coded else native).to_arrow()])
    return native


def _pandas(column: Any) -> Array | pa.ChunkedArray:
    import pandas as pd

    array = column.array
    if isinstance(array, pd.Categorical):
        return np.asarray(array.codes)
    if hasattr(array, "asi8"):  # datetimes, timedeltas and periods
        return np.asarray(array.asi8)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
        numbers: Array = column.to_numpy()
        return numbers.view(np.uint8) if numbers.dtype.kind == "b" else numbers
    try:
        converted = pa.array(column, from_pandas=True)
        if not (pa.types.is_nested(converted.type) or isinstance(converted.type, pa.BaseExtensionType)):
            return converted if isinstance(converted, pa.ChunkedArray) else pa.chunked_array([converted])
    except (pa.ArrowException, OverflowError):
        pass  # objects of several types, which Python compares
    codes: Array = pd.factorize(column, use_na_sentinel=False)[0]
    return codes
