"""Fail where fastcell has become slow: `python -m benchmarks.gate` holds the suite's ratios to floors.toml.

A ratio, timed by turns on one machine, survives a slow machine and a busy one; a time doesn't.
"""

import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

FLOORS = Path(__file__).parent / "floors.toml"
ATTEMPTS = 4  # the first, and three more for what a busy machine has slowed


class Floor(NamedTuple):
    """A benchmark by asv's name, its parameters, and the figure that it must reach."""

    benchmark: str
    params: tuple[object, ...]
    least: float

    def __str__(self) -> str:
        return f"{self.benchmark}({', '.join(map(str, self.params))})"


def floors(path: Path = FLOORS) -> list[Floor]:
    with path.open("rb") as file:
        return [
            Floor(entry["benchmark"], tuple(entry["params"]), entry["least"]) for entry in tomllib.load(file)["floor"]
        ]


def measure(floor: Floor) -> float:
    """The figure, as asv takes it."""
    module, owner, method = floor.benchmark.split(".")
    instance = getattr(import_module(f"{__package__}.{module}"), owner)()
    getattr(instance, "setup", lambda: None)(*floor.params)
    return getattr(instance, method)(*floor.params)


def check(entries: Iterable[Floor], measured: Callable[[Floor], float] = measure) -> list[str]:
    """Measure each, again where it is below its floor; what stays below is returned, and everything is printed."""
    failed = []
    for floor in entries:
        figures: list[float] = []
        while len(figures) < ATTEMPTS and max(figures, default=0.0) < floor.least:
            figures.append(measured(floor))
        best = max(figures)
        text = f"{floor}: {best:.3g}, floor {floor.least:.3g}, attempt {len(figures)}"
        print("ok  " if best >= floor.least else "SLOW", text, flush=True)
        if best < floor.least:
            failed.append(text)
    return failed


def main() -> int:
    start = time.perf_counter()
    failed = check(floors())
    print(f"{time.perf_counter() - start:.0f} s")
    for text in failed:
        print(f"below its floor: {text}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
