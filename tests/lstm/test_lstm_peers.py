"""The LSTM against PyTorch, onnxruntime, ONNX's own node tests, and a real model."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastcell as fc

CLOSE = 2e-6  # float32 sums of some tens of products of size 1, in another order


@pytest.fixture(scope="module")
def onnx():
    return pytest.importorskip("onnx", reason="pip install 'fastcell[weights]'")


def draw(seed):
    """A configuration, its batch and a seeded generator."""
    random = np.random.default_rng(seed)
    T, B, I, H = (int(random.choice(sizes)) for sizes in ((1, 3, 20), (1, 2, 5, 17), (1, 3, 16), (1, 7, 16, 33, 64)))
    return random, (T, B, I, H), int(random.integers(1, 4)), bool(random.integers(2))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("seed", range(40))
def test_torch_in_any_configuration(torch, seed):
    random, (T, B, I, H), layers, both = draw(seed)
    dtype = ("float32", "float64")[seed % 2]
    module = torch.nn.LSTM(
        I, H, layers, bidirectional=both, bias=bool(random.integers(2)), batch_first=bool(random.integers(2)),
        proj_size=int(random.integers(1, H)) if H > 1 and random.integers(2) else 0, dtype=getattr(torch, dtype),
    )  # fmt: skip
    lstm = fc.LSTM.from_torch(module)
    shape = (B, T, I) if module.batch_first else (T, B, I)
    x = random.standard_normal(shape).astype(dtype)
    L = layers * (1 + both)
    h0, c0 = (random.standard_normal((L, B, size)).astype(dtype) for size in (lstm.output_size, H))
    with torch.inference_mode():
        wanted, (h, c) = module(torch.from_numpy(x), (torch.from_numpy(h0), torch.from_numpy(c0)))
    y, (h1, c1) = lstm(x, (h0, c0))
    bound = CLOSE if dtype == "float32" else 1e-13
    for got, want in ((y, wanted), (h1, h), (c1, c)):
        assert got.dtype == dtype
        assert got.shape == tuple(want.shape)
        np.testing.assert_allclose(got, want.numpy(), rtol=0, atol=bound)


@pytest.mark.parametrize("both", [False, True])
def test_torch_s_packed_sequences(torch, both):
    random = np.random.default_rng(0)
    module = torch.nn.LSTM(3, 17, 2, bidirectional=both)
    x, lengths = random.standard_normal((9, 6, 3)).astype("f4"), [3, 9, 1, 5, 9, 2]
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(x), lengths, enforce_sorted=False)
    with torch.inference_mode():
        y, (h, c) = module(packed)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y)
    got, (h1, c1) = fc.LSTM.from_torch(module)(x, lengths=lengths)
    for a, b in ((got, y), (h1, h), (c1, c)):
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=CLOSE)


def test_the_error_is_at_most_twice_torch_s_own(torch):
    """Largest error over random configurations, against torch in float64."""
    ours = theirs = ours_double = 0.0
    for seed in range(30):
        random, (T, B, I, H), layers, both = draw(seed)
        torch.manual_seed(seed)
        module = torch.nn.LSTM(I, H, layers, bidirectional=both).eval()
        x = random.standard_normal((T, B, I)).astype("f4")
        with torch.inference_mode():
            single = module(torch.from_numpy(x))[0].numpy()
            lstm = fc.LSTM.from_torch(module)
            exact = module.double()(torch.from_numpy(x.astype(float)))[0].numpy()
        double = fc.LSTM.from_torch(module)(x)[0]
        ours = max(ours, np.abs(lstm(x)[0] - exact).max())
        theirs = max(theirs, np.abs(single - exact).max())
        ours_double = max(ours_double, np.abs(double - exact).max())
    assert ours <= 2 * theirs
    assert ours_double <= 1e-13


NAMES = [
    "Sigmoid",
    "Tanh",
    "Relu",
    "HardSigmoid",
    "Softsign",
    "LeakyRelu",
    "Elu",
    "Softplus",
    "Affine",
    "ThresholdedRelu",
]


@pytest.mark.parametrize("seed", range(60))
def test_onnxruntime_in_any_configuration(onnx, session, seed):
    random, (T, B, I, H), _, both = draw(seed)
    D = 2 if both else 1

    def weight(*shape):
        return (random.standard_normal(shape) / (1 + np.sqrt(I + H))).astype("f4")

    arrays = {"W": weight(D, 4 * H, I), "R": weight(D, 4 * H, H), "B": weight(D, 8 * H), "P": weight(D, 3 * H)}
    lengths = random.integers(1, T + 1, B).astype("i4")
    h0, c0 = weight(D, B, H), weight(D, B, H)
    options = {"direction": "bidirectional" if both else ("forward", "reverse")[seed % 2]}
    if random.integers(2):
        options["clip"] = 0.4
    if random.integers(2):
        options["input_forget"] = 1
    if random.integers(2):
        places = [(NAMES[0], NAMES[3]), NAMES[1:8], NAMES[1:8]]  # unbounded gates would grow without end
        options["activations"] = [str(random.choice(place)) for place in places] * D
        takes = {"HardSigmoid": (0.3, 0.4), "LeakyRelu": (0.1,), "Elu": (0.7,)}
        used = [takes[name] for name in options["activations"] if name in takes]
        options["activation_alpha"] = [numbers[0] for numbers in used]
        options["activation_beta"] = [numbers[1] for numbers in used if len(numbers) > 1]
        options = {name: given for name, given in options.items() if given != []}
    peephole = "P" if random.integers(2) else ""
    inputs = ["X", "W", "R", "B", "lengths", "h0", "c0", peephole]
    node = onnx.helper.make_node("LSTM", inputs, ["Y", "Yh", "Yc"], hidden_size=H, **options)
    value, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    graph = onnx.helper.make_graph(
        [node], "lstm",
        [
            value("X", kinds.FLOAT, [T, B, I]), value("lengths", kinds.INT32, [B]),
            value("h0", kinds.FLOAT, [D, B, H]), value("c0", kinds.FLOAT, [D, B, H]),
        ],
        [value(name, kinds.FLOAT, None) for name in ("Y", "Yh", "Yc")],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name != "P" or peephole],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    x = random.standard_normal((T, B, I)).astype("f4")
    wanted, h, c = session(model, X=x, lengths=lengths, h0=h0, c0=c0)
    y, (h1, c1) = fc.LSTM.from_onnx(model)(x, (h0, c0), lengths=lengths)
    scale = max(1.0, np.abs(c).max())
    for got, want in ((y, wanted.transpose(0, 2, 1, 3).reshape(T, B, D * H)), (h1, h), (c1, c)):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-6 * scale, err_msg=str(options))


@pytest.mark.filterwarnings("ignore")  # onnx makes all operators' cases, some with infinities
def test_onnx_s_own_node_tests(onnx, monkeypatch):
    """Six cases of the operator's definition, weights made into initializers."""
    node_tests = pytest.importorskip("onnx.backend.test.case.node", reason="it comes with onnx")
    lstm_tests = f"{node_tests.__name__}.lstm"  # those of all operators take ten seconds to make
    monkeypatch.setattr(node_tests, "import_recursive", lambda _: importlib.import_module(lstm_tests))
    cases = [case for case in node_tests.collect_testcases("LSTM") if case.name.startswith("test_lstm")]
    assert len(cases) >= 4
    for case in cases:
        inputs, outputs = case.data_sets[0]
        graph = case.model.graph
        names = [value.name for value in graph.input]
        given = dict(zip(names, inputs, strict=True))
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        weights = [onnx.numpy_helper.from_array(np.asarray(given[name]), name) for name in names if name != "X"]
        model.graph.initializer.extend(weights)
        lstm = fc.LSTM.from_onnx(model)
        x = given["X"]
        node = graph.node[0]
        state = [given[name] for name in node.input[5:7] if name] or None
        y, (h, c) = lstm(x, state)
        T, B = (x.shape[1], x.shape[0]) if lstm.batch_first else x.shape[:2]
        if lstm.batch_first:  # ONNX has (B, T, D, H) and (B, D, H) there
            y, h, c = y.reshape(B, T, lstm.directions, -1), h.transpose(1, 0, 2), c.transpose(1, 0, 2)
        else:
            y = y.reshape(T, B, lstm.directions, -1).transpose(0, 2, 1, 3)
        answers = dict(zip(["y", "h", "c"], (y, h, c), strict=True))
        wanted = iter(outputs)
        for name, place in zip("yhc", list(node.output), strict=False):
            if place:
                np.testing.assert_allclose(answers[name], next(wanted), rtol=1e-5, atol=1e-6, err_msg=case.name)


def test_a_real_model_the_voice_detector_silero(onnx, session):
    """Its LSTM nodes, found in a graph of many: fastcell's answer to random input is onnxruntime's."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        pytest.skip("silero-vad is not installed: pip install --no-deps silero-vad")
    paths = sorted(Path(found.origin).parent.rglob("silero_vad_16k_sequence.onnx"))
    assert paths, "the package silero-vad no longer has silero_vad_16k_sequence.onnx"
    model = onnx.load(paths[0])
    lstm = fc.LSTM.from_onnx(paths[0])
    x = np.random.default_rng(0).standard_normal((50, 3, lstm.input_size)).astype("f4")
    names = ["W", "R", "B"]
    weights = lstm.state_dict()
    # the node alone, weights in ONNX's order again, so that onnxruntime runs the very weights of the file
    initial = {array.name: onnx.numpy_helper.to_array(array) for array in model.graph.initializer}
    node = next(node for node in model.graph.node if node.op_type == "LSTM")
    assert set(node.input[1:4]) <= set(initial), "its weights are initializers"
    value, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    alone = onnx.helper.make_node("LSTM", ["X", *names], ["Y", "Yh", "Yc"], hidden_size=lstm.hidden_size)
    graph = onnx.helper.make_graph(
        [alone], "alone", [value("X", kinds.FLOAT, list(x.shape))],
        [value(name, kinds.FLOAT, None) for name in ("Y", "Yh", "Yc")],
        [onnx.numpy_helper.from_array(initial[node.input[k + 1]], name) for k, name in enumerate(names)],
    )  # fmt: skip
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8)
    wanted, h, c = session(proto, X=x)
    y, (h1, c1) = lstm(x)
    assert len(weights) == 4
    for got, want in ((y, wanted[:, 0]), (h1, h), (c1, c)):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
