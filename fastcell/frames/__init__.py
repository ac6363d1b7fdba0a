"""Scans and LSTMs over dataframes and their keys.

A job from raw events to scored rows, and a state from which tomorrow's run goes on. Two days of payments, in the order
of time:

>>> import numpy as np, pyarrow as pa, pyarrow.parquet as pq, tempfile, pathlib
>>> import fastcell as fc
>>> rng = np.random.default_rng(0)
>>> def day(number, rows=1000):
...     seconds = np.sort(rng.integers(0, 86_400, rows)) + 86_400 * number
...     cards, amounts = rng.choice(["ann", "bob", "cid"], rows), np.round(rng.exponential(30.0, rows), 2)
...     return pa.table({"card": cards, "at": seconds.astype("datetime64[s]"), "amount": amounts})

What a card spent of late, each payment counting half after an hour, and an LSTM over that and the amount, a memory for
each card; here with random weights, else ``fc.LSTM.from_torch("trained.pt")``:

>>> lstm, last_layer = fc.LSTM(2, 8, seed=0), rng.standard_normal(8).astype(np.float32)
>>> def scored(events, spent=None, memory=None):
...     events, spent = fc.frames.gated_scan(events, "amount", half_life="1h", time="at", by="card", state=spent,
...                                          name="spent")
...     events, memory = fc.frames.lstm(events, lstm, ["amount", "spent"], by="card", state=memory, output="h")
...     h = np.stack(events["h"].to_pandas())
...     return events.append_column("score", pa.array(1 / (1 + np.exp(-h @ last_layer)))), spent, memory
>>> monday, tuesday = day(0), day(1)
>>> rows, spent, memory = scored(monday)
>>> rows.column_names
['card', 'at', 'amount', 'spent', 'h', 'score']

The states are tables with a row for each card. Tomorrow's run reads them, and scores as one run over both days would:

>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> for name, state in (("spent", spent), ("memory", memory)):
...     pq.write_table(state, folder / f"{name}.parquet")
>>> later, *_ = scored(tuesday, *(pq.read_table(folder / f"{name}.parquet") for name in ("spent", "memory")))
>>> both, *_ = scored(pa.concat_tables([monday, tuesday]))
>>> later["score"].to_pylist() == both["score"].to_pylist()[1000:]
True

Larger than memory, in batches of a query of Polars. Over 2, 10 and 20 million rows of 100,000 keys this took 482, 544
and 576 MiB at most, ``sink_parquet`` of ``toy_scan(query, ...).frame`` 462, 672 and 927::

    state = None
    for part in query.collect_batches(maintain_order=True):
        part, state = fc.frames.toy_scan(part, "amount", "rule", "shown", by="card", state=state)
        keep(part)

Ray Data, one actor over blocks in their order, which saves its state after each::

    class Scored:
        state = None

        def __call__(self, rows):
            rows, self.state = fc.frames.toy_scan(rows, "amount", "rule", "shown", by="card", state=self.state)
            pq.write_table(self.state, folder / "state.parquet")
            return rows

    ray.data.DataContext.get_current().execution_options.preserve_order = True
    scored = dataset.map_batches(Scored, batch_format="pyarrow", concurrency=1)

Spark, in parallel: all rows of a card are in one of 64 groups, whose state goes from one day's folder to the next's. A
group without rows keeps its state, as the folder is copied first; a task that is tried again finds what it found::

    shutil.copytree(folder / "monday", folder / "tuesday")

    def scored(group, rows):
        name = f"{group[0]}.parquet"
        before = folder / "monday" / name
        state = pd.read_parquet(before) if before.exists() else None
        rows, state = fc.frames.toy_scan(
            rows, "amount", "rule", "shown", by="card", order_by="at", state=state
        )
        state.to_parquet(folder / "tuesday" / name)
        return rows

    group = (functions.crc32("card") % 64).alias("group")
    columns = "card string, at long, amount double, rule long, shown long, y double"
    result = events.groupBy(group).applyInPandas(scored, columns)

A null is an error that names its row, unless nothing reads it: a value whose rule resets or keeps. With
``nulls="keep"`` it leaves a memory as it was. Masked arrays in `fastcell.toy_scan`, `gated_scan` and an LSTM are
treated alike:

=======================  =========================  ======================================
null                     with ``nulls="keep"`` is   so that
=======================  =========================  ======================================
value, an LSTM's input   0                          nothing is added
control                  0                          the memory is kept
emit, output             0                          the row is silent, or its output 0
forget                   1                          the memory is kept
input                    0                          nothing is added
time                     no time                    no time goes by
a key                    a key, always              such rows have a memory of their own
=======================  =========================  ======================================

Never null: an output, a state, what is ordered by. NaN is a null in pandas' columns of NumPy's floats, else a number.

>>> sums = pa.table({"v": [3, None, 4], "rule": [1, 1, 1]})
>>> fc.frames.toy_scan(sums, "v", "rule", 1, nulls="keep").frame["y"].to_pylist()
[3, 3, 7]
>>> fc.toy_scan(np.ma.array([3, 0, 4], mask=[0, 1, 0]), 1, 1, nulls="keep").y.tolist()
[3, 3, 7]

The same from the command line, over files larger than memory: ``python -m fastcell gated`` and ``lstm``.
"""

from fastcell.frames.api import Frames, gated_scan, lstm, toy_scan

__all__ = ["Frames", "gated_scan", "lstm", "toy_scan"]
