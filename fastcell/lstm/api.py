"""The LSTM forward pass: check, allocate, run, return."""

from typing import Any

import numpy as np

from fastcell import _checks, _nulls
from fastcell._checks import Array
from fastcell.lstm import driver, packed_sequence, sharing
from fastcell.lstm.cell import LSTMCell
from fastcell.lstm.config import STANDARD
from fastcell.lstm.layers import Layers
from fastcell.lstm.packing import CellParams
from fastcell.lstm.rows import ALL, Rows, of_keys, of_lengths, of_mask

GATE_ORDER = "ifgo"
"""Gates stand in this order in every weight (PyTorch's)."""


class LSTM(Layers):
    """A long short-term memory: layers, directions, projection, peepholes, on NumPy arrays.

    ``c_t = f_t * c_{t-1} + i_t * g_t``, ``h_t = o_t * tanh(c_t)``, each gate ``sigmoid(W x_t + R h_{t-1} + b)``,
    g with tanh; shapes, names and orders are those of torch.nn.LSTM.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and L.
    bias : bool
        Whether gates have biases: ``bias_ih_l0`` and ``bias_hh_l0``, of which either may be left out.
    bidirectional : bool
        A second direction that runs from each row's end; y has both side by side.
    proj_size : int
        P, the size of a projected h; 0 for none.
    reverse : bool
        One direction, from each row's end.
    peepholes : bool
        Gates i and f see c_{t-1}, o sees c_t: ``weight_peephole_l0``, (3*H,), in the order i, f, o.
    coupled : bool
        ``f = 1 - i``; the forget gate's weights are ignored.
    clip : float, optional
        Gates' pre-activations are clamped to [-clip, clip], after bias and peephole.
    activations : tuple
        Of the gates i, f, o, of g, and of c before the output; for two directions 3 or 6. A name, or (name, alpha)
        or (name, alpha, beta): sigmoid, tanh, relu, hard_sigmoid, softsign, leaky_relu, elu, softplus, affine,
        threshold, scaled_tanh, identity.
    dtype : "float32" or "float64"
    batch_first : bool
        Whether x and y are (B, T, ...) where a call doesn't say.
    precision : "float32", "float64", "bfloat16" or "int8", optional
        Of the products: weights and the values that they multiply are rounded to it, sums are float32. By default the
        dtype's; "int8" where weights are integers. x, y, h, c and biases keep the dtype, float32 for the last two.
    initial_state : (h0, c0), optional
        (L*D, H or P) and (L*D, H): what every row starts from where no state is given, and after a reset. Zeros if not
        given.
    weights : dict of arrays, optional
        ``weight_ih_l0`` (4*H, I), ``weight_hh_l0`` (4*H, H or P), ``bias_ih_l0``, ``bias_hh_l0`` (4*H,),
        ``weight_hr_l0`` (P, H), ``..._l0_reverse``, ``..._l1`` with I = D*H or D*P; gates in the order i, f, g, o.
        Without, uniform in +-1/sqrt(H).
    seed : int, optional
        Of the weights that are drawn.

    Raises
    ------
    ValueError
        A size or shape that doesn't fit, a weight missing or unknown, an unknown activation.
    TypeError
        A dtype that is not one of those above.
    MemoryError
        Weights that would not fit the memory that is free; nothing is allocated.

    Notes
    -----
    Each gate is one chain of fma in a fixed order, so a row's answer has the same bits whatever the batch around it,
    the threads, and the calls it is cut into. Weights are packed once, here. A stack of bidirectional layers needs an
    array of y's size beside y; other scratch is under 2 MiB a thread.

    Sources: Hochreiter & Schmidhuber (1997), Long short-term memory; Gers, Schmidhuber & Cummins (2000) for the
    forget gate; Gers & Schmidhuber (2000) for peepholes; Sak, Senior & Beaufays (2014) for the projection.

    Examples
    --------
    >>> import numpy as np
    >>> import fastcell as fc
    >>> lstm = fc.LSTM(3, 5, seed=0)
    >>> x = np.ones((7, 2, 3), np.float32)  # (T, B, I)
    >>> y, (h, c) = lstm(x)
    >>> y.shape, h.shape, c.shape
    ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    >>> first, state = lstm(x[:4])
    >>> bool((lstm(x[4:], state)[0] == y[4:]).all())
    True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        bidirectional: bool = False,
        proj_size: int = 0,
        reverse: bool = False,
        peepholes: bool = False,
        coupled: bool = False,
        clip: float | None = None,
        activations: tuple[Any, ...] = STANDARD,
        dtype: Any = "float32",
        batch_first: bool = False,
        precision: str | None = None,
        initial_state: Any = None,
        weights: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias=bias, bidirectional=bidirectional, proj_size=proj_size,
            reverse=reverse, peepholes=peepholes, coupled=coupled, clip=clip, activations=activations, dtype=dtype,
            batch_first=batch_first, precision=precision, initial_state=initial_state, weights=weights, seed=seed,
        )  # fmt: skip

    def cell(self, layer: int = 0, direction: int = 0) -> LSTMCell:
        """One layer in one direction, to be stepped; it shares the weights.

        Examples
        --------
        >>> LSTM(3, 5, num_layers=2, seed=0).cell(layer=1)
        LSTMCell(5, 5, dtype='float32')
        """
        for name, given, count in (("layer", layer, self.num_layers), ("direction", direction, self.directions)):
            if not 0 <= _checks.size(name, given, 0) < count:
                raise ValueError(f"{name} must be below {count}, got {given}")
        return LSTMCell._of(self, layer, direction)

    @property
    def params(self) -> tuple[CellParams, ...]:
        """The packed weights of all layers, for `lstm_step` with states (L, B, H); of one direction, forward, alone."""
        if self.bidirectional or self.reverse:
            raise ValueError("params must be of an LSTM that runs forward alone: the other direction begins at the end")
        return tuple(packed.params for packed in self.packed)

    def __repr__(self) -> str:
        kind = f"dtype={self.dtype.name!r}" + self._told_precision()
        return f"LSTM({self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, {kind})"

    def __call__(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        keys: Any = None,
        reset: Any = None,
        batch_first: bool | None = None,
        nulls: str = "raise",
        out: Any = None,
        threads: int | None = None,
    ) -> tuple[Array, tuple[Array, Array]]:
        """Run the LSTM over whole sequences.

        Of `lengths`, `mask` and `keys`, which say what steps a row has, one at the most is given.

        Parameters
        ----------
        x : (T, B, I), (B, T, I) with batch_first, or (T, I) for one row
            Any real dtype, bfloat16 too; converted to the LSTM's. Or PyTorch's PackedSequence, which has its lengths:
            y is then padded, as pad_packed_sequence makes it; its rows and the state's are ordered as before packing.
        state : (h, c), optional
            (L*D, B, H or P) and (L*D, B, H), without B for one row; `initial_state` if not given.
        lengths : (B,) integers, optional
            Steps of each row, in any order, 0 to T. y is 0 after a row's end; its final state is that at its end (at
            length 0, its initial state); the other direction starts there.
        mask : (T, B) of bool, or (B, T) with batch_first, optional
            A step where it is false does not exist for its row: the state is carried over it and y is 0 there. Both
            directions, gaps and padding on the left.
        keys : (T,) integers, optional
            x is (T, I), one event a row, of K streams with a memory each: events of key k run as one sequence, in the
            order in which they stand, which nothing can check. state is (L, K, ...), K its own or the largest key + 1;
            y (T, H or P). Forward alone. Names are numbered by ``numpy.unique(keys, return_inverse=True)[1]``.
        reset : (T, B) of bool, or (B, T) with batch_first, optional
            Where true, the row's state is set to `initial_state` (zeros without one) before the step. One direction,
            forward, alone.
        batch_first : bool, optional
            Whether x and y are (B, T, ...); the LSTM's own if not given.
        nulls : "raise" or "keep"
            What a masked element of x is, where it is a numpy.ma.MaskedArray: an error that names it, or 0, as a null
            in `fastcell.frames.lstm`. y is a masked array then, of which nothing is masked. Other arguments must have
            no masked elements. To leave steps out, see `mask`.
        out : array, optional
            y is written here; the LSTM's dtype, y's shape, sharing no memory with x or state, and without a mask.
        threads : int, optional
            Rows are shared out among so many, hidden units where rows are few (but not with a projection); by default,
            large work goes to all cores, as in `toy_scan`.

        Returns
        -------
        y : (T, B, D*H or D*P), or as x
        (h, c)
            The final state, shaped as `state`.

        Raises
        ------
        ValueError
            A shape or value that doesn't fit; nothing is written.
        TypeError
            A dtype that doesn't fit.
        MemoryError
            y or the state would not fit the memory that is free.
        """
        if nulls != "raise":
            _nulls.checked(nulls)
        first = self.batch_first if batch_first is None else _checks.flag("batch_first", batch_first)
        if lengths is mask is keys is reset is out is None and (
            threads is None or (type(threads) is int and threads == 1)
        ):
            small = self._small.run(x, state, first)
            if small is not None:
                return small
        if packed_sequence.is_packed(x):
            x, lengths = packed_sequence.padded(x, lengths, first)
        given = x
        (x,) = _nulls.filled({"x": x}, nulls)
        x = _checks.array("x", x, _checks.NUMBERS)
        unbatched = x.ndim == 2
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size or (keys is not None and not unbatched):
            expected = "" if keys is not None else "(B, T, I) or " if first else "(T, B, I) or "
            raise ValueError(f"x must have shape {expected}(T, I) with I = {self.input_size}, got {x.shape}")
        first = first and not unbatched
        x = x[:, None] if unbatched else x.transpose(1, 0, 2) if first else x
        T, B, _ = x.shape
        copied = x.dtype != self.dtype or (x.shape[2] > 1 and x.strides[2] != x.itemsize)
        driver.check_call(self, T, B, copied, out is None)
        flags = None if reset is None else self._flags("reset", reset, T, B, first, unbatched)
        if flags is not None and (self.bidirectional or self.reverse):
            raise ValueError("reset must be None where a direction runs backwards")
        there = None if mask is None else self._flags("mask", mask, T, B, first, unbatched).astype(bool)
        rows, K = self._rows(x, state, lengths, there, keys)
        carried = self._state(state, K, unbatched and keys is None)
        if copied:
            x = np.ascontiguousarray(x, self.dtype)
        width = self.directions * self.output_size
        shape: tuple[int, ...] = (T, width) if unbatched else (B, T, width) if first else (T, B, width)
        plan = sharing.plan(self.packed, threads, K, T * B)
        if out is not None:
            h0, c0 = (None, None) if state is None else state
            inputs = {"x": given, "state": h0, "the state's c": c0, "lengths": lengths, "mask": mask, "keys": keys}
            inputs["reset"] = reset
            _checks.output(out, shape, self.dtype, inputs)
        result = out if out is not None and out.strides[-1] == out.itemsize else np.empty(shape, self.dtype)
        y = result[:, None] if unbatched else result.transpose(1, 0, 2) if first else result
        if K and self.hidden_size:
            each = y
            if keys is not None:  # every key's row is the whole, of which it has its own steps
                x, each, flags = (None if part is None else _repeated(part, K) for part in (x, y, flags))
            driver.run(self, self.packed, x, each, carried, state is not None, rows, flags, plan)
        if there is not None:
            y[~there] = 0
        if out is not None and result is not out:
            out[...] = result
            result = out
        if out is None:
            result = _nulls.as_given(result, given)
        h, c = carried
        return result, (h[:, 0], c[:, 0]) if unbatched and keys is None else carried

    def _rows(self, x: Array, state: Any, lengths: Any, there: Array | None, keys: Any) -> tuple[Rows, int]:
        """Which steps of x, (T, B, I), each row has, and how many rows there are."""
        T, B, _ = x.shape
        if lengths is None and there is None and keys is None:
            return ALL, B
        given = [name for name, part in (("lengths", lengths), ("mask", there), ("keys", keys)) if part is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]} must be None where {given[0]} is given: one says which steps a row has")
        if lengths is not None:
            return of_lengths(lengths, T, B), B
        if there is not None:
            return of_mask(there), B
        if self.bidirectional or self.reverse:
            raise ValueError("keys must be None where a direction runs backwards")
        known = None
        if isinstance(state, tuple | list) and len(state) == 2:
            h = _checks.array("state's h", state[0], _checks.NUMBERS)
            if h.ndim != 3:
                raise ValueError(f"state's h must have shape (L, K, {'P' if self.proj_size else 'H'}), got {h.shape}")
            known = h.shape[1]
        each = self.num_layers * (self.output_size + self.hidden_size)
        codes, K = _checks.keys(keys, "x without I", T, known, each, max(x.size, T * each))
        driver.check_call(self, 0, K, False, False)
        return of_keys(codes, K), K

    def _state(self, state: Any, B: int, unbatched: bool) -> tuple[Array, Array]:
        """New arrays, (L*D, B, ...), with the state that is given; for None to be written alone."""
        L = len(self.packed)
        if state is None:
            return np.empty((L, B, self.output_size), self.dtype), np.empty((L, B, self.hidden_size), self.dtype)
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise ValueError(f"state must be a pair (h, c), got {type(state).__name__}")
        h = self._part("state's h", state[0], L, B, self.output_size, unbatched)
        return h, self._part("state's c", state[1], L, B, self.hidden_size, unbatched)

    def _part(self, name: str, given: Any, L: int, B: int, size: int, unbatched: bool) -> Array:
        """A copy of h or c, (L, B, size), held to its shape."""
        shape = (L, size) if unbatched else (L, B, size)
        if type(given) is np.ndarray and given.dtype == self.dtype and given.shape == shape:  # a third of the time
            return np.array(given, order="C").reshape(L, B, size)
        array = _checks.array(name, given, _checks.NUMBERS)
        if array.shape != shape:
            letters = f"(L*D, {'' if unbatched else 'B, '}{'P' if self.proj_size and name.endswith('h') else 'H'})"
            raise ValueError(f"{name} must have shape {letters} = {shape}, got {array.shape}")
        return np.array(array, self.dtype, order="C").reshape(L, B, size)

    def _flags(self, name: str, given: Any, T: int, B: int, first: bool, unbatched: bool) -> Array:
        """Flags of each step and row as (T, B) bytes."""
        flags = _checks.flags(name, given)
        shape, letters = ((T,), "(T,)") if unbatched else ((B, T), "(B, T)") if first else ((T, B), "(T, B)")
        if flags.shape != shape:
            raise ValueError(f"{name} must have shape {letters} = {shape}, got {flags.shape}")
        return flags[:, None] if unbatched else flags.T if first else flags


def _repeated(array: Array, rows: int) -> Array:
    """(T, 1, ...) as (T, rows, ...), each row the same memory."""
    shape, strides = (array.shape[0], rows, *array.shape[2:]), (array.strides[0], 0, *array.strides[2:])
    return np.lib.stride_tricks.as_strided(array, shape, strides)
