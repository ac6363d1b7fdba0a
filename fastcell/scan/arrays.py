"""An array inside the kernels of scans: (address, bytes from step to step, bytes from column to column, like).

`like` is any scalar of its element type. These pieces write LLVM themselves rather than call each other: as compiled
functions each would be typed and compiled anew for every type of array, longer than the kernels themselves.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcell.simd.vector import LANES, VectorType, _element, _llvm, _pointer, _size, _splat

_WORD = ir.IntType(64)


def _place(builder: Any, array: Any, t: Any, b: Any) -> Any:
    at, step, column = (builder.extract_value(array, k) for k in range(3))
    return builder.add(builder.add(at, builder.mul(t, step)), builder.mul(b, column))


def _loaded(builder: Any, place: Any, kind: ir.Type, dtype: types.Type) -> Any:
    loaded = builder.load(_pointer(builder, place, kind))
    loaded.align = _size(dtype)
    return loaded


def _like(array: Any) -> types.Type:
    return types.unliteral(array[3])


@intrinsic
def element(typingctx, array, t, b):
    """Where step t of column b is."""

    def codegen(context, builder, sig, args):
        return _place(builder, *args)

    return types.int64(array, types.int64, types.int64), codegen


@intrinsic
def starting(typingctx, array, t, b):
    """The array from step t and column b on."""

    def codegen(context, builder, sig, args):
        return builder.insert_value(args[0], _place(builder, *args), 0)

    return array(array, types.int64, types.int64), codegen


@intrinsic
def segments(typingctx, array, t, steps):
    """Segments of `steps` steps of the single column, from step t on, as the columns of an array."""

    def codegen(context, builder, sig, args):
        given, t, steps = args
        moved = builder.insert_value(given, _place(builder, given, t, ir.Constant(_WORD, 0)), 0)
        return builder.insert_value(moved, builder.mul(steps, builder.extract_value(given, 1)), 2)

    return array(array, types.int64, types.int64), codegen


@intrinsic
def values(typingctx, array, t, b):
    """Step t of LANES columns that lie side by side, from column b on."""
    vector = VectorType(_like(array), LANES)

    def codegen(context, builder, sig, args):
        given, t, b = args
        row = _place(builder, given, t, ir.Constant(_WORD, 0))
        place = builder.add(row, builder.mul(b, ir.Constant(_WORD, _size(vector.dtype))))
        return _loaded(builder, place, _llvm(vector), vector.dtype)

    return vector(array, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def value(typingctx, array, t, b, lanes):
    """Step t of column b, in every one of `lanes` lanes."""
    vector = VectorType(_like(array), lanes.literal_value)

    def codegen(context, builder, sig, args):
        place = _place(builder, *args[:3])
        return _splat(builder, vector, _loaded(builder, place, _element(vector.dtype), vector.dtype))

    return vector(array, types.int64, types.int64, lanes), codegen


@intrinsic
def packed_values(typingctx, packed, k, like):
    """Step k of a packed block: LANES values of like's type."""
    vector = VectorType(types.unliteral(like), LANES)

    def codegen(context, builder, sig, args):
        place = builder.add(args[0], builder.mul(args[1], ir.Constant(_WORD, LANES * _size(vector.dtype))))
        return _loaded(builder, place, _llvm(vector), vector.dtype)

    return vector(types.int64, types.int64, like), codegen


@intrinsic(prefer_literal=True)
def alone(typingctx, place, like, lanes):
    """The value at an address in lane 0; other lanes hold anything, and are not to be read."""
    vector = VectorType(types.unliteral(like), lanes.literal_value)

    def codegen(context, builder, sig, args):
        loaded = _loaded(builder, args[0], _element(vector.dtype), vector.dtype)
        return builder.insert_element(ir.Constant(_llvm(vector), ir.Undefined), loaded, ir.Constant(ir.IntType(32), 0))

    return vector(types.int64, like, lanes), codegen
