"""Kernels of `toy_scan`: loops over addresses; checks are in api.py, layouts and threads in dispatch.py.

T steps, B columns. An array comes as an address with two strides in bytes, from step to step (`_t`) and from column
to column (`_b`); its element type comes as `like`, any scalar of it, and `zero` is one of the accumulator's type.
The memories are `a`, (B,) side by side: a kernel starts from what is there and leaves the last ones. It works on
columns `first` to `last` and returns whether integer memory overflowed. Two layouts have a kernel each (and float32
along time another one where masks are registers: `toy_lanes.py`):

    *_columns   columns side by side (C order): a vector is LANES columns of one step, read in place
    *_strips    anything else: blocks of steps by LANES columns are first brought side by side

Both run the steps of a column in their order and give the same bits. `toy_sequence`, for one column alone, adds up
LANES segments of it at once, cut the same way whatever the number of threads.
"""

from fastcell._jit import inline, kernel
from fastcell.scan.blocks import BLOCK, PACKED, ROW, ahead_of, clear, gather, pack, scatter, unpack
from fastcell.simd.vector import (
    FLOAT64,
    INT8,
    LANES,
    add_overflows,
    any_lane,
    convert,
    fence,
    first_lane,
    load,
    load_scalar,
    scratch,
    select,
    size_of,
    splat,
    store,
    store_scalar,
    store_stream,
)

SEQUENCE = BLOCK * LANES  # steps that toy_sequence takes at once
SHORTEST = 8 * LANES  # steps below which it takes one after the other
ROWS = 4  # steps that a *_columns kernel takes while it holds a column's memory
WIDE = 4 * LANES  # rules that are checked at once
HUGE = 1e300  # beside sums this large the order of additions decides whether one overflows


@inline
def _toy_rule(a, x, r, overflow):
    """Add x where r is 1, reset where it is -1, else keep."""
    x = convert(x, a)
    overflow = overflow | ((r == 1) & add_overflows(a, x))
    a = select(r == 1, a + x, a)
    return select(r == -1, 0, a), overflow


@inline
def _emit(a, e, fill):
    """The memory where e is 1, else fill; rounded to fill's type."""
    return select(e == 1, convert(a, fill), fill)


@inline
def _toy_vector(
    x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, t, rows, b, place, fill, stream, overflow, zero, like1, like2, like3
):
    """`rows` steps of LANES columns from b on, so that their memory, at `place`, is read and written once for them."""
    s1, s2, s3, sy = b * size_of(like1), b * size_of(like2), b * size_of(like3), b * size_of(fill)
    memory = load(place, zero, LANES)
    for k in range(t, t + rows):
        x, r, e = (
            load(x1 + k * x1_t + s1, like1, LANES),
            load(x2 + k * x2_t + s2, like2, LANES),
            load(x3 + k * x3_t + s3, like3, LANES),
        )
        memory, overflow = _toy_rule(memory, x, r, overflow)
        if stream:
            store_stream(y + k * y_t + sy, _emit(memory, e, fill))
        else:
            store(y + k * y_t + sy, _emit(memory, e, fill))
    store(place, memory)
    return overflow


@inline
def _toy_rows(
    x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, a, start, stop, rows, first, last, fill, stream, zero, like1, like2, like3
):
    overflow = splat(zero, LANES) != 0
    # Columns past the last whole vector are stepped by one that ends with the last column. Those that it shares with
    # the vector before are stepped in both, here from a memory of their own.
    whole = first + (last - first) // LANES * LANES
    tail = scratch(ROW)
    store(tail, load(a + (last - LANES) * 8, zero, LANES))
    for t in range(start, stop, rows):
        for b in range(first, whole, LANES):
            overflow = _toy_vector(
                x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, t, rows, b, a + b * 8, fill, stream, overflow, zero,
                like1, like2, like3,
            )  # fmt: skip
        if whole < last:
            overflow = _toy_vector(
                x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, t, rows, last - LANES, tail, fill, stream, overflow, zero,
                like1, like2, like3,
            )  # fmt: skip
    if whole < last:
        store(a + (last - LANES) * 8, load(tail, zero, LANES))
    return any_lane(overflow)


@kernel
def toy_columns(x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, a, T, first, last, fill, stream, zero, like1, like2, like3):
    """At least LANES columns, side by side in every array; `stream` writes y past the caches."""
    fours = T // ROWS * ROWS
    if stream:
        overflow = _toy_rows(
            x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, a, 0, fours, ROWS, first, last, fill, True, zero, like1, like2, like3
        )
    else:
        overflow = _toy_rows(
            x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, a, 0, fours, ROWS, first, last, fill, False, zero, like1, like2, like3
        )
    overflow |= _toy_rows(
        x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, a, fours, T, 1, first, last, fill, False, zero, like1, like2, like3
    )
    if stream:
        fence()
    return overflow


@inline
def _toy_block(p1, p2, p3, py, steps, memory, overflow, fill, like1, like2, like3):
    """Run packed steps; returns the memory after them."""
    s1, s2, s3, sy = LANES * size_of(like1), LANES * size_of(like2), LANES * size_of(like3), LANES * size_of(fill)
    for k in range(steps):
        x, r, e = load(p1 + k * s1, like1, LANES), load(p2 + k * s2, like2, LANES), load(p3 + k * s3, like3, LANES)
        memory, overflow = _toy_rule(memory, x, r, overflow)
        store(py + k * sy, _emit(memory, e, fill))
    return memory, overflow


@kernel
def toy_strips(
    x1, x1_t, x1_b, x2, x2_t, x2_b, x3, x3_t, x3_b, y, y_t, y_b, a, T, first, last, block, stretch, work, fill, zero,
    like1, like2, like3,
):  # fmt: skip
    """Any layout. `stretch` steps of all columns are taken at a time, in blocks of `block` steps, BLOCK at most."""
    p1, p2, p3, py = work, work + PACKED, work + 2 * PACKED, work + 3 * PACKED
    memories = scratch(ROW)
    overflow = splat(zero, LANES) != 0
    for start in range(0, T, stretch):
        stop = min(start + stretch, T)
        for b in range(first, last, LANES):
            count = min(LANES, last - b)
            if count < LANES:
                clear(p1)
                clear(p2)
            gather(a + b * 8, count, memories, zero)
            memory = load(memories, zero, LANES)
            for t in range(start, stop, block):
                steps = min(block, stop - t)
                pack(x1 + t * x1_t + b * x1_b, x1_t, x1_b, steps, count, ahead_of(x1_t, x1_b, T), p1, like1)
                pack(x2 + t * x2_t + b * x2_b, x2_t, x2_b, steps, count, ahead_of(x2_t, x2_b, T), p2, like2)
                pack(x3 + t * x3_t + b * x3_b, x3_t, x3_b, steps, count, ahead_of(x3_t, x3_b, T), p3, like3)
                memory, overflow = _toy_block(p1, p2, p3, py, steps, memory, overflow, fill, like1, like2, like3)
                unpack(py, y + t * y_t + b * y_b, y_t, y_b, steps, count, ahead_of(y_t, y_b, T), fill)
            store(memories, memory)
            scatter(memories, count, a + b * 8, zero)
    return any_lane(overflow)


@inline
def _toy_serial(x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, a, steps, fill, zero, like1, like2, like3):
    """One column, one step after the other; in vectors of one value twice, since a scalar choice would be a branch."""
    memory = splat(load_scalar(a, zero), 2)
    overflow = splat(zero, 2) != 0
    for t in range(steps):
        x = splat(load_scalar(x1 + t * x1_t, like1), 2)
        r = splat(load_scalar(x2 + t * x2_t, like2), 2)
        e = splat(load_scalar(x3 + t * x3_t, like3), 2)
        memory, overflow = _toy_rule(memory, x, r, overflow)
        store_scalar(y + t * y_t, first_lane(_emit(memory, e, fill)))
    store_scalar(a, first_lane(memory))
    return overflow


@inline
def _toy_sums(p1, p2, steps, zero, like1, like2):
    """What packed steps leave of a memory of 0, whether they reset it, and the sum of magnitudes that bounds it.

    Runs backwards, to the last step that reset each column.
    """
    s1, s2 = LANES * size_of(like1), LANES * size_of(like2)
    total = splat(zero, LANES)
    bound = splat(zero, LANES)
    forgot = total != 0
    k = steps - 1
    while k >= 0 and any_lane(~forgot):
        x, r = convert(load(p1 + k * s1, like1, LANES), total), load(p2 + k * s2, like2, LANES)
        forgot = forgot | (r == -1)
        x = select((r == 1) & ~forgot, x, 0)
        total = total + x
        if size_of(like1) == 8:  # sums of fewer bytes can't come near HUGE
            bound = bound + select(x < 0, -x, x)
        k -= 1
    return total, forgot, convert(bound, FLOAT64)


@inline
def _carry(memories, totals, forgot, bounds, carry, zero):
    """Chain the segments' sums: leaves the memory at each segment's start, returns the one after the last."""
    safe = True
    for lane in range(LANES):
        store_scalar(memories + lane * 8, carry)
        bound = load_scalar(bounds + lane * 8, FLOAT64)
        safe &= not (bound >= HUGE or abs(carry) >= HUGE)
        total = load_scalar(totals + lane * 8, zero)
        carry = total if load_scalar(forgot + lane, INT8) == 1 else carry + total
    return carry, safe


@kernel
def toy_sequence(
    x1, x1_t, x2, x2_t, x3, x3_t, y, y_t, a, start, stop, work, fill, zero, like1, like2, like3
):  # fmt: skip
    """One column: steps from `start`, a multiple of SEQUENCE, to `stop`.

    SEQUENCE steps at a time are cut in LANES segments, which are then columns: a first pass sums each from a memory
    of 0, the sums are chained, a second pass runs each from its true memory.
    """
    p1, p2, p3, py = work, work + PACKED, work + 2 * PACKED, work + 3 * PACKED
    memories, totals, bounds, forgot_at = scratch(ROW), scratch(ROW), scratch(ROW), scratch(LANES)
    overflow = splat(zero, LANES) != 0
    wrapped = splat(zero, 2) != 0
    t = start
    while stop - t >= SHORTEST:
        steps = min(BLOCK, (stop - t) // LANES)
        pack(x1 + t * x1_t, x1_t, steps * x1_t, steps, LANES, SEQUENCE * x1_t, p1, like1)
        pack(x2 + t * x2_t, x2_t, steps * x2_t, steps, LANES, SEQUENCE * x2_t, p2, like2)
        pack(x3 + t * x3_t, x3_t, steps * x3_t, steps, LANES, SEQUENCE * x3_t, p3, like3)
        total, forgot, bound = _toy_sums(p1, p2, steps, zero, like1, like2)
        store(totals, total)
        store(bounds, bound)
        store(forgot_at, convert(forgot, INT8))
        carry, safe = _carry(memories, totals, forgot_at, bounds, load_scalar(a, zero), zero)
        if safe:
            memory = load(memories, zero, LANES)
            memory, overflow = _toy_block(p1, p2, p3, py, steps, memory, overflow, fill, like1, like2, like3)
            unpack(py, y + t * y_t, y_t, steps * y_t, steps, LANES, SEQUENCE * y_t, fill)
            store(memories, memory)
            ends = t + steps * LANES == stop  # then the state is to be the very memory that was emitted
            store_scalar(a, load_scalar(memories + (LANES - 1) * 8, zero) if ends else carry)
        else:
            wrapped = wrapped | _toy_serial(
                x1 + t * x1_t, x1_t, x2 + t * x2_t, x2_t, x3 + t * x3_t, x3_t, y + t * y_t, y_t, a, steps * LANES,
                fill, zero, like1, like2, like3,
            )  # fmt: skip
        t += steps * LANES
    wrapped = wrapped | _toy_serial(
        x1 + t * x1_t, x1_t, x2 + t * x2_t, x2_t, x3 + t * x3_t, x3_t, y + t * y_t, y_t, a, stop - t, fill, zero,
        like1, like2, like3,
    )  # fmt: skip
    return any_lane(overflow) or any_lane(wrapped)


@kernel
def toy_sequence_sums(x1, x1_t, x2, x2_t, start, stop, totals, bounds, forgot, work, zero, like1, like2):
    """The first pass of toy_sequence alone, for threads that can't know their first memory yet.

    totals, bounds, forgot: of each of LANES segments of each SEQUENCE steps; start and stop are multiples of it.
    """
    p1, p2 = work, work + PACKED
    for t in range(start, stop, SEQUENCE):
        pack(x1 + t * x1_t, x1_t, BLOCK * x1_t, BLOCK, LANES, SEQUENCE * x1_t, p1, like1)
        pack(x2 + t * x2_t, x2_t, BLOCK * x2_t, BLOCK, LANES, SEQUENCE * x2_t, p2, like2)
        total, reset, bound = _toy_sums(p1, p2, BLOCK, zero, like1, like2)
        segment = t // BLOCK
        store(totals + segment * 8, total)
        store(bounds + segment * 8, bound)
        store(forgot + segment, convert(reset, INT8))


@kernel
def toy_sequence_carry(totals, bounds, forgot, start, stop, a, zero):
    """Take the memory at `a` from step `start` to step `stop`; returns whether no sum could overflow on the way."""
    memories = scratch(ROW)
    all_safe = True
    for segment in range(start // BLOCK, stop // BLOCK, LANES):
        carry, safe = _carry(
            memories, totals + segment * 8, forgot + segment, bounds + segment * 8, load_scalar(a, zero), zero
        )
        store_scalar(a, carry)
        all_safe &= safe
    return all_safe


@inline
def _toy_one(x1, x2, x3, y, place, overflow, fill, zero, like1, like2, like3):
    """One step of the memory at `place`; in vectors as in _toy_serial."""
    x, r, e = splat(load_scalar(x1, like1), 2), splat(load_scalar(x2, like2), 2), splat(load_scalar(x3, like3), 2)
    memory, overflow = _toy_rule(splat(load_scalar(place, zero), 2), x, r, overflow)
    store_scalar(place, first_lane(memory))
    store_scalar(y, first_lane(_emit(memory, e, fill)))
    return overflow


@kernel
def toy_keyed(
    x1, x1_t, x1_b, x2, x2_t, x2_b, x3, x3_t, x3_b, keys, keys_t, y, y_t, y_b, a, T, B, fill, zero,
    like1, like2, like3, like_key,
):  # fmt: skip
    """A memory for each key, `a` is (K, B): step t works on the row keys[t]."""
    overflow = splat(zero, 2) != 0
    if B == 1:  # the usual case, several times faster without a loop inside
        for t in range(T):
            place = a + load_scalar(keys + t * keys_t, like_key) * 8
            overflow = _toy_one(
                x1 + t * x1_t, x2 + t * x2_t, x3 + t * x3_t, y + t * y_t, place, overflow, fill, zero,
                like1, like2, like3,
            )  # fmt: skip
        return any_lane(overflow)
    for t in range(T):
        row = a + load_scalar(keys + t * keys_t, like_key) * B * 8
        for b in range(B):
            overflow = _toy_one(
                x1 + t * x1_t + b * x1_b, x2 + t * x2_t + b * x2_b, x3 + t * x3_t + b * x3_b, y + t * y_t + b * y_b,
                row + b * 8, overflow, fill, zero, like1, like2, like3,
            )  # fmt: skip
    return any_lane(overflow)


@kernel
def has_other_rules(x, x_t, x_b, T, B, low, like):
    """Whether any element is not `low`, 0 or 1."""
    size = size_of(like)
    if x_b == size and (x_t == B * size or T == 1):
        T, B, x_t = 1, T * B, 0
    elif x_t == size and (x_b == T * size or B == 1):
        T, B, x_t, x_b = 1, T * B, 0, size
    whole = B // WIDE * WIDE if x_b == size else 0
    bad = splat(like, WIDE) != splat(like, WIDE)
    for t in range(T):
        row = x + t * x_t
        for b in range(0, whole, WIDE):
            r = load(row + b * size, like, WIDE)
            bad = bad | ((r != 0) & (r != 1) & (r != low))
        for b in range(whole, B):
            r = load_scalar(row + b * x_b, like)
            if r != 0 and r != 1 and r != low:
                return True
    return any_lane(bad)
