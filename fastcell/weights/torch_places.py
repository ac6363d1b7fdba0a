"""Where in a module, a script or a checkpoint the LSTMs are, and their weights under whatever names.

Nothing here imports PyTorch: modules and scripts are known by what they have.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastcell._checks import Array
from fastcell.weights.common import array

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
_ENDS = r"(_raw|_g|_v|_u|_orig|_mask|\.original\d*)?"
_LAYER = rf"(.*?)(?:parametrizations\.)?((?:{'|'.join(_KINDS)}|weight_peephole)_l\d{{1,9}}(?:_reverse)?){_ENDS}"
_CELL = rf"(.*?)(?:parametrizations\.)?((?:weight|bias)_[ih]h){_ENDS}"
# torch.ao.nn.quantized.dynamic's LSTM and LSTMCell, torch.ao.nn.quantizable's LSTM and LSTMCell
_PACKED = r"(.*?)_all_weight_values\.(\d{1,9})\.param"
_PACKED_CELL = r"(.*?)_packed_weight_([ih]h)"
_GATES = ("input", "forget", "cell", "output")
_QUANTIZABLE = (
    r"((?:.*?\.)??)(?:layers\.(\d{1,9})\.layer_(fw|bw)\.cell\.)?"
    rf"([ih])gates\.(?:({'|'.join(_GATES)})\.)?(weight|bias)"
)
_STATIC = r"((?:.*?\.)??)layers\.0\.layer_fw\.cell\.igates\.(?:input\.)?_packed_params.*"
_SHAPED = ("raw", "v", "orig", "", "original1", "original")  # the parts that have their weight's own shape
_DEEPEST = 50


@dataclass(eq=False)
class Place:
    """An LSTM of one or more layers, or a cell as one layer."""

    name: str
    """Its prefix, "encoder.lstm." or ""."""
    is_cell: bool = False
    parts: dict[tuple[str, str], Any] = field(default_factory=dict)
    """By weight_ih_l0, ..., and "" or what it is of that weight: "g", "v", "raw", ..."""
    batch_first: bool | None = None
    refused: str = ""
    """Why it can't be taken."""

    @property
    def is_lstm(self) -> bool:
        """Whether its shapes are an LSTM's rather than a GRU's or a plain RNN's; True where nothing tells."""
        if any(name.startswith("weight_hr") for name, _ in self.parts):
            return True
        given = (self.parts[key] for end in _SHAPED if (key := ("weight_hh_l0", end)) in self.parts)
        shape = tuple(getattr(next(given, None), "shape", ()))
        return bool(self.refused) or (len(shape) == 2 and shape[0] == 4 * shape[1])


def chosen(places: list[Place], prefix: str) -> Place:
    """The place that the prefix names, in whole, by its end, or as what it is in; with "" the only one."""
    dotted = "." + (prefix if prefix.endswith(".") or not prefix else prefix + ".")
    tiers: tuple[Callable[[str], bool], ...] = (
        lambda name: name in (prefix, dotted[1:]),
        lambda name: ("." + name).endswith((dotted, "." + prefix)) if prefix else True,
        lambda name: dotted in "." + name,
    )
    for tier in tiers:
        found = [place for place in places if tier(place.name)]
        fitting = [place for place in found if place.is_lstm] or found
        layers = [place for place in fitting if not place.is_cell]
        if len(fitting) > 1 and len(layers) == 1 and len({place.name for place in fitting}) == 1:
            fitting = layers
        if len(fitting) == 1:
            if fitting[0].refused:
                raise ValueError(fitting[0].refused)
            return fitting[0]
        if fitting:
            break
    told = sorted(places, key=lambda place: not place.is_lstm)
    names = [repr(place.name) for place in told if place.is_lstm or not told[0].is_lstm]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    there = f"under {', '.join(names[:20])}{more}" if names else "under no prefix"
    raise ValueError(f"prefix must lead to an LSTM's weight_ih_l0, got {prefix!r}; there are such weights {there}")


def places(source: Any) -> list[Place]:
    """All LSTMs of a module, a script, or mappings of tensors inside mappings."""
    flat: dict[str, Any] = {}
    layouts: dict[str, bool] = {}
    _walk(source, "", flat, layouts, 0)
    found: dict[tuple[str, bool], Place] = {}
    packed: dict[str, dict[int, Any]] = {}
    linears: dict[tuple[Place, str], Any] = {}
    split: dict[tuple[Place, str], dict[str, Any]] = {}

    def place(start: str, is_cell: bool = False) -> Place:
        return found.setdefault((start, is_cell), Place(start, is_cell, batch_first=layouts.get(start)))

    for name, value in flat.items():
        if m := re.fullmatch(_LAYER, name):
            place(m[1]).parts[m[2], (m[3] or "").strip("._")] = value
        elif m := re.fullmatch(_PACKED_CELL, name):
            linears[place(m[1], True), m[2]] = value
        elif m := re.fullmatch(_CELL, name):
            place(m[1], True).parts[m[2] + "_l0", (m[3] or "").strip("._")] = value
        elif m := re.fullmatch(_PACKED, name):
            packed.setdefault(m[1], {})[int(m[2])] = value
        elif m := re.fullmatch(_STATIC, name):
            place(m[1]).refused = (
                f"source must be an LSTM of floats, or one of quantize_dynamic's, got {m[1]!r} with the integers of a "
                "static quantisation, whose answer the weights alone don't give"
            )
            place(m[1]).parts["weight_ih_l0", ""] = value
        elif m := re.fullmatch(_QUANTIZABLE, name):
            end = f"_{m[4]}h_l{m[2] or 0}" + ("_reverse" if m[3] == "bw" else "")
            at = place(m[1], m[2] is None)
            if m[5]:
                split.setdefault((at, m[6] + end), {})[m[5]] = value
            else:
                at.parts[m[6] + end, ""] = value
    for (at, name), gates in split.items():
        if set(gates) == set(_GATES):
            at.parts[name, ""] = np.concatenate([array(name, gates[gate]) for gate in _GATES])
    for (at, kind), value in linears.items():
        weight, bias = _unpacked(value)
        at.parts |= _present({f"weight_{kind}_l0": weight, f"bias_{kind}_l0": bias})
    for start, values in packed.items():
        place(start).parts |= _present(named([values[k] for k in sorted(values)], None))
    _bring_raw(found)
    return [each for each in found.values() if any(name == "weight_ih_l0" for name, _ in each.parts)]


def _bring_raw(found: dict[tuple[str, bool], Place]) -> None:
    """Weight drop's raw weights may be those of the module around the LSTM, which it calls `module`."""
    for (start, is_cell), place in found.items():
        if start.endswith("module.") and (around := found.get((start.removesuffix("module."), is_cell))):
            place.parts |= {key: value for key, value in around.parts.items() if key[1] == "raw"}


def _present(given: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(name, ""): value for name, value in given.items() if value is not None}


def _walk(source: Any, start: str, flat: dict[str, Any], layouts: dict[str, bool], deep: int) -> None:
    """All leaves by their dotted names; batch_first of modules by their prefixes."""
    if deep > _DEEPEST:
        raise ValueError(f"source must not have containers in each other without end, got {start[:100]!r}")
    if hasattr(source, "state_dict"):
        _of_module(source, start, flat, layouts)
        return
    items = source.items() if isinstance(source, Mapping) else enumerate(source if deep else [source])
    for key, value in items:
        if isinstance(value, Mapping | list | tuple) or (hasattr(value, "state_dict") and isinstance(key, str)):
            _walk(value, f"{start}{key}.", flat, layouts, deep + 1)
        elif isinstance(key, str):
            flat[start + key] = value


# ---- modules and scripts ---------------------------------------------------------------------------------


def _of_module(module: Any, start: str, flat: dict[str, Any], layouts: dict[str, bool]) -> None:
    given = module.state_dict() if callable(module.state_dict) else module.state_dict
    state = {name: x for name, x in given.items() if isinstance(name, str)} if isinstance(given, Mapping) else {}
    children = list(module.named_modules()) if hasattr(module, "named_modules") else [("", module)]
    if hasattr(module, "named_modules"):
        # One module under two names has its weights there twice.
        again = {name for name, _ in module.named_modules(remove_duplicate=False)} - {name for name, _ in children}
        state = {name: x for name, x in state.items() if name.rpartition(".")[0] not in again}
    calls = [call for name, child in children if not name for call in _calls(child)]
    for name, child in children:
        own = name + "." if name else ""
        if (first := _batch_first(child)) is not None:
            layouts[start + own] = first
        if hasattr(child, "_all_weight_values"):
            state = {key: x for key, x in state.items() if not key.startswith(f"{own}_all_weight_values.")}
            values = [each.param for each in child._all_weight_values.children()]
            state |= {own + key: x for key, x in named(values, _directions(child)).items() if x is not None}
        for key in ("_packed_weight_ih", "_packed_weight_hh"):
            if own + key not in state and hasattr(child, key):
                state[own + key] = getattr(child, key)
        state |= {own + key: x for key, x in _in_use(child, own, state).items()}
    if not state:  # a frozen script: its weights are constants of its graph
        for k, call in enumerate(calls):
            own = f"lstm_{k}." if len(calls) > 1 else ""
            state |= {own + key: x for key, x in call.weights.items()}
            if call.batch_first is not None:
                layouts[start + own] = call.batch_first
        if not start and hasattr(getattr(module, "graph", None), "findAllNodes") and not any(c.weights for c in calls):
            raise ValueError(
                "source must be the script as it was before torch.jit.freeze, which leaves nothing that is read of "
                "a cell or a quantised LSTM; got one without parameters"
            )
    flat |= {start + name: x for name, x in state.items()}


def _in_use(child: Any, own: str, state: dict[str, Any]) -> dict[str, Any]:
    """Weights that the state dict has under names of some parametrisation, as the module computes them.

    Weight norm, pruning and weight drop of the older kind leave an attribute that is as old as the last call: theirs
    are taken from the state dict.
    """
    if not hasattr(child, "hidden_size") or hasattr(child, "_packed_weight_ih"):  # biases there are what came before
        return {}
    layers = getattr(child, "num_layers", 0)
    ends = [f"_l{k}{d}" for k in range(layers if isinstance(layers, int) else 0) for d in ("", "_reverse")] or [""]
    names = [kind + end for kind in _KINDS for end in ends]
    spelled = [name for name in names if not any(own + name + end in state for end in ("", "_raw", "_v", "_orig"))]
    return {name: x for name in spelled if hasattr(x := getattr(child, name, None), "shape")}


def _batch_first(child: Any) -> bool | None:
    given = getattr(child, "batch_first", None)
    if given is None:
        found = {call.batch_first for call in _calls(child)}
        given = found.pop() if len(found) == 1 else None
    return None if given is None else bool(given)


def _directions(child: Any) -> int | None:
    given = getattr(child, "bidirectional", None)
    if given is None:
        found = {call.bidirectional for call in _calls(child)}
        given = found.pop() if len(found) == 1 else None
    return None if given is None else 1 + bool(given)


@dataclass(eq=False)
class _Call:
    """An LSTM's call in a script's graph: what a trace keeps of a module's attributes, and a frozen one of weights."""

    batch_first: bool | None
    bidirectional: bool
    weights: dict[str, Any]


def _calls(module: Any) -> list[_Call]:
    try:
        graph = module.graph
    except (AttributeError, RuntimeError):  # no script, or one without forward
        return []
    if not hasattr(graph, "findAllNodes"):
        return []
    made = []
    for kind in ("aten::lstm", "aten::quantized_lstm"):
        for node in graph.findAllNodes(kind):
            given = list(node.inputs())
            # lstm(x, [h, c], weights, bias, layers, dropout, training, bidirectional, batch_first), or of a packed
            # sequence (x, sizes, [h, c], weights, bias, layers, dropout, training, bidirectional)
            padded = given[1].type().kind() == "ListType"
            at = 2 if padded else 3
            bidirectional = bool(given[at + 5].toIValue())
            weights = list(_constants(given[at])) if kind == "aten::lstm" else []
            names = _names(len(weights), given[at + 2].toIValue(), 1 + bidirectional, bool(given[at + 1].toIValue()))
            first = bool(given[at + 6].toIValue()) if padded else None
            made.append(_Call(first, bidirectional, dict(zip(names, weights, strict=True)) if names else {}))
    return made


def _constants(value: Any) -> Iterator[Any]:
    whole = value.toIValue()
    each = whole if whole is not None else [one.toIValue() for one in value.node().inputs()]
    return (x for x in each if x is not None)


def _names(count: int, layers: Any, directions: int, bias: bool) -> list[str]:
    """The names of an LSTM's weights in torch's order, nothing where the count is another."""
    ends = [f"_l{k}{d}" for k in range(layers or 0) for d in ("", "_reverse")[:directions]] if count else []
    kinds = [*_KINDS[:2], *(_KINDS[2:4] if bias else ()), *(_KINDS[4:] if count > len(ends) * (2 + 2 * bias) else ())]
    return [kind + end for end in ends for kind in kinds] if count == len(ends) * len(kinds) else []


# ---- quantised weights -----------------------------------------------------------------------------------


def _unpacked(packed: Any) -> tuple[Any, Any]:
    """Weight and bias of a linear layer that quantize_dynamic packed."""
    if not hasattr(packed, "__getstate__") or not isinstance(packed.__getstate__(), tuple):
        raise TypeError(f"source must have packed weights as quantize_dynamic makes them, got {type(packed).__name__}")
    weight, bias = packed.__getstate__()[0]
    return weight, bias


def named(values: list[Any], directions: int | None) -> dict[str, Any]:
    """Tensors by nn.LSTM's names from the packed cells of all layers and directions."""
    cells = []
    for value in values:
        if not hasattr(value, "__getstate__") or not isinstance(value.__getstate__(), tuple):
            raise TypeError(f"source must have packed cells as quantize_dynamic makes them, got {type(value).__name__}")
        kind, *_, packed = value.__getstate__()[0]
        if kind not in ("quantized_dynamic", "quantized_fp16") or len(packed) != 2:
            raise ValueError(f"source must have weights of quantize_dynamic's, got some of kind {kind!r}")
        (w, b), (r, d) = map(_unpacked, packed)
        cells.append((w, r, b, d))
    if directions is None:
        I, H = cells[0][0].shape[1], cells[0][1].shape[1]
        fitting = [
            D
            for D in (1, 2)
            if len(cells) % D == 0 and all(cell[0].shape[1] == (D * H if k // D else I) for k, cell in enumerate(cells))
        ]
        if len(fitting) != 1:
            raise ValueError(
                "source must tell two directions from two layers, which packed weights don't: give the module"
            )
        (directions,) = fitting
    made: dict[str, Any] = {}
    for k, cell in enumerate(cells):
        end = f"_l{k // directions}" + ("_reverse" if k % directions else "")
        made |= {kind + end: x for kind, x in zip(_KINDS, cell, strict=False)}
    return made


# ---- parametrised weights --------------------------------------------------------------------------------


def folded(parts: Mapping[tuple[str, str], Any]) -> dict[str, Array]:
    """Each weight as it is in use once training is over."""
    made = {}
    for name in dict.fromkeys(name for name, _ in parts):
        given = {end: value for (each, end), value in parts.items() if each == name}
        made[name] = _folded(name, given)
    return made


def _folded(name: str, given: dict[str, Any]) -> Array:
    if "raw" in given:
        return array(name, given["raw"])
    if {"g", "v"} <= set(given):
        return _normed(name, array(f"{name}_g", given["g"]), array(f"{name}_v", given["v"]))
    if {"orig", "mask"} <= set(given):
        return _pruned(name, given["orig"], given["mask"])
    if {"orig", "u", "v"} <= set(given):
        w, u, v = (array(f"{name}_{end}", given[end]) for end in ("orig", "u", "v"))
        if w.ndim != 2 or (u.size, v.size) != w.shape:
            raise ValueError(f"{name}_u and {name}_v must fit {name}_orig of {w.shape}, got {u.shape} and {v.shape}")
        wide = w.astype(np.float64)
        normed: Array = (wide / (u.ravel() @ (wide @ v.ravel()))).astype(w.dtype)
        return normed
    if "" in given:
        return array(name, given[""])
    if {"original0", "original1"} == set(given):
        g, v = (array(f"parametrizations.{name}.{end}", given[end]) for end in ("original0", "original1"))
        return _normed(name, g, v)
    raise ValueError(
        f"{name} must be there as it is in use, or as weight norm, pruning or weight drop keep it, got "
        f"{', '.join(sorted(given))} of it; give the module rather than its state"
    )


def _normed(name: str, g: Array, v: Array) -> Array:
    """``g v / |v|``, the norm over all axes but one, or over all: those along which g has one element."""
    over = tuple(range(v.ndim)) if g.ndim == 0 else tuple(k for k in range(g.ndim) if g.shape[k] == 1)
    if g.ndim and (g.ndim != v.ndim or any(g.shape[k] not in (1, v.shape[k]) for k in range(v.ndim))):
        raise ValueError(f"weight norm's g of {name} must be a norm of v of shape {v.shape}, got shape {g.shape}")
    wide = v.astype(np.float64)
    with np.errstate(all="ignore"):  # a row of zeros has no direction: nan, as it is in torch
        made: Array = (wide * (g / np.sqrt((wide * wide).sum(axis=over, keepdims=True)))).astype(v.dtype)
    return made


def _pruned(name: str, given: Any, mask: Any) -> Array:
    w = array(f"{name}_orig", given)
    kept = array(f"{name}_mask", mask)
    if kept.shape != w.shape:
        raise ValueError(f"{name}_mask must have the shape of {name}_orig, {w.shape}, got {kept.shape}")
    made: Array = w * kept.astype(w.dtype)
    return made
