"""The source distribution holds all that its tests need, the wheel all modules and data; both are installed and run."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.helpers import core_snippets

TREE = Path(__file__).parents[2]
PARTS = (".ci", ".gitignore", "LICENSE", "MANIFEST.in", "README.md", "benchmarks", "fastcell", "pyproject.toml")
PARTS += ("setup.cfg", "tests")
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4 on
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache", ".build", ".asv", "env", "html", "*.pyc")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project, in which a build may leave its files."""
    copy = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source = TREE / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=LEFT_BEHIND)
        else:
            shutil.copy(source, copy)
    return copy


def run(*arguments, cwd, python=sys.executable, path=None, **more):
    environment = os.environ | {"PYTHONPATH": str(path or cwd), "PYTHONDONTWRITEBYTECODE": "1"} | more
    finished = subprocess.run(
        [python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    return finished.stdout


def built(tree, folder, kind, pattern):
    run("-c", f"from setuptools.build_meta import build_{kind}; build_{kind}({str(folder)!r})", cwd=tree)
    (archive,) = folder.glob(pattern)
    return archive


@pytest.fixture(scope="module")
def source(tree, tmp_path_factory):
    return built(tree, tmp_path_factory.mktemp("source"), "sdist", "fastcell-*.tar.gz")


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    return built(tree, tmp_path_factory.mktemp("wheel"), "wheel", "fastcell-*.whl")


@pytest.fixture(scope="module")
def unpacked(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(source) as file:
        file.extractall(folder, **SAFELY)
    return folder / source.name.removesuffix(".tar.gz")


def names(folder):
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if ".egg-info/" not in name and not name.startswith(".build/")}


def test_a_source_distribution_holds_every_file(tree, unpacked):
    assert "tests/conftest.py" in names(tree)
    assert names(unpacked) == names(tree) | {"PKG-INFO"}


@pytest.mark.slow
def test_its_tests_are_collected(unpacked):
    collected = run("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/package", cwd=unpacked)
    assert "tests/package/test_distribution.py::test_a_source_distribution_holds_every_file" in collected


def test_a_wheel_holds_every_file(tree, wheel):
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if name.startswith("fastcell/")}
    assert held == {f"fastcell/{name}" for name in names(tree / "fastcell")}
    assert "fastcell/data/seattle-rain.csv" in held


CORE = ("numba", "llvmlite", "numpy")


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """An environment of the core alone, made without a download: what `CORE` installed here, by links."""
    folder = tmp_path_factory.mktemp("core")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    python = str(binaries / Path(sys.executable).name)
    site = Path(run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder, python=python).strip())
    link(site, *CORE)
    link(folder / "builders", "setuptools")
    return folder, python, site


def link(folder, *distributions):
    folder.mkdir(exist_ok=True)
    for distribution in map(metadata.distribution, distributions):
        for entry in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            (folder / entry).symlink_to(distribution.locate_file(entry))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_pip_installs_what_runs_with_the_core_alone(core, tmp_path, request, kind):
    """Its dependencies, too, must be there. The demo and README's snippets, away from the project's folder."""
    folder, python, site = core
    archive = request.getfixturevalue(kind)
    options = ("--no-index", "--no-build-isolation", "--disable-pip-version-check")
    run("-m", "pip", "--python", python, "install", *options, str(archive), cwd=tmp_path, path=folder / "builders")
    settings = {"NUMBA_CACHE_DIR": str(folder / "compiled")}
    demo = run("-m", "fastcell", "demo", cwd=tmp_path, python=python, **settings)
    assert "step" in demo
    if kind == "wheel":  # the other has the same files
        readme = str(TREE / "README.md")
        place, ran, *wanted = run(core_snippets.__file__, readme, cwd=tmp_path, python=python, **settings).split()
        assert place == str(site / "fastcell")
        assert int(ran) > 10
        assert set(wanted) == {"torch", "xarray", "pandas", "dask"}
    run("-m", "pip", "--python", python, "uninstall", "-y", "fastcell", cwd=tmp_path)
    assert not (site / "fastcell").exists()
