"""bfloat16 and int8: the oracle's numbers, the same bits whatever is around them, and input that fits neither."""

import copy
import pickle

import numpy as np
import pytest

import fastcell as fc
from fastcell import oracle
from fastcell.lstm import bfloat16, int8
from fastcell.lstm.config import Quantized
from tests.helpers import lstms, processes
from tests.helpers.cells import through

LOW = ["bfloat16", "int8"]
OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "projection": {"proj_size": 3},
    "peepholes": {"peepholes": True, "clip": 0.7, "coupled": True},
    "activations": {"activations": ("hard_sigmoid", "softsign", ("elu", 0.7))},
    "unbounded": {"activations": ("sigmoid", "relu", "identity"), "proj_size": 2},
    "reverse": {"reverse": True},
    "initial state": {"initial_state": (np.full((1, 7), 0.3), np.full((1, 7), -0.4))},
}
SPECIAL = "peepholes", "activations", "unbounded"


def of_each(names):
    """(name, precision), of both; bfloat16 with what is special is slow: its gates are float32's, compiled anew."""
    return [
        pytest.param(name, precision, marks=[pytest.mark.slow] * (name in SPECIAL and precision == "bfloat16"))
        for name in names
        for precision in LOW
    ]


# Steps and gates of whatever precision are the same code around its products.
ALONE = pytest.mark.parametrize("precision", [pytest.param("bfloat16", marks=pytest.mark.slow), "int8"])
ONE_STEP = 4e-6  # float32 sums of some hundred products of size 1, in another order, and activations within 2e-6
WHOLE = {"bfloat16": 2e-3, "int8": 8e-3}
"""A rounding that tips moves an operand by 2**-8 of itself, or by 1 / 127 of the row's largest."""


@pytest.mark.parametrize(("name", "precision"), of_each(OPTIONS))
def test_each_step_is_the_oracles(name, precision):
    options = OPTIONS[name]
    lstm = fc.LSTM(5, 7, precision=precision, seed=2, **options)
    x = lstms.normal((4, 5, 5), seed=3)
    start = lstm.initial_state or (np.zeros((1, lstm.output_size), "f"), np.zeros((1, 7), "f"))
    state = tuple(np.repeat(part[:, None], 5, 1).astype(np.float32) for part in start)
    for t in range(len(x)):
        y, new = lstm(x[t : t + 1], state)
        wanted = lstms.by_oracle(lstm, x[t : t + 1], state)
        for got, want in zip((y, *new), wanted, strict=True):
            assert got.dtype == np.float32
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=0, atol=ONE_STEP)
        state = new


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize(("I", "H", "P"), [(1, 1, 0), (127, 3, 0), (128, 5, 0), (129, 17, 0), (530, 8, 0), (3, 130, 4)])
def test_sizes_around_pairs_blocks_and_vectors(I, H, P, precision):
    lstm = fc.LSTM(I, H, proj_size=P, precision=precision, seed=I)
    for B in (1, 2, 7):
        x, state = lstms.normal((1, B, I), seed=B), (lstms.normal((1, B, P or H)), lstms.normal((1, B, H)))
        for got, want in zip((*lstm(x, state)[1],), lstms.by_oracle(lstm, x, state)[1:], strict=True):
            # up to 538 products; a rounding of h before its projection may tip
            np.testing.assert_allclose(got, want, rtol=0, atol=WHOLE[precision] if P else 6e-6)


@pytest.mark.parametrize("precision", LOW)
def test_layers_directions_lengths_and_resets(precision):
    x, lengths = lstms.normal((6, 4, 3)), [6, 0, 3, 5]
    both = fc.LSTM(3, 9, 2, bidirectional=True, precision=precision, seed=1)
    deep = fc.LSTM(3, 9, 3, precision=precision, seed=1)
    reset = (np.arange(24).reshape(6, 4) % 5 == 2).tolist()
    for lstm, options in ((both, {"lengths": lengths}), (deep, {"lengths": lengths}), (deep, {"reset": reset})):
        y, (h, c) = lstm(x, **options)
        for got, want in zip((y, h, c), lstms.by_oracle(lstm, x, **options), strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=0, atol=WHOLE[precision])


@pytest.mark.parametrize(("name", "precision"), of_each(["plain", "projection", "peepholes"]))
def test_the_same_bits_however_it_is_called(name, precision):
    lstm = fc.LSTM(6, 21, precision=precision, seed=0, **OPTIONS[name])
    x = lstms.normal((9, 14, 6))
    y, (h, c) = lstm(x, threads=1)
    for b in range(14):
        np.testing.assert_array_equal(lstm(x[:, b : b + 1])[0][:, 0], y[:, b])
    for threads in (2, 5):
        np.testing.assert_array_equal(lstm(x, threads=threads)[0], y)
    first, state = lstm(x[:4])
    second, last = lstm(x[4:], state)
    np.testing.assert_array_equal(np.concatenate([first, second]), y)
    np.testing.assert_array_equal(last[0], h)
    np.testing.assert_array_equal(lstm(np.asfortranarray(x))[0], y)
    np.testing.assert_array_equal(lstm(x[:, ::-1])[0], y[:, ::-1])
    np.testing.assert_array_equal(lstm(x.transpose(1, 0, 2), batch_first=True)[0].transpose(1, 0, 2), y)
    cell, stepped, memory = lstm.cell(), np.zeros_like(h[0]), np.zeros_like(c[0])
    for t in range(9):
        cell.step(x[t], stepped, memory)
        np.testing.assert_array_equal(stepped, y[t])
    np.testing.assert_array_equal(memory, c[0])


@ALONE
def test_steps_in_compiled_code(precision):
    lstm = fc.LSTM(3, 5, 2, precision=precision, seed=0)
    x, h, c = lstms.normal((6, 2, 3)), np.zeros((2, 2, 5), "f"), np.zeros((2, 2, 5), "f")
    through(lstm.params, x, h, c)
    want_h, want_c = lstm(x)[1]
    np.testing.assert_array_equal(h, want_h)
    np.testing.assert_array_equal(c, want_c)


DIGEST = """
import hashlib, sys
import numpy as np
import fastcell as fc
x = np.random.default_rng(0).standard_normal((3, 23, 530)).astype("f")
total = hashlib.sha256()
for precision in sys.argv[2:]:
    for options in [{}, {"proj_size": 6}][: int(sys.argv[1])]:
        y, (h, c) = fc.LSTM(530, 37, precision=precision, seed=1, **options)(x)
        total.update(y.tobytes() + c.tobytes())
print(total.hexdigest())
"""


MATRIX, OWN = "amx-tile,amx-bf16,amx-int8", "avx512bf16,avx512vnni,avxvnni"
WITHOUT = [{"FASTCELL_WITHOUT": names} for names in (MATRIX, f"{MATRIX},{OWN}")]


def agree(settings, kinds, precisions=LOW):
    """The same bits under all settings, of so many kinds of an LSTM."""
    runs = [processes.python("-c", DIGEST, str(kinds), *precisions, **setting) for setting in settings]
    assert len({run.stdout for run in runs}) == 1, [run.stdout + run.stderr for run in runs]
    assert len(runs[0].stdout.strip()) == 64


@pytest.mark.slow
def test_the_same_bits_at_every_vector_width():
    agree([*({"FASTCELL_VECTOR_BITS": bits} for bits in ("128", "256", "512")), *WITHOUT], 2)


def test_the_same_bits_without_the_cpus_own_instructions():
    """Of an LSTM without a projection in int8, with all of them and with none; the slow test has what is between.

    Without optimization, which takes most of the time to compile and changes no bit; Numba caches no such code.
    """
    agree([{}, WITHOUT[-1] | {"NUMBA_OPT": "0", "FASTCELL_CACHE": "0"}], 1, ["int8"])


@pytest.mark.parametrize("precision", LOW)
def test_the_same_weights_in_another_precision(precision, tmp_path):
    lstm = fc.LSTM(4, 6, 2, proj_size=3, seed=0)
    x = lstms.normal((5, 3, 4))
    low = lstm.with_precision(precision)
    assert (low.precision, low.dtype, lstm.precision) == (precision, np.float32, "float32")
    assert repr(low) == f"LSTM(4, 6, num_layers=2, dtype='float32', precision={precision!r})"
    y = low(x)[0]
    assert 0 < np.abs(y - lstm(x)[0]).max() < WHOLE[precision]
    made = fc.LSTM(4, 6, 2, proj_size=3, precision=precision, weights=lstm.state_dict())
    pytest.importorskip("safetensors")
    low.save(tmp_path / "low.safetensors")
    loaded = fc.LSTM.load(tmp_path / "low.safetensors")
    assert loaded.precision == precision
    for other in (made, loaded, copy.copy(low), pickle.loads(pickle.dumps(low)), low.with_precision(precision)):
        np.testing.assert_array_equal(other(x)[0], y)
    np.testing.assert_array_equal(low.with_precision("float32")(x)[0], lstm(x)[0])
    cell = low.cell(1)
    assert cell.precision == precision
    assert cell.with_precision("float32").precision == "float32"
    assert repr(cell) == f"LSTMCell(3, 6, dtype='float32', precision={precision!r})"
    assert fc.LSTMCell(2, 3, precision=precision, seed=0).precision == precision


@ALONE
def test_a_trace_shows_the_same_numbers(precision):
    lstm = fc.LSTM(3, 6, 2, precision=precision, seed=0)
    x = lstms.normal((5, 3, 3))
    trace = lstm.trace(x, layer=1)
    np.testing.assert_array_equal(trace.h, lstm(x)[0])
    c = np.concatenate([np.zeros((1, 3, 6)), trace.c[:-1]])
    # the trace's gates are exact, those of the pass within 2e-6 each
    np.testing.assert_allclose(trace.f * c + trace.i * trace.g, trace.c, rtol=0, atol=5e-6)
    np.testing.assert_allclose(trace.o * np.tanh(trace.c), trace.h, rtol=0, atol=4e-6)


def test_rounding_to_bfloat16():
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8 - 2**-20, 3.4e38, np.inf, -np.inf, 0, -0.0], np.float32)
    found = (bfloat16.rounded(values).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found, [1, 1, 1 + 2**-6, -1 - 2**-7, np.inf, np.inf, -np.inf, 0, 0])
    assert np.signbit(found[-1])
    word = np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000], np.uint32)  # NaN with payloads that rounding would carry off
    assert np.isnan((bfloat16.rounded(word.view(np.float32)).astype(np.uint32) << 16).view(np.float32)).all()
    random = lstms.normal(1000)
    found = (bfloat16.rounded(random).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found, [oracle.rounded(float(x), 8) for x in random])


def test_quantizing_weights():
    weights = lstms.normal((3, 300))
    weights[1, :128] = 0
    q, scales = int8.quantized(weights)
    assert (q.dtype, scales.dtype, scales.shape) == (np.int8, np.float32, (3, 3))
    assert scales[1, 0] == 0
    found = q * np.repeat(scales, 128, 1)[:, :300].astype(float)
    for row, got in zip(weights, found, strict=True):
        np.testing.assert_array_equal(got, oracle.rounded_weights(row.astype(float).tolist(), "int8"))
    assert np.abs(found - weights).max() <= scales.max() * 0.5001


def test_integers_with_scales_are_taken_as_they_are(tmp_path):
    pytest.importorskip("safetensors")
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.001, 0.01, 20).astype(np.float32)
    integers = {name: rng.integers(-128, 50, (20, size)).astype(np.int8) for name, size in (("ih", 3), ("hh", 5))}
    weights = {f"weight_{name}_l0": Quantized(values, scale) for name, values in integers.items()}
    lstm = fc.LSTM(3, 5, weights=weights)
    assert lstm.precision == "int8"
    x = np.array([[[127, -40, 3]]], np.float32)  # of which the scale is 1: the integers themselves
    z = scale * (integers["ih"].astype(int) @ [127, -40, 3])
    i, _, g, o = np.split(z.astype(float), 4)
    c = 1 / (1 + np.exp(-i)) * np.tanh(g)
    _, (h, found) = lstm(x)
    np.testing.assert_allclose(found[0, 0], c, rtol=0, atol=1e-6)
    np.testing.assert_allclose(h[0, 0], np.tanh(c) / (1 + np.exp(-o)), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(lstm.state_dict()["weight_hh_l0"], integers["hh"] * scale[:, None])
    lstm.save(tmp_path / "low.safetensors")
    x = lstms.normal((4, 2, 3))
    for other in (fc.LSTM.load(tmp_path / "low.safetensors"), pickle.loads(pickle.dumps(lstm))):
        assert other.precision == "int8"
        np.testing.assert_array_equal(other(x)[0], lstm(x)[0])
        np.testing.assert_array_equal(other.quantized()["weight_hh_l0"].values, integers["hh"])
    np.testing.assert_array_equal(lstm.with_precision("float32")(x)[0], fc.LSTM(3, 5, weights=lstm.state_dict())(x)[0])
    np.testing.assert_array_equal(fc.LSTM(3, 5, weights=weights, precision="float32")(x)[0],
                                  lstm.with_precision("float32")(x)[0])  # fmt: skip


@pytest.mark.parametrize("made", [fc.LSTM, fc.LSTMCell], ids=lambda made: made.__name__)
def test_a_precision_that_does_not_fit(made):
    for wrong in ("float16", "", "INT8"):
        with pytest.raises(ValueError, match="precision must be among float32, float64, bfloat16, int8, or None, got"):
            made(2, 3, precision=wrong)
    with pytest.raises(TypeError, match="precision must be a str or None, got int"):
        made(2, 3, precision=8)
    for precision in (*LOW, "float32"):
        with pytest.raises(ValueError, match=f"precision '{precision}' must go with dtype float32, got float64"):
            made(2, 3, precision=precision, dtype="float64")
        with pytest.raises(ValueError, match=f"precision '{precision}' must go with dtype float32, got float64"):
            made(2, 3, dtype="float64", seed=0).with_precision(precision)
    with pytest.raises(ValueError, match="precision 'float64' must go with dtype float64, got float32"):
        made(2, 3).with_precision("float64")
    assert made(2, 3, precision="int8").with_precision(None).precision == "float32"


def test_weights_of_which_no_integers_can_be_made():
    weights = fc.LSTM(2, 3, seed=0).state_dict()
    for value in (np.inf, np.nan):
        weights["weight_hh_l0"][0, 0] = value
        with pytest.raises(ValueError, match="weight_hh_l0 must be finite where precision is 'int8'"):
            fc.LSTM(2, 3, weights=weights, precision="int8")
        with pytest.raises(ValueError, match="weight_hh_l0 must be finite"):
            fc.LSTM(2, 3, weights=weights).with_precision("int8")
        low = fc.LSTM(2, 3, weights=weights, precision="bfloat16")
        assert np.isnan(low(np.ones((2, 1, 2), "f"), (np.zeros((1, 1, 3)), np.zeros((1, 1, 3))))[0][0, 0, 0])
    values = np.ones((12, 2), np.int8)
    for wrong, error, match in (
        (Quantized(values.astype(float), np.ones(12)), TypeError, "weight_ih_l0's values must hold int8, got float64"),
        (Quantized(values, np.ones(3)), ValueError, r"weight_ih_l0's scale must have shape \(12,\), got \(3,\)"),
        (Quantized(values, np.zeros(12)), ValueError, "weight_ih_l0's scale must be finite and above 0"),
        (Quantized(values[:3], np.ones(3)), ValueError, "weight_ih_l0 must have shape"),
    ):
        with pytest.raises(error, match=match):
            fc.LSTM(2, 3, weights=weights | {"weight_ih_l0": wrong, "weight_hh_l0": np.zeros((12, 3))})


@pytest.mark.parametrize("precision", LOW)
def test_nan_infinity_and_zeros(precision):
    lstm = fc.LSTM(3, 5, precision=precision, seed=0)
    x = lstms.normal((4, 4, 3))
    plain = lstm(x)[0]
    x[1, 1, 2] = np.nan
    x[1, 2, 0] = np.inf
    x[:, 3] = 0
    y = lstm(x)[0]
    np.testing.assert_array_equal(y[:, 0], plain[:, 0])
    np.testing.assert_array_equal(y[0, :3], plain[0, :3])
    assert np.isnan(y[1:, 1]).all()  # NaN stays in its row, and in it
    assert np.isfinite(y[:, 2:]).all() or precision == "bfloat16"
    assert (np.abs(y[:, 2][~np.isnan(y[:, 2])]) <= 1).all()
    np.testing.assert_allclose(y[:, 3], lstms.by_oracle(lstm, x[:, 3:])[0][:, 0], rtol=0, atol=WHOLE[precision])
    tiny = lstm(np.full((2, 1, 3), 1e-40, "f"))[0]
    np.testing.assert_allclose(tiny, lstm(np.zeros((2, 1, 3), "f"))[0], rtol=0, atol=1e-6)
    huge = lstm(np.full((2, 1, 3), 3e38, "f"))[0]
    assert np.isfinite(huge).all()
    zero = fc.LSTM(3, 5, precision=precision, weights={k: np.zeros_like(w) for k, w in lstm.state_dict().items()})
    np.testing.assert_array_equal(zero(x[:, :1])[0], np.zeros((4, 1, 5)))
    assert lstm(np.zeros((0, 2, 3), "f"))[0].shape == (0, 2, 5)
    assert lstm(np.zeros((2, 0, 3), "f"))[0].shape == (2, 0, 5)
    assert fc.LSTM(0, 5, precision=precision, seed=0)(np.zeros((2, 1, 0)))[0].shape == (2, 1, 5)


@pytest.mark.parametrize("precision", LOW)
def test_dask_takes_it_along(precision):
    da = pytest.importorskip("dask.array")
    lstm = fc.LSTM(3, 5, precision=precision, seed=0)
    x = lstms.normal((8, 4, 3))
    y, _ = fc.dask.lstm(lstm, da.from_array(x, chunks=(3, 2, 3)))
    np.testing.assert_array_equal(y.compute(scheduler="threads"), lstm(x)[0])
