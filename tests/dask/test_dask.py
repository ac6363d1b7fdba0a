"""fastcell.dask beside the plain functions: values, chunks, errors, graphs, and a cluster that loses a worker."""

import copy
import math
import os
import pickle
import signal
import time
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback
from dask.core import get_dependencies

import fastcell as fc
from fastcell import _threads
from fastcell._checks import ceil_div
from fastcell.dask.chunks import Gated, Toy
from tests.helpers import expected, problems
from tests.helpers.processes import python

CUTS = [
    ((0,), 1), ((5,), 5), ((100,), 1), ((100,), 7), ((1, 1), 1), ((97, 12), (5, 5)), ((40, 3), ((1, 30, 9), 3)),
    ((64, 2), (1, 1)), ((0, 3), 2), ((3, 0), 2), ((30, 4, 6), (4, 2, 5)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def lazy(*arrays, chunks):
    return [da.from_array(array, chunks=chunks) for array in arrays]


def computed(scan):
    """Both results, after a check that they are what was announced."""
    y, state = dask.compute(*scan)
    for found, announced in zip((y, state), scan, strict=True):
        assert found.dtype == announced.dtype == announced._meta.dtype
        assert np.shape(found) == announced.shape
        assert announced._meta.ndim == announced.ndim
    return fc.Scan(y, state)


@pytest.mark.parametrize(
    ("shape", "chunks", "values"),
    [*((*cut, dtype) for cut in CUTS for dtype in ("float32", "float64", "int64")), (*CUTS[-1], "bool")],
)
def test_toy_scan_is_the_plain_one(shape, chunks, values):
    x1, x2, x3 = problems.toy(shape, values)
    x2[np.random.default_rng(0).random(shape) < 0.8] = 1  # memories live for many chunks
    state = np.arange(math.prod(shape[1:])).reshape(shape[1:]).astype("f8" if values[0] == "f" else "i8")
    arrays = lazy(x1, x2, x3, chunks=chunks)
    for start in (None, state):
        scan = fc.dask.toy_scan(*arrays, state=start, fill=-1)
        assert scan.y.chunks == arrays[0].chunks
        assert scan.state.chunks == arrays[0].chunks[1:]
        expected.agree(computed(scan), fc.toy_scan(x1, x2, x3, state=start, fill=-1))


@pytest.mark.parametrize("values", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "chunks"), CUTS)
def test_gated_scan_is_the_plain_one(shape, chunks, values):
    x, f, i, o = problems.gates(shape, values)
    arrays = lazy(x, f, i, o, chunks=chunks)
    state = np.ones(shape[1:])
    scan = computed(fc.dask.gated_scan(*arrays, state=state))
    wanted = fc.gated_scan(x, f, i, o, state=state)
    # both are some 100 roundings of float64 from the truth, on memories near 1 that shrink; y rounds once more
    for found, want in zip(scan, wanted, strict=True):
        assert found.dtype == np.asarray(want).dtype
        np.testing.assert_allclose(found, want, rtol=1e-6 if found.dtype == np.float32 else 1e-11, atol=1e-12)


@pytest.mark.parametrize("gate", [0, 1, -1])
def test_gated_scan_of_integers_is_exact(gate):
    x, f = np.arange(60).reshape(30, 2), np.where(np.arange(60).reshape(30, 2) % 7 == 3, gate, 1)
    scan = fc.dask.gated_scan(*lazy(x, f, chunks=(4, 1)), 1, np.array([1, 2]))
    expected.agree(computed(scan), fc.gated_scan(x, f, 1, np.array([1, 2])))


def test_gated_scan_of_integers_that_grow():
    x, f = np.zeros((200, 2), np.int64), np.full((200, 2), 3)
    x[:, 1], f[:, 1] = 1, 1
    wanted = fc.gated_scan(x, f, 1, 1)
    expected.agree(computed(fc.dask.gated_scan(*lazy(x, f, chunks=(50, 2)), 1, 1)), wanted)


def test_a_float_output_gate_makes_float_memories():
    x = da.full(20, 2**62, chunks=3, dtype=np.int64)
    wanted = fc.gated_scan(np.full(20, 2**62), 1, 1, 0.5)
    expected.agree(computed(fc.dask.gated_scan(x, 1, 1, 0.5)), wanted)


@pytest.mark.parametrize("shape", [(), (1,), (30, 1), (4,), (1, 4), (30, 4)])
@pytest.mark.parametrize("kind", ["dask", "numpy"])
def test_gates_broadcast(shape, kind):
    x = np.linspace(-1, 1, 120).reshape(30, 4)
    gate = np.random.default_rng(3).random(shape)
    given = da.from_array(gate, chunks=tuple(ceil_div(n, 2) for n in shape)) if kind == "dask" else gate
    y, state = computed(fc.dask.gated_scan(da.from_array(x, chunks=(7, 3)), given, 0.5, given))
    wanted = fc.gated_scan(x, gate, 0.5, gate)
    np.testing.assert_allclose(y, wanted.y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(state, wanted.state, rtol=1e-12, atol=1e-14)


def test_packed_rows():
    x = np.random.default_rng(0).integers(0, 2, (50, 4, 3), np.int8)
    for chunks in ((7, 2, 3), (7, 2, 1)):
        expected.agree(computed(fc.dask.toy_scan(da.from_array(x, chunks=chunks))), fc.toy_scan(x))


def test_other_chunks_and_numpy_arrays_are_cut_alike():
    x1, x2, x3 = problems.toy((60, 8))
    scan = fc.dask.toy_scan(da.from_array(x1, chunks=(20, 8)), da.from_array(x2, chunks=(30, 5)), x3)
    assert scan.y.chunks == ((20, 10, 10, 20), (5, 3))
    expected.agree(computed(scan), fc.toy_scan(x1, x2, x3))
    expected.agree(computed(fc.dask.toy_scan(x1, x2, da.from_array(x3, chunks=9))), fc.toy_scan(x1, x2, x3))


def test_rules_of_one_number_and_restarts():
    x1, x2, x3 = problems.toy((40, 3))
    for control in (-1, 0, 1, 2, np.float64(2), True):
        scan = fc.dask.toy_scan(da.from_array(x1, chunks=(7, 2)), control, x3, fill=-1)
        expected.agree(computed(scan), fc.toy_scan(x1, control, x3, fill=-1), str(control))
    scan = fc.dask.toy_scan(x1, da.from_array(x2, chunks=(7, 2)), 1)
    expected.agree(computed(scan), fc.toy_scan(x1, x2, 1))
    with pytest.raises(ValueError, match=r"x2 must be -1, 0, 1 or 2, got 3 at index"):
        computed(fc.dask.toy_scan(da.from_array(x1, chunks=(7, 2)), 3, 1))
    unknown = da.from_array(x1, chunks=(7, 2))
    unknown = unknown[unknown[:, 0] > -99]
    expected.agree(fc.Scan(*dask.compute(*fc.dask.toy_scan(unknown, 2, 1))), fc.toy_scan(x1, 2, 1))


BOUNDS = [(0, None), (None, 12), (-20, 30)]


@pytest.mark.parametrize(
    ("shape", "chunks", "values"),
    [*((*cut, dtype) for cut in CUTS for dtype in ("float32", "int64")), (*CUTS[-1], "bool")],
)
def test_bounds_are_the_plain_ones(shape, chunks, values):
    x1, x2, x3 = problems.toy(shape, values)
    x2[np.random.default_rng(0).random(shape) < 0.9] = 1
    arrays = lazy(x1, x2, x3, chunks=chunks)
    for low, high in BOUNDS:
        for start in (None, np.full(shape[1:], 100)):  # outside of most bounds
            scan = fc.dask.toy_scan(*arrays, state=start, fill=-1, low=low, high=high)
            wanted = fc.toy_scan(x1, x2, x3, state=start, fill=-1, low=low, high=high)
            expected.agree(computed(scan), wanted, f"{low} to {high} from {start}")
    expected.agree((wanted.y, scan.state.compute()), wanted, "the state alone")


@pytest.mark.parametrize("values", [[np.nan], [np.inf, -np.inf], [np.nan, np.inf, -np.inf], [9e307, -9e307]], ids=str)
def test_bounds_and_what_is_no_usual_number(values):
    rng = np.random.default_rng(4)
    x1, x2, x3 = problems.toy((60, 40))
    x1 = np.where(rng.random(x1.shape) < 0.04, rng.choice(values, x1.shape), x1)
    x2[rng.random(x1.shape) < 0.9] = 1
    for low, high in (*BOUNDS, (-1e308, 1e308)):
        for start in (0.0, np.nan, -np.inf):
            state = np.full(40, start)
            wanted = fc.toy_scan(x1, x2, x3, state=state, low=low, high=high)
            for cut in (3, 20):
                scan = fc.dask.toy_scan(*lazy(x1, x2, x3, chunks=(cut, 20)), state=state, low=low, high=high)
                expected.agree(computed(scan), wanted, f"{low} to {high} from {start}, chunks of {cut}")


def test_bounds_of_integers_at_the_ends_of_int64():
    most = 2**63 - 1
    x1 = np.full((40, 2), most)
    x1[1::2, 0] = -most
    for low, high in ((-5, 2**62), (-(2**62), 2**62 + 1), (1 - most, most - 1)):
        wanted = fc.toy_scan(x1, 1, 1, low=low, high=high)
        for cut in (1, 3, 20):
            scan = fc.dask.toy_scan(da.from_array(x1, chunks=(cut, 2)), 1, 1, low=low, high=high)
            expected.agree(computed(scan), wanted, f"{low} to {high}, chunks of {cut}")
    for cut in (1, 3):
        scan = fc.dask.toy_scan(da.from_array(np.abs(x1), chunks=(cut, 2)), 1, 1, low=0)
        for part in scan:
            with pytest.raises(OverflowError, match="an integer memory leaves int64"):
                part.compute()


def test_bounds_that_are_none_and_rules_beside_them():
    x1 = da.ones((20, 2), chunks=(7, 2))
    with pytest.raises(ValueError, match=r"^low must be at most high, got low=2 and high=1$"):
        fc.dask.toy_scan(x1, 1, 1, low=2, high=1)
    with pytest.raises(TypeError, match=r"^high must be a number or None, got '1'$"):
        fc.dask.toy_scan(x1, 1, 1, high="1")
    rules = np.ones((20, 2), np.int8)
    rules[3, 1] = 5
    with pytest.raises(ValueError, match=r"x2 must be -1, 0, 1 or 2, got 5 at index \(3, 1\)"):
        computed(fc.dask.toy_scan(x1, rules, 1, low=0))
    loose = fc.dask.toy_scan(x1, rules, 1, low=0, high=3, strict=False)
    expected.agree(computed(loose), fc.toy_scan(np.ones((20, 2)), rules, 1, low=0, high=3, strict=False))


def test_a_long_column_of_floats_between_bounds():
    x1 = np.random.default_rng(5).standard_normal(30_000)
    for low, high in ((0.0, None), (-1.5, 2.5), (None, 1e18), (-1e18, 0.1)):
        y, state = computed(fc.dask.toy_scan(da.from_array(x1, chunks=1000), 1, 1, low=low, high=high))
        wanted = expected.toy(x1, np.int8(1), np.int8(1), low=low, high=high)
        bound = expected.rounding(x1)
        assert (np.abs(y - wanted.y) <= bound).all()
        assert abs(state - wanted.state) <= bound


def test_chunks_of_unknown_length():
    x1, x2, x3 = problems.toy((60, 2))
    keep = np.arange(60) % 3 > 0
    arrays = [array[da.from_array(keep, chunks=7)] for array in lazy(x1, x2, x3, chunks=(7, 2))]
    scan = fc.dask.toy_scan(*arrays)
    assert math.isnan(scan.y.shape[0])
    expected.agree(dask.compute(*scan), fc.toy_scan(x1[keep], x2[keep], x3[keep]))
    with pytest.raises(ValueError, match=r"x3 and x1 need chunks of known length: compute_chunk_sizes\(\)"):
        fc.dask.toy_scan(*arrays[:2], x3[keep])
    arrays[1] = arrays[1].map_blocks(lambda x, block_id: x * 0 + (3 if block_id[0] else 0), dtype=np.int8)
    with pytest.raises(ValueError, match=r"x2 must be -1, 0, 1 or 2, got 3 at index \(0, 0\) of chunk \(\d, 0\)"):
        fc.dask.toy_scan(*arrays).y.compute()


def test_state_goes_on_lazily():
    x1, x2, x3 = problems.toy((40, 6))
    arrays = lazy(x1, x2, x3, chunks=(6, 4))
    first = fc.dask.toy_scan(*[array[:17] for array in arrays])
    second = fc.dask.toy_scan(*[array[17:] for array in arrays], state=first.state)
    y = da.concatenate([first.y, second.y])
    expected.agree(dask.compute(y, second.state), fc.toy_scan(x1, x2, x3))


def test_nothing_is_computed_before_it_is_asked_for():
    def refuse():
        raise AssertionError("computed")

    x = da.map_blocks(refuse, chunks=((5, 5), (2,)), dtype="f8", meta=np.empty((0, 0)))
    fc.dask.toy_scan(x, x, x)
    fc.dask.gated_scan(x, x, 1, x)
    fc.dask.lstm(fc.LSTM(2, 3), x)
    with pytest.raises(AssertionError, match="computed"):
        fc.dask.toy_scan(x, x, x).y.compute()


def test_the_same_arguments_have_the_same_name():
    x = da.ones((9, 2), chunks=2)
    assert fc.dask.toy_scan(x, x, x).y.name == fc.dask.toy_scan(x, x, x).y.name
    assert fc.dask.toy_scan(x, x, x).y.name != fc.dask.toy_scan(x, x, x, fill=1).y.name
    one, other = (fc.dask.lstm(fc.LSTM(2, 3, seed=seed), x)[0].name for seed in (1, 2))
    assert one != other


# ---- numbers at the ends ---------------------------------------------------------------------------


def test_a_chunks_sum_may_leave_int64_where_no_memory_does():
    big = 2**62
    x1 = np.array([-big, -big, big, big, big, big - 1, -big, -big, 5])
    ones = np.ones(9, np.int8)
    wanted = fc.toy_scan(x1, ones, ones)
    for chunks in (1, 2, 3, 4, (2, 4, 3)):
        expected.agree(computed(fc.dask.toy_scan(*lazy(x1, ones, ones, chunks=(chunks,)))), wanted)


@pytest.mark.parametrize("at", [0, 5, -1])
def test_a_memory_that_leaves_int64_is_an_error_in_any_part_after_it(at):
    x1, ones = np.full(9, 2**62), np.ones(9, np.int8)
    x1[3:] = -1  # from outside it would come back
    y = fc.dask.toy_scan(*lazy(x1, ones, ones, chunks=2)).y
    with pytest.raises(OverflowError, match="integer memory leaves int64"):
        y.compute()
    if at:
        with pytest.raises(OverflowError, match="integer memory leaves int64"):
            y[at].compute()


def test_unsigned_values_beyond_int64():
    x1, ones = da.full(6, 2**63, chunks=2, dtype=np.uint64), np.ones(6, np.int8)
    with pytest.raises(OverflowError, match="x1 must fit int64, got 9223372036854775808"):
        fc.dask.toy_scan(x1, ones, ones).y.compute()


@pytest.mark.parametrize("values", ["float32", "float64"])
def test_a_reset_forgets_nan_and_infinity(values):
    rng = np.random.default_rng(0)
    x1 = rng.choice([1, 2, np.nan, np.inf, -np.inf], (60, 40), p=[0.44, 0.44, 0.04, 0.04, 0.04]).astype(values)
    x2, x3 = rng.choice([-1, 0, 1], (60, 40), p=[0.1, 0.2, 0.7]), np.ones((60, 40), np.int8)
    for chunks in (1, 4, 25):
        scan = fc.dask.toy_scan(*lazy(x1, x2, x3, chunks=(chunks, 17)))
        expected.agree(computed(scan), fc.toy_scan(x1, x2, x3))


def test_sums_near_the_end_of_float64_are_taken_in_turn():
    x1, ones = np.array([-1.7e308, 1.7e308, 1.7e308, -1.7e308, 3.0, 1.0]), np.ones(6, np.int8)
    for chunks in (1, 2, 3, (1, 3, 2)):
        scan = fc.dask.toy_scan(*lazy(x1, ones, ones, chunks=(chunks,)))
        expected.agree(computed(scan), fc.toy_scan(x1, ones, ones))


POOLS = {
    "halves": [0, 0.5, 1, 2, -1],
    "products that vanish": [1e-200, 1, 0.5, -1e-150],
    "up and down": [1e40, 1e-40, 1, 0],
    "infinite gates": [1, 0.9, np.inf, np.nan],
    "growth": [4.0],
}
INPUTS = {
    "zeros": [0.0],
    "numbers": [0, 1, -2.5, 1e3],
    "rarely infinite": [0] * 40 + [1] * 40 + [np.inf, -np.inf, np.nan],
}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("chunk", [1, 3, 20])
def test_gated_scan_has_nan_and_infinity_where_the_plain_one_has_them(pool, inputs, chunk):
    rng = np.random.default_rng([len(pool), len(inputs), chunk])
    shape = (600 if pool == "growth" else 60, 30)
    if pool == "growth":
        chunk *= 10
    f, x, i = rng.choice(POOLS[pool], shape), rng.choice(INPUTS[inputs], shape), rng.choice([0, 1], shape)
    state = rng.choice([0, 0, 1, -3, 1e200, np.inf, -np.inf, np.nan], 30)
    scan = fc.dask.gated_scan(*lazy(x, f, i, chunks=(chunk, 11)), 1.0, state=state)
    y, last = computed(scan)
    wanted = fc.gated_scan(x, f, i, 1.0, state=state)
    largest = np.maximum.accumulate(np.where(np.isfinite(wanted.y), abs(wanted.y), 0))
    largest = np.maximum(largest, np.where(np.isfinite(state), abs(state), 0))
    for found, want, scale in ((y, wanted.y, largest), (last, wanted.state, largest[-1])):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(want))
        np.testing.assert_array_equal(np.where(np.isinf(found), found, 0), np.where(np.isinf(want), want, 0))
        numbers = np.isfinite(want)
        # 600 roundings relative to the largest memory on the way, each of eps / 2
        assert (abs(found[numbers] - want[numbers]) <= 600 * np.finfo(float).eps * scale[numbers]).all()


def test_long_products_that_vanish_keep_an_infinity_and_lose_a_number():
    f = np.full((4000, 3), -0.5)
    f[3000, 2] = 0
    start = np.array([np.inf, 1.0, np.inf])
    y, state = computed(fc.dask.gated_scan(da.zeros((4000, 3), chunks=(1500, 3)), f, 1, 1, state=start))
    expected.agree((y[-1], state), (np.array([np.inf, 0.0, np.nan]),) * 2)


# ---- rules and errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "at", "value"), [("x2", (13, 5), 3), ("x3", (0, 0), -1), ("x2", (19, 7), -2)])
def test_a_rule_is_named_by_its_index_in_the_whole(name, at, value):
    arrays = dict(zip(("x1", "x2", "x3"), problems.toy((20, 8)), strict=True))
    arrays[name][at] = value
    allowed = "-1, 0, 1 or 2" if name == "x2" else "0 or 1"
    scan = fc.dask.toy_scan(*lazy(*arrays.values(), chunks=(3, 3)))
    with pytest.raises(ValueError, match=rf"{name} must be {allowed}, got {value} at index \({at[0]}, {at[1]}\)"):
        scan.state.compute()
    expected.agree(
        computed(fc.dask.toy_scan(*lazy(*arrays.values(), chunks=(3, 3)), strict=False)),
        fc.toy_scan(**arrays, strict=False),
    )


def test_rules_before_what_is_computed_are_checked_too():
    ones = np.ones(20, np.int8)
    rules = ones.copy()
    rules[4] = 3
    for arrays in ((ones, rules, ones), (ones, ones, rules)):
        with pytest.raises(ValueError, match="got 3 at index 4"):
            fc.dask.toy_scan(*lazy(*arrays, chunks=3)).y[-1].compute()


X = da.ones((6, 2), chunks=2)
X3 = da.ones((6, 3, 2), chunks=2)
SMALL, LARGE, BOTH = fc.LSTM(2, 3), fc.LSTM(4, 3), fc.LSTM(2, 3, bidirectional=True)
TOY, GATED, RUN = fc.dask.toy_scan, fc.dask.gated_scan, fc.dask.lstm
REFUSED = {
    "no dask array": (TypeError, "x1 or x2 or x3 must be a dask array", lambda: TOY([1], [1], [1])),
    "x3 missing": (TypeError, "x3 must be given with the other one", lambda: TOY(X, X)),
    "packed": (ValueError, r"x must be a dask array \(T, ..., 3\) when", lambda: TOY(X)),
    "shape": (ValueError, r"x3 must have the shape of x1, \(6, 2\), got \(6,\)", lambda: TOY(X, X, X[:, 0])),
    "scalar": (ValueError, "x1 must have a time axis", lambda: TOY(X[0, 0], X[0, 0], X[0, 0])),
    "dtype": (TypeError, "x1 must hold .*, got complex128", lambda: TOY(X * 1j, X, X)),
    "fill": (TypeError, "fill must be a number", lambda: TOY(X, X, X, fill="a")),
    "state": (ValueError, r"state must have shape \(2,\), got \(3,\)", lambda: TOY(X, X, X, state=np.ones(3))),
    "state's dtype": (TypeError, "state must hold integers", lambda: TOY(X.astype(int), X, X, state=np.ones(2))),
    "gate": (ValueError, r"f must broadcast to .*, \(6, 2\), got \(3,\)", lambda: GATED(X, np.ones(3), 1, 1)),
    "scalar x": (ValueError, "x must have a time axis", lambda: GATED(X[0, 0], 1, 1, 1)),
    "no LSTM": (TypeError, "lstm must be a fastcell.LSTM, got int", lambda: RUN(1, X)),
    "NumPy": (TypeError, "x must be a dask array, got none", lambda: RUN(SMALL, np.ones((6, 2)))),
    "inputs": (ValueError, r"\(T, B, I\) or \(T, I\) with I = 4, got \(6, 2\)", lambda: RUN(LARGE, X)),
    "two directions": (ValueError, r"x must have one chunk .*, got 3: x.rechunk\(\{0: -1\}\)", lambda: RUN(BOTH, X)),
    "pair": (ValueError, r"state must be a pair \(h, c\)", lambda: RUN(SMALL, X, 1)),
    "h": (ValueError, r"state's h must have shape \(L\*D, H\) = \(1, 3\)", lambda: RUN(SMALL, X, (X, X))),
    "length": (ValueError, "lengths must be .* to T = 6, got 7 in row 1", lambda: RUN(SMALL, X3, lengths=[6, 7, 0])),
    "lengths": (ValueError, r"lengths must have shape \(B,\) = \(3,\)", lambda: RUN(SMALL, X3, lengths=[6, 6])),
    "float lengths": (TypeError, "lengths must hold integers", lambda: RUN(SMALL, X3, lengths=da.ones(3))),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_computed(case):
    error, message, call = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


# ---- the graph -------------------------------------------------------------------------------------


def _depths(graph):
    depths = {}
    stack = list(graph)
    needs = {key: get_dependencies(graph, key) for key in graph}
    while stack:
        missing = [key for key in needs[stack[-1]] if key not in depths]
        if missing:
            stack += missing
        else:
            key = stack.pop()
            depths[key] = 1 + max((depths[k] for k in needs[key]), default=0)
    return depths


@pytest.mark.parametrize("n", [2, 3, 17, 128, 1000])
def test_chunks_take_a_logarithm_of_rounds_and_a_few_tasks_each(n):
    x = da.zeros(n, chunks=1)
    graph = dict(fc.dask.toy_scan(x, x, x).y.dask)
    assert len(graph) - n <= 5 * n
    assert max(_depths(graph).values()) <= 2 * math.ceil(math.log2(n)) + 5


class Held(Callback):
    """The most chunks of input that the scheduler held at once."""

    def __init__(self, size):
        self.size, self.most = size, 0
        super().__init__()

    def _posttask(self, key, result, dsk, state, worker):
        arrays = [value for value in state["cache"].values() if isinstance(value, np.ndarray)]
        self.most = max(self.most, sum(array.size == self.size for array in arrays))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("columns", [1, 3])
def test_chunks_are_let_go_on_the_way(columns, gated):
    def chunks(value):
        cut = ((50,) * 100, (10,) * columns)
        return da.map_blocks(lambda block_info=None: np.full((50, 10), value, dtype), chunks=cut, dtype=dtype)

    dtype = np.float64 if gated else np.int8
    arrays = [chunks(value) for value in range(2, 5 + gated)]
    function = fc.dask.gated_scan if gated else fc.dask.toy_scan
    y = function(*[array * 0 for array in arrays]).y
    with Held(500) as held:
        assert y.sum().compute() == 0
    assert held.most <= 12 * columns  # of 300 or 400 for each block of columns


def test_no_task_starts_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(_threads, "_Call", None)
    monkeypatch.setattr(_threads, "cores", lambda: 4)
    x = np.ones((2, 1 << 18), np.float32)
    with pytest.raises(TypeError):
        fc.toy_scan(x, x, x)
    lazily = da.from_array(x, chunks=(1, 1 << 18))
    fc.dask.toy_scan(lazily, lazily, lazily).y.compute()
    fc.dask.gated_scan(lazily, lazily, lazily, lazily).y.compute()
    wide = da.ones((2, 1 << 14, 4), chunks=(1, 1 << 14, 4), dtype=np.float32)
    fc.dask.lstm(fc.LSTM(4, 128), wide)[0].compute()


def test_strict_is_true_or_false():
    x = da.ones(4, chunks=2)
    with pytest.raises(ValueError, match="strict must be True or False, got array"):
        fc.dask.toy_scan(x, x, x, strict=np.array([1, 2]))


def test_query_planning_is_refused():
    code = "import dask; dask.config.set({'array.query-planning': True})\nimport dask.array as da, fastcell as fc\n"
    run = python("-c", f"{code}fc.dask.toy_scan(*[da.ones(3, chunks=1)] * 3)")
    assert "NotImplementedError: fastcell.dask needs array.query-planning to be False" in run.stderr


def test_dask_is_imported_when_it_is_asked_for():
    code = """
import sys, fastcell as fc
assert 'dask' not in sys.modules
sys.modules['dask'] = None
try:
    fc.dask
except ImportError as error:
    print(error)
del sys.modules['dask']
print('dask' in dir(fc), fc.dask.lstm)
"""
    missing, there = python("-c", code).stdout.splitlines()
    assert missing == "fastcell.dask needs Dask: pip install 'fastcell[dask]'"
    assert there.startswith("True <function lstm")


# ---- the LSTM --------------------------------------------------------------------------------------

LSTMS = {
    "plain": {},
    "two layers": {"num_layers": 2},
    "backwards": {"num_layers": 2, "reverse": True},
    "projected": {"proj_size": 3, "dtype": "float64"},
    "peepholes": {"peepholes": True, "clip": 0.5, "activations": ("hard_sigmoid", "tanh", "softsign")},
}


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("with_lengths", ["no", "numpy", "dask"])
@pytest.mark.parametrize("kind", LSTMS)
def test_lstm_has_the_bits_of_one_call(kind, with_lengths, with_state):
    lstm = fc.LSTM(4, 5, seed=0, **LSTMS[kind])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 9, 4), dtype=np.float32)
    lengths = None if with_lengths == "no" else rng.integers(0, 21, 9)
    state = (
        tuple(rng.standard_normal((lstm.num_layers, 9, size)) for size in (lstm.output_size, 5)) if with_state else None
    )
    given = da.from_array(lengths, chunks=5) if with_lengths == "dask" else lengths
    y, pair = fc.dask.lstm(lstm, da.from_array(x, chunks=(6, 4, 3)), state, lengths=given)
    assert y.chunks == ((6, 6, 6, 2), (4, 4, 1), (lstm.output_size,))
    _agree(lstm, (y, pair), lstm(x, state, lengths=lengths))


def _agree(lstm, lazily, wanted):
    found = dask.compute(lazily[0], *lazily[1])
    for announced, got, want in zip((lazily[0], *lazily[1]), found, (wanted[0], *wanted[1]), strict=True):
        assert announced.dtype == got.dtype == want.dtype == lstm.dtype
        assert announced.shape == got.shape == want.shape
        np.testing.assert_array_equal(got, want)


def test_lstm_of_two_directions_batch_first_and_of_one_row():
    x = np.random.default_rng(0).standard_normal((7, 9, 4), dtype=np.float32)
    lstm = fc.LSTM(4, 5, 2, bidirectional=True, seed=0)
    _agree(lstm, fc.dask.lstm(lstm, da.from_array(x, chunks=(7, 4, 4))), lstm(x))
    lstm = fc.LSTM(4, 5, batch_first=True, seed=0)
    y, pair = fc.dask.lstm(lstm, da.from_array(x, chunks=(3, 4, 4)))
    assert y.chunks == ((3, 3, 1), (4, 4, 1), (5,))
    _agree(lstm, (y, pair), lstm(x))
    pair = np.ones((1, 5)), np.ones((1, 5))
    _agree(lstm, fc.dask.lstm(lstm, da.from_array(x[0], chunks=(2, 4)), pair), lstm(x[0], pair))


def test_lengths_in_a_dask_array_are_checked_when_computed():
    x = da.ones((6, 5, 2), chunks=(2, 2, 2))
    y, _ = fc.dask.lstm(fc.LSTM(2, 3), x, lengths=da.from_array(np.array([1, 2, 3, -1, 6]), chunks=5))
    with pytest.raises(ValueError, match="lengths must be from 0 to T = 6, got -1 in row 3"):
        y.compute()


def test_an_lstm_is_pickled_and_copied_without_addresses():
    lstm = fc.LSTM(3, 5, 2, peepholes=True, clip=1.0, activations=("hard_sigmoid", "tanh", "elu"), seed=0)
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 2, 3)
    for other in (pickle.loads(pickle.dumps(lstm)), copy.deepcopy(lstm), copy.copy(lstm)):
        assert other.packed[0].at != lstm.packed[0].at
        assert not np.shares_memory(other.packed[0].params.block, lstm.packed[0].params.block)
        np.testing.assert_array_equal(other(x)[0], lstm(x)[0])


# ---- a cluster -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    options = {"distributed.worker.daemon": True, "distributed.scheduler.allowed-failures": 10}
    with warnings.catch_warnings(), dask.config.set(options):
        warnings.simplefilter("ignore")  # Dask's own, of ports and of loops that end
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster, distributed.Client(cluster) as client:
            yield client


def _slow(array, seconds=0.02):
    def wait(block):
        time.sleep(seconds)
        return block

    return array.map_blocks(wait, dtype=array.dtype, meta=array._meta)


@pytest.mark.kills
def test_two_workers_give_the_same_answer_even_when_one_is_killed(client):
    x1, x2, x3 = problems.toy((80, 6), "float32")
    x = np.random.default_rng(0).standard_normal((20, 6, 3), dtype=np.float32)
    lstm = fc.LSTM(3, 5, seed=0)

    def graph(slow):
        arrays = [slow(array) for array in lazy(x1, x2, x3, chunks=(10, 3))]
        scans = fc.dask.toy_scan(*arrays), fc.dask.gated_scan(arrays[0], 0.5, *arrays[2:], arrays[2])
        y, pair = fc.dask.lstm(lstm, slow(da.from_array(x, chunks=(5, 3, 3))))
        return [*scans[0], *scans[1], y, *pair]

    here = dask.compute(*graph(lambda array: array))  # compiles what the workers need, once
    futures = client.compute(graph(_slow))
    while sum(len(keys) for keys in client.has_what().values()) < 20:
        time.sleep(0.01)
    assert not any(future.done() for future in futures)
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    found = [future.result(timeout=200) for future in futures]
    expected.agree(found[:2], fc.toy_scan(x1, x2, x3))
    wanted = fc.gated_scan(x1, 0.5, x3, x3)
    np.testing.assert_allclose(found[2], wanted.y, rtol=1e-6)
    np.testing.assert_allclose(found[3], wanted.state, rtol=1e-12)
    for got, want in zip(found[4:], (lstm(x)[0], *lstm(x)[1]), strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(found, here, strict=True):
        np.testing.assert_array_equal(got, want)
    assert len(client.run(os.getpid)) == 2


def test_a_chunks_summary_is_short():
    x, f = np.ones((500, 3)), np.full((500, 3), 0.9)
    cell = Gated(np.dtype(np.float64))
    assert [len(array) for array in cell.few(x, f, f)] == [1, 1, 1]
    assert [len(array) for array in cell.few(x, f * 1.2, f)] == [2, 2, 2]
    assert [len(array) for array in cell.few(x, f * 0.1, f)] == [3, 3, 3]
    assert [len(array) for array in cell.few(x, f * 10, f)] == [500, 500, 500]  # beyond 1e300
    assert [len(array) for array in Toy(0.0, True).few(x, np.ones((500, 3), np.int8))] == [1, 1]
