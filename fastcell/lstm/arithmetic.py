"""The arithmetics that an LSTM's products may have: one file each, one line in `ARITHMETICS`.

A file tells how weights are packed, how a row's values become operands, and how a tile multiplies and adds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from fastcell._checks import Array
from fastcell.lstm import bfloat16, floats, int8
from fastcell.lstm.layout import TILE
from fastcell.lstm.tile import MatrixTile, Tile
from fastcell.simd import matrix


class Arithmetic(NamedTuple):
    """One way to multiply and add."""

    kind: Any
    """A zero, by whose type kernels are compiled for this arithmetic."""
    sums: Any
    """The dtype of sums, and of x, h and c."""
    pack: Callable[[Array, Array | None], Array]
    """Weights (groups, 4, lanes, K) as `multiply` reads them, a row for each group; scales (groups, 4, lanes) or None
    are those of weights that are integers times a scale."""
    operand_bytes: Callable[[int], int]
    operand: Any
    multiply: Callable[[Tile], None]
    exact: bool = True
    """Whether its sums deserve activations that are exact to some ulp."""
    multiply_matrix: Callable[[MatrixTile], None] | None = None
    """The same with the CPU's matrix unit, if it has one for this arithmetic."""
    matrix_from: tuple[int, int] = (0, 0)
    """Rows, and values of each, from which a sequence's do; from the first on, vectors have no part in it."""
    matrix_part: int = 0
    """Values of each row that go through it at once."""

    @property
    def alone(self) -> bool:
        """Whether the unit does all of a sequence."""
        return self.multiply_matrix is not None and self.matrix_from == (0, 0)

    @property
    def tile_rows(self) -> int:
        return matrix.ROWS if self.multiply_matrix else TILE


ARITHMETICS = {
    "float32": Arithmetic(
        np.float32(0), np.float32, floats.pack, floats.operand_bytes, floats.operand, floats.multiply_single
    ),
    "float64": Arithmetic(
        np.float64(0), np.float64, floats.pack, floats.operand_bytes, floats.operand, floats.multiply_double
    ),
    "bfloat16": Arithmetic(
        np.uint16(0), np.float32, bfloat16.pack, bfloat16.operand_bytes, bfloat16.operand, bfloat16.multiply, False,
        bfloat16.multiply_matrix if bfloat16.MATRIX else None, (0, 0), bfloat16.MATRIX_PART,
    ),
    "int8": Arithmetic(
        np.int8(0), np.float32, int8.pack, int8.operand_bytes, int8.operand, int8.multiply, False,
        int8.multiply_matrix if int8.MATRIX else None, int8.MATRIX_FROM, int8.MATRIX_PART,
    ),
}  # fmt: skip


def of_kind(kind: types.Type) -> Arithmetic:
    """The arithmetic of a Numba type."""
    return next(one for one in ARITHMETICS.values() if types.unliteral(kind).name == one.kind.dtype.name)
