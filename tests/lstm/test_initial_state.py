"""A learned initial state: where no state is given and after a reset, in each way that an LSTM is run."""

import copy
import json
import pickle
import struct

import numpy as np
import pytest

import fastcell as fc
from fastcell import oracle
from tests.helpers.imported import refuses
from tests.helpers.lstms import TOLERANCE, by_oracle, normal

OPTIONS = {
    "plain": {},
    "float64": {"dtype": "float64"},
    "layers": {"num_layers": 3},
    "both directions": {"num_layers": 2, "bidirectional": True},
    "reverse": {"num_layers": 2, "reverse": True},
    "projection": {"num_layers": 2, "proj_size": 3},
    "special": {"num_layers": 2, "peepholes": True, "coupled": True, "clip": 0.7},
}
HIDDEN = (1, 7, 16, 17, 33)


def pair(L, R, H, dtype="float32", seed=5):
    """(h0, c0), numbers that leave no gate as it would be from zero."""
    rng = np.random.default_rng([seed, L, R, H])
    return tuple(rng.normal(0, 0.8, (L, size)).astype(dtype) for size in (R, H))


def made(hidden, **options):
    if options.get("proj_size", 0) >= hidden:
        del options["proj_size"]
    plain = fc.LSTM(4, hidden, seed=1, **options)
    start = pair(plain.num_layers * plain.directions, plain.output_size, hidden, plain.dtype)
    return plain, fc.LSTM(4, hidden, weights=plain.state_dict(), initial_state=start, **options), start


def over(start, B):
    """A state for B rows."""
    return tuple(np.repeat(part[:, None], B, 1) for part in start)


def same(got, wanted):
    for one, other in zip((got[0], *got[1]), (wanted[0], *wanted[1]), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_call_without_a_state_starts_from_it(case, hidden):
    plain, lstm, start = made(hidden, **OPTIONS[case])
    for T, B in ((5, 1), (4, 3), (3, 13), (0, 2), (2, 0)):
        x = normal((T, B, 4), plain.dtype)
        same(lstm(x), plain(x, over(start, B)))
        lengths = np.arange(B) % (T + 1)
        same(lstm(x, lengths=lengths), plain(x, over(start, B), lengths=lengths))
        same(lstm(x, threads=2), plain(x, over(start, B)))
    x = normal((5, 4), plain.dtype)
    same(lstm(x), plain(x, start))
    x = normal((3, 5, 4), plain.dtype)
    same(lstm(x, batch_first=True), plain(x, over(start, 3), batch_first=True))
    out = np.empty((3, 5, plain.directions * plain.output_size), plain.dtype)
    same(lstm(x, out=out), plain(x, over(start, 5)))


def test_a_state_that_is_given_takes_its_place():
    plain, lstm, _ = made(17, num_layers=2)
    x, state = normal((4, 3, 4)), (normal((2, 3, 17)), normal((2, 3, 17), seed=3))
    same(lstm(x, state), plain(x, state))
    zero = np.zeros((2, 3, 17), "f4")
    same(lstm(x, (zero, zero)), plain(x))


@pytest.mark.parametrize("case", [name for name in OPTIONS if name not in ("both directions", "reverse")])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_reset_goes_back_to_it(case, hidden):
    plain, lstm, start = made(hidden, **OPTIONS[case])
    for B in (1, 3, 13):
        x = normal((7, B, 4), plain.dtype)
        x[:2] = np.nan  # what a reset forgets, whatever it was
        x[:2, B // 2 :] = np.inf
        reset = np.zeros((7, B), bool)
        reset[2] = True
        got = lstm(x, reset=reset)
        cut = lstm(x[2:])
        np.testing.assert_array_equal(got[0][2:], cut[0], strict=True)
        same(cut, plain(x[2:], over(start, B)))
        same((got[0][2:], got[1]), cut)
        reset[4, ::2] = reset[5, 1::3] = True
        zero = tuple(np.zeros_like(part) for part in over(start, B))
        y, state = lstm(x[:4], zero, reset=reset[:4])
        for t in range(4, 7):
            state = tuple(
                np.where(reset[t][None, :, None], first, part)
                for first, part in zip(over(start, B), state, strict=True)
            )
            stepped, state = plain(x[t : t + 1], state)
            y = np.concatenate([y, stepped])
        same(lstm(x, zero, reset=reset), (y, state))


@pytest.mark.parametrize("case", OPTIONS)
def test_the_oracle_starts_from_it_too(case):
    plain, lstm, start = made(5, **OPTIONS[case])
    x = normal((4, 3, 4), plain.dtype)
    lists = [part.astype(float).tolist() for part in start]
    backwards = plain.bidirectional or plain.reverse
    reset = None if backwards else np.arange(12).reshape(4, 3) % 5 == 3
    weights = {name: a.astype(float).tolist() for name, a in plain.state_dict().items()}
    told = {"reverse": plain.reverse, "coupled": plain.coupled, "clip": plain.clip}
    y, (h, c) = oracle.lstm(
        x.astype(float).tolist(), weights, initial_state=lists, lengths=[4, 2, 0], reset=reset, **told
    )
    got = lstm(x, lengths=[4, 2, 0], reset=reset)
    for one, other in zip((got[0], *got[1]), (y, h, c), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[plain.dtype.name])
    if reset is None:
        wanted = by_oracle(plain, x, over(start, 3), lengths=[4, 2, 0])
        for one, other in zip((y, h, c), wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_torch_s_learned_state_expanded_over_the_batch(torch):
    torch.manual_seed(0)
    module = torch.nn.LSTM(4, 6, 2, bidirectional=True)
    start = pair(4, 6, 6)
    lstm = fc.LSTM(4, 6, 2, bidirectional=True, weights=fc.LSTM.from_torch(module).state_dict(), initial_state=start)
    x = normal((5, 3, 4))
    with torch.no_grad():
        h0, c0 = (torch.from_numpy(part)[:, None].expand(-1, 3, -1).contiguous() for part in start)
        y, (h, c) = module(torch.from_numpy(x), (h0, c0))
    for one, other in zip((lstm(x)[0], *lstm(x)[1]), (y, h, c), strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=TOLERANCE["float32"])


@pytest.mark.parametrize("case", OPTIONS)
def test_a_trace_starts_from_it(case):
    plain, lstm, start = made(5, **OPTIONS[case])
    x = normal((4, 3, 4), plain.dtype)
    reset = None if plain.bidirectional or plain.reverse else np.arange(12).reshape(4, 3) % 5 == 3
    for layer in range(plain.num_layers):
        for direction in range(plain.directions):
            at = {"layer": layer, "direction": direction}
            options = at | {"lengths": [4, 1, 3]}
            for got, wanted in zip(lstm.trace(x, **options), plain.trace(x, over(start, 3), **options), strict=True):
                np.testing.assert_array_equal(got, wanted, strict=True)
            trace = lstm.trace(x, reset=reset, **at)
            if layer == plain.num_layers - 1:
                part = slice(direction * plain.output_size, (direction + 1) * plain.output_size)
                np.testing.assert_array_equal(trace.h, lstm(x, reset=reset)[0][..., part], strict=True)
    one = lstm.trace(x[:, 0])
    np.testing.assert_array_equal(one.h, lstm.trace(x).h[:, 0], strict=True)


@pytest.mark.parametrize("case", OPTIONS)
def test_a_cell_starts_from_it(case):
    plain, lstm, start = made(5, **OPTIONS[case])
    for layer in range(plain.num_layers):
        for direction in range(plain.directions):
            cell = lstm.cell(layer, direction)
            h0, c0 = (part[layer * plain.directions + direction] for part in start)
            x = normal((3, cell.input_size), plain.dtype)
            wanted = plain.cell(layer, direction)(x, (np.repeat(h0[None], 3, 0), np.repeat(c0[None], 3, 0)))
            alone = fc.LSTMCell(
                cell.input_size, 5, weights=cell.state_dict(), initial_state=(h0, c0), proj_size=plain.proj_size,
                peepholes=plain.peepholes, coupled=plain.coupled, clip=plain.clip, dtype=plain.dtype,
            )  # fmt: skip
            for each in (cell, alone, copy.deepcopy(cell), pickle.loads(pickle.dumps(alone))):
                for got, one in zip(each(x), wanted, strict=True):
                    np.testing.assert_array_equal(got, one, strict=True)
                for got, one in zip(each(x[0]), wanted, strict=True):
                    np.testing.assert_array_equal(got, one[0], strict=True)
                for got, one in zip(each.initial_state, (h0, c0), strict=True):
                    np.testing.assert_array_equal(got, one, strict=True)
            assert repr(alone) == repr(plain.cell(layer, direction))
    assert plain.cell().initial_state is None


def test_chunks_of_dask_start_from_it():
    da = pytest.importorskip("dask.array", reason="fastcell.dask needs Dask")
    for options in ({"num_layers": 2}, {"reverse": True}, {"bidirectional": True}, {"proj_size": 3}):
        plain, lstm, start = made(5, **options)
        x = normal((7, 5, 4))
        steps = 7 if plain.bidirectional else 3
        lazy = da.from_array(x, chunks=(steps, 2, 4))
        for lengths in (None, np.array([7, 0, 3, 4, 1])):
            y, (h, c) = fc.dask.lstm(lstm, lazy, lengths=lengths)
            same((y.compute(), (h.compute(), c.compute())), plain(x, over(start, 5), lengths=lengths))
        other = fc.LSTM(4, 5, weights=plain.state_dict(), initial_state=pair(len(start[0]), *(
            part.shape[1] for part in start), seed=9), **options)  # fmt: skip
        names = {fc.dask.lstm(each, lazy)[0].name for each in (plain, lstm, other)}
        assert len(names) == 3  # Dask takes arrays of one name for the same


@pytest.mark.parametrize("case", OPTIONS)
def test_it_is_copied_pickled_saved_and_loaded(case, tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors")
    plain, lstm, start = made(5, **OPTIONS[case])
    x = normal((4, 3, 4), plain.dtype)
    lstm.save(tmp_path / "a")
    for other in (copy.copy(lstm), copy.deepcopy(lstm), pickle.loads(pickle.dumps(lstm)), fc.LSTM.load(tmp_path / "a")):
        same(other(x), lstm(x))
        for got, wanted in zip(other.initial_state, start, strict=True):
            np.testing.assert_array_equal(got, wanted, strict=True)
    assert repr(lstm) == repr(plain)
    assert list(lstm.state_dict()) == list(plain.state_dict())
    assert plain.initial_state is None
    lstm.initial_state[0][...] = 7  # a copy
    start[0][...] = 9
    assert lstm.initial_state[0].max() < 7


def changed(path, change):
    """Rewrite a saved file's configuration, and make its checksum fit."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    from fastcell.weights import safetensors

    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        configuration = file.metadata()["fastcell"].partition(" ")[2]
    configuration = json.dumps(change(json.loads(configuration)))
    checksum = safetensors._checksum(configuration, arrays)
    save_file(arrays, path, {"fastcell": f"{checksum} {configuration}"})


def test_files_without_it_are_as_they_were(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors")
    lstm = fc.LSTM(4, 5, seed=0)
    lstm.save(tmp_path / "a")
    with open(tmp_path / "a", "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    assert sorted(header) == ["__metadata__", *sorted(lstm.state_dict())]
    names = json.loads(header["__metadata__"]["fastcell"].partition(" ")[2])
    assert "initial_state" not in names  # what an older fastcell reads, too
    assert fc.LSTM.load(tmp_path / "a").initial_state is None


def test_what_newer_versions_add_is_read_where_it_is_not_used(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors")
    lstm = fc.LSTM(4, 5, seed=0)
    lstm.save(tmp_path / "a")
    changed(tmp_path / "a", lambda given: given | {"later": None, "another": False})
    same(fc.LSTM.load(tmp_path / "a")(np.ones((3, 2, 4))), lstm(np.ones((3, 2, 4))))
    changed(tmp_path / "a", lambda given: given | {"later": "yes"})
    told = "has options that this version of fastcell doesn't know: later"
    refuses(lambda: fc.LSTM.load(tmp_path / "a"), ValueError, told)
    changed(tmp_path / "a", lambda given: {k: v for k, v in given.items() if k not in ("later", "clip")})
    refuses(lambda: fc.LSTM.load(tmp_path / "a"), ValueError, "must have a configuration that fits", "clip")


def test_half_of_it_in_a_file_is_an_error(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors")
    _, lstm, _ = made(5)
    lstm.save(tmp_path / "a")
    from fastcell.weights import safetensors

    with safetensors._opened(tmp_path / "a", "load") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        configuration = file.metadata()["fastcell"].partition(" ")[2]
    assert set(arrays) == {*lstm.state_dict(), "initial_h", "initial_c"}
    del arrays["initial_c"]
    told = {"fastcell": f"{safetensors._checksum(configuration, arrays)} {configuration}"}
    safetensors._library("save").numpy.save_file(arrays, tmp_path / "a", told)
    refuses(lambda: fc.LSTM.load(tmp_path / "a"), ValueError, "initial_h and initial_c")


def test_an_lstm_pickled_before_there_was_one():
    plain, _, _ = made(5)
    state = plain.__getstate__()
    assert not any("initial" in name for name in state)
    old = fc.LSTM.__new__(fc.LSTM)
    old.__setstate__(state)
    x = normal((3, 2, 4))
    same(old(x), plain(x))
    assert old.initial_state is None


def test_what_does_not_fit_is_named():
    h0, c0 = pair(2, 5, 5)

    def build(start, **options):
        return lambda: fc.LSTM(4, 5, 2, seed=0, initial_state=start, **options)

    refuses(build(h0), ValueError, "initial_state must be a pair (h0, c0), got ndarray")
    refuses(build((h0,)), ValueError, "initial_state must be a pair (h0, c0), got tuple of 1")
    refuses(build((h0[0], c0)), ValueError, "initial_state's h0 must have shape (L*D, H) = (2, 5), got (5,)")
    refuses(build((h0, c0[:, :4])), ValueError, "initial_state's c0 must have shape (L*D, H) = (2, 5), got (2, 4)")
    refuses(build((h0, c0), proj_size=3), ValueError, "initial_state's h0 must have shape (L*D, P) = (2, 3)")
    refuses(build((h0, c0), bidirectional=True), ValueError, "h0 must have shape (L*D, H) = (4, 5), got (2, 5)")
    refuses(build((h0, c0.astype("c8"))), TypeError, "initial_state's c0 must hold real numbers, got complex64")
    refuses(
        lambda: fc.LSTMCell(4, 5, seed=0, initial_state=(h0, c0)), ValueError,
        "initial_state's h0 must have shape (H,) = (5,), got (2, 5)",
    )  # fmt: skip
    refuses(lambda: fc.LSTMCell(4, 5, seed=0, initial_state=3), ValueError, "must be a pair (h0, c0), got int")


def test_no_units_or_no_steps():
    lstm = fc.LSTM(4, 0, seed=0, initial_state=(np.zeros((1, 0)), np.zeros((1, 0))))
    assert lstm(np.ones((3, 2, 4)))[0].shape == (3, 2, 0)
    _, lstm, start = made(5)
    y, state = lstm(np.ones((0, 3, 4)))
    same((y, state), (np.zeros((0, 3, 5), "f4"), over(start, 3)))


def test_the_command_line_starts_from_it(tmp_path):
    pytest.importorskip("safetensors", reason="files need safetensors")
    pytest.importorskip("tqdm", reason="the command needs tqdm")
    from fastcell.__main__ import main

    x = normal((7, 3, 4))
    np.save(tmp_path / "x.npy", x)
    for options in ({"num_layers": 2}, {"bidirectional": True}):
        plain, lstm, start = made(5, **options)
        lstm.save(tmp_path / "w.safetensors")
        main(["lstm", str(tmp_path / "x.npy"), "--weights", str(tmp_path / "w.safetensors"), "-o",
              str(tmp_path / "y.npy")])  # fmt: skip
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), plain(x, over(start, 3))[0], strict=True)
    plain, lstm, start = made(5)
    lstm.save(tmp_path / "w.safetensors")
    y, state = plain(x, over(start, 3))
    for wanted in (y, plain(x[:2], state)[0]):
        main(["lstm", str(tmp_path / "x.npy"), "--weights", str(tmp_path / "w.safetensors"), "-o",
              str(tmp_path / "y.npy"), "--state", str(tmp_path / "s.npz")])  # fmt: skip
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), wanted, strict=True)
        np.save(tmp_path / "x.npy", x[:2])  # tomorrow's input goes on from the state
