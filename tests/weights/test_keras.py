"""from_keras against Keras itself: layers, models and weights."""

import numpy as np
import pytest

import fastcell as fc
from fastcell.weights import from_keras
from tests.helpers.imported import CLOSE, refuses, well_formed
from tests.helpers.keras_models import COPY_WARNING, H, I, model, random

T, B = 7, 3

pytestmark = COPY_WARNING


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
    with pytest.warns(UserWarning, match=r"^initial_state of layer 'decoder' is left out, as it comes from 'encoder'"):
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
    ([(4, 20), (5, 20), (30,)], "bias of layer 'source' must have shape (4*H,) = (20,), got (30,)"),
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


def with_state(keras, source, wrap=lambda lstm: lstm):
    """An LSTM called with a state, of two layers Dense, of an encoder, or of the layer below."""
    L = keras.layers
    x, other = keras.Input((T, I)), keras.Input((4, I))
    if source == "dense":
        y = x
        state = [L.Dense(H, name=name)(keras.ops.mean(other, 1)) for name in ("h", "c")]
    else:
        below = L.LSTM(H, return_sequences=True, return_state=True, name="below")
        y, *state = below(x if source == "below" else other)
        y = y if source == "below" else x
    y = wrap(L.LSTM(H, return_sequences=True, name="lstm"))(y, initial_state=state)
    return keras.Model([x, other], y)


LEFT_OUT = r"^initial_state of layer 'lstm' is left out, as it comes from {}: give it in each call as state=$"


@pytest.mark.parametrize(("source", "told"), [("dense", "'c', 'h'"), ("encoder", "'below'"), ("below", "'below'")])
@pytest.mark.parametrize("way", ["model", ".keras", ".h5"])
def test_an_initial_state_that_a_model_computes_is_not_left_out_in_silence(keras, tmp_path, source, told, way):
    made = with_state(keras, source)
    given = made
    if way != "model":
        given = tmp_path / f"m{way}"
        made.save(given)
    with pytest.warns(UserWarning, match=LEFT_OUT.format(told)):
        lstm = fc.LSTM.from_keras(given, *(["lstm"] if source == "encoder" else []))
    x = [random(B, T, I, seed=1), random(B, 4, I, seed=2)]
    if source == "dense":
        run = keras.Model(made.inputs, made.get_layer("lstm")._inbound_nodes[0].input_tensors[1:])
        state = [np.asarray(part.detach())[None] for part in run(x)]
        y, _ = lstm(x[0], state)
        np.testing.assert_allclose(y, answer(made, x), **CLOSE)
    assert lstm.num_layers == 1 + (source == "below")


def test_layers_that_are_called_with_x_alone_warn_of_nothing(keras):
    x = keras.Input((T, I))
    made = keras.Model(x, keras.layers.LSTM(H, return_sequences=True)(x, initial_state=None, training=False))
    same_answer(keras, made, made)


def test_a_model_whose_configuration_is_not_to_be_had(keras):
    class Mine(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, x):
            return self.function(x)

    x = keras.Input((T, I))
    made = keras.Model(x, keras.layers.LSTM(H, return_sequences=True)(Mine(lambda x: x)(x)))
    with pytest.warns(UserWarning, match="has a layer without get_config, so it is not known whether its LSTM is call"):
        same_answer(keras, made, made)


def test_an_initial_state_of_keras_2_is_not_left_out_in_silence():
    from fastcell.weights.keras_layers import start

    assert start([[["x", 0, 0, {}], ["h", 0, 0, {}], ["c", 0, 1, {}]]]) == {"h", "c"}
    assert start([["x", 0, 0, {"initial_state": [["h", 0, 0], ["c", 0, 1]]}]]) == {"h", "c"}
    assert start([[["x", 0, 0, {}]], [["z", 0, 0, {"initial_state": [["h", 0, 0]]}]]]) == {"h"}
    for none in (
        [],
        None,
        [["x", 0, 0, {}]],
        [[["x", 0, 0, {}]]],
        [[["x", 0, 0, {"training": False}]]],
        [[["x", 0, 0]]],
    ):
        assert start(none) is None
