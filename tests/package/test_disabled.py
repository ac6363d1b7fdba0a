"""NUMBA_DISABLE_JIT=1: an import and the oracle work; what needs a kernel says in one error which variable to unset."""

import fastcell as fc
from fastcell._jit import DISABLED
from tests.helpers import processes

PLAIN = """
import fastcell as fc
print(fc.oracle.toy_scan([1.0, 2.0], [1, 1], [1, 1]), fc.toy_step(8.0, 2.0, 1, 1), fc.frames.__name__)
"""
CALLS = """
import numpy as np
import fastcell as fc
x = np.ones((4, 3), np.float32)
def lstm(): return fc.LSTM(3, 4, seed=0)
calls = {
    "toy_scan": lambda: fc.toy_scan([1.0, 2.0], [1, 1], [1, 1]),
    "toy_scan, keys": lambda: fc.toy_scan([1.0, 2.0], [1, 1], [1, 1], keys=[0, 1]),
    "gated_scan": lambda: fc.gated_scan([1.0, 2.0], [1, 1], [1, 1], [1, 1]),
    "rules_to_gates": lambda: fc.rules_to_gates([1, 1], [1, 1]),
    "toy_trace": lambda: fc.toy_trace([[3, 1, 0]]),
    "LSTM": lambda: lstm()(x),
    "LSTM.trace": lambda: lstm().trace(x),
    "LSTM.from_rules": lambda: fc.LSTM.from_rules(),
    "LSTMCell": lambda: fc.LSTMCell(3, 4, seed=0)(x),
    "lstm_step": lambda: fc.lstm_step(None, x[0], np.zeros(4, np.float32), np.zeros(4, np.float32)),
    "verify": fc.verify,
    "warmup": fc.warmup,
}
for name, call in calls.items():
    try:
        call()
    except RuntimeError as error:
        print(name, error, sep=": ")
"""
NAMES = (
    "toy_scan", "toy_scan, keys", "gated_scan", "rules_to_gates", "toy_trace", "LSTM", "LSTM.trace", "LSTM.from_rules",
    "LSTMCell", "lstm_step", "verify", "warmup",
)  # fmt: skip


def disabled(*arguments):
    return processes.python(*arguments, NUMBA_DISABLE_JIT="1")


def test_import_and_oracle_work():
    plain = disabled("-c", PLAIN)
    assert (plain.stdout, plain.stderr) == ("([1.0, 3.0], 3.0) (10.0, 10.0) fastcell.frames\n", "")


def test_every_kernel_is_one_clear_error():
    process = disabled("-c", CALLS)
    assert process.stderr == ""
    assert process.stdout.splitlines() == [f"{name}: {DISABLED}" for name in NAMES]
    assert DISABLED.startswith("NUMBA_DISABLE_JIT is set: ")


def test_a_command_says_it_in_a_line():
    commands = "demo", "verify", "warmup", "simulate"
    process = disabled("-c", f"from fastcell.__main__ import main\nprint([main([command]) for command in {commands}])")
    assert process.stdout == "[1, 1, 1, 1]\n"
    assert process.stderr == "".join(f"{command}: {DISABLED}\n" for command in commands)


def test_every_public_function_is_among_them():
    public = {name for name in fc.__all__ if callable(getattr(fc, name)) and name not in ("toy_step",)}
    results = {"CellParams", "Scan", "ToyTrace", "Trace"}  # what calls return
    assert public - results == {name for name in NAMES if "." not in name and "," not in name}
