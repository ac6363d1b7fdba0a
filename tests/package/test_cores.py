"""How many threads a process may use: its cores, its cgroup's quota, the environment."""

import json
import os

import pytest

from fastcell import _cores, _threads
from tests.helpers import processes

NAMES = ("FASTCELL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (None, None)),
        ({"FASTCELL_NUM_THREADS": "3"}, (3, 3)),
        ({"FASTCELL_NUM_THREADS": " 12 "}, (12, 12)),
        ({"FASTCELL_NUM_THREADS": "8", "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "1"}, (8, 8)),
        ({"FASTCELL_NUM_THREADS": "", "OMP_NUM_THREADS": "2"}, (None, 2)),
        ({"OMP_NUM_THREADS": "2"}, (None, 2)),
        ({"OMP_NUM_THREADS": "4,2,1"}, (None, 4)),
        ({"NUMBA_NUM_THREADS": "3"}, (None, 3)),
        ({"OMP_NUM_THREADS": "4", "NUMBA_NUM_THREADS": "3"}, (None, 3)),
        ({"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "3"}, (None, 2)),
    ],
)
def test_what_the_environment_asks_for(environment, expected):
    assert _cores.asked(environment) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1e3", "0x4", "², 1", "4;2"])
def test_what_is_no_number_of_threads(name, text):
    with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 1, got '{text}'$"):
        _cores.asked({name: text})


def test_only_openmp_takes_a_list():
    for name in ("FASTCELL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 1, got '4,2'$"):
            _cores.asked({name: "4,2"})


def test_importing_names_a_variable_that_is_wrong():
    run = processes.python("-c", "import fastcell", FASTCELL_NUM_THREADS="many")
    assert run.returncode == 1
    assert run.stderr.endswith("ValueError: FASTCELL_NUM_THREADS must be a whole number of at least 1, got 'many'\n")


def tree(tmp_path, cgroup, files):
    """A process's list of cgroups, and a tree of them, as Linux shows them."""
    listed, root = tmp_path / "cgroup", tmp_path / "fs"
    listed.write_text(cgroup, "utf-8")
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return listed, root


def version_1(folder, quota, period=100_000):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


GROUPS = {
    "version 2": ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n"}, 2),
    "version 2, none": ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, None),
    "version 2, of a parent": (
        "0::/a/b/c\n",
        {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "500000 100000\n", "a/b/c/cpu.max": "max 100000\n"},
        3,
    ),
    "version 2, the controller is a parent's": ("0::/a/b\n", {"a/cpu.max": "400000 100000\n"}, 4),
    "version 2, a container's top": ("0::/\n", {"cpu.max": "100000 50000\n"}, 2),
    "version 2, parts of a core": ("0::/a\n", {"a/cpu.max": "250000 100000\n"}, 3),
    "version 2, less than a core": ("0::/a\n", {"a/cpu.max": "5000 100000\n"}, 1),
    "version 2 beside version 1": ("1:name=systemd:/\n0::/a\n", {"unified/a/cpu.max": "200000 100000\n"}, 2),
    "version 2, something else": ("0::/a\n", {"a/cpu.max": "soon\n", "cpu.max": "\n"}, None),
    "version 1": ("4:memory:/m\n3:cpu:/a/b\n0::/\n", version_1("cpu/a/b", 250_000), 3),
    "version 1, none": ("3:cpu:/a\n", version_1("cpu/a", -1), None),
    "version 1, of a parent": ("3:cpu:/a/b\n", version_1("cpu/a", 100_000) | version_1("cpu/a/b", 400_000), 1),
    "version 1, two controllers": ("3:cpu,cpuacct:/a\n", version_1("cpu,cpuacct/a", 200_000), 2),
    "version 1, two controllers, by a link": ("3:cpuacct,cpu:/a\n", version_1("cpu/a", 200_000), 2),
    "version 1, a container that sees its host's names": ("3:cpu:/docker/f00\n", version_1("cpu", 600_000), 6),
    "version 1, a colon in a name": ("3:cpu:/a:b\n", version_1("cpu/a:b", 600_000), 6),
    "version 1, another controller's": ("3:cpuset:/a\n4:cpuacct:/a\n", version_1("cpu/a", 100_000), None),
    "none": ("", {"cpu.max": "100000 100000"}, None),
}


@pytest.mark.parametrize("name", GROUPS)
def test_quota_of_a_cgroup(tmp_path, name):
    cgroup, files, expected = GROUPS[name]
    assert _cores.quota(*tree(tmp_path, cgroup, files)) == expected


def test_no_quota_where_there_are_no_cgroups(tmp_path):
    assert _cores.quota(tmp_path / "missing", tmp_path) is None


def test_cores_is_the_least_of_all(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6, 8}, raising=False)
    for quota, default, expected in ((None, None, 5), (3, None, 3), (None, 2, 2), (4, 2, 2), (2, 4, 2), (9, 9, 5)):
        monkeypatch.setattr(_cores, "quota", lambda quota=quota: quota)
        monkeypatch.setattr(_cores, "_DEFAULT", default)
        assert _cores.cores() == expected
    assert _threads.choose(None, 10, 10) == 5
    assert _threads.choose(7, 10, 10) == 7  # as asked


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="affinity as Linux has it")
def test_the_affinity_may_change():
    code = (
        "import os, fastcell._threads as t; many = t.cores(); "
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(many >= 1, t.cores())"
    )
    assert processes.python("-c", code).stdout == "True 1\n"


CALLS = """
import json, os, sys
from collections import Counter
os.sched_getaffinity = lambda pid: set(range(4))  # whatever machine this is
import numpy as np, fastcell as fc
from fastcell import _cores, _threads
from fastcell.lstm import api as lstm
from fastcell.scan import api as recurrence
lstm._ENOUGH = recurrence._ENOUGH = 1  # all work is large work
ones, rules = np.ones((20_000,)), np.ones((20_000,), np.int8)
net = fc.LSTM(3, 5, seed=0)
asked, help = Counter(), _threads._Pool.help
def counted(pool, call):
    asked[call] += 1
    return help(pool, call)
_threads._Pool.help = counted
for environment, quota, threads in json.loads(sys.argv[1]):
    if environment is not None:  # the first is this process's own, as it was read by the import
        _threads.CAP, _cores._DEFAULT = _cores.asked(environment)
    _cores.quota = lambda: quota
    _threads._pool = type(_threads._pool)()  # without threads, as in a process that has just begun
    asked.clear()
    y, state = fc.toy_scan(ones, rules, rules, threads=threads)
    assert (y == np.arange(1, 20_001)).all() and state == 20_000
    net(np.ones((4, 8, 3), "f"), threads=threads)
    print(*{*asked.values()} or {0}, _threads.choose(threads, 1, 1))
"""
CAPS = {
    "none": ({}, None, None, 3, 4),
    "fastcell 1": ({"FASTCELL_NUM_THREADS": "1"}, None, None, 0, 1),
    "fastcell 1, whatever a call asks for": ({"FASTCELL_NUM_THREADS": "1"}, None, 3, 0, 3),
    "fastcell 2, whatever a call asks for": ({"FASTCELL_NUM_THREADS": "2"}, None, 4, 1, 4),
    "fastcell 3": ({"FASTCELL_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"}, None, None, 2, 3),
    "fastcell 100": ({"FASTCELL_NUM_THREADS": "100"}, None, None, 3, 4),
    "openmp 1, but the call asks for more": ({"OMP_NUM_THREADS": "1"}, None, 2, 1, 2),
    "numba 3": ({"NUMBA_NUM_THREADS": "3"}, None, None, 2, 3),
    "a quota of 2": ({"NUMBA_NUM_THREADS": "3"}, 2, None, 1, 2),
}


def test_helpers_that_a_call_asks_for_under_a_cap():
    cases = [(None, None, 4), *(case[:3] for case in CAPS.values())]
    own = dict.fromkeys(NAMES, "") | {"FASTCELL_NUM_THREADS": "2"}
    run = processes.python("-c", CALLS, json.dumps(cases), **own)
    assert run.returncode == 0, run.stderr
    found = dict(zip(["of the process", *CAPS], run.stdout.splitlines(), strict=True))
    wanted = {name: f"{helpers} {chosen}" for name, (*_, helpers, chosen) in CAPS.items()}
    assert found == {"of the process": "1 4"} | wanted
