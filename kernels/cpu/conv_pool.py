"""Convolution, bias, ReLU and max pooling in one pass, for the first layers of small networks.

Forwards, a thread computes a strip of the convolution, a few rows that stay in its cache, and writes
the largest number of each window: three of four results of the convolution never reach memory, and
it has to be computed only where a window lies.

Backwards, the gradient that comes out of the pooling is nearly empty. Of each window only the winner
has one, and where ReLU let nothing pass, nobody has. A winner, pixel p of output channel k with
gradient g, contributes

    grad_w[k] += g * (what p saw)        grad_x[what p saw] += g * w[k]        grad_bias[k] += g

For the weights, the gradients of a few windows at a time are spread over their pixels, with zeros for
the losers, in memory that stays in the cache; the rest is a sum of outer products, as in conv_grad_weight.
For the images, a list is made of the winners of each pooled pixel, and only their filters are added:
with windows of 2x2 and half of the winners negative, an eighth of the multiplications. The windows of
its taps overlap, so all filters are added to their union, a row of which stays in registers meanwhile.
Filters have a frame of zeros for that: an infinite gradient makes NaN of all that the pixel can see.

What a row of the convolution's window sees is one piece of memory, S * C numbers, provided that the
images have their frame of zeros around them, and the taps of a row are neighbours.
"""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from ..arrays import channels_first, channels_last, check_shape, index_dtype
from ..capture import do, zeros
from ..memory import empty
from ..shapes import IntOrPair, Padding, Shape, Sides, conv2d_shape, pair, window_of
from .bias import fold
from .compiled import plain, thread_count
from .conv_pool_loops import compute_strips, follow_winners, strip_pitch
from .flat import SERIAL_PRODUCTS
from .images import images_in_order
from .simd import panel_width
from .target import VECTOR_BYTES

STRIP_BYTES = 16 * 1024
"""About so much of the convolution is computed before it is pooled: half of an L1 cache."""

MOST_WEIGHTS = 2**15
"""With more weights than this, layer by layer is quicker, although it multiplies with the losers' zeros."""


class Plan(NamedTuple):
    """What follows from shapes and settings alone. Offsets are int64, and count elements.

    Attributes:
        frame: of zeros around the images.
        y_shape: (N, PH, PW, K).
        taps: of a pooling window.
        layout: the weights' shape and strides as `conv` packs them, the taps of a row being one.
        seen: (R, pixels of a strip), offsets of what they see from the strip's beginning in the image.
        strip: of an image, how many strips; of a strip, how many pooled rows, and the offset of the
            next; the convolution's pixels for a pooled row, and for a pooled pixel of its first row.
        places: (taps,), offsets in the strip of what a pooled pixel sees.
        won: (taps,), offsets in the image of what the tap's pixel of the convolution sees.
        steps: offset in the image from what a pooled pixel sees to the next below, to the next beside;
            and from a row of the convolution's window to the next.
        inside: offsets in a framed image of the first row and of its first pixel, and of the next row.
        reach: how many rows of the image a pooled pixel can see, through whichever tap, and how many
            numbers of each.
        filter_places: (taps + 1,), offsets in a framed filter, see `_filters`, of what lies over the
            first of these numbers if the tap wins; the last entry is nobody's.
        filter_frame: where in its frame a filter has its rows and columns, and the shape of the frame.
    """

    frame: Sides
    y_shape: Shape
    taps: int
    layout: np.ndarray
    seen: np.ndarray
    strip: np.ndarray
    places: np.ndarray
    won: np.ndarray
    steps: np.ndarray
    inside: np.ndarray
    reach: np.ndarray
    filter_places: np.ndarray
    filter_frame: tuple[slice, slice, tuple[int, int]]


def suits(
    x_shape: Shape,
    w_shape: Shape,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
    pool: IntOrPair,
) -> bool:
    """Whether this way of computing is possible, and quicker than layer by layer, see ../conv_pool.py."""
    _, _, OH, OW = conv2d_shape(x_shape, w_shape, stride, padding, dilation, groups)
    height, width = pair(pool, "max_pool")
    return (
        groups == 1
        and (pair(dilation, "dilation")[1] == 1 or w_shape[3] == 1)
        and 1 <= height <= OH
        and 1 <= width <= OW
        and 0 not in x_shape
        and 0 < prod(w_shape) <= MOST_WEIGHTS
    )


def conv2d_max_pool2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    pool: IntOrPair,
    relu: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See ../conv_pool.py."""
    plan = _plan(x.shape, w.shape, stride, padding, dilation, pool, x.dtype)
    y = empty(plan.y_shape, x.dtype)
    winner = np.empty(plan.y_shape, index_dtype(plan.taps - 1 + relu))
    weights = plain(w.transpose(2, 3, 1, 0)).reshape(-1)  # (R * S * C * K,)
    images = images_in_order(x, plan.frame)
    products = y.size * plan.taps * (w.size // len(w))
    compute_strips(
        1 if products < SERIAL_PRODUCTS else thread_count(),
        images,
        weights,
        plan.layout,
        weights[:0] if bias is None else plain(bias),
        plan.seen,
        plan.strip,
        plan.places,
        x.dtype.type(0 if relu else -np.inf),
        plan.taps if relu else 0,
        y,
        winner,
    )
    return channels_first(y), channels_first(winner), channels_first(images)


def conv2d_max_pool2d_grad(
    grad: np.ndarray,
    winner: np.ndarray,
    framed: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    pool: IntOrPair,
    need_x: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """See ../conv_pool.py."""
    plan = _plan(x_shape, w.shape, stride, padding, dilation, pool, w.dtype)
    K, C, R, S = w.shape
    N, _, H, W = x_shape
    rows, columns = (sum(sides) for sides in plan.frame)
    check_shape(framed, (N, C, H + rows, W + columns), "conv2d_max_pool2d_grad: framed")
    check_shape(grad, (N, K, *plan.y_shape[1:3]), "conv2d_max_pool2d_grad: grad")
    threads = thread_count()
    width = panel_width(w.itemsize)
    sums = zeros((threads, R, S * C, -(-K // width) * width), w.dtype)  # whole panels
    bias_sums = np.empty((threads, K), np.float64)
    grad_x = empty((N, H, W, C) if need_x else (0, 0, 0, 0), w.dtype)
    follow_winners(
        threads,
        plain(channels_last(framed)).reshape(-1),
        _filters(w, plan) if need_x else np.empty((K, 0, 0), w.dtype),
        plain(channels_last(grad)).reshape(-1),
        plain(channels_last(winner)).reshape(-1),
        plan.y_shape,
        plan.won,
        plan.steps,
        plan.inside,
        plan.filter_places,
        plan.reach,
        sums,
        bias_sums,
        grad_x,
    )
    grad_w, grad_bias = empty((R, S * C, K), w.dtype), empty((K,), w.dtype)
    _add_up(sums[..., :K], grad_w)  # without the last panel's unused columns
    fold(1, bias_sums, grad_bias)
    return (
        channels_first(grad_x) if need_x else None,
        grad_w.reshape(R, S, C, K).transpose(3, 2, 0, 1),
        grad_bias,
    )


def _add_up(parts: np.ndarray, total: np.ndarray) -> None:
    """Write the sum of all threads' sums, `parts` (threads, ...)."""
    if len(parts) == 1:
        do(np.copyto, total, parts[0])
        return
    do(np.add, parts[0], parts[1], total)
    for part in parts[2:]:
        do(np.add, total, part, total)


def _filters(w: np.ndarray, plan: Plan) -> np.ndarray:
    """Copy weights (K, C, R, S) to (K, rows, columns), each filter in a frame of zeros.

    A row of a filter is S * C numbers. The frame is as wide as the windows of a pooled pixel's taps
    lie apart, so that each filter can be laid over their union: the zeros are where it sees nothing.
    """
    K, C, R, S = w.shape
    rows, columns, shape = plan.filter_frame
    filters = zeros((K, *shape), w.dtype)
    places = filters[:, rows, columns].reshape(K, R, S, C)  # a view: rows and columns are slices
    do(np.copyto, places, w.transpose(0, 2, 3, 1))
    return filters


@lru_cache(maxsize=1024)
def _plan(
    x_shape: Shape,
    w_shape: Shape,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    pool: IntOrPair,
    dtype: np.dtype,
) -> Plan:
    N, K, OH, OW = conv2d_shape(x_shape, w_shape, stride, padding, dilation, 1)
    window = window_of(w_shape[2:], stride, padding, dilation)
    (R, S), (row_step, column_step) = window.kernel, window.stride
    C, _, W = x_shape[1:]
    length = (W + sum(window.padding[1])) * C  # of a row of a framed image
    height, width = pair(pool, "max_pool")
    PH, PW = OH // height, OW // width

    pitch = strip_pitch(K, dtype.itemsize)
    row_pixels = height * PW * width  # of the convolution, for a row of pooled pixels
    strip_rows = min(PH, max(1, STRIP_BYTES // (row_pixels * pitch * dtype.itemsize)))
    down, right, tap_step = row_step * length, column_step * C, window.dilation[0] * length
    pixels = _offsets(strip_rows * height, down, PW * width, right)
    strip = -(-PH // strip_rows), strip_rows, strip_rows * height * down, row_pixels, width
    (top, _), (left, _) = window.padding

    # Where a filter's own rows and columns begin in its frame, and how many rows of the image it spans.
    first_row, first_column = (height - 1) * row_step, (width - 1) * right
    span = (R - 1) * window.dilation[0] + 1
    filter_rows = 2 * first_row + span
    filter_columns = 2 * first_column + S * C + VECTOR_BYTES // dtype.itemsize
    shifts = _offsets(height, row_step * filter_columns, width, right)
    return Plan(
        frame=window.padding,
        y_shape=(N, PH, PW, K),
        taps=height * width,
        layout=np.array([(1, R, 1, S * C, K), (0, S * C * K, 0, K, 1)]),
        seen=np.add.outer(np.arange(R) * tap_step, pixels),
        strip=np.array(strip),
        places=_offsets(height, PW * width * pitch, width, pitch),
        won=_offsets(height, down, width, right),
        steps=np.array([height * down, width * right, tap_step]),
        inside=np.array([top * length, left * C, length]),
        reach=np.array([first_row + span, first_column + S * C]),
        filter_places=np.append(first_row * filter_columns + first_column - shifts, 0),
        filter_frame=(
            slice(first_row, first_row + span, window.dilation[0]),
            slice(first_column, first_column + S * C),
            (filter_rows, filter_columns),
        ),
    )


def _offsets(rows: int, down: int, columns: int, right: int) -> np.ndarray:
    """The offsets of some rows of some columns, one after the other."""
    return np.add.outer(np.arange(rows) * down, np.arange(columns) * right).reshape(-1)
