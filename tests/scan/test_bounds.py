"""`low` and `high` of toy_scan: after each step the memory is held between them."""

import itertools

import numpy as np
import pytest

import fastcell as fc
from fastcell.scan import small_calls
from tests.helpers import expected, problems

SHAPES = [(1,), (9,), (70,), (900,), (2100,), (7, 3), (40, 16), (130, 37), (300, 9), (20, 3, 5), (0,), (3, 0)]
BOUNDS = [(0, None), (None, 30), (-20, 30), (7, 7), (40, 60)]
STARTS = 0, -100, 25, 1000  # inside some bounds and outside others


def inputs(shape, dtype="float64", rules="int8", forgets=0.01):
    rng = np.random.default_rng([5, *shape])
    x1 = rng.integers(-12, 13, shape).astype(dtype)
    x2 = np.where(rng.random(shape) < forgets, rng.choice([-1, 2], shape), rng.choice([0, 1, 1, 1], shape))
    return x1, x2.astype(rules), rng.integers(0, 2, shape).astype(rules)


def test_by_hand():
    y, state = fc.toy_scan([3, 5, -9, 4], 1, 1, low=0, high=7)
    assert y.tolist() == [3, 7, 0, 4]
    assert (y.dtype, state.dtype, state) == (np.int64, np.int64, 4)
    # a keep, a reset and a restart are held too; a state may lie outside until the first step
    y, state = fc.toy_scan([0.0, 0.0, 9.0, 1.0], np.int8([0, -1, 2, 1]), 1, state=10.0, low=2, high=5)
    assert y.tolist() == [5, 2, 5, 5]
    y, _ = fc.toy_scan([-3.0], 1, 1, state=10.0, high=5)
    assert y.tolist() == [5]  # of 7, not of 5 - 3
    y, _ = fc.toy_scan(np.float32([0.25]), 1, 1, high=0.1)
    assert (y.dtype, y[0]) == (np.float32, np.float32(0.1))


@pytest.mark.parametrize(
    ("dtype", "threads"), [("float32", [None]), ("float64", [None]), ("int64", [None]), ("float64", [1, 2, 5])], ids=str
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bounds_are_the_oracle_s(shape, dtype, threads, monkeypatch):
    """With a number of threads by the kernels for large arrays."""
    if threads != [None]:
        monkeypatch.setattr(small_calls, "SMALL", 0)
    for forgets, (low, high) in itertools.product((0.003, 0.3), BOUNDS):
        arrays = inputs(shape, dtype, forgets=forgets)
        for start in STARTS if shape == (2100,) else STARTS[:2]:
            state = np.full(shape[1:], start)
            wanted = expected.toy(*arrays, state=state, low=low, high=high)
            for layout in ("C", "F", "strided", "reversed"):
                given = [problems.LAYOUTS[layout](x) for x in arrays]
                for count in threads:
                    scan = fc.toy_scan(*given, state=state, low=low, high=high, threads=count)
                    expected.agree(scan, wanted, f"{low} to {high} from {start}, {layout}, {count} threads")


def test_keys():
    keys = np.arange(400) * 7 % 13
    for shape, dtype in (((400,), "float64"), ((400, 3), "int32")):
        arrays = inputs(shape, dtype)
        state = np.full((13, *shape[1:]), 50)
        for low, high in BOUNDS:
            options = {"keys": keys, "state": state, "low": low, "high": high}
            expected.agree(fc.toy_scan(*arrays, **options), expected.toy(*arrays, **options), f"{shape}, {dtype}")


def test_fill_strict_out_and_rows():
    x1, x2, x3 = inputs((50,))
    x2[[3, 30]] = 5
    wanted = expected.toy(x1, x2, x3, fill=-1, strict=False, low=0, high=20)
    out = np.empty(50)
    scan = fc.toy_scan(x1, x2, x3, fill=-1, strict=False, low=0, high=20, out=out)
    assert scan.y is out
    expected.agree(scan, wanted)
    with pytest.raises(ValueError, match="x2 must be -1, 0, 1 or 2, got 5 at index 3"):
        fc.toy_scan(x1, x2, x3, low=0)
    rows = np.stack(inputs((50,)), 1)
    expected.agree(fc.toy_scan(rows, low=0), expected.toy(*inputs((50,)), low=0))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(2500,), (60, 20)], ids=str)
def test_a_cut_goes_on(shape, dtype):
    arrays = inputs(shape, dtype)
    wanted = fc.toy_scan(*arrays, low=-5, high=40)
    for cut in (1, 17, len(arrays[0]) // 2, len(arrays[0]) - 1):
        first, state = fc.toy_scan(*(x[:cut] for x in arrays), low=-5, high=40)
        rest = fc.toy_scan(*(x[cut:] for x in arrays), state=state, low=-5, high=40)
        expected.agree(fc.Scan(np.concatenate([first, rest.y]), rest.state), wanted, f"cut at {cut}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_column_of_floats(dtype):
    """Clamped sums take no difference apart, so that rounding is at most that of the sums; threads change no bit."""
    rng = np.random.default_rng(1)
    x1 = rng.standard_normal(20_000).astype(dtype)
    x2, x3 = np.where(rng.random(20_000) < 0.001, -1, 1).astype(np.int8), np.ones(20_000, np.int8)
    for low, high in ((0.0, None), (-1.7, 2.3), (None, 1e18), (-1e18, 0.1)):
        one = fc.toy_scan(x1, x2, x3, low=low, high=high, threads=1)
        wanted = expected.toy(x1.astype(np.float64), x2, x3, low=low, high=high)
        bound = expected.rounding(x1) + (np.finfo(np.float32).eps / 2 * np.abs(wanted.y) if dtype == "float32" else 0)
        assert one.y.dtype == dtype
        assert (np.abs(one.y - wanted.y) <= bound).all()
        assert abs(one.state - wanted.state) <= expected.rounding(x1)
        assert one.y.min() >= (-np.inf if low is None else np.dtype(dtype).type(low))
        assert one.y.max() <= (np.inf if high is None else np.dtype(dtype).type(high))
        for threads in (2, 3, 7):
            expected.agree(fc.toy_scan(x1, x2, x3, low=low, high=high, threads=threads), one, f"{threads} threads")


@pytest.mark.parametrize(
    ("shape", "forgets", "values"),
    [
        *((*of, values) for of in (((3000,), 0), ((3000,), 0.01), ((1000, 2), 0.01)) for values in
          ("nan", "infinities", "mixed", "huge")),
        ((420, 40), 0.01, "mixed"),  # no small call
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_usual_number(shape, forgets, values):
    rng = np.random.default_rng(2)
    x1, x2, x3 = inputs(shape, forgets=forgets)
    odd = {
        "nan": [np.nan],
        "infinities": [np.inf, -np.inf],
        "mixed": [np.nan, np.inf, -np.inf],
        "huge": [9e307, -9e307],
    }
    x1 = np.where(rng.random(shape) < 0.004, rng.choice(odd[values], shape), x1)
    bounds = (0, None), (None, 30), (-20, 30), (-np.inf, np.inf), (-1e308, 1e308), (np.inf, np.inf)
    starts = np.roll((0.0, np.nan, -np.inf, -0.0), list(odd).index(values))
    for k, (low, high) in enumerate(bounds):  # each of them with every start, by two of the four kinds of values
        for start in np.roll(starts, k)[:2]:
            state = np.full(shape[1:], start)
            with np.errstate(all="ignore"):
                wanted = expected.toy(x1, x2, x3, state=state, low=low, high=high)
            for threads in (1, 3):
                scan = fc.toy_scan(x1, x2, x3, state=state, low=low, high=high, threads=threads)
                if values == "huge" and shape == (3000,):  # beside them a sum in groups rounds what is small away
                    np.testing.assert_array_equal(np.isfinite(scan.y), np.isfinite(wanted.y))
                    continue
                expected.agree(scan, wanted, f"{low} to {high} from {start}, {threads} threads")


def test_integers_are_exact_at_the_ends_of_int64():
    least, most = -(2**63), 2**63 - 1
    for shape in ((5,), (5, 40), (3000,)):
        x1 = np.full(shape, most)
        x1[1::2] = -most
        for low, high in ((-5, 2**62), (-(2**62), 2**62 + 1), (least + 1, most - 1)):
            state = np.full(shape[1:], 7)
            expected.agree(
                fc.toy_scan(x1, 1, 1, state=state, low=low, high=high),
                expected.toy(x1, np.int8(1), np.int8(1), state=state, low=low, high=high),
                f"{shape}, {low} to {high}",
            )
    little = np.where(np.arange(3000) % 5, 7, -20)
    for sign in (1, -1):
        ends = sorted((-5 * sign, sign * (most - 3)))
        options = {"state": sign * (most - 9), "low": ends[0], "high": ends[1]}
        wanted = expected.toy(sign * little, np.int8(1), np.int8(1), **options)
        for threads in (1, 2):
            expected.agree(fc.toy_scan(sign * little, 1, 1, threads=threads, **options), wanted, f"{threads} threads")
    for T in (4, 4000):  # an end that has no bound
        up, out = np.full(T, 2**62), np.full(T, 9)
        assert (fc.toy_scan(up, 1, 1, high=most - 1).y[2:] == most - 1).all()
        assert (fc.toy_scan(-up, 1, 1, low=least + 1).y[2:] == least + 1).all()
        for x1, options in ((up, {"low": 0}), (-up, {"high": 0})):
            for threads in (1, 2):
                with pytest.raises(OverflowError, match="an integer memory leaves int64"):
                    fc.toy_scan(x1, 1, 1, out=out, threads=threads, **options)
        assert (out == 9).all()


BAD = {
    "low above high": ({"low": 2, "high": 1}, ValueError, "^low must be at most high, got low=2 and high=1$"),
    "nan": ({"low": np.nan}, ValueError, "^low must be a number, got nan$"),
    "a nan of NumPy's": ({"high": np.float32("nan")}, ValueError, "^high must be a number, got .*nan"),
    "text": ({"high": "3"}, TypeError, "^high must be a number or None, got '3'$"),
    "an array": ({"low": np.zeros(2)}, TypeError, "^low must be a number or None, got array"),
    "complex": ({"low": 1j}, TypeError, "^low must be a number or None, got 1j$"),
    "too large": ({"low": 10**400}, ValueError, "^low must fit float64, got 1000"),
}
BAD_FOR_INTEGERS = {
    "half": ({"low": 0.5}, ValueError, "^low must be an integer where the values are integers, got 0.5$"),
    "infinite": ({"high": np.inf}, ValueError, "^high must be an integer where the values are integers, got inf$"),
    "beyond int64": ({"high": 2**63}, ValueError, "^high must lie between int64's ends, which stand for none, got 92"),
    "int64's end": ({"low": -(2**63)}, ValueError, "^low must lie between int64's ends, which stand for none, got -92"),
}


@pytest.mark.parametrize("name", [*BAD, *BAD_FOR_INTEGERS])
def test_bounds_that_are_none(name):
    options, error, text = (BAD | BAD_FOR_INTEGERS)[name]
    for dtype in (
        ("float32", "int64") if name in BAD and name != "too large" else ["float64" if name in BAD else "int32"]
    ):
        x1 = np.ones(3, dtype)
        out = np.full(3, 9, np.int64 if dtype[0] == "i" else dtype)
        with pytest.raises(error, match=text):
            fc.toy_scan(x1, 1, 1, out=out, **options)
        assert (out == 9).all()


def test_kinds_of_numbers():
    for low in (0, 0.0, np.float32(0), np.int8(0), False, np.uint64(0)):
        for dtype in ("float32", "int8"):
            y, state = fc.toy_scan(np.array([-3, 4], dtype), 1, 1, low=low)
            assert y.tolist() == [0, 4]
            assert y.dtype == ("float32" if dtype == "float32" else "int64")
            assert state.dtype == ("float64" if dtype == "float32" else "int64")


def test_no_bounds_is_as_before():
    arrays = inputs((300, 5))
    expected.agree(fc.toy_scan(*arrays, low=None, high=None), fc.toy_scan(*arrays))
    expected.agree(fc.toy_scan(*arrays, low=-np.inf, high=np.inf), fc.toy_scan(*arrays))
