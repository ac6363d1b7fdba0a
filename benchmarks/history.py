"""Measure what is missing of the project's history: `python -m benchmarks.history --minutes 60`, from the top.

history.txt names the commits. What results/ lacks of a commit, on this machine, asv builds and measures, one class of
benchmarks after the other, and writes it to results/: the next run goes on from there. Once the time is over nothing
more begins, and what then runs is stopped; what is left out is said at the end.
"""

import argparse
import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fastcell._jit import VECTOR_BITS

from . import common, table

HERE = Path(__file__).parent
LIST, CONFIG, RESULTS = HERE / "history.txt", HERE / "asv.conf.json", HERE / "results"
KIND = re.compile("time_|timeraw_|track_|peakmem_|mem_")
USUAL = 60.0  # seconds of a class that was never measured


class Step(NamedTuple):
    """What one run of asv measures."""

    commit: str
    owner: str
    """module.Class"""
    names: tuple[str, ...]


class Measured(NamedTuple):
    """What results/ holds."""

    names: dict[str, set[str]]
    """By the first eight digits of a commit."""
    seconds: dict[str, float]
    """By a benchmark's name, the longest of all commits."""


def commits(text: str) -> list[str]:
    """The first word of each line that is no comment."""
    return [line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#")]


def machine(cpu: str, cores: int, bits: int) -> str:
    """What the machine is, as a name."""
    words = re.sub(r"\(\w+\)|@.*|\d+-core|\bprocessor\b|\bcpu\b", " ", cpu.lower())
    return "-".join([*re.findall(r"[\w.]+", words), f"{cores}-cores", f"{bits}-bits"])


def suite(folder: Path = HERE) -> list[str]:
    """All benchmarks, by asv's names: read, not imported, since what they need may not be installed here."""
    return [
        f"{path.stem}.{owner.name}.{function.name}"
        for path in sorted(folder.glob("bench_*.py"))
        for owner in ast.parse(path.read_text("utf-8")).body
        if isinstance(owner, ast.ClassDef) and not owner.name.startswith("_")
        for function in owner.body
        if isinstance(function, ast.FunctionDef) and KIND.match(function.name)
    ]


def measured(folder: Path) -> Measured:
    """From asv's files of one machine. A benchmark that a commit can't run has a result, too: none.

    What was measured by another version of a benchmark, which asv no longer shows, counts as missing.
    """
    known = folder.parent / "benchmarks.json"
    now = json.loads(known.read_text("utf-8")) if known.exists() else {}
    names: dict[str, set[str]] = defaultdict(set)
    seconds: dict[str, float] = {}
    for path in folder.glob("*-*.json"):
        content = json.loads(path.read_text("utf-8"))
        columns = content["result_columns"]
        for name, cells in content["results"].items():
            row = dict(zip(columns, cells, strict=False))
            if name not in now or row.get("version") == now[name]["version"]:
                names[content["commit_hash"][:8]].add(name)
            took = row.get("duration") or 0.0
            seconds[name] = max(seconds.get(name, 0.0), took)
    return Measured(names, seconds)


def missing(wanted: Iterable[str], names: Iterable[str], done: dict[str, set[str]]) -> Iterator[Step]:
    """By commit, then by class."""
    owners: dict[str, list[str]] = defaultdict(list)
    for name in names:
        owners[name.rpartition(".")[0]].append(name)
    for commit in wanted:
        for owner, inside in owners.items():
            left = tuple(name for name in inside if name not in done.get(commit[:8], set()))
            if left:
                yield Step(commit, owner, left)


def work(
    steps: Iterable[Step], seconds: dict[str, float], limit: float, run: Callable[[Step, float], str]
) -> list[tuple[Step, str]]:
    """Run each step that should end within the limit, in seconds; what is left out, and why, as `run` says it."""
    end, left = time.monotonic() + limit, []
    for step in steps:
        rest = end - time.monotonic()
        enough = sum(seconds.get(name, USUAL / len(step.names)) for name in step.names) <= rest
        why = run(step, rest) if enough else "time"
        if why:
            left.append((step, why))
    return left


def asv(arguments: list[str], timeout: float | None = None) -> int | None:
    """Run asv and all that it starts for so many seconds at most: its code, or None where it was stopped."""
    command = [sys.executable, "-m", "asv", *arguments, "--config", str(CONFIG)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def measure(name: str, step: Step, rest: float) -> str:
    """Have asv measure a step: what was wrong, if anything."""
    pattern = f"^({'|'.join(map(re.escape, step.names))})(\\(|$)"  # parameters may follow
    code = asv(["run", "--machine", name, "--show-stderr", "--bench", pattern, f"{step.commit}^!"], rest)
    if code is None:
        return "time"
    if not set(step.names) <= measured(RESULTS / name).names.get(step.commit[:8], set()):
        return "asv measured nothing"
    return "a benchmark failed" if code else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="after which nothing more is measured")
    parser.add_argument("--bench", default="", help="only benchmarks in whose name this expression is found")
    parser.add_argument("--commit", action="append", help="only such commits of the list, by their first digits")
    given = parser.parse_args()
    name = machine(table.cpu(), len(common.cores()), VECTOR_BITS)
    wanted = [
        commit
        for commit in commits(LIST.read_text("utf-8"))
        if not given.commit or any(commit.startswith(one) for one in given.commit)
    ]
    names = [one for one in suite() if re.search(given.bench, one)]
    found = measured(RESULTS / name)
    steps = list(missing(wanted, names, found.names))
    print(f"{name}: {len(steps)} classes of benchmarks are missing at {len({step.commit for step in steps})} commits")
    described = ["--machine", name, "--os", sys.platform, "--cpu", table.cpu(), "--num_cpu", str(len(common.cores()))]
    if asv(["machine", "--yes", *described]) != 0:
        return 1
    left = work(steps, found.seconds, 60 * given.minutes, lambda step, rest: measure(name, step, rest))
    for step, why in left:
        print(f"left out ({why}): {step.commit} {step.owner}: {', '.join(name.split('.')[2] for name in step.names)}")
    print(f"{len(steps) - len(left)} measured, {len(left)} left out; asv publish shows them")
    if len(wanted) > 1:  # where a lone last figure is worse asv publish may take it for noise
        print(f"what changed by a fifth or more from {wanted[-2]} to {wanted[-1]}:", flush=True)
        asv(["compare", "--machine", name, "--factor", "1.2", "--only-changed", *wanted[-2:]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
