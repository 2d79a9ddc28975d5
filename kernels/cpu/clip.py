"""What the clipping of gradients needs, in one call for all of them; the contracts are in the sibling ../clip.py."""

import numpy as np

from .. import clip as numpy_clip
from ..clip import Arrays
from .compiled import on_threads, thread_count
from .flat import share
from .table import END, PARAM, part_of, run


def norm(arrays: Arrays) -> np.ndarray:
    """See ../clip.py; squares are added in float64, so that none overflows and few digits are lost."""
    totals = np.zeros(thread_count())
    left = run(_add_squares, arrays, None, [], totals)
    rest = [np.square(arrays[index], dtype=np.float64).sum() for index in left]
    return np.sqrt(totals.sum() + sum(rest)).astype(arrays[0].dtype)


@on_threads
def _add_squares(part, parts, table, totals, like):
    mine = share(table[-1, END], part, parts)
    total = 0.0
    for row in range(len(table)):
        x = part_of(table, row, PARAM, mine, like)
        for i in range(x.size):
            total += np.float64(x[i]) * np.float64(x[i])
    totals[part] = total


def scale(arrays: Arrays, factor: float) -> None:
    """See ../clip.py."""
    left = run(_scale, arrays, None, [], float(factor))
    numpy_clip.scale([arrays[index] for index in left], float(factor))


@on_threads
def _scale(part, parts, table, factor, like):
    number = like.dtype.type(factor)
    mine = share(table[-1, END], part, parts)
    for row in range(len(table)):
        x = part_of(table, row, PARAM, mine, like)
        for i in range(x.size):
            x[i] *= number


def clip(arrays: Arrays, limit: float) -> None:
    """See ../clip.py."""
    left = run(_clip, arrays, None, [], float(limit))
    numpy_clip.clip([arrays[index] for index in left], float(limit))


@on_threads
def _clip(part, parts, table, limit, like):
    high, low = like.dtype.type(limit), like.dtype.type(-limit)
    mine = share(table[-1, END], part, parts)
    for row in range(len(table)):
        x = part_of(table, row, PARAM, mine, like)
        for i in range(x.size):
            smaller = high if x[i] > high else x[i]  # NaN is neither above nor below
            x[i] = low if smaller < low else smaller
