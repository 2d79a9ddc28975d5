"""What batch normalisation does with a few rows of channels, written as vector instructions.

The functions below are Numba intrinsics: they emit loops over blocks of channels (see `blocks`), and
inside over the rows `first` to `last` of arrays (rows, width). What belongs to a channel, such as its
sums, then stays in registers from the first row to the last.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocks import INT64, ONE, ZERO, Block, Flat, block_sizes, each_block, operands

VECTORS = 4, 1
"""In a block; see `blocks`. Each size is a loop more to compile."""


def each_row(
    builder: ir.IRBuilder,
    first: ir.Value,
    last: ir.Value,
    width: ir.Value,
    emit: Callable[[ir.Value], None],
) -> None:
    """Emit `emit(place)` in a loop over rows: `place` is where a row begins in its array."""
    with cgutils.for_range_slice(builder, first, last, ONE) as (row, _):
        emit(builder.mul(row, width))


def add_to_sums(block: Block, part: ir.Value, sums: Flat, place: ir.Value) -> None:
    """Add a vector to the float64 numbers from `place` on."""
    kind = block.vector(sums.element)
    wide = part if part.type == kind else block.builder.fpext(part, kind)
    block.store(block.builder.fadd(block.load(sums, place), wide), sums, place)


def zero_below(block: Block, grad: ir.Value, y: ir.Value, limit: ir.Value) -> ir.Value:
    """Gradients, but 0 where y is not above the limit; no number is below NaN."""
    builder = block.builder
    low = builder.fcmp_ordered("<=", y, block.repeat(limit))
    return builder.select(low, ir.Constant(grad.type, None), grad)


@intrinsic
def sum_differences(typing_context, x, first, last, width, shift, sums, at):
    """Add up x - shift, and its square, over rows of x (rows, width).

    Args:
        x: float32 or float64, in whose precision these rows are summed.
        first, last, width: which rows, and how long they are.
        shift: (width,), of x's dtype.
        sums: float64; the first sum of channel c is added to element at + c, the second to
            at + width + c.
        at: see sums.
    """
    int64 = types.int64
    signature = types.void(x, int64, int64, int64, shift, sums, int64)

    def emit(context, builder, signature, arguments):
        x, first, last, width, shift, sums, at = operands(context, builder, signature, arguments)

        def emit_block(block: Block) -> None:
            center = block.load(shift, ZERO)
            total, squares = block.variable(block.zeros(x)), block.variable(block.zeros(x))

            def add(place: ir.Value) -> None:
                difference = builder.fsub(block.load(x, place), center)
                builder.store(builder.fadd(builder.load(total), difference), total)
                square = block.multiply_add(difference, difference, builder.load(squares))
                builder.store(square, squares)

            each_row(builder, first, last, width, add)
            add_to_sums(block, builder.load(total), sums, at)
            add_to_sums(block, builder.load(squares), sums, builder.add(at, width))

        each_block(builder, block_sizes(x.itemsize, VECTORS), width, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def write_normalized(typing_context, x, first, last, width, factors, is_added, residual, floor, y):
    """Write rows of y = (x - factors[0]) * factors[1] + factors[2], plus a residual if there is one.

    Args:
        x: float32 or float64 (rows, width).
        first, last, width: which rows, and how long they are.
        factors: (3 or more, width), of x's dtype.
        is_added: whether there is a residual.
        residual: (rows, width), of x's dtype.
        floor: what is below this number becomes this number.
        y: (rows, width), which is written.
    """
    int64 = types.int64
    signature = types.void(
        x, int64, int64, int64, factors, types.boolean, residual, x.dtype, y
    )  # fmt: skip

    def emit(context, builder, signature, arguments):
        x, first, last, width, factors, is_added, residual, floor, y = operands(
            context, builder, signature, arguments
        )

        def emit_block(block: Block) -> None:
            center, scale, shift = (
                block.load(factors, builder.mul(width, ir.Constant(INT64, i))) for i in range(3)
            )
            lowest = block.repeat(floor)

            def normalized(place: ir.Value) -> ir.Value:
                difference = builder.fsub(block.load(x, place), center)
                return block.multiply_add(difference, scale, shift)

            def write(z: ir.Value, place: ir.Value) -> None:
                low = builder.fcmp_ordered("<", z, lowest)
                block.store(builder.select(low, lowest, z), y, place)

            def write_sum(place: ir.Value) -> None:
                write(builder.fadd(normalized(place), block.load(residual, place)), place)

            def write_alone(place: ir.Value) -> None:
                write(normalized(place), place)

            with builder.if_else(is_added) as (with_residual, without):
                with with_residual:
                    each_row(builder, first, last, width, write_sum)
                with without:
                    each_row(builder, first, last, width, write_alone)

        each_block(builder, block_sizes(x.itemsize, VECTORS), width, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def sum_gradients(
    typing_context, grad, x, y, limit, first, last, width, center, sums, at, is_kept, grad_z
):
    """Add up g, which is dL/dy but 0 where y <= limit, and g * (x - center), over rows (rows, width).

    Args:
        grad, x, y: dL/dy, x and y, float32 or float64 (rows, width).
        limit: 0 after a ReLU, else NaN.
        first, last, width: which rows, and how long they are.
        center: begins with (width,), of x's dtype.
        sums, at: as in `sum_differences`.
        is_kept: whether g is written to grad_z.
        grad_z: (rows, width).
    """
    int64 = types.int64
    signature = types.void(
        grad, x, y, x.dtype, int64, int64, int64, center, sums, int64, types.boolean, grad_z
    )  # fmt: skip

    def emit(context, builder, signature, arguments):
        grad, x, y, limit, first, last, width, center, sums, at, is_kept, grad_z = operands(
            context, builder, signature, arguments
        )

        def emit_block(block: Block) -> None:
            middle = block.load(center, ZERO)
            total, products = block.variable(block.zeros(x)), block.variable(block.zeros(x))

            def add(place: ir.Value) -> None:
                g = zero_below(block, block.load(grad, place), block.load(y, place), limit)
                with builder.if_then(is_kept):
                    block.store(g, grad_z, place)
                builder.store(builder.fadd(builder.load(total), g), total)
                difference = builder.fsub(block.load(x, place), middle)
                product = block.multiply_add(g, difference, builder.load(products))
                builder.store(product, products)

            each_row(builder, first, last, width, add)
            add_to_sums(block, builder.load(total), sums, at)
            add_to_sums(block, builder.load(products), sums, builder.add(at, width))

        each_block(builder, block_sizes(x.itemsize, VECTORS), width, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def write_gradients(
    typing_context, grad, x, y, limit, first, last, width, factors, of_batch, grad_x
):
    """Write rows of dL/dx = (g - factors[2] - (x - factors[0]) * factors[3]) * factors[1].

    Args:
        grad, x, y, limit, first, last, width: as in `sum_gradients`, and so g.
        factors: (4, width), of x's dtype.
        of_batch: if not, dL/dx = g * factors[1].
        grad_x: (rows, width), which is written.
    """
    int64 = types.int64
    signature = types.void(grad, x, y, x.dtype, int64, int64, int64, factors, types.boolean, grad_x)

    def emit(context, builder, signature, arguments):
        grad, x, y, limit, first, last, width, factors, of_batch, grad_x = operands(
            context, builder, signature, arguments
        )

        def emit_block(block: Block) -> None:
            center, scale, constant, slope = (
                block.load(factors, builder.mul(width, ir.Constant(INT64, i))) for i in range(4)
            )

            def gradient(place: ir.Value) -> ir.Value:
                return zero_below(block, block.load(grad, place), block.load(y, place), limit)

            def write(place: ir.Value) -> None:
                g = builder.fsub(gradient(place), constant)
                difference = builder.fsub(center, block.load(x, place))
                g = block.multiply_add(difference, slope, g)
                block.store(builder.fmul(g, scale), grad_x, place)

            def write_scaled(place: ir.Value) -> None:
                block.store(builder.fmul(gradient(place), scale), grad_x, place)

            with builder.if_else(of_batch) as (by_batch, by_constants):
                with by_batch:
                    each_row(builder, first, last, width, write)
                with by_constants:
                    each_row(builder, first, last, width, write_scaled)

        each_block(builder, block_sizes(x.itemsize, VECTORS), width, emit_block)
        return context.get_dummy_value()

    return signature, emit
