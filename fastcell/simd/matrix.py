"""AMX, the matrix unit of some x86-64 CPUs: registers of 16 rows of 64 bytes, and products of whole registers.

    C[m, n] += sum over k of A[m, k] . B[k, n]

A row of A is a row of a batch, in words of 32 bits that hold two values of bfloat16 or four bytes; B has a word of each
of 16 columns in a row, C a sum of 32 bits. A batch goes through registers of 16 rows, or of as many as
it has, the rows left over through others. A thread tells the unit so by a configuration. Some libraries expect theirs
to stay: `begin` keeps it and `end` puts it back.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcell._jit import VECTOR_BITS, features, inline
from fastcell.simd.vector import INT64, _call, _pointer, load_scalar, store_scalar

ROWS, ROW = 16, 64
"""Rows of a register, and bytes of each: as many as a vector of 512 bits has."""
WHOLE, REST, WEIGHTS = ((0, 1, 2, 3), 4), ((6,), 7), 5
"""Registers for sums and values, of 16 rows or of all there are, and of those left over; one for weights."""
ROOM = 128
"""Bytes that a thread keeps for it."""
_OWN, _HEIGHTS = 64, 64 + 48
"""Where `begin` has the thread's own configuration, after the one that it keeps, and the rows of registers in it."""
_BYTES = 0x0040_0040_0040_0040  # of a row, of four registers
_HEIGHT_WHOLE, _HEIGHT_REST, _HEIGHT_WEIGHTS = 0x01_0101_0101, 0x0101 << 48, 1 << 40  # of a row in each


def has(kind: str) -> bool:
    """Whether there is a unit that multiplies "bf16" or "int8", and vectors are as wide as its rows."""
    return VECTOR_BITS == 8 * ROW and {"amx-tile", f"amx-{kind}"} <= features()


def emit(builder: Any, name: str, *arguments: Any) -> None:
    """The code of an instruction; an argument is a register's number or an LLVM value."""
    values = [ir.Constant(ir.IntType(8), one) if isinstance(one, int) else one for one in arguments]
    _call(builder, f"llvm.x86.{name}", ir.VoidType(), values)


@intrinsic(prefer_literal=True)
def _configuration(typingctx, name, at):
    """Write the thread's configuration (sttilecfg), or take what is written for it (ldtilecfg)."""

    def codegen(context, builder, sig, args):
        emit(builder, name.literal_value, _pointer(builder, args[1], ir.IntType(8)))

    return types.void(name, types.int64), codegen


@intrinsic
def _release(typingctx):
    """No configuration: the system has no registers to save."""

    def codegen(context, builder, sig, args):
        emit(builder, "tilerelease")

    return types.void(), codegen


def begin(builder: Any, unit: Any) -> None:
    """The code that keeps the thread's configuration at an address, where `fit` and `end` find it: of `ROOM` bytes."""
    emit(builder, "sttilecfg", _pointer(builder, unit, ir.IntType(8)))
    for k, number in enumerate((1, 0, _BYTES, _BYTES, 0, 0, 0, 0)):
        word = ir.Constant(ir.IntType(64), number)
        at = builder.add(unit, ir.Constant(unit.type, _OWN + 8 * k))
        builder.store(word, _pointer(builder, at, word.type))


@inline
def fit(unit, count):
    """Have registers for so many rows."""
    heights = min(count, ROWS) * _HEIGHT_WHOLE + max(count % ROWS, 1) * _HEIGHT_REST + ROWS * _HEIGHT_WEIGHTS
    if load_scalar(unit + _HEIGHTS, INT64) != heights:
        store_scalar(unit + _HEIGHTS, heights)
        _configuration("ldtilecfg", unit + _OWN)


@inline
def end(unit):
    """Put back what `begin` kept, if `fit` was called."""
    if load_scalar(unit + _HEIGHTS, INT64) == 0:
        return
    if load_scalar(unit, INT64) & 0xFF == 0:
        _release()
    else:
        _configuration("ldtilecfg", unit)
