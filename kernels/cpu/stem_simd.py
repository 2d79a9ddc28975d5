"""What a convolution of few channels does with neighbouring pixels of a row, written as vector instructions.

    multiply_neighbours   rows of numbers times a matrix, for a few pixels:  forward passes
    add_up_numbers        a few numbers times gradients, over many pixels:   weight gradients

They are the two products of `simd` for pixels that lie at equal distances in memory. Where each pixel is
then follows from where the first one is: nothing is looked up, and the addresses stay in registers.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import INT64, Tile, Vectors


@intrinsic(prefer_literal=True)
def multiply_neighbours(typing_context, pixels, width, xs, taps, panel, ys, relu, columns, like):
    """y_j[:] = start[:] + sum over r < rows, q < length of  x_j[r * step + q] * weights[r, q, :], for pixels j.

    Args:
        typing_context: Numba's; not part of a call.
        pixels: how many, a constant.
        width: of how many vectors a row of weights is, a constant.
        xs: address of x_0, and the bytes from there to x_1, and so on: a tuple.
        taps: rows, the bytes from one to the next (`step`), and their length: a tuple.
        panel: addresses of weights (rows, length, width), without gaps, and of `start`: a tuple.
        ys: address of y_0, and the bytes from there to y_1, and so on: a tuple. They are written in this order.
        relu: whether negative results become 0.
        columns: how many numbers of each y_j are written; or more, and whole vectors are.
        like: an array that only tells the dtype.
    """
    signature = types.void(pixels, width, xs, taps, panel, ys, relu, columns, like)

    def emit(context, builder, signature, arguments):
        count, width = (kind.literal_value for kind in signature.args[:2])
        _, _, xs, taps, panel, ys, relu, columns, _ = arguments
        vectors = Vectors(builder, signature.args[-1].dtype)
        tile = Tile(vectors, count, width, columns)
        row_bytes, itemsize = tile.offset(width), INT64(vectors.itemsize)
        rows, step, length = cgutils.unpack_tuple(builder, taps)
        weights, start = cgutils.unpack_tuple(builder, panel)
        first, x_step = cgutils.unpack_tuple(builder, xs)
        distances = [_kept(builder, builder.mul(x_step, INT64(j))) for j in range(count)]
        tile.start_at(tile.row(start))
        with cgutils.for_range(builder, rows) as row:
            x = _kept(builder, builder.add(first, builder.mul(row.index, step)))
            row_weights = builder.mul(builder.mul(row.index, length), row_bytes)
            row_weights = _kept(builder, builder.add(weights, row_weights))
            with cgutils.for_range(builder, length) as number:
                vector = tile.row(builder.add(row_weights, builder.mul(number.index, row_bytes)))
                place = builder.add(x, builder.mul(number.index, itemsize))
                for j, distance in enumerate(distances):
                    tile.add_product(j, vectors.number(builder.add(place, distance)), vector)
        with builder.if_then(builder.icmp_signed("!=", relu, INT64(0))):
            tile.relu()
        y, y_step = cgutils.unpack_tuple(builder, ys)
        tile.store([builder.add(y, builder.mul(y_step, INT64(j))) for j in range(count)])
        return context.get_dummy_value()

    return signature, emit


@intrinsic(prefer_literal=True)
def add_up_numbers(typing_context, numbers, width, offsets, xs, grads, size, sums, like):
    """sums[t, :] += sum over pixels of  x[offset_t] * grad[:], for t < numbers; pixels are a grid.

    Args:
        typing_context: Numba's; not part of a call.
        numbers: how many, a constant.
        width: of how many vectors a row of sums is, a constant.
        offsets: address of the offset_t, int64, in bytes.
        xs: address of the first pixel's x, the bytes to that of the next row's, and of the next column's: a tuple.
        grads: the same of the pixels' gradients, which are read in whole vectors.
        size: rows and columns of pixels: a tuple.
        sums: address of sums (numbers, width), without gaps.
        like: an array that only tells the dtype.
    """
    signature = types.void(numbers, width, offsets, xs, grads, size, sums, like)

    def emit(context, builder, signature, arguments):
        count, width = (kind.literal_value for kind in signature.args[:2])
        _, _, offsets, xs, grads, size, sums, _ = arguments
        vectors = Vectors(builder, signature.args[-1].dtype)
        tile = Tile(vectors, count, width, INT64(width * vectors.lanes))
        addresses = [
            builder.add(sums, builder.mul(tile.offset(width), INT64(t))) for t in range(count)
        ]
        table = builder.inttoptr(offsets, INT64.as_pointer())
        places = [builder.load(builder.gep(table, [INT64(t)])) for t in range(count)]
        rows, columns = cgutils.unpack_tuple(builder, size)
        (x, x_row, x_column), (grad, grad_row, grad_column) = (
            cgutils.unpack_tuple(builder, image) for image in (xs, grads)
        )
        tile.load_whole(addresses)
        with cgutils.for_range(builder, rows) as row:
            first_x = _kept(builder, builder.add(x, builder.mul(row.index, x_row)))
            first_grad = _kept(builder, builder.add(grad, builder.mul(row.index, grad_row)))
            with cgutils.for_range(builder, columns) as column:
                seen = builder.add(first_x, builder.mul(column.index, x_column))
                seen = _kept(builder, seen)
                vector = tile.row(builder.add(first_grad, builder.mul(column.index, grad_column)))
                for t, place in enumerate(places):
                    tile.add_product(t, vectors.number(builder.add(seen, place)), vector)
        tile.store_whole(addresses)
        return context.get_dummy_value()

    return signature, emit


def _kept(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """The same address, of which the compiler does not see how it was computed.

    LLVM would otherwise count up each address by itself, through all loops around: more of them than
    there are registers, and moving them to memory and back took twice as long as the products (measured).
    An empty line of assembly is what it cannot look through.
    """
    kind = ir.FunctionType(INT64, [INT64])
    return builder.asm(kind, "", "=r,0", [address], False)
