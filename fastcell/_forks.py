"""A fork waits until no other thread is compiling: the child would find Numba's locks held by a thread it has not.

Those locks are taken to load a compiled kernel, too, so a child would hang in one that needs no compiling. Made anew
they would let it into a compiler that was copied in the middle of its work.
"""

import os
from typing import Any

from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

_PATIENCE = 60.0  # seconds to wait at most: a thread may be compiling what waits for the one that forks

_OWNERS = (global_compiler_lock, getattr(ffi.lib, "_lock", None))  # as a thread that compiles takes them
LOCKS: list[Any] = [lock for owner in _OWNERS if (lock := getattr(owner, "_lock", None)) is not None]
_held: list[Any] = []


def _before() -> None:
    _held.extend(lock for lock in LOCKS if lock.acquire(timeout=_PATIENCE))


def _after() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
