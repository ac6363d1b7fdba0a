"""The LSTM forward pass: check, allocate, run, return."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcell import _checks, _threads
from fastcell._checks import Array
from fastcell.lstm import driver, packed_sequence
from fastcell.lstm.cell import CellParams, LSTMCell
from fastcell.simd.activations import KNOWN
from fastcell.weights import Importers

if TYPE_CHECKING:
    from fastcell.trace.api import Trace

GATE_ORDER = "ifgo"
"""Gates stand in this order in every weight (PyTorch's)."""

_STANDARD = ("sigmoid", "tanh", "tanh")
_ENOUGH = 1 << 22  # multiplications from which a call goes to several threads


class LSTM(Importers):
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
    the threads, and the calls it is cut into. Weights are packed once, here.

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

    _initial_state: tuple[Array, Array] | None = None  # the class has it for what was pickled without

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
        activations: tuple[Any, ...] = _STANDARD,
        dtype: Any = "float32",
        batch_first: bool = False,
        initial_state: Any = None,
        weights: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        self.input_size = _checks.size("input_size", input_size, 0)
        self.hidden_size = _checks.size("hidden_size", hidden_size, 0)
        self.num_layers = _checks.size("num_layers", num_layers, 1)
        self.proj_size = _checks.size("proj_size", proj_size, 0)
        if self.proj_size >= max(self.hidden_size, 1):
            raise ValueError(f"proj_size must be below hidden_size {self.hidden_size}, got {proj_size}")
        if bidirectional and reverse:
            raise ValueError("reverse must be False where bidirectional is True, which has both directions")
        if clip is not None and not isinstance(clip, int | float | np.number):
            raise TypeError(f"clip must be a number or None, got {type(clip).__name__}")
        if clip is not None and not 0 < clip < math.inf:
            raise ValueError(f"clip must be a finite number above 0, or None, got {clip!r}")
        self.bias, self.bidirectional, self.reverse = bool(bias), bool(bidirectional), bool(reverse)
        self.peepholes, self.coupled = bool(peepholes), bool(coupled)
        self.clip = None if clip is None else float(clip)
        self.dtype, self.batch_first = _checks.real_dtype(dtype), bool(batch_first)
        self.directions = 2 if bidirectional else 1
        if not isinstance(activations, tuple | list):
            raise TypeError(f"activations must be a tuple, got {type(activations).__name__}")
        self.activations = tuple(activations)
        _activation_codes(self.activations, self.directions)
        self.output_size = self.proj_size or self.hidden_size
        if isinstance(weights, Mapping) and self.num_layers > max(len(weights), 1):
            raise ValueError(f"num_layers must be at most the number of weights, {len(weights)}, got {num_layers}")
        driver.check_weights(self)
        shapes = self._shapes()
        self._weights = self._draw(shapes, seed) if weights is None else self._take(shapes, weights)
        if initial_state is not None:
            L, letter = self.num_layers * self.directions, "P" if self.proj_size else "H"
            shapes_of = (L, self.output_size), (L, self.hidden_size)
            self._initial_state = _initial(initial_state, shapes_of, (f"(L*D, {letter})", "(L*D, H)"), self.dtype)
        self.packed = self._pack()

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weights, which are addresses in this process."""
        return _checks.attributes_without(super().__getstate__(), "packed")

    def __setstate__(self, state: dict[str, Any]) -> None:
        _checks.set_attributes(self, state)
        self.packed = self._pack()

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
    def initial_state(self) -> tuple[Array, Array] | None:
        """Copies of (h0, c0), or None for zeros."""
        return None if self._initial_state is None else (self._initial_state[0].copy(), self._initial_state[1].copy())

    @property
    def params(self) -> tuple[CellParams, ...]:
        """The packed weights of all layers, for `lstm_step` with states (L, B, H); of one direction, forward, alone."""
        if self.bidirectional or self.reverse:
            raise ValueError("params must be of an LSTM that runs forward alone: the other direction begins at the end")
        return tuple(packed.params for packed in self.packed)

    def state_dict(self) -> dict[str, Array]:
        """Copies of the weights under torch.nn.LSTM's names."""
        return {name: array.copy() for name, array in self._weights.items()}

    def __repr__(self) -> str:
        return f"LSTM({self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, dtype={self.dtype.name!r})"

    # ---- weights -----------------------------------------------------------------------------------

    def _shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Every weight's shape, in numbers and in letters."""
        H, P, R = self.hidden_size, self.proj_size, self.output_size
        letters = "P" if P else "H"
        shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        for layer in range(self.num_layers):
            inputs, word = (self.input_size, "I") if layer == 0 else (self.directions * R, f"D*{letters}")
            for direction in range(self.directions):
                end = driver.suffix(layer, direction)
                shapes["weight_ih" + end] = (4 * H, inputs), f"(4*H, {word})"
                shapes["weight_hh" + end] = (4 * H, R), f"(4*H, {letters})"
                if self.bias:
                    shapes["bias_ih" + end] = shapes["bias_hh" + end] = (4 * H,), "(4*H,)"
                if P:
                    shapes["weight_hr" + end] = (P, H), "(P, H)"
                if self.peepholes:
                    shapes["weight_peephole" + end] = (3 * H,), "(3*H,)"
        return shapes

    def _draw(self, shapes: dict[str, Any], seed: int | None) -> dict[str, Array]:
        try:
            random, bound = np.random.default_rng(seed), 1 / math.sqrt(max(self.hidden_size, 1))
        except (TypeError, ValueError) as error:
            raise type(error)(f"seed must be an integer of 0 or more, or None, got {seed!r}") from None
        return {name: random.uniform(-bound, bound, shape).astype(self.dtype) for name, (shape, _) in shapes.items()}

    def _pack(self) -> list[driver.Layer]:
        codes, layers = _activation_codes(self.activations, self.directions), range(self.num_layers)
        return [
            driver.pack(self, self._weights, layer, d, codes[d]) for layer in layers for d in range(self.directions)
        ]

    def _take(self, shapes: dict[str, Any], weights: dict[str, Any]) -> dict[str, Array]:
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights must be a dict of arrays, got {type(weights).__name__}")
        unknown = sorted(str(name) for name in set(weights) - set(shapes))
        if unknown:
            raise ValueError(f"weights must be named {', '.join(shapes)}, got {', '.join(unknown)}")
        taken = {}
        for name, (shape, letters) in shapes.items():
            if name not in weights:
                if name.startswith("bias"):
                    continue
                raise ValueError(f"weights must hold {name} of shape {letters} = {shape}, got {', '.join(weights)}")
            array = _checks.array(name, weights[name], _checks.NUMBERS)
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {letters} = {shape}, got {array.shape}")
            taken[name] = np.array(array, self.dtype, order="C")
        return taken

    # ---- the call ----------------------------------------------------------------------------------

    def __call__(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        reset: Any = None,
        batch_first: bool | None = None,
        out: Any = None,
        threads: int | None = None,
    ) -> tuple[Array, tuple[Array, Array]]:
        """Run the LSTM over whole sequences.

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
        reset : (T, B) of bool, or (B, T) with batch_first, optional
            Where true, the row's state is set to `initial_state` (zeros without one) before the step. One direction,
            forward, alone.
        batch_first : bool, optional
            Whether x and y are (B, T, ...); the LSTM's own if not given.
        out : array, optional
            y is written here; the LSTM's dtype, y's shape, sharing no memory with x or state.
        threads : int, optional
            Rows are shared out among so many; by default, large work goes to all cores, as in `toy_scan`.

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
        first = self.batch_first if batch_first is None else bool(batch_first)
        if packed_sequence.is_packed(x):
            x, lengths = packed_sequence.padded(x, lengths, first)
        given = x
        x = _checks.array("x", x, _checks.NUMBERS)
        unbatched = x.ndim == 2
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            expected = "(B, T, I)" if first else "(T, B, I)"
            raise ValueError(f"x must have shape {expected} or (T, I) with I = {self.input_size}, got {x.shape}")
        if unbatched:
            x = x[:, None]
        elif first:
            x = x.transpose(1, 0, 2)
        T, B, _ = x.shape
        copied = x.dtype != self.dtype or (x.shape[2] > 1 and x.strides[2] != x.itemsize)
        driver.check_call(self, T, B, copied, out is None)
        if copied:
            x = np.ascontiguousarray(x, self.dtype)
        carried = self._state(state, B, unbatched)
        order, ends = (None, None) if lengths is None else _order(lengths, T, B)
        flags = None if reset is None else self._reset(reset, T, B, first and not unbatched, unbatched)
        width = self.directions * self.output_size
        shape: tuple[int, ...] = (T, width) if unbatched else (B, T, width) if first else (T, B, width)
        count = _threads.choose(threads, x.size * self.hidden_size if B > 1 else 0, _ENOUGH)
        if out is not None:
            h0, c0 = (None, None) if state is None else state
            inputs = {"x": given, "state": h0, "the state's c": c0, "lengths": lengths, "reset": reset}
            _checks.output(out, shape, self.dtype, inputs)
        result = out if out is not None and out.strides[-1] == out.itemsize else np.empty(shape, self.dtype)
        if B and self.hidden_size:
            y = result[:, None] if unbatched else result.transpose(1, 0, 2) if first else result
            driver.run(self, x, y, carried, state is not None, order, ends, flags, count)
        if out is not None and result is not out:
            out[...] = result
            result = out
        h, c = carried
        return result, (h[:, 0], c[:, 0]) if unbatched else carried

    def trace(
        self,
        x: Any,
        state: Any = None,
        *,
        layer: int = 0,
        direction: int = 0,
        lengths: Any = None,
        reset: Any = None,
        batch_first: bool | None = None,
    ) -> "Trace":
        """Run the LSTM and keep what one layer did at each step, in one direction: its gates, memory and output.

        ``c_t = f_t * c_{t-1} + i_t * g_t``, ``h_t = o_t * tanh(c_t)``

        Parameters
        ----------
        x, state, lengths, reset, batch_first
            As in the call.
        layer, direction : int
            0 to L - 1; 0, or 1 for the second direction of two.

        Returns
        -------
        Trace(i, f, g, o, c, h)
            Arrays (T, B, H), h (T, B, P) with a projection, without B for one row; time first whatever `batch_first`,
            in the order of x even where the direction runs backwards; 0 after a row's end. ``.table()`` and
            ``.plot()`` show it.

        Raises
        ------
        ValueError, TypeError
            As in the call; ValueError for a layer or direction that is not there.

        Notes
        -----
        c and h are the forward pass's bit for bit, the gates of its arithmetic. A whole run checks the arguments,
        then each step is a call: for looking at, not for speed.

        Examples
        --------
        >>> import numpy as np
        >>> lstm = LSTM(3, 5, seed=0)
        >>> x = np.ones((7, 2, 3), np.float32)
        >>> trace = lstm.trace(x)
        >>> trace.f.shape, bool((trace.h == lstm(x)[0]).all())
        ((7, 2, 5), True)
        """
        from fastcell.trace.driver import lstm_trace

        return lstm_trace(self, x, state, layer, direction, lengths, reset, batch_first)

    def _state(self, state: Any, B: int, unbatched: bool) -> tuple[Array, Array]:
        """New arrays, (L*D, B, ...), with the state that is given; for None to be written alone."""
        L = len(self.packed)
        if state is None:
            return np.empty((L, B, self.output_size), self.dtype), np.empty((L, B, self.hidden_size), self.dtype)
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise ValueError(f"state must be a pair (h, c), got {type(state).__name__}")
        found = []
        for name, given, size, letter in zip(
            ("state's h", "state's c"), state, (self.output_size, self.hidden_size),
            ("P" if self.proj_size else "H", "H"), strict=True,
        ):  # fmt: skip
            array = _checks.array(name, given, _checks.NUMBERS)
            shape, letters = ((L, size), f"(L*D, {letter})") if unbatched else ((L, B, size), f"(L*D, B, {letter})")
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {letters} = {shape}, got {array.shape}")
            found.append(np.array(array, self.dtype, order="C").reshape(L, B, size))
        return found[0], found[1]

    def _reset(self, reset: Any, T: int, B: int, first: bool, unbatched: bool) -> Array:
        if self.bidirectional or self.reverse:
            raise ValueError("reset must be None where a direction runs backwards")
        flags = _checks.flags("reset", reset)
        shape, letters = ((T,), "(T,)") if unbatched else ((B, T), "(B, T)") if first else ((T, B), "(T, B)")
        if flags.shape != shape:
            raise ValueError(f"reset must have shape {letters} = {shape}, got {flags.shape}")
        return flags[:, None] if unbatched else flags.T if first else flags


def _initial(
    given: Any, shapes: tuple[tuple[int, ...], ...], letters: tuple[str, str], dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Copies of an initial state's h0 and c0, held to their shapes."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        many = f" of {len(given)}" if isinstance(given, tuple | list) else ""
        raise ValueError(f"initial_state must be a pair (h0, c0), got {type(given).__name__}{many}")
    found = []
    for name, part, shape, told in zip(("h0", "c0"), given, shapes, letters, strict=True):
        array = _checks.array(f"initial_state's {name}", part, _checks.NUMBERS)
        if array.shape != shape:
            raise ValueError(f"initial_state's {name} must have shape {told} = {shape}, got {array.shape}")
        found.append(np.array(array, dtype, order="C"))
    return found[0], found[1]


def _activation_codes(activations: tuple[Any, ...], directions: int) -> list[Array | None]:
    """For each direction None, the standard ones, or (3, 3): number, alpha, beta of f, g and h."""
    if len(activations) not in (3, 3 * directions):
        raise ValueError(f"activations must be 3{' or 6' if directions == 2 else ''} in number, got {len(activations)}")
    rows = []
    for entry in activations:
        name, *numbers = entry if isinstance(entry, tuple | list) and entry else (entry,)
        if not isinstance(name, str) or name not in KNOWN:
            raise ValueError(f"activations must be among {', '.join(KNOWN)}, got {name!r}")
        if len(numbers) > 2 or not all(isinstance(number, int | float | np.number) for number in numbers):
            raise ValueError(f"activations must be a name, alpha and beta at the most, got {entry!r}")
        code, alpha, beta = KNOWN[name]
        rows.append((code, *(float(number) for number in numbers), *(alpha, beta)[len(numbers) :]))
    rows = rows if len(rows) == 3 * directions else rows * directions
    standard = [(*KNOWN[name],) for name in _STANDARD]
    return [
        None if rows[3 * d : 3 * d + 3] == standard else np.array(rows[3 * d : 3 * d + 3], np.float64)
        for d in range(directions)
    ]


def _order(lengths: Any, T: int, B: int) -> tuple[Array, Array]:
    """Rows by falling length, and each row's length."""
    ends = _checks.array("lengths", lengths, "integers")
    if ends.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = ({B},), got {ends.shape}")
    bad = (ends < 0) | (ends > T)
    if bad.any():
        (row,) = _checks.first_index(bad)
        raise ValueError(f"lengths must be from 0 to T = {T}, got {ends[row]} in row {row}")
    ends = ends.astype(np.int64)
    return np.argsort(-ends, kind="stable"), ends
