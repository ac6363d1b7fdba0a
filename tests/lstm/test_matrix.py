"""The CPU's matrix unit, where there is one: what it computes is test_precision's and test_products' to check."""

import numpy as np
import pytest
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

import fastcell as fc
from fastcell.simd import matrix
from fastcell.simd.vector import address
from tests.helpers import lstms

pytestmark = pytest.mark.skipif(not matrix.has("bf16"), reason="this CPU or system has no AMX")


@intrinsic
def _begin(typingctx, room):
    def codegen(context, builder, sig, args):
        matrix.begin(builder, args[0])

    return types.void(types.int64), codegen


@intrinsic
def _configured(typingctx, room):
    def codegen(context, builder, sig, args):
        matrix.emit(builder, "sttilecfg", builder.inttoptr(args[0], ir.IntType(8).as_pointer()))

    return types.void(types.int64), codegen


@njit
def _one_inside_another(first, second, found, rows, other):
    _configured(found + 192)
    _begin(first)
    matrix.fit(first, rows)
    _begin(second)
    matrix.fit(second, other)
    _configured(found)
    matrix.end(second)
    _configured(found + 64)
    matrix.end(first)
    _configured(found + 128)


@pytest.mark.parametrize(("rows", "whole", "rest"), [(1, 1, 1), (7, 7, 7), (16, 16, 1), (21, 16, 5)])
def test_a_configuration_is_kept_for_whoever_has_it(rows, whole, rest):
    room = np.zeros(128 * 2 + 64 * 5, np.uint8)
    at = (int(address(room)) + 63) // 64 * 64
    _one_inside_another(at, at + 128, at + 256, rows, 9)
    inside, kept, after, before = room[at - int(address(room)) + 256 :][:256].reshape(4, 64)
    np.testing.assert_array_equal(inside[48:56], [9, 9, 9, 9, 9, 16, 9, 9])
    np.testing.assert_array_equal(kept[48:56], [whole, whole, whole, whole, whole, 16, rest, rest])
    np.testing.assert_array_equal(after, before)  # another library's, or zeros


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_library_that_uses_the_unit_too_keeps_its_answers(precision):
    torch = pytest.importorskip("torch")
    a, b = (torch.from_numpy(lstms.normal((64, 96), seed=seed)).bfloat16() for seed in (1, 2))
    lstm, x = fc.LSTM(128, 128, precision=precision, seed=0), lstms.normal((3, 21, 128))
    product, y = a @ b.T, lstm(x)[0]
    for _ in range(3):
        np.testing.assert_array_equal(lstm(x, threads=2)[0], y)
        assert torch.equal(a @ b.T, product)
