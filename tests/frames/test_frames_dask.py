"""fc.frames over Dask dataframes: each key's rows in their order, whatever the partitions and the workers."""

import pickle

import numpy as np
import pytest

pytest.importorskip("dask", reason="Dask's dataframes are what is scanned")

import dask
import dask.dataframe as dd
import pandas as pd

import fastcell as fc
from fastcell.frames.bad_row import BadRowError

T = 600


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def table(rows=T, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "user": rng.choice(["ann", "bob", "cid", "dan"], rows),
            "shop": rng.integers(0, 3, rows),
            "x": rng.standard_normal(rows).astype(np.float32),
            "rule": rng.choice([-1, 0, 1, 1, 1, 2], rows),
            "show": rng.integers(0, 2, rows),
            "t": np.sort(rng.integers(0, 1000, rows)),
        },
        index=pd.Index(np.arange(rows) + 100, name="row"),
    )


def toy(df, by, state=None):
    return fc.frames.toy_scan(df, "x", "rule", "show", by=by, state=state)


def agree(found, wanted, by):
    """Rows in the order of the index; the state's in the order of keys."""
    for lazily in found:
        assert lazily._meta.dtypes.tolist() == lazily.compute().dtypes.tolist()
    frame, state = dask.compute(*found)
    pd.testing.assert_frame_equal(frame.sort_index(), wanted.frame, check_dtype=False)
    assert frame["y"].dtype == wanted.frame["y"].dtype
    state, last = (part.sort_values(by).reset_index(drop=True) if by else part for part in (state, wanted.state))
    pd.testing.assert_frame_equal(state.reset_index(drop=True), last, check_dtype=False)


@pytest.mark.parametrize("by", [["user"], ["user", "shop"], []], ids=str)
@pytest.mark.parametrize("partitions", [1, 5])
def test_a_scan_is_the_one_of_the_whole(by, partitions):
    frame = table()
    agree(toy(dd.from_pandas(frame, npartitions=partitions), by), toy(frame, by), by)


@pytest.mark.parametrize("by", [["user"], []], ids=str)
@pytest.mark.parametrize("kind", ["dask", "pandas"])
def test_a_state_goes_on(by, kind):
    frame = table()
    first, second = frame.iloc[:250], frame.iloc[250:]
    _, state = toy(dd.from_pandas(first, npartitions=3), by)
    state = state.compute() if kind == "pandas" else state
    found = toy(dd.from_pandas(second, npartitions=4), by, state)
    whole = toy(frame, by)
    agree(found, fc.frames.Frames(whole.frame.iloc[250:], whole.state), by)


def test_gates_and_times():
    frame = table()
    found = fc.frames.gated_scan(dd.from_pandas(frame, npartitions=4), "x", half_life=9, time="t", by="user")
    agree(found, fc.frames.gated_scan(frame, "x", half_life=9, time="t", by="user"), ["user"])


@pytest.mark.parametrize("by", ["user", None])
def test_times_with_a_zone_go_on(by):
    frame = table()
    frame["t"] = pd.to_datetime(frame["t"], unit="s", utc=True)
    scan = {"value": "x", "half_life": "9s", "time": "t", "by": by}
    whole = fc.frames.gated_scan(frame, **scan)
    first, second = (dd.from_pandas(part, npartitions=3) for part in (frame.iloc[:250], frame.iloc[250:]))
    _, state = fc.frames.gated_scan(first, **scan)
    found = fc.frames.gated_scan(second, **scan, state=state)
    agree(found, fc.frames.Frames(whole.frame.iloc[250:], whole.state), by)


def test_an_lstm():
    frame, lstm = table(), fc.LSTM(2, 3, seed=0)
    found = fc.frames.lstm(dd.from_pandas(frame, npartitions=4), lstm, ["x", "show"], by="user")
    wanted = fc.frames.lstm(frame, lstm, ["x", "show"], by="user")
    scored, state = dask.compute(*found)
    pd.testing.assert_frame_equal(scored.sort_index(), wanted.frame, check_dtype=False)
    for part, want in ((state, wanted.state),):
        order = [each.sort_values("user").reset_index(drop=True) for each in (part, want)]
        pd.testing.assert_frame_equal(*order, check_dtype=False)


@pytest.mark.parametrize("by", ["user", None])
def test_a_bad_row_is_named_by_its_number_in_the_whole(by):
    frame = table()
    frame.iloc[333, frame.columns.get_loc("rule")] = 7
    scan = toy(dd.from_pandas(frame, npartitions=4), by)
    with pytest.raises(ValueError, match=r"^column 'rule' must be -1, 0, 1 or 2, got 7 in row 333$"):
        scan.frame.compute()


def test_what_is_wrong_with_columns_is_told_at_once():
    frame = dd.from_pandas(table(), npartitions=2)
    with pytest.raises(ValueError, match=r"^value must be a column of df"):
        fc.frames.toy_scan(frame, "none", "rule", "show")
    with pytest.raises(TypeError, match=r"^column 'user' must hold"):
        fc.frames.toy_scan(frame, "user", "rule", "show")
    with pytest.raises(TypeError, match=r"^state must be a dask or pandas DataFrame, got dict$"):
        fc.frames.toy_scan(frame, "x", "rule", "show", by="user", state={})


def test_an_error_goes_from_process_to_process():
    error = pickle.loads(pickle.dumps(BadRowError("a", 3, "a number", "a null", "; so")))
    assert str(error) == "column 'a' must be a number, got a null in row 3; so"
    assert (error.column, error.row) == ("a", 3)


def test_two_processes():
    distributed = pytest.importorskip("distributed", reason="workers are its processes")
    frame, by = table(), ["user"]
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        dask.config.set(scheduler=None),
    ):
        agree(toy(dd.from_pandas(frame, npartitions=5), by), toy(frame, by), by)
        frame.iloc[333, frame.columns.get_loc("rule")] = 7
        with pytest.raises(ValueError, match="got 7 in row 333"):
            toy(dd.from_pandas(frame, npartitions=5), by).frame.compute()
