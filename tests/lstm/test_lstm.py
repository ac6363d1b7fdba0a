"""The LSTM against the oracle, and what holds of every LSTM: same bits however it is cut, rows apart, errors."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcell as fc
from fastcell.lstm import driver
from tests.helpers.lstm_options import configurations
from tests.helpers.lstms import FUNCTIONS, check, normal


@settings(max_examples=int(os.environ.get("FASTCELL_EXAMPLES", "60")))
@given(configurations(), st.integers(0, 5), st.sampled_from([1, 2, 3, 4, 5, 7, 13]), st.data())
def test_any_configuration_agrees_with_the_oracle(options, T, B, data):
    lstm = fc.LSTM(**options)
    x = normal((T, B, options["input_size"]), options["dtype"], options["seed"])
    more = {}
    if data.draw(st.booleans()):
        more["lengths"] = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B))
    if data.draw(st.booleans()) and not (lstm.bidirectional or lstm.reverse):
        more["reset"] = np.random.default_rng(1).random((T, B)) < 0.3
    L, state = lstm.num_layers * lstm.directions, None
    if data.draw(st.booleans()):
        state = normal((L, B, lstm.output_size), seed=2), normal((L, B, lstm.hidden_size), seed=3)
    check(lstm, x, state, **more)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("H", [1, 7, 8, 9, 15, 16, 17, 33, 64, 70])
def test_sizes_around_the_vectors_and_tiles(H, dtype):
    lstm = fc.LSTM(3, H, dtype=dtype, seed=H)
    for B in (1, 2, 3, 4, 5, 6, 7, 13):
        check(lstm, normal((3, B, 3), dtype, B))


@pytest.mark.parametrize("name", list(FUNCTIONS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation_in_every_place(name, dtype):
    for place in range(3):
        activations = ["sigmoid", "tanh", "tanh"]
        activations[place] = name
        check(fc.LSTM(3, 9, activations=tuple(activations), dtype=dtype, seed=1), normal((4, 3, 3), dtype))


def test_one_bias_counts_as_two():
    lstm = fc.LSTM(3, 5, seed=0)
    weights = lstm.state_dict()
    bias = weights.pop("bias_ih_l0") + weights.pop("bias_hh_l0")
    x = normal((4, 2, 3))
    np.testing.assert_array_equal(fc.LSTM(3, 5, weights={**weights, "bias_hh_l0": bias})(x)[0], lstm(x)[0])


def same(first, second):
    for a, b in zip((first[0], *first[1]), (second[0], *second[1]), strict=True):
        np.testing.assert_array_equal(a, b)


STACKS = [{}, {"num_layers": 2, "proj_size": 5}, {"peepholes": True, "clip": 2.0}, {"dtype": "float64"}]


@pytest.mark.parametrize("options", STACKS, ids=str)
def test_the_same_bits_in_any_batch_any_cut_any_thread(options):
    lstm = fc.LSTM(7, 37, seed=3, **options)
    x = normal((19, 131, 7))
    whole = lstm(x, threads=1)
    for threads in (2, 3, 64):
        same(lstm(x, threads=threads), whole)
    for b in (0, 1, 64, 130):
        alone = lstm(x[:, b : b + 1])
        np.testing.assert_array_equal(alone[0][:, 0], whole[0][:, b])
        np.testing.assert_array_equal(alone[1][1][:, 0], whole[1][1][:, b])
    order = np.random.default_rng(0).permutation(131)
    np.testing.assert_array_equal(lstm(x[:, order])[0], whole[0][:, order])
    for cut in (0, 1, 10, 19):
        y, state = lstm(x[:cut])
        rest, last = lstm(x[cut:], state)
        same((np.concatenate([y, rest]), last), whole)
    state, steps = None, []
    for t in range(19):
        y, state = lstm(x[t : t + 1], state)
        steps.append(y)
    same((np.concatenate(steps), state), whole)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"reverse": True}], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_lengths_are_rows_run_alone(options, threads):
    lstm = fc.LSTM(3, 17, seed=5, **options)
    T, B = 11, 29
    x = normal((T, B, 3))
    lengths = np.random.default_rng(1).integers(0, T + 1, B)
    lengths[:2] = 0, T
    h0, c0 = (
        normal((lstm.num_layers * lstm.directions, B, 17)),
        normal((lstm.num_layers * lstm.directions, B, 17), seed=1),
    )
    x[np.arange(T)[:, None] >= lengths] = np.nan  # what lies after a row's end is not looked at
    y, (h, c) = lstm(x, (h0, c0), lengths=lengths, threads=threads)
    for b, n in enumerate(lengths):
        alone, (h1, c1) = lstm(x[:n, b : b + 1], (h0[:, b : b + 1], c0[:, b : b + 1]))
        np.testing.assert_array_equal(y[:n, b], alone[:, 0])
        assert (y[n:, b] == 0).all()
        np.testing.assert_array_equal(h[:, b], h1[:, 0])
        np.testing.assert_array_equal(c[:, b], c1[:, 0])


def test_reset_forgets_and_is_stepping_with_zeroed_rows():
    lstm = fc.LSTM(3, 9, 2, seed=1)
    x, reset = normal((8, 5, 3)), np.random.default_rng(0).random((8, 5)) < 0.4
    whole = lstm(x, reset=reset)
    state, steps = (np.zeros((2, 5, 9), np.float32),) * 2, []
    for t in range(8):
        state = tuple(np.where(reset[t][:, None], np.float32(0), part) for part in state)
        y, state = lstm(x[t : t + 1], state)
        steps.append(y)
    same((np.concatenate(steps), state), whole)
    turned = lstm(x.transpose(1, 0, 2), reset=reset.T, batch_first=True)[0]
    np.testing.assert_array_equal(turned.transpose(1, 0, 2), whole[0])


def test_nan_stays_in_its_row_and_is_seen():
    lstm = fc.LSTM(3, 20, 2, seed=0)
    x = normal((6, 9, 3))
    clean = lstm(x)[0]
    x[2, 4, 1] = np.nan
    y = lstm(x)[0]
    assert np.isnan(y[2:, 4]).all()
    rest = np.delete(np.arange(9), 4)
    np.testing.assert_array_equal(y[:, rest], clean[:, rest])
    np.testing.assert_array_equal(y[:2, 4], clean[:2, 4])


def test_layouts_and_dtypes_of_the_input():
    lstm = fc.LSTM(4, 6, seed=0)
    x = normal((5, 3, 4))
    wanted = lstm(x)
    read_only = x.copy()
    read_only.flags.writeable = False
    wide = np.zeros((10, 6, 8), np.float32)
    wide[::2, ::2, ::2] = x
    for given_x in (
        np.asfortranarray(x),
        x[::-1].copy()[::-1],
        wide[::2, ::2, ::2],
        x.astype(">f4"),
        x.astype(float),
        read_only,
        x.tolist(),
    ):
        same(lstm(given_x), wanted)
    same(lstm(np.rint(x).astype(np.int8)), lstm(np.rint(x)))
    np.testing.assert_array_equal(lstm(x.transpose(1, 0, 2), batch_first=True)[0], wanted[0].transpose(1, 0, 2))
    y, (h, c) = lstm(x[:, 1])
    assert (y.shape, h.shape, c.shape) == ((5, 6), (1, 6), (1, 6))
    np.testing.assert_array_equal(y, wanted[0][:, 1])
    np.testing.assert_array_equal(lstm(x[3:, 1], lstm(x[:3, 1])[1])[0], y[3:])


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}], ids=str)
def test_out_is_written_whatever_its_strides(options):
    lstm = fc.LSTM(4, 6, seed=0, **options)
    x = normal((5, 3, 4))
    wanted = lstm(x)[0]
    room = np.full((7, 4, 2 * wanted.shape[2]), 9, np.float32)
    for out in (
        np.empty_like(wanted),
        np.empty_like(wanted, order="F"),
        room[1:6, :3, ::2],
        room[1:6, 1:, : wanted.shape[2]],
    ):
        y, _ = lstm(x, out=out)
        assert y is out
        np.testing.assert_array_equal(out, wanted)
    assert (room[[0, 6]] == 9).all()


@pytest.mark.parametrize(("T", "B", "I", "H"), [(0, 3, 4, 5), (4, 0, 4, 5), (4, 3, 0, 5), (4, 3, 4, 0), (0, 0, 0, 0)])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=str)
def test_nothing_is_an_answer(T, B, I, H, options):
    lstm = fc.LSTM(I, H, seed=0, **options)
    L = lstm.num_layers * lstm.directions
    h0, c0 = normal((L, B, H)), normal((L, B, H), seed=1)
    y, (h, c) = lstm(normal((T, B, I)), (h0, c0))
    assert y.shape == (T, B, H * lstm.directions)
    if T == 0:
        same((y, (h, c)), (y, (h0, c0)))


def test_neither_input_nor_state_is_changed():
    lstm = fc.LSTM(4, 6, 2, seed=0)
    x, h, c = normal((5, 3, 4)), normal((2, 3, 6)), normal((2, 3, 6), seed=1)
    copies = x.copy(), h.copy(), c.copy()
    lstm(x, (h, c))
    for array, copy in zip((x, h, c), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def ok(*arguments, **options):
    return fc.LSTM(3, 5, seed=0)(*arguments, **options)


X = np.zeros((4, 2, 3), np.float32)
H0 = np.zeros((1, 2, 5), np.float32)


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (
            ValueError,
            r"x must have shape \(T, B, I\) or \(T, I\) with I = 3, got",
            lambda: ok(X[:, :, :2]),
        ),
        (ValueError, r"x must have shape .* got \(3,\)", lambda: ok(X[0, 0])),
        (TypeError, "x must hold real numbers, got complex64", lambda: ok(X.astype("c8"))),
        (TypeError, "x must hold real numbers, got object", lambda: ok(X.astype(object))),
        (ValueError, r"state must be a pair \(h, c\), got ndarray", lambda: ok(X, H0)),
        (
            ValueError,
            r"state's c must have shape \(L\*D, B, H\) = \(1, 2, 5\), got \(1, 2, 4\)",
            lambda: ok(X, (H0, H0[:, :, :4])),
        ),
        (ValueError, r"lengths must be from 0 to T = 4, got 5 in row 1", lambda: ok(X, lengths=[4, 5])),
        (ValueError, r"lengths must be from 0 to T = 4, got -1 in row 0", lambda: ok(X, lengths=[-1, 5])),
        (ValueError, r"lengths must have shape \(B,\) = \(2,\), got \(3,\)", lambda: ok(X, lengths=[1, 2, 3])),
        (TypeError, "lengths must hold integers, got float64", lambda: ok(X, lengths=[1.0, 2.0])),
        (TypeError, "reset must hold bool, got float64", lambda: ok(X, reset=np.zeros((4, 2)))),
        (
            ValueError,
            r"reset must have shape \(T, B\) = \(4, 2\), got",
            lambda: ok(X, reset=np.zeros((2, 4), bool)),
        ),
        (ValueError, "reset must be None where", lambda: fc.LSTM(3, 5, reverse=True)(X, reset=np.zeros((4, 2), bool))),
        (TypeError, "out must hold float32, got float64", lambda: ok(X, out=np.zeros((4, 2, 5)))),
        (
            ValueError,
            r"out must have shape \(4, 2, 5\), got",
            lambda: ok(X, out=np.zeros((4, 2, 4), np.float32)),
        ),
        (ValueError, "threads must be at least 1, got 0", lambda: ok(X, threads=0)),
        (TypeError, "threads must be an integer or None, got ndarray", lambda: ok(X, threads=np.array([1, 2]))),
        (ValueError, "hidden_size must be at least 0, got -1", lambda: fc.LSTM(3, -1)),
        (TypeError, "input_size must be an integer, got float", lambda: fc.LSTM(3.0, 2)),
        (ValueError, "num_layers must be at least 1, got 0", lambda: fc.LSTM(3, 2, 0)),
        (ValueError, "proj_size must be below hidden_size 5, got 5", lambda: fc.LSTM(3, 5, proj_size=5)),
        (ValueError, "reverse must be False", lambda: fc.LSTM(3, 5, reverse=True, bidirectional=True)),
        (ValueError, "clip must be a finite number above 0", lambda: fc.LSTM(3, 5, clip=-1.0)),
        (TypeError, "dtype must be float32 or float64, got float16", lambda: fc.LSTM(3, 5, dtype="float16")),
        (
            ValueError,
            "activations must be among sigmoid, tanh, relu.*got 'gelu'",
            lambda: fc.LSTM(3, 5, activations=("gelu",) * 3),
        ),
        (ValueError, "activations must be 3 in number, got 2", lambda: fc.LSTM(3, 5, activations=("tanh",) * 2)),
    ],
)
def test_errors_name_the_argument(error, words, call):
    with pytest.raises(error, match=words):
        call()


def test_errors_of_weights():
    weights = fc.LSTM(16, 16, seed=0).state_dict()
    with pytest.raises(ValueError, match=r"weight_hh_l0 must have shape \(4\*H, H\) = \(64, 16\), got \(16, 64\)"):
        fc.LSTM(16, 16, weights={**weights, "weight_hh_l0": weights["weight_hh_l0"].T})
    with pytest.raises(ValueError, match=r"weights must be named weight_ih_l0.*got weight_ih_l1"):
        fc.LSTM(16, 16, weights={**weights, "weight_ih_l1": weights["weight_ih_l0"]})
    del weights["weight_hh_l0"]
    with pytest.raises(ValueError, match=r"weights must hold weight_hh_l0 of shape \(4\*H, H\) = \(64, 16\)"):
        fc.LSTM(16, 16, weights=weights)


def test_out_must_not_overlap_and_nothing_is_written_on_an_error():
    lstm, x = fc.LSTM(5, 5, seed=0), normal((4, 2, 5))
    with pytest.raises(ValueError, match="out must not overlap an input, got memory shared with x"):
        lstm(x, out=x)
    out = np.full((4, 2, 5), 7, np.float32)
    with pytest.raises(ValueError, match="lengths"):
        lstm(x, lengths=[9, 9], out=out)
    assert (out == 7).all()


SMALL = {
    "one layer": {},
    "layers and directions": {"num_layers": 2, "bidirectional": True},
    "projection": {"proj_size": 3},
    "backwards": {"reverse": True},
    "float64": {"dtype": "float64"},
    "batch first": {"batch_first": True},
    "a state to begin with": {"initial_state": (np.full((1, 9), 0.5), np.full((1, 9), -0.5))},
}


def unaligned(x):
    """The same numbers at an odd address."""
    room = np.empty(x.nbytes + 1, np.uint8)[1:]
    room[:] = np.frombuffer(x.tobytes(), np.uint8)
    return room.view(x.dtype).reshape(x.shape)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


FORMS = {
    "as it is": lambda x: x,
    "Fortran's order": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "another dtype": lambda x: x.astype(np.float16).astype(np.float64),
    "unaligned": unaligned,
    "read-only": read_only,
    "a list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_call_has_the_answer_of_the_long_way(name, monkeypatch):
    """Which two threads take."""
    lstm = fc.LSTM(4, 9, seed=0, **SMALL[name])
    L, x = lstm.num_layers * lstm.directions, normal((3, 2, 4), lstm.dtype)
    long, taken = driver.run, []
    monkeypatch.setattr(driver, "run", lambda *args: taken.append(None) or long(*args))
    for part, rows in ((x, 3 if lstm.batch_first else 2), (x[:1, :1], 1), (x[:, 0].copy(), None)):
        rows = () if rows is None else (rows,)
        state = tuple(normal((L, *rows, size), lstm.dtype) for size in (lstm.output_size, 9))
        kept = [part.copy() for part in state]
        for begin in (None, state):
            wanted_y, wanted = lstm(part, begin, threads=2)
            count = len(taken)
            for threads in (None, 1):
                y, (h, c) = lstm(part, begin, threads=threads)
                for got, want in zip((y, h, c), (wanted_y, *wanted), strict=True):
                    assert (got.dtype, got.shape) == (lstm.dtype, want.shape)
                    np.testing.assert_array_equal(got, want)
            assert len(taken) == count > 0
        np.testing.assert_array_equal(lstm(part, list(state))[0], wanted_y)
        for now, before in zip(state, kept, strict=True):
            np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize("form", FORMS)
def test_small_calls_take_every_form(form):
    lstm, make = fc.LSTM(4, 9, seed=0), FORMS[form]
    x, h, c = (make(normal(shape)) for shape in ((3, 2, 4), (1, 2, 9), (1, 2, 9)))
    plain = [np.ascontiguousarray(part, np.float32) for part in (x, h, c)]
    y, state = lstm(x, (h, c))
    wanted_y, wanted = lstm(plain[0], (plain[1], plain[2]), threads=2)
    for got, want in zip((y, *state), (wanted_y, *wanted), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, want)


def test_small_calls_refuse_what_others_refuse():
    lstm, x = fc.LSTM(4, 9, seed=0), normal((3, 2, 4))
    with pytest.raises(ValueError, match=r"^state's h must have shape \(L\*D, B, H\) = \(1, 2, 9\), got \(1, 1, 9\)$"):
        lstm(x, (np.zeros((1, 1, 9), "f"), np.zeros((1, 2, 9), "f")))
    with pytest.raises(ValueError, match=r"^x must have shape"):
        lstm(normal((3, 2, 5)))


FLAGS = ["bias", "bidirectional", "reverse", "peepholes", "coupled", "batch_first"]


@pytest.mark.parametrize("name", FLAGS)
def test_what_is_neither_true_nor_false(name):
    with pytest.raises(ValueError, match=f"{name} must be True or False, got array"):
        fc.LSTM(3, 5, **{name: np.array([1, 2])})


def test_a_call_with_an_order_that_is_neither():
    with pytest.raises(ValueError, match="batch_first must be True or False, got array"):
        fc.LSTM(3, 5, seed=0)(np.zeros((4, 3), np.float32), batch_first=np.array([1, 2]))


@pytest.mark.parametrize("seed", [range(10**12), [1, 2], 1.5, "1"], ids=str)
def test_a_seed_is_an_integer(seed):
    """NumPy takes sequences, too, and reads them to their end."""
    with pytest.raises(TypeError, match="seed must be an integer"):
        fc.LSTM(3, 5, seed=seed)
