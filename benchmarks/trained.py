"""Trained LSTMs that packages on PyPI ship, with input for them and the figure that their task is judged by.

`pip install --no-deps Resemblyzer g2pM silero-vad` brings all three. The packages hold no recordings, so that two are
given synthetic voices: a pitch, three formants a vowel, hissing and pauses. A step whose power spans a million, as
theirs does, is hard on int8's one scale a row and step.
"""

import itertools
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastcell as fc

from .common import Peer
from .peers_lstm import session

RATE = 16_000


class Model(NamedTuple):
    """`peer.prepare` returns an LSTM, its x, and a function of float32's y and another y that returns the figure."""

    name: str
    figure: str
    peer: Peer
    text: Callable[[float], str]
    better: int
    """1 where a large figure is good, -1 where a small one is."""


def voices(count: int, seconds: float, seed: int = 0) -> np.ndarray:
    """Speech-like sound, (count, samples), -30 dB on the whole; each row has a pitch and formants of its own."""
    from scipy.signal import lfilter

    random, samples = np.random.default_rng(seed), int(RATE * seconds)
    made = np.zeros((count, samples))
    for row in made:
        pitch, size = random.uniform(90, 240), random.uniform(0.85, 1.2)
        at = 0
        while at < samples:
            length = min(int(RATE * random.uniform(0.06, 0.25)), samples - at)
            kind = random.choice(["vowel", "vowel", "vowel", "hiss", "pause"])
            time = np.arange(length) / RATE
            if kind == "vowel":
                turns = np.cumsum(pitch * (1 + random.uniform(-0.2, 0.2) * time)) / RATE
                sound = np.diff(np.floor(turns), prepend=0.0) + 0.01 * random.standard_normal(length)
                for centre in size * np.array(
                    [random.uniform(*span) for span in ((300, 850), (900, 2300), (2400, 3100))]
                ):
                    radius = np.exp(-np.pi * 90 / RATE)
                    sound = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2], sound)
                sound *= random.uniform(0.4, 1) / max(np.abs(sound).max(), 1e-9)
            else:
                sound = random.standard_normal(length) * (0.05 if kind == "hiss" else 0.001)
            row[at : at + length] = sound * np.hanning(length + 2)[1:-1] ** 0.25
            at += length
    return made * 10 ** (-30 / 20) / np.sqrt((made**2).mean(1, keepdims=True))


def mels(sound: np.ndarray, bands: int = 40, window: int = 400, step: int = 160) -> np.ndarray:
    """Power in bands spaced as the ear hears, each of the same area: (frames, count, bands), float32."""
    padded = np.pad(sound, ((0, 0), (window // 2, window // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window, 1)[:, ::step]
    power = np.abs(np.fft.rfft(frames * np.hanning(window + 1)[:-1])) ** 2

    def to_mel(hertz):
        return np.where(hertz < 1000, 3 * hertz / 200, 15 + 27 * np.log(np.maximum(hertz, 1) / 1000) / np.log(6.4))

    hertz = np.linspace(0, RATE / 2, 20_001)
    edges = np.interp(np.linspace(0, to_mel(np.array(RATE / 2)), bands + 2), to_mel(hertz), hertz)
    at = np.linspace(0, RATE / 2, window // 2 + 1)
    rising = (at - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - at) / np.diff(edges)[1:, None]
    bank = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])[:, None]
    return np.ascontiguousarray((power @ bank.T).transpose(1, 0, 2), np.float32)


def package(name: str) -> Path:
    return Path(find_spec(name).origin).parent


def noise():
    """Power of noise is exponentially distributed: 160 frames, 32 rows, 40 bands."""
    return np.random.default_rng(0).exponential(0.1, (160, 32, 40)).astype(np.float32)


def resemblyzer(frames):
    """The speaker's embedding is made of the last h."""
    import torch

    state = torch.load(package("resemblyzer") / "pretrained.pt", map_location="cpu", weights_only=True)["model_state"]
    lstm = fc.LSTM.from_torch({name: x for name, x in state.items() if name.startswith("lstm.")})
    weight, bias = (state[f"linear.{name}"].numpy() for name in ("weight", "bias"))

    def embedding(y):
        raw = np.maximum(y[-1] @ weight.T + bias, 0)
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)

    return lstm, frames(), lambda y, other: float((embedding(y) * embedding(other)).sum(1).min())


def g2pm():
    """2,000 lines of 20 characters, words of its dictionary in a row; readings of characters that have several."""
    from g2pM import G2pM

    model, random = G2pM(), np.random.default_rng(0)
    ends = {"weight_ih": "", "weight_hh": "", "bias_ih": "", "bias_hh": ""}
    weights = {f"{name}_l0{end}": getattr(model, name + end) for name in ends for end in ("", "_reverse")}
    lstm = fc.LSTM.from_torch({name: np.asarray(x, np.float32) for name, x in weights.items()})
    words = [word for word in model.cedict if set(word) <= set(model.char2idx)]
    stream = list(itertools.chain.from_iterable(words[k] for k in random.integers(0, len(words), 40_000)))[:40_000]
    lines = np.array(stream).reshape(-1, 20)
    several = np.array([[len(model.cedict.get(char, [])) > 1 for char in line] for line in lines])
    ids = np.array([[model.char2idx[char] for char in line] for line in lines])
    x = np.ascontiguousarray(model.get_embedding(ids).transpose(1, 0, 2), np.float32)

    def readings(y):
        return model.fc_layer(y.transpose(1, 0, 2)[several]).argmax(-1)

    return lstm, x, lambda y, other: float((readings(y) != readings(other)).mean())


def silero():
    """A voice of 40 seconds in pieces of 32 ms; the probability that a piece is speech."""
    import onnx

    proto = onnx.load(package("silero_vad") / "data" / "silero_vad_16k_sequence.onnx")
    node = next(node for node in proto.graph.node if node.op_type == "LSTM")
    held = {array.name: onnx.numpy_helper.to_array(array) for array in proto.graph.initializer}
    proto.graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))
    sound = voices(1, 40.0)[0].astype(np.float32) * 3
    pieces = np.lib.stride_tricks.sliding_window_view(sound, 576)[::512]  # 64 samples of the piece before, and 512
    zeros = np.zeros((1, 1, 128), np.float32)
    x = session(proto, 1).run([node.input[0]], {"input": np.ascontiguousarray(pieces), "h": zeros, "c": zeros})[0]
    weight, bias = held["output.weight"].reshape(-1), held["output.bias"]

    def speech(y):
        return 1 / (1 + np.exp(-(np.maximum(y, 0) @ weight + bias)))

    return fc.LSTM.from_onnx(proto), x, lambda y, other: float(np.abs(speech(y) - speech(other)).max())


SPEAKER = ("resemblyzer", "torch", "scipy")
MODELS = [
    Model("Resemblyzer, noise", "least cosine to float32's embedding", Peer(SPEAKER, partial(resemblyzer, noise)),
          lambda value: f"{value:.5f}", 1),
    Model("Resemblyzer, synthetic voices", "least cosine to float32's embedding",
          Peer(SPEAKER, partial(resemblyzer, lambda: mels(voices(32, 1.6))[:160])), lambda value: f"{value:.5f}", 1),
    Model("g2pM", "readings other than float32's", Peer(("g2pM",), g2pm), lambda value: f"{100 * value:.2f}%", -1),
    Model("silero-vad", "largest change of the speech probability",
          Peer(("silero_vad", "onnx", "onnxruntime", "scipy"), silero), lambda value: f"{value:.4f}", -1),
]  # fmt: skip
