"""The kernel of a small call of `toy_scan`, from the check of the rules to the last step.

Compiled code is entered once: each further entry, and each array looked at from Python, takes as long as a hundred
steps. Large calls go through dispatch.py to kernels that step many columns at once.
"""

import numpy as np

from fastcell._jit import inline, kernel
from fastcell.scan.toy_kernels import has_other_rules
from fastcell.scan.toy_lanes import STEPS, toy_lanes
from fastcell.simd.vector import FLOAT64, load_scalar, places, size_of, store_scalar, value_of


@inline
def _ends(array, size):
    """The stretch of memory that an array's values lie in."""
    at, T, t_step, B, b_step = array
    t_reach, b_reach = (T - 1) * t_step, (B - 1) * b_step
    return at + min(t_reach, 0) + min(b_reach, 0), at + max(t_reach, 0) + max(b_reach, 0) + size


@inline
def _apart(one, one_size, other, other_size):
    first, last = _ends(one, one_size)
    other_first, other_last = _ends(other, other_size)
    return last <= other_first or other_last <= first


@inline
def _step(memory, x1, x2, x3, y, t, b, fill, likes):
    """One step of a column; returns its memory."""
    like_1, like_2, like_3 = likes
    r = load_scalar(x2[0] + t * x2[2] + b * x2[4], like_2)
    e = load_scalar(x3[0] + t * x3[2] + b * x3[4], like_3)
    x = FLOAT64 + load_scalar(x1[0] + t * x1[2] + b * x1[4], like_1)
    memory = 0.0 if r == -1 else (memory + x if r == 1 else memory)
    store_scalar(y[0] + t * y[2] + b * y[4], type(like_1)(memory if e == 1 else fill))
    return memory


@kernel
def toy_call(x1, x2, x3, y, a, fill, lanes):
    """All steps; false, and nothing done, where a rule is none or y shares memory with an input.

    x1, x2, x3, y: (T,) or (T, B), not empty, of one shape  a: (B,) side by side, read and written
    `lanes` is None where the types are not those of `toy_lanes`, which is not compiled then.
    """
    p1, p2, p3, py, memories = places(x1), places(x2), places(x3), places(y), places(a)[0]
    likes = value_of(x1), value_of(x2), value_of(x3)
    size, size_2, size_3 = size_of(likes[0]), size_of(likes[1]), size_of(likes[2])
    if not (_apart(py, size, p1, size) and _apart(py, size, p2, size_2) and _apart(py, size, p3, size_3)):
        return False
    _, T, _, B, _ = p1
    if has_other_rules(p2[0], p2[2], p2[4], T, B, likes[1] - 1, likes[1]):
        return False
    if has_other_rules(p3[0], p3[2], p3[4], T, B, likes[2], likes[2]):
        return False
    if lanes is not None:  # noqa: SIM102, alone it lets Numba leave out what follows
        if T >= STEPS and p1[2] == size and p2[2] == 1 and p3[2] == 1 and py[2] == size:
            toy_lanes(p1[0], p1[4], p2[0], p2[4], p3[0], p3[4], py[0], py[4], memories, 0, T, 0, B, np.float32(fill))
            return True
    if abs(p1[2]) < abs(p1[4]) or B == 1:
        for b in range(B):
            memory = load_scalar(memories + b * 8, FLOAT64)
            for t in range(T):
                memory = _step(memory, p1, p2, p3, py, t, b, fill, likes)
            store_scalar(memories + b * 8, memory)
    else:
        for t in range(T):
            for b in range(B):
                memory = load_scalar(memories + b * 8, FLOAT64)
                store_scalar(memories + b * 8, _step(memory, p1, p2, p3, py, t, b, fill, likes))
    return True
