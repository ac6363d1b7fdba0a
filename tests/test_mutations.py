"""Kernels broken on purpose: a short check against the oracle sees each."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastcell

CHECK = """
import numpy as np, problems
import fastcell as fc
from fastcell import oracle
for shape in ((5000,), (300, 3), (70, 37)):
    for order in "CF":
        arrays = [np.asarray(x, order=order) for x in problems.toy(shape)]
        if shape == (5000,) and order == "F":
            arrays[1][:] = 1  # the memory goes through all segments
        y, a = oracle.toy_scan(*(x.tolist() for x in arrays))
        scan = fc.toy_scan(*arrays)
        assert np.array_equal(scan.y, y) and np.array_equal(scan.state, a), (shape, order)
        arrays = [np.asarray(x, order=order) for x in problems.gates(shape)]
        y, a = oracle.gated_scan(*(x.tolist() for x in arrays))
        scan = fc.gated_scan(*arrays)
        assert np.array_equal(scan.y, y) and np.array_equal(scan.state, a), (shape, order)
"""
KERNELS = "_recurrence_kernels.py"
MUTANTS = {
    "none": (KERNELS, "", ""),
    "a reset keeps": (KERNELS, "return select(r == -1, 0, a), overflow", "return a, overflow"),
    "an emit at another rule": (KERNELS, "return select(e == 1,", "return select(e == 0,"),
    "gates swapped": (KERNELS, "kept, added = f * a, i * x", "kept, added = i * a, f * x"),
    "the output gate forgotten": (KERNELS, "return o * a, overflow", "return a, overflow"),
    "no tail": (KERNELS, "        if whole < last:\n            overflow", "        if False:\n            overflow"),
    "memory dropped between blocks": (
        KERNELS,
        "            store(memories, memory)\n            scatter",
        "            scatter",
    ),
    "segments not chained": (KERNELS, "else carry + total", "else total"),
    "segments that forget are not known": (KERNELS, "forgot = forgot | (r == -1)", "forgot = forgot | (r == -5)"),
    "wrong step order": (
        "_blocks.py",
        "packed + k * row, row, LANES, to + k * size",
        "packed, row, LANES, to + k * size",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant(name, tmp_path):
    file, old, new = MUTANTS[name]
    package = tmp_path / "fastcell"
    shutil.copytree(Path(fastcell.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    source = (package / file).read_text()
    assert old in source
    if old:
        (package / file).write_text(source.replace(old, new))
    tests = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{tests}",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    run = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    if name == "none":
        assert run.returncode == 0, run.stderr
    else:
        assert run.returncode == 1
        assert "AssertionError" in run.stderr, run.stderr
