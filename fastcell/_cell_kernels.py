"""One step of an LSTM cell, in place: the loops behind `LSTMCell.step` and `lstm_step`.

The same tiles and the same chain of fma for each gate as in `_lstm_kernels.py`, so a step and a sequence agree bit for
bit. Rows go in blocks that fit a scratch on the stack; a block's new h waits there until all of its gates have read the
old one.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcell._jit import inline, kernel
from fastcell._lstm_kernels import (
    advance,
    copy_values,
    products,
    sizes_at,
    special_at,
    weights_at,
)
from fastcell.simd import (
    INT64,
    load,
    load_first,
    load_scalar,
    scratch,
    size_of,
    store,
    store_first,
    store_scalar,
    width,
)

STACK = 1 << 15
"""Bytes of scratch on the stack; a cell of which one row needs more takes it from the heap."""

WRONG_DTYPE, WRONG_X, WRONG_H, WRONG_C, WRONG_LAYOUT, OVERLAP = 1, 2, 3, 4, 5, 6
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


@inline
def _first_axis(array):
    return 1 if array.ndim == 1 else array.shape[0]


@inline
def _row_stride(array):
    return 0 if array.ndim == 1 else array.strides[0]


@inline
def _extent(array):
    return (_first_axis(array) - 1) * _row_stride(array) + array.shape[-1] * array.itemsize


@inline
def _overlap(a, b):
    """Whether the stretches of memory that two arrays lie in overlap."""
    return (
        a.size > 0
        and b.size > 0
        and a.ctypes.data < b.ctypes.data + _extent(b)
        and b.ctypes.data < a.ctypes.data + _extent(a)
    )


@intrinsic
def _one_dtype(typingctx, a, b, c):
    """Whether three arrays are of one dtype: a constant."""

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(1), a.dtype == b.dtype == c.dtype)

    return types.boolean(a, b, c), codegen


@inline
def _rows_side_by_side(array):
    return array.size == 0 or array.strides[-1] == array.itemsize


@inline
def check(x, h, c, itemsize, inputs, hidden, returned):
    """0, or what is wrong with a step's arrays; read-only ones don't compile."""
    if not _one_dtype(x, h, c) or c.itemsize != itemsize:
        return WRONG_DTYPE
    if x.ndim != h.ndim or x.ndim != c.ndim:
        return WRONG_H
    rows = _first_axis(x)
    if x.shape[-1] != inputs:
        return WRONG_X
    if h.shape[-1] != returned or _first_axis(h) != rows:
        return WRONG_H
    if c.shape[-1] != hidden or _first_axis(c) != rows:
        return WRONG_C
    if not (_rows_side_by_side(x) and _rows_side_by_side(h) and _rows_side_by_side(c)):
        return WRONG_LAYOUT
    if _overlap(x, h) or _overlap(x, c) or _overlap(h, c):
        return OVERLAP
    h[:0], c[:0] = 0, 0
    return 0


@inline
def step_arrays(x, h, c, weights, sizes, special):
    """One step of the rows of x, h and c, which are checked, in place."""
    like = c.dtype.type(0)
    a_row, _, _ = _row_bytes(sizes[1], sizes[2], weights[3] != 0, like)
    needed = 64 + width(like) * size_of(like) + a_row
    on_stack = needed <= STACK
    heap = np.empty(0 if on_stack else needed, np.uint8)
    room = ((scratch(STACK) if on_stack else heap.ctypes.data) + 63) // 64 * 64
    step_rows(
        x.ctypes.data, _row_stride(x), h.ctypes.data, _row_stride(h), c.ctypes.data, _row_stride(c), _first_axis(x),
        room, max(min((STACK - needed) // a_row + 1, 64), 1), weights, sizes, special, like,
    )  # fmt: skip


@kernel
def cell_step(x, h, c, table):
    """One step in place; returns what `check` finds, and does nothing then. x: (B, I)  h: (B, R)  c: (B, H)"""
    sizes = sizes_at(table)
    wrong = check(x, h, c, load_scalar(table + 96, INT64), *sizes)
    if wrong == 0:
        step_arrays(x, h, c, weights_at(table), sizes, None)
    return wrong


@kernel
def cell_step_special(x, h, c, table):
    """`cell_step` with what `special_at` reads."""
    sizes = sizes_at(table)
    wrong = check(x, h, c, load_scalar(table + 96, INT64), *sizes)
    if wrong == 0:
        step_arrays(x, h, c, weights_at(table), sizes, special_at(table))
    return wrong
