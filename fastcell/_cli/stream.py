"""A job of frames over files, batch after batch, at constant memory but for the keys: for all commands over tables."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as of
from tqdm import tqdm

from fastcell import _memory
from fastcell._cli.dialect import dialect_of
from fastcell._cli.overlap import ahead, behind
from fastcell._cli.pipes import files
from fastcell._cli.tables import Piece, Reader, check_writable, kind_of, writing
from fastcell._files import BadInputError, check_apart, fingerprint, whole_or_not
from fastcell.frames import arrow_types, batches
from fastcell.frames.bad_row import BadRowError
from fastcell.frames.base import Job
from fastcell.frames.job import TIME
from fastcell.frames.order import Check

_BEFORE = "{}_before"
_SEEN = b"fastcell.input"

Kinds = dict[str, tuple[pa.DataType, ...]]
"""What the columns of a CSV file may be, which has text alone; the first that fits is taken for the whole run."""


def run(options: argparse.Namespace, make: Callable[[list[str]], tuple[Job, Kinds]], **apart: Path) -> None:
    """Run what `make` makes of the columns' names; raises BadInputError for what the user can mend, and writes nothing
    then. `apart` are files that are none of those written."""
    with files(options) as (seen, pass_on):
        reads = {"IN": options.input} if options.state else {}
        check_apart(STATE=options.state, OUT=options.output, **reads, **apart)
        kind_of(options.output)
        dialect = dialect_of(options)
        for name, path in (("OUT", options.output), ("STATE", options.state)) if options.input.is_dir() else ():
            if path is not None and path.resolve().is_relative_to(options.input.resolve()):
                raise BadInputError(f"{path}: {name} must not be in the folder that is read")
        source = Reader(options.input, dialect)
        try:
            job, kinds = make(source.schema.names)
        except (ValueError, TypeError) as error:
            raise BadInputError(f"{options.input}: {error}") from None
        stream = _Stream(options, source, job, kinds, seen or fingerprint(source.paths))
        with (
            whole_or_not(options.output) as name,
            writing(options.output, name, stream.schema, dialect) as write,
            tqdm(unit=" rows", unit_scale=True, disable=None) as progress,
            ahead(stream.pieces()) as pieces,
            behind(write) as begin_to_write,
        ):
            for batch in stream.outputs(pieces):
                begin_to_write(batch)
                progress.update(len(batch))
        pass_on()
        if options.state:
            stream.save(options.state)


class _Stream:
    """One run of a command."""

    def __init__(self, options: argparse.Namespace, source: Reader, job: Job, kinds: Kinds, seen: str) -> None:
        self.seen, self.options, self.source, self.job, self.kinds = seen, options, source, job, kinds
        source.use(job.columns)
        schema = source.schema
        for name in job.outputs:
            if name in schema.names:
                raise BadInputError(f"{options.input}: has a column {name!r} already")
        for name in set(job.by) & set(_befores(job)):
            raise BadInputError(f"by: expected no column of the state's, got {name!r}")
        self.start = _load(options.state, job, self.seen)
        self.state: Any = self.start
        self.check = Check(job.order)
        self._join_keys()
        number = pa.int64() if getattr(options, "integer", False) else pa.float64()
        for column in job.order:
            kinds.setdefault(column, (number, pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.string()))
        if self.start is not None and TIME in job.parts and of.is_timestamp(kind := self.start[TIME].type):
            kinds[job.roles["time"]] = (pa.timestamp("ns", kind.tz),)
        outputs = self._outputs_of([Piece(options.input, 1, pa.RecordBatch.from_pylist([], schema))])
        self.schema = pa.schema([*schema, *outputs.schema])
        check_writable(options.output, self.schema)

    def _join_keys(self) -> None:
        """Keys of one type in the state and in the input, where one holds the values of both."""
        self.keys = {name: arrow_types.plain(self.source.schema.field(name).type) for name in self.job.by}
        for name in self.keys if self.state is not None else ():
            key = self.state[name]
            kind = arrow_types.joined(key.type, self.keys[name])
            if kind is None:
                continue  # the job says what is wrong
            try:
                self.keys[name], key = kind, arrow_types.cast(key, kind)
            except pa.ArrowException as error:
                raise BadInputError(f"{self.options.state}: column {name}: {error}") from None
            self.state = self.state.set_column(self.state.column_names.index(name), name, key)

    def _numbers(self, piece: Piece, name: str) -> pa.Array:
        """A column as numbers or times; a text that is none is named with its row in the file."""
        column = piece.batch.column(name)
        if of.is_float16(column.type):
            return column.cast(pa.float32())
        if not self.source.text:
            return column
        dialect, kinds = self.source.dialect, self.kinds[name]
        for kind in kinds:
            try:
                numbers = dialect.numbers(column, kind).cast(kind)
            except pa.ArrowInvalid:
                continue
            if numbers.null_count < len(numbers):
                self.kinds[name] = (kind,)  # and so in all rows
            return numbers
        texts = dialect.numbers(column, kinds[0])
        kind = next((kind for kind in kinds if _reads(pc.drop_null(texts)[0], kind)), kinds[0])
        row = next(row for row, cell in enumerate(texts) if not _reads(cell, kind))
        where, got = self.source.where(piece, row), column[row].as_py()
        hint = dialect.hint_of_cell(got)
        raise BadInputError(f"{where}, column {name}: expected {_said(kind)}, got {got!r}{hint}")

    def _table(self, piece: Piece) -> pa.Table:
        """The columns that are read; categories as what they stand for, as these differ from file to file."""
        columns: dict[str, Any] = {}
        for name in self.job.columns:
            if name in self.keys:
                columns[name] = arrow_types.cast(piece.batch.column(name), self.keys[name])
            else:
                columns[name] = self._numbers(piece, name)
        return pa.table(columns)

    def _outputs_of(self, pieces: list[Piece]) -> pa.Table:
        """The outputs of some pieces, and the state taken on."""
        try:
            table = pa.concat_tables([self._table(piece) for piece in pieces])
            self.check(table)
            frame, self.state = self.job.run(table, self.state)
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
        return frame.select(self.job.outputs)

    def outputs(self, pieces: Iterator[Piece]) -> Iterator[pa.RecordBatch]:
        """The pieces with the outputs."""
        keys = (lambda: len(self.state)) if self.job.by else (lambda: 0)
        for some in batches.together(pieces, lambda piece: len(piece.batch), keys):
            yield from batches.beside([piece.batch for piece in some], self._outputs_of(some), self.schema)

    def pieces(self) -> Iterator[Piece]:
        for path, row, batch in self.source.pieces():
            for part in batches.cut(batch, self.job):
                yield Piece(path, row, part)
                row += len(part)

    def save(self, path: Path) -> None:
        table = self.state
        for name, before in zip(self.job.parts, _befores(self.job), strict=True):
            column = pa.nulls(len(table), table[name].type)
            if self.start is not None:  # the state's first keys, in their order
                earlier = self.start[name].cast(column.type, safe=False).combine_chunks()  # rounded as the job does
                column = pa.concat_arrays([earlier, column[len(self.start) :]])
            table = table.append_column(before, column)
        with whole_or_not(path) as name:
            pq.write_table(table.replace_schema_metadata({_SEEN: self.seen}), name)


def _reads(cell: pa.Scalar, kind: pa.DataType) -> bool:
    try:
        cell.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _said(kind: pa.DataType) -> str:
    if of.is_timestamp(kind):
        return "a time such as 2020-01-31 12:00:00" + ("Z" if kind.tz else "")
    return "an integer" if of.is_integer(kind) else "a number"


def _befores(job: Job) -> list[str]:
    return [_BEFORE.format(name) for name in job.parts]


def _load(path: Path | None, job: Job, seen: str) -> pa.Table | None:
    """The state to start from: the file's last one, or the one before where the last came from this same input."""
    if path is None or not path.exists():
        return None
    by, columns, befores = job.by, [*job.by, *job.parts], _befores(job)
    try:
        claimed = pq.read_metadata(path)
        if not by and claimed.num_rows != 1:
            raise BadInputError(f"{path}: expected a state of one row where there is no --by, got {claimed.num_rows}")
        _memory.check(16 * claimed.num_rows * claimed.num_columns, "{}: a state of {} rows", path, claimed.num_rows)
        table = pq.read_table(path)
        names = table.column_names
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise BadInputError(f"{path}: not a state of {job.command}: {error}") from None
    if [name for name in names if name not in befores] != columns or (not by and len(table) != 1):
        raise BadInputError(f"{path}: expected a state with columns {columns}, got {names}")
    for field in (table.schema.field(name) for name in names if name not in by):
        kind = field.type
        if not any(fits(kind) for fits in (of.is_integer, of.is_floating, of.is_decimal, of.is_temporal, of.is_null)):
            raise BadInputError(f"{path}: expected a state with numbers in {field.name}, got {kind}")
    if befores and set(befores) <= set(names) and (table.schema.metadata or {}).get(_SEEN) == seen.encode():
        table = table.filter(table[befores[0]].is_valid()).select([*by, *befores]).rename_columns(columns)
        return table if len(table) or by else None
    return table.select(columns)
