"""How a CSV file is written: what parts columns, decimals, thousands, words for nothing, encoding and compression."""

import argparse
import codecs
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.types as of

from fastcell._files import BadInputError

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_OTHERS = {";": "';'", "\t": r"'\t'", "|": "'|'"}
_COUNTS = re.compile(r"Expected (\d+) columns, got \d+: (.*)", re.DOTALL)
_COMMA = re.compile(r"(?<!\d)[+-]?\d+,\d+(?![\d,])")


class Dialect(NamedTuple):
    """That of the files that are read and written."""

    delimiter: str = ","
    decimal: str = "."
    thousands: str = ""
    na: tuple[str, ...] = ()
    encoding: str = "utf-8"

    def input(self, path: Path) -> Any:
        """A file's text as UTF-8."""
        stream = pa.input_stream(str(path), compression=CODECS.get(path.suffix.lower()))
        return stream if self.encoding == "utf-8" else pa.transcoding_input_stream(stream, self.encoding, "utf-8")

    @contextmanager
    def output(self, path: Path, name: str) -> Iterator[Any]:
        """Where UTF-8 is written to become path's text, under another name."""
        with pa.output_stream(name, compression=CODECS.get(path.suffix.lower())) as stream:
            yield stream if self.encoding == "utf-8" else codecs.EncodedFile(stream, "utf-8", self.encoding)

    def numbers(self, texts: pa.Array, kind: pa.DataType) -> pa.Array:
        """Cells of numbers or times as texts that Arrow casts to `kind`, null where there is nothing."""
        texts = pc.utf8_trim_whitespace(texts)
        if self.na:
            texts = pc.if_else(pc.is_in(texts, value_set=pa.array(self.na)), pa.scalar(None, pa.string()), texts)
        if not (of.is_integer(kind) or of.is_floating(kind)):
            return texts
        if self.thousands:  # between groups of three alone: what has it elsewhere is no number
            grouped = pc.match_substring_regex(texts, _grouped(self.thousands, self.decimal))
            texts = pc.if_else(grouped, pc.replace_substring(texts, self.thousands, ""), texts)
        if self.decimal != ".":  # a point makes no number
            texts = pc.replace_substring(pc.replace_substring(texts, ".", "?"), self.decimal, ".")
        return texts

    def text(self, column: pa.Array) -> pa.Array:
        """Floats and decimals as text, where Arrow's way to write them is another."""
        if self.decimal == "." or not (of.is_floating(column.type) or of.is_decimal(column.type)):
            return column
        return pc.replace_substring(column.cast(pa.string()), ".", self.decimal)

    def parsing(self) -> pyarrow.csv.ParseOptions:
        return pyarrow.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True)

    def hint(self, error: str) -> str:
        """What may be meant by a file whose rows don't fit their header."""
        found = _COUNTS.search(error)
        if found is None or self.delimiter != ",":
            return ""
        other = [said for sign, said in _OTHERS.items() if sign in found[2]]
        if not _COMMA.search(found[2]):
            return f"; --delimiter {other[0]} reads columns that it parts" if other else ""
        if other:
            return f"; it seems to have decimal commas: --delimiter {other[0]} --decimal , reads it"
        return "; where it has decimal commas, other signs must part its columns, or its numbers be in quotes"

    def hint_of_header(self, names: list[str]) -> str:
        found = [
            said for sign, said in _OTHERS.items() if len(names) == 1 and sign != self.delimiter and sign in names[0]
        ]
        return f"; --delimiter {found[0]} parts them" if found else ""

    def hint_of_cell(self, cell: str | None) -> str:
        cell = (cell or "").strip()
        hints = []
        if self.decimal == "." and _COMMA.fullmatch(cell):
            hints.append("--decimal , reads decimal commas")
        if not self.thousands:
            signs = [sign for sign in ",.' " if sign != self.decimal and re.match(_grouped(sign, self.decimal), cell)]
            hints += [f"--thousands {shlex.quote(sign)} reads such numbers of thousands" for sign in signs]
        return "".join(f"; {hint}" for hint in hints)


def _grouped(sign: str, decimal: str) -> str:
    """Numbers with a sign between thousands, for Python and for Arrow."""
    return rf"^[+-]?[0-9]{{1,3}}({re.escape(sign)}[0-9]{{3}})+({re.escape(decimal)}[0-9]*)?$"


def dialect_of(options: argparse.Namespace) -> Dialect:
    """The dialect that a command's options say."""
    delimiter = {r"\t": "\t", "tab": "\t"}.get(options.delimiter, options.delimiter)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise BadInputError(f"--delimiter: expected one ASCII sign, no quote and no end of line, got {delimiter!r}")
    if options.decimal == delimiter:
        raise BadInputError(
            f"--decimal: expected another sign than --delimiter, got {delimiter!r}; say --delimiter ';'"
        )
    thousands = options.thousands
    if thousands and (len(thousands) != 1 or thousands == options.decimal or thousands in "0123456789+-eE?"):
        raise BadInputError(f"--thousands: expected one sign, no digit and not --decimal's, got {thousands!r}")
    try:
        encoding = codecs.lookup(options.encoding).name
        codecs.getincrementaldecoder(encoding)
        "".encode(encoding)
    except LookupError:
        raise BadInputError(f"--encoding: expected one that Python knows, got {options.encoding!r}") from None
    return Dialect(delimiter, options.decimal, thousands, tuple(options.na or ()), encoding)
