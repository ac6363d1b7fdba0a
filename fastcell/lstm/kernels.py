"""The LSTM's loops: one layer, one direction, over all steps of a range of rows.

Vectors run over hidden units: a group is as many as fill a register, padded with units of weight zero. Weights lie as
(groups, K, 4, lanes), the four gates i, f, g, o of a group side by side. Each gate is one chain of fma, bias, then
x's values upward, then h's, whatever the batch around a row: the same bits always.

A block of rows goes through time in stretches. x's products of a whole stretch come first, as one matrix product in
which every step of every row is a row; then, step by step, h's products are added and the cell is updated. Between
the two a gate waits in the cache, which costs little beside its fma and keeps the weights of one half there at a time.
"""

import numpy as np

from fastcell._jit import VECTOR_BITS, inline, kernel
from fastcell.simd.activations import activate, sigmoid, sigmoid_parts, tanh_parts
from fastcell.simd.tiles import multiply_add
from fastcell.simd.vector import (
    FLOAT64,
    INT8,
    INT64,
    fma,
    load,
    load_first,
    load_scalar,
    select,
    size_of,
    store,
    store_first,
    store_scalar,
    width,
    zeros,
)

TILE = 6 if VECTOR_BITS == 512 else 3
"""Rows of a tile: 24 sums in 32 registers, or 12 in 16."""


@inline
def _tile(start, start_row, to, to_row, w, w_group, rows_at, offset, steps, count, like):
    if TILE == 6:
        if count == 6:
            multiply_add(start, start_row, to, to_row, w, w_group, rows_at, offset, steps, like, 6, 1)
            return
        if count == 5:
            multiply_add(start, start_row, to, to_row, w, w_group, rows_at, offset, steps, like, 5, 1)
            return
        if count == 4:
            multiply_add(start, start_row, to, to_row, w, w_group, rows_at, offset, steps, like, 4, 1)
            return
    if count == 3:
        multiply_add(start, start_row, to, to_row, w, w_group, rows_at, offset, steps, like, 3, 1)
    elif count == 2:
        multiply_add(start, start_row, to, to_row, w, w_group, rows_at, offset, steps, like, 2, 1)
    elif count == 1:
        multiply_add(start, start_row, to, to_row, w, w_group, rows_at, offset, steps, like, 1, 1)


@inline
def products(start, start_row, to, to_row, groups, w, w_group, rows_at, offset, steps, count, like):
    """Add w times each of `count` rows of x to `start`, into `to`, for `groups` groups; rows in tiles of equal size."""
    group_bytes = 4 * width(like) * size_of(like)
    g = 0
    if count == 1:  # two groups at once: a sum need not wait for the one before it
        while g + 2 <= groups:
            here = g * group_bytes
            multiply_add(
                start + here, start_row, to + here, to_row, w + g * w_group, w_group, rows_at, offset, steps, like, 1, 2
            )  # fmt: skip
            g += 2
    tiles = (count + TILE - 1) // TILE
    small = count // max(tiles, 1)
    large = count - small * tiles  # so many tiles have one row more
    while g < groups:
        row = 0
        for tile in range(tiles):
            many = small + 1 if tile < large else small
            _tile(
                start + g * group_bytes + row * start_row,
                start_row,
                to + g * group_bytes + row * to_row,
                to_row,
                w + g * w_group,
                w_group,
                rows_at + row * 8,
                offset,
                steps,
                many,
                like,
            )
            row += many
        g += 1


@inline
def _clamp(x, limit):
    x = select(x < -limit, -limit, x)
    return select(x > limit, limit, x)


@inline
def _activate(x, activations, which):
    at = activations + 24 * which
    return activate(x, load_scalar(at, FLOAT64), load_scalar(at + 8, FLOAT64), load_scalar(at + 16, FLOAT64))


@inline
def advance(gates, c_at, h_at, unit, special, like):
    """c = f * c + i * g and h = o * tanh(c), for the units of one vector in one row."""
    v = width(like) * size_of(like)
    i, f, g, o = load(gates, like), load(gates + v, like), load(gates + 2 * v, like), load(gates + 3 * v, like)
    c = load(c_at, like)
    if special is None:
        (i, i_part), (g, g_part) = sigmoid_parts(i), tanh_parts(g)
        c = fma(sigmoid(f), c, (i * g) / (i_part * g_part))
        store(c_at, c)
        (o, o_part), (h, h_part) = sigmoid_parts(o), tanh_parts(c)
        store(h_at, (o * h) / (o_part * h_part))
    else:
        activations, peephole, clip, coupled = special
        at = peephole + unit * 3 * v
        if peephole != 0:
            i, f = fma(load(at, like), c, i), fma(load(at + v, like), c, f)
        i = _activate(_clamp(i, clip), activations, 0)
        f = 1.0 - i if coupled else _activate(_clamp(f, clip), activations, 0)
        c = fma(f, c, i * _activate(_clamp(g, clip), activations, 1))
        if peephole != 0:
            o = fma(load(at + 2 * v, like), c, o)
        store(c_at, c)
        store(h_at, _activate(_clamp(o, clip), activations, 0) * _activate(c, activations, 2))


@inline
def copy_values(source, to, count, like):
    v = width(like)
    k = 0
    while k + v <= count:
        store(to + k * size_of(like), load(source + k * size_of(like), like))
        k += v
    if k < count:
        store_first(to + k * size_of(like), load_first(source + k * size_of(like), like, count - k), count - k)


@inline
def _zero(to, count, like):
    v = width(like)
    k = 0
    while k + v <= count:
        store(to + k * size_of(like), zeros(like))
        k += v
    while k < count:
        store_scalar(to + k * size_of(like), like)
        k += 1


@inline
def _begin(source, to, count, like):
    """Copy a padded row of an initial state: whole vectors."""
    for k in range(0, count * size_of(like), width(like) * size_of(like)):
        store(to + k, load(source + k, like))


@inline
def _row(order, k):
    return k if order == 0 else load_scalar(order + 8 * k, INT64)


@inline
def _end(ends, b, T):
    return T if ends == 0 else load_scalar(ends + 8 * b, INT64)


@inline
def weights_at(layer):
    """The addresses of a layer's weights: of x, of h, bias, of the projection or 0, zeros."""
    return (
        load_scalar(layer, INT64),
        load_scalar(layer + 8, INT64),
        load_scalar(layer + 16, INT64),
        load_scalar(layer + 24, INT64),
        load_scalar(layer + 32, INT64),
    )


@inline
def sizes_at(layer):
    """I, H and R of a layer, R the values of h that return: H without a projection."""
    return load_scalar(layer + 40, INT64), load_scalar(layer + 48, INT64), load_scalar(layer + 56, INT64)


@inline
def special_at(layer):
    """The address of the activations, that of the peepholes or 0, clip, and whether i and f are coupled."""
    return (
        load_scalar(layer + 64, INT64),
        load_scalar(layer + 72, INT64),
        load_scalar(layer + 80, FLOAT64),
        load_scalar(layer + 88, INT64) != 0,
    )


@inline
def initial_at(layer):
    """The addresses of the h and c that a row has where no state is given and after a reset, padded as in scratch."""
    return load_scalar(layer + 96, INT64), load_scalar(layer + 104, INT64)


CALL = 128
"""Bytes of scratch, before its parts, that tell where a call's arrays are."""


@inline
def _write(at, array):
    store_scalar(at, np.int64(array.ctypes.data))
    store_scalar(at + 8, np.int64(array.strides[0]))
    store_scalar(at + 16, np.int64(array.strides[1]))


@kernel
def describe(x, y, spare, h, c, room):
    """Write down where a call's arrays are, at the first multiple of 64 in `room`; returns its address.

    x, y, spare: (T, B, ...), of which each row is side by side.  h, c: (L*D, B, ...), side by side.
    """
    at = (room.ctypes.data + 63) // 64 * 64
    _write(at, x)
    _write(at + 24, y)
    _write(at + 48, spare)
    store_scalar(at + 72, np.int64(h.ctypes.data))
    store_scalar(at + 80, np.int64(c.ctypes.data))
    store_scalar(at + 88, np.int64(h.shape[1]))
    return at


@inline
def _place(call, which):
    """An array's address, step and row."""
    at = call + 24 * which
    return load_scalar(at, INT64), load_scalar(at + 8, INT64), load_scalar(at + 16, INT64)


@inline
def _parts(room, block, stretch, hidden, returned, projected, like):
    """Where in the scratch each part begins: gates, h, h before its projection, c, two tables."""
    v = width(like)
    c_row = (hidden + v - 1) // v * v * size_of(like)
    h_row = (returned + 4 * v - 1) // (4 * v) * 4 * v * size_of(like) if projected else c_row
    hs = room + stretch * 4 * c_row
    full = hs + 2 * block * h_row
    cs = full + (block * c_row if projected else 0)
    x_table = cs + block * c_row
    return room, hs, full, cs, x_table, x_table + 8 * stretch


@kernel
def lstm_layer(
    layer, call, source, to, number, direction, given, order, ends, reset, reset_t, reset_b, T, first, last, backwards,
    block, stretch, like,
):  # fmt: skip
    """One layer, one direction, rows `first` to `last`. The states are read, where they are `given`, and written.

    layer: its table, as `weights_at`, `sizes_at` and `initial_at` read it. call: as `describe` wrote it, scratch behind
    it for `block` rows and a stretch of `stretch` rows and steps. source, to: 0 for x, 1 for y, 2 for spare. number:
    the layer's among the states. order, ends: rows by falling length and each row's steps, int64, or 0. reset: flags,
    or 0.
    """
    _layer(
        layer, None, call, source, to, number, direction, given, order, ends, (reset, reset_t, reset_b), T,
        (first, last), backwards, block, stretch, like,
    )  # fmt: skip


@kernel
def lstm_layer_special(
    layer, call, source, to, number, direction, given, order, ends, reset, reset_t, reset_b, T, first, last, backwards,
    block, stretch, like,
):  # fmt: skip
    """`lstm_layer` with other activations, peepholes, a clip or coupled gates: what `special_at` reads."""
    _layer(
        layer, special_at(layer), call, source, to, number, direction, given, order, ends, (reset, reset_t, reset_b),
        T, (first, last), backwards, block, stretch, like,
    )  # fmt: skip


@inline
def _layer(
    layer, special, call, source, to, number, direction, given, order, ends, reset, T, rows, backwards, block, stretch,
    like,
):  # fmt: skip
    inputs, hidden, returned = sizes_at(layer)
    w_x, w_h, bias, w_p, nothing = weights_at(layer)
    h_0, c_0 = initial_at(layer)
    gates, hs, full, cs, x_table, h_table = _parts(call + CALL, block, stretch, hidden, returned, w_p != 0, like)
    x, y = _place(call, source), _place(call, to)
    y = (y[0] + direction * returned * size_of(like), y[1], y[2])
    earlier = number * load_scalar(call + 88, INT64)
    h = load_scalar(call + 72, INT64) + earlier * returned * size_of(like)
    c = load_scalar(call + 80, INT64) + earlier * hidden * size_of(like)
    size, v = size_of(like), width(like)
    groups = (hidden + v - 1) // v
    group_bytes = 4 * v * size
    gate_row, c_row = groups * group_bytes, groups * v * size
    p_groups = (returned + 4 * v - 1) // (4 * v)
    h_row = c_row if w_p == 0 else p_groups * group_bytes
    dx, dy = (-x[1], -y[1]) if backwards else (x[1], y[1])
    for first in range(rows[0], rows[1], block):
        count = min(block, rows[1] - first)
        flip = block * h_row
        for r in range(count):
            b = _row(order, first + r)
            _begin(h_0, hs + r * h_row, h_row // size, like)
            _begin(c_0, cs + r * c_row, c_row // size, like)
            if given:
                copy_values(h + b * returned * size, hs + r * h_row, returned, like)
                copy_values(c + b * hidden * size, cs + r * c_row, hidden, like)
            store_scalar(h_table + r * 8, hs + r * h_row)
        longest = _end(ends, _row(order, first), T)
        s = 0
        active = count
        while s < longest:
            ahead = min(max(stretch // count, 1), longest - s)
            filled = 0
            here = active
            for q in range(s, s + ahead):
                for r in range(here):
                    b = _row(order, first + r)
                    end = _end(ends, b, T)
                    if q >= end:
                        here = r
                        break
                    start = x[0] + b * x[2] + ((end - 1) * x[1] if backwards else 0)
                    store_scalar(x_table + filled * 8, start + q * dx)
                    filled += 1
            products(bias, 0, gates, gate_row, groups, w_x, inputs * group_bytes, x_table, 0, inputs, filled, like)
            at = gates
            for q in range(s, s + ahead):
                while _end(ends, _row(order, first + active - 1), T) <= q:
                    active -= 1
                old, new = (flip, 0) if q & 1 else (0, flip)
                if reset[0] != 0:
                    for r in range(active):
                        b = _row(order, first + r)
                        if load_scalar(reset[0] + q * reset[1] + b * reset[2], INT8) != 0:
                            _begin(h_0, hs + old + r * h_row, h_row // size, like)
                            _begin(c_0, cs + r * c_row, c_row // size, like)
                h_new, h_new_row = (hs + new, h_row) if w_p == 0 else (full, c_row)
                many = 2 if active == 1 else 1
                pieces = (groups + many - 1) // many
                for piece in range(pieces):  # there and back: the cache still holds the weights of the last ones
                    g = many * (pieces - 1 - piece if q & 1 else piece)
                    wide = min(many, groups - g)
                    here_at = at + g * group_bytes
                    products(
                        here_at, gate_row, here_at, gate_row, wide, w_h + g * returned * group_bytes,
                        returned * group_bytes, h_table, old, returned, active, like,
                    )  # fmt: skip
                    for r in range(active):
                        for k in range(g, g + wide):
                            advance(
                                at + r * gate_row + k * group_bytes, cs + r * c_row + k * v * size,
                                h_new + r * h_new_row + k * v * size, k, special, like,
                            )  # fmt: skip
                if w_p != 0:
                    for r in range(active):
                        store_scalar(h_table + (block + r) * 8, full + r * c_row)
                    products(
                        nothing,
                        0,
                        hs + new,
                        h_row,
                        p_groups,
                        w_p,
                        hidden * group_bytes,
                        h_table + block * 8,
                        0,
                        hidden,
                        active,
                        like,
                    )
                for r in range(active):
                    b = _row(order, first + r)
                    end = _end(ends, b, T)
                    start = y[0] + b * y[2] + ((end - 1) * y[1] if backwards else 0)
                    copy_values(hs + new + r * h_row, start + q * dy, returned, like)
                at += active * gate_row
            s += ahead
        for r in range(count):
            b = _row(order, first + r)
            end = _end(ends, b, T)
            last = flip if end & 1 else 0
            copy_values(hs + last + r * h_row, h + b * returned * size, returned, like)
            copy_values(cs + r * c_row, c + b * hidden * size, hidden, like)
            for t in range(end, T):
                _zero(y[0] + b * y[2] + t * y[1], returned, like)
