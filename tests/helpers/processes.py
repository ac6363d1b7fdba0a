"""Python in a process of its own, on the package as it is or on a copy that a test may break."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fastcell

PACKAGE = Path(fastcell.__file__).parent
ROOT = Path(__file__).parents[2]
CHECKS = str(Path(__file__).with_name("quick_checks.py"))


@contextmanager
def limited(room: int) -> Iterator[None]:
    """This process can't have more than `room` bytes beside what it has mapped, where the platform has such a limit."""
    try:
        import resource

        mapped = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = mapped + room
    resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def copy_package(folder: Path) -> Path:
    """Copy the package into a folder, from which `python(..., package=copy)` imports it."""
    return shutil.copytree(PACKAGE, folder / "fastcell", ignore=shutil.ignore_patterns("__pycache__"))


def replace(source: Path, old: str, new: str) -> None:
    """Change a source file, wherever it says `old`."""
    text = source.read_text("utf-8")
    assert old in text, f"{source.name} no longer says {old!r}: say it here as it is there now"
    source.write_text(text.replace(old, new), "utf-8")


def python(
    *arguments: str, package: Path = PACKAGE, timeout: float = 200, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python; `environment` changes variables. What a copy compiles stays beside it, in `.cache`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FASTCELL_", "NUMBA_"))}
    own = {"PYTHONPATH": f"{package.parent}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    if package != PACKAGE:
        own["XDG_CACHE_HOME"] = str((cwd or package.parent) / ".cache")
    elif "NUMBA_CACHE_DIR" in os.environ:
        own["NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
    return subprocess.run(
        [sys.executable, *arguments],
        env=inherited | own | environment,
        cwd=cwd or package.parent,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
