"""One step of an LSTM at a time, for simulations: from Python, and from your own compiled loop."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import typeof
from numba.core import cgutils, errors, types
from numba.extending import lower_builtin, type_callable

from fastcell import _cell_kernels, _checks
from fastcell._cell_kernels import (
    ARRAY,
    OVERLAP,
    WRONG_C,
    WRONG_H,
    WRONG_LAYOUT,
    WRONG_X,
    check,
    describe,
    step_arrays,
)
from fastcell._checks import Array
from fastcell._jit import kernel
from fastcell._lstm_driver import CellParams, Special
from fastcell.simd import size_of, width

if TYPE_CHECKING:
    from fastcell.lstm import LSTM

__all__ = ["CellParams", "LSTMCell", "lstm_step"]


class LSTMCell:
    """One layer of an LSTM in one direction, a step at a time.

    ``c = f * c + i * g``, ``h = o * tanh(c)``, each gate ``sigmoid(W x + R h + b)``, g with tanh; shapes and names are
    those of torch.nn.LSTMCell.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias, proj_size, peepholes, coupled, clip, activations, dtype, seed
        As in `fastcell.LSTM`.
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
        activations: tuple[Any, ...] = ("sigmoid", "tanh", "tanh"),
        dtype: Any = "float32",
        weights: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        from fastcell.lstm import LSTM

        named = None if weights is None else {f"{name}_l0": array for name, array in weights.items()}
        lstm = LSTM(
            input_size, hidden_size, bias=bias, proj_size=proj_size, peepholes=peepholes, coupled=coupled, clip=clip,
            activations=activations, dtype=dtype, weights=named, seed=seed,
        )  # fmt: skip
        self._share(lstm, 0, 0)

    @classmethod
    def _of(cls, lstm: "LSTM", layer: int, direction: int) -> "LSTMCell":
        cell = cls.__new__(cls)
        cell._share(lstm, layer, direction)
        return cell

    def __reduce__(self) -> Any:
        """Without the packed weights, which are addresses in this process."""
        return LSTMCell._of, self._source

    def _share(self, lstm: "LSTM", layer: int, direction: int) -> None:
        self._source, packed = (lstm, layer, direction), lstm.packed[layer * lstm.directions + direction]
        self.input_size, self.hidden_size, self.proj_size = packed.inputs, lstm.hidden_size, lstm.proj_size
        self.dtype, self.output_size, self.params = lstm.dtype, lstm.output_size, packed.params
        self._packed, self._table, self._zero = packed, packed.table, packed.zero
        self._kernel = _cell_kernels.cell_step if packed.params.special is None else _cell_kernels.cell_step_special

    def __repr__(self) -> str:
        return f"LSTMCell({self.input_size}, {self.hidden_size}, dtype={self.dtype.name!r})"

    def __call__(self, x: Any, state: Any = None) -> tuple[Array, Array]:
        """One step: new arrays (h, c).

        Parameters
        ----------
        x : (B, I), or (I,) for one row
            Any real dtype; converted to the cell's.
        state : (h, c), optional
            (B, H or P) and (B, H), without B for one row; zeros if not given.

        Returns
        -------
        (h, c) : new arrays of the cell's dtype, shaped as `state`

        Raises
        ------
        ValueError, TypeError
            A shape or dtype that doesn't fit.
        """
        x = np.ascontiguousarray(_checks.array("x", x, _checks.NUMBERS), self.dtype)
        if x.ndim not in (1, 2):
            raise ValueError(f"x must have shape (B, I) or (I,) with I = {self.input_size}, got {x.shape}")
        if state is None:
            h, c = (np.zeros((*x.shape[:-1], size), self.dtype) for size in (self.output_size, self.hidden_size))
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
        The check is part of every call. Rows go to all cores once there are many.
        """
        try:
            wrong = self._kernel(x, h, c, self._table, self._zero)
        except (TypeError, errors.NumbaError):
            wrong = -1
        if wrong:
            self._check(x, h, c)
            self._kernel(*(np.asarray(array) for array in (x, h, c)), self._table, self._zero)  # a subclass's own array

    def _check(self, x: Any, h: Any, c: Any) -> None:
        """Name what is wrong with a step's arrays."""
        for name, array, letter, size in (
            ("x", x, "I", self.input_size),
            ("h", h, "P" if self.proj_size else "H", self.output_size),
            ("c", c, "H", self.hidden_size),
        ):
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{name} must be a numpy array, got {type(array).__name__}")
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
    try:
        _step(params, x, h, c)
    except errors.TypingError as error:
        raise TypeError(_reason(params, x, h, c) or str(error)) from None


@kernel
def _step(params: Any, x: Any, h: Any, c: Any) -> None:
    lstm_step(params, x, h, c)


def _layers(params: Any) -> int | None:
    """How many layers params are of: None for a cell's, without an axis of layers in h and c."""
    return None if isinstance(params, types.NamedTuple) else len(params)


def _wrong_types(params: Any, x: Any, h: Any, c: Any) -> str | None:
    one = params if isinstance(params, types.NamedTuple) else getattr(params, "dtype", None)
    if not isinstance(one, types.NamedTuple) or one.instance_class is not CellParams:
        return f"params must be a cell's or an LSTM's params, got {params}"
    dtype = one.types[0].dtype
    for name, array in (("x", x), ("h", h), ("c", c)):
        if not isinstance(array, types.Array) or array.dtype != dtype:
            return f"{name} must be an array of {dtype}, as the weights are, got {array}"
        ndim = x.ndim + (name != "x" and _layers(params) is not None)
        if x.ndim not in (1, 2) or array.ndim != ndim:
            return f"{name} must have {ndim} axes where x has {x.ndim}, 1 or 2, got {array.ndim}"
        if name != "x" and not array.mutable:
            return f"{name} must be writeable, got a read-only array"
    return None


def _reason(*arguments: Any) -> str | None:
    return _wrong_types(*(typeof(argument) for argument in arguments))


@type_callable(lstm_step)  # type: ignore[untyped-decorator]
def _type_step(context: Any) -> Any:
    def typer(params: Any, x: Any, h: Any, c: Any) -> Any:
        wrong = _wrong_types(params, x, h, c)
        if wrong:
            raise errors.TypingError(wrong)
        return types.none

    return typer


@lower_builtin(lstm_step, types.Any, types.Any, types.Any, types.Any)  # type: ignore[untyped-decorator]
def _lower_step(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Numbers alone go on, read from arrays in place: counting references to a dozen arrays took longer than a step."""
    kind, _, h_kind, c_kind = sig.args
    stacked = _layers(kind) is not None
    layers = cgutils.unpack_tuple(builder, args[0]) if stacked else [args[0]]
    kind = kind.dtype if stacked else kind
    x, h, c = (describe(context, builder, k, a, sig.args[1].ndim) for k, a in zip(sig.args[1:], args[1:], strict=True))
    if stacked:
        word = x[0].type
        for k, a, place in ((h_kind, args[2], h), (c_kind, args[3], c)):
            struct = context.make_array(k)(context, builder, a)
            many, step = (cgutils.unpack_tuple(builder, part)[0] for part in (struct.shape, struct.strides))
            context.compile_internal(
                builder, _check_layers, types.none(types.int64, types.int64), [many, word(len(layers))]
            )
            place.append(step)
    for number, layer in enumerate(layers):
        at_h, at_c = (
            [builder.add(p[0], builder.mul(p[0].type(number), p[5])), *p[1:5]] if stacked else p for p in (h, c)
        )
        _lower_layer(context, builder, kind, layer, x, at_h, at_c)
        x = at_h
    return context.get_dummy_value()


def _lower_layer(context: Any, builder: Any, kind: Any, layer: Any, x: Any, h: Any, c: Any) -> None:
    """One layer's step, x, h and c as `describe` gives them."""
    word = x[0].type
    fields = dict(zip(CellParams._fields, cgutils.unpack_tuple(builder, layer), strict=True))
    kinds = dict(zip(CellParams._fields, kind.types, strict=True))

    def shape(struct: Any, axis: int) -> Any:
        return cgutils.unpack_tuple(builder, struct.shape)[axis]

    def address(struct: Any) -> Any:
        return builder.ptrtoint(struct.data, word)

    def or_none(struct: Any) -> Any:
        return builder.select(builder.icmp_signed("==", shape(struct, 0), word(0)), word(0), address(struct))

    def array(kinds: Any, fields: Any, name: str) -> Any:
        return context.make_array(kinds[name])(context, builder, fields[name])

    w_x, w_h, bias, w_p, zeros = (array(kinds, fields, name) for name in ("w_x", "w_h", "bias", "w_p", "zeros"))
    weights = [address(w_x), address(w_h), address(bias), or_none(w_p), address(zeros)]
    sizes = [shape(w_x, 1), fields["hidden_size"], shape(w_h, 1)]
    special, special_kind = context.get_dummy_value(), types.none
    if kinds["special"] != types.none:
        more = dict(zip(Special._fields, cgutils.unpack_tuple(builder, fields["special"]), strict=True))
        more_kinds = dict(zip(Special._fields, kinds["special"].types, strict=True))
        activations, peephole = (array(more_kinds, more, name) for name in ("activations", "peephole"))
        special_kind = types.Tuple((types.int64, types.int64, types.float64, types.boolean))
        special = context.make_tuple(
            builder, special_kind, [address(activations), or_none(peephole), more["clip"], more["coupled"]]
        )
    dtype = kinds["w_x"].dtype
    five, three = types.UniTuple(types.int64, 5), types.UniTuple(types.int64, 3)
    places = [context.make_tuple(builder, ARRAY, part) for part in (x, h, c)]
    arguments = [
        *places, context.make_tuple(builder, five, weights), context.make_tuple(builder, three, sizes), special,
        context.get_constant(dtype, 0), shape(w_x, 3),
    ]  # fmt: skip
    signature = types.none(ARRAY, ARRAY, ARRAY, five, three, special_kind, dtype, types.int64)
    context.compile_internal(builder, _checked_step, signature, arguments)


def _check_layers(given: int, layers: int) -> None:
    if given != layers:
        raise ValueError("h and c must have shape (L, B, H) or (L, H), a layer of params each")


def _checked_step(x: Any, h: Any, c: Any, weights: Any, sizes: Any, special: Any, like: Any, lanes: int) -> None:
    if lanes != width(like):
        raise ValueError("params were packed for vectors of another width: take them from a cell of this process")
    wrong = check(x, h, c, sizes, size_of(like))
    if wrong == WRONG_X:
        raise ValueError("x must have shape (B, I) or (I,), I as params were made for")
    if wrong == WRONG_H:
        raise ValueError("h must have shape (B, H) or (H,), with P in place of H where there is a projection")
    if wrong == WRONG_C:
        raise ValueError("c must have shape (B, H) or (H,), H as params were made for")
    if wrong == WRONG_LAYOUT:
        raise ValueError("x, h and c must have the values of a row side by side")
    if wrong == OVERLAP:
        raise ValueError("x, h and c must not overlap")
    step_arrays(x, h, c, weights, sizes, special, like)
