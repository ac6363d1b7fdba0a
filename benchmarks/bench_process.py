"""What a process pays once: imports, compilation, and the first call when kernels lie compiled on disk."""

import os
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
COLD = f"import os; os.environ['FASTCELL_CACHE'] = '0'; {IMPORTS}"
SPLIT = """
import time
start = time.perf_counter()
import numba, numpy
print(time.perf_counter() - start)
{before}
start = time.perf_counter()
{what}
print(time.perf_counter() - start)
"""


def speed_beside_numba(what: str, before: str = "", processes: int = 5) -> float:
    """Seconds of `import numba, numpy` over those of `what` in the same fresh process, each the best of several.

    Byte code is written, as it is where a package is installed.
    """
    command = [sys.executable, "-c", SPLIT.format(before=before, what=what)]
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    runs = [subprocess.run(command, env=usual, capture_output=True, check=True) for _ in range(processes)]
    numba, own = np.array([run.stdout.split() for run in runs], float).min(axis=0)
    return float(numba / own)


class Imports:
    """Of a fresh process; NumPy and Numba are most of it."""

    number, repeat, rounds = 1, (3, 5, 20.0), 1

    def timeraw_import_fastcell(self) -> str:
        return "import fastcell"

    def timeraw_import_numba(self) -> str:
        """The yardstick."""
        return "import numba, numpy"

    def track_import_fastcell_beside_numba(self) -> float:
        return speed_beside_numba("import fastcell")

    timeraw_import_fastcell.pretty_name = "import fastcell"
    timeraw_import_numba.pretty_name = "Yardstick: import numba, numpy"
    track_import_fastcell_beside_numba.unit = "times the speed of import numba"
    track_import_fastcell_beside_numba.pretty_name = "import fastcell after numba, beside import numba"


class Cold:
    """The first call where nothing is compiled yet: the cache is off. The import apart."""

    params = (tuple(CALLS),)
    param_names = ("function",)
    number, repeat, rounds, warmup_time, min_run_count, timeout = 1, 1, 1, 0, 1, 300

    def setup(self, function: str) -> None:
        common.needs(NEEDS[function])

    def timeraw_compile(self, function: str) -> tuple[str, str]:
        return CALLS[function], COLD

    def track_compile_beside_numba(self, function: str) -> float:
        return speed_beside_numba(CALLS[function], COLD, processes=1)

    track_compile_beside_numba.unit = "times the speed of import numba"
    track_compile_beside_numba.pretty_name = "First call, compiling, beside import numba"
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

    def track_first_call_beside_numba(self, function: str) -> float:
        return speed_beside_numba(CALLS[function], IMPORTS)

    track_first_call_beside_numba.unit = "times the speed of import numba"
    track_first_call_beside_numba.pretty_name = "First call, compiled before, beside import numba"
    timeraw_first_call.pretty_name = "First call, compiled before"
