"""The LSTM's driver: weights laid out as the kernel reads them, scratch, and rows shared out among threads."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastcell import _threads
from fastcell._checks import Array
from fastcell._jit import VECTOR_BITS
from fastcell._lstm_kernels import TILE, lstm_layer
from fastcell.activations import KNOWN
from fastcell.simd import address

if TYPE_CHECKING:
    from fastcell.lstm import LSTM

_STATE, _GATES = 1 << 19, 1 << 18  # bytes of scratch a thread spends on a block's states, and on a stretch's gates


class Direction(NamedTuple):
    """One layer, one direction, packed for the kernel; `arrays` keeps alive what the addresses point at."""

    weights: tuple[int, int, int, int, int]
    special: tuple[Array, int, float, bool] | None
    inputs: int
    backwards: bool
    arrays: tuple[Array, ...]


def suffix(layer: int, direction: int) -> str:
    """The end of a weight's name."""
    return f"_l{layer}" + ("_reverse" if direction else "")


def pack(lstm: "LSTM", weights: dict[str, Array], layer: int, direction: int, codes: Array | None) -> Direction:
    """Lay weights out as the kernel reads them: (groups, K, 4, lanes)."""
    H, end = lstm.hidden_size, suffix(layer, direction)
    lanes = VECTOR_BITS // (8 * lstm.dtype.itemsize)
    groups = -(-H // lanes)

    def gates(weight: Array, many: int) -> Array:
        K = weight.shape[1]
        padded = np.zeros((many, groups * lanes, K), lstm.dtype)
        padded[:, :H] = weight.reshape(many, H, K)
        return _aligned(padded.reshape(many, groups, lanes, K).transpose(1, 3, 0, 2))

    w_x, w_h = gates(weights["weight_ih" + end], 4), gates(weights["weight_hh" + end], 4)
    both = [weights[name + end] for name in ("bias_ih", "bias_hh") if name + end in weights]
    bias = gates(sum(both, np.zeros(4 * H, lstm.dtype))[:, None], 4)
    w_p = peephole = None
    if lstm.proj_size:
        wide = -(-lstm.proj_size // (4 * lanes)) * 4 * lanes
        padded = np.zeros((wide, H), lstm.dtype)
        padded[: lstm.proj_size] = weights["weight_hr" + end]
        w_p = _aligned(padded.reshape(-1, 4, lanes, H).transpose(0, 3, 1, 2))
    if lstm.peepholes:
        peephole = gates(weights["weight_peephole" + end][:, None], 3)
    nothing = np.zeros(4 * lanes * (-(-lstm.output_size // (4 * lanes))), lstm.dtype)
    special = None
    standard = np.array([KNOWN[name] for name in ("sigmoid", "tanh", "tanh")])
    if codes is not None or lstm.peepholes or lstm.coupled or lstm.clip is not None:
        numbers = standard if codes is None else codes
        clip = math.inf if lstm.clip is None else lstm.clip
        special = (numbers, 0 if peephole is None else _at(peephole), clip, lstm.coupled)
    arrays = tuple(array for array in (w_x, w_h, bias, w_p, nothing, peephole) if array is not None)
    places = (_at(w_x), _at(w_h), _at(bias), 0 if w_p is None else _at(w_p), _at(nothing))
    backwards = lstm.reverse or direction == 1
    inputs = weights["weight_ih" + end].shape[1]
    return Direction(places, special, inputs, backwards, arrays)


def run(
    lstm: "LSTM",
    x: Array,
    y: Array,
    states: Any,
    order: Array | None,
    ends: Array | None,
    flags: Array | None,
    count: int,
) -> None:
    """Share the rows out, each thread's through all layers in turn."""
    B, D, L, R = x.shape[1], lstm.directions, lstm.num_layers, lstm.output_size
    spare = np.empty_like(y) if D == 2 and L > 1 else y
    outputs = [y if (L - 1 - layer) % 2 == 0 else spare for layer in range(L)]
    reset = (0, 0, 0) if flags is None else (_at(flags), *flags.strides)
    pieces = _threads.split(B, 1, count)
    like = lstm.dtype.type(0)
    h0, c0, h, c = states
    longest = len(x)
    end = 0 if ends is None else _at(ends)

    def piece(first: int, last: int) -> None:
        which = pieces.index((first, last))
        mine = None if order is None else order[which :: len(pieces)].copy()
        rows, by = ((first, last), 0) if mine is None else ((0, len(mine)), _at(mine))
        for layer in range(L):
            source, to = x if layer == 0 else outputs[layer - 1], outputs[layer]
            for d in range(D):
                packed = lstm.packed[layer * D + d]
                k = layer * D + d
                room, block, stretch, places = _room(lstm, rows[1] - rows[0], longest)
                place = (_at(to) + d * R * to.itemsize, to.strides[0], to.strides[1])
                begin = (0, 0) if h0 is None else (_at(h0[k]), _at(c0[k]))
                lstm_layer(
                    (_at(source), source.strides[0], source.strides[1]), place, (*begin, _at(h[k]), _at(c[k])),
                    by, end, reset, (longest, packed.inputs, lstm.hidden_size, R), rows, block, stretch,
                    packed.weights, packed.special, packed.backwards, places, like,
                )  # fmt: skip
                del room

    _threads.run(piece, pieces)


def _room(lstm: "LSTM", rows: int, steps: int) -> tuple[Array, int, int, tuple[int, ...]]:
    """Scratch for a block of rows: the array, the block's rows, a stretch's rows, and where each part begins."""
    size = lstm.dtype.itemsize
    lanes = VECTOR_BITS // (8 * size)
    hidden = -(-lstm.hidden_size // lanes) * lanes * size
    returned = -(-lstm.proj_size // (4 * lanes)) * 4 * lanes * size if lstm.proj_size else hidden
    a_row = 2 * returned + hidden + (hidden if lstm.proj_size else 0) + 16
    block = min(rows, 64, max(_STATE // a_row // TILE, 1) * TILE)
    block = -(-rows // -(-rows // block))  # blocks of equal size
    stretch = min(max(_GATES // (4 * hidden), TILE, block), block * max(steps, 1))
    stretch = max(stretch // block, 1) * block
    full = block * hidden if lstm.proj_size else 0
    sizes = (stretch * 4 * hidden, 2 * block * returned, full, block * hidden, 8 * stretch, 16 * block)
    starts = [0]
    for part in sizes:
        starts.append(starts[-1] + -(-part // 64) * 64)
    room = np.empty(starts[-1] + 64, np.uint8)
    base = (_at(room) + 63) // 64 * 64
    return room, block, stretch, tuple(base + start for start in starts[:-1])


def _at(array: Array) -> int:
    return int(address(array))


def _aligned(array: Array) -> Array:
    """A copy, side by side, that begins at a multiple of 64 bytes: no vector crosses a cache line."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -_at(room) % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
