"""Small blocks of vectors that stay in registers, transposed."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcell.simd.vector import (
    VectorType,
    _element,
    _llvm,
    _load_part,
    _pointer,
    _size,
    _store_part,
    _width,
)


def _riffle(builder: Any, parts: list[Any], longest: int) -> list[Any]:
    """Interleave the first half of a list of vectors with the second, as one riffles a pack of cards."""
    length = parts[0].type.count
    index = ir.VectorType(ir.IntType(32), min(2 * length, longest))
    order = [k // 2 + (k % 2) * length for k in range(2 * length)]
    orders = [order[k : k + index.count] for k in range(0, 2 * length, index.count)]
    half = len(parts) // 2
    return [
        builder.shuffle_vector(a, b, ir.Constant(index, order))
        for a, b in zip(parts[:half], parts[half:], strict=True)
        for order in orders
    ]


@intrinsic(prefer_literal=True)
def transpose(typingctx, source, source_stride, rows_there, to, to_stride, columns_there, like, rows, columns):
    """Write the (rows, columns) block at `source` to `to` as (columns, rows): log2(rows) riffles in registers.

    Strides are bytes from row to row. Where fewer rows are there to read, or columns to write, than the block has,
    the last one stands for the others: read again, or written over. `rows` and `columns` are literal powers of two.
    """
    element, n, m = types.unliteral(like), rows.literal_value, columns.literal_value

    def codegen(context, builder, sig, args):
        def row(base, stride, there, k):
            number = ir.Constant(there.type, k)
            last = builder.sub(there, ir.Constant(there.type, 1))
            number = builder.select(builder.icmp_signed("<", number, there), number, last)
            return builder.add(base, builder.mul(number, stride))

        parts = []
        for k in range(n):
            from_row = row(*args[:3], k)
            loaded = builder.load(_pointer(builder, from_row, ir.VectorType(_element(element), m)))
            loaded.align = _size(element)
            parts.append(loaded)
        for _ in range(n.bit_length() - 1):
            parts = _riffle(builder, parts, max(n, m))
        for k in reversed(range(m)):  # so that of columns written over the true one stays
            whole, first = parts[k * n // max(n, m)], k * n % max(n, m)
            pick = ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(first, first + n)))
            piece = builder.shuffle_vector(whole, whole, pick)
            stored = builder.store(piece, _pointer(builder, row(*args[3:6], k), piece.type))
            stored.align = _size(element)

    sig = types.void(types.uintp, types.intp, types.intp, types.uintp, types.intp, types.intp, like, rows, columns)
    return sig, codegen


def _pick(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def _together(builder: Any, parts: list[Any]) -> Any:
    """Vectors one after the other in one."""
    while len(parts) > 1:
        order = list(range(2 * parts[0].type.count))
        parts = [_pick(builder, a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _row_parts(builder: Any, dtype: types.Type, source: Any, stride: Any, left: Any, pieces: int) -> list[list[Any]]:
    """8 rows of 8 values, `stride` bytes apart, each in as many pieces; only the first `left` of each if given."""
    rows, lanes = [], 8 // pieces
    for k in range(8):
        place = builder.add(source, builder.mul(ir.Constant(stride.type, k), stride))
        if left is None:
            places = [builder.add(place, ir.Constant(place.type, n * lanes * _size(dtype))) for n in range(pieces)]
            rows.append([_load_part(builder, VectorType(dtype, lanes), one, None) for one in places])
        else:
            row = _load_part(builder, VectorType(dtype, 8), place, left)
            rows.append([_pick(builder, row, row, list(range(n * lanes, (n + 1) * lanes))) for n in range(pieces)])
    return rows


_LOW, _HIGH = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
_LOW_TWO, _HIGH_TWO = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]


def _fours(builder: Any, a: Any, b: Any, c: Any, d: Any) -> list[Any]:
    """Two squares of 4 by 4 side by side in four vectors, both transposed: within 128 bits shuffles are cheapest."""
    halves = [(_pick(builder, a, b, order), _pick(builder, c, d, order)) for order in (_LOW, _HIGH)]
    return [_pick(builder, *pair, order) for pair in halves for order in (_LOW_TWO, _HIGH_TWO)]


@intrinsic
def load_square(typingctx, source, stride, like, left):
    """The 8 by 8 values whose rows are `stride` bytes apart: a tuple of its columns.

    `left`, None for all, is how many values of each row are there; the columns after them are 0.
    """
    dtype = types.unliteral(like)

    def codegen(context, builder, sig, args):
        rows = _row_parts(builder, dtype, args[0], args[1], None if sig.args[3] == types.none else args[3], 2)
        columns = []
        for half in range(2):
            fours = [_together(builder, [rows[k][half], rows[k + 4][half]]) for k in range(4)]
            columns += _fours(builder, *fours)
        return context.make_tuple(builder, sig.return_type, columns)

    return types.UniTuple(VectorType(dtype, 8), 8)(types.uintp, types.intp, like, left), codegen


@intrinsic
def store_square(typingctx, to, stride, columns, left):
    """Write 8 columns of 8 values as rows `stride` bytes apart; only the first `left` of each row, None for all."""

    def codegen(context, builder, sig, args):
        parts = cgutils.unpack_tuple(builder, args[2])
        first, second = _fours(builder, *parts[:4]), _fours(builder, *parts[4:])
        for k in range(8):
            lanes = list(range(k // 4 * 4, k // 4 * 4 + 4))
            row = _pick(builder, first[k % 4], second[k % 4], lanes + [lane + 8 for lane in lanes])
            place = builder.add(args[0], builder.mul(ir.Constant(args[1].type, k), args[1]))
            _store_part(builder, columns.dtype, place, row, None if sig.args[3] == types.none else args[3])

    return types.void(types.uintp, types.intp, columns, left), codegen


@intrinsic
def load_bytes(typingctx, source, stride, left):
    """8 by 8 bytes whose rows are `stride` bytes apart, column after column in one vector of 64; `left` as above."""

    def codegen(context, builder, sig, args):
        rows = _row_parts(builder, types.int8, args[0], args[1], None if sig.args[2] == types.none else args[2], 1)
        one = _together(builder, [row for (row,) in rows])
        return _pick(builder, one, one, [8 * (k % 8) + k // 8 for k in range(64)])

    return VectorType(types.int8, 64)(types.uintp, types.intp, left), codegen


def _row_places(builder: Any, source: Any, stride: Any, there: Any, count: int) -> list[Any]:
    """Addresses of so many rows; the last one that is there stands for those that are not."""
    last = builder.sub(there, ir.Constant(there.type, 1))
    numbers = [ir.Constant(there.type, k) for k in range(count)]
    numbers = [builder.select(builder.icmp_signed("<", number, last), number, last) for number in numbers]
    return [builder.add(source, builder.mul(number, stride)) for number in numbers]


@intrinsic
def load_rows(typingctx, source, stride, there, quarters, like):
    """The first values of two or four rows, `stride` bytes apart, in one vector: of each two quarters of it, or one.

    Where fewer are `there`, the last one stands for the others.
    """
    dtype = types.unliteral(like)
    vector = VectorType(dtype, _width(dtype))

    def codegen(context, builder, sig, args):
        found = cgutils.alloca_once(builder, _llvm(vector))
        with builder.if_else(builder.icmp_signed("==", args[3], ir.Constant(args[3].type, 1))) as ways:
            for way, rows in zip(ways, (4, 2), strict=True):
                part = VectorType(dtype, max(vector.lanes // rows, 1))
                with way:
                    places = _row_places(builder, *args[:3], vector.lanes // part.lanes)
                    builder.store(_together(builder, [_load_part(builder, part, at, None) for at in places]), found)
        return builder.load(found)

    return vector(types.uintp, types.intp, types.intp, types.intp, like), codegen


@intrinsic
def store_rows(typingctx, to, stride, there, quarters, vector):
    """Write a vector as `load_rows` reads it; what stands for a row that is not there must be equal to the last one."""

    def codegen(context, builder, sig, args):
        with builder.if_else(builder.icmp_signed("==", args[3], ir.Constant(args[3].type, 1))) as ways:
            for way, rows in zip(ways, (4, 2), strict=True):
                lanes = max(vector.lanes // rows, 1)
                with way:
                    for k, place in enumerate(_row_places(builder, *args[:3], vector.lanes // lanes)):
                        row = _pick(builder, args[4], args[4], list(range(k * lanes, (k + 1) * lanes)))
                        _store_part(builder, vector, place, row, None)

    return types.void(types.uintp, types.intp, types.intp, types.intp, vector), codegen
