"""Steps of the loops of `conv_pool`, written as vector instructions; how, `simd` explains."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocks import ONE, ZERO, Block, each_block, operands
from .pool_simd import keep_better, overlapping_blocks, resized
from .target import VECTOR_BYTES
from .vectors import INT64, Vectors

UNROLLED = 6
"""Up to so many vectors of a row of the window, the code for them is written out."""


@intrinsic
def keep_largest(
    typing_context, x, first, places, count, lowest, nobody, y, winner, to, channels, may_spill
):
    """Write the largest of the pixels at first + places[tap] of x to y, and its tap to `winner`.

    The first of equals wins; NaN is larger than every number.

    Args:
        typing_context: Numba's; not part of a call.
        x: array of float32 or float64.
        first: an element of x.
        places: int64, for each tap, elements from there to where the pixel's channels begin.
        count: of taps.
        lowest: if none is above this number, y is this number and the winner `nobody`.
        nobody: see lowest.
        y: array that is written, from element `to` on.
        winner: likewise.
        to: see y.
        channels: of a pixel.
        may_spill: see `pool_simd.overlapping_blocks`.
    """
    int64 = types.int64
    signature = types.void(
        x, int64, places, int64, x.dtype, int64, y, winner, int64, int64, types.boolean
    )

    def emit(context, builder, signature, arguments):
        x, first, places, count, lowest, nobody, y, winner, to, channels, may_spill = operands(
            context, builder, signature, arguments
        )
        tap_type = ir.IntType(8 * x.itemsize)  # as wide as a float: comparing floats chooses taps

        def emit_block(block: Block) -> None:
            best = block.variable(block.repeat(lowest))
            best_tap = block.variable(block.repeat(resized(builder, nobody, tap_type)))
            with cgutils.for_range(builder, count) as tap:
                new = block.load(x, builder.add(first, places[tap.index]))
                keep_better(block, best, best_tap, new, tap.index)
            block.store(builder.load(best), y, to)
            block.store(
                resized(builder, builder.load(best_tap), block.vector(winner.element)), winner, to
            )

        overlapping_blocks(builder, x.itemsize, channels, may_spill, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def spread_gradients(
    typing_context,
    grad,
    winner,
    first,
    taps,
    spread,
    to,
    tap_step,
    sums,
    place,
    channels,
    may_spill,
):
    """Write the gradients of one pooled pixel to where they belong before the pooling, and zeros beside them.

    Args:
        typing_context: Numba's; not part of a call.
        grad: float32 or float64, the pixel's gradients from element `first` on.
        winner: unsigned integers, the tap that won each of them, likewise.
        first: see grad.
        taps: how many there are; a winner that is none of them is nobody.
        spread: array that is written, for each tap from element `to` + tap * tap_step on.
        to: see spread.
        tap_step: see spread.
        sums: array to which the gradients that have a winner are added, from element `place` on.
        place: see sums.
        channels: how many gradients.
        may_spill: whether whole vectors may be read and written, of which only some are gradients.
    """
    int64 = types.int64
    signature = types.void(
        grad, winner, int64, int64, spread, int64, int64, sums, int64, int64, types.boolean
    )

    def emit(context, builder, signature, arguments):
        grad, winner, first, taps, spread, to, tap_step, sums, place, channels, may_spill = (
            operands(context, builder, signature, arguments)
        )
        tap_type = ir.IntType(8 * grad.itemsize)

        def emit_block(block: Block) -> None:
            gradient, zeros = block.load(grad, first), block.zeros(grad)
            won_by = resized(builder, block.load(winner, first), block.vector(tap_type))
            total = block.variable(block.load(sums, place))
            with cgutils.for_range(builder, taps) as tap:
                number = block.repeat(resized(builder, tap.index, tap_type))
                part = builder.select(builder.icmp_unsigned("==", won_by, number), gradient, zeros)
                block.store(part, spread, builder.add(to, builder.mul(tap.index, tap_step)))
                builder.store(builder.fadd(builder.load(total), part), total)
            block.store(builder.load(total), sums, place)

        lanes = VECTOR_BYTES // grad.itemsize
        with builder.if_else(may_spill) as (spill, exact):
            with spill:
                size = ir.Constant(INT64, lanes)
                with cgutils.for_range_slice(builder, ZERO, channels, size, INT64) as (channel, _):
                    emit_block(Block(builder, lanes, channel))
            with exact:
                each_block(builder, [lanes, 1], channels, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_filters(
    typing_context, count, gradients, filters, filter_row, window, window_row, rows, length
):
    """Add to a window of an image, for each e < count, gradients[e] times the filter at address filters[e].

    What lies behind a row of the window, up to a whole vector, is read, and written back as it was.

    Args:
        typing_context: Numba's; not part of a call.
        count: how many.
        gradients: float32 or float64, as all that is computed with.
        filters: int64; behind each row of a filter, up to a whole vector may be read.
        filter_row: bytes from a row of a filter to the next.
        window: address of the window's first number.
        window_row: bytes from a row of the window to the next.
        rows: of a window and a filter.
        length: of such a row, at least 1.
    """
    int64 = types.int64
    signature = types.void(int64, gradients, filters, int64, int64, int64, int64, int64)

    def emit(context, builder, signature, arguments):
        count, gradients, filters, filter_row, window, window_row, rows, length = operands(
            context, builder, signature, arguments
        )
        vectors = Vectors(builder, signature.args[1].dtype)
        lanes, vector_bytes = (ir.Constant(INT64, n) for n in (vectors.lanes, VECTOR_BYTES))
        # So many whole vectors to a row, and one more vector, or a part of it.
        whole = builder.sdiv(builder.sub(length, ONE), lanes)
        mask = vectors.first(builder.sub(length, builder.mul(whole, lanes)))

        def add_to(row: ir.Value, first: ir.Value, number: int, last_is_a_part: bool) -> None:
            """Keep `number` vectors of a row of the window in registers while all filters are added to them."""
            steps = [ir.Constant(INT64, i * VECTOR_BYTES) for i in range(number)]
            offsets = [builder.add(first, step) for step in steps]
            to = builder.add(window, builder.mul(row, window_row))
            places = [builder.add(to, offset) for offset in offsets]
            before = [vectors.load(place) for place in places]
            sums = [cgutils.alloca_once_value(builder, vector) for vector in before]
            filter_offset = builder.mul(row, filter_row)
            with cgutils.for_range(builder, count) as entry:
                factors = vectors.splat(gradients[entry.index])
                source = builder.add(filters[entry.index], filter_offset)
                for total, offset in zip(sums, offsets, strict=True):
                    numbers = vectors.load(builder.add(source, offset))
                    new = vectors.multiply_add(factors, numbers, builder.load(total))
                    builder.store(new, total)
            after = [builder.load(total) for total in sums]
            if last_is_a_part:
                after[-1] = builder.select(mask, after[-1], before[-1])
            for vector, place in zip(after, places, strict=True):
                vectors.store(vector, place)

        with cgutils.for_range(builder, rows) as row:
            for n in range(UNROLLED):
                with builder.if_then(builder.icmp_signed("==", whole, ir.Constant(INT64, n))):
                    add_to(row.index, ZERO, n + 1, last_is_a_part=True)
            with builder.if_then(builder.icmp_signed(">=", whole, ir.Constant(INT64, UNROLLED))):
                with cgutils.for_range(builder, whole) as block:
                    add_to(row.index, builder.mul(block.index, vector_bytes), 1, False)
                add_to(row.index, builder.mul(whole, vector_bytes), 1, last_is_a_part=True)
        return context.get_dummy_value()

    return signature, emit
