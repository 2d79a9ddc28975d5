"""Convolution of images with few channels: the first layer, or *stem*, of a network.

With one channel, or three, an output pixel takes few products, and what matters is everything else:
where the numbers are, what lies in the padding, and how results are written. So:

- The numbers that a row of the window sees, S * C of them, are one piece of memory, and the same piece
  of the next output pixel lies a fixed distance further. Tiles of neighbouring pixels need no table
  of addresses (as those of conv.py do): the tile is the same matrix product, its rows are equally spaced.
- Padding is a frame of zeros. Each thread copies the rows of the image that a few rows of outputs
  see into a frame of its own, which stays in its cache: no framed image is written to memory.
- With fewer outputs than a vector has lanes, storing a part of a vector is slow on many processors.
  Whole vectors are stored, in the order of the pixels: what is too much is the beginning of the next
  pixel, and is overwritten. Only at the end of a thread's share parts are stored.

The weight gradient takes the R * S * C numbers that a window sees a few at a time, and keeps their sums
in registers while all pixels of the frame pass by.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..arrays import channels_first
from ..capture import do, zeros
from ..memory import CACHE_LINE, empty
from ..shapes import IntOrPair, Padding, Shape, conv2d_shape, window_of
from .compiled import compiled, on_threads, plain, thread_count
from .conv_plan import FEW_PIXELS
from .flat import SERIAL_PRODUCTS
from .images import images_in_order
from .packing import pack_start, pack_weights, scale_panels
from .simd import address_of, copy_memory, panel_width, panel_width_for, start_of_line
from .stem_simd import add_up_numbers, multiply_neighbours
from .target import L2_BYTES, TILE_ROWS, TILE_VECTORS

MOST_CHANNELS = 7
"""With more, the numbers that a tap sees fill a vector, and the tables of conv.py cost little beside the products."""

NARROW_ROWS = 8
"""Rows of a tile that is one vector wide: two multiply-adds in a cycle, of a latency of 4, are kept busy by as many
sums; more rows need more addresses than there are registers for."""

FRAME_BYTES = L2_BYTES // 8
"""A frame may take so much."""

GRADIENT_BYTES = 16 * 1024
"""The gradients of the pixels in a frame, which are read for a few numbers at a time, take half of an L1 cache."""


def suits(
    x_shape: Shape,
    w_shape: Shape,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
) -> bool:
    """Whether a convolution, whose shapes fit, has few channels, rows of several taps without gaps, and many outputs.

    For few output pixels, preparing panels and frames takes longer than the products: conv_few.py has none.
    """
    if groups > 1 or x_shape[1] > MOST_CHANNELS or w_shape[3] == 1:
        return False
    if window_of(w_shape[2:], stride, padding, dilation).dilation[1] > 1:
        return False
    N, _, OH, OW = conv2d_shape(x_shape, w_shape, stride, padding, dilation, groups)
    return N * OH * OW > FEW_PIXELS


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    bias: np.ndarray | None = None,
    relu: bool = False,
    scale: np.ndarray | None = None,
) -> np.ndarray:
    """Convolution of float32 or float64 arrays that `suits`, see `conv.conv2d` for arguments.

    Returns:
        (N, K, OH, OW), a view of memory in the order (N, OH, OW, K)

    Raises:
        ValueError: for a convolution with gaps between the taps of a row; otherwise as `reference.conv2d`.
    """
    plan = _plan(x.shape, w.shape, stride, padding, dilation, groups)
    weights = plain(w.transpose(2, 3, 1, 0)).reshape(-1)  # (R * S * C * K,)
    y = empty(plan.y_shape, x.dtype)
    if y.size:
        start = weights[:0] if bias is None else plain(bias)
        factors = weights[:0] if scale is None else plain(scale)
        products = y.size // y.shape[-1] * weights.size
        threads = 1 if products < SERIAL_PRODUCTS else thread_count()
        images = images_in_order(x)
        _multiply_rows(threads, images, weights, plan.layout, y, plan.window, start, relu, factors)
    return channels_first(y)


def conv2d_grad_weight(
    grad: np.ndarray,
    x: np.ndarray,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient of `conv2d` with respect to w, see `reference.conv2d_grad_weight`; errors are those of `conv2d`.

    Returns:
        (K, C, R, S), a view of memory in the order (R, S, C, K)
    """
    K, C, R, S = w_shape
    plan = _plan(x.shape, tuple(w_shape), stride, padding, dilation, groups)
    if not grad.size:
        return zeros((R, S, C, K), grad.dtype).transpose(3, 2, 0, 1)
    rows = len(grad) * grad.shape[2]
    few = grad.size * R * S * C < SERIAL_PRODUCTS
    parts = 1 if few else min(thread_count(), rows)  # no share is empty: each writes its sums
    grad_w = empty((R * S * C, K), grad.dtype)
    sums = grad_w[None] if parts == 1 else empty((parts, R * S * C, K), grad.dtype)
    _add_up_rows(parts, images_in_order(x), images_in_order(grad), sums, plan.layout, plan.window)
    if parts > 1:
        do(np.add.reduce, sums, 0, None, grad_w)
    return grad_w.reshape(R, S, C, K).transpose(3, 2, 0, 1)


class Plan(NamedTuple):
    """What follows from shapes and settings alone."""

    y_shape: Shape
    """(N, OH, OW, K)"""
    layout: np.ndarray
    """Int64 (2, 5), see `conv_plan.Sum`: all that a row of the window sees is one tap."""
    window: tuple[int, ...]
    """Rows of the window, and how far apart they are; its steps down and across; the padding above and on the left;
    the width of a frame in pixels."""


@lru_cache(maxsize=1024)
def _plan(x_shape: Shape, w_shape: Shape, *settings: object) -> Plan:
    """The settings are stride, padding, dilation and groups."""
    N, K, OH, OW = conv2d_shape(x_shape, w_shape, *settings)
    *window_settings, groups = settings
    window = window_of(w_shape[2:], *window_settings)
    if groups > 1 or window.dilation[1] > 1:
        raise ValueError(
            "stem: expected one group, and neighbouring columns as taps of a row, got groups="
            f"{groups}, dilation {window.dilation}; use the convolution of `conv`"
        )
    C, _, W = x_shape[1:]
    R, S = window.kernel
    (top, _), (left, right) = window.padding
    numbers = R, window.dilation[0], *window.stride, top, left, left + W + right
    layout = np.array([(1, R, 1, S * C, K), (0, S * C * K, 0, K, 1)])
    return Plan((N, OH, OW, K), layout, numbers)


@on_threads
def _multiply_rows(part, parts, x, weights, layout, y, window, bias, relu, scale):
    """Compute one part of the rows of y (N, OH, OW, K) from x (N, H, W, C) and weights (R * S * C * K,)."""
    R, dilation, step, column_step, top, left, frame_width = window
    N, OH, OW, K = y.shape
    length, C, itemsize = layout[0, 3], x.shape[3], x.itemsize
    width = panel_width_for(K, itemsize)
    narrow = width < panel_width(itemsize)
    panels, panel_size = (K + width - 1) // width, R * length * width
    packed = np.empty(panels * panel_size + CACHE_LINE // itemsize, x.dtype)
    aligned = start_of_line(packed)
    pack_weights(packed, aligned, weights, layout, np.int64(0), np.int64(0), panels, width)
    start, factors = np.empty(panels * width, x.dtype), np.empty(panels * width, x.dtype)
    pack_start(start, bias, np.int64(0), K, np.int64(0), panels * width)
    if scale.size:
        pack_start(factors, scale, np.int64(0), K, np.int64(0), panels * width)
        scale_panels(packed, aligned, factors, panels, R * length, width)

    frame_row = frame_width * C
    span = (R - 1) * dilation + 1
    most = min(OH, _rows_at_once(FRAME_BYTES // (frame_row * itemsize), span, step))
    frame = np.zeros(((most - 1) * step + span) * frame_row, x.dtype)
    taps = R, dilation * frame_row * itemsize, length
    row, end = part * N * OH // parts, (part + 1) * N * OH // parts
    limit = end * OW * K  # here the next thread's share begins
    while row < end:
        n, i = divmod(row, OH)
        rows = min(most, min(end - row, OH - i))
        _fill_frame(x, n, i * step - top, (rows - 1) * step + span, frame, frame_row, left * C)
        for strip_row in range(rows):
            xs = address_of(frame, strip_row * step * frame_row), column_step * C * itemsize
            first = (row + strip_row) * OW * K
            spills = panels == 1 and first + OW * K + width <= limit
            for panel in range(panels):
                weights_of_panel = (
                    address_of(packed, aligned + panel * panel_size),
                    address_of(start, panel * width),
                )
                ys = address_of(y, first + panel * width), K * itemsize
                columns = width if spills else K - panel * width
                _multiply_row(xs, taps, weights_of_panel, ys, OW, relu, columns, narrow, x)
        row += rows


@compiled
def _multiply_row(xs, taps, panel, ys, pixels, relu, columns, narrow, like):
    """Compute `columns` numbers, at most a panel, of a row of `pixels`; see `multiply_neighbours` for the rest."""
    first_x, x_step = xs
    first_y, y_step = ys
    at_once = NARROW_ROWS if narrow else TILE_ROWS
    last = pixels - at_once
    if last < 0:  # a tile's pixels are then one and the same, and there is a tile for each pixel
        x_step, y_step, at_once, last = 0, 0, 1, pixels - 1
    for j in range(0, pixels, at_once):
        j = min(j, last)  # some may be computed twice
        tile_x = first_x + j * xs[1], x_step
        tile_y = first_y + j * ys[1], y_step
        if narrow:
            multiply_neighbours(NARROW_ROWS, 1, tile_x, taps, panel, tile_y, relu, columns, like)
        else:
            multiply_neighbours(
                TILE_ROWS, TILE_VECTORS, tile_x, taps, panel, tile_y, relu, columns, like
            )


@on_threads
def _add_up_rows(part, parts, x, grad, sums, layout, window):
    """Write to sums[part] (R * S * C, K) what a part of the rows of grad (N, OH, OW, K) gives with x (N, H, W, C)."""
    R, dilation, step, column_step, top, left, frame_width = window
    N, OH, OW, K = grad.shape
    length, C, itemsize = layout[0, 3], x.shape[3], x.itemsize
    width = panel_width_for(K, itemsize)
    narrow = width < panel_width(itemsize)
    at_once = NARROW_ROWS if narrow else TILE_ROWS
    panels, tiles = (K + width - 1) // width, (R * length + at_once - 1) // at_once

    frame_row = frame_width * C
    offsets = np.empty(tiles * at_once, np.int64)
    for t in range(len(offsets)):
        r, q = divmod(min(t, R * length - 1), length)  # the last one again, where there are too few
        offsets[t] = (r * dilation * frame_row + q) * itemsize
    totals = np.zeros(panels * tiles * at_once * width, x.dtype)

    span = (R - 1) * dilation + 1
    most = min(OH, _rows_at_once(FRAME_BYTES // (frame_row * itemsize), span, step))
    most = min(most, max(1, GRADIENT_BYTES // (OW * K * itemsize)))
    frame = np.zeros(((most - 1) * step + span) * frame_row, x.dtype)
    # Whole vectors of gradients are read: where the last one is not whole, from memory that does not end there.
    copies = K % width > 0
    copied = np.zeros(most * OW * K + width if copies else 0, x.dtype)
    row, end = part * N * OH // parts, (part + 1) * N * OH // parts
    while row < end:
        n, i = divmod(row, OH)
        rows = min(most, min(end - row, OH - i))
        _fill_frame(x, n, i * step - top, (rows - 1) * step + span, frame, frame_row, left * C)
        xs = address_of(frame, 0), step * frame_row * itemsize, column_step * C * itemsize
        first_grad = address_of(grad, row * OW * K)
        if copies:
            copy_memory(address_of(copied, 0), first_grad, rows * OW * K * itemsize)
            first_grad = address_of(copied, 0)
        for panel in range(panels):
            grads = first_grad + panel * width * itemsize, OW * K * itemsize, K * itemsize
            for tile in range(tiles):
                tile_offsets = address_of(offsets, tile * at_once)
                to = address_of(totals, (panel * tiles + tile) * at_once * width)
                if narrow:
                    add_up_numbers(NARROW_ROWS, 1, tile_offsets, xs, grads, (rows, OW), to, x)
                else:
                    add_up_numbers(
                        TILE_ROWS, TILE_VECTORS, tile_offsets, xs, grads, (rows, OW), to, x
                    )
        row += rows
    for t in range(R * length):
        for k in range(K):
            panel, column = divmod(k, width)
            sums[part, t, k] = totals[(panel * tiles * at_once + t) * width + column]


@compiled
def _rows_at_once(frame_rows, span, step):
    """For how many rows of outputs a frame of so many rows has room: 1 at least."""
    return max(1, (frame_rows - span) // step + 1)


@compiled
def _fill_frame(x, n, first, count, frame, frame_row, left):
    """Copy rows first, ..., first + count - 1 of image n of x (N, H, W, C); zeros where there is no such row.

    The frame's columns on both sides of the image are zero, and stay it: `left` numbers before each row.
    """
    _, H, W, C = x.shape
    zero = x.dtype.type(0)
    size = W * C
    for i in range(count):
        to = i * frame_row + left
        if 0 <= first + i < H:
            source = address_of(x, ((n * H + first + i) * W) * C)
            copy_memory(address_of(frame, to), source, size * x.itemsize)
        else:
            for j in range(to, to + size):
                frame[j] = zero
