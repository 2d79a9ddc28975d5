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

import operator
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..arrays import channels_first
from ..capture import do, zeros
from ..memory import CACHE_LINE, empty
from ..shapes import IntOrPair, Padding, Pair, Shape, Sides, Window, conv2d_shape
from .compiled import on_threads, plain, thread_count
from .images import images_in_order
from .pointers import Tables, input_seen
from .simd import TILE_ROWS, panel_width
from .target import L2_BYTES, TILE_VECTORS
from .winograd_plan import Squares, squares_of, suits, window_for
from .winograd_steps import (
    PANELS_AT_ONCE,
    Taps,
    add_up_panels,
    convolve_panels,
    convolve_squares,
    transform_inputs,
    transform_weights,
)

__all__ = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight", "suits"]

SHARED_BYTES = 32 * L2_BYTES
"""At most so much is taken by transformed numbers that all threads share: about half of an L3 cache."""

OWN_SQUARES = 48
"""Squares that a thread works on at a time, where it has squares of its own: about what its L2 cache holds."""


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
    tile: int | None = None,
) -> np.ndarray:
    """Convolution of float32 or float64 arrays with 3 x 3 taps, stride 1.

    Args:
        x: images (N, C, H, W).
        w: weights (K, C, 3, 3).
        stride: must be 1.
        padding: see `shapes.resolve_padding`.
        dilation: must be 1.
        groups: must be 1.
        bias: (K,), added to every pixel.
        relu: whether negative results become 0.
        scale: (K,), by which every pixel is multiplied before the bias is added.
        tile: m, the size of the squares: 4, or 2 for less rounding and often more multiplications;
            None for whichever takes fewer.

    Returns:
        (N, K, OH, OW), a view of memory in the order (N, OH, OW, K)

    Raises:
        ValueError: for other kernel sizes, strides, dilations and groups; otherwise as `reference.conv2d`.
    """
    y_shape = conv2d_shape(x.shape, w.shape, stride, padding, dilation, groups)
    window = window_for(w.shape, stride, padding, dilation, groups)
    weights = _weights_in_order(w)
    _, C, K = weights.shape
    numbers = weights.reshape(-1)
    factors = numbers[:0] if scale is None else _of_panels(scale, K, x.dtype)
    taps = Taps(numbers, 0, C * K, K, 1, factors)
    return _convolve(x, taps, K, window.padding, y_shape, bias, relu, tile)


def conv2d_grad_input(
    grad: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    tile: int | None = None,
) -> np.ndarray:
    """Gradient with respect to x, see `reference.conv2d_grad_input`; `tile` and errors as for `conv2d`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    window = window_for(w.shape, stride, padding, dilation, groups)
    weights = _weights_in_order(w)
    _, C, K = weights.shape
    numbers = weights.reshape(-1)
    flipped = Taps(numbers, 8 * C * K, -C * K, 1, K, numbers[:0])  # from K to C, the last tap first
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
    tile: int | None = None,
) -> np.ndarray:
    """Gradient with respect to w, see `reference.conv2d_grad_weight`; `tile` and errors as for `conv2d`.

    Returns:
        (K, C, 3, 3), a view of memory in the order (3, 3, C, K)
    """
    window = window_for(w_shape, stride, padding, dilation, groups)
    images, grads = _whole_vectors(images_in_order(x)), _whole_vectors(images_in_order(grad))
    C, K = images.shape[3], grads.shape[3]
    grad_w = (empty if grads.size else zeros)((3, 3, C, K), x.dtype)
    if grads.size:
        squares = squares_of(tile, len(x), grads.shape[1:3], C, K)
        tables = _tables(squares.m, window.padding, images.shape[1:3], grads.shape[1:3], C, K)
        _run_sums(squares, images, grads, tables, grad_w)
    K, C = w_shape[:2]
    if grad_w.shape[2:] != (C, K):
        grad_w = plain(grad_w[:, :, :C, :K])
    return grad_w.transpose(3, 2, 0, 1)


def _convolve(
    x: np.ndarray,
    taps: Taps,
    K: int,
    padding: Sides,
    y_shape: Shape,
    bias: np.ndarray | None,
    relu: bool,
    tile: int | None,
) -> np.ndarray:
    """Convolve images (N, C, H, W) to K channels, of which those in `y_shape` are returned."""
    images = _whole_vectors(images_in_order(x))
    N, H, W, C = images.shape
    OH, OW = y_shape[2:]
    y = empty((N, OH, OW, K), x.dtype)
    if y.size:
        squares = squares_of(tile, N, (OH, OW), C, K)
        seen, written = _tables(squares.m, padding, (H, W), (OH, OW), C, K)
        start = _of_panels(() if bias is None else bias, K, x.dtype)
        results = start, relu, written, y
        share_weights = squares.count >= K and len(start) <= _share(squares, C, x.itemsize)
        run = _run_by_squares if share_weights else _run_by_panels
        run(squares, images, taps, seen, results)
    return channels_first(y if y_shape[1] == K else plain(y[..., : y_shape[1]]))


def _run_sums(
    squares: Squares,
    x: np.ndarray,
    grad: np.ndarray,
    tables: tuple[Tables, Tables],
    grad_w: np.ndarray,
) -> None:
    """Transform the inputs of a block, for all threads; then each thread works on panels of its own."""
    threads, width = thread_count(), panel_width(x.itemsize)
    seen, written = tables
    share = _share(squares, squares.C, x.itemsize)
    in_cache = L2_BYTES // ((squares.m + 2) ** 2 * width * x.itemsize)
    # A panel's gradients stay in the L2 cache; or there are so many squares that sums are rarely transformed.
    most = min(share, max(in_cache, squares.C))
    squares = squares._replace(block=_even_blocks(squares, most))
    inputs = _scratch(1, squares, squares.block, squares.C, x.dtype)[0]
    grads = _scratch(threads, squares, squares.block, width, x.dtype)
    sums = _scratch(threads, squares, _whole_tiles(squares.C), width, x.dtype)
    for first in range(0, squares.count, squares.block):
        last = min(squares.count, first + squares.block)
        _prepare_inputs(threads, squares, first, last, x, seen, inputs)
        add_up_panels(threads, squares, first, last, grad, written, inputs, grads, sums, grad_w)


def _run_by_squares(
    squares: Squares, x: np.ndarray, taps: Taps, seen: Tables, results: tuple
) -> None:
    """Transform the weights, for all threads; then each thread works on blocks of squares of its own."""
    threads, width = thread_count(), panel_width(x.itemsize)
    squares = squares._replace(block=_even_blocks(squares, OWN_SQUARES, threads))
    weights = _scratch(_panels(squares.K, x.itemsize), squares, squares.C, width, x.dtype)
    inputs = _scratch(threads, squares, squares.block, squares.C, x.dtype)
    products = _scratch(threads, squares, squares.block, PANELS_AT_ONCE * width, x.dtype)
    _prepare_weights(threads, squares, taps, weights)
    convolve_squares(threads, squares, x, seen, inputs, weights, products, *results)


def _run_by_panels(
    squares: Squares, x: np.ndarray, taps: Taps, seen: Tables, results: tuple
) -> None:
    """Transform the inputs of a block, for all threads; then each thread works on panels of its own."""
    threads, width = thread_count(), panel_width(x.itemsize)
    squares = squares._replace(block=_even_blocks(squares, _share(squares, squares.C, x.itemsize)))
    inputs = _scratch(1, squares, squares.block, squares.C, x.dtype)[0]
    weights = _scratch(threads, squares, squares.C, width, x.dtype)
    products = _scratch(threads, squares, squares.block, width, x.dtype)
    for first in range(0, squares.count, squares.block):
        last = min(squares.count, first + squares.block)
        _prepare_inputs(threads, squares, first, last, x, seen, inputs)
        convolve_panels(threads, squares, first, last, taps, inputs, weights, products, *results)


@lru_cache(maxsize=1024)
def _tables(
    m: int, padding: Sides, image_size: Pair, output_size: Pair, C: int, K: int
) -> tuple[Tables, Tables]:
    """The offsets of what each row and column of squares sees, and of where its results go."""
    count = tuple(-(-size // m) for size in output_size)
    seen = Window((m + 2, m + 2), (m, m), padding, (1, 1))
    written = Window((m, m), (m, m), ((0, 0), (0, 0)), (1, 1))
    return input_seen(seen, image_size, count, C), input_seen(written, output_size, count, K)


def _whole_vectors(array: np.ndarray, axes: int = 1) -> np.ndarray:
    """Return an array with zeros at the end of its last axes, up to a whole number of vectors; often itself."""
    lanes = panel_width(array.itemsize) // TILE_VECTORS
    missing = [-size % lanes for size in array.shape[-axes:]]
    if not any(missing):
        return array
    whole = array.shape[:-axes] + tuple(map(operator.add, array.shape[-axes:], missing))
    padded = zeros(whole, array.dtype)
    do(np.copyto, padded[tuple(map(slice, array.shape))], array)
    return padded


def _weights_in_order(w: np.ndarray) -> np.ndarray:
    """Return weights (K, C, 3, 3) as contiguous (9, C, K), in whole vectors; no copy if they are that already."""
    K, C = w.shape[:2]
    return _whole_vectors(plain(w.transpose(2, 3, 1, 0)).reshape(9, C, K), axes=2)


def _scratch(count: int, squares: Squares, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Memory for `count` times a matrix for each point, see `_points`."""
    line = CACHE_LINE // dtype.itemsize
    return empty((count, (squares.m + 2) ** 2 * (rows * columns + line) + line), dtype)


def _of_panels(numbers: Sequence[float], K: int, dtype: np.dtype) -> np.ndarray:
    """Numbers of output channels, and zeros after them, for all columns of the panels of K channels."""
    columns = np.zeros(_panels(K, dtype.itemsize) * panel_width(dtype.itemsize), dtype)
    do(np.copyto, columns[: len(numbers)], numbers)
    return columns


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


@on_threads
def _prepare_weights(part, parts, squares, taps, weights):
    """Transform all weights, panel p to weights[p], which the threads then share."""
    for panel in range(part, len(weights), parts):
        transform_weights(squares, taps, panel, weights[panel])


@on_threads
def _prepare_inputs(part, parts, squares, first, last, x, seen, inputs):
    """Transform what squares first ... last see, which the threads then share."""
    begin, end = part * (last - first) // parts, (part + 1) * (last - first) // parts
    transform_inputs(squares, first + begin, first + end, x, seen, begin, inputs)
