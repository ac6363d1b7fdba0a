"""from_torch against PyTorch, through the oracle."""

import numpy as np
import pytest

from fastcell.weights import from_torch
from tests.helpers.imported import CLOSE, KEYS, B, H, I, P, T, random, refuses, run, state, well_formed


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # that torch takes a slower path is no matter here
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("proj", [0, P])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_module_and_its_state_dict_give_torch_s_answer(torch, layers, directions, proj, bias, dtype):
    torch.manual_seed(7)
    module = torch.nn.LSTM(I, H, layers, bias, False, 0.0, directions == 2, proj, dtype=getattr(torch, dtype))
    x = random(T, B, I, dtype=dtype)
    with torch.no_grad():
        y, (_, c) = module(torch.from_numpy(x))
    for source, more in ((module, {"batch_first": False}), (module.state_dict(), {})):
        got = from_torch(source)
        well_formed(got, dtype, more)
        expected = [I, H, layers, bias, directions == 2, proj, False, False, False, None]
        assert [got[key] for key in KEYS[:10]] == expected
        assert got["activations"] == ("sigmoid", "tanh", "tanh") * directions
        assert list(got["weights"]) == list(module.state_dict())
        for name, tensor in module.state_dict().items():
            np.testing.assert_array_equal(got["weights"][name], tensor.numpy(), strict=True)
        ours, last = run(got, x)
        np.testing.assert_allclose(ours, y.numpy(), **CLOSE)
        np.testing.assert_allclose(last, c.numpy(), **CLOSE)


def test_the_weights_are_copies_and_the_source_stays_as_it_was(torch):
    module = torch.nn.LSTM(I, H)
    before = {name: x.clone() for name, x in module.state_dict().items()}
    got = from_torch(module)
    for x in got["weights"].values():
        x[...] = 9
    assert all((before[name] == x).all() for name, x in module.state_dict().items())
    given = state()
    from_torch(given)["weights"]["weight_ih_l0"][...] = 9
    assert (given["weight_ih_l0"] == state()["weight_ih_l0"]).all()


@pytest.mark.parametrize("batch_first", [True, False])
def test_batch_first_comes_with_a_module(torch, batch_first):
    got = from_torch(torch.nn.LSTM(I, H, batch_first=batch_first))
    assert got["batch_first"] is batch_first


@pytest.mark.parametrize("bias", [True, False])
def test_a_cell_is_a_layer(torch, bias):
    cell = torch.nn.LSTMCell(I, H, bias)
    x = random(B, I)
    with torch.no_grad():
        _, c = cell(torch.from_numpy(x))
    for source in (cell, cell.state_dict()):
        got = from_torch(source)
        well_formed(got)
        assert [got[key] for key in KEYS[:5]] == [I, H, 1, bias, False]
        assert set(got["weights"]) == {f"{name}_l0" for name in cell.state_dict()}
        np.testing.assert_allclose(run(got, x[None])[1][0], c.numpy(), **CLOSE)
    assert from_torch({f"dec.{n}": x for n, x in cell.state_dict().items()}, "dec")["hidden_size"] == H


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_widened_exactly(torch, dtype):
    module = torch.nn.LSTM(I, H).to(getattr(torch, dtype))
    got = from_torch(module)
    well_formed(got, more=["batch_first"])
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(got["weights"][name], tensor.float().numpy(), strict=True)


def test_arrays_of_any_layout_and_float_dtype():
    expected = from_torch(state("float32"))["weights"]
    swapped = {name: x.astype(">f4") for name, x in state().items()}
    fortran = {name: np.asfortranarray(x) for name, x in state().items()}
    for given in (swapped, fortran):
        got = from_torch(given)
        well_formed(got)
        assert all((got["weights"][name] == x).all() for name, x in expected.items())
    halves = from_torch(state("float16"))
    well_formed(halves)
    assert (halves["weights"]["bias_ih_l0"] == state("float16")["bias_ih_l0"]).all()
    mixed = from_torch(state() | {"bias_hh_l0": state("float64")["bias_hh_l0"]})
    well_formed(mixed, "float64")
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16 of its own")
    brain = {name: x.astype(ml_dtypes.bfloat16) for name, x in state().items()}
    well_formed(from_torch(brain))
    assert (from_torch(brain)["weights"]["bias_ih_l0"] == brain["bias_ih_l0"].astype("f4")).all()


def test_peepholes_under_fastcell_s_own_name():
    got = from_torch(state() | {"weight_peephole_l0": random(3 * H)})
    assert got["peepholes"] is True
    assert (got["weights"]["weight_peephole_l0"] == random(3 * H)).all()
    bad = state() | {"weight_peephole_l0": random(2 * H)}
    refuses(lambda: from_torch(bad), ValueError, "weight_peephole_l0 must have shape (3*H,) = (15,), got (10,)")


@pytest.mark.parametrize("prefix", ["encoder.lstm", "encoder.lstm."])
def test_a_prefix_selects_from_a_whole_model(prefix):
    whole = {"head.weight": random(2, 2), **state(prefix="encoder.lstm.")}
    whole |= {f"other.lstm2.{n}": x for n, x in state("float64").items()}
    got = from_torch(whole, prefix)
    well_formed(got)
    assert (got["weights"]["weight_ih_l0"] == whole["encoder.lstm.weight_ih_l0"]).all()
    assert from_torch(state(prefix="lstm_"), "lstm_")["hidden_size"] == H


def test_a_prefix_leads_to_a_submodule(torch):
    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden_size, self.mode = 99, "fast"
            self.encoder = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(I, H, batch_first=True)})

    model = Tagger()
    got = from_torch(model, "encoder.lstm.")
    well_formed(got, more=["batch_first"])
    assert got["batch_first"] is True
    assert got["hidden_size"] == H
    there = "there are such weights under 'encoder.lstm.'"
    assert from_torch(model)["batch_first"] is True
    refuses(lambda: from_torch(model, "decoder"), ValueError, "got 'decoder'; " + there)


def test_parametrised_weights_are_taken_as_in_use(torch):
    from torch.nn.utils import parametrizations, prune

    module = parametrizations.weight_norm(torch.nn.LSTM(I, H), "weight_hh_l0")
    prune.random_unstructured(module, "weight_ih_l0", 0.5)
    got = from_torch(module)["weights"]
    assert "weight_hh_l0" not in module.state_dict()
    np.testing.assert_array_equal(got["weight_hh_l0"], module.weight_hh_l0.detach().numpy())
    assert (got["weight_ih_l0"] == 0).sum() == 2 * H * I


def test_prefixes_with_an_lstm_are_listed():
    whole = {**state(prefix="a.b."), **state(prefix="c."), "c.weight_ih": random(2, 2), 7: 8}
    refuses(lambda: from_torch(whole), ValueError, "got ''; there are such weights under 'a.b.', 'c.'")
    refuses(lambda: from_torch({"x": random(2)}), ValueError, "there are such weights under no prefix")
    refuses(lambda: from_torch({}, "lstm"), ValueError, "got 'lstm'; there are such weights under no prefix")


WRONG_SHAPES = [
    ("weight_hh_l0", (16, 64), "weight_hh_l0 must have shape (4*H, H) = (64, 16), got (16, 64)"),
    ("weight_ih_l0", (64,), "weight_ih_l0 must have 2 axes, got shape (64,)"),
    ("weight_ih_l0", (60, 3), "weight_ih_l0 must have shape (4*H, I) = (64, 3), got (60, 3)"),
    ("weight_ih_l0", (0, 3), "weight_ih_l0 must have shape (4*H, I) = (64, 3), got (0, 3)"),
    ("weight_hh_l0", (64, 3, 1), "weight_hh_l0 must have 2 axes, got shape (64, 3, 1)"),
    ("bias_hh_l0", (16,), "bias_hh_l0 must have shape (4*H,) = (64,), got (16,)"),
    ("weight_ih_l1_reverse", (64, 16), "weight_ih_l1_reverse must have shape (4*H, 2*H) = (64, 32), got (64, 16)"),
]


def deep(proj=0):
    """A state dict with two layers and two directions of 16 units."""
    made = {}
    for k in range(2):
        for end in (f"_l{k}", f"_l{k}_reverse"):
            made[f"weight_ih{end}"] = random(64, 3 if k == 0 else 2 * (proj or 16))
            made[f"weight_hh{end}"] = random(64, proj or 16)
            made |= {f"bias_ih{end}": random(64), f"bias_hh{end}": random(64)}
            if proj:
                made[f"weight_hr{end}"] = random(proj, 16)
    return made


@pytest.mark.parametrize(("name", "shape", "message"), WRONG_SHAPES)
def test_a_wrong_shape_is_named(name, shape, message):
    assert from_torch(deep())["num_layers"] == 2
    refuses(lambda: from_torch(deep() | {name: np.zeros(shape, "f4")}), ValueError, message)


def test_a_wrong_shape_with_projection_is_named():
    assert from_torch(deep(5))["proj_size"] == 5
    message = "weight_hh_l1 must have shape (4*H, P) = (64, 5), got (64, 16)"
    refuses(lambda: from_torch(deep(5) | {"weight_hh_l1": random(64, 16)}), ValueError, message)
    message = "weight_ih_l1 must have shape (4*H, 2*P) = (64, 10), got (64, 32)"
    refuses(lambda: from_torch(deep(5) | {"weight_ih_l1": random(64, 32)}), ValueError, message)
    message = "weight_hr_l1 must have shape (P, H) = (5, 16), got (16, 5)"
    refuses(lambda: from_torch(deep(5) | {"weight_hr_l1": random(16, 5)}), ValueError, message)


def test_missing_weights_are_named():
    for name in deep():
        given = deep()
        del given[name]
        message = "prefix must lead to" if name == "weight_ih_l0" else f"missing {name}"
        refuses(lambda given=given: from_torch(given), ValueError, message)
    far = state() | {"weight_ih_l999999999": random(4, 4)}
    refuses(lambda: from_torch(far), ValueError, "missing weight_ih_l1, weight_hh_l1, bias_ih_l1", "and 12 more")


def test_other_networks_are_refused(torch):
    gru, rnn = torch.nn.GRU(I, H), torch.nn.RNN(I, H, nonlinearity="relu")
    refuses(lambda: from_torch(gru), ValueError, "source must be an LSTM, got GRU with mode 'GRU'")
    refuses(lambda: from_torch(rnn), ValueError, "source must be an LSTM, got RNN with mode 'RNN_RELU'")
    for module in (gru, torch.nn.GRUCell(I, H)):
        message = "weight_hh_l0 must have 4*H rows, got shape (15, 5), which is a GRU's"
        refuses(lambda m=module: from_torch(m.state_dict()), ValueError, message)
    for module in (rnn, torch.nn.RNNCell(I, H)):
        message = "weight_hh_l0 must have 4*H rows, got shape (5, 5), which is a plain RNN's"
        refuses(lambda m=module: from_torch(m.state_dict()), ValueError, message)


def test_wrong_kinds_of_torch_sources(torch):
    kinds = "source must be an nn.LSTM, an nn.LSTMCell or a state dict, got "
    refuses(lambda: from_torch([1]), TypeError, kinds + "list")
    refuses(lambda: from_torch(None), TypeError, kinds + "NoneType")
    refuses(lambda: from_torch(state(), 3), TypeError, "prefix must be a str, got int")
    whole = "weight_ih_l0 must hold float16, bfloat16, float32 or float64, got int64"
    refuses(lambda: from_torch(state() | {"weight_ih_l0": np.ones((4 * H, I), "i8")}), TypeError, whole)
    none = "bias_ih_l0 must be a tensor or an array, got NoneType"
    refuses(lambda: from_torch(state() | {"bias_ih_l0": None}), TypeError, none)
    meta = torch.nn.LSTM(I, H, device="meta")
    refuses(lambda: from_torch(meta), ValueError, "weight_ih_l0 must hold values, got a tensor on the meta device")
