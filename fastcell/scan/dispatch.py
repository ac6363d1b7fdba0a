"""One checked call of a scan: the arrays as matrices, the kernel that fits their layout, and the threads."""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastcell import _checks, _memory, _threads
from fastcell._checks import Array
from fastcell._jit import VECTOR_BITS, features
from fastcell.scan import gated_kernels, gated_registers, sequence_kernels, toy_kernels, toy_registers
from fastcell.scan.blocks import BLOCK, PACKED
from fastcell.simd.vector import LANES, address

_SHORT = 512  # steps of one column up to which compiling the kernel for more is not worth it
# Bytes of y from which it is written past the caches: by then it would not stay in them. Intel's CPUs with AMX fill a
# line without reading it first; there the other way takes 1.4 to 2.2 times as long.
_STREAM = sys.maxsize if "amx-tile" in features() else 1 << 25

Placed = tuple[int, int, int, Any]
"""An array as the kernels take it: address, bytes from step to step and from column to column, a scalar of its type."""


class Cut(NamedTuple):
    """How threads share one column out: each sums its steps first, the sums are chained, and then it runs them."""

    steps: int
    """Threads begin at multiples of it, where one thread's sums begin too."""
    sums: Callable[..., None]
    """Sums steps from a memory of 0."""
    size: int
    """Bytes that the sums of `steps` steps take."""
    chain: Callable[..., bool]
    """Takes a memory over sums; false where only the steps in turn can tell it."""


class Sequence(NamedTuple):
    """How one column is run."""

    kernel: Callable[..., bool]
    cut: Cut | None
    """None where one thread takes all of it."""


class Cell(NamedTuple):
    """The kernels of a cell. All take the cell's arrays and y as `Placed`, and return whether an integer overflowed."""

    columns: Callable[..., bool]
    strips: Callable[..., bool]
    keyed: Callable[..., bool]
    sequence: Callable[[list[Array]], Sequence]
    """The kernel of one column, by the arrays."""
    shared: bool
    """Whether `columns` takes arrays, all but the first and y, with one value a step for all columns."""
    registers: bool
    """Whether toy_registers.py takes what fits it."""


_TOY = Sequence(
    sequence_kernels.toy_sequence,
    Cut(sequence_kernels.SEQUENCE, sequence_kernels.toy_sums, sequence_kernels.SUMS, sequence_kernels.toy_chain),
)
_IN_TURN = Sequence(gated_kernels.gated_sequence, None)
_CONSTANT, _VARYING = (
    Sequence(kernel, Cut(gated_registers.SEGMENT, sums, gated_registers.SUMS, gated_registers.gated_chain))
    for kernel, sums in (
        (gated_registers.gated_constant, gated_registers.gated_constant_sums),
        (gated_registers.gated_varying, gated_registers.gated_varying_sums),
    )
)


def _gated_sequence(arrays: list[Array]) -> Sequence:
    """In registers where that pays, and where all steps lie side by side, or are one value."""
    *inputs, y = arrays
    f = inputs[1]
    if len(y) < _SHORT or not any(array.dtype.kind == "f" for array in inputs) or y.strides[0] != y.itemsize:
        return _IN_TURN
    if any(array.strides[0] not in (0, array.itemsize) for array in inputs):
        return _IN_TURN
    return _CONSTANT if f.strides[0] == 0 else _VARYING


TOY = Cell(
    toy_kernels.toy_columns,
    toy_kernels.toy_strips,
    toy_kernels.toy_keyed,
    lambda _: _TOY,
    shared=False,
    registers=True,
)
BOUNDED = TOY._replace(registers=False)
GATED = Cell(
    gated_kernels.gated_columns,
    gated_kernels.gated_strips,
    gated_kernels.gated_keyed,
    _gated_sequence,
    shared=True,
    registers=False,
)


def column_axes(x: Array) -> list[int]:
    """The axes of columns, in x's order in memory, so that any contiguous x is a matrix without a copy."""
    return sorted(range(1, x.ndim), key=lambda axis: -abs(x.strides[axis])) if x.ndim > 2 else [1] * (x.ndim - 1)


class Run:
    """One checked call: brings the arrays to (T, B), picks the kernel and the threads, and takes y back."""

    def __init__(
        self,
        cell: Cell,
        arrays: list[Array],
        out: Array | None,
        dtype: np.dtype[Any],
        a: Array,
        codes: Array | None,
        fill: Any,
        threads: int,
        *options: Any,
    ) -> None:
        x = arrays[0]
        self.cell = cell
        self.shape = x.shape
        self.columns = math.prod(x.shape[1:])
        self.axes = column_axes(x)
        if out is None or dtype.kind == "i":
            _memory.check(x.size * dtype.itemsize, "y of shape {}", x.shape)
        self.arrays = [self._matrix(array) for array in arrays]
        self.out = out
        self.a = self._matrix(a)  # a is new, and is copied only where its columns are in another order than x's
        self.codes, self.threads = codes, threads
        y = None if out is None or dtype.kind == "i" else self._matrix(out)
        if y is None or (out is not None and not np.may_share_memory(y, out)):
            y = np.empty_like(self.arrays[0], dtype, order="K")  # integers may overflow: they go to `out` at the end
        self.y = y
        self.ends = fill, *options, self.a.dtype.type(0)  # the last arguments of every kernel

    def _matrix(self, array: Array) -> Array:
        if len(self.axes) < 2:
            return array if self.axes else array[:, None]
        once = array[:1] if array.strides[0] == 0 and len(array) > 1 else array  # the same at each step: copied once
        matrix = once.transpose(0, *self.axes).reshape(len(once), self.columns)
        return matrix if once is array else np.broadcast_to(matrix, (len(array), self.columns))

    def _unmatrix(self, matrix: Array) -> Array:
        if len(self.axes) < 2:
            return matrix if self.axes else matrix[:, 0]
        axes = [0, *self.axes]
        moved = matrix.reshape(len(matrix), *(self.shape[axis] for axis in self.axes))
        return moved.transpose([axes.index(axis) for axis in range(len(axes))])

    def scan(self) -> tuple[Array, Any]:
        """Run it: y and the state."""
        if self.y.size and self._dispatch():
            raise OverflowError("an integer memory leaves int64: x1 (or x) is too large; convert it to float64")
        y = self.out
        if y is None:
            y = self._unmatrix(self.y)
        elif not np.may_share_memory(self.y, y):
            y[...] = self._unmatrix(self.y)
        state = self._unmatrix(self.a)
        return y, state if self.codes is not None else state[0]

    def _dispatch(self) -> bool:
        """Run the kernel that fits; returns whether an integer overflowed."""
        arrays = [placed(array) for array in (*self.arrays, self.y)]
        if self.codes is not None:
            keys = placed(self.codes[:, None])
            return bool(self.cell.keyed(*arrays, keys, address(self.a), *self.y.shape, *self.ends))
        if self._fits_registers():
            self._in_registers(arrays)
            return False
        if self.y.shape[1] == 1:
            return self._sequence(arrays)
        pieces = _threads.split(self.y.shape[1], LANES, self.threads)
        task = self._columns(arrays) if self._side_by_side() else self._strips(arrays)
        return any(_threads.run(task, pieces))

    def _side_by_side(self) -> bool:
        """Whether a vector of columns can be read in place from every array."""
        x, *others = self.arrays
        if len(self.y[0]) < LANES or any(array.strides[1] != array.itemsize for array in (x, self.y)):
            return False
        steps = [(array.strides[1], array.itemsize) for array in others]
        return all(step == size or (self.cell.shared and step == 0) for step, size in steps)

    def _columns(self, arrays: list[Placed]) -> Callable[[int, int], bool]:
        T, B = self.y.shape
        aligned = not (int(address(self.y)) % 16 or self.y.strides[0] % 16 or B * self.y.itemsize % 16)
        stream = self.y.nbytes >= _STREAM and aligned

        def piece(first: int, last: int) -> bool:
            return bool(self.cell.columns(*arrays, address(self.a), T, first, last, stream, *self.ends))

        return piece

    def _strips(self, arrays: list[Placed]) -> Callable[[int, int], bool]:
        T = len(self.y)
        rows_first = abs(self.arrays[0].strides[0]) > abs(self.arrays[0].strides[1])
        block, stretch = (8, 8) if rows_first else (BLOCK, T)

        def piece(first: int, last: int) -> bool:
            _room, work = _work()
            return bool(self.cell.strips(*arrays, address(self.a), T, first, last, block, stretch, work, *self.ends))

        return piece

    def _fits_registers(self) -> bool:
        """Whether toy_registers.py takes the arrays: float32 and int8, the steps of a column side by side."""
        arrays = [*self.arrays, self.y]
        kinds = self.cell.registers and [array.dtype.char for array in arrays] == ["f", "b", "b", "f"]
        side_by_side = all(array.strides[0] == array.itemsize for array in arrays)
        return kinds and side_by_side and VECTOR_BITS == 512 and len(self.y) >= 8

    def _in_registers(self, arrays: list[Placed]) -> None:
        T, B = self.y.shape
        fill = self.ends[0]
        if B > 1 or self.threads == 1:

            def columns(first: int, last: int) -> None:
                whole = first + (last - first) // 8 * 8  # first is a multiple of 8: threads change no column's kernel
                if first < whole:
                    toy_registers.toy_tiles(*arrays, address(self.a), T, first, whole, fill)
                if whole < last:
                    toy_registers.toy_eights(*arrays, address(self.a), 0, T, whole, last, fill)

            _threads.run(columns, _threads.split(B, 8, self.threads))
            return
        pieces = _threads.split(T, toy_registers.STEPS, self.threads)
        starts = [self.a.reshape(1), *(self._memory_at(first, arrays) for first, _ in pieces[1:])]
        if any(memory is None for memory in starts):  # not for so long that the steps before are most of the work
            pieces = [(0, T)]

        def piece(first: int, last: int) -> None:
            memory = starts[pieces.index((first, last))]
            toy_registers.toy_eights(*arrays, address(memory), first, last, 0, 1, fill)

        _threads.run(piece, pieces)
        self.a[...] = starts[len(pieces) - 1]

    def _memory_at(self, step: int, arrays: list[Placed]) -> Array | None:
        """The memory of the single column before a step, from the steps since it last forgot if they are few."""
        forgot = toy_registers.last_forgotten(arrays[1], step)
        if step - forgot > len(self.y) // (8 * self.threads):
            return None
        memory, begin = np.zeros(1), max(forgot, 0) // toy_registers.STEPS * toy_registers.STEPS
        if forgot < 0:
            memory[...] = self.a.reshape(1)
        *inputs, (_, *strides) = arrays
        toy_registers.toy_eights(*inputs, (0, *strides), address(memory), begin, step, 0, 1, self.ends[0])
        return memory

    def _sequence(self, arrays: list[Placed]) -> bool:
        """One column. Threads begin where one thread's sums begin: the same bits either way."""
        T = len(self.y)
        kernel, cut = self.cell.sequence([*self.arrays, self.y])
        pieces = [(0, T)] if cut is None else _threads.split(T, cut.steps, self.threads)
        starts = None if cut is None or len(pieces) == 1 else self._starts(cut, pieces, arrays[:-1])
        if starts is None:
            pieces, starts = [(0, T)], self.a.reshape(1)

        def piece(first: int, last: int) -> bool:
            memory = address(starts) + 8 * pieces.index((first, last))
            _room, work = _work()
            return bool(kernel(*arrays, memory, first, last, work, *self.ends))

        overflow = any(_threads.run(piece, pieces))
        self.a[...] = starts[-1]
        return overflow

    def _starts(self, cut: Cut, pieces: list[tuple[int, int]], inputs: list[Placed]) -> Array | None:
        """The memory at each piece's first step; None where only the steps in turn can tell it."""
        zero = self.ends[-1]
        stop = pieces[-1][0]
        sums = np.empty(stop // cut.steps * cut.size, np.uint8)

        def piece(first: int, last: int) -> None:
            _room, work = _work()
            cut.sums(*inputs, first, last, address(sums), work, *self.ends[1:])

        _threads.run(piece, _threads.split(stop, cut.steps, self.threads))
        starts = np.full(len(pieces), self.a.item(), zero.dtype)
        for k, (first, last) in enumerate(pieces[:-1]):
            starts[k + 1] = starts[k]
            if not cut.chain(address(sums), first, last, address(starts) + 8 * (k + 1), *self.ends[1:]):
                return None
        return starts


def placed(array: Array) -> Placed:
    """A matrix for the kernels."""
    return address(array), *array.strides, array.dtype.type(0)


def _work() -> tuple[Array, int]:
    """Room for five packed blocks and its address, a multiple of 64; it lives as long as the array does."""
    room = np.empty(5 * PACKED + 64, np.uint8)
    return room, _checks.round_up(address(room), 64)
