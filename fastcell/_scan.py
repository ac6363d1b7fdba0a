"""`python -m fastcell scan`: the toy cell over a file, batch after batch, at constant memory."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from tqdm import tqdm

from fastcell._checks import ALLOWED, Array, first_index, other_rules
from fastcell._files import whole_or_not
from fastcell.recurrence import toy_scan

_ROWS = 1 << 18
_CSV_BYTES = 1 << 24


class BadInputError(Exception):
    """Something in the user's files or columns; the message says what and where."""


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise BadInputError(f"{path}: expected a .csv or .parquet file")
    return kind


def _batches(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """A file's schema and batches. Cells of a CSV stay text, so that no type is guessed from the first rows."""
    try:
        if _kind(path) == ".parquet":
            file = pq.ParquetFile(path)
            return file.schema_arrow, file.iter_batches(_ROWS)
        with pyarrow.csv.open_csv(path) as header:
            names = header.schema.names
        types = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        )
        reader = pyarrow.csv.open_csv(path, pyarrow.csv.ReadOptions(block_size=_CSV_BYTES), convert_options=types)
        return reader.schema, iter(reader)
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{path}: {error}") from None


def _numbers(batch: pa.RecordBatch, name: str, first_row: int, integer: bool) -> Array:
    """A column as numbers; a cell that is none is named with its row in the file."""
    column = batch.column(name)
    text = pa.types.is_string(column.type)
    if column.null_count:
        at = pc.index(column.is_null(), True).as_py()
        raise BadInputError(f"row {first_row + at}, column {name}: expected a number, got nothing")
    if text:
        kind = pa.int64() if integer else pa.float64()
        try:
            column = pc.cast(pc.utf8_trim_whitespace(column), kind)
        except pa.ArrowInvalid:
            for at, cell in enumerate(column.to_pylist()):
                try:
                    pc.cast(pa.scalar(cell.strip()), kind)
                except pa.ArrowInvalid:
                    what = "an integer" if integer else "a number"
                    raise BadInputError(f"row {first_row + at}, column {name}: expected {what}, got {cell!r}") from None
            raise
    numbers: Array = column.to_numpy(zero_copy_only=False)
    if numbers.dtype.kind not in "biuf":
        raise BadInputError(f"column {name}: expected numbers, got {column.type}")
    return numbers.astype(np.float32) if numbers.dtype == np.float16 else numbers


def _check_rules(rules: Array, name: str, low: int, first_row: int) -> None:
    bad = other_rules(rules, low)
    if bad.any():
        (at,) = first_index(bad)
        raise BadInputError(f"row {first_row + at}, column {name}: expected {ALLOWED[low]}, got {rules[at]:g}")


class _Memories:
    """The memory of each key, in the order in which keys were first met; without keys a single one."""

    def __init__(self, by: str | None) -> None:
        self.by = by
        self.codes: dict[Any, int] = {}
        self.key_type: pa.DataType | None = None
        self.values: Array = np.zeros(0 if by else 1)

    def load(self, path: Path) -> None:
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInputError(f"{path}: not a state of scan: {error}") from None
        columns = [*([self.by] if self.by else []), "memory"]
        if table.column_names != columns or (not self.by and len(table) != 1):
            raise BadInputError(f"{path}: expected a state with columns {columns}, got {table.column_names}")
        memory = table["memory"]
        if memory.type not in (pa.float64(), pa.int64()) or memory.null_count:
            raise BadInputError(f"{path}: expected a state with numbers in memory, got {memory.type}")
        self.values = memory.to_numpy()
        if self.by:
            self.key_type = table.schema.field(self.by).type
            self.codes = {key: code for code, key in enumerate(table[self.by].to_pylist())}

    def save(self, path: Path) -> None:
        columns: dict[str, Any] = {}
        if self.by:
            columns[self.by] = pa.array(list(self.codes), self.key_type)
        columns["memory"] = self.values
        with whole_or_not(path) as name:
            pq.write_table(pa.table(columns), name)

    def encode(self, column: pa.Array, first_row: int) -> Array:
        """Each row's key as an integer; new keys get the next ones."""
        if column.null_count:
            at = pc.index(column.is_null(), True).as_py()
            raise BadInputError(f"row {first_row + at}, column {self.by}: expected a key, got nothing")
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if self.key_type is not None and column.type != self.key_type:
            raise BadInputError(
                f"column {self.by}: expected keys of {self.key_type}, as in the state, got {column.type}"
            )
        self.key_type = column.type
        encoded = column.dictionary_encode()
        codes = [self.codes.setdefault(key, len(self.codes)) for key in encoded.dictionary.to_pylist()]
        missing = len(self.codes) - len(self.values)
        if missing:
            self.values = np.append(self.values, np.zeros(missing, self.values.dtype))
        rows: Array = np.array(codes, np.int64)[encoded.indices.to_numpy()]
        return rows


def _scan_batch(batch: pa.RecordBatch, options: argparse.Namespace, memories: _Memories, first_row: int) -> Array:
    values = _numbers(batch, options.value, first_row, options.integer)
    control = _numbers(batch, options.control, first_row, False)
    emit = _numbers(batch, options.emit, first_row, False)
    _check_rules(control, options.control, -1, first_row)
    _check_rules(emit, options.emit, 0, first_row)
    keys = memories.encode(batch.column(options.by), first_row) if options.by else None
    if values.dtype.kind != "f" and memories.values.dtype.kind == "f":
        if memories.values.any():
            raise BadInputError(f"column {options.value}: expected floats, as in the state, got {values.dtype}")
        memories.values = memories.values.astype(np.int64)
    state = memories.values if options.by else memories.values[0]
    try:
        y, state = toy_scan(values, control, emit, keys=keys, state=state, fill=options.fill)
    except (ValueError, OverflowError) as error:
        last_row = first_row + len(values) - 1
        raise BadInputError(f"rows {first_row} to {last_row}, column {options.value}: {error}") from None
    memories.values = np.atleast_1d(state)
    return y


def scan(options: argparse.Namespace) -> None:
    """Run the command; raises BadInputError for what the user can mend, and writes nothing then."""
    schema, batches = _batches(options.input)
    for name in filter(None, (options.value, options.control, options.emit, options.by)):
        if schema.names.count(name) != 1:
            raise BadInputError(f"{options.input}: expected one column {name!r}, got the columns {schema.names}")
    if "y" in schema.names:
        raise BadInputError(f"{options.input}: has a column 'y' already")
    kind = _kind(options.output)
    memories = _Memories(options.by)
    if options.state and options.state.exists():
        memories.load(options.state)
    empty = _scan_batch(pa.RecordBatch.from_pylist([], schema), options, memories, 1)
    schema = schema.append(pa.field("y", pa.from_numpy_dtype(empty.dtype)))
    row = 1
    with whole_or_not(options.output) as name:
        csv_options = pyarrow.csv.WriteOptions(quoting_style="needed")
        writer = (
            pq.ParquetWriter(name, schema)
            if kind == ".parquet"
            else pyarrow.csv.CSVWriter(name, schema, write_options=csv_options)
        )
        with writer, tqdm(unit=" rows", unit_scale=True, disable=None) as progress:
            try:
                for batch in batches:
                    y = _scan_batch(batch, options, memories, row)
                    writer.write_batch(pa.RecordBatch.from_arrays([*batch.columns, pa.array(y)], schema=schema))
                    row += len(batch)
                    progress.update(len(batch))
            except pa.ArrowInvalid as error:
                raise BadInputError(f"{options.input}, after row {row - 1}: {error}") from None
    if options.state:
        memories.save(options.state)
