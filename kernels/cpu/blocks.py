"""Blocks of channels in vector registers: what the streaming passes over images are emitted with.

The vector instructions that LLVM finds by itself are made for long loops: on 16 or 64 channels of a
pixel more time goes into preparations than into the numbers. Pooling (`pool_simd`) and normalisation
(`norm_simd`) therefore emit theirs, as `simd` does: in Numba intrinsics, whose bodies run while a
kernel is being compiled. A `Block` stands for some neighbouring channels: a few vectors, so that an
addition need not wait for the one before, or one, or a single channel where fewer are left.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .target import VECTOR_BYTES

INT32, INT64 = ir.IntType(32), ir.IntType(64)
ZERO, ONE, TWO = (ir.Constant(INT64, number) for number in (0, 1, 2))
LONGEST_VECTOR = 16
"""Lanes of the longest vector there is."""


class Block:
    """Emits instructions for some neighbouring channels of a pixel.

    Args:
        builder: of the function that is being compiled.
        lanes: how many channels.
        channel: the first of them, an int64 value known at run time.
    """

    def __init__(self, builder: ir.IRBuilder, lanes: int, channel: ir.Value):
        self.builder = builder
        self.lanes = lanes
        self.channel = channel

    def vector(self, element: ir.Type) -> ir.Type:
        """The type of a vector of such elements."""
        return ir.VectorType(element, self.lanes)

    def load(self, array: "Flat", place: ir.Value) -> ir.Value:
        """The channels of the pixel that begins at element `place`."""
        vector = self.builder.load(self.pointer(array, place))
        vector.align = array.itemsize
        return vector

    def store(self, vector: ir.Value, array: "Flat", place: ir.Value) -> None:
        """Write the channels of the pixel that begins at element `place`."""
        self.builder.store(vector, self.pointer(array, place)).align = array.itemsize

    def zeros(self, array: "Flat") -> ir.Value:
        """A vector of zeros, of the array's dtype."""
        return ir.Constant(self.vector(array.element), None)

    def repeat(self, number: ir.Value) -> ir.Value:
        """A vector of equal numbers."""
        undefined = ir.Constant(self.vector(number.type), ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(INT32, 0))
        zeros = ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def variable(self, value: ir.Value) -> ir.Value:
        """A place for a vector that changes; LLVM keeps it in registers."""
        return cgutils.alloca_once_value(self.builder, value)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """The sum a * b + c, in one instruction where the processor has it."""
        contract = ["contract"]
        return self.builder.fadd(self.builder.fmul(a, b, flags=contract), c, flags=contract)

    def pointer(self, array: "Flat", place: ir.Value) -> ir.Value:
        """Where a vector of this block's channels lies, in the row that begins at `place`."""
        address = array.address(self.builder.add(place, self.channel))
        return self.builder.bitcast(address, self.vector(array.element).as_pointer())


class Flat:
    """An array argument of an intrinsic, contiguous, seen as one row of elements."""

    def __init__(self, context, builder: ir.IRBuilder, kind: types.Array, value: ir.Value):
        self.builder = builder
        self.data = context.make_array(kind)(context, builder, value).data
        self.element = self.data.type.pointee
        self.itemsize = kind.dtype.bitwidth // 8

    def address(self, index: ir.Value) -> ir.Value:
        """Where an element lies."""
        return self.builder.gep(self.data, [index])

    def __getitem__(self, index: ir.Value) -> ir.Value:
        return self.builder.load(self.address(index))


def operands(context, builder: ir.IRBuilder, signature, arguments: list[ir.Value]) -> list:
    """The arguments of an intrinsic, arrays as `Flat`."""
    return [
        Flat(context, builder, kind, value) if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, arguments, strict=True)
    ]


def block_sizes(itemsize: int, vectors: tuple[int, ...]) -> list[int]:
    """Lanes of blocks of so many vectors, and of a single channel at the end."""
    return [*(number * VECTOR_BYTES // itemsize for number in vectors), 1]


def each_block(
    builder: ir.IRBuilder, sizes: list[int], channels: ir.Value, emit: Callable[[Block], None]
) -> None:
    """Emit `emit(block)` in loops that meet every channel once: large blocks, then smaller ones for the rest."""
    start = ZERO
    for lanes in sizes:
        size = ir.Constant(INT64, lanes)
        end = builder.sub(channels, builder.srem(builder.sub(channels, start), size))
        with cgutils.for_range_slice(builder, start, end, size, INT64) as (channel, _):
            emit(Block(builder, lanes, channel))
        start = end
