"""Convolution without a matrix of patches, on the building block of simd.py.

A tile of TILE_ROWS output pixels is worked out at a time. Each pixel of the tile has, for each tap of
the window, an address of its own, at which the C numbers lie that it sees there; where a tap falls
into the padding, that is the address of a row of zeros (pointers.py). So the tile is

    y[pixel, :] = sum over taps t of  x[address(pixel, t)] @ weights[t]

a batch-reduce matrix product, whatever the size, stride, padding and dilation of the window. The
gradient with respect to x is the same sum with other tables: which output pixel saw this input pixel
through this tap? With a stride, the answer has a pattern, or phase, for each remainder of the row
and the column; the phases are computed one after the other, and nothing is multiplied by zeros
between the pixels. The gradient with respect to the weights is a sum of outer products over the same
addresses.

Weights are packed into panels as wide as a tile, each thread for itself, as many as fit in its L2
cache; there they stay while all tiles pass by. The last panel is one vector wide, with tiles of as many
sums, if that is enough for the channels that are left. If the results are to be scaled, so are the panels: a
column of a panel makes one output channel. Where there are more panels than that, they are divided
into blocks of about the same size, as many for each thread: otherwise one thread waits for the others.
A thread that is done first takes over strips of tiles from the others (sharing.py).

Arrays have the logical order (N, C, H, W) and (K, C, R, S); in memory, images are channels-last,
and weights (R, S, C, K), as conv layers hold them. Other orders are copied first.
"""

import math

import numpy as np

from ..arrays import channels_first
from ..capture import do, zeros
from ..memory import CACHE_LINE, empty
from ..shapes import IntOrPair, Padding, Shape
from .compiled import compiled, on_threads, plain, thread_count
from .conv_few import multiply_few
from .conv_grad_weight import add_up
from .conv_plan import Plan, forward_plan, grad_input_plan, unpack
from .flat import SERIAL_PRODUCTS
from .images import images_in_order
from .packing import even_pieces, pack_start, pack_weights
from .pointers import point_at_inputs, point_at_outputs
from .scaling import scale_rows
from .sharing import nothing_taken, take_next
from .simd import (
    NARROW_TILE_ROWS,
    TILE_ROWS,
    address_of,
    multiply_narrow_tile,
    multiply_tile,
    panel_width,
    panel_width_for,
    start_of_line,
)
from .target import L2_BYTES

STRIP_ROWS = 8 * TILE_ROWS
"""Output pixels of a strip, at most: addresses are looked up for all its tiles at once, and a thread takes it whole."""

BLOCK_BYTES = L2_BYTES // 2
"""Panels that are packed at once may take so much."""

BLOCK_BYTES_OF_FEW_TILES = L2_BYTES // 5
"""The same for few tiles: more would take more memory, and be no quicker (measured)."""

FEW_TILES = 32
"""With fewer tiles, packing takes longer than computing: threads then share the panels, not the tiles (measured)."""


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
    """Convolution of float32 or float64 arrays, see `reference.conv2d` for arguments and errors.

    Each output pixel is multiplied by `scale` (K,), if it is not None; then `bias` (K,), if it is not
    None, is added; with `relu`, negative results become 0.

    Returns:
        (N, K, OH, OW), a view of memory in the order (N, OH, OW, K)
    """
    plan = forward_plan(x.shape, w.shape, stride, padding, dilation, groups)
    return _sum_over_taps(plan, x, w, bias, relu, scale)


def conv2d_grad_input(
    grad: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient with respect to x, see `reference.conv2d_grad_input`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    plan = grad_input_plan(tuple(x_shape), w.shape, stride, padding, dilation, groups)
    return _sum_over_taps(plan, grad, w, None, False, None)


def conv2d_grad_weight(
    grad: np.ndarray,
    x: np.ndarray,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient with respect to w, see `reference.conv2d_grad_weight`.

    Returns:
        (K, C / groups, R, S), a view of memory in the order (R, S, C / groups, K)
    """
    K, C_per_group, R, S = w_shape
    plan = forward_plan(x.shape, tuple(w_shape), stride, padding, dilation, groups)
    shape = R, S, C_per_group, K
    grad_w = sum_of_products(plan, images_in_order(x), images_in_order(grad), shape)
    return grad_w.transpose(3, 2, 0, 1)


def sum_of_products(plan: Plan, images: np.ndarray, grads: np.ndarray, shape: Shape) -> np.ndarray:
    """The gradient of weights with `shape` (R, S, C / groups, K), from images and gradients (N, ., ., .) in order."""
    if not grads.size:
        return zeros(shape, grads.dtype)
    seen, layout, _, _ = plan.sums[0]
    K = shape[-1]
    products = grads.size // K * math.prod(shape)
    threads = 1 if products < SERIAL_PRODUCTS else thread_count()
    # Few weights: each thread adds up its share of the pixels. Many: each thread adds up its share of the weights.
    few = math.prod(shape) * grads.itemsize <= L2_BYTES
    copies = min(threads, grads.size // K) if few else 1  # no share is empty: each copy is written
    total, others = empty(shape, grads.dtype), empty((copies - 1, *shape), grads.dtype)
    parts = copies if copies > 1 else threads
    add_up(parts, images, grads, total.reshape(-1), others.reshape(-1), seen, layout)
    for sums in others:
        do(np.add, total, sums, total)
    return total


def _sum_over_taps(
    plan: Plan,
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    relu: bool,
    scale: np.ndarray | None,
) -> np.ndarray:
    """Carry out a plan: images (N, C, H, W) and weights (K, C, R, S) -> view (N, ., ., .) of NHWC memory."""
    weights = plain(w.transpose(2, 3, 1, 0))  # (R, S, C, K)
    return channels_first(carry_out(plan, images_in_order(x), weights, bias, relu, scale))


def carry_out(
    plan: Plan,
    images: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    relu: bool,
    scale: np.ndarray | None = None,
) -> np.ndarray:
    """Carry out a plan for arrays in order: images (N, H, W, C) and weights (R, S, C, K) -> (N, ., ., .)."""
    y = empty(plan.y_shape, images.dtype)
    if y.size:
        weights = weights.reshape(-1)
        start = weights[:0] if bias is None else plain(bias)
        factors = weights[:0] if scale is None else plain(scale)
        products = y.size // y.shape[-1] * weights.size
        threads = 1 if products < SERIAL_PRODUCTS else thread_count()
        for seen, layout, first, written in plan.sums:
            tables = layout, y, seen, written
            arguments = images, weights[first:], *tables, start, relu, factors
            if plan.is_small:
                multiply_few(threads, *arguments)
            else:
                _multiply(threads, *arguments, nothing_taken(threads))
        for gap in plan.gaps:
            do(np.copyto, y[gap], 0)
    return y


@on_threads
def _multiply(part, parts, x, weights, layout, y, seen, written, bias, relu, scale, taken):
    """Work out a share of the tiles, strip after strip, with some panels in this thread's cache; then help the others.

    A strip has the same bits whoever works it out, see `sharing`.
    """
    G, R, S, C, K = unpack(layout[0])
    width = panel_width(x.itemsize)
    panels, panel_size = (K + width - 1) // width, R * S * C * width
    rows = NARROW_TILE_ROWS if panel_width_for(K, x.itemsize) < width else TILE_ROWS
    pixel_count = x.shape[0] * len(written[0]) * len(written[1])
    tiles = (pixel_count + rows - 1) // rows
    blocks = _blocks_of_panels(panels, panel_size * x.itemsize, tiles, parts)  # of each group
    panels_at_once = (panels + blocks - 1) // blocks

    zeros = np.zeros(max(C, width), x.dtype)  # as many as a tap looks at, or as a tile is wide
    packed = np.empty(panels_at_once * panel_size + CACHE_LINE // x.itemsize, x.dtype)
    aligned = start_of_line(packed)
    start = np.empty(panels_at_once * width, x.dtype)
    x_rows, y_rows = np.empty(R * S * STRIP_ROWS, np.int64), np.empty(STRIP_ROWS, np.int64)
    x_bytes = x.size // x.shape[0] * x.itemsize
    y_bytes = y.size // y.shape[0] * y.itemsize

    strips = min(tiles, max(parts, even_pieces(tiles, STRIP_ROWS // rows, parts)))
    work = G * blocks * strips  # (group, block of panels, strip of tiles), in this order
    packed_block = -1
    for turn in range(parts):  # its own share, and then what is left of the others'
        share = (part + turn) % parts
        first, end = share * work // parts, (share + 1) * work // parts
        position = first + take_next(taken, share)
        while position < end:
            block, strip = divmod(position, strips)
            group, block_of_group = divmod(block, blocks)
            first_panel = block_of_group * panels // blocks
            last_panel = (block_of_group + 1) * panels // blocks
            if block != packed_block:
                packed_block = block
                _pack_panels(
                    packed, aligned, start, weights, layout, group, first_panel, last_panel,
                    bias, scale,
                )  # fmt: skip
            pixel = strip * tiles // strips * rows
            count = (strip + 1) * tiles // strips * rows - pixel
            last_pixel = min(pixel + count, pixel_count) - 1
            pitch = max(count, NARROW_TILE_ROWS)  # the last pixel is repeated, if need be
            x_images = address_of(x, group * C), x_bytes, x.itemsize
            y_images = address_of(y, group * K), y_bytes, y.itemsize
            point_at_inputs(x_rows, pitch, pixel, last_pixel, x_images, address_of(zeros, 0), seen)
            point_at_outputs(y_rows, pitch, pixel, last_pixel, y_images, written)
            _multiply_strip(
                x_rows, y_rows, count, pitch, R * S, C, packed, aligned, start,
                first_panel, last_panel, K, relu,
            )  # fmt: skip
            position = first + take_next(taken, share)


@compiled
def _pack_panels(
    packed, first, start, weights, layout, group, first_panel, last_panel, bias, scale
):
    """Pack some panels of a group's weights, scaled, to packed[first:], and to `start` what their sums begin with.

    Panels are a tile wide; the last one is one vector wide, if that holds all its columns.
    """
    _, R, S, C, K = unpack(layout[0])
    width, rows = panel_width(packed.itemsize), R * S * C
    columns = group * K, K, first_panel * width, last_panel * width
    pack_start(start, bias, *columns)
    factors = np.empty(start.size if scale.size else 0, start.dtype)
    if scale.size:
        pack_start(factors, scale, *columns)
    for panel in range(first_panel, last_panel):
        own_width = panel_width_for(K - panel * width, packed.itemsize)
        number = panel * (width // own_width)  # were all panels as wide as this one
        pack_weights(packed, first, weights, layout, group, number, number + 1, own_width)
        if scale.size:
            own_factors = address_of(factors, (panel - first_panel) * width)
            scale_rows(address_of(packed, first), rows, own_width, own_factors, packed)
        first += rows * width


@compiled
def _multiply_strip(
    x_rows, y_rows, count, pitch, taps, C, packed, first, start, first_panel, last_panel, K, relu
):
    """Multiply what a strip of `count` pixels sees with some panels, which are packed from packed[first] on.

    With a panel of one vector, tiles are narrow, and the last one goes over pixels that have been
    worked out already, rather than beyond the strip.
    """
    width = panel_width(packed.itemsize)
    for panel in range(first_panel, last_panel):
        columns, offset = K - panel * width, panel * width * packed.itemsize
        panel_start = address_of(start, (panel - first_panel) * width)
        if panel_width_for(columns, packed.itemsize) < width:
            for row in range(0, count, NARROW_TILE_ROWS):
                row = min(row, pitch - NARROW_TILE_ROWS)
                multiply_narrow_tile(
                    x_rows[row:], pitch, packed, first, y_rows[row:], offset,
                    panel_start, taps, C, relu, columns,
                )  # fmt: skip
        else:
            for row in range(0, count, TILE_ROWS):
                multiply_tile(
                    x_rows[row:], pitch, packed, first, y_rows[row:], offset,
                    panel_start, taps, C, relu, columns,
                )  # fmt: skip
        first += taps * C * width


@compiled
def _blocks_of_panels(panels, panel_bytes, tiles, parts):
    """Into how many blocks to divide the panels: each part gets as many.

    With few tiles, each part gets at least one block, if there are panels enough.
    """
    if tiles >= FEW_TILES:
        return even_pieces(panels, BLOCK_BYTES // panel_bytes, parts)
    at_once = min((panels + parts - 1) // parts, BLOCK_BYTES_OF_FEW_TILES // panel_bytes)
    return even_pieces(panels, at_once, parts)
