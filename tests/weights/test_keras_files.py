"""Keras's files: what they give is what the model gives, and damage is a ValueError."""

import json
import zipfile

import numpy as np
import pytest

import fastcell as fc
from fastcell.weights import from_keras
from tests.helpers import draws
from tests.helpers.imported import refuses
from tests.helpers.keras_2_files import keras_2
from tests.helpers.keras_models import COPY_WARNING, H, I, model, random

pytestmark = COPY_WARNING


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py", reason="from_keras reads files with h5py: pip install 'fastcell[weights]'")


def stack(keras):
    layers = keras.layers
    return model(
        keras, layers.Dense(3, name="before"), layers.LSTM(H, return_sequences=True, name="one", activation="softsign"),
        layers.Dropout(0.1), layers.LSTM(H, return_sequences=True, name="two", activation="softsign", use_bias=False),
    )  # fmt: skip


@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_a_file_gives_what_the_model_gives(keras, h5py, tmp_path, kind):
    layers = keras.layers
    x = layers.Input((None, I))
    both = layers.Bidirectional(
        layers.LSTM(H, return_sequences=True, recurrent_activation="hard_sigmoid", name="inside")
    )
    nested = keras.Sequential(
        [layers.LSTM(H, return_sequences=True, name="deep"), layers.LSTM(H, name="deeper")], name="in"
    )
    sources = {
        "stack": stack(keras),
        "functional": keras.Model(x, layers.LSTM(H)(layers.Dropout(0.1)(layers.LSTM(H, return_sequences=True)(x)))),
        "both": model(keras, both),
        "frozen": model(keras, layers.Bidirectional(layers.LSTM(H))),
        "backwards": model(keras, layers.LSTM(H, go_backwards=True)),
        "rnn": model(keras, layers.RNN(layers.LSTMCell(H))),
        "nested": model(keras, layers.Dense(2), nested, layers.Dense(1)),
    }
    sources["frozen"].layers[0].forward_layer.trainable = False
    for name, source in sources.items():
        path = tmp_path / (name + kind)
        source.save(path)
        wanted, got = from_keras(source), from_keras(path)
        assert {k: v for k, v in got.items() if k != "weights"} == {k: v for k, v in wanted.items() if k != "weights"}
        assert list(got["weights"]) == list(wanted["weights"])
        for key, x_ in wanted["weights"].items():
            np.testing.assert_array_equal(got["weights"][key], x_, strict=True)
    assert fc.LSTM.from_keras(str(tmp_path / ("stack" + kind)), "two").input_size == H
    assert fc.LSTM.from_keras(tmp_path / ("nested" + kind), "deeper").hidden_size == H


def test_a_file_of_weights_alone(keras, h5py, tmp_path):
    path = tmp_path / "a.weights.h5"
    made = model(keras, keras.layers.Dense(2), keras.layers.Bidirectional(keras.layers.LSTM(H), name="mine"))
    made.save_weights(path)
    wanted = from_keras(made)
    for got in (from_keras(path), from_keras(path, "mine"), from_keras(path, "layers/bidirectional")):
        assert got["activations"] == wanted["activations"]
        for name, x in wanted["weights"].items():
            np.testing.assert_array_equal(got["weights"][name], x, strict=True)
    made = stack(keras)
    made.save_weights(path)
    refuses(lambda: from_keras(path), ValueError, "'layers/lstm', 'layers/lstm_1'", "their order is not known")
    assert from_keras(path, ["one", "two"])["num_layers"] == 2
    model(keras, keras.layers.GRU(H)).save_weights(path)
    refuses(lambda: from_keras(path), ValueError, "source must have an LSTM layer, got no layer at all")


def test_files_of_keras_2(h5py, tmp_path):
    path = tmp_path / "old.h5"
    k, r, b = random(I, 4 * H), random(H, 4 * H), random(4 * H)
    plain = {"units": H, "activation": "tanh", "recurrent_activation": "hard_sigmoid", "use_bias": True}
    cell = "lstm_cell_3"
    one = {f"one/{cell}/kernel:0": k, f"one/{cell}/recurrent_kernel:0": r, f"one/{cell}/bias:0": b}
    entry = {"class_name": "LSTM", "config": {"name": "one", **plain}}
    model_config = {"class_name": "Sequential", "config": {"name": "sequential", "layers": [entry]}}
    keras_2(h5py, path, model_config, {"one": one}, keras_version="2.13.1", backend="tensorflow")
    got = from_keras(path)
    assert got["activations"] == (("hard_sigmoid", 0.2, 0.5), "tanh", "tanh")
    for name, x in (("weight_ih_l0", k.T), ("weight_hh_l0", r.T), ("bias_ih_l0", b)):
        np.testing.assert_array_equal(got["weights"][name], x, strict=True)
    # A first version has a list for a configuration, and none of Keras's versions.
    keras_2(h5py, path, {"class_name": "Sequential", "config": [entry]}, {"one": one})
    assert from_keras(path)["activations"] == got["activations"]
    # A Functional model names the layers that feed each.
    two = {each.replace("one", "two"): random(H, 4 * H, seed=3) if "kernel" in each else b for each in one}
    entries = [
        {**entry, "name": "one", "inbound_nodes": [[["input_1", 0, 0, {}]]]},
        {
            "class_name": "LSTM",
            "config": {"name": "two", **plain},
            "name": "two",
            "inbound_nodes": [[["one", 0, 0, {}]]],
        },
    ]
    keras_2(
        h5py, path, {"class_name": "Functional", "config": {"name": "f", "layers": entries}}, {"one": one, "two": two},
        keras_version=b"2.4.0",
    )  # fmt: skip
    assert from_keras(path)["num_layers"] == 2
    entries[1]["inbound_nodes"] = [[["input_1", 0, 0, {"initial_state": [["one", 0, 1], ["one", 0, 2]]}]]]
    keras_2(h5py, path, {"class_name": "Model", "config": {"layers": entries}}, {"one": one, "two": two})
    refuses(lambda: from_keras(path), ValueError, "follow each other: 'input_1', 'one' comes before 'two'")
    keras_2(h5py, path, None, {"one": one, "dense": {"dense/kernel:0": random(4, 2)}})
    np.testing.assert_array_equal(from_keras(path)["weights"]["bias_ih_l0"], b, strict=True)
    # Two layers of a model inside, whose six arrays look like two directions'.
    keras_2(h5py, path, None, {"inner": one | two})
    refuses(lambda: from_keras(path), ValueError, "source must have an LSTM layer")


def rewritten(path, to, change):
    """A .keras file with one member changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return to


def test_nothing_of_a_file_is_run_and_other_people_s_layers_are_none(keras, h5py, tmp_path):
    path, other = tmp_path / "a.keras", tmp_path / "b.keras"
    model(keras, keras.layers.LSTM(H, name="one")).save(path)

    def configured(**more):
        def change(name, data):
            if name != "config.json":
                return data
            config = json.loads(data)
            layer = config["config"]["layers"][-1]
            layer.update({k: v for k, v in more.items() if k in layer})
            layer["config"].update({k: v for k, v in more.items() if k not in layer})
            return json.dumps(config)

        return rewritten(path, other, change)

    marshalled = {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
    refuses(lambda: from_keras(configured(activation=marshalled)), ValueError, "must be among", "got '__lambda__'")
    refuses(
        lambda: from_keras(configured(module="evil.layers")), ValueError, "an LSTM layer, got InputLayer, evil.layers."
    )
    refuses(lambda: from_keras(configured(registered_name="mine>LSTM")), ValueError, "an LSTM layer, got")
    refuses(lambda: from_keras(configured(units=10**12)), ValueError, "layers must have the same units")
    refuses(
        lambda: from_keras(configured(name="two")), ValueError, "weights of layer 'two' must be in its place, got those"
    )
    assert from_keras(configured())["hidden_size"] == H


def test_links_out_of_a_file_are_not_followed(h5py, tmp_path):
    secret, path = tmp_path / "secret.h5", tmp_path / "a.weights.h5"
    arrays = [random(I, 4 * H), random(H, 4 * H), random(4 * H)]
    with h5py.File(secret, "w") as file:
        for k, x in enumerate(arrays):
            file[f"layers/lstm/cell/vars/{k}"] = x
    assert from_keras(secret)["hidden_size"] == H
    with h5py.File(path, "w") as file:
        file["layers/lstm"] = h5py.ExternalLink("secret.h5", "/layers/lstm")
    refuses(lambda: from_keras(path), ValueError, "source must have an LSTM layer, got no layer at all")
    raw = tmp_path / "raw.bin"
    raw.write_bytes(arrays[0].tobytes())
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/lstm/cell/vars")
        group.create_dataset("0", arrays[0].shape, "f4", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
        group["1"], group["2"] = arrays[1:]
    refuses(lambda: from_keras(path), ValueError, "must be floats of one or two axes, and in the file itself")


def test_a_claim_of_size_allocates_nothing(h5py, tmp_path):
    path = tmp_path / "a.weights.h5"
    for options in ({}, {"chunks": (1024, 1024)}, {"chunks": (1024, 1024), "compression": "gzip"}):
        with h5py.File(path, "w") as file:
            group = file.create_group("layers/lstm/cell/vars")
            group.create_dataset("0", (2**30, 2**30), "f4", **options)
            group["1"], group["2"] = random(H, 4 * H), random(4 * H)
        refuses(
            lambda: from_keras(path), ValueError, "weights of layer 'layers/lstm' must be in the file whole, got 0 of"
        )
    with h5py.File(path, "w") as file:
        for k, x in enumerate([np.zeros((I, 4 * H), "f4"), random(H, 4 * H), random(4 * H)]):
            file.create_dataset(f"layers/lstm/cell/vars/{k}", data=x, compression="gzip")
    assert from_keras(path)["hidden_size"] == H
    with h5py.File(path, "w") as file:
        group = file.create_group("layers")
        group["again"] = group
    refuses(lambda: from_keras(path), ValueError, "must not have groups without end")


def test_files_that_are_none(h5py, tmp_path):
    path = tmp_path / "a.keras"
    refuses(lambda: from_keras(path), FileNotFoundError, "a.keras")
    refuses(lambda: from_keras(tmp_path), IsADirectoryError, str(tmp_path))
    for data in (b"", b"text", b"\x80\x04pickled"):
        path.write_bytes(data)
        refuses(lambda: from_keras(path), ValueError, "source must be a .keras, .h5 or .weights.h5 file, got")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some.txt", "text")
    refuses(lambda: from_keras(path), ValueError, "must be a file as Keras writes it", "config.json")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (1 << 25))
    refuses(lambda: from_keras(path), ValueError, "config.json must have at most 16777216 bytes, got 33554432")
    for text in ("[" * 10**5, "{", "[]", '{"config": 3, "class_name": "LSTM"}'):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", text)
            archive.writestr("metadata.json", '{"keras_version": "3.1"}')
            archive.writestr("model.weights.h5", b"")
        refuses(lambda: from_keras(path), ValueError, "source must")


@pytest.mark.parametrize("kind", [".keras", ".h5", ".weights.h5"])
def test_flipped_bits_and_cut_files_give_a_model_or_a_value_error(keras, h5py, tmp_path, kind):
    path = tmp_path / ("a" + kind)
    made = model(keras, keras.layers.LSTM(H, return_sequences=True), keras.layers.LSTM(H))
    (made.save_weights if kind == ".weights.h5" else made.save)(path)
    names = {"layer": [layer.name for layer in made.layers]} if kind == ".weights.h5" else {}
    data, rng = path.read_bytes(), np.random.default_rng(draws.SEED)
    assert from_keras(path, **names)["num_layers"] == 2
    outcomes, told = set(), []
    for n in range(250):
        changed = bytearray(data)
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        if n % 3 == 0:
            del changed[int(rng.integers(len(data))) :]
        path.write_bytes(changed)
        try:
            got = from_keras(path, **names)
        except ValueError as error:
            outcomes.add("error")
            told.append(str(error))
        else:
            outcomes.add("read")
            assert got["weights"]["weight_ih_l0"].ndim == 2
    assert outcomes == {"error", "read"} if kind != ".keras" else "error" in outcomes
    assert min(map(len, told)) > 20


def test_bfloat16_of_a_keras_file(keras, h5py, tmp_path):
    made = model(keras, keras.layers.LSTM(H, dtype="bfloat16", recurrent_initializer="zeros"))
    made.save(tmp_path / "a.keras")
    wanted = from_keras(made)["weights"]
    for name, x in from_keras(tmp_path / "a.keras")["weights"].items():
        np.testing.assert_array_equal(x, wanted[name], strict=True)
