"""The gradient of a convolution with respect to its weights: sums of outer products over all output pixels.

    grad_w[t, c, :] = sum over pixels p of  x[address(p, t)][c] * grad[p, :]

Pixels are taken in chunks. The gradients of a chunk are packed into panels of channels, one of which
stays in the L1 cache while all taps and all tiles of inputs pass by. The inputs are read where they
lie, by the addresses of pointers.py. Only where a window has one tap and pixels have many channels,
the inputs of a chunk are packed too, tile by tile: each is then used for many panels, and the
addresses of neighbouring pixels are so far apart that their numbers would not stay in the cache
together. As inputs then fill the L2 cache, the gradients of a chunk are packed once for all of them,
into the L3 cache, from where a panel comes quickly enough: there is much to do with each.

Whatever is packed is read in the order in which it lies, pixel by pixel, as much of each pixel as the
L2 cache can hold in packed form. Memory gives its numbers two to three times as fast in that order as
it does when one cache line of each pixel is asked for (measured).
"""

import numpy as np

from ..memory import CACHE_LINE
from .compiled import compiled, on_threads
from .conv_plan import unpack
from .packing import even_share, pack_grads, pack_inputs
from .pointers import point_at_inputs
from .simd import TILE_ROWS, add_outer_products, address_of, panel_width, start_of_line
from .target import L2_BYTES

CHUNK_PIXELS = 128
"""Pixels at a time: a panel of their gradients, and the cache lines of a tile of inputs, fill half of an L1 cache."""

PACKED_CHUNK_PIXELS = 256
"""The same where inputs are packed, of which a tile then takes less room."""

FAR_APART = 256
"""Bytes from pixel to pixel from which on the inputs of one tap are packed (measured)."""


@on_threads
def add_up(part, parts, x, grad, sums, others, seen, layout):
    """Add up one part of the weight gradient, over chunks of pixels.

    The sums are cut into tiles: for each group and tap there are some of up to TILE_ROWS input
    channels, and all outputs. The parts share the pixels among them, where each has sums to itself; or
    else the tiles, or the panels of outputs, whichever are more.

    Args:
        part: which part.
        parts: how many there are.
        x: images (N, H, W, C), in a frame if the plan has one.
        grad: (N, OH, OW, K).
        sums: (R * S * C * K,), written by part 0, if the parts share the pixels; by all parts otherwise.
        others: ((parts - 1) * R * S * C * K,), the sums that the other parts write; or empty.
        seen: see `conv_plan.Sum`.
        layout: see `conv_plan.Sum`.
    """
    G, R, S, C, K = unpack(layout[0])
    taps, itemsize, width = R * S, x.itemsize, panel_width(x.itemsize)
    row, pixel_count = G * K, grad.size // (G * K)
    starts, packed_from = _cut_channels(C)
    tiles = taps * (len(starts) - 1)
    if others.size and part > 0:
        sums = others[(part - 1) * sums.size : part * sums.size]
    mine, my_tiles, my_panels = _share_of_work(
        part, parts, others.size > 0, pixel_count, G * tiles, (K + width - 1) // width
    )
    packs = taps == 1 and C * itemsize >= FAR_APART
    most = PACKED_CHUNK_PIXELS if packs else CHUNK_PIXELS
    chunk = even_share(mine[1] - mine[0], most)
    tile_size, panel_size = chunk * TILE_ROWS, chunk * width
    # What is packed at once is found for whole chunks: with fewer pixels, it is no faster to pack more of each.
    once = packs and mine[1] - mine[0] > most
    most_panels = (2 * L2_BYTES if once else L2_BYTES // 4) // (most * width * itemsize)
    panels_at_once = even_share(my_panels[1] - my_panels[0], most_panels)
    most_tiles = L2_BYTES // 2 // (most * TILE_ROWS * itemsize) if packs else tiles
    tiles_at_once = even_share(my_tiles[1] - my_tiles[0], most_tiles)

    zeros = np.zeros(G * C + TILE_ROWS, x.dtype)
    packed = np.empty(panels_at_once * panel_size + CACHE_LINE // itemsize, x.dtype)
    aligned = start_of_line(packed)
    packed_x = np.empty(tiles_at_once * tile_size if packs else 0, x.dtype)
    # For each tap the addresses of what the pixels see, and behind the last one their places in a packed tile.
    x_pixels = np.empty((taps + 1) * chunk, np.int64)
    for p in range(chunk):
        x_pixels[taps * chunk + p] = p * TILE_ROWS * itemsize
    images = address_of(x, 0), x.size // x.shape[0] * itemsize, itemsize
    for pixel in range(mine[0], mine[1], chunk):
        count = min(chunk, mine[1] - pixel)
        point_at_inputs(x_pixels, chunk, pixel, pixel_count - 1, images, address_of(zeros, 0), seen)
        next_tile, packed_k = my_tiles[0], -1  # the first output whose gradients are packed
        while next_tile < my_tiles[1]:  # tiles of one group, as many as are packed at once
            group, tile = divmod(next_tile, tiles)
            tile_end = tile + min(tiles_at_once, min(tiles - tile, my_tiles[1] - next_tile))
            next_tile += tile_end - tile
            x_group = group * C * itemsize
            if packs:
                pack_inputs(
                    packed_x, tile_size, x_pixels, count, x_group, packed_from, tile, tile_end
                )
            for panel in range(my_panels[0], my_panels[1], panels_at_once):
                k = panel * width
                columns = min(K, min(panel + panels_at_once, my_panels[1]) * width) - k
                k += group * K
                if k != packed_k:
                    first = pixel * row + k
                    pack_grads(packed, aligned, panel_size, grad, first, row, columns, count)
                    packed_k = k
                _add_block(
                    sums, k, row, columns, (tile, tile_end), (starts, packed_from),
                    x_pixels, x_group, packed_x, chunk, packed, aligned, count, pixel > mine[0],
                )  # fmt: skip


@compiled
def _cut_channels(C):
    """Cut C input channels into tiles.

    Returns:
        the first channel of each tile, and C; and the same or less, so that TILE_ROWS channels follow
    """
    tiles = (C + TILE_ROWS - 1) // TILE_ROWS
    starts, packed_from = np.empty(tiles + 1, np.int64), np.empty(tiles + 1, np.int64)
    for tile in range(tiles + 1):
        starts[tile] = tile * C // tiles
        packed_from[tile] = min(starts[tile], C - TILE_ROWS)
    return starts, packed_from


@compiled
def _share_of_work(part, parts, by_pixels, pixels, tiles, panels):
    """The pixels, tiles and panels of a part: of each the first, and the first after."""
    if by_pixels:
        return _share(part, parts, pixels), (0, tiles), (0, panels)
    if tiles >= panels:
        return (0, pixels), _share(part, parts, tiles), (0, panels)
    return (0, pixels), (0, tiles), _share(part, parts, panels)


@compiled
def _share(part, parts, count):
    """The part's share of `count` things: the first, and the first after."""
    return part * count // parts, (part + 1) * count // parts


@compiled
def _add_block(
    sums, first, row, columns, tiles, channels, x_pixels, x_group, packed_x, chunk, grads, start, count, adds
):  # fmt: skip
    """Add what a chunk of pixels contributes to some tiles, for neighbouring outputs.

    Args:
        sums: see `add_up`.
        first: the place of the first output among the sums, for the first tap and input channel.
        row: numbers of the sums from one input channel to the next.
        columns: how many outputs.
        tiles: the first tile of the group, and the first after: a tuple.
        channels: see `_cut_channels`.
        x_pixels: for each tap the addresses of what pixels see, then their places in a packed tile.
        x_group: bytes from a pixel's address to the group's first channel.
        packed_x: packed inputs of these tiles; empty if they are not packed.
        chunk: for how many pixels there is room in `x_pixels`, and in a packed tile.
        grads: the packed gradients.
        start: where among them the first panel begins.
        count: how many pixels.
        adds: whether there are sums of earlier chunks.
    """
    starts, packed_from = channels
    c_tiles = len(starts) - 1
    C, width, itemsize = starts[c_tiles], panel_width(sums.itemsize), sums.itemsize
    panel = address_of(grads, start)
    for k in range(0, columns, width):
        for t in range(tiles[0], tiles[1]):
            tap, c_tile = divmod(t, c_tiles)
            c, rows = starts[c_tile], starts[c_tile + 1] - starts[c_tile]
            pixels, offset = tap * chunk, x_group + c * itemsize
            if packed_x.size:
                left_out = c - packed_from[c_tile]
                pixels, offset = (
                    chunk,
                    address_of(packed_x, (t - tiles[0]) * chunk * TILE_ROWS + left_out),
                )
            add_outer_products(
                x_pixels, pixels, offset, rows, (sums, panel),
                address_of(sums, first + (tap * C + c) * row + k), row * itemsize, count, adds,
                columns - k,
            )  # fmt: skip
        panel += chunk * width * itemsize
