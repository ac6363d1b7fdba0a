"""`gated_scan` of one long column of floats, whose steps are taken eight at a time: within the rounding of float64."""

import numpy as np
import pytest

import fastcell as fc
from fastcell.scan.dispatch import _SHORT as SHORT
from fastcell.scan.gated_registers import GROUP, SEGMENT, WIDE
from tests.helpers import expected

pytestmark = pytest.mark.usefixtures("large_calls")
LENGTHS = SHORT, SHORT + WIDE + 3, 5 * GROUP - 1, SEGMENT + GROUP + WIDE + 5
GATES = {
    "between": lambda rng, n: rng.random(n),
    "signed": lambda rng, n: rng.uniform(-1, 1, n),
    "beyond 1": lambda rng, n: rng.uniform(-1.3, 1.3, n),
    "slow": lambda rng, n: 1 - 1e-4 * rng.random(n),
    "rules": lambda rng, n: (rng.random(n) < 0.98).astype(float),
    "resets": lambda rng, n: np.where(rng.random(n) < 0.01, 0.0, rng.random(n)),
    "tiny": lambda rng, n: np.where(rng.random(n) < 0.01, 1e-37, rng.random(n)),
    "ones": lambda rng, n: np.ones(n),
}
CONSTANTS = 0.0, 0.5, -0.9, 0.999, 1.0, -1.0, 1e-37, 1.1, 2.5
# The first three are test_recurrence_grid.py's, too.
MIXED = (
    ("f4", "i1", "i1", "i1"),
    ("f4", "f8", "i1", "f4"),
    ("i2", "f4", "?", "i1"),
    ("f8", "?", "u1", "i4"),
    ("i8", "i4", "f8", "?"),
)
HARD = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1.7e308, 1e160, 1e-300, 5e-324)


def column(n, dtype, seed=0):
    rng = np.random.default_rng([seed, n])
    return rng, rng.standard_normal(n).astype(dtype), rng.random(n).astype(dtype), rng.uniform(-1, 1, n).astype(dtype)


def check(scan, dtype, x, f, i, o, case, state=0.0):
    """dtype, shape, and values within `gated_rounding` of step after step."""
    options = {"state": np.float64(state)} if state else {}
    wanted = expected.gated(x.astype(np.float64), f, i, o, **options)
    bound, last = expected.gated_rounding(x, f, i, o, state)
    y, after = scan
    assert y.dtype == dtype, case
    assert y.shape == x.shape, case
    assert (np.asarray(after).dtype, np.shape(after)) == (np.float64, ()), case
    if y.dtype == np.float32:  # rounded once more, to half a step of the result
        bound = bound + np.finfo(np.float32).eps / 2 * np.abs(wanted.y) + 1e-45
    error = np.abs(y.astype(np.float64) - wanted.y)
    assert (error <= bound).all(), f"{case}: off by {error.max()} at {np.argmax(error - bound)}"
    assert abs(float(after) - float(wanted.state)) <= last, f"{case}: the state"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gates", GATES)
def test_varying_gates(gates, dtype):
    for n in LENGTHS:
        rng, x, i, o = column(n, dtype)
        f = GATES[gates](rng, n).astype(dtype)
        if gates == "beyond 1" and n > SEGMENT:
            f[::40] = 0  # lest the memory overflows
        state = 3.5 if (n + len(gates)) % 2 else 0.0
        check(fc.gated_scan(x, f, i, o, state=np.float64(state)), dtype, x, f, i, o, f"{n} steps", state)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("f", CONSTANTS)
def test_one_forget_gate_for_all_steps(f, dtype):
    for k, n in enumerate(LENGTHS):
        if f > 1:
            n = min(n, SHORT + 40)
            dtype = "float64"
        _, x, i, o = column(n, dtype)
        kind = x.dtype.type
        forms = (f, 0.1, 1.0), (f, i, 1.0), (kind(f), kind(0.3), o), (kind(f), i, o), (np.array([f]), 1.0, 1.0)
        for gates in forms[k % 2 :: 2]:
            scan = fc.gated_scan(x, *gates, state=np.float64(-2.0))
            y_dtype = np.result_type(x.dtype, *(np.float64 for gate in gates[:1] if np.ndim(gate)))
            full = (np.broadcast_to(np.asarray(gate, np.float64), x.shape) for gate in gates)
            check(scan, y_dtype, x, *full, f"{n}, {gates[:1]}", -2.0)


def test_types_and_strides():
    n = 2 * SHORT + 77
    rng, x, i, o = column(n, "float64")
    f = rng.random(n)
    few = rng.integers(-3, 4, n)
    for dtypes in MIXED:
        arrays = [
            (real if dtype[0] == "f" else np.abs(few) % 2 if dtype in ("?", "u1") else few).astype(dtype)
            for real, dtype in zip((x, f, i, o), dtypes, strict=True)
        ]
        if dtypes[1] in ("i1", "i4"):
            arrays[1] = np.sign(arrays[1])
        wanted = fc.gated_scan(*(np.repeat(a, 2)[::2] for a in arrays))  # every other element: step after step
        scan = fc.gated_scan(*arrays)
        bound, last = expected.gated_rounding(*arrays, 0.0)
        assert scan.y.dtype == wanted.y.dtype, dtypes
        close = np.finfo(scan.y.dtype).eps * np.abs(wanted.y) + bound
        assert (np.abs(scan.y - wanted.y) <= close).all(), dtypes
        assert abs(scan.state - wanted.state) <= last, dtypes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gates", [*GATES, *CONSTANTS[:6]], ids=str)
def test_threads_and_chunks(gates, dtype):
    """The bits don't depend on threads, nor on chunks that begin where sums do."""
    n = 7 * SEGMENT + 3 * GROUP + 11
    rng, x, i, o = column(n, dtype)
    f = GATES[gates](rng, n).astype(dtype) if isinstance(gates, str) else gates
    if gates == "beyond 1":
        f[::40] = 0
    wanted = fc.gated_scan(x, f, i, o, threads=1)
    for threads in (2, 3, 5):
        scan = fc.gated_scan(x, f, i, o, threads=threads)
        assert scan.y.tobytes() == wanted.y.tobytes(), f"{threads} threads"
        assert scan.state.tobytes() == wanted.state.tobytes(), f"{threads} threads"


@pytest.mark.parametrize("seed", range(8))
def test_hard_values_take_the_plain_way(seed):
    """Whatever could overflow, vanish or is no number ends as step after step, whatever the threads."""
    rng = np.random.default_rng(seed)
    n = 3 * SEGMENT + 100
    x = rng.standard_normal(n)
    f, i, o = rng.random(n), rng.random(n), np.ones(n)
    arrays = {"x": x, "f": f, "i": i, "o": o}
    for name in rng.choice(list(arrays), 2):
        arrays[name][rng.integers(0, n, 1 + seed % 3)] = rng.choice(HARD, 1 + seed % 3)
    f[rng.integers(0, n, 5)] = 0
    with np.errstate(all="ignore"):
        wanted = expected.gated(x, f, i, o)
        bound, _ = expected.gated_rounding(x, f, i, o, 0.0)
    for threads in (1, 2, 3):
        y = fc.gated_scan(x, f, i, o, threads=threads).y
        number = np.isfinite(wanted.y)
        np.testing.assert_array_equal(y[~number], wanted.y[~number], err_msg=f"{arrays}")
        assert (np.abs(y[number] - wanted.y[number]) <= bound[number] + 1e-300).all()


def test_products_that_leave_their_range():
    """Gates whose product of a few leaves float64 while each memory is an ordinary number."""
    n = 2 * SEGMENT
    f = np.tile([1e-200, 1e200, 1e-200, 1e200], n // 4)
    x = np.zeros(n)
    x[0] = 1.0
    three = np.tile([1e-150, 1e-150, 1e300, 1.0], n // 4)
    for f_, state in ((f, 1e150), (np.tile([1e120, 1e-120], n // 2), 1.0), (three, 1.0)):
        wanted = expected.gated(x, f_, 1.0, 1.0, state=np.float64(state))
        for threads in (1, 2):
            scan = fc.gated_scan(x, f_, 1.0, 1.0, state=np.float64(state), threads=threads)
            expected.agree(scan, wanted)


def test_a_memory_that_vanishes_and_comes_back():
    """A segment's product of gates is beyond float64, the memory is not: it is not worked out from the product."""
    x = np.zeros(4 * SEGMENT)
    f = np.full(x.size, 0.5)
    f[1000 : SEGMENT + 1000] = 1.0
    wanted = expected.gated(x, f, 1.0, 1.0, state=np.float64(1e140))
    for threads in (1, 2, 3):
        scan = fc.gated_scan(x, f, 1.0, 1.0, state=np.float64(1e140), threads=threads)
        np.testing.assert_allclose(scan.y, wanted.y, rtol=1e-12, atol=1e-318)  # below 1e-308 few digits are left
        assert scan.state == wanted.state == 0.0
    up = np.where(np.arange(x.size) < SEGMENT // 2, 0.9, 1 / 0.9)
    wanted = expected.gated(x[:SEGMENT], up[:SEGMENT], 1.0, 1.0, state=np.float64(1e100))
    scan = fc.gated_scan(x[:SEGMENT], up[:SEGMENT], 1.0, 1.0, state=np.float64(1e100))
    np.testing.assert_allclose(scan.state, wanted.state, rtol=1e-11)


def test_sums_that_overflow_on_the_way_do_so():
    x = np.zeros(SEGMENT + 700)
    x[:5] = 0.0, 1.5e308, 1.5e308, -1.5e308, -1.5e308
    for f in (1.0, np.ones(x.size)):
        with np.errstate(all="ignore"):
            expected.agree(fc.gated_scan(x, f, 1.0, 1.0), expected.gated(x, f, 1.0, 1.0))
