"""An LSTM down a frame: columns to inputs, a stream for each key, outputs and states back to columns."""

from typing import Any

import narwhals as nw
import numpy as np

from fastcell._checks import Array
from fastcell.frames.job import Job, _handled, _known, _listed, _rows
from fastcell.frames.keys import number
from fastcell.lstm import LSTM


class LstmJob(Job):
    """One checked call of an LSTM."""

    def __init__(self, lstm: Any, inputs: Any, by: Any, output: Any, nulls: Any, options: dict[str, Any]) -> None:
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
        super().__init__("lstm", {f"inputs[{k}]": name for k, name in enumerate(names)}, by, output, nulls, options)
        self.lstm = lstm
        self.outputs = [f"{output}_{unit}" for unit in range(lstm.output_size)]
        self.parts = [
            [f"{letter}_{layer}_{unit}" for layer in range(lstm.num_layers) for unit in range(size)]
            for letter, size in (("h", lstm.output_size), ("c", lstm.hidden_size))
        ]
        if clash := sorted(set(self.by) & {*self.parts[0], *self.parts[1]}):
            raise ValueError(f"by must be none of the state's columns, got {_listed(clash)}")

    def run(self, df: Any, state: Any) -> tuple[Any, Any]:
        """The frame with the outputs as columns, and the state, of df's kind."""
        frame = _known("df", df)
        if isinstance(frame, nw.LazyFrame):
            return self._lazy(df, state)
        if state is not None:
            state = _known("state", state)
            if state.implementation != frame.implementation or isinstance(state, nw.LazyFrame):
                got = type(state.to_native()).__name__
                raise TypeError(f"state must be of df's kind, {type(df).__name__}, got {got}")
        self._check_columns(frame.columns)
        y, last = self._streams(frame, state)
        columns = _columns(self.outputs, y, frame)
        return frame.with_columns(*columns).to_native(), last.to_native()

    def _lazy(self, df: Any, state: Any) -> tuple[Any, Any]:
        """Two queries, whose types a trial on no rows finds."""
        import polars as pl

        schema = df.collect_schema()
        if state is not None and not isinstance(state, pl.DataFrame | pl.LazyFrame):
            raise TypeError(f"state must be of df's kind, LazyFrame, got {type(state).__name__}")
        trial = None if state is None else pl.DataFrame(schema=state.lazy().collect_schema())
        if trial is not None and not self.by:
            trial = trial.clear(1).with_columns(pl.selectors.numeric().fill_null(0))
        tried, tried_state = self.run(pl.DataFrame(schema=schema), trial)

        def scan(given: pl.DataFrame) -> tuple[Any, Any]:
            return self.run(given, state.collect() if isinstance(state, pl.LazyFrame) else state)

        states = df.select(self.columns).map_batches(lambda given: scan(given)[1], schema=tried_state.schema)
        return df.map_batches(lambda given: scan(given)[0], schema=tried.schema), states

    def _check_columns(self, names: list[str]) -> None:
        super()._check_columns(names)
        if clash := [name for name in self.outputs if name in names]:
            raise ValueError(f"output must name none of df's columns, {_listed(names)}, got {_listed(clash)}")

    def _streams(self, frame: nw.DataFrame[Any], state: nw.DataFrame[Any] | None) -> tuple[Array, nw.DataFrame[Any]]:
        arrays = [self._array(frame, role) for role in self.roles]
        x = np.stack(arrays, 1).astype(self.lstm.dtype) if arrays else np.zeros((len(frame), 0), self.lstm.dtype)
        given = None if state is None else self._states(state)
        if not self.by:
            if given is not None and given[0].shape[1] != 1:
                raise ValueError(f"state must have one row where there is no by, got {given[0].shape[1]}")
            start = None if given is None else (given[0][:, 0], given[1][:, 0])
            y, (h, c) = self.lstm(x, start, batch_first=False, **self.options)
            return y, self._frame(None, (h[:, None], c[:, None]), frame)
        numbered = number(frame.select(self.by))
        met = _rows(_handled(frame.select(self.by)), numbered.firsts)
        if state is None or given is None:
            known, places, whole = met, np.arange(len(met)), self._begun(len(met))
        else:
            known, places = self._merged(state, met)
            whole = self._begun(len(known))
            for part, earlier in zip(whole, given, strict=True):
                part[:, : earlier.shape[1]] = earlier
        mine = (whole[0][:, places], whole[1][:, places])
        y, last = self.lstm(x, mine, keys=numbered.codes, **self.options)
        for part, new in zip(whole, last, strict=True):
            part[:, places] = new
        return y, self._frame(known, whole, frame)

    def _begun(self, keys: int) -> tuple[Array, Array]:
        """States of keys that are new."""
        lstm = self.lstm
        h, c = (
            np.zeros((lstm.num_layers, keys, size), lstm.dtype) for size in (lstm.output_size, lstm.hidden_size)
        )  # fmt: skip
        if (start := lstm.initial_state) is not None:
            h[...], c[...] = start[0][:, None], start[1][:, None]
        return h, c

    def _states(self, state: nw.DataFrame[Any]) -> tuple[Array, Array]:
        """h and c, (L, K, ...), of a frame."""
        expected = [*self.by, *self.parts[0], *self.parts[1]]
        if sorted(state.columns) != sorted(expected):
            raise ValueError(f"state must have the columns {_listed(expected)}, got {_listed(state.columns)}")
        found = []
        for names in self.parts:
            for name in names:
                if state[name].dtype not in (nw.Float32, nw.Float64):
                    raise TypeError(f"state's column {name!r} must hold floats, got {state[name].dtype}")
            columns = [state[name].to_numpy() for name in names]
            layers = self.lstm.num_layers
            stacked = np.stack(columns).reshape(layers, len(names) // layers, len(state))
            found.append(stacked.transpose(0, 2, 1).astype(self.lstm.dtype))
        return found[0], found[1]

    def _frame(
        self, keys: nw.DataFrame[Any] | None, state: tuple[Array, Array], like: nw.DataFrame[Any]
    ) -> nw.DataFrame[Any]:
        """Keys and their states."""
        columns = []
        for names, part in zip(self.parts, state, strict=True):
            columns += _columns(names, part.transpose(1, 0, 2).reshape(part.shape[1], len(names)), like)
        if keys is None:
            return nw.from_dict({column.name: column for column in columns}, backend=like.implementation)
        return keys.with_columns(*columns)


def _columns(names: list[str], values: Array, like: nw.DataFrame[Any]) -> list[nw.Series[Any]]:
    """Columns of a (T, ...) array."""
    side_by_side = np.ascontiguousarray(values.T)
    backend = like.implementation
    return [nw.Series.from_numpy(name, side_by_side[k], backend=backend) for k, name in enumerate(names)]
