"""A vector type for Numba: LLVM's `<lanes x dtype>` as a value that jitted code can name.

LLVM keeps such a value in a register, so a kernel written with it decides itself what stays there. Vectors
come from `load` or `splat`; `+ - * /`, comparisons and `& | ^ ~ << >>` work lane by lane on vectors of one
type. A comparison gives a mask: a vector of booleans, for `select` and `any_lane`.

Addresses are integers (`address(array)` plus bytes), so that one compiled kernel serves every memory layout;
the type of what lies there is told by `like`, any scalar of that type. Nothing here checks bounds: the
caller passes addresses that hold `lanes` elements.

    @njit
    def add(x, y, out, n):                     # n is a multiple of LANES
        for k in range(0, n * 4, LANES * 4):
            store(out + k, load(x + k, float32(0), LANES) + load(y + k, float32(0), LANES))
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from fastcell._jit import VECTOR_BITS, kernel_of_arrays

LANES: int = VECTOR_BITS // 32
"""How many float32 fit a vector register. A vector with more lanes than fit takes several registers."""

FLOAT32, FLOAT64 = np.float32(0), np.float64(0)
INT8, INT16, INT64 = np.int8(0), np.int16(0), np.int64(0)


class VectorType(types.Type):
    """The Numba type of `lanes` values of `dtype`; dtype boolean makes it a mask."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"vector({dtype} x {lanes})")


def _element(dtype: types.Type) -> ir.Type:
    if dtype == types.boolean:
        return ir.IntType(1)
    if dtype == types.float32:
        return ir.FloatType()
    if dtype == types.float64:
        return ir.DoubleType()
    return ir.IntType(dtype.bitwidth)


def _llvm(vector: VectorType) -> ir.VectorType:
    return ir.VectorType(_element(vector.dtype), vector.lanes)


def _mask_of(vector: VectorType) -> VectorType:
    return VectorType(types.boolean, vector.lanes)


def _is_float(dtype: types.Type) -> bool:
    return isinstance(dtype, types.Float)


def _is_signed(dtype: types.Type) -> bool:
    return isinstance(dtype, types.Integer) and dtype.signed


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: VectorType) -> None:
        super().__init__(dmm, fe_type, _llvm(fe_type))


# ---- operators -------------------------------------------------------------------------------------

_ARITHMETIC = {
    operator.add: ("fadd", "add"),
    operator.sub: ("fsub", "sub"),
    operator.mul: ("fmul", "mul"),
    operator.truediv: ("fdiv", None),
    operator.and_: (None, "and_"),
    operator.or_: (None, "or_"),
    operator.xor: (None, "xor"),
    operator.lshift: (None, "shl"),
    operator.rshift: (None, "ashr"),
}
_COMPARISONS = {
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}


def _operands(args: Any) -> tuple[VectorType, Any, Any] | None:
    """Types for a binary operation: two equal vectors, or a vector and a number, which goes to every lane."""
    vectors = [arg for arg in args if isinstance(arg, VectorType)]
    if len(args) != 2 or not vectors or any(v != vectors[0] for v in vectors):
        return None
    if not all(isinstance(arg, VectorType | types.Number | types.Boolean) for arg in args):
        return None
    first, second = (arg if isinstance(arg, VectorType) else vectors[0].dtype for arg in args)
    return vectors[0], first, second


def _vectors(builder: Any, sig: Any, args: Any) -> list[Any]:
    kind = next(arg for arg in sig.args if isinstance(arg, VectorType))
    return [
        value if isinstance(arg, VectorType) else _splat(builder, kind, value)
        for arg, value in zip(sig.args, args, strict=True)
    ]


def _register_binary(op: Any, comparison: bool) -> None:
    @infer_global(op)
    class _Binary(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            operands = _operands(args)
            if operands is None:
                return None
            vector, first, second = operands
            if comparison:
                return signature(_mask_of(vector), first, second)
            if _ARITHMETIC[op][0 if _is_float(vector.dtype) else 1] is None:
                return None
            return signature(vector, first, second)

    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        dtype = next(arg for arg in sig.args if isinstance(arg, VectorType)).dtype
        first, second = _vectors(builder, sig, args)
        if not comparison:
            if op is operator.rshift and not _is_signed(dtype):
                return builder.lshr(first, second)
            return getattr(builder, _ARITHMETIC[op][0 if _is_float(dtype) else 1])(first, second)
        symbol = _COMPARISONS[op]
        if _is_float(dtype):  # as in Python: only != is true of a NaN
            return (builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered)(symbol, first, second)
        return (builder.icmp_signed if _is_signed(dtype) else builder.icmp_unsigned)(symbol, first, second)

    for operands in ((VectorType, VectorType), (VectorType, types.Any), (types.Any, VectorType)):
        lower_builtin(op, *operands)(_lower)


def _register_unary(op: Any) -> None:
    @infer_global(op)
    class _Unary(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            return signature(args[0], *args) if isinstance(args[0], VectorType) else None

    @lower_builtin(op, VectorType)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if op is operator.invert:
            return builder.not_(args[0])
        return builder.fneg(args[0]) if _is_float(sig.args[0].dtype) else builder.neg(args[0])


for _op in _ARITHMETIC:
    _register_binary(_op, comparison=False)
for _op in _COMPARISONS:
    _register_binary(_op, comparison=True)
for _op in (operator.neg, operator.invert):
    _register_unary(_op)


def _suffix(vector: VectorType) -> str:
    """LLVM's spelling of a vector type in an intrinsic's name: v8f32."""
    letter = "f" if _is_float(vector.dtype) else "i"
    return f"v{vector.lanes}{letter}{1 if vector.dtype == types.boolean else vector.dtype.bitwidth}"


def _call(builder: Any, name: str, result: ir.Type, args: list[Any]) -> Any:
    """Call an LLVM intrinsic by name: llvmlite's declare_intrinsic knows no vector types."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _constant(vector: VectorType, value: Any) -> ir.Constant:
    return ir.Constant(_llvm(vector), [value] * vector.lanes)


# ---- memory ----------------------------------------------------------------------------------------


def _pointer(builder: Any, address: Any, to: ir.Type) -> Any:
    # LLVM's code generator rewrites an address as null plus an offset, and Numba inlines what it has rewritten; without
    # this, less optimized code takes such an access for one that never happens.
    set.add(builder.function.attributes, "null_pointer_is_valid")  # llvmlite's own `add` doesn't know it
    return builder.inttoptr(address, to.as_pointer())


def _size(dtype: types.Type) -> int:
    return max(_element(dtype).width, 8) // 8 if isinstance(dtype, types.Integer) else dtype.bitwidth // 8


def _load(dtype: types.Type, lanes: int) -> tuple[VectorType, Any]:
    vector = VectorType(dtype, lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        loaded = builder.load(_pointer(builder, args[0], _llvm(vector)))
        loaded.align = _size(dtype)
        return loaded

    return vector, codegen


def _width(dtype: types.Type) -> int:
    return VECTOR_BITS // (8 * _size(dtype))


@intrinsic(prefer_literal=True)
def load(typingctx, address, like, lanes=None):
    """`lanes` values of like's type that stand side by side at the address; without `lanes`, a registerful."""
    dtype = types.unliteral(like)
    if not isinstance(lanes, types.IntegerLiteral):
        vector, codegen = _load(dtype, _width(dtype))
        return vector(types.uintp, like, types.Omitted(None)), codegen
    vector, codegen = _load(dtype, lanes.literal_value)
    return vector(types.uintp, like, lanes), codegen


@intrinsic
def width(typingctx, like):
    """How many values of like's type fill a vector register."""

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(64), _width(types.unliteral(like)))

    return types.int64(like), codegen


@intrinsic
def zeros(typingctx, like):
    """A registerful of zeros of like's type."""
    vector = VectorType(types.unliteral(like), _width(types.unliteral(like)))

    def codegen(context, builder, sig, args):
        return ir.Constant(_llvm(vector), None)

    return vector(like), codegen


@intrinsic
def store(typingctx, address, vector):
    """Write the lanes side by side from the address on."""

    def codegen(context, builder, sig, args):
        stored = builder.store(args[1], _pointer(builder, args[0], _llvm(vector)))
        stored.align = _size(vector.dtype)

    return types.void(types.uintp, vector), codegen


def _first(builder: Any, vector: VectorType, count: Any) -> Any:
    """The mask of a vector's first `count` lanes."""
    lanes = ir.VectorType(count.type, vector.lanes)
    counts = builder.insert_element(ir.Constant(lanes, ir.Undefined), count, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), None)
    return builder.icmp_signed(
        "<", ir.Constant(lanes, list(range(vector.lanes))), builder.shuffle_vector(counts, counts, zeros)
    )


def _load_part(builder: Any, vector: VectorType, address: Any, count: Any) -> Any:
    """The first `count` lanes, or all where it is None."""
    kind = _llvm(vector)
    place, size = _pointer(builder, address, kind), _size(vector.dtype)
    if count is None:
        loaded = builder.load(place)
        loaded.align = size
        return loaded
    align, zeros = ir.Constant(ir.IntType(32), size), ir.Constant(kind, None)
    name = f"llvm.masked.load.{_suffix(vector)}.p0"
    return _call(builder, name, kind, [place, align, _first(builder, vector, count), zeros])


def _store_part(builder: Any, vector: VectorType, address: Any, value: Any, count: Any) -> None:
    place, size = _pointer(builder, address, value.type), _size(vector.dtype)
    if count is None:
        builder.store(value, place).align = size
        return
    align = ir.Constant(ir.IntType(32), size)
    name = f"llvm.masked.store.{_suffix(vector)}.p0"
    _call(builder, name, ir.VoidType(), [value, place, align, _first(builder, vector, count)])


@intrinsic(prefer_literal=True)
def load_first(typingctx, address, like, count, lanes=None):
    """`load` where only the first `count` values are there to read; the lanes after them are 0."""
    dtype = types.unliteral(like)
    fixed = isinstance(lanes, types.IntegerLiteral)
    vector = VectorType(dtype, lanes.literal_value if fixed else _width(dtype))

    def codegen(context, builder, sig, args):
        return _load_part(builder, vector, args[0], args[2])

    return vector(types.uintp, like, types.int64, lanes if fixed else types.Omitted(None)), codegen


@intrinsic
def store_first(typingctx, address, vector, count):
    """Write the first `count` lanes and nothing after them."""

    def codegen(context, builder, sig, args):
        _store_part(builder, vector, *args)

    return types.void(types.uintp, vector, types.int64), codegen


@intrinsic
def store_stream(typingctx, address, vector):
    """`store` past the caches, in pieces of 16 bytes; the address must be a multiple of 16."""

    def codegen(context, builder, sig, args):
        piece = 16 // _size(vector.dtype)
        always = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        for first in range(0, vector.lanes, piece):
            order = ir.Constant(ir.VectorType(ir.IntType(32), piece), list(range(first, first + piece)))
            part = builder.shuffle_vector(args[1], args[1], order)
            to = builder.add(args[0], ir.Constant(args[0].type, first * _size(vector.dtype)))
            stored = builder.store(part, _pointer(builder, to, part.type))
            stored.align = 16
            stored.set_metadata("nontemporal", always)

    return types.void(types.uintp, vector), codegen


@intrinsic
def load_scalar(typingctx, address, like):
    """One value of like's type."""
    dtype = types.unliteral(like)

    def codegen(context, builder, sig, args):
        loaded = builder.load(_pointer(builder, args[0], _element(dtype)))
        loaded.align = _size(dtype)
        return loaded

    return dtype(types.uintp, like), codegen


@intrinsic
def store_scalar(typingctx, address, value):
    """Write one value."""

    def codegen(context, builder, sig, args):
        stored = builder.store(args[1], _pointer(builder, args[0], args[1].type))
        stored.align = _size(value)

    return types.void(types.uintp, value), codegen


def _stack(builder: Any, size: int) -> Any:
    """A pointer to so many bytes on the stack, 64-byte aligned, not cleared."""
    with builder.goto_entry_block():  # cgutils.alloca_once clears it, which LLVM takes minutes to unfold
        block = builder.alloca(ir.ArrayType(ir.IntType(8), size))
    block.align = 64
    return block


@intrinsic(prefer_literal=True)
def scratch(typingctx, size):
    """Address of `size` bytes on the stack, 64-byte aligned, not cleared: one block a call site, whole function."""

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(_stack(builder, size.literal_value), context.get_value_type(types.uintp))

    return types.uintp(size), codegen


def _prefetch(builder: Any, at: Any, level: int) -> None:
    """The code that asks for a cache line, into all caches (3) or from the second one on (2)."""
    flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, level, 1)]  # to read, data
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), [_pointer(builder, at, ir.IntType(8)), *flags])


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at the address, into the second-level cache; an address of nothing is harmless."""

    return types.void(types.uintp), lambda context, builder, sig, args: _prefetch(builder, args[0], 2)


@intrinsic
def fence(typingctx):
    """Make every `store_stream` before it visible to other threads."""

    def codegen(context, builder, sig, args):
        builder.fence("seq_cst")

    return types.void(), codegen


@intrinsic
def size_of(typingctx, like):
    """Bytes of one value of like's type."""

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(64), _size(types.unliteral(like)))

    return types.int64(like), codegen


@kernel_of_arrays
def address(array):
    """Where an array's first element is, as an integer. The caller keeps the array alive."""
    return np.uintp(array.ctypes.data)


@intrinsic
def places(typingctx, array):
    """An array of one or two axes for a kernel: address, then length and stride of each, in bytes; no second one: 1, 0.

    An array as argument costs a twentieth of a microsecond; its `address` from Python four times as much.
    """
    word = types.intp

    def codegen(context, builder, sig, args):
        struct = context.make_array(array)(context, builder, args[0])
        shape, strides = (cgutils.unpack_tuple(builder, part) for part in (struct.shape, struct.strides))
        pairs = [number for pair in zip(shape, strides, strict=True) for number in pair]
        if array.ndim == 1:
            pairs += [ir.Constant(pairs[0].type, 1), ir.Constant(pairs[0].type, 0)]
        numbers = [builder.ptrtoint(struct.data, pairs[0].type), *pairs]
        return context.make_tuple(builder, sig.return_type, numbers)

    return types.UniTuple(word, 5)(array), codegen


@intrinsic
def value_of(typingctx, array):
    """A zero of an array's type of values, of bool an int8: `like` for its loads."""
    dtype = types.int8 if array.dtype == types.boolean else array.dtype

    def codegen(context, builder, sig, args):
        return ir.Constant(_element(dtype), None)

    return dtype(array), codegen


# ---- making and changing vectors -------------------------------------------------------------------


def _splat(builder: Any, vector: VectorType, scalar: Any) -> Any:
    kind = _llvm(vector)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), None)
    return builder.shuffle_vector(one, one, zeros)


@intrinsic(prefer_literal=True)
def splat(typingctx, value, lanes):
    """The value in every lane."""
    vector = VectorType(types.unliteral(value), lanes.literal_value)

    def codegen(context, builder, sig, args):
        return _splat(builder, vector, context.cast(builder, args[0], sig.args[0], vector.dtype))

    return vector(vector.dtype, lanes), codegen


@intrinsic
def convert(typingctx, vector, like):
    """Each lane as the type of `like`, a number or a vector, rounded to nearest; a mask becomes 0 and 1."""
    dtype = like.dtype if isinstance(like, VectorType) else types.unliteral(like)
    to = VectorType(dtype, vector.lanes)

    def codegen(context, builder, sig, args):
        value, kind, source = args[0], _llvm(to), vector.dtype
        if source == dtype:
            return value
        if _is_float(source) and _is_float(dtype):
            return (builder.fpext if dtype.bitwidth > source.bitwidth else builder.fptrunc)(value, kind)
        if _is_float(dtype):
            return (builder.sitofp if _is_signed(source) else builder.uitofp)(value, kind)
        if _is_float(source):
            return (builder.fptosi if _is_signed(dtype) else builder.fptoui)(value, kind)
        if _element(source).width > _element(dtype).width:
            return builder.trunc(value, kind)
        if _element(source).width == _element(dtype).width:
            return value
        return (builder.sext if _is_signed(source) else builder.zext)(value, kind)

    return to(vector, like), codegen


@intrinsic
def select(typingctx, mask, yes, no):
    """Lane by lane: `yes` where the mask is true, else `no`; one of the two may be a number for all lanes."""
    operands = _operands((yes, no))
    if operands is None:
        return None
    vector, first, second = operands

    def codegen(context, builder, sig, args):
        return builder.select(args[0], *_vectors(builder, signature(vector, *sig.args[1:]), args[1:]))

    return vector(mask, first, second), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once; a number among them goes to every lane."""
    vector = next((kind for kind in (a, b, c) if isinstance(kind, VectorType)), None)
    kinds = [kind if isinstance(kind, VectorType) else vector.dtype for kind in (a, b, c)]

    def codegen(context, builder, sig, args):
        return _call(builder, f"llvm.fma.{_suffix(vector)}", _llvm(vector), _vectors(builder, sig, args))

    return vector(*kinds), codegen


@intrinsic
def polynomial(typingctx, x, coefficients):
    """coefficients[0] + coefficients[1] * x + ..., a tuple of numbers, by Horner's rule in fma."""

    def codegen(context, builder, sig, args):
        name, kind = f"llvm.fma.{_suffix(x)}", _llvm(x)
        numbers = [
            context.cast(builder, one, coefficients.dtype, x.dtype) for one in cgutils.unpack_tuple(builder, args[1])
        ]
        terms = [_splat(builder, x, number) for number in numbers]
        total = terms[-1]
        for term in reversed(terms[:-1]):
            total = _call(builder, name, kind, [total, args[0], term])
        return total

    return x(x, coefficients), codegen


@intrinsic
def bits(typingctx, x):
    """The lanes' bits as signed integers of their width; of integers, as floats."""
    integer = {types.float32: types.int32, types.float64: types.int64}
    kinds = {**integer, **{to: source for source, to in integer.items()}}
    vector = VectorType(kinds[x.dtype], x.lanes)

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], _llvm(vector))

    return vector(x), codegen


@intrinsic
def is_double(typingctx, x):
    """Whether the lanes are float64: a constant, so that code for the other case is not compiled."""

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(1), x.dtype == types.float64)

    return types.boolean(x), codegen


@intrinsic
def any_lane(typingctx, mask):
    """Whether the mask is true anywhere."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), codegen


@intrinsic
def mask_bits(typingctx, mask):
    """A mask of 64 lanes as the bits of an integer, lane 0 the lowest."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(mask), codegen


@intrinsic(prefer_literal=True)
def mask_at(typingctx, address, lanes):
    """The mask whose bits stand at the address, lane 0 the lowest."""
    mask = VectorType(types.boolean, lanes.literal_value)

    def codegen(context, builder, sig, args):
        loaded = builder.load(_pointer(builder, args[0], ir.IntType(mask.lanes)))
        return builder.bitcast(loaded, _llvm(mask))

    return mask(types.uintp, lanes), codegen


@intrinsic(prefer_literal=True)
def rotate(typingctx, vector, count):
    """Each lane moved up by `count`, a literal; those that leave at the top come in at the bottom."""
    lanes = vector.lanes

    def codegen(context, builder, sig, args):
        order = [(k - count.literal_value) % lanes for k in range(lanes)]
        return builder.shuffle_vector(args[0], args[0], ir.Constant(ir.VectorType(ir.IntType(32), lanes), order))

    return vector(vector, count), codegen


@intrinsic(prefer_literal=True)
def move_up(typingctx, vector, count, fill):
    """Each lane moved up by `count`, a literal; `fill`, a number, comes in at the bottom."""
    lanes = vector.lanes

    def codegen(context, builder, sig, args):
        order = [k - count.literal_value if k >= count.literal_value else lanes + k for k in range(lanes)]
        filled = _splat(builder, vector, args[2])
        return builder.shuffle_vector(args[0], filled, ir.Constant(ir.VectorType(ir.IntType(32), lanes), order))

    return vector(vector, count, vector.dtype), codegen


@intrinsic
def last_lane(typingctx, vector):
    """The value of the last lane in every lane."""

    def codegen(context, builder, sig, args):
        order = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [vector.lanes - 1] * vector.lanes)
        return builder.shuffle_vector(args[0], args[0], order)

    return vector(vector), codegen


@intrinsic
def upper_half(typingctx, vector):
    """The upper half of the lanes."""
    half = VectorType(vector.dtype, vector.lanes // 2)

    def codegen(context, builder, sig, args):
        order = ir.Constant(ir.VectorType(ir.IntType(32), half.lanes), list(range(half.lanes, vector.lanes)))
        return builder.shuffle_vector(args[0], args[0], order)

    return half(vector), codegen


@intrinsic
def first_lane(typingctx, vector):
    """The value in lane 0."""

    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), codegen


@intrinsic(prefer_literal=True)
def reorder(typingctx, vector, order):
    """Lanes in another order within each few: result k is lane order[k] of them."""
    few = [one.literal_value for one in order]

    def codegen(context, builder, sig, args):
        lanes = [k // len(few) * len(few) + few[k % len(few)] for k in range(vector.lanes)]
        kind = ir.VectorType(ir.IntType(32), vector.lanes)
        return builder.shuffle_vector(args[0], args[0], ir.Constant(kind, lanes))

    return vector(vector, order), codegen


@intrinsic
def top_lane(typingctx, vector):
    """The largest of signed integers in every lane."""

    def codegen(context, builder, sig, args):
        kind = _llvm(vector)
        top = _call(builder, f"llvm.vector.reduce.smax.{_suffix(vector)}", kind.element, [args[0]])
        return _splat(builder, vector, top)

    return vector(vector), codegen


@intrinsic
def add_overflows(typingctx, a, b):
    """The mask of lanes in which the signed a + b wraps; never true of floats."""
    return _mask_of(a)(a, a), _overflow("sadd", a)


@intrinsic
def mul_overflows(typingctx, a, b):
    """The mask of lanes in which the signed a * b wraps; never true of floats."""
    return _mask_of(a)(a, a), _overflow("smul", a)


def _overflow(operation: str, vector: VectorType) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        mask = _llvm(_mask_of(vector))
        if _is_float(vector.dtype):
            return ir.Constant(mask, None)
        result = ir.LiteralStructType([_llvm(vector), mask])
        name = f"llvm.{operation}.with.overflow.{_suffix(vector)}"
        return builder.extract_value(_call(builder, name, result, list(args)), 1)

    return codegen
