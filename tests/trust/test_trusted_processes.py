"""Forks, spawned workers, and an interpreter that ends with work in flight: an answer or a clean error, no hang."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastcell as fc
from tests.helpers import problems, processes


def answer(_=None):
    x1, x2, x3 = problems.toy((200, 64), "float32")
    scan = fc.toy_scan(x1, x2, x3, threads=4)
    y, (h, c) = fc.LSTM(3, 5, seed=0)(np.ones((4, 8, 3), np.float32), threads=4)
    return b"".join(part.tobytes() for part in (scan.y, scan.state, y, h, c))


@pytest.mark.parametrize(
    "method", [*(pytest.param(name, marks=pytest.mark.forks) for name in ("fork", "forkserver")), "spawn"]
)
def test_workers_of_every_kind(method):
    expected = answer()  # the pool of this process has threads by now
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        for got in pool.map(answer, range(6), timeout=120):
            assert got == expected


@pytest.mark.forks
@pytest.mark.kills
def test_a_fork_of_a_fork():
    expected = answer()
    first = os.fork()
    if first == 0:
        code = 1
        try:
            second = os.fork()
            if second == 0:
                code = 0 if answer() == expected else 2
            else:
                code = os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) or (0 if answer() == expected else 3)
        finally:
            os._exit(code)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pid, status = os.waitpid(first, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    raise AssertionError("a fork of a fork hangs")


AT_EXIT = {
    "a thread at work": """
threading.Thread(target=work).start()
started.wait()
""",
    "a call at exit": """
import atexit
atexit.register(lambda: print(fc.toy_scan(x[:70000], r[:70000], r[:70000], threads=4).state, flush=True))
""",
    "a daemon at work, and an error": """
threading.Thread(target=work, daemon=True).start()
started.wait()
raise SystemExit(3)
""",
}
WORK = """
import threading, numpy as np, fastcell as fc
x, r = np.ones(1 << 20, "f"), np.ones(1 << 20, np.int8)
fc.toy_scan(x, r, r, threads=4)
started = threading.Event()
def work():
    for k in range(40):
        fc.toy_scan(x, r, r, threads=4)
        started.set()
"""


@pytest.mark.parametrize("name", AT_EXIT)
def test_exit_with_work_in_flight(name):
    run = processes.python("-c", WORK + AT_EXIT[name], timeout=100)
    assert run.returncode == (3 if "an error" in name else 0), run.stderr
    assert run.stderr == ""
    assert run.stdout == ("70000.0\n" if name == "a call at exit" else "")


def memory():
    """Resident bytes of this process."""
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def grows(call, times):
    """Bytes that `times` calls leave behind, after as many calls as it takes to settle."""
    for _ in range(times // 5):
        call()
    before = memory()
    for _ in range(times):
        call()
    return memory() - before


def leaks(steps, calls):
    cell, x = fc.LSTMCell(3, 5, seed=0), np.ones((2, 3), np.float32)
    h, c = np.zeros((2, 5), np.float32), np.zeros((2, 5), np.float32)
    lstm, long = fc.LSTM(3, 5, seed=0), np.ones((20, 8, 3), np.float32)
    arrays = problems.toy((100, 40), "float32")
    wrong = [arrays[0], arrays[1] + 5, arrays[2]]

    def refused():
        with pytest.raises(ValueError, match="x2"):
            fc.toy_scan(*wrong)

    for name, call, times in (
        ("step", lambda: cell.step(x, h, c), steps),
        ("cell", lambda: cell(x, (h, c)), calls),
        ("lstm_step", lambda: fc.lstm_step(cell.params, x, h, c), calls),
        ("LSTM", lambda: lstm(long, threads=2), calls),
        ("making an LSTM", lambda: fc.LSTM(3, 5, seed=0), calls),
        ("toy_scan", lambda: fc.toy_scan(*arrays, threads=2), calls),
        ("gated_scan", lambda: fc.gated_scan(*arrays, arrays[0]), calls),
        ("an error", refused, calls),
    ):
        assert grows(call, times) < 1 << 20, name  # a leak of one array a call would be more


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
def test_nothing_leaks():
    leaks(100_000, 1000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
def test_nothing_leaks_in_a_million_steps():
    leaks(1_000_000, 10_000)


def killed_runs(tmp_path, times):
    rng = np.random.default_rng(0)
    rows = 400_000
    table = {"v": rng.standard_normal(rows), "c": rng.integers(-1, 2, rows), "e": rng.integers(0, 2, rows)}
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.table(table), source)
    pq.write_table(pa.table({"y": [-1.0]}), out)
    command = ["-m", "fastcell", "scan", source, "--value", "v", "--control", "c", "--emit", "e", "-o", out]
    old, new = out.read_bytes(), tmp_path / "new.parquet"
    environment = os.environ | {"PYTHONPATH": str(processes.PACKAGE.parent)}
    begin = time.monotonic()
    subprocess.run([sys.executable, *map(str, command[:-1]), new], env=environment, check=True)
    whole_run, random_moment = time.monotonic() - begin, random.Random(1)
    wanted = pq.read_table(new)
    for k in range(times):
        run = subprocess.Popen([sys.executable, *map(str, command)], env=environment)
        time.sleep(whole_run * random_moment.uniform(0.5, 1.0))
        run.kill()
        run.wait(timeout=60)
        assert out.read_bytes() == old or pq.read_table(out).equals(wanted), f"half an output after kill {k}"


@pytest.mark.kills
def test_a_killed_scan_leaves_the_old_output_or_the_new(tmp_path):
    killed_runs(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.kills
def test_many_killed_scans(tmp_path):
    killed_runs(tmp_path, 40)
