"""Packing steps of LANES columns side by side, for arrays of any layout, and back.

Arrays are tuples as in arrays.py. Columns whose steps lie side by side are transposed in registers; others are copied
one by one.
"""

import numpy as np

from fastcell._jit import helper, inline
from fastcell.simd.tiles import transpose
from fastcell.simd.vector import LANES, load, load_scalar, prefetch, size_of, splat, store, store_scalar

BLOCK = 128  # steps: with LANES columns of 8 bytes a block takes 16 KiB at the most
PACKED = BLOCK * LANES * 8
ROW = LANES * 8
NARROW = LANES // 2


@inline
def _ask(first, stride, ahead):
    """Prefetch what lies `ahead` of LANES columns: more streams than the hardware follows by itself."""
    for lane in range(LANES):
        prefetch(first + lane * stride + ahead)


@helper
def pack(array, steps, count, ahead, packed):
    """Copy (steps, count) elements to `packed`, (steps, LANES) side by side; what lies `ahead` bytes on comes next."""
    source, source_t, source_b, like = array
    size = size_of(like)
    row = LANES * size
    if source_t == size:
        k = 0
        while k + LANES <= steps:
            _ask(source + k * size, source_b, ahead)
            transpose(source + k * size, source_b, count, packed + k * row, row, LANES, like, LANES, LANES)
            k += LANES
        while k + NARROW <= steps:
            _ask(source + k * size, source_b, ahead)
            transpose(source + k * size, source_b, count, packed + k * row, row, NARROW, like, LANES, NARROW)
            k += NARROW
        while k < steps:
            transpose(source + k * size, source_b, count, packed + k * row, row, 1, like, LANES, 1)
            k += 1
    elif source_b == size and count == LANES:
        for k in range(steps):
            store(packed + k * row, load(source + k * source_t, like, LANES))
    elif source_b == 0:
        for k in range(steps):
            store(packed + k * row, splat(load_scalar(source + k * source_t, like), LANES))
    else:
        for k in range(steps):
            for lane in range(count):
                copied = load_scalar(source + k * source_t + lane * source_b, like)
                store_scalar(packed + k * row + lane * size, copied)


@helper
def unpack(packed, array, steps, count, ahead):
    """Copy `packed`, (steps, LANES) side by side, to (steps, count) elements."""
    to, to_t, to_b, like = array
    size = size_of(like)
    row = LANES * size
    if to_t == size:
        k = 0
        while k + LANES <= steps:
            _ask(to + k * size, to_b, ahead)
            transpose(packed + k * row, row, LANES, to + k * size, to_b, count, like, LANES, LANES)
            k += LANES
        while k + NARROW <= steps:
            _ask(to + k * size, to_b, ahead)
            transpose(packed + k * row, row, NARROW, to + k * size, to_b, count, like, NARROW, LANES)
            k += NARROW
        while k < steps:
            transpose(packed + k * row, row, 1, to + k * size, to_b, count, like, 1, LANES)
            k += 1
    elif to_b == size and count == LANES:
        for k in range(steps):
            store(to + k * to_t, load(packed + k * row, like, LANES))
    else:
        for k in range(steps):
            for lane in range(count):
                copied = load_scalar(packed + k * row + lane * size, like)
                store_scalar(to + k * to_t + lane * to_b, copied)


@helper
def clear(packed):
    """Zero a packed block, so that the lanes past a narrow strip hold numbers."""
    for k in range(0, PACKED, ROW):
        store(packed + k, splat(np.int64(0), LANES))


@helper
def gather(source, count, to, like):
    """Copy `count` values to LANES side by side, the last one again in the lanes past it."""
    size = size_of(like)
    if count == LANES:
        store(to, load(source, like, LANES))
        return
    for lane in range(LANES):
        store_scalar(to + lane * size, load_scalar(source + min(lane, count - 1) * size, like))


@helper
def scatter(source, count, to, like):
    """Copy the first `count` of LANES values."""
    size = size_of(like)
    if count == LANES:
        store(to, load(source, like, LANES))
        return
    for lane in range(count):
        store_scalar(to + lane * size, load_scalar(source + lane * size, like))


@inline
def ahead_of(step, column, T):
    """How far ahead to prefetch: the next block of these columns, or of the next columns where one block is all.

    step, column: bytes from step to step and from column to column
    """
    return LANES * column if T <= BLOCK else 2 * BLOCK * step
