"""The LSTM over shapes that span cache levels, beside sgemm, which never changes."""

import time

import numpy as np

import fastcell as fc

SHAPES = {
    "one row, 16 units": (100, 1, 16, 16),
    "one row, 256 units": (100, 1, 256, 256),
    "16 rows, 64 units": (100, 16, 64, 64),
    "64 rows, 256 units": (20, 64, 256, 256),
    "1024 rows, 16 units": (20, 1024, 16, 16),
    "multiples of nothing": (200, 7, 13, 37),
}


def problem(name, dtype="float32"):
    T, B, I, H = SHAPES[name]
    x = np.random.default_rng(0).standard_normal((T, B, I)).astype(dtype)
    return fc.LSTM(I, H, dtype=dtype, seed=0), x


def best(call, seconds=0.2):
    """The shortest of several calls, in seconds."""
    call()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


class LSTM:
    """Whole calls on one thread."""

    params = (list(SHAPES), ["float32", "float64"])
    param_names = ("shape", "dtype")
    number, repeat, rounds = 1, (5, 20, 2.0), 1

    def setup(self, name, dtype):
        self.lstm, self.x = problem(name, dtype)
        self.lstm(self.x, threads=1)

    def time_lstm(self, name, dtype):
        self.lstm(self.x, threads=1)

    time_lstm.pretty_name = "LSTM, one thread"


class LSTMRatios:
    """Multiplications a second, over those of NumPy's sgemm with as many threads as NumPy takes."""

    params = (list(SHAPES),)
    param_names = ("shape",)
    timeout = 120

    def track_share_of_sgemm(self, name):
        lstm, x = problem(name)
        T, B, I, H = SHAPES[name]
        a = np.ones((768, 768), np.float32)
        rate = 768**3 / best(lambda: a @ a)
        return T * B * 4 * H * (I + H) / best(lambda: lstm(x, threads=1)) / rate

    track_share_of_sgemm.unit = "of sgemm's rate"
    track_share_of_sgemm.pretty_name = "LSTM, share of sgemm"
