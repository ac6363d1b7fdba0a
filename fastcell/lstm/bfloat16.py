"""bfloat16: weights and values rounded to 8 bits of mantissa, products exact, sums in float32 in a fixed order.

    sum += (w[0] * x[0] + w[2] * x[2] + ... + w[30] * x[30]) + (w[1] * x[1] + w[3] * x[3] + ... + w[31] * x[31])

for each block of 32 inputs, both brackets chains of fma upward from 0. That is what one instruction of AMX does (but
that it takes denormal numbers for zero). One of AVX512-BF16 adds two products to a sum, that of the upper halves of
32 bits first: with inputs k and k + 2 in one word it goes up both chains. Elsewhere a shift or a mask gives the floats
for fma.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastcell._checks import Array, round_up
from fastcell._jit import features, helper
from fastcell.lstm.layout import GROUP, VECTOR
from fastcell.lstm.tile import MatrixTile, Tile
from fastcell.simd import matrix
from fastcell.simd.vector import (
    FLOAT32,
    INT16,
    LANES,
    _call,
    bits,
    convert,
    load,
    load_first,
    reorder,
    select,
    store,
)

BLOCK = 32
"""Inputs whose products are summed before they are added."""
MATRIX = matrix.has("bf16")
MATRIX_PART = 256
"""Inputs whose weights, of a group, the first cache holds beside sums and values."""
DOT = "avx512bf16" in features() and not MATRIX
"""Which instructions multiply bfloat16: operands are then pairs of them, else floats that hold rounded values. Where
AMX does, vectors do steps alone, by fma."""
TOGETHER = BLOCK if MATRIX else 4 if DOT else 2
"""Inputs of which there are always so many, zeros where they are not."""
ORDER = (2, 0, 3, 1) if DOT else (0, 1, 2, 3)
"""Of four inputs as they lie side by side, the lower half of a word first."""


def rounded(values: Array) -> Array:
    """float32 rounded to nearest, ties to even, as the 16 upper bits; NaN stays NaN."""
    word = values.astype(np.float32).view(np.uint32)
    up = word + 0x7FFF + (word >> 16 & 1)
    return (np.where(np.isnan(values), word | 0x400000, up) >> 16).astype(np.uint16)


def pack(weights: Array, scales: Array | None) -> Array:
    """(groups, 4, lanes, K) as (groups, K/2, 4, lanes, 2), bits of bfloat16; K is padded."""
    groups, gates, lanes, K = weights.shape
    size = round_up(K, TOGETHER)
    padded = np.zeros((groups, gates, lanes, round_up(size, 4)), np.uint16)
    padded[..., :K] = rounded(weights)
    words = padded.reshape(groups, gates, lanes, -1, 4)[..., ORDER].reshape(groups, gates, lanes, -1, 2)
    return np.ascontiguousarray(words[..., : size // 2, :].transpose(0, 3, 1, 2, 4))


def operand_bytes(count: int) -> int:
    """Of a row, padded to whole vectors of floats."""
    return round_up(count, max(TOGETHER, LANES)) * (2 if MATRIX or DOT else 4)


@helper
def _rounded(x):
    word = bits(x)
    up = word + 0x7FFF + ((word >> 16) & 1)
    return select(x != x, word | 0x400000, up)


def operand(kind, source, to, count, floor):
    """Round a row's values; after them come zeros."""
    end = (count + TOGETHER - 1) // TOGETHER * TOGETHER
    for k in range(0, end, LANES):
        left = count - k
        x = load(source + 4 * k, FLOAT32) if left >= LANES else load_first(source + 4 * k, FLOAT32, left)
        word = _rounded(x)
        if MATRIX or DOT:
            store(to + 2 * k, reorder(convert(word >> 16, INT16), ORDER))
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
    """A block of inputs a turn, of which each chain starts from 0."""
    builder = tile.builder
    blocks = builder.udiv(tile.plus(tile.count, BLOCK - 1), tile.constant(BLOCK))
    chains = [{key: cgutils.alloca_once(builder, tile.sum) for key in tile.sums} for _ in range(2)]
    with tile.loop(blocks) as block:
        first, left = tile.part(block, BLOCK)
        step = 4 if DOT else 2
        turns = builder.udiv(tile.plus(left, step - 1), tile.constant(step))
        for odd, sums in enumerate(chains):
            for place in sums.values():
                builder.store(ir.Constant(tile.sum, None), place)
            with tile.loop(turns) as turn:
                (_dot if DOT else _plain)(tile, sums, first, turn, odd)
        for key, place in tile.sums.items():
            both = builder.fadd(*(builder.load(sums[key]) for sums in chains))
            builder.store(builder.fadd(builder.load(place), both), place)


def _dot(tile: Tile, sums: dict[Any, Any], first: Any, turn: Any, odd: int) -> None:
    """Two more inputs of a chain."""
    builder, kind = tile.builder, ir.VectorType(_Bfloat(), VECTOR // 2)
    word = tile.plus(builder.add(builder.udiv(first, tile.constant(2)), tile.constant(odd)), turn, 2)
    for r, v, value, weight in tile.pairs(
        lambda r: builder.bitcast(tile.broadcast(tile.plus(tile.x[r], word, 4), types.int32), kind),
        lambda v: tile.load(tile.gate(v, word), kind),
    ):
        args = [builder.load(sums[r, v]), weight, value]
        total = _call(builder, f"llvm.x86.avx512bf16.dpbf16ps.{8 * VECTOR}", tile.sum, args)
        builder.store(total, sums[r, v])


def _plain(tile: Tile, sums: dict[Any, Any], first: Any, turn: Any, odd: int) -> None:
    """One more input of a chain, in the upper half of a load: that two bytes before a word has the word's lower one."""
    builder, kind = tile.builder, ir.VectorType(ir.IntType(32), LANES)
    upper = ir.Constant(kind, [-65536] * LANES)
    word = builder.add(builder.udiv(first, tile.constant(2)), turn)

    def value(r: int) -> Any:
        if not MATRIX:
            return tile.broadcast(tile.plus(tile.plus(tile.x[r], word, 8), 4 * odd), types.float32)
        pair = tile.broadcast(tile.plus(tile.x[r], word, 4), types.int32)
        half = builder.and_(pair, upper) if odd else builder.shl(pair, ir.Constant(kind, [16] * LANES))
        return builder.bitcast(half, tile.sum)

    def weight(v: int) -> Any:
        loaded = tile.load(tile.gate(v, word, first=2 * odd - 2), kind, 2)
        return builder.bitcast(builder.and_(loaded, upper), tile.sum)

    for r, v, x, w in tile.pairs(value, weight):
        builder.store(tile.fma(w, x, builder.load(sums[r, v])), sums[r, v])


def multiply_matrix(tile: MatrixTile) -> None:
    """A block of inputs an instruction."""
    blocks = tile.builder.udiv(tile.plus(tile.count, BLOCK - 1), tile.constant(BLOCK))
    begun = tile.builder.udiv(tile.first, tile.constant(BLOCK))
    x, group = tile.plus(tile.x, begun, matrix.ROW), tile.plus(tile.group, begun, matrix.ROWS * GROUP)
    for v in range(tile.vectors):
        tile.read_sums(v, tile.place(tile.start, v), tile.start[1])
    with tile.loop(blocks) as block:
        tile.read_values(tile.plus(x, block, matrix.ROW))
        for v in range(tile.vectors):
            tile.ask(block, v)
            tile.multiply("tdpbf16ps", v, tile.plus(group, block, matrix.ROWS * GROUP))
    for v in range(tile.vectors):
        tile.write_sums(v, tile.place(tile.to, v), tile.to[1])
