"""Measure the scans and write their tables into benchmarks/README.md: `python -m benchmarks.table` from the top."""

import os
import platform
import subprocess
import timeit
from contextlib import suppress
from pathlib import Path

import numba
import numpy as np

import fastcell as fc
from fastcell.simd.vector import LANES

from . import common, dataframes, pages

CPUINFO = Path("/proc/cpuinfo")


def cpu() -> str:
    """The CPU's name: Linux tells it by lscpu, which need not know an ARM's, whose numbers are in /proc/cpuinfo."""
    for command in (["lscpu"], ["sysctl", "machdep.cpu.brand_string"]):
        try:
            lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        except (OSError, subprocess.CalledProcessError):
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip().lower() in ("model name", "machdep.cpu.brand_string") and value.strip(" -"):
                return value.strip()
    facts = {}
    with suppress(OSError):
        lines = CPUINFO.read_text("utf-8").splitlines()
        facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "CPU part" in facts:
        numbers = f"implementer {facts.get('CPU implementer', 'unknown')}, part {facts['CPU part']}"
        return f"{platform.machine()}, {numbers}"
    return platform.processor() or platform.machine()


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=pages.README.parent, capture_output=True, text=True, check=False).stdout.strip()


def scans() -> list[str]:
    rows = [
        "| toy_scan, float32 with int8 rules | G steps/s, one thread | of the copy's speed | times the plain loop "
        "| two threads, times one |",
        "|---|---|---|---|---|",
    ]
    for name in common.PROBLEMS:
        data = common.toy(name)

        def scan(threads: int, data: common.Toy = data) -> None:
            fc.toy_scan(*data[:3], out=data.y, threads=threads)

        best = common.in_turn(
            {
                "copy": lambda data=data: common.copy(data),
                "one": lambda: scan(1),
                "two": lambda: scan(2),
                "plain": lambda data=data: common.plain(data),
            },
            rounds=9,
        )
        one = best["one"]
        rows.append(
            f"| {name} | {data.x1.size / one / 1e9:.2f} | {best['copy'] / one:.2f} | {best['plain'] / one:.1f} "
            f"| {one / best['two']:.2f} |"
        )
        common.toy.cache_clear()
    return rows


def keyed() -> list[str]:
    events = common.events()
    frames = dataframes.frames(events)
    best = common.in_turn(
        {
            "fastcell": lambda: dataframes.fastcell(events),
            "pandas": lambda: dataframes.with_pandas(frames["pandas"]),
            "Polars": lambda: dataframes.with_polars(frames["polars"]),
            "pandas, sum alone": lambda: dataframes.sum_with_pandas(frames["pandas"]),
            "Polars, sum alone": lambda: dataframes.sum_with_polars(frames["polars"]),
        }
    )
    rows = ["| 300,000 rows, 4,000 keys, one thread each | ms | times fastcell |", "|---|---|---|"]
    rows += [f"| {name} | {1e3 * s:.2f} | {s / best['fastcell']:.1f} |" for name, s in best.items()]
    return rows


def small() -> list[str]:
    rows = ["| one sequence, whole call | fastcell, us | plain njit loop, us |", "|---|---|---|"]
    for steps in (1, 100, 10_000):
        x = np.ones(steps, np.float32)
        rule = np.random.default_rng(0).integers(-1, 2, steps).astype(np.int8)
        emit, y, a = np.abs(rule), np.zeros((steps, 1), np.float32), np.zeros(1)
        columns = [array.reshape(-1, 1) for array in (x, rule, emit)]
        out = y.reshape(-1)
        best = common.in_turn(
            {
                "fastcell": lambda x=x, rule=rule, emit=emit, out=out: fc.toy_scan(x, rule, emit, out=out),
                "plain": lambda columns=columns, a=a, y=y: common.plain_rows(*columns, a, y),
            }
        )
        rows.append(f"| {steps} steps | {1e6 * best['fastcell']:.1f} | {1e6 * best['plain']:.1f} |")
    step = min(timeit.repeat(lambda: fc.toy_step(8.0, 2.0, 1, 1), number=10_000, repeat=5)) / 10_000
    return [*rows, f"| toy_step from Python | {1e6 * step:.2f} | |"]


def main() -> None:
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # read when Polars is first imported
    where = (
        f"{cpu()}, vectors of {32 * LANES} bits; Python {platform.python_version()}, numba {numba.__version__}, "
        f"NumPy {np.__version__}; commit {commit()}; best of several, timed by turns."
    )
    table = "\n".join([where, "", *scans(), "", *keyed(), "", *small()])
    pages.put(pages.BENCHMARKS, "table", table)
    print(table)


if __name__ == "__main__":
    main()
