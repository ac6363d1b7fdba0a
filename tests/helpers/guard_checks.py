"""Every kernel on arrays that end, or begin, where memory does: `python guard_checks.py NAME ...`.

An array lies against a page that may not be touched, so a read or a write of one lane too many ends the process; what
else is on its pages must stay as it was. Answers are those on arrays that lie anywhere. This goes for arrays that are
given and for those that the package makes, and each call must make as many as it is known to need.
"""

import ctypes
import itertools
import math
import mmap
import sys
from functools import partial
from types import ModuleType

import numpy as np

import fastcell as fc
from fastcell._checks import round_up
from fastcell.scan import small_calls
from fastcell.scan.gated_registers import GROUP, SEGMENT
from fastcell.simd.vector import LANES
from tests.helpers import meetings, problems

PAGE = mmap.PAGESIZE
FILLER = 0xA5
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def _forbid(address):
    if _libc.mprotect(address, PAGE, 0):
        raise OSError(ctypes.get_errno(), "mprotect")


class Pages:
    """Room for arrays, each on pages of its own between two that may not be touched."""

    def __init__(self):
        self.rooms = []

    def room(self, size, at_end):
        """`size` bytes that end, or begin, at a forbidden page."""
        whole = round_up(max(size, 1), PAGE)
        memory = np.frombuffer(mmap.mmap(-1, whole + 2 * PAGE), np.uint8)
        start = memory.ctypes.data
        _forbid(start)
        _forbid(start + PAGE + whole)
        pages = memory[PAGE : PAGE + whole]
        pages[:] = FILLER
        first = whole - size if at_end else 0
        self.rooms.append((pages, first, first + size))
        return pages[first : first + size]

    def empty(self, shape, dtype, strides, at_end):
        """An array of any strides, in the least memory that holds it."""
        dtype = np.dtype(dtype)
        if 0 in shape:
            return np.empty(shape, dtype)
        steps = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
        below = -sum(s for s in steps if s < 0)
        room = self.room(below + sum(s for s in steps if s > 0) + dtype.itemsize, at_end)
        return np.ndarray(shape, dtype, room, below, strides)

    def copy(self, x, at_end):
        """A copy of the same strides."""
        y = self.empty(x.shape, x.dtype, x.strides, at_end)
        y[...] = x
        return y

    def check(self):
        for pages, first, last in self.rooms:
            if not ((pages[:first] == FILLER).all() and (pages[last:] == FILLER).all()):
                raise AssertionError("memory beside an array was written")


class Guarded(ModuleType):
    """NumPy, with what it allocates for the package against a forbidden page, too."""

    def __init__(self, pages, at_end):
        super().__init__("numpy")
        self.pages, self.at_end = pages, at_end

    def __getattr__(self, name):
        return getattr(np, name)

    def _like(self, x):
        return self.pages.copy(x, self.at_end)

    def empty(self, shape, dtype=float):
        return self._like(np.empty(shape, dtype))

    def zeros(self, shape, dtype=float):
        return self._like(np.zeros(shape, dtype))

    def full(self, *arguments):
        return self._like(np.full(*arguments))

    def empty_like(self, *arguments, **options):
        return self._like(np.empty_like(*arguments, **options))

    def array(self, *arguments, **options):
        return self._like(np.array(*arguments, **options))


MODULES = [module for name, module in sys.modules.items() if name.startswith("fastcell.") and hasattr(module, "np")]


def _allocate(numpy):
    """Every module of the package that is loaded takes this for NumPy, wherever in it arrays are made."""
    for module in MODULES:
        module.np = numpy


def same(call, arrays, own, case):
    """Assert that `call(*arrays)` gives the same bytes with all arrays, at least `own` of its own, at ends of pages."""
    wanted = [part.tobytes() for part in call(*(x.copy(order="K") for x in arrays))]
    for at_end in (True, False):
        pages = Pages()
        placed = [pages.copy(x, at_end) for x in arrays]
        given = len(pages.rooms)
        _allocate(Guarded(pages, at_end))
        try:
            parts = call(*placed)
        finally:
            _allocate(np)
        assert [part.tobytes() for part in parts] == wanted, f"{case}, at the {'end' if at_end else 'start'}"
        pages.check()
        made = len(pages.rooms) - given
        assert made >= own, f"{case}: {made} arrays of its own are guarded, {own} expected"


def _strided(x):
    """Every other element, so that nothing is side by side."""
    big = np.empty([2 * n for n in x.shape], x.dtype)
    view = big[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": _strided,
    "upside down": lambda x: np.ascontiguousarray(x[::-1])[::-1],
}
OWN = {"scan": 1, "keys": 2, "rows": 2, "lstm": 3, "layer": 7, "hall": 1}
"""What a call makes at least: memories; h, c and scratch; a layer's weights as the kernels want them; where
threads meet."""
SMALL = small_calls.SMALL
STEPS = 1, 3, 4, 5, LANES - 1, LANES, LANES + 1, 127, 130
COLUMNS = 1, 2, LANES // 2 - 1, LANES // 2 + 1, LANES - 1, LANES, LANES + 1, 2 * LANES - 1, 2 * LANES + 3
LENGTHS = 1, 2, 8 * LANES - 1, 8 * LANES, 8 * LANES + 1, 9 * LANES + 3, 128 * LANES - 1, 128 * LANES + 1, 257 * LANES


def _toy(values, rules, small=0, **bounds):
    small_calls.SMALL = small  # by default these arrays, too, go to the kernels for large ones

    def call(x1, x2, x3, y, threads=1, **options):
        scan = fc.toy_scan(x1, x2, x3, out=y, threads=threads, **options, **bounds)
        return scan.y, np.asarray(scan.state)

    dtype = values if values[0] == "f" else "int64"
    for (name, layout), T, B in itertools.product(LAYOUTS.items(), STEPS, COLUMNS):
        arrays = [layout(x) for x in problems.toy((T, B), values, rules)]
        same(call, [*arrays, layout(np.empty((T, B), dtype))], OWN["scan"], f"toy_scan {values} {name} ({T}, {B})")
    for step, T in itertools.product((1, 2, -1), LENGTHS):
        arrays = [np.repeat(x, 2)[::step][:T] if step == 2 else x[::step] for x in problems.toy((T,), values, rules)]
        for threads in (1, 2):
            threaded = partial(call, threads=threads)
            same(threaded, [*arrays, np.empty(T, dtype)], OWN["scan"], f"toy_scan {values} ({T},)")


def toy_float32():
    """The usual dtypes, also as small calls in compiled code."""
    _toy("float32", "int8")
    _toy("float32", "int8", SMALL)


def toy_others():
    """Wide rules, wide and narrow values."""
    for values, rules in (("float64", "float32"), ("int64", "int64"), ("int8", "int8"), ("int16", "float64")):
        _toy(values, rules)


def toy_bounded():
    """Between bounds."""
    for values, rules in (("float32", "int8"), ("int64", "int64")):
        _toy(values, rules, low=-30, high=70)


def keys_and_rows():
    """Keys, and the rows [x1, x2, x3] read in place."""
    for T, B in itertools.product((1, 2, 130), (1, 3)):
        arrays = problems.toy((T, B), "float32")
        keys = np.arange(T) % 2

        def keyed(x1, x2, x3, k):
            scan = fc.toy_scan(x1, x2, x3, keys=k)
            return scan.y, scan.state

        def bounded(x1, x2, x3, k):
            scan = fc.toy_scan(x1, x2, x3, keys=k, low=0)
            return scan.y, scan.state

        same(keyed, [*arrays, keys], OWN["keys"], f"keys ({T}, {B})")
        same(bounded, [*arrays, keys], OWN["keys"], f"keys between bounds ({T}, {B})")
    for T in LENGTHS[:6]:
        rows = np.stack(problems.toy((T,), "float32", "float32"), 1)
        same(lambda x: [part + 0 for part in fc.toy_scan(x)], [rows], OWN["rows"], f"rows of {T}")


def _gated(dtype):
    def call(x, f, i, o, y, **options):
        scan = fc.gated_scan(x, f, i, o, out=y, **options)
        return scan.y, np.asarray(scan.state)

    for (name, layout), T, B in itertools.product(LAYOUTS.items(), STEPS, COLUMNS):
        arrays = [layout(np.empty((T, B), dtype)) for _ in range(5)]
        for array, numbers in zip(arrays, problems.gates((T, B), dtype), strict=False):
            array[...] = numbers
        same(call, arrays, OWN["scan"], f"gated_scan {dtype} {name} ({T}, {B})")
        if name == "C":
            arrays[1:3] = arrays[1][:, :1].copy(), arrays[2][:, :1].copy()  # one gate a step
            same(call, arrays, OWN["scan"], f"gated_scan {dtype} broadcast ({T}, {B})")
    for T in LENGTHS[:6]:
        same(call, [*problems.gates((T,), dtype), np.empty(T, dtype)], OWN["scan"], f"gated_scan {dtype} ({T},)")
    for T, threads in itertools.product((512, 513, 5 * GROUP - 1, 5 * GROUP + 7, SEGMENT, 2 * SEGMENT + 3), (1, 2)):

        def long(*arrays, count=threads):
            return call(*arrays, threads=count)

        arrays = [*problems.gates((T,), dtype), np.empty(T, dtype)]
        same(long, arrays, OWN["scan"], f"gated_scan {dtype} ({T},), {threads} threads")
        arrays[1:3] = (np.full(1, number, dtype) for number in (0.9, 0.1))  # one gate for all steps
        same(long, arrays, OWN["scan"], f"gated_scan {dtype} ({T},), one gate, {threads} threads")


def gated_float32():
    """gated_scan in float32."""
    _gated("float32")


def gated_others():
    """gated_scan in float64."""
    _gated("float64")


OPTIONS = {
    "plain": {},
    "stacked": {"num_layers": 2, "bidirectional": True, "proj_size": 2},
    "special": {"peepholes": True, "clip": 0.5, "reverse": True},
    "bfloat16": {"precision": "bfloat16", "bidirectional": True, "proj_size": 2},
    "int8": {"precision": "int8", "num_layers": 2},
}
FLOATS = ["plain", "stacked", "special"]


def _units(lanes):
    """Around one vector and several; a quarter, a half and three quarters of one left over."""
    around = {3, max(lanes - 1, 3), lanes + (lanes < 3), lanes + 1, 2 * lanes + 1, 4 * lanes + 3}
    return sorted(around | {lanes + max(lanes * quarters // 4, 1) for quarters in (1, 2, 3)})


def _lstm(dtype, names):
    lanes = LANES if dtype == "float32" else LANES // 2
    rng = np.random.default_rng(0)
    for name, H in itertools.product(names, _units(lanes)):
        for I in (1, lanes, lanes + 1):
            make = partial(fc.LSTM, I, H, dtype=dtype, seed=0, **OPTIONS[name])  # in each call: its weights, too
            net = make()
            L, P, D = net.num_layers * net.directions, net.output_size, net.directions
            for T, B in ((1, 1), (3, 1), (4, 3), (3, 7), (2, 13)):
                shapes = (T, B, I), (L, B, P), (L, B, H), (T, B, D * P)
                arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
                lengths = np.arange(B) % (T + 1)

                def whole(x, h, c, y, make=make):
                    y, state = make()(x, (h, c), out=y)
                    return (y, *state)

                def cut(x, h, c, y, ends, make=make):
                    y, state = make()(x, (h, c), lengths=ends, out=y, threads=2)
                    return (y, *state)

                case, own = f"LSTM {dtype} {name} H={H} I={I} ({T}, {B})", OWN["lstm"] + OWN["layer"] * L
                same(whole, arrays, own, case)
                same(cut, [*arrays, lengths], own, f"{case} lengths")
                flipped = [arrays[0][::-1], *arrays[1:3], np.asfortranarray(arrays[3])]
                same(whole, flipped, own, f"{case} other strides")
                if T * B == 1:
                    continue

                def gaps(x, h, c, y, mask, make=make):
                    y, state = make()(x, (h, c), mask=mask, out=y)
                    return (y, *state)

                def streams(x, h, c, y, keys, make=make):
                    y, state = make()(x, (h, c), keys=keys, out=y)
                    return (y, *state)

                same(gaps, [*arrays, np.arange(T * B).reshape(T, B) % 3 > 0], own, f"{case} mask")
                if D == 1 and not net.reverse:
                    x, y = (array.reshape(T * B, -1) for array in (arrays[0], arrays[3]))
                    same(streams, [x, *arrays[1:3], y, np.arange(T * B) * 5 % B], own, f"{case} keys")


def lstm_float32():
    """The usual LSTM."""
    _lstm("float32", ["plain"])


def _lstm_shared(precision):
    """Three threads, which are there for certain, share the units out."""
    lanes, rng = LANES if precision != "float64" else LANES // 2, np.random.default_rng(0)
    dtype = "float64" if precision == "float64" else "float32"
    for H, (T, B) in itertools.product((2 * lanes + 1, 4 * lanes + 3), ((1, 1), (10, 1), (5, 3), (4, 7))):
        make = partial(fc.LSTM, lanes + 1, H, dtype=dtype, precision=precision, seed=0)
        shapes = (T, B, lanes + 1), (1, B, H), (1, B, H), (T, B, H)
        arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]

        def shared(x, h, c, y, make=make):
            with meetings.plan(1, 3):
                y, state = make()(x, (h, c), out=y, threads=2)
            return (y, *state)

        own = OWN["lstm"] + OWN["layer"] + OWN["hall"]
        same(shared, arrays, own, f"LSTM {precision} H={H} ({T}, {B}), units shared")


def lstm_shared():
    """The usual LSTM, its units shared out."""
    _lstm_shared("float32")


def lstm_shared_others():
    """The other arithmetics."""
    for precision in ("float64", "bfloat16", "int8"):
        _lstm_shared(precision)


def lstm_others():
    """Stacks, both directions, projections, peepholes, float64."""
    _lstm("float32", ["stacked", "special"])
    _lstm("float64", FLOATS)


def lstm_precisions():
    """Weights of 16 and 8 bits."""
    _lstm("float32", ["bfloat16", "int8"])


def _cells(dtype, names):
    lanes = LANES if dtype == "float32" else LANES // 2
    rng = np.random.default_rng(0)
    for name, H in itertools.product(names, _units(lanes)):
        options = {key: value for key, value in OPTIONS[name].items() if key not in ("bidirectional", "reverse")}
        options.pop("num_layers", None)
        for I in (1, lanes, lanes + 1):
            make = partial(fc.LSTMCell, I, H, dtype=dtype, seed=0, **options)
            cell = make()
            for rows in ((), (1,), (2,), (7,), (70,)):
                shapes = (*rows, I), (*rows, cell.output_size), (*rows, H)
                arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]

                def in_place(x, h, c, make=make):
                    make().step(x, h, c)
                    return h, c

                def compiled(x, h, c, make=make):
                    fc.lstm_step(make().params, x, h, c)
                    return h, c

                case = f"cell {dtype} {name} H={H} I={I} rows={math.prod(rows)}"
                same(in_place, arrays, OWN["layer"], case)
                same(compiled, arrays, OWN["layer"], f"{case} lstm_step")


def cell_float32():
    """The usual cell."""
    _cells("float32", ["plain"])


def cell_others():
    """Projections, peepholes, float64."""
    _cells("float32", ["stacked", "special"])
    _cells("float64", FLOATS)


def cell_precisions():
    """Weights of 16 and 8 bits."""
    _cells("float32", ["bfloat16", "int8"])


def nothing_escapes():
    """The pages themselves: one byte too many ends the process, which is what the caller looks for."""
    pages = Pages()
    x = pages.copy(np.arange(4.0), at_end=True)
    print("about to read past the end", flush=True)
    ctypes.string_at(x.ctypes.data + x.nbytes, 1)


USUAL = toy_float32, keys_and_rows, gated_float32, lstm_float32, lstm_shared, cell_float32
OTHERS = (
    toy_others, toy_bounded, gated_others, lstm_others, lstm_precisions, lstm_shared_others, cell_others,
    cell_precisions,
)  # fmt: skip
CHECKS = {check.__name__: check for check in (*USUAL, *OTHERS, nothing_escapes)}

if __name__ == "__main__":
    for name in sys.argv[1:]:
        CHECKS[name]()
        print(name, "stays inside", flush=True)
