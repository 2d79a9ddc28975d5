"""The steps of Winograd's convolution, compiled: each works on one part of the squares, or one panel.

    images  -- transform_inputs -->  inputs    (squares x C) for each point
    weights -- transform_weights --> weights   (C x panel)     for each point
    inputs, weights -- multiply --> products   (squares x panel) -- transform_products --> results

and for the gradient with respect to the weights

    gradients -- transform_grads --> grads     (squares x panel) for each point
    inputs, grads -- add_products --> sums     (C x panel)     -- transform_sums --> weight gradients

A *point* is one of the (m + 2)^2 numbers that a square is transformed to; a *panel* as many output
channels as multiply_tile works out at a time (simd.py).
"""

from typing import NamedTuple

import numpy as np

from ..memory import CACHE_LINE
from .compiled import compiled, on_threads
from .pointers import point_at_inputs
from .scaling import scale_rows
from .simd import (
    TILE_ROWS,
    add_outer_products,
    address_of,
    multiply_tile,
    panel_width,
    start_of_line,
)
from .target import VECTOR_BYTES
from .transforms import (
    copy_number,
    transform_grad,
    transform_input,
    transform_product,
    transform_sum,
    transform_weight,
)

AT_ONCE = 8
"""Squares whose addresses are looked up at a time."""

ROWS_AT_ONCE = 16
"""Input channels whose weights are gathered at a time: in whatever order they lie, cache lines are used up."""

PANELS_AT_ONCE = 2
"""Panels whose products are transformed back at a time, where a thread has squares of its own."""


class Points(NamedTuple):
    """A matrix for each point: row i of point p begins at numbers[first + p * step + i * columns]."""

    numbers: np.ndarray
    first: int
    step: int
    columns: int


class Taps(NamedTuple):
    """Weights in some order: tap t of input c and output k is numbers[first + t*by_tap + c*by_c + k*by_k].

    Those of output k are to be multiplied by scale[k], which has a number for each column of a panel;
    or, where it is empty, to be taken as they are.
    """

    numbers: np.ndarray
    first: int
    by_tap: int
    by_c: int
    by_k: int
    scale: np.ndarray


@on_threads
def convolve_squares(
    part, parts, squares, x, seen, inputs, weights, products, start, relu, written, y
):
    """Work out one part of the blocks of squares, from the images to the results."""
    width = panel_width(x.itemsize)
    panels = len(weights)
    blocks = (squares.count + squares.block - 1) // squares.block
    for block in range(part * blocks // parts, (part + 1) * blocks // parts):
        first = block * squares.block
        last = min(squares.count, first + squares.block)
        transform_inputs(squares, first, last, x, seen, 0, inputs[part])
        for panel in range(0, panels, PANELS_AT_ONCE):
            columns = min(PANELS_AT_ONCE, panels - panel) * width
            for i in range(0, columns, width):
                k = panel * width + i
                _multiply(
                    squares,
                    inputs[part],
                    weights[k // width],
                    last - first,
                    start,
                    k,
                    products[part],
                    columns,
                    i,
                )
            _transform_products(
                squares, products[part], columns, relu, written, first, last, panel * width, y
            )


@on_threads
def convolve_panels(
    part, parts, squares, first, last, taps, inputs, weights, products, start, relu, written, y
):
    """Work out one part of the panels for squares first ... last, whose transformed inputs are given."""
    width = panel_width(y.itemsize)
    panels = len(start) // width
    for panel in range(part * panels // parts, (part + 1) * panels // parts):
        transform_weights(squares, taps, panel, weights[part])
        _multiply(
            squares,
            inputs,
            weights[part],
            last - first,
            start,
            panel * width,
            products[part],
            width,
            0,
        )
        _transform_products(
            squares, products[part], width, relu, written, first, last, panel * width, y
        )


@on_threads
def add_up_panels(part, parts, squares, first, last, grad, written, inputs, grads, sums, grad_w):
    """Add to one part of grad_w what squares first ... last contribute.

    The parts share the panels or, where these are fewer, pieces of panels: some of the rows c.
    """
    width = panel_width(grad.itemsize)
    panels = (squares.K + width - 1) // width
    tiles = (squares.C + TILE_ROWS - 1) // TILE_ROWS
    pieces = min(tiles, (parts + panels - 1) // panels)
    for piece in range(part * panels * pieces // parts, (part + 1) * panels * pieces // parts):
        panel, piece_of_panel = divmod(piece, pieces)
        rows = (
            piece_of_panel * tiles // pieces * TILE_ROWS,
            min(squares.C, (piece_of_panel + 1) * tiles // pieces * TILE_ROWS),
        )
        _transform_grads(squares, grad, written, first, last, panel * width, grads[part])
        _add_products(squares, inputs, grads[part], last - first, rows, sums[part])
        _transform_sums(squares, sums[part], rows, panel * width, first > 0, grad_w)


@compiled
def _points(squares, numbers, rows, columns):
    """Lay a matrix for each point out in `numbers`, each followed by an unused cache line.

    So the same element of two points is never a multiple of 4096 bytes apart, where all points would
    compete for the same few places of the L1 cache.
    """
    step = rows * columns + CACHE_LINE // numbers.itemsize
    return Points(numbers, start_of_line(numbers), step, columns)


@compiled
def _place(points, row):
    """The address of a row of the first point."""
    return address_of(points.numbers, points.first + row * points.columns)


@compiled
def _offsets(squares, points):
    """The bytes from the first point to each point."""
    offsets = np.empty((squares.m + 2) ** 2, np.int64)
    for point in range(len(offsets)):
        offsets[point] = point * points.step * points.numbers.itemsize
    return offsets


@compiled
def transform_inputs(squares, first, last, x, seen, row, inputs):
    """B^T d B for squares first ... last, into rows `row`, row + 1, ... of each point."""
    itemsize = x.itemsize
    window = squares.m + 2
    points = _points(squares, inputs, squares.block, squares.C)
    offsets = _offsets(squares, points)
    pointers = np.empty(window * window * AT_ONCE, np.int64)
    zeros = np.zeros(squares.C, x.dtype)
    images = address_of(x, 0), x.size // len(x) * itemsize, itemsize
    for square in range(first, last):
        i = (square - first) % AT_ONCE
        if i == 0:
            point_at_inputs(
                pointers, AT_ONCE, square, squares.count - 1, images, address_of(zeros, 0), seen
            )
        place = _place(points, row + square - first)
        for c in range(0, squares.C * itemsize, VECTOR_BYTES):
            source = pointers, i, AT_ONCE, c
            transform_input(squares, x, source, (offsets, 0, 1, place + c), 0, 0)


@compiled
def transform_weights(squares, taps, panel, weights):
    """G g G^T for a panel of output channels: rows c, columns k. Columns from K on are left as they are."""
    itemsize = weights.itemsize
    width = panel_width(itemsize)
    points = _points(squares, weights, squares.C, width)
    offsets = _offsets(squares, points)
    columns = min(width, squares.K - panel * width)
    first = address_of(taps.numbers, taps.first + panel * width * taps.by_k)
    gathered = np.empty(9 * ROWS_AT_ONCE * width, weights.dtype)
    rows = np.empty(9, np.int64)
    for tap in range(9):
        rows[tap] = address_of(gathered, tap * ROWS_AT_ONCE * width)
    for c in range(squares.C):
        offset = c % ROWS_AT_ONCE * width * itemsize
        if offset == 0:
            count = min(ROWS_AT_ONCE, squares.C - c)
            _gather(taps, first + c * taps.by_c * itemsize, count, columns, rows, width)
            if taps.scale.size:
                factors = address_of(taps.scale, panel * width)
                for tap in range(9):
                    scale_rows(rows[tap], count, width, factors, weights)
        place = _place(points, c)
        for k in range(0, columns * itemsize, VECTOR_BYTES):
            source, target = (rows, 0, 1, offset + k), (offsets, 0, 1, place + k)
            transform_weight(squares, weights, source, target, 0, 0)


@compiled
def _gather(taps, first, count, columns, rows, width):
    """Copy the weights of `count` input channels to `rows`, one for each tap: (count, width)."""
    itemsize = taps.numbers.itemsize
    for tap in range(9):
        for k in range(columns):
            source = first + (tap * taps.by_tap + k * taps.by_k) * itemsize
            for c in range(count):
                copy_number(
                    rows[tap] + (c * width + k) * itemsize,
                    source + c * taps.by_c * itemsize,
                    taps.numbers,
                )


@compiled
def _multiply(squares, inputs, weights, count, start, k, products, columns, column):
    """For each point, inputs (count, C) times weights (C, width), to columns `column`, ... of its products.

    The bias enters at the point (1, 1): column 1 of A^T holds ones, so that what is added to this
    point is added to every pixel.
    """
    itemsize = inputs.itemsize
    width = panel_width(itemsize)
    window = squares.m + 2
    x_points = _points(squares, inputs, squares.block, squares.C)
    w_points = _points(squares, weights, squares.C, width)
    y_points = _points(squares, products, squares.block, columns)
    x_offsets, y_offsets = _offsets(squares, x_points), _offsets(squares, y_points)
    zeros = np.zeros(width, inputs.dtype)
    x_rows = np.empty(TILE_ROWS, np.int64)
    y_rows = np.empty(TILE_ROWS, np.int64)
    for point in range(window * window):
        begin = address_of(start, k) if point == window + 1 else address_of(zeros, 0)
        panel = w_points.first + point * w_points.step
        for row in range(0, count, TILE_ROWS):
            for i in range(TILE_ROWS):
                square = min(row + i, count - 1)
                x_rows[i] = _place(x_points, square) + x_offsets[point]
                y_rows[i] = _place(y_points, square) + y_offsets[point]
            multiply_tile(
                x_rows,
                TILE_ROWS,
                weights,
                panel,
                y_rows,
                column * itemsize,
                begin,
                1,
                squares.C,
                0,
                width,
            )


@compiled
def _transform_products(squares, products, columns, relu, written, first, last, k, y):
    """A^T [...] A for squares first ... last: their pixels of channels k ... k + columns."""
    itemsize = y.itemsize
    m = squares.m
    points = _points(squares, products, squares.block, columns)
    offsets = _offsets(squares, points)
    pointers = np.empty(m * m * AT_ONCE, np.int64)
    outside = np.empty(squares.K, y.dtype)  # where the pixels of a square go that do not exist
    images = address_of(y, 0), y.size // len(y) * itemsize, itemsize
    for square in range(first, last):
        i = (square - first) % AT_ONCE
        if i == 0:
            point_at_inputs(
                pointers,
                AT_ONCE,
                square,
                squares.count - 1,
                images,
                address_of(outside, 0),
                written,
            )
        place = _place(points, square - first)
        for offset in range(0, min(columns, squares.K - k) * itemsize, VECTOR_BYTES):
            target = pointers, i, AT_ONCE, k * itemsize + offset
            transform_product(squares, y, (offsets, 0, 1, place + offset), target, 0, relu)


@compiled
def _transform_grads(squares, grad, written, first, last, k, grads):
    """A dy A^T for channels k ... k + width of squares first ... last: rows squares, columns channels."""
    itemsize = grad.itemsize
    width = panel_width(itemsize)
    m = squares.m
    points = _points(squares, grads, squares.block, width)
    offsets = _offsets(squares, points)
    pointers = np.empty(m * m * AT_ONCE, np.int64)
    outside = np.zeros(squares.K, grad.dtype)
    images = address_of(grad, 0), grad.size // len(grad) * itemsize, itemsize
    for square in range(first, last):
        i = (square - first) % AT_ONCE
        if i == 0:
            point_at_inputs(
                pointers,
                AT_ONCE,
                square,
                squares.count - 1,
                images,
                address_of(outside, 0),
                written,
            )
        place = _place(points, square - first)
        for offset in range(0, min(width, squares.K - k) * itemsize, VECTOR_BYTES):
            source = pointers, i, AT_ONCE, k * itemsize + offset
            transform_grad(squares, grad, source, (offsets, 0, 1, place + offset), 0, 0)


@compiled
def _add_products(squares, inputs, grads, count, rows, sums):
    """For each point, inputs (C, count) times grads (count, width), to rows c of sums (C, width).

    Rows are summed in whole tiles. Those from C on are sums of numbers that happen to lie behind,
    and nobody reads them.
    """
    itemsize = inputs.itemsize
    width = panel_width(itemsize)
    size = (squares.C + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    x_points = _points(squares, inputs, squares.block, squares.C)
    grad_points = _points(squares, grads, squares.block, width)
    sum_points = _points(squares, sums, size, width)
    x_offsets, grad_offsets, sum_offsets = (
        _offsets(squares, x_points),
        _offsets(squares, grad_points),
        _offsets(squares, sum_points),
    )
    pixels = np.empty(count, np.int64)
    for square in range(count):
        pixels[square] = _place(x_points, square)
    for point in range(len(x_offsets)):
        panel = inputs, _place(grad_points, 0) + grad_offsets[point]
        for c in range(rows[0], rows[1], TILE_ROWS):
            add_outer_products(
                pixels,
                0,
                x_offsets[point] + c * itemsize,
                TILE_ROWS,
                panel,
                _place(sum_points, c) + sum_offsets[point],
                width * itemsize,
                count,
                0,
                width,
            )


@compiled
def _transform_sums(squares, sums, rows, k, more, grad_w):
    """G^T [...] G for output channels k ... k + width, into grad_w (3, 3, C, K) or, with `more`, added to it."""
    itemsize = grad_w.itemsize
    width = panel_width(itemsize)
    size = (squares.C + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    points = _points(squares, sums, size, width)
    offsets = _offsets(squares, points)
    targets = np.empty(9, np.int64)
    for tap in range(9):
        targets[tap] = address_of(grad_w, tap * squares.C * squares.K)
    for c in range(rows[0], rows[1]):
        place = _place(points, c)
        for offset in range(0, min(width, squares.K - k) * itemsize, VECTOR_BYTES):
            target = targets, 0, 1, (c * squares.K + k) * itemsize + offset
            transform_sum(squares, grad_w, (offsets, 0, 1, place + offset), target, more, 0)
