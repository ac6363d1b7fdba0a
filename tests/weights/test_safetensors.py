"""An LSTM as a file, and safetensors files from elsewhere."""

import hashlib
import json
import os
import struct

import numpy as np
import pytest

import fastcell as fc
from fastcell.weights import from_safetensors
from tests.helpers import draws
from tests.helpers.imported import B, H, I, P, T, random, refuses, state, well_formed

safetensors = pytest.importorskip("safetensors.numpy", reason="files need safetensors: pip install 'fastcell[weights]'")

ATTRIBUTES = [
    "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size", "reverse", "peepholes", "coupled",
    "clip", "activations", "dtype", "batch_first",
]  # fmt: skip

OPTIONS = {
    "plain": {},
    "float64": {"dtype": "float64"},
    "two layers, both": {"num_layers": 2, "bidirectional": True},
    "projection": {"proj_size": P, "num_layers": 3},
    "reverse": {"reverse": True, "batch_first": True},
    "peepholes, clip": {"peepholes": True, "clip": 0.1 + 0.2},
    "coupled, no bias": {"coupled": True, "bias": False},
    "clip of float32": {"clip": float(np.float32(0.3))},
    "activations": {"activations": (("hard_sigmoid", 1 / 6, 0.5), "softsign", ("leaky_relu", 0.1))},
    "six activations": {
        "activations": ("sigmoid", "tanh", "relu", ["elu", np.float32(0.3)], ("affine", 2, 0.5), "identity"),
        "bidirectional": True,
    },
    "everything": {
        "num_layers": 2, "bidirectional": True, "proj_size": P, "peepholes": True, "coupled": True, "clip": 3.0,
        "activations": ("hard_sigmoid", "softsign", "relu") * 2, "dtype": "float64", "batch_first": True,
    },
}  # fmt: skip


def same(got, lstm):
    for name in ATTRIBUTES:
        if name != "activations":
            assert getattr(got, name) == getattr(lstm, name), name
    assert got.activations == tuple(tuple(a) if isinstance(a, list) else a for a in lstm.activations)
    assert list(got.state_dict()) == list(lstm.state_dict())
    for name, x in lstm.state_dict().items():
        np.testing.assert_array_equal(got.state_dict()[name], x, strict=True)


@pytest.mark.parametrize("case", OPTIONS)
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, case):
    lstm, path = fc.LSTM(I, H, seed=1, **OPTIONS[case]), tmp_path / "lstm.safetensors"
    lstm.save(path)
    for given in (path, str(path)):
        got = fc.LSTM.load(given)
        same(got, lstm)
    x = random(T, B, I)
    for ours, wanted in zip((got(x)[0], *got(x)[1]), (lstm(x)[0], *lstm(x)[1]), strict=True):
        np.testing.assert_array_equal(ours, wanted, strict=True)
    assert sorted(os.listdir(tmp_path)) == ["lstm.safetensors"]


@pytest.mark.parametrize("kept", [("bias_ih_l0",), ("bias_hh_l0",), ("bias_ih_l0", "bias_hh_l0"), ()])
def test_one_bias_two_or_none(tmp_path, kept):
    weights = {name: x for name, x in state().items() if not name.startswith("bias") or name in kept}
    lstm = fc.LSTM(I, H, weights=weights)
    lstm.save(tmp_path / "a")
    same(fc.LSTM.load(tmp_path / "a"), lstm)
    assert len(lstm.state_dict()) == 2 + len(kept)


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_sizes_of_zero(tmp_path, sizes):
    lstm = fc.LSTM(*sizes, seed=0)
    lstm.save(tmp_path / "a")
    same(fc.LSTM.load(tmp_path / "a"), lstm)


def test_special_values_are_kept(tmp_path):
    weights = state()
    weights["bias_ih_l0"][:4] = np.nan, np.inf, -0.0, 1e-45
    lstm = fc.LSTM(I, H, weights=weights)
    lstm.save(tmp_path / "a")
    got = fc.LSTM.load(tmp_path / "a").state_dict()["bias_ih_l0"]
    assert got.tobytes() == weights["bias_ih_l0"].tobytes()


def test_a_class_of_one_s_own_is_loaded_as_such(tmp_path):
    class Mine(fc.LSTM):
        pass

    Mine(I, H).save(tmp_path / "a")
    assert type(Mine.load(tmp_path / "a")) is Mine


def test_torch_reads_what_is_saved(torch, tmp_path):
    lstm = fc.LSTM(I, H, 2, bidirectional=True, seed=0)
    lstm.save(tmp_path / "a.safetensors")
    module = torch.nn.LSTM(I, H, 2, bidirectional=True)
    reader = pytest.importorskip("safetensors.torch", reason="it reads for torch")
    module.load_state_dict(reader.load_file(tmp_path / "a.safetensors"))
    for name, x in module.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), lstm.state_dict()[name], strict=True)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a"
    first = fc.LSTM(I, H, seed=0)
    first.save(path)
    before = path.read_bytes()
    fc.LSTM(I, H, seed=1).save(path)
    assert path.read_bytes() != before
    first.save(path)
    assert path.read_bytes() == before

    def half(tensors, name, metadata):
        with open(name, "wb") as file:
            file.write(before[:50])
        raise safetensors_error("no space left")

    safetensors_error = pytest.importorskip("safetensors").SafetensorError
    monkeypatch.setattr(safetensors, "save_file", half)
    refuses(lambda: fc.LSTM(I, H, seed=1).save(path), OSError, "a cannot be written (no space left)")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]
    refuses(lambda: first.save(tmp_path / "none" / "a"), FileNotFoundError, "none")


# Files that are none, or no longer


def written(tensors, metadata=None, path=None):
    safetensors.save_file(tensors, path, metadata)
    return path


def header(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def put(path, head, body=b""):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def resealed(path, change):
    """A saved file whose configuration or tensors are changed, and whose checksum is made to fit."""
    metadata, weights = header(path)[0]["__metadata__"], safetensors.load_file(path)
    text, weights = change(metadata["fastcell"].partition(" ")[2], weights)
    total = hashlib.sha256(text.encode())
    for name in sorted(weights):
        total.update(f"\n{name} {weights[name].dtype.name} {weights[name].shape}\n".encode() + weights[name].tobytes())
    return written(weights, {"fastcell": f"{total.hexdigest()} {text}"}, path)


def test_a_file_from_elsewhere_is_not_loaded(tmp_path):
    path = written(state(), path=tmp_path / "a")
    told = "without a configuration of fastcell's; LSTM.from_safetensors reads files from elsewhere"
    refuses(lambda: fc.LSTM.load(path), ValueError, "path must be a file that LSTM.save wrote, got", told)
    fc.LSTM(I, H).save(path)
    refuses(lambda: from_safetensors(path), ValueError, "path must be a file from elsewhere", "which LSTM.load reads")
    refuses(lambda: fc.LSTM.load(tmp_path / "none"), FileNotFoundError, "none")
    refuses(lambda: fc.LSTM.load(3), TypeError, "path must be a path, got int")
    refuses(lambda: fc.LSTM.load(tmp_path), IsADirectoryError, str(tmp_path))


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"\xff" * 100, b"PK\x03\x04" + bytes(50), bytes(1000)])
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    for read in (fc.LSTM.load, fc.LSTM.from_safetensors):
        refuses(lambda read=read: read(path), ValueError, f"path must be a safetensors file, got {path} (")


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path):
    path = tmp_path / "a"
    fc.LSTM(2, 2, peepholes=True, clip=0.5, seed=0).save(path)
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0] + 8
    rng = np.random.default_rng(draws.SEED)
    places = [*range(size), *rng.integers(size, len(data), 100)]
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        refuses(lambda: fc.LSTM.load(path), ValueError, str(path))
    for length in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:length])
        refuses(lambda: fc.LSTM.load(path), ValueError, "path must be a safetensors file")
    path.write_bytes(data + b"more")
    refuses(lambda: fc.LSTM.load(path), ValueError, "path must be a safetensors file")


def test_a_header_that_claims_too_much_allocates_nothing(tmp_path):
    import tracemalloc

    path = tmp_path / "a"
    fc.LSTM(I, H).save(path)
    head, body = header(path)
    for shape, end in (([2**60], 2**62), ([2**30, 2**30], 0), ([2**62], 0), ([0, 2**62, 2**62], 0)):
        claimed = head | {"weight_hh_l0": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
        tracemalloc.start()
        refuses(lambda claimed=claimed: fc.LSTM.load(put(path, claimed, body)), ValueError)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()
    for text in (b"[" * 10**5, b"{}", b"{", b"\xff"):
        refuses(lambda text=text: fc.LSTM.load(put(path, text)), ValueError, "path must be a ")
    path.write_bytes(struct.pack("<Q", 2**62) + bytes(100))
    refuses(lambda: fc.LSTM.load(path), ValueError, "path must be a safetensors file")


def test_a_missing_tensor_or_another_one_is_noticed(tmp_path):
    path = tmp_path / "a"
    for name in ("weight_hh_l0", "bias_hh_l0"):
        fc.LSTM(I, H).save(path)
        head, _ = header(path)
        kept = {each: x for each, x in fc.LSTM.load(path).state_dict().items() if each != name}
        written(kept, head["__metadata__"], path)
        refuses(lambda: fc.LSTM.load(path), ValueError, "with another checksum: it was changed")


CHANGES = [
    (
        lambda c, w: (c.replace('"num_layers": 1', '"num_layers": 1000000000'), w),
        "num_layers must be at most the number",
    ),
    (
        lambda c, w: (c.replace('"hidden_size": 5', '"hidden_size": 1000000000000'), w),
        "hidden_size must be below 2**31",
    ),
    (lambda c, w: (c.replace('"hidden_size": 5', '"hidden_size": 50'), w), "weight_ih_l0 must have shape"),
    (lambda c, w: (c.replace('"hidden_size": 5', '"hidden_size": "5"'), w), "hidden_size must be an integer, got str"),
    (lambda c, w: (c.replace('"num_layers": 1', '"num_layers": null'), w), "must have a configuration that fits"),
    (lambda c, w: (c.replace('"sigmoid"', '"cubic"'), w), "activations must be among"),
    (lambda c, w: (c.replace('["sigmoid"]', "[]"), w), "must have a configuration that fits"),
    (lambda c, w: (c.replace('"clip": null', '"clip": NaN'), w), "clip must be a finite number"),
    (lambda c, w: (c.replace('"float32"', '"object"'), w), "dtype must be float32 or float64"),
    (lambda c, w: (c.replace('"clip"', '"clap"'), w), "it must be input_size, hidden_size"),
    (lambda c, w: ("[" * 10**5, w), "must have a configuration that fits"),
    (lambda c, w: ("7", w), "it must be input_size, hidden_size"),
    (lambda c, w: (c, {k: x for k, x in w.items() if k != "weight_hh_l0"}), "weights must hold weight_hh_l0"),
    (lambda c, w: (c, w | {"weight_hh_l1": w["weight_hh_l0"]}), "got weight_hh_l1"),
    (lambda c, w: (c, w | {"bias_ih_l0": np.zeros(20, int)}), "bias_ih_l0 must hold float16, bfloat16, float32 or"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_a_configuration_that_does_not_fit_is_named(tmp_path, change, message):
    fc.LSTM(I, H).save(tmp_path / "a")
    path = resealed(tmp_path / "a", lambda c, w: (c, w))
    assert fc.LSTM.load(path).hidden_size == H
    refuses(lambda: fc.LSTM.load(resealed(path, change)), ValueError, message)


# from_safetensors


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("prefix", ["", "encoder.lstm", "encoder.lstm."])
def test_weights_from_elsewhere(tmp_path, prefix, dtype):
    start = prefix and "encoder.lstm."
    tensors = state(dtype, start) | {"head.weight": np.ones((3, 3), int), "other": np.ones(3, "f4")}
    path = written(tensors, {"format": "np"}, tmp_path / "a")
    got = from_safetensors(path, prefix)
    well_formed(got, "float64" if dtype == "float64" else "float32")
    for name, x in state(dtype).items():
        np.testing.assert_array_equal(got["weights"][name], x)
    assert fc.LSTM.from_safetensors(str(path), prefix).hidden_size == H


def test_bfloat16_is_widened(torch, tmp_path):
    writer = pytest.importorskip("safetensors.torch", reason="it writes bfloat16")
    module = torch.nn.LSTM(I, H).to(torch.bfloat16)
    writer.save_file(module.state_dict(), tmp_path / "a")
    got = from_safetensors(tmp_path / "a")["weights"]
    for name, x in module.state_dict().items():
        np.testing.assert_array_equal(got[name], x.float().numpy(), strict=True)


def test_the_only_lstm_of_a_file_is_found_and_weight_norm_is_folded(tmp_path):
    path = tmp_path / "a"
    given = state(prefix="model.lstm.") | {"head.weight": np.ones((2, 5), int)}
    v = given.pop("model.lstm.weight_hh_l0")
    given |= {"model.lstm.weight_hh_l0_v": v, "model.lstm.weight_hh_l0_g": random(20, 1)}
    written(given, path=path)
    got = from_safetensors(path)
    well_formed(got)
    wanted = random(20, 1) * v / np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose(got["weights"]["weight_hh_l0"], wanted, rtol=1e-6, atol=0, strict=True)


def test_wrong_files_from_elsewhere_are_named(tmp_path):
    path = tmp_path / "a"
    written(state(prefix="lstm.") | state(prefix="rnn."), path=path)
    told = "prefix must lead to an LSTM's weight_ih_l0, got ''; there are such weights under 'lstm.', 'rnn.'"
    refuses(lambda: from_safetensors(path), ValueError, told)
    refuses(lambda: from_safetensors(path, 3), TypeError, "prefix must be a str, got int")
    written(state() | {"weight_hh_l0": np.ones((20, 5), int)}, path=path)
    refuses(
        lambda: from_safetensors(path), ValueError, "weight_hh_l0 must hold float16, bfloat16, float32 or", "got I64"
    )
    written({name: x for name, x in state().items() if name != "bias_hh_l0"}, path=path)
    refuses(lambda: from_safetensors(path), ValueError, "missing bias_hh_l0")
