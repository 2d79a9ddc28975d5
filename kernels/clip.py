"""What the clipping of gradients needs, for arrays of either library; the sibling for the CPU is cpu/clip.py.

The functions take the gradients of many parameters, of one dtype, at once.
"""

from collections.abc import Sequence

from .arrays import Array, sum_dtype, xp_of

Arrays = Sequence[Array]


def norm(arrays: Arrays) -> Array:
    """The root of the sum of all squares, a number of the arrays' dtype on their device."""
    xp = xp_of(arrays[0])
    dtype = sum_dtype(arrays[0].dtype)
    totals = [xp.square(array, dtype=dtype).sum() for array in arrays]
    return xp.sqrt(xp.stack(totals).sum()).astype(arrays[0].dtype)


def scale(arrays: Arrays, factor: float | Array) -> None:
    """Multiply all numbers by `factor`."""
    for array in arrays:
        array *= xp_of(array).asarray(factor, array.dtype)


def clip(arrays: Arrays, limit: float) -> None:
    """Cut all numbers to [-limit, limit]; NaN stays."""
    for array in arrays:
        xp_of(array).clip(array, -limit, limit, out=array)
