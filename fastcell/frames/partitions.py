"""A job over a Dask dataframe: all rows of a key come into one partition, in their order, and are one frame there.

Without keys a partition waits for the memory of the one before.
"""

from typing import Any

from fastcell.frames.bad_row import BadRowError
from fastcell.frames.base import Job

_ROW = "fastcell's row"


def is_dask(given: Any) -> bool:
    return type(given).__module__.startswith(("dask.dataframe", "dask_expr"))


def run(job: Job, df: Any, state: Any) -> tuple[Any, Any]:
    """Two Dask dataframes, of which nothing is computed; a run on no rows finds their types, and what is wrong."""
    import dask.dataframe as dd
    import pandas as pd

    if isinstance(state, pd.DataFrame):
        state = dd.from_pandas(state, npartitions=1)
    elif state is not None and not is_dask(state):
        raise TypeError(f"state must be a dask or pandas DataFrame, got {type(state).__name__}")
    trial = None if state is None else state._meta
    if trial is not None and not job.by:
        trial = pd.DataFrame({name: pd.Series([0], dtype=kind) for name, kind in trial.dtypes.items()})
    meta, last = job.run(df._meta, trial)
    rows = df.assign(**{_ROW: 1})[_ROW].cumsum() - 1  # the order of rows, which a shuffle does not promise
    numbered = df.assign(**{_ROW: rows})
    if job.order and not job.by:
        numbered = numbered.repartition(npartitions=1)  # its rows are put in order together
    return (_by_keys if job.by else _in_turn)(job, numbered, state, meta, last)


def _by_keys(job: Job, df: Any, state: Any, meta: Any, last: Any) -> tuple[Any, Any]:
    """Frames and states are shuffled alike: a key's partition is told by its hash."""
    import dask.dataframe as dd

    given = [df] if state is None else [df, state]
    parts = [part.shuffle(on=job.by, npartitions=df.npartitions) for part in given]
    options = {"align_dataframes": False, "transform_divisions": False}
    return (
        dd.map_partitions(_frame, *parts, job=job, meta=meta, **options).clear_divisions(),
        dd.map_partitions(_state, *parts, job=job, meta=last.iloc[:0], **options).clear_divisions(),
    )


def _in_turn(job: Job, df: Any, state: Any, meta: Any, last: Any) -> tuple[Any, Any]:
    import dask.dataframe as dd
    import pandas as pd
    from dask import delayed

    carried = None if state is None else delayed(pd.concat)(state.to_delayed())
    frames = []
    for part in df.to_delayed():
        done = delayed(_both)(part, carried, job=job)
        frames.append(done[0])
        carried = done[1]
    return dd.from_delayed(frames, meta=meta), dd.from_delayed([carried], meta=last.iloc[:0])


def _both(frame: Any, state: Any = None, *, job: Job) -> tuple[Any, Any]:
    frame = frame.sort_values(_ROW)
    rows = frame[_ROW].to_numpy()
    try:
        return job.run(frame.drop(columns=_ROW), state)
    except BadRowError as error:
        raise error.at(int(rows[error.row])) from None


def _frame(frame: Any, state: Any = None, *, job: Job) -> Any:
    return _both(frame, state, job=job)[0]


def _state(frame: Any, state: Any = None, *, job: Job) -> Any:
    return _both(frame, state, job=job)[1]
