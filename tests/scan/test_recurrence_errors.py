"""Refusals that depend on layout, on the kernel or on `out`: the whole message, and nothing written."""

import re

import numpy as np
import pytest

import fastcell as fc
from tests.helpers import problems

T, B = 40, 37
LARGEST = 2**63 - 1
DTYPES = "bool, integers, float32 or float64"


def toy(shape=(T,), dtype="float64"):
    return [x.copy() for x in problems.toy(shape, dtype)]


def refuses(call, error, message):
    """Assert that the call raises this error with these words and no others."""
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


SHAPES = [(T,), (T, 3), (T, B), (9, 4, 5)]
LAYOUTS = [name for name in problems.LAYOUTS if name != "read-only"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "bad", "allowed"), [("x2", 3, "-1, 0, 1 or 2"), ("x3", -1, "0 or 1")])
def test_the_first_bad_rule_is_named_in_any_layout(shape, layout, name, bad, allowed):
    rng = np.random.default_rng(0)
    for _ in range(5):
        arrays = dict(zip(("x1", "x2", "x3"), toy(shape), strict=True))
        places = sorted(tuple(rng.integers(0, shape).tolist()) for _ in range(3))
        for place in places:
            arrays[name][place] = bad
        out = np.full(shape, 7.0)
        state = np.full(shape[1:], 3.0)
        at = places[0] if len(shape) > 1 else places[0][0]
        given = [problems.LAYOUTS[layout](x) for x in arrays.values()]
        refuses(
            lambda given=given, out=out, state=state: fc.toy_scan(*given, out=out, state=state),
            ValueError,
            f"{name} must be {allowed}, got {bad} at index {at}",
        )
        assert (out == 7).all()
        assert (state == 3).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_the_first_bad_rule_of_packed_rows(layout, dtype):
    packed = np.stack(toy((T, B), dtype), axis=-1)
    packed[11, 5, 1] = packed[30, 2, 2] = packed[12, 0, 1] = 9
    given, got = problems.LAYOUTS[layout](packed), packed[11, 5, 1]
    refuses(lambda: fc.toy_scan(given), ValueError, f"x2 must be -1, 0, 1 or 2, got {got} at index (11, 5)")
    packed[..., 1] = 0
    given = problems.LAYOUTS[layout](packed)
    refuses(lambda: fc.toy_scan(given), ValueError, f"x3 must be 0 or 1, got {got} at index (30, 2)")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.5, -0.5, 1 + 2**-23, -2, 3, 255])
def test_rules_that_are_no_rules(bad):
    x1, x2, x3 = toy((T, B))
    for name, dtype in (("x2", "float32"), ("x2", "float64"), ("x3", "float32"), ("x3", "float64")):
        rules = {"x2": x2.astype(dtype), "x3": x3.astype(dtype)}
        rules[name][7, 33] = bad
        with pytest.raises(ValueError, match=rf"^{name} must be .*0(, 1 or 2| or 1), got .* at index \(7, 33\)$"):
            fc.toy_scan(x1.astype(dtype), **rules)
        with pytest.raises(ValueError, match=rf"^{name} must be .*0(, 1 or 2| or 1), got .* at index \(7, 33\)$"):
            fc.rules_to_gates(**rules)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64"])
def test_the_largest_unsigned_rule_is_not_minus_one(dtype):
    x1, rules = np.ones(3), np.array([0, np.iinfo(dtype).max, 1], dtype)
    largest = np.iinfo(dtype).max
    refuses(
        lambda: fc.toy_scan(x1, rules, rules), ValueError, f"x2 must be -1, 0, 1 or 2, got {largest} at index 1"
    )  # fmt: skip


def overlapping():
    """Calls whose `out` shares memory with each input, and the input's name."""
    x = np.ones(2 * T)
    codes = np.zeros(T, np.int64)
    rules = np.ones(T, np.int8)
    others, rule_room, key_room, state_room = np.ones(T), np.ones(T), np.zeros(T, np.int64), np.ones((1, 1))
    buffer = np.ones(T)
    return {
        "the same": (lambda: fc.toy_scan(x[:T], rules, rules, out=x[:T]), "x1"),
        "shifted": (lambda: fc.toy_scan(x[:T], rules, rules, out=x[1 : T + 1]), "x1"),
        "reversed": (lambda: fc.toy_scan(x[:T], rules, rules, out=x[:T][::-1]), "x1"),
        "x2": (lambda: fc.toy_scan(x[:T], rule_room, others, out=rule_room), "x2"),
        "x3": (lambda: fc.toy_scan(x[:T], others, rule_room, out=rule_room), "x3"),
        "keys": (lambda: fc.toy_scan(codes, rules, rules, keys=key_room, out=key_room), "keys"),
        "state": (lambda: fc.toy_scan([[1.0]], [[1]], [[1]], state=state_room[0], out=state_room), "state"),
        "gate": (lambda: fc.gated_scan(x[:T], 1, 1, rule_room, out=rule_room), "o"),
        "memoryview": (lambda: fc.toy_scan(memoryview(buffer), rules, rules, out=buffer), "x1"),
    }  # fmt: skip


@pytest.mark.parametrize("name", overlapping())
def test_out_may_not_overlap(name):
    call, argument = overlapping()[name]
    refuses(call, ValueError, f"out must not overlap an input, got memory shared with {argument}")


def test_out_in_another_byte_order():
    x1, x2, x3 = toy()
    out = np.zeros(T, np.dtype("float64").newbyteorder())
    refuses(lambda: fc.toy_scan(x1, x2, x3, out=out), TypeError, f"out must hold float64, got {out.dtype}")


@pytest.mark.parametrize("scan", ["toy", "gated"])
@pytest.mark.parametrize("name", ["x1", "x2", "x3"])
@pytest.mark.parametrize(
    "wrong",
    [np.zeros(T, object), np.zeros(T, complex), np.zeros(T, "U1"), np.zeros(T, "S1"), np.zeros(T, "float16"),
     np.zeros(T, "longdouble"), np.zeros(T, "M8[s]"), np.zeros(T, "m8[s]"), np.zeros(T, [("a", "f8")])],
    ids=lambda x: str(x.dtype),
)  # fmt: skip
def test_dtypes_that_are_no_numbers(scan, name, wrong):
    if wrong.dtype == np.float64:
        pytest.skip("long double is float64 here")
    arguments = dict(zip(("x1", "x2", "x3"), toy(), strict=True))
    arguments[name] = wrong
    if scan == "gated":
        arguments = dict(zip("xfi", arguments.values(), strict=True), o=1)
        name = {"x1": "x", "x2": "f", "x3": "i"}[name]
    run = fc.toy_scan if scan == "toy" else fc.gated_scan
    refuses(lambda: run(**arguments), TypeError, f"{name} must hold {DTYPES}, got {wrong.dtype}")


@pytest.mark.parametrize(
    ("keys", "state", "message"),
    [
        ([0, -1, 5], np.zeros(4), "keys must be from 0 to K - 1 = 3, got -1 at index 1"),
        ([0, 5, -1], np.zeros(4), "keys must be from 0 to K - 1 = 3, got 5 at index 1"),
        ([0, 1, 4], np.zeros(4), "keys must be from 0 to K - 1 = 3, got 4 at index 2"),
        (np.array([0, 200, 1], np.uint8), np.zeros(4), "keys must be from 0 to K - 1 = 3, got 200 at index 1"),
    ],
)
@pytest.mark.parametrize("columns", [(), (2,)])
def test_keys_without_a_state(keys, state, message, columns):
    arrays = toy((3, *columns))
    state = np.broadcast_to(state.reshape(-1, *[1] * len(columns)), (4, *columns))
    out = np.full((3, *columns), 7.0)
    refuses(lambda: fc.toy_scan(*arrays, keys=keys, state=state, out=out), ValueError, message)
    gates = [arrays[0], 1.0, 1.0, 1.0]
    refuses(lambda: fc.gated_scan(*gates, keys=keys, state=state, out=out), ValueError, message)
    assert (out == 7).all()


@pytest.mark.parametrize("state", [0.0, np.zeros((4, 2)), np.zeros((2, 4, 3))], ids=np.shape)
def test_a_state_that_does_not_fit_the_keys(state):
    arrays, keys = toy((5, 3)), np.zeros(5, int)
    with pytest.raises(ValueError, match=rf"^state must have shape .*, got {re.escape(str(np.shape(state)))}$"):
        fc.toy_scan(*arrays, keys=keys, state=state)


def test_a_scalar_state_is_none_for_keys():
    with pytest.raises(ValueError, match=r"^state must have shape .*, got \(\)$"):
        fc.toy_scan([1.0], [1], [1], keys=[0], state=0.0)


# ---- integers that leave int64 ----


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("shape", [(3000,), (T, 3), (T, B), (T, 64)], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_overflow_anywhere_is_noticed_and_nothing_is_written(shape, order, keyed, sign, threads):
    rng = np.random.default_rng(0)
    x1, x2, x3 = toy(shape, "int64")
    keys = rng.integers(0, 3, shape[0]) if keyed else None
    for column in {0, int(np.prod(shape[1:], dtype=int)) - 1}:
        x1[...], x2[...], x3[...] = 0, 0, 0
        flat = [x.reshape(shape[0], -1)[:, column] for x in (x1, x2)]
        at = int(rng.integers(1, shape[0]))
        if keyed:
            keys[at] = keys[0]
        flat[1][[0, at]] = 1  # never shown, and reset at once: the memory did leave int64
        flat[0][[0, at]] = (LARGEST, 1) if sign > 0 else (-LARGEST - 1, -1)
        if at + 1 < shape[0]:
            flat[1][at + 1] = -1
        arrays = [np.asarray(x, order=order) for x in (x1, x2, x3)]
        out, state = np.full(shape, 7), np.zeros((3, *shape[1:]) if keyed else shape[1:], int)
        with pytest.raises(OverflowError, match="int64"):
            fc.toy_scan(*arrays, keys=keys, state=state, out=out, threads=threads)
        assert (out == 7).all()
        assert not state.any()
        arrays[0].reshape(shape[0], -1)[at] = 0
        assert fc.toy_scan(*arrays, keys=keys, state=state, out=out, threads=threads).y is out
        assert not out.any()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(T,), (T, 3), (T, B)], ids=str)
@pytest.mark.parametrize(
    ("x", "f", "i", "o", "state"),
    [(1, 1, 1, 0, LARGEST), (2**62, 0, 2, 1, 0), (0, 2, 0, 0, 2**62), (2**62, 0, 1, 2, 0), (-1, 1, 1, 0, -LARGEST - 1)],
    ids=["sum", "i * x", "f * a", "o * a", "least"],
)
def test_every_operation_of_the_gated_scan_is_checked(shape, order, x, f, i, o, state):
    arrays = [np.zeros(shape, int, order=order) for _ in range(4)]
    arrays[1][...] = 1
    start = np.zeros(shape[1:], int)
    place = tuple(n - 1 for n in shape)
    start[place[1:]] = state
    out = np.full(shape, 7)
    fc.gated_scan(*arrays, state=start, out=out.copy())
    for array, value in zip(arrays, (x, f, i, o), strict=True):
        array[place] = value
    with pytest.raises(OverflowError, match="int64"):
        fc.gated_scan(*arrays, state=start, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_sums_that_leave_int64_only_in_another_order(threads):
    x1 = np.zeros(6000, int)
    x1[[10, 11, 4000, 4001]] = LARGEST, -LARGEST, LARGEST, -LARGEST
    rules = np.ones(6000, np.int8)
    y, state = fc.toy_scan(x1, rules, rules, threads=threads)
    np.testing.assert_array_equal(y, np.cumsum(x1))
    assert state == 0


BEYOND = np.array([2**63], np.uint64)


def test_unsigned_values_beyond_int64():
    refuses(lambda: fc.toy_scan(BEYOND, [1], [1]), OverflowError, f"x1 must fit int64, got {2**63}")
    refuses(lambda: fc.gated_scan(BEYOND, 1, 1, 1), OverflowError, f"x must fit int64, got {2**63}")


def test_unsigned_state_beyond_int64():
    refuses(lambda: fc.toy_scan([1], [0], [1], state=BEYOND[0]), OverflowError, f"state must fit int64, got {2**63}")


def test_unsigned_numbers_beyond_int64_are_floats_beside_floats():
    assert fc.gated_scan(BEYOND, 1.0, 1, 1).y == 2.0**63
    assert fc.toy_scan([1.0], [0], [1], state=BEYOND[0]).y == 2.0**63


@pytest.mark.parametrize(
    ("fill", "values", "error"),
    [("0", "float64", TypeError), (None, "float64", TypeError), (1j, "float64", TypeError), ([0], "int64", TypeError),
     (0.5, "int64", ValueError), (np.nan, "int8", ValueError), (np.inf, "int64", ValueError),
     (2**63, "int64", ValueError)],
    ids=str,
)  # fmt: skip
def test_fill_of_the_wrong_kind(fill, values, error):
    arrays, out = toy((T,), values), np.full(T, 7, "int64" if "int" in values else values)
    with pytest.raises(error, match=r"^fill must .*, got "):
        fc.toy_scan(*arrays, fill=fill, out=out)
    assert (out == 7).all()


def test_rules_to_gates_refuses():
    refuses(lambda: fc.rules_to_gates([1, 0], [1]), ValueError, "x3 must have the shape of x2, (2,), got (1,)")
    refuses(lambda: fc.rules_to_gates([1, 3], [1, 1]), ValueError, "x2 must be -1, 0, 1 or 2, got 3 at index 1")
    refuses(lambda: fc.rules_to_gates([1, 1], [1, 3]), ValueError, "x3 must be 0 or 1, got 3 at index 1")
    refuses(lambda: fc.rules_to_gates(["a"], [1]), TypeError, f"x2 must hold {DTYPES}, got <U1")
    f, i, o = fc.rules_to_gates(np.zeros((0, 3)), np.zeros((0, 3)))
    assert [(g.dtype, g.shape) for g in (f, i, o)] == [(np.int8, (0, 3))] * 3


def test_strict_is_true_or_false():
    with pytest.raises(ValueError, match="strict must be True or False, got array"):
        fc.toy_scan([1.0], [7], [1], strict=np.array([1, 2]))
