"""Small calls of the scans, which compiled code takes from the checks that look at values on."""

import re
from functools import partial

import numpy as np
import pytest

import fastcell as fc
from fastcell.scan import api as recurrence
from fastcell.scan import small_kernels
from tests.helpers import expected, problems

SHAPES = [(1,), (2,), (63,), (64,), (65,), (300,), (1, 1), (1, 5), (3, 20), (70, 3), (130, 9), (2000, 8)]


@pytest.fixture
def no_other_way(monkeypatch):
    def run(*args):
        raise AssertionError("the call took the way of large arrays")

    monkeypatch.setattr(recurrence, "Run", run)


@pytest.fixture
def way_of_large_arrays(monkeypatch):
    """Counts the calls that take it."""
    calls, run = [], recurrence.Run

    def counted(*args):
        calls.append(args)
        return run(*args)

    monkeypatch.setattr(recurrence, "Run", counted)
    return calls


# Strides are no part of what is compiled: one dtype in all layouts will do.
LAYOUTS = np.ascontiguousarray, np.asfortranarray, lambda array: np.repeat(array, 2, axis=0)[::2]
DTYPES = [("f4", "i1", "i1"), ("f8", "i8", "f4"), ("i8", "i1", "i1"), ("u1", "i4", "?")]
# x, f, i, o
GATES = [("f4", "f4", "f4", "f4"), ("f8", "f8", "f8", "f8"), ("f4", "i1", "f8", "?"), ("i4", "i1", "?", "u1")]


@pytest.mark.parametrize("dtypes", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_small_calls_follow_the_oracle(shape, dtypes, no_other_way):
    x1, x2, x3 = problems.toy(shape)
    arrays = [array.astype(dtype) for array, dtype in zip((np.abs(x1), x2, x3), dtypes, strict=True)]
    keys = np.arange(shape[0]) % 3
    memory = np.float64 if dtypes[0][0] == "f" else np.int64
    state, streams = np.full(shape[1:], 5, memory), np.full((4, *shape[1:]), 5, memory)
    for layout in LAYOUTS if dtypes == DTYPES[0] else LAYOUTS[:1]:
        laid = [layout(array) for array in arrays]
        plain, keyed = ({}, {"fill": -2.0, "state": state}), ({"keys": keys}, {"keys": keys, "state": streams})
        if dtypes != DTYPES[0]:  # keys with every dtype and with every shape, not with both
            plain, keyed = (plain, ()) if len(shape) == 1 else ((), keyed)
        for options in (*plain, *keyed):
            case = f"{laid[0].strides}, {options}"
            expected.agree(fc.toy_scan(*laid, **options), expected.toy(*laid, **options), case)
        if memory is np.int64:
            continue
        for options in (*plain, *keyed[:1]):
            out = layout(np.full(shape, 9, arrays[0].dtype))
            scan = fc.toy_scan(*laid, **options, out=out)
            assert scan.y is out
            expected.agree(scan, expected.toy(*laid, **options), "out")
    assert (state == 5).all()
    assert (streams == 5).all()


@pytest.mark.parametrize("dtypes", GATES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_small_gated_calls_follow_the_oracle(shape, dtypes, no_other_way):
    rng = np.random.default_rng(len(shape))
    arrays = [
        (rng.integers(0, 2, shape) if dtype[0] in "iu?" else rng.uniform(-1, 1, shape)).astype(dtype)
        for dtype in dtypes
    ]
    memory = np.int64 if dtypes[0] == "i4" else np.float64
    keys, state, streams = np.arange(shape[0]) % 3, np.full(shape[1:], 2, memory), np.full((3, *shape[1:]), 2, memory)
    for layout in LAYOUTS if dtypes == GATES[0] else LAYOUTS[:1]:
        x, *gates = [layout(array) for array in arrays]
        plain, keyed = ({}, {"state": state}), ({"keys": keys}, {"keys": keys, "state": streams})
        if dtypes != GATES[0]:
            plain, keyed = (plain, ()) if len(shape) == 1 else ((), keyed)
        for options in (*plain, *keyed):
            case = f"{x.strides}, {options}"
            expected.agree(fc.gated_scan(x, *gates, **options), expected.gated(x, *gates, **options), case)
        few = [gates[0], gates[1][:, :1] if x.ndim == 2 else gates[1][:1], gates[2][:1]]
        expected.agree(fc.gated_scan(x, *few), expected.gated(x, *few), "few gates")
        if memory is np.float64:
            out = np.empty_like(x, expected.gated(x, *gates).y.dtype)
            scan = fc.gated_scan(x, *gates, out=out)
            assert scan.y is out
            expected.agree(scan, expected.gated(x, *gates), "out")


@pytest.mark.parametrize("gates", [(0.5, 1, 1), (-0.0, 0.5, -1.0), (np.nan, 1.0, 1), (1, -2, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
def test_numbers_as_gates(gates, dtype, no_other_way):
    for shape in ((30,), (9, 4)):
        x = np.arange(-15, 21)[: np.prod(shape)].reshape(shape).astype(dtype)
        found, wanted = fc.gated_scan(x, *gates), expected.gated(x.astype("f8") if dtype != "i2" else x, *gates)
        wanted_dtype = x.dtype if dtype == "f4" else wanted.y.dtype
        expected.agree(found, (wanted.y.astype(wanted_dtype), wanted.state), f"{shape}")


def test_rows_are_read_in_place(no_other_way):
    for shape in ((70,), (30, 4)):
        rows = np.stack(problems.toy(shape), axis=-1)
        expected.agree(fc.toy_scan(rows), expected.toy(*(rows[..., k] for k in range(3))), f"rows of {shape}")
        with pytest.raises(ValueError, match=r"^out must not overlap an input, got memory shared with x1$"):
            fc.toy_scan(rows, out=rows[..., 0])


def test_backwards_and_read_only_arrays(no_other_way):
    arrays = [array[::-1, ::-1] for array in problems.toy((70, 9))]
    for array in arrays:
        array.flags.writeable = False
    expected.agree(fc.toy_scan(*arrays), expected.toy(*arrays), "backwards")


def test_a_state_goes_on_and_is_not_changed(no_other_way):
    arrays = problems.toy((200, 3))
    whole = fc.toy_scan(*arrays)
    first = fc.toy_scan(*(array[:77] for array in arrays))
    kept = first.state.copy()
    second = fc.toy_scan(*(array[77:] for array in arrays), state=first.state)
    np.testing.assert_array_equal(first.state, kept)
    np.testing.assert_allclose(np.concatenate([first.y, second.y]), whole.y, rtol=1e-12, atol=1e-12)  # sums in groups
    np.testing.assert_allclose(second.state, whole.state, rtol=1e-12, atol=1e-12)


def tripled(*arrays):
    return [array.reshape(10, 2, 5) for array in arrays]


UNUSUAL = {
    "lists": (lambda *arrays: [array.tolist() for array in arrays], {}),
    "a list and arrays": (lambda x1, x2, x3: (x1.tolist(), x2, x3), {}),
    "a memory view": (lambda x1, x2, x3: (memoryview(x1), x2, x3), {}),
    "rules without a sign": (lambda x1, x2, x3: (x1, np.abs(x2).astype("u1"), x3.astype("u1")), {}),
    "bounds": (lambda *arrays: arrays, {"low": -1, "high": 2.5}),
    "a floor for keys": (lambda *arrays: arrays, {"low": 0.0, "keys": np.arange(100) % 7}),
    "integers between bounds": (lambda x1, x2, x3: (x1.astype(int), x2, x3), {"low": -1, "high": 3}),
    "a floor for columns": (lambda *arrays: [array.reshape(20, 5) for array in arrays], {"low": 0}),
    "integers with an out": (lambda x1, x2, x3: (x1.astype(int), x2, x3), {"out": np.empty(100, int)}),
    "a fill that is no float": (lambda *arrays: arrays, {"fill": 2}),
    "integers and a fill": (lambda x1, x2, x3: (x1.astype(int), x2, x3), {"fill": -3.0}),
    "a number as state": (lambda *arrays: arrays, {"state": 3}),
    "a list of keys": (lambda *arrays: arrays, {"keys": [0, 2] * 50, "state": [1, 2, 3]}),
    "three axes": (tripled, {}),
    "three axes in another order": (lambda *arrays: [array.transpose(0, 2, 1) for array in tripled(*arrays)], {}),
    "three axes, an out": (tripled, {"out": np.empty((10, 2, 5))}),
    "three axes, keys, a floor": (tripled, {"keys": np.arange(10) % 3, "low": 0, "state": np.ones((4, 2, 5))}),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_calls_are_small_too(name, no_other_way):
    change, options = UNUSUAL[name]
    given = change(*problems.toy((100,)))
    scan = fc.toy_scan(*given, **options)
    assert scan.y is options.get("out", scan.y)
    plain = {k: np.asarray(v) if k in ("keys", "state") else v for k, v in options.items() if k != "out"}
    expected.agree(scan, expected.toy(*map(np.asarray, given), **plain), name)


@pytest.mark.parametrize("shape", [(40,), (20, 2), (10, 2, 2)], ids=str)
def test_one_rule_for_all(shape, no_other_way):
    x1, x2, _ = problems.toy(shape)
    for control, emit in ((1, 1), (2.0, True), (x2, 0), (-1, 1)):
        whole = [np.broadcast_to(np.asarray(rule, np.int8), shape) for rule in (control, emit)]
        for low in (None, -0.5):
            found = fc.toy_scan(x1, control, emit, low=low)
            expected.agree(found, expected.toy(x1, *whole, low=low), f"{control}, {emit}, {low}")


def test_gates_of_every_form(no_other_way):
    x = problems.toy((6, 2, 5))[0]
    f = np.linspace(-1, 1, 60, dtype=np.float32).reshape(x.shape)
    rows, alone = x[:, 0], x[:, 0, 0]
    calls = [(x, f, f, f), (x, f[:, :1, :1], f[0], 1), (rows, f[0, 0], f[:, :1, 0], f[0, 0, 0])]
    calls += [(alone.tolist(), f[:, 0, 0].tolist(), 0.5, 1), (alone, np.float32(0.5), np.int8(1), True)]
    for given in calls:
        wide = [np.broadcast_to(part, np.shape(given[0])) for part in given]
        expected.agree(fc.gated_scan(*given), expected.gated(*wide), str([np.shape(part) for part in given]))
    out = np.empty_like(x)
    assert fc.gated_scan(x, f, f, f, out=out).y is out
    expected.agree((out, fc.gated_scan(x, f, f, f).state), expected.gated(x, f, f, f), "out")


@pytest.mark.parametrize("kind", ["u1", "u8"])
def test_a_rule_without_a_sign_is_never_negative(kind):
    x1, x2, x3 = problems.toy((100,))
    x2 = np.abs(x2).astype(kind)
    x2[7] = np.iinfo(kind).max
    with pytest.raises(ValueError, match=rf"^x2 must be -1, 0, 1 or 2, got {x2[7]} at index 7$"):
        fc.toy_scan(x1, x2, x3)


def test_an_integer_that_overflows_leaves_out_as_it_was():
    x, ones, out = np.array([1, np.iinfo(np.int64).max]), np.ones(2, np.int8), np.array([7, 7])
    for scan in (partial(fc.toy_scan, x, ones, ones), partial(fc.gated_scan, x, 1, 1, 1)):
        with pytest.raises(OverflowError, match="leaves int64"):
            scan(out=out)
        assert (out == 7).all()
        with pytest.raises(ValueError, match=r"^out must not overlap an input, got memory shared with x"):
            scan(out=x)


@pytest.mark.parametrize(("error", "words", "options"), [
    (ValueError, r"^low must be at most high", {"low": 2, "high": 1}),
    (TypeError, r"^low must be a number or None", {"low": "0"}),
    (TypeError, r"^fill must be a number", {"fill": "0"}),
    (TypeError, r"^state must hold bool", {"state": "x"}),
    (ValueError, r"^keys must have the shape", {"keys": [0, 1]}),
])  # fmt: skip
def test_what_is_wrong_in_a_small_call_is_named(error, words, options):
    out = np.full(100, 9.0)
    with pytest.raises(error, match=words):
        fc.toy_scan(*problems.toy((100,)), **options, out=out)
    assert (out == 9).all()


OTHERS = {
    "integers of 64 bits without a sign": (lambda x1, x2, x3: (np.abs(x1).astype("u8"), x2, x3), {}),
    "keys far apart": (lambda *arrays: arrays, {"keys": np.arange(100) * 1000}),
    "byte-swapped": (lambda x1, x2, x3: (x1.astype(x1.dtype.newbyteorder()), x2, x3), {}),
    "too large": (lambda *arrays: [np.resize(array, (1 << 14) + 1) for array in arrays], {}),
    "not strict": (lambda x1, x2, x3: (x1, np.where(x2 == 1, 5, x2).astype("i1"), x3), {"strict": False}),
    "empty": (lambda *arrays: [array[:0] for array in arrays], {}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_goes_the_way_of_large_arrays(name, way_of_large_arrays):
    change, options = OTHERS[name]
    arrays = change(*problems.toy((100,)))
    scan = fc.toy_scan(*arrays, **options)
    expected.agree(scan, expected.toy(*map(np.asarray, arrays), **options), name)
    assert len(way_of_large_arrays) == 1


def test_an_unaligned_array(way_of_large_arrays):
    x1, x2, x3 = problems.toy((100,))
    room = np.zeros(x1.nbytes + 1, np.uint8)
    moved = room[1:].view(x1.dtype)
    moved[:] = x1
    expected.agree(fc.toy_scan(moved, x2, x3), expected.toy(x1, x2, x3), "unaligned")
    assert len(way_of_large_arrays) == 1


@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("shape", [(90,), (30, 4)], ids=str)
def test_a_rule_that_is_none_is_named_and_nothing_written(which, shape):
    arrays = list(problems.toy(shape))
    place = (17, *(1 for _ in shape[1:]))
    arrays[which][place] = 3
    out = np.full(shape, 9, arrays[0].dtype)
    at = place[0] if len(place) == 1 else place
    with pytest.raises(ValueError, match=rf"^x{which + 1} must be .* got 3 at index {re.escape(str(at))}$"):
        fc.toy_scan(*arrays, out=out)
    assert (out == 9).all()


def test_an_out_that_overlaps_an_input_is_refused():
    base = np.zeros((60, 2), np.float32)
    rules = np.ones(40, np.int8)
    fc.toy_scan(base[:40, 0], rules, rules, out=np.zeros(40, np.float32))
    for out in (base[:40, 0], base[20:, 0], base[39::-1, 0], base[:40, 1]):
        with pytest.raises(ValueError, match=r"^out must not overlap an input, got memory shared with x1$"):
            fc.toy_scan(base[:40, 0], rules, rules, out=out)
    with pytest.raises(ValueError, match="shared with x2"):
        fc.toy_scan(np.ones(10, np.float32), rules[:10], rules[:10], out=rules.view(np.float32))


def test_an_out_that_overlaps_what_is_copied_is_refused():
    """Rules, gates and keys of other types than kernels read."""
    x, floats, bools = np.ones(40, "f4"), np.ones(40, "f4"), np.ones(160, bool)
    with pytest.raises(ValueError, match=r"^out must not overlap an input, got memory shared with x3$"):
        fc.toy_scan(x, np.ones(40, np.int8), floats, out=floats)
    with pytest.raises(ValueError, match=r"^out must not overlap an input, got memory shared with i$"):
        fc.gated_scan(x, x, bools[:40], x, out=bools.view("f4"))
    assert (floats == 1).all()
    assert bools.all()


def test_other_types_compile_nothing(no_other_way):
    x, ones = np.arange(1, 9), np.ones(8, np.int64)

    def calls(kind):
        rules, keys = ones.astype(kind), (x % 3).astype(kind)
        yield fc.toy_scan(x, rules, rules)
        yield fc.toy_scan(x.astype(kind), ones, ones, keys=keys)
        yield fc.gated_scan(x.astype(kind), ones, rules, ones)

    wanted = [np.concatenate([y, np.ravel(state)]) for y, state in calls("i8")]
    kernels = small_kernels.small_toy, small_kernels.small_gated
    compiled = [len(kernel.overloads) for kernel in kernels]
    for kind in ("i2", "i4", "u2", "u4"):
        for (y, state), want in zip(calls(kind), wanted, strict=True):
            assert y.dtype == state.dtype == np.int64
            np.testing.assert_array_equal(np.concatenate([y, np.ravel(state)]), want)
    assert [len(kernel.overloads) for kernel in kernels] == compiled


@pytest.mark.parametrize("kind", ["u1", "i1"])
def test_keys_of_other_types(kind, no_other_way):
    arrays = problems.toy((40,))
    keys = (np.arange(40) % 3).astype(kind)
    expected.agree(fc.toy_scan(*arrays, keys=keys), expected.toy(*arrays, keys=keys), kind)


@pytest.mark.parametrize("dtype", ["f8", "i8"])
def test_a_key_without_a_memory_is_named(dtype):
    x1, x2, x3 = (array.astype(dtype) for array in problems.toy((40,), "int64"))
    state = np.zeros(3, dtype)
    for key in (-1, 3):
        keys = np.arange(40) % 3
        keys[11] = key
        for scan in (partial(fc.toy_scan, x1, x2, x3), partial(fc.gated_scan, x1, x2, x2, x3)):
            with pytest.raises(ValueError, match=rf"^keys must be from 0 to K - 1 = 2, got {key} at index 11$"):
                scan(keys=keys, state=state)


def test_an_integer_that_overflows_raises():
    x = np.array([1, np.iinfo(np.int64).max])
    ones = np.ones(2, np.int8)
    for scan in (partial(fc.toy_scan, x, ones, ones), partial(fc.gated_scan, x, 1, 1, 1)):
        for options in ({}, {"keys": ones}):
            with pytest.raises(OverflowError, match="leaves int64"):
                scan(**options)


@pytest.mark.parametrize("name", ["state", "keys"])
def test_an_out_that_overlaps_a_state_or_keys_is_refused(name):
    x1, x2, x3 = problems.toy((40,), "float64")
    out = np.zeros(40)
    given = {"keys": np.arange(40) % 3, "state": np.zeros(40)} | {name: out if name == "state" else out.view(np.int64)}
    for scan in (partial(fc.toy_scan, x1, x2, x3), partial(fc.gated_scan, x1, x3, x3, x3)):
        with pytest.raises(ValueError, match=rf"^out must not overlap an input, got memory shared with {name}$"):
            scan(**given, out=out)
