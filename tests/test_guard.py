"""No kernel touches a byte beside its arrays: guard_checks.py in a process, where a fault is an exit code."""

import signal
import sys
from pathlib import Path

import guard_checks
import processes
import pytest

SCRIPT = str(Path(guard_checks.__file__))
WIDTHS = ("128", "256", "512")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mprotect and exit codes as on Linux")


def check(name, bits):
    run = processes.python(SCRIPT, name, FASTCELL_VECTOR_BITS=bits)
    assert run.returncode == 0, f"{name} at {bits} bits: exit code {run.returncode}\n{run.stderr[-2000:]}"
    assert run.stdout == f"{name} stays inside\n"


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", [check.__name__ for check in guard_checks.USUAL])
def test_usual_arrays(name, bits):
    check(name, bits)


@pytest.mark.slow
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", [check.__name__ for check in guard_checks.OTHERS])
def test_other_arrays(name, bits):
    check(name, bits)


def test_the_guard_sees_one_byte():
    run = processes.python(SCRIPT, "nothing_escapes")
    assert run.returncode == -signal.SIGSEGV
    assert run.stdout == "about to read past the end\n"
