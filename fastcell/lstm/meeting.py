"""A meeting: threads that share a layer's hidden units out and meet once a step, for batches of few rows.

The caller leads, on its own if nobody comes. Others enter by a door, which is a word: how many are inside, and whether
it is closed. At the beginning of each stretch of few steps the leader reads who is inside, writes what there is to do
into the hall, memory of the meeting's own, and calls them. Each then does its share of the groups; a step is over when
everyone's flag says so, and the next one reads what all have written.

Nobody waits for long. Who does close the door, be it the leader or another: the stretch is void, all but the leader
leave, and it does the stretch again alone, from its own memory, which nobody else writes. Members touch the hall and
the weights, never the caller's arrays, so one that comes too late or wakes up after the call does no harm. The leader
opens the door again once nobody is inside.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastcell._checks import Array, round_up
from fastcell._jit import inline
from fastcell.lstm import layout
from fastcell.lstm.layout import Rooms, Sizes
from fastcell.lstm.products import sums_of
from fastcell.simd.atomics import (
    atomic_add,
    atomic_or,
    atomic_swap_if,
    load_atomic,
    pause,
    relax,
    store_atomic,
)
from fastcell.simd.vector import INT64, load_scalar, size_of, store_scalar

MOST = 64
"""Members of a meeting, the leader among them."""
_LINE = 128  # bytes that a word has for itself: CPUs fetch lines of 64 in pairs
DOOR, CALL, OVER, TASK, LOG = 0, _LINE, _LINE + 8, 2 * _LINE, 3 * _LINE
"""Where the words are: who is inside; the stretch's number and its members; whether the meeting is over; what members
are told; the leader's own."""
_FLAGS = 4 * _LINE
_CLOSED = 1 << 32  # of the door
_NUMBER = 8  # bits of the members in a call
_STEPS, _SEATS, _PATIENCE, _MEETINGS, VOID, SHARED, _FIRST, NEXT = (LOG + 8 * k for k in range(8))
"""Steps of a stretch at most, members at most, turns the leader waits; steps that were met for, stretches that were
void and those that were not; steps of a first stretch, and of the next."""
_PAUSES, _YIELDS = 400, 4000  # turns that a member waits: the first take some 20 microseconds, then others may run
_NOTHING = np.int64(0)


class Share(NamedTuple):
    """What one thread does of a stretch."""

    begin: int
    """Its groups, from here"""
    end: int
    """to here."""
    meeting: int
    """The hall's address, 0 if there is none: all is done alone, and nobody may come."""
    members: int
    """1: alone."""
    rank: int
    """0: the leader."""
    met: int
    """How often they have met before this stretch."""


# ---- the hall --------------------------------------------------------------------------------------


def open_hall(
    layers: Sequence[Sizes], block: int, steps: tuple[int, int], seats: int, itemsize: int, patience: int
) -> Array:
    """Memory for meetings of so many members over stretches of a block of rows: so many steps at first, and at most."""
    first, most = steps
    room = 0
    for size in layers:
        x_row = size.x_operand or round_up(size.inputs * itemsize, 64)
        shared = most * block * (x_row + size.gate_row + 8) + block * (2 * size.h_row + size.c_row) + 8 * most
        room = max(room, shared + seats * (block * (size.h_operand + 8) + _LINE))
    hall = layout.aligned(_FLAGS + seats * _LINE + room + 8 * 64)
    log = {_STEPS: most, _SEATS: seats, _PATIENCE: patience, _FIRST: first, NEXT: first}
    words(hall)[[at // 8 for at in log]] = list(log.values())
    return hall


def words(hall: Array) -> Array:
    """A hall's words, each at an eighth of the numbers above."""
    return hall[:_FLAGS].view(np.int64)


@inline
def hall_rooms(meeting, size, block, rank, kind):
    """Where in the hall each part is. Rows of x begin where `Rooms` has their operands."""
    steps, seats = _log(meeting, _STEPS), _log(meeting, _SEATS)
    rows = steps * block
    gates = _up(meeting + _FLAGS + seats * _LINE + 8 * steps)
    h = gates + rows * size.gate_row
    flip = block * size.h_row
    c = h + 2 * flip
    x_rows = c + block * size.c_row
    x_table = _up(x_rows + rows * x_row(size, kind))
    h_table = _up(x_table + 8 * rows)
    own = _up(block * (size.h_operand + 8) + _LINE // 2)
    h_table += rank * own
    return Rooms(gates, h, flip, _NOTHING, c, x_rows, _up(h_table + 8 * block), _NOTHING, x_table, h_table, _NOTHING)


@inline
def x_row(size, kind):
    """Bytes of a row of x in the hall."""
    return size.x_operand if size.x_operand != 0 else _up(size.inputs * size_of(sums_of(kind)))


@inline
def _up(at):
    return (at + 63) // 64 * 64


@inline
def _log(meeting, at):
    return load_scalar(meeting + at, INT64)


@inline
def steps_of_next(meeting):
    """Steps of the next stretch."""
    return _log(meeting, NEXT)


@inline
def active_at(meeting, k):
    """Where it is said how many rows have the stretch's k-th step."""
    return meeting + _FLAGS + _log(meeting, _SEATS) * _LINE + 8 * k


# ---- what the leader does --------------------------------------------------------------------------


@inline
def members(meeting):
    """How many there are, the leader among them. A closed door is opened once nobody is inside."""
    if meeting == 0:
        return np.int64(1)
    door = load_atomic(meeting + DOOR)
    if door < _CLOSED:
        return min(door + 1, _log(meeting, _SEATS))
    if door == _CLOSED and _log(meeting, VOID) <= 2 + _log(meeting, SHARED) // 16:
        store_atomic(meeting + CALL, (load_atomic(meeting + CALL) >> _NUMBER << _NUMBER) + 1)  # to the leader alone
        atomic_swap_if(meeting + DOOR, _CLOSED, 0)
    return np.int64(1)


@inline
def call_members(meeting, count, layer, s, end, active, filled):
    """Begin a stretch of so many members; returns how often they have met."""
    met = _log(meeting, _MEETINGS)
    task = layer, s, end, active, filled, met
    for k in range(len(task)):
        store_scalar(meeting + TASK + 8 * k, task[k])
    store_scalar(meeting + _MEETINGS, met + end - s)
    store_atomic(meeting + CALL, ((load_atomic(meeting + CALL) >> _NUMBER) + 1 << _NUMBER) + count)
    return met


@inline
def settle(meeting, void):
    """Close the door after a stretch that was void; keep count. While all come in time stretches grow."""
    if void:
        atomic_or(meeting + DOOR, _CLOSED)
    longer = min(2 * _log(meeting, NEXT), _log(meeting, _STEPS))
    store_scalar(meeting + NEXT, _log(meeting, _FIRST) if void else longer)
    at = meeting + (VOID if void else SHARED)
    store_scalar(at, load_scalar(at, INT64) + 1)


# ---- what others do --------------------------------------------------------------------------------


@inline
def enter(meeting):
    """The rank of one who comes in, 0 if the door is closed."""
    if load_atomic(meeting + OVER) != 0:
        return _NOTHING
    before = atomic_add(meeting + DOOR, 1)
    if before < _CLOSED and before + 1 < _log(meeting, _SEATS):
        return before + 1
    leave(meeting, before < _CLOSED)
    return _NOTHING


@inline
def leave(meeting, close):
    """Ranks stay without a gap since nobody leaves by an open door."""
    if close:
        atomic_or(meeting + DOOR, _CLOSED)
    atomic_add(meeting + DOOR, -1)


@inline
def wait_for_call(meeting, rank, last):
    """The next stretch in which this one is a member, `last` being the one before; 0: it should leave."""
    turn = 0
    while load_atomic(meeting + OVER) == 0 and load_atomic(meeting + DOOR) < _CLOSED and turn < _PAUSES + _YIELDS:
        call = load_atomic(meeting + CALL)
        if call != last and rank < members_of(call):
            return call
        relax(turn, _PAUSES)
        turn += 1
    return _NOTHING


@inline
def task_of(meeting):
    """What `call_members` told: layer, s, end, active, filled, met."""
    at = meeting + TASK
    return (
        load_scalar(at, INT64), load_scalar(at + 8, INT64), load_scalar(at + 16, INT64), load_scalar(at + 24, INT64),
        load_scalar(at + 32, INT64), load_scalar(at + 40, INT64),
    )  # fmt: skip


@inline
def members_of(call):
    """How many a call is for."""
    return call & ((1 << _NUMBER) - 1)


# ---- what all do -----------------------------------------------------------------------------------


@inline
def meet(share, k):
    """After the stretch's k-th step: whether all have done their shares of it. If not, the stretch is void."""
    want = share.met + k + 1
    flags = share.meeting + _FLAGS
    store_atomic(flags + share.rank * _LINE, want)
    for rank in range(share.members):
        turn = 0
        while load_atomic(flags + rank * _LINE) < want:
            if load_atomic(share.meeting + DOOR) >= _CLOSED:
                return False
            if share.rank == 0:  # the leader lets nobody have its core
                if turn >= _log(share.meeting, _PATIENCE):
                    return False
                pause()
            else:
                if turn >= _PAUSES + _YIELDS:
                    return False
                relax(turn, _PAUSES)
            turn += 1
    return True
