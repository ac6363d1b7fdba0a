"""Small calls: what can be told without looking at values is checked here, and compiled code is entered once.

Whatever is unusual, or wrong, is left to the way of large arrays, which names it.
"""

from typing import Any

import numpy as np

from fastcell import _checks
from fastcell._checks import Array
from fastcell._jit import VECTOR_BITS
from fastcell.scan import toy_calls

SMALL = 1 << 14  # steps times columns up to which one entry into compiled code is faster than the fitting kernel
_VALUES = frozenset(map(np.dtype, "fd"))
_RULES = frozenset(map(np.dtype, "?blfd"))
_IN_REGISTERS = tuple(map(np.dtype, "fbb")) if VECTOR_BITS == 512 else None  # the types that `toy_eights` is for


def small_toy(x1: Any, x2: Any, x3: Any, state: Any, fill: Any, out: Any, threads: Any) -> tuple[Array, Array] | None:
    """y and the state of a small call on arrays of the usual types; None where one is not, or is wrong."""
    if x2 is None and x3 is None and type(x1) is np.ndarray and x1.ndim > 1 and x1.shape[-1] == 3:
        x1, x2, x3 = x1[..., 0], x1[..., 1], x1[..., 2]
    for array, kinds in ((x1, _VALUES), (x2, _RULES), (x3, _RULES)):
        if type(array) is not np.ndarray or array.dtype not in kinds or not array.flags.aligned:
            return None
    shape, dtype = x1.shape, x1.dtype
    if x2.shape != shape or x3.shape != shape or not 0 < x1.size <= SMALL or x1.ndim > 2:
        return None
    if type(fill) is not float or not (threads is None or (type(threads) is int and threads > 0)):
        return None
    if state is not None and out is not None:
        return None
    if out is None:
        y = np.empty_like(x1)
    elif type(out) is np.ndarray and out.dtype is dtype and out.shape == shape and out.flags.behaved:
        y = out
    else:
        return None
    inner, accumulator = shape[1:], np.dtype(np.float64)
    a = np.zeros((1, *inner)) if state is None else _checks.memories(state, inner, accumulator, keyed=False)[None]
    in_registers = True if (dtype, x2.dtype, x3.dtype) == _IN_REGISTERS else None
    return (y, a[0]) if toy_calls.toy_call(x1, x2, x3, y, a, fill, in_registers) else None
