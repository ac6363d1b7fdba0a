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
from fastcell.lstm.gates import advance, special_of
from fastcell.lstm.kernels import NONE, copy_values
from fastcell.lstm.layout import GROUP, VECTOR, of_layer, part_of, sizes_of
from fastcell.lstm.products import operand_at, products, products_here, rough_of, sums_of
from fastcell.simd.vector import load, load_first, scratch, size_of, store, store_first, store_scalar

STACK = 1 << 15
"""Bytes of scratch on the stack; a cell of which one row needs more takes it from the heap."""

WRONG_X, WRONG_H, WRONG_C, WRONG_LAYOUT, OVERLAP = 1, 2, 3, 4, 5
"""What `check` finds."""


@inline
def _row_bytes(size):
    """Scratch of a row: tail of c, gates of two groups, new h before and after projection, operands, two addresses."""
    returned = size.h_row if size.p_groups != 0 else 0
    return size.x_operand + size.h_operand + size.p_operand + VECTOR + 2 * GROUP + size.c_row + returned + 16


@kernel
def step_rows(x, h, c, room, block, layer, special, kind):
    """One step of rows in place, x: (rows, I)  h: (rows, R)  c: (rows, H), as `_look` tells of them.

    room: scratch for `block` rows, as `_row_bytes` has it.
    """
    more = None if special is None else special_of(layer)
    like, rough = sums_of(kind), rough_of(kind)
    size = sizes_of(layer)
    gates = room + block * VECTOR
    new = gates + 2 * block * GROUP
    back = new + block * size.c_row
    x_operands = back + (block * size.h_row if size.p_groups != 0 else 0)
    h_operands = x_operands + block * size.x_operand
    p_operands = h_operands + block * size.h_operand
    x_table = p_operands + block * size.p_operand
    h_table = x_table + 8 * block
    w_x = part_of(layer, "w_x"), of_layer(layer, "w_x_group"), size.inputs
    w_h = part_of(layer, "w_h"), of_layer(layer, "w_h_group"), size.returned
    bias = part_of(layer, "bias")
    for first in range(0, x[1], block):
        count = min(block, x[1] - first)
        for r in range(count):
            x_r, h_r = x[0] + (first + r) * x[2], h[0] + (first + r) * h[2]
            x_r = operand_at(kind, x_r, x_operands, r, size.x_operand, size.inputs, 0.0)
            h_r = operand_at(kind, h_r, h_operands, r, size.h_operand, size.returned, of_layer(layer, "h_floor"))
            store_scalar(x_table + 8 * r, x_r)
            store_scalar(h_table + 8 * r, h_r)
        many = 2 if count == 1 else 1
        for g in range(0, size.groups, many):
            wide = min(many, size.groups - g)
            last = size.last if g + wide == size.groups else 4
            start, sums = (bias + g * GROUP, NONE), (gates, np.int64(GROUP))
            products_here(kind, start, sums, wide, last, (w_x[0] + g * w_x[1], w_x[1], w_x[2]), (x_table, NONE), count)
            products_here(kind, sums, sums, wide, last, (w_h[0] + g * w_h[1], w_h[1], w_h[2]), (h_table, NONE), count)
            for k in range(g, g + wide):
                here = gates + (k - g) * GROUP, np.int64(GROUP)
                c_k, h_k = (c[0] + first * c[2] + k * VECTOR, c[2]), (new + k * VECTOR, size.c_row)
                _advance(here, c_k, h_k, count, size, k, last if k + 1 == g + wide else 4, room, more, like, rough)
        if size.p_groups != 0:
            for r in range(count):
                floor, h_new = of_layer(layer, "p_floor"), new + r * size.c_row
                store_scalar(
                    h_table + 8 * r, operand_at(kind, h_new, p_operands, r, size.p_operand, size.hidden, floor)
                )
            w_p = part_of(layer, "w_p"), of_layer(layer, "w_p_group"), size.hidden
            zeros, to = (part_of(layer, "zeros"), NONE), (back, size.h_row)
            products(kind, zeros, to, size.p_groups, size.p_last, w_p, (h_table, NONE), count)
        for r in range(count):
            source = back + r * size.h_row if size.p_groups != 0 else new + r * size.c_row
            copy_values(source, h[0] + (first + r) * h[2], size.returned, like)


@inline
def _advance(gates, c, h_new, count, size, k, vectors, tails, special, like, rough):
    """`advance` for the k-th group of rows of the caller's c, which may end before what the group has room for."""
    left = size.hidden - k * (VECTOR // size_of(like))
    touched = VECTOR if vectors == 3 else vectors * (VECTOR // 4)
    whole = left * size_of(like) >= touched
    at = c if whole else (tails, np.int64(VECTOR))
    if not whole:
        for r in range(count):
            store(tails + r * VECTOR, load_first(c[0] + r * c[1], like, left))
    advance(gates, at, h_new, count, vectors, k, special, like, rough)
    if not whole:
        for r in range(count):
            store_first(c[0] + r * c[1], load(tails + r * VECTOR, like), left)


def numbers_of(context, builder, kind, array, axes):
    """LLVM values of an array: address, rows, bytes from row to row, values of a row, bytes from value to value.

    axes: how many of the last ones count, 2 or 1, a row alone.
    """
    struct = context.make_array(kind)(context, builder, array)
    word = context.get_value_type(types.int64)
    shape, strides = (cgutils.unpack_tuple(builder, part) for part in (struct.shape, struct.strides))
    rows = (shape[-2], strides[-2]) if axes > 1 else (ir.Constant(word, 1), ir.Constant(word, 0))
    return [builder.ptrtoint(struct.data, word), *rows, shape[-1], strides[-1]]


ARRAY = types.UniTuple(types.int64, 5)
"""What `numbers_of` gives."""


@intrinsic
def _look(typingctx, array):
    """`numbers_of` for a kernel: an array's numbers without the cost of counting references to it."""

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, ARRAY, numbers_of(context, builder, array, args[0], array.ndim))

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
def _scattered(array, size):
    """Whether a row's values don't stand side by side; of one value the stride says nothing."""
    return array[3] > 1 and array[4] != size


@inline
def check(x, h, c, sizes, itemsize):
    """0, or what is wrong with a step's arrays, as `numbers_of` tells of them."""
    if x[3] != sizes.inputs:
        return WRONG_X
    if h[3] != sizes.returned or h[1] != x[1]:
        return WRONG_H
    if c[3] != sizes.hidden or c[1] != x[1]:
        return WRONG_C
    if _scattered(x, itemsize) or _scattered(h, itemsize) or _scattered(c, itemsize):
        return WRONG_LAYOUT
    if _overlap(x, h, itemsize) or _overlap(x, c, itemsize) or _overlap(h, c, itemsize):
        return OVERLAP
    return 0


@inline
def step_arrays(x, h, c, layer, special, kind):
    """One step of the rows of x, h and c, which are checked, in place."""
    a_row = _row_bytes(sizes_of(layer))
    needed = 64 + a_row
    if needed <= STACK:
        block = 1 if x[1] == 1 else min((STACK - needed) // a_row + 1, 64)
        room = (scratch(STACK) + 63) // 64 * 64
        step_rows(x, h, c, room, block, layer, special, kind)
    else:
        heap = np.empty(needed, np.uint8)
        room = (heap.ctypes.data + 63) // 64 * 64
        step_rows(x, h, c, room, np.int64(1), layer, special, kind)


@kernel
def cell_step(x, h, c, layer, special, kind):
    """One step in place; returns what `check` finds, and does nothing then. x: (B, I)  h: (B, R)  c: (B, H)"""
    _right_types(x, h, c, sums_of(kind))
    arrays = _look(x), _look(h), _look(c)
    wrong = check(*arrays, sizes_of(layer), size_of(sums_of(kind)))
    if wrong == 0:
        step_arrays(*arrays, layer, special, kind)
    return wrong
