"""Kernels of `gated_scan`. Arguments, layouts and what is returned are as in toy_kernels.py."""

from fastcell._jit import inline, kernel
from fastcell.scan.arrays import element, packed_values, starting, value, values
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
def _gate(gate, t, b):
    """A gate of LANES columns, or one gate for all of them where its columns are 0 bytes apart."""
    if gate[2] == 0:
        return value(gate, t, 0, LANES)
    return values(gate, t, b)


@kernel
def gated_columns(x, f, i, o, y, a, T, first, last, _stream, out_zero, zero):
    """At least LANES columns, side by side in every array but in gates with one value for all columns."""
    to, to_t, _, _ = y
    overflow = splat(zero, LANES) != 0
    whole = first + (last - first) // LANES * LANES
    tail = scratch(ROW)
    store(tail, load(a + (last - LANES) * 8, zero, LANES))
    for t in range(T):
        for b in range(first, last, LANES):
            place, at = a + b * 8, b
            if b >= whole:  # as in toy_kernels.py
                place, at = tail, last - LANES
            memory = load(place, zero, LANES)
            memory, overflow = _gated_rule(memory, values(x, t, at), _gate(f, t, at), _gate(i, t, at), overflow)
            store(place, memory)
            out, overflow = _shown(memory, _gate(o, t, at), overflow)
            store(to + t * to_t + at * size_of(out_zero), convert(out, out_zero))
    if whole < last:
        store(a + (last - LANES) * 8, load(tail, zero, LANES))
    return any_lane(overflow)


@kernel
def gated_strips(x, f, i, o, y, a, T, first, last, block, stretch, work, out_zero, zero):
    """Any layout; blocks as in toy_strips."""
    px, pf, pi, po, py = work, work + PACKED, work + 2 * PACKED, work + 3 * PACKED, work + 4 * PACKED
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
                pack(starting(x, t, b), steps, count, ahead_of(x[1], x[2], T), px)
                pack(starting(f, t, b), steps, count, ahead_of(f[1], f[2], T), pf)
                pack(starting(i, t, b), steps, count, ahead_of(i[1], i[2], T), pi)
                pack(starting(o, t, b), steps, count, ahead_of(o[1], o[2], T), po)
                for k in range(steps):
                    gate_f, gate_i = packed_values(pf, k, f[3]), packed_values(pi, k, i[3])
                    memory, overflow = _gated_rule(memory, packed_values(px, k, x[3]), gate_f, gate_i, overflow)
                    out, overflow = _shown(memory, packed_values(po, k, o[3]), overflow)
                    store(py + k * LANES * size_of(out_zero), convert(out, out_zero))
                unpack(py, starting(y, t, b), steps, count, ahead_of(y[1], y[2], T))
            store(memories, memory)
            scatter(memories, count, a + b * 8, zero)
    return any_lane(overflow)


@inline
def gated_one(x, f, i, o, y, t, b, memory, overflow, out_zero):
    """One step of one column; returns its memory."""
    memory, overflow = _gated_rule(memory, value(x, t, b, 1), value(f, t, b, 1), value(i, t, b, 1), overflow)
    out, overflow = _shown(memory, value(o, t, b, 1), overflow)
    store_scalar(element(y, t, b), first_lane(convert(out, out_zero)))
    return memory, overflow


@kernel
def gated_sequence(x, f, i, o, y, a, start, stop, _work, out_zero, zero):
    """One column, step after step: its product and its sum wait for those before."""
    memory, overflow = load(a, zero, 1), splat(zero, 1) != 0
    for t in range(start, stop):
        memory, overflow = gated_one(x, f, i, o, y, t, 0, memory, overflow, out_zero)
    store(a, memory)
    return any_lane(overflow)


@kernel
def gated_keyed(x, f, i, o, y, keys, a, T, B, out_zero, zero):
    """A memory for each key, as in toy_keyed."""
    overflow = splat(zero, 1) != 0
    if B == 1:
        for t in range(T):
            place = a + load_scalar(element(keys, t, 0), keys[3]) * 8
            memory, overflow = gated_one(x, f, i, o, y, t, 0, load(place, zero, 1), overflow, out_zero)
            store(place, memory)
        return any_lane(overflow)
    for t in range(T):
        row = a + load_scalar(element(keys, t, 0), keys[3]) * B * 8
        for b in range(B):
            memory, overflow = gated_one(x, f, i, o, y, t, b, load(row + b * 8, zero, 1), overflow, out_zero)
            store(row + b * 8, memory)
    return any_lane(overflow)
