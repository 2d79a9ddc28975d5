"""What pooling does with one pixel, written as vector instructions that work on many channels at once.

A pixel of a result is made from a handful of pixels of another image, its partners, each with all
channels side by side. The functions below are Numba intrinsics: they emit the instructions for one
pixel, which take the channels in blocks that fit into registers, and the partners in the inner loop.

Who the partners are, two tables say, one for rows and one for columns. A row of a table is

    [how many partners, place of the first, its tap, place of the second, its tap, ...]

and place (in elements, from the beginning of the image) and tap of a pixel are the sums of its row's
and its column's.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocks import INT64, ONE, TWO, ZERO, Block, Flat, block_sizes, operands
from .target import VECTOR_BYTES

VECTORS = 4, 2, 1
"""In a block; see `blocks`."""


class Partners:
    """The partners of one pixel: `rows` from an index on, and `columns` from an index on, of the two tables."""

    def __init__(self, rows: Flat, row: ir.Value, columns: Flat, column: ir.Value):
        self.builder = rows.builder
        self.rows, self.row = rows, row
        self.columns, self.column = columns, column

    @property
    def first_tap(self) -> ir.Value:
        """The number of the first tap that has a partner."""
        return self.builder.add(
            self.rows[self.builder.add(self.row, TWO)],
            self.columns[self.builder.add(self.column, TWO)],
        )

    def visit(self, image: ir.Value, emit: Callable[[ir.Value, ir.Value], None]) -> None:
        """Emit `emit(place, tap)` in a loop over all partners; their image begins at element `image`."""
        for_each = self._for_each
        for_each(
            self.rows, self.row, image, ZERO,
            lambda place, tap: for_each(self.columns, self.column, place, tap, emit),
        )  # fmt: skip

    def _for_each(self, table: Flat, start: ir.Value, place: ir.Value, tap: ir.Value, emit) -> None:
        add = self.builder.add
        with cgutils.for_range(self.builder, table[start]) as loop:
            entry = add(add(start, ONE), self.builder.mul(loop.index, TWO))
            emit(add(place, table[entry]), add(tap, table[add(entry, ONE)]))


def overlapping_blocks(
    builder: ir.IRBuilder,
    itemsize: int,
    channels: ir.Value,
    may_spill: ir.Value,
    emit: Callable[[Block], None],
) -> None:
    """Emit `emit(block)` in loops over blocks of one size, the largest that the channels fill.

    The last block may begin earlier than its turn, so that it ends with the last channel: some
    channels are then computed twice, with the same result. With fewer channels than a vector has
    lanes, a whole vector is computed and stored all the same if `may_spill` says so: what it writes
    behind the pixel is overwritten when the next pixel is. Else the channels come one by one.
    """
    one_vector = VECTOR_BYTES // itemsize

    def loop_over(lanes: int) -> None:
        size = ir.Constant(INT64, lanes)
        last = builder.sub(channels, size)
        last = builder.select(builder.icmp_signed("<", last, ZERO), ZERO, last)
        with cgutils.for_range_slice(builder, ZERO, channels, size, INT64) as (channel, _):
            late = builder.icmp_signed(">", channel, last)
            emit(Block(builder, lanes, builder.select(late, last, channel)))

    def choose_from(sizes: list[int]) -> None:
        """Loop over blocks of the first of `sizes` that is not larger than the pixel."""
        if sizes == [1]:
            loop_over(1)
            return
        fits = builder.icmp_signed(">=", channels, ir.Constant(INT64, sizes[0]))
        if sizes[0] == one_vector:
            fits = builder.or_(fits, may_spill)
        with builder.if_else(fits) as (large, small):
            with large:
                loop_over(sizes[0])
            with small:
                choose_from(sizes[1:])

    choose_from(block_sizes(itemsize, VECTORS))


def resized(builder: ir.IRBuilder, value: ir.Value, kind: ir.Type) -> ir.Value:
    """Convert unsigned integers, or a vector of them, to a type of another width."""
    old, new = (getattr(t, "element", t).width for t in (value.type, kind))
    if old == new:
        return value
    return builder.trunc(value, kind) if old > new else builder.zext(value, kind)


def keep_better(
    block: Block, best: ir.Value, best_tap: ir.Value, new: ir.Value, tap: ir.Value
) -> None:
    """Replace `best` and `best_tap`, two variables, where `new` from `tap` is larger or the first NaN."""
    builder = block.builder
    old, old_tap = builder.load(best), builder.load(best_tap)
    above_or_nan = builder.fcmp_unordered(">", new, old)
    better = builder.and_(above_or_nan, builder.fcmp_ordered("ord", old, old))
    builder.store(builder.select(better, new, old), best)
    new_tap = block.repeat(resized(builder, tap, old_tap.type.element))
    builder.store(builder.select(better, new_tap, old_tap), best_tap)


@intrinsic
def keep_largest(
    typing_context,
    x,
    image,
    rows,
    row,
    columns,
    column,
    threshold,
    nobody,
    y,
    winner,
    to,
    channels,
    may_spill,
):
    """Write the largest of a pixel's partners to y, and which tap it came through to `winner`.

    The first of equals wins; NaN is larger than every number. Without partners, y is -inf.

    Args:
        typing_context: Numba's; not part of a call.
        x: array of float32 or float64 that holds the partners, in the image from element `image` on.
        image: see x.
        rows: table of rows; the pixel's row begins at element `row`.
        row: see rows.
        columns: table of columns; the pixel's column begins at element `column`.
        column: see columns.
        threshold: if the largest is not above this number, y is 0 and the winner `nobody`. No number
            is below NaN, so NaN stands for no threshold.
        nobody: see threshold.
        y: array that is written, from element `to` on.
        winner: likewise.
        to: see y.
        channels: of a pixel.
        may_spill: whether LONGEST_VECTOR elements may be read and written at once, of fewer channels.
    """
    int64 = types.int64
    signature = types.void(
        x, int64, rows, int64, columns, int64, x.dtype, int64, y, winner, int64, int64, types.boolean
    )  # fmt: skip

    def emit(context, builder, signature, arguments):
        (
            x, image, rows, row, columns, column, threshold, nobody, y, winner, to, channels, may_spill
        ) = operands(context, builder, signature, arguments)  # fmt: skip
        partners = Partners(rows, row, columns, column)
        tap_type = ir.IntType(8 * x.itemsize)  # as wide as a float: comparing floats chooses taps

        def emit_block(block: Block) -> None:
            lowest = ir.Constant(x.element, float("-inf"))
            best = block.variable(block.repeat(lowest))
            best_tap = block.variable(
                block.repeat(resized(builder, partners.first_tap, tap_type))
            )  # it wins where all are -inf

            def compare(place: ir.Value, tap: ir.Value) -> None:
                keep_better(block, best, best_tap, block.load(x, place), tap)

            partners.visit(image, compare)
            value, tap = builder.load(best), builder.load(best_tap)
            low = builder.fcmp_ordered("<=", value, block.repeat(threshold))
            block.store(builder.select(low, block.zeros(x), value), y, to)
            tap = builder.select(low, block.repeat(resized(builder, nobody, tap_type)), tap)
            block.store(resized(builder, tap, block.vector(winner.element)), winner, to)

        overlapping_blocks(builder, x.itemsize, channels, may_spill, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_gradients_won(
    typing_context, grad, winner, image, rows, row, columns, column, grad_x, to, channels, may_spill
):
    """Write to grad_x, for one pixel, the sum of its partners' gradients where the tap between them won.

    `grad` and `winner` hold the partners, and grad_x is written; the other arguments are those of
    `keep_largest`.
    """
    int64 = types.int64
    signature = types.void(
        grad, winner, int64, rows, int64, columns, int64, grad_x, int64, int64, types.boolean
    )  # fmt: skip

    def emit(context, builder, signature, arguments):
        grad, winner, image, rows, row, columns, column, grad_x, to, channels, may_spill = operands(
            context, builder, signature, arguments
        )
        partners = Partners(rows, row, columns, column)
        tap_type = ir.IntType(8 * grad.itemsize)

        def emit_block(block: Block) -> None:
            zero = block.zeros(grad)
            total = block.variable(zero)

            def add(place: ir.Value, tap: ir.Value) -> None:
                won_by = resized(builder, block.load(winner, place), block.vector(tap_type))
                tap = block.repeat(resized(builder, tap, tap_type))
                won = builder.icmp_unsigned("==", won_by, tap)
                part = builder.select(won, block.load(grad, place), zero)
                builder.store(builder.fadd(builder.load(total), part), total)

            partners.visit(image, add)
            block.store(builder.load(total), grad_x, to)

        overlapping_blocks(builder, grad.itemsize, channels, may_spill, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_up(
    typing_context, x, image, rows, row, columns, column, divisor, y, to, channels, may_spill
):
    """Write to y the sum of a pixel's partners, divided by `divisor`, a number of x's dtype.

    The other arguments are those of `keep_largest`.
    """
    int64 = types.int64
    signature = types.void(
        x, int64, rows, int64, columns, int64, x.dtype, y, int64, int64, types.boolean
    )

    def emit(context, builder, signature, arguments):
        x, image, rows, row, columns, column, divisor, y, to, channels, may_spill = operands(
            context, builder, signature, arguments
        )
        partners = Partners(rows, row, columns, column)

        def emit_block(block: Block) -> None:
            total = block.variable(block.zeros(x))

            def add(place: ir.Value, _: ir.Value) -> None:
                builder.store(builder.fadd(builder.load(total), block.load(x, place)), total)

            partners.visit(image, add)
            mean = builder.fdiv(builder.load(total), block.repeat(divisor))
            block.store(mean, y, to)

        overlapping_blocks(builder, x.itemsize, channels, may_spill, emit_block)
        return context.get_dummy_value()

    return signature, emit
