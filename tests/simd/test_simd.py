"""The vector type, operation by operation, against NumPy and Python's integers."""

from fractions import Fraction

import numpy as np
import pytest
from numba import njit

from fastcell._checks import round_up
from fastcell._jit import VECTOR_BITS
from fastcell.scan.blocks import NARROW
from fastcell.simd.tiles import load_bytes, load_square, store_square, transpose
from fastcell.simd.vector import (
    LANES,
    add_overflows,
    address,
    any_lane,
    bits,
    convert,
    fence,
    first_lane,
    fma,
    is_double,
    last_lane,
    load,
    load_first,
    load_scalar,
    mask_at,
    mask_bits,
    mul_overflows,
    places,
    polynomial,
    prefetch,
    rotate,
    scratch,
    select,
    size_of,
    splat,
    store,
    store_first,
    store_scalar,
    store_stream,
    value_of,
    width,
    zeros,
)
from tests.helpers import processes

FLOATS = ("float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint32", "uint64")
NUMBERS = FLOATS + SIGNED + UNSIGNED
WIDE = 4 * LANES


def some(dtype, count, seed=0):
    """Numbers of a dtype, its extremes among them."""
    rng = np.random.default_rng(seed)
    if dtype in FLOATS:
        x = rng.standard_normal(count).astype(dtype)
        x[:: count // 4 + 1] = rng.permutation([np.nan, np.inf, -np.inf, -0.0])[: len(x[:: count // 4 + 1])]
        return x
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, count, dtype, endpoint=True)
    x[:: count // 3 + 1] = np.array([info.min, info.max, 1], dtype)[: len(x[:: count // 3 + 1])]
    return x


def pair(dtype, seed=0):
    x, y = some(dtype, LANES, seed), some(dtype, LANES, seed + 1)
    y[1::3] = x[1::3]  # so that some lanes are equal
    return x, y


@njit
def float_arithmetic(x, y, out, like):
    row = LANES * size_of(like)
    a, b = load(x, like, LANES), load(y, like, LANES)
    store(out, a + b)
    store(out + row, a - b)
    store(out + 2 * row, a * b)
    store(out + 3 * row, a / b)
    store(out + 4 * row, -a)
    store(out + 5 * row, a + 1)
    store(out + 6 * row, 1 - a)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", range(5))
def test_float_arithmetic(dtype, seed):
    x, y = pair(dtype, seed)
    out = np.empty((7, LANES), dtype)
    float_arithmetic(address(x), address(y), address(out), out.dtype.type(0))
    with np.errstate(all="ignore"):
        wanted = np.stack([x + y, x - y, x * y, x / y, -x, x + 1, 1 - x])
    np.testing.assert_array_equal(out, wanted)
    numbers = wanted == wanted
    np.testing.assert_array_equal(np.signbit(out[numbers]), np.signbit(wanted[numbers]))


@njit
def integer_arithmetic(x, y, out, like):
    row = LANES * size_of(like)
    a, b = load(x, like, LANES), load(y, like, LANES)
    store(out, a + b)
    store(out + row, a - b)
    store(out + 2 * row, a * b)
    store(out + 3 * row, a & b)
    store(out + 4 * row, a | b)
    store(out + 5 * row, a ^ b)
    store(out + 6 * row, ~a)
    store(out + 7 * row, -a)
    store(out + 8 * row, a + 1)
    store(out + 9 * row, 1 - a)


@pytest.mark.parametrize("dtype", SIGNED + UNSIGNED)
def test_integer_arithmetic_wraps_as_in_numpy(dtype):
    x, y = pair(dtype)
    out = np.empty((10, LANES), dtype)
    integer_arithmetic(address(x), address(y), address(out), out.dtype.type(0))
    one, zero = np.ones_like(x), np.zeros_like(x)
    wanted = [x + y, x - y, x * y, x & y, x | y, x ^ y, ~x, zero - x, x + one, one - x]
    np.testing.assert_array_equal(out, np.stack(wanted))


@njit
def shift(x, by, out, like):
    a, b = load(x, like, LANES), load(by, like, LANES)
    store(out, a << b)
    store(out + LANES * size_of(like), a >> b)


@pytest.mark.parametrize("dtype", SIGNED + UNSIGNED)
def test_shifts(dtype):
    x, _ = pair(dtype)
    by = (np.arange(LANES) % (x.itemsize * 8)).astype(dtype)
    out = np.empty((2, LANES), dtype)
    shift(address(x), address(by), address(out), out.dtype.type(0))
    np.testing.assert_array_equal(out, np.stack([x << by, x >> by]))


@njit
def compare(x, y, number, out, like):
    a, b = load(x, like, LANES), load(y, like, LANES)
    ones, zeros = splat(np.int8(1), LANES), splat(np.int8(0), LANES)
    store(out, select(a == b, ones, zeros))
    store(out + LANES, select(a != b, ones, zeros))
    store(out + 2 * LANES, select(a < b, ones, zeros))
    store(out + 3 * LANES, select(a <= b, ones, zeros))
    store(out + 4 * LANES, select(a > b, ones, zeros))
    store(out + 5 * LANES, select(a >= b, ones, zeros))
    store(out + 6 * LANES, select(a < number, ones, zeros))
    store(out + 7 * LANES, select(number < a, ones, zeros))


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("seed", range(5))
def test_comparisons(dtype, seed):
    x, y = pair(dtype, seed)
    number = x[-1]
    out = np.empty((8, LANES), np.int8)
    compare(address(x), address(y), number, address(out), number)
    wanted = np.stack([x == y, x != y, x < y, x <= y, x > y, x >= y, x < number, number < x])
    np.testing.assert_array_equal(out, wanted)


@njit
def masks(x, y, out, like):
    a, b = load(x, like, LANES) > 0, load(y, like, LANES) > 0
    store(out, convert(a & b, like))
    store(out + LANES, convert(a | b, like))
    store(out + 2 * LANES, convert(a ^ b, like))
    store(out + 3 * LANES, convert(~a, like))


def test_masks():
    x, y = pair("int8")
    out = np.empty((4, LANES), np.int8)
    masks(address(x), address(y), address(out), np.int8(0))
    np.testing.assert_array_equal(out, np.stack([(x > 0) & (y > 0), (x > 0) | (y > 0), (x > 0) ^ (y > 0), ~(x > 0)]))


@njit
def choose(x, y, number, out, like):
    row = LANES * size_of(like)
    a, b = load(x, like, LANES), load(y, like, LANES)
    store(out, select(a > b, a, b))
    store(out + row, select(a > b, a, number))
    store(out + 2 * row, select(a > b, number, b))
    store(out + 3 * row, select(a > b, a, 0))


@pytest.mark.parametrize("dtype", NUMBERS)
def test_select(dtype):
    x, y = pair(dtype)
    number = x.dtype.type(7)
    out = np.empty((4, LANES), dtype)
    choose(address(x), address(y), number, address(out), number)
    zero = np.zeros_like(x)
    wanted = [np.where(x > y, x, y), np.where(x > y, x, number), np.where(x > y, number, y), np.where(x > y, x, zero)]
    np.testing.assert_array_equal(out, np.stack(wanted))


@njit
def change(x, out, like, to):
    store(out, convert(load(x, like, WIDE), to))


@njit
def change_all(x, out, like, to):
    store(out[0], convert(load(x[0], like, WIDE), to[0]))
    store(out[1], convert(load(x[1], like, WIDE), to[1]))
    store(out[2], convert(load(x[2], like, WIDE), to[2]))
    store(out[3], convert(load(x[3], like, WIDE), to[3]))
    store(out[4], convert(load(x[4], like, WIDE), to[4]))
    store(out[5], convert(load(x[5], like, WIDE), to[5]))
    store(out[6], convert(load(x[6], like, WIDE), to[6]))
    store(out[7], convert(load(x[7], like, WIDE), to[7]))
    store(out[8], convert(load(x[8], like, WIDE), to[8]))


@pytest.mark.parametrize("source", NUMBERS)
def test_convert(source):
    """To each dtype, in one function, since most of the time goes to compiling."""
    xs, outs = [], [np.empty(WIDE, to) for to in NUMBERS]
    for to in NUMBERS:
        x = some(source, WIDE)
        if source in FLOATS and to not in FLOATS:  # a float that doesn't fit has no answer
            high = min(np.iinfo(to).max, 2**40)
            x = np.random.default_rng(0).uniform(-high if to in SIGNED else 0, high, WIDE).astype(source)
        xs.append(x)
    places = (tuple(address(array) for array in arrays) for arrays in (xs, outs))
    change_all(*places, np.dtype(source).type(0), tuple(np.dtype(to).type(0) for to in NUMBERS))
    with np.errstate(over="ignore"):
        for x, out, to in zip(xs, outs, NUMBERS, strict=True):
            np.testing.assert_array_equal(out, x.astype(to), err_msg=to)


def test_convert_to_float32_rounds_to_nearest_even():
    x = np.resize([1 + 2**-24, 1 + 3 * 2**-24, 1 + 2**-24 + 2**-50, 1e39, 1e-46, 16777217.0], WIDE)
    out = np.empty(WIDE, np.float32)
    change(address(x), address(out), np.float64(0), np.float32(0))
    np.testing.assert_array_equal(out[:6], np.array([1, 1 + 2**-22, 1 + 2**-23, np.inf, 0, 16777216], np.float32))


@njit
def mask_to(x, out, like, to):
    store(out, convert(load(x, like, LANES) > 0, to))


@pytest.mark.parametrize("to", NUMBERS)
def test_convert_of_a_mask_is_0_and_1(to):
    x, _ = pair("int16")
    out = np.empty(LANES, to)
    mask_to(address(x), address(out), np.int16(0), out.dtype.type(0))
    np.testing.assert_array_equal(out, (x > 0).astype(to))


@njit
def copy(x, out, like):
    store(out, load(x, like, LANES))
    store_scalar(out + LANES * size_of(like), load_scalar(x + (LANES - 1) * size_of(like), like))


@pytest.mark.parametrize("dtype", NUMBERS)
def test_load_and_store_at_any_address(dtype):
    x = some(dtype, LANES)
    width = x.itemsize
    for shift in range(2 * width + 1):
        source, out = np.full(LANES * width + 64, 77, np.uint8), np.full((LANES + 1) * width + 64, 99, np.uint8)
        source[shift : shift + x.nbytes] = x.view(np.uint8)
        copy(address(source) + np.uintp(shift), address(out) + np.uintp(shift + 1), x.dtype.type(0))
        written = out[shift + 1 : shift + 1 + x.nbytes + width]
        assert written.tobytes() == x.tobytes() + x[-1:].tobytes(), f"shifted by {shift}"
        assert (out[: shift + 1] == 99).all()
        assert (out[shift + 1 + x.nbytes + width :] == 99).all()


@njit
def spread(number, out):
    store(out, splat(number, LANES))


@pytest.mark.parametrize("dtype", NUMBERS)
def test_splat(dtype):
    number = some(dtype, LANES)[-1]
    out = np.empty(LANES, dtype)
    spread(number, address(out))
    np.testing.assert_array_equal(out, np.full(LANES, number))


@njit
def stream(x, out, like):
    store_stream(out, load(x, like, WIDE))
    fence()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8"])
def test_store_stream(dtype):
    x = some(dtype, WIDE)
    room = np.full(x.nbytes + 64, 99, np.uint8)
    start = -int(address(room)) % 16 + 16
    stream(address(x), address(room) + np.uintp(start), x.dtype.type(0))
    assert room[start : start + x.nbytes].tobytes() == x.tobytes()
    assert (room[:start] == 99).all()
    assert (room[start + x.nbytes :] == 99).all()


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "float64", "int64"])
@pytest.mark.parametrize(
    ("rows", "columns"), [(LANES, LANES), (LANES, NARROW), (LANES, 1), (NARROW, LANES), (1, LANES)], ids=str
)
def test_transpose(rows, columns, dtype):
    @njit
    def run(source, source_stride, rows_there, to, to_stride, columns_there, like):
        transpose(source, source_stride, rows_there, to, to_stride, columns_there, like, rows, columns)

    x = np.arange(rows * (columns + 3)).reshape(rows, columns + 3).astype(dtype)
    for rows_there in range(1, rows + 1):
        for columns_there in range(1, columns + 1):
            out = np.full((columns, rows + 5), 99, dtype)
            run(
                address(x), x.strides[0], rows_there, address(out), out.strides[0], columns_there, x.dtype.type(0)
            )  # fmt: skip
            there = x[np.minimum(np.arange(rows), rows_there - 1), :columns]  # the last row stands for those missing
            case = f"{rows_there} rows and {columns_there} columns there"
            np.testing.assert_array_equal(out[:columns_there, :rows], there.T[:columns_there], err_msg=case)
            assert (out[columns_there:] == 99).all(), case
            assert (out[:, rows:] == 99).all(), case


@njit
def overflows(x, y, out, like):
    a, b = load(x, like, LANES), load(y, like, LANES)
    store(out, convert(add_overflows(a, b), np.int8(0)))
    store(out + LANES, convert(mul_overflows(a, b), np.int8(0)))


@pytest.mark.parametrize("dtype", SIGNED)
def test_overflows_are_those_of_python_s_integers(dtype):
    info = np.iinfo(dtype)
    root = int(info.max**0.5)
    edges = [info.min, info.min + 1, -root - 1, -root, -2, -1, 0, 1, 2, root, root + 1, info.max // 2, info.max]
    first, second = (np.resize(a.reshape(-1), round_up(169, LANES)) for a in np.meshgrid(edges, edges))
    for k in range(0, len(first), LANES):
        x, y = first[k : k + LANES].astype(dtype), second[k : k + LANES].astype(dtype)
        out = np.empty((2, LANES), np.int8)
        overflows(address(x), address(y), address(out), x.dtype.type(0))
        pairs = list(zip(x.tolist(), y.tolist(), strict=True))
        assert out[0].tolist() == [not info.min <= a + b <= info.max for a, b in pairs]
        assert out[1].tolist() == [not info.min <= a * b <= info.max for a, b in pairs]


def test_floats_never_overflow():
    x = np.full(LANES, 1e308)
    out = np.ones((2, LANES), np.int8)
    overflows(address(x), address(x), address(out), np.float64(0))
    assert not out.any()


@njit
def fused(x, y, z, out, like):
    store(out, fma(load(x, like, LANES), load(y, like, LANES), load(z, like, LANES)))


@pytest.mark.parametrize("dtype", FLOATS)
def test_fma_rounds_once(dtype):
    rng = np.random.default_rng(0)
    x, y = (rng.integers(2**22, 2**24, LANES).astype(dtype) + (dtype == "float64") * 2.0**-28 for _ in range(2))
    z = -(x * y)
    out = np.empty(LANES, dtype)
    fused(*map(address, (x, y, z, out)), out.dtype.type(0))
    lanes = zip(x.tolist(), y.tolist(), z.tolist(), strict=True)
    exact = [float(Fraction(a) * Fraction(b) + Fraction(c)) for a, b, c in lanes]
    assert out.tolist() == exact
    assert out.any()  # the rounding error of x * y, which two roundings would not show


@njit
def lanes(x, like):
    a = load(x, like, LANES)
    return any_lane(a == 5), any_lane(a != a), first_lane(a)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_any_lane_and_first_lane(dtype):
    for lane in range(LANES):
        x = np.zeros(LANES, dtype)
        assert lanes(address(x), x.dtype.type(0)) == (False, False, 0)
        x[lane] = 5
        assert lanes(address(x), x.dtype.type(0)) == (True, False, 5 * (lane == 0))


@njit
def blocks():
    first = scratch(24)
    second = scratch(8)
    same = first
    for _ in range(3):
        same = max(same, scratch(16))
    return first, second, same


def test_scratch_is_aligned_and_one_block_a_call_site():
    first, second, third = blocks()
    assert [place % 64 for place in (first, second, third)] == [0, 0, 0]
    assert abs(int(first) - int(second)) >= 8
    assert len({first, second, third}) >= 2


@njit
def bytes_of(like):
    return size_of(like)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_size_of(dtype):
    assert bytes_of(np.dtype(dtype).type(0)) == np.dtype(dtype).itemsize


def test_address_and_prefetch():
    @njit
    def ask(place):
        prefetch(place)
        return place

    x = np.arange(12.0).reshape(3, 4)
    for view in (x, x[1:, ::2], x.T, x[::-1]):
        assert address(view) == view.__array_interface__["data"][0]
    assert ask(address(x)) == address(x)
    assert ask(np.uintp(0)) == 0  # nothing is there, and nothing happens


@pytest.mark.slow
@pytest.mark.parametrize("bits", [bits for bits in (128, 256) if bits != VECTOR_BITS])
def test_other_vector_widths(bits):
    """This module and some checks of the kernels, in processes whose vectors are not this machine's."""
    options = ["-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", "--tb=short"]
    for arguments in (["-m", "pytest", *options, __file__], [processes.CHECKS]):
        result = processes.python(*arguments, FASTCELL_VECTOR_BITS=str(bits))
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_less_optimized(level):
    environment = {"NUMBA_OPT": level, "FASTCELL_VECTOR_BITS": "128", "FASTCELL_CACHE": "0"}
    result = processes.python(processes.CHECKS, "columns", "gated_columns", "lstm_plain", "cell", **environment)
    assert result.returncode == 0, result.stderr[-2000:]


@njit
def rest(x, y, out, count, like):
    row = width(like) * size_of(like)
    a, b = load(x, like), load(y, like)
    store(out, polynomial(a, (1.0, 2.0, 3.0)))
    store(out + row, fma(a, 2.0, b))
    store(out + 2 * row, fma(a, b, 0.5))
    store(out + 3 * row, bits(bits(a)))
    store(out + 4 * row, zeros(like))
    store(out + 5 * row, load_first(x, like, count))
    store_first(out + 6 * row, a, count)
    return is_double(a), width(like)


@pytest.mark.parametrize("dtype", FLOATS)
def test_registers_parts_of_them_and_polynomials(dtype):
    lanes = VECTOR_BITS // (8 * np.dtype(dtype).itemsize)
    x, y = np.arange(lanes).astype(dtype), np.arange(lanes).astype(dtype)[::-1].copy()
    for count in range(lanes + 1):
        out = np.full((7, lanes), 99, dtype)
        double, wide = rest(address(x), address(y), address(out), count, x.dtype.type(0))
        assert (double, wide) == (dtype == "float64", lanes)
        first = np.where(np.arange(lanes) < count, x, 0)
        stored = np.where(np.arange(lanes) < count, x, 99)
        wanted = [1 + 2 * x + 3 * x * x, 2 * x + y, x * y + 0.5, x, 0 * x, first, stored]
        np.testing.assert_array_equal(out, np.stack(wanted).astype(dtype))


@njit
def lanes_and_masks(rules, values, at, moved, ends, picked):
    mask = load(rules, np.int8(0), 64) == 1
    store_scalar(at, mask_bits(mask))
    for k in range(8):
        x = load(values + 32 * k, np.float32(0), 8)
        store(moved + 96 * k, rotate(x, 1))
        store(moved + 96 * k + 32, rotate(x, 2))
        store(moved + 96 * k + 64, rotate(x, 4))
        store(ends + 32 * k, last_lane(x))
        store(picked + 32 * k, select(mask_at(at + k, 8), x, 0))


def test_masks_as_bits_and_moved_lanes():
    rng = np.random.default_rng(0)
    rules, values = rng.integers(-1, 2, 64).astype(np.int8), rng.standard_normal((8, 8)).astype(np.float32)
    bits, moved, ends, picked = (
        np.zeros(1, np.uint64),
        np.zeros((8, 3, 8), "f"),
        np.zeros((8, 8), "f"),
        np.zeros((8, 8), "f"),
    )
    lanes_and_masks(*(address(array) for array in (rules, values, bits, moved, ends, picked)))
    assert int(bits[0]) == sum(int(rule == 1) << k for k, rule in enumerate(rules))
    np.testing.assert_array_equal(moved, np.stack([np.roll(values, by, axis=1) for by in (1, 2, 4)], axis=1))
    np.testing.assert_array_equal(ends, np.repeat(values[:, -1:], 8, axis=1))
    np.testing.assert_array_equal(picked, np.where(rules.reshape(8, 8) == 1, values, 0))


@njit
def first_of_64(source, count, to):
    store(to, load_first(source, np.int8(0), count, 64))


def test_load_first_of_a_vector_wider_than_a_register():
    x, out = np.arange(1, 65, dtype=np.int8), np.zeros(64, np.int8)
    for count in (0, 1, 33, 64):
        first_of_64(address(x), count, address(out))
        np.testing.assert_array_equal(out, np.where(np.arange(64) < count, x, 0))


@njit
def square(source, stride, left, to, turned):
    columns = load_square(source, stride, np.float32(0), left)
    for k in range(8):
        store(to + 32 * k, columns[k])
    store_square(turned, stride, columns, left)


@njit
def square_of_bytes(source, stride, left, to):
    store(to, load_bytes(source, stride, left))


@pytest.mark.parametrize("left", [None, 1, 3, 4, 7])
def test_squares_are_transposed_and_read_only_what_is_there(left):
    rng = np.random.default_rng(0)
    x, columns = rng.standard_normal((8, 11)).astype(np.float32), np.zeros((8, 8), np.float32)
    turned = np.full((8, 11), 99, np.float32)
    square(address(x), x.strides[0], left, address(columns), address(turned))
    there = 8 if left is None else left
    np.testing.assert_array_equal(columns[:there], x[:, :there].T)
    assert not columns[there:].any()
    np.testing.assert_array_equal(turned[:, :there], x[:, :there])  # back in rows
    assert (turned[:, there:] == 99).all()
    rules, out = rng.integers(-1, 2, (8, 11)).astype(np.int8), np.full((8, 8), 99, np.int8)
    square_of_bytes(address(rules), rules.strides[0], left, address(out))
    np.testing.assert_array_equal(out[:there], rules[:, :there].T)
    assert not out[there:].any()


@njit
def look(array):
    return places(array), value_of(array)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i8", "?"])
def test_places_of_an_array(dtype):
    base = np.zeros((6, 8), dtype)
    for array in (base, base[:, 1], base[::-2, 3:], base.T):
        (at, *rest), like = look(array)
        pairs = [number for axis in range(array.ndim) for number in (array.shape[axis], array.strides[axis])]
        assert (at, rest) == (array.ctypes.data, [*pairs, 1, 0][:4])
        assert like == 0
