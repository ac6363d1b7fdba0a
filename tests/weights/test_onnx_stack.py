"""ONNX LSTM nodes that follow each other become the layers of one LSTM, against onnxruntime."""

import io

import numpy as np
import pytest

import fastcell as fc
from fastcell.weights import from_onnx
from tests.helpers.imported import CLOSE, B, H, I, T, random, refuses, run, well_formed, widened

onnx = pytest.importorskip("onnx", reason="from_onnx needs onnx: pip install 'fastcell[weights]'")

from tests.helpers.onnx_models import arrays, constant, joined, lstm, make, model, value  # noqa: E402, once onnx is there


def stacked(layers, D=1, between="legacy", shape=(T, B, I), direction=None, first_rows=False, states=False):
    """A model of so many layers as PyTorch's exporters write it; its output is (T, B, D * H)."""
    direction = direction or ("bidirectional" if D == 2 else "forward")
    nodes, given = [constant("one", [1]), constant("same", [0, 0, -1])], {}
    x = "X"
    if first_rows:
        nodes.append(make("Transpose", ["X"], "XT", perm=[1, 0, 2]))
        x = "XT"
    for k in range(layers):
        a = arrays(D, seed=k)
        if k:
            a["W"] = random(D, 4 * H, D * H, seed=k)
        given |= {f"{name}{k}": part for name, part in a.items()}
        inputs = [x, f"W{k}", f"R{k}", f"B{k}"]
        if states:
            given |= {f"h{k}": random(D, 1, H, seed=20 + k), f"c{k}": random(D, 1, H, seed=30 + k)}
            inputs += ["", f"h{k}", f"c{k}"]
        nodes += [lstm(inputs, (f"y{k}", f"hn{k}", f"cn{k}"), f"lstm{k}", direction=direction)]
        nodes += BETWEEN[between](f"y{k}", f"out{k}", D)
        x = f"out{k}"
    nodes += [make("Transpose", [x], "Y", perm=[1, 0, 2])] if first_rows else [make("Identity", [x], "Y")]
    shape = [n if n not in (T, B) else (B if n == T else T) for n in shape] if first_rows else shape
    return model(nodes, given, shape=shape, opset=17)


def legacy(y, out, D):
    """torch.onnx.export(dynamo=False)'s: a Squeeze for one direction, a Reshape for two."""
    if D == 1:
        return [make("Squeeze", [y, "one"], out)]
    return [make("Transpose", [y], f"{y}t", perm=[0, 2, 1, 3]), make("Reshape", [f"{y}t", "same"], out)]


def dynamo(y, out, D):
    """torch.onnx.export(dynamo=True)'s for one size."""
    nodes = [make("Transpose", [y], f"{y}t", perm=[0, 2, 1, 3]), constant(f"{y}s", [T, B, D * H])]
    return [*nodes, make("Reshape", [f"{y}t", f"{y}s"], out, allowzero=0)]


def computed(y, out, D):
    """torch.onnx.export(dynamo=True)'s for any size: it multiplies the last two of the shape at run time."""
    nodes = [make("Transpose", [y], f"{y}t", perm=[0, 2, 1, 3]), make("Shape", [f"{y}t"], f"{y}s", start=0)]
    for k in range(4):
        nodes += [constant(f"{y}{k}", [k]), constant(f"{y}{k}e", [k + 1])]
        nodes += [make("Slice", [f"{y}s", f"{y}{k}", f"{y}{k}e"], f"{y}n{k}")]
    nodes += [make("Mul", [f"{y}n2", f"{y}n3"], f"{y}m"), constant(f"{y}all", [-1])]
    nodes += [make("Reshape", [f"{y}m", f"{y}all"], f"{y}w", allowzero=0)]
    nodes += [make("Concat", [f"{y}n0", f"{y}n1", f"{y}w"], f"{y}z", axis=0)]
    return [*nodes, make("Reshape", [f"{y}t", f"{y}z"], out, allowzero=0)]


def with_dropout(y, out, D):
    nodes = legacy(y, f"{y}d", D)
    return [*nodes, make("Dropout", [f"{y}d"], f"{y}i"), make("Identity", [f"{y}i"], out)]


def rows_first_between(y, out, D):
    """A module of one layer each, rows first, as people write stacks by hand."""
    nodes = legacy(y, f"{y}d", D)
    turned = [make("Transpose", [f"{y}d"], f"{y}r", perm=[1, 0, 2]), make("Dropout", [f"{y}r"], f"{y}q")]
    return [*nodes, *turned, make("Transpose", [f"{y}q"], out, perm=[1, 0, 2])]


BETWEEN = {
    "legacy": legacy, "dynamo": dynamo, "computed": computed, "dropout": with_dropout, "by hand": rows_first_between
}  # fmt: skip


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("D", [1, 2])
def test_a_chain_is_one_lstm_of_so_many_layers(session, between, D):
    proto = stacked(3, D, between)
    x = random(T, B, I)
    (y,) = session(proto, X=x)
    for named in (None, "lstm0", "y0", ["lstm0", "y1", "lstm2"]):
        got = from_onnx(proto, named)
        well_formed(got)
        assert (got["num_layers"], got["input_size"], got["hidden_size"]) == (3, I, H)
        assert len(got["weights"]) == 3 * D * 4
        np.testing.assert_allclose(run(got, x)[0], y, **CLOSE)
    ours, (h, c) = fc.LSTM.from_onnx(proto)(x)
    np.testing.assert_allclose(ours, y, **CLOSE)
    assert (ours.dtype, h.shape, c.shape) == (np.float32, (3 * D, B, H), (3 * D, B, H))


@pytest.mark.parametrize("between", ["legacy", "computed"])
@pytest.mark.parametrize("D", [1, 2])
def test_rows_first_and_initial_states_of_a_stack(session, between, D):
    proto = stacked(2, D, between, shape=(T, 1, I), first_rows=True, states=True)
    x = random(1, T, I)
    proto.graph.input[0].CopyFrom(value("X", (1, T, I)))
    lstm = fc.LSTM.from_onnx(proto)
    assert lstm.batch_first is True
    assert lstm.initial_state[0].shape == (2 * D, H)
    np.testing.assert_allclose(lstm(x)[0], session(proto, X=x)[0], **CLOSE)


def test_a_state_of_one_layer_alone(session):
    proto = stacked(2, shape=(T, 1, I), states=True)
    del proto.graph.node[[n.name for n in proto.graph.node].index("lstm0")].input[4:]
    lstm, x = fc.LSTM.from_onnx(proto), random(T, 1, I)
    assert not lstm.initial_state[0][0].any()
    assert lstm.initial_state[0][1].any()
    np.testing.assert_allclose(lstm(x)[0], session(proto, X=x)[0], **CLOSE)


def test_backward_layers_are_a_stack_too(session):
    proto, x = stacked(2, direction="reverse"), random(T, B, I)
    lstm = fc.LSTM.from_onnx(proto)
    assert (lstm.reverse, lstm.num_layers) == (True, 2)
    np.testing.assert_allclose(lstm(x)[0], session(proto, X=x)[0], **CLOSE)


def test_one_layer_alone_is_named_in_a_list(session):
    proto, x = stacked(3), random(T, B, I)
    proto.graph.output.extend([value("y0"), value("y1")])
    y, y0, y1 = session(proto, X=x)
    for named, given, wanted, layers in (
        (["lstm0"], x, joined(y0), 1),
        (["lstm1"], joined(y0), joined(y1), 1),
        ("lstm1", joined(y0), joined(y1), 1),  # as it was: it is not the first
        (["lstm1", "lstm2"], joined(y0), y, 2),
    ):
        lstm = fc.LSTM.from_onnx(proto, named)
        assert lstm.num_layers == layers
        np.testing.assert_allclose(lstm(given)[0], wanted, **CLOSE)


def test_biases_of_some_layers_alone(session):
    proto, x = stacked(2), random(T, B, I)
    del proto.graph.node[[n.name for n in proto.graph.node].index("lstm0")].input[3:]
    lstm = fc.LSTM.from_onnx(proto)
    assert sorted(n for n in lstm.state_dict() if n.startswith("bias")) == ["bias_hh_l1", "bias_ih_l1"]
    np.testing.assert_allclose(lstm(x)[0], session(proto, X=x)[0], **CLOSE)


def node_of(proto, name):
    return next(n for n in proto.graph.node if n.name == name)


def test_a_chain_that_is_no_stack_is_the_error_that_it_was(session):
    several = "node must name one of the model's 2 LSTM nodes: 'lstm0', 'lstm1'"

    def refused(proto, *why, first=True):
        refuses(lambda: from_onnx(proto), ValueError, several, *why)
        assert from_onnx(proto, "lstm0")["num_layers"] == 1  # which was named
        assert from_onnx(proto, "lstm1")["num_layers"] == 1
        refuses(lambda: from_onnx(proto, ["lstm0", "lstm1"]), ValueError, "must name layers that follow each other")

    proto = stacked(2)  # another activation
    node_of(proto, "lstm1").attribute.append(onnx.helper.make_attribute("activations", ["Sigmoid", "Relu", "Tanh"]))
    refused(proto, "they make no stack: activations of 'lstm0'")
    proto = stacked(2)
    node_of(proto, "lstm1").attribute.append(onnx.helper.make_attribute("clip", 0.5))
    refused(proto, "clip of 'lstm0' is None, of 'lstm1' 0.5")
    proto = stacked(2)  # another direction
    for attribute in node_of(proto, "lstm1").attribute:
        if attribute.name == "direction":
            attribute.s = b"reverse"
    refused(proto, "reverse of 'lstm0' is False, of 'lstm1' True")
    for op in ("Relu", "Neg"):  # something else than a reshape between
        proto = stacked(2)
        squeeze = next(n for n in proto.graph.node if n.output[0] == "out0")
        squeeze.output[0] = "before"
        proto.graph.node.append(make(op, ["before"], "out0"))
        refused(proto, "not each is the only one behind another")
    proto = stacked(2)  # the rows become steps
    squeeze = next(n for n in proto.graph.node if n.output[0] == "out0")
    squeeze.output[0] = "before"
    proto.graph.node.append(make("Transpose", ["before"], "out0", perm=[1, 0, 2]))
    refused(proto, "x of 'lstm1' is not y of 'lstm0'")
    proto = stacked(2, 2)  # directions in another order than side by side
    turn = next(n for n in proto.graph.node if n.output[0] == "y0t")
    turn.attribute[0].CopyFrom(onnx.helper.make_attribute("perm", [0, 2, 3, 1]))
    refused(proto, "x of 'lstm1' is not y of 'lstm0'")
    proto = stacked(2)  # steps and rows mixed up by a Reshape
    squeeze = next(n for n in proto.graph.node if n.output[0] == "out0")
    squeeze.op_type, squeeze.input[1] = "Reshape", "mixed"
    proto.graph.node.append(constant("mixed", [B, T, H]))
    refused(proto, "x of 'lstm1' is not y of 'lstm0'")
    proto = stacked(2)  # random numbers
    proto.graph.node.extend([constant("half", np.float32(0.5)), constant("yes", True)])
    squeeze = next(n for n in proto.graph.node if n.output[0] == "out0")
    squeeze.output[0] = "before"
    proto.graph.node.append(make("Dropout", ["before", "half", "yes"], "out0"))
    refused(proto, "x of 'lstm1' is not y of 'lstm0'")


def test_layers_of_other_sizes_end_a_stack():
    proto = stacked(3)
    bigger = {"W2": random(1, 4 * 7, H), "R2": random(1, 4 * 7, 7), "B2": random(1, 8 * 7)}
    for tensor in proto.graph.initializer:
        if tensor.name in bigger:
            tensor.CopyFrom(onnx.numpy_helper.from_array(bigger[tensor.name], tensor.name))
    for attribute in node_of(proto, "lstm2").attribute:
        if attribute.name == "hidden_size":
            attribute.i = 7
    several = "node must name one of the model's 3 LSTM nodes: 'lstm0', 'lstm1', 'lstm2'"
    refuses(lambda: from_onnx(proto), ValueError, several, "hidden_size of 'lstm1' is 5, of 'lstm2' 7")
    got = from_onnx(proto, "lstm0")  # the layers that are alike
    assert (got["num_layers"], got["hidden_size"]) == (2, H)
    assert from_onnx(proto, "lstm2")["hidden_size"] == 7


def test_nodes_side_by_side_and_branches():
    proto = stacked(2)
    node_of(proto, "lstm1").input[0] = "X"
    for tensor in proto.graph.initializer:
        if tensor.name == "W1":
            tensor.CopyFrom(onnx.numpy_helper.from_array(random(1, 4 * H, I), "W1"))
    refuses(lambda: from_onnx(proto), ValueError, "2 LSTM nodes: 'lstm0', 'lstm1'; they make no stack")
    proto = stacked(3)
    node_of(proto, "lstm2").input[0] = "out0"
    refuses(lambda: from_onnx(proto), ValueError, "3 LSTM nodes: 'lstm0', 'lstm1', 'lstm2'; they make no stack")
    assert from_onnx(proto, "lstm0")["num_layers"] == 1
    proto = stacked(2)
    node_of(proto, "lstm1").input[0] = "hn0"  # the last h, no sequence
    refuses(lambda: from_onnx(proto), ValueError, "2 LSTM nodes: 'lstm0', 'lstm1'; they make no stack")


def test_lists_of_names_that_are_wrong():
    proto = stacked(2)
    refuses(lambda: from_onnx(proto, []), ValueError, "node must name a node or more, got an empty list")
    refuses(lambda: from_onnx(proto, [1]), TypeError, "node must be a str, a list of them, or None, got list")
    refuses(lambda: from_onnx(proto, ["lstm0", "none"]), ValueError, "node must name one LSTM node", "got 'none'")
    refuses(lambda: from_onnx(proto, ["lstm1", "lstm0"]), ValueError, "must name layers that follow each other")
    refuses(lambda: from_onnx(proto, ["lstm0", "lstm0"]), ValueError, "must name layers that follow each other")


def test_quantised_layers_are_a_stack_too():
    nodes, given, x = [constant("one", [1])], {"s": np.full(1, 0.01, "f4"), "z": np.zeros(1, "i1")}, "X"
    for k, width in enumerate((I, H)):
        given |= {f"W{k}": np.full((1, width, 4 * H), k + 1, "i1"), f"R{k}": np.full((1, H, 4 * H), k + 3, "i1")}
        inputs = [x, f"W{k}", f"R{k}", "", "", "", "", "", "s", "z", "s", "z"]
        nodes.append(onnx.helper.make_node(
            "DynamicQuantizeLSTM", inputs, [f"y{k}"], f"q{k}", domain="com.microsoft", hidden_size=H
        ))  # fmt: skip
        nodes.append(make("Squeeze", [f"y{k}", "one"], f"out{k}"))
        x = f"out{k}"
    got = from_onnx(model(nodes, given))
    plain = widened(got)
    well_formed(plain)
    assert got["num_layers"] == 2
    values = np.full((4 * H, H), np.float32(2) * np.float32(0.01))
    np.testing.assert_array_equal(plain["weights"]["weight_ih_l1"], values)
    assert (got["weights"]["weight_hh_l1"].values == 4).all()
    # A first layer of floats: none of them are rounded, unless it is asked for.
    given |= {"W": random(1, 4 * H, I), "R": random(1, 4 * H, H)}
    mixed = model([nodes[0], lstm(("X", "W", "R"), ("y0",)), *nodes[2:]], given)
    got = from_onnx(mixed)
    well_formed(widened(got, "float32"))
    assert (got["weights"]["weight_hh_l1"].values == 4).all()
    assert fc.LSTM.from_onnx(mixed).precision == "float32"
    assert list(fc.LSTM.from_onnx(mixed, precision="int8").quantized()["weight_hh_l1"].scale) == [np.float32(0.01)] * 20


def test_the_command_line_runs_a_stack(session, tmp_path):
    pytest.importorskip("tqdm", reason="the command needs tqdm")
    from fastcell.__main__ import main

    proto = stacked(2, 2)
    onnx.save(proto, tmp_path / "w.onnx")
    np.save(tmp_path / "x.npy", random(T, B, I))
    assert main(["lstm", str(tmp_path / "x.npy"), "--weights", str(tmp_path / "w.onnx"), "-o",
                 str(tmp_path / "y.npy")]) == 0  # fmt: skip
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), session(proto, X=random(T, B, I))[0], **CLOSE)


# What torch writes


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("dynamic", [True, False], ids=["any size", "one size"])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("first", [True, False], ids=["rows first", "time first"])
def test_a_stack_with_a_learned_state_that_torch_exports(torch, session, dynamic, D, first):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(I, H, 2, bidirectional=D == 2, batch_first=first, dropout=0.5)
            self.h0 = torch.nn.Parameter(torch.randn(2 * D, 1, H))
            self.c0 = torch.nn.Parameter(torch.randn(2 * D, H))

        def forward(self, x):
            rows = x.shape[0 if first else 1]
            return self.lstm(x, (self.h0.expand(-1, rows, -1).contiguous(), self.c0.unsqueeze(1).repeat(1, rows, 1)))

    torch.manual_seed(1)
    module, file, x = Model().eval(), io.BytesIO(), random(T, B, I)
    axes = {"dynamic_axes": {"X": {0: "a", 1: "b"}}} if dynamic else {}
    torch.onnx.export(
        module, (torch.from_numpy(x),), file, dynamo=False, input_names=["X"], opset_version=17, **axes
    )  # fmt: skip
    proto = onnx.load_from_string(file.getvalue())
    assert sum(n.op_type == "LSTM" for n in proto.graph.node) == 2
    y, h, c = session(proto, X=x)
    lstm = fc.LSTM.from_onnx(proto)
    assert (lstm.num_layers, lstm.batch_first) == (2, first)
    ours, (last_h, last_c) = lstm(x)
    for one, other in ((ours, y), (last_h, h), (last_c, c)):
        np.testing.assert_allclose(one, other, **CLOSE)
    np.testing.assert_array_equal(lstm.initial_state[0], module.h0[:, 0].detach().numpy(), strict=True)
    np.testing.assert_array_equal(lstm.initial_state[1], module.c0.detach().numpy(), strict=True)
    for name, w in module.lstm.state_dict().items():
        np.testing.assert_array_equal(lstm.state_dict()[name], w.numpy(), strict=True)
