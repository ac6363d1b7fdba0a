"""Tests that need what only some platforms have say so by a mark and are skipped elsewhere; slow ones run in shares."""

import ast
import os
import signal
from pathlib import Path

import pytest

from tests.helpers import draws, platforms

TESTS = Path(__file__).parents[1]
# What a test says that forks or kills: names, attributes, and the name of a start method.
WORDS = {"fork": "forks", "forkserver": "forks", "SIGKILL": "kills", "KILLED": "kills", "killed_runs": "kills"}


BEFORE = {"read_text": 0, "write_text": 1}  # arguments that stand before the encoding
BYTES = "os.", "tarfile.", "packed.", "archive."  # whose `open` knows no text


def words(function):
    for node in ast.walk(function):
        for field in ("attr", "id", "value"):
            yield getattr(node, field, None)


def unmarked(text):
    """(test, mark) of those that need a mark which neither they nor their file has."""
    tree = ast.parse(text)
    of_file = "".join(ast.unparse(node) for node in tree.body if "pytestmark" in ast.unparse(node))
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            marks = of_file + "".join(map(ast.unparse, test.decorator_list))
            said = {word for word in words(test) if isinstance(word, str)}
            needed = {mark for word, mark in WORDS.items() if word in said}
            yield from ((test.name, mark) for mark in sorted(needed) if f"mark.{mark}" not in marks)


def test_tests_that_fork_or_kill_say_so():
    assert not {
        path.name: found for path in TESTS.rglob("test_*.py") if (found := [*unmarked(path.read_text("utf-8"))])
    }


def test_a_mark_that_is_forgotten_is_found():
    text = "def test_a(): os.fork()\n@pytest.mark.kills\ndef test_b(): os.kill(0, signal.SIGKILL); get_context('fork')"
    assert [*unmarked(text)] == [("test_a", "forks"), ("test_b", "forks")]
    assert [*unmarked(f"pytestmark = pytest.mark.forks\n{text}")] == []


class Item:
    def __init__(self, *marks):
        self.own, self.added = marks, []

    def get_closest_marker(self, name):
        return name in self.own

    def add_marker(self, mark):
        self.added.append(mark.name)


@pytest.mark.parametrize(("name", "module", "attribute"), [("forks", os, "fork"), ("kills", signal, "SIGKILL")])
def test_skipped_where_the_platform_has_no_such_thing(name, module, attribute, monkeypatch):
    monkeypatch.setattr(module, attribute, None, raising=False)
    here, other = Item(name), Item()
    platforms.mark(here)
    assert "skip" not in here.added
    monkeypatch.delattr(module, attribute)
    there = Item(name)
    for item in (there, other):
        platforms.mark(item)
    assert "skip" in there.added
    assert not other.added


def without_encoding(text):
    """Calls that read or write text in the platform's own encoding, which on Windows is not UTF-8."""
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name == "open":
            modes = [argument.value for argument in call.args[:2] if isinstance(argument, ast.Constant)]
            is_said = any("b" in str(mode) for mode in modes) or ast.unparse(call.func).startswith(BYTES)
        else:
            is_said = len(call.args) > BEFORE.get(name, -1)
        if not is_said and "encoding" not in {keyword.arg for keyword in call.keywords}:
            yield ast.unparse(call)


def test_text_has_an_encoding():
    sample = "p.read_text(); p.write_text('b'); open(p, 'w'); p.open(); p.open('rb'); p.read_text('utf-8'); os.open(p)"
    assert len([*without_encoding(sample)]) == 4
    top = TESTS.parent
    files = [*(top / "fastcell").rglob("*.py"), *(top / "benchmarks").glob("*.py"), *TESTS.rglob("*.py")]
    missing = {str(file.relative_to(top)): [*without_encoding(file.read_text("utf-8"))] for file in files}
    assert {name: calls for name, calls in missing.items() if calls} == {}


def test_every_slow_test_has_its_share(monkeypatch):
    slow, shares = list("abcdefgh"), []
    for share in ("0/3", "1/3", "2/3"):
        monkeypatch.setenv("FASTCELL_SHARE", share)
        shares.append(set(slow) - draws.left_out(slow))
    assert shares == [set("adg"), set("beh"), set("cf")]
    monkeypatch.delenv("FASTCELL_SHARE")
    assert draws.left_out(slow) == set()
