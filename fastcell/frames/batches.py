"""A job over batches of Arrow's, one after the other, at constant memory but for the keys."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from fastcell.frames.bad_row import BadRowError
from fastcell.frames.base import KINDS, Job, is_known
from fastcell.frames.order import Check

Part = TypeVar("Part")
_VALUES = 1 << 24  # that are taken at once, unless there are more keys


def is_batches(given: Any) -> bool:
    return hasattr(given, "__arrow_c_stream__") and not is_known(given)


def run(job: Job, df: Any, state: Any) -> tuple[Any, Any]:
    """A batch gives a batch and the state. A stream gives a reader, which reads it when it is read, and a `Scanned`."""
    if state is not None and not isinstance(state, pa.Table):
        state = _reader("state", state).read_all()
    if not isinstance(df, pa.RecordBatch):
        scanned = Scanned(job, _reader("df", df), state)
        return pa.RecordBatchReader.from_batches(scanned.schema, scanned), scanned
    frame, last = job.run(pa.Table.from_batches([df]), state)
    outputs = frame.select(job.outputs)
    return next(beside([df], outputs, _schema(df.schema, outputs))), last


class Scanned:
    """A stream's state, which is there when the stream has been read to its end; pass it on as `state=`, or read it
    with ``pa.table(state)`` or what else takes Arrow's streams."""

    def __init__(self, job: Job, reader: pa.RecordBatchReader, state: pa.Table | None) -> None:
        self._job, self._reader, self._row, self._ended = job, reader, 0, False
        # on no rows, which finds the types, and what is wrong with columns before anything is read
        frame, self._state = job.run(reader.schema.empty_table(), state)
        self._names = job.columns or reader.schema.names[:1]  # one tells at least how many rows there are
        self._batches, self._check = self._outputs(), Check(job.order)
        self.schema = _schema(reader.schema, frame.select(job.outputs))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        if not self._ended:
            raise ValueError(f"the state is there when frame has been read to its end, which is past row {self._row}")
        return self._state.__arrow_c_stream__(requested_schema)

    def __iter__(self) -> "Scanned":
        return self

    def __next__(self) -> pa.RecordBatch:
        batch = next(self._batches, None)
        if batch is None and not self._ended:
            raise ValueError(f"an error ended this stream before row {self._row}")
        if batch is None:
            raise StopIteration
        return batch

    def _outputs(self) -> Iterator[pa.RecordBatch]:
        keys = (lambda: len(self._state)) if self._job.by else (lambda: 0)
        parts = (part for batch in self._reader for part in cut(batch, self._job))
        for batches in together(parts, len, keys):
            yield from beside(batches, self._outputs_of(batches), self.schema)
        self._ended = True

    def _outputs_of(self, batches: list[pa.RecordBatch]) -> pa.Table:
        """The outputs of some batches, and the state taken on."""
        table = pa.Table.from_batches(batches).select(self._names)
        first, self._row = self._row, self._row + len(table)
        try:
            self._check(table)
            frame, self._state = self._job.run(table, self._state)
        except BadRowError as error:
            raise error.at(first + error.row) from None
        except OverflowError as error:
            raise OverflowError(f"rows {first} to {self._row - 1}: {error}") from None
        return frame.select(self._job.outputs)


def _reader(name: str, given: Any) -> pa.RecordBatchReader:
    if isinstance(given, pa.RecordBatchReader):
        return given
    try:
        return pa.RecordBatchReader.from_stream(given)
    except (TypeError, pa.ArrowException) as error:
        raise TypeError(f"{name} must be {KINDS}, got {type(given).__name__}: {error}") from None


def _schema(schema: pa.Schema, outputs: pa.Table) -> pa.Schema:
    return pa.schema([*schema, *outputs.schema], metadata=schema.metadata)


# ---- what commands share -------------------------------------------------------------------------------


def cut(batch: pa.RecordBatch, job: Job) -> Iterator[pa.RecordBatch]:
    """Parts of a batch, none of which has too many numbers in all rows."""
    most = max(1, _VALUES // job.width)
    for row in range(0, max(len(batch), 1), most):
        yield batch.slice(row, most)


def together(parts: Iterable[Part], rows: Callable[[Part], int], keys: Callable[[], int]) -> Iterator[list[Part]]:
    """As many parts at once as have a row for each key there is by then, so that a state's keys are gone through no
    more often than rows are."""
    waiting: list[Part] = []
    for part in parts:
        waiting.append(part)
        if sum(map(rows, waiting)) >= keys():
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def beside(batches: list[pa.RecordBatch], outputs: pa.Table, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches with the outputs of all their rows as further columns."""
    columns, start = [column.combine_chunks() for column in outputs.columns], 0
    for batch in batches:
        parts = [column.slice(start, len(batch)) for column in columns]
        yield pa.RecordBatch.from_arrays([*batch.columns, *parts], schema=schema)
        start += len(batch)
