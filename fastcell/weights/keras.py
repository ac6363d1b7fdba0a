"""Keras's LSTM layers as arguments of LSTM: its gates i, f, c, o are i, f, g, o here; its kernels are (I, 4*H)."""

import os
import sys
import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from fastcell._checks import Array
from fastcell.weights.common import arguments, array, shaped
from fastcell.weights.keras_layers import LSTMS, Layer, feeders, major, start

_MODELS = ("Sequential", "Functional", "Model")
# What changes nothing once training is over.
_TRAINING = (
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D",
)  # fmt: skip

# Keras's names and values. hard_sigmoid is relu6(x + 3) / 6 in Keras 3, and was clip(0.2 x + 0.5) before.
_ACTIVATIONS: dict[str, Any] = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
    "softsign": "softsign",
    "leaky_relu": ("leaky_relu", 0.2),
    "elu": ("elu", 1.0),
    "softplus": "softplus",
    "linear": "identity",
}


_SILENT = object()


def from_keras(source: Any, layer: Any = None) -> dict[str, Any]:
    """Arguments of LSTM from Keras's layers, weights or files. Keras is not imported, and nothing of a file is run."""
    names = [layer] if isinstance(layer, str) else layer
    if names is not None and not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
        raise TypeError(f"layer must be a str or a list of str, got {type(layer).__name__}")
    if isinstance(source, str | os.PathLike):
        from fastcell.weights.keras_files import read

        with read(source) as layers:
            return _stacked(_chosen(layers, names))
    if isinstance(source, list | tuple):
        return _stacked(_chosen([_flat(source)] if _are_arrays(source) else list(map(_given, source)), names, True))
    return _stacked(_chosen([_given(source)], names))


def _are_arrays(source: Any) -> bool:
    return bool(source) and all(hasattr(x, "__array__") for x in source)


def _flat(given: Any) -> Layer:
    """One layer's weights, where 4 or 6 of them may be two layers', too."""
    shapes = [tuple(x.shape) for x in given]
    if len(given) in (4, 6) and shapes[0] == shapes[len(given) // 2] == shapes[1]:
        raise ValueError(
            f"source must tell a Bidirectional's weights from two layers', got {len(given)} arrays: give [weights] for "
            "one Bidirectional, [first, second] for two layers"
        )
    return _given(given)


def _given(source: Any) -> Layer:
    """A layer, a model, or a list of weights."""
    if isinstance(source, list | tuple):
        if not _are_arrays(source) or len(source) not in (2, 3, 4, 6):
            raise ValueError(
                f"source must have kernel, recurrent kernel and maybe bias, once or for two directions, got a list of "
                f"{len(source)} {', '.join(sorted({type(x).__name__ for x in source})) or 'things'}"
            )
        return Layer("source", "LSTM" if len(source) < 4 else "Bidirectional", read=lambda: list(source))
    bases = [base for base in type(source).__mro__ if _is_keras(base.__module__)]
    if not bases or not hasattr(source, "get_config"):
        raise TypeError(
            f"source must be a Keras layer or model, weights, a list, or a path, got {type(source).__name__}"
        )
    kind = bases[0].__name__
    if kind in _MODELS:
        return _model(source, kind)
    if kind not in LSTMS:
        return Layer(source.name, kind)
    for cell in _cell_objects(source, kind):
        _own_function(cell, "activation")
        _own_function(cell, "recurrent_activation")
    version = major(getattr(sys.modules.get(bases[0].__module__.partition(".")[0]), "__version__", "3"))
    return Layer(source.name, kind, source.get_config(), lambda: _variables(source, kind), version=version)


def _is_keras(module: str) -> bool:
    return module.partition(".")[0] in ("keras", "tf_keras")


def _model(source: Any, kind: str) -> Layer:
    layers = [_given(each) for each in source.layers]
    made = Layer(source.name, kind, inner=layers)
    lstms = [each for each in layers if each.is_lstm]
    if kind == "Functional" and lstms:
        for entry in _entries(source, len(lstms) > 1):
            for each in layers:
                if each.name == entry["name"]:
                    each.feeders, each.start = feeders(entry["inbound_nodes"]), start(entry["inbound_nodes"])
    for each in layers:
        each.ordered = kind != "Model"
    return made


def _entries(source: Any, needed: bool) -> list[Any]:
    """The layers in a model's configuration, which it lacks where a layer of somebody's own has none."""
    try:
        entries: list[Any] = source.get_config()["layers"]
        return entries
    except NotImplementedError:
        if needed:
            raise
        warnings.warn(
            f"{source.name!r} has a layer without get_config, so it is not known whether its LSTM is called with an "
            "initial_state: where it is, give it in each call as state=",
            stacklevel=6,
        )
        return []


def _cell_objects(layer: Any, kind: str) -> list[Any]:
    if kind == "LSTMCell":
        return [layer]
    sides = (layer.forward_layer, layer.backward_layer) if kind == "Bidirectional" else (layer,)
    cells = [getattr(side, "cell", side) for side in sides]
    # What a CuDNNLSTM calls its cell are sizes alone.
    return [cell if hasattr(cell, "get_config") else side for cell, side in zip(cells, sides, strict=True)]


def _variables(layer: Any, kind: str) -> list[Any]:
    """The cells' variables, in the order of get_weights()."""
    made = []
    for cell in _cell_objects(layer, kind):
        for name in ("kernel", "recurrent_kernel", "bias"):
            try:
                variable = getattr(cell, name)
            except AttributeError:
                raise ValueError(f"layer {layer.name!r} must be built: it has no {name} yet") from None
            if variable is not None:
                made.append(variable)
    return made


def _own_function(cell: Any, name: str) -> None:
    """A function of one's own may have a name of Keras's, under which it is in the configuration."""
    function = getattr(cell, name, None)
    module = getattr(function, "__module__", None) or type(function).__module__
    if function is not None and not _is_keras(module):
        raise ValueError(f"{name} of layer {cell.name!r} must be one of Keras's, got {function!r}")


def _everything(layers: list[Layer]) -> list[list[Layer]]:
    """All lists of layers, models' inside models first to last."""
    lists = [layers]
    for layer in layers:
        if layer.inner:
            lists += _everything(layer.inner)
    return lists


def _chosen(layers: list[Layer], names: Any, listed: bool = False) -> list[Layer]:
    """The layers of those names, or those that follow each other."""
    lists = _everything(layers)
    known = [each for level in lists for each in level if each.is_lstm]
    if not known:
        kinds = (
            ", ".join(sorted({each.kind for level in lists for each in level if not each.inner})) or "no layer at all"
        )
        raise ValueError(f"source must have an LSTM layer, got {kinds}")
    told = ", ".join(repr(each.name) for each in known)
    if names is not None:
        picked = [[each for each in known if name in (each.name, *each.aliases)] for name in names]
        for name, found in zip(names, picked, strict=True):
            if len(found) != 1:
                raise ValueError(f"layer must name one of the source's LSTM layers, {told}, got {name!r}")
        if not picked:
            raise ValueError(f"layer must name some of the source's LSTM layers, {told}, got none")
        return [found[0] for found in picked]
    if listed and any(not each.is_lstm for each in layers if not each.inner):
        other = next(each for each in layers if not each.is_lstm)
        raise ValueError(f"source must be a list of LSTM layers, got {other.name!r}, which is {_a(other.kind)}")
    if len(known) == 1:
        return known
    level = next(level for level in lists if any(each.is_lstm for each in level))
    here = [each for each in level if each.is_lstm]
    if len(here) != len(known):
        raise ValueError(f"layer must name one of the LSTM layers {told}, which are in models inside a model")
    for before, after in pairwise(here):
        _follows(level, before, after, told)
    return here


def _follows(level: list[Layer], before: Layer, after: Layer, told: str) -> None:
    """Raise where something else than dropout stands between two layers."""
    by_name = {each.name: each for each in level}
    between = level[level.index(before) + 1 : level.index(after)]
    other = next((f"{each.name!r} ({each.kind})" for each in between if each.kind not in _TRAINING), "")
    if after.feeders is not None:
        inputs, other = after.feeders, ""
        while len(inputs) == 1 and (each := by_name.get(next(iter(inputs)))) and each.kind in _TRAINING:
            inputs = each.feeders or set()
        if inputs != {before.name}:
            other = ", ".join(map(repr, sorted(inputs))) or "nothing"
    if other or not after.ordered:
        why = f"{other} comes before {after.name!r}" if other else "their order is not known"
        raise ValueError(f"layer must name those of the LSTM layers {told} that follow each other: {why}")


def _a(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "AEIOU" else f"a {kind}"


def _cells(layer: Layer) -> list[Mapping[str, Any]]:
    """The configuration of each direction, with go_backwards."""
    config = layer.config
    if layer.kind == "RNN":
        own = {name: config.get(name, False) for name in ("go_backwards", "time_major")}
        return [{**config["cell"]["config"], **own}]
    if layer.kind != "Bidirectional":
        return [config]
    if not config:
        return [{}, {"go_backwards": True}]
    if (mode := config.get("merge_mode", "concat")) != "concat":
        raise ValueError(f"merge_mode of layer {layer.name!r} must be 'concat', got {mode!r}")
    first = config["layer"]["config"]
    second = (config.get("backward_layer") or {}).get("config") or {**first, "go_backwards": True}
    if first.get("go_backwards", False) or not second.get("go_backwards", False):
        raise ValueError(f"go_backwards of layer {layer.name!r} must be of its second direction alone")
    return [first, second]


def _default(layer: Layer) -> str:
    """The recurrent activation of a layer whose file doesn't say."""
    if not layer.before or layer.is_cudnn or _is_cudnn_bias(layer.read()):
        return "sigmoid"
    if layer.before.endswith("-tf"):
        warnings.warn(
            f"recurrent_activation of layer {layer.name!r} is not in its file: taken for hard_sigmoid, as before Keras "
            f"2.3; TensorFlow 2.0 and 2.1 write the same version, {layer.before}, and have sigmoid. A whole model's "
            "file says which",
            stacklevel=5,
        )
    return "hard_sigmoid"


def _is_cudnn_bias(given: list[Any]) -> bool:
    """Whether the weights of one or two directions have CuDNNLSTM's two biases for each gate."""
    per = len(given) // 2 if len(given) == 6 else len(given)
    return per == 3 and tuple(given[2].shape) == (8 * given[1].shape[0],)


def _functions(layer: Layer, config: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """f, g and h."""
    made = []
    # Keras 1 has another name.
    gate = config.get("recurrent_activation", config.get("inner_activation", _SILENT))
    gate = _default(layer) if gate is _SILENT else gate
    for name, given in (("recurrent_activation", gate), ("activation", config.get("activation", "tanh"))):
        made.append(_function(given, layer.version))
        if made[-1] is None:
            told = given.get("class_name") if isinstance(given, Mapping) else given
            raise ValueError(f"{name} of layer {layer.name!r} must be among {', '.join(_ACTIVATIONS)}, got {told!r}")
    return made[0], made[1], made[1]


def _function(given: Any, version: int) -> Any:
    """fastcell's activation, None where it has none."""
    if isinstance(given, Mapping):
        options = given.get("config")
        if given.get("class_name") == "LeakyReLU" and isinstance(options, Mapping):
            return "leaky_relu", float(options.get("negative_slope", options.get("alpha", 0.3)))
        if given.get("class_name") == "ELU" and isinstance(options, Mapping):
            return "elu", float(options.get("alpha", 1.0))
        return None
    if given == "hard_sigmoid" and version < 3:
        return "hard_sigmoid", 0.2, 0.5
    return _ACTIVATIONS.get(given) if isinstance(given, str) else None


def _stacked(layers: list[Layer]) -> dict[str, Any]:
    """One LSTM of these layers."""
    weights: dict[str, Array] = {}
    first: list[tuple[Any, Any, Any]] = []
    backwards: list[bool] = []
    I = H = 0
    for k, layer in enumerate(layers):
        cells, told = _cells(layer), f"of layer {layer.name!r}"
        if layer.start is not None:
            source = f"from {', '.join(map(repr, sorted(layer.start)))}" if layer.start else "from its model"
            warnings.warn(
                f"initial_state {told} is left out, as it comes {source}: give it in each call as state=", stacklevel=4
            )
        functions = [_functions(layer, config) for config in cells]
        if k and len(functions) != len(first):
            raise ValueError(f"layers must all have one direction or all two, {layer.name!r} has {len(functions)}")
        if k and functions != first:
            raise ValueError(f"layers must have the same activations, {layer.name!r} has others; name one with layer=")
        first = functions
        # Keras leaves the sequence reversed, and the next layer takes it as it is.
        backwards.append(bool(cells[0].get("go_backwards", False)) != (bool(backwards) and backwards[-1]))
        given = layer.read()
        each, odd = divmod(len(given), len(cells))
        if layer.before and each == 12:  # Keras 1 has the gates i, c, f, o apart
            given = [
                np.concatenate([_values(told, given[d * 12 + 3 * gate + k]) for gate in (0, 2, 1, 3)], axis=-1)
                for d in range(len(cells))
                for k in range(3)
            ]
            each = 3
        if odd or each not in (2, 3):
            raise ValueError(f"weights {told} must be kernel, recurrent kernel and maybe bias, got {len(given)} arrays")
        for d, config in enumerate(cells):
            parts = given[d * each : (d + 1) * each]
            made = [
                _values(f"{name} {told}", x)
                for name, x in zip(("kernel", "recurrent kernel", "bias"), parts, strict=False)
            ]
            if k == d == 0:
                if any(x.ndim != 2 for x in made[:2]):
                    raise ValueError(f"kernel {told} must have shape (I, 4*H), got {made[0].shape}")
                I, H = made[0].shape[0], made[1].shape[0]
            units = config.get("units", H)
            if units != H or made[1].shape[:1] != (H,):
                sizes = f"{H} in {layers[0].name!r} and {units if units != H else made[1].shape[:1]} in {layer.name!r}"
                raise ValueError(f"layers must have the same units, got {sizes}; name one with layer=")
            if layer.is_cudnn and not _is_cudnn_bias(made):
                shape = made[2].shape if len(made) == 3 else "none"
                raise ValueError(f"bias {told} must have shape (8*H,) = ({8 * H},), as CuDNNLSTM's, got {shape}")
            weights |= _converted(made, told, k, d, (I if k == 0 else len(cells) * H, H))
    if any(backwards) and not all(backwards):
        names = ", ".join(repr(layer.name) for layer in layers)
        raise ValueError(f"go_backwards of the layers {names} must run them all in one direction; name one with layer=")
    major_first = {bool(config.get("time_major", False)) for layer in layers for config in _cells(layer)}
    if len(major_first) > 1:
        raise ValueError("time_major must be the same in all layers; name one with layer=")
    return arguments(
        weights,
        input_size=I,
        hidden_size=H,
        num_layers=len(layers),
        bias=any(name.startswith("bias") for name in weights),
        bidirectional=len(first) == 2,
        reverse=backwards[0],
        activations=tuple(entry for functions in first for entry in functions),
    ) | {"batch_first": major_first == {False}}


def _values(name: str, given: Any) -> Array:
    """A variable of any of Keras's backends as an array."""
    value = getattr(given, "value", None)
    return array(name, given if value is None or callable(value) else value)


def _converted(made: list[Array], told: str, k: int, d: int, sizes: tuple[int, int]) -> dict[str, Array]:
    width, H = sizes
    end = f"_l{k}" + ("_reverse" if d else "")
    shaped(f"kernel {told}", made[0], "(D*H, 4*H)" if k else "(I, 4*H)", (width, 4 * H))
    shaped(f"recurrent kernel {told}", made[1], "(H, 4*H)", (H, 4 * H))
    if _is_cudnn_bias(made):
        # cuDNN's own layout: each gate's (H, I) written into the (I, H) that Keras shows, R's gates transposed, and
        # biases of x's share and of h's.
        gates = [np.split(x, 4, axis=1) for x in made[:2]]
        return {
            "weight_ih" + end: np.concatenate([gate.reshape(H, width) for gate in gates[0]]),
            "weight_hh" + end: np.concatenate(gates[1]),
            "bias_ih" + end: made[2][: 4 * H] + made[2][4 * H :],
        }
    found = {"weight_ih" + end: made[0].T, "weight_hh" + end: made[1].T}
    if len(made) == 3:
        shaped(f"bias {told}", made[2], "(4*H,)", (4 * H,))
        found["bias_ih" + end] = made[2]
    return found
