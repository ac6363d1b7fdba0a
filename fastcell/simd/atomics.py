"""Words that several threads read and write at once, as machines order them, and how to wait for one to change."""

import os

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcell import _machine
from fastcell._jit import inline
from fastcell.simd.vector import _call, _pointer

_WORD = ir.IntType(64)


def _changed(operation):
    def codegen(context, builder, sig, args):
        return builder.atomic_rmw(operation, _pointer(builder, args[0], _WORD), args[1], "seq_cst")

    return types.int64(types.uintp, types.int64), codegen


@intrinsic
def atomic_add(typingctx, address, number):
    """Add to the word at the address; returns what it was."""
    return _changed("add")


@intrinsic
def atomic_or(typingctx, address, bits):
    """Set bits of the word at the address; returns what it was."""
    return _changed("or")


@intrinsic
def atomic_swap_if(typingctx, address, old, new):
    """Replace the word at the address if it is `old`; whether it was."""

    def codegen(context, builder, sig, args):
        place = _pointer(builder, args[0], _WORD)
        return builder.extract_value(builder.cmpxchg(place, args[1], args[2], "seq_cst", "seq_cst"), 1)

    return types.boolean(types.uintp, types.int64, types.int64), codegen


@intrinsic
def load_atomic(typingctx, address):
    """The word at the address; what its writer wrote before it is seen by what is read after it."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(_pointer(builder, args[0], _WORD), "acquire", 8)

    return types.int64(types.uintp), codegen


@intrinsic
def store_atomic(typingctx, address, number):
    """Write the word at the address, after all that was written before."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[1], _pointer(builder, args[0], _WORD), "release", 8)

    return types.void(types.uintp, types.int64), codegen


def _pause(builder):
    told = _machine.pause_intrinsic()
    if told is not None:
        name, numbers = told
        _call(builder, name, ir.VoidType(), [ir.Constant(ir.IntType(32), number) for number in numbers])


@intrinsic
def pause(typingctx):
    """Tell the CPU that this thread waits for a word: some tens of nanoseconds, in which the core's other one runs."""

    def codegen(context, builder, sig, args):
        _pause(builder)

    return types.void(), codegen


@intrinsic
def let_others_run(typingctx):
    """Give the core to a thread that waits for one; where the system has no such call, `pause`."""

    def codegen(context, builder, sig, args):
        if hasattr(os, "sched_yield"):
            _call(builder, "sched_yield", ir.IntType(32), [])
        else:
            _pause(builder)

    return types.void(), codegen


@inline
def relax(turn, pauses):
    """What to do in a turn of a loop that waits: at first the CPU is told, then other threads may run."""
    if turn < pauses:
        pause()
    else:
        let_others_run()
