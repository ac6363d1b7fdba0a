"""The rule x2 = 2, restart: forget, then take x1; and rules that are one number for all steps."""

import numpy as np
import pytest
from numba import njit

import fastcell as fc
from tests.helpers import expected, problems

SHAPES = [(1,), (9,), (70,), (900,), (2100,), (7, 3), (40, 16), (130, 37), (300, 9), (20, 3, 5)]


def inputs(shape, dtype, rules="int8", restarts=0.1):
    rng = np.random.default_rng([3, *shape])
    x1 = rng.integers(-50, 50, shape).astype(dtype)
    x2 = np.where(rng.random(shape) < restarts, 2, rng.choice([-1, 0, 1, 1, 1, 1], shape))
    return x1, x2.astype(rules), rng.integers(0, 2, shape).astype(rules)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("dtypes", [("float32", "int8"), ("float64", "int8"), ("int64", "int8")], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_restart_is_the_oracle_s(shape, dtypes, small, request):
    if not small:
        request.getfixturevalue("large_calls")
    for restarts in (0.003, 0.3):
        arrays = inputs(shape, *dtypes, restarts)
        wanted = expected.toy(*arrays)
        for layout in ("C", "F", "strided", "reversed"):
            for threads in (1, 2, 5):
                scan = fc.toy_scan(*(problems.LAYOUTS[layout](x) for x in arrays), threads=threads)
                expected.agree(scan, wanted, f"{layout}, {threads} threads")


def test_restart_with_keys_and_a_state():
    keys = np.arange(400) * 7 % 13
    for shape in ((400,), (400, 3)):
        arrays = inputs(shape, "float64")
        state = np.full((13, *shape[1:]), 0.5)
        expected.agree(
            fc.toy_scan(*arrays, keys=keys, state=state), expected.toy(*arrays, keys=keys, state=state), str(shape)
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 40)], ids=str)
def test_restart_clears_what_is_no_number(shape, dtype):
    def spread(column):
        return np.broadcast_to(np.reshape(column, (5, *[1] * (len(shape) - 1))), shape)

    x1, x2 = spread([np.nan, 2.0, np.inf, 3.0, -0.0]).astype(dtype), spread(np.int8([1, 2, 1, 2, 2]))
    y, state = fc.toy_scan(x1, x2, 1)
    np.testing.assert_array_equal(y, spread([np.nan, 2, np.inf, 3, 0]))
    assert y.dtype == dtype
    assert not np.signbit(state).any()


def test_restart_does_not_overflow():
    largest = 2**63 - 1
    for shape in ((4,), (4, 33)):
        x1 = np.full(shape, largest)
        y, state = fc.toy_scan(x1, 2, 1)
        assert y.dtype == np.int64
        assert (y == largest).all()
        assert (np.asarray(state) == largest).all()
        with pytest.raises(OverflowError):
            fc.toy_scan(x1, 1, 1)


@pytest.mark.parametrize("shape", [(5,), (3000,), (40, 20), (5, 2, 3), (0,), (0, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_one_rule_for_all_steps(shape, dtype):
    x1, x2, x3 = inputs(shape, dtype)
    for layout in ("C", "F", "strided"):
        x = problems.LAYOUTS[layout](x1)
        for control in (-1, 0, 1, 2, True, 1.0, np.float32(2), np.uint8(1), np.array(0)):
            full = np.full(shape, control)
            expected.agree(fc.toy_scan(x, control, 1), expected.toy(x1, full, np.ones(shape, np.int8)), f"{control}")
            expected.agree(fc.toy_scan(x, control, x3), expected.toy(x1, full, x3), f"{control}, {layout}")
        expected.agree(fc.toy_scan(x, x2, 0, fill=4), expected.toy(x1, x2, np.zeros(shape, np.int8), fill=4), layout)


def test_one_rule_that_is_none_of_the_table():
    x1 = np.ones((3, 2))
    for rule, got in ((3, "3"), (-2, "-2"), (0.5, "0.5"), (np.nan, "nan")):
        with pytest.raises(ValueError, match=rf"^x2 must be -1, 0, 1 or 2, got {got} at index \(0, 0\)$"):
            fc.toy_scan(x1, rule, 1)
        if isinstance(rule, float):
            y, state = fc.toy_scan(x1, rule, 1, state=[5.0, 6.0], strict=False)
            assert (y == [5, 6]).all()
            assert (state == [5, 6]).all()
    with pytest.raises(ValueError, match=r"^x3 must be 0 or 1, got 2 at index 0$"):
        fc.toy_scan([1.0], 1, 2)
    with pytest.raises(ValueError, match=r"^x2 must have the shape of x1, \(3, 2\), got \(1,\)$"):
        fc.toy_scan(x1, [1], 1)
    with pytest.raises(TypeError, match="x2 must hold"):
        fc.toy_scan(x1, "1", 1)


def test_one_rule_of_a_broadcast_x_takes_no_memory():
    with pytest.raises(MemoryError):
        fc.toy_scan(np.broadcast_to(np.float32(1), (2**46,)), 1, 1)


@pytest.mark.parametrize("rules", ["int8", "uint8", "float32", "int64"])
def test_other_rules_keep_unless_strict(rules):
    others = {"int8": [3, -2, 127], "uint8": [3, 255, 128], "float32": [0.5, np.nan, 1e30], "int64": [3, 2**40, -5]}
    x2 = np.array([1, *others[rules], 2]).astype(rules)
    for repeat in (1, 40):
        control = np.repeat(x2[:, None], repeat, axis=1)
        x1 = (np.arange(1.0, 6.0)[:, None] * np.ones(repeat)).astype(rules if control.itemsize > 1 else "float64")
        y, _ = fc.toy_scan(x1, control, np.ones_like(control), strict=False)
        assert (y == np.array([1, 1, 1, 1, 5.0])[:, None]).all()
        with pytest.raises(ValueError, match=r"^x2 must be -1, 0, 1 or 2, got .* at index \(1, 0\)$"):
            fc.toy_scan(x1, control, np.ones_like(control))


def test_gates_and_steps():
    x1, x2, x3 = inputs((200,), "float64")
    f, i, o = fc.rules_to_gates(x2, x3)
    np.testing.assert_array_equal(f, np.isin(x2, (0, 1)))
    np.testing.assert_array_equal(i, np.isin(x2, (1, 2)))
    wanted = expected.toy(x1, x2, x3)
    for got, want in zip(fc.gated_scan(x1, f, i, o), wanted, strict=True):
        np.testing.assert_array_equal(got, want)  # where o is 0, of either sign
    for x2_, x3_ in ((2, [0, 1]), ([2, -1], 1), (1, 0)):
        gates = fc.rules_to_gates(x2_, x3_)
        full = fc.rules_to_gates(*np.broadcast_arrays(x2_, x3_))
        for one, other in zip(gates, full, strict=True):
            assert one.dtype == np.int8
            np.testing.assert_array_equal(one, other)

    @njit
    def stepped(a, y):
        for t in range(len(x1)):
            a, y[t] = fc.toy_step(a, x1[t], x2[t], x3[t])
        return a

    y = np.empty(200)
    a = stepped(0.0, y)
    expected.agree((y, np.float64(a)), wanted)
    assert fc.toy_step(8.0, 2.0, 2, 1) == (2.0, 2.0)
    assert fc.toy_step(8, 2, 2, 0) == (2, 0)


def test_traces_say_restart():
    trace = fc.toy_trace([3, 5, 2, 4], np.int8([1, 2, -1, 0]), 1)
    assert trace.rule.tolist() == ["add", "restart", "reset", "keep"]
    assert trace.a.tolist() == [3, 5, 0, 0]
    lines = trace.table().split("\n")
    assert lines[0].endswith("| rule    emit")
    assert lines[2] == "1      5   2   1 |  0  1  1 |    5    5 | restart output"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_lstm_restarts(dtype):
    x1, x2, x3 = inputs((300,), dtype)
    lstm, factor = fc.LSTM.from_rules(restart=True, dtype=dtype)
    assert (lstm.dtype, lstm.input_size, lstm.hidden_size, lstm.num_layers) == (dtype, 3, 4, 2)
    rows = np.stack([x1, x2, x3], axis=1).astype(dtype)
    y, _ = lstm(rows)
    np.testing.assert_allclose(factor * y[:, 0].astype(float), expected.toy(x1, x2, x3).y, rtol=1e-5, atol=1e-3)
    trace = lstm.trace(rows, layer=1)
    for got, want in zip((trace.f, trace.i, trace.o), fc.rules_to_gates(x2, x3), strict=True):
        np.testing.assert_array_equal(got[:, 0], want)
    alone, factor = fc.LSTM.from_rules(dtype=dtype)
    plain = np.where(x2 == 2, 1, x2)
    same = factor * alone(np.stack([x1, plain, x3], axis=1).astype(dtype))[0]
    np.testing.assert_allclose(same[:, 0], expected.toy(x1, plain, x3).y, rtol=1e-5, atol=1e-3)
