"""How Numba types and lowers a call of `lstm_step` in compiled code.

The arrays of params, x, h and c are read in place and go on as plain numbers: as arguments of jitted functions they
would have references counted at every call, which takes longer than a small cell's step.
"""

from typing import Any

from numba import typeof
from numba.core import cgutils, errors, types
from numba.extending import lower_builtin, type_callable

from fastcell._jit import CACHE_TOKEN
from fastcell.lstm.cell_kernels import (
    ARRAY,
    OVERLAP,
    WRONG_C,
    WRONG_H,
    WRONG_LAYOUT,
    WRONG_X,
    check,
    numbers_of,
    step_arrays,
)
from fastcell.lstm.layout import of_layer, sizes_of
from fastcell.lstm.packing import CellParams
from fastcell.lstm.products import sums_of
from fastcell.simd.vector import size_of


def _layers(params):
    """How many layers params are of: None for a cell's, without an axis of layers in h and c."""
    return None if isinstance(params, types.NamedTuple) else len(params)


def _wrong_types(params, x, h, c):
    one = params if isinstance(params, types.NamedTuple) else getattr(params, "dtype", None)
    if not isinstance(one, types.NamedTuple) or one.instance_class is not CellParams:
        return f"params must be a cell's or an LSTM's params, got {params}"
    dtype = dict(zip(CellParams._fields, one.types, strict=True))["zero"]
    for name, array in (("x", x), ("h", h), ("c", c)):
        if not isinstance(array, types.Array) or array.dtype != dtype:
            return f"{name} must be an array of {dtype}, as the weights are, got {array}"
        ndim = x.ndim + (name != "x" and _layers(params) is not None)
        if x.ndim not in (1, 2) or array.ndim != ndim:
            return f"{name} must have {ndim} axes where x has {x.ndim}, 1 or 2, got {array.ndim}"
        if name != "x" and not array.mutable:
            return f"{name} must be writeable, got a read-only array"
    return None


def reason(*arguments: Any) -> str | None:
    """What is wrong with the types of lstm_step's arguments, if anything."""
    kinds = []
    for name, argument in zip(("params", "x", "h", "c"), arguments, strict=True):
        try:
            kinds.append(typeof(argument))
        except (ValueError, errors.NumbaError) as error:  # of no type that compiled code knows
            expected = "a cell's params" if name == "params" else "an array of floats"
            return f"{name} must be {expected}: {error}"
    return _wrong_types(*kinds)


def register(step: Any) -> None:
    """Let compiled code call `step(params, x, h, c)`."""

    @type_callable(step)
    def type_step(context):
        def typer(params, x, h, c):
            wrong = _wrong_types(params, x, h, c)
            if wrong:
                raise errors.TypingError(wrong)
            return types.none

        return typer

    lower_builtin(step, types.Any, types.Any, types.Any, types.Any)(_lower_step)


def _lower_step(context, builder, sig, args):
    kind, _, h_kind, c_kind = sig.args
    stacked = _layers(kind) is not None
    layers = cgutils.unpack_tuple(builder, args[0]) if stacked else [args[0]]
    kind = kind.dtype if stacked else kind
    x, h, c = (
        numbers_of(context, builder, k, a, sig.args[1].ndim) for k, a in zip(sig.args[1:], args[1:], strict=True)
    )
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


def _lower_layer(context, builder, kind, layer, x, h, c):
    """One layer's step, x, h and c as `numbers_of` gives them."""
    fields = dict(zip(CellParams._fields, cgutils.unpack_tuple(builder, layer), strict=True))
    kinds = dict(zip(CellParams._fields, kind.types, strict=True))
    block = context.make_array(kinds["block"])(context, builder, fields["block"])
    places = [context.make_tuple(builder, ARRAY, part) for part in (x, h, c)]
    signature = types.none(ARRAY, ARRAY, ARRAY, types.int64, kinds["special"], kinds["kind"])
    arguments = [*places, builder.ptrtoint(block.data, x[0].type), fields["special"], fields["kind"]]
    context.compile_internal(builder, _checked_step, signature, arguments)


def _check_layers(given, layers):
    if given != layers:
        raise ValueError("h and c must have shape (L, B, H) or (L, H), a layer of params each")


def _checked_step(x, h, c, layer, special, kind):
    if of_layer(layer, "build") != CACHE_TOKEN:
        raise ValueError("params were packed for another build or CPU: take them from a cell of this process")
    wrong = check(x, h, c, sizes_of(layer), size_of(sums_of(kind)))
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
    step_arrays(x, h, c, layer, special, kind)
