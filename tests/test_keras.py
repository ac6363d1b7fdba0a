"""from_keras against Keras itself: layers, models, weights and files."""

import json
import zipfile

import numpy as np
import pytest
from numpy_lstm import CLOSE, refuses, well_formed

import fastcell as fc
from fastcell.weights import from_keras

T, B, I, H = 7, 3, 4, 5

# Keras's torch backend hands its tensors to np.array, which torch does not yet take a `copy` from.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras.src.backend."
)


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py", reason="from_keras reads files with h5py: pip install 'fastcell[weights]'")


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(0, 0.5, shape).astype("f4")


def model(keras, *layers, inputs=I):
    """A Sequential of these layers with random weights."""
    made = keras.Sequential([keras.layers.Input((None, inputs)), *layers])
    for k, variable in enumerate(made.weights):
        variable.assign(random(*variable.shape, seed=k))
    return made


def answer(made, x, **more):
    return np.asarray(made(x, **more).detach().cpu())


def same_answer(keras, source, made, flipped=False):
    """Assert that from_keras(source) gives the model's answer, and return it."""
    lstm = fc.LSTM.from_keras(source)
    x = random(B, T, I, seed=9)
    y, _ = lstm(x)
    wanted = answer(made, x)
    assert y.dtype == np.float32
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y[:, ::-1] if flipped else y, wanted, **CLOSE)
    return lstm


CASES = {
    "plain": {},
    "no bias": {"use_bias": False},
    "backwards": {"go_backwards": True},
    "training only": {"dropout": 0.5, "recurrent_dropout": 0.5, "unit_forget_bias": False, "stateful": False},
    "relu": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "softsign": {"activation": "softsign", "recurrent_activation": "softplus"},
    "linear": {"activation": None, "recurrent_activation": "tanh"},
    "leaky": {"activation": "leaky_relu"},
    "elu": {"activation": "elu"},
}


@pytest.mark.parametrize("case", CASES)
def test_a_layer_gives_keras_s_answer(keras, case):
    options = CASES[case]
    layer = keras.layers.LSTM(H, return_sequences=True, **options)
    made = model(keras, layer)
    lstm = same_answer(keras, layer, made, flipped="go_backwards" in options)
    assert lstm.reverse is ("go_backwards" in options)
    assert lstm.batch_first is True
    assert ("bias_ih_l0" in lstm.state_dict()) is options.get("use_bias", True)
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bidirectional) == (I, H, 1, False)
    assert same_answer(keras, made, made, "go_backwards" in options).activations == lstm.activations


def test_the_state_and_the_last_output_are_keras_s(keras):
    layer = keras.layers.LSTM(H, return_state=True)
    model(keras, keras.layers.RNN(keras.layers.LSTMCell(H)))  # another layer between does not disturb
    x = random(B, T, I)
    layer.build(x.shape)
    last, h, c = (np.asarray(each.detach()) for each in layer(x))
    lstm = fc.LSTM.from_keras(layer)
    y, (ours_h, ours_c) = lstm(x)
    for ours, wanted in ((y[:, -1], last), (ours_h[0], h), (ours_c[0], c)):
        np.testing.assert_allclose(ours, wanted, **CLOSE)


def test_an_rnn_and_a_cell_are_layers(keras):
    cell = keras.layers.LSTMCell(H)
    rnn = keras.layers.RNN(cell, return_sequences=True, go_backwards=True)
    made = model(keras, rnn)
    same_answer(keras, rnn, made, flipped=True)
    assert fc.LSTM.from_keras(cell).reverse is False
    np.testing.assert_array_equal(
        from_keras(cell)["weights"]["weight_ih_l0"], from_keras(rnn)["weights"]["weight_ih_l0"]
    )


def test_both_directions(keras):
    layers = keras.layers
    other = layers.LSTM(H, return_sequences=True, go_backwards=True, activation="relu")
    first = layers.Bidirectional(layers.LSTM(H, return_sequences=True))
    second = layers.Bidirectional(layers.LSTM(H, return_sequences=True), backward_layer=other)
    for layer, g in ((first, "tanh"), (second, "relu")):
        lstm = same_answer(keras, layer, model(keras, layer))
        assert lstm.activations == ("sigmoid", "tanh", "tanh", "sigmoid", g, g)
        assert lstm.bidirectional is True
    sums = layers.Bidirectional(layers.LSTM(H), merge_mode="sum", name="sums")
    model(keras, sums)
    refuses(lambda: from_keras(sums), ValueError, "merge_mode of layer 'sums' must be 'concat', got 'sum'")
    turned = layers.Bidirectional(layers.LSTM(H, go_backwards=True), backward_layer=layers.LSTM(H), name="turned")
    model(keras, turned)
    refuses(lambda: from_keras(turned), ValueError, "go_backwards of layer 'turned' must be of its second direction")


def test_layers_that_follow_each_other_are_stacked(keras):
    layers = keras.layers

    def lstm(**more):
        return layers.LSTM(H, return_sequences=True, **more)

    made = model(keras, lstm(), layers.Dropout(0.5), lstm(use_bias=False), lstm())
    assert same_answer(keras, made, made).num_layers == 3
    same_answer(keras, [made.layers[0], made.layers[2], made.layers[3]], made)
    same_answer(keras, [made.layers[0].get_weights(), *made.layers[2:]], made)
    both = [layers.Bidirectional(lstm()) for _ in range(2)]
    made = model(keras, *both)
    assert same_answer(keras, made, made).bidirectional is True
    # The first leaves the sequence reversed and the second reads it as it is: both from each row's end.
    made = model(keras, lstm(go_backwards=True), lstm())
    assert same_answer(keras, made, made, flipped=True).reverse is True
    made = model(keras, lstm(name="one", go_backwards=True), lstm(name="two", go_backwards=True))
    refuses(lambda: from_keras(made), ValueError, "go_backwards of the layers 'one', 'two' must run them all in one")


def test_what_comes_before_and_after_is_left_out(keras):
    layers = keras.layers
    made = model(
        keras,
        layers.Dense(3),
        layers.LSTM(H, return_sequences=True, name="one"),
        layers.LSTM(H, name="two"),
        layers.Dense(2),
    )
    lstm = fc.LSTM.from_keras(made)
    assert (lstm.input_size, lstm.num_layers) == (3, 2)
    assert fc.LSTM.from_keras(made, "two").input_size == H
    assert fc.LSTM.from_keras(made, ["one", "two"]).num_layers == 2
    wrong = "layer must name one of the source's LSTM layers, 'one', 'two', got 'dense'"
    refuses(lambda: from_keras(made, "dense"), ValueError, wrong)
    refuses(lambda: from_keras(made, []), ValueError, "got none")
    refuses(lambda: from_keras(made, 3), TypeError, "layer must be a str or a list of str, got int")


def test_layers_that_make_no_single_lstm_are_named(keras):
    layers = keras.layers

    def two(*between, first=None, **second):
        options = {"return_sequences": True}
        return model(
            keras, layers.LSTM(H, name="one", **(first or {}), **options), *between,
            layers.LSTM(second.pop("units", H), name="two", **second, **options),
        )  # fmt: skip

    made = two(layers.BatchNormalization(name="norm"))
    told = "layer must name those of the LSTM layers 'one', 'two' that follow each other: 'norm' (BatchNormalization)"
    refuses(lambda: from_keras(made), ValueError, told)
    assert fc.LSTM.from_keras(made, "one").num_layers == 1
    refuses(
        lambda: from_keras(two(units=6)), ValueError, "layers must have the same units, got 5 in 'one' and 6 in 'two'"
    )
    refuses(lambda: from_keras(two(activation="relu")), ValueError, "same activations, 'two' has others")
    both = model(keras, layers.LSTM(H, return_sequences=True), layers.Bidirectional(layers.LSTM(H), name="two"))
    refuses(lambda: from_keras(both), ValueError, "layers must all have one direction or all two, 'two' has 2")


def test_a_functional_model_s_layers_are_found_by_what_feeds_them(keras):
    layers = keras.layers
    x = layers.Input((None, I))
    one = layers.LSTM(H, return_sequences=True, name="one")
    two = layers.LSTM(H, return_sequences=True, name="two")
    made = keras.Model(x, layers.Dense(1)(two(layers.Dropout(0.1)(one(x)))))
    assert fc.LSTM.from_keras(made).num_layers == 2
    # An encoder and a decoder have the same sizes, and are no stack.
    start = layers.Input((None, I))
    _, h, c = layers.LSTM(H, return_state=True, name="encoder")(x)
    decoder = layers.LSTM(H, return_sequences=True, name="decoder")(start, initial_state=[h, c])
    made = keras.Model([x, start], decoder)
    refuses(lambda: from_keras(made), ValueError, "'encoder', 'decoder' that follow each other", "before 'decoder'")
    assert fc.LSTM.from_keras(made, "decoder").num_layers == 1
    skip = keras.Model(x, two(layers.Add(name="sum")([one(x), layers.Dense(H)(x)])))
    refuses(lambda: from_keras(skip), ValueError, "'one', 'two' that follow each other: 'sum' comes before 'two'")


def test_models_inside_a_model(keras):
    layers = keras.layers
    inner = keras.Sequential(
        [layers.LSTM(H, return_sequences=True, name="one"), layers.LSTM(H, name="two")], name="inner"
    )
    made = model(keras, inner, layers.Dense(1))
    assert fc.LSTM.from_keras(made).num_layers == 2
    outer = model(keras, layers.LSTM(I, return_sequences=True, name="zero"), inner)
    refuses(lambda: from_keras(outer), ValueError, "layer must name one of the LSTM layers 'zero', 'one', 'two'")
    assert fc.LSTM.from_keras(outer, "two").hidden_size == H

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.LSTM(H, return_sequences=True, name="one"), layers.LSTM(H, name="two")

        def call(self, x):
            return self.two(self.one(x))

    own = Own()
    own(random(B, T, I))
    refuses(lambda: from_keras(own), ValueError, "'one', 'two' that follow each other: their order is not known")
    assert fc.LSTM.from_keras(own, ["one", "two"]).num_layers == 2


def test_weights_alone(keras):
    for layer in (
        keras.layers.LSTM(H),
        keras.layers.LSTM(H, use_bias=False),
        keras.layers.Bidirectional(keras.layers.LSTM(H)),
    ):
        model(keras, layer)
        got = from_keras(layer.get_weights())
        well_formed(got, more=["batch_first"])
        for name, x in from_keras(layer)["weights"].items():
            np.testing.assert_array_equal(got["weights"][name], x, strict=True)
    two = [random(4, 16), random(4, 16), random(16)] * 2
    told = "must tell a Bidirectional's weights from two layers', got 6 arrays: give [weights] for one Bidirectional"
    refuses(lambda: from_keras(two), ValueError, told)
    assert from_keras([two])["bidirectional"] is True
    assert from_keras([two[:3], two[3:]])["num_layers"] == 2


def test_the_gates_are_taken_one_by_one():
    blocks = np.repeat(np.arange(4.0), H)  # i, f, c, o
    got = from_keras([np.tile(blocks, (I, 1)), np.tile(blocks + 10, (H, 1)), blocks + 20])["weights"]
    assert list(got) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0"]
    assert (got["weight_ih_l0"] == blocks[:, None]).all()
    assert (got["weight_hh_l0"] == blocks[:, None] + 10).all()
    assert (got["bias_ih_l0"] == blocks + 20).all()


WRONG = [
    ([(4, 20), (5, 16)], "recurrent kernel of layer 'source' must have shape (H, 4*H) = (5, 20), got (5, 16)"),
    ([(4, 16), (5, 20)], "kernel of layer 'source' must have shape (I, 4*H) = (4, 20), got (4, 16)"),
    ([(20,), (5, 20)], "kernel of layer 'source' must have shape (I, 4*H), got (20,)"),
    ([(4, 20), (5, 20), (40,)], "bias of layer 'source' must have shape (4*H,) = (20,), got (40,)"),
    ([(4, 15), (5, 15), (15,)], "kernel of layer 'source' must have shape (I, 4*H) = (4, 20), got (4, 15)"),
    (
        [(4, 20)],
        "source must have kernel, recurrent kernel and maybe bias, once or for two directions, got a list of 1",
    ),
]


@pytest.mark.parametrize(("shapes", "message"), WRONG)
def test_wrong_weights_are_named(shapes, message):
    refuses(lambda: from_keras([random(*shape) for shape in shapes]), ValueError, message)


def test_wrong_sources(keras):
    kinds = "source must be a Keras layer or model, weights, a list, or a path, got "
    refuses(lambda: from_keras(3), TypeError, kinds + "int")
    refuses(lambda: from_keras(None), TypeError, kinds + "NoneType")
    refuses(lambda: from_keras([]), ValueError, "source must have an LSTM layer, got no layer at all")
    refuses(lambda: from_keras(keras.layers.GRU(H)), ValueError, "source must have an LSTM layer, got GRU")
    refuses(lambda: from_keras(keras.layers.RNN(keras.layers.GRUCell(H))), ValueError, "an LSTM layer, got RNN")
    refuses(lambda: from_keras(model(keras, keras.layers.Dense(1))), ValueError, "an LSTM layer, got Dense")
    lstm = keras.layers.LSTM(H, name="new")
    refuses(lambda: from_keras(lstm), ValueError, "layer 'new' must be built: it has no kernel yet")
    made = model(keras, lstm, keras.layers.Dense(1, name="head"))
    refuses(lambda: from_keras(made.layers), ValueError, "must be a list of LSTM layers, got 'head', which is a Dense")
    whole = [np.ones((4, 20), int), np.ones((5, 20), int)]
    refuses(lambda: from_keras(whole), TypeError, "kernel of layer 'source' must hold float16, bfloat16, float32 or")


def test_activations_that_fastcell_does_not_have(keras):
    for name in ("activation", "recurrent_activation"):
        layer = keras.layers.LSTM(H, name="odd", **{name: "swish"})
        refuses(
            lambda layer=layer, name=name: from_keras(layer), ValueError, f"{name} of layer 'odd' must be among", "silu"
        )

    def sigmoid(x):
        return x

    layer = keras.layers.LSTM(H, recurrent_activation=sigmoid)
    refuses(lambda: from_keras(layer), ValueError, "recurrent_activation of layer 'lstm_cell", "must be one of Keras's")
    layer = keras.layers.LSTM(H, activation=lambda x: x)
    refuses(lambda: from_keras(layer), ValueError, "must be one of Keras's, got <function")


def test_activations_that_are_layers(keras):
    layers = keras.layers
    functions = {"activation": layers.LeakyReLU(negative_slope=0.1), "recurrent_activation": layers.ELU(alpha=0.5)}
    layer = layers.LSTM(H, return_sequences=True, **functions)
    lstm = same_answer(keras, layer, model(keras, layer))
    assert lstm.activations == (("elu", 0.5), ("leaky_relu", 0.1), ("leaky_relu", 0.1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes(keras, dtype):
    layer = keras.layers.LSTM(H, dtype=dtype, recurrent_initializer="zeros")  # the default one has no halves
    model(keras, layer)
    got = from_keras(layer)
    well_formed(got, "float64" if dtype == "float64" else "float32", ["batch_first"])
    kernel = layer.cell.kernel.value.detach().double().numpy()
    np.testing.assert_array_equal(got["weights"]["weight_ih_l0"], kernel.T)


# Files


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


def keras_2(h5py, path, config, groups, **attributes):
    """A file as Keras 2 wrote it: a model's configuration, and a group of named weights for each layer."""
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        top = file.create_group("model_weights") if config is not None else file
        top.attrs["layer_names"] = [name.encode() for name in groups]
        for name, weights in groups.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = [each.encode() for each in weights]
            for each, x in weights.items():
                group[each] = x


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
    data, rng = path.read_bytes(), np.random.default_rng(0)
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
