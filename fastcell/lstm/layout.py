"""Where everything lies: a layer's weights in one block of memory, and the scratch of a call. All sizes are here.

Vectors run over hidden units: a group is as many units as fill a register (lanes); its four gates i, f, g, o lie
side by side, a vector each. Where units are left over the last group has fewer, in quarters of a vector: its gates
follow each other without a gap and fill the first one, two or three of its four vectors; units of weight zero fill up a
quarter. Kernels get the addresses of two blocks, a layer's and a call's; both begin with a header of 64-bit words that
`of_layer` and `of_call` read by name.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcell._checks import Array, ceil_div, round_up
from fastcell._jit import VECTOR_BITS, inline, kernel_of_arrays
from fastcell.simd.vector import INT64, load_scalar, store_scalar

VECTOR = VECTOR_BITS // 8
"""Bytes of a vector register, of which a group takes one for each gate."""
GROUP = 4 * VECTOR
TILE = 6 if VECTOR_BITS == 512 else 3
"""Rows of a tile: 24 sums in 32 registers, or 12 in 16."""

_STATE, _GATES = 1 << 19, 1 << 18  # bytes of scratch a thread spends on a block's states, and on a stretch's gates
_SCRATCH = 3_000_000  # and at most, where that leaves fewer
_TILES = 11  # that a block has at most
_SHARED = 3 << 22  # bytes of weights that a core may hope to find in the last cache: larger ones want large blocks


class Sizes(NamedTuple):
    """A layer's sizes: in values, then bytes of a row of each kind."""

    inputs: int
    hidden: int
    returned: int
    """Values of h that return: H, or P with a projection."""
    tile: int
    """Rows of a tile."""
    groups: int
    last: int
    """Vectors that the last group fills: 4, or fewer."""
    p_groups: int
    """Groups of the projection, 0 without."""
    p_last: int
    gate_row: int
    c_row: int
    h_row: int
    x_operand: int
    """Operands of the products with x, with h, and with h before its projection; 0 where they are the values."""
    h_operand: int
    p_operand: int


def apart(size: int) -> int:
    """Bytes from one row to the next: of rows a multiple of 4 KiB apart, a cache has only a few at a time."""
    return size if size == 0 or size % 4096 else size + 64


def sizes(inputs: int, hidden: int, projection: int, itemsize: int, operand: Any, tile: int = TILE) -> Sizes:
    """Of a layer; `operand(count)` is how many bytes its arithmetic makes of so many values, tile: its rows."""
    groups = ceil_div(hidden * itemsize, VECTOR)
    p_groups = ceil_div(projection * itemsize, GROUP)
    last = ceil_div(4 * (hidden * itemsize % VECTOR), VECTOR) or 4
    p_last = ceil_div(projection * itemsize % GROUP, VECTOR) or 4
    h_row = p_groups * GROUP if projection else groups * VECTOR
    returned = projection or hidden
    operands = operand(inputs), operand(returned), operand(hidden) if projection else 0
    rows = map(apart, (groups * GROUP, groups * VECTOR, h_row, *operands))
    return Sizes(inputs, hidden, returned, tile, groups, last, p_groups, p_last, *rows)


# ---- headers ---------------------------------------------------------------------------------------

_WEIGHTS = ("w_x", "w_h", "w_p", "bias", "zeros", "first_h", "first_c", "activations", "peephole")
LAYER = (
    *Sizes._fields, "build", "number", "direction", "backwards", "source", "to", "coupled", *_WEIGHTS,
    "w_x_group", "w_h_group", "w_p_group", "clip", "h_floor", "p_floor",
)  # fmt: skip
"""A layer's header: `_WEIGHTS` are offsets from its beginning, 0 for none; source, to: x (0), y (1) or spare (2)."""
CALL = (
    "x", "x_step", "x_row", "y", "y_step", "y_row", "spare", "spare_step", "spare_row",
    "h", "c", "steps", "batch", "given", "order", "counts", "times", "starts", "reset", "reset_step", "reset_row",
)  # fmt: skip
"""A call's header: arrays' addresses, each with its bytes from step to step and from row to row."""
_FLOATS = ("clip", "h_floor", "p_floor")
CALL_BYTES = round_up(8 * len(CALL), 64)


def _field(builder: Any, names: Sequence[str], block: Any, name: str) -> Any:
    kind = ir.DoubleType() if name in _FLOATS else ir.IntType(64)
    place = builder.add(block, ir.Constant(block.type, 8 * names.index(name)))
    return builder.load(builder.inttoptr(place, kind.as_pointer()))


def _read(names: Sequence[str], name: Any) -> Any:
    """The type of a header's field and what reads it."""
    word = name.literal_value
    if word not in names:
        raise NameError(word)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _field(builder, names, args[0], word)

    return (types.float64 if word in _FLOATS else types.int64)(types.int64, name), codegen


@intrinsic(prefer_literal=True)
def of_layer(typingctx, layer, name):
    """A field of a layer's header."""
    return _read(LAYER, name)


@intrinsic(prefer_literal=True)
def of_call(typingctx, call, name):
    """A field of a call's header."""
    return _read(CALL, name)


@intrinsic(prefer_literal=True)
def part_of(typingctx, layer, name):
    """The address of a part of a layer's weights, 0 for none."""
    word = name.literal_value
    if word not in _WEIGHTS:
        raise NameError(word)

    def codegen(context, builder, sig, args):
        offset = _field(builder, LAYER, args[0], word)
        nothing = ir.Constant(offset.type, 0)
        return builder.select(builder.icmp_signed("==", offset, nothing), nothing, builder.add(args[0], offset))

    return types.int64(types.int64, name), codegen


@intrinsic
def sizes_of(typingctx, layer):
    """The sizes in a layer's header."""
    kind = types.NamedUniTuple(types.int64, len(Sizes._fields), Sizes)

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, kind, [_field(builder, LAYER, args[0], name) for name in Sizes._fields])

    return kind(types.int64), codegen


# ---- a layer's block -------------------------------------------------------------------------------


def aligned(size: int) -> Array:
    """Bytes, cleared, of which the first stands at a multiple of 64: no vector crosses a cache line."""
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size]


def layer_block(numbers: dict[str, float], parts: dict[str, Array]) -> Array:
    """A layer's header and its weights in one block: `numbers` by their names in `LAYER`, `parts` by `_WEIGHTS`'."""
    end = round_up(8 * len(LAYER), 64)
    offsets = {}
    for name, part in parts.items():
        offsets[name] = end
        end += round_up(part.nbytes, 64)
    block = aligned(end)
    header = block[: 8 * len(LAYER)].view(np.int64)
    for name, number in {**numbers, **offsets}.items():
        at = LAYER.index(name)
        if name in _FLOATS:
            header[at : at + 1].view(np.float64)[0] = number
        else:
            header[at] = number
    for name, part in parts.items():
        there = block[offsets[name] : offsets[name] + part.nbytes]
        there.view(part.dtype).reshape(part.shape)[...] = part
    return block


# ---- a call's scratch ------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def scratch(layers: tuple[Sizes, ...], rows: int, steps: int) -> tuple[int, int, int]:
    """A block's rows, a stretch's rows and steps, and the bytes of scratch that `rooms` shares out for them."""
    size = layers[0]
    operands = max(size.h_operand + size.p_operand for size in layers)
    a_row = 2 * size.h_row + size.c_row + (size.c_row if size.p_groups else 0) + 16 + operands
    weights = size.gate_row * size.returned
    most, tile = _SCRATCH // (a_row + size.gate_row + 8) if weights > _SHARED else _STATE // a_row, size.tile
    block = min(_TILES, max(most // tile, 1)) * tile
    block = min(
        rows, round_up(ceil_div(rows, ceil_div(rows, block)), tile)
    )  # equal blocks, each a whole number of tiles
    stretch = min(max(_GATES // size.gate_row, tile, block), block * max(steps, 1))
    stretch = max(stretch // block, 1) * block
    x_operand = max(size.x_operand for size in layers)
    return block, stretch, 64 + CALL_BYTES + stretch * (size.gate_row + x_operand + 8) + block * (a_row + 8)


class Rooms(NamedTuple):
    """Where in the scratch each part begins."""

    gates: int
    """(stretch, gate_row)"""
    h: int
    """(block, h_row), twice: they are read while new ones are written."""
    flip: int
    """Bytes to the second of them."""
    full: int
    """(block, c_row): h before its projection."""
    c: int
    x_operands: int
    h_operands: int
    p_operands: int
    x_table: int
    """Addresses of the operands' rows."""
    h_table: int
    p_table: int


@inline
def rooms(call, size, block, stretch):
    gates = call + CALL_BYTES
    h = gates + stretch * size.gate_row
    flip = block * size.h_row
    full = h + 2 * block * size.h_row
    c = full + (block * size.c_row if size.p_groups else 0)
    x_operands = c + block * size.c_row
    h_operands = x_operands + stretch * size.x_operand
    p_operands = h_operands + block * size.h_operand
    x_table = p_operands + block * size.p_operand
    h_table = x_table + 8 * stretch
    return Rooms(
        gates, h, flip, full, c, x_operands, h_operands, p_operands, x_table, h_table, h_table + 8 * block
    )  # fmt: skip


@inline
def _write(at, array):
    store_scalar(at, np.int64(array.ctypes.data))
    store_scalar(at + 8, np.int64(array.strides[0]))
    store_scalar(at + 16, np.int64(array.strides[1]))


@kernel_of_arrays
def describe(x, y, spare, h, c, room, given, order, counts, times, starts, reset, reset_step, reset_row):
    """Write a call's header at the first multiple of 64 in `room`; returns its address.

    x, y, spare: (T, B, ...), of which each row is side by side.  h, c: (L*D, B, ...), side by side, read where they are
    `given`.  order, counts, times, starts: addresses of what `Rows` says, or 0.  reset: of flags, or 0.
    """
    at = (room.ctypes.data + 63) // 64 * 64
    _write(at, x)
    _write(at + 24, y)
    _write(at + 48, spare)
    arrays = np.int64(h.ctypes.data), np.int64(c.ctypes.data), x.shape[0], h.shape[1], np.int64(given)
    numbers = order, counts, times, starts, reset, reset_step, reset_row
    for k in range(len(arrays)):
        store_scalar(at + 72 + 8 * k, arrays[k])
    for k in range(len(numbers)):
        store_scalar(at + 112 + 8 * k, numbers[k])
    return at


@inline
def place(call, which):
    """Address of x (0), y (1) or spare (2), bytes from step to step and from row to row."""
    at = call + 24 * which
    return load_scalar(at, INT64), load_scalar(at + 8, INT64), load_scalar(at + 16, INT64)
