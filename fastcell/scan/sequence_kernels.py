"""The kernels of `toy_scan` for one column alone; those of more columns, and what an array is, are toy_kernels.py's.

SEQUENCE steps at a time, the same ones whatever the number of threads, are cut in LANES segments, which are then
columns: a first pass finds out what each segment makes of any memory before it, these are chained, and a second pass
runs each segment from its true memory.

Without bounds a segment leaves a + total of a memory a, or total alone where it forgets. With bounds it leaves
min(max(a + total, least), most): such maps are closed under composition. Segments that forget lead to `least`, from a
nan too. Sums near the end of float64, infinities among them, and with bounds totals that leave int64, are left to the
steps in turn.
"""

from fastcell._jit import inline, kernel
from fastcell.scan.arrays import packed_values, segments
from fastcell.scan.blocks import BLOCK, PACKED, ROW, pack, unpack
from fastcell.scan.rules import forgets, held_sum, takes
from fastcell.scan.toy_kernels import toy_block, toy_serial
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
    size_of,
    splat,
    store,
    store_scalar,
)

SEQUENCE = BLOCK * LANES  # steps that are taken at once
SUMS = 5 * ROW  # bytes that the first pass leaves of them: total, where they forget, sizes; least and most
SHORTEST = 8 * LANES  # steps below which one is taken after the other
HUGE = 1e300  # beside sums this large the order of additions decides whether one overflows


@inline
def _size(x):
    size = convert(x, FLOAT64)
    return select(size < 0.0, -size, size)


@inline
def _sums(work, steps, sums, like1, like2, zero):
    """Write what packed steps leave of a memory of 0, whether they forget it, and the sum of sizes that bounds it.

    Runs backwards, to the last step that forgets in each column.
    """
    total = splat(zero, LANES)
    sizes = splat(zero, LANES)
    forgot = total != 0
    k = steps - 1
    while k >= 0 and any_lane(~forgot):
        x, r = convert(packed_values(work, k, like1), total), packed_values(work + PACKED, k, like2)
        x = select(takes(r) & ~forgot, x, 0)
        forgot = forgot | forgets(r)
        total = total + x
        if size_of(like1) == 8:  # sums of fewer bytes can't come near HUGE
            sizes = sizes + select(x < 0, -x, x)
        k -= 1
    store(sums, total)
    store(sums + ROW, convert(forgot, INT64))
    store(sums + 2 * ROW, convert(sizes, FLOAT64))


@inline
def _taken(work, k, like1, like2, zero):
    """What packed step k adds, and whether it forgets."""
    x, r = convert(packed_values(work, k, like1), splat(zero, LANES)), packed_values(work + PACKED, k, like2)
    return select(takes(r), x, -0.0), forgets(r)  # to which a memory of -0.0 stays what it is


@inline
def _maps(work, steps, sums, like1, like2, bounds, zero):
    """The same with bounds: write the map of each segment. The first step's leads from any memory into the bounds."""
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
    store(sums + ROW, convert(forgot, INT64))
    store(sums + 2 * ROW, select(wraps, HUGE, sizes))  # a nan's sums are all nan, as they are to be
    store(sums + 3 * ROW, least)
    store(sums + 4 * ROW, most)


@inline
def _sum_up(work, steps, sums, like1, like2, bounds, zero):
    """The first pass over packed steps."""
    if bounds is None:
        _sums(work, steps, sums, like1, like2, zero)
    else:
        _maps(work, steps, sums, like1, like2, bounds, zero)


@inline
def _moved(carry, at, forgot, bounds, zero):
    """The memory after a segment whose sums are there."""
    total = load_scalar(at, zero)
    if bounds is None:
        return total if forgot else carry + total
    least, most = load_scalar(at + 3 * ROW, zero), load_scalar(at + 4 * ROW, zero)
    held = first_lane(held_sum(splat(carry, 2), splat(total, 2), (least, most)))  # as a scalar's sum may not wrap
    return least if forgot else held


@inline
def _chain(sums, memories, carry, bounds, zero):
    """Chain the segments: leaves the memory at each one's start; the one after the last, and whether all are sure."""
    safe = True
    for lane in range(LANES):
        at = sums + lane * 8
        store_scalar(memories + lane * 8, carry)
        safe &= not (load_scalar(at + 2 * ROW, FLOAT64) >= HUGE or abs(carry) >= HUGE)
        carry = _moved(carry, at, load_scalar(at + ROW, INT64) == 1, bounds, zero)
    return carry, safe


@kernel
def toy_sequence(x1, x2, x3, y, a, start, stop, work, fill, bounds, zero):
    """One column: steps from `start`, a multiple of SEQUENCE, to `stop`."""
    memories, sums = scratch(ROW), scratch(SUMS)
    overflow = splat(zero, LANES) != 0
    wrapped = splat(zero, 2) != 0
    t = start
    while stop - t >= SHORTEST:
        steps = min(BLOCK, (stop - t) // LANES)
        after = t + steps * LANES
        pack(segments(x1, t, steps), steps, LANES, SEQUENCE * x1[1], work)
        pack(segments(x2, t, steps), steps, LANES, SEQUENCE * x2[1], work + PACKED)
        _sum_up(work, steps, sums, x1[3], x2[3], bounds, zero)
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
def toy_sums(x1, x2, x3, start, stop, sums, work, bounds, zero):
    """The first pass of toy_sequence alone, for threads that can't know their first memory yet.

    sums: (T / SEQUENCE, SUMS) bytes; start and stop are multiples of SEQUENCE
    """
    for t in range(start, stop, SEQUENCE):
        pack(segments(x1, t, BLOCK), BLOCK, LANES, SEQUENCE * x1[1], work)
        pack(segments(x2, t, BLOCK), BLOCK, LANES, SEQUENCE * x2[1], work + PACKED)
        _sum_up(work, BLOCK, sums + t // SEQUENCE * SUMS, x1[3], x2[3], bounds, zero)


@kernel
def toy_chain(sums, start, stop, a, bounds, zero):
    """Take the memory at `a` from step `start` to step `stop`; false where only the steps in turn can tell it."""
    memories = scratch(ROW)
    all_safe = True
    for part in range(start // SEQUENCE, stop // SEQUENCE):
        carry, safe = _chain(sums + part * SUMS, memories, load_scalar(a, zero), bounds, zero)
        store_scalar(a, carry)
        all_safe &= safe
    return all_safe
