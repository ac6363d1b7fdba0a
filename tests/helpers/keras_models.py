"""Keras models with random weights, and the warning of Keras's own that comes with them."""

import numpy as np
import pytest

I, H = 4, 5

# Keras's torch backend hands its tensors to np.array, which torch does not yet take a `copy` from.
COPY_WARNING = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras.src.backend."
)


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(0, 0.5, shape).astype("f4")


def model(keras, *layers, inputs=I):
    """A Sequential of these layers with random weights."""
    made = keras.Sequential([keras.layers.Input((None, inputs)), *layers])
    for k, variable in enumerate(made.weights):
        variable.assign(random(*variable.shape, seed=k))
    return made
