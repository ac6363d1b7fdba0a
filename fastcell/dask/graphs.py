"""The task graphs of api.py: a parallel prefix for a scan, a chain for an LSTM."""

from collections.abc import Sequence
from itertools import accumulate, product
from operator import getitem
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.task_spec import DataNode, Task, TaskRef

from fastcell import _checks
from fastcell._model import LSTM
from fastcell.dask.chunks import (
    Gated,
    Place,
    Toy,
    carry,
    merge,
    run_lstm,
    run_lstm_keys,
    scan,
    scan_keys,
    summary,
)
from fastcell.scan.api import Scan

_LAST = 10**9 - 1  # numbers counted down from it have the same length as text


def _aligned(names: Sequence[str], arrays: list[Any]) -> list[Any]:
    """Dask arrays alone, cut at the borders of each other's chunks."""
    lazy = [array for array in arrays if isinstance(array, da.Array)]
    with_axes = [part for array in lazy for part in (array, range(-array.ndim, 0))]
    known, cut = da.core.unify_chunks(*with_axes, warn=False)
    parts = iter(cut)
    arrays = [
        next(parts)
        if isinstance(array, da.Array)
        else in_chunks(array, [known.get(k, ()) for k in range(-array.ndim, 0)])
        for array in arrays
    ]
    for name, array in zip(names, arrays, strict=True):
        for k in range(-array.ndim, 0):
            if array.shape[k] != 1 and array.numblocks[k] != arrays[0].numblocks[k]:
                raise ValueError(f"{name} and {names[0]} need chunks of known length: compute_chunk_sizes()")
    return arrays


def in_chunks(array: Any, chunks: Sequence[tuple[int, ...]]) -> Any:
    """An array in these chunks, along the axes where they fit."""
    fitting = tuple(c if sum(c) == n else (n,) for c, n in zip(chunks, array.shape, strict=True))
    if isinstance(array, da.Array):
        return array.rechunk(fitting)
    few = _checks.once(array)  # Dask's token of an array is made from a copy, which a broadcast one may not fit
    axes = zip(fitting, few.shape, array.shape, strict=True)
    made = da.from_array(few, chunks=[axis if n == whole else (n,) for axis, n, whole in axes])
    return made if few is array else da.broadcast_to(made, array.shape, chunks=fitting)


def _refs(arrays: Sequence[Any], block: tuple[int, ...]) -> list[Any]:
    """The chunks of arrays, aligned at their last axes, that belong to a block; an axis of one chunk serves all."""
    return [
        TaskRef((a.name, *(k if n > 1 else 0 for k, n in zip(block[len(block) - a.ndim :], a.numblocks, strict=True))))
        for a in arrays
    ]


def _starts(chunks: tuple[tuple[float, ...], ...]) -> list[list[float]]:
    """The index at which each chunk begins, along each axis."""
    return [[0, *accumulate(axis)] for axis in chunks]


class Streams(NamedTuple):
    """The stream of each step, of K streams."""

    keys: Any
    K: int

    def along(self, name: str, chunks: tuple[int, ...]) -> Any:
        """The keys as a dask array in these chunks of time."""
        known = not isinstance(self.keys, da.Array) or self.keys.shape[0] == sum(chunks)
        keys = in_chunks(self.keys, [chunks]) if known else self.keys
        if keys.numblocks[0] != len(chunks):
            raise ValueError(f"keys and {name} need chunks of known length: compute_chunk_sizes()")
        return keys


class _Graph:
    """Tasks, under keys that say what they are and for which block."""

    def __init__(self, *token: Any) -> None:
        self.tasks: dict[Any, Any] = {}
        self.prefix, self.token = token[0], tokenize(*token)

    def add(self, kind: str, block: tuple[int, ...], function: Any, *arguments: Any) -> Any:
        key = (f"{self.prefix}-{kind}-{self.token}", *block)
        self.tasks[key] = Task(key, function, *arguments)
        return TaskRef(key)

    def array(
        self, kind: str, parts: dict[tuple[int, ...], tuple[Any, int]], chunks: Any, dtype: Any, inputs: Any
    ) -> Any:
        """The dask array whose chunks are items of tasks' results: {block: (task, item)}."""
        name, below = f"{self.prefix}-{kind}-{self.token}", f"{self.prefix}-{self.token}"
        layer = {(name, *block): Task((name, *block), getitem, ref, k) for block, (ref, k) in parts.items()}
        graph = HighLevelGraph.from_collections(below, self.tasks, dependencies=inputs)
        graph = HighLevelGraph({**graph.layers, name: layer}, {**graph.dependencies, name: {below}})
        return da.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), dtype))


def scan_graph(name: str, cell: Toy | Gated, arrays: list[Any], state: Any, meta: Scan) -> Scan:
    """Of each block of columns: a summary of each chunk but the last, the memories between, and each chunk from there.

    A summary takes even the array that moves no memory: its chunk is then all there, to be scanned and let go.
    """
    arrays = _aligned(cell.names, arrays)
    chunks = arrays[0].chunks
    inputs = arrays if state is None else [*arrays, in_chunks(state, chunks[1:])]
    graph, starts = _Graph(name, cell, *inputs), _starts(chunks)
    parts: dict[Any, Any] = {}
    states: dict[Any, Any] = {}
    for column in product(*(range(len(axis)) for axis in chunks[1:])):
        blocks = [(k, *column) for k in range(len(chunks[0]))]
        places = [Place(block, tuple(axis[k] for axis, k in zip(starts, block, strict=True))) for block in blocks]
        first = None if state is None else _refs(inputs[-1:], column)[0]
        few = [
            graph.add("summary", block, summary, cell, place, *_refs(arrays, block))
            for block, place in zip(blocks[:-1], places, strict=False)
        ]
        for block, place, path in zip(blocks, places, _paths(graph, cell, column, first, few), strict=True):
            last = graph.add("chunk", block, scan, cell, place, len(arrays), *_refs(arrays, block), *path)
            parts[block] = last, 0
        states[column] = last, 1
    y = graph.array("y", parts, chunks, meta.y.dtype, inputs)
    return Scan(y, graph.array("state", states, chunks[1:], np.asarray(meta.state).dtype, inputs))


def keyed_graph(name: str, cell: Toy | Gated, arrays: list[Any], streams: Streams, state: Any, meta: Scan) -> Scan:
    """Of each block of columns, a chain of chunks along time, which hands on the memories of all keys."""
    arrays = _aligned(cell.names, arrays)
    chunks, dtype = arrays[0].chunks, np.asarray(meta.state).dtype
    keys = streams.along(cell.names[0], chunks[0])
    inputs = [*arrays, keys]
    if state is not None:
        inputs.append(in_chunks(state, [(streams.K,), *chunks[1:]]))
    graph, starts = _Graph(name, cell, streams.K, *inputs), _starts(chunks)
    parts: dict[Any, Any] = {}
    states: dict[Any, Any] = {}
    for column in product(*(range(len(axis)) for axis in chunks[1:])):
        last = None if state is None else _refs(inputs[-1:], (0, *column))[0]
        for k in range(len(chunks[0])):
            block = (k, *column)
            place = Place(block, tuple(axis[n] for axis, n in zip(starts, block, strict=True)))
            codes, steps = TaskRef((keys.name, k)), _refs(arrays, block)
            done = graph.add("chunk", block, scan_keys, cell, place, streams.K, dtype, codes, last, *steps)
            parts[block] = done, 0
            last = graph.add("memories", block, getitem, done, 1)
        states[0, *column] = done, 1
    y = graph.array("y", parts, chunks, meta.y.dtype, inputs)
    return Scan(y, graph.array("state", states, ((streams.K,), *chunks[1:]), dtype, inputs))


def _paths(graph: _Graph, cell: Toy | Gated, column: tuple[int, ...], first: Any, few: list[Any]) -> list[list[Any]]:
    """For each k, a memory and at most one summary after it, which lead from `first` past few[:k].

    A parallel prefix, by pairs of pairs, in a shape that Dask's order walks from left to right, so that a chunk is
    scanned and let go soon after it was summed up: a memory comes from the one before it that covers the most, and of
    tasks that are alike the order takes the key that sorts last.
    """
    levels = [few]
    while len(levels[-1]) > 1:
        below, kind = levels[-1], f"merge{len(levels)}"
        levels.append(
            [graph.add(kind, (_LAST - k, *column), merge, cell, *below[k : k + 2]) for k in range(0, len(below) - 1, 2)]
        )
    memories = {0: first}

    def path(k: int) -> list[Any]:
        if k == 0:
            return [first]
        size = k & -k
        size = size // 2 if size == k > 1 else size
        start = k - size
        if start not in memories:
            memories[start] = graph.add("carry", (_LAST - start, *column), carry, cell, *path(start))
        return [memories[start], levels[size.bit_length() - 1][start // size]]

    return [path(k) for k in range(len(few) + 1)]


def _with_weights(lstm: LSTM, *inputs: Any) -> tuple[_Graph, Any]:
    """A graph, and its task that holds the LSTM, which is sent to a worker once."""
    weights, made = lstm.state_dict(), ("_weights", "packed", "_small")
    options = {k: v for k, v in vars(lstm).items() if k not in made}
    graph = _Graph("lstm", weights, options, *inputs)
    model = TaskRef(f"lstm-weights-{graph.token}")
    graph.tasks[model.key] = DataNode(model.key, lstm)
    return graph, model


def lstm_graph(lstm: LSTM, nulls: str, x: Any, pair: tuple[Any, ...], lengths: Any) -> tuple[Any, Any, Any]:
    """Of each block of rows, a chain of chunks along time."""
    inputs = [x, *pair] if lengths is None else [x, *pair, lengths]
    (graph, model), starts, T = _with_weights(lstm, nulls, *inputs), _starts(x.chunks), x.shape[0]
    times = range(x.numblocks[0])
    ys: dict[Any, Any] = {}
    hs: dict[Any, Any] = {}
    cs: dict[Any, Any] = {}
    for b in range(x.numblocks[1]):
        h, c = _refs(pair, (0, b, 0)) or (None, None)
        steps = None if lengths is None else TaskRef((lengths.name, b))
        for t in reversed(times) if lstm.reverse else times:
            place = Place((t, b, 0), (starts[0][t], starts[1][b], 0))
            part = TaskRef((x.name, t, b, 0))
            ref = graph.add("chunk", (t, b), run_lstm, model, nulls, T, place, part, steps, h, c)
            h, c = graph.add("h", (t, b), getitem, ref, 1), graph.add("c", (t, b), getitem, ref, 2)
            ys[t, b, 0] = ref, 0
        hs[0, b, 0], cs[0, b, 0] = (ref, 1), (ref, 2)
    front = (lstm.num_layers * lstm.directions,), x.chunks[1]
    y = graph.array("y", ys, (*x.chunks[:2], (lstm.directions * lstm.output_size,)), lstm.dtype, inputs)
    h = graph.array("state-h", hs, (*front, (lstm.output_size,)), lstm.dtype, inputs)
    return y, h, graph.array("state-c", cs, (*front, (lstm.hidden_size,)), lstm.dtype, inputs)


def lstm_keys_graph(lstm: LSTM, nulls: str, x: Any, pair: tuple[Any, ...], streams: Streams) -> tuple[Any, Any, Any]:
    """A chain of chunks of events along time."""
    keys = streams.along("x", x.chunks[0])
    inputs = [x, keys, *pair]
    (graph, model), (starts, _) = _with_weights(lstm, nulls, streams.K, *inputs), _starts(x.chunks)
    h, c = _refs(pair, (0, 0, 0)) or (None, None)
    ys: dict[Any, Any] = {}
    for t in range(x.numblocks[0]):
        place, events, codes = Place((t,), (starts[t],)), TaskRef((x.name, t, 0)), TaskRef((keys.name, t))
        ref = graph.add("chunk", (t,), run_lstm_keys, model, nulls, streams.K, place, events, codes, h, c)
        h, c = graph.add("h", (t,), getitem, ref, 1), graph.add("c", (t,), getitem, ref, 2)
        ys[t, 0] = ref, 0
    front = (lstm.num_layers,), (streams.K,)
    y = graph.array("y", ys, (x.chunks[0], (lstm.output_size,)), lstm.dtype, inputs)
    h = graph.array("state-h", {(0, 0, 0): (ref, 1)}, (*front, (lstm.output_size,)), lstm.dtype, inputs)
    return y, h, graph.array("state-c", {(0, 0, 0): (ref, 2)}, (*front, (lstm.hidden_size,)), lstm.dtype, inputs)
