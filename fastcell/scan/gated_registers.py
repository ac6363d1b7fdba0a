"""Kernels of `gated_scan` for one column of floats whose steps lie side by side: eight steps at a time, in registers.

Eight steps are one affine map of the memory before them. In a vector of eight steps, `b` starts as i * x and `g` as f;
three times both take in the lanes 1, 2 and 4 below, until lane k holds what the steps 0 to k make of a memory of 0 and
the product of their forget gates:

    b += g * (b moved up by n)        g *= (g moved up by n)        for n = 1, 2, 4
    a = b + g * (the memory before)

So the memory before is waited for once in eight steps. Sums associate otherwise than step after step, within the
rounding of float64 as long as no product of gates leaves its range and no sum overflows: a group of steps for which
that is not sure is stepped in turn.

Every SEGMENT steps the memory is worked out anew, from the memory a segment before and the segment's own sums, as a
thread does that begins there: so the bits don't depend on the number of threads.
"""

from fastcell._jit import inline, kernel
from fastcell.scan.arrays import element
from fastcell.scan.gated_kernels import gated_sequence
from fastcell.simd.vector import (
    FLOAT64,
    INT64,
    any_lane,
    convert,
    first_lane,
    fma,
    last_lane,
    load,
    load_scalar,
    move_up,
    scratch,
    select,
    size_of,
    splat,
    store,
    store_scalar,
    upper_half,
)

WIDE, HALF = 8, 4  # steps in a vector
GROUP = 16 * WIDE  # steps that are checked, and if need be stepped in turn, together
SEGMENT = 64 * GROUP
SUMS = 24  # bytes of a segment's sums: what it makes of a memory of 0, its product of gates, whether both are sure
TINY = 2.0**-120  # of eight gates above it, float64 holds the product to its last digit
LARGEST = 4.0  # a GROUP of gates below it lets no memory and no sum of MODEST size overflow
MODEST, BEGUN = 1e150, 1e149
SQUARES = 1e280  # of what is added: a segment's sum of it is far below BEGUN
VANISHED = 1e-290  # a segment's product of gates below it may have lost digits
NOTHING = 1e-20  # of a sum, far below its rounding


@inline
def _in_eights(array, copies):
    """The array, or where it is one value for all steps eight copies of it, which are read again and again.

    copies: 64 bytes of the kernel's own; those of a function that is compiled into it are free again after it
    """
    at, step, column, like = array
    if step == 0:
        store(copies, splat(load_scalar(at, like), WIDE))
        return copies + INT64, step, column, like
    return at, step, column, like


@inline
def _raw(array, t):
    return load(element(array, t, 0), array[3], WIDE)


@inline
def _eight(array, t):
    return convert(_raw(array, t), FLOAT64)


@inline
def _extremes(gate, least, most):
    """The least magnitude of gates that are not 0, and the most; a nan among them is left to what it makes."""
    size = select(gate < 0, -gate, gate)
    return select((size < least) & (size != 0), size, least), select(size > most, size, most)


@inline
def _start(f):
    """What `_extremes` starts from, of the gates' type."""
    return convert(splat(1.0, WIDE), f[3]), convert(splat(0.0, WIDE), f[3])


@inline
def _squares(u, x, i, added):
    """The sum of squares of what is added, where it can be large at all."""
    if size_of(x[3]) == 8 or size_of(i[3]) == 8:
        return fma(u, u, added)
    return added


@inline
def _maps(b, g):
    """What each of eight steps and those before it make of a memory of 0, and the product of their gates."""
    b, g = fma(g, move_up(b, 1, 0.0), b), g * move_up(g, 1, 1.0)
    b, g = fma(g, move_up(b, 2, 0.0), b), g * move_up(g, 2, 1.0)
    return fma(g, move_up(b, 4, 0.0), b), g * move_up(g, 4, 1.0)


@inline
def _below(v, limit):
    """Whether every lane is; false of a nan."""
    return not any_lane(~(v <= limit))


@inline
def _goes_well(least, most, added, before, after):
    """Whether a group's vectors hold what its steps lead to but for rounding."""
    modest = abs(first_lane(before)) <= MODEST and abs(first_lane(after)) <= MODEST
    return modest and not any_lane(least < TINY) and _below(most, LARGEST) and _below(added, SQUARES)


@inline
def _are_sure(least, most, added):
    """Whether a segment's sums, and its product if it has not vanished, are so, too."""
    return not any_lane(least < TINY) and _below(most, 1.0) and _below(added, SQUARES)


@inline
def _joined(memory, total, gain, sure):
    """The memory after a segment, and whether it is sure.

    A product that has vanished is known no more: then the memory before must not count beside what the segment adds.
    """
    counts = abs(memory) * VANISHED > NOTHING * abs(total)
    sure = sure and abs(memory) <= BEGUN and abs(total) <= BEGUN and not (abs(gain) < VANISHED and counts)
    return gain * memory + total, sure


@inline
def _top(v):
    return first_lane(last_lane(v))


@inline
def _store_sums(sums, first, total, gain, sure):
    at = sums + first // SEGMENT * SUMS
    store_scalar(at, total)
    store_scalar(at + 8, gain)
    store_scalar(at + 16, INT64 + sure)


@kernel
def gated_varying(x, f, i, o, y, a, start, stop, work, out_zero, zero):
    """Steps from `start`, a multiple of SEGMENT, to `stop`."""
    xs, fs = _in_eights(x, scratch(64)), _in_eights(f, scratch(64))
    gates_i, gates_o = _in_eights(i, scratch(64)), _in_eights(o, scratch(64))
    for first in range(start, stop, SEGMENT):
        last = min(first + SEGMENT, stop)
        whole = first + (last - first) // GROUP * GROUP
        begun = load_scalar(a, FLOAT64)
        memory, well, t = splat(begun, WIDE), True, first
        total, gain, added = splat(0.0, HALF), splat(1.0, HALF), splat(0.0, WIDE)
        least, most = _start(f)
        while well and t < whole:
            before = memory
            for k in range(t, t + GROUP, WIDE):
                least, most = _extremes(_raw(fs, k), least, most)
                u = _eight(gates_i, k) * _eight(xs, k)
                added = _squares(u, x, i, added)
                b, g = _maps(u, _eight(fs, k))
                here = fma(g, memory, b)
                store(element(y, k, 0), convert(_eight(gates_o, k) * here, out_zero))
                memory = last_lane(here)
                total, gain = fma(upper_half(g), total, upper_half(b)), upper_half(g) * gain
            well = _goes_well(least, most, added, before, memory)
            if well:
                store_scalar(a, first_lane(memory))
                t += GROUP
        gated_sequence(x, f, i, o, y, a, t, last, work, out_zero, zero)
        if last < stop and well:
            after, sure = _joined(begun, _top(total), _top(gain), _are_sure(least, most, added))
            if sure:
                store_scalar(a, after)
    return False


@kernel
def gated_varying_sums(x, f, i, o, start, stop, sums, work, zero):
    """The sums of each segment alone, for threads that can't know their first memory yet.

    sums: (T / SEGMENT, SUMS) bytes; start and stop are multiples of SEGMENT
    """
    xs, fs = _in_eights(x, scratch(64)), _in_eights(f, scratch(64))
    gates_i = _in_eights(i, scratch(64))
    for first in range(start, stop, SEGMENT):
        total, gain, added = splat(0.0, HALF), splat(1.0, HALF), splat(0.0, WIDE)
        least, most = _start(f)
        for t in range(first, first + SEGMENT, WIDE):
            least, most = _extremes(_raw(fs, t), least, most)
            u = _eight(gates_i, t) * _eight(xs, t)
            added = _squares(u, x, i, added)
            b, g = _maps(u, _eight(fs, t))
            total, gain = fma(upper_half(g), total, upper_half(b)), upper_half(g) * gain
        _store_sums(sums, first, _top(total), _top(gain), _are_sure(least, most, added))


@inline
def _powers(f):
    """The gates of the three steps of `_maps`, the product in each lane after them, that of eight, and a segment's."""
    f2 = f * move_up(f, 1, 1.0)
    f4 = f2 * move_up(f2, 2, 1.0)
    product = f4 * move_up(f4, 4, 1.0)
    eight = last_lane(product)
    gain, steps = first_lane(eight), WIDE
    while steps < SEGMENT:
        gain, steps = gain * gain, 2 * steps
    return (f, f2, f4), product, eight, gain


@inline
def _constant_maps(b, gates):
    """`_maps` of gates whose products are known."""
    f1, f2, f4 = gates
    b = fma(f1, move_up(b, 1, 0.0), b)
    b = fma(f2, move_up(b, 2, 0.0), b)
    return fma(f4, move_up(b, 4, 0.0), b)


@kernel
def gated_constant(x, f, i, o, y, a, start, stop, work, out_zero, zero):
    """`gated_varying` where f is one value for all steps: what a segment adds is summed in eight columns."""
    xs, gates_i = _in_eights(x, scratch(64)), _in_eights(i, scratch(64))
    gates_o = _in_eights(o, scratch(64))
    gate = convert(splat(load_scalar(f[0], f[3]), WIDE), FLOAT64)
    least, most = _extremes(gate, splat(1.0, WIDE), splat(0.0, WIDE))
    gates, product, eight, gain = _powers(gate)
    for first in range(start, stop, SEGMENT):
        last = min(first + SEGMENT, stop)
        whole = first + (last - first) // GROUP * GROUP
        begun = load_scalar(a, FLOAT64)
        memory, well, t = splat(begun, WIDE), True, first
        total, added = splat(0.0, WIDE), splat(0.0, WIDE)
        while well and t < whole:
            before = memory
            for k in range(t, t + GROUP, WIDE):
                u = _eight(gates_i, k) * _eight(xs, k)
                added, total = _squares(u, x, i, added), fma(eight, total, u)
                here = fma(product, memory, _constant_maps(u, gates))
                store(element(y, k, 0), convert(_eight(gates_o, k) * here, out_zero))
                memory = last_lane(here)
            well = _goes_well(least, most, added, before, memory)
            if well:
                store_scalar(a, first_lane(memory))
                t += GROUP
        gated_sequence(x, f, i, o, y, a, t, last, work, out_zero, zero)
        if last < stop and well:
            after, sure = _joined(begun, _top(_constant_maps(total, gates)), gain, _are_sure(least, most, added))
            if sure:
                store_scalar(a, after)
    return False


@kernel
def gated_constant_sums(x, f, i, o, start, stop, sums, work, zero):
    """`gated_varying_sums` where f is one value for all steps."""
    xs, gates_i = _in_eights(x, scratch(64)), _in_eights(i, scratch(64))
    gate = convert(splat(load_scalar(f[0], f[3]), WIDE), FLOAT64)
    least, most = _extremes(gate, splat(1.0, WIDE), splat(0.0, WIDE))
    gates, _product, eight, gain = _powers(gate)
    for first in range(start, stop, SEGMENT):
        total, added = splat(0.0, WIDE), splat(0.0, WIDE)
        for t in range(first, first + SEGMENT, WIDE):
            u = _eight(gates_i, t) * _eight(xs, t)
            added, total = _squares(u, x, i, added), fma(eight, total, u)
        _store_sums(sums, first, _top(_constant_maps(total, gates)), gain, _are_sure(least, most, added))


@kernel
def gated_chain(sums, start, stop, a, _zero):
    """Take the memory at `a` over the segments from step `start` to `stop`; false where only the steps can tell it."""
    all_sure = True
    for segment in range(start // SEGMENT, stop // SEGMENT):
        at = sums + segment * SUMS
        memory, total, gain = load_scalar(a, FLOAT64), load_scalar(at, FLOAT64), load_scalar(at + 8, FLOAT64)
        after, sure = _joined(memory, total, gain, load_scalar(at + 16, INT64) == 1)
        store_scalar(a, after)
        all_sure &= sure
    return all_sure
