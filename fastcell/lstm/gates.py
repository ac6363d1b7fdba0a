"""The gates of a cell: from sums to the new c and h."""

from fastcell._jit import inline
from fastcell.lstm.layout import of_layer, part_of
from fastcell.simd.activations import activate, sigmoid, sigmoid_parts, tanh_parts
from fastcell.simd.vector import FLOAT64, fma, load, load_scalar, select, size_of, store, width


@inline
def special_of(layer):
    """What a layer has beside sigmoid, tanh, tanh: addresses of its activations and peepholes or 0, clip, coupled."""
    return (
        part_of(layer, "activations"), part_of(layer, "peephole"), of_layer(layer, "clip"),
        of_layer(layer, "coupled") != 0,
    )  # fmt: skip


@inline
def clamp(x, limit):
    """x held to [-limit, limit]; NaN stays."""
    x = select(x < -limit, -limit, x)
    return select(x > limit, limit, x)


@inline
def activation(x, activations, which):
    """The activation of the gates (0), of g (1) or of c before the output (2)."""
    at = activations + 24 * which
    return activate(x, load_scalar(at, FLOAT64), load_scalar(at + 8, FLOAT64), load_scalar(at + 16, FLOAT64))


@inline
def advance(gates, c_at, h_at, unit, special, like):
    """c = f * c + i * g and h = o * tanh(c), for the units of one vector in one row."""
    v = width(like) * size_of(like)
    i, f, g, o = load(gates, like), load(gates + v, like), load(gates + 2 * v, like), load(gates + 3 * v, like)
    c = load(c_at, like)
    if special is None:
        (i, i_part), (g, g_part) = sigmoid_parts(i), tanh_parts(g)
        c = fma(sigmoid(f), c, (i * g) / (i_part * g_part))
        store(c_at, c)
        (o, o_part), (h, h_part) = sigmoid_parts(o), tanh_parts(c)
        store(h_at, (o * h) / (o_part * h_part))
    else:
        activations, peephole, clip, coupled = special
        at = peephole + unit * 3 * v
        if peephole != 0:
            i, f = fma(load(at, like), c, i), fma(load(at + v, like), c, f)
        i = activation(clamp(i, clip), activations, 0)
        f = 1.0 - i if coupled else activation(clamp(f, clip), activations, 0)
        c = fma(f, c, i * activation(clamp(g, clip), activations, 1))
        if peephole != 0:
            o = fma(load(at + 2 * v, like), c, o)
        store(c_at, c)
        store(h_at, activation(clamp(o, clip), activations, 0) * activation(c, activations, 2))
