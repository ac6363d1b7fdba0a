"""Scans and LSTMs over dataframes: pandas, Polars (eager, lazy), Arrow's tables and batches in, the same kind out."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["Frames", "gated_scan", "lstm", "toy_scan"]


class Frames(NamedTuple):
    """What a scan of a frame returns."""

    frame: Any
    """The frame that was given with one column more."""
    state: Any
    """A frame of the same kind: the columns of `by` and "memory", a row for each key. Pass it on as `state=`. For a
    batch it is a pyarrow.Table; for a stream an object that ``pyarrow.table(state)`` reads, and that raises ValueError
    as long as `frame` has not been read to its end."""


def toy_scan(
    df: Any,
    value: str,
    control: str | float,
    emit: str | float,
    by: str | Sequence[str] | None = None,
    state: Any = None,
    *,
    name: str = "y",
    nulls: str = "raise",
    fill: float | timedelta | Decimal = 0.0,
    strict: bool = True,
    low: float | timedelta | Decimal | None = None,
    high: float | timedelta | Decimal | None = None,
    threads: int | None = None,
    order_by: str | Sequence[str] | None = None,
) -> Frames:
    """Run the toy memory cell down a frame: a cumulative sum with reset and emit, for each key a memory of its own.

    In each row, ``control = 1`` adds the value to the memory of the row's key, 0 keeps that memory, -1 resets it to 0,
    2 restarts it from the value; then ``emit = 1`` outputs it::

        a_t = a_{t-1} + value_t  |  a_{t-1}  |  0  |  0 + value_t      for control_t = 1 | 0 | -1 | 2
        y_t = a_t  |  fill                                              for emit_t = 1 | 0

    Parameters
    ----------
    df : pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.Table, dask.dataframe.DataFrame or batches
        Rows in the order of time. Batches are a pyarrow.RecordBatch or RecordBatchReader, or what else has
        ``__arrow_c_stream__``, such as a relation of DuckDB.
    value, control, emit : str
        Columns of integers, floats or bool; for the last two a number for all rows, too. Values may be durations:
        outputs and memories are such, too, and `fill`, `low` and `high` are datetime.timedelta or 0. Or decimals:
        outputs and memories have their precision and scale, and sums are exact, of at most 64 bits.
    by : str or list of str, optional
        Columns whose values together are a row's key: text, dates, categories, numbers, anything that can be
        compared, in any order of rows. A null is a key like any other. Without, all rows have one memory.
    state : frame of df's kind, optional
        What an earlier call returned, or a frame of the columns of `by` and "memory". Keys that it doesn't hold
        start from 0; keys that df doesn't hold stay in the state. For a LazyFrame it may be eager, too; for batches
        it is a pyarrow.Table or batches. Values may be integers in one chunk and floats in the next: from the first
        floats on, memories and outputs are float64.
    name : str
        Of the new column.
    nulls : "raise" or "keep"
        What a null in value, control or emit is: an error that names its row, or 0. With "keep" a null value adds
        nothing and a null rule keeps, so that the row shows the memory as it was; where emit is null the row is silent
        and shows `fill`. Nullable integers stay int64 and exact, and no output is null. A value that the row's rule
        doesn't read (control -1 or 0) may always be null. In pandas nan is a null; in Polars and Arrow a number.
    fill, strict, low, high, threads
        As in `fastcell.toy_scan`.
    order_by : str or list of str, optional
        Columns of numbers, times or text, without nulls: rows are taken in their order, those that are equal there as
        they stand, and `frame` stays in its own. A stream's rows must be in that order: the first that is not is an
        error. A Dask dataframe without `by` becomes one partition then. Without, rows are taken as they stand.

    Returns
    -------
    Frames(frame, state)
        `frame` is df with the column `name`: float32 for float32 values, float64 for float64, int64 for integers,
        durations for durations, decimals for decimals; a pandas index stays, and columns are NumPy's, nullable or
        Arrow's there as the values are. `state` lists keys as they were first met, with memories of float64, int64,
        durations or decimals; Arrow's views come as large text or bytes there, and dictionaries of 8 or 16 bits with
        indices of 32. Both are lazy where df is: a query runs when it is collected, once for each of the two, so
        collect the state of one chunk before it goes into the next.

    Raises
    ------
    ValueError
        A column that df hasn't, a rule that is none of those above or a null (its column and row are named; rows
        count from 0), a state with other columns, a key twice or a null for a memory, an integer beyond 2**53 after
        floats.
    TypeError
        Something else than such a frame, a column of a wrong type, a state of another kind or with other types.
    OverflowError
        An integer memory leaves int64, or a duration or decimal its type.
    ImportError
        Without narwhals and pyarrow: `pip install 'fastcell[frames]'`.

    Notes
    -----
    Columns of numbers without nulls are read in place, those in several chunks are first joined. Integer keys that
    lie near each other, dates and categories are numbered through a table in less time than the scan takes, text
    through a hash table in about three times that. A query that is collected, or that `sink_parquet` writes, takes
    its columns as a whole: `help(fastcell.frames)` has it in batches.
    A Dask dataframe is shuffled by its keys, so that its rows come out in another order, each key's in their own, and
    the state has as many partitions; without keys partitions run one after the other. Both are computed when they are
    asked for, best together: ``dask.compute(frame, state)``.
    A RecordBatch gives a RecordBatch. A stream gives a pyarrow.RecordBatchReader of the same batches, which reads them
    as it is read and holds no more than there are keys; what is wrong with columns is told at once. DuckDB reads it,
    too (``other.register("scored", frame)``), through another connection than that of the relation it comes from.
    Sums are those of `fastcell.toy_scan`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rain = pa.table({"town": ["A", "B", "A"], "mm": [2.0, 5.0, 1.0], "wet": [1, 1, 1], "last": [0, 1, 1]})
    >>> frame, state = toy_scan(rain, value="mm", control="wet", emit="last", by="town")
    >>> frame["y"].to_pylist()
    [0.0, 5.0, 3.0]
    >>> state.to_pylist()
    [{'town': 'A', 'memory': 3.0}, {'town': 'B', 'memory': 5.0}]
    >>> toy_scan(rain, "mm", "wet", "last", by="town", state=state).frame["y"].to_pylist()
    [0.0, 10.0, 6.0]
    >>> late = rain.append_column("day", pa.array([2, 1, 1]))
    >>> toy_scan(late, "mm", "wet", 1, order_by="day").frame["y"].to_pylist()
    [8.0, 5.0, 6.0]
    >>> reader, last = toy_scan(rain.to_reader(), "mm", "wet", "last", by="town")  # a batch at a time
    >>> [batch["y"].to_pylist() for batch in reader], pa.table(last)["memory"].to_pylist()
    ([[0.0, 5.0, 3.0]], [3.0, 5.0])
    """
    roles = {"value": value, "control": control, "emit": emit}
    options = {"fill": fill, "strict": strict, "low": low, "high": high, "threads": threads}
    return _run(_jobs("job").ScanJob("toy", roles, by, order_by, name, nulls, options), df, state)


def gated_scan(
    df: Any,
    value: str,
    forget: str | float | None = None,
    input: str | float = 1.0,
    output: str | float = 1.0,
    by: str | Sequence[str] | None = None,
    state: Any = None,
    *,
    half_life: Any = None,
    time: str | None = None,
    name: str = "y",
    nulls: str = "raise",
    threads: int | None = None,
    order_by: str | Sequence[str] | None = None,
) -> Frames:
    """Run the gated recurrence down a frame, for each key a memory of its own.

    ::

        a_t = forget_t * a_{t-1} + input_t * value_t
        y_t = output_t * a_t

    or, at irregular times, ``forget_t = 2**(-(time_t - time before of the same key) / half_life)``.

    Parameters
    ----------
    df : pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.Table, dask.dataframe.DataFrame or batches
        Rows in the order of time, as in `toy_scan`.
    value : str
        A column of integers, floats or bool.
    forget, input, output : str or number
        Gates: a column, or one number for all rows.
    half_life, time : number, text or timedelta; str
        In the place of `forget`: the time after which half of a memory is left, and the column of times. Times are
        numbers, with a half-life in their unit, or dates, datetimes or durations, with one such as "5min" or "1.5h"
        (of ns, us, ms, s, min, h, d) or a timedelta. Times of a key must not go backwards. Its first row forgets
        nothing: it goes on from 0, or from the state.
    nulls : "raise" or "keep"
        What a null is: an error that names its row, or a value or input of 0, a forget gate of 1, an output of 0. At
        a time that is null no time goes by.
    by, state, name, threads, order_by
        As in `toy_scan`.

    Returns
    -------
    Frames(frame, state)
        As `toy_scan` returns it; the new column has the type of `fastcell.gated_scan`'s y, float64 with a half-life.
        The state then has each key's last time, too, in a column "time".

    Raises
    ------
    ValueError, TypeError, OverflowError, ImportError
        As in `toy_scan`.

    Notes
    -----
    Cost as in `toy_scan`, arithmetic as in `fastcell.gated_scan`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> ticks = pa.table({"price": [8.0, 4.0, 4.0], "of": ["a", "b", "a"]})
    >>> gated_scan(ticks, "price", forget=0.5, input=0.5, output=1, by="of").frame["y"].to_pylist()
    [4.0, 2.0, 4.0]
    >>> calls = pa.table({"load": [8.0, 1.0, 1.0], "at": [0, 5, 20]})
    >>> gated_scan(calls, "load", half_life=5, time="at").frame["y"].to_pylist()
    [8.0, 5.0, 1.625]
    """
    job = _jobs("job")
    roles = job.gated_roles(value, forget, input, output, half_life, time)
    return _run(job.ScanJob("gated", roles, by, order_by, name, nulls, {"threads": threads}, half_life), df, state)


def lstm(
    df: Any,
    lstm: Any,
    inputs: str | Sequence[str],
    by: str | Sequence[str] | None = None,
    state: Any = None,
    *,
    output: str | None = None,
    nulls: str = "raise",
    threads: int | None = None,
    order_by: str | Sequence[str] | None = None,
) -> Frames:
    """Run an LSTM down a frame of events, for each key a stream with a memory of its own.

    ``h_t, c_t = LSTM(inputs_t, h, c of the row's key)``

    Parameters
    ----------
    df : pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.Table, dask.dataframe.DataFrame or batches
        Rows in the order of time, as in `toy_scan`.
    lstm : fastcell.LSTM
        It runs forward alone; any number of layers, any precision.
    inputs : str or list of str
        I columns of integers, floats or bool, in the order of the LSTM's inputs.
    by, threads, order_by
        As in `toy_scan`.
    state : frame of df's kind, optional
        What an earlier call returned. Keys that it doesn't hold start from the LSTM's `initial_state`, or zeros; keys
        that df doesn't hold stay in the state.
    output : str, optional
        The name of one list column with a row's outputs. Without, they are columns ``h_0``, ``h_1``, ...
    nulls : "raise" or "keep"
        What a null is: an error that names its row, or 0.

    Returns
    -------
    Frames(frame, state)
        `frame` is df with the outputs, H or P numbers of the LSTM's dtype a row; in pandas, which has no lists,
        `output` is a column of arrays. `state` has the columns of `by` and for each layer and unit ``h_0_0``, ... and
        ``c_0_0``, ...: plain numbers, which every file format holds. Both are lazy where df is, as in `toy_scan`.

    Raises
    ------
    ValueError, TypeError, ImportError
        As in `toy_scan`; TypeError for something else than an LSTM, ValueError for another number of columns.

    Notes
    -----
    A stream's outputs have the bits that it has alone, whatever the chunks. Events out of order are not detected unless
    `order_by` says what the order is. Source: Branco et al. (2020), Interleaved Sequence RNNs for Fraud Detection, for
    a state by key.

    Examples
    --------
    >>> import pyarrow as pa
    >>> import fastcell as fc
    >>> events = pa.table({"card": ["a", "b", "a"], "amount": [1.0, 2.0, 3.0], "online": [0, 1, 1]})
    >>> scored, state = lstm(events, fc.LSTM(2, 1, seed=0), ["amount", "online"], by="card")
    >>> scored.column_names, state.column_names
    (['card', 'amount', 'online', 'h_0'], ['card', 'h_0_0', 'c_0_0'])
    >>> lists, _ = lstm(events, fc.LSTM(2, 1, seed=0), ["amount", "online"], by="card", output="h")
    >>> lists["h"][2].as_py() == [scored["h_0"][2].as_py()]
    True
    """
    return _run(_jobs("lstm_job").LstmJob(lstm, inputs, by, order_by, output, nulls, {"threads": threads}), df, state)


def _run(job: Any, df: Any, state: Any) -> Frames:
    partitions, batches = _jobs("partitions"), _jobs("batches")
    if partitions.is_dask(df):
        return Frames(*partitions.run(job, df, state))
    return Frames(*(batches.run(job, df, state) if batches.is_batches(df) else job.run(df, state)))


def _jobs(module: str) -> Any:
    try:
        return import_module(f"fastcell.frames.{module}")
    except ImportError as error:
        raise ImportError("fastcell.frames needs narwhals and pyarrow: pip install 'fastcell[frames]'") from error
