"""Products of packed weights with rows, in any arithmetic: rows become operands, then go through tiles of sums."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from fastcell._jit import helper, inline, overloaded
from fastcell.lstm.arithmetic import of_kind
from fastcell.lstm.layout import GROUP, TILE, VECTOR
from fastcell.lstm.tile import AHEAD, ASKED, FAR, LINE, TURN, MatrixTile, Tile
from fastcell.simd import matrix
from fastcell.simd.vector import INT64, _element, load_scalar


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


@intrinsic
def rough_of(typingctx, kind):
    """None where an arithmetic's sums deserve exact activations, else True: code for the others is not compiled."""
    exact = of_kind(kind).exact

    def codegen(context, builder, sig, args):
        return context.get_dummy_value() if exact else ir.Constant(ir.IntType(1), 1)

    return (types.none if exact else types.boolean)(kind), codegen


def _emit(builder, kind, args, rows, vectors, ahead=None):
    """The code of a tile; args: those of `multiply_add`; ahead: what `Tile.ask` takes."""
    arithmetic = of_kind(kind)
    (start, start_row), (to, to_row), (w, w_group, count), (table, offset) = (
        cgutils.unpack_tuple(builder, part) for part in args[1:5]
    )
    tile = Tile(builder, from_dtype(np.dtype(arithmetic.sums)), rows, vectors, count, args[5], ahead)
    tile.begin(w, w_group, table, offset, start, start_row)
    arithmetic.multiply(tile)
    tile.end(to, to_row)


@intrinsic(prefer_literal=True)
def multiply_add(typingctx, kind, start, to, weights, rows_at, there, rows, vectors):
    """to[r, g] = start[r, g] + sum over k of weights[g, k] * rows[r][k], k upward, each sum by itself.

    start, to: address, bytes from row to row; an element is the four vectors of a group. weights: address, bytes from
    group to group, values of a row. rows_at: the address of a table of addresses, one for each row's operands, and
    what to add to them. `rows` and `vectors`, 4 for each group or the first 1 to 3 of one, are literals: rows * vectors
    sums stay in registers. there: how many of the rows there are, which may be fewer where vectors are.
    """

    def codegen(context, builder, sig, args):
        _emit(builder, kind, args, rows.literal_value, vectors.literal_value)

    return types.void(kind, start, to, weights, rows_at, types.int64, rows, vectors), codegen


_TALL = {vectors: min(6, 4 * TILE // vectors) for vectors in (1, 2, 3)}
"""Rows of a tile of fewer vectors than a group has: addresses of more would not stay in registers, either."""
_TALL_1, _TALL_2, _TALL_3 = _TALL.values()


@intrinsic
def _multiply_whole(typingctx, kind, start, to, weights, rows_at, there, ahead):
    """`multiply_add` for the rows that are there, at most TILE, and a group.

    ahead: the address of weights that are wanted soon, and how many bytes of them each turn asks for.
    """

    def codegen(context, builder, sig, args):
        for rows in range(1, TILE + 1):
            with builder.if_then(builder.icmp_signed("==", args[5], ir.Constant(args[5].type, rows))):
                _emit(builder, kind, args, rows, 4, cgutils.unpack_tuple(builder, args[6]))

    return types.void(kind, start, to, weights, rows_at, types.int64, ahead), codegen


@intrinsic
def _multiply_tall(typingctx, kind, start, to, weights, rows_at, there, vectors):
    """`multiply_add` for the rows that are there, or the first of them that a tile has, and some vectors of a group."""

    def codegen(context, builder, sig, args):
        for many, rows in _TALL.items():
            with builder.if_then(builder.icmp_signed("==", args[6], ir.Constant(args[6].type, many))):
                _emit(builder, kind, args, rows, many)

    return types.void(kind, start, to, weights, rows_at, types.int64, types.int64), codegen


@intrinsic
def begin_unit(typingctx, kind, room):
    """Make the CPU's matrix unit ready: what `end_unit` and `products` take, None if it has none for this arithmetic.

    room: the address of `matrix.ROOM` bytes that the caller keeps. It takes as long as a step of few units.
    """
    used = of_kind(kind).multiply_matrix is not None

    def codegen(context, builder, sig, args):
        if not used:
            return context.get_dummy_value()
        matrix.begin(builder, args[1])
        return args[1]

    return (types.int64 if used else types.none)(kind, types.int64), codegen


@inline
def end_unit(unit):
    if unit is not None:
        matrix.end(unit)


@intrinsic
def _pays(typingctx, kind, rows, count):
    """Whether the unit is faster than vectors for so many rows of `count` values."""

    def codegen(context, builder, sig, args):
        least = of_kind(kind).matrix_from
        return builder.and_(*(
            builder.icmp_signed(">=", many, ir.Constant(many.type, few))
            for many, few in zip(args[1:], least, strict=True)
        ))  # fmt: skip

    return types.boolean(kind, types.int64, types.int64), codegen


@intrinsic
def _alone(typingctx, kind):
    """Whether vectors do nothing of this arithmetic: a constant, so that the unit's code for it is not compiled."""
    alone = of_kind(kind).alone
    return types.boolean(kind), lambda context, builder, sig, args: ir.Constant(ir.IntType(1), alone)


@intrinsic
def _part(typingctx, kind):
    """How many values go through the unit at once, by whose weights all rows pass while the first cache has them."""
    part = of_kind(kind).matrix_part
    return types.int64(kind), lambda context, builder, sig, args: ir.Constant(ir.IntType(64), part)


@intrinsic(prefer_literal=True)
def _multiply_matrix(typingctx, kind, start, to, group, x, part, rows, vectors, whole, ahead):
    """`multiply_add` for up to 16 rows, whose operands lie as far apart as x says, and 4 or 1 vectors.

    part: the first of the values that it is for, and how many. whole: literally 0 for rows that are left over;
    vectors: a literal, too. ahead: what `MatrixTile.ask` takes.
    """

    def codegen(context, builder, sig, args):
        registers = matrix.WHOLE if whole.literal_value else matrix.REST
        tile = MatrixTile(builder, registers, vectors.literal_value, args[6])
        tile.start, tile.to, (tile.x, tile.x_row) = (cgutils.unpack_tuple(builder, args[k]) for k in (1, 2, 4))
        tile.group, (tile.first, tile.count) = args[3], cgutils.unpack_tuple(builder, args[5])
        tile.ahead = cgutils.unpack_tuple(builder, args[9])
        of_kind(kind).multiply_matrix(tile)

    word = types.int64
    return types.void(kind, start, to, word, x, part, word, vectors, whole, ahead), codegen


@helper
def _by_matrix(kind, start, to, groups, last, weights, rows, count, unit):
    """`products` by the matrix unit: each row's operands lie as far from the one before.

    Returns how many rows and groups are done: all, or what fills its registers where vectors are there for the others.
    """
    matrix.fit(unit, count)
    x = load_scalar(rows[0], INT64) + rows[1]
    x_row = load_scalar(rows[0] + 8, INT64) + rows[1] - x if count > 1 else np.int64(0)
    whole, alone = min(count, matrix.ROWS), _alone(kind)
    if not alone:
        count, groups = count // whole * whole, groups if last == 4 else groups - 1
    part = _part(kind)
    lines = (ASKED * whole + count - 1) // count if count > whole and weights[2] >= FAR else np.int64(0)
    g, first = 0, 0
    while g < groups:
        group = weights[0] + g * weights[1]
        vectors = last if alone and g + 1 == groups else 4
        values = first, min(weights[2] - first, part)
        source, source_row = start if first == 0 else to
        size, after = abs(weights[1]), first + part
        soon = group + (weights[1] if after >= weights[2] else size * after // weights[2])
        share = (size * values[1] // weights[2] + TURN - 1) // TURN * 2 * LINE * lines  # bytes that 16 rows ask for
        row = 0
        while row < count:
            here = ((source + g * GROUP + row * source_row, source_row), (to[0] + g * GROUP + row * to[1], to[1]))
            x_here, left = (x + row * x_row, x_row), count - row
            if left >= whole and vectors == 4:
                _multiply_matrix(kind, here[0], here[1], group, x_here, values, whole, 4, 1, (soon, lines))
            elif alone:
                for v in range(0, vectors * VECTOR, VECTOR):
                    one = (here[0][0] + v, source_row), (here[1][0] + v, to[1])
                    if left >= whole:
                        _multiply_matrix(kind, one[0], one[1], group + v, x_here, values, whole, 1, 1, (soon, lines))
                    else:
                        _multiply_matrix(kind, one[0], one[1], group + v, x_here, values, left, 1, 0, (soon, lines))
            row += whole
            soon += share
        first += part
        if first >= weights[2]:
            g, first = g + 1, 0
    return count, groups


@helper
def _by_vectors(kind, start, to, groups, last, weights, rows, count):
    """`products` by vectors; rows in tiles of equal size."""
    g = 0
    if count == 1:  # two groups at once: a sum need not wait for the one before it
        while g + 2 <= groups:
            at = g * GROUP
            multiply_add(
                kind, (start[0] + at, start[1]), (to[0] + at, to[1]),
                (weights[0] + g * weights[1], weights[1], weights[2]), rows, count, 1, 8,
            )  # fmt: skip
            g += 2
    tall = _TALL_1 if last == 1 else _TALL_2 if last == 2 else _TALL_3
    if last < 4 and 4 * count > tall * last:  # else a whole group takes no longer
        groups -= 1
        at, row = groups * GROUP, 0
        while row < count:
            _multiply_tall(
                kind, (start[0] + at + row * start[1], start[1]), (to[0] + at + row * to[1], to[1]),
                (weights[0] + groups * weights[1], weights[1], weights[2]), (rows[0] + row * 8, rows[1]), count - row,
                last,
            )  # fmt: skip
            row += tall
    tiles = max((count + TILE - 1) // TILE, 1)
    small = count // tiles
    large = count - small * tiles  # so many tiles have one row more
    share = abs(weights[1]) // tiles  # of the next group's weights that a tile asks for
    asked = np.int64((GROUP + tiles - 1) // tiles)
    while g < groups:
        at, row = g * GROUP, 0
        soon = weights[0] + ((g + 1) * weights[1] if tiles > 1 else g * weights[1] + AHEAD)
        for tile in range(tiles):
            many = small + 1 if tile < large else small
            _multiply_whole(
                kind, (start[0] + at + row * start[1], start[1]), (to[0] + at + row * to[1], to[1]),
                (weights[0] + g * weights[1], weights[1], weights[2]), (rows[0] + row * 8, rows[1]), many,
                (soon + tile * share, asked),
            )  # fmt: skip
            row += many
        g += 1


def _by_vectors_too(kind, start, to, groups, last, weights, rows, count):
    """`_by_vectors` where the unit leaves something to them."""


@overloaded(_by_vectors_too)
def _by_vectors_too_of(kind, start, to, groups, last, weights, rows, count):
    if of_kind(kind).alone:
        return lambda kind, start, to, groups, last, weights, rows, count: None
    return lambda kind, start, to, groups, last, weights, rows, count: _by_vectors(
        kind, start, to, groups, last, weights, rows, count
    )


@helper
def products(kind, start, to, groups, last, weights, rows, count, unit=None):
    """Add weights times each of `count` rows to `start`, into `to`, for `groups` groups.

    start, to, weights, rows: as in `multiply_add`, but that where the group before is wanted next, the bytes from group
    to group of a lone one are below 0. last: how many vectors of the last group are wanted; what comes to
    stand in its others is nobody's. unit: what `begin_unit` gave, or None for vectors alone.
    """
    if unit is None:
        _by_vectors(kind, start, to, groups, last, weights, rows, count)
        return
    if not _pays(kind, count, weights[2]):
        _by_vectors_too(kind, start, to, groups, last, weights, rows, count)
        return
    row, g = _by_matrix(kind, start, to, groups, last, weights, rows, count, unit)
    if row < count:
        _by_vectors_too(
            kind, (start[0] + row * start[1], start[1]), (to[0] + row * to[1], to[1]), g, 4, weights,
            (rows[0] + row * 8, rows[1]), count - row,
        )  # fmt: skip
    if g < groups:
        _by_vectors_too(
            kind, (start[0] + g * GROUP, start[1]), (to[0] + g * GROUP, to[1]), groups - g, last,
            (weights[0] + g * weights[1], weights[1], weights[2]), rows, count,
        )  # fmt: skip


@inline
def products_here(kind, start, to, groups, last, weights, rows, count, unit=None):
    """`products` for one group, or for two of one row, which is too short a job to be worth a call."""
    if unit is not None or count > 1:
        products(kind, start, to, groups, last, weights, rows, count, unit)
    elif groups == 2:
        multiply_add(kind, start, to, weights, rows, count, 1, 8)
    else:
        multiply_add(kind, start, to, weights, rows, count, 1, 4)
