"""`python -m fastcell lstm` over the files of PyTorch's and Keras's users, with what the extra `weights` brings."""

import subprocess
import sys

import numpy as np
import pytest

import fastcell as fc
from fastcell.__main__ import main
from tests.helpers.keras_2_files import as_lstm, cudnn, entry, keras_2, sequential, stored
from tests.helpers.keras_models import COPY_WARNING, model
from tests.helpers.keras_models import I as INPUTS

pytestmark = [
    COPY_WARNING,
    pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean"),
]
H = 5


def ran(folder, weights, lstm, *options):
    """Assert that the command writes the LSTM's answer."""
    x = np.random.default_rng(0).standard_normal((20, 2, lstm.input_size))
    np.save(folder / "x.npy", x)
    arguments = ["lstm", "--weights", str(weights), str(folder / "x.npy"), "-o", str(folder / "y.npy")]
    assert main([*arguments, *options]) == 0
    y, wanted = np.load(folder / "y.npy"), lstm(x, batch_first=False)[0]
    np.testing.assert_array_equal(y, wanted, strict=True)


def tagger(torch, **options):
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"rnn": torch.nn.LSTM(6, H, batch_first=True, **options), "head": torch.nn.Linear(H, 2)})


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin"])
def test_a_checkpoint(torch, tmp_path, suffix):
    module = tagger(torch, num_layers=2)
    path = tmp_path / ("w" + suffix)
    torch.save({"epoch": 1, "state_dict": {f"module.{n}": w for n, w in module.state_dict().items()}}, path)
    ran(tmp_path, path, fc.LSTM.from_torch(module["rnn"]))
    ran(tmp_path, path, fc.LSTM.from_torch(module["rnn"]), "--prefix", "rnn")


def test_weight_norm_in_a_checkpoint(torch, tmp_path):
    module = tagger(torch)
    torch.nn.utils.parametrizations.weight_norm(module["rnn"], "weight_hh_l0")
    torch.save({"model": module.state_dict()}, tmp_path / "w.ckpt")
    ran(tmp_path, tmp_path / "w.ckpt", fc.LSTM.from_torch(module.state_dict()))


@pytest.mark.parametrize("suffix", [".jit", ".pt", ".pth"])
@pytest.mark.parametrize("quantised", [False, True])
def test_a_torchscript_file(torch, tmp_path, suffix, quantised):
    module = torch.nn.Sequential(torch.nn.LSTM(6, H)).eval()
    if quantised:
        module = torch.ao.quantization.quantize_dynamic(module, {torch.nn.LSTM})
    torch.jit.save(torch.jit.script(module), tmp_path / ("w" + suffix))
    ran(tmp_path, tmp_path / ("w" + suffix), fc.LSTM.from_torch(module))


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_keras_s_files(keras, tmp_path, suffix):
    made = model(
        keras, keras.layers.LSTM(H, return_sequences=True, name="one"), keras.layers.LSTM(H, name="two"), inputs=6
    )
    path = tmp_path / ("w" + suffix)
    (made.save_weights if suffix == ".weights.h5" else made.save)(path)
    if suffix != ".weights.h5":
        ran(tmp_path, path, fc.LSTM.from_keras(made))
    ran(tmp_path, path, fc.LSTM.from_keras(made), "--layer", "one", "two")
    ran(tmp_path, path, fc.LSTM.from_keras(made, "two"), "--layer", "two")


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_a_cudnnlstm_s_file(tmp_path, suffix):
    h5py = pytest.importorskip("h5py", reason="from_keras reads files with h5py: pip install 'fastcell[weights]'")
    path = tmp_path / ("w" + suffix)
    keras_2(h5py, path, sequential(entry(kind="CuDNNLSTM")), {"one": stored(cudnn())}, keras_version="2.2.4")
    lstm = fc.LSTM.from_keras(as_lstm(cudnn()))
    assert lstm.input_size == INPUTS
    ran(tmp_path, path, lstm)


def test_what_names_an_lstm_of_another_kind_of_file_is_no_option(torch, tmp_path, capsys):
    lstm = fc.LSTM(6, H, seed=0)
    lstm.save(tmp_path / "w.safetensors")
    torch.save(lstm.state_dict(), tmp_path / "bad.ckpt")  # arrays, which are no tensors
    np.save(tmp_path / "x.npy", np.ones((3, 6)))

    def error(weights, *options):
        given = ["lstm", "--weights", str(tmp_path / weights), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]
        assert main([*given, *options]) == 1
        assert not (tmp_path / "y.npy").exists()
        return capsys.readouterr().err

    assert "--node: only with weights as .onnx, got" in error("w.pt", "--node", "a")
    assert "--prefix: only with weights as .safetensors, .pt" in error("w.h5", "--prefix", "a")
    assert "--layer: only with weights as .keras, .h5, .hdf5" in error("w.safetensors", "--layer", "a")
    assert "--prefix: this file is one LSTM of LSTM.save's" in error("w.safetensors", "--prefix", "a")
    assert "source must be a file of tensors, dicts and lists alone" in error("bad.ckpt")
    (tmp_path / "bad.h5").write_text("text", "utf-8")
    assert "source must be a .keras, .h5 or .weights.h5 file" in error("bad.h5")
    two = {f"{name}.{key}": torch.from_numpy(w) for name in "ab" for key, w in lstm.state_dict().items()}
    torch.save(two, tmp_path / "two.ckpt")
    assert "prefix must lead to an LSTM's weight_ih_l0, got ''; there are such weights under 'a.', 'b.'" in error(
        "two.ckpt"
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("kind", ["torch", "keras", "onnx", "safetensors", "own", "own int8"])
def test_the_precision_of_any_weights(tmp_path, kind, precision, request):
    made = fc.LSTM(6, H, 2, seed=0, precision="int8" if kind == "own int8" else None)
    if kind == "torch":
        torch = request.getfixturevalue("torch")
        path = tmp_path / "w.pt"
        torch.save({name: torch.from_numpy(x) for name, x in made.state_dict().items()}, path)
    elif kind == "keras":
        keras = request.getfixturevalue("keras")
        path = tmp_path / "w.keras"
        model(keras, keras.layers.LSTM(H, return_sequences=True), inputs=6).save(path)
        made = fc.LSTM.from_keras(path)
    elif kind == "onnx":
        onnx = pytest.importorskip("onnx", reason="from_onnx needs onnx: pip install 'fastcell[weights]'")
        from tests.helpers import imported, onnx_models

        path = tmp_path / "w.onnx"
        onnx.save(onnx_models.model([onnx_models.lstm()], onnx_models.arrays()), path)
        made = fc.LSTM.from_onnx(path)
        assert (made.input_size, made.hidden_size) == (imported.I, imported.H)
    else:
        library = pytest.importorskip("safetensors.numpy", reason="pip install 'fastcell[weights]'")
        path = tmp_path / "w.safetensors"
        if kind == "safetensors":
            library.save_file(made.state_dict(), path)
        else:
            made.save(path)
    ran(tmp_path, path, made.with_precision(precision), "--precision", precision)
    ran(tmp_path, path, made)


def test_integers_of_a_file(torch, tmp_path):
    """int8 unless something else is asked for."""
    module = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.LSTM(6, H)).eval(), {torch.nn.LSTM})
    torch.jit.save(torch.jit.script(module), tmp_path / "w.pt")
    lstm = fc.LSTM.from_torch(module)
    assert lstm.precision == "int8"
    ran(tmp_path, tmp_path / "w.pt", lstm)
    ran(tmp_path, tmp_path / "w.pt", fc.LSTM.from_torch(module, precision="float32"), "--precision", "float32")


def test_a_state_goes_on_in_another_precision(tmp_path):
    lstm = fc.LSTM(6, H, seed=0)
    lstm.save(tmp_path / "w.safetensors")
    state, whole = None, np.random.default_rng(0).standard_normal((3, 8, 2, 6), np.float32)
    for x, precision in zip(whole, ("int8", "float32", "bfloat16"), strict=True):
        np.save(tmp_path / "x.npy", x)
        for _ in range(2):  # over the same input a run starts again from the state before
            assert main([
                "lstm", "--weights", str(tmp_path / "w.safetensors"), str(tmp_path / "x.npy"), "-o",
                str(tmp_path / "y.npy"), "--state", str(tmp_path / "s.npz"), "--precision", precision,
            ]) == 0  # fmt: skip
        y, state = lstm.with_precision(precision)(x, state)
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), y, strict=True)


def test_a_precision_that_does_not_fit(tmp_path, capsys):
    fc.LSTM(6, H, dtype="float64", seed=0).save(tmp_path / "w.safetensors")
    np.save(tmp_path / "x.npy", np.ones((3, 6)))
    given = ["lstm", "--weights", str(tmp_path / "w.safetensors"), str(tmp_path / "x.npy")]
    given += ["-o", str(tmp_path / "y.npy"), "--precision"]
    assert main([*given, "int8"]) == 1
    assert "precision 'int8' must go with dtype float32, got float64" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*given, "float16"])
    assert "--precision: invalid choice: 'float16'" in capsys.readouterr().err
    assert not (tmp_path / "y.npy").exists()


ALONE = """
import sys
for name in ("tqdm", "narwhals", "pyarrow", "pandas", "polars"):
    sys.modules[name] = None
from fastcell.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("bidirectional", [False, True])
def test_without_the_extra_frames(tmp_path, bidirectional):
    lstm = fc.LSTM(6, H, bidirectional=bidirectional, seed=0)
    lstm.save(tmp_path / "w.safetensors")
    x = np.random.default_rng(0).standard_normal((20, 2, 6))
    np.save(tmp_path / "x.npy", x)
    given = ["lstm", "--weights", tmp_path / "w.safetensors", tmp_path / "x.npy", "-o", tmp_path / "y.npy"]
    done = subprocess.run([sys.executable, "-W", "error", "-c", ALONE, *given], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), lstm(x)[0], strict=True)
