"""The state of the code is known wherever it lives: in files, a zip, byte code alone, a frozen application."""

import importlib
import marshal
import platform
import py_compile
import zipfile
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

import fastcell
from fastcell import _sources
from tests.helpers import processes

# By the kernel that compiles fastest; then how often it came from the cache.
SCAN = """
import fastcell as fc, numpy as np
from fastcell.scan.toy_kernels import toy_keyed
y = fc.toy_scan(np.array([1.0, 2.0, 4.0], ">f8"), [1, 1, 1], [1, 1, 1], keys=[1, 0, 1], strict=False).y
print(y.tolist(), sum(toy_keyed.stats.cache_hits.values()))
"""
TOKEN = "import fastcell; print(fastcell.CACHE_TOKEN)\n"
RIGHT, WRONG = [1.0, 2.0, 5.0], [2.0, 4.0, 10.0]
# As PyInstaller does it: no file anywhere, byte code whose names of files are relative, one application.
FROZEN = """
import importlib.abc, importlib.machinery, marshal, sys
application = {application!r}
codes = marshal.load(open(application, "rb"))
LISTED = {listed}
class Loader(importlib.abc.Loader):
    def get_code(self, name): return codes[name][0]
    def exec_module(self, module): exec(self.get_code(module.__name__), vars(module))
class Finder:
    def __init__(self, place):
        if not place.startswith("/frozen"): raise ImportError(place)
        self.inside = place.removeprefix("/frozen").lstrip("/")
    def find_spec(self, name, target=None):
        if name not in codes: return None
        spec = importlib.machinery.ModuleSpec(name, Loader(), origin="/frozen/" + name, is_package=codes[name][1])
        if codes[name][1]: spec.submodule_search_locations = ["/frozen/" + name]
        spec.has_location = True
        return spec
    if LISTED:
        def iter_modules(self, prefix=""):
            below = [(name.rpartition("."), is_package) for name, (_, is_package) in codes.items()]
            return [(name, is_package) for (inside, _, name), is_package in below if inside == self.inside]
sys.path_hooks.insert(0, Finder)
sys.path.insert(0, "/frozen")
sys.frozen, sys.executable = True, application
"""


@pytest.fixture
def package(tmp_path):
    return processes.copy_package(tmp_path)


def spec_of(package):
    importlib.invalidate_caches()
    file = package / "__init__.py"
    return spec_from_file_location("fastcell", file, submodule_search_locations=[str(package)])


def double_sums(package):
    """Code that gives another answer."""
    source = next(package.rglob("*toy_kernels.py"))
    processes.replace(source, "select(taken, a + x, a)", "select(taken, a + x + x, a)")


def answers(process, y, hits, warned=0):
    """Assert what `SCAN` has printed."""
    assert process.stdout.splitlines()[:1] == [f"{y} {hits}"], process.stderr
    assert process.stderr.count("RuntimeWarning: fastcell's compile cache can't be used") == warned, process.stderr


def seen(package, place, run):
    """Assert that the cache is used, and that a change of the code is seen; `place` puts the code where it runs."""
    place()
    tokens = []
    for hits in (0, 1):
        process = run(SCAN + TOKEN)
        answers(process, RIGHT, hits)
        tokens.append(process.stdout.splitlines()[1])
    double_sums(package)
    place()
    assert tokens == tokens[:1] * 2
    assert run(TOKEN).stdout.split() not in ([], tokens[:1])


SOURCES = sorted(str(file.relative_to(processes.PACKAGE)) for file in processes.PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("name", SOURCES)
def test_it_changes_with_every_source(name, package):
    here = _sources.digest()
    assert here == _sources.digest(spec_of(package))  # wherever it is
    source = package / name
    with source.open("a", encoding="utf-8") as file:
        file.write("\n")
    assert _sources.digest(spec_of(package)) not in (here, None)
    if source.name != "__init__.py":
        source.rename(source.with_name("renamed.py"))
        renamed = _sources.digest(spec_of(package))
        source.with_name("renamed.py").unlink()
        gone = _sources.digest(spec_of(package))
        # a package without the file that hashes it is no package
        assert len({here, renamed, gone}) == 3 if source.name != "_sources.py" else gone is None


def test_no_module_is_left_out():
    names = {".".join(("fastcell", *Path(name).with_suffix("").parts)).removesuffix(".__init__") for name in SOURCES}
    assert set(dict(_sources._modules(fastcell.__spec__))) == names


def test_code_in_a_zip(package, tmp_path):
    archive, elsewhere = tmp_path / "app.zip", tmp_path / "elsewhere"
    elsewhere.mkdir()  # Python looks where it stands, first

    def place():
        with zipfile.ZipFile(archive, "w") as file:
            for source in sorted(package.rglob("*.py")):
                file.write(source, source.relative_to(tmp_path))

    def run(code):
        return processes.python("-c", code, package=archive / "fastcell", cwd=elsewhere)

    seen(package, place, run)
    answers(run(SCAN), WRONG, 0)


def test_byte_code_alone(package, tmp_path):
    folder = tmp_path / "bare" / "fastcell"

    def place():
        for source in package.rglob("*.py"):
            target = folder / source.relative_to(package).with_suffix(".pyc")
            py_compile.compile(str(source), str(target), doraise=True)

    seen(package, place, lambda code: processes.python("-c", code, package=folder))


def freeze(package, application):
    codes = {}
    for source in package.rglob("*.py"):
        parts = ("fastcell", *source.relative_to(package).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        codes[name] = compile(source.read_text("utf-8"), "/".join(parts) + ".py", "exec"), is_package
    application.write_bytes(marshal.dumps(codes))


def frozen(code, application, folder, listed=True, **environment):
    """Run the application in a working folder."""
    folder.mkdir(exist_ok=True)
    start = FROZEN.format(application=str(application), listed=listed)
    own = {"XDG_CACHE_HOME": str(application.parent / ".cache"), "PYTHONPATH": "", "NUMBA_CACHE_DIR": ""}
    own |= environment
    return processes.python("-c", start + code, cwd=folder, **own)


def test_a_frozen_application(package, tmp_path):
    application, folders = tmp_path / "application", []

    def run(code):
        folders.append(tmp_path / f"folder {len(folders)}")
        return frozen(code, application, folders[-1])

    seen(package, lambda: freeze(package, application), run)
    assert not any(any(folder.iterdir()) for folder in folders)
    assert len(list((tmp_path / ".cache" / "fastcell").iterdir())) == 1
    tell = "from fastcell import _jit; print(_jit._folders()[0].parent)"
    assert (
        frozen(tell, application, folders[0], NUMBA_CACHE_DIR=str(tmp_path / "named")).stdout
        == f"{tmp_path / 'named'}\n"
    )


def test_where_the_code_can_t_be_known_there_is_no_cache(package, tmp_path):
    application = tmp_path / "application"
    freeze(package, application)
    process = frozen(SCAN + TOKEN, application, tmp_path / "here", listed=False)
    answers(process, RIGHT, 0, warned=1)
    assert not list(tmp_path.rglob("*.nbc"))
    silent = frozen(TOKEN, application, tmp_path / "here", listed=False, FASTCELL_CACHE="0")
    assert silent.stderr == ""
    # a user's cached function is not taken for fresh either
    assert silent.stdout.split() not in ([], process.stdout.splitlines()[1:])


def test_byte_code_has_one_hash_in_every_process():
    """marshal's bytes depend on what else holds an object, a set's order on the process."""
    tell = """
import importlib.util
spec = importlib.util.spec_from_file_location("fastcell._sources", "fastcell/_sources.py")
spec.loader.exec_module(_sources := importlib.util.module_from_spec(spec))  # alone, without the package's imports
code = compile("def f(x): return x in {'a', 'b', 'c', 'd'}, x[1:2], 0.1, ..., b'x'", "file.py", "exec")
print(_sources._facts(code))
"""
    one, other = (processes.python("-c", tell, PYTHONHASHSEED=seed).stdout for seed in ("1", "2"))
    assert one == other != ""


@pytest.mark.parametrize(
    "other",
    ["def f(x): return x + 2", "def f(x): return x - 1", "def f(y): return y + 1", "def f(x): return x + 1.0"],
)
def test_byte_code_that_differs_has_another(other):
    one, two = (_sources._facts(compile(text, "file.py", "exec")) for text in ("def f(x): return x + 1", other))
    assert one != two


@pytest.mark.slow
def test_a_user_s_cached_function_knows_other_vectors(tmp_path):
    """Under another FASTCELL_VECTOR_BITS it would be handed weights that are packed for another width."""
    user = tmp_path / "user.py"
    user.write_text(
        """
import numpy as np
import fastcell as fc
from numba import njit

def make(token):
    @njit(cache=True)
    def run(params, x, h, c):
        fc.lstm_step(params, x, h, c)
        return token
    return run

cell = fc.LSTM(3, 4, seed=0).cell()
x, h, c = np.ones(3, np.float32), np.zeros(4, np.float32), np.zeros(4, np.float32)
run = make(fc.CACHE_TOKEN)
run(cell.params, x, h, c)
assert (h == cell(x)[0]).all()
print(sum(run.stats.cache_hits.values()))
""",
        "utf-8",
    )
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for bits, hits in (("128", 0), ("256", 0), ("128", 1)):
        process = processes.python(str(user), FASTCELL_VECTOR_BITS=bits, **environment)
        assert process.stdout == f"{hits}\n", process.stderr


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="features of x86")
def test_the_token_knows_the_features():
    tell = "import fastcell; print(fastcell.CACHE_TOKEN)"
    named = {"NUMBA_CPU_NAME": "znver4", "NUMBA_CPU_FEATURES": ""}
    changes = ({}, {"FASTCELL_WITHOUT": "avx512bf16"}, {"FASTCELL_VECTOR_BITS": "256"})
    assert len({processes.python("-c", tell, **named, **more).stdout for more in changes}) == 3
