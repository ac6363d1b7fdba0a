"""Tables in files: CSV, Parquet, and folders of Parquet read in pieces; one CSV or Parquet file written in batches."""

import io
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pyarrow.types as of

from fastcell._cli.dialect import CODECS, Dialect
from fastcell._cli.folders import Columns, files_of
from fastcell._files import BadInputError
from fastcell.frames import arrow_types

_ROWS = 1 << 18
_CSV_BYTES = 1 << 24
_DICTIONARY_BYTES = 1 << 16  # in larger ones of a Parquet file numbers are mostly met once: time spent for nothing


class Piece(NamedTuple):
    """Rows of a file, counted from 1."""

    path: Path
    first_row: int
    batch: pa.RecordBatch


class Reader:
    """A CSV file, a Parquet file, or the Parquet files below a folder in the order of their paths, with the columns
    that its folders' names say, unless a file has them itself.

    The columns that are used every file must have. The files of a folder are read under one schema: columns go by name,
    types that differ become the one that holds the values of both, and a column that is not used and that a file lacks
    is null there. All schemas are read, and must agree, before the first row is.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._said = files_of(path) if path.is_dir() else {path: {}}
        self.paths, self.dialect, self._used = [*self._said], dialect, list[str]()
        if not self.paths:
            raise BadInputError(f"{path}: expected a folder with .parquet files, got none")
        self.text = kind_of(self.paths[0]) == ".csv"
        self.schema = self._open(self.paths[0])[0]

    def use(self, used: Sequence[str]) -> None:
        """Read all schemas. Without this the first file's is known."""
        self._used = list(used)
        for name in used:
            if self.schema.names.count(name) != 1:
                raise BadInputError(
                    f"{self.paths[0]}: expected one column {name!r}, got the columns {self.schema.names}"
                    f"{self.dialect.hint_of_header(self.schema.names) if self.text else ''}"
                )
        for other in self.paths[1:]:
            self.schema = self._unified(other, self._open(other)[0])

    def _unified(self, path: Path, schema: pa.Schema) -> pa.Schema:
        both, against = arrow_types.unified(self.schema, schema)
        lacking = [name for name in self._used if name not in schema.names]
        against += [f"no {name!r}, where they have {self.schema.field(name).type}" for name in lacking]
        if against:
            raise BadInputError(f"{path}: expected columns as in the files before it, got {'; '.join(against)}")
        return both

    def _open(self, path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """A file's schema and batches."""
        try:
            if self.text:
                return _open_csv(path, self.dialect)
            file = pq.ParquetFile(path, pre_buffer=False)  # what is read ahead would stay until the file's end
            schema = file.schema_arrow.remove_metadata()
            str(schema)  # raises where a damaged name is no text
            said = {name: value for name, value in self._said[path].items() if name not in schema.names}
            fields = [pa.field(name, value.type) for name, value in said.items()]
            return pa.schema([*schema, *fields]), _with(said, file.iter_batches(_ROWS))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise BadInputError(f"{path}: {self._why(error)}") from None

    def pieces(self) -> Iterator[Piece]:
        for path in self.paths:
            schema, batches = self._open(path)
            if not self._unified(path, schema).equals(self.schema):
                raise BadInputError(f"{path}: its columns changed while it was read")
            row = 1
            try:
                for batch in batches:
                    yield Piece(path, row, arrow_types.fitted(batch, self.schema))
                    row += len(batch)
            except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
                raise BadInputError(f"{path}, after row {row - 1}: {self._why(error)}") from None

    def _why(self, error: Exception) -> str:
        said = str(error)
        if "straddl" in said:
            return f"a quote that is never closed, or a row of more than {_CSV_BYTES >> 20} MiB"
        return said + (self.dialect.hint(said) if self.text else "")

    def where(self, piece: Piece, row: int) -> str:
        """A row of a piece, counted there from 0, as the user finds it."""
        folder = f"{piece.path}, " if len(self.paths) > 1 else ""
        return f"{folder}row {piece.first_row + row}"


def _with(said: Columns, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = [pa.repeat(value, len(batch)) for value in said.values()]
        yield pa.RecordBatch.from_arrays([*batch.columns, *columns], [*batch.schema.names, *said])


def _open_csv(path: Path, dialect: Dialect) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Cells stay text, so that no type is guessed from the first rows; a cell with nothing in it is null.

    Arrow cuts a file into blocks at ends of lines. Only with `newlines_in_values` does it look whether such an end is
    inside quotes, in one more pass over the text.
    """
    read = pyarrow.csv.ReadOptions(block_size=_CSV_BYTES)
    names = _header(path, dialect)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    mark = secrets.token_hex(8)
    text = _Marked(dialect.input(path), mark + dialect.delimiter * (len(names) - 1))
    reader = pyarrow.csv.open_csv(text, read, dialect.parsing(), convert)
    return reader.schema, _until(mark, reader)


def _header(path: Path, dialect: Dialect, size: int = 1 << 20) -> list[str]:
    """The columns' names. Arrow looks at types in the whole of a block to find them: a small one does, mostly."""
    read = pyarrow.csv.ReadOptions(block_size=min(size, _CSV_BYTES))
    try:
        with pyarrow.csv.open_csv(_Marked(dialect.input(path), ""), read, dialect.parsing()) as header:
            names: list[str] = header.schema.names
            return names
    except pa.ArrowInvalid:
        if size >= _CSV_BYTES:
            raise
    return _header(path, dialect, _CSV_BYTES)


class _Marked(io.RawIOBase):
    """A text with one row more at its end.

    Arrow takes a quote that is never closed to be closed by the file's end, with all rows between in one cell. Then the
    mark is in that cell, too, and no row of its own. Arrow also drops a newline at the start of what it reads at once
    where the last one ended with a carriage return, in a cell as well: so none ends with one.
    """

    def __init__(self, text: Any, row: str) -> None:
        self._parts, self._held = (text, io.BytesIO(f"\n{row}\n".encode())), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view, filled = memoryview(buffer), len(self._held)
        view[:filled], self._held = self._held, b""
        for part in self._parts:
            while filled < len(view) and (count := part.readinto(view[filled:])):
                filled += count
        if filled > 1 and view[filled - 1] == ord("\r"):
            self._held = b"\r"
            filled -= 1
        return filled

    def close(self) -> None:
        for part in self._parts:
            part.close()
        super().close()


def _until(mark: str, reader: Any) -> Iterator[pa.RecordBatch]:
    """The batches without the marked row."""
    with reader:
        for batch in reader:
            ended = len(batch) and batch.column(0)[len(batch) - 1].as_py() == mark
            yield batch.slice(0, len(batch) - 1) if ended else batch
            if ended:
                return
    raise pa.ArrowInvalid("a quote that is opened in that row is never closed")


# ---- writing -------------------------------------------------------------------------------------------


def check_writable(path: Path, schema: pa.Schema) -> None:
    """Raise for columns that a file of path's kind can't hold, before there is one."""
    text = kind_of(path) == ".csv"
    bad = [f"{field.name!r} ({field.type})" for field in schema if not _holds(text, field)]
    if bad:
        hint = "; a .parquet file can hold more" if text else ""
        raise BadInputError(f"{path}: a {kind_of(path)} file can't hold the column {', '.join(bad)}{hint}")


def _holds(text: bool, field: pa.Field) -> bool:
    kind = arrow_types.plain(field.type)
    if text and (of.is_binary(kind) or of.is_large_binary(kind) or of.is_fixed_size_binary(kind)):
        return False  # Arrow writes bytes as they are, and fails at those that are no text
    empty = (_csv_schema if text else pa.schema)([field]).empty_table()
    try:
        (pyarrow.csv.write_csv if text else pq.write_table)(empty, pa.BufferOutputStream())
    except pa.ArrowException:
        return False
    return True


def _csv_schema(fields: Any) -> pa.Schema:
    """What Arrow's CSV writer takes for these columns: it has no word for views."""
    return pa.schema([field.with_type(arrow_types.handled(field.type)) for field in fields])


@contextmanager
def writing(path: Path, name: str, schema: pa.Schema, dialect: Dialect) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A function that writes a batch to the file `name`, of path's kind."""
    try:
        if kind_of(path) == ".parquet":
            with pq.ParquetWriter(name, schema, dictionary_pagesize_limit=_DICTIONARY_BYTES) as writer:
                yield writer.write_batch
            return
        options = pyarrow.csv.WriteOptions(quoting_style="needed", delimiter=dialect.delimiter)
        schema = _csv_schema(field.with_type(dialect.text(pa.nulls(0, field.type)).type) for field in schema)

        def texts(batch: pa.RecordBatch) -> pa.RecordBatch:
            columns = [dialect.text(column) for column in batch.columns]
            return arrow_types.fitted(pa.RecordBatch.from_arrays(columns, batch.schema.names), schema)

        with (
            dialect.output(path, name) as sink,
            pyarrow.csv.CSVWriter(sink, schema, write_options=options) as writer,
        ):
            yield lambda batch: writer.write_batch(texts(batch))
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise BadInputError(f"{path}: {error}") from None


def kind_of(path: Path) -> str:
    """The suffix of a table's file."""
    kind = path.suffix.lower()
    if kind in CODECS:
        kind = ".csv" if Path(path.stem).suffix.lower() == ".csv" else ""
    if kind not in (".csv", ".parquet"):
        raise BadInputError(f"{path}: expected a .csv or .parquet file, or .csv with {', '.join(CODECS)}")
    return kind
