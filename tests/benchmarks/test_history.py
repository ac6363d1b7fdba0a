"""What `python -m benchmarks.history` chooses to measure, how long it may take, and what it says of the rest."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import history, table
from benchmarks.history import Step

NAMES = ["bench_a.One.time_x", "bench_a.One.track_x", "bench_b.Two.time_y"]


def write(folder, commit, results):
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["result", "duration", "version"]
    content = {"commit_hash": commit + "0" * 32, "result_columns": columns, "results": results}
    (folder / f"{commit}-env.json").write_text(json.dumps(content), "utf-8")


def test_what_is_missing_of_each_commit_in_the_order_of_the_list(tmp_path):
    write(tmp_path, "aaaaaaaa", {NAMES[0]: [[1.0], 3.5], NAMES[2]: [None]})  # None: what the commit can't run
    write(tmp_path, "bbbbbbbb", {NAMES[0]: [[1.0], 9.0], NAMES[1]: [[1.0]], NAMES[2]: [[2.0], 2.0]})
    (tmp_path / "machine.json").write_text("{}", "utf-8")
    found = history.measured(tmp_path)
    assert found.seconds == {NAMES[0]: 9.0, NAMES[1]: 0.0, NAMES[2]: 2.0}
    wanted = history.commits("# words\naaaaaaaa first\n\nbbbbbbbbbb\ncccccccccc the last\n")
    assert list(history.missing(wanted, NAMES, found.names)) == [
        Step("aaaaaaaa", "bench_a.One", (NAMES[1],)),
        Step("cccccccccc", "bench_a.One", tuple(NAMES[:2])),
        Step("cccccccccc", "bench_b.Two", (NAMES[2],)),
    ]


def test_what_another_version_measured_is_missing(tmp_path):
    known = {NAMES[0]: {"version": "new"}, NAMES[1]: {"version": "new"}, "version": 2}
    (tmp_path / "benchmarks.json").write_text(json.dumps(known), "utf-8")
    write(tmp_path / "machine", "aaaaaaaa", {NAMES[0]: [[1.0], 1.0, "new"], NAMES[1]: [[1.0], 1.0, "old"]})
    assert history.measured(tmp_path / "machine").names == {"aaaaaaaa": {NAMES[0]}}


def test_nothing_begins_that_would_not_end_in_time():
    steps = [Step("a", "One", ("quick",)), Step("a", "Two", ("slow",)), Step("a", "Three", ("fails",))]
    asked = []

    def run(step, rest):
        asked.append(step.owner)
        assert 90 < rest <= 100
        return "it failed" if step.owner == "Three" else ""

    left = history.work(steps, {"quick": 1.0, "slow": 200.0, "fails": 0.0}, 100.0, run)
    assert asked == ["One", "Three"]
    assert left == [(steps[1], "time"), (steps[2], "it failed")]


def test_once_the_time_is_over_all_is_left_out():
    steps = [Step("a", str(k), (str(k),)) for k in range(3)]

    def run(step, rest):
        time.sleep(0.05)
        return "time"

    assert history.work(steps, {str(k): 0.0 for k in range(3)}, 0.01, run) == [(step, "time") for step in steps]


def test_what_runs_is_stopped(monkeypatch, tmp_path):
    mark = tmp_path / "written"
    child = f"import time; time.sleep(0.6); open({str(mark)!r}, 'w')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: popen([sys.executable, "-c", code], **options))
    assert history.asv(["run"], 0.3) is None
    time.sleep(0.6)
    assert not mark.exists()


@pytest.mark.parametrize(("cpu", "name"), [
    ("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "intel-core-i7-8550u-2-cores-256-bits"),
    ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-2-cores-256-bits"),
    ("Neoverse-N1", "neoverse-n1-2-cores-256-bits"),
])  # fmt: skip
def test_a_machine_is_named_by_what_it_is(cpu, name):
    assert history.machine(cpu, 2, 256) == name


ARM = """processor	: 0
BogoMIPS	: 243.75
CPU implementer	: 0x41
CPU architecture: 8
CPU part	: 0xd0c
"""


@pytest.mark.parametrize(("lscpu", "name"), [
    ("Architecture: aarch64\nModel name: Neoverse-N1\n", "Neoverse-N1"),
    ("Architecture: aarch64\nModel name: -\n", "aarch64, implementer 0x41, part 0xd0c"),
    (None, "aarch64, implementer 0x41, part 0xd0c"),
])  # fmt: skip
def test_an_arms_name_is_lscpus_or_its_numbers(lscpu, name, tmp_path, monkeypatch):
    def run(command, **_):
        if command != ["lscpu"] or lscpu is None:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 0, lscpu)

    (tmp_path / "cpuinfo").write_text(ARM, "utf-8")
    monkeypatch.setattr(table, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(table.subprocess, "run", run)
    monkeypatch.setattr(table.platform, "machine", lambda: "aarch64")
    assert table.cpu() == name


def test_the_list_names_commits_and_the_suite_is_asvs():
    listed = history.commits(history.LIST.read_text("utf-8"))
    assert len(set(listed)) == len(listed) >= 10
    measured = {path.name[:8] for path in Path(history.RESULTS).glob("*/*-*.json")}
    assert measured <= {commit[:8] for commit in listed}
    known = json.loads((history.RESULTS / "benchmarks.json").read_text("utf-8"))
    assert {name for name in known if name != "version"} <= set(history.suite())


SUITE = """
class One:
    def time_x(self): ...
    def track_xy(self): ...

class Two:
    def time_x(self): ...
"""


def test_it_measures_what_is_missing_and_says_the_rest(tmp_path, monkeypatch, capsys):
    """A function in the place of asv writes what it is asked for, but of the second commit."""
    (tmp_path / "history.txt").write_text("# words\naaaaaaaa first\nbbbbbbbb second\ncccccccc third\n", "utf-8")
    (tmp_path / "bench_a.py").write_text(SUITE, "utf-8")
    suite, asked = ["bench_a.One.time_x", "bench_a.One.track_xy", "bench_a.Two.time_x"], []
    results = {commit: {} for commit in ("aaaaaaaa", "bbbbbbbb", "cccccccc")}
    results["aaaaaaaa"][suite[0]] = [[1.0], 1.0]
    write(tmp_path / "cpu", "aaaaaaaa", results["aaaaaaaa"])

    def asv(arguments, timeout=None):
        asked.append(arguments[-2:] if arguments[0] == "run" else arguments)
        if arguments[0] != "run":
            return 0
        assert 0 < timeout <= 60 * 10
        (pattern, commit), parameters = arguments[-2:], "(1, 'a')"
        names = [one for one in suite if re.search(pattern, one) and re.search(pattern, one + parameters)]
        if commit == "bbbbbbbb^!":
            return None if "Two" in names[0] else 0  # it was stopped; it found nothing to run
        results[commit[:8]] |= {one: [[2.0], 1.0] for one in names}
        write(tmp_path / "cpu", commit[:8], results[commit[:8]])
        return 0

    for name, value in {
        "LIST": tmp_path / "history.txt", "RESULTS": tmp_path, "asv": asv, "machine": lambda *_: "cpu",
        "suite": lambda found=history.suite: found(tmp_path),
    }.items():  # fmt: skip
        monkeypatch.setattr(history, name, value)
    monkeypatch.setattr(sys, "argv", ["history", "--minutes", "10"])
    assert history.main() == 0
    one, two = r"^(bench_a\.One\.time_x|bench_a\.One\.track_xy)(\(|$)", r"^(bench_a\.Two\.time_x)(\(|$)"
    assert asked[1:] == [
        [r"^(bench_a\.One\.track_xy)(\(|$)", "aaaaaaaa^!"], [two, "aaaaaaaa^!"],
        [one, "bbbbbbbb^!"], [two, "bbbbbbbb^!"], [one, "cccccccc^!"], [two, "cccccccc^!"],
        ["compare", "--machine", "cpu", "--factor", "1.2", "--only-changed", "bbbbbbbb", "cccccccc"],
    ]  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "cpu: 6 classes of benchmarks are missing at 3 commits",
        "left out (asv measured nothing): bbbbbbbb bench_a.One: time_x, track_xy",
        "left out (time): bbbbbbbb bench_a.Two: time_x",
        "4 measured, 2 left out; asv publish shows them",
        "what changed by a fifth or more from bbbbbbbb to cccccccc:",
    ]
    monkeypatch.setattr(sys, "argv", ["history", "--minutes", "10", "--commit", "b", "--bench", "Two"])
    assert history.main() == 0  # it goes on from there
    assert capsys.readouterr().out.startswith("cpu: 1 classes of benchmarks are missing at 1 commits\n")
    assert asked[-1] == [two, "bbbbbbbb^!"]
