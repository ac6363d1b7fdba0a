"""No kernel touches a byte beside its arrays: guard_checks.py in a process, where a fault is an exit code.

Kernels work on addresses, which NUMBA_BOUNDSCHECK=1 can't check. It checks the places where they index arrays, which
number keys and texts: builds with it run, too.
"""

import signal
import sys
from pathlib import Path

import pytest

from fastcell._jit import VECTOR_BITS
from tests.helpers import draws, guard_checks, processes

SCRIPT = str(Path(guard_checks.__file__))
WIDTHS = ("128", "256", "512")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mprotect and exit codes as on Linux")


def check(names, bits):
    """Less optimized where vectors are not this machine's, for the time: that leaves out no read and no write."""
    level = {} if int(bits) == VECTOR_BITS else {"NUMBA_OPT": "1"}
    run = processes.python(SCRIPT, *names, FASTCELL_VECTOR_BITS=bits, **level)
    found = f"{run.stdout}exit code {run.returncode} at {bits} bits\n{run.stderr[-2000:]}"
    assert run.returncode == 0, found
    assert run.stdout == "".join(f"{name} stays inside\n" for name in names), found


USUAL = [check.__name__ for check in guard_checks.USUAL]


@pytest.mark.parametrize("names", [USUAL[:3], USUAL[3:]], ids=["scans", "LSTM and cell"])
def test_usual_arrays(names):
    """One process for several, whose start takes as long as what they do."""
    check(names, str(VECTOR_BITS))


@pytest.mark.slow
@pytest.mark.parametrize("bits", [bits for bits in WIDTHS if int(bits) != VECTOR_BITS])
@pytest.mark.parametrize("name", USUAL)
def test_usual_arrays_at_other_widths(name, bits):
    check([name], bits)


@pytest.mark.slow
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", [check.__name__ for check in guard_checks.OTHERS])
def test_other_arrays(name, bits):
    check([name], bits)


def test_the_guard_sees_one_byte():
    run = processes.python(SCRIPT, "nothing_escapes")
    assert run.returncode == -signal.SIGSEGV
    assert run.stdout == "about to read past the end\n"


def test_a_guard_that_is_not_where_arrays_are_made_is_noticed(monkeypatch):
    """As after a move into a module of another name."""
    monkeypatch.setattr(guard_checks, "MODULES", [])
    with pytest.raises(AssertionError, match=r"^keys \(1, 1\): 0 arrays of its own are guarded, 2 expected"):
        guard_checks.keys_and_rows()


CHECKED = {"NUMBA_BOUNDSCHECK": "1"}
OUTSIDE = """
import numpy as np
from fastcell import _jit

@_jit.kernel
def read(x, k):
    return x[k]

read(np.ones(4)[:3], 3)
"""


def test_bounds_are_checked_where_numba_is_asked_to():
    environment = {"FASTCELL_CACHE": "0"}
    assert processes.python("-c", OUTSIDE, **environment).returncode == 0
    checked = processes.python("-c", OUTSIDE, **environment, **CHECKED)
    assert checked.returncode == 1
    assert "IndexError: index is out of bounds" in checked.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)  # every kernel compiled anew, with its checks
def test_builds_with_bounds_checked(tmp_path):
    """The quick checks, 50 draws of each fuzz and frames' keys, all with a cache of their own."""
    environment = {
        **CHECKED,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "FASTCELL_EXAMPLES": "50",
        "FASTCELL_SEED": str(draws.SEED),
        "FASTCELL_VECTOR_BITS": "128",
    }
    tests = Path(__file__).parents[1]
    pytest_on = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow")
    fuzz, frames = str(tests / "trust" / "test_fuzz.py"), str(tests / "frames" / "test_frames.py")
    for arguments in ((processes.CHECKS,), (*pytest_on, fuzz), (*pytest_on, frames, "-k", "key or text")):
        run = processes.python(*arguments, timeout=500, **environment)
        assert run.returncode == 0, f"{arguments}: {run.stdout[-2000:]}\n{run.stderr[-2000:]}"
