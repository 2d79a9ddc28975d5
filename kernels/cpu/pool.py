"""Max and average pooling in compiled loops (Numba): one pass forward, one backward.

Each pixel of a result is computed once, by one thread, from the pixels that it depends on: forward,
the input pixels that an output pixel sees through the taps of its window; backward, the other way
round, the output pixels whose windows saw an input pixel. Tables of rows
and of columns say which, and `pool_simd` does the rest for all channels of a pixel.

Names, arguments and results are those of the sibling for NumPy and CuPy, `kernels/pool.py`.
"""

from typing import NamedTuple

import numpy as np

from ..arrays import channels_first, channels_last, check_float_array, check_shape, index_dtype
from ..capture import do
from ..memory import empty
from ..pool import cached, counts, pool_layout
from ..shapes import IntOrPair, Shape, Sides
from .blocks import LONGEST_VECTOR
from .compiled import compiled, on_threads, plain, thread_count
from .pool_simd import add_gradients_won, add_up, keep_largest


def max_pool2d(
    x: np.ndarray,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    relu: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The largest element of each window, see `pool.max_pool2d`.

    Returns:
        the maxima and the winners (N, C, OH, OW), views of memory in the order (N, OH, OW, C)
    """
    check_float_array(x, "max_pool2d: x")
    plan = _plan(x.shape, kernel, stride, padding, dilation, ceil_mode)
    y = empty(plan.memory_shape, x.dtype)
    winner = np.empty(plan.memory_shape, index_dtype(plan.taps - 1 + relu))
    threshold = x.dtype.type(0 if relu else np.nan)
    _maxima(thread_count(), _in_memory_order(x), *plan.seen, threshold, plan.taps, y, winner)
    return channels_first(y), channels_first(winner)


def max_pool2d_grad(
    grad: np.ndarray,
    winner: np.ndarray,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> np.ndarray:
    """Gradient with respect to x, see `pool.max_pool2d_grad`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    plan = _plan(x_shape, kernel, stride, padding, dilation, ceil_mode)
    check_shape(grad, plan.shape, "max_pool2d_grad: grad")
    check_shape(winner, plan.shape, "max_pool2d_grad: winner")
    N, C, H, W = x_shape
    grad_x = empty((N, H, W, C), grad.dtype)
    _gradients_won(
        thread_count(),
        _in_memory_order(grad),
        _in_memory_order(winner),
        *plan.seen_by,
        grad_x,
    )
    return channels_first(grad_x)


def avg_pool2d(
    x: np.ndarray,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """The mean of each window, see `pool.avg_pool2d`.

    Returns:
        (N, C, OH, OW), a view of memory in the order (N, OH, OW, C)
    """
    check_float_array(x, "avg_pool2d: x")
    plan = _plan(x.shape, kernel, stride, padding, 1, ceil_mode)
    count = _counts(x.shape, x.dtype, kernel, stride, padding, ceil_mode, count_include_pad)
    same_everywhere = isinstance(count, float)
    y = empty(plan.memory_shape, x.dtype)
    divisor = x.dtype.type(count if same_everywhere else 1)
    _sums(thread_count(), _in_memory_order(x), *plan.seen, divisor, y)
    if not same_everywhere:
        do(np.true_divide, y, count, y)
    return channels_first(y)


def avg_pool2d_grad(
    grad: np.ndarray,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """Gradient with respect to x, see `pool.avg_pool2d_grad`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    plan = _plan(x_shape, kernel, stride, padding, 1, ceil_mode)
    check_shape(grad, plan.shape, "avg_pool2d_grad: grad")
    count = _counts(x_shape, grad.dtype, kernel, stride, padding, ceil_mode, count_include_pad)
    same_everywhere = isinstance(count, float)
    grad_y = _in_memory_order(grad) if same_everywhere else channels_last(grad) / count
    N, C, H, W = x_shape
    grad_x = empty((N, H, W, C), grad.dtype)
    divisor = grad.dtype.type(count if same_everywhere else 1)
    _sums(thread_count(), np.ascontiguousarray(grad_y), *plan.seen_by, divisor, grad_x)
    return channels_first(grad_x)


# --- tables: which pixel sees which ---------------------------------------------------------------


class _Plan(NamedTuple):
    """All that a pooling needs to know beside the numbers.

    `seen` holds the tables (see `pool_simd`) of the input rows and columns that the outputs see,
    `seen_by` those of the output rows and columns that see the inputs.
    """

    shape: Shape  # (N, C, OH, OW)
    memory_shape: Shape  # (N, OH, OW, C)
    taps: int  # R * S
    seen: tuple[np.ndarray, np.ndarray]
    seen_by: tuple[np.ndarray, np.ndarray]


@cached
def _plan(
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair | Sides,
    dilation: IntOrPair,
    ceil_mode: bool,
) -> _Plan:
    layout = pool_layout(x_shape, kernel, stride, padding, dilation, ceil_mode)
    (N, C, H, W), (OH, OW), (R, S) = x_shape, layout.output_size, layout.window.kernel
    seen, seen_by = [], []
    for size, count, taps, step, (before, _), spacing, per_tap, in_step, out_step in zip(
        (H, W), (OH, OW), *layout.window, (S, 1), (W * C, C), (OW * C, C), strict=True
    ):
        inputs = np.arange(count)[:, None] * step - before + np.arange(taps) * spacing  # (OH, R)
        seen.append(_table(inputs, size, in_step, per_tap))
        steps = np.arange(size)[:, None] + before - np.arange(taps) * spacing  # (H, R)
        outputs = np.where(steps % step == 0, steps // step, -1)
        seen_by.append(_table(outputs, count, out_step, per_tap))
    return _Plan((N, C, OH, OW), (N, OH, OW, C), R * S, tuple(seen), tuple(seen_by))


def _table(partners: np.ndarray, size: int, step: int, per_tap: int) -> np.ndarray:
    """Make a table (I, 1 + 2 M) from the partners (I, taps) of each row, leaving out those outside 0...size."""
    exists = (partners >= 0) & (partners < size)
    count = exists.sum(axis=1)  # (I,)
    most = max(1, count.max())
    order = np.argsort(~exists, axis=1, kind="stable")[:, :most]  # those that exist first, by tap
    table = np.empty((len(partners), 1 + 2 * most), np.int64)
    table[:, 0] = count
    table[:, 1::2] = np.take_along_axis(partners, order, 1) * step
    table[:, 2::2] = order * per_tap
    return table


@cached
def _counts(x_shape, dtype, kernel, stride, padding, ceil_mode, count_include_pad):
    """What each mean divides by: one number, or (OH, OW, 1)."""
    layout = pool_layout(x_shape, kernel, stride, padding, 1, ceil_mode)
    return counts(np.empty(0, dtype), layout, count_include_pad)


def _in_memory_order(x: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) as contiguous (N, H, W, C); no copy if that is their order in memory."""
    return plain(channels_last(x))


# --- compiled loops -------------------------------------------------------------------------------


@on_threads
def _maxima(part, threads, x, rows, columns, threshold, nobody, y, winner):
    """Write one thread's share of the rows of y and winner (N, OH, OW, C); x is (N, H, W, C)."""
    N, OH, OW, C = y.shape
    image_size = x.shape[1] * x.shape[2] * C
    end = (part + 1) * N * OH // threads
    for row in range(part * N * OH // threads, end):
        n, i = divmod(row, OH)
        spill = _may_spill((end - row - 1) * OW * C, x, n, rows, i)
        for j in range(OW):
            keep_largest(
                x, n * image_size, rows, i * rows.shape[1], columns, j * columns.shape[1],
                threshold, nobody, y, winner, (row * OW + j) * C, C, spill,
            )  # fmt: skip


@on_threads
def _gradients_won(part, threads, grad, winner, rows, columns, grad_x):
    """Write one thread's share of the rows of grad_x (N, H, W, C); grad and winner are (N, OH, OW, C)."""
    N, H, W, C = grad_x.shape
    image_size = grad.shape[1] * grad.shape[2] * C
    end = (part + 1) * N * H // threads
    for row in range(part * N * H // threads, end):
        n, i = divmod(row, H)
        spill = _may_spill((end - row - 1) * W * C, grad, n, rows, i)
        for j in range(W):
            add_gradients_won(
                grad, winner, n * image_size, rows, i * rows.shape[1], columns, j * columns.shape[1],
                grad_x, (row * W + j) * C, C, spill,
            )  # fmt: skip


@on_threads
def _sums(part, threads, x, rows, columns, divisor, y):
    """Write one thread's share of the rows of y (N, OH, OW, C), sums over x (N, H, W, C), or the other way round."""
    N, OH, OW, C = y.shape
    image_size = x.shape[1] * x.shape[2] * C
    end = (part + 1) * N * OH // threads
    for row in range(part * N * OH // threads, end):
        n, i = divmod(row, OH)
        spill = _may_spill((end - row - 1) * OW * C, x, n, rows, i)
        for j in range(OW):
            add_up(
                x, n * image_size, rows, i * rows.shape[1], columns, j * columns.shape[1],
                divisor, y, (row * OW + j) * C, C, spill,
            )  # fmt: skip


@compiled
def _may_spill(behind, x, n, rows, i):
    """Whether whole vectors fit: this thread writes `behind` elements after row i, and x goes on after what row i sees.

    Args:
        behind: elements of the result after this row.
        x: images (N, H, W, C) that the row is made from.
        n: number of the image.
        rows: table of rows.
        i: number of the row.
    """
    _, H, W, C = x.shape
    farthest = 0
    for m in range(rows[i, 0]):
        farthest = max(farthest, rows[i, 1 + 2 * m])
    end = (n * H * W + W) * C + farthest
    return behind >= LONGEST_VECTOR and end + LONGEST_VECTOR <= x.size
