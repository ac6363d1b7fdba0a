"""How many threads this process may use: its cores, its cgroup's share of them, and what the environment says."""

import os
from collections.abc import Mapping
from functools import cache
from math import ceil
from pathlib import Path

from fastcell._memory import text


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    """The number of threads that a variable asks for; OpenMP's may be a list, whose first number is the outermost's."""
    text = environment.get(name, "").strip()
    if not text:
        return None
    number = text.split(",")[0].strip() if name == "OMP_NUM_THREADS" else text
    if not (number.isascii() and number.isdigit() and int(number)):
        raise ValueError(f"{name} must be a whole number of at least 1, got {environment[name]!r}")
    return int(number)


def asked(environment: Mapping[str, str]) -> tuple[int | None, int | None]:
    """The cap on all threads, and on those that nobody has asked for by name; None for none."""
    cap = _number("FASTCELL_NUM_THREADS", environment)
    if cap is not None:
        return cap, cap
    others = (_number(name, environment) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"))
    return None, min((number for number in others if number is not None), default=None)


CAP, _DEFAULT = asked(os.environ)  # once: a variable that is changed later changes nothing


def _limit(folder: Path) -> float | None:
    """The cores that a cgroup's own quota comes to, version 2 or 1."""
    try:
        if (file := folder / "cpu.max").exists():
            quota, period = text(file).split()
        else:
            quota, period = (text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # there are no such files; "max"
        return None


@cache
def quota(cgroups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The least quota of this process's cgroups and those around them, in whole cores, rounded up; None for none."""
    try:
        lines = text(cgroups).splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = path.strip("/").split("/")  # a container may see the names of its host, and its own group at the top
        for mount in {root / controllers, root / ("cpu" if controllers else "unified")}:
            limits += [_limit(mount.joinpath(*parts[:depth])) for depth in range(len(parts) + 1)]
    return min((max(1, ceil(limit)) for limit in limits if limit is not None), default=None)


def cores() -> int:
    """Threads to use where nobody asks for a number: at most a core each, the quota's, and the environment's."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(limit for limit in (mine, quota(), _DEFAULT) if limit is not None)
