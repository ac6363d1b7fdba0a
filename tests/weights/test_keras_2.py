"""Keras 2's own: CuDNNLSTM, time_major, and what files from before 2.3 leave unsaid."""

import numpy as np
import pytest

import fastcell as fc
from benchmarks import numpy_lstm
from fastcell.weights import from_keras
from tests.helpers.imported import CLOSE, refuses, well_formed
from tests.helpers.keras_2_files import as_lstm, cudnn, entry, keras_2, sequential, stored
from tests.helpers.keras_models import H, I, random

SIGMOID = ("sigmoid", "tanh", "tanh")
HARD = (("hard_sigmoid", 0.2, 0.5), "tanh", "tanh")


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py", reason="from_keras reads files with h5py: pip install 'fastcell[weights]'")


def same(got, wanted, dtype="float32"):
    well_formed(got, dtype, ["batch_first"])
    assert {k: v for k, v in got.items() if k != "weights"} == {k: v for k, v in wanted.items() if k != "weights"}
    assert list(got["weights"]) == list(wanted["weights"])
    for name, x in wanted["weights"].items():
        np.testing.assert_array_equal(got["weights"][name], x, strict=True)


def test_a_cudnnlstm_gate_by_gate():
    k, r, b = cudnn()
    got = from_keras([k, r, b])["weights"]
    for g in range(4):
        own = slice(g * H, (g + 1) * H)
        np.testing.assert_array_equal(got["weight_ih_l0"][own], k[:, own].reshape(H, I), strict=True)
        np.testing.assert_array_equal(got["weight_hh_l0"][own], r[:, own], strict=True)
        np.testing.assert_array_equal(got["bias_ih_l0"][own], b[own] + b[4 * H :][own], strict=True)


def test_cudnnlstm_s_weights_alone():
    same(from_keras(cudnn()), from_keras(as_lstm(cudnn())))
    both = [*cudnn(), *cudnn(seed=5)]
    same(from_keras(both), from_keras([*as_lstm(cudnn()), *as_lstm(cudnn(seed=5))]))
    stack = [cudnn(), as_lstm(cudnn(H, 7))]
    same(from_keras(stack), from_keras([as_lstm(cudnn()), as_lstm(cudnn(H, 7))]))
    wide = [x.astype("f8") for x in cudnn()]
    same(from_keras(wide), from_keras(as_lstm(wide)), "float64")


@pytest.mark.parametrize("version", ["2.1.6", "2.2.4-tf", "2.6.0", None])
def test_a_file_with_cudnnlstm_layers(h5py, tmp_path, version):
    path, more = tmp_path / "a.h5", {} if version is None else {"keras_version": version}
    options = {"return_sequences": True, "go_backwards": False}
    config = sequential(
        entry("one", "CuDNNLSTM", **options), entry("drop", "Dropout"), entry("two", "CuDNNLSTM", **options)
    )
    keras_2(h5py, path, config, {"one": stored(cudnn()), "two": stored(cudnn(H, 5), "two")}, **more)
    got = from_keras(path)
    same(got, from_keras([as_lstm(cudnn()), as_lstm(cudnn(H, 5))]))
    assert got["activations"] == SIGMOID
    inner = {"class_name": "CuDNNLSTM", "config": {"name": "lstm", "units": H, "return_sequences": True}}
    config = sequential(
        {"class_name": "Bidirectional", "config": {"name": "both", "layer": inner, "merge_mode": "concat"}}
    )
    sides = ("forward", "backward")
    keras_2(h5py, path, config, {"both": stored([cudnn(), cudnn(seed=5)], "both", sides)}, **more)
    same(from_keras(path), from_keras([[*as_lstm(cudnn()), *as_lstm(cudnn(seed=5))]]))
    # Weights alone: two biases for each gate are CuDNNLSTM's, so the gates are sigmoids whatever the version.
    keras_2(h5py, path, None, {"one": stored(cudnn())}, **more)
    same(from_keras(path), from_keras(as_lstm(cudnn())))
    # An LSTM into which CuDNNLSTM's weights were loaded has its own activations.
    config = sequential(entry(recurrent_activation="hard_sigmoid"))
    keras_2(h5py, path, config, {"one": stored(cudnn())}, **more)
    assert from_keras(path)["activations"] == HARD


def test_cudnnlstm_gives_the_lstm_s_answer(h5py, tmp_path):
    path, x = tmp_path / "a.h5", random(3, 7, I, seed=9)
    keras_2(h5py, path, sequential(entry(kind="CuDNNLSTM")), {"one": stored(cudnn())}, keras_version="2.2.4")
    y, _ = fc.LSTM.from_keras(path)(x)
    k, r, b = cudnn()
    w_ih = np.vstack([gate.reshape(H, I) for gate in np.hsplit(k, 4)])
    w_hh = np.vstack(np.hsplit(r, 4))
    wanted = numpy_lstm.lstm(x.astype("f8").transpose(1, 0, 2), w_ih, w_hh, b[: 4 * H] + b[4 * H :])
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, wanted.transpose(1, 0, 2), **CLOSE)


def test_a_cudnnlstm_without_its_biases_is_named(h5py, tmp_path):
    path = tmp_path / "a.h5"
    for weights, told in ((cudnn()[:2], "got none"), (as_lstm(cudnn()), "got (20,)")):
        keras_2(h5py, path, sequential(entry(kind="CuDNNLSTM")), {"one": stored(weights)}, keras_version="2.2.4")
        refuses(lambda: from_keras(path), ValueError, "bias of layer 'one' must have shape (8*H,) = (40,)", told)


def test_a_layer_object_of_tf_keras():
    class Layer:
        name, built = "one", True
        kernel, recurrent_kernel, bias = cudnn()
        cell = (H, H)

        def get_config(self):
            return {"name": "one", "units": H, "go_backwards": True, "time_major": True}

    made = type("CuDNNLSTM", (Layer,), {})
    made.__module__ = "tf_keras.src.layers.rnn.cudnn_lstm"
    got, wanted = from_keras(made()), from_keras(as_lstm(cudnn()))
    same(got, wanted | {"reverse": True, "batch_first": False})


@pytest.mark.parametrize("time_major", [True, False, None])
def test_time_major(h5py, tmp_path, time_major):
    path = tmp_path / "a.h5"
    more = {} if time_major is None else {"time_major": time_major}
    options = {"recurrent_activation": "sigmoid", **more}
    cell = {"class_name": "LSTMCell", "config": {"name": "cell", "units": H, "recurrent_activation": "sigmoid"}}
    one = as_lstm(cudnn())
    cases = {
        "LSTM": (entry(**options), stored(one)),
        "Bidirectional": (
            {"class_name": "Bidirectional", "config": {"name": "one", "layer": entry(**options)}},
            stored([one, one], sides=("forward", "backward")),
        ),
        "RNN": ({"class_name": "RNN", "config": {"name": "one", "cell": cell, **more}}, stored(one)),
    }
    for made, weights in cases.values():
        keras_2(h5py, path, sequential(made), {"one": weights}, keras_version="2.9.0")
        assert from_keras(path)["batch_first"] is not bool(time_major)
    other = entry("two", recurrent_activation="sigmoid", time_major=not time_major)
    keras_2(
        h5py, path, sequential(entry(**options), other),
        {"one": stored(one), "two": stored(as_lstm(cudnn(H)), "two")}, keras_version="2.9.0",
    )  # fmt: skip
    refuses(lambda: from_keras(path), ValueError, "time_major must be the same in all layers; name one with layer=")
    assert from_keras(path, "two")["batch_first"] is bool(time_major)


VERSIONS = {
    None: HARD,
    "1.2.2": HARD,
    "2.0.8": HARD,
    b"2.2.5": HARD,
    "2.3.0": SIGMOID,
    "2.13.1": SIGMOID,
    "3.1": SIGMOID,
}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_does_not_say_its_recurrent_activation(h5py, tmp_path, version):
    path, more = tmp_path / "a.h5", {} if version is None else {"keras_version": version}
    one = stored(as_lstm(cudnn()))
    keras_2(h5py, path, sequential(entry(activation="tanh")), {"one": one}, **more)
    assert from_keras(path)["activations"] == VERSIONS[version]
    keras_2(h5py, path, sequential(entry(recurrent_activation="sigmoid")), {"one": one}, **more)
    assert from_keras(path)["activations"] == SIGMOID
    inner = {"class_name": "Model", "config": {"name": "inner", "layers": [entry(activation="tanh")]}}
    keras_2(h5py, path, sequential(inner), {"inner": one}, **more)
    assert from_keras(path)["activations"] == VERSIONS[version]
    keras_2(h5py, path, None, {"one": one}, **more)
    assert from_keras(path)["activations"] == VERSIONS[version]


def test_a_version_that_tensorflow_used_before_and_after_the_change_is_warned_of(h5py, tmp_path):
    path, one = tmp_path / "a.h5", stored(as_lstm(cudnn()))
    keras_2(h5py, path, None, {"one": one}, keras_version="2.2.4-tf")
    with pytest.warns(UserWarning, match="recurrent_activation of layer 'one' is not in its file: taken for hard_sigm"):
        assert fc.LSTM.from_keras(path).activations == HARD
    keras_2(h5py, path, None, {"one": one}, keras_version="2.3.0-tf")
    assert from_keras(path)["activations"] == SIGMOID


def test_keras_1_has_other_names_and_may_have_its_gates_apart(h5py, tmp_path):
    path = tmp_path / "a.h5"
    k, r, b = as_lstm(cudnn())
    config = {"class_name": "Sequential", "config": [entry(inner_activation="sigmoid", activation="relu")]}
    keras_2(h5py, path, config, {"one": stored([k, r, b])}, keras_version="1.2.2")
    whole = from_keras(path)
    assert whole["activations"] == ("sigmoid", "relu", "relu")
    gates = [np.split(x, 4, axis=-1) for x in (k, r, b)]
    apart = {
        f"one_{kind}_{letter}": x[g]
        for letter, g in (("i", 0), ("c", 2), ("f", 1), ("o", 3))
        for kind, x in zip("WUb", gates, strict=True)
    }
    keras_2(h5py, path, config, {"one": apart}, keras_version="1.2.2")
    same(from_keras(path), whole)
