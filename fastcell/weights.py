"""Weights from elsewhere as arguments of LSTM: torch's names, shapes and gate order (i, f, g, o) are fastcell's own."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fastcell._onnx import Node

Array = NDArray[Any]

_NAME = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr|weight_peephole)_l(\d{1,9})(_reverse)?")
_CELL_NAME = re.compile(r"weight_ih|weight_hh|bias_ih|bias_hh")
_FIRST_NAME = re.compile(r"weight_ih(_l0)?")

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


def from_torch(source: Any, prefix: str = "") -> dict[str, Any]:
    """Arguments of LSTM from an nn.LSTM, an nn.LSTMCell or a state dict. PyTorch is not imported.

    Parameters
    ----------
    source : nn.LSTM, nn.LSTMCell, a module that holds one, or a mapping of names to tensors or arrays
        Parametrised weights (weight_norm, pruning) are taken from a module as they are in use.
    prefix : str
        Where the LSTM is in the state dict of a whole model, "encoder.lstm" or "encoder.lstm.".

    Returns
    -------
    dict
        Keyword arguments of LSTM. `weights` holds C-contiguous copies, float64 where any of them is and else float32
        (float16 and bfloat16 are widened). `batch_first` is there where the source is a module that has it.

    Raises
    ------
    ValueError
        For a missing weight, a shape that does not fit, another kind of network, or a prefix without an LSTM.
    TypeError
        For a source that is neither a module nor a mapping, or a weight that is no array of floats.

    Examples
    --------
    >>> import numpy as np
    >>> state = {"lstm.weight_ih_l0": np.ones((8, 3), "f4"), "lstm.weight_hh_l0": np.ones((8, 2), "f4")}
    >>> arguments = from_torch(state, "lstm")
    >>> arguments["input_size"], arguments["hidden_size"], arguments["num_layers"], arguments["bias"]
    (3, 2, 1, False)
    >>> sorted(arguments["weights"])
    ['weight_hh_l0', 'weight_ih_l0']
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a str, got {type(prefix).__name__}")
    more: dict[str, Any] = {}
    state = source
    if hasattr(source, "state_dict"):
        module, inner = _submodule(source, prefix)
        state, prefix = _module_state(module), inner
        if hasattr(module, "batch_first"):
            more["batch_first"] = bool(module.batch_first)
    if not isinstance(state, Mapping):
        raise TypeError(f"source must be an nn.LSTM, an nn.LSTMCell or a state dict, got {type(source).__name__}")
    found = {name: _array(name, value) for name, value in _selected(state, prefix).items()}
    sizes = _torch_sizes(found)
    _check_shapes(found, sizes)
    return _arguments(found, **sizes) | more


def from_onnx(model: Any, node: str | None = None) -> dict[str, Any]:
    """Arguments of LSTM from an LSTM or DynamicQuantizeLSTM node of an ONNX model.

    Initial states and lengths are inputs of a call, so the node's are not read.

    Parameters
    ----------
    model : path, bytes, file opened for bytes, or onnx.ModelProto
        External data is read where the folder is known: from a path or an open file.
    node : str, optional
        The node's name or that of one of its outputs; needed where the model has several. One inside a function
        is "call/node".

    Returns
    -------
    dict
        Keyword arguments of LSTM, with weights in float32 or, where the node's are, in float64. `batch_first` is
        there, and True, for layout = 1. Quantised weights are given as the numbers that they stand for.

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
        from fastcell import _onnx
    except ImportError as error:
        raise ImportError("from_onnx needs the onnx library: pip install 'fastcell[weights]'") from error
    if node is not None and not isinstance(node, str):
        raise TypeError(f"node must be a str, got {type(node).__name__}")
    return _onnx_arguments(_onnx.find(model, node))


def _arguments(weights: dict[str, Array], **given: Any) -> dict[str, Any]:
    """What both importers return: LSTM's defaults, what was `given`, and weights of one dtype that share no memory."""
    dtype = np.result_type(*weights.values())
    directions = 2 if given["bidirectional"] else 1
    made: dict[str, Any] = {
        "input_size": 0,
        "hidden_size": 0,
        "num_layers": 1,
        "bias": True,
        "bidirectional": False,
        "proj_size": 0,
        "reverse": False,
        "peepholes": False,
        "coupled": False,
        "clip": None,
        "activations": ("sigmoid", "tanh", "tanh") * directions,
        "dtype": dtype.name,
    }
    made |= given
    made["weights"] = {name: np.array(x, dtype, order="C") for name, x in weights.items()}
    return made


def _widened(name: str, x: Array, error: type[Exception]) -> Array:
    """float16 and bfloat16 as float32, float32 and float64 in this machine's byte order."""
    if x.dtype.name in ("float16", "bfloat16"):
        return x.astype(np.float32)
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        raise error(f"{name} must hold float16, bfloat16, float32 or float64, got {x.dtype}")
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def _shaped(name: str, x: Array, letters: str, shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise ValueError(f"{name} must have shape {letters} = {shape}, got {x.shape}")


def _submodule(module: Any, prefix: str) -> tuple[Any, str]:
    """The module that the prefix leads to; where there is none, the whole, whose names tell what there is."""
    if prefix and hasattr(module, "get_submodule"):
        try:
            return module.get_submodule(prefix.removesuffix(".")), ""
        except AttributeError:
            pass
    return module, prefix


def _module_state(module: Any) -> Any:
    if (mode := getattr(module, "mode", None)) in ("GRU", "RNN_TANH", "RNN_RELU"):
        raise ValueError(f"source must be an LSTM, got {type(module).__name__} with mode {mode!r}")
    state = module.state_dict()
    if not isinstance(state, Mapping) or not hasattr(module, "hidden_size"):
        return state
    # A parametrised weight has other names in the state dict; the module's attribute is what it computes with.
    ends = [f"_l{k}{d}" for k in range(getattr(module, "num_layers", 0)) for d in ("", "_reverse")] or [""]
    names = [f"{kind}{end}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr") for end in ends]
    missing = {name: getattr(module, name, None) for name in names if name not in state}
    return {**state, **{name: x for name, x in missing.items() if x is not None}}


def _selected(state: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """The LSTM's weights under the prefix, a cell's with the names of a first layer."""
    names = [name for name in state if isinstance(name, str)]
    dotted = prefix if prefix.endswith(".") or not prefix else prefix + "."
    for start in (dotted, prefix):
        under = {name[len(start) :]: state[name] for name in names if name.startswith(start)}
        found = {name: x for name, x in under.items() if _NAME.fullmatch(name)}
        if "weight_ih_l0" in found:
            return found
        cell = {f"{name}_l0": x for name, x in under.items() if _CELL_NAME.fullmatch(name)}
        if "weight_ih_l0" in cell:
            return cell
    others = [name.removesuffix(m[0]) for name in names if (m := re.search(r"(?:^|(?<=\.))weight_ih(_l0)?$", name))]
    there = "under " + ", ".join(map(repr, others)) if others else "under no prefix"
    raise ValueError(f"prefix must lead to an LSTM's weight_ih_l0, got {prefix!r}; there are such weights {there}")


def _array(name: str, given: Any) -> Array:
    if hasattr(given, "detach"):
        if getattr(given, "is_meta", False):
            raise ValueError(f"{name} must hold values, got a tensor on the meta device")
        tensor = given.detach().cpu()
        # NumPy has no bfloat16, and float16 is to be widened all the same.
        given = (tensor.float() if str(tensor.dtype) in ("torch.bfloat16", "torch.float16") else tensor).numpy()
    if not hasattr(given, "__array__"):
        raise TypeError(f"{name} must be a tensor or an array, got {type(given).__name__}")
    return _widened(name, np.asarray(given), TypeError)


def _torch_sizes(found: dict[str, Array]) -> dict[str, Any]:
    """Sizes, layers and directions from names and shapes, which _check_shapes then holds all weights to."""
    w, r, p = (found.get(f"{kind}_l0") for kind in ("weight_ih", "weight_hh", "weight_hr"))
    for name, x in (("weight_ih_l0", w), ("weight_hh_l0", r), ("weight_hr_l0", p)):
        if x is not None and x.ndim != 2:
            raise ValueError(f"{name} must have 2 axes, got shape {x.shape}")
    assert w is not None
    rows = w.shape[0]
    if p is None and r is not None and rows == r.shape[0]:
        for gates, kind in ((3, "a GRU"), (1, "a plain RNN")):
            if rows == gates * r.shape[1]:
                raise ValueError(f"weight_hh_l0 must have 4*H rows, got shape {r.shape}, which is {kind}'s")
    hidden = p.shape[1] if p is not None else rows // 4
    if p is None and r is not None and r.shape[0] == 4 * r.shape[1]:
        hidden = r.shape[1]
    if not hidden or (p is not None and not p.shape[0]):
        raise ValueError(f"weight_ih_l0 must have shape (4*H, I) with H > 0, got {w.shape}")
    kinds = [m.groups() for name in found if (m := _NAME.fullmatch(name))]
    return {
        "input_size": w.shape[1],
        "hidden_size": hidden,
        "num_layers": 1 + max(int(layer) for _, layer, _ in kinds),
        "bias": any(kind.startswith("bias") for kind, _, _ in kinds),
        "bidirectional": any(end for _, _, end in kinds),
        "proj_size": 0 if p is None else p.shape[0],
        "peepholes": any(kind == "weight_peephole" for kind, _, _ in kinds),
    }


def _check_shapes(found: dict[str, Array], sizes: dict[str, Any]) -> None:
    """Every weight that these sizes call for is there and fits."""
    I, H, P = sizes["input_size"], sizes["hidden_size"], sizes["proj_size"]
    D = 2 if sizes["bidirectional"] else 1
    out = "P" if P else "H"
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    # A layer's number is only a name's claim: one more than there are names is enough to miss some.
    for k in range(min(sizes["num_layers"], len(found) + 1)):
        below, width = ("I", I) if k == 0 else (out if D == 1 else f"2*{out}", D * (P or H))
        for end in [f"_l{k}", f"_l{k}_reverse"][:D]:
            expected[f"weight_ih{end}"] = f"(4*H, {below})", (4 * H, width)
            expected[f"weight_hh{end}"] = f"(4*H, {out})", (4 * H, P or H)
            if sizes["bias"]:
                expected |= {f"bias_ih{end}": ("(4*H,)", (4 * H,)), f"bias_hh{end}": ("(4*H,)", (4 * H,))}
            if P:
                expected[f"weight_hr{end}"] = "(P, H)", (P, H)
            if sizes["peepholes"]:
                expected[f"weight_peephole{end}"] = "(3*H,)", (3 * H,)
    missing = [name for name in expected if name not in found]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise ValueError(f"source must have all weights of its layers, missing {', '.join(missing[:8])}{more}")
    for name, (letters, shape) in expected.items():
        _shaped(name, found[name], letters, shape)


def _onnx_arguments(node: "Node") -> dict[str, Any]:
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
    W, R, B, P = _onnx_weights(node, D)
    H = R.shape[2]
    weights = {}
    for d, end in enumerate(["_l0", "_l0_reverse"][:D]):
        weights[f"weight_ih{end}"] = _reordered(W[d], _GATES)
        weights[f"weight_hh{end}"] = _reordered(R[d], _GATES)
        if B is not None:
            weights[f"bias_ih{end}"] = _reordered(B[d, : 4 * H], _GATES)
            weights[f"bias_hh{end}"] = _reordered(B[d, 4 * H :], _GATES)
        if P is not None:
            weights[f"weight_peephole{end}"] = _reordered(P[d], _PEEPHOLES)
    made = _arguments(
        weights,
        input_size=W.shape[2],
        hidden_size=H,
        bias=B is not None,
        bidirectional=D == 2,
        reverse=direction == "reverse",
        peepholes=P is not None,
        coupled=node.attribute("input_forget", "int", 0) != 0,
        clip=clip,
        activations=_onnx_activations(node, D),
    )
    return made | ({"batch_first": True} if node.attribute("layout", "int", 0) else {})


def _reordered(x: Array, order: list[int]) -> Array:
    blocks: Array = x.reshape(len(order), -1, *x.shape[1:])[order]
    return blocks.reshape(x.shape)


def _onnx_weights(node: "Node", D: int) -> tuple[Array, Array, Array | None, Array | None]:
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
    _shaped(called["W"], W, "(D, 4*H, I)", (D, 4 * H, W.shape[2]))
    _shaped(called["R"], R, "(D, 4*H, H)", (D, 4 * H, H))
    B, P = node.input(3, "B"), node.input(7, "P")
    if B is not None:
        _shaped(called["B"], B, "(D, 8*H)", (D, 8 * H))
        B = _widened(called["B"], B, ValueError)
    if P is not None:
        _shaped(called["P"], P, "(D, 3*H)", (D, 3 * H))
        P = _widened(called["P"], P, ValueError)
    return _widened(called["W"], W, ValueError), _widened(called["R"], R, ValueError), B, P


def _quantised(node: "Node", k: int, letter: str, at: int, D: int) -> Array | None:
    """What integers (D, I, 4H) stand for, as (D, 4H, I); scale and zero point are (D,) or (D, 4H)."""
    from fastcell._onnx import dequantized

    x, name = node.input(k, letter), f"{letter} of node {node.label!r}"
    if x is None or x.ndim != 3:
        return x
    if x.dtype not in (np.int8, np.uint8):
        raise ValueError(f"{name} must hold int8 or uint8, got {x.dtype}")
    _shaped(name, x, "(D, I or H, 4*H)", (D, *x.shape[1:]))
    scale, zero = node.input(at, f"{letter}_scale"), node.input(at + 1, f"{letter}_zero_point")
    if scale is None:
        raise ValueError(f"{letter}_scale of node {node.label!r} is missing")
    for told, p in ((f"{letter}_scale", scale), (f"{letter}_zero_point", zero)):
        if p is not None and p.shape not in ((D,), (D, x.shape[2]), (D, 1), *[()] * (D == 1)):
            raise ValueError(f"{told} of node {node.label!r} must have shape (D,) or (D, 4*H), got {p.shape}")
    scale, zero = scale.reshape(D, 1, -1), None if zero is None else zero.reshape(D, 1, -1)
    return dequantized(x, scale, zero).transpose(0, 2, 1)


def _onnx_activations(node: "Node", D: int) -> tuple[Any, ...]:
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
