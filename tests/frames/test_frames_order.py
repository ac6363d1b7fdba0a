"""`order_by`: the answers of rows that were sorted before, in the order in which they were given."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fastcell as fc
from tests.helpers.frames import KINDS, ROLES, collected, rows, y_of

T = 400
NET = fc.LSTM(2, 3, seed=0)
JOBS = {
    "toy_scan": lambda df, **more: fc.frames.toy_scan(df, **ROLES, **more),
    "gated_scan": lambda df, **more: fc.frames.gated_scan(df, "v", half_life="5us", time="at", **more),
    "lstm": lambda df, **more: fc.frames.lstm(df, NET, ["v", "e"], output="y", **more),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def shuffled(seed=0):
    """Events in no order, `at` with many ties."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "k": rng.choice(["a", "b", "c"], T),
            "v": rng.integers(-40, 40, T),
            "c": rng.choice(np.array([-1, 0, 1, 1, 1], np.int8), T),
            "e": rng.integers(0, 2, T, dtype=np.int8),
            "at": pa.array(rng.integers(0, 60, T) + 100 * seed, pa.timestamp("us")),
            "n": rng.choice(["x", "y", "Z", ""], T),
            "row": np.arange(T),
        }
    )


def stable(table, names):
    """Row numbers in order, by Python."""
    cells = [table[name].to_pylist() for name in names]
    return np.array(sorted(range(len(table)), key=lambda row: tuple(column[row] for column in cells)))


def values(column):
    return [[float(number) for number in cell] if np.ndim(cell) else cell for cell in column]


def told(text):
    return pytest.raises(ValueError, match=text)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(("by", "names"), [(None, "at"), ("k", ["at"]), (["k", "n"], ["at", "n"])], ids=str)
def test_the_answers_of_sorted_rows(kind, job, by, names):
    table, run = shuffled(), JOBS[job]
    rows_in_order = stable(table, [names] if isinstance(names, str) else names)
    ordered = run(table.take(rows_in_order), by=by)
    result = run(kind(table), by=by, order_by=names)
    frame = collected(result.frame)
    expected = [None] * T
    for row, cell in zip(rows_in_order, ordered.frame["y"].to_pylist(), strict=True):
        expected[row] = cell
    assert values(frame["y"].to_pylist() if isinstance(frame, pa.Table) else [*frame["y"]]) == expected
    np.testing.assert_array_equal(frame["row"].to_numpy(), np.arange(T))
    assert rows(result.state) == ordered.state.to_pylist()
    plain = collected(run(kind(table.take(rows_in_order)), by=by).frame)
    kinds = (frame["y"].type, plain["y"].type) if isinstance(frame, pa.Table) else (frame["y"].dtype, plain["y"].dtype)
    assert kinds[0] == kinds[1]
    again = run(kind(shuffled(1)), by=by, order_by=names, state=result.state)  # tomorrow's
    later = shuffled(1)
    whole = run(later.take(stable(later, [names] if isinstance(names, str) else names)), by=by, state=ordered.state)
    assert rows(again.state) == whole.state.to_pylist()


ORDERS = {
    "ints": [3, -1, 2**62, 0],
    "uint64": pa.array([2**64 - 1, 0, 5, 2**63], pa.uint64()),
    "floats": [0.5, -np.inf, -0.0, 3.0],
    "bool": [True, False, True, False],
    "text": ["b", "", "ä", "B"],
    "dates": [dt.date(2020, 1, 1), dt.date(1960, 1, 1), dt.date(2020, 1, 2), dt.date(1970, 1, 1)],
    "zones": pa.array([5, 0, 7, -1], pa.timestamp("ns", "Europe/Berlin")),
    "durations": pa.array([5, 0, 7, -1], pa.duration("ms")),
    "decimals": [decimal.Decimal("1.50"), decimal.Decimal("-1.50"), decimal.Decimal("9.00"), decimal.Decimal("0.00")],
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders_of_any_type(kind, name):
    choices = pa.array(ORDERS[name]) if isinstance(ORDERS[name], list) else ORDERS[name]
    table = shuffled().select(["v", "c", "e"])
    picks = np.random.default_rng(3).integers(0, len(choices), T)
    table = table.append_column("o", choices.take(pa.array(picks)))
    result = fc.frames.toy_scan(kind(table), **ROLES, order_by="o")
    taken = stable(table, ["o"])
    expected = np.empty(T, np.int64)
    expected[taken] = fc.frames.toy_scan(table.take(taken), **ROLES).frame["y"].to_numpy()
    y = y_of(result)
    assert (y.dtype, y.shape) == (np.dtype(np.int64), (T,))
    np.testing.assert_array_equal(y, expected)


def test_rows_that_are_in_order_are_not_moved(monkeypatch):
    table = shuffled().sort_by([("at", "ascending"), ("n", "ascending")])
    monkeypatch.setattr(fc.frames.api._jobs("base"), "_rows", None)
    result = fc.frames.toy_scan(table, **ROLES, order_by=["at", "n"])
    assert result.frame.equals(fc.frames.toy_scan(table, **ROLES).frame)


def test_a_pandas_index_stays():
    frame = shuffled().to_pandas().set_index("row").iloc[::-1]
    result = fc.frames.toy_scan(frame, **ROLES, order_by=["at", "n"]).frame
    assert result.index.equals(frame.index)
    whole = fc.frames.toy_scan(frame.reset_index(), **ROLES, order_by=["at", "n"]).frame
    np.testing.assert_array_equal(result["y"].to_numpy(), whole["y"].to_numpy())


def test_a_row_is_named_as_the_frame_has_it(kind):
    table = pa.table({"v": [1, 2, 3], "c": [1, 1, 9], "e": [1, 1, 1], "t": [3, 2, 1]})
    with pytest.raises(Exception, match=r"column 'c' must be .*, got 9 in row 2"):
        collected(fc.frames.toy_scan(kind(table), **ROLES, order_by="t").frame)
    nulls = table.set_column(3, "t", pa.array([3, None, 1]))
    with pytest.raises(Exception, match=r"column 't' must be something to order by, got a null in row 1"):
        collected(fc.frames.toy_scan(kind(nulls), **ROLES, nulls="keep", order_by="t").frame)


def test_what_is_no_order(kind):
    table = shuffled().append_column("cat", shuffled()["n"].dictionary_encode())
    with told("^order_by must be a column of df, which has 'k'.*, got 'none'"):
        fc.frames.toy_scan(kind(table), **ROLES, order_by=["at", "none"])
    with pytest.raises(TypeError, match=r"^order_by must be of str, got 3"):
        fc.frames.toy_scan(kind(table), **ROLES, order_by=[3])
    with pytest.raises(TypeError, match=r"^column 'cat' must hold numbers, times or text, to be ordered by, got"):
        fc.frames.toy_scan(kind(table), **ROLES, order_by="cat")


def test_nan_and_objects_are_no_order():
    bad = {"v": [1, 2], "c": [1, 1], "e": [1, 1], "t": [1.0, np.nan]}
    for frame, got in ((pd.DataFrame(bad), "a null"), (pl.DataFrame(bad), "nan"), (pa.table(bad), "nan")):
        with told(f"^column 't' must be something to order by, got {got} in row 1$"):
            fc.frames.toy_scan(frame, **ROLES, order_by="t")
    with pytest.raises(TypeError, match=r"^column 't' must hold numbers, times or text, to be ordered by, got"):
        fc.frames.toy_scan(pd.DataFrame({**bad, "t": [1, "a"]}), **ROLES, order_by="t")


def test_empty_frames(kind):
    result = fc.frames.toy_scan(kind(shuffled().slice(0, 0)), **ROLES, by="k", order_by=["at", "n"])
    assert rows(result.frame) == rows(result.state) == []


@pytest.mark.parametrize("by", [None, "k"])
def test_dask(by):
    dd = pytest.importorskip("dask.dataframe")
    frame = shuffled().to_pandas()
    expected, state = fc.frames.toy_scan(frame, **ROLES, by=by, order_by=["at", "n"])
    result, last = fc.frames.toy_scan(dd.from_pandas(frame, npartitions=3), **ROLES, by=by, order_by=["at", "n"])
    found = result.compute().sort_values("row")
    assert found["y"].dtype == np.int64
    np.testing.assert_array_equal(found["y"].to_numpy(), expected["y"].to_numpy())
    assert sorted(last.compute()["memory"]) == sorted(state["memory"])


def test_streams_of_batches_are_checked():
    table = shuffled().sort_by([("at", "ascending"), ("n", "ascending")])
    for size in (1, 7, T):
        frame, _ = fc.frames.toy_scan(table.to_reader(size), **ROLES, by="k", order_by=["at", "n"])
        assert frame.read_all().equals(fc.frames.toy_scan(table, **ROLES, by="k").frame)
        wrong = pa.concat_tables([table.slice(0, 140), table.slice(60, 50)])
        frame, _ = fc.frames.toy_scan(wrong.to_reader(size), **ROLES, by="k", order_by=["at", "n"])
        earlier, later = (str(table["at"].cast(pa.string())[row]) for row in (139, 60))
        with told(rf"^column 'at' must be no less than {earlier}, as the row before has it, got {later} in row 140$"):
            frame.read_all()
    ties = pa.table({"v": [1] * 3, "c": [1] * 3, "e": [1] * 3, "t": [0, 1, 1], "n": ["z", "b", "a"]})
    with told(r"^column 'n' must be no less than 'b', as the row before has it, got 'a' in row 2$"):
        fc.frames.toy_scan(ties.to_reader(1), **ROLES, order_by=["t", "n"]).frame.read_all()
    (batch,) = ties.to_batches()  # in memory, so it is put in order
    assert fc.frames.toy_scan(batch, **ROLES, order_by=["t", "n"]).frame["y"].to_pylist() == [1, 3, 2]
    nulls = pa.table({"v": [1] * 2, "c": [1] * 2, "e": [1] * 2, "t": [0, None]})
    with told(r"^column 't' must be something to order by, got a null in row 1$"):
        fc.frames.toy_scan(nulls.to_reader(1), **ROLES, order_by="t").frame.read_all()
