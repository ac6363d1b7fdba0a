"""Small blocks of vectors that stay in registers: transposition, and a tile of a matrix product."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcell.simd import VectorType, _call, _element, _llvm, _pointer, _size, _splat, _suffix, _width


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


@intrinsic(prefer_literal=True)
def multiply_add(
    typingctx, start, start_stride, to, to_stride, w, w_stride, rows_at, offset, steps, like, rows, groups
):
    """to[r, g] = start[r, g] + sum over k of w[g, k] * x[r][k], in one chain of fma for each element, k upward.

    An element of `start`, `to` and `w` is four vectors side by side. Their groups' strides are those four vectors
    and `w_stride`, their rows' `start_stride` and `to_stride`, all in bytes. Row r of x begins at the address that
    stands at `rows_at`, r int64 on, plus `offset`; its `steps` values lie side by side. The 4 * rows * groups sums
    stay in registers if there are as many: `rows` and `groups` are literals.
    """
    dtype, n, m = types.unliteral(like), rows.literal_value, groups.literal_value
    vector = VectorType(dtype, _width(dtype))
    kind, row_bytes = _llvm(vector), 4 * _width(dtype) * _size(dtype)

    def codegen(context, builder, sig, args):
        start, start_stride, to, to_stride, w, w_stride, rows_at, offset, steps, *_ = args
        word = offset.type

        def plus(base, number, stride=1):
            return builder.add(base, builder.mul(ir.Constant(word, number), stride) if number else ir.Constant(word, 0))

        def constant(number):
            return ir.Constant(word, number)

        def whole(base, number):
            place = _pointer(builder, builder.add(base, constant(number * row_bytes // 4)), kind)
            return place

        def load(base, number):
            loaded = builder.load(whole(base, number))
            loaded.align = _size(dtype)
            return loaded

        x = []
        for r in range(n):
            at = builder.load(_pointer(builder, plus(rows_at, r, constant(8)), word))
            x.append(builder.add(at, offset))
        sums = {}
        for r in range(n):
            row = plus(start, r, start_stride)
            for v in range(4 * m):
                sums[r, v] = cgutils.alloca_once(builder, kind)
                builder.store(load(row, v), sums[r, v])
        with cgutils.for_range(builder, steps) as loop:
            k = loop.index
            weights = builder.add(w, builder.mul(k, constant(row_bytes)))
            x_k = builder.mul(k, constant(_size(dtype)))
            values = []
            for r in range(n):
                value = builder.load(_pointer(builder, builder.add(x[r], x_k), _element(dtype)))
                value.align = _size(dtype)
                values.append(_splat(builder, vector, value))
            for v in range(4 * m):
                weight = load(plus(weights, v // 4, w_stride), v % 4)
                for r in range(n):
                    total = _call(
                        builder, f"llvm.fma.{_suffix(vector)}", kind, [weight, values[r], builder.load(sums[r, v])]
                    )
                    builder.store(total, sums[r, v])
        for r in range(n):
            row = plus(to, r, to_stride)
            for v in range(4 * m):
                builder.store(builder.load(sums[r, v]), whole(row, v)).align = _size(dtype)

    word = types.intp
    sig = types.void(word, word, word, word, word, word, word, word, word, like, rows, groups)
    return sig, codegen
