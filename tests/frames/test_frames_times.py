"""A half-life at irregular times: the decay by hand, over every kind of frame, type of time and cut into chunks."""

import datetime as dt
import itertools
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastcell as fc
from tests.helpers.frames import KINDS, collected, rows, y_of

T = 300


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def events(keys=5, seed=0):
    """Times in seconds, several at once among them, in the order of all keys."""
    rng = np.random.default_rng(seed)
    return pa.table({
        "x": rng.standard_normal(T), "t": np.sort(rng.integers(0, 500, T)), "k": rng.integers(0, keys, T).astype(str)
    })  # fmt: skip


def by_hand(frame, half_life, names=("k",)):
    memories, last, y = {}, {}, []
    for row in frame.to_pylist():
        key = tuple(row[name] for name in names)
        gap = row["t"] - last.get(key, row["t"])
        memories[key] = memories.get(key, 0.0) * 2.0 ** (-gap / half_life) + row["x"]
        last[key] = row["t"]
        y.append(memories[key])
    return np.array(y), last


SECONDS = {
    "int64": lambda t: t,
    "int32": lambda t: t.cast(pa.int32()),
    "uint64": lambda t: t.cast(pa.uint64()),
    "float64": lambda t: t.cast(pa.float64()),
    "float32": lambda t: t.cast(pa.float32()),
    "s": lambda t: t.cast(pa.timestamp("s")),
    "ms": lambda t: t.cast(pa.timestamp("s")).cast(pa.timestamp("ms")),
    "ns": lambda t: t.cast(pa.timestamp("s")).cast(pa.timestamp("ns")),
    "zone": lambda t: t.cast(pa.timestamp("s")).cast(pa.timestamp("us", "Europe/Berlin")),
    "duration": lambda t: t.cast(pa.duration("s")).cast(pa.duration("ms")),
    "date": lambda t: t.cast(pa.int32()).cast(pa.date32()),
    "date64": lambda t: t.cast(pa.int32()).cast(pa.date32()).cast(pa.date64()),
}


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("by", [None, "k"])
def test_a_half_life_in_chunks(kind, name, by):
    """As one run, and as by hand; the state has each key's last time, in the type that it came in."""
    frame = events()
    made = frame.set_column(1, "t", SECONDS[name](frame["t"]))
    half_life = 40 if name[:3] in ("int", "uin", "flo") else "40d" if "date" in name else "40s"
    expected, last = by_hand(frame, 40, [by] if by else [])
    roles = {"value": "x", "half_life": half_life, "time": "t", "by": by}
    whole = fc.frames.gated_scan(kind(made), **roles)
    np.testing.assert_allclose(y_of(whole), expected, rtol=1e-13, atol=1e-15)
    state, parts = None, []
    for first, count in ((0, 1), (1, 0), (1, 130), (131, T - 131)):
        part, state = fc.frames.gated_scan(kind(made.slice(first, count)), **roles, state=state)
        parts.append(collected(part)["y"].to_numpy())
        state = collected(state)
    found = np.concatenate(parts)
    assert found.dtype == np.float64
    if by:
        np.testing.assert_array_equal(found, y_of(whole))
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
    assert rows(state) == rows(whole.state)
    assert list(rows(state)[0]) == [*([by] if by else []), "memory", "time"]
    times = {tuple(row[k] for k in ([by] if by else [])): row["time"] for row in rows(state)}
    days = pa.table({"t": made["t"]}).to_pylist()
    same = {t: cell["t"] for t, cell in zip(frame["t"].to_pylist(), days, strict=True)}
    assert {key: _plain(time) for key, time in times.items()} == {key: _plain(same[t]) for key, t in last.items()}


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(-9, 9)), max_size=40),
    half_life=st.sampled_from([0.25, 1, 3, 1e9]),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_any_events_in_any_chunks(rows, half_life, cuts):
    """Rows of (key, time since the row before, value), drawn."""
    times = np.cumsum([gap for _, gap, _ in rows], dtype=np.int64)
    columns = {"x": [float(x) for *_, x in rows], "t": times, "k": [key for key, *_ in rows]}
    frame = pa.table({name: pa.array(column, pa.string() if name == "k" else None) for name, column in columns.items()})
    frame = frame.set_column(0, "x", frame["x"].cast(pa.float64()))
    expected, last = by_hand(frame, half_life)
    state, found, edges = None, [], [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for first, stop in itertools.pairwise(edges):
        part, state = fc.frames.gated_scan(
            frame.slice(first, stop - first), "x", half_life=half_life, time="t", by="k", state=state
        )
        found += part["y"].to_pylist()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert {(row["k"],): row["time"] for row in state.to_pylist()} == last


def _plain(time):
    """Datetimes and durations, which differ from library to library, as seconds."""
    if isinstance(time, dt.timedelta):
        return time.total_seconds()
    if isinstance(time, dt.date) and not isinstance(time, dt.datetime):
        time = dt.datetime.combine(time, dt.time())
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp() if isinstance(time, dt.datetime) else time


def test_units_that_differ_from_chunk_to_chunk():
    frame = events()
    seconds, nanoseconds = (frame.set_column(1, "t", SECONDS[unit](frame["t"])) for unit in ("s", "ns"))
    roles = {"value": "x", "half_life": "40s", "time": "t", "by": "k"}
    whole = fc.frames.gated_scan(nanoseconds, **roles)
    for first, second in ((seconds, nanoseconds), (nanoseconds, seconds)):
        part, state = fc.frames.gated_scan(first.slice(0, 100), **roles)
        rest, state = fc.frames.gated_scan(second.slice(100), **roles, state=state)
        found = [*part["y"].to_pylist(), *rest["y"].to_pylist()]
        assert found == whole.frame["y"].to_pylist()
        assert state["time"].to_pylist() == whole.state["time"].to_pylist()


@pytest.mark.parametrize(
    "half_life",
    ["90s", " 1.5 min", "90000ms", "90000000us", "90000000000ns", "0.025h", ".025 h", dt.timedelta(seconds=90),
     pd.Timedelta("90s"), np.timedelta64(90, "s")],
    ids=repr,
)  # fmt: skip
def test_a_duration_said_in_many_ways(half_life):
    frame = pd.DataFrame({"x": [1.0, 0.0, 0.0], "t": pd.to_datetime([0, 90, 270], unit="s")})
    result = fc.frames.gated_scan(frame, "x", half_life=half_life, time="t")
    np.testing.assert_allclose(result.frame["y"], [1.0, 0.5, 0.125], rtol=1e-15)


@pytest.mark.parametrize("half_life", [90, 90.0, np.int64(90), np.float32(90)], ids=repr)
def test_a_half_life_of_numbers(half_life):
    frame = pd.DataFrame({"x": [1.0, 0.0, 0.0], "t": [0, 90, 270]})
    result = fc.frames.gated_scan(frame, "x", half_life=half_life, time="t")
    assert result.frame["y"].tolist() == [1.0, 0.5, 0.125]


def test_gates_beside_a_half_life(kind):
    frame = pa.table({"x": [1.0, 2.0, 4.0], "t": [0, 1, 3], "i": [0.5, 1.0, 1.0], "o": [1, 0, 1]})
    result = fc.frames.gated_scan(kind(frame), "x", None, "i", "o", half_life=1, time="t")
    assert y_of(result).tolist() == [0.5, 0.0, 4 + 2.25 / 4]
    state = kind(pa.table({"memory": [8.0], "time": pa.array([None], pa.int64())}))  # nothing was before: no decay
    result = fc.frames.gated_scan(kind(frame), "x", half_life=1, time="t", state=state)
    assert y_of(result).tolist() == [9.0, 6.5, 5.625]


def test_nulls_in_times(kind):
    frame = pa.table({"x": [1.0, 2.0, 4.0], "t": pa.array([10, None, 12], pa.timestamp("s"))})
    with pytest.raises(ValueError, match="column 't' must be a number, got a null in row 1"):
        collected(fc.frames.gated_scan(kind(frame), "x", half_life="1s", time="t").frame)
    kept = fc.frames.gated_scan(kind(frame), "x", half_life="1s", time="t", nulls="keep")
    assert y_of(kept).tolist() == [1.0, 3.0, 4.75]
    none = fc.frames.gated_scan(kind(frame.slice(1, 1)), "x", half_life="1s", time="t", nulls="keep")
    assert rows(none.state) == [{"memory": 2.0, "time": None}]
    later = fc.frames.gated_scan(kind(frame.slice(2)), "x", half_life="1s", time="t", state=none.state)
    assert y_of(later).tolist() == [6.0]


def test_a_time_that_goes_backwards_names_the_row(kind):
    frame = pa.table({"x": [1.0] * 4, "t": pa.array([5, 1, 5, 0], pa.timestamp("s")), "k": list("abab")})
    told = re.escape(
        "column 't' must be a time no earlier than 1970-01-01 00:00:01, its key's last, got 1970-01-01 00:00:00"
    )
    with pytest.raises(ValueError, match=told + r"\S* in row 3|00:00:01.0+, its key's last, got \S+ \S+ in row 3"):
        collected(fc.frames.gated_scan(kind(frame), "x", half_life="1s", time="t", by="k").frame)
    numbers = kind(pa.table({"x": [1.0, 1.0], "t": [1.5, 1.25]}))
    with pytest.raises(ValueError, match=r"must be a time no earlier than 1.5, its key's last, got 1.25 in row 1$"):
        collected(fc.frames.gated_scan(numbers, "x", half_life=1, time="t").frame)
    state = kind(pa.table({"memory": [1.0], "time": [9.0]}))
    with pytest.raises(ValueError, match=r"must be a time no earlier than 9, its key's last, got 1.5 in row 0$"):
        collected(fc.frames.gated_scan(numbers, "x", half_life=1, time="t", state=state).frame)


FAR = {
    "int64": ([-(2**62) - 2**61, 2**62 + 2**61], 2.0**63, 2.0**-1.5),
    "long ago": ([0, 10**18], 1, 0.0),
    "floats": ([-1e308, 1e308], 1, 0.0),
    "large floats": ([0.0, 1e308], 1e308, 0.5),
}


@pytest.mark.parametrize("name", FAR)
def test_times_far_apart(name):
    times, half_life, left = FAR[name]
    with np.errstate(all="raise"):
        found = fc.frames.gated_scan(pa.table({"x": [1.0, 0.0], "t": times}), "x", half_life=half_life, time="t")
    assert found.frame["y"].to_pylist() == [1.0, left]


HALF_LIFE = "half_life must be a number, a duration such as '5min' or a timedelta, above 0 and finite, got "
KINDS_OF_TIME = "must hold numbers, dates, datetimes or durations, got "
BAD = {
    "neither": ({}, ValueError, "either forget or half_life and time must be given, got neither"),
    "both": (
        {"forget": 1, "half_life": 1, "time": "t"}, ValueError,
        "either forget or half_life and time must be given, got both",
    ),
    "a time alone": ({"forget": 1, "time": "t"}, ValueError, "time must go with half_life, got 't' alone"),
    "no time": ({"half_life": 1}, TypeError, "time must be a column's name, got None"),
    "no such time": ({"half_life": 1, "time": "w"}, ValueError, "time must be a column of df, which has"),
    "zero": ({"half_life": 0, "time": "t"}, ValueError, HALF_LIFE + "0"),
    "nan": ({"half_life": np.nan, "time": "t"}, ValueError, HALF_LIFE + "nan"),
    "negative": ({"half_life": dt.timedelta(-1), "time": "t"}, ValueError, HALF_LIFE),
    "no time at all": ({"half_life": np.timedelta64("NaT"), "time": "t"}, TypeError, HALF_LIFE),
    "words": ({"half_life": "5 minutes", "time": "t"}, ValueError, HALF_LIFE + "'5 minutes'"),
    "bool": ({"half_life": True, "time": "t"}, TypeError, HALF_LIFE + "True"),
    "a duration of numbers": (
        {"half_life": "5s", "time": "t"}, TypeError,
        "half_life must be a number where time holds numbers, int64, got '5s'",
    ),
    "a number of datetimes": (
        {"half_life": 5, "time": "d"}, TypeError, "half_life must be a duration such as '5min' or a timedelta where "
        r"time holds datetimes or durations, timestamp\[us\], got 5",
    ),
    "text": ({"half_life": 5, "time": "k"}, TypeError, f"column 'k' {KINDS_OF_TIME}String"),
    "of the day": ({"half_life": "5s", "time": "o"}, TypeError, f"column 'o' {KINDS_OF_TIME}Time"),
    "bools": ({"half_life": 5, "time": "b"}, TypeError, f"column 'b' {KINDS_OF_TIME}Boolean"),
    "infinite": ({"half_life": 5, "time": "f"}, ValueError, "column 'f' must be a finite time, got inf in row 1"),
    "too large": ({"half_life": 5, "time": "u"}, ValueError, r"column 'u' must hold times below 2\*\*63"),
    "by time": (
        {"half_life": 5, "time": "t", "by": "time"}, ValueError,
        "by must be different columns, none of them 'memory', 'time', got",
    ),
    "state without times": (
        {"half_life": 5, "time": "t", "state": {"memory": [1.0]}}, ValueError,
        "state must have the columns 'memory', 'time', got 'memory'",
    ),
    "state with times": (
        {"forget": 1, "state": {"memory": [1.0], "time": [1]}}, ValueError,
        "state must have the columns 'memory', got 'memory', 'time'",
    ),
    "state of other times": (
        {"half_life": 5, "time": "t", "state": {"memory": [1.0], "time": pa.array([1], pa.timestamp("s"))}}, TypeError,
        r"state's column 'time' must hold int64, as df's does, got timestamp\[s\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_half_life_or_time(name):
    options, error, told = BAD[name]
    if "state" in options:
        options = options | {"state": pa.table(options["state"])}
    frame = pa.table({
        "x": [1.0, 2.0], "t": [1, 2], "d": pa.array([1, 2], pa.timestamp("us")), "k": ["a", "b"],
        "o": pa.array([1, 2], pa.time32("s")), "b": [True, False], "f": [1.0, np.inf],
        "u": pa.array([2**64 - 1] * 2, pa.uint64()), "time": ["a", "b"],
    })  # fmt: skip
    with pytest.raises(error, match=f"^{told}"):
        fc.frames.gated_scan(frame, "x", **options)


def test_nan_is_no_time_in_polars_and_arrow():
    table = pa.table({"x": [1.0], "t": [np.nan]})
    for frame in (table, pl.from_arrow(table)):
        with pytest.raises(ValueError, match="column 't' must be a finite time, got nan in row 0"):
            fc.frames.gated_scan(frame, "x", half_life=1, time="t", nulls="keep")
