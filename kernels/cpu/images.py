"""Images in the memory order of the kernels: channels innermost, with a frame of zeros where one is needed."""

import numpy as np

from ..arrays import channels_last
from ..memory import empty
from ..shapes import Sides
from .compiled import is_plain, on_threads, thread_count
from .simd import address_of, copy_memory

COLUMNS_AT_ONCE = 16
"""So many columns of each channel are copied in turn: what is read and what is written then stays in the cache."""

NO_FRAME = ((0, 0), (0, 0))


def images_in_order(x: np.ndarray, frame: Sides = NO_FRAME) -> np.ndarray:
    """Return images (N, C, H, W) as contiguous (N, H', W', C), framed by zeros; no copy if they are that already.

    Args:
        x: float32 or float64, in any memory order.
        frame: ((top, bottom), (left, right)), how many rows and columns of zeros.
    """
    images = channels_last(x)
    if frame == NO_FRAME and is_plain(images):
        return images
    (top, bottom), (left, right) = frame
    N, H, W, C = images.shape
    result = empty((N, top + H + bottom, left + W + right, C), x.dtype)
    if not x.flags.writeable:  # nothing is written, but for Numba that is an array of another type
        x = x.copy()
    if result.size:
        _copy_rows(thread_count(), x, result.reshape(-1, result.shape[2] * C), top, left)
    return result


@on_threads
def _copy_rows(part, parts, x, result, top, left):
    """Copy one part of the rows of x (N, C, H, W) to result (N * H', W' * C), and write zeros around them."""
    N, C, H, W = x.shape
    height, row_size = result.shape[0] // N, result.shape[1]  # H', W' * C
    in_order = x.strides[3] == C * x.itemsize and (C == 1 or x.strides[1] == x.itemsize)
    x_address = address_of(x, 0)
    zero = x.dtype.type(0)
    for row in range(part * N * height // parts, (part + 1) * N * height // parts):
        n, i = divmod(row, height)
        target = result[row]
        if i < top or i >= top + H:
            target[:] = zero
            continue
        target[: left * C] = zero
        target[(left + W) * C :] = zero
        if in_order:
            source = x_address + n * x.strides[0] + (i - top) * x.strides[2]
            copy_memory(address_of(result, row * row_size + left * C), source, W * C * x.itemsize)
            continue
        for first in range(0, W, COLUMNS_AT_ONCE):
            last = min(W, first + COLUMNS_AT_ONCE)
            for c in range(C):
                source, to = x[n, c, i - top], target[left * C + c :: C]
                for j in range(first, last):
                    to[j] = source[j]
