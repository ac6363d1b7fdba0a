"""The LSTM's driver: weights laid out as the kernels read them, scratch, and rows shared out among threads."""

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastcell import _memory, _threads
from fastcell._checks import Array
from fastcell._jit import VECTOR_BITS
from fastcell.lstm.kernels import CALL, TILE, describe, lstm_layer, lstm_layer_special
from fastcell.simd.activations import KNOWN
from fastcell.simd.vector import address

if TYPE_CHECKING:
    from fastcell.lstm.api import LSTM

_STATE, _GATES = 1 << 19, 1 << 18  # bytes of scratch a thread spends on a block's states, and on a stretch's gates
_SCRATCH = 1_900_000  # and at most, where that leaves fewer
_ROWS = 11 * TILE  # that a block has at most
_SHARED = 3 << 22  # bytes of weights that a core may hope to find in the last cache: larger ones want large blocks
_OBJECTS = 1 << 12  # bytes of names and objects for each layer's weights
_ROW = 8  # values' room for what is kept of each row's length
_STANDARD = [KNOWN[name] for name in ("sigmoid", "tanh", "tanh")]


class Special(NamedTuple):
    """What a cell has beside sigmoid, tanh, tanh."""

    activations: Array
    """(3, 3) float64: number, alpha, beta of the gates, of g, and of c before the output."""
    peephole: Array
    """(groups, 3, lanes), gates i, f, o; no groups for none."""
    clip: float
    coupled: bool


class CellParams(NamedTuple):
    """One layer's weights in one direction, laid out as the kernels read them: `lstm_step`'s first argument.

    Hidden units come in groups of as many as fill a vector register (lanes), padded with units of weight zero; the
    four gates i, f, g, o of a group lie side by side.
    """

    w_x: Array
    """(groups, I, 4, lanes)"""
    w_h: Array
    """(groups, R, 4, lanes), R the values of h that return: H without a projection."""
    bias: Array
    """(groups, 1, 4, lanes)"""
    w_p: Array
    """(P / 4 lanes, H, 4, lanes), of the projection; nothing for none."""
    zeros: Array
    """From which the projection's sums start."""
    special: Special | None
    """None for sigmoid, tanh, tanh and nothing more."""
    hidden_size: int


class Layer(NamedTuple):
    """One layer, one direction: its weights, and where they are as the kernels called from Python are told it."""

    params: CellParams
    table: int
    kernel: Any
    zero: Any
    inputs: int
    backwards: bool
    alive: tuple[Array, ...]
    """What is at the addresses."""


def suffix(layer: int, direction: int) -> str:
    """The end of a weight's name."""
    return f"_l{layer}" + ("_reverse" if direction else "")


def check_weights(lstm: "LSTM") -> None:
    """Refuse sizes whose weights, as they are and packed, fit no memory, before so much as their names are made."""
    H, R, D, lanes = lstm.hidden_size, lstm.output_size, lstm.directions, _lanes(lstm)
    padded, largest, total = -(-H // lanes) * lanes, 0, 0
    for layers, inputs in ((1, lstm.input_size), (lstm.num_layers - 1, D * R if lstm.num_layers > 1 else 0)):
        values = 4 * (H + padded) * (inputs + R + 2) + 2 * lstm.proj_size * padded
        total += layers * D * (values * lstm.dtype.itemsize + _OBJECTS)
        largest = max(largest, 4 * padded * inputs, 4 * padded * R)
    words = "weights for input_size {}, hidden_size {}, num_layers {}"
    _memory.check(total + 8 * largest, words, lstm.input_size, H, lstm.num_layers)


def check_call(lstm: "LSTM", T: int, B: int, copied: bool, made: bool) -> None:
    """Refuse an x, which may be a broadcast of one value or hold no step, whose answer fits no memory."""
    D, R = lstm.directions, lstm.output_size
    wide = D * R * (made + (D == 2 and lstm.num_layers > 1)) + lstm.input_size * copied
    values = B * (T * wide + lstm.num_layers * D * (R + lstm.hidden_size) + _ROW)
    _memory.check(values * lstm.dtype.itemsize, "y and the state for T = {} and B = {} of x", T, B)


def pack(lstm: "LSTM", weights: dict[str, Array], layer: int, direction: int, codes: Array | None) -> Layer:
    """Lay a layer's weights out for the kernels."""
    params = _params(lstm, weights, suffix(layer, direction), codes)
    special = params.special
    inputs = params.w_x.shape[1]
    table = np.zeros(14, np.int64)  # as `weights_at`, `sizes_at`, `special_at` and `initial_at` read it
    table[:3] = _at(params.w_x), _at(params.w_h), _at(params.bias)
    table[3:5] = _at(params.w_p) if lstm.proj_size else 0, _at(params.zeros)
    table[5:8] = inputs, lstm.hidden_size, lstm.output_size
    if special is not None:
        table[8:10] = _at(special.activations), _at(special.peephole) if lstm.peepholes else 0
        table[10:11].view(np.float64)[0] = special.clip
        table[11] = special.coupled
    initial = _initial(lstm, layer * lstm.directions + direction, params)
    table[12:] = _at(initial[0]), _at(initial[1])
    backwards = lstm.reverse or direction == 1
    kernel = lstm_layer if special is None else lstm_layer_special
    return Layer(params, _at(table), kernel, lstm.dtype.type(0), inputs, backwards, (table, *initial))


def _initial(lstm: "LSTM", k: int, params: CellParams) -> tuple[Array, Array]:
    """The k-th initial h and c, zeros where the LSTM has none, each padded to its row of scratch."""
    hidden = params.w_h.shape[0] * _lanes(lstm)
    h, c = (_aligned(np.zeros(size, lstm.dtype)) for size in (params.zeros.size or hidden, hidden))
    if lstm._initial_state is not None:
        h[: lstm.output_size], c[: lstm.hidden_size] = (part[k] for part in lstm._initial_state)
    return h, c


def _params(lstm: "LSTM", weights: dict[str, Array], end: str, codes: Array | None) -> CellParams:
    H, P, lanes = lstm.hidden_size, lstm.proj_size, _lanes(lstm)
    groups = -(-H // lanes)

    def gates(weight: Array, many: int) -> Array:
        K = weight.shape[1]
        padded = np.zeros((many, groups * lanes, K), lstm.dtype)
        padded[:, :H] = weight.reshape(many, H, K)
        return _aligned(padded.reshape(many, groups, lanes, K).transpose(1, 3, 0, 2))

    both = [weights[name + end] for name in ("bias_ih", "bias_hh") if name + end in weights]
    bias = gates(sum(both, np.zeros(4 * H, lstm.dtype))[:, None], 4)
    w_p = np.zeros((0, H, 4, lanes), lstm.dtype)
    if P:
        padded = np.zeros((-(-P // (4 * lanes)) * 4 * lanes, H), lstm.dtype)
        padded[:P] = weights["weight_hr" + end]
        w_p = _aligned(padded.reshape(-1, 4, lanes, H).transpose(0, 3, 1, 2))
    special = None
    if codes is not None or lstm.peepholes or lstm.coupled or lstm.clip is not None:
        peephole = np.zeros((0, 3, lanes), lstm.dtype)
        if lstm.peepholes:
            peephole = gates(weights["weight_peephole" + end][:, None], 3)[:, 0]
        numbers = np.array(_STANDARD, np.float64) if codes is None else codes
        special = Special(numbers, peephole, math.inf if lstm.clip is None else lstm.clip, lstm.coupled)
    zeros = np.zeros(w_p.shape[0] * 4 * lanes, lstm.dtype)
    w_x, w_h = gates(weights["weight_ih" + end], 4), gates(weights["weight_hh" + end], 4)
    return CellParams(w_x, w_h, bias, w_p, zeros, special, H)


def run(
    lstm: "LSTM",
    x: Array,
    y: Array,
    state: tuple[Array, Array],
    given: bool,
    order: Array | None,
    ends: Array | None,
    flags: Array | None,
    count: int,
) -> None:
    """Share the rows out, each thread's through all layers in turn; the state is read, if it is given, and written."""
    T, B, D, L = len(x), x.shape[1], lstm.directions, lstm.num_layers
    spare = np.empty_like(y) if D == 2 and L > 1 else y
    reset = (0, 0, 0) if flags is None else (_at(flags), *flags.strides)
    end = 0 if ends is None else _at(ends)
    like = lstm.packed[0].zero

    def rows(first: int, last: int, by: int) -> None:
        block, stretch, size = _scratch(lstm.hidden_size, lstm.proj_size, like.itemsize, last - first, T)
        room = np.empty(size, np.uint8)
        call = describe(x, y, spare, *state, room)
        source = 0
        for k, packed in enumerate(lstm.packed):
            layer, d = divmod(k, D)
            to = 1 if D == 1 or (L - 1 - layer) % 2 == 0 else 2
            packed.kernel(
                packed.table, call, source, to, k, d, given, by, end, *reset, T, first, last, packed.backwards, block,
                stretch, like,
            )  # fmt: skip
            source = to if d == D - 1 else source

    if count == 1 or B == 1:
        rows(0, B, 0 if order is None else _at(order))
        return
    pieces = _threads.split(B, 1, count)

    def piece(first: int, last: int) -> None:
        if order is None:
            rows(first, last, 0)
        else:  # long and short rows to every thread
            mine = order[pieces.index((first, last)) :: len(pieces)].copy()
            rows(0, len(mine), _at(mine))

    _threads.run(piece, pieces)


@lru_cache(maxsize=256)
def _scratch(hidden_size: int, proj_size: int, itemsize: int, rows: int, steps: int) -> tuple[int, int, int]:
    """A block's rows, a stretch's rows and steps, and the bytes that `_parts` of both and their tables take."""
    lanes = VECTOR_BITS // (8 * itemsize)
    hidden = -(-hidden_size // lanes) * lanes * itemsize
    returned = -(-proj_size // (4 * lanes)) * 4 * lanes * itemsize if proj_size else hidden
    a_row = 2 * returned + hidden + (hidden if proj_size else 0) + 16
    weights = 4 * hidden * (proj_size or hidden_size)
    most = _SCRATCH // (a_row + 4 * hidden + 8) if weights > _SHARED else _STATE // a_row
    block = min(_ROWS, max(most // TILE, 1) * TILE)
    block = min(rows, -(-rows // -(-rows // block) // TILE) * TILE)  # blocks of equal size, of whole tiles
    stretch = min(max(_GATES // (4 * hidden), TILE, block), block * max(steps, 1))
    stretch = max(stretch // block, 1) * block
    return block, stretch, 64 + CALL + stretch * (4 * hidden + 8) + block * a_row


def _lanes(lstm: "LSTM") -> int:
    return VECTOR_BITS // (8 * int(lstm.dtype.itemsize))


def _at(array: Array) -> int:
    return int(address(array))


def _aligned(array: Array) -> Array:
    """A copy, side by side, that begins at a multiple of 64 bytes: no vector crosses a cache line."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -_at(room) % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
