"""The kernel of a small call of `toy_scan`, from the check of the rules to the last step.

Compiled code is entered once: each further entry, and each array looked at from Python, takes as long as a hundred
steps. Large calls go through dispatch.py to kernels that step many columns at once.
"""

import numpy as np

from fastcell._jit import inline, kernel
from fastcell.scan.arrays import element
from fastcell.scan.toy_kernels import has_other_rules
from fastcell.scan.toy_registers import STEPS, toy_eights
from fastcell.simd.vector import FLOAT64, load_scalar, places, size_of, store_scalar, value_of


@inline
def _ends(array, size):
    """The stretch of memory that an array's values lie in; the array as `places` tells of it."""
    at, T, step, B, column = array
    over, across = (T - 1) * step, (B - 1) * column
    return at + min(over, 0) + min(across, 0), at + max(over, 0) + max(across, 0) + size


@inline
def _overlap(one, size, other, other_size):
    first, last = _ends(one, size)
    other_first, other_last = _ends(other, other_size)
    return first < other_last and other_first < last


@inline
def _number(number, like):
    return type(like)(number)


@inline
def _step(memory, x1, x2, x3, y, t, b, fill):
    """One step of a column; returns its memory."""
    r, e = load_scalar(element(x2, t, b), x2[3]), load_scalar(element(x3, t, b), x3[3])
    x = FLOAT64 + load_scalar(element(x1, t, b), x1[3])
    memory = 0.0 if r == -1 or r == 2 else memory
    memory = memory + x if r == 1 or r == 2 else memory
    store_scalar(element(y, t, b), type(x1[3])(memory if e == 1 else fill))
    return memory


@kernel
def toy_call(x1, x2, x3, y, a, fill, in_registers):
    """All steps; false, and nothing done, where a rule is none or y shares memory with an input.

    x1, x2, x3, y: (T,) or (T, B), not empty, of one shape  a: (1, ...), side by side, read and written
    `in_registers` is None where the types are not those of `toy_eights`, which is not compiled then.
    """
    n1, n2, n3, ny, memories = places(x1), places(x2), places(x3), places(y), places(a)[0]
    like1, like2, like3 = value_of(x1), value_of(x2), value_of(x3)
    size, size2, size3 = size_of(like1), size_of(like2), size_of(like3)
    if _overlap(ny, size, n1, size) or _overlap(ny, size, n2, size2) or _overlap(ny, size, n3, size3):
        return False
    _, T, _, B, _ = n1
    p1, p2 = (n1[0], n1[2], n1[4], like1), (n2[0], n2[2], n2[4], like2)  # as in arrays.py
    p3, py = (n3[0], n3[2], n3[4], like3), (ny[0], ny[2], ny[4], like1)
    if has_other_rules(p2, T, B, _number(-1, like2), _number(2, like2)):
        return False
    if has_other_rules(p3, T, B, like3, _number(1, like3)):
        return False
    if in_registers is not None:  # noqa: SIM102, alone it lets Numba leave out what follows
        if T >= STEPS and p1[1] == 4 and p2[1] == 1 and p3[1] == 1 and py[1] == 4:
            toy_eights(p1, p2, p3, py, memories, 0, T, 0, B, np.float32(fill))
            return True
    if abs(p1[1]) < abs(p1[2]) or B == 1:
        for b in range(B):
            memory = load_scalar(memories + b * 8, FLOAT64)
            for t in range(T):
                memory = _step(memory, p1, p2, p3, py, t, b, fill)
            store_scalar(memories + b * 8, memory)
    else:
        for t in range(T):
            for b in range(B):
                memory = load_scalar(memories + b * 8, FLOAT64)
                store_scalar(memories + b * 8, _step(memory, p1, p2, p3, py, t, b, fill))
    return True
