"""The scans and the LSTM on dask arrays, over many cores or machines: nothing is computed before `.compute()`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcell import _checks, _nulls
from fastcell import scan as scans
from fastcell._model import LSTM
from fastcell.dask.bounded import Bounded
from fastcell.dask.chunks import Gated, Place, Toy, check_keys, check_lengths
from fastcell.scan import Scan

try:
    import dask.array as da

    from fastcell.dask.graphs import Streams, in_chunks, keyed_graph, lstm_graph, lstm_keys_graph, scan_graph
except ImportError as error:
    raise ImportError("fastcell.dask needs Dask: pip install 'fastcell[dask]'") from error

__all__ = ["gated_scan", "lstm", "toy_scan"]


def toy_scan(
    x1: Any,
    x2: Any = None,
    x3: Any = None,
    *,
    state: Any = None,
    keys: Any = None,
    num_keys: int | None = None,
    fill: float = 0.0,
    strict: bool = True,
    low: float | None = None,
    high: float | None = None,
    nulls: str = "raise",
) -> Scan:
    """`fc.toy_scan` on dask arrays, in parallel over chunks of columns and of time.

    ``a_t = a_{t-1} + x1_t | 0 | a_{t-1} | 0 + x1_t`` for ``x2_t = 1 | -1 | 0 | 2``, ``y_t = a_t | fill`` for
    ``x3_t = 1 | 0``.
    A chunk of steps is summed up as whether it forgets and what it adds; the summaries are chained by pairs of pairs,
    so that n chunks take O(log n) rounds; then each chunk is scanned from its true memory. With `low` or `high` the
    summary is the map ``min(max(a + total, least), most)``.

    Parameters
    ----------
    x1, x2, x3 : (T, ...) dask arrays, or some of them NumPy's
        As in `fc.toy_scan`, x1 alone of shape (T, ..., 3) and numbers for x2 and x3 too. Different chunks are cut at
        each other's borders. Chunks of unknown length are taken as they are.
    state : (...) dask or NumPy array, optional
        The memory to start from; 0 by default. With `keys` (K, ...).
    keys : (T,) dask or NumPy array of integers, optional
        The stream that each step belongs to, 0 to K - 1, as in `fc.toy_scan`.
    num_keys : int, optional
        K, which only all keys together could tell; needed with keys where there is no state.
    fill, strict, low, high
        As in `fc.toy_scan`.
    nulls : "raise" or "keep"
        What masked elements are, as in `fc.toy_scan`; y's chunks have no masks.

    Returns
    -------
    Scan(y, state)
        dask arrays in x1's chunks: y of float32, float64 or int64, the state of float64 or int64.

    Raises
    ------
    ValueError, TypeError
        At once for shapes and dtypes; when computed, for a rule or a masked element, whose index in the whole array
        is named.
    OverflowError
        When computed, an integer memory leaves int64. A chunk's own sum may leave it.
    NotImplementedError
        Under Dask's ``array.query-planning``.

    Notes
    -----
    Integers are exact. Floats may differ from one call by the rounding of float64 sums, in the order that the
    chunks decide, whatever the workers; near float64's end, beyond 1e300, rounding may decide whether a memory is
    infinite. The rules of what is computed are checked, and those of all steps before it.

    Time: steps are run twice, between bounds up to four times, but for those of the last chunk. At most five tasks a
    chunk, each on one thread. A chunk is let go soon after it was summed up, where Dask's order of tasks is followed.
    One with sums beyond 1e300 or int64 hands on its steps instead of their sum, which takes their memory and, between
    bounds, some microseconds a step. With keys a chunk waits for the memories of the one before: columns alone run in
    parallel.

    References
    ----------
    Blelloch (1990), Prefix sums and their applications; Hochreiter & Schmidhuber (1997), Long short-term memory.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> x1 = da.arange(10, chunks=3)
    >>> rules = np.ones(10, np.int8)
    >>> y, state = toy_scan(x1, rules, rules)
    >>> y
    dask.array<toy-scan-y, shape=(10,), dtype=int64, chunksize=(3,), chunktype=numpy.ndarray>
    >>> y.compute(), int(state)
    (array([ 0,  1,  3,  6, 10, 15, 21, 28, 36, 45]), 45)
    """
    if x2 is None and x3 is None:
        if not isinstance(x1, da.Array) or x1.ndim < 2 or not _agree(x1.shape[-1:], (3,)):
            raise ValueError(f"x must be a dask array (T, ..., 3) when x2 and x3 are not given, got {_described(x1)}")
        x1, x2, x3 = x1[..., 0], x1[..., 1], x1[..., 2]
    elif x2 is None or x3 is None:
        raise TypeError(f"{'x2' if x2 is None else 'x3'} must be given with the other one, got None")
    arrays = _given({"x1": x1, "x2": x2, "x3": x3}, "fc.toy_scan")
    if not arrays[0].ndim:
        raise ValueError("x1 must have a time axis, got a scalar")
    arrays[1:] = (array if array.ndim else _for_each(array, arrays[0]) for array in arrays[1:])
    for name, array in zip(("x2", "x3"), arrays[1:], strict=True):
        if not _agree(array.shape, arrays[0].shape):
            raise ValueError(f"{name} must have the shape of x1, {arrays[0].shape}, got {array.shape}")
    streams = None
    if keys is not None or num_keys is not None:
        streams = _streams(keys, num_keys, _count(state), arrays[0].shape[0], "the time axis")
    state, start = _start(state, arrays[0].shape[1:], streams)
    _nulls.checked(nulls)
    strict = _checks.flag("strict", strict)
    meta = scans.toy_scan(*_empty(arrays), state=start, fill=fill, strict=strict, low=low, high=high)
    plain = low is None and high is None
    cell = Toy(fill, strict, nulls) if plain else Bounded(fill, strict, nulls, low, high)
    if streams is None:
        return scan_graph("toy-scan", cell, arrays, state, meta)
    return keyed_graph("toy-scan", cell, arrays, streams, state, meta)


def gated_scan(
    x: Any,
    f: Any,
    i: Any,
    o: Any,
    *,
    state: Any = None,
    keys: Any = None,
    num_keys: int | None = None,
    nulls: str = "raise",
) -> Scan:
    """`fc.gated_scan` on dask arrays, in parallel over chunks of columns and of time.

    ``a_t = f_t * a_{t-1} + i_t * x_t``, ``y_t = o_t * a_t``. A chunk of steps is summed up as one affine map of its
    first memory; the maps are chained as in `toy_scan`.

    Parameters
    ----------
    x : (T, ...) dask or NumPy array
    f, i, o : dask or NumPy arrays that broadcast to x's shape, or numbers
        A dask array among the four at least.
    state, keys, num_keys, nulls
        As in `toy_scan`.

    Returns
    -------
    Scan(y, state)
        dask arrays in the dtypes of `fc.gated_scan`, where plain numbers count as float64.

    Raises
    ------
    ValueError, TypeError, OverflowError, NotImplementedError
        As in `toy_scan`.

    Notes
    -----
    Plain IEEE arithmetic: 0 * nan stays nan. The memory that a chunk starts from may differ from one call's by the
    rounding of float64, relative to the largest memory on the way, which later forget gates above 1 magnify; nan and
    infinity come where they come in one call, but where memories pass 1e300, or fall under 1e-300 and grow again.

    Time and tasks as in `toy_scan`, with a dearer summary. No product of forget gates is lost to overflow: a chunk
    whose own sums pass 1e300 or products 1e290, or with an infinite f, hands on its steps, which takes their memory;
    so does one of integers whose forget gates multiply to another number than -1, 0 or 1.

    References
    ----------
    Blelloch (1990), Prefix sums and their applications; Gers, Schmidhuber & Cummins (2000), Learning to forget.

    Examples
    --------
    >>> import dask.array as da
    >>> y, state = gated_scan(da.ones(6, chunks=2), f=0.5, i=1, o=1)
    >>> y.compute()
    array([1.     , 1.5    , 1.75   , 1.875  , 1.9375 , 1.96875])
    """
    arrays = _given({"x": x, "f": f, "i": i, "o": o}, "fc.gated_scan")
    shape = arrays[0].shape
    if not shape:
        raise ValueError("x must have a time axis, got a scalar")
    for name, gate in zip("fio", arrays[1:], strict=True):
        tail = shape[len(shape) - gate.ndim :]
        if gate.ndim > len(shape) or not all(
            n == 1 or _agree((n,), (m,)) for n, m in zip(gate.shape, tail, strict=True)
        ):
            raise ValueError(f"{name} must broadcast to the shape of x, {shape}, got {gate.shape}")
    streams = None
    if keys is not None or num_keys is not None:
        streams = _streams(keys, num_keys, _count(state), shape[0], "the time axis")
    state, start = _start(state, shape[1:], streams)
    _nulls.checked(nulls)
    meta = scans.gated_scan(*_empty(arrays), state=start)
    cell = Gated(np.asarray(meta.state).dtype, nulls)
    if streams is None:
        return scan_graph("gated-scan", cell, arrays, state, meta)
    return keyed_graph("gated-scan", cell, arrays, streams, state, meta)


def lstm(
    lstm: LSTM,
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    keys: Any = None,
    num_keys: int | None = None,
    nulls: str = "raise",
) -> tuple[Any, tuple[Any, Any]]:
    """An `fc.LSTM` on a dask array, in parallel over chunks of rows.

    Along time, a chunk waits for the state of the one before, or of the one after it with ``reverse=True``.

    Parameters
    ----------
    lstm : fc.LSTM
    x : (T, B, I) dask array, (B, T, I) where the LSTM has batch_first, or (T, I)
        Inputs are gathered to one chunk, and with two directions time must be one: ``x.rechunk({0: -1})``.
    state : (h, c), optional
        dask or NumPy arrays (L*D, B, H or P) and (L*D, B, H), without B for (T, I).
    lengths : (B,) integers, dask or NumPy, optional
        Steps of each row, 0 to T.
    keys : (T,) integers, dask or NumPy, optional
        As in `fc.LSTM`: x is (T, I), one event a row of K interleaved streams, and the state (L, K, ...).
    num_keys : int, optional
        K, needed with keys where there is no state.
    nulls : "raise" or "keep"
        What masked elements of x are, as in `fc.LSTM`; y's chunks have no masks.

    Returns
    -------
    y, (h, c)
        dask arrays of the LSTM's dtype and shapes; y has x's chunks along time and rows.

    Raises
    ------
    ValueError
        A shape or value that doesn't fit, or two directions and several chunks of time; for lengths in a dask array,
        when computed.
    TypeError
        A dtype that doesn't fit, or no dask array.
    NotImplementedError
        Under Dask's ``array.query-planning``.

    Notes
    -----
    The same bits as one call. Rows run in parallel, steps do not: time's chunks bound the memory, rows' make the
    speed. The weights are sent to a worker once.

    Examples
    --------
    >>> import dask.array as da
    >>> import fastcell as fc
    >>> x = da.ones((100, 64, 3), chunks=(50, 16, 3), dtype="float32")
    >>> y, (h, c) = fc.dask.lstm(fc.LSTM(3, 5, seed=0), x)
    >>> y.chunks
    ((50, 50), (16, 16, 16, 16), (5,))
    >>> y.compute().shape, h.compute().shape
    ((100, 64, 5), (1, 64, 5))
    """
    if not isinstance(lstm, LSTM):
        raise TypeError(f"lstm must be a fastcell.LSTM, got {type(lstm).__name__}")
    _nulls.checked(nulls)
    (x,) = _given({"x": x}, "the LSTM itself")
    if keys is not None:
        return _lstm_of_streams(lstm, x, state, lengths, keys, num_keys, nulls)
    if x.ndim not in (2, 3) or not _agree(x.shape[-1:], (lstm.input_size,)):
        expected = "(B, T, I)" if lstm.batch_first else "(T, B, I)"
        raise ValueError(f"x must have shape {expected} or (T, I) with I = {lstm.input_size}, got {x.shape}")
    unbatched, axis = x.ndim == 2, 1 if lstm.batch_first and x.ndim == 3 else 0
    if lstm.bidirectional and x.numblocks[axis] > 1:
        raise ValueError(
            f"x must have one chunk along time where the LSTM has two directions, got {x.numblocks[axis]}:"
            f" x.rechunk({{{axis}: -1}})"
        )
    x = x[:, None] if unbatched else x.transpose(1, 0, 2) if axis else x
    pair = _pair(lstm, state, x.chunks[1], unbatched)
    y, h, c = lstm_graph(lstm, nulls, x.rechunk({2: -1}), pair, None if lengths is None else _lengths(lengths, x))
    if unbatched:
        return y[:, 0], (h[:, 0], c[:, 0])
    return y.transpose(1, 0, 2) if axis else y, (h, c)


def _lstm_of_streams(
    lstm: LSTM, x: Any, state: Any, lengths: Any, keys: Any, num_keys: int | None, nulls: str
) -> tuple[Any, tuple[Any, Any]]:
    if lengths is not None:
        raise ValueError("keys must be None where lengths is given: one says which steps a row has")
    if lstm.bidirectional or lstm.reverse:
        raise ValueError("keys must be None where a direction runs backwards")
    if x.ndim != 2 or not _agree(x.shape[-1:], (lstm.input_size,)):
        raise ValueError(f"x must have shape (T, I) with I = {lstm.input_size} where keys are given, got {x.shape}")
    known = None
    if isinstance(state, tuple | list) and len(state) == 2 and len(np.shape(state[0])) == 3:
        known = np.shape(state[0])[1]
    streams = _streams(keys, num_keys, known, x.shape[0], "x without I")
    pair = _pair(lstm, state, (streams.K,), False)
    y, h, c = lstm_keys_graph(lstm, nulls, x.rechunk({1: -1}), pair, streams)
    return y, (h, c)


# ---- what is given ---------------------------------------------------------------------------------


def _given(arrays: dict[str, Any], otherwise: str) -> list[Any]:
    """The arguments, of which one must be a dask array; others as NumPy's, with their masks."""
    for array in arrays.values():
        if type(array).__module__.startswith("dask.array._array_expr"):
            raise NotImplementedError("fastcell.dask needs array.query-planning to be False in Dask's configuration")
    for name, array in arrays.items():
        if type(array).__module__.startswith(("dask.dataframe", "dask_expr")):
            kind = type(array).__name__
            raise TypeError(f"{name} must be a dask array, got a dask {kind}: df['x'].to_dask_array(lengths=True)")
    if not any(isinstance(array, da.Array) for array in arrays.values()):
        raise TypeError(f"{' or '.join(arrays)} must be a dask array, got none: use {otherwise}")
    as_it_is = da.Array, np.ma.MaskedArray
    return [a if isinstance(a, as_it_is) else _checks.array(name, a) for name, a in arrays.items()]


def _for_each(rule: Any, x1: Any) -> Any:
    """One rule for all steps as a rule for each."""
    number = int(rule) if not isinstance(rule, da.Array) and rule in (-1, 0, 1, 2) else None
    if number is not None:
        return (da if isinstance(x1, da.Array) else np).full_like(x1, number, dtype=np.int8)
    return (da if isinstance(x1, da.Array) else np).full_like(x1, rule, dtype=rule.dtype)


def _count(state: Any) -> int | None:
    """K, of a state with a memory for each key."""
    shape = np.shape(state)
    return int(shape[0]) if state is not None and shape and shape[0] == shape[0] else None


def _streams(keys: Any, num_keys: int | None, known: int | None, steps: float, of: str) -> Streams:
    """The checked keys and their number, of which `known` is the state's."""
    if keys is None:
        raise ValueError(f"num_keys must be None where keys are, got {num_keys}")
    if num_keys is not None:
        count = _checks.size("num_keys", num_keys, 0)
    elif known is not None:
        count = known
    else:
        raise ValueError("num_keys must be given with keys where there is no state: a state has K rows, keys are lazy")
    if known is not None and count != known:
        raise ValueError(f"num_keys must be the state's K = {known}, got {count}")
    codes = keys if isinstance(keys, da.Array) else _checks.array("keys", keys, "integers")
    _checks.array("keys", np.empty(0, codes.dtype), "integers")
    if not _agree(codes.shape, (steps,)):
        raise ValueError(f"keys must have the shape of {of}, ({steps},), got {codes.shape}")
    if not isinstance(codes, da.Array):
        check_keys(codes, count, Place((0,), (0,)))
    return Streams(codes, count)


def _start(state: Any, shape: tuple[int, ...], streams: Streams | None) -> tuple[Any, Any]:
    """The state, and zeros of its dtype for `_empty` arguments."""
    if state is None:
        return None, None
    if streams is not None:
        array, none = _start(state, (streams.K, *shape), None)
        return array, none[0] if streams.K == 1 else np.zeros(none.shape[1:], none.dtype)
    state = state if isinstance(state, da.Array) else _checks.array("state", state)
    if not _agree(state.shape, shape):
        raise ValueError(f"state must have shape {shape}, got {state.shape}")
    return state, np.zeros([int(n == 1) for n in shape], state.dtype)


def _empty(arrays: list[Any]) -> list[Any]:
    """Arguments without a step, for a call that checks the dtypes and finds those of its results."""
    empty = [np.zeros([int(n == 1) for n in array.shape], array.dtype) for array in arrays]
    return [array[:0] if array.ndim == arrays[0].ndim else array for array in empty]


def _agree(shape: Sequence[float], expected: Sequence[float]) -> bool:
    """Whether shapes are the same; an unknown length, nan, may be any."""
    return len(shape) == len(expected) and all(n == m or n != n or m != m for n, m in zip(shape, expected, strict=True))


def _described(x: Any) -> str:
    return str(x.shape) if isinstance(x, da.Array) else type(x).__name__


def _pair(lstm: LSTM, state: Any, rows: tuple[int, ...], unbatched: bool) -> tuple[Any, ...]:
    """h and c as dask arrays in these chunks of rows, or nothing."""
    if state is None:
        return ()
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise ValueError(f"state must be a pair (h, c), got {type(state).__name__}")
    L, B, pair = lstm.num_layers * lstm.directions, sum(rows), []
    for name, given, size, letter in zip(
        ("state's h", "state's c"), state, (lstm.output_size, lstm.hidden_size),
        ("P" if lstm.proj_size else "H", "H"), strict=True,
    ):  # fmt: skip
        array = given if isinstance(given, da.Array) else _checks.array(name, given, _checks.NUMBERS)
        _checks.array(name, np.empty(0, array.dtype), _checks.NUMBERS)
        shape, letters = ((L, size), f"(L*D, {letter})") if unbatched else ((L, B, size), f"(L*D, B, {letter})")
        if not _agree(array.shape, shape):
            raise ValueError(f"{name} must have shape {letters} = {shape}, got {array.shape}")
        pair.append(in_chunks(array[:, None] if unbatched else array, [(L,), rows, (size,)]))
    return tuple(pair)


def _lengths(given: Any, x: Any) -> Any:
    """Each row's steps as a dask array in x's chunks of rows."""
    T, B = x.shape[:2]
    if T != T:
        raise ValueError("lengths need chunks of known length along x's time: x.compute_chunk_sizes()")
    lengths = given if isinstance(given, da.Array) else _checks.array("lengths", given, "integers")
    _checks.array("lengths", np.empty(0, lengths.dtype), "integers")
    if not _agree(lengths.shape, (B,)):
        raise ValueError(f"lengths must have shape (B,) = ({B},), got {lengths.shape}")
    if not isinstance(lengths, da.Array):
        check_lengths(lengths, T, 0)
    return in_chunks(lengths, [x.chunks[1]])
