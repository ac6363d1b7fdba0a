"""ONNX models of a few nodes with random weights, and ONNX's shapes in ours."""

import numpy as np
import onnx

from tests.helpers.imported import B, H, I, T, random

h, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def tensor(name, x):
    return onnx.numpy_helper.from_array(x, name)


def value(name, shape=None, kind=FLOAT):
    return h.make_tensor_value_info(name, kind, shape)


def model(nodes, arrays=(), inputs=None, outputs=("Y",), opset=14, functions=(), shape=(T, B, I)):
    graph = h.make_graph(
        nodes,
        "main",
        inputs if inputs is not None else [value("X", shape)],
        [value(name) for name in outputs],
        [tensor(name, x) for name, x in dict(arrays).items()],
    )
    sets = [h.make_opsetid("", opset), h.make_opsetid("com.microsoft", 1), h.make_opsetid("local", 1)]
    return h.make_model(graph, opset_imports=sets, ir_version=8, functions=list(functions))


def arrays(D=1, dtype="float32", seed=0):
    shapes = {"W": (D, 4 * H, I), "R": (D, 4 * H, H), "B": (D, 8 * H), "P": (D, 3 * H)}
    return {name: random(*shape, dtype=dtype, seed=seed) for name, shape in shapes.items()}


def lstm(inputs=("X", "W", "R", "B"), outputs=("Y",), name="lstm", **attributes):
    return h.make_node("LSTM", list(inputs), list(outputs), name, **({"hidden_size": H} | attributes))


def joined(y):
    """ONNX's (T, D, B, H) as (T, B, D * H)."""
    return y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)


def constant(name, x):
    return make("Constant", [], name, value=tensor("", np.asarray(x)))


def make(op, inputs, output, **attributes):
    return h.make_node(op, inputs, [output], **attributes)
