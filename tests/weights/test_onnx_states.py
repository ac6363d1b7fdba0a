"""What an ONNX model's LSTM starts from, and the inputs that are left to a call, against onnxruntime."""

import warnings

import numpy as np
import pytest

import fastcell as fc
from fastcell.weights import from_onnx
from tests.helpers.imported import CLOSE, B, H, I, T, random, refuses, well_formed

onnx = pytest.importorskip("onnx", reason="from_onnx needs onnx: pip install 'fastcell[weights]'")

from tests.helpers.onnx_models import arrays, constant, joined, lstm, make, model, value  # noqa: E402, once onnx is there

STATES = ("X", "W", "R", "B", "", "h", "c")
FLOAT, INT32 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32


def start(D=1, B=1, dtype="float32"):
    return random(D, B, H, dtype=dtype, seed=7), random(D, B, H, dtype=dtype, seed=8)


def agrees(session, proto, x, D=1, **inputs):
    """An LSTM that answers as onnxruntime does."""
    got = from_onnx(proto)
    well_formed(got, more=[*(["batch_first"] if "batch_first" in got else []), "initial_state"])
    for part in got["initial_state"]:
        assert part.dtype == np.float32
        assert part.shape == (D, H)
    cell = fc.LSTM.from_onnx(proto)
    y, h, c = session(proto, X=x, **inputs)
    ours, (last_h, last_c) = cell(x)
    wanted = joined(y)
    np.testing.assert_allclose(ours, wanted.transpose(1, 0, 2) if cell.batch_first else wanted, **CLOSE)
    np.testing.assert_allclose(last_h, h, **CLOSE)
    np.testing.assert_allclose(last_c, c, **CLOSE)
    assert ours.dtype == np.float32
    return cell


OUTPUTS = ("Y", "Yh", "Yc")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("rows", [1, B])
def test_constant_initial_states_are_taken(session, direction, rows):
    D = 2 if direction == "bidirectional" else 1
    h0, c0 = start(D)
    given = arrays(D) | {"h": np.repeat(h0, rows, 1), "c": np.repeat(c0, rows, 1)}
    proto = model([lstm(STATES, OUTPUTS, direction=direction)], given, outputs=OUTPUTS, shape=(T, rows, I))
    cell = agrees(session, proto, random(T, rows, I), D)
    np.testing.assert_array_equal(cell.initial_state[0], h0[:, 0], strict=True)
    np.testing.assert_array_equal(cell.initial_state[1], c0[:, 0], strict=True)
    # another number of rows than the file's
    np.testing.assert_allclose(cell(random(T, 5, I)[:, :1])[0], cell(random(T, 5, I))[0][:, :1], **CLOSE)


@pytest.mark.parametrize("left_out", ["h", "c"])
def test_one_of_the_two(session, left_out):
    h0, c0 = start()
    names = [name if name != left_out else "" for name in STATES]
    proto = model([lstm(names, OUTPUTS)], arrays() | {"h": h0, "c": c0}, outputs=OUTPUTS, shape=(T, 1, I))
    agrees(session, proto, random(T, 1, I))


def test_zeros_are_no_initial_state(session):
    zeros = {"h": np.zeros((1, B, H), "f4"), "c": np.zeros((1, B, H), "f4")}
    got = from_onnx(model([lstm(STATES)], arrays() | zeros))
    well_formed(got)
    assert fc.LSTM.from_onnx(model([lstm(STATES)], arrays() | zeros)).initial_state is None


def spread(how, opset):
    """Nodes that spread h (1, 1, H) and c (1, H) over the rows of X, as PyTorch's exporters write them."""
    size = [make("Shape", ["X"], "s"), constant("one", [1]), make("Gather", ["s", "one"], "rows", axis=0)]
    size += [constant("left", [-1]), constant("zero", [0]), make("Concat", ["one", "rows", "one"], "over", axis=0)]
    if how == "Tile":
        nodes = [make("Tile", ["h_", "over"], "h"), make("Tile", ["c_", "over"], "c")]
    elif how == "Expand":
        nodes = [make("Expand", ["h_", "over"], "h"), make("Expand", ["c_", "over"], "c")]
    elif how == "Where":  # the older exporter's expand(-1, B, -1)
        nodes = [make("Concat", ["left", "rows", "left"], "asked", axis=0), make("Shape", ["asked"], "rank")]
        nodes += [make("ConstantOfShape", ["rank"], "ones", value=onnx.helper.make_tensor("", 7, [1], [1]))]
        nodes += [constant("minus", -1), make("Mul", ["ones", "minus"], "minuses")]
        nodes += [make("Equal", ["asked", "minuses"], "kept"), make("Where", ["kept", "ones", "asked"], "shape")]
        nodes += [make("Expand", ["h_", "shape"], "h"), make("Expand", ["c_", "shape"], "c")]
    elif how == "Shape's part":  # the newer exporter's
        size = [make("Shape", ["X"], "rows", start=1, end=2), constant("one", [1])]
        nodes = [make("Concat", ["one", "rows", "one"], "over", axis=0)]
        nodes += [make("Expand", ["h_", "over"], "h"), make("Tile", ["c_", "over"], "c")]
    elif how == "rows first":  # (1, H) over the rows, then an axis in front
        nodes = [make("Concat", ["rows", "one"], "two", axis=0), make("Squeeze", ["h_", "zero"], "h1")]
        nodes += [make("Expand", ["h1", "two"], "h2"), make("Unsqueeze", ["h2", "zero"], "h")]
        nodes += [make("Squeeze", ["c_", "zero"], "c1"), make("Tile", ["c1", "two"], "c2")]
        nodes += [make("Unsqueeze", ["c2", "zero"], "c")]
    else:  # a number alone
        nodes = [constant("H", [H]), make("Concat", ["one", "rows", "H"], "all", axis=0)]
        tensor = onnx.helper.make_tensor("", FLOAT, [1], [0.5])
        nodes += [make("ConstantOfShape", ["all"], "h", value=tensor), make("Expand", ["c_", "over"], "c")]
    return [*size, *nodes]


@pytest.mark.parametrize("how", ["Tile", "Expand", "Where", "Shape's part", "rows first", "ConstantOfShape"])
@pytest.mark.parametrize("dynamic", [True, False], ids=["any number of rows", "one number"])
def test_states_spread_over_the_rows_are_taken(session, how, dynamic):
    h0, c0 = start()
    given = arrays() | {"h_": h0, "c_": c0}
    nodes = [*spread(how, 15), lstm(STATES, OUTPUTS)]
    proto = model(nodes, given, outputs=OUTPUTS, opset=15, shape=(T, "rows", I) if dynamic else (T, B, I))
    cell = agrees(session, proto, random(T, B, I))
    np.testing.assert_array_equal(cell.initial_state[1], c0[:, 0], strict=True)
    if dynamic:
        agrees(session, proto, random(T, 1, I))


def test_a_state_over_a_batch_of_a_size_in_the_file(session):
    h0, c0 = start()
    nodes = [constant("by", [1, B, 1]), make("Tile", ["h_", "by"], "h"), make("Expand", ["c_", "by"], "c")]
    proto = model([*nodes, lstm(STATES, OUTPUTS)], arrays() | {"h_": h0, "c_": c0}, outputs=OUTPUTS)
    agrees(session, proto, random(T, B, I))


def test_constant_nodes_hold_states_too(session):
    h0, c0 = start()
    nodes = [constant("h", h0), constant("c", c0)]
    proto = model([*nodes, lstm(STATES, OUTPUTS)], arrays(), outputs=OUTPUTS, shape=(T, 1, I))
    agrees(session, proto, random(T, 1, I))


def test_half_precision_and_layout():
    h0, c0 = start(2)
    given = arrays(2) | {"h": h0, "c": c0}
    wanted = from_onnx(model([lstm(STATES, direction="bidirectional")], given))["initial_state"]
    turned = arrays(2) | {"h": h0.transpose(1, 0, 2).copy(), "c": c0.transpose(1, 0, 2).copy()}
    got = from_onnx(model([lstm(STATES, direction="bidirectional", layout=1)], turned))
    well_formed(got, more=["batch_first", "initial_state"])
    for one, other in zip(got["initial_state"], wanted, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    half = {name: x.astype("f2") for name, x in given.items()}
    got = from_onnx(model([lstm(STATES, direction="bidirectional")], half))["initial_state"]
    for one, other in zip(got, (h0, c0), strict=True):
        np.testing.assert_array_equal(one, other[:, 0].astype("f2").astype("f4"), strict=True)


def test_dynamic_quantize_lstm_has_them_too(session):
    q = {"Wq": np.ones((1, I, 4 * H), "i1"), "Rq": np.ones((1, H, 4 * H), "i1")}
    q |= {"s": np.full(1, 0.01, "f4"), "z": np.zeros(1, "i1")}
    h0, c0 = start()
    inputs = ["X", "Wq", "Rq", "", "", "h", "c", "", "s", "z", "s", "z"]
    node = onnx.helper.make_node(
        "DynamicQuantizeLSTM", inputs, list(OUTPUTS), "q", domain="com.microsoft", hidden_size=H
    )
    proto = model([node], q | {"h": h0, "c": c0}, outputs=OUTPUTS, shape=(T, 1, I))
    got = from_onnx(proto)
    np.testing.assert_array_equal(got["initial_state"][0], h0[:, 0], strict=True)
    x = random(T, 1, I)
    for precision in (None, "float32"):
        lstm = fc.LSTM.from_onnx(proto, precision=precision)
        assert lstm.precision == (precision or "int8")
        np.testing.assert_allclose(lstm(x)[0], joined(session(proto, X=x)[0]), rtol=0, atol=0.03)


def test_an_input_of_the_model_is_a_call_s_state(session):
    h0, c0 = start(B=B)
    inputs = [value("X", (T, B, I)), value("h", (1, B, H)), value("c_", (2, B, H))]
    nodes = [constant("s", [1]), constant("e", [2]), constant("a", [0]), make("Slice", ["c_", "s", "e", "a"], "c")]
    proto = model([*nodes, lstm(STATES)], arrays(), inputs)
    cell = fc.LSTM.from_onnx(proto)  # without a warning
    assert cell.initial_state is None
    y = session(proto, X=random(T, B, I), h=h0, c_=np.concatenate([h0, c0]))[0]
    np.testing.assert_allclose(cell(random(T, B, I), (h0, c0))[0], joined(y), **CLOSE)


def test_a_state_that_other_nodes_compute_is_warned_of():
    given = arrays() | {"M": random(I, H), "zero": np.array([0])}
    nodes = [make("ReduceMean", ["X"], "m", axes=[0]), make("MatMul", ["m", "M"], "mm")]
    nodes += [make("Unsqueeze", ["mm", "zero"], "h")]
    told = "initial_h of node 'lstm' is left out, as it is no constant .* give it in each call as state="
    with pytest.warns(UserWarning, match=told):
        got = from_onnx(model([*nodes, lstm(("X", "W", "R", "B", "", "h"))], given))
    well_formed(got)
    told = "initial_c of node 'lstm' is left out, as it is no constant .*'c' is made by Tanh"
    h0, c0 = start()
    with pytest.warns(UserWarning, match=told):
        got = from_onnx(model([make("Tanh", ["c_"], "c"), lstm(STATES)], arrays() | {"h": h0, "c_": c0}))
    np.testing.assert_array_equal(got["initial_state"][0], h0[:, 0], strict=True)
    assert not got["initial_state"][1].any()
    nodes = [lstm(outputs=OUTPUTS), lstm(("Y2", "W", "R", "B", "", "Yh", ""), ("Z",), "d")]
    proto = model(nodes, arrays(), [value("X", (T, B, I)), value("Y2", (T, B, I))])
    with pytest.warns(UserWarning, match="initial_h of node 'd' is left out"):  # a decoder's, from an encoder
        from_onnx(proto, "d")


def test_rows_that_differ_are_warned_of():
    h0, c0 = start(B=B)
    with pytest.warns(UserWarning, match="is left out, as its rows differ: give it in each call as state=") as caught:
        got = from_onnx(model([lstm(STATES)], arrays() | {"h": h0, "c": c0}))
    assert [str(each.message).partition(" of ")[0] for each in caught] == ["initial_h", "initial_c"]
    well_formed(got)


def test_a_state_that_does_not_fit_is_an_error():
    h0, c0 = start()
    for wrong in (h0[0], h0[..., 1:], np.concatenate([h0, h0]), h0[:, :0]):
        proto = model([lstm(STATES)], arrays() | {"h": wrong, "c": c0})
        message = f"initial_h of node 'lstm' must have shape (D, B, H) = (1, B, 5), got {wrong.shape}"
        refuses(lambda proto=proto: from_onnx(proto), ValueError, message)
    proto = model([lstm(STATES)], arrays() | {"h": h0.astype("i4"), "c": c0})
    refuses(lambda: from_onnx(proto), ValueError, "initial_h of node 'lstm' must hold float16", "got int32")
    proto = model([lstm(STATES)], arrays() | {"c": c0})
    refuses(lambda: from_onnx(proto), ValueError, "initial_h of node 'lstm' is missing", "makes 'h'")


def test_a_few_bytes_that_ask_for_any_size_allocate_nothing():
    import tracemalloc

    for op in ("Expand", "Tile", "ConstantOfShape", "Mul"):
        nodes = [constant("n", [1, 10**12, H]), make(op, ["n"] if op == "ConstantOfShape" else ["h_", "n"], "h")]
        if op == "Mul":
            nodes = [make("Mul", ["h1", "h2"], "h")]
        given = arrays() | {"h_": start()[0], "c": start()[1], "h1": np.ones((1, 2**14, 1), "f4")}
        given["h2"] = np.ones((2**14, 1, 1), "f4")
        tracemalloc.start()
        with pytest.warns(UserWarning, match="is none of up to 16777216 elements"):
            from_onnx(model([*nodes, lstm(STATES)], given))
        assert tracemalloc.get_traced_memory()[1] < 4e6
        tracemalloc.stop()


# Lengths


def test_constant_lengths_are_warned_of(session):
    inputs = ("X", "W", "R", "B", "lengths")
    proto = model([lstm(inputs)], arrays() | {"lengths": np.array([6, 2, 3], "i4")})
    told = r"sequence_lens of node 'lstm', \[6, 2, 3\], is left out: give it in each call as lengths="
    with pytest.warns(UserWarning, match=told):
        cell = fc.LSTM.from_onnx(proto)
    x = random(T, B, I)
    np.testing.assert_allclose(cell(x, lengths=[6, 2, 3])[0], joined(session(proto, X=x)[0]), **CLOSE)


def test_other_lengths():
    inputs = ("X", "W", "R", "B", "lengths")
    graph = [value("X", (T, B, I)), value("n", (B,), INT32)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_onnx(model([make("Identity", ["n"], "lengths"), lstm(inputs)], arrays(), graph))
        nodes = [constant("0", 0), constant("1", [1]), make("Shape", ["X"], "s"), make("Gather", ["s", "0"], "t")]
        nodes += [make("Gather", ["s", "1"], "b"), make("Expand", ["t", "b"], "all")]
        nodes += [make("Cast", ["all"], "lengths", to=INT32)]
        from_onnx(model([*nodes, lstm(inputs)], arrays()))  # all steps of x
    nodes = [make("ReduceSum", ["n"], "lengths"), lstm(inputs)]
    told = "sequence_lens of node 'lstm' is left out, as it is no constant .* give it in each call as lengths="
    with pytest.warns(UserWarning, match=told):
        from_onnx(model(nodes, arrays(), graph))


# Rows first


@pytest.mark.parametrize("before", [[], ["Identity"], ["Dropout", "Cast"]])
@pytest.mark.parametrize("dynamic", [True, False])
def test_a_transpose_of_the_graph_s_input_is_batch_first(session, before, dynamic):
    nodes, name = [], "X"
    for k, op in enumerate(before):
        nodes.append(make(op, [name], f"x{k}", **({"to": FLOAT} if op == "Cast" else {})))
        name = f"x{k}"
    nodes += [make("Transpose", [name], "turned", perm=[1, 0, 2])]
    h0, c0 = start()
    proto = model(
        [*nodes, lstm(("turned", *STATES[1:]), OUTPUTS)], arrays() | {"h": h0, "c": c0}, outputs=OUTPUTS,
        shape=("rows", "steps", I) if dynamic else (1, T, I),
    )  # fmt: skip
    cell = agrees(session, proto, random(1, T, I))
    assert cell.batch_first is True


def test_other_nodes_in_front_are_as_they_were():
    def read(*nodes, shape=(T, B, I), **attributes):
        return from_onnx(model([*nodes, lstm(("x", "W", "R", "B"), **attributes)], arrays(), shape=shape))

    turn = make("Transpose", ["X"], "x", perm=[1, 0, 2])
    assert "batch_first" not in read(make("Identity", ["X"], "x"))
    assert "batch_first" not in read(make("Transpose", ["X"], "y", perm=[1, 0, 2]), make(
        "Transpose", ["y"], "x", perm=[1, 0, 2]))  # fmt: skip
    assert "batch_first" not in read(make("Transpose", ["X"], "x", perm=[2, 0, 1]), shape=(B, I, T))
    assert "batch_first" not in read(make("Relu", ["X"], "y"), make("Transpose", ["y"], "x", perm=[1, 0, 2]))
    assert "batch_first" not in read(turn, layout=1)
    assert read(make("Identity", ["X"], "x"), layout=1)["batch_first"] is True


def test_the_command_line_starts_from_the_file_s_state(session, tmp_path):
    pytest.importorskip("tqdm", reason="the command needs tqdm")
    from fastcell.__main__ import main

    h0, c0 = start()
    proto = model([lstm(STATES)], arrays() | {"h": h0, "c": c0}, shape=(T, 1, I))
    onnx.save(proto, tmp_path / "w.onnx")
    np.save(tmp_path / "x.npy", random(T, 1, I))
    assert main(["lstm", str(tmp_path / "x.npy"), "--weights", str(tmp_path / "w.onnx"), "-o",
                 str(tmp_path / "y.npy")]) == 0  # fmt: skip
    got = np.load(tmp_path / "y.npy")
    assert got.shape == (T, 1, H)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, joined(session(proto, X=random(T, 1, I))[0]), **CLOSE)
