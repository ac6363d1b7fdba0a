"""Kernels that number keys in the order in which they are first met. What is read comes as an address.

codes: (T,) the number of each row's key, which is written.  firsts: (K,) the row in which each key is first met.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcell._jit import inline, kernel
from fastcell.simd.vector import load_scalar, size_of

_UINT8, _INT32 = np.uint8(0), np.int32(0)
_LARGE = 2.0**62
_MIX, _SPREAD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


@intrinsic
def _word(typingctx, address):
    """Eight bytes from any address."""

    def codegen(context, builder, sig, args):
        word = builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(types.uintp), codegen


@inline
def _mixed(hashed, word):
    hashed = (hashed ^ word) * _MIX
    return hashed ^ (hashed >> np.uint64(32))


@inline
def _tail(place, size):
    """Up to seven bytes as a word."""
    word = np.uint64(0)
    for k in range(size):
        word |= np.uint64(load_scalar(place + k, _UINT8)) << np.uint64(8 * k)
    return word


@inline
def _ends(place, size):
    """The first and the last eight bytes, which may be partly the same; of a shorter text all bytes and 0."""
    if size < 8:
        return _tail(place, size), np.uint64(0)
    return _word(place), _word(place + size - 8)


@inline
def _hash(head, tail, place, size):
    hashed = (head ^ np.uint64(size)) * _MIX ^ tail * _SPREAD
    hashed ^= hashed >> np.uint64(32)
    if size > 16:
        for k in range(8, size - 8, 8):
            hashed = _mixed(hashed, _word(place + k))
    hashed *= _SPREAD
    return hashed ^ (hashed >> np.uint64(32))


@inline
def _same_between(one, other, size):
    """Whether the bytes between the ends are the same."""
    same = True
    for k in range(8, size - 8, 8):
        same &= _word(one + k) == _word(other + k)
    return same


@kernel
def number_integers(keys, keys_t, T, low, table, codes, firsts, like):
    """Keys from `low` on, fewer than table's entries, all of which are -1; returns how many there are."""
    count = codes.dtype.type(0)
    for t in range(T):
        place = np.int64(load_scalar(keys + t * keys_t, like)) - low
        code = table[place]
        if code < 0:
            code = count
            table[place] = code
            firsts[count] = t
            count += codes.dtype.type(1)
        codes[t] = code
    return count


@kernel
def number_text(offsets, data, start, T, row, table, codes, firsts, met, count, like):
    """From text `start` on, until table is full. Text t is data[offsets[t] : offsets[t + 1]], row `row + t`.

    table: (a power of 2,) codes by hash, -1 where free.  met: (K, 4) of each key its ends, its size and its address.
    Returns the first t that is left, and how many keys there are.
    """
    mask, step = np.uint64(len(table) - 1), size_of(like)
    end = np.int64(load_scalar(offsets + start * step, like))
    for t in range(start, T):
        if count >= len(met):
            return t, count
        begin, end = end, np.int64(load_scalar(offsets + (t + 1) * step, like))
        size, place = end - begin, data + begin
        head, tail = _ends(place, size)
        slot = _hash(head, tail, place, size) & mask
        while True:
            code = table[slot]
            if code < 0:
                code = np.int32(count)
                table[slot] = code
                firsts[code] = row + t
                met[code, 0], met[code, 1], met[code, 2], met[code, 3] = head, tail, size, place
                count += 1
                break
            key = np.uint64(code)
            ends = met[key, 0] == head and met[key, 1] == tail and met[key, 2] == np.uint64(size)
            if ends and (size <= 16 or _same_between(np.uintp(met[key, 3]), place, size)):
                break
            slot = (slot + np.uint64(1)) & mask
        codes[row + t] = code
    return T, count


@kernel
def enter(met, count, table):
    """Enter the keys that there are in a new table."""
    mask = np.uint64(len(table) - 1)
    for code in range(count):
        slot = _hash(met[code, 0], met[code, 1], np.uintp(met[code, 3]), np.int64(met[code, 2])) & mask
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = code


@kernel
def since_last(times, times_t, codes, codes_t, T, last, gaps, none):
    """Write the time since the row of the same key before, 0 without one, and take `last` on.

    times: T of none's type, codes: T of int32.  last: (K,) each key's last time.  gaps: (T,)
    `none` is no time, as NaN is: there no time goes by. Returns the first row that is before its key's last, or T.
    """
    for t in range(T):
        time = load_scalar(times + t * times_t, none)
        key = load_scalar(codes + t * codes_t, _INT32)
        before = last[key]
        gaps[t] = 0.0
        if time == none or time != time:
            continue
        last[key] = time
        if before == none or before != before:
            continue
        if time < before:
            last[key] = before
            return t
        wide = np.float64(time) - np.float64(before)
        gaps[t] = np.float64(time - before) if wide < _LARGE else wide  # exact, where an int64 holds it
    return T
