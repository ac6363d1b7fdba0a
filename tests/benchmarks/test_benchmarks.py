"""The suite measures what its names say, the gate fails where it should, and the dashboard opens in a browser."""

import ast
import hashlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastcell as fc
from benchmarks import common, gate, numpy_lstm, offline

ROOT = Path(common.__file__).parent
MODULES = sorted(path.stem for path in ROOT.glob("bench_*.py"))
KIND = re.compile("time_|timeraw_|track_|peakmem_")
# What a benchmark with this in its name or its class's has to reach.
REACHES = {
    "toy_scan": {"fc.toy_scan", "fc.frames.toy_scan", "fc.dask.toy_scan"},
    "gated_scan": {"fc.gated_scan"},
    "lstm_step": {"fc.lstm_step"},
    "cell_step": {"self.cell.step"},
    "toy_step": {"fc.toy_step"},
    "lstm": {"self.lstm"},
}
CHOOSING = {
    "bench_dask",
    "bench_frames",
    "bench_peers",
    "bench_process",
}  # their setup or parameter chooses what is called


def load(name):
    if name == "bench_dask":
        pytest.importorskip("distributed", reason="the benchmarks of fastcell.dask need it")
    return import_module(f"benchmarks.{name}")


def suites(module):
    return [
        owner
        for name, owner in vars(module).items()
        if inspect.isclass(owner) and owner.__module__ == module.__name__ and not name.startswith("_")
    ]


def benchmarks_of(owner):
    return [function for name, function in inspect.getmembers(owner, inspect.isfunction) if KIND.match(name)]


def reached(function, owner, module, seen=None):
    """Every dotted name in the function and in what it calls of the benchmarks' own."""
    seen = set() if seen is None else seen
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        name = ast.unparse(node)
        if name in seen:
            continue
        seen.add(name)
        head, _, rest = name.rpartition(".")
        place = {"self": owner, "": module}.get(head, getattr(module, head, None) if head.isidentifier() else None)
        found = getattr(place, rest, None)
        found = getattr(found, "py_func", found)  # of a function under @njit
        if inspect.isfunction(found) and found.__module__.startswith("benchmarks"):
            home = module if head in ("self", "") else place
            reached(found, owner, home, seen)
    return seen


def complaint(function, owner, module):
    """What is wrong with a benchmark's name, or None."""
    names = reached(function, owner, module)
    everything = set().union(*REACHES.values())
    if (function.__doc__ or "").startswith("The yardstick"):
        return f"a yardstick calls {names & everything}" if names & everything else None
    squeezed = owner.__name__.lower()
    subjects = [word for word in REACHES if word in function.__name__]
    subjects = subjects or [word for word in REACHES if word.replace("_", "") in squeezed]
    if not subjects:
        return "no public function in its name"
    subject = max(subjects, key=len)
    return None if names & REACHES[subject] else f"{subject} in its name, but it does not call it"


@pytest.mark.parametrize("name", MODULES)
def test_names_say_what_is_measured(name):
    module = load(name)
    assert suites(module)
    if name in CHOOSING:
        return
    for owner in suites(module):
        for function in benchmarks_of(owner):
            assert complaint(function, owner, module) is None, f"{owner.__name__}.{function.__name__}"


def test_a_wrong_name_is_found():
    class Wrong:
        def time_toy_scan(self):
            fc.gated_scan(self.x, self.x, self.x, self.x)

        def time_copy(self):
            """The yardstick."""
            fc.toy_scan(self.x, self.x, self.x)

        def track_share_of_copy(self):
            fc.toy_scan(self.x, self.x, self.x)

    module = sys.modules[__name__]
    assert complaint(Wrong.time_toy_scan, Wrong, module) == "toy_scan in its name, but it does not call it"
    assert complaint(Wrong.time_copy, Wrong, module) == "a yardstick calls {'fc.toy_scan'}"
    assert complaint(Wrong.track_share_of_copy, Wrong, module) == "no public function in its name"


def test_process_calls_what_its_parameters_say():
    calls = load("bench_process").CALLS
    assert "fc.toy_scan(" in calls["toy_scan"]
    assert "fc.LSTM(" in calls["lstm"]


def test_a_cold_call_has_no_cache():
    cold = load("bench_process").COLD
    assert "os.environ['FASTCELL_CACHE'] = '0'" in cold.partition("import numpy")[0]


@pytest.mark.parametrize("name", MODULES)
def test_benchmarks_are_described(name):
    module = load(name)
    assert module.__doc__
    for owner in suites(module):
        params, names = getattr(owner, "params", ()), getattr(owner, "param_names", ())
        assert len(params) == len(names), owner.__name__
        assert all(isinstance(value, str | int | float) for axis in params for value in axis), owner.__name__
        functions = benchmarks_of(owner)
        assert functions, owner.__name__
        for function in functions:
            full = f"{owner.__name__}.{function.__name__}"
            assert len(inspect.signature(function).parameters) == 1 + len(params), full
            if function.__name__.startswith("track_"):
                assert isinstance(function.unit, str), full
            if function.__name__.startswith("time_"):
                assert owner.number == 1, full
                assert hasattr(owner, "repeat"), full
                assert hasattr(owner, "rounds"), full
            assert isinstance(function.pretty_name, str), full


def test_pretty_names_differ():
    names = [
        function.pretty_name
        for module in MODULES
        for owner in suites(load(module))
        for function in benchmarks_of(owner)
    ]
    assert len(names) == len(set(names))


def test_configuration():
    config = json.loads((ROOT / "asv.conf.json").read_text("utf-8"))
    assert (config["repo"], config["benchmark_dir"]) == ("..", ".")
    assert config["environment_type"] == "virtualenv"
    assert "wheel --no-deps" in config["build_command"][0]
    matrix = config["matrix"]
    assert set(matrix["env_nobuild"].values()) == {"1"}
    assert matrix["req"]["asv_runner"], "asv_runner's version decides what is measured"
    sources = "\n".join(path.read_text("utf-8") for path in [*ROOT.glob("bench_*.py"), ROOT / "dataframes.py"])
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", sources, re.MULTILINE)) - set(sys.stdlib_module_names)
    assert imported - {"fastcell"} <= set(matrix["req"])


@pytest.mark.parametrize("name", sorted({*MODULES} - {"bench_recurrence", "bench_yardsticks"}))
def test_commits_without_a_feature_are_skipped(name, monkeypatch):
    module = load(name)
    monkeypatch.setattr(common, "fc", SimpleNamespace())
    for owner in suites(module):
        if hasattr(owner, "setup"):
            with pytest.raises(NotImplementedError, match="this commit has no"):
                owner().setup(*(axis[0] for axis in getattr(owner, "params", ())))


def test_the_yardstick_has_not_changed():
    text = Path(numpy_lstm.__file__).read_bytes()
    assert hashlib.sha256(text).hexdigest() == ("411825a2b4b95e25e5585db8dffe03c0f16e5ec634633c4a5a3827ec8057b55b")


def test_the_yardstick_is_an_lstm():
    lstm, x = common.lstm("multiples of nothing")
    y = numpy_lstm.lstm(x, *common.for_numpy(lstm.state_dict()))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, lstm(x)[0], rtol=0, atol=2e-6)  # float32 sums in another order


def test_scratch_is_small_whatever_the_steps():
    owner = load("bench_lstm").LSTMMemory
    sizes = []
    for steps in (100, 1000):
        suite = owner()
        suite.setup(steps)
        sizes.append(suite.track_lstm_scratch(steps))
    assert 0 < max(sizes) < 2 << 20
    assert abs(sizes[1] - sizes[0]) < 1 << 14


def test_floors_name_benchmarks_that_are_there():
    entries = gate.floors()
    assert len(entries) == len(set(entries)) > 5
    for floor in entries:
        module, owner, method = floor.benchmark.split(".")
        owner = getattr(load(module), owner)
        assert method.startswith("track_")
        assert hasattr(owner, method)
        axes = getattr(owner, "params", ())
        assert len(floor.params) == len(axes)
        assert all(value in axis for value, axis in zip(floor.params, axes, strict=True)), str(floor)
        assert floor.least > 0


def test_the_gate_measures_again_before_it_fails(capsys):
    floor = gate.Floor("bench_x.X.track_x", ("big", 3), 0.5)
    figures = iter([0.1, 0.2, 0.49, 0.6])
    assert gate.check([floor], lambda _: next(figures)) == []
    assert capsys.readouterr().out == "ok   bench_x.X.track_x(big, 3): 0.6, floor 0.5, attempt 4\n"


def test_the_gate_names_benchmark_floor_and_figure(capsys, monkeypatch):
    floor = gate.Floor("bench_x.X.track_x", ("big", 3), 0.5)
    monkeypatch.setattr(gate, "floors", lambda: [floor])
    monkeypatch.setattr(gate, "check", partial(gate.check, measured=lambda _: 0.49))
    assert gate.main() == 1
    out, err = capsys.readouterr()
    assert "SLOW bench_x.X.track_x(big, 3): 0.49, floor 0.5, attempt 4" in out
    assert err == "below its floor: bench_x.X.track_x(big, 3): 0.49, floor 0.5, attempt 4\n"


def test_a_slow_function_has_fewer_turns():
    counts = {"slow": 0, "fast": 0}

    def slow():
        counts["slow"] += 1
        time.sleep(0.02)

    def fast():
        counts["fast"] += 1

    best = common.in_turn({"slow": slow, "fast": fast}, rounds=9, least=0.0, most=0.05)
    assert counts == {"slow": 2 + 3, "fast": 2 + 9}
    assert best["fast"] < 0.02 <= best["slow"]


def test_offline_pages_refuse_a_library_that_they_do_not_know(tmp_path):
    tag = '<script src="https://cdn.invalid/{}" integrity="sha256-x" crossorigin="anonymous"></script>'
    page = tmp_path / "index.html"
    page.write_text(tag.format("md5.min.js"), "utf-8")
    offline.point_at(tmp_path, "libraries")
    assert page.read_text("utf-8") == '<script src="libraries/md5.min.js"></script>'
    page.write_text(tag.format("new.js"), "utf-8")
    with pytest.raises(ValueError, match=r"got \['new.js'\]"):
        offline.point_at(tmp_path, "libraries")


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    """The address of what `asv publish` makes of the results in the repository."""
    pytest.importorskip("asv", reason="the dashboard is asv's")
    for program in ("git", "npm", "chromium"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not (ROOT.parent / ".git").exists():
        pytest.skip("the dashboard is of a repository's commits")
    if subprocess.run(["git", "rev-parse", "-q", "--verify", "main"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("the dashboard is of the branch main")
    html = tmp_path_factory.mktemp("dashboard") / "html"
    publish = [sys.executable, "-m", "asv", "publish", "--no-pull", "--config", ROOT / "asv.conf.json", "-o", html]
    done = subprocess.run(publish, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (html / "libraries").mkdir()
    try:
        offline.fetch(html / "libraries")
    except subprocess.CalledProcessError:
        pytest.skip("npm can't fetch what asv's pages load")
    offline.point_at(html, "libraries")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def browse(address, profile):
    """The page as chromium has it after its scripts ran, and what they wrote to the console."""
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}",
        "--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1400,1000", "--dump-dom", address,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_dashboard_grid(dashboard, tmp_path):
    page, console = browse(dashboard, tmp_path)
    assert console == []
    assert re.search(r'id="error-message">\s*</div>', page), "a message of asv's is open"
    for name in ("LSTM, one thread", "toy_scan, one thread", "cell.step from Python, 1,000 calls"):
        assert name in page


def test_dashboard_graph(dashboard, tmp_path):
    page, console = browse(f"{dashboard}#bench_cell.FromPython.time_cell_step_1000_calls", tmp_path)
    assert console == []
    graph = page[page.index('id="main-graph"') :]
    assert 'class="flot-base"' in graph
    assert "flot-tick-label" in graph


def test_dashboard_regressions(dashboard, tmp_path):
    page, console = browse(f"{dashboard}#/regressions", tmp_path)
    assert console == []
    assert 'id="regressions-body"' in page
