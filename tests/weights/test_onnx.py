"""from_onnx against onnxruntime, through the oracle."""

import io
import re

import numpy as np
import pytest

import fastcell as fc
from fastcell.lstm.config import Quantized
from fastcell.weights import from_onnx
from tests.helpers import draws
from tests.helpers.imported import CLOSE, KEYS, B, H, I, T, random, refuses, run, well_formed, widened

onnx = pytest.importorskip("onnx", reason="from_onnx needs onnx: pip install 'fastcell[weights]'")
from tests.helpers.onnx_models import arrays, constant, joined, lstm, make, model, tensor, value  # noqa: E402, once onnx is there

h, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


WITH_PEEPHOLES = ("X", "W", "R", "B", "", "", "", "P")
CASES = {
    "forward": (("X", "W", "R", "B"), {}),
    "no bias": (("X", "W", "R"), {}),
    "reverse": (("X", "W", "R", "B"), {"direction": "reverse"}),
    "both": (("X", "W", "R", "B"), {"direction": "bidirectional"}),
    "peepholes": (WITH_PEEPHOLES, {}),
    "peepholes, both, clip": (WITH_PEEPHOLES, {"direction": "bidirectional", "clip": 0.4}),
    "coupled": (("X", "W", "R", "B"), {"input_forget": 1}),
    "clip": (("X", "W", "R", "B"), {"clip": 0.3}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_node_gives_onnxruntime_s_answer(session, case):
    inputs, attributes = CASES[case]
    D = 2 if attributes.get("direction") == "bidirectional" else 1
    proto = model([lstm(inputs, ("Y", "", "Y_c"), **attributes)], arrays(D), outputs=("Y", "Y_c"))
    got = from_onnx(proto)
    well_formed(got)
    told = [I, H, 1, "B" in inputs, D == 2, 0, attributes.get("direction") == "reverse", "P" in inputs]
    assert [got[key] for key in KEYS[:8]] == told
    assert got["coupled"] is ("input_forget" in attributes)
    assert got["clip"] == (np.float32(attributes["clip"]) if "clip" in attributes else None)
    assert got["activations"] == ("sigmoid", "tanh", "tanh") * D
    shapes = {name: x.shape for name, x in got["weights"].items()}
    assert shapes["weight_ih_l0"] == (4 * H, I)
    assert shapes["weight_hh_l0"] == (4 * H, H)
    assert len(shapes) == D * (2 + 2 * ("B" in inputs) + ("P" in inputs))
    x = random(T, B, I)
    y, c = session(proto, X=x)
    ours, last = run(got, x)
    np.testing.assert_allclose(ours, joined(y), **CLOSE)
    np.testing.assert_allclose(last, c, **CLOSE)


def test_the_gates_are_reordered_one_by_one():
    blocks = np.repeat(np.arange(4), H)  # i, o, f, c
    W = np.broadcast_to(blocks[:, None], (1, 4 * H, I)).astype("f4")
    R = np.broadcast_to(blocks[:, None], (1, 4 * H, H)).astype("f4")
    given = {"W": W, "R": R, "B": np.r_[blocks, blocks + 10][None].astype("f4")}
    given["P"] = np.repeat(np.arange(3), H)[None].astype("f4")
    got = from_onnx(model([lstm(WITH_PEEPHOLES)], given))["weights"]
    ours = np.repeat([0, 2, 3, 1], H)
    assert (got["weight_ih_l0"] == ours[:, None]).all()
    assert (got["weight_hh_l0"] == ours[:, None]).all()
    assert (got["bias_ih_l0"] == ours).all()
    assert (got["bias_hh_l0"] == ours + 10).all()
    assert (got["weight_peephole_l0"] == np.repeat([0, 2, 1], H)).all()


@pytest.mark.parametrize("directions", [1, 2])
def test_an_exported_layer_gives_torch_s_answer(torch, directions):
    """The other way round: torch's weights put in ONNX's order by hand, and read back as they were."""
    torch.manual_seed(3)
    module = torch.nn.LSTM(I, H, bidirectional=directions == 2)
    ends = ["_l0", "_l0_reverse"][:directions]

    def iofc(name):
        i, f, g, o = np.split(module.state_dict()[name].numpy(), 4)
        return np.concatenate([i, o, f, g])

    given = {
        letter: np.stack([iofc(kind + e) for e in ends]) for letter, kind in (("W", "weight_ih"), ("R", "weight_hh"))
    }
    given["B"] = np.stack([np.r_[iofc("bias_ih" + e), iofc("bias_hh" + e)] for e in ends])
    got = from_onnx(model([lstm(direction="bidirectional" if directions == 2 else "forward")], given))
    for name, x in module.state_dict().items():
        np.testing.assert_array_equal(got["weights"][name], x.numpy(), strict=True)
    with torch.no_grad():
        y, _ = module(torch.from_numpy(random(T, B, I)))
    np.testing.assert_allclose(run(got, random(T, B, I))[0], y.numpy(), **CLOSE)


ACTIVATIONS = [
    (["Relu", "Softsign", "Softplus"], [], [], ("relu", "softsign", "softplus")),
    (["HARDSIGMOID", "leakyrelu", "elu"], [], [], (("hard_sigmoid", 0.2, 0.5), ("leaky_relu", 0.01), ("elu", 1.0))),
    (["Affine", "ScaledTanh", "ThresholdedRelu"], [], [], (("affine", 0, 0), ("scaled_tanh", 0, 0), ("threshold", 0))),
    (
        ["Affine", "ScaledTanh", "ThresholdedRelu"],
        [0.5, 0.75, 0.125],
        [0.25, 1.5],
        (("affine", 0.5, 0.25), ("scaled_tanh", 0.75, 1.5), ("threshold", 0.125)),
    ),
    (
        # alpha and beta pass those by that take none, and defaults stand in where they end
        ["Sigmoid", "Elu", "HardSigmoid", "HardSigmoid", "Tanh", "LeakyRelu"],
        [0.5, 0.25],
        [0.375],
        (
            "sigmoid",
            ("elu", 0.5),
            ("hard_sigmoid", 0.25, 0.375),
            ("hard_sigmoid", 0.2, 0.5),
            "tanh",
            ("leaky_relu", 0.01),
        ),
    ),
]


@pytest.mark.parametrize(("names", "alpha", "beta", "expected"), ACTIVATIONS, ids=lambda v: str(v)[:30])
def test_activations_are_onnxruntime_s(session, names, alpha, beta, expected):
    D = len(names) // 3
    attributes = {"activations": names, "direction": "bidirectional" if D == 2 else "forward"}
    attributes |= {"activation_alpha": alpha} if alpha else {}
    attributes |= {"activation_beta": beta} if beta else {}
    proto = model([lstm(**attributes)], arrays(D))
    got = from_onnx(proto)
    assert got["activations"] == expected
    x = random(T, B, I)
    np.testing.assert_allclose(run(got, x)[0], joined(session(proto, X=x)[0]), rtol=1e-5, atol=1e-5)


def test_wrong_attributes_are_named():
    def read(**attributes):
        return lambda: from_onnx(model([lstm(**attributes)], arrays()))

    message = "activations of node 'lstm' must be among affine, elu, hardsigmoid"
    refuses(read(activations=["Sigmoid", "Gelu", "Tanh"]), ValueError, message, "got 'Gelu'")
    refuses(read(activations=["Tanh"]), ValueError, "activations of node 'lstm' must be 3 names, got 1")
    message = "direction of node 'lstm' must be forward, reverse or bidirectional, got 'up'"
    refuses(read(direction="up"), ValueError, message)
    refuses(read(direction=2), ValueError, "attribute direction of node 'lstm' must be of type string")
    refuses(read(clip=-1.0), ValueError, "clip of node 'lstm' must be above 0, got -1.0")
    refuses(read(clip=float("nan")), ValueError, "clip of node 'lstm' must be above 0, got nan")
    refuses(read(hidden_size=-3), ValueError, "hidden_size of node 'lstm' must be above 0, got -3")
    huge = "W of node 'lstm' must have shape (D, 4*H, I) = (1, 16000000000000000, 4), got (1, 20, 4)"
    refuses(read(hidden_size=4 * 10**15), ValueError, huge)


def test_hidden_size_and_direction_may_be_left_out():
    node = h.make_node("LSTM", ["X", "W", "R"], ["Y"])
    got = from_onnx(model([node], arrays()))
    assert (got["hidden_size"], got["bidirectional"], got["bias"]) == (H, False, False)


def test_wrong_shapes_are_named():
    for name, shape, message in [
        ("W", (1, 4 * H + 1, I), "W of node 'lstm' must have shape (D, 4*H, I) = (1, 20, 4), got (1, 21, 4)"),
        ("W", (4 * H, I), "W of node 'lstm' must have 3 axes, got shape (20, 4)"),
        ("R", (1, 4 * H, I), "R of node 'lstm' must have shape (D, 4*H, H) = (1, 20, 5), got (1, 20, 4)"),
        ("R", (2, 4 * H, H), "R of node 'lstm' must have shape (D, 4*H, H) = (1, 20, 5), got (2, 20, 5)"),
        ("B", (1, 4 * H), "B of node 'lstm' must have shape (D, 8*H) = (1, 40), got (1, 20)"),
        ("P", (3 * H,), "P of node 'lstm' must have shape (D, 3*H) = (1, 15), got (15,)"),
    ]:
        proto = model([lstm(WITH_PEEPHOLES)], arrays() | {name: random(*shape)})
        refuses(lambda proto=proto: from_onnx(proto), ValueError, message)
    refuses(
        lambda: from_onnx(model([lstm(("X", "W"))], arrays())),
        ValueError,
        "R of node 'lstm' must have 3 axes, got none",
    )
    whole = arrays() | {"W": np.ones((1, 4 * H, I), "i8")}
    refuses(lambda: from_onnx(model([lstm()], whole)), ValueError, "W of node 'lstm' must hold float16", "got int64")


@pytest.mark.parametrize("layout", [0, 1])
def test_layout_tells_whether_the_batch_comes_first(layout):
    got = from_onnx(model([lstm(layout=layout)], arrays()))
    well_formed(got, more=["batch_first"] * layout)
    assert got.get("batch_first", False) is bool(layout)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_half_precision_of_onnx_is_widened_exactly(dtype):
    if dtype == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16 of its own")
        given = {name: x.astype(ml_dtypes.bfloat16) for name, x in arrays().items()}
    else:
        given = arrays(dtype=dtype)
    got = from_onnx(model([lstm()], given))
    wide = "float64" if dtype == "float64" else "float32"
    well_formed(got, wide)
    expected = from_onnx(model([lstm()], {name: x.astype(wide) for name, x in given.items()}))
    for name, x in expected["weights"].items():
        np.testing.assert_array_equal(got["weights"][name], x, strict=True)


# Where weights come from


def same_as_plain(proto, node=None, seed=0, keys=None):
    """Assert that the node's weights are those of arrays(seed=seed)."""
    got = from_onnx(proto, node)
    expected = from_onnx(model([lstm()], arrays(seed=seed)))
    well_formed(got)
    assert set(got["weights"]) == set(expected["weights"])
    for name, x in expected["weights"].items():
        np.testing.assert_array_equal(got["weights"][name], x, strict=True)


def chain(opset):
    """W through Transpose, Unsqueeze, Cast and Identity, R through Squeeze, Slice and Reshape, B through Concat."""
    a = arrays()
    # R's rows backwards between 3 and 2 others, before a column and under an axis too many.
    r = np.pad(a["R"][:, ::-1], ((0, 0), (3, 2), (0, 1)))[..., None]
    nodes = [make("Transpose", ["w"], "w1", perm=[1, 0])]
    bounds = [constant("s", [-3, 0]), constant("e", [2, -1]), constant("ax", [-2, 2]), constant("st", [-1, 1])]
    backwards = [*bounds, make("Slice", ["r1", "s", "e", "ax", "st"], "r2")]
    if opset < 10:
        r = np.ascontiguousarray(r[:, ::-1])
        nodes += [make("Unsqueeze", ["w1"], "w2", axes=[0]), make("Squeeze", ["r"], "r1", axes=[3])]
        nodes += [make("Slice", ["r1"], "r2", starts=[2, 0], ends=[-3, H], axes=[1, 2])]
    elif opset < 13:
        nodes += [make("Unsqueeze", ["w1"], "w2", axes=[0]), make("Squeeze", ["r"], "r1", axes=[-1]), *backwards]
    else:
        nodes += [make("Constant", [], "zero", value_ints=[0]), make("Unsqueeze", ["w1", "zero"], "w2")]
        nodes += [constant("minus", [-1]), make("Squeeze", ["r", "minus"], "r1"), *backwards]
    nodes += [make("Cast", ["w2"], "w3", to=onnx.TensorProto.DOUBLE), make("Cast", ["w3"], "w4", to=FLOAT)]
    nodes += [make("Identity", ["w4"], "W"), constant("rs", [0, -1, H]), make("Reshape", ["r2", "rs"], "R")]
    nodes += [
        make("Concat", ["b1", "b2"], "b3", axis=0),
        constant("bs", [1, 8 * H]),
        make("Reshape", ["b3", "bs"], "B"),
    ]
    given = {"w": np.asfortranarray(a["W"][0].T), "r": r, "b1": a["B"][0, : 4 * H], "b2": a["B"][0, 4 * H :]}
    return model([*nodes, lstm()], given, opset=opset)


@pytest.mark.parametrize("opset", [9, 11, 13, 22])
def test_chains_of_nodes_over_weights_are_evaluated(session, opset):
    proto = chain(opset)
    same_as_plain(proto)
    x = random(T, B, I)
    np.testing.assert_allclose(run(from_onnx(proto), x)[0], joined(session(proto, X=x)[0]), **CLOSE)


def test_squeeze_without_axes_and_constants_of_every_kind():
    a = arrays()
    nodes = [
        make("Squeeze", ["w"], "w1"),
        make("Constant", [], "axes", value_ints=[0]),
        make("Unsqueeze", ["w1", "axes"], "W"),
        make("Constant", [], "b", value_floats=a["B"].ravel().tolist()),
        make("Unsqueeze", ["b", "axes"], "B"),
        make("Constant", [], "R", value=tensor("", a["R"])),
    ]
    same_as_plain(model([*nodes, lstm()], {"w": a["W"][..., None]}))


def test_scalars_of_constant_nodes():
    one = h.make_node("Constant", [], ["one"], value_int=1)
    unit = h.make_node("Constant", [], ["unit"], value_float=1.0)
    nodes = [one, unit, make("Unsqueeze", ["w", "one"], "W1"), make("DequantizeLinear", ["W2", "unit"], "W")]
    ints = np.random.default_rng(0).integers(-9, 9, (4 * H, I)).astype("i1")
    nodes += [make("Squeeze", ["W1", "one"], "W0"), constant("zero", [0]), make("Unsqueeze", ["W0", "zero"], "W2")]
    got = widened(from_onnx(model([*nodes, lstm(("X", "W", "R"))], {"w": ints, "R": arrays()["R"]})), "float32")
    assert (got["weights"]["weight_ih_l0"][:H] == ints[:H]).all()
    assert got["dtype"] == "float32"


def quantised(x, axis=None, low=-128, most=127):
    """Integers, scales and zero points that stand for about x, one for each place of the axis."""
    over = tuple(k for k in range(x.ndim) if k != axis)
    scale = np.abs(x).max(over, keepdims=axis is not None) / most
    zero = np.full(np.shape(scale), 0 if low else 128, "i1" if low else "u1")
    q = np.clip(np.round(x / scale) + zero, low, low + 255).astype(zero.dtype)
    return q, np.float32(scale).reshape(-1 if axis is not None else ()), zero.reshape(-1 if axis is not None else ())


@pytest.mark.parametrize("axis", [None, 1, -1])
@pytest.mark.parametrize("low", [-128, 0], ids=["int8", "uint8"])
def test_dequantize_linear_is_evaluated(session, axis, low):
    a = arrays()
    q, scale, zero = quantised(a["W"], None if axis is None else axis % 3, low)
    more = {} if axis in (None, 1) else {"axis": axis}
    node = make("DequantizeLinear", ["q", "s", "z"], "W", **more)
    proto = model([node, lstm()], a | {"W_": a["W"], "q": q, "s": scale, "z": zero})
    proto.graph.initializer.remove(next(t for t in proto.graph.initializer if t.name == "W"))
    proto.graph.output.append(value("W"))
    x = random(T, B, I)
    y, W = session(proto, X=x)
    i, o, f, c = np.split(W[0], 4)
    got, wide = from_onnx(proto), fc.LSTM.from_onnx(proto)
    plain = got if axis == -1 else widened(got, "float32")
    np.testing.assert_array_equal(plain["weights"]["weight_ih_l0"], np.concatenate([i, f, c, o]))
    np.testing.assert_allclose(run(plain, x)[0], joined(y), **CLOSE)
    assert wide.precision == "float32"  # what the node computes in
    np.testing.assert_array_equal(wide(x)[0], fc.LSTM(**plain)(x)[0], strict=True)
    small = fc.LSTM.from_onnx(proto, precision="int8")
    held = small.quantized()["weight_ih_l0"]
    assert isinstance(held, Quantized) is (axis != -1)  # a scale for each input is none of a row's
    if axis != -1:
        integers = q[0].astype(int) - zero.reshape(-1, 1)
        np.testing.assert_array_equal(held.values, in_our_order(integers).astype("i1"), strict=True)
        np.testing.assert_array_equal(held.scale, in_our_order(np.broadcast_to(scale, 4 * H)), strict=True)
    np.testing.assert_allclose(small(x)[0], joined(y), rtol=0, atol=AS_INTEGERS)


def test_a_stack_behind_dequantize_linear_computes_in_floats():
    given = {f"q{k}": np.full((1, 4 * H, n), k + 1, "i1") for k, n in enumerate((I, H, H))} | {
        "s": np.full(1, 0.01, "f4")
    }
    nodes = [make("DequantizeLinear", [f"q{k}", "s"], f"w{k}") for k in range(3)]
    nodes += [lstm(("X", "w0", "w1"), ("y0",), "a"), make("Squeeze", ["y0", "axis"], "x1")]
    nodes.append(lstm(("x1", "w2", "w1"), ("Y",), "b"))
    proto = model(nodes, given | {"axis": np.array([1])})
    got = from_onnx(proto)
    well_formed(widened(got, "float32"))
    assert (got["num_layers"], fc.LSTM.from_onnx(proto).precision) == (2, "float32")
    assert (got["weights"]["weight_ih_l1"].values == 3).all()


def test_blocks_of_dequantize_linear_are_evaluated():
    q = np.random.default_rng(0).integers(-9, 9, (1, 4 * H, I)).astype("i1")
    scale = np.float16([[[0.5, 2, 4, 8]]]).repeat(2, 1) * np.float16([[[1], [3]]])
    node = make("DequantizeLinear", ["q", "s"], "W", axis=1, block_size=3 * H, output_dtype=FLOAT)
    got = from_onnx(model([node, lstm(("X", "W", "R"))], {"q": q, "s": scale, "R": arrays()["R"]}, opset=23))
    i, o, f, c = np.split((q * scale.repeat(3 * H, 1)[:, : 4 * H].astype("f4"))[0], 4)  # the last block is shorter
    np.testing.assert_array_equal(got["weights"]["weight_ih_l0"], np.concatenate([i, f, c, o]), strict=True)


def test_weights_are_found_in_the_graphs_around_and_in_branches(session):
    a = arrays()
    inner = h.make_graph([lstm(outputs=("y1",), name="deep")], "inner", [], [value("y1")], [tensor("B", a["B"])])
    other = h.make_graph([make("Identity", ["Z"], "y2")], "other", [], [value("y2")])
    middle = h.make_graph(
        [
            make("Transpose", ["rT"], "R", perm=[0, 2, 1]),
            h.make_node("If", ["yes"], ["y3"], then_branch=inner, else_branch=other),
        ],
        "middle",
        [],
        [value("y3")],
        [tensor("W", a["W"])],
    )
    last = h.make_graph([make("Identity", ["Z"], "y4")], "last", [], [value("y4")])
    nodes = [h.make_node("If", ["yes"], ["Y"], then_branch=middle, else_branch=last)]
    given = {"rT": a["R"].transpose(0, 2, 1), "Z": np.zeros((T, 1, B, H), "f4")}
    inputs = [value("X", (T, B, I)), value("yes", (), onnx.TensorProto.BOOL)]
    # The names W and B of the main graph are others: the nearest one counts.
    proto = model(nodes, given | {"B": np.zeros((1, 8 * H), "f4")}, inputs)
    same_as_plain(proto)
    same_as_plain(proto, "deep")
    same_as_plain(proto, "y1")
    proto.graph.initializer.pop()
    x = random(T, B, I)
    y = session(proto, X=x, yes=np.array(True))[0]
    np.testing.assert_allclose(run(from_onnx(proto), x)[0], joined(y), **CLOSE)


def test_weights_are_found_from_the_body_of_a_loop(session):
    a = arrays()
    body = h.make_graph(
        [lstm(("X", "W", "R", "B"), ("y",)), make("Identity", ["go"], "go2"), make("Identity", ["carried"], "c2")],
        "body",
        [value("n", (), 7), value("go", (), 9), value("carried", (1,))],
        [value("go2", (), 9), value("c2", (1,)), value("y")],
    )
    nodes = [constant("three", 3), constant("true", True), make("Identity", ["w"], "W")]
    nodes += [h.make_node("Loop", ["three", "true", "start"], ["end", "Y"], body=body)]
    given = {"w": a["W"], "R": a["R"], "B": a["B"], "start": np.zeros(1, "f4")}
    proto = model(nodes, given, outputs=("end", "Y"))
    same_as_plain(proto)
    x = random(T, B, I)
    np.testing.assert_allclose(run(from_onnx(proto), x)[0], joined(session(proto, X=x)[1][2]), **CLOSE)
    body.node[0].input[1] = "carried"
    nodes[-1] = h.make_node("Loop", ["three", "true", "start"], ["end", "Y"], body=body)
    proto = model(nodes, given)
    message = "W of node 'lstm' must be a constant: it depends on the input 'carried' of the subgraph 'body'"
    refuses(lambda: from_onnx(proto), ValueError, message, "known only when the model runs")


def function(inputs=("X", "W"), called="layer", nodes=None):
    a = arrays()
    size = onnx.AttributeProto(name="hidden_size", ref_attr_name="size", type=onnx.AttributeProto.INT)
    node = h.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], "inner")
    node.attribute.append(size)
    nodes = nodes or [constant("R", a["R"]), constant("B", a["B"]), node]
    return h.make_function("local", called, list(inputs), ["Y"], nodes, [h.make_opsetid("", 14)], ["size"])


def test_functions_are_followed_from_their_calls(session):
    a = arrays()
    first = h.make_node("layer", ["X", "W1"], ["Y"], "first", domain="local", size=H)
    second = h.make_node("layer", ["X", "W2"], ["Y2"], "second", domain="local", size=H)
    proto = model([first], {"W1": a["W"]}, functions=[function()])
    same_as_plain(proto)
    same_as_plain(proto, "inner")
    x = random(T, B, I)
    np.testing.assert_allclose(run(from_onnx(proto), x)[0], joined(session(proto, X=x)[0]), **CLOSE)
    proto = model([first, second], {"W1": a["W"], "W2": a["W"] + 1}, functions=[function()])
    same_as_plain(proto, "first/inner")
    got = from_onnx(proto, "second/inner")["weights"]["weight_ih_l0"]
    np.testing.assert_array_equal(got[:H], a["W"][0, :H] + 1)
    refuses(lambda: from_onnx(proto), ValueError, "2 LSTM nodes: 'first/inner', 'second/inner'")
    refuses(lambda: from_onnx(proto, "inner"), ValueError, "node must name one LSTM node of the model", "got 'inner'")
    wrong = h.make_node("layer", ["X", "W1"], ["Y"], "first", domain="local", size=H + 1)
    message = "W of node 'first/inner' must have shape (D, 4*H, I) = (1, 24, 4), got (1, 20, 4)"
    refuses(lambda: from_onnx(model([wrong], {"W1": a["W"]}, functions=[function()])), ValueError, message)


def test_a_function_that_nothing_calls_or_that_calls_itself():
    a = arrays()
    nodes = [constant(name, a[name]) for name in "WRB"] + [lstm(name="inner")]
    same_as_plain(model([make("Relu", ["X"], "Y")], functions=[function(("X",), nodes=nodes)]))
    proto = model([make("Relu", ["X"], "Y")], functions=[function()])
    message = "W of node 'layer/inner' must be a constant: it depends on the input 'W' of the function 'layer'"
    refuses(lambda: from_onnx(proto), ValueError, message)
    again = h.make_node("again", ["X"], ["Y"], domain="local")
    proto = model([again], functions=[function(("X",), "again", [again])])
    refuses(lambda: from_onnx(proto), ValueError, "model must not call its functions in a circle")


def test_a_weight_known_only_at_run_time_is_named():
    a = arrays()
    inputs = [value("X", (T, B, I)), value("w", (1, I, 4 * H))]
    nodes = [make("Transpose", ["w"], "W", perm=[0, 2, 1]), lstm()]
    message = "W of node 'lstm' must be a constant: it depends on the graph input 'w', which is known only when"
    given = {"R": a["R"], "B": a["B"]}
    refuses(lambda: from_onnx(model(nodes, given, inputs)), ValueError, message)
    nodes = [make("MatMul", ["w", "R"], "W"), lstm()]
    refuses(lambda: from_onnx(model(nodes, given, inputs)), ValueError, "it depends on the graph input 'w'")
    nodes = [make("Relu", ["R"], "W"), lstm()]
    message = "W of node 'lstm' must be a constant: 'W' is made by Relu, and only Cast, Concat, Constant"
    refuses(lambda: from_onnx(model(nodes, given)), ValueError, message)
    refuses(lambda: from_onnx(model([lstm()], given)), ValueError, "nothing in the model makes 'W'")
    nodes = [make("Identity", ["V"], "W"), make("Identity", ["W"], "V"), lstm()]
    refuses(
        lambda: from_onnx(model(nodes, given)), ValueError, "comes through more than 200 nodes, or depends on itself"
    )
    # An initializer that older files also list as an input is a constant.
    same_as_plain(model([lstm()], a, [value("X", (T, B, I)), value("W", (1, 4 * H, I))]))


def test_wrong_nodes_in_a_chain_are_named():
    a = arrays()
    for nodes, message in [
        ([make("Transpose", ["w"], "W", perm=[0, 1, 5])], "Transpose cannot make 'W'"),
        ([make("Concat", ["w", "R"], "W", axis=0)], "Concat cannot make 'W'"),
        ([make("Concat", ["w", "w"], "W", axis=9)], "Concat cannot make 'W'"),
        ([constant("s", [7, -1, 10**12]), make("Reshape", ["w", "s"], "W")], "Reshape cannot make 'W'"),
        ([make("Slice", ["w"], "W", starts=[0], ends=[1], axes=[8])], "Slice cannot make 'W'"),
        ([make("Cast", ["w"], "W", to=999)], "Cast cannot make 'W'"),
        ([make("Cast", ["w"], "W", to=onnx.TensorProto.COMPLEX64)], "'W' must hold real numbers, got complex64"),
        ([make("Identity", [], "W")], "Identity cannot make 'W' (its input is missing)"),
        ([make("Constant", [], "W", value_string="no")], "Constant cannot make 'W' (it holds no dense numbers)"),
        ([make("DequantizeLinear", ["w", "R"], "W")], "DequantizeLinear cannot make 'W' (scales of shape (1, 20, 5)"),
        ([make("DequantizeLinear", ["w", ""], "W")], "DequantizeLinear cannot make 'W' (its scale is missing)"),
        (
            [make("DequantizeLinear", ["w", "R"], "W", block_size=1)],
            "DequantizeLinear cannot make 'W' (blocks of scales",
        ),
    ]:
        proto = model([*nodes, lstm()], {"w": a["W"], "R": a["R"], "B": a["B"]})
        refuses(lambda proto=proto: from_onnx(proto), ValueError, "W of node 'lstm' must be a constant: " + message)


def test_a_chain_that_doubles_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("fastcell.weights.onnx_graph.MOST_ELEMENTS", 6000)
    doubled = [make("Concat", [f"w{k}", f"w{k}"], f"w{k + 1}", axis=0) for k in range(60)]
    proto = model([*doubled, lstm(("X", "w60", "R"))], {"w0": np.zeros(100, "i1"), "R": arrays()["R"]})
    refuses(lambda: from_onnx(proto), ValueError, "Concat cannot make 'w6' (more than 6000 elements)")


# Which node


def test_one_of_several_nodes_is_picked_by_name_or_by_output():
    a = arrays()
    given = a | {f"{k}2": x for k, x in arrays(seed=5).items()}
    nodes = [lstm(), lstm(("X", "W2", "R2", "B2"), ("Y2",), ""), make("Relu", ["Y"], "Z")]
    proto = model(nodes, given)
    refuses(lambda: from_onnx(proto), ValueError, "node must name one of the model's 2 LSTM nodes: 'lstm', 'Y2'")
    same_as_plain(proto, "lstm")
    same_as_plain(proto, "Y")
    same_as_plain(proto, "Y2", seed=5)
    refuses(lambda: from_onnx(proto, "gru"), ValueError, "of the model: 'lstm', 'Y2', got 'gru'")
    refuses(lambda: from_onnx(proto, ""), ValueError, "of the model: 'lstm', 'Y2', got ''")
    refuses(lambda: from_onnx(proto, 1), TypeError, "node must be a str, a list of them, or None, got int")
    proto = model([lstm(), lstm(("X", "W2", "R2", "B2"), ("Y2",))], given)
    refuses(lambda: from_onnx(proto), ValueError, "2 LSTM nodes: 'Y', 'Y2'")
    same_as_plain(proto, "Y2", seed=5)
    refuses(lambda: from_onnx(proto, "lstm"), ValueError, "of the model: 'Y', 'Y2', got 'lstm'")


def test_a_model_without_a_node_tells_what_it_has():
    nodes = [make("Relu", ["X"], "a"), make("GRU", ["a", "W", "R"], "Y"), make("Relu", ["Y"], "b")]
    refuses(lambda: from_onnx(model(nodes)), ValueError, "model must have an LSTM node, got a model of GRU, Relu")
    refuses(lambda: from_onnx(model([])), ValueError, "model must have an LSTM node, got a model of no node at all")
    foreign = h.make_node("LSTM", ["X", "W", "R"], ["Y"], domain="com.example")
    refuses(lambda: from_onnx(model([foreign], arrays())), ValueError, "got a model of LSTM")
    named = h.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], domain="ai.onnx", hidden_size=H)
    same_as_plain(model([named], arrays()))


# Quantised models

AS_INTEGERS = 0.03
"""x and h, below 3 here, are rounded to 8 bits too, by each library in its own way, to steps of about a hundredth."""


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_dynamic_quantize_lstm_is_close_to_onnxruntime(session, dtype, per_channel, directions):
    D, low = directions, -128 if dtype == "int8" else 0
    # onnxruntime adds pairs of products in 16 bits on an x86 CPU without VNNI: of int8 weights beyond 63 they saturate
    most = 63 if low else 127
    a, given = arrays(D), {}
    meant = {}
    for letter in "WR":
        parts = [quantised(a[letter][d].T, 1 if per_channel else None, low, most) for d in range(D)]
        q, scale, zero = (np.stack(part) for part in zip(*parts, strict=True))
        given |= {letter: q, f"{letter}s": scale, f"{letter}z": zero}
        steps = scale.reshape(D, 1, -1) * (q.astype("f4") - zero.reshape(D, 1, -1))
        meant[letter] = steps.transpose(0, 2, 1)
        assert q.shape == (D, I if letter == "W" else H, 4 * H)
        np.testing.assert_allclose(meant[letter], a[letter], atol=0.02)
    inputs = ["X", "W", "R", "B", "", "", "", "P", "Ws", "Wz", "Rs", "Rz"]
    attributes = {"hidden_size": H, "direction": "bidirectional" if D == 2 else "forward"}
    node = h.make_node("DynamicQuantizeLSTM", inputs, ["Y"], "q", domain="com.microsoft", **attributes)
    proto = model([node], given | {"B": a["B"], "P": a["P"]})
    got = widened(from_onnx(proto))
    well_formed(got)
    plain = from_onnx(model([lstm(WITH_PEEPHOLES, **attributes)], a | meant))
    assert {k: v for k, v in got.items() if k != "weights"} == {k: v for k, v in plain.items() if k != "weights"}
    for name, x in plain["weights"].items():
        np.testing.assert_array_equal(got["weights"][name], x, strict=True)
    x = random(T, B, I)
    theirs = joined(session(proto, X=x)[0])
    assert np.abs(run(got, x)[0] - theirs).max() < AS_INTEGERS
    small, wide = fc.LSTM.from_onnx(proto), fc.LSTM.from_onnx(proto, precision="float32")
    assert (small.precision, wide.precision) == ("int8", "float32")
    np.testing.assert_allclose(small(x)[0], theirs, rtol=0, atol=AS_INTEGERS)
    np.testing.assert_allclose(wide(x)[0], theirs, rtol=0, atol=AS_INTEGERS)
    assert np.abs(small(x)[0]).max() > 0.3
    for letter, kind in (("W", "weight_ih"), ("R", "weight_hh")):
        for d, end in enumerate(["_l0", "_l0_reverse"][:D]):
            held = small.quantized()[kind + end]
            integers = given[letter][d].T.astype(int) - given[f"{letter}z"][d].reshape(-1, 1)
            np.testing.assert_array_equal(held.values, in_our_order(integers).astype("i1"), strict=True)
            scales = np.broadcast_to(given[f"{letter}s"][d], 4 * H)
            np.testing.assert_array_equal(held.scale, in_our_order(scales), strict=True)


def in_our_order(x):
    i, o, f, c = np.split(x, 4)
    return np.concatenate([i, f, c, o])


def test_integers_that_int8_cannot_hold_are_rounded_anew():
    """A zero point that leaves more than 8 bits, or a scale that is none."""
    q = {"W": np.full((1, I, 4 * H), 255, "u1"), "R": np.full((1, H, 4 * H), 3, "u1"), "s": np.full(1, 0.01, "f4")}
    q |= {"z": np.zeros(1, "u1"), "half": np.full(1, 128, "u1"), "none": np.zeros(1, "f4")}

    def read(zero, scale="s"):
        inputs = ["X", "W", "R", "", "", "", "", "", scale, zero, "s", "half"]
        proto = model([h.make_node("DynamicQuantizeLSTM", inputs, ["Y"], "q", domain="com.microsoft")], q)
        return from_onnx(proto), fc.LSTM.from_onnx(proto)

    got, lstm = read("z")
    well_formed(widened(got))
    assert lstm.precision == "int8"
    assert (lstm.state_dict()["weight_ih_l0"] == np.float32(255) * np.float32(0.01)).all()
    assert list(lstm.quantized()["weight_hh_l0"].values[0]) == [-125] * H
    assert not isinstance(lstm.quantized()["weight_ih_l0"], Quantized)
    got, lstm = read("half")
    assert (got["weights"]["weight_ih_l0"].values == 127).all()
    got, lstm = read("half", "none")
    assert (got["weights"]["weight_ih_l0"] == 0).all()
    assert lstm.precision == "int8"


def test_integers_are_saved_as_they_are(tmp_path):
    pytest.importorskip("safetensors", reason="save needs it: pip install 'fastcell[weights]'")
    q = {
        f"{name}": np.random.default_rng(n).integers(-128, 128, (1, n, 4 * H), "i1") for name, n in (("W", I), ("R", H))
    }
    q |= {"s": random(1, 4 * H) ** 2 + np.float32(0.01), "z": np.zeros((1, 4 * H), "i1")}
    inputs = ["X", "W", "R", "", "", "", "", "", "s", "z", "s", "z"]
    proto = model([h.make_node("DynamicQuantizeLSTM", inputs, ["Y"], "q", domain="com.microsoft")], q)
    lstm = fc.LSTM.from_onnx(proto)
    lstm.save(tmp_path / "a.safetensors")
    again = fc.LSTM.load(tmp_path / "a.safetensors")
    assert again.precision == "int8"
    for name in ("weight_ih_l0", "weight_hh_l0"):
        for got, want in zip(again.quantized()[name], from_onnx(proto)["weights"][name], strict=True):
            np.testing.assert_array_equal(got, want, strict=True)
    np.testing.assert_array_equal(again(random(T, B, I))[0], lstm(random(T, B, I))[0], strict=True)


@pytest.mark.filterwarnings("ignore")  # onnxruntime's own script warns in its own ways
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_model_from_onnxruntime_s_quantiser(session, tmp_path, per_channel):
    quantization = pytest.importorskip("onnxruntime.quantization", reason="it makes the model that is read")
    onnx.save(model([lstm()], arrays()), tmp_path / "plain.onnx")
    quantization.quantize_dynamic(
        tmp_path / "plain.onnx", tmp_path / "small.onnx", per_channel=per_channel, op_types_to_quantize=["LSTM"],
        reduce_range=True,  # as above
    )  # fmt: skip
    small = onnx.load(tmp_path / "small.onnx")
    assert "DynamicQuantizeLSTM" in [n.op_type for n in small.graph.node]
    got = widened(from_onnx(tmp_path / "small.onnx"))
    well_formed(got)
    expected = from_onnx(model([lstm()], arrays()))
    for name, x in expected["weights"].items():
        assert got["weights"][name].shape == x.shape
        np.testing.assert_allclose(got["weights"][name], x, rtol=0, atol=0.02)
    x = random(T, B, I)
    theirs = joined(session(small, X=x)[0])
    np.testing.assert_allclose(run(got, x)[0], theirs, rtol=0, atol=AS_INTEGERS)
    np.testing.assert_allclose(fc.LSTM.from_onnx(tmp_path / "small.onnx")(x)[0], theirs, rtol=0, atol=AS_INTEGERS)


def test_wrong_inputs_of_dynamic_quantize_lstm():
    q = {"W": np.ones((1, I, 4 * H), "i1"), "R": np.ones((1, H, 4 * H), "i1")}
    q |= {"s": np.ones(1, "f4"), "z": np.zeros(1, "i1"), "s4": np.ones((1, 4), "f4"), "f": random(1, I, 4 * H)}
    q |= {"two": np.ones((2, I, 4 * H), "i1"), "s0": np.float32(1.0)}

    def read(w, scale, zero="z"):
        inputs = ["X", w, "R", "", "", "", "", "", scale, zero, "s", "z"]
        return from_onnx(model([h.make_node("DynamicQuantizeLSTM", inputs, ["Y"], "q", domain="com.microsoft")], q))

    assert (read("W", "s")["weights"]["weight_ih_l0"].values == 1).all()
    assert read("W", "s0", "")["bias"] is False
    refuses(lambda: read("f", "s"), ValueError, "W of node 'q' must hold int8 or uint8, got float32")
    refuses(lambda: read("W", ""), ValueError, "W_scale of node 'q' is missing")
    refuses(lambda: read("W", "s4"), ValueError, "W_scale of node 'q' must have shape (D,) or (D, 4*H), got (1, 4)")
    refuses(
        lambda: read("two", "s"), ValueError, "W of node 'q' must have shape (D, I or H, 4*H) = (1, 4, 20), got (2, 4,"
    )


# Files


def test_a_model_is_read_from_a_path_bytes_and_a_file(tmp_path):
    proto = model([lstm()], arrays())
    data = proto.SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    for given in (path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), proto):
        same_as_plain(given)
    with path.open("rb") as file:
        same_as_plain(file)
    assert proto.SerializeToString() == data


def test_external_data_is_read_beside_the_path(tmp_path):
    path = tmp_path / "model.onnx"
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(model([lstm()], arrays()), path, **options)
    assert (tmp_path / "weights.bin").stat().st_size >= 4 * 4 * H * (I + H)
    same_as_plain(path)
    with path.open("rb") as file:
        same_as_plain(file)
    same_as_plain(onnx.load(path))
    message = "is in the file 'weights.bin': give the model's path, or load it whole"
    refuses(
        lambda: from_onnx(path.read_bytes()), ValueError, "W of node 'lstm' must be a constant: tensor 'W'", message
    )
    (tmp_path / "weights.bin").write_bytes(b"short")
    refuses(
        lambda: from_onnx(path), ValueError, "tensor 'W' cannot be read from the file 'weights.bin' (it has 5 bytes)"
    )
    (tmp_path / "weights.bin").unlink()
    refuses(lambda: from_onnx(path), ValueError, "tensor 'W' cannot be read from the file 'weights.bin'")


def test_external_data_stays_in_its_folder(tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 4 * H * I))
    (tmp_path / "in").mkdir()
    proto = model([lstm()], arrays())
    W = proto.graph.initializer[0]
    W.ClearField("raw_data")
    W.data_location = onnx.TensorProto.EXTERNAL
    W.external_data.add(key="location", value="../secret.bin")
    (tmp_path / "in" / "model.onnx").write_bytes(proto.SerializeToString())
    refuses(
        lambda: from_onnx(tmp_path / "in" / "model.onnx"), ValueError, "cannot be read from the file '../secret.bin'"
    )


def test_what_is_no_model_is_refused(tmp_path):
    data = model([lstm()], arrays()).SerializeToString()
    refuses(
        lambda: from_onnx(data[:-7]), ValueError, f"model must be an ONNX file, got {len(data) - 7} bytes that do not"
    )
    refuses(lambda: from_onnx(b""), ValueError, "model must be an ONNX file, got 0 bytes without a graph")
    refuses(
        lambda: from_onnx(b"\xff" * 100), ValueError, "model must be an ONNX file, got 100 bytes that do not decode"
    )
    refuses(lambda: from_onnx(3), TypeError, "model must be a path, bytes, a file or an onnx.ModelProto, got int")
    refuses(lambda: from_onnx(io.StringIO("x")), TypeError, "model must be a file opened for bytes, got one of str")
    refuses(lambda: from_onnx(tmp_path / "none.onnx"), FileNotFoundError, "none.onnx")


def test_a_header_that_claims_too_much_allocates_nothing():
    import tracemalloc

    for dims in ([1, 4 * 10**9, 10**9], [10**18], [1, 4 * H, I + 1], [-1, 4 * H, I], [2**62, 2**62]):
        proto = model([lstm()], arrays())
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)
        tracemalloc.start()
        refuses(lambda proto=proto: from_onnx(proto), ValueError, "W of node 'lstm' must be a constant: tensor 'W'")
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


def test_flipped_bits_and_cut_files_give_a_model_or_a_value_error():
    data = model([constant("a", [0]), make("Identity", ["W"], "V"), lstm(("X", "V", "R", "B"))], arrays())
    data = data.SerializeToString()
    rng = np.random.default_rng(draws.SEED)
    # Most of the bytes are weights; the words around them are what can mislead.
    start = [m.start() for m in re.finditer(rb"lstm|Identity|Constant|hidden_size|W|X|Y|main", data)]
    outcomes, told = set(), []
    for n in range(1500):
        changed = bytearray(data)
        near = int(rng.choice(start)) + int(rng.integers(-12, 12)) if n % 2 else int(rng.integers(len(data)))
        changed[near % len(data)] ^= 1 << int(rng.integers(8))
        if n % 5 == 0:
            del changed[int(rng.integers(len(data))) :]
        try:
            got = from_onnx(bytes(changed))
        except ValueError as error:
            outcomes.add("error")
            told.append(str(error))
        else:
            outcomes.add("read")
            assert got["weights"]["weight_ih_l0"].ndim == 2
    assert outcomes == {"error", "read"}
    assert min(map(len, told)) > 20


# What torch writes


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("folding", [True, False])
def test_every_layer_of_a_model_that_torch_exports(torch, session, folding):
    torch.manual_seed(1)
    module = torch.nn.LSTM(I, H, 2, bidirectional=True).eval()
    file, x = io.BytesIO(), random(T, B, I)
    torch.onnx.export(
        module,
        (torch.from_numpy(x),),
        file,
        dynamo=False,
        do_constant_folding=folding,
        input_names=["X"],
        opset_version=14,
    )
    proto = onnx.load_from_string(file.getvalue())
    nodes = [n for n in proto.graph.node if n.op_type == "LSTM"]
    assert len(nodes) == 2
    y = x
    for k, node in enumerate(nodes):
        got = from_onnx(proto, [node.name])
        for name, w in got["weights"].items():
            expected = module.state_dict()[name.replace("_l0", f"_l{k}")].numpy()
            np.testing.assert_array_equal(w, expected, strict=True)
        y, _ = run(got, y)
    np.testing.assert_allclose(y, session(proto, X=x)[0], **CLOSE)
    for named in (None, nodes[0].name, [node.name for node in nodes]):
        got = from_onnx(proto, named)
        well_formed(got)
        assert got["num_layers"] == 2
        for name, w in module.state_dict().items():
            np.testing.assert_array_equal(got["weights"][name], w.numpy(), strict=True)
        np.testing.assert_allclose(run(got, x)[0], session(proto, X=x)[0], **CLOSE)
