"""Depthwise convolution, one filter for each channel, in compiled loops (Numba).

    y[n, i, j, c] = sum over taps r, s of  x[n, i*stride - top + r*dilation, j*..., c] * w[r, s, c]

No sum runs over channels, so there is no matrix product in it: an output takes R * S products, and
the processor has little more to do than to load and to store. Channels are innermost in memory, and
a vector holds neighbouring channels of one pixel. A few neighbouring pixels of a row are worked on
at once, so that a vector of weights (or of their gradient) is loaded once for all of them:

    forward          the pixels' sums stay in registers;       a tap adds  x[j] * w  to each
    weight gradient  the pixels' gradients stay in registers;  a tap adds  sum over j of x[j] * dy[j]

Pixels can go together if they see the same taps, those that do not lie in the padding. A row of
outputs is therefore cut into *runs* of equal pixels: short ones at its ends, a long one between.

The gradient with respect to x is the first of these sums once more: an input pixel collects from
the output pixels that saw it. At stride 2 these are every second tap only, and which ones depends
on whether the pixel's place is even or odd, so that a run takes every second pixel. Nothing is
multiplied by padded or inserted zeros anywhere, not even infinity or NaN: what meets them in the padding
only stays finite, where the definition has zero times infinity, NaN.
"""

from math import prod

import numpy as np

from ..arrays import channels_first
from ..capture import do, zeros
from ..memory import CACHE_LINE, empty
from ..shapes import IntOrPair, Padding, Shape
from .compiled import compiled, on_threads, plain, thread_count
from .depthwise_plan import Plan, forward_plan, grad_input_plan
from .depthwise_simd import add_products, multiply_pixels
from .flat import SERIAL_PRODUCTS
from .images import images_in_order
from .simd import address_of, panel_width, prefetch
from .streaming import finish_streaming, is_streamed
from .table import address_of as address_of_data
from .target import TILE_VECTORS, VECTOR_BYTES

PIXELS = 4
"""Pixels of a run that are worked on at once.

With TILE_VECTORS vectors each and as many of weights this takes 10 registers. A tap loads 10 vectors
for 8 multiply-adds, of which a processor does two each in a cycle. More pixels would save little, and
rows of small images would be cut badly.
"""

WIDE_PIXELS, WIDE_VECTORS = PIXELS // 2, 2 * TILE_VECTORS
"""The same where pixels have many channels: half the pixels, twice the vectors. Products take a few more loads so,
but memory is read in longer pieces, which counts for more (measured: 64 channels of 112x112 at stride 2 take two
thirds of the time)."""

WIDE_BYTES, MOST_WIDE_BYTES = 2 * WIDE_VECTORS * VECTOR_BYTES, 2**10
"""Pixels have many channels from so many bytes on: two wide blocks. With more than the second number, four pixels are
quicker again (512 channels of 14x14: by a twentieth, the weight gradient by a sixth): weights, or the sums of their
gradient, then come from the L2 cache, and are loaded once for all pixels."""

FETCHED_BYTES = 2**23
"""At a stride, images of so many bytes and more are asked for ahead of time: they come from memory."""

STREAMED_BYTES = 2**24
"""Results from so many bytes on are written past the caches. Smaller ones are often still there when the next layer
reads them: to write 12 MB takes a fifth less time, but the BatchNorm behind takes as much more (measured)."""


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
    """Depthwise convolution of float32 or float64 arrays, see `reference.conv2d`.

    Args:
        x: (N, C, H, W)
        w: (C, 1, R, S)
        stride: steps of the window.
        padding: see `shapes.resolve_padding`.
        dilation: distance between the taps of the window.
        groups: C
        bias: (C,), added to the result.
        relu: whether negative results become 0, and NaN stays NaN.
        scale: (C,), by which the result is multiplied before the bias is added.

    Returns:
        (N, C, OH, OW), a view of memory in the order (N, OH, OW, C)

    Raises:
        ValueError: for a convolution that is not depthwise; otherwise as `reference.conv2d`.
    """
    plan, y_shape = forward_plan(x.shape, w.shape, stride, padding, dilation, groups)
    return _multiply(x, _weight_rows(w, bias, scale), plan, y_shape, relu)


def conv2d_grad_input(
    grad: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient of `conv2d` with respect to x, see `reference.conv2d_grad_input`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    plan = grad_input_plan(tuple(x_shape), w.shape, stride, padding, dilation, groups)
    return _multiply(grad, _weight_rows(w), plan, x_shape)


def conv2d_grad_weight(
    grad: np.ndarray,
    x: np.ndarray,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient of `conv2d` with respect to w, see `reference.conv2d_grad_weight`.

    Returns:
        (C, 1, R, S), a view of memory in the order (R, S, 1, C)
    """
    C, _, R, S = w_shape
    plan, _ = forward_plan(x.shape, tuple(w_shape), stride, padding, dilation, groups)
    threads = 1 if grad.size * R * S < SERIAL_PRODUCTS else thread_count()
    sums = zeros((threads, R * S, _row_length(C, x.itemsize)), x.dtype)
    _add_products_of_rows(threads, images_in_order(x), images_in_order(grad), sums, *plan)
    grad_w = empty((R * S, C), x.dtype)
    if threads == 1:
        do(np.copyto, grad_w, sums[0, :, :C])
    else:
        do(np.add.reduce, sums[:, :, :C], 0, None, grad_w)
    return grad_w.reshape(R, S, 1, C).transpose(3, 2, 0, 1)


def _multiply(
    x: np.ndarray, rows: np.ndarray, plan: Plan, y_shape: Shape, relu: bool = False
) -> np.ndarray:
    N, C, OH, OW = y_shape
    y = _aligned_empty((N, OH, OW, C), x.dtype)
    streams = y.nbytes >= STREAMED_BYTES and is_streamed(y, TILE_VECTORS * VECTOR_BYTES)
    threads = 1 if y.size * (len(rows) - 1) < SERIAL_PRODUCTS else thread_count()
    _multiply_rows(threads, images_in_order(x), rows, y, *plan, int(relu), int(streams))
    return channels_first(y)


def _weight_rows(
    w: np.ndarray, bias: np.ndarray | None = None, scale: np.ndarray | None = None
) -> np.ndarray:
    """Write weights (C, 1, R, S) as rows of channels, one for each tap, and the bias (or zeros) as the last one.

    If there is a `scale` (C,), the weights are multiplied by it.
    """
    C, _, R, S = w.shape
    rows = _aligned_empty((R * S + 1, _row_length(C, w.itemsize)), w.dtype)
    do(np.ndarray.fill, rows, 0)
    taps = plain(w.transpose(2, 3, 1, 0)).reshape(R * S, C)
    do(np.multiply, taps, 1 if scale is None else scale, rows[:-1, :C])
    if bias is not None:
        do(np.copyto, rows[-1, :C], bias)
    return rows


def _row_length(channels: int, itemsize: int) -> int:
    """Room for `channels` in whole blocks, and one block more.

    That one keeps apart what the cache would put in one place: the rows of a power of 2 of channels.
    """
    width = panel_width(itemsize)
    return (-(-channels // width) + 1) * width


def _aligned_empty(shape: Shape, dtype: np.dtype) -> np.ndarray:
    """An array that begins with a cache line, as NumPy's do not: no vector of it then lies in two lines."""
    count = prod(shape)
    memory = empty((count + CACHE_LINE // dtype.itemsize,), dtype)
    first = -address_of_data(memory) % CACHE_LINE // dtype.itemsize
    return memory[first : first + count].reshape(shape)


@on_threads
def _multiply_rows(part, parts, x, weights, y, rows, runs, taps, counts, steps, relu, streams):
    """Compute one part of the rows of y (N, OH, OW, C) from x (N, H, W, C) and weights (R * S + 1, C and more)."""
    N, OH, OW, C = y.shape
    y_step, x_step = steps[0] * C * x.itemsize, steps[1] * C * x.itemsize
    fetches = steps[0] == steps[1] == 1 or x.size * x.itemsize >= FETCHED_BYTES
    is_wide = WIDE_BYTES <= C * x.itemsize <= MOST_WIDE_BYTES
    at_once = WIDE_PIXELS if is_wide else PIXELS
    fetched, x_row = (at_once * x_step if fetches else 0), x.shape[2] * C
    row_bytes = weights.shape[1] * x.itemsize
    tap_rows = address_of(weights, 0), row_bytes
    bias = address_of(weights, 0) + (len(weights) - 1) * row_bytes
    for row in range(part * N * OH // parts, (part + 1) * N * OH // parts):
        n, i = divmod(row, OH)
        image = address_of(x, n * (x.size // N))
        for run in range(len(runs)):
            column, count, offset, kind = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
            y_first = address_of(y, (row * OW + column) * C)
            x_first = image + (rows[i, 0] + offset) * x.itemsize
            first_new, new_rows = _new_rows(i, kind, rows, taps, counts, x_row)
            new_row = image + (first_new + offset) * x.itemsize
            seen = _taps_of(rows[i, 1], kind, taps, counts)
            if count < at_once:
                for j in range(count):
                    xs, ys = (x_first + j * x_step, x_step), (y_first + j * y_step, y_step)
                    multiply_pixels(
                        1, TILE_VECTORS, xs, seen, tap_rows, bias, ys, C, relu, streams, x
                    )
            else:
                for start in range(0, count, at_once):
                    j = min(start, count - at_once)  # the last ones may be computed twice
                    xs, ys = (x_first + j * x_step, x_step), (y_first + j * y_step, y_step)
                    if is_wide:
                        multiply_pixels(
                            WIDE_PIXELS, WIDE_VECTORS,
                            xs, seen, tap_rows, bias, ys, C, relu, streams, x,
                        )  # fmt: skip
                    else:
                        multiply_pixels(
                            PIXELS, TILE_VECTORS,
                            xs, seen, tap_rows, bias, ys, C, relu, streams, x,
                        )  # fmt: skip
                    _fetch(new_row + j * x_step, fetched, new_rows, x_row * x.itemsize)
    if streams:
        finish_streaming()


@on_threads
def _add_products_of_rows(part, parts, x, grad, sums, rows, runs, taps, counts, steps):
    """Add to sums[part] (R * S, C and more) what a part of the rows of grad (N, OH, OW, C) gives with x."""
    N, OH, OW, C = grad.shape
    grad_step, x_step = steps[0] * C * x.itemsize, steps[1] * C * x.itemsize
    fetches = steps[0] == steps[1] == 1 or x.size * x.itemsize >= FETCHED_BYTES
    is_wide = WIDE_BYTES <= C * x.itemsize <= MOST_WIDE_BYTES
    at_once = WIDE_PIXELS if is_wide else PIXELS
    fetched, x_row = (at_once * x_step if fetches else 0), x.shape[2] * C
    tap_rows = address_of(sums, part * (sums.size // parts)), sums.shape[2] * x.itemsize
    for row in range(part * N * OH // parts, (part + 1) * N * OH // parts):
        n, i = divmod(row, OH)
        image = address_of(x, n * (x.size // N))
        for run in range(len(runs)):
            column, count, offset, kind = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
            grad_first = address_of(grad, (row * OW + column) * C)
            x_first = image + (rows[i, 0] + offset) * x.itemsize
            first_new, new_rows = _new_rows(i, kind, rows, taps, counts, x_row)
            new_row = image + (first_new + offset) * x.itemsize
            seen = _taps_of(rows[i, 1], kind, taps, counts)
            whole = count - count % at_once
            for j in range(0, whole, at_once):
                xs, grads = (x_first + j * x_step, x_step), (grad_first + j * grad_step, grad_step)
                if is_wide:
                    add_products(WIDE_PIXELS, WIDE_VECTORS, xs, seen, tap_rows, grads, C, x)
                else:
                    add_products(PIXELS, TILE_VECTORS, xs, seen, tap_rows, grads, C, x)
                _fetch(new_row + j * x_step, fetched, new_rows, x_row * x.itemsize)
                _fetch(grad_first + (j + at_once) * grad_step, at_once * grad_step, 1, 0)
            for j in range(whole, count):
                xs, grads = (x_first + j * x_step, x_step), (grad_first + j * grad_step, grad_step)
                add_products(1, TILE_VECTORS, xs, seen, tap_rows, grads, C, x)


@compiled
def _taps_of(row_kind, column_kind, taps, counts):
    """Where the taps of pixels of these kinds stand, and how many there are."""
    _, column_kinds, size, _ = taps.shape
    first = address_of(taps, (row_kind * column_kinds + column_kind) * size * 2)
    return first, counts[row_kind, column_kind]


@compiled
def _new_rows(i, column_kind, rows, taps, counts, x_row):
    """Which input rows output row i + 1 is the first to see: the offset of the first, and how many."""
    following = min(i + 1, len(rows) - 1)
    first = _last_seen(i, column_kind, rows, taps, counts) + x_row
    last = _last_seen(following, column_kind, rows, taps, counts)
    return first, (last - first) // x_row + 1


@compiled
def _last_seen(i, column_kind, rows, taps, counts):
    """The offset of the last input row that output row i sees."""
    row_kind = rows[i, 1]
    last = max(0, counts[row_kind, column_kind] - 1)
    return rows[i, 0] + taps[row_kind, column_kind, last, 0]


@compiled
def _fetch(address, size, rows, row_bytes):
    """Ask for bytes that will be needed soon, `size` of each of some rows.

    They are those of x that the next row of outputs is the first to see, and the gradients of the next pixels.
    The processor does that by itself for memory that is read in order, but here pixels are read in
    turn, a block of channels of each (8 images of 56x56x128: a quarter less time; at stride 2 a sixth).
    """
    for row in range(rows):
        for line in range(0, size, CACHE_LINE):
            prefetch(address + row * row_bytes + line)
