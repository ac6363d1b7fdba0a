"""Properties of both scans on any numbers: nan, infinities, signed zeros and sums that overflow included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

import fastcell as fc
from tests.helpers import expected

pytestmark = pytest.mark.usefixtures("large_calls")

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-310, 1e16, 1e308, -1e308, 1.7e308, -1.7e308, np.inf, -np.inf, np.nan)
LARGE = (1.7e308, -1.7e308, 5e307, -5e307)
DTYPES = ("float32", "float64", "int64")

seeds = st.integers(0, 2**32 - 1)
orders = st.sampled_from("CF")
dtypes = st.sampled_from(DTYPES)
threads = st.sampled_from((1, 2, 5))
columns = st.integers(2, 40)  # one column of floats promises a bound, not bits
steps = st.integers(0, 150)


def values(rng, shape, dtype):
    if dtype == "int64":
        return rng.integers(-(2**50), 2**50, shape)
    if dtype == "float32":  # sums that float64 holds: their order, which a layout may decide for float32, says nothing
        return (rng.integers(-(2**20), 2**20, shape) / 2**10).astype(dtype)
    return (rng.standard_normal(shape) * np.exp2(rng.integers(-30, 30, shape))).astype(dtype)


def toy(seed, shape, dtype="float64", order="C"):
    rng = np.random.default_rng(seed)
    resets = rng.choice([0.0, 0.02, 0.3])
    x2 = np.where(rng.random(shape) < resets, -1, rng.integers(0, 2, shape)).astype(np.int8)
    x3 = rng.integers(0, 2, shape).astype(np.int8)
    return [np.asarray(x, order=order) for x in (values(rng, shape, dtype), x2, x3)]


def gated(seed, shape, dtype="float64", order="C"):
    rng = np.random.default_rng(seed)
    if dtype == "int64":
        gates = [rng.integers(-1, 2, shape) for _ in range(3)]
    else:
        gates = [rng.uniform(-1, 1, shape).astype(dtype) for _ in range(3)]
    return [np.asarray(x, order=order) for x in (values(rng, shape, dtype), *gates)]


SCANS = pytest.mark.parametrize(("run", "make"), [(fc.toy_scan, toy), (fc.gated_scan, gated)], ids=["toy", "gated"])


@SCANS
@given(seed=seeds, T=steps, B=columns, order=orders, dtype=dtypes, count=threads, data=st.data())
def test_later_input_does_not_change_a_prefix(run, make, seed, T, B, order, dtype, count, data):
    arrays = make(seed, (T, B), dtype, order)
    cut = data.draw(st.integers(0, T))
    whole = run(*arrays, threads=count)
    for x in arrays:
        x[cut:] = 1
    expected.agree((run(*arrays).y[:cut], 0), (whole.y[:cut], 0))


@SCANS
@given(seed=seeds, T=steps, B=columns, order=orders, dtype=dtypes, count=threads, data=st.data())
def test_cut_anywhere_and_carried_over(run, make, seed, T, B, order, dtype, count, data):
    arrays = make(seed, (T, B), dtype, order)
    cuts = sorted(data.draw(st.lists(st.integers(0, T), max_size=4)))
    state, pieces = None, []
    for first, last in zip([0, *cuts], [*cuts, T], strict=True):
        y, state = run(*(x[first:last] for x in arrays), state=state, threads=count)
        pieces.append(y)
    expected.agree((np.concatenate(pieces), state), run(*arrays))


@SCANS
@given(seed=seeds, T=steps, B=columns, order=orders, dtype=dtypes, data=st.data())
def test_a_column_does_not_depend_on_the_others(run, make, seed, T, B, order, dtype, data):
    arrays = make(seed, (T, B), dtype, order)
    chosen = data.draw(st.lists(st.integers(0, B - 1), min_size=2, max_size=40))
    whole = run(*arrays)
    some = run(*(x[:, chosen] for x in arrays))
    expected.agree(some, (whole.y[:, chosen], whole.state[chosen]))


@SCANS
@given(seed=seeds, T=steps, B=columns, order=orders, dtype=dtypes)
def test_a_column_of_several_is_the_column_stepped_alone(run, make, seed, T, B, order, dtype):
    arrays = make(seed, (T, B), dtype, order)
    whole = run(*arrays)
    state, rows = np.zeros(1, whole.state.dtype), []
    for t in range(T):  # one step a call: never cut in segments
        y, state = run(*(x[t : t + 1, B - 1 :] for x in arrays), state=state)
        rows.append(y)
    last = np.concatenate([whole.y[:0, B - 1 :], *rows])
    expected.agree((last, state), (whole.y[:, B - 1 :], whole.state[B - 1 :]))


@SCANS
@given(seed=seeds, T=st.integers(0, 5000), dtype=dtypes)
def test_threads_do_not_change_one_sequence(run, make, seed, T, dtype):
    arrays = make(seed, (T,), dtype)
    wanted = run(*arrays, threads=1)
    for count in (2, 3, 5):
        expected.agree(run(*arrays, threads=count), wanted, f"{count} threads")


@SCANS
@given(seed=seeds, T=steps, B=columns, order=orders, dtype=dtypes)
def test_threads_do_not_change_columns(run, make, seed, T, B, order, dtype):
    arrays = make(seed, (T, B), dtype, order)
    wanted = run(*arrays, threads=1)
    for count in (2, 3, 5):
        expected.agree(run(*arrays, threads=count), wanted, f"{count} threads")


@SCANS
@given(seed=seeds, T=steps, K=st.integers(1, 9), dtype=dtypes, data=st.data())
def test_interleaved_streams_are_separate_streams(run, make, seed, T, K, dtype, data):
    arrays = make(seed, (T, 2), dtype)
    keys = np.random.default_rng(seed).integers(0, K, T)
    cut = data.draw(st.integers(0, T))
    state = np.arange(2 * K).reshape(K, 2)
    first = run(*(x[:cut] for x in arrays), keys=keys[:cut], state=state)
    second = run(*(x[cut:] for x in arrays), keys=keys[cut:], state=first.state)
    y = np.concatenate([first.y, second.y])
    for key in range(K):
        alone = run(*(x[keys == key] for x in arrays), state=state[key])
        expected.agree((y[keys == key], second.state[key]), alone, f"stream {key}")


@SCANS
@given(seed=seeds, T=steps, B=columns, order=orders, factor=st.integers(-(2**10), 2**10))
def test_linear_in_x(run, make, seed, T, B, order, factor):
    arrays = make(seed, (T, B), "int64", order)
    arrays[0] >>= 20  # leaves room for the products
    y, state = run(*arrays)
    expected.agree(run(arrays[0] * factor, *arrays[1:]), (y * factor, state * factor))
    second = make(seed + 1, (T, B), "int64", order)[0] >> 20
    more = run(second, *arrays[1:])
    expected.agree(run(arrays[0] + second, *arrays[1:]), (y + more.y, state + more.state))


@given(seed=seeds, T=st.integers(1, 150), B=columns, order=orders, data=st.data())
def test_a_reset_forgets_everything_before_it(seed, T, B, order, data):
    arrays = toy(seed, (T, B), "float64", order)
    at = data.draw(st.integers(0, T - 1))
    arrays[1][at] = -1
    late = fc.toy_scan(*arrays)
    arrays[0][:at] = np.random.default_rng(seed).choice(SPECIAL, (at, B))
    arrays[1][:at] = 1
    got = fc.toy_scan(*arrays, state=np.full(B, np.nan))
    expected.agree((got.y[at:], got.state), (late.y[at:], late.state))
    assert not got.y[at].any()


@given(seed=seeds, T=steps, B=columns, order=orders, dtype=st.sampled_from(DTYPES))
def test_rules_are_gates_for_finite_values(seed, T, B, order, dtype):
    x1, x2, x3 = toy(seed, (T, B), dtype, order)
    by_gates, by_rules = fc.gated_scan(x1, *fc.rules_to_gates(x2, x3)), fc.toy_scan(x1, x2, x3)
    # 0 * a is -0.0 for a negative memory, and a reset assigns 0.0: equal, but for the sign
    np.testing.assert_array_equal(by_gates.y, by_rules.y)
    np.testing.assert_array_equal(by_gates.state, by_rules.state)
    assert (by_gates.y.dtype, by_gates.state.dtype) == (by_rules.y.dtype, by_rules.state.dtype)


@given(seed=seeds, T=steps, B=columns, order=orders, fill=st.floats(width=32))
def test_fill_shows_on_silent_steps_alone(seed, T, B, order, fill):
    arrays = toy(seed, (T, B), "float32", order)
    expected.agree(fc.toy_scan(*arrays, fill=fill), expected.toy(*arrays, fill=fill))


@given(seed=seeds, T=steps, B=columns, order=orders)
def test_other_rules_keep_and_are_silent(seed, T, B, order):
    x1, x2, x3 = toy(seed, (T, B), "float32", order)
    rng = np.random.default_rng(seed)
    odd = rng.choice(np.float32([-2, 4, 3, 127, -128, 0.5, -0.5, np.nan, np.inf, -np.inf]), (2, T, B))
    control, emit = np.where(rng.random((2, T, B)) < 0.2, odd, [x2, x3])
    x2, x3 = np.where(control == x2, x2, 0), np.where(emit == x3, x3, 0)
    expected.agree(fc.toy_scan(x1, control, emit, strict=False), fc.toy_scan(x1, x2, x3))


@pytest.mark.parametrize("rules", ["uint8", "uint16", "uint32", "uint64", "int8", "int64", "float32"])
@pytest.mark.parametrize("shape", [(300,), (40, 3), (40, 33)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_other_rules_of_each_dtype_follow_the_oracle(shape, order, rules):
    rng = np.random.default_rng(2)
    largest = 2**24 if rules == "float32" else np.iinfo(rules).max  # an unsigned one is -1 when cut to signed
    odd = np.array([0, 1, 1, 2, 3, 254 if rules == "uint8" else 100, largest], rules)
    x1 = (rng.integers(-50, 50, shape) / 4).astype({"float32": "float32", "int64": "int64"}.get(rules, "float64"))
    x2, x3 = (np.asarray(rng.choice(odd, shape), order=order) for _ in range(2))
    x1 = np.asarray(x1, order=order)
    expected.agree(fc.toy_scan(x1, x2, x3, strict=False), expected.toy(x1, x2, x3, strict=False))


@given(
    seed=seeds,
    T=st.integers(0, 1300),
    dtype=st.sampled_from(["float32", "float64"]),
    rare=st.sampled_from([0.003, 0.05, 1]),
    resets=st.sampled_from([0, 0.01, 0.2]),
    numbers=st.sampled_from([(*LARGE, np.inf, -np.inf, np.nan), LARGE]),
    count=threads,
)
def test_special_values_in_one_sequence_follow_the_oracle(seed, T, dtype, rare, resets, numbers, count):
    """Small whole numbers are exact in any order; where a large one rounds or overflows, the order is the oracle's."""
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        special = rng.choice(numbers, T).astype(dtype)
    x1 = np.where(rng.random(T) < rare, special, rng.integers(-9, 9, T).astype(dtype))
    x2 = np.where(rng.random(T) < resets, -1, rng.integers(0, 2, T)).astype(np.int8)
    x3 = rng.integers(0, 2, T).astype(np.int8)
    got, wanted = fc.toy_scan(x1, x2, x3, threads=count), expected.toy(x1, x2, x3)
    for a, b in ((got.y, wanted.y), (np.asarray(got.state), wanted.state)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("resets", [0, 0.003])
def test_few_large_values_overflow_in_the_order_of_the_steps(resets):
    """Of two or three in a sequence some cancel within a segment and would not overflow if it were added up first."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x1 = np.where(rng.random(1300) < 0.01, rng.choice(LARGE, 1300), rng.integers(-9, 9, 1300))
        x2 = np.where(rng.random(1300) < resets, -1, rng.integers(0, 2, 1300)).astype(np.int8)
        got, wanted = fc.toy_scan(x1, x2, np.ones_like(x2)), expected.toy(x1, x2, np.ones_like(x2))
        np.testing.assert_array_equal(got.y, wanted.y, err_msg=f"seed {seed}")
        np.testing.assert_array_equal(got.state, wanted.state, err_msg=f"seed {seed}")


@SCANS
@given(seed=seeds, T=steps, B=columns, order=orders, dtype=st.sampled_from(["float32", "float64"]))
def test_special_values_in_columns_follow_the_oracle(run, make, seed, T, B, order, dtype):
    arrays = make(seed, (T, B), dtype, order)
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        arrays[0][...] = rng.choice(SPECIAL, (T, B))
    oracle = expected.toy if run is fc.toy_scan else expected.gated
    expected.agree(run(*arrays), oracle(*arrays))


@njit
def stepped(a, x1, x2, x3, y):
    for t in range(len(x1)):
        a, y[t] = fc.toy_step(a, x1[t], x2[t], x3[t])
    return a


@given(seed=seeds, T=st.integers(1, 60), dtype=st.sampled_from(["float64", "int64"]))
def test_toy_step_is_a_step_of_the_oracle(seed, T, dtype):
    x1, x2, x3 = toy(seed, (T,), dtype)
    wanted = expected.toy(x1, x2, x3)
    a, y = wanted.state.dtype.type(0), np.empty_like(wanted.y)
    expected.agree((y, stepped(a, x1, x2, x3, y)), wanted, "in a compiled loop")
    ys = []
    for t in range(T):
        a, y_t = fc.toy_step(a, x1[t], x2[t], x3[t])
        ys.append(y_t)
    expected.agree((np.array(ys), a), wanted, "from Python")
