"""Damaged tables, arrays and states: a command ends with an error that names a file, and leaves OUT and state alone.

FASTCELL_EXAMPLES says how many damaged files a test makes, draws.py from which seed. Those of weights are in
test_safetensors, test_onnx and test_keras_files.
"""

import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest

import fastcell as fc
from fastcell.__main__ import main
from tests.helpers import commands, draws
from tests.helpers.commands import scan, write

DRAWS = draws.examples(60)


def damaged(data, rng):
    """A few bits flipped, half of them in the last bytes or the first, where headers are; or cut short as well."""
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 3, 30]))):
        at = int(rng.integers(len(data)))
        changed[[at, -1 - at % min(len(data), 1500), at % min(len(data), 300), at][int(rng.integers(4))]] ^= 1 << int(
            rng.integers(8)
        )
    if rng.random() < 0.2:
        del changed[int(rng.integers(len(data))) :]
    return bytes(changed)


def outcomes(run, capsys, victim, kept):
    """What came of each damaged file: 0 or 1; where it is 1, `kept` are as they were and something was said."""
    data, rng, codes = victim.read_bytes(), np.random.default_rng(draws.SEED), []
    before = [path.read_bytes() for path in kept]
    folder = sorted(victim.parent.iterdir())
    for n in range(DRAWS):
        victim.write_bytes(damaged(data, rng))
        codes.append(run())
        told = capsys.readouterr().err
        if codes[-1]:
            assert codes[-1] == 1, n
            assert [path.read_bytes() for path in kept] == before, f"written in spite of {told}"
            assert len(told) > 20, n
        for path, content in zip(kept, before, strict=True):
            path.write_bytes(content)
        assert sorted(victim.parent.iterdir()) == folder, n
    victim.write_bytes(data)
    return codes


TABLES = {
    "in.csv": write,
    "in.parquet": write,
    "plain.parquet": lambda frame, path: pq.write_table(frame, path, compression="none"),
}


@pytest.mark.parametrize("name", TABLES)
def test_damaged_tables(tmp_path, capsys, name):
    source, out, state = tmp_path / name, tmp_path / "out.parquet", tmp_path / "state"
    TABLES[name](commands.keyed(300), source)

    def run():
        return scan(source, out, "--by", "k", "d", "--state", state)

    assert run() == 0
    assert set(outcomes(run, capsys, source, [out, state])) == {0, 1}


def test_damaged_states_of_scan(tmp_path, capsys):
    source, out, state = write(commands.keyed(300), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "state"

    def run():
        return scan(source, out, "--by", "k", "d", "--state", state)

    assert run() == 0
    assert set(outcomes(run, capsys, state, [out])) == {0, 1}


@pytest.mark.parametrize("name", ["in.csv", "in.parquet", "state"])
def test_names_that_are_no_text(tmp_path, capsys, name):
    source, out, state = tmp_path / ("in.csv" if name == "state" else name), tmp_path / "out.csv", tmp_path / "state"
    write(commands.keyed(300), source)
    for code in (0, 1):
        assert scan(source, out, "--by", "k", "d", "--state", state) == code
        victim = tmp_path / name
        victim.write_bytes(victim.read_bytes().replace(b"note", b"n\xe5te").replace(b"memory", b"m\xe5mory"))
    assert f"{tmp_path / name}: " in (told := capsys.readouterr().err)
    assert "can't decode byte 0xe5" in told


@pytest.mark.parametrize("victim", ["x.npy", "s.npz", "s.safetensors"])
def test_damaged_arrays_and_states_of_lstm(tmp_path, capsys, victim):
    fc.LSTM(6, 5, seed=0).save(tmp_path / "w.safetensors")
    x, y, state = tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / (victim if victim[0] == "s" else "s.npz")
    np.save(x, commands.steps(20, 2, 6))

    def run():
        weights = str(tmp_path / "w.safetensors")
        return main(["lstm", str(x), "--weights", weights, "-o", str(y), "--state", str(state)])

    assert run() == 0
    kept = [y] if victim[0] == "s" else [y, state]
    with np.errstate(all="ignore"):
        assert set(outcomes(run, capsys, tmp_path / victim, kept)) == {0, 1}


CLAIMS = "{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976, 6), }"


def test_a_header_that_claims_too_much_allocates_nothing(tmp_path, capsys):
    fc.LSTM(6, 5, seed=0).save(tmp_path / "w.safetensors")
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    text = CLAIMS.ljust(117) + "\n"
    x.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(480))
    tracemalloc.start()
    assert main(["lstm", str(x), "--weights", str(tmp_path / "w.safetensors"), "-o", str(y)]) == 1
    assert tracemalloc.get_traced_memory()[1] < 1e7  # what reading the weights takes
    tracemalloc.stop()
    assert "x.npy: not an array file" in capsys.readouterr().err
    assert not y.exists()
