"""An LSTM's trace: one layer and direction stepped through time, and what its gates were."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcell import _checks, _memory, _nulls
from fastcell._checks import Array
from fastcell.lstm import packed_sequence
from fastcell.lstm.api import LSTM
from fastcell.lstm.config import suffix
from fastcell.simd.vector import LANES
from fastcell.trace.api import Trace
from fastcell.trace.kernels import lstm_gates

_KEPT = 14  # values of each unit and step: h and c before and after, gates with and without padding, all in x's order


class Traced:
    """An LSTM's trace, as a method."""

    def trace(
        self: Any,
        x: Any,
        state: Any = None,
        *,
        layer: int = 0,
        direction: int = 0,
        lengths: Any = None,
        reset: Any = None,
        batch_first: bool | None = None,
    ) -> Trace:
        """Run the LSTM and keep what one layer did at each step, in one direction: its gates, memory and output.

        ``c_t = f_t * c_{t-1} + i_t * g_t``, ``h_t = o_t * tanh(c_t)``

        Parameters
        ----------
        x, state, lengths, reset, batch_first
            As in the call.
        layer, direction : int
            0 to L - 1; 0, or 1 for the second direction of two.

        Returns
        -------
        Trace(i, f, g, o, c, h)
            Arrays (T, B, H), h (T, B, P) with a projection, without B for one row; time first whatever `batch_first`,
            in the order of x even where the direction runs backwards; 0 after a row's end. ``.table()`` and
            ``.plot()`` show it.

        Raises
        ------
        ValueError, TypeError
            As in the call; ValueError for a layer or direction that is not there.

        Notes
        -----
        c and h are the forward pass's bit for bit, the gates of its arithmetic. A whole run checks the arguments,
        then each step is a call: for looking at, not for speed.

        Examples
        --------
        >>> import numpy as np
        >>> import fastcell as fc
        >>> lstm = fc.LSTM(3, 5, seed=0)
        >>> x = np.ones((7, 2, 3), np.float32)
        >>> trace = lstm.trace(x)
        >>> trace.f.shape, bool((trace.h == lstm(x)[0]).all())
        ((7, 2, 5), True)
        """
        return lstm_trace(self, x, state, layer, direction, lengths, reset, batch_first)


def lstm_trace(
    lstm: LSTM, x: Any, state: Any, layer: int, direction: int, lengths: Any, reset: Any, batch_first: bool | None
) -> Trace:
    """Step one layer and direction through time, as the forward pass does bit for bit, and work out its gates."""
    for name, given, most in (("layer", layer, lstm.num_layers), ("direction", direction, lstm.directions)):
        if _checks.size(name, given, 0) >= most:
            raise ValueError(f"{name} must be below {most}, got {given}")
    first = lstm.batch_first if batch_first is None else _checks.flag("batch_first", batch_first)
    if packed_sequence.is_packed(x):
        x, lengths = packed_sequence.padded(x, lengths, first)
    _nulls.refuse("x", x)
    lstm(x, state, lengths=lengths, reset=reset, batch_first=batch_first)  # checks the arguments
    values = math.prod(np.shape(x)[:-1]) * (_KEPT * (lstm.hidden_size + LANES) + 3 * lstm.input_size)
    _memory.check(values * lstm.dtype.itemsize, "a trace of x of shape {}", np.shape(x))
    x = _checks.array("x", x, _checks.NUMBERS).astype(lstm.dtype)
    unbatched = x.ndim == 2
    first = first and not unbatched
    x = x[:, None] if unbatched else x.transpose(1, 0, 2) if first else x
    T, B, _ = x.shape
    k = layer * lstm.directions
    shapes = (k + lstm.directions, B, lstm.output_size), (k + lstm.directions, B, lstm.hidden_size)
    first_h, first_c = lstm.initial_state or (np.zeros((len(lstm.packed), s[-1]), lstm.dtype) for s in shapes)
    if state is None:
        h, c = (np.repeat(part[:, None], B, 1) for part in (first_h, first_c))
    else:
        h, c = lstm._state(state, B, unbatched)
    flags = None if reset is None else lstm._flags("reset", reset, T, B, first, unbatched)
    if layer:
        x, _ = _part(lstm, range(layer))(x, (h[:k], c[:k]), lengths=lengths, reset=flags)
    ends = np.full(B, T) if lengths is None else _checks.array("lengths", lengths, "integers").astype(np.int64)
    step = np.arange(T)[:, None]
    order = np.maximum(ends - 1 - step, 0) if lstm.reverse or direction else np.broadcast_to(step, (T, B))
    x = np.take_along_axis(x, order[:, :, None], 0)
    k += direction
    one = _part(lstm, [layer], direction)
    hs, cs = _stepped(one, x, h[k], c[k], flags, (first_h[k], first_c[k]))
    gates = _gates(one, x, hs[0], *cs)
    whole = [np.take_along_axis(part, order[:, :, None], 0) for part in (*gates, cs[1], hs[1])]
    for part in whole:
        part[step >= ends] = 0
    trace = Trace(*(part[:, 0] for part in whole)) if unbatched else Trace(*whole)
    trace.lengths = None if lengths is None else ends
    return trace


def _part(lstm: LSTM, layers: Sequence[int], direction: int | None = None) -> LSTM:
    """An LSTM of some of the layers, counted from 0; of one direction alone, that runs forward."""
    found = lstm.quantized()
    weights: dict[str, Any] = {}
    for k, layer in enumerate(layers):
        for d in range(lstm.directions) if direction is None else [direction]:
            end, new = suffix(layer, d), suffix(k, d if direction is None else 0)
            weights |= {n.removesuffix(end) + new: found[n] for n in found if n.endswith(end)}
    functions, start = lstm.activations, lstm.initial_state
    if start is not None:
        directions = range(lstm.directions) if direction is None else [direction]
        rows = [layer * lstm.directions + d for layer in layers for d in directions]
        start = start[0][rows], start[1][rows]
    if direction is not None:
        functions = functions[3 * direction :][:3] or functions
    return type(lstm)(
        lstm.packed[min(layers) * lstm.directions].sizes.inputs, lstm.hidden_size, len(layers), bias=lstm.bias,
        bidirectional=direction is None and lstm.bidirectional, proj_size=lstm.proj_size,
        reverse=direction is None and lstm.reverse, peepholes=lstm.peepholes, coupled=lstm.coupled, clip=lstm.clip,
        activations=functions, dtype=lstm.dtype, precision=lstm.precision, weights=weights, initial_state=start,
    )  # fmt: skip


def _stepped(
    one: LSTM, x: Array, h: Array, c: Array, reset: Array | None, start: tuple[Array, Array]
) -> tuple[Array, Array]:
    """h and c, each before and after every step: (2, T, B, ...); a reset sets them to `start`."""
    T, B, _ = x.shape
    hs, cs = (np.empty((2, T, B, part.shape[1]), one.dtype) for part in (h, c))
    for t in range(T):
        hs[0, t], cs[0, t] = h, c
        if reset is not None:
            hs[0, t, reset[t]], cs[0, t, reset[t]] = start
        _, ((h,), (c,)) = one(x[t : t + 1], (hs[:1, t], cs[:1, t]))
        hs[1, t], cs[1, t] = h, c
    return hs, cs


def _gates(one: LSTM, x: Array, h: Array, c: Array, c_new: Array) -> Array:
    """i, f, g, o of a layer's steps, (4, T, B, H), from x, h and c before them, and c after."""
    (T, B, _), H = x.shape, one.hidden_size
    (packed,) = one.packed
    size, dtype = packed.sizes, one.dtype
    wide = size.c_row // dtype.itemsize
    cs, out = np.zeros((2, T * B, wide), dtype), np.empty((4, T * B, wide), dtype)
    cs[..., :H] = np.stack([c, c_new]).reshape(2, T * B, H)
    x, h = (np.ascontiguousarray(part).reshape(T * B, part.shape[2]) for part in (x, h))
    room = np.empty(size.gate_row + size.x_operand + size.h_operand + 16, np.uint8)
    lstm_gates(packed.at, x, h, cs, out, room, packed.params.kind)
    return out.reshape(4, T, B, wide)[..., :H].copy()
