"""How a call is shared out: rows to each thread, or hidden units where rows are few, or both."""

import math
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

from fastcell import _threads
from fastcell._checks import Array, ceil_div
from fastcell.lstm import meeting
from fastcell.lstm.kernels import lstm_layer
from fastcell.lstm.packing import Layer
from fastcell.simd.vector import address

_ROWS = 1 << 22  # multiplications by x from which rows go to several threads
_UNITS = 1 << 25  # bytes of weights that all steps multiply by, from which units do
_MEETING, _MEET = 1.15, 1 << 16  # what meetings cost: a part of the work, and for each thread bytes it might multiply
_STRETCH, _STEPS = 24, 6  # rows of a stretch at most, steps of a first one
_CACHED = 1 << 21  # bytes of weights that stay in a thread's cache from stretch to stretch
_SPEED = 8000  # bytes of float32 weights that are multiplied while a leader looks twice: in each precision it waits
_LOOKS = 1200  # this often for others, and as often as half of a share of the stretch takes
_SOON, _LATE = 1e-4, 1e-2  # seconds after which a thread that was let go comes again
_REST, _RESTS = 1e-3, 0.064  # seconds without meetings after one in vain, twice as many each time up to these


class Plan(NamedTuple):
    """Pieces of rows, and threads that share the units of each."""

    pieces: int
    seats: int


ALONE = Plan(1, 1)


class _Luck:
    """Whether threads came in time of late: on a busy machine they don't, and calling them costs."""

    def __init__(self) -> None:
        self.rest = self.until = 0.0

    def good(self) -> bool:
        return not self.rest or time.perf_counter() >= self.until

    def learn(self, void: int, shared: int) -> None:
        if shared > 16 * void:
            self.rest = 0.0
        else:
            self.rest = min(max(2 * self.rest, _REST), _RESTS)
            self.until = time.perf_counter() + self.rest


luck = _Luck()


def is_large(layers: list[Layer], steps: int) -> tuple[bool, bool]:
    """Whether so many steps of all rows are enough to share out rows, or units, by default."""
    params = layers[-1].params
    weights = params.block.nbytes
    return steps * params.inputs * params.hidden_size >= _ROWS, steps * weights * len(layers) >= _UNITS


def plan(layers: list[Layer], threads: int | None, rows: int, steps: int) -> Plan:
    """For so many rows, and steps of all rows together."""
    if type(threads) is int and threads == 1:
        return ALONE
    by_rows, by_units = is_large(layers, steps)
    if threads is None and not (by_rows or by_units):
        return ALONE
    count = most = _threads.choose(threads, int(by_rows or by_units), 1)
    if threads is None:
        count, most = count if by_rows and rows > 1 else 1, count if by_units and luck.good() else 1
    plain = Plan(max(min(rows, count), 1), 1)
    size = layers[0].sizes
    # a projection would need a second meeting in each step, and a member is compiled for one kind of layer
    if most == 1 or not size.groups or size.p_groups or len({layer.params.special for layer in layers}) > 1:
        return plain
    return _cheapest(plain, rows, size.groups, layers[-1].params.block.nbytes, most, threads is not None)


@lru_cache(maxsize=256)
def _cheapest(plain: Plan, rows: int, groups: int, weights: int, most: int, asked: bool) -> Plan:
    """The plan with the least time of a step, counted in bytes of weights that are multiplied by one row.

    For all rows together weights are read from the cache once, which takes half as long as to multiply them by a row.
    """
    best, least = plain, (ceil_div(rows, plain.pieces) + 0.5) * weights
    meet = _MEET
    if asked and rows < most:  # as many as there can be
        least, meet = math.inf, 0
    for pieces in range(1, min(rows, most // 2) + 1):
        each, top = ceil_div(rows, pieces) + 0.5, min(most // pieces, groups, meeting.MOST)
        for seats in {top, *(2**k for k in range(1, top.bit_length()))}:
            cost = _MEETING * each * weights * ceil_div(groups, seats) / groups + meet * seats
            if seats > 1 and cost < least:
                best, least = Plan(pieces, seats), cost
    return best


def stretches(block: int, weights: int) -> tuple[int, int]:
    """Steps of a first stretch of so many rows, and of the longest, while all come in time.

    A stretch reads x's weights once for all its steps: where a share of the weights is larger than the cache, long
    ones gain more than short ones, of which less is lost when somebody is late.
    """
    most = max(_STRETCH // block, 1)
    first = min(most, _STEPS)
    return first, most if weights > _CACHED else first


def lead(layers: list[Layer], block: int, seats: int, run: Callable[[int], None]) -> None:
    """`run` with the address of a hall in which it meets such threads as come."""
    sizes, params = [layer.sizes for layer in layers], layers[-1].params
    size = sizes[-1]
    steps, most = stretches(block, params.block.nbytes // seats)
    looks = _LOOKS + size.gate_row * (size.inputs + size.returned) * block * most // (_SPEED * seats)
    hall = meeting.open_hall(sizes, block, (steps, most), seats, params.zero.itemsize, looks)
    words = meeting.words(hall)
    try:
        _threads.invite(partial(_join, layers, block, hall), seats - 1)
        run(int(address(hall)))
    finally:
        words[meeting.OVER // 8] = 1
    luck.learn(int(words[meeting.VOID // 8]), int(words[meeting.SHARED // 8]))


def _join(layers: list[Layer], block: int, hall: Array) -> None:
    """Help in meetings of a hall, which a thread that has been let go enters again after a while."""
    at, params, words, pause = layers[0].at, layers[0].params, meeting.words(hall), _SOON
    while True:
        lstm_layer(at, params.special, 0, 0, 0, block, 0, params.kind, int(address(hall)))
        if words[meeting.OVER // 8]:
            return
        time.sleep(pause)
        pause = min(2 * pause, _LATE)
