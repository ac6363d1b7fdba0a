"""The one place for Numba's options and for the compile cache.

`kernel` decorates what Python calls, `helper` and `inline` the pieces that kernels are built from.

Numba's cache notices a change in a function's own file only, although a kernel contains code of every
helper it calls. Here a cached kernel is valid for one state of all of the package's sources
(`CACHE_TOKEN`). A cache that can't be read or written costs a compilation and one warning, never an error.
"""

import hashlib
import inspect
import os
import pickle
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import njit
from numba.core import caching, config
from numba.core.serialize import dumps

from fastcell import _forks  # noqa: F401, a fork waits for what is compiled here

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_PACKAGE = Path(__file__).parent


def _hash_sources() -> int:
    digest = hashlib.blake2b(digest_size=7)
    for source in sorted(_PACKAGE.rglob("*.py")):
        digest.update(source.relative_to(_PACKAGE).as_posix().encode())
        digest.update(source.read_bytes())
    return int.from_bytes(digest.digest(), "big")


def _vector_bits() -> int:
    """Bits of a vector register: of this CPU, or as FASTCELL_VECTOR_BITS says."""
    asked = os.environ.get("FASTCELL_VECTOR_BITS")
    if asked is not None:
        if asked not in ("128", "256", "512"):
            raise ValueError(f"FASTCELL_VECTOR_BITS must be 128, 256 or 512, got {asked!r}")
        return int(asked)
    cpu = os.environ.get("NUMBA_CPU_NAME")
    features = {} if cpu else llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 512
    return 256 if features.get("avx2") and features.get("fma") else 128


CACHE_TOKEN: int = _hash_sources()
"""An integer that changes with the package's sources.

A function of yours under `@njit(cache=True)` that calls into fastcell keeps the old code after an upgrade,
since Numba looks at your file alone. Let it close over this number, and the cache entry changes with it.
"""

VECTOR_BITS: int = _vector_bits()

_warned = False


def _warn_once(what: str, error: BaseException) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"fastcell's compile cache can't be {what} ({error}); kernels are compiled in each process "
            "(set NUMBA_CACHE_DIR to a writable folder, or FASTCELL_CACHE=0 to silence this)",
            RuntimeWarning,
            stacklevel=3,
        )


class _TokenStamp:
    """Mixed into Numba's cache locators: what is cached is fresh as long as no source has changed."""

    def get_source_stamp(self) -> int:
        return CACHE_TOKEN


class _UserProvided(_TokenStamp, caching.UserProvidedCacheLocator):  # type: ignore[misc]
    pass


class _InTree(_TokenStamp, caching.InTreeCacheLocator):  # type: ignore[misc]
    pass


class _UserWide(_TokenStamp, caching.UserWideCacheLocator):  # type: ignore[misc]
    pass


class _NotWritable(_InTree):
    """The last resort: what was compiled there earlier may still be read."""

    @classmethod
    def from_function(cls, function: Any, file: str) -> Any:
        return cls(function, file) if os.path.exists(file) else None


class _CacheImpl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_UserProvided, _InTree, _UserWide, _NotWritable)


class _Files:
    """Compiled code in files, one for each kernel and the types of its arguments.

    Numba's own files, an index and data under numbers, can pair one kernel's name with another's code when processes
    race or one is killed. Here a file says itself what it holds, and a checksum keeps damaged code from being run.
    """

    def __init__(self, function: Any, folder: str, name: str) -> None:
        file = inspect.getfile(function)
        kinds = (_UserProvided, _InTree, _UserWide) if config.CACHE_DIR else (_InTree, _UserWide)
        self.folder, self.name = Path(folder), name
        # read from all: an image may bring along a folder that can't be written any more
        self.folders = dict.fromkeys([self.folder, *(Path(kind(function, file).get_cache_path()) for kind in kinds)])

    def _file(self, key: Any) -> str:
        return f"{self.name}.{_digest(repr((numba.__version__, key)).encode()).hex()}.nbc"

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
        path = self.folder / self._file(key)
        temporary = path.with_suffix(f".{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(label + _digest(label + data) + data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def flush(self) -> None:
        for path in self.folder.glob(f"{self.name}.*.nbc"):
            path.unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _label(key: Any) -> bytes:
    return _digest(repr((numba.__version__, CACHE_TOKEN, key)).encode())


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _CacheImpl

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = _Files(function, self._cache_path, self._impl.filename_base)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), VECTOR_BITS)

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
    dispatcher = njit(forceinline=False, **_OPTIONS)(function)
    if os.environ.get("FASTCELL_CACHE", "1") != "0":
        try:
            dispatcher._cache = _Cache(function)
        except (RuntimeError, ValueError) as error:  # Numba's word for: no source file; a path that is no text
            _warn_once("written", error)
    return dispatcher


def helper(function: Callable[..., Any]) -> Any:
    """Compile a large piece that kernels call: one copy a type, since inlined copies compile for minutes."""
    return njit(forceinline=False, **_OPTIONS)(function)  # unsaid, it would be inherited from an `inline` caller


def inline(function: Callable[..., Any]) -> Any:
    """Compile a small piece into each kernel that uses it."""
    return njit(forceinline=True, **_OPTIONS)(function)
