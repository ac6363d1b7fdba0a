"""The definition: plain Python, one scalar after the other, on numbers and lists. Slow, and meant to be read."""

import math

Numbers = list


def toy_scan(x1, x2, x3, *, state=None, keys=None, fill=0.0, strict=True, low=None, high=None):
    """Run the toy cell over (T,) lists, or (T, B) lists of rows; returns (y, state).

    ``a_t = a_{t-1} + x1_t | 0 | a_{t-1} | 0 + x1_t`` for ``x2_t = 1 | -1 | 0 | 2``, then ``y_t = a_t | fill`` for
    ``x3_t = 1 | 0``

    With `low` and `high` the memory is held between them after each rule. x2 and x3 may be one number for all steps.
    `state` is a number or a row of B of them; with `keys`, 0 to K - 1 for each step, a list of K of these. Without it
    K is one more than the largest key, which may ask for 2**24 memories or 16 a value. Integers that leave int64 raise
    OverflowError; with `strict`, rules other than those above raise ValueError.

    Source: Hochreiter & Schmidhuber (1997), Long short-term memory; Gers, Schmidhuber & Cummins (2000) for the
    gate that forgets.

    >>> toy_scan([3, 5, 2, 3], [1, 0, 1, 0], [0, 1, 0, 1], fill=None)
    ([None, 3, None, 5], 5)
    >>> toy_scan([3, 5, 2], [1, 1, 1], [0, 0, 1])
    ([0.0, 0.0, 10], 10)
    """
    x2, x3 = _for_each(x2, x1), _for_each(x3, x1)
    if strict:
        _check(x2, "x2", (-1, 0, 1, 2))
        _check(x3, "x3", (0, 1))

    def step(a, row):
        value, control, emit = row
        number = type(value + 0)  # True is counted
        if control in (-1, 2):
            a = number(0)
        if control in (1, 2):
            a = a + value
        if low is not None and a < low:
            a = number(low)
        if high is not None and a > high:
            a = number(high)
        a = _int64(a)
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
    which = [0] * T if keys is None else [key.__index__() for key in keys]
    if state is None:
        if (max(which, default=0) + 1) * max(B, 1) > max(2**24, 16 * T * B):
            raise ValueError(f"keys must be numbered from 0 on, got {max(which)} among {T}")
        memories = [[0] * B for _ in range(max(which, default=0) + 1)]
    else:
        given = [state] if keys is None else state
        memories = [list(a) if isinstance(a, Numbers) else [a] for a in given]
    y = [[0] * B for _ in range(T)]
    for t, steps in enumerate(zip(*rows, strict=True)):
        a = memories[which[t]]
        for b, row in enumerate(zip(*steps, strict=True)):
            a[b], y[t][b] = step(a[b], row)
    if not nested:
        flat, last = [row[0] for row in y], [a[0] if a else 0 for a in memories]
        return flat, last if keys is not None else last[0]
    return y, memories if keys is not None else memories[0]


def _for_each(rule, values):
    """A rule for each value, of one for all of them."""
    if isinstance(rule, Numbers):
        return rule
    return [[rule] * len(row) if isinstance(row, Numbers) else rule for row in values]


def _check(rules, name, allowed):
    for t, row in enumerate(rules):
        for b, rule in enumerate(row if isinstance(row, Numbers) else [row]):
            if rule not in allowed:
                at = (t, b) if isinstance(row, Numbers) else t
                raise ValueError(f"{name} must be one of {allowed}, got {rule} at index {at}")


def _int64(number):
    if isinstance(number, int) and not -(2**63) <= number < 2**63:
        raise OverflowError(f"{number} leaves int64")
    return number


def lstm(
    x, weights, state=None, *, lengths=None, reset=None, reverse=False, coupled=False, clip=None, activations=None,
    initial_state=None, precision=None, mask=None, keys=None,
):  # fmt: skip
    """Run the LSTM over a (T, B, I) list of lists of rows; returns (y, (h, c)).

    ``c_t = f_t * c_{t-1} + i_t * g_t``, ``h_t = o_t * tanh(c_t)``, each gate ``sigmoid(W x_t + R h_{t-1} + b)``, g
    with tanh.

    `weights` is a dict of lists under torch.nn.LSTM's names (`weight_ih_l0`, ..., gates i, f, g, o), with
    `weight_peephole_l0` in the order i, f, o; layers and directions are those that it names. `state`, `lengths`,
    `reset`, `mask`, `coupled`, `clip`, `initial_state` are those of `fastcell.LSTM`, and so are `keys`, for which x and
    y are (T, ...). `activations` is a list of functions, three a direction. `precision` "bfloat16" or "int8" rounds
    weights, x and h as `rounded_weights` and `rounded_values` say; sums are of this page's floats.

    Source: Hochreiter & Schmidhuber (1997); Gers, Schmidhuber & Cummins (2000) for the forget gate; Gers &
    Schmidhuber (2000) for peepholes; Sak, Senior & Beaufays (2014) for the projection.

    >>> weights = {"weight_ih_l0": [[0.0], [0.0], [1.0], [0.0]], "weight_hh_l0": [[0.0]] * 4}
    >>> y, (h, c) = lstm([[[0.0]], [[100.0]]], weights)
    >>> y[0], c
    ([[0.0]], [[[0.5]]])
    """
    T = len(x)
    if keys is not None:  # a row for each key, of its own steps in the one row of x
        B = len(state[0][0]) if state else max(keys, default=-1) + 1
        steps = [[t for t in range(T) if keys[t] == b] for b in range(B)]
        x, reset = [[row] for row in x], None if reset is None else [[flag] for flag in reset]
    else:
        B = len(x[0]) if T else len(state[0][0])
        ends = [T] * B if lengths is None else lengths
        steps = [[t for t in range(ends[b]) if mask is None or mask[t][b]] for b in range(B)]
    columns = [0] * B if keys is not None else list(range(B))
    functions = activations or [sigmoid, math.tanh, math.tanh]
    hs: list = []
    cs: list = []
    layer = 0
    while f"weight_ih_l{layer}" in weights:
        names = [f"_l{layer}", f"_l{layer}_reverse"]
        names = names[: 2 if "weight_ih" + names[1] in weights else 1]
        y: list = [[[] for _ in row] for row in x]
        for direction, name in enumerate(names):
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_peephole", "weight_hr")
            w = [weights.get(kind + name) for kind in kinds]
            w = [[rounded_weights(row, precision) for row in m] if m and k in (0, 1, 5) else m for k, m in enumerate(w)]
            H = len(w[1]) // 4
            R = len(w[5]) if w[5] else H
            f = functions[3 * direction : 3 * direction + 3] or functions[:3]
            last_h, last_c = [], []
            for b in range(B):
                first = [part[len(hs)] for part in initial_state] if initial_state else ([0.0] * R, [0.0] * H)
                h, c = map(list, (part[len(hs)][b] for part in state) if state else first)
                column = columns[b]
                for t in reversed(steps[b]) if reverse or direction else steps[b]:
                    if reset is not None and reset[t][column]:
                        h, c = first
                    h, c = lstm_step(
                        x[t][column], h, c, *w, coupled=coupled, clip=clip, activations=f, precision=precision
                    )
                    y[t][column] = y[t][column] + h
                if keys is None:
                    for t in set(range(T)) - set(steps[b]):
                        y[t][b] = y[t][b] + [0.0] * R
                last_h.append(h)
                last_c.append(c)
            hs.append(last_h)
            cs.append(last_c)
        x = y
        layer += 1
    return [row for (row,) in y] if keys is not None else y, (hs, cs)


def lstm_step(x, h, c, w_x, w_h, b_x, b_h, peephole, w_p, *, coupled, clip, activations, precision=None):
    """One step of one row: the new (h, c)."""
    H = len(c)
    bounded = float(activations[0] is sigmoid and activations[2] is math.tanh)
    x, h = rounded_values(x, precision), rounded_values(h, precision, 0.0 if w_p else bounded)
    limit = math.inf if clip is None else clip
    gate, candidate, output = activations

    def z(k, seen=0.0):
        total = sum(map(_multiply, w_x[k], x)) + sum(map(_multiply, w_h[k], h))
        total += (b_x[k] if b_x else 0.0) + (b_h[k] if b_h else 0.0) + seen
        return total if math.isnan(total) else min(max(total, -limit), limit)

    def peek(k):  # only where there are peepholes: 0 * an infinite c would be NaN
        return peephole[k] * c[k % H] if peephole else 0.0

    i = [gate(z(k, peek(k))) for k in range(H)]
    f = [1 - i[k] if coupled else gate(z(H + k, peek(H + k))) for k in range(H)]
    g = [candidate(z(2 * H + k)) for k in range(H)]
    c = [f[k] * c[k] + i[k] * g[k] for k in range(H)]
    h = [gate(z(3 * H + k, peek(2 * H + k))) * output(c[k]) for k in range(H)]
    full = rounded_values(h, precision, bounded) if w_p else []
    return ([sum(map(_multiply, row, full)) for row in w_p] if w_p else h), c


def rounded(x, bits):
    """To so many bits, to nearest, ties to even: 8 for bfloat16, 24 for float32.

    >>> rounded(1 + 2**-8, 8), rounded(1 + 3 * 2**-8, 8)
    (1.0, 1.015625)
    """
    if not math.isfinite(x):
        return x
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(mantissa * 2**bits), exponent - bits)


def rounded_weights(row, precision):
    """A unit's weights as an LSTM of that precision multiplies them.

    bfloat16: each rounded. int8: in blocks of 128 inputs q * s, s the largest magnitude / 127, q an integer.

    >>> [round(w, 6) for w in rounded_weights([1.0, -0.3], "int8")]
    [1.0, -0.299213]
    """
    if precision == "bfloat16":
        return [rounded(w, 8) for w in row]
    if precision != "int8":
        return row
    made = []
    for first in range(0, len(row), 128):
        block = row[first : first + 128]
        scale = rounded(max(map(abs, block)) / 127, 24)
        made += [scale * round(rounded(w / scale, 24)) if scale else 0.0 for w in block]
    return made


def rounded_values(row, precision, floor=0.0):
    """x or h of a step as an LSTM of that precision multiplies it.

    bfloat16: each rounded. int8: p * s, s the largest magnitude, at least `floor`, / 127, p an integer. The floor is 1
    for an h that stays within [-1, 1], so that its scale is always the same.

    >>> [round(x, 6) for x in rounded_values([0.5, -0.25], "int8", floor=1.0)]
    [0.503937, -0.251969]
    """
    if precision == "bfloat16":
        return [rounded(x, 8) for x in row]
    if precision != "int8":
        return row
    most = max([abs(x) for x in row] + [floor, 1e-30])
    scale, inverse = rounded(most / 127, 24), rounded(127 / most, 24)
    return [scale * max(-127, min(127, round(rounded(x * inverse, 24)))) for x in row]


def _multiply(a, b):
    return a * b


def sigmoid(x):
    """1 / (1 + exp(-x)).

    >>> sigmoid(0.0), sigmoid(-1000.0)
    (0.5, 0.0)
    """
    e = math.exp(-abs(x))
    return (e if x < 0 else 1.0) / (1.0 + e)
