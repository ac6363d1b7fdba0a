"""Numbers next to zero against ordinary ones in the same kernel: a CPU may take a hundred times as long for each."""

from collections.abc import Callable

import numpy as np

import fastcell as fc

from . import common

TINY = {"float32": 1e-41, "float64": 1e-310}
CLOSED = {"float32": -95.0, "float64": -725.0}  # the sigmoid of these is denormal


class Denormals:
    """The speed on denormal numbers over that on ordinary ones, timed by turns; one thread, all of it in the cache."""

    params = (("float32", "float64"),)
    param_names = ("dtype",)
    timeout = 120

    def setup(self, dtype: str) -> None:
        common.needs("LSTM", "LSTMCell")
        self.x = np.random.default_rng(0).uniform(0.5, 1.0, (400, 64)).astype(dtype)
        self.tiny = self.x * np.dtype(dtype).type(TINY[dtype])
        self.half, self.ones = np.full_like(self.x, 0.5), np.ones(self.x.shape, np.int8)
        self.lstm = fc.LSTM(16, 32, bias=False, dtype=dtype, seed=0)

    def share(self, run: Callable[[np.ndarray], object]) -> float:
        return common.ratio(lambda: run(self.x), lambda: run(self.tiny))

    def track_toy_scan_denormal(self, dtype: str) -> float:
        """Sums of denormal numbers."""
        return self.share(lambda x: fc.toy_scan(x, self.ones, self.ones, threads=1))

    def track_gated_scan_denormal(self, dtype: str) -> float:
        """Products with 1/2: memory and output are denormal, too."""
        return self.share(lambda x: fc.gated_scan(x, self.half, self.half, self.half, threads=1))

    def track_lstm_denormal(self, dtype: str) -> float:
        """Without biases: g, c and h are denormal, too."""
        return self.share(lambda x: self.lstm(x.reshape(100, 16, 16), threads=1))

    def track_lstm_closed(self, dtype: str) -> float:
        """Ordinary input, let in by gates that are denormal: c and h are, too."""
        weights = fc.LSTM(16, 32, dtype=dtype, seed=0).state_dict()
        usual, x = fc.LSTM(16, 32, dtype=dtype, weights=weights), self.x.reshape(100, 16, 16)
        weights["bias_ih_l0"][:32] = CLOSED[dtype]
        self.lstm = fc.LSTM(16, 32, dtype=dtype, weights=weights)
        return common.ratio(lambda: usual(x, threads=1), lambda: self.lstm(x, threads=1))

    def track_cell_step_denormal(self, dtype: str) -> float:
        self.cell = self.lstm.cell()
        h, c = np.zeros((16, 32), dtype), np.zeros((16, 32), dtype)

        def run(x: np.ndarray) -> None:
            h[...] = c[...] = 0
            for x_t in x.reshape(100, 16, 16):
                self.cell.step(x_t, h, c)

        return self.share(run)

    for track, what in (
        (track_toy_scan_denormal, "toy_scan"),
        (track_gated_scan_denormal, "gated_scan"),
        (track_lstm_denormal, "LSTM"),
        (track_lstm_closed, "LSTM with gates all but closed"),
        (track_cell_step_denormal, "cell.step"),
    ):
        track.unit = "of the speed on ordinary numbers"
        track.pretty_name = f"{what} on denormal numbers, share of its speed"
    del track, what
