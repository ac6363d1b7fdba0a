"""One step of an LSTM at a time, for simulations: from Python, and from your own compiled loop."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numba.core import errors

from fastcell import _checks, _memory, _nulls
from fastcell._checks import Array
from fastcell._jit import kernel
from fastcell.lstm import cell_kernels, cell_lowering
from fastcell.lstm.config import STANDARD, initial_pair, suffix
from fastcell.lstm.layers import Layers
from fastcell.lstm.packing import CellParams

__all__ = ["CellParams", "LSTMCell", "lstm_step"]


class LSTMCell:
    """One layer of an LSTM in one direction, a step at a time.

    ``c = f * c + i * g``, ``h = o * tanh(c)``, each gate ``sigmoid(W x + R h + b)``, g with tanh; shapes and names are
    those of torch.nn.LSTMCell.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias, proj_size, peepholes, coupled, clip, activations, dtype, precision, seed
        As in `fastcell.LSTM`.
    initial_state : (h0, c0), optional
        (H or P,) and (H,): what a call starts from where no state is given. Zeros if not given.
    weights : dict of arrays, optional
        ``weight_ih`` (4*H, I), ``weight_hh`` (4*H, H or P), ``bias_ih``, ``bias_hh`` (4*H,), ``weight_hr`` (P, H),
        ``weight_peephole`` (3*H,), as in `fastcell.LSTM` without the layer's number.

    Attributes
    ----------
    params : CellParams
        The packed weights, for `lstm_step` in an `@njit` function.

    Raises
    ------
    ValueError, TypeError
        As in `fastcell.LSTM`.

    Notes
    -----
    `step` changes h and c in place and allocates no object; `cell(x, (h, c))` gives new ones. Both agree bit for bit
    with a call of the whole sequence, in the same dtype.

    Source: Hochreiter & Schmidhuber (1997), Long short-term memory; Gers, Schmidhuber & Cummins (2000) for the
    forget gate.

    Examples
    --------
    >>> import numpy as np
    >>> import fastcell as fc
    >>> cell = fc.LSTMCell(3, 5, seed=0)
    >>> x, h, c = np.ones((2, 3), "f"), np.zeros((2, 5), "f"), np.zeros((2, 5), "f")
    >>> new_h, new_c = cell(x, (h, c))
    >>> cell.step(x, h, c)
    >>> bool((h == new_h).all() and (c == new_c).all())
    True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        proj_size: int = 0,
        peepholes: bool = False,
        coupled: bool = False,
        clip: float | None = None,
        activations: tuple[Any, ...] = STANDARD,
        dtype: Any = "float32",
        precision: str | None = None,
        initial_state: Any = None,
        weights: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(weights, Mapping | None):
            raise TypeError(f"weights must be a dict of arrays, got {type(weights).__name__}")
        named = None if weights is None else {f"{name}_l0": array for name, array in weights.items()}
        options = {
            "bias": bias, "proj_size": proj_size, "peepholes": peepholes, "coupled": coupled, "clip": clip,
            "activations": activations, "dtype": dtype, "precision": precision,
        }  # fmt: skip
        lstm = Layers(input_size, hidden_size, weights=named, seed=seed, **options)
        if initial_state is not None:
            letters = "(P,)" if lstm.proj_size else "(H,)", "(H,)"
            pair = initial_pair(initial_state, ((lstm.output_size,), (lstm.hidden_size,)), letters, lstm.dtype)
            start = pair[0][None], pair[1][None]
            lstm = Layers(input_size, hidden_size, weights=lstm.quantized(), initial_state=start, **options)
        self._share(lstm, 0, 0)

    @classmethod
    def _of(cls, lstm: Layers, layer: int, direction: int) -> "LSTMCell":
        cell = cls.__new__(cls)
        cell._share(lstm, layer, direction)
        return cell

    def __getstate__(self) -> dict[str, Any]:
        """Without what `_share` makes of the packed weights: addresses in this process."""
        return _checks.attributes_without(super().__getstate__(), "params", "_packed")

    def __setstate__(self, state: dict[str, Any]) -> None:
        _checks.set_attributes(self, state)
        self._share(*self._source)

    def _share(self, lstm: Layers, layer: int, direction: int) -> None:
        self._source, packed = (lstm, layer, direction), lstm.packed[layer * lstm.directions + direction]
        self.input_size, self.hidden_size, self.proj_size = packed.sizes.inputs, lstm.hidden_size, lstm.proj_size
        self.dtype, self.output_size, self.params = lstm.dtype, lstm.output_size, packed.params
        self._packed = packed.at, packed.params.special, packed.params.kind  # the block lives as long as `_source`

    def state_dict(self) -> dict[str, Array]:
        """Copies of the weights under torch.nn.LSTMCell's names."""
        lstm, layer, direction = self._source
        end = suffix(layer, direction)
        return {name.removesuffix(end): a for name, a in lstm.state_dict().items() if name.endswith(end)}

    @property
    def precision(self) -> str:
        """The arithmetic of the products."""
        return self._source[0].precision

    def with_precision(self, precision: str | None) -> Self:
        """The same weights in another arithmetic, as `LSTM.with_precision`."""
        lstm, layer, direction = self._source
        other = copy.copy(self)
        other._share(lstm.with_precision(precision), layer, direction)
        return other

    @property
    def initial_state(self) -> tuple[Array, Array] | None:
        """Copies of (h0, c0), (H or P,) and (H,), or None for zeros."""
        lstm, layer, direction = self._source
        start, k = lstm.initial_state, layer * lstm.directions + direction
        return None if start is None else (start[0][k].copy(), start[1][k].copy())

    def __repr__(self) -> str:
        kind = f"dtype={self.dtype.name!r}" + self._source[0]._told_precision()
        return f"LSTMCell({self.input_size}, {self.hidden_size}, {kind})"

    def __call__(self, x: Any, state: Any = None) -> tuple[Array, Array]:
        """One step: new arrays (h, c).

        Parameters
        ----------
        x : (B, I), or (I,) for one row
            Any real dtype; converted to the cell's.
        state : (h, c), optional
            (B, H or P) and (B, H), without B for one row; `initial_state` if not given.

        Returns
        -------
        (h, c) : new arrays of the cell's dtype, shaped as `state`

        Raises
        ------
        ValueError, TypeError
            A shape or dtype that doesn't fit.
        """
        x = _checks.array("x", x, _checks.NUMBERS)
        rows = len(x) if x.ndim == 2 else 1
        values = (0 if x.flags.c_contiguous else x.size) + rows * (self.output_size + self.hidden_size)
        _memory.check(values * self.dtype.itemsize, "a step for x of shape {}", x.shape)
        x = np.ascontiguousarray(x, self.dtype)
        if x.ndim not in (1, 2):
            raise ValueError(f"x must have shape (B, I) or (I,) with I = {self.input_size}, got {x.shape}")
        if state is None:
            h, c = (np.zeros((*x.shape[:-1], size), self.dtype) for size in (self.output_size, self.hidden_size))
            if (start := self.initial_state) is not None:
                h[...], c[...] = start
        else:
            if not isinstance(state, tuple | list) or len(state) != 2:
                raise ValueError(f"state must be a pair (h, c), got {type(state).__name__}")
            h, c = (
                np.array(_checks.array(name, given, _checks.NUMBERS), self.dtype, order="C")
                for name, given in zip(("state's h", "state's c"), state, strict=True)
            )
        self.step(x, h, c)
        return h, c

    def step(self, x: Array, h: Array, c: Array) -> None:
        """One step in place: h and c become the new ones. No object is allocated.

        Parameters
        ----------
        x : (B, I) array, or (I,) for one row
        h : (B, H) array, or (B, P) with a projection; (H,) or (P,) for one row
        c : (B, H) array, or (H,)
            Of the cell's dtype, in C order, writeable; none shares memory with another.

        Raises
        ------
        ValueError
            A shape or an order in memory that doesn't fit, or an overlap; nothing is written.
        TypeError
            Something else than a NumPy array of the cell's dtype.

        Notes
        -----
        The check is part of every call. One thread: where one step of very many rows is to go to all cores, call
        ``lstm(x[None], ...)``. A call from Python costs about half a microsecond beside the arithmetic.
        """
        if not type(x) is type(h) is type(c) is np.ndarray:
            _refuse_others(x, h, c)
        try:
            wrong = cell_kernels.cell_step(x, h, c, *self._packed)
        except (TypeError, ValueError, errors.NumbaError):  # Numba's words for what is no array
            wrong = -1
        if wrong:
            self._check(x, h, c)
            arrays = (np.asarray(array) for array in (x, h, c))  # of a subclass what it holds
            if cell_kernels.cell_step(*arrays, *self._packed):
                raise ValueError("x, h and c must fit each other")  # never a step that is silently left out

    def _check(self, x: Any, h: Any, c: Any) -> None:
        """Name what is wrong with a step's arrays."""
        for name, array, letter, size in (
            ("x", x, "I", self.input_size),
            ("h", h, "P" if self.proj_size else "H", self.output_size),
            ("c", c, "H", self.hidden_size),
        ):
            if array.dtype != self.dtype or not array.dtype.isnative:
                raise TypeError(f"{name} must hold {self.dtype}, got {array.dtype}")
            rows = x.shape[:1] if x.ndim == 2 else ()
            if array.ndim not in (1, 2) or array.shape != (*rows, size):
                expected = f"(B, {letter}) = {(*rows, size)}" if rows else f"({letter},) = ({size},)"
                raise ValueError(f"{name} must have shape {expected}, got {array.shape}")
            if not array.flags.c_contiguous or not array.flags.aligned:
                raise ValueError(f"{name} must be in C order and aligned, got strides {array.strides}")
            if name != "x" and not array.flags.writeable:
                raise ValueError(f"{name} must be writeable, got a read-only array")
        for first, second in (("x", "h"), ("x", "c"), ("h", "c")):
            a, b = {"x": x, "h": h, "c": c}[first], {"x": x, "h": h, "c": c}[second]
            if np.may_share_memory(a, b):
                raise ValueError(f"{second} must not overlap {first}, got memory that both share")


def _refuse_others(x: Any, h: Any, c: Any) -> None:
    """Raise for what is no array, or one with a mask: Numba takes that for a plain one once it knows such a dtype."""
    for name, array in (("x", x), ("h", h), ("c", c)):
        if not isinstance(array, np.ndarray) or _nulls.is_masked_array(array):
            raise TypeError(f"{name} must be a numpy array, got {type(array).__name__}")


def lstm_step(params: Any, x: Array, h: Array, c: Array) -> None:
    """One step of an LSTM in place, callable from a function under `@njit` and from Python.

    ``c = f * c + i * g``, ``h = o * tanh(c)``, each gate ``sigmoid(W x + R h + b)``, g with tanh.

    Parameters
    ----------
    params : `cell.params`, or `lstm.params` of all layers
    x : (B, I) array, or (I,) for one row
    h, c : (B, H) arrays, or (H,); h (B, P) with a projection; for `lstm.params` (L, B, ...), or (L, ...)
        They become the new ones. Values of a row stand side by side; no array shares memory with another.

    Raises
    ------
    ValueError
        A shape or an order in memory that doesn't fit; nothing is written.
    TypeError
        Dtypes other than the weights', or read-only h or c; in compiled code a numba.TypingError when it is compiled.

    Notes
    -----
    Rows are independent, so a `prange` over them, or over agents, is safe. A function of yours under
    `@njit(cache=True)` should close over `fc.CACHE_TOKEN`, or Numba keeps the old code after an upgrade.

    Examples
    --------
    >>> import numpy as np
    >>> import fastcell as fc
    >>> from numba import njit
    >>> @njit
    ... def last(params, x, h, c):
    ...     for t in range(len(x)):
    ...         fc.lstm_step(params, x[t], h, c)
    >>> lstm = fc.LSTM(3, 4, seed=0)
    >>> x, h, c = np.ones((7, 3), "f"), np.zeros(4, "f"), np.zeros(4, "f")
    >>> last(lstm.cell().params, x, h, c)
    >>> bool((h == lstm(x)[0][-1]).all())
    True
    """
    if not type(x) is type(h) is type(c) is np.ndarray:
        _refuse_others(x, h, c)
    try:
        _step(params, x, h, c)
    except (errors.NumbaError, TypeError, ValueError) as error:
        wrong = cell_lowering.reason(params, x, h, c)
        if wrong is None and isinstance(error, ValueError):
            raise
        raise TypeError(wrong or str(error)) from None


@kernel
def _step(params: Any, x: Any, h: Any, c: Any) -> None:
    lstm_step(params, x, h, c)


cell_lowering.register(lstm_step)
