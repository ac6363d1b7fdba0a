"""The one place for Numba's options and for the compile cache.

`kernel` and `kernel_of_arrays` decorate what Python calls, `helper` and `inline` the pieces that these are built from.

Numba's cache notices a change in a function's own file only, although a kernel contains code of every
helper it calls. Here a cached kernel is valid for one state of all of the package's sources
(`CACHE_TOKEN`). A cache that can't be read or written costs a compilation and one warning, never an error.
"""

import hashlib
import os
import pickle
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit, types
from numba.core import caching, config, sigutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.extending import overload
from numba.misc.appdirs import AppDirs

from fastcell import _machine, _sources
from fastcell._machine import features

__all__ = [
    "CACHE_TOKEN",
    "VECTOR_BITS",
    "features",
    "helper",
    "inline",
    "inline_for_all",
    "kernel",
    "kernel_of_arrays",
    "overloaded",
]

from fastcell import _forks  # noqa: F401, a fork waits for what is compiled here

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_INSIDE = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of what compiled code alone calls: an entrance for Python, and one for C, is a fifth of the time to compile it."""
# Numba's settings that change what it makes of one function and are not in its own key.
_SETTINGS = (
    "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "ENABLE_AVX", "CPU_NAME", "CPU_FEATURES", "USING_SVML",
    "DEBUGINFO_DEFAULT", "EXTEND_VARIABLE_LIFETIMES", "ENABLE_PROFILING", "DEBUG_NRT", "NRT_STATS",
    "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS",
)  # fmt: skip

_CODE = _sources.digest()
VECTOR_BITS: int = _machine.vector_bits()
_BUILD = (VECTOR_BITS, tuple(sorted(features())))
"""What the sources read of the machine and choose their code by."""


def _token() -> int:
    if _CODE is None:  # no process may then run what another has compiled
        return secrets.randbits(56)
    return int.from_bytes(hashlib.blake2b(_CODE + repr(_BUILD).encode(), digest_size=7).digest(), "big")


CACHE_TOKEN: int = _token()
"""An integer that changes with the package's code, and with the vectors' width and the CPU features it is built for.

A function of yours under `@njit(cache=True)` that calls into fastcell keeps the old code after an upgrade,
since Numba looks at your file alone. Let it close over this number, and the cache entry changes with it.
"""

_warned = False


def _warn_once(what: str, reason: object) -> None:
    global _warned
    if _warned:
        return
    _warned = True
    text = (
        f"fastcell's compile cache can't be {what} ({reason}); kernels are compiled in each process "
        f"({'' if what == 'used' else 'set NUMBA_CACHE_DIR to a writable folder, or '}FASTCELL_CACHE=0 to silence this)"
    )
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    except RuntimeWarning:  # where warnings are errors it is said all the same, but the call goes on: it is right
        warnings.showwarning(text, RuntimeWarning, __file__, 0)


def _folders() -> list[Path]:
    """Where compiled code may lie: in NUMBA_CACHE_DIR, then in the user's cache folder.

    Never inside the package: pip leaves what it didn't put there, and Python imports a folder that is left.
    """
    bases = [os.path.abspath(config.CACHE_DIR)] if config.CACHE_DIR else []
    bases.append(AppDirs("fastcell", appauthor=False).user_cache_dir)
    name = f"fastcell-{_digest(os.fsencode(_sources.place())).hex()[:16]}"
    # no home, or a relative XDG_CACHE_HOME, is no place: it would be another in each working folder
    return [Path(base) / name for base in bases if os.path.isabs(base)]


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Numba's question where a function's code is kept, of which `_Files` knows the answer."""

    def __init__(self, function: Any, file: str) -> None:
        self._py_file, self._line = file, function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Any, file: str) -> Any:
        return cls(function, file)

    def ensure_cache_path(self) -> None:
        pass

    def get_cache_path(self) -> str:
        return str(next(iter(_folders()), ""))

    def get_source_stamp(self) -> int:
        return CACHE_TOKEN

    def get_disambiguator(self) -> str:
        return str(self._line)


class _CacheImpl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _Files:
    """Compiled code in files, one for each kernel and the types of its arguments.

    Numba's own files, an index and data under numbers, can pair one kernel's name with another's code when processes
    race or one is killed. Here a file says itself what it holds, and a checksum keeps damaged code from being run.
    All are read, since an image may bring along a folder that can't be written any more; the first that can be is.
    """

    def __init__(self, folders: list[Path], name: str) -> None:
        self.folders, self.name = folders, name

    def _file(self, key: Any) -> str:
        return f"{self._begin}.{_digest(repr((numba.__version__, self.name, key)).encode()).hex()}.nbc"

    @property
    def _begin(self) -> str:
        """To find a kernel's files by; short, as Windows takes paths of 260 characters."""
        return f"{self.name[:60]}.{_digest(self.name.encode()).hex()[:8]}"

    def load(self, key: Any) -> Any:
        damaged = None
        for folder in self.folders:
            path = folder / self._file(key)
            try:
                content = path.read_bytes()
            except OSError:
                continue
            label, checksum, data = content[:16], content[16:32], content[32:]
            if checksum != _digest(label + data):
                damaged = path
            elif label == _label(key):
                return pickle.loads(data)
        if damaged:
            raise ValueError(f"{damaged} is damaged")
        return None

    def save(self, key: Any, compiled: Any) -> None:
        label, data = _label(key), dumps(compiled)
        content = label + _digest(label + data) + data
        failed: OSError | None = None
        for folder in self.folders:
            try:
                return self._write(folder / self._file(key), content)
            except OSError as error:  # read-only, full, or no folder at all
                failed = failed or error
        raise failed or FileNotFoundError("the user has no cache folder")

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(content)
            try:
                temporary.replace(path)
            except PermissionError:  # on Windows while another process reads the same code there
                if not path.exists():
                    raise
        finally:
            temporary.unlink(missing_ok=True)

    def flush(self) -> None:
        for folder in self.folders:
            for path in folder.glob(f"{self._begin}.*.nbc"):
                path.unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _label(key: Any) -> bytes:
    return _digest(repr((numba.__version__, CACHE_TOKEN, key)).encode())


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _CacheImpl

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        # under the module's whole name, since all lie in one folder
        name = f"{function.__module__}.{self._impl.filename_base.partition('.')[2]}"
        self._cache_file = _Files(_folders(), name)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        settings = tuple(f"{name}={getattr(config, name, None)!s}" for name in _SETTINGS)
        return (*super()._index_key(sig, codegen), _BUILD, settings)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged file, or a pickle that raises whatever it likes
            _warn_once("read", error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:  # a full disk, a folder that is gone
            _warn_once("written", error)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls: serial, without the GIL, cached."""
    if config.DISABLE_JIT:
        return _refuse
    dispatcher = njit(forceinline=False, **_OPTIONS)(function)
    if os.environ.get("FASTCELL_CACHE", "1") == "0":
        return dispatcher
    if _CODE is None:
        _warn_once("used", "it can't be known here whether fastcell's code has changed")
        return dispatcher
    dispatcher._cache = _Cache(function)
    return dispatcher


DISABLED = (
    "NUMBA_DISABLE_JIT is set: fastcell's kernels run compiled only. Unset it, or call fastcell.oracle, which is plain "
    "Python"
)


def _refuse(*_: Any) -> None:
    raise RuntimeError(DISABLED)


def kernel_of_arrays(function: Callable[..., Any]) -> Any:
    """A kernel that asks arrays for addresses and strides alone: one copy for each dtype and number of axes.

    Numba would compile another, of the same code, for each order of the axes and for arrays that are only read.
    """
    dispatcher = kernel(function)
    if dispatcher is _refuse:
        return dispatcher
    compile_one = dispatcher.compile

    def compile_for_all(signature: Any) -> Any:
        given, _ = sigutils.normalize_signature(signature)
        alike = tuple(kind.copy(layout="A", readonly=True) if type(kind) is types.Array else kind for kind in given)
        with global_compiler_lock:
            entry = compile_one(alike)
            if tuple(given) not in dispatcher.overloads:
                dispatcher._insert([kind._code for kind in given], entry)
                dispatcher.overloads[tuple(given)] = dispatcher.overloads[alike]
        return entry

    dispatcher.compile = compile_for_all
    return dispatcher


def helper(function: Callable[..., Any]) -> Any:
    """Compile a large piece that kernels call: one copy a type, since inlined copies compile for minutes."""
    return njit(forceinline=False, **_INSIDE)(function)  # unsaid, it would be inherited from an `inline` caller


def overloaded(function: Callable[..., Any]) -> Any:
    """Decorate what chooses the code of `function`, a stub, from the types of its arguments."""
    return overload(function, jit_options=_INSIDE)


def inline(function: Callable[..., Any]) -> Any:
    """Compile a small piece into each kernel that uses it; like a helper, Python can't call it."""
    return njit(forceinline=True, **_INSIDE)(function)


def inline_for_all(function: Callable[..., Any]) -> Any:
    """The same, for Python, too."""
    return njit(forceinline=True, **_OPTIONS)(function)
