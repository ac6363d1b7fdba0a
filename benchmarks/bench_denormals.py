"""Numbers next to zero: denormal input, or gates that let so little in, against ordinary numbers in the same kernel."""

import numpy as np

import fastcell as fc

from . import common

TINY = {"float32": 1e-41, "float64": 1e-310}
CLOSED = {"float32": -95.0, "float64": -725.0}  # whose sigmoid is denormal
SHARE = "of the speed on ordinary numbers"


class Denormals:
    """The figure is the speed on denormal numbers over that on ordinary ones; one thread, everything in the cache."""

    params = (("float32", "float64"),)
    param_names = ("dtype",)
    timeout = 120

    def setup(self, dtype: str) -> None:
        common.needs("LSTM", "LSTMCell")
        rng = np.random.default_rng(0)
        self.ordinary = rng.uniform(0.5, 1.0, (400, 64)).astype(dtype)
        self.tiny = self.ordinary * np.dtype(dtype).type(TINY[dtype])
        self.half, self.ones = np.full_like(self.ordinary, 0.5), np.ones(self.ordinary.shape, np.int8)
        self.lstm = fc.LSTM(16, 32, bias=False, dtype=dtype, seed=0)
        weights = fc.LSTM(16, 32, dtype=dtype, seed=0).state_dict()
        weights["bias_ih_l0"][:32] = CLOSED[dtype]
        self.closed = fc.LSTM(16, 32, dtype=dtype, weights=weights)

    def _share(self, run, ordinary, denormal) -> float:
        return common.ratio(lambda: run(ordinary), lambda: run(denormal))

    def _rows(self, x):
        return x.reshape(100, 16, 16)

    def track_toy_scan(self, dtype: str) -> float:
        """Sums of denormal numbers."""
        return self._share(lambda x: fc.toy_scan(x, self.ones, self.ones, threads=1), self.ordinary, self.tiny)

    def track_gated_scan(self, dtype: str) -> float:
        """Products with 1/2, so that memory and output are denormal, too."""
        return self._share(
            lambda x: fc.gated_scan(x, self.half, self.half, self.half, threads=1), self.ordinary, self.tiny
        )

    def track_lstm(self, dtype: str) -> float:
        """Without biases: gates at 1/2, and g, c and h denormal."""
        return self._share(lambda x: self.lstm(x, threads=1), self._rows(self.ordinary), self._rows(self.tiny))

    def track_lstm_closed(self, dtype: str) -> float:
        """Ordinary input, the input gates all but closed."""
        x = self._rows(self.ordinary)
        return common.ratio(lambda: self.lstm(x, threads=1), lambda: self.closed(x, threads=1))

    def track_cell_step(self, dtype: str) -> float:
        self.cell = self.lstm.cell()
        h, c = np.zeros((16, 32), dtype), np.zeros((16, 32), dtype)
        a, b = self._rows(self.ordinary)[0], self._rows(self.tiny)[0]

        def run(x):
            h[...] = c[...] = 0
            for _ in range(20):
                self.cell.step(x, h, c)

        return self._share(run, a, b)
