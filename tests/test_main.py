"""The command line, as one types it."""

import csv
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import fastcell as fc
from fastcell import _scan
from fastcell.__main__ import main
from fastcell._demo import rain, wettest_spells

COLUMNS = ["--value", "v", "--control", "c", "--emit", "e"]


def table(rows=1000, keys=None, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "v": rng.integers(-40, 40, rows) / 4,
        "c": rng.choice([-1, 0, 1], rows),
        "e": rng.integers(0, 2, rows),
        "note": [f'text, "{k}"' for k in range(rows)],
    }
    if keys:
        columns["k"] = rng.choice(keys, rows)
    return pa.table(columns)


def write(frame, path):
    (pyarrow.csv.write_csv if path.suffix == ".csv" else pq.write_table)(frame, path)
    return path


def read(path):
    return pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)


def scan(source, out, *options):
    return main(["scan", str(source), *COLUMNS, "-o", str(out), *map(str, options)])


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


def test_verify(capsys, monkeypatch):
    assert main(["verify"]) == 0
    assert "all kernels agree" in capsys.readouterr().out
    monkeypatch.setattr("fastcell.oracle._int64", lambda number: number + 1)
    assert main(["verify"]) == 1
    assert "MISMATCH" in capsys.readouterr().out


def test_python_m_fastcell():
    run = subprocess.run([sys.executable, "-m", "fastcell", "scan"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "usage: python -m fastcell scan" in run.stderr


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("out_suffix", [".csv", ".parquet"])
def test_scan(tmp_path, suffix, out_suffix, monkeypatch):
    monkeypatch.setattr(_scan, "_ROWS", 300)
    monkeypatch.setattr(_scan, "_CSV_BYTES", 2000)
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
    "rule": ({"c": 3}, "row 700, column c: expected -1, 0 or 1, got 3"),
    "nan": ({"c": "nan"}, "row 700, column c: expected -1, 0 or 1, got nan"),
    "emit": ({"e": -1}, "row 700, column e: expected 0 or 1, got -1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_and_nothing_written(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(_scan, "_CSV_BYTES", 2000)
    cells, message = BAD[name]
    rows = table(keys=["a", "b"]).to_pylist()
    rows[699].update(cells)
    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "out.csv").write_text("old")
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv", "--by", "k", "--state", tmp_path / "state") == 1
    assert capsys.readouterr().err.strip() == f"scan: {message}"
    assert (tmp_path / "out.csv").read_text() == "old"
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
    (tmp_path / "state").write_text("x")
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
    out.write_text("old")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_scan, "toy_scan", interrupt)
    assert scan(source, out) == 130
    assert "interrupted, nothing written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    assert out.read_text() == "old"
