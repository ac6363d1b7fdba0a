"""The gates of an LSTM's steps, from what each step saw: the forward pass's arithmetic, which keeps none of them."""

import numpy as np

from fastcell._jit import inline, kernel
from fastcell.lstm.gates import activation, clamp, special_of
from fastcell.lstm.kernels import NONE
from fastcell.lstm.layout import GROUP, VECTOR, of_layer, part_of, sizes_of
from fastcell.lstm.products import operand_at, products, sums_of
from fastcell.simd.vector import address, fma, load, size_of, store, store_scalar


@kernel
def lstm_gates(layer, x, h, c, out, room, kind):
    """x: (N, I)  h: (N, R), before the step  c: (2, N, H), before and after it  out: (4, N, H), the gates i, f, g, o.

    H is padded to whole vectors. room: bytes for one row's gates, operands and two addresses, in this order.
    """
    like, size = sums_of(kind), sizes_of(layer)
    gates = np.int64(address(room))
    operands = gates + size.gate_row
    x_table = operands + size.x_operand + size.h_operand
    h_table = x_table + 8
    w_x = part_of(layer, "w_x"), of_layer(layer, "w_x_group"), size.inputs
    w_h = part_of(layer, "w_h"), of_layer(layer, "w_h_group"), size.returned
    special = special_of(layer)
    to, floor = (gates, size.gate_row), of_layer(layer, "h_floor")
    for n in range(len(x)):
        x_n = address(x) + n * size.inputs * size_of(like)
        h_n = address(h) + n * size.returned * size_of(like)
        store_scalar(x_table, operand_at(kind, x_n, operands, 0, size.x_operand, size.inputs, 0.0))
        h_operand = operand_at(kind, h_n, operands + size.x_operand, 0, size.h_operand, size.returned, floor)
        store_scalar(h_table, h_operand)
        products(kind, (part_of(layer, "bias"), NONE), to, size.groups, size.last, w_x, (x_table, NONE), 1)
        products(kind, to, to, size.groups, size.last, w_h, (h_table, NONE), 1)
        for k in range(size.groups):
            place, part = n * size.c_row + k * VECTOR, len(x) * size.c_row
            before = address(c) + place
            apart = VECTOR // 4 * (size.last if k + 1 == size.groups else 4)
            _finish((gates + k * GROUP, apart), before, before + part, address(out) + place, part, k, special, like)


@inline
def _finish(gates, before, after, to, part, unit, special, like):
    """One vector's gates, i, f, g, o `part` bytes apart, from their sums and the memory before and after the step.

    gates: the address of the sums, bytes from one gate's to the next.
    """
    activations, peephole, clip, coupled = special
    sums, apart = gates
    i, f = load(sums, like), load(sums + apart, like)
    g, o = load(sums + 2 * apart, like), load(sums + 3 * apart, like)
    if peephole != 0:
        at = peephole + unit * 3 * VECTOR
        i, f = fma(load(at, like), load(before, like), i), fma(load(at + VECTOR, like), load(before, like), f)
        o = fma(load(at + 2 * VECTOR, like), load(after, like), o)
    i = activation(clamp(i, clip), activations, 0)
    store(to, i)
    store(to + part, 1.0 - i if coupled else activation(clamp(f, clip), activations, 0))
    store(to + 2 * part, activation(clamp(g, clip), activations, 1))
    store(to + 3 * part, activation(clamp(o, clip), activations, 0))
