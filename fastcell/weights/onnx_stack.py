"""ONNX LSTM nodes that follow each other as the layers of one LSTM."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from fastcell.weights.common import arguments, precision_of
from fastcell.weights.onnx_graph import Array, Node, constant, find, named, names
from fastcell.weights.onnx_shapes import MOST_MADE, Trial
from fastcell.weights.onnx_states import initial_state, is_input, source, warn_of_lengths

_BETWEEN = {"Dropout", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_IN_FRONT = _BETWEEN | {"Cast"}
_SAME = ("hidden_size", "bidirectional", "reverse", "peepholes", "coupled", "clip", "activations")
_STEPS, _ROWS = 5, 3  # of a trial

Read = Callable[[Node], dict[str, Any]]


def read(model: Any, node: str | list[str] | None, arguments_of: Read) -> dict[str, Any]:
    """Arguments of LSTM for the nodes that `node` names, or all: those of each are what `arguments_of` finds."""
    found = find(model)
    if isinstance(node, list):
        nodes = [named(found, name) for name in node]
        if not nodes:
            raise ValueError("node must name a node or more, got an empty list")
        layers = [arguments_of(each) for each in nodes]
        declared = _declared(nodes[0], layers[0])
        for k in range(1, len(nodes)):
            if why := _unlike(nodes[k - 1], layers[k - 1], nodes[k], layers[k], declared):
                raise ValueError(f"node must name layers that follow each other: {why}")
    elif node is None and len(found) > 1:
        nodes, layers, why = _whole_stack(found, arguments_of)
        if why:
            several = f"node must name one of the model's {len(found)} LSTM nodes: {names(found)}"
            raise ValueError(f"{several}; they make no stack: {why}")
    else:
        nodes, layers = _from(found[0] if node is None else named(found, node), found, arguments_of)
    return _joined(nodes, layers)


def _key(node: Node) -> tuple[int, str]:
    return id(node.scope), node.output


def _before(node: Node, found: list[Node]) -> Node | None:
    """The LSTM node whose y is this one's x, if reshaped."""
    scope, name, _ = source(node.scope, node.given(0), _BETWEEN)
    return next((n for n in found if n.scope is scope and name and n.proto.output and n.proto.output[0] == name), None)


def _whole_stack(found: list[Node], arguments_of: Read) -> tuple[list[Node], list[dict[str, Any]], str]:
    """All nodes, from the first layer on, or why they are no stack."""
    links = [(n, _before(n, found)) for n in found]
    after = {_key(before): n for n, before in links if before is not None}
    firsts = [n for n, before in links if before is None]
    if len(firsts) != 1 or len(after) != len(found) - 1:
        return [], [], "not each is the only one behind another"
    nodes = [firsts[0]]
    while _key(nodes[-1]) in after:
        nodes.append(after[_key(nodes[-1])])
    if len(nodes) != len(found):
        return [], [], "not each is the only one behind another"
    layers = [arguments_of(nodes[0])]
    declared = _declared(nodes[0], layers[0])
    for one, node in pairwise(nodes):
        layers.append(arguments_of(node))
        if why := _unlike(one, layers[-2], node, layers[-1], declared):
            return nodes, layers, why
    return nodes, layers, ""


def _from(first: Node, found: list[Node], arguments_of: Read) -> tuple[list[Node], list[dict[str, Any]]]:
    """A node, and where it is the first of its chain those behind it, as far as they are its like."""
    nodes, layers = [first], [arguments_of(first)]
    if len(found) == 1 or _before(first, found) is not None:
        return nodes, layers
    links, declared = [(n, _before(n, found)) for n in found], _declared(first, layers[0])
    while len(nodes) < len(found):
        after = [n for n, before in links if before is not None and _key(before) == _key(nodes[-1])]
        if len(after) != 1:
            break
        try:
            layer = arguments_of(after[0])
        except ValueError:  # it was not asked for
            break
        if _unlike(nodes[-1], layers[-1], after[0], layer, declared):
            break
        nodes.append(after[0])
        layers.append(layer)
    return nodes, layers


def _declared(node: Node, layer: dict[str, Any]) -> tuple[int, int]:
    """T and B of x, as the graph's input or x itself declares them, 0 for what is not said."""
    scope, name, _ = source(node.scope, node.given(0), _IN_FRONT)
    if is_input(scope, name):
        sizes, rows_first = scope.shapes.get(name, []), _batch_first(node, layer["input_size"])
    else:
        sizes, rows_first = node.scope.shapes.get(node.given(0), []), node.attribute("layout", "int", 0) != 0
    if len(sizes) != 3:
        return 0, 0
    return (sizes[1], sizes[0]) if rows_first else (sizes[0], sizes[1])


def _unlike(one: Node, layer: dict[str, Any], other: Node, upper: dict[str, Any], declared: tuple[int, int]) -> str:
    """Why a node can't be the next layer, if anything."""
    for name in _SAME:
        if layer[name] != upper[name]:
            return f"{name} of {one.label!r} is {layer[name]!r}, of {other.label!r} {upper[name]!r}"
    width = layer["hidden_size"] * (2 if layer["bidirectional"] else 1)
    if upper["input_size"] != width:
        return f"{one.label!r} gives {width} values a step, {other.label!r} takes {upper['input_size']}"
    if not _follows(one, other, layer["hidden_size"], width // layer["hidden_size"], declared):
        return f"x of {other.label!r} is not y of {one.label!r}"
    return ""


def _follows(one: Node, other: Node, H: int, D: int, declared: tuple[int, int]) -> bool:
    """Whether x of the second node is y of the first: tried with numbers of which no two are the same."""
    scope, name, path = source(other.scope, other.given(0), _BETWEEN)
    if scope is not one.scope or not name or name != one.proto.output[0]:
        return False
    sizes = [(_STEPS, _ROWS)]
    for node in path:  # an export for one size only has it in a Reshape
        if node.operator[1] == "Reshape":
            try:
                shape = [int(n) for n in constant(node.scope, node.given(1)).ravel()]
            except ValueError:
                continue
            if len(shape) == 3:
                a, b = (n if n > 0 else free for n, free in zip(shape, sizes[0], strict=False))
                sizes += [(a, b), (b, a)]
    for T, B in dict.fromkeys((declared[0] or T, declared[1] or B) for T, B in sizes):
        if math.prod((T, B, D, H)) > MOST_MADE:
            continue
        y = np.arange(T * B * D * H, dtype=np.int32).reshape(T, B, D, H)
        given = y.transpose((1, 0, 2, 3) if one.attribute("layout", "int", 0) else (0, 2, 1, 3))
        wanted = y.reshape(T, B, D * H)
        wanted = wanted.transpose(1, 0, 2) if other.attribute("layout", "int", 0) else wanted
        try:
            x = constant(other.scope, other.given(0), trial=Trial({(id(scope), name): given}))
        except ValueError:
            continue
        if np.array_equal(x, wanted):
            return True
    return False


def _batch_first(node: Node, I: int) -> bool:
    """Whether the graph's input has its rows first."""
    layout = bool(node.attribute("layout", "int", 0))
    scope, name, path = source(node.scope, node.given(0), _IN_FRONT)
    if not path or not is_input(scope, name) or I * _STEPS * _ROWS > MOST_MADE:
        return layout
    x: Array = np.arange(_STEPS * _ROWS * I).reshape(_STEPS, _ROWS, I).astype(np.float32)
    try:
        seen = constant(node.scope, node.given(0), trial=Trial({(id(scope), name): x}))
    except ValueError:
        return layout
    turned = np.array_equal(seen, x.transpose(1, 0, 2)) and not np.array_equal(seen, x)
    return layout is not turned


def _joined(nodes: list[Node], layers: list[dict[str, Any]]) -> dict[str, Any]:
    """One LSTM of these layers, with what it starts from."""
    made = layers[0]
    if len(layers) > 1:
        weights = {
            name.replace("_l0", f"_l{k}"): x for k, layer in enumerate(layers) for name, x in layer["weights"].items()
        }
        same = {name: made[name] for name in ("input_size", *_SAME)}
        bias = any(layer["bias"] for layer in layers)
        precision = precision_of(layer.get("precision") for layer in layers)
        made = arguments(weights, **same, bias=bias, num_layers=len(layers), **precision)
    D, H = 2 if made["bidirectional"] else 1, made["hidden_size"]
    if _batch_first(nodes[0], made["input_size"]):
        made["batch_first"] = True
    starts = [initial_state(node, D, H) for node in nodes]
    for node in nodes:
        warn_of_lengths(node)
    if any(start is not None for start in starts):
        zeros = np.zeros((D, H), np.float32)
        pairs = [(zeros, zeros) if start is None else start for start in starts]
        made["initial_state"] = tuple(np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return made
