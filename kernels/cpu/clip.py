"""What the clipping of gradients needs, in one call for all of them; the contracts are in the sibling ../clip.py."""

import numba
import numpy as np

from .. import clip as numpy_clip
from ..clip import Arrays
from .compiled import compiled
from .flat import share
from .table import END, PARAM, part_of, run


def norm(arrays: Arrays) -> np.ndarray:
    """See ../clip.py; squares are added in float64, so that none overflows and few digits are lost."""
    totals = np.zeros(numba.get_num_threads())
    left = run(_add_squares, _add_squares_on_threads, arrays, None, [], totals)
    rest = [np.square(arrays[index], dtype=np.float64).sum() for index in left]
    return np.sqrt(totals.sum() + sum(rest)).astype(arrays[0].dtype)


@compiled
def _add_squares(part, parts, table, totals, like):
    mine = share(table[-1, END], part, parts)
    total = 0.0
    for row in range(len(table)):
        x = part_of(table, row, PARAM, mine, like)
        for i in range(x.size):
            total += np.float64(x[i]) * np.float64(x[i])
    totals[part] = total


@compiled(parallel=True)
def _add_squares_on_threads(threads, table, totals, like):
    for part in numba.prange(threads):
        _add_squares(np.int64(part), threads, table, totals, like)


def scale(arrays: Arrays, factor: float) -> None:
    """See ../clip.py."""
    left = run(_scale, _scale_on_threads, arrays, None, [], float(factor))
    numpy_clip.scale([arrays[index] for index in left], float(factor))


@compiled
def _scale(part, parts, table, factor, like):
    number = like.dtype.type(factor)
    mine = share(table[-1, END], part, parts)
    for row in range(len(table)):
        x = part_of(table, row, PARAM, mine, like)
        for i in range(x.size):
            x[i] *= number


@compiled(parallel=True)
def _scale_on_threads(threads, table, factor, like):
    for part in numba.prange(threads):
        _scale(np.int64(part), threads, table, factor, like)


def clip(arrays: Arrays, limit: float) -> None:
    """See ../clip.py."""
    left = run(_clip, _clip_on_threads, arrays, None, [], float(limit))
    numpy_clip.clip([arrays[index] for index in left], float(limit))


@compiled
def _clip(part, parts, table, limit, like):
    high, low = like.dtype.type(limit), like.dtype.type(-limit)
    mine = share(table[-1, END], part, parts)
    for row in range(len(table)):
        x = part_of(table, row, PARAM, mine, like)
        for i in range(x.size):
            smaller = high if x[i] > high else x[i]  # NaN is neither above nor below
            x[i] = low if smaller < low else smaller


@compiled(parallel=True)
def _clip_on_threads(threads, table, limit, like):
    for part in numba.prange(threads):
        _clip(np.int64(part), threads, table, limit, like)
