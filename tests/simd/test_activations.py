"""Activations against mpmath and NumPy's long double: ulp, symmetry, range, ends."""

import math

import numpy as np
import pytest
from numba import njit

from fastcell._checks import round_up
from fastcell.simd.activations import KNOWN, activate, sigmoid, tanh
from fastcell.simd.vector import address, load, size_of, store, width

ULP = 4


@njit
def run_sigmoid(x, out, count, like):
    for k in range(0, count, width(like)):
        store(out + k * size_of(like), sigmoid(load(x + k * size_of(like), like)))


@njit
def run_tanh(x, out, count, like):
    for k in range(0, count, width(like)):
        store(out + k * size_of(like), tanh(load(x + k * size_of(like), like)))


@njit
def run_any(x, out, count, code, alpha, beta, like):
    for k in range(0, count, width(like)):
        store(out + k * size_of(like), activate(load(x + k * size_of(like), like), code, alpha, beta))


def apply(name, x, *numbers):
    padded = np.zeros(round_up(len(x), 64), x.dtype)
    padded[: len(x)] = x
    out = np.empty_like(padded)
    like = x.dtype.type(0)
    if numbers or name not in ("sigmoid", "tanh"):
        code, *defaults = KNOWN[name]
        alpha, beta = [*numbers, *defaults[len(numbers) :]]
        run_any(address(padded), address(out), len(padded), code, alpha, beta, like)
    else:
        {"sigmoid": run_sigmoid, "tanh": run_tanh}[name](address(padded), address(out), len(padded), like)
    return out[: len(x)]


def in_double(name, x):
    """The true value of float32 arguments, to a double's rounding."""
    x = x.astype(np.float64)
    if name == "tanh":
        return np.tanh(x)
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def ulps(got, wanted):
    return np.abs(got.astype(np.float64) - wanted) / np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)


def check_single(name, x):
    y = apply(name, x)
    worst = ulps(y, in_double(name, x))
    assert worst.max() <= ULP, f"{name}({x[worst.argmax()]}) is {worst.max()} ulp off"
    low = 0 if name == "sigmoid" else -1
    assert y.min() >= low
    assert y.max() <= 1
    if name == "tanh":
        np.testing.assert_array_equal(apply(name, -x).view(np.int32), (-y).view(np.int32))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_single_precision_on_a_dense_sweep(name):
    bits = np.arange(0, 0x7F800000, 211, dtype=np.uint32)
    x = bits.view(np.float32)
    check_single(name, np.concatenate([x, -x]))
    check_single(name, np.linspace(-110, 110, 2_000_003).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_single_precision_on_every_float(name):
    for start in range(0, 0x7F800000, 1 << 24):
        bits = np.arange(start, min(start + (1 << 24), 0x7F800000), dtype=np.uint32)
        x = bits.view(np.float32)
        check_single(name, x)
        check_single(name, -x)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_double_precision_against_mpmath(name):
    mpmath = pytest.importorskip("mpmath", reason="the reference in double precision")
    mpmath.mp.prec = 120
    rng = np.random.default_rng(0)
    sizes = np.concatenate([rng.uniform(0, 1, 1500), rng.uniform(0, 45, 1500), 10 ** rng.uniform(-300, 2.87, 1500)])
    edges = [0.0, 5e-324, 2.2e-308, 0.34657, 0.17328, 22.0, 36.0, 708.0, 709.8, 744.0, 745.2, 746.5, 1e5, 1e300]
    x = np.concatenate([sizes, edges])
    x = np.concatenate([x, -x])
    y = apply(name, x)
    true = mpmath.tanh if name == "tanh" else lambda v: 1 / (1 + mpmath.exp(-v))
    for v, got in zip(x.tolist(), y.tolist(), strict=True):
        wanted = true(mpmath.mpf(v))
        off = abs(mpmath.mpf(got) - wanted) / mpmath.mpf(math.ulp(float(wanted)))
        assert off <= ULP, f"{name}({v!r}) is {got!r}, {float(off)} ulp off"
    assert y.min() >= (0 if name == "sigmoid" else -1)
    assert y.max() <= 1
    if name == "tanh":
        np.testing.assert_array_equal(apply(name, -x).view(np.int64), (-y).view(np.int64))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ends_and_nan(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(apply("sigmoid", x), np.array([0.5, 0.5, 1, 0, np.nan], dtype))
    y = apply("tanh", x)
    np.testing.assert_array_equal(y, np.array([0, 0, 1, -1, np.nan], dtype))
    assert np.signbit(y).tolist()[:4] == [False, True, False, True]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(KNOWN))
def test_all_of_them(name, dtype):
    inf, nan = np.inf, np.nan
    x = np.concatenate([np.random.default_rng(0).normal(0, 3, 1000), [0.0, 0.5, 1.0, -1.0, 40.0, -40.0]]).astype(dtype)
    z = x.astype(np.float64)
    a, b = 0.3, 0.6
    wanted = {
        "sigmoid": 1 / (1 + np.exp(-z)),
        "tanh": np.tanh(z),
        "relu": np.maximum(z, 0),
        "hard_sigmoid": np.clip(a * z + b, 0, 1),
        "softsign": z / (1 + np.abs(z)),
        "leaky_relu": np.where(z < 0, a * z, z),
        "elu": np.where(z < 0, a * np.expm1(np.minimum(z, 0)), z),
        "softplus": np.logaddexp(z, 0),
        "affine": a * z + b,
        "threshold": np.where(z >= np.dtype(dtype).type(a), z, 0),
        "scaled_tanh": a * np.tanh(b * z),
        "identity": z,
    }[name]
    got = apply(name, x, a, b)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got, wanted, rtol=8 * eps, atol=2 * eps)  # ends of sums such as affine's cancel
    ends = apply(name, np.array([inf, -inf, nan], dtype), a, b)
    infinite = {
        "sigmoid": (1, 0), "tanh": (1, -1), "relu": (inf, 0), "hard_sigmoid": (1, 0), "softsign": (1, -1),
        "leaky_relu": (inf, -inf), "elu": (inf, -a), "softplus": (inf, 0), "affine": (inf, -inf),
        "threshold": (inf, 0), "scaled_tanh": (a, -a), "identity": (inf, -inf),
    }[name]  # fmt: skip
    np.testing.assert_allclose(ends, [*infinite, nan], rtol=8 * eps)
