"""Peers of the benchmarks give fastcell's answers, and what was measured is written as it is, losses too."""

import json
import xml.etree.ElementTree

import pytest

from benchmarks import bench_peers, common, pages, peers_lstm, peers_report, peers_toy
from tests.helpers.processes import python

PEERS = [(precision, name) for precision, peers in peers_lstm.BY_PRECISION.items() for name in peers] + [
    (problem, name) for problem, work in peers_toy.WORK.items() for name in work.peers
]
# In a process of its own: Keras runs on JAX there, and what JAX, OpenVINO and torch do to a process ends with it.
ANSWERS = """
import json, numpy as np
import fastcell as fc
from benchmarks import peers_lstm, peers_toy

def answers(peers, precision, lstm, x):
    found, calls = {}, peers_lstm.prepared(peers, lstm, x, 2)
    wanted = lstm.with_precision(precision)(x)[0] if calls else None
    for name, call in calls.items():
        y = peers_lstm.as_array(call())
        found[name] = y.shape == wanted.shape, float(abs(y - wanted).max())
    return found

found = {}
both = fc.LSTM(4, 7, 2, bidirectional=True, seed=0)
for precision, peers in peers_lstm.BY_PRECISION.items():
    lstm, x = peers_lstm.problem((5, 3, 4, 7))
    found[precision] = answers(peers, precision, lstm, x)
    lstm, x = peers_lstm.problem((5, 1, 4, 7))
    found[precision + ", one row"] = answers(peers, precision, lstm, x)
    if precision != "float32":
        found[precision + ", two layers"] = answers(peers, precision, both, x)
for problem, work in peers_toy.WORK.items():
    data = work.data(20_000)
    wanted = work.fastcell(data, 1)
    answered = {name: np.asarray(peer.prepare(data, 2)()) for name, peer in work.peers.items() if not peer.missing()}
    found[problem] = {name: (y.shape == wanted.shape, float(abs(y - wanted).max())) for name, y in answered.items()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers():
    done = python("-c", ANSWERS, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("problem", "name"), PEERS)
def test_peers_agree(problem, name, request):
    low = problem in peers_lstm.BY_PRECISION
    peer = (peers_lstm.BY_PRECISION[problem] if low else peers_toy.WORK[problem].peers)[name]
    if peer.missing():
        pytest.skip(f"{' and '.join(peer.missing())} is what is compared with: pip install 'fastcell[peers]'")
    answers = request.getfixturevalue("answers")
    if low and name not in answers[problem]:
        pytest.skip(f"{name} has no {problem} on this CPU")
    # float32 sums of some tens, in another order; products rounded to 8 bits, by each in its own way
    close = {"bfloat16": 1e-2, "int8": 3e-2}.get(problem, 2e-6)
    found = [which for which in answers if which.startswith(problem)] if low else [problem]
    assert len(found) == {"float32": 2, "bfloat16": 3, "int8": 3}.get(problem, 1)
    for which in found:
        shape, difference = answers[which][name]
        assert shape
        assert difference < close


def test_a_peer_that_differs_is_found(monkeypatch):
    work = peers_toy.WORK["one sequence"]
    liar = common.Peer((), lambda problem, threads: lambda: problem.x1)
    monkeypatch.setitem(peers_toy.WORK, "one sequence", work._replace(peers={"liar": liar}))
    with pytest.raises(AssertionError, match="liar, one sequence"):
        peers_toy.calls("one sequence", 1, size=100)


def test_a_peer_on_the_dashboard():
    suite, allowed = bench_peers.ToyPeers(), common.cores()
    suite.setup("plain njit loop", "10,000 keys")
    try:
        assert len(common.cores()) == 1
        assert suite.track_toy_peer("plain njit loop", "10,000 keys") > 0
    finally:
        suite.teardown("plain njit loop", "10,000 keys")
    assert common.cores() == allowed


def test_a_peer_that_is_not_there_is_skipped(monkeypatch):
    monkeypatch.setitem(peers_lstm.PEERS, "PyTorch", common.Peer(("no_such_library",), None))
    for suite, name, place, message in (
        (bench_peers.LSTMPeers(), "PyTorch", "one row, 16 units", "PyTorch is not installed"),
        (bench_peers.ToyPeers(), "SciPy", "one sequence", "SciPy has no equal"),
    ):
        with pytest.raises(NotImplementedError, match=message):
            suite.setup(name, place)
        suite.teardown(name, place)


def made_up(threads):
    """PyTorch loses, OpenVINO wins, the others are not installed."""
    lstm = {"fastcell": 2e-3 / threads, "PyTorch": 3e-3, "OpenVINO": 1e-3, "float64": 5e-3}
    steps = {"cell.step": 2e-6, "lstm_step under njit": 1e-6, "onnxruntime": 1.5e-5}
    steps |= {"in bfloat16": 1.5e-6, "in int8": 5e-7}
    toy = {"fastcell": 0.2, "plain njit loop": 0.25}
    half = {"fastcell": 1.6e-3 / threads, "PyTorch": 8e-3, "float32": 2e-3 / threads}
    low = {"bfloat16": {"100, 16, 64, 64": half}, "int8": {"100, 16, 64, 64": half | {"onnxruntime": 1.2e-3}}}
    return low | {
        "threads": threads, "sgemm": threads * 1e11, "lstm": {"100, 16, 64, 64": lstm}, "toy": {"one sequence": toy},
        "steps": {"1, 16": steps} if threads == 1 else {},
    }  # fmt: skip


def test_tables_show_losses():
    lines = peers_report.markdown([made_up(1), made_up(2)], "A machine; a date").splitlines()
    assert lines[0] == "A machine; a date; sgemm 100 and 200 GFLOP/s on one thread and two threads."
    rows = [line for line in lines if line.startswith(("| 1", "| one sequence"))]
    assert rows == [
        "| 100, 16, 64, 64 | 2.00 | 3.00 | - | **1.00** | - | - | **0.50** | 0.52 | 0.40 |",
        "| 100, 16, 64, 64 | 1.00 | 3.00 | - | 1.00 | - | - | 1.00 | 0.52 | 2.00 |",
        "| 100, 16, 64, 64 | 1.60 | 8.00 | - | 5.00 | 1.25 | **0.62** |",
        "| 100, 16, 64, 64 | 0.800 | 8.00 | - | 10.00 | 1.25 | 1.25 |",
        "| 100, 16, 64, 64 | 1.60 | **1.20** | 8.00 | **0.75** | 1.25 | **0.62** |",
        "| 100, 16, 64, 64 | 0.800 | 1.20 | 8.00 | 1.50 | 1.25 | 1.25 |",
        "| 1, 16 | 2.00 | 1.00 | 1.50 | 0.50 | 15.00 | - | 7.50 |",
        "| one sequence | 1 | 200 | 250 | - | - | - | - | - | - | 1.25 |",
        "| one sequence | 2 | 200 | 250 | - | - | - | - | - | - | 1.25 |",
    ]
    assert "Geometric mean over the best peer: 0.50." in lines
    widths = [{line.count("|") for line in block.splitlines()} for block in "\n".join(lines).split("\n\n")]
    assert all(len(width) == 1 for width in widths)


def test_the_readme_s_rows_show_losses():
    lines = peers_report.summary([made_up(1), made_up(2)], "A machine; a date; Python 3, all versions").splitlines()
    assert lines[0] == "A machine; a date; tables in float32."
    said = {"float32": ("0.50", 1, "1.00", 0), "bfloat16": ("5.00", 0, "10.00", 0), "int8": ("0.75", 1, "1.50", 0)}
    assert [line for line in lines if line.startswith("- ")] == [
        f"- 1 shapes in {precision}: {one} times as fast as the best peer of each on one thread (slower at {lost}, at "
        f"worst {one}: 100, 16, 64, 64), {two} times as fast as the best peer of each on two threads (slower at "
        f"{none}, at worst {two}: 100, 16, 64, 64)."
        for precision, (one, lost, two, none) in said.items()
    ]
    assert [line for line in lines if line.startswith(("| LSTM", "| one"))] == [
        "| LSTM 100, 16, 64, 64 | 2.00 | OpenVINO 1.00 | **0.50** | 1.00 | OpenVINO 1.00 | 1.00 |",
        "| one sequence | 200 | plain njit loop 250 | 1.25 | 200 | plain njit loop 250 | 1.25 |",
    ]
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_only_the_blocks_in_the_pages_change(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'fastcell[plot]'")
    whole, readme, plot = (tmp_path / name for name in ("WHOLE.md", "README.md", peers_report.PLOT))
    for page in (whole, readme):
        page.write_text("before\n<!-- peers: begin -->\nold\n<!-- peers: end -->\nafter\n", "utf-8")
    written = []
    for _ in range(2):
        peers_report.write(whole, readme, [made_up(1), made_up(2)], "A machine; a date")
        written.append((whole.read_text("utf-8"), readme.read_text("utf-8"), plot.read_bytes()))
    assert written[0] == written[1]
    for text in written[0][:2]:
        assert text.startswith("before\n<!-- peers: begin -->\nA machine; a date")
        assert text.endswith("\n<!-- peers: end -->\nafter\n")
        assert "old" not in text
    drawing = xml.etree.ElementTree.parse(plot)
    words = {element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"PyTorch", "OpenVINO", "plain njit loop", "100, 16, 64, 64", "A machine", "a date"} <= words
    assert "Keras" not in words


def test_the_pages_have_the_blocks_that_scripts_write():
    for page, names in ((pages.README, ["peers"]), (pages.BENCHMARKS, ["table", "peers", "accuracy"])):
        text = page.read_text(encoding="utf-8")
        for name in names:
            assert text.count(f"<!-- {name}: begin -->\n") == text.count(f"\n<!-- {name}: end -->\n") == 1, page
