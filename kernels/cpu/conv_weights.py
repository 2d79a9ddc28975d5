"""The gradient of a convolution with respect to its weights: sums of outer products over all output pixels.

    grad_w[t, c, :] = sum over pixels p of  x[address(p, t)][c] * grad[p, :]

Pixels are taken in chunks, so that their gradients, a panel of channels wide, stay in the L1 cache
while all taps and all tiles of inputs pass by. The inputs are read where they lie, by the addresses
of pointers.py. Only where a window has one tap and pixels have many channels, the inputs of a chunk
are packed tile by tile: each is then used for many panels, and the addresses of neighbouring pixels
are so far apart that their numbers would not stay in the cache together.
"""

import numpy as np

from ..memory import CACHE_LINE
from .compiled import compiled, on_threads
from .conv_plan import unpack
from .pointers import point_at_inputs
from .simd import (
    TILE_ROWS,
    add_outer_products,
    address_of,
    copy_memory,
    copy_row,
    panel_width,
    prefetch,
    start_of_line,
)

CHUNK_PIXELS = 128
"""Pixels at a time in the weight gradient: their gradients, a panel wide, stay in the L1 cache."""

FAR_APART = 1024
"""Bytes from pixel to pixel from which on the inputs of one tap are packed."""

PACKED_AT_ONCE = 8
"""Pixels whose inputs are packed at a time."""

PREFETCH_ROWS = 8
"""How many rows ahead gradients are asked for while they are packed: they lie far apart."""


def total_of(parts: np.ndarray) -> np.ndarray:
    """Add up the sums that each thread has to itself (threads, ...), in the memory of the first."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


@on_threads
def add_up(part, parts, copies, x, grad, sums, seen, layout):
    """Add up one part of the weight gradient, over chunks of pixels.

    There is an item of work for each group, panel of outputs, tap, and tile of inputs. The parts
    share the pixels among them, where each has a copy of the sums to itself, or else the items.

    Args:
        part: which part.
        parts: how many there are.
        copies: how many sums there are: as many as parts, each of which adds up its share of the
            pixels; or 1, and each part works out its share of the weights.
        x: images (N, H, W, C), in a frame if the plan has one.
        grad: (N, OH, OW, K).
        sums: (copies * R * S * C * K,), which is written.
        seen: see `conv_plan.Sum`.
        layout: see `conv_plan.Sum`.
    """
    G, R, S, C, K = unpack(layout[0])
    taps = R * S
    width = panel_width(x.itemsize)
    panels = (K + width - 1) // width
    c_tiles = (C + TILE_ROWS - 1) // TILE_ROWS
    items = G * panels * taps * c_tiles
    pixel_count = grad.size // (G * K)
    copy = part if copies > 1 else 0
    if copies > 1:
        begin, end = part * pixel_count // parts, (part + 1) * pixel_count // parts
        first_item, last_item = 0, items
    else:
        begin, end = 0, pixel_count
        first_item, last_item = part * items // parts, (part + 1) * items // parts
    first_column = first_item // (taps * c_tiles)  # of panels
    last_column = (last_item - 1) // (taps * c_tiles) + 1
    packs = taps == 1 and C * x.itemsize >= FAR_APART
    most = 2 * CHUNK_PIXELS if packs else CHUNK_PIXELS
    chunks = max(1, (end - begin + most - 1) // most)
    chunk = max(1, (end - begin + chunks - 1) // chunks)

    zeros = np.zeros(G * C + TILE_ROWS, x.dtype)
    packed = np.empty(chunk * width + CACHE_LINE // x.itemsize, x.dtype)
    aligned = start_of_line(packed)
    # For each tap the addresses of what the pixels see, and behind the last one their places in a packed tile.
    x_pixels = np.empty((taps + 1) * chunk, np.int64)
    for p in range(chunk):
        x_pixels[taps * chunk + p] = p * TILE_ROWS * x.itemsize
    images = address_of(x, 0), x.size // x.shape[0] * x.itemsize, x.itemsize
    tile_size = chunk * TILE_ROWS
    packed_x = np.empty(c_tiles * tile_size if packs else 0, x.dtype)
    for pixel in range(begin, end, chunk):
        count = min(chunk, end - pixel)
        point_at_inputs(x_pixels, chunk, pixel, pixel_count - 1, images, address_of(zeros, 0), seen)
        packed_group = -1
        for column in range(first_column, last_column):
            group, panel = divmod(column, panels)
            columns = min(width, K - panel * width)
            k = group * K + panel * width
            _pack_grads(packed, aligned, grad, pixel, count, G * K, k, columns, width)
            if packs and group != packed_group:
                _pack_inputs(packed_x, tile_size, x_pixels, count, group * C, C, c_tiles)
                packed_group = group
            item = column * taps * c_tiles
            for tap in range(taps):
                for c_tile in range(c_tiles):
                    if first_item <= item < last_item:
                        c, c_end = c_tile * C // c_tiles, (c_tile + 1) * C // c_tiles
                        place = ((copy * taps + tap) * C + c) * G * K + k
                        first, offset = tap * chunk, (group * C + c) * x.itemsize
                        if packs:
                            left_out = c - _first_packed(c_tile, C, c_tiles)
                            first = taps * chunk
                            offset = address_of(packed_x, c_tile * tile_size + left_out)
                        add_outer_products(
                            x_pixels, first, offset, c_end - c, (grad, address_of(packed, aligned)),
                            address_of(sums, place), G * K * x.itemsize, count, pixel > begin, columns,
                        )  # fmt: skip
                    item += 1


@compiled
def _pack_inputs(packed, tile_size, x_pixels, count, first, C, c_tiles):
    """Copy C channels of `count` pixels, from channel `first` on: for each tile of channels (count, TILE_ROWS).

    A few pixels at a time, so that each cache line of theirs is read once.
    """
    size = TILE_ROWS * packed.itemsize
    for start in range(0, count, PACKED_AT_ONCE):
        end = min(count, start + PACKED_AT_ONCE)
        for c_tile in range(c_tiles):
            source = (first + _first_packed(c_tile, C, c_tiles)) * packed.itemsize
            target = address_of(packed, c_tile * tile_size)
            for p in range(start, end):
                copy_memory(target + p * size, x_pixels[p] + source, size)


@compiled
def _first_packed(c_tile, C, c_tiles):
    """The first channel that is packed for a tile: its own, or one before, so that TILE_ROWS channels follow."""
    return min(c_tile * C // c_tiles, C - TILE_ROWS)


@compiled
def _pack_grads(packed, first, grad, pixel, count, row, k, columns, width):
    """Copy columns k, k + 1, ... of the gradients of `count` pixels to packed[first:], (count, width)."""
    for p in range(count):
        address = address_of(grad, (pixel + p) * row + k)
        prefetch(address + PREFETCH_ROWS * row * grad.itemsize)
        copy_row(address_of(packed, first + p * width), address, columns, grad)
