"""fastcell beside its peers, one thread and all: `python -m benchmarks.peers` from the top of the repository.

Measures the LSTM, single steps and the toy cell by turns, checks that all answers agree, and writes the tables of
benchmarks/README.md, a few rows of them into README.md, and peers.svg. A library that is not installed is left out;
`pip install -e '.[peers]'` brings them all. Libraries choose their threads when they are loaded, so that each number of
threads has a process of its own.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

from fastcell.simd.vector import LANES

from . import common, pages, peers_lstm, peers_report, peers_toy
from .table import commit, cpu

ROOT = Path(__file__).parent.parent
ALONE = {"rounds": 9, "least": 0.01, "most": 0.8}
TOGETHER = {"rounds": 5, "least": 0.02, "most": 0.8, "settle": 0.08}
POOLS = ("OMP", "OPENBLAS", "MKL", "NUMBA")


def sgemm() -> float:
    """Floating point operations a second of NumPy's product."""
    a = np.ones((1024, 1024), np.float32)
    return 2 * 1024**3 / common.in_turn({"sgemm": lambda: a @ a}, rounds=20)["sgemm"]


def figures(threads: int) -> dict[str, object]:
    """Everything that this process measures, in seconds."""
    common.keep_to(set(sorted(common.cores())[:threads]))
    timing = ALONE if threads == 1 else TOGETHER
    found: dict[str, object] = {"threads": threads, "sgemm": sgemm(), "lstm": {}, "steps": {}, "toy": {}}
    found |= {precision: {} for precision in peers_report.LOW}

    def run(kind, name, measure, *arguments):
        start = time.perf_counter()
        found[kind][name] = measure(*arguments, **timing)
        print(f"{threads} threads, {kind} {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)

    for shape in peers_lstm.SHAPES:
        run("lstm", ", ".join(map(str, shape)), peers_lstm.measure, shape, threads)
        for precision in peers_report.LOW:
            run(precision, ", ".join(map(str, shape)), peers_lstm.measure, shape, threads, precision)
    for name in peers_toy.WORK:
        run("toy", name, peers_toy.measure, name, threads)
    if threads == 1:
        for size in peers_lstm.STEPS:
            run("steps", ", ".join(map(str, size)), peers_lstm.measure_step, *size)
    return found


def in_a_process(threads: int) -> dict[str, object]:
    """The figures of a fresh process whose libraries have so many threads."""
    environment = {f"{pool}_NUM_THREADS": str(threads) for pool in POOLS}
    environment |= {"POLARS_MAX_THREADS": str(threads), "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, "-m", __spec__.name, "--threads", str(threads), "--figures", str(file)]
        subprocess.run(command, env=os.environ | environment, cwd=ROOT, check=True)
        return json.loads(file.read_text("utf-8"))


def where() -> str:
    """The machine, the versions, the commit and the date."""
    groups = (peers_lstm.PEERS, *(work.peers for work in peers_toy.WORK.values()))
    needs = dict.fromkeys(name for peers in groups for peer in peers.values() for name in peer.needs)
    found = common.versions(("numba", "numpy", *needs))
    libraries = ", ".join(f"{name} {version}" for name, version in found.items())
    absent = [name for name in needs if name not in found]
    missing = f"; not installed: {', '.join(absent)}" if absent else ""
    return (
        f"{cpu()}, {len(common.cores())} cores, vectors of {32 * LANES} bits; {date.today()}, commit {commit()}; "
        f"Python {platform.python_version()}, {libraries}{missing}; float32, best of several by turns"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="measure with so many threads, here, and write nothing else than")
    parser.add_argument("--figures", type=Path, metavar="JSON", help="this file")
    options = parser.parse_args()
    if options.threads:
        options.figures.write_text(json.dumps(figures(options.threads)), "utf-8")
        return
    runs = [in_a_process(threads) for threads in sorted({1, len(common.cores())})]
    peers_report.write(pages.BENCHMARKS, pages.README, runs, where())


if __name__ == "__main__":
    main()
