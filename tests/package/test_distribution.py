"""The source distribution holds all that its tests need, the wheel all modules and data, and both run."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PARTS = (".ci", ".gitignore", "LICENSE", "MANIFEST.in", "README.md", "benchmarks", "fastcell", "pyproject.toml")
PARTS += ("setup.cfg", "tests")
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


@pytest.fixture(scope="module")
def unpacked(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    built = run("-c", build, cwd=tree)
    assert built.returncode == 0, built.stderr
    (archive,) = folder.glob("fastcell-*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def run(*arguments, cwd):
    environment = os.environ | {"PYTHONPATH": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def names(folder):
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if ".egg-info/" not in name and not name.startswith(".build/")}


def test_a_source_distribution_holds_every_file(tree, unpacked):
    assert "tests/conftest.py" in names(tree)
    assert names(unpacked) == names(tree) | {"PKG-INFO"}


def test_its_tests_are_collected(unpacked):
    collected = run("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", cwd=unpacked)
    assert collected.returncode == 0, collected.stdout[-2000:] + collected.stderr[-2000:]
    assert "tests/package/test_distribution.py::test_its_tests_are_collected" in collected.stdout


def test_a_wheel_holds_every_file_and_runs(tree, tmp_path):
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})"
    built = run("-c", build, cwd=tree)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("fastcell-*.whl")
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if name.startswith("fastcell/")}
        file.extractall(tmp_path / "installed")
    assert held == {f"fastcell/{name}" for name in names(tree / "fastcell")}
    assert "fastcell/data/seattle-rain.csv" in held
    demo = run("-m", "fastcell", "demo", cwd=tmp_path / "installed")
    assert demo.returncode == 0, demo.stderr
    assert "step" in demo.stdout
