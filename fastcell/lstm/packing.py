"""An LSTM's weights as the kernels read them: one block of memory for each layer and direction."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastcell import _memory
from fastcell._checks import Array, round_up
from fastcell._jit import CACHE_TOKEN
from fastcell.lstm import layout
from fastcell.lstm.arithmetic import ARITHMETICS
from fastcell.lstm.config import STANDARD, Config, suffix
from fastcell.lstm.layout import GROUP, VECTOR, Sizes
from fastcell.simd.activations import BOUNDED, KNOWN
from fastcell.simd.vector import address

_OBJECTS = 1 << 12  # bytes of names and objects for each layer's weights
_STANDARD = np.array([KNOWN[name] for name in STANDARD], np.float64)


class CellParams(NamedTuple):
    """One layer's weights in one direction, packed for the kernels: `lstm_step`'s first argument."""

    block: Array
    """Everything, as `layout` lays it out."""
    zero: Any
    """A zero of the dtype of x, h and c."""
    kind: Any
    """A zero that stands for the arithmetic."""
    special: bool | None
    """None for sigmoid, tanh, tanh and nothing more."""
    inputs: int
    hidden_size: int


class Layer(NamedTuple):
    """One layer, one direction, for kernels called from Python."""

    params: CellParams
    at: int
    """The address of its block."""
    sizes: Sizes


def check_weights(lstm: Config) -> None:
    """Refuse sizes whose weights, as they are and packed, fit no memory, before so much as their names are made."""
    H, R, D, lanes = lstm.hidden_size, lstm.output_size, lstm.directions, VECTOR // lstm.dtype.itemsize
    padded, largest, total = round_up(H, lanes), 0, 0
    for layers, inputs in ((1, lstm.input_size), (lstm.num_layers - 1, D * R if lstm.num_layers > 1 else 0)):
        values = 4 * (H + padded) * (inputs + R + 2) + 2 * lstm.proj_size * padded
        total += layers * D * (values * lstm.dtype.itemsize + _OBJECTS)
        largest = max(largest, 4 * padded * inputs, 4 * padded * R)
    words = "weights for input_size {}, hidden_size {}, num_layers {}"
    _memory.check(total + 8 * largest, words, lstm.input_size, H, lstm.num_layers)


def pack(
    lstm: Config,
    weights: dict[str, Array],
    scales: Mapping[str, Array],
    layer: int,
    direction: int,
    codes: Array | None,
    start: tuple[Array, Array] | None,
) -> Layer:
    """Lay a layer's weights out for the kernels."""
    arithmetic, D = ARITHMETICS[lstm.precision], lstm.directions
    number, end = layer * D + direction, suffix(layer, direction)
    inputs = weights["weight_ih" + end].shape[1]
    size = layout.sizes(
        inputs, lstm.hidden_size, lstm.proj_size, lstm.dtype.itemsize, arithmetic.operand_bytes, arithmetic.tile_rows
    )
    special = codes is not None or lstm.peepholes or lstm.coupled or lstm.clip is not None
    functions = _STANDARD if codes is None else codes
    bounded = float(functions[0, 0] in BOUNDED and functions[2, 0] in BOUNDED)
    parts = {**_parts(lstm, weights, scales, end, size, start, number), "activations": functions}
    groups = {f"{name}_group": parts[name].strides[0] for name in ("w_x", "w_h", "w_p") if name in parts}
    numbers = {
        **size._asdict(), **groups, "build": CACHE_TOKEN, "number": number, "direction": direction,
        "backwards": lstm.reverse or direction == 1, "coupled": lstm.coupled, "source": _array(lstm, layer - 1),
        "to": _array(lstm, layer), "clip": math.inf if lstm.clip is None else lstm.clip, "p_floor": bounded,
        "h_floor": 0.0 if lstm.proj_size else bounded,
    }  # fmt: skip
    block = layout.layer_block(numbers, parts)
    zero = lstm.dtype.type(0)
    params = CellParams(block, zero, arithmetic.kind, True if special else None, inputs, lstm.hidden_size)
    return Layer(params, int(address(block)), size)


def _array(lstm: Config, layer: int) -> int:
    """Which array holds a layer's outputs: y (1) or spare (2), so that the last is y; that before the first: x (0)."""
    if layer < 0:
        return 0
    return 1 if lstm.directions == 1 or (lstm.num_layers - 1 - layer) % 2 == 0 else 2


def _parts(
    lstm: Config,
    weights: dict[str, Array],
    scales: Mapping[str, Array],
    end: str,
    size: Sizes,
    start: tuple[Array, Array] | None,
    number: int,
) -> dict[str, Array]:
    H, P, dtype, pack = lstm.hidden_size, lstm.proj_size, lstm.dtype, ARITHMETICS[lstm.precision].pack
    lanes = VECTOR // dtype.itemsize

    def gates(weight: Array, many: int) -> Array:
        """(many * H, K) as (groups, many, lanes, K)."""
        K = weight.shape[1]
        padded = np.zeros((many, size.groups * lanes, K), dtype)
        padded[:, :H] = weight.reshape(many, H, K)
        return padded.reshape(many, size.groups, lanes, K).transpose(1, 0, 2, 3)

    def sums(weight: Array) -> Array:
        """The four gates (4 * H, K) as (groups, 4, lanes, K), those of a last group of fewer units without gaps."""
        grouped = gates(weight, 4)
        if size.last < 4:
            units, K = size.last * lanes // 4, weight.shape[1]
            dense = np.zeros((4 * lanes, K), dtype)
            dense[: 4 * units] = grouped[-1, :, :units].reshape(4 * units, K)
            grouped[-1] = dense.reshape(4, lanes, K)
        return grouped

    def packed(name: str) -> Array:
        scale = scales.get(name + end)
        return pack(sums(weights[name + end]), None if scale is None else sums(scale[:, None])[..., 0])

    both = [weights[name + end] for name in ("bias_ih", "bias_hh") if name + end in weights]
    first_h, first_c = np.zeros(size.h_row // dtype.itemsize, dtype), np.zeros(size.c_row // dtype.itemsize, dtype)
    if start is not None:
        first_h[: size.returned], first_c[:H] = (part[number] for part in start)
    parts = {
        "w_x": packed("weight_ih"),
        "w_h": packed("weight_hh"),
        "bias": np.ascontiguousarray(sums(sum(both, np.zeros(4 * H, dtype))[:, None])),
        "first_h": first_h,
        "first_c": first_c,
    }
    if P:
        padded = np.zeros((size.p_groups * 4 * lanes, H), dtype)
        padded[:P] = weights["weight_hr" + end]
        parts["w_p"] = pack(padded.reshape(-1, 4, lanes, H), None)
        parts["zeros"] = np.zeros(size.p_groups * GROUP // dtype.itemsize, dtype)
    if lstm.peepholes:
        parts["peephole"] = np.ascontiguousarray(gates(weights["weight_peephole" + end][:, None], 3))
    return parts
