"""LSTM nodes in an ONNX model, and the constants behind their inputs: https://onnx.ai/onnx/operators/onnx__LSTM.html."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor

from fastcell import _memory
from fastcell._checks import ceil_div
from fastcell.weights import onnx_shapes
from fastcell.weights.onnx_shapes import Trial

Array = NDArray[Any]

OPERATORS = {("", "LSTM"), ("com.microsoft", "DynamicQuantizeLSTM")}
EVALUATED = ["Cast", "Concat", "Constant", "DequantizeLinear", "Identity", "Reshape", "Slice"]
EVALUATED += ["Squeeze", "Transpose", "Unsqueeze"]
EVALUATED = sorted([*EVALUATED, *onnx_shapes.OPERATORS])

# A few bytes of nodes can ask for any size or never end, so all three are bounded far above what a real model holds.
MOST_NODES, MOST_LINKS, MOST_ELEMENTS = 1_000_000, 200, 2**29

_FIELDS = {
    "int": ("i", AttributeProto.INT),
    "float": ("f", AttributeProto.FLOAT),
    "string": ("s", AttributeProto.STRING),
    "tensor": ("t", AttributeProto.TENSOR),
    "ints": ("ints", AttributeProto.INTS),
    "floats": ("floats", AttributeProto.FLOATS),
    "strings": ("strings", AttributeProto.STRINGS),
}


@dataclass
class Scope:
    """What names mean inside one graph, or inside one call of a function."""

    folder: str | None
    outer: "Scope | None" = None
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    makers: dict[str, NodeProto] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    """What a reader would call each input that is known only at run time."""
    passed: "dict[str, tuple[Scope, str]]" = field(default_factory=dict)
    """A function's inputs: the caller's scope and the name there."""
    attributes: dict[str, AttributeProto] | None = None
    """A function's attributes, as the call sets them."""
    known: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, list[int]] = field(default_factory=dict)
    """Of the values that declare theirs; 0 for a size known only at run time."""


@dataclass
class Node:
    """A node with what its names and attributes stand for."""

    proto: NodeProto
    scope: Scope
    path: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        return next((_text(name) for name in self.proto.output if name), "")

    @property
    def label(self) -> str:
        return "/".join((*self.path, _text(self.proto.name) or self.output))

    @property
    def operator(self) -> tuple[str, str]:
        return _domain(self.proto.domain), self.proto.op_type

    def given(self, k: int) -> str:
        """What input k is called, nothing where the node leaves it out."""
        return self.proto.input[k] if k < len(self.proto.input) else ""

    def input(self, k: int, name: str) -> Array | None:
        """Input k as an array, None where the node leaves it out."""
        if not self.given(k):
            return None
        try:
            return constant(self.scope, self.given(k))
        except ValueError as error:
            raise ValueError(f"{name} of node {self.label!r} must be a constant: {error}") from error

    def attribute(self, name: str, kind: str, default: Any = None) -> Any:
        given = next((a for a in self.proto.attribute if a.name == name), None)
        if given is not None and given.ref_attr_name:
            scope: Scope | None = self.scope
            while scope is not None and scope.attributes is None:
                scope = scope.outer
            given = (scope.attributes or {}).get(given.ref_attr_name) if scope is not None else None
        if given is None:
            return default
        member, expected = _FIELDS[kind]
        # Files older than IR version 3 leave the type out.
        if given.type not in (expected, AttributeProto.UNDEFINED):
            raise ValueError(f"attribute {name} of node {self.label!r} must be of type {kind}")
        value = getattr(given, member)
        if kind == "string":
            return value.decode(errors="replace")
        if kind == "strings":
            return [v.decode(errors="replace") for v in value]
        return list(value) if kind.endswith("s") else value


def find(model: Any) -> list[Node]:
    """The model's LSTM nodes."""
    proto, folder = load(model)
    everything = list(_nodes(proto, folder))
    found = [n for n in everything if n.operator in OPERATORS]
    if not found:
        ops = ", ".join(sorted({_text(n.proto.op_type) for n in everything})) or "no node at all"
        raise ValueError(f"model must have an LSTM node, got a model of {ops}")
    return found


def names(found: list[Node]) -> str:
    """What each can be called by."""
    labels = [n.label for n in found]
    return ", ".join(repr(n.label if labels.count(n.label) == 1 else n.output) for n in found)


def named(found: list[Node], node: str) -> Node:
    """The one of that name or output."""
    chosen = [n for n in found if n.label == node]
    if len(chosen) != 1:
        chosen = [n for n in found if node and node in (n.label, n.proto.name, *n.proto.output)]
    if len(chosen) != 1:
        raise ValueError(f"node must name one LSTM node of the model: {names(found)}, got {node!r}")
    return chosen[0]


def load(model: Any) -> tuple[ModelProto, str | None]:
    """The model, and the folder that holds its external data where there is one."""
    if isinstance(model, ModelProto):
        return model, None
    folder = None
    if isinstance(model, str | os.PathLike):
        folder = os.path.dirname(os.path.abspath(model))
        with open(model, "rb") as file:
            _memory.check(2 * os.fstat(file.fileno()).st_size, "model {}", model)
            data = file.read()
    elif isinstance(model, bytes | bytearray | memoryview):
        data = bytes(model)
    elif hasattr(model, "read"):
        data = model.read()
        if not isinstance(data, bytes):
            raise TypeError(f"model must be a file opened for bytes, got one of {type(data).__name__}")
        if isinstance(name := getattr(model, "name", None), str):
            folder = os.path.dirname(os.path.abspath(name))
    else:
        raise TypeError(f"model must be a path, bytes, a file or an onnx.ModelProto, got {type(model).__name__}")
    try:
        proto = ModelProto.FromString(data)
    except DecodeError as error:
        raise ValueError(f"model must be an ONNX file, got {len(data)} bytes that do not decode ({error})") from error
    if not proto.HasField("graph"):
        raise ValueError(f"model must be an ONNX file, got {len(data)} bytes without a graph")
    return proto, folder


def _text(name: str | bytes) -> str:
    # What is no UTF-8 comes out of protobuf as bytes.
    return name if isinstance(name, str) else name.decode(errors="replace")


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _key(of: NodeProto | FunctionProto, name: str) -> tuple[str, str, str]:
    # Overloads came with IR version 10, so an older onnx has no such member.
    return _domain(of.domain), name, getattr(of, "overload", "")


def _nodes(model: ModelProto, folder: str | None) -> Iterator[Node]:
    """Every node, those of subgraphs and of called functions included; functions that nothing calls come last."""
    functions = {_key(f, f.name): f for f in model.functions}
    called: set[tuple[str, str, str]] = set()
    count = 0

    def walk(nodes: Any, scope: Scope, path: tuple[str, ...]) -> Iterator[Node]:
        nonlocal count
        for proto in nodes:
            count += 1
            if count > MOST_NODES or len(path) > MOST_LINKS:
                raise ValueError("model must not call its functions in a circle or millions of times")
            node = Node(proto, scope, path)
            yield node
            for attribute in proto.attribute:
                for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                    yield from walk(graph.node, _graph(graph, folder, scope), path)
            key = _key(proto, proto.op_type)
            if key in functions:
                called.add(key)
                inner = _function(functions[key], folder, node)
                yield from walk(functions[key].node, inner, (*path, _text(proto.name) or node.output))

    yield from walk(model.graph.node, _graph(model.graph, folder, None), ())
    for key, function in functions.items():
        if key not in called:
            yield from walk(function.node, _function(function, folder, None), (_text(function.name),))


def _graph(graph: GraphProto, folder: str | None, outer: Scope | None) -> Scope:
    kind = "the graph input {!r}" if outer is None else f"the input {{!r}} of the subgraph {graph.name!r}"
    return Scope(
        folder,
        outer,
        tensors={t.name: t for t in graph.initializer},
        makers={name: n for n in graph.node for name in n.output if name},
        inputs={i.name: kind.format(i.name) for i in graph.input},
        shapes={
            i.name: [max(d.dim_value, 0) for d in i.type.tensor_type.shape.dim]
            for i in (*graph.value_info, *graph.input)
            if i.type.tensor_type.HasField("shape")
        },
    )


def _function(function: FunctionProto, folder: str | None, call: Node | None) -> Scope:
    scope = Scope(folder, attributes={a.name: a for a in function.attribute_proto})
    scope.makers = {name: n for n in function.node for name in n.output if name}
    for k, name in enumerate(function.input):
        if call is not None and k < len(call.proto.input) and call.proto.input[k]:
            scope.passed[name] = (call.scope, call.proto.input[k])
        else:
            scope.inputs[name] = f"the input {name!r} of the function {function.name!r}"
    if call is not None:
        assert scope.attributes is not None
        scope.attributes |= {a.name: a for a in call.proto.attribute}
    return scope


def constant(scope: Scope, name: str, links: int = 0, trial: Trial | None = None) -> Array:
    """The value of a name, looked up here and then in the graphs around; ValueError says what it depends on."""
    if trial is not None and (id(scope), name) in trial.known:
        return trial.known[id(scope), name]
    if links > MOST_LINKS:
        raise ValueError(f"{name!r} comes through more than {MOST_LINKS} nodes, or depends on itself")
    if name in scope.known:
        return scope.known[name]
    if name in scope.tensors:
        value = _tensor(scope.tensors[name], scope.folder)
    elif name in scope.makers:
        value = _computed(scope, name, links, trial)
    elif name in scope.passed:
        value = constant(*scope.passed[name], links + 1, trial)
    elif name in scope.inputs:
        raise ValueError(f"it depends on {scope.inputs[name]}, which is known only when the model runs")
    elif scope.outer is not None:
        return constant(scope.outer, name, links + 1, trial)
    else:
        raise ValueError(f"nothing in the model makes {name!r}")
    if value.dtype.kind in "cOSU":
        raise ValueError(f"{name!r} must hold real numbers, got {value.dtype}")
    if trial is None:
        scope.known[name] = value
    else:
        trial.known[id(scope), name] = value
    return value


def _tensor(tensor: TensorProto, folder: str | None) -> Array:
    dims, told = tuple(tensor.dims), tensor.name or "of a Constant node"
    if any(d < 0 for d in dims):
        raise ValueError(f"tensor {told!r} must have no negative size, got {dims}")
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor = _external(tensor, folder)
    try:
        return numpy_helper.to_array(tensor)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"tensor {told!r} of shape {dims} cannot be read ({error})") from error


def _external(tensor: TensorProto, folder: str | None) -> TensorProto:
    where = {entry.key: entry.value for entry in tensor.external_data}
    location = where.get("location", "")
    if folder is None:
        raise ValueError(f"tensor {tensor.name!r} is in the file {location!r}: give the model's path, or load it whole")
    loaded = TensorProto()
    loaded.CopyFrom(tensor)
    try:
        # The length is a claim of the file's, and reading allocates what it says.
        size = os.path.getsize(os.path.join(folder, location))
        if int(where.get("offset", 0)) + int(where.get("length", 0)) > size:
            raise ValueError(f"it has {size} bytes")
        read = int(where.get("length", 0)) or size - int(where.get("offset", 0))
        _memory.check(2 * read, "tensor {!r} in the file {!r}", tensor.name, location)
        load_external_data_for_tensor(loaded, folder)
    except (OSError, TypeError, ValueError, onnx.checker.ValidationError) as error:
        raise ValueError(f"tensor {tensor.name!r} cannot be read from the file {location!r} ({error})") from error
    return loaded


def _computed(scope: Scope, name: str, links: int, trial: Trial | None) -> Array:
    node = Node(scope.makers[name], scope)
    domain, op = node.operator
    # Inputs first: what depends on a graph input is told so, whatever lies between.
    try:
        x = [constant(scope, given, links + 1, trial) if given else None for given in node.proto.input]
    except ValueError:
        if trial is None or trial.size is None or (domain, op) != ("", "Shape"):
            raise
        sizes = scope.shapes.get(node.given(0)) or [0] * 8  # of unknown rank: more than are asked for
        return onnx_shapes.part_of_shape(node, [n or trial.size for n in sizes])
    if domain or op not in EVALUATED or name != node.proto.output[0]:
        raise ValueError(f"{name!r} is made by {op}, and only {', '.join(EVALUATED)} are evaluated")
    try:
        with np.errstate(all="ignore"):  # an overflow in a Cast is the model's own
            return _evaluate(node, x)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{op} cannot make {name!r} ({error})") from error


def _evaluate(node: Node, x: list[Array | None]) -> Array:
    """What the node makes of its inputs, for every version of these operators."""
    op = node.proto.op_type
    if op == "Constant":
        return _constant_node(node)
    data = x[0] if x else None
    if data is None:
        raise ValueError("its input is missing")
    _memory.check(
        sum(16 * part.size for part in x if part is not None), "{} of {}", op, [_text(n) for n in node.proto.output]
    )
    if op in onnx_shapes.OPERATORS:
        return onnx_shapes.OPERATORS[op](node, *x)
    if op == "Cast":
        return data.astype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to", "int")))
    if op == "Transpose":
        return data.transpose(node.attribute("perm", "ints"))
    if op == "Concat":
        parts = [part for part in x if part is not None]
        if sum(part.size for part in parts) > MOST_ELEMENTS:
            raise ValueError(f"more than {MOST_ELEMENTS} elements")
        return np.concatenate(parts, axis=node.attribute("axis", "int", 1))
    if op in ("Squeeze", "Unsqueeze"):
        axes = tuple(_integers(node, x, 1, "axes") or ())
        return np.expand_dims(data, axes) if op == "Unsqueeze" else np.squeeze(data, axes or None)
    if op == "Slice":
        return _slice(node, x, data)
    if op == "Reshape":
        shape = _integers(node, x, 1, "shape") or []
        if not node.attribute("allowzero", "int", 0):
            shape = [data.shape[k] if size == 0 else size for k, size in enumerate(shape)]
        return data.reshape(shape)
    return _dequantize(node, x, data) if op == "DequantizeLinear" else data


def _integers(node: Node, x: list[Array | None], k: int, name: str) -> list[int] | None:
    """Axes, shapes and bounds: attributes in early opsets, inputs since."""
    given = x[k] if k < len(x) else None
    if given is None:
        value: list[int] | None = node.attribute(name, "ints")
        return value
    return [int(v) for v in given.ravel()]


def _constant_node(node: Node) -> Array:
    if (tensor := node.attribute("value", "tensor")) is not None:
        return _tensor(tensor, node.scope.folder)
    for kind, dtype in (("float", np.float32), ("floats", np.float32), ("int", np.int64), ("ints", np.int64)):
        if (value := node.attribute(f"value_{kind}", kind)) is not None:
            return np.array(value, dtype)
    raise ValueError("it holds no dense numbers")


def _slice(node: Node, x: list[Array | None], data: Array) -> Array:
    starts, ends = _integers(node, x, 1, "starts") or [], _integers(node, x, 2, "ends") or []
    axes = _integers(node, x, 3, "axes") or list(range(len(starts)))
    steps = _integers(node, x, 4, "steps") or [1] * len(starts)
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, end, step)
    return data[tuple(cut)]


def _dequantize(node: Node, x: list[Array | None], data: Array) -> Array:
    scale, zero = x[1], x[2] if len(x) > 2 else None
    if scale is None:
        raise ValueError("its scale is missing")
    axis, block = node.attribute("axis", "int", 1), node.attribute("block_size", "int", 0)
    dtype = node.attribute("output_dtype", "int", 0)

    def spread(p: Array) -> Array:
        if block:
            fitting = [ceil_div(n, block) if k == axis % data.ndim else n for k, n in enumerate(data.shape)]
            if list(p.shape) != fitting:
                raise ValueError(f"blocks of scales of shape {p.shape}, not {tuple(fitting)}")
            p = np.repeat(p, min(block, data.shape[axis]), axis).take(range(data.shape[axis]), axis)
            if p.shape != data.shape:
                raise ValueError(f"blocks of scales for shape {p.shape}, not {data.shape}")
            return p
        if p.size == 1:
            return p.reshape(())
        if p.shape != (data.shape[axis],):
            raise ValueError(f"scales of shape {p.shape} for an axis of {data.shape[axis]}")
        return np.expand_dims(p, tuple(k for k in range(data.ndim) if k != axis % data.ndim))

    made = dequantized(data, spread(scale), None if zero is None else spread(zero))
    return made.astype(onnx.helper.tensor_dtype_to_np_dtype(dtype) if dtype else scale.dtype)


def dequantized(data: Array, scale: Array, zero: Array | None) -> Array:
    """`(data - zero) * scale` as float32: exact up to the product."""
    # float64 holds each integer and each small float of the format; the difference of 8 bits fits float32.
    with np.errstate(all="ignore"):  # an overflow is the model's own, here as in a Cast
        centred = data.astype(np.float64) - (0.0 if zero is None else zero.astype(np.float64))
        made: Array = centred.astype(np.float32) * scale.astype(np.float32)
    return made
