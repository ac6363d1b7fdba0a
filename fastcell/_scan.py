"""`python -m fastcell scan`: the toy cell over files, batch after batch, at constant memory but for the keys."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from tqdm import tqdm

from fastcell import _memory
from fastcell._files import BadInputError, check_apart, fingerprint, whole_or_not
from fastcell._frames import MEMORY, BadRowError
from fastcell.frames import toy_scan

_ROWS = 1 << 18
_CSV_BYTES = 1 << 24
_BEFORE = "memory_before"
_SEEN = b"fastcell.input"


class _Piece(NamedTuple):
    """Rows of a file, counted from 1."""

    path: Path
    first_row: int
    batch: pa.RecordBatch


class _Source:
    """A CSV file, a Parquet file, or the Parquet files of a folder in the order of their names."""

    def __init__(self, path: Path) -> None:
        self.paths = [path]
        if path.is_dir():
            self.paths = sorted(found for found in path.iterdir() if found.suffix.lower() == ".parquet")
            if not self.paths:
                raise BadInputError(f"{path}: expected a folder with .parquet files, got none")
        self.text = _kind(self.paths[0]) == ".csv"
        self.schema = self._open(self.paths[0])[0]

    def _open(self, path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """A file's schema and batches. Cells of a CSV stay text, so that no type is guessed from the first rows."""
        try:
            if not self.text:
                file = pq.ParquetFile(path)
                schema = file.schema_arrow.remove_metadata()
                _listed(schema)  # raises where a damaged name is no text
                return schema, file.iter_batches(_ROWS)
            with pyarrow.csv.open_csv(path) as header:
                names = header.schema.names
            types = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            )
            reader = pyarrow.csv.open_csv(path, pyarrow.csv.ReadOptions(block_size=_CSV_BYTES), convert_options=types)
            return reader.schema, iter(reader)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise BadInputError(f"{path}: {error}") from None

    def pieces(self) -> Iterator[_Piece]:
        for path in self.paths:
            schema, batches = self._open(path)
            if not schema.equals(self.schema):
                raise BadInputError(f"{path}: expected the columns of {self.paths[0].name}, got {_listed(schema)}")
            row = 1
            try:
                for batch in batches:
                    yield _Piece(path, row, batch)
                    row += len(batch)
            except (pa.ArrowException, OSError) as error:
                raise BadInputError(f"{path}, after row {row - 1}: {error}") from None

    def where(self, piece: _Piece, row: int) -> str:
        """A row of a piece, counted there from 0, as the user finds it."""
        folder = f"{piece.path}, " if len(self.paths) > 1 else ""
        return f"{folder}row {piece.first_row + row}"


class _Job:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.by = options, options.by or []
        self.source = _Source(options.input)
        schema, inputs = self.source.schema, (options.value, options.control, options.emit)
        for name in (*inputs, *self.by):
            if schema.names.count(name) != 1:
                raise BadInputError(f"{options.input}: expected one column {name!r}, got the columns {schema.names}")
        if "y" in schema.names:
            raise BadInputError(f"{options.input}: has a column 'y' already")
        if len(set(self.by)) < len(self.by) or {MEMORY, _BEFORE} & set(self.by):
            raise BadInputError(f"by: expected different columns, none of them {MEMORY} or {_BEFORE}, got {self.by}")
        self.seen = fingerprint(self.source.paths)
        self.start = _load(options.state, self.by, self.seen)
        self.state: Any = self.start
        y = self._scan([_Piece(options.input, 1, pa.RecordBatch.from_pylist([], schema))])
        self.schema = schema.append(pa.field("y", y.type))

    def _numbers(self, piece: _Piece, name: str, integer: bool) -> pa.Array:
        """A column as numbers; a text that is none is named with its row in the file."""
        column = piece.batch.column(name)
        if pa.types.is_float16(column.type):
            return column.cast(pa.float32())
        if not self.source.text:
            return column
        kind = pa.int64() if integer else pa.float64()
        try:
            return pc.cast(pc.utf8_trim_whitespace(column), kind)
        except pa.ArrowInvalid:
            for at, cell in enumerate(column.to_pylist()):
                try:
                    pc.cast(pa.scalar(cell and cell.strip(), pa.string()), kind)
                except pa.ArrowInvalid:
                    where, what = self.source.where(piece, at), "an integer" if integer else "a number"
                    raise BadInputError(f"{where}, column {name}: expected {what}, got {cell!r}") from None
            raise

    def _table(self, piece: _Piece) -> pa.Table:
        """The columns that are scanned; categories as what they stand for, as these differ from file to file."""
        options = self.options
        columns: dict[str, Any] = {}
        for name in self.by:
            key = piece.batch.column(name)
            columns[name] = key.cast(key.type.value_type) if pa.types.is_dictionary(key.type) else key
        for name in (options.value, options.control, options.emit):
            if name not in columns:
                columns[name] = self._numbers(piece, name, options.integer and name == options.value)
        return pa.table(columns)

    def _scan(self, pieces: list[_Piece]) -> pa.ChunkedArray:
        """The outputs of some pieces, and the state taken on."""
        options = self.options
        table = pa.concat_tables([self._table(piece) for piece in pieces])
        try:
            frame, self.state = toy_scan(
                table, options.value, options.control, options.emit, by=self.by, state=self.state,
                nulls=options.nulls, fill=options.fill,
            )  # fmt: skip
        except BadRowError as error:
            piece, row = pieces[0], error.row
            for piece in pieces:
                if row < len(piece.batch):
                    break
                row -= len(piece.batch)
            got = "nothing" if error.got == "a null" else error.got
            where = self.source.where(piece, row)
            raise BadInputError(f"{where}, column {error.column}: expected {error.expected}, got {got}") from None
        except (ValueError, TypeError, OverflowError) as error:
            first, last = pieces[0], pieces[-1]
            rows = f"{self.source.where(first, 0)} to {self.source.where(last, len(last.batch) - 1)}: "
            raise BadInputError(f"{rows if len(table) else ''}{error}") from None
        return frame["y"]

    def outputs(self) -> Iterator[pa.RecordBatch]:
        """The input's batches with y. As many rows are taken at once as there are keys, to look each up once a row."""
        waiting: list[_Piece] = []
        for piece in self.source.pieces():
            waiting.append(piece)
            if sum(len(found.batch) for found in waiting) >= (len(self.state) if self.by else 0):
                yield from self._finished(waiting)
                waiting = []
        yield from self._finished(waiting) if waiting else ()

    def _finished(self, pieces: list[_Piece]) -> Iterator[pa.RecordBatch]:
        y, start = self._scan(pieces).combine_chunks(), 0
        for piece in pieces:
            part = y.slice(start, len(piece.batch))
            yield pa.RecordBatch.from_arrays([*piece.batch.columns, part], schema=self.schema)
            start += len(piece.batch)

    def save(self, path: Path) -> None:
        before = pa.nulls(len(self.state), self.state[MEMORY].type)
        if self.start is not None:  # the state's first keys, in their order
            earlier = self.start[MEMORY].cast(before.type).combine_chunks()
            before = pa.concat_arrays([earlier, before[len(self.start) :]])
        table = self.state.append_column(_BEFORE, before).replace_schema_metadata({_SEEN: self.seen})
        with whole_or_not(path) as name:
            pq.write_table(table, name)


def _load(path: Path | None, by: list[str], seen: str) -> pa.Table | None:
    """The state to start from: the file's last one, or the one before where the last came from this same input."""
    if path is None or not path.exists():
        return None
    try:
        claimed = pq.read_metadata(path)
        if not by and claimed.num_rows != 1:
            raise BadInputError(f"{path}: expected a state of one row where there is no --by, got {claimed.num_rows}")
        _memory.check(16 * claimed.num_rows * claimed.num_columns, "{}: a state of {} rows", path, claimed.num_rows)
        table = pq.read_table(path)
        names = table.column_names
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise BadInputError(f"{path}: not a state of scan: {error}") from None
    columns = [*by, MEMORY]
    if [name for name in names if name != _BEFORE] != columns or (not by and len(table) != 1):
        raise BadInputError(f"{path}: expected a state with columns {columns}, got {table.column_names}")
    for name in {MEMORY, _BEFORE} & set(table.column_names):
        if table[name].type not in (pa.float64(), pa.int64()) or (name == MEMORY and table[name].null_count):
            raise BadInputError(f"{path}: expected a state with numbers in {name}, got {table[name].type}")
    if _BEFORE in table.column_names and (table.schema.metadata or {}).get(_SEEN) == seen.encode():
        table = table.filter(table[_BEFORE].is_valid()).drop_columns(MEMORY).rename_columns(columns)
        return table if len(table) or by else None
    return table.select(columns)


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise BadInputError(f"{path}: expected a .csv or .parquet file")
    return kind


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def scan(options: argparse.Namespace) -> None:
    """Run the command; raises BadInputError for what the user can mend, and writes nothing then."""
    check_apart(STATE=options.state, OUT=options.output, **({"IN": options.input} if options.state else {}))
    kind, job = _kind(options.output), _Job(options)
    if options.input.is_dir() and options.output.resolve().parent == options.input.resolve():
        raise BadInputError(f"{options.output}: OUT must not be in the folder that is read")
    with whole_or_not(options.output) as name:
        csv_options = pyarrow.csv.WriteOptions(quoting_style="needed")
        writer = (
            pq.ParquetWriter(name, job.schema)
            if kind == ".parquet"
            else pyarrow.csv.CSVWriter(name, job.schema, write_options=csv_options)
        )
        with writer, tqdm(unit=" rows", unit_scale=True, disable=None) as progress:
            for batch in job.outputs():
                writer.write_batch(batch)
                progress.update(len(batch))
    if options.state:
        job.save(options.state)
