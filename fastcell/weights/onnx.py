"""An ONNX model's LSTM node as arguments of LSTM."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcell._checks import Array
from fastcell.lstm.config import Quantized
from fastcell.weights.common import arguments, precision_of, shaped, widened
from fastcell.weights.integers import taken

if TYPE_CHECKING:
    from fastcell.weights.onnx_graph import Node

# ONNX orders gates as i, o, f, c and peepholes as i, o, f: where to find i, f, g, o and i, f, o there.
_GATES, _PEEPHOLES = [0, 2, 3, 1], [0, 2, 1]

# Each activation's name here and what alpha and beta are where the node says nothing: onnxruntime's values, which are
# 0 where the text of ONNX is silent or refers to operators that are gone (core/providers/cpu/rnn/rnn_helpers.cc).
_ACTIVATIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "affine": ("affine", (0.0, 0.0)),
    "elu": ("elu", (1.0,)),
    "hardsigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "leakyrelu": ("leaky_relu", (0.01,)),
    "relu": ("relu", ()),
    "scaledtanh": ("scaled_tanh", (0.0, 0.0)),
    "sigmoid": ("sigmoid", ()),
    "softplus": ("softplus", ()),
    "softsign": ("softsign", ()),
    "tanh": ("tanh", ()),
    "thresholdedrelu": ("threshold", (0.0,)),
}


def from_onnx(model: Any, node: str | list[str] | None = None) -> dict[str, Any]:
    """Arguments of LSTM from LSTM or DynamicQuantizeLSTM nodes of an ONNX model.

    Constant initial states become `initial_state`; the model's own inputs are inputs of a call. Nodes that follow each
    other, as the layers of a stack do, become one LSTM.

    Parameters
    ----------
    model : path, bytes, file opened for bytes, or onnx.ModelProto
        External data is read where the folder is known: from a path or an open file.
    node : str or list of str, optional
        The node's name or that of one of its outputs; needed where the model has several that are no stack. The first
        of a stack stands for all layers of the same sizes; a list names the layers one by one, or one of them alone.
        One inside a function is "call/node".

    Returns
    -------
    dict
        Keyword arguments of LSTM, with weights in float32 or, where the node's are, in float64. `batch_first` is
        there, and True, for layout = 1 and behind a Transpose of the graph's input; `initial_state` where a constant
        one is not zero. A DynamicQuantizeLSTM's weights are `Quantized` where int8 can take the integers as they are,
        and else the numbers that they stand for; `precision` is there with these nodes.

    Warns
    -----
    UserWarning
        For an initial state that other nodes compute or that differs from row to row, and for lengths that are not
        the model's input: they are left out, and are to be given in a call.

    Raises
    ------
    ValueError
        For bytes that are no model, a model without that node, or a weight that is no constant or does not fit.
    TypeError
        For a model or a node name of another type.
    ImportError
        Without the onnx library: pip install 'fastcell[weights]'.
    """
    try:
        from fastcell.weights import onnx_stack
    except ImportError as error:
        raise ImportError("from_onnx needs the onnx library: pip install 'fastcell[weights]'") from error
    if node is not None and not all(isinstance(name, str) for name in (node if isinstance(node, list) else [node])):
        raise TypeError(f"node must be a str, a list of them, or None, got {type(node).__name__}")
    return onnx_stack.read(model, node, _node_arguments)


def _node_arguments(node: "Node") -> dict[str, Any]:
    directions = {"forward": 1, "reverse": 1, "bidirectional": 2}
    direction = node.attribute("direction", "string", "forward").lower()
    if direction not in directions:
        raise ValueError(
            f"direction of node {node.label!r} must be forward, reverse or bidirectional, got {direction!r}"
        )
    D = directions[direction]
    clip = node.attribute("clip", "float")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip of node {node.label!r} must be above 0, got {clip}")
    W, R, B, P = _node_weights(node, D)
    dynamic, places = node.operator[1] != "LSTM", {"weight_ih": (1, 8), "weight_hh": (2, 10)}
    held = {name: _integers(node, k, at) if dynamic else _dequantized_from(node, k) for name, (k, at) in places.items()}
    H = R.shape[2]
    weights: dict[str, Any] = {}
    order = partial(_reordered, order=_GATES)
    for d, end in enumerate(["_l0", "_l0_reverse"][:D]):
        for name, x in (("weight_ih", W), ("weight_hh", R)):
            q = held[name][d] if held[name] else None
            weights[name + end] = order(x[d]) if q is None else Quantized(order(q.values), order(q.scale))
        if B is not None:
            weights[f"bias_ih{end}"] = _reordered(B[d, : 4 * H], _GATES)
            weights[f"bias_hh{end}"] = _reordered(B[d, 4 * H :], _GATES)
        if P is not None:
            weights[f"weight_peephole{end}"] = _reordered(P[d], _PEEPHOLES)
    return arguments(
        weights,
        input_size=W.shape[2],
        hidden_size=H,
        bias=B is not None,
        bidirectional=D == 2,
        reverse=direction == "reverse",
        peepholes=P is not None,
        coupled=node.attribute("input_forget", "int", 0) != 0,
        clip=clip,
        activations=_activations(node, D),
        **precision_of(["int8" if dynamic else "float32" if any(held.values()) else None]),
    )


def _reordered(x: Array, order: list[int]) -> Array:
    blocks: Array = x.reshape(len(order), -1, *x.shape[1:])[order]
    return blocks.reshape(x.shape)


def _node_weights(node: "Node", D: int) -> tuple[Array, Array, Array | None, Array | None]:
    """W (D, 4H, I), R (D, 4H, H), B (D, 8H) and P (D, 3H), each held to its shape."""
    called = {letter: f"{letter} of node {node.label!r}" for letter in "WRBP"}
    if node.operator[1] == "LSTM":
        W, R = node.input(1, "W"), node.input(2, "R")
    else:
        W, R = _quantised(node, 1, "W", 8, D), _quantised(node, 2, "R", 10, D)
    for letter, x in (("W", W), ("R", R)):
        if x is None or x.ndim != 3:
            raise ValueError(f"{called[letter]} must have 3 axes, got {'none' if x is None else f'shape {x.shape}'}")
    assert W is not None
    assert R is not None
    H = node.attribute("hidden_size", "int", R.shape[2])
    if H < 1:
        raise ValueError(f"hidden_size of node {node.label!r} must be above 0, got {H}")
    shaped(called["W"], W, "(D, 4*H, I)", (D, 4 * H, W.shape[2]))
    shaped(called["R"], R, "(D, 4*H, H)", (D, 4 * H, H))
    B, P = node.input(3, "B"), node.input(7, "P")
    if B is not None:
        shaped(called["B"], B, "(D, 8*H)", (D, 8 * H))
        B = widened(called["B"], B, ValueError)
    if P is not None:
        shaped(called["P"], P, "(D, 3*H)", (D, 3 * H))
        P = widened(called["P"], P, ValueError)
    return widened(called["W"], W, ValueError), widened(called["R"], R, ValueError), B, P


def _quantised(node: "Node", k: int, letter: str, at: int, D: int) -> Array | None:
    """What integers (D, I, 4H) stand for, as (D, 4H, I); scale and zero point are (D,) or (D, 4H)."""
    from fastcell.weights.onnx_graph import dequantized

    x, name = node.input(k, letter), f"{letter} of node {node.label!r}"
    if x is None or x.ndim != 3:
        return x
    if x.dtype not in (np.int8, np.uint8):
        raise ValueError(f"{name} must hold int8 or uint8, got {x.dtype}")
    shaped(name, x, "(D, I or H, 4*H)", (D, *x.shape[1:]))
    scale, zero = node.input(at, f"{letter}_scale"), node.input(at + 1, f"{letter}_zero_point")
    if scale is None:
        raise ValueError(f"{letter}_scale of node {node.label!r} is missing")
    for told, p in ((f"{letter}_scale", scale), (f"{letter}_zero_point", zero)):
        if p is not None and p.shape not in ((D,), (D, x.shape[2]), (D, 1), *[()] * (D == 1)):
            raise ValueError(f"{told} of node {node.label!r} must have shape (D,) or (D, 4*H), got {p.shape}")
    scale, zero = scale.reshape(D, 1, -1), None if zero is None else zero.reshape(D, 1, -1)
    return dequantized(x, scale, zero).transpose(0, 2, 1)


def _integers(node: "Node", k: int, at: int) -> list[Quantized | None]:
    """What `_quantised` has checked, for each direction as int8 takes it, gates in ONNX's order."""
    x, scale, zero = node.input(k, ""), node.input(at, ""), node.input(at + 1, "")
    assert x is not None
    assert scale is not None
    D = len(x)
    scale, zero = scale.reshape(D, -1), np.zeros((D, 1), np.int8) if zero is None else zero.reshape(D, -1)
    return [taken(x[d].T, scale[d], zero[d]) for d in range(D)]


def _dequantized_from(node: "Node", k: int) -> list[Quantized | None]:
    """The integers (D, 4H, K) of a DequantizeLinear right in front, as int8 takes them; empty where there are none."""
    from fastcell.weights.onnx_graph import Node

    maker = node.scope.makers.get(node.given(k))
    if maker is None or (front := Node(maker, node.scope)).operator != ("", "DequantizeLinear"):
        return []
    x, scale, zero = (front.input(at, front.label) for at in range(3))
    if x is None or scale is None or scale.dtype != np.float32 or front.attribute("output_dtype", "int", 0) > 1:
        return []
    of_rows = scale.shape == x.shape[1:2] and front.attribute("axis", "int", 1) in (1, -2)
    if front.attribute("block_size", "int", 0) or not (scale.size == 1 or of_rows):
        return []
    zero = np.zeros(1, np.int8) if zero is None else zero.reshape(-1)
    made = [taken(rows, scale.reshape(-1), zero) for rows in x]
    return made if any(each is not None for each in made) else []


def _activations(node: "Node", D: int) -> tuple[Any, ...]:
    """f, g and h of each direction; each alpha and beta goes to the next one that takes it."""
    names = node.attribute("activations", "strings", []) or ["Sigmoid", "Tanh", "Tanh"] * D
    if len(names) != 3 * D:
        raise ValueError(f"activations of node {node.label!r} must be {3 * D} names, got {len(names)}")
    given = [iter(node.attribute(f"activation_{which}", "floats", [])) for which in ("alpha", "beta")]
    made: list[Any] = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            allowed = ", ".join(_ACTIVATIONS)
            raise ValueError(f"activations of node {node.label!r} must be among {allowed} in any case, got {name!r}")
        ours, defaults = _ACTIVATIONS[name.lower()]
        values = [next(values, default) for values, default in zip(given, defaults, strict=False)]
        made.append((ours, *values) if values else ours)
    return tuple(made)
