"""The definition: what every kernel of fastcell must compute, in plain Python over plain lists.

One loop over time, one memory a column and key, one rounding an operation, and nothing clever. Sequences
are lists of T numbers, or T rows of B numbers. Floats are float64; where every number is an integer they are
exact integers that must fit int64.
"""


def toy_scan(
    x1: list,
    x2: list,
    x3: list,
    *,
    state: float | list | None = None,
    keys: list[int] | None = None,
    fill: float = 0.0,
    strict: bool = True,
) -> tuple[list, float | list]:
    """Run a memory by three rules: `x2` adds `x1`, keeps or resets; then `x3` outputs the memory or not.

        a_t = a_{t-1} + x1_t  where x2_t = 1        y_t = a_t   where x3_t = 1
              a_{t-1}         where x2_t = 0              fill  where x3_t = 0
              0               where x2_t = -1

    A reset is an assignment: the memory is 0 afterwards, even if it held nan or inf.

    `x1`, `x2`, `x3`: (T,) or (T, B). `keys`: (T,) codes from 0 to K-1, a memory for each.
    `state`: the memories to start from, 0 by default: a number, (B,), (K,) or (K, B).
    With `strict=False` any other rule reads as keep or silent. Returns `(y, state)`.

    ValueError for a rule that is none, with its index and value, and for a key outside of 0 to K-1;
    OverflowError for an integer memory that leaves int64.

    Source: Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997: the memory and its
    input and output gates; Gers, Schmidhuber & Cummins, Learning to Forget, Neural Computation 12(10), 2000: the reset.

    >>> toy_scan([3.0, 5.0, 2.0, 3.0], [1, 0, 1, 0], [0, 1, 0, 1], fill=float("nan"))
    ([nan, 3.0, nan, 5.0], 5.0)
    >>> toy_scan([3.0, 5.0, 2.0], [1, 1, 1], [0, 0, 1])
    ([0.0, 0.0, 10.0], 10.0)
    >>> toy_scan([3.0, 5.0, 2.0], [1, -1, 1], [1, 1, 1])
    ([3.0, 0.0, 2.0], 2.0)
    >>> toy_scan([3, 10, 4, 20], [1, 1, 1, 1], [1, 1, 1, 1], keys=[0, 1, 0, 1])
    ([3, 10, 7, 30], [7, 30])
    """
    if strict:
        _check_rules("x2", x2, (-1, 0, 1))
        _check_rules("x3", x3, (0, 1))
    number = _number(x1, state)
    memories = _memories(x1, state, keys, number)
    y: list[list[float]] = []
    for t, row in enumerate(zip(_rows(x1), _rows(x2), _rows(x3), strict=True)):
        a = memories[keys[t] if keys is not None else 0]
        y.append([])
        for b, (x, rule, emit) in enumerate(zip(*row, strict=True)):
            if rule == 1:
                a[b] = number(a[b] + x)
            elif rule == -1:
                a[b] = number(0)
            y[t].append(a[b] if emit == 1 else fill)
    return _answer(x1, y, memories, keys)


def gated_scan(
    x: list,
    f: list,
    i: list,
    o: list,
    *,
    state: float | list | None = None,
    keys: list[int] | None = None,
) -> tuple[list, float | list]:
    """Run a memory by real-valued gates: f forgets, i lets in, o lets out.

        a_t = f_t * a_{t-1} + i_t * x_t        y_t = o_t * a_t

    Each product and the sum are rounded. This is plain IEEE arithmetic, so f = 0 doesn't forget a nan or an inf:
    0 * nan is nan. `toy_scan` does forget it.

    `x`, `f`, `i`, `o`: (T,) or (T, B). `keys`, `state` and what is returned: as for `toy_scan`.

    ValueError for a key outside of 0 to K-1; OverflowError for an integer product or sum that leaves int64.

    Source: Gers, Schmidhuber & Cummins, Learning to Forget, Neural Computation 12(10), 2000.

    >>> gated_scan([8.0, 4.0], [1.0, 0.5], [1.0, 0.25], [0.0, 1.0])
    ([0.0, 5.0], 5.0)
    >>> gated_scan([3.0, 5.0, 2.0, 3.0], f=[1, 1, 1, 1], i=[1, 0, 1, 0], o=[0, 1, 0, 1])
    ([0.0, 3.0, 0.0, 5.0], 5.0)
    """
    number = _number(x, f, i, o, state)
    memories = _memories(x, state, keys, number)
    y: list[list[float]] = []
    for t, row in enumerate(zip(_rows(x), _rows(f), _rows(i), _rows(o), strict=True)):
        a = memories[keys[t] if keys is not None else 0]
        y.append([])
        for b, (x_t, f_t, i_t, o_t) in enumerate(zip(*row, strict=True)):
            a[b] = number(number(f_t * a[b]) + number(i_t * x_t))
            y[t].append(number(o_t * a[b]))
    return _answer(x, y, memories, keys)


def _int64(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"integer memory leaves int64: {value}")
    return value


def _number(*inputs: float | list | None):  # type: ignore[no-untyped-def]
    """What an operation's result becomes: an integer that fits int64 if all inputs are integers, else a float."""
    for values in inputs:
        rows = values if _nested(values) else [values]
        for row in rows:
            pass
    return float


def _nested(x: list) -> bool:
    return bool(x) and isinstance(x[0], (list, tuple))
