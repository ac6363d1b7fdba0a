"""fastcell.dask: eight chunks of time on two workers beside one call, and what a chunk costs whatever its size."""

import time
import warnings

import numpy as np

import fastcell as fc

from . import common

try:
    import dask
    import dask.array as da
    from distributed import Client, LocalCluster
except ImportError as error:  # asv skips what its setup does not implement
    raise NotImplementedError("Dask is not installed") from error

T, B, CHUNKS = 16_000, 1_000, 8
MANY = 10_000


def steps(block_info=None):
    """A chunk's values, made where they are used; float32, as those of the plain call."""
    shape = block_info[None]["chunk-shape"]
    return np.random.default_rng(block_info[None]["chunk-location"]).standard_normal(shape, dtype=np.float32)


def problem():
    """Values, rules and a gate: a quarter of the rules resets, a quarter adds, half keeps."""
    cut = ((T // CHUNKS,) * CHUNKS, (B,))
    x = da.map_blocks(steps, chunks=cut, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    x2 = (x > 0.67).astype(np.int8) - (x < -0.67).astype(np.int8)
    return x, x2, (x > 0).astype(np.int8), abs(x) / (1 + abs(x))


class TwoWorkers:
    """Chunks that the workers hold already, summed to one number a chunk; the plain call uses as many threads."""

    params = (["toy_scan", "gated_scan"],)
    param_names = ("scan",)
    number, repeat, rounds, timeout = 1, (3, 7, 20.0), 1, 300

    def setup(self, scan):
        common.needs("dask")
        warnings.simplefilter("ignore")
        self.cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        self.client = Client(self.cluster)
        x, x2, x3, gate = self.client.persist(problem())
        if scan == "toy_scan":
            self.lazy, self.plain = fc.dask.toy_scan, fc.toy_scan
            self.arrays = x, x2, x3
        else:
            self.lazy, self.plain = fc.dask.gated_scan, fc.gated_scan
            self.arrays = x, gate, gate, gate
        self.whole = dask.compute(*self.arrays)
        self.time_two_workers(scan)
        self.time_one_call(scan)

    def teardown(self, scan):
        if hasattr(self, "cluster"):
            self.client.close()
            self.cluster.close()

    def time_two_workers(self, scan):
        self.lazy(*self.arrays).y.sum(axis=0).compute()

    def time_one_call(self, scan):
        """The yardstick."""
        self.plain(*self.whole, threads=2).y.sum(axis=0)

    def track_times_one_call(self, scan):
        best = {}
        for _ in range(5):
            for name, call in (("two workers", self.time_two_workers), ("one call", self.time_one_call)):
                start = time.perf_counter()
                call(scan)
                best[name] = min(best.get(name, np.inf), time.perf_counter() - start)
        return best["one call"] / best["two workers"]

    time_two_workers.pretty_name = "fc.dask, two workers"
    time_one_call.pretty_name = "Yardstick: one call on two threads beside fc.dask"
    track_times_one_call.unit = "times one call's speed"
    track_times_one_call.pretty_name = "fc.dask, two workers over one call on two threads"


class ManyChunks:
    """Ten steps a chunk, so that all time is the graph's."""

    number, repeat, rounds, timeout = 1, (1, 3, 20.0), 1, 300

    def setup(self):
        common.needs("dask")
        self.x = da.zeros(MANY * 10, chunks=10, dtype=np.float32)
        self.rules = da.ones(MANY * 10, chunks=10, dtype=np.int8)
        fc.dask.toy_scan(self.x[:30], self.rules[:30], self.rules[:30]).y.compute()

    def time_graph_of_10000_chunks(self):
        fc.dask.toy_scan(self.x, self.rules, self.rules)

    def track_tasks_a_chunk(self):
        inputs = len(self.x.dask) + len(self.rules.dask)
        return (len(fc.dask.toy_scan(self.x, self.rules, self.rules).y.dask) - inputs) / MANY

    time_graph_of_10000_chunks.pretty_name = "fc.dask.toy_scan, graph of 10,000 chunks"
    track_tasks_a_chunk.unit = "tasks"
    track_tasks_a_chunk.pretty_name = "fc.dask.toy_scan, tasks a chunk"

    def track_overhead_a_chunk(self):
        """Of 1,000 chunks on Dask's threads, its scheduler included."""
        cut = slice(0, 10_000)
        scan = fc.dask.toy_scan(self.x[cut], self.rules[cut], self.rules[cut])
        times = []
        for _ in range(3):
            start = time.perf_counter()
            scan.y.sum().compute()
            times.append(time.perf_counter() - start)
        return min(times) / 1000 * 1e6

    track_overhead_a_chunk.unit = "us"
    track_overhead_a_chunk.pretty_name = "fc.dask.toy_scan, overhead a chunk"
