"""The order in which rows are taken: that of columns, rows that are equal there as they stand."""

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as of

from fastcell._checks import Array
from fastcell.frames import arrow_types
from fastcell.frames.bad_row import BadRowError
from fastcell.frames.keys import type_of


def order_of(frame: nw.DataFrame[Any], names: list[str]) -> Array | None:
    """The rows in the order of the columns `names`; none where they are in it."""
    columns = _read(frame, names)
    if _first_out_of_order(columns) is None:
        return None
    table = pa.table([_comparable(column) for column in columns], [str(k) for k in range(len(names))])
    rows: Array = pc.sort_indices(table, [(name, "ascending") for name in table.column_names]).to_numpy()
    return rows.astype(np.int64)  # a stable sort, as Arrow says


class Check:
    """That rows, table after table, are in order."""

    def __init__(self, names: list[str]) -> None:
        self._names, self._last = names, list[Any]()

    def __call__(self, table: pa.Table) -> None:
        """Raise for the first row that is not."""
        if not self._names:
            return
        columns = _read(nw.from_native(table), self._names)
        before = len(self._last[0]) if self._last else 0
        if before:
            pairs = zip(self._last, columns, strict=True)
            columns = [pa.chunked_array([*last.chunks, *column.chunks], column.type) for last, column in pairs]
        row = _first_out_of_order(columns)
        if row is not None:
            name, earlier, later = next(
                (name, *cells)
                for name, column in zip(self._names, columns, strict=True)
                if (cells := column.slice(row - 1, 2))[0] != cells[1]
            )
            expected = f"no less than {_shown(earlier)}, as the row before has it"
            raise BadRowError(name, row - before, expected, _shown(later))
        if len(table):
            self._last = [column.slice(len(column) - 1) for column in columns]


def _read(frame: nw.DataFrame[Any], names: list[str]) -> list[pa.ChunkedArray]:
    columns = []
    for series in map(frame.get_column, names):
        try:
            column = series.to_arrow()
        except (pa.ArrowException, TypeError):  # objects of several types
            column = None
        if column is None or not any(fits(column.type) for fits in _ORDERED):
            hint = (
                "; cast categories to what they stand for" if isinstance(series.dtype, nw.Categorical | nw.Enum) else ""
            )
            expected = "numbers, times or text, to be ordered by"
            raise TypeError(f"column {series.name!r} must hold {expected}, got {type_of(series)}{hint}")
        column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
        row = pc.index(pc.is_null(column, nan_is_null=of.is_floating(column.type)), True).as_py()
        if row >= 0:
            got = "nan" if column[row].is_valid else "a null"
            raise BadRowError(series.name, row, "something to order by", got)
        columns.append(column)
    return columns


def _is_text(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.large_string(), pa.string_view())


_TIMES = of.is_date, of.is_time, of.is_timestamp, of.is_duration
_ORDERED = (_is_text, of.is_integer, of.is_floating, of.is_decimal, of.is_boolean, of.is_null, *_TIMES)


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of a type that Arrow compares."""
    kind = column.type
    if of.is_temporal(kind):
        return column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if of.is_boolean(kind):
        return column.cast(pa.uint8())
    return column.cast(pa.float32() if of.is_float16(kind) else arrow_types.handled(kind))


def _first_out_of_order(columns: list[pa.ChunkedArray]) -> int | None:
    """The first row that is less than the one before it."""
    rows = len(columns[0])
    if rows < 2:
        return None
    less = equal = None
    for column in map(_comparable, columns):
        before, after = column.slice(0, rows - 1), column.slice(1)
        falls, stays = pc.greater(before, after), pc.equal(before, after)
        less = falls if less is None else pc.or_(less, pc.and_(equal, falls))
        equal = stays if equal is None else pc.and_(equal, stays)
    row: int = pc.index(less, True).as_py()
    return None if row < 0 else row + 1


def _shown(cell: pa.Scalar) -> str:
    return repr(cell.as_py()) if _is_text(cell.type) else str(cell.cast(pa.string()))
