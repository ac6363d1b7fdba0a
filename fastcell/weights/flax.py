"""Flax's LSTM cells, of linen and nnx, as arguments of LSTM: gates in the order i, f, g, o; kernels are (I, H)."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastcell._checks import Array
from fastcell.weights.common import arguments, array, shaped

_INPUT, _HIDDEN = ("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho")
_CELLS = ("LSTMCell", "OptimizedLSTMCell")
_DEEPEST = 50

# jax.nn's functions under their own names, with what alpha and beta they have there.
_ACTIVATIONS: dict[str, Any] = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
    "soft_sign": "softsign",
    "softplus": "softplus",
    "leaky_relu": ("leaky_relu", 0.01),
    "elu": ("elu", 1.0),
    "identity": "identity",
}


class _Direction(NamedTuple):
    """One cell: names of its parts to kernel and bias, and what an nnx module tells beyond them."""

    parts: dict[str, Any]
    activations: tuple[Any, ...] = ("sigmoid", "tanh", "tanh")
    reverse: bool = False
    keep_order: bool = True
    time_major: bool = False


def from_flax(params: Any) -> dict[str, Any]:
    """Arguments of LSTM from the parameters of Flax's cells, or from nnx modules. Flax is not imported."""
    layers = [_layer(each) for each in (params if isinstance(params, list | tuple) else [params])]
    if not layers:
        raise ValueError("params must hold an LSTM cell, got an empty list")
    weights: dict[str, Array] = {}
    first = layers[0]
    I = H = 0
    for k, layer in enumerate(layers):
        if [(d.activations, d.time_major) for d in layer] != [(d.activations, d.time_major) for d in first]:
            raise ValueError(f"params must have layers of the same directions and activations, layer {k} has others")
        for d, direction in enumerate(layer):
            where = f"layer {k}" + (", backward" if d else "")
            found = _matrices(direction.parts, where)
            if k == d == 0:
                I, H = found["weight_ih"].shape[1], found["weight_hh"].shape[1]
            letters, width = ("(4*H, D*H)", len(first) * H) if k else ("(4*H, I)", I)
            shaped(f"kernels of x in {where}", found["weight_ih"], letters, (4 * H, width))
            shaped(f"kernels of h in {where}", found["weight_hh"], "(4*H, H)", (4 * H, H))
            for name, x in found.items():
                if name.startswith("bias"):
                    shaped(f"biases in {where}", x, "(4*H,)", (4 * H,))
                weights[name + f"_l{k}" + ("_reverse" if d else "")] = x
    made = arguments(
        weights,
        input_size=I,
        hidden_size=H,
        num_layers=len(layers),
        bias=any(name.startswith("bias") for name in weights),
        bidirectional=len(first) == 2,
        reverse=_backwards([layer[0] for layer in layers]),
        activations=tuple(entry for direction in first for entry in direction.activations),
    )
    return made | {"batch_first": not first[0].time_major}


def _backwards(layers: list[_Direction]) -> bool:
    """Whether all layers run from each row's end, where without keep_order the next one reads a reversed sequence."""
    found, reversed_ = set(), False
    for layer in layers:
        found.add(layer.reverse != reversed_)
        reversed_ ^= layer.reverse and not layer.keep_order
    if len(found) > 1:
        raise ValueError("params must have layers that all run in one direction, got some of reverse=True")
    return found.pop()


def _layer(given: Any) -> list[_Direction]:
    """One direction or two."""
    kind = _nnx_kind(given)
    if kind:
        return _nnx_layer(given, kind)
    if not isinstance(given, Mapping):
        raise TypeError(f"params must be a dict, an nnx module, or a list of these, got {type(given).__name__}")
    found = list(_cells(given, ()))
    if len(found) == 1:
        return [_Direction(found[0][1])]
    paths = ["/".join(path) or "the top" for path, _ in found]
    sides = {"forward_rnn": 0, "backward_rnn": 1}
    if len(found) == 2:
        (one, first), (other, second) = found
        differing = [(a, b) for a, b in zip(one, other, strict=False) if a != b]
        if len(one) == len(other) and len(differing) == 1 and set(differing[0]) == set(sides):
            return [_Direction(p) for p in ((first, second) if differing[0][0] == "forward_rnn" else (second, first))]
    there = f"cells under {', '.join(paths)}; a list of these makes layers" if found else "none of an LSTM's parts"
    raise ValueError(f"params must hold one LSTM cell, or the two of a Bidirectional, got {there}")


def _cells(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Paths and parts of all cells in nested dicts."""
    if not isinstance(tree, Mapping) or len(path) > _DEEPEST:
        return
    # nnx writes if_, since `if` is no name of an attribute.
    parts = {str(name).removesuffix("_"): part for name, part in tree.items()}
    if {*_INPUT, *_HIDDEN} <= set(parts) or {"dense_i", "dense_h"} <= set(parts):
        yield path, parts
        return
    for name, part in tree.items():
        yield from _cells(part, (*path, str(name)))


def _matrices(parts: dict[str, Any], where: str) -> dict[str, Array]:
    """The kernels as (4*H, I) and (4*H, H), and the biases that there are as (4*H,)."""
    made = {}
    sides = (("ih", ("dense_i",)), ("hh", ("dense_h",))) if "dense_i" in parts else (("ih", _INPUT), ("hh", _HIDDEN))
    for end, names in sides:
        for kind, leaf, axes in (("weight_", "kernel", 2), ("bias_", "bias", 1)):
            given = [_leaf(parts[name], leaf) for name in names]
            if kind == "bias_" and all(x is None for x in given):
                continue
            arrays = []
            for name, x in zip(names, given, strict=True):
                if x is None:
                    raise ValueError(f"{name} in {where} must have a {leaf}")
                arrays.append(array(f"{leaf} of {name} in {where}", x))
                if arrays[-1].ndim != axes or arrays[-1].shape != arrays[0].shape:
                    expected = (
                        f"shape {arrays[0].shape}, as in {names[0]}" if arrays[0].ndim == axes else f"{axes} axes"
                    )
                    raise ValueError(f"{leaf} of {name} in {where} must have {expected}, got shape {arrays[-1].shape}")
            made[kind + end] = np.concatenate([x.T for x in arrays])
    return made


def _leaf(part: Any, leaf: str) -> Any:
    return part.get(leaf) if isinstance(part, Mapping) else getattr(part, leaf, None)


def _nnx_kind(given: Any) -> str:
    """The name of the nnx class that it is of."""
    if isinstance(given, Mapping):
        return ""
    return next((base.__name__ for base in type(given).__mro__ if base.__module__.startswith("flax.nnx.")), "")


def _nnx_layer(given: Any, kind: str) -> list[_Direction]:
    if kind == "Bidirectional":
        if getattr(given.merge_fn, "__name__", "") != "_concatenate":
            raise ValueError("merge_fn of a Bidirectional must be its default, which puts both outputs side by side")
        (first,), (second,) = _nnx_layer(given.forward_rnn, "RNN"), _nnx_layer(given.backward_rnn, "RNN")
        if first.reverse:
            raise ValueError("forward_rnn of a Bidirectional must not be of reverse=True")
        return [d._replace(reverse=False, time_major=bool(given.time_major)) for d in (first, second)]
    if kind == "RNN":
        cell = given.cell
        (made,) = _nnx_layer(cell, _nnx_kind(cell))
        reverse, keep_order, time_major = bool(given.reverse), bool(given.keep_order), bool(given.time_major)
        return [made._replace(reverse=reverse, keep_order=keep_order, time_major=time_major)]
    if kind not in _CELLS:
        raise ValueError(f"params must be an nnx LSTMCell, OptimizedLSTMCell, RNN or Bidirectional, got {kind}")
    names = ("ii", "if_", "ig", "io", *_HIDDEN) if kind == "LSTMCell" else ("dense_i", "dense_h")
    gate, output = _activation(given.gate_fn, "gate_fn"), _activation(given.activation_fn, "activation_fn")
    return [_Direction({name.removesuffix("_"): getattr(given, name) for name in names}, (gate, output, output))]


def _activation(function: Any, name: str) -> Any:
    module, told = getattr(function, "__module__", "") or "", getattr(function, "__name__", repr(function))
    if module.partition(".")[0] not in ("jax", "flax") or told not in _ACTIVATIONS:
        raise ValueError(f"{name} must be jax.nn's {', '.join(_ACTIVATIONS)}, got {told} of {module}")
    return _ACTIVATIONS[told]
