"""What the commands read and write as tables: CSV cells with newlines, Arrow's types, folders whose files differ."""

import csv
import decimal
import itertools
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastcell as fc
from fastcell.__main__ import main
from fastcell._cli import tables as _tables
from tests.helpers.commands import by_hand, read, scan, table, write
from tests.helpers.frames import KINDS, ROLES, collected, rows, y_of


def write_csv(path, records, newline="\n"):
    """Quotes where a cell needs them alone."""

    def quoted(cell):
        return '"' + cell.replace('"', '""') + '"' if set(cell) & set('",\r\n') else cell

    path.write_bytes("".join(",".join(map(quoted, record)) + newline for record in records).encode())
    return path


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


def untouched(tmp_path, *names):
    return sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


# ---- CSV -----------------------------------------------------------------------------------------------


def test_a_newline_in_a_cell_past_the_first_block(tmp_path):
    """One long cell whose lines look like rows lies over the end of Arrow's block of 16 MiB: exit 0 and wrong sums."""
    head, line = "v,c,e,note\n", "1,1,1,plain text in this row\n"
    count = (_tables._CSV_BYTES - len(head)) // len(line) - 2
    inside = "100,1,1,x\n" * 20
    source = tmp_path / "in.csv"
    source.write_text(f'{head}{line * count}1,1,1,"a\n{inside}b"\n1,1,1,end\n', "utf-8")
    assert source.stat().st_size > _tables._CSV_BYTES
    assert scan(source, tmp_path / "out.parquet") == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert (len(result), result["y"].type) == (count + 2, pa.float64())
    np.testing.assert_array_equal(result["y"].to_numpy(), np.arange(1, count + 3))
    assert result["note"][count].as_py() == f"a\n{inside}b"


CELLS = ["a\nb", '"', '""', "\n", "\r\n", 'x"\n1,1,1,"y', ",", "", "plain", "äöü\n1,1,1,1,1", '"\n"', " "]


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=repr)
@pytest.mark.parametrize("last", ["", "newline"])
def test_every_place_of_a_blocks_edge(tmp_path, monkeypatch, newline, last):
    """Quotes, doubled quotes and ends of lines at each place of a block, in cells and in the header."""
    names = ["first\ncolumn", "v", 'c"', "e", "note,\r\n2"]
    records = [[cell, str(k), str((1, 1, -1, 0)[k % 4]), "1", other] for k, (cell, other) in enumerate(
        itertools.product(CELLS, CELLS))]  # fmt: skip
    source = write_csv(tmp_path / "in.csv", [names, *records], newline)
    if not last:
        source.write_bytes(source.read_bytes().removesuffix(newline.encode()))
    frame = pa.table({name: [float(row[k]) for row in records] for name, k in (("v", 1), ("c", 2), ("e", 3))})
    y = by_hand(frame, "")[0]
    arguments = ["scan", str(source), "--value", "v", "--control", 'c"', "--emit", "e", "-o", str(tmp_path / "out.csv")]
    for size in range(300 + ((newline == "\n") == (last == "")), 341, 2):  # by turns
        monkeypatch.setattr(_tables, "_CSV_BYTES", size)
        assert main(arguments) == 0
        header, *result = read_csv(tmp_path / "out.csv")
        assert header == [*names, "y"]
        assert [row[:-1] for row in result] == records
        assert [float(row[-1]) for row in result] == y


@given(st.lists(st.tuples(st.text('"\n\r,x '), st.text('"\n\r,x ')), max_size=20), st.integers(200, 260))
def test_any_cells_in_any_blocks(tmp_path_factory, cells, size):
    tmp_path = tmp_path_factory.mktemp("cells")
    source = write_csv(tmp_path / "in.csv", [["a", "v", "c", "e", "b"], *([a, "1", "1", "1", b] for a, b in cells)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tables, "_CSV_BYTES", size)
        assert scan(source, tmp_path / "out.csv") == 0
    _, *result = read_csv(tmp_path / "out.csv")
    assert [(row[0], row[4], float(row[5])) for row in result] == [(*pair, k + 1) for k, pair in enumerate(cells)]


OPEN_QUOTES = {
    "in the last column": 'v,c,e,n\n1,1,1,ok\n2,1,1,"open\n3,1,1,ok\n',
    "at the end": 'v,c,e,n\n1,1,1,ok\n2,1,1,"',
    "in the first column": 'n,v,c,e\nok,1,1,1\n"open,2,1,1\nok,3,1,1\n',
    "in the header": 'v,c,e,"n\n1,1,1,ok\n2,1,1,ok\n',
    "over blocks": 'v,c,e,n\n2,1,1,"' + "open\n3,1,1," * 100,
}


@pytest.mark.parametrize("name", OPEN_QUOTES)
def test_a_quote_that_is_never_closed(tmp_path, capsys, monkeypatch, name):
    """Arrow takes all rows to the file's end as one cell: they were left out with exit status 0."""
    monkeypatch.setattr(_tables, "_CSV_BYTES", 200)
    (tmp_path / "in.csv").write_text(OPEN_QUOTES[name], "utf-8")
    (tmp_path / "out.csv").write_text("old", "utf-8")
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv") == 1
    told = capsys.readouterr().err
    assert told.startswith(f"scan: {tmp_path / 'in.csv'}")
    if name in ("in the last column", "at the end"):
        assert "in.csv, after row 2: a quote that is opened in that row is never closed" in told
    if name == "over blocks":
        assert "a quote that is never closed, or a row of more than" in told
    assert (tmp_path / "out.csv").read_text("utf-8") == "old"
    assert untouched(tmp_path, "in.csv", "out.csv")


@pytest.mark.parametrize("text", ["v,c,e", "v,c,e\n", "\ufeffv,c,e\r\n"])
def test_a_header_alone(tmp_path, text):
    (tmp_path / "in.csv").write_bytes(text.encode())
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv") == 0
    assert read_csv(tmp_path / "out.csv") == [["v", "c", "e", "y"]]


def test_one_column_that_is_all(tmp_path):
    (tmp_path / "in.csv").write_text("c\n1\n1\n0\n1", "utf-8")
    arguments = ["--value", "c", "--control", "c", "--emit", "c"]
    assert main(["scan", str(tmp_path / "in.csv"), *arguments, "-o", str(tmp_path / "out.csv")]) == 0
    assert read_csv(tmp_path / "out.csv") == [["c", "y"], ["1", "1"], ["1", "2"], ["0", "0"], ["1", "3"]]


# ---- columns that a file can't hold --------------------------------------------------------------------

NO_TEXT = {
    "list": pa.array([[1], None, []]),
    "large list": pa.array([[1], None, []], pa.large_list(pa.int64())),
    "fixed list": pa.array([[1], None, [2]], pa.list_(pa.int64(), 1)),
    "struct": pa.array([{"a": 1}, None, {"a": 2}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "bytes": pa.array([b"\xff", None, b"a"]),
    "large bytes": pa.array([b"\xff", None, b"a"], pa.large_binary()),
    "bytes of one length": pa.array([b"\xff", None, b"a"], pa.binary(1)),
    "views of bytes": pa.array([b"\xff", None, b"a"], pa.binary_view()),
    "categories of bytes": pa.array([b"\xff", None, b"a"]).dictionary_encode(),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.uuid4().bytes] * 3, pa.binary(16))),
}
ONES = {"v": [1.0, 2.0, 4.0], "c": [1, 1, 1], "e": [1, 1, 1]}


@pytest.mark.parametrize("name", NO_TEXT)
def test_columns_that_csv_can_not_hold(tmp_path, capsys, name):
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table(ONES | {"odd": NO_TEXT[name], "fine": ["a", "b", "c"]}), source)
    (tmp_path / "out.csv").write_text("old", "utf-8")
    assert scan(source, tmp_path / "out.csv", "--state", tmp_path / "state") == 1
    kind = pq.read_schema(source).field("odd").type
    assert f"out.csv: a .csv file can't hold the column 'odd' ({kind})" in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_text("utf-8") == "old"
    assert untouched(tmp_path, "in.parquet", "out.csv")
    assert scan(source, tmp_path / "out.parquet") == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert result["odd"].to_pylist() == pq.read_table(source)["odd"].to_pylist()
    assert result["y"].to_pylist() == [1.0, 3.0, 7.0]


# ---- keys ----------------------------------------------------------------------------------------------

TEXT = {
    "string_view": pa.string_view(),
    "large_string": pa.large_string(),
    "string": pa.string(),
    "categories": pa.dictionary(pa.int32(), pa.string()),
    "large categories": pa.dictionary(pa.int8(), pa.large_string()),
}


@pytest.mark.parametrize("name", TEXT)
def test_text_keys_of_any_arrow_type(tmp_path, name):
    """In a table and its chunks, in a state that goes on, and from file to file."""
    frame = table(300, keys=["a", "b", None, "long text that is no small view"])
    y, memories = by_hand(frame, "k")
    text = frame.set_column(frame.column_names.index("k"), "k", frame["k"].cast(TEXT[name]))
    state = None
    parts = []
    for first, count in ((0, 100), (100, 0), (100, 200)):
        piece = pa.concat_tables([text.slice(first, count // 2), text.slice(first + count // 2, count - count // 2)])
        part, state = fc.frames.toy_scan(piece, **ROLES, by="k", state=state)
        assert part.schema.field("k").type == TEXT[name]
        parts.append(part["y"].to_numpy())
    np.testing.assert_array_equal(np.concatenate(parts), y)
    assert {(row["k"],): row["memory"] for row in state.to_pylist()} == memories
    for suffix in (".csv", ".parquet"):
        (tmp_path / "state").unlink(missing_ok=True)
        parts = []
        for k, kind in enumerate([TEXT[name], pa.string(), TEXT[name]]):  # another type than the state's each day
            day = frame.slice(100 * k, 100)
            day = day.set_column(frame.column_names.index("k"), "k", day["k"].cast(kind))
            pq.write_table(day, tmp_path / f"{k}.parquet")
            out = tmp_path / f"out{suffix}"
            assert scan(tmp_path / f"{k}.parquet", out, "--by", "k", "--state", tmp_path / "state") == 0
            parts.append(read(out)["y"].to_numpy())
        np.testing.assert_array_equal(np.concatenate(parts), y)
        assert {(row["k"],): row["memory"] for row in pq.read_table(tmp_path / "state").to_pylist()} == memories


@pytest.mark.parametrize("name", ["string_view", "binary_view", "decimal32", "struct"])
def test_keys_of_types_that_arrow_can_not_take(name):
    choices = {
        "string_view": pa.array(["a", None, "a", "b"], pa.string_view()),
        "binary_view": pa.array([b"a", None, b"a", b"b"], pa.binary_view()),
        "decimal32": pa.array([decimal.Decimal(cell) if cell else None for cell in (1, 0, 1, 2)], pa.decimal32(5, 2)),
        "struct": pa.array([{"t": "a"}, None, {"t": "a"}, {"t": "b"}], pa.struct([("t", pa.string_view())])),
    }  # fmt: skip
    frame = pa.table({"v": [1.0, 2.0, 4.0, 8.0], "c": [1] * 4, "e": [1] * 4, "k": choices[name]})
    frames = [frame] if name == "struct" else [frame, frame.to_pandas(types_mapper=pd.ArrowDtype)]
    for given_frame in frames:
        result = fc.frames.toy_scan(given_frame, **ROLES, by="k")
        assert y_of(result).tolist() == [1.0, 2.0, 5.0, 8.0]
        result = fc.frames.toy_scan(given_frame, **ROLES, by="k", state=result.state)
        assert y_of(result).tolist() == [6.0, 4.0, 10.0, 16.0]
        assert [row["memory"] for row in rows(result.state)] == [10.0, 4.0, 16.0]


def many_categories():
    """Two chunks of 100 categories each, numbered by int8, which holds 127."""
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), pa.array([f"{letter}{k}" for k in range(100)]))
        for letter in "ab"
    ]
    return pa.table({"v": np.ones(200), "c": np.ones(200), "e": np.ones(200), "k": pa.chunked_array(chunks)})


@pytest.mark.parametrize("kind", ["arrow", "polars", "lazy", "pandas of Arrow"])
def test_more_categories_than_an_index_type_holds(kind):
    frame = many_categories()
    twice = pa.concat_tables([frame, frame])
    result = fc.frames.toy_scan(KINDS[kind](twice), **ROLES, by="k")
    assert y_of(result).tolist() == [1.0] * 200 + [2.0] * 200
    names = [f"{letter}{k}" for letter in "ab" for k in range(100)]
    assert rows(result.state) == [{"k": name, "memory": 2.0} for name in names]
    parts, state = [], None
    for first in (0, 100, 200, 300):  # each chunk fits, the state after two doesn't
        part, state = fc.frames.toy_scan(KINDS[kind](twice.slice(first, 100)), **ROLES, by="k", state=state)
        state = collected(state)
        parts += collected(part)["y"].to_numpy().tolist()
    assert parts == y_of(result).tolist()
    assert rows(state) == rows(result.state)


def test_more_categories_than_an_index_type_holds_in_a_file(tmp_path):
    frame = many_categories()
    with pq.ParquetWriter(tmp_path / "in.parquet", frame.schema) as writer:
        for batch in frame.to_batches():
            writer.write_batch(batch)
    for out in ("out.csv", "out.parquet"):
        assert scan(tmp_path / "in.parquet", tmp_path / out, "--by", "k", "--state", tmp_path / "state") == 0
        assert read(tmp_path / out)["y"].to_pylist() == [1.0] * 200
        assert read(tmp_path / out)["k"].to_pylist() == frame["k"].to_pylist()
    assert pq.read_table(tmp_path / "state")["memory"].to_pylist() == [1.0] * 200


def test_a_state_of_frames_with_categories_is_a_state_of_scan(tmp_path):
    frame = table(300, keys=["a", "b"])
    coded = frame.set_column(frame.column_names.index("k"), "k", frame["k"].combine_chunks().dictionary_encode())
    _, state = fc.frames.toy_scan(coded.slice(0, 100), **ROLES, by="k")
    pq.write_table(state, tmp_path / "state")
    pq.write_table(frame.slice(100), tmp_path / "in.parquet")
    assert scan(tmp_path / "in.parquet", tmp_path / "out.parquet", "--by", "k", "--state", tmp_path / "state") == 0
    np.testing.assert_array_equal(read(tmp_path / "out.parquet")["y"].to_numpy(), by_hand(frame, "k")[0][100:])


# ---- folders -------------------------------------------------------------------------------------------


def folder(tmp_path, *tables):
    where = tmp_path / "in"
    where.mkdir()
    for k, part in enumerate(tables):
        pq.write_table(part, where / f"{k}.parquet")
    return where


def halves(frame, **columns):
    """A table in two, the second with some columns as other types."""
    second = frame.slice(len(frame) // 2)
    for name, kind in columns.items():
        second = second.set_column(second.column_names.index(name), name, second[name].cast(kind))
    return frame.slice(0, len(frame) // 2), second


AGREE = {
    "dictionary": {"k": pa.dictionary(pa.int32(), pa.string())},
    "large text": {"k": pa.large_string()},
    "views": {"k": pa.string_view()},
    "float32": {"v": pa.float32()},
    "integers as floats": {"c": pa.float64(), "e": pa.float32()},
    "small integers": {"c": pa.int8(), "e": pa.uint16()},
    "all at once": {"k": pa.large_string(), "v": pa.float32(), "c": pa.float64(), "e": pa.uint64()},
}


@pytest.mark.parametrize("name", AGREE)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_whose_types_differ(tmp_path, name, turned, suffix):
    frame = table(400, keys=["a", "b", None])
    first, second = halves(frame, **AGREE[name])
    if turned:
        whole = frame.cast(second.schema)
        first, second = whole.slice(0, 200), frame.slice(200)
    out = tmp_path / f"out{suffix}"
    assert scan(folder(tmp_path, first, second), out, "--by", "k", "--state", tmp_path / "state") == 0
    result, (y, memories) = read(out), by_hand(frame, "k")
    np.testing.assert_array_equal(result["y"].to_numpy(), y)
    assert result["y"].type == pa.float64() or suffix == ".csv"
    assert result.column_names == [*frame.column_names, "y"]
    for column in ("v", "c", "e", "note"):
        assert result[column].to_pylist() == frame[column].to_pylist(), column
    assert [key or None for key in result["k"].to_pylist()] == frame["k"].to_pylist()
    assert {(row["k"],): row["memory"] for row in pq.read_table(tmp_path / "state").to_pylist()} == memories


def test_files_that_differ_in_order_nullability_and_columns_that_are_not_used(tmp_path):
    frame = table(400, keys=["a", "b"])
    first, second = halves(frame)
    first = first.cast(pa.schema([field.with_nullable(False) for field in first.schema]))
    second = second.select(["k", "e", "v", "c"]).append_column("more", pa.array([1] * 200))
    assert scan(folder(tmp_path, first, second), tmp_path / "out.parquet", "--by", "k") == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.column_names == ["v", "c", "e", "note", "k", "more", "y"]
    np.testing.assert_array_equal(result["y"].to_numpy(), by_hand(frame, "k")[0])
    assert result["note"].to_pylist() == frame["note"].to_pylist()[:200] + [None] * 200
    assert result["more"].to_pylist() == [None] * 200 + [1] * 200
    assert result.schema.field("v").nullable


def test_integers_and_doubles_of_a_value(tmp_path, capsys):
    """Where double holds all integers they are doubles; where not, an error names the file, rows and column."""
    ints = pa.table({"v": pa.array([1, 2**53]), "c": [1, -1], "e": [1, 1]})
    floats = pa.table({"v": [0.5, 0.25], "c": [1, 1], "e": [1, 1]})
    where = folder(tmp_path, ints, floats)
    assert scan(where, tmp_path / "out.parquet") == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert (result["y"].type, result["v"].type) == (pa.float64(), pa.float64())
    assert result["y"].to_pylist() == [1.0, 0.0, 0.5, 0.75]
    assert result["v"].to_pylist() == [1.0, 2.0**53, 0.5, 0.25]
    pq.write_table(ints.set_column(0, "v", pa.array([1, 2**53 + 1])), where / "2.parquet")
    (tmp_path / "out.parquet").write_text("old", "utf-8")
    assert scan(where, tmp_path / "out.parquet") == 1
    told = capsys.readouterr().err
    assert f"{where / '2.parquet'}, after row 0: column v: Integer value 9007199254740993 not in range" in told
    assert (tmp_path / "out.parquet").read_text("utf-8") == "old"
    assert untouched(tmp_path, "in", "out.parquet")


DISAGREE = {
    "text and number": ({"v": ["1", "2"]}, "got 'v' as string where they have double"),
    "decimal and double": (
        {"v": pa.array([1, 2], pa.decimal128(5, 2))}, "got 'v' as decimal128(5, 2) where they have double",
    ),
    "bytes and text": ({"n": [b"a", b"b"]}, "got 'n' as binary where they have string"),
    "bool and integer": ({"e": [True, False]}, "got 'e' as bool where they have int64"),
    "lists and text": ({"n": [["a"], ["b"]]}, "got 'n' as list<element: string> where they have string"),
    "zones": (
        {"t": pa.array([0, 1], pa.timestamp("us", "UTC"))},
        "got 't' as timestamp[us, tz=UTC] where they have timestamp[us]",
    ),
    "a used column less": ({"c": None}, "got no 'c', where they have int64"),
    "several": (
        {"v": ["1", "2"], "c": None}, "got 'v' as string where they have double; no 'c', where they have int64",
    ),
    "other fields": (
        {"s": [{"b": 1}, {"b": 2}]}, "got 's' as struct<b: int64> where they have struct<a: int64>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DISAGREE)
def test_files_that_do_not_go_together(tmp_path, capsys, name):
    columns, words = DISAGREE[name]
    good = {"v": [1.0, 2.0], "c": [1, 1], "e": [1, 1], "n": ["a", "b"], "s": [{"a": 1}, {"a": 2}]}
    good["t"] = pa.array([0, 1], pa.timestamp("us"))
    other = {name: column for name, column in (good | columns).items() if column is not None}
    where = folder(tmp_path, pa.table(good), pa.table(other))
    assert scan(where, tmp_path / "out.parquet") == 1
    told = capsys.readouterr().err
    assert told.strip() == f"scan: {where / '1.parquet'}: expected columns as in the files before it, {words}"
    assert untouched(tmp_path, "in")


def test_times_and_lists_of_two_kinds(tmp_path):
    one = {"t": pa.array([1, 2], pa.timestamp("ms")), "l": pa.array([[1], [2]], pa.list_(pa.int32()))}
    other = {"t": pa.array([3000, 4000], pa.timestamp("us")), "l": pa.array([[3], None], pa.list_(pa.int64()))}
    rest = {"v": [1.0, 2.0], "c": [1, 1], "e": [1, 1]}
    where = folder(tmp_path, pa.table(rest | one), pa.table(rest | other))
    assert scan(where, tmp_path / "out.parquet", "--by", "t") == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert result["t"].cast(pa.int64()).to_pylist() == [1000, 2000, 3000, 4000]
    assert result["l"].to_pylist() == [[1], [2], [3], None]


# ---- integers and floats over chunks -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [None, "k"])
@pytest.mark.parametrize("order", ["integers first", "floats first", "by turns"])
def test_integers_in_one_chunk_and_floats_in_the_next(kind, by, order):
    ints, floats = pa.array([1, 2, -3, 2**53]), pa.array([0.5, 0.25, 1.0, 8.0])
    turns = [ints, floats, ints, floats]
    chunks = {"integers first": turns[:2], "floats first": turns[1:3], "by turns": turns}
    rest = {"c": [1, 1, 1, -1], "e": [1] * 4, "k": ["a", "b", "a", "b"]}
    whole = pa.table({"v": pa.concat_arrays([chunk.cast(pa.float64()) for chunk in chunks[order]])} | {
        name: cells * len(chunks[order]) for name, cells in rest.items()})  # fmt: skip
    expected = fc.frames.toy_scan(whole, **ROLES, by=by)
    state, y, met = None, [], []
    for chunk in chunks[order]:
        part, state = fc.frames.toy_scan(KINDS[kind](pa.table({"v": chunk} | rest)), **ROLES, by=by, state=state)
        if kind == "lazy":
            assert part.collect_schema()["y"] == collected(part)["y"].dtype
            assert state.collect_schema()["memory"] == collected(state)["memory"].dtype
        part, state = collected(part), collected(state)
        met.append(part["y"].to_numpy().dtype.kind)
        y += part["y"].to_numpy().tolist()
    assert y == expected.frame["y"].to_pylist()
    assert rows(state) == expected.state.to_pylist()
    assert state["memory"].to_numpy().dtype == np.float64
    assert met == (["i"] + ["f"] * (len(met) - 1) if order != "floats first" else ["f", "f"])


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1])
def test_integers_that_no_float_is(value):
    frame, state = pa.table({"v": [1, value], "c": [1, 1], "e": [1, 1]}), pa.table({"memory": [0.5]})
    with pytest.raises(ValueError, match=rf"column 'v' must be an integer of at most 2\*\*53, .*got {value} in row 1"):
        fc.frames.toy_scan(frame, **ROLES, state=state)


def test_gates_and_values_of_integers_after_floats():
    frame = pd.DataFrame({"x": [1, 2], "f": [1, 1]})
    _, state = fc.frames.gated_scan(pd.DataFrame({"x": [0.5]}), "x", 1, 1, 1)
    result = fc.frames.gated_scan(frame, "x", "f", 1, 1, state=state)
    assert (result.frame["y"].dtype, result.frame["y"].tolist()) == (np.float64, [1.5, 3.5])
    half = fc.frames.gated_scan(frame.astype({"f": np.float32}), "x", "f", 1, 1, state=state)
    alone = fc.frames.gated_scan(frame.astype({"f": np.float32}), "x", "f", 1, 1)
    assert half.frame["y"].dtype == alone.frame["y"].dtype
    assert half.frame["y"].tolist() == [1.5, 3.5]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_integers_in_one_file_and_floats_in_the_next(tmp_path, suffix):
    days, y = ([1, 2], [0.5, 0.25], [4, 8], [2**53, 1], [0.5, 0.5]), []
    for k, values in enumerate(days):
        frame = pa.table({"v": values, "c": [1, 1] if k != 3 else [-1, 1], "e": [1, 1]})
        source, out = tmp_path / f"{k}{suffix}", tmp_path / "out.parquet"
        (pq.write_table(frame, source) if suffix == ".parquet" else pl.from_arrow(frame).write_csv(source))
        options = ["--integer"] if isinstance(values[0], int) else []
        for _ in range(2):  # the same input again starts from the state before
            assert scan(source, out, "--state", tmp_path / "state", *options) == 0
        y += pq.read_table(out)["y"].to_pylist()
    assert y == [1, 3, 3.5, 3.75, 7.75, 15.75, 0, 1, 1.5, 2]
    assert pq.read_table(tmp_path / "state")["memory"].type == pa.float64()


def test_a_large_integer_state_goes_on_in_floats_and_again(tmp_path):
    """The memory before a run is kept as that run took it: rounded to float64."""
    pq.write_table(pa.table({"memory": [2**53 + 1]}), tmp_path / "state")
    pq.write_table(pa.table({"v": [0.0], "c": [1], "e": [1]}), tmp_path / "in.parquet")
    for _ in range(2):
        assert scan(tmp_path / "in.parquet", tmp_path / "out.parquet", "--state", tmp_path / "state") == 0
        assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == [2.0**53]


# ---- nulls ---------------------------------------------------------------------------------------------

NULLABLE = {
    "pandas Int64": lambda frame: frame.to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype(), pa.int8(): pd.Int8Dtype()}.get
    ),
    **{name: KINDS[name] for name in ("pandas of Arrow", "polars", "lazy", "arrow", "arrow in chunks")},
}  # fmt: skip


@pytest.mark.parametrize("kind", NULLABLE)
def test_nullable_integers_keep_their_type_and_every_digit(kind):
    """A row that is passed over shows the memory, a silent one `fill`."""
    big = 2**62 + 1
    columns = {"v": [big, None, 1, 5], "c": [1, 1, None, -1], "e": [1, 1, 1, None]}
    frame = NULLABLE[kind](pa.table({name: pa.array(cells, pa.int64()) for name, cells in columns.items()}))
    result = fc.frames.toy_scan(frame, **ROLES, nulls="keep", fill=-7)
    assert (y_of(result).dtype, y_of(result).tolist()) == (np.int64, [big, big, big, -7])
    memory = collected(result.state)["memory"].to_numpy()
    assert (memory.dtype, memory.tolist()) == (np.int64, [0])


@pytest.mark.parametrize("kind", [*NULLABLE, "pandas"])
@pytest.mark.parametrize("rule", [-1, 0])
@pytest.mark.parametrize("values", [pa.int64(), pa.float64()], ids=str)
def test_a_null_where_the_value_is_not_needed(kind, rule, values):
    make = (NULLABLE | KINDS)[kind]
    frame = pa.table({"v": pa.array([5, None, 1], values), "c": pa.array([1, rule, 1], pa.int8()), "e": [1, 1, 1]})
    result = fc.frames.toy_scan(make(frame), **ROLES)
    arrays = fc.toy_scan([5.0, np.nan, 1.0], [1, rule, 1], [1, 1, 1]).y
    assert y_of(result).tolist() == arrays.tolist() == ([5, 0, 1] if rule else [5, 5, 6])
    whole = values == pa.int64() and kind != "pandas"  # where a null makes integers floats
    assert y_of(result).dtype == (np.int64 if whole else np.float64)
    needed = frame.set_column(0, "v", pa.array([5, None, None], values))
    with pytest.raises(ValueError, match="column 'v' must be a number, got a null in row 2"):
        collected(fc.frames.toy_scan(make(needed), **ROLES).frame)


def test_an_empty_cell_where_the_value_is_not_needed(tmp_path, capsys):
    (tmp_path / "in.csv").write_text("v,c,e\n1,1,1\n,-1,1\n4,1,1\n", "utf-8")
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv") == 0
    assert read(tmp_path / "out.csv")["y"].to_pylist() == [1, 0, 4]
    (tmp_path / "in.csv").write_text("v,c,e\n1,1,1\n,-1,1\n4,1,1\n,1,0\n", "utf-8")
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv") == 1
    assert "row 4, column v: expected a number, got nothing" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["Int64", "Float64", pd.ArrowDtype(pa.int64()), pd.ArrowDtype(pa.float64())], ids=str)
def test_a_null_in_a_pandas_state(dtype):
    """It became nan, and with it large integers floats."""
    frame = pd.DataFrame({"v": [1.0, 1.0], "c": 1, "e": 1, "k": ["a", "b"]})
    state = pd.DataFrame({"k": ["a", "b"], "memory": pd.array([2, None], dtype)})
    with pytest.raises(ValueError, match="state's column 'memory' must hold no nulls, got 1"):
        fc.frames.toy_scan(frame, **ROLES, by="k", state=state)


# ---- other frames --------------------------------------------------------------------------------------


def test_dask_dataframes_get_a_pointer_that_holds():
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame({"v": [1.0, 2.0, 4.0, 8.0], "c": 1, "e": 1, "k": ["a", "a", "b", "b"]})
    parts = dd.from_pandas(frame, npartitions=2)
    with pytest.raises(TypeError, match=r"^df must be a pandas.*dask.dataframe.DataFrame.*, got Series"):
        fc.frames.gated_scan(parts["v"], "v", 1, 1, 1)
    with pytest.raises(TypeError, match=r"^state must be .*, got DataFrame"):
        fc.frames.toy_scan(frame, **ROLES, state=parts)
    by_key = parts.map_partitions(lambda part: fc.frames.toy_scan(part, **ROLES, by="k").frame)
    assert by_key.compute()["y"].tolist() == [1.0, 3.0, 4.0, 12.0]
    arrays = [parts[name].to_dask_array(lengths=True) for name in "vce"]
    assert fc.dask.toy_scan(*arrays)[0].compute().tolist() == [1.0, 3.0, 7.0, 15.0]
    for given_arrays in ([parts["v"], parts["c"], parts["e"]], [arrays[0], parts["c"], arrays[2]]):
        with pytest.raises(TypeError, match=r"must be a dask array, got a dask Series: .*to_dask_array"):
            fc.dask.toy_scan(*given_arrays)
    with pytest.raises(TypeError, match="x must be a dask array, got a dask DataFrame"):
        fc.dask.lstm(fc.LSTM(4, 2, seed=0), parts)


def test_durations_of_a_file_go_on(tmp_path):
    values = pa.array([5, -2, 2**40], pa.duration("us"))
    frame = pa.table({"v": values, "c": [1, 1, 1], "e": [1, 1, 1]})
    source, out, state = write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet", tmp_path / "state"
    for _ in range(2):
        assert scan(source, out, "--state", state) == 0
        assert pq.read_table(out)["y"].equals(pa.chunked_array([[5, 3, 2**40 + 3]], pa.duration("us")))
    later = write(frame.slice(0, 1), tmp_path / "later.parquet")
    assert scan(later, out, "--state", state) == 0
    assert pq.read_table(out)["y"].equals(pa.chunked_array([[2**40 + 8]], pa.duration("us")))
