"""Products of packed weights with rows, in any arithmetic: rows become operands, then go through tiles of sums."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from fastcell._jit import inline, overloaded
from fastcell.lstm.arithmetic import of_kind
from fastcell.lstm.layout import GROUP, TILE
from fastcell.lstm.tile import Tile
from fastcell.simd.vector import _element


def operand(kind, source, to, count, floor):
    """Make a row's `count` values at `source` operands at `to`; floor: the least that an int8 scale is made for."""


@overloaded(operand)
def _operand(kind, source, to, count, floor):
    return of_kind(kind).operand


@inline
def operand_at(kind, source, operands, r, size, count, floor):
    """Where the r-th row's operands are: among `operands`, where they are made, or the row itself if they take none."""
    if size == 0:
        return np.int64(source)
    to = operands + r * size
    operand(kind, source, to, count, floor)
    return np.int64(to)


@intrinsic
def sums_of(typingctx, kind):
    """A zero of the type in which an arithmetic sums, and in which x, h and c are."""
    dtype = from_dtype(np.dtype(of_kind(kind).sums))

    def codegen(context, builder, sig, args):
        return ir.Constant(_element(dtype), None)

    return dtype(kind), codegen


@intrinsic(prefer_literal=True)
def multiply_add(typingctx, kind, start, to, weights, rows_at, rows, groups):
    """to[r, g] = start[r, g] + sum over k of weights[g, k] * rows[r][k], k upward, each sum by itself.

    start, to: address, bytes from row to row; an element is the four vectors of a group. weights: address, bytes from
    group to group, values of a row. rows_at: the address of a table of addresses, one for each row's operands, and
    what to add to them. `rows` and `groups` are literals: 4 * rows * groups sums stay in registers.
    """
    arithmetic, n, m = of_kind(kind), rows.literal_value, groups.literal_value
    dtype = from_dtype(np.dtype(arithmetic.sums))

    def codegen(context, builder, sig, args):
        (start, start_row), (to, to_row), (w, w_group, count), (table, offset) = (
            cgutils.unpack_tuple(builder, part) for part in args[1:5]
        )
        tile = Tile(builder, dtype, n, m, count)
        tile.begin(w, w_group, table, offset, start, start_row)
        arithmetic.multiply(tile)
        tile.end(to, to_row)

    return types.void(kind, start, to, weights, rows_at, rows, groups), codegen


@inline
def _tile(kind, start, to, weights, rows, count):
    if TILE == 6:
        if count == 6:
            multiply_add(kind, start, to, weights, rows, 6, 1)
            return
        if count == 5:
            multiply_add(kind, start, to, weights, rows, 5, 1)
            return
        if count == 4:
            multiply_add(kind, start, to, weights, rows, 4, 1)
            return
    if count == 3:
        multiply_add(kind, start, to, weights, rows, 3, 1)
    elif count == 2:
        multiply_add(kind, start, to, weights, rows, 2, 1)
    elif count == 1:
        multiply_add(kind, start, to, weights, rows, 1, 1)


@inline
def products(kind, start, to, groups, weights, rows, count):
    """Add weights times each of `count` rows to `start`, into `to`, for `groups` groups; rows in tiles of equal size.

    start, to, weights, rows: as in `multiply_add`.
    """
    g = 0
    if count == 1:  # two groups at once: a sum need not wait for the one before it
        while g + 2 <= groups:
            here = g * GROUP
            multiply_add(
                kind, (start[0] + here, start[1]), (to[0] + here, to[1]), _from_group(weights, g), rows, 1, 2
            )  # fmt: skip
            g += 2
    tiles = (count + TILE - 1) // TILE
    small = count // max(tiles, 1)
    large = count - small * tiles  # so many tiles have one row more
    while g < groups:
        row = 0
        for tile in range(tiles):
            many = small + 1 if tile < large else small
            _tile(
                kind, (start[0] + g * GROUP + row * start[1], start[1]), (to[0] + g * GROUP + row * to[1], to[1]),
                _from_group(weights, g), (rows[0] + row * 8, rows[1]), many,
            )  # fmt: skip
            row += many
        g += 1


@inline
def _from_group(weights, g):
    return weights[0] + g * weights[1], weights[1], weights[2]
