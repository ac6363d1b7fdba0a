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
from fastcell.lstm.meeting import (
    Share,
    active_at,
    call_members,
    enter,
    hall_rooms,
    leave,
    meet,
    members,
    members_of,
    settle,
    steps_of_next,
    task_of,
    wait_for_call,
    x_row,
)
from fastcell.lstm.products import (
    begin_unit,
    end_unit,
    operand,
    operand_at,
    products,
    products_here,
    rough_of,
    sums_of,
)
from fastcell.simd.matrix import ROOM
from fastcell.simd.vector import (
    INT8,
    INT64,
    load,
    load_first,
    load_scalar,
    scratch,
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
def lstm_layer(layer, special, call, begin, last, block, stretch, kind, meeting):
    """One layer, one direction, rows `begin` to `last`. The states are read, where they are given, and written.

    layer, call: blocks of `layout`, behind the call's header scratch for `block` rows and a stretch of `stretch` rows
    and steps. special: None for sigmoid, tanh, tanh and nothing more. kind: a zero of the arithmetic's. meeting: the
    hall of one that this thread leads, or 0; without a call, of one in which it helps, in whatever layer it is told.
    """
    first, count, s, longest, active, filled, met = np.int64(begin), NONE, NONE, NONE, NONE, NONE, NONE
    rank, word, alone = NONE, NONE, False
    if call == 0:
        rank = enter(meeting)
        if rank == 0:
            return
    unit = begin_unit(kind, np.int64(scratch(ROOM)))
    while True:
        if call == 0:
            word = wait_for_call(meeting, rank, word)
            if word == 0:
                break
            layer, s, end, active, filled, met = task_of(meeting)
            many, size = members_of(word), sizes_of(layer)
            room = hall_rooms(meeting, size, block, rank, kind)
        else:
            size = sizes_of(layer)
            own = rooms(call, size, block, stretch)
            if s == longest:
                if count != 0:
                    _store_states(layer, call, size, own, first, count, kind)
                    first += block
                if first >= last:
                    break
                count, s, longest = min(block, last - first), NONE, _end(call, _row(call, first))
                _load_states(layer, call, size, own, first, count, kind)
                alone = False
                if longest == 0:
                    continue
            many, active = members(meeting), _active(call, first, count, s)
            room, end = own, min(s + max(stretch // count, 1), longest)
            if many > 1:
                room, end = hall_rooms(meeting, size, block, rank, kind), min(s + steps_of_next(meeting), longest)
                _copy_states(size, own, room, block, kind)
                _reset(layer, call, size, room, first, active, s, kind)
            filled, end = _gather(layer, call, size, room, first, active, s, end, kind, NONE if many == 1 else meeting)
            if many > 1:
                met = call_members(meeting, many, layer, s, end, active, filled)
        if many > 1 or not alone:  # else they are there from the stretch before
            _make_h_operands(layer, size, room, active, s, kind)
        share = Share(size.groups * rank // many, size.groups * (rank + 1) // many, meeting, many, rank, met)
        w_x = of_layer(layer, "w_x_group")
        products(
            kind, (part_of(layer, "bias") + share.begin * GROUP, NONE),
            (room.gates + share.begin * GROUP, size.gate_row), share.end - share.begin,
            size.last if share.end == size.groups else 4,
            (part_of(layer, "w_x") + share.begin * w_x, w_x, size.inputs), (room.x_table, NONE), filled,
            unit,
        )  # fmt: skip
        gates, q = room.gates, s
        while q < end:
            if call == 0:
                active = load_scalar(active_at(meeting, q - s), INT64)
            else:
                active = _active(call, first, active, q)
                if many == 1 and of_call(call, "reset") != 0:
                    _reset(layer, call, size, room, first, active, q, kind)
            _step(layer, special, size, room, active, q, gates, share, kind, unit)
            if many > 1 and not meet(share, q - s):
                break
            _finish(layer, call, size, room, first, active, q, kind)
            gates += active * size.gate_row
            q += 1
            if many == 1 and members(meeting) > 1:  # someone has come
                break
        void = many > 1 and q < end
        if call == 0:
            if void:
                break
            continue
        alone = many == 1
        if many > 1:
            settle(meeting, void)
            if void:
                continue
            _copy_states(size, room, own, block, kind)
        s = q
    end_unit(unit)
    if call == 0:
        leave(meeting, True)


@inline
def _active(call, first, active, q):
    """How many rows, the longest ones, have a q-th step, which one has."""
    while _end(call, _row(call, first + active - 1)) <= q:
        active -= 1
    return active


@helper
def _copy_states(size, source, to, block, kind):
    """h and c of a block's rows, as they were and are, from one room to another."""
    _copy_row(source.h, to.h, block * (2 * size.h_row + size.c_row), sums_of(kind))


@inline
def _h_of(room, size, r, q):
    """Where row r's h is before its q-th step."""
    return room.h + (room.flip if q & 1 else NONE) + r * size.h_row


@helper
def _make_h_operands(layer, size, room, active, s, kind):
    """Tell the products where the operands of h before step s are; those that are values, as they lie at even steps."""
    for r in range(active):
        at = _h_operand(layer, size, room, r, _h_of(room, size, r, s), kind)
        store_scalar(room.h_table + r * 8, at - (room.flip if size.h_operand == 0 and s & 1 else NONE))


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
        full = room.full + r * size.c_row
        store_scalar(room.p_table + r * 8, full if size.p_operand == 0 else room.p_operands + r * size.p_operand)


@helper
def _gather(layer, call, size, room, first, active, s, end, kind, meeting):
    """Tell the products where the operands of x are, steps s to `end` of each row that has them.

    Returns how many, and the end. In a meeting it comes before a step that resets a row, x is copied, which members
    are not to read itself, and it is written down how many rows have which step.
    """
    x = place(call, of_layer(layer, "source"))
    filled = NONE
    for q in range(s, end):
        for r in range(active):
            b = _row(call, first + r)
            if q >= _end(call, b):
                active = r
                break
            if meeting != 0 and q > s and of_call(call, "reset") != 0 and _resets(layer, call, b, q):
                return filled - r, q
            at = _step_of(call, layer, x, b, q)
            at = operand_at(kind, at, room.x_operands, filled, size.x_operand, size.inputs, 0.0)
            if meeting != 0 and size.x_operand == 0:
                to = np.int64(room.x_operands + filled * x_row(size, kind))
                copy_values(at, to, size.inputs, sums_of(kind))
                at = to
            store_scalar(room.x_table + filled * 8, at)
            filled += 1
        if meeting != 0:
            store_scalar(active_at(meeting, q - s), np.int64(active))
    return filled, end


@inline
def _step(layer, special, size, room, active, q, gates, share, kind, unit):
    """The q-th step of the first `active` rows, to whose gates x's products are summed: a share of the new c and h."""
    like, rough, more = sums_of(kind), rough_of(kind), None if special is None else special_of(layer)
    old, new = (room.flip, NONE) if q & 1 else (NONE, room.flip)
    h_new, h_new_row = (room.h + new, size.h_row) if size.p_groups == 0 else (room.full, size.c_row)
    rows = room.h_table, old if size.h_operand == 0 else NONE
    many = 2 if active == 1 else 1
    pieces = (share.end - share.begin + many - 1) // many
    group_bytes = of_layer(layer, "w_h_group")
    w_h = part_of(layer, "w_h")
    for piece in range(pieces):  # alternate steps visit the groups in opposite order: the cache holds the last ones
        g = share.begin + many * (pieces - 1 - piece if q & 1 else piece)
        wide = min(many, share.end - g)
        last = size.last if g + wide == size.groups else 4
        here = gates + g * GROUP, size.gate_row
        w_g = w_h + g * group_bytes, -group_bytes if many == 1 and q & 1 else group_bytes, size.returned
        products_here(kind, here, here, wide, last, w_g, rows, active, unit)
        for k in range(g, g + wide):
            advance(
                (gates + k * GROUP, size.gate_row), (room.c + k * VECTOR, size.c_row), (h_new + k * VECTOR, h_new_row),
                active, last if k + 1 == g + wide else 4, k, more, like,
                rough,
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
            unit,
        )  # fmt: skip


@inline
def _finish(layer, call, size, room, first, active, q, kind):
    """Make operands of the q-th step's h, and y, which the call is for."""
    like, h = sums_of(kind), _h_of(room, size, NONE, q + 1)
    if size.h_operand != 0:
        for r in range(active):
            _h_operand(layer, size, room, r, h + r * size.h_row, kind)
    if call != 0:
        y = place(call, of_layer(layer, "to"))
        beside = of_layer(layer, "direction") * size.returned * size_of(like)
        for r in range(active):
            to = _step_of(call, layer, y, _row(call, first + r), q) + beside
            copy_values(h + r * size.h_row, to, size.returned, like)


@inline
def _resets(layer, call, b, q):
    """Whether row b's q-th step has a flag."""
    at = of_call(call, "reset") + _time(call, layer, b, q) * of_call(call, "reset_step")
    return load_scalar(at + b * of_call(call, "reset_row"), INT8) != 0


@helper
def _reset(layer, call, size, room, first, active, q, kind):
    """Set the rows whose flag says so to what they begin with."""
    for r in range(active):
        if of_call(call, "reset") != 0 and _resets(layer, call, _row(call, first + r), q):
            h = _h_of(room, size, r, q)
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
