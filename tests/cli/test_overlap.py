"""Reading and writing on threads of their own: what goes through, what is raised, what an interrupt leaves."""

import os
import signal
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastcell._cli import stream, tables
from fastcell._cli.overlap import ahead, behind
from tests.helpers.commands import read, scan, table, write


def test_items_come_in_order_and_one_alone_ahead():
    made, used, most = [], [], 0

    def items():
        for k in range(20):
            made.append(k)
            yield k

    with ahead(items()) as coming:
        for k in coming:
            used.append(k)
            most = max(most, len(made) - len(used))
    assert used == list(range(20))
    assert most <= 1


def test_they_run_at_once():
    """Reading, working and writing meet at one barrier, which none passes alone."""
    met = threading.Barrier(3, timeout=10)

    def items():
        for k in range(4):
            if k == 2:
                met.wait()
            yield k

    def write(k):
        if k == 0:
            met.wait()

    with ahead(items()) as coming, behind(write) as begin:
        for k in coming:
            if k == 1:
                met.wait()
            begin(k)


@pytest.mark.parametrize("last", [0, 3])
def test_what_is_raised_comes_in_its_place(last):
    def items():
        yield from range(last)
        raise RuntimeError("read")

    with ahead(items()) as coming:
        assert [next(coming) for _ in range(last)] == list(range(last))
        with pytest.raises(RuntimeError, match="read"):
            next(coming)

    def write(k):
        if k == last:
            raise RuntimeError("written")

    def write_all():
        with behind(write) as begin:
            for k in range(last + 1):
                begin(k)

    with pytest.raises(RuntimeError, match="written"):
        write_all()


@pytest.mark.skipif(os.name == "nt", reason="no signal goes to a thread there")
def test_no_thread_is_at_a_batch_after_interrupts():
    """One that comes while a batch is waited for is held back until it is written."""
    started, go_on, written = threading.Event(), threading.Event(), []

    def write(k, done=written):
        started.set()
        go_on.wait(10)
        done.append(k)

    def interrupt_again():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        threading.Timer(0.5, go_on.set).start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest's workers may ignore it
    try:
        with behind(write) as begin:
            begin(0)
            started.wait()
            threading.Timer(0.2, interrupt_again).start()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        written = [*written]  # by now
    finally:
        signal.signal(signal.SIGINT, before)
    assert written == [0]
    assert not any(thread.name.startswith("fastcell_") for thread in threading.enumerate())


@pytest.mark.parametrize("where", ["read", "written"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError("no more"), pa.ArrowInvalid("odd")])
def test_a_run_that_is_ended_leaves_the_old_output(tmp_path, monkeypatch, capsys, where, error):
    source, out = write(pa.concat_tables([table()] * 5), tmp_path / "in.parquet"), tmp_path / "out.parquet"
    monkeypatch.setattr(tables, "_ROWS", 1000)
    out.write_text("old", "utf-8")

    def fail(*_):
        raise error

    if where == "read":
        turn = iter([lambda batch, schema: batch] * 2 + [fail])
        monkeypatch.setattr(stream.arrow_types, "fitted", lambda *given: next(turn)(*given))
    else:
        monkeypatch.setattr(pq.ParquetWriter, "write_batch", fail)
    assert scan(source, out, "--state", tmp_path / "state") == (130 if error is KeyboardInterrupt else 1)
    told = capsys.readouterr().err
    if not isinstance(error, type):
        assert str(error) in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]
    assert out.read_text("utf-8") == "old"


def test_large_dictionaries_of_numbers_are_left_out(tmp_path):
    """A number that is met once takes no place in a dictionary, and rules and text keep theirs."""
    rows = 100_000
    frame = table(rows, keys=["a", "b"]).set_column(0, "v", pa.array([k + 0.5 for k in range(rows)]))
    out = tmp_path / "out.parquet"
    assert scan(write(frame, tmp_path / "in.parquet"), out) == 0
    assert read(out).select(frame.column_names).equals(frame)
    group = pq.read_metadata(out).row_group(0)
    sizes = {group.column(k).path_in_schema: group.column(k).total_uncompressed_size for k in range(group.num_columns)}
    assert sizes["v"] < 8.3 * rows
    assert sizes["c"] < 0.3 * rows
