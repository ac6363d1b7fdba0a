"""A tile of a product: a few rows times the vectors of a group or two, of which every sum stays in a register."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastcell.lstm.layout import GROUP, VECTOR
from fastcell.simd.vector import VectorType, _call, _llvm, _pointer, _splat, _suffix

WORD = ir.IntType(64)


class Tile:
    """What an arithmetic needs to write the loop over a tile's products as LLVM's code.

    x: the addresses of the rows' operands.  count: values of a row.  groups: the addresses of the groups' weights.
    vectors: 4 a group.  sums: where that of each row and vector is; LLVM keeps them in registers if there are as many.
    """

    def __init__(self, builder: Any, dtype: types.Type, rows: int, groups: int, count: Any) -> None:
        self.builder, self.count, self.vectors = builder, count, 4 * groups
        self.vector = VectorType(dtype, VECTOR * 8 // dtype.bitwidth)
        self.sum = _llvm(self.vector)
        self.x: list[Any] = []
        self.groups: list[Any] = []
        self.sums = {(r, v): cgutils.alloca_once(builder, self.sum) for r in range(rows) for v in range(4 * groups)}

    def begin(self, weights: Any, group: Any, table: Any, offset: Any, start: Any, start_row: Any) -> None:
        """Read the rows' addresses and the sums that products are added to."""
        rows = 1 + max(r for r, _ in self.sums)
        self.groups = [self.row(weights, g, group) for g in range(self.vectors // 4)]
        self.x = [self.builder.add(self.load(self.plus(table, 8 * r), WORD, 8), offset) for r in range(rows)]
        for (r, v), place in self.sums.items():
            self.builder.store(self.load(self.plus(self.row(start, r, start_row), v * VECTOR), self.sum), place)

    def end(self, to: Any, to_row: Any) -> None:
        """Write the sums."""
        for (r, v), place in self.sums.items():
            at = _pointer(self.builder, self.plus(self.row(to, r, to_row), v * VECTOR), self.sum)
            self.builder.store(self.builder.load(place), at).align = 4

    def row(self, base: Any, number: int, stride: Any) -> Any:
        return self.builder.add(base, self.builder.mul(self.constant(number), stride)) if number else base

    def constant(self, number: int) -> Any:
        return ir.Constant(WORD, number)

    def plus(self, base: Any, number: Any, stride: int = 1) -> Any:
        """base + number * stride, of which number may be an integer."""
        number = self.constant(number) if isinstance(number, int) else number
        return self.builder.add(base, self.builder.mul(number, self.constant(stride)))

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        """The builder inside a loop; the number of each turn."""
        with cgutils.for_range(self.builder, count) as turn:
            yield turn.index

    def gate(self, v: int, k: Any, step: int = GROUP, first: int = 0) -> Any:
        """The address of vector v's weights in turn k, of which each takes `step` bytes for the four of a group."""
        return self.plus(self.plus(self.plus(self.groups[v // 4], k, step), v % 4, step // 4), first)

    def load(self, at: Any, kind: ir.Type, align: int = 4) -> Any:
        loaded = self.builder.load(_pointer(self.builder, at, kind))
        loaded.align = align
        return loaded

    def broadcast(self, at: Any, dtype: types.Type, align: int = 4) -> Any:
        """The value at an address in every lane."""
        vector = VectorType(dtype, VECTOR * 8 // dtype.bitwidth)
        return _splat(self.builder, vector, self.load(at, _llvm(vector).element, align))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return _call(self.builder, f"llvm.fma.{_suffix(self.vector)}", self.sum, [a, b, c])

    def add_product(self, r: int, v: int, weight: Any, value: Any) -> None:
        """sum = weight * value + sum, rounded once."""
        place = self.sums[r, v]
        self.builder.store(self.fma(weight, value, self.builder.load(place)), place)
