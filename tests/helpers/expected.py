"""What a scan must return, by the oracle: arrays of the dtypes and shapes that the API promises."""

import functools

import numpy as np

import fastcell as fc


def toy(x1, x2, x3, *, state=None, keys=None, fill=0.0, strict=True, low=None, high=None):
    """`fc.toy_scan` by the oracle."""
    is_float = x1.dtype.kind == "f"
    memory = np.dtype(np.float64 if is_float else np.int64)
    dtype = x1.dtype.newbyteorder("=") if is_float else memory
    values = x1.astype(memory)
    options = {"fill": fill, "strict": strict, "low": low, "high": high}
    x2, x3 = (np.broadcast_to(rules, x1.shape) for rules in (x2, x3))
    return _scan(fc.oracle.toy_scan, [values, _numbers(x2), _numbers(x3)], dtype, memory, state, keys, options)


def gated(x, f, i, o, *, state=None, keys=None):
    """`fc.gated_scan` by the oracle, gates broadcast."""
    arrays = [np.asarray(array) for array in (x, f, i, o)]
    memory = np.dtype(np.float64 if any(array.dtype.kind == "f" for array in arrays) else np.int64)
    # as NumPy promotes, to which Python's own numbers say nothing
    strong = [array.dtype for array, part in zip(arrays, (x, f, i, o), strict=True) if type(part) is not float]
    floats = [dtype for dtype in strong if dtype.kind == "f"]
    dtype = np.result_type(*floats) if arrays[0].dtype.kind == "f" else memory
    values = [np.broadcast_to(array, np.shape(x)).astype(memory) for array in arrays]
    return _scan(fc.oracle.gated_scan, values, dtype.newbyteorder("="), memory, state, keys, {})


def _numbers(rules):
    return rules.astype(np.int8) if rules.dtype.kind == "b" else rules


def _scan(oracle, arrays, dtype, memory, state, keys, options):
    shape = arrays[0].shape
    inner = shape[1:]
    streams = () if keys is None else (int(max(keys, default=-1)) + 1 if state is None else len(state),)
    start = np.zeros((*streams, *inner), memory) if state is None else np.array(state, memory)
    if 0 in shape:  # lists of no rows can't say how many columns they have
        return fc.Scan(np.zeros(shape, dtype), start)
    columns = [array.reshape(len(array), -1) if len(shape) > 1 else array for array in arrays]
    memories = start.reshape(*streams, -1) if len(shape) > 1 else start
    given = *map(_Given, (*columns, memories, keys)), _Given(options)
    y, last = _answer(oracle, given, memory)
    with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite there
        return fc.Scan(y.astype(dtype).reshape(shape), last.reshape(start.shape).copy())


class _Given:
    """What an oracle is given, as it is now: the same if it says the same, byte for byte."""

    def __init__(self, value):
        self.value = value
        array = isinstance(value, np.ndarray)
        self.key = (value.dtype.str, value.shape, value.tobytes()) if array else repr(value)

    def __eq__(self, other):
        return self.key == other.key

    def __hash__(self):
        return hash(self.key)


@functools.lru_cache(maxsize=256)  # tests want one answer in many layouts, from any number of threads
def _answer(oracle, given, memory):
    *lists, state, keys = (
        part.value.tolist() if isinstance(part.value, np.ndarray) else part.value for part in given[:-1]
    )
    return tuple(np.array(part, memory) for part in oracle(*lists, state=state, keys=keys, **given[-1].value))


def agree(actual, wanted, case=""):
    """Assert the same dtype, shape and bits of outputs and state: zeros have their signs, a nan is any nan."""
    for name, got, want in zip(("y", "state"), actual, wanted, strict=True):
        got, want = np.asarray(got), np.asarray(want)
        assert got.dtype == want.dtype, f"{name} of {case}"
        assert got.shape == want.shape, f"{name} of {case}"
        np.testing.assert_array_equal(got, want, err_msg=f"{name} of {case}")
        if got.dtype.kind == "f":
            numbers = want == want
            np.testing.assert_array_equal(
                np.signbit(got[numbers]), np.signbit(want[numbers]), err_msg=f"signs of {name} of {case}"
            )


def rounding(x1, state=0.0):
    """How far two orders of adding up one column may lie apart in float64.

    Each is within n u / (1 - n u) times the sum of magnitudes of the true sum, u = eps / 2 (Higham, Accuracy and
    Stability of Numerical Algorithms, section 4.2); here n counts the state too.
    """
    magnitudes = np.abs(x1.astype(np.float64)).sum() + abs(state)
    return (len(x1) + 1) * np.finfo(np.float64).eps * magnitudes


def agree_within_rounding(actual, x1, x2, x3, case="", **options):
    """Assert what one long column of floats promises: dtype, shape, and values within `rounding`."""
    wanted = toy(x1.astype(np.float64), x2, x3, **options)
    y, state = actual
    bound = rounding(x1, float(options.get("state") or 0.0))
    assert y.dtype == x1.dtype.newbyteorder("="), case
    assert y.shape == x1.shape, case
    assert (state.dtype, np.shape(state)) == (np.float64, ()), case
    assert abs(state - wanted.state) <= bound, case
    # float32 is rounded once more: by half a step of the result
    last = np.finfo(np.float32).eps / 2 * np.abs(wanted.y) if y.dtype == np.float32 else 0.0
    error = np.abs(y.astype(np.float64) - wanted.y)
    assert (error <= bound + last).all(), f"{case}: off by {np.nanmax(error)}"


def gated_rounding(x, f, i, o, state):
    """How far two orders of the gated recurrence's sums may lie apart in float64, for each y and for the state.

    Each term of a memory takes at most two roundings a step, as in `rounding`; their magnitudes run through the
    recurrence of the gates' magnitudes.
    """
    x, f, i, o = (np.broadcast_to(np.abs(np.asarray(array, np.float64)), np.shape(x)) for array in (x, f, i, o))
    memory, sizes = abs(float(state)), []
    for forget, add in zip(f.tolist(), (i * x).tolist(), strict=True):
        memory = forget * memory + add
        sizes.append(memory)
    steps = 2 * (np.arange(len(x)) + 2) * np.finfo(np.float64).eps
    return steps * o * np.array(sizes), steps[-1] * sizes[-1]


def agree_gated(actual, arrays, wanted, case=""):
    """`agree`, but for one long column of floats, whose sums are grouped: within their rounding."""
    y = np.asarray(wanted.y)
    if y.dtype.kind != "f" or y.size != len(y) or len(y) < 512:
        agree(actual, wanted, case)
        return
    bound, last = gated_rounding(*(np.ravel(array) for array in arrays), 0.0)
    assert (actual.y.dtype, actual.y.shape) == (y.dtype, y.shape), case
    assert actual.state.dtype == np.asarray(wanted.state).dtype, case
    rounded = np.finfo(y.dtype).eps * np.abs(y.astype(np.float64))  # once an output
    assert (np.abs(actual.y.astype(np.float64) - y) <= bound.reshape(y.shape) + rounded).all(), case
    assert (np.abs(actual.state - wanted.state) <= last).all(), case
