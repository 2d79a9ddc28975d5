"""Vector instructions, written into a function that Numba is compiling.

Numba compiles Python to LLVM's intermediate language; these classes add instructions to it that
Python has no words for. A method call here is an instruction there: it runs when a kernel is
compiled, and what it returns stands for the value that the instruction will have.
"""

from collections.abc import Iterator

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .target import VECTOR_BYTES

INT32, INT64 = ir.IntType(32), ir.IntType(64)


class Vectors:
    """Emits vector instructions for one element type.

    Args:
        builder: of the function that is being compiled.
        dtype: Numba's type of the elements, float32 or float64.
    """

    def __init__(self, builder: ir.IRBuilder, dtype: types.Float):
        self.builder = builder
        self.itemsize = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.itemsize
        self.element = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
        self.type = ir.VectorType(self.element, self.lanes)
        self.mask_type = ir.VectorType(ir.IntType(1), self.lanes)
        self.suffix = f"v{self.lanes}f{dtype.bitwidth}"  # of LLVM's names for its functions

    def constant(self, value: float) -> ir.Value:
        """A vector of equal numbers."""
        return ir.Constant(self.type, [value] * self.lanes)

    def number(self, address: ir.Value) -> ir.Value:
        """Load one number."""
        return self.builder.load(self.builder.inttoptr(address, self.element.as_pointer()))

    def splat(self, number: ir.Value) -> ir.Value:
        """A vector that repeats one number."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(INT32, 0))
        zeros = ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def load(self, address: ir.Value) -> ir.Value:
        """Load a vector from an address that need not be aligned."""
        vector = self.builder.load(self.builder.inttoptr(address, self.type.as_pointer()))
        vector.align = self.itemsize
        return vector

    def store(self, vector: ir.Value, address: ir.Value) -> None:
        """Store a vector to an address that need not be aligned."""
        pointer = self.builder.inttoptr(address, self.type.as_pointer())
        self.builder.store(vector, pointer).align = self.itemsize

    def first(self, count: ir.Value) -> ir.Value:
        """A mask of the first `count` lanes."""
        lanes = ir.VectorType(INT64, self.lanes)
        undefined = ir.Constant(lanes, ir.Undefined)
        limit = self.builder.insert_element(undefined, count, ir.Constant(INT32, 0))
        zeros = ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes)
        limit = self.builder.shuffle_vector(limit, undefined, zeros)
        return self.builder.icmp_signed("<", ir.Constant(lanes, list(range(self.lanes))), limit)

    def load_some(self, address: ir.Value, mask: ir.Value) -> ir.Value:
        """Load the lanes of a mask; the others are 0, and their memory is not touched."""
        pointer = self.type.as_pointer()
        kinds = [pointer, INT32, self.mask_type, self.type]
        function = self._function(f"llvm.masked.load.{self.suffix}.p0", self.type, kinds)
        align = ir.Constant(INT32, self.itemsize)
        address = self.builder.inttoptr(address, pointer)
        return self.builder.call(function, [address, align, mask, self.constant(0)])

    def store_some(self, vector: ir.Value, address: ir.Value, mask: ir.Value) -> None:
        """Store the lanes of a mask; the memory of the others is not touched."""
        pointer = self.type.as_pointer()
        kinds = [self.type, pointer, INT32, self.mask_type]
        function = self._function(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), kinds)
        align = ir.Constant(INT32, self.itemsize)
        self.builder.call(function, [vector, self.builder.inttoptr(address, pointer), align, mask])

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """A * b + c, in one instruction where the processor has it."""
        function = self._function(f"llvm.fmuladd.{self.suffix}", self.type, [self.type] * 3)
        return self.builder.call(function, [a, b, c])

    def relu(self, vector: ir.Value) -> ir.Value:
        """0 where a lane is negative; NaN stays."""
        zero = self.constant(0)
        return self.builder.select(self.builder.fcmp_ordered("<", vector, zero), zero, vector)

    def _function(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        kind = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self.builder.module, kind, name)


class Tile:
    """The sums of a tile, some rows of some vectors; LLVM keeps them in registers.

    Args:
        vectors: the emitter.
        rows: how many rows, known when compiling.
        width: of how many vectors, likewise.
        columns: how many of the tile's columns exist in memory, an int64 value known at run time.
    """

    def __init__(self, vectors: Vectors, rows: int, width: int, columns: ir.Value):
        self.vectors = vectors
        self.builder = vectors.builder
        self.width = width
        self.sums = [
            [cgutils.alloca_once(self.builder, vectors.type) for _ in range(width)]
            for _ in range(rows)
        ]
        self.columns = columns
        self.is_whole = self.builder.icmp_signed(">=", columns, self.lane(width))
        self.masks = [vectors.first(self.builder.sub(columns, self.lane(j))) for j in range(width)]

    def lane(self, j: int) -> ir.Value:
        """The first column of vector `j`."""
        return ir.Constant(INT64, j * self.vectors.lanes)

    def offset(self, j: int) -> ir.Value:
        """Bytes from the start of a row to its vector `j`."""
        return ir.Constant(INT64, j * VECTOR_BYTES)

    def start_at(self, row_vectors: list[ir.Value]) -> None:
        """Begin every row with the same numbers."""
        for row in self.sums:
            for total, vector in zip(row, row_vectors, strict=True):
                self.builder.store(vector, total)

    def row(self, address: ir.Value) -> list[ir.Value]:
        """Load a row of a packed matrix, which is always whole."""
        return [
            self.vectors.load(self.builder.add(address, self.offset(j))) for j in range(self.width)
        ]

    def add_product(self, i: int, number: ir.Value, row_vectors: list[ir.Value]) -> None:
        """Add to row `i` a number times a row."""
        factor = self.vectors.splat(number)
        for total, vector in zip(self.sums[i], row_vectors, strict=True):
            result = self.vectors.multiply_add(factor, vector, self.builder.load(total))
            self.builder.store(result, total)

    def relu(self) -> None:
        """Replace negative sums by 0."""
        for row in self.sums:
            for total in row:
                self.builder.store(self.vectors.relu(self.builder.load(total)), total)

    def load(self, addresses: list[ir.Value]) -> None:
        """Begin with what is in memory, row by row."""
        with self.builder.if_else(self.is_whole) as (whole, part):
            with whole:
                self.load_whole(addresses)
            with part:
                for total, address, mask in self._places(addresses):
                    self.builder.store(self.vectors.load_some(address, mask), total)

    def store(self, addresses: list[ir.Value]) -> None:
        """Write the tile to memory, row by row, the columns that exist."""
        with self.builder.if_else(self.is_whole) as (whole, part):
            with whole:
                self.store_whole(addresses)
            with part:
                # Many processors are slow to store part of a vector, even if it is no part at all.
                for j in range(self.width):
                    with self.builder.if_then(
                        self.builder.icmp_signed(">", self.columns, self.lane(j))
                    ):
                        for row, address in zip(self.sums, addresses, strict=True):
                            place = self.builder.add(address, self.offset(j))
                            total = self.builder.load(row[j])
                            self.vectors.store_some(total, place, self.masks[j])

    def load_whole(self, addresses: list[ir.Value]) -> None:
        """Begin with what is in memory, where all columns exist."""
        for total, address, _ in self._places(addresses):
            self.builder.store(self.vectors.load(address), total)

    def store_whole(self, addresses: list[ir.Value]) -> None:
        """Write the tile to memory, where all columns exist."""
        for total, address, _ in self._places(addresses):
            self.vectors.store(self.builder.load(total), address)

    def _places(self, addresses: list[ir.Value]) -> Iterator[tuple[ir.Value, ir.Value, ir.Value]]:
        for row, address in zip(self.sums, addresses, strict=True):
            for j, total in enumerate(row):
                yield total, self.builder.add(address, self.offset(j)), self.masks[j]
