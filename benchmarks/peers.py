"""The LSTM beside PyTorch, onnxruntime and OpenVINO, by turns, one thread each: `python -m benchmarks.peers`.

Writes README's tables: whole sequences, and single steps that carry a state. `OMP_NUM_THREADS=1
OPENBLAS_NUM_THREADS=1` keeps NumPy's product, the yardstick, on one thread.
"""

import re
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numba import njit

import fastcell as fc

try:
    import openvino
except ImportError:
    openvino = None

SHAPES = [
    (100, 1, 16, 16), (100, 1, 64, 64), (100, 1, 256, 256), (50, 1, 512, 512), (100, 16, 64, 64), (100, 16, 256, 256),
    (100, 64, 128, 128), (100, 64, 256, 256), (50, 64, 512, 512), (10, 256, 1024, 1024), (100, 1024, 16, 16),
    (100, 1024, 32, 32), (10, 10000, 16, 16), (1, 100000, 4, 16), (200, 7, 13, 37),
]  # fmt: skip
README = Path(__file__).parent.parent / "README.md"


def by_torch(module, x):
    tensor = torch.from_numpy(x)

    def call():
        with torch.inference_mode():
            return module(tensor)[0].numpy()

    return call


def as_onnx(lstm, carried=False):
    """The same LSTM as an ONNX model: gates i, o, f, g there; with `carried` the state goes in and out."""
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


def by_onnxruntime(model, x):
    session = one_thread(model)
    return lambda: session.run(None, {"X": x})[0][:, 0]


def by_openvino(model, x):
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lstm.onnx"
        onnx.save(model, path)
        core = openvino.Core()
        request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    return lambda: request.infer([x], share_inputs=True)[0][:, 0]


def spent(call, times):
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def in_turn(calls):
    """Each call's shortest time, all by turns."""
    times = {name: max(1, int(0.02 / spent(call, 1))) for name, call in calls.items()}
    rounds = 9 if max(spent(call, 1) for call in calls.values()) < 0.1 else 3
    runs = [{name: spent(call, times[name]) for name, call in calls.items()} for _ in range(rounds)]
    return {name: min(run[name] for run in runs) for name in calls}


def row(shape, rate):
    T, B, I, H = shape
    module = torch.nn.LSTM(I, H)
    lstm = fc.LSTM.from_torch(module)
    model = as_onnx(lstm)
    x = np.random.default_rng(0).standard_normal((T, B, I)).astype(np.float32)
    calls = {"fastcell": lambda: lstm(x, threads=1)[0], "torch": by_torch(module, x), "ort": by_onnxruntime(model, x)}
    if openvino is not None:
        calls["openvino"] = by_openvino(model, x)
    for name, call in calls.items():
        np.testing.assert_allclose(call(), calls["fastcell"](), atol=2e-5, err_msg=f"{name} {shape}")
    times = in_turn(calls)
    double, x64 = fc.LSTM(I, H, dtype="float64", weights=lstm.state_dict()), x.astype(float)
    more = in_turn(
        {"one": calls["fastcell"], "two": lambda: lstm(x, threads=2), "double": lambda: double(x64, threads=1)}
    )
    peer = min(time for name, time in times.items() if name != "fastcell")
    share = 2 * T * B * 4 * H * (I + H) / times["fastcell"] / rate
    cells = [", ".join(map(str, shape)), *(f"{1e3 * times[name]:.3f}" if name in times else "-" for name in NAMES)]
    cells += [f"{peer / times['fastcell']:.2f}", f"{share:.2f}", f"{more['one'] / more['two']:.2f}" if B > 1 else "-"]
    return "| " + " | ".join([*cells, f"{more['one'] / more['double']:.2f}"]) + " |", peer / times["fastcell"]


def one_thread(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


@njit
def many_steps(params, x, h, c, steps):
    for _ in range(steps):
        fc.lstm_step(params, x, h, c)


def step_row(B, H):
    """One step of B rows with I = H, the state carried: a line of the second table."""
    module = torch.nn.LSTMCell(H, H)
    lstm = fc.LSTM.from_torch(module)
    cell, session = lstm.cell(), one_thread(as_onnx(lstm, carried=True))
    x = np.random.default_rng(0).standard_normal((B, H)).astype(np.float32)
    h, c = (np.zeros((B, H), np.float32) for _ in range(2))
    inputs = {"X": x[None], "h": h[None].copy(), "c": c[None].copy()}
    tensors = torch.from_numpy(x), (torch.from_numpy(h.copy()), torch.from_numpy(c.copy()))

    def by_module():
        with torch.inference_mode():
            return module(*tensors)

    calls = {
        "fastcell": lambda: cell.step(x, h, c),
        "ort": lambda: session.run(None, inputs),
        "torch": by_module,
    }
    cell.step(x, h, c)
    np.testing.assert_allclose(calls["ort"]()[0][0], h, atol=2e-6)
    np.testing.assert_allclose(by_module()[0].numpy(), h, atol=2e-6)
    times = in_turn(calls)
    steps = max(1, int(2e5 / (B * H)))
    many_steps(cell.params, x, h, c, 1)
    inside = min(spent(lambda: many_steps(cell.params, x, h, c, steps), 1) for _ in range(9)) / steps
    peer = min(times["ort"], times["torch"])
    figures = [1e6 * times["fastcell"], 1e6 * inside, *(1e6 * times[name] for name in ("ort", "torch"))]
    ratios = [times["ort"] / times["fastcell"], peer / times["fastcell"]]
    return f"| {B}, {H} | " + " | ".join([*(f"{f:.2f}" for f in figures), *(f"{r:.1f}" for r in ratios)]) + " |"


STEPS = [(1, 16), (1, 64), (1, 128), (100_000, 16)]
NAMES = ["fastcell", "torch", "ort", "openvino"]


def main():
    torch.set_num_threads(1)
    a = np.ones((1024, 1024), np.float32)
    rate = 2 * 1024**3 / min(spent(lambda: a @ a, 1) for _ in range(20))
    lines, ratios = [], []
    for shape in SHAPES:
        line, ratio = row(shape, rate)
        print(line, flush=True)
        lines.append(line)
        ratios.append(ratio)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = f"PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    if openvino is not None:
        versions += f", OpenVINO {openvino.__version__.split('-')[0]}"
    table = [
        f"{cpu.group(1) if cpu else 'CPU unknown'}, sgemm {rate / 1e9:.0f} GFLOP/s on one thread; {versions}; "
        f"commit {commit.strip()}; float32, one thread each, best of several by turns.",
        "",
        "| T, B, I, H | fastcell, ms | PyTorch | onnxruntime | OpenVINO | best peer over fastcell | of sgemm's rate "
        "| two threads, times one | float64's rate |",
        "|---|---|---|---|---|---|---|---|---|",
        *lines,
        "",
        f"Geometric mean over the best peer: {np.exp(np.mean(np.log(ratios))):.2f}.",
        "",
        "| one step; B, I = H | cell.step, us | lstm_step under njit, us | onnxruntime, us | nn.LSTMCell, us "
        "| onnxruntime over cell.step | best peer over cell.step |",
        "|---|---|---|---|---|---|---|",
        *(step_row(*shape) for shape in STEPS),
    ]
    text = README.read_text()
    start, end = "<!-- peers: begin -->", "<!-- peers: end -->"
    before, after = text.split(start)[0], text.split(end)[1]
    README.write_text(before + start + "\n" + "\n".join(table) + "\n" + end + after)


if __name__ == "__main__":
    main()
