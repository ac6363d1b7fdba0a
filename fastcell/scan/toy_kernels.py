"""Kernels of `toy_scan`: loops over addresses; checks are in arguments.py, layouts and threads in dispatch.py.

T steps, B columns. An array comes as a tuple, (address, bytes from step to step, bytes from column to column, like),
where `like` is any scalar of its element type; `zero` is one of the accumulator's type; `bounds` are None, or low and
high of that type. The memories are `a`, (B,) side by side: a kernel starts from what is there and leaves the last ones.
It works on columns `first` to `last` and returns whether integer memory overflowed. Two layouts have a kernel each (and
float32 along time without bounds another one where masks are registers: `toy_registers.py`):

    *_columns   columns side by side (C order): a vector is LANES columns of one step, read in place
    *_strips    anything else: blocks of steps by LANES columns are first brought side by side

Both run the steps of a column in their order and give the same bits. One column alone is sequence_kernels.py's.
"""

from fastcell._jit import inline, kernel
from fastcell.scan.arrays import alone, element, packed_values, starting, value, values
from fastcell.scan.blocks import PACKED, ROW, ahead_of, clear, gather, pack, scatter, unpack
from fastcell.scan.rules import clamped, forgets, takes
from fastcell.simd.vector import (
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

ROWS = 4  # steps that a *_columns kernel takes while it holds a column's memory
WIDE = 4 * LANES  # rules that are checked at once


@inline
def _toy_rule(a, x, r, overflow, bounds):
    """Forget, then take x, each where the rule says so; then the memory is held to the bounds, if there are any."""
    x = select(takes(r), convert(x, a), -0.0)  # to which a memory of -0.0 stays what it is
    a = select(forgets(r), 0, a)
    if bounds is None:
        return a + x, overflow | add_overflows(a, x)
    return clamped(a, x, bounds, overflow)


@inline
def _emit(a, e, fill):
    """The memory where e is 1, else fill; rounded to fill's type."""
    return select(e > 0, convert(a, fill), fill)


@inline
def _toy_vector(x1, x2, x3, y, t, rows, b, place, fill, stream, overflow, bounds, zero):
    """`rows` steps of LANES columns from b on, so that their memory, at `place`, is read and written once for them."""
    to, to_t, _, _ = y
    memory = load(place, zero, LANES)
    for k in range(t, t + rows):
        x, r, e = values(x1, k, b), values(x2, k, b), values(x3, k, b)
        memory, overflow = _toy_rule(memory, x, r, overflow, bounds)
        here = to + k * to_t + b * size_of(fill)
        if stream:
            store_stream(here, _emit(memory, e, fill))
        else:
            store(here, _emit(memory, e, fill))
    store(place, memory)
    return overflow


@inline
def _toy_rows(x1, x2, x3, y, a, start, stop, rows, first, last, fill, stream, bounds, zero):
    overflow = splat(zero, LANES) != 0
    # Columns past the last whole vector are stepped by one that ends with the last column. Those that it shares with
    # the vector before are stepped in both, here from a memory of their own.
    whole = first + (last - first) // LANES * LANES
    tail = scratch(ROW)
    store(tail, load(a + (last - LANES) * 8, zero, LANES))
    for t in range(start, stop, rows):
        for b in range(first, whole, LANES):
            overflow = _toy_vector(x1, x2, x3, y, t, rows, b, a + b * 8, fill, stream, overflow, bounds, zero)
        if whole < last:
            overflow = _toy_vector(x1, x2, x3, y, t, rows, last - LANES, tail, fill, stream, overflow, bounds, zero)
    if whole < last:
        store(a + (last - LANES) * 8, load(tail, zero, LANES))
    return any_lane(overflow)


@kernel
def toy_columns(x1, x2, x3, y, a, T, first, last, stream, fill, bounds, zero):
    """At least LANES columns, side by side in every array; `stream` writes y past the caches."""
    fours = T // ROWS * ROWS
    if stream:
        overflow = _toy_rows(x1, x2, x3, y, a, 0, fours, ROWS, first, last, fill, True, bounds, zero)
    else:
        overflow = _toy_rows(x1, x2, x3, y, a, 0, fours, ROWS, first, last, fill, False, bounds, zero)
    overflow |= _toy_rows(x1, x2, x3, y, a, fours, T, 1, first, last, fill, False, bounds, zero)
    if stream:
        fence()
    return overflow


@inline
def toy_block(x1, x2, x3, y, work, steps, memory, overflow, fill, bounds):
    """Run packed steps; returns the memory after them."""
    for k in range(steps):
        x, r = packed_values(work, k, x1[3]), packed_values(work + PACKED, k, x2[3])
        e = packed_values(work + 2 * PACKED, k, x3[3])
        memory, overflow = _toy_rule(memory, x, r, overflow, bounds)
        store(work + 3 * PACKED + k * LANES * size_of(fill), _emit(memory, e, fill))
    return memory, overflow


@kernel
def toy_strips(x1, x2, x3, y, a, T, first, last, block, stretch, work, fill, bounds, zero):
    """Any layout. `stretch` steps of all columns are taken at a time, in blocks of `block` steps, BLOCK at most."""
    memories = scratch(ROW)
    overflow = splat(zero, LANES) != 0
    for start in range(0, T, stretch):
        stop = min(start + stretch, T)
        for b in range(first, last, LANES):
            count = min(LANES, last - b)
            if count < LANES:
                clear(work)
                clear(work + PACKED)
            gather(a + b * 8, count, memories, zero)
            memory = load(memories, zero, LANES)
            for t in range(start, stop, block):
                steps = min(block, stop - t)
                pack(starting(x1, t, b), steps, count, ahead_of(x1[1], x1[2], T), work)
                pack(starting(x2, t, b), steps, count, ahead_of(x2[1], x2[2], T), work + PACKED)
                pack(starting(x3, t, b), steps, count, ahead_of(x3[1], x3[2], T), work + 2 * PACKED)
                memory, overflow = toy_block(x1, x2, x3, y, work, steps, memory, overflow, fill, bounds)
                unpack(work + 3 * PACKED, starting(y, t, b), steps, count, ahead_of(y[1], y[2], T))
            store(memories, memory)
            scatter(memories, count, a + b * 8, zero)
    return any_lane(overflow)


@inline
def toy_serial(x1, x2, x3, y, a, start, stop, fill, bounds, zero):
    """One column, one step after the other; in vectors of one value twice, since a scalar choice would be a branch."""
    memory = splat(load_scalar(a, zero), 2)
    overflow = splat(zero, 2) != 0
    for t in range(start, stop):
        x, r, e = value(x1, t, 0, 2), value(x2, t, 0, 2), value(x3, t, 0, 2)
        memory, overflow = _toy_rule(memory, x, r, overflow, bounds)
        store_scalar(element(y, t, 0), first_lane(_emit(memory, e, fill)))
    store_scalar(a, first_lane(memory))
    return overflow


@inline
def toy_one(x1, x2, x3, y, t, b, place, overflow, fill, bounds, zero):
    """One step of the memory at `place`; in vectors as in toy_serial, of which lane 0 counts.

    Without bounds the sum is chosen and not x as in _toy_rule: faster where each step loads and stores its memory.
    """
    x, r, e = value(x1, t, b, 2), value(x2, t, b, 2), value(x3, t, b, 2)
    memory, taken = alone(place, zero, 2), takes(r)
    if bounds is None:
        a, x = select(forgets(r), 0, memory), convert(x, memory)
        overflow = overflow | (taken & add_overflows(a, x))
        memory = select(taken, a + x, a)
    else:
        memory, overflow = _toy_rule(memory, x, r, overflow, bounds)
    store_scalar(place, first_lane(memory))
    store_scalar(element(y, t, b), first_lane(_emit(memory, e, fill)))
    return overflow


@kernel
def toy_keyed(x1, x2, x3, y, keys, a, T, B, fill, bounds, zero):
    """A memory for each key, `a` is (K, B): step t works on the row keys[t]."""
    overflow = splat(zero, 2) != 0
    if B == 1:  # the usual case, several times faster without a loop inside
        for t in range(T):
            place = a + load_scalar(element(keys, t, 0), keys[3]) * 8
            overflow = toy_one(x1, x2, x3, y, t, 0, place, overflow, fill, bounds, zero)
        return first_lane(overflow)
    for t in range(T):
        row = a + load_scalar(element(keys, t, 0), keys[3]) * B * 8
        for b in range(B):
            overflow = toy_one(x1, x2, x3, y, t, b, row + b * 8, overflow, fill, bounds, zero)
    return first_lane(overflow)


@inline
def _is_other(r, low, high):
    return r != 0 and r != 1 and r != low and r != high


@kernel
def has_other_rules(rules, T, B, low, high):
    """Whether any element is not a whole number from `low` to `high`, -1 to 2 or 0 to 1."""
    x, x_t, x_b, like = rules
    size = size_of(like)
    if x_b == size and (x_t == B * size or T == 1):
        T, B, x_t = 1, T * B, 0
    elif x_t == size and (x_b == T * size or B == 1):
        T, B, x_t, x_b = 1, T * B, 0, size
    whole = B // WIDE * WIDE if x_b == size else 0
    least, most = splat(like, WIDE), splat(like, WIDE)
    bad = least != least
    for t in range(T):
        row = x + t * x_t
        for b in range(0, whole, WIDE):
            r = load(row + b * size, like, WIDE)
            if type(like)(0.5) == 0:  # integers
                least, most = select(r < least, r, least), select(r > most, r, most)
            else:
                bad = bad | ((r != 0) & (r != 1) & (r != low) & (r != high))
        for b in range(whole, B):
            if _is_other(load_scalar(row + b * x_b, like), low, high):
                return True
    return any_lane(bad | (least < low) | (most > high))
