"""The gates of a cell: from sums to the new c and h."""

from fastcell._jit import helper, inline
from fastcell.lstm.layout import VECTOR, of_layer, part_of
from fastcell.simd.activations import (
    activate,
    rough_sigmoid_part,
    rough_tanh_parts,
    sigmoid,
    sigmoid_parts,
    tanh_parts,
)
from fastcell.simd.tiles import load_rows, store_rows
from fastcell.simd.vector import FLOAT64, fma, load, load_scalar, select, store


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
def _plain(i, f, g, o, c, rough):
    """The new c and h."""
    if rough is not None:
        g, g_part = rough_tanh_parts(g)
        c = fma(1.0 / rough_sigmoid_part(f), c, g / (rough_sigmoid_part(i) * g_part))
        h, h_part = rough_tanh_parts(c)
        return c, h / (rough_sigmoid_part(o) * h_part)
    (i, i_part), (g, g_part) = sigmoid_parts(i), tanh_parts(g)
    c = fma(sigmoid(f), c, (i * g) / (i_part * g_part))
    (o, o_part), (h, h_part) = sigmoid_parts(o), tanh_parts(c)
    return c, (o * h) / (o_part * h_part)


@inline
def _special(i, f, g, o, c, special, p_i, p_f, p_o):
    """The new c and h; p_i, p_f, p_o: peepholes, if there are any."""
    activations, peephole, clip, coupled = special
    if peephole != 0:
        i, f = fma(p_i, c, i), fma(p_f, c, f)
    i = activation(clamp(i, clip), activations, 0)
    f = 1.0 - i if coupled else activation(clamp(f, clip), activations, 0)
    c = fma(f, c, i * activation(clamp(g, clip), activations, 1))
    if peephole != 0:
        o = fma(p_o, c, o)
    return c, activation(clamp(o, clip), activations, 0) * activation(c, activations, 2)


@helper
def _advance_shared(gates, c, h, count, vectors, unit, special, like, rough):
    """`advance` for a group of one or two vectors: four or two rows at once."""
    (at, row), (c_at, c_row), (h_at, h_row) = gates, c, h
    v, rows = vectors * (VECTOR // 4), 4 if vectors == 1 else 2
    while count > 0:
        i, f = load_rows(at, row, count, vectors, like), load_rows(at + v, row, count, vectors, like)
        g, o = load_rows(at + 2 * v, row, count, vectors, like), load_rows(at + 3 * v, row, count, vectors, like)
        before = load_rows(c_at, c_row, count, vectors, like)
        if special is None:
            after, out = _plain(i, f, g, o, before, rough)
        else:
            _, peephole, _, _ = special
            p = peephole + unit * 3 * VECTOR if peephole != 0 else at
            p_i, p_f = load_rows(p, 0, count, vectors, like), load_rows(p + VECTOR, 0, count, vectors, like)
            p_o = load_rows(p + 2 * VECTOR, 0, count, vectors, like)
            after, out = _special(i, f, g, o, before, special, p_i, p_f, p_o)
        store_rows(c_at, c_row, count, vectors, after)
        store_rows(h_at, h_row, count, vectors, out)
        at, c_at, h_at = at + rows * row, c_at + rows * c_row, h_at + rows * h_row
        count -= rows


@inline
def advance(gates, c, h, count, vectors, unit, special, like, rough):
    """c = f * c + i * g and h = o * tanh(c), for a group's units in `count` rows.

    gates, c, h: address of the first row's, bytes from row to row.  vectors: that the four gates fill. Of one or two
    no more is read or written than the units have; of three or four, whole vectors of each.  rough: None where sums
    deserve activations exact to some ulp.
    """
    if vectors < 3:
        _advance_shared(gates, c, h, count, vectors, unit, special, like, rough)
        return
    v = vectors * (VECTOR // 4)
    for r in range(count):
        at, c_at = gates[0] + r * gates[1], c[0] + r * c[1]
        i, f, g, o = load(at, like), load(at + v, like), load(at + 2 * v, like), load(at + 3 * v, like)
        if special is None:
            after, out = _plain(i, f, g, o, load(c_at, like), rough)
        else:
            _, peephole, _, _ = special
            p = peephole + unit * 3 * VECTOR if peephole != 0 else at
            p_i, p_f, p_o = load(p, like), load(p + VECTOR, like), load(p + 2 * VECTOR, like)
            after, out = _special(i, f, g, o, load(c_at, like), special, p_i, p_f, p_o)
        store(c_at, after)
        store(h[0] + r * h[1], out)
