"""The kinds of frames, made from Arrow tables and read back."""

import pandas as pd
import polars as pl
import pyarrow as pa

ROLES = {"value": "v", "control": "c", "emit": "e"}


def to_pandas(table):
    return table.to_pandas()


def to_arrow(table):
    return table


def to_chunks(table):
    """Arrow in chunks of odd lengths, an empty one among them."""
    thirds = [table.slice(0, 1), table.slice(1, 0), table.slice(1, len(table) // 3), table.slice(1 + len(table) // 3)]
    return pa.concat_tables(thirds)


KINDS = {
    "pandas": to_pandas,
    "pandas of Arrow": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.from_arrow,
    "lazy": lambda table: pl.from_arrow(table).lazy(),
    "arrow": to_arrow,
    "arrow in chunks": to_chunks,
}


def collected(frame):
    return frame.collect() if isinstance(frame, pl.LazyFrame) else frame


def rows(frame):
    """A frame's rows as dicts; what is missing is None in all kinds."""
    frame = collected(frame)
    if isinstance(frame, pd.DataFrame):
        columns = {name: [None if pd.isna(cell) else cell for cell in frame[name]] for name in frame.columns}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return frame.to_dicts() if isinstance(frame, pl.DataFrame) else frame.to_pylist()


def y_of(result, name="y"):
    column = collected(result.frame)[name]
    return column.to_numpy()
