"""Units left over from a vector, whose gates share registers: sizes around its quarters, the same bits always."""

import numpy as np
import pytest

import fastcell as fc
from fastcell._jit import VECTOR_BITS
from fastcell.lstm import layout
from tests.helpers import lstms, processes

UNITS = [1, 3, 4, 5, 8, 9, 12, 13, 16, 17, 20, 24, 28, 37, 65, 100]
PRECISIONS = ["float32", "float64", "bfloat16", "int8"]


def made(H, precision, **options):
    dtype = "float64" if precision == "float64" else "float32"
    return fc.LSTM(3, H, dtype=dtype, precision=precision, seed=H, **options), dtype


@pytest.mark.parametrize("H", UNITS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_the_oracles(H, dtype):
    lstm = fc.LSTM(3, H, dtype=dtype, seed=H)
    for B in (1, 2, 3, 7):
        lstms.check(lstm, lstms.normal((2, B, 3), dtype, B))


@pytest.mark.parametrize(
    ("precision", "options"),
    [*((precision, {}) for precision in PRECISIONS)]
    # more of bfloat16, which differs in products alone, would take ten seconds to compile
    + [(precision, {"peepholes": True, "coupled": True}) for precision in ("float32", "float64", "int8")],
    ids=str,
)
def test_the_same_bits_in_any_batch_and_stepped(precision, options):
    for H in UNITS[:-2]:
        lstm, dtype = made(H, precision, **options)
        x = lstms.normal((4, 13, 3), dtype, H)
        y, (_, c) = lstm(x)
        assert y.dtype == dtype
        assert y.shape == (4, 13, H)
        for first, last in ((0, 1), (1, 3), (3, 6), (6, 10), (4, 9), (0, 8)):
            some, (some_h, some_c) = lstm(x[:, first:last])
            np.testing.assert_array_equal(some, y[:, first:last], err_msg=f"{H} units, rows {first} to {last}")
            np.testing.assert_array_equal(some_c, c[:, first:last])
            cell, stepped = lstm.cell(), (np.zeros_like(some_h[0]), np.zeros_like(some_c[0]))
            for t in range(4):
                cell.step(x[t, first:last], *stepped)
                np.testing.assert_array_equal(stepped[0], y[t, first:last], err_msg=f"{H} units, step {t}")
            np.testing.assert_array_equal(stepped[1], some_c[0])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_projections_of_any_size(precision):
    for H, P in ((9, 1), (12, 5), (20, 8), (40, 12), (70, 33), (70, 17)):
        lstm, dtype = made(H, precision, proj_size=P)
        x = lstms.normal((3, 7, 3), dtype, P)
        y, _ = lstm(x)
        for b in range(7):
            np.testing.assert_array_equal(lstm(x[:, b : b + 1])[0][:, 0], y[:, b], err_msg=f"{H} units to {P}")
        if precision.startswith("float"):
            lstms.check(lstm, x)


DIGEST = """
import hashlib, sys
import numpy as np
import fastcell as fc
total = hashlib.sha256()
for H in (1, 3, 4, 6, 8, 12, 13, 16, 20, 28, 37):
    for P in (0, H // 3):
        precision = sys.argv[1]
        dtype = "float64" if precision == "float64" else "float32"
        lstm = fc.LSTM(5, H, proj_size=P, dtype=dtype, precision=precision, seed=1)
        x = np.random.default_rng(H).standard_normal((5, 9, 5)).astype(dtype)
        for B in (1, 4, 9):
            y, (h, c) = lstm(x[:, :B])
            total.update(y.tobytes() + c.tobytes())
print(total.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_bits_at_every_vector_width(precision):
    found = {
        bits: processes.python("-c", DIGEST, precision, FASTCELL_VECTOR_BITS=bits).stdout.strip()
        for bits in ("128", "256", "512")
    }
    assert len(set(found.values())) == 1, found
    assert len(found["128"]) == 64


def test_a_last_group_takes_what_its_units_fill():
    lanes = VECTOR_BITS // 32
    for quarters in (1, 2, 3, 4):
        size = layout.sizes(3, 2 * lanes + quarters * lanes // 4, 0, 4, lambda count: 0)
        assert (size.groups, size.last) == (3, quarters)
        size = layout.sizes(3, 200, 5 * lanes - 1 - (4 - quarters) * lanes, 4, lambda count: 0)
        assert (size.p_groups, size.p_last) == ((2, 1) if quarters == 4 else (1, quarters + 1))
