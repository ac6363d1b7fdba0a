"""The LSTM as PyTorch, onnxruntime, OpenVINO, JAX and Keras run it, with fastcell's weights, float32.

Each is asked in the way that suits it best of those its manual shows. Its input lies beforehand in its own kind of
array; the answer stays in that kind too.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from numba import njit

import fastcell as fc

from . import common
from .common import Peer

# Steps, rows, inputs, units.
SHAPES = [
    (100, 1, 16, 16), (100, 1, 64, 64), (100, 1, 256, 256), (50, 1, 512, 512), (100, 16, 64, 64), (100, 16, 256, 256),
    (100, 64, 128, 128), (100, 64, 256, 256), (50, 64, 512, 512), (10, 256, 1024, 1024), (100, 1024, 16, 16),
    (100, 1024, 32, 32), (10, 10000, 16, 16), (1, 100000, 4, 16), (200, 7, 13, 37),
]  # fmt: skip
# Rows, and inputs as many as units.
STEPS = [(1, 16), (1, 64), (1, 128), (100_000, 16)]


def with_torch(lstm, x, threads):
    import torch

    torch.set_num_threads(threads)
    module = torch.nn.LSTM(lstm.input_size, lstm.hidden_size)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in lstm.state_dict().items()})
    tensor = torch.from_numpy(x)

    def call():
        with torch.inference_mode():
            return module(tensor)[0]

    return call


def as_onnx(lstm, carried=False):
    """The same LSTM as an ONNX model: gates i, o, f, g there; with `carried` the state goes in and out."""
    import onnx

    H, state = lstm.hidden_size, lstm.state_dict()

    def ordered(name):
        return state[name].reshape(4, H, -1)[[0, 3, 1, 2]].reshape(1, 4 * H, -1)

    bias = np.concatenate([ordered("bias_ih_l0"), ordered("bias_hh_l0")], axis=1)[:, :, 0]
    arrays = {"W": ordered("weight_ih_l0"), "R": ordered("weight_hh_l0"), "B": bias}
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    states, out = (["", "h", "c"], ["", "Y_h", "Y_c"]) if carried else ([], ["Y"])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("LSTM", ["X", *arrays, *states], out, hidden_size=H)], "lstm",
        [value("X", kind, [None, None, lstm.input_size]), *(value(name, kind, [1, None, H]) for name in states[1:])],
        [value(name, kind, None) for name in out if name],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)


def session(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def with_onnxruntime(lstm, x, threads):
    running = session(as_onnx(lstm), threads)
    return lambda: running.run(None, {"X": x})[0][:, 0]


def with_openvino(lstm, x, threads):
    sys.modules.setdefault("openvino_telemetry", None)  # it would fork this process to send statistics
    import onnx
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lstm.onnx"
        onnx.save(as_onnx(lstm), path)
        core = openvino.Core()
        request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    return lambda: request.infer([x], share_inputs=True)[0][:, 0]


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
CLOSE = 2e-5  # float32 sums of up to 2,048 products, each library's in an order of its own


def problem(shape):
    """The LSTM and its input."""
    T, B, I, H = shape
    return fc.LSTM(I, H, seed=0), common.normal(T, B, I)


def calls(shape, threads):
    """fastcell and each peer that is installed, ready to be timed; their answers agree."""
    lstm, x = problem(shape)
    own = common.chosen(threads)
    made = {"fastcell": lambda: lstm(x, threads=own)[0]}
    made |= {name: peer.prepare(lstm, x, threads) for name, peer in PEERS.items() if not peer.missing()}
    wanted = made["fastcell"]()
    for name, call in made.items():
        np.testing.assert_allclose(np.asarray(call()), wanted, rtol=0, atol=CLOSE, err_msg=f"{name} {shape}")
    return made


def measure(shape, threads, **timing):
    """Best seconds of fastcell and its peers by turns, and of fastcell in float64."""
    best = common.in_turn(calls(shape, threads), **timing)
    T, B, I, H = shape
    double, x = fc.LSTM(I, H, dtype="float64", seed=0), common.normal(T, B, I, dtype="float64")
    return best | common.in_turn({"float64": lambda: double(x, threads=common.chosen(threads))}, **timing)


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
        np.testing.assert_allclose(answer, h, rtol=0, atol=CLOSE, err_msg=f"{name}, a step of {rows}, {hidden}")
    steps = max(1, 200_000 // (rows * hidden))
    inside = {"lstm_step under njit": lambda: many_steps(cell.params, x, h, c, steps)}
    best = common.in_turn({"cell.step": lambda: cell.step(x, h, c)} | peers | inside, **timing)
    return best | {"lstm_step under njit": best["lstm_step under njit"] / steps}
