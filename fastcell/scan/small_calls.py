"""Small calls: what can be told without looking at values is checked here, and compiled code is entered once.

Whatever is unusual, or wrong, is left to the way of large arrays, which names it.
"""

from typing import Any

import numpy as np

from fastcell._checks import Array
from fastcell._jit import VECTOR_BITS
from fastcell.scan import small_kernels

SMALL = 1 << 14  # steps times columns up to which one entry into compiled code is faster than the fitting kernel
_MEMORIES = 1 << 14  # that keys without a state may ask for
_FLOAT, _INTEGER = np.dtype(np.float64), np.dtype(np.int64)
_ACCUMULATORS = {np.dtype(kind): _FLOAT if kind in "fd" else _INTEGER for kind in "fd?bhilBHI"}
_RULES = frozenset(map(np.dtype, "fd?bhil"))
_KEYS = frozenset(map(np.dtype, "bhilBHI"))
_IN_REGISTERS = tuple(map(np.dtype, "fbb")) if VECTOR_BITS == 512 else None  # the types that `toy_eights` is for


def small_toy(
    x1: Any, x2: Any, x3: Any, state: Any, keys: Any, fill: Any, out: Any, threads: Any
) -> tuple[Array, Any] | None:
    """y and the state of a small call on arrays of the usual types; None where one is not, or is wrong."""
    if x2 is None and x3 is None and type(x1) is np.ndarray and x1.ndim > 1 and x1.shape[-1] == 3:
        x1, x2, x3 = x1[..., 0], x1[..., 1], x1[..., 2]
    if not (_is_small(x1, threads) and _is_usual(x2, _RULES) and _is_usual(x3, _RULES)):
        return None
    if x2.shape != x1.shape or x3.shape != x1.shape or type(fill) is not float:
        return None
    accumulator = dtype = _ACCUMULATORS[x1.dtype]
    if accumulator is _FLOAT:
        dtype = x1.dtype
    elif fill.is_integer() and abs(fill) < 2.0**53:
        fill = int(fill)
    else:
        return None
    y, a = _output(out, x1, dtype, state), _memories(state, keys, x1.shape, accumulator)
    if y is None or a is None:
        return None
    in_registers = True if keys is None and (x1.dtype, x2.dtype, x3.dtype) == _IN_REGISTERS else None
    if not small_kernels.small_toy(x1, x2, x3, y, a, keys, fill, in_registers):
        return None
    return y, a[0] if keys is None else a


def small_gated(
    x: Any, f: Any, i: Any, o: Any, state: Any, keys: Any, out: Any, threads: Any
) -> tuple[Array, Any] | None:
    """The same of `gated_scan`, with gates that are numbers, of x's shape, (T, 1) or (1, B)."""
    if not _is_small(x, threads):
        return None
    kinds = x.dtype.char  # of all that NumPy promotes, which Python's own numbers are not part of
    accumulator = _ACCUMULATORS[x.dtype]
    for gate in (f, i, o):
        if type(gate) is float:
            accumulator = _FLOAT
        elif type(gate) is not int:
            if not _is_usual(gate, _ACCUMULATORS) or not _broadcasts(gate.shape, x.shape):
                return None
            kinds += gate.dtype.char
        elif abs(gate) > 2**62:
            return None
    if "d" in kinds or "f" in kinds:
        accumulator = _FLOAT
    dtype = x.dtype if kinds[0] == "f" and "d" not in kinds else accumulator
    y, a = _output(out, x, dtype, state), _memories(state, keys, x.shape, accumulator)
    if y is None or a is None:
        return None
    f, i, o = (gate if type(gate) is np.ndarray else np.array([gate], accumulator) for gate in (f, i, o))
    if not small_kernels.small_gated(x, f, i, o, y, a, keys):
        return None
    return y, a[0] if keys is None else a


def _is_usual(array: Any, kinds: Any) -> bool:
    return type(array) is np.ndarray and array.dtype in kinds and array.flags.aligned


def _is_small(x: Any, threads: Any) -> bool:
    if not _is_usual(x, _ACCUMULATORS) or not 0 < x.size <= SMALL or x.ndim > 2:
        return False
    return threads is None or (type(threads) is int and threads > 0)


def _broadcasts(gate: tuple[int, ...], x: tuple[int, ...]) -> bool:
    """Whether a gate has x's shape, or one value in place of an axis's."""
    return gate == x or (len(gate) == len(x) == 2 and all(n in (1, m) for n, m in zip(gate, x, strict=True)))


def _output(out: Any, x: Array, dtype: np.dtype[Any], state: Any) -> Array | None:
    if out is None:
        return np.empty_like(x, dtype)
    if type(out) is not np.ndarray or out.dtype != dtype or out.shape != x.shape or not out.flags.behaved:
        return None
    if dtype is _INTEGER or (state is not None and np.may_share_memory(out, state)):
        return None  # an integer that overflows is to leave `out` as it was
    result: Array = out
    return result


def _memories(state: Any, keys: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    """A new array of memories, (K, ...)."""
    inner, count = shape[1:], 1
    if keys is not None:
        if not _is_usual(keys, _KEYS) or keys.shape != shape[:1]:
            return None
        count = len(state) if type(state) is np.ndarray and state.ndim else int(keys.max()) + 1
        if state is None and not 0 < count * (inner[0] if inner else 1) <= _MEMORIES:
            return None
    expected = inner if keys is None else (count, *inner)
    if state is None:
        return np.zeros((count, *inner), dtype)
    if type(state) in (np.ndarray, dtype.type) and state.dtype == dtype and state.shape == expected:
        a = np.empty((count, *inner), dtype)
        a[...] = state
        return a
    return None
