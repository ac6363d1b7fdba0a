"""toy_scan and gated_scan against the oracle, and the properties that hold whatever the numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

import fastcell as fc
from tests.helpers import problems

pytestmark = pytest.mark.usefixtures("large_calls")


def accumulator(values):
    return np.float64 if np.dtype(values).kind == "f" else np.int64


def check_toy(x1, x2, x3, **options):
    """Hold toy_scan against the oracle, bit for bit; returns what it returned."""
    y_dtype = x1.dtype.newbyteorder("=") if x1.dtype.kind == "f" else np.int64
    expected_y, expected_state = fc.oracle.toy_scan(*(problems.columns(x).tolist() for x in (x1, x2, x3)))
    before = [x.copy() for x in (x1, x2, x3)]
    scan = fc.toy_scan(x1, x2, x3, **options)
    problems.same(scan.y, expected_y, y_dtype)
    if len(x1):
        problems.same(scan.state, expected_state, accumulator(x1.dtype))
    assert scan.y.shape == x1.shape
    assert np.shape(scan.state) == x1.shape[1:]
    for x, unchanged in zip((x1, x2, x3), before, strict=True):
        np.testing.assert_array_equal(x, unchanged)
    return scan


@pytest.mark.parametrize("shape", problems.SHAPES, ids=str)
@pytest.mark.parametrize("values", ["float32", "float64", "int64"])
def test_toy_scan_shapes(shape, values):
    check_toy(*problems.toy(shape, values))


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("shape", [(1100,), (45, 3), (140, 35), (20, 3, 7)], ids=str)
def test_toy_scan_layouts(shape, layout):
    arrays = problems.toy(shape, "float32")
    check_toy(*(problems.LAYOUTS[layout](x) for x in arrays))
    check_toy(problems.LAYOUTS[layout](arrays[0]), *arrays[1:])
    check_toy(arrays[0], *(problems.LAYOUTS[layout](x) for x in arrays[1:]))


def test_toy_scan_trailing_axes_in_any_order():
    arrays = problems.toy((12, 5, 7), "float32")
    for order in ((0, 2, 1), (1, 0, 2), (2, 1, 0)):
        inverse = np.argsort(order)
        check_toy(*(np.ascontiguousarray(x.transpose(order)).transpose(inverse) for x in arrays))


@pytest.mark.parametrize("threads", [1, 2, 5, 64])
@pytest.mark.parametrize(("shape", "order"), [((40_000,), "C"), ((300, 100), "C"), ((300, 100), "F"), ((9, 20), "F")])
def test_threads_do_not_change_a_bit(threads, shape, order):
    rng = np.random.default_rng(0)
    _, x2, x3 = (np.asarray(x, order=order) for x in problems.toy(shape))
    x1 = np.asarray(rng.standard_normal(shape), order=order)
    expected, scan = fc.toy_scan(x1, x2, x3, threads=1), fc.toy_scan(x1, x2, x3, threads=threads)
    assert scan.y.tobytes() == expected.y.tobytes()
    assert np.asarray(scan.state).tobytes() == np.asarray(expected.state).tobytes()


def test_one_sequence_of_floats_stays_within_the_rounding_of_a_float64_sum():
    rng = np.random.default_rng(0)
    x1, rules, ones = rng.standard_normal(50_000), np.ones(50_000, np.int8), np.ones(50_000, np.int8)
    for x2 in (rules, rng.choice(np.array([-1, 0, 1, 1, 1, 2], np.int8), 50_000)):
        expected, _ = fc.oracle.toy_scan(x1.tolist(), x2.tolist(), ones.tolist())
        y, state = fc.toy_scan(x1, x2, ones)
        bound = 2 * len(x1) * np.finfo(np.float64).eps * np.abs(x1).sum()  # of two ways to add len(x1) numbers
        assert np.abs(y - expected).max() <= bound
        assert y[-1] == state


@pytest.mark.parametrize("T", [1000, 9000])
@pytest.mark.parametrize("threads", [1, 3])
def test_infinite_nan_and_largest_values_follow_the_oracle(T, threads):
    rng = np.random.default_rng(1)
    x1 = rng.choice([1.0, np.inf, -np.inf, np.nan, 1.7e308, -1.7e308, 1e308, -1e308, 5e-324], T)
    x2 = rng.choice([-1, 0, 0, 1, 1, 1, 2], T).astype(np.int8)
    x3 = np.ones(T, np.int8)
    with np.errstate(invalid="ignore"):
        expected_y, expected_state = fc.oracle.toy_scan(x1.tolist(), x2.tolist(), x3.tolist())
    y, state = fc.toy_scan(x1, x2, x3, threads=threads)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(state, expected_state)


def test_a_sum_that_overflows_on_the_way_stays_infinite():
    x1 = np.zeros(2000)
    x1[[700, 900, 1100]] = 1.5e308, 1.5e308, -1.5e308
    y, state = fc.toy_scan(x1, np.ones(2000, np.int8), np.ones(2000, np.int8))
    assert state == np.inf
    np.testing.assert_array_equal(y, np.array(fc.oracle.toy_scan(x1.tolist(), [1] * 2000, [1] * 2000)[0]))


@pytest.mark.parametrize("fill", [np.nan, -1.5, np.float32(2), 7])
@pytest.mark.parametrize("shape", [(300,), (20, 3), (20, 33)], ids=str)
def test_fill(fill, shape):
    x1, x2, x3 = problems.toy(shape, "float32")
    y = fc.toy_scan(x1, x2, x3, fill=fill).y
    np.testing.assert_array_equal(y[x3 == 0], np.float32(fill))
    np.testing.assert_array_equal(y[x3 == 1], fc.toy_scan(x1, x2, x3).y[x3 == 1])


@pytest.mark.parametrize("rules", ["float64", "int8", "uint8"])
def test_not_strict_reads_other_rules_as_keep_and_silent(rules):
    odd = [4, 255 if rules == "uint8" else -2, np.nan if rules == "float64" else 3, 1]
    x2, x3 = np.array(odd, rules), np.array(odd, rules)
    y, state = fc.toy_scan(np.ones(4), x2, x3, state=5.0, strict=False)
    problems.same(y, [0, 0, 0, 6], np.float64)
    assert state == 6


@pytest.mark.parametrize("shape", [(400,), (90, 4)], ids=str)
@pytest.mark.parametrize("values", ["float32", "int64"])
def test_keys(shape, values):
    x1, x2, x3 = problems.toy(shape, values)
    keys = np.random.default_rng(3).integers(0, 7, shape[0])
    expected_y, expected_state = fc.oracle.toy_scan(x1.tolist(), x2.tolist(), x3.tolist(), keys=keys.tolist())
    y, state = fc.toy_scan(x1, x2, x3, keys=keys)
    problems.same(y, expected_y, x1.dtype)
    problems.same(state, expected_state, accumulator(values))
    for key in range(7):
        alone = fc.toy_scan(*(x[keys == key] for x in (x1, x2, x3)))
        problems.same(y[keys == key], alone.y, x1.dtype)
        problems.same(state[key], alone.state, accumulator(values))


def test_keys_with_a_state_that_knows_more_keys():
    y, state = fc.toy_scan([1.0, 2.0], [1, 1], [1, 1], keys=[2, 2], state=[7.0, 8.0, 9.0, 10.0])
    problems.same(y, [10, 12], np.float64)
    problems.same(state, [7, 8, 12, 10], np.float64)


@pytest.mark.parametrize("shape", problems.SHAPES, ids=str)
@pytest.mark.parametrize("values", ["float32", "float64"])
def test_gated_scan_shapes(shape, values):
    arrays = problems.gates(shape, values)
    expected_y, expected_state = fc.oracle.gated_scan(*(problems.columns(x).tolist() for x in arrays))
    for layout in ("C", "F", "strided", "byte-swapped"):
        y, state = fc.gated_scan(*(problems.LAYOUTS[layout](x) for x in arrays))
        if len(shape) == 1 and len(y) >= 512 and layout != "strided":  # eight steps at a time: test_gated_registers.py
            continue
        problems.same(y, expected_y, values)
        if len(y):
            problems.same(state, expected_state, np.float64)


@pytest.mark.parametrize("shape", [(60,), (20, 3), (20, 33)], ids=str)
@pytest.mark.parametrize("gate", [(), (1,), (20, 1), (1, 33), (33,)], ids=str)
def test_gates_broadcast(shape, gate):
    x, f, i, o = problems.gates(shape)
    small = problems.gates(gate or (1,))[1].reshape(gate)
    try:
        whole = np.broadcast_to(small, shape).copy()
    except ValueError:
        with pytest.raises(ValueError, match="f must broadcast to the shape of x"):
            fc.gated_scan(x, small, i, o)
        return
    for order in "CF":
        x, i, o = (np.asarray(a, order=order) for a in (x, i, o))
        for mixed, full in (((small, i, o), (whole, i, o)), ((f, small, small), (f, whole, whole))):
            y, state = fc.gated_scan(x, *mixed)
            problems.same(y, fc.gated_scan(x, *full).y, np.float64)
            problems.same(state, fc.gated_scan(x, *full).state, np.float64)


@pytest.mark.parametrize("shape", [(60,), (20, 3), (20, 33)], ids=str)
def test_rules_are_gates(shape):
    x1, x2, x3 = problems.toy(shape, "float32")
    scan = fc.gated_scan(x1, *fc.rules_to_gates(x2, x3))
    problems.same(scan.y, fc.toy_scan(x1, x2, x3).y, np.float32)
    integers = problems.toy(shape, "int64")
    scan = fc.gated_scan(integers[0], *fc.rules_to_gates(*integers[1:]))
    problems.same(scan.y, fc.toy_scan(*integers).y, np.int64)


def test_a_reset_forgets_nan_and_a_gate_of_zero_does_not():
    for special in (np.nan, np.inf):
        assert fc.toy_scan([special, 1.0], np.int8([1, -1]), np.int8([0, 1])).y[1] == 0
        assert np.isnan(fc.gated_scan([special, 1.0], [1, 0], 0 if special != special else 1, 1).state)


@pytest.mark.parametrize("T", [1, 50])
def test_gated_scan_keys(T):
    arrays = problems.gates((T,))
    keys = np.arange(T) % 3
    expected_y, expected_state = fc.oracle.gated_scan(*(x.tolist() for x in arrays), keys=keys.tolist())
    y, state = fc.gated_scan(*arrays, keys=keys)
    problems.same(y, expected_y, np.float64)
    problems.same(state, expected_state, np.float64)


@pytest.mark.parametrize("view", [np.s_[:], np.s_[::2], np.s_[::-1]])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("values", ["float32", "int64"])
def test_out(view, order, values):
    arrays = problems.toy((20, 33), values)
    expected = fc.toy_scan(*arrays).y
    room = np.full((60, 33), 99, values, order=order)[:40]
    out = room[:20] if view == np.s_[:] else room[view][:20]
    untouched = np.ones(60, bool)
    scan = fc.toy_scan(*arrays, out=out)
    assert scan.y is out
    problems.same(out, expected, values)
    untouched = room.base[40:] if room.base is not None else room[40:]
    assert (untouched == 99).all()


def test_toy_step():
    @njit
    def run(x1, x2, x3):
        a = 0.0
        y = np.empty(len(x1))
        for t in range(len(x1)):
            a, y[t] = fc.toy_step(a, x1[t], x2[t], x3[t])
        return y, a

    arrays = problems.toy((200,))
    y, a = run(*arrays)
    problems.same(y, fc.toy_scan(*arrays).y, np.float64)
    assert a == fc.toy_scan(*arrays).state
    assert fc.toy_step(8.0, 2.0, 1, 1) == (10.0, 10.0)
    assert fc.toy_step(float("nan"), 2.0, -1, 1) == (0.0, 0.0)
    assert fc.toy_step(3, 2, 1, 0) == (5, 0)


@pytest.mark.usefixtures("large_calls")
@pytest.mark.parametrize("keys", [None, np.zeros(300, int)], ids=["", "keys"])
@pytest.mark.parametrize("scan", [fc.toy_scan, fc.gated_scan])
def test_one_column_on_more_axes_has_a_state(scan, keys):
    x1, x2, x3 = problems.toy((300,), "int64")
    gates = (x2, x3) if scan is fc.toy_scan else (x2 > 0, x3, x3)
    state = np.array(7) if keys is None else np.array([7])
    line = scan(x1, *gates, state=state, keys=keys)
    cube = scan(*(array[:, None, None] for array in (x1, *gates)), state=state[..., None, None], keys=keys)
    np.testing.assert_array_equal(cube.y[:, 0, 0], line.y)
    np.testing.assert_array_equal(cube.state[..., 0, 0], line.state)
    assert (cube.y.shape, cube.state.shape) == ((300, 1, 1), (*state.shape, 1, 1))
    assert cube.state.dtype == line.state.dtype == np.int64


# The largest sizes take every path of a kernel: whole vectors, a tail, blocks, segments.
_shapes = st.one_of(st.tuples(st.integers(0, 1500)), st.tuples(st.integers(0, 40), st.integers(0, 40)))
_orders = st.sampled_from("CF")


@given(_shapes, _orders, st.sampled_from(["float32", "float64", "int64"]), st.integers(0, 99), st.data())
def test_cut_anywhere_and_carried_over(shape, order, values, seed, data):
    arrays = [np.asarray(x, order=order) for x in problems.toy(shape, values, seed=seed)]
    cut = data.draw(st.integers(0, shape[0]))
    whole = fc.toy_scan(*arrays)
    first = fc.toy_scan(*(x[:cut] for x in arrays))
    second = fc.toy_scan(*(x[cut:] for x in arrays), state=first.state)
    problems.same(np.concatenate([first.y, second.y]), whole.y, whole.y.dtype)
    problems.same(second.state, whole.state, accumulator(values))


@given(_shapes, _orders, st.integers(0, 99), st.data())
def test_later_input_does_not_change_a_prefix(shape, order, seed, data):
    arrays = [np.asarray(x, order=order) for x in problems.toy(shape, seed=seed)]
    cut = data.draw(st.integers(0, shape[0]))
    problems.same(fc.toy_scan(*arrays).y[:cut], fc.toy_scan(*(x[:cut] for x in arrays)).y, np.float64)


@given(st.integers(1, 40), st.integers(1, 40), _orders, st.integers(0, 99), st.data())
def test_columns_are_independent(T, B, order, seed, data):
    rng = np.random.default_rng(seed)
    # Multiples of 2**-10 that float64 sums exactly: a single column may be added up in another order.
    x1, (_, x2, x3) = rng.integers(-(2**20), 2**20, (T, B)) / 2**10, problems.toy((T, B), seed=seed)
    chosen = data.draw(st.lists(st.integers(0, B - 1), min_size=1, max_size=40))
    whole = fc.toy_scan(*(np.asarray(x, order=order) for x in (x1, x2, x3)))
    some = fc.toy_scan(*(x[:, chosen] for x in (x1, x2, x3)))
    problems.same(some.y, whole.y[:, chosen], np.float64)
    problems.same(some.state, whole.state[chosen], np.float64)


@given(_shapes, st.integers(0, 99), st.integers(-3, 3))
def test_linear_in_x(shape, seed, factor):
    x1, x2, x3 = problems.toy(shape, "int64", seed=seed)
    problems.same(fc.toy_scan(factor * x1, x2, x3).y, factor * fc.toy_scan(x1, x2, x3).y, np.int64)


@given(st.integers(1, 1500), st.integers(0, 99), st.data())
def test_a_reset_forgets(T, seed, data):
    x1, x2, x3 = problems.toy((T,), seed=seed)
    at = data.draw(st.integers(0, T - 1))
    x2[at] = -1
    late = fc.toy_scan(x1, x2, x3)
    x1[:at], x2[:at] = np.nan, 1
    problems.same(fc.toy_scan(x1, x2, x3).y[at:], late.y[at:], np.float64)


@pytest.mark.parametrize(
    ("gates", "wanted"),
    [
        ((0.5, 1, True), "float32"),
        ((np.float32(0.5), 0.5, 1), "float32"),
        ((np.float64(0.5), 0.5, 1), "float64"),
        (([0.5, 0.5, 0.5], 1, 1), "float64"),
    ],
    ids=str,
)
def test_plain_numbers_as_gates_keep_the_dtype_of_the_values(gates, wanted):
    x = np.array([1.0, 2.0, 3.0], np.float32)
    y, state = fc.gated_scan(x, *gates)
    wanted_y, _ = fc.oracle.gated_scan(x.tolist(), [0.5] * 3, [float(gates[1])] * 3, [1.0] * 3)
    np.testing.assert_array_equal(y, wanted_y)
    assert y.dtype == wanted
    assert state.dtype == np.float64
    integers = fc.gated_scan(np.array([1, 2, 3]), 0.5, 1, 1)
    assert integers.y.dtype == np.float64
