"""What the clipping of gradients needs, in one launch for all of them, see clip.cu; the contracts are in ../clip.py.

Nothing waits for the device: the norm is an array, and so may the factor be that is made from it.
"""

import numpy as np

from .. import clip as array_clip
from ..arrays import Array, xp_of
from .launch import NO_ARRAY, contiguous, function
from .table import BLOCK_THREADS, Arrays, run, table_of

FINISH_THREADS = 1024


def norm(arrays: Arrays) -> Array:
    """See ../clip.py; squares are added in float64, so that none overflows and few digits are lost."""
    xp, result = xp_of(arrays[0]), xp_of(arrays[0]).zeros((), arrays[0].dtype)
    pieces, counts = [], 0
    while (
        arrays
    ):  # those with gaps are copied, and those that share memory go into tables of their own
        table = table_of(arrays)
        pieces.append((table, arrays))
        counts += table.grid[0]
        arrays = [contiguous(arrays[index]) for index in table.left]
    if not counts:
        return result
    partial, first = xp.empty(counts), 0
    for table, _ in pieces:
        blocks = table.grid[0]
        if blocks:
            arguments = *table.arguments, partial[first : first + blocks]
            function("clip", "add_squares", result)((blocks,), (BLOCK_THREADS,), arguments)
        first += blocks
    finish = function("clip", "finish_norm", result)
    finish((1,), (FINISH_THREADS,), (partial, np.int32(counts), result))
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
