"""int8: weights and values as integers of 8 bits with a scale each, sums exact in int32 within a block of inputs.

    W[u, k] = s[u, block] * q[u, k],   x[k] = t * p[k],   sum over a block of W[u, k] * x[k] = s[u, block] * (q . p) * t

A weight's scale s is that of its unit, gate and block of 128 inputs; a row's scale t is its largest magnitude / 127, or
a floor where that is larger. Blocks are added in order, each by one float32 fma, so every CPU gives the same bits. VNNI
multiplies unsigned by signed bytes, four at a time: 128 is added to each value and taken back by a number that the
block's sum starts from; so does AMX, whose instruction takes 64 inputs. Elsewhere pairs of values are multiplied in 16
bits.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastcell._checks import Array, ceil_div, round_up
from fastcell._jit import VECTOR_BITS, features
from fastcell.lstm.layout import GROUP, VECTOR
from fastcell.lstm.tile import MatrixTile, Tile
from fastcell.simd import matrix
from fastcell.simd.vector import (
    FLOAT32,
    INT8,
    INT16,
    LANES,
    _call,
    bits,
    convert,
    first_lane,
    load,
    load_first,
    select,
    store,
    store_scalar,
    top_lane,
    zeros,
)

BLOCK = 128
"""Inputs that share a weight's scale."""
NATIVE = "avx512vnni" in features() or ("avxvnni" in features() and VECTOR_BITS < 512)
MATRIX = NATIVE and matrix.has("int8")
TOGETHER = 4 if NATIVE else 2
"""Inputs that one instruction multiplies and adds."""
MATRIX_FROM = 6, BLOCK
"""Rows, and values of each, from which the matrix unit is faster: what comes from it goes through memory."""
_PADDED = matrix.ROW if MATRIX else TOGETHER
"""Inputs of which there are always so many, of weight zero where they are not."""
_STEP = GROUP if NATIVE else GROUP // 2
_FRONT = 2 * GROUP if NATIVE else GROUP
"""Bytes before a block's weights: their scales and, for VNNI, what its sums start from."""
_BLOCK_BYTES = _FRONT + BLOCK // TOGETHER * _STEP
MATRIX_PART = 4 * BLOCK
"""Inputs whose sums the matrix unit makes before they are added, and whose weights the first cache holds meanwhile."""
_HEAD = matrix.ROW if MATRIX else 4
"""Bytes before a row's values, the first of which have its scale."""
_SMALLEST = 1e-30  # of a row's largest magnitude: 127 over it is a float
_LARGEST = float(np.finfo(np.float32).max)
_ROUND = 12582912.0  # 1.5 * 2**23: adding it leaves the rounded integer in the low bits


def quantized(weights: Array, given: Array | None = None) -> tuple[Array, Array]:
    """(..., K) as integers of the same shape, and their scales (..., blocks): the blocks' own, or those given (...)."""
    K = weights.shape[-1]
    padded = np.zeros((*weights.shape[:-1], round_up(K, BLOCK)), np.float32)
    padded[..., :K] = weights
    blocks = padded.reshape(*weights.shape[:-1], -1, BLOCK)
    if given is None:
        scales = np.abs(blocks).max(-1, initial=0) / np.float32(127)
    else:
        scales = np.repeat(given[..., None], blocks.shape[-2], -1)
    q = np.rint(blocks / np.where(scales == 0, np.float32(1), scales)[..., None])
    return np.clip(q, -128, 127).reshape(padded.shape)[..., :K].astype(np.int8), scales


def pack(weights: Array, given: Array | None) -> Array:
    """(groups, 4, lanes, K) as bytes: for each group and block its scales (4, lanes) and its weights."""
    groups, gates, lanes, K = weights.shape
    q, scales = quantized(weights, given)
    padded = np.zeros((groups, gates, lanes, round_up(K, _PADDED)), np.int8)
    padded[..., :K] = q
    columns = []
    for block in range(ceil_div(K, BLOCK)):
        part = padded[..., block * BLOCK : (block + 1) * BLOCK]
        columns.append(scales[..., block])
        if NATIVE:
            columns.append(-128 * part.sum(-1, dtype=np.int32))
        columns.append(part.reshape(groups, gates, lanes, -1, TOGETHER).transpose(0, 3, 1, 2, 4))
    rows = [np.ascontiguousarray(column).reshape(groups, -1).view(np.uint8) for column in columns]
    return np.concatenate(rows, 1) if rows else np.zeros((groups, 0), np.uint8)


def operand_bytes(count: int) -> int:
    """A row's scale and its values, padded to whole vectors."""
    return round_up(_HEAD + round_up(count, LANES) * (1 if NATIVE else 2), VECTOR)


def operand(kind, source, to, count, floor):
    """Scale and round a row's values. The bits of |x| are ordered as |x| is, with infinity and NaN above the others."""
    top = bits(zeros(FLOAT32))
    for k in range(0, count, LANES):
        left = count - k
        x = load(source + 4 * k, FLOAT32) if left >= LANES else load_first(source + 4 * k, FLOAT32, left)
        size = bits(x) & 0x7FFFFFFF
        top = select(size > top, size, top)
    most = bits(top_lane(top))
    most = select(most < max(floor, _SMALLEST), max(floor, _SMALLEST), most)
    most = select(most > _LARGEST, _LARGEST, most)  # infinity saturates, NaN stays
    inverse = 127.0 / most
    store_scalar(to, first_lane(most / 127.0))
    for k in range(0, count, LANES):
        left = count - k
        x = load(source + 4 * k, FLOAT32) if left >= LANES else load_first(source + 4 * k, FLOAT32, left)
        x = x * inverse
        x = select(x > 127.0, 127.0, x)
        x = select(x < -127.0, -127.0, x)
        word = bits(x + _ROUND)
        if NATIVE:
            store(to + _HEAD + k, convert(word ^ 128, INT8))
        else:
            store(to + _HEAD + 2 * k, convert(word, INT16))


def multiply(tile: Tile) -> None:
    """A block of inputs a turn: its int32 sums, then one fma into each float32 sum."""
    builder, kind = tile.builder, ir.VectorType(ir.IntType(32), LANES)
    scales = [tile.broadcast(x, types.float32) for x in tile.x]
    blocks = builder.udiv(tile.plus(tile.count, BLOCK - 1), tile.constant(BLOCK))
    sums = {key: cgutils.alloca_once(builder, kind) for key in tile.sums}
    with tile.loop(blocks) as block:
        groups = [tile.plus(group, block, _BLOCK_BYTES) for group in tile.groups]
        for r, v in sums:
            start = (
                tile.load(tile.plus(groups[v // 4], GROUP + v % 4 * VECTOR), kind)
                if NATIVE
                else ir.Constant(kind, None)
            )
            builder.store(start, sums[r, v])
        first, left = tile.part(block, BLOCK)
        rows = [tile.plus(tile.plus(x, _HEAD), first, 4 // TOGETHER) for x in tile.x]
        with tile.loop(builder.udiv(tile.plus(left, TOGETHER - 1), tile.constant(TOGETHER))) as k:
            tile.ask(tile.plus(k, block, BLOCK // TOGETHER))
            places = [tile.plus(group, k, _STEP) for group in groups]
            bytes_of = ir.VectorType(ir.IntType(8), _STEP // 4)
            for r, v, value, weight in tile.pairs(
                lambda r: tile.broadcast(tile.plus(rows[r], k, 4), types.int32),
                lambda v: tile.load(tile.plus(places[v // 4], _FRONT + v % 4 * (_STEP // 4)), bytes_of, 1),
            ):
                builder.store(_dot(builder, builder.load(sums[r, v]), value, weight), sums[r, v])
        for v in range(tile.vectors):
            scale = tile.load(tile.plus(groups[v // 4], v % 4 * VECTOR), tile.sum)
            for r, row in enumerate(scales):
                whole = builder.sitofp(builder.load(sums[r, v]), tile.sum)
                tile.add_product(r, v, builder.fmul(whole, scale), row)


def _dot(builder: Any, total: Any, value: Any, weight: Any) -> Any:
    """total + the products of a lane's weights with the values, which share its 32 bits."""
    if NATIVE:
        args = [total, value, builder.bitcast(weight, total.type)]
        return _call(builder, f"llvm.x86.avx512.vpdpbusd.{VECTOR_BITS}", total.type, args)
    short, wide = (ir.VectorType(ir.IntType(bits), 2 * LANES) for bits in (16, 32))
    pairs = builder.mul(
        builder.sext(builder.bitcast(value, short), wide), builder.sext(builder.sext(weight, short), wide)
    )
    index = ir.VectorType(ir.IntType(32), LANES)
    even, odd = (
        builder.shuffle_vector(pairs, pairs, ir.Constant(index, list(range(first, 2 * LANES, 2)))) for first in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


def multiply_matrix(tile: MatrixTile) -> None:
    """Some blocks of inputs: their int32 sums, written beside, then one fma for each into each float32 sum."""
    builder, whole = tile.builder, ir.VectorType(ir.IntType(32), LANES)
    blocks = builder.udiv(tile.plus(tile.count, BLOCK - 1), tile.constant(BLOCK))
    beside = tile.room(MATRIX_PART // BLOCK * matrix.ROWS * GROUP)
    group = tile.plus(tile.group, builder.udiv(tile.first, tile.constant(BLOCK)), _BLOCK_BYTES)
    x = tile.plus(builder.add(tile.x, tile.first), _HEAD)
    with tile.loop(blocks) as block:
        first, left = tile.part(block, BLOCK)
        parts = builder.udiv(tile.plus(left, matrix.ROW - 1), tile.constant(matrix.ROW))
        at, values = tile.plus(group, block, _BLOCK_BYTES), builder.add(x, first)
        for v in range(tile.vectors):
            tile.read_sums(v, tile.plus(at, GROUP + v * VECTOR), tile.constant(0))
        with tile.loop(parts) as part:
            tile.read_values(tile.plus(values, part, matrix.ROW))
            for v in range(tile.vectors):
                tile.multiply("tdpbusd", v, tile.plus(tile.plus(at, _FRONT), part, matrix.ROWS * GROUP))
        for v in range(tile.vectors):
            to = tile.plus(tile.plus(beside, block, matrix.ROWS * GROUP), v * VECTOR)
            tile.write_sums(v, to, tile.constant(GROUP))
    with tile.loop(tile.rows) as r:
        row = tile.splat(tile.load(builder.add(tile.x, builder.mul(r, tile.x_row)), ir.FloatType()))
        sums = [cgutils.alloca_once(builder, tile.sum) for _ in range(tile.vectors)]
        for v, total in enumerate(sums):
            builder.store(tile.load(tile.place(tile.start, v, r), tile.sum), total)
        with tile.loop(blocks) as block:
            at = tile.plus(group, block, _BLOCK_BYTES)
            found = tile.plus(tile.plus(beside, block, matrix.ROWS * GROUP), r, GROUP)
            for v, total in enumerate(sums):
                scale = tile.load(tile.plus(at, v * VECTOR), tile.sum)
                integers = builder.sitofp(tile.load(tile.plus(found, v * VECTOR), whole), tile.sum)
                builder.store(tile.fma(builder.fmul(integers, scale), row, builder.load(total)), total)
        for v, total in enumerate(sums):
            tile.store(builder.load(total), tile.place(tile.to, v, r))
