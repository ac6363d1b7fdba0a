"""What the importers' tests share: sizes, weights, and the oracle run on what an importer returns."""

import numpy as np
import pytest

from fastcell import oracle
from fastcell.lstm.config import Quantized
from tests.helpers.lstms import function

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


def run(arguments, x):
    """By the oracle: (T, B, I) to (T, B, D * (P or H)), and the last c of each layer and direction."""
    weights = {name: array.astype(float).tolist() for name, array in arguments["weights"].items()}
    y, (_, c) = oracle.lstm(
        x.astype(float).tolist(), weights, reverse=arguments["reverse"], coupled=arguments["coupled"],
        clip=arguments["clip"], activations=[function(entry) for entry in arguments["activations"]],
    )  # fmt: skip
    return np.array(y), np.array(c)


def widened(arguments, precision="int8"):
    """Arguments of floats alone, as precision="float32" makes them of a source of integers."""
    arguments = dict(arguments)
    assert arguments.pop("precision") == precision
    weights = {
        name: x.values * x.scale[:, None] if isinstance(x, Quantized) else x for name, x in arguments["weights"].items()
    }
    return arguments | {"weights": weights}


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
