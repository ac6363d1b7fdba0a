"""LSTMs beside the oracle: the same call by it, how far apart the two may lie, and inputs."""

import math

import numpy as np

from fastcell import oracle

FUNCTIONS = {
    "sigmoid": oracle.sigmoid,
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "hard_sigmoid": lambda x, alpha=0.2, beta=0.5: min(max(alpha * x + beta, 0.0), 1.0),  # in this order NaN stays
    "softsign": lambda x: math.copysign(1.0, x) if math.isinf(x) else x / (1 + abs(x)),
    "leaky_relu": lambda x, alpha=0.01: x if x >= 0 else alpha * x,
    "elu": lambda x, alpha=1.0: x if x >= 0 else alpha * math.expm1(x),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "affine": lambda x, alpha=1.0, beta=0.0: alpha * x + beta,
    "threshold": lambda x, alpha=1.0: 0.0 if x < alpha else x,
    "scaled_tanh": lambda x, alpha=1.0, beta=1.0: alpha * math.tanh(beta * x),
    "identity": lambda x: x,
}
# float64: the rounding of sums of some tens of terms of size 1; float32: the same, with activations of 4 ulp
TOLERANCE = {"float32": 3e-6, "float64": 1e-13}


def function(entry):
    name, *numbers = (entry,) if isinstance(entry, str) else entry
    return (lambda x: FUNCTIONS[name](x, *numbers)) if numbers else FUNCTIONS[name]


def by_oracle(lstm, x, state=None, **options):
    """The oracle's answer as float64 arrays, (T, B, I) in."""
    T, B, _ = x.shape
    weights = {name: array.astype(float).tolist() for name, array in lstm.state_dict().items()}
    for name in list(weights):
        if not len(weights[name]):
            del weights[name]
    if state is None:
        L = lstm.num_layers * lstm.directions
        state = np.zeros((L, B, lstm.output_size)), np.zeros((L, B, lstm.hidden_size))
    y, (h, c) = oracle.lstm(
        x.astype(float).tolist(), weights, [np.asarray(part, float).tolist() for part in state],
        reverse=lstm.reverse, coupled=lstm.coupled, clip=lstm.clip,
        activations=[function(entry) for entry in lstm.activations], precision=lstm.precision, **options,
    )  # fmt: skip
    width = lstm.directions * lstm.output_size
    return np.array(y, float).reshape(T, B, width), np.array(h, float), np.array(c, float)


def check(lstm, x, state=None, **options):
    y, (h, c) = lstm(x, state, **options)
    wanted = by_oracle(lstm, x, state, **options)
    for name, got, want in zip("yhc", (y, h, c), wanted, strict=True):
        assert got.dtype == lstm.dtype, name
        assert got.shape == want.shape, name
        scale = np.maximum(1, np.abs(want))
        np.testing.assert_array_less(
            np.abs(got - want) / scale, TOLERANCE[lstm.dtype.name], err_msg=f"{name} of {lstm}"
        )
    return y, h, c


def normal(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
