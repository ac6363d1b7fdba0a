"""Arrow's types: one that holds the values of two, one that Arrow's functions take, and casts that lose nothing."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.types as of

_FAMILIES = {
    "number": lambda kind: of.is_integer(kind) or of.is_floating(kind),
    "text": lambda kind: of.is_string(kind) or of.is_large_string(kind),
    "bytes": lambda kind: of.is_binary(kind) or of.is_large_binary(kind) or of.is_fixed_size_binary(kind),
    "decimal": of.is_decimal,
    "date": of.is_date,
    "time": of.is_time,
    "timestamp": of.is_timestamp,
    "duration": of.is_duration,
}


def handled(kind: pa.DataType) -> pa.DataType:
    """A type of the same values whose rows Arrow can take, join and number: it has no such functions for views and
    small decimals, and joins dictionaries only while their categories fit the index type."""
    if of.is_string_view(kind):
        return pa.large_string()
    if of.is_binary_view(kind):
        return pa.large_binary()
    if of.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(kind.precision, kind.scale)
    if of.is_dictionary(kind):
        index = kind.index_type if kind.index_type.bit_width >= 32 else pa.int32()
        return pa.dictionary(index, handled(kind.value_type), kind.ordered)
    if of.is_struct(kind):
        fields = [kind.field(k) for k in range(kind.num_fields)]
        return pa.struct([field.with_type(handled(field.type)) for field in fields])
    return kind


def plain(kind: pa.DataType) -> pa.DataType:
    """`handled`, without a dictionary."""
    kind = handled(kind)
    return kind.value_type if of.is_dictionary(kind) else kind


def joined(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both as they are, if there is one; `cast` refuses single values that it can't.

    Equal types stay, a column of nulls alone takes the other's type, and categories become what they stand for. What
    Arrow would promote beyond that changes values (decimals to floats, text to bytes), so there is no such type.
    """
    if one == other:
        return one
    one, other = plain(one), plain(other)
    if one == other or of.is_null(other):
        return one
    if of.is_null(one):
        return other
    leaves = list(zip_longest(_leaves(one), _leaves(other)))
    if any(None in pair or (pair[0] != pair[1] and _family(pair[0]) != _family(pair[1])) for pair in leaves):
        return None
    schemas = [pa.schema([("", kind)]) for kind in (one, other)]
    try:
        both: pa.DataType = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
    return both if len(list(_leaves(both))) == len(leaves) else None  # structs of other names would become wider


def _leaves(kind: pa.DataType) -> Iterator[pa.DataType]:
    if not kind.num_fields:
        yield kind
    for k in range(kind.num_fields):
        yield from _leaves(kind.field(k).type)


def _family(kind: pa.DataType) -> object:
    """A name that types share whose values may be compared; others have none in common."""
    return next((name for name, belongs in _FAMILIES.items() if belongs(kind)), object())


def cast(column: Any, kind: pa.DataType) -> Any:
    """An array or chunked array as another type; raises pa.ArrowInvalid where a value would change."""
    if column.type == kind:
        return column
    if of.is_dictionary(column.type) and not of.is_dictionary(kind):
        column = column.cast(handled(column.type))
        column = column.cast(column.type.value_type)
    return column.cast(kind)


def unified(one: pa.Schema, other: pa.Schema) -> tuple[pa.Schema, list[str]]:
    """By name, one schema for the rows of both, in the order of `one` with other's further columns after it; and what
    there is against it, in words."""
    if one.equals(other):
        return one, []
    twice = {name for schema in (one, other) for name in schema.names if schema.names.count(name) > 1}
    if twice:
        return one, [f"several columns {name!r}" for name in sorted(twice)]
    fields, against = [], []
    for field in one:
        if field.name not in other.names:
            fields.append(field.with_nullable(True))
            continue
        met = other.field(field.name)
        kind = joined(field.type, met.type)
        if kind is None:
            against.append(f"{field.name!r} as {met.type} where they have {field.type}")
        else:
            fields.append(field.with_type(kind).with_nullable(field.nullable or met.nullable))
    fields += [field.with_nullable(True) for field in other if field.name not in one.names]
    return pa.schema(fields), against


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch under a schema that is `unified` with its own: columns that it lacks are null. Raises pa.ArrowInvalid
    with the column's name where a value would change."""
    if batch.schema.equals(schema):
        return batch
    if len(set(schema.names)) < len(schema):  # columns of one name can't be told apart, but stand where they stood
        pairs = list(zip(batch.columns, schema, strict=True))
    else:
        names = set(batch.schema.names)
        pairs = [(batch.column(field.name) if field.name in names else None, field) for field in schema]
    columns = []
    for column, field in pairs:
        try:
            columns.append(pa.nulls(len(batch), field.type) if column is None else cast(column, field.type))
        except pa.ArrowException as error:
            raise pa.ArrowInvalid(f"column {field.name}: {error}") from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)
