"""The LSTM's driver: scratch, and pieces of rows, each through all layers in turn."""

from functools import partial
from typing import Any

import numpy as np

from fastcell import _memory, _threads
from fastcell._checks import Array
from fastcell.lstm import layout, sharing
from fastcell.lstm.config import Config
from fastcell.lstm.kernels import lstm_layer
from fastcell.lstm.packing import Layer
from fastcell.lstm.rows import ALL, Rows
from fastcell.lstm.sharing import Plan
from fastcell.simd.vector import address

_ROW = 8  # values' room for what is kept of each row's length


def check_call(lstm: Config, T: int, B: int, copied: bool, made: bool) -> None:
    """Refuse an x, which may be a broadcast of one value or hold no step, whose answer fits no memory."""
    D, R = lstm.directions, lstm.output_size
    wide = D * R * (made + (D == 2 and lstm.num_layers > 1)) + lstm.input_size * copied
    values = B * (T * wide + lstm.num_layers * D * (R + lstm.hidden_size) + _ROW)
    _memory.check(values * lstm.dtype.itemsize, "y and the state for T = {} and B = {} of x", T, B)


def run(
    lstm: Config,
    layers: list[Layer],
    x: Array,
    y: Array,
    state: tuple[Array, Array],
    given: bool,
    rows: Rows,
    flags: Array | None,
    plan: Plan,
) -> None:
    """Share the rows out, each piece's through all layers in turn; the state is read, if it is given, and written."""
    B = x.shape[1]
    steps = (0, 0, 0) if rows is ALL else [0 if part is None else _at(part) for part in rows[1:]]
    reset = (0, 0, 0) if flags is None else (_at(flags), *flags.strides)
    spare = np.empty_like(y) if lstm.directions == 2 and lstm.num_layers > 1 else y
    if plan.pieces == 1:
        order = 0 if rows.order is None else _at(rows.order)
        _some(layers, x, y, spare, state, given, 0, B, plan.seats, (order, *steps, *reset))
        return
    pieces = _threads.split(B, 1, plan.pieces)

    def piece(first: int, last: int) -> None:
        order = 0
        if rows.order is not None:  # long and short rows to every thread
            mine = rows.order[pieces.index((first, last)) :: len(pieces)].copy()
            first, last, order = 0, len(mine), _at(mine)
        _some(layers, x, y, spare, state, given, first, last, plan.seats, (order, *steps, *reset))

    _threads.run(piece, pieces)


def _some(
    layers: list[Layer],
    x: Array,
    y: Array,
    spare: Array,
    state: tuple[Array, Array],
    given: bool,
    first: int,
    last: int,
    seats: int,
    numbers: tuple[int, ...],
) -> None:
    """Rows `first` to `last`, those of an order if there is one; numbers: the last of `layout.describe`'s."""
    block, stretch, size = layout.scratch(tuple([packed.sizes for packed in layers]), last - first, len(x))
    room = np.empty(size, np.uint8)
    call = layout.describe(x, y, spare, *state, room, given, *numbers)
    if seats == 1:
        _through(layers, call, first, last, block, stretch, 0)
    else:
        sharing.lead(layers, block, seats, partial(_through, layers, call, first, last, block, stretch))


def _through(layers: list[Layer], call: int, first: int, last: int, block: int, stretch: int, hall: int) -> None:
    for params, at, _ in layers:
        lstm_layer(at, params.special, call, first, last, block, stretch, params.kind, hall)


def _at(array: Any) -> int:
    return int(address(array))
