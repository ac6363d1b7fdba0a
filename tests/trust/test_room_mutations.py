"""Frames and Dask broken on purpose: a test of their room must notice. Kernels are broken in test_mutations.py."""

from typing import NamedTuple

import pytest

from tests.helpers import processes

for name in ("dask", "narwhals", "pyarrow"):
    pytest.importorskip(name, reason="what is broken needs it")


class Mutant(NamedTuple):
    """A change that the tests of `file` whose names hold `noticed` must notice."""

    file: str
    noticed: str
    module: str
    old: str
    new: str


TIMES, KEYS, PARTS = "frames/test_frames_times.py", "dask/test_dask_keys.py", "frames/test_frames_dask.py"
MUTANTS = {
    "a half-life begins anew in each chunk": Mutant(
        TIMES, "any_events", "frames/times.py", "if last is None else last.copy()", "if last is None else last * 0"
    ),
    "a half-life is twice as long": Mutant(
        TIMES, "any_events", "frames/times.py", "gaps /= -self.length", "gaps /= -2 * self.length"
    ),
    "chunks with keys begin anew": Mutant(
        KEYS, "toy_scan", "dask/graphs.py", 'last = graph.add("memories", block, getitem, done, 1)', "pass"
    ),
    "an LSTM's events begin anew in each chunk": Mutant(
        KEYS, "lstm", "dask/chunks.py", "y, (h, c) = lstm(x, (h, c), keys=keys, threads=1)", "y, (h, c) = lstm("
        "x, (0 * h, 0 * c), keys=keys, threads=1)"
    ),
    "rows of a partition keep the order of the shuffle": Mutant(
        PARTS, "the_one_of_the_whole", "frames/partitions.py", "frame.sort_values(_ROW)", "frame.iloc[::-1]"
    ),
    "a state goes to other partitions": Mutant(
        PARTS, "state_goes_on", "frames/partitions.py", "_both(frame, state, job=job)[0]",
        "_both(frame, None, job=job)[0]",
    ),
}  # fmt: skip


def _run(mutant, package):
    """That room's tests, on a package elsewhere."""
    return processes.python(
        "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--import-mode=append", "-c", "/dev/null", "--rootdir",
        str(processes.ROOT),
        str(processes.ROOT / "tests" / mutant.file), "-k", mutant.noticed, package=package,
    )  # fmt: skip


def test_each_changes_what_is_there():
    for name, mutant in MUTANTS.items():
        assert mutant.old in (processes.PACKAGE / mutant.module).read_text(encoding="utf-8"), name


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_room_s_tests_notice(name, tmp_path):
    mutant, package = MUTANTS[name], processes.copy_package(tmp_path)
    processes.replace(package / mutant.module, mutant.old, mutant.new)
    found = _run(mutant, package)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "AssertionError" in found.stdout
