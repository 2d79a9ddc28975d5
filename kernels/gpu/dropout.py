"""Dropout on a GPU, see dropout.cu; the contract, and the random numbers, are those of ../dropout.py."""

import numpy as np

from ..arrays import Array, xp_of
from ..dropout import limit_and_factor
from .launch import NO_ARRAY, THREADS, blocks_for, contiguous, function

NUMBERS_OF_A_THREAD = 8


def dropout(x: Array, p: float, key: int | Array) -> Array:
    """See ../dropout.py.

    Args:
        x: see there.
        p: see there.
        key: an integer in [0, 2^64), or an array of one uint64 on the device.
    """
    x = contiguous(x)
    pair = 2 * x.dtype.itemsize
    if x.data.ptr % pair:  # a view that begins in the middle of a pair
        x = x.copy()
    y = xp_of(x).empty(x.shape, x.dtype)
    if x.size:
        limit, factor = limit_and_factor(p)
        on_device = not isinstance(key, int | np.integer)
        keys = (np.uint64(0), key) if on_device else (np.uint64(key), NO_ARRAY)
        settings = np.int64(x.size), np.uint32(limit), x.dtype.type(factor)
        blocks = blocks_for(-(-x.size // NUMBERS_OF_A_THREAD))
        function("dropout", "dropout", x)(blocks, (THREADS,), (x, *settings, *keys, y))
    return y
