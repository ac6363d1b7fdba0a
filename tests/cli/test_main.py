"""The command line, as one types it."""

import csv
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import fastcell as fc
from fastcell import _files, _verify, _warmup
from fastcell.__main__ import main
from fastcell._cli import lstm as _lstm_command
from fastcell._cli import tables as _tables
from fastcell._cli.demo import rain, wettest_spells
from fastcell.frames import job
from tests.helpers import processes
from tests.helpers.commands import COLUMNS, KILLED, by_hand, keyed, linux, peaks, read, scan, steps, table, write


def expected(frame):
    return fc.toy_scan(*(frame[name].to_numpy() for name in "vce")).y


def test_demo(capsys):
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "    3   0   1 |  1  0  1 |    5    5" in shown
    assert "    2   1   1 |  1  1  1 |   10   10" in shown
    assert "  178.8    14  2015-12-13" in shown


def test_the_wettest_spells():
    days, mm = rain()
    assert (len(days), days[0], days[-1]) == (1461, "2012-01-01", "2015-12-31")
    spells, total, length = [], 0.0, 0
    for k, depth in enumerate(mm):
        total, length = (total + depth, length + 1) if depth > 0 else (0.0, 0)
        if depth > 0 and (k + 1 == len(mm) or mm[k + 1] == 0):
            spells.append((total, days[k], length))
    for actual, spell in zip(wettest_spells(5), sorted(spells, reverse=True)[:5], strict=True):
        assert actual[0] == pytest.approx(spell[0], rel=1e-12)
        assert actual[1:] == spell[1:]


@pytest.mark.slow
def test_verify_takes_every_kernel(capsys):
    assert main(["verify"]) == 0
    assert "all kernels agree" in capsys.readouterr().out


def test_verify(capsys, monkeypatch):
    name, case = next(iter(_verify._cases().items()))
    monkeypatch.setattr(_verify, "_cases", lambda: {name: case})
    monkeypatch.setattr(_verify, "_STEP", {"float32": 3e-6})
    assert main(["verify"]) == 0
    shown = capsys.readouterr().out
    assert "all kernels agree" in shown
    assert [line.partition("  ")[0] for line in shown.splitlines()[1:-1]] == [
        name,
        "LSTM float32",
        "LSTM float32, special",
    ]
    monkeypatch.setattr("fastcell.oracle._int64", lambda number: number + 1)
    monkeypatch.setattr(_verify, "_lstms", lambda: iter(()))
    assert main(["verify"]) == 1
    assert "MISMATCH" in capsys.readouterr().out


def test_python_m_fastcell():
    run = subprocess.run([sys.executable, "-m", "fastcell", "scan"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "usage: python -m fastcell scan" in run.stderr


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("out_suffix", [".csv", ".parquet"])
def test_scan(tmp_path, suffix, out_suffix, monkeypatch):
    monkeypatch.setattr(_tables, "_ROWS", 300)
    monkeypatch.setattr(_tables, "_CSV_BYTES", 2000)
    frame = table()
    source, out = write(frame, tmp_path / f"in{suffix}"), tmp_path / f"out{out_suffix}"
    assert scan(source, out) == 0
    result = read(out)
    assert result.column_names == [*frame.column_names, "y"]
    np.testing.assert_array_equal(result["y"].to_numpy(), expected(frame))
    assert result["note"].to_pylist() == frame["note"].to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, out.name])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("keys", [None, ["a", "b", "c"], [7, 1, 300]], ids=str)
def test_tomorrows_file_goes_on(tmp_path, suffix, keys):
    frame = table(keys=keys)
    by = ["--by", "k"] if keys else []
    whole = write(frame, tmp_path / f"whole{suffix}")
    assert scan(whole, tmp_path / "whole_out.parquet", *by) == 0
    parts = []
    for k, (first, count) in enumerate([(0, 1), (1, 400), (401, 599)]):
        source = write(frame.slice(first, count), tmp_path / f"{k}{suffix}")
        assert scan(source, tmp_path / f"{k}_out.parquet", *by, "--state", tmp_path / "state") == 0
        parts.append(read(tmp_path / f"{k}_out.parquet")["y"].to_numpy())
    np.testing.assert_array_equal(np.concatenate(parts), read(tmp_path / "whole_out.parquet")["y"].to_numpy())


def test_keys_have_a_memory_each(tmp_path):
    frame = table(keys=["a", "b", "c"])
    assert scan(write(frame, tmp_path / "in.csv"), tmp_path / "out.csv", "--by", "k") == 0
    y, keys = read(tmp_path / "out.csv")["y"].to_numpy(), np.array(frame["k"].to_pylist())
    for key in "abc":
        np.testing.assert_array_equal(y[keys == key], expected(frame.filter(keys == key)))


def test_integers_stay_integers(tmp_path):
    rows = [{"v": 2**62, "c": 1, "e": 1}, {"v": 1, "c": 1, "e": 1}]
    source = write(pa.Table.from_pylist(rows), tmp_path / "in.csv")
    assert scan(source, tmp_path / "out.csv", "--integer") == 0
    assert read(tmp_path / "out.csv")["y"].to_pylist() == [2**62, 2**62 + 1]


def test_bounds(tmp_path, capsys):
    frame = table(keys=["a", "b", "c"])
    source = write(frame, tmp_path / "in.parquet")
    bounds = ["--low", "-1.5", "--high", "3"]
    assert scan(source, tmp_path / "whole.parquet", "--by", "k", *bounds) == 0
    y, keys = read(tmp_path / "whole.parquet")["y"].to_numpy(), np.array(frame["k"].to_pylist())
    for key in "abc":
        v, c, e = (frame.filter(keys == key)[name].to_numpy() for name in "vce")
        alone = fc.toy_scan(v, c.astype(np.int8), e.astype(np.int8), low=-1.5, high=3)
        np.testing.assert_array_equal(y[keys == key], alone.y)
    parts = []
    for k, (first, count) in enumerate([(0, 400), (400, 600)]):
        piece = write(frame.slice(first, count), tmp_path / f"{k}.csv")
        assert scan(piece, tmp_path / f"{k}.parquet", "--by", "k", *bounds, "--state", tmp_path / "state") == 0
        parts.append(read(tmp_path / f"{k}.parquet")["y"].to_numpy())
    np.testing.assert_array_equal(np.concatenate(parts), y)
    rows = [{"v": 2**62, "c": 1, "e": 1}, {"v": 2**62, "c": 1, "e": 1}]
    whole = write(pa.Table.from_pylist(rows), tmp_path / "integers.csv")
    most = str(2**63 - 2)  # as a float it would be another number
    assert scan(whole, tmp_path / "out.csv", "--integer", "--high", most) == 0
    assert read(tmp_path / "out.csv")["y"].to_pylist() == [2**62, 2**63 - 2]
    capsys.readouterr()
    for given, message in (
        (["--low", "2", "--high", "1"], "low must be at most high, got low=2 and high=1"),
        (["--integer", "--low", "0.5"], "low must be an integer where the values are integers, got 0.5"),
        (["--high", "nan"], "high must be a number, got nan"),
    ):
        assert scan(whole, tmp_path / "none.csv", *given) == 1
        assert capsys.readouterr().err == f"scan: {message}\n"
        assert not (tmp_path / "none.csv").exists()
    with pytest.raises(SystemExit):
        scan(whole, tmp_path / "none.csv", "--low", "few")
    assert "argument --low: expected a number, got 'few'" in capsys.readouterr().err


def test_a_file_may_be_its_own_output(tmp_path):
    frame = table()
    source = write(frame, tmp_path / "in.csv")
    assert scan(source, source, "--fill", "nan") == 0
    y = expected(frame)
    y[frame["e"].to_numpy() == 0] = np.nan
    np.testing.assert_array_equal(read(source)["y"].to_numpy(), y)


BAD = {
    "text": ({"v": "x"}, "row 700, column v: expected a number, got 'x'"),
    "nothing": ({"v": ""}, "row 700, column v: expected a number, got nothing"),
    "rule": ({"c": 3}, "row 700, column c: expected -1, 0, 1 or 2, got 3"),
    "nan": ({"c": "nan"}, "row 700, column c: expected -1, 0, 1 or 2, got nan"),
    "emit": ({"e": -1}, "row 700, column e: expected 0 or 1, got -1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_and_nothing_written(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(_tables, "_CSV_BYTES", 2000)
    cells, message = BAD[name]
    rows = table(keys=["a", "b"]).to_pylist()
    rows[699].update(cells)
    with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "out.csv").write_text("old", "utf-8")
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv", "--by", "k", "--state", tmp_path / "state") == 1
    assert capsys.readouterr().err.strip() == f"scan: {message}"
    assert (tmp_path / "out.csv").read_text("utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_what_else_stops_a_scan(tmp_path, capsys):
    source = write(table(), tmp_path / "in.csv")
    out = tmp_path / "out.csv"

    def error(*arguments):
        assert scan(*arguments) == 1
        return capsys.readouterr().err

    assert "No such file" in error(tmp_path / "none.csv", out)
    assert "expected a .csv or .parquet file" in error(source, tmp_path / "out.txt")
    assert "expected one column 'k', got the columns" in error(source, out, "--by", "k")
    (tmp_path / "state").write_text("x", "utf-8")
    assert "not a state of scan" in error(source, out, "--state", tmp_path / "state")
    pq.write_table(pa.table({"memory": ["8"]}), tmp_path / "state")
    assert "expected a state with numbers in memory, got string" in error(source, out, "--state", tmp_path / "state")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    assert "broken.parquet" in error(tmp_path / "broken.parquet", out)
    y = write(table().append_column("y", [[0] * 1000]), tmp_path / "y.csv")
    assert "has a column 'y' already" in error(y, out)
    assert not out.exists()


def test_an_interrupt_leaves_the_old_output(tmp_path, monkeypatch, capsys):
    source, out = write(table(), tmp_path / "in.csv"), tmp_path / "out.csv"
    out.write_text("old", "utf-8")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "toy_scan", interrupt)
    assert scan(source, out) == 130
    assert "interrupted, nothing written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    assert out.read_text("utf-8") == "old"


# ---- several keys, folders -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("out_suffix", [".csv", ".parquet"])
def test_several_keys_of_any_type(tmp_path, monkeypatch, suffix, out_suffix):
    monkeypatch.setattr(_tables, "_ROWS", 7)
    monkeypatch.setattr(_tables, "_CSV_BYTES", 300)
    frame = keyed()
    y, memories = by_hand(frame, "kd")
    source, out = write(frame, tmp_path / f"in{suffix}"), tmp_path / f"out{out_suffix}"
    assert scan(source, out, "--by", "k", "d", "--state", tmp_path / "state") == 0
    np.testing.assert_array_equal(read(out)["y"].to_numpy(), y)
    state = pq.read_table(tmp_path / "state")
    assert state.column_names == ["k", "d", "memory", "memory_before"]
    assert state["memory"].to_pylist() == list(memories.values())
    if suffix == ".parquet":
        assert list(zip(state["k"].to_pylist(), state["d"].to_pylist(), strict=True)) == list(memories)
        assert state.schema.field("d").type == pa.date32()
    assert scan(source, tmp_path / "again.csv", "--by", "k", "--by", "d") == 0
    np.testing.assert_array_equal(read(tmp_path / "again.csv")["y"].to_numpy(), y)


def test_categories_that_differ_from_file_to_file(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    frame = table(300, keys=["a", "b", "c"])
    for k, first in enumerate((0, 100, 200)):
        part = frame.slice(first, 100)
        part = part.set_column(part.column_names.index("k"), "k", part["k"].combine_chunks().dictionary_encode())
        write(part, folder / f"part-{k}.parquet")
    (folder / "part-0.crc").write_text("not read", "utf-8")
    assert scan(folder, tmp_path / "out.parquet", "--by", "k", "--state", tmp_path / "state") == 0
    result = read(tmp_path / "out.parquet")
    np.testing.assert_array_equal(result["y"].to_numpy(), by_hand(frame, "k")[0])
    assert result["note"].to_pylist() == frame["note"].to_pylist()
    assert pq.read_table(tmp_path / "state").schema.field("k").type == pa.string()


def test_a_folder_is_one_stream_and_its_rows_are_named(tmp_path, capsys):
    folder, frame = tmp_path / "in", table()
    folder.mkdir()
    for name, (first, count) in {"a": (0, 300), "b": (300, 0), "c": (300, 700)}.items():
        write(frame.slice(first, count), folder / f"{name}.parquet")
    assert scan(folder, tmp_path / "out.csv") == 0
    np.testing.assert_array_equal(read(tmp_path / "out.csv")["y"].to_numpy(), expected(frame))
    bad = frame.slice(300).set_column(1, "c", pa.array([0] * 40 + [7] + [0] * 659))
    write(bad, folder / "c.parquet")
    assert scan(folder, tmp_path / "out.csv") == 1
    assert f"{folder / 'c.parquet'}, row 41, column c: expected -1, 0, 1 or 2, got 7" in capsys.readouterr().err
    write(frame.rename_columns(["v", "c", "other", "note"]), folder / "d.parquet")
    write(frame.slice(300), folder / "c.parquet")
    assert scan(folder, tmp_path / "out.csv") == 1
    told = "d.parquet: expected columns as in the files before it, got no 'e', where they have int8"
    assert told in capsys.readouterr().err
    assert scan(folder, folder / "out.csv") == 1
    assert "must not be in the folder" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert scan(empty, tmp_path / "out.csv") == 1
    assert "expected a folder with .parquet files, got none" in capsys.readouterr().err


def test_nothing_in_a_cell(tmp_path, capsys):
    (tmp_path / "in.csv").write_text("v,c,e\n1,1,1\n,1,1\n4,1,1\n", "utf-8")
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv") == 1
    assert "row 2, column v: expected a number, got nothing" in capsys.readouterr().err
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv", "--nulls", "keep") == 0
    assert read(tmp_path / "out.csv")["y"].to_pylist() == [1, 1, 5]


def test_more_that_stops_a_scan(tmp_path, capsys):
    source = write(table(), tmp_path / "in.csv")

    def error(*arguments):
        assert scan(*arguments) == 1
        return capsys.readouterr().err

    state = tmp_path / "state"
    assert "OUT must be another file than STATE" in error(source, tmp_path / "s.csv", "--state", tmp_path / "s.csv")
    assert "IN must be another file than OUT" in error(source, source, "--state", state)
    assert "by must be different columns" in error(source, tmp_path / "out.csv", "--by", "c", "c")
    (tmp_path / "folder.csv").mkdir()
    assert "expected a file, got a folder" in error(source, tmp_path / "folder.csv")
    pq.write_table(pa.table({"note": [1], "memory": [1.0]}), state)
    assert "state's column 'note' must hold String, as df's does, got Int64" in error(
        source, tmp_path / "out.csv", "--by", "note", "--state", state
    )
    part = tmp_path / ".out.csv.part"
    with _files.whole_or_not(tmp_path / "out.csv"):
        assert "another run is writing it" in error(source, tmp_path / "out.csv")
        assert part.exists()
    assert not part.exists()


# ---- killed at any moment --------------------------------------------------------------------------------


@pytest.mark.kills
@pytest.mark.parametrize("moment", [0, 1, 2, 3], ids=["before OUT", "after OUT", "before STATE", "after STATE"])
def test_a_killed_run_is_made_good_by_the_next(tmp_path, moment):
    """Wherever it is killed, files are the old or the new, and the same command again writes the same bytes."""
    frame = keyed()
    names = ["today.parquet", "out.csv", "state"]

    def arguments(folder):
        paths = [str(folder / name) for name in names]
        return ["scan", paths[0], *COLUMNS, "--by", "k", "d", "-o", paths[1], "--state", paths[2]]

    contents = []
    for folder in (tmp_path / "killed", tmp_path / "left alone"):
        folder.mkdir()
        write(frame.slice(0, 400), folder / "today.parquet")
        assert main(arguments(folder)) == 0
        before = [(folder / name).read_bytes() for name in names[1:]]
        write(frame.slice(400), folder / "today.parquet")  # tomorrow
        if folder.name == "killed":
            old = before
            run = processes.python("-c", KILLED, str(moment), *arguments(folder))
            assert run.returncode == -signal.SIGKILL
            after = [(folder / name).read_bytes() for name in names[1:]]
        assert main(arguments(folder)) == 0
        contents.append([(folder / name).read_bytes() for name in names[1:]])
        assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    (out, state), (clean_out, _) = (
        contents  # a state holds its input's fingerprint, which differs from folder to folder
    )
    assert out == clean_out
    same = [pq.read_table(folder / "state").to_pylist() for folder in (tmp_path / "killed", tmp_path / "left alone")]
    assert same[0] == same[1]
    for was, now, new in zip(old, after, (out, state), strict=True):
        assert now in (was, new)
    y = by_hand(frame, "kd")[0]
    np.testing.assert_array_equal(read(tmp_path / "killed" / "out.csv")["y"].to_numpy(), y[400:])


def test_killed_while_it_writes(tmp_path):
    frame = pa.concat_tables([table(200_000, keys=["a", "b"])] * 5)
    source, out = write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet"
    command = [sys.executable, "-m", "fastcell", "scan", str(source), *COLUMNS, "--by", "k", "-o", str(out)]
    assert main(command[3:]) == 0
    whole = out.read_bytes()
    out.write_text("old", "utf-8")
    run = subprocess.Popen([*command, "--state", str(tmp_path / "state")], stderr=subprocess.DEVNULL)
    time.sleep(1.2)
    run.kill()
    run.wait()
    assert out.read_bytes() in (b"old", whole)
    assert main([*command[3:], "--state", str(tmp_path / "state")]) == 0
    assert out.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet", "state"]


def test_the_same_input_again_starts_from_the_state_before(tmp_path):
    frame = table()
    first, second = (write(frame.slice(k * 500, 500), tmp_path / f"{k}.csv") for k in (0, 1))
    state = tmp_path / "state"
    assert scan(first, tmp_path / "a.csv", "--state", state) == 0
    assert scan(first, tmp_path / "b.csv", "--state", state) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    for _ in range(3):
        assert scan(second, tmp_path / "c.csv", "--state", state) == 0
        np.testing.assert_array_equal(read(tmp_path / "c.csv")["y"].to_numpy(), expected(frame)[500:])
    os.utime(second, ns=(1, 1))  # written anew, so another input
    assert scan(second, tmp_path / "d.csv", "--state", state) == 0
    total = pa.concat_tables([frame, frame.slice(500)])
    np.testing.assert_array_equal(read(tmp_path / "d.csv")["y"].to_numpy(), expected(total)[1000:])


def test_a_state_of_frames_is_a_state_of_scan(tmp_path):
    frame = table(keys=["a", "b"])
    _, state = fc.frames.toy_scan(frame.slice(0, 300), "v", "c", "e", by="k")
    pq.write_table(state, tmp_path / "state")
    source = write(frame.slice(300), tmp_path / "in.parquet")
    assert scan(source, tmp_path / "out.parquet", "--by", "k", "--state", tmp_path / "state") == 0
    np.testing.assert_array_equal(read(tmp_path / "out.parquet")["y"].to_numpy(), by_hand(frame, "k")[0][300:])


# ---- lstm ------------------------------------------------------------------------------------------------


def torch_weights(torch, path, **options):
    torch.manual_seed(0)
    module = torch.nn.LSTM(6, 5, **options)
    torch.save({f"encoder.{name}": tensor for name, tensor in module.state_dict().items()}, path)
    return fc.LSTM.from_torch(module)


def lstm(weights, x, y, *options):
    return main(["lstm", "--weights", str(weights), str(x), "-o", str(y), *map(str, options)])


@pytest.mark.parametrize("shape", [(50, 3, 6), (50, 6), (0, 3, 6), (50, 0, 6), (0, 6)], ids=str)
@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True, "num_layers": 2}], ids=str)
def test_lstm_in_pieces_is_the_lstm(tmp_path, torch, monkeypatch, shape, options):
    monkeypatch.setattr(_lstm_command, "_BYTES", 2000)
    cell = torch_weights(torch, tmp_path / "w.pt", **options)
    x = np.asfortranarray(steps(*shape).astype(np.float32))
    np.save(tmp_path / "x.npy", x)
    assert lstm(tmp_path / "w.pt", tmp_path / "x.npy", tmp_path / "y.npy", "--prefix", "encoder") == 0
    y, expected_y = np.load(tmp_path / "y.npy"), cell(x)[0]
    assert (y.dtype, y.shape) == (np.float32, expected_y.shape)
    np.testing.assert_array_equal(y, expected_y)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pt", "x.npy", "y.npy"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("rows", [(3,), ()], ids=str)
def test_lstm_goes_on(tmp_path, torch, suffix, rows):
    cell = torch_weights(torch, tmp_path / "w.pth", num_layers=2)
    x, state = steps(90, *rows, 6), tmp_path / f"state{suffix}"
    expected_y, (h, c) = cell(x)
    for k, (first, last) in enumerate([(0, 40), (40, 41), (41, 90)]):
        np.save(tmp_path / f"x{k}.npy", x[first:last])
        for _ in range(2):  # the same input again is no new one
            options = ("--prefix", "encoder", "--state", state)
            assert lstm(tmp_path / "w.pth", tmp_path / f"x{k}.npy", tmp_path / "y.npy", *options) == 0
            np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected_y[first:last])
    if suffix == ".npz":
        saved = np.load(state)
    else:
        from safetensors.numpy import load_file

        saved = load_file(state)
    np.testing.assert_array_equal(saved["h"], h)
    np.testing.assert_array_equal(saved["c"], c)


def test_lstm_from_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(1)
    W, R = (rng.standard_normal((1, 20, n)).astype(np.float32) for n in (6, 5))
    node = onnx.helper.make_node("LSTM", ["X", "W", "R"], ["Y"], hidden_size=5)
    values = [onnx.numpy_helper.from_array(array, name) for array, name in ((W, "W"), (R, "R"))]
    given = onnx.helper.make_tensor_value_info("X", 1, ["T", "B", 6])
    shown = onnx.helper.make_tensor_value_info("Y", 1, ["T", 1, "B", 5])
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "g", [given], [shown], values)), tmp_path / "w.onnx"
    )
    x = steps(20, 2, 6)
    np.save(tmp_path / "x.npy", x)
    assert lstm(tmp_path / "w.onnx", tmp_path / "x.npy", tmp_path / "y.npy") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fc.LSTM.from_onnx(tmp_path / "w.onnx")(x)[0])


@pytest.mark.skipif(not hasattr(fc.LSTM, "load"), reason="LSTM.save and load are not in this version")
def test_lstm_from_safetensors(tmp_path):
    from safetensors.numpy import save_file

    cell, x = fc.LSTM(6, 5, peepholes=True, seed=0), steps(20, 2, 6)
    cell.save(tmp_path / "own.safetensors")
    foreign = fc.LSTM(6, 5, seed=1)
    save_file({f"encoder.{name}": array for name, array in foreign.state_dict().items()}, tmp_path / "w.safetensors")
    np.save(tmp_path / "x.npy", x)
    assert lstm(tmp_path / "own.safetensors", tmp_path / "x.npy", tmp_path / "y.npy") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), cell(x)[0])
    assert lstm(tmp_path / "w.safetensors", tmp_path / "x.npy", tmp_path / "y.npy", "--prefix", "encoder") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), foreign(x)[0])


def test_what_stops_an_lstm(tmp_path, torch, capsys):
    torch_weights(torch, tmp_path / "w.pt")
    torch_weights(torch, tmp_path / "both.pt", bidirectional=True)
    x, y, w = tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / "w.pt"
    np.save(x, steps(20, 2, 6))
    y.write_text("old", "utf-8")

    def error(*arguments):
        assert lstm(*arguments, "--prefix", "encoder") == 1
        assert y.read_text("utf-8") == "old"
        return capsys.readouterr().err

    assert "expected weights as .onnx, .safetensors, .pt, .pth" in error(tmp_path / "both.txt", x, y)
    assert "none.pt: no such file" in error(tmp_path / "none.pt", x, y)
    assert "No such file" in error(w, tmp_path / "none.npy", y)
    np.savez(tmp_path / "many.npz", a=np.ones(3))
    assert "expected one array" in error(w, tmp_path / "many.npz", y)
    (tmp_path / "text.npy").write_text("1, 2, 3", "utf-8")
    assert "not an array file" in error(w, tmp_path / "text.npy", y)
    np.save(tmp_path / "flat.npy", np.ones(6))
    assert "expected (T, B, I) or (T, I) with I = 6, got (6,)" in error(w, tmp_path / "flat.npy", y)
    np.save(tmp_path / "complex.npy", np.ones((3, 6), complex))
    assert "x must hold real numbers, got complex128" in error(w, tmp_path / "complex.npy", y)
    assert "runs backwards" in error(tmp_path / "both.pt", x, y, "--state", tmp_path / "s.npz")
    assert "expected a state as .safetensors or .npz" in error(w, x, y, "--state", tmp_path / "s.pt")
    (tmp_path / "s.npz").write_text("no archive", "utf-8")
    assert "not a state of lstm" in error(w, x, y, "--state", tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", h=np.ones(3))
    assert "expected a state with h and c, got h" in error(w, x, y, "--state", tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", h=np.ones((1, 3, 5)), c=np.ones((1, 3, 5)))
    assert "state's h must have shape (L*D, B, H) = (1, 2, 5), got (1, 3, 5)" in error(
        w, x, y, "--state", tmp_path / "s.npz"
    )
    assert "OUT must be another file than X" in error(w, y, y)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@linux
@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_lstm_takes_no_more_memory_for_more_steps_or_rows(tmp_path, bidirectional):
    weights = tmp_path / "w.safetensors"  # PyTorch, which .pt needs, takes seconds to start
    fc.LSTM(6, 5, bidirectional=bidirectional, seed=0).save(weights)
    given = [tmp_path / f"{count}.npy" for count in (1000, 40_000)]
    for file, count in zip(given, (1000, 40_000), strict=True):
        np.lib.format.open_memmap(file, "w+", np.float32, (100, count, 6) if bidirectional else (count, 100, 6))
    few, many = peaks(*(["lstm", "--weights", weights, file, "-o", tmp_path / "y.npy"] for file in given))
    assert given[1].stat().st_size > 95e6
    assert many < few + 60, "MiB"


@linux
def test_a_scan_takes_no_more_memory_for_more_rows(tmp_path):
    files = [tmp_path / f"{times}.parquet" for times in (20, 90)]  # 1,000,000 and 4,500,000 rows, several batches both
    for file, times in zip(files, (20, 90), strict=True):
        frame = pa.concat_tables([table(50_000, keys=["a", "b"])] * times)
        write(frame, file)
    few, many = peaks(*(["scan", file, *COLUMNS, "--by", "k", "-o", tmp_path / "out.parquet"] for file in files))
    assert frame.nbytes > 135e6
    assert many < few + 60, "MiB"


def test_simulate_prints_its_rate(capsys):
    assert main(["simulate", "--agents", "5", "--steps", "20", "--hidden", "6"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"fastcell, one @njit loop +[\d,]+ steps/s", printed)
    assert "the agents end at the same places" in printed or "PyTorch is not installed" in printed
    with pytest.raises(SystemExit):
        main(["simulate", "--agents", "0"])


def test_warmup_runs_every_job_and_says_how_long(capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(_warmup, "_scans", lambda: iter([("a scan", lambda: ran.append("scan"))]))
    monkeypatch.setattr(_warmup, "_lstms", lambda: iter([("an LSTM", lambda: ran.append("lstm"))]))
    assert main(["warmup"]) == 0
    assert ran == ["scan", "lstm"]
    printed = capsys.readouterr().out
    assert re.search(r"a scan +[\d.]+ s\nan LSTM +[\d.]+ s\n[\d.]+ s in all", printed)
