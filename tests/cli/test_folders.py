"""Folders in folders, and columns that their names say."""

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.helpers.commands import by_hand, read, scan, table, write


def test_partitioned_by_months_and_towns(tmp_path, capsys):
    """As pyarrow writes it: months go as numbers do, and the columns that the folders say are keys like others."""
    frame = table(600, keys=["a", "b"])
    months, towns = np.repeat([2, 10, 11], 200), np.tile(np.repeat(["a=b c/d", None], 100), 3)
    frame = frame.append_column("month", pa.array(months)).append_column("town", pa.array(towns, pa.string()))
    folder, out, state = tmp_path / "year=2000", tmp_path / "out.parquet", tmp_path / "state"
    ds.write_dataset(frame, folder, format="parquet", partitioning=["month", "town"], partitioning_flavor="hive")
    assert len(list(folder.rglob("*.parquet"))) == 6
    for left_out in ("_temporary/month=1/x.parquet", ".x.parquet"):
        (folder / left_out).parent.mkdir(parents=True, exist_ok=True)
        (folder / left_out).write_text("no table", "utf-8")
    assert scan(folder, out, "--by", "k", "town", "--order-by", "month", "--state", state) == 0
    result = read(out)
    assert result.column_names == [*frame.column_names, "y"]
    assert result.schema.field("month").type == pa.int64()
    assert result["month"].to_pylist() == months.tolist()
    assert sorted(map(str, result["town"].to_pylist())) == sorted(map(str, towns))
    np.testing.assert_array_equal(result["y"], by_hand(result, ["k", "town"])[0])
    assert scan(folder, folder / "month=2" / "out.parquet") == 1
    assert "OUT must not be in the folder that is read" in capsys.readouterr().err
    assert scan(folder, out, "--state", folder / "state.parquet") == 1
    assert "STATE must not be in the folder that is read" in capsys.readouterr().err


def test_a_files_own_column_stands(tmp_path):
    frame = table(100).append_column("day", pa.array([7.5] * 100))
    for part in (1, 2):
        (tmp_path / "in" / f"day={part}").mkdir(parents=True)
        write(frame, tmp_path / "in" / f"day={part}" / "x.parquet")
    assert scan(tmp_path / "in", tmp_path / "out.parquet") == 0
    assert read(tmp_path / "out.parquet")["day"].to_pylist() == [7.5] * 200


@pytest.mark.parametrize(("names", "said"), [(["b", "a"], None), (["day=x", "day=10", "day=9"], ["10", "9", "x"])])
def test_other_names_go_as_text(tmp_path, names, said):
    for k, name in enumerate(names):
        (tmp_path / "in.parquet" / name / "deeper.parquet").mkdir(parents=True)  # folders that are called like files
        pq.write_table(
            table(1).append_column("k", pa.array([k])), tmp_path / "in.parquet" / name / "deeper.parquet" / "1.parquet"
        )
    assert scan(tmp_path / "in.parquet", tmp_path / "out.parquet") == 0
    result = read(tmp_path / "out.parquet")
    assert result["k"].to_pylist() == [names.index(name) for name in sorted(names)]
    assert ("day" in result.column_names) == (said is not None)
    if said:
        assert result["day"].to_pylist() == said


def test_a_column_that_only_some_folders_say(tmp_path, capsys):
    for name in ("day=1", "plain"):
        (tmp_path / "in" / name).mkdir(parents=True)
        write(table(2), tmp_path / "in" / name / "x.parquet")
    assert scan(tmp_path / "in", tmp_path / "out.parquet") == 0
    assert read(tmp_path / "out.parquet")["day"].to_pylist() == [1, 1, None, None]
    assert scan(tmp_path / "in", tmp_path / "out.parquet", "--by", "day") == 1
    assert "no 'day', where they have int64" in capsys.readouterr().err
