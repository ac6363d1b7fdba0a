"""Tiles of products in each arithmetic."""

import numpy as np
import pytest
from numba import njit

from fastcell._jit import VECTOR_BITS
from fastcell.lstm.products import multiply_add
from fastcell.simd.vector import address

FLOATS = ["float32", "float64"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("rows", "groups"), [(6, 1), (3, 1), (1, 1), (1, 4), (2, 3)], ids=str)
def test_multiply_add_is_one_chain_of_fma(rows, groups, dtype):
    @njit
    def run(start, to, weights, table, kind):
        multiply_add(kind, start, to, weights, table, rows, groups)

    lanes = VECTOR_BITS // (8 * np.dtype(dtype).itemsize)
    rng = np.random.default_rng(0)
    for steps in (0, 1, 5):
        w = rng.integers(-9, 9, (groups, steps, 4, lanes)).astype(dtype)
        x = rng.integers(-9, 9, (rows, steps + 3)).astype(dtype)
        start = rng.integers(-9, 9, (rows, groups, 4, lanes)).astype(dtype)
        out = np.full((rows + 1, groups, 4, lanes), 99, dtype)
        table = np.array([int(address(x)) + r * x.strides[0] for r in range(rows)])
        run(
            (int(address(start)), start.strides[0]), (int(address(out)), out.strides[0]),
            (int(address(w)), w.strides[0], steps), (int(address(table)), 2 * x.itemsize), x.dtype.type(0),
        )  # fmt: skip
        wanted = start + np.einsum("gkvl,rk->rgvl", w, x[:, 2 : 2 + steps])
        np.testing.assert_array_equal(out[:rows], wanted)
        assert (out[rows] == 99).all()
