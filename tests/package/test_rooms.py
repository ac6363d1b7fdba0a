"""The tree's architecture: imports go down only, in a fixed order of rooms, and public names stay."""

import ast
from pathlib import Path

import pytest

import fastcell

PACKAGE = Path(fastcell.__file__).parent
FLOORS = [
    {"_sources", "_machine", "_memory", "_nulls", "_checks", "_files", "_forks", "oracle"},
    {"_jit", "_cores"},
    {"_threads"},
    {"simd"},
    {"scan", "lstm"},
    {"trace", "weights"},
    {"_model"},
    {"frames", "dask"},
    {"_verify", "_warmup"},
    {"_cli"},
    {"__init__", "__main__"},
]
"""The lowest first. Rooms of one floor don't import each other; the lowest two floors are single files that may."""

NAMES = {
    "fastcell": {
        "CACHE_TOKEN", "LSTM", "CellParams", "LSTMCell", "Scan", "ToyTrace", "Trace", "gated_scan", "lstm_step",
        "oracle", "rules_to_gates", "toy_scan", "toy_step", "toy_trace", "verify", "warmup",
    },
    "fastcell.scan": {"Scan", "gated_scan", "rules_to_gates", "toy_scan", "toy_step"},
    "fastcell.lstm": {"LSTM", "CellParams", "LSTMCell", "lstm_step"},
    "fastcell.frames": {"Frames", "gated_scan", "lstm", "toy_scan"},
    "fastcell.dask": {"gated_scan", "lstm", "toy_scan"},
}  # fmt: skip
METHODS = {
    "cell", "trace", "params", "state_dict", "initial_state", "save", "load", "from_rules", "from_torch", "from_onnx",
    "from_keras", "from_flax", "from_safetensors",
}  # fmt: skip


def module(file):
    """A file's name as modules are imported, from the package down: ("simd", "vector")."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


MODULES = {module(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(file, name):
    """The package's modules that a file imports: at its top, inside functions, for types alone."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        asked = []
        if isinstance(node, ast.Import):
            asked = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports by dots"
            asked = [f"{node.module}.{alias.name}" for alias in node.names]
        for path in asked:
            if path.split(".")[0] == "fastcell":
                parts = tuple(path.split(".")[1:])
                while parts and parts not in MODULES:
                    parts = parts[:-1]
                found.add(parts or ("__init__",))
    return found - {name}


GRAPH = {name: imports(file, name) for name, file in MODULES.items()}


def floor(name):
    (number,) = (k for k, rooms in enumerate(FLOORS) if name[0] in rooms)
    return number


@pytest.mark.parametrize("name", GRAPH, ids=".".join)
def test_imports_go_down(name):
    up = [
        ".".join(other)
        for other in GRAPH[name]
        if other[0] != name[0] and (floor(other) > floor(name) or (floor(other) == floor(name) > 1))
    ]
    assert not up


def test_no_circle():
    """No module imports itself by way of others; a room's face, which re-exports, stands above its modules."""
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join(".".join(part) for part in [*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in sorted(GRAPH[name]):
            visit(other)
        path.pop()
        done.add(name)

    for name in GRAPH:
        visit(name)


@pytest.mark.parametrize("name", NAMES)
def test_public_names(name):
    module = __import__(name, fromlist=["__all__"])
    assert set(module.__all__) == NAMES[name]
    assert all(hasattr(module, public) for public in module.__all__)


def test_methods_from_other_rooms():
    assert {method for method in METHODS if hasattr(fastcell.LSTM, method)} == METHODS
    assert fastcell.LSTM.__module__ == "fastcell"
    assert fastcell.LSTM.__doc__ == fastcell.lstm.LSTM.__doc__
