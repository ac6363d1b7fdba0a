"""The kernels of `toy_scan` with bounds, for one column alone; more columns are toy_kernels.py's.

Steps that add and are held to bounds are together a map of the memory before them, min(max(a + total, least), most):
such maps are closed under composition. So SEQUENCE steps at a time are cut in LANES segments as in toy_sequence, whose
maps are chained; a segment that forgets has one value for `least` and `most`.

A memory outside the bounds, which only a given state can be, an infinity, a nan and a sum that could overflow are left
to the steps in turn.
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
    load,
    load_scalar,
    scratch,
    select,
    splat,
    store,
    store_scalar,
)

SUMS = 4 * ROW  # bytes of the maps of SEQUENCE steps: total, least, most, and whether a segment is not sure


@inline
def _maps(work, steps, sums, like1, like2, bounds, zero):
    """Write the map of each of LANES packed segments."""
    low, high = bounds
    total, least, most = splat(zero, LANES), splat(low, LANES), splat(high, LANES)
    sizes = convert(total, FLOAT64)
    wraps = total != total
    for k in range(steps):
        x, r = convert(packed_values(work, k, like1), total), packed_values(work + PACKED, k, like2)
        x, gone = select(takes(r), x, 0), forgets(r)
        size = convert(x, FLOAT64)
        sizes = sizes + select(size < 0.0, -size, size)
        total, least, most = select(gone, 0, total), select(gone, 0, least), select(gone, 0, most)
        wraps = wraps | add_overflows(total, x)
        total, least, most = total + x, held_sum(least, x, bounds), held_sum(most, x, bounds)
    store(sums, total)
    store(sums + ROW, least)
    store(sums + 2 * ROW, most)
    store(sums + 3 * ROW, convert(wraps | ~(sizes < HUGE), INT64))


@inline
def _chain(sums, memories, carry, bounds, zero):
    """Chain the maps: leaves the memory at each segment's start; the one after the last, and whether all are sure."""
    low, high = bounds
    safe = low <= carry <= high and abs(carry) < HUGE
    for lane in range(LANES):
        at = sums + lane * 8
        store_scalar(memories + lane * 8, carry)
        safe &= load_scalar(at + 3 * ROW, INT64) == 0
        least, most = load_scalar(at + ROW, zero), load_scalar(at + 2 * ROW, zero)
        carry = min(max(carry + load_scalar(at, zero), least), most)
    return carry, safe


@inline
def _pack(x1, x2, t, steps, work):
    pack(segments(x1, t, steps), steps, LANES, SEQUENCE * x1[1], work)
    pack(segments(x2, t, steps), steps, LANES, SEQUENCE * x2[1], work + PACKED)


@kernel
def bounded_sequence(x1, x2, x3, y, a, start, stop, work, fill, bounds, zero):
    """One column: steps from `start`, a multiple of SEQUENCE, to `stop`."""
    memories, sums = scratch(ROW), scratch(SUMS)
    overflow = splat(zero, LANES) != 0
    wrapped = splat(zero, 2) != 0
    t = start
    while stop - t >= SHORTEST:
        steps = min(BLOCK, (stop - t) // LANES)
        after = t + steps * LANES
        _pack(x1, x2, t, steps, work)
        _maps(work, steps, sums, x1[3], x2[3], bounds, zero)
        carry, safe = _chain(sums, memories, load_scalar(a, zero), bounds, zero)
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
        carry, safe = _chain(sums + part * SUMS, memories, load_scalar(a, zero), bounds, zero)
        store_scalar(a, carry)
        all_safe &= safe
    return all_safe
