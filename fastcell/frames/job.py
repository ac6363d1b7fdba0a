"""A scan of a frame: columns to arrays, keys to numbers, and back."""

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from fastcell._checks import ALLOWED, VALUES, Array, first_index, other_rules
from fastcell.frames import arrow_types
from fastcell.frames.keys import number, type_of
from fastcell.scan import gated_scan, toy_scan

KINDS = "a pandas.DataFrame, polars.DataFrame, polars.LazyFrame or pyarrow.Table"
MEMORY = "memory"
_NUMBERS = (
    *(nw.Int8, nw.Int16, nw.Int32, nw.Int64, nw.UInt8, nw.UInt16, nw.UInt32, nw.UInt64),
    *(nw.Float32, nw.Float64, nw.Boolean),
)
_LOW = {"control": -1, "emit": 0}
_AT_NULL = {"forget": 1}
_VALUE_IS_NOT_READ = (-1, 0)  # rules of control
_EXACT = 2**53  # up to here each integer is a float64


class BadRowError(ValueError):
    """A cell that can't be taken: which, what it must be and what it is."""

    def __init__(self, column: str, row: int, expected: str, got: str, hint: str = "") -> None:
        super().__init__(f"column {column!r} must be {expected}, got {got} in row {row}{hint}")
        self.column, self.row, self.expected, self.got = column, row, expected, got


class Job:
    """One checked call: `kind` of scan, a column or a number for each role, and what goes with them."""

    def __init__(
        self, kind: str, roles: dict[str, Any], by: Any, name: Any, nulls: Any, options: dict[str, Any]
    ) -> None:
        self.kind, self.roles, self.options = kind, roles, options
        for role, given in roles.items():
            number = role != "value" and isinstance(given, int | float)
            if not (isinstance(given, str) or number):
                expected = "a column's name" if role == "value" else "a column's name or a number"
                raise TypeError(f"{role} must be {expected}, got {given!r}")
        self.by = [by] if isinstance(by, str) else [] if by is None else list(by)
        for given in (*self.by, name):
            if not isinstance(given, str):
                raise TypeError(f"{'name' if given is name else 'by'} must be of str, got {given!r}")
        if len(set(self.by)) < len(self.by) or MEMORY in self.by:
            raise ValueError(f"by must be different columns, none of them {MEMORY!r}, got {self.by}")
        if nulls not in ("raise", "keep"):
            raise ValueError(f"nulls must be 'raise' or 'keep', got {nulls!r}")
        self.name, self.nulls = name, nulls

    @property
    def columns(self) -> list[str]:
        """All columns that are read, each once."""
        return list(dict.fromkeys([*filter(lambda given: isinstance(given, str), self.roles.values()), *self.by]))

    def run(self, df: Any, state: Any) -> tuple[Any, Any]:
        """The frame with one column more, and the state, of df's kind."""
        frame = _known("df", df)
        if isinstance(frame, nw.LazyFrame):
            return self._lazy(df, state)
        if state is not None:
            state = _known("state", state)
            if state.implementation != frame.implementation or isinstance(state, nw.LazyFrame):
                got = type(state.to_native()).__name__
                raise TypeError(f"state must be of df's kind, {type(df).__name__}, got {got}")
        self._check_columns(frame.columns)
        y, state = self._scan(frame, state)
        column = nw.Series.from_numpy(self.name, y, backend=frame.implementation)
        return frame.with_columns(column).to_native(), state.to_native()

    def _lazy(self, df: Any, state: Any) -> tuple[Any, Any]:
        """Two queries. A trial on no rows finds their types, and what is wrong with columns before anything runs."""
        import polars as pl

        schema = df.collect_schema()
        if state is not None and not isinstance(state, pl.DataFrame | pl.LazyFrame):
            raise TypeError(f"state must be of df's kind, LazyFrame, got {type(state).__name__}")
        self._check_columns(schema.names())
        trial = None if state is None else pl.DataFrame(schema=state.lazy().collect_schema())
        if trial is not None and not self.by:
            trial = trial.clear(1).with_columns(pl.selectors.numeric().fill_null(0))
        tried, tried_state = self.run(pl.DataFrame(schema={name: schema[name] for name in self.columns}), trial)

        def scan(given: pl.DataFrame) -> tuple[Any, Any]:
            return self.run(given, state.collect() if isinstance(state, pl.LazyFrame) else state)

        columns = [pl.col(name) for name in self.columns]
        y = pl.map_batches(
            columns, lambda given: scan(pl.DataFrame(given))[0][self.name], return_dtype=tried.schema[self.name]
        )
        states = df.select(columns).map_batches(lambda given: scan(given)[1], schema=tried_state.schema)
        return df.with_columns(y.alias(self.name)), states

    def _check_columns(self, names: list[str]) -> None:
        for role, given in (*self.roles.items(), *(("by", name) for name in self.by)):
            if isinstance(given, str) and given not in names:
                raise ValueError(f"{role} must be a column of df, which has {_listed(names)}, got {given!r}")
        if self.name in names:
            raise ValueError(f"name must be none of df's columns, {_listed(names)}, got {self.name!r}")

    # ---- on a frame in memory ----------------------------------------------------------------------

    def _scan(self, frame: nw.DataFrame[Any], state: nw.DataFrame[Any] | None) -> tuple[Array, nw.DataFrame[Any]]:
        arrays = {role: self._array(frame, role) for role in self.roles}
        memories = None if state is None else self._memories(state)
        if memories is not None and memories.dtype.kind == "f":
            self._go_on_in_floats(arrays)
        if not self.by:
            if memories is not None and len(memories) != 1:
                raise ValueError(f"state must have one row where there is no by, got {len(memories)}")
            y, last = self._cell(arrays, None, None if memories is None else memories[0])
            return y, nw.from_dict({MEMORY: np.atleast_1d(last)}, backend=frame.implementation)
        numbered = number(frame.select(self.by))
        met = _rows(_handled(frame.select(self.by)), numbered.firsts)
        if state is None or memories is None:
            y, last = self._cell(arrays, numbered.codes, None)
            return y, _with_memory(met, last)
        known, places = self._merged(state, met)
        everything = np.zeros(len(known), memories.dtype)
        everything[: len(memories)] = memories
        y, last = self._cell(arrays, numbered.codes, everything[places])
        everything = everything.astype(last.dtype)
        everything[places] = last
        return y, _with_memory(known, everything)

    def _go_on_in_floats(self, arrays: dict[str, Any]) -> None:
        """Integers after a chunk of floats are floats, as they would be in one column with those."""
        deciding = [arrays["value"]] if self.kind == "toy" else arrays.values()
        if any(np.asarray(array).dtype.kind == "f" for array in deciding):
            return
        value = arrays["value"]
        inexact = (value > _EXACT) | (value < -_EXACT)
        if inexact.any():
            (row,) = first_index(inexact)
            expected = "an integer of at most 2**53, as the state's memory is float64"
            raise BadRowError(self.roles["value"], row, expected, f"{value[row]}")
        arrays["value"] = value.astype(np.float64)

    def _cell(self, arrays: dict[str, Any], codes: Array | None, state: Any) -> tuple[Array, Any]:
        scan = toy_scan if self.kind == "toy" else gated_scan
        try:
            return scan(*arrays.values(), keys=codes, state=state, **self.options)
        except ValueError:
            for role, low in _LOW.items() if self.kind == "toy" and self.options["strict"] else ():
                bad = other_rules(arrays[role], low)
                if bad.any() and not isinstance(self.roles[role], str):
                    raise ValueError(f"{role} must be {ALLOWED[low]}, got {self.roles[role]!r}") from None
                if bad.any():
                    (row,) = first_index(bad)
                    raise BadRowError(self.roles[role], row, ALLOWED[low], f"{arrays[role][row]:g}") from None
            raise
        except OverflowError as error:
            raise OverflowError(f"column {self.roles['value']!r}: {error}") from None

    def _array(self, frame: nw.DataFrame[Any], role: str) -> Any:
        given = self.roles[role]
        if not isinstance(given, str):
            return given
        column = frame[given]
        if column.dtype not in _NUMBERS:
            raise TypeError(f"column {given!r} must hold {VALUES}, got {type_of(column)}")
        if _has_nulls(column):
            if self.nulls == "raise":
                nulls = column.is_null().to_numpy()
                if role == "value" and self.kind == "toy":
                    nulls = nulls & ~np.isin(self._array(frame, "control"), _VALUE_IS_NOT_READ)
                if nulls.any():
                    (row,) = first_index(nulls)
                    raise BadRowError(given, row, "a number", "a null", "; nulls='keep' passes over it")
            instead = _AT_NULL.get(role, 0)
            column = column.fill_null(bool(instead) if column.dtype == nw.Boolean else instead)
        array: Array = column.to_numpy()
        return array

    # ---- the state ---------------------------------------------------------------------------------

    def _memories(self, state: nw.DataFrame[Any]) -> Array:
        if sorted(state.columns) != sorted([*self.by, MEMORY]):
            raise ValueError(f"state must have the columns {_listed([*self.by, MEMORY])}, got {_listed(state.columns)}")
        memory = state[MEMORY]
        if memory.dtype not in (nw.Float64, nw.Int64):
            raise TypeError(f"state's column {MEMORY!r} must hold float64 or int64, got {memory.dtype}")
        of_numpy = memory.implementation.is_pandas() and isinstance(memory.to_native().dtype, np.dtype)
        if memory.null_count() and not of_numpy:  # there nan, which may be a memory, counts as a null
            raise ValueError(f"state's column {MEMORY!r} must hold no nulls, got {memory.null_count()}")
        return memory.to_numpy()

    def _merged(self, state: nw.DataFrame[Any], met: nw.DataFrame[Any]) -> tuple[nw.DataFrame[Any], Array]:
        """The state's keys and after them those of `met` that are new; and where those of `met` are among them."""
        known = _handled(state.select(self.by))
        for name in self.by:
            if known[name].dtype != met[name].dtype:
                expected = f"{met[name].dtype}, as df's does"
                raise TypeError(f"state's column {name!r} must hold {expected}, got {known[name].dtype}")
        known, met = _alike(known, met)
        both = nw.maybe_reset_index(nw.concat([known, met], how="vertical"))
        numbered = number(both)
        again = numbered.codes[: len(known)] != np.arange(len(known))
        if again.any():
            (row,) = first_index(again)
            raise ValueError(f"state must hold each key once, got {known.row(row)} again in row {row}")
        return _rows(both, numbered.firsts), numbered.codes[len(known) :]


def _known(name: str, given: Any) -> Any:
    """A frame of narwhals, which is asked about nothing else: for each kind it might load a library or warn."""
    of = nw.dependencies
    frames = of.is_pandas_dataframe, of.is_polars_dataframe, of.is_polars_lazyframe, of.is_pyarrow_table
    if any(is_frame(given) for is_frame in frames):
        return nw.from_native(given)
    kind = type(given)
    if kind.__module__.startswith(("dask.dataframe", "dask_expr")):
        raise TypeError(
            f"{name} must be {KINDS}, got a dask {kind.__name__}: where each partition holds all rows of its keys, "
            "give a function that calls this one to df.map_partitions; without keys, fastcell.dask takes columns as "
            "arrays, df['x'].to_dask_array(lengths=True)"
        )
    raise TypeError(f"{name} must be {KINDS}, got {kind.__name__}")


def _has_nulls(column: nw.Series[Any]) -> bool:
    native = column.to_native()
    if column.implementation.is_pandas() and isinstance(native.dtype, np.dtype):
        array = native.to_numpy()
        return array.dtype.kind == "f" and bool(np.isnan(array).any())
    return column.null_count() > 0


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


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


def _with_memory(keys: nw.DataFrame[Any], memories: Array) -> nw.DataFrame[Any]:
    return keys.with_columns(nw.Series.from_numpy(MEMORY, memories, backend=keys.implementation))


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
