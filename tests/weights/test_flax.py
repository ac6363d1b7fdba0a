"""from_flax against Flax itself: linen's parameters and nnx's modules."""

import numpy as np
import pytest

import fastcell as fc
from fastcell.weights import from_flax
from tests.helpers.imported import CLOSE, refuses, well_formed

T, B, I, H = 6, 3, 4, 5


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(0, 0.5, shape).astype("f4")


def cell(inputs=I, hidden=H, bias=True, seed=0):
    """A cell's parameters in plain arrays."""
    made = {"i" + gate: {"kernel": random(inputs, hidden, seed=seed + k)} for k, gate in enumerate("ifgo")}
    for k, gate in enumerate("ifgo"):
        made["h" + gate] = {"kernel": random(hidden, hidden, seed=seed + k + 4)}
        if bias:
            made["h" + gate]["bias"] = random(hidden, seed=seed + k + 8)
    return made


def randomised(flax, tree):
    """Weights drawn anew, since a new cell's biases are 0."""
    return flax.jax.tree.map(lambda x: flax.jax.numpy.asarray(random(*x.shape, seed=x.size)), tree)


@pytest.mark.parametrize("kind", ["LSTMCell", "OptimizedLSTMCell"])
@pytest.mark.parametrize("directions", [1, 2])
def test_linen_s_parameters_give_flax_s_answer(flax, kind, directions):
    nn, x = flax.linen, random(B, T, I)
    rnn = [nn.RNN(getattr(nn, kind)(H)) for _ in range(directions)]
    module = nn.Bidirectional(*rnn) if directions == 2 else rnn[0]
    params = randomised(flax, module.init(flax.jax.random.key(0), x))
    wanted = np.asarray(module.apply(params, x))
    got = from_flax(params)
    well_formed(got, more=["batch_first"])
    assert (got["input_size"], got["hidden_size"], got["bidirectional"]) == (I, H, directions == 2)
    for source in (params, params["params"]):
        y, _ = fc.LSTM.from_flax(source)(x)
        assert y.shape == wanted.shape
        np.testing.assert_allclose(y, wanted, **CLOSE)


def test_a_list_makes_layers(flax):
    nn, x = flax.linen, random(B, T, I)

    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(3):
                x = nn.RNN(nn.OptimizedLSTMCell(H))(x)
            return x

    params = randomised(flax, Stack().init(flax.jax.random.key(0), x))
    cells = [params["params"][f"OptimizedLSTMCell_{k}"] for k in range(3)]
    lstm = fc.LSTM.from_flax(cells)
    assert lstm.num_layers == 3
    np.testing.assert_allclose(lstm(x)[0], np.asarray(Stack().apply(params, x)), **CLOSE)
    told = "got cells under params/OptimizedLSTMCell_0, params/OptimizedLSTMCell_1, params/OptimizedLSTMCell_2; a list"
    refuses(
        lambda: from_flax(params), ValueError, "params must hold one LSTM cell, or the two of a Bidirectional", told
    )


@pytest.mark.parametrize("kind", ["LSTMCell", "OptimizedLSTMCell"])
@pytest.mark.parametrize("case", ["forward", "reverse", "both", "functions", "time first"])
def test_nnx_s_modules_give_flax_s_answer(flax, kind, case):
    nnx, jax = flax.nnx, flax.jax
    more = {"gate_fn": jax.nn.hard_sigmoid, "activation_fn": jax.nn.soft_sign} if case == "functions" else {}
    cells = [getattr(nnx, kind)(I, H, rngs=nnx.Rngs(k), **more) for k in range(2)]
    options = {"reverse": {"reverse": True, "keep_order": True}, "time first": {"time_major": True}}.get(case, {})
    module = nnx.Bidirectional(*map(nnx.RNN, cells)) if case == "both" else nnx.RNN(cells[0], **options)
    nnx.update(module, randomised(flax, nnx.state(module, nnx.Param)))
    x = random(T, B, I) if case == "time first" else random(B, T, I)
    lstm = fc.LSTM.from_flax(module)
    assert lstm.reverse is (case == "reverse")
    assert lstm.batch_first is (case != "time first")
    y, _ = lstm(x)
    wanted = np.asarray(module(x))
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, **CLOSE)
    if case == "forward":
        for source in (cells[0], nnx.state(cells[0]), nnx.to_pure_dict(nnx.state(module, nnx.Param))):
            same = from_flax(source)["weights"]
            for name, array in lstm.state_dict().items():
                np.testing.assert_array_equal(same[name], array, strict=True)


def test_nnx_layers_that_run_backwards(flax):
    nnx, x = flax.nnx, random(B, T, I)

    def stack(*options):
        layers = [
            nnx.RNN(nnx.LSTMCell(H if k else I, H, rngs=nnx.Rngs(k)), **each) for k, each in enumerate(options)
        ]  # fmt: skip
        y = x
        for layer in layers:
            y = layer(y)
        return layers, np.asarray(y)

    back, turned = {"reverse": True, "keep_order": True}, {"reverse": True}
    for options, flipped in (((back, back), False), ((turned, {}), True)):
        layers, wanted = stack(*options)
        lstm = fc.LSTM.from_flax(layers)
        assert lstm.reverse is True
        y, _ = lstm(x)
        np.testing.assert_allclose(y[:, ::-1] if flipped else y, wanted, **CLOSE)
    for options in ((back, {}), (turned, turned), ({}, back)):
        layers, _ = stack(*options)
        refuses(lambda layers=layers: from_flax(layers), ValueError, "layers that all run in one direction")


def test_nnx_modules_that_have_no_equal(flax):
    nnx = flax.nnx

    def lstm(**more):
        return nnx.LSTMCell(I, H, rngs=nnx.Rngs(0), **more)

    told = "activation_fn must be jax.nn's sigmoid, tanh, relu"
    refuses(lambda: from_flax(lstm(activation_fn=flax.jax.nn.silu)), ValueError, told, "got silu of jax")
    refuses(
        lambda: from_flax(lstm(gate_fn=lambda x: x)), ValueError, "gate_fn must be jax.nn's", "got <lambda> of test"
    )
    both = nnx.Bidirectional(nnx.RNN(lstm()), nnx.RNN(lstm()), merge_fn=lambda a, b: a + b)
    refuses(lambda: from_flax(both), ValueError, "merge_fn of a Bidirectional must be its default")
    both = nnx.Bidirectional(nnx.RNN(lstm(), reverse=True), nnx.RNN(lstm()))
    refuses(lambda: from_flax(both), ValueError, "forward_rnn of a Bidirectional must not be of reverse=True")
    kinds = "params must be an nnx LSTMCell, OptimizedLSTMCell, RNN or Bidirectional, got "
    refuses(lambda: from_flax(nnx.GRUCell(I, H, rngs=nnx.Rngs(0))), ValueError, kinds + "GRUCell")
    refuses(lambda: from_flax(nnx.RNN(nnx.GRUCell(I, H, rngs=nnx.Rngs(0)))), ValueError, kinds + "GRUCell")


def test_the_gates_are_taken_one_by_one():
    given = {"i" + gate: {"kernel": np.full((I, H), k)} for k, gate in enumerate("ifgo")}
    given |= {"h" + g: {"kernel": np.full((H, H), k + 10), "bias": np.full(H, k + 20)} for k, g in enumerate("ifgo")}
    given = {name: {leaf: x.astype("f4") for leaf, x in part.items()} for name, part in reversed(given.items())}
    got = from_flax({"params": {"cell": given}})["weights"]
    blocks = np.repeat(np.arange(4.0), H)
    assert (got["weight_ih_l0"] == blocks[:, None]).all()
    assert (got["weight_hh_l0"] == blocks[:, None] + 10).all()
    assert (got["bias_hh_l0"] == blocks + 20).all()
    assert len(got) == 3


def test_arrays_without_biases_and_of_other_dtypes():
    got = from_flax(cell(bias=False))
    well_formed(got, more=["batch_first"])
    assert got["bias"] is False
    double = {name: {leaf: x.astype("f8") for leaf, x in part.items()} for name, part in cell().items()}
    well_formed(from_flax(double), "float64", ["batch_first"])
    half = {name: {leaf: x.astype("f2") for leaf, x in part.items()} for name, part in cell().items()}
    well_formed(from_flax(half), "float32", ["batch_first"])
    optimised = {
        "dense_i": {"kernel": random(I, 4 * H)},
        "dense_h": {"kernel": random(H, 4 * H), "bias": random(4 * H)},
    }
    np.testing.assert_array_equal(from_flax(optimised)["weights"]["weight_ih_l0"], random(I, 4 * H).T, strict=True)


def changed(**more):
    return cell() | more


WRONG = [
    (
        changed(ii={"kernel": random(I, H + 1)}),
        "kernel of if in layer 0 must have shape (4, 6), as in ii, got shape (4, 5)",
    ),
    (changed(ii={"kernel": random(I)}), "kernel of ii in layer 0 must have 2 axes, got shape (4,)"),
    (changed(ii={}), "ii in layer 0 must have a kernel"),
    (changed(hf={"kernel": random(H, H)}), "hf in layer 0 must have a bias"),
    ([cell(), cell()], "kernels of x in layer 1 must have shape (4*H, D*H) = (20, 5), got (20, 4)"),
    ([cell(), cell(H, 6)], "kernels of x in layer 1 must have shape (4*H, D*H) = (20, 5), got (24, 5)"),
    ({"a": cell(), "b": cell()}, "got cells under a, b; a list of these makes layers"),
    ({"cell": {"in": {}, "ir": {}, "iz": {}, "hn": {}}}, "got none of an LSTM's parts"),
    ({}, "got none of an LSTM's parts"),
    ([], "params must hold an LSTM cell, got an empty list"),
    (
        [{"forward_rnn": cell(), "backward_rnn": cell()}, cell(2 * H)],
        "params must have layers of the same directions and activations, layer 1 has others",
    ),
]


@pytest.mark.parametrize(("params", "message"), WRONG)
def test_wrong_parameters_are_named(params, message):
    refuses(lambda: from_flax(params), ValueError, message)


def test_wrong_kinds_of_parameters():
    refuses(lambda: from_flax(3), TypeError, "params must be a dict, an nnx module, or a list of these, got int")
    whole = changed(ii={"kernel": np.ones((I, H), int)})
    refuses(
        lambda: from_flax(whole), TypeError, "kernel of ii in layer 0 must hold float16, bfloat16, float32 or float64"
    )
    deep: dict = {}
    for _ in range(10_000):
        deep = {"x": deep}
    refuses(lambda: from_flax(deep), ValueError, "got none of an LSTM's parts")
