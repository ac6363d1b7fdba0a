"""The toy memory cell and the gated recurrence over whole arrays: check, allocate, run, return."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcell import _checks, _nulls, _threads
from fastcell._jit import inline_for_all
from fastcell.scan.arguments import as_array, checked_rules, gate, memories, toy_arrays
from fastcell.scan.dispatch import BOUNDED, GATED, TOY, Run
from fastcell.scan.small_calls import small_gated, small_toy

__all__ = ["Scan", "gated_scan", "rules_to_gates", "toy_scan", "toy_step"]

_ENOUGH = 1 << 18  # steps times columns from which a second thread pays


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
    low: float | None = None,
    high: float | None = None,
    nulls: str = "raise",
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> Scan:
    """Run the toy memory cell: a cumulative sum with reset and emit.

    At each step, `x2 = 1` adds x1 to the memory, `x2 = 0` keeps the memory, `x2 = -1` resets it to 0, and `x2 = 2`
    restarts it from x1; then `x3 = 1` outputs it::

        a_t = a_{t-1} + x1_t  |  a_{t-1}  |  0  |  0 + x1_t      for x2_t = 1 | 0 | -1 | 2
        y_t = a_t  |  fill                                        for x3_t = 1 | 0

    With `low` and `high` the memory is held between them: after each rule, ``a_t = min(max(a_t, low), high)``.

    Parameters
    ----------
    x1 : (T, ...) array of float32, float64 or integers
        Values, time first; further axes are independent columns. Alone, an array (..., 3) whose rows are
        [x1, x2, x3], read in place.
    x2, x3 : arrays of x1's shape, of bool, integers or floats; or a number for all steps
        Rules: -1, 0, 1 or 2, and 0 or 1.
    state : (...) array, optional
        The memory to start from, x1's shape without its time axis; 0 by default. With `keys` (K, ...).
    keys : (T,) array of integers, optional
        The stream that each step belongs to, 0 to K - 1: one memory for each. K is taken from `state`, else
        from the largest key, as long as K times the columns is no more than 2**24 or 16 times the number of values.
        Names, and numbers far apart, are numbered by ``numpy.unique(keys, return_inverse=True)[1]`` or
        ``pandas.factorize(keys)[0]``; `fastcell.frames` numbers them by itself.
    fill : number
        y of a silent step. 0 is the LSTM's o * a, nan says 'no output'.
    strict : bool
        Refuse other rules, rather than read them as keep and silent.
    low, high : number, optional
        The memory's floor and capacity, such as an inventory's, or the 0 of a CUSUM chart; integers where the values
        are. A given state may lie outside until its first step.
    nulls : "raise" or "keep"
        What a masked element of a numpy.ma.MaskedArray is, as a null in `fastcell.frames`: an error that names it, or
        0. With "keep" a masked x1 adds nothing and a masked x2 keeps, so that y shows the memory as it was; where x3
        is masked the step is silent. A value that its rule doesn't read (x2 of -1 or 0) may always be masked. Other
        arguments must not be, nor hold nulls of pandas', Polars' or Arrow's, which are for `fastcell.frames`.
    out : array of y's shape and dtype, optional
        Where to write y; must not overlap an input, nor have a mask.
    threads : int, optional
        By default one for small input, else one for each core that the process may use: its affinity, a cgroup's
        quota, FASTCELL_NUM_THREADS (else OMP_NUM_THREADS, NUMBA_NUM_THREADS) as it was when fastcell was imported.
        Whatever is asked for, no more run than FASTCELL_NUM_THREADS says. The answer does not depend on it.

    Returns
    -------
    Scan(y, state)
        y is float32 for float32 values, float64 for float64, int64 for integers; a masked array, of which nothing is
        masked, where x1 is one. The state has the accumulator's dtype, float64 or int64.

    Raises
    ------
    ValueError
        A shape does not fit, a rule is not one of those above or an element masked (the first is named), a key is
        negative, has no state or without one is far beyond the number of values, `low` is above `high` or one of them
        nan, `out` overlaps an input or is read-only.
    TypeError
        A dtype is none of those above.
    OverflowError
        An integer memory leaves int64 at an end that has no bound.
    MemoryError
        y or the memories would not fit the memory that is free; nothing is allocated.

    Notes
    -----
    A reset is an assignment: the memory is exactly 0 afterwards even if it was nan or infinite, and after a restart
    exactly x1. float32 is accumulated in float64 and rounded once for each output. Steps of a column are added in their
    order; only a single column, and with vectors of 512 bits float32 columns whose steps lie side by side and that are
    left over from eights, are added up in groups, so there a float may differ from the plain loop by the rounding of a
    float64 sum.
    Time: a call of up to 2**14 values takes some 5 microseconds and a nanosecond or two a value, besides what NumPy
    takes to make arrays of lists. Where values are unsigned integers of 64 bits, unaligned or of another byte order, or
    rules are made 0 by ``strict=False``, the first step waits ten times as long. Large arrays run at 0.6 to 0.9 of
    the speed of memory, of which a step with float32 and int8 rules takes 10 bytes; with bounds in 10 to 30% more time,
    in one column of integers in twice as much.

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
    >>> toy_scan([3, 5, 2, 4], x2=[1, 1, 2, 1], x3=1).y
    array([3, 8, 2, 6])
    >>> toy_scan([3, 5, -9, 4], x2=1, x3=1, low=0, high=7).y  # a store's stock
    array([3, 7, 0, 4])
    >>> toy_scan(np.ma.array([3, 5, 4], mask=[0, 1, 0]), x2=1, x3=1, nulls="keep").y.tolist()
    [3, 3, 7]
    """
    if nulls != "raise":
        _nulls.checked(nulls)
    if not type(x1) is type(x2) is type(x3) is np.ndarray:
        x1 = as_array("x" if x2 is x3 is None else "x1", x1)
        x2, x3 = as_array("x2", x2), as_array("x3", x3)
    if type(keys) is not np.ndarray:
        keys = as_array("keys", keys, "integers")
    if (small := small_toy(x1, x2, x3, state, keys, fill, low, high, out, threads)) is not None:
        return Scan(*small)
    values, control, emit = toy_arrays(x1, x2, x3, nulls)
    is_float = values.dtype.kind == "f"
    accumulator = np.dtype(np.float64 if is_float else np.int64)
    y_dtype = values.dtype if is_float else accumulator
    filled = _checks.fill_value(fill, y_dtype)
    bounds = _checks.bounds(low, high, accumulator)
    codes, a = memories(state, keys, values, accumulator)
    inputs = {"x1": x1, "x2": x2, "x3": x3, "keys": keys, "state": state}
    y = None if out is None else _checks.output(out, values.shape, y_dtype, inputs)
    count = _threads.choose(threads, values.size, _ENOUGH)
    control = checked_rules("x2", control, -1, strict, count)
    emit = checked_rules("x3", emit, 0, strict, count)
    cell = TOY if bounds is None else BOUNDED
    y, last = Run(cell, [values, control, emit], y, y_dtype, a, codes, filled, count, bounds).scan()
    return Scan(y if out is not None else _nulls.as_given(y, x1), last)


def gated_scan(
    x: ArrayLike,
    f: ArrayLike,
    i: ArrayLike,
    o: ArrayLike,
    *,
    state: ArrayLike | None = None,
    keys: ArrayLike | None = None,
    nulls: str = "raise",
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
    nulls : "raise" or "keep"
        As in `toy_scan`; with "keep" a masked x or i is 0, f 1 and o 0.

    Returns
    -------
    Scan(y, state)
        y has the dtype that NumPy promotes x and the floating gates to: float32 or float64, where Python's own
        numbers don't count; int64 where x and all gates are integers or bool; a masked array, of which nothing is
        masked, where x is one. The state is float64 or int64.

    Raises
    ------
    ValueError, TypeError, OverflowError
        As in `toy_scan`.

    Notes
    -----
    Plain IEEE arithmetic in float64, each operation rounded, y rounded once more for float32: 0 * nan stays
    nan, so unlike a reset of `toy_scan` a forget gate of 0 does not clear a nan or an infinity. Steps of a column are
    taken in their order; only a single float column of 512 steps or more, where steps lie side by side, is taken eight
    steps at a time, so there a float may differ from the plain loop by the rounding of a float64 sum. Steps that could
    differ by more are taken in their order there, too: those near an infinity, a nan, a memory or an added value beyond
    1e140, a gate beyond 4, or one below 2**-120 that is not 0.

    References
    ----------
    Gers, Schmidhuber & Cummins (2000), Learning to forget.

    Examples
    --------
    >>> gated_scan([1.0, 1.0, 1.0], f=0.5, i=1, o=[0, 1, 1])
    Scan(y=array([0.  , 1.5 , 1.75]), state=np.float64(1.75))
    """
    if nulls != "raise":
        _nulls.checked(nulls)
    if not type(x) is type(f) is type(i) is type(o) is np.ndarray:
        x, f, i, o = as_array("x", x), as_array("f", f), as_array("i", i), as_array("o", o)
    if type(keys) is not np.ndarray:
        keys = as_array("keys", keys, "integers")
    if (small := small_gated(x, f, i, o, state, keys, out, threads)) is not None:
        return Scan(*small)
    given, inputs = x, {"x": x, "f": f, "i": i, "o": o, "keys": keys, "state": state}
    x, f, i, o = _nulls.filled({"x": x, "f": f, "i": i, "o": o}, nulls)
    values = _checks.array("x", x)
    if values.ndim == 0:
        raise ValueError("x must have a time axis, got a scalar")
    gates = [gate(name, g, values.shape) for name, g in (("f", f), ("i", i), ("o", o))]
    floats = [array.dtype for array in (values, *gates) if array.dtype.kind == "f"]
    typed = [a.dtype for a, given in zip((values, *gates), (x, f, i, o), strict=True) if type(given) is not float]
    if not floats:
        values, *gates = (_checks.values(name, a) for name, a in zip("xfio", (values, *gates), strict=True))
    accumulator = np.dtype(np.float64 if floats else np.int64)
    y_dtype = accumulator
    if values.dtype.kind == "f":
        y_dtype = np.result_type(*(dtype for dtype in typed if dtype.kind == "f"))  # of gates that are no plain numbers
    codes, a = memories(state, keys, values, accumulator)
    y = None if out is None else _checks.output(out, values.shape, y_dtype, inputs)
    count = _threads.choose(threads, values.size, _ENOUGH)
    y, last = Run(GATED, [values, *gates], y, y_dtype, a, codes, y_dtype.type(0), count).scan()
    return Scan(y if out is not None else _nulls.as_given(y, given), last)


def rules_to_gates(x2: ArrayLike, x3: ArrayLike) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int8]]:
    """Turn the rules of the toy cell into the gates (f, i, o) of `gated_scan`.

    ``f = 0 where x2 = -1 or 2, else 1; i = 1 where x2 = 1 or 2, else 0; o = x3``

    Parameters
    ----------
    x2, x3 : arrays of one shape, of bool, integers or floats; one of them may be a number
        -1, 0, 1 or 2, and 0 or 1.

    Returns
    -------
    (f, i, o) : int8 arrays of that shape

    Raises
    ------
    ValueError, TypeError
        As in `toy_scan` with ``strict=True``.

    Examples
    --------
    >>> f, i, o = rules_to_gates([1, 0, -1, 2], [0, 1, 1, 1])
    >>> f.tolist(), i.tolist(), o.tolist()
    ([1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 1, 1])
    """
    control, emit = _checks.array("x2", x2), _checks.array("x3", x3)
    if control.ndim and emit.ndim:
        _checks.same_shape("x3", emit, control.shape, "x2")
    shape = np.broadcast_shapes(control.shape, emit.shape)
    control = checked_rules("x2", np.broadcast_to(control, shape), -1, True, 1)
    emit = checked_rules("x3", np.broadcast_to(emit, shape), 0, True, 1)
    forget, take = (control == -1) | (control == 2), (control == 1) | (control == 2)
    return (~forget).view(np.int8), take.view(np.int8), (emit == 1).view(np.int8)


@inline_for_all
def toy_step(a: Any, x1: Any, x2: Any, x3: Any) -> tuple[Any, Any]:
    """One step of the toy cell on scalars, from Python or from a function under `@njit`.

    ``a = a + x1 | 0 | 0 + x1 | a`` for ``x2 = 1 | -1 | 2 | 0`` (and anything else), then ``y = a | 0`` for
    ``x3 = 1 | 0``.

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
    if x2 == -1 or x2 == 2:
        a = kind(0)
    if x2 == 1 or x2 == 2:
        a = a + x1
    return a, a if x3 == 1 else kind(0)
