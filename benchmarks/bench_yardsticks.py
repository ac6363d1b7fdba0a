"""What never changes: when one of these moves, the machine did. The copy and np.cumsum stand beside toy_scan."""

import numpy as np

from . import common, numpy_lstm


class Products:
    """sgemm, on as many threads as NumPy takes: one, as the suite pins it."""

    params = ((64, 256, 1024),)
    param_names = ("size",)
    number, repeat, rounds = 1, (5, 20, 5.0), 2

    def setup(self, size: int) -> None:
        self.a, self.b, self.out = (np.ones((size, size), np.float32) for _ in range(3))
        self.time_sgemm(size)

    def time_sgemm(self, size: int) -> None:
        """The yardstick."""
        for _ in range((1024 // size) ** 2):
            np.matmul(self.a, self.b, out=self.out)

    time_sgemm.pretty_name = "Yardstick: sgemm, (1024 / size)² products"


class ByHand:
    """The frozen LSTM in NumPy."""

    params = (tuple(common.LSTMS),)
    param_names = ("shape",)
    number, repeat, rounds = 1, (3, 10, 5.0), 2

    def setup(self, name: str) -> None:
        self.x, self.weights = common.lstm_by_hand(name)

    def time_numpy_lstm(self, name: str) -> None:
        """The yardstick."""
        numpy_lstm.lstm(self.x, *self.weights)

    time_numpy_lstm.pretty_name = "Yardstick: LSTM in NumPy"
