"""Durations as values of the toy cell: the integers' answers, of the same type; times are none."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import fastcell as fc
from tests.helpers.frames import KINDS, ROLES, collected, rows

T = 300
UNITS = ["s", "ms", "us", "ns"]


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def events(unit, seed=0):
    rng = np.random.default_rng(seed)
    values = pa.array(rng.integers(-40, 40, T), mask=rng.random(T) < 0.1)
    control = rng.choice(np.array([-1, 0, 1, 1, 2], np.int8), T)
    control[values.is_null().to_numpy(zero_copy_only=False)] = 0
    columns = {"k": rng.choice(["a", "b"], T), "v": values.cast(pa.duration(unit)), "c": control}
    return pa.table({**columns, "e": rng.integers(0, 2, T, dtype=np.int8)})


def numbers(table, name="v"):
    place = table.column_names.index(name)
    return table.set_column(place, name, table[name].cast(pa.int64()))


def integers(frame, name, unit):
    """A column of durations in units, which Polars may have made finer."""
    if isinstance(frame, pd.DataFrame):
        return pa.array(frame[name]).cast(pa.duration(unit)).cast(pa.int64()).to_pylist()
    column = frame[name] if isinstance(frame, pa.Table) else frame[name].to_arrow()
    return column.cast(pa.duration(unit)).cast(pa.int64()).to_pylist()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("by", [None, "k"])
def test_the_integers_answers_of_the_same_type(kind, unit, by):
    table = events(unit)
    bounds = {"low": -100, "high": 100, "fill": 7}
    amounts = {name: pd.Timedelta(amount, unit) for name, amount in bounds.items()}
    for given, more in (({}, {}), (bounds, amounts)):
        expected, last = fc.frames.toy_scan(numbers(table), **ROLES, by=by, **given)
        frame, state = fc.frames.toy_scan(kind(table), **ROLES, by=by, **more)
        frame, state = collected(frame), collected(state)
        for found, name, wanted in ((frame, "y", expected), (state, "memory", last)):
            if isinstance(found, pa.Table):
                assert found.schema.field(name).type == pa.duration(unit)
            else:
                assert found[name].dtype == collected(kind(table))["v"].dtype
            assert integers(found, name, unit) == wanted[name].to_pylist()
        later = events(unit, seed=1)
        again = fc.frames.toy_scan(kind(later), **ROLES, by=by, state=state, **more)
        whole = fc.frames.toy_scan(numbers(later), **ROLES, by=by, state=last, **given)
        assert integers(collected(again.state), "memory", unit) == whole.state["memory"].to_pylist()


def test_a_state_in_another_unit():
    table = pa.table({"v": pa.array([5, 6], pa.duration("ms")), "c": [1, 1], "e": [1, 1]})
    seconds = pa.table({"memory": pa.array([2], pa.duration("s"))})
    frame, state = fc.frames.toy_scan(table, **ROLES, state=seconds)
    assert frame["y"].equals(pa.chunked_array([[2005, 2011]], pa.duration("ms")))
    fine = pa.table({"memory": pa.array([2], pa.duration("ns"))})
    with pytest.raises(ValueError, match=r"^state's column 'memory' must hold duration\[ms\], as df's values are"):
        fc.frames.toy_scan(table, **ROLES, state=fine)
    with pytest.raises(TypeError, match=r"^state's column 'memory' must hold duration\[ms\].*, got Int64"):
        fc.frames.toy_scan(table, **ROLES, state=pa.table({"memory": [1]}))
    with pytest.raises(TypeError, match=r"^state's column 'memory' must hold float64 or int64, got Duration"):
        fc.frames.toy_scan(numbers(table), **ROLES, state=state)
    with pytest.raises(ValueError, match=r"^state's column 'memory' must hold no nulls, got 1"):
        fc.frames.toy_scan(table, **ROLES, state=pa.table({"memory": pa.array([None], pa.duration("ms"))}))


@pytest.mark.parametrize("values", [[2**63 - 1, 1], [-(2**63) + 1, -1], [-(2**63) + 1, -2]], ids=str)
def test_overflow_raises(kind, values):
    table = pa.table({"v": pa.array(values, pa.duration("ns")), "c": [1, 1], "e": [1, 1]})
    with pytest.raises(Exception, match=r"column 'v': a memory leaves duration\[ns\]"):
        collected(fc.frames.toy_scan(kind(table), **ROLES).frame)


def test_nulls(kind):
    table = pa.table({"v": pa.array([3, None, 4], pa.duration("ms")), "c": [1, 1, 1], "e": [1, 1, 1]})
    with pytest.raises(Exception, match="column 'v' must be a number, got a null in row 1; nulls='keep'"):
        collected(fc.frames.toy_scan(kind(table), **ROLES).frame)
    result = fc.frames.toy_scan(kind(table), **ROLES, nulls="keep")
    assert [row["y"] for row in rows(result.frame)] == [dt.timedelta(milliseconds=given) for given in (3, 3, 7)]


def test_amounts_that_are_none():
    table = pa.table({"v": pa.array([3, 4], pa.duration("s")), "c": [1, 1], "e": [1, 1]})
    with pytest.raises(TypeError, match=r"^low must be a datetime.timedelta or 0 where values are durations, got 3"):
        fc.frames.toy_scan(table, **ROLES, low=3)
    with pytest.raises(ValueError, match=r"^high must be a whole number of s, as the values are, got datetime"):
        fc.frames.toy_scan(table, **ROLES, high=dt.timedelta(microseconds=1))
    with pytest.raises(TypeError, match=r"^low must be a number or None, got datetime.timedelta"):
        fc.frames.toy_scan(numbers(table), **ROLES, low=dt.timedelta(1))


def test_empty_frames(kind):
    result = fc.frames.toy_scan(kind(events("us").slice(0, 0)), **ROLES, by="k")
    assert rows(result.frame) == rows(result.state) == []


def test_times_are_no_values(kind):
    for moment in (pa.timestamp("us"), pa.timestamp("ns", "UTC")):
        table = pa.table({"v": pa.array([3, 4], moment), "c": [1, 1], "e": [1, 1]})
        for job in (
            lambda frame: fc.frames.toy_scan(frame, **ROLES),
            lambda frame: fc.frames.gated_scan(frame, "v", 0.5),
            lambda frame: fc.frames.lstm(frame, fc.LSTM(1, 1), "v"),
        ):
            with pytest.raises(TypeError, match=r"^column 'v' must hold .*, got Datetime.*; a time minus a time is"):
                job(kind(table))


def test_streams_and_dask():
    dd = pytest.importorskip("dask.dataframe")
    table = events("ns")
    expected, state = fc.frames.toy_scan(table, **ROLES, by="k")
    frame, last = fc.frames.toy_scan(table.to_reader(7), **ROLES, by="k")
    assert frame.read_all().equals(expected)
    assert pa.table(last).equals(state)
    for by in (None, "k"):
        pandas = table.to_pandas()
        whole = fc.frames.toy_scan(pandas, **ROLES, by=by)
        result = fc.frames.toy_scan(dd.from_pandas(pandas, npartitions=3), **ROLES, by=by, state=whole.state)
        again = fc.frames.toy_scan(pandas, **ROLES, by=by, state=whole.state)
        found = result.frame.compute().sort_index()
        assert found["y"].dtype == np.dtype("m8[ns]")
        np.testing.assert_array_equal(found["y"].to_numpy(), again.frame["y"].to_numpy())
