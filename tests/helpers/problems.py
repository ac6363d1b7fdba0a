"""Inputs for the tests: seeded, in every layout that an array can have."""

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def _strided(x: Array) -> Array:
    big = np.empty([2 * n + 1 for n in x.shape], x.dtype)
    view = big[tuple(slice(1, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def _read_only(x: Array) -> Array:
    x = x.copy()
    x.flags.writeable = False
    return x


def _misaligned(x: Array) -> Array:
    raw = np.empty(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": _strided,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "columns reversed": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "read-only": _read_only,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "misaligned": _misaligned,
}
VALUES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool")
RULES = ("int8", "int64", "float32", "float64")
SHAPES = (
    (0,), (1,), (2,), (127,), (128,), (1100,), (5000,),
    (0, 3), (3, 0), (1, 1), (2, 2), (7, 3), (100, 5), (40, 15), (40, 16), (41, 17), (300, 33), (9, 70),
    (5, 2, 3), (30, 4, 8), (4, 0, 2),
)  # fmt: skip


def toy(shape: tuple[int, ...], values: str = "float64", rules: str = "int8", seed: int = 0) -> tuple[Array, ...]:
    """(x1, x2, x3). Floats are whole numbers over 4, which float64 sums exactly in any order."""
    rng = np.random.default_rng([seed, *shape])
    x1 = rng.integers(0, 2 if values == "bool" else 100, shape)
    x1 = (x1 - 50) / 4 if values[0] == "f" else x1 - (50 if values[0] == "i" else 0)
    x2 = rng.integers(-1, 3, shape)
    x3 = rng.integers(0, 2, shape)
    return x1.astype(values), x2.astype(rules), x3.astype(rules)


def gates(shape: tuple[int, ...], values: str = "float64", seed: int = 0) -> tuple[Array, ...]:
    """(x, f, i, o) of random floats."""
    rng = np.random.default_rng([seed, *shape])
    return tuple(rng.standard_normal(shape).astype(values) * scale for scale in (1, 0.7, 1, 1))


def columns(x: Array) -> Array:
    """(T, ...) as (T, B) or (T,), which the oracle takes."""
    return x if x.ndim == 1 else x.reshape(len(x), int(np.prod(x.shape[1:])))


def same(actual: Array, expected: object, dtype: object) -> None:
    """Assert dtype, shape and bits (of zeros, either sign)."""
    actual = np.asarray(actual)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.asarray(expected, dtype=np.float64 if np.dtype(dtype).kind == "f" else None).astype(dtype)
    assert actual.dtype == dtype
    assert actual.shape == expected.reshape(actual.shape).shape
    np.testing.assert_array_equal(actual, expected.reshape(actual.shape))
