"""What a file of weights claims: refused in words before any of it is allocated, under a limit on memory."""

import zipfile

import numpy as np
import pytest

import fastcell as fc
from fastcell import _memory

onnx = pytest.importorskip("onnx", reason="it makes the models")
helper, TensorProto = onnx.helper, onnx.TensorProto

pytestmark = pytest.mark.usefixtures("limited", "nothing_large")

IS_FREE = r"would take \d+\.\d .iB of memory, of which \d+\.\d .iB is free$"

# ---- ONNX ----


def model(nodes, *tensors):
    """An LSTM of 2 units and one input whose W is made by the nodes, or is one of the tensors."""
    lstm = helper.make_node("LSTM", ["X", "W", "R"], ["Y"], "lstm", hidden_size=2)
    graph = helper.make_graph(
        [*nodes, lstm],
        "main",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, (1, 1, 1))],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [*tensors, onnx.numpy_helper.from_array(np.ones((1, 8, 2), "f4"), "R")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def hole(path, size):
    """A file of zeros that takes no room."""
    with open(path, "wb") as file:
        file.truncate(size)


def elsewhere(name, kind, shape, location):
    """A tensor whose values are in another file."""
    tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_a_model_with_a_hole(tmp_path):
    hole(tmp_path / "m.onnx", 2**40)
    with pytest.raises(MemoryError, match=rf"^model .*m\.onnx {IS_FREE}"):
        fc.LSTM.from_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("told", [{}, {"length": 2**33}, {"offset": 2**34 - 2**33}])
def test_values_in_a_file_with_a_hole(tmp_path, told):
    hole(tmp_path / "w.bin", 2**34)
    tensor = elsewhere("W", TensorProto.FLOAT, (1, 8, 2**28), "w.bin")
    for key, number in told.items():
        tensor.external_data.add(key=key, value=str(number))
    onnx.save(model([], tensor), tmp_path / "m.onnx")
    with pytest.raises(MemoryError, match=rf"^tensor 'W' in the file 'w\.bin' {IS_FREE}"):
        fc.LSTM.from_onnx(tmp_path / "m.onnx")


def test_nodes_that_ask_for_more_than_there_is():
    one = onnx.numpy_helper.from_array(np.ones((1, 1, 1), "f4"), "one")
    shape = onnx.numpy_helper.from_array(np.array([1, 8, 2**21]), "shape")
    expand = helper.make_node("Expand", ["one", "shape"], ["many"])
    concat = helper.make_node("Concat", ["many"] * 30, ["W"], axis=1)
    with pytest.raises(MemoryError, match=rf"^Concat of \['W'\] {IS_FREE}"):
        fc.LSTM.from_onnx(model([expand, concat], one, shape))


def test_integers_that_widen_beyond_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(_memory, "available", lambda: 2**29)
    hole(tmp_path / "q.bin", 2**26)
    scale = onnx.numpy_helper.from_array(np.float32(1), "scale")
    node = helper.make_node("DequantizeLinear", ["q", "scale"], ["W"])
    onnx.save(model([node], elsewhere("q", TensorProto.INT8, (1, 8, 2**23), "q.bin"), scale), tmp_path / "m.onnx")
    with pytest.raises(MemoryError, match=r"^DequantizeLinear of \['W'\] would take 1\.0 GiB of memory"):
        fc.LSTM.from_onnx(tmp_path / "m.onnx")


# ---- PyTorch ----


@pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")
@pytest.mark.parametrize("script", [False, True])
def test_a_packed_checkpoint_that_claims_too_much(torch, tmp_path, script):
    lstm = torch.nn.LSTM(1, 2)
    if script:
        torch.jit.save(torch.jit.script(lstm), tmp_path / "a.pt")
    else:
        torch.save(lstm.state_dict(), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as plain, zipfile.ZipFile(tmp_path / "b.pt", "w") as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
        more = zipfile.ZipInfo(name.partition("/")[0] + "/data/99")
        more.compress_type = zipfile.ZIP_DEFLATED
        with packed.open(more, "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(bytes(2**24))
    assert (tmp_path / "b.pt").stat().st_size < 2**21
    with pytest.raises(MemoryError, match=rf"^tensors in the file .*b\.pt {IS_FREE}"):
        fc.LSTM.from_torch(tmp_path / "b.pt")


def test_a_checkpoint_with_a_hole(torch, tmp_path):
    hole(tmp_path / "a.pt", 2**40)
    with pytest.raises(MemoryError, match=rf"^tensors in the file .*a\.pt {IS_FREE}"):
        fc.LSTM.from_torch(tmp_path / "a.pt")
