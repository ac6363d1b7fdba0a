"""Kernels of `gated_scan`. Arguments, layouts and what is returned are as in toy_kernels.py."""

from fastcell._jit import inline, kernel
from fastcell.scan.blocks import PACKED, ROW, ahead_of, clear, gather, pack, scatter, unpack
from fastcell.simd.vector import (
    LANES,
    add_overflows,
    any_lane,
    convert,
    first_lane,
    load,
    load_scalar,
    mul_overflows,
    scratch,
    size_of,
    splat,
    store,
    store_scalar,
)


@inline
def _gated_rule(a, x, f, i, overflow):
    """f * a + i * x, each product and the sum rounded."""
    x, f, i = convert(x, a), convert(f, a), convert(i, a)
    kept, added = f * a, i * x
    overflow = overflow | mul_overflows(f, a) | mul_overflows(i, x) | add_overflows(kept, added)
    return kept + added, overflow


@inline
def _shown(a, o, overflow):
    """o * a."""
    o = convert(o, a)
    return o * a, overflow | mul_overflows(o, a)


@inline
def _gate(g, g_b, b, like):
    """A gate of LANES columns, or one gate for all of them where its stride is 0."""
    if g_b == 0:
        return splat(load_scalar(g, like), LANES)
    return load(g + b * size_of(like), like, LANES)


@kernel
def gated_columns(
    x, x_t, f, f_t, f_b, i, i_t, i_b, o, o_t, o_b, y, y_t, a, T, first, last, out_zero, zero,
    like_x, like_f, like_i, like_o,
):  # fmt: skip
    """At least LANES columns, side by side in every array but in gates with one value for all columns."""
    size, size_y = size_of(like_x), size_of(out_zero)
    overflow = splat(zero, LANES) != 0
    whole = first + (last - first) // LANES * LANES
    tail = scratch(ROW)
    store(tail, load(a + (last - LANES) * 8, zero, LANES))
    for t in range(T):
        for b in range(first, last, LANES):
            place, at = a + b * 8, b
            if b >= whole:  # as in toy_kernels.py
                place, at = tail, last - LANES
            gate_f, gate_i = _gate(f + t * f_t, f_b, at, like_f), _gate(i + t * i_t, i_b, at, like_i)
            values = load(x + t * x_t + at * size, like_x, LANES)
            memory, overflow = _gated_rule(load(place, zero, LANES), values, gate_f, gate_i, overflow)
            store(place, memory)
            out, overflow = _shown(memory, _gate(o + t * o_t, o_b, at, like_o), overflow)
            store(y + t * y_t + at * size_y, convert(out, out_zero))
    if whole < last:
        store(a + (last - LANES) * 8, load(tail, zero, LANES))
    return any_lane(overflow)


@kernel
def gated_strips(
    x, x_t, x_b, f, f_t, f_b, i, i_t, i_b, o, o_t, o_b, y, y_t, y_b, a, T, first, last, block, stretch, work,
    out_zero, zero, like_x, like_f, like_i, like_o,
):  # fmt: skip
    """Any layout; blocks as in toy_strips."""
    px, pf, pi, po, py = work, work + PACKED, work + 2 * PACKED, work + 3 * PACKED, work + 4 * PACKED
    sx, sf, si, so = LANES * size_of(like_x), LANES * size_of(like_f), LANES * size_of(like_i), LANES * size_of(like_o)
    sy = LANES * size_of(out_zero)
    memories = scratch(ROW)
    overflow = splat(zero, LANES) != 0
    for start in range(0, T, stretch):
        stop = min(start + stretch, T)
        for b in range(first, last, LANES):
            count = min(LANES, last - b)
            if count < LANES:
                for packed in (px, pf, pi, po):
                    clear(packed)
            gather(a + b * 8, count, memories, zero)
            memory = load(memories, zero, LANES)
            for t in range(start, stop, block):
                steps = min(block, stop - t)
                pack(x + t * x_t + b * x_b, x_t, x_b, steps, count, ahead_of(x_t, x_b, T), px, like_x)
                pack(f + t * f_t + b * f_b, f_t, f_b, steps, count, ahead_of(f_t, f_b, T), pf, like_f)
                pack(i + t * i_t + b * i_b, i_t, i_b, steps, count, ahead_of(i_t, i_b, T), pi, like_i)
                pack(o + t * o_t + b * o_b, o_t, o_b, steps, count, ahead_of(o_t, o_b, T), po, like_o)
                for k in range(steps):
                    gate_f, gate_i = load(pf + k * sf, like_f, LANES), load(pi + k * si, like_i, LANES)
                    values = load(px + k * sx, like_x, LANES)
                    memory, overflow = _gated_rule(memory, values, gate_f, gate_i, overflow)
                    out, overflow = _shown(memory, load(po + k * so, like_o, LANES), overflow)
                    store(py + k * sy, convert(out, out_zero))
                unpack(py, y + t * y_t + b * y_b, y_t, y_b, steps, count, ahead_of(y_t, y_b, T), out_zero)
            store(memories, memory)
            scatter(memories, count, a + b * 8, zero)
    return any_lane(overflow)


@inline
def _gated_one(x, f, i, o, y, memory, overflow, out_zero, like_x, like_f, like_i, like_o):
    """One step of one column; returns its memory."""
    values, gate_f = splat(load_scalar(x, like_x), 1), splat(load_scalar(f, like_f), 1)
    gate_i, gate_o = splat(load_scalar(i, like_i), 1), splat(load_scalar(o, like_o), 1)
    memory, overflow = _gated_rule(memory, values, gate_f, gate_i, overflow)
    out, overflow = _shown(memory, gate_o, overflow)
    store_scalar(y, first_lane(convert(out, out_zero)))
    return memory, overflow


@kernel
def gated_sequence(
    x, x_t, f, f_t, i, i_t, o, o_t, y, y_t, a, T, out_zero, zero, like_x, like_f, like_i, like_o
):  # fmt: skip
    """One column, step after step: its product and its sum wait for those before."""
    memory, overflow = load(a, zero, 1), splat(zero, 1) != 0
    for t in range(T):
        memory, overflow = _gated_one(
            x + t * x_t, f + t * f_t, i + t * i_t, o + t * o_t, y + t * y_t, memory, overflow, out_zero,
            like_x, like_f, like_i, like_o,
        )  # fmt: skip
    store(a, memory)
    return any_lane(overflow)


@kernel
def gated_keyed(
    x, x_t, x_b, f, f_t, f_b, i, i_t, i_b, o, o_t, o_b, keys, keys_t, y, y_t, y_b, a, T, B, out_zero, zero,
    like_x, like_f, like_i, like_o, like_key,
):  # fmt: skip
    """A memory for each key, as in toy_keyed."""
    overflow = splat(zero, 1) != 0
    if B == 1:
        for t in range(T):
            place = a + load_scalar(keys + t * keys_t, like_key) * 8
            memory, overflow = _gated_one(
                x + t * x_t, f + t * f_t, i + t * i_t, o + t * o_t, y + t * y_t, load(place, zero, 1), overflow,
                out_zero, like_x, like_f, like_i, like_o,
            )  # fmt: skip
            store(place, memory)
        return any_lane(overflow)
    for t in range(T):
        row = a + load_scalar(keys + t * keys_t, like_key) * B * 8
        for b in range(B):
            memory, overflow = _gated_one(
                x + t * x_t + b * x_b, f + t * f_t + b * f_b, i + t * i_t + b * i_b, o + t * o_t + b * o_b,
                y + t * y_t + b * y_b, load(row + b * 8, zero, 1), overflow, out_zero, like_x, like_f, like_i, like_o,
            )  # fmt: skip
            store(row + b * 8, memory)
    return any_lane(overflow)
