"""The kernels of `toy_scan` for columns of float32 whose steps lie side by side, where masks are registers (512 bits).

`toy_tiles` takes eight columns, eight steps at a time: a square of values is transposed in registers, stepped as eight
vectors of one step each, and transposed back. The rules of the square are transposed as bytes, compared at once, and
their masks, a byte a step, wait in the cache, from where a mask register loads faster than from a general one.

`toy_eights` takes one column, eight steps at a time, and transposes nothing: in a vector of eight steps a segmented sum
takes three additions, each of a copy of the vector moved up by 1, 2 and 4 lanes, which a mask keeps from crossing a
step that forgets; the memory before is added in the lanes that none comes before. The masks of 64 steps are made at
once.

    step    x  rule        moved by 1, 2, 4 where no step between forgets
    0       a  add         a            a            a               + memory
    1       b  add         a+b          a+b          a+b             + memory
    2       c  reset       0            0            0
    3       d  add         d            d            d

A restart forgets, as a reset does, and adds.

Within the eight steps sums associate as ((a+b)+(c+d)), not in turn; float64 keeps the difference far below float32's
rounding. What a step gives depends on the steps since the last that forgets alone, counted from the same multiples of
64, so threads may begin wherever a memory is known.
"""

from fastcell._jit import inline, kernel
from fastcell.scan.arrays import element
from fastcell.scan.rules import forgets, takes
from fastcell.simd.tiles import load_bytes, load_square, store_square
from fastcell.simd.vector import (
    FLOAT32,
    FLOAT64,
    INT8,
    convert,
    first_lane,
    last_lane,
    load,
    load_first,
    load_scalar,
    mask_at,
    mask_bits,
    prefetch,
    rotate,
    scratch,
    select,
    splat,
    store,
    store_first,
    store_scalar,
)

STEPS = 64
"""Steps whose masks are made at once; pieces of a column begin at multiples of it."""

LONG = 512  # steps from which a column's own are prefetched; of shorter ones, those of the columns 32 on

_FIRST = 0x0101010101010101  # lane 0 of each eight
_FIRST_2 = 0x0303030303030303
_FIRST_4 = 0x0F0F0F0F0F0F0F0F
_ADD, _SHOW, _BY_1, _BY_2, _BY_4, _BEFORE = range(0, 48, 8)  # where each mask of 64 bits stands
_KEEP, _SHOWN = 8, 16  # and those of a square, after _ADD


@inline
def _masks(rules, shows, at):
    """Write the masks of 64 steps to `at`."""
    forget = mask_bits(forgets(rules))
    by_1 = forget | ((forget << 1) & ~_FIRST)  # here or one step before, in the same eight
    by_2 = by_1 | ((by_1 << 2) & ~_FIRST_2)
    by_4 = by_2 | ((by_2 << 4) & ~_FIRST_4)
    store_scalar(at + _ADD, mask_bits(takes(rules)))
    store_scalar(at + _SHOW, mask_bits(shows == 1))
    store_scalar(at + _BY_1, ~(forget | _FIRST))
    store_scalar(at + _BY_2, ~(by_1 | _FIRST_2))
    store_scalar(at + _BY_4, ~(by_2 | _FIRST_4))
    store_scalar(at + _BEFORE, ~by_4)


@inline
def _eight(x, at, memory):
    """The memory after each of eight steps, of which `x` are the values and whose masks stand at `at`."""
    a = select(mask_at(at + _ADD, 8), convert(x, FLOAT64), 0.0)
    a = select(mask_at(at + _BY_1, 8), a + rotate(a, 1), a)
    a = select(mask_at(at + _BY_2, 8), a + rotate(a, 2), a)
    a = select(mask_at(at + _BY_4, 8), a + rotate(a, 4), a)
    return select(mask_at(at + _BEFORE, 8), a + memory, a)


@inline
def _shown(a, at, fill):
    return select(mask_at(at + _SHOW, 8), convert(a, fill), fill)


@inline
def _full(x, y, t, at, memory, show, fill):
    """Eight steps from t on; returns the memory after them."""
    here = _eight(load(x + t * 4, FLOAT32, 8), at, memory)
    if show:
        store(y + t * 4, _shown(here, at, fill))
    return last_lane(here)


@kernel
def toy_eights(x1, x2, x3, y, a, start, stop, first, last, fill):
    """Steps `start`, a multiple of STEPS, to `stop` of the columns `first` to `last`; a is (B,), read and written.

    Arrays as in toy_kernels.py, their steps side by side; y's address is 0 where the memories alone are wanted.
    """
    at = scratch(64)
    for b in range(first, last):
        memory = splat(load_scalar(a + b * 8, FLOAT64), 8)
        p1, p2, p3, py = element(x1, 0, b), element(x2, 0, b), element(x3, 0, b), element(y, 0, b)
        writes = y[0] != 0
        for t in range(start, stop, STEPS):
            left = stop - t
            if left >= STEPS:
                _masks(load(p2 + t, INT8, 64), load(p3 + t, INT8, 64), at)
                for k in range(8):
                    memory = _full(p1, py, t + 8 * k, at + k, memory, writes, fill)
            else:  # no step is read that isn't there
                _masks(load_first(p2 + t, INT8, left, 64), load_first(p3 + t, INT8, left, 64), at)
                whole = left // 8
                for k in range(whole):
                    memory = _full(p1, py, t + 8 * k, at + k, memory, writes, fill)
                if 8 * whole < left:
                    place, count = (t + 8 * whole) * 4, left - 8 * whole
                    here = _eight(load_first(p1 + place, FLOAT32, count, 8), at + whole, memory)
                    memory = last_lane(here)  # steps that aren't there keep it
                    if writes:
                        store_first(py + place, _shown(here, at + whole, fill), count)
        store_scalar(a + b * 8, first_lane(memory))


@inline
def _tile_step(x, at, memory, fill):
    """One step of eight columns: y and the memory."""
    kept = select(mask_at(at + _KEEP, 8), memory, 0.0)
    memory = select(mask_at(at + _ADD, 8), kept + convert(x, FLOAT64), kept)
    return select(mask_at(at + _SHOWN, 8), convert(memory, fill), fill), memory


@inline
def _tile(x1, x2, x3, y, t, b, at, memory, fill, left):
    """Eight steps of eight columns, `left` of them where it is no None; returns the memories after them."""
    rules, shows = load_bytes(element(x2, t, b), x2[2], left), load_bytes(element(x3, t, b), x3[2], left)
    store_scalar(at + _ADD, mask_bits(takes(rules)))
    store_scalar(at + _KEEP, mask_bits(~forgets(rules)))
    store_scalar(at + _SHOWN, mask_bits(shows == 1))
    x_0, x_1, x_2, x_3, x_4, x_5, x_6, x_7 = load_square(element(x1, t, b), x1[2], FLOAT32, left)
    y_0, memory = _tile_step(x_0, at, memory, fill)
    y_1, memory = _tile_step(x_1, at + 1, memory, fill)
    y_2, memory = _tile_step(x_2, at + 2, memory, fill)
    y_3, memory = _tile_step(x_3, at + 3, memory, fill)
    y_4, memory = _tile_step(x_4, at + 4, memory, fill)
    y_5, memory = _tile_step(x_5, at + 5, memory, fill)
    y_6, memory = _tile_step(x_6, at + 6, memory, fill)
    y_7, memory = _tile_step(x_7, at + 7, memory, fill)
    store_square(element(y, t, b), y[2], (y_0, y_1, y_2, y_3, y_4, y_5, y_6, y_7), left)
    return memory


@inline
def _ask(array, t, b, ahead):
    """Prefetch what eight columns need next: more streams than the hardware follows by itself."""
    for k in range(8):
        prefetch(element(array, t, b + k) + ahead)


@inline
def _ahead(array, T, ahead):
    """Where the next steps are that are not on their way yet: `ahead` bytes on, or in the columns after."""
    return ahead if T >= LONG else 32 * array[2]


@kernel
def toy_tiles(x1, x2, x3, y, a, T, first, last, fill):
    """All steps of the columns `first` to `last`, whole eights of them; arguments as above, y is written."""
    at = scratch(64)
    whole = T // 8 * 8
    for b in range(first, last, 8):
        memory = load(a + b * 8, FLOAT64, 8)
        for t in range(0, whole, 8):
            if t % 16 == 0:
                _ask(x1, t, b, _ahead(x1, T, 512))
                _ask(y, t, b, _ahead(y, T, 512))
                if t % 64 == 0:
                    _ask(x2, t, b, _ahead(x2, T, 256))
                    _ask(x3, t, b, _ahead(x3, T, 256))
            memory = _tile(x1, x2, x3, y, t, b, at, memory, fill, None)
        if whole < T:
            memory = _tile(x1, x2, x3, y, whole, b, at, memory, fill, T - whole)
        store(a + b * 8, memory)


@kernel
def last_forgotten(x2, stop):
    """The last step before `stop` at which the single column forgets; -1 if there is none."""
    for t in range(stop - 1, -1, -1):
        rule = load_scalar(element(x2, t, 0), INT8)
        if rule == -1 or rule == 2:
            return t
    return -1
