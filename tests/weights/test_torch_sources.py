"""from_torch over what PyTorch's users have: checkpoints, parametrised and quantised modules, TorchScript, files."""

import argparse
import warnings
from collections import OrderedDict

import numpy as np
import pytest

import fastcell as fc
from fastcell.lstm.config import Quantized
from fastcell.weights import from_torch
from tests.helpers.imported import CLOSE, B, H, I, T, random, refuses, run, state, well_formed, widened

# PyTorch has deprecated torch.jit and its own quantisation; what they made is still there.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean"),
    pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning"),
]


@pytest.fixture
def tagger(torch):
    """A model with an LSTM and what stands beside it."""

    class Tagger(torch.nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.embed, self.gru = torch.nn.Linear(I, I), torch.nn.GRU(I, H)
            self.lstm = torch.nn.LSTM(I, H, **options)
            self.head = torch.nn.Linear(H, 2)

        def forward(self, x):
            return self.lstm(x)[0]

    torch.manual_seed(0)
    return Tagger


def same_weights(got, module):
    """Assert that these arguments hold the module's weights, and say its batch_first if they say one."""
    well_formed(got, more=["batch_first"] if "batch_first" in got else [])
    wanted = module.state_dict()
    assert set(got["weights"]) == set(wanted)
    for name, x in wanted.items():
        np.testing.assert_array_equal(got["weights"][name], x.numpy(), strict=True)


WRAPPED = {
    "lightning": lambda s: {"epoch": 3, "state_dict": s, "hyper_parameters": {"a": [1, None]}, "callbacks": {}},
    "model": lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": 1.0}}, "param_groups": [{"params": [0]}]}},
    "model_state": lambda s: {"meta": {"model_state": OrderedDict(s)}},
    "data parallel": lambda s: {f"module.{name}": x for name, x in s.items()},
    "compiled": lambda s: {"state_dict": {f"_orig_mod.module.{name}": x for name, x in s.items()}},
    "prefixed": lambda s: {"net": {f"a.b.{name}": x for name, x in s.items()}},
    "list": lambda s: {"models": [s, {"other": 3}]},
}


@pytest.mark.parametrize("prefix", ["", "lstm", "lstm."])
@pytest.mark.parametrize("how", WRAPPED)
def test_a_checkpoint_s_only_lstm_is_found(torch, tagger, tmp_path, how, prefix):
    model = tagger(num_layers=2, bidirectional=True)
    checkpoint = WRAPPED[how](model.state_dict())
    same_weights(from_torch(checkpoint, prefix), model.lstm)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    same_weights(from_torch(tmp_path / "a.ckpt", prefix), model.lstm)
    assert fc.LSTM.from_torch(str(tmp_path / "a.ckpt"), prefix).num_layers == 2


def test_several_lstms_are_listed_and_chosen():
    two = {"model": {**state(prefix="encoder.lstm."), **state("float64", prefix="decoder.rnn.lstm.")}, "ema": state()}
    told = "prefix must lead to an LSTM's weight_ih_l0, got ''; there are such weights under 'model.encoder.lstm.', "
    refuses(lambda: from_torch(two), ValueError, told + "'model.decoder.rnn.lstm.', 'ema.'")
    refuses(lambda: from_torch(two, "lstm"), ValueError, "got 'lstm'; there are such weights under 'model.encoder.")
    refuses(lambda: from_torch(two, "m"), ValueError, "got 'm'; there are such weights under 'model.encoder.")
    for prefix in ("encoder", "encoder.lstm", "model.encoder.lstm."):
        well_formed(from_torch(two, prefix))
    for prefix in ("decoder", "rnn.lstm", "decoder.rnn.", "model.decoder"):
        well_formed(from_torch(two, prefix), "float64")
    assert from_torch(two, "ema")["hidden_size"] == H
    many = {f"l{k}.{name}": x for k in range(30) for name, x in state().items()}
    refuses(lambda: from_torch(many), ValueError, "'l19.' and 10 more")


def test_a_checkpoint_may_hold_modules_and_a_module_twice(torch, tagger):
    model = tagger(batch_first=True)
    same_weights(from_torch({"model": model, "optimizer": torch.optim.Adam(model.parameters())}), model.lstm)
    assert from_torch({"model": model})["batch_first"] is True
    model.again = torch.nn.ModuleList([model.lstm])
    assert sum("weight_ih_l0" in name and "lstm" in name for name in model.state_dict()) == 1
    same_weights(from_torch(model), model.lstm)
    model.cell = torch.nn.LSTMCell(I, H)
    refuses(lambda: from_torch(model), ValueError, "there are such weights under 'lstm.', 'cell.'")
    assert from_torch(model, "cell")["hidden_size"] == H


def test_a_circle_of_containers_is_refused():
    circle = {}
    circle["again"] = circle
    refuses(lambda: from_torch(circle), ValueError, "source must not have containers in each other without end")


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("spelling", ["parametrizations", "g and v"])
def test_weight_norm_is_folded(torch, spelling, dim):
    old = spelling == "g and v"
    weight_norm = torch.nn.utils.weight_norm if old else torch.nn.utils.parametrizations.weight_norm
    module = torch.nn.LSTM(I, H)
    for name in ("weight_hh_l0", "weight_ih_l0"):
        module = weight_norm(module, name, dim)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)  # so that an attribute left by the older kind is out of date
        wanted = {n: x.numpy() for n, x in module.state_dict().items() if n.startswith("bias")}
        x = random(T, B, I)
        y, _ = module(torch.from_numpy(x))
        wanted |= {n: getattr(module, n).detach().numpy() for n in ("weight_hh_l0", "weight_ih_l0")}
    whole = {"state_dict": {f"rnn.{name}": value for name, value in module.state_dict().items()}}
    assert not any(name.endswith("weight_hh_l0") for name in whole["state_dict"])
    for source in (whole, module):
        got = from_torch(source)
        well_formed(got, more=["batch_first"] if source is module else [])
        assert set(got["weights"]) == set(wanted)
        for name, value in wanted.items():
            np.testing.assert_allclose(got["weights"][name], value, rtol=1e-6, atol=0, strict=True)
        np.testing.assert_allclose(run(got, x)[0], y.numpy(), **CLOSE)


def test_weight_norm_of_the_older_kind_is_no_older_than_its_parameters(torch):
    module = torch.nn.utils.weight_norm(torch.nn.LSTM(I, H), "weight_hh_l0")
    before = module.weight_hh_l0.detach().numpy().copy()
    with torch.no_grad():
        module.weight_hh_l0_g.mul_(2)
    got = from_torch(module)["weights"]["weight_hh_l0"]
    np.testing.assert_allclose(got, 2 * before, rtol=1e-6, atol=0, strict=True)


def test_weight_norm_of_a_wrong_shape_or_half_is_named():
    given = state()
    v = given.pop("weight_hh_l0")
    refuses(
        lambda: from_torch(given | {"weight_hh_l0_v": v, "weight_hh_l0_g": random(7, 1)}),
        ValueError, "weight norm's g of weight_hh_l0 must be a norm of v of shape (20, 5), got shape (7, 1)",
    )  # fmt: skip
    refuses(lambda: from_torch(given | {"weight_hh_l0_v": v}), ValueError, "weight_hh_l0 must be there as it is in use")
    orthogonal = given | {"parametrizations.weight_hh_l0.original": v}
    refuses(lambda: from_torch(orthogonal), ValueError, "weight_hh_l0 must be there", "give the module")


def test_a_row_of_zeros_under_weight_norm_is_torch_s_nan(torch):
    module = torch.nn.utils.parametrizations.weight_norm(torch.nn.LSTM(I, H), "weight_hh_l0")
    with torch.no_grad():
        module.parametrizations.weight_hh_l0.original1[2] = 0
    wanted = module.weight_hh_l0.detach().numpy()
    got = from_torch(module.state_dict())["weights"]["weight_hh_l0"]
    assert np.isnan(got[2]).all()
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=0, strict=True)


@pytest.mark.parametrize("around", [True, False], ids=["raw in the wrapper", "raw in the LSTM"])
def test_weight_drop_s_raw_weight_is_the_weight(torch, around):
    class WeightDrop(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module
            w = module.weight_hh_l0
            del module._parameters["weight_hh_l0"]
            (self if around else module).register_parameter("weight_hh_l0_raw", torch.nn.Parameter(w.data))
            module.weight_hh_l0 = torch.nn.functional.dropout(w.detach(), 0.5, training=True)  # of the last call

    plain = torch.nn.LSTM(I, H, batch_first=True)
    wanted = {name: x.clone() for name, x in plain.state_dict().items()}
    model = torch.nn.Sequential(WeightDrop(plain))
    for source in (model, model.state_dict(), {"model": model.state_dict()}):
        got = from_torch(source)
        assert set(got["weights"]) == set(wanted)
        for name, x in wanted.items():
            np.testing.assert_array_equal(got["weights"][name], x.numpy(), strict=True)
    assert from_torch(model)["batch_first"] is True
    assert from_torch(model, "0.module")["batch_first"] is True
    # Where a dropped one is saved beside it, the raw one is still what was learned.
    both = model.state_dict() | {"0.module.weight_hh_l0": plain.weight_hh_l0}
    np.testing.assert_array_equal(from_torch(both)["weights"]["weight_hh_l0"], wanted["weight_hh_l0"].numpy())


def test_pruned_and_spectral_weights_of_a_state_dict(torch):
    from torch.nn.utils import prune, spectral_norm

    module = torch.nn.LSTM(I, H)
    prune.random_unstructured(module, "weight_ih_l0", 0.5)
    spectral_norm(module, "weight_hh_l0")
    module.eval()
    with torch.no_grad():
        module(torch.zeros(1, 1, I))
    wanted = {name: getattr(module, name).detach().numpy() for name in ("weight_ih_l0", "weight_hh_l0")}
    got = from_torch({"lstm." + name: x for name, x in module.state_dict().items()})["weights"]
    assert (got["weight_ih_l0"] == 0).sum() == 2 * H * I
    for name, x in wanted.items():
        np.testing.assert_allclose(got[name], x, rtol=1e-6, atol=1e-7, strict=True)


def scripts(torch, model, x):
    """The ways to make a TorchScript of a model."""
    scripted = torch.jit.script(model)
    return {
        "script": scripted,
        "trace": torch.jit.trace(model, x),
        "frozen": torch.jit.freeze(scripted),
        "frozen trace": torch.jit.freeze(torch.jit.trace(model, x)),
    }


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("how", ["script", "trace", "frozen", "frozen trace"])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_script_and_its_file(torch, tmp_path, how, batch_first):
    class Holder(torch.nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.lstm = torch.nn.LSTM(I, H, 2, batch_first=batch_first, **options)

        def forward(self, x):
            return self.lstm(x)[0]

    x = random(B, T, I)
    for options in ({"bidirectional": True}, {"bias": False}, {"proj_size": 2}):
        model = Holder(**options).eval()
        script = scripts(torch, model, torch.from_numpy(x))[how]
        torch.jit.save(script, tmp_path / "a.jit")
        for source in (script, tmp_path / "a.jit"):
            got = from_torch(source)
            same_weights(got, model.lstm)
            assert got["batch_first"] is batch_first
            assert got["bidirectional"] is ("bidirectional" in options)
    with torch.no_grad():
        y = model(torch.from_numpy(x)).numpy()
    ours, _ = fc.LSTM.from_torch(tmp_path / "a.jit")(x)
    np.testing.assert_allclose(ours, y, **CLOSE)


def test_a_script_of_a_cell_or_an_lstm_alone(torch, tmp_path):
    cell, lstm = torch.nn.LSTMCell(I, H), torch.nn.LSTM(I, H, batch_first=True).eval()
    x = torch.zeros(B, I)
    for script in (torch.jit.script(cell), torch.jit.trace(cell, x)):
        got = from_torch(script)
        assert {name: tuple(w.shape) for name, w in got["weights"].items()} == {
            f"{name}_l0": tuple(w.shape) for name, w in cell.state_dict().items()
        }
        np.testing.assert_array_equal(got["weights"]["weight_hh_l0"], cell.weight_hh.detach().numpy(), strict=True)
    for script in (torch.jit.script(lstm), torch.jit.trace(lstm, torch.zeros(B, T, I))):
        same_weights(from_torch(script), lstm)
        assert from_torch(script)["batch_first"] is True


def test_a_frozen_script_of_what_is_not_read_there(torch, tmp_path):
    class Holder(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    cell, lstm = Holder(torch.nn.LSTMCell(I, H)).eval(), Holder(torch.nn.LSTM(I, H)).eval()
    dynamic = torch.ao.quantization.quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        whole, cells = dynamic(lstm, {torch.nn.LSTM}), dynamic(cell, {torch.nn.LSTMCell})
    for model in (cell, whole, cells):
        x = torch.zeros(*((T,) if model is whole else ()), B, I)
        made = [torch.jit.freeze(torch.jit.script(model)), torch.jit.freeze(torch.jit.trace(model, x).eval())]
        for script in made:
            torch.jit.save(script, tmp_path / "a.pt")
            for source in (script, tmp_path / "a.pt"):
                refuses(
                    lambda source=source: from_torch(source), ValueError, "as it was before torch.jit.freeze", "got"
                )


def per_channel(torch):
    return torch.ao.quantization.QConfig(
        activation=torch.ao.quantization.PlaceholderObserver.with_args(dtype=torch.float32),
        weight=torch.ao.quantization.default_per_channel_weight_observer,
    )


def check_integers(got, weights):
    """Assert that these arguments hold the very integers and scales of PyTorch's."""
    assert got["precision"] == "int8"
    for name, x in weights.items():
        values, scale = got["weights"][name]
        np.testing.assert_array_equal(values, x.int_repr().numpy() - np.int8(x.q_zero_point()), strict=True)
        np.testing.assert_array_equal(scale, np.full(len(values), x.q_scale(), "f4"), strict=True)


@pytest.mark.parametrize("kind", ["int8", "float16"])
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}],
)
def test_a_dynamically_quantised_lstm(torch, tagger, tmp_path, kind, options):
    model = tagger(**options).eval()
    dtype = torch.qint8 if kind == "int8" else torch.float16
    quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM}, dtype=dtype)
    wanted = {name: x.dequantize() if x.is_quantized else x for name, x in quantised.lstm.get_weight().items()}
    wanted |= {name: x for name, x in quantised.lstm.get_bias().items() if x is not None}
    script = torch.jit.script(quantised)
    torch.jit.save(script, tmp_path / "a.pt")
    sources = {"module": quantised, "script": script, "file": tmp_path / "a.pt", "state": quantised.state_dict()}
    for name, source in sources.items():
        got = from_torch(source)
        if kind == "int8":
            check_integers(got, quantised.lstm.get_weight())
            got = widened(got)
        well_formed(got, more=[] if name == "state" else ["batch_first"])
        assert got.get("batch_first", False) is (name != "state" and "batch_first" in options)
        assert (got["num_layers"], got["bidirectional"]) == (
            options.get("num_layers", 1),
            options.get("bidirectional", False),
        )
        for key, x in wanted.items():
            np.testing.assert_array_equal(got["weights"][key], x.detach().numpy(), strict=True)
    with torch.no_grad():
        x = torch.from_numpy(random(B, T, I))
        theirs = quantised(x).numpy()
        for precision in (None, "float32"):
            lstm = fc.LSTM.from_torch(quantised, precision=precision)
            assert lstm.precision == (precision or {"int8": "int8", "float16": "float32"}[kind])
            # there x and h are rounded to 8 bits, too, to steps of about a hundredth
            np.testing.assert_allclose(lstm(x)[0], theirs, rtol=0, atol=3e-2)
    torch.save(quantised.state_dict(), tmp_path / "b.pt")
    refuses(lambda: from_torch(tmp_path / "b.pt"), ValueError, "source must be a file of tensors", "weights_only=False")


def test_quantised_tensors_and_cells(torch):
    cell = torch.nn.Sequential(torch.nn.LSTMCell(I, H))
    for dtype in (torch.qint8, torch.float16):
        quantised = torch.ao.quantization.quantize_dynamic(cell, {torch.nn.LSTMCell}, dtype=dtype)
        for source in (quantised, quantised.state_dict()):
            got = from_torch(source)
            if dtype is torch.qint8:
                check_integers(got, {f"{name}_l0": x for name, x in quantised[0].get_weight().items()})
                got = widened(got)
            got = got["weights"]
            for name, x in quantised[0].get_weight().items():
                wanted = x.dequantize() if x.is_quantized else x
                np.testing.assert_array_equal(got[name + "_l0"], wanted.detach().numpy(), strict=True)
            np.testing.assert_array_equal(got["bias_hh_l0"], cell[0].bias_hh.detach().numpy(), strict=True)


def test_quantised_tensors(torch):
    w = torch.from_numpy(random(4 * H, H))
    scales = w.abs().amax(1) / 127
    zeros = torch.zeros(4 * H, dtype=torch.int64)
    fitting = {
        "tensor": torch.quantize_per_tensor(w, 0.02, 3, torch.qint8),
        "unsigned": torch.quantize_per_tensor(w, 0.02, 128, torch.quint8),
        "channel": torch.quantize_per_channel(w, scales, zeros, 0, torch.qint8),
    }
    others = {
        "far zero": torch.quantize_per_tensor(w, 0.004, 0, torch.quint8),
        "columns": torch.quantize_per_channel(w, scales[:H], zeros[:H], 1, torch.qint8),
        "32 bits": torch.quantize_per_tensor(w, 0.02, 0, torch.qint32),
    }
    for name, q in (fitting | others).items():
        # Of two weights one holds floats: they are not rounded unless it is asked for.
        given = state() | {"weight_hh_l0": q}
        got = from_torch(given)
        assert isinstance(got["weights"]["weight_hh_l0"], Quantized) is (name in fitting)
        plain = got if name == "32 bits" else widened(got, "float32")
        well_formed(plain)
        np.testing.assert_array_equal(plain["weights"]["weight_hh_l0"], q.dequantize().numpy(), strict=True)
        lstm = fc.LSTM.from_torch(given)
        assert lstm.precision == "float32"
        np.testing.assert_array_equal(lstm(random(T, B, I))[0], fc.LSTM(**plain)(random(T, B, I))[0], strict=True)
        small = fc.LSTM.from_torch(given, precision="int8")
        if name in fitting:
            zero = q.q_zero_point() if name != "channel" else 0
            values, scale = small.quantized()["weight_hh_l0"]
            np.testing.assert_array_equal(values, (q.int_repr().int() - zero).numpy().astype("i1"), strict=True)
            wanted = scales.numpy() if name == "channel" else np.full(4 * H, 0.02, "f4")
            np.testing.assert_array_equal(scale, wanted, strict=True)
        # Where both are integers, so are the products.
        both = given | {"weight_ih_l0": torch.quantize_per_tensor(torch.from_numpy(random(4 * H, I)), 0.02, 0, q.dtype)}
        assert fc.LSTM.from_torch(both).precision == ("float32" if name == "32 bits" else "int8")
    double = from_torch(given | {"weight_hh_l0": fitting["tensor"], "bias_hh_l0": random(4 * H, dtype="float64")})
    well_formed(double, "float64")
    np.testing.assert_array_equal(double["weights"]["weight_hh_l0"], fitting["tensor"].dequantize().double().numpy())


def test_packed_weights_that_don_t_tell_directions_from_layers(torch):
    def packed(inputs, **options):
        one = torch.nn.Sequential(torch.nn.LSTM(inputs, H, **options))
        return torch.ao.quantization.quantize_dynamic(one, {torch.nn.LSTM})

    two = packed(H, bidirectional=True)
    refuses(lambda: from_torch(two.state_dict()), ValueError, "source must tell two directions from two layers")
    assert from_torch(two)["bidirectional"] is True
    assert from_torch(packed(H, num_layers=3).state_dict())["num_layers"] == 3
    assert from_torch(packed(I, bidirectional=True).state_dict())["bidirectional"] is True
    gru = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.GRU(I, H)), {torch.nn.GRU})
    refuses(lambda: from_torch(gru), ValueError, "which is a GRU's")


@pytest.mark.parametrize("split", [False, True])
def test_a_quantizable_lstm(torch, split):
    quantizable = torch.ao.nn.quantizable
    x = random(B, T, I)
    for options in (
        {"bidirectional": True},
        {"num_layers": 3},
        {"bias": False},
    ):  # no two layers of two directions there
        module = quantizable.LSTM(I, H, batch_first=True, split_gates=split, **options)
        model = torch.nn.ModuleDict({"rnn": module})
        with torch.no_grad():
            y, _ = module(torch.from_numpy(x))
        for source in (module, model, {"state_dict": model.state_dict()}):
            got = from_torch(source)
            well_formed(got, more=[] if isinstance(source, dict) else ["batch_first"])
            assert (got["num_layers"], got["bias"]) == (options.get("num_layers", 1), options.get("bias", True))
            np.testing.assert_allclose(run(got, x.transpose(1, 0, 2))[0].transpose(1, 0, 2), y.numpy(), **CLOSE)
        assert from_torch(model)["batch_first"] is True
    cell = quantizable.LSTMCell(I, H, split_gates=split)
    assert from_torch(cell)["hidden_size"] == H


def test_a_statically_quantised_lstm_is_refused(torch):
    state = {"rnn.layers.0.layer_fw.cell.igates._packed_params._packed_params": None}
    refuses(lambda: from_torch(state), ValueError, "got 'rnn.' with the integers of a static quantisation")


def test_files_that_are_refused(torch, tmp_path):
    path = tmp_path / "a.pt"
    refuses(lambda: from_torch(path), FileNotFoundError, "a.pt")
    torch.save(torch.nn.LSTM(I, H), path)
    told = "source must be a file of tensors, dicts and lists alone, got"
    refuses(lambda: from_torch(path), ValueError, told, "torch.nn.modules.rnn.LSTM: that could run code")
    torch.save({"state_dict": state(), "options": argparse.Namespace(a=1)}, path)
    refuses(lambda: from_torch(path), ValueError, told)
    for data in (b"", b"text", b"\x80\x02", b"PK\x03\x04"):
        path.write_bytes(data)
        refuses(lambda: from_torch(path), ValueError, "source must be a file of torch.save or torch.jit.save, got")
    for saved in (torch.zeros(3), [torch.zeros(3)], 7):
        torch.save(saved, path)
        refuses(lambda: from_torch(path), ValueError, "there are such weights under no prefix")
    torch.save([torch.nn.LSTM(I, H).state_dict()], path)
    assert from_torch(path)["hidden_size"] == H


@pytest.mark.parametrize("script", [True, False])
def test_flipped_bits_give_a_model_or_a_value_error(torch, tmp_path, script):
    path = tmp_path / "a.pt"
    lstm = torch.nn.LSTM(I, H)
    torch.jit.save(torch.jit.script(lstm), path) if script else torch.save(lstm.state_dict(), path)
    data, rng, outcomes = path.read_bytes(), np.random.default_rng(0), set()
    for n in range(60):
        changed = bytearray(data)
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        if n % 3 == 0:
            del changed[int(rng.integers(len(data))) :]
        path.write_bytes(changed)
        try:
            assert from_torch(path)["weights"]["weight_ih_l0"].ndim == 2
            outcomes.add("read")
        except ValueError as error:
            assert len(str(error)) > 20  # noqa: PT017, one of two outcomes
            outcomes.add("error")
    assert outcomes == {"read", "error"}
