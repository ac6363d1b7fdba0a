"""An LSTM down a frame: columns to inputs, a stream for each key, outputs and states back to columns."""

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from fastcell._checks import Array
from fastcell.frames.base import Job, Streams, column_of_arrow, columns_of, refuse_nulls
from fastcell.lstm import LSTM

_LIST_VALUES = 2**31 - 1  # of all lists in one array of Arrow's


class LstmJob(Job):
    """One checked call of an LSTM."""

    naming, command = "output", "lstm"

    def __init__(
        self, lstm: Any, inputs: Any, by: Any, order_by: Any, output: Any, nulls: Any, options: dict[str, Any]
    ) -> None:
        if not isinstance(lstm, LSTM):
            raise TypeError(f"lstm must be a fastcell.LSTM, got {type(lstm).__name__}")
        if lstm.bidirectional or lstm.reverse:
            raise ValueError("lstm must run forward alone: the other direction begins at a stream's end")
        names = [inputs] if isinstance(inputs, str) else list(inputs)
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"inputs must be of str, got {name!r}")
        if len(names) != lstm.input_size:
            raise ValueError(f"inputs must be the names of I = {lstm.input_size} columns, got {len(names)}")
        if not isinstance(output, str | None):
            raise TypeError(f"output must be of str, got {output!r}")
        self.lstm, self.options, self.listed = lstm, options, output is not None
        self.sizes = (lstm.output_size, lstm.hidden_size)
        super().__init__(
            {f"inputs[{k}]": name for k, name in enumerate(names)},
            by,
            order_by,
            nulls,
            [f"h_{unit}" for unit in range(lstm.output_size)] if output is None else [output],
            [
                f"{letter}_{layer}_{unit}"
                for letter, size in zip("hc", self.sizes, strict=True)
                for layer in range(lstm.num_layers)
                for unit in range(size)
            ],
        )

    @property
    def width(self) -> int:
        return self.lstm.input_size + self.lstm.output_size

    def _given(self, state: nw.DataFrame[Any], arrays: dict[str, Any]) -> list[Array]:
        for name in self.parts:
            if state[name].dtype not in (nw.Float32, nw.Float64):
                raise TypeError(f"state's column {name!r} must hold floats, got {state[name].dtype}")
            refuse_nulls(state[name])
        columns = [state[name].to_numpy().astype(self.lstm.dtype) for name in self.parts]
        rows = len(state) if self.by else 1  # a frame without columns has none
        return [np.stack(columns, 1) if columns else np.zeros((rows, 0), self.lstm.dtype)]

    def _begun(self, keys: int, like: list[Array]) -> list[Array]:
        start, width = self.lstm.initial_state, len(self.parts)
        row = np.zeros(width, self.lstm.dtype) if start is None else np.concatenate([part.ravel() for part in start])
        return [np.repeat(row[None], keys, 0)]

    def _cell(
        self, arrays: dict[str, Any], streams: Streams, state: list[Array] | None
    ) -> tuple[list[Array], list[Array]]:
        lstm, start = self.lstm, None
        x = np.zeros((streams.rows, len(arrays)), lstm.dtype)
        for k, array in enumerate(arrays.values()):
            x[:, k] = array
        if state is not None:
            split = np.split(state[0], [lstm.num_layers * lstm.output_size], 1)
            h, c = (
                np.ascontiguousarray(part.reshape(len(part), lstm.num_layers, size).swapaxes(0, 1))
                for part, size in zip(split, self.sizes, strict=True)
            )
            start = (h, c) if self.by else (h[:, 0], c[:, 0])
        y, last = lstm(x, start, keys=streams.codes, batch_first=False, **self.options)
        parts = [part if self.by else part[:, None] for part in last]  # (L, K, H)
        rows = [part.swapaxes(0, 1).reshape(streams.keys, lstm.num_layers * part.shape[2]) for part in parts]
        return [y], [np.concatenate(rows, 1)]

    def _outputs(self, outputs: list[Array], like: nw.DataFrame[Any]) -> list[nw.Series[Any]]:
        (y,) = outputs
        if self.listed:
            return [column_of_arrow(self.outputs[0], _lists(y), like)]
        return columns_of(self.outputs, list(np.ascontiguousarray(y.T)), like)

    def _state(self, last: list[Array], arrays: dict[str, Any], like: nw.DataFrame[Any]) -> list[nw.Series[Any]]:
        return columns_of(self.parts, list(np.ascontiguousarray(last[0].T)), like)


def _lists(y: Array) -> pa.ChunkedArray:
    """Rows as lists, in as many arrays as their offsets of 32 bits need."""
    width = y.shape[1]
    rows = max(1, _LIST_VALUES // max(width, 1))
    kind = pa.list_(pa.from_numpy_dtype(y.dtype))
    chunks = [
        pa.ListArray.from_arrays(np.arange(len(part) + 1, dtype=np.int32) * width, part.ravel(), kind)
        for part in (y[first : first + rows] for first in range(0, len(y), rows))
    ]
    return pa.chunked_array(chunks, kind)
