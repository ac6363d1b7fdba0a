"""The toy cell over keyed events, as one spells it with pandas, with Polars and with fastcell: equal answers."""

import numpy as np

import fastcell as fc

Events = dict[str, np.ndarray]


def frames(events: Events) -> dict[str, object]:
    import pandas as pd
    import polars as pl

    return {"pandas": pd.DataFrame(events), "polars": pl.DataFrame(events)}


def with_text_keys(events: Events) -> Events:
    """The same events, whose keys are names of ten letters."""
    names = np.array([f"user{key:06d}" for key in range(int(events["key"].max()) + 1)])
    return events | {"key": names[events["key"]]}


def with_pandas(frame):
    """What a key has added so far, less what it had at its last reset: faster than segments as a second key."""
    key, added = frame["key"], frame["value"].where(frame["control"] == 1, 0.0)
    total = added.groupby(key).cumsum()
    base = total.where(frame["control"] == -1).groupby(key).ffill().fillna(0.0)
    return (total - base).where(frame["emit"] == 1, 0.0).to_numpy()


def memory_in_polars():
    """The same as an expression, of one key."""
    import polars as pl

    total = pl.when(pl.col("control") == 1).then(pl.col("value").cast(pl.Float64)).otherwise(0.0).cum_sum()
    return total - pl.when(pl.col("control") == -1).then(total).forward_fill().fill_null(0.0)


def with_polars(frame, keyed=True):
    import polars as pl

    memory = memory_in_polars().over("key") if keyed else memory_in_polars()
    return frame.select(pl.when(pl.col("emit") == 1).then(memory).otherwise(0.0)).to_series().to_numpy()


def file_with_polars(source, target):
    import polars as pl

    y = pl.when(pl.col("emit") == 1).then(memory_in_polars().over("key")).otherwise(0.0)
    pl.read_parquet(source).with_columns(y=y).write_parquet(target)


def sum_with_pandas(frame):
    """A grouped cumulative sum alone: no resets, no emits."""
    return frame.groupby("key")["value"].cumsum().to_numpy()


def sum_with_polars(frame):
    import polars as pl

    return frame.select(pl.col("value").cum_sum().over("key")).to_series().to_numpy()


def fastcell(events: Events, threads: int | None = 1) -> np.ndarray:
    return fc.toy_scan(events["value"], events["control"], events["emit"], keys=events["key"], threads=threads).y


def fastcell_frames(frame):
    return fc.frames.toy_scan(frame, "value", "control", "emit", by="key", threads=1).frame
