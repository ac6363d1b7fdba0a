"""How a call is shared out: rows to each thread, or hidden units where rows are few, or both."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from fastcell import _threads
from fastcell._checks import Array
from fastcell.lstm import meeting
from fastcell.lstm.kernels import lstm_layer
from fastcell.lstm.layout import TILE
from fastcell.lstm.packing import Layer
from fastcell.simd.vector import address

_ROWS = 1 << 22  # multiplications by x from which rows go to several threads
_SHARE = 1 << 18  # bytes of weights, times rows, that a thread must have of a step to gain by meetings
_UNITS = 1 << 25  # and in all steps, for a thread to be there in time
_STRETCH, _STEPS = 12, 6  # rows and steps of a stretch, steps at most
_SPEED = 8000  # bytes of weights that are multiplied while a thread that waits looks twice
_LOOKS = 500  # how often a leader looks for what others do beside what they need for their shares
_SOON, _LATE = 1e-4, 1e-2  # seconds after which a thread that was let go comes again
_REST, _RESTS = 1e-3, 0.25  # seconds without meetings after one in vain, twice as many each time up to these


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


def plan(layers: list[Layer], threads: int | None, rows: int, steps: int) -> Plan:
    """For so many rows, and steps of all rows together."""
    size = layers[0].sizes
    count = _threads.choose(threads, steps * size.inputs * size.hidden if rows > 1 else 0, _ROWS)
    weights = layers[-1].params.block.nbytes
    most = count
    if threads is None and steps * weights * len(layers) >= _UNITS and luck.good():
        most = _threads.cores()
    if most > 1:
        seats = _seats(layers, most, rows, rows * weights // _SHARE, threads is not None)
        if seats > 1:
            return Plan(min(rows, max(most // seats, 1)), seats)
    return Plan(min(rows, count), 1)


def _seats(layers: list[Layer], most: int, rows: int, worth: int, asked: bool) -> int:
    """How many threads should share units, 1 for none; worth: how many gain by it, asked: whether all are wanted."""
    uniform = all(layer.params.special is layers[0].params.special for layer in layers)
    if rows >= most * TILE or layers[0].sizes.p_groups or not uniform:
        return 1  # a projection would need a second meeting in each step
    seats = min(most, layers[0].sizes.groups, meeting.MOST)
    if asked:
        return seats if rows < most or worth >= seats else 1
    return max(min(seats, worth), 1)


def lead(
    layers: list[Layer], block: int, seats: int, rows: int, run: Callable[[int], None]
) -> None:
    """`run` with the address of a hall in which it meets such threads as come."""
    sizes, first = [layer.sizes for layer in layers], layers[0].params
    steps = max(min(_STRETCH // block, _STEPS), 1)
    looks = _LOOKS + first.block.nbytes * block // (_SPEED * seats)
    hall = meeting.open_hall(sizes, block, steps, seats, first.zero.itemsize, looks)
    words = meeting.words(hall)
    _threads.invite(partial(_join, layers, block, hall), seats - 1)
    try:
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
