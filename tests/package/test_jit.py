"""The compile cache: of all sources, and never in the way. Each test runs a copy of the package in a new process."""

import shutil
import warnings

import numpy as np
import pytest
from numba import njit
from numba.core import config

from fastcell import _jit
from fastcell.simd.vector import load_scalar, places, value_of
from tests.helpers import processes

# By the kernel that compiles fastest, which small calls take where values are in another order of bytes.
KEYED = """
import fastcell as fc, numpy as np
print(fc.toy_scan(np.array([1.0, 2.0], ">f8"), [1, 1], [1, 1], keys=[0, 0], strict=False).y.tolist())
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A package that has been run once, and its cache."""
    package = processes.copy_package(tmp_path_factory.mktemp("compiled"))
    cache = package.parent / "cache"
    assert run(package, cache).stdout == "[1.0, 3.0]\n"
    return package, cache


@pytest.fixture
def package(compiled, tmp_path):
    """The same, with a copy of the cache."""
    package, cache = compiled
    return package, shutil.copytree(cache, tmp_path / "cache")


def run(package, cache, **environment):
    own = {"FASTCELL_VECTOR_BITS": "128", "NUMBA_CACHE_DIR": str(cache)}
    return processes.python("-c", KEYED, package=package, **own | environment)


def entries(cache):
    return sorted(cache.rglob("*toy_keyed-*.nbc"))


def test_an_edit_of_any_file_is_seen(package):
    package, cache = package
    source = package / "simd" / "vector.py"  # the kernel's own file doesn't change
    whole = source.read_text("utf-8")
    try:
        processes.replace(source, "builder.store(args[1], _pointer", "builder.store(builder.fneg(args[1]), _pointer")
        edited = run(package, cache)
    finally:
        source.write_text(whole, "utf-8")
    assert edited.stdout == "[-1.0, -1.0]\n", edited.stderr


def test_a_damaged_cache_costs_one_warning(package):
    package, cache = package
    for entry in cache.rglob("*.nb?"):
        entry.write_bytes(b"garbage")
    again = run(package, cache)
    assert again.stdout == "[1.0, 3.0]\n", again.stderr
    assert again.stderr.count("RuntimeWarning") == 1


def test_the_vector_width_is_checked(package):
    wrong = run(*package, FASTCELL_VECTOR_BITS="7")
    assert "FASTCELL_VECTOR_BITS must be 128, 256 or 512, got '7'" in wrong.stderr


def test_nothing_is_written_anywhere_with_the_cache_off(package, tmp_path):
    assert run(package[0], tmp_path / "none", FASTCELL_CACHE="0").stdout == "[1.0, 3.0]\n"
    assert not (tmp_path / "none").exists()
    assert not (package[0].parent / ".cache").exists()


def test_each_vector_width_has_entries_of_its_own(package):
    before = entries(package[1])
    assert run(*package, FASTCELL_VECTOR_BITS="256").stdout == "[1.0, 3.0]\n"
    assert len(before) == 1
    assert len(after := entries(package[1])) == 2
    assert before[0] in after


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
