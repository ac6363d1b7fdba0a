"""What must not be passed: the error, its words, and that nothing was written."""

import re

import numpy as np
import pytest

import fastcell as fc

X = np.ones(4)
R = np.ones(4, np.int8)
BIG = 2**62


def toy(*arguments, **options):
    return lambda: fc.toy_scan(*arguments, **options)


def gated(*arguments, **options):
    return lambda: fc.gated_scan(*arguments, **options)


def read_only():
    out = np.zeros(4)
    out.flags.writeable = False
    return out


ERRORS = {
    "x2 too short": (toy(X, R[:3], R), ValueError, "x2 must have the shape of x1, (4,), got (3,)"),
    "x3 of another shape": (toy(X, R, R[:, None]), ValueError, "x3 must have the shape of x1, (4,), got (4, 1)"),
    "scalar": (toy(1.0, 1, 1), ValueError, "x1 must have a time axis, got a scalar"),
    "not packed": (toy(X), ValueError, "x must have shape (T, ..., 3) when x2 and x3 are not given, got (4,)"),
    "x3 missing": (toy(X, R), TypeError, "x3 must be given with the other one, got None"),
    "object": (toy(X.astype(object), R, R), TypeError, "x1 must hold bool, integers, float32 or float64, got object"),
    "complex": (toy(X * 1j, R, R), TypeError, "x1 must hold bool, integers, float32 or float64, got complex128"),
    "text": (toy(X, ["1", "1", "0", "0"], R), TypeError, "x2 must hold bool, integers, float32 or float64, got <U1"),
    "half": (toy(X.astype("f2"), R, R), TypeError, "x1 must hold bool, integers, float32 or float64, got float16"),
    "dates": (
        toy(X, R, R.astype("M8[s]")),
        TypeError,
        "x3 must hold bool, integers, float32 or float64, got datetime64[s]",
    ),
    "x2 of 3": (toy(X, [1, 2, 3, 4], R), ValueError, "x2 must be -1, 0, 1 or 2, got 3 at index 2"),
    "x2 nan": (toy(X, [1, np.nan, 3, 4], R), ValueError, "x2 must be -1, 0, 1 or 2, got nan at index 1"),
    "x2 of 255": (toy(X, np.full(4, 255, "u1"), R), ValueError, "x2 must be -1, 0, 1 or 2, got 255 at index 0"),
    "x3 of -1": (toy(X, R, -R), ValueError, "x3 must be 0 or 1, got -1 at index 0"),
    "x3 in a matrix": (
        toy(np.ones((2, 2)), np.ones((2, 2)), [[1, 0], [0, 0.5]]),
        ValueError,
        "x3 must be 0 or 1, got 0.5 at index (1, 1)",
    ),
    "packed": (toy([[1, 1, 0], [1, 5, 0]]), ValueError, "x2 must be -1, 0, 1 or 2, got 5 at index 1"),
    "state shape": (toy(X, R, R, state=[1.0, 2.0]), ValueError, "state must have shape (), got (2,)"),
    "state dtype": (toy(X, R, R, state="a"), TypeError, "state must hold bool, integers, float32 or float64, got <U1"),
    "float state": (toy(R, R, R, state=0.5), TypeError, "state must hold integers, as the values do, got float64"),
    "keys shape": (toy(X, R, R, keys=[0, 1]), ValueError, "keys must have the shape of the time axis, (4,), got (2,)"),
    "keys dtype": (toy(X, R, R, keys=X), TypeError, "keys must hold integers, got float64"),
    "key of -1": (toy(X, R, R, keys=[0, -1, 0, 0]), ValueError, "keys must be from 0 to K - 1 = 0, got -1 at index 1"),
    "key too large": (
        toy(X, R, R, keys=[0, 1, 2, 3], state=np.zeros(2)),
        ValueError,
        "keys must be from 0 to K - 1 = 1, got 2 at index 2",
    ),
    "out list": (toy(X, R, R, out=[0.0] * 4), TypeError, "out must be a numpy array, got list"),
    "out shape": (toy(X, R, R, out=np.zeros(5)), ValueError, "out must have shape (4,), got (5,)"),
    "out dtype": (toy(X, R, R, out=np.zeros(4, "f4")), TypeError, "out must hold float64, got float32"),
    "out read-only": (toy(X, R, R, out=read_only()), ValueError, "out must be writeable, got a read-only array"),
    "out overlaps": (toy(X, R, R, out=X), ValueError, "out must not overlap an input, got memory shared with x1"),
    "fill text": (toy(X, R, R, fill="0"), TypeError, "fill must be a number, got '0'"),
    "fill nan": (
        toy(R, R, R, fill=np.nan),
        ValueError,
        "fill must be an integer where the values are integers, got nan",
    ),
    "fill huge": (toy(R, R, R, fill=2**70), ValueError, "fill must fit int64, got 1180591620717411303424"),
    "threads 0": (toy(X, R, R, threads=0), ValueError, "threads must be at least 1, got 0"),
    "threads 1.5": (toy(X, R, R, threads=1.5), TypeError, "threads must be an integer or None, got float"),
    "threads True": (toy(X, R, R, threads=True), TypeError, "threads must be an integer or None, got bool"),
    "too large": (toy(np.full(4, 2**63, "u8"), R, R), OverflowError, "x1 must fit int64, got 9223372036854775808"),
    "sum too large": (toy(np.full(4, BIG), R, R), OverflowError, "an integer memory leaves int64"),
    "gate shape": (gated(X, R[:3], R, R), ValueError, "f must broadcast to the shape of x, (4,), got (3,)"),
    "gate dtype": (gated(X, 1, "x", R), TypeError, "i must hold bool, integers, float32 or float64, got <U1"),
    "gated scalar": (gated(1.0, 1, 1, 1), ValueError, "x must have a time axis, got a scalar"),
    "gated overlap": (
        gated(X, 1, 1, R * X, out=X),
        ValueError,
        "out must not overlap an input, got memory shared with x",
    ),
    "product too large": (gated(np.full(4, BIG), 2, 1, 1), OverflowError, "an integer memory leaves int64"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error(name):
    call, error, message = ERRORS[name]
    with pytest.raises(error, match=re.escape(message)):
        call()


@pytest.mark.parametrize("shape", [(400,), (400, 3), (40, 33)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_nothing_is_written_on_an_error(shape, order):
    x = np.full(shape, BIG, order=order)
    rules = np.ones(shape, np.int8, order=order)
    out = np.full(shape, 7, order=order)
    with pytest.raises(OverflowError):
        fc.toy_scan(x, rules, rules, out=out)
    rules[-1] = 3
    with pytest.raises(ValueError, match="x2 must be"):
        fc.toy_scan(x, rules, rules, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("at", [0, 1, 63, 64, 65, 130, 398, 399])
def test_a_bad_rule_is_found_wherever_it_stands(at):
    x, rules = np.ones(400), np.ones(400, np.int8)
    bad = rules.copy()
    bad[at] = 3
    with pytest.raises(ValueError, match=f"x3 must be 0 or 1, got 3 at index {at}"):
        fc.toy_scan(x, rules, bad)


def test_integers_up_to_the_end_of_int64():
    y, state = fc.toy_scan([2**63 - 2, 1], [1, 1], [1, 1])
    assert y.tolist() == [2**63 - 2, 2**63 - 1]
    assert state == 2**63 - 1
    with pytest.raises(OverflowError):
        fc.toy_scan([1], [1], [0], state=state)
    assert fc.toy_scan([5], [-1], [1], state=state).y.tolist() == [0]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 2, 2), (2, 0, 2)], ids=str)
def test_empty_input_is_an_answer(shape):
    x, rules = np.ones(shape, np.float32), np.ones(shape, np.int8)
    for y, state in (fc.toy_scan(x, rules, rules), fc.gated_scan(x, x, x, x)):
        assert (y.dtype, y.shape) == (np.float32, shape)
        assert (np.asarray(state).dtype, np.shape(state)) == (np.float64, shape[1:])
        assert not np.any(state)
    state = np.full(shape[1:], 4.0)
    np.testing.assert_array_equal(fc.toy_scan(x[:0], rules[:0], rules[:0], state=state).state, state)
    assert fc.toy_scan(x[:0], rules[:0], rules[:0], keys=[]).state.shape == (0, *shape[1:])
