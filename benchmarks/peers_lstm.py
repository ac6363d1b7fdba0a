"""The LSTM as PyTorch, onnxruntime, OpenVINO, JAX and Keras run it, with fastcell's weights, by precision.

Each is asked in the way that suits it best of those its manual shows. Its input lies beforehand in its own kind of
array; the answer stays in that kind too.
"""

import logging
import os
import sys
import tempfile
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numba import njit

import fastcell as fc

from . import common
from .common import Peer

# Steps, rows, inputs, units.
SHAPES = [
    (100, 1, 16, 16), (100, 1, 64, 64), (100, 1, 256, 256), (50, 1, 512, 512), (100, 16, 64, 64), (100, 16, 256, 256),
    (100, 64, 128, 128), (100, 64, 256, 256), (50, 64, 512, 512), (10, 256, 1024, 1024), (100, 1024, 16, 16),
    (100, 1024, 32, 32), (10, 10000, 16, 16), (1, 100000, 4, 16), (50, 5, 100, 100),
    (200, 7, 13, 37),
]  # fmt: skip
INSIDE = {"float32": "lstm_step under njit", "bfloat16": "in bfloat16", "int8": "in int8"}
# Rows, and inputs as many as units.
STEPS = [(1, 16), (1, 64), (1, 128), (100_000, 16)]


def torch_module(lstm, threads):
    import torch

    torch.set_num_threads(threads)
    sizes = lstm.input_size, lstm.hidden_size, lstm.num_layers
    module = torch.nn.LSTM(*sizes, bidirectional=lstm.bidirectional)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in lstm.state_dict().items()})
    return module.eval()


def torch_call(module, tensor):
    import torch

    def call():
        with torch.inference_mode():
            return module(tensor)[0]

    return call


def with_torch(lstm, x, threads):
    import torch

    return torch_call(torch_module(lstm, threads), torch.from_numpy(x))


def torch_in_bfloat16(lstm, x, threads):
    import torch

    return torch_call(torch_module(lstm, threads).bfloat16(), torch.from_numpy(x).bfloat16())


def torch_in_int8(lstm, x, threads):
    """quantize_dynamic: weights have one scale each, x and h one a call and step."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch wants people to move to torchao, which has no LSTM
        whole = torch.nn.Sequential(torch_module(lstm, threads))
        return torch_call(torch.ao.quantization.quantize_dynamic(whole, {torch.nn.LSTM}), torch.from_numpy(x))


def as_onnx(lstm, carried=False):
    """The same LSTM as an ONNX model: gates i, o, f, g there; with `carried` its one layer's state goes in and out."""
    import onnx

    D, H, state = lstm.directions, lstm.hidden_size, lstm.state_dict()
    make, value, kind = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    direction = "bidirectional" if lstm.bidirectional else "forward"
    states, out = (["", "h", "c"], ["Y_h", "Y_c"]) if carried else ([], [])
    arrays, nodes, x = {"rows": np.array([0, 0, -1])} if lstm.num_layers > 1 else {}, [], "X"

    def ordered(name, k):
        ends = [f"{name}_l{k}{end}" for end in ("", "_reverse")[:D]]
        return np.stack([state[end].reshape(4, H, -1)[[0, 3, 1, 2]].reshape(4 * H, -1) for end in ends])

    for k in range(lstm.num_layers):
        bias = np.concatenate([ordered("bias_ih", k), ordered("bias_hh", k)], axis=1)[:, :, 0]
        arrays |= {f"W{k}": ordered("weight_ih", k), f"R{k}": ordered("weight_hh", k), f"B{k}": bias}
        y = "Y" if k == lstm.num_layers - 1 else f"Y{k}"
        inputs = [x, f"W{k}", f"R{k}", f"B{k}", *states]
        nodes.append(make("LSTM", inputs, ["" if carried else y, *out], hidden_size=H, direction=direction))
        if y != "Y":
            nodes.append(make("Transpose", [y], [f"turned{k}"], perm=[0, 2, 1, 3]))
            nodes.append(make("Reshape", [f"turned{k}", "rows"], [x := f"x{k + 1}"]))
    graph = onnx.helper.make_graph(
        nodes, "lstm",
        [value("X", kind, [None, None, lstm.input_size]), *(value(name, kind, [1, None, H]) for name in states[1:])],
        [value(name, kind, None) for name in out or ["Y"]],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)


def joined(y):
    """ONNX's (T, D, B, H) as (T, B, D*H)."""
    return y[:, 0] if y.shape[1] == 1 else y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)


def session(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def with_onnxruntime(lstm, x, threads):
    running = session(as_onnx(lstm), threads)
    return lambda: joined(running.run(None, {"X": x})[0])


def saturates():
    """Whether onnxruntime adds pairs of products in 16 bits, which overflow: its manual says to give weights 7 bits."""
    found = get_host_cpu_features()
    return bool(found.get("avx2")) and not (found.get("avx512vnni") or found.get("avxvnni"))


def onnxruntime_in_int8(lstm, x, threads):
    """quantize_dynamic per channel: a scale a unit and gate, in x and h one a call and step."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # that it was not preprocessed
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain, small = Path(folder) / "lstm.onnx", Path(folder) / "small.onnx"
            onnx.save(as_onnx(lstm), plain)
            quantize_dynamic(plain, small, per_channel=True, reduce_range=saturates(), op_types_to_quantize=["LSTM"])
            running = session(onnx.load(small), threads)
    finally:
        logging.disable(before)
    return lambda: joined(running.run(None, {"X": x})[0])


def with_openvino(lstm, x, threads, hint="f32"):
    sys.modules.setdefault("openvino_telemetry", None)  # it would fork this process to send statistics
    import onnx
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lstm.onnx"
        onnx.save(as_onnx(lstm), path)
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(path), "CPU", settings)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != hint:
        raise common.UnsupportedError(f"OpenVINO runs {hint} as {used} on this CPU")
    request = compiled.create_infer_request()
    return lambda: joined(request.infer([x], share_inputs=True)[0])


def with_jax(lstm, x, threads):
    """lax.scan over the steps, compiled whole; x's products of all steps in one where that is faster: of one row."""
    import jax
    import jax.numpy as jnp

    w, r, bias = (jnp.asarray(array.T) for array in common.for_numpy(lstm.state_dict()))
    hoisted = x.shape[1] == 1

    def forward(w, r, bias, x):
        def step(state, xt):
            h, c = state
            i, f, g, o = jnp.split((xt if hoisted else xt @ w + bias) + h @ r, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[1], r.shape[0]), x.dtype)
        return jax.lax.scan(step, (zeros, zeros), x @ w + bias if hoisted else x)[1]

    compiled, values = jax.jit(forward), jnp.asarray(x)
    return lambda: compiled(w, r, bias, values).block_until_ready()


def with_keras(lstm, x, threads):
    """Its layer on JAX, compiled whole, (B, T, I) as it wants it: many times faster than on PyTorch."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # read when Keras is first imported
    import jax
    import jax.numpy as jnp
    import keras

    if keras.config.backend() != "jax":
        raise RuntimeError(f"Keras must run on JAX here, got {keras.config.backend()!r}: KERAS_BACKEND=jax")
    layer = keras.layers.LSTM(lstm.hidden_size, return_sequences=True)
    layer.build((x.shape[1], x.shape[0], lstm.input_size))
    layer.set_weights([array.T for array in common.for_numpy(lstm.state_dict())])
    weights = [[v.value for v in part] for part in (layer.trainable_variables, layer.non_trainable_variables)]
    compiled = jax.jit(lambda *arguments: layer.stateless_call(*arguments)[0])
    values = jnp.asarray(x.swapaxes(0, 1))
    return lambda: compiled(*weights, values).block_until_ready().swapaxes(0, 1)


PEERS = {
    "PyTorch": Peer(("torch",), with_torch),
    "onnxruntime": Peer(("onnxruntime", "onnx"), with_onnxruntime),
    "OpenVINO": Peer(("openvino", "onnx"), with_openvino),
    "JAX": Peer(("jax",), with_jax),
    "Keras": Peer(("keras", "jax"), with_keras),
}
BY_PRECISION = {
    "float32": PEERS,
    "bfloat16": {
        "PyTorch": Peer(("torch",), torch_in_bfloat16),
        "OpenVINO": Peer(("openvino", "onnx"), partial(with_openvino, hint="bf16")),
    },
    "int8": {
        "onnxruntime": Peer(("onnxruntime", "onnx"), onnxruntime_in_int8),
        "PyTorch": Peer(("torch",), torch_in_int8),
    },
}
# float32 sums of up to 2,048 products, each library's in an order of its own; the errors of accuracy.py
CLOSE = {"float32": 2e-5, "bfloat16": 3e-2, "int8": 8e-2}


def problem(shape, seed=0):
    """The LSTM and its input."""
    T, B, I, H = shape
    return fc.LSTM(I, H, seed=seed), common.normal(T, B, I, seed=seed)


def prepared(peers, lstm, x, threads):
    """The calls of those peers that are installed and run in their precision on this CPU."""
    made = {}
    for name, peer in peers.items():
        if not peer.missing():
            with suppress(common.UnsupportedError):
                made[name] = peer.prepare(lstm, x, threads)
    return made


def as_array(answer):
    """Of any library; NumPy has no bfloat16."""
    return np.asarray(answer.float() if hasattr(answer, "float") else answer)


def calls(shape, threads, precision="float32"):
    """fastcell and each peer in a precision, ready to be timed; their answers agree."""
    lstm, x = problem(shape)
    own, low = common.chosen(threads), lstm if precision == "float32" else lstm.with_precision(precision)
    made = {"fastcell": lambda: low(x, threads=own)[0]} | prepared(BY_PRECISION[precision], lstm, x, threads)
    wanted = made["fastcell"]()
    for name, call in made.items():
        np.testing.assert_allclose(
            as_array(call()), wanted, rtol=0, atol=CLOSE[precision], err_msg=f"{name} {shape} {precision}"
        )
    return made


def measure(shape, threads, precision="float32", **timing):
    """Best seconds of fastcell and its peers by turns, and of fastcell in float32, or float64 beside that."""
    T, B, I, H = shape
    other = "float64" if precision == "float32" else "float32"
    plain, x = fc.LSTM(I, H, dtype=other, seed=0), common.normal(T, B, I, dtype=other)
    beside = {other: lambda: plain(x, threads=common.chosen(threads))}
    if precision != "float32":
        return common.in_turn(calls(shape, threads, precision) | beside, **timing)
    return common.in_turn(calls(shape, threads), **timing) | common.in_turn(beside, **timing)


@njit
def many_steps(params, x, h, c, steps):
    for _ in range(steps):
        fc.lstm_step(params, x, h, c)


def step_with_onnxruntime(lstm, x, h, c):
    running = session(as_onnx(lstm, carried=True), 1)
    inputs = {"X": x[None], "h": h[None].copy(), "c": c[None].copy()}
    return lambda: running.run(None, inputs)[0][0]


def step_with_torch(lstm, x, h, c):
    import torch

    torch.set_num_threads(1)
    module = torch.nn.LSTMCell(lstm.input_size, lstm.hidden_size)
    weights = {name.removesuffix("_l0"): torch.from_numpy(array) for name, array in lstm.state_dict().items()}
    module.load_state_dict(weights)
    tensors = torch.from_numpy(x), (torch.from_numpy(h.copy()), torch.from_numpy(c.copy()))

    def call():
        with torch.inference_mode():
            return module(*tensors)[0]

    return call


STEP_PEERS = {
    "onnxruntime": Peer(("onnxruntime", "onnx"), step_with_onnxruntime),
    "nn.LSTMCell": Peer(("torch",), step_with_torch),
}


def measure_step(rows, hidden, **timing):
    """Best seconds of one step on one thread, the state carried: from Python, under @njit, and the peers'."""
    lstm, x = fc.LSTM(hidden, hidden, seed=0), common.normal(rows, hidden)
    cell, (h, c) = lstm.cell(), (np.zeros((rows, hidden), np.float32) for _ in "hc")
    peers = {name: peer.prepare(lstm, x, h, c) for name, peer in STEP_PEERS.items() if not peer.missing()}
    answers = {name: np.asarray(call()) for name, call in peers.items()}
    cell.step(x, h, c)
    for name, answer in answers.items():
        np.testing.assert_allclose(
            answer, h, rtol=0, atol=CLOSE["float32"], err_msg=f"{name}, a step of {rows}, {hidden}"
        )
    steps = max(1, 200_000 // (rows * hidden))
    inside = {}
    for precision, name in INSIDE.items():
        params = cell.params if precision == "float32" else cell.with_precision(precision).params
        inside[name] = lambda params=params: many_steps(params, x, h, c, steps)
    best = common.in_turn({"cell.step": lambda: cell.step(x, h, c)} | peers | inside, **timing)
    return best | {name: best[name] / steps for name in inside}
