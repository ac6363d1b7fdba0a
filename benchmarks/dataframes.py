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
    """A reset begins a new segment of its key; within a segment the memory is a cumulative sum."""
    segment = (frame["control"] == -1).groupby(frame["key"]).cumsum()
    added = frame["value"].where(frame["control"] == 1, 0.0)
    memory = added.groupby([frame["key"], segment]).cumsum()
    return memory.where(frame["emit"] == 1, 0.0).to_numpy()


def with_polars(frame):
    import polars as pl

    return (
        frame.with_columns(segment=(pl.col("control") == -1).cum_sum().over("key"))
        .with_columns(
            memory=pl.when(pl.col("control") == 1).then(pl.col("value")).otherwise(0.0).cum_sum().over("key", "segment")
        )
        .select(pl.when(pl.col("emit") == 1).then(pl.col("memory")).otherwise(0.0))
        .to_series()
        .to_numpy()
    )


def sum_with_pandas(frame):
    """A grouped cumulative sum alone: no resets, no emits."""
    return frame.groupby("key")["value"].cumsum().to_numpy()


def sum_with_polars(frame):
    import polars as pl

    return frame.select(pl.col("value").cum_sum().over("key")).to_series().to_numpy()


def fastcell(events: Events) -> np.ndarray:
    return fc.toy_scan(events["value"], events["control"], events["emit"], keys=events["key"], threads=1).y


def fastcell_frames(frame):
    return fc.frames.toy_scan(frame, "value", "control", "emit", by="key", threads=1).frame
