"""bfloat16: weights and values rounded to 8 bits of mantissa, products exact, sums in float32 one after the other.

Two inputs k and k + 1 share 32 bits, k in the upper half. AVX512-BF16 has an instruction that adds the product of the
lower halves' pair last, so that order makes its chain k upward; elsewhere a shift and a mask give the same two floats,
and two fma the same bits (but that the instruction takes denormal numbers for zero).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastcell._checks import Array, round_up
from fastcell._jit import features, helper
from fastcell.lstm.layout import VECTOR
from fastcell.lstm.tile import Tile
from fastcell.simd.vector import (
    FLOAT32,
    INT16,
    LANES,
    _call,
    bits,
    convert,
    load,
    load_first,
    select,
    store,
    swap_pairs,
)

NATIVE = "avx512bf16" in features()
"""Whether the CPU multiplies bfloat16: operands are then pairs of them, else floats that hold rounded values."""


def rounded(values: Array) -> Array:
    """float32 rounded to nearest, ties to even, as the 16 upper bits; NaN stays NaN."""
    word = values.astype(np.float32).view(np.uint32)
    up = word + 0x7FFF + (word >> 16 & 1)
    return (np.where(np.isnan(values), word | 0x400000, up) >> 16).astype(np.uint16)


def pack(weights: Array, scales: Array | None) -> Array:
    """(groups, 4, lanes, K) as (groups, K/2, 4, lanes, 2), bits of bfloat16; an odd K is padded."""
    groups, gates, lanes, K = weights.shape
    padded = np.zeros((groups, gates, lanes, round_up(K, 2)), np.uint16)
    padded[..., :K] = rounded(weights)
    pairs = padded.reshape(groups, gates, lanes, -1, 2)[..., ::-1]
    return np.ascontiguousarray(pairs.transpose(0, 3, 1, 2, 4))


def operand_bytes(count: int) -> int:
    """Of a row, padded to whole vectors of floats."""
    return round_up(count, LANES) * (2 if NATIVE else 4)


@helper
def _rounded(x):
    word = bits(x)
    up = word + 0x7FFF + ((word >> 16) & 1)
    return select(x != x, word | 0x400000, up)


def operand(kind, source, to, count, floor):
    """Round a row's values."""
    for k in range(0, count, LANES):
        left = count - k
        x = load(source + 4 * k, FLOAT32) if left >= LANES else load_first(source + 4 * k, FLOAT32, left)
        word = _rounded(x)
        if NATIVE:
            store(to + 2 * k, swap_pairs(convert(word >> 16, INT16)))
        else:
            store(to + 4 * k, bits(word & -65536))


class _Bfloat(ir.Type):
    """A type that llvmlite doesn't know."""

    def __str__(self) -> str:
        return "bfloat"

    _to_string = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


def multiply(tile: Tile) -> None:
    """Two inputs a turn."""
    pairs = tile.builder.udiv(tile.plus(tile.count, 1), tile.constant(2))
    with tile.loop(pairs) as k:
        (_native if NATIVE else _plain)(tile, k)


def _native(tile: Tile, k: Any) -> None:
    builder, kind = tile.builder, ir.VectorType(_Bfloat(), VECTOR // 2)
    for r, v, value, weight in tile.pairs(
        lambda r: builder.bitcast(tile.broadcast(tile.plus(tile.x[r], k, 4), types.int32), kind),
        lambda v: tile.load(tile.gate(v, k), kind),
    ):
        place = tile.sums[r, v]
        args = [builder.load(place), weight, value]
        builder.store(_call(builder, f"llvm.x86.avx512bf16.dpbf16ps.{8 * VECTOR}", tile.sum, args), place)


def _plain(tile: Tile, k: Any) -> None:
    """The upper halves of a load are k's; those of a load two bytes before it are k + 1's: no register holds both."""
    builder, kind = tile.builder, ir.VectorType(ir.IntType(32), LANES)
    upper = ir.Constant(kind, [-65536] * LANES)
    for half in range(2):

        def value(r: int, first: int = 4 * half) -> Any:
            return tile.broadcast(tile.plus(tile.plus(tile.x[r], k, 8), first), types.float32)

        def weight(v: int, first: int = -2 * half) -> Any:
            return builder.bitcast(builder.and_(tile.load(tile.gate(v, k, first=first), kind, 2), upper), tile.sum)

        for r, v, x, w in tile.pairs(value, weight):
            tile.add_product(r, v, w, x)
