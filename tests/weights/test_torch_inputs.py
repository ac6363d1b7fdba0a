"""What PyTorch's users hand to an LSTM as x and state: bfloat16 tensors, PackedSequences."""

from typing import Any, NamedTuple

import numpy as np
import pytest

import fastcell as fc
from tests.helpers.imported import CLOSE, B, H, I, T, random, refuses


@pytest.mark.parametrize("batch_first", [True, False])
def test_bfloat16_tensors_as_x_and_state(torch, batch_first):
    lstm = fc.LSTM(I, H, batch_first=batch_first, seed=0)
    x = torch.from_numpy(random(T, B, I)).bfloat16().requires_grad_()
    state = tuple(torch.from_numpy(random(1, x.shape[1 - batch_first], H, seed=k)).bfloat16() for k in (1, 2))
    wide = x.detach().float().numpy()
    wanted, (h, c) = lstm(wide, tuple(each.float().numpy() for each in state))
    out = np.empty_like(wanted)
    for more in ({}, {"out": out}):
        y, last = lstm(x, state, **more)
        for got, value in zip((y, *last), (wanted, h, c), strict=True):
            np.testing.assert_array_equal(got, value, strict=True)
    assert y is out
    trace = lstm.trace(x, state)
    np.testing.assert_array_equal(trace.h, wanted.transpose(1, 0, 2) if batch_first else wanted, strict=True)
    one = x[0] if batch_first else x[:, 0]
    np.testing.assert_array_equal(lstm(one)[0], lstm(one.detach().float().numpy())[0], strict=True)


def test_bfloat16_of_a_cell_and_of_ml_dtypes(torch):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16 of its own")
    lstm = fc.LSTM(I, H, seed=0)
    x = random(B, I).astype(ml_dtypes.bfloat16)
    tensor = torch.from_numpy(x.astype("f4")).bfloat16()
    wanted = lstm.cell()(x.astype("f4"))
    for given in (x, tensor):
        for got, value in zip(lstm.cell()(given), wanted, strict=True):
            np.testing.assert_array_equal(got, value, strict=True)
    np.testing.assert_array_equal(lstm(x)[0], lstm(x.astype("f4"))[0], strict=True)


def test_a_scan_still_takes_no_bfloat16(torch):
    x = torch.zeros(3).bfloat16()
    refuses(lambda: fc.gated_scan(x, x, x, x), TypeError, "x must hold bool, integers, float32 or float64", "bfloat16")
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16 of its own")
    x = np.zeros(3, ml_dtypes.bfloat16)
    refuses(lambda: fc.gated_scan(x, x, x, x), TypeError, "x must hold bool, integers, float32 or float64, got bfl")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [[2, 6, 1, 6], [6, 5, 5, 1], [3]])
def test_a_packed_sequence_gives_torch_s_padded_answer_in_its_order(torch, lengths, batch_first, dtype):
    rnn = torch.nn.utils.rnn
    module = torch.nn.LSTM(I, H, 2, batch_first=batch_first, bidirectional=True)
    rows = [torch.from_numpy(random(n, I, seed=k)).to(getattr(torch, dtype)) for k, n in enumerate(lengths)]
    packed = rnn.pack_sequence(rows, enforce_sorted=lengths == sorted(lengths, reverse=True))
    state = tuple(torch.from_numpy(random(4, len(rows), H, seed=k)) for k in (8, 9))
    with torch.no_grad():
        y, last = module(rnn.PackedSequence(packed.data.float(), *packed[1:]), state)
    wanted, _ = rnn.pad_packed_sequence(y, batch_first)
    lstm = fc.LSTM.from_torch(module)
    got, ours = lstm(packed, state)
    for one, value in zip((got, *ours), (wanted, *last), strict=True):
        assert one.dtype == np.float32
        assert one.shape == tuple(value.shape)
        np.testing.assert_allclose(one, value.numpy(), **CLOSE)
    # The same bits as the padded rows with their lengths, whatever the layout that is asked for.
    x = rnn.pad_sequence([row.float() for row in rows]).numpy()
    y, _ = lstm(x, state, lengths=np.array(lengths), batch_first=False)
    np.testing.assert_array_equal(lstm(packed, state, batch_first=False)[0], y, strict=True)
    np.testing.assert_array_equal(lstm(packed, state, batch_first=True)[0], y.transpose(1, 0, 2), strict=True)
    out = np.empty(y.shape, np.float32)
    assert lstm(packed, state, batch_first=False, out=out)[0] is out
    np.testing.assert_array_equal(out, y, strict=True)
    wanted = lstm.trace(x, state, layer=1, lengths=np.array(lengths), batch_first=False)
    trace = lstm.trace(packed, state, layer=1)
    np.testing.assert_array_equal(trace.c, wanted.c, strict=True)
    np.testing.assert_array_equal(trace.lengths, lengths)


class Packed(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any = None
    unsorted_indices: Any = None


WRONG = [
    (Packed(random(3, I), [2, 2]), "x's batch_sizes must be falling counts of the rows of x's data (N, I), got [2, 2]"),
    (Packed(random(3, I), [1, 2]), "x's batch_sizes must be falling counts"),
    (Packed(random(3, I), [3, 0]), "x's batch_sizes must be falling counts"),
    (Packed(random(3), [2, 1]), "got [2, 1] and shape (3,)"),
    (Packed(random(3, I), [2, 1], None, [0, 0]), "x's unsorted_indices must be an order of its 2 rows, got [0, 0]"),
    (Packed(random(3, I + 1), [2, 1]), f"x must have shape (T, B, I) or (T, I) with I = {I}, got (2, 2, {I + 1})"),
]


@pytest.mark.parametrize(("x", "message"), WRONG)
def test_what_is_no_packed_sequence_is_named(x, message):
    lstm = fc.LSTM(I, H, seed=0)
    refuses(lambda: lstm(x), ValueError, message)


def test_a_packed_sequence_has_its_own_lengths():
    lstm, x = fc.LSTM(I, H, seed=0), Packed(random(3, I), [2, 1])
    refuses(lambda: lstm(x, lengths=[1, 1]), ValueError, "lengths must be None where x is a PackedSequence")
    assert lstm(x, reset=np.zeros((2, 2), bool))[0].shape == (2, 2, H)
