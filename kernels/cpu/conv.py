"""Convolution in compiled loops (Numba), without a matrix of patches.

A few rows of one image are worked on at a time: what their pixels see is copied into a small buffer
that stays in the processor's cache, one patch a pixel, and multiplied with the weights at once.
im2col is the same idea for the whole batch; its matrix of patches, R * S times as large as the
images, has to travel to memory and back.

One loop nest serves the forward pass *and* the gradient with respect to x, because both are the sum

    y[n, i, j, k] = sum over r, s, c of  x[n, rows[i, r], columns[j, s], c] * weights[k, r, s, c]

with other tables `rows` and `columns`: which input row does output row i see through tap r? (-1:
none, it would lie outside.) Forward, that is i*stride - top + r*dilation. The gradient asks the
other way round: which output pixel saw input row i through tap r? In this way every output element
is summed by one thread, and nothing is ever added by two.

Arrays have the logical order (N, C, H, W); in the loops channels are innermost, so that the taps of
a window's row are often one piece of memory. The loops are plain Python: with NUMBA_DISABLE_JIT=1
they can be stepped through.

Threads may call these functions at the same time. A process made by os.fork() may not, if its
parent did: Numba's threads do not survive a fork. Start processes with
multiprocessing.get_context("spawn").
"""

from functools import lru_cache
from threading import Lock

import numba
import numpy as np

from ..arrays import channels_first, channels_last
from ..shapes import (
    IntOrPair,
    Padding,
    Pair,
    Shape,
    Window,
    conv2d_shape,
    window_of,
)

LANES = 16  # patches are filled up with zeros to a multiple of this, so that vector instructions leave no rest
TASK_PIXELS = 64  # the rows that are worked on at a time have about as many pixels: their patches fit in the cache

# Of the threads of a program, one at a time may start a parallel loop: the simplest of Numba's threading layers,
# "workqueue", ends the process otherwise, and little is lost, because one loop keeps all cores busy.
PARALLEL_LOOP = Lock()

# Sums may be reordered, to use vector instructions, but NaN and infinity keep their meaning.
OPTIONS = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Convolution of float32 or float64 arrays, see `reference.conv2d` for arguments and errors.

    Returns:
        (N, K, OH, OW), a view of memory in the order (N, OH, OW, K)
    """
    _, K, OH, OW = conv2d_shape(x.shape, w.shape, stride, padding, dilation, groups)
    window = window_of(w.shape[2:], stride, padding, dilation)
    rows, columns = _input_seen(window, x.shape[2:], (OH, OW))
    weights = channels_last(w).reshape(groups, K // groups, -1)  # (G, K/G, R*S*C/G)
    return _sum_over_windows(x, _whole_vectors(weights), rows, columns)


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
    K, C_per_group, R, S = w.shape
    window = window_of((R, S), stride, padding, dilation)
    rows, columns = _output_that_saw(window, tuple(x_shape[2:]), grad.shape[2:])
    weights = w.reshape(groups, K // groups, C_per_group, R, S)[:, :, :, ::-1, ::-1]
    weights = weights.transpose(0, 2, 3, 4, 1).reshape(groups, C_per_group, -1)  # (G, C/G, R*S*K/G)
    return _sum_over_windows(grad, _whole_vectors(weights), rows, columns)


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
        (K, C / groups, R, S), contiguous
    """
    K, C_per_group, R, S = w_shape
    window = window_of((R, S), stride, padding, dilation)
    rows, columns = _input_seen(window, x.shape[2:], grad.shape[2:])
    patch_size = R * S * C_per_group
    size = K * _round_up(patch_size, LANES)
    # The batch is cut into parts with a sum each. Their number depends on the problem alone, never on the number of
    # threads, so that the rounding of the result does not either.
    parts = min(16, max(4, 2**20 // size))
    sums = np.zeros((parts, groups, K // groups, size // K), x.dtype)
    grad_y, images = _in_memory_order(grad), _in_memory_order(x)
    with PARALLEL_LOOP:
        _sum_over_pixels(grad_y, images, rows, columns, sums)
    grad_w = sums.sum(axis=0)[:, :, :patch_size].reshape(K, R, S, C_per_group)
    return np.ascontiguousarray(channels_first(grad_w))


def _sum_over_windows(
    x: np.ndarray, weights: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Images (N, C, H, W) times weights (G, K/G, patch) -> (N, K, OH, OW)."""
    G, K_per_group, _ = weights.shape
    y = np.empty((len(x), len(rows), len(columns), G * K_per_group), x.dtype)
    images = _in_memory_order(x)
    with PARALLEL_LOOP:
        _convolve(images, weights, rows, columns, y)
    return channels_first(y)


@lru_cache
def _input_seen(window: Window, input_size: Pair, output_size: Pair) -> list[np.ndarray]:
    """Tables (OH, R) and (OW, S): the input row or column that an output sees through a tap; -1 outside."""
    tables = []
    for size, count, kernel, stride, (before, _), dilation in zip(
        input_size, output_size, *window, strict=True
    ):
        seen = np.arange(count)[:, None] * stride - before + np.arange(kernel) * dilation
        tables.append(np.where((seen >= 0) & (seen < size), seen, -1))
    return tables


@lru_cache
def _output_that_saw(window: Window, input_size: Pair, output_size: Pair) -> list[np.ndarray]:
    """Tables (H, R) and (W, S): the output row or column that saw an input through a tap, last tap first; -1: none."""
    tables = []
    for size, count, kernel, stride, (before, _), dilation in zip(
        input_size, output_size, *window, strict=True
    ):
        taps = np.arange(kernel)[::-1]
        steps = np.arange(size)[:, None] + before - taps * dilation  # stride * (output row)
        exists = (steps % stride == 0) & (steps >= 0) & (steps < count * stride)
        tables.append(np.where(exists, steps // stride, -1))
    return tables


def _in_memory_order(x: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) as contiguous (N, H, W, C); no copy if that is their order in memory."""
    # Writable, although nothing is written: Numba would compile another version for arrays that are not.
    return np.require(channels_last(x), requirements=("C", "ALIGNED", "WRITEABLE"))


def _whole_vectors(weights: np.ndarray) -> np.ndarray:
    """Copy weights (G, K/G, patch), with zeros at the end of each patch up to a multiple of LANES."""
    G, K_per_group, patch_size = weights.shape
    padded = np.zeros((G, K_per_group, _round_up(patch_size, LANES)), weights.dtype)
    padded[:, :, :patch_size] = weights
    return padded


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


@numba.njit(parallel=True, **OPTIONS)
def _convolve(x, weights, rows, columns, y):
    """Write into y (N, OH, OW, K) the patches of x (N, H, W, C) times weights (G, K/G, patch)."""
    N, OH, OW, K = y.shape
    G, K_per_group, patch_size = weights.shape
    rows_per_task = max(1, TASK_PIXELS // OW)
    tasks_per_image = (OH + rows_per_task - 1) // rows_per_task
    y_pixels = y.reshape(N * OH * OW, K)
    for task in numba.prange(N * tasks_per_image):
        n = task // tasks_per_image
        top = task % tasks_per_image * rows_per_task
        task_rows = rows[top : top + rows_per_task]
        pixels = len(task_rows) * OW
        start = (n * OH + top) * OW
        patches = np.zeros((pixels, patch_size), x.dtype)
        for g in range(G):
            _copy_patches(patches, x[n], g, G, task_rows, columns)
            k = g * K_per_group
            _multiply(y_pixels[start : start + pixels, k : k + K_per_group], patches, weights[g])


@numba.njit(parallel=True, **OPTIONS)
def _sum_over_pixels(grad, x, rows, columns, sums):
    """Add up in sums (parts, G, K/G, patch), over each part's output pixels: grad (N, OH, OW, K) times patch of x."""
    N, OH, OW, K = grad.shape
    parts, G, K_per_group, patch_size = sums.shape
    rows_per_task = max(1, TASK_PIXELS // OW)
    tasks_per_image = (OH + rows_per_task - 1) // rows_per_task
    tasks = N * tasks_per_image
    grad_pixels = grad.reshape(N * OH * OW, K)
    for part in numba.prange(parts):
        for task in range(part * tasks // parts, (part + 1) * tasks // parts):
            n = task // tasks_per_image
            top = task % tasks_per_image * rows_per_task
            task_rows = rows[top : top + rows_per_task]
            pixels = len(task_rows) * OW
            start = (n * OH + top) * OW
            patches = np.zeros((pixels, patch_size), x.dtype)
            for g in range(G):
                _copy_patches(patches, x[n], g, G, task_rows, columns)
                k = g * K_per_group
                factors = grad_pixels[start : start + pixels, k : k + K_per_group]
                _accumulate(sums[part, g], factors, patches)


@numba.njit(**OPTIONS)
def _copy_patches(patches, image, g, groups, rows, columns):
    """Fill patches (rows * OW, patch) with what these output rows see of the channels of group g; leave zeros outside.

    Offsets in memory are unsigned: Numba then leaves out its check for negative indices, and copies
    with vectors.
    """
    _, W, channels = image.shape
    OW, S = columns.shape
    C = channels // groups
    source = image.reshape(image.size)
    target = patches.reshape(patches.size)
    for i in range(len(rows)):
        for r in range(rows.shape[1]):
            if rows[i, r] < 0:
                continue
            for j in range(OW):
                to = (i * OW + j) * patches.shape[1] + r * S * C
                first, last = columns[j, 0], columns[j, S - 1]
                if groups == 1 and first >= 0 and last - first == S - 1:  # one piece of memory
                    _copy(target, to, source, (rows[i, r] * W + first) * C, S * C)
                else:
                    for s in range(S):
                        if columns[j, s] >= 0:
                            start = (rows[i, r] * W + columns[j, s]) * channels + g * C
                            _copy(target, to + s * C, source, start, C)


@numba.njit(**OPTIONS)
def _copy(target, to, source, start, count):
    to, start = np.uint64(to), np.uint64(start)
    for i in range(np.uint64(count)):
        target[to + i] = source[start + i]


@numba.njit(**OPTIONS)
def _multiply(y, patches, weights):
    """y[p, k] = patches[p] . weights[k], for 4 pixels and 2 output channels at a time: 8 products for 6 loads.

    Where fewer are left at the end, the last pixel or channel is worked out several times.
    """
    pixels, K = y.shape
    zero = weights.dtype.type(0)
    for p0 in range(0, pixels, 4):
        p1, p2, p3 = min(p0 + 1, pixels - 1), min(p0 + 2, pixels - 1), min(p0 + 3, pixels - 1)
        x0, x1, x2, x3 = patches[p0], patches[p1], patches[p2], patches[p3]
        for k0 in range(0, K, 2):
            k1 = min(k0 + 1, K - 1)
            w0, w1 = weights[k0], weights[k1]
            y00 = y10 = y20 = y30 = zero
            y01 = y11 = y21 = y31 = zero
            for i in range(len(w0)):
                y00 += x0[i] * w0[i]
                y10 += x1[i] * w0[i]
                y20 += x2[i] * w0[i]
                y30 += x3[i] * w0[i]
                y01 += x0[i] * w1[i]
                y11 += x1[i] * w1[i]
                y21 += x2[i] * w1[i]
                y31 += x3[i] * w1[i]
            y[p0, k0], y[p1, k0], y[p2, k0], y[p3, k0] = y00, y10, y20, y30
            y[p0, k1], y[p1, k1], y[p2, k1], y[p3, k1] = y01, y11, y21, y31


@numba.njit(**OPTIONS)
def _accumulate(sums, factors, patches):
    """sums[k] += over the pixels p: factors[p, k] * patches[p], for 4 pixels at a time."""
    pixels, K = factors.shape
    whole = pixels - pixels % 4
    for k in range(K):
        total = sums[k]
        for p in range(0, whole, 4):
            f0, f1, f2, f3 = factors[p, k], factors[p + 1, k], factors[p + 2, k], factors[p + 3, k]
            x0, x1, x2, x3 = patches[p], patches[p + 1], patches[p + 2], patches[p + 3]
            for i in range(len(total)):
                total[i] += f0 * x0[i] + f1 * x1[i] + f2 * x2[i] + f3 * x3[i]
        for p in range(whole, pixels):
            f0, x0 = factors[p, k], patches[p]
            for i in range(len(total)):
                total[i] += f0 * x0[i]
