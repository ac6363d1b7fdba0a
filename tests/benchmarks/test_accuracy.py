"""Errors by precision: no more than the peers', on shapes and on trained models, and written as they are."""

import numpy as np
import pytest

from benchmarks import accuracy, trained

# What PyTorch and onnxruntime do when they are asked for fewer bits.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.mark.parametrize("shape", [(100, 16, 64, 64), (50, 1, 512, 512), (10, 64, 300, 140)], ids=str)
def test_errors_are_no_larger_than_the_peers(shape):
    pytest.importorskip("torch", reason="it is what is compared with: pip install 'fastcell[peers]'")
    pytest.importorskip("onnxruntime", reason="it is what is compared with: pip install 'fastcell[peers]'")
    found = accuracy.error(shape)
    assert found["float32", "fastcell"] < 1e-6
    own, least = found["bfloat16", "fastcell"], min(error for (kind, _), error in found.items() if kind == "bfloat16")
    assert 1e-4 < own <= 1.1 * least
    assert 1e-3 < found["int8", "fastcell"] <= found["int8", "onnxruntime"]
    assert found["int8", "fastcell"] <= found["int8", "PyTorch"]


# Of float32's answer, in bfloat16 and in int8: how far each may fall, by the model's own figure.
LIMITS = {
    "Resemblyzer, noise": (0.9999, 0.997),
    "Resemblyzer, synthetic voices": (0.9999, 0.8),
    "g2pM": (0.001, 0.002),
    "silero-vad": (0.01, 0.05),
}


@pytest.mark.parametrize("model", trained.MODELS, ids=lambda model: model.name)
def test_trained_models_keep_to_their_task(model):
    if model.peer.missing():
        pytest.skip(f"{model.peer.missing()[0]} is not installed: pip install --no-deps Resemblyzer g2pM silero-vad")
    lstm, x, judged = model.peer.prepare()
    y = lstm(x)[0]
    assert judged(y, y) == pytest.approx(1.0 if model.better == 1 else 0.0, abs=1e-6)
    for precision, limit in zip(accuracy.LOW, LIMITS[model.name], strict=True):
        assert model.better * judged(y, lstm.with_precision(precision)(x)[0]) >= model.better * limit


def test_the_table_shows_who_is_nearer():
    found = {("float32", "fastcell"): 2e-7, ("bfloat16", "fastcell"): 2e-3, ("bfloat16", "PyTorch"): 1.5e-3}
    found |= {("int8", "fastcell"): 6.7e-3, ("int8", "onnxruntime"): 6.4e-3, ("int8", "PyTorch"): 0.02}
    lines = accuracy.grid({"1, 2, 3, 4": found})
    assert lines[0] == (
        "| T, B, I, H; largest error | float32 | bfloat16 | PyTorch, bfloat16 | OpenVINO, bfloat16 | int8 | "
        "onnxruntime, int8 | PyTorch, int8 |"
    )
    assert lines[2] == "| 1, 2, 3, 4 | 2.0e-7 | 2.0e-3 | **1.5e-3** | - | 6.7e-3 | **6.4e-3** | 2.0e-2 |"
    assert accuracy.rows_of("a", found, str, 1)[3:7] == ["0.0015", "-", "0.0067", "0.0064"]


def test_sound_and_its_bands():
    pytest.importorskip("scipy", reason="the bands are taken by its filters")
    sound = trained.voices(2, 0.5)
    assert sound.shape == (2, 8000)
    np.testing.assert_allclose(20 * np.log10(np.sqrt((sound**2).mean(1))), -30)
    time = np.arange(16_000) / trained.RATE
    bands = trained.mels(np.sin(2 * np.pi * 1000 * time)[None])
    assert (bands.dtype, bands.shape) == (np.float32, (101, 1, 40))
    assert (bands[10:90].argmax(-1) == bands[50].argmax()).all()
    assert 12 < bands[50].argmax() < 15  # 15 of the 44.3 mel up to 8 kHz, of 41 steps
