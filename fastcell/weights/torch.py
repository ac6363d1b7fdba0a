"""PyTorch's weights as arguments of LSTM: its names, shapes and gate order (i, f, g, o) are fastcell's own."""

import os
import re
from collections.abc import Mapping
from typing import Any

from fastcell._checks import Array
from fastcell.weights.common import arguments, precision_of, shaped
from fastcell.weights.integers import PRODUCTS, held_as_integers
from fastcell.weights.torch_places import chosen, folded, places

_NAME = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr|weight_peephole)_l(\d{1,9})(_reverse)?")


def from_torch(source: Any, prefix: str = "") -> dict[str, Any]:
    """Arguments of LSTM from an nn.LSTM, an nn.LSTMCell or a state dict. PyTorch is imported for a path alone.

    Parameters
    ----------
    source : nn.LSTM, nn.LSTMCell, a module or ScriptModule that holds one, a checkpoint, or a path of one
        A checkpoint is a mapping of names to tensors or arrays, and of names to more such mappings.
        Parametrised weights (weight_norm, pruning, weight drop) are taken as they are in use.
    prefix : str
        Where the LSTM is, "encoder.lstm" or "encoder.lstm.", whatever stands in front; "" for the only one.

    Returns
    -------
    dict
        Keyword arguments of LSTM. `weights` holds C-contiguous copies, float64 where any of them is and else float32
        (float16 and bfloat16 are widened), and `Quantized` where the source has integers that int8 can take as they
        are; `precision` is there where it has any. `batch_first` is there where the source is a module that has it.

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
    if isinstance(source, str | os.PathLike):
        from fastcell.weights.torch_files import opened

        state = opened(source)
    else:
        state = source
        if not (isinstance(source, Mapping) or hasattr(source, "state_dict")):
            raise TypeError(f"source must be an nn.LSTM, an nn.LSTMCell or a state dict, got {type(source).__name__}")
    if (mode := getattr(state, "mode", None)) in ("GRU", "RNN_TANH", "RNN_RELU"):
        raise ValueError(f"source must be an LSTM, got {type(state).__name__} with mode {mode!r}")
    place = chosen(places(state), prefix)
    more: dict[str, Any] = {} if place.batch_first is None else {"batch_first": place.batch_first}
    found = folded(place.parts)
    sizes = _torch_sizes(found)
    _check_shapes(found, sizes)
    held = held_as_integers(place.parts)
    precision = precision_of("int8" if name in held else None for name in found if name.startswith(PRODUCTS))
    weights = {name: x if (q := held.get(name)) is None else q for name, x in found.items()}
    return arguments(weights, **sizes, **precision) | more


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
        shaped(name, found[name], letters, shape)
