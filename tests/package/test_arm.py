"""The stage of `.ci` that runs quick checks under emulation of 64-bit ARM, with programs in the place of its own."""

import os
import shutil
import subprocess

import pytest

from tests.helpers import quick_checks
from tests.helpers.processes import ROOT

NEEDED = ("bash", "cat", "dirname", "grep", "mkdir", "realpath")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason="there is no bash")

# Each writes a line of what it was called with. `timeout -k 5 SECONDS COMMAND ...` runs the command, or is out of time.
PROGRAMS = {
    "apt-get": 'for a; do case $a in Dir::Cache=*) : >"${a#*=}/archives/python3.deb";; esac; done\n'
    '[[ " $* " == *" $APT_FAILS "* ]] && exit 100 || exit 0',
    "dpkg-deb": "",
    "python": "exit ${PIP:-0}",
    "timeout": '[[ $3 -le 300 ]] || exit 99\nshift 3\n[[ ${LATE:-} && "$*" == *quick_checks* ]] && exit 124\n"$@"',
    "qemu-aarch64": '[[ "$*" == *" -c "* ]] && { [[ ${BROKEN:-} ]] && exit 1; echo 3.11; exit; }\n'
    'while [[ $1 != *quick_checks.py ]]; do shift; done; shift\n'
    'for name; do [[ $name == "${FAILS:-}" ]] && exit ${CODE:-1}; echo "$name agrees with the oracle"; done',
}  # fmt: skip


@pytest.fixture
def stage(tmp_path):
    """Run the stage with variables, and without some programs: its code, what it says, and what it ran."""
    programs, log = tmp_path / "programs", tmp_path / "called"
    programs.mkdir()
    for name in NEEDED:
        (programs / name).symlink_to(shutil.which(name))
    for name, body in PROGRAMS.items():
        (programs / name).write_text(f'#!{programs}/bash\necho "{name} $*" >>"{log}"\n{body}\n', "utf-8")
        (programs / name).chmod(0o755)

    def run(*without, folder=str(tmp_path / "arm"), **variables):
        log.write_text("", "utf-8")
        for name in without:
            (programs / name).unlink()
        command = [programs / "bash", ROOT / ".ci" / "arm", folder]
        environment = {"PATH": str(programs), "HOME": os.environ.get("HOME", ""), **variables}
        options = {"cwd": tmp_path, "env": environment, "timeout": 60, "check": False}
        found = subprocess.run(command, capture_output=True, encoding="utf-8", **options)
        assert found.stderr == ""
        return found.returncode, found.stdout.splitlines(), log.read_text("utf-8").splitlines()

    return run


def checks(called):
    """Of each process under the emulator, what it checks."""
    lines = [line.partition("quick_checks.py ")[2].split() for line in called if line.startswith("qemu-aarch64")]
    return [line for line in lines if line]


def test_it_runs_quick_checks_under_the_emulator(stage, tmp_path):
    code, said, called = stage()
    one, other = checks(called)
    names = {*one, *other}
    assert len(names) == len(one) + len(other)
    assert {"bfloat16", "int8"} <= names <= {*quick_checks.CHECKS}
    assert (code, said[-1].split()[0], {*said[-1].split()[1:]}) == (0, "passed:", names)
    tree = tmp_path / "arm" / "tree"
    assert f"dpkg-deb -x {tmp_path}/arm/apt/archives/python3.deb {tree}" in called
    emulated = f"qemu-aarch64 -cpu neoverse-n1 -L {tree} {tree}/usr/bin/python3 "
    assert sum(line.startswith(emulated) for line in called) == 3
    (pip,) = (line for line in called if line.startswith("python -m pip"))
    assert "--platform manylinux_2_28_aarch64" in pip
    assert "--python-version 3.11" in pip


def test_a_folder_is_where_its_caller_is(stage, tmp_path):
    assert stage(folder="here")[0] == 0
    assert (tmp_path / "here" / "tree").is_dir()


@pytest.mark.parametrize(("without", "variables", "why"), [
    (["qemu-aarch64"], {}, "qemu-user is not installed"),
    (["apt-get"], {}, "there is no apt-get"),
    ([], {"APT_FAILS": "update"}, "lists of packages for arm64 could not be had"),
    ([], {"APT_FAILS": "install"}, "a Python for arm64 could not be had"),
    ([], {"BROKEN": "1"}, "this qemu does not run Debian's Python"),
    ([], {"PIP": "1"}, "wheels of numba and numpy for ARM and Python 3.11 could not be had"),
])  # fmt: skip
def test_it_says_that_it_was_left_out(stage, without, variables, why):
    code, said, called = stage(*without, **variables)
    assert (code, len(said), checks(called)) == (0, 1, [])
    assert said[0].startswith("left out: ")
    assert why in said[0]
    if without:
        assert not called  # nothing was asked for


def test_a_check_that_fails_fails_the_stage(stage):
    assert stage(FAILS="cell")[0] == 1
    assert stage(FAILS="int8")[0] == 1


def test_what_was_not_reached_is_named(stage):
    code, said, _ = stage(FAILS="int8", CODE="139")
    assert (code, said[-2]) == (0, "one process was ended by signal 11")
    assert said[-1].endswith("not reached in 5 minutes: int8 integers gated_keyed bounds calls")
    code, said, _ = stage(LATE="1")
    assert code == 0
    assert said[-1].startswith("passed: none; not reached in 5 minutes: gated_columns ")
