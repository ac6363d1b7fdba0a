"""One step at a time: the same bits as a sequence, in place, from Python and from compiled code, and its errors."""

import copy
import pickle
import re
import sys
import tracemalloc

import numpy as np
import pytest

import fastcell as fc
from fastcell.lstm.cell_kernels import STACK
from fastcell.lstm.layout import LAYER
from tests.helpers.cells import OPTIONS, is_compiled, states, through, whole
from tests.helpers.lstms import normal


@pytest.mark.parametrize("rows", [(), (1,), (2,), (7,), (70,)])
@pytest.mark.parametrize("H", [6, 16, 17, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("option", OPTIONS)
def test_steps_are_a_sequence_bit_for_bit(option, dtype, H, rows):
    lstm = fc.LSTM(3, H, dtype=dtype, seed=H, **OPTIONS[option])
    x = normal((5, *rows, 3), dtype)
    h, c = states(lstm, rows)
    y, last_h, last_c = whole(lstm, x, h, c)
    by_python, compiled, anew = ([h.copy(), c.copy()] for _ in range(3))
    cell = lstm.cell()
    for t in range(5):
        assert cell.step(x[t], *by_python) is None
        anew = cell(x[t], anew)
        np.testing.assert_array_equal(by_python[0], y[t])
    answers = [by_python, anew]
    if is_compiled(cell, x):
        through(cell.params, x, *compiled)
        answers.append(compiled)
    for got in answers:
        for part, want in zip(got, (last_h, last_c), strict=True):
            assert part.dtype == lstm.dtype
            np.testing.assert_array_equal(part, want)


@pytest.mark.parametrize(("option", "rows"), [("plain", (3,)), ("projection", ()), ("peepholes, clip", (3,))])
def test_params_of_an_lstm_step_all_layers(option, rows):
    lstm = fc.LSTM(3, 20, num_layers=3, seed=1, **OPTIONS[option])
    x = normal((4, *rows, 3))
    h, c = states(lstm, rows, (3,))
    y, (last_h, last_c) = lstm(x, (h, c))
    stepped = h.copy(), c.copy()
    through(lstm.params, x, h, c)
    np.testing.assert_array_equal(h, last_h)
    np.testing.assert_array_equal(c, last_c)
    np.testing.assert_array_equal(h[-1], y[-1])
    if option == "plain":  # from Python, too
        for x_t in x:
            fc.lstm_step(lstm.params, x_t, *stepped)
        np.testing.assert_array_equal(stepped, (h, c))


def test_a_cell_too_large_for_the_stack():
    lstm = fc.LSTM(2, 4100, proj_size=3, dtype="float64", seed=0)  # without a projection half a gigabyte of weights
    assert STACK < 4100 * 8
    x, (h, c) = normal((1, 2, 2), "float64"), states(lstm, (2,))
    _, last_h, last_c = whole(lstm, x, h, c)
    lstm.cell().step(x[0], h, c)
    np.testing.assert_array_equal(h, last_h)
    np.testing.assert_array_equal(c, last_c)


def test_the_other_direction_and_upper_layers_have_cells():
    lstm = fc.LSTM(3, 5, num_layers=2, bidirectional=True, seed=0)
    x = normal((1, 2, 3))
    _, (h, c) = lstm(x)
    below = np.concatenate([lstm.cell(0, d)(x[0])[0] for d in (0, 1)], axis=-1)
    for d in (0, 1):
        cell_h, cell_c = lstm.cell(1, d)(below)
        np.testing.assert_array_equal(cell_h, h[2 + d])
        np.testing.assert_array_equal(cell_c, c[2 + d])
    assert lstm.cell(1).input_size == 10
    for layer, direction in ((2, 0), (0, 2)):
        with pytest.raises(ValueError, match="must be below 2, got 2"):
            lstm.cell(layer, direction)
    with pytest.raises(ValueError, match="params must be of an LSTM that runs forward alone"):
        _ = lstm.params


def test_a_cell_of_its_own_has_torch_s_names_and_answer(torch):
    module = torch.nn.LSTMCell(4, 6)
    weights = {name: array.detach().numpy() for name, array in module.state_dict().items()}
    cell = fc.LSTMCell(4, 6, weights=weights)
    x, h, c = normal((3, 4)), normal((3, 6)), normal((3, 6))
    with torch.no_grad():
        wanted = module(*(torch.from_numpy(x), (torch.from_numpy(h), torch.from_numpy(c))))
    for got, want in zip(cell(x, (h, c)), wanted, strict=True):
        assert got.shape == (3, 6)
        np.testing.assert_allclose(got, want.numpy(), rtol=0, atol=2e-7)  # sums of ten float32 products
    assert cell(x[0], (h[0], c[0]))[0].shape == (6,)
    assert repr(cell) == "LSTMCell(4, 6, dtype='float32')"
    assert {name: array.tolist() for name, array in cell.state_dict().items()} == {
        name: array.tolist() for name, array in weights.items()
    }


def test_cells_can_be_pickled_and_copied():
    cell = fc.LSTM(3, 5, num_layers=2, seed=0).cell(1)
    x = normal((2, 5))
    for other in (pickle.loads(pickle.dumps(cell)), copy.deepcopy(cell)):
        np.testing.assert_array_equal(other(x)[0], cell(x)[0])


class NamedCell(fc.LSTMCell):
    """A user's class: attributes, a slot, arguments of its own."""

    __slots__ = ("place",)

    def __init__(self, name):
        super().__init__(3, 5, seed=0)
        self.name, self.seen, self.place = name, [1, 2], "slot"

    def __setattr__(self, name, value):
        if name == "name" and hasattr(self, "name"):
            raise AttributeError(name)
        super().__setattr__(name, value)


class NamedLSTM(fc.LSTM):
    __slots__ = ("place",)

    def __init__(self, name):
        super().__init__(3, 5, num_layers=2, seed=0)
        self.name, self.seen, self.place = name, [1, 2], "slot"


@pytest.mark.parametrize("make", [NamedCell, NamedLSTM])
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_subclasses_and_their_attributes_survive(make, again):
    one = make("Ada")
    other = again(one)
    assert type(other) is make
    assert (other.name, other.seen, other.place) == ("Ada", [1, 2], "slot")
    assert (other.seen is one.seen) == (again is copy.copy)
    other.seen.append(3)
    assert set(vars(other)) == set(vars(one))
    x = normal((2, 3)) if make is NamedCell else normal((4, 2, 3))
    states_of = (lambda it: it(x)) if make is NamedCell else (lambda it: it(x)[1])
    for got, want in zip(states_of(other), states_of(one), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_array_equal(got, want)
    if make is NamedCell:
        h, c = states(other, (2,))
        wanted = one(x, (h, c))
        other.step(x, h, c)
        np.testing.assert_array_equal(h, wanted[0])
        np.testing.assert_array_equal(c, wanted[1])


def test_attributes_of_a_plain_cell_survive():
    cell = fc.LSTM(3, 5, num_layers=2, seed=0).cell(1)
    cell.name = "second layer"
    for other in (copy.copy(cell), copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert (type(other), other.name) == (fc.LSTMCell, "second layer")


def test_a_step_allocates_nothing():
    cell = fc.LSTMCell(16, 16, seed=0)
    x, (h, c) = normal((1, 16)), states(cell, (1,))
    cell.step(x, h, c)
    sys.settrace(None)
    tracemalloc.start()
    try:
        for _ in range(3):
            cell.step(x, h, c)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(1000):
            cell.step(x, h, c)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 200, "something was kept"  # tracemalloc's own numbers are objects, too
    assert peak - before < 600, "an array was made"  # the smallest one, with its 64 bytes of values, takes more


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


X, STATE = np.zeros((2, 3), "f"), np.zeros((2, 5), "f")
WRONG = {
    "x's dtype": (X.astype("d"), STATE, STATE, TypeError, "x must hold float32, got float64"),
    "h's dtype": (X, STATE.astype("i4"), STATE, TypeError, "h must hold float32, got int32"),
    "all dtypes": (X.astype("d"), STATE.astype("d"), STATE.astype("d"), TypeError, "x must hold float32"),
    "byte order": (X.astype(">f4"), STATE, STATE, TypeError, "x must hold float32, got >f4"),
    "a list": ([[1.0] * 3] * 2, STATE, STATE, TypeError, "x must be a numpy array, got list"),
    "None": (X, None, STATE, TypeError, "h must be a numpy array, got NoneType"),
    "inputs": (STATE, STATE.copy(), STATE, ValueError, "x must have shape (B, I) = (2, 3), got (2, 5)"),
    "h's size": (X, X.copy(), STATE, ValueError, "h must have shape (B, H) = (2, 5), got (2, 3)"),
    "h's rows": (X, STATE[:1], STATE, ValueError, "h must have shape (B, H) = (2, 5), got (1, 5)"),
    "c's rows": (X, STATE, np.zeros((3, 5), "f"), ValueError, "c must have shape (B, H) = (2, 5), got (3, 5)"),
    "axes": (X[0], STATE, STATE, ValueError, "h must have shape (H,) = (5,), got (2, 5)"),
    "layers": (X[None], STATE, STATE, ValueError, "x must have shape (I,) = (3,), got (1, 2, 3)"),
    "Fortran": (X, np.asfortranarray(STATE), STATE, ValueError, "h must be in C order"),
    "strided": (X, STATE, np.zeros((4, 5), "f")[::2], ValueError, "c must be in C order"),
    "read-only": (X, _read_only(STATE), STATE, ValueError, "h must be writeable, got a read-only array"),
    "one array": (X, STATE, STATE, ValueError, "c must not overlap h, got memory that both share"),
}


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_named_and_nothing_is_written(case, warm):
    x, h, c, error, message = WRONG[case]
    cell = fc.LSTMCell(3, 5, seed=0)
    if warm:
        cell.step(X, STATE.copy(), STATE.copy())
        cell.step(X[0], STATE[0].copy(), STATE[1].copy())
    if c is STATE:
        c = h if case == "one array" else STATE.copy()
    with pytest.raises(error, match=re.escape(message)):
        cell.step(x, h, c)
    for array in (h, c):
        assert array is None or not np.any(array)


def test_overlapping_rows_are_refused():
    cell, room = fc.LSTMCell(5, 5, seed=0), np.zeros(30, "f")
    for x, h, c in ((0, 4, 20), (0, 10, 14), (3, 20, 0)):
        arrays = [room[k : k + 5] for k in (x, h, c)]
        for step in (cell.step, lambda *arrays: fc.lstm_step(cell.params, *arrays)):
            with pytest.raises(ValueError, match="must not overlap"):
                step(*arrays)
    assert not room.any()


COMPILED = {
    "x's dtype": (TypeError, "x must be an array of float32"),
    "read-only": (TypeError, "h must be writeable"),
    "inputs": (ValueError, "x must have shape (B, I) or (I,)"),
    "h's size": (ValueError, "h must have shape (B, H) or (H,)"),
    "c's rows": (ValueError, "c must have shape (B, H) or (H,)"),
    "axes": (TypeError, "h must have 1 axes where x has 1"),
    "Fortran": (ValueError, "must have the values of a row side by side"),
    "one array": (ValueError, "must not overlap"),
}


@pytest.mark.parametrize("case", COMPILED)
def test_lstm_step_refuses_what_does_not_fit(case):
    x, h, c, *_ = WRONG[case]
    error, message = COMPILED[case]
    with pytest.raises(error, match=re.escape(message)):
        fc.lstm_step(fc.LSTMCell(3, 5, seed=0).params, x, h, c if case == "one array" else c.copy())
    assert not np.any(h)


def test_lstm_step_takes_strided_rows_and_refuses_other_params():
    lstm = fc.LSTM(3, 5, num_layers=2, seed=0)
    h, c = np.zeros((2, 4, 5), "f")[:, ::2], np.zeros((2, 4, 5), "f")[:, 1::2]
    x = normal((2, 3))
    fc.lstm_step(lstm.params, x, h, c)
    np.testing.assert_array_equal(h[1], lstm(x[None])[0][0])
    with pytest.raises(ValueError, match="h and c must have shape"):
        fc.lstm_step(lstm.params, x, np.zeros((3, 4, 5), "f")[:, ::2], c)
    with pytest.raises(TypeError, match="params must be a cell's or an LSTM's params"):
        fc.lstm_step((1, 2), x, h, c)
    other = lstm.cell().params
    stale = other._replace(block=other.block.copy())
    stale.block[8 * LAYER.index("build")] ^= 1
    with pytest.raises(ValueError, match="packed for another build or CPU"):
        fc.lstm_step(stale, x, h[0].copy(), c[0].copy())


def test_one_value_has_no_stride_that_matters():
    cell = fc.LSTMCell(1, 1, seed=0)
    for shape in ((1, 1), (1,)):
        x, h, c = (np.ones((4, 10), "f")[:1, ::10].reshape(shape) for _ in range(3))
        x, h, c = (np.lib.stride_tricks.as_strided(a, shape, (40,) * len(shape)) for a in (x, h, c))
        wanted = cell(x.copy(), (h.copy(), c.copy()))
        before = h.copy(), c.copy()
        cell.step(x, h, c)
        np.testing.assert_array_equal((h, c), wanted)
        h[...], c[...] = before
        fc.lstm_step(cell.params, x, h, c)
        np.testing.assert_array_equal((h, c), wanted)
