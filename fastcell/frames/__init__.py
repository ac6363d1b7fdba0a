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

The same from the command line, over files larger than memory: ``python -m fastcell gated`` and ``lstm``.
"""

from fastcell.frames.api import Frames, gated_scan, lstm, toy_scan

__all__ = ["Frames", "gated_scan", "lstm", "toy_scan"]
