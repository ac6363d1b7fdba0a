"""The definition: plain Python, one scalar after the other, on numbers and lists. Slow, and meant to be read."""

import math

Numbers = list


def toy_scan(x1, x2, x3, *, state=None, keys=None, fill=0.0, strict=True):
    """Run the toy cell over (T,) lists, or (T, B) lists of rows; returns (y, state).

    ``a_t = a_{t-1} + x1_t | 0 | a_{t-1}`` for ``x2_t = 1 | -1 | 0``, then ``y_t = a_t | fill`` for ``x3_t = 1 | 0``

    `state` is a number or a row of B of them; with `keys`, 0 to K - 1 for each step, a list of K of these.
    Integers that leave int64 raise OverflowError; with `strict`, rules other than those above raise ValueError.

    Source: Hochreiter & Schmidhuber (1997), Long short-term memory; Gers, Schmidhuber & Cummins (2000) for the
    gate that forgets.

    >>> toy_scan([3, 5, 2, 3], [1, 0, 1, 0], [0, 1, 0, 1], fill=None)
    ([None, 3, None, 5], 5)
    >>> toy_scan([3, 5, 2], [1, 1, 1], [0, 0, 1])
    ([0.0, 0.0, 10], 10)
    """
    if strict:
        _check(x2, "x2", (-1, 0, 1))
        _check(x3, "x3", (0, 1))

    def step(a, row):
        value, control, emit = row
        if control == 1:
            a = _int64(a + value)
        elif control == -1:
            a = type(value)(0)
        return a, a if emit == 1 else fill

    return _run(step, (x1, x2, x3), state, keys)


def gated_scan(x, f, i, o, *, state=None, keys=None):
    """Run the gated recurrence over (T,) lists, or (T, B) lists of rows; returns (y, state).

    ``a_t = f_t * a_{t-1} + i_t * x_t``, ``y_t = o_t * a_t``: plain IEEE arithmetic, so 0 * nan stays nan.

    `state` and `keys` as in `toy_scan`.

    Source: Gers, Schmidhuber & Cummins (2000), Learning to forget.

    >>> gated_scan([1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [1, 1, 1], [0, 1, 1])
    ([0.0, 1.5, 1.75], 1.75)
    """

    def step(a, row):
        value, forget, let_in, show = row
        a = _int64(_int64(forget * a) + _int64(let_in * value))
        return a, _int64(show * a)

    return _run(step, (x, f, i, o), state, keys)


def _run(step, arrays, state, keys):
    """Step every column of every row in turn; `step(a, row) -> (a, y)`."""
    T = len(arrays[0])
    nested = T > 0 and isinstance(arrays[0][0], Numbers)
    rows = [[row if nested else [row] for row in array] for array in arrays]
    B = len(rows[0][0]) if T else 0
    which = [0] * T if keys is None else list(keys)
    if state is None:
        memories = [[0] * B for _ in range(max(which, default=0) + 1)]
    else:
        given = [state] if keys is None else state
        memories = [list(a) if isinstance(a, Numbers) else [a] for a in given]
    y = [[0] * B for _ in range(T)]
    for t in range(T):
        a = memories[which[t]]
        for b in range(B):
            a[b], y[t][b] = step(a[b], [row[t][b] for row in rows])
    if not nested:
        flat, last = [row[0] for row in y], [a[0] if a else 0 for a in memories]
        return flat, last if keys is not None else last[0]
    return y, memories if keys is not None else memories[0]


def _check(rules, name, allowed):
    for t, row in enumerate(rules):
        for b, rule in enumerate(row if isinstance(row, Numbers) else [row]):
            if rule not in allowed or math.isnan(rule):
                at = (t, b) if isinstance(row, Numbers) else t
                raise ValueError(f"{name} must be one of {allowed}, got {rule} at index {at}")


def _int64(number):
    if isinstance(number, int) and not -(2**63) <= number < 2**63:
        raise OverflowError(f"{number} leaves int64")
    return number
