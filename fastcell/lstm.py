"""The LSTM forward pass: check, allocate, run, return."""

import math
from typing import Any

import numpy as np

from fastcell import _checks, _lstm_driver, _threads
from fastcell._checks import Array
from fastcell.activations import KNOWN

GATE_ORDER = "ifgo"
"""Gates stand in this order in every weight (PyTorch's)."""

_STANDARD = ("sigmoid", "tanh", "tanh")
_ENOUGH = 1 << 22  # multiplications from which a call goes to several threads


class LSTM:
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
        if clip is not None and not (math.isfinite(clip) and clip > 0):
            raise ValueError(f"clip must be a finite number above 0, or None, got {clip!r}")
        if np.dtype(dtype).name not in ("float32", "float64"):
            raise TypeError(f"dtype must be float32 or float64, got {np.dtype(dtype).name}")
        self.bias, self.bidirectional, self.reverse = bool(bias), bool(bidirectional), bool(reverse)
        self.peepholes, self.coupled = bool(peepholes), bool(coupled)
        self.clip = None if clip is None else float(clip)
        self.dtype, self.batch_first = np.dtype(dtype), bool(batch_first)
        self.directions = 2 if bidirectional else 1
        self.activations = tuple(activations)
        _activation_codes(self.activations, self.directions)
        self.output_size = self.proj_size or self.hidden_size
        shapes = self._shapes()
        self._weights = self._draw(shapes, seed) if weights is None else self._take(shapes, weights)
        self.packed = self._pack()

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weights, which are addresses in this process."""
        return {name: value for name, value in vars(self).items() if name != "packed"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.packed = self._pack()

    @classmethod
    def from_torch(cls, source: Any, prefix: str = "") -> "LSTM":
        """An LSTM with the weights of a torch.nn.LSTM, or of a state dict of tensors or arrays.

        Parameters
        ----------
        source : torch.nn.LSTM, torch.nn.LSTMCell, or dict
        prefix : str
            Of the weights' names in a whole model's state dict, as "encoder.lstm".

        Returns
        -------
        LSTM
            It takes batch_first from a module, too. Dropout, which acts in training alone, is left out.

        Raises
        ------
        ValueError
            No LSTM weights under the prefix, one missing, or a wrong shape.
        TypeError
            Something else than a module or a dict.

        Examples
        --------
        >>> import numpy as np
        >>> weights = {"weight_ih_l0": np.zeros((8, 3)), "weight_hh_l0": np.zeros((8, 2))}
        >>> LSTM.from_torch(weights).hidden_size
        2
        """
        from fastcell import weights

        return cls(**weights.from_torch(source, prefix))

    @classmethod
    def from_onnx(cls, model: Any, node: str | None = None) -> "LSTM":
        """An LSTM with the weights and attributes of an ONNX model's LSTM node.

        Parameters
        ----------
        model : path, bytes or onnx.ModelProto
        node : str, optional
            The node's name, or its first output's, where there are several; subgraphs are searched, too.

        Returns
        -------
        LSTM
            Its y is (T, B, D*H), where ONNX has (T, D, B, H).

        Raises
        ------
        ValueError
            A file that is no model, no such node, several and no `node`, or weights that an input decides.
        ImportError
            Without the onnx library: `pip install 'fastcell[weights]'`.
        """
        from fastcell import weights

        return cls(**weights.from_onnx(model, node))

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
                end = _lstm_driver.suffix(layer, direction)
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
        random, bound = np.random.default_rng(seed), 1 / math.sqrt(max(self.hidden_size, 1))
        return {name: random.uniform(-bound, bound, shape).astype(self.dtype) for name, (shape, _) in shapes.items()}

    def _pack(self) -> list[_lstm_driver.Direction]:
        codes, layers = _activation_codes(self.activations, self.directions), range(self.num_layers)
        return [
            _lstm_driver.pack(self, self._weights, layer, d, codes[d])
            for layer in layers
            for d in range(self.directions)
        ]

    def _take(self, shapes: dict[str, Any], weights: dict[str, Any]) -> dict[str, Array]:
        unknown = sorted(set(weights) - set(shapes))
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
            Any real dtype; converted to the LSTM's.
        state : (h, c), optional
            (L*D, B, H or P) and (L*D, B, H), without B for one row; zeros if not given.
        lengths : (B,) integers, optional
            Steps of each row, in any order, 0 to T. y is 0 after a row's end; its final state is that at its end (at
            length 0, its initial state); the other direction starts there.
        reset : (T, B) of bool, or (B, T) with batch_first, optional
            Where true, the row's state is set to zero before the step. One direction, forward, alone.
        batch_first : bool, optional
            Whether x and y are (B, T, ...); the LSTM's own if not given.
        out : array, optional
            y is written here; the LSTM's dtype, y's shape, sharing no memory with x or state.
        threads : int, optional
            Rows are shared out among so many; by default, large work goes to all cores.

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
        """
        first = self.batch_first if batch_first is None else bool(batch_first)
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
        if x.dtype != self.dtype or (x.shape[2] > 1 and x.strides[2] != x.itemsize):
            x = np.ascontiguousarray(x, self.dtype)
        T, B, _ = x.shape
        h0, c0 = self._state(state, B, unbatched)
        order, ends = _order(lengths, T, B)
        flags = self._reset(reset, T, B, first and not unbatched, unbatched)
        width = self.directions * self.output_size
        shape: tuple[int, ...] = (T, width) if unbatched else (B, T, width) if first else (T, B, width)
        count = (
            _threads.choose(threads, x.size * self.hidden_size, _ENOUGH) if B > 1 else _threads.choose(threads, 0, 1)
        )
        y = np.empty(shape, self.dtype) if out is None else None
        if out is not None:
            inputs = {
                "x": given,
                "state": None if state is None else state[0],
                "the state's c": None if state is None else state[1],
            }
            _checks.output(out, shape, self.dtype, inputs)
            y = out if out.strides[-1] == out.itemsize else np.empty(shape, self.dtype)
        assert y is not None
        result = y
        y = y[:, None] if unbatched else y.transpose(1, 0, 2) if first else y
        h, c = (
            np.empty((self.num_layers * self.directions, B, self.output_size), self.dtype),
            np.empty((self.num_layers * self.directions, B, self.hidden_size), self.dtype),
        )
        if B and self.hidden_size:
            _lstm_driver.run(self, x, y, (h0, c0, h, c), order, ends, flags, count)
        if out is not None and result is not out:
            out[...] = result
            result = out
        return result, (h[:, 0], c[:, 0]) if unbatched else (h, c)

    def _state(self, state: Any, B: int, unbatched: bool) -> tuple[Array | None, Array | None]:
        if state is None:
            return None, None
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise ValueError(f"state must be a pair (h, c), got {type(state).__name__}")
        L, found = self.num_layers * self.directions, []
        for name, given, size, letter in zip(
            ("state's h", "state's c"), state, (self.output_size, self.hidden_size),
            ("P" if self.proj_size else "H", "H"), strict=True,
        ):  # fmt: skip
            array = _checks.array(name, given, _checks.NUMBERS)
            shape, letters = ((L, size), f"(L*D, {letter})") if unbatched else ((L, B, size), f"(L*D, B, {letter})")
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {letters} = {shape}, got {array.shape}")
            found.append(np.ascontiguousarray(array, self.dtype).reshape(L, B, size))
        return found[0], found[1]

    def _reset(self, reset: Any, T: int, B: int, first: bool, unbatched: bool) -> Array | None:
        if reset is None:
            return None
        if self.bidirectional or self.reverse:
            raise ValueError("reset must be None where a direction runs backwards")
        flags = np.asarray(reset)
        if flags.dtype != np.bool:
            raise TypeError(f"reset must hold bool, got {flags.dtype}")
        shape, letters = ((T,), "(T,)") if unbatched else ((B, T), "(B, T)") if first else ((T, B), "(T, B)")
        if flags.shape != shape:
            raise ValueError(f"reset must have shape {letters} = {shape}, got {flags.shape}")
        return flags[:, None] if unbatched else flags.T if first else flags


def _activation_codes(activations: tuple[Any, ...], directions: int) -> list[Array | None]:
    """For each direction None, the standard ones, or (3, 3): number, alpha, beta of f, g and h."""
    if len(activations) not in (3, 3 * directions):
        raise ValueError(f"activations must be 3{' or 6' if directions == 2 else ''} in number, got {len(activations)}")
    rows = []
    for entry in activations:
        name, *numbers = (entry,) if isinstance(entry, str) else tuple(entry)
        if name not in KNOWN:
            raise ValueError(f"activations must be among {', '.join(KNOWN)}, got {name!r}")
        if len(numbers) > 2:
            raise ValueError(f"activations must be a name, alpha and beta at the most, got {entry!r}")
        code, alpha, beta = KNOWN[name]
        rows.append((code, *(float(number) for number in numbers), *(alpha, beta)[len(numbers) :]))
    rows = rows if len(rows) == 3 * directions else rows * directions
    standard = [(*KNOWN[name],) for name in _STANDARD]
    return [
        None if rows[3 * d : 3 * d + 3] == standard else np.array(rows[3 * d : 3 * d + 3], np.float64)
        for d in range(directions)
    ]


def _order(lengths: Any, T: int, B: int) -> tuple[Array | None, Array | None]:
    """Rows by falling length, and each row's length."""
    if lengths is None:
        return None, None
    ends = _checks.array("lengths", lengths, "integers")
    if ends.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = ({B},), got {ends.shape}")
    bad = (ends < 0) | (ends > T)
    if bad.any():
        (row,) = _checks.first_index(bad)
        raise ValueError(f"lengths must be from 0 to T = {T}, got {ends[row]} in row {row}")
    ends = ends.astype(np.int64)
    return np.argsort(-ends, kind="stable"), ends
