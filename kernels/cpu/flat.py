"""Arrays of any shape as one row of numbers, and the choice between one thread and all.

A function of each element does not care about axes. An array whose numbers lie side by side in
memory, in whatever order of axes, is a row of numbers to it: nothing is copied, and the result has
the same order.
"""

import numpy as np

from ..capture import do
from ..memory import empty_like
from .compiled import compiled, thread_count

SERIAL_SIZE = 16_384
"""Numbers below which one thread does the work: to wake the others takes as long as to do it."""

SERIAL_PRODUCTS = 2**18
"""Multiplications and additions below which one thread does the work, likewise."""


def flat(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """View `array` as a vector whose elements lie in memory as those of `like` do.

    Args:
        array: numbers of any dtype, in any memory order.
        like: an array of the same shape, fresh from `empty_like`.

    Returns:
        A contiguous vector of the dtype of `like`; in new memory if `array` has gaps, another
        order or another dtype, or cannot be written to (a loop is compiled once for each kind of
        argument, and that would be one more kind).
    """
    fits = array.strides == like.strides and array.dtype == like.dtype and array.flags.behaved
    if not fits:
        given, array = array, empty_like(like)
        do(np.copyto, array, given)
    return array.ravel("K")


@compiled
def share(size, part, parts):
    """The indices of one of `parts` equal shares of a vector: each thread works on a slice of its own."""
    return slice(part * size // parts, (part + 1) * size // parts)


def threads_for(size: int) -> int:
    """How many threads work on so many numbers. Few are left to one, so that equal inputs take equal ways."""
    return 1 if size < SERIAL_SIZE else thread_count()
