"""What an argument or a file claims: refused in words, or bounded, before any of it is allocated.

Each runs under a limit on the process's memory, so that what would fill the machine fails here instead.
"""

import itertools
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastcell as fc
from fastcell import _memory
from fastcell.__main__ import main
from tests.helpers import commands

pytestmark = pytest.mark.usefixtures("limited", "nothing_large")

FEW = 1 << 24  # memories that keys may ask for, however few rows there are


def wide(shape, dtype="f4"):
    """An array of any shape in a few bytes."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def ones(T, *columns):
    return [np.ones((T, *columns), dtype) for dtype in ("f8", "i1", "i1")]


SCANS = {
    "toy": lambda T, *columns, **options: fc.toy_scan(*ones(T, *columns), **options),
    "gated": lambda T, *columns, **options: fc.gated_scan(ones(T, *columns)[0], 1, 1, 1, **options),
}


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """What most tests here compile, which takes three times as long where all that is allocated is traced."""
    for columns in ((), (3,)):
        for keys in ([0, 1], [0, 1 << 16]):  # by a small call, and by the kernels for large ones
            fc.toy_scan(*ones(2, *columns), keys=keys)
            fc.gated_scan(*ones(2, *columns), 1, keys=keys)
            fc.gated_scan(ones(2, *columns)[0], 1, 1, 1, keys=keys)
    fc.toy_scan(*ones(20_000, 3))
    fc.toy_scan(*ones(1000))


# ---- keys ----


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [("i4", FEW), ("i4", 10**9), ("u4", 2**31), ("i8", 2**31), ("i8", 2**62), ("i8", 2**63 - 1), ("u8", 2**64 - 1)],
)
@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("columns", [(), (2,), (2, 3)])
def test_raw_ids_are_no_keys(scan, largest, dtype, columns):
    keys, out = np.array([0, largest, 1], dtype), np.full((3, *columns), 7.0)
    with pytest.raises(ValueError, match=rf"^keys must be numbered from 0 on: got {largest} at index 1 of 3") as error:
        SCANS[scan](3, *columns, keys=keys, out=out)
    for words in ("numpy.unique(keys, return_inverse=True)", "pandas.factorize(keys)", "state of shape (K, ...)"):
        assert words in str(error.value)
    assert (out == 7).all()


@pytest.mark.parametrize("scan", SCANS)
def test_a_negative_key_is_named_before_a_raw_id(scan):
    with pytest.raises(ValueError, match=r"^keys must be from 0 to K - 1 = 1000000000, got -1 at index 2$"):
        SCANS[scan](3, keys=[0, 10**9, -1])


@pytest.mark.parametrize("scan", SCANS)
def test_a_chunk_of_few_rows_may_have_millions_of_keys(scan):
    keys = np.random.default_rng(0).integers(0, 10**6, 1000)
    keys[7] = 10**6 - 1
    y, state = SCANS[scan](1000, keys=keys)
    counts = np.bincount(keys, minlength=10**6)
    assert (y.dtype, state.dtype) == (np.float64, np.float64)
    np.testing.assert_array_equal(state, counts)
    again = SCANS[scan](1000, keys=keys, state=state)
    np.testing.assert_array_equal(again.state, 2 * counts)
    np.testing.assert_array_equal(state, counts)  # the first is another array


@pytest.mark.parametrize("columns", [(), (1,), (4,), (2, 2)])
@pytest.mark.parametrize("scan", SCANS)
def test_the_bound_counts_memories(scan, columns):
    each = int(np.prod(columns, dtype=int))
    most = FEW // each
    state = SCANS[scan](2, *columns, keys=[0, most - 1]).state
    assert state.shape == (most, *columns)
    assert (state[0] == 1).all()
    assert (state[-1] == 1).all()
    with pytest.raises(ValueError, match=f"^keys must be numbered from 0 on: got {most} at index 1 of 2 rows"):
        SCANS[scan](2, *columns, keys=[0, most])


def test_many_rows_may_have_more_memories():
    T = 2**20 + 1
    keys = np.zeros(T, np.int64)
    keys[-1] = 16 * T - 1
    assert fc.toy_scan(*(np.zeros(T, dtype) for dtype in ("f4", "i1", "i1")), keys=keys).state.shape == (16 * T,)
    keys[5] = 16 * T
    with pytest.raises(ValueError, match=f"^keys must be numbered from 0 on: got {16 * T} at index 5 of {T} rows"):
        fc.toy_scan(*(np.zeros(T, dtype) for dtype in ("f4", "i1", "i1")), keys=keys)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("columns", [(), (3,), (2, 3)])
@pytest.mark.parametrize("scan", SCANS)
def test_memories_that_no_step_uses_are_not_touched(scan, columns, order):
    arrays = [np.asarray(x, order=order) for x in ones(2, *columns)]
    keys = [0, FEW // max(int(np.prod(columns, dtype=int)), 1) - 1]
    run = fc.toy_scan if scan == "toy" else fc.gated_scan
    run(*arrays, *arrays[3 - (scan == "gated") :], keys=[0, 1])
    before = resident()
    state = run(*arrays, *([1] if scan == "gated" else []), keys=keys).state
    assert resident() - before < 2**24  # of 2**27 that are mapped
    assert state.shape == (keys[1] + 1, *columns)
    np.testing.assert_array_equal(state[[0, 1, -1]], np.stack([np.ones(columns), np.zeros(columns), np.ones(columns)]))


def resident():
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * 4096


def test_the_oracle_refuses_them_too():
    for scan in (lambda keys: fc.oracle.toy_scan([1, 1], [1, 1], [1, 1], keys=keys),
                 lambda keys: fc.oracle.gated_scan([1, 1], [1, 1], [1, 1], [1, 1], keys=keys)):  # fmt: skip
        with pytest.raises(ValueError, match=r"^keys must be numbered from 0 on, got 1000000000 among 2$"):
            scan([10**9, 0])


def test_a_state_sets_how_many_keys_there_are():
    state = np.zeros(FEW + 2)
    state[FEW + 1] = 5
    y, last = fc.toy_scan(*ones(2), keys=[FEW + 1, 0], state=state)
    np.testing.assert_array_equal(y, [6, 1])
    assert last.shape == state.shape
    assert not np.shares_memory(last, state)


def test_frames_number_raw_ids():
    table = pa.table({"id": [10**15, 3, 10**15], "v": [1.0, 2.0, 4.0], "c": [1, 1, 1], "e": [1, 1, 1]})
    frame, state = fc.frames.toy_scan(table, "v", "c", "e", by="id")
    assert frame["y"].to_pylist() == [1.0, 2.0, 5.0]
    assert state.to_pylist() == [{"id": 10**15, "memory": 5.0}, {"id": 3, "memory": 2.0}]


# ---- arrays that claim more than they hold ----

LSTM = fc.LSTM(3, 5, seed=0)
BOTH = fc.LSTM(3, 5, 2, bidirectional=True, seed=0)
FIRST = fc.LSTM(3, 5, batch_first=True, seed=0)
CLAIMS = {
    "y": (lambda n: fc.toy_scan(*[wide(n)] * 3), r"y of shape \(.*,\)"),
    "y of unsigned": (lambda n: fc.toy_scan(*[wide(n, "u8")] * 3), r"y of shape \(.*,\)"),
    "y of unsigned, swapped": (lambda n: fc.toy_scan(*[wide(n, ">u2")] * 3), r"y of shape \(.*,\)"),
    "columns": (lambda n: fc.toy_scan(*[wide((2, n))] * 3), r"state of x1 \(or x\) of shape \(2, .*\)"),
    "columns of no steps": (lambda n: fc.toy_scan(*[wide((0, n))] * 3), r"state of x1 \(or x\) of shape \(0, .*\)"),
    "three axes": (lambda n: fc.toy_scan(*[wide((n, 2, 3))] * 3), r"y of shape \(.*, 2, 3\)"),
    "keys": (lambda n: fc.toy_scan(*[wide(n)] * 3, keys=wide(n, "i8")), r"y of shape \(.*,\)"),
    "state": (lambda n: fc.toy_scan([1.0], [1], [1], keys=[0], state=wide(n)), r"a copy of state, of shape \(.*,\),"),
    "gated y": (lambda n: fc.gated_scan(wide(n), 1, 1, 1), r"y of shape \(.*,\)"),
    "gated columns": (lambda n: fc.gated_scan(wide((0, n)), 1, 1, 1), r"state of x1 \(or x\) of shape \(0, .*\)"),
    "range": (lambda n: fc.toy_scan(range(n), wide(n), wide(n)), r"x1 of range\(0, .*\)"),
    "range of keys": (lambda n: fc.toy_scan([1.0], [1], [1], keys=range(n)), r"keys of range\(0, .*\)"),
    "trace": (lambda n: fc.toy_trace(*[wide(n)] * 3), r"a trace of x1 of shape \(.*,\)"),
    "LSTM steps": (lambda n: LSTM(wide((n, 2, 3))), "y and the state for T = .* and B = 2 of x"),
    "LSTM one row": (lambda n: LSTM(wide((n, 3), "f8")), "y and the state for T = .* and B = 1 of x"),
    "LSTM rows": (lambda n: LSTM(wide((2, n, 3))), "y and the state for T = 2 and B = .* of x"),
    "LSTM rows of no steps": (lambda n: LSTM(wide((0, n, 3))), "y and the state for T = 0 and B = .* of x"),
    "LSTM batch first": (lambda n: FIRST(wide((n, 0, 3))), "y and the state for T = 0 and B = .* of x"),
    "LSTM both": (lambda n: BOTH(wide((n, 1, 3))), "y and the state for T = .* and B = 1 of x"),
    "LSTM lengths": (
        lambda n: LSTM(wide((0, n, 3)), lengths=wide(n, "i8")),
        "y and the state for T = 0 and B = .* of x",
    ),
    "LSTM trace": (lambda n: LSTM.trace(wide((n, 1, 3))), "y and the state for T = .* and B = 1 of x"),
    "cell": (lambda n: LSTM.cell()(wide((n, 3))), r"a step for x of shape \(.*, 3\)"),
    "cell of no inputs": (lambda n: fc.LSTMCell(0, 5)(np.empty((n, 0), "f4")), r"a step for x of shape \(.*, 0\)"),
    "units": (lambda n: LSTM.trace(np.zeros((2, 3))).table(units=range(n)), r"units of range\(0, .*\)"),
}


@pytest.mark.parametrize("size", [2**31, 2**33 + 1, 2**40])
@pytest.mark.parametrize("name", CLAIMS)
def test_arrays_that_hold_less_than_they_claim(name, size):
    run, words = CLAIMS[name]
    with pytest.raises(MemoryError, match=rf"^(the )?{words} would take .*iB of memory, of which .*iB is free$"):
        run(size)


def test_a_trace_takes_more_than_its_answer(monkeypatch):
    monkeypatch.setattr(_memory, "available", lambda: 2**28)
    with pytest.raises(MemoryError, match=r"^a trace of x of shape \(5000000, 3\) would take"):
        fc.LSTM(3, 1, seed=0).trace(wide((5_000_000, 3)))


@pytest.mark.parametrize("given", [np.broadcast_to(0, 2**40), [0, 1, 2, 3, 4, 4]])
def test_units_are_no_more_than_there_are(given):
    with pytest.raises(ValueError, match=r"^units must be at most H = 5 in number, got \d+$"):
        LSTM.trace(np.zeros((2, 3))).table(units=given)


def test_labels_without_end():
    with pytest.raises(ValueError, match=r"^labels must be as many as steps, 2, got 3 or more$"):
        LSTM.trace(np.zeros((2, 3))).table(itertools.count())


def test_threads_are_bounded_and_change_nothing():
    arrays = ones(20_000, 3)
    wanted = fc.toy_scan(*arrays, threads=1)
    got = fc.toy_scan(*arrays, threads=10**30)
    np.testing.assert_array_equal(got.y, wanted.y, strict=True)
    x = np.random.default_rng(0).standard_normal((2, 20_000, 3), "f4")
    np.testing.assert_array_equal(LSTM(x, threads=10**9)[0], LSTM(x, threads=1)[0], strict=True)


# ---- sizes of an LSTM ----


@pytest.mark.parametrize(
    "sizes",
    [(1, 2**30), (1, 2**31 - 1), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (1, 20_000), (1, 1, 2**31 - 1), (1, 1, 10**7),
     (2**31 - 1, 2**31 - 1, 2**31 - 1)],
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"dtype": "float64"}])
def test_sizes_that_fit_no_memory(sizes, options):
    layers = sizes[2] if len(sizes) > 2 else 1
    words = f"^weights for input_size {sizes[0]}, hidden_size {sizes[1]}, num_layers {layers} would take .* is free$"
    with pytest.raises(MemoryError, match=words):
        fc.LSTM(*sizes, **options)
    if layers == 1 and not options:
        with pytest.raises(MemoryError, match=words):
            fc.LSTMCell(*sizes)


def test_a_projection_that_fits_no_memory():
    with pytest.raises(MemoryError, match=r"^weights for input_size 1, hidden_size 1073741824, num_layers 1 would"):
        fc.LSTM(1, 2**30, proj_size=2**29)


def test_layers_that_have_no_weights():
    weights = LSTM.state_dict()
    with pytest.raises(ValueError, match=r"^num_layers must be at most the number of weights, 4, got 1000000000$"):
        fc.LSTM(3, 5, 10**9, weights=weights)


def test_weights_that_are_broadcast():
    weights = {"weight_ih_l0": wide((80_000, 1)), "weight_hh_l0": wide((80_000, 20_000))}
    with pytest.raises(MemoryError, match=r"^weights for input_size 1, hidden_size 20000, num_layers 1 would take"):
        fc.LSTM(1, 20_000, bias=False, weights=weights)


def test_a_large_lstm_that_fits_is_made():
    assert fc.LSTM(1, 1000, seed=0).state_dict()["weight_hh_l0"].shape == (4000, 1000)


# ---- dask ----


def test_a_broadcast_array_beside_a_dask_array():
    da = pytest.importorskip("dask.array", reason="fastcell.dask needs it")
    x = da.ones(2**40, chunks=2**36, dtype="f4")
    y, _ = fc.dask.toy_scan(x, np.broadcast_to(np.int8(1), x.shape), np.broadcast_to(np.int8(1), x.shape))
    assert (y.shape, y.chunks, y.dtype) == (x.shape, x.chunks, np.float32)
    with pytest.raises(MemoryError, match=r"y of shape|Unable to allocate"):
        y[:1].compute(scheduler="synchronous")
    x = da.ones((20, 2), chunks=(6, 1))
    rules = np.broadcast_to(np.array([1, 0], np.int8), x.shape)
    y, state = fc.dask.toy_scan(x, rules, np.broadcast_to(np.int8(1), x.shape))
    np.testing.assert_array_equal(y.compute(), np.stack([np.arange(1.0, 21), np.zeros(20)], 1), strict=True)
    np.testing.assert_array_equal(state.compute(), [20.0, 0.0], strict=True)


def test_dask_rows_without_end():
    da = pytest.importorskip("dask.array", reason="fastcell.dask needs it")
    x = da.zeros((0, 2**40, 3), chunks=-1, dtype="f4")
    _, (h, _) = fc.dask.lstm(LSTM, x)
    with pytest.raises(MemoryError, match="y and the state for T = 0 and B = 1099511627776 of x would take"):
        h.compute(scheduler="synchronous")
    with pytest.raises(ValueError, match=r"^lengths must be from 0 to T = 0, got 5 in row 0$"):
        fc.dask.lstm(LSTM, x, lengths=np.broadcast_to(5, 2**40))


# ---- commands and files ----


@pytest.mark.parametrize("option", ["--agents", "--steps", "--hidden"])
@pytest.mark.parametrize("number", [2**31 - 1, 2**31, 10**12, 10**30])
def test_simulations_that_fit_no_memory(capsys, option, number):
    if number >= 2**31:
        with pytest.raises(SystemExit):
            main(["simulate", option, str(number)])
        assert f"argument {option}: expected a number below 2**31, got {number}" in capsys.readouterr().err
        return
    assert main(["simulate", option, str(number)]) == 1
    assert "would take" in (told := capsys.readouterr().err)
    assert str(number) in told


@pytest.fixture
def files(tmp_path):
    fc.LSTM(6, 5, seed=0).save(tmp_path / "w.safetensors")
    np.save(tmp_path / "x.npy", commands.steps(20, 2, 6))
    return tmp_path


def run(files, state="s.npz", weights="w.safetensors"):
    options = ["--state", str(files / state)] if state else []
    return main(["lstm", str(files / "x.npy"), "--weights", str(files / weights), "-o", str(files / "y.npy"), *options])


def test_an_empty_array_of_endless_rows(files, capsys):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1099511627776, 6), }".ljust(117) + "\n"
    (files / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    assert run(files, None) == 1
    assert "x.npy: the state of 1099511627776 rows would take" in capsys.readouterr().err
    assert not (files / "y.npy").exists()


@pytest.mark.parametrize("member", ["h", "c_before", "more"])
def test_a_packed_state_that_claims_too_much(files, capsys, member):
    with zipfile.ZipFile(files / "s.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in {"h", "c", member}:
            with archive.open(f"{name}.npy", "w") as file:
                shape = (1, 2, 5) if name != member else (1, 2, 2**22)
                np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
                file.write(bytes(4 * int(np.prod(shape))))
    tracemalloc.reset_peak()
    assert run(files) == 1
    assert tracemalloc.get_traced_memory()[1] < 2**25  # what was written above is let go before
    assert f"not a state of lstm: {member}.npy must have at most the 80 bytes of a state for X" in (
        capsys.readouterr().err
    )


def sparse(path, head, size):
    """A safetensors file with a hole for its values."""
    text = json.dumps(head).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)


def test_a_state_with_a_hole(files, capsys):
    half = {"dtype": "F32", "shape": [1, 2, 2**25]}
    sparse(
        files / "s.safetensors",
        {"h": half | {"data_offsets": [0, 2**28]}, "c": half | {"data_offsets": [2**28, 2**29]}},
        2**29,
    )
    assert run(files, "s.safetensors") == 1
    assert "must have at most the 10 values of a state for X, got 67108864" in capsys.readouterr().err


def test_weights_with_a_hole(files, monkeypatch):
    monkeypatch.setattr(_memory, "available", lambda: 2**29)
    H = 2**13
    head = {
        "weight_ih_l0": {"dtype": "F32", "shape": [4 * H, 1], "data_offsets": [0, 16 * H]},
        "weight_hh_l0": {"dtype": "F32", "shape": [4 * H, H], "data_offsets": [16 * H, 16 * H + 16 * H * H]},
    }
    sparse(files / "hole.safetensors", head, 16 * H + 16 * H * H)
    with pytest.raises(MemoryError, match=r"^weight_hh_l0 of shape \[32768, 8192\] would take 2.0 GiB of memory"):
        fc.LSTM.from_safetensors(files / "hole.safetensors")


def test_a_state_of_scan_with_endless_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_memory, "available", lambda: 2**28)
    source, out, state = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "state"
    source.write_text("v,c,e,k\n1,1,1,a\n", "utf-8")
    options = ["scan", str(source), "--value", "v", "--control", "c", "--emit", "e", "-o", str(out)]
    options += ["--state", str(state)]
    column = pa.chunked_array([pa.array(np.zeros(2**22))] * 4)
    with pq.ParquetWriter(state, pa.schema([("memory", pa.float64())])) as writer:
        for _ in range(4):
            writer.write_table(pa.table({"memory": column}))
    assert state.stat().st_size < 2**21
    assert main(options) == 1
    assert "state: expected a state of one row where there is no --by, got 67108864" in capsys.readouterr().err
    assert main([*options, "--by", "k"]) == 1
    assert "state: a state of 67108864 rows would take" in capsys.readouterr().err
    assert not out.exists()


def test_chunks_of_a_keras_file(tmp_path):
    h5py = pytest.importorskip("h5py", reason="it writes the file")
    path, H = tmp_path / "a.weights.h5", 4
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/lstm/cell/vars")
        chunks = {"chunks": (2**13, 2**12), "maxshape": (None, None), "compression": "gzip"}
        group.create_dataset("0", (3, 4 * H), "f4", **chunks)[:] = 1
        group["1"], group["2"] = np.zeros((H, 4 * H), "f4"), np.zeros(4 * H, "f4")
    with pytest.raises(ValueError, match=r"^weights of layer 'layers/lstm' must be in chunks that fit"):
        fc.LSTM.from_keras(path)


# ---- what is free ----


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """/proc and /sys/fs/cgroup of one's own."""
    monkeypatch.setattr(_memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(_memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(_memory, "_limit", lambda: float("inf"))

    def put(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    put("proc/meminfo", "MemTotal:  90 kB\nMemAvailable:  50 kB\nSwapFree:  10 kB\nHugePages_Total: 0\n")
    return put


def test_the_machine_says_what_is_free(machine):
    assert _memory.available() == 60 * 1024


@pytest.mark.parametrize("at", ["a/b", "a", ""])
def test_a_group_has_less(machine, at):
    machine("proc/self/cgroup", "0::/a/b\n")
    for folder in ("a/b", "a", ""):
        machine(f"groups/{folder}/memory.max", "10000\n" if folder == at else "max\n")
        machine(f"groups/{folder}/memory.current", "7000\n")
        machine(f"groups/{folder}/memory.stat", "anon 5000\ninactive_file 500\n")
    assert _memory.available() == 3500


def test_a_group_of_the_first_version_has_less(machine):
    machine("proc/self/cgroup", "5:cpu:/\n4:memory:/a\n0::/\n")
    machine("groups/memory/a/memory.limit_in_bytes", "10000\n")
    machine("groups/memory/a/memory.usage_in_bytes", "12000\n")
    machine("groups/memory/a/memory.stat", "total_inactive_file 1000\n")
    assert _memory.available() == 0


def test_a_limit_counts():
    assert _memory._limit() < 2**32  # `limited`


def test_small_sizes_ask_nothing(monkeypatch):
    monkeypatch.setattr(_memory, "available", lambda: pytest.fail("asked"))
    _memory.check(2**28 - 1, "this")
    fc.toy_scan(*ones(1000))
    LSTM(np.zeros((10, 2, 3)))
