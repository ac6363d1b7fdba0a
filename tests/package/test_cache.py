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
NOTHING_WRITABLE = """
import pathlib
def refuse(*_, **__): raise PermissionError("read-only")
pathlib.Path.mkdir = refuse
"""


@pytest.fixture
def package(tmp_path):
    return processes.copy_package(tmp_path)


@pytest.fixture(scope="module")
def warmed(tmp_path_factory):
    """A package that has been run once, for tests that write nothing which another would read."""
    package = processes.copy_package(tmp_path_factory.mktemp("warmed"))
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
    for at in range(0, len(whole), max(len(whole) // 40, 1)):
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


def test_a_warmed_folder_is_read_where_nothing_can_be_written(warmed):
    answers(run(warmed, before=NOTHING_WRITABLE), 1)
    answers(run(warmed, "int64", "int32", before=NOTHING_WRITABLE), 1, warned=1)


def test_an_image_brings_along_what_another_user_can_only_read(package, tmp_path):
    """As after `warmup` under NUMBA_CACHE_DIR; what is compiled later goes to the user's own folder."""
    image = {"NUMBA_CACHE_DIR": str(tmp_path / "image")}
    answers(run(package, **image), 0)
    warmed = files(tmp_path / "image")
    closed = f"""
import pathlib
create, image = pathlib.Path.open, {str(tmp_path / "image")!r}
def guarded(path, mode="r", *rest, **named):
    if mode == "xb" and str(path).startswith(image): raise OSError(30, "Read-only file system", str(path))
    return create(path, mode, *rest, **named)
pathlib.Path.open = guarded
"""
    user = image | {"XDG_CACHE_HOME": str(tmp_path / "user")}
    answers(run(package, "int64", "int32", before=closed, **user), 1)
    answers(run(package, "int64", "int32", before=closed, **user), 2)
    assert files(tmp_path / "image") == warmed
    assert len(list((tmp_path / "user" / "fastcell").rglob("*toy_keyed-*.nbc"))) == 1


def test_no_home_to_write(package, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be", "utf-8")
    environment = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    for _ in range(2):
        answers(run(package, "int64", "int32", **environment), 0, warned=1)


def test_a_cache_folder_that_depends_on_where_one_stands_is_none(package, tmp_path):
    answers(run(package, XDG_CACHE_HOME="cache"), 0, warned=1)
    assert not (tmp_path / "cache").exists()


def test_warnings_that_are_errors_fail_no_call(package, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be", "utf-8")
    environment = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    environment["PYTHONWARNINGS"] = "error"
    answers(run(package, "int64", "int32", **environment), 0, warned=1)


def test_nothing_is_written_into_the_package(warmed):
    """Where pip would leave it, and Python would import the empty folder."""
    copied = [path.relative_to(processes.PACKAGE) for path in files(processes.PACKAGE)]
    assert [path.relative_to(warmed) for path in files(warmed)] == [
        path for path in copied if "__pycache__" not in path.parts
    ]


def test_code_made_under_other_settings_is_not_run(warmed):
    for hits in (0, 1):  # one of those that change the key; another test has them all
        answers(run(warmed, NUMBA_ENABLE_AVX="0"), hits)
    unoptimized = run(warmed, NUMBA_OPT="0")  # some of such code can't be kept, as Numba says there
    assert unoptimized.stdout == "right 0\n", unoptimized.stderr
    answers(run(warmed), 1)


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


def test_no_file_may_grow(package):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    pytest.importorskip("resource", reason="limits as on Unix")
    answers(run(package, "int64", "int32", before=limit), 0, warned=1)
    assert not list(package.parent.rglob("*.tmp"))
    assert not list(package.parent.rglob("*toy_keyed*.nbc"))


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


def test_a_full_disk(package, small_disk):
    full = {"NUMBA_CACHE_DIR": str(small_disk), "XDG_CACHE_HOME": str(small_disk)}
    answers(run(package, "int64", "int32", **full), 0, warned=1)
    assert not list(small_disk.rglob("*.tmp"))


no_text = pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a name")


@pytest.mark.parametrize("name", ["Größe 容量", pytest.param(os.fsdecode(b"not \xff text"), marks=no_text)], ids=ascii)
def test_folders_of_any_name(tmp_path, name):
    (tmp_path / name).mkdir()
    package = processes.copy_package(tmp_path / name)
    answers(run(package), 0)
    answers(run(package), 1)


def test_two_versions_side_by_side(tmp_path):
    shared = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    packages = []
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        packages.append(processes.copy_package(tmp_path / version))
    source = packages[1] / "scan" / "toy_kernels.py"
    processes.replace(source, "select(taken, a + x, a)", "select(taken, a + x + x, a)")
    for hits in (0, 1):
        answers(run(packages[0], **shared), hits)
        wrong = run(packages[1], **shared)
        assert "AssertionError: [ 2.  4. 10.]" in wrong.stderr


def race(package, count):
    """Many processes at once on an empty cache, of which some compile the same and some other types."""
    dtypes = ["int8", "int16", "int32", "int64"]
    with ThreadPoolExecutor(count) as pool:
        runs = list(pool.map(lambda k: run(package, dtypes[k % 4], dtypes[k // 2 % 4]), range(count)))
    for k, process in enumerate(runs):
        assert process.stdout.startswith("right "), (k, process.stderr)
        assert process.stderr == "", k
    used = {dtypes[k % 4] for k in range(count)} | {dtypes[k // 2 % 4] for k in range(count)}
    answers(run(package, *sorted(used)), len(used))  # nobody's entry was lost
    assert not list(package.parent.rglob("*.tmp"))


def test_processes_race_on_an_empty_cache(package):
    race(package, 4)


@pytest.mark.slow
def test_many_processes_race_on_an_empty_cache(package):
    race(package, 8)
