"""toy_scan and gated_scan beside memory, the plain loop, pandas and Polars. One thread unless the name says so."""

import tracemalloc

import numpy as np

import fastcell as fc

from . import common, dataframes

IN_CACHE = tuple(name for name in common.PROBLEMS if "in cache" in name)


class ToyScan:
    """Scans into an `out` that is there already."""

    params = (tuple(common.PROBLEMS),)
    param_names = ("problem",)
    number, repeat, rounds, timeout = 1, (3, 7, 10.0), 2, 300

    def setup(self, name: str) -> None:
        self.data = common.toy(name)
        self._scan(1)

    def _scan(self, threads: int) -> None:
        fc.toy_scan(*self.data[:3], out=self.data.y, threads=threads)

    def time_toy_scan(self, name: str) -> None:
        self._scan(1)

    def time_toy_scan_two_threads(self, name: str) -> None:
        self._scan(2)

    def time_copy(self, name: str) -> None:
        """The yardstick."""
        common.copy(self.data)

    def time_cumsum(self, name: str) -> None:
        """The yardstick: NumPy's sum along time, without resets."""
        np.cumsum(self.data.x1, axis=0, out=self.data.y)

    def track_share_of_copy(self, name: str) -> float:
        return common.ratio(lambda: common.copy(self.data), lambda: self._scan(1), rounds=9)

    time_toy_scan.pretty_name = "toy_scan, one thread"
    time_toy_scan_two_threads.pretty_name = "toy_scan, two threads"
    time_copy.pretty_name = "Yardstick: a copy of the same bytes"
    time_cumsum.pretty_name = "Yardstick: np.cumsum"
    track_share_of_copy.unit = "share of the copy's speed"
    track_share_of_copy.pretty_name = "toy_scan, share of the copy's speed"

    def track_times_plain_loop(self, name: str) -> float:
        return common.ratio(lambda: common.plain(self.data), lambda: self._scan(1), rounds=3)

    track_times_plain_loop.unit = "times the plain loop's speed"
    track_times_plain_loop.pretty_name = "toy_scan, times the plain loop"

    def track_two_threads(self, name: str) -> float:
        return common.ratio(lambda: self._scan(1), lambda: self._scan(2))

    track_two_threads.unit = "times one thread's speed"
    track_two_threads.pretty_name = "toy_scan, two threads over one"


class ToyScanDtypes:
    """Values of each kind, rules of int8."""

    params = (IN_CACHE, ("float32", "float64", "int32", "int64"))
    param_names = ("problem", "dtype")
    number, repeat, rounds = 1, (3, 7, 2.0), 2

    def setup(self, name: str, dtype: str) -> None:
        x1, *self.rules, _ = common.toy(name)
        self.x = (100 * x1).astype(dtype, order="A")
        self.out = fc.toy_scan(self.x, *self.rules).y  # integers come out as int64

    def time_toy_scan_dtype(self, name: str, dtype: str) -> None:
        fc.toy_scan(self.x, *self.rules, out=self.out, threads=1)

    time_toy_scan_dtype.pretty_name = "toy_scan, values of each dtype"


class ToyScanMemory:
    """Into an output that is there already."""

    params = (IN_CACHE,)
    param_names = ("problem",)

    def setup(self, name: str) -> None:
        self.data = common.toy(name)
        self.peakmem_toy_scan(name)

    def peakmem_toy_scan(self, name: str) -> None:
        """Of the process: Python, Numba and 20 MB of arrays too."""
        fc.toy_scan(*self.data[:3], out=self.data.y, threads=1)

    def track_toy_scan_scratch(self, name: str) -> int:
        """Memory beside input and output that a call takes at its height."""
        tracemalloc.start()
        try:
            fc.toy_scan(*self.data[:3], out=self.data.y, threads=1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peakmem_toy_scan.pretty_name = "toy_scan, memory of the process"
    track_toy_scan_scratch.unit = "bytes"
    track_toy_scan_scratch.pretty_name = "toy_scan, scratch"


class ToyScanKeys:
    """300,000 rows of 4,000 interleaved streams."""

    number, repeat, rounds = 1, (3, 10, 5.0), 2

    def setup(self) -> None:
        common.needs("toy_scan")
        self.events = common.events()
        self.frames = dataframes.frames(self.events)
        dataframes.fastcell(self.events)

    def time_toy_scan_keys(self) -> None:
        dataframes.fastcell(self.events)

    def track_times_pandas(self) -> float:
        return common.ratio(lambda: dataframes.with_pandas(self.frames["pandas"]), self.time_toy_scan_keys)

    time_toy_scan_keys.pretty_name = "toy_scan with keys"
    track_times_pandas.unit = "times pandas' speed"
    track_times_pandas.pretty_name = "toy_scan with keys, times pandas"

    def track_times_polars(self) -> float:
        return common.ratio(lambda: dataframes.with_polars(self.frames["polars"]), self.time_toy_scan_keys)

    track_times_polars.unit = "times Polars' speed"
    track_times_polars.pretty_name = "toy_scan with keys, times Polars"


class GatedScan:
    """float32 values and gates."""

    params = ((*IN_CACHE, "columns 4000 x 8000"),)
    param_names = ("problem",)
    number, repeat, rounds = 1, (3, 7, 10.0), 2

    def setup(self, name: str) -> None:
        self.x = common.toy(name).x1
        self.gate = np.clip(np.abs(self.x), 0, 1)
        self.out = np.empty_like(self.x)
        self.time_gated_scan(name)

    def time_gated_scan(self, name: str) -> None:
        fc.gated_scan(self.x, self.gate, self.gate, self.gate, out=self.out, threads=1)

    def track_share_of_copy(self, name: str) -> float:
        return common.ratio(lambda: common.copy(common.toy(name)), lambda: self.time_gated_scan(name), rounds=9)

    track_share_of_copy.unit = "times the speed of a toy scan's copy"
    track_share_of_copy.pretty_name = "gated_scan, over a copy of a toy scan's bytes"
    time_gated_scan.pretty_name = "gated_scan, one thread"


class GatedScanDtypes:
    """Values and gates of one kind."""

    params = (IN_CACHE, ("float32", "float64"))
    param_names = ("problem", "dtype")
    number, repeat, rounds = 1, (3, 7, 2.0), 2

    def setup(self, name: str, dtype: str) -> None:
        self.x = common.toy(name).x1.astype(dtype, order="A")
        self.gate = np.clip(np.abs(self.x), 0, 1)
        self.constant = np.array([0.9, 0.1, 1.0], dtype)
        self.out = np.empty_like(self.x)
        self.time_gated_scan_dtype(name, dtype)

    def time_gated_scan_dtype(self, name: str, dtype: str) -> None:
        fc.gated_scan(self.x, self.gate, self.gate, self.gate, out=self.out, threads=1)

    def time_gated_scan_constant_gates(self, name: str, dtype: str) -> None:
        fc.gated_scan(self.x, *self.constant, out=self.out, threads=1)

    time_gated_scan_dtype.pretty_name = "gated_scan, values of each dtype"
    time_gated_scan_constant_gates.pretty_name = "gated_scan, gates that are one number"


class GatedScanKeys:
    """300,000 rows of 4,000 interleaved streams."""

    number, repeat, rounds = 1, (3, 10, 5.0), 2

    def setup(self) -> None:
        common.needs("gated_scan")
        events = common.events()
        self.x, self.keys = events["value"], events["key"]
        self.gate = np.clip(np.abs(self.x), 0, 1)
        self.time_gated_scan_keys()

    def time_gated_scan_keys(self) -> None:
        fc.gated_scan(self.x, self.gate, self.gate, self.gate, keys=self.keys, threads=1)

    time_gated_scan_keys.pretty_name = "gated_scan with keys"


class Calls:
    """What a call costs whatever its size: 1,000 calls on one step."""

    number, repeat, rounds = 1, (5, 20, 2.0), 2

    def setup(self) -> None:
        self.x, self.rule = np.ones(1, np.float32), np.ones(1, np.int8)
        fc.toy_scan(self.x, self.rule, self.rule)

    def time_toy_scan_one_step_1000_calls(self) -> None:
        for _ in range(1000):
            fc.toy_scan(self.x, self.rule, self.rule)

    time_toy_scan_one_step_1000_calls.pretty_name = "toy_scan of one step, 1,000 calls"


KINDS = "floats", "integers", "keys", "lists", "three axes", "rules without a sign", "bounds", "numbers"


def small_call(kind: str) -> tuple[object, object, dict[str, object]]:
    """Values, rules and options of 100 steps."""
    rng = np.random.default_rng(0)
    shape = (10, 2, 5) if kind == "three axes" else (100,)
    values = rng.integers(0, 2, shape) if kind == "integers" else rng.random(shape)
    rules = rng.integers(0, 2, shape).astype(np.uint8 if kind == "rules without a sign" else np.int8)
    if kind == "lists":
        return values.tolist(), rules.tolist(), {}
    options = {"keys": {"keys": rng.integers(0, 5, 100)}, "bounds": {"low": 0, "high": 3}}
    return values, 1 if kind == "numbers" else rules, options.get(kind, {})


class SmallCalls:
    """1,000 calls of 100 steps: what is asked around them takes longer than they do."""

    params = (KINDS,)
    param_names = ("kind",)
    number, repeat, rounds = 1, (5, 20, 2.0), 2

    def setup(self, kind: str) -> None:
        values, rules, options = small_call(kind)
        self.given, self.options = (values, rules, rules), options
        fc.toy_scan(*self.given, **self.options)

    def time_toy_scan_100_steps_1000_calls(self, kind: str) -> None:
        for _ in range(1000):
            fc.toy_scan(*self.given, **self.options)

    def track_toy_scan_100_steps_over_sums(self, kind: str) -> float:
        return common.ratio(lambda: common.summed(*self.given), lambda: fc.toy_scan(*self.given, **self.options))

    time_toy_scan_100_steps_1000_calls.pretty_name = "toy_scan of 100 steps, 1,000 calls"
    track_toy_scan_100_steps_over_sums.unit = "times NumPy's speed"
    track_toy_scan_100_steps_over_sums.pretty_name = "toy_scan of 100 steps, over a sum of each argument in NumPy"


class SmallGatedCalls:
    """The same of `gated_scan`."""

    params = (tuple(kind for kind in KINDS if kind not in ("rules without a sign", "bounds")),)
    param_names = ("kind",)
    number, repeat, rounds = 1, (5, 20, 2.0), 2

    def setup(self, kind: str) -> None:
        values, gates, options = small_call(kind)
        self.given, self.options = (values, gates, gates, gates), options
        fc.gated_scan(*self.given, **self.options)

    def time_gated_scan_100_steps_1000_calls(self, kind: str) -> None:
        for _ in range(1000):
            fc.gated_scan(*self.given, **self.options)

    def track_gated_scan_100_steps_over_sums(self, kind: str) -> float:
        return common.ratio(lambda: common.summed(*self.given), lambda: fc.gated_scan(*self.given, **self.options))

    time_gated_scan_100_steps_1000_calls.pretty_name = "gated_scan of 100 steps, 1,000 calls"
    track_gated_scan_100_steps_over_sums.unit = "times NumPy's speed"
    track_gated_scan_100_steps_over_sums.pretty_name = "gated_scan of 100 steps, over a sum of each argument in NumPy"
