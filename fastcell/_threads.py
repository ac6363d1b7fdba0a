"""Splitting a batch over a pool of threads: kernels are serial and hold no lock, rows are independent."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TypeVar

from fastcell import _checks

_T = TypeVar("_T")

_MOST = 64  # threads that work at once, and pieces that work is cut into, whatever is asked for
_pool: ThreadPoolExecutor | None = None


def _forget() -> None:
    """A forked child has none of its parent's threads: it makes a pool of its own."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose(threads: int | None, work: int, enough: int) -> int:
    """How many threads to use: as asked, or all cores once there is `enough` work."""
    if threads is None:
        return cores() if work >= enough else 1
    count = _checks.whole("threads", threads, "an integer or None")
    if count < 1:
        raise ValueError(f"threads must be at least 1, got {count}")
    return min(count, _MOST)


def split(total: int, step: int, parts: int) -> list[tuple[int, int]]:
    """Cut range(total) into at most `parts` pieces, each beginning at a multiple of `step` and at least as long."""
    if parts == 1:
        return [(0, total)]
    steps = total // step
    parts = max(1, min(parts, steps))
    edges = [*(steps * k // parts * step for k in range(parts)), total]
    return list(pairwise(edges))


def run(task: Callable[[int, int], _T], pieces: list[tuple[int, int]]) -> list[_T]:
    """Run `task(first, last)` on every piece, the first on this thread; returns all results, raises what one raised."""
    global _pool
    if len(pieces) == 1:
        return [task(*pieces[0])]
    if _pool is None:
        _pool = ThreadPoolExecutor(max_workers=_MOST, thread_name_prefix="fastcell")
    futures = []
    try:
        try:
            for piece in pieces[1:]:
                futures.append(_pool.submit(task, *piece))  # noqa: PERF401, those before a failure must not be lost
        except RuntimeError:  # the interpreter is shutting down and starts no threads any more
            pass
        started = len(futures) + 1
        results = [task(*piece) for piece in [pieces[0], *pieces[started:]]]
        return [results[0], *(future.result() for future in futures), *results[1:]]
    except BaseException:  # an interrupt, too: no thread may work on arrays after the call that owns them
        for future in futures:
            future.cancel()
        wait(futures)
        raise
