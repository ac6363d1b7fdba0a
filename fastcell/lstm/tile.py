"""A tile of a product: a few rows times the vectors of a group or two, or the first of one, each sum in a register."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastcell.lstm.layout import GROUP, VECTOR
from fastcell.simd import matrix
from fastcell.simd.vector import VectorType, _call, _llvm, _pointer, _prefetch, _splat, _stack, _suffix

WORD = ir.IntType(64)
AHEAD = 4096
"""Bytes ahead of which a group's lone tile asks for weights: a CPU does so by itself up to the end of a page alone."""
LINE = 64
"""Bytes of a cache line."""
TURN = matrix.ROWS * GROUP
"""Bytes of weights that the matrix unit reads in a turn."""
ASKED = TURN // LINE // 2
"""Lines of the next weights that all rows together ask for at a time, twice a turn; each 16 rows for their share."""
FAR = 384
"""Values of a row from which a layer's weights are too many for the second cache, so that it pays to ask for them."""


class Tile:
    """What an arithmetic needs to write the loop over a tile's products as LLVM's code.

    x: the addresses of the rows' operands.  count: values of a row.  groups: the addresses of the groups' weights.
    vectors: 4 a group, or the first few of one.  sums: where that of each row and vector is; LLVM keeps them in
    registers if there are as many.
    """

    def __init__(
        self, builder: Any, dtype: types.Type, rows: int, vectors: int, count: Any, there: Any, ahead: Any = None
    ) -> None:
        self.builder, self.count, self.vectors, self.ahead = builder, count, vectors, ahead
        self.vector = VectorType(dtype, VECTOR * 8 // dtype.bitwidth)
        self.sum = _llvm(self.vector)
        self.x: list[Any] = []
        self.groups: list[Any] = []
        self.sums = {(r, v): cgutils.alloca_once(builder, self.sum) for r in range(rows) for v in range(vectors)}
        self.rows = [self.constant(r) for r in range(rows)]
        if vectors < 4:  # tall: the last row that is there stands for those that are not
            last = builder.sub(there, self.constant(1))
            self.rows = [builder.select(builder.icmp_signed("<", r, last), r, last) for r in self.rows]

    def begin(self, weights: Any, group: Any, table: Any, offset: Any, start: Any, start_row: Any) -> None:
        """Read the rows' addresses and the sums that products are added to."""
        self.groups = [self.plus(weights, group, g) for g in range((self.vectors + 3) // 4)]
        self.x = [self.builder.add(self.load(self.plus(table, r, 8), WORD, 8), offset) for r in self.rows]
        for (r, v), place in self.sums.items():
            self.builder.store(self.load(self.place(start, r, start_row, v), self.sum), place)

    def end(self, to: Any, to_row: Any) -> None:
        """Write the sums."""
        for (r, v), place in self.sums.items():
            at = _pointer(self.builder, self.place(to, r, to_row, v), self.sum)
            self.builder.store(self.builder.load(place), at).align = 4
        if self.vectors == 3:  # the last gate is read as a whole vector, part of it from the fourth
            for r in range(len(self.rows)):
                at = _pointer(self.builder, self.place(to, r, to_row, 3), self.sum)
                self.builder.store(ir.Constant(self.sum, None), at).align = 4

    def place(self, base: Any, r: int, stride: Any, v: int) -> Any:
        """Where the vector of a sum is."""
        return self.plus(self.builder.add(base, self.builder.mul(self.rows[r], stride)), v * VECTOR)

    def constant(self, number: int) -> Any:
        return ir.Constant(WORD, number)

    def plus(self, base: Any, number: Any, stride: int = 1) -> Any:
        """base + number * stride, of which number may be an integer."""
        number = self.constant(number) if isinstance(number, int) else number
        return self.builder.add(base, self.builder.mul(number, self.constant(stride)))

    def part(self, number: Any, size: int) -> tuple[Any, Any]:
        """Where the values of a part of so many begin, and how many it has: the last may have fewer."""
        first = self.builder.mul(number, self.constant(size))
        left = self.builder.sub(self.count, first)
        whole = self.constant(size)
        return first, self.builder.select(self.builder.icmp_signed("<", left, whole), left, whole)

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        """The builder inside a loop; the number of each turn."""
        with cgutils.for_range(self.builder, count) as turn:
            yield turn.index

    def gate(self, v: int, k: Any, step: int = GROUP, first: int = 0) -> Any:
        """The address of vector v's weights in turn k, of which each takes `step` bytes for the four of a group."""
        return self.plus(self.plus(self.plus(self.groups[v // 4], k, step), v % 4, step // 4), first)

    def ask(self, k: Any) -> None:
        """Ask for weights that are wanted soon, in turn k of those that read the group's: a tile's share of the next.

        A tile alone would ask for more at once than a CPU waits for, and hold up what it reads itself. Of fewer rows
        than three, and of a lone tile of three, reading is what binds.
        """
        if self.ahead is None or len(self.rows) < 3 or GROUP < 2 * LINE:
            return
        builder, (ahead, size) = self.builder, self.ahead
        at = builder.add(ahead, builder.mul(k, size))
        _prefetch(builder, at, 3)
        if len(self.rows) == 3:
            return
        with builder.if_then(builder.icmp_signed("==", size, self.constant(GROUP)), likely=False):  # a lone tile
            for line in range(LINE, GROUP, LINE):
                _prefetch(builder, self.plus(at, line), 3)

    def load(self, at: Any, kind: ir.Type, align: int = 4) -> Any:
        loaded = self.builder.load(_pointer(self.builder, at, kind))
        loaded.align = align
        return loaded

    def broadcast(self, at: Any, dtype: types.Type, align: int = 4) -> Any:
        """The value at an address in every lane."""
        vector = VectorType(dtype, VECTOR * 8 // dtype.bitwidth)
        return _splat(self.builder, vector, self.load(at, _llvm(vector).element, align))

    def pairs(self, value: Any, weight: Any) -> Iterator[Any]:
        """Row, vector, value(row), weight(vector) of each sum: what is fewer is read first, the others one at a time.

        So the sums leave registers enough.
        """
        rows, vectors = range(len(self.rows)), range(self.vectors)
        if len(rows) > len(vectors):
            kept = [weight(v) for v in vectors]
            for r in rows:
                one = value(r)
                yield from ((r, v, one, kept[v]) for v in vectors)
        else:
            kept = [value(r) for r in rows]
            for v in vectors:
                one = weight(v)
                yield from ((r, v, kept[r], one) for r in rows)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return _call(self.builder, f"llvm.fma.{_suffix(self.vector)}", self.sum, [a, b, c])

    def add_product(self, r: int, v: int, weight: Any, value: Any) -> None:
        """sum = weight * value + sum, rounded once."""
        place = self.sums[r, v]
        self.builder.store(self.fma(weight, value, self.builder.load(place)), place)


class MatrixTile:
    """What an arithmetic needs to write the products of up to 16 rows and some vectors as the matrix unit's code.

    first, count: the values of a row that it is for.  x: the address of the first row's operands.  group: that of the
    first vector's weights.
    start, to: the address of the first row's sums, bytes from row to row.  rows: how many there are.
    """

    def __init__(self, builder: Any, registers: tuple[tuple[int, ...], int], vectors: int, rows: Any) -> None:
        self.builder, self.vectors, self.rows = builder, vectors, rows
        self._sums, self._values = registers
        self.x = self.x_row = self.group = self.first = self.count = None
        self.ahead: tuple[Any, Any] = (None, None)
        self.start: tuple[Any, Any] = (None, None)
        self.to: tuple[Any, Any] = (None, None)

    constant, plus, part, loop, load, fma = Tile.constant, Tile.plus, Tile.part, Tile.loop, Tile.load, Tile.fma
    vector = VectorType(types.float32, matrix.ROW // 4)
    sum = _llvm(vector)

    def place(self, array: tuple[Any, Any], v: int, r: Any = 0) -> Any:
        """Where the vector of a sum is."""
        number = self.constant(r) if isinstance(r, int) else r
        return self.plus(self.builder.add(array[0], self.builder.mul(number, array[1])), v * VECTOR)

    def store(self, value: Any, at: Any) -> None:
        self.builder.store(value, _pointer(self.builder, at, value.type)).align = 4

    def splat(self, number: Any) -> Any:
        """A float32 in every lane."""
        return _splat(self.builder, self.vector, number)

    def room(self, size: int) -> Any:
        """The address of so many bytes on the stack."""
        return self.builder.ptrtoint(_stack(self.builder, size), WORD)

    def ask(self, turn: Any, v: int) -> None:
        """Ask for weights that are wanted soon, before the products of every other vector in a turn.

        ahead: the address of the first, and how many lines at a time.
        """
        if self.vectors < 4 or v % 2:
            return
        ahead, lines = self.ahead
        first = self.builder.mul(self.plus(self.constant(v // 2), turn, 2), lines)
        with self.loop(lines) as line:
            at = self.plus(ahead, self.builder.add(first, line), LINE)
            _prefetch(self.builder, at, 2)

    def read_sums(self, v: int, at: Any, stride: Any) -> None:
        """A vector's sums of all rows, the first at an address, the others so many bytes from each other."""
        self._move("tileloadd64", self._sums[v], at, stride)

    def write_sums(self, v: int, at: Any, stride: Any) -> None:
        self._move("tilestored64", self._sums[v], at, stride)

    def read_values(self, at: Any) -> None:
        """64 bytes of each row's operands; the first row's are at an address."""
        self._move("tileloadd64", self._values, at, self.x_row)

    def multiply(self, instruction: str, v: int, at: Any) -> None:
        """Add the values' products with 16 words of a vector's weights; a group's are at an address."""
        self._move("tileloadd64", matrix.WEIGHTS, self.plus(at, v * VECTOR), self.constant(GROUP))
        matrix.emit(self.builder, instruction, self._sums[v], self._values, matrix.WEIGHTS)

    def _move(self, name: str, register: int, at: Any, stride: Any) -> None:
        matrix.emit(self.builder, name, register, _pointer(self.builder, at, ir.IntType(8)), stride)
