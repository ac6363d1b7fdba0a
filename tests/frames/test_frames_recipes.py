"""The recipes of the frames' page, run as they stand there."""

import os
import re
import shutil
import sys
import textwrap
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastcell as fc

ROLES = ("amount", "rule", "shown")


def events(rows, seed):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "card": rng.choice(["ann", "bob", "cid"], rows),
            "at": np.arange(rows) + 10**6 * seed,
            "amount": rng.integers(-40, 40, rows) / 4,
            "rule": rng.choice([-1, 0, 1], rows),
            "shown": rng.integers(0, 2, rows),
        }
    )


def recipe(name):
    """The block of code after a paragraph that begins with `name`."""
    found = re.search(rf"\n{name}.*?::\n\n((?:    [^\n]*\n|\n)+)", fc.frames.__doc__ or "", re.DOTALL)
    assert found is not None, name
    return textwrap.dedent(found[1])


def test_batches_of_a_query():
    table, kept = events(1000, 0), []
    small = partial(pl.from_arrow(table).lazy().collect_batches, chunk_size=100)  # else so few rows are one batch
    names = {"fc": fc, "keep": kept.append, "query": SimpleNamespace(collect_batches=small)}
    exec(recipe("Larger than memory"), names)
    assert len(kept) == 10
    whole, state = fc.frames.toy_scan(table, *ROLES, by="card")
    assert pl.concat(kept)["y"].to_list() == whole["y"].to_pylist()
    assert sorted(names["state"].rows()) == sorted(zip(*state.to_pydict().values(), strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what these libraries say of others
def test_ray(tmp_path):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")

    table = events(1000, 0)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        parts = [table.slice(first, 250) for first in range(0, 1000, 250)]
        names = {"fc": fc, "pq": pq, "ray": ray, "folder": tmp_path, "dataset": ray.data.from_arrow(parts)}
        exec(recipe("Ray Data"), names)
        found = pa.concat_tables(ray.get(names["scored"].to_arrow_refs()))
    finally:
        ray.shutdown()
    whole, state = fc.frames.toy_scan(table, *ROLES, by="card")
    assert found.select(whole.column_names).to_pydict() == whole.to_pydict()
    assert pq.read_table(tmp_path / "state.parquet").to_pydict() == state.to_pydict()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what these libraries say of others
def test_spark(tmp_path, monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    (tmp_path / "monday").mkdir()
    days = [events(500, 1), events(500, 2)]
    days[1] = days[1].filter(np.array(days[1]["card"]) != "cid")  # whose memory stays
    spark = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        names = {"fc": fc, "pd": pd, "shutil": shutil, "folder": tmp_path, "functions": sql.functions}
        found = []
        for day in days:
            names["events"] = spark.createDataFrame(day.to_pandas())
            exec(recipe("Spark"), names)
            found.append(names["result"].toPandas().sort_values("at"))
            states = pd.concat(map(pd.read_parquet, (tmp_path / "tuesday").iterdir()))
            shutil.rmtree(tmp_path / "monday")
            (tmp_path / "tuesday").rename(tmp_path / "monday")
    finally:
        spark.stop()
    whole, state = fc.frames.toy_scan(pa.concat_tables(days), *ROLES, by="card")
    assert pd.concat(found)["y"].tolist() == whole["y"].to_pylist()
    assert sorted(states["memory"].tolist()) == sorted(state["memory"].to_pylist())
