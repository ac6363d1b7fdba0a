"""The toy cell and its gates as other libraries run them: pandas, Polars, numbagg, SciPy, JAX and a plain njit loop.

Two million steps each, float32 values and int8 rules. A library's input lies beforehand in its own kind of array or
frame; what it makes of the rules, such as a segment's number or a gate, is part of its time, and so is its output.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

import fastcell as fc

from . import common, dataframes
from .common import Peer

STEPS, KEYS = 2_000_000, 10_000
FORGET = 0.9
CLOSE = 2e-5  # most peers add up in float32, and a key's memory spans hundreds of rows


def with_plain_loop(problem, threads):
    """Time in the outer loop where columns lie side by side, else in the inner one; one thread whatever is asked."""

    def call():
        answer = problem._replace(y=np.empty_like(problem.x1))
        common.plain(answer)
        return answer.y

    return call


def with_pandas(problem, threads):
    """A reset begins a new segment; within a segment the memory is a cumulative sum."""
    import pandas as pd

    frame = pd.DataFrame({"value": problem.x1, "control": problem.x2, "emit": problem.x3})

    def call():
        segment = (frame["control"] == -1).cumsum()
        memory = frame["value"].where(frame["control"] == 1, 0.0).groupby(segment).cumsum()
        return memory.where(frame["emit"] == 1, 0.0).to_numpy()

    return call


def with_polars(problem, threads):
    import polars as pl

    frame = pl.DataFrame({"value": problem.x1, "control": problem.x2, "emit": problem.x3})
    return lambda: dataframes.with_polars(frame, keyed=False)


def with_numbagg(problem, threads):
    """An exponentially moving sum whose alpha, one a step, is 1 where the rule resets and 0 elsewhere."""
    import numbagg

    x1, x2, x3, _ = (array.T for array in problem)  # it moves along the last axis
    zero = np.float32(0)

    def call():
        added, alpha = np.where(x2 == 1, x1, zero), (x2 == -1).astype(np.float32)
        return np.where(x3 == 1, numbagg.move_exp_nansum(added, alpha=alpha), zero).T

    return call


def affine(left, right):
    """Of two maps a -> f a + v, the one that does first the left, then the right."""
    return left[0] * right[0], right[0] * left[1] + right[1]


def on_jax(scan, problem):
    """A scan over axis 0, compiled whole; a JAX array has an order of its own, so arrays go in as their memory lies."""
    import jax
    import jax.numpy as jnp

    rows = not problem.x1.flags.c_contiguous
    compiled = jax.jit(lambda *inputs: scan(*(x.T for x in inputs)).T if rows else scan(*inputs))
    arrays = [jnp.asarray(array.T if rows else array) for array in problem[:3]]

    def call():
        y = compiled(*arrays).block_until_ready()
        return np.asarray(y).T if rows else y

    return call


def with_associative_scan(problem, threads):
    """Steps are maps a -> f a + i x, which compose: a tree of compositions."""
    import jax
    import jax.numpy as jnp

    def scan(x1, x2, x3):
        gates = (x2 != -1).astype(x1.dtype), jnp.where(x2 == 1, x1, 0)
        return jnp.where(x3 == 1, jax.lax.associative_scan(affine, gates)[1], 0)

    return on_jax(scan, problem)


def with_lax_scan(problem, threads):
    """One step after the other, all columns at once."""
    import jax
    import jax.numpy as jnp

    def step(a, inputs):
        x1, x2, x3 = inputs
        a = jnp.where(x2 == -1, 0, jnp.where(x2 == 1, a + x1, a))
        return a, jnp.where(x3 == 1, a, 0)

    return on_jax(lambda *inputs: jax.lax.scan(step, jnp.zeros_like(inputs[0][0]), inputs)[1], problem)


@njit(nogil=True)
def plain_keys(keys, values, control, emit, a, y):
    for t in range(len(keys)):
        if control[t] == 1:
            a[keys[t]] += values[t]
        elif control[t] == -1:
            a[keys[t]] = 0
        y[t] = a[keys[t]] if emit[t] == 1 else 0


def keys_with_plain_loop(events, threads):
    """Keys that number a memory each, unchecked; one thread whatever is asked."""
    columns = [events[name] for name in ("key", "value", "control", "emit")]

    def call():
        y = np.empty_like(events["value"])
        plain_keys(*columns, np.zeros(KEYS), y)
        return y

    return call


def keys_with_pandas(events, threads):
    import pandas as pd

    frame = pd.DataFrame(events)
    return lambda: dataframes.with_pandas(frame)


def keys_with_polars(events, threads):
    import polars as pl

    frame = pl.DataFrame(events)
    return lambda: dataframes.with_polars(frame)


@njit(nogil=True)
def plain_smoothing(x, y):
    memory = 0.0
    for t in range(len(x)):
        memory = FORGET * memory + (1 - FORGET) * x[t]
        y[t] = memory


def smoothing_with_plain_loop(x, threads):
    def call():
        y = np.empty_like(x)
        plain_smoothing(x, y)
        return y

    return call


def smoothing_with_pandas(x, threads):
    import pandas as pd

    series = pd.Series(x)
    return lambda: series.ewm(alpha=1 - FORGET, adjust=False).mean().to_numpy()


def smoothing_with_polars(x, threads):
    import polars as pl

    series = pl.Series(x)
    return lambda: series.ewm_mean(alpha=1 - FORGET, adjust=False).to_numpy()


def smoothing_with_numbagg(x, threads):
    import numbagg

    alpha = np.float32(1 - FORGET)
    return lambda: numbagg.move_exp_nansum(alpha * x, alpha=alpha)


def smoothing_with_scipy(x, threads):
    from scipy.signal import lfilter

    b, a = np.array([1 - FORGET], np.float32), np.array([1, -FORGET], np.float32)
    return lambda: lfilter(b, a, x)


def smoothing_with_associative_scan(x, threads):
    import jax
    import jax.numpy as jnp

    @jax.jit
    def scan(x):
        return jax.lax.associative_scan(affine, (jnp.full_like(x, FORGET), (1 - FORGET) * x))[1]

    values = jnp.asarray(x)
    return lambda: scan(values).block_until_ready()


LOOP, ASSOCIATIVE, LAX = "plain njit loop", "JAX, associative_scan", "JAX, lax.scan"
COLUMNS = {
    LOOP: Peer((), with_plain_loop),
    "numbagg": Peer(("numbagg",), with_numbagg),
    ASSOCIATIVE: Peer(("jax",), with_associative_scan),
    LAX: Peer(("jax",), with_lax_scan),
}


class Work(NamedTuple):
    """A problem of the toy cell: its data by size, fastcell's call, and the peers that have an equal."""

    data: Callable[[int], object]
    fastcell: Callable[..., np.ndarray]
    peers: dict[str, Peer]


def scanned(problem, threads):
    return fc.toy_scan(*problem[:3], threads=threads).y


def layout(steps, columns, order):
    return lambda size: common.toy_data(max(1, steps * size // STEPS), columns, order)


def values(size):
    """From 0, so that those that begin at the first value and those that begin at 0 agree."""
    x = common.normal(size)
    x[0] = 0
    return x


WORK = {
    "one sequence": Work(
        layout(STEPS, 1, "C"), scanned,
        COLUMNS | {"pandas": Peer(("pandas",), with_pandas), "Polars": Peer(("polars",), with_polars)},
    ),
    "1,000 columns": Work(layout(2000, 1000, "C"), scanned, COLUMNS),
    "1,000 rows": Work(layout(2000, 1000, "F"), scanned, COLUMNS),
    "10,000 keys": Work(
        lambda size: common.events(size, KEYS),
        dataframes.fastcell,
        {
            LOOP: Peer((), keys_with_plain_loop),
            "pandas": Peer(("pandas",), keys_with_pandas),
            "Polars": Peer(("polars",), keys_with_polars),
        },
    ),
    "smoothing": Work(
        values,
        lambda x, threads: fc.gated_scan(x, FORGET, 1 - FORGET, 1.0, threads=threads).y,
        {
            LOOP: Peer((), smoothing_with_plain_loop),
            "pandas": Peer(("pandas",), smoothing_with_pandas),
            "Polars": Peer(("polars",), smoothing_with_polars),
            "numbagg": Peer(("numbagg",), smoothing_with_numbagg),
            "SciPy": Peer(("scipy",), smoothing_with_scipy),
            ASSOCIATIVE: Peer(("jax",), smoothing_with_associative_scan),
        },
    ),
}  # fmt: skip
NAMES = [LOOP, "pandas", "Polars", "numbagg", "SciPy", ASSOCIATIVE, LAX]


def calls(name, threads, size=STEPS):
    """fastcell and each peer that is installed, ready to be timed; their answers agree."""
    work = WORK[name]
    data = work.data(size)
    made = {"fastcell": lambda: work.fastcell(data, common.chosen(threads))}
    made |= {peer: way.prepare(data, threads) for peer, way in work.peers.items() if not way.missing()}
    wanted = made["fastcell"]()
    for peer, call in made.items():
        np.testing.assert_allclose(np.asarray(call()), wanted, rtol=0, atol=CLOSE, err_msg=f"{peer}, {name}")
    return made


def measure(name, threads, **timing):
    """Best seconds of fastcell and its peers, by turns."""
    return common.in_turn(calls(name, threads), **timing)
