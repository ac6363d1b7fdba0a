"""Kernels broken on purpose: a short check against the oracle sees each."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import fastcell
from tests.helpers import processes

CHECK = """
import numpy as np
from tests.helpers import problems
import fastcell as fc
from fastcell import oracle
from fastcell.scan import small_calls
small_calls.SMALL = 0
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
CHECK += """
from tests.lstm import test_lstm
for options in ({"proj_size": 5}, {"peepholes": True, "coupled": True, "clip": 0.3}):
    for B in (1, 2, 13):
        lstm = fc.LSTM(3, 33, 2, seed=1, **options)
        test_lstm.check(lstm, test_lstm.normal((4, B, 3)), lengths=[4, 2, 3][:B] + [1] * (B - 3))
"""
LSTM, CELL = "lstm/kernels.py", "lstm/cell_kernels.py"
KERNELS, GATED = "scan/toy_kernels.py", "scan/gated_kernels.py"
REGISTERS, CALLS = "scan/toy_registers.py", "scan/toy_calls.py"
GATED_REGISTERS = "scan/gated_registers.py"
MUTANTS = {
    "none": (KERNELS, "", ""),
    "a reset keeps": (KERNELS, "a = select(forgets(r), 0, a)", "a = select(r == 2, 0, a)"),
    "an emit at another rule": (KERNELS, "return select(e > 0,", "return select(e == 0,"),
    "gates swapped": (GATED, "kept, added = f * a, i * x", "kept, added = i * a, f * x"),
    "the output gate forgotten": (GATED, "return o * a, overflow", "return a, overflow"),
    "LSTM gates swapped": (LSTM, "c = fma(sigmoid(f), c, (i * g)", "c = fma(sigmoid(o), c, (i * g)"),
    "LSTM memory not kept": (LSTM, "        store(c_at, c)\n        (o, o_part)", "        (o, o_part)"),
    "LSTM last tile left out": (LSTM, "for tile in range(tiles):", "for tile in range(max(tiles - 1, 1)):"),
    "LSTM tail lanes left out": (
        LSTM,
        "    if k < count:\n        store_first",
        "    if k > count:\n        store_first",
    ),
    "LSTM peephole of o is that of i": (
        LSTM,
        "o = fma(load(at + 2 * v, like), c, o)",
        "o = fma(load(at, like), c, o)",
    ),
    "LSTM clip forgotten": (LSTM, "return select(x > limit, limit, x)", "return x"),
    "LSTM h not taken back": (LSTM, "old, new = (flip, 0) if q & 1 else (0, flip)", "old, new = 0, flip"),
    "LSTM rows run past their ends": (LSTM, "                    active -= 1\n", "                    break\n"),
    "no tail": (KERNELS, "        if whole < last:\n            overflow", "        if False:\n            overflow"),
    "memory dropped between blocks": (
        KERNELS,
        "            store(memories, memory)\n            scatter",
        "            scatter",
    ),
    "segments not chained": (KERNELS, "else carry + total", "else total"),
    "segments that forget are not known": (KERNELS, "forgot = forgot | forgets(r)", "forgot = forgot | (r == -5)"),
    "wrong step order": (
        "scan/blocks.py",
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
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{processes.ROOT}",
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


class Mutant(NamedTuple):
    """A change that `check`, one of quick_checks.py, must notice by `error`."""

    check: str
    file: str
    old: str
    new: str
    error: str = "AssertionError"


CARRY = "carry = total if forgot == 1 else carry + total"
CHECKED = {
    "output before the rule": Mutant(
        "strips",
        KERNELS,
        "LANES * size_of(fill), _emit(memory, e, fill))",
        "LANES * size_of(fill), _emit(memory - select(r == 1, convert(x, memory), 0), e, fill))",
    ),
    "a keep adds": Mutant("columns", KERNELS, "x = select(takes(r), convert", "x = select(r >= 0, convert"),
    "a restart keeps": Mutant("strips", KERNELS, "select(forgets(r), 0, a)", "select(r == -1, 0, a)"),
    "a restart takes nothing": Mutant("columns", KERNELS, "x = select(takes(r), convert", "x = select(r == 1, convert"),
    "a segment's restart keeps": Mutant(
        "sequence", KERNELS, "forgot = forgot | forgets(r)", "forgot = forgot | (r == -1)"
    ),
    "eight steps' restart keeps": Mutant("registers", REGISTERS, "mask_bits(forgets(rules))", "mask_bits(rules == -1)"),
    "a small call's restart keeps": Mutant("calls", CALLS, "0.0 if r == -1 or r == 2 else", "0.0 if r == -1 else"),
    "resets don't stop a carry": Mutant("sequence", KERNELS, CARRY, "carry = carry + total"),
    "no carry between threads": Mutant(
        "sequence", "scan/dispatch.py", "starts[k + 1] = starts[k]", "starts[k + 1] = 0 * starts[k]"
    ),
    "floats overflow in another order": Mutant("overflowing_floats", KERNELS, "HUGE = 1e300", "HUGE = 1e999"),
    "one memory for all keys": Mutant(
        "keyed",
        KERNELS,
        "load_scalar(element(keys, t, 0), keys[3]) *",
        "0 * load_scalar(element(keys, t, 0), keys[3]) *",
    ),
    "wraps unnoticed": Mutant("integers", KERNELS, "overflow | add_overflows(a, x)", "overflow"),
    "what isn't added overflows": Mutant(
        "integers", KERNELS, "return a + x, overflow |", "return a + x, (overflow | (a != 0)) |", "OverflowError"
    ),
    "any rule outputs": Mutant("other_rules", KERNELS, "select(e > 0, convert", "select(e != -9, convert"),
    "255 resets": Mutant(
        "other_rules", "scan/arguments.py", "np.minimum(_checks.once(rules), 3).astype", "_checks.once(rules).astype"
    ),
    "other rules forget": Mutant(
        "other_rules", "scan/arguments.py", "if not (signed.size and", "if not (signed.size and strict and"
    ),
    "a column belongs to no thread": Mutant(
        "columns", "_threads.py", "k // parts * step for", "k // parts * step + 1 for"
    ),
    "sums cross a reset": Mutant("registers", REGISTERS, "at + _BY_2, ~(by_1 | _FIRST_2)", "at + _BY_2, ~_FIRST_2"),
    "sums run on from the lanes above": Mutant("registers", REGISTERS, "~(by_2 | _FIRST_4)", "~by_2"),
    "a carry over eight steps dropped": Mutant("registers", REGISTERS, "8), a + memory, a)", "8), a, a)"),
    "the last steps left out": Mutant("registers", REGISTERS, "if 8 * whole < left:", "if 8 * whole > left:"),
    "a square's reset keeps": Mutant("registers", REGISTERS, "mask_bits(~forgets(rules))", "mask_bits(rules == rules)"),
    "a square's columns are mixed up": Mutant(
        "registers", "simd/tiles.py", "_LOW_TWO, _HIGH_TWO = [0, 1, 8, 9,", "_LOW_TWO, _HIGH_TWO = [0, 1, 9, 8,"
    ),
    "the steps after the last eight left out": Mutant("registers", REGISTERS, "if whole < T:", "if whole > T:"),
    "columns after the last eight left out": Mutant(
        "registers", "scan/dispatch.py", "if whole < last:", "if whole > last:"
    ),
    "a small call drops its memory": Mutant(
        "calls", CALLS, "memory = memory + x if r == 1 or", "memory = 0.0 + x if r == 1 or"
    ),
    "a small call takes any rule": Mutant(
        "calls",
        CALLS,
        "has_other_rules(p3, T, B, like3, _number(1, like3))",
        "has_other_rules(p3, T, B, like3, _number(9, like3))",
    ),
    "a small call writes over its input": Mutant("calls", CALLS, "return first < other_last and", "return False and"),
    "eight steps begin with nothing": Mutant(
        "gated_column", GATED_REGISTERS, "here = fma(g, memory, b)", "here = fma(g, memory - memory, b)"
    ),
    "gates of eight steps taken for those of four": Mutant(
        "gated_column", GATED_REGISTERS, "b), g * move_up(g, 4, 1.0)", "b), g * 1.0"
    ),
    "one gate's power is off": Mutant(
        "gated_column", GATED_REGISTERS, "product = f4 * move_up(f4, 4, 1.0)", "product = f4 * move_up(f4, 4, 0.5)"
    ),
    "tiny products believed": Mutant("gated_column", GATED_REGISTERS, "TINY = 2.0**-120", "TINY = 0.0"),
    "sums that overflow believed": Mutant("gated_column", GATED_REGISTERS, "SQUARES = 1e280", "SQUARES = 1e999"),
    "a segment's sums forget the memory before": Mutant(
        "gated_column", GATED_REGISTERS, "return gain * memory + total, sure", "return total, sure"
    ),
    "threads begin otherwise than one": Mutant(
        "gated_column", GATED_REGISTERS, "if last < stop and well:", "if last > stop and well:"
    ),
    "threads begin with nothing": Mutant("registers", "scan/dispatch.py", "begin, step, 0, 1,", "step, step, 0, 1,"),
    "a cell's second row reads the first's h": Mutant(
        "cell",
        CELL,
        "store_scalar(h_table + 8 * r, np.int64(h + (first + r) * h_row))",
        "store_scalar(h_table + 8 * r, np.int64(h + first * h_row))",
    ),
    "a cell's tail of c is not written": Mutant(
        "cell", CELL, "store_first(at, load(tail, like), left)", "store_first(at, load(tail, like), 0)"
    ),
    "a cell's h is written before all gates have read it": Mutant(
        "cell",
        CELL,
        "                    if left < v:\n                        store_first(at, load(tail, like), left)\n",
        "                    if left < v:\n                        store_first(at, load(tail, like), left)\n"
        "                copy_values(new + r * new_row, h + (first + r) * h_row, min((g + wide) * v, hidden), like)\n",
    ),
    "a cell leaves h as it was": Mutant(
        "cell",
        CELL,
        "copy_values(source, h + (first + r) * h_row, returned, like)",
        "copy_values(source, new + r * new_row, returned, like)",
    ),
    "gated tail columns come from elsewhere": Mutant("gated_columns", GATED, "tail, last - LANES", "tail, first"),
}


def _check(package, name):
    """Run one of quick_checks.py; at 128 bits, which compile fastest, unless a kernel is for 512."""
    bits = "512" if name in ("registers", "calls") else "128"
    checked = processes.python(processes.CHECKS, name, package=package, FASTCELL_VECTOR_BITS=bits, FASTCELL_CACHE="0")
    assert checked.stdout.startswith(str(package)), checked.stderr  # not another installation
    return checked


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({mutant.check for mutant in CHECKED.values()}))
def test_the_package_passes_the_check(name, tmp_path):
    checked = _check(processes.copy_package(tmp_path), name)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKED)
def test_the_check_notices(name, tmp_path):
    mutant = CHECKED[name]
    package = processes.copy_package(tmp_path)
    processes.replace(package / mutant.file, mutant.old, mutant.new)
    checked = _check(package, mutant.check)
    assert checked.returncode == 1, f"{mutant.check} did not notice: {checked.stdout}"
    assert f"\n{mutant.error}" in checked.stderr, f"it failed for another reason: {checked.stderr}"
