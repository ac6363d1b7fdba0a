"""Interleaved streams by key, and masks: each row as if it ran alone over the steps that are its own."""

import itertools

import numpy as np
import pytest

import fastcell as fc
from fastcell import oracle
from tests.helpers import lstms

PRECISIONS = ["float32", "float64", "bfloat16", "int8"]


def _lstm(precision="float32", layers=2, **options):
    dtype = "float64" if precision == "float64" else "float32"
    return fc.LSTM(3, 9, layers, precision=precision, dtype=dtype, seed=0, **options)


def _events(T=150, K=17, seed=0, dtype="float32"):
    """Keys with many events and with few; the last key has none."""
    rng = np.random.default_rng(seed)
    return lstms.normal((T, 3), dtype, seed), np.minimum(rng.geometric(0.2, T) - 1, K - 2), rng.random(T) < 0.1


@pytest.mark.parametrize(
    ("precision", "options"),
    [
        *itertools.product(PRECISIONS, [{}, {"proj_size": 4}]),
        *((precision, {"peepholes": True, "clip": 0.5}) for precision in PRECISIONS if precision != "bfloat16"),
    ],
    ids=str,
)  # peepholes of bfloat16, whose products alone differ, are test_precision.py's
def test_each_stream_has_the_bits_that_it_has_alone(options, precision):
    lstm = _lstm(precision, **options)
    x, keys, reset = _events(dtype=lstm.dtype)
    state = tuple(lstms.normal((2, 17, size), lstm.dtype, size) for size in (lstm.output_size, 9))
    y, (h, c) = lstm(x, state, keys=keys, reset=reset)
    assert (y.dtype, y.shape, h.shape, c.shape) == (lstm.dtype, (150, lstm.output_size), state[0].shape, state[1].shape)
    for k in range(17):
        own, start = keys == k, tuple(part[:, k] for part in state)
        wanted, (wanted_h, wanted_c) = lstm(x[own], start, reset=reset[own])
        np.testing.assert_array_equal(y[own], wanted)
        np.testing.assert_array_equal(h[:, k], wanted_h)
        np.testing.assert_array_equal(c[:, k], wanted_c)
    np.testing.assert_array_equal(h[:, 16], state[0][:, 16])  # no event


@pytest.mark.parametrize("cut", [0, 1, 70, 150])
def test_cut_anywhere_and_carried_over(cut):
    lstm = _lstm()
    x, keys, _ = _events()
    y, state = lstm(x, keys=keys)
    assert state[0].shape == (2, 16, 9)  # the largest key + 1
    zeros = np.zeros((2, 16, 9), "f")
    first, middle = lstm(x[:cut], (zeros, zeros), keys=keys[:cut])
    second, last = lstm(x[cut:], middle, keys=keys[cut:])
    np.testing.assert_array_equal(np.concatenate([first, second]), y)
    for got, want in zip(last, state, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("K", [1, 40])
def test_one_stream_and_one_event_each(K):
    lstm = _lstm()
    x = lstms.normal((40, 3))
    keys = np.arange(40) % K
    y, (h, _) = lstm(x, keys=keys)
    wanted = lstm(x)[0] if K == 1 else lstm(x[None])[0][0]
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(h[1], y[-1:] if K == 1 else y)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_keys_of_any_integer_threads_out_and_layouts(dtype):
    lstm = _lstm()
    x, keys, _ = _events()
    y, state = lstm(x, keys=keys)
    for threads in (1, 2, 5):
        np.testing.assert_array_equal(lstm(x, keys=keys.astype(dtype), threads=threads)[0], y)
    out = np.full((150, 18), 7, "f")
    returned, (h, _) = lstm(np.asfortranarray(x), keys=keys.tolist(), out=out[:, ::2], batch_first=True)
    np.testing.assert_array_equal(returned, y)
    np.testing.assert_array_equal(h, state[0])
    assert (out[:, 1::2] == 7).all()
    np.testing.assert_array_equal(lstm(x.astype(float), keys=keys)[0], y)


def test_streams_beside_the_oracle():
    start = lstms.normal((2, 9), seed=5), lstms.normal((2, 9), seed=6)
    lstm = _lstm("float64", initial_state=start)
    x, keys, reset = _events(30, 6, dtype="float64")
    weights = {name: w.tolist() for name, w in lstm.state_dict().items()}
    given = {"keys": keys.tolist(), "reset": reset.tolist(), "initial_state": [p.tolist() for p in lstm.initial_state]}
    wanted, (h, c) = oracle.lstm(x.tolist(), weights, **given)
    y, state = lstm(x, keys=keys, reset=reset)
    for got, want in zip((y, *state), (wanted, h, c), strict=True):
        np.testing.assert_allclose(got, np.array(want), rtol=0, atol=1e-13)


def test_no_events():
    y, (h, c) = _lstm()(np.zeros((0, 3), "f"), keys=np.zeros(0, int))
    assert (y.shape, h.shape, c.shape) == ((0, 9), (2, 0, 9), (2, 0, 9))
    state = lstms.normal((2, 4, 9)), lstms.normal((2, 4, 9))
    y, (h, c) = _lstm()(np.zeros((0, 3), "f"), state, keys=np.zeros(0, int))
    np.testing.assert_array_equal(h, state[0])
    np.testing.assert_array_equal(c, state[1])


def test_keys_that_do_not_fit():
    lstm, x = _lstm(), np.zeros((3, 3), "f")
    state = np.zeros((2, 4, 9), "f"), np.zeros((2, 4, 9), "f")
    out = np.full((3, 9), 7, "f")
    for keys, error, match in (
        ([0, -1, 1], ValueError, "keys must be from 0 to K - 1 = 3, got -1 at index 1"),
        ([0, 1, 4], ValueError, "keys must be from 0 to K - 1 = 3, got 4 at index 2"),
        ([0, 1], ValueError, r"keys must have the shape of x without I, \(3,\), got \(2,\)"),
        ([0.0, 1.0, 2.0], TypeError, "keys must hold integers, got float64"),
        ([[0], [1], [2]], ValueError, "keys must have the shape"),
    ):
        with pytest.raises(error, match=match):
            lstm(x, state, keys=np.array(keys), out=out)
    with pytest.raises(ValueError, match=r"keys must be numbered from 0 on: got 1000000000 at index 2 of 3 rows"):
        lstm(x, keys=[0, 1, 10**9], out=out)
    with pytest.raises(ValueError, match=r"x must have shape \(T, I\) with I = 3, got \(3, 2, 3\)"):
        lstm(np.zeros((3, 2, 3)), keys=[0, 1, 2], out=out)
    with pytest.raises(ValueError, match=r"state's h must have shape \(L, K, H\), got \(2, 9\)"):
        lstm(x, (np.zeros((2, 9)), np.zeros((2, 9))), keys=[0, 1, 2], out=out)
    with pytest.raises(ValueError, match=r"state's c must have shape \(L\*D, B, H\) = \(2, 4, 9\), got \(2, 3, 9\)"):
        lstm(x, (state[0], np.zeros((2, 3, 9))), keys=[0, 1, 2], out=out)
    for name, options in (("bidirectional", {"bidirectional": True}), ("reverse", {"reverse": True})):
        with pytest.raises(ValueError, match="keys must be None where a direction runs backwards"):
            _lstm(layers=1, **options)(x, keys=[0, 1, 2])
        assert name
    for first, second in (("lengths", "mask"), ("lengths", "keys"), ("mask", "keys")):
        given = {"lengths": [3], "mask": [True, False, True], "keys": [0, 1, 2]}
        with pytest.raises(ValueError, match=f"{second} must be None where {first} is given"):
            lstm(x, **{first: given[first], second: given[second]}, out=out)
    assert (out == 7).all()


MASKS = {
    "left padding": np.arange(12)[:, None] >= np.arange(5) * 2,
    "right padding": np.arange(12)[:, None] < np.arange(5) * 3,
    "gaps": np.random.default_rng(0).random((12, 5)) < 0.5,
    "none": np.zeros((12, 5), bool),
    "all": np.ones((12, 5), bool),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MASKS)
def test_a_masked_step_does_not_exist(name, precision):
    lstm, mask = _lstm(precision, bidirectional=True), MASKS[name]
    x = lstms.normal((12, 5, 3), lstm.dtype)
    x[~mask] = np.nan
    state = lstms.normal((4, 5, 9), lstm.dtype, 1), lstms.normal((4, 5, 9), lstm.dtype, 2)
    y, (h, c) = lstm(x, state, mask=mask)
    assert (y.dtype, y.shape) == (lstm.dtype, (12, 5, 18))
    assert (y[~mask] == 0).all()
    for b in range(5):
        wanted, (wanted_h, wanted_c) = lstm(x[mask[:, b], b], tuple(part[:, b] for part in state))
        np.testing.assert_array_equal(y[mask[:, b], b], wanted)
        np.testing.assert_array_equal(h[:, b], wanted_h)
        np.testing.assert_array_equal(c[:, b], wanted_c)
    turned = lstm(x.transpose(1, 0, 2), state, mask=mask.T, batch_first=True, threads=3)[0]
    np.testing.assert_array_equal(turned.transpose(1, 0, 2), y)
    np.testing.assert_array_equal(lstm(x[:, 2], mask=mask[:, 2])[0], lstm(x[:, 2:3], mask=mask[:, 2:3])[0][:, 0])


def test_masks_beside_lengths_resets_and_the_oracle():
    x, mask = lstms.normal((12, 5, 3), "float64"), MASKS["right padding"]
    lengths = mask.sum(0)
    both = _lstm("float64", bidirectional=True)
    for got, want in zip(both(x, mask=mask)[1], both(x, lengths=lengths)[1], strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(both(x, mask=mask)[0], both(x, lengths=lengths)[0])
    gaps = MASKS["gaps"]
    for lstm, options in ((both, {}), (_lstm("float64"), {"reset": np.roll(gaps, 1, 1).tolist()})):
        y, (h, c) = lstm(x, mask=gaps, **options)
        for got, want in zip((y, h, c), lstms.by_oracle(lstm, x, mask=gaps.tolist(), **options), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


def test_masks_that_do_not_fit():
    lstm, x = _lstm(), np.zeros((4, 2, 3), "f")
    for mask, error, match in (
        (np.ones((2, 4), bool), ValueError, r"mask must have shape \(T, B\) = \(4, 2\), got \(2, 4\)"),
        (np.ones((4, 2)), TypeError, "mask must hold bool, got float64"),
        (np.ones((4, 2), int), TypeError, "mask must hold bool, got int64"),
    ):
        with pytest.raises(error, match=match):
            lstm(x, mask=mask)
