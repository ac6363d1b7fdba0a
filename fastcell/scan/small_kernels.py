"""The kernels of small calls, from the checks that look at values to the last step.

Compiled code is entered once: each further entry, and each array looked at from Python, takes as long as a hundred
steps. Large calls go through dispatch.py to kernels that step many columns at once.

Each returns whether all is done. Where it is not, nothing that the caller sees has been written: a rule or a key is
none, y shares memory with an input, or an integer memory overflowed.

x1, x, gates, y: (T,) or (T, B), not empty    keys: (T,) or None    a: (K, ...), side by side, read and written, K = 1
without keys    fill: y's silent value
"""

from fastcell._jit import inline, kernel_of_arrays
from fastcell.scan.arrays import element
from fastcell.scan.gated_kernels import gated_one
from fastcell.scan.toy_kernels import has_other_rules, toy_one, toy_serial
from fastcell.scan.toy_registers import STEPS, toy_eights
from fastcell.simd.vector import any_lane, first_lane, load, load_scalar, places, size_of, splat, store, value_of


@inline
def _placed(array):
    """An array as in arrays.py; one that has one step or one column has that for all."""
    at, T, step, B, column = places(array)
    return at, step if T > 1 else 0, column if B > 1 else 0, value_of(array)


@inline
def _ends(array):
    """The stretch of memory that an array's values lie in."""
    at, T, step, B, column = places(array)
    over, across = (T - 1) * step, (B - 1) * column
    return at + min(over, 0) + min(across, 0), at + max(over, 0) + max(across, 0) + size_of(value_of(array))


@inline
def _overlap(one, other):
    first, last = _ends(one)
    other_first, other_last = _ends(other)
    return first < other_last and other_first < last


@inline
def _number(number, like):
    """As a number of like's type."""
    return type(like)(number)


@inline
def _any_outside(keys, T, K):
    """Whether a key is none of 0 to K - 1."""
    for t in range(T):
        key = load_scalar(element(keys, t, 0), keys[3])
        if key < 0 or key >= K:
            return True
    return False


@inline
def _others(rules, placed, low, high):
    """`has_other_rules` of an array."""
    _, T, _, B, _ = places(rules)
    return has_other_rules(placed, T, B, _number(low, placed[3]), _number(high, placed[3]))


@kernel_of_arrays
def small_toy(x1, x2, x3, y, a, keys, fill, bounds, lowest, in_registers):
    """`toy_scan`. `in_registers` is None where the types are not those of `toy_eights`, which is not compiled then.

    x2, x3: rules of x1's shape, or one for all. bounds: None, or low and high. lowest: which x2 may be, -1 or 0
    """
    if _overlap(y, x1) or _overlap(y, x2) or _overlap(y, x3):
        return False
    _, T, _, B, _ = places(x1)
    memories, K, _, _, _ = places(a)
    p1, p2, p3, to, zero = _placed(x1), _placed(x2), _placed(x3), _placed(y), value_of(a)
    if _others(x2, p2, lowest, 2) or _others(x3, p3, 0, 1):
        return False
    silent = _number(fill, to[3])
    if in_registers is not None:  # noqa: SIM102, alone it lets Numba leave out what follows
        if T >= STEPS and p1[1] == 4 and p2[1] == 1 and p3[1] == 1 and to[1] == 4:
            toy_eights(p1, p2, p3, to, memories, 0, T, 0, B, silent)
            return True
    if keys is not None:
        codes = _placed(keys)
        if _any_outside(codes, T, K) or _overlap(y, keys):
            return False
    elif x1.ndim == 1:
        return not any_lane(toy_serial(p1, p2, p3, to, memories, 0, T, silent, bounds, zero))
    overflow = splat(zero, 2) != 0
    for t in range(T):
        row = memories
        if keys is not None:
            row += load_scalar(element(codes, t, 0), codes[3]) * B * 8
        for b in range(B):
            overflow = toy_one(p1, p2, p3, to, t, b, row + b * 8, overflow, silent, bounds, zero)
    return not first_lane(overflow)


@kernel_of_arrays
def small_gated(x, f, i, o, y, a, keys):
    """`gated_scan`, with gates of x's shape, (T, 1), (1, B) or (1,)."""
    if _overlap(y, x) or _overlap(y, f) or _overlap(y, i) or _overlap(y, o):
        return False
    _, T, _, B, _ = places(x)
    memories, K, _, _, _ = places(a)
    zero, px, pf, pi, po, to = value_of(a), _placed(x), _placed(f), _placed(i), _placed(o), _placed(y)
    overflow = splat(zero, 1) != 0
    if keys is not None:
        codes = _placed(keys)
        if _any_outside(codes, T, K) or _overlap(y, keys):
            return False
    elif x.ndim == 1:
        memory = load(memories, zero, 1)
        for t in range(T):
            memory, overflow = gated_one(px, pf, pi, po, to, t, 0, memory, overflow, to[3])
        store(memories, memory)
        return not any_lane(overflow)
    for t in range(T):
        row = memories
        if keys is not None:
            row += load_scalar(element(codes, t, 0), codes[3]) * B * 8
        for b in range(B):
            memory = load(row + b * 8, zero, 1)
            memory, overflow = gated_one(px, pf, pi, po, to, t, b, memory, overflow, to[3])
            store(row + b * 8, memory)
    return not any_lane(overflow)
