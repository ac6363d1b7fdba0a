"""The toy memory cell and the gated recurrence over whole arrays: check, allocate, run, return."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcell import _checks, _threads
from fastcell import _recurrence_kernels as kernels
from fastcell._blocks import BLOCK, PACKED
from fastcell._checks import Array
from fastcell._jit import inline
from fastcell.simd import LANES, address

__all__ = ["Scan", "gated_scan", "rules_to_gates", "toy_scan", "toy_step"]

_ENOUGH = 1 << 18  # steps times columns from which a second thread pays
_STREAM = 1 << 25  # bytes of y from which it is written past the caches: by then it would not stay in them


class Scan(NamedTuple):
    """What a scan returns."""

    y: NDArray[Any]
    """The outputs, of the input's shape."""
    state: Any
    """The memories after the last step: pass them on as `state=` to continue."""


def toy_scan(
    x1: ArrayLike,
    x2: ArrayLike | None = None,
    x3: ArrayLike | None = None,
    *,
    state: ArrayLike | None = None,
    keys: ArrayLike | None = None,
    fill: float = 0.0,
    strict: bool = True,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> Scan:
    """Run the toy memory cell: a cumulative sum with reset and emit.

    At each step, `x2 = 1` adds x1 to the memory, `x2 = -1` resets the memory to 0, `x2 = 0` keeps it; then
    `x3 = 1` outputs it::

        a_t = a_{t-1} + x1_t  |  0  |  a_{t-1}        for x2_t = 1 | -1 | 0
        y_t = a_t  |  fill                             for x3_t = 1 | 0

    Parameters
    ----------
    x1 : (T, ...) array of float32, float64 or integers
        Values, time first; further axes are independent columns. Alone, an array (..., 3) whose rows are
        [x1, x2, x3], read in place.
    x2, x3 : arrays of x1's shape, of bool, integers or floats
        Rules: -1, 0 or 1, and 0 or 1.
    state : (...) array, optional
        The memory to start from, x1's shape without its time axis; 0 by default. With `keys` (K, ...).
    keys : (T,) array of integers, optional
        The stream that each step belongs to, 0 to K - 1: one memory for each. K is taken from `state`, else
        from the largest key.
    fill : number
        y of a silent step. 0 is the LSTM's o * a, nan says 'no output'.
    strict : bool
        Refuse other rules, rather than read them as keep and silent.
    out : array of y's shape and dtype, optional
        Where to write y; must not overlap an input.
    threads : int, optional
        By default one for small input, else one for each core. The answer does not depend on it.

    Returns
    -------
    Scan(y, state)
        y is float32 for float32 values, float64 for float64, int64 for integers. The state has the
        accumulator's dtype, float64 or int64.

    Raises
    ------
    ValueError
        A shape does not fit, a rule is not one of those above (the first such index is named), a key is
        negative or has no state, `out` overlaps an input or is read-only.
    TypeError
        A dtype is none of those above.
    OverflowError
        An integer memory leaves int64.

    Notes
    -----
    A reset is an assignment: the memory is exactly 0 afterwards even if it was nan or infinite. float32 is
    accumulated in float64 and rounded once for each output. Steps of a column are added in their order; only a
    single column is added up in segments, so there a float may differ from the plain loop by the rounding of
    a float64 sum. Time: bound by memory on large arrays, about 10 bytes a step for float32 and int8 rules.

    References
    ----------
    Hochreiter & Schmidhuber (1997), Long short-term memory; Gers, Schmidhuber & Cummins (2000), Learning to
    forget, for the gate that resets.

    Examples
    --------
    >>> y, state = toy_scan([3.0, 5.0, 2.0], x2=[1, 1, 1], x3=[0, 0, 1])
    >>> y, float(state)
    (array([ 0.,  0., 10.]), 10.0)
    >>> toy_scan([1.0], [1], [1], state=state).y
    array([11.])
    """
    values, control, emit = _three(x1, x2, x3)
    is_float = values.dtype.kind == "f"
    accumulator = np.dtype(np.float64 if is_float else np.int64)
    y_dtype = values.dtype if is_float else accumulator
    filled = _checks.fill_value(fill, y_dtype)
    codes, a = _memories(state, keys, values, accumulator)
    inputs = {"x1": x1, "x2": x2, "x3": x3, "keys": keys, "state": state}
    y = None if out is None else _checks.output(out, values.shape, y_dtype, inputs)
    control = _rules("x2", control, -1, strict)
    emit = _rules("x3", emit, 0, strict)
    count = _threads.choose(threads, values.size, _ENOUGH)
    run = _Run([values, control, emit], y, y_dtype, a, codes, filled, count)
    return run.scan(kernels.toy_columns, kernels.toy_strips, kernels.toy_keyed, kernels.toy_sequence)


def gated_scan(
    x: ArrayLike,
    f: ArrayLike,
    i: ArrayLike,
    o: ArrayLike,
    *,
    state: ArrayLike | None = None,
    keys: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> Scan:
    """Run the gated recurrence, the toy cell with real-valued gates.

    ::

        a_t = f_t * a_{t-1} + i_t * x_t
        y_t = o_t * a_t

    Parameters
    ----------
    x : (T, ...) array of float32, float64 or integers
        Values, time first; further axes are independent columns.
    f, i, o : arrays that broadcast to x's shape, of bool, integers, float32 or float64
        Forget, input and output gates. A gate of shape (T, 1) is one gate a step for a whole vector of x.
    state, keys, out, threads
        As in `toy_scan`.

    Returns
    -------
    Scan(y, state)
        y has the dtype that NumPy promotes x and the floating gates to: float32 or float64; int64 where x and
        all gates are integers or bool. The state is float64 or int64.

    Raises
    ------
    ValueError, TypeError, OverflowError
        As in `toy_scan`.

    Notes
    -----
    Plain IEEE arithmetic in float64, each operation rounded, y rounded once more for float32: 0 * nan stays
    nan, so unlike a reset of `toy_scan` a forget gate of 0 does not clear a nan or an infinity.

    References
    ----------
    Gers, Schmidhuber & Cummins (2000), Learning to forget.

    Examples
    --------
    >>> gated_scan([1.0, 1.0, 1.0], f=0.5, i=1, o=[0, 1, 1])
    Scan(y=array([0.  , 1.5 , 1.75]), state=np.float64(1.75))
    """
    values = _checks.array("x", x)
    if values.ndim == 0:
        raise ValueError("x must have a time axis, got a scalar")
    gates = [_gate(name, g, values.shape) for name, g in (("f", f), ("i", i), ("o", o))]
    floats = [array.dtype for array in (values, *gates) if array.dtype.kind == "f"]
    if not floats:
        values, *gates = (_checks.values(name, a) for name, a in zip("xfio", (values, *gates), strict=True))
    accumulator = np.dtype(np.float64 if floats else np.int64)
    y_dtype = np.result_type(*floats) if floats else accumulator
    if values.dtype.kind != "f" and floats:
        y_dtype = accumulator
    codes, a = _memories(state, keys, values, accumulator)
    inputs = {"x": x, "f": f, "i": i, "o": o, "keys": keys, "state": state}
    y = None if out is None else _checks.output(out, values.shape, y_dtype, inputs)
    count = _threads.choose(threads, values.size, _ENOUGH)
    run = _Run([values, *gates], y, y_dtype, a, codes, y_dtype.type(0), count)
    return run.scan(kernels.gated_columns, kernels.gated_strips, kernels.gated_keyed, None)


def rules_to_gates(x2: ArrayLike, x3: ArrayLike) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int8]]:
    """Turn the rules of the toy cell into the gates (f, i, o) of `gated_scan`.

    ``f = 0 where x2 = -1, else 1; i = 1 where x2 = 1, else 0; o = x3``

    Parameters
    ----------
    x2, x3 : arrays of one shape, of bool, integers or floats
        -1, 0 or 1, and 0 or 1.

    Returns
    -------
    (f, i, o) : int8 arrays of that shape

    Raises
    ------
    ValueError, TypeError
        As in `toy_scan` with ``strict=True``.

    Examples
    --------
    >>> f, i, o = rules_to_gates([1, 0, -1], [0, 1, 1])
    >>> f.tolist(), i.tolist(), o.tolist()
    ([1, 1, 0], [1, 0, 0], [0, 1, 1])
    """
    control, emit = _checks.array("x2", x2), _checks.array("x3", x3)
    _checks.same_shape("x3", emit, control.shape, "x2")
    control, emit = _rules("x2", control, -1, True), _rules("x3", emit, 0, True)
    return (control != -1).view(np.int8), (control == 1).view(np.int8), (emit == 1).view(np.int8)


@inline
def toy_step(a: Any, x1: Any, x2: Any, x3: Any) -> tuple[Any, Any]:
    """One step of the toy cell on scalars, from Python or from a function under `@njit`.

    ``a = a + x1 | 0 | a`` for ``x2 = 1 | -1 | 0`` (and anything else), then ``y = a | 0`` for ``x3 = 1 | 0``.

    Parameters
    ----------
    a, x1, x2, x3 : numbers
        Memory, value and rules. Compiled code checks none of them.

    Returns
    -------
    (a, y) : the new memory and the output

    Examples
    --------
    >>> toy_step(8.0, 2.0, 1, 1)
    (10.0, 10.0)
    """
    kind = type(a)
    if x2 == 1:
        a = a + x1
    elif x2 == -1:
        a = kind(0)
    return a, a if x3 == 1 else kind(0)


def _three(x1: Any, x2: Any, x3: Any) -> tuple[Array, Array, Array]:
    """The three arrays of a toy scan, given as three or as one of rows [x1, x2, x3]."""
    if x2 is None and x3 is None:
        rows = _checks.values("x", x1)
        if rows.ndim < 2 or rows.shape[-1] != 3:
            raise ValueError(f"x must have shape (T, ..., 3) when x2 and x3 are not given, got {rows.shape}")
        values, control, emit = rows[..., 0], rows[..., 1], rows[..., 2]
    else:
        if x2 is None or x3 is None:
            raise TypeError(f"{'x2' if x2 is None else 'x3'} must be given with the other one, got None")
        values, control, emit = _checks.values("x1", x1), _checks.array("x2", x2), _checks.array("x3", x3)
        if values.ndim == 0:
            raise ValueError("x1 must have a time axis, got a scalar")
        _checks.same_shape("x2", control, values.shape, "x1")
        _checks.same_shape("x3", emit, values.shape, "x1")
    return values, control, emit


def _gate(name: str, given: Any, shape: tuple[int, ...]) -> Array:
    gate = _checks.array(name, given)
    try:
        return np.broadcast_to(gate, shape)
    except ValueError:
        raise ValueError(f"{name} must broadcast to the shape of x, {shape}, got {gate.shape}") from None


def _rules(name: str, rules: Array, low: int, strict: bool) -> Array:
    """The rules in a signed dtype, where an unsigned 255 can't pass for -1; others than low, 0, 1 refused."""
    signed = np.minimum(rules, 2).astype(np.int8) if rules.dtype.kind == "u" else rules
    if strict and signed.size:
        flat = signed.reshape(-1, 1) if signed.ndim == 1 else signed.reshape(len(signed), -1)
        like = flat.dtype.type
        if kernels.has_other_rules(address(flat), *flat.strides, *flat.shape, like(low), like(0)):
            index = _checks.first_index(~((rules == low) | (rules == 0) | (rules == 1)))
            allowed = "-1, 0 or 1" if low else "0 or 1"
            at = index[0] if len(index) == 1 else index
            raise ValueError(f"{name} must be {allowed}, got {rules[index]} at index {at}")
    return signed


def _memories(state: Any, keys: Any, values: Array, accumulator: np.dtype[Any]) -> tuple[Array | None, Array]:
    """The checked keys, and a new array of memories, with an axis of keys in front (one key where there are none)."""
    inner = values.shape[1:]
    if keys is None:
        if state is None:
            return None, np.zeros((1, *inner), accumulator)
        return None, _checks.memories(state, inner, accumulator, keyed=False)[None]
    codes = _checks.array("keys", keys, "integers")
    _checks.same_shape("keys", codes, values.shape[:1], "the time axis")
    largest = int(codes.max()) if codes.size else -1
    if state is None:
        a = np.zeros((largest + 1, *inner), accumulator)
    else:
        a = _checks.memories(state, inner, accumulator, keyed=True)
    if largest < len(a) and (codes.dtype.kind == "u" or not codes.size or codes.min() >= 0):
        return codes, a
    (at,) = _checks.first_index((codes < 0) | (codes >= len(a)))
    raise ValueError(f"keys must be from 0 to K - 1 = {len(a) - 1}, got {codes[at]} at index {at}")


class _Run:
    """One checked call: brings the arrays to (T, B), picks the kernel and the threads, and takes y back."""

    def __init__(
        self,
        arrays: list[Array],
        out: Array | None,
        dtype: np.dtype[Any],
        a: Array,
        codes: Array | None,
        fill: Any,
        threads: int,
    ) -> None:
        x = arrays[0]
        self.shape = x.shape
        self.columns = math.prod(x.shape[1:])
        # columns in the order in which x has them in memory, so that any contiguous x is a matrix without a copy
        self.axes = (
            sorted(range(1, x.ndim), key=lambda axis: -abs(x.strides[axis])) if x.ndim > 2 else [1] * (x.ndim - 1)
        )
        self.arrays = [self._matrix(array) for array in arrays]
        self.out = out
        self.a = a if x.ndim == 2 else self._matrix(a).copy()
        self.codes, self.threads, self.fill = codes, threads, fill
        y = None if out is None or dtype.kind == "i" else self._matrix(out)
        if y is None or (out is not None and not np.may_share_memory(y, out)):
            y = np.empty_like(self.arrays[0], dtype, order="K")  # integers may overflow: they go to `out` at the end
        self.y = y
        self.zero = self.a.dtype.type(0)
        self.likes = [array.dtype.type(0) for array in self.arrays]

    def _matrix(self, array: Array) -> Array:
        if len(self.axes) < 2:
            return array if self.axes else array[:, None]
        return array.transpose(0, *self.axes).reshape(len(array), self.columns)

    def _unmatrix(self, matrix: Array) -> Array:
        if len(self.axes) < 2:
            return matrix if self.axes else matrix[:, 0]
        axes = [0, *self.axes]
        moved = matrix.reshape(len(matrix), *(self.shape[axis] for axis in self.axes))
        return moved.transpose([axes.index(axis) for axis in range(len(axes))])

    def scan(self, columns: Any, strips: Any, keyed: Any, sequence: Any) -> Scan:
        if self.y.size and self._dispatch(columns, strips, keyed, sequence):
            raise OverflowError("an integer memory leaves int64: x1 (or x) is too large; convert it to float64")
        y = self.out
        if y is None:
            y = self._unmatrix(self.y)
        elif not np.may_share_memory(self.y, y):
            y[...] = self._unmatrix(self.y)
        state = self._unmatrix(self.a)
        return Scan(y, state if self.codes is not None else state[0])

    def _dispatch(self, columns: Any, strips: Any, keyed: Any, sequence: Any) -> bool:
        """Run the kernel that fits; returns whether an integer overflowed."""
        T, B = self.y.shape
        everything = [*self.arrays, self.y]
        if self.codes is not None:
            return self._keyed(keyed, self.codes)
        if B == 1:
            return self._keyed(keyed, np.zeros(1, np.int8)) if sequence is None else self._sequence(sequence)
        pieces = _threads.split(B, LANES, self.threads)
        beside = [array.strides[1] == array.itemsize for array in everything]
        single = [array.strides[1] == 0 for array in everything]
        single[0] = single[-1] = False
        if sequence is not None:
            single = [False] * len(single)
        if B >= LANES and all(b or s for b, s in zip(beside, single, strict=True)):
            return self._columns(columns, sequence is not None, pieces)
        rows_first = abs(self.arrays[0].strides[0]) > abs(self.arrays[0].strides[1])
        block, stretch = (8, 8) if rows_first else (BLOCK, T)
        arguments = [part for array in everything for part in (address(array), *array.strides)]
        tail = (self.fill, self.zero, *self.likes)

        def piece(first: int, last: int) -> bool:
            _room, work = _work()
            overflow = strips(*arguments, address(self.a), T, first, last, block, stretch, work, *tail)
            return bool(overflow)

        return any(_threads.run(piece, pieces))

    def _columns(self, columns: Any, toy: bool, pieces: list[tuple[int, int]]) -> bool:
        T, B = self.y.shape
        arguments: list[Any] = []
        for k, array in enumerate([*self.arrays, self.y]):
            gate = not toy and 0 < k < len(self.arrays)
            arguments += [address(array), *array.strides] if gate else [address(array), array.strides[0]]
        aligned = not (int(address(self.y)) % 16 or self.y.strides[0] % 16 or B * self.y.itemsize % 16)
        stream = (self.y.nbytes >= _STREAM and aligned,) if toy else ()
        tail = (self.fill, *stream, self.zero, *self.likes)
        return any(
            _threads.run(lambda first, last: bool(columns(*arguments, address(self.a), T, first, last, *tail)), pieces)
        )

    def _keyed(self, keyed: Any, codes: Array) -> bool:
        T, B = self.y.shape
        arguments = [part for array in self.arrays for part in (address(array), *array.strides)]
        step = codes.strides[0] if self.codes is not None else 0
        return bool(
            keyed(
                *arguments, address(codes), step, address(self.y), *self.y.strides, address(self.a), T, B,
                self.fill, self.zero, *self.likes, codes.dtype.type(0),
            )
        )  # fmt: skip

    def _sequence(self, sequence: Any) -> bool:
        """One column. Threads begin at multiples of SEQUENCE, as one thread's blocks do: the same sums either way."""
        T = len(self.y)
        places = [part for array in (*self.arrays, self.y) for part in (address(array), array.strides[0])]
        tail = (self.fill, self.zero, *self.likes)
        pieces = _threads.split(T, kernels.SEQUENCE, self.threads)
        starts = self._starts(pieces, places) if len(pieces) > 1 else None
        if starts is None:
            pieces, starts = [(0, T)], self.a.reshape(1)

        def piece(first: int, last: int) -> bool:
            memory = address(starts) + 8 * pieces.index((first, last))
            _room, work = _work()
            overflow = sequence(*places, memory, first, last, work, *tail)
            return bool(overflow)

        overflow = any(_threads.run(piece, pieces))
        self.a[...] = starts[-1]
        return overflow

    def _starts(self, pieces: list[tuple[int, int]], places: list[Any]) -> Array | None:
        """The memory at each piece's first step; None where float sums are so large that only steps in turn tell."""
        segments = pieces[-1][0] // BLOCK
        totals, bounds = np.empty(segments, self.zero.dtype), np.empty(segments, np.float64)
        forgot = np.empty(segments, np.int8)
        sums = address(totals), address(bounds), address(forgot)

        def piece(first: int, last: int) -> None:
            _room, work = _work()
            kernels.toy_sequence_sums(*places[:4], first, last, *sums, work, self.zero, *self.likes[:2])

        _threads.run(piece, _threads.split(pieces[-1][0], kernels.SEQUENCE, self.threads))
        starts = np.full(len(pieces), self.a.item(), self.zero.dtype)
        for k, (first, last) in enumerate(pieces[:-1]):
            starts[k + 1] = starts[k]
            if not kernels.toy_sequence_carry(*sums, first, last, address(starts) + 8 * (k + 1), self.zero):
                return None
        return starts


def _work() -> tuple[Array, int]:
    """Room for five packed blocks and its address, a multiple of 64; it lives as long as the array does."""
    room = np.empty(5 * PACKED + 64, np.uint8)
    return room, (address(room) + 63) // 64 * 64
