"""`lstm` over tables and `gated`: one run in memory, cut into files, killed and begun again; what stops them."""

import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import fastcell as fc
from fastcell.__main__ import main
from fastcell._cli import tables as _tables
from fastcell.frames import batches
from tests.helpers import processes
from tests.helpers.commands import KILLED, linux, peaks, read, write

T, H = 600, 5


def events(rows=T, seed=0):
    """Amounts that float32 holds, so that a text is the same number."""
    rng = np.random.default_rng(seed)
    return pa.table({
        "user": rng.choice(["ann", "bob", "cyd, the \"third\""], rows), "day": rng.integers(0, 3, rows),
        "amount": rng.standard_normal(rows).astype(np.float32), "online": rng.integers(0, 2, rows),
        "note": [f"row {k}" for k in range(rows)], "t": np.sort(rng.integers(0, 4 * rows, rows)),
    })  # fmt: skip


def weights(folder, **options):
    net = fc.LSTM(2, H, 2, seed=0, **options)
    net.save(folder / "w.safetensors")
    return net


def wanted(net, frame, by):
    x = np.stack([frame["amount"].to_numpy(), frame["online"].to_numpy()], 1).astype(np.float32)
    if not by:
        return net(x)[0]
    keys = list(zip(*(frame[name].to_pylist() for name in by), strict=True))
    numbers = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    return net(x, keys=np.array([numbers[key] for key in keys]))[0]


def h_of(table):
    return np.stack([table[f"h_{unit}"].to_numpy() for unit in range(H)], 1)


def lstm(source, out, *options, inputs=("amount,online",)):
    given = ["lstm", str(source), "--weights", str(source.parent / "w.safetensors"), "-o", str(out)]
    return main([*given, *(["--inputs", *inputs] if inputs else []), *map(str, options)])


def gated(source, out, *options):
    return main(["gated", str(source), "--value", "amount", "-o", str(out), *map(str, options)])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(_tables, "_ROWS", 70)
    monkeypatch.setattr(_tables, "_CSV_BYTES", 3000)
    monkeypatch.setattr(batches, "_VALUES", 200)


@pytest.mark.parametrize(
    ("suffix", "by", "precision"),
    [
        (".csv", [], "float32"), (".csv", ["user"], "int8"), (".csv", ["user", "day"], "float32"),
        (".parquet", [], "int8"), (".parquet", ["user"], "float32"), (".parquet", ["user", "day"], "int8"),
    ],
    ids=str,
)  # fmt: skip
def test_an_lstm_over_files_is_the_lstm(tmp_path, suffix, by, precision):
    net, frame = weights(tmp_path).with_precision(precision), events()
    expected = wanted(net, frame, by)
    options = ["--precision", precision, *(["--by", *by] if by else [])]
    assert lstm(write(frame, tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}", *options) == 0
    result = read(tmp_path / f"out{suffix}")
    assert result.column_names == [*frame.column_names, *(f"h_{unit}" for unit in range(H))]
    np.testing.assert_array_equal(h_of(result).astype(np.float32), expected)
    assert result["note"].to_pylist() == frame["note"].to_pylist()
    parts = []  # day after day, from a state, each of them twice
    for k, (first, count) in enumerate([(0, 1), (1, 250), (251, T - 251)]):
        source = write(frame.slice(first, count), tmp_path / f"{k}{suffix}")
        for _ in range(2):
            assert lstm(source, tmp_path / "part.parquet", *options, "--state", tmp_path / "state") == 0
        result = pq.read_table(tmp_path / "part.parquet")
        assert result.schema.field("h_0").type == pa.float32()
        parts.append(h_of(result))
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    state, last = pq.read_table(tmp_path / "state"), fc.frames.lstm(frame, net, ["amount", "online"], by).state
    assert state.column_names == [*last.column_names, *(f"{name}_before" for name in last.column_names[len(by) :])]
    numbers = last.column_names[len(by) :]
    assert state.select(numbers).to_pydict() == last.select(numbers).to_pydict()
    assert [str(key) for name in by for key in state[name].to_pylist()] == [
        str(key) for name in by for key in last[name].to_pylist()
    ]


def test_an_lstm_over_a_folder_in_one_list_column(tmp_path, capsys):
    net, frame, folder = weights(tmp_path), events(), tmp_path / "in"
    folder.mkdir()
    write(frame.slice(0, 200), folder / "a.parquet")
    write(frame.slice(200, 0), folder / "b.parquet")
    write(frame.slice(200), folder / "c.parquet")
    by = ["--by", "user", "day", "--list", "score"]
    assert lstm(folder, tmp_path / "out.parquet", *by, inputs=["amount", "online"]) == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert (result.column_names, result.schema.field("score").type) == (
        [*frame.column_names, "score"], pa.list_(pa.float32())
    )  # fmt: skip
    found = np.array(result["score"].to_pylist(), np.float32)
    np.testing.assert_array_equal(found, wanted(net, frame, ["user", "day"]))
    assert lstm(folder, tmp_path / "out.csv", *by) == 1
    assert "a .csv file can't hold the column 'score' (list<item: float>); a .parquet file" in capsys.readouterr().err


@pytest.mark.kills
@pytest.mark.parametrize(("command", "moment"), [("lstm", 1), ("gated", 2)])
def test_a_killed_run_is_made_good_by_the_next(tmp_path, moment, command):
    """After OUT, before STATE: one each, as `scan` is killed at these and before and after both."""
    net, frame = weights(tmp_path), events()
    source, out, state = (tmp_path / name for name in ("today.parquet", "out.csv", "state"))
    given = [command, str(source), "--by", "user", "-o", str(out), "--state", str(state)]
    if command == "lstm":
        given += ["--inputs", "amount,online", "--weights", str(tmp_path / "w.safetensors")]
        expected = wanted(net, frame, ["user"])
    else:
        given += ["--value", "amount", "--half-life", "40", "--time", "t"]
        expected = fc.frames.gated_scan(frame, "amount", half_life=40, time="t", by="user").frame["y"].to_numpy()
    write(frame.slice(0, 400), source)
    assert main(given) == 0
    write(frame.slice(400), source)  # tomorrow
    before = [path.read_bytes() for path in (out, state)]
    run = processes.python("-c", KILLED, str(moment), *given)
    assert run.returncode == -signal.SIGKILL
    after = [path.read_bytes() for path in (out, state)]
    assert [now == was for now, was in zip(after, before, strict=True)] == [False, True]
    for _ in range(2):
        assert main(given) == 0
        assert out.read_bytes() == after[0]
        result = read(out)
        found = h_of(result).astype(np.float32) if command == "lstm" else result["y"].to_numpy()
        np.testing.assert_array_equal(found, expected[400:])
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "out.csv",
            "state",
            "today.parquet",
            "w.safetensors",
        ]


def test_the_state_of_frames_lstm_is_a_state_of_the_command(tmp_path):
    net, frame = weights(tmp_path), events()
    _, state = fc.frames.lstm(frame.slice(0, 300), net, ["amount", "online"], by="user")
    pq.write_table(state, tmp_path / "state")
    source = write(frame.slice(300), tmp_path / "in.csv")
    assert lstm(source, tmp_path / "out.parquet", "--by", "user", "--state", tmp_path / "state") == 0
    found = h_of(pq.read_table(tmp_path / "out.parquet"))
    np.testing.assert_array_equal(found, wanted(net, frame, ["user"])[300:])


def test_new_keys_start_from_the_initial_state(tmp_path):
    rng = np.random.default_rng(3)
    start = tuple(rng.standard_normal((2, H)).astype(np.float32) for _ in "hc")
    net, frame = weights(tmp_path, initial_state=start), events()
    for k, part in enumerate((frame.slice(0, 2), frame.slice(2))):
        source = write(part, tmp_path / f"{k}.parquet")
        assert lstm(source, tmp_path / "out.parquet", "--by", "user", "day", "--state", tmp_path / "state") == 0
    found, expected = h_of(pq.read_table(tmp_path / "out.parquet")), wanted(net, frame, ["user", "day"])
    np.testing.assert_array_equal(found, expected[2:])


def test_what_stops_an_lstm_over_tables(tmp_path, capsys):
    weights(tmp_path)
    fc.LSTM(2, H, bidirectional=True, seed=0).save(tmp_path / "both.safetensors")
    frame = events()
    source, out, state = write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet", tmp_path / "state"
    out.write_text("old", "utf-8")

    def error(*options, source=source, out=out, **more):
        assert lstm(source, out, *options, **more) == 1
        assert (tmp_path / "out.parquet").read_text("utf-8") == "old"
        return capsys.readouterr().err

    assert "in.parquet: expected --inputs, the columns of a table that the LSTM reads" in error(inputs=())
    assert "inputs must be the names of I = 2 columns, got 3" in error(inputs=["amount,online,day"])
    assert "expected one column 'price', got the columns ['user', 'day'," in error(inputs=["amount,price"])
    assert "expected one column 'card', got the columns" in error("--by", "card")
    assert "column 'note' must hold bool, integers, float32 or float64, got String" in error(inputs=["amount,note"])
    assert "by must be different columns" in error("--by", "user", "user")
    assert "lstm must run forward alone" in error("--weights", tmp_path / "both.safetensors")
    assert "WEIGHTS must be another file than OUT" in error(out=tmp_path / "w.safetensors")
    assert "expected a .csv or .parquet file" in error(out=tmp_path / "out.npy")
    twice = write(frame.append_column("h_1", frame["t"]), tmp_path / "h.parquet")
    assert "has a column 'h_1' already" in error(source=twice)
    holes = frame.set_column(2, "amount", pa.array([1.0] * 333 + [None] + [1.0] * (T - 334)))
    for suffix in (".csv", ".parquet"):
        where = write(holes, tmp_path / f"holes{suffix}")
        assert "row 334, column amount: expected a number, got nothing" in error("--state", state, source=where)
    assert not state.exists()
    text = write(holes.set_column(2, "amount", pa.array(["1.5"] * 500 + ["x"] * (T - 500))), tmp_path / "text.csv")
    assert "row 501, column amount: expected a number, got 'x'" in error(source=text)
    assert "expected a state as .safetensors or .npz" not in error("--state", source, source=text)

    def written(table):
        pq.write_table(table, state)
        return error("--by", "user", "--state", state)

    names = ["amount", "online"]
    small = fc.frames.lstm(frame, fc.LSTM(2, 3, 2, seed=0), names, "user").state
    assert "state: expected a state with columns ['user', 'h_0_0', 'h_0_1'" in written(small)
    days = fc.frames.lstm(frame, fc.LSTM(2, H, 2, seed=0), names, "day").state
    assert "state: expected a state with columns ['user', 'h_0_0'" in written(days)
    assert "state's column 'user' must hold String, as df's does, got Int64" in written(
        days.rename_columns(["user", *days.column_names[1:]])
    )
    good = fc.frames.lstm(frame, fc.LSTM(2, H, 2, seed=0), names, "user").state
    assert "state's column 'c_1_4' must hold no nulls, got 1" in written(
        good.set_column(20, "c_1_4", pa.array([None, 1, 2], pa.float32()))
    )
    assert "expected a state with numbers in c_1_4, got string" in written(good.set_column(20, "c_1_4", [["a"] * 3]))
    state.write_text("x", "utf-8")
    assert "not a state of lstm" in error("--by", "user", "--state", state)
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    for option in (["--by", "a"], ["--list", "a"], ["--nulls", "keep"]):
        told = f"{option[0]}: only with --inputs, over tables"
        assert told in error(*option, source=tmp_path / "x.npy", inputs=())
    assert "x.npy: expected a .csv or .parquet file" in error(source=tmp_path / "x.npy")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_nulls_that_are_kept(tmp_path):
    net, frame = weights(tmp_path), events()
    holes = frame.set_column(2, "amount", pa.array([None] * 20 + frame["amount"].to_pylist()[20:], pa.float32()))
    zeros = frame.set_column(2, "amount", pa.array([0.0] * 20 + frame["amount"].to_pylist()[20:], pa.float32()))
    for suffix in (".csv", ".parquet"):
        assert lstm(write(holes, tmp_path / f"in{suffix}"), tmp_path / "out.parquet", "--nulls", "keep") == 0
        np.testing.assert_array_equal(h_of(pq.read_table(tmp_path / "out.parquet")), wanted(net, zeros, []))


# ---- gated -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("by", [[], ["user", "day"]], ids=str)
def test_gates_that_are_columns_and_numbers(tmp_path, suffix, by):
    frame = events().rename_columns(["user", "day", "amount", "0.5", "note", "t"])  # a column whose name is a number
    source = write(frame, tmp_path / f"in{suffix}")
    x, column = frame["amount"].to_numpy().astype(np.float64), frame["0.5"].to_numpy().astype(np.float64)
    pairs = np.array(list(zip(*(frame[name].to_pylist() for name in by), strict=True)))
    keys = np.unique(pairs, axis=0, return_inverse=True)[1] if by else None
    options = ["--by", *by] if by else []
    for gates, (f, i, o) in {
        ("-f", ".25"): (0.25, 1.0, 1.0),
        ("-f", "0.5", "-i", "2", "--emit", "0.5"): (column, 2.0, column),
        ("--forget", "1", "--input", "0.5"): (1.0, column, 1.0),
    }.items():
        assert gated(source, tmp_path / "out.parquet", *gates, *options) == 0
        found, expected = (
            pq.read_table(tmp_path / "out.parquet")["y"].to_numpy(),
            fc.gated_scan(x, f, i, o, keys=keys).y,
        )
        np.testing.assert_allclose(found, expected, rtol=1e-6 if suffix == ".parquet" else 1e-12, atol=1e-6)


TIMES = {
    "numbers": (lambda t: t, ["40"]),
    "floats": (lambda t: pa.array(t.to_numpy() / 2), ["20"]),
    "integers": (lambda t: pa.array(t.to_numpy() + 2**60), ["40", "--integer"]),
    "datetimes": (lambda t: t.cast(pa.timestamp("s")), ["40s"]),
    "zones": (lambda t: t.cast(pa.timestamp("s", "UTC")), ["0.6666666666666666 min"]),
    "of a zone": (lambda t: t.cast(pa.timestamp("ms", "Asia/Tokyo")), ["40ms"]),
    "days": (lambda t: t.cast(pa.int32()).cast(pa.date32()), ["40d"]),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(("suffix", "by"), [(".csv", ["user"]), (".parquet", [])], ids=str)
def test_a_half_life_over_files(tmp_path, suffix, name, by):
    make, half_life = TIMES[name]
    plain = events()
    plain = plain.set_column(2, "amount", plain["amount"].cast(pa.float64()))
    expected = fc.frames.gated_scan(plain, "amount", half_life=40, time="t", by=by).frame["y"].to_numpy()
    frame = plain.set_column(5, "t", make(plain["t"]))
    options = ["--half-life", *half_life, "--time", "t", *(["--by", *by] if by else [])]
    parts = []
    for k, (first, count) in enumerate([(0, 1), (1, 333), (334, T - 334)]):
        source = write(frame.slice(first, count), tmp_path / f"{k}{suffix}")
        for _ in range(2):
            assert gated(source, tmp_path / "out.parquet", *options, "--state", tmp_path / "state") == 0
        parts.append(pq.read_table(tmp_path / "out.parquet")["y"].to_numpy())
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-12, atol=1e-12)
    state = pq.read_table(tmp_path / "state")
    assert state.column_names == [*by, "memory", "time", "memory_before", "time_before"]


def test_what_stops_gated(tmp_path, capsys):
    frame, state = events(), tmp_path / "state"
    source, out = write(frame, tmp_path / "in.csv"), tmp_path / "out.csv"

    def error(*options, source=source):
        assert gated(source, out, *options) == 1
        assert not out.exists()
        return capsys.readouterr().err

    assert "either forget or half_life and time must be given, got neither" in error()
    assert "got both" in error("-f", "1", "--half-life", "1", "--time", "t")
    assert "time must be a column's name, got None" in error("--half-life", "1")
    assert "time must go with half_life, got 't' alone" in error("-f", "1", "--time", "t")
    assert "half_life must be a number, a duration such as '5min'" in error("--half-life", "soon", "--time", "t")
    assert "expected one column 'o5', got the columns" in error("-f", "o5")
    assert "expected one column 'at', got the columns" in error("--half-life", "1", "--time", "at")
    half = ["--half-life", "1", "--time", "t", "--by", "user", "--state", state]
    later = write(pa.concat_tables([frame, frame.slice(T // 2, 1)]), tmp_path / "later.csv")
    told = error(*half, source=later)
    assert f"row {T + 1}, column t: expected a time no earlier than " in told
    assert f", its key's last, got {frame['t'][T // 2].as_py()}" in told
    told = error("--half-life", "5min", "--time", "t")
    assert f"row 1, column t: expected a time such as 2020-01-31 12:00:00, got '{frame['t'][0].as_py()}'" in told
    late = write(frame.set_column(5, "t", [["x"] * T]), tmp_path / "text.csv")
    assert "row 1, column t: expected a number, got 'x'" in error(*half, source=late)
    for first in ("", "Z"):
        zones = [f"2020-01-01 00:00:00{first}"] * 300 + ["2020-01-01 00:00:00" + ("" if first else "Z")] * 300
        mixed = write(frame.set_column(5, "t", [zones]), tmp_path / "zones.csv")
        told = error("--half-life", "5min", "--time", "t", source=mixed)
        assert f"row 301, column t: expected a time such as 2020-01-31 12:00:00{first}, got '{zones[-1]}'" in told
    assert not state.exists()
    assert gated(source, tmp_path / "good.csv", *half) == 0
    capsys.readouterr()
    assert "state: expected a state with columns ['user', 'memory'], got ['user', 'memory', 'time'" in error(
        "-f", "1", "--by", "user", "--state", state
    )
    times = frame.set_column(5, "t", frame["t"].cast(pa.timestamp("s")))
    dated = write(times, tmp_path / "times.parquet")
    told = error("--half-life", "1s", "--time", "t", "--by", "user", "--state", state, source=dated)
    assert "state's column 'time' must hold timestamp[ms], as df's does, got double" in told


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Tables of 1,000,000 and 3,000,000 rows, several batches both."""
    frame = pa.concat_tables([events(50_000)] * 60)
    frame = frame.set_column(5, "t", pa.array(np.arange(len(frame)) * 4).cast(pa.timestamp("s")))
    assert frame.nbytes > 130e6
    folder = tmp_path_factory.mktemp("large")
    files = folder / "some.parquet", folder / "more.parquet"
    for file, rows in zip(files, (1_000_000, len(frame)), strict=True):
        pq.write_table(frame.slice(0, rows), file, row_group_size=100_000)  # a group's columns are read as a whole
    return files


@linux
@pytest.mark.parametrize("command", ["lstm", "gated"])
def test_no_more_memory_for_more_rows(tmp_path, large, command):
    fc.LSTM(2, 4, seed=0).save(tmp_path / "w.safetensors")
    given = ["--value", "amount", "--half-life", "5s", "--time", "t"] if command == "gated" else [
        "--inputs", "amount,online", "--weights", tmp_path / "w.safetensors"
    ]  # fmt: skip
    given += ["--by", "user", "-o", tmp_path / "out.parquet"]
    few, many = peaks(*([command, file, *given] for file in large))
    assert many < few + 60, "MiB"
    assert os.path.getsize(tmp_path / "out.parquet") > 1e6
