"""Arrow's batches, alone and in streams: the answers of the table that they make, read when they are asked for."""

import datetime as dt
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fastcell as fc
from fastcell.frames import base, batches
from tests.helpers import processes
from tests.helpers.commands import linux
from tests.helpers.frames import ROLES

T = 1500


def events(seed=0, users=40):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "k": rng.integers(0, users, T).astype(str),
            "v": rng.integers(-40, 40, T),
            "c": rng.choice(np.array([-1, 0, 1, 1, 1], np.int8), T),
            "e": rng.integers(0, 2, T, dtype=np.int8),
            "at": pa.array(np.sort(rng.integers(0, 10**6, T)) + seed * 10**6, pa.timestamp("us")),
            "tag": pa.array(rng.choice(["x", "y"], T)).dictionary_encode(),
        }
    ).replace_schema_metadata({"by": "a sensor"})


NET = fc.LSTM(2, 3, seed=0)
JOBS = {
    "toy_scan": lambda df, **more: fc.frames.toy_scan(df, **ROLES, **more),
    "gated_scan": lambda df, **more: fc.frames.gated_scan(df, "v", half_life="1s", time="at", **more),
    "lstm": lambda df, **more: fc.frames.lstm(df, NET, ["v", "e"], **more),
}


@pytest.fixture(params=JOBS)
def job(request):
    return JOBS[request.param]


class Foreign:
    """A stream that is known by its protocol alone."""

    def __init__(self, table, size):
        self._reader = reader(table, size)

    def __arrow_c_stream__(self, requested_schema=None):
        return self._reader.__arrow_c_stream__(requested_schema)


def reader(table, size):
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=size))


def same(one, other):
    assert one.schema.equals(other.schema, check_metadata=True)
    assert one.equals(other)


@pytest.mark.parametrize("by", [None, "k", ["k", "tag"]], ids=str)
def test_a_batch_gives_a_batch(job, by):
    table = events()
    (batch,) = table.combine_chunks().to_batches()
    expected, state = job(table, by=by)
    frame, last = job(batch, by=by)
    assert isinstance(frame, pa.RecordBatch)
    same(pa.Table.from_batches([frame]), expected.combine_chunks())
    assert isinstance(last, pa.Table)
    assert last.equals(state)
    later = events(seed=1).combine_chunks()
    expected, again = job(later, by=by, state=state)
    for given in (last, *last.combine_chunks().to_batches()):
        result = job(later.to_batches()[0], by=by, state=given)
        same(pa.Table.from_batches([result.frame]), expected.combine_chunks())
        assert result.state.equals(again)
    none = job(batch.slice(0, 0), by=by).frame
    assert isinstance(none, pa.RecordBatch)
    assert (len(none), none.schema) == (0, frame.schema)


@pytest.mark.parametrize(("row", "name"), [*enumerate(JOBS)])
@pytest.mark.parametrize(("column", "by"), [*enumerate([None, "k", ["k", "tag"]])], ids=str)
def test_a_stream_gives_a_reader(row, name, column, by):
    job, (stream, size) = JOBS[name], [(reader, 7), (Foreign, 1000)][(row + column) % 2]  # every two meet
    expected, state = job(events(), by=by)
    frame, last = job(stream(events(), size), by=by)
    assert isinstance(frame, pa.RecordBatchReader)
    assert frame.schema.equals(expected.schema, check_metadata=True)
    found = [*frame]
    assert [len(batch) for batch in found] == [len(batch) for batch in events().to_batches(max_chunksize=size)]
    same(pa.Table.from_batches(found), expected)
    same(pa.table(last), state.replace_schema_metadata())
    for given in (last, state, *state.combine_chunks().to_batches()):  # tomorrow's, in another order
        more = job(events(seed=1), by=by, state=state)
        frame, later = job(stream(events(seed=1), size), by=by, state=given)
        same(frame.read_all(), more.frame)
        assert pa.table(later).equals(more.state)


def test_nothing_is_read_before_it_is_asked_for(job):
    table, read = events(), []

    def source():
        for batch in table.to_batches(max_chunksize=100):
            read.append(len(batch))
            yield batch

    frame, state = job(pa.RecordBatchReader.from_batches(table.schema, source()), by="k")
    assert not read
    with pytest.raises(ValueError, match=r"^the state is there when frame has been read to its end.* past row 0$"):
        pa.table(state)
    assert len(frame.read_next_batch()) == 100
    assert sum(read) == 100
    with pytest.raises(ValueError, match=r"past row 100$"):
        job(reader(table, 9), by="k", state=state)
    frame.read_all()
    assert pa.table(state).equals(job(table, by="k").state)


def test_small_batches_are_taken_together_until_there_are_as_many_rows_as_keys(monkeypatch):
    taken, run = [], base.Job.run

    def counted(self, df, state):
        taken.append(len(df))
        return run(self, df, state)

    monkeypatch.setattr(base.Job, "run", counted)
    table = events(users=500)
    frame = fc.frames.toy_scan(reader(table, 1), **ROLES, by="k").frame
    same(frame.read_all(), fc.frames.toy_scan(table, **ROLES, by="k").frame)
    assert len(taken) < 30
    assert len(table) in np.cumsum(taken[:-1])
    del taken[:]
    fc.frames.toy_scan(reader(table, 1000), **ROLES).frame.read_all()
    assert taken == [0, 1000, 500]
    monkeypatch.setattr(batches, "_VALUES", 4 * 300)
    del taken[:]
    same(fc.frames.toy_scan(reader(table, T), **ROLES).frame.read_all(), fc.frames.toy_scan(table, **ROLES).frame)
    assert taken[:6] == [0, *[300] * 5]


def test_a_bad_row_is_named_by_its_number_in_the_whole():
    table = events()
    control = table["c"].to_pylist()
    control[1234] = 7
    bad = table.set_column(2, "c", pa.array(control, pa.int8()))
    for by in (None, "k"):
        frame, state = fc.frames.toy_scan(reader(bad, 100), **ROLES, by=by)
        with pytest.raises(ValueError, match=r"^column 'c' must be -1, 0, 1 or 2, got 7 in row 1234$"):
            frame.read_all()
        with pytest.raises(ValueError, match=r"^the state is there when frame has been read to its end"):
            pa.table(state)
        with pytest.raises(
            ValueError, match=r"^an error ended this stream before row 1[0-9]+$"
        ):  # it is not at its end
            frame.read_all()
    most = pa.table({"v": [2**62] * 4, "c": [1] * 4, "e": [1] * 4})
    with pytest.raises(OverflowError, match=r"^rows 1 to 1: column 'v': "):
        fc.frames.toy_scan(reader(most, 1), **ROLES).frame.read_all()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"by": "none"}, ValueError, "^by must be a column of df"),
        ({"name": "tag"}, ValueError, "^name must be none of df's columns"),
        ({"value": "k"}, TypeError, "^column 'v'|^column 'k' must hold"),
        ({"state": pa.table({"k": ["a"]})}, ValueError, "^state must have the columns"),
        ({"state": pa.table({"k": ["a", "a"], "memory": [1, 1]}), "by": "k"}, ValueError, "^state must hold each key"),
        ({"state": [1]}, TypeError, "^state must be .*Arrow's batches, got list"),
        ({"state": pa.array([1])}, TypeError, "^state must be .*Arrow's batches, got Int64Array"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_columns_is_told_at_once(change, error, text):
    def source():
        raise AssertionError("read")
        yield

    given = pa.RecordBatchReader.from_batches(events().schema, source())
    with pytest.raises(error, match=text):
        fc.frames.toy_scan(given, **{**ROLES, **change})


def test_what_comes_from_the_source_goes_on():
    def source():
        yield from events().to_batches()
        raise OSError("the line broke")

    frame, state = fc.frames.toy_scan(pa.RecordBatchReader.from_batches(events().schema, source()), **ROLES)
    with pytest.raises(OSError, match="the line broke"):
        frame.read_all()
    with pytest.raises(ValueError, match="past row 1500"):
        pa.table(state)


def test_empty_streams(job):
    for given in (reader(events().slice(0, 0), 5), pa.RecordBatchReader.from_batches(events().schema, [])):
        frame, state = job(given, by="k")
        assert frame.read_all().equals(job(events().slice(0, 0), by="k").frame)
        assert len(pa.table(state)) == 0


def test_categories_that_differ_from_batch_to_batch():
    kind = pa.dictionary(pa.int8(), pa.string())
    parts = [pa.array(words).dictionary_encode().cast(kind) for words in (["b", "a"], ["a", "c"], ["c", "b"])]
    ones = np.int8([1, 1])
    rows = [pa.record_batch({"k": part, "v": [1.0, 2.0], "c": ones, "e": ones}) for part in parts]
    frame, state = fc.frames.toy_scan(pa.RecordBatchReader.from_batches(rows[0].schema, rows), **ROLES, by="k")
    assert frame.read_all()["y"].to_pylist() == [1, 2, 3, 2, 3, 3]
    assert pa.table(state).to_pylist() == [{"k": "b", "memory": 3}, {"k": "a", "memory": 3}, {"k": "c", "memory": 3}]


MEMORY = """
import re
import numpy as np, pyarrow as pa, fastcell as fc

def batch(k, rows=1 << 16):
    ones = np.ones(rows, np.int8)
    return pa.record_batch({"v": np.arange(rows) / 2, "c": ones, "e": ones, "k": np.arange(rows) % 1000, "t": ones * k})

for count in (10, 100):
    source = (batch(k // 80) for k in range(count))
    reader = pa.RecordBatchReader.from_batches(batch(0).schema, source)
    frame, state = fc.frames.toy_scan(reader, "v", "c", "e", by="k", order_by="t")
    assert sum(map(len, frame)) == count << 16
    assert len(pa.table(state)) == 1000
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


@linux
def test_no_more_memory_for_more_rows():
    run = processes.python("-c", MEMORY)
    assert run.returncode == 0, run.stderr
    few, many = (int(line) / 1024 for line in run.stdout.splitlines())
    assert many < few + 60  # MiB, of 220 that all columns and outputs take


def test_frames_that_have_streams_stay_what_they_are():
    frame = events().to_pandas()
    assert isinstance(fc.frames.toy_scan(frame, **ROLES).frame, pd.DataFrame)
    assert isinstance(fc.frames.toy_scan(pl.from_arrow(events()), **ROLES).frame, pl.DataFrame)


def test_a_stream_as_polars_and_threads_read_it():
    expected = fc.frames.toy_scan(events(), **ROLES, by="k").frame
    assert pl.DataFrame(fc.frames.toy_scan(reader(events(), 50), **ROLES, by="k").frame)["y"].to_list() == (
        expected["y"].to_pylist()
    )
    found = []
    frame, _ = fc.frames.toy_scan(reader(events(), 50), **ROLES, by="k")
    thread = threading.Thread(target=lambda: found.append(frame.read_all()))
    thread.start()
    thread.join()
    same(found[0], expected)


def test_duckdb_s_relation_through_a_scan_and_back():
    duckdb = pytest.importorskip("duckdb")
    expected = fc.frames.toy_scan(events(), **ROLES, by="k")
    with duckdb.connect() as source, duckdb.connect() as sink:  # two, as one connection runs one query at a time
        source.register("events", events().drop_columns("tag"))
        frame, state = fc.frames.toy_scan(source.sql("select * from events"), **ROLES, by="k")
        assert isinstance(frame, pa.RecordBatchReader)
        sink.register("frame", frame)
        sink.execute('create table scored as select k, "at", y from frame')
        scored = sink.execute('select y, "at" from scored order by rowid').fetchall()
    assert [y for y, _ in scored] == expected.frame["y"].to_pylist()
    assert isinstance(scored[0][1], dt.datetime)
    assert pa.table(state).equals(expected.state)
