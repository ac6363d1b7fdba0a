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
    called,
    enter,
    hall_rooms,
    leave,
    meet,
    members,
    settle,
    steps_at_most,
    task_of,
    wait_for_call,
    x_row,
)
from fastcell.lstm.products import operand, operand_at, products, sums_of
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
def lstm_layer(layer, special, call, begin, last, block, stretch, kind, meeting):
    """One layer, one direction, rows `begin` to `last`. The states are read, where they are given, and written.

    layer, call: blocks of `layout`, behind the call's header scratch for `block` rows and a stretch of `stretch` rows
    and steps. special: None for sigmoid, tanh, tanh and nothing more. kind: a zero of the arithmetic's. meeting: the
    hall of one that this thread leads, or 0; without a call, of one in which it helps, in whatever layer it is told.
    """
    if call == 0:
        _help(meeting, special, block, kind)
        return
    size = sizes_of(layer)
    room = rooms(call, size, block, stretch)
    for first in range(begin, last, block):
        count = min(block, last - first)
        _load_states(layer, call, size, room, first, count, kind)
        s, longest = NONE, _end(call, _row(call, first))
        while s < longest:
            many, done = members(meeting), NONE
            if many > 1:
                done = _together(layer, special, call, size, room, first, count, s, longest, block, many, kind, meeting)
            if done == 0:
                ahead = min(max(stretch // count, 1), longest - s)
                active = _active(call, first, count, s)
                filled = _gather(layer, call, size, room, first, active, s, s + ahead, kind)
                share = Share(NONE, size.groups, np.int64(meeting), np.int64(1), NONE, NONE)
                done = _run(layer, special, call, size, room, first, active, s, ahead, filled, share, kind)
            s += done
        _store_states(layer, call, size, room, first, count, kind)


@helper
def _run(layer, special, call, size, room, first, active, s, ahead, filled, share, kind):
    """A share of `ahead` steps from s on, for which x's products have `filled` rows; returns how many are done.

    These are fewer where someone comes to help one who is alone, none where a meeting was broken off. A member that
    isn't the leader has no call.
    """
    more = None if special is None else special_of(layer)
    if share.members > 1:
        old = room.flip if s & 1 else NONE
        for r in range(active):
            h = _h_operand(layer, size, room, r, room.h + old + r * size.h_row, kind)
            store_scalar(room.h_table + r * 8, h - (old if size.h_operand == 0 else NONE))
    w_x = part_of(layer, "w_x") + share.begin * of_layer(layer, "w_x_group")
    products(
        kind, (part_of(layer, "bias") + share.begin * GROUP, NONE), (room.gates + share.begin * GROUP, size.gate_row),
        share.end - share.begin, (w_x, of_layer(layer, "w_x_group"), size.inputs), (room.x_table, NONE), filled,
    )  # fmt: skip
    gates = room.gates
    for q in range(s, s + ahead):
        if call == 0:
            active = load_scalar(active_at(share.meeting, q - s), INT64)
        else:
            active = _active(call, first, active, q)
            if share.members == 1:
                _reset(layer, call, size, room, first, active, q, kind)
        _step(layer, more, size, room, active, q, gates, share, kind)
        if share.members > 1 and not meet(share, q - s):
            return NONE
        _finish(layer, call, size, room, first, active, q, kind)
        gates += active * size.gate_row
        if share.members == 1 and members(share.meeting) > 1:
            return q - s + 1
    return ahead


@inline
def _active(call, first, active, q):
    """How many rows, the longest ones, have a q-th step, which one has."""
    while _end(call, _row(call, first + active - 1)) <= q:
        active -= 1
    return active


@inline
def _together(layer, special, call, size, room, first, count, s, longest, block, many, kind, meeting):
    """A stretch from s on, by all who are there; returns how many steps it had, or 0 if it was broken off."""
    like, hall = sums_of(kind), hall_rooms(meeting, size, block, NONE, kind)
    active = _active(call, first, count, s)
    ahead = _before_reset(layer, call, first, active, s, min(steps_at_most(meeting), longest - s))
    for r in range(active):
        _copy_row(room.h + (room.flip if s & 1 else NONE) + r * size.h_row, _h_of(hall, size, r, s), size.h_row, like)
        _copy_row(room.c + r * size.c_row, hall.c + r * size.c_row, size.c_row, like)
    _reset(layer, call, size, hall, first, active, s, kind)
    filled = _gather(layer, call, size, hall, first, active, s, s + ahead, kind)
    if size.x_operand == 0:  # members are not to read x itself
        for k in range(filled):
            to = hall.x_operands + k * x_row(size, kind)
            copy_values(load_scalar(hall.x_table + 8 * k, INT64), to, size.inputs, like)
            store_scalar(hall.x_table + 8 * k, np.int64(to))
    left = active
    for k in range(ahead):
        left = _active(call, first, left, s + k)
        store_scalar(active_at(meeting, k), np.int64(left))
    met = call_members(meeting, many, layer, s, ahead, active, filled)
    share = Share(NONE, size.groups // many, np.int64(meeting), many, NONE, met)
    done = _run(layer, special, call, size, hall, first, active, s, ahead, filled, share, kind)
    settle(meeting, done)
    for r in range(active if done != 0 else NONE):
        end = min(s + ahead, _end(call, _row(call, first + r)))
        h = room.h + (room.flip if end & 1 else NONE) + r * size.h_row
        _copy_row(_h_of(hall, size, r, end), h, size.h_row, like)
        _copy_row(hall.c + r * size.c_row, room.c + r * size.c_row, size.c_row, like)
        _h_operand(layer, size, room, r, h, kind)
    return done


@inline
def _h_of(room, size, r, q):
    """Where row r's h is before its q-th step."""
    return room.h + (room.flip if q & 1 else NONE) + r * size.h_row


@inline
def _before_reset(layer, call, first, active, s, ahead):
    """How many of the steps from s on are before the next one that resets a row: a meeting begins with that."""
    if of_call(call, "reset") == 0:
        return ahead
    for q in range(s + 1, s + ahead):
        for r in range(active):
            if q < _end(call, _row(call, first + r)) and _resets(layer, call, _row(call, first + r), q):
                return q - s
    return ahead


@inline
def _help(meeting, special, block, kind):
    """Be a member of a meeting until it is over, or somebody has kept somebody waiting."""
    rank, last = enter(meeting), NONE
    if rank == 0:
        return
    while True:
        last = wait_for_call(meeting, rank, last)
        if last == 0:
            break
        layer, s, ahead, active, filled, met = task_of(meeting)
        size, many = sizes_of(layer), called(last)
        share = Share(size.groups * rank // many, size.groups * (rank + 1) // many, np.int64(meeting), many, rank, met)
        room = hall_rooms(meeting, size, block, rank, kind)
        if _run(layer, special, NONE, size, room, NONE, active, s, ahead, filled, share, kind) == 0:
            break
    leave(meeting, True)


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


@inline
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


@inline
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
def _step(layer, special, size, room, active, q, gates, share, kind):
    """The q-th step of the first `active` rows, to whose gates x's products are summed: a share of the new c and h."""
    like = sums_of(kind)
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
        here = gates + g * GROUP, size.gate_row
        products(kind, here, here, wide, (w_h + g * group_bytes, group_bytes, size.returned), rows, active)
        for r in range(active):
            for k in range(g, g + wide):
                advance(
                    gates + r * size.gate_row + k * GROUP, room.c + r * size.c_row + k * VECTOR,
                    h_new + r * h_new_row + k * VECTOR, k, special, like,
                )  # fmt: skip
    if size.p_groups != 0:
        if size.p_operand != 0:
            for r in range(active):
                operand(
                    kind, room.full + r * size.c_row, room.p_operands + r * size.p_operand, size.hidden,
                    of_layer(layer, "p_floor"),
                )  # fmt: skip
        products(
            kind, (part_of(layer, "zeros"), NONE), (room.h + new, size.h_row), size.p_groups,
            (part_of(layer, "w_p"), of_layer(layer, "w_p_group"), size.hidden), (room.p_table, NONE), active,
        )  # fmt: skip


@inline
def _finish(layer, call, size, room, first, active, q, kind):
    """Make operands of the q-th step's h, and y, which the call is for."""
    like = sums_of(kind)
    for r in range(active):
        h = _h_of(room, size, r, q + 1)
        _h_operand(layer, size, room, r, h, kind)
        if call != 0:
            y = place(call, of_layer(layer, "to"))
            to = _step_of(call, layer, y, _row(call, first + r), q)
            copy_values(h, to + of_layer(layer, "direction") * size.returned * size_of(like), size.returned, like)


@inline
def _resets(layer, call, b, q):
    """Whether row b's q-th step has a flag."""
    at = of_call(call, "reset") + _time(call, layer, b, q) * of_call(call, "reset_step")
    return load_scalar(at + b * of_call(call, "reset_row"), INT8) != 0


@inline
def _reset(layer, call, size, room, first, active, q, kind):
    """Set the rows whose flag says so to what they begin with."""
    if of_call(call, "reset") == 0:
        return
    for r in range(active):
        if _resets(layer, call, _row(call, first + r), q):
            h = _h_of(room, size, r, q)
            _begin(layer, size, room, r, h, kind)
            _h_operand(layer, size, room, r, h, kind)


@inline
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
