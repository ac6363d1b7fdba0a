"""Tiles of products in each arithmetic."""

import itertools

import numpy as np
import pytest
from numba import njit

from fastcell._jit import VECTOR_BITS
from fastcell.lstm.products import multiply_add, products
from fastcell.simd.vector import address

FLOATS = ["float32", "float64"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("rows", "groups"), [(6, 1), (3, 1), (1, 1), (1, 4), (2, 3)], ids=str)
def test_multiply_add_is_one_chain_of_fma(rows, groups, dtype):
    vectors = 4 * groups

    @njit
    def run(start, to, weights, table, kind):
        multiply_add(kind, start, to, weights, table, rows, rows, vectors)

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


@njit
def _products(start, to, groups, last, weights, table, count, kind):
    products(kind, start, to, groups, last, weights, table, count)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_products_of_a_last_group_of_fewer_vectors(last, dtype):
    """In place, as h's products are: what stands for rows that are not there adds once. Nothing beside is written."""
    lanes, steps = VECTOR_BITS // (8 * np.dtype(dtype).itemsize), 5
    rng = np.random.default_rng(last)
    for groups, count in itertools.product((1, 2, 3), range(1, 15)):
        w = rng.integers(-9, 9, (groups, steps, 4, lanes)).astype(dtype)
        x = rng.integers(-9, 9, (count, steps)).astype(dtype)
        sums = rng.integers(-9, 9, (count + 1, groups, 4, lanes)).astype(dtype)
        wanted = sums[:count] + np.einsum("gkvl,rk->rgvl", w, x)
        beside = sums[count].copy()
        table = np.array([int(address(x)) + r * x.strides[0] for r in range(count)])
        place = int(address(sums)), sums.strides[0]
        weights = int(address(w)), w.strides[0], steps
        _products(place, place, groups, last, weights, (int(address(table)), 0), count, x.dtype.type(0))
        np.testing.assert_array_equal(sums[:count, :-1], wanted[:, :-1])
        np.testing.assert_array_equal(sums[:count, -1, :last], wanted[:, -1, :last])
        np.testing.assert_array_equal(sums[count], beside)
