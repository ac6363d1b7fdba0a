"""`--order-by`: rows that are in order pass, the first that is not is named, and then nothing is written."""

import numpy as np
import pyarrow as pa
import pytest

import fastcell as fc
from fastcell.__main__ import main
from fastcell._cli import tables
from tests.helpers.commands import read, scan, table, write

T = 600
MOMENTS = np.arange(T) // 7  # with ties
ORDERS = {
    "numbers": (pa.array(MOMENTS), "57", "5"),
    "floats": (pa.array(MOMENTS / 2), "28.5", "2.5"),
    "times": (
        pa.array(MOMENTS, pa.timestamp("s")),
        "1970-01-01 00:00:57",
        "1970-01-01 00:00:05",
    ),
    "zones": (pa.array(MOMENTS, pa.timestamp("s", "UTC")), "1970-01-01 00:00:57", "1970-01-01 00:00:05"),
    "days": (pa.array(MOMENTS, pa.int32()).cast(pa.date32()), "1970-02-27", "1970-01-06"),
    "text": (pa.array([f"n{moment:03}" for moment in MOMENTS]), "'n057'", "'n005'"),
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(tables, "_ROWS", 70)
    monkeypatch.setattr(tables, "_CSV_BYTES", 3000)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", ORDERS)
def test_rows_in_order_pass_and_the_first_that_is_not_is_named(tmp_path, capsys, suffix, name):
    column, earlier, later = ORDERS[name]
    frame = table(T, keys=["a", "b"]).append_column("at", column)
    expected = fc.frames.toy_scan(frame, "v", "c", "e", by="k").frame["y"].to_numpy()
    out = tmp_path / f"out{suffix}"
    assert scan(write(frame, tmp_path / f"in{suffix}"), out, "--by", "k", "--order-by", "at") == 0
    found = read(out)
    assert found.column_names == [*frame.column_names, "y"]
    np.testing.assert_array_equal(found["y"].to_numpy(), expected)
    out.unlink()
    capsys.readouterr()
    wrong = pa.concat_tables([frame.slice(0, 400), frame.slice(35)])  # row 401 is behind 400
    state = tmp_path / "state"
    source = write(wrong, tmp_path / f"wrong{suffix}")
    assert scan(source, out, "--by", "k", "--order-by", "at", "--state", state) == 1
    told = capsys.readouterr().err
    assert "row 401, column at: expected no less than " + earlier in told
    assert "as the row before has it, got " + later in told
    assert not out.exists()
    assert not state.exists()
    assert scan(source, out, "--by", "k") == 0  # rows as they stand


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_several_columns(tmp_path, capsys, suffix):
    frame = table(T).append_column("day", pa.array(MOMENTS)).append_column("n", pa.array(np.arange(T) % 7))
    assert scan(write(frame, tmp_path / f"in{suffix}"), tmp_path / "out.csv", "--order-by", "day", "n") == 0
    numbers = frame["n"].to_pylist()
    numbers[500] = 0
    wrong = frame.set_column(frame.column_names.index("n"), "n", pa.array(numbers))
    out = tmp_path / "none.csv"
    assert scan(write(wrong, tmp_path / f"wrong{suffix}"), out, "--order-by", "day", "n") == 1
    assert "row 501, column n: expected no less than 2, as the row before has it, got 0" in capsys.readouterr().err
    assert not out.exists()


def test_over_a_folder(tmp_path, capsys):
    folder, frame = tmp_path / "days", table(T).append_column("at", pa.array(MOMENTS))
    folder.mkdir()
    write(frame.slice(0, 300), folder / "1.parquet")
    write(frame.slice(300), folder / "2.parquet")
    assert scan(folder, tmp_path / "out.parquet", "--order-by", "at") == 0
    (folder / "1.parquet").rename(folder / "3.parquet")
    assert scan(folder, tmp_path / "no.parquet", "--order-by", "at") == 1
    assert "3.parquet, row 1, column at: expected no less than 85, as the row before has it, got 0" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "no.parquet").exists()


def test_what_is_no_order(tmp_path, capsys):
    moments = [*range(T)]
    moments[100] = None
    frame = table(T).append_column("at", pa.array(moments)).append_column("many", pa.array([[1]] * T))
    source, out = write(frame.drop_columns("many"), tmp_path / "in.csv"), tmp_path / "out.csv"
    assert scan(source, out, "--order-by", "at", "--nulls", "keep") == 1
    assert "row 101, column at: expected something to order by, got nothing" in capsys.readouterr().err
    assert scan(source, out, "--order-by", "when") == 1
    assert "expected one column 'when', got the columns" in capsys.readouterr().err
    assert scan(write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet", "--order-by", "many") == 1
    assert "column 'many' must hold numbers, times or text, to be ordered by" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "in.parquet"]


def test_large_integers(tmp_path, capsys):
    frame = table(3).append_column("at", pa.array([2**60, 2**60 + 2, 2**60 + 1]))
    frame = frame.set_column(0, "v", pa.array([1, 2, 3]))
    source = write(frame, tmp_path / "in.csv")
    assert scan(source, tmp_path / "out.csv", "--order-by", "at", "--integer") == 1
    assert f"row 3, column at: expected no less than {2**60 + 2}," in capsys.readouterr().err


def test_the_other_commands(tmp_path, capsys):
    frame = table(T).append_column("at", pa.array([*MOMENTS[:-1], 3]))
    source, out = write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet"
    fc.LSTM(2, 3, seed=0).save(tmp_path / "w.safetensors")
    told = f"row {T}, column at: expected no less than {MOMENTS[-2]}, as the row before has it, got 3"
    for command in (
        ["gated", "--value", "v", "-f", "0.5"],
        ["lstm", "--inputs", "v,e", "--weights", str(tmp_path / "w.safetensors")],
    ):
        given = [command[0], str(source), *command[1:], "-o", str(out)]
        assert main([*given, "--order-by", "at"]) == 1
        assert told in capsys.readouterr().err
        assert main(given) == 0
        out.unlink()
    np.save(tmp_path / "x.npy", np.zeros((4, 2), np.float32))
    given = [
        "lstm",
        str(tmp_path / "x.npy"),
        "--weights",
        str(tmp_path / "w.safetensors"),
        "-o",
        str(tmp_path / "y.npy"),
    ]
    assert main([*given, "--order-by", "at"]) == 1
    assert "--order-by: only with --inputs, over tables" in capsys.readouterr().err
