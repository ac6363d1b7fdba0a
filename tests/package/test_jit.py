"""The compile cache: of all sources, and never in the way. Each test runs a copy of the package in a new process."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from numba.core import config

import fastcell
from fastcell import _jit
from fastcell.simd.vector import load_scalar, places, value_of

SCAN = "import fastcell as fc; print(fc.toy_scan([1.0, 2.0], [1, 1], [1, 1]).y.tolist())"


@pytest.fixture
def package(tmp_path):
    copy = tmp_path / "fastcell"
    shutil.copytree(Path(fastcell.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run(package, code=SCAN, **environment):
    environment = {"NUMBA_CACHE_DIR": str(package.parent / "cache"), "PYTHONPATH": str(package.parent), **environment}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=package.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def entries(package):
    return sorted((package.parent / "cache").rglob("*small_toy-*.nbc"))


def test_an_edit_of_any_file_is_seen(package):
    first = run(package)
    assert first.stdout == "[1.0, 3.0]\n", first.stderr
    (entry,) = entries(package)
    stamp = entry.stat().st_mtime_ns
    assert run(package).stdout == first.stdout
    assert entry.stat().st_mtime_ns == stamp  # came from the cache
    simd = package / "simd" / "vector.py"
    source = simd.read_text("utf-8")
    first_lane = "return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))"
    assert source.count(first_lane) == 1
    simd.write_text(source.replace(first_lane, f"return builder.fneg({first_lane.removeprefix('return ')})"), "utf-8")
    edited = run(package)
    assert edited.stdout == "[-1.0, -3.0]\n", edited.stderr  # small_toy's own file has not changed


# By the kernel that compiles fastest, which small calls take where values are in another order of bytes.
KEYED = """
import fastcell as fc, numpy as np
print(fc.toy_scan(np.array([1.0, 2.0], ">f8"), [1, 1], [1, 1], keys=[0, 0], strict=False).y.tolist())
"""


def test_a_damaged_cache_costs_one_warning(package):
    run(package, KEYED)
    for entry in (package.parent / "cache").rglob("*.nb?"):
        entry.write_bytes(b"garbage")
    again = run(package, KEYED)
    assert again.stdout == "[1.0, 3.0]\n", again.stderr
    assert again.stderr.count("RuntimeWarning") == 1


def test_the_vector_width_is_checked(package):
    wrong = run(package, FASTCELL_VECTOR_BITS="7")
    assert "FASTCELL_VECTOR_BITS must be 128, 256 or 512, got '7'" in wrong.stderr


def test_nothing_is_written_anywhere_with_the_cache_off(package):
    assert run(package, KEYED, FASTCELL_CACHE="0").stdout == "[1.0, 3.0]\n"
    assert not list(package.parent.rglob("*.nb?"))


def test_each_vector_width_has_entries_of_its_own(package):
    for bits, count in (("128", 1), ("256", 2), ("128", 2)):
        assert run(package, KEYED, FASTCELL_VECTOR_BITS=bits).stdout == "[1.0, 3.0]\n"
        assert len(list((package.parent / "cache").rglob("*toy_keyed-*.nbc"))) == count, f"after {bits}"


def test_one_copy_for_all_orders_of_an_array(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    kernel = _jit.kernel_of_arrays(_first)
    numbers = np.arange(6.0).reshape(2, 3)
    read_only = numbers.view()
    read_only.flags.writeable = False
    for array in (numbers, numbers.T, numbers[:, ::2], read_only, numbers.T.copy()):
        assert kernel(array) == 0.0
        assert kernel(array + 1) == 1.0
    assert len({id(copy) for copy in kernel.overloads.values()}) == len(list(tmp_path.rglob("*.nbc"))) == 1
    again = _jit.kernel_of_arrays(_first)
    assert njit(lambda array: again(array))(numbers + 2) == 2.0  # from compiled code
    assert sum(again.stats.cache_hits.values()) == 1
    assert again(numbers.astype(np.float32)) == again(numbers[0]) == 0.0
    assert len({id(copy) for copy in again.overloads.values()}) == 3


def _first(array):
    return load_scalar(places(array)[0], value_of(array))


def test_the_token_is_an_integer_that_numba_can_close_over():
    assert type(_jit.CACHE_TOKEN) is int
    assert 0 <= _jit.CACHE_TOKEN < 2**63


def test_no_folder_to_write_costs_one_warning(monkeypatch):
    monkeypatch.setattr(_jit, "_folders", list)
    monkeypatch.setattr(_jit, "_warned", False)
    first, second = _jit.kernel(lambda x: x + 1), _jit.kernel(lambda x: x + 2)
    with pytest.warns(RuntimeWarning, match="fastcell's compile cache can't be written"):
        assert first(1) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert second(1) == 3
