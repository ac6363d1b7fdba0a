"""The LSTM's loops: one layer, one direction, over all steps of a range of rows.

Each gate is one chain: bias, then x's products upward, then h's, whatever the batch around a row: the same bits always.

A block of rows goes through time in stretches. x's products of a whole stretch come first, as one matrix product in
which every step of every row is a row; then, step by step, h's products are added and the cell is updated. Between
the two a gate waits in the cache, which costs little beside its fma and keeps the weights of one half there at a time.
"""

import numpy as np

from fastcell._jit import helper, inline, kernel
from fastcell.lstm.gates import advance, special_of
from fastcell.lstm.layout import GROUP, VECTOR, of_call, of_layer, part_of, place, rooms, sizes_of
from fastcell.lstm.products import operand, operand_at, products, products_here, sums_of
from fastcell.simd.vector import (
    INT8,
    INT64,
    load,
    load_first,
    load_scalar,
    size_of,
    store,
    store_first,
    store_scalar,
    width,
    zeros,
)

NONE = np.int64(0)
"""Of the same type as what is computed, so that a function is compiled for one type."""


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
def _copy_row(source, to, size, like):
    """Copy a padded row of so many bytes: whole vectors."""
    for k in range(0, size, VECTOR):
        store(to + k, load(source + k, like))


@inline
def _row(call, k):
    """The row that is the k-th in the order in which they run."""
    order = of_call(call, "order")
    return k if order == 0 else load_scalar(order + 8 * k, INT64)


@inline
def _end(call, b):
    """How many steps row b has."""
    counts = of_call(call, "counts")
    return of_call(call, "steps") if counts == 0 else load_scalar(counts + 8 * b, INT64)


@inline
def _time(call, layer, b, q):
    """Where in x and y row b's q-th step is; backwards from its end."""
    k = _end(call, b) - 1 - q if of_layer(layer, "backwards") != 0 else q
    times = of_call(call, "times")
    return (
        k if times == 0 else load_scalar(times + 8 * (load_scalar(of_call(call, "starts") + 8 * b, INT64) + k), INT64)
    )


@inline
def _step_of(call, layer, array, b, q):
    """Where row b's values of its q-th step begin in an array as `place` tells of it."""
    return array[0] + b * array[2] + _time(call, layer, b, q) * array[1]


@kernel
def lstm_layer(layer, special, call, begin, last, block, stretch, kind):
    """One layer, one direction, rows `begin` to `last`. The states are read, where they are given, and written.

    layer, call: blocks of `layout`, behind the call's header scratch for `block` rows and a stretch of `stretch` rows
    and steps. special: None for sigmoid, tanh, tanh and nothing more. kind: a zero of the arithmetic's.
    """
    more = None if special is None else special_of(layer)
    size = sizes_of(layer)
    room = rooms(call, size, block, stretch)
    for first in range(begin, last, block):
        count = min(block, last - first)
        _load_states(layer, call, size, room, first, count, kind)
        active = count
        s, longest = NONE, _end(call, _row(call, first))
        while s < longest:
            ahead = min(max(stretch // count, 1), longest - s)
            filled = _gather(layer, call, size, room, first, active, s, s + ahead, kind)
            products(
                kind, (part_of(layer, "bias"), NONE), (room.gates, size.gate_row), size.groups, size.last,
                (part_of(layer, "w_x"), of_layer(layer, "w_x_group"), size.inputs), (room.x_table, NONE), filled,
            )  # fmt: skip
            gates = room.gates
            for q in range(s, s + ahead):
                while _end(call, _row(call, first + active - 1)) <= q:
                    active -= 1
                _step(layer, more, call, size, room, first, active, q, gates, block, kind)
                gates += active * size.gate_row
            s += ahead
        _store_states(layer, call, size, room, first, count, kind)


@inline
def _state(layer, call, size, b, like):
    """Where row b's h and c are among the states."""
    row = of_layer(layer, "number") * of_call(call, "batch") + b
    return (
        of_call(call, "h") + row * size.returned * size_of(like),
        of_call(call, "c") + row * size.hidden * size_of(like),
    )  # fmt: skip


@inline
def _h_operand(layer, size, room, r, h, kind):
    """Where the operands of row r's h are."""
    return operand_at(kind, h, room.h_operands, r, size.h_operand, size.returned, of_layer(layer, "h_floor"))


@inline
def _begin(layer, size, room, r, h, kind):
    """Row r as it is where no state is given, and after a reset; h: where its h is to be."""
    like = sums_of(kind)
    _copy_row(part_of(layer, "first_h"), h, size.h_row, like)
    _copy_row(part_of(layer, "first_c"), room.c + r * size.c_row, size.c_row, like)


@helper
def _load_states(layer, call, size, room, first, count, kind):
    like = sums_of(kind)
    for r in range(count):
        h = room.h + r * size.h_row
        _begin(layer, size, room, r, h, kind)
        if of_call(call, "given") != 0:
            given_h, given_c = _state(layer, call, size, _row(call, first + r), like)
            copy_values(given_h, h, size.returned, like)
            copy_values(given_c, room.c + r * size.c_row, size.hidden, like)
        store_scalar(room.h_table + r * 8, _h_operand(layer, size, room, r, h, kind))
        full = room.full + r * size.c_row
        store_scalar(room.p_table + r * 8, full if size.p_operand == 0 else room.p_operands + r * size.p_operand)


@helper
def _gather(layer, call, size, room, first, active, s, end, kind):
    """Tell the products where the operands of x are, steps s to end of each row that has them; returns how many."""
    x = place(call, of_layer(layer, "source"))
    filled = 0
    for q in range(s, end):
        for r in range(active):
            b = _row(call, first + r)
            if q >= _end(call, b):
                active = r
                break
            at = _step_of(call, layer, x, b, q)
            at = operand_at(kind, at, room.x_operands, filled, size.x_operand, size.inputs, 0.0)
            store_scalar(room.x_table + filled * 8, at)
            filled += 1
    return filled


@inline
def _step(layer, special, call, size, room, first, active, q, gates, block, kind):
    """The q-th step of the first `active` rows, to whose gates x's products are summed."""
    like = sums_of(kind)
    old, new = (room.flip, NONE) if q & 1 else (NONE, room.flip)
    _reset(layer, call, size, room, first, active, q, old, kind)
    h_new, h_new_row = (room.h + new, size.h_row) if size.p_groups == 0 else (room.full, size.c_row)
    many = 2 if active == 1 else 1
    pieces = (size.groups + many - 1) // many
    group_bytes = of_layer(layer, "w_h_group")
    w_h = part_of(layer, "w_h")
    for piece in range(pieces):  # alternate steps visit the groups in opposite order: the cache holds the last ones
        g = many * (pieces - 1 - piece if q & 1 else piece)
        wide = min(many, size.groups - g)
        last = size.last if g + wide == size.groups else 4
        here = gates + g * GROUP, size.gate_row
        products_here(
            kind, here, here, wide, last, (w_h + g * group_bytes, group_bytes, size.returned), (room.h_table, old),
            active,
        )  # fmt: skip
        for k in range(g, g + wide):
            advance(
                (gates + k * GROUP, size.gate_row), (room.c + k * VECTOR, size.c_row), (h_new + k * VECTOR, h_new_row),
                active, last if k + 1 == g + wide else 4, k, special, like,
            )  # fmt: skip
    if size.p_groups != 0:
        if size.p_operand != 0:
            for r in range(active):
                operand(
                    kind, room.full + r * size.c_row, room.p_operands + r * size.p_operand, size.hidden,
                    of_layer(layer, "p_floor"),
                )  # fmt: skip
        products(
            kind, (part_of(layer, "zeros"), NONE), (room.h + new, size.h_row), size.p_groups, size.p_last,
            (part_of(layer, "w_p"), of_layer(layer, "w_p_group"), size.hidden), (room.p_table, NONE), active,
        )  # fmt: skip
    y = place(call, of_layer(layer, "to"))
    beside = of_layer(layer, "direction") * size.returned * size_of(like)
    for r in range(active):
        h = room.h + new + r * size.h_row
        _h_operand(layer, size, room, r, h, kind)
        copy_values(h, _step_of(call, layer, y, _row(call, first + r), q) + beside, size.returned, like)


@inline
def _reset(layer, call, size, room, first, active, q, old, kind):
    """Set the rows whose flag says so to what they begin with."""
    flags = of_call(call, "reset")
    if flags == 0:
        return
    for r in range(active):
        b = _row(call, first + r)
        t = _time(call, layer, b, q)
        if load_scalar(flags + t * of_call(call, "reset_step") + b * of_call(call, "reset_row"), INT8) != 0:
            h = room.h + old + r * size.h_row
            _begin(layer, size, room, r, h, kind)
            _h_operand(layer, size, room, r, h, kind)


@helper
def _store_states(layer, call, size, room, first, count, kind):
    """Write the final states, and zeros where y has steps after a row's end."""
    like = sums_of(kind)
    y = place(call, of_layer(layer, "to"))
    beside = of_layer(layer, "direction") * size.returned * size_of(like)
    for r in range(count):
        b = _row(call, first + r)
        end = _end(call, b)
        h, c = _state(layer, call, size, b, like)
        copy_values(room.h + (room.flip if end & 1 else 0) + r * size.h_row, h, size.returned, like)
        copy_values(room.c + r * size.c_row, c, size.hidden, like)
        for t in range(end, of_call(call, "steps") if of_call(call, "times") == 0 else end):
            _zero(y[0] + b * y[2] + t * y[1] + beside, size.returned, like)
