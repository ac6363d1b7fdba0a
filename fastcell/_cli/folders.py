"""Folders of Parquet files, nested too, whose names may say what a column holds in all files below, as in month=5."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

Columns = dict[str, pa.Scalar]


def files_of(folder: Path) -> dict[Path, Columns]:
    """The .parquet files below in the order of their paths, of which integers go as numbers; and what folders' names
    say of each. As elsewhere, what begins with a point or a _ is left out."""
    files = [path for path in folder.rglob("*") if path.suffix.lower() == ".parquet" and path.is_file()]
    found = [path.relative_to(folder) for path in files]
    found = [path for path in found if not any(part.startswith((".", "_")) for part in path.parts)]
    said = _said([path.parent for path in found])
    paths = sorted(found, key=lambda path: _order(path, said[path.parent]))
    return {folder / path: said[path.parent] for path in paths}


def _said(folders: Sequence[Path]) -> dict[Path, Columns]:
    """Of each folder, columns of integers where all values are, else of text."""
    names = dict.fromkeys(part.partition("=")[0] for path in folders for part in path.parts if "=" in part)
    hive = ds.partitioning(pa.schema([(name, pa.string()) for name in names]), flavor="hive")
    texts = {path: ds.get_partition_keys(hive.parse(path.as_posix() + "/")) for path in folders}
    columns: dict[Path, Columns] = {path: {} for path in texts}
    for name in names:
        having = [path for path, keys in texts.items() if name in keys]
        values = pa.array([texts[path][name] for path in having], pa.string())
        with suppress(pa.ArrowInvalid):
            values = values.cast(pa.int64())
        for path, value in zip(having, values, strict=True):
            columns[path][name] = value
    return columns


def _order(path: Path, said: Columns) -> list[tuple[str, int, str]]:
    places = []
    for part in path.parts:
        name, sign, text = part.partition("=")
        value = said[name].as_py() if sign and name in said else None
        places.append((name, value, "") if isinstance(value, int) else (name, 2**63, text))
    return places
