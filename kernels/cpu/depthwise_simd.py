"""What depthwise convolution does with a few pixels of a row, written as vector instructions.

    multiply_pixels   sums of products for outputs:      forward passes and input gradients
    add_products      sums over pixels, for the weights: weight gradients

Both hold a block of each pixel's channels, some vectors, in registers while they go through the taps,
and then take the next block. As in `simd`, a Python `for` below is unrolled in the kernel, and the
loops that remain there are those of `cgutils.for_range`. Addresses are in bytes, as int64.

Weights, and the sums for their gradient, are rows of channels, row t for tap t. The last vectors of a
pixel's channels may be incomplete: of pixels only those lanes are read and written that exist. Rows
of weights are longer, and whole vectors are read there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .streaming import store_streaming
from .target import TILE_VECTORS, VECTOR_BYTES
from .vectors import INT64, Vectors


@intrinsic(prefer_literal=True)
def multiply_pixels(
    typing_context, pixels, width, xs, taps, rows, bias, ys, channels, relu, streams, like
):
    """y_j[:] = bias[:] + sum over taps (offset, t) of x_j[offset :] * weights[t, :], for pixels j.

    Args:
        typing_context: Numba's.
        pixels: how many, a constant.
        width: of how many vectors a block of channels is, a constant; behind the last block of this
            width, blocks are of TILE_VECTORS.
        xs: address of x_0, and the bytes from there to x_1, and so on.
        taps: address of pairs (offset in elements, t), int64, and how many pairs.
        rows: address of weights[0], and the bytes from there to weights[1], and so on.
        bias: address of what the sums begin with, a row like those of the weights.
        ys: address of y_0, and the bytes from there to y_1, and so on.
        channels: the length of y_j.
        relu: whether negative results become 0.
        streams: whether y_j are stored past the caches (streaming.py); they are then whole, aligned blocks.
        like: an array that only tells the dtype.
    """
    signature = types.void(pixels, width, xs, taps, rows, bias, ys, channels, relu, streams, like)

    def emit(context, builder, signature, arguments):
        count, width = (kind.literal_value for kind in signature.args[:2])
        _, _, xs, taps, rows, bias, ys, channels, relu, streams, _ = arguments
        vectors = Vectors(builder, signature.args[-1].dtype)

        def emit_block(place: ir.Value, some: Lanes) -> None:
            whole = Lanes(vectors, some.width)
            x_pixels = _pixels_of_block(builder, xs, count, place)
            y_pixels = _pixels_of_block(builder, ys, count, place)
            start = whole.load(builder.add(bias, place))
            sums = [_variables(builder, start) for _ in x_pixels]
            with _each_tap(vectors, taps) as (offset, tap):
                weights = whole.load(_row_of_block(builder, rows, tap, place))
                for pixel, totals in zip(x_pixels, sums, strict=True):
                    numbers = some.load(builder.add(pixel, offset))
                    for x, weight, total in zip(numbers, weights, totals, strict=True):
                        builder.store(vectors.multiply_add(x, weight, builder.load(total)), total)
            with builder.if_then(builder.icmp_signed("!=", relu, INT64(0))):
                for total in chain(*sums):
                    builder.store(vectors.relu(builder.load(total)), total)
            results = [[builder.load(total) for total in totals] for totals in sums]
            past_caches = builder.icmp_signed("!=", streams, INT64(0))
            with builder.if_else(past_caches) as (streamed, stored):
                with streamed:
                    for pixel, values in zip(y_pixels, results, strict=True):
                        whole.stream(values, pixel)
                with stored:
                    for pixel, values in zip(y_pixels, results, strict=True):
                        some.store(values, pixel)

        _each_block(vectors, channels, width, emit_block)
        return context.get_dummy_value()

    return signature, emit


@intrinsic(prefer_literal=True)
def add_products(typing_context, pixels, width, xs, taps, rows, grads, channels, like):
    """sums[t, :] += sum over pixels j of x_j[offset :] * grad_j[:], for taps (offset, t).

    Args:
        typing_context: Numba's.
        pixels: how many, a constant.
        width: see `multiply_pixels`.
        xs: see `multiply_pixels`.
        taps: see `multiply_pixels`.
        rows: address of sums[0], and the bytes from there to sums[1], and so on.
        grads: address of grad_0, and the bytes from there to grad_1, and so on.
        channels: the length of grad_j.
        like: an array that only tells the dtype.
    """
    signature = types.void(pixels, width, xs, taps, rows, grads, channels, like)

    def emit(context, builder, signature, arguments):
        count, width = (kind.literal_value for kind in signature.args[:2])
        _, _, xs, taps, rows, grads, channels, _ = arguments
        vectors = Vectors(builder, signature.args[-1].dtype)

        def emit_block(place: ir.Value, some: Lanes) -> None:
            whole = Lanes(vectors, some.width)
            x_pixels = _pixels_of_block(builder, xs, count, place)
            grad_pixels = _pixels_of_block(builder, grads, count, place)
            factors = [some.load(pixel) for pixel in grad_pixels]
            with _each_tap(vectors, taps) as (offset, tap):
                row = _row_of_block(builder, rows, tap, place)
                totals = whole.load(row)
                for pixel, factor in zip(x_pixels, factors, strict=True):
                    numbers = some.load(builder.add(pixel, offset))
                    totals = list(map(vectors.multiply_add, numbers, factor, totals))
                whole.store(totals, row)

        _each_block(vectors, channels, width, emit_block)
        return context.get_dummy_value()

    return signature, emit


class Lanes:
    """Emits loads and stores of `width` neighbouring vectors: all their lanes, or the first `count` of them."""

    def __init__(self, vectors: Vectors, width: int, count: ir.Value | None = None):
        self.vectors = vectors
        self.width = width
        self.masks = count and [
            vectors.first(vectors.builder.sub(count, INT64(j * vectors.lanes)))
            for j in range(width)
        ]

    def load(self, address: ir.Value) -> list[ir.Value]:
        """Load from an address; lanes that are left out become 0, and their memory is not touched."""
        if self.masks:
            return list(map(self.vectors.load_some, self._places(address), self.masks))
        return list(map(self.vectors.load, self._places(address)))

    def store(self, values: list[ir.Value], address: ir.Value) -> None:
        """Store to an address; the memory of lanes that are left out is not touched."""
        places = self._places(address)
        for j in range(self.width):
            if self.masks:
                self.vectors.store_some(values[j], places[j], self.masks[j])
            else:
                self.vectors.store(values[j], places[j])

    def stream(self, values: list[ir.Value], address: ir.Value) -> None:
        """Store all lanes past the caches, to an address that is a multiple of a vector's size."""
        for value, place in zip(values, self._places(address), strict=True):
            pointer = self.vectors.builder.inttoptr(place, self.vectors.type.as_pointer())
            store_streaming(self.vectors.builder, value, pointer, VECTOR_BYTES)

    def _places(self, address: ir.Value) -> list[ir.Value]:
        add = self.vectors.builder.add
        return [add(address, INT64(j * VECTOR_BYTES)) for j in range(self.width)]


def _each_block(
    vectors: Vectors,
    channels: ir.Value,
    width: int,
    emit_block: Callable[[ir.Value, Lanes], None],
) -> None:
    """Emit loops over whole blocks of channels, of `width` vectors and then of TILE_VECTORS; and the rest, if any.

    What `emit_block` gets is the place of a block, in bytes behind channel 0, and its lanes.
    """
    builder, itemsize = vectors.builder, INT64(vectors.itemsize)
    start = INT64(0)
    for count in dict.fromkeys((width, TILE_VECTORS)):
        size = INT64(count * vectors.lanes)
        end = builder.sub(channels, builder.srem(builder.sub(channels, start), size))
        with cgutils.for_range_slice(builder, start, end, size, INT64) as (channel, _):
            emit_block(builder.mul(channel, itemsize), Lanes(vectors, count))
        start = end
    rest = builder.sub(channels, start)
    with builder.if_then(builder.icmp_signed("!=", rest, INT64(0))):
        emit_block(builder.mul(start, itemsize), Lanes(vectors, TILE_VECTORS, rest))


@contextmanager
def _each_tap(vectors: Vectors, taps: ir.Value) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Emit a loop over a table of taps; gives the offset, in bytes, and the tap's number."""
    builder = vectors.builder
    address, count = cgutils.unpack_tuple(builder, taps)
    table = builder.inttoptr(address, INT64.as_pointer())
    with cgutils.for_range(builder, count) as loop:
        place = builder.mul(loop.index, INT64(2))
        offset = builder.load(builder.gep(table, [place]))
        tap = builder.load(builder.gep(table, [builder.add(place, INT64(1))]))
        yield builder.mul(offset, INT64(vectors.itemsize)), tap


def _pixels_of_block(
    builder: ir.IRBuilder, first_and_step: ir.Value, count: int, place: ir.Value
) -> list[ir.Value]:
    """Where a block of the channels of each of `count` pixels is."""
    first, step = cgutils.unpack_tuple(builder, first_and_step)
    first = builder.add(first, place)
    return [builder.add(first, builder.mul(step, INT64(j))) for j in range(count)]


def _row_of_block(
    builder: ir.IRBuilder, rows: ir.Value, row: ir.Value, place: ir.Value
) -> ir.Value:
    """Where a block of the channels of a row of weights is."""
    first, step = cgutils.unpack_tuple(builder, rows)
    return builder.add(builder.add(first, place), builder.mul(row, step))


def _variables(builder: ir.IRBuilder, values: list[ir.Value]) -> list[ir.Value]:
    """Variables that begin with these values; LLVM keeps them in registers."""
    variables = [cgutils.alloca_once(builder, value.type) for value in values]
    for value, variable in zip(values, variables, strict=True):
        builder.store(value, variable)
    return variables
