"""Tiles of products in each arithmetic."""

import itertools

import numpy as np
import pytest
from numba import njit

from fastcell._jit import VECTOR_BITS
from fastcell.lstm import bfloat16
from fastcell.lstm.products import begin_unit, end_unit, multiply_add, operand_at, products
from fastcell.simd.matrix import ROOM
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


def chained(start, w, x):
    """bfloat16's sums as its module defines them: float64 holds a product and a sum of such numbers exactly."""
    total = start
    for first in range(0, w.shape[1], 32):
        chains = []
        for odd in (0, 1):
            chain = np.zeros_like(start)
            for k in range(first + odd, min(first + 32, w.shape[1]), 2):
                exact = w[:, k].astype(float)[None] * x[:, k].astype(float)[:, None, None, None]
                chain = (exact + chain).astype(np.float32)
            chains.append(chain)
        total = total + (chains[0] + chains[1])
    return total


@pytest.mark.parametrize("steps", [1, 2, 3, 31, 32, 33, 70])
def test_sums_of_bfloat16_have_one_order(steps):
    lanes = VECTOR_BITS // 32
    rng = np.random.default_rng(steps)
    for groups, count in ((1, 1), (2, 1), (1, 5), (2, 18)):
        w = rng.uniform(0.5, 1, (groups, steps, 4, lanes)).astype(np.float32)
        x = rng.uniform(-1, -0.5, (count, steps)).astype(np.float32)
        start = rng.uniform(-1, 1, (count, groups, 4, lanes)).astype(np.float32)
        w, x = ((bfloat16.rounded(a).astype(np.uint32) << 16).view(np.float32) for a in (w, x))
        got = np.full((count + 1, groups, 4, lanes), 99, np.float32)
        _rows_of_bfloat16(start, got, bfloat16.pack(w.transpose(0, 2, 3, 1), None), x, np.uint16(0))
        np.testing.assert_array_equal(got[:count], chained(start, w, x))
        assert (got[count] == 99).all()


def _rows_of_bfloat16(start, to, weights, x, kind):
    size = bfloat16.operand_bytes(x.shape[1])
    room = np.zeros(len(x) * size + 64 + ROOM, np.uint8)
    table = np.zeros(len(x), np.int64)
    _with_operands(
        (int(address(start)), start.strides[0]), (int(address(to)), to.strides[0]), to.shape[1],
        (int(address(weights)), weights.strides[0], x.shape[1]), x, table, int(address(room)), size, kind,
    )  # fmt: skip


@njit
def _with_operands(start, to, groups, weights, x, table, room, size, kind):
    unit = begin_unit(kind, room)
    operands = (room + ROOM + 63) // 64 * 64
    for r in range(len(x)):
        table[r] = operand_at(kind, address(x) + r * x.strides[0], operands, r, size, x.shape[1], 0.0)
    products(kind, start, to, groups, 4, weights, (np.int64(address(table)), np.int64(0)), len(x), unit)
    end_unit(unit)
