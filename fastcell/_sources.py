"""The state of the package's own code, wherever it lives: files, a zip, byte code alone, a frozen application."""

import hashlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import CodeType
from typing import Any

_PACKAGE = __name__.partition(".")[0]


def _facts(code: CodeType) -> str:
    """What a code object does, as text; `marshal` writes one code differently in different processes."""
    constants = [_facts(value) if isinstance(value, CodeType) else _constant(value) for value in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return repr((code.co_qualname, code.co_flags, code.co_code, code.co_exceptiontable, names, constants))


def _constant(value: Any) -> str:
    # a set has an order of its own in each process
    return f"set {sorted(map(repr, value))}" if isinstance(value, frozenset) else repr(value)


def _content(spec: ModuleSpec) -> bytes:
    """A module's file as its loader reads it, or else its byte code."""
    loader: Any = spec.loader
    try:
        content: bytes = loader.get_data(spec.origin)
        return content
    except (AttributeError, OSError):  # no files here
        code = loader.get_code(spec.name)
    if code is None:
        raise ImportError(f"{spec.name} has no code")
    return _facts(code).encode()


def _modules(spec: ModuleSpec) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a package and all below it; nothing is imported."""
    yield spec.name, _content(spec)
    for module in pkgutil.iter_modules(spec.submodule_search_locations or ()):
        finder: Any = module.module_finder
        below = finder.find_spec(f"{spec.name}.{module.name}")
        if below is None:
            raise ImportError(f"{spec.name}.{module.name} can't be found")
        yield from _modules(below)


def digest(spec: ModuleSpec | None = None) -> bytes | None:
    """A hash of all of the package's code, or None where it can't be known."""
    found = spec or sys.modules[_PACKAGE].__spec__
    if found is None:
        return None
    try:
        modules = dict(_modules(found))
    except (AttributeError, ImportError, OSError):  # a loader that tells nothing
        return None
    if f"{found.name}.{__name__.partition('.')[2]}" not in modules:  # a finder that lists nothing
        return None
    state = hashlib.blake2b(digest_size=16)
    for name, content in sorted(modules.items()):
        state.update(f"{name} {len(content)} ".encode())
        state.update(content)
    return state.digest()


def place() -> str:
    """What this copy of the package is known by: its folder or its place in a zip, or the application it is frozen in.

    A frozen application says of its modules that they lie in the working folder, or in one that is new in each run.
    """
    if getattr(sys, "frozen", False):
        return os.path.abspath(sys.executable)
    return os.path.abspath(next(iter(sys.modules[_PACKAGE].__path__), ""))
