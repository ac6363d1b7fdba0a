"""The gates of a cell: from sums to the new c and h."""

from fastcell._jit import inline
from fastcell.lstm.layout import VECTOR, of_layer, part_of
from fastcell.simd.activations import activate, sigmoid, sigmoid_parts, tanh_parts
from fastcell.simd.tiles import load_rows, store_rows
from fastcell.simd.vector import FLOAT64, fma, load_scalar, select


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


def _advance(pieces):
    """`advance` for one row, or for 2 or 4 of which each has half or a quarter of a vector's units."""

    @inline
    def advance(gates, c_at, h_at, there, vectors, unit, special, like):
        v = vectors * (VECTOR // 4)
        at, row = gates
        i = load_rows(at, row, there, like, pieces)
        f = load_rows(at + v, row, there, like, pieces)
        g = load_rows(at + 2 * v, row, there, like, pieces)
        o = load_rows(at + 3 * v, row, there, like, pieces)
        c = load_rows(c_at[0], c_at[1], there, like, pieces)
        if special is None:
            (i, i_part), (g, g_part) = sigmoid_parts(i), tanh_parts(g)
            c = fma(sigmoid(f), c, (i * g) / (i_part * g_part))
            store_rows(c_at[0], c_at[1], there, c, pieces)
            (o, o_part), (h, h_part) = sigmoid_parts(o), tanh_parts(c)
            h = (o * h) / (o_part * h_part)
        else:
            activations, peephole, clip, coupled = special
            at = peephole + unit * 3 * VECTOR
            if peephole != 0:
                i = fma(load_rows(at, 0, there, like, pieces), c, i)
                f = fma(load_rows(at + VECTOR, 0, there, like, pieces), c, f)
            i = activation(clamp(i, clip), activations, 0)
            f = 1.0 - i if coupled else activation(clamp(f, clip), activations, 0)
            c = fma(f, c, i * activation(clamp(g, clip), activations, 1))
            if peephole != 0:
                o = fma(load_rows(at + 2 * VECTOR, 0, there, like, pieces), c, o)
            store_rows(c_at[0], c_at[1], there, c, pieces)
            h = activation(clamp(o, clip), activations, 0) * activation(c, activations, 2)
        store_rows(h_at[0], h_at[1], there, h, pieces)

    return advance


_advance_1, _advance_2, _advance_4 = (_advance(pieces) for pieces in (1, 2, 4))


@inline
def advance(gates, c, h, count, vectors, unit, special, like):
    """c = f * c + i * g and h = o * tanh(c), for a group's units in `count` rows.

    gates, c, h: address of the first row's, bytes from row to row.  vectors: that the four gates fill. Of one or two
    vectors' units, four or two rows fill a register.
    """
    step = 4 if vectors == 1 else 2 if vectors == 2 else 1
    for r in range(0, count, step):
        places = (gates[0] + r * gates[1], gates[1]), (c[0] + r * c[1], c[1]), (h[0] + r * h[1], h[1])
        if vectors == 1:
            _advance_4(*places, count - r, vectors, unit, special, like)
        elif vectors == 2:
            _advance_2(*places, count - r, vectors, unit, special, like)
        else:
            _advance_1(*places, count - r, vectors, unit, special, like)
