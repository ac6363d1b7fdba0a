"""Arguments wrong in every way: each call answers as the oracle does or raises a named error, and changes nothing.

All under a limit on memory, since sizes are drawn too. FASTCELL_EXAMPLES says how many draws a test makes, draws.py
from which seed.
"""

import datetime
import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import fastcell as fc
from tests.helpers import draws, expected, processes
from tests.helpers.lstms import by_oracle

ROOM = 1 << 32  # bytes beside what is mapped already: enough to compile, too little for the sizes below


@pytest.fixture(scope="module", autouse=True)
def limit():
    with processes.limited(ROOM):
        yield


def fuzzed(test, few=200):
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return seed(draws.SEED)(settings(max_examples=draws.examples(few), suppress_health_check=slow)(test))


ERRORS = ValueError, TypeError, OverflowError, MemoryError
MOST = 2000  # elements up to which the oracle is asked


class NoArray:
    """What NumPy can't turn into an array."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array")


class Other(np.ndarray):
    """A subclass."""


DTYPES = ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
ODD_DTYPES = ["O", "c8", "c16", "U3", "S2", "M8[s]", "m8[s]", "f2", "g", ">f4", ">f8", ">i2", [("a", "i4")], "V4"]
VALUES = [0, 1, -1, 2, 3, 0.5, -0.0, float("nan"), float("inf"), -float("inf"), 1e300, 3e38, 2**31, 2**62, 2**63, 255]
JUNK = st.sampled_from(
    [
        None, [], (), "text", b"bytes", {}, {"a": 1}, object(), NoArray(), [[1], [1, 2]], [None], ["a"], [1j], 1j,
        2**70, -(2**70), [2**70], [2**64 - 1], float("nan"), True, [True, 2.5], [[]], [[], []], range(3), 1.5, 0, "1",
        datetime.date(2020, 1, 1), [datetime.date(2020, 1, 1)], slice(3), type, len, np.ma.masked, Ellipsis, {1, 2},
        range(10**9), range(2**40), range(2**70), range(0, 2**66, 2**65), range(0), np.empty((0, 2**33)),
    ]
)  # fmt: skip
SIZES = st.sampled_from([0, 1, 1, 2, 2, 3, 5, 17, 33])
WILD = st.sampled_from([2**31, 2**33 + 1, 2**40, 2**59])
IDS = st.sampled_from([[0, 1, 2]] * 5 + [[0, 1, 10**9], [0, 2**31], [2**24 - 1], [2**24, 0], [2**62, 1], [-1, 10**9]])


def filled(draw, shape, dtype):
    count = min(int(np.prod(shape)), 64)
    numbers = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=6))
    x = np.resize(np.array(numbers, "f8"), max(count, 1))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = np.zeros(len(x), dtype) if isinstance(dtype, list) or dtype[0] in "VMm" else x.astype(dtype)
    return np.resize(x, shape)


@st.composite
def layouts(draw, x):
    """The same values, laid out in some way."""
    way = draw(st.sampled_from(["C", "C", "F", "strided", "reversed", "read-only", "subclass", "list", "misaligned"]))
    if way == "F":
        return np.asfortranarray(x)
    if way == "strided" and x.ndim:
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if way == "reversed":
        return x[::-1].copy()[::-1] if x.ndim else x
    if way == "read-only":
        x = x.copy()
        x.flags.writeable = False
    if way == "subclass":
        return x.view(Other)
    if way == "list" and x.dtype.kind in "fiub" and x.size < 300:
        return x.tolist()
    if way == "misaligned" and x.dtype.kind in "fiu":
        room = np.empty(x.nbytes + 1, np.uint8)
        y = np.ndarray(x.shape, x.dtype, room, 1)
        y[...] = x
        return y
    return x


@st.composite
def arrays(draw, shape, dtypes=tuple(DTYPES), values=None):
    """An array of about this shape, or something else."""
    kind = draw(st.integers(0, 19))
    if kind == 0:
        return draw(JUNK)
    if kind == 1:  # more than any memory holds, if it were copied
        one = np.array(draw(st.sampled_from([0, 1, 7])), draw(st.sampled_from(DTYPES)))
        if one.itemsize == 8 or draw(st.booleans()):
            return np.broadcast_to(one, (2**40, 2)[: draw(st.integers(1, 2))])
        if not shape or draw(st.booleans()):
            return np.broadcast_to(one, (draw(WILD), *shape[1:]) if 0 not in shape and np.prod(shape) < 4 else (2**40,))
        axis = draw(st.integers(0, len(shape) - 1))
        return np.broadcast_to(one, [draw(WILD) if k == axis else min(n, 1) for k, n in enumerate(shape)])
    if kind == 2:
        shape = tuple(draw(st.lists(SIZES, max_size=4)))
    dtype = draw(st.sampled_from(ODD_DTYPES)) if kind == 3 else draw(st.sampled_from(list(dtypes)))
    if values is None or kind < 5:
        x = filled(draw, shape, dtype)
    else:
        number = draw(st.integers(0, 3))
        x = np.random.default_rng(number).choice(values, shape).astype(dtype)
    if kind == 4 and x.size:
        x = np.broadcast_to(x.reshape(-1)[0], shape)
    return draw(layouts(x))


def frozen(x):
    """What can be compared later."""
    if isinstance(x, np.ndarray):
        x = np.asarray(x)  # as masked arrays can't be read
        small = x[(*(slice(1) if stride == 0 else slice(None) for stride in x.strides), ...)]  # 0-d stays an array
        return small.tobytes() if small.dtype.kind != "O" else repr(small.tolist())
    return repr(x)


def named(error, names):
    assert isinstance(error, MemoryError) or any(name in str(error) for name in names), f"names nothing: {error!r}"


def attempt(call, given, out, names):
    """The call's answer, or None where it raised as it should; nothing else may have changed."""
    before = {name: frozen(x) for name, x in given.items()}
    written = frozen(out)
    answer = failure = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, where a value doesn't fit a smaller dtype
            answer = call()
    except ERRORS as error:
        failure = error
    if failure is not None:
        named(failure, names)
        assert frozen(out) == written, f"wrote and then raised {failure!r}"
    for name, x in given.items():
        assert frozen(x) == before[name], f"{name} was changed"
    return answer


@st.composite
def outs(draw, shape, dtype, inputs):
    kind = draw(st.integers(0, 7))
    if kind > 3:
        return None
    if kind == 3:
        return draw(st.one_of(JUNK, st.sampled_from([x for x in inputs if isinstance(x, np.ndarray)] or [1])))
    out = np.full(shape, 7, dtype if kind else draw(st.sampled_from(DTYPES)))
    out = np.asfortranarray(out) if draw(st.booleans()) else out
    if draw(st.integers(0, 5)) == 0:
        out.flags.writeable = False
    return out.view(Other) if draw(st.integers(0, 5)) == 0 else out


THREADS = st.sampled_from(
    [None, None, 1, 2, 64, 0, -1, 1.5, "2", True, np.int8(3), np.array(2), np.array([1, 2]), np.True_, 10**9, 10**30]
)
FILLS = st.sampled_from(
    [0.0, 0.0, -1, float("nan"), 2**70, 10**400, None, "a", 1j, np.float32(2), 0.5, True, np.zeros(1)]
)
BOUNDS = st.sampled_from(
    [None] * 6
    + [0, 0.0, -1, 2, 0.5, -2.5, float("nan"), float("inf"), 2**62, 2**70, 10**400, "a", 1j, True, np.zeros(1)]
)


def small(*given):
    return all(np.size(x) <= MOST for x in given)


def options_of(draw, shape, keyed):
    options = {}
    if draw(st.booleans()):
        options["state"] = draw(arrays((*((3,) if keyed else ()), *shape[1:]), ("f8", "f4", "i8", "i2")))
    if keyed:
        options["keys"] = draw(arrays(shape[:1], ("i8", "u1", "i2", "u8"), values=draw(IDS)))
    options["threads"] = draw(THREADS)
    return options


@fuzzed
@given(st.data())
def test_toy_scan(data):
    draw = data.draw
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=3)))
    given = {
        "x1": draw(arrays(shape)),
        "x2": draw(st.one_of(arrays(shape, values=[1, 0, 2]), st.sampled_from([1, 2, 3, -1, True, 0.5]))),
        "x3": draw(st.one_of(arrays(shape, values=[0, 1]), st.sampled_from([0, 1, 2]))),
    }
    options = options_of(draw, shape, draw(st.integers(0, 2)) == 0)
    options |= {"fill": draw(FILLS), "strict": draw(st.booleans()), "low": draw(BOUNDS), "high": draw(BOUNDS)}
    out = draw(outs(shape, getattr(given["x1"], "dtype", np.dtype("i8")), list(given.values())))
    names = ["x1", "x2", "x3", "x ", "state", "keys", "threads", "fill", "low", "high", "out", "integer memory"]
    checked = given | options
    answer = attempt(lambda: fc.toy_scan(*given.values(), out=out, **options), checked, out, names)
    if answer is None or not small(*given.values(), answer.state):
        return
    x = [np.asarray(part) for part in given.values()]
    options.pop("threads")
    wanted = expected.toy(*x, **options)
    y = np.asarray(answer.y)
    assert y.dtype == wanted.y.dtype
    if x[0].dtype.kind == "f" and x[0].ndim == 1:  # added up in segments where it is long
        if len(x[0]) < 64:
            np.testing.assert_array_equal(y, wanted.y)
        return
    np.testing.assert_array_equal(y, wanted.y)
    np.testing.assert_array_equal(answer.state, wanted.state)
    if out is not None:
        np.testing.assert_array_equal(out, wanted.y)


@fuzzed
@given(st.data())
def test_gated_scan(data):
    draw = data.draw
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=3)))
    few = draw(st.sampled_from([("f4",), ("f8",), ("i8",), ("f4", "i1")]))
    gate = (*shape[:-1], 1) if draw(st.booleans()) else shape
    given = {"x": draw(arrays(shape, few)), **{name: draw(arrays(gate, few, values=[0, 1, 2])) for name in "fio"}}
    options = options_of(draw, shape, draw(st.integers(0, 2)) == 0)
    out = draw(outs(shape, getattr(given["x"], "dtype", np.dtype("i8")), list(given.values())))
    names = [*(f"{name} " for name in "xfio"), "state", "keys", "threads", "out", "integer memory"]
    answer = attempt(lambda: fc.gated_scan(*given.values(), out=out, **options), given | options, out, names)
    if answer is None or not small(*given.values(), answer.state):
        return
    options.pop("threads")
    with np.errstate(all="ignore"):
        wanted = expected.gated(*given.values(), **options)
    assert answer.y.dtype == wanted.y.dtype
    np.testing.assert_array_equal(answer.y, wanted.y)
    np.testing.assert_array_equal(answer.state, wanted.state)


LSTMS = [
    fc.LSTM(3, 5, seed=0),
    fc.LSTM(2, 17, 2, bidirectional=True, proj_size=3, seed=1),
    fc.LSTM(1, 8, dtype="float64", seed=2),
    fc.LSTM(4, 9, precision="bfloat16", seed=3),
    fc.LSTM(2, 6, proj_size=4, precision="int8", seed=4),
]
# sums in another order; and a rounding that tips, by 2**-8 of an operand or by 1 / 127 of a row's largest, and goes on
CLOSE = {"float32": 2e-5, "float64": 1e-12, "bfloat16": 1e-2, "int8": 5e-2}


def real_and_small(x):
    """Whether float sums of these can't depend on their order by much, so that the oracle's tolerance holds."""
    x = np.asarray(x, "f8")
    return np.isfinite(x).all() and np.abs(x).max(initial=0) < 10


@fuzzed
@given(st.data())
def test_lstm(data):
    draw = data.draw
    net = draw(st.sampled_from(LSTMS))
    T, B = draw(SIZES), draw(SIZES)
    L, D = net.num_layers * net.directions, net.directions
    first = draw(st.sampled_from([None, False, True]))
    unbatched = draw(st.integers(0, 5)) == 0
    rows = () if unbatched else (B,)
    lead = (T,) if unbatched else (B, T) if first else (T, B)
    given = {"x": draw(arrays((*lead, net.input_size), ("f4", "f8", "i2"), values=[-1, 0, 1, 2])), "state": None}
    if draw(st.booleans()):
        pair = tuple(
            draw(arrays((L, *rows, n), ("f4", "f8"), values=[-1, 0, 1])) for n in (net.output_size, net.hidden_size)
        )
        given["state"] = draw(st.one_of(st.just(pair), st.just(pair), st.just(pair), JUNK, st.just(pair[:1])))
    given["lengths"] = draw(st.one_of(st.none(), arrays((B,), ("i8", "u1", "i2"), values=list(range(T + 1)))))
    given["reset"] = draw(st.one_of(st.none(), st.none(), arrays(lead, ("?",), values=[False, True])))
    given["mask"] = draw(st.one_of(st.none(), st.none(), arrays(lead, ("?",), values=[False, True])))
    given["keys"] = None
    if unbatched:
        given["keys"] = draw(st.one_of(st.none(), arrays((T,), ("i8", "u1", "i2"), values=[0, 1, 2, 5])))
    options = {"threads": draw(THREADS), "batch_first": first}
    out = draw(outs((*lead, D * net.output_size), net.dtype, [given["x"]]))
    names = ["x ", "state", "lengths", "reset", "mask", "keys", "threads", "out"]
    kept = {name: given[name] for name in ("lengths", "reset", "mask", "keys")}
    parts = (
        given | {"h": given["state"][0], "c": given["state"][-1]}
        if isinstance(given["state"], tuple) and given["state"]
        else given
    )
    answer = attempt(
        lambda: net(*list(given.values())[:2], **kept, out=out, **options),
        parts,
        out,
        names,
    )
    if answer is None or not small(given["x"]):
        return
    y, (h, c) = answer
    assert (y.dtype, h.dtype, c.dtype) == (net.dtype,) * 3
    values = [given["x"], *(given["state"] or ())]
    if np.ndim(given["x"]) != 3 or not T or not B or np.size(given["x"]) > 200 or not all(map(real_and_small, values)):
        return
    x = np.asarray(given["x"], net.dtype)
    reset, mask = (None if part is None else np.asarray(part) for part in (given["reset"], given["mask"]))
    if first:
        x, y = x.transpose(1, 0, 2), np.swapaxes(y, 0, 1)
        reset, mask = (None if part is None else part.T for part in (reset, mask))
    state = None if given["state"] is None else [np.asarray(part, net.dtype) for part in given["state"]]
    lengths = None if given["lengths"] is None else np.asarray(given["lengths"]).tolist()
    wanted = by_oracle(net, x, state, lengths=lengths, reset=reset, mask=mask)
    for got, want in zip((y, h, c), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=CLOSE[net.precision])


CELLS = [fc.LSTMCell(3, 5, seed=0), fc.LSTMCell(2, 17, proj_size=3, seed=1)]


@partial(fuzzed, few=100)  # each of other types fails to compile, for a twentieth of a second
@given(st.data())
def test_cell(data):
    draw = data.draw
    cell = draw(st.sampled_from(CELLS))
    rows = draw(st.sampled_from([(), (1,), (7,)]))
    few = ("f4", "f4", "f8")
    x, h, c = (
        draw(arrays((*rows, n), few, values=[-1, 0, 1])) for n in (cell.input_size, cell.output_size, cell.hidden_size)
    )
    state = draw(st.one_of(st.just((h, c)), st.just((h, c)), JUNK))
    given = {"x": x, "h": h, "c": c}
    answer = attempt(lambda: cell(x, state), given, None, ["x ", "h ", "c ", "state"])
    before = {name: frozen(part) for name, part in given.items()}
    kinds = tuple(
        f"{type(part)} {getattr(part, 'ndim', 0)} {getattr(part, 'flags', 0)}" for part in (cell.params, x, h, c)
    )
    steps = [lambda: cell.step(x, h, c)]
    most = 4 if draws.LONG else 2  # each compiles a function, or fails to, for seconds
    if kinds in STEPPED or len(STEPPED) < most:
        STEPPED.add(kinds)
        steps.append(lambda: fc.lstm_step(cell.params, x, h, c))
    for step in steps:
        failure = None
        try:
            step()
        except ERRORS as error:
            failure = error
        if failure is not None:
            named(failure, ("x ", "h ", "c ", "x, h and c"))
            assert {name: frozen(part) for name, part in given.items()} == before
            continue
        assert frozen(x) == before["x"]
        if answer is not None and isinstance(state, tuple) and len(state) == 2 and state[0] is h:
            np.testing.assert_array_equal(h, answer[0])
            np.testing.assert_array_equal(c, answer[1])
        return


ARGUMENTS = ["input_size", "hidden_size", "num_layers", "proj_size", "clip", "activations", "dtype", "weights", "seed"]
STEPPED: set[tuple[str, ...]] = set()
SCALARS = st.one_of(
    st.sampled_from([0, 1, 2, 3, -1, 1.5, True, np.int64(2), np.array(2), np.array([1, 2]), 2**62, 10**30]),
    st.sampled_from([2**14, 2**16, 10**6, 2**30, 2**31 - 1]),
    JUNK,
)


@fuzzed
@given(st.data())
def test_making_an_lstm(data):
    draw = data.draw
    wrong = draw(st.dictionaries(st.sampled_from(ARGUMENTS), SCALARS, min_size=1, max_size=2))
    arguments = {"input_size": 3, "hidden_size": 5, "seed": 0} | wrong
    if draw(st.booleans()) and "weights" not in wrong:
        weights = fc.LSTM(3, 5, seed=0).state_dict()
        name = draw(st.sampled_from(sorted(weights)))
        arguments["weights"] = weights | {name: draw(arrays(weights[name].shape, ("f4", "f8", "i2")))}
    names = [*wrong, "weight", "bias", "hidden_size", "activations"]
    attempt(lambda: fc.LSTM(**arguments), {}, None, names)


@pytest.mark.parametrize("arguments", [(), ("a", 1, 1), (1.0, "a", 1)])
def test_rules_to_gates_and_steps(arguments):
    with pytest.raises(TypeError):
        fc.toy_step(*arguments)
