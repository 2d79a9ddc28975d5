"""What the clipping of gradients needs, in one launch for many of them, see clip.cu; the contracts are in ../clip.py.

Nothing waits for the device: the norm is an array, and so may the factor be that is made from it.
"""

import numpy as np

from .. import clip as array_clip
from ..arrays import Array, xp_of
from .launch import NO_ARRAY, contiguous, function
from .table import BLOCK_THREADS, Arrays, run, tables_of

FINISH_THREADS = 1024


def norm(arrays: Arrays) -> Array:
    """See ../clip.py; squares are added in float64, so that none overflows and few digits are lost."""
    xp, result = xp_of(arrays[0]), xp_of(arrays[0]).zeros((), arrays[0].dtype)
    launches, alive = [], []
    # Arrays with gaps are copied, and those that share memory go into tables of their own.
    while arrays:
        alive.append(arrays)
        tables = tables_of(arrays)
        launches += tables.launches
        arrays = [contiguous(arrays[index]) for index in tables.left]
    blocks = sum(grid[0] for grid, _ in launches)
    if blocks:
        partial, first = xp.empty(blocks), 0
        for grid, table in launches:
            sums = partial[first : first + grid[0]]
            function("clip", "add_squares", result)(grid, (BLOCK_THREADS,), (table, sums))
            first += grid[0]
        finish = function("clip", "finish_norm", result)
        finish((1,), (FINISH_THREADS,), (partial, np.int32(blocks), result))
    return result


def scale(arrays: Arrays, factor: float | Array) -> None:
    """See ../clip.py."""
    dtype = arrays[0].dtype
    if isinstance(factor, float | int | np.generic):
        factors = dtype.type(factor), NO_ARRAY
    else:
        factors = dtype.type(1), factor.astype(dtype, copy=False)
    left = run("clip", "scale_all", arrays, None, [], *factors)
    array_clip.scale([arrays[index] for index in left], factor)


def clip(arrays: Arrays, limit: float) -> None:
    """See ../clip.py."""
    left = run("clip", "cut_all", arrays, None, [], arrays[0].dtype.type(limit))
    array_clip.clip([arrays[index] for index in left], limit)
