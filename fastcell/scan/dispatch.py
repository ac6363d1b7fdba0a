"""One checked call of a scan: the arrays as matrices, the kernel that fits their layout, and the threads."""

import math
from typing import Any

import numpy as np

from fastcell import _memory, _threads
from fastcell._checks import Array
from fastcell._jit import VECTOR_BITS
from fastcell.scan import gated_kernels, toy_kernels, toy_lanes
from fastcell.scan.blocks import BLOCK, PACKED
from fastcell.simd.vector import LANES, address

_STREAM = 1 << 25  # bytes of y from which it is written past the caches: by then it would not stay in them


def column_axes(x: Array) -> list[int]:
    """The axes of columns, in x's order in memory, so that any contiguous x is a matrix without a copy."""
    return sorted(range(1, x.ndim), key=lambda axis: -abs(x.strides[axis])) if x.ndim > 2 else [1] * (x.ndim - 1)


class Run:
    """One checked call: brings the arrays to (T, B), picks the kernel and the threads, and takes y back."""

    def __init__(
        self,
        arrays: list[Array],
        out: Array | None,
        dtype: np.dtype[Any],
        a: Array,
        codes: Array | None,
        fill: Any,
        threads: int,
    ) -> None:
        x = arrays[0]
        self.shape = x.shape
        self.columns = math.prod(x.shape[1:])
        self.axes = column_axes(x)
        if out is None or dtype.kind == "i":
            _memory.check(x.size * dtype.itemsize, "y of shape {}", x.shape)
        self.arrays = [self._matrix(array) for array in arrays]
        self.out = out
        self.a = self._matrix(a)  # a is new, and is copied only where its columns are in another order than x's
        self.codes, self.threads, self.fill = codes, threads, fill
        y = None if out is None or dtype.kind == "i" else self._matrix(out)
        if y is None or (out is not None and not np.may_share_memory(y, out)):
            y = np.empty_like(self.arrays[0], dtype, order="K")  # integers may overflow: they go to `out` at the end
        self.y = y
        self.zero = self.a.dtype.type(0)
        self.likes = [array.dtype.type(0) for array in self.arrays]

    def _matrix(self, array: Array) -> Array:
        if len(self.axes) < 2:
            return array if self.axes else array[:, None]
        return array.transpose(0, *self.axes).reshape(len(array), self.columns)

    def _unmatrix(self, matrix: Array) -> Array:
        if len(self.axes) < 2:
            return matrix if self.axes else matrix[:, 0]
        axes = [0, *self.axes]
        moved = matrix.reshape(len(matrix), *(self.shape[axis] for axis in self.axes))
        return moved.transpose([axes.index(axis) for axis in range(len(axes))])

    def toy(self) -> tuple[Array, Any]:
        """Run toy_scan on [x1, x2, x3]: y and the state."""
        kernels = toy_kernels
        return self._scan(kernels.toy_columns, kernels.toy_strips, kernels.toy_keyed, kernels.toy_sequence)

    def gated(self) -> tuple[Array, Any]:
        """Run gated_scan on [x, f, i, o]: y and the state."""
        kernels = gated_kernels
        return self._scan(kernels.gated_columns, kernels.gated_strips, kernels.gated_keyed, kernels.gated_sequence)

    def _scan(self, columns: Any, strips: Any, keyed: Any, sequence: Any) -> tuple[Array, Any]:
        if self.y.size and self._dispatch(columns, strips, keyed, sequence):
            raise OverflowError("an integer memory leaves int64: x1 (or x) is too large; convert it to float64")
        y = self.out
        if y is None:
            y = self._unmatrix(self.y)
        elif not np.may_share_memory(self.y, y):
            y[...] = self._unmatrix(self.y)
        state = self._unmatrix(self.a)
        return y, state if self.codes is not None else state[0]

    def _dispatch(self, columns: Any, strips: Any, keyed: Any, sequence: Any) -> bool:
        """Run the kernel that fits; returns whether an integer overflowed."""
        T, B = self.y.shape
        everything = [*self.arrays, self.y]
        is_toy = sequence is toy_kernels.toy_sequence
        if self.codes is not None:
            return self._keyed(keyed, self.codes)
        if is_toy and self._in_lanes():
            self._lanes()
            return False
        if B == 1:
            return self._sequence(sequence) if is_toy else self._in_turn(sequence)
        pieces = _threads.split(B, LANES, self.threads)
        last_gate = (
            0 if is_toy else len(self.arrays) - 1
        )  # everything[1:last_gate + 1] may be one value for all columns
        if B >= LANES and all(
            array.strides[1] == array.itemsize or (0 < k <= last_gate and array.strides[1] == 0)
            for k, array in enumerate(everything)
        ):
            return self._columns(columns, is_toy, pieces)
        rows_first = abs(self.arrays[0].strides[0]) > abs(self.arrays[0].strides[1])
        block, stretch = (8, 8) if rows_first else (BLOCK, T)
        arguments = [part for array in everything for part in (address(array), *array.strides)]
        tail = (self.fill, self.zero, *self.likes)

        def piece(first: int, last: int) -> bool:
            _room, work = _work()
            return bool(strips(*arguments, address(self.a), T, first, last, block, stretch, work, *tail))

        return any(_threads.run(piece, pieces))

    def _places(self, axis: int) -> list[Any]:
        """Each array's address, and its stride along one axis."""
        return [part for array in (*self.arrays, self.y) for part in (address(array), array.strides[axis])]

    def _in_lanes(self) -> bool:
        """Whether the arrays are such as `toy_lanes` takes: float32 and int8, the steps of a column side by side."""
        arrays = [*self.arrays, self.y]
        kinds = [array.dtype.char for array in arrays] == ["f", "b", "b", "f"]
        side_by_side = all(array.strides[0] == array.itemsize for array in arrays)
        return kinds and side_by_side and VECTOR_BITS == 512 and len(self.y) >= 8

    def _lanes(self) -> None:
        T, B = self.y.shape
        places = self._places(1)
        if B > 1 or self.threads == 1:

            def columns(first: int, last: int) -> None:
                whole = first + (last - first) // 8 * 8  # first is a multiple of 8: threads change no column's kernel
                if first < whole:
                    toy_lanes.toy_tiles(*places, address(self.a), T, first, whole, self.fill)
                if whole < last:
                    toy_lanes.toy_lanes(*places, address(self.a), 0, T, whole, last, self.fill)

            _threads.run(columns, _threads.split(B, 8, self.threads))
            return
        pieces = _threads.split(T, toy_lanes.STEPS, self.threads)
        starts = [self.a.reshape(1), *(self._memory_at(first, places) for first, _ in pieces[1:])]
        if any(memory is None for memory in starts):  # no reset for so long that the steps before are most of the work
            pieces = [(0, T)]

        def piece(first: int, last: int) -> None:
            memory = starts[pieces.index((first, last))]
            toy_lanes.toy_lanes(*places, address(memory), first, last, 0, 1, self.fill)

        _threads.run(piece, pieces)
        self.a[...] = starts[len(pieces) - 1]

    def _memory_at(self, step: int, places: list[Any]) -> Array | None:
        """The memory of the single column before a step, from the steps since its last reset if they are few."""
        reset = toy_lanes.last_reset(places[2], step)
        if step - reset > len(self.y) // (8 * self.threads):
            return None
        memory, begin = np.zeros(1), max(reset, 0) // toy_lanes.STEPS * toy_lanes.STEPS
        if reset < 0:
            memory[...] = self.a.reshape(1)
        toy_lanes.toy_lanes(*places[:6], 0, 0, address(memory), begin, step, 0, 1, self.fill)
        return memory

    def _columns(self, columns: Any, toy: bool, pieces: list[tuple[int, int]]) -> bool:
        T, B = self.y.shape
        arguments: list[Any] = []
        for k, array in enumerate([*self.arrays, self.y]):
            gate = not toy and 0 < k < len(self.arrays)
            arguments += [address(array), *array.strides] if gate else [address(array), array.strides[0]]
        aligned = not (int(address(self.y)) % 16 or self.y.strides[0] % 16 or B * self.y.itemsize % 16)
        stream = (self.y.nbytes >= _STREAM and aligned,) if toy else ()
        tail = (self.fill, *stream, self.zero, *self.likes)
        return any(
            _threads.run(lambda first, last: bool(columns(*arguments, address(self.a), T, first, last, *tail)), pieces)
        )

    def _keyed(self, keyed: Any, codes: Array) -> bool:
        T, B = self.y.shape
        arguments = [part for array in self.arrays for part in (address(array), *array.strides)]
        return bool(
            keyed(
                *arguments, address(codes), codes.strides[0], address(self.y), *self.y.strides, address(self.a), T, B,
                self.fill, self.zero, *self.likes, codes.dtype.type(0),
            )
        )  # fmt: skip

    def _in_turn(self, sequence: Any) -> bool:
        """One column, whose steps only one thread can take."""
        places = self._places(0)
        return bool(sequence(*places, address(self.a), len(self.y), self.fill, self.zero, *self.likes))

    def _sequence(self, sequence: Any) -> bool:
        """One column. Threads begin at multiples of SEQUENCE, as one thread's blocks do: the same sums either way."""
        T = len(self.y)
        places = self._places(0)
        pieces = _threads.split(T, toy_kernels.SEQUENCE, self.threads)
        starts = self._starts(pieces, places) if len(pieces) > 1 else None
        if starts is None:
            pieces, starts = [(0, T)], self.a.reshape(1)

        def piece(first: int, last: int) -> bool:
            memory = address(starts) + 8 * pieces.index((first, last))
            _room, work = _work()
            return bool(sequence(*places, memory, first, last, work, self.fill, self.zero, *self.likes))

        overflow = any(_threads.run(piece, pieces))
        self.a[...] = starts[-1]
        return overflow

    def _starts(self, pieces: list[tuple[int, int]], places: list[Any]) -> Array | None:
        """The memory at each piece's first step; None where float sums are so large that only steps in turn tell."""
        segments = pieces[-1][0] // BLOCK
        totals, bounds = np.empty(segments, self.zero.dtype), np.empty(segments, np.float64)
        forgot = np.empty(segments, np.int8)
        sums = address(totals), address(bounds), address(forgot)

        def piece(first: int, last: int) -> None:
            _room, work = _work()
            toy_kernels.toy_sequence_sums(*places[:4], first, last, *sums, work, self.zero, *self.likes[:2])

        _threads.run(piece, _threads.split(pieces[-1][0], toy_kernels.SEQUENCE, self.threads))
        starts = np.full(len(pieces), self.a.item(), self.zero.dtype)
        for k, (first, last) in enumerate(pieces[:-1]):
            starts[k + 1] = starts[k]
            if not toy_kernels.toy_sequence_carry(*sums, first, last, address(starts) + 8 * (k + 1), self.zero):
                return None
        return starts


def _work() -> tuple[Array, int]:
    """Room for five packed blocks and its address, a multiple of 64; it lives as long as the array does."""
    room = np.empty(5 * PACKED + 64, np.uint8)
    return room, (address(room) + 63) // 64 * 64
