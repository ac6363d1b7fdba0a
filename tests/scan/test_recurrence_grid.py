"""Both scans against the oracle over dtype x shape x layout x threads x chunking, on numbers that do round."""

import itertools

import numpy as np
import pytest

import fastcell as fc
from fastcell.scan import dispatch
from fastcell.simd.vector import LANES
from tests.helpers import expected, problems

pytestmark = pytest.mark.usefixtures("large_calls")

USUAL = "float32", "int8", "int8"
# x, f, i, o
GATED_DTYPES = (
    ("float32", "float32", "float32", "float32"),
    ("float64", "float64", "float64", "float64"),
    ("float32", "int8", "int8", "int8"),
    ("float32", "float64", "int8", "float32"),
    ("int16", "float32", "bool", "int8"),
    ("int64", "int8", "int8", "int8"),
    ("uint8", "bool", "int64", "int32"),
)
STEPS = (0, 1, 2, 100, 1100)
COLUMNS = (None, 0, 1, 2, 3, 5, 15, 16, 17, 31, 33)
TRAILING = ((30, 4, 8), (9, 2, 3, 5), (7, 1, 17), (5, 0, 2), (0, 3, 2))
LONG = ((2048,), (4097, 1), (5000,))  # several times what the kernel of one column takes at once
SHAPES = (*(((T,) if B is None else (T, B)) for T in STEPS for B in COLUMNS), *TRAILING, *LONG)
THREADS = (1, 2, 5)
ONE = [shape for shape in SHAPES if np.prod(shape[1:]) == 1]
MANY = [shape for shape in SHAPES if np.prod(shape[1:]) != 1]
FEW = [shape for shape in MANY if np.prod(shape[1:]) < LANES]
SHORT = [shape for shape in ONE if shape[0] <= 2048]  # which threads don't share
# Values, control, emit, and the shapes to take: every dtype in every place, and each kernel with those that other tests
# compile anyway. One column and more of them have kernels of their own, which take a second or two each to compile; the
# one for at least a vector of columns is the slowest.
TOY_DTYPES = (
    ("float32", "int8", "int8", SHAPES),
    ("float64", "int8", "int8", SHAPES),
    ("int64", "int8", "int8", SHAPES),
    ("float32", "float32", "float32", SHAPES),
    ("uint64", "uint8", "uint64", SHAPES),
    ("int64", "int64", "int64", ONE + FEW),
    ("bool", "bool", "uint8", MANY),
    ("uint32", "uint16", "float64", MANY),
    ("int32", "int64", "float32", FEW),
    ("int8", "float64", "int32", SHORT),
    ("int16", "int32", "bool", SHORT),
    ("uint8", "bool", "int16", SHORT),
)


def values(rng, shape, dtype):
    if dtype[0] == "f":
        return (rng.standard_normal(shape) * np.exp2(rng.integers(-20, 20, shape))).astype(dtype)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -(2**50)), min(info.max, 2**50), shape, endpoint=True).astype(dtype)


def toy_inputs(shape, dtypes, seed=0):
    """(x1, x2, x3); each column has its own share of resets and restarts, from none to a third of the steps."""
    rng = np.random.default_rng([seed, *shape])
    unsigned = dtypes[1][0] in "ub"
    resets = rng.choice([0.0, 0.002, 0.05, 0.33], shape[1:])
    control = np.where(rng.random(shape) < resets, rng.choice([-1, 2], shape), rng.integers(0, 2, shape))
    x2 = np.clip(control, 0 if unsigned else -1, 1 if dtypes[1] == "bool" else 2)
    return values(rng, shape, dtypes[0]), x2.astype(dtypes[1]), rng.integers(0, 2, shape).astype(dtypes[2])


def gated_inputs(shape, dtypes, seed=0):
    """(x, f, i, o); integer gates of -1, 0 and 1, so that integer memories stay in int64."""
    rng = np.random.default_rng([seed, *shape])
    gates = []
    for dtype in dtypes[1:]:
        if dtype[0] == "f":
            gates.append(rng.uniform(-1, 1, shape).astype(dtype))
        else:
            gates.append(rng.integers(0 if dtype == "bool" else -1, 2, shape).astype(dtype))
    return values(rng, shape, dtypes[0]), *gates


def in_turn(shape):
    """Each layout with a number of threads; every two of shape, layout and threads meet."""
    for k, (layout, lay_out) in enumerate(problems.LAYOUTS.items(), SHAPES.index(shape)):
        yield layout, lay_out, THREADS[k % len(THREADS)]


def orders(ndim):
    """Every order of the axes in memory, as a function that lays an array out so."""
    for axes in itertools.permutations(range(ndim)):
        yield axes, lambda x, axes=axes: np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))


def is_bounded(shape, dtype):
    """Whether only a bound is promised: one column of floats, long enough to be added up in groups."""
    shortest = 8 if dtype == "float32" else 8 * LANES
    return dtype[0] == "f" and shape[0] >= shortest and shape[1:] in ((), (1,))


def check_toy(scan, arrays, wanted, case, in_groups=False):
    """`in_groups`: float32 whose steps lie side by side, for which a bound is promised column by column."""
    x1 = arrays[0]
    if in_groups and x1.ndim > 1 and x1.size and len(x1) >= 8 and x1.dtype == np.float32:
        assert (scan.y.shape, scan.state.shape) == (x1.shape, x1.shape[1:])
        for at in np.ndindex(x1.shape[1:]):
            one = fc.Scan(scan.y[:, *at], scan.state[at])
            expected.agree_within_rounding(one, *(array[:, *at] for array in arrays), f"{case}, column {at}")
    elif is_bounded(x1.shape, str(x1.dtype)):
        flat = fc.Scan(scan.y.reshape(-1), np.reshape(scan.state, ())[()])
        expected.agree_within_rounding(flat, *(array.reshape(-1) for array in arrays), case)
        assert (scan.y.shape, np.shape(scan.state)) == (x1.shape, x1.shape[1:])
    else:
        expected.agree(scan, wanted, case)


TOY = [(shape, dtypes) for *dtypes, shapes in TOY_DTYPES for shape in shapes]
GATED = [
    (shape, dtypes)
    for dtypes in GATED_DTYPES
    for shape in {"int16": ONE, "uint8": MANY}.get(dtypes[0], SHAPES)  # as for TOY
]


@pytest.mark.parametrize(("shape", "dtypes"), TOY, ids=str)
def test_toy_scan_is_the_oracle(shape, dtypes):
    arrays = toy_inputs(shape, dtypes)
    wanted = expected.toy(*arrays)
    for layout, lay_out, threads in in_turn(shape):
        given = [lay_out(x) for x in arrays]
        before = [x.tobytes() for x in given]
        scan = fc.toy_scan(*given, threads=threads)
        check_toy(scan, arrays, wanted, f"{layout}, {threads} threads", in_groups=layout == "F")
        assert before == [x.tobytes() for x in given], f"{layout}: an input was modified"


@pytest.mark.parametrize(("shape", "dtypes"), GATED, ids=str)
def test_gated_scan_is_the_oracle(shape, dtypes):
    arrays = gated_inputs(shape, dtypes)
    wanted = expected.gated(*arrays)
    for layout, lay_out, threads in in_turn(shape):
        given = [lay_out(x) for x in arrays]
        before = [x.tobytes() for x in given]
        scan = fc.gated_scan(*given, threads=threads)
        expected.agree_gated(scan, arrays, wanted, f"{layout}, {threads} threads")
        assert before == [x.tobytes() for x in given], f"{layout}: an input was modified"


@pytest.mark.parametrize("shape", [(30, 20), (12, 5, 7), (6, 2, 3, 5)], ids=str)
@pytest.mark.parametrize("scan", ["toy", "gated"])
def test_arrays_of_different_layouts(shape, scan):
    toy = scan == "toy"
    arrays = toy_inputs(shape, USUAL) if toy else gated_inputs(shape, GATED_DTYPES[0])
    wanted = (expected.toy if toy else expected.gated)(*arrays)
    run = fc.toy_scan if toy else fc.gated_scan

    def agree(got, case):
        check_toy(got, arrays, wanted, case, in_groups=True) if toy else expected.agree(got, wanted, case)

    for axes, lay_out in orders(len(shape)):
        agree(run(*map(lay_out, arrays)), f"all arrays in order {axes}")
        for k in range(len(arrays)):
            given = list(arrays)
            given[k] = lay_out(arrays[k])
            agree(run(*given), f"array {k} alone in order {axes}")
        out = lay_out(np.zeros_like(wanted.y))
        assert run(*arrays, out=out).y is out
        agree(fc.Scan(out, wanted.state), f"out in order {axes}")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [*itertools.product(["float32", "int64"], [(4,), (1100,), (40, 3), (40, 33), (9, 4, 5)]), ("float64", (1100,))],
    ids=str,
)
def test_packed_rows_are_read_in_any_layout(shape, dtype):
    arrays = toy_inputs(shape, (dtype, dtype, dtype))
    wanted = expected.toy(*arrays)
    packed = np.stack(arrays, axis=-1)
    for layout, lay_out in problems.LAYOUTS.items():
        check_toy(fc.toy_scan(lay_out(packed)), arrays, wanted, layout)


@pytest.mark.parametrize("shape", [(1100,), (1100, 5), (300, 33), (60, 4, 5)], ids=str)
@pytest.mark.parametrize("dtypes", [USUAL, ("int64", "int8", "int8")], ids="-".join)
@pytest.mark.parametrize("order", ["C", "F"])
def test_toy_scan_in_chunks(shape, dtypes, order):
    arrays = [np.asarray(x, order=order) for x in toy_inputs(shape, dtypes)]
    wanted = expected.toy(*arrays)
    T = shape[0]
    for cuts in ([0, 1, T], [63, 64, 65, 127, 128, 129], [T // 2], [T - 1], range(1, T, 7), []):
        edges = [0, *cuts, T]
        state, pieces = None, []
        for number, (first, last) in enumerate(itertools.pairwise(edges)):
            piece = [x[first:last] for x in arrays]
            y, state = fc.toy_scan(*piece, state=state, threads=THREADS[number % 3])
            pieces.append(y)
        whole = fc.Scan(np.concatenate(pieces), state)
        check_toy(whole, arrays, wanted, f"cuts {list(cuts)[:6]}", in_groups=order == "F")


@pytest.mark.parametrize("shape", [(1100,), (300, 33), (300, 5)], ids=str)
@pytest.mark.parametrize("dtypes", [GATED_DTYPES[0], GATED_DTYPES[5]], ids="-".join)
@pytest.mark.parametrize("order", ["C", "F"])
def test_gated_scan_in_chunks(shape, dtypes, order):
    arrays = [np.asarray(x, order=order) for x in gated_inputs(shape, dtypes)]
    wanted = expected.gated(*arrays)
    for cut in (0, 1, 7, 64, 128, shape[0] - 1, shape[0]):
        first = fc.gated_scan(*(x[:cut] for x in arrays), threads=2)
        second = fc.gated_scan(*(x[cut:] for x in arrays), state=first.state)
        expected.agree(fc.Scan(np.concatenate([first.y, second.y]), second.state), wanted, f"cut at {cut}")


@pytest.mark.parametrize("scan", ["toy", "gated"])
@pytest.mark.parametrize("shape", [(400,), (400, 5), (60, 33), (40, 3, 4)], ids=str)
@pytest.mark.parametrize("more", [0, 3])
def test_keys_are_separate_streams(scan, shape, more):
    toy = scan == "toy"
    arrays = toy_inputs(shape, USUAL) if toy else gated_inputs(shape, GATED_DTYPES[0])
    run, oracle = (fc.toy_scan, expected.toy) if toy else (fc.gated_scan, expected.gated)
    rng = np.random.default_rng(5)
    keys = rng.integers(0, 9, shape[0])
    keys[-1] = 8
    state = rng.standard_normal((9 + more, *shape[1:]))
    start = state.copy()
    for layout, lay_out in problems.LAYOUTS.items():
        given = [lay_out(x) for x in arrays]
        got = run(*given, keys=lay_out(keys), state=lay_out(state))
        expected.agree(got, oracle(*arrays, keys=keys, state=state), layout)
        expected.agree(run(*given, keys=keys), oracle(*arrays, keys=keys), f"{layout}, no state")
    for key in range(9 + more):
        alone = run(*(x[keys == key] for x in arrays), state=state[key])
        if not (toy and is_bounded((np.count_nonzero(keys == key), *shape[1:]), "float32")):
            expected.agree(alone, (got.y[keys == key], got.state[key]), f"stream {key}")
    np.testing.assert_array_equal(state, start)
    cut = shape[0] // 3
    first = run(*(x[:cut] for x in arrays), keys=keys[:cut], state=state)
    second = run(*(x[cut:] for x in arrays), keys=keys[cut:], state=first.state)
    expected.agree((np.concatenate([first.y, second.y]), second.state), got, "cut and carried over")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_keys_of_any_integer_dtype(dtype):
    arrays = toy_inputs((90, 2), USUAL)
    gates = gated_inputs((90, 2), GATED_DTYPES[0])
    keys = (np.arange(90) * 7 % 11).astype(dtype)
    if dtype in ("int8", "int32", "uint16", "uint64"):  # kernels of both read them in one way
        expected.agree(fc.toy_scan(*arrays, keys=keys), expected.toy(*arrays, keys=keys))
    else:
        expected.agree(fc.gated_scan(*gates, keys=keys), expected.gated(*gates, keys=keys))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(40, 32), (41, 37), (3, 8), (4, 64)], ids=str)
def test_writing_past_the_caches(shape, dtype, monkeypatch):
    arrays = toy_inputs(shape, (dtype, "int8", "int8"))
    monkeypatch.setattr(dispatch, "_STREAM", 0)  # as if y were too large for the caches
    for threads in THREADS:
        expected.agree(fc.toy_scan(*arrays, threads=threads), expected.toy(*arrays), f"{threads} threads")


@pytest.mark.parametrize(("shape", "order"), [((1 << 19,), "C"), ((1 << 12, 130), "C"), ((1 << 12, 130), "F")])
def test_threads_of_the_library_s_own_choice_on_large_input(shape, order):
    arrays = [np.asarray(x, order=order) for x in toy_inputs(shape, USUAL)]
    expected.agree(fc.toy_scan(*arrays), fc.toy_scan(*arrays, threads=1))
    gates = [np.asarray(x, order=order) for x in gated_inputs(shape, GATED_DTYPES[0])]
    expected.agree(fc.gated_scan(*gates), fc.gated_scan(*gates, threads=1))
