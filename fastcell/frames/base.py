"""What every job over a frame shares: columns in, a state for each key, columns out; frames at once, queries later."""

from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pyarrow as pa

from fastcell import _nulls
from fastcell._checks import VALUES, Array, first_index
from fastcell.frames import arrow_types
from fastcell.frames.bad_row import BadRowError
from fastcell.frames.keys import number, type_of
from fastcell.frames.order import order_of

KINDS = (
    "a pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.Table, dask.dataframe.DataFrame or Arrow's batches"
)
_NUMBERS = (
    *(nw.Int8, nw.Int16, nw.Int32, nw.Int64, nw.UInt8, nw.UInt16, nw.UInt32, nw.UInt64),
    *(nw.Float32, nw.Float64, nw.Boolean),
)


class Streams(NamedTuple):
    """How the rows go: one stream without codes, else one for each key."""

    rows: int
    keys: int
    codes: Array | None


class Job:
    """One checked call.

    `roles` has a column or a number for each array that is read, `outputs` the new columns, `parts` the state's columns
    beside those of `by`; rows are taken in the order of the columns `order`. A subclass computes: `_given` reads a
    state, `_cell` runs, `_state` writes the last state.
    """

    naming = "name"  # the argument that names the outputs
    command: str  # that runs it over files

    def __init__(
        self, roles: dict[str, Any], by: Any, order_by: Any, nulls: Any, outputs: list[str], parts: list[str]
    ) -> None:
        self.roles, self.nulls, self.outputs, self.parts = roles, nulls, outputs, parts
        self.by, self.order = _names("by", by), _names("order_by", order_by)
        if len(set(self.by)) < len(self.by) or set(self.by) & set(parts):
            raise ValueError(f"by must be different columns, none of them {_some(parts)}, got {self.by}")
        _nulls.checked(nulls)

    @property
    def columns(self) -> list[str]:
        """All columns that are read, each once."""
        return list(
            dict.fromkeys([*filter(lambda given: isinstance(given, str), self.roles.values()), *self.by, *self.order])
        )

    @property
    def width(self) -> int:
        """How many numbers a row takes."""
        return len(self.roles) + len(self.outputs)

    def run(self, df: Any, state: Any) -> tuple[Any, Any]:
        """The frame with the outputs as further columns, and the state, of df's kind."""
        frame = known("df", df)
        if isinstance(frame, nw.LazyFrame):
            return self._lazy(df, state)
        if state is not None:
            state = known("state", state)
            if state.implementation != frame.implementation or isinstance(state, nw.LazyFrame):
                got = type(state.to_native()).__name__
                raise TypeError(f"state must be of df's kind, {type(df).__name__}, got {got}")
        self._check_columns(frame.columns)
        outputs, last = self._in_order(frame, state)
        return frame.with_columns(*self._outputs(outputs, frame)).to_native(), last.to_native()

    def _in_order(
        self, frame: nw.DataFrame[Any], state: nw.DataFrame[Any] | None
    ) -> tuple[list[Array], nw.DataFrame[Any]]:
        """Rows are taken in the order of `order`, and the outputs stand as the frame does."""
        rows = order_of(frame, self.order) if self.order else None
        if rows is None:
            return self._scan(frame, state)
        try:
            outputs, last = self._scan(_rows(_handled(frame.select(self.columns)), rows), state)
        except BadRowError as error:
            raise error.at(int(rows[error.row])) from None
        back = np.empty_like(rows)
        back[rows] = np.arange(len(rows))
        return [output[back] for output in outputs], last

    def _lazy(self, df: Any, state: Any) -> tuple[Any, Any]:
        """Two queries. A trial on no rows finds their types, and what is wrong with columns before anything runs."""
        import polars as pl

        schema = df.collect_schema()
        if state is not None and not isinstance(state, pl.DataFrame | pl.LazyFrame):
            raise TypeError(f"state must be of df's kind, LazyFrame, got {type(state).__name__}")
        self._check_columns(schema.names())
        trial = None if state is None else pl.DataFrame(schema=state.lazy().collect_schema())
        if trial is not None and not self.by:
            durations = pl.selectors.duration().fill_null(pl.duration(seconds=0))
            trial = trial.clear(1).with_columns(pl.selectors.numeric().fill_null(0), durations)
        names = self.columns or schema.names()[:1]  # one tells at least how many rows there are
        tried, tried_state = self.run(pl.DataFrame(schema={name: schema[name] for name in names}), trial)

        def scan(given: pl.DataFrame) -> tuple[Any, Any]:
            return self.run(given, state.collect() if isinstance(state, pl.LazyFrame) else state)

        columns = [pl.col(name) for name in names]
        states = df.select(columns).map_batches(lambda given: scan(given)[1], schema=tried_state.schema)
        if not self.outputs:
            return df, states
        first, kinds = self.outputs[0], {name: tried.schema[name] for name in self.outputs}
        outputs = pl.map_batches(
            columns,
            lambda given: scan(pl.DataFrame(given))[0].select(self.outputs).to_struct(first),
            return_dtype=pl.Struct(kinds),
        )
        return df.with_columns(outputs.alias(first)).unnest(first), states

    def _check_columns(self, names: list[str]) -> None:
        for role, given in (
            *self.roles.items(),
            *(("by", name) for name in self.by),
            *(("order_by", name) for name in self.order),
        ):
            if isinstance(given, str) and given not in names:
                raise ValueError(f"{role} must be a column of df, which has {listed(names)}, got {given!r}")
        if clash := [name for name in self.outputs if name in names]:
            raise ValueError(f"{self.naming} must be none of df's columns, {listed(names)}, got {listed(clash)}")

    # ---- on a frame in memory ----------------------------------------------------------------------

    def _scan(self, frame: nw.DataFrame[Any], state: nw.DataFrame[Any] | None) -> tuple[list[Array], nw.DataFrame[Any]]:
        arrays = {role: self._array(frame, role) for role in self.roles}
        given = None
        if state is not None:
            expected = [*self.by, *self.parts]
            if sorted(state.columns) != sorted(expected):
                raise ValueError(f"state must have the columns {listed(expected)}, got {listed(state.columns)}")
            given = self._given(state, arrays)
        if not self.by:
            if state is not None and self.parts and len(state) != 1:
                raise ValueError(f"state must have one row where there is no by, got {len(state)}")
            outputs, last = self._cell(arrays, Streams(len(frame), 1, None), given)
            columns = self._state(last, arrays, frame)
            alone = columns[0].to_frame().with_columns(*columns[1:]) if columns else frame.select()
            return outputs, alone
        numbered = number(frame.select(self.by))
        streams = Streams(len(frame), len(numbered.firsts), numbered.codes)
        keys = _rows(_handled(frame.select(self.by)), numbered.firsts)
        if state is None or given is None:
            outputs, last = self._cell(arrays, streams, None)
        else:
            keys, places = self._merged(state, keys)
            whole = self._begun(len(keys), given)
            for part, earlier in zip(whole, given, strict=True):
                part[: len(earlier)] = earlier
            outputs, met = self._cell(arrays, streams, [part[places] for part in whole])
            last = [part.astype(new.dtype, copy=False) for part, new in zip(whole, met, strict=True)]
            for part, new in zip(last, met, strict=True):
                part[places] = new
        return outputs, keys.with_columns(*self._state(last, arrays, frame))

    def _given(self, state: nw.DataFrame[Any], arrays: dict[str, Any]) -> list[Array]:
        """A state's parts, keys along the first axis; `arrays` are changed to go on from them."""
        raise NotImplementedError

    def _begun(self, keys: int, like: list[Array]) -> list[Array]:
        """Parts of keys that are new."""
        raise NotImplementedError

    def _cell(
        self, arrays: dict[str, Any], streams: Streams, state: list[Array] | None
    ) -> tuple[list[Array], list[Array]]:
        """The outputs and the parts of the last state."""
        raise NotImplementedError

    def _outputs(self, outputs: list[Array], like: nw.DataFrame[Any]) -> list[nw.Series[Any]]:
        return columns_of(self.outputs, outputs, like)

    def _state(self, last: list[Array], arrays: dict[str, Any], like: nw.DataFrame[Any]) -> list[nw.Series[Any]]:
        return columns_of(self.parts, last, like)

    def _array(self, frame: nw.DataFrame[Any], role: str) -> Any:
        given = self.roles[role]
        if not isinstance(given, str):
            return given
        column = frame[given]
        if column.dtype not in _NUMBERS:
            moments = isinstance(column.dtype, nw.Datetime | nw.Date)
            hint = "; a time minus a time is a duration, which toy_scan takes as a value" if moments else ""
            if column.dtype == nw.Object:
                hint = "; decimals as pd.ArrowDtype(pyarrow.decimal128(...)) have a scale that toy_scan can keep"
            if column.dtype == nw.Decimal:
                hint = "; cast decimals to float64, or let toy_scan take them as its value"
            raise TypeError(f"column {given!r} must hold {VALUES}, got {type_of(column)}{hint}")
        if has_nulls(column):
            self._check_nulls(frame, role)
            instead = _nulls.INSTEAD.get(role, 0)
            column = column.fill_null(bool(instead) if column.dtype == nw.Boolean else instead)
        array: Array = column.to_numpy()
        return array

    def _check_nulls(self, frame: nw.DataFrame[Any], role: str) -> None:
        if self.nulls == "raise":
            nulls = self._needed(frame, role, frame[self.roles[role]].is_null().to_numpy())
            if nulls.any():
                (row,) = first_index(nulls)
                raise BadRowError(self.roles[role], row, "a number", "a null", "; nulls='keep' passes over it")

    def _needed(self, frame: nw.DataFrame[Any], role: str, rows: Array) -> Array:
        """Those rows in which the role's cell is read."""
        return rows

    def _merged(self, state: nw.DataFrame[Any], met: nw.DataFrame[Any]) -> tuple[nw.DataFrame[Any], Array]:
        """The state's keys and after them those of `met` that are new; and where those of `met` are among them."""
        keys = _handled(state.select(self.by))
        for name in self.by:
            if keys[name].dtype != met[name].dtype:
                expected = f"{met[name].dtype}, as df's does"
                raise TypeError(f"state's column {name!r} must hold {expected}, got {keys[name].dtype}")
        keys, met = _alike(keys, met)
        both = nw.maybe_reset_index(nw.concat([keys, met], how="vertical"))
        numbered = number(both)
        again = numbered.codes[: len(keys)] != np.arange(len(keys))
        if again.any():
            (row,) = first_index(again)
            raise ValueError(f"state must hold each key once, got {keys.row(row)} again in row {row}")
        return _rows(both, numbered.firsts), numbered.codes[len(keys) :]


def _names(argument: str, given: Any) -> list[str]:
    names = [given] if isinstance(given, str) else [] if given is None else list(given)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must be of str, got {name!r}")
    return names


def known(name: str, given: Any) -> Any:
    """A frame of narwhals, which is asked about nothing else: for each kind it might load a library or warn."""
    if is_known(given):
        return nw.from_native(given)
    raise TypeError(f"{name} must be {KINDS}, got {type(given).__name__}")


def is_known(given: Any) -> bool:
    of = nw.dependencies
    frames = of.is_pandas_dataframe, of.is_polars_dataframe, of.is_polars_lazyframe, of.is_pyarrow_table
    return any(is_frame(given) for is_frame in frames)


def has_nulls(column: nw.Series[Any]) -> bool:
    native = column.to_native()
    if column.implementation.is_pandas() and isinstance(native.dtype, np.dtype):
        array = native.to_numpy()
        return array.dtype.kind == "f" and bool(np.isnan(array).any())
    return column.null_count() > 0


def refuse_nulls(column: nw.Series[Any]) -> None:
    """Raise for nulls in a column of the state; in pandas' columns of NumPy's floats nan, which may be a memory,
    counts as one."""
    of_numpy = column.implementation.is_pandas() and isinstance(column.to_native().dtype, np.dtype)
    if column.null_count() and not of_numpy:
        raise ValueError(f"state's column {column.name!r} must hold no nulls, got {column.null_count()}")


def listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _some(names: list[str]) -> str:
    return listed(names) if len(names) < 4 else f"{names[0]!r} to {names[-1]!r}"


def columns_of(
    names: list[str], arrays: list[Array], like: nw.DataFrame[Any], beside: nw.Series[Any] | None = None
) -> list[nw.Series[Any]]:
    """Columns of like's kind; in pandas of NumPy's types, or of those of Arrow or with a mask that `beside` has."""
    backend = like.implementation
    dtype = beside.to_native().dtype if beside is not None and backend.is_pandas() else np.dtype(float)
    if isinstance(dtype, np.dtype):
        return [nw.Series.from_numpy(name, array, backend=backend) for name, array in zip(names, arrays, strict=True)]
    import pandas as pd

    if isinstance(dtype, pd.ArrowDtype):
        return [column_of_arrow(name, pa.array(array), like, beside) for name, array in zip(names, arrays, strict=True)]
    masked = {"i": pd.arrays.IntegerArray, "f": pd.arrays.FloatingArray}
    return [
        nw.from_native(
            pd.Series(masked[array.dtype.kind](array, np.zeros(len(array), bool)), name=name), series_only=True
        )
        for name, array in zip(names, arrays, strict=True)
    ]


def column_of_arrow(
    name: str, array: Any, like: nw.DataFrame[Any], beside: nw.Series[Any] | None = None
) -> nw.Series[Any]:
    """A column of like's kind that NumPy has no type for; in pandas of Arrow's type if `beside` is of one."""
    if beside is not None and like.implementation.is_pandas():
        import pandas as pd

        if isinstance(beside.to_native().dtype, pd.ArrowDtype):
            whole = pd.arrays.ArrowExtensionArray(array)
            return nw.from_native(pd.Series(whole, name=name), series_only=True)
    column: nw.Series[Any] = nw.from_arrow(pa.table({name: array}), backend=like.implementation)[name]
    return column


def _handled(keys: nw.DataFrame[Any]) -> nw.DataFrame[Any]:
    """Arrow's columns in types whose rows can be taken and joined."""
    native = keys.to_native()
    if keys.implementation.is_pyarrow():
        fields = [field.with_type(arrow_types.handled(field.type)) for field in native.schema]
        native = native.cast(pa.schema(fields))
    if keys.implementation.is_pandas():
        import pandas as pd

        for name in keys.columns:
            kind = native[name].dtype
            if isinstance(kind, pd.ArrowDtype) and kind.pyarrow_dtype != arrow_types.handled(kind.pyarrow_dtype):
                column = pa.chunked_array(pa.array(native[name])).cast(arrow_types.handled(kind.pyarrow_dtype))
                native = native.assign(**{name: pd.arrays.ArrowExtensionArray(column)})
    handled: nw.DataFrame[Any] = nw.from_native(native)
    return handled


def _rows(frame: nw.DataFrame[Any], rows: Array) -> nw.DataFrame[Any]:
    return nw.maybe_reset_index(frame[rows, :])


def _alike(one: nw.DataFrame[Any], other: nw.DataFrame[Any]) -> tuple[nw.DataFrame[Any], nw.DataFrame[Any]]:
    """Columns of one dtype in one type: pandas joins equal categories alone, Arrow has text of two sizes."""
    if one.implementation.is_pyarrow():
        return nw.from_native(one.to_native().cast(other.to_native().schema)), other
    if not one.implementation.is_pandas():
        return one, other
    import pandas as pd

    first, second = one.to_native().copy(), other.to_native().copy()
    for name in one.columns:
        categories = first[name].dtype, second[name].dtype
        if all(isinstance(kind, pd.CategoricalDtype) for kind in categories) and categories[0] != categories[1]:
            union = pd.api.types.union_categoricals([first[name], second[name]]).dtype
            first[name], second[name] = first[name].astype(union), second[name].astype(union)
    return nw.from_native(first), nw.from_native(second)
