"""Nulls are treated alike in frames and in arrays with masks: `_nulls.py`."""

import re

import numpy as np
import pytest

import fastcell as fc

VALUES = np.array([5, -100, 3, 7, -100, 2, 4, 1])
CONTROL = np.array([1, 1, 1, -1, 0, 1, 2, 1], np.int8)
EMIT = np.array([1, 1, 0, 1, 1, 1, 1, 1], np.int8)
HOLES = {"x1": (1, 4), "x2": (5,), "x3": (3,)}  # the value in step 4 is not read


def masked(array, at):
    mask = np.zeros(array.shape, bool)
    for index in at:
        mask[index] = True
    return np.ma.array(array, mask=mask)


def told(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}")


def is_whole(y):
    """A masked array of which nothing is masked."""
    return type(y) is np.ma.MaskedArray and not np.ma.is_masked(y)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "uint64", ">i4"])
def test_masked_arrays_and_nulls_of_frames_are_passed_over_alike(dtype):
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("narwhals")
    given = {"x1": np.abs(VALUES).astype(dtype), "x2": CONTROL, "x3": EMIT}
    arrays = [masked(array, HOLES[name]) for name, array in given.items()]
    y, state = fc.toy_scan(*arrays, fill=-1, nulls="keep")
    assert is_whole(y)
    assert type(state) is not np.ma.MaskedArray
    assert (y.tolist(), int(state)) == ([5, 5, -1, -1, 0, 0, 4, 5], 5)
    native = np.dtype(dtype).newbyteorder("=")
    frame = pa.table({name: pa.array(a.data.astype(a.dtype.newbyteorder("=")), mask=a.mask) for name, a in
                      zip(given, arrays, strict=True)})  # fmt: skip
    of_frame = fc.frames.toy_scan(frame, "x1", "x2", "x3", fill=-1, nulls="keep")
    assert of_frame.frame["y"].to_pylist() == y.tolist()
    assert of_frame.state["memory"].to_pylist() == [state]
    assert y.dtype == (native if native.kind == "f" else np.int64)


def test_rows_of_three_columns_keys_and_bounds():
    rows = masked(np.stack([VALUES, CONTROL, EMIT], 1).astype(float), [(1, 0), (4, 0), (5, 1), (3, 2)])
    y, _ = fc.toy_scan(rows, nulls="keep")
    assert is_whole(y)
    assert y.tolist() == [5, 5, 0, 0, 0, 0, 4, 5]
    cubes = np.ma.stack([rows, rows], 1)
    assert fc.toy_scan(cubes, nulls="keep").y[:, 1].tolist() == y.tolist()
    keyed = fc.toy_scan(masked(VALUES, [1, 4]), 1, 1, keys=np.arange(8) % 2, low=0, high=6, nulls="keep")
    assert keyed.y.tolist() == [5, 0, 6, 6, 6, 6, 6, 6]


def test_gates_that_are_masked():
    x, f, i = (masked(np.array(values), [1]) for values in ([1.0, 9.0, 4.0], [0.5, 9.0, 0.5], [1.0, 9.0, 1.0]))
    o = masked(np.ones(3), [2])
    y, state = fc.gated_scan(x, f, i, o, nulls="keep")
    assert is_whole(y)
    assert (y.tolist(), float(state)) == ([1.0, 1.0, 0.0], 4.5)
    assert fc.gated_scan([1, 2, 4], masked(np.array([1, 7, 0]), [1]), 1, 1, nulls="keep").y.tolist() == [1, 3, 4]
    assert fc.gated_scan([1.0, 2.0], np.ma.masked, 1, 1, nulls="keep").y.tolist() == [1, 3]


def test_a_masked_element_is_named_and_nothing_is_written():
    out = np.full(8, 7)
    for name, (at, *_) in HOLES.items():
        arrays = {"x1": VALUES, "x2": CONTROL, "x3": EMIT}
        arrays[name] = masked(arrays[name], HOLES[name])
        with told(f"{name} must have no masked elements, got 1, the first at index {at}; nulls='keep' passes over"):
            fc.toy_scan(**arrays, out=out)
    assert (out == 7).all()
    with told("f must have no masked elements, got 2, the first at index (0, 1)"):
        fc.gated_scan(np.ones((2, 2)), masked(np.ones((2, 2)), [(0, 1), (1, 0)]), 1, 1)
    with told("x must have no masked elements, got 1, the first at index (1, 0, 0); nulls='keep' passes over"):
        fc.LSTM(1, 2)(masked(np.ones((2, 1, 1)), [(1, 0, 0)]))


@pytest.mark.parametrize("rule", [-1, 0])
def test_a_masked_value_that_its_rule_does_not_read(rule):
    values = masked(np.array([5.0, np.nan, 1.0]), [1])
    assert fc.toy_scan(values, [1, rule, 1], 1).y.tolist() == ([5, 0, 1] if rule else [5, 5, 6])
    assert fc.toy_scan(values, rule, 1).y.tolist() == [0, 0, 0]
    assert fc.toy_scan(values, masked(np.array([1, 1, 1]), [1]), 1, nulls="keep").y.tolist() == [5, 5, 6]


def test_masks_of_which_nothing_is_masked():
    assert is_whole(fc.toy_scan(np.ma.array(VALUES), CONTROL, EMIT).y)
    assert type(fc.toy_scan(VALUES, np.ma.array(CONTROL), EMIT).y) is np.ndarray
    out = np.empty(8)
    assert fc.gated_scan(np.ma.array(VALUES), 1.0, 1.0, 1.0, out=out).y is out
    with told("out must not overlap an input, got memory shared with x"):
        fc.gated_scan(np.ma.array(out), 1.0, 1.0, 1.0, out=out)
    with told("out must not overlap an input, got memory shared with x1"):
        fc.toy_scan(masked(out, [2]), 1, 1, out=out, nulls="keep")


@pytest.mark.parametrize("options", [{}, {"keys": np.array([0, 1, 0, 2, 1])}])
def test_an_lstm_takes_masked_inputs_for_zeros(options):
    lstm, rng = fc.LSTM(3, 4, seed=0), np.random.default_rng(1)
    x = rng.standard_normal((5, 3), np.float32)
    hole = masked(x, [(1, 0), (3, 2)])
    y, state = lstm(hole, **options, nulls="keep")
    expected, last = lstm(hole.filled(0), **options)
    assert is_whole(y)
    np.testing.assert_array_equal(y.data, expected)
    for part, other in zip(state, last, strict=True):
        np.testing.assert_array_equal(part, other)
    assert type(state[0]) is type(state[1]) is np.ndarray
    assert (hole.data == np.random.default_rng(1).standard_normal((5, 3), np.float32)).all()  # what was given stays


X, LSTM, CELL = np.ones((4, 2, 3), np.float32), fc.LSTM(3, 5, seed=0), fc.LSTMCell(3, 5, seed=0)
STATE = np.zeros((1, 2, 5), np.float32)
ONES = np.ones(4)


def hole(array):
    return masked(np.array(array), [(0,) * np.ndim(array)])


REFUSED = {
    "keys": (lambda: fc.toy_scan(ONES, 1, 1, keys=hole([0, 0, 1, 1])), "keys"),
    "state": (lambda: fc.toy_scan(np.ones((4, 2)), 1, 1, state=hole([5.0, 6.0])), "state"),
    "the LSTM's state": (lambda: LSTM(X, (STATE, hole(STATE))), "state's c"),
    "its lengths": (lambda: LSTM(X, lengths=hole([2, 3])), "lengths"),
    "its mask": (lambda: LSTM(X, mask=hole(np.ones((4, 2), bool))), "mask"),
    "its reset": (lambda: LSTM(X, reset=hole(np.ones((4, 2), bool))), "reset"),
    "its keys": (lambda: LSTM(X[:, 0], keys=hole([0, 0, 1, 1])), "keys"),
    "its first state": (lambda: fc.LSTM(3, 5, initial_state=(hole(np.ones((1, 5))), np.ones((1, 5)))), "initial_"),
    "weights": (lambda: fc.LSTM(3, 5, weights={k: hole(v) for k, v in LSTM.state_dict().items()}), "weight_ih_l0"),
    "a cell's x": (lambda: CELL(hole(X[0])), "x"),
    "rules": (lambda: fc.rules_to_gates(hole([1, 1]), 1), "x2"),
    "a trace": (lambda: fc.toy_trace(hole(ONES), ONES, ONES), "x1"),
    "an LSTM's trace": (lambda: LSTM.trace(hole(X)), "x"),
    "a list of masked arrays": (lambda: fc.toy_scan([ONES, hole(ONES)], 1, 1, nulls="keep"), "x1"),
    "lists of lists of them": (lambda: fc.toy_scan([[ONES], [hole(ONES)]], 1, 1), "x1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_null(name):
    call, argument = REFUSED[name]
    with pytest.raises(ValueError, match=f"^{argument}.* must have no masked elements, got [^;]*$"):
        call()


@pytest.mark.parametrize("mask", [False, True])
def test_what_is_written_has_no_mask(mask):
    """Or what is written there would not be seen."""
    for dtype, call in (
        (np.float64, lambda out: fc.toy_scan(ONES, 1, 1, out=out)),
        (np.float64, lambda out: fc.gated_scan(ONES, 1.0, 1.0, 1.0, out=out)),
        (np.float32, lambda out: LSTM(X, out=out)),
    ):
        out = np.ma.array(np.zeros((4, 2, 5) if dtype == np.float32 else 4, dtype), mask=mask)
        with pytest.raises(TypeError, match=r"^out must be a numpy array, got MaskedArray"):
            call(out)
        assert not out.data.any()


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("step", [CELL.step, lambda *arrays: fc.lstm_step(CELL.params, *arrays)], ids=["step", "lstm_"])
def test_a_step_takes_no_masked_arrays(step, place):
    arrays = [X[0].copy(), np.zeros((2, 5), np.float32), np.zeros((2, 5), np.float32)]
    step(*(array.copy() for array in arrays))  # Numba knows the arrays' types from here on
    given = [hole(array) if k == place else array for k, array in enumerate(arrays)]
    with pytest.raises(TypeError, match=f"^{'xhc'[place]} must be a numpy array, got MaskedArray"):
        step(*given)
    assert not any(np.any(array) for array in given[1:])


def columns():
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    cells = [2**60 + 1, None, 3]
    yield from (pd.array(cells, "Int64"), pd.Series(cells, dtype="Int64"), pd.Series(cells, dtype="int64[pyarrow]"))
    yield from (pl.Series(cells), pa.array(cells), pa.chunked_array([cells]))
    yield from (pd.array([1.0, None], "Float64"), pd.array([True, None], "boolean"), pl.Series([1.0, None]))


def test_columns_with_nulls_are_no_arrays_of_nan():
    for column in columns():
        with told("x1 must have no nulls, got 1, the first at index 1; fill them, or see fastcell.frames, which"):
            fc.toy_scan(column, 1, 1)
        assert fc.toy_scan(column[:1], 1, 1).y.tolist() == np.asarray(column[:1]).tolist()
    pd = pytest.importorskip("pandas")
    np.testing.assert_array_equal(fc.toy_scan(pd.Series([1.0, np.nan]), 1, 1).y, [1, np.nan])  # NumPy's floats


def test_a_policy_that_there_is_not():
    for call in (
        lambda **options: fc.toy_scan(ONES, 1, 1, **options),
        lambda **options: fc.gated_scan(ONES, 1.0, 1.0, 1.0, **options),
        lambda **options: LSTM(X, **options),
    ):
        with told("nulls must be 'raise' or 'keep', got 'drop'"):
            call(nulls="drop")


# ---- Dask ----------------------------------------------------------------------------------------------


@pytest.fixture
def da():
    return pytest.importorskip("dask.array")


@pytest.mark.parametrize("more", [{}, {"low": 0, "high": 6}, {"keys": np.arange(8) % 2}], ids=str)
def test_chunks_with_masks(da, more):
    arrays = {"x1": VALUES, "x2": CONTROL, "x3": EMIT}
    arrays = {name: masked(array, HOLES[name]) for name, array in arrays.items()}
    lazy = {name: da.from_array(array, chunks=3) for name, array in arrays.items()}
    expected = fc.toy_scan(**arrays, **more, nulls="keep")
    count = {"num_keys": 2} if "keys" in more else {}
    for given in (lazy, lazy | {"x2": arrays["x2"]}):
        y, state = fc.dask.toy_scan(**given, **more, **count, nulls="keep")
        assert type(y.compute()) is np.ndarray
        np.testing.assert_array_equal(y, expected.y)
        np.testing.assert_array_equal(state, expected.state)
    with told("x3 must have no masked elements, got 1, the first at index 3; nulls='keep' passes over them"):
        fc.dask.toy_scan(VALUES, CONTROL, lazy["x3"], **more, **count).y.compute()


def test_chunks_with_masks_in_gates_and_in_an_lstm(da):
    gates = [masked(np.linspace(0.1, 1, 16).reshape(8, 2), [(5, k)]) for k in (0, 1, 0)]
    expected = fc.gated_scan(VALUES[:, None] * [1, 2], *gates, nulls="keep")
    y, _ = fc.dask.gated_scan(VALUES[:, None] * [1, 2], *(da.from_array(g, chunks=(3, 1)) for g in gates), nulls="keep")
    np.testing.assert_allclose(y, expected.y, rtol=1e-14)
    x = masked(np.random.default_rng(0).standard_normal((8, 4, 3), np.float32), [(5, 2, 1)])
    for events, streams in ((x, {}), (x[:, 2], {"keys": np.arange(8) % 2})):
        lazy, count = da.from_array(events, chunks=3), {"num_keys": 2} if streams else {}
        y, _ = fc.dask.lstm(LSTM, lazy, **streams, **count, nulls="keep")
        np.testing.assert_array_equal(y, LSTM(events, **streams, nulls="keep")[0])
        at = "(5, 1)" if streams else "(5, 2, 1)"
        with told(f"x must have no masked elements, got 1, the first at index {at}; nulls='keep' passes over them"):
            fc.dask.lstm(LSTM, lazy, **streams, **count)[0].compute()


def test_what_can_not_be_null_in_chunks(da):
    ones = da.ones((4, 2), chunks=2)
    for name, call in {
        "state": lambda: fc.dask.toy_scan(ones, 1, 1, state=da.from_array(hole([5.0, 6.0]))).y,
        "keys": lambda: fc.dask.toy_scan(ones, 1, 1, keys=da.from_array(hole([1, 0, 1, 0]), chunks=2), num_keys=2).y,
        "lengths": lambda: fc.dask.lstm(LSTM, da.from_array(X), lengths=da.from_array(hole([2, 3])))[0],
        "state's h": lambda: fc.dask.lstm(LSTM, da.from_array(X), (da.from_array(hole(STATE)), STATE))[0],
    }.items():
        with told(f"{name} must have no masked elements, got 1"):
            call().compute()
