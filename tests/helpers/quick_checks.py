"""A few checks of the kernels against the oracle, for a process of their own: `python quick_checks.py [NAME ...]`.

Each takes a few seconds, most of them to compile, and one kernel as far as it can.
"""

import sys

import numpy as np

import fastcell as fc
from fastcell.scan import small_calls
from fastcell.scan.gated_registers import GROUP, SEGMENT
from tests.helpers import expected, lstms, meetings

small = small_calls.SMALL


def inputs(shape, dtype, order="C", resets=0.02):
    rng = np.random.default_rng([7, *shape])
    x1 = rng.standard_normal(shape) if dtype[0] == "f" else rng.integers(-100, 100, shape)
    x2 = np.where(rng.random(shape) < resets, rng.choice([-1, 2], shape), rng.integers(0, 2, shape)).astype(np.int8)
    x3 = rng.integers(0, 2, shape).astype(np.int8)
    return [np.asarray(x, order=order) for x in (x1.astype(dtype), x2, x3)]


def whole_numbers(shape, **options):
    """Values that float64 sums exactly in any order."""
    x1, x2, x3 = inputs(shape, "int64", **options)
    return x1.astype(np.float64), x2, x3


def gates(shape, order="C"):
    rng = np.random.default_rng([7, *shape])
    return [np.asarray(rng.uniform(-1, 1, shape), order=order) for _ in range(4)]


def columns():
    for shape in ((1, 16), (40, 32), (41, 37), (5, 17)):
        arrays = inputs(shape, "float32")
        for threads in (1, 2):
            got = fc.toy_scan(*arrays, threads=threads)
            expected.agree(got, expected.toy(*arrays), f"{shape}, {threads} threads")


def strips():
    for shape in ((1, 1, 2), (300, 3), (140, 37), (7, 16)):
        arrays = inputs(shape, "float64", "F")
        for threads in (1, 2):
            got = fc.toy_scan(*arrays, threads=threads)
            expected.agree(got, expected.toy(*arrays), f"{shape}, {threads} threads")


def registers():
    """Whole numbers as float32, steps side by side: every tail of eight and of 64, columns by eights and one by one."""
    for shape in ((8, 1), (9, 2), (63, 3), (64, 1), (190, 2), (1000, 1), (8, 8), (21, 16), (530, 9), (65, 25)):
        for resets in (0, 0.02, 0.3):
            x1, x2, x3 = inputs(shape, "int64", "F", resets)
            arrays = x1.astype(np.float32), x2, x3
            state = np.arange(1.0, 1.0 + shape[1])
            for threads in (1, 2, 7):
                case = f"{shape}, resets {resets}, {threads} threads"
                expected.agree(
                    fc.toy_scan(*arrays, state=state, threads=threads), expected.toy(*arrays, state=state), case
                )


def calls():
    """Small calls, in compiled code at once."""
    small_calls.SMALL = small
    for shape in ((1,), (40,), (200,), (7, 5), (70, 3)):
        for order in "CF":
            arrays = inputs(shape, "float32", order)
            state = np.arange(1.0, 1.0 + shape[1]) if len(shape) > 1 else 1.0
            expected.agree(fc.toy_scan(*arrays, state=state), expected.toy(*arrays, state=state), f"{shape}, {order}")
            keys = np.arange(shape[0]) % 3
            expected.agree(fc.toy_scan(*arrays, keys=keys), expected.toy(*arrays, keys=keys), f"{shape}, {order}, keys")
            x, f, i, o = gates(shape, order)
            for each in (f, 0.5, f[:, :1] if f.ndim > 1 else 1):
                expected.agree(fc.gated_scan(x, each, i, o), expected.gated(x, each, i, o), f"{shape}, {order}, gates")
    x1, x2, x3 = inputs((40,), "float32")
    unsigned = np.abs(x2).astype("u1")
    for bad, control, rule in ((x2, x2, 3), (x3, x2, 3), (unsigned, unsigned, 255)):
        kept, bad[7] = bad[7], rule
        try:
            fc.toy_scan(x1, control, x3)
        except ValueError:
            bad[7] = kept
        else:
            raise AssertionError("a rule that is none went unnoticed")
    try:
        fc.toy_scan(x1, x2, x3, out=x1)
    except ValueError:
        return
    raise AssertionError("an out that overlaps went unnoticed")


def sequence():
    for T in (1, 60, 200, 1100, 9000):
        for resets in (0, 0.001, 0.3):
            arrays = whole_numbers((T,), resets=resets)
            for threads in (1, 2):
                case = f"{T} steps, resets {resets}, {threads} threads"
                expected.agree(fc.toy_scan(*arrays, state=3.0, threads=threads), expected.toy(*arrays, state=3.0), case)


def overflowing_floats():
    """In order they overflow; the second and third, in one segment, would cancel if added up first."""
    x1 = np.zeros(2048)
    x1[[700, 901, 990]] = 1.7e308, 5e307, -5e307
    arrays = x1, np.ones(2048, np.int8), np.ones(2048, np.int8)
    expected.agree(fc.toy_scan(*arrays), expected.toy(*arrays))


def keyed():
    arrays = inputs((90,), "float32", resets=0.3)
    keys = np.arange(90) * 7 % 11
    expected.agree(fc.toy_scan(*arrays, keys=keys), expected.toy(*arrays, keys=keys))


def integers():
    x1, x2, x3 = inputs((90,), "int64")
    x1[x2 == 0] = np.resize([1, 1, -1, -1], 90)[x2 == 0] * np.iinfo(np.int64).max  # not added, so not too large
    for options in ({}, {"keys": np.arange(90) % 2}):
        expected.agree(fc.toy_scan(x1, x2, x3, **options), expected.toy(x1, x2, x3, **options))
    x1[5], x2[5:8], x1[7] = np.iinfo(np.int64).max, 1, 300
    for options in ({}, {"keys": np.arange(90) % 2}):
        try:
            fc.toy_scan(x1, x2, x3, **options)
        except OverflowError:
            continue
        raise AssertionError("an overflow went unnoticed")


def bounds():
    """Keys between bounds: floats, and integers that would leave int64, or do where there is no bound."""
    for dtype in ("float64", "int64"):
        arrays, keys = inputs((90,), dtype), np.arange(90) % 7
        arrays[0][::9] = np.iinfo(np.int64).max // 2
        arrays[0][4::9] = -(np.iinfo(np.int64).max // 2)
        options = {"keys": keys, "state": np.arange(-300, 400, 100), "low": -50, "high": 120}
        expected.agree(fc.toy_scan(*arrays, **options), expected.toy(*arrays, **options), dtype)
    step = np.full(9, np.iinfo(np.int64).max // 2)
    for x1, options in ((step, {"low": 0}), (-step, {"high": 0})):
        try:
            fc.toy_scan(x1, 1, 1, keys=np.zeros(9, np.int64), **options)
        except OverflowError:
            continue
        raise AssertionError("an overflow went unnoticed")


def bounded_column():
    """One long column between bounds, in segments whose maps are chained, by threads."""
    for T in (200, 1100, 9000):
        for resets in (0, 0.001, 0.3):
            arrays = whole_numbers((T,), resets=resets)
            for low, high in ((0, 700), (None, 700), (-1000, 1000)):
                for state in (3.0, 5000.0):
                    options = {"state": state, "low": low, "high": high}
                    wanted = expected.toy(*arrays, **options)
                    for threads in (1, 2):
                        case = f"{T} steps, resets {resets}, {low} to {high} from {state}, {threads} threads"
                        expected.agree(fc.toy_scan(*arrays, threads=threads, **options), wanted, case)
    x1 = np.where(np.arange(200) == 0, -90.0, 0.0)
    options = {"state": 5000.0, "high": 700}
    expected.agree(
        fc.toy_scan(x1, 1, 1, **options), expected.toy(x1, np.int8(1), np.int8(1), **options), "from outside"
    )
    x1 = whole_numbers((1100,))[0]
    x1[[300, 301, 905]] = -np.inf, np.inf, np.nan  # held to 0 in between
    expected.agree(fc.toy_scan(x1, 1, 1, low=0), expected.toy(x1, np.int8(1), np.int8(1), low=0), "infinities")
    most = np.iinfo(np.int64).max
    options = {"state": most - 9, "low": -5, "high": most - 3}
    for x1 in (np.where(np.arange(1100) % 2, most // 2, -(most // 3)), np.where(np.arange(1100) % 5, 7, -20)):
        expected.agree(
            fc.toy_scan(x1, 1, 1, **options), expected.toy(x1, np.int8(1), np.int8(1), **options), "integers"
        )


def other_rules():
    rules = np.array([1, 2, 255, 0, 1], np.uint8)
    arrays = np.ones(5), rules, rules
    keys = np.zeros(5, np.int64)
    expected.agree(
        fc.toy_scan(*arrays, keys=keys, strict=False, fill=-1), expected.toy(*arrays, keys=keys, strict=False, fill=-1)
    )


def gated_columns():
    for shape in ((1, 16), (41, 37)):
        arrays = gates(shape)
        for threads in (1, 2):
            got = fc.gated_scan(*arrays, threads=threads)
            expected.agree(got, expected.gated(*arrays), f"{shape}, {threads} threads")


def gated_strips():
    for shape in ((300, 3), (140, 37)):
        arrays = gates(shape, "F")
        expected.agree(fc.gated_scan(*arrays), expected.gated(*arrays), f"{shape}")


def gated_keyed():
    arrays = gates((90,))
    keys = np.arange(90) * 7 % 11
    expected.agree(fc.gated_scan(*arrays), expected.gated(*arrays))
    expected.agree(fc.gated_scan(*arrays, keys=keys), expected.gated(*arrays, keys=keys))


def gated_column():
    """A long column, in registers: gates that vary and one for all steps, gates of 0 and tiny ones, threads."""
    n = 3 * SEGMENT + 2 * GROUP + 5
    rng = np.random.default_rng(5)
    x, i, o = (rng.uniform(-1, 1, n) for _ in range(3))
    zero = np.where(np.arange(n) % 1000 == 1, 0.0, 1.0)
    for name, f in (
        ("random", rng.random(n)),
        ("signed", -rng.random(n)),
        ("zero", zero),
        ("slow", 1 - 1e-5 * rng.random(n)),
        ("one", 0.99),
    ):
        wanted, (bound, last) = expected.gated(x, f, i, o), expected.gated_rounding(x, f, i, o, 0.0)
        alone = fc.gated_scan(x, f, i, o, threads=1)
        assert (np.abs(alone.y - wanted.y) <= bound).all(), name
        assert abs(alone.state - wanted.state) <= last, name
        both = fc.gated_scan(x, f, i, o, threads=2)
        assert both.y.tobytes() == alone.y.tobytes(), f"{name}, bits of two threads"
    x, f, large = np.zeros(1200), np.ones(1200), np.float64(1e140)
    f[705:707] = 1e-160  # their product has few digits left
    expected.agree(fc.gated_scan(x, f, 1.0, 1.0, state=large), expected.gated(x, f, 1.0, 1.0, state=large))
    x[:5] = 0.0, 1.5e308, 1.5e308, -1.5e308, -1.5e308
    with np.errstate(all="ignore"):
        expected.agree(fc.gated_scan(x, 1.0, 1.0, 1.0), expected.gated(x, 1.0, 1.0, 1.0))


def _lstm(dtypes, **options):
    for dtype in dtypes:
        for H, P in ((9, 0), (6, 0), (7, 0), (40, 7)):
            net = fc.LSTM(5, H, 2, bidirectional=True, proj_size=P, dtype=dtype, seed=H, **options)
            for B in (1, 2, 5, 13):
                lstms.check(net, lstms.normal((3, B, 5), dtype, B), lengths=[3, 1, 2, 0, 3][:B] + [2] * (B - 5))


def lstm_plain():
    """Every tile and tail: 1 to 13 rows; units, inputs and projections around the vectors."""
    _lstm(["float32"])


def lstm_shared():
    """Hidden units shared out among threads, rows of any length, resets; stretches that are broken off."""
    lstm, x = fc.LSTM(5, 70, seed=0), lstms.normal((300, 3, 5), "float32")
    lstms.check(lstm, x[:9])
    resets = np.random.default_rng(0).random((300, 3)) < 0.05
    for options in ({}, {"reset": resets}, {"lengths": np.array([40, 300, 171])}):
        meetings.check(lstm, x, seats=3, **options)
    wanted = meetings.bits(lstm(x, threads=1))
    with meetings.plan(1, 3, looks=-(10**9)) as log:
        for _ in range(20):
            assert meetings.bits(lstm(x, threads=2)) == wanted
    assert any(void for void, _ in log)


def lstm_float64():
    """The same, half as many to a vector."""
    _lstm(["float64"])


def lstm_special():
    """The gates as one may ask for them."""
    _lstm(["float32"], peepholes=True, clip=0.5, activations=("hard_sigmoid", "softsign", "elu"))


def resets():
    """Rows that begin with a learned state or go back to it, beside rows that go on."""
    reset = (np.arange(12).reshape(4, 3) % 5 == 3).tolist()
    for P in (0, 2):
        start = lstms.normal((2, P or 5), seed=1), lstms.normal((2, 5), seed=2)
        net = fc.LSTM(3, 5, 2, proj_size=P, initial_state=start, seed=0)
        x, lists = lstms.normal((4, 3, 3)), [part.astype(float).tolist() for part in start]
        given = tuple(lstms.normal((2, 3, part.shape[1]), seed=3) for part in start)
        for state in (given, None):
            y, (h, c) = net(x, state, reset=reset)
            first = given if state is not None else [part[:, None].repeat(3, 1) for part in start]
            wanted = lstms.by_oracle(net, x, first, reset=reset, initial_state=lists)
            for name, got, want in zip("yhc", (y, h, c), wanted, strict=True):
                assert np.abs(got - want).max() < 1e-5, f"{name}, projected to {P}"


def streams():
    """Keys and masks beside each row alone, whose steps are its own."""
    net, rng = fc.LSTM(3, 9, 2, seed=0), np.random.default_rng(0)
    x, keys, reset = lstms.normal((60, 3)), rng.integers(0, 7, 60), rng.random(60) < 0.2
    y, (h, _) = net(x, keys=keys, reset=reset)
    for k in range(7):
        alone, (last, _) = net(x[keys == k], reset=reset[keys == k])
        assert np.array_equal(alone, y[keys == k]), k
        assert np.array_equal(last, h[:, k]), k
    net = fc.LSTM(3, 9, bidirectional=True, seed=0)
    x, mask = lstms.normal((9, 5, 3)), rng.random((9, 5)) < 0.6
    y = net(x, mask=mask)[0]
    for b in range(5):
        assert np.array_equal(net(x[mask[:, b], b])[0], y[mask[:, b], b]), b
    assert not y[~mask].any()


def _steps(precision, shapes=((3, 9, 0, 18), (150, 7, 0, 7), (2, 140, 5, 4))):
    """Each step from the kernel's own state, since a rounding that tips would go on; blocks of inputs, projections."""
    for I, H, P, B in shapes:
        net = fc.LSTM(I, H, proj_size=P, precision=precision, seed=1)
        x, state = lstms.normal((3, B, I), seed=I), None
        for t in range(len(x)):
            y, new = net(x[t : t + 1], state)
            wanted = lstms.by_oracle(net, x[t : t + 1], state)
            for name, got, want in zip("yhc", (y, *new), wanted, strict=True):
                # activations are within 2e-6; a rounding of h before its projection may tip
                close = 2e-3 if P and name != "c" else 5e-6
                assert np.abs(got - want).max() < close, f"{name} at step {t} of {I} inputs, projected to {P}"
            state = new


def bfloat16():
    """Products in bfloat16."""
    _steps("bfloat16")


def int8():
    """Products in int8."""
    _steps("int8")


def matrix_bfloat16():
    """At 512 bits, which the CPU's matrix unit multiplies, if it has one: whole groups, parts of many inputs."""
    bfloat16()
    _steps("bfloat16", [(530, 18, 0, 18)])


def matrix_int8():
    """The same, where few rows and small units go to vectors."""
    int8()
    _steps("int8", [(530, 18, 0, 18)])


def cell():
    """Steps beside the whole sequence: rows alone and together, tails, two groups at once."""
    for H in (5, 7, 9, 10):
        net = fc.LSTM(3, H, seed=H)
        for B in (1, 2):
            x = lstms.normal((4, B, 3), seed=B)
            h, c = np.zeros((B, H), np.float32), np.zeros((B, H), np.float32)
            for x_t in x:
                net.cell().step(x_t, h, c)
            _, wanted_h, wanted_c = lstms.by_oracle(net, x)
            assert np.abs(h - wanted_h[0]).max() < 1e-5, f"h, {H} units, {B} rows"
            assert np.abs(c - wanted_c[0]).max() < 1e-5, f"c, {H} units, {B} rows"


CHECKS = {
    check.__name__: check
    for check in (
        columns, strips, registers, calls, sequence, overflowing_floats, keyed, integers, bounds, bounded_column,
        other_rules,
        gated_columns, gated_strips, gated_keyed, gated_column, lstm_plain, lstm_float64, lstm_special, lstm_shared,
        resets, streams, bfloat16, int8, matrix_bfloat16, matrix_int8, cell,
    )
}  # fmt: skip

if __name__ == "__main__":
    small_calls.SMALL = 0  # the kernels for large arrays are checked on small ones
    print(fc.__file__)
    for name in sys.argv[1:] or CHECKS:
        CHECKS[name]()
        print(name, "agrees with the oracle")
