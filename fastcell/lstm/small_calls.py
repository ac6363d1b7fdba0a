"""Small calls of an LSTM: what can be told without looking at values is checked here, and a plan is made once a shape.

Whatever is unusual, wrong or large is left to the way of all calls, which names it, and shares it out.
"""

from typing import Any

import numpy as np

from fastcell._checks import Array
from fastcell._jit import kernel_of_arrays
from fastcell.lstm import layout, sharing
from fastcell.lstm.config import Config
from fastcell.lstm.kernels import lstm_layer
from fastcell.lstm.layout import describe
from fastcell.lstm.packing import Layer

_PLANS = 256  # shapes of calls that an LSTM remembers

Plan = tuple[int, int, int] | None
"""A block's rows, a stretch's rows and the bytes of scratch; None for a call that others are to take."""


@kernel_of_arrays
def describe_small(x: Any, y: Any, spare: Any, h: Any, c: Any, room: Any, given: Any) -> Any:
    """`describe` of rows that have every step and no reset, with few arguments: each takes a part of a step's time."""
    return describe(x, y, y if spare is None else spare, h, c, room, given, 0, 0, 0, 0, 0, 0, 0)


class SmallCalls:
    """The small calls of one LSTM."""

    def __init__(self, lstm: Config, packed: list[Layer]) -> None:
        self.layers = packed
        self.inner = [(layer.at, layer.params.special, layer.params.kind) for layer in packed]
        self.sizes = tuple(layer.sizes for layer in packed)
        self.dtype, self.inputs, self.width = lstm.dtype, lstm.input_size, lstm.directions * lstm.output_size
        self.state = len(packed), lstm.output_size, lstm.hidden_size
        self.spare = lstm.directions == 2 and lstm.num_layers > 1
        self.plans: dict[tuple[int, int], Plan] = {}

    def run(self, x: Any, state: Any, first: bool) -> tuple[Array, tuple[Array, Array]] | None:
        """y, (h, c) of arrays that kernels take as they are: x (T, B, I), (B, T, I) if `first`, or (T, I)."""
        if type(x) is not np.ndarray or x.dtype != self.dtype or not x.flags.carray:
            return None
        shape = x.shape
        alone, batch_first = len(shape) == 2, first and len(shape) == 3
        if not (alone or len(shape) == 3) or shape[-1] != self.inputs:
            return None
        T, B = (shape[0], 1) if alone else (shape[1], shape[0]) if batch_first else shape[:2]
        try:
            plan = self.plans[T, B]
        except KeyError:
            plan = self._plan(T, B)
        if plan is None:
            return None
        L, R, H = self.state
        if state is None:
            h, c = np.empty((L, B, R), self.dtype), np.empty((L, B, H), self.dtype)
        else:
            if type(state) is not tuple or len(state) != 2 or not type(state[0]) is type(state[1]) is np.ndarray:
                return None
            h, c = state
            rows = () if alone else (B,)
            if not (h.dtype == c.dtype == x.dtype and h.shape == (L, *rows, R) and c.shape == (L, *rows, H)):
                return None
            h, c = h.copy(), c.copy()
            if alone:
                h, c = h[:, None], c[:, None]
        y = answer = np.empty((*shape[:-1], self.width), self.dtype)
        if alone:
            x, y = x[:, None], y[:, None]
        elif batch_first:
            x, y = x.transpose(1, 0, 2), y.transpose(1, 0, 2)
        block, stretch, size = plan
        room = np.empty(size, np.uint8)
        spare = np.empty_like(y) if self.spare else None
        call = describe_small(x, y, spare, h, c, room, state is not None)
        for at, special, kind in self.inner:
            lstm_layer(at, special, call, 0, B, block, stretch, kind, 0)
        return answer, (h[:, 0], c[:, 0]) if alone else (h, c)

    def _plan(self, T: int, B: int) -> Plan:
        plan = None
        if T and B and self.state[2] and not any(sharing.is_large(self.layers, T * B)):
            plan = layout.scratch(self.sizes, B, T)
        if len(self.plans) >= _PLANS:
            self.plans.clear()
        self.plans[T, B] = plan
        return plan
