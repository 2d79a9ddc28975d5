"""The compiled loops of `conv_pool`."""

import numpy as np
from numba.extending import register_jitable

from ..memory import CACHE_LINE
from .blocks import LONGEST_VECTOR
from .compiled import compiled, on_threads
from .conv_grad_weight import CHUNK_PIXELS
from .conv_plan import unpack
from .conv_pool_simd import add_filters, keep_largest, spread_gradients
from .packing import pack_start, pack_weights
from .simd import (
    NARROW_TILE_ROWS,
    TILE_ROWS,
    add_outer_products,
    address_of,
    copy_memory,
    multiply_narrow_tile,
    multiply_tile,
    panel_width,
    panel_width_for,
    start_of_line,
)

ZERO = np.int64(0)  # what is called with a literal 0 is compiled for that 0 alone


@register_jitable
def strip_pitch(K, itemsize):
    """Numbers from one pixel of a strip to the next: whole panels."""
    width = panel_width_for(K, itemsize)
    return (K + width - 1) // width * width


@on_threads
def compute_strips(
    part, parts, x, weights, layout, bias, seen, strip, places, lowest, nobody, y, winner
):
    """Write y and winner (N, PH, PW, K), of the framed images x (N, H', W', C) and the weights (R * S * C * K,).

    Each thread computes a strip of the convolution to memory of its own, then the maxima. A number is
    kept if it is above `lowest`; where there is none, `nobody` wins. The tables are those of
    `conv_pool.Plan`.
    """
    _, R, _, C, K = unpack(layout[0])  # the taps of a row are one: C is what all of them see
    width, pitch = panel_width_for(K, x.itemsize), strip_pitch(K, x.itemsize)
    strips, strip_rows, next_strip, row_pixels, columns = unpack(strip)
    N, PH, PW, _ = y.shape

    packed = np.empty(R * C * pitch + CACHE_LINE // x.itemsize, x.dtype)
    aligned = start_of_line(packed)
    pack_weights(packed, aligned, weights, layout, ZERO, ZERO, pitch // width, width)
    start = np.empty(pitch, x.dtype)
    pack_start(start, bias, ZERO, K, ZERO, pitch)
    room = seen.shape[1] + NARROW_TILE_ROWS  # the last tile may be a part
    sums = np.empty(room * pitch + LONGEST_VECTOR, x.dtype)
    sum_rows, x_rows = np.empty(room, np.int64), np.empty(R * room, np.int64)
    for p in range(room):
        sum_rows[p] = address_of(sums, p * pitch)

    end = (part + 1) * N * strips // parts
    limit = (end // strips * PH + end % strips * strip_rows) * PW * K  # here the next thread begins
    for item in range(part * N * strips // parts, end):
        n, number = divmod(item, strips)
        rows = min(strip_rows, PH - number * strip_rows)
        image = address_of(x, x.size // N * n + number * next_strip)
        _convolve(image, rows * row_pixels, room, seen, x_rows, sum_rows, packed, aligned, start, C)
        for i in range(rows):
            for j in range(PW):
                to = ((n * PH + number * strip_rows + i) * PW + j) * K
                keep_largest(
                    sums, (i * row_pixels + j * columns) * pitch, places, len(places), lowest, nobody,
                    y, winner, to, K, to + LONGEST_VECTOR <= limit,
                )  # fmt: skip


@compiled
def _convolve(image, count, room, seen, x_rows, sum_rows, packed, aligned, start, C):
    """Compute `count` pixels of a strip, which begins at the address `image`."""
    R, pitch, itemsize = seen.shape[0], start.size, packed.itemsize
    narrow = pitch < panel_width(itemsize)
    width, tile_rows = (pitch, NARROW_TILE_ROWS) if narrow else (panel_width(itemsize), TILE_ROWS)
    for r in range(R):
        for p in range(count):
            x_rows[r * room + p] = image + seen[r, p] * itemsize
        for p in range(count, count + tile_rows):
            x_rows[r * room + p] = x_rows[r * room + count - 1]
    for k in range(0, pitch, width):
        panel = aligned + R * C * k
        for p in range(0, count, tile_rows):
            if narrow:
                multiply_narrow_tile(
                    x_rows[p:], room, packed, panel, sum_rows[p:], k * itemsize, address_of(start, k),
                    R, C, 0, width,
                )  # fmt: skip
            else:
                multiply_tile(
                    x_rows[p:], room, packed, panel, sum_rows[p:], k * itemsize, address_of(start, k),
                    R, C, 0, width,
                )  # fmt: skip


@on_threads
def follow_winners(
    part,
    parts,
    x,
    filters,
    grad,
    winner,
    shape,
    won,
    steps,
    inside,
    places,
    reach,
    sums,
    bias_sums,
    grad_x,
):
    """Add up the gradients of weights and biases, a part for each thread, and write grad_x (N, H, W, C).

    `x`, `grad` and `winner` are seen as vectors: of framed images, and of images (N, PH, PW, K), which
    is `shape`. `filters` are those of `conv_pool._filters`; `sums` (threads, R, S * C, room) end in whole
    panels; bias_sums is (threads, K). An empty grad_x is not wanted. The tables are those of `conv_pool.Plan`.
    """
    N, pixels, columns, K = shape[0], shape[1] * shape[2], shape[2], shape[3]
    down, right, tap_step = steps[0], steps[1], steps[2]
    taps, K_room, width, itemsize = len(won), sums.shape[3], panel_width(x.itemsize), x.itemsize
    at_once = max(1, CHUNK_PIXELS // taps)  # pooled pixels
    line, zero = CACHE_LINE // itemsize, x.dtype.type(0)

    spread = np.zeros(at_once * taps * K_room + line, x.dtype)  # before the pooling, in panels
    first_spread = start_of_line(spread)
    seen = np.empty(at_once * taps, np.int64)
    chunk_sum = np.zeros(K_room, x.dtype)
    # Copied to bias_sums at the end: threads that write to one cache line slow each other down.
    bias_sum = np.zeros(K)
    chosen, gradients = np.empty(K + 1, np.int64), np.empty(K + 1, x.dtype)
    grad_image = np.zeros(x.size // N + LONGEST_VECTOR + line if grad_x.size else 1, x.dtype)
    first_grad = start_of_line(grad_image)
    for n in range(part * N // parts, (part + 1) * N // parts):
        image = address_of(x, n * (x.size // N))
        grad_offset = address_of(grad_image, first_grad) - image
        for first in range(0, pixels, at_once):
            count = min(at_once, pixels - first)
            for p in range(count):
                row, column = divmod(first + p, columns)
                for tap in range(taps):
                    place = row * down + column * right + won[tap]
                    seen[p * taps + tap] = image + place * itemsize
                start = (n * pixels + first + p) * K
                spill = start + K + LONGEST_VECTOR <= grad.size
                for k in range(0, K, width):
                    to = first_spread + (count * k + p * width) * taps
                    spread_gradients(
                        grad, winner, start + k, taps, spread, to, width, chunk_sum, k,
                        min(width, K - k), spill,
                    )  # fmt: skip
            for k in range(K):
                bias_sum[k] += chunk_sum[k]
            for k in range(K_room):
                chunk_sum[k] = zero
            _add_to_weights(seen, count * taps, spread, first_spread, tap_step, sums, part)
            if grad_x.size:
                start = (n * pixels + first) * K
                _add_to_image(
                    seen, grad_offset, count, taps, grad[start:], winner[start:], chosen, gradients,
                    filters, places, reach, inside[2],
                )  # fmt: skip
        if grad_x.size:
            _take_inside(grad_image, first_grad + inside[0] + inside[1], inside[2], grad_x, n)
    for k in range(K):
        bias_sums[part, k] = bias_sum[k]


@compiled
def _add_to_weights(seen, count, spread, first, tap_step, sums, part):
    """Add to sums[part] (R, S * C, room) the outer products of what pixels see and their gradients (count, width)."""
    _, R, length, room = sums.shape
    width, itemsize = panel_width(sums.itemsize), sums.itemsize
    tiles = (length + TILE_ROWS - 1) // TILE_ROWS
    for k in range(0, room, width):
        panel = address_of(spread, first + count * k)
        for r in range(R):
            for tile in range(tiles):
                c, end = tile * length // tiles, (tile + 1) * length // tiles
                add_outer_products(
                    seen, 0, (r * tap_step + c) * itemsize, end - c, (sums, panel),
                    address_of(sums, ((part * R + r) * length + c) * room + k), room * itemsize, count, 1, width,
                )  # fmt: skip


@compiled
def _add_to_image(
    seen, grad_offset, count, taps, grad, winner, chosen, gradients, filters, places, reach, row
):
    """Add winning filters, times gradients, to what `count` pooled pixels can see, `grad_offset` bytes from there.

    Which tap won only says where in its frame of zeros a filter begins. So all filters are added to the
    same window, the union of those of all taps, whose rows stay in registers meanwhile.
    """
    K, filter_rows, filter_row = filters.shape
    itemsize = filters.itemsize
    for p in range(count):
        winners = 0
        for k in range(K):
            tap = winner[p * K + k]
            chosen[winners] = address_of(filters, k * filter_rows * filter_row + places[tap])
            gradients[winners] = grad[p * K + k]
            winners += tap < taps
        add_filters(
            winners, gradients, chosen, filter_row * itemsize, seen[p * taps] + grad_offset, row * itemsize,
            reach[0], reach[1],
        )  # fmt: skip


@compiled
def _take_inside(framed, first, row_step, images, n):
    """Copy a framed image without its frame to number n of `images` (N, H, W, C), and clear it."""
    _, H, W, C = images.shape
    for i in range(H):
        source = address_of(framed, first + i * row_step)
        copy_memory(address_of(images, (n * H + i) * W * C), source, W * C * framed.itemsize)
    zero = framed.dtype.type(0)
    for i in range(framed.size):
        framed[i] = zero
