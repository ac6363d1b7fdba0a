"""The compile cache under fire: races, damage, full disks, folders that can't be written. Answers are always right."""

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from numba.core import config

from fastcell import _jit
from tests.helpers import processes

# By the kernel that compiles fastest; then how often it came from the cache.
SCAN = """
import sys, numpy as np, fastcell as fc
from fastcell.scan.toy_kernels import toy_keyed
for dtype in sys.argv[1:]:
    x, keys = np.array([1.0, 2.0, 4.0], ">f8"), np.array([1, 0, 1], dtype)
    y = fc.toy_scan(x, [1, 1, 1], [1, 1, 1], keys=keys, strict=False).y
    assert y.tolist() == [1.0, 2.0, 5.0], y
print("right", sum(toy_keyed.stats.cache_hits.values()))
"""


@pytest.fixture
def package(tmp_path):
    return processes.copy_package(tmp_path)


@pytest.fixture(scope="module")
def warmed(tmp_path_factory):
    """A package that has been run once, in a folder whose name is no plain text; tests may add to its cache."""
    name = "Größe 容量" + (os.fsdecode(b" \xff") if sys.platform == "linux" else "")  # which alone takes any bytes
    folder = tmp_path_factory.mktemp("warmed") / name
    folder.mkdir()
    package = processes.copy_package(folder)
    answers(run(package), 0)
    return package


def run(package, *dtypes, before="", **environment):
    environment.setdefault("FASTCELL_VECTOR_BITS", "128")
    return processes.python("-c", before + SCAN, *(dtypes or ("int64",)), package=package, **environment)


def answers(run, hits, warned=0):
    assert run.stdout == f"right {hits}\n", run.stderr
    assert run.stderr.count("RuntimeWarning: fastcell's compile cache can't be") == warned, run.stderr
    if not warned:
        assert run.stderr == ""


def double(x):
    return 2 * x


def negate(x):
    return -x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache in which `kernel` puts what this process compiles."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(_jit, "_warned", False)
    return tmp_path


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def entry(folder, name):
    (path,) = (path for path in files(folder) if f".{name}-" in path.name)
    return path


def hits(kernel):
    return sum(kernel.stats.cache_hits.values())


def test_a_kernel_comes_back_from_the_cache(folder):
    assert _jit.kernel(double)(3) == 6
    again = _jit.kernel(double)
    assert (again(4), hits(again)) == (8, 1)
    assert (again(0.5), hits(again)) == (1.0, 1)
    assert len(files(folder)) == 2  # one for each type


@pytest.mark.parametrize("length", [0, 1, 15, 16, 31, 32, 33, 0.5, -1], ids=str)
def test_a_file_cut_short_is_compiled_again(folder, length):
    _jit.kernel(double)(3)
    path = entry(folder, "double")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * length) if isinstance(length, float) else length])
    damaged = _jit.kernel(double)
    with pytest.warns(RuntimeWarning, match=r"cache can't be read \(.*double-.* is damaged\)") as caught:
        assert damaged(3) == 6
    assert len(caught) == 1
    mended = _jit.kernel(double)
    assert (mended(3), hits(damaged), hits(mended)) == (6, 0, 1)


def test_one_byte_is_enough_to_refuse_a_file(folder):
    _jit.kernel(double)(3)
    path = entry(folder, "double")
    whole = path.read_bytes()
    for at in (0, 15, 16, 31, *range(32, len(whole), len(whole) // 8)):  # label, checksum and data
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        changed = _jit.kernel(double)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            assert (changed(3), hits(changed)) == (6, 0), at


def test_another_kernels_code_is_not_run(folder):
    """As where two processes take the same number in Numba's index, or one dies between index and code."""
    _jit.kernel(double)(3)
    _jit.kernel(negate)(3)
    entry(folder, "negate").replace(entry(folder, "double"))
    exchanged = _jit.kernel(double)
    assert (exchanged(3), hits(exchanged)) == (6, 0)


def test_other_sources_and_other_versions_of_numba_are_not_run(folder, monkeypatch):
    _jit.kernel(double)(3)
    with monkeypatch.context() as other:
        other.setattr(_jit, "CACHE_TOKEN", _jit.CACHE_TOKEN + 1)
        edited = _jit.kernel(double)
        assert (edited(3), hits(edited)) == (6, 0)
    with monkeypatch.context() as other:
        other.setattr(_jit.numba, "__version__", "0.0")
        upgraded = _jit.kernel(double)
        assert (upgraded(3), hits(upgraded)) == (6, 0)


def test_a_failed_write_leaves_nothing_behind(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_jit.Path, "replace", full)
    compiled = _jit.kernel(double)
    with pytest.warns(RuntimeWarning, match="cache can't be written .*No space left"):
        assert compiled(3) == 6
    assert files(folder) == []


def unwritable(closed):
    """Path.open, where nothing can be created in the folder."""
    create = _jit.Path.open

    def guarded(path, mode="r", *rest, **named):
        if "x" in mode and path.is_relative_to(closed):
            raise OSError(30, "Read-only file system", str(path))
        return create(path, mode, *rest, **named)

    return guarded


def test_a_warmed_folder_is_read_where_nothing_can_be_written(folder, monkeypatch):
    _jit.kernel(double)(3)
    warmed = files(folder)
    monkeypatch.setattr(_jit.Path, "open", unwritable(folder))
    again = _jit.kernel(double)
    assert (again(4), hits(again)) == (8, 1)
    with pytest.warns(RuntimeWarning, match="cache can't be written .*Read-only") as caught:
        assert (again(0.5), again(1j), hits(again)) == (1.0, 2j, 1)
    assert len(caught) == 1
    assert files(folder) == warmed


def test_an_image_brings_along_what_another_user_can_only_read(folder, monkeypatch):
    """As after `warmup` under NUMBA_CACHE_DIR; what is compiled later goes to the user's own folder."""
    monkeypatch.setattr(config, "CACHE_DIR", str(folder / "image"))
    _jit.kernel(double)(3)
    warmed = files(folder)
    monkeypatch.setattr(_jit.Path, "open", unwritable(folder / "image"))
    for count in (1, 2):
        again = _jit.kernel(double)
        assert (again(3), again(0.5), hits(again)) == (6, 1.0, count)
    assert files(folder / "image") == warmed
    assert len(list((folder / "user" / "fastcell").rglob("*double-*.nbc"))) == 1


def test_a_cache_folder_that_depends_on_where_one_stands_is_none(folder, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.chdir(folder)
    with pytest.warns(RuntimeWarning, match="cache can't be written .*no cache folder"):
        assert _jit.kernel(double)(3) == 6
    assert files(folder) == []


def test_no_home_to_write_where_warnings_are_errors(warmed, tmp_path):
    """Said once, and no call fails."""
    (tmp_path / "home").write_text("a file where the folder should be", "utf-8")
    environment = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "error"}
    answers(run(warmed, "int64", "int32", **environment), 0, warned=1)


def test_nothing_is_written_into_the_package(warmed):
    """Where pip would leave it, and Python would import the empty folder."""
    copied = [path.relative_to(processes.PACKAGE) for path in files(processes.PACKAGE)]
    assert [path.relative_to(warmed) for path in files(warmed)] == [
        path for path in copied if "__pycache__" not in path.parts
    ]


def test_code_made_under_other_settings_is_not_run(warmed):
    answers(run(warmed, NUMBA_ENABLE_AVX="0"), 0)  # one of those that change the key; another test has them all


@pytest.mark.parametrize("name", _jit._SETTINGS)
def test_a_setting_changed_in_the_process_counts(folder, monkeypatch, name):
    assert hasattr(config, name), "Numba has given it up or another name"
    _jit.kernel(double)(3)
    with monkeypatch.context() as other:
        other.setattr(config, name, "another")
        key = _jit._Cache(double)._index_key("sig", _Codegen)
    assert key != _jit._Cache(double)._index_key("sig", _Codegen)


class _Codegen:
    @staticmethod
    def magic_tuple():
        return ()


def test_no_file_may_grow(folder):
    resource = pytest.importorskip("resource", reason="limits as on Unix")
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most[1]))
    try:
        fails_to_write(double)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert files(folder) == []


def fails_to_write(function):
    compiled = _jit.kernel(function)
    with pytest.warns(RuntimeWarning, match="fastcell's compile cache can't be written") as caught:
        assert (compiled(3), compiled(0.5)) == (function(3), function(0.5))
    assert len(caught) == 1


@pytest.fixture
def small_disk(tmp_path):
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root mounts a disk of 8 KiB")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this container may not mount a disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(folder, small_disk, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(small_disk))
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    fails_to_write(double)
    assert files(small_disk) == []


def test_two_versions_side_by_side(package, warmed):
    processes.replace(package / "scan" / "toy_kernels.py", "select(taken, a + x, a)", "select(taken, a + x + x, a)")
    assert "AssertionError: [ 2.  4. 10.]" in run(package, XDG_CACHE_HOME=str(warmed.parent / ".cache")).stderr
    answers(run(warmed), 1)


def test_processes_race_on_an_empty_cache(package):
    """Some compile the same and some other types."""
    pairs = [("int8", "int8"), ("int16", "int8"), ("int8", "int16")]
    with ThreadPoolExecutor(len(pairs)) as pool:
        runs = list(pool.map(lambda pair: run(package, *pair), pairs))
    for k, process in enumerate(runs):
        assert process.stdout.startswith("right "), (k, process.stderr)
        assert process.stderr == "", k
    answers(run(package, "int8", "int16"), 2)  # nobody's entry was lost
    assert not list(package.parent.rglob("*.tmp"))
