"""What a process pays once: imports, compilation, and the first call when kernels lie compiled on disk."""

import subprocess
import sys

import numpy as np

import fastcell as fc

from . import common

CALLS = {
    "toy_scan": "fc.toy_scan(np.ones(8, 'f'), np.ones(8, 'b'), np.ones(8, 'b'))",
    "lstm": "fc.LSTM(4, 16, seed=0)(np.ones((8, 2, 4), 'f'))",
}
NEEDS = {"toy_scan": "toy_scan", "lstm": "LSTM"}
IMPORTS = "import numpy as np, fastcell as fc"  # not SETUP: asv takes that, in any case, for its own
SPLIT = """
import time
start = time.perf_counter()
import numba, numpy
numba_took, start = time.perf_counter() - start, time.perf_counter()
import fastcell
print(numba_took, time.perf_counter() - start)
"""
COLD = f"import os; os.environ['FASTCELL_CACHE'] = '0'; {IMPORTS}"


class Imports:
    """Of a fresh process; NumPy and Numba are most of it."""

    number, repeat, rounds = 1, (3, 5, 20.0), 1

    def timeraw_import_fastcell(self) -> str:
        return "import fastcell"

    def timeraw_import_numba(self) -> str:
        """The yardstick."""
        return "import numba, numpy"

    def track_numba_share_of_import(self) -> float:
        """Of numba's time and fastcell's after it, numba's: the rest is fastcell's own. Best of several processes."""
        runs = [subprocess.run([sys.executable, "-c", SPLIT], capture_output=True, check=True) for _ in range(5)]
        numba, own = np.array([run.stdout.split() for run in runs], float).min(axis=0)
        return float(numba / (numba + own))

    timeraw_import_fastcell.pretty_name = "import fastcell"
    timeraw_import_numba.pretty_name = "Yardstick: import numba, numpy"
    track_numba_share_of_import.unit = "of import fastcell"
    track_numba_share_of_import.pretty_name = "import numba, numpy, share of import fastcell"


class Cold:
    """The first call where nothing is compiled yet: the cache is off. The import apart."""

    params = (tuple(CALLS),)
    param_names = ("function",)
    number, repeat, rounds, warmup_time, min_run_count, timeout = 1, 1, 1, 0, 1, 300

    def setup(self, function: str) -> None:
        common.needs(NEEDS[function])

    def timeraw_compile(self, function: str) -> tuple[str, str]:
        return CALLS[function], COLD

    timeraw_compile.pretty_name = "First call, compiling"


class Warm:
    """The first call of a process whose kernels lie compiled on disk, the import apart."""

    params = (tuple(CALLS),)
    param_names = ("function",)
    number, repeat, rounds, warmup_time, timeout = 1, 5, 1, 0, 300

    def setup(self, function: str) -> None:
        common.needs(NEEDS[function])
        eval(CALLS[function], {"np": np, "fc": fc})

    def timeraw_first_call(self, function: str) -> tuple[str, str]:
        return CALLS[function], IMPORTS

    timeraw_first_call.pretty_name = "First call, compiled before"
