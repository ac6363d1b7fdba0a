"""The kernels of `toy_scan` with bounds, for one column alone; those of more columns are toy_kernels.py's.

What some steps that are held to bounds do to the memory before them is min(max(a + total, least), most), of any memory
a: such maps are closed under composition. So SEQUENCE steps at a time are cut in LANES segments as in toy_sequence, and
the segments' maps are chained. Steps that forget lead to `least`, from a nan too.

Sums near the end of float64, infinities among them, and totals that leave int64 are left to the steps in turn.
"""

from fastcell._jit import inline, kernel
from fastcell.scan.arrays import packed_values, segments
from fastcell.scan.blocks import BLOCK, PACKED, ROW, pack, unpack
from fastcell.scan.rules import forgets, held_sum, takes
from fastcell.scan.toy_kernels import HUGE, SEQUENCE, SHORTEST, toy_block, toy_serial
from fastcell.simd.vector import (
    FLOAT64,
    INT64,
    LANES,
    add_overflows,
    any_lane,
    convert,
    first_lane,
    load,
    load_scalar,
    scratch,
    select,
    splat,
    store,
    store_scalar,
)

SUMS = 5 * ROW  # bytes of the maps of SEQUENCE steps: total, least, most, where they forget, what steps in turn take


@inline
def _taken(work, k, like1, like2, zero):
    """What packed step k adds, and whether it forgets."""
    x, r = convert(packed_values(work, k, like1), splat(zero, LANES)), packed_values(work + PACKED, k, like2)
    return select(takes(r), x, -0.0), forgets(r)  # to which a memory of -0.0 stays what it is


@inline
def _size(x):
    size = convert(x, FLOAT64)
    return select(size < 0.0, -size, size)


@inline
def _maps(work, steps, sums, like1, like2, bounds, zero):
    """Write the map of each of LANES packed segments. The first step's leads from any memory into the bounds."""
    low, high = bounds
    total, gone = _taken(work, 0, like1, like2, zero)
    only, sizes = held_sum(splat(zero, LANES), total, bounds), _size(total)
    least, most = select(gone, only, low), select(gone, only, high)
    wraps, forgot = splat(zero, LANES) != 0, gone
    for k in range(1, steps):
        x, gone = _taken(work, k, like1, like2, zero)
        forgot, sizes = forgot | gone, select(gone, 0.0, sizes) + _size(x)
        total, least, most = select(gone, 0, total), select(gone, 0, least), select(gone, 0, most)
        wraps = wraps | add_overflows(total, x)
        total, least, most = total + x, held_sum(least, x, bounds), held_sum(most, x, bounds)
    store(sums, total)
    store(sums + ROW, least)
    store(sums + 2 * ROW, most)
    store(sums + 3 * ROW, convert(forgot, INT64))
    store(sums + 4 * ROW, convert(wraps | (sizes >= HUGE), INT64))  # a nan's sums are all nan, as they are to be


@inline
def _chain(sums, memories, carry, zero):
    """Chain the maps: leaves the memory at each segment's start; the one after the last, and whether all are sure."""
    safe = True
    for lane in range(LANES):
        at = sums + lane * 8
        store_scalar(memories + lane * 8, carry)
        safe &= load_scalar(at + 4 * ROW, INT64) == 0 and not abs(carry) >= HUGE
        total, least, most = load_scalar(at, zero), load_scalar(at + ROW, zero), load_scalar(at + 2 * ROW, zero)
        moved = first_lane(held_sum(splat(carry, 2), splat(total, 2), (least, most)))  # as a scalar's sum may not wrap
        carry = least if load_scalar(at + 3 * ROW, INT64) == 1 else moved
    return carry, safe


@inline
def _pack(x1, x2, t, steps, work):
    pack(segments(x1, t, steps), steps, LANES, SEQUENCE * x1[1], work)
    pack(segments(x2, t, steps), steps, LANES, SEQUENCE * x2[1], work + PACKED)


@kernel
def bounded_sequence(x1, x2, x3, y, a, start, stop, work, fill, bounds, zero):
    """One column: steps from `start`, a multiple of SEQUENCE, to `stop`; as toy_sequence."""
    memories, sums = scratch(ROW), scratch(SUMS)
    overflow = splat(zero, LANES) != 0
    wrapped = splat(zero, 2) != 0
    t = start
    while stop - t >= SHORTEST:
        steps = min(BLOCK, (stop - t) // LANES)
        after = t + steps * LANES
        _pack(x1, x2, t, steps, work)
        _maps(work, steps, sums, x1[3], x2[3], bounds, zero)
        carry, safe = _chain(sums, memories, load_scalar(a, zero), zero)
        if safe:
            pack(segments(x3, t, steps), steps, LANES, SEQUENCE * x3[1], work + 2 * PACKED)
            memory = load(memories, zero, LANES)
            memory, overflow = toy_block(x1, x2, x3, y, work, steps, memory, overflow, fill, bounds)
            unpack(work + 3 * PACKED, segments(y, t, steps), steps, LANES, SEQUENCE * y[1])
            store(memories, memory)
            # at the end the state is to be the very memory that was emitted
            store_scalar(a, load_scalar(memories + (LANES - 1) * 8, zero) if after == stop else carry)
        else:
            wrapped = wrapped | toy_serial(x1, x2, x3, y, a, t, after, fill, bounds, zero)
        t = after
    wrapped = wrapped | toy_serial(x1, x2, x3, y, a, t, stop, fill, bounds, zero)
    return any_lane(overflow) or any_lane(wrapped)


@kernel
def bounded_sums(x1, x2, x3, start, stop, sums, work, bounds, zero):
    """The maps of SEQUENCE steps each, for threads that can't know their first memory yet; as toy_sums."""
    for t in range(start, stop, SEQUENCE):
        _pack(x1, x2, t, BLOCK, work)
        _maps(work, BLOCK, sums + t // SEQUENCE * SUMS, x1[3], x2[3], bounds, zero)


@kernel
def bounded_chain(sums, start, stop, a, bounds, zero):
    """Take the memory at `a` from step `start` to `stop`; false where only the steps in turn can tell it."""
    memories = scratch(ROW)
    all_safe = True
    for part in range(start // SEQUENCE, stop // SEQUENCE):
        carry, safe = _chain(sums + part * SUMS, memories, load_scalar(a, zero), zero)
        store_scalar(a, carry)
        all_safe &= safe
    return all_safe
