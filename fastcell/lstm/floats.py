"""float32 and float64: a row's values are the operands, a step of the products is one fma."""

import numpy as np
from numba import types

from fastcell._checks import Array
from fastcell.lstm.tile import Tile


def pack(weights: Array, scales: Array | None) -> Array:
    """(groups, 4, lanes, K) as (groups, K, 4, lanes)."""
    return np.ascontiguousarray(weights.transpose(0, 3, 1, 2))


def operand_bytes(count: int) -> int:
    """None: the values are read where they are."""
    return 0


def operand(kind, source, to, count, floor):
    """Nothing to do."""


def _multiply(tile: Tile, dtype: types.Type) -> None:
    size = dtype.bitwidth // 8
    with tile.loop(tile.count) as k:
        tile.ask(k)
        for r, v, value, weight in tile.pairs(
            lambda r: tile.broadcast(tile.plus(tile.x[r], k, size), dtype),
            lambda v: tile.load(tile.gate(v, k), tile.sum),
        ):
            tile.add_product(r, v, weight, value)


def multiply_single(tile: Tile) -> None:
    _multiply(tile, types.float32)


def multiply_double(tile: Tile) -> None:
    _multiply(tile, types.float64)
