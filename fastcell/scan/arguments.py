"""What the arrays of a scan must be, and the words for what they are not."""

import math
from typing import Any

import numpy as np

from fastcell import _checks, _memory, _nulls, _threads
from fastcell._checks import Array
from fastcell.scan import toy_kernels
from fastcell.scan.dispatch import column_axes, placed

_AS_THEY_ARE = np.ndarray, int, float, bool, type(None)
_MANY = 1 << 22  # rules from which a second thread pays for checking them


def as_array(name: str, given: Any, expected: str = _checks.VALUES) -> Any:
    """What is no array yet as one; numbers, None and arrays with masks as they are."""
    if type(given) in _AS_THEY_ARE or _nulls.is_masked_array(given):
        return given
    return _checks.array(name, given, expected)


def toy_arrays(x1: Any, x2: Any, x3: Any, nulls: str | None = None) -> tuple[Array, Array, Array]:
    """The three arrays of a toy scan, given as three or as one of rows [x1, x2, x3]; without `nulls` of no masks."""
    if x2 is None and x3 is None:
        rows = x1 if nulls and _nulls.is_masked_array(x1) else _checks.values("x", x1)
        if rows.ndim < 2 or rows.shape[-1] != 3:
            raise ValueError(f"x must have shape (T, ..., 3) when x2 and x3 are not given, got {rows.shape}")
        x1, x2, x3 = rows[..., 0], rows[..., 1], rows[..., 2]
    elif x2 is None or x3 is None:
        raise TypeError(f"{'x2' if x2 is None else 'x3'} must be given with the other one, got None")
    if nulls:
        x1, x2, x3 = _nulls.filled({"x1": x1, "x2": x2, "x3": x3}, nulls)
    values = _checks.values("x1", x1)
    if values.ndim == 0:
        raise ValueError("x1 must have a time axis, got a scalar")
    return values, _rule("x2", x2, values), _rule("x3", x3, values)


def _rule(name: str, given: Any, values: Array) -> Array:
    """A rule for each value; one for all of them where a scalar is given."""
    rules = _checks.array(name, given)
    if rules.ndim:
        _checks.same_shape(name, rules, values.shape, "x1")
        return rules
    if rules in (-1, 0, 1, 2):
        rules = rules.astype(np.int8)  # the type for which kernels are the fastest
    closest = min(range(values.ndim), key=lambda axis: abs(values.strides[axis]))
    line = [n if axis == closest else 1 for axis, n in enumerate(values.shape)]  # side by side where the values are
    _memory.check(math.prod(line) * rules.itemsize, "{} for x1 of shape {}", name, values.shape)
    return np.broadcast_to(np.full(line, rules), values.shape)


def gate(name: str, given: Any, shape: tuple[int, ...]) -> Array:
    """A gate as an array of x's shape, without a copy."""
    array = _checks.array(name, given)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} must broadcast to the shape of x, {shape}, got {array.shape}") from None


def checked_rules(name: str, rules: Array, low: int, strict: bool, threads: int) -> Array:
    """The rules as kernels take them: signed, where an unsigned 255 can't pass for -1, and all of the table.

    Others are refused, or without `strict` made 0.
    """
    signed = rules
    if rules.dtype.kind == "u":
        signed = np.broadcast_to(np.minimum(_checks.once(rules), 3).astype(np.int8), rules.shape)
    if not (signed.size and _has_others(_checks.once(signed), low, threads)):
        return signed
    if not _checks.flag("strict", strict):
        different = _checks.once(signed)
        return np.broadcast_to(np.where(_checks.other_rules(different, low), 0, different), signed.shape)
    index = _checks.first_index(_checks.other_rules(_checks.once(rules), low))
    at = index[0] if len(index) == 1 else index
    raise ValueError(f"{name} must be {_checks.ALLOWED[low]}, got {rules[index]} at index {at}")


def _has_others(rules: Array, low: int, threads: int) -> bool:
    """Whether a rule is none of those that begin with `low`."""
    flat = rules.reshape(-1, 1) if rules.ndim < 2 else rules.reshape(len(rules), -1)
    kind, axis = flat.dtype.type, int(abs(flat.strides[1]) > abs(flat.strides[0]))

    def found(first: int, last: int) -> bool:
        part = flat[:, first:last] if axis else flat[first:last]
        return bool(toy_kernels.has_other_rules(placed(part), *part.shape, kind(low), kind(_checks.HIGHEST[low])))

    pieces = _threads.split(flat.shape[axis], 1, threads if flat.size >= _MANY else 1)
    return any(_threads.run(found, pieces))


def memories(state: Any, keys: Any, values: Array, accumulator: np.dtype[Any]) -> tuple[Array | None, Array]:
    """The checked keys, and a new array of memories, with an axis of keys in front (one key where there are none)."""
    inner = values.shape[1:]
    if keys is None:
        if state is None:
            _memory.check(8 * math.prod(inner), "the state of x1 (or x) of shape {}", values.shape)
            return None, np.zeros((1, *inner), accumulator)
        return None, _checks.memories(state, inner, accumulator, keyed=False)[None]
    a = None if state is None else _checks.memories(state, inner, accumulator, keyed=True)
    known = None if a is None else len(a)
    codes, count = _checks.keys(keys, "the time axis", values.shape[0], known, math.prod(inner), values.size)
    return codes, _new_memories(count, values, accumulator) if a is None else a


def _new_memories(count: int, values: Array, accumulator: np.dtype[Any]) -> Array:
    """(K, ...) zeros that no one touches before a step does, in the order in which x has its columns."""
    inner = values.shape[1:]
    axes = column_axes(values)
    order = [0, *axes] if len(axes) > 1 else list(range(values.ndim))
    shape = [count, *(values.shape[axis] for axis in order[1:])]
    _memory.check(8 * math.prod(shape), "memories of shape {} for keys up to {}", (count, *inner), count - 1)
    return np.zeros(shape, accumulator).transpose([order.index(axis) for axis in range(values.ndim)])
