"""One step of an LSTM cell, in place: the loops behind `LSTMCell.step` and `lstm_step`.

The same tiles and the same chain of fma for each gate as in `kernels.py`, so a step and a sequence agree bit for
bit. Rows go in blocks that fit a scratch on the stack; a block's new h waits there until all of its gates have read the
old one.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.extending import intrinsic

from fastcell._jit import inline, kernel
from fastcell.lstm.kernels import (
    advance,
    copy_values,
    products,
    sizes_at,
    special_at,
    weights_at,
)
from fastcell.simd.vector import (
    load,
    load_first,
    scratch,
    size_of,
    store,
    store_first,
    store_scalar,
    width,
)

STACK = 1 << 15
"""Bytes of scratch on the stack; a cell of which one row needs more takes it from the heap."""

WRONG_X, WRONG_H, WRONG_C, WRONG_LAYOUT, OVERLAP = 1, 2, 3, 4, 5
"""What `check` finds."""


@inline
def _row_bytes(hidden, returned, projected, like):
    """Scratch of one row: two addresses, the gates of two groups, new h, and h before its projection."""
    v, size = width(like), size_of(like)
    wide = (hidden + v - 1) // v * v * size
    back = (returned + 4 * v - 1) // (4 * v) * 4 * v * size if projected else 0
    return 16 + 8 * v * size + wide + back, wide, back


@kernel
def step_rows(x, x_row, h, h_row, c, c_row, rows, room, block, weights, sizes, special, like):
    """One step of rows in place. x: (rows, I)  h: (rows, R)  c: (rows, H), as addresses and strides.

    room: scratch for `block` rows, as `_row_bytes` has it, after a vector for the tail of c.
    """
    inputs, hidden, returned = sizes
    w_x, w_h, bias, w_p, nothing = weights
    v, size = width(like), size_of(like)
    group_bytes = 4 * v * size
    groups = (hidden + v - 1) // v
    _, new_row, back_row = _row_bytes(hidden, returned, w_p != 0, like)
    tail = room
    gates = tail + v * size
    new = gates + 2 * block * group_bytes
    back = new + block * new_row
    x_table = back + block * back_row
    h_table = x_table + 8 * block
    for first in range(0, rows, block):
        count = min(block, rows - first)
        for r in range(count):
            store_scalar(x_table + 8 * r, np.int64(x + (first + r) * x_row))
            store_scalar(h_table + 8 * r, np.int64(h + (first + r) * h_row))
        many = 2 if count == 1 else 1
        for g in range(0, groups, many):
            wide = min(many, groups - g)
            products(
                bias + g * group_bytes, 0, gates, group_bytes, wide, w_x + g * inputs * group_bytes,
                inputs * group_bytes, x_table, 0, inputs, count, like,
            )  # fmt: skip
            products(
                gates, group_bytes, gates, group_bytes, wide, w_h + g * returned * group_bytes,
                returned * group_bytes, h_table, 0, returned, count, like,
            )  # fmt: skip
            for r in range(count):
                for k in range(g, g + wide):
                    at = c + (first + r) * c_row + k * v * size
                    left = hidden - k * v
                    if left < v:  # the caller's c ends before the vector does
                        store(tail, load_first(at, like, left))
                    advance(
                        gates + (r + k - g) * group_bytes, tail if left < v else at, new + r * new_row + k * v * size,
                        k, special, like,
                    )  # fmt: skip
                    if left < v:
                        store_first(at, load(tail, like), left)
        if w_p != 0:
            for r in range(count):
                store_scalar(h_table + 8 * r, np.int64(new + r * new_row))
            products(
                nothing, 0, back, back_row, (returned + 4 * v - 1) // (4 * v), w_p, hidden * group_bytes, h_table, 0,
                hidden, count, like,
            )  # fmt: skip
        for r in range(count):
            source = back + r * back_row if w_p != 0 else new + r * new_row
            copy_values(source, h + (first + r) * h_row, returned, like)


def describe(context, builder, kind, array, axes):
    """LLVM values of an array: address, rows, bytes from row to row, values of a row, bytes from value to value.

    axes: how many of the last ones count, 2 or 1, a row alone.
    """
    struct = context.make_array(kind)(context, builder, array)
    word = context.get_value_type(types.int64)
    shape, strides = (cgutils.unpack_tuple(builder, part) for part in (struct.shape, struct.strides))
    rows = (shape[-2], strides[-2]) if axes > 1 else (ir.Constant(word, 1), ir.Constant(word, 0))
    return [builder.ptrtoint(struct.data, word), *rows, shape[-1], strides[-1]]


ARRAY = types.UniTuple(types.int64, 5)
"""What `describe` gives."""


@intrinsic
def _look(typingctx, array):
    """`describe` for a kernel: an array's numbers without the cost of counting references to it."""

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, ARRAY, describe(context, builder, array, args[0], array.ndim))

    return ARRAY(array), codegen


@intrinsic
def _right_types(typingctx, x, h, c, like):
    """Nothing, but for other arrays than those that `LSTMCell.step` asks for it doesn't compile."""
    for array in (x, h, c):
        fits = isinstance(array, types.Array) and array.dtype == like and array.layout == "C" and array.aligned
        if not fits or array.ndim not in (1, 2) or array.ndim != x.ndim:
            raise errors.TypingError(f"{array} is no array for a step of {like}")
    if not (h.mutable and c.mutable):
        raise errors.TypingError("h and c must be writeable")
    return types.none(x, h, c, like), lambda context, builder, sig, args: context.get_dummy_value()


@inline
def _overlap(a, b, size):
    """Whether the stretches of memory that two arrays lie in overlap."""
    a_end, b_end = a[0] + (a[1] - 1) * a[2] + a[3] * size, b[0] + (b[1] - 1) * b[2] + b[3] * size
    return a[1] * a[3] > 0 and b[1] * b[3] > 0 and a[0] < b_end and b[0] < a_end


@inline
def _apart(array, size):
    """Whether a row's values don't stand side by side; of one value the stride says nothing."""
    return array[3] > 1 and array[4] != size


@inline
def check(x, h, c, sizes, size):
    """0, or what is wrong with a step's arrays, as `describe` tells of them."""
    inputs, hidden, returned = sizes
    if x[3] != inputs:
        return WRONG_X
    if h[3] != returned or h[1] != x[1]:
        return WRONG_H
    if c[3] != hidden or c[1] != x[1]:
        return WRONG_C
    if _apart(x, size) or _apart(h, size) or _apart(c, size):
        return WRONG_LAYOUT
    if _overlap(x, h, size) or _overlap(x, c, size) or _overlap(h, c, size):
        return OVERLAP
    return 0


@inline
def step_arrays(x, h, c, weights, sizes, special, like):
    """One step of the rows of x, h and c, which are checked, in place."""
    a_row, _, _ = _row_bytes(sizes[1], sizes[2], weights[3] != 0, like)
    needed = 64 + width(like) * size_of(like) + a_row
    rows = x[1]
    if needed <= STACK:
        block = 1 if rows == 1 else min((STACK - needed) // a_row + 1, 64)
        room = (scratch(STACK) + 63) // 64 * 64
        step_rows(x[0], x[2], h[0], h[2], c[0], c[2], rows, room, block, weights, sizes, special, like)
    else:
        heap = np.empty(needed, np.uint8)
        room = (heap.ctypes.data + 63) // 64 * 64
        step_rows(x[0], x[2], h[0], h[2], c[0], c[2], rows, room, np.int64(1), weights, sizes, special, like)


@inline
def _cell_step(x, h, c, table, special, like):
    _right_types(x, h, c, like)
    places, sizes = (_look(x), _look(h), _look(c)), sizes_at(table)
    wrong = check(*places, sizes, size_of(like))
    if wrong == 0:
        step_arrays(*places, weights_at(table), sizes, special, like)
    return wrong


@kernel
def cell_step(x, h, c, table, like):
    """One step in place; returns what `check` finds, and does nothing then. x: (B, I)  h: (B, R)  c: (B, H)"""
    return _cell_step(x, h, c, table, None, like)


@kernel
def cell_step_special(x, h, c, table, like):
    """`cell_step` with what `special_at` reads."""
    return _cell_step(x, h, c, table, special_at(table), like)
