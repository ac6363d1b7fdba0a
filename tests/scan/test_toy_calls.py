"""Small calls of `toy_scan`, which compiled code takes from the check of the rules on."""

import re

import numpy as np
import pytest

import fastcell as fc
from fastcell.scan import api as recurrence
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


@pytest.mark.parametrize(
    "dtypes", [("f4", "i1", "i1"), ("f8", "i1", "?"), ("f4", "i8", "f4"), ("f8", "?", "f8")], ids=str
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_small_calls_follow_the_oracle(shape, dtypes, no_other_way):
    x1, x2, x3 = problems.toy(shape)
    x2 = np.abs(x2) if dtypes[1] == "?" else x2
    arrays = [array.astype(dtype) for array, dtype in zip((x1, x2, x3), dtypes, strict=True)]
    state = np.full(shape[1:], 0.5)
    for layout in (np.ascontiguousarray, np.asfortranarray, lambda array: np.repeat(array, 2, axis=0)[::2]):
        laid = [layout(array) for array in arrays]
        for options in ({}, {"fill": -1.5, "state": state}):
            case = f"{laid[0].strides}, {options}"
            expected.agree(fc.toy_scan(*laid, **options), expected.toy(*laid, **options), case)
        out = layout(np.full(shape, 9, arrays[0].dtype))
        scan = fc.toy_scan(*laid, out=out)
        assert scan.y is out
        expected.agree(scan, expected.toy(*laid), "out")


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


OTHERS = {
    "integers": (lambda x1, x2, x3: (x1.astype(int), x2, x3), {}),
    "other rules' dtype": (lambda x1, x2, x3: (x1, x2.astype("i2"), x3), {}),
    "byte-swapped": (lambda x1, x2, x3: (x1.astype(x1.dtype.newbyteorder()), x2, x3), {}),
    "lists": (lambda x1, x2, x3: (x1.tolist(), x2, x3), {}),
    "a fill that is no float": (lambda *arrays: arrays, {"fill": 2}),
    "three axes": (lambda *arrays: [array.reshape(10, 2, -1) for array in arrays], {}),
    "too large": (lambda *arrays: [np.resize(array, (1 << 14) + 1) for array in arrays], {}),
    "not strict": (lambda x1, x2, x3: (x1, np.where(x2 == 1, 5, x2).astype("i1"), x3), {"strict": False}),
    "empty": (lambda *arrays: [array[:0] for array in arrays], {}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_goes_the_way_of_large_arrays(name, way_of_large_arrays):
    change, options = OTHERS[name]
    arrays = change(*problems.toy((100,)))
    expected.agree(fc.toy_scan(*arrays, **options), expected.toy(*map(np.asarray, arrays), **options), name)
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
