"""The gates of an LSTM's steps, from what each step saw: the forward pass's arithmetic, which keeps none of them."""

from fastcell._jit import inline, kernel
from fastcell.simd.activations import activate
from fastcell.simd.vector import fma, load, load_scalar, select, size_of, store, width


@inline
def _gate(z, clip, activations, which):
    z = select(z < -clip, -clip, z)
    z = select(z > clip, clip, z)
    return activate(z, activations[which, 0], activations[which, 1], activations[which, 2])


@kernel
def lstm_gates(x, h, c, w, peephole, out, sizes, activations, clip, coupled, like):
    """Addresses; H is padded to whole vectors, and every row lies beside the next.

    x: (N, I)  h: (N, R) before the step  c: (2, N, H) before and after it  w: (1 + I + R, 4, H), the bias first
    peephole: (3, H) or 0  out: (4, N, H), the gates i, f, g, o.
    """
    N, inputs, returned, hidden = sizes
    size = size_of(like)
    part = hidden * size
    for n in range(N):
        x_n, h_n = x + n * inputs * size, h + n * returned * size
        for k in range(0, hidden, width(like)):
            at = w + k * size
            i, f, g, o = load(at, like), load(at + part, like), load(at + 2 * part, like), load(at + 3 * part, like)
            for j in range(inputs + returned):
                at += 4 * part
                seen = load_scalar(x_n + j * size if j < inputs else h_n + (j - inputs) * size, like)
                i, f = fma(load(at, like), seen, i), fma(load(at + part, like), seen, f)
                g, o = fma(load(at + 2 * part, like), seen, g), fma(load(at + 3 * part, like), seen, o)
            unit = n * part + k * size
            if peephole != 0:
                before, after = load(c + unit, like), load(c + N * part + unit, like)
                at = peephole + k * size
                i, f = fma(load(at, like), before, i), fma(load(at + part, like), before, f)
                o = fma(load(at + 2 * part, like), after, o)
            i = _gate(i, clip, activations, 0)
            to = out + unit
            store(to, i)
            store(to + N * part, 1.0 - i if coupled else _gate(f, clip, activations, 0))
            store(to + 2 * N * part, _gate(g, clip, activations, 1))
            store(to + 3 * N * part, _gate(o, clip, activations, 0))
