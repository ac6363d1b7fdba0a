"""Small calls: what can be told without looking at values is checked here, and compiled code is entered once.

Whatever is unusual, or wrong, is left to the way of large arrays, which names it. Kernels are compiled for the types of
accumulators, float32 and int8 rules: a small array of another type is copied to one of them, which takes a microsecond
where a kernel of its own would take a second to compile.
"""

import math
from typing import Any

import numpy as np

from fastcell import _checks
from fastcell._checks import Array
from fastcell._jit import VECTOR_BITS
from fastcell.scan import small_kernels

SMALL = 1 << 14  # steps times columns up to which one entry into compiled code is faster than the fitting kernel
_MEMORIES = 1 << 14  # that keys without a state may ask for
_FLOAT, _INTEGER, _BYTE = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.int8)
_ACCUMULATORS = {np.dtype(kind): _FLOAT if kind in "fd" else _INTEGER for kind in "fd?bhilBHI"}
_COPIED = {kind: to for kind, to in _ACCUMULATORS.items() if kind.kind != "f" and kind != to}
"""What kernels read other values, gates and keys as."""


def _rule(kind: str) -> tuple[np.dtype[Any], np.dtype[Any]] | None:
    """What rules of a type are taken for, and what kernels read them as; None as they are.

    Those without a sign are taken for those with one, of which none may be below 0 then.
    """
    signed = np.dtype(kind.lower())
    read = _BYTE if signed.itemsize == 1 else _ACCUMULATORS[signed]
    return None if np.dtype(kind) == read else (signed, read)


_RULES = {np.dtype(kind): _rule(kind) for kind in "fd?bhilBHIL"}
_KEYS = frozenset(map(np.dtype, "bhilBHI"))
_IN_REGISTERS = tuple(map(np.dtype, "fbb")) if VECTOR_BITS == 512 else None  # the types that `toy_eights` is for
_ALIKE = {rule: {axes: np.full((1,) * axes, rule, np.int8) for axes in (1, 2)} for rule in (-1, 0, 1, 2)}
"""By their value and x1's axes, rules that are one number for all steps."""


def small_toy(
    x1: Any, x2: Any, x3: Any, state: Any, keys: Any, fill: Any, low: Any, high: Any, out: Any, threads: Any
) -> tuple[Array, Any] | None:
    """y and the state of a small call; None where it is not small, or not usual, or wrong."""
    if x2 is None and x3 is None and type(x1) is np.ndarray and x1.ndim > 1 and x1.shape[-1] == 3:
        x1, x2, x3 = x1[..., 0], x1[..., 1], x1[..., 2]
    if not _is_small(x1, threads):
        return None
    rules, emits = _rules(x2, x1), _rules(x3, x1)
    if rules is None or emits is None:
        return None
    accumulator = dtype = _ACCUMULATORS[x1.dtype]
    if accumulator is _FLOAT:
        dtype = x1.dtype
    if type(fill) is not float:
        fill = _checks.fill_value(fill, dtype).item()
    elif accumulator is _INTEGER:
        fill = 0 if fill == 0 else _checks.fill_value(fill, dtype).item()
    ends = _checks.bounds(low, high, accumulator)
    bounds = None if ends is None else (ends[0].item(), ends[1].item())
    a = _memories(state, keys, x1.shape, accumulator)
    if a is None:
        return None
    values, codes = _copied(x1), keys if keys is None else _copied(keys)
    read = values, rules, emits, codes
    y = np.empty_like(values, dtype) if out is None else _output(out, dtype, (x1, x2, x3, keys), read, state)
    if y is None:
        return None
    alone = keys is None and bounds is None
    in_registers = True if alone and (x1.dtype, rules.dtype, emits.dtype) == _IN_REGISTERS else None
    memories, lowest = a if a.ndim < 3 else _as_matrix(a), 0 if type(x2) is np.ndarray and x2.dtype.kind == "u" else -1
    if not small_kernels.small_toy(values, rules, emits, y, memories, codes, fill, bounds, lowest, in_registers):
        return None
    return y if out is None and y.ndim == x1.ndim else _finished(y, out, x1), a[0] if keys is None else a


def small_gated(
    x: Any, f: Any, i: Any, o: Any, state: Any, keys: Any, out: Any, threads: Any
) -> tuple[Array, Any] | None:
    """The same of `gated_scan`."""
    if not _is_small(x, threads):
        return None
    kinds = x.dtype.char  # of all that NumPy promotes, which Python's own numbers are not part of
    accumulator = _ACCUMULATORS[x.dtype]
    for given in (f, i, o):
        if type(given) is float:
            accumulator = _FLOAT
        elif type(given) is not int and type(given) is not bool:
            if not _is_usual(given, _ACCUMULATORS):
                return None
            kinds += given.dtype.char
        elif abs(given) > 2**62:
            return None
    if "d" in kinds or "f" in kinds:
        accumulator = _FLOAT
    dtype = x.dtype if kinds[0] == "f" and "d" not in kinds else accumulator
    gates = [_gate(gate, x.shape) if type(gate) is np.ndarray else np.array([gate], accumulator) for gate in (f, i, o)]
    if any(gate is None for gate in gates):
        return None
    a = _memories(state, keys, x.shape, accumulator)
    if a is None:
        return None
    values, codes = _copied(x), keys if keys is None else _copied(keys)
    read = values, *gates, codes
    y = np.empty_like(values, dtype) if out is None else _output(out, dtype, (x, f, i, o, keys), read, state)
    if y is None:
        return None
    if not small_kernels.small_gated(values, *gates, y, a if a.ndim < 3 else _as_matrix(a), codes):
        return None
    return y if out is None and y.ndim == x.ndim else _finished(y, out, x), a[0] if keys is None else a


def _is_usual(array: Any, kinds: Any) -> bool:
    return type(array) is np.ndarray and array.dtype in kinds and array.flags.aligned


def _is_small(x: Any, threads: Any) -> bool:
    if not _is_usual(x, _ACCUMULATORS) or not 0 < x.size <= SMALL or not x.ndim:
        return False
    return threads is None or (type(threads) is int and threads > 0)


def _as_matrix(array: Array) -> Array:
    """All columns of three or more axes on one, a copy where they don't lie in the order of the axes."""
    return array.reshape(len(array), -1)


def _rules(given: Any, x1: Array) -> Array | None:
    """Rules as a matrix of a type with a sign."""
    if type(given) is not np.ndarray:
        alike = _ALIKE.get(given) if type(given) in (int, float, bool) else None
        return None if alike is None else alike[min(x1.ndim, 2)]
    if given.shape != x1.shape or given.dtype not in _RULES or not given.flags.aligned:
        return None
    rules, kinds = given if given.ndim < 3 else _as_matrix(given), _RULES[given.dtype]
    return rules if kinds is None else rules.view(kinds[0]).astype(kinds[1], copy=False)


def _copied(array: Array) -> Array:
    """As a matrix of a type that kernels read."""
    matrix = array if array.ndim < 3 else _as_matrix(array)
    return matrix.astype(_COPIED[array.dtype]) if array.dtype in _COPIED else matrix


def _gate(gate: Array, x: tuple[int, ...]) -> Array | None:
    """A gate of x's shape, or one value in place of an axis's, which is how kernels take those of matrices."""
    if gate.shape == x:
        return _copied(gate)
    if not gate.ndim:
        gate = gate.reshape(1)
    elif len(x) > 2:
        try:
            gate = np.broadcast_to(gate, x)
        except ValueError:
            return None
    else:
        if gate.ndim < len(x):
            gate = gate[None]
        if gate.ndim != len(x) or any(n not in (1, m) for n, m in zip(gate.shape, x, strict=True)):
            return None
    return _copied(gate)


def _output(
    out: Any, dtype: np.dtype[Any], given: tuple[Any, ...], read: tuple[Array | None, ...], state: Any
) -> Array | None:
    """`out` itself, of which kernels see whether it shares memory with what they read, or what is copied there."""
    shape = given[0].shape
    if not _is_usual(out, (dtype,)) or out.shape != shape or not out.flags.writeable:
        return None
    if state is not None and np.may_share_memory(out, state):
        return None
    # an integer that overflows is to leave `out` as it was, and the columns of more axes may be no axis of a matrix
    copied = dtype is _INTEGER or len(shape) > 2
    for part, matrix in zip(given, read, strict=True):
        if (copied or part is not matrix) and type(part) is np.ndarray and np.may_share_memory(out, part):
            return None
    return np.empty_like(read[0], dtype) if copied else out


def _finished(y: Array, out: Array | None, x: Array) -> Array:
    """y in x's shape, in `out` where there is one."""
    if y is out:
        return y
    if x.ndim > 2:
        y = y.reshape(x.shape)
    if out is None:
        return y
    out[...] = y
    return out


def _memories(state: Any, keys: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    """A new array of memories, (K, ...)."""
    inner = shape[1:]
    if keys is None and state is None:
        return np.zeros((1, *inner), dtype)
    if keys is not None and not (_is_usual(keys, _KEYS) and keys.shape == shape[:1]):
        return None
    if state is None:
        count = int(keys.max()) + 1
        return np.zeros((count, *inner), dtype) if 0 < count * math.prod(inner) <= _MEMORIES else None
    a = _checks.memories(state, inner, dtype, keyed=keys is not None)
    return a[None] if keys is None else a
