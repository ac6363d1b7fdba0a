"""A scan of a frame: the toy cell or the gated recurrence, with gates that are columns, numbers or decays over time."""

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from fastcell import _nulls
from fastcell._checks import ALLOWED, Array, first_index, other_rules
from fastcell.frames import amounts, times
from fastcell.frames.bad_row import BadRowError
from fastcell.frames.base import Job, Streams, columns_of, refuse_nulls
from fastcell.scan import gated_scan, toy_scan

MEMORY, TIME = "memory", "time"
_LOW = {"control": -1, "emit": 0}
_EXACT = 2**53  # up to here each integer is a float64


def gated_roles(value: Any, forget: Any, input: Any, output: Any, half_life: Any, time: Any) -> dict[str, Any]:
    """Columns or numbers of the gated recurrence, in the order of its arguments."""
    if (half_life is None) == (forget is None):
        given = "neither" if forget is None else "both"
        raise ValueError(f"either forget or half_life and time must be given, got {given}")
    if half_life is None and time is not None:
        raise ValueError(f"time must go with half_life, got {time!r} alone")
    first = {"forget": forget} if half_life is None else {"time": time}
    return {"value": value, **first, "input": input, "output": output}


class ScanJob(Job):
    """One checked call of `kind` of scan; with a half-life, roles have `time` in the place of `forget`."""

    def __init__(
        self,
        kind: str,
        roles: dict[str, Any],
        by: Any,
        order_by: Any,
        name: Any,
        nulls: Any,
        options: dict[str, Any],
        half_life: Any = None,
    ) -> None:
        self.kind, self.options, self.command = kind, options, "scan" if kind == "toy" else kind
        for role, given in roles.items():
            number = role not in ("value", "time") and isinstance(given, int | float)
            if not (isinstance(given, str) or number):
                expected = "" if role in ("value", "time") else " or a number"
                raise TypeError(f"{role} must be a column's name{expected}, got {given!r}")
        if not isinstance(name, str):
            raise TypeError(f"name must be of str, got {name!r}")
        self.half_life = None if half_life is None else times.HalfLife(half_life)
        super().__init__(roles, by, order_by, nulls, [name], [MEMORY, TIME] if self.half_life else [MEMORY])

    # ---- on a frame in memory ----------------------------------------------------------------------

    def _given(self, state: nw.DataFrame[Any], arrays: dict[str, Any]) -> list[Array]:
        memory = state[MEMORY]
        if isinstance(arrays["value"], pa.Array):
            return [amounts.memories(memory, arrays["value"].type)]
        if memory.dtype not in (nw.Float64, nw.Int64):
            raise TypeError(f"state's column {MEMORY!r} must hold float64 or int64, got {memory.dtype}")
        refuse_nulls(memory)
        memories = memory.to_numpy()
        if self.half_life is None:
            if memories.dtype.kind == "f":
                self._go_on_in_floats(arrays)
            return [memories]
        arrays["time"], last = times.alike(arrays["time"], times.read(state[TIME]))
        return [memories, times.numbers(last)]

    def _begun(self, keys: int, like: list[Array]) -> list[Array]:
        memories = np.zeros(keys, like[0].dtype)
        return [memories, *(np.full(keys, times.none_of(part.dtype)) for part in like[1:])]

    def _go_on_in_floats(self, arrays: dict[str, Any]) -> None:
        """Integers after a chunk of floats are floats, as they would be in one column with those."""
        deciding = [arrays["value"]] if self.kind == "toy" else arrays.values()
        if any(np.asarray(array).dtype.kind == "f" for array in deciding):
            return
        value = arrays["value"]
        inexact = (value > _EXACT) | (value < -_EXACT)
        if inexact.any():
            (row,) = first_index(inexact)
            expected = "an integer of at most 2**53, as the state's memory is float64"
            raise BadRowError(self.roles["value"], row, expected, f"{value[row]}")
        arrays["value"] = value.astype(np.float64)

    def _cell(
        self, arrays: dict[str, Any], streams: Streams, state: list[Array] | None
    ) -> tuple[list[Array], list[Array]]:
        last = []
        if self.half_life is not None:
            before = None if state is None else state[1]
            forget, met = self.half_life.decays(self.roles["time"], arrays["time"], streams, before)
            arrays, last = arrays | {"time": forget}, [met]
        memory = None if state is None else state[0] if self.by else state[0][0]
        kind, options = getattr(arrays["value"], "type", None), self.options
        if kind is not None:
            options = amounts.options(options, kind)
        try:
            if kind is not None:
                arrays = arrays | {"value": amounts.numbers(arrays["value"])}
            y, memories = self._scanned(arrays, streams.codes, memory, options)
            if kind is not None:
                amounts.check([y, np.atleast_1d(memories)], kind)
        except pa.ArrowInvalid as error:
            raise OverflowError(f"column {self.roles['value']!r}: {error}") from None
        except OverflowError as error:
            said = error if kind is None else f"a memory leaves {kind}"
            raise OverflowError(f"column {self.roles['value']!r}: {said}") from None
        return [y], [np.atleast_1d(memories), *last]

    def _scanned(
        self, arrays: dict[str, Any], codes: Array | None, state: Any, options: dict[str, Any]
    ) -> tuple[Array, Any]:
        scan = toy_scan if self.kind == "toy" else gated_scan
        try:
            return scan(*arrays.values(), keys=codes, state=state, **options)
        except ValueError:
            for role, low in _LOW.items() if self.kind == "toy" and self.options["strict"] else ():
                bad = other_rules(arrays[role], low)
                if bad.any() and not isinstance(self.roles[role], str):
                    raise ValueError(f"{role} must be {ALLOWED[low]}, got {self.roles[role]!r}") from None
                if bad.any():
                    (row,) = first_index(bad)
                    raise BadRowError(self.roles[role], row, ALLOWED[low], f"{arrays[role][row]:g}") from None
            raise

    def _outputs(self, outputs: list[Array], like: nw.DataFrame[Any]) -> list[nw.Series[Any]]:
        kind = amounts.kind_of(like[self.roles["value"]])
        if kind is None:
            return columns_of(self.outputs, outputs, like, like[self.roles["value"]])
        return [amounts.column(self.outputs[0], outputs[0], kind, like, self.roles["value"])]

    def _state(self, last: list[Array], arrays: dict[str, Any], like: nw.DataFrame[Any]) -> list[nw.Series[Any]]:
        if isinstance(arrays["value"], pa.Array):
            return [amounts.column(MEMORY, last[0], arrays["value"].type, like, self.roles["value"])]
        columns = columns_of([MEMORY], last[:1], like, like[self.roles["value"]])
        if self.half_life is None:
            return columns
        return [*columns, times.column(TIME, last[1], arrays["time"].type, like, like[self.roles["time"]])]

    def _array(self, frame: nw.DataFrame[Any], role: str) -> Any:
        if role == "value" and self.kind == "toy" and amounts.kind_of(frame[self.roles[role]]) is not None:
            self._check_nulls(frame, role)
            return amounts.read(frame[self.roles[role]])
        if role != "time":
            return super()._array(frame, role)
        self._check_nulls(frame, role)
        return times.read(frame[self.roles[role]])

    def _needed(self, frame: nw.DataFrame[Any], role: str, rows: Array) -> Array:
        if role == "value" and self.kind == "toy":
            needed: Array = _nulls.needed(rows, self._array(frame, "control"))
            return needed
        return rows
