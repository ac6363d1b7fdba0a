"""Infinities, NaN and the largest numbers follow the oracle through LSTM and cell; a row's place changes no bit."""

import itertools

import numpy as np
import pytest

import fastcell as fc
from tests.helpers.cells import OPTIONS, is_compiled, states, through, whole
from tests.helpers.lstms import FUNCTIONS, TOLERANCE, by_oracle, normal

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
STACKS = {
    **OPTIONS,
    "stack": {"num_layers": 2, "bidirectional": True},
    "projected stack": {"num_layers": 2, "proj_size": 3},
    "reverse, clip": {"reverse": True, "clip": 3.0},
}


def special(dtype):
    largest = float(np.finfo(dtype).max)
    return [np.inf, -np.inf, np.nan, largest, -largest, float(np.finfo(dtype).smallest_subnormal)]


def with_special(lstm, numbers, rng):
    """A row for each number and place: x at some step, h or c; of two in a row, sums in any order need not agree."""
    dtype, L = lstm.dtype, lstm.num_layers * lstm.directions
    rows = list(itertools.product(("x", "h", "c"), numbers))
    x = rng.standard_normal((4, len(rows), lstm.input_size)).astype(dtype)
    h, c = (rng.standard_normal((L, len(rows), width)).astype(dtype) for width in (lstm.output_size, lstm.hidden_size))
    for b, (where, number) in enumerate(rows):
        at = {"x": x[1], "h": h[L - 1], "c": c[L - 1]}[where][b]
        at[rng.integers(len(at))] = number
    return x, (h, c)


def follows(lstm, x, state, **options):
    """Assert the oracle's infinities and NaN, and its numbers within the tolerance of numbers."""
    y, (h, c) = lstm(x, state, **options)
    wanted = by_oracle(lstm, x, state, **options)
    for name, got, want in zip("yhc", (y, h, c), wanted, strict=True):
        assert got.dtype == lstm.dtype, name
        finite = np.isfinite(want)
        np.testing.assert_array_equal(got[~finite], want[~finite], err_msg=f"{name} of {lstm}")
        off = np.abs(got[finite] - want[finite]) / np.maximum(1, np.abs(want[finite]))
        assert (off <= TOLERANCE[lstm.dtype.name]).all(), f"{name} of {lstm}: off by {off.max()}"
    return y


@DTYPES
@pytest.mark.parametrize("H", [6, 17, 40])
@pytest.mark.parametrize("option", STACKS)
def test_special_numbers_follow_the_oracle(option, H, dtype):
    lstm = fc.LSTM(3, H, dtype=dtype, seed=H, **STACKS[option])
    x, state = with_special(lstm, special(dtype), np.random.default_rng(H))
    y = follows(lstm, x, state)
    assert np.isnan(y).any()
    assert np.isfinite(y).any()
    follows(lstm, x, state, lengths=np.arange(len(x[0])) % 5)


@DTYPES
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_numbers_through_every_activation(name, dtype):
    for place, peepholes in itertools.product(range(3), (False, True)):
        activations = ["sigmoid", "tanh", "tanh"]
        activations[place] = name
        lstm = fc.LSTM(3, 9, activations=tuple(activations), dtype=dtype, seed=1, peepholes=peepholes)
        x, state = with_special(lstm, [np.inf, -np.inf, np.nan], np.random.default_rng(place))
        follows(lstm, x, state)


@DTYPES
@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "largest"])
def test_special_weights_follow_the_oracle(number, dtype):
    """One in a bias or a peephole: a gate that is 0, 1 or NaN."""
    value = float(np.finfo(dtype).max) if number == "largest" else float(number)
    plain = fc.LSTM(3, 17, dtype=dtype, peepholes=True, seed=0)
    x = normal((4, 3, 3), dtype)
    for name, unit in (("bias_ih_l0", 2), ("bias_hh_l0", 20), ("weight_peephole_l0", 3), ("bias_ih_l0", 60)):
        weights = plain.state_dict()
        weights[name][unit] = value
        follows(fc.LSTM(3, 17, dtype=dtype, peepholes=True, weights=weights), x, None)


@DTYPES
@pytest.mark.parametrize("option", OPTIONS)
def test_a_cell_takes_special_numbers_as_the_sequence_does(option, dtype):
    lstm = fc.LSTM(3, 17, dtype=dtype, seed=1, **OPTIONS[option])
    x, (h, c) = with_special(lstm, special(dtype), np.random.default_rng(0))
    h, c = h[0], c[0]
    y, last_h, last_c = whole(lstm, x, h, c)
    cell, stepped = lstm.cell(), [(h, c)]
    if is_compiled(cell, x):
        stepped.append((h.copy(), c.copy()))
        through(cell.params, x, *stepped[1])
    for t in range(len(x)):
        cell.step(x[t], h, c)
        np.testing.assert_array_equal(h, y[t])
    for got in stepped:
        np.testing.assert_array_equal(got[0], last_h)
        np.testing.assert_array_equal(got[1], last_c)


ROWS = [*range(1, 27), 64, 65, 131]


@DTYPES
@pytest.mark.parametrize("option", OPTIONS)
def test_a_row_has_the_same_bits_at_every_place_in_every_batch(option, dtype):
    """In calls, steps and compiled steps: one row against batches of nothing but that row."""
    lstm = fc.LSTM(5, 37, dtype=dtype, seed=3, **OPTIONS[option])
    cell, x = lstm.cell(), normal((3, 1, 5), dtype)
    h, c = states(lstm, (1,))
    wanted = whole(lstm, x, h, c)
    for B in ROWS:
        many, many_h, many_c = (np.repeat(array, B, axis=-2) for array in (x, h, c))
        got = whole(lstm, many, many_h, many_c)
        for array, want in zip(got, wanted, strict=True):
            assert array.tobytes() == np.repeat(want, B, axis=-2).tobytes(), f"a call, {B} rows"
        stepped = {"compiled steps": (many_h.copy(), many_c.copy())} if is_compiled(cell, many) else {}
        for state in stepped.values():
            through(cell.params, many, *state)
        for x_t in many:
            cell.step(x_t, many_h, many_c)
        stepped["steps"] = many_h, many_c
        for name, state in stepped.items():
            for array, want in zip(state, got[1:], strict=True):
                assert array.tobytes() == want.tobytes(), f"{name}, {B} rows"


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("order", "CF")
def test_a_column_has_the_same_bits_at_every_place_in_every_batch(order, dtype):
    rng = np.random.default_rng(0)
    rules = rng.integers(-1, 2, (150, 1)).astype(np.int8)
    gates = [rng.integers(-1, 2, (150, 1)) if dtype == "int64" else rng.uniform(-1, 1, (150, 1)) for _ in range(4)]
    x, f, i, o = (gate.astype(dtype) for gate in gates)
    for run, given in ((fc.toy_scan, (x, rules, abs(rules))), (fc.gated_scan, (x, f, i, o))):
        wanted = run(*(np.repeat(array, 2, axis=1) for array in given)).y[:, :1]
        for B in ROWS[1:]:
            for threads in (1, 3):
                y = run(*(np.asarray(np.repeat(array, B, axis=1), order=order) for array in given), threads=threads).y
                assert y.tobytes() == np.repeat(wanted, B, axis=1).tobytes(), f"{run.__name__}, {B} columns"
