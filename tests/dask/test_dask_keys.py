"""fastcell.dask with keys: a memory for each of K interleaved streams, handed on from chunk to chunk of time."""

import dask
import dask.array as da
import numpy as np
import pytest

import fastcell as fc
from tests.helpers import expected, problems


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def keys_of(T, K, seed=0):
    return np.random.default_rng(seed).integers(0, K, T)


def lazy(array, chunks):
    return da.from_array(array, chunks=chunks)


def computed(scan):
    y, state = dask.compute(*scan)
    for found, announced in zip((y, state), scan, strict=True):
        assert (found.dtype, found.shape) == (announced.dtype, announced.shape)
        assert announced._meta.ndim == announced.ndim
    return fc.Scan(y, state)


@pytest.mark.parametrize("values", ["float32", "int64"])
@pytest.mark.parametrize(("shape", "chunks"), [((5,), 5), ((100,), 7), ((40, 3), ((1, 30, 9), 2)), ((6, 2, 2), 1)])
def test_toy_scan(shape, chunks, values):
    arrays, keys = problems.toy(shape, values), keys_of(shape[0], 4)
    state = np.full((4, *shape[1:]), 3, "f8" if values[0] == "f" else "i8")
    given = [lazy(array, chunks) for array in arrays]
    for codes in (keys, lazy(keys, 3)):
        scan = fc.dask.toy_scan(*given, keys=codes, num_keys=4, fill=-1)
        assert scan.y.chunks == given[0].chunks
        expected.agree(computed(scan), fc.toy_scan(*arrays, keys=keys, state=0 * state, fill=-1))
        scan = fc.dask.toy_scan(*given, keys=codes, state=lazy(state, 2))
        expected.agree(computed(scan), fc.toy_scan(*arrays, keys=keys, state=state))


def test_bounds():
    arrays, keys = problems.toy((90,), "int64"), keys_of(90, 4)
    scan = fc.dask.toy_scan(*(lazy(array, 20) for array in arrays), keys=keys, num_keys=4, low=-3, high=9)
    expected.agree(computed(scan), fc.toy_scan(*arrays, keys=keys, state=np.zeros(4, int), low=-3, high=9))


@pytest.mark.parametrize(("shape", "chunks"), [((100,), 7), ((40, 3), ((1, 30, 9), 2))])
def test_gated_scan(shape, chunks):
    arrays, keys = problems.gates(shape, "float64"), keys_of(shape[0], 5)
    x, f, i, o = (lazy(array, chunks) for array in arrays)
    scan = fc.dask.gated_scan(x, f, i, o, keys=keys, num_keys=5)
    expected.agree(computed(scan), fc.gated_scan(*arrays, keys=keys, state=np.zeros((5, *shape[1:]))))
    scan = fc.dask.gated_scan(x, 0.5, i, 1, keys=lazy(keys, 9), num_keys=5)
    expected.agree(
        computed(scan), fc.gated_scan(arrays[0], 0.5, arrays[2], 1, keys=keys, state=np.zeros((5, *shape[1:])))
    )


def test_a_state_goes_on_lazily():
    arrays, keys = problems.toy((90,), "float64"), keys_of(90, 6)
    state = None
    for part in (slice(0, 40), slice(40, 90)):
        given = [lazy(array[part], 11) for array in arrays]
        scan = fc.dask.toy_scan(*given, keys=keys[part], num_keys=6, state=state)
        state = scan.state
    wanted = fc.toy_scan(*arrays, keys=keys, state=np.zeros(6))
    expected.agree(computed(scan), fc.Scan(wanted.y[40:], wanted.state))


def test_chunks_of_unknown_length():
    arrays, keys = problems.toy((60,), "float64"), keys_of(60, 3)
    there = arrays[1] >= 0
    given = [lazy(array, 20)[lazy(there, 20)] for array in (*arrays, keys)]
    scan = fc.dask.toy_scan(*given[:3], keys=given[3], num_keys=3)
    y, state = dask.compute(*scan)
    wanted = fc.toy_scan(*(array[there] for array in arrays), keys=keys[there], state=np.zeros(3))
    expected.agree(fc.Scan(y, state), wanted)
    with pytest.raises(ValueError, match=r"^keys and x1 need chunks of known length: compute_chunk_sizes\(\)$"):
        fc.dask.toy_scan(*given[:3], keys=lazy(keys, 60), num_keys=3)


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "proj_size": 2}, {"initial_state": True}, {"precision": "int8"}], ids=str
)
def test_lstm(options):
    rng = np.random.default_rng(0)
    if "initial_state" in options:
        options = {"initial_state": (rng.standard_normal((1, 5)), rng.standard_normal((1, 5)))}
    lstm = fc.LSTM(3, 5, seed=0, **options)
    x, keys = rng.standard_normal((80, 3), np.float32), keys_of(80, 7)
    wanted, (h, c) = lstm(x, keys=keys)
    state = None
    for num_keys in (7, None):
        y, pair = fc.dask.lstm(lstm, lazy(x, (13, 2)), state, keys=lazy(keys, 20), num_keys=num_keys)
        assert y.chunks == ((13,) * 6 + (2,), (lstm.output_size,))
        found = dask.compute(y, *pair)
        for part, want in zip(found, (wanted, h, c), strict=True):
            assert part.dtype == want.dtype
            np.testing.assert_array_equal(part, want)
        state = pair
        wanted, (h, c) = lstm(x, (h, c), keys=keys)


ZEROS = np.zeros(10, int)
X, LSTM = da.ones(10, chunks=4), fc.LSTM(2, 3, seed=0)
BACKWARDS = fc.LSTM(2, 3, reverse=True, seed=0)
EVENTS = da.ones((10, 2), chunks=4, dtype="f4")
REFUSED = {
    "no number of keys": (lambda: fc.dask.toy_scan(X, X, X, keys=ZEROS), ValueError, "num_keys must be given"),
    "no keys": (lambda: fc.dask.toy_scan(X, X, X, num_keys=3), ValueError, "num_keys must be None where keys are"),
    "floats": (lambda: fc.dask.toy_scan(X, X, X, keys=X, num_keys=3), TypeError, "keys must hold integers, got flo"),
    "another length": (
        lambda: fc.dask.gated_scan(X, 1, 1, 1, keys=np.zeros(9, int), num_keys=3), ValueError,
        r"keys must have the shape of the time axis, \(10,\), got \(9,\)",
    ),
    "too large": (
        lambda: fc.dask.toy_scan(X, X, X, keys=np.arange(10), num_keys=9), ValueError,
        "keys must be from 0 to K - 1 = 8, got 9 at index 9",
    ),
    "another state": (
        lambda: fc.dask.toy_scan(X, X, X, keys=np.arange(10), num_keys=9, state=np.zeros(3)), ValueError,
        "num_keys must be the state's K = 3, got 9",
    ),
    "lengths too": (
        lambda: fc.dask.lstm(LSTM, EVENTS, keys=ZEROS, num_keys=1, lengths=[3]), ValueError,
        "keys must be None where lengths is given",
    ),
    "backwards": (
        lambda: fc.dask.lstm(BACKWARDS, EVENTS, keys=ZEROS, num_keys=1), ValueError,
        "keys must be None where a direction runs backwards",
    ),
    "three axes": (
        lambda: fc.dask.lstm(LSTM, EVENTS[:, None], keys=ZEROS, num_keys=1), ValueError,
        r"x must have shape \(T, I\) with I = 2 where keys are given, got \(10, 1, 2\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_computed(name):
    call, kind, words = REFUSED[name]
    with pytest.raises(kind, match=f"^{words}"):
        call()


@pytest.mark.parametrize("key", [-1, 3])
def test_a_lazy_key_is_named_by_its_index_in_the_whole(key):
    keys = np.arange(10) % 3
    keys[7] = key
    given = [np.ones(10, "f4"), np.ones(10, "i1")]
    x, ones = (lazy(array, 4) for array in given)
    wanted = rf"^keys must be from 0 to K - 1 = 2, got {key} at index 7$"
    with pytest.raises(ValueError, match=wanted):
        fc.dask.toy_scan(x, ones, ones, keys=lazy(keys, 4), num_keys=3).y.compute()
    with pytest.raises(ValueError, match=wanted):
        fc.dask.lstm(LSTM, EVENTS, keys=lazy(keys, 4), num_keys=3)[0].compute()


def test_a_rule_is_named_by_its_index_in_the_whole():
    rules = np.ones(10)
    rules[9] = 5
    with pytest.raises(ValueError, match=r"^x2 must be -1, 0, 1 or 2, got 5.0 at index 9$"):
        fc.dask.toy_scan(X, lazy(rules, 4), da.ones(10, chunks=4), keys=ZEROS, num_keys=1).y.compute()
