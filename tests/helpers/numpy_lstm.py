"""A plain LSTM in NumPy and float64 that runs what the importers return, and what their tests share."""

import numpy as np
import pytest

T, B, I, H, P = 6, 3, 4, 5, 2
KEYS = ["input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size", "reverse", "peepholes"]
KEYS += ["coupled", "clip", "activations", "dtype", "weights"]
CLOSE = {"rtol": 0, "atol": 1e-5}  # float32 sums of about ten products, in another order


def refuses(call, error, *fragments):
    """Assert that the call raises this error with these words in it."""
    with pytest.raises(error) as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert type(caught.value) is error


# The LSTM as its definition has it, in NumPy and float64, for what the importers return.

FUNCTIONS = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0),
    "hard_sigmoid": lambda v, a, b: np.clip(a * v + b, 0, 1),
    "softsign": lambda v: v / (1 + np.abs(v)),
    "leaky_relu": lambda v, a: np.where(v >= 0, v, a * v),
    "elu": lambda v, a: np.where(v >= 0, v, a * np.expm1(np.minimum(v, 0))),
    "softplus": lambda v: np.log1p(np.exp(v)),
    "affine": lambda v, a, b: a * v + b,
    "threshold": lambda v, a: np.where(v > a, v, 0),
    "scaled_tanh": lambda v, a, b: a * np.tanh(b * v),
}


def activation(entry):
    name, *values = (entry,) if isinstance(entry, str) else entry
    return lambda v: FUNCTIONS[name](v, *values)


def direction(arguments, end, functions, x):
    """One direction of one layer: x is (T, B, I), in the order in which it is read."""
    w = {name.removesuffix(end): a for name, a in arguments["weights"].items() if name.endswith(end)}
    f_, g_, h_ = map(activation, functions)
    bound = arguments["clip"] or np.inf
    hidden = arguments["hidden_size"]
    c = np.zeros((x.shape[1], hidden))
    out = np.zeros((x.shape[1], arguments["proj_size"] or hidden))
    pi, pf, po = np.split(w.get("weight_peephole", np.zeros(3 * hidden)).astype("f8"), 3)
    y = []
    for xt in x:
        gates = xt @ w["weight_ih"].T.astype("f8") + out @ w["weight_hh"].T
        i, f, g, o = np.split(gates + w.get("bias_ih", 0) + w.get("bias_hh", 0), 4, axis=1)
        i = f_(np.clip(i + pi * c, -bound, bound))
        f = 1 - i if arguments["coupled"] else f_(np.clip(f + pf * c, -bound, bound))
        c = f * c + i * g_(np.clip(g, -bound, bound))
        out = f_(np.clip(o + po * c, -bound, bound)) * h_(c)
        if arguments["proj_size"]:
            out = out @ w["weight_hr"].T
        y.append(out)
    return np.array(y), c


def run(arguments, x):
    """(T, B, I) to (T, B, D * (P or H)), and the last c of each layer and direction."""
    y, last = x.astype("f8"), []
    functions = arguments["activations"]
    for k in range(arguments["num_layers"]):
        backward = arguments["reverse"]
        first, c = direction(arguments, f"_l{k}", functions[:3], y[::-1] if backward else y)
        parts, last = [first[::-1] if backward else first], [*last, c]
        if arguments["bidirectional"]:
            second, c = direction(arguments, f"_l{k}_reverse", functions[3:], y[::-1])
            parts, last = [*parts, second[::-1]], [*last, c]
        y = np.concatenate(parts, axis=2)
    return y, np.array(last)


def well_formed(arguments, dtype="float32", more=()):
    assert list(arguments) == [*KEYS, *more]
    assert arguments["dtype"] == dtype
    for name, x in arguments["weights"].items():
        assert type(x) is np.ndarray, name
        assert x.dtype == dtype, name
        assert x.flags.c_contiguous, name
        assert x.flags.owndata, name
        assert x.flags.writeable, name


def random(*shape, dtype="float32", seed=0):
    return np.random.default_rng([seed, *shape]).normal(0, 0.6, shape).astype(dtype)


def state(dtype="float32", prefix=""):
    return {
        f"{prefix}weight_ih_l0": random(4 * H, I, dtype=dtype),
        f"{prefix}weight_hh_l0": random(4 * H, H, dtype=dtype, seed=1),
        f"{prefix}bias_ih_l0": random(4 * H, dtype=dtype, seed=2),
        f"{prefix}bias_hh_l0": random(4 * H, dtype=dtype, seed=3),
    }
