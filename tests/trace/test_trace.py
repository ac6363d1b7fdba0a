"""Traces: the forward pass's own numbers, gates by the oracle, the rules as an LSTM, tables, pictures, the demo."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fastcell as fc
from fastcell import oracle
from fastcell.__main__ import main
from fastcell._cli import demo as _demo
from tests.helpers.lstm_options import configurations
from tests.helpers.lstms import TOLERANCE, function, normal

# ---- LSTM.trace ----


def recorded(lstm, x, state, **options):
    """(i, f, g, o) by the oracle, a list for each layer and direction of (B, T, H) lists: what its activations gave."""
    seen = {"gate": [], "candidate": []}

    def record(entry, kind):
        activation = function(entry)

        def call(z):
            seen[kind].append(activation(z))
            return seen[kind][-1]

        return call

    T, B, _ = x.shape
    H, ends = lstm.hidden_size, options.get("lengths", [T] * B)
    functions = [
        function(entry) if place % 3 == 2 else record(entry, ["gate", "candidate"][place % 3])
        for place, entry in enumerate(lstm.activations)
    ]
    weights = {name: array.astype(float).tolist() for name, array in lstm.state_dict().items() if len(array)}
    oracle.lstm(
        x.astype(float).tolist(), weights, [part.astype(float).tolist() for part in state], reverse=lstm.reverse,
        coupled=lstm.coupled, clip=lstm.clip, activations=functions, **options,
    )  # fmt: skip
    gates, candidates = (iter(seen[kind]) for kind in ("gate", "candidate"))
    for _ in range(lstm.num_layers):
        for direction in range(lstm.directions):
            found = np.zeros((4, T, B, H))
            for b in range(B):
                steps = range(ends[b])
                for t in reversed(steps) if lstm.reverse or direction else steps:
                    i = list(itertools.islice(gates, H))
                    f = [1 - gate for gate in i] if lstm.coupled else list(itertools.islice(gates, H))
                    found[:, t, b] = i, f, list(itertools.islice(candidates, H)), list(itertools.islice(gates, H))
            yield found


@settings(max_examples=40)
@given(configurations(), st.integers(0, 5), st.sampled_from([1, 2, 5]), st.booleans(), st.booleans(), st.booleans())
def test_any_configuration_is_the_forward_pass_with_the_oracles_gates(options, T, B, cut, forgets, started):
    lstm = fc.LSTM(**options)
    random = np.random.default_rng(options["seed"])
    x = normal((T, B, options["input_size"]), options["dtype"], options["seed"])
    more = {"lengths": random.integers(0, T + 1, B).tolist()} if cut else {}
    if forgets and not (lstm.bidirectional or lstm.reverse):
        more["reset"] = random.random((T, B)) < 0.3
    L, R, H = lstm.num_layers * lstm.directions, lstm.output_size, lstm.hidden_size
    state = normal((L, B, R), lstm.dtype, 2), normal((L, B, H), lstm.dtype, 3)
    if not started:
        state = tuple(np.zeros_like(part) for part in state)
    y, (h_n, c_n) = lstm(x, state, **more)
    ends = more.get("lengths", [T] * B)
    for k, wanted in enumerate(recorded(lstm, x, state, **more)):
        layer, d = divmod(k, lstm.directions)
        trace = lstm.trace(x, state if started else None, layer=layer, direction=d, **more)
        for name, part in zip(trace._fields, trace, strict=True):
            assert part.dtype == lstm.dtype, name
            assert part.shape == (T, B, R if name == "h" else H), name
        if layer == lstm.num_layers - 1:
            np.testing.assert_array_equal(trace.h, y[:, :, d * R : d * R + R])
        for b, end in enumerate(ends):
            last = 0 if lstm.reverse or d else end - 1
            if end:
                np.testing.assert_array_equal(trace.h[last, b], h_n[k, b])
                np.testing.assert_array_equal(trace.c[last, b], c_n[k, b])
        for name, part, want in zip("ifgo", trace, wanted, strict=False):
            error = np.abs(part - want) / np.maximum(1, np.abs(want))
            np.testing.assert_array_less(error, TOLERANCE[lstm.dtype.name], err_msg=f"{name} of {lstm}")


@pytest.mark.parametrize("options", [{}, {"proj_size": 5, "num_layers": 2}, {"peepholes": True, "clip": 0.5}], ids=str)
def test_the_memory_of_every_step_is_that_of_the_call_so_far(options):
    lstm = fc.LSTM(3, 17, seed=1, **options)
    x, layer = normal((6, 4, 3)), lstm.num_layers - 1
    trace = lstm.trace(x, layer=layer)
    for t in range(6):
        _, (h, c) = lstm(x[: t + 1])
        np.testing.assert_array_equal(trace.h[t], h[layer])
        np.testing.assert_array_equal(trace.c[t], c[layer])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("H", [3, 5, 16, 33])
def test_gates_are_those_of_the_forward_pass_bit_for_bit(dtype, clip, H):
    """Other activations make the kernel itself show one: c = f * 0 + i * 1, f * 1 + i * 0, 1 * 0 + 1 * g, h = o * 1."""
    lstm = fc.LSTM(7, H, seed=2, dtype=dtype, clip=clip)
    x = normal((20, 3, 7), dtype)
    trace = lstm.trace(x)
    h = np.concatenate([np.zeros_like(trace.h[:1]), trace.h[:-1]]).reshape(1, -1, H)
    rows, nothing = x.reshape(1, -1, 7), np.zeros_like(h)

    def shown(gate, candidate, output, c):
        activations = (gate, candidate, output)
        showing = fc.LSTM(7, H, dtype=dtype, clip=clip, activations=activations, weights=lstm.state_dict())
        y, (_, c) = showing(rows, (h, c))
        return y.reshape(trace.c.shape), c.reshape(trace.c.shape)

    zero, one = ("affine", 0, 0), ("affine", 0, 1)
    np.testing.assert_array_equal(trace.i, shown("sigmoid", one, one, nothing)[1])
    np.testing.assert_array_equal(trace.f, shown("sigmoid", zero, one, nothing + 1)[1])
    np.testing.assert_array_equal(trace.g, shown(one, "tanh", one, nothing)[1])
    np.testing.assert_array_equal(trace.o, shown("sigmoid", "tanh", one, nothing)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gates_and_memory_keep_the_equations(dtype):
    lstm = fc.LSTM(3, 9, seed=1, dtype=dtype)
    x, reset = normal((30, 4, 3), dtype), np.random.default_rng(0).random((30, 4)) < 0.2
    trace = lstm.trace(x, reset=reset)
    before = np.concatenate([np.zeros_like(trace.c[:1]), trace.c[:-1]])
    before[reset] = 0
    few = 8 * np.finfo(dtype).eps  # roundings of sums and products below 2, and the one division of i * g
    assert np.abs(trace.f * before + trace.i * trace.g - trace.c).max() <= few
    assert np.abs(trace.o * np.tanh(trace.c) - trace.h).max() <= few


def test_layouts():
    lstm = fc.LSTM(3, 5, 2, seed=0)
    x, reset = normal((6, 2, 3)), np.random.default_rng(0).random((6, 2)) < 0.3
    whole = lstm.trace(x, layer=1, reset=reset)
    for trace in (
        lstm.trace(x.transpose(1, 0, 2), layer=1, reset=reset.T, batch_first=True),
        fc.LSTM(3, 5, 2, seed=0, batch_first=True).trace(x.transpose(1, 0, 2), layer=1, reset=reset.T),
        lstm.trace(np.asfortranarray(x).astype(">f8"), layer=1, reset=reset.tolist()),
    ):
        for got, want in zip(trace, whole, strict=True):
            np.testing.assert_array_equal(got, want)
    for got, want in zip(lstm.trace(x[:, 1], layer=1, reset=reset[:, 1], lengths=[4]), whole, strict=True):
        np.testing.assert_array_equal(got[:4], want[:4, 1])
        assert (got[4:] == 0).all()


@pytest.mark.parametrize(("T", "B", "I", "H"), [(0, 2, 3, 4), (5, 0, 3, 4), (5, 2, 0, 4), (5, 2, 3, 0)])
def test_nothing_is_an_answer(T, B, I, H):
    trace = fc.LSTM(I, H, 2, bidirectional=True, seed=0).trace(normal((T, B, I)), layer=1, direction=1)
    assert [part.shape for part in trace] == [(T, B, H)] * 6
    if B:
        assert len(trace.table().splitlines()) >= T + 1
        texts_apart(trace.plot())


def test_inputs_are_not_changed():
    lstm = fc.LSTM(3, 5, seed=0)
    x, h, c = normal((6, 2, 3)), normal((1, 2, 5)), normal((1, 2, 5), seed=1)
    copies = x.copy(), h.copy(), c.copy()
    lstm.trace(x, (h, c), reset=np.ones((6, 2), bool))
    for array, copy in zip((x, h, c), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


X = np.zeros((4, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, "layer must be below 2, got 2", lambda lstm: lstm.trace(X, layer=2)),
        (ValueError, "layer must be at least 0, got -1", lambda lstm: lstm.trace(X, layer=-1)),
        (ValueError, "direction must be below 1, got 1", lambda lstm: lstm.trace(X, direction=1)),
        (TypeError, "layer must be an integer, got float", lambda lstm: lstm.trace(X, layer=0.0)),
        (ValueError, r"x must have shape \(T, B, I\)", lambda lstm: lstm.trace(X[..., :2])),
        (ValueError, "lengths must be from 0 to T = 4, got 5", lambda lstm: lstm.trace(X, lengths=[5, 1])),
        (ValueError, "row must be below B = 2, got 2", lambda lstm: lstm.trace(X).table(row=2)),
        (ValueError, "row must be below B = 1, got 1", lambda lstm: lstm.trace(X[:, 0]).plot(row=1)),
        (ValueError, "units must be from 0 to H - 1 = 4, got 5", lambda lstm: lstm.trace(X).table(units=[0, 5])),
        (TypeError, "units must be an integer, got float64", lambda lstm: lstm.trace(X).plot(units=[0.5])),
        (ValueError, "labels must be as many as steps, 4, got 3", lambda lstm: lstm.trace(X).table(range(3))),
        (TypeError, "labels must be a sequence of a label a step, got 'abcd'", lambda lstm: lstm.trace(X).plot("abcd")),
    ],
)  # fmt: skip
def test_errors_name_the_argument(error, words, call):
    with pytest.raises(error, match=words):
        call(fc.LSTM(3, 5, 2, seed=0))


# ---- the rules as an LSTM ----


def rules(T, dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    x1 = random.uniform(-10, 10, T).astype(dtype)
    x2, x3 = random.choice([-1, 0, 1], T, p=[0.1, 0.4, 0.5]), random.integers(0, 2, T)
    return x1, x2.astype(np.int8), x3.astype(np.int8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [2.0**-40, 1e-5, 1e-3])
@pytest.mark.parametrize("strength", [8.0, 30.0, 1000.0])
def test_from_rules_is_the_toy_cell_within_its_bound(dtype, scale, strength):
    """The memory in units of x1 is off by d, which each step lets grow by no more than

    - gates off by e = exp(-k): e of the memory, e of the input;
    - tanh(s x) / s, off by s^2 |x|^3 / 3, since |tanh(z) - z| <= |z|^3 / 3;
    - 16 roundings of the memory and the input, u each: weights, sigmoid and tanh within 4 ulp, product, sum.

    An output adds the same for the memory: s^2 |a|^3 / 3 of its tanh, e of its gate, 16 roundings.
    """
    T, s, e, u = 300, scale, math.exp(-strength), float(np.finfo(dtype).eps)
    x1, x2, x3 = rules(T, dtype)
    lstm, factor = fc.LSTM.from_rules(scale=scale, strength=strength, dtype=dtype)
    assert (lstm.dtype, lstm.input_size, lstm.hidden_size) == (dtype, 3, 1)
    assert factor == pytest.approx(1 / scale, rel=u)
    y = factor * lstm(np.stack([x1, x2, x3], axis=1))[0][:, 0].astype(float)
    memory = fc.toy_trace(x1.astype(float), x2, x3).a
    d = largest = 0.0
    for t in range(T):
        a, x = abs(memory[t - 1]) if t else 0.0, abs(float(x1[t]))
        d += (e + 16 * u) * (a + d + x) + s**2 * x**3 / 3
        a = abs(memory[t]) + d
        bound = d + s**2 * a**3 / 3 + (e + 16 * u) * a
        assert abs(y[t] - (memory[t] if x3[t] else 0.0)) <= bound
        largest = max(largest, bound)
    if strength > 30 and scale == 2.0**-40:
        assert largest < (1.0 if dtype == "float32" else 1e-9)  # a bound that says something


def test_from_rules_by_default_counts_and_forgets_exactly():
    x1, x2, x3 = rules(500)
    x1 = np.rint(x1)
    lstm, factor = fc.LSTM.from_rules()
    assert lstm.dtype == np.float64
    y, _ = lstm(np.stack([x1, x2, x3], axis=1))
    np.testing.assert_array_equal(np.rint(factor * y[:, 0]), fc.toy_scan(x1, x2, x3).y)
    trace = lstm.trace(np.stack([x1, x2, x3], axis=1))
    f, i, o = fc.rules_to_gates(x2, x3)
    for got, want in zip((trace.f, trace.i, trace.o), (f, i, o), strict=True):
        np.testing.assert_array_equal(got[:, 0], want)
    assert (trace.c[x2 == -1] == 0).all()


def test_from_rules_refuses_what_is_no_scale():
    for scale in (0.0, -1.0, math.nan, math.inf, 1e-320):
        with pytest.raises(ValueError, match=r"scale must be from 2\.23e-308 to .* in float64, got"):
            fc.LSTM.from_rules(scale=scale)
    with pytest.raises(ValueError, match=r"strength must be from .* in float32, got 1e\+38"):
        fc.LSTM.from_rules(strength=1e38, dtype="float32")
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got float16"):
        fc.LSTM.from_rules(dtype="float16")


# ---- toy_trace ----


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*itertools.product([(0,), (1,), (700,), (40000,)], ["float32", "float64", "int64"]), ((30, 5), "int16")],
)
def test_toy_trace_is_toy_scan(dtype, shape):
    size = math.prod(shape)
    x1, x2, x3 = (part.reshape(shape) for part in rules(size))
    x1 = (x1 * 10).astype(dtype)
    state = np.asarray(3 if dtype[0] == "i" else 0.5) + np.zeros(shape[1:], int)
    trace = fc.toy_trace(x1, x2, x3, state=state)
    y, last = fc.toy_scan(x1, x2, x3, state=state)
    assert (trace.y.dtype, trace.a.dtype, trace.x1.dtype) == (y.dtype, last.dtype, x1.dtype)
    np.testing.assert_array_equal(trace.y, y)
    np.testing.assert_array_equal(trace.a.astype(y.dtype)[x3 == 1], y[x3 == 1])
    if size:
        np.testing.assert_array_equal(trace.a[-1], last)
    words = np.array(["reset", "keep", "add"])
    np.testing.assert_array_equal(trace.rule, words[x2 + 1])
    np.testing.assert_array_equal(trace.emit, np.where(x3 == 1, "output", "silent"))
    if dtype == "float64":
        rows = fc.toy_trace(np.stack([x1, x2, x3], axis=-1).astype(dtype), state=state)
        for got, want in zip(rows, trace, strict=True):
            np.testing.assert_array_equal(got, want)


def test_toy_trace_refuses_what_toy_scan_does():
    with pytest.raises(ValueError, match="x2 must be -1, 0, 1 or 2, got 3 at index 1"):
        fc.toy_trace([1, 2], [0, 3], [0, 1])
    with pytest.raises(ValueError, match=r"x1 must have shape \(T,\) or \(T, B\), got \(1, 2, 2\)"):
        fc.toy_trace(*np.ones((3, 1, 2, 2)))
    with pytest.raises(OverflowError):
        fc.toy_trace([2**62, 2**62], [1, 1], [0, 0])
    with pytest.raises(ValueError, match="row must be below B = 1, got 1"):
        fc.toy_trace([1], [1], [1]).table(row=1)
    with pytest.raises(ValueError, match="labels must be as many as steps, 1, got 2"):
        fc.toy_trace([1], [1], [1]).plot(["ab", "cd"])


# ---- tables ----


def test_table_has_a_line_a_step():
    lstm = fc.LSTM(3, 6, seed=0)
    trace = lstm.trace(normal((4, 2, 3)), lengths=[2, 4])
    lines = trace.table(["a long name", "b\nc", "$x$", 4], row=1, units=[5]).splitlines()
    assert lines[1].split() == ["unit", "5"]
    assert lines[2].split() == ["step", *"ifgoch"]
    assert [line[:11].rstrip() for line in lines[3:]] == ["a long name", "b c", "$x$", "4"]
    numbers = np.array([line[11:].split() for line in lines[3:]], float)
    np.testing.assert_allclose(numbers, np.stack([part[:, 1, 5] for part in trace], axis=1), rtol=0, atol=0.00501)
    assert len(trace.table(row=0).splitlines()) == 2 + 3 + 1  # a row of length 2, and which units these are
    assert trace.table(["x", "y"]) == trace.table(["x", "y", "past", "its end"])
    assert "units 0 to 3 of 6" in trace.table()
    assert "units" not in trace.table(units=range(6))
    assert trace.table(units=5).splitlines()[1].split() == ["unit", "5"]


def test_table_of_a_projection_has_its_outputs_apart():
    lines = fc.LSTM(3, 4, proj_size=2, seed=0).trace(normal((2, 3))).table().splitlines()
    assert lines[1].split("|")[-1].split() == ["output"]
    assert lines[2].split("|")[-1].split() == ["h0", "h1"]
    assert all(len(line.split("|")) == 5 for line in lines[1:])


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9, math.nan, math.inf])
def test_table_shows_numbers_of_any_size(size):
    lstm = fc.LSTM(1, 1, dtype="float64", activations=("sigmoid", ("affine", size), "identity"), seed=0)
    trace = lstm.trace(np.ones((2, 1)))
    shown = np.array([line.split()[-2:] for line in trace.table().splitlines()[-2:]], float)
    np.testing.assert_allclose(shown, np.stack([trace.c[:, 0], trace.h[:, 0]], axis=1), rtol=0.05)


def test_toy_table():
    x1, x2, x3 = [[3, 100], [5, 1], [12345678, 2]], [[1, -1], [0, 1], [1, 0]], [[0, 1], [1, 0], [0, 1]]
    lines = fc.toy_trace(x1, x2, x3).table(["Mon", "Tue", "Wednesday"]).splitlines()
    assert [line.split() for line in lines] == [
        ["step", "x1", "x2", "x3", "|", "f", "i", "o", "|", "a", "y", "|", "rule", "emit"],
        ["Mon", "3", "1", "0", "|", "1", "1", "0", "|", "3", "-", "|", "add", "silent"],
        ["Tue", "5", "0", "1", "|", "1", "0", "1", "|", "3", "3", "|", "keep", "output"],
        ["Wednesday", "12345678", "1", "0", "|", "1", "1", "0", "|", "12345681", "-", "|", "add", "silent"],
    ]
    assert len({line.index("|") for line in lines}) == 1
    assert fc.toy_trace(x1, x2, x3).table(row=1).splitlines()[1].split() == [
        "0",
        "100",
        "-1",
        "1",
        "|",
        "0",
        "0",
        "1",
        "|",
        "0",
        "0",
        "|",
        "reset",
        "output",
    ]


# ---- pictures ----

LABELS = {
    "none": lambda T: None,
    "words": lambda T: [["I", "love", "France"][t % 3] for t in range(T)],
    "long": lambda T: ["W" * (5 + 7 * (t % 5)) for t in range(T)],
    "dates": lambda T: np.datetime64("2012-01-01") + np.arange(T),
    "signs": lambda T: ["$^{_", "a\nb", "", "%\\", "m" * 9] * (T // 5) + ["mmm"] * (T % 5),
}


def texts_apart(figure):
    """No text of the figure covers another; returns the texts."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # half the time, and what has no place is set all the same
    texts = list(figure.texts)
    boxes = [(legend.get_window_extent(renderer), "legend") for legend in figure.legends]
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [label for tick in ticks for label in (tick.label1, tick.label2)]
    boxes += [
        (text.get_window_extent(renderer), text.get_text()) for text in texts if text.get_visible() and text.get_text()
    ]
    for (a, first), (b, second) in itertools.combinations(boxes, 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 0 or up <= 0, f"{first!r} covers {second!r}"
    whole = figure.bbox
    for box, text in boxes:
        inside = whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1 and whole.y0 - 1 <= box.y0 and box.y1 <= whole.y1 + 1
        assert inside, f"{text!r} leaves the figure"
    return [text for _, text in boxes]


@pytest.mark.parametrize(("row", "H"), [*enumerate([1, 4, 64])])
@pytest.mark.parametrize(("column", "labels"), [*enumerate(["none", "words", "long"])])
def test_plot(row, H, column, labels):
    T = (3, 500)[(row + column) % 2]  # every two of size, labels and length meet
    figure = fc.LSTM(3, H, seed=1).trace(normal((T, 3))).plot(LABELS[labels](T))
    assert type(figure) is Figure
    texts = texts_apart(figure)
    for text in (
        "remember?  input gate i",
        "0 forget, 1 keep",
        "show?  output gate o",
        "memory c, after the step",
        "step",
    ):
        assert text in texts
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert len(panels) == 6
    mapped = H == 64 or (H, T) == (4, 500)
    assert all(len(ax.images) == mapped for ax in panels)
    if mapped:
        assert len(figure.axes) == 12  # a scale beside each
    else:
        for ax in panels:
            lines = [line for line in ax.lines if len(line.get_xdata()) == T]
            assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == H  # told apart without colour
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == [f"unit {k}" for k in range(H)]


@pytest.mark.parametrize(("column", "T"), [*enumerate([1, 7, 13, 61])])
@pytest.mark.parametrize(("row", "labels"), [*enumerate(["words", "long", "dates", "signs"])])  # none: the tests beside
def test_labels_never_overlap(row, labels, column, T):
    """As on a chessboard, since to draw takes half a second: one plot at white squares, the other at black ones."""
    trace = fc.LSTM(3, 2, seed=1).trace(normal((T, 3))) if (row + column) % 2 else fc.toy_trace(*rules(T))
    texts_apart(trace.plot(LABELS[labels](T)))


@pytest.mark.parametrize("T", [0, 1, 3, 500, 5000])
def test_toy_plot(T):
    figure = fc.toy_trace(*rules(T)).plot()
    assert type(figure) is Figure
    texts = texts_apart(figure)
    assert {"input x1", "memory a, in units of x1", "add", "keep", "reset", "output", "step"} <= set(texts)


def test_plots_show_the_numbers():
    trace = fc.LSTM(3, 6, seed=1).trace(normal((5, 2, 3)), lengths=[5, 3])
    lines = trace.plot(row=1, units=[4, 0]).axes[3].lines
    for line, unit in zip([line for line in lines if len(line.get_xdata()) == 3], [4, 0], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), trace.c[:3, 1, unit])
    (image,) = trace.plot().axes[3].images
    np.testing.assert_array_equal(image.get_array(), trace.c[:, 0].T)
    toy = fc.toy_trace([3, 5, 2, 4], [1, 0, -1, 2], [0, 1, 1, 0])
    _, memory, strip = toy.plot().axes
    np.testing.assert_array_equal(memory.lines[0].get_ydata(), [3, 3, 0, 4])
    np.testing.assert_array_equal(memory.lines[1].get_ydata(), [3, 0])
    wanted = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0]]
    np.testing.assert_array_equal(strip.images[0].get_array(), wanted)


def test_plots_of_unusual_values(tmp_path):
    """Gates beyond 1, nan and infinity, a projection of few and of many."""
    x = normal((6, 3))
    x[3] = np.nan
    for H, options in (
        (20, {"activations": ("relu", "identity", "identity")}),
        (3, {"activations": (("affine", 0, np.inf), "tanh", "tanh")}),
        (3, {"proj_size": 2}),
        (20, {"proj_size": 2}),
    ):
        figure = fc.LSTM(3, H, seed=1, **options).trace(x).plot()
        if "activations" in options:  # nan and infinity are painted, too
            figure.savefig(tmp_path / "x.png", dpi=40)
        texts_apart(figure)


def test_pyplot_is_not_touched_and_a_missing_matplotlib_says_what_to_install():
    code = """
import sys, fastcell as fc
assert "matplotlib" not in sys.modules
fc.toy_trace([1], [1], [1]).plot()
assert "matplotlib.pyplot" not in sys.modules
for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib" or name == "fastcell.trace.plots"]:
    del sys.modules[name]
del fc.trace.plots
sys.modules["matplotlib"] = None
try:
    fc.toy_trace([1], [1], [1]).plot()
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "plot needs matplotlib: pip install 'fastcell[plot]'", run.stderr


# ---- the demo ----


def test_the_demos_sentence_tells_its_story():
    trace = _demo.sentence().trace(_demo.MEANINGS)
    remembered = trace.i > 0.5
    np.testing.assert_array_equal(remembered, np.eye(3, dtype=bool))
    np.testing.assert_array_equal(trace.f > 0.5, [[1, 1, 1], [1, 1, 1], [0, 1, 1]])
    np.testing.assert_array_equal(trace.o > 0.5, [[0, 0, 0], [1, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(trace.c > 0.5, [[1, 0, 0], [1, 1, 0], [0, 1, 1]])
    np.testing.assert_array_equal(trace.h > 0.5, [[0, 0, 0], [1, 0, 0], [0, 1, 1]])


def test_demo_draws_the_plot_whole_or_not_at_all(tmp_path, capsys, monkeypatch):
    assert main(["demo", "--plot", str(tmp_path / "trace.png")]) == 0
    shown = capsys.readouterr().out
    assert "France  0.05  0.05  0.00  0.08  0.04  0.00" in shown
    assert "3     0.00  1.00  3.00  1.00  5.00  5.00" in shown
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")
    assert main(["demo", "--plot", str(tmp_path / "trace.txt")]) == 1
    assert "trace.txt: expected a .png, .svg or .pdf file" in capsys.readouterr().err
    assert main(["demo", "--plot", str(tmp_path / "none" / "trace.png")]) == 1
    assert "No such file or directory" in capsys.readouterr().err

    def fails(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fails)
    (tmp_path / "trace.png").write_text("old", "utf-8")
    assert main(["demo", "--plot", str(tmp_path / "trace.png")]) == 1
    assert "demo: disk full" in capsys.readouterr().err
    assert (tmp_path / "trace.png").read_text("utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["trace.png"]
