"""The LSTM over shapes that span cache levels, and each of its kinds, beside sgemm and NumPy, which never change."""

import tracemalloc

import numpy as np

import fastcell as fc

from . import common, numpy_lstm

KINDS = {
    "one layer": {},
    "three layers": {"num_layers": 3},
    "two directions": {"bidirectional": True},
    "two layers, two directions": {"num_layers": 2, "bidirectional": True},
    "projection": {"proj_size": 32},
    "peepholes": {"peepholes": True},
    "other activations": {"activations": ("hard_sigmoid", "tanh", "relu")},
}


class LSTM:
    """Whole calls on one thread."""

    params = (tuple(common.LSTMS), ("float32", "float64"))
    param_names = ("shape", "dtype")
    number, repeat, rounds = 1, (5, 20, 2.0), 1

    def setup(self, name: str, dtype: str) -> None:
        common.needs("LSTM")
        self.lstm, self.x = common.lstm(name, dtype)
        self.time_lstm(name, dtype)

    def time_lstm(self, name: str, dtype: str) -> None:
        self.lstm(self.x, threads=1)

    time_lstm.pretty_name = "LSTM, one thread"


class LSTMRatios:
    """One thread, float32."""

    params = (tuple(common.LSTMS),)
    param_names = ("shape",)
    timeout = 120

    def setup(self, name: str) -> None:
        common.needs("LSTM")
        self.lstm, self.x = common.lstm(name)

    def track_share_of_sgemm(self, name: str) -> float:
        """Multiplications a second, over those of NumPy's sgemm with as many threads as NumPy takes."""
        T, B, I, H = common.LSTMS[name]
        a = np.ones((768, 768), np.float32)
        best = common.in_turn({"sgemm": lambda: a @ a, "lstm": lambda: self.lstm(self.x, threads=1)})
        return T * B * 4 * H * (I + H) / best["lstm"] / (768**3 / best["sgemm"])

    def track_times_numpy(self, name: str) -> float:
        x, weights = common.lstm_by_hand(name)
        return common.ratio(lambda: numpy_lstm.lstm(x, *weights), lambda: self.lstm(self.x, threads=1), rounds=3)

    track_share_of_sgemm.unit = "of sgemm's rate"
    track_share_of_sgemm.pretty_name = "LSTM, share of sgemm"
    track_times_numpy.unit = "times NumPy's speed"
    track_times_numpy.pretty_name = "LSTM, times the one in NumPy"


class LSTMPrecision:
    """One thread; products of fewer bits."""

    params = (
        ("one row, 64 units", "one row, 512 units", "one row, 1024 units", "64 rows, 256 units", "1024 rows, 16 units"),
        ("bfloat16", "int8"),
    )
    param_names = ("shape", "precision")
    number, repeat, rounds, timeout = 1, (5, 20, 2.0), 1, 300

    def setup(self, name: str, precision: str) -> None:
        common.needs("LSTM")
        if not hasattr(fc.LSTM, "with_precision"):
            raise NotImplementedError("this commit has no with_precision")
        self.plain, self.x = common.lstm(name)
        self.lstm = self.plain.with_precision(precision)
        self.time_lstm_precision(name, precision)

    def time_lstm_precision(self, name: str, precision: str) -> None:
        self.lstm(self.x, threads=1)

    def track_lstm_precision_over_float32(self, name: str, precision: str) -> float:
        return common.ratio(
            lambda: self.plain(self.x, threads=1), lambda: self.time_lstm_precision(name, precision), rounds=9
        )

    time_lstm_precision.pretty_name = "LSTM, bfloat16 and int8"
    track_lstm_precision_over_float32.unit = "times float32's speed"
    track_lstm_precision_over_float32.pretty_name = "LSTM, bfloat16 and int8 over float32"


class LSTMKinds:
    """(100, 32, 64) with 64 units, one thread: what layers, directions and options cost."""

    params = (tuple(KINDS),)
    param_names = ("kind",)
    number, repeat, rounds, timeout = 1, (5, 20, 2.0), 1, 300

    def setup(self, kind: str) -> None:
        common.needs("LSTM")
        self.lstm, self.x = fc.LSTM(64, 64, seed=0, **KINDS[kind]), common.normal(100, 32, 64)
        self.time_lstm_kind(kind)

    def time_lstm_kind(self, kind: str) -> None:
        self.lstm(self.x, threads=1)

    time_lstm_kind.pretty_name = "LSTM, layers, directions and options"


class LSTMCalls:
    """One row, one step, 16 units: what is asked around a call takes longer than it does."""

    number, repeat, rounds = 1, (5, 20, 2.0), 2

    def setup(self) -> None:
        common.needs("LSTM")
        self.lstm, self.x = fc.LSTM(4, 16, seed=0), common.normal(1, 1, 4)
        self.weights = common.for_numpy(self.lstm.state_dict())
        self.lstm(self.x)

    def time_lstm_one_step_1000_calls(self) -> None:
        for _ in range(1000):
            self.lstm(self.x)

    def track_lstm_one_step_times_numpy(self) -> float:
        return common.ratio(lambda: numpy_lstm.lstm(self.x, *self.weights), lambda: self.lstm(self.x))

    time_lstm_one_step_1000_calls.pretty_name = "LSTM of one step, 1,000 calls"
    track_lstm_one_step_times_numpy.unit = "times NumPy's speed"
    track_lstm_one_step_times_numpy.pretty_name = "LSTM of one step, times the one in NumPy"


class LSTMLengths:
    """(100, 128, 64) with 64 units, one thread; lengths evenly from 0 to 100, which are half of the work."""

    params = (("one direction", "two directions"),)
    param_names = ("directions",)
    number, repeat, rounds = 1, (5, 20, 2.0), 1

    def setup(self, directions: str) -> None:
        common.needs("LSTM")
        self.lstm = fc.LSTM(64, 64, bidirectional=directions == "two directions", seed=0)
        self.x, self.lengths = common.normal(100, 128, 64), np.linspace(0, 100, 128).astype(int)
        self.time_lstm_lengths(directions)

    def time_lstm_lengths(self, directions: str) -> None:
        self.lstm(self.x, lengths=self.lengths, threads=1)

    def track_lstm_lengths_over_whole(self, directions: str) -> float:
        return 1 / common.ratio(lambda: self.lstm(self.x, threads=1), lambda: self.time_lstm_lengths(directions))

    time_lstm_lengths.pretty_name = "LSTM, rows of different lengths"
    track_lstm_lengths_over_whole.unit = "of the time of whole rows"
    track_lstm_lengths_over_whole.pretty_name = "LSTM, rows of different lengths over whole rows"


class LSTMThreads:
    """Two threads over one."""

    params = (("16 rows, 64 units", "64 rows, 256 units", "1024 rows, 16 units"),)
    param_names = ("shape",)
    number, repeat, rounds = 1, (5, 20, 2.0), 1

    def setup(self, name: str) -> None:
        common.needs("LSTM")
        self.lstm, self.x = common.lstm(name)
        self.time_lstm_two_threads(name)

    def time_lstm_two_threads(self, name: str) -> None:
        self.lstm(self.x, threads=2)

    def track_lstm_two_threads(self, name: str) -> float:
        return common.ratio(lambda: self.lstm(self.x, threads=1), lambda: self.lstm(self.x, threads=2))

    time_lstm_two_threads.pretty_name = "LSTM, two threads"
    track_lstm_two_threads.unit = "times one thread's speed"
    track_lstm_two_threads.pretty_name = "LSTM, two threads over one"


class LSTMFewRows:
    """100 steps on two threads, which share the hidden units out where rows are few."""

    params = ((1, 3, 7), (128, 256, 512), ("float32", "int8"))
    param_names = ("rows", "units", "precision")
    number, repeat, rounds, timeout = 1, (5, 20, 2.0), 1, 300

    def setup(self, rows: int, units: int, precision: str) -> None:
        common.needs("LSTM")
        lstm, self.x = fc.LSTM(units, units, seed=0), common.normal(100, rows, units)
        if precision != "float32":
            if not hasattr(lstm, "with_precision"):
                raise NotImplementedError("this commit has no with_precision")
            lstm = lstm.with_precision(precision)
        self.lstm = lstm
        self.time_lstm_few_rows(rows, units, precision)

    def time_lstm_few_rows(self, rows: int, units: int, precision: str) -> None:
        self.lstm(self.x, threads=2)

    def track_lstm_few_rows(self, rows: int, units: int, precision: str) -> float:
        return common.ratio(lambda: self.lstm(self.x, threads=1), lambda: self.lstm(self.x, threads=2))

    time_lstm_few_rows.pretty_name = "LSTM, few rows on two threads"
    track_lstm_few_rows.unit = "times one thread's speed"
    track_lstm_few_rows.pretty_name = "LSTM, few rows, two threads over one"


class LSTMMemory:
    """64 rows, 64 units, into an output that is there already."""

    params = ((100, 1000, 10000),)
    param_names = ("steps",)
    timeout = 120

    def setup(self, steps: int) -> None:
        common.needs("LSTM")
        self.lstm, self.x = fc.LSTM(8, 64, seed=0), np.zeros((steps, 64, 8), np.float32)
        self.out = np.zeros((steps, 64, 64), np.float32)
        self.lstm(self.x[:2], out=self.out[:2], threads=1)

    def peakmem_lstm(self, steps: int) -> None:
        """Of the process: Python, Numba and the arrays too."""
        self.lstm(self.x, out=self.out, threads=1)

    def track_lstm_scratch(self, steps: int) -> int:
        """Memory beside input, output and state that a call takes at its height: under 2 MiB whatever the steps are."""
        tracemalloc.start()
        try:
            self.lstm(self.x, out=self.out, threads=1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peakmem_lstm.pretty_name = "LSTM, memory of the process"
    track_lstm_scratch.unit = "bytes"
    track_lstm_scratch.pretty_name = "LSTM, scratch"
