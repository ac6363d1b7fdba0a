"""Decimals as values of the toy cell: the integers' answers, of the same type and scale; and pandas' columns that stay
nullable or Arrow's."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import fastcell as fc
from fastcell.frames import amounts
from tests.helpers.commands import read, scan, write
from tests.helpers.frames import KINDS, ROLES, collected, rows

T = 300
HAVING = {name: make for name, make in KINDS.items() if name != "pandas"}  # whose decimals are objects


@pytest.fixture(params=HAVING)
def kind(request):
    return HAVING[request.param]


def events(precision, scale, seed=0):
    rng = np.random.default_rng(seed)
    control = rng.choice(np.array([-1, 0, 1, 1, 2], np.int8), T)
    units = [Decimal(int(unit)).scaleb(-scale) for unit in rng.integers(-40, 40, T)]
    values = [None if rule == 0 else value for rule, value in zip(control, units, strict=True)]
    columns = {"k": rng.choice(["a", "b"], T), "v": pa.array(values, pa.decimal128(precision, scale)), "c": control}
    return pa.table({**columns, "e": rng.integers(0, 2, T, dtype=np.int8)})


def integers(table, scale):
    units = [None if value is None else int(value.scaleb(scale)) for value in table["v"].to_pylist()]
    return table.set_column(table.column_names.index("v"), "v", pa.array(units, pa.int64()))


@pytest.mark.parametrize(("precision", "scale"), [(9, 2), (6, 0), (18, 18), (38, 10)])
@pytest.mark.parametrize("by", [None, "k"])
def test_the_integers_answers_of_the_same_type(kind, precision, scale, by):
    table, later = events(precision, scale), events(precision, scale, seed=1)
    bounds = {"low": -100, "high": 100, "fill": 7}
    amounts = {name: Decimal(amount).scaleb(-scale) for name, amount in bounds.items()}
    for given, more in (({}, {}), (bounds, amounts)):
        expected = fc.frames.toy_scan(integers(table, scale), **ROLES, by=by, **given)
        whole = fc.frames.toy_scan(integers(later, scale), **ROLES, by=by, state=expected.state, **given)
        result = fc.frames.toy_scan(kind(table), **ROLES, by=by, **more)
        frame, state = collected(result.frame), collected(result.state)
        assert frame["v"].dtype == frame["y"].dtype if not isinstance(frame, pa.Table) else (
            frame.schema.field("y").type == frame.schema.field("v").type
        )  # fmt: skip
        again = fc.frames.toy_scan(kind(later), **ROLES, by=by, state=state, **more)
        for found, name, wanted in (
            (frame, "y", expected.frame), (again.frame, "y", whole.frame), (again.state, "memory", whole.state)
        ):  # fmt: skip
            cells = [row[name] for row in rows(found)]
            assert {-cell.as_tuple().exponent for cell in cells} <= {scale}
            assert [int(cell.scaleb(scale)) for cell in cells] == wanted[name].to_pylist()


@pytest.mark.parametrize(
    "decimal", [pa.decimal32(5, 1), pa.decimal64(5, 1), pa.decimal128(5, 1), pa.decimal128(38, 1), pa.decimal256(5, 1)]
)
def test_arrows_decimals_of_any_width(decimal):
    """A part of a column, too."""
    table = pa.table({"v": pa.array([Decimal("1.5"), Decimal("2.5")], decimal), "c": [1, 1], "e": [1, 1]})
    frame, state = fc.frames.toy_scan(table.slice(1), **ROLES)
    assert frame["y"].to_pylist() == [Decimal("2.5")]
    assert amounts.numbers(table["v"].chunk(0).slice(1)).tolist() == [25]
    assert frame["y"].type == state["memory"].type == decimal
    assert fc.frames.toy_scan(table, **ROLES, state=state).frame["y"].to_pylist() == [Decimal("4.0"), Decimal("6.5")]


@pytest.mark.parametrize(
    ("precision", "cells"),
    [(3, ["99.9", "0.1"]), (3, ["-99.9", "-0.1"]), (18, [f"{10**17 - 1}.9", "0.1"]), (38, [f"{2**63 - 1}e-1", "0.1"])],
)
def test_overflow_raises(kind, precision, cells):
    kept = pa.array([Decimal(cell) for cell in cells], pa.decimal128(precision, 1))
    table = pa.table({"v": kept, "c": [1, 1], "e": [1, 1]})
    with pytest.raises(Exception, match=rf"column 'v': a memory leaves decimal128\({precision}, 1\)"):
        collected(fc.frames.toy_scan(kind(table), **ROLES).frame)
    assert [row["y"] for row in rows(fc.frames.toy_scan(kind(table.slice(0, 1)), **ROLES).frame)] == kept[
        :1
    ].to_pylist()


def test_what_is_no_decimal_of_the_column():
    table = pa.table({"v": pa.array([Decimal("1.5"), None], pa.decimal128(20, 1)), "c": [1, 1], "e": [1, 1]})
    with pytest.raises(ValueError, match="column 'v' must be a number, got a null in row 1; nulls='keep'"):
        fc.frames.toy_scan(table, **ROLES)
    assert fc.frames.toy_scan(table, **ROLES, nulls="keep", fill=0.5).frame["y"].to_pylist() == [Decimal("1.5")] * 2
    assert fc.frames.toy_scan(table, **ROLES, nulls="keep", low=1.6).frame["y"].to_pylist() == [Decimal("1.6")] * 2
    for given, error, text in (
        (Decimal("0.25"), ValueError, r"^low must be decimal128\(20, 1\), as the values are, got Decimal"),
        (float("inf"), ValueError, r"^low must be decimal128\(20, 1\), as the values are, got inf"),
        ("1", TypeError, "^low must be a number where values are decimals, got '1'"),
    ):
        with pytest.raises(error, match=text):
            fc.frames.toy_scan(table, **ROLES, nulls="keep", low=given)
    wide = table.set_column(0, "v", pa.array([Decimal(2**63), None], pa.decimal128(38, 0)))
    with pytest.raises(
        OverflowError, match="column 'v': 9223372036854775808 is 9223372036854775808 units, beyond int64"
    ):
        fc.frames.toy_scan(wide, **ROLES, nulls="keep")
    for state, error, text in (
        (pa.array([1.0]), TypeError, r"^state's column 'memory' must hold decimal128\(20, 1\).*, got Float64"),
        (pa.array([5], pa.duration("s")), TypeError, r"must hold decimal128\(20, 1\).*, got Duration"),
        (pa.array([Decimal("0.25")]), ValueError, r"^state's column 'memory' must hold decimal128\(20, 1\)"),
        (pa.array([None], pa.decimal128(20, 1)), ValueError, "must hold no nulls, got 1"),
    ):
        with pytest.raises(error, match=text):
            fc.frames.toy_scan(table, **ROLES, nulls="keep", state=pa.table({"memory": state}))
    for job in (lambda: fc.frames.gated_scan(table, "v", 0.5), lambda: fc.frames.lstm(table, fc.LSTM(1, 1), "v")):
        with pytest.raises(
            TypeError, match=r"^column 'v' must hold .*, got Decimal.*; cast decimals to float64, or let"
        ):
            job()
    with pytest.raises(TypeError, match=r"^column 'v' must hold .*, got Object; .*decimals as pd.ArrowDtype"):
        fc.frames.toy_scan(table.to_pandas(), **ROLES)


def test_empty_frames(kind):
    result = fc.frames.toy_scan(kind(events(9, 2).slice(0, 0)), **ROLES, by="k")
    assert rows(result.frame) == rows(result.state) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_and_streams(tmp_path, suffix):
    table = events(9, 2)
    expected, last = fc.frames.toy_scan(table, **ROLES, by="k")
    assert fc.frames.toy_scan(table.to_reader(7), **ROLES, by="k").frame.read_all()["y"].combine_chunks().equals(
        expected["y"].combine_chunks()
    )  # fmt: skip
    out, state = tmp_path / f"out{suffix}", tmp_path / "state"
    for first, count in ((0, 100), (100, 200)):
        source = write(table.slice(first, count), tmp_path / "in.parquet")
        assert scan(source, out, "--by", "k", "--state", state, "--high", "99999.5") == 0
    cells = read(out)["y"].to_pylist()
    assert [Decimal(str(cell)) for cell in cells] == expected["y"].to_pylist()[100:]
    kept = read(state.rename(tmp_path / "state.parquet"))
    assert dict(zip(kept["k"].to_pylist(), kept["memory"].to_pylist(), strict=True)) == dict(
        zip(last["k"].to_pylist(), last["memory"].to_pylist(), strict=True)
    )


# ---- pandas' own kinds of columns ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("Int64", "Int64"), ("Int8", "Int64"), ("boolean", "Int64"), ("Float64", "Float64"), ("Float32", "Float32"),
        ("int64[pyarrow]", "int64[pyarrow]"), ("float[pyarrow]", "float[pyarrow]"), ("bool[pyarrow]", "int64[pyarrow]"),
        ("double[pyarrow]", "double[pyarrow]"), ("duration[ms][pyarrow]", "duration[ms][pyarrow]"),
        ("int16", "int64"), ("float32", "float32"), ("m8[s]", "m8[s]"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", [None, "k"])
def test_nullable_columns_stay_nullable(given, found, by):
    """The outputs are of the library that the values are of, memories too, and the next chunk goes on from those."""
    values = np.array([1, 0, 1]).astype("m8[ms]") if "duration" in given else np.array([1, 0, 1])
    frame = pd.DataFrame({"v": pd.Series(values).astype(given), "c": 1, "e": 1, "k": ["a", "b", "a"]})
    frame.index = [3, 1, 2]
    result = fc.frames.toy_scan(frame, **ROLES, by=by)
    assert (result.frame["y"].dtype, result.frame.index.tolist()) == (found, [3, 1, 2])
    memory = {"Float32": "Float64", "float32": "float64", "float[pyarrow]": "double[pyarrow]"}.get(found, found)
    assert result.state["memory"].dtype == memory
    again = fc.frames.toy_scan(frame, **ROLES, by=by, state=result.state)
    assert again.frame["y"].dtype == found
    units = pd.Series(again.frame["y"]).to_numpy().astype("m8[ms]" if "duration" in given else float).astype(int)
    if given != "m8[s]":
        assert units.tolist() == ([3, 0, 4] if by else [3, 3, 4])


@pytest.mark.parametrize("dtype", ["Float64", "double[pyarrow]"])
def test_nan_is_no_null_in_them(dtype):
    frame = pd.DataFrame({"v": pd.Series([1.0, np.inf, -np.inf]).astype(dtype), "c": 1, "e": 1})
    result = fc.frames.toy_scan(frame, **ROLES)
    y = result.frame["y"].to_numpy(float)
    assert result.frame["y"].array[2] is not pd.NA
    assert np.isnan(y[2])
    again = fc.frames.gated_scan(frame, "v", 1, state=result.state).frame["y"]
    assert np.isnan(again.to_numpy(float)).all()
    assert again.dtype == dtype
