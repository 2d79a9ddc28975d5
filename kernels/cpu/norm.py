"""Batch normalisation in compiled loops (Numba): two passes over memory each way; contracts in ../norm.py.

Forward, the first pass sums up, the second writes y; backward, the first sums the gradients of weight
and bias, the second writes that of x. Each pass reads an image as rows of channels, in memory order,
and leaves the numbers to `norm_simd`.

Sums are taken of x minus a number near the mean (the mean of a few rows), so that a large mean does
not swallow a small variance; in float32 over a block of rows, which stays in the cache, and in
float64 over the blocks. The rows are divided among the threads, and each thread has its own sums.
"""

from functools import lru_cache

import numpy as np

from .. import norm as numpy_norm
from ..capture import do
from ..memory import empty
from .compiled import is_plain, on_threads, plain, thread_count
from .norm_simd import (
    BLOCK_BYTES,
    sum_differences,
    sum_gradients,
    write_gradients,
    write_normalized,
)
from .streaming import finish_streaming, is_streamed

LEAST_WIDTH = 64  # numbers in a row that are worth a loop of their own
SUMMED_ROWS = 64  # rows that are summed in the precision of x
WRITTEN_ROWS = (
    4  # rows written together, block of channels by block: more would be too many places at a time
)
SUM_UP, WRITE = 0, 1  # the passes
TYPICAL_ROWS = 16  # rows whose mean is near enough to the mean of all


def batch_norm(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    residual: np.ndarray | None = None,
    relu: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """See ../norm.py."""
    statistics = tuple(np.empty((3, x.shape[1])))
    y = _forward(x, weight, bias, statistics, eps, residual, relu, SUM_UP)
    return y, *statistics


def apply_statistics(
    x: np.ndarray,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    residual: np.ndarray | None = None,
    relu: bool = False,
) -> np.ndarray:
    """See ../norm.py."""
    statistics = _in_float64(mean), _in_float64(inverse_std), None
    return _forward(x, weight, bias, statistics, 0.0, residual, relu, WRITE)


def _forward(x, weight, bias, statistics, eps, residual, relu, first_pass) -> np.ndarray:
    """Both passes, or the second only; with the first one, three statistics (C,) are written."""
    rows = _rows(x)
    y = empty(rows.shape, x.dtype)
    _normalize(
        thread_count(),
        first_pass,
        rows,
        _parameter(weight, 1, x),
        _parameter(bias, 0, x),
        float(eps),
        residual is not None,
        rows if residual is None else _rows(residual),
        x.dtype.type(0 if relu else -np.inf),
        statistics,
        y,
    )
    return _images(y, x)


def batch_norm_grad(
    grad: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    relu: bool = False,
    y: np.ndarray | None = None,
    of_batch: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """See ../norm.py."""
    rows, grad_rows = _rows(x), _rows(grad)
    is_kept = y is not None
    grad_z = empty(rows.shape, x.dtype) if is_kept else grad_rows
    grad_x = empty(rows.shape, x.dtype)
    grad_weight, grad_bias = empty(x.shape[1:2], x.dtype), empty(x.shape[1:2], x.dtype)
    _differentiate(
        thread_count(),
        grad_rows,
        rows,
        x.dtype.type(0 if relu else np.nan),  # no number is below NaN
        _parameter(weight, 1, x),
        _parameter(bias, 0, x),
        (_in_float64(mean), _in_float64(inverse_std)),
        of_batch,
        is_kept,
        _rows(y) if is_kept else rows,
        grad_z,
        grad_x,
        grad_weight,
        grad_bias,
    )
    grad_residual = _images(grad_z, x) if is_kept else (None if relu else grad)
    return _images(grad_x, x), grad_weight, grad_bias, grad_residual


def move_statistic(
    running: np.ndarray, batch: np.ndarray, factor: float, momentum: float | np.ndarray
) -> None:
    """See ../norm.py."""
    if is_plain(running) and isinstance(momentum, float | int):
        _move(1, running, _in_float64(batch), float(factor), running.dtype.type(momentum))
    else:
        numpy_norm.move_statistic(running, batch, factor, momentum)


# --- arrays as rows -------------------------------------------------------------------------------

_TO_MEMORY = {n: (0, *range(2, n), 1) for n in range(2, 33)}
_FROM_MEMORY = {n: (0, n - 1, *range(1, n - 1)) for n in range(2, 33)}
"""How the axes (N, C, ...) lie in memory, (N, ..., C), and back, for arrays of n axes."""


def _rows(x: np.ndarray) -> np.ndarray:
    """View (N, C, ...) as contiguous rows (N * ..., C), or several of them side by side if C is small."""
    inside = plain(x.transpose(_TO_MEMORY[x.ndim]))
    width = _width(x.size, x.shape[1])
    return inside.reshape(x.size // width if width else 0, width)


@lru_cache
def _width(size: int, channels: int) -> int:
    """Numbers in a row: C, or C times a power of two, so that rows are long and all of them whole."""
    width = channels
    while 0 < width < LEAST_WIDTH and size > 0 and size % (2 * width) == 0:
        width *= 2
    return width


def _images(rows: np.ndarray, like: np.ndarray) -> np.ndarray:
    """View rows as an array of the shape (N, C, ...) of `like`."""
    N, C, *size = like.shape
    return rows.reshape(N, *size, C).transpose(_FROM_MEMORY[like.ndim])


def _in_float64(statistic: np.ndarray) -> np.ndarray:
    """A statistic (C,) as the loops take it: as it is, if the loops have written it."""
    if statistic.dtype == np.float64:
        return plain(statistic)
    copy = empty(statistic.shape, np.float64)
    do(np.copyto, copy, statistic)
    return copy


def _parameter(numbers: np.ndarray | None, default: float, x: np.ndarray) -> np.ndarray:
    """Weight or bias as a contiguous array (C,)."""
    if numbers is None:
        return np.full(x.shape[1], default, x.dtype)
    return plain(numbers)


# --- compiled loops -------------------------------------------------------------------------------


def _normalize(threads, first_pass, x, weight, bias, eps, is_added, residual, floor, statistics, y):
    """Write y (rows, width), and if the first pass sums up, statistics (C,): mean, 1 / deviation, variance."""
    rows, width = x.shape
    shifts, sums = np.empty((threads, width), x.dtype), np.empty((threads, 2, width))
    factors = np.empty((3, width), x.dtype)
    streamed = is_streamed(y, BLOCK_BYTES)
    arguments = x, shifts, sums, factors, is_added, residual, floor, streamed, y
    if first_pass == SUM_UP:
        _normalize_part(threads, SUM_UP, *arguments)
        _find_statistics(1, rows, shifts, sums, eps, *statistics)
    mean, inverse_std, _ = statistics
    _find_factors(1, weight, bias, mean, inverse_std, factors)
    _normalize_part(threads, WRITE, *arguments)


@on_threads
def _normalize_part(
    part, parts, this_pass, x, shifts, sums, factors, is_added, residual, floor, streamed, y
):
    """One part of the rows: add up in sums[part] (2, width) x minus a shift, and the square of that; or write y."""
    rows, width = x.shape
    first, last = part * rows // parts, (part + 1) * rows // parts
    shift = shifts[part]
    if this_pass == SUM_UP:
        shift[:] = 0
        sums[part] = 0
        some = min(last - first, TYPICAL_ROWS)
        for i in range(some):
            for c in range(width):
                shift[c] += x[first + i * (last - first) // some, c] / x.dtype.type(some)
        for start in range(first, last, SUMMED_ROWS):
            end = min(start + SUMMED_ROWS, last)
            sum_differences(x, start, end, width, shift, sums, part * 2 * width)
        return
    for start in range(first, last, WRITTEN_ROWS):
        end = min(start + WRITTEN_ROWS, last)
        write_normalized(x, start, end, width, factors, is_added, residual, floor, streamed, y)
    if streamed:
        finish_streaming()


@on_threads
def _find_statistics(part, parts, rows, shifts, sums, eps, means, inverse_stds, variances):
    """Turn the sums of all threads into mean, inverse standard deviation and variance, (C,) each."""
    threads, _, width = sums.shape
    C = len(means)
    for c in range(C):
        # Each thread, and each place of the channel in a row, has a shift of its own: all are moved to one.
        shift = np.float64(shifts[0, c])
        total = squares = 0.0
        for thread in range(threads):
            count = (thread + 1) * rows // threads - thread * rows // threads
            for w in range(c, width, C):
                move = shifts[thread, w] - shift
                total += sums[thread, 0, w] + count * move
                squares += sums[thread, 1, w] + move * (2 * sums[thread, 0, w] + count * move)
        mean = total / (rows * width // C)
        variance = max(squares / (rows * width // C) - mean * mean, 0.0)
        means[c] = shift + mean
        inverse_stds[c] = 1 / np.sqrt(variance + eps)
        variances[c] = variance


@on_threads
def _find_factors(part, parts, weight, bias, means, inverse_stds, factors):
    """Write factors (3 or more, width) with y = (x - [0]) * [1] + [2], in the dtype of x."""
    C = len(weight)
    for w in range(factors.shape[1]):
        c = w % C
        mean, scale = means[c], inverse_stds[c] * weight[c]
        factors[0, w] = mean
        factors[1, w] = scale
        rest = factors[0, w] - mean  # what rounding the mean to x's dtype left out
        factors[2, w] = rest * scale + bias[c]


def _differentiate(
    threads, grad, x, limit, weight, bias, statistics, of_batch, is_kept, y, grad_z, grad_x, grad_weight, grad_bias
):  # fmt: skip
    """Write the gradients of x (rows, width), of weight and bias (C,), and dL/dz (rows, width) if it is kept."""
    rows, width = x.shape
    sums, factors = np.empty((threads, 2, width)), np.empty((5, width), x.dtype)
    streamed = is_streamed(grad_x, BLOCK_BYTES)
    arguments = grad, x, limit, sums, factors, of_batch, is_kept, y, grad_z, streamed, grad_x
    _find_factors(1, weight, bias, *statistics, factors)
    _differentiate_part(threads, SUM_UP, *arguments)
    _find_gradients(1, rows, *statistics, sums, grad_weight, grad_bias, factors)
    _differentiate_part(threads, WRITE, *arguments)


@on_threads
def _differentiate_part(
    part, parts, this_pass, grad, x, limit, sums, factors, of_batch, is_kept, y, grad_z, streamed, grad_x
):  # fmt: skip
    """One part of the rows: add up in sums[part] (2, width) dL/dz, and its products with x - mean; or write dL/dx."""
    rows, width = x.shape
    first, last = part * rows // parts, (part + 1) * rows // parts
    no_limit = x.dtype.type(np.nan)
    if this_pass == SUM_UP:
        sums[part] = 0
        for start in range(first, last, SUMMED_ROWS):
            end = min(start + SUMMED_ROWS, last)
            sum_gradients(
                grad, x, limit, start, end, width, factors, sums, part * 2 * width, is_kept, y, grad_z
            )  # fmt: skip
        return
    for start in range(first, last, WRITTEN_ROWS):
        end = min(start + WRITTEN_ROWS, last)
        if is_kept:
            write_gradients(
                grad_z, x, no_limit, start, end, width, factors, of_batch, streamed, grad_x
            )
        else:
            write_gradients(grad, x, limit, start, end, width, factors, of_batch, streamed, grad_x)
    if streamed:
        finish_streaming()


@on_threads
def _find_gradients(part, parts, rows, means, inverse_stds, sums, grad_weight, grad_bias, factors):
    """Write the gradients of weight and bias (C,), and factors[3:] for `write_gradients`."""
    threads, _, width = sums.shape
    C = len(means)
    count = rows * width // C
    for c in range(C):
        mean, inverse_std = means[c], inverse_stds[c]
        total = products = 0.0
        for thread in range(threads):
            for w in range(c, width, C):
                total += sums[thread, 0, w]
                products += sums[thread, 1, w]
        rest = factors[0, c] - mean  # the products were taken with a rounded mean
        products += rest * total
        grad_weight[c] = products * inverse_std
        grad_bias[c] = total
        slope = products * inverse_std * inverse_std / count
        for w in range(c, width, C):
            factors[3, w] = total / count + rest * slope
            factors[4, w] = slope


@on_threads
def _move(part, parts, running, batch, factor, momentum):
    """Move a running statistic (C,) towards that of the batch."""
    number = running.dtype.type
    for c in range(len(running)):
        running[c] += momentum * (number(batch[c] * factor) - running[c])
