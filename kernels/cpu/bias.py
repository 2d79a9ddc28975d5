"""Biases and their gradients, in one pass over memory; the contracts are in the sibling ../bias.py.

Gradients are sums of rows. Vector instructions add 8 float32 numbers at once, but a row may have 6. So
several rows are taken as one wide row of at least WIDTH numbers, a multiple of 16, and its sums are
folded into K at the end. The sums are kept in float64, because a running sum of a million float32
numbers loses digits; BLOCK wide rows are added in float32 first, so that this costs little.
"""

import math

import numpy as np

from ..capture import do
from ..memory import empty
from .compiled import compiled, on_threads, plain
from .flat import share, threads_for

SMALL = 8192
"""Numbers below which NumPy sums as quickly, and need not be compiled."""

WIDTH = 64
BLOCK = 16


def add_bias(rows: np.ndarray, bias: np.ndarray | None, relu: bool = False) -> None:
    """See ../bias.py."""
    numbers = rows.reshape(-1)[:0] if bias is None else plain(bias)
    _add_bias(threads_for(rows.size), rows, numbers, relu)


@on_threads
def _add_bias(part, parts, y, bias, relu):
    """Add `bias`, which may be empty, to a part of the rows of y, and replace negative results by 0 if `relu`."""
    zero = y.dtype.type(0)
    mine = share(len(y), part, parts)
    for row in range(mine.start, mine.stop):
        for k in range(y.shape[1]):
            z = y[row, k] + bias[k] if bias.size else y[row, k]
            y[row, k] = zero if relu and z < zero else z


def bias_grad(grad: np.ndarray) -> np.ndarray:
    """See ../bias.py."""
    if grad.size < SMALL:
        result = empty(grad.shape[1:], grad.dtype)
        do(np.add.reduce, grad, 0, None, result)
        return result
    rows = _as_vector(grad, grad.dtype)
    sums, block, result = _memory(grad)
    _add_rows(len(sums), rows, grad.shape[1], sums, block)
    fold(1, sums, result)
    return result


def bias_relu_grad(grad: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See ../bias.py."""
    grad_rows, y_rows = _as_vector(grad, y.dtype), _as_vector(y, y.dtype)
    grad_z = empty(y_rows.shape, y_rows.dtype)
    sums, block, result = _memory(y)
    _mask_and_add_rows(len(sums), grad_rows, y_rows, grad_z, y.shape[1], sums, block)
    fold(1, sums, result)
    return grad_z.reshape(y.shape), result


def _as_vector(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return (rows, K) numbers as a vector, copied if they are not C-contiguous or of another dtype."""
    if not (rows.flags.carray and rows.dtype == dtype):
        rows = np.require(rows, dtype, ("C", "ALIGNED", "WRITEABLE"))
    return rows.reshape(-1)


def _memory(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return room for each thread's sums and its block (threads, width), and for the result (K,)."""
    K = rows.shape[1]
    width = K
    if 0 < K < WIDTH:
        width = math.lcm(K, 16)
        width *= -(-WIDTH // width)
    threads = threads_for(rows.size)
    sums = np.empty((threads, width), np.float64)
    return sums, np.empty((threads, width), rows.dtype), np.empty(K, rows.dtype)


@compiled
def _share_of_rows(size, K, part, parts):
    """The numbers of one of `parts` shares of (rows, K), as a slice of the vector of all."""
    rows = share(size // K, part, parts)
    return slice(rows.start * K, rows.stop * K)


@compiled
def _clear(sums, block):
    for j in range(sums.size):
        sums[j] = 0
        block[j] = 0


@compiled
def _move(block, sums):
    """Add a block of float32 sums to the float64 sums, and begin a new one."""
    for j in range(sums.size):
        sums[j] += block[j]
        block[j] = 0


@on_threads
def _add_rows(part, parts, grad, K, all_sums, blocks):
    """Sum up one part of the wide rows of `grad`, a vector of rows (K,); the last wide row may be short."""
    mine, sums, block = _share_of_rows(grad.size, K, part, parts), all_sums[part], blocks[part]
    _clear(sums, block)
    rows, width = grad[mine], sums.size
    for r in range(-(-rows.size // width)):
        row = rows[r * width : (r + 1) * width]
        for j in range(row.size):
            block[j] += row[j]
        if r % BLOCK == BLOCK - 1:
            _move(block, sums)
    _move(block, sums)


@on_threads
def _mask_and_add_rows(part, parts, grad, y, grad_z, K, all_sums, blocks):
    """Write `grad` where y > 0 to `grad_z`, and sum up its wide rows like `_add_rows`."""
    mine, sums, block = _share_of_rows(grad.size, K, part, parts), all_sums[part], blocks[part]
    _clear(sums, block)
    zero, width = y.dtype.type(0), sums.size
    grad_rows, y_rows, z_rows = grad[mine], y[mine], grad_z[mine]
    for r in range(-(-y_rows.size // width)):
        here = slice(r * width, (r + 1) * width)
        grad_row, y_row, z_row = grad_rows[here], y_rows[here], z_rows[here]
        for j in range(y_row.size):
            g = grad_row[j]
            g = zero if y_row[j] <= zero else g
            z_row[j] = g
            block[j] += g
        if r % BLOCK == BLOCK - 1:
            _move(block, sums)
    _move(block, sums)


@on_threads
def fold(part, parts, sums, result):
    """Add up the sums (threads, width) of each thread, and of each column, j % K, for a part of the K results."""
    K = result.size
    mine = share(K, part, parts)
    for k in range(mine.start, mine.stop):
        total = 0.0
        for thread in range(sums.shape[0]):
            for j in range(k, sums.shape[1], K):
                total += sums[thread, j]
        result[k] = total
