"""The gradient of a convolution with respect to its weights: sums of outer products over all output pixels.

    grad_w[t, c, :] = sum over pixels p of  x[address(p, t)][c] * grad[p, :]

Pixels are taken in chunks. The gradients of a chunk are packed into panels of channels, one of which
stays in the L1 cache while all taps and all tiles of inputs pass by. The inputs are read where they
lie, by the addresses of pointers.py. Only where a window has one tap and pixels have many channels,
the inputs of a chunk are packed too, tile by tile: each is then used for many panels, and the
addresses of neighbouring pixels are so far apart that their numbers would not stay in the cache
together.

Whatever is packed is read in the order in which it lies, pixel by pixel, as much of each pixel as the
L2 cache can hold in packed form. Memory gives its numbers two to three times as fast in that order as
it does when one cache line of each pixel is asked for (measured).
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
from .target import L2_BYTES

CHUNK_PIXELS = 128
"""Pixels at a time: a panel of their gradients, and the cache lines of a tile of inputs, fill half of an L1 cache."""

PACKED_CHUNK_PIXELS = 256
"""The same where inputs are packed, of which a tile then takes less room."""

FAR_APART = 256
"""Bytes from pixel to pixel from which on the inputs of one tap are packed (measured)."""

PREFETCH_ROWS = 8
"""How many rows ahead gradients are asked for while they are packed: they may lie far apart."""


def total_of(parts: np.ndarray) -> np.ndarray:
    """Add up the sums that each thread has to itself (threads, ...), in the memory of the first."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


@on_threads
def add_up(part, parts, copies, x, grad, sums, seen, layout):
    """Add up one part of the weight gradient, over chunks of pixels.

    The sums are cut into tiles: for each group and tap there are some of up to TILE_ROWS input
    channels, and all outputs. The parts share the pixels among them, where each has a copy of the
    sums to itself; or else the tiles, or the panels of outputs, whichever are more.

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
    taps, itemsize = R * S, x.itemsize
    width = panel_width(itemsize)
    panels = (K + width - 1) // width
    c_tiles = (C + TILE_ROWS - 1) // TILE_ROWS
    tiles = taps * c_tiles
    pixel_count = grad.size // (G * K)
    copy, begin, end = 0, 0, pixel_count
    first_tile, last_tile, first_panel, last_panel = 0, G * tiles, 0, panels
    if copies > 1:
        copy = part
        begin, end = part * pixel_count // parts, (part + 1) * pixel_count // parts
    elif G * tiles >= panels:
        first_tile, last_tile = part * G * tiles // parts, (part + 1) * G * tiles // parts
    else:
        first_panel, last_panel = part * panels // parts, (part + 1) * panels // parts
    packs = taps == 1 and C * itemsize >= FAR_APART
    chunk = _even_share(end - begin, PACKED_CHUNK_PIXELS if packs else CHUNK_PIXELS)
    tile_size, panel_size = chunk * TILE_ROWS, chunk * width
    panels_at_once = _even_share(last_panel - first_panel, L2_BYTES // 4 // (panel_size * itemsize))
    tiles_at_once = tiles
    if packs:
        most = L2_BYTES // 2 // (tile_size * itemsize)
        tiles_at_once = _even_share(last_tile - first_tile, most)

    starts = np.empty(c_tiles + 1, np.int64)  # the first channel of each tile, and C
    packed_from = np.empty(c_tiles + 1, np.int64)  # the same or less: TILE_ROWS channels follow
    for c_tile in range(c_tiles + 1):
        starts[c_tile] = c_tile * C // c_tiles
        packed_from[c_tile] = min(starts[c_tile], C - TILE_ROWS)
    zeros = np.zeros(G * C + TILE_ROWS, x.dtype)
    packed = np.empty(panels_at_once * panel_size + CACHE_LINE // itemsize, x.dtype)
    aligned = start_of_line(packed)
    packed_x = np.empty(tiles_at_once * tile_size if packs else 0, x.dtype)
    # For each tap the addresses of what the pixels see, and behind the last one their places in a packed tile.
    x_pixels = np.empty((taps + 1) * chunk, np.int64)
    for p in range(chunk):
        x_pixels[taps * chunk + p] = p * TILE_ROWS * itemsize
    images = address_of(x, 0), x.size // x.shape[0] * itemsize, itemsize
    for pixel in range(begin, end, chunk):
        count = min(chunk, end - pixel)
        point_at_inputs(x_pixels, chunk, pixel, pixel_count - 1, images, address_of(zeros, 0), seen)
        next_tile = first_tile
        while next_tile < last_tile:  # tiles of one group, as many as are packed at once
            group, tile = divmod(next_tile, tiles)
            tile_end = tile + min(tiles_at_once, min(tiles - tile, last_tile - next_tile))
            next_tile += tile_end - tile
            x_group = group * C * itemsize
            if packs:
                _pack_inputs(
                    packed_x, tile_size, x_pixels, count, x_group, packed_from, tile, tile_end
                )
            for block in range(first_panel, last_panel, panels_at_once):
                block_end = min(last_panel, block + panels_at_once)
                k, k_end = group * K + block * width, group * K + min(K, block_end * width)
                grads = address_of(packed, aligned), panel_size * itemsize
                _pack_grads(grads, grad, pixel * G * K + k, G * K, k_end - k, count, width)
                for panel in range(block_end - block):
                    for t in range(tile, tile_end):
                        tap, c_tile = divmod(t, c_tiles)
                        c, rows = starts[c_tile], starts[c_tile + 1] - starts[c_tile]
                        first, offset = tap * chunk, (group * C + c) * itemsize
                        if packs:
                            first, left_out = chunk, c - packed_from[c_tile]
                            offset = address_of(packed_x, (t - tile) * tile_size + left_out)
                        place = ((copy * taps + tap) * C + c) * G * K + k + panel * width
                        add_outer_products(
                            x_pixels, first, offset, rows, (grad, grads[0] + panel * grads[1]),
                            address_of(sums, place), G * K * itemsize, count, pixel > begin,
                            k_end - k - panel * width,
                        )  # fmt: skip


@compiled
def _even_share(count, most):
    """Cut `count` things into as few pieces of at most `most` as can be, nearly all alike: how many are in a piece."""
    pieces = max(1, (count + most - 1) // max(1, most))
    return max(1, (count + pieces - 1) // pieces)


@compiled
def _pack_inputs(packed, tile_size, x_pixels, count, offset, channels, begin, end):
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
def _pack_grads(panels, grad, first, row, columns, count, width):
    """Copy columns of `count` rows of gradients, from element `first` on, to panels (panels, count, width).

    Args:
        panels: the address of the first panel, and the bytes from there to the next: a tuple.
        grad: see `add_up`.
        first: see above.
        row: elements from one row to the next.
        columns: how many.
        count: how many rows.
        width: of a panel.
    """
    row_bytes = width * grad.itemsize
    for p in range(count):
        address = address_of(grad, first + p * row)
        target = panels[0] + p * row_bytes
        for column in range(0, columns, width):
            prefetch(address + PREFETCH_ROWS * row * grad.itemsize)
            copy_row(target, address, columns - column, grad)
            address += row_bytes
            target += panels[1]
