"""Steps of an LSTM beside a call over the sequence."""

import fastcell as fc
from fastcell import _jit
from tests.helpers.lstms import normal

OPTIONS = {
    "plain": {},
    "projection": {"proj_size": 5},
    "peepholes, clip": {"peepholes": True, "clip": 0.5},
    "coupled": {"coupled": True},
    "activations": {"activations": ("hard_sigmoid", "softsign", ("elu", 0.5))},
    "no bias": {"bias": False},
}


def states(lstm, rows, layers=()):
    """Random (h, c) of one step: rows is () or (B,)."""
    shapes = (*layers, *rows, lstm.output_size), (*layers, *rows, lstm.hidden_size)
    return tuple(normal(shape, lstm.dtype, seed) for seed, shape in enumerate(shapes))


def whole(lstm, x, h, c):
    """A call over the sequence, with states without an axis of layers."""
    rows = x.shape[1:-1]
    y, (h, c) = lstm(x, (h.reshape(1, *h.shape), c.reshape(1, *c.shape)), threads=1)
    return y, h.reshape(*rows, -1), c.reshape(*rows, -1)


def is_compiled(cell, x):
    """Whether tests step this cell in compiled code, too: every two of dtype, axes and plain or not meet.

    All eight would take ten seconds each to compile.
    """
    plain = cell.params.special is None
    return (x.ndim == 3) == (plain == (x.dtype == "float64"))


@_jit.kernel  # cached like the package's own, so that not every process compiles it
def through(params, x, h, c):
    for t in range(len(x)):
        fc.lstm_step(params, x[t], h, c)
