"""The oracle by itself: hand-worked numbers and identities."""

import ast
import inspect
import itertools
import math

import numpy as np
import pytest

from fastcell import oracle


def test_imports_only_math():
    tree = ast.parse(inspect.getsource(oracle))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import math"]


def test_keys_of_small_integers():
    """To the largest of which none may be added."""
    y, a = oracle.toy_scan([3, 5], [1, 1], [1, 1], keys=np.array([255, 255], np.uint8))
    assert (y, a[255], len(a)) == ([3, 8], 8, 256)


def test_hand_worked_rows():
    y, a = oracle.toy_scan([3, 5, 2, 3], [1, 0, 1, 0], [0, 1, 0, 1], fill=None)
    assert (y, a) == ([None, 3, None, 5], 5)


@pytest.mark.parametrize(("steps", "memory"), [(1, 3), (2, 8), (3, 10)])
def test_hand_worked_memory(steps, memory):
    y, a = oracle.toy_scan([3, 5, 2][:steps], [1, 1, 1][:steps], [0, 0, 1][:steps])
    assert a == memory
    assert y == [0.0, 0.0, 10][:steps]


def test_the_rule_comes_before_the_output():
    assert oracle.toy_scan([2], [1], [1], state=8) == ([10], 10)
    assert oracle.toy_scan([2], [-1], [1], state=8) == ([0], 0)


def test_all_gates_open_is_a_cumulative_sum():
    x = [0.5, -2.0, 8.0, 0.25]
    ones = [1.0] * 4
    assert oracle.gated_scan(x, ones, ones, ones)[0] == list(itertools.accumulate(x))
    assert oracle.toy_scan(x, [1] * 4, [1] * 4)[0] == list(itertools.accumulate(x))


def test_a_decaying_memory():
    assert oracle.gated_scan([8.0, 4.0], [1.0, 0.5], [1.0, 0.25], [0.0, 2.0]) == ([0.0, 10.0], 5.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reset_forgets_and_a_gate_does_not(value):
    assert oracle.toy_scan([value, 1.0], [1, -1], [0, 1]) == ([0.0, 0.0], 0.0)
    y, a = oracle.gated_scan([value, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    assert math.isnan(y[1])
    assert math.isnan(a)


def test_keys_are_separate_streams():
    x, x2, x3, keys = [1, 10, 2, 20], [1, 1, 1, -1], [1, 1, 1, 1], [0, 1, 0, 1]
    assert oracle.toy_scan(x, x2, x3, keys=keys) == ([1, 10, 3, 0], [3, 0])


def test_a_state_continues():
    rows = [3, 5, 2], [1, -1, 1], [1, 1, 1]
    y, a = oracle.toy_scan(*rows)
    y1, a1 = oracle.toy_scan(*(r[:1] for r in rows))
    y2, a2 = oracle.toy_scan(*(r[1:] for r in rows), state=a1)
    assert (y1 + y2, a2) == (y, a)


def test_a_restart_forgets_and_takes():
    """By hand: 3; restart with 5; add 2; reset; restart with 4; keep."""
    y, a = oracle.toy_scan([3, 5, 2, 9, 4, 9], [1, 2, 1, -1, 2, 0], 1)
    assert (y, a) == ([3, 5, 7, 0, 4, 4], 4)
    assert oracle.toy_scan([math.nan, math.inf, 5.0], [1, 1, 2], [0, 0, 1]) == ([0.0, 0.0, 5.0], 5.0)
    assert oracle.toy_scan([2**63 - 1, 2**63 - 1], 2, 1) == ([2**63 - 1] * 2, 2**63 - 1)


def test_one_rule_for_all_steps():
    assert oracle.toy_scan([[1, 2], [3, 4]], 1, 0, fill=7) == ([[7, 7], [7, 7]], [4, 6])
    assert oracle.toy_scan([1, 2, 3], [1, 1, 2], 1) == oracle.toy_scan([1, 2, 3], [1, 1, 2], [1, 1, 1])


@pytest.mark.parametrize(
    ("values", "low", "high", "memories"),
    [
        ([0.0, 1.0], 2**70, None, [2.0**70] * 2),
        ([0.5, 1.0], 0, 1, [0.5, 1.0]),
        ([0, 9], 1.0, 3.0, [1, 3]),
        ([True, True], 5, 6, [5, 6]),
    ],
)
def test_bounds_are_numbers_as_values_are(values, low, high, memories):
    y, state = oracle.toy_scan(values, [1, 1], [1, 1], low=low, high=high)
    assert [*y, state] == [*memories, memories[-1]]
    assert {*map(type, y), type(state)} == {type(memories[0])}


def test_columns_are_separate():
    y, a = oracle.toy_scan([[1, 2], [3, 4]], [[1, 1], [1, -1]], [[1, 1], [1, 1]])
    assert (y, a) == ([[1, 2], [4, 0]], [4, 0])


def test_other_rules():
    with pytest.raises(ValueError, match=r"x2 must be one of \(-1, 0, 1, 2\), got 3 at index 1"):
        oracle.toy_scan([1, 1], [0, 3], [0, 0])
    with pytest.raises(ValueError, match=r"x3 must be one of .* got nan at index 0"):
        oracle.toy_scan([1, 1], [0, 0], [math.nan, 0])
    assert oracle.toy_scan([1, 1], [1, 3], [1, -1], strict=False) == ([1, 0.0], 1)


def test_integers_stop_at_int64():
    assert oracle.toy_scan([1], [1], [1], state=2**63 - 2)[1] == 2**63 - 1
    with pytest.raises(OverflowError):
        oracle.toy_scan([1], [1], [1], state=2**63 - 1)
    with pytest.raises(OverflowError):
        oracle.gated_scan([2**62], [1], [2], [1])
