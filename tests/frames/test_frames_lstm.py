"""An LSTM down a frame: a stream for each key, in every kind of frame."""

import numpy as np
import pytest

import fastcell as fc
from fastcell.frames import lstm_job
from tests.helpers import lstms
from tests.helpers.frames import collected

pa = pytest.importorskip("pyarrow")
pytest.importorskip("narwhals")
pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")

KINDS = {
    "pandas": (pd.DataFrame, lambda frame, name: frame[name].to_numpy()),
    "polars": (pl.DataFrame, lambda frame, name: frame[name].to_numpy()),
    "lazy": (pl.LazyFrame, lambda frame, name: frame.collect()[name].to_numpy()),
    "arrow": (pa.table, lambda frame, name: frame[name].to_numpy()),
}
T, K = 60, 7


def _events():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, K, T)
    names = np.array([f"card {k}" for k in range(K)])
    x = lstms.normal((T, 2))
    return codes, {"card": names[codes].tolist(), "amount": x[:, 0].tolist(), "online": (x[:, 1] > 0).tolist()}


def _inputs(columns):
    return np.stack([np.array(columns["amount"]), np.array(columns["online"])], 1).astype(np.float32)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("kind", KINDS)
def test_streams_by_key_in_chunks(kind, precision):
    make, column = KINDS[kind]
    codes, columns = _events()
    start = lstms.normal((2, 3), seed=1), lstms.normal((2, 5), seed=2)
    net = fc.LSTM(2, 5, 2, proj_size=3, precision=precision, initial_state=start, seed=0)
    wanted = net(_inputs(columns), tuple(p[:, None].repeat(K, 1) for p in start), keys=codes)[0]
    state, found = None, []
    for first, last in ((0, 25), (25, 26), (26, T)):
        frame, state = fc.frames.lstm(
            make({name: values[first:last] for name, values in columns.items()}),
            net,
            ["amount", "online"],
            "card",
            state,
        )
        found.append(np.stack([column(frame, f"h_{unit}") for unit in range(3)], 1))
        assert column(frame, "card").tolist() == columns["card"][first:last]
    found = np.concatenate(found)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    order = column(state, "card")
    assert sorted(order) == sorted(set(columns["card"]))
    for key, h in zip(order, column(state, "h_1_2"), strict=True):
        mine = np.array([name == key for name in columns["card"]])
        assert h == wanted[mine][-1, 2]
    names = ["card", *(f"h_{layer}_{unit}" for layer in range(2) for unit in range(3))]
    names += [f"c_{layer}_{unit}" for layer in range(2) for unit in range(5)]
    native = state.collect() if kind == "lazy" else state
    assert list(getattr(native, "column_names", native.columns)) == names


@pytest.mark.parametrize("kind", KINDS)
def test_one_stream_without_by(kind):
    make, column = KINDS[kind]
    _, columns = _events()
    net = fc.LSTM(2, 4, seed=0)
    wanted = net(_inputs(columns))[0]
    first, state = fc.frames.lstm(make({n: v[:20] for n, v in columns.items()}), net, ["amount", "online"])
    second, _ = fc.frames.lstm(make({n: v[20:] for n, v in columns.items()}), net, ["amount", "online"], state=state)
    np.testing.assert_array_equal(column(first, "h_3"), wanted[:20, 3])
    np.testing.assert_array_equal(column(second, "h_3"), wanted[20:, 3])


@pytest.mark.parametrize("by", [None, "card"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_as_one_list_column(kind, by, monkeypatch):
    monkeypatch.setattr(lstm_job, "_LIST_VALUES", 40)  # rows of several arrays of Arrow's
    make, column = KINDS[kind]
    _, columns = _events()
    codes = pd.factorize(np.array(columns["card"]))[0] if by else None  # as they are first met, as in the state
    net = fc.LSTM(2, 3, 2, seed=0)
    wanted, last = net(_inputs(columns), keys=codes)
    frame, state = fc.frames.lstm(make(columns), net, ["amount", "online"], by, output="score")
    native = collected(frame)
    assert list(getattr(native, "column_names", native.columns)) == [*columns, "score"]
    found = native["score"]
    if kind == "pandas":
        assert {cells.dtype for cells in found} == {np.dtype(np.float32)}
    elif kind == "arrow":
        assert found.type == pa.list_(pa.float32())
    else:
        assert found.dtype == pl.List(pl.Float32)
        assert kind != "lazy" or frame.collect_schema()["score"] == pl.List(pl.Float32)
    rows = found.to_pylist() if kind == "arrow" else list(found)
    np.testing.assert_array_equal(np.array([list(row) for row in rows], np.float32), wanted)
    again = fc.frames.lstm(make(columns), net, ["amount", "online"], by, state).frame
    np.testing.assert_array_equal(column(again, "h_1"), net(_inputs(columns), last, keys=codes)[0][:, 1])
    nothing = make(columns).slice(0, 0) if kind == "arrow" else make(columns).head(0)
    assert len(collected(fc.frames.lstm(nothing, net, ["amount", "online"], by, output="score").frame)) == 0


def test_the_state_through_parquet(tmp_path):
    codes, columns = _events()
    net = fc.LSTM(2, 4, seed=0)
    table = pa.table(columns)
    wanted = net(_inputs(columns), keys=codes)
    _, state = fc.frames.lstm(table[:30], net, ["amount", "online"], by="card")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(state, tmp_path / "state.parquet")
    frame, _ = fc.frames.lstm(
        table[30:], net, ["amount", "online"], by="card", state=pq.read_table(tmp_path / "state.parquet")
    )
    np.testing.assert_array_equal(frame["h_1"].to_numpy(), wanted[0][30:, 1])


def test_what_does_not_fit():
    _, columns = _events()
    net, table = fc.LSTM(2, 4, seed=0), pa.table(columns)
    inputs = ["amount", "online"]
    _, state = fc.frames.lstm(table, net, inputs, by="card")
    for arguments, error, match in (
        ((table, "net", inputs), TypeError, "lstm must be a fastcell.LSTM, got str"),
        ((table, fc.LSTM(2, 4, bidirectional=True), inputs), ValueError, "lstm must run forward alone"),
        ((table, fc.LSTM(2, 4, reverse=True), inputs), ValueError, "lstm must run forward alone"),
        ((table, net, "amount"), ValueError, "inputs must be the names of I = 2 columns, got 1"),
        ((table, net, ["amount", 3]), TypeError, "inputs must be of str, got 3"),
        (
            (table, net, ["amount", "price"]),
            ValueError,
            r"inputs\[1\] must be a column of df, which has .*, got 'price'",
        ),
        ((table, net, ["amount", "card"]), TypeError, "column 'card' must hold bool, integers, float32 or float64"),
        ((table, net, inputs, "card", state.drop_columns("c_0_3")), ValueError, "state must have the columns 'card', "),
        (
            (table, net, inputs, "card", state.to_pandas()),
            TypeError,
            "state must be of df's kind, Table, got DataFrame",
        ),
        (
            (table, net, inputs, None, state.drop_columns("card")),
            ValueError,
            "state must have one row where there is no by",
        ),
        (([1, 2], net, inputs), TypeError, "df must be a pandas.DataFrame"),
    ):
        with pytest.raises(error, match=match):
            fc.frames.lstm(*arguments)
    with pytest.raises(ValueError, match=r"output must be none of df's columns, .*, got 'h_0'"):
        fc.frames.lstm(table.append_column("h_0", table["amount"]), net, inputs)
    with pytest.raises(ValueError, match="by must be different columns, none of them 'h_0_0' to 'c_0_3', got"):
        fc.frames.lstm(table.rename_columns(["c_0_1", *inputs]), net, inputs, by="c_0_1")
    holes = table.set_column(1, "amount", pa.array([None, *columns["amount"][1:]]))
    with pytest.raises(ValueError, match="column 'amount' must be a number, got a null in row 0"):
        fc.frames.lstm(holes, net, inputs)
    zero = table.set_column(1, "amount", pa.array([0.0, *columns["amount"][1:]]))
    kept = fc.frames.lstm(holes, net, inputs, nulls="keep").frame["h_2"]
    np.testing.assert_array_equal(kept.to_numpy(), fc.frames.lstm(zero, net, inputs).frame["h_2"].to_numpy())
    empty = fc.frames.lstm(table[:0], net, inputs, by="card")
    assert (empty.frame.num_rows, empty.state.num_rows, empty.frame["h_0"].type) == (0, 0, pa.float32())


@pytest.mark.parametrize("by", [None, "card"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_units_and_no_columns_of_state(kind, by):
    frame, net = KINDS[kind][0](_events()[1]), fc.LSTM(2, 0, seed=0)
    scored, state = fc.frames.lstm(frame, net, ["amount", "online"], by)
    scored, state = fc.frames.lstm(frame, net, ["amount", "online"], by, state)
    assert len(collected(scored)) == T
    assert len(collected(state)) == (K if by else 0)
