"""Kernels broken on purpose: a short check against the oracle, one of quick_checks.py, notices each."""

from typing import NamedTuple

import pytest

from fastcell._jit import features
from tests.helpers import processes

LSTM, CELL, GATES, PRODUCTS = (f"lstm/{name}.py" for name in ("kernels", "cell_kernels", "gates", "products"))
KERNELS, GATED = "scan/toy_kernels.py", "scan/gated_kernels.py"
RULES, SEQUENCE = "scan/rules.py", "scan/sequence_kernels.py"
REGISTERS, CALLS = "scan/toy_registers.py", "scan/small_kernels.py"
MEETING = "lstm/meeting.py"
GATED_REGISTERS = "scan/gated_registers.py"


class Mutant(NamedTuple):
    """A change that `check`, one of quick_checks.py, must notice by `error`."""

    check: str
    file: str
    old: str
    new: str
    error: str = "AssertionError"


MUTANTS = {
    "a reset keeps": Mutant("columns", KERNELS, "a = select(forgets(r), 0, a)", "a = select(r == 2, 0, a)"),
    "an emit at another rule": Mutant("columns", KERNELS, "return select(e > 0,", "return select(e == 0,"),
    "gates swapped": Mutant("gated_columns", GATED, "kept, added = f * a, i * x", "kept, added = i * a, f * x"),
    "the output gate forgotten": Mutant("gated_columns", GATED, "return o * a, overflow", "return a, overflow"),
    "LSTM gates swapped": Mutant(
        "lstm_plain", GATES, "c = fma(sigmoid(f), c, (i * g)", "c = fma(sigmoid(o), c, (i * g)"
    ),
    "LSTM memory not kept": Mutant(
        "lstm_plain", GATES, "        store(c_at, after)\n        store(h[0]", "        store(h[0]"
    ),
    "LSTM last tile left out": Mutant(
        "lstm_plain", PRODUCTS, "for tile in range(tiles):", "for tile in range(max(tiles - 1, 1)):"
    ),
    "LSTM gates of units left over in another order": Mutant(
        "lstm_plain", "lstm/packing.py", "= grouped[-1, :, :units]", "= grouped[-1, ::-1, :units]"
    ),
    "LSTM rows of units left over passed by": Mutant("lstm_plain", PRODUCTS, "row += tall", "row += 2 * tall"),
    "LSTM rows of units left over written over": Mutant(
        "lstm_plain", GATES, "at, c_at, h_at = at + rows * row,", "at, c_at, h_at = at + 0 * row,"
    ),
    "LSTM rows that are not there add": Mutant(
        "lstm_plain",
        "lstm/tile.py",
        "last = builder.sub(there, self.constant(1))",
        "last = builder.sub(there, self.constant(2))",
    ),
    "LSTM tail lanes left out": Mutant(
        "lstm_plain", LSTM, "    if k < count:\n        store_first", "    if k > count:\n        store_first"
    ),
    "LSTM peephole of o is that of i": Mutant("lstm_special", GATES, "o = fma(p_o, c, o)", "o = fma(p_i, c, o)"),
    "LSTM clip forgotten": Mutant("lstm_special", GATES, "return select(x > limit, limit, x)", "return x"),
    "LSTM h not taken back": Mutant(
        "lstm_plain", LSTM, "(room.flip, NONE) if q & 1 else (NONE, room.flip)", "NONE, room.flip"
    ),
    "a short row's h is that of another step": Mutant(
        "lstm_plain", LSTM, "(room.flip if end & 1 else 0)", '(room.flip if of_call(call, "steps") & 1 else 0)'
    ),
    "no tail": Mutant(
        "columns", KERNELS, "        if whole < last:\n            overflow", "        if False:\n            overflow"
    ),
    "memory dropped between blocks": Mutant(
        "strips", KERNELS, "            store(memories, memory)\n            scatter", "            scatter"
    ),
    "segments not chained": Mutant("sequence", SEQUENCE, "else carry + total", "else total"),
    "segments that forget are not known": Mutant(
        "sequence", SEQUENCE, "forgot = forgot | forgets(r)", "forgot = forgot | (r == -5)"
    ),
    "wrong step order": Mutant(
        "strips", "scan/blocks.py", "packed + k * row, row, LANES, to + k * size", "packed, row, LANES, to + k * size"
    ),
    "output before the rule": Mutant(
        "strips",
        KERNELS,
        "LANES * size_of(fill), _emit(memory, e, fill))",
        "LANES * size_of(fill), _emit(memory - select(r == 1, convert(x, memory), 0), e, fill))",
    ),
    "a keep adds": Mutant("columns", KERNELS, "x = select(takes(r), convert", "x = select(r >= 0, convert"),
    "a restart keeps": Mutant("strips", KERNELS, "select(forgets(r), 0, a)", "select(r == -1, 0, a)"),
    "a restart takes nothing": Mutant("columns", KERNELS, "x = select(takes(r), convert", "x = select(r == 1, convert"),
    "a segment's restart keeps": Mutant(
        "sequence", SEQUENCE, "forgot = forgot | forgets(r)", "forgot = forgot | (r == -1)"
    ),
    "eight steps' restart keeps": Mutant("registers", REGISTERS, "mask_bits(forgets(rules))", "mask_bits(rules == -1)"),
    "resets don't stop a carry": Mutant(
        "sequence", SEQUENCE, "return total if forgot else carry + total", "return carry + total"
    ),
    "no carry between threads": Mutant(
        "sequence", "scan/dispatch.py", "starts[k + 1] = starts[k]", "starts[k + 1] = 0 * starts[k]"
    ),
    "floats overflow in another order": Mutant("overflowing_floats", SEQUENCE, "HUGE = 1e300", "HUGE = 1e999"),
    "one memory for all keys": Mutant(
        "keyed",
        KERNELS,
        "load_scalar(element(keys, t, 0), keys[3]) *",
        "0 * load_scalar(element(keys, t, 0), keys[3]) *",
    ),
    "wraps unnoticed": Mutant("integers", KERNELS, "overflow | add_overflows(a, x)", "overflow"),
    "what isn't added overflows": Mutant(
        "integers", KERNELS, "return a + x, overflow |", "return a + x, (overflow | (a != 0)) |", "OverflowError"
    ),
    "a key's memory wraps unnoticed": Mutant("integers", KERNELS, "taken & add_overflows(a, x)", "taken & (a != a)"),
    "what isn't added to a key's memory overflows": Mutant(
        "integers", KERNELS, "(taken & add_overflows(a, x))", "add_overflows(a, x)", "OverflowError"
    ),
    "a key's restart keeps": Mutant("keyed", KERNELS, "a, x = select(forgets(r), 0,", "a, x = select(r == -1, 0,"),
    "a key's restart takes nothing": Mutant("keyed", KERNELS, "2), takes(r)", "2), r == 1"),
    "a memory goes below its floor": Mutant("bounds", RULES, "select(total < low, low, total)", "total"),
    "a memory goes above its capacity": Mutant(
        "bounds", RULES, "return select(total > high, high, total)", "return total"
    ),
    "what leaves int64 is held to the other end": Mutant(
        "bounds", RULES, "select(wraps & (x > 0), high, total)", "select(wraps & (x > 0), low, total)"
    ),
    "an end without a bound is one": Mutant("bounds", RULES, "(total == _LEAST) | (total == _MOST)", "total == _LEAST"),
    "segments between bounds not chained": Mutant("bounded_column", SEQUENCE, "else held", "else least"),
    "a segment's sum held to no bound": Mutant(
        "bounded_column", SEQUENCE, "held_sum(least, x, bounds), held_sum(most, x, bounds)", "least + x, most + x"
    ),
    "a segment's memory is in its bounds already": Mutant(
        "bounded_column",
        SEQUENCE,
        "select(gone, only, high)",
        "select(gone, only, held_sum(splat(high, LANES), total, bounds))",
    ),
    "infinities are summed up": Mutant(
        "bounded_column", SEQUENCE, "select(wraps, HUGE, sizes)", "select(wraps, HUGE, 0 * sizes)"
    ),
    "any rule outputs": Mutant("other_rules", KERNELS, "select(e > 0, convert", "select(e != -9, convert"),
    "255 resets": Mutant(
        "other_rules", "scan/arguments.py", "np.minimum(_checks.once(rules), 3).astype", "_checks.once(rules).astype"
    ),
    "other rules forget": Mutant(
        "other_rules", "scan/arguments.py", "if not (signed.size and", "if not (signed.size and strict and"
    ),
    "a column belongs to no thread": Mutant(
        "columns", "_threads.py", "k // parts * step for", "k // parts * step + 1 for"
    ),
    "sums cross a reset": Mutant("registers", REGISTERS, "at + _BY_2, ~(by_1 | _FIRST_2)", "at + _BY_2, ~_FIRST_2"),
    "sums run on from the lanes above": Mutant("registers", REGISTERS, "~(by_2 | _FIRST_4)", "~by_2"),
    "a carry over eight steps dropped": Mutant("registers", REGISTERS, "8), a + memory, a)", "8), a, a)"),
    "the last steps left out": Mutant("registers", REGISTERS, "if 8 * whole < left:", "if 8 * whole > left:"),
    "a square's reset keeps": Mutant("registers", REGISTERS, "mask_bits(~forgets(rules))", "mask_bits(rules == rules)"),
    "a square's columns are mixed up": Mutant(
        "registers", "simd/tiles.py", "_LOW_TWO, _HIGH_TWO = [0, 1, 8, 9,", "_LOW_TWO, _HIGH_TWO = [0, 1, 9, 8,"
    ),
    "the steps after the last eight left out": Mutant("registers", REGISTERS, "if whole < T:", "if whole > T:"),
    "columns after the last eight left out": Mutant(
        "registers", "scan/dispatch.py", "if whole < last:", "if whole > last:"
    ),
    "a small call drops its memory": Mutant(
        "calls", CALLS, "p1, p2, p3, to, t, b, row + b * 8,", "p1, p2, p3, to, t, b, row,"
    ),
    "a small call has one memory for all keys": Mutant(
        "calls",
        CALLS,
        "row += load_scalar(element(codes, t, 0), codes[3]) * B * 8\n        for b in range(B):\n            o",
        "row += 0\n        for b in range(B):\n            o",
    ),
    "a small call takes one gate for all columns": Mutant(
        "calls", CALLS, "step if T > 1 else 0, column if B > 1 else 0", "step if T > 1 else 0, column if B > 9 else 0"
    ),
    "a small call takes any rule": Mutant("calls", CALLS, "_others(x3, p3, 0, 1)", "_others(x3, p3, 0, 3)"),
    "in a small call 255 resets": Mutant("calls", CALLS, "_others(x2, p2, lowest, 2)", "_others(x2, p2, -1, 2)"),
    "a small call writes over its input": Mutant("calls", CALLS, "return first < other_last and", "return False and"),
    "threads begin with nothing": Mutant("registers", "scan/dispatch.py", "begin, step, 0, 1,", "step, step, 0, 1,"),
    "a cell's second row reads the first's h": Mutant(
        "cell",
        CELL,
        "x[0] + (first + r) * x[2], h[0] + (first + r) * h[2]",
        "x[0] + (first + r) * x[2], h[0] + first * h[2]",
    ),
    "a cell's tail of c is not written": Mutant(
        "cell", CELL, "load(tails + r * VECTOR, like), left)", "load(tails + r * VECTOR, like), 0)"
    ),
    "a cell's h is written before all gates have read it": Mutant(
        "cell",
        CELL,
        "last if k + 1 == g + wide else 4, room, more, like, rough)\n",
        "last if k + 1 == g + wide else 4, room, more, like, rough)\n"
        "            for r in range(count):\n"
        "                units = min((g + wide) * (VECTOR // size_of(like)), size.hidden)\n"
        "                copy_values(new + r * size.c_row, h[0] + (first + r) * h[2], units, like)\n",
    ),
    "a cell leaves h as it was": Mutant(
        "cell",
        CELL,
        "copy_values(source, h[0] + (first + r) * h[2], size.returned, like)",
        "copy_values(source, new + r * size.c_row, size.returned, like)",
    ),
    "a reset's h goes to zero instead of initial_state": Mutant(
        "resets",
        LSTM,
        '_copy_row(part_of(layer, "first_h"), h, size.h_row, like)',
        "_zero(h, size.returned, like)",
    ),
    "a row begins with c of zeros": Mutant(
        "resets",
        LSTM,
        '_copy_row(part_of(layer, "first_c"), room.c + r * size.c_row, size.c_row, like)',
        "_zero(room.c + r * size.c_row, size.hidden, like)",
    ),
    "a stream reads another's events": Mutant(
        "streams", LSTM, '(of_call(call, "starts") + 8 * b, INT64) + k)', '(of_call(call, "starts"), INT64) + k)'
    ),
    "a reset of another step": Mutant(
        "streams", LSTM, '_time(call, layer, b, q) * of_call(call, "reset_step")', 'q * of_call(call, "reset_step")'
    ),
    "masked steps keep what was there": Mutant("streams", "lstm/api.py", "y[~there] = 0", "y[~there] += 1"),
    "bfloat16 pairs are swapped": Mutant(
        "bfloat16", "lstm/bfloat16.py", "-1, 4)[..., ORDER]", "-1, 4)[..., ORDER[::-1]]"
    ),
    "half of bfloat16's sums is lost": Mutant(
        "bfloat16", "lstm/bfloat16.py", "for sums in chains))", "for sums in (chains[0], chains[0])))"
    ),
    "bfloat16 weights are cut off instead of rounded": Mutant(
        "bfloat16", "lstm/bfloat16.py", "up = word + 0x7FFF + (word >> 16 & 1)", "up = word"
    ),
    "int8 forgets the scales of weights": Mutant(
        "int8",
        "lstm/int8.py",
        "tile.add_product(r, v, builder.fmul(whole, scale), row)",
        "tile.add_product(r, v, whole, row)",
    ),
    "int8 forgets the scale of a row": Mutant(
        "int8", "lstm/int8.py", "first_lane(most / 127.0)", "first_lane(most / most)"
    ),
    "int8 reads the first block alone": Mutant(
        "int8", "lstm/int8.py", "tile.plus(group, block, _BLOCK_BYTES)", "tile.plus(group, block, 0)"
    ),
    "int8 takes h before it is projected for h": Mutant(
        "int8", LSTM, "operand_at(kind, h, room.h_operands", "operand_at(kind, room.full, room.h_operands"
    ),
    "nobody waits in a meeting": Mutant("lstm_shared", MEETING, "rank * _LINE) < want", "rank * _LINE) < want - 1"),
    "a stretch that was broken off counts": Mutant(
        "lstm_shared",
        LSTM,
        "            if void:\n                continue\n            _copy",
        "            if void:\n                q = end\n            _copy",
    ),
    "a meeting goes on over a reset": Mutant(
        "lstm_shared", LSTM, "                return filled - r, q", "                pass"
    ),
    "a member takes x for that of the first stretch": Mutant(
        "lstm_shared",
        LSTM,
        "            layer, s, end, active, filled, met =",
        "            layer, s, end, active, _, met =",
    ),
    "c stays in the hall": Mutant("lstm_shared", LSTM, "(2 * size.h_row + size.c_row)", "(2 * size.h_row)"),
    "eight steps begin with nothing": Mutant(
        "gated_column", GATED_REGISTERS, "here = fma(g, memory, b)", "here = fma(g, memory - memory, b)"
    ),
    "gates of eight steps taken for those of four": Mutant(
        "gated_column", GATED_REGISTERS, "b), g * move_up(g, 4, 1.0)", "b), g * 1.0"
    ),
    "one gate's power is off": Mutant(
        "gated_column", GATED_REGISTERS, "product = f4 * move_up(f4, 4, 1.0)", "product = f4 * move_up(f4, 4, 0.5)"
    ),
    "tiny products believed": Mutant("gated_column", GATED_REGISTERS, "TINY = 2.0**-120", "TINY = 0.0"),
    "sums that overflow believed": Mutant("gated_column", GATED_REGISTERS, "SQUARES = 1e280", "SQUARES = 1e999"),
    "a segment's sums forget the memory before": Mutant(
        "gated_column", GATED_REGISTERS, "return gain * memory + total, sure", "return total, sure"
    ),
    "threads begin otherwise than one": Mutant(
        "gated_column", GATED_REGISTERS, "if last < stop and well:", "if last > stop and well:"
    ),
    "gated tail columns come from elsewhere": Mutant("gated_columns", GATED, "tail, last - LANES", "tail, first"),
}
if {"amx-tile", "amx-bf16", "amx-int8"} <= features():  # at 512 bits, which these run at
    MUTANTS |= {
        "AMX reads the first rows again": Mutant(
            "matrix_bfloat16", PRODUCTS, "x_here, left = (x + row", "x_here, left = (x + 0"
        ),
        "AMX reads the first block alone": Mutant(
            "matrix_bfloat16", "lstm/bfloat16.py", "tile.plus(x, block, matrix.ROW)", "tile.plus(x, block, 0)"
        ),
        "AMX reads the first part alone": Mutant(
            "matrix_int8", "lstm/int8.py", "builder.add(tile.x, tile.first)", "builder.add(tile.x, tile.constant(0))"
        ),
        "AMX begins each part anew": Mutant("matrix_bfloat16", PRODUCTS, "start if first == 0 else to", "start"),
        "AMX takes scales for what its sums start from": Mutant(
            "matrix_int8", "lstm/int8.py", "tile.read_sums(v, tile.plus(at, GROUP", "tile.read_sums(v, tile.plus(at, 0"
        ),
    }


WIDE = ("registers", "calls", "matrix_bfloat16", "matrix_int8")
"""Checks of kernels that vectors of 512 bits have."""


def _check(package, name, **environment):
    """Run one of quick_checks.py, as it compiles fastest: hardly optimized, at 128 bits unless a kernel is for 512."""
    environment |= {"NUMBA_OPT": "1", "FASTCELL_VECTOR_BITS": "512" if name in WIDE else "128"}
    checked = processes.python(processes.CHECKS, name, package=package, **environment)
    assert checked.stdout.startswith(str(package)), checked.stderr  # not another installation
    return checked


def test_each_changes_what_is_there():
    for name, mutant in MUTANTS.items():
        assert mutant.old in (processes.PACKAGE / mutant.file).read_text(encoding="utf-8"), name


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({mutant.check for mutant in MUTANTS.values()}))
def test_the_package_passes_the_check(name):
    checked = _check(processes.PACKAGE, name)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_check_notices(name, tmp_path):
    mutant = MUTANTS[name]
    package = processes.copy_package(tmp_path)
    processes.replace(package / mutant.file, mutant.old, mutant.new)
    checked = _check(package, mutant.check, FASTCELL_CACHE="0")
    assert checked.returncode, f"{mutant.check} did not notice: {checked.stdout}"
    assert f"\n{mutant.error}" in checked.stderr, f"it failed for another reason: {checked.stderr}"
