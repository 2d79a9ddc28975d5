"""Convolution with 3 x 3 taps in fewer multiplications (Winograd; Lavin and Gray, arXiv 1509.09308).

The output is cut into squares of m x m pixels, m = 4 or 2. What such a square sees, (m + 2) x (m + 2)
pixels d, and the taps g are transformed; transformed numbers are multiplied point by point and summed
over the channels; and what comes out is transformed back:

    y = A^T [ sum over c of  (G g G^T) * (B^T d B) ] A

The sum over the channels is, for each of the (m + 2)^2 points, a product of matrices, (squares x C)
times (C x K). It takes (m + 2)^2 / (9 m^2) of the multiplications of a direct convolution: a quarter
for m = 4, 0.44 for m = 2. The transforms (transforms.py) come on top, and so does rounding: see
docs/08-winograd.md.

The gradient with respect to x is a convolution with the taps flipped. That with respect to w is the
chain rule: every step above is linear, so the gradients pass backwards through the transposed
transforms, and each point adds (C x squares) times (squares x K).

Arrays have the logical order (N, C, H, W) and (K, C, 3, 3); in memory, images are channels-last,
and weights (3, 3, C, K), as conv layers hold them. Other orders are copied first.
"""

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from ..arrays import channels_first
from ..shapes import IntOrPair, Padding, Pair, Shape, Sides, Window, conv2d_shape, window_of
from .compiled import compiled
from .images import images_in_order, plain
from .pointers import Tables, input_seen, point_at_inputs
from .simd import TILE_ROWS, add_outer_products, address_of, multiply_tile, panel_width, prefetch
from .target import L2_BYTES, TILE_VECTORS, VECTOR_BYTES
from .transforms import (
    Squares,
    SquaresOf2,
    SquaresOf4,
    copy_number,
    transform_grad,
    transform_input,
    transform_product,
    transform_sum,
    transform_weight,
)

SHARED_BYTES = 32 * L2_BYTES
"""At most so much is taken by transformed numbers that all threads share: about half of an L3 cache."""

AT_ONCE = 8
"""Squares whose addresses are looked up at a time."""

ROWS_AT_ONCE = 16
"""Input channels whose weights are gathered at a time, a cache line of them; or asked for ahead of time."""

PANELS_AT_ONCE = 2
"""Panels of output channels that are transformed back at a time."""

CACHE_LINE = 64


class Points(NamedTuple):
    """A matrix for each point: row i of point p begins at numbers[first + p * step + i * columns]."""

    numbers: np.ndarray
    first: int
    step: int
    columns: int


class Taps(NamedTuple):
    """Weights in some order: tap t of input c and output k is numbers[first + t*by_tap + c*by_c + k*by_k]."""

    numbers: np.ndarray
    first: int
    by_tap: int
    by_c: int
    by_k: int


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    bias: np.ndarray | None = None,
    relu: bool = False,
    tile: int = 4,
) -> np.ndarray:
    """Convolution of float32 or float64 arrays with 3 x 3 taps, stride 1.

    Args:
        x, w, stride, padding, dilation, groups: see `reference.conv2d`.
        bias: (K,), added to every pixel.
        relu: whether negative results become 0.
        tile: m, the size of the squares: 4, or 2 for less rounding and more multiplications.

    Returns:
        (N, K, OH, OW), a view of memory in the order (N, OH, OW, K)

    Raises:
        ValueError: for other kernel sizes, strides, dilations and groups; otherwise as `reference.conv2d`.
    """
    y_shape = conv2d_shape(x.shape, w.shape, stride, padding, dilation, groups)
    window = _window(w.shape, stride, padding, dilation, groups)
    weights = _weights_in_order(w)
    _, C, K = weights.shape
    taps = Taps(weights.reshape(-1), 0, C * K, K, 1)
    return _convolve(x, taps, K, window.padding, y_shape, bias, relu, tile)


def conv2d_grad_input(
    grad: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    tile: int = 4,
) -> np.ndarray:
    """Gradient with respect to x, see `reference.conv2d_grad_input`; `tile` and errors as for `conv2d`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    window = _window(w.shape, stride, padding, dilation, groups)
    weights = _weights_in_order(w)
    _, C, K = weights.shape
    flipped = Taps(weights.reshape(-1), 8 * C * K, -C * K, 1, K)  # from K to C, the last tap first
    around = tuple((2 - before, 2 - after) for before, after in window.padding)
    return _convolve(grad, flipped, C, around, tuple(x_shape), None, False, tile)


def conv2d_grad_weight(
    grad: np.ndarray,
    x: np.ndarray,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    tile: int = 4,
) -> np.ndarray:
    """Gradient with respect to w, see `reference.conv2d_grad_weight`; `tile` and errors as for `conv2d`.

    Returns:
        (K, C, 3, 3), a view of memory in the order (3, 3, C, K)
    """
    window = _window(w_shape, stride, padding, dilation, groups)
    images, grads = _whole_vectors(images_in_order(x)), _whole_vectors(images_in_order(grad))
    C, K = images.shape[3], grads.shape[3]
    grad_w = np.zeros((3, 3, C, K), x.dtype)
    if grads.size:
        tables = _tables(tile, window.padding, images.shape[1:3], grads.shape[1:3], C, K)
        _run_sums(_squares(tile, len(x), grads.shape[1:3], C, K), images, grads, tables, grad_w)
    K, C = w_shape[:2]
    if grad_w.shape[2:] != (C, K):
        grad_w = np.ascontiguousarray(grad_w[:, :, :C, :K])
    return grad_w.transpose(3, 2, 0, 1)


def _convolve(
    x: np.ndarray,
    taps: Taps,
    K: int,
    padding: Sides,
    y_shape: Shape,
    bias: np.ndarray | None,
    relu: bool,
    tile: int,
) -> np.ndarray:
    """Convolve images (N, C, H, W) to K channels, of which those in `y_shape` are returned."""
    images = _whole_vectors(images_in_order(x))
    N, H, W, C = images.shape
    OH, OW = y_shape[2:]
    y = np.empty((N, OH, OW, K), x.dtype)
    if y.size:
        squares = _squares(tile, N, (OH, OW), C, K)
        seen, written = _tables(tile, padding, (H, W), (OH, OW), C, K)
        start = np.zeros(_panels(K, x.itemsize) * panel_width(x.itemsize), x.dtype)
        if bias is not None:
            start[: len(bias)] = bias
        results = start, relu, written, y
        share_weights = K <= squares.count and len(start) <= _share(squares, C, x.itemsize)
        if MODE != "auto": share_weights = MODE == "tiles"
        run = _run_by_squares if share_weights else _run_by_panels
        run(squares, images, taps, seen, results)
    return channels_first(y if K == y_shape[1] else np.ascontiguousarray(y[..., : y_shape[1]]))


def _run_sums(
    squares: Squares, x: np.ndarray, grad: np.ndarray, tables: tuple[Tables, Tables], grad_w: np.ndarray
) -> None:
    """Transform the inputs of a block, for all threads; then each thread works on panels of its own."""
    threads, width = numba.get_num_threads(), panel_width(x.itemsize)
    seen, written = tables
    squares = squares._replace(block=_even_blocks(squares, min(GBLOCK, _share(squares, squares.C, x.itemsize))))
    inputs = _scratch(1, squares, squares.block, squares.C, x.dtype)[0]
    grads = _scratch(threads, squares, squares.block, width, x.dtype)
    sums = _scratch(threads, squares, _whole_tiles(squares.C), width, x.dtype)
    for first in range(0, squares.count, squares.block):
        last = min(squares.count, first + squares.block)
        _prepare_inputs(threads, squares, first, last, x, seen, inputs)
        _add_up_by_panels(threads, squares, first, last, grad, written, inputs, grads, sums, grad_w)


def _run_by_squares(squares: Squares, x: np.ndarray, taps: Taps, seen: Tables, results: tuple) -> None:
    """Transform the weights, for all threads; then each thread works on blocks of squares of its own."""
    threads, width = numba.get_num_threads(), panel_width(x.itemsize)
    squares = squares._replace(block=_even_blocks(squares, BLOCK_T, threads))
    weights = _scratch(_panels(squares.K, x.itemsize), squares, squares.C, width, x.dtype)
    inputs = _scratch(threads, squares, squares.block, squares.C, x.dtype)
    products = _scratch(threads, squares, squares.block, PANELS_AT_ONCE * width, x.dtype)
    _prepare_weights(squares, taps, weights)
    _convolve_by_squares(threads, squares, x, seen, inputs, weights, products, *results)


def _run_by_panels(squares: Squares, x: np.ndarray, taps: Taps, seen: Tables, results: tuple) -> None:
    """Transform the inputs of a block, for all threads; then each thread works on panels of its own."""
    threads, width = numba.get_num_threads(), panel_width(x.itemsize)
    squares = squares._replace(block=_even_blocks(squares, _share(squares, squares.C, x.itemsize)))
    inputs = _scratch(1, squares, squares.block, squares.C, x.dtype)[0]
    weights = _scratch(threads, squares, squares.C, width, x.dtype)
    products = _scratch(threads, squares, squares.block, width, x.dtype)
    for first in range(0, squares.count, squares.block):
        last = min(squares.count, first + squares.block)
        _prepare_inputs(threads, squares, first, last, x, seen, inputs)
        _convolve_by_panels(threads, squares, first, last, taps, inputs, weights, products, *results)


MODE="auto"
GBLOCK=192
BLOCK_T=48


def _window(
    w_shape: Shape, stride: IntOrPair, padding: Padding, dilation: IntOrPair, groups: int
) -> Window:
    """Spell out the settings, and refuse those that this algorithm is not for."""
    window = window_of(w_shape[2:], stride, padding, dilation)
    if window[:2] != ((3, 3), (1, 1)) or window.dilation != (1, 1) or groups != 1:
        raise ValueError(
            'conv2d: algorithm="winograd" is for 3 x 3 taps with stride 1, dilation 1 and groups 1, got '
            f"w {tuple(w_shape)}, stride {stride!r}, dilation {dilation!r}, groups {groups!r}; "
            'use algorithm="auto" or "direct"'
        )
    return window


def _squares(tile: int, N: int, size: Pair, C: int, K: int) -> Squares:
    """Cut N outputs of a size into squares; all are worked on at a time."""
    count = N * -(-size[0] // tile) * -(-size[1] // tile)
    return {2: SquaresOf2, 4: SquaresOf4}[tile](tile, count, C, K, count)


@lru_cache(maxsize=1024)
def _tables(
    tile: int, padding: Sides, image_size: Pair, output_size: Pair, C: int, K: int
) -> tuple[Tables, Tables]:
    """The offsets of what each row and column of squares sees, and of where its results go."""
    count = tuple(-(-size // tile) for size in output_size)
    seen = Window((tile + 2, tile + 2), (tile, tile), padding, (1, 1))
    written = Window((tile, tile), (tile, tile), ((0, 0), (0, 0)), (1, 1))
    return input_seen(seen, image_size, count, C), input_seen(written, output_size, count, K)


def _whole_vectors(array: np.ndarray, axes: int = 1) -> np.ndarray:
    """Return an array with zeros at the end of its last axes, up to a whole number of vectors; often itself."""
    lanes = panel_width(array.itemsize) // TILE_VECTORS
    missing = [-size % lanes for size in array.shape[-axes:]]
    if not any(missing):
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - axes) + [(0, count) for count in missing])


def _weights_in_order(w: np.ndarray) -> np.ndarray:
    """Return weights (K, C, 3, 3) as contiguous (9, C, K), in whole vectors; no copy if they are that already."""
    K, C = w.shape[:2]
    return _whole_vectors(plain(w.transpose(2, 3, 1, 0)).reshape(9, C, K), axes=2)


def _scratch(count: int, squares: Squares, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Memory for `count` times a matrix for each point, see `_points`."""
    line = CACHE_LINE // dtype.itemsize
    return np.empty((count, (squares.m + 2) ** 2 * (rows * columns + line) + line), dtype)


def _panels(K: int, itemsize: int) -> int:
    return -(-K // panel_width(itemsize))


def _whole_tiles(rows: int) -> int:
    return -(-rows // TILE_ROWS) * TILE_ROWS


def _share(squares: Squares, C: int, itemsize: int) -> int:
    """How many rows of C numbers, a matrix of them for each point, fit into SHARED_BYTES."""
    return SHARED_BYTES // ((squares.m + 2) ** 2 * C * itemsize)


def _even_blocks(squares: Squares, most: int, threads: int = 1) -> int:
    """Squares of a block, whole tiles, so that blocks are about even and each thread has as many."""
    blocks = -(-squares.count // (most * threads)) * threads
    return _whole_tiles(-(-squares.count // blocks))


@compiled(parallel=True)
def _prepare_weights(squares, taps, weights):
    """Transform all weights, panel p to weights[p], which the threads then share."""
    for panel in numba.prange(len(weights)):
        _transform_weights(squares, taps, np.int64(panel), weights[panel])


@compiled(parallel=True)
def _prepare_inputs(threads, squares, first, last, x, seen, inputs):
    """Transform what squares first ... last see, which the threads then share."""
    for part in numba.prange(threads):
        begin, end = first + part * (last - first) // threads, first + (part + 1) * (last - first) // threads
        _transform_inputs(squares, np.int64(begin), np.int64(end), x, seen, np.int64(begin - first), inputs)


@compiled(parallel=True)
def _convolve_by_squares(
    threads, squares, x, seen, inputs, weights, products, start, relu, written, y
):
    """Each thread has squares of its own, from the images to the results."""
    for part in numba.prange(threads):
        _convolve_squares(
            np.int64(part), threads, squares, x, seen, inputs, weights, products, start, relu, written, y
        )


@compiled(parallel=True)
def _convolve_by_panels(
    threads, squares, first, last, taps, inputs, weights, products, start, relu, written, y
):
    """Each thread has panels of its own, from the weights to the results of squares first ... last."""
    for part in numba.prange(threads):
        _convolve_panels(
            np.int64(part), threads, squares, first, last, taps, inputs, weights, products, start, relu, written, y
        )


@compiled(parallel=True)
def _add_up_by_panels(
    threads, squares, first, last, grad, written, inputs, grads, sums, grad_w
):
    """Each thread has panels of its own, to which it adds what squares first ... last contribute."""
    for part in numba.prange(threads):
        _add_up_panels(
            np.int64(part), threads, squares, first, last, grad, written, inputs, grads, sums, grad_w
        )


@compiled
def _convolve_squares(
    part, parts, squares, x, seen, inputs, weights, products, start, relu, written, y
):
    """Work out one part of the blocks of squares, from the images to the results."""
    width = panel_width(x.itemsize)
    panels = len(weights)
    blocks = (squares.count + squares.block - 1) // squares.block
    for block in range(part * blocks // parts, (part + 1) * blocks // parts):
        first = block * squares.block
        last = min(squares.count, first + squares.block)
        _transform_inputs(squares, first, last, x, seen, 0, inputs[part])
        for panel in range(0, panels, PANELS_AT_ONCE):
            columns = min(PANELS_AT_ONCE, panels - panel) * width
            for i in range(0, columns, width):
                k = panel * width + i
                _multiply(squares, inputs[part], weights[k // width], last - first, start, k, products[part], columns, i)
            _transform_products(squares, products[part], columns, relu, written, first, last, panel * width, y)


@compiled
def _convolve_panels(
    part, parts, squares, first, last, taps, inputs, weights, products, start, relu, written, y
):
    """Work out one part of the panels for squares first ... last, whose transformed inputs are given."""
    width = panel_width(y.itemsize)
    panels = len(start) // width
    for panel in range(part * panels // parts, (part + 1) * panels // parts):
        _transform_weights(squares, taps, panel, weights[part])
        _multiply(squares, inputs, weights[part], last - first, start, panel * width, products[part], width, 0)
        _transform_products(squares, products[part], width, relu, written, first, last, panel * width, y)


@compiled
def _add_up_panels(
    part, parts, squares, first, last, grad, written, inputs, grads, sums, grad_w
):
    """Add to one part of the panels of grad_w what squares first ... last contribute."""
    width = panel_width(grad.itemsize)
    panels = (squares.K + width - 1) // width
    for panel in range(part * panels // parts, (part + 1) * panels // parts):
        _transform_grads(squares, grad, written, first, last, panel * width, grads[part])
        _add_products(squares, inputs, grads[part], last - first, sums[part])
        _transform_sums(squares, sums[part], panel * width, first > 0, grad_w)


@compiled
def _points(squares, numbers, rows, columns):
    """Lay a matrix for each point out in `numbers`, each followed by an unused cache line.

    So the same element of two points is never a multiple of 4096 bytes apart, where all points would
    compete for the same few places of the L1 cache.
    """
    first = -address_of(numbers, 0) % CACHE_LINE // numbers.itemsize
    step = rows * columns + CACHE_LINE // numbers.itemsize
    return Points(numbers, first, step, columns)


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
def _transform_inputs(squares, first, last, x, seen, row, inputs):
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
def _transform_weights(squares, taps, panel, weights):
    """G g G^T for a panel of output channels: rows c, columns k. Columns from K on are left as they are."""
    itemsize = weights.itemsize
    width = panel_width(itemsize)
    points = _points(squares, weights, squares.C, width)
    offsets = _offsets(squares, points)
    columns = min(width, squares.K - panel * width)
    first = address_of(taps.numbers, taps.first + panel * width * taps.by_k)
    gathered = np.empty(9 * ROWS_AT_ONCE * width, weights.dtype)
    lie_in_rows = taps.by_k == 1
    rows = np.empty(9, np.int64)
    for tap in range(9):
        if lie_in_rows:
            rows[tap] = first + tap * taps.by_tap * itemsize
        else:
            rows[tap] = address_of(gathered, tap * ROWS_AT_ONCE * width)
    for c in range(squares.C):
        if lie_in_rows:
            offset = c * taps.by_c * itemsize
            for tap in range(9):
                prefetch(rows[tap] + offset + ROWS_AT_ONCE * taps.by_c * itemsize)
        else:
            offset = c % ROWS_AT_ONCE * width * itemsize
            if offset == 0:
                count = min(ROWS_AT_ONCE, squares.C - c)
                _gather(taps, first + c * taps.by_c * itemsize, count, columns, rows, width)
        place = _place(points, c)
        for k in range(0, columns * itemsize, VECTOR_BYTES):
            transform_weight(squares, weights, (rows, 0, 1, offset + k), (offsets, 0, 1, place + k), 0, 0)


@compiled
def _gather(taps, first, count, columns, rows, width):
    """Copy the weights of `count` input channels to `rows`, one for each tap: (count, width)."""
    itemsize = taps.numbers.itemsize
    for tap in range(9):
        for k in range(columns):
            source = first + (tap * taps.by_tap + k * taps.by_k) * itemsize
            for c in range(count):
                copy_number(
                    rows[tap] + (c * width + k) * itemsize, source + c * taps.by_c * itemsize, taps.numbers
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
                x_rows, TILE_ROWS, weights, panel, y_rows, column * itemsize, begin, 1, squares.C, 0, width
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
                pointers, AT_ONCE, square, squares.count - 1, images, address_of(outside, 0), written
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
                pointers, AT_ONCE, square, squares.count - 1, images, address_of(outside, 0), written
            )
        place = _place(points, square - first)
        for offset in range(0, min(width, squares.K - k) * itemsize, VECTOR_BYTES):
            source = pointers, i, AT_ONCE, k * itemsize + offset
            transform_grad(squares, grad, source, (offsets, 0, 1, place + offset), 0, 0)


@compiled
def _add_products(squares, inputs, grads, count, sums):
    """For each point, inputs (C, count) times grads (count, width), to sums (C, width).

    Rows are summed in whole tiles. Those from C on are sums of numbers that happen to lie behind,
    and nobody reads them.
    """
    itemsize = inputs.itemsize
    width = panel_width(itemsize)
    rows = (squares.C + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    x_points = _points(squares, inputs, squares.block, squares.C)
    grad_points = _points(squares, grads, squares.block, width)
    sum_points = _points(squares, sums, rows, width)
    x_offsets, grad_offsets, sum_offsets = (
        _offsets(squares, x_points), _offsets(squares, grad_points), _offsets(squares, sum_points)
    )
    pixels = np.empty(count, np.int64)
    for square in range(count):
        pixels[square] = _place(x_points, square)
    for point in range(len(x_offsets)):
        panel = inputs, _place(grad_points, 0) + grad_offsets[point]
        for c in range(0, squares.C, TILE_ROWS):
            add_outer_products(
                pixels, 0, x_offsets[point] + c * itemsize, TILE_ROWS, panel,
                _place(sum_points, c) + sum_offsets[point], width * itemsize, count, 0, width,
            )


@compiled
def _transform_sums(squares, sums, k, more, grad_w):
    """G^T [...] G for output channels k ... k + width, into grad_w (3, 3, C, K) or, with `more`, added to it."""
    itemsize = grad_w.itemsize
    width = panel_width(itemsize)
    rows = (squares.C + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    points = _points(squares, sums, rows, width)
    offsets = _offsets(squares, points)
    targets = np.empty(9, np.int64)
    for tap in range(9):
        targets[tap] = address_of(grad_w, tap * squares.C * squares.K)
    for c in range(squares.C):
        place = _place(points, c)
        for offset in range(0, min(width, squares.K - k) * itemsize, VECTOR_BYTES):
            target = targets, 0, 1, (c * squares.K + k) * itemsize + offset
            transform_sum(squares, grad_w, (offsets, 0, 1, place + offset), target, more, 0)
