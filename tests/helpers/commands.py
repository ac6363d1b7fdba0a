"""Tables and arrays for the command line, and the command itself."""

import datetime as dt
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from fastcell.__main__ import main
from tests.helpers import processes

COLUMNS = ["--value", "v", "--control", "c", "--emit", "e"]


def table(rows=1000, keys=None, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "v": rng.integers(-40, 40, rows) / 4,
        "c": rng.choice([-1, 0, 1], rows).astype(np.int8),
        "e": rng.integers(0, 2, rows).astype(np.int8),
        "note": [f'text, "{k}"' for k in range(rows)],
    }
    if keys:
        columns["k"] = rng.choice(keys, rows)
    return pa.table(columns)


def write(frame, path):
    (pyarrow.csv.write_csv if path.suffix == ".csv" else pq.write_table)(frame, path)
    return path


def read(path):
    return pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)


def scan(source, out, *options):
    return main(["scan", str(source), *COLUMNS, "-o", str(out), *map(str, options)])


def keyed(rows=1000, seed=5):
    rng = np.random.default_rng(seed)
    frame = table(rows, keys=["a", "b", None], seed=seed)
    days = [dt.date(2020, 1, 1), dt.date(2020, 1, 2), None]
    return frame.append_column("d", pa.array(days).take(pa.array(rng.integers(0, 3, rows))))


def by_hand(frame, names):
    memories, y = {}, []
    for row in frame.to_pylist():
        key = tuple(row[name] for name in names)
        a = memories.get(key, 0.0)
        memories[key] = a + row["v"] if row["c"] == 1 else 0.0 if row["c"] == -1 else a
        y.append(memories[key] if row["e"] == 1 else 0.0)
    return y, memories


def steps(*shape):
    return np.random.default_rng(0).standard_normal(shape)


KILLED = """
import os, signal, sys
import fastcell._files as files
moment, replace, calls = int(sys.argv[1]), os.replace, []
def kill_or_replace(*names):
    if moment == 2 * len(calls):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)
    calls.append(names)
    if moment == 2 * len(calls) - 1:
        os.kill(os.getpid(), signal.SIGKILL)
files.os.replace = kill_or_replace
from fastcell.__main__ import main
sys.exit(main(sys.argv[2:]))
"""
"""Runs a command that is killed before or after its first or second file takes its place."""

PEAKS = """
import json, re, sys
from fastcell.__main__ import main
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])  # of this process, not of its parent
"""


def peaks(*commands):
    """MiB that commands have taken at most, after each of them, one process for all."""
    run = processes.python("-c", PEAKS, json.dumps([[*map(str, command)] for command in commands]))
    assert run.returncode == 0, run.stderr
    return [int(line) / 1024 for line in run.stdout.splitlines()]


linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process took at most")
