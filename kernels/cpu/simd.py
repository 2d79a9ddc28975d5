"""The one building block: a batch-reduce matrix product on registers, written as vector instructions.

Nearly all the arithmetic of a convolutional network is sums of small matrix products over scattered
addresses (Georganas et al., "High-performance deep learning via a single building block", arXiv
1906.06440). Two functions compute a tile of such a sum; they keep it in registers from the first
product to the last:

    multiply_tile       rows of numbers times a matrix: forward passes and input gradients
    add_outer_products  columns of numbers times rows:  weight gradients

Both are Numba intrinsics: their bodies below run while a kernel is being compiled, and emit the
LLVM instructions that the kernel will execute. What is a Python `for` here is unrolled there; the
loops that remain are those of `cgutils.for_range`. Addresses are in bytes, as int64; all else counts
elements.
"""

from collections.abc import Callable
from itertools import chain

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from ..memory import CACHE_LINE
from .target import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES
from .vectors import INT32, INT64, Tile, Vectors


@register_jitable
def panel_width(itemsize: int) -> int:
    """Columns of a tile, of a packed panel of weights, and of a packed panel of gradients."""
    return TILE_VECTORS * VECTOR_BYTES // itemsize


@register_jitable
def panel_width_for(columns: int, itemsize: int) -> int:
    """The width of panels for so many columns: of one vector, if that holds them all, or of a tile."""
    vector = panel_width(itemsize) // TILE_VECTORS
    return vector if vector >= columns else panel_width(itemsize)


NARROW_TILE_ROWS = TILE_ROWS * TILE_VECTORS
"""Rows of a tile that is one vector wide: as many sums as in the other."""


@intrinsic
def address_of(typing_context, array, index):
    """The address of element `index` of a contiguous array."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(builder.gep(data, [arguments[1]]), INT64)

    return types.int64(array, types.int64), emit


@register_jitable
def start_of_line(array):
    """The first element of a contiguous array that begins a cache line: vectors are quicker to load from there on."""
    return -address_of(array, 0) % CACHE_LINE // array.itemsize


@intrinsic
def copy_row(typing_context, to, source, columns, like):
    """Copy the first `columns` numbers of a row to a row of a panel, and zeros after them; `like` tells the dtype."""

    def emit(context, builder, signature, arguments):
        to, source, columns, _ = arguments
        tile = Tile(Vectors(builder, signature.args[3].dtype), 1, TILE_VECTORS, columns)
        tile.load([source])
        for j, total in enumerate(tile.sums[0]):
            tile.vectors.store(builder.load(total), builder.add(to, tile.offset(j)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3, like), emit


@intrinsic
def transpose_square(typing_context, to, to_step, source, source_step, like):
    """Transpose a square of as many rows as a vector has lanes, from `source` to `to`, rows `..._step` bytes apart.

    Rows i and i + n exchange halves of n lanes each, for n = lanes / 2, ..., 2, 1: a square of four
    quarters is transposed by exchanging two of them, and transposing each (Eklundh, "A fast computer
    method for matrix transposing", 1972).
    """

    def emit(context, builder, signature, arguments):
        to, to_step, source, source_step, _ = arguments
        vectors = Vectors(builder, signature.args[4].dtype)
        lanes = vectors.lanes

        def row_address(base: ir.Value, step: ir.Value, i: int) -> ir.Value:
            return builder.add(base, builder.mul(step, ir.Constant(INT64, i)))

        def choose(a: ir.Value, b: ir.Value, picks: list[int]) -> ir.Value:
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, lanes), picks))

        rows = [vectors.load(row_address(source, source_step, i)) for i in range(lanes)]
        n = lanes // 2
        while n:
            # Of every 2n lanes, the upper row keeps the first n, and gets the first n of the lower one.
            upper = [j if j // n % 2 == 0 else lanes + j - n for j in range(lanes)]
            lower = [j + n if j // n % 2 == 0 else lanes + j for j in range(lanes)]
            for i in range(lanes):
                if i // n % 2 == 0:
                    a, b = rows[i], rows[i + n]
                    rows[i], rows[i + n] = choose(a, b, upper), choose(a, b, lower)
            n //= 2
        for i, row in enumerate(rows):
            vectors.store(row, row_address(to, to_step, i))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, like), emit


@intrinsic
def copy_memory(typing_context, to, source, size):
    """Copy `size` bytes from one address to another."""

    def emit(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        to, source = (builder.inttoptr(address, byte) for address in arguments[:2])
        cgutils.raw_memcpy(builder, to, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), emit


@intrinsic
def prefetch(typing_context, address):
    """Ask for the cache line at `address`, which may lie outside every array."""

    def emit(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, second_level, data = (ir.Constant(INT32, value) for value in (0, 2, 1))
        pointer = builder.inttoptr(arguments[0], byte)
        builder.call(function, [pointer, read, second_level, data])
        return context.get_dummy_value()

    return types.void(types.int64), emit


def _tile_product(row_count: int, vector_count: int) -> Callable:
    """Make the function for tiles of `row_count` rows and `vector_count` vectors, see `multiply_tile`."""

    def multiply(typing_context, x_rows, pitch, weights, first, y_rows, y_offset):
        signature = types.void(
            x_rows, types.int64, weights, types.int64, y_rows, *[types.int64] * 6
        )

        def emit(context, builder, signature, arguments):
            x_rows, pitch, weights, first, y_rows, y_offset = arguments[:6]
            start, taps, channels, relu, columns = arguments[6:]
            vectors = Vectors(builder, signature.args[2].dtype)
            tile = Tile(vectors, row_count, vector_count, columns)
            x_table, weights, y_table = (
                context.make_array(signature.args[i])(context, builder, value).data
                for i, value in ((0, x_rows), (2, weights), (4, y_rows))
            )
            row_bytes = tile.offset(vector_count)
            panel = builder.ptrtoint(builder.gep(weights, [first]), INT64)
            itemsize = ir.Constant(INT64, vectors.itemsize)
            tile.start_at(tile.row(start))
            with cgutils.for_range(builder, taps) as tap:
                entry = builder.mul(tap.index, pitch)
                rows = [
                    builder.load(builder.gep(x_table, [builder.add(entry, ir.Constant(INT64, i))]))
                    for i in range(row_count)
                ]
                tap_rows = builder.mul(tap.index, channels)
                tap_panel = builder.add(panel, builder.mul(tap_rows, row_bytes))
                with cgutils.for_range(builder, channels) as channel:
                    row = tile.row(builder.add(tap_panel, builder.mul(channel.index, row_bytes)))
                    place = builder.mul(channel.index, itemsize)
                    for i in range(row_count):
                        tile.add_product(i, vectors.number(builder.add(rows[i], place)), row)
            with builder.if_then(builder.icmp_signed("!=", relu, ir.Constant(INT64, 0))):
                tile.relu()
            targets = [
                builder.load(builder.gep(y_table, [ir.Constant(INT64, i)]))
                for i in range(row_count)
            ]
            tile.store([builder.add(target, y_offset) for target in targets])
            return context.get_dummy_value()

        return signature, emit

    return multiply


@intrinsic
def multiply_tile(
    typing_context,
    x_rows,
    pitch,
    weights,
    first,
    y_rows,
    y_offset,
    start,
    taps,
    channels,
    relu,
    columns,
):
    """y_i[:] = start[:] + sum over t < taps, k < channels of x_ti[k] * weights[t, k, :], for TILE_ROWS rows i.

    Args:
        typing_context: Numba's; not part of a call.
        x_rows: int64 addresses of the x_ti, at [t * pitch + i]. Several may be the same.
        pitch: see x_rows.
        weights: packed panel (taps, channels, panel width), contiguous, from element `first` of an array.
        first: see weights.
        y_rows: int64 addresses, to which `y_offset` bytes are added: where the y_i go.
        y_offset: see y_rows.
        start: address of panel-width numbers, such as a bias.
        taps: length of the outer sum.
        channels: length of the inner sum.
        relu: whether negative results become 0.
        columns: of the panel's columns, how many are written.
    """
    product = _tile_product(TILE_ROWS, TILE_VECTORS)
    return product(typing_context, x_rows, pitch, weights, first, y_rows, y_offset)


@intrinsic
def multiply_narrow_tile(
    typing_context,
    x_rows,
    pitch,
    weights,
    first,
    y_rows,
    y_offset,
    start,
    taps,
    channels,
    relu,
    columns,
):
    """The same for NARROW_TILE_ROWS rows and panels of one vector: where there are few columns."""
    product = _tile_product(NARROW_TILE_ROWS, 1)
    return product(typing_context, x_rows, pitch, weights, first, y_rows, y_offset)


@intrinsic
def add_outer_products(
    typing_context, x_pixels, first, x_offset, rows, grads, sums, row_bytes, pixels, more, columns
):
    """sums_i[:] (+)= sum over p < pixels of x_p[i] * grads[p, :], for i < rows <= TILE_ROWS.

    Args:
        typing_context: Numba's; not part of a call.
        x_pixels: int64 addresses at [first + p], to which `x_offset` bytes are added: those of x_p[0].
        first: see x_pixels.
        x_offset: see x_pixels.
        rows: how many numbers of each x_p take part.
        grads: an array that only tells the dtype, and the address of a packed panel (pixels, panel
            width): a tuple.
        sums: address of sums_0, from where `row_bytes` lead to each next one.
        row_bytes: see sums.
        pixels: the length of the sum.
        more: whether to add to what is in `sums`; otherwise that is overwritten.
        columns: of the panel's columns, how many are read and written in `sums`.
    """
    signature = types.void(x_pixels, *[types.int64] * 3, grads, *[types.int64] * 5)

    def emit(context, builder, signature, arguments):
        x_pixels, first, x_offset, rows, grads, sums, row_bytes, pixels, more, columns = arguments
        vectors = Vectors(builder, signature.args[4][0].dtype)
        table = context.make_array(signature.args[0])(context, builder, x_pixels).data
        panel = builder.extract_value(grads, 1)
        itemsize = ir.Constant(INT64, vectors.itemsize)
        step = ir.Constant(INT64, TILE_VECTORS * VECTOR_BYTES)

        # A tile with fewer columns is left here, and written row by row: rarely, and in little code.
        finished = cgutils.alloca_once(builder, vectors.type, TILE_ROWS * TILE_VECTORS)
        adds = builder.icmp_signed("!=", more, ir.Constant(INT64, 0))

        def row_address(i: ir.Value) -> ir.Value:
            return builder.add(sums, builder.mul(row_bytes, i))

        def emit_for(row_count: int) -> None:
            tile = Tile(vectors, row_count, TILE_VECTORS, columns)
            tile.start_at([vectors.constant(0)] * TILE_VECTORS)
            addresses = [row_address(ir.Constant(INT64, i)) for i in range(row_count)]
            with builder.if_then(builder.and_(adds, tile.is_whole)):
                tile.load_whole(addresses)
            with cgutils.for_range(builder, pixels) as pixel:
                row = tile.row(builder.add(panel, builder.mul(pixel.index, step)))
                entry = builder.gep(table, [builder.add(first, pixel.index)])
                x = builder.add(builder.load(entry), x_offset)
                for i in range(row_count):
                    place = builder.add(x, builder.mul(itemsize, ir.Constant(INT64, i)))
                    tile.add_product(i, vectors.number(place), row)
            with builder.if_else(tile.is_whole) as (whole, part):
                with whole:
                    tile.store_whole(addresses)
                with part:
                    for place, total in enumerate(chain(*tile.sums)):
                        target = builder.gep(finished, [ir.Constant(INT64, place)])
                        builder.store(builder.load(total), target)

        for row_count in range(1, TILE_ROWS + 1):
            is_it = builder.icmp_signed("==", rows, ir.Constant(INT64, row_count))
            with builder.if_then(is_it):
                emit_for(row_count)
        row = Tile(vectors, 1, TILE_VECTORS, columns)
        rows_left = builder.select(row.is_whole, ir.Constant(INT64, 0), rows)
        with cgutils.for_range(builder, rows_left) as loop:
            address = [row_address(loop.index)]
            row.start_at([vectors.constant(0)] * TILE_VECTORS)
            with builder.if_then(adds):
                row.load(address)
            place = builder.mul(loop.index, ir.Constant(INT64, TILE_VECTORS))
            for j, total in enumerate(row.sums[0]):
                source = builder.gep(finished, [builder.add(place, ir.Constant(INT64, j))])
                builder.store(builder.fadd(builder.load(total), builder.load(source)), total)
            row.store(address)
        return context.get_dummy_value()

    return signature, emit


@intrinsic(prefer_literal=True)
def add_rows(typing_context, rows, x_pixels, first, x_offset, pixels, weights, sums, columns):
    """sums_p[:] += sum over i < rows of x_p[i] * weights_i[:], for p < pixels, in columns a panel wide.

    Args:
        typing_context: Numba's; not part of a call.
        rows: how many, a constant.
        x_pixels: int64 addresses at [first + p], to which `x_offset` bytes are added: those of x_p[0].
        first: see x_pixels.
        x_offset: see x_pixels.
        pixels: how many.
        weights: an array that only tells the dtype, the address of weights_0, and the bytes from
            there to weights_1, and so on: a tuple.
        sums: address of sums_0, and the bytes from there to sums_1, and so on: a tuple. Whole vectors
            are read and written.
        columns: how many of the panel's columns exist in `weights`.
    """
    signature = types.void(
        rows, x_pixels, types.int64, types.int64, types.int64, weights, sums, types.int64
    )

    def emit(context, builder, signature, arguments):
        _, x_pixels, first, x_offset, pixels, weights, sums, columns = arguments
        row_count = signature.args[0].literal_value
        vectors = Vectors(builder, signature.args[5][0].dtype)
        table = context.make_array(signature.args[1])(context, builder, x_pixels).data
        source, row_bytes = (builder.extract_value(weights, i) for i in (1, 2))
        target, pixel_bytes = cgutils.unpack_tuple(builder, sums)
        panel = Tile(vectors, row_count, TILE_VECTORS, columns)
        panel.load(
            [
                builder.add(source, builder.mul(row_bytes, ir.Constant(INT64, i)))
                for i in range(row_count)
            ]
        )
        factors = [[builder.load(place) for place in row] for row in panel.sums]
        with cgutils.for_range(builder, pixels) as pixel:
            place = builder.add(target, builder.mul(pixel.index, pixel_bytes))
            x = builder.load(builder.gep(table, [builder.add(first, pixel.index)]))
            x = builder.add(x, x_offset)
            totals = panel.row(place)
            for i, row in enumerate(factors):
                address = builder.add(x, ir.Constant(INT64, i * vectors.itemsize))
                number = vectors.splat(vectors.number(address))
                totals = [
                    vectors.multiply_add(number, weight, total)
                    for weight, total in zip(row, totals, strict=True)
                ]
            for j, total in enumerate(totals):
                vectors.store(total, builder.add(place, panel.offset(j)))
        return context.get_dummy_value()

    return signature, emit
