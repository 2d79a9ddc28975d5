"""Numbers copied into the order in which the building block of simd.py reads them.

A panel is as many columns as a tile of results is wide, and its numbers lie row by row: the product
then walks through them from one end to the other. Each thread packs for itself, in memory of its own.
"""

from .compiled import compiled
from .conv_plan import unpack
from .scaling import scale_rows
from .simd import (
    TILE_ROWS,
    address_of,
    copy_memory,
    copy_row,
    panel_width,
    prefetch,
    transpose_square,
)
from .target import TILE_VECTORS

PREFETCH_ROWS = 8
"""How many rows ahead numbers are asked for while they are packed: they may lie far apart."""


@compiled
def even_pieces(count, most, multiple):
    """Into how many pieces of at most `most` things to cut `count` things.

    As few as can be; but if there are several, a multiple of `multiple`, provided that there are
    things enough. Piece i begins with thing i * count // pieces: then all are nearly alike, and so
    are the shares of as many threads.
    """
    pieces = (count + most - 1) // most if most > 1 else max(1, count)
    return min(count, (pieces + multiple - 1) // multiple * multiple) if pieces > 1 else 1


@compiled
def even_share(count, most):
    """How many things the largest of `even_pieces(count, most, 1)` pieces holds, and 1 of none."""
    pieces = even_pieces(count, most, 1)
    return max(1, (count + pieces - 1) // pieces)


@compiled
def pack_weights(packed, first, weights, layout, group, first_panel, last_panel, width):
    """Copy panels of a group's weights to packed[first:], each (R * S, C, width), with zeros after the last column."""
    _, R, S, C, K = unpack(layout[0])
    group_step, r_step, s_step, c_step, k_step = unpack(layout[1])
    zero, itemsize = weights.dtype.type(0), weights.itemsize
    lanes = panel_width(itemsize) // TILE_VECTORS
    to = first
    for panel in range(first_panel, last_panel):
        columns = min(width, K - panel * width)
        for r in range(R):
            for s in range(S):
                tap = group * group_step + r * r_step + s * s_step
                source = tap + panel * width * k_step
                done = 0
                if k_step == 1:
                    for c in range(C):
                        address = address_of(weights, source + c * c_step)
                        prefetch(address + PREFETCH_ROWS * c_step * itemsize)
                        copy_row(address_of(packed, to + c * width), address, columns, weights)
                    done = C
                elif columns == width and c_step == 1:
                    done = C // lanes * lanes
                    for c in range(0, done, lanes):
                        for k in range(0, width, lanes):
                            transpose_square(
                                address_of(packed, to + c * width + k),
                                width * itemsize,
                                address_of(weights, source + c + k * k_step),
                                k_step * itemsize,
                                weights,
                            )
                for c in range(done, C):
                    for k in range(columns):
                        packed[to + c * width + k] = weights[source + c * c_step + k * k_step]
                    for k in range(columns, width):
                        packed[to + c * width + k] = zero
                to += C * width


@compiled
def pack_start(start, bias, first, count, begin, end):
    """Copy bias[first:][begin:end] to `start`; zeros from `count` on, or where there is no bias."""
    zero = start.dtype.type(0)
    for k in range(begin, end):
        start[k - begin] = bias[first + k] if bias.size and k < count else zero


@compiled
def scale_panels(packed, first, factors, panels, rows, width):
    """Multiply panels (rows, width) from packed[first:] on by their factors, column by column."""
    for panel in range(panels):
        address = address_of(packed, first + panel * rows * width)
        scale_rows(address, rows, width, address_of(factors, panel * width), packed)


@compiled
def pack_inputs(packed, tile_size, x_pixels, count, offset, channels, begin, end):
    """Copy what tiles begin, ..., end - 1 see of `count` pixels, TILE_ROWS channels: (tiles, count, TILE_ROWS).

    Args:
        packed: written.
        tile_size: elements from a tile's inputs to the next one's.
        x_pixels: addresses of the pixels.
        count: how many pixels.
        offset: bytes from a pixel's address to channel 0.
        channels: the first channel of each tile.
        begin: see above.
        end: see above.
    """
    size = TILE_ROWS * packed.itemsize
    for p in range(count):
        source, target = x_pixels[p] + offset, address_of(packed, p * TILE_ROWS)
        for tile in range(begin, end):
            copy_memory(target, source + channels[tile] * packed.itemsize, size)
            target += tile_size * packed.itemsize


@compiled
def pack_grads(packed, start, panel_size, grad, first, row, columns, count):
    """Copy columns of `count` rows of gradients, from grad[first] on, to panels (count, width).

    Args:
        packed: written.
        start: where the first panel begins.
        panel_size: elements from there to the next one.
        grad: (N, OH, OW, K).
        first: see above.
        row: elements from one row to the next.
        columns: how many.
        count: how many rows.
    """
    width = panel_width(grad.itemsize)
    row_bytes = width * grad.itemsize
    for p in range(count):
        address = address_of(grad, first + p * row)
        target = address_of(packed, start + p * width)
        for column in range(0, columns, width):
            prefetch(address + PREFETCH_ROWS * row * grad.itemsize)
            copy_row(target, address, columns - column, grad)
            address += row_bytes
            target += panel_size * grad.itemsize
