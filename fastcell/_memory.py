"""What an argument's sizes would take, held to the memory that there is before anything is allocated.

Allocating alone says little: Linux hands out memory that it does not have, and ends the process that then writes to it.
"""

import math
import os
from pathlib import Path
from typing import Any

_LARGE = 1 << 28  # bytes from which the machine is asked what it has: a few files are read, in some 100 microseconds
_GROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def check(size: int, words: str, *parts: Any) -> None:
    """Raise MemoryError where `size` bytes are more than there are; `words` of `parts` name what asks for them."""
    if size >= _LARGE and size > (free := available()):
        raise MemoryError(
            f"{words.format(*parts)} would take {_readable(size)} of memory, of which {_readable(free)} is free"
        )


def available() -> float:
    """Bytes that this process may still use: the machine's, its control group's, its own limit's."""
    return max(0, min(_machine(), _group(), _limit()))


def text(path: Path) -> str:
    """One of the kernel's small files, in which paths may be of any bytes."""
    return path.read_text("utf-8", "surrogateescape")


def _readable(size: float) -> str:
    k = min(max(int(math.log2(max(size, 1))) // 10, 0), 8)
    return f"{size / 1024**k:.{1 if k else 0}f} {['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB', 'ZiB', 'YiB'][k]}"


def _machine() -> float:
    try:
        lines = text(_PROC / "meminfo").splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return 1024 * (kilobytes["MemAvailable"] + kilobytes["SwapFree"])
    except (OSError, LookupError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _group() -> float:
    """Of the control groups that this process is in, v1 and v2, the least; what only caches files counts as free."""
    free = math.inf
    try:
        lines = text(_PROC / "self" / "cgroup").splitlines()
    except OSError:
        return free
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):
            root, names = (_GROUPS, _V2) if not kinds else (_GROUPS / "memory", _V1)
            inside = root / path.lstrip("/")
            for folder in (inside, *inside.parents):
                free = min(free, _left(folder, *names))
                if folder == root:
                    break
    return free


_V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
_V2 = "memory.max", "memory.current", "inactive_file"


def _left(folder: Path, most: str, used: str, cached: str) -> float:
    try:
        limit = int(text(folder / most))  # "max" for none
        counts = dict(line.split() for line in text(folder / "memory.stat").splitlines())
        return limit - int(text(folder / used)) + int(counts.get(cached, 0))
    except (OSError, ValueError):
        return math.inf


def _limit() -> float:
    try:
        import resource
    except ImportError:  # Windows, which hands out no more than it has: NumPy's own MemoryError is true there
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return math.inf
    try:
        return limit - int(text(_PROC / "self" / "statm").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return limit
