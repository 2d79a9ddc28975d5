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
from .streaming import store_streaming
from .target import VECTOR_BYTES

VECTORS = 4, 1
"""In a block; see `blocks`. Each size is a loop more to compile."""

BLOCK_BYTES = VECTORS[0] * VECTOR_BYTES
"""A block of channels, the largest: rows made of these only can be streamed."""


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


def load_rows(block: Block, numbers: Flat, width: ir.Value, count: int) -> list[ir.Value]:
    """The block's part of the first rows of an array (count or more, width)."""
    starts = (block.builder.mul(width, ir.Constant(INT64, i)) for i in range(count))
    return [block.load(numbers, start) for start in starts]


def normalized(block: Block, x: ir.Value, factors: list[ir.Value]) -> ir.Value:
    """(x - factors[0]) * factors[1] + factors[2]: the same instructions forward and backward, and so the same bits."""
    center, scale, shift = factors[:3]
    return block.multiply_add(block.builder.fsub(x, center), scale, shift)


def store_result(
    block: Block, vector: ir.Value, result: Flat, place: ir.Value, streamed: ir.Value
) -> None:
    """Store, past the caches if `streamed`: then all blocks are of the largest size, see `BLOCK_BYTES`."""
    if block.lanes * result.itemsize < BLOCK_BYTES:
        block.store(vector, result, place)
        return
    with block.builder.if_else(streamed) as (past_caches, to_caches):
        with past_caches:
            store_streaming(block.builder, vector, block.pointer(result, place), VECTOR_BYTES)
        with to_caches:
            block.store(vector, result, place)


def zero_below(block: Block, grad: ir.Value, y: ir.Value, limit: ir.Value) -> ir.Value:
    """Gradients, but 0 where y is not above the limit; no number is below NaN."""
    low = block.builder.fcmp_ordered("<=", y, limit)
    return block.builder.select(low, ir.Constant(grad.type, None), grad)


@intrinsic
def sum_differences(typing_context, x, first, last, width, shift, sums, at):
    """Add up x - shift, and its square, over rows of x (rows, width).

    Args:
        typing_context: Numba's; not part of a call.
        x: float32 or float64, in whose precision these rows are summed.
        first: the first row.
        last: the row after the last one.
        width: length of a row.
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
def write_normalized(
    typing_context, x, first, last, width, factors, is_added, residual, floor, streamed, y
):
    """Write rows of y = (x - factors[0]) * factors[1] + factors[2], plus a residual if there is one.

    Args:
        typing_context: Numba's; not part of a call.
        x: float32 or float64 (rows, width).
        first: the first row.
        last: the row after the last one.
        width: length of a row.
        factors: (3 or more, width), of x's dtype.
        is_added: whether there is a residual.
        residual: (rows, width), of x's dtype.
        floor: what is below this number becomes this number.
        streamed: whether y is written past the caches, see `streaming`.
        y: (rows, width), which is written.
    """
    int64 = types.int64
    signature = types.void(
        x, int64, int64, int64, factors, types.boolean, residual, x.dtype, types.boolean, y
    )  # fmt: skip

    def emit(context, builder, signature, arguments):
        x, first, last, width, factors, is_added, residual, floor, streamed, y = operands(
            context, builder, signature, arguments
        )

        def emit_block(block: Block) -> None:
            per_channel = load_rows(block, factors, width, 3)
            lowest = block.repeat(floor)

            def z_of(place: ir.Value) -> ir.Value:
                return normalized(block, block.load(x, place), per_channel)

            def write(z: ir.Value, place: ir.Value) -> None:
                low = builder.fcmp_ordered("<", z, lowest)
                store_result(block, builder.select(low, lowest, z), y, place, streamed)

            def write_sum(place: ir.Value) -> None:
                write(builder.fadd(z_of(place), block.load(residual, place)), place)

            def write_alone(place: ir.Value) -> None:
                write(z_of(place), place)

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
    typing_context, grad, x, limit, first, last, width, factors, sums, at, is_kept, y, grad_z
):
    """Add up g = dL/dz, with z before the activation, and g * (x - factors[0]), over rows.

    Args:
        typing_context: Numba's; not part of a call.
        grad: dL/dy, float32 or float64 (rows, width).
        x: (rows, width).
        limit: g is 0 where z, or y, is not above this number: 0 after a ReLU, else NaN.
        first: the first row.
        last: the row after the last one.
        width: length of a row.
        factors: (3 or more, width), with which z = (x - [0]) * [1] + [2] if there was no residual.
        sums: see `sum_differences`.
        at: see `sum_differences`.
        is_kept: if so, y is compared with the limit, and g is written to grad_z.
        y: (rows, width).
        grad_z: (rows, width).
    """
    int64 = types.int64
    signature = types.void(
        grad, x, x.dtype, int64, int64, int64, factors, sums, int64, types.boolean, y, grad_z
    )  # fmt: skip

    def emit(context, builder, signature, arguments):
        grad, x, limit, first, last, width, factors, sums, at, is_kept, y, grad_z = operands(
            context, builder, signature, arguments
        )

        def emit_block(block: Block) -> None:
            per_channel = load_rows(block, factors, width, 3)
            limits = block.repeat(limit)
            total, products = block.variable(block.zeros(x)), block.variable(block.zeros(x))

            def add(g: ir.Value, difference: ir.Value) -> None:
                builder.store(builder.fadd(builder.load(total), g), total)
                product = block.multiply_add(g, difference, builder.load(products))
                builder.store(product, products)

            def add_by_y(place: ir.Value) -> None:
                g = zero_below(block, block.load(grad, place), block.load(y, place), limits)
                block.store(g, grad_z, place)
                add(g, builder.fsub(block.load(x, place), per_channel[0]))

            def add_by_z(place: ir.Value) -> None:
                pixel = block.load(x, place)
                z = normalized(block, pixel, per_channel)
                g = zero_below(block, block.load(grad, place), z, limits)
                add(g, builder.fsub(pixel, per_channel[0]))

            with builder.if_else(is_kept) as (kept, not_kept):
                with kept:
                    each_row(builder, first, last, width, add_by_y)
                with not_kept:
                    each_row(builder, first, last, width, add_by_z)
            add_to_sums(block, builder.load(total), sums, at)
            add_to_sums(block, builder.load(products), sums, builder.add(at, width))

        each_block(builder, block_sizes(x.itemsize, VECTORS), width, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def write_gradients(
    typing_context, grad, x, limit, first, last, width, factors, of_batch, streamed, grad_x
):
    """Write rows of dL/dx = (g - factors[3] - (x - factors[0]) * factors[4]) * factors[1].

    Args:
        typing_context: Numba's; not part of a call.
        grad: as in `sum_gradients`, and so g.
        x: see `sum_gradients`.
        limit: see `sum_gradients`.
        first: the first row.
        last: the row after the last one.
        width: length of a row.
        factors: (5, width), of x's dtype.
        of_batch: if not, dL/dx = g * factors[1].
        streamed: whether grad_x is written past the caches, see `streaming`.
        grad_x: (rows, width), which is written.
    """
    int64 = types.int64
    signature = types.void(
        grad, x, x.dtype, int64, int64, int64, factors, types.boolean, types.boolean, grad_x
    )

    def emit(context, builder, signature, arguments):
        grad, x, limit, first, last, width, factors, of_batch, streamed, grad_x = operands(
            context, builder, signature, arguments
        )

        def emit_block(block: Block) -> None:
            per_channel = load_rows(block, factors, width, 5)
            center, scale, _, constant, slope = per_channel
            limits = block.repeat(limit)

            def gradient(place: ir.Value, pixel: ir.Value) -> ir.Value:
                z = normalized(block, pixel, per_channel)
                return zero_below(block, block.load(grad, place), z, limits)

            def write(place: ir.Value) -> None:
                pixel = block.load(x, place)
                g = builder.fsub(gradient(place, pixel), constant)
                g = block.multiply_add(builder.fsub(center, pixel), slope, g)
                store_result(block, builder.fmul(g, scale), grad_x, place, streamed)

            def write_scaled(place: ir.Value) -> None:
                g = gradient(place, block.load(x, place))
                store_result(block, builder.fmul(g, scale), grad_x, place, streamed)

            with builder.if_else(of_batch) as (by_batch, by_constants):
                with by_batch:
                    each_row(builder, first, last, width, write)
                with by_constants:
                    each_row(builder, first, last, width, write_scaled)

        each_block(builder, block_sizes(x.itemsize, VECTORS), width, emit_block)
        return context.get_dummy_value()

    return signature, emit
