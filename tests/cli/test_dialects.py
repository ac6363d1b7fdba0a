"""CSV files as people have them: signs, words for nothing, encodings, compression, pipes; what a wrong guess says."""

import bz2
import gzip
import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import fastcell as fc
from fastcell.__main__ import main
from fastcell._cli import tables as _tables
from tests.helpers.commands import by_hand, scan, table, write

GERMAN = (
    'schlüssel;wert;regel;zeigen;notiz\nMünchen;1,5;1;1;a,b\nKöln;2,25;1;1;"x;y"\nMünchen;-0,25;1;1;3.5\nKöln;;0;1;\n'
)
COLUMNS = ["--value", "wert", "--control", "regel", "--emit", "zeigen", "--by", "schlüssel"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "cp1252"])
@pytest.mark.parametrize("size", [64, 1 << 24])
def test_semicolons_and_decimal_commas_in_any_encoding(tmp_path, monkeypatch, encoding, size):
    monkeypatch.setattr(_tables, "_CSV_BYTES", size)
    (tmp_path / "in.csv").write_bytes(GERMAN.encode(encoding))
    given = ["scan", str(tmp_path / "in.csv"), *COLUMNS, "--delimiter", ";", "--decimal", ",", "--encoding", encoding]
    assert main([*given, "-o", str(tmp_path / "out.csv")]) == 0
    text = (tmp_path / "out.csv").read_bytes().decode(encoding)
    y = ["y", "1,5", "2,25", "1,25", "2,25"]
    assert [line.replace('"', "") for line in text.splitlines()] == [
        f"{line};{cell}".replace('"', "") for line, cell in zip(GERMAN.splitlines(), y, strict=True)
    ]
    assert '"x;y"' in text
    assert main([*given, "-o", str(tmp_path / "out.parquet")]) == 0
    result = pq.read_table(tmp_path / "out.parquet")
    assert result["y"].to_pylist() == [1.5, 2.25, 1.25, 2.25]
    assert result["schlüssel"].to_pylist() == ["München", "Köln"] * 2


@pytest.mark.parametrize("delimiter", ["\t", r"\t", "tab", "|"])
def test_tabs_and_bars(tmp_path, delimiter):
    frame = table(300, keys=["a", "b"])
    options = pyarrow.csv.WriteOptions(delimiter="\t" if delimiter != "|" else "|")
    pyarrow.csv.write_csv(frame, tmp_path / "in.csv", options)
    assert scan(tmp_path / "in.csv", tmp_path / "out.csv", "--by", "k", "--delimiter", delimiter) == 0
    parse = pyarrow.csv.ParseOptions(delimiter=options.delimiter)
    result = pyarrow.csv.read_csv(tmp_path / "out.csv", parse_options=parse)
    np.testing.assert_array_equal(result["y"].to_numpy(), by_hand(frame, "k")[0])
    assert result["note"].to_pylist() == frame["note"].to_pylist()


def test_words_for_nothing_in_columns_of_numbers_alone(tmp_path, capsys):
    (tmp_path / "in.csv").write_text("k,v,c,e\nNA,1,1,1\n,2,1,1\nNA, NA ,0,1\nn/a,n/a,1,1\n", "utf-8")
    out = tmp_path / "out.csv"
    assert scan(tmp_path / "in.csv", out, "--by", "k", "--na", "NA") == 1
    assert "row 4, column v: expected a number, got 'n/a'" in capsys.readouterr().err
    assert scan(tmp_path / "in.csv", out, "--by", "k", "--na", "NA", "n/a") == 1
    assert "row 4, column v: expected a number, got nothing" in capsys.readouterr().err
    assert scan(tmp_path / "in.csv", out, "--by", "k", "--na", "NA", "--na", "n/a", "--nulls", "keep") == 0
    assert out.read_text("utf-8").replace('"', "").splitlines() == [
        "k,v,c,e,y", "NA,1,1,1,1", ",2,1,1,2", "NA, NA ,0,1,1", "n/a,n/a,1,1,0"
    ]  # fmt: skip


PACKED = {".gz": gzip, ".bz2": bz2, ".zst": None}


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_by_name(tmp_path, capsys, suffix):
    frame = table(2000, keys=["a", "b"])
    source, out = tmp_path / f"in.csv{suffix}", tmp_path / f"out.CSV{suffix}"
    with pa.output_stream(str(source), compression={".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}[suffix]) as stream:
        pyarrow.csv.write_csv(frame, stream)
    assert scan(source, out, "--by", "k") == 0
    packed = out.read_bytes()
    text = pa.input_stream(
        io.BytesIO(packed), compression={".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}[suffix]
    ).read()
    if PACKED[suffix]:
        assert PACKED[suffix].decompress(packed) == text
    result = pyarrow.csv.read_csv(io.BytesIO(text))
    np.testing.assert_array_equal(result["y"].to_numpy(), by_hand(frame, "k")[0])
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    assert scan(source, out, "--by", "k") == 1
    assert f"scan: {source}" in capsys.readouterr().err
    source.write_text("v,c,e\n1,1,1\n", "utf-8")
    assert scan(source, out) == 1
    assert f"scan: {source}" in capsys.readouterr().err
    assert out.read_bytes() == packed
    assert scan(write(frame, tmp_path / "in.parquet"), tmp_path / f"out.parquet{suffix}") == 1
    assert "expected a .csv or .parquet file, or .csv with .gz, .bz2, .zst" in capsys.readouterr().err


def piped(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_pipes(tmp_path, monkeypatch, capsysbinary, suffix):
    """Bytes of the same content are the same input; OUT goes out when all of it is right, and before the state."""
    frame = table(1000, keys=["a", "b"])
    y, state = by_hand(frame, "k")[0], tmp_path / "state"
    days = [write(frame.slice(500 * k, 500), tmp_path / f"{k}{suffix}").read_bytes() for k in (0, 1)]
    for k, day in enumerate(days):
        for _ in range(2):
            piped(monkeypatch, day)
            assert scan("-", "-", "--by", "k", "--state", state) == 0
            shown = pyarrow.csv.read_csv(io.BytesIO(capsysbinary.readouterr().out))
            np.testing.assert_array_equal(shown["y"].to_numpy(), y[500 * k :][:500])
    saved = state.read_bytes()
    piped(monkeypatch, b"v,c,e,k\n1,1,1,a\n1,7,1,a\n")
    assert scan("-", "-", "--by", "k", "--state", state) == 1
    told = capsysbinary.readouterr()
    assert (told.out, b"row 2, column c: expected -1, 0, 1 or 2, got 7" in told.err) == (b"", True)
    piped(monkeypatch, days[1])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Broken())))
    assert scan("-", "-", "--by", "k", "--state", tmp_path / "new") == 1
    monkeypatch.undo()
    assert not (tmp_path / "new").exists()
    assert state.read_bytes() == saved


class Broken(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        raise BrokenPipeError("no one reads")

    def close(self):
        pass


@pytest.mark.parametrize(
    ("sign", "decimal", "first"), [(",", ".", "1,234,567.5"), (".", ",", "-1.234.567,5"), ("\xa0", ".", "1\xa0234")]
)
def test_signs_between_thousands(tmp_path, sign, decimal, first):
    cells = [first, f"12{sign}345", "1234", "", f" 7{decimal}25 ", "-"]
    lines = [f'"{cell}";1;1;x{sign}123' for cell in cells]
    (tmp_path / "in.csv").write_text("\n".join(["wert;regel;zeigen;schlüssel", *lines, ""]), encoding="utf-8")
    options = ["--delimiter", ";", "--decimal", decimal, "--thousands", sign, "--na", "-", "--nulls", "keep"]
    out = tmp_path / "out.parquet"
    assert main(["scan", str(tmp_path / "in.csv"), *COLUMNS, *options, "-o", str(out)]) == 0
    number = float(first.replace(sign, "").replace(decimal, "."))
    np.testing.assert_array_equal(pq.read_table(out)["y"], np.cumsum([number, 12345, 1234, 0, 7.25, 0]))
    assert pq.read_table(out)["schlüssel"].to_pylist() == [f"x{sign}123"] * 6


@pytest.mark.parametrize("command", ["lstm", "gated"])
def test_other_commands_read_the_same_files(tmp_path, command):
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(GERMAN.replace("Köln;;", "Köln;-;").encode("latin-1")))
    net = fc.LSTM(1, 2, seed=0)
    net.save(tmp_path / "w.safetensors")
    given = ["--inputs", "wert", "--weights", str(tmp_path / "w.safetensors")]
    given = given if command == "lstm" else ["--value", "wert", "-f", "0.5"]
    dialect = ["--delimiter", ";", "--decimal", ",", "--encoding", "latin-1", "--na", "-", "--nulls", "keep"]
    out = str(tmp_path / "out.parquet")
    assert main([command, str(tmp_path / "in.csv.gz"), *given, *dialect, "--by", "schlüssel", "-o", out]) == 0
    result = pq.read_table(out)
    x, keys = np.array([[1.5], [2.25], [-0.25], [0.0]], np.float32), [0, 1, 0, 1]
    if command == "lstm":
        np.testing.assert_array_equal(result["h_1"].to_numpy(), net(x, keys=keys)[0][:, 1])
    else:
        assert result["y"].to_pylist() == [1.5, 2.25, 0.5, 1.125]


WRONG = {
    "decimal commas and semicolons": (
        GERMAN, [], "; it seems to have decimal commas: --delimiter ';' --decimal , reads it",
    ),
    "one column of decimal commas": (
        "wert\n1,5\n2,5\n", [], "; where it has decimal commas, other signs must part its columns, or",
    ),
    "semicolons": (
        "schlüssel;wert;regel;zeigen\na;1;1;1\n", [], "['schlüssel;wert;regel;zeigen']; --delimiter ';' parts",
    ),
    "tabs": ("schlüssel\twert\tregel\tzeigen\na\t1\t1\t1\n", [], r"; --delimiter '\t' parts them"),
    "a comma in a row": ("schlüssel;wert\na;1\na,b;1\n", [], "; --delimiter ';' reads columns that it parts"),
    "a cell": (
        'schlüssel,wert,regel,zeigen\na,"1,5",1,1\n', [],
        "row 1, column wert: expected a number, got '1,5'; --decimal , reads decimal commas",
    ),
    "a point where decimals are commas": (
        "schlüssel;wert;regel;zeigen\na;1,5;1;1\na;1.500;1;1\n", ["--delimiter", ";", "--decimal", ","],
        "row 2, column wert: expected a number, got '1.500'",
    ),
    "commas between thousands": (
        'schlüssel,wert,regel,zeigen\na,"1,500",1,1\n', [],
        "got '1,500'; --decimal , reads decimal commas; --thousands , reads such numbers of thousands",
    ),
    "other groups than of three": (
        'schlüssel,wert,regel,zeigen\na,"1,500",1,1\na,"1,50",1,1\n', ["--thousands", ","],
        "row 2, column wert: expected a number, got '1,50'",
    ),
    "four digits before thousands": (
        'schlüssel,wert,regel,zeigen\na,"1234,567",1,1\n', ["--thousands", ","], "got '1234,567'",
    ),
    "spaces between thousands": (
        "schlüssel,wert,regel,zeigen\na,1 500,1,1\n", [],
        "got '1 500'; --thousands ' ' reads such numbers of thousands\n",
    ),
    "another sign between thousands than was said": (
        'schlüssel,wert,regel,zeigen\na,"1,500",1,1\n', ["--thousands", " "],
        "got '1,500'; --decimal , reads decimal commas\n",
    ),
    "thousands after the decimals' sign": (
        'schlüssel,wert,regel,zeigen\na,"1.500,5",1,1\n', ["--thousands", ","], "got '1.500,5'",
    ),
    "one sign for decimals and thousands": (
        GERMAN, ["--thousands", "."], "--thousands: expected one sign, no digit and not --decimal's, got '.'",
    ),
    "a digit between thousands": (GERMAN, ["--thousands", "0"], "--thousands: expected one sign, no digit"),
    "another encoding": (GERMAN.encode("latin-1"), ["--delimiter", ";"], "in.csv"),
    "no such bytes": (GERMAN.encode("latin-1"), ["--delimiter", ";", "--encoding", "ascii"], "'ascii' codec can't"),
    "no encoding": (GERMAN, ["--encoding", "utf-99"], "expected one that Python knows, got 'utf-99'"),
    "no text": (GERMAN, ["--encoding", "base64"], "--encoding: expected one that Python knows, got 'base64'"),
    "a long delimiter": (GERMAN, ["--delimiter", ";;"], "--delimiter: expected one ASCII sign, no quote"),
    "a quote": (GERMAN, ["--delimiter", '"'], "--delimiter: expected one ASCII sign"),
    "one sign for both": (GERMAN, ["--decimal", ","], "--decimal: expected another sign than --delimiter, got ','"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_a_wrong_guess_says(tmp_path, capsys, name):
    text, options, told = WRONG[name]
    (tmp_path / "in.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "out.csv").write_text("old", "utf-8")
    assert main(["scan", str(tmp_path / "in.csv"), *COLUMNS, *options, "-o", str(tmp_path / "out.csv")]) == 1
    assert told in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_text("utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_a_sign_that_the_encoding_lacks(tmp_path, capsys):
    frame = table(10).append_column("name", pa.array(["Łódź"] * 10))
    source, out = write(frame, tmp_path / "in.parquet"), tmp_path / "out.csv"
    assert scan(source, out, "--encoding", "latin-1") == 1
    assert "out.csv: 'latin-1' codec can't encode character" in capsys.readouterr().err.replace("charmap", "latin-1")
    assert not out.exists()
