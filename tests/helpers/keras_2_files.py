"""Files as Keras 2 wrote them: configuration, and weights under its names; CuDNNLSTM's and an LSTM's of the same."""

import json

import numpy as np

from tests.helpers.keras_models import H, I, random


def keras_2(h5py, path, config, groups, **attributes):
    """A file as Keras 2 wrote it: a model's configuration, and a group of named weights for each layer."""
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        top = file.create_group("model_weights") if config is not None else file
        top.attrs["layer_names"] = [name.encode() for name in groups]
        for name, weights in groups.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = [each.encode() for each in weights]
            for each, x in weights.items():
                group[each] = x


def cudnn(inputs=I, seed=0):
    """Kernel, recurrent kernel and biases as CuDNNLSTM has them."""
    return [random(inputs, 4 * H, seed=seed), random(H, 4 * H, seed=seed + 1), random(8 * H, seed=seed + 2)]


def as_lstm(given):
    """The same as an LSTM's: Keras reads each kernel in one order of memory and writes it in the other."""
    k, r, b = given
    gates = [np.asfortranarray(gate.T.reshape(gate.shape, order="F")) for gate in np.hsplit(k, 4)]
    return [np.hstack(gates), np.hstack([gate.T for gate in np.hsplit(r, 4)]), b[: 4 * H] + b[4 * H :]]


def entry(name="one", kind="LSTM", **config):
    return {"class_name": kind, "config": {"name": name, "units": H, **config}}


def sequential(*entries):
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": list(entries)}}


def stored(weights, name="one", sides=None):
    """A layer's weights under the names that Keras 2 gives them."""
    kinds = ("kernel:0", "recurrent_kernel:0", "bias:0")
    if sides is None:
        return {f"{name}/{kind}": x for kind, x in zip(kinds, weights, strict=False)}
    return {
        f"{name}/{side}_lstm/{kind}": x
        for side, arrays in zip(sides, weights, strict=True)
        for kind, x in zip(kinds, arrays, strict=False)
    }
