"""`python -m fastcell scan`: the toy cell over files, batch after batch, at constant memory but for the keys."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from fastcell import _memory
from fastcell._cli.tables import Piece, Reader, check_writable, kind_of, writing
from fastcell._files import BadInputError, check_apart, fingerprint, whole_or_not
from fastcell.frames import arrow_types
from fastcell.frames.api import toy_scan
from fastcell.frames.job import MEMORY, BadRowError

_BEFORE = "memory_before"
_SEEN = b"fastcell.input"


class _Job:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.by = options, options.by or []
        self.source = Reader(options.input, [options.value, options.control, options.emit, *self.by])
        schema = self.source.schema
        if "y" in schema.names:
            raise BadInputError(f"{options.input}: has a column 'y' already")
        if len(set(self.by)) < len(self.by) or {MEMORY, _BEFORE} & set(self.by):
            raise BadInputError(f"by: expected different columns, none of them {MEMORY} or {_BEFORE}, got {self.by}")
        self.seen = fingerprint(self.source.paths)
        self.start = _load(options.state, self.by, self.seen)
        self.state: Any = self.start
        self._join_keys()
        y = self._scan([Piece(options.input, 1, pa.RecordBatch.from_pylist([], schema))])
        self.schema = schema.append(pa.field("y", y.type))
        check_writable(options.output, self.schema)

    def _join_keys(self) -> None:
        """Keys of one type in the state and in the input, where one holds the values of both."""
        self.keys = {name: arrow_types.plain(self.source.schema.field(name).type) for name in self.by}
        for name in self.by if self.state is not None else ():
            key = self.state[name]
            kind = arrow_types.joined(key.type, self.keys[name])
            if kind is None:
                continue  # toy_scan says what is wrong
            try:
                self.keys[name], key = kind, arrow_types.cast(key, kind)
            except pa.ArrowException as error:
                raise BadInputError(f"{self.options.state}: column {name}: {error}") from None
            self.state = self.state.set_column(self.state.column_names.index(name), name, key)

    def _numbers(self, piece: Piece, name: str, integer: bool) -> pa.Array:
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

    def _table(self, piece: Piece) -> pa.Table:
        """The columns that are scanned; categories as what they stand for, as these differ from file to file."""
        options = self.options
        columns: dict[str, Any] = {}
        for name in self.by:
            columns[name] = arrow_types.cast(piece.batch.column(name), self.keys[name])
        for name in (options.value, options.control, options.emit):
            if name not in columns:
                columns[name] = self._numbers(piece, name, options.integer and name == options.value)
        return pa.table(columns)

    def _scan(self, pieces: list[Piece]) -> pa.ChunkedArray:
        """The outputs of some pieces, and the state taken on."""
        options = self.options
        try:
            table = pa.concat_tables([self._table(piece) for piece in pieces])
            frame, self.state = toy_scan(
                table, options.value, options.control, options.emit, by=self.by, state=self.state,
                nulls=options.nulls, fill=options.fill, low=options.low, high=options.high,
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
        except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
            first, last = pieces[0], pieces[-1]
            rows = f"{self.source.where(first, 0)} to {self.source.where(last, len(last.batch) - 1)}: "
            raise BadInputError(f"{rows if any(len(piece.batch) for piece in pieces) else ''}{error}") from None
        return frame["y"]

    def outputs(self) -> Iterator[pa.RecordBatch]:
        """The input's batches with y. As many rows are taken at once as there are keys, to look each up once a row."""
        waiting: list[Piece] = []
        for piece in self.source.pieces():
            waiting.append(piece)
            if sum(len(found.batch) for found in waiting) >= (len(self.state) if self.by else 0):
                yield from self._finished(waiting)
                waiting = []
        yield from self._finished(waiting) if waiting else ()

    def _finished(self, pieces: list[Piece]) -> Iterator[pa.RecordBatch]:
        y, start = self._scan(pieces).combine_chunks(), 0
        for piece in pieces:
            part = y.slice(start, len(piece.batch))
            yield pa.RecordBatch.from_arrays([*piece.batch.columns, part], schema=self.schema)
            start += len(piece.batch)

    def save(self, path: Path) -> None:
        before = pa.nulls(len(self.state), self.state[MEMORY].type)
        if self.start is not None:  # the state's first keys, in their order
            earlier = self.start[MEMORY].cast(before.type, safe=False).combine_chunks()  # rounded as the scan does
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


def scan(options: argparse.Namespace) -> None:
    """Run the command; raises BadInputError for what the user can mend, and writes nothing then."""
    check_apart(STATE=options.state, OUT=options.output, **({"IN": options.input} if options.state else {}))
    kind_of(options.output)
    if options.input.is_dir() and options.output.resolve().parent == options.input.resolve():
        raise BadInputError(f"{options.output}: OUT must not be in the folder that is read")
    job = _Job(options)
    with (
        whole_or_not(options.output) as name,
        writing(options.output, name, job.schema) as write,
        tqdm(unit=" rows", unit_scale=True, disable=None) as progress,
    ):
        for batch in job.outputs():
            write(batch)
            progress.update(len(batch))
    if options.state:
        job.save(options.state)
